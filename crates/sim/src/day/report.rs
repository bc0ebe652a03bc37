//! What a day came to.

use super::Day;
use crate::attacker::{Attacker, Kind};
use admission::{Ban, BanKey, Origin};
use policy::{ChallengeMode, Network, Reason};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A day's result, or the sum of several.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By kind of attacker (the monitor among them).
    pub rows: BTreeMap<&'static str, Row>,
    /// Bans of somebody honest.
    pub false_bans: Vec<String>,
    /// Honest people who could not register or call, and whoever forgery hurt.
    pub victims: Vec<String>,
    /// What the edge did that it must not.
    pub violations: Vec<String>,
    /// Attackers of whom nothing came through for no such reason as [`Row::kept_out`] asks, though they
    /// were not banned: what was decided about their requests.
    pub unexplained: Vec<String>,
    /// Calls that had to succeed and did.
    pub calls: u64,
    /// Events in the world.
    pub steps: u64,
    /// Messages that went into the edge.
    pub messages: u64,
}

/// What came of one kind of attacker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    /// How many there were.
    pub attackers: u64,
    /// Of whom so many were banned.
    pub banned: u64,
    /// Of the others those of whom nothing came through because of what they look like: each request
    /// was stopped by their campaign, or dropped by a signature; or because the edge always challenges,
    /// and they never asked again for the challenge that it could not write yet.
    pub kept_out: u64,
    /// Shots fired.
    pub shots: u64,
    /// Messages sent.
    pub sent: u64,
    /// Requests that reached the PBX.
    pub leaked: u64,
    /// The most that one of them got through.
    pub worst: u64,
    /// From the first shot to the last request that reached the PBX, all together.
    pub stop: Duration,
    /// Calls or guesses that succeeded.
    pub successes: u64,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.attackers += other.attackers;
        self.banned += other.banned;
        self.kept_out += other.kept_out;
        self.shots += other.shots;
        self.sent += other.sent;
        self.leaked += other.leaked;
        self.worst = self.worst.max(other.worst);
        self.stop += other.stop;
        self.successes += other.successes;
    }
}

impl Report {
    /// Adds another day's.
    pub fn add(&mut self, other: Report) {
        for (label, row) in &other.rows {
            self.rows.entry(label).or_default().add(row);
        }
        self.false_bans.extend(other.false_bans);
        self.victims.extend(other.victims);
        self.violations.extend(other.violations);
        self.unexplained.extend(other.unexplained);
        self.calls += other.calls;
        self.steps += other.steps;
        self.messages += other.messages;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>6} {:>7} {:>8} {:>8} {:>8} {:>6} {:>9} {:>9}",
            "attacker",
            "count",
            "banned",
            "shots",
            "sent",
            "leaked",
            "worst",
            "stopped",
            "successes"
        )?;
        for (label, row) in &self.rows {
            let each = row.stop.checked_div(row.attackers.max(1) as u32).unwrap_or_default();
            writeln!(
                f,
                "{label:<24} {:>6} {:>7} {:>8} {:>8} {:>8} {:>6} {:>8}s {:>9}",
                row.attackers,
                row.banned,
                row.shots,
                row.sent,
                row.leaked,
                row.worst,
                each.as_secs(),
                row.successes
            )?;
        }
        write!(
            f,
            "{} calls that had to succeed did; {} false bans, {} victims, {} violations; {} steps, \
             {} messages",
            self.calls,
            self.false_bans.len(),
            self.victims.len(),
            self.violations.len(),
            self.steps,
            self.messages
        )
    }
}

impl Day {
    pub(super) fn report(self) -> Report {
        let mut report = Report {
            calls: self.good_calls,
            steps: self.scene.world.steps,
            victims: self.faults.clone(),
            violations: self.scene.violations(),
            ..Report::default()
        };
        let Some(edge) = self.scene.edge() else { return report };
        report.messages = edge.inputs;
        report.false_bans = self.false_bans();
        for id in &self.attackers {
            let attacker = self.scene.attacker(*id);
            let config = &attacker.config;
            let (leaked, last) = edge.watch.leaked(attacker.call_ids());
            let counts = attacker.counts;
            let banned = edge.bans.iter().any(|(_, ban)| hits(ban, attacker));
            let kept_out = !banned && leaked == 0 && counts.sent > 0;
            let addresses = config.sources.addresses(config.shots);
            let reasons = edge.watch.reasons(addresses.into_iter());
            // whom the edge challenged before it could, and who did not ask again, was told nothing
            let always = self.config.challenge.0 == ChallengeMode::Always;
            let untold = always && counts.answers == 0 && is_all(&reasons, &UNTOLD);
            let explained = is_all(&reasons, &LOOKS) || untold;
            if kept_out && !explained {
                report.unexplained.push(format!("{}: {reasons:?}", config.label));
            }
            let row = Row {
                attackers: 1,
                banned: u64::from(banned),
                kept_out: u64::from(kept_out && explained),
                shots: counts.shots,
                sent: counts.sent,
                leaked,
                worst: leaked,
                stop: last.map_or(Duration::ZERO, |last| last.since(config.start)),
                successes: counts.successes,
            };
            report.rows.entry(config.label).or_default().add(&row);
        }
        report
    }

    /// Bans that somebody honest would notice: of an address at which honest phones are, unless
    /// it leaves those in peace who are at home there, or of an AOR at such an address, unless
    /// its phone has an old password.
    fn false_bans(&self) -> Vec<String> {
        let Some(edge) = self.scene.edge() else { return Vec::new() };
        let bad = |ban: &Ban| match &ban.key {
            BanKey::Source(of) | BanKey::Network(of) => {
                !ban.narrowed && self.honest.iter().any(|ip| of.contains(*ip))
            }
            BanKey::AorSource { source, .. } => self.is_false_pair(ban, source),
            BanKey::AorFlow { flow, .. } => {
                self.is_false_pair(ban, &Network::source(flow.remote.ip()))
            }
            BanKey::Campaign(_) => false,
        };
        let false_bans =
            edge.bans.iter().filter(|(_, ban)| ban.origin == Origin::Local && bad(ban));
        false_bans.map(|(at, ban)| format!("{at}: {ban:?}")).collect()
    }

    fn is_false_pair(&self, ban: &Ban, source: &Network) -> bool {
        let outdated = |aor: &str| {
            let user = aor.split('@').next().unwrap_or_default();
            self.people.iter().any(|person| person.outdated && person.user == user)
        };
        let named = ban.evidence.last().map(|record| String::from_utf8_lossy(&record.aor));
        self.honest.iter().any(|ip| source.contains(*ip))
            && !named.is_some_and(|aor| outdated(&aor))
            && !ban.narrowed
    }
}

/// What stops requests for what they look like.
const LOOKS: [Reason; 2] = [Reason::Campaign, Reason::Signature];
/// What stops all of strangers where the edge always challenges.
const UNTOLD: [Reason; 2] = [Reason::Unproven, Reason::Rate];

/// Whether requests were stopped, and all of them for these reasons.
fn is_all(reasons: &BTreeMap<Reason, u64>, these: &[Reason]) -> bool {
    !reasons.is_empty() && reasons.keys().all(|reason| these.contains(reason))
}

/// Whether a ban is of one of an attacker's sources.
fn hits(ban: &Ban, attacker: &Attacker) -> bool {
    if let Kind::Forge { .. } = attacker.config.kind {
        return false;
    }
    let of = match &ban.key {
        BanKey::Source(of) | BanKey::Network(of) => *of,
        BanKey::AorSource { source, .. } => *source,
        BanKey::AorFlow { flow, .. } => Network::source(flow.remote.ip()),
        BanKey::Campaign(_) => return false,
    };
    let addresses: Vec<IpAddr> = attacker.config.sources.addresses(attacker.config.shots);
    addresses.iter().any(|ip| of.contains(*ip))
}
