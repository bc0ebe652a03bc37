// Elements, numbers and times. Whatever comes from the API goes into text and attributes only:
// nothing here makes markup of a text.

export const byId = (id) => document.getElementById(id);

/// An element with attributes and children; a child that is no node is text.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/// Writes a text where it differs, so that nothing is laid out or read out twice.
export function write(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/// Makes the children of `parent` those of `items`: who stays keeps its element, and so its focus.
export function keyed(parent, items, keyOf, create, update) {
  const old = new Map();
  for (const child of parent.children) old.set(child.dataset.key, child);
  let place = parent.firstElementChild;
  const seen = new Set();
  for (const item of items) {
    const key = String(keyOf(item));
    if (seen.has(key)) continue;
    seen.add(key);
    let element = old.get(key);
    if (element) {
      old.delete(key);
    } else {
      element = create(item);
      element.dataset.key = key;
    }
    update?.(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of old.values()) gone.remove();
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => whole.format(Math.round(Number(value) || 0));
/// A number for a place with little room.
export const brief = (value) => (value < 100_000 ? number(value) : short.format(value));
export const rate = (value) => (value >= 10 ? number(value) : value.toFixed(1)) + "/s";

export function percent(part, all) {
  if (!all || !part) return "0 %";
  const share = (100 * part) / all;
  if (share < 0.1) return "<0.1 %";
  return (share < 1 ? share.toFixed(1) : Math.round(share)) + " %";
}

export function span(seconds) {
  const total = Math.max(0, Math.round(seconds));
  const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => total >= length);
  if (first < 0) return "0 s";
  const [unit, length] = units[first];
  const text = `${Math.floor(total / length)} ${unit}`;
  const next = units[first + 1];
  if (!next || unit === "min") return text;
  const rest = Math.floor((total % length) / next[1]);
  return rest ? `${text} ${rest} ${next[0]}` : text;
}

/// Times are written as the log, the API and the command line write them, so that they can be compared.
const UTC = /^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)(\.\d+)?Z$/;

/// Of a moment the time of day, in UTC.
export function clockTime(text) {
  return UTC.exec(text)?.[1] ?? String(text);
}

/// How long it is until then, by this machine's clock.
export function until(text) {
  const left = (new Date(text).getTime() - Date.now()) / 1000;
  if (Number.isNaN(left)) return String(text);
  return left <= 0 ? "now" : "in " + span(left);
}

export function time(text) {
  return make("time", { datetime: text, title: text }, clockTime(text));
}

/// A row of a table of bars: name, count, bar, share. The bar is drawn, the share is read.
export function bars(table, rows) {
  const create = (row) =>
    make("tr", { "data-tone": row.tone },
      make("th", { scope: "row" }, row.name, make("small", {})),
      make("td", { class: "num" }),
      make("td", { class: "bar", "aria-hidden": "true" }, make("span", {}, make("i"))),
      make("td", { class: "num share" }));
  keyed(table.tBodies[0], rows, (row) => row.name, create, (element, row) => {
    const [name, count, bar, share] = element.cells;
    write(name.lastChild, row.about ?? "");
    if (row.tone) element.dataset.tone = row.tone;
    write(count, brief(row.count));
    write(share, row.share ?? percent(row.count, row.of));
    const part = row.of ? Math.min(1, row.count / row.of) : 0;
    bar.firstElementChild.firstElementChild.style.setProperty("--part", part.toFixed(4));
  });
}
