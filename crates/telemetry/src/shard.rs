//! The counters of one shard: arrays indexed by closed enums, one writer, any number of readers.

use crate::bans::Bans;
use crate::histogram::Histogram;
use admission::{Ban, Counts, Lift, Proof};
use policy::{Outcome, Policy, Reason};
use proxy::{Event, PbxState, Snapshot, Table, TrunkState, Verdict};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use wire::{Side, Transport};

pub(crate) const TRANSPORTS: [&str; 3] = ["udp", "tcp", "tls"];
pub(crate) const VERDICTS: [&str; 4] = ["forward", "absorb", "reject", "drop"];
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];
pub(crate) const SIDES: [&str; 2] = ["outside", "inside"];
pub(crate) const TABLES: [&str; 22] = [
    "exchanges",
    "unproven_exchanges",
    "bindings",
    "moved_flows",
    "nonces",
    "connections",
    "decisions",
    "recorded_bytes",
    "retained_bytes",
    "ledger",
    "sources",
    "pairs",
    "aors",
    "networks",
    "shapes",
    "bans",
    "rates",
    "chains",
    "tries",
    "passing",
    "templates",
    "trunk_calls",
];
/// Limits of a trunk.
pub(crate) const LIMITS: [&str; 2] = ["calls", "calls_per_second"];
/// States of a trunk's targets.
pub(crate) const TARGETS: [&str; 2] = ["serving", "quarantined"];
pub(crate) const REASONS: usize = Reason::ALL.len();
const METHODS: usize = Event::METHODS.len();
/// Index of "other" in [`Event::METHODS`].
const OTHER: usize = METHODS - 2;

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// A load and a store: with one writer nothing is lost, and no locked instruction is needed.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What became of a message for another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// It is in the other shard's queue.
    Sent,
    /// The queue was full, or the shard is gone.
    Dropped,
}

/// The numbers of one shard. Written by that shard's thread only; read by whoever scrapes.
#[derive(Debug)]
pub struct ShardMetrics {
    /// `[transport][method][verdict][reason]`, from outside.
    pub(crate) requests: Box<[Cell]>,
    /// `[method][verdict][reason]`, from inside.
    pub(crate) inside_requests: Box<[Cell]>,
    /// `[side][class][verdict][reason]`.
    pub(crate) responses: Box<[Cell]>,
    pub(crate) tables: [TableCells; TABLES.len()],
    pub(crate) unanswered: Cell,
    awaited: Cell,
    pub(crate) timers: Cell,
    pub(crate) pbx_up: AtomicBool,
    pub(crate) pbxs: Mutex<Vec<PbxState>>,
    pub(crate) wakeups: Cell,
    pub(crate) inputs: Cell,
    /// Messages that were forwarded, and of those the ones whose latency is known.
    forwarded: Cell,
    timed: Cell,
    pub(crate) forward_seconds: Histogram,
    pub(crate) pbx_response_seconds: Histogram,
    pub(crate) hand_overs: [Cell; 2],
    pub(crate) learned: [Cell; 2],
    /// Issued, issued by the edge, then by [`Outcome`].
    pub(crate) challenges: [Cell; 2 + Outcome::ALL.len()],
    pub(crate) proofs: [Cell; Proof::ALL.len()],
    pub(crate) bans: Mutex<Bans>,
    /// In, and out.
    pub(crate) unproven_bytes: [Cell; 2],
    pub(crate) under_attack: AtomicBool,
    /// A [`proxy::Stage`] by its place.
    pub(crate) shed: AtomicU8,
    /// Hits by the names of the policy in force.
    pub(crate) hits: Mutex<Hits>,
    /// By name.
    pub(crate) trunks: Mutex<BTreeMap<Box<str>, TrunkNumbers>>,
}

/// Hits of rules and signatures, under the names that the policy gave them. What was counted under
/// a name stays there when a reload moves it, so that counters only grow.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    pub(crate) feeds: BTreeMap<Box<str>, [u64; 4]>,
    pub(crate) rules: BTreeMap<Box<str>, u64>,
    /// By others, and by the authenticated.
    pub(crate) signatures: BTreeMap<Box<str>, [u64; 2]>,
    /// The last counts that were seen, of which policy.
    seen: Counts,
    rule_names: Vec<Box<str>>,
    signature_names: Vec<Box<str>>,
}

/// A trunk's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrunkNumbers {
    pub(crate) calls: u64,
    /// By [`LIMITS`].
    pub(crate) refused: [u64; LIMITS.len()],
    /// By [`TARGETS`].
    pub(crate) targets: [u64; TARGETS.len()],
}

impl TrunkNumbers {
    /// Adds another shard's.
    pub(crate) fn add(&mut self, other: &TrunkNumbers) {
        self.calls += other.calls;
        self.refused.iter_mut().zip(other.refused).for_each(|(sum, more)| *sum += more);
        self.targets.iter_mut().zip(other.targets).for_each(|(sum, more)| *sum += more);
    }
}

/// A table's numbers.
#[derive(Debug, Default)]
pub(crate) struct TableCells {
    pub(crate) entries: Cell,
    pub(crate) capacity: Cell,
    pub(crate) evictions: Cell,
}

impl TableCells {
    pub(crate) fn set(&self, table: Table) {
        self.entries.set(table.entries as u64);
        self.capacity.set(table.capacity as u64);
        self.evictions.set(table.evictions);
    }

    /// How full it is; 0 where it has no bound.
    pub(crate) fn percent(&self) -> u64 {
        let full = self.entries.value().saturating_mul(100);
        full.checked_div(self.capacity.value()).unwrap_or_default()
    }
}

fn cells(length: usize) -> Box<[Cell]> {
    (0..length).map(|_| Cell::default()).collect()
}

impl Default for ShardMetrics {
    fn default() -> Self {
        let decisions = VERDICTS.len() * REASONS;
        ShardMetrics {
            requests: cells(TRANSPORTS.len() * METHODS * decisions),
            inside_requests: cells(METHODS * decisions),
            responses: cells(SIDES.len() * CLASSES.len() * decisions),
            tables: Default::default(),
            unanswered: Cell::default(),
            awaited: Cell::default(),
            timers: Cell::default(),
            pbx_up: AtomicBool::new(false),
            pbxs: Mutex::default(),
            wakeups: Cell::default(),
            inputs: Cell::default(),
            forwarded: Cell::default(),
            timed: Cell::default(),
            forward_seconds: Histogram::default(),
            pbx_response_seconds: Histogram::default(),
            hand_overs: Default::default(),
            learned: Default::default(),
            challenges: Default::default(),
            proofs: Default::default(),
            bans: Mutex::default(),
            unproven_bytes: Default::default(),
            under_attack: AtomicBool::new(false),
            shed: AtomicU8::new(0),
            hits: Mutex::default(),
            trunks: Mutex::default(),
        }
    }
}

impl ShardMetrics {
    /// Counts a decision.
    pub fn on_event(&self, event: &Event) {
        if event.verdict == Verdict::Forward {
            self.forwarded.add(1);
        }
        if let Some(waited) = event.waited {
            self.pbx_response_seconds.add(waited, 1);
        }
        let method = usize::from(event.method);
        let method = if method < METHODS { method } else { OTHER };
        let decision = verdict_index(event.verdict) * REASONS + event.reason as usize;
        let decisions = VERDICTS.len() * REASONS;
        let (cells, row) = match (event.status, event.side) {
            (0, Side::Outside) => {
                (&self.requests, transport_index(event.flow.transport) * METHODS + method)
            }
            (0, Side::Inside) => (&self.inside_requests, method),
            (status, side) => {
                let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
                (&self.responses, side_index(side) * CLASSES.len() + class)
            }
        };
        // The indices are in range by construction; a miss must not end a shard.
        if let Some(cell) = cells.get(row * decisions + decision) {
            cell.add(1);
        }
    }

    /// Publishes how the PBXs do; each that falls or rises is told.
    pub fn on_pbxs(&self, policy: &Policy, states: impl Iterator<Item = PbxState>) {
        let mut known = self.pbxs.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *known, states.collect());
        for state in known.iter() {
            let was = old.iter().find(|old| old.id == state.id).is_none_or(|old| old.up);
            if was == state.up {
                continue;
            }
            let Some(pbx) = policy.pbx.iter().find(|pbx| pbx.id() == state.id) else { continue };
            let (pbx, address) = (&*pbx.name, pbx.address);
            match state.up {
                false => tracing::warn!(pbx, %address, "A PBX does not serve"),
                true => tracing::info!(pbx, %address, "A PBX serves again"),
            }
        }
    }

    /// Publishes the sizes of everything.
    pub fn on_snapshot(&self, snapshot: &Snapshot) {
        let tables: [Table; TABLES.len()] = [
            snapshot.exchanges,
            snapshot.unproven_exchanges,
            snapshot.bindings,
            snapshot.moved_flows,
            snapshot.nonces,
            snapshot.connections,
            snapshot.decisions,
            snapshot.recorded_bytes,
            snapshot.retained_bytes,
            snapshot.gate.ledger.into(),
            snapshot.gate.sources.into(),
            snapshot.gate.pairs.into(),
            snapshot.gate.aors.into(),
            snapshot.gate.networks.into(),
            snapshot.gate.shapes.into(),
            snapshot.gate.bans.into(),
            snapshot.gate.rates.into(),
            snapshot.gate.chains.into(),
            snapshot.gate.tries.into(),
            snapshot.gate.passing.into(),
            snapshot.gate.templates.into(),
            snapshot.trunk_calls,
        ];
        for (cells, table) in self.tables.iter().zip(tables) {
            cells.set(table);
        }
        for (cell, bytes) in self.unproven_bytes.iter().zip(snapshot.unproven_bytes) {
            cell.set(bytes);
        }
        self.under_attack.store(snapshot.gate.under_attack, Relaxed);
        self.shed.store(snapshot.shed as u8, Relaxed);
        self.unanswered.set(snapshot.unanswered as u64);
        self.awaited.set(snapshot.awaited as u64);
        self.timers.set(snapshot.timers as u64);
        self.pbx_up.store(snapshot.pbx_up, Relaxed);
    }

    /// Rules and signatures have these names from now on. Call [`ShardMetrics::on_counts`] before
    /// and after: the gate counts from 0 when they changed.
    pub fn on_policy(&self, policy: &Policy) {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = &policy.admission.rules;
        let signatures = policy.admission.signatures.list();
        hits.rule_names = rules.iter().map(|rule| rule.name.clone()).collect();
        hits.signature_names = signatures.iter().map(|signature| signature.id.clone()).collect();
        // an old name keeps its numbers; names are bounded by what operators write
        for name in hits.rule_names.clone() {
            hits.rules.entry(name).or_default();
        }
        for name in hits.signature_names.clone() {
            hits.signatures.entry(name).or_default();
        }
    }

    /// Publishes what trunks have; those that are gone are forgotten.
    pub fn on_trunks<'t>(&self, trunks: impl Iterator<Item = TrunkState<'t>>) {
        let mut known = self.trunks.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        for TrunkState { name, calls, refused, targets } in trunks {
            let targets = targets.map(|count| count as u64);
            known.insert(name.into(), TrunkNumbers { calls: calls.into(), refused, targets });
        }
    }

    /// Publishes what the gate counted.
    pub fn on_counts(&self, counts: &Counts) {
        let ended = counts.outcomes.iter().copied();
        let challenges = [counts.issued, counts.issued_by_edge].into_iter().chain(ended);
        for (cell, count) in self.challenges.iter().zip(challenges) {
            cell.set(count);
        }
        for (cell, count) in self.proofs.iter().zip(counts.proofs) {
            cell.set(count);
        }
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.add(counts);
    }

    /// A ban began, or one in force was renewed.
    pub fn on_ban(&self, ban: &Ban) {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner).on_ban(ban);
    }

    /// A ban ended.
    pub fn on_lift(&self, lift: &Lift) {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner).on_lift(lift);
    }

    /// Counts a wake-up that gave `inputs` stimuli to the engine.
    pub fn on_wakeup(&self, inputs: u64) {
        self.wakeups.add(1);
        self.inputs.add(inputs);
    }

    /// What was forwarded since the last call is with the kernel: `latency` gives how long it took,
    /// and is asked only when there is something.
    pub fn on_flush(&self, latency: impl FnOnce() -> Duration) {
        let forwarded = self.forwarded.value();
        let count = forwarded.wrapping_sub(self.timed.value());
        if count > 0 {
            self.forward_seconds.add(latency(), count);
            self.timed.set(forwarded);
        }
    }

    /// Counts a message for another shard.
    pub fn on_hand_over(&self, result: HandOver) {
        self.hand_overs[result as usize].add(1);
    }

    /// Counts a fact told to another shard.
    pub fn on_learned(&self, result: HandOver) {
        self.learned[result as usize].add(1);
    }

    /// Requests without a final response at the last [`ShardMetrics::on_snapshot`].
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.unanswered.value()
    }

    /// Requests whose transactions are held, then.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.tables[0].entries.value()
    }

    /// Those of them that a drain waits for.
    #[must_use]
    pub fn awaited(&self) -> u64 {
        self.awaited.value()
    }
}

impl Hits {
    fn add(&mut self, counts: &Counts) {
        for (index, &count) in counts.rules.iter().enumerate() {
            let seen = self.seen.rules.get(index).copied().unwrap_or_default();
            if let Some(name) = self.rule_names.get(index) {
                *self.rules.entry(name.clone()).or_default() += since(count, seen);
            }
        }
        for (index, &(others, authenticated)) in counts.signatures.iter().enumerate() {
            let seen = self.seen.signatures.get(index).copied().unwrap_or_default();
            if let Some(name) = self.signature_names.get(index) {
                let hits = self.signatures.entry(name.clone()).or_default();
                hits[0] += since(others, seen.0);
                hits[1] += since(authenticated, seen.1);
            }
        }
        for feed in &counts.feeds {
            self.feeds.insert(feed.name.clone(), feed.hits);
        }
        self.seen.rules.clone_from(&counts.rules);
        self.seen.signatures.clone_from(&counts.signatures);
    }
}

/// How much was counted since; a smaller count began anew.
fn since(count: u64, seen: u64) -> u64 {
    count.checked_sub(seen).unwrap_or(count)
}

fn verdict_index(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Forward => 0,
        Verdict::Absorb => 1,
        Verdict::Reject(_) => 2,
        Verdict::Drop => 3,
    }
}

fn transport_index(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    }
}

fn side_index(side: Side) -> usize {
    match side {
        Side::Outside => 0,
        Side::Inside => 1,
    }
}
