//! How the file of what outlives a restart is doing.

/// What a look at it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Whether the last write succeeded.
    pub up: bool,
    /// Rows in the file.
    pub rows: u64,
    /// Changes that wait to be written.
    pub waiting: u64,
    /// Changes: written, and lost because something was full; and writes that failed and are tried
    /// again.
    pub writes: [u64; 3],
}

/// What became of a change, or of a write.
pub(crate) const WRITES: [&str; 3] = ["written", "lost", "failed"];

/// Looks at it.
pub type StateWatch = Box<dyn Fn() -> StateCounts + Send + Sync>;
