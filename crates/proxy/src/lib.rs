//! The engine: a stateful SIP proxy (RFC 3261 §16) between the outside and a PBX, as one pure
//! state machine. Bytes and the time go in, bytes, deadlines and events come out.
//!
//! # Contract
//!
//! - Five calls: [`Engine::handle_input`], [`Engine::handle_timeout`], [`Engine::poll_output`],
//!   [`Engine::poll_timeout`], [`Engine::snapshot`].
//! - After each `handle_*`, call `poll_output` until it gives `None`; then ask `poll_timeout`.
//! - Each message that comes in makes exactly one [`Event`], in the shard that deals with it: a
//!   message that is handed over makes its event there.
//! - No clock, no socket, no OS randomness, no task: the same seed and the same inputs give the
//!   same outputs, live, in the simulator, under a fuzzer and over a capture.
//! - Anything slow is an output now and an input later.
//! - No input makes it panic, and every table has a bound in [`policy::Capacities`].
//!
//! It does not open connections, resolve names, read files, or judge sources (that is
//! `admission`, which it asks).

mod binding;
mod bindings;
mod buffers;
mod calls;
mod cancel;
mod connections;
mod credit;
mod decisions;
mod edits;
mod engine;
mod event;
mod exchange;
mod failover;
mod hashed;
mod health;
mod hygiene;
mod io;
mod judge;
mod keys;
mod load;
mod lots;
mod moves;
mod names;
mod outbox;
mod packed;
mod pbxs;
mod probe;
mod refusal;
mod register;
mod request;
mod response;
mod routing;
mod slab;
mod slots;
mod timeouts;
mod token;
mod trunks;

pub use binding::Binding;
pub use calls::TrunkState;
pub use credit::Seats;
pub use decisions::{Decision, without_port};
pub use engine::Engine;
pub use event::{Event, Grounds, Verdict};
pub use io::{CloseReason, Input, Learned, Output, PbxState, Snapshot, Stage, Table, Target};
