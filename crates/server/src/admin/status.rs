//! `GET /api/v1/status`: the edge at a glance.

use super::Hall;
use super::views::{moment, seconds};
use crate::status::Status;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use telemetry::Summary;

/// The edge at a glance. Counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusView {
    pub(crate) version: String,
    pub(crate) started: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) ready: bool,
    pub(crate) alive: bool,
    pub(crate) draining: bool,
    /// Until when an operator lets everything pass.
    pub(crate) panic_open_until: Option<String>,
    pub(crate) policy: PolicyView,
    pub(crate) pbx: Vec<PbxView>,
    /// Whether a helper keeps the kernel's drop sets.
    pub(crate) kernel_up: bool,
    /// Whether what outlives a restart is written to its file.
    pub(crate) state_up: bool,
    /// How what is told to other programs is doing.
    #[serde(default)]
    pub(crate) reports: Vec<crate::reports::ReportView>,
    /// Requests from outside by verdict.
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// Those rejected or dropped, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// The funnel: challenges issued, and how they ended.
    pub(crate) challenges: BTreeMap<String, u64>,
    pub(crate) bans: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) feeds: Vec<super::feeds::FeedView>,
    pub(crate) unanswered: u64,
    pub(crate) shards_under_attack: u64,
    /// What is shed because a shard is behind: none, strangers, unproven, calls.
    pub(crate) shed: String,
    pub(crate) shards: Vec<ShardView>,
    pub(crate) tables: Vec<TableView>,
    pub(crate) reloads: Vec<crate::reloads::ReloadView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyView {
    pub(crate) version: u64,
    pub(crate) profile: String,
    pub(crate) mode: String,
    pub(crate) file: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PbxView {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) address: String,
    pub(crate) transport: String,
    pub(crate) up: bool,
    /// Whether an operator lets it get nothing new.
    pub(crate) draining: bool,
    /// Requests sent to it, and those that it did not serve.
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShardView {
    pub(crate) shard: usize,
    pub(crate) wakeups: u64,
    pub(crate) inputs: u64,
    pub(crate) requests: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableView {
    pub(crate) table: String,
    pub(crate) entries: u64,
    pub(crate) capacity: u64,
    pub(crate) evictions: u64,
}

pub(super) async fn status(State(hall): State<Hall>) -> Json<StatusView> {
    Json(view(&hall.status))
}

/// The edge as it is now.
pub(super) fn view(status: &Status) -> StatusView {
    let summary = status.telemetry.summary();
    let rules = status.rules();
    let Summary { verdicts, refused, challenges, tables, bans, unanswered, under_attack, shards } =
        summary;
    let counts = |pairs: Vec<(&str, u64)>| {
        pairs.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    };
    StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        started: status.started.utc(),
        uptime_seconds: seconds(status.desk.now().since(status.started)),
        ready: status.ready.load(Relaxed),
        alive: status.alive.load(Relaxed),
        draining: status.draining.load(Relaxed),
        panic_open_until: moment(rules.panic_until),
        policy: PolicyView {
            version: rules.policy.version,
            profile: rules.policy.admission.profile.to_string(),
            mode: mode_word(rules.policy.admission.mode).into(),
            file: status.file.display().to_string(),
        },
        pbx: pbxs(&rules.policy, &status.telemetry),
        kernel_up: status.telemetry.kernel().is_up(),
        state_up: status.telemetry.state().up,
        reports: status.reports.view(),
        verdicts: counts(verdicts),
        refused: counts(refused),
        challenges: counts(challenges),
        bans,
        feeds: super::feeds::views(status),
        unanswered,
        shards_under_attack: under_attack,
        shed: status.telemetry.shed().as_str().into(),
        shards: shards
            .iter()
            .enumerate()
            .map(|(shard, it)| ShardView {
                shard,
                wakeups: it.wakeups,
                inputs: it.inputs,
                requests: it.requests,
            })
            .collect(),
        tables: tables
            .into_iter()
            .map(|(table, entries, capacity, evictions)| TableView {
                table: table.into(),
                entries,
                capacity,
                evictions,
            })
            .collect(),
        reloads: rules.reloads.iter().rev().cloned().collect(),
    }
}

/// The PBXs as they are now.
pub(super) fn pbxs(policy: &policy::Policy, telemetry: &telemetry::Telemetry) -> Vec<PbxView> {
    let view = |pbx: &policy::Pbx| {
        let state = telemetry.pbx(pbx.id());
        let group = policy.groups.get(pbx.group).map(|group| group.name.to_string());
        PbxView {
            name: pbx.name.to_string(),
            group: group.unwrap_or_default(),
            address: pbx.address.to_string(),
            transport: pbx.transport.as_param().into(),
            up: state.up,
            draining: state.draining,
            requests: state.requests,
            failed: state.failed,
        }
    };
    policy.pbx.iter().map(view).collect()
}

pub(super) fn mode_word(mode: policy::Mode) -> &'static str {
    match mode {
        policy::Mode::Enforce => "enforce",
        policy::Mode::Observe => "observe",
        policy::Mode::Off => "off",
    }
}
