// The overview page: the loop and its health, over the public API only. Text is always set as text, never as HTML.
"use strict";

const REFRESH_MS = 2000;
const api = async (path, options = {}) => {
  const answer = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...options });
  if (answer.status === 204) return null;
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.message), { status: answer.status, fix: body.fix });
  return body;
};

const node = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child ?? "–"))));
  return made;
};

const ago = (us) => {
  if (!us) return "–";
  const s = Math.max(0, Date.now() / 1000 - us / 1e6);
  if (s < 90) return `${Math.round(s)} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  return s < 129600 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} d ago`;
};
const number = (value) => Number(value).toLocaleString("en", { maximumFractionDigits: 4 });
const sum = (list, of) => list.reduce((total, each) => total + of(each), 0);
const TONE = { finished: "good", live: "good", running: "good", failed: "bad-text", rejected: "bad-text", shadow: "warn-text",
  canary: "warn-text", queued: "warn-text", pending: "warn-text" };
const chip = (state) => node("span", { class: `chip ${TONE[state] ?? "dim"}` }, state);

const table = (title, columns, rows, empty) => {
  const panel = node("div", { class: "panel" }, node("h2", {}, title));
  if (!rows.length) return panel.append(node("p", { class: "empty" }, empty)), panel;
  const head = node("tr", {}, ...columns.map((column) => node("th", { scope: "col" }, column)));
  const body = rows.map((row) => node("tr", {}, ...row.map((cell) => node("td", {}, cell))));
  panel.append(node("table", {}, node("thead", {}, head), node("tbody", {}, ...body)));
  return panel;
};

const split = (revisions) => {
  const bar = node("div", { class: "split", role: "img", "aria-label": revisions.map((r) => `revision ${r.number}: ${r.weight} %`).join(", ") });
  for (const revision of revisions.filter((each) => each.weight > 0)) {
    const part = node("span", { title: `revision ${revision.number}: ${revision.weight} %` });
    part.style.width = `${revision.weight}%`;
    bar.append(part);
  }
  return bar;
};

const newest = (projects) => {
  const own = projects.filter((each) => each.project !== "default").sort((a, b) => b.created_us - a.created_us);
  return own[0]?.project ?? "default";
};

const stages = (o) => {
  const open = o.incidents.filter((incident) => incident.is_open);
  const live = o.endpoints.filter((e) => e.revisions.some((r) => r.state === "live"));
  const rolling = o.endpoints.flatMap((e) => e.revisions.filter((r) => ["shadow", "canary"].includes(r.state)));
  const stats = Object.values(o.traffic).flat().filter((each) => !each.id.endsWith("/shadow"));
  const requests = sum(stats, (each) => each.requests), errors = sum(stats, (each) => each.errors);
  const failed = o.runs.filter((run) => run.state === "failed").length;
  const last = o.runs[0];
  return [
    ["lake", o.tables.length, `${number(sum(o.tables, (t) => t.rows))} rows`, o.tables.length ? "" : "idle"],
    ["runs", o.runs_going, `${o.runs_waiting} waiting${last ? `, last ${last.state}` : ""}`, failed ? "warn" : o.runs.length ? "" : "idle"],
    ["models", o.models.length, `${sum(o.models, (m) => m.latest)} versions`, o.models.length ? "" : "idle"],
    ["endpoints", live.length, rolling.length ? `${rolling.length} rolling out` : "live", live.length ? (rolling.length ? "warn" : "") : "idle"],
    ["traffic", number(requests), `${errors} errors`, errors ? "bad" : requests ? "" : "idle"],
    ["monitors", open.length, open.length ? open[0].summary : `none open, ${o.incidents.length - open.length} closed`, open.length ? "bad" : o.endpoints.length ? "" : "idle"],
    ["triggers", sum(o.triggers, (t) => t.fired), o.triggers.length ? `fired; ${o.triggers.length} declared` : "none declared", o.triggers.length ? "" : "idle"],
    ["cost", `$${o.cost.usd.toFixed(4)}`, `${o.cost.energy_wh.toFixed(3)} Wh, ${o.cost.carbon_g.toFixed(2)} gCO2e`, "cost"],
  ];
};

const show = (o) => {
  const loop = document.getElementById("loop");
  loop.replaceChildren(...stages(o).map(([name, figure, detail, tone]) =>
    node("div", { class: `stage ${tone}` }, node("h2", {}, name), node("div", { class: "figure" }, figure), node("div", { class: "detail" }, detail))));
  const revisions = o.endpoints.flatMap((e) => e.revisions.slice().reverse().slice(0, 6).map((r) =>
    [e.name, `r${r.number} · v${r.model_version}`, chip(r.state), `${r.weight} %`, r.reason]));
  document.getElementById("panels").replaceChildren(
    table("Endpoints", ["name", "traffic", "revisions"], o.endpoints.map((e) => [e.name, split(e.revisions), e.revisions.length]), "No endpoint yet: sill apply project.py"),
    table("Revisions", ["endpoint", "revision", "state", "share", "why"], revisions, "No revision yet."),
    table("Runs", ["run", "kind", "state", "when", "why"], o.runs.filter((r) => !r.parent_id).slice(0, 12).map((r) => [r.name || r.id, r.kind, chip(r.state), ago(r.created_us), r.reason]), "No run yet: sill run -- python train.py"),
    table("Incidents", ["endpoint", "kind", "state", "when", "what"], o.incidents.slice(0, 8).map((i) =>
      [i.endpoint, i.kind, i.is_open ? node("span", { class: "chip bad-text" }, "open") : node("span", { class: "chip good" }, "closed"), ago(i.opened_us), i.summary]), "No incident so far."),
    table("Tables", ["name", "rows", "columns", "changed"], o.tables.map((t) => [t.name, number(t.rows), t.columns.length, ago(t.updated_us)]), "No table yet: sill apply project.py"),
    table("Models", ["name", "versions", "champion", "made"], o.models.map((m) => [m.name, m.latest, m.aliases.champion ?? "none", ago(m.created_us)]), "No model yet."),
    table("Triggers", ["name", "waits for", "fired", "why it waits"], o.triggers.map((t) => [t.name, t.spec.on, t.fired, t.reason]), "No trigger yet."),
  );
  const c = o.cost;
  document.getElementById("cost").textContent =
    `${number(c.usage.cpu_s)} CPU s · ${c.energy_wh.toFixed(3)} Wh (${c.energy_source}) · ${c.carbon_g.toFixed(2)} gCO2e (${c.carbon_source}) · ±${Math.round(c.uncertainty * 100)} % · ${number(o.predictions)} predictions`;
};

const tell = (text, fix) => {
  const notice = document.getElementById("notice");
  notice.hidden = !text;
  notice.replaceChildren(...(text ? [node("strong", {}, text), " ", fix ?? ""] : []));
};

const refresh = async () => {
  const chosen = document.getElementById("project");
  const state = document.getElementById("state");
  try {
    if (!chosen.options.length) {
      const projects = await api("/projects");
      chosen.replaceChildren(...projects.map((p) => node("option", { value: p.project }, p.project)));
      chosen.value = new URLSearchParams(location.search).get("project") || newest(projects);
      document.getElementById("logout").hidden = false;
    }
    show(await api(`/projects/${encodeURIComponent(chosen.value)}/overview`));
    tell("");
    state.textContent = `live, ${new Date().toLocaleTimeString()}`;
  } catch (wrong) {
    state.textContent = "not connected";
    if (wrong.status === 401) tell("You are not logged in.", "Run `sill open` in a terminal on this machine: it opens this page with a one-use link.");
    else tell(wrong.message, wrong.fix ?? "Is the platform up? Start it with `sill up`.");
  }
};

document.getElementById("project").addEventListener("change", refresh);
document.getElementById("logout").addEventListener("click", async () => { await api("/logout", { method: "POST" }); location.reload(); });
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
