// The console over the public API only: who looks, at which view and which project.

import * as loop from "/static/loop.js";
import { api, node } from "/static/page.js";
import * as queues from "/static/queues.js";

const REFRESH_MS = 2000;
const VIEWS = { loop, queues };
const chosen = document.getElementById("project");
const shown = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "loop");

const newest = (projects) => {
  const own = projects.filter((each) => each.project !== "default").sort((a, b) => b.created_us - a.created_us);
  return own[0]?.project ?? "default";
};

const tell = (text, fix) => {
  const notice = document.getElementById("notice");
  notice.hidden = !text;
  notice.replaceChildren(...(text ? [node("strong", {}, text), " ", fix ?? ""] : []));
};

const choose = async () => {
  if (chosen.options.length) return;
  const projects = await api("/projects");
  chosen.replaceChildren(...projects.map((p) => node("option", { value: p.project }, p.project)));
  chosen.value = new URLSearchParams(location.search).get("project") || newest(projects);
  document.getElementById("logout").hidden = false;
};

const turn = () => {
  for (const name of Object.keys(VIEWS)) {
    document.getElementById(`view-${name}`).hidden = name !== shown();
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === shown()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("of-project").hidden = shown() !== "loop";
};

const refresh = async () => {
  const state = document.getElementById("state");
  try {
    await choose();
    await VIEWS[shown()].refresh(chosen.value);
    tell("");
    state.textContent = `live, ${new Date().toLocaleTimeString()}`;
  } catch (wrong) {
    state.textContent = "not connected";
    if (wrong.status === 401) tell("You are not logged in.", "Run `sill open` in a terminal on this machine: it opens this page with a one-use link.");
    else tell(wrong.message, wrong.fix ?? "Is the platform up? Start it with `sill up`.");
  }
};

chosen.addEventListener("change", refresh);
window.addEventListener("hashchange", () => { turn(); refresh(); });
document.getElementById("logout").addEventListener("click", async () => { await api("/logout", { method: "POST" }); location.reload(); });
turn();
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
