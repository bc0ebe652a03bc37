//! Sources: who stands out, and what is known of one.

use super::bans::Wanted;
use super::views::{BanView, RecordView, SourceDetail, SourceJson};
use super::{Hall, Refusal};
use admission::{Record, SourceView};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use std::net::IpAddr;

/// Sources in one answer, where nothing is said and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 1_000;
/// Bans that one source's page shows.
pub(super) const BANS_MAX: usize = 64;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Selection {
    limit: Option<usize>,
    /// Least score.
    least: Option<f32>,
}

pub(super) async fn list(
    State(hall): State<Hall>,
    Query(Selection { limit, least }): Query<Selection>,
) -> Result<Json<Vec<SourceJson>>, Refusal> {
    let limit = limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let least = least.unwrap_or(0.01);
    if !least.is_finite() {
        return Err(Refusal::wrong("least is no number"));
    }
    let views = hall.status.desk.sources(limit, least).await?;
    Ok(Json(views.iter().map(SourceJson::new).collect()))
}

/// What a shard knows of one source.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) listed: Vec<admission::ListedBy>,
    pub(super) view: Option<SourceView>,
    pub(super) trusted_by: Option<String>,
    pub(super) evidence: Vec<Record>,
}

pub(super) async fn known(hall: &Hall, ip: IpAddr) -> Result<Known, Refusal> {
    let look = move |now, engine: &proxy::Engine| {
        let gate = engine.gate();
        Known {
            view: gate.source(now, ip),
            trusted_by: gate.trusted_by(now, ip).map(str::to_owned),
            listed: gate.listed_by(now, ip),
            evidence: gate.evidence_on(ip),
        }
    };
    Ok(hall.status.desk.look_at(ip, look).await?)
}

pub(super) async fn show(
    State(hall): State<Hall>,
    Path(ip): Path<String>,
) -> Result<Json<SourceDetail>, Refusal> {
    let network = config::network(&ip).map_err(Refusal::wrong)?;
    let ip = network.address();
    let Known { view, trusted_by, evidence, .. } = known(&hall, ip).await?;
    let Some(view) = view else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("nothing is known of {ip}")));
    };
    let wanted = Wanted::Network(view.source);
    let (bans, _) = hall.status.desk.bans(BANS_MAX, move |ban| wanted.is_met(ban)).await?;
    let rules = hall.status.rules();
    let version = rules.policy.version;
    Ok(Json(SourceDetail {
        source: SourceJson::new(&view),
        trusted_by,
        evidence: evidence.iter().map(|it| RecordView::new(it, version, &rules)).collect(),
        bans: bans.iter().map(|ban| BanView::new(ban, &rules)).collect(),
    }))
}
