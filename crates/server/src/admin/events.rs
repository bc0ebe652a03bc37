//! `GET /api/v1/events`: news as they come, by server-sent events. Who reads too slowly loses the
//! oldest, is told how many, and it is counted.

use super::views::{BanView, DecisionView};
use super::{Hall, Refusal, status};
use crate::desk::Desk;
use crate::news::News;
use crate::status::Status;
use admission::{Alert, Lift};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream as _};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

/// How often decisions and sums are fetched for whoever follows.
const FETCH_EVERY: Duration = Duration::from_secs(1);
/// Decisions of each shard that are told each time, the youngest: a stream is to be read.
const DECISIONS_PER_FETCH: usize = 32;

/// Whether a connection carries the event stream, and so may last.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream(Arc<AtomicBool>);

impl Stream {
    pub(super) fn is_followed(&self) -> bool {
        self.0.load(Relaxed)
    }
}

pub(super) async fn events(
    State(hall): State<Hall>,
    Extension(follows): Extension<Stream>,
) -> Result<Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let Ok(place) = hall.readers.clone().try_acquire_owned() else {
        let text = "too many follow the event stream already";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    follows.0.store(true, Relaxed);
    let reader = (hall.status.news.read(), hall.status.clone(), place);
    let news = stream::unfold(reader, |(mut news, status, place)| async move {
        let (name, data) = match news.recv().await {
            Ok(news) => told(&news, &status),
            Err(RecvError::Lagged(count)) => {
                status.telemetry.on_events_lost(count);
                ("lost", json!({ "count": count }))
            }
            Err(RecvError::Closed) => return None,
        };
        let event = Event::default().event(name).data(data.to_string());
        Some((Ok(event), (news, status, place)))
    });
    debug_assert!(news.size_hint().1.is_none());
    Ok(Sse::new(news).keep_alive(KeepAlive::default()))
}

/// A piece of news by its name, as JSON.
fn told(news: &News, status: &Status) -> (&'static str, Value) {
    let rules = status.rules();
    match news {
        News::Ban(ban) => ("ban", json!(BanView::new(ban, &rules))),
        News::Lift(Lift { id, key, expired, .. }) => {
            let (id, kind) = (id.to_string(), key.kind());
            ("lift", json!({ "id": id, "key": key.text(), "kind": kind, "expired": expired }))
        }
        News::Alert(alert) => ("alert", told_alert(alert, &rules)),
        News::Decision(decision) => ("decision", json!(DecisionView::new(decision, &rules))),
        News::Control(name, value) => (name, value.clone()),
    }
}

fn told_alert(alert: &Alert, rules: &crate::status::Rules) -> Value {
    match alert {
        Alert::Campaign { shape, sources } => {
            json!({ "alert": "campaign", "shape": format!("{shape:016x}"), "sources": sources })
        }
        Alert::CarrierCandidate { source, dialled } => json!({
            "alert": "carrier_candidate",
            "source": source.to_string(),
            "dialled": String::from_utf8_lossy(dialled),
        }),
        Alert::WouldBan(ban) => {
            json!({ "alert": "would_ban", "ban": BanView::new(ban, rules) })
        }
        Alert::Storm => json!({ "alert": "storm" }),
        Alert::Honeytoken { source } => {
            json!({ "alert": "honeytoken", "source": source.to_string() })
        }
        Alert::Demoted { signature } => {
            let signatures = rules.policy.admission.signatures.list();
            let signature = signatures.get(usize::from(*signature));
            json!({ "alert": "demoted", "signature": signature.map(|it| it.id.to_string()) })
        }
        Alert::UnderAttack { began } => json!({ "alert": "under_attack", "began": began }),
    }
}

/// While somebody follows: fetches decisions and sums, and tells them.
pub(super) async fn pump(status: Arc<Status>) {
    let mut every = interval(FETCH_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Vec<u64>> = None;
    loop {
        every.tick().await;
        if status.news.readers() == 0 {
            seen = None;
            continue;
        }
        // A shard that does not answer is told by /healthz.
        let fetched = decisions(&status.desk, seen.take()).await;
        if let Ok((decisions, numbers)) = fetched {
            seen = Some(numbers);
            for decision in decisions {
                status.news.say(|| News::Decision(Box::new(decision)));
            }
        }
        status.news.say(|| News::Control("status", json!(status::view(&status))));
    }
}

/// Of each shard the last decisions since `seen`, the oldest first, and the numbers of the next.
async fn decisions(
    desk: &Desk,
    seen: Option<Vec<u64>>,
) -> Result<(Vec<proxy::Decision>, Vec<u64>), crate::desk::Silent> {
    let mut told = Vec::new();
    let mut numbers = Vec::new();
    for shard in 0..desk.orders().len() {
        let since = seen.as_ref().and_then(|seen| seen.get(shard)).copied().unwrap_or(u64::MAX);
        let look = move |_, engine: &proxy::Engine| {
            let young = engine.decisions(u64::MAX).take_while(|(number, _)| *number >= since);
            let young = young.take(DECISIONS_PER_FETCH).map(|(_, decision)| decision.clone());
            (young.collect::<Vec<_>>(), engine.decisions_made())
        };
        let (young, made) = desk.look(shard, look).await?;
        told.extend(young.into_iter().rev());
        numbers.push(made);
    }
    Ok((told, numbers))
}
