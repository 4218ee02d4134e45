// Tables and lists whose rows keep their identity, so that focus and selected text survive an update.
// Whatever a client of the sandbox sent is inserted as text, never as markup.

const shown = new Map();

/** A cell: its text, its classes, and what it may have instead of plain text. */
export const cell = (text, options = {}) => ({ text: text ?? "", ...options });
export const mono = (text) => cell(text, { mono: true });
export const number = (value) => cell(value === null ? "" : value.toLocaleString("en"), { number: true });
export const badge = (text, tone) => cell(text, { badge: tone });
export const time = (iso) => cell(iso ? iso.slice(11, 23) : "", { mono: true, title: iso });
export const moment = (iso) => cell(iso ? `${iso.slice(0, 10)} ${iso.slice(11, 19)}` : "", { mono: true });

/** Show rows in the table of that name: `{key, cells}`, from top to bottom. */
export function show(name, rows, empty) {
  const body = document.querySelector(`table[data-table="${name}"] tbody`);
  const columns = body.parentElement.tHead.rows[0].cells.length;
  const known = shown.get(name) ?? new Map();
  const next = new Map();
  let place = body.firstChild;
  for (const { key, cells } of rows) {
    const row = known.get(key) ?? document.createElement("tr");
    update(row, cells);
    if (row === place) place = place.nextSibling;
    else body.insertBefore(row, place);
    next.set(key, row);
  }
  const focused = body.contains(document.activeElement);
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
  // The row with the focus is gone: stay at its table.
  if (focused && !body.contains(document.activeElement)) body.closest(".scroll").focus();
  if (rows.length === 0) {
    const row = body.insertRow();
    const only = row.insertCell();
    only.colSpan = columns;
    only.className = "empty";
    only.textContent = empty;
  }
  shown.set(name, next);
}

function update(row, cells) {
  cells.forEach((content, index) => {
    const target = row.cells[index] ?? row.insertCell();
    const state = JSON.stringify([content.text, content.badge, content.action]);
    if (target.dataset.state === state) return;
    target.dataset.state = state;
    target.className = [content.mono && "mono", content.number && "figure", content.wide && "wide"]
      .filter(Boolean)
      .join(" ");
    if (content.title || content.wide) target.title = content.title ?? content.text;
    if (content.action) target.replaceChildren(button(content));
    else if (content.badge) target.replaceChildren(pill(content));
    else target.textContent = content.text;
  });
}

export function pill({ text, badge: tone }) {
  const element = document.createElement("span");
  element.className = `badge ${tone}`;
  element.textContent = text;
  return element;
}

export function button({ text, action, values, label }) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "quiet small";
  element.textContent = text;
  element.dataset.action = action;
  element.dataset.values = JSON.stringify(values);
  element.setAttribute("aria-label", label);
  return element;
}
