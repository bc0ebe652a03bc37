//! The binary `ringfence-enforcer`: the one part of Ringfence with a privilege, `CAP_NET_ADMIN`. It
//! takes bans and lifts from the edge over a Unix socket and keeps the kernel's drop sets.
//!
//! # Contract
//!
//! - It reads the edge's configuration, which the edge cannot write: where packets may be dropped,
//!   whom nothing bans, how many and how wide bans may be. What the edge says is data.
//! - Only users that its command line names, and root, may connect.
//! - It serves from one thread. Nothing that comes over the socket makes it wait for longer than a
//!   transaction of the kernel takes.

mod cli;
mod connection;
mod core;
mod list;
mod plan;
mod privileges;
mod serve;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // clap ends the process with 2 when it does not understand the command line.
    match cli::Cli::parse().command {
        cli::Command::Run { config, users } => serve::run(&config, &users),
        cli::Command::List { config } => list::list(&config),
    }
}
