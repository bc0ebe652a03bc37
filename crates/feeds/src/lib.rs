//! Lists of addresses that others keep: fetched, checked, and kept for worse days.
//!
//! # Contract
//!
//! - One thread fetches ([`Fetcher`]), one list after the other, each within bounds of time, bytes
//!   and entries. Nobody waits for it; what it has is handed out as a [`Snapshot`].
//! - A list that cannot be had, or is none, changes nothing: the last good one holds until its
//!   entries have lived long enough. It lies in a file, so that it does so over a restart, too.
//! - What a list says is data: lines that are no address, networks wider than is allowed, and
//!   private addresses are refused and counted.
//!
//! It does not know whom the edge trusts or knows: whoever takes a snapshot asks that.

mod fetch;
mod format;
mod kept;
mod list;
mod push;
mod thread;

pub use format::Format;
pub use list::{List, Refused};
pub use push::{Push, PushCounts, PushSettings, Pusher};
pub use thread::{Fetcher, Snapshot, View};

use std::path::PathBuf;
use std::time::Duration;

/// Where a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `http://…` or `https://…`; `{key}` in it stands for the key.
    Url(String),
    /// A file.
    File(PathBuf),
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name, which is the name of its file, too.
    pub name: Box<str>,
    /// Where it is.
    pub place: Place,
    /// How it is written.
    pub format: Format,
    /// The file of the key that its server wants.
    pub key_file: Option<PathBuf>,
    /// How often it is fetched.
    pub every: Duration,
    /// How long an entry lives that the list does not name again.
    pub ttl: Duration,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// Longest answer, in bytes.
    pub bytes: usize,
    /// What is taken from it.
    pub bounds: Bounds,
}

/// What is taken from a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most entries.
    pub entries: usize,
    /// The shortest prefix of an IPv4 network.
    pub widest_ipv4: u8,
    /// The shortest prefix of an IPv6 network.
    pub widest_ipv6: u8,
    /// Whether private, loopback, link-local and multicast addresses are.
    pub private: bool,
}
