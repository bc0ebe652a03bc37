//! Calls over trunks: how many each has now, and how fast it begins them (docs/trunks.md). A call
//! is known by its Call-ID, from its INVITE until that is refused, or its BYE passes.

use crate::engine::{Arrival, Engine, Timer};
use crate::exchange::ExchangeId;
use crate::hashed::Hashed;
use crate::io::{Learned, Table};
use crate::refusal::Refusal;
use admission::Rates;
use policy::{Policy, Rate, Reason, Time, TrunkLimits};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::time::Duration;
use wire::{Flow, Message, Method, ShardId, Side};

/// Calls known to a shard; of more it is not known when they end, and they do not count.
const CALLS_MAX: usize = 1 << 16;
/// Longest time that a call's entry stays in the timing wheel.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Trunks whose rates are kept.
const RATES_MAX: usize = 1 << 10;
/// How long a call that was challenged may take to come again: it is the same call.
const CHALLENGED: Duration = Duration::from_secs(32);

#[derive(Debug)]
struct Call {
    /// The trunk's place.
    trunk: usize,
    /// Until when it counts, if nothing more is heard of it.
    until: Time,
    /// Refused by a challenge: it does not count, and may come again.
    challenged: bool,
}

/// What a trunk has.
#[derive(Debug, Default)]
struct Count {
    name: Box<str>,
    limits: TrunkLimits,
    /// Calls of this shard.
    own: u32,
    /// Calls of the others, as they said last.
    others: Vec<u32>,
    /// Calls refused here: too many at once, too fast.
    refused: [u64; 2],
}

/// The calls of all trunks.
#[derive(Debug)]
pub(crate) struct Calls {
    calls: HashMap<u64, Call, BuildHasherDefault<Hashed>>,
    counts: Vec<Count>,
    rates: Rates,
    evictions: u64,
}

/// A look at a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrunkState<'e> {
    /// Its name.
    pub name: &'e str,
    /// Calls that this shard owns, now.
    pub calls: u32,
    /// Calls that it refused, ever: too many at once, too fast.
    pub refused: [u64; 2],
    /// Of the targets that this shard owns, those that serve, and those in quarantine.
    pub targets: [usize; 2],
}

impl Calls {
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut calls = Calls {
            calls: HashMap::default(),
            counts: Vec::new(),
            rates: Rates::new(RATES_MAX),
            evictions: 0,
        };
        calls.configure(policy);
        calls
    }

    /// Other trunks; those that keep their name keep their calls.
    pub(crate) fn configure(&mut self, policy: &Policy) {
        let mut old = std::mem::take(&mut self.counts);
        let mut moved = vec![None; old.len()];
        for (place, trunk) in policy.trunks.iter().enumerate() {
            let at = old.iter().position(|count| count.name == trunk.name);
            let mut count = at.map(|at| std::mem::take(&mut old[at])).unwrap_or_default();
            if let Some(at) = at {
                moved[at] = Some(place);
            }
            (count.name, count.limits) = (trunk.name.clone(), trunk.limits);
            self.counts.push(count);
        }
        self.calls.retain(|_, call| match moved.get(call.trunk).copied().flatten() {
            Some(place) => {
                call.trunk = place;
                true
            }
            None => false,
        });
        self.rates.configure(RATES_MAX);
    }

    /// Begins a call, unless there are too many or they come too fast; `true` when it was not known.
    fn try_begin(&mut self, now: Time, key: u64, trunk: usize) -> Result<bool, Reason> {
        let again = self.calls.get(&key).map(|call| call.challenged);
        let Some(count) = self.counts.get_mut(trunk) else { return Ok(false) };
        if again == Some(false) {
            return Ok(false);
        }
        let all = count.others.iter().fold(count.own, |sum, others| sum.saturating_add(*others));
        if count.limits.calls.is_some_and(|most| all >= most) {
            count.refused[0] += 1;
            return Err(Reason::TrunkCalls);
        }
        if let Some(rate) = rate(&count.limits).filter(|_| again.is_none())
            && !self.rates.allows(now, trunk as u16, 0, rate)
        {
            count.refused[1] += 1;
            return Err(Reason::TrunkRate);
        }
        if again.is_none() && self.calls.len() >= CALLS_MAX {
            self.evictions += 1;
            return Ok(false);
        }
        count.own += 1;
        let until = now + count.limits.longest_call;
        self.calls.insert(key, Call { trunk, until, challenged: false });
        Ok(again.is_none())
    }

    /// More was heard of a call.
    fn renew(&mut self, now: Time, key: u64) {
        if let Some(call) = self.calls.get_mut(&key).filter(|call| !call.challenged)
            && let Some(count) = self.counts.get(call.trunk)
        {
            call.until = now + count.limits.longest_call;
        }
    }

    /// A call has ended, or waits for credentials. Whose it was, if it counted.
    fn end(&mut self, now: Time, key: u64, challenged: bool) -> Option<usize> {
        let call = self.calls.get_mut(&key)?;
        let (trunk, counted) = (call.trunk, !call.challenged);
        if challenged {
            (call.challenged, call.until) = (true, now + CHALLENGED);
        } else {
            self.calls.remove(&key);
        }
        let count = self.counts.get_mut(trunk).filter(|_| counted)?;
        count.own = count.own.saturating_sub(1);
        Some(trunk)
    }

    /// Another shard has so many calls of a trunk, and has begun some.
    pub(crate) fn learned(&mut self, now: Time, name: &str, shard: ShardId, calls: u32, new: bool) {
        let place = self.counts.iter().position(|count| *count.name == *name);
        let Some(count) = place.and_then(|place| self.counts.get_mut(place)) else { return };
        let shard = usize::from(shard.0);
        if count.others.len() <= shard {
            count.others.resize(shard + 1, 0);
        }
        count.others[shard] = calls;
        if let (Some(rate), Some(place), true) = (rate(&count.limits), place, new) {
            let _ = self.rates.allows(now, place as u16, 0, rate);
        }
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.calls.len(), capacity: CALLS_MAX, evictions: self.evictions }
    }
}

fn rate(limits: &TrunkLimits) -> Option<Rate> {
    limits.calls_per_second.map(|count| Rate::new(count, Duration::from_secs(1)))
}

impl Engine {
    /// The place of the trunk that a request goes to: that of the host which it names, else that of
    /// the address which it goes to.
    pub(crate) fn trunk_outwards(
        &self,
        now: Time,
        message: &Message<'_>,
        flow: &Flow,
    ) -> Option<usize> {
        if self.policy.trunks.is_empty() {
            return None;
        }
        let named = self.trunks.named(message.request_uri(), flow.remote);
        named.or_else(|| self.trunk_inwards(now, flow))
    }

    /// The place of the trunk that a flow is one of.
    pub(crate) fn trunk_inwards(&self, now: Time, flow: &Flow) -> Option<usize> {
        let name = self.gate.trunk(now, flow.remote.ip())?;
        self.policy.trunks.iter().position(|trunk| *trunk.name == *name)
    }

    fn trunk_of(&self, now: Time, arrival: Arrival<'_, '_>, target: &Flow) -> Option<usize> {
        match arrival.side {
            Side::Outside => self.trunk_inwards(now, &arrival.flow),
            Side::Inside => self.trunk_outwards(now, arrival.message, target),
        }
    }

    /// An INVITE that begins a call over a trunk: whether that may have one more. The key of the
    /// call, 0 for what is none.
    pub(crate) fn try_begin_call(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        target: &Flow,
    ) -> Result<u64, Refusal> {
        let message = arrival.message;
        if message.method() != Method::Invite || !message.to_tag().is_empty() {
            return Ok(0);
        }
        let Some(trunk) = self.trunk_of(now, arrival, target) else { return Ok(0) };
        let key = self.call_key(message);
        match self.calls.try_begin(now, key, trunk) {
            Ok(new) => {
                if new {
                    self.timers.insert(now + LOOK_AGAIN, Timer::Call(key));
                }
                self.tell_calls(trunk, true);
                Ok(key)
            }
            // a carrier would leave us alone after a 503, for a while and with all calls
            Err(Reason::TrunkCalls) if arrival.side == Side::Outside => {
                Err(Refusal { status: 486, reason: Reason::TrunkCalls })
            }
            Err(reason) => Err(Refusal::new(reason)),
        }
    }

    /// A request within a call: a BYE ends it, others tell that it lives.
    pub(crate) fn on_call_request(&mut self, now: Time, arrival: Arrival<'_, '_>, target: &Flow) {
        let message = arrival.message;
        if self.policy.trunks.is_empty() || message.to_tag().is_empty() {
            return;
        }
        match message.method() {
            Method::Bye => {
                let key = self.call_key(message);
                if !self.end_call(now, key, false)
                    && self.shards > 1
                    && self.trunk_of(now, arrival, target).is_some()
                {
                    // it came from another of the carrier's addresses than the call
                    self.out.learned(Learned::CallEnded { key });
                }
            }
            Method::Invite | Method::Update => {
                let key = self.call_key(message);
                self.calls.renew(now, key);
            }
            _ => {}
        }
    }

    /// The INVITE of a call has its final response.
    pub(crate) fn on_call_answered(&mut self, now: Time, id: ExchangeId, status: u16) {
        let key = self.exchanges.at(id).map_or(0, |exchange| exchange.call);
        if key != 0 && status >= 300 {
            self.end_call(now, key, matches!(status, 401 | 407));
        }
    }

    /// Whether it counted until now.
    pub(crate) fn end_call(&mut self, now: Time, key: u64, challenged: bool) -> bool {
        let trunk = self.calls.end(now, key, challenged);
        trunk.inspect(|trunk| self.tell_calls(*trunk, false)).is_some()
    }

    pub(crate) fn on_call_due(&mut self, now: Time, key: u64) {
        let Some(until) = self.calls.calls.get(&key).map(|call| call.until) else { return };
        if until > now {
            self.timers.insert(until.min(now + LOOK_AGAIN), Timer::Call(key));
        } else {
            self.end_call(now, key, false);
        }
    }

    /// The trunks, in the order of the policy.
    pub fn trunk_states(&self) -> impl Iterator<Item = TrunkState<'_>> {
        self.calls.counts.iter().enumerate().map(|(place, count)| TrunkState {
            name: &count.name,
            calls: count.own,
            refused: count.refused,
            targets: self.trunks.targets_of(place, |remote| {
                Engine::shard_of(remote.ip(), self.shards) == self.shard
            }),
        })
    }

    fn call_key(&self, message: &Message<'_>) -> u64 {
        self.hash.hash(&[b"call", message.call_id()]).max(1)
    }

    fn tell_calls(&mut self, trunk: usize, begun: bool) {
        if let Some(count) = self.calls.counts.get(trunk).filter(|_| self.shards > 1) {
            let (trunk, shard, calls) = (count.name.clone(), self.shard, count.own);
            self.out.learned(Learned::TrunkCalls { trunk, shard, calls, begun });
        }
    }
}
