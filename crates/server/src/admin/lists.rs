//! Bans as lists: given out whole, and taken in from a file or from another edge.

use super::bans::{IMPORT_WHY, LONGEST, as_source, refuse_wide};
use super::views::origin_word;
use super::{Hall, Refusal};
use crate::desk::{Desk, Silent, known_in};
use admission::{Ban, BanKey, Learned, Origin};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use policy::{Network, Reason, Time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

/// Version of the list's format.
const VERSION: u64 = 1;
/// Bans in a list that is given out: more than any table holds.
const EXPORT_MAX: usize = 1 << 20;
/// Largest list that is taken in, in bytes.
pub(super) const IMPORT_BYTES_MAX: usize = 16 << 20;
/// Refused lines that an answer names; it counts all.
const REFUSED_MAX: usize = 1_000;
/// Longest part of a refused line that an answer repeats, in characters.
const REPEATED_MAX: usize = 100;
/// How long a ban lasts of which the list does not say it.
const LENGTH: &str = "24h";
/// Bans that one look asks the oracle about.
const ASKED_AT_ONCE: usize = 256;

/// All bans of addresses and networks that drop.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListView {
    pub(crate) version: u64,
    pub(crate) exported: String,
    /// Bans that mean nothing elsewhere: of accounts, of shapes, and those that only slow.
    pub(crate) left_out: usize,
    pub(crate) bans: Vec<ListedBan>,
}

/// A ban in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListedBan {
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) origin: String,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) remaining_seconds: u64,
}

/// `GET /api/v1/bans/export`
pub(super) async fn export(State(hall): State<Hall>) -> Result<Json<ListView>, Refusal> {
    let desk = &hall.status.desk;
    let now = desk.now();
    let (all, _) = desk.bans(EXPORT_MAX, |_| true).await?;
    let bans: Vec<_> = all.iter().filter_map(|ban| ListedBan::of(ban, now)).collect();
    let left_out = all.len() - bans.len();
    Ok(Json(ListView { version: VERSION, exported: now.utc(), left_out, bans }))
}

impl ListedBan {
    fn of(ban: &Ban, now: Time) -> Option<Self> {
        let (BanKey::Source(network) | BanKey::Network(network)) = ban.key else { return None };
        (!ban.narrowed).then(|| ListedBan {
            key: network.to_string(),
            kind: ban.key.kind().into(),
            reason: ban.why.to_string(),
            origin: origin_word(ban.origin).into(),
            since: ban.since.utc(),
            until: ban.until.utc(),
            remaining_seconds: ban.until.since(now).as_secs().max(1),
        })
    }
}

/// A list that is to be taken in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    /// What [`export`] gave, or a line for each address or network.
    pub(crate) text: String,
    /// How long, where the list does not say it.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<String>,
    /// Why, where the list does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// What became of a list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Imported {
    pub(crate) dry_run: bool,
    /// Bans that were taken up, or would be.
    pub(crate) taken: usize,
    /// Lines that were not.
    pub(crate) refused: usize,
    /// The first thousand of them.
    pub(crate) refused_lines: Vec<RefusedLine>,
}

/// A line that was not taken up.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RefusedLine {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) why: String,
}

/// A ban that is wished for, and the line that wishes it.
#[derive(Debug, PartialEq)]
struct Wished {
    line: usize,
    network: Network,
    length: Duration,
    why: Box<str>,
}

/// `POST /api/v1/bans/import`
pub(super) async fn import(
    State(hall): State<Hall>,
    body: Bytes,
) -> Result<Json<Imported>, Refusal> {
    let list: Import = serde_json::from_slice(&body).map_err(|error| {
        let hint = r#"{"text":"198.51.100.7\n…","for":"24h","why":"…","dry_run":true}"#;
        Refusal::wrong(format!("the body is no list to take in: {error}")).hint(hint)
    })?;
    let desk = &hall.status.desk;
    let policy = hall.status.rules().policy.clone();
    let (wished, mut refused) = read(&list)?;
    let most = policy.admission.capacities.bans / 2;
    if wished.len() > most {
        let text = format!("{} bans are more than half of what the table holds", wished.len());
        let hint = format!("at most {most} (policy.capacities.bans); a long list is for `feeds`");
        return Err(Refusal::new(StatusCode::CONFLICT, text).hint(hint));
    }
    let (taken, objected) = sifted(desk, wished).await?;
    refused.extend(objected);
    refused.sort_by_key(|refused| refused.line);
    if !list.dry_run {
        for wished in &taken {
            let ban = wished.ban(desk, policy.version);
            desk.tell(&Learned::Ban(Box::new(ban))).await?;
        }
        // who is told of it may rely on it
        desk.look_all(|_, _| ()).await?;
        tracing::info!(bans = taken.len(), refused = refused.len(), "An operator imports bans");
    }
    let count = refused.len();
    refused.truncate(REFUSED_MAX);
    let (dry_run, taken) = (list.dry_run, taken.len());
    Ok(Json(Imported { dry_run, taken, refused: count, refused_lines: refused }))
}

impl Wished {
    fn ban(&self, desk: &Desk, policy_version: u64) -> Ban {
        let (network, now) = (self.network, desk.now());
        let source = network == Network::source(network.address());
        Ban {
            id: desk.next_ban(),
            key: if source { BanKey::Source(network) } else { BanKey::Network(network) },
            why: self.why.clone(),
            reason: Reason::Banned,
            proof: None,
            since: now,
            until: now + self.length,
            narrowed: false,
            policy_version,
            score: 0.0,
            origin: Origin::Operator,
            evidence: Vec::new(),
        }
    }

    fn refused(&self, why: String) -> RefusedLine {
        RefusedLine { line: self.line, text: self.network.to_string(), why }
    }
}

/// Those that may be banned, and the others with the reason: whoever is trusted, and whoever
/// somebody called from that has an account here. A list does not know our users.
async fn sifted(
    desk: &Desk,
    wished: Vec<Wished>,
) -> Result<(Vec<Wished>, Vec<RefusedLine>), Silent> {
    let known = desk.known().await?;
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    let mut wished = wished.into_iter().peekable();
    while wished.peek().is_some() {
        let portion: Vec<_> = wished.by_ref().take(ASKED_AT_ONCE).collect();
        let networks: Vec<_> = portion.iter().map(|wished| wished.network).collect();
        let look = move |now, engine: &proxy::Engine| {
            let gate = engine.gate();
            let covers = |network: &Network| gate.covered_by(now, *network).map(str::to_owned);
            networks.iter().map(covers).collect::<Vec<_>>()
        };
        // all shards trust the same
        for (wished, trusted) in portion.into_iter().zip(desk.look(0, look).await?) {
            match (trusted, known_in(&known, wished.network)) {
                (Some(name), _) => refused.push(wished.refused(format!("trusted ({name})"))),
                (None, Some(source)) => {
                    let source = source.to_string();
                    let text = format!("somebody with an account is at {source}");
                    refused.push(wished.refused(text));
                }
                (None, None) => taken.push(wished),
            }
        }
    }
    Ok((taken, refused))
}

/// What the list wishes, and the lines that wish nothing that can be done.
fn read(list: &Import) -> Result<(Vec<Wished>, Vec<RefusedLine>), Refusal> {
    let length = length(list.length.as_deref().unwrap_or(LENGTH)).map_err(Refusal::wrong)?;
    let why = list.why.as_deref().unwrap_or(IMPORT_WHY);
    super::bans::why(why)?;
    if list.text.trim_start().starts_with('{') {
        return read_json(&list.text, length, why);
    }
    let (mut wished, mut refused) = (Vec::new(), Vec::new());
    for (index, text) in list.text.lines().enumerate() {
        let line = index + 1;
        let text = text.split(['#', ';']).next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match wish(line, text, length, why) {
            Ok(wish) => wished.push(wish),
            Err(why) => refused.push(RefusedLine { line, text: repeated(text), why }),
        }
    }
    Ok((wished, refused))
}

fn wish(line: usize, text: &str, length: Duration, why: &str) -> Result<Wished, String> {
    let network = as_source(config::network(text).map_err(|complaint| complaint.to_string())?);
    refuse_wide(network, "ban").map_err(|refusal| refusal.error)?;
    super::bans::why(why).map_err(|refusal| refusal.error)?;
    Ok(Wished { line, network, length, why: why.into() })
}

/// What [`export`] wrote. Each ban has a line of its own there.
fn read_json(
    text: &str,
    length: Duration,
    why: &str,
) -> Result<(Vec<Wished>, Vec<RefusedLine>), Refusal> {
    #[derive(Deserialize)]
    struct List<'a> {
        version: u64,
        #[serde(borrow)]
        bans: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Listed {
        key: String,
        reason: Option<String>,
        remaining_seconds: Option<u64>,
    }
    let list: List<'_> = serde_json::from_str(text)
        .map_err(|error| Refusal::wrong(format!("the list is no export of bans: {error}")))?;
    if list.version != VERSION {
        let text = format!("the list has version {}, this edge reads {VERSION}", list.version);
        return Err(Refusal::wrong(text));
    }
    let (mut wished, mut refused) = (Vec::new(), Vec::new());
    let (mut line, mut at) = (1, 0);
    for raw in list.bans {
        // it is a part of the text
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[at..start].iter().filter(|byte| **byte == b'\n').count();
        at = start;
        let read = serde_json::from_str(raw.get()).map_err(|error| error.to_string());
        let read = read.and_then(|listed: Listed| {
            let length = listed.remaining_seconds.map_or(length, Duration::from_secs);
            if length.is_zero() || length > LONGEST {
                return Err("a ban lasts more than nothing and at most a year".into());
            }
            wish(line, &listed.key, length, listed.reason.as_deref().unwrap_or(why))
        });
        match read {
            Ok(wish) => wished.push(wish),
            Err(why) => refused.push(RefusedLine { line, text: repeated(raw.get()), why }),
        }
    }
    Ok((wished, refused))
}

fn length(text: &str) -> Result<Duration, String> {
    let length = config::duration(text)?;
    match length.is_zero() || length > LONGEST {
        true => Err("a ban lasts more than nothing and at most a year".into()),
        false => Ok(length),
    }
}

fn repeated(text: &str) -> String {
    text.chars().take(REPEATED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> Import {
        Import { text: text.into(), length: Some("2h".into()), why: None, dry_run: true }
    }

    #[test]
    fn a_plain_list_has_comments_and_each_bad_line_its_number() {
        let text = "# ours\n198.51.100.7\n\n 203.0.113.0/24 ; a comment\nnonsense\n16.0.0.0/4\n\
                    2001:db8::1:2:3:4\r\n::ffff:192.0.2.1\n";
        let (wished, refused) = read(&import(text)).unwrap();
        let keys: Vec<_> =
            wished.iter().map(|wish| (wish.line, wish.network.to_string())).collect();
        let expected =
            [(2, "198.51.100.7"), (4, "203.0.113.0/24"), (7, "2001:db8::/64"), (8, "192.0.2.1")];
        assert_eq!(keys, expected.map(|(line, key)| (line, key.to_owned())));
        assert!(wished.iter().all(|wish| wish.length == Duration::from_secs(7_200)));
        let lines: Vec<_> = refused.iter().map(|it| (it.line, it.text.as_str())).collect();
        assert_eq!(lines, [(5, "nonsense"), (6, "16.0.0.0/4")]);
        assert!(refused[1].why.contains("too much of the world"), "{refused:?}");
    }

    #[test]
    fn an_export_keeps_its_times_and_each_bad_ban_its_line() {
        let text = "{\"version\":1,\"exported\":\"x\",\"left_out\":0,\"bans\":[\n\
                    {\"key\":\"198.51.100.7\",\"reason\":\"abandoned\",\"remaining_seconds\":90},\n\
                    {\"key\":\"aor:1@198.51.100.7\",\"remaining_seconds\":9},\n\
                    {\"key\":\"198.51.100.8\",\"remaining_seconds\":0},\n\
                    {\"key\":\"203.0.113.0/24\"}\n]}";
        let (wished, refused) = read(&import(text)).unwrap();
        let found: Vec<_> =
            wished.iter().map(|it| (it.line, it.length.as_secs(), &*it.why)).collect();
        assert_eq!(found, [(2, 90, "abandoned"), (5, 7_200, IMPORT_WHY)]);
        let lines: Vec<_> = refused.iter().map(|refused| refused.line).collect();
        assert_eq!(lines, [3, 4]);
        for wrong in ["{", "{\"version\":2,\"bans\":[]}", "{\"bans\":[]}"] {
            assert!(read(&import(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_known_is_found_inside_and_around() {
        let network = |text: &str| as_source(config::network(text).unwrap());
        let mut known = ["198.51.100.7", "203.0.113.9", "2001:db8:1:2::"].map(network).to_vec();
        known.sort();
        let found = |text: &str| known_in(&known, network(text)).map(|network| network.to_string());
        assert_eq!(found("198.51.100.0/24").as_deref(), Some("198.51.100.7"));
        assert_eq!(found("198.51.100.7").as_deref(), Some("198.51.100.7"));
        assert_eq!(found("198.51.100.8"), None);
        assert_eq!(found("203.0.113.0/28").as_deref(), Some("203.0.113.9"));
        assert_eq!(found("2001:db8:1:2::9").as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(found("2001:db8:1:3::"), None);
    }
}
