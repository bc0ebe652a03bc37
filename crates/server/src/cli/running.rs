//! Verbs that talk to a running edge.

use super::DEFAULT_CONFIG;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// How the running edge is reached, and how its answer is printed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// The configuration of the running edge: its admin.socket is where it is reached
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    /// Reach it there instead: http://HOST:PORT, or unix:PATH
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// The file of the token that an http:// address wants for writing
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print the answer as JSON, as docs/api.md has it
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Running {
    /// See, make and lift bans
    Bans {
        #[command(subcommand)]
        command: BansCommand,
    },
    /// See whom operators trust for a time, and take that back
    Trust {
        #[command(subcommand)]
        command: TrustCommand,
    },
    /// See the PBXs, and let one of them get nothing new
    Pbx {
        #[command(subcommand)]
        command: PbxCommand,
    },
    /// See and fetch the lists of addresses that others keep
    Feeds {
        #[command(subcommand)]
        command: FeedsCommand,
    },
    /// See who is told of alerts, and try it
    Alerts {
        #[command(subcommand)]
        command: AlertsCommand,
    },
    /// Say why something was done: to an address, an AOR, a call; or what is behind a ban
    ///
    /// The evidence with its times, weights, rules and proof, the last decisions with their
    /// messages' first lines, and how it is undone.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// An address or network, an AOR (user@host), a Call-ID, or the number or key of a ban
        subject: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Watch it work: sources, the challenge funnel, verdicts, shards
    ///
    /// Keys: q ends; Tab goes between sources and bans; up and down choose; Enter explains what is
    /// chosen, Escape goes back; space stops and goes on.
    // it is for people: who asks for JSON is told where that is
    #[command(
        mut_arg("json", |json| json.hide(true)),
        after_help = "Exit codes: 0 ended by a key; 2 usage; 4 no terminal; 5 no edge was reached"
    )]
    Top {
        #[command(flatten)]
        reach: Reach,
    },
    /// Say how it is: PBX, policy, requests, bans, tables, reloads
    #[command(
        after_help = "Exit codes: 0 it serves; 1 it drains, or a shard hangs; 2 usage; 5 no edge was reached"
    )]
    Status {
        #[command(flatten)]
        reach: Reach,
    },
    /// Read the configuration again, and say what changed or why nothing did
    ///
    /// A file with errors, or with a policy whose own tests fail, changes nothing. State, bans,
    /// calls and connections stay in any case.
    #[command(after_help = "Exit codes: 0 applied; 1 refused; 2 usage; 5 no edge was reached")]
    Reload {
        #[command(flatten)]
        reach: Reach,
    },
    /// Take nothing new, let what is in passage end, then end: as SIGTERM does
    #[command(after_help = "Exit codes: 0 it drains; 2 usage; 5 no edge was reached")]
    Drain {
        #[command(flatten)]
        reach: Reach,
    },
    /// Let everything pass for a while, bans too: nothing is refused, all is still counted
    ///
    /// For when the edge seems to be in the way: if that helps, `explain` says what was in the way.
    /// It ends by itself. Meanwhile the log, the status and a metric say so loudly.
    #[command(after_help = PANIC_EXAMPLES)]
    PanicOpen {
        /// For how long, at most 24h; 0s ends it
        #[arg(long = "for", value_name = "TIME", default_value = "10m")]
        length: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PbxCommand {
    /// List them: whether each serves, is drained, and what was sent to it
    #[command(after_help = "Exit codes: 0 listed; 2 usage; 5 no edge was reached")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Send it no new calls and registrations; its calls go on
    ///
    /// Phones that are registered there go elsewhere with their next REGISTER. It holds over
    /// reloads, and until the edge restarts.
    #[command(
        after_help = "Exit codes: 0 drained; 1 there is none of that name; 2 usage; 5 no edge was reached"
    )]
    Drain {
        /// Its name; without one it is called by its address
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Send it new calls and registrations again
    #[command(
        after_help = "Exit codes: 0 done; 1 there is none of that name; 2 usage; 5 no edge was reached"
    )]
    Undrain {
        /// Its name; without one it is called by its address
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BansCommand {
    /// List the bans in force, those that began last first
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only those that touch this address or network, or have this number or key
        key: Option<String>,
        /// At most so many, up to 10000
        #[arg(long, value_name = "NUMBER", default_value_t = 1_000,
            value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a ban with its evidence, and how it is undone
    #[command(
        after_help = "Exit codes: 0 shown; 1 nothing is banned as that; 2 usage; 5 no edge was reached"
    )]
    Show {
        /// An address, a network, or the number or key of a ban
        key: String,
        /// Write the messages behind it there as a capture, as far as they are kept
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        pcap: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Ban an address or a network for a while
    ///
    /// Whoever is trusted cannot be banned: trust.networks, admin.networks, trunks, our own
    /// addresses.
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// An address or a network; an IPv6 address stands for its /64
        key: String,
        /// For how long, at most a year
        #[arg(long = "for", value_name = "TIME")]
        length: String,
        /// Why: it stands in the log and in explanations
        #[arg(long, value_name = "TEXT")]
        why: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print the bans of addresses and networks, to be kept or taken in elsewhere
    ///
    /// `json` has each with its reason and the time that is left; `plain` has a line for each; `cidr`
    /// the same, always with a prefix; `nft` is a table of sets with the time that is left, for
    /// `nft -f`. Bans of accounts and shapes, which mean nothing elsewhere, and those that only slow
    /// stay out.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// How it is written
        #[arg(long, value_enum, default_value_t = ListFormat::Json)]
        format: ListFormat,
        #[command(flatten)]
        reach: Reach,
    },
    /// Ban what a list names
    ///
    /// The list is what `bans export` printed, or has an address or a network on each line, with
    /// comments behind # or ;. Refused, each with its line: whoever is trusted, sources with a phone
    /// that authenticated lately, more than a /8 (IPv6: /16), and what is no address. A list that
    /// changes by itself is better named under `feeds`.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        /// The list; - reads it from standard input
        file: PathBuf,
        /// For how long, where the list does not say it; at most a year
        #[arg(long = "for", value_name = "TIME")]
        length: Option<String>,
        /// Why, where the list does not say it
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Only say what would be banned and what refused
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Lift bans
    ///
    /// An address lifts all that touches it: its own ban, those of networks around it, and those of
    /// AORs there. A lifted source keeps a quarter of its evidence, and its next ban lasts longer,
    /// unless it is forgiven or trusted.
    #[command(after_help = LIFT_EXAMPLES, group = ArgGroup::new("mercy"))]
    Lift {
        /// An address, a network, or the number or key of a ban
        key: String,
        /// Forget its evidence, and that it ever was banned
        #[arg(long, group = "mercy")]
        forgive: bool,
        /// Let nothing ban or judge these addresses for so long; forgets its evidence, too
        #[arg(long, value_name = "TIME", group = "mercy")]
        trust: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FeedsCommand {
    /// List the feeds: entries, age, hits, and what was wrong with the last fetch
    #[command(after_help = "Exit codes: 0 listed; 2 usage; 5 no edge was reached")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Fetch a feed, or all, now; `list` tells what became of it
    #[command(
        after_help = "Exit codes: 0 asked for; 1 there is none; 2 usage; 5 no edge was reached"
    )]
    Refresh {
        /// Its name
        name: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// List what `bans lift --trust` gave, what ends first first
    ///
    /// Whom the policy trusts (trust.networks, admin.networks, trunks) stands in the policy.
    #[command(
        after_help = "Exit codes: 0 listed, also when there is none; 2 usage; 5 no edge was reached"
    )]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Take it back: who is in there is judged again, at once and after a restart
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// An address or a network; a network takes back what was given to addresses in it, too
        network: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List the targets: whether each takes messages, what waits, and why the last try failed
    #[command(after_help = "Exit codes: 0 listed; 2 usage; 5 no edge was reached")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Send each target a message that says it is a test, and print what it answers
    #[command(
        after_help = "Exit codes: 0 all took it; 1 one did not, or there is none; 2 usage; 5 no edge was reached"
    )]
    Test {
        /// Only this one
        name: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// How bans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// With reasons and times
    Json,
    /// An address or network on each line
    Plain,
    /// A network on each line, addresses too
    Cidr,
    /// Sets for `nft -f`
    Nft,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  ringfence bans export > bans.json              as they are, with the times that are left
  ringfence bans export --format cidr | sort -u
  ringfence bans export --format nft | nft -c -f -

Exit codes: 0 printed, also when there are none; 2 usage; 5 no edge was reached";

const IMPORT_EXAMPLES: &str = "\
Examples:
  ringfence bans import bans.json --dry-run      look first
  ringfence bans import bans.json
  ringfence bans import - --for 7d --why \"seen at the other site\" < addresses.txt

Exit codes: 0 all taken; 1 a line was refused, or the whole list; 2 usage; 4 the file is not
readable; 5 no edge was reached";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ringfence explain 198.51.100.7                 why does this phone not get through?
  ringfence explain 6001@pbx.example.com         who tried this account?
  ringfence explain a84b4c76e66710@pc33          what became of this call?
  ringfence explain 0-17                         what is behind this ban?

Exit codes: 0 answered, also when nothing is known; 2 usage; 5 no edge was reached";

const PANIC_EXAMPLES: &str = "\
Examples:
  ringfence panic-open --for 10m
  ringfence panic-open --for 0s                  judge again, now

Exit codes: 0 done; 1 refused; 2 usage; 5 no edge was reached";

const LIST_EXAMPLES: &str = "\
Examples:
  ringfence bans list
  ringfence bans list 203.0.113.0/24
  ringfence bans list --json | jq -r '.[] | select(.kind == \"address\") | .key'

Exit codes: 0 listed, also when there are none; 2 usage; 5 no edge was reached";

const ADD_EXAMPLES: &str = "\
Examples:
  ringfence bans add 198.51.100.7 --for 1h --why \"rings at night\"
  ringfence bans add 2001:db8:7::/48 --for 30d --why \"abuse desk does not answer\"

Exit codes: 0 banned; 1 refused; 2 usage; 5 no edge was reached";

const REVOKE_EXAMPLES: &str = "\
Examples:
  ringfence trust list
  ringfence trust revoke 198.51.100.7
  ringfence trust list --json | jq -r '.[].network' | xargs -n 1 ringfence trust revoke

Exit codes: 0 revoked; 1 no operator trusts that; 2 usage; 5 no edge was reached";

const LIFT_EXAMPLES: &str = "\
Examples:
  ringfence bans lift 198.51.100.7 --trust 24h   a customer whose phone has an old password
  ringfence bans lift 198.51.100.7 --forgive     it was our mistake
  ringfence bans lift 0-17

Exit codes: 0 lifted; 1 nothing is banned as that, or refused; 2 usage; 5 no edge was reached";
