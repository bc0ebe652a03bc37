//! How the C library's allocator grows (docs/decisions/0026-one-heap.md).
//!
//! And that it gives back to the system what a burst has left: by itself it gives back only what
//! lies on top, and something small always does.
//!
//! It gives each thread a heap of its own, and lets that grow by single pages, each with a call of
//! `mprotect`: half a call for each REGISTER cycle while the tables fill. In the steady state
//! shards allocate nothing, so they can share one heap, which grows by larger pieces.

/// By how much it grows, bytes.
const STEP: libc::c_int = 1 << 20;
/// What is as large lies apart, and goes back to the system by itself when it is free; bytes. By
/// itself the library raises this with each large piece that is freed, and then what is large
/// lies among what is small.
const APART: libc::c_int = 128 << 10;

/// To be called before there is a second thread.
pub(crate) fn settle() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "mallopt has no safe form")]
    // SAFETY: these parameters are documented in mallopt(3); values it does not take it refuses, and
    // then the heap grows as it did.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, STEP);
        libc::mallopt(libc::M_MMAP_THRESHOLD, APART);
    }
}

/// Below so many transactions a burst is none.
const BURST: u64 = 10_000;

/// Gives memory back when a burst is over.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    /// The most transactions that were held since memory was given back.
    most: u64,
}

impl Heap {
    /// So many transactions are held now.
    pub(crate) fn on_held(&mut self, held: u64) {
        if self.is_over(held) {
            give_back();
        }
    }

    fn is_over(&mut self, held: u64) -> bool {
        self.most = self.most.max(held);
        let over = self.most >= BURST && held < self.most / 4;
        if over {
            self.most = held;
        }
        over
    }
}

fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "malloc_trim has no safe form")]
    // SAFETY: it takes and gives nothing but a number; see malloc_trim(3).
    unsafe {
        libc::malloc_trim(STEP as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_each_burst() {
        let mut heap = Heap::default();
        let held = [9_000, 100, 40_000, 80_000, 30_000, 19_999, 10, 10, 10_000, 2_499, 0];
        let over = held.map(|held| heap.is_over(held));
        let expected = [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0].map(|one| one == 1);
        assert_eq!(over, expected);
    }
}
