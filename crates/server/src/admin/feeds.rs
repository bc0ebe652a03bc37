//! Feeds: how they do, and fetched now.

use super::{Hall, Refusal};
use crate::status::Status;
use admission::FeedHit;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use policy::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A feed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeedView {
    pub(crate) name: String,
    /// Its address, without the key, or its file.
    pub(crate) place: String,
    pub(crate) action: String,
    pub(crate) mode: String,
    pub(crate) entries: usize,
    /// Since it was fetched with success last, unchanged included.
    pub(crate) age_seconds: Option<u64>,
    /// When it is fetched next.
    pub(crate) next: Option<String>,
    /// Fetches that failed since the last good one, and why the last did.
    pub(crate) failures: u32,
    pub(crate) error: Option<String>,
    /// What of it is not taken, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Entries that are not acted on, because somebody trusted or known is in them.
    pub(crate) trusted: usize,
    pub(crate) known: usize,
    /// Entries that the kernel may drop.
    pub(crate) kernel: usize,
    /// How often it was met, by what became of that.
    pub(crate) hits: BTreeMap<String, u64>,
}

/// All feeds of the configuration.
pub(crate) fn views(status: &Status) -> Vec<FeedView> {
    let now = status.desk.now();
    let hits = status.telemetry.feed_hits();
    let view = |(feed, view, sifted): (config::Feed, Option<feeds::View>, crate::feeds::Sifted)| {
        let file = || feed.file.as_ref().map(|file| file.display().to_string());
        let hits = hits.get(&*feed.name).copied().unwrap_or_default();
        let hits = FeedHit::ALL.iter().zip(hits).map(|(it, count)| (it.as_str().into(), count));
        let refused = view.as_ref().map(|view| view.refused.counts()).unwrap_or_default();
        FeedView {
            place: feed.url.clone().or_else(file).unwrap_or_default(),
            action: feed.action.as_str().into(),
            mode: super::status::mode_word(feed.mode).into(),
            entries: view.as_ref().map_or(0, |view| view.entries.len()),
            age_seconds: view.as_ref().and_then(|view| Some(now.since(view.fetched?).as_secs())),
            next: view.as_ref().map(|view| view.due.utc()),
            failures: view.as_ref().map_or(0, |view| view.failures),
            error: view.as_ref().and_then(|view| view.error.clone()),
            refused: refused.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            trusted: sifted.trusted,
            known: sifted.known,
            kernel: sifted.kernel,
            hits: hits.collect(),
            name: feed.name,
        }
    };
    status.feeds.all().into_iter().map(view).collect()
}

/// `GET /api/v1/feeds`
pub(super) async fn list(State(hall): State<Hall>) -> Json<Vec<FeedView>> {
    Json(views(&hall.status))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: Option<String>,
}

/// What is being fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refreshing {
    pub(crate) refreshing: Vec<String>,
}

/// `POST /api/v1/feeds/refresh`
pub(super) async fn refresh(
    State(hall): State<Hall>,
    body: Bytes,
) -> Result<(StatusCode, Json<Refreshing>), Refusal> {
    let wish: Wish = match body.is_empty() {
        true => Wish::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| Refusal::wrong(format!("the body names no feed: {error}")))?,
    };
    let desk = &hall.status.feeds;
    let meant = |feed: &config::Feed| {
        feed.mode != Mode::Off && wish.name.as_ref().is_none_or(|name| *name == feed.name)
    };
    let refreshing: Vec<_> =
        desk.all().into_iter().map(|(feed, ..)| feed).filter(meant).map(|feed| feed.name).collect();
    if let (Some(name), true) = (&wish.name, refreshing.is_empty()) {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no feed that acts is called {name}"),
        )
        .hint("`ringfence feeds list` shows them"));
    }
    if !desk.refresh(wish.name.as_deref()) {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait already"));
    }
    Ok((StatusCode::ACCEPTED, Json(Refreshing { refreshing })))
}
