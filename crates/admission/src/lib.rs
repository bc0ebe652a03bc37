//! The gate: judges sources by how their digest challenges end, and says of each request whether
//! it may pass. `docs/admission.md` is its specification.
//!
//! # Contract
//!
//! - Pure: no clock, no socket, no randomness of its own. It reads messages and sends nothing;
//!   `proxy` asks it and carries out the answer.
//! - Three stages: [`Gate::on_source`] before parsing, [`Gate::on_request`] for each request from
//!   outside that is no retransmission, and the outcome stage: [`Gate::on_final`],
//!   [`Gate::on_ack`], [`Gate::on_superseded`].
//! - After each call, [`Gate::poll_effect`] until it gives `None`; then [`Gate::poll_timeout`].
//! - What can be forged may cost a drop, never a ban.
//! - Each table has a bound in [`policy::GateCapacities`]; nothing grows with the number of forged
//!   addresses.
//! - All that one source does must come to one gate; gates of other shards tell each other what
//!   they must share by [`Learned`].

mod aors;
mod bans;
mod base32;
pub mod branch;
mod chain;
mod challenge;
mod digests;
mod effect;
mod explain;
mod fade;
mod gate;
mod index;
pub mod key;
mod ledger;
mod memory;
mod networks;
pub mod nonces;
mod offers;
mod pairs;
mod passing;
mod proof;
mod rates;
mod request;
mod rules;
mod shape;
mod shapes;
mod sources;
mod store;
mod storm;
mod templates;
mod tries;
mod trust;

pub use branch::{Branch, BranchKey};
pub use effect::{Alert, Ban, BanId, BanKey, Effect, Learned, Lift, Origin, Record};
pub use gate::{
    Counts, FeedCount, FeedHit, Gate, GateSnapshot, Known, ListedBy, SourceView, TableUse,
};
pub use key::Key;
pub use memory::{BanMemory, Counted, HitsMemory, Memory, MemoryKey, PairMemory, SourceMemory};
pub use nonces::RelayedNonces;
pub use rates::Rates;
pub use request::{
    Acknowledged, Credentials, Final, Judgement, Pass, Proof, Refusal, Request, Ticket, Verdict,
};
pub use rules::is_dialled;
pub use shape::shape;
