//! What a request looks like, and whether that has to be read.

use super::Gate;
use super::asked::Asked;
use crate::shape::{face, shape};
use policy::{Hits, Time};

/// For so long what a home has shown is not read again.
const SHOWN_SECS: u64 = 3_600;

/// Where a request's looks are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// From itself.
    Read,
    /// From the request that fetched the challenge it answers, with the signature that matched.
    OfFirst(u16),
    /// They are not asked.
    Unread,
}

impl Gate {
    /// Reads the request's shape where that may teach or decide something. At home it does only
    /// when it succeeds, and the same face teaches nothing new for a while. What answers a challenge
    /// looks like the request that fetched it.
    pub(super) fn look(&mut self, now: Time, asked: &mut Asked<'_, '_>) {
        let message = asked.request.message;
        if asked.ticket.at_home {
            if !asked.ticket.credentials {
                asked.looks = Looks::Unread;
                return;
            }
            let turn = ((now.as_secs() / SHOWN_SECS) << 16) | u64::from(self.reloads);
            asked.ticket.face = face(message, turn);
            let pair = self.pairs.find(asked.pair);
            if pair.is_some_and(|pair| pair.has_shown(asked.ticket.face)) {
                asked.looks = Looks::Unread;
                return;
            }
        } else if asked.answers
            && let Some(open) = self.ledger.find(asked.ticket.entry).filter(|it| it.shape != 0)
        {
            (asked.ticket.shape, asked.looks) = (open.shape, Looks::OfFirst(open.signature));
            return;
        }
        asked.ticket.shape = shape(message);
    }

    /// Signatures that the request matches, as far as they are asked.
    pub(super) fn hits(&self, asked: &Asked<'_, '_>) -> Hits {
        match asked.looks {
            Looks::Read => self.policy.admission.signatures.matches(asked.request.message),
            Looks::OfFirst(signature) if signature != u16::MAX => Hits::from_iter([signature]),
            Looks::OfFirst(_) | Looks::Unread => Hits::new(),
        }
    }
}
