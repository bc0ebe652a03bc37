//! The pages for machines: `/metrics`, `/healthz`, `/readyz`.

use super::Hall;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;

pub(super) async fn metrics(State(hall): State<Hall>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, hall.status.telemetry.render()).into_response()
}

/// Whether the process works; a supervisor restarts it when it does not.
pub(super) async fn health(State(hall): State<Hall>) -> Response {
    let ok = hall.status.alive.load(Relaxed);
    answer(ok, &format!("{{\"alive\":{ok}}}\n"))
}

/// Whether calls can be sent here: not while no PBX is there to take them. Whoever spreads calls
/// over several edges sends them to another one.
pub(super) async fn readiness(State(hall): State<Hall>) -> Response {
    let ready = hall.status.ready.load(Relaxed);
    let draining = hall.status.draining.load(Relaxed);
    let pbx_up = hall.status.telemetry.is_pbx_up();
    let reason = match () {
        () if draining => Some("the edge drains"),
        () if !ready => Some("the shards do not serve yet"),
        () if !pbx_up => Some("the PBX does not answer"),
        () => None,
    };
    let ok = reason.is_none();
    let body = json!({ "ready": ok, "draining": draining, "pbx_up": pbx_up, "reason": reason })
        .to_string();
    answer(ok, &format!("{body}\n"))
}

fn answer(ok: bool, body: &str) -> Response {
    let code = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_owned()).into_response()
}
