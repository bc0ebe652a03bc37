//! What the kernel does about banned sources, as the helper's client tells it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The kernel's sets, as the helper calls them.
pub const KERNEL_SETS: [&str; 4] = ["sources_v4", "sources_v6", "networks_v4", "networks_v6"];

/// What became of a ban or a lift on its way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelUpdate {
    /// It is in force there.
    Applied,
    /// The helper's configuration exempts somebody in it, or it is too wide.
    Refused,
    /// As many as may be are there.
    Full,
    /// The kernel would not.
    Failed,
    /// The queue to the client was full.
    Dropped,
}

pub(crate) const UPDATES: [&str; 5] = ["applied", "refused", "full", "failed", "dropped"];

/// Numbers with one writer but for the updates, which shards count, too.
#[derive(Debug, Default)]
pub struct KernelMetrics {
    pub(crate) up: AtomicBool,
    pub(crate) entries: [AtomicU64; 4],
    pub(crate) dropped: [AtomicU64; 4],
    pub(crate) repairs: AtomicU64,
    pub(crate) updates: [AtomicU64; 5],
}

impl KernelMetrics {
    /// Whether a helper keeps the kernel's sets.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Relaxed);
        if !up {
            // nobody says any more how many there are
            self.entries.iter().for_each(|entries| entries.store(0, Relaxed));
        }
    }

    /// Whether a helper keeps the kernel's sets.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Counts so many updates that ended like this.
    pub fn on_updates(&self, result: KernelUpdate, count: u64) {
        self.updates[result as usize].fetch_add(count, Relaxed);
    }

    /// How things stand, by [`KERNEL_SETS`]; of what was dropped, since the helper began.
    pub fn on_status(&self, entries: [u64; 4], dropped: [u64; 4], repairs: u64) {
        for (cell, value) in self.entries.iter().zip(entries) {
            cell.store(value, Relaxed);
        }
        for (cell, value) in self.dropped.iter().zip(dropped) {
            cell.store(value, Relaxed);
        }
        self.repairs.store(repairs, Relaxed);
    }
}
