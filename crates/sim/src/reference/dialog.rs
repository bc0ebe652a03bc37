//! "Inside a dialog", and "ACKs" that belong to no answer of the edge's.

use super::asked::{Asked, Held};
use super::steps::{PASS, Verdict};
use super::{Class, Reference};
use crate::sip::{Msg, SipUri, uri_of};
use policy::{Reason, Time, Who};
use wire::Flow;

/// The dialog that a message says it is in: its Call-ID, and the user of its first Route.
pub(super) fn route_of(msg: &Msg) -> Option<[String; 2]> {
    let route = msg.values("Route").first().map(|route| SipUri::parse(uri_of(route)))?;
    Some([msg.value("Call-ID").to_string(), route.unwrap_or_default().user])
}

impl Reference {
    /// "at most `dialog_rate` of a call, and judged as ever beyond that"
    pub(super) fn count_in_dialog(&mut self, now: Time, asked: &mut Asked) {
        if asked.who != Who::Trusted && asked.in_dialog() {
            let rate = self.rules().dialog_rate;
            asked.routed = self.spend(now, format!("dialog {}", asked.call_id), rate);
            self.judged_in_dialogs += u64::from(!asked.routed);
        }
    }

    /// What an ACK is, for which no answer of the edge's was found: neither its credentials nor its
    /// looks are read, and a Route of its call's counts "whatever its address".
    pub(super) fn ask_stray(&mut self, now: Time, flow: &Flow, ack: &Msg, bytes: &[u8]) -> Asked {
        let mut bare = ack.clone();
        bare.remove("Authorization").remove("Proxy-Authorization");
        let mut asked = self.ask(now, flow, &bare, bytes);
        (asked.held, asked.ceiling) = (Held::None, None);
        let route = route_of(ack);
        asked.routed = route.is_some_and(|it| self.told.values().any(|told| told.has(&it)));
        self.count_in_dialog(now, &mut asked);
        asked
    }

    /// "from a trusted source; else only from one that is known or proven, by the rules of steps 4
    /// and 7. All others are dropped"
    pub(super) fn judge_stray(&mut self, now: Time, flow: &Flow, asked: &mut Asked) -> Verdict {
        if !asked.is_judged() {
            return PASS;
        }
        if asked.who == Who::Unproven {
            return (Class::Stop, Reason::Unproven);
        }
        let stop = self.rules_stop(now, flow, asked);
        let stop = stop.or_else(|| self.rates_stop(now, flow, asked));
        stop.map_or(PASS, |(_, reason)| (Class::Stop, reason))
    }
}
