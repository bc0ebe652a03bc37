//! Every scenario, straight at Asterisk and through the edge.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests run in real time and fail by panic"
)]

mod call;
mod register;
