//! Whom operators trust for a time: seen, and taken back.

use super::bans::as_source;
use super::{Hall, Refusal};
use admission::Learned;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use policy::{Network, Time};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A network that an operator trusts for a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrustView {
    pub(crate) network: String,
    pub(crate) until: String,
    pub(crate) remaining_seconds: u64,
}

impl TrustView {
    fn new(now: Time, (network, until): &(Network, Time)) -> Self {
        TrustView {
            network: network.to_string(),
            until: until.utc(),
            remaining_seconds: until.since(now).as_secs(),
        }
    }
}

/// What was taken back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Revoked {
    pub(crate) revoked: Vec<TrustView>,
}

/// What is given now, what ends first first. All shards have the same.
async fn given(hall: &Hall) -> Result<(Time, Vec<(Network, Time)>), Refusal> {
    let look = |now, engine: &proxy::Engine| {
        (now, engine.gate().trusted_for_a_time(now).collect::<Vec<_>>())
    };
    let (now, mut given) = hall.status.desk.look(0, look).await?;
    given.sort_by_key(|(network, until)| (*until, *network));
    Ok((now, given))
}

/// `GET /api/v1/trust`
pub(super) async fn list(State(hall): State<Hall>) -> Result<Json<Vec<TrustView>>, Refusal> {
    let (now, given) = given(&hall).await?;
    Ok(Json(given.iter().map(|given| TrustView::new(now, given)).collect()))
}

/// `DELETE /api/v1/trust/{network}`: takes back what was given to it, and to addresses in it.
pub(super) async fn revoke(
    State(hall): State<Hall>,
    Path(key): Path<String>,
) -> Result<Json<Revoked>, Refusal> {
    let named = as_source(config::network(key.trim()).map_err(Refusal::wrong)?);
    let (now, given) = given(&hall).await?;
    let within = |(network, _): &&(Network, Time)| {
        network.prefix() >= named.prefix() && named.contains(network.address())
    };
    let meant: Vec<_> = given.iter().filter(within).copied().collect();
    if meant.is_empty() {
        let around = given.iter().find(|(network, _)| network.contains(named.address()));
        let hint = match around {
            Some((network, _)) => format!("{network} around it is trusted: revoke that"),
            None => {
                "`ringfence trust list` has what is given for a time; what the policy trusts is \
                     in trust.networks"
                    .into()
            }
        };
        let error = format!("no operator trusts {named}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error).hint(hint));
    }
    let desk = &hall.status.desk;
    for (network, _) in &meant {
        desk.tell(&Learned::Distrust { network: *network }).await?;
    }
    // orders are followed in order: when all have looked nobody trusts them any more
    desk.look_all(|_, _| ()).await?;
    hall.status.feeds.nudge();
    let revoked: Vec<_> = meant.iter().map(|given| TrustView::new(now, given)).collect();
    let networks: Vec<_> = revoked.iter().map(|it| it.network.clone()).collect();
    tracing::info!(%key, networks = networks.len(), "An operator revokes trust");
    hall.status.note("operator_revoke", json!({ "key": key, "networks": networks }));
    Ok(Json(Revoked { revoked }))
}
