// Draws what /admin/events sends. Text is only ever set as text; nothing is fetched from elsewhere.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let page = null;
let skew = 0; // the coordinator's clock minus ours, seconds
let metric = "click_through_rate";

const number = (value) => value.toLocaleString("en");
const rate = (value) => (value === null ? "–" : value < 0.1 ? value.toFixed(4) : value.toFixed(3));
const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1) + " %");
const shown = (name, value) => (name === "click_through_rate" ? percent(value) : rate(value));
const kilobytes = (value) => (value === null ? "–" : value < 1e6 ? (value / 1e3).toFixed(1) + " kB" : (value / 1e6).toFixed(1) + " MB");
const seconds = (value) => (value === null ? "–" : value < 120 ? value.toFixed(1) + " s" : (value / 60).toFixed(1) + " min");
const words = (name) => name.replaceAll("_", " ");

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawing(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawLive({ status }) {
  const live = status.running;
  $("task").textContent = `${words(status.task)} · model version ${status.model.version} · ` +
    `${status.published_rounds} rounds published, ${status.abandoned_rounds} abandoned`;
  $("privacy").textContent = status.privacy;
  if (!live) {
    const finished = status.max_rounds && status.published_rounds >= status.max_rounds;
    $("live-title").textContent = finished ? "All rounds are done" : "Between rounds";
    $("live-note").textContent = finished ? `${status.published_rounds} of ${status.max_rounds} published` : "the next one opens shortly";
  } else {
    const attempt = live.attempt > 1 ? `, attempt ${live.attempt}` : "";
    $("live-title").textContent = `Round ${live.round}${attempt}: ${live.state}`;
  }
  const idle = ["check in", "advertise", "share", "masked input", "unmask"].map((name) => ({ name, status: "waiting", answered: 0, expected: 0 }));
  const phases = live ? live.phases : idle;
  while ($("phases").children.length < phases.length) {
    $("phases").append(element("li", { class: "phase" }, element("div", { class: "name" }, element("span"), element("span")), element("div", { class: "bar" }, element("i"))));
  }
  phases.forEach((phase, i) => {
    const item = $("phases").children[i];
    const [label, bar] = item.children;
    item.dataset.status = phase.status;
    label.children[0].textContent = phase.name;
    label.children[1].textContent = phase.status === "waiting" ? "" : `${phase.answered} / ${phase.expected}`;
    bar.firstChild.style.width = phase.expected ? `${Math.min(100, (100 * phase.answered) / phase.expected)}%` : "0";
  });
  drawCountdown();
}

function drawCountdown() {
  const live = page && page.status.running;
  if (!live) return;
  const left = Math.max(0, Math.round(live.deadline - skew - Date.now() / 1000));
  $("live-note").textContent = left > 0 ? `closes when all have answered, at the latest in ${left} s` : "closing";
}

function drawTiles({ status, metrics }) {
  const treatment = metrics.by_version.filter((u) => u.arm === "treatment" && u.lines > 0);
  const newest = treatment[treatment.length - 1] || null;
  const base = metrics.by_version.find((u) => u.arm === "holdback" && u.lines > 0) ||
    treatment.find((u) => u.version === 0 && u !== newest) || null;
  const against = base ? (base.arm === "holdback" ? "holdback" : "version 0") : "";
  const tile = (title, name) => {
    const value = newest ? newest[name] : null;
    const note = element("span", { class: "quiet" });
    if (base && value !== null && base[name]) {
      const lift = value / base[name] - 1;
      note.append(element("span", { class: lift >= 0 ? "up" : "down" }, `${lift >= 0 ? "+" : "−"}${Math.abs(100 * lift).toFixed(0)} %`), ` on ${against} ${shown(name, base[name])}`);
    } else note.append(newest ? "nothing to compare with yet" : "no counts yet");
    return element("div", { class: "tile" }, element("span", { class: "quiet" }, newest ? `${title}, v${newest.version}` : title), element("b", {}, shown(name, value)), note);
  };
  const last = metrics.by_round.length ? `threshold ${status.model.threshold.toFixed(2).replace("-", "−")}` : "as shipped";
  $("tiles").replaceChildren(
    element("div", { class: "tile" }, element("span", { class: "quiet" }, "Model in the field"), element("b", {}, `v${status.model.version}`), element("span", { class: "quiet" }, `from ${status.model.participants} devices, ${last}`)),
    tile("CTR", "click_through_rate"), tile("Clicks a line", "clicks_per_line"), tile("Offers a line", "offers_per_line"));
}

// series: [{ name, points: [[x, y]] }]; level: y of a dashed line, or null
function drawChart(target, series, level, label) {
  const width = Math.max(240, target.clientWidth), height = 190, left = 46, right = 12, top = 10, bottom = 24;
  const root = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const points = series.flatMap((s) => s.points);
  if (!points.length) {
    root.append(drawing("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "empty" }, "appears with the first sum"));
    target.replaceChildren(root);
    return;
  }
  const xs = points.map((p) => p[0]);
  const low = Math.min(...xs), high = Math.max(...xs, low + 1);
  const top_value = 1.12 * Math.max(...points.map((p) => p[1]), level || 0, 1e-6);
  const raw = top_value / 4, scale = 10 ** Math.floor(Math.log10(raw));
  const step = scale * [1, 2, 2.5, 5, 10].find((m) => m * scale >= raw);
  const x = (v) => left + ((v - low) / (high - low)) * (width - left - right);
  const y = (v) => height - bottom - (v / top_value) * (height - top - bottom);
  for (let v = 0; v <= top_value; v += step) {
    root.append(drawing("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), class: "grid" }));
    const digits = Math.max(0, -Math.floor(Math.log10(step)) + (String(step / scale).includes(".") ? 1 : 0));
    const text = metric === "click_through_rate" ? (100 * v).toFixed(Math.max(0, digits - 2)) + " %" : v.toFixed(digits);
    root.append(drawing("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, text));
  }
  const every = Math.max(1, Math.ceil((high - low) / 8));
  for (let v = low; v <= Math.max(...xs); v += every) root.append(drawing("text", { x: x(v), y: height - 6, "text-anchor": "middle" }, v));
  if (level !== null) root.append(drawing("line", { x1: left, x2: width - right, y1: y(level), y2: y(level), class: "holdback" }));
  for (const s of series) {
    if (s.points.length > 1) root.append(drawing("polyline", { points: s.points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" "), class: s.name }));
    for (const p of s.name === "treatment" || s.points.length === 1 ? s.points : []) {
      const dot = drawing("circle", { cx: x(p[0]), cy: y(p[1]), r: 4, class: s.name === "treatment" ? "" : "base" });
      dot.append(drawing("title", {}, `${label} ${p[0]}: ${shown(metric, p[1])}`));
      root.append(dot);
    }
  }
  target.replaceChildren(root);
}

function drawCharts({ metrics }) {
  const known = (u) => u[metric] !== null;
  const versions = metrics.by_version.filter((u) => u.arm === "treatment" && known(u)).map((u) => [u.version, u[metric]]);
  const holdback = metrics.by_version.find((u) => u.arm === "holdback" && known(u));
  drawChart($("by-version"), [{ name: "treatment", points: versions }], holdback ? holdback[metric] : null, "version");
  const rounds = (arm) => metrics.by_round.filter((r) => known(r[arm])).map((r) => [r.round, r[arm][metric]]);
  drawChart($("by-round"), [{ name: "holdback", points: rounds("holdback") }, { name: "treatment", points: rounds("treatment") }], null, "round");
}

function fill(id, rows, none) {
  const body = $(id).tBodies[0];
  const columns = $(id).tHead.rows[0].cells.length;
  body.replaceChildren(...(rows.length ? rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))) :
    [element("tr", {}, element("td", { class: "none", colspan: columns }, none))]));
}

function drawTables({ rounds, metrics }) {
  const order = [...metrics.by_version].sort((a, b) => a.arm.localeCompare(b.arm) || b.version - a.version);
  fill("usage", order.map((u) => [u.arm, `v${u.version}`, percent(u.click_through_rate), rate(u.clicks_per_line), rate(u.offers_per_line), number(u.clicks), number(u.offers), number(u.lines)]), "No sum has been opened yet.");
  const ended = (r) => {
    if (r.state === "published") return element("span", { class: "tag" }, "published");
    if (r.state === "abandoned") return element("span", { class: "tag abandoned" }, words(r.reason || "abandoned"));
    return element("span", { class: "tag running" }, r.state);
  };
  const drops = (r) => {
    const missed = Object.entries(r.dropouts).filter(([, n]) => n > 0).map(([phase, n]) => `${n} ${words(phase)}`);
    return missed.length ? missed.join(", ") : Object.keys(r.dropouts).length ? "none" : "–";
  };
  const summed = (r) => (r.inputs === null ? "–" : `${number(r.inputs)} of ${number(r.selected)}`);
  const graph = (r) => (r.neighbours === null ? "–" : `${r.complete_graph ? "all" : `k ${r.neighbours}`}, t ${r.shares_needed}`);
  fill("rounds", rounds.map((r) => [r.attempt > 1 ? `${r.round}.${r.attempt}` : `${r.round}`, ended(r), r.published_version === null ? "–" : `v${r.published_version}`, summed(r), graph(r), drops(r), kilobytes(r.bytes_up_per_device), kilobytes(r.bytes_up), seconds(r.duration_s)]), "No round has been opened yet.");
  $("rounds-note").textContent = rounds.length >= 60 ? "the newest 60" : "";
}

function draw(data) {
  page = data;
  skew = data.status.now - Date.now() / 1000;
  drawLive(data);
  drawTiles(data);
  drawCharts(data);
  drawTables(data);
}

function connection(state, text) {
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

for (const button of document.querySelectorAll(".switch button")) {
  button.addEventListener("click", () => {
    metric = button.dataset.metric;
    for (const other of document.querySelectorAll(".switch button")) other.setAttribute("aria-pressed", String(other === button));
    if (page) drawCharts(page);
  });
}
addEventListener("resize", () => page && drawCharts(page));
setInterval(drawCountdown, 1000);

// The first picture does not wait for the stream; without a free stream the page asks every few seconds.
const fetchPage = () => fetch("/admin/page").then((answer) => answer.json()).then(draw);
fetchPage().catch(() => {});
if (new URLSearchParams(location.search).has("still")) connection("live", "as of now"); // to print or to photograph
else listen();

function listen() {
  const events = new EventSource("/admin/events");
  let polling = null;
  events.onopen = () => { connection("live", "live"); clearInterval(polling); polling = null; };
  events.onmessage = (event) => draw(JSON.parse(event.data));
  events.onerror = () => {
    connection("lost", "reconnecting");
    if (polling === null) polling = setInterval(() => fetchPage().then(() => connection("live", "live")).catch(() => {}), 3000);
  };
  addEventListener("pagehide", () => events.close());
}
