// What every page shares: elements, numbers, who is signed in, and the live stream. Text is only ever set as text.

export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
export const rate = (value) => (value === null || value === undefined ? "–" : value.toFixed(value < 0.1 ? 4 : 3));
export const minus = (text) => text.replace("-", "−");
export const bytes = (value) => (value === null ? "–" : value < 1e6 ? `${(value / 1e3).toFixed(1)} kB` : `${(value / 1e6).toFixed(1)} MB`);
export const time = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");
export const words = (text) => text.replaceAll("_", " ");
export function duration(value) {
  if (value === null || value === undefined) return "–";
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 7200 ? `${(value / 60).toFixed(0)} min` : value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${(value / 86400).toFixed(1)} days`;
}
export const kindOf = (task) => (task.endsWith("/evaluation") ? "evaluation" : task.endsWith("/analytics") ? "analytics" : "training");

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.map((child) => (child === null || child === undefined ? "–" : child)));
  return made;
}

export function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// On a phone a row becomes a block of named values (dashboard.css); the roles keep it a table to whom it is read out.
export function fill(id, rows, none) {
  const table = $(id);
  const names = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  const empty = [element("tr", {}, element("td", { class: "none", colspan: names.length }, none))];
  const row = (cells) => element("tr", { role: "row" }, ...cells.map((cell, i) => element("td", { role: "cell", "data-name": names[i] }, cell)));
  table.setAttribute("role", "table");
  table.tBodies[0].replaceChildren(...(rows.length ? rows.map(row) : empty));
}

export const definitions = (kind, pairs) =>
  element("dl", { class: kind }, ...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));

// -- who is there ---------------------------------------------------------------------------------------------------

export let session = { account: null, role: null, csrf: null };
class Closed extends Error {}

export async function read(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (answer.status === 401) throw new Closed("sign in first");
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

export async function change(method, path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": session.csrf || "", Accept: "application/json" };
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.ok) return answer;
  const refusal = await answer.json().catch(() => ({ message: `the coordinator answered ${answer.status}` }));
  throw new Error(Array.isArray(refusal) ? refusal[2] : refusal.message); // a Refusal travels as [tag, reason, message]
}

export function complain(problem) {
  $("problem").textContent = problem ? problem.message : "";
  $("problem").hidden = !problem;
}

async function drawAccount() {
  session = await read("/admin/session");
  const button = element("button", { type: "button" }, session.account ? "Sign out" : "Sign in");
  button.addEventListener("click", async () => {
    if (!session.account) return $("sign-in").showModal();
    await change("DELETE", "/admin/session");
    location.reload();
  });
  $("account").replaceChildren(...(session.account ? [element("span", {}, `${session.account} · ${session.role}`)] : []), button);
}

function prepareSignIn(start) {
  const dialog = $("sign-in"), form = dialog.querySelector("form"), problem = $("sign-in-problem");
  $("sign-in-cancel").addEventListener("click", () => dialog.close());
  $("open-sign-in").addEventListener("click", () => dialog.showModal());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      await change("POST", "/admin/session", Object.fromEntries(new FormData(form)));
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      return;
    }
    form.reset();
    dialog.close();
    await start();
  });
}

// -- the page and its stream ----------------------------------------------------------------------------------------

function connection(state, text) {
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

// draw(page): page is what /admin/page answers; it is called again whenever something on it changed.
export function run(draw) {
  let drawing = Promise.resolve(), waiting = null, listening = false;
  const show = (page) => {
    waiting = page;
    drawing = drawing.then(async () => {
      if (waiting === null) return;
      const newest = waiting;
      waiting = null;
      $("content").hidden = false; // charts measure themselves
      await draw(newest);
      document.body.dataset.ready = "yes";
    }).catch(complain);
    return drawing;
  };
  const start = async () => {
    await drawAccount();
    try {
      const page = await read("/admin/page");
      $("closed").hidden = true;
      await show(page);
    } catch (problem) {
      if (!(problem instanceof Closed)) return complain(problem);
      $("closed").hidden = false;
      $("content").hidden = true;
      connection("waiting", "not signed in");
      document.body.dataset.ready = "yes";
      return;
    }
    if (new URLSearchParams(location.search).has("still")) connection("live", "as of now"); // to print or to photograph
    else if (!listening) listen();
  };
  const listen = () => {
    listening = true;
    const events = new EventSource("/admin/events");
    let polling = null;
    events.onopen = () => { connection("live", "live"); clearInterval(polling); polling = null; };
    events.onmessage = (event) => show(JSON.parse(event.data));
    events.onerror = () => { // without a free stream the page asks every few seconds
      connection("lost", "reconnecting");
      if (polling === null) polling = setInterval(() => read("/admin/page").then(show).then(() => connection("live", "live")).catch(() => {}), 3000);
    };
    addEventListener("pagehide", () => events.close());
  };
  prepareSignIn(start);
  const here = document.querySelector("nav a[aria-current]");
  here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.clientWidth / 2 + here.offsetWidth / 2;
  start().catch(complain);
}
