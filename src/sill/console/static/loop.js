// The loop of one project and its health.

import { ago, api, chip, node, number, sum, table } from "/static/page.js";

const split = (revisions) => {
  const bar = node("div", { class: "split", role: "img", "aria-label": revisions.map((r) => `revision ${r.number}: ${r.weight} %`).join(", ") });
  for (const revision of revisions.filter((each) => each.weight > 0)) {
    const part = node("span", { title: `revision ${revision.number}: ${revision.weight} %` });
    part.style.width = `${revision.weight}%`;
    bar.append(part);
  }
  return bar;
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

export const refresh = async (project) => show(await api(`/projects/${encodeURIComponent(project)}/overview`));
