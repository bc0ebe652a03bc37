// Explain, lift, unlock, let everything pass.

import { Refusal, ask, download, hasToken, keepToken, read, segment } from "./api.js";
import { byId, make, number, time, until, write } from "./dom.js";
import { called, decisionRow, shortKey } from "./lists.js";
import { KINDS, ORIGINS, OUTCOMES, PROOFS, told } from "./words.js";

let changed = () => {};
/// What waits until the page is unlocked.
let afterwards = null;

export function say(text) {
  const toast = byId("toast");
  toast.textContent = text;
  toast.dataset.shown = "";
  clearTimeout(say.timer);
  say.timer = setTimeout(() => delete toast.dataset.shown, 6_000);
}

function open(id) {
  const dialog = byId(id);
  if (!dialog.open) dialog.showModal();
  return dialog;
}

/// Writes something; asks for the token where that is what is missing.
async function change(method, path, body, wrong) {
  try {
    const { value } = await ask(method, path, body);
    changed();
    return value;
  } catch (error) {
    if (error instanceof Refusal && error.code === 401) {
      unlock(error.message, () => change(method, path, body, wrong));
      return null;
    }
    if (wrong) write(wrong, error.message);
    else say(error.message);
    return error instanceof Refusal ? error.body : null;
  }
}

export function unlock(why, then = null) {
  afterwards = then;
  write(byId("unlock-wrong"), why && hasToken() ? why : "");
  byId("forget").hidden = !hasToken();
  byId("token").value = "";
  open("unlock");
}

function showKey() {
  write(byId("key"), hasToken() ? "Unlocked" : "Unlock");
}

async function tryToken(event) {
  event.preventDefault();
  const word = byId("token").value.trim();
  const wrong = byId("unlock-wrong");
  if (!/^[\x21-\x7e]+$/.test(word)) {
    write(wrong, "A token is one word.");
    return;
  }
  write(wrong, "Asking…");
  try {
    await ask("GET", "/status", undefined, word);
  } catch (error) {
    write(wrong, error instanceof Refusal && error.code === 401 ? "The edge does not know this token." : error.message);
    return;
  }
  keepToken(word);
  byId("token").value = "";
  byId("unlock").close();
  showKey();
  const then = afterwards;
  afterwards = null;
  changed();
  await then?.();
}

export async function explain(subject) {
  const dialog = byId("explain");
  write(byId("explain-title"), shortKey(subject));
  byId("explain-title").title = subject;
  const body = byId("explain-body");
  body.replaceChildren(make("p", { class: "none" }, "Asking…"));
  byId("explain-acts").replaceChildren();
  open("explain");
  try {
    const found = await read(`/explain/${segment(subject)}`);
    if (dialog.open) showExplanation(subject, found);
  } catch (error) {
    if (error instanceof Refusal && error.code === 401) unlock(error.message, () => explain(subject));
    body.replaceChildren(make("p", { class: "wrong" }, error.message));
  }
}

function showExplanation(subject, it) {
  const asked = it.bans.find((ban) => ban.key === subject);
  if (asked) write(byId("explain-title"), called(asked).filter(Boolean).join(" "));
  const parts = [];
  if (it.trusted_by) parts.push(make("p", { class: "note" }, `Trusted (${it.trusted_by}): nothing judges or bans it.`));
  if (it.source) {
    const { who, proof, score, long_score, open_invites, open_others } = it.source;
    parts.push(facts([
      ["It is", who],
      ["Proven by", proof ? told(PROOFS, proof) : "nothing yet"],
      ["Score", `${score.toFixed(2)} now, ${long_score.toFixed(2)} in the long memory`],
      ["Open challenges", `${number(open_invites)} of INVITEs, ${number(open_others)} others`],
    ]));
  }
  for (const ban of it.bans) parts.push(banPart(ban));
  const shown = it.bans.some((ban) => ban.evidence.length);
  if (it.evidence.length && !shown) parts.push(make("h3", {}, "Evidence"), evidence(it.evidence));
  if (it.refusals) parts.push(make("p", {}, `${it.refusals.toFixed(1)} refusals of strangers on this account.`));
  if (it.decisions.length) parts.push(make("h3", {}, "Last decisions"), decisions(it.decisions));
  if (!parts.length) parts.push(make("p", { class: "none" }, it.text));
  parts.push(make("details", { class: "words" }, make("summary", {}, "All of it in words"), make("pre", { tabindex: "0" }, it.text)));
  byId("explain-body").replaceChildren(...parts);
  if (!it.bans.length) return;
  const lift = make("button", { type: "button", class: "main", "data-action": "lift", "data-subject": it.kind === "text" ? it.bans[0].key : subject }, "Lift…");
  const keep = make("button", { type: "button", "data-action": "pcap", "data-subject": it.bans[0].key }, "Messages as pcap");
  byId("explain-acts").replaceChildren(lift, keep);
}

/// The messages behind a ban, for whoever reads captures.
async function keepMessages(key) {
  try {
    await download(`/bans/${segment(key)}/pcap`, `ringfence-${key.replace(/[^0-9a-z.]+/gi, "-")}.pcap`);
    say("The messages that are kept of it were saved as a capture");
  } catch (error) {
    say(error.message);
  }
}

async function addBan() {
  const wish = { key: byId("ban-key").value.trim(), for: byId("ban-for").value, why: byId("ban-why").value.trim() };
  const done = await change("POST", "/bans", wish, byId("ban-wrong"));
  if (!done?.id) return;
  byId("ban").close();
  say(`Banned until ${done.until}: ${done.key}`);
}

async function drain() {
  const done = await change("POST", "/drain", undefined, byId("drain-wrong"));
  if (!done?.draining) return;
  byId("drain-ask").close();
  say(`Draining: ${number(done.unanswered)} in passage`);
}

function banPart(ban) {
  const part = make("section", { class: "ban" },
    make("h3", {}, "Banned: ", make("code", { title: ban.key }, called(ban).filter(Boolean).join(" "))),
    facts([
      ["Why", told(OUTCOMES, ban.reason)],
      ban.origin === "local" ? measured(ban) : null,
      ["Meets", ban.narrowed ? `${told(KINDS, ban.kind)}; narrowed, as somebody there is known` : told(KINDS, ban.kind)],
      ["Proven by", ban.proof ? told(PROOFS, ban.proof) : "not needed"],
      ["Found by", `${ORIGINS[ban.origin] ?? ban.origin}, policy version ${ban.policy}`],
      ["From", ban.since],
      ["Until", `${ban.until} (${until(ban.until)})`],
      ["Lifted by", make("span", {}, "its end, Lift below, or ", make("code", {}, ban.undo))],
    ]));
  if (ban.evidence.length) part.append(evidence(ban.evidence));
  return part;
}

/// What its number counts.
function measured({ kind, score }) {
  if (kind === "network" || kind === "campaign") return ["Sources", number(score)];
  return kind === "aor" || kind === "flow" ? ["Refusals", String(Number(score.toFixed(1)))] : ["Score", score.toFixed(2)];
}

function facts(pairs) {
  return make("dl", { class: "facts" }, ...pairs.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function head(caption, names) {
  return [make("caption", { class: "unseen" }, caption),
    make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col", class: name === "Weight" ? "num" : null }, name))))];
}

function evidence(records) {
  const row = (it) => make("tr", {},
    make("td", { class: "at" }, time(it.at)),
    make("td", {}, `${it.method} ${it.outcome}`, make("small", { title: `shape ${it.shape}` }, [it.rule && `rule ${it.rule}`, it.raised_by && `raised by ${it.raised_by}`, it.signature && `signature ${it.signature}`, it.proof && `proven by ${it.proof}`, `shape ${it.shape.slice(0, 6)}…`].filter(Boolean).join(" · "))),
    make("td", { class: "line" }, make("code", {}, it.aor), it.dialled ? make("small", {}, `dialled ${it.dialled}`) : null),
    make("td", { class: "num" }, it.weight.toFixed(2)));
  return make("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Evidence" },
    make("table", { class: "list still" }, ...head("Evidence, the oldest first", ["At (UTC)", "What happened", "As", "Weight"]), make("tbody", {}, ...records.map(row))));
}

function decisions(list) {
  return make("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Decisions" },
    make("table", { class: "list still" }, ...head("Decisions, the youngest first", ["At (UTC)", "Verdict", "Source", "Request", "Calls itself"]),
      make("tbody", {}, ...list.map((decision) => decisionRow({ decision })))));
}

function askToLift(key) {
  byId("lift").dataset.subject = key;
  write(byId("lift-key"), key);
  write(byId("lift-wrong"), "");
  open("lift");
}

async function lift(mercy) {
  const key = byId("lift").dataset.subject;
  const query = mercy ? `?${mercy}` : "";
  const work = async () => {
    const done = await change("DELETE", `/bans/${segment(key)}${query}`, undefined, byId("lift-wrong"));
    if (!done?.lifted) return;
    byId("lift").close();
    byId("explain").close();
    const trusted = done.trusted_until ? `, trusted until ${done.trusted_until}` : "";
    say(`Lifted: ${key}${trusted}`);
  };
  await unlocked(work);
}

/// Does it at once where the token is there, else once it is.
async function unlocked(work) {
  if (hasToken()) await work();
  else unlock("", work);
}

async function panic(length) {
  const done = await change("POST", "/panic-open", { for: length }, byId("panic-wrong"));
  if (done && "panic_open_until" in done) {
    byId("panic-ask").close();
    say(done.panic_open_until ? `Everything passes until ${done.panic_open_until}` : "Strangers are judged again");
  }
}

async function reload() {
  const done = await change("POST", "/reload", undefined, null);
  if (done?.result) say(done.result === "applied" ? `Read again: policy version ${number(done.policy)}` : "Refused, and nothing changed: see Reloads");
}

/// Wires it; `onChange` is called whenever something was changed.
export function begin(onChange) {
  changed = onChange;
  showKey();
  const on = (id, event, act) => byId(id).addEventListener(event, act);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if ("close" in button.dataset) button.closest("dialog").close();
    if ("mercy" in button.dataset) lift(button.dataset.mercy);
    if (button.dataset.action === "explain") explain(button.dataset.subject);
    if (button.dataset.action === "lift") askToLift(button.dataset.subject);
    if (button.dataset.action === "pcap") keepMessages(button.dataset.subject);
  });
  on("search", "submit", (event) => {
    event.preventDefault();
    const subject = byId("subject").value.trim();
    if (subject) explain(subject);
  });
  on("key", "click", () => unlock(""));
  on("unlock-form", "submit", tryToken);
  on("unlock", "close", () => write(byId("unlock-wrong"), ""));
  on("forget", "click", () => {
    keepToken(null);
    showKey();
    byId("unlock").close();
  });
  on("ban-add", "click", () => {
    write(byId("ban-wrong"), "");
    byId("ban-form").reset();
    open("ban");
    byId("ban-key").focus();
  });
  on("ban-form", "submit", (event) => {
    event.preventDefault();
    unlocked(addBan);
  });
  on("drain", "click", () => {
    write(byId("drain-wrong"), "");
    open("drain-ask");
  });
  on("drain-form", "submit", (event) => {
    event.preventDefault();
    unlocked(drain);
  });
  on("panic", "click", () => {
    write(byId("panic-wrong"), "");
    open("panic-ask");
  });
  on("panic-form", "submit", (event) => {
    event.preventDefault();
    unlocked(() => panic(byId("panic-for").value));
  });
  on("panic-end", "click", () => unlocked(() => panic("0s")));
  on("reload", "click", () => unlocked(reload));
}
