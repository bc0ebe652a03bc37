//! What is shed when a shard cannot keep up.
//!
//! A shard is behind while what it reads has waited too long and more waits. It then sheds requests,
//! a quarter of a kind more at a time, and what costs its users least goes first ([`Stage`]); while
//! it keeps up it takes more again, little by little, so that what it carries stays near what it can
//! carry. Which go is drawn, among those whom nobody knows by their address, among calls by their
//! Call-ID: the second half of a challenge, a retransmission and a CANCEL share the fate of the first
//! request. What a call in progress or a registered phone needs is never shed, and no call is when
//! most of what comes is from those whom nobody knows: it would not help.

use crate::engine::{Arrival, Engine};
use crate::refusal::Refusal;
use crate::{Stage, Verdict};
use admission::key::address_bytes;
use policy::{Overload, Reason, Time, Who};
use std::net::IpAddr;
use std::time::Duration;
use wire::{HeaderName, Message, Method, Side};

/// A whole kind, in shares.
const KIND: u32 = 256;
/// Shares shed at once.
const QUARTER: u32 = KIND / 4;
/// All kinds but calls.
const UNKNOWN: u32 = 2 * KIND;
/// All kinds.
const MOST: u32 = 3 * KIND;

/// How a shard keeps up.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// What is shed: of each kind in turn, 256 shares.
    shares: u32,
    /// Since when it is behind, or what it has changed since then has had time to help.
    behind: Option<Time>,
    /// Up to when keeping up has been rewarded.
    rewarded: Time,
    /// Messages since it was behind, or more was shed, and how many of them were shed.
    seen: u32,
    shed: u32,
}

impl Load {
    /// `waited` says how long that had waited which was read last, if more waits still.
    pub(crate) fn on_round(&mut self, now: Time, waited: Duration, rules: &Overload) {
        if waited > rules.delay {
            self.rewarded = now;
            let since = *self.behind.get_or_insert(now);
            if now.since(since) >= rules.patience {
                // no call is shed before it is seen who comes when all others are, nor for a flood
                let flooded = self.shares == UNKNOWN && self.shed > self.seen / 2;
                let most = if self.shares < UNKNOWN || flooded { UNKNOWN } else { MOST };
                self.shares = (self.shares + QUARTER).min(most);
                self.behind = Some(now);
                (self.seen, self.shed) = (0, 0);
            }
            return;
        }
        self.behind = None;
        (self.seen, self.shed) = (0, 0);
        if self.shares == 0 {
            return;
        }
        let share = (rules.calm / KIND).max(Duration::from_nanos(1));
        let earned = now.since(self.rewarded).as_nanos() / share.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(MOST).min(self.shares);
        self.shares -= earned;
        self.rewarded = self.rewarded + share * earned;
    }

    pub(crate) fn stage(&self) -> Stage {
        let stage = self.shares.div_ceil(KIND) as usize;
        Stage::ALL.get(stage).copied().unwrap_or(Stage::Calls)
    }

    /// Whether a request of the kind that `stage` is the first to shed goes; `lot` is its own.
    fn sheds(&self, stage: Stage, lot: u64) -> bool {
        let before = (stage as u32).saturating_sub(1) * KIND;
        u64::from(self.shares.saturating_sub(before)) > lot % u64::from(KIND)
    }

    /// Counts a message from outside.
    fn on_message(&mut self, shed: bool) {
        self.seen = self.seen.saturating_add(1);
        self.shed = self.shed.saturating_add(shed.into());
    }
}

impl Engine {
    /// Whether a datagram ends here unread because the shard is behind: whatever it says, nobody
    /// knows its sender, and to read it costs more than all else that is done for it.
    pub(crate) fn is_shed_unread(&mut self, now: Time, source: IpAddr) -> bool {
        if self.load.stage() < Stage::Unproven {
            return false;
        }
        let shed = self.load.sheds(Stage::Unproven, self.lot_of(source))
            && !self.is_trusted(now, source)
            && self.gate.who(now, source) < Who::Known;
        self.load.on_message(shed);
        shed
    }

    fn lot_of(&self, source: IpAddr) -> u64 {
        self.hash.hash(&[&address_bytes(source)])
    }

    /// Whether a request ends here because the shard is behind: dropped, for an answer costs as
    /// much as its judgement; only those who are known are told to come again later.
    pub(crate) fn is_shed(&mut self, now: Time, arrival: Arrival<'_, '_>) -> bool {
        if self.load.stage() == Stage::None || arrival.side == Side::Inside {
            return false;
        }
        let Some(least) = self.class(now, arrival) else { return false };
        let lot = match least {
            Stage::Calls => self.hash.hash(&[arrival.message.call_id()]),
            _ => self.lot_of(arrival.flow.remote.ip()),
        };
        if !self.load.sheds(least, lot) {
            return false;
        }
        let refusal = Refusal::new(Reason::Overload);
        if least == Stage::Calls {
            self.refuse(now, arrival, refusal);
        } else {
            self.note(arrival, Verdict::Drop, refusal.reason);
        }
        true
    }

    /// From which stage on a request is shed; `None` when it never is.
    fn class(&self, now: Time, arrival: Arrival<'_, '_>) -> Option<Stage> {
        if self.is_in_dialog(arrival) {
            return None;
        }
        let message = arrival.message;
        let ip = arrival.flow.remote.ip();
        let trusted = self.is_trusted(now, ip);
        if trusted || self.gate.who(now, ip) >= Who::Known {
            // a trunk's dialogs need no token of ours
            let begins = message.to_tag().is_empty() || !trusted;
            let call = matches!(message.method(), Method::Invite);
            return (call && begins).then_some(Stage::Calls);
        }
        Some(if has_credentials(message) { Stage::Unproven } else { Stage::Strangers })
    }
}

fn has_credentials(message: &Message<'_>) -> bool {
    [HeaderName::Authorization, HeaderName::ProxyAuthorization]
        .iter()
        .any(|name| message.lines(*name).next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Overload = Overload {
        delay: Duration::from_millis(10),
        patience: Duration::from_millis(20),
        calm: Duration::from_secs(1),
    };
    const LONG: Duration = Duration::from_millis(11);

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_takes_less_step_by_step_while_it_is_behind() {
        let mut load = Load::default();
        let mut stages = Vec::new();
        for ms in 0..1_000 {
            load.on_round(at(ms), LONG, &RULES);
            stages.push(load.stage());
        }
        let first = |stage| stages.iter().position(|seen| *seen == stage);
        assert_eq!(
            [Stage::Strangers, Stage::Unproven, Stage::Calls].map(first),
            [Some(20), Some(100), Some(180)]
        );
        assert!((0..KIND).all(|lot| load.sheds(Stage::Calls, lot.into())));
    }

    #[test]
    fn it_sheds_a_part_of_a_kind_and_all_before_it() {
        let mut load = Load::default();
        for ms in 0..=120 {
            load.on_round(at(ms), LONG, &RULES);
        }
        let share = |stage| (0..KIND).filter(|lot| load.sheds(stage, (*lot).into())).count();
        assert_eq!([Stage::Strangers, Stage::Unproven, Stage::Calls].map(share), [256, 128, 0]);
    }

    #[test]
    fn a_flood_of_strangers_costs_no_call() {
        let mut load = Load::default();
        for ms in 0..1_000 {
            load.on_round(at(ms), LONG, &RULES);
            load.on_message(ms % 3 != 0);
        }
        assert_eq!((load.stage(), load.shares), (Stage::Unproven, UNKNOWN));
        // a moment of keeping up, and it goes on
        load.on_round(at(1_020), Duration::ZERO, &RULES);
        assert!(load.shares < UNKNOWN);
        for ms in 1_021..1_100 {
            load.on_round(at(ms), LONG, &RULES);
            load.on_message(ms % 3 != 0);
            assert!(load.shares <= UNKNOWN);
        }
        // the flood is over, and too many calls come
        for ms in 1_100..1_150 {
            load.on_round(at(ms), LONG, &RULES);
            load.on_message(false);
        }
        assert_eq!(load.stage(), Stage::Calls);
    }

    #[test]
    fn a_short_burst_sheds_nothing() {
        let mut load = Load::default();
        for ms in 0..1_000 {
            // nineteen of twenty rounds have too much to do
            let waited = if ms % 20 == 0 { Duration::ZERO } else { LONG };
            load.on_round(at(ms), waited, &RULES);
            assert_eq!(load.stage(), Stage::None, "{ms}");
        }
    }

    #[test]
    fn it_takes_more_again_when_it_keeps_up_also_after_a_silence() {
        let mut load = Load::default();
        for ms in 0..=240 {
            load.on_round(at(ms), LONG, &RULES);
        }
        assert_eq!(load.shares, MOST);
        load.on_round(at(740), Duration::ZERO, &RULES);
        assert_eq!((load.stage(), load.shares), (Stage::Calls, MOST - KIND / 2));
        load.on_round(at(1_250), Duration::ZERO, &RULES);
        assert_eq!(load.stage(), Stage::Unproven);
        load.on_round(at(1_260), LONG, &RULES);
        load.on_round(at(2_200), Duration::ZERO, &RULES);
        assert_eq!(load.stage(), Stage::Unproven, "it was behind less than a second ago");
        load.on_round(at(60_000), Duration::ZERO, &RULES);
        assert_eq!(load.stage(), Stage::None);
    }
}
