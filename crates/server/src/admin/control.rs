//! What only the control thread can do: reload, let everything pass, drain.

use super::views::moment;
use super::{Hall, Refusal};
use crate::control::Command;
use crate::reloads::ReloadView;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long everything passes where nothing is said, and at most.
const PANIC: Duration = Duration::from_secs(600);
const PANIC_MAX: Duration = Duration::from_secs(86_400);

/// Asks the control thread.
async fn ask<T>(
    hall: &Hall,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Refusal> {
    if hall.status.draining.load(Relaxed) {
        return Err(Refusal::new(StatusCode::CONFLICT, "the edge drains and will end"));
    }
    let busy = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait already");
    let (answer, answered) = oneshot::channel();
    hall.commands.try_send(command(answer)).map_err(|_| busy())?;
    answered.await.map_err(|_| Refusal::new(StatusCode::CONFLICT, "the edge ends"))
}

/// A refused reload is the file's fault: 422, with the same record as one that was applied.
pub(super) async fn reload(
    State(hall): State<Hall>,
) -> Result<(StatusCode, Json<ReloadView>), Refusal> {
    let record = ask(&hall, Command::Reload).await?;
    let code = match record.result.as_str() {
        "applied" => StatusCode::OK,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok((code, Json(record)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(rename = "for")]
    length: Option<String>,
}

/// Until when everything passes.
#[derive(Debug, Serialize)]
pub(super) struct PanicView {
    panic_open_until: Option<String>,
}

pub(super) async fn panic_open(
    State(hall): State<Hall>,
    body: Bytes,
) -> Result<Json<PanicView>, Refusal> {
    let wish = match body.is_empty() {
        true => Wish::default(),
        false => serde_json::from_slice(&body).map_err(|error| {
            Refusal::wrong(format!("the body is not understood: {error}")).hint(r#"{"for":"10m"}"#)
        })?,
    };
    let length = match wish.length.as_deref() {
        None => PANIC,
        // the end of it
        Some("0" | "0s") => Duration::ZERO,
        Some(text) => config::duration(text).map_err(Refusal::wrong)?,
    };
    if length > PANIC_MAX {
        let hint = "mode: observe in the policy lets everything pass for longer";
        return Err(Refusal::wrong("at most a day").hint(hint));
    }
    let until = ask(&hall, |answer| Command::PanicOpen(length, answer)).await?;
    Ok(Json(PanicView { panic_open_until: moment(until) }))
}

/// What a drain began with.
#[derive(Debug, Serialize)]
pub(super) struct DrainView {
    draining: bool,
    /// Requests in passage that have no final response yet.
    unanswered: u64,
}

pub(super) async fn drain(State(hall): State<Hall>) -> Result<Json<DrainView>, Refusal> {
    ask(&hall, Command::Drain).await?;
    let unanswered = hall.status.telemetry.shards().iter().map(|shard| shard.unanswered()).sum();
    Ok(Json(DrainView { draining: true, unanswered }))
}
