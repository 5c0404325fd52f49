// What devices are asked to do, and how their rounds end.
import { $, bytes, count, definitions, duration, element, read, run, time, words } from "./common.js";

const ABOUT = {
  training: "Each device improves the newest model on its own log; the masked sum of the changes makes the next version.",
  evaluation: "Devices score offers that no training has seen with the new version and the one before; only histograms are summed. What is worse goes to nobody.",
  analytics: "Devices add up lines, offers and clicks by arm and version. Nothing is trained.",
  feature_counts: "The trigger is trained by FSVRG. Next sum: in how many examples, and on how many devices, each feature occurs.",
  gradient: "The trigger is trained by FSVRG. Next sum: the gradient at the newest version, from which the steps of the sum after it vary little.",
  descent: "The trigger is trained by FSVRG. Next sum: each device's pass of variance-reduced steps; it makes the next version.",
};

function card(task) {
  const abandoned = Object.values(task.abandoned).reduce((a, b) => a + b, 0), ended = task.published + abandoned;
  const reasons = Object.entries(task.abandoned).map(([reason, n]) => `${n} ${words(reason)}`).join(", ");
  const small = (value, note) => { const made = document.createDocumentFragment(); made.append(value, element("small", {}, note)); return made; };
  return element("section", { class: "card task", "aria-label": task.kind },
    element("div", { class: "head" }, element("h2", {}, task.name), element("span", { class: `tag ${task.state ? "" : "plain"}` }, task.state || (task.wanted ? "waits for its next round" : "nothing to do"))),
    element("p", { class: "quiet" }, ABOUT[task.next_sum]),
    definitions("numbers", [
      ["Sums opened", small(count(task.published), ended ? `${((100 * task.published) / ended).toFixed(0)} % of ${count(ended)}` : "none ended yet")],
      ["Abandoned", small(count(abandoned), reasons || "none")],
      ["Last sum", small(count(task.last_devices), task.last_ended ? `devices, ${time(task.last_ended).slice(5)}` : "no sum yet")],
      ["Device contributions", small(count(task.devices_summed), "over all rounds")],
      ["Up a device", small(bytes(task.bytes_up_per_device), "a round, on average")],
      ["A round takes", small(duration(task.mean_duration_s), `then pauses ${duration(task.pause_s)}`)],
      ["Wanted", small(`${count(task.goal_count)} devices`, `no sum under ${count(task.smallest_aggregate)}`)],
    ]));
}

run(async () => $("tasks").replaceChildren(...(await read("/admin/tasks")).map(card)));
