//! Requests judged again by another policy: what a change of rules or signatures would have done to
//! what came.

use super::Gate;
use super::asked::Classified;
use crate::{Credentials, Judgement, Request};
use policy::{Mode, Time, Who};

/// What was known of a request when it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What its sender was.
    pub who: Who,
    /// Its AOR was at home there.
    pub at_home: bool,
    /// It came with credentials that passed.
    pub credentials: bool,
}

impl Gate {
    /// What rules (those without a rate) and signatures say of a request by itself, its sender known
    /// as he was: no ban, no rate, no evidence is asked. On a gate of its own, where nothing else
    /// comes.
    pub fn judge_again(
        &mut self,
        now: Time,
        request: &Request<'_, '_>,
        known: &Known,
    ) -> Judgement {
        let passes = if known.credentials { Credentials::Relayed } else { Credentials::Absent };
        let classified = Classified { credentials: passes, ..Classified::bare(request.flow) };
        let mut asked = self.ask(now, request, classified);
        (asked.ticket.who, asked.ticket.at_home) = (known.who, known.at_home);
        if self.policy.admission.mode == Mode::Off {
            return asked.judged(Ok(()), None);
        }
        let decided = self.check_rules(&mut asked).and_then(|()| self.check_signatures(&mut asked));
        let observed = decided.err().and_then(|stop| self.observed(stop.refusal));
        asked.judged(decided, observed)
    }
}
