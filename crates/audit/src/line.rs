//! A fact as a JSON line. The fields are called as in the admin API (`docs/api.md`); one that says
//! nothing is left out.

use crate::caps::Key;
use crate::journal::{Fact, Letter};
use admission::{Alert, Ban, Lift, Origin, Proof, Record};
use policy::{METHODS, Network, Policy, Time};
use proxy::{Decision, Event, Verdict};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write as _;
use wire::Side;

/// What a line is about.
pub(crate) fn event(fact: &Fact) -> &'static str {
    match fact {
        Fact::Event(_) | Fact::Decision(_) => "decision",
        Fact::Evidence(..) => "evidence",
        Fact::Ban(_) => "ban",
        Fact::Lift(_) => "lift",
        Fact::Alert(_) => "alert",
        Fact::Control(event, _) => event,
        Fact::Look => "look",
    }
}

/// What was left out, when nothing more of it comes.
pub(crate) fn left_out(at: Time, key: Key, count: u64) -> String {
    let (field, word) = key.words();
    json!({ "at": at.utc_millis(), "event": "suppressed", field: word, "count": count }).to_string()
}

#[derive(Serialize)]
struct Line<'a, T> {
    at: String,
    event: &'a str,
    #[serde(flatten)]
    fields: T,
    /// Lines of the same reason that were left out since the last.
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The whole line, without its end. `suppressed` lines of the same reason were left out before it.
pub(crate) fn json(letter: &Letter, suppressed: u64) -> String {
    let policy = &letter.policy;
    let event = event(&letter.fact);
    let at = letter.at;
    match &letter.fact {
        Fact::Event(it) => written(at, event, DecisionFields::new(it, None, policy), suppressed),
        Fact::Decision(it) => {
            let fields = DecisionFields::new(&it.event, Some(it), policy);
            written(it.at, event, fields, suppressed)
        }
        Fact::Evidence(source, it) => {
            let evidence = EvidenceFields::new(it, policy);
            written(at, event, OfSource { source: source.to_string(), evidence }, suppressed)
        }
        Fact::Ban(it) => written(at, event, BanFields::new(it, policy), suppressed),
        Fact::Lift(it) => written(at, event, LiftFields::new(it), suppressed),
        Fact::Alert(it) => written(at, event, alert(it, policy), suppressed),
        Fact::Control(_, fields) => written(at, event, fields, suppressed),
        Fact::Look => String::new(),
    }
}

fn written(at: Time, event: &str, fields: impl Serialize, suppressed: u64) -> String {
    let line = Line { at: at.utc_millis(), event, fields, suppressed };
    // all of it is text and numbers
    visible(serde_json::to_string(&line).unwrap_or_default())
}

/// The same JSON with nothing in it that a terminal or a reader of lines would act on: what JSON lets
/// stand in strings as it is (DEL and the controls above it, line separators, what turns the direction of
/// writing) is written as `\uXXXX`.
#[must_use]
pub fn visible(json: String) -> String {
    // such characters are the ones that Rust's own escape writes by number
    let is_unseen = |one: char| one.escape_debug().nth(1) == Some('u');
    if !json.chars().any(is_unseen) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 64);
    for one in json.chars() {
        if is_unseen(one) {
            for unit in one.encode_utf16(&mut [0; 2]) {
                // writing to a String does not fail
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(one);
        }
    }
    text
}

#[derive(Serialize)]
struct DecisionFields<'a> {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    side: &'static str,
    source: String,
    transport: &'static str,
    method: &'static str,
    /// Of a response that was decided about: its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aor: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ban: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<&'static str>,
    policy: u64,
}

impl<'a> DecisionFields<'a> {
    fn new(event: &Event, kept: Option<&'a Decision>, policy: &'a Policy) -> Self {
        let grounds = event.grounds.as_ref();
        let (verdict, status) = verdict(event.verdict);
        let some = |text: fn(&Decision) -> &[u8]| {
            let text = text(kept?);
            (!text.is_empty()).then(|| String::from_utf8_lossy(text))
        };
        DecisionFields {
            verdict,
            status,
            reason: event.reason.as_str(),
            detail: Some(event.detail).filter(|detail| !detail.is_empty()),
            side: side(event.side),
            source: event.flow.remote.to_string(),
            transport: event.flow.transport.as_param(),
            method: method(event.method),
            response: Some(event.status).filter(|status| *status != 0),
            line: some(|it| &it.line),
            call_id: some(|it| &it.call_id),
            aor: some(Decision::aor),
            user_agent: some(|it| &it.user_agent),
            who: grounds.map(|it| it.who.as_str()),
            score: grounds.map(|it| it.score),
            proof: grounds.and_then(|it| it.proof).map(Proof::as_str),
            rule: grounds.and_then(|it| rule(policy, it.rule)),
            signature: grounds.and_then(|it| signature(policy, it.signature)),
            shape: grounds.filter(|it| it.shape != 0).map(|it| format!("{:016x}", it.shape)),
            ban: grounds.and_then(|it| it.ban).map(|id| id.to_string()),
            would: grounds.and_then(|it| it.would).map(|would| self::verdict(would).0),
            policy: event.policy_version,
        }
    }
}

#[derive(Serialize)]
struct EvidenceFields<'a> {
    outcome: &'static str,
    method: &'static str,
    aor: Cow<'a, str>,
    dialled: Cow<'a, str>,
    weight: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raised_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    shape: String,
}

#[derive(Serialize)]
struct OfSource<'a> {
    source: String,
    #[serde(flatten)]
    evidence: EvidenceFields<'a>,
}

impl<'a> EvidenceFields<'a> {
    fn new(record: &'a Record, policy: &'a Policy) -> Self {
        EvidenceFields {
            outcome: record.outcome.as_str(),
            method: method(record.method),
            aor: String::from_utf8_lossy(&record.aor),
            dialled: String::from_utf8_lossy(&record.dialled),
            weight: record.weight,
            proof: record.proof.map(Proof::as_str),
            rule: rule(policy, record.rule),
            raised_by: rule(policy, record.raised_by),
            signature: signature(policy, record.signature),
            shape: format!("{:016x}", record.shape),
        }
    }
}

#[derive(Serialize)]
struct BanFields<'a> {
    id: String,
    key: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    reason: &'static str,
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'static str>,
    since: String,
    until: String,
    narrowed: bool,
    score: f32,
    origin: &'static str,
    policy: u64,
    evidence: Vec<RecordFields<'a>>,
}

#[derive(Serialize)]
struct RecordFields<'a> {
    at: String,
    #[serde(flatten)]
    evidence: EvidenceFields<'a>,
}

impl<'a> BanFields<'a> {
    fn new(ban: &'a Ban, policy: &'a Policy) -> Self {
        let record = |record: &'a Record| RecordFields {
            at: record.at.utc_millis(),
            evidence: EvidenceFields::new(record, policy),
        };
        BanFields {
            id: ban.id.to_string(),
            key: ban.key.text(),
            kind: ban.key.kind(),
            source: ban.key.place().map(|place| place.to_string()),
            reason: ban.reason.as_str(),
            why: &ban.why,
            proof: ban.proof.map(Proof::as_str),
            since: ban.since.utc(),
            until: ban.until.utc(),
            narrowed: ban.narrowed,
            score: ban.score,
            origin: origin(ban.origin),
            policy: ban.policy_version,
            evidence: ban.evidence.iter().map(record).collect(),
        }
    }
}

#[derive(Serialize)]
struct LiftFields {
    id: String,
    key: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    expired: bool,
}

impl LiftFields {
    fn new(lift: &Lift) -> Self {
        LiftFields {
            id: lift.id.to_string(),
            key: lift.key.text(),
            kind: lift.key.kind(),
            source: lift.key.place().map(|place| place.to_string()),
            expired: lift.expired,
        }
    }
}

fn alert(alert: &Alert, policy: &Policy) -> Value {
    let of = |source: &Network| source.to_string();
    let mut fields = match alert {
        Alert::Campaign { shape, sources } => {
            json!({ "shape": format!("{shape:016x}"), "sources": sources })
        }
        Alert::CarrierCandidate { source, dialled } => {
            json!({ "source": of(source), "dialled": String::from_utf8_lossy(dialled) })
        }
        Alert::WouldBan(ban) => json!(BanFields::new(ban, policy)),
        Alert::Storm => json!({}),
        Alert::Honeytoken { source } => json!({ "source": of(source) }),
        Alert::Demoted { signature: index } => json!({ "signature": signature(policy, *index) }),
        Alert::UnderAttack { began } => json!({ "began": began }),
    };
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("alert".into(), alert.as_str().into());
    }
    fields
}

pub(crate) fn verdict(verdict: Verdict) -> (&'static str, Option<u16>) {
    match verdict {
        Verdict::Forward => ("forward", None),
        Verdict::Absorb => ("absorb", None),
        Verdict::Reject(status) => ("reject", Some(status)),
        Verdict::Drop => ("drop", None),
    }
}

pub(crate) fn method(index: u8) -> &'static str {
    METHODS.get(usize::from(index)).unwrap_or(&"other")
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Outside => "outside",
        Side::Inside => "inside",
    }
}

pub(crate) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Operator => "operator",
        Origin::Feed => "feed",
        Origin::Peer => "peer",
    }
}

fn rule(policy: &Policy, index: u16) -> Option<&str> {
    policy.admission.rules.get(usize::from(index)).map(|rule| &*rule.name)
}

fn signature(policy: &Policy, index: u16) -> Option<&str> {
    policy.admission.signatures.list().get(usize::from(index)).map(|it| &*it.id)
}
