// What is asked of the edge, and when. Events bring the status each second; what they do not bring
// is asked for now and then, and after each change. A page that nobody sees asks nothing.

import { Refusal, ask, follow, read } from "./api.js";
import { byId, write } from "./dom.js";
import { begin, say, unlock } from "./dialogs.js";
import { showEdge, showRules, showTrunks } from "./edge.js";
import { BANS, addDecision, pause, showBans, showSources } from "./lists.js";
import { showStatus, showTrouble, summary } from "./overview.js";

const SECOND = 1_000;
/// How often lists are asked for, and how soon after something happened.
const LISTS = 5 * SECOND;
const SOON = 400;
/// How often the status is asked for: slowly, as events bring it while they flow.
const POLL = 5 * SECOND;
/// How often a screen reader is told.
const TOLD = 20 * SECOND;

let status = null;
let heard = 0;
let waiting = null;

function onStatus(fresh) {
  status = fresh;
  heard = Date.now();
  showStatus(fresh);
  showEdge(fresh);
}

function onTrouble(error) {
  if (error.name === "AbortError") return;
  if (error instanceof Refusal && error.code === 401) {
    showTrouble("Locked", "Reading from another machine needs the token.");
    if (!document.querySelector("dialog[open]")) unlock(error.message, refresh);
  } else {
    showTrouble("Not reached", error instanceof Refusal ? error.message : "The edge does not answer this page. What is shown is old.");
  }
}

async function poll() {
  if (document.hidden || Date.now() - heard < POLL - SECOND) return;
  try {
    onStatus(await read("/status"));
  } catch (error) {
    onTrouble(error);
  }
}

async function lists() {
  waiting = null;
  if (document.hidden) return;
  try {
    const asked = [ask("GET", `/bans?limit=${BANS}`), read("/sources?limit=50"), read("/policy"), read("/trunks")];
    const [bans, sources, policy, trunks] = await Promise.all(asked);
    const total = bans.truncated ? Math.max(status?.bans ?? 0, bans.value.length) : bans.value.length;
    showBans(bans.value, total);
    showSources(sources);
    showRules(policy);
    showTrunks(trunks);
  } catch (error) {
    if (Date.now() - heard > POLL) onTrouble(error);
  }
}

/// Many bans that come together are asked for once.
function soon() {
  waiting ??= setTimeout(lists, SOON);
}

function refresh() {
  heard = 0;
  poll();
  soon();
}

const ALERTS = {
  campaign: (it) => `Campaign: ${it.sources} sources send the same shape`,
  carrier_candidate: (it) => `${it.source} may be a carrier that is not configured as a trunk`,
  storm: () => "Storm: new sources come faster than they can be told apart",
  honeytoken: (it) => `${it.source} asked for an account that is bait`,
  demoted: (it) => `Signature ${it.signature} met somebody who authenticated, and is only watched now`,
  pbx_down: (it) => it.what,
  certificate: (it) => it.what,
  table_filling: (it) => it.what,
  under_attack: (it) => (it.began ? "Under attack: strangers are challenged by the edge" : "The attack is over"),
};

function onEvent(name, data, id) {
  if (name === "status") onStatus(data);
  else if (name === "decision") addDecision(data, id);
  else if (name === "ban" || name === "lift") soon();
  else if (name === "panic_open" || name === "reload") refresh();
  else if (name === "alert" && ALERTS[data.alert]) say(ALERTS[data.alert](data));
}

/// Follows the events for as long as the page is seen; after a while of nothing again.
async function events() {
  let pause = SECOND;
  for (;;) {
    if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    const stop = new AbortController();
    const hide = () => document.hidden && stop.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      await follow(stop.signal, () => (pause = SECOND), onEvent);
    } catch {
      // the poll tells what is wrong
    }
    document.removeEventListener("visibilitychange", hide);
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, 30 * SECOND);
  }
}

begin(refresh);
byId("pause").addEventListener("click", (event) => {
  const stopped = event.target.getAttribute("aria-pressed") !== "true";
  event.target.setAttribute("aria-pressed", String(stopped));
  write(event.target, stopped ? "Go on" : "Pause");
  pause(stopped);
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
setInterval(poll, POLL);
setInterval(lists, LISTS);
setInterval(() => status && !document.hidden && write(byId("said"), summary(status)), TOLD);
refresh();
events();
