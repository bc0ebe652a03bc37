//! The JSON of the admin API (docs/api.md). What is read here may be relied on: fields are added,
//! none is taken away or given another meaning.

use crate::status::Rules;
use admission::{Ban, Origin, Proof, Record, SourceView};
use policy::{METHODS, Time};
use proxy::{Decision, Verdict};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A ban.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BanView {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) proof: Option<String>,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) evidence: Vec<RecordView>,
    pub(crate) origin: String,
    pub(crate) kernel: bool,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordView {
    pub(crate) at: String,
    pub(crate) method: String,
    pub(crate) outcome: String,
    pub(crate) aor: String,
    pub(crate) dialled: String,
    pub(crate) weight: f32,
    pub(crate) rule: Option<String>,
    /// The rule that made it weigh more.
    pub(crate) raised_by: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) proof: Option<String>,
    pub(crate) shape: String,
}

/// A ban with all that explains it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExplainedBan {
    #[serde(flatten)]
    pub(crate) ban: BanView,
    pub(crate) narrowed: bool,
    pub(crate) score: f32,
    pub(crate) policy: u64,
    /// How it is undone.
    pub(crate) undo: String,
    /// All of it in words.
    pub(crate) text: String,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceJson {
    pub(crate) source: String,
    pub(crate) who: String,
    pub(crate) proof: Option<String>,
    pub(crate) score: f32,
    pub(crate) long_score: f32,
    pub(crate) open_invites: u16,
    pub(crate) open_others: u16,
    pub(crate) suspect: bool,
}

/// A source with what is behind its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceDetail {
    #[serde(flatten)]
    pub(crate) source: SourceJson,
    pub(crate) trusted_by: Option<String>,
    pub(crate) evidence: Vec<RecordView>,
    pub(crate) bans: Vec<BanView>,
}

/// A decision on a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DecisionView {
    pub(crate) at: String,
    pub(crate) source: String,
    pub(crate) transport: String,
    pub(crate) method: String,
    pub(crate) line: String,
    pub(crate) call_id: String,
    pub(crate) aor: String,
    pub(crate) user_agent: String,
    pub(crate) verdict: String,
    /// Of the answer, where the edge answered.
    pub(crate) status: Option<u16>,
    pub(crate) reason: String,
    pub(crate) detail: Option<String>,
    /// What would have been done, were it not in `mode: observe`.
    pub(crate) would: Option<String>,
    pub(crate) who: Option<String>,
    pub(crate) score: Option<f32>,
    pub(crate) proof: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) shape: Option<String>,
    pub(crate) ban: Option<String>,
    pub(crate) policy: u64,
}

/// A feed that lists an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListedView {
    pub(crate) feed: String,
    pub(crate) action: String,
    /// What is done: `dropped`, `weighed`, `observed`, `spared`.
    pub(crate) result: String,
    /// When the feed's list is too old, if it is not had again.
    pub(crate) until: String,
}

impl ListedView {
    pub(crate) fn new(it: &admission::ListedBy) -> Self {
        ListedView {
            feed: it.feed.name.to_string(),
            action: it.feed.action.as_str().into(),
            result: it.hit.as_str().into(),
            until: it.feed.until.utc(),
        }
    }
}

/// What a subject was found to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) subject: String,
    /// `ip`, `ban`, or `text`: an AOR or a Call-ID.
    pub(crate) kind: String,
    pub(crate) source: Option<SourceJson>,
    pub(crate) trusted_by: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) listed: Vec<ListedView>,
    /// The number of ours that this stranger called lately, if he may be a carrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<String>,
    pub(crate) evidence: Vec<RecordView>,
    pub(crate) bans: Vec<ExplainedBan>,
    pub(crate) decisions: Vec<DecisionView>,
    /// Refusals of strangers on this AOR, faded.
    pub(crate) refusals: Option<f32>,
    pub(crate) text: String,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrorView {
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
}

impl BanView {
    pub(crate) fn new(ban: &Ban, rules: &Rules) -> Self {
        let version = ban.policy_version;
        BanView {
            id: ban.id.to_string(),
            key: ban.key.text(),
            kind: ban.key.kind().into(),
            reason: ban.why.to_string(),
            proof: proof(ban.proof),
            since: ban.since.utc(),
            until: ban.until.utc(),
            evidence: ban.evidence.iter().map(|it| RecordView::new(it, version, rules)).collect(),
            origin: origin_word(ban.origin).into(),
            kernel: rules.is_in_kernel(ban),
        }
    }
}

impl ExplainedBan {
    pub(crate) fn new(ban: &Ban, rules: &Rules) -> Self {
        ExplainedBan {
            ban: BanView::new(ban, rules),
            narrowed: ban.narrowed,
            score: ban.score,
            policy: ban.policy_version,
            undo: format!("ringfence bans lift {}", ban.key.text()),
            text: ban.explain(&rules.policy.admission).to_string(),
        }
    }
}

impl RecordView {
    /// `version` is that of the policy whose names it has.
    pub(crate) fn new(record: &Record, version: u64, rules: &Rules) -> Self {
        let [rule, raised_by, signature] = rules.of_record(record, version);
        RecordView {
            at: record.at.utc(),
            method: method(record.method),
            outcome: record.outcome.as_str().into(),
            aor: text(&record.aor),
            dialled: text(&record.dialled),
            weight: record.weight,
            rule,
            raised_by,
            signature,
            proof: proof(record.proof),
            shape: format!("{:016x}", record.shape),
        }
    }
}

impl SourceJson {
    pub(crate) fn new(view: &SourceView) -> Self {
        SourceJson {
            source: view.source.to_string(),
            who: view.who.as_str().into(),
            proof: proof(view.proof),
            score: view.score,
            long_score: view.long_score,
            open_invites: view.open_invites,
            open_others: view.open_others,
            suspect: view.suspect,
        }
    }
}

impl DecisionView {
    pub(crate) fn new(decision: &Decision, rules: &Rules) -> Self {
        let event = &decision.event;
        let grounds = event.grounds.as_ref();
        let (verdict, status) = verdict_word(event.verdict);
        let version = event.policy_version;
        DecisionView {
            at: decision.at.utc(),
            source: event.flow.remote.to_string(),
            transport: event.flow.transport.as_param().into(),
            method: method(event.method),
            line: text(&decision.line),
            call_id: text(&decision.call_id),
            aor: text(decision.aor()),
            user_agent: text(&decision.user_agent),
            verdict: verdict.into(),
            status,
            reason: event.reason.as_str().into(),
            detail: (!event.detail.is_empty()).then(|| event.detail.into()),
            would: grounds.and_then(|it| it.would).map(|would| verdict_word(would).0.into()),
            who: grounds.map(|it| it.who.as_str().into()),
            score: grounds.map(|it| it.score),
            proof: grounds.and_then(|it| proof(it.proof)),
            rule: grounds.and_then(|it| rules.rule(it, version)),
            signature: grounds.and_then(|it| rules.signature(it, version)),
            shape: grounds.filter(|it| it.shape != 0).map(|it| format!("{:016x}", it.shape)),
            ban: grounds.and_then(|it| it.ban).map(|id| id.to_string()),
            policy: version,
        }
    }
}

pub(crate) fn seconds(length: Duration) -> f64 {
    length.as_secs_f64()
}

/// A moment, for those who sort by it.
pub(crate) fn moment(time: Option<Time>) -> Option<String> {
    time.map(Time::utc)
}

fn proof(proof: Option<Proof>) -> Option<String> {
    proof.map(|proof| proof.as_str().into())
}

fn method(index: u8) -> String {
    METHODS.get(usize::from(index)).unwrap_or(&"other").to_string()
}

/// What a peer wrote, as text: bytes that are none are replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Operator => "operator",
        Origin::Feed => "feed",
        Origin::Peer => "peer",
    }
}

fn verdict_word(verdict: Verdict) -> (&'static str, Option<u16>) {
    match verdict {
        Verdict::Forward => ("forward", None),
        Verdict::Absorb => ("absorb", None),
        Verdict::Reject(status) => ("reject", Some(status)),
        Verdict::Drop => ("drop", None),
    }
}
