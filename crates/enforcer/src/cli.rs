//! The command line.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the configuration is looked for.
const DEFAULT_CONFIG: &str = "/etc/ringfence/ringfence.yaml";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All well.
    Ok = 0,
    /// The configuration has errors, or `enforce` is off.
    Config = 1,
    /// The socket could not be had, or nobody is behind it.
    Socket = 3,
    /// The kernel refuses, or something that should not happen did.
    Failed = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all well; for `run`: ended by a signal
  1  the configuration has errors, or has no `enforce`
  2  the command line was not understood
  3  the socket could not be bound; for `list`: nobody is behind it
  4  the kernel refuses: CAP_NET_ADMIN is missing, or nftables";

/// Drops in the kernel what Ringfence has banned
///
/// Needs CAP_NET_ADMIN and nothing else. What it may drop, and whom never, stands in the
/// configuration of the edge; docs/enforce.md explains.
#[derive(Debug, Parser)]
#[command(name = "ringfence-enforcer", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep the kernel's sets, in the foreground
    ///
    /// SIGHUP reads the configuration again. SIGTERM and SIGINT end it; whether the sets stay is
    /// said by `enforce.on_stop`.
    #[command(after_help = "Examples:
  ringfence-enforcer run --user ringfence        what the service does
  nft list table inet ringfence                  what it made
  nft delete table inet ringfence                takes all of it away, once it is stopped")]
    Run {
        /// The configuration file of the edge
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Who may connect, besides root: a name or a number; may be given several times
        #[arg(long = "user", value_name = "USER", default_value = "ringfence")]
        users: Vec<String>,
    },
    /// Print what is banned in the kernel, and what was dropped
    #[command(after_help = "Examples:
  ringfence-enforcer list | sort")]
    List {
        /// The configuration file of the edge
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_containers_words_are_understood() {
        let compose = include_str!("../../../docker/compose.yaml");
        let (_, service) = compose.split_once("\n  enforcer:\n").unwrap();
        let words = service.split_once("command: [").and_then(|(_, rest)| rest.split_once(']'));
        let words = words.unwrap().0.split(", ").map(|word| word.trim_matches('"'));
        let cli = Cli::try_parse_from(["ringfence-enforcer"].into_iter().chain(words)).unwrap();
        // docker/Dockerfile's USER
        assert!(matches!(cli.command, Command::Run { users, .. } if users == ["65532"]));
    }
}
