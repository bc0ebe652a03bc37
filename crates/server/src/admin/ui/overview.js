// State, key numbers, the funnel, verdicts.

import { bars, brief, byId, clockTime, make, number, percent, rate, span, write } from "./dom.js";
import { OUTCOMES, REASONS, VERDICTS } from "./words.js";

/// Seconds that a curve shows.
const CURVE = 120;

const FUNNEL = {
  authenticated: "good",
  refused: "warn",
  not_found: "warn",
  abandoned: "bad",
};
const VERDICT_TONES = { forward: "good", absorb: "quiet", reject: "warn", drop: "bad" };
const REASONS_MAX = 8;

const curves = { forwarded: [], refused: [], banned: [], passage: [] };
let before = null;
let rates = { forwarded: 0, refused: 0 };

const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
const refusedOf = (status) => (status.verdicts.reject ?? 0) + (status.verdicts.drop ?? 0);

export function showStatus(status) {
  showState(status);
  showTiles(status);
  showFunnel(status.challenges);
  showVerdicts(status);
  before = status;
}

/// Of several PBXs one that is down is no end of all calls.
function pbxDown(down, count) {
  const names = `${down.map((pbx) => pbx.name).join(", ")} ${down.length === 1 ? "does" : "do"} not answer.`;
  if (down.length === count) return ["bad", "PBX down", `${names} Calls get 503 until that is over.`];
  return ["warn", `${down.length === 1 ? "A PBX is" : "PBXs are"} down`, `${names} What is theirs goes to others of their group, else it gets 503.`];
}

/// What is most urgent is said first, in one place that is always there.
function showState(status) {
  const down = status.pbx.filter((pbx) => !pbx.up);
  const attacked = status.shards_under_attack;
  let state = ["good", "Serving", "Calls pass. Strangers are judged by how they answer challenges."];
  if (status.policy.mode === "observe") state = ["warn", "Observing", "All is judged and nobody is kept out: the policy is in mode observe."];
  if (status.policy.mode === "off") state = ["warn", "Not judging", "The policy is in mode off: everything passes unjudged."];
  if (attacked > 0) state = ["warn", "Under attack", `The edge challenges strangers itself, on ${number(attacked)} of ${number(status.shards.length)} shards.`];
  if (status.shed !== "none") state = ["warn", "Overloaded", `More comes than can be dealt with: ${status.shed} are shed. Calls in progress and registered phones are not.`];
  if (down.length) state = pbxDown(down, status.pbx.length);
  if (!status.ready || !status.alive) state = ["bad", "Not ready", status.alive ? "No call can be sent here." : "A shard does not answer: see the log."];
  if (status.draining) state = ["warn", "Draining", `Nothing new is taken; ${number(status.unanswered)} in passage.`];
  if (status.panic_open_until) state = ["panic", "EVERYTHING PASSES", `Panic open until ${clockTime(status.panic_open_until)} UTC: nothing is refused, the banned too.`];
  say(...state);
  byId("panic-end").hidden = !status.panic_open_until;
}

export function showTrouble(title, text) {
  say("bad", title, text);
}

function say(state, title, text) {
  byId("state").dataset.state = state;
  write(byId("state-title"), title);
  write(byId("state-more"), text);
  document.title = state === "good" ? "Ringfence" : `${title} · Ringfence`;
}

function showTiles(status) {
  const now = { forwarded: status.verdicts.forward ?? 0, refused: refusedOf(status) };
  const passed = before ? status.uptime_seconds - before.uptime_seconds : 0;
  if (passed < 0) {
    // another process answers
    before = null;
    for (const curve of Object.values(curves)) curve.length = 0;
  } else if (before && passed > 0.2) {
    const old = { forwarded: before.verdicts.forward ?? 0, refused: refusedOf(before) };
    for (const name of ["forwarded", "refused"]) {
      rates[name] = Math.max(0, now[name] - old[name]) / passed;
      push(name, rates[name]);
    }
  }
  push("banned", status.bans);
  push("passage", status.unanswered);
  write(byId("forwarded"), brief(now.forwarded));
  write(byId("refused"), brief(now.refused));
  write(byId("banned"), brief(status.bans));
  write(byId("passage"), brief(status.unanswered));
  write(byId("forwarded-rate"), rate(rates.forwarded));
  write(byId("refused-rate"), rate(rates.refused));
  write(byId("banned-more"), status.bans === 1 ? "ban in force" : "bans in force");
  write(byId("passage-more"), "without a final answer");
  for (const name of Object.keys(curves)) draw(byId(`${name}-spark`), curves[name]);
}

function push(name, value) {
  curves[name].push(value);
  if (curves[name].length > CURVE) curves[name].shift();
}

const SVG = "http://www.w3.org/2000/svg";

function draw(svg, values) {
  if (!svg.firstChild) {
    svg.append(document.createElementNS(SVG, "path"), document.createElementNS(SVG, "path"));
    svg.firstChild.setAttribute("class", "area");
    svg.lastChild.setAttribute("class", "line");
  }
  const top = Math.max(1, ...values);
  const x = (index) => (CURVE - values.length + index + 1).toFixed(1);
  const y = (value) => (30 - (28 * value) / top).toFixed(1);
  const line = values.map((value, index) => `${index ? "L" : "M"}${x(index)} ${y(value)}`).join("");
  svg.lastChild.setAttribute("d", line);
  svg.firstChild.setAttribute("d", line && `${line}L${x(values.length - 1)} 32L${x(0)} 32Z`);
}

function showFunnel(challenges) {
  const issued = (challenges.issued ?? 0) + (challenges.issued_by_edge ?? 0);
  const own = challenges.issued_by_edge ?? 0;
  const rows = [{
    name: "issued", tone: "accent", count: issued, of: issued, share: issued ? "100 %" : "0 %",
    about: own ? `by the PBX, and ${number(own)} by the edge` : "by the PBX, relayed to strangers",
  }];
  for (const [name, about] of Object.entries(OUTCOMES)) rows.push({ name, tone: FUNNEL[name] ?? "quiet", about, count: challenges[name] ?? 0, of: issued });
  // a younger edge may have more
  const known = new Set(["issued", "issued_by_edge", ...Object.keys(OUTCOMES)]);
  for (const [name, count] of Object.entries(challenges)) {
    if (!known.has(name)) rows.push({ name, tone: "quiet", count, of: issued });
  }
  bars(byId("funnel"), rows);
}

function showVerdicts(status) {
  const all = sum(status.verdicts);
  const names = Object.keys(VERDICTS);
  bars(byId("verdicts"), names.map((name) => ({ name, tone: VERDICT_TONES[name], about: VERDICTS[name], count: status.verdicts[name] ?? 0, of: all })));
  const stack = byId("verdict-stack");
  if (!stack.firstChild) stack.append(...names.map((name) => make("i", { "data-tone": VERDICT_TONES[name] })));
  names.forEach((name, index) => {
    stack.children[index].style.flexGrow = all ? (status.verdicts[name] ?? 0) / all : 0;
  });
  const refused = Object.entries(status.refused).sort((a, b) => b[1] - a[1]);
  const total = sum(status.refused);
  const rows = refused.slice(0, REASONS_MAX).map(([name, count]) => ({ name, tone: "bad", about: REASONS[name], count, of: total }));
  const rest = refused.slice(REASONS_MAX).reduce((count, it) => count + it[1], 0);
  if (rest) rows.push({ name: "all others", tone: "quiet", count: rest, of: total });
  bars(byId("reasons"), rows);
}

/// What a screen reader is told now and then.
export function summary(status) {
  const refused = refusedOf(status);
  const all = sum(status.verdicts);
  return `${number(status.verdicts.forward ?? 0)} forwarded, ${number(refused)} refused, ${percent(refused, all)} of all. ` +
    `${number(status.bans)} bans in force. Up for ${span(status.uptime_seconds)}.`;
}
