//! `/api/v1/pbx`: the PBXs, and letting one of them get nothing new.

use super::status::{PbxView, pbxs};
use super::{Hall, Refusal};
use crate::news::News;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

pub(super) async fn list(State(hall): State<Hall>) -> Json<Vec<PbxView>> {
    let policy = hall.status.rules().policy.clone();
    Json(pbxs(&policy, &hall.status.telemetry))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    drained: bool,
}

pub(super) async fn order(
    State(hall): State<Hall>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<PbxView>, Refusal> {
    let Wish { drained } = serde_json::from_slice(&body).map_err(|error| {
        let wrong = format!("the body is not understood: {error}");
        Refusal::wrong(wrong).hint(r#"{"drained":true}"#)
    })?;
    let policy = hall.status.rules().policy.clone();
    let Some(pbx) = policy.pbx.iter().find(|pbx| *pbx.name == *name) else {
        let names: Vec<_> = policy.pbx.iter().map(|pbx| &*pbx.name).collect();
        let refusal = Refusal::new(StatusCode::NOT_FOUND, format!("no PBX is called {name}"));
        return Err(refusal.hint(format!("they are called {}", names.join(", "))));
    };
    hall.status.desk.drain_pbx(pbx.id(), drained).await?;
    // the shards publish it before they are asked for anything else
    hall.status.desk.look_all(|_, _| ()).await?;
    tracing::info!(pbx = %pbx.name, drained, "An operator drains a PBX, or no more");
    hall.status.news.say(|| News::Control("pbx", json!({ "pbx": pbx.name, "drained": drained })));
    let views = pbxs(&policy, &hall.status.telemetry);
    let view = views.into_iter().find(|view| view.name == name);
    view.map(Json).ok_or_else(|| Refusal::wrong("the configuration has changed meanwhile"))
}
