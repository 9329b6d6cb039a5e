// How the cluster and its queues stand: what is used, who holds, borrows and lends what, what waits and why.

import { ago, api, chip, node, number, table } from "/static/page.js";

const GIB = 1024 ** 3;
const label = (resource) => resource.replace("memory_bytes", "memory");
const amount = (resource, value) => (resource === "memory_bytes" ? `${number((value / GIB).toFixed(value < GIB ? 2 : 1))} GiB` : number(value));
const short = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 3 });
const percent = (part) => `${Math.round(part * 100)} %`;
const UNITS = { usd: "USD", energy_kwh: "kWh", carbon_kg: "kg CO2e" };

let mayBook = true; // until it is refused: every refusal is written down

// A bar of parts of a whole, each [class, amount], with a mark where something begins to be above it.
const meter = (parts, whole, says, mark) => {
  const bar = node("div", { class: "meter", role: "img", "aria-label": says });
  for (const [kind, value] of parts.filter((each) => each[1] > 0)) {
    const part = node("span", { class: kind });
    part.style.width = `${whole ? Math.min(100, (value / whole) * 100) : 0}%`;
    bar.append(part);
  }
  if (mark > 0 && mark < whole) {
    const at = node("i");
    at.style.left = `${(mark / whole) * 100}%`;
    bar.append(at);
  }
  return bar;
};

const line = (name, bar, ...texts) =>
  node("div", { class: "line" }, node("span", { class: "of" }, name), bar, node("span", { class: "says" }, texts.filter(Boolean).join(" · ")));

const panel = (title, ...children) => node("div", { class: "panel" }, node("h2", {}, title), ...children);

const tiles = (s) => {
  const worst = s.resources.reduce((most, each) => (each.fragmentation > (most?.fragmentation ?? 0) ? each : most), null);
  return [
    ["waiting", number(s.waiting), s.waiting ? "runs" : "nothing waits", s.waiting ? "warn" : ""],
    ["running", number(s.running), `on ${s.nodes} machine${s.nodes === 1 ? "" : "s"} that take${s.nodes === 1 ? "s" : ""} work`, s.running ? "" : "idle"],
    ["used", percent(s.utilisation), "of the scarcest resource", ""],
    ["fragmented", percent(worst?.fragmentation ?? 0), worst ? `of what is free of ${label(worst.name)}` : "nothing free is split up", worst?.fragmentation > 0.5 ? "warn" : ""],
    ["policy", s.policy, "decides what starts", "cost"],
  ];
};

const resourceLine = (r) => {
  const scattered = r.free * r.fragmentation;
  const says = `${amount(r.name, r.used)} of ${amount(r.name, r.total)} used`;
  const bar = meter([["used", r.used], ["scattered", scattered], ["room", r.free - scattered], ["closed", r.closed]], r.total, `${label(r.name)}: ${says}`);
  return line(label(r.name), bar, says, `${amount(r.name, r.free)} free`, r.free > r.largest && `at most ${amount(r.name, r.largest)} on one machine`,
    r.fragmentation && `${percent(r.fragmentation)} of it on partly used machines`, r.closed && `${amount(r.name, r.closed)} closed`);
};

const quotaLine = (queue, resource, totals) => {
  const held = queue.held[resource] ?? 0, borrowed = queue.borrowed[resource] ?? 0, lent = queue.lent[resource] ?? 0;
  const own = queue.guarantee[resource], most = queue.ceiling[resource];
  const whole = Math.min(most ?? Infinity, totals[resource] ?? Infinity);
  const says = `holds ${amount(resource, held)}${most === undefined ? "" : ` of at most ${amount(resource, most)}`}`;
  const bar = meter([["held", held - borrowed], ["borrowed", borrowed], ["lent", lent]], Number.isFinite(whole) ? Math.max(whole, held, own ?? 0) : held, `${label(resource)}: ${says}`, own);
  return line(label(resource), bar, says, own !== undefined && `guaranteed ${amount(resource, own)}`,
    borrowed && `${amount(resource, borrowed)} borrowed`, lent && `${amount(resource, lent)} lent`);
};

const budgetLine = (queue, what) => {
  const spent = queue.spent[what] ?? 0, most = queue.budget[what];
  const says = `${short(spent)} of ${short(most)} ${UNITS[what] ?? what} this month`;
  return line("budget", meter([[spent >= most ? "over" : "spent", Math.min(spent, most)]], most, says), says);
};

const queueBlock = (queue, totals) => {
  const resources = Object.keys({ ...queue.guarantee, ...queue.ceiling, ...queue.held, ...queue.lent });
  const head = node("div", { class: "head" }, node("strong", {}, queue.name),
    node("span", { class: queue.waiting ? "warn-text" : "dim" }, `${number(queue.waiting)} wait`), node("span", { class: "dim" }, `${number(queue.running)} run`),
    node("span", { class: "dim" }, `share ${queue.share.toFixed(3)}`));
  const block = node("div", { class: "queue" }, head, ...resources.map((each) => quotaLine(queue, each, totals)),
    ...Object.keys(queue.budget ?? {}).map((each) => budgetLine(queue, each)));
  block.style.setProperty("--depth", queue.depth);
  return block;
};

const KEYS = { used: "used", held: "its own", borrowed: "borrowed", lent: "lent to others", scattered: "free on partly used machines", closed: "closed" };
const legend = (...kinds) => node("p", { class: "legend" },
  ...kinds.map((kind) => node("span", {}, node("i", { class: `key ${kind}` }), KEYS[kind])));

const asked = (needs) => {
  const devices = needs.accelerator_types.join(" or ") || "accelerators";
  const one = [[needs.cpus, "cpus"], [needs.accelerators, devices]].filter(([many]) => many).map(([many, of]) => `${number(many)} ${of}`);
  return `${needs.workers > 1 ? `${needs.workers} × ` : ""}${[...one, amount("memory_bytes", needs.memory_bytes)].join(", ")}`;
};

const bookings = async () => {
  if (!mayBook) return [];
  try {
    return (await api("/bookings")).filter((each) => each.end_us / 1000 > Date.now());
  } catch (wrong) {
    if (![403, 404].includes(wrong.status)) throw wrong;
    mayBook = false;
    return [];
  }
};

const time = (us) => new Date(us / 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const booked = (each) => [each.name, chip(each.kind), each.queue || each.node,
  Object.entries(each.resources).map(([name, value]) => `${amount(name, value)} ${label(name)}`).join(", "), `${time(each.start_us)} to ${time(each.end_us)}`];

const show = (s, waiting, spans) => {
  const totals = Object.fromEntries(s.resources.map((each) => [each.name, each.total]));
  totals.accelerators ??= s.resources.filter((each) => each.name.startsWith("accelerators/")).reduce((sum, each) => sum + each.total, 0) || undefined;
  const queues = s.queues.map((queue) => queueBlock(queue, totals));
  document.getElementById("view-queues").replaceChildren(
    node("section", { class: "tiles five" }, ...tiles(s).map(([name, figure, detail, tone]) =>
      node("div", { class: `stage ${tone}` }, node("h2", {}, name), node("div", { class: "figure" }, figure), node("div", { class: "detail" }, detail)))),
    node("section", { class: "stack" },
      panel("What there is", ...s.resources.map(resourceLine), legend("used", "scattered", "closed")),
      panel("Queues", ...(queues.length ? queues : [node("p", { class: "empty" }, "No queue has had a run. Declare one: sill queue create vision --guarantee cpus=8 --of PROJECT")]),
        ...(queues.length ? [legend("held", "borrowed", "lent")] : [])),
      table("Waiting longest", ["run", "project", "queue", "since", "asks for", "why it waits"],
        waiting.map((w) => [w.name || w.run_id, w.project, w.queue, ago(w.created_us), asked(w.resources), w.reason]), "Nothing waits."),
      ...(spans.length ? [table("Booked", ["name", "kind", "of", "what", "when"], spans.map(booked), "")] : [])));
};

export const refresh = async () => show(...(await Promise.all([api("/scheduler"), api("/scheduler/waiting"), bookings()])));
