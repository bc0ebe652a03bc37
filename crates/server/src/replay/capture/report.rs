//! What came of a capture, as tables or as JSON.

use super::edges::Edges;
use super::play::Play;
use super::stage::{Decision, Stage};
use super::tally::{Pair, Source};
use admission::{Ban, BanKey};
use capture::{Broken, Counts};
use policy::{Network, Time};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

/// Lines of a list in the text; JSON has ten times as many.
const LINES: usize = 20;

/// What came of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) file: PathBuf,
    pub(super) config: PathBuf,
    pub(super) against: Option<PathBuf>,
    pub(super) edges: Edges,
    pub(super) course: Course,
    pub(super) play: Play,
}

/// How a capture was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    /// When the first and the last packet came.
    pub(super) span: Option<(Time, Time)>,
    pub(super) counts: Counts,
    /// Why it was not read to its end.
    pub(super) broken: Option<Broken>,
}

/// A ban by the one policy that the other does not have.
type Lone<'r> = (&'r String, &'r Ban);

impl Report {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // writing to a String does not fail
        let _ = self.write_head(&mut text);
        let _ = match &self.play.second {
            None => self.write_verdicts(&mut text),
            Some(second) => self.write_differences(second, &mut text),
        };
        text
    }

    fn write_head(&self, out: &mut String) -> std::fmt::Result {
        let play = &self.play;
        let [udp, tcp] = play.messages;
        writeln!(out, "{}: {} packets", super::called(&self.file), self.course.counts.packets)?;
        if let Some((began, ended)) = self.course.span {
            let seconds = ended.since(began).as_secs();
            let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            writeln!(out, "  from   {} for {hours}:{minutes:02}:{seconds:02}", began.utc())?;
        }
        let edges: Vec<String> = self.edges.addresses.iter().map(ToString::to_string).collect();
        writeln!(out, "  edge   {} ({})", edges.join(", "), self.edges.origin.as_str())?;
        writeln!(out, "  SIP    {udp} messages by UDP, {tcp} by TCP, both ways")?;
        writeln!(
            out,
            "  in     {} messages judged, from {} sources; {} users authenticated at the PBX",
            play.tally.messages,
            play.tally.sources(),
            play.tally.users()
        )?;
        for (count, what) in self.left_out() {
            writeln!(out, "  NOT    {count} {what}")?;
        }
        if let Some(broken) = &self.course.broken {
            writeln!(out, "  NOT    what comes after this point: {broken}")?;
        }
        writeln!(out)
    }

    /// What could not be judged, and why.
    fn left_out(&self) -> Vec<(u64, &'static str)> {
        let Counts { unknown_link, cut, fragments_lost, streams_lost, .. } = self.course.counts;
        let untold = self.play.tally.untold;
        [
            (unknown_link, "packets of a link type that is not known here"),
            (cut, "packets that the capture cut off; capture with -s 0"),
            (fragments_lost, "datagrams of which fragments are missing"),
            (streams_lost, "TCP connections of which bytes are missing"),
            (self.play.encrypted, "TLS connections: the capture has only their ciphertext"),
            (
                self.play.first.unfed,
                "requests of the PBX to phones that did not register in the capture",
            ),
            (untold, "messages of sources for which the tables had no room"),
            (self.play.first.bans_untold(), "bans for which the list had no room"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .collect()
    }

    fn write_verdicts(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "Decided by {}:", self.config.display())?;
        writeln!(out, "  {:<12} {:<24} {:>10} {:>8}", "verdict", "reason", "messages", "sources")?;
        for (Decision { verdict, reason }, sum) in self.play.tally.verdicts() {
            let (reason, messages, sources) = (reason.as_str(), sum.messages, sum.sources);
            writeln!(out, "  {verdict:<12} {reason:<24} {messages:>10} {sources:>8}")?;
        }
        self.write_bans("Banned", self.play.first.bans().iter(), out)?;
        let worst = self.play.tally.worst(false, LINES);
        if !worst.is_empty() {
            writeln!(out, "\nStopped most:")?;
            for (address, source, stopped) in worst {
                let of = source.messages;
                let mostly = source.mostly().map_or("", |decision| decision.reason.as_str());
                writeln!(out, "  {address:<40} {stopped:>8} of {of:<8} {mostly}")?;
            }
        }
        let touched = self.touched();
        let (touched, users) = (&touched, self.play.tally.users());
        write_users(touched, users, "had a message stopped, or are at a banned address", out)
    }

    fn write_bans<'b>(
        &self,
        title: &str,
        bans: impl ExactSizeIterator<Item = (&'b String, &'b Ban)>,
        out: &mut String,
    ) -> std::fmt::Result {
        let count = bans.len();
        writeln!(
            out,
            "\n{title}: {}",
            if count == 0 { "nobody".into() } else { count.to_string() }
        )?;
        for (_, ban) in bans.take(LINES) {
            let key = whom(ban);
            let done = if ban.narrowed { " (narrowed)" } else { "" };
            let why = ban.why.escape_debug();
            writeln!(out, "  {key:<40} {} {why}, score {:.1}{done}", ban.since.utc(), ban.score)?;
        }
        if count > LINES {
            writeln!(out, "  and {} more: --json", count - LINES)?;
        }
        Ok(())
    }

    fn write_differences(&self, second: &Stage, out: &mut String) -> std::fmt::Result {
        let against = self.against.as_deref().unwrap_or(std::path::Path::new("")).display();
        writeln!(out, "{} against {against}:", self.config.display())?;
        let differences = self.play.tally.differences();
        if differences.is_empty() {
            writeln!(out, "  no message is decided otherwise")?;
        }
        for ((one, other), sum) in &differences {
            let (one, other) = (told(*one), told(*other));
            let (messages, sources) = (sum.messages, sum.sources);
            writeln!(out, "  {one:<36} -> {other:<36} {messages:>8} of {sources} sources")?;
        }
        let (less, more) = self.lone_bans(second);
        self.write_bans("Banned no more", less.into_iter(), out)?;
        self.write_bans("Newly banned", more.into_iter(), out)?;
        let worst = self.play.tally.worst(true, LINES);
        if !worst.is_empty() {
            writeln!(out, "\nSources with most differences:")?;
            for (address, _, count) in worst {
                writeln!(out, "  {address:<40} {count:>8}")?;
            }
        }
        let touched = self.touched();
        write_users(&touched, self.play.tally.users(), "are touched by that", out)
    }

    /// Bans of the first only, and of the second only.
    fn lone_bans<'r>(&'r self, second: &'r Stage) -> (Vec<Lone<'r>>, Vec<Lone<'r>>) {
        let without = |these: &'r BTreeMap<String, Ban>, those: &BTreeMap<String, Ban>| {
            let drops = |ban: &Ban| !ban.narrowed;
            let lone = these.iter().filter(|(key, ban)| {
                those.get(*key).is_none_or(|other| drops(other) != drops(ban))
            });
            lone.collect::<Vec<_>>()
        };
        let (one, other) = (self.play.first.bans(), second.bans());
        (without(one, other), without(other, one))
    }

    /// Authenticated users of whom something was stopped, or would be decided otherwise.
    fn touched(&self) -> Vec<(&[u8], IpAddr)> {
        let banned: Vec<Network> = match &self.play.second {
            None => self.play.first.bans().values().filter_map(network).collect(),
            Some(second) => {
                let (less, more) = self.lone_bans(second);
                less.iter().chain(&more).filter_map(|(_, ban)| network(ban)).collect()
            }
        };
        self.play.tally.touched(|address| banned.iter().any(|network| network.contains(address)))
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let play = &self.play;
        let list = LINES * 10;
        let left_out: Vec<Value> = self
            .left_out()
            .into_iter()
            .map(|(count, what)| json!({ "count": count, "what": what }))
            .collect();
        let (began, ended) = self.course.span.unwrap_or_default();
        let nanos = |time: Time| time.as_nanos() as f64 / 1e9;
        let touched = self.touched();
        let users: Vec<Value> = touched.iter().take(list).map(|(user, address)| {
            json!({ "user": String::from_utf8_lossy(user), "address": address })
        }).collect();
        let mut result = json!({
            "file": self.file,
            "config": self.config,
            "against": self.against,
            "packets": self.course.counts.packets,
            "began": nanos(began),
            "ended": nanos(ended),
            "edge": { "addresses": self.edges.addresses, "found": self.edges.origin.as_str() },
            "messages": { "udp": play.messages[0], "tcp": play.messages[1], "judged": play.tally.messages },
            "sources": play.tally.sources(),
            "left_out": left_out,
            "broken": self.course.broken.as_ref().map(ToString::to_string),
            "users": { "authenticated": play.tally.users(), "touched": touched.len(), "list": users },
        });
        let more = match &play.second {
            None => json!({
                "verdicts": self.verdicts_json(),
                "bans": bans_json(play.first.bans().iter(), &play.first),
                "stopped": worst_json(play.tally.worst(false, list), |source, count| {
                    let reason = source.mostly().map(|decision| decision.reason.as_str());
                    json!({ "stopped": count, "messages": source.messages, "reason": reason })
                }),
            }),
            Some(second) => {
                let (less, more) = self.lone_bans(second);
                json!({
                    "differences": self.differences_json(),
                    "banned_no_more": bans_json(less.into_iter(), &play.first),
                    "newly_banned": bans_json(more.into_iter(), second),
                    "sources_differing": worst_json(play.tally.worst(true, list), |_, count| {
                        json!({ "messages": count })
                    }),
                })
            }
        };
        if let (Value::Object(all), Value::Object(more)) = (&mut result, more) {
            all.extend(more);
        }
        format!("{result}\n")
    }

    fn verdicts_json(&self) -> Vec<Value> {
        let verdicts = self.play.tally.verdicts().into_iter();
        verdicts
            .map(|(decision, sum)| {
                let Decision { verdict, reason } = decision;
                let (verdict, reason) = (verdict.to_string(), reason.as_str());
                let (messages, sources) = (sum.messages, sum.sources);
                json!({ "verdict": verdict, "reason": reason, "messages": messages, "sources": sources })
            })
            .collect()
    }

    fn differences_json(&self) -> Vec<Value> {
        let side = |decision: Option<Decision>| {
            decision.map(|Decision { verdict, reason }| {
                json!({ "verdict": verdict.to_string(), "reason": reason.as_str() })
            })
        };
        let differences = self.play.tally.differences().into_iter();
        differences
            .map(|((one, other), sum): (Pair, _)| {
                let (one, other) = (side(one), side(other));
                json!({ "config": one, "against": other, "messages": sum.messages, "sources": sum.sources })
            })
            .collect()
    }
}

fn write_users(
    touched: &[(&[u8], IpAddr)],
    users: usize,
    how: &str,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(out, "\nAuthenticated users: {} of {users} {how}", touched.len())?;
    for (user, address) in touched.iter().take(LINES) {
        writeln!(out, "  {:<40} at {address}", user.escape_ascii().to_string())?;
    }
    if touched.len() > LINES {
        writeln!(out, "  and {} more: --json", touched.len() - LINES)?;
    }
    Ok(())
}

fn told(decision: Option<Decision>) -> String {
    match decision {
        Some(Decision { verdict, reason }) => format!("{verdict} ({})", reason.as_str()),
        None => "nothing".to_owned(),
    }
}

/// What is banned. Keys have an AOR by its hash only; the evidence has its name.
fn whom(ban: &Ban) -> String {
    match (&ban.key, ban.evidence.last()) {
        (BanKey::AorSource { source, .. }, Some(record)) => {
            format!("AOR {} at {source}", record.aor.escape_ascii())
        }
        (BanKey::AorFlow { flow, .. }, Some(record)) => {
            format!("AOR {} at {flow}", record.aor.escape_ascii())
        }
        (key, _) => key.to_string(),
    }
}

/// Whom a ban keeps out; `None` when it only narrows, or is no address.
fn network(ban: &Ban) -> Option<Network> {
    match ban.key {
        BanKey::Source(network) | BanKey::Network(network) if !ban.narrowed => Some(network),
        _ => None,
    }
}

fn bans_json<'b>(bans: impl Iterator<Item = (&'b String, &'b Ban)>, by: &Stage) -> Vec<Value> {
    let seconds = |time: Time| time.as_nanos() as f64 / 1e9;
    let admission = &by.policy().admission;
    bans.map(|(_, ban)| {
        json!({
            "key": whom(ban),
            "why": ban.why,
            "reason": ban.reason.as_str(),
            "proof": ban.proof.map(admission::Proof::as_str),
            "since": seconds(ban.since),
            "until": seconds(ban.until),
            "narrowed": ban.narrowed,
            "score": ban.score,
            "explanation": ban.explain(admission).to_string(),
        })
    })
    .collect()
}

fn worst_json(
    worst: Vec<(IpAddr, &Source, u64)>,
    tell: impl Fn(&Source, u64) -> Value,
) -> Vec<Value> {
    worst
        .into_iter()
        .map(|(address, source, count)| {
            let mut told = tell(source, count);
            told["address"] = json!(address);
            told
        })
        .collect()
}
