//! The tests' own machinery: a real Asterisk, the edge in front of it, and phones with exact
//! control over each message.
//!
//! - A [`Stage`] is one PBX with everything around it, on a loopback network of its own, so that
//!   tests run side by side. In [`Mode::Direct`] the phones talk straight to Asterisk: the
//!   reference that proves a scenario right. In [`Mode::Edge`] Ringfence stands between.
//! - A [`Ua`] is a phone (or, scripted, a PBX). It keeps a tape of all it sent and received, waits
//!   for facts with a deadline, and does nothing a test did not ask for, but for its few named
//!   [`Reflex`]es.
//! - [`Call`], [`Incoming`] and [`Leg`] are the two ways into a dialog and the dialog (RFC 3261
//!   §12) with its route set.
//!
//! Tests wait for facts. Nothing here sleeps to let something happen, and no test measures time.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests run in real time and fail by panic"
)]

mod asterisk;
mod call;
mod child;
mod dialog;
mod digest;
mod haproxy;
mod link;
mod message;
mod nsd;
mod ringfence;
mod rtp;
mod scenario;
mod stage;
mod stranger;
mod tls;
mod ua;

pub use asterisk::Asterisk;
pub use call::{Call, Incoming, offer};
pub use child::{Child, wait_until};
pub use dialog::Dialog;
pub use dialog::Leg;
pub use digest::credentials;
pub use haproxy::HaProxy;
pub use link::{Direction, Entry, Tape, Transport};
pub use message::{Message, param, tag_of, uri_host_port, uri_of, uri_param};
pub use nsd::{Nsd, ZONE};
pub use ringfence::Ringfence;
pub use rtp::Rtp;
pub use stage::{Family, Mode, Network, Plan, Stage, Way, pjsua_library, report};
pub use stranger::{Stranger, source_of, source_param};
pub use ua::{Reflex, Ua, is_stale};

/// How long a fact may take before a test gives up on it, on a machine that is busy with others, too.
/// It only bounds failures, and is less than the 32 seconds (RFC 3261's Timer B) after which what is
/// merely given up looks like what was refused.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A word nobody else uses: for tags, branches, Call-IDs, nonces of ours.
#[must_use]
pub fn unique() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{random:016x}")
}
