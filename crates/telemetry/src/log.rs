//! Logs, and their law:
//!
//! - ERROR: the edge, or a part of it, does not work. WARN: worth waking someone. INFO: what an
//!   operator did or will want to have seen: start, stop, reload, drain. DEBUG: for who looks for
//!   a fault. TRACE: per datagram and per stimulus, nowhere else.
//! - No address of a peer, AOR, Call-ID or bytes of a message above DEBUG. Our own listeners and
//!   the PBX may be named. Who wants to know about a source asks the metrics or, later, the audit
//!   stream.
//! - Nothing that a peer can cause is logged once per occurrence above DEBUG: it is counted.
//! - A line says what happened, then the values as fields; it starts with a capital and has no
//!   full stop.

use std::io::IsTerminal;
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

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|error| LogError(error.to_string()))
}
