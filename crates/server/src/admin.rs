//! The admin listener: `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use telemetry::Telemetry;

/// What the admin pages tell.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) telemetry: Arc<Telemetry>,
    /// All shards serve.
    pub(crate) ready: AtomicBool,
    /// A drain has begun.
    pub(crate) draining: AtomicBool,
    /// Every shard answered when last asked.
    pub(crate) alive: AtomicBool,
}

/// Serves the admin pages until the runtime ends.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    status: Arc<Status>,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(status);
    axum::serve(listener, pages).await
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, status.telemetry.render()).into_response()
}

/// Whether the process works; a supervisor restarts it when it does not.
async fn health(State(status): State<Arc<Status>>) -> Response {
    let ok = status.alive.load(Relaxed);
    answer(ok, &format!("{{\"alive\":{ok}}}\n"))
}

/// Whether calls can be sent here. A PBX that is down is told, but is no reason to send them to
/// nobody: the edge answers them with 503.
async fn readiness(State(status): State<Arc<Status>>) -> Response {
    let ready = status.ready.load(Relaxed);
    let draining = status.draining.load(Relaxed);
    let pbx_up = status.telemetry.is_pbx_up();
    let ok = ready && !draining;
    let body = format!("{{\"ready\":{ok},\"draining\":{draining},\"pbx_up\":{pbx_up}}}\n");
    answer(ok, &body)
}

fn answer(ok: bool, body: &str) -> Response {
    let code = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_owned()).into_response()
}
