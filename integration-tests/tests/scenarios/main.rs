//! Every scenario, straight at Asterisk and through the edge. Names that begin with `slow_` take
//! the half minute that RFC 3261's timers take.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests run in real time and fail by panic"
)]

mod admission;
mod balancer;
mod call;
mod cancel;
mod carriers;
mod dialog;
mod doctor;
mod events;
mod extensions;
mod forked;
mod habits;
mod message;
mod nat;
mod nonce;
mod operations;
mod path;
mod pbxs;
mod proxy;
mod reach;
mod refusal;
mod register;
mod reliable;
mod software;
mod streams;
mod torture;
mod transfer;
mod trouble;
