//! A ban told to a person, and its score made again from its evidence.

use crate::fade::faded;
use crate::{Ban, BanKey, Origin, Record};
use policy::{Admission, METHODS, Outcome};
use std::fmt;
use std::time::Duration;

impl Ban {
    /// The whole chain in words; rules and signatures by the names that `admission` has for them.
    pub fn explain<'b>(&'b self, admission: &'b Admission) -> impl fmt::Display + 'b {
        Explanation { ban: self, names: Some(admission) }
    }

    /// The score that the records give at the last one's time, within rounding the ban's own as
    /// long as no older record had to leave the chain; 0 without records.
    ///
    /// Weights fade by the short half-life; when they do not reach its level it was the long
    /// memory that banned, and they fade by that. For pairs the refusals of the last one's AOR
    /// count, one each. The score of a network or a campaign is a number of sources, which no
    /// record tells: it is given back as it is.
    #[must_use]
    pub fn replay(&self, admission: &Admission) -> f32 {
        if matches!(self.key, BanKey::Network(_) | BanKey::Campaign(_)) {
            return self.score;
        }
        let Some(last) = self.evidence.last() else { return 0.0 };
        let half_life = &admission.half_life;
        if matches!(self.key, BanKey::AorFlow { .. } | BanKey::AorSource { .. }) {
            let is_one = |record: &&Record| {
                record.outcome == Outcome::Refused && !record.is_try() && record.aor == last.aor
            };
            let by = |half_life| -> f32 {
                let refusals = self.evidence.iter().filter(is_one);
                refusals.map(|record| faded(1.0, last.at.since(record.at), half_life)).sum()
            };
            let (short, long) = (by(half_life.pair), by(half_life.long));
            let slowly = long + ROUNDING >= admission.levels.ban_long;
            let is_long = slowly && matches!(self.key, BanKey::AorSource { .. });
            return if is_long { long } else { short };
        }
        let left =
            |record: &Record, half_life| faded(record.weight, last.at.since(record.at), half_life);
        let short: f32 = self.evidence.iter().map(|record| left(record, half_life.short)).sum();
        if short + ROUNDING >= admission.levels.ban {
            return short;
        }
        let lasting = self.evidence.iter().enumerate().filter(|(at, _)| self.lasts(*at));
        lasting.map(|(_, record)| left(record, half_life.long)).sum()
    }

    /// Whether the long memory took a record: neither a try nor a refusal again.
    fn lasts(&self, at: usize) -> bool {
        let (before, rest) = self.evidence.split_at(at);
        rest.first().is_some_and(|record| {
            record.outcome != Outcome::Refused
                || !record.is_try()
                    && !before
                        .iter()
                        .any(|old| old.outcome == Outcome::Refused && old.aor == record.aor)
        })
    }
}

/// What sums of weights may differ by.
const ROUNDING: f32 = 0.001;

impl fmt::Display for Ban {
    /// As [`Ban::explain`], with numbers for the names of rules and signatures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Explanation { ban: self, names: None }.fmt(f)
    }
}

struct Explanation<'b> {
    ban: &'b Ban,
    names: Option<&'b Admission>,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ban = self.ban;
        let (shard, count) = (ban.id.0 >> 56, ban.id.0 & 0x00ff_ffff_ffff_ffff);
        let done = if ban.narrowed { "narrowed" } else { "banned" };
        write!(f, "ban {shard}-{count}: ")?;
        self.write_whom(f)?;
        writeln!(f, " is {done} by {}", ban.origin.as_str())?;
        let lasts = Length(ban.until.since(ban.since));
        writeln!(f, "  from {} until {} ({lasts})", ban.since.utc(), ban.until.utc())?;
        let why = ban.why.escape_debug();
        write!(f, "  why: {why} ({}), ", ban.reason.as_str())?;
        match ban.key {
            BanKey::Network(_) | BanKey::Campaign(_) => write!(f, "{:.0} sources", ban.score)?,
            // those long ago count for less
            BanKey::AorFlow { .. } | BanKey::AorSource { .. } => {
                write!(f, "{:.1} refusals", ban.score)?;
            }
            BanKey::Source(_) => write!(f, "score {:.2}", ban.score)?,
        }
        match ban.proof {
            Some(proof) => write!(f, ", return path proven by {}", proof.as_str())?,
            None => write!(f, ", no proof of a return path")?,
        }
        writeln!(f, ", policy version {}", ban.policy_version)?;
        if ban.narrowed {
            writeln!(f, "  somebody authenticated from there: who is at home there still passes")?;
        }
        match ban.evidence.len() {
            0 => writeln!(f, "  evidence: none is kept")?,
            _ => writeln!(f, "  evidence, oldest first:")?,
        }
        for (n, record) in ban.evidence.iter().enumerate() {
            write!(f, "  {:>2}. ", n + 1)?;
            self.write_record(f, record)?;
        }
        write!(f, "  lifted by: {}", ban.key.lifted_by())
    }
}

impl Explanation<'_> {
    /// The key has an AOR by its hash only; the evidence knows its name.
    fn write_whom(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.ban.evidence.last().map(|last| last.aor.escape_ascii());
        match (&self.ban.key, name) {
            (BanKey::AorFlow { flow, .. }, Some(name)) => write!(f, "AOR {name} over {flow}"),
            (BanKey::AorSource { source, .. }, Some(name)) => write!(f, "AOR {name} at {source}"),
            (key, _) => write!(f, "{key}"),
        }
    }

    fn write_record(&self, f: &mut fmt::Formatter<'_>, record: &Record) -> fmt::Result {
        let method = METHODS.get(usize::from(record.method)).unwrap_or(&"other");
        let outcome = match record.is_try() {
            true => "tried again while banned",
            false => record.outcome.as_str(),
        };
        write!(f, "{} {method} {outcome}, weight {:.2}", record.at.utc(), record.weight)?;
        write!(f, ", as \"{}\"", record.aor.escape_ascii())?;
        if !record.dialled.is_empty() {
            write!(f, ", dialled \"{}\"", record.dialled.escape_ascii())?;
        }
        if record.rule != u16::MAX {
            let rule = usize::from(record.rule);
            let name = self.names.and_then(|names| names.rules.get(rule));
            self.write_name(f, "rule", rule, name.map(|rule| &*rule.name))?;
        }
        if record.raised_by != u16::MAX {
            let rule = usize::from(record.raised_by);
            let name = self.names.and_then(|names| names.rules.get(rule));
            self.write_name(f, "raised by", rule, name.map(|rule| &*rule.name))?;
        }
        if record.signature != u16::MAX {
            let signature = usize::from(record.signature);
            let name = self.names.and_then(|names| names.signatures.list().get(signature));
            self.write_name(f, "signature", signature, name.map(|signature| &*signature.id))?;
        }
        match record.proof {
            Some(proof) => write!(f, ", proven by {}", proof.as_str())?,
            None => write!(f, ", not proven")?,
        }
        writeln!(f, ", shape {:016x}", record.shape)
    }

    fn write_name(
        &self,
        f: &mut fmt::Formatter<'_>,
        of: &str,
        number: usize,
        name: Option<&str>,
    ) -> fmt::Result {
        match name {
            Some(name) => write!(f, ", {of} {}", name.escape_debug()),
            None => write!(f, ", {of} number {number}"),
        }
    }
}

impl BanKey {
    fn lifted_by(&self) -> &'static str {
        match self {
            BanKey::Campaign(_) => "its end, an operator, or a success under this shape",
            _ => "its end, an operator, or trust in these addresses",
        }
    }
}

impl fmt::Display for BanKey {
    /// `address 198.51.100.7`; AORs and shapes by their hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BanKey::AorFlow { aor, flow } => write!(f, "AOR {aor:016x} over {flow}"),
            BanKey::AorSource { aor, source } => write!(f, "AOR {aor:016x} at {source}"),
            BanKey::Source(network) | BanKey::Network(network) => {
                write!(f, "{} {network}", self.kind())
            }
            BanKey::Campaign(shape) => write!(f, "{} of shape {shape:016x}", self.kind()),
        }
    }
}

impl Origin {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Local => "this edge's evidence",
            Origin::Operator => "an operator",
            Origin::Feed => "a feed",
            Origin::Peer => "another shard or machine",
        }
    }
}

/// A length as people say it, to the second: `1 d 2 h`.
struct Length(Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        let mut gap = "";
        for (seconds, unit) in [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")] {
            if left >= seconds {
                write!(f, "{gap}{} {unit}", left / seconds)?;
                (left, gap) = (left % seconds, " ");
            }
        }
        if gap.is_empty() { write!(f, "0 s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BanId, Proof};
    use policy::{Network, Reason, Time};
    use wire::Flow;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(1_795_380_000 + seconds)
    }

    fn record(seconds: u64, outcome: Outcome, weight: f32) -> Record {
        Record {
            at: at(seconds),
            method: 4,
            outcome,
            aor: b"100@pbx\r\n\x1b[2J\"<".as_slice().into(),
            dialled: b"900972592\xff".as_slice().into(),
            shape: 0xabc,
            proof: Some(Proof::AckTag),
            rule: 6,
            raised_by: u16::MAX,
            signature: u16::MAX,
            weight,
        }
    }

    fn ban(evidence: Vec<Record>) -> Ban {
        Ban {
            id: BanId(3 << 56 | 17),
            key: BanKey::Source(Network::source([198, 51, 100, 7].into())),
            why: "abandoned-invite".into(),
            reason: Reason::Banned,
            proof: Some(Proof::AckTag),
            since: at(8),
            until: at(608),
            narrowed: false,
            policy_version: 7,
            score: 2.6,
            origin: Origin::Local,
            evidence,
        }
    }

    #[test]
    fn a_ban_is_told_to_a_person() {
        let admission = Admission::default();
        let rule = &admission.rules[6].name;
        let raised = Record { raised_by: 2, ..record(0, Outcome::Abandoned, 1.0) };
        let ban = ban(vec![raised, record(8, Outcome::Refused, 0.5)]);
        let told = ban.explain(&admission).to_string();
        assert_eq!(
            told,
            format!(
                r#"ban 3-17: address 198.51.100.7 is banned by this edge's evidence
  from 2026-11-22T20:40:08Z until 2026-11-22T20:50:08Z (10 min)
  why: abandoned-invite (banned), score 2.60, return path proven by ack_tag, policy version 7
  evidence, oldest first:
   1. 2026-11-22T20:40:00Z INVITE abandoned, weight 1.00, as "100@pbx\r\n\x1b[2J\"<", dialled "900972592\xff", rule {rule}, raised by dialled-abroad, proven by ack_tag, shape 0000000000000abc
   2. 2026-11-22T20:40:08Z INVITE refused, weight 0.50, as "100@pbx\r\n\x1b[2J\"<", dialled "900972592\xff", rule {rule}, proven by ack_tag, shape 0000000000000abc
  lifted by: its end, an operator, or trust in these addresses"#
            )
        );
        let by_number = told.replace(&format!("rule {rule}"), "rule number 6");
        let by_number = by_number.replace("by dialled-abroad", "by number 2");
        assert_eq!(ban.to_string(), by_number);
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let mut ban = ban(vec![record(0, Outcome::Abandoned, 1.0)]);
        ban.why = "a\nb\u{1b}[0m".into();
        let told = ban.to_string();
        assert_eq!(told.lines().count(), 6);
        assert!(told.chars().all(|c| c == '\n' || !c.is_control()));
    }

    #[test]
    fn a_score_is_made_again_from_its_records() {
        let admission = Admission::default();
        let half = admission.half_life.short;
        // as the gate counts: faded step by step, each weight added
        let (mut score, mut last) = (0.0f32, at(0));
        let mut records = Vec::new();
        for (n, weight) in [1.0, 0.5, 3.0, 0.05, 1.0, 2.0].into_iter().enumerate() {
            let now = at(n as u64 * 131);
            score = faded(score, now.since(last), half) + weight;
            last = now;
            records.push(record(n as u64 * 131, Outcome::Abandoned, weight));
        }
        let replayed = ban(records).replay(&admission);
        assert!((replayed - score).abs() < 1e-4, "{replayed} {score}");
        assert!(replayed < 7.5, "it faded");
        assert_eq!(ban(Vec::new()).replay(&admission), 0.0);
        let halved = ban(vec![
            record(0, Outcome::Abandoned, 8.0),
            record(half.as_secs(), Outcome::Abandoned, 0.0),
        ]);
        assert!((halved.replay(&admission) - 4.0).abs() < 1e-6);
    }

    #[test]
    fn low_and_slow_is_replayed_by_the_long_memory() {
        let admission = Admission::default();
        let hour = 3_600;
        let records = (0..14).map(|n| record(n * 6 * hour, Outcome::Abandoned, 1.0)).collect();
        let half_lives = |n: f32| (13.0 - n) * 6.0 / (24.0 * 7.0);
        let expected: f32 = (0..14u8).map(|n| (-half_lives(n.into())).exp2()).sum();
        let replayed = ban(records).replay(&admission);
        assert!((replayed - expected).abs() < 1e-3 && replayed > 10.0, "{replayed} {expected}");
    }

    #[test]
    fn a_networks_score_is_a_number_of_sources() {
        let key = BanKey::Network(Network::around([198, 51, 100, 7].into()));
        let ban = Ban { key, score: 5.0, ..ban(Vec::new()) };
        assert_eq!(ban.replay(&Admission::default()), 5.0);
        assert!(ban.to_string().contains("(banned), 5 sources, "));
    }

    #[test]
    fn a_pairs_score_counts_its_refusals() {
        let admission = Admission::default();
        let mut records: Vec<_> = (0..5).map(|n| record(n, Outcome::Refused, 0.05)).collect();
        records[0].aor = b"another".as_slice().into();
        records.insert(4, Record { rule: u16::MAX, ..record(3, Outcome::Refused, 0.02) });
        records.insert(4, record(3, Outcome::Abandoned, 1.0));
        let mut ban = ban(records);
        let remote = "198.51.100.7:5060".parse().unwrap();
        ban.key = BanKey::AorFlow { aor: 1, flow: Flow::udp(remote, remote) };
        assert!((ban.replay(&admission) - 4.0).abs() < 0.01);
        assert!(
            ban.to_string().starts_with(r#"ban 3-17: AOR 100@pbx\r\n\x1b[2J\"< over "#),
            "{ban}"
        );
        assert!(ban.to_string().contains("(banned), 2.6 refusals, "), "{ban}");
    }

    #[test]
    fn lengths_are_said() {
        assert_eq!(Length(Duration::from_secs(93_784)).to_string(), "1 d 2 h 3 min 4 s");
    }
}
