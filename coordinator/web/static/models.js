// Every version: lineage, quality, rollout, rolling back.
import { $, change, complain, count, definitions, drawing, element, minus, percent, read, run, session, words } from "./common.js";
import { plot } from "./charts.js";

const MOST = 40;
let redraw = () => Promise.resolve();

async function decide(path, body) {
  complain(null);
  try {
    await change("POST", path, body);
  } catch (problem) {
    complain(problem);
  }
  await redraw();
}

const bounded = (found, show) => (found === null ? "–" : `${minus(show(found.value))} [${minus(show(found.low))}, ${minus(show(found.high))}]`);
const points = (value) => (100 * value).toFixed(1);
const ratio = (value) => `${(100 * value).toFixed(0)}`;
const three = (value) => (value === null ? "–" : value.toFixed(3));

const ARMS = { treatment: "all but the holdback", all: "the holdback as well" };

function rolloutPart(model, rollout, deciding) {
  const id = `percent-${model.version}`;
  const shown = element("output", { for: id }, `${rollout.percent} %`);
  const slider = element("input", { type: "range", id, min: "0", max: "100", step: "1", value: String(rollout.percent) });
  slider.disabled = !deciding;
  slider.addEventListener("input", () => { shown.textContent = `${slider.value} %`; });
  const arms = element("select", { id: `arms-${model.version}` }, ...Object.entries(ARMS).map(([value, text]) => element("option", { value }, text)));
  arms.value = rollout.arms;
  arms.disabled = !deciding;
  const roll = () => decide(`/admin/models/${model.version}/rollout`, { percent: Number(slider.value), arms: arms.value });
  slider.addEventListener("change", roll);
  arms.addEventListener("change", () => { arms.blur(); roll(); }); // cards are not drawn anew under an open list
  return element("div", { class: "rollout" }, element("label", { for: id }, rollout.state === "candidate" ? "Told to (waits for its evaluation)" : "Devices told of it"), shown, slider,
    element("label", { for: arms.id }, "Who ranks with it"), arms);
}

// What else is known of a version; asked for when somebody opens it, and again whenever the page is drawn anew.
const opened = new Set();
function modelCard(version) {
  const box = element("details", {}, element("summary", {}, "Model card"));
  box.addEventListener("toggle", async () => {
    if (!box.open) { opened.delete(version); return; }
    opened.add(version);
    if (box.children.length > 1) return;
    const card = await read(`/admin/models/${version}/card`).catch(complain);
    if (!card) return;
    const calibration = card.evaluation ? [["Calibration error", three(card.evaluation.judged.calibration_error)]] : [];
    const ratio = card.comparison ? [["Sample ratio, p", card.comparison.sample_ratio_p.toPrecision(2)]] : [];
    box.append(definitions("rows card-rows", [["Lineage", card.lineage.map((v) => `v${v}`).join(" ← ")], ["Rounds in it", card.rounds.length ? card.rounds.join(", ") : "none"], ...calibration, ...ratio, ["Privacy", card.privacy], ["SHA-256", card.model.digest], ["Bundle", `${card.bundle_digest} (${card.head})`]]));
  });
  box.open = opened.has(version);
  return box;
}

function versionCard(model, rollout, parent, comparison, evaluation, deciding) {
  const card = element("article", { class: "card", "data-version": model.version, "data-state": rollout.state },
    element("div", { class: "head" }, element("h3", {}, `Version ${model.version}`), element("span", { class: `tag ${rollout.state}` }, rollout.state)),
    element("p", { class: "reason" }, words(rollout.reason)));
  const origin = model.round !== null ? `round ${model.round} on v${model.parent}` : !model.version ? "the release bundle" : parent && parent.state === "replaced" ? `v${model.parent}, threshold calibrated` : `v${model.parent}, published again`;
  card.append(definitions("rows", [["Made by", origin], ...(model.participants ? [["Sum of", `${count(model.participants)} devices, ${count(model.examples)} examples`]] : []), ["Threshold", minus(model.threshold.toFixed(3))]]));
  if (evaluation) {
    const pair = (what) => `${three(evaluation.judged[what])} (v${evaluation.baseline_version}: ${three(evaluation.baseline[what])})`;
    card.append(element("p", { class: "group" }, "Before it went out"), definitions("rows", [["Area under the curve", pair("auc")], ["Log loss", pair("log_loss")], ["Clicks its threshold keeps", percent(evaluation.judged.clicks_kept, 0)], ["Verdict", `${words(evaluation.verdict)}, ${count(evaluation.devices)} devices`]]));
  }
  if (comparison && comparison.treatment_devices) {
    card.append(element("p", { class: "group" }, `In the field, against the holdback on v${comparison.compared_with}`), definitions("rows", [["Click-through, %", bounded(comparison.ctr, points)], ["Difference, points", bounded(comparison.ctr_difference, points)], ["Clicks retained, %", bounded(comparison.clicks_retained, ratio)], ["Offers retained, %", bounded(comparison.offers_retained, ratio)], ["Devices", `${count(comparison.treatment_devices)} against ${count(comparison.holdback_devices)}`], ["Verdict", words(comparison.verdict)]]));
  }
  card.append(modelCard(model.version));
  if (model.version && !["withdrawn", "replaced"].includes(rollout.state)) {
    card.append(rolloutPart(model, rollout, deciding));
    if (deciding) {
      const button = element("button", { type: "button", class: "danger" }, `Roll back version ${model.version}`);
      button.addEventListener("click", () => confirm(`Withdraw version ${model.version} and everything trained on top of it?`) && decide(`/admin/models/${model.version}/rollback`, {}));
      card.append(element("p", { class: "buttons" }, button));
    }
  }
  return card;
}

// Versions run left to right; what was made from an earlier version than the newest begins a lane of its own.
function drawLineage(models, states) {
  const known = new Map(models.map((m, i) => [m.version, i])), lane = new Map(), step = 58, row = 46, radius = 16;
  let used = 0;
  models.forEach((model, i) => {
    const parent = known.has(model.parent) && model.version ? lane.get(model.parent) : 0;
    const continued = models.slice(0, i).some((m) => m.version && m.parent === model.parent && m.version !== model.parent);
    lane.set(model.version, i === 0 ? 0 : continued ? ++used : parent);
  });
  const x = (v) => 24 + known.get(v) * step, y = (v) => 24 + lane.get(v) * row;
  const label = models.map((m) => (m.version ? `version ${m.version} from ${m.parent}, ${states.get(m.version).state}` : "version 0")).join("; ");
  const root = drawing("svg", { width: 48 + (models.length - 1) * step, height: 48 + used * row, role: "img", "aria-label": label });
  for (const m of models) if (m.version && known.has(m.parent)) root.append(drawing("path", { d: `M${x(m.parent)} ${y(m.parent)} C${x(m.parent) + step / 2} ${y(m.parent)} ${x(m.version) - step / 2} ${y(m.version)} ${x(m.version)} ${y(m.version)}`, class: m.round === null ? "edge again" : "edge" }));
  for (const m of models) {
    const state = states.get(m.version).state;
    root.append(drawing("circle", { cx: x(m.version), cy: y(m.version), r: radius, class: `node ${state}` }), drawing("text", { x: x(m.version), y: y(m.version) + 4.5, "text-anchor": "middle", class: state }, m.version));
  }
  const newer = $("lineage").scrollLeft === 0 && !$("lineage").firstChild;
  $("lineage").replaceChildren(root);
  if (newer) $("lineage").scrollLeft = $("lineage").scrollWidth;
}

function drawQuality(comparisons) {
  const known = comparisons.filter((c) => c.ctr_difference !== null), settled = known.filter((c) => c.verdict !== "too_early");
  const found = settled.length ? settled : known; // a handful of devices says nothing
  const part = (key) => found.map((c) => c.ctr_difference[key]);
  plot($("quality"), { label: "Difference of click-through to the holdback by version, with bounds that hold at every look", x: found.map((c) => c.version), lines: [{ name: "difference", values: part("value"), tip: found.map((c) => `${bounded(c.ctr_difference, points)} points`), colour: "accent", band: [part("always_low").map(clip), part("always_high").map(clip)] }], level: 0, y: (v) => minus((100 * v).toFixed(0)) + " pt", x_text: (v) => `v${v}`, x_title: (v) => `version ${v}`, none: "appears when a sum counted both arms" });
}
const clip = (value) => Math.max(-0.3, Math.min(0.3, value)); // early bounds are wide: they would flatten everything else

async function draw() {
  const [models, releases, metrics, evaluations] = await Promise.all(["/admin/models", "/admin/releases", "/admin/metrics", "/admin/evaluations"].map(read));
  const states = new Map(releases.rollouts.map((r) => [r.version, r]));
  const compared = new Map(metrics.comparisons.map((c) => [c.version, c])), judged = new Map(evaluations.map((e) => [e.version, e]));
  const deciding = session.role === "operator", newest = models.slice(-MOST);
  drawLineage(newest, states);
  drawQuality(metrics.comparisons);
  if (!(document.activeElement && document.activeElement.matches("#versions input:active, #versions select:focus"))) {
    $("versions").replaceChildren(...[...newest].reverse().map((m) => versionCard(m, states.get(m.version), states.get(m.parent), compared.get(m.version), judged.get(m.version), deciding)));
  }
  $("versions-note").textContent = models.length > MOST ? `the newest ${MOST} of ${models.length}` : "intervals are for one look, 95 %";
  $("pause-note").textContent = releases.paused ? "Paused: no further round opens; devices keep the model they have." : "Rounds open as devices come. Pausing lets those that run end, stopping does not. Devices keep their model.";
  const button = $("pause");
  button.hidden = !deciding;
  button.textContent = releases.paused ? "Resume rounds" : "Pause rounds";
  button.onclick = () => decide(releases.paused ? "/admin/resume" : "/admin/pause", {});
  $("stop").hidden = !deciding;
  $("stop").onclick = () => confirm("End the running rounds too? Their devices took part for nothing, and no sum of theirs is used.") && decide("/admin/stop", {});
}
redraw = draw;
run(draw);
