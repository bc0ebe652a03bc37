//! What a request looks like, and whether that has to be read.

use super::Gate;
use super::asked::Asked;
use crate::shape::face;
use policy::{Hits, Time};

/// For so long what a home has shown is not read again.
const SHOWN_SECS: u64 = 3_600;

impl Gate {
    /// Reads the request's shape and signatures where they may teach or decide something. At home
    /// they do only when it succeeds, and the same face teaches nothing new for a while. What
    /// answers a challenge looks like the request that fetched it.
    pub(super) fn look(&mut self, now: Time, asked: &mut Asked<'_, '_>) {
        let message = asked.request.message;
        if asked.ticket.at_home {
            if !asked.ticket.credentials {
                return;
            }
            let turn = ((now.as_secs() / SHOWN_SECS) << 16) | u64::from(self.reloads);
            asked.ticket.face = face(message, turn);
            let pair = self.pairs.find(asked.pair);
            if pair.is_some_and(|pair| pair.has_shown(asked.ticket.face)) {
                return;
            }
        } else if asked.answers
            && let Some(open) = self.ledger.find(asked.ticket.entry).filter(|it| it.shape != 0)
        {
            asked.ticket.shape = open.shape;
            if open.signature != u16::MAX {
                asked.hits = Hits::from_iter([open.signature]);
            }
            return;
        }
        let signatures = &self.policy.admission.signatures;
        (asked.ticket.shape, asked.hits) = self.templates.look(signatures, message);
    }
}
