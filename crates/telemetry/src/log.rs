//! Logs, and their law:
//!
//! - ERROR: the edge, or a part of it, does not work. WARN: worth waking someone. INFO: what an
//!   operator did or will want to have seen: start, stop, reload, drain. DEBUG: for who looks for
//!   a fault. TRACE: per datagram and per stimulus, nowhere else.
//! - No address of a peer, AOR, Call-ID or bytes of a message above DEBUG, with two exceptions: a
//!   ban, its end and an alert name whom they are about, because no ban may be silent; and what a
//!   name of the configuration came to stand for is told, because nothing bans it. Our own
//!   listeners and the PBX may be named. Who wants to know about a source asks the metrics or,
//!   later, the audit stream.
//! - Nothing that a peer can cause is logged once per occurrence above DEBUG: it is counted. Bans
//!   need proof, and each lasts longer than the one before.
//! - A line says what happened, then the values as fields; it starts with a capital and has no
//!   full stop.

use admission::{Alert, Ban, BanKey, Lift, Proof};
use policy::Policy;
use std::io::IsTerminal;
use std::net::IpAddr;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Sets the level while the process runs.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Why logging could not be set up or changed.
#[derive(Debug)]
pub struct LogError(String);

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "logging: {}", self.0)
    }
}

impl std::error::Error for LogError {}

/// Starts logging to standard error: JSON lines, or text with colours when a terminal reads it.
/// `level` is a level, or a filter like `info,transport=debug`.
///
/// # Errors
/// When `level` is neither, or logging was started before.
pub fn start(json: bool, level: &str) -> Result<LogLevel, LogError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        let terminal = std::io::stderr().is_terminal();
        registry.with(layer.with_ansi(terminal).with_target(false)).try_init()
    };
    started.map_err(|error| LogError(error.to_string()))?;
    Ok(LogLevel(handle))
}

impl LogLevel {
    /// Logs from now on what `level` lets through.
    ///
    /// # Errors
    /// When `level` is no level and no filter.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        self.0.reload(filter(level)?).map_err(|error| LogError(error.to_string()))
    }
}

/// Logs that a name of the configuration stands for other addresses than before.
pub fn name_changed(host: &str, joined: &[IpAddr], left: &[IpAddr]) {
    tracing::info!(host, ?joined, ?left, "A name's addresses changed");
}

/// Logs what a name that has not been answered yet stood for in an earlier life.
pub fn name_recalled(host: &str, addresses: &[IpAddr]) {
    tracing::info!(host, ?addresses, "A name's addresses are recalled");
}

/// Logs that a name cannot be asked about from now on, or can again.
pub fn name_state(host: &str, failure: Option<&str>) {
    match failure {
        Some(failure) => tracing::warn!(host, failure, "A name cannot be resolved"),
        None => tracing::info!(host, "A name is resolved again"),
    }
}

/// Logs a ban with what explains it.
pub fn ban(ban: &Ban) {
    said(ban, "Banned");
}

/// The line of a ban: one each, with all its fields.
fn said(ban: &Ban, what: &'static str) {
    let Ban { id, why, narrowed, policy_version, score, origin, evidence, .. } = ban;
    tracing::info!(
        %id,
        kind = ban.key.kind(),
        key = key(&ban.key),
        // an operator's own words, too: quoted, so that no character of theirs acts on a terminal
        why = &**why,
        reason = ban.reason.as_str(),
        proof = ban.proof.map_or("none", Proof::as_str),
        score,
        evidence = evidence.len(),
        narrowed,
        seconds = ban.until.since(ban.since).as_secs(),
        until = %ban.until,
        ?origin,
        policy = policy_version,
        "{what}"
    );
}

/// Logs the end of a ban.
pub fn lift(lift: &Lift) {
    let Lift { id, expired, .. } = lift;
    tracing::info!(%id, kind = lift.key.kind(), key = key(&lift.key), expired, "Ban lifted");
}

/// Logs what somebody should know. Signatures have the names that `policy` gives them.
pub fn alert(alert: &Alert, policy: &Policy) {
    match alert {
        Alert::Campaign { shape, sources } => {
            tracing::warn!(shape = format!("{shape:016x}"), sources, "Campaign found");
        }
        Alert::CarrierCandidate { source, dialled } => tracing::warn!(
            %source,
            dialled = %dialled.escape_ascii(),
            "An unknown source calls one of our numbers: a carrier that moved?"
        ),
        Alert::WouldBan(ban) => said(ban, "Would have banned, but only observes"),
        Alert::Storm => tracing::info!("Known phones come back all at once"),
        Alert::Honeytoken { source } => {
            tracing::warn!(%source, "A proven source asked for what never existed");
        }
        Alert::Demoted { signature } => {
            let signatures = policy.admission.signatures.list();
            let signature = signatures.get(usize::from(*signature));
            tracing::warn!(
                signature = signature.map_or("?", |signature| &signature.id),
                "Signature met somebody authenticated, and is only counted from now on"
            );
        }
        Alert::UnderAttack { began: true } => {
            tracing::warn!("Too many unproven challenges are open: strangers are challenged first");
        }
        Alert::UnderAttack { began: false } => tracing::info!("Attack is over"),
    }
}

/// What is banned, in one word.
fn key(key: &BanKey) -> String {
    match key {
        BanKey::AorFlow { aor, flow } => format!("{aor:016x} by {flow}"),
        BanKey::AorSource { aor, source } => format!("{aor:016x} at {source}"),
        BanKey::Source(network) | BanKey::Network(network) => network.to_string(),
        BanKey::Campaign(shape) => format!("{shape:016x}"),
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|error| LogError(error.to_string()))
}
