//! The admin API (docs/api.md): what operators, their scripts and the command line see and say.
//! Everything it knows it asks of the shards ([`crate::desk`]) or reads from [`Status`]; what only
//! the control thread can do it asks for by a [`Command`].

mod alerts;
mod auth;
mod bans;
mod control;
mod events;
mod evidence;
mod explain;
pub(crate) mod feeds;
mod listen;
pub(crate) mod lists;
mod pages;
mod pbxs;
mod policy;
pub(crate) mod presence;
#[cfg(test)]
mod samples;
mod sources;
pub(crate) mod status;
pub(crate) mod trust;
mod ui;
pub(crate) mod views;

pub(crate) use auth::{Token, open_token};
pub(crate) use listen::{Listeners, open};

use crate::control::Command;
use crate::desk::Silent;
use crate::status::Status;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, mpsc};
use views::ErrorView;

/// Largest body of a request, in bytes.
const BODY_MAX: usize = 64 << 10;
/// Readers of the event stream at a time.
const READERS: usize = 16;

/// What answers are made of.
#[derive(Clone, Debug)]
pub(crate) struct Hall {
    pub(crate) status: Arc<Status>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) token: Arc<Mutex<Option<Token>>>,
    readers: Arc<Semaphore>,
}

impl Hall {
    pub(crate) fn new(
        status: Arc<Status>,
        commands: mpsc::Sender<Command>,
        token: Arc<Mutex<Option<Token>>>,
    ) -> Self {
        Hall { status, commands, token, readers: Arc::new(Semaphore::new(READERS)) }
    }
}

/// For lists: JSON writes some bytes longer than they are.
fn large_body() -> DefaultBodyLimit {
    DefaultBodyLimit::max(2 * lists::IMPORT_BYTES_MAX)
}

/// All pages.
fn router(hall: Hall) -> Router {
    let api = Router::new()
        .route("/status", get(status::status))
        .route("/bans", get(bans::list).post(bans::add))
        .route("/bans/export", get(lists::export))
        .route("/bans/import", post(lists::import).layer(large_body()))
        .route("/bans/{*key}", delete(bans::lift).get(evidence::show))
        .route("/policy", get(policy::policy))
        .route("/trunks", get(policy::trunks))
        .route("/trust", get(trust::list))
        .route("/trust/{*network}", delete(trust::revoke))
        .route("/alerts", get(alerts::list))
        .route("/alerts/test", post(alerts::test))
        .route("/feeds", get(feeds::list))
        .route("/feeds/refresh", post(feeds::refresh))
        .route("/sources", get(sources::list))
        .route("/sources/{*ip}", get(sources::show))
        .route("/explain/{*subject}", get(explain::explain))
        .route("/events", get(events::events))
        .route("/pbx", get(pbxs::list))
        .route("/pbx/{*name}", post(pbxs::order))
        .route("/reload", post(control::reload))
        .route("/panic-open", post(control::panic_open))
        .route("/drain", post(control::drain));
    Router::new()
        .route("/", get(ui::index))
        .route("/ui/{*name}", get(ui::file))
        .route("/metrics", get(pages::metrics))
        .route("/healthz", get(pages::health))
        .route("/readyz", get(pages::readiness))
        .nest("/api/v1", api)
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is no such page") })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(hall.clone(), auth::guard))
        .layer(middleware::map_response(ui::protect))
        .with_state(hall)
}

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: StatusCode,
    error: String,
    hint: Option<String>,
}

impl Refusal {
    fn new(code: StatusCode, error: impl Into<String>) -> Self {
        Refusal { code, error: error.into(), hint: None }
    }

    fn wrong(error: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, error)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Silent> for Refusal {
    fn from(Silent: Silent) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer")
            .hint("see /healthz and the log")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal { code, error, hint } = self;
        (code, Json(ErrorView { error, hint })).into_response()
    }
}
