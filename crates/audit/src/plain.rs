//! A fact as a plain line for readers by pattern. Nothing in it was written by a peer or stands in
//! a configuration: addresses, numbers and words of closed lists only, so that no hostile name can
//! make a line say something else.

use crate::caps::Key;
use crate::journal::{Fact, Letter};
use crate::line::{method, origin, verdict};
use admission::{Alert, BanKey, Proof};
use policy::Time;
use std::fmt::Write as _;

/// The whole line, without its end; `None` for what has no address.
pub(crate) fn plain(letter: &Letter, suppressed: u64) -> Option<String> {
    let mut text = match &letter.fact {
        Fact::Event(event) => decision(event),
        Fact::Decision(decision) => self::decision(&decision.event),
        Fact::Evidence(source, record) => format!(
            "evidence source={source} outcome={} method={} proof={}",
            record.outcome.as_str(),
            method(record.method),
            proof(record.proof)
        ),
        Fact::Ban(ban) => {
            let narrowed = if ban.narrowed { "yes" } else { "no" };
            format!(
                "ban {} reason={} proof={} narrowed={narrowed} seconds={} origin={} id={}",
                whom(&ban.key)?,
                ban.reason.as_str(),
                proof(ban.proof),
                ban.until.since(ban.since).as_secs(),
                origin(ban.origin),
                ban.id
            )
        }
        Fact::Lift(lift) => {
            let expired = if lift.expired { "yes" } else { "no" };
            format!("lift {} expired={expired} id={}", whom(&lift.key)?, lift.id)
        }
        Fact::Alert(alert) => match alert {
            Alert::CarrierCandidate { source, .. } | Alert::Honeytoken { source } => {
                format!("alert source={} alert={}", source, alert.as_str())
            }
            _ => return None,
        },
        Fact::Control(..) | Fact::Look => return None,
    };
    if suppressed > 0 {
        // writing to a String does not fail
        let _ = write!(text, " suppressed={suppressed}");
    }
    Some(begun(letter.at, &text))
}

/// What was left out, when nothing more of it comes.
pub(crate) fn left_out(at: Time, key: Key, count: u64) -> String {
    let (field, word) = key.words();
    begun(at, &format!("suppressed {field}={word} count={count}"))
}

fn begun(at: Time, text: &str) -> String {
    format!("{} ringfence: {text}", at.utc_millis())
}

fn decision(event: &proxy::Event) -> String {
    let (verdict, status) = verdict(event.verdict);
    let grounds = event.grounds.as_ref();
    let mut text = format!(
        "{verdict} source={} reason={} method={} transport={} proof={}",
        event.flow.remote.ip(),
        event.reason.as_str(),
        method(event.method),
        event.flow.transport.as_param(),
        proof(grounds.and_then(|it| it.proof))
    );
    if let Some(status) = status {
        let _ = write!(text, " status={status}");
    }
    text
}

fn whom(key: &BanKey) -> Option<String> {
    Some(format!("source={} kind={}", key.place()?, key.kind()))
}

fn proof(proof: Option<Proof>) -> &'static str {
    proof.map_or("none", Proof::as_str)
}
