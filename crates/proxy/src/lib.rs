//! The engine: a stateful SIP proxy (RFC 3261 §16) between the outside and a PBX, as one pure
//! state machine. Bytes and the time go in, bytes, deadlines and events come out.
//!
//! # Contract
//!
//! - Five calls: [`Engine::handle_input`], [`Engine::handle_timeout`], [`Engine::poll_output`],
//!   [`Engine::poll_timeout`], [`Engine::snapshot`].
//! - After each `handle_*`, call `poll_output` until it gives `None`; then ask `poll_timeout`.
//! - No clock, no socket, no OS randomness, no task: the same seed and the same inputs give the
//!   same outputs, live, in the simulator, under a fuzzer and over a capture.
//! - Anything slow is an output now and an input later.
//! - No input makes it panic, and every table has a bound in [`policy::Capacities`].
//!
//! It does not open connections, resolve names, read files, or judge sources (that is
//! `admission`, which it asks).

mod engine;
mod event;
mod io;

pub use engine::Engine;
pub use event::{Event, Verdict};
pub use io::{Binding, CloseReason, Input, Learned, Output, Snapshot, Table};
