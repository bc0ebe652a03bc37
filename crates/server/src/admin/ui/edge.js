// The edge itself: PBX, policy, shards, tables, reloads.

import { bars, brief, byId, keyed, make, number, percent, rate, span, write } from "./dom.js";

const TABLES_SHOWN = 8;
const RULES_SHOWN = 10;

const REPORTS = { audit: "Audit lines", hep: "HEP", alerts: "Alerts" };

let before = null;

export function showEdge(status) {
  const parts = status.pbx.map((pbx) => [`PBX ${pbx.name}`, pbx.up ? (pbx.draining ? "warn" : "good") : "bad", (pbx.up ? "answers" : "does not answer") + (pbx.draining ? ", gets nothing new" : "")]);
  for (const feed of status.feeds ?? []) {
    const entries = `${number(feed.entries)} ${feed.entries === 1 ? "entry" : "entries"}`;
    const age = feed.age_seconds === null ? "never fetched" : `${span(feed.age_seconds)} old`;
    const failed = feed.failures === 1 ? "1 fetch failed" : `${number(feed.failures)} fetches failed`;
    parts.push([`Feed ${feed.name}`, feed.failures > 0 ? "warn" : "good", `${entries}, ${feed.failures > 0 ? failed : age}`]);
  }
  parts.push(["Bans in the kernel", status.kernel_up ? "good" : "quiet", status.kernel_up ? "dropped there" : "not used"]);
  parts.push(["Bans and trust over a restart", status.state_up ? "good" : "warn", status.state_up ? "kept" : "NOT kept"]);
  for (const { kind, target, up, error } of status.reports) {
    parts.push([`${REPORTS[kind] ?? kind} to ${target}`, up ? "good" : "warn", up ? "works" : error]);
  }
  keyed(byId("pbx"), parts, ([name]) => name,
    ([name]) => make("li", {}, make("span", {}, name), make("span", { class: "badge" })),
    (item, [, tone, text]) => {
      item.lastChild.dataset.tone = tone;
      write(item.lastChild, text);
    });
  const { version, profile, mode, file } = status.policy;
  write(byId("policy-file"), file);
  facts(byId("policy"), [["Profile", profile], ["Mode", mode, mode === "enforce" ? undefined : "warn"], ["Version", number(version)]]);
  write(byId("edge-more"), `up for ${span(status.uptime_seconds)}`);
  write(byId("about"), `Ringfence ${status.version} · started ${status.started} · ringfence top shows the same on a terminal`);
  showShards(status);
  showTables(status.tables);
  showReloads(status.reloads);
  before = status;
}

function facts(list, pairs) {
  keyed(list, pairs, ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd", {})),
    (item, [, value, tone]) => {
      write(item.lastChild, value);
      if (tone) item.lastChild.dataset.tone = tone;
      else delete item.lastChild.dataset.tone;
    });
}

function showShards(status) {
  const passed = before ? status.uptime_seconds - before.uptime_seconds : 0;
  keyed(byId("shards").tBodies[0], status.shards, (it) => it.shard,
    (it) => make("tr", {}, make("th", { scope: "row" }, `${it.shard}`), ...[0, 1, 2].map(() => make("td", { class: "num" }, "–"))),
    (row, it) => {
      const old = before?.shards[it.shard];
      write(row.cells[1], brief(it.requests));
      if (old && passed > 0.2) write(row.cells[2], rate(Math.max(0, it.requests - old.requests) / passed));
      write(row.cells[3], brief(it.inputs));
    });
}

/// Which tables are shown is settled once a while: rows that change places each second cannot be read.
let order = [];
let settled = 0;

function showTables(tables) {
  const fill = (it) => (it.capacity ? it.entries / it.capacity : 0);
  const names = tables.map((it) => it.table);
  if (order.length === 0 || Date.now() - settled > 15_000) {
    // rings, and a memory of what was met last: full is how they are meant to be
    const sorted = [...tables].sort((a, b) => fill(b) - fill(a) || b.entries - a.entries);
    order = sorted.map((it) => it.table);
    settled = Date.now();
  }
  const found = new Map(tables.map((it) => [it.table, it]));
  const rows = order.filter((name) => names.includes(name)).slice(0, TABLES_SHOWN).map((name) => {
    const it = found.get(name);
    const ring = ["decisions", "recorded_bytes", "templates"].includes(name);
    const tone = ring || fill(it) < 0.75 ? "accent" : fill(it) < 0.95 ? "warn" : "bad";
    return { name: name.replaceAll("_", " "), tone, count: it.entries, of: it.capacity, share: percent(it.entries, it.capacity) };
  });
  bars(byId("tables"), rows);
}

/// Rules that were hit, and all that only observe: what those would have done decides their fate.
export function showRules(policy) {
  const all = policy.rules.reduce((sum, it) => sum + it.hits, 0);
  const shown = policy.rules.filter((it) => it.hits > 0 || it.mode === "observe");
  const rows = most(shown).map((it) => {
    const watches = it.mode === "observe";
    const about = watches ? `observes: would ${it.then}` : it.then;
    return { name: it.name, tone: watches ? "warn" : "accent", about, count: it.hits, of: all };
  });
  bars(byId("rules"), rows);
  const matches = policy.signatures.reduce((sum, it) => sum + it.hits + it.authenticated, 0);
  const matched = policy.signatures.filter((it) => it.hits + it.authenticated > 0);
  bars(byId("signatures"), most(matched).map((it) => {
    const watches = it.mode === "observe" ? "observes: would " : "";
    const wrong = it.authenticated ? `, ${number(it.authenticated)} by the authenticated` : "";
    const tone = it.authenticated && it.ceiling !== "note" ? "bad" : watches ? "warn" : "accent";
    return { name: it.id, tone, about: `${watches}${it.ceiling}${wrong}`, count: it.hits + it.authenticated, of: matches };
  }));
}

const most = (list) => [...list].sort((a, b) => b.hits - a.hits).slice(0, RULES_SHOWN);

/// A trunk's hosts, and how many of their targets answer.
export function showTrunks(trunks) {
  byId("trunks-part").hidden = trunks.length === 0;
  const hosts = trunks.flatMap((trunk) => (trunk.hosts.length ? trunk.hosts : [{ host: "", targets: null }]).map((host) => ({ trunk: trunk.name, ...host })));
  keyed(byId("trunks"), hosts, (it) => `${it.trunk} ${it.host}`,
    (it) => make("li", {}, make("span", {}, it.trunk, make("small", {})), make("span", { class: "badge" })),
    (item, { host, targets }) => {
      const up = targets?.filter((it) => it.up).length ?? 0;
      const down = targets?.filter((it) => !it.up).map((it) => it.address) ?? [];
      let [tone, text] = ["quiet", "calls us only"];
      if (targets?.length === 0) [tone, text] = ["warn", "not resolved"];
      if (targets?.length) [tone, text] = [up === 0 ? "bad" : down.length ? "warn" : "good", `${number(up)} of ${number(targets.length)} targets in use`];
      write(item.firstChild.lastChild, down.length ? `${host} · passed over: ${down.join(", ")}` : host);
      item.lastChild.dataset.tone = tone;
      write(item.lastChild, text);
    });
}

/// The youngest is open, and each refused one: what is wrong is shown whole.
function showReloads(reloads) {
  keyed(byId("reloads"), reloads, (it) => `${it.at} ${it.cause} ${it.result}`, (it) => {
    const refused = it.result !== "applied";
    const changes = it.changes.length === 1 ? "1 change" : `${number(it.changes.length)} changes`;
    const tests = it.tests.run ? `, ${number(it.tests.run - it.tests.failed.length)} of ${number(it.tests.run)} tests pass` : "";
    const again = it.again ? `, ${number(it.again.differ)} of ${number(it.again.judged)} requests would be decided otherwise` : "";
    const more = refused ? `${number(it.problems.length + it.tests.failed.length)} to mend; version ${number(it.policy)} stays` : `version ${number(it.policy)}, ${changes}${tests}${again}`;
    return make("li", {},
      make("details", { open: refused },
        make("summary", {},
          make("span", { class: "badge", "data-tone": refused ? "bad" : "good" }, it.result),
          make("time", { datetime: it.at }, it.at),
          make("span", { class: "dim" }, `by ${it.cause} · ${more}`)),
        make("pre", { tabindex: "0" }, it.text || "nothing differs")));
  });
}
