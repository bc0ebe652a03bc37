//! `GET /api/v1/policy` and `/api/v1/trunks`: the rules in use with what each has met, and where
//! carriers are reached.

use super::status::mode_word;
use super::{Hall, Refusal};
use axum::Json;
use axum::extract::State;
use policy::{Ceiling, Mode, Policy, Then};
use proxy::Engine;
use serde::Serialize;
use std::collections::BTreeMap;
use telemetry::Telemetry;

/// Rules and signatures in their order. Counts are since the start, by the names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RulesView {
    pub(super) version: u64,
    pub(super) profile: String,
    pub(super) mode: String,
    pub(super) rules: Vec<RuleView>,
    pub(super) signatures: Vec<SignatureView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RuleView {
    name: String,
    then: String,
    /// `enforce` or `observe`: its own, or the policy's where that does less.
    mode: String,
    hits: u64,
    /// Of those, what it would have done more than count, did it not only observe.
    would: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SignatureView {
    id: String,
    /// The most that a match may do.
    ceiling: String,
    mode: String,
    hits: u64,
    /// Hits by the authenticated: each is a wrong signature, or an account in wrong hands.
    authenticated: u64,
}

pub(super) async fn policy(State(hall): State<Hall>) -> Json<RulesView> {
    let policy = hall.status.rules().policy.clone();
    Json(rules(&policy, &hall.status.telemetry))
}

pub(super) fn rules(policy: &Policy, telemetry: &Telemetry) -> RulesView {
    let admission = &policy.admission;
    let met = telemetry.rule_hits();
    let rules = admission.rules.iter().map(|rule| {
        let hits = met.get(&rule.name).copied().unwrap_or_default();
        let mode = lesser(admission.mode, rule.mode);
        let acts = !matches!(rule.then, Then::Note | Then::Accept);
        RuleView {
            name: rule.name.to_string(),
            then: then_word(&rule.then),
            mode: mode_word(mode).into(),
            hits,
            would: if mode == Mode::Observe && acts { hits } else { 0 },
        }
    });
    let matched = telemetry.signature_hits();
    let signatures = admission.signatures.list().iter().map(|signature| {
        let [others, authenticated] = matched.get(&signature.id).copied().unwrap_or_default();
        SignatureView {
            id: signature.id.to_string(),
            ceiling: ceiling_word(signature.ceiling).into(),
            mode: mode_word(lesser(admission.mode, signature.mode)).into(),
            hits: others,
            authenticated,
        }
    });
    RulesView {
        version: policy.version,
        profile: admission.profile.to_string(),
        mode: mode_word(admission.mode).into(),
        rules: rules.collect(),
        signatures: signatures.collect(),
    }
}

/// What is left of a mode under another.
fn lesser(all: Mode, own: Mode) -> Mode {
    match (all, own) {
        (Mode::Off, _) | (_, Mode::Off) => Mode::Off,
        (Mode::Observe, _) | (_, Mode::Observe) => Mode::Observe,
        (Mode::Enforce, Mode::Enforce) => Mode::Enforce,
    }
}

fn then_word(then: &Then) -> String {
    match then {
        Then::Accept => "accept".into(),
        Then::Note => "note".into(),
        Then::Score => "score".into(),
        Then::Fast => "fast".into(),
        Then::Drop => "drop".into(),
        Then::Challenge => "challenge".into(),
        Then::Reject(status) => format!("reject {status}"),
        Then::Limit { .. } => "limit".into(),
        Then::Weigh(weight) => format!("weigh {weight}"),
    }
}

fn ceiling_word(ceiling: Ceiling) -> &'static str {
    match ceiling {
        Ceiling::Note => "note",
        Ceiling::Score => "score",
        Ceiling::Fast => "fast",
        Ceiling::Drop => "drop",
    }
}

/// A trunk, and where its hosts are reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TrunkView {
    pub(super) name: String,
    pub(super) hosts: Vec<HostView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct HostView {
    pub(super) host: String,
    /// In the order in which they are tried; none while the name is not resolved.
    pub(super) targets: Vec<TargetView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TargetView {
    pub(super) address: String,
    /// It is not in quarantine: it answered last, or was not tried.
    pub(super) up: bool,
}

pub(super) async fn trunks(State(hall): State<Hall>) -> Result<Json<Vec<TrunkView>>, Refusal> {
    let policy = hall.status.rules().policy.clone();
    let look = |_, engine: &Engine| {
        let all = engine.trunk_targets();
        all.map(|(host, remote, up)| (host.to_owned(), remote, up)).collect::<Vec<_>>()
    };
    let shards = hall.status.desk.look_all(look).await?;
    let count = u8::try_from(shards.len()).unwrap_or(u8::MAX);
    let mut hosts: BTreeMap<String, Vec<TargetView>> = BTreeMap::new();
    // each is in the list of the first shard; whether it is up its own shard knows
    for (host, remote, _) in shards.first().into_iter().flatten() {
        let owner = usize::from(Engine::shard_of(remote.ip(), count).0);
        let knows = |it: &&(String, std::net::SocketAddr, bool)| it.0 == *host && it.1 == *remote;
        let known = shards.get(owner).and_then(|targets| targets.iter().find(knows));
        let up = known.is_none_or(|(_, _, up)| *up);
        let target = TargetView { address: remote.to_string(), up };
        hosts.entry(host.clone()).or_default().push(target);
    }
    let view = |trunk: &policy::Trunk| TrunkView {
        name: trunk.name.to_string(),
        hosts: trunk
            .hosts
            .iter()
            .map(|host| HostView {
                host: host.to_string(),
                targets: hosts.get(&**host).cloned().unwrap_or_default(),
            })
            .collect(),
    };
    Ok(Json(policy.trunks.iter().map(view).collect()))
}
