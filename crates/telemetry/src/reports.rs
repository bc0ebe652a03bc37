//! How what is told to other programs is doing: the audit stream, the capture server.

/// What a look at all of it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportCounts {
    /// The audit stream.
    pub audit: AuditCounts,
    /// The capture server.
    pub hep: HepCounts,
}

/// What a capture server is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HepCounts {
    /// Whether messages are wanted, and the last try succeeded.
    pub up: bool,
    /// Messages: sent, and lost because something was full or the server took nothing; and tries
    /// that failed.
    pub messages: [u64; 3],
}

/// What became of a message for a capture server, or of a try.
pub(crate) const MESSAGES: [&str; 3] = ["sent", "lost", "failed"];

/// The audit stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Whether lines are wanted, and the last write succeeded.
    pub up: bool,
    /// Lines: written, left out because their reason had its share, lost because something was
    /// full; and writes that failed and are tried again.
    pub lines: [u64; 4],
}

/// What became of an audit line, or of a write.
pub(crate) const LINES: [&str; 4] = ["written", "suppressed", "lost", "failed"];

/// Looks at all of it.
pub type ReportWatch = Box<dyn Fn() -> ReportCounts + Send + Sync>;
