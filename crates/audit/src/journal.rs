//! Where facts are handed over.

use crate::caps::{Caps, KEYS, Key};
use crate::writer::Counters;
use admission::{Alert, Ban, Lift, Record};
use policy::{Network, Policy, Time};
use proxy::{Decision, Engine, Event, Verdict};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError};

/// A fact on its way to the thread.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) at: Time,
    pub(crate) fact: Fact,
    /// The policy whose names for rules and signatures it has.
    pub(crate) policy: Arc<Policy>,
}

/// What there is to say. A decision lies in it flat: a shard copies it and allocates nothing.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Fact {
    /// A decision that is not kept: of it no more is known than this.
    Event(Event),
    Decision(Decision),
    Evidence(Network, Box<Record>),
    Ban(Box<Ban>),
    Lift(Lift),
    Alert(Alert),
    /// Of the control thread or an operator, by its name.
    Control(&'static str, Value),
    /// Nothing: look at the settings.
    Look,
}

/// What shards ask before they hand anything over.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    what: AtomicU8,
    rate: AtomicU32,
}

/// Bits of what is wanted.
const LINES: u8 = 1;
const ACCEPTED: u8 = 2;

impl Wants {
    pub(crate) fn set(&self, settings: Option<&crate::Settings>) {
        let what = settings.map_or(0, |it| if it.accepted { LINES | ACCEPTED } else { LINES });
        self.rate.store(settings.map_or(0, |it| it.rate), Relaxed);
        self.what.store(what, Relaxed);
    }
}

/// What one shard left out, by key. One writer.
pub(crate) type LeftOut = Arc<[AtomicU64; KEYS]>;

/// A shard's end.
#[derive(Debug)]
pub struct Journal {
    clerk: Clerk,
    caps: Caps,
    left_out: LeftOut,
}

/// The end of whoever has something to say now and then.
#[derive(Clone, Debug)]
pub struct Clerk {
    pub(crate) letters: SyncSender<Letter>,
    pub(crate) wants: Arc<Wants>,
    pub(crate) counters: Arc<Counters>,
}

impl Journal {
    pub(crate) fn new(clerk: Clerk, left_out: LeftOut) -> Self {
        Journal { clerk, caps: Caps::new(), left_out }
    }

    /// A decision was made. When no lines are wanted this is one load and one branch.
    #[inline]
    pub fn on_event(&mut self, now: Time, event: &Event, engine: &Engine, policy: &Arc<Policy>) {
        let what = self.clerk.wants.what.load(Relaxed);
        if what != 0 && is_wanted(event, what) {
            self.note(now, event, engine, policy);
        }
    }

    #[cold]
    fn note(&mut self, now: Time, event: &Event, engine: &Engine, policy: &Arc<Policy>) {
        if self.lets_pass(now, Key::of_reason(event.reason)) {
            let decision = event.kept.and_then(|number| engine.decision(number));
            let fact = match decision {
                Some(decision) => Fact::Decision(decision.clone()),
                None => Fact::Event(event.clone()),
            };
            self.clerk.hand_over(now, fact, policy);
        }
    }

    /// A challenge ended badly for this source.
    pub fn on_evidence(
        &mut self,
        now: Time,
        source: Network,
        record: Box<Record>,
        policy: &Arc<Policy>,
    ) {
        if self.clerk.is_on() && self.lets_pass(now, Key::of_outcome(record.outcome)) {
            self.clerk.hand_over(now, Fact::Evidence(source, record), policy);
        }
    }

    /// A ban began or was renewed.
    pub fn on_ban(&self, now: Time, ban: &Ban, policy: &Arc<Policy>) {
        if self.clerk.is_on() {
            self.clerk.hand_over(now, Fact::Ban(Box::new(ban.clone())), policy);
        }
    }

    /// A ban ended.
    pub fn on_lift(&self, now: Time, lift: &Lift, policy: &Arc<Policy>) {
        if self.clerk.is_on() {
            self.clerk.hand_over(now, Fact::Lift(*lift), policy);
        }
    }

    /// Somebody should know.
    pub fn on_alert(&self, now: Time, alert: &Alert, policy: &Arc<Policy>) {
        if self.clerk.is_on() {
            self.clerk.hand_over(now, Fact::Alert(alert.clone()), policy);
        }
    }

    fn lets_pass(&mut self, now: Time, key: Key) -> bool {
        let passes = self.caps.allows(now, key, self.clerk.wants.rate.load(Relaxed));
        if !passes && let Some(cell) = self.left_out.get(key.index()) {
            // one writer: nothing is lost between load and store
            cell.store(cell.load(Relaxed) + 1, Relaxed);
        }
        passes
    }
}

fn is_wanted(event: &Event, what: u8) -> bool {
    match event.verdict {
        Verdict::Drop | Verdict::Reject(_) => true,
        Verdict::Absorb => false,
        Verdict::Forward => {
            let would = event.grounds.as_ref().and_then(|grounds| grounds.would);
            let refused = would.is_some_and(|would| would != Verdict::Forward);
            refused || what & ACCEPTED != 0 && event.kept.is_some()
        }
    }
}

impl Clerk {
    /// Notes what the control thread or an operator did, by its name.
    pub fn note(&self, now: Time, event: &'static str, fields: Value, policy: &Arc<Policy>) {
        if self.is_on() {
            self.hand_over(now, Fact::Control(event, fields), policy);
        }
    }

    fn is_on(&self) -> bool {
        self.wants.what.load(Relaxed) != 0
    }

    fn hand_over(&self, at: Time, fact: Fact, policy: &Arc<Policy>) {
        let letter = Letter { at, fact, policy: policy.clone() };
        match self.letters.try_send(letter) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.lost.fetch_add(1, Relaxed);
            }
        }
    }
}
