//! The thread that writes.

use crate::caps::{Caps, KEYS, Key};
use crate::journal::{Clerk, Fact, Journal, LeftOut, Letter, Wants};
use crate::sink::{Line, Sink};
use crate::{Format, Settings, line, plain};
use policy::{Policy, Time};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{info, warn};

/// What comes together is written together.
const GATHER: Duration = Duration::from_millis(50);
/// How long the thread waits for a letter before it looks around; a target that failed is tried
/// again no sooner.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of lines that wait for a target that takes none; more are lost.
const WAITING_MAX: usize = 1 << 20;
/// How long the end waits for the last lines.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What the thread says of itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines written.
    pub written: AtomicU64,
    /// Lines left out because their reason had its share.
    pub suppressed: AtomicU64,
    /// Lines lost: the queue, or the room for those that wait, was full.
    pub lost: AtomicU64,
    /// Writes that failed; what they had in them is tried again.
    pub failed: AtomicU64,
    /// Lines are wanted.
    pub on: AtomicBool,
    /// The last write failed.
    fails: AtomicBool,
}

/// How the target does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Where lines go; `None`: nowhere.
    pub target: Option<String>,
    /// Why the last write failed, if it did.
    pub error: Option<String>,
}

/// What is set while the thread runs.
#[derive(Debug, Default)]
struct Desired {
    settings: Option<Settings>,
    changes: u64,
    health: Health,
}

/// The stream and its thread.
#[derive(Debug)]
pub struct Audit {
    clerk: Clerk,
    left_out: Vec<LeftOut>,
    desired: Arc<Mutex<Desired>>,
    policy: Arc<Policy>,
    stop: Arc<AtomicBool>,
    ended: Mutex<Receiver<()>>,
}

impl Audit {
    /// Starts the thread. `queue` letters may wait for it, from `shards` shards and whoever else
    /// has something to say; `policy` is what the edge begins with.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        settings: Option<Settings>,
        queue: usize,
        shards: u8,
        policy: Arc<Policy>,
        clock: impl Fn() -> Time + Send + 'static,
    ) -> std::io::Result<Self> {
        let (letters, inbox) = sync_channel(queue);
        let (wants, counters) = (Arc::<Wants>::default(), Arc::<Counters>::default());
        let cells = || Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let left_out: Vec<LeftOut> = (0..shards).map(|_| cells()).collect();
        let desired = Arc::<Mutex<Desired>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (end, ended) = sync_channel(1);
        let desk = Desk {
            inbox,
            end,
            stop: stop.clone(),
            desired: desired.clone(),
            changes: 0,
            retry: Time::ZERO,
            sink: None,
            format: Format::Json,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lines: Lines::new(left_out.clone()),
            counters: counters.clone(),
            clock: Box::new(clock),
        };
        std::thread::Builder::new().name("audit".into()).spawn(move || desk.run())?;
        let clerk = Clerk { letters, wants, counters };
        let audit = Audit { clerk, left_out, desired, policy, stop, ended: Mutex::new(ended) };
        audit.configure(settings);
        Ok(audit)
    }

    /// A shard's end.
    #[must_use]
    pub fn journal(&self, shard: usize) -> Journal {
        let own = self.left_out.get(shard).cloned();
        let left_out = own.unwrap_or_else(|| Arc::new(std::array::from_fn(|_| AtomicU64::new(0))));
        Journal::new(self.clerk.clone(), left_out)
    }

    /// The end of whoever else has something to say.
    #[must_use]
    pub fn clerk(&self) -> Clerk {
        self.clerk.clone()
    }

    /// For metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.clerk.counters.clone()
    }

    /// How the target does.
    #[must_use]
    pub fn health(&self) -> Health {
        self.desired().health.clone()
    }

    /// From now on lines go there, or nowhere. The same settings again open the target anew.
    pub fn configure(&self, settings: Option<Settings>) {
        let wants = self.clerk.wants.clone();
        wants.set(settings.as_ref());
        self.clerk.counters.on.store(settings.is_some(), Relaxed);
        {
            let mut desired = self.desired();
            desired.health =
                Health { target: settings.as_ref().map(|it| it.to.text()), error: None };
            desired.settings = settings;
            desired.changes += 1;
        }
        self.wake();
    }

    /// Writes what waits, and ends; does not wait for long for a target that takes nothing.
    pub fn close(&self) {
        self.stop.store(true, Relaxed);
        self.wake();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // whether it ended or not: there is nothing more to do
        let _ = ended.recv_timeout(END_PATIENCE);
    }

    /// A thread that sleeps looks up; one that is busy looks anyway.
    fn wake(&self) {
        let letter = Letter { at: Time::ZERO, fact: Fact::Look, policy: self.policy.clone() };
        let _ = self.clerk.letters.try_send(letter);
    }

    fn desired(&self) -> std::sync::MutexGuard<'_, Desired> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where letters become lines.
struct Desk {
    inbox: Receiver<Letter>,
    end: SyncSender<()>,
    stop: Arc<AtomicBool>,
    desired: Arc<Mutex<Desired>>,
    /// Of the settings in use.
    changes: u64,
    /// Not before then is a target that failed tried again.
    retry: Time,
    sink: Option<Sink>,
    format: Format,
    waiting: VecDeque<Line>,
    waiting_bytes: usize,
    lines: Lines,
    counters: Arc<Counters>,
    clock: Box<dyn Fn() -> Time + Send>,
}

impl Desk {
    fn run(mut self) {
        loop {
            let first = match self.sink {
                Some(_) => self.inbox.recv_timeout(LOOK_EVERY),
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let gone = matches!(first, Err(RecvTimeoutError::Disconnected));
            self.look();
            if let Ok(letter) = first {
                std::thread::sleep(GATHER);
                self.take(letter);
                while let Ok(letter) = self.inbox.try_recv() {
                    self.take(letter);
                }
            }
            let now = (self.clock)();
            for line in self.lines.overdue(now, self.format, &self.counters) {
                self.put(line);
            }
            if now >= self.retry {
                self.write();
            }
            if gone || self.stop.load(Relaxed) {
                let _ = self.end.try_send(());
                return;
            }
        }
    }

    /// Other settings: what waits is still for the target before.
    fn look(&mut self) {
        let desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        if desired.changes == self.changes {
            return;
        }
        let (settings, changes) = (desired.settings.clone(), desired.changes);
        drop(desired);
        self.write();
        self.changes = changes;
        self.sink = settings.as_ref().map(|it| Sink::new(&it.to));
        self.format = settings.as_ref().map(|it| it.format).unwrap_or_default();
        self.lines.set_rate(settings.map_or(0, |it| it.rate));
        if self.sink.is_none() {
            self.lose_all();
        }
    }

    fn take(&mut self, letter: Letter) {
        if matches!(letter.fact, Fact::Look) {
            // what comes behind it is for the target that was named with it
            return self.look();
        }
        if self.sink.is_some()
            && let Some(line) = self.lines.take(&letter, self.format, &self.counters)
        {
            self.put(line);
        }
    }

    fn put(&mut self, line: Line) {
        if self.waiting_bytes + line.text.len() > WAITING_MAX && (self.clock)() >= self.retry {
            self.write();
        }
        if self.waiting_bytes + line.text.len() > WAITING_MAX {
            self.counters.lost.fetch_add(1, Relaxed);
            return;
        }
        self.waiting_bytes += line.text.len();
        self.waiting.push_back(line);
    }

    fn lose_all(&mut self) {
        self.counters.lost.fetch_add(self.waiting.len() as u64, Relaxed);
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    fn write(&mut self) {
        let Some(sink) = &mut self.sink else { return };
        if self.waiting.is_empty() {
            return;
        }
        let before = self.waiting.len();
        let written = sink.write(&mut self.waiting);
        let count = before - self.waiting.len();
        self.counters.written.fetch_add(count as u64, Relaxed);
        self.waiting_bytes = self.waiting.iter().map(|line| line.text.len()).sum();
        let mut desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        let error = written.err().map(|error| error.to_string());
        let fails = error.is_some();
        if fails {
            self.counters.failed.fetch_add(1, Relaxed);
            self.retry = (self.clock)() + LOOK_EVERY;
        }
        let target = desired.health.target.clone().unwrap_or_default();
        if desired.changes == self.changes {
            desired.health.error.clone_from(&error);
        }
        drop(desired);
        match (self.counters.fails.swap(fails, Relaxed), error) {
            (false, Some(why)) => {
                warn!(%target, %why, "Audit lines cannot be written: they wait, and are tried again");
            }
            (true, None) => info!(%target, "Audit lines are written again"),
            _ => {}
        }
    }
}

impl Counters {
    /// Whether lines are wanted and the last write succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.on.load(Relaxed) && !self.fails.load(Relaxed)
    }
}

/// Which letters become lines, and what each says of those that do not.
#[derive(Debug)]
pub(crate) struct Lines {
    rate: u32,
    caps: Caps,
    left_out: Vec<LeftOut>,
    /// Of each key: how many the shards left out so far, as far as it is known here.
    seen: [u64; KEYS],
    /// Of each key: how many were left out since the last line, and when that was.
    unsaid: [u64; KEYS],
    last: [Time; KEYS],
}

impl Lines {
    pub(crate) fn new(left_out: Vec<LeftOut>) -> Self {
        Lines {
            rate: 0,
            caps: Caps::new(),
            left_out,
            seen: [0; KEYS],
            unsaid: [0; KEYS],
            last: [Time::ZERO; KEYS],
        }
    }

    /// So many lines of one key in a second.
    pub(crate) fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
    }

    /// The letter's line, unless its reason had its share.
    pub(crate) fn take(
        &mut self,
        letter: &Letter,
        format: Format,
        counters: &Counters,
    ) -> Option<Line> {
        let key = match &letter.fact {
            Fact::Event(event) => Some(Key::of_reason(event.reason)),
            Fact::Decision(decision) => Some(Key::of_reason(decision.event.reason)),
            Fact::Evidence(_, record) => Some(Key::of_outcome(record.outcome)),
            Fact::Look => return None,
            _ => None,
        };
        let mut suppressed = 0;
        if let Some(key) = key {
            self.count_left_out(key, counters);
            // each shard has its own share: together they may have more
            if !self.caps.allows(letter.at, key, self.rate) {
                self.unsaid[key.index()] += 1;
                counters.suppressed.fetch_add(1, Relaxed);
                return None;
            }
            suppressed = std::mem::take(&mut self.unsaid[key.index()]);
            self.last[key.index()] = letter.at;
        }
        let text = match format {
            Format::Json => line::json(letter, suppressed),
            Format::Fail2ban => plain::plain(letter, suppressed)?,
        };
        Some(Line { at: letter.at, event: line::event(&letter.fact), text })
    }

    /// Lines for what was left out of reasons that said nothing for a second.
    pub(crate) fn overdue(&mut self, now: Time, format: Format, counters: &Counters) -> Vec<Line> {
        let mut lines = Vec::new();
        for key in Key::all() {
            self.count_left_out(key, counters);
            let index = key.index();
            if self.unsaid[index] == 0 || now.since(self.last[index]) < LOOK_EVERY {
                continue;
            }
            let count = std::mem::take(&mut self.unsaid[index]);
            self.last[index] = now;
            let text = match format {
                Format::Json => line::left_out(now, key, count),
                Format::Fail2ban => plain::left_out(now, key, count),
            };
            lines.push(Line { at: now, event: "suppressed", text });
        }
        lines
    }

    fn count_left_out(&mut self, key: Key, counters: &Counters) {
        let index = key.index();
        let cells = self.left_out.iter().filter_map(|shard| shard.get(index));
        let all: u64 = cells.map(|cell| cell.load(Relaxed)).sum();
        let new = all - self.seen[index];
        self.seen[index] = all;
        self.unsaid[index] += new;
        counters.suppressed.fetch_add(new, Relaxed);
    }
}
