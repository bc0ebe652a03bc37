//! Names into addresses: RFC 3263 by `rsip-dns` over a `hickory-resolver` client, and when to ask
//! again.
//!
//! # Contract
//!
//! - [`resolve`] is one walk: NAPTR, SRV, A and AAAA, in the order of RFC 3263 §4. What `rsip-dns`
//!   gets wrong is settled before it is asked and in what it is answered (`walk`).
//! - Each question goes through a [`Client`]: retries, a bound on questions at a time and a timeout
//!   (`tower`) around one question to the DNS, and a memory of the last good answer for when a
//!   question fails.
//! - [`Watch`] is pure: it says which name is due, and what an answer changes. `now` is an
//!   argument; nothing in it waits.
//! - Bounds: names and addresses of one name ([`Settings`]), questions and records of one walk
//!   ([`QUESTIONS_MAX`], [`RECORDS_MAX`]), remembered answers ([`MEMORY_MAX`]).
//!
//! It is never asked on a packet's way, decides nothing about trust, and does not validate DNSSEC:
//! whoever can forge its name server's answers says who is trusted.

mod client;
mod memory;
mod order;
mod question;
mod settings;
mod walk;
mod wanted;
mod watch;

pub use client::{Client, ClientError, client, guard};
pub use memory::MEMORY_MAX;
pub use order::{by_priority, by_service};
pub use question::{Answer, Failure, Kind, Naptr, Question, Record, Srv};
pub use settings::Settings;
pub use walk::{QUESTIONS_MAX, RECORDS_MAX, Resolved, resolve};
pub use wanted::{Target, Unresolvable, Wanted};
pub use watch::{Change, Counts, Standing, State, Watch};
