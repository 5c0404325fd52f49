// Check-ins by hour and app version.
import { $, count, element, percent, read, run } from "./common.js";
import { plot } from "./charts.js";

run(async () => {
  const hours = await read("/admin/population");
  const byHour = new Map(), byVersion = new Map();
  const last = hours.length ? hours[hours.length - 1].hour : 0;
  for (const { hour, app_version, count: found } of hours) {
    byHour.set(hour, (byHour.get(hour) || 0) + found);
    if (hour > last - 24) byVersion.set(app_version, (byVersion.get(app_version) || 0) + found);
  }
  const first = hours.length ? Math.min(hours[0].hour, last - 23) : 0; // a day at least, also when all of it was one hour
  const x = Array.from({ length: hours.length ? last - first + 1 : 0 }, (_, i) => first + i);
  plot($("hours"), { label: `Check-ins by hour, at most ${Math.max(0, ...byHour.values())}`, x: x.map((hour) => 3600 * hour), lines: [{ name: "check-ins", values: x.map((hour) => byHour.get(hour) || 0), colour: "accent", bars: true }], time: true, whole: true, y: (v) => count(Math.round(v)), none: "nobody has checked in yet" });
  $("hours-note").textContent = hours.length ? "UTC, the last seven days" : "";
  const total = [...byVersion.values()].reduce((a, b) => a + b, 0);
  const row = ([version, found]) => {
    const bar = element("i");
    bar.style.width = `${(100 * found) / total}%`;
    return element("div", { class: "share" }, element("span", {}, version), element("div", { class: "meter" }, bar), element("span", {}, `${percent(found / total)} · ${count(found)}`));
  };
  $("shares").replaceChildren(...(total ? [...byVersion].sort((a, b) => b[1] - a[1]).map(row) : [element("p", { class: "quiet" }, "Nobody has checked in yet.")]));
});
