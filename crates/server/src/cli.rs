//! The command line.

mod running;

pub(crate) use running::{
    AlertsCommand, BansCommand, FeedsCommand, ListFormat, PbxCommand, Reach, Running, TrustCommand,
};

use crate::replay::EdgeAddress;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Where the configuration is looked for.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/ringfence/ringfence.yaml";

/// Where Asterisk's configuration is looked for.
const ASTERISK: &str = "/etc/asterisk";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All well.
    Ok = 0,
    /// The configuration has errors.
    Config = 1,
    /// A socket could not be had.
    Bind = 3,
    /// Something that should not happen did: a shard ended, the system refused.
    Failed = 4,
    /// No running edge was reached.
    Unreached = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all well; for `run`: ended by a signal after draining
  1  the configuration has errors; each is printed with file, line and a hint. For verbs that talk
     to a running edge: it refused, or what was asked for is not there
  2  the command line was not understood
  3  a socket could not be bound: the address is taken, not ours, or not permitted
  4  a failure while running; the log says which
  5  no running edge was reached";

/// A SIP edge in front of Asterisk
///
/// Ringfence stands on the public address; the PBX listens behind it on localhost. Phones register
/// and call through it; what is not clean stays outside.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, after_help = EXIT_CODES, after_long_help = concat_help())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn concat_help() -> String {
    format!(
        "\
First steps:
  1. Bind the PBX to localhost: in pjsip.conf, bind=127.0.0.1:5070
  2. Write {DEFAULT_CONFIG}:

       version: 1
       listen:
         - {{ transport: udp, address: \"0.0.0.0:5060\" }}
       inside:
         pbx: [\"127.0.0.1:5070\"]

  3. ringfence check && ringfence run

  4. ringfence top                           see what happens
     ringfence explain 198.51.100.7          why, and how it is undone
     ringfence bans lift 198.51.100.7 --trust 24h

With an Asterisk that is there: ringfence init, later ringfence doctor. To see it first: ringfence demo.

{EXIT_CODES}"
    )
}

/// Which configuration, said with `--config` as for all verbs, or by itself.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The same as --config FILE
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

impl Place {
    /// The one that is meant.
    pub(crate) fn config(self) -> PathBuf {
        self.file.unwrap_or(self.config)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the edge, in the foreground
    ///
    /// SIGHUP reads the configuration again: what can change while running does, what needs a
    /// restart is named in the log, and a file with errors changes nothing.
    ///
    /// SIGTERM and SIGINT drain: new calls get 503 with Retry-After, what is in passage ends, and
    /// after `drain_timeout` at the latest so does the process. A second signal ends it at once.
    ///
    /// Under systemd it tells when it is ready, reloads and stops, and feeds the watchdog.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        #[command(flatten)]
        place: Place,
    },
    /// Read the configuration and say everything that is wrong with it
    ///
    /// Every error and warning is printed with file, line, column, the path of the key, and a hint.
    /// Files that the configuration names (certificates, keys, the policy) are read, too, and a
    /// certificate that has ended or soon does is a warning.
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        #[command(flatten)]
        place: Place,
        /// Print every setting with the value in effect, defaults included, as YAML
        #[arg(long)]
        print_effective: bool,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write a configuration for the Asterisk that is there, and the lines to change in it
    ///
    /// Reads pjsip.conf with its templates and includes: transports, endpoints, domains, trunks. Writes
    /// a short commented configuration, in observe mode, and prints every line to change in Asterisk's
    /// own files, with file and line and the reason. It changes none of them, and never writes over a
    /// file that is there.
    #[command(after_help = INIT_EXAMPLES)]
    Init {
        /// The directory with Asterisk's configuration
        #[arg(long, value_name = "DIR", default_value = ASTERISK)]
        asterisk: PathBuf,
        /// The address by which phones reach this machine; default: what Asterisk says, or what this
        /// machine speaks with the world from
        #[arg(long, value_name = "IP")]
        public: Option<IpAddr>,
        /// Where to write the configuration; - is standard output
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        output: PathBuf,
        /// Print the result as one JSON object: the configuration, and each line to change
        #[arg(long)]
        json: bool,
    },
    /// Prove the set-up: find what would let somebody past the edge, or keep calls from working
    ///
    /// Asks the PBX, reads the kernel's tables of sockets and Asterisk's pjsip.conf, looks at the
    /// clock, limits, buffers, certificates and names. Each finding has a cure. The PBX gets a few
    /// OPTIONS; nothing is changed.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor {
        #[command(flatten)]
        place: Place,
        /// The directory with Asterisk's configuration
        #[arg(long, value_name = "DIR", default_value = ASTERISK)]
        asterisk: PathBuf,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show it: a real edge between phones and attackers that are played
    ///
    /// Starts an edge as a process of its own on 127.0.0.1, with a configuration of its own in a
    /// temporary directory, and around it a simulated PBX, phones that call each other, and scanners,
    /// callers and guessers. Within a minute calls pass and attackers fall. Nothing leaves this
    /// machine, and nothing is left when it ends.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo {
        /// End by itself after this: 30s, 5m; default: when it is stopped
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        length: Option<Duration>,
    },
    /// Judge a capture, or what a test bench sends, in its own time, without sockets
    ///
    /// With a FILE: what would have been done with the traffic of a capture, message by message, who
    /// would have been banned, and whether it would have met somebody who has an account. Take the
    /// capture where the edge will stand, in front of the PBX:
    ///
    ///     tcpdump -i any -s 0 -w today.pcap port 5060
    ///
    /// pcap and pcapng, UDP and TCP, IPv4 and IPv6, with VLANs and fragments. What the PBX answered in
    /// the capture is given to the engine as its answer. With --against, two policies judge, and only
    /// what they decide otherwise is told.
    ///
    /// With --stdio: one engine with the rules of the configuration, driven over JSON lines: each line
    /// on standard input is something that happens at a time that the line names, and exactly one line
    /// on standard output says what the edge does about it.
    ///
    /// A line:    {"now":12.345,"ev":"dgram","src":"198.51.100.7:5060","b64":"UkVHSVNURVIg…"}
    ///
    /// Its answer: {"out":[{"dst":"127.0.0.1:5070","transport":"UDP","b64":"…"}],"close":[],
    /// "bans":[],"next_timer":12.845}
    ///
    /// `ev` is dgram, tcp_open, tcp_data, tcp_close or tick. A datagram from the PBX's address is
    /// the PBX speaking; what goes to that address is for it. Come back with a tick when
    /// `next_timer` is reached. A line that is not understood is answered with {"error":"…"} and
    /// changes nothing.
    ///
    /// Nothing is bound, no clock is read, no file is written; certificates need not exist. The same
    /// seed and input give the same answers. docs/replay.md has all of it, and what cannot be known
    /// from a capture.
    #[command(after_help = REPLAY_EXAMPLES, verbatim_doc_comment)]
    Replay {
        /// A capture; - reads it from standard input
        #[arg(value_name = "FILE", required_unless_present = "stdio")]
        file: Option<PathBuf>,
        /// Take stimuli on standard input, answer on standard output
        #[arg(long, conflicts_with_all = ["file", "against", "edge", "json"])]
        stdio: bool,
        /// A configuration; for a capture also a policy, or the name of a profile (where there is no
        /// configuration: balanced)
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Another one: tell only what it decides otherwise
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// An address of the edge in the capture, with or without a port; may be repeated. Default:
        /// the listeners of the configuration, else who speaks SIP with the most addresses
        #[arg(long, value_name = "ADDRESS")]
        edge: Vec<EdgeAddress>,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
        /// Makes secret and random numbers: another seed, other tags and branches
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        seed: u64,
        /// Judge a capture as an edge of so many shards does, on as many threads
        #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "stdio",
              value_parser = clap::value_parser!(u8).range(1..=i64::from(config::Config::SHARDS_MAX)))]
        shards: u8,
        /// Say in each answer what was decided of each message, and why
        #[arg(long, requires = "stdio")]
        decisions: bool,
    },
    #[command(flatten)]
    Running(Running),
    /// Try, compare and describe policies
    #[command(after_help = POLICY_EXAMPLES)]
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  ringfence completions bash > /etc/bash_completion.d/ringfence
  ringfence completions zsh > ~/.zfunc/_ringfence")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all verbs
    #[command(after_help = "Examples:
  ringfence man | man -l -
  ringfence man --directory /usr/local/share/man/man1     then: man ringfence-bans-lift")]
    Man {
        /// Write the pages of all verbs there
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Run the tests that policies bring: messages in, verdict out
    ///
    /// One line a test. Each has an edge of its own in a time of its own: a wait of an hour takes
    /// no time, nothing is bound or sent. docs/policy/tests.md says how tests are written.
    #[command(after_help = "Exit codes: 0 all passed; 1 one failed, or a file has errors; 2 usage")]
    Test {
        /// Policies, whole configurations, or names of profiles
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print every setting in which two policies differ
    #[command(after_help = "Exit codes: 0 they are alike; 1 they differ; 2 usage; 4 not readable")]
    Diff {
        /// A policy, a whole configuration, or the name of a profile
        old: PathBuf,
        /// Another
        new: PathBuf,
        /// Print the differences as JSON, each with its path, old and new value
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of a policy, by which editors complete and check
    Schema,
}

const POLICY_EXAMPLES: &str = "\
Examples:
  ringfence policy test policy.yaml              before a reload; check does it, too
  ringfence policy diff balanced strict          what the one does otherwise
  ringfence policy diff balanced policy.yaml     what ours does otherwise
  ringfence policy schema > policy.schema.json   for an editor";

const RUN_EXAMPLES: &str = "\
Examples:
  ringfence run                                  what the service does
  ringfence run config/demo.yaml                 on loopback, without root
  kill -HUP $(pidof ringfence)                   read the configuration again
  curl -s http://127.0.0.1:9060/metrics          what it sees

Exit codes: 0 ended by a signal; 1 configuration error; 2 usage; 3 could not bind; 4 failure";

const CHECK_EXAMPLES: &str = "\
Examples:
  ringfence check                                before a reload or restart
  ringfence check new.yaml                       another file
  ringfence check --print-effective              every setting there is, with its value
  ringfence check --json | jq '.problems[]'      for scripts

Exit codes: 0 usable (warnings are printed); 1 it has errors; 2 usage";

const INIT_EXAMPLES: &str = "\
Examples:
  ringfence init --output -                      look first
  ringfence init --public 203.0.113.1            write /etc/ringfence/ringfence.yaml
  ringfence init --output - --json | jq '.changes[]'

Exit codes: 0 written; 1 pjsip.conf is not readable, or the output is there already; 2 usage";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  ringfence doctor                               after each change of the set-up
  ringfence doctor --json | jq '.findings[] | select(.severity == \"error\")'

Exit codes: 0 no errors (warnings are printed); 1 at least one error; 2 usage";

const DEMO_EXAMPLES: &str = "\
Examples:
  ringfence demo                                 until Ctrl-C
  ringfence demo --for 1m                        a minute

Exit codes: 0 it ended as it should; 2 usage; 4 the edge did not start, or ended by itself";

const REPLAY_EXAMPLES: &str = "\
Examples:
  ringfence replay today.pcap                              what would be done, and to whom
  ringfence replay today.pcap --config strict              by a shipped profile
  ringfence replay today.pcap --against new-policy.yaml    what a change would do
  ringfence replay today.pcap --json | jq '.users'         whom it would meet
  ringfence replay today.pcap --shards 4                   as an edge of four shards, on four threads
  ringfence replay --stdio --config ringfence.yaml < day.jsonl > answers.jsonl
  ringfence replay --stdio --decisions --config ringfence.yaml < day.jsonl |
    jq -c '.decisions[]? | select(.verdict == \"drop\")'

Exit codes: 0 the input ended; 1 configuration error; 2 usage; 4 not readable, or no SIP in it";

/// A number with its unit: ms, s, m, h.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text}: a number with ms, s, m or h is wanted: 30s");
    let digits = text.find(|one: char| !one.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().map_err(|_| wrong())?;
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

/// Prints a completion script.
pub(crate) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringfence", &mut script);
    print(&script)
}

/// Prints the manual page, or writes all of them.
pub(crate) fn man(directory: Option<&Path>) -> ExitCode {
    if let Some(directory) = directory {
        let written = clap_mangen::generate_to(Cli::command(), directory);
        return match written {
            Ok(()) => Exit::Ok.into(),
            Err(error) => {
                let _ = writeln!(io::stderr(), "{}: {error}", directory.display());
                Exit::Failed.into()
            }
        };
    }
    let mut page = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut page) {
        Ok(()) => print(&page),
        Err(_) => Exit::Failed.into(),
    }
}

/// To standard output; a reader that has gone is no fault.
pub(crate) fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.into(),
        _ => Exit::Ok.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["30", "s", "1d", "-1s", "99999999999999999999h", "9999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn run_and_check_look_in_the_same_place() {
        let config = |words: &[&str]| match Cli::parse_from(words).command {
            Command::Run { place } | Command::Check { place, .. } => place.config(),
            other => panic!("{other:?}"),
        };
        assert_eq!(config(&["ringfence", "run"]), config(&["ringfence", "check"]));
        for words in
            [&["ringfence", "check", "a.yaml"][..], &["ringfence", "check", "-c", "a.yaml"]]
        {
            assert_eq!(config(words), Path::new("a.yaml"));
        }
    }
}
