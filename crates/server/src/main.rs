//! The binary `ringfence`: assembly only. It reads the configuration, binds the sockets, gives
//! each shard a thread with an engine and a transport, and passes on what operators say by signals,
//! the service manager and the admin listener.

mod admin;
mod again;
mod alerts;
mod check;
mod cli;
mod client;
mod clock;
mod control;
mod demo;
mod desk;
mod driver;
mod feeds;
mod heap;
mod kernel;
mod lookout;
mod memory;
mod mesh;
mod names;
mod news;
mod policies;
mod reload;
mod reloads;
mod replay;
mod reports;
mod run;
mod setup;
mod sockets;
mod status;
mod top;
mod trial;
mod verbs;
mod watch;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // clap ends the process with 2 when it does not understand the command line.
    match cli::Cli::parse().command {
        cli::Command::Run { place } => {
            heap::settle();
            run::run(&place.config())
        }
        cli::Command::Check { place, print_effective, json } => {
            check::check(&place.config(), print_effective, json)
        }
        cli::Command::Init { asterisk, public, output, json } => {
            setup::init(&setup::Init { asterisk, public, output, json })
        }
        cli::Command::Doctor { place, asterisk, json } => {
            setup::doctor(&place.config(), &asterisk, json)
        }
        cli::Command::Demo { length } => demo::demo(length),
        cli::Command::Replay {
            file,
            stdio: _,
            config,
            against,
            edge,
            json,
            seed,
            shards,
            decisions,
        } => match file {
            Some(file) => {
                let edges = edge;
                let captured =
                    replay::Captured { file, config, against, edges, seed, shards, json };
                replay::capture(&captured)
            }
            None => replay::stdio(&config, replay::Options { seed, decisions }),
        },
        cli::Command::Running(running) => verbs::run(running),
        cli::Command::Policy { command } => match command {
            cli::PolicyCommand::Test { files, json } => policies::test(&files, json),
            cli::PolicyCommand::Diff { old, new, json } => policies::diff(&old, &new, json),
            cli::PolicyCommand::Schema => policies::schema(),
        },
        cli::Command::Completions { shell } => cli::completions(shell),
        cli::Command::Man { directory } => cli::man(directory.as_deref()),
    }
}
