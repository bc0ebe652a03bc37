//! What a target is told when: the pure part. Nothing in it grows beyond its bounds, however long
//! nobody takes anything.

use crate::alert::{Alert, Kind};
use policy::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Alerts of one kind in a message; more are counted.
const LISTED_MAX: usize = 8;
/// Subjects of which it is remembered that they were told; beyond that the oldest are forgotten.
const TOLD_MAX: usize = 512;
/// The pause after a first failure; each next is twice as long, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_LONGEST: Duration = Duration::from_secs(600);
/// No longer than this is waited because a server asks for it.
const AFTER_MAX: Duration = Duration::from_secs(3_600);
/// What [`Pace::per_hour`] is counted in.
const HOUR: Duration = Duration::from_secs(3_600);

/// How often a target is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long the first alert waits for others.
    pub gather: Duration,
    /// How long what was told is not told again.
    pub repeat: Duration,
    /// Messages in an hour, at least 1.
    pub per_hour: usize,
}

/// A message: what came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// When it was made.
    pub at: Time,
    /// What there is to tell, the most urgent first.
    pub items: Vec<Item>,
    /// How many more of a kind there were.
    pub left_out: Vec<(Kind, u64)>,
}

/// An alert with how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// As it came last.
    pub alert: Alert,
    /// When it came first, and last.
    pub first: Time,
    /// See `first`.
    pub last: Time,
    /// How often it came since it was told last.
    pub count: u64,
}

type Subject = (Kind, String);

/// What was told when, and how often it came again since.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Time,
    again: u64,
    /// When it came again first.
    first: Time,
}

/// What one target is to be told.
#[derive(Debug)]
pub struct Book {
    pace: Pace,
    kinds: Vec<Kind>,
    waiting: BTreeMap<Subject, Item>,
    left_out: BTreeMap<Kind, u64>,
    told: BTreeMap<Subject, Told>,
    /// When messages were sent within the last hour, at most as many as it may have.
    sent: VecDeque<Time>,
    /// What is being sent.
    flying: Option<Digest>,
    /// Not before.
    due: Time,
    failures: u32,
}

impl Book {
    /// An empty one for these kinds.
    #[must_use]
    pub fn new(pace: Pace, kinds: Vec<Kind>) -> Self {
        Book {
            pace,
            kinds,
            waiting: BTreeMap::new(),
            left_out: BTreeMap::new(),
            told: BTreeMap::new(),
            sent: VecDeque::new(),
            flying: None,
            due: Time::ZERO,
            failures: 0,
        }
    }

    /// From now on it is told so often, and of these kinds. What was told stays told.
    pub fn configure(&mut self, pace: Pace, kinds: Vec<Kind>) {
        self.waiting.retain(|(kind, _), _| kinds.contains(kind));
        self.left_out.retain(|kind, _| kinds.contains(kind));
        (self.pace, self.kinds) = (pace, kinds);
        while self.sent.len() > pace.per_hour {
            self.sent.pop_front();
        }
    }

    /// The last chance begins: what waits and what comes gathers no more, and is tried once.
    pub fn hurry(&mut self) {
        self.pace.gather = Duration::ZERO;
        self.due = Time::ZERO;
    }

    /// Whether nothing is being sent, and nothing is to be sent now.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.flying.is_none() && self.poll_timeout().is_none_or(|due| due > now)
    }

    /// Alerts that wait to be told, those that are only counted included.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let flying = self.flying.as_ref().map_or(0, |digest| digest.items.len());
        (self.waiting.len() + flying) as u64 + self.left_out.values().sum::<u64>()
    }

    /// Something happened. `false`: it was told lately, or is not wanted.
    pub fn on_alert(&mut self, now: Time, alert: Alert) -> bool {
        if !self.kinds.contains(&alert.kind) {
            return false;
        }
        let key = (alert.kind, alert.subject.clone());
        if let Some(item) = self.waiting.get_mut(&key) {
            (item.alert, item.last) = (alert, now);
            item.count += 1;
            return true;
        }
        let mut item = Item { first: now, last: now, count: 1, alert };
        if item.alert.ended {
            // an end without a beginning is no news; after it a new beginning is
            if self.told.remove(&key).is_none() {
                return false;
            }
        } else if let Some(told) = self.told.get_mut(&key) {
            if told.at + self.pace.repeat > now {
                told.first = if told.again == 0 { now } else { told.first };
                told.again += 1;
                return false;
            }
            item.count += told.again;
            item.first = if told.again == 0 { now } else { told.first };
        }
        self.put(now, key, item);
        true
    }

    fn put(&mut self, now: Time, key: Subject, item: Item) {
        if self.is_empty() {
            self.due = self.due.max(now + self.pace.gather);
        }
        let listed = self.waiting.keys().filter(|(kind, _)| *kind == key.0).count();
        if listed < LISTED_MAX {
            self.waiting.insert(key, item);
        } else {
            *self.left_out.entry(key.0).or_default() += item.count;
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.left_out.is_empty()
    }

    /// When [`Book::poll_digest`] has something, if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let wants = self.flying.is_none() && !self.is_empty();
        wants.then(|| match self.sent.front() {
            Some(oldest) if self.sent.len() >= self.pace.per_hour => self.due.max(*oldest + HOUR),
            _ => self.due,
        })
    }

    /// The next message, if one is due. [`Book::on_sent`] or [`Book::on_failed`] must follow; until
    /// then there is no other.
    pub fn poll_digest(&mut self, now: Time) -> Option<Digest> {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        let items = std::mem::take(&mut self.waiting);
        for (key, item) in &items {
            match item.alert.ended {
                true => drop(self.told.remove(key)),
                false => self.remember(now, key.clone()),
            }
        }
        let left_out = std::mem::take(&mut self.left_out).into_iter().collect();
        let digest = Digest { at: now, items: items.into_values().collect(), left_out };
        self.flying = Some(digest.clone());
        Some(digest)
    }

    fn remember(&mut self, now: Time, key: Subject) {
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(&key) {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.told.remove(&oldest);
            }
        }
        self.told.insert(key, Told { at: now, again: 0, first: now });
    }

    /// The message was taken.
    pub fn on_sent(&mut self, now: Time) {
        self.flying = None;
        self.failures = 0;
        self.due = now + self.pace.gather;
        if self.sent.len() >= self.pace.per_hour {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    /// The message was not taken: it is told later, with what came meanwhile. `after`: when the
    /// server wants to be asked again.
    pub fn on_failed(&mut self, now: Time, after: Option<Duration>) {
        let Some(digest) = self.flying.take() else { return };
        let pause = PAUSE_FIRST * (1 << self.failures.min(10));
        let pause = pause.min(PAUSE_LONGEST).max(after.unwrap_or_default().min(AFTER_MAX));
        self.failures = self.failures.saturating_add(1);
        for (kind, count) in digest.left_out {
            *self.left_out.entry(kind).or_default() += count;
        }
        for item in digest.items {
            let key = (item.alert.kind, item.alert.subject.clone());
            match self.waiting.get_mut(&key) {
                Some(newer) => {
                    newer.first = item.first;
                    newer.count += item.count;
                }
                None => self.put(now, key, item),
            }
        }
        self.due = now + pause;
    }
}
