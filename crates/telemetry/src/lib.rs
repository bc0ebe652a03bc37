//! What the edge says about itself: metrics and logs.
//!
//! # Contract
//!
//! - The one place that spells metric names ([`CATALOGUE`]); no other crate sees `prometheus`.
//! - Counting a decision ([`ShardMetrics::on_event`]) takes one store into an array that only one
//!   shard writes: no lock, no hash, no allocation. Shards are added up when somebody scrapes.
//! - No label holds an address, an AOR or a Call-ID: label values come from closed lists.
//! - Logs obey the law in [`log`].
//!
//! It does not serve HTTP, and it does not know the transports' counters by name beforehand: who
//! assembles the process brings them along ([`Telemetry::watch_transport`]).

mod bans;
mod catalogue;
mod family;
mod feeds;
mod histogram;
mod kernel;
pub mod log;
mod names;
mod process;
mod reports;
mod scrape;
mod shard;
mod state;
mod summary;

#[cfg(test)]
mod tests;

pub use catalogue::{CATALOGUE, Definition, Kind};
pub use feeds::{FETCHES, FeedNumbers, FeedWatch, PUSHES, PushWatch};
pub use kernel::{KERNEL_SETS, KernelMetrics, KernelUpdate};
pub use names::NameMetrics;
pub use process::{AdminAnswer, Reload, Telemetry, TransportCounters};
pub use reports::{AlertCounts, AlertTarget, AuditCounts, HepCounts, ReportCounts, ReportWatch};
pub use shard::{HandOver, ShardMetrics};
pub use state::{StateCounts, StateWatch};
pub use summary::{Fill, ShardSummary, Summary};
