//! The control thread: what operators say by signals, and what the service manager is told.

use crate::admin::Status;
use crate::cli::Exit;
use crate::kernel::KernelControl;
use crate::mesh::Order;
use crate::names::Watched;
use crate::reload::merge;
use crate::run::Failure;
use crate::sockets::Tls;
use config::{Config, Loaded, Severity};
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use telemetry::Reload;
use telemetry::log::LogLevel;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

/// How often shards are asked whether they live, when no watchdog wants it more often.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How long a shard may take to answer an order.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a drain looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What the control thread holds.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) file: PathBuf,
    pub(crate) config: Config,
    pub(crate) level: LogLevel,
    pub(crate) tls: Tls,
    pub(crate) orders: Vec<mpsc::Sender<Order>>,
    pub(crate) status: Arc<Status>,
    pub(crate) kernel: KernelControl,
    /// The names that are to be kept resolved.
    pub(crate) watched: watch::Sender<Watched>,
}

/// The signals that end the edge.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        Ok(Ends {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the word to end.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Control {
    /// Governs the shards until a signal ends them.
    ///
    /// # Errors
    /// When a shard cannot start, or ends by itself.
    pub(crate) async fn govern(
        mut self,
        mut readiness: mpsc::Receiver<std::io::Result<()>>,
    ) -> Result<(), Failure> {
        let broken = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("signals cannot be listened to: {error}"))
        };
        let mut ends = Ends::new().map_err(broken)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
        self.await_shards(&mut readiness).await?;
        // not before: the helper's first list must hold what the shards began with
        self.kernel.start(&self.status.telemetry);
        self.status.ready.store(true, Relaxed);
        info!(shards = self.config.shards, "Ready");
        tell_manager(&[NotifyState::Ready]);
        let (mut beat, watchdog) = beats();
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload().await,
                () = ends.recv() => {
                    self.drain(&mut ends).await;
                    return Ok(());
                }
                _ = beat.tick() => self.beat(watchdog).await?,
            }
        }
    }

    async fn await_shards(
        &self,
        readiness: &mut mpsc::Receiver<std::io::Result<()>>,
    ) -> Result<(), Failure> {
        for _ in 0..self.config.shards {
            match readiness.recv().await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    return Err(Failure::new(Exit::Bind, format!("a shard cannot start: {error}")));
                }
                None => return Err(Failure::new(Exit::Failed, "a shard ended while starting")),
            }
        }
        Ok(())
    }

    /// Asks every shard whether it lives, and tells the watchdog when all do.
    async fn beat(&mut self, watchdog: bool) -> Result<(), Failure> {
        let mut answers = Vec::new();
        for orders in &self.orders {
            let (answer, answered) = oneshot::channel();
            match orders.try_send(Order::Beat(answer)) {
                Ok(()) => answers.push(answered),
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(Failure::new(Exit::Failed, "a shard has ended: see above"));
                }
            }
        }
        let mut alive = answers.len() == self.orders.len();
        for answer in answers {
            alive &= timeout(BEAT_EVERY, answer).await.is_ok_and(|answer| answer.is_ok());
        }
        if alive != self.status.alive.swap(alive, Relaxed) {
            if alive {
                info!("All shards answer again");
            } else {
                error!("A shard does not answer");
            }
        }
        if alive && watchdog {
            tell_manager(&[NotifyState::Watchdog]);
        }
        Ok(())
    }

    /// Reads the configuration again. A file with errors changes nothing.
    async fn reload(&mut self) {
        info!(config = %self.file.display(), "Reloading");
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell_manager(&[NotifyState::Reloading, now]),
            Err(_) => tell_manager(&[NotifyState::Reloading]),
        }
        let result = self.apply().await;
        let pbxs = self.config.policy.pbx.len();
        match result {
            Ok(()) => self.status.telemetry.on_reload(Reload::Applied, pbxs),
            Err(text) => {
                error!("Reload refused, the old configuration stays:\n{text}");
                self.status.telemetry.on_reload(Reload::Refused, pbxs);
            }
        }
        tell_manager(&[NotifyState::Ready]);
    }

    async fn apply(&mut self) -> Result<(), String> {
        let Loaded { config, warnings, .. } =
            config::load(&self.file).map_err(|invalid| invalid.to_string())?;
        for warning in warnings.iter().filter(|problem| problem.severity == Severity::Warning) {
            warn!("{warning}");
        }
        let (config, changes) = merge(&self.config, config);
        let certificates = self.tls.reload(&config).map_err(|error| error.to_string())?;
        self.level.set(&config.log.level).map_err(|error| error.to_string())?;
        self.kernel.configure(&config.policy);
        let policy = Arc::new(config.policy.clone());
        for orders in &self.orders {
            let order = Order::Configure(policy.clone());
            if timeout(ORDER_PATIENCE, orders.send(order)).await.is_err() {
                error!("A shard does not take its new configuration");
            }
        }
        self.watched.send_if_modified(|watched| {
            let new = Watched::of(&config);
            let differs = *watched != new;
            *watched = new;
            differs
        });
        for change in changes.iter().filter(|change| !change.needs_restart) {
            info!("Changed {change}");
        }
        for change in changes.iter().filter(|change| change.needs_restart) {
            info!("Needs a restart: {change}");
        }
        let version = config.policy.version;
        info!(policy = version, changes = changes.len(), certificates, "Reloaded");
        self.config = config;
        Ok(())
    }

    /// Takes nothing new, waits for what is in passage, then stops the shards.
    async fn drain(&mut self, ends: &mut Ends) {
        let patience = self.config.drain_timeout;
        info!(timeout = ?patience, "Draining; a second signal ends at once");
        tell_manager(&[NotifyState::Stopping]);
        self.status.draining.store(true, Relaxed);
        let end = tokio::select! {
            () = ends.recv() => {
                info!("A second signal: ending at once");
                return;
            }
            drained = timeout(patience, self.drained()) => drained,
        };
        match end {
            Ok(()) => info!("Nothing is in passage any more"),
            Err(_) => {
                let unanswered = self.unanswered();
                warn!(unanswered, "The drain timeout ends what is still in passage");
            }
        }
        self.stop().await;
    }

    /// Orders the shards to end and waits until they have.
    async fn stop(&self) {
        for orders in &self.orders {
            // One that has ended already needs no order.
            let _ = timeout(ORDER_PATIENCE, orders.send(Order::Stop)).await;
        }
        for orders in &self.orders {
            if timeout(ORDER_PATIENCE, orders.closed()).await.is_err() {
                error!("A shard does not end");
            }
        }
    }

    async fn drained(&self) {
        let mut answers = Vec::new();
        for orders in &self.orders {
            let (done, answer) = oneshot::channel();
            if orders.send(Order::Drain(done)).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            // A shard that is gone has nothing in passage.
            let _ = answer.await;
        }
        self.status.telemetry.on_drain();
        while self.unanswered() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    fn unanswered(&self) -> u64 {
        self.status.telemetry.shards().iter().map(|shard| shard.unanswered()).sum()
    }
}

/// When to ask the shards, and whether a watchdog wants to know.
fn beats() -> (Interval, bool) {
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(BEAT_EVERY, |limit| (limit / 3).min(BEAT_EVERY));
    let mut interval = interval(every.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    (interval, watchdog.is_some())
}

/// Tells systemd, when it is there.
fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "The service manager cannot be told");
    }
}
