// What opened sums may say about one device, and what is assumed.
import { $, count, definitions, element, kindOf, read, run } from "./common.js";
import { plot } from "./charts.js";

function card(task) {
  const made = element("section", { class: "card task", "aria-label": task.task },
    element("div", { class: "head" }, element("h2", {}, task.task), element("span", { class: `tag ${task.guaranteed ? "" : "abandoned"}` }, task.guaranteed ? `ε ${task.epsilon.toFixed(2)} at δ ${task.delta}` : "no DP guarantee")));
  if (!task.guaranteed) made.append(element("p", { class: "quiet" }, "No noise is added here: how many devices are in a sum is what hides one of them, and no bound (ε, differential privacy) is claimed."));
  if (task.guaranteed) {
    made.append(element("p", { class: "quiet" }, task.sentence));
    const bar = element("i");
    bar.style.width = `${Math.min(100, (100 * task.epsilon) / task.epsilon_budget)}%`;
    made.append(element("div", { class: "budget", role: "img", "aria-label": `${task.epsilon.toFixed(2)} of ${task.epsilon_budget} epsilon spent` }, bar));
  }
  made.append(definitions("numbers", [
    ["ε spent", task.guaranteed ? `${task.epsilon.toFixed(2)} of ${task.epsilon_budget}` : "∞"],
    ["Smallest sum", task.smallest_sum === null ? "–" : `${count(task.smallest_sum)} devices`],
    ["Nothing opened under", `${count(task.smallest_aggregate)} devices`],
    ["Sums with noise", count(task.noisy_sums)],
    ["Exact sums", count(task.exact_sums)],
    ["Noise multiplier", task.noise_multiplier ? task.noise_multiplier.toFixed(2) : "none"],
  ]));
  return made;
}

run(async ({ rounds }) => {
  const tasks = await read("/admin/privacy");
  $("ledger").replaceChildren(...tasks.map(card));
  $("assumptions").replaceChildren(...tasks[0].assumptions.map((sentence) => element("li", {}, sentence)));
  const opened = rounds.filter((r) => r.unmasked !== null && r.inputs !== null).reverse();
  plot($("sums"), { label: "Devices in each opened sum", x: opened.map((_, i) => i), lines: [{ name: "devices", values: opened.map((r) => r.inputs), colour: "accent", bars: true }], level: tasks[0].smallest_aggregate, whole: true, y: (v) => count(Math.round(v)), x_text: (v) => (opened[v] ? `${kindOf(opened[v].task)} ${opened[v].round}` : ""), x_space: 96, x_title: (i) => `${kindOf(opened[i].task)} round ${opened[i].round}` });
});
