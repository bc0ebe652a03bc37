//! What strangers have open: challenges that have not ended, and requests with the PBX, each of
//! which may fetch one.

use super::Gate;
use super::asked::Asked;
use super::steps::{Else, Stop};
use crate::Ticket;
use crate::ledger::{INVITE, Open};
use crate::passing::Kind;
use policy::{Reason, Time, Who};

impl Gate {
    /// How many challenges a source has not ended, or may be about to fetch, for accounts that are not at
    /// home there.
    pub(super) fn check_open(&mut self, now: Time, asked: &Asked<'_, '_>) -> Result<(), Stop> {
        let rules = &self.policy.admission;
        let narrowed = asked.score.short >= rules.levels.narrow;
        let invite = asked.ticket.method == INVITE;
        let (has, known) = (asked.passage, asked.ticket.who > Who::Proven);
        let (open, proven) = match invite {
            true => (has.invites, has.proven_invites),
            false => (has.others, has.proven_others),
        };
        let most = match invite {
            // somebody whom the PBX knows calls from there: in whatever name, as a PBX behind it does
            true if known => rules.narrow.others,
            true if narrowed => rules.narrow.narrowed,
            true => rules.narrow.invites,
            false => rules.narrow.others,
        };
        let proves = asked.ticket.proof.is_some();
        let all_of_pbx = invite || proves || known;
        let of_pbx = if all_of_pbx { most } else { most.min(rules.narrow.others_unproven) };
        // the challenge that is answered here is none that stays open
        let is_own = |own: &Open| own.challenges == 1 && own.is_invite() == invite;
        let own = asked.is_echo() && self.ledger.find(asked.ticket.entry).is_some_and(is_own);
        let (most, of_pbx) = (most + u32::from(own), of_pbx + u32::from(own));
        let (with_pbx, proven_with_pbx) = self.passing.of(now, asked.source, invite);
        let (all, all_proven) = (open + with_pbx, proven + proven_with_pbx);
        let (full, own_doing) = (all >= of_pbx, all_proven >= most);
        // those that are not proven may be a forger's: whoever proves himself has no part in them
        if !full || proves && !own_doing {
            return Ok(());
        }
        // the PBX will have said what it thinks of the calls before when this one comes again
        let waits = if proves { proven < most } else { open < of_pbx };
        if invite && waits {
            return Err(Stop { refusal: asked.refusal(), reason: Reason::Narrowed });
        }
        if asked.ticket.who == Who::Unproven || !own_doing {
            let otherwise = if invite { Else::Drop } else { Else::Pass };
            let reason = if all >= most { Reason::Narrowed } else { Reason::Unproven };
            return self.challenge(asked, reason, otherwise);
        }
        Err(Stop { refusal: asked.refusal(), reason: Reason::Narrowed })
    }

    /// A request goes to the PBX that may bring one of those. What answers a challenge counts as that.
    pub(super) fn begin_passage(&mut self, now: Time, asked: &mut Asked<'_, '_>) {
        if asked.ticket.at_home || asked.answers {
            return;
        }
        asked.ticket.passing = asked.source;
        self.passing.begin(now, asked.source, kind(&asked.ticket));
    }

    /// The PBX has said something to it, or it is there no more.
    pub(super) fn end_passage(&mut self, ticket: &mut Ticket) {
        let source = std::mem::take(&mut ticket.passing);
        if source != 0 {
            self.passing.end(source, kind(ticket));
        }
    }
}

fn kind(ticket: &Ticket) -> Kind {
    Kind { invite: ticket.method == INVITE, proven: ticket.proof.is_some() }
}
