//! How the C library's allocator grows (docs/decisions/0021-one-heap.md).
//!
//! It gives each thread a heap of its own, and lets that grow by single pages, each with a call of
//! `mprotect`: half a call for each REGISTER cycle while the tables fill. In the steady state
//! shards allocate nothing, so they can share one heap, which grows by larger pieces.

/// By how much it grows, bytes.
const STEP: libc::c_int = 1 << 20;

/// To be called before there is a second thread.
pub(crate) fn settle() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "mallopt has no safe form")]
    // SAFETY: both parameters are documented in mallopt(3); values it does not take it refuses, and
    // then the heap grows as it did.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, STEP);
    }
}
