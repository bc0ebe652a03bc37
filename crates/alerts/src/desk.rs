//! The threads: one that keeps the books, and one for each target.

use crate::alert::{Alert, Kind};
use crate::book::{Book, Digest, Item};
use crate::send::{self, Failure};
use crate::{Settings, Target};
use policy::Time;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{info, warn};

/// How long the desk sleeps at most while somebody is to be told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What waits for a target's thread: a message and tests. More tests are refused.
const ERRANDS: usize = 4;
/// How long the end waits for what is still to be told.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How long a test waits for a target that is busy, beyond the target's own time.
const TEST_PATIENCE: Duration = Duration::from_secs(30);

/// What the desk says of itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// Alerts that were raised, by [`Kind::ALL`].
    pub raised: [AtomicU64; Kind::ALL.len()],
    /// Alerts that found the queue full.
    pub dropped: AtomicU64,
}

/// A target, as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Where it is, without what is secret.
    pub place: String,
    /// The last try succeeded, or there was none.
    pub up: bool,
    /// Why the last try failed, if it did.
    pub error: Option<String>,
    /// Messages it took.
    pub sent: u64,
    /// Tries that failed; what they had in them is tried again.
    pub failed: u64,
    /// Alerts that wait for it.
    pub waiting: u64,
}

/// What became of a test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// The target.
    pub name: String,
    /// Where it is, without what is secret.
    pub place: String,
    /// Whether it took the message.
    pub ok: bool,
    /// What it answered, or why it was not reached.
    pub said: String,
}

/// The end of whoever has something to tell.
#[derive(Clone, Debug)]
pub struct Clerk {
    letters: SyncSender<Letter>,
    on: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

impl Clerk {
    /// Whether anybody is to be told: else nothing need be put into words.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Hands an alert over. Never waits.
    pub fn tell(&self, alert: Alert) {
        if !self.is_on() {
            return;
        }
        let kind = Kind::ALL.iter().position(|kind| *kind == alert.kind);
        if let Some(cell) = kind.and_then(|index| self.counters.raised.get(index)) {
            cell.fetch_add(1, Relaxed);
        }
        match self.letters.try_send(Letter::Alert(alert)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

/// What reaches the desk.
#[derive(Debug)]
enum Letter {
    Alert(Alert),
    /// What became of the message that this round of a target's had.
    Sent(u64, Result<String, Failure>),
    /// Nothing: look at the settings.
    Look,
}

/// What a target's thread is asked for.
#[derive(Debug)]
enum Errand {
    Send(Digest),
    /// Past the book.
    Test(Digest, SyncSender<Result<String, Failure>>),
}

/// What is set while the desk works, and what is known of it.
#[derive(Debug, Default)]
struct Shared {
    settings: Option<Settings>,
    changes: u64,
    /// The edge ends.
    ends: bool,
    views: Vec<View>,
    doors: Vec<Door>,
}

/// Where a target's thread is asked for something.
#[derive(Clone, Debug)]
struct Door {
    target: Target,
    errands: SyncSender<Errand>,
}

/// The books, their thread, and those of the targets.
#[derive(Debug)]
pub struct Alerts {
    clerk: Clerk,
    shared: Arc<Mutex<Shared>>,
    ended: Mutex<Receiver<()>>,
}

impl Alerts {
    /// Starts the thread. `queue` alerts may wait for it.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        settings: Option<Settings>,
        queue: usize,
        clock: impl Fn() -> Time + Send + 'static,
    ) -> std::io::Result<Self> {
        let (letters, inbox) = sync_channel(queue);
        let shared = Arc::<Mutex<Shared>>::default();
        let clerk =
            Clerk { letters: letters.clone(), on: Arc::default(), counters: Arc::default() };
        let (end, ended) = sync_channel(1);
        let desk = Desk {
            inbox,
            letters,
            shared: shared.clone(),
            changes: 0,
            ends: false,
            _end: end,
            rounds: Vec::new(),
            next: 0,
            clock: Box::new(clock),
        };
        std::thread::Builder::new().name("alerts".into()).spawn(move || desk.run())?;
        let alerts = Alerts { clerk, shared, ended: Mutex::new(ended) };
        alerts.configure(settings);
        Ok(alerts)
    }

    /// The end of whoever has something to tell.
    #[must_use]
    pub fn clerk(&self) -> Clerk {
        self.clerk.clone()
    }

    /// For metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.clerk.counters.clone()
    }

    /// How each target does, in the order of the settings.
    #[must_use]
    pub fn views(&self) -> Vec<View> {
        locked(&self.shared).views.clone()
    }

    /// A look at each target, from elsewhere.
    pub fn watch(&self) -> impl Fn() -> Vec<View> + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || locked(&shared).views.clone()
    }

    /// From now on these are told, or nobody. A target of the same name keeps its book.
    pub fn configure(&self, settings: Option<Settings>) {
        {
            let mut shared = locked(&self.shared);
            if shared.settings == settings {
                return;
            }
            let on = settings.as_ref().is_some_and(|it| !it.targets.is_empty());
            self.clerk.on.store(on, Relaxed);
            shared.settings = settings;
            shared.changes += 1;
        }
        // a thread that is busy looks anyway
        let _ = self.clerk.letters.try_send(Letter::Look);
    }

    /// The edge ends: tells what waits without gathering, once, and waits for that; no longer than
    /// two seconds, whatever a target does. How many alerts remain untold.
    #[must_use]
    pub fn close(&self) -> u64 {
        locked(&self.shared).ends = true;
        // a thread that is busy looks anyway
        let _ = self.clerk.letters.try_send(Letter::Look);
        // nothing is ever said: the desk's end is dropped with it
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(END_PATIENCE);
        locked(&self.shared).views.iter().map(|view| view.waiting).sum()
    }

    /// Sends a message to each target, or to the one of that name, past its book, and waits for what
    /// becomes of it.
    #[must_use]
    pub fn test(&self, now: Time, name: Option<&str>) -> Vec<Tested> {
        let doors: Vec<_> = {
            let shared = locked(&self.shared);
            let wanted = |door: &&Door| name.is_none_or(|name| door.target.name == name);
            shared.doors.iter().filter(wanted).cloned().collect()
        };
        let item = Item { alert: Alert::test(), first: now, last: now, count: 1 };
        let digest = Digest { at: now, items: vec![item], left_out: Vec::new() };
        let asked = doors.into_iter().map(|Door { target, errands }| {
            let (answer, answered) = sync_channel(1);
            let asked = errands.try_send(Errand::Test(digest.clone(), answer)).is_ok();
            (target, asked.then_some(answered))
        });
        // all are asked before the first is waited for
        let asked: Vec<_> = asked.collect();
        let told = asked.into_iter().map(|(target, answered)| {
            let patience = target.timeout + TEST_PATIENCE;
            let result = answered.and_then(|answered| answered.recv_timeout(patience).ok());
            let busy = || Err("it is still busy with a message before".to_owned().into());
            let (ok, said) = match result.unwrap_or_else(busy) {
                Ok(said) => (true, said),
                Err(Failure { why, .. }) => (false, why),
            };
            Tested { place: target.place(), name: target.name, ok, said }
        });
        told.collect()
    }
}

fn locked(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A target with its book and the way to its thread, which ends with it.
struct Round {
    number: u64,
    node: String,
    target: Target,
    book: Book,
    errands: SyncSender<Errand>,
    view: View,
}

/// Where alerts become messages.
struct Desk {
    inbox: Receiver<Letter>,
    letters: SyncSender<Letter>,
    shared: Arc<Mutex<Shared>>,
    /// Of the settings in use.
    changes: u64,
    ends: bool,
    /// Dropped when the desk has ended.
    _end: SyncSender<()>,
    rounds: Vec<Round>,
    /// The number of the next round: what an older one's thread says is not about it.
    next: u64,
    clock: Box<dyn Fn() -> Time + Send>,
}

impl Desk {
    fn run(mut self) {
        loop {
            // it holds a sender itself: the desk ends with the process
            let mut next = match self.rounds.is_empty() {
                true => self.inbox.recv().ok(),
                false => self.inbox.recv_timeout(self.pause()).ok(),
            };
            let ends = self.look();
            let now = (self.clock)();
            while let Some(letter) = next {
                self.take(now, letter);
                next = self.inbox.try_recv().ok();
            }
            for round in &mut self.rounds {
                round.send(now);
            }
            self.publish();
            if ends && self.rounds.iter().all(|round| round.book.is_idle(now)) {
                return;
            }
        }
    }

    /// Until the next message is due, at most a moment.
    fn pause(&self) -> Duration {
        let due = self.rounds.iter().filter_map(|round| round.book.poll_timeout()).min();
        due.map_or(LOOK_EVERY, |due| due.since((self.clock)()).min(LOOK_EVERY))
    }

    fn take(&mut self, now: Time, letter: Letter) {
        match letter {
            Letter::Look => {}
            Letter::Alert(alert) => {
                for round in &mut self.rounds {
                    round.book.on_alert(now, alert.clone());
                }
            }
            Letter::Sent(number, result) => {
                let round = self.rounds.iter_mut().find(|round| round.number == number);
                if let Some(round) = round {
                    round.on_sent(now, result);
                }
            }
        }
    }

    /// Whether the edge ends, and whether the settings are others.
    fn look(&mut self) -> bool {
        let (ends, settings) = {
            let shared = locked(&self.shared);
            let changed = std::mem::replace(&mut self.changes, shared.changes) != shared.changes;
            (shared.ends, changed.then(|| shared.settings.clone()))
        };
        if let Some(settings) = settings {
            self.configure(settings);
        }
        if ends && !std::mem::replace(&mut self.ends, ends) {
            self.rounds.iter_mut().for_each(|round| round.book.hurry());
        }
        ends
    }

    /// Other settings: a target that stays as it is keeps its thread, one that keeps its name its
    /// book.
    fn configure(&mut self, settings: Option<Settings>) {
        let mut old = std::mem::take(&mut self.rounds);
        let Some(Settings { node, pace, targets }) = settings else { return };
        for target in targets {
            let place = old.iter().position(|round| round.target.name == target.name);
            let known = place.map(|index| old.swap_remove(index));
            let round = match known {
                Some(mut round) if round.target == target && round.node == node => {
                    round.book.configure(pace, target.kinds.clone());
                    Some(round)
                }
                Some(Round { mut book, .. }) => {
                    book.configure(pace, target.kinds.clone());
                    // what its thread sends now may come twice rather than never
                    book.on_failed((self.clock)(), None);
                    self.begin(&node, target, book)
                }
                None => {
                    let book = Book::new(pace, target.kinds.clone());
                    self.begin(&node, target, book)
                }
            };
            self.rounds.extend(round);
        }
    }

    fn begin(&mut self, node: &str, target: Target, book: Book) -> Option<Round> {
        let number = self.next;
        self.next += 1;
        let (errands, asked) = sync_channel(ERRANDS);
        let (node, letters) = (node.to_owned(), self.letters.clone());
        let (name, own) = (target.name.clone(), (node.clone(), target.clone()));
        let run = move || deliver(&own.0, &own.1, number, &asked, &letters);
        if let Err(error) = std::thread::Builder::new().name("alert".into()).spawn(run) {
            warn!(target = name, %error, "No thread for the alerts of a target: it is not told");
            return None;
        }
        let view = View { place: target.place(), up: true, name, ..View::default() };
        Some(Round { number, node, target, book, errands, view })
    }

    fn publish(&mut self) {
        let mut shared = locked(&self.shared);
        shared.views.clear();
        shared.doors.clear();
        for round in &mut self.rounds {
            round.view.waiting = round.book.waiting();
            shared.views.push(round.view.clone());
            let door = Door { target: round.target.clone(), errands: round.errands.clone() };
            shared.doors.push(door);
        }
    }
}

impl Round {
    fn send(&mut self, now: Time) {
        if let Some(digest) = self.book.poll_digest(now)
            && self.errands.try_send(Errand::Send(digest)).is_err()
        {
            self.book.on_failed(now, None);
        }
    }

    fn on_sent(&mut self, now: Time, result: Result<String, Failure>) {
        let View { name, place, error, up, sent, failed, .. } = &mut self.view;
        match result {
            Ok(_) => {
                self.book.on_sent(now);
                *sent += 1;
                if !std::mem::replace(up, true) {
                    info!(name, place, "A target takes alerts again");
                }
                *error = None;
            }
            Err(Failure { why, after }) => {
                self.book.on_failed(now, after);
                *failed += 1;
                if std::mem::replace(up, false) {
                    warn!(
                        name,
                        place, why, "A target takes no alerts: they wait, and are tried again"
                    );
                }
                *error = Some(why);
            }
        }
    }
}

/// A target's thread: it ends when nobody has an errand for it any more.
fn deliver(
    node: &str,
    target: &Target,
    number: u64,
    asked: &Receiver<Errand>,
    letters: &SyncSender<Letter>,
) {
    while let Ok(errand) = asked.recv() {
        match errand {
            Errand::Send(digest) => {
                let result = send::send(node, target, &digest);
                if letters.send(Letter::Sent(number, result)).is_err() {
                    return;
                }
            }
            Errand::Test(digest, answer) => {
                // who asked may have gone
                let _ = answer.send(send::send(node, target, &digest));
            }
        }
    }
}
