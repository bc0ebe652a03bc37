//! Alerts: what somebody should know, told to people (`docs/alerts.md`).
//!
//! # Contract
//!
//! - Whoever has something to tell hands it over ([`Clerk`]) and goes on: it never waits. What
//!   finds the queue full is dropped and counted.
//! - Each target has a [`Book`]: what comes together is told together, what was told is not told
//!   again for a while, and in an hour only so many messages are sent. A book is pure: time is an
//!   argument.
//! - Each target has a thread, so that one that is dead or slow keeps no other waiting. What could
//!   not be told stays in its book, which is bounded, and is told with what came meanwhile.
//! - What a peer wrote is data: it is escaped before it gets here, and again for each kind of
//!   target. Secrets are read from their files when they are needed, and stand in no error.
//!
//! It does not decide what is worth an alert, and it reads no configuration file.

mod alert;
mod book;
mod desk;
mod send;
mod text;

#[cfg(test)]
mod tests;

pub use alert::{Alert, Kind, Severity};
pub use book::{Book, Digest, Item, Pace};
pub use desk::{Alerts, Clerk, Counters, Tested, View};

use std::path::PathBuf;
use std::time::Duration;

/// Who is told, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of this edge in what is told.
    pub node: String,
    /// How often.
    pub pace: Pace,
    /// Who.
    pub targets: Vec<Target>,
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A short word.
    pub name: String,
    /// Where and how.
    pub way: Way,
    /// What.
    pub kinds: Vec<Kind>,
    /// How long a connection and each step of an exchange may take; over HTTP all of it.
    pub timeout: Duration,
    /// PEM file of the authorities that may have signed its certificate; `None`: those of the
    /// system.
    pub authorities: Option<PathBuf>,
}

/// How a target is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a POST.
    Http {
        /// What its server takes.
        shape: Shape,
        /// `http://…` or `https://…`; `{key}` in it stands for what is in `key_file`.
        url: String,
        /// The file of what stands for `{key}`.
        key_file: Option<PathBuf>,
        /// The file of a bearer token.
        token_file: Option<PathBuf>,
    },
    /// By mail.
    Mail {
        /// Name or address of the server.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is protected.
        protection: Protection,
        /// Whom the server knows, and the file of his password.
        login: Option<(String, PathBuf)>,
        /// Who sends.
        from: String,
        /// Who is told.
        recipients: Vec<String>,
    },
}

/// What the server behind a webhook takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Our own JSON.
    #[default]
    Json,
    /// What Slack takes, and what does as it does.
    Slack,
    /// What ntfy takes.
    Ntfy,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// TLS after STARTTLS, or nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    Off,
}

impl Target {
    /// Where it is, for people: without what is secret.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.way {
            Way::Http { url, .. } => url.clone(),
            Way::Mail { host, port, .. } => format!("smtp://{host}:{port}"),
        }
    }
}
