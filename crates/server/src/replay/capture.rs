//! `ringfence replay FILE`: a capture through one engine in the capture's own time, or through two,
//! to see what they would do otherwise.
//!
//! [`Edges`] finds which addresses are the edge's, [`Play`] tells the two directions apart and cuts
//! streams into messages, a [`Stage`] is a policy's engine between the two ends, `Tally` counts,
//! [`report`] tells.

mod edges;
mod play;
mod progress;
mod report;
mod stage;
mod tally;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use edges::EdgeAddress;

use crate::check::tell;
use crate::cli::{DEFAULT_CONFIG, Exit, print};
use ::capture::{Dissector, Reader};
use config::LoadedPolicy;
use edges::Edges;
use play::Play;
use policy::Policy;
use progress::Progress;
use report::Report;
use stage::Stage;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes at the start of a capture in which the edge's addresses are looked for.
const START: u64 = 16 << 20;
/// The profile by which a capture is judged where there is no configuration.
const PROFILE: &str = "balanced";

/// What the command line says.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) file: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) against: Option<PathBuf>,
    pub(crate) edges: Vec<EdgeAddress>,
    pub(crate) seed: u64,
    pub(crate) json: bool,
}

/// Judges a capture.
pub(crate) fn capture(options: &Captured) -> ExitCode {
    let config = match options.config == Path::new(DEFAULT_CONFIG) && !options.config.exists() {
        true => PathBuf::from(PROFILE),
        false => options.config.clone(),
    };
    let Some(first) = policy(&config) else { return Exit::Config.into() };
    let second = match options.against.as_deref().map(policy) {
        Some(None) => return Exit::Config.into(),
        second => second.flatten(),
    };
    let input = match open(&options.file) {
        Ok(input) => input,
        Err(error) => return failed(&options.file, &error.to_string()),
    };
    let names = (config, options.against.clone());
    match judge(input, options, names, first, second) {
        Ok(report) => {
            let text = if options.json { report.json() } else { report.text() };
            print(text.as_bytes())
        }
        Err(error) => failed(&options.file, &error),
    }
}

fn failed(file: &Path, error: &str) -> ExitCode {
    // There is nobody left to tell that nobody can be told.
    let _ = writeln!(io::stderr().lock(), "{}: {error}", file.display());
    Exit::Failed.into()
}

/// The policy of a policy file, a configuration, or a profile.
fn policy(file: &Path) -> Option<Policy> {
    match config::load_policy(file) {
        Ok(LoadedPolicy { policy, warnings, .. }) => {
            tell(&warnings);
            Some(policy)
        }
        Err(invalid) => {
            tell(&invalid.problems);
            None
        }
    }
}

/// A file, or standard input for `-`.
fn open(file: &Path) -> io::Result<Progress<Box<dyn Read + Send>>> {
    if file == Path::new("-") {
        return Ok(Progress::new(Box::new(io::stdin()), None));
    }
    let opened = File::open(file)?;
    let length = opened.metadata().ok().filter(|about| about.is_file()).map(|about| about.len());
    Ok(Progress::new(Box::new(opened), length))
}

fn judge(
    mut input: impl Read + Send,
    options: &Captured,
    (config, against): (PathBuf, Option<PathBuf>),
    first: Policy,
    second: Option<Policy>,
) -> Result<Report, String> {
    let mut start = Vec::new();
    (&mut input).take(START).read_to_end(&mut start).map_err(|error| error.to_string())?;
    let no_sip = || match Reader::new(&start[..]) {
        Err(broken) => broken.to_string(),
        Ok(_) => "no SIP is in its first 16 MB; say which address is the edge's with --edge, or \
                  see whether the capture has it at all"
            .to_owned(),
    };
    let edges = Edges::find(&start, &options.edges, &first.listeners).ok_or_else(no_sip)?;
    let stage = |policy: Policy| {
        Stage::new(
            Policy { listeners: edges.listeners(), ..policy },
            crate::replay::seed(options.seed),
        )
    };
    let mut play = Play::new(edges.clone(), stage(first), second.map(stage));
    let mut reader =
        Reader::new(Cursor::new(start).chain(input)).map_err(|broken| broken.to_string())?;
    let mut dissector = Dissector::new();
    let broken = loop {
        match reader.next_packet() {
            Ok(Some(packet)) => {
                let at = play.clock(packet.at);
                let concern = |one, other| edges.concern(one, other);
                dissector.take(&packet, concern, |seen| play.on_seen(at, seen));
            }
            Ok(None) => break None,
            Err(broken) => break Some(broken),
        }
    };
    if play.messages == [0, 0] && !options.edges.is_empty() {
        let said: Vec<String> = options.edges.iter().map(ToString::to_string).collect();
        let text = format!("no SIP to or from {} is in it", said.join(", "));
        return Err(format!(
            "{text}\n    hint: without --edge the busiest address is taken for it"
        ));
    }
    play.finish();
    Ok(Report {
        file: options.file.clone(),
        config,
        against,
        play,
        counts: dissector.counts(),
        broken,
    })
}
