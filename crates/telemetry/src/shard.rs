//! The counters of one shard: arrays indexed by closed enums, one writer, any number of readers.

use policy::Reason;
use proxy::{Event, Snapshot, Table, Verdict};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use wire::{Side, Transport};

pub(crate) const TRANSPORTS: [&str; 3] = ["udp", "tcp", "tls"];
pub(crate) const VERDICTS: [&str; 4] = ["forward", "absorb", "reject", "drop"];
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];
pub(crate) const SIDES: [&str; 2] = ["outside", "inside"];
pub(crate) const TABLES: [&str; 6] =
    ["exchanges", "bindings", "moved_flows", "nonces", "connections", "retained_bytes"];
pub(crate) const REASONS: usize = Reason::ALL.len();
const METHODS: usize = Event::METHODS.len();
/// Index of "other" in [`Event::METHODS`].
const OTHER: usize = METHODS - 2;

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// A load and a store: with one writer nothing is lost, and no locked instruction is needed.
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    fn set(&self, value: u64) {
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
    pub(crate) timers: Cell,
    pub(crate) pbx_up: AtomicBool,
    pub(crate) wakeups: Cell,
    pub(crate) inputs: Cell,
    pub(crate) hand_overs: [Cell; 2],
    pub(crate) learned: [Cell; 2],
}

/// A table's numbers.
#[derive(Debug, Default)]
pub(crate) struct TableCells {
    pub(crate) entries: Cell,
    pub(crate) capacity: Cell,
    pub(crate) evictions: Cell,
}

impl TableCells {
    fn set(&self, table: Table) {
        self.entries.set(table.entries as u64);
        self.capacity.set(table.capacity as u64);
        self.evictions.set(table.evictions);
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
            timers: Cell::default(),
            pbx_up: AtomicBool::new(false),
            wakeups: Cell::default(),
            inputs: Cell::default(),
            hand_overs: Default::default(),
            learned: Default::default(),
        }
    }
}

impl ShardMetrics {
    /// Counts a decision.
    pub fn on_event(&self, event: &Event) {
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

    /// Publishes the sizes of everything.
    pub fn on_snapshot(&self, snapshot: &Snapshot) {
        let tables = [
            snapshot.exchanges,
            snapshot.bindings,
            snapshot.moved_flows,
            snapshot.nonces,
            snapshot.connections,
            snapshot.retained_bytes,
        ];
        for (cells, table) in self.tables.iter().zip(tables) {
            cells.set(table);
        }
        self.unanswered.set(snapshot.unanswered as u64);
        self.timers.set(snapshot.timers as u64);
        self.pbx_up.store(snapshot.pbx_up, Relaxed);
    }

    /// Counts a wake-up that gave `inputs` stimuli to the engine.
    pub fn on_wakeup(&self, inputs: u64) {
        self.wakeups.add(1);
        self.inputs.add(inputs);
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
