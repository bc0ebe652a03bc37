//! The audit stream: a line for each decision worth keeping, for machines that read lines
//! (`docs/audit.md`).
//!
//! # Contract
//!
//! - A shard hands a fact over ([`Journal`]) and goes on: it never waits, for a lock, a disk or a
//!   queue, and allocates nothing for a decision. What finds the queue full is lost and counted.
//! - Of each reason so many lines a second are written; how many were left out stands in the next
//!   line of that reason, or in a line of its own when no further one comes.
//! - One thread writes. A target that takes nothing is said once, counted and tried again; lines
//!   wait for it up to a bound.
//! - A file is rotated by its size, and opened anew when somebody moved it.
//! - What a peer wrote is data: in JSON it is escaped ([`visible`]), in the plain line it does not occur.
//!
//! It does not decide what a decision means, and it reads no configuration file.

mod caps;
mod file;
mod journal;
mod line;
mod plain;
mod sink;
mod writer;

#[cfg(test)]
mod tests;

pub use journal::{Clerk, Journal};
pub use line::visible;
pub use writer::{Audit, Counters, Health};

use std::path::PathBuf;

/// Where lines go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where they go.
    pub to: Target,
    /// How they look.
    pub format: Format,
    /// Whether what passed has lines, too.
    pub accepted: bool,
    /// Lines of one reason in a second.
    pub rate: u32,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file of at most `size` bytes (or one line), and `keep` older ones beside it, `.1` the
    /// youngest.
    File {
        /// Its path.
        path: PathBuf,
        /// Bytes from which on it is rotated.
        size: u64,
        /// Older files that are kept; 0: none.
        keep: u32,
    },
    /// Standard output.
    Stdout,
    /// A syslog daemon's socket, in RFC 5424's words.
    Syslog(PathBuf),
    /// The journal's own socket, with the event as a field.
    Journald(PathBuf),
}

impl Target {
    /// As people call it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Target::File { path, .. } => path.display().to_string(),
            Target::Stdout => "stdout".into(),
            Target::Syslog(socket) => format!("syslog at {}", socket.display()),
            Target::Journald(socket) => format!("journald at {}", socket.display()),
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    #[default]
    Json,
    /// Words and `key=value`, for `fail2ban` and other readers by pattern; only words of the edge's
    /// own.
    Fail2ban,
}
