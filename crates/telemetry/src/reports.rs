//! How what is told to other programs and to people is doing: the audit stream, the capture server,
//! alerts.

use crate::catalogue::{self, Definition};

/// What a look at all of it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportCounts {
    /// The audit stream.
    pub audit: AuditCounts,
    /// The capture server.
    pub hep: HepCounts,
    /// Alerts.
    pub alerts: AlertCounts,
}

/// What people are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertCounts {
    /// Alerts that were raised while somebody was to be told, by kind.
    pub raised: Vec<(&'static str, u64)>,
    /// Those of them that found the queue full.
    pub dropped: u64,
    /// Who is told.
    pub targets: Vec<AlertTarget>,
}

/// Somebody who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertTarget {
    /// His name.
    pub name: Box<str>,
    /// Whether the last try succeeded, or there was none.
    pub up: bool,
    /// Messages sent, and tries that failed.
    pub messages: [u64; 2],
    /// Alerts that wait for him.
    pub waiting: u64,
}

/// What became of a message with alerts.
const ALERT_MESSAGES: [&str; 2] = ["sent", "failed"];

impl AlertCounts {
    /// Gives each value of one of their metrics, with its labels, to `push`.
    pub(crate) fn each(&self, metric: &Definition, mut push: impl FnMut(&[&str], u64)) {
        match *metric {
            catalogue::ALERTS => self.raised.iter().for_each(|(alert, n)| push(&[alert], *n)),
            catalogue::ALERTS_DROPPED => push(&[], self.dropped),
            _ => {}
        }
        for AlertTarget { name, up, messages, waiting } in &self.targets {
            match *metric {
                catalogue::ALERT_UP => push(&[name], (*up).into()),
                catalogue::ALERT_WAITING => push(&[name], *waiting),
                catalogue::ALERT_MESSAGES => {
                    let results = ALERT_MESSAGES.iter().zip(messages);
                    results.for_each(|(result, count)| push(&[name, result], *count));
                }
                _ => {}
            }
        }
    }
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
