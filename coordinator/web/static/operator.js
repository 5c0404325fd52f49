"use strict";
// Models, population, audit log. Text reaches the page through textContent only.

const $ = (id) => document.getElementById(id);
let session = { account: null, role: null, csrf: null };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) key in made && typeof value !== "string" ? (made[key] = value) : made.setAttribute(key, value);
  made.append(...children.map((child) => (child === null || child === undefined ? "–" : child)));
  return made;
}
function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const fetchJson = async (path) => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
};
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const time = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");
const words = (text) => text.replaceAll("_", " ");
const fill = (id, rows, none) => $(id).tBodies[0].replaceChildren(...(rows.length ? rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))) : [element("tr", {}, element("td", { class: "none", colspan: String($(id).tHead.rows[0].cells.length) }, none))]));

// -- who is there ---------------------------------------------------------------------------------------------------

async function change(method, path, body) {
  const answer = await fetch(path, { method, headers: { "Content-Type": "application/json", "X-CSRF-Token": session.csrf || "", Accept: "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.ok) return answer;
  const refusal = await answer.json().catch(() => ({ message: `the coordinator answered ${answer.status}` }));
  throw new Error(Array.isArray(refusal) ? refusal[2] : refusal.message); // a Refusal travels as [tag, reason, message]
}

async function drawAccount() {
  session = await fetchJson("/admin/session");
  const button = element("button", { type: "button", class: "chip" }, session.account ? "Sign out" : "Sign in");
  button.addEventListener("click", async () => {
    if (!session.account) return $("sign-in").showModal();
    await change("DELETE", "/admin/session");
    await start();
  });
  $("account").replaceChildren(...(session.account ? [element("span", { class: "chip" }, `${session.account} · ${session.role}`)] : []), button);
}

function prepareSignIn() {
  const dialog = $("sign-in");
  const form = dialog.querySelector("form");
  $("sign-in-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    $("sign-in-problem").textContent = "";
    const { account, password } = Object.fromEntries(new FormData(form));
    try {
      await change("POST", "/admin/session", { account, password });
    } catch (problem) {
      $("sign-in-problem").textContent = problem.message;
      return;
    }
    form.reset();
    dialog.close();
    await start();
  });
}

// -- models ---------------------------------------------------------------------------------------------------------

async function decide(path, body) {
  $("problem").textContent = "";
  try {
    await change("POST", path, body);
  } catch (problem) {
    $("problem").textContent = problem.message;
  }
  await drawModels();
}

const bounded = (found, digits = 3) => (found === null ? "–" : `${found.value.toFixed(digits)} [${found.low.toFixed(digits)}, ${found.high.toFixed(digits)}]`);

function versionCard(model, rollout, comparison, deciding) {
  const facts = element("dl", {});
  const fact = (name, value) => facts.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  fact("Made from", model.participants ? `${model.participants} devices, ${model.examples} examples` : model.version ? `version ${model.parent}, published again` : "the release bundle");
  fact("Threshold", model.threshold.toFixed(3));
  if (comparison) {
    fact("CTR", bounded(comparison.ctr, 4));
    fact("Less holdback", bounded(comparison.ctr_difference, 4));
    fact("Clicks retained", bounded(comparison.clicks_retained, 2));
    fact("Offers retained", bounded(comparison.offers_retained, 2));
    fact("Devices", `${comparison.treatment_devices} against ${comparison.holdback_devices}`);
    fact("Verdict", words(comparison.verdict));
  }
  const card = element("article", { class: "card", "data-version": String(model.version), "data-state": rollout.state },
    element("div", { class: "head" }, element("h3", {}, `Version ${model.version}`), element("span", { class: rollout.state === "withdrawn" ? "tag abandoned" : "tag" }, `${rollout.state} · ${rollout.reason}`)), facts);
  if (model.version && rollout.state !== "withdrawn") {
    const id = `percent-${model.version}`;
    const shown = element("output", { for: id }, `${rollout.percent} %`);
    const slider = element("input", { type: "range", id, min: "0", max: "100", step: "1", value: String(rollout.percent) });
    slider.disabled = !deciding;
    slider.addEventListener("input", () => { shown.textContent = `${slider.value} %`; });
    slider.addEventListener("change", () => decide(`/admin/models/${model.version}/rollout`, { percent: Number(slider.value) }));
    card.append(element("p", { class: "rollout" }, element("label", { for: id }, "Devices told of it"), slider, shown));
    if (deciding) {
      const button = element("button", { type: "button", class: "danger" }, `Roll back version ${model.version}`);
      button.addEventListener("click", () => confirm(`Withdraw version ${model.version} and everything trained on top of it?`) && decide(`/admin/models/${model.version}/rollback`, {}));
      card.append(element("p", { class: "buttons" }, button));
    }
  }
  return card;
}

function drawLineage(models, states) {
  const lanes = new Map(), step = 64, row = 42;
  let used = 0;
  for (const model of models) {
    const last = model.version && models.filter((m) => m.version < model.version && m.parent === model.parent && m.version).length === 0;
    lanes.set(model.version, model.version === 0 ? 0 : last ? lanes.get(model.parent) : ++used);
  }
  const x = (v) => 24 + models.findIndex((m) => m.version === v) * step, y = (v) => 24 + lanes.get(v) * row;
  const root = drawing("svg", { width: 48 + (models.length - 1) * step, height: 48 + used * row, role: "img", "aria-label": models.map((m) => (m.version ? `version ${m.version} from ${m.parent}` : "version 0")).join(", ") });
  for (const m of models) if (m.version) root.append(drawing("path", { d: `M${x(m.parent)} ${y(m.parent)} C${x(m.parent) + 32} ${y(m.parent)} ${x(m.version) - 32} ${y(m.version)} ${x(m.version)} ${y(m.version)}`, class: "edge" }));
  for (const m of models) root.append(drawing("circle", { cx: x(m.version), cy: y(m.version), r: 15, class: `node ${states.get(m.version).state}` }), drawing("text", { x: x(m.version), y: y(m.version) + 4, "text-anchor": "middle" }, m.version));
  $("lineage").replaceChildren(root);
}

async function drawModels() {
  const [models, releases, metrics] = await Promise.all([fetchJson("/admin/models"), fetchJson("/admin/releases"), fetchJson("/admin/metrics")]);
  const states = new Map(releases.rollouts.map((r) => [r.version, r]));
  const compared = new Map(metrics.comparisons.map((c) => [c.version, c]));
  const deciding = session.role === "operator";
  drawLineage(models.slice(-40).filter((m, i, all) => i === 0 || all.some((o) => o.version === m.parent)), states);
  $("versions").replaceChildren(...models.slice(-40).reverse().map((m) => versionCard(m, states.get(m.version), compared.get(m.version), deciding)));
  $("pause-note").textContent = releases.paused ? "Paused: no further round opens; devices keep the model they have." : "Rounds open as devices come.";
  const button = $("pause");
  button.hidden = !deciding;
  button.textContent = releases.paused ? "Resume rounds" : "Pause rounds";
  button.onclick = () => decide(releases.paused ? "/admin/resume" : "/admin/pause", {});
}

// -- population and audit log ---------------------------------------------------------------------------------------

async function drawPopulation() {
  const hours = await fetchJson("/admin/population");
  const byHour = new Map(), byVersion = new Map();
  const last = hours.length ? hours[hours.length - 1].hour : 0;
  for (const { hour, app_version, count } of hours) {
    byHour.set(hour, (byHour.get(hour) || 0) + count);
    if (hour > last - 24) byVersion.set(app_version, (byVersion.get(app_version) || 0) + count);
  }
  const first = hours.length ? hours[0].hour : 0, span = Math.max(24, last - first + 1);
  const width = Math.max(240, $("hours").clientWidth), height = 190, highest = Math.max(1, ...byHour.values());
  const root = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `check-ins by hour, at most ${highest}` });
  for (const [hour, count] of byHour) {
    const tall = (count / highest) * (height - 30);
    const bar = drawing("rect", { x: 40 + ((hour - last + span - 1) / span) * (width - 50), y: height - 22 - tall, width: Math.max(1, (width - 50) / span - 1), height: tall, class: "hour" });
    bar.append(drawing("title", {}, `${time(hour * 3600)} UTC: ${count}`));
    root.append(bar);
  }
  root.append(drawing("text", { x: 34, y: 14, "text-anchor": "end" }, highest), drawing("text", { x: 40, y: height - 6 }, hours.length ? time((last - span + 1) * 3600) : ""), drawing("text", { x: width - 10, y: height - 6, "text-anchor": "end" }, hours.length ? time(last * 3600) : ""));
  $("hours").replaceChildren(root);
  $("hours-note").textContent = hours.length ? "UTC, the last seven days" : "nobody has checked in yet";
  const total = [...byVersion.values()].reduce((a, b) => a + b, 0);
  fill("versions", [...byVersion].sort((a, b) => b[1] - a[1]).map(([version, count]) => [version, String(count), percent(count / total)]), "Nobody has checked in yet.");
}

async function drawAudit() {
  fill("audit", (await fetchJson("/admin/audit")).map((entry) => [time(entry.at), entry.actor, entry.action, entry.detail]), "Nobody has decided anything yet.");
}

async function start() {
  const page = document.body.dataset.page;
  if ($("sign-in")) await drawAccount();
  await { models: drawModels, population: drawPopulation, audit: drawAudit }[page]();
  document.body.dataset.ready = "yes";
}
if ($("sign-in")) prepareSignIn();
start().catch((problem) => { $("note").textContent = problem.message; });
