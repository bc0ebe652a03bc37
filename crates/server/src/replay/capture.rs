//! `ringfence replay FILE`: a capture through one engine in the capture's own time, or through two,
//! to see what they would do otherwise.
//!
//! [`Edges`] finds which addresses are the edge's, [`Shards`] part what was said between threads; on
//! each a [`Play`] tells the two directions apart and cuts streams into messages, a [`Stage`] is a
//! policy's engine between the two ends, `Tally` counts. [`report`] tells.

mod batch;
mod edges;
mod play;
mod progress;
mod report;
mod shards;
mod stage;
mod tally;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use edges::EdgeAddress;

use crate::check::tell;
use crate::cli::{DEFAULT_CONFIG, Exit, print};
use crate::replay::edge::Seat;
use ::capture::{Dissector, Reader};
use config::LoadedPolicy;
use edges::Edges;
use play::Play;
use policy::{Policy, Time};
use progress::Progress;
use report::{Course, Report};
use shards::Shards;
use stage::Stage;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wire::ShardId;

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
    /// As that of an edge with so many, one for each thread.
    pub(crate) shards: u8,
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
    let _ = writeln!(io::stderr().lock(), "{}: {error}", called(file));
    Exit::Failed.into()
}

/// What is read, for people.
fn called(file: &Path) -> impl std::fmt::Display {
    if file == Path::new("-") { Path::new("standard input").display() } else { file.display() }
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
    let plays = (0..options.shards)
        .map(|shard| {
            let seat = Seat { shard: ShardId(shard), shards: options.shards };
            let stage = |policy: &Policy| {
                let policy = Policy { listeners: edges.listeners(), ..policy.clone() };
                Stage::new(policy, seat, crate::replay::seed(options.seed))
            };
            Play::new(edges.clone(), stage(&first), second.as_ref().map(stage))
        })
        .collect();
    let reader =
        Reader::new(Cursor::new(start).chain(input)).map_err(|broken| broken.to_string())?;
    let (course, play) = std::thread::scope(|scope| {
        let mut shards = Shards::start(scope, edges.clone(), plays)?;
        let course = course(reader, &edges, &mut shards);
        Ok((course, shards.finish(course.span.unwrap_or_default().1)))
    })
    .map_err(|error: io::Error| format!("there is no thread to judge it: {error}"))?;
    if play.messages == [0, 0] && !options.edges.is_empty() {
        let said: Vec<String> = options.edges.iter().map(ToString::to_string).collect();
        let text = format!("no SIP to or from {} is in it", said.join(", "));
        return Err(format!(
            "{text}\n    hint: without --edge the busiest address is taken for it"
        ));
    }
    Ok(Report { file: options.file.clone(), config, against, edges, course, play })
}

/// Reads a capture to its end, and gives out what was said.
fn course(mut reader: Reader<'_>, edges: &Edges, shards: &mut Shards<'_>) -> Course {
    let mut dissector = Dissector::new();
    let mut span: Option<(Time, Time)> = None;
    let broken = loop {
        match reader.next_packet() {
            Ok(Some(packet)) => {
                // a packet before the last counts as the last
                let (began, last) = span.unwrap_or((packet.at, packet.at));
                let at = packet.at.max(last);
                span = Some((began, at));
                let concern = |one, other| edges.concern(one, other);
                dissector.take(&packet, concern, |seen| shards.on_seen(at, seen));
            }
            Ok(None) => break None,
            Err(broken) => break Some(broken),
        }
    };
    Course { span, counts: dissector.counts(), broken }
}
