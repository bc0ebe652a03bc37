//! What nobody judges, most of all what is inside a dialog; and what goes no further whatever it is:
//! ACKs that belong to nothing here, requests that are none.

use super::Gate;
use super::asked::{Asked, Classified};
use super::evidence::slow;
use super::steps::Stop;
use crate::{Judgement, Refusal, Request};
use policy::{Mode, Reason, Time, Who};

impl Gate {
    /// Whether a message is not judged at all.
    pub(super) fn excuses(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> bool {
        if self.trust.of(now, asked.ip).is_some() {
            asked.ticket.who = Who::Trusted;
        } else if self.policy.admission.mode != Mode::Off && !self.is_in_dialog(now, asked) {
            return false;
        }
        asked.ticket.judged = false;
        true
    }

    /// Whether it is inside a dialog, as slow as dialogs are: whoever has learned the Route of one
    /// call has that one call's pace, and is judged as ever beyond it.
    fn is_in_dialog(&mut self, now: Time, asked: &Asked<'_, '_>) -> bool {
        // whoever tries credentials of an AOR that is not at home here is in no dialog of its
        if !asked.request.dialog || asked.ticket.credentials && !asked.ticket.at_home {
            return false;
        }
        let call = self.entries.hash(&[b"dialog", asked.request.message.call_id()]);
        self.rates.allows(now, slow::DIALOG, call, self.policy.admission.dialog_rate)
    }

    /// An ACK from outside that belongs to no answer known here: it goes on within a dialog, else
    /// only from those whose address is no forged one, as fast as their requests may come. Nothing
    /// answers an ACK, so every verdict but to accept it drops it.
    pub fn on_stray_ack(&mut self, now: Time, ack: &Request<'_, '_>) -> Judgement {
        self.clock = now;
        let mut asked = self.ask(now, ack, Classified::bare(ack.flow));
        if self.excuses(now, &mut asked) {
            return asked.judged(Ok(()), None);
        }
        let decided = self.check_stray(now, &mut asked);
        let observed = decided.err().and_then(|stop| self.observed(stop.refusal));
        asked.judged(decided, observed)
    }

    /// A request from outside that ends at this edge whatever it is judged to be: an invalid one (RFC
    /// 3261 §16.3), a CANCEL of nothing. To accept it is to let it be answered, as a rule's refusal
    /// does; it opens nothing and ends nothing.
    pub fn on_unfit(&mut self, now: Time, request: &Request<'_, '_>) -> Judgement {
        self.clock = now;
        let mut asked = self.ask(now, request, Classified::bare(request.flow));
        if self.excuses(now, &mut asked) {
            return asked.judged(Ok(()), None);
        }
        self.look(now, &mut asked);
        let decided = self.check_unfit(now, &mut asked);
        let observed = decided.err().and_then(|stop| self.observed(stop.refusal));
        asked.judged(decided, observed)
    }

    fn check_unfit(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        self.check_method_and_looks(asked)?;
        self.check_rates(now, asked)
    }

    fn check_stray(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        if asked.ticket.who == Who::Unproven {
            return Err(Stop { refusal: Refusal::Drop, reason: Reason::Unproven });
        }
        self.check_rules(asked)?;
        self.check_rates(now, asked)
    }
}
