//! Who is told of alerts: how each does, and a test.

use super::{Hall, Refusal};
use ::alerts::{Tested, View};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

/// `GET /api/v1/alerts`
pub(super) async fn list(State(hall): State<Hall>) -> Json<Vec<View>> {
    Json(hall.status.reports.alerts().views())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: Option<String>,
}

/// `POST /api/v1/alerts/test`: answered when each target has answered, or has had its time.
pub(super) async fn test(
    State(hall): State<Hall>,
    body: Bytes,
) -> Result<Json<Vec<Tested>>, Refusal> {
    let wish: Wish = match body.is_empty() {
        true => Wish::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| Refusal::wrong(format!("the body names no target: {error}")))?,
    };
    let desk = hall.status.reports.alerts();
    let views = desk.views();
    let meant = |view: &View| wish.name.as_ref().is_none_or(|name| *name == view.name);
    if !views.iter().any(meant) {
        let (error, hint) = match &wish.name {
            Some(name) => {
                (format!("no target is called {name}"), "`ringfence alerts list` has them")
            }
            None => ("nobody is told of alerts".into(), "see docs/alerts.md"),
        };
        return Err(Refusal::new(StatusCode::NOT_FOUND, error).hint(hint));
    }
    Ok(Json(desk.test(wish.name).await))
}
