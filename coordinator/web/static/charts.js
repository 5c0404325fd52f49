// uPlot with this dashboard's looks: colours from the style sheet, one tooltip, drawn anew when size or colours change.
import { element } from "./common.js";

const drawn = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faded = (name, share) => `color-mix(in srgb, ${colour(name)} ${100 * share}%, transparent)`;

// chart: { label, x: [], lines: [{ name, values, colour, dashed, dots, bars, band: [low, high] }], y: (v) => text, x_text: (v) => text,
//          x_space: pixels between two texts, time: bool, zero: bool, whole: bool, level: number }
export function plot(target, chart) {
  const before = drawn.get(target);
  if (before) before.plot.destroy();
  drawn.delete(target);
  target.replaceChildren();
  target.setAttribute("role", "img");
  target.setAttribute("aria-label", chart.label);
  if (!chart.x.length || !chart.lines.some((line) => line.values.some((v) => v !== null))) {
    target.append(element("div", { class: "none" }, chart.none || "appears with the first sum"));
    return;
  }
  const bars = chart.lines.some((line) => line.bars);
  const data = [chart.x, ...chart.lines.map((line) => line.values)];
  const series = [{}, ...chart.lines.map((line) => oneSeries(line))];
  const hidden = [];
  const bands = [];
  chart.lines.forEach((line) => {
    if (!line.band) return;
    data.push(line.band[1], line.band[0]);
    series.push({ show: true, stroke: "transparent", points: { show: false } }, { show: true, stroke: "transparent", points: { show: false } });
    hidden.push(series.length - 1, series.length - 2);
    bands.push({ series: [series.length - 2, series.length - 1], fill: faded(line.colour, 0.16) });
  });
  if (chart.level !== undefined && chart.level !== null) {
    data.push(chart.x.map(() => chart.level));
    series.push({ stroke: colour("warm"), width: 1.75, dash: [6, 5], points: { show: false } });
    hidden.push(series.length - 1);
  }
  const axis = { stroke: colour("quiet"), font: "12px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: colour("line"), width: 1 } };
  const options = {
    width: target.clientWidth,
    height: target.clientHeight,
    padding: [8, chart.time ? 24 : 10, 0, 0], // the last hour's label is wider than half a step
    legend: { show: false },
    cursor: { points: { size: 9, fill: (u, i) => (hidden.includes(i) ? "transparent" : series[i].stroke || colour("accent")), stroke: colour("card"), width: 2 }, drag: { x: false, y: false } },
    scales: {
      x: { time: Boolean(chart.time), range: (u, low, high) => (bars ? [low - widthOf(chart.x), high + widthOf(chart.x)] : low === high ? [low - 1, high + 1] : [low, high]) },
      y: { range: (u, low, high) => rangeOf(low, high, chart.zero !== false) },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 26, space: chart.x_space || (chart.time ? 70 : 44), incrs: chart.time ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500], values: chart.x_text ? (u, ticks) => ticks.map((v) => (v % 1 ? "" : chart.x_text(v))) : chart.time ? (u, ticks) => ticks.map(dayAndHour) : undefined },
      { ...axis, size: 54, space: 38, incrs: chart.whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000] : undefined, values: (u, ticks) => ticks.map((v) => chart.y(v)) },
    ],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"),
    series,
    bands,
    hooks: { setCursor: [(u) => tip(u, chart)] },
  };
  drawn.set(target, { plot: new uPlot(options, data, target), chart });
}

function oneSeries(line) {
  const stroke = colour(line.colour);
  if (line.bars) return { fill: stroke, stroke: "transparent", width: 0, paths: uPlot.paths.bars({ size: [0.72, 36], radius: 0.18 }), points: { show: false } };
  return { stroke, width: 2.25, dash: line.dashed ? [6, 5] : undefined, fill: line.area ? faded(line.colour, 0.14) : undefined, spanGaps: true, points: { show: line.dots !== false && line.values.length < 60, size: 7, fill: stroke, stroke: colour("card"), width: 1.5 } };
}

const widthOf = (x) => (x.length > 1 ? Math.min(...x.slice(1).map((v, i) => v - x[i])) : 1) * 0.7;

function rangeOf(low, high, zero) {
  if (low === null || low === undefined) return [0, 1];
  const top = Math.max(high, zero ? 0 : high), bottom = zero ? Math.min(low, 0) : low;
  const room = (top - bottom || Math.abs(top) || 1) * 0.1;
  return [bottom < 0 || !zero ? bottom - room : 0, top > 0 || !zero ? top + room : room];
}

const dayAndHour = (seconds) => {
  const at = new Date(1000 * seconds);
  const hour = at.getUTCHours();
  return hour === 0 ? at.toLocaleDateString("en", { weekday: "short", day: "numeric", timeZone: "UTC" }) : `${String(hour).padStart(2, "0")}:00`;
};

function tip(u, chart) {
  let box = u.over.querySelector(".tip");
  const index = u.cursor.idx;
  if (index === null || index === undefined || u.cursor.left < 0) { if (box) box.remove(); return; }
  const lines = chart.lines.filter((line) => line.values[index] !== null && line.values[index] !== undefined);
  if (!box) { box = element("div", { class: "tip" }); u.over.append(box); }
  const title = chart.time ? `${dayAndHour(chart.x[index])} UTC` : (chart.x_title || String)(chart.x[index]);
  box.textContent = [title, ...lines.map((line) => `${line.name}  ${line.tip ? line.tip[index] : chart.y(line.values[index])}`)].join("\n");
  const left = u.valToPos(chart.x[index], "x"), wide = box.offsetWidth;
  box.style.left = `${Math.max(0, Math.min(left + 12, u.over.clientWidth - wide))}px`;
  box.style.top = "2px";
}

const again = () => { for (const [target, { chart }] of [...drawn]) plot(target, chart); };
addEventListener("resize", again);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
