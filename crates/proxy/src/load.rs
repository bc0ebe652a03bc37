//! What is shed when a shard cannot keep up.
//!
//! A shard is behind as long as its rounds end by their budgets and not because its sockets are
//! empty. When that lasts, it takes less, a step at a time, and what costs its users least goes first
//! ([`Stage`]); when it has kept up for a while, it takes more again, a step at a time. What a call
//! in progress or a registered phone needs is never shed.

use crate::engine::{Arrival, Engine};
use crate::request::Refusal;
use crate::{Stage, Verdict};
use policy::{Overload, Reason, Time, Who};
use wire::{HeaderName, Message, Method, Side};

/// How a shard keeps up.
#[derive(Debug, Default)]
pub(crate) struct Load {
    stage: Stage,
    /// Since when it is behind, or what it has changed since then has had time to help.
    behind: Option<Time>,
    /// When it was behind last, or changed its stage.
    troubled: Time,
}

impl Load {
    /// Whether the last round was ended by its budget.
    pub(crate) fn on_round(&mut self, now: Time, behind: bool, rules: &Overload) {
        if behind {
            self.troubled = now;
            let since = *self.behind.get_or_insert(now);
            if now.since(since) >= rules.patience {
                self.stage = self.stage.next();
                self.behind = Some(now);
            }
            return;
        }
        self.behind = None;
        while self.stage != Stage::None && now.since(self.troubled) >= rules.calm {
            self.stage = self.stage.previous();
            self.troubled = self.troubled + rules.calm;
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }
}

impl Engine {
    /// Whether a request ends here because the shard is behind: dropped, for an answer costs as
    /// much as its judgement; only those who are known are told to come again later.
    pub(crate) fn is_shed(&mut self, now: Time, arrival: Arrival<'_, '_>) -> bool {
        if self.load.stage() == Stage::None || arrival.side == Side::Inside {
            return false;
        }
        let Some(least) = self.class(now, arrival) else { return false };
        if self.load.stage() < least {
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
    use std::time::Duration;

    const RULES: Overload =
        Overload { patience: Duration::from_millis(20), calm: Duration::from_secs(1) };

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_takes_less_step_by_step_while_it_is_behind() {
        let mut load = Load::default();
        let mut stages = Vec::new();
        for ms in 0..100 {
            load.on_round(at(ms), true, &RULES);
            stages.push(load.stage());
        }
        let first = |stage| stages.iter().position(|seen| *seen == stage);
        assert_eq!(
            [Stage::Strangers, Stage::Unproven, Stage::Calls].map(first),
            [Some(20), Some(40), Some(60)]
        );
    }

    #[test]
    fn a_short_burst_sheds_nothing() {
        let mut load = Load::default();
        for ms in 0..1_000 {
            // nineteen of twenty rounds have too much to do
            load.on_round(at(ms), ms % 20 != 0, &RULES);
            assert_eq!(load.stage(), Stage::None, "{ms}");
        }
    }

    #[test]
    fn it_takes_more_again_when_it_keeps_up_also_after_a_silence() {
        let mut load = Load::default();
        for ms in 0..=60 {
            load.on_round(at(ms), true, &RULES);
        }
        load.on_round(at(500), false, &RULES);
        assert_eq!(load.stage(), Stage::Calls);
        load.on_round(at(1_060), false, &RULES);
        assert_eq!(load.stage(), Stage::Unproven);
        load.on_round(at(1_070), true, &RULES);
        load.on_round(at(2_060), false, &RULES);
        assert_eq!(load.stage(), Stage::Unproven, "it was behind less than a second ago");
        load.on_round(at(60_000), false, &RULES);
        assert_eq!(load.stage(), Stage::None);
    }
}
