// The round as it happens, and what people did with the offers.
import { $, bytes, count, definitions, duration, element, fill, kindOf, minus, percent, rate, run, words } from "./common.js";
import { plot } from "./charts.js";

let metric = "click_through_rate", page = null, skew = 0;
const shown = (value) => (metric === "click_through_rate" ? percent(value) : rate(value));
const PHASE_NAMES = ["check in", "advertise", "share", "masked input", "confirm", "unmask"];
const FEWEST_OFFERS = 100; // fewer say nothing about a version: the table has them
const KEYS = { "advertise": "advertise", "share": "share", "masked input": "masked_input", "confirm": "confirm", "unmask": "unmask" };

function phaseItem(phase, lost) {
  const bar = element("i");
  bar.style.width = phase.expected ? `${Math.min(100, (100 * phase.answered) / phase.expected)}%` : "0";
  return element("li", { class: "phase", "data-status": phase.status },
    element("div", { class: "label" }, element("b", {}, phase.name), element("span", {}, phase.status === "waiting" ? "" : `${phase.answered} / ${phase.expected}`)),
    element("div", { class: "meter" }, bar), element("div", { class: "lost" }, lost ? `${lost} dropped out` : ""));
}

function graphOf(found) {
  if (found.neighbours === null || found.neighbours === undefined) return "fixed when keys are advertised";
  return found.complete_graph ? `complete: each shares with all ${found.neighbours} others` : `sparse: each shares with ${found.neighbours} others`;
}

function cohortsOf(cohorts) {
  const states = new Map();
  for (const cohort of cohorts) {
    const state = words(cohort.reason || cohort.state);
    states.set(state, (states.get(state) || 0) + 1);
  }
  return `${cohorts.length}: ${[...states].map(([state, n]) => `${n} ${state}`).join(", ")}`;
}

// What a round sums, where that is more than its task says: the sums of FSVRG.
const part = (r, before) => (r.summed && r.summed !== kindOf(r.task) ? `${before}${words(r.summed)}` : "");

function liveCard(live) {
  const attempt = live.attempt > 1 ? `, attempt ${live.attempt}` : "";
  const head = element("div", { class: "head" },
    element("h2", {}, `${words(kindOf(live.task))[0].toUpperCase()}${kindOf(live.task).slice(1)} round ${live.round}${attempt} `, element("small", {}, `· ${live.state}${part(live, " · ")} · on model v${live.base_version}`)),
    element("span", { class: "countdown", "data-deadline": live.deadline }));
  const phases = element("ol", { class: "phases" }, ...live.phases.map((phase) => phaseItem(phase, live.dropouts[KEYS[phase.name]])));
  const selected = live.phases[0], cohorts = live.cohorts || [];
  return element("section", { class: "card round", "aria-label": `${kindOf(live.task)} round under way` }, head, phases, definitions("facts", [
    ["Selected", `${count(selected.answered)} of ${count(selected.expected)} wanted`],
    ...(cohorts.length ? [["Cohorts", cohortsOf(cohorts)]] : []),
    ["Graph (k)", graphOf(live)],
    ["Shares that open a secret (t)", live.shares_needed && live.neighbours ? `${live.shares_needed}` : "–"],
    ["Dropouts so far", count(Object.values(live.dropouts).reduce((a, b) => a + b, 0))],
    ["Under way", duration(Math.max(0, page.status.now - live.opened_at))],
  ]));
}

function idleCard(status) {
  const done = status.max_rounds && status.versions_made >= status.max_rounds;
  const title = status.paused ? "Rounds are paused" : done ? "All rounds are done" : "Between rounds";
  const note = status.paused ? "resume them on the models page" : done ? `${status.versions_made} of ${status.max_rounds} versions made` : "the next one opens by itself";
  return element("section", { class: "card round" }, element("div", { class: "head" }, element("h2", {}, title), element("span", { class: "countdown" }, note)),
    element("ol", { class: "phases" }, ...PHASE_NAMES.map((name) => phaseItem({ name, status: "waiting", answered: 0, expected: 0 }, 0))));
}

function countDown() {
  for (const node of document.querySelectorAll(".countdown[data-deadline]")) {
    const left = Math.max(0, Number(node.dataset.deadline) - skew - Date.now() / 1000);
    node.replaceChildren(...(left > 0 ? ["closes when all answered, in ", element("b", {}, duration(Math.round(left))), " at the latest"] : ["closing"]));
  }
}

function drawTiles({ status, metrics, rounds }) {
  const compared = metrics.comparisons.filter((c) => c.ctr !== null), settled = compared.filter((c) => c.verdict !== "too_early");
  const newest = settled[settled.length - 1] || compared[compared.length - 1] || null;
  const tile = (title, value, ...note) => element("div", { class: "tile" }, element("span", { class: "quiet" }, title), element("b", {}, value), element("span", { class: "quiet" }, ...note));
  const lift = (value, text) => [element("span", { class: value >= 0 ? "up" : "down" }, `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(0)} %`), ` ${text}`];
  const against = newest && newest.holdback_ctr && newest.holdback_ctr.value ? lift(newest.ctr.value / newest.holdback_ctr.value - 1, `on the holdback's ${percent(newest.holdback_ctr.value)}`) : ["nothing to compare with yet"];
  const retained = (found) => (found ? [`95 % interval ${percent(found.low, 0)} to ${percent(found.high, 0)}`] : ["not enough rounds counted both arms yet"]);
  const last = rounds.find((r) => r.state === "published" && kindOf(r.task) === "training");
  $("tiles").replaceChildren(
    tile("Newest model", `v${status.model.version}`, status.model.participants ? `from ${count(status.model.participants)} devices, threshold ${minus(status.model.threshold.toFixed(2))}` : "the release bundle, or an earlier one again"),
    tile(newest ? `Click-through, v${newest.version}` : "Click-through", newest ? percent(newest.ctr.value) : "–", ...(newest ? against : ["no counts yet"])),
    tile("Clicks retained", newest && newest.clicks_retained ? percent(newest.clicks_retained.value, 0) : "–", ...retained(newest && newest.clicks_retained)),
    tile("Last training sum", last ? `${count(last.inputs)} devices` : "–", last ? `of ${count(last.selected)} selected, in ${duration(last.duration_s)}` : "no sum yet"));
}

function drawCharts({ metrics, rounds }) {
  const known = (u) => u[metric] !== null;
  const enough = (u, i, all) => u.offers >= FEWEST_OFFERS || Math.max(...all.map((other) => other.offers)) < FEWEST_OFFERS;
  const versions = metrics.by_version.filter((u) => u.arm === "treatment" && known(u)).filter(enough);
  const holdback = metrics.by_version.filter((u) => u.arm === "holdback" && known(u)).at(-1);
  plot($("by-version"), { label: `${words(metric)} by model version`, x: versions.map((u) => u.version), lines: [{ name: "treatment", values: versions.map((u) => u[metric]), colour: "accent" }], level: holdback ? holdback[metric] : null, y: shown, x_text: (v) => `v${v}`, x_title: (v) => `version ${v}` });
  const counted = metrics.by_round.filter((r) => known(r.treatment) || known(r.holdback));
  plot($("by-round"), { label: `${words(metric)} by training round, treatment and holdback`, x: counted.map((r) => r.round), lines: [{ name: "holdback", values: counted.map((r) => r.holdback[metric]), colour: "warm", dashed: true, dots: false }, { name: "treatment", values: counted.map((r) => r.treatment[metric]), colour: "accent" }], y: shown, x_title: (v) => `round ${v}` });
  const ended = rounds.filter((r) => r.selected !== null && ["published", "abandoned"].includes(r.state)).slice(0, 40).reverse();
  const bySteps = (r) => Object.entries(r.dropouts).filter(([, n]) => n).map(([phase, n]) => `${n} ${words(phase)}`).join(", ") || "none";
  const title = (i) => `${kindOf(ended[i].task)} round ${ended[i].round}: ${words(ended[i].reason || ended[i].state)}`;
  plot($("devices"), { label: "Devices in each sum, and those that dropped out, by round", x: ended.map((_, i) => i), lines: [{ name: "dropped out", values: ended.map((r) => r.selected), tip: ended.map(bySteps), colour: "warm", bars: true }, { name: "in the sum", values: ended.map((r) => r.inputs || 0), colour: "accent", bars: true }], whole: true, y: (v) => count(Math.round(v)), x_text: (v) => (ended[v] ? `${kindOf(ended[v].task)} ${ended[v].round}` : ""), x_space: 96, x_title: title });
}

// A count from a task with noise is an estimate: its standard deviation stands beside it.
const estimate = (show, value, noise) => (noise === null || value === null ? show(value) : `${show(value)} ± ${show(show === count ? Math.round(noise) : noise)} noise`);

function drawTables({ rounds, metrics }) {
  const order = [...metrics.by_version].sort((a, b) => a.arm.localeCompare(b.arm) || b.version - a.version);
  fill("usage", order.map((u) => [u.arm, `v${u.version}`, estimate(percent, u.click_through_rate, u.click_through_noise), rate(u.clicks_per_line), rate(u.offers_per_line), estimate(count, u.clicks, u.clicks_noise), estimate(count, u.offers, u.offers_noise), estimate(count, u.lines, u.lines_noise)]), "No sum has been opened yet.");
  const state = (r) => element("span", { class: `tag ${r.state === "abandoned" ? "abandoned" : r.state === "published" ? "" : "running"}` }, r.state === "abandoned" ? words(r.reason || "abandoned") : r.state);
  const drops = (r) => {
    const missed = Object.entries(r.dropouts).filter(([, n]) => n > 0).map(([phase, n]) => `${n} ${words(phase)}`);
    return element("span", { class: "wrap" }, missed.length ? missed.join(", ") : Object.keys(r.dropouts).length ? "none" : "–");
  };
  const graph = (r) => (r.neighbours === null ? "–" : `k ${r.neighbours}, t ${r.shares_needed}`);
  const made = (r) => (kindOf(r.task) === "evaluation" ? `judged v${r.base_version}` : r.published_version !== null ? `v${r.published_version}` : r.state === "published" && part(r, "") ? `kept with v${r.base_version}` : "–");
  const number = (r) => `${r.round}${r.attempt > 1 ? `.${r.attempt}` : ""}${r.cohorts > 1 ? `, cohort ${r.cohort} of ${r.cohorts}` : ""}`;
  fill("rounds", rounds.slice(0, 24).map((r) => [number(r), kindOf(r.task) + part(r, ": "), state(r), made(r), r.inputs === null ? "–" : `${count(r.inputs)} of ${count(r.selected)}`, drops(r), graph(r), bytes(r.bytes_up_per_device), duration(r.duration_s)]), "No round has been opened yet.");
  $("rounds-note").textContent = rounds.length > 24 ? "the newest 24 of all tasks" : "";
}

function draw(data) {
  page = data;
  skew = data.status.now - Date.now() / 1000;
  const { status } = data;
  $("note").textContent = `${words(status.task)} · model v${status.model.version} · ${count(status.published_rounds)} rounds published, ${count(status.abandoned_rounds)} abandoned`;
  $("privacy").textContent = status.privacy;
  $("live").replaceChildren(...(status.live.length ? status.live.map(liveCard) : [idleCard(status)]));
  countDown();
  drawTiles(data);
  drawCharts(data);
  drawTables(data);
}

for (const button of document.querySelectorAll(".switch button")) {
  button.addEventListener("click", () => {
    metric = button.dataset.metric;
    for (const other of document.querySelectorAll(".switch button")) other.setAttribute("aria-pressed", String(other === button));
    if (page) drawCharts(page);
  });
}
setInterval(countDown, 1000);
run(draw);
