//! The control thread: what operators say by signals and by the admin API, and what the service
//! manager is told.

use crate::admin::{Token, open_token};
use crate::cli::Exit;
use crate::clock::Clock;
use crate::heap::Heap;
use crate::kernel::KernelControl;
use crate::mesh::Order;
use crate::names::Watched;
use crate::news::News;
use crate::reload::{Change, merge};
use crate::reloads::{self, Cause, Prepared, ReloadView};
use crate::run::Failure;
use crate::sockets::{Tls, inside_listeners, needs_inside_listeners};
use crate::status::Status;
use crate::watch::{Seen, Watch};
use config::{Config, Loaded};
use policy::{Mode, Policy, Time};
use sd_notify::NotifyState;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use telemetry::Reload;
use telemetry::log::LogLevel;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};
use transport::InsideListener;

/// How often shards are asked whether they live, when no watchdog wants it more often.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How long a shard may take to answer an order.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// Commands of the admin API that may wait.
pub(crate) const COMMANDS: usize = 16;
/// How often it is said that everything passes.
const PANIC_REMINDER: Duration = Duration::from_secs(60);
/// How often a drain looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What the admin API asks the control thread for, with the place for its answer.
#[derive(Debug)]
pub(crate) enum Command {
    Reload(oneshot::Sender<ReloadView>),
    /// Let everything pass for so long; not at all ends it.
    PanicOpen(Duration, oneshot::Sender<Option<Time>>),
    Drain(oneshot::Sender<()>),
}

/// What the control thread holds.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) file: PathBuf,
    pub(crate) config: Config,
    pub(crate) level: LogLevel,
    pub(crate) tls: Tls,
    /// Whether PBXs that speak TCP can open connections to the shards: once they could, they can.
    pub(crate) listens_inside: bool,
    pub(crate) clock: Clock,
    pub(crate) status: Arc<Status>,
    pub(crate) kernel: KernelControl,
    pub(crate) heap: Heap,
    /// The names that are to be kept resolved.
    pub(crate) watched: watch::Sender<Watched>,
    pub(crate) token: Arc<Mutex<Option<Token>>>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) reloading: Reloading,
    pub(crate) watch: Watch,
    /// The files that the configuration consists of.
    pub(crate) files: Vec<PathBuf>,
}

/// Reloads under way and wanted.
#[derive(Debug, Default)]
pub(crate) struct Reloading {
    /// The one that is being prepared.
    running: Option<(JoinHandle<Option<Prepared>>, Wanted)>,
    /// Wanted meanwhile: what is being read may be older than that.
    again: Option<Wanted>,
}

/// Why a reload is wanted, and who waits for it.
#[derive(Debug)]
struct Wanted {
    cause: Cause,
    waiting: Vec<oneshot::Sender<ReloadView>>,
}

impl Reloading {
    /// Waits until the one that runs is prepared; for ever when none runs.
    async fn prepared(&mut self) -> Option<Prepared> {
        match &mut self.running {
            Some((task, _)) => task.await.ok().flatten(),
            None => std::future::pending().await,
        }
    }
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
        self.watch_for(Seen::of(self.files.clone()));
        // not before: the helper's first list must hold what the shards began with
        self.kernel.start(&self.status.telemetry);
        self.status.ready.store(true, Relaxed);
        info!(shards = self.config.shards, "Ready");
        tell_manager(&[NotifyState::Ready]);
        let (mut beat, watchdog) = beats();
        let mut reminder = Time::FOREVER;
        loop {
            let alarm =
                self.clock.instant(self.panic_until().unwrap_or(Time::FOREVER).min(reminder));
            tokio::select! {
                _ = hangup.recv() => self.reload(Cause::Signal, None),
                () = self.watch.changed() => self.reload(Cause::File, None),
                prepared = self.reloading.prepared() => self.on_prepared(prepared).await,
                () = tokio::time::sleep_until(alarm) => reminder = self.on_panic_alarm().await,
                Some(command) = self.commands.recv() => match command {
                    Command::Reload(answer) => self.reload(Cause::Api, Some(answer)),
                    Command::PanicOpen(length, answer) => {
                        reminder = self.panic_open(length).await;
                        let _ = answer.send(self.panic_until());
                    }
                    Command::Drain(answer) => {
                        info!("An operator drains");
                        self.status.draining.store(true, Relaxed);
                        let _ = answer.send(());
                        self.drain(&mut ends).await;
                        return Ok(());
                    }
                },
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
        for orders in self.orders() {
            let (answer, answered) = oneshot::channel();
            match orders.try_send(Order::Beat(answer)) {
                Ok(()) => answers.push(answered),
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(Failure::new(Exit::Failed, "a shard has ended: see above"));
                }
            }
        }
        let mut alive = answers.len() == self.orders().len();
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
        let shards = self.status.telemetry.shards();
        self.heap.on_held(shards.iter().map(|shard| shard.exchanges()).sum());
        if alive && watchdog {
            tell_manager(&[NotifyState::Watchdog]);
        }
        Ok(())
    }

    fn orders(&self) -> &[mpsc::Sender<Order>] {
        self.status.desk.orders()
    }

    /// Begins to read the configuration again; one that is being read is finished first.
    fn reload(&mut self, cause: Cause, answer: Option<oneshot::Sender<ReloadView>>) {
        if self.reloading.running.is_some() {
            let again = || Wanted { cause, waiting: Vec::new() };
            self.reloading.again.get_or_insert_with(again).waiting.extend(answer);
            return;
        }
        self.prepare(Wanted { cause, waiting: answer.into_iter().collect() });
    }

    fn prepare(&mut self, wanted: Wanted) {
        info!(config = %self.file.display(), cause = wanted.cause.as_str(), "Reloading");
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell_manager(&[NotifyState::Reloading, now]),
            Err(_) => tell_manager(&[NotifyState::Reloading]),
        }
        let (file, known) = (self.file.clone(), self.files.clone());
        let (policy, desk) = (self.status.rules().policy.clone(), self.status.desk.clone());
        let task = tokio::spawn(reloads::prepare_and_try(file, known, policy, desk));
        self.reloading.running = Some((task, wanted));
    }

    /// Puts what was read to use. A file with errors changes nothing.
    async fn on_prepared(&mut self, prepared: Option<Prepared>) {
        let Some((_, wanted)) = self.reloading.running.take() else { return };
        let Wanted { cause, waiting } = wanted;
        if let Some(prepared) = prepared {
            let ended = self.apply(&prepared).await;
            self.files = prepared.seen.files();
            self.watch_for(prepared.seen.clone());
            let pbxs = &self.config.policy.pbx;
            match &ended {
                Ok(_) => self.status.telemetry.on_reload(Reload::Applied, pbxs),
                Err(text) => {
                    error!("Reload refused, the old configuration stays:\n{text}");
                    self.status.telemetry.on_reload(Reload::Refused, pbxs);
                }
            }
            let when = (self.clock.now(), cause);
            let record = prepared.record(when, self.config.policy.version, &ended);
            self.status.news.say(|| News::Control("reload", json!(record)));
            self.status.note("reload", record.in_short());
            self.status.rules().record(record.clone());
            for answer in waiting {
                // Who asked may have gone.
                let _ = answer.send(record.clone());
            }
        } else {
            error!("Reading the configuration failed; the old one stays");
        }
        tell_manager(&[NotifyState::Ready]);
        if let Some(wanted) = self.reloading.again.take() {
            self.prepare(wanted);
        }
    }

    async fn apply(&mut self, prepared: &Prepared) -> Result<Vec<Change>, String> {
        if let Some(objection) = prepared.objection(&self.file) {
            return Err(objection);
        }
        let Some(Loaded { config, .. }) = prepared.loaded.clone() else { return Ok(Vec::new()) };
        for warning in prepared.warnings() {
            warn!("{warning}");
        }
        let (config, changes) = merge(&self.config, config);
        let token = token(&config)?;
        let listeners = match needs_inside_listeners(&config) && !self.listens_inside {
            true => inside_listeners(&config).map_err(|error| error.to_string())?,
            false => Vec::new(),
        };
        let certificates = self.tls.reload(&config).map_err(|error| error.to_string())?;
        self.level.set(&config.log.level).map_err(|error| error.to_string())?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        self.config = config;
        let policy = Arc::new(self.config.policy.clone());
        self.status.rules().take(policy);
        self.status.reports.configure(&self.config);
        self.listen_inside(listeners).await;
        self.configure().await;
        self.status.feeds.configure(&self.config);
        self.watched.send_if_modified(|watched| {
            let new = Watched::of(&self.config);
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
        let version = self.config.policy.version;
        info!(policy = version, changes = changes.len(), certificates, "Reloaded");
        if let Some(again) = prepared.again() {
            info!("{}", again.text(false));
        }
        Ok(changes)
    }

    /// Gives the shards what PBXs open connections to; nothing when they have it.
    async fn listen_inside(&mut self, listeners: Vec<InsideListener>) {
        self.listens_inside |= !listeners.is_empty();
        for (orders, listener) in self.orders().iter().zip(listeners) {
            // One that has ended is noticed by the beat.
            let _ = timeout(ORDER_PATIENCE, orders.send(Order::ListenInside(listener))).await;
        }
    }

    /// Gives the shards their rules: the configuration's, or while everything passes those that
    /// only observe.
    async fn configure(&self) {
        let policy = {
            let rules = self.status.rules();
            match rules.panic_until {
                None => rules.policy.clone(),
                Some(_) => {
                    let mut policy = Policy::clone(&rules.policy);
                    policy.admission.mode = Mode::Observe;
                    Arc::new(policy)
                }
            }
        };
        self.kernel.configure(&policy);
        for orders in self.orders() {
            let order = Order::Configure(policy.clone());
            // One that has ended is noticed by the beat.
            let _ = timeout(ORDER_PATIENCE, orders.send(order)).await;
        }
        // who is told of it may rely on it
        if self.status.desk.look_all(|_, _| ()).await.is_err() {
            error!("A shard does not take its new configuration");
        }
    }

    /// Waits for files to be otherwise than `seen`, if the configuration wants that.
    fn watch_for(&mut self, seen: Seen) {
        self.watch.follow(if self.config.watch { seen } else { Seen::default() });
    }

    fn panic_until(&self) -> Option<Time> {
        self.status.rules().panic_until
    }

    /// Lets everything pass for so long, or no more. When to remind of it.
    async fn panic_open(&mut self, length: Duration) -> Time {
        let until = (!length.is_zero()).then(|| self.clock.now() + length);
        let was = std::mem::replace(&mut self.status.rules().panic_until, until);
        self.status.telemetry.on_panic_open(until.is_some());
        self.configure().await;
        let told = super::admin::views::moment(until);
        let news = json!({ "panic_open_until": told });
        self.status.note("panic_open", news.clone());
        self.status.news.say(|| News::Control("panic_open", news));
        match until {
            Some(_) => self.remind(),
            None if was.is_some() => {
                info!("Everything is judged again");
                Time::FOREVER
            }
            None => Time::FOREVER,
        }
    }

    /// Everything passes no more, or it is time to remind of it.
    async fn on_panic_alarm(&mut self) -> Time {
        match self.panic_until() {
            Some(until) if until > self.clock.now() => self.remind(),
            Some(_) => self.panic_open(Duration::ZERO).await,
            None => Time::FOREVER,
        }
    }

    fn remind(&self) -> Time {
        if let Some(until) = self.panic_until() {
            warn!(
                until = until.utc(),
                "PANIC OPEN: everything passes, nothing is refused or banned"
            );
        }
        self.clock.now() + PANIC_REMINDER
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
                let unanswered = self.awaited();
                warn!(unanswered, "The drain timeout ends what is still in passage");
            }
        }
        self.stop().await;
    }

    /// Orders the shards to end and waits until they have.
    async fn stop(&self) {
        for orders in self.orders() {
            // One that has ended already needs no order.
            let _ = timeout(ORDER_PATIENCE, orders.send(Order::Stop)).await;
        }
        for orders in self.orders() {
            if timeout(ORDER_PATIENCE, orders.closed()).await.is_err() {
                error!("A shard does not end");
            }
        }
    }

    async fn drained(&self) {
        let mut answers = Vec::new();
        for orders in self.orders() {
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
        // what strangers sent without credentials may be cut off: it would hold up the others
        while self.awaited() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    fn awaited(&self) -> u64 {
        self.status.telemetry.shards().iter().map(|shard| shard.awaited()).sum()
    }
}

/// The token that the configuration names.
pub(crate) fn token(config: &Config) -> Result<Option<Token>, String> {
    let file = config.admin.as_ref().and_then(|admin| admin.token_file.as_ref());
    let token = file.map(|file| open_token(file)).transpose();
    token.map_err(|text| format!("admin.token_file: {text}"))
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
