// Bans, sources, and decisions as they happen.

import { byId, keyed, make, number, time, until, write } from "./dom.js";
import { PROOFS, REASONS, VERDICTS, told } from "./words.js";

/// Decisions that are shown.
const DECISIONS = 60;
/// Bans that are shown; the search finds the others.
export const BANS = 200;

const TONES = { forward: "good", absorb: "quiet", reject: "warn", drop: "bad" };

const badge = (text, tone, title) => make("span", { class: "badge", "data-tone": tone, title }, text);
const button = (text, action, subject) =>
  make("button", { type: "button", "data-action": action, "data-subject": subject, "aria-label": `${text} ${subject}` }, text);

/// What an account's or a shape's key is, shortened; the whole is in the title.
export const shortKey = (key) => key.replace(/^(aor|shape):([0-9a-f]{6})[0-9a-f]{10}/, "$1:$2…");

/// Who is banned, for people: an account by its name, where the evidence has it.
export function called(ban) {
  const aor = ban.key.startsWith("aor:") && ban.evidence.at(-1)?.aor;
  return aor ? [aor, `at ${ban.key.split("@").at(-1)}`] : [shortKey(ban.key), null];
}

export function showBans(bans, total) {
  const create = (ban) => {
    const [name, place] = called(ban);
    const kind = [place ?? ban.kind, ban.origin === "local" ? null : ban.origin].filter(Boolean).join(" · ");
    return make("tr", {},
      make("th", { scope: "row", title: ban.key }, make("code", {}, name), make("small", {}, kind)),
      make("td", {}, make("span", { class: "reason" }, ban.reason), make("small", {})),
      make("td", { class: "more", title: PROOFS[ban.proof] }, ban.proof ?? "–"),
      make("td", { class: "num" }, make("time", { datetime: ban.until, title: ban.until })),
      make("td", { class: "do" }, button("Explain", "explain", ban.key), button("Lift", "lift", ban.key)));
  };
  keyed(byId("bans").tBodies[0], bans, (ban) => `${ban.id} ${ban.key} ${ban.until}`, create, (row, ban) => {
    const last = ban.evidence.at(-1);
    const more = last ? `${number(ban.evidence.length)} × ${last.method} ${last.outcome}` : "by an operator or for a network";
    write(row.cells[1].lastChild, ban.kernel ? `${more} · dropped in the kernel` : more);
    write(row.cells[3].firstChild, until(ban.until));
  });
  const shown = bans.length < total ? `, the youngest ${number(bans.length)} shown` : "";
  write(byId("bans-count"), total ? `${number(total)} in force${shown}` : "");
}

export function showSources(sources) {
  const top = Math.max(3, ...sources.map((source) => source.score));
  const create = (source) =>
    make("tr", {},
      make("th", { scope: "row" }, make("code", {}, source.source)),
      make("td", { class: "more" }, make("span", {}), make("small", {})),
      make("td", { class: "score" }, make("span", { class: "num" }), make("span", { class: "meter", "aria-hidden": "true" }, make("i"))),
      make("td", { class: "num" }),
      make("td", { class: "do" }, button("Explain", "explain", source.source)));
  keyed(byId("sources").tBodies[0], sources, (source) => source.source, create, (row, source) => {
    const [, is, score, open] = row.cells;
    write(is.firstChild, source.suspect ? `${source.who}, suspect` : source.who);
    write(is.lastChild, source.proof ? `proven by ${source.proof}` : "not proven");
    is.title = source.proof ? told(PROOFS, source.proof) : "";
    write(score.firstChild, source.score.toFixed(2));
    score.lastChild.firstChild.style.setProperty("--part", Math.min(1, source.score / top).toFixed(3));
    write(open, number(source.open_invites + source.open_others));
  });
}

const recent = [];
let count = 0;
let paused = false;
let due = false;

export function addDecision(decision, id) {
  // whoever follows anew hears of the last ones again; after a restart numbers begin again
  if (recent.some((it) => it.id === id && it.decision.at === decision.at)) return;
  recent.unshift({ number: ++count, id, decision });
  if (recent.length > DECISIONS) recent.length = DECISIONS;
  if (due) return;
  due = true;
  // a second brings many at once
  setTimeout(() => {
    due = false;
    showDecisions();
  }, 200);
}

export function pause(stop) {
  paused = stop;
  showDecisions();
}

/// Why, in a word or two: what banned or matched says more than the verdict's reason.
export const why = (it) => [it.reason, it.rule && `rule ${it.rule}`, it.signature, it.would && `would ${it.would}`].filter(Boolean).join(" · ");

export function decisionRow({ decision: it }) {
  const verdict = it.status ? `${it.verdict} ${it.status}` : it.verdict;
  const ip = it.source.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  return make("tr", {},
    make("td", { class: "at" }, time(it.at)),
    make("td", {}, badge(verdict, TONES[it.verdict], VERDICTS[it.verdict]), make("small", { title: REASONS[it.reason] }, why(it))),
    make("td", {}, make("button", { type: "button", class: "link", "data-action": "explain", "data-subject": ip }, it.source), make("small", {}, it.transport)),
    make("td", { class: "line" }, make("code", {}, it.line), make("small", {}, it.aor)),
    make("td", { class: "more line" }, make("span", { class: "agent" }, it.user_agent || "–")));
}

function showDecisions() {
  const body = byId("decisions").tBodies[0];
  if (!paused) keyed(body, recent, (it) => it.number, decisionRow);
  write(byId("decisions-count"), count ? `${number(count)} seen by this page` : "");
}
