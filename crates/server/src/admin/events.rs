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
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

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
    let follower = Follower::new(hall.status.clone(), place);
    let news = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    debug_assert!(news.size_hint().1.is_none());
    Ok(Sse::new(news).keep_alive(KeepAlive::default()))
}

/// Somebody who follows: is told news as they come, and once a second sums and decisions, first of
/// all the last ones before he came.
struct Follower {
    news: Receiver<Arc<News>>,
    status: Arc<Status>,
    every: Interval,
    /// The number of each shard's next decision; none before the first fetch.
    seen: Vec<u64>,
    /// What was fetched and is not told yet.
    fetched: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn new(status: Arc<Status>, place: OwnedSemaphorePermit) -> Self {
        let mut every = interval(FETCH_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (news, seen, fetched) = (status.news.read(), Vec::new(), VecDeque::new());
        Follower { news, status, every, seen, fetched, _place: place }
    }

    /// The next event; `None` when the edge ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                return Some(event);
            }
            let (name, data) = tokio::select! {
                _ = self.every.tick() => {
                    self.fetch().await;
                    continue;
                }
                news = self.news.recv() => match news {
                    Ok(news) => told(&news, &self.status),
                    Err(RecvError::Lagged(count)) => {
                        self.status.telemetry.on_events_lost(count);
                        ("lost", json!({ "count": count }))
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            return Some(event(name, &data));
        }
    }

    /// Sums, and the decisions since the last time, the oldest first.
    async fn fetch(&mut self) {
        // A shard that does not answer is told by /healthz.
        if let Ok((decisions, numbers)) = decisions(&self.status.desk, &self.seen).await {
            self.seen = numbers;
            let rules = self.status.rules();
            self.fetched.extend(decisions.iter().map(|(id, decision)| {
                event("decision", &json!(DecisionView::new(decision, &rules))).id(id)
            }));
        }
        self.fetched.push_back(event("status", &json!(status::view(&self.status))));
    }
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
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

/// Of each shard the last decisions from those numbers on, each with its shard's and its own number,
/// the oldest first; and the numbers of the next.
async fn decisions(
    desk: &Desk,
    seen: &[u64],
) -> Result<(Vec<(String, proxy::Decision)>, Vec<u64>), crate::desk::Silent> {
    let mut told = Vec::new();
    let mut numbers = Vec::new();
    for shard in 0..desk.orders().len() {
        let since = seen.get(shard).copied().unwrap_or(0);
        let look = move |_, engine: &proxy::Engine| {
            let young = engine.decisions(u64::MAX).take_while(|(number, _)| *number >= since);
            let young = young.take(DECISIONS_PER_FETCH);
            let young = young.map(|(number, decision)| (number, decision.clone()));
            (young.collect::<Vec<_>>(), engine.decisions_made())
        };
        let (young, made) = desk.look(shard, look).await?;
        told.extend(young.into_iter().map(|(number, it)| (format!("{shard}-{number}"), it)));
        numbers.push(made);
    }
    told.sort_by_key(|(_, decision)| decision.at);
    Ok((told, numbers))
}
