//! The thread that fetches, and what it hands out.

use crate::fetch::{self, BATCHES_AGAIN, Failure, Fetched};
use crate::kept::{self, Last};
use crate::list::Refused;
use crate::{Format, Settings};
use policy::{Network, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tracing::{info, warn};
use ureq::Agent;

/// The pause after a first failure; each next is twice as long, up to what the feed's `every` is.
const PAUSE_FIRST: Duration = Duration::from_secs(30);
/// How often it is looked for entries that have lived long enough.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Orders that may wait.
const ORDERS: usize = 64;

/// All feeds as they are now.
pub type Snapshot = Vec<View>;

/// One feed as it is now.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: Box<str>,
    /// What it lists, sorted, and until when.
    pub entries: Arc<[(Network, Time)]>,
    /// When the last of them has lived long enough.
    pub until: Time,
    /// When it was fetched with success last, a list that was as before included.
    pub fetched: Option<Time>,
    /// When it is fetched next.
    pub due: Time,
    /// Fetches that failed since.
    pub failures: u32,
    /// Why the last one did.
    pub error: Option<String>,
    /// What of the list was not taken.
    pub refused: Refused,
    /// Fetches in this life: fresh, unchanged, failed.
    pub fetches: [u64; 3],
}

/// The thread's other end; it ends when this does.
#[derive(Clone, Debug)]
pub struct Fetcher {
    orders: SyncSender<Order>,
}

#[derive(Debug)]
enum Order {
    Configure(Vec<Settings>),
    Refresh(Option<Box<str>>),
}

/// Clock and ear of the thread.
type Clock = Box<dyn Fn() -> Time + Send>;
type Ear = Box<dyn Fn(Snapshot) + Send>;

impl Fetcher {
    /// Starts the thread, which keeps its lists in `directory`. `clock` says what time it is, `ear`
    /// hears each change; `seed` makes the moments of fetches differ from those of other edges.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        directory: PathBuf,
        seed: [u8; 32],
        clock: impl Fn() -> Time + Send + 'static,
        ear: impl Fn(Snapshot) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(ORDERS);
        let desk = Desk {
            directory,
            agent: fetch::agent(),
            clock: Box::new(clock),
            ear: Box::new(ear),
            rng: ChaCha8Rng::from_seed(seed),
            feeds: Vec::new(),
        };
        std::thread::Builder::new().name("feeds".into()).spawn(move || desk.run(&inbox))?;
        Ok(Fetcher { orders })
    }

    /// The feeds there are from now on. What is known of those that stay stays.
    pub fn configure(&self, feeds: Vec<Settings>) {
        self.order(Order::Configure(feeds));
    }

    /// Fetches a feed, or all, now. `false` when too many orders wait.
    pub fn refresh(&self, name: Option<&str>) -> bool {
        self.order(Order::Refresh(name.map(Box::from)))
    }

    fn order(&self, order: Order) -> bool {
        match self.orders.try_send(order) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

struct Feed {
    settings: Settings,
    last: Last,
    due: Time,
    failures: u32,
    error: Option<String>,
    fetches: [u64; 3],
    entries: Arc<[(Network, Time)]>,
}

impl Feed {
    fn new(settings: Settings, last: Last, due: Time) -> Self {
        let mut feed = Feed {
            settings,
            last,
            due,
            failures: 0,
            error: None,
            fetches: [0; 3],
            entries: Arc::new([]),
        };
        feed.list();
        feed
    }

    fn list(&mut self) {
        self.entries = self.last.list.entries().iter().map(|(it, until)| (*it, *until)).collect();
    }

    fn view(&self) -> View {
        View {
            name: self.settings.name.clone(),
            entries: self.entries.clone(),
            until: self.entries.iter().map(|(_, until)| *until).max().unwrap_or(Time::ZERO),
            fetched: self.last.fetched,
            due: self.due,
            failures: self.failures,
            error: self.error.clone(),
            refused: self.last.list.refused(),
            fetches: self.fetches,
        }
    }
}

struct Desk {
    directory: PathBuf,
    agent: Agent,
    clock: Clock,
    ear: Ear,
    rng: ChaCha8Rng,
    feeds: Vec<Feed>,
}

impl Desk {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let now = (self.clock)();
            let due = self.feeds.iter().map(|feed| feed.due).min().unwrap_or(Time::FOREVER);
            let wait = due.since(now).min(SWEEP_EVERY);
            match inbox.recv_timeout(wait) {
                Ok(order) => self.on_order(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.sweep();
            let now = (self.clock)();
            if let Some(at) = (0..self.feeds.len()).find(|at| self.feeds[*at].due <= now) {
                self.fetch(at);
                self.tell();
            }
        }
    }

    fn tell(&self) {
        (self.ear)(self.feeds.iter().map(Feed::view).collect());
    }

    fn on_order(&mut self, order: Order) {
        let now = (self.clock)();
        match order {
            Order::Configure(all) => {
                let mut old = std::mem::take(&mut self.feeds);
                for settings in all {
                    let known = old.iter().position(|feed| feed.settings == settings);
                    match known {
                        Some(at) => self.feeds.push(old.swap_remove(at)),
                        None => self.feeds.push(self.recalled(settings, now)),
                    }
                }
                self.tell();
            }
            Order::Refresh(name) => {
                let meant =
                    |feed: &&mut Feed| name.as_ref().is_none_or(|name| feed.settings.name == *name);
                self.feeds.iter_mut().filter(meant).for_each(|feed| feed.due = now);
            }
        }
    }

    /// A feed as an earlier life, or another configuration, left it.
    fn recalled(&self, settings: Settings, now: Time) -> Feed {
        let mut last = kept::read(&self.directory, &settings, now).unwrap_or_default();
        if settings.format == Format::Crowdsec {
            // what changed meanwhile is told to nobody: all is asked for
            last.mark.next = None;
        }
        if let Some(fetched) = last.fetched {
            let (feed, entries) = (&settings.name, last.list.entries().len());
            info!(%feed, entries, since = %fetched.utc(), "The last good list of a feed");
        }
        Feed::new(settings, last, now)
    }

    fn sweep(&mut self) {
        let now = (self.clock)();
        let mut changed = false;
        for feed in &mut self.feeds {
            if feed.last.list.forget(now) {
                feed.list();
                changed = true;
            }
        }
        if changed {
            self.tell();
        }
    }

    fn fetch(&mut self, at: usize) {
        let now = (self.clock)();
        let jitter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let Some(feed) = self.feeds.get_mut(at) else { return };
        let name = feed.settings.name.clone();
        let fetched = fetch::fetch(&self.agent, &feed.settings, &mut feed.last, now);
        let every = feed.settings.every;
        match fetched {
            Ok(fetched) => {
                if std::mem::take(&mut feed.failures) > 0 || feed.fetches[..2] == [0, 0] {
                    let entries = feed.last.list.entries().len();
                    let refused = feed.last.list.refused();
                    info!(feed = %name, entries, ?refused, "A feed is fetched");
                }
                feed.error = None;
                feed.last.fetched = Some(now);
                feed.fetches[usize::from(fetched == Fetched::Unchanged)] += 1;
                let wait = if fetched == Fetched::More { BATCHES_AGAIN.min(every) } else { every };
                feed.due = now + wait.mul_f64(0.9 + 0.2 * jitter);
                feed.list();
                if let Err(error) = kept::write(&self.directory, &feed.settings, &feed.last) {
                    warn!(feed = %name, %error, "A feed's list cannot be kept for a restart");
                }
            }
            Err(failure) => {
                feed.fetches[2] += 1;
                let why = failure.to_string();
                // each reason once: a server that is away is away for hours
                if feed.error.as_ref() != Some(&why) {
                    let entries = feed.last.list.entries().len();
                    warn!(feed = %name, %why, entries, "A feed cannot be fetched: its last good list holds");
                }
                feed.error = Some(why);
                let pause = PAUSE_FIRST.saturating_mul(1 << feed.failures.min(16)).min(every);
                feed.failures = feed.failures.saturating_add(1);
                let wanted = match failure {
                    Failure::Busy { after, .. } => after.unwrap_or_default().min(every),
                    Failure::Wrong(_) => Duration::ZERO,
                };
                feed.due = now + pause.mul_f64(0.5 + 0.5 * jitter).max(wanted);
                feed.list();
            }
        }
    }
}
