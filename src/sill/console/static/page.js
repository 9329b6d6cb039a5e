// What all views are made of. Text is always set as text, never as HTML.

export const api = async (path, options = {}) => {
  const answer = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...options });
  if (answer.status === 204) return null;
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.message), { status: answer.status, fix: body.fix });
  return body;
};

export const node = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child ?? "–"))));
  return made;
};

export const ago = (us) => {
  if (!us) return "–";
  const s = Math.max(0, Date.now() / 1000 - us / 1e6);
  if (s < 90) return `${Math.round(s)} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  return s < 129600 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} d ago`;
};
export const number = (value) => Number(value).toLocaleString("en", { maximumFractionDigits: 4 });
export const sum = (list, of) => list.reduce((total, each) => total + of(each), 0);
const TONE = { finished: "good", live: "good", running: "good", failed: "bad-text", rejected: "bad-text", shadow: "warn-text",
  canary: "warn-text", queued: "warn-text", pending: "warn-text" };
export const chip = (state) => node("span", { class: `chip ${TONE[state] ?? "dim"}` }, state);

export const table = (title, columns, rows, empty) => {
  const panel = node("div", { class: "panel" }, node("h2", {}, title));
  if (!rows.length) return panel.append(node("p", { class: "empty" }, empty)), panel;
  const head = node("tr", {}, ...columns.map((column) => node("th", { scope: "col" }, column)));
  const body = rows.map((row) => node("tr", {}, ...row.map((cell, at) => node("td", { "data-of": columns[at] }, cell))));
  panel.append(node("table", {}, node("thead", {}, head), node("tbody", {}, ...body)));
  return panel;
};
