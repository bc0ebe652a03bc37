//! What the kernel drops and what it lets through: real packets between network namespaces that
//! each test makes itself. Needs root, `ip`, `nft` and `conntrack`; without them the tests fail.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests run in real time and fail by panic"
)]

mod drops;
mod edge;
mod helper;
mod lab;
mod repair;
