//! What the gate is asked, and what it answers.

use crate::BanId;
use crate::rules::user;
use policy::{Reason, Who};
use wire::uri::aor;
use wire::{Flow, Message, find_byte};

/// Index of REGISTER in [`policy::METHODS`].
pub(crate) const REGISTER: u8 = 11;

/// A request from outside, no retransmission, no ACK, no CANCEL.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r, 'a> {
    /// By which flow it came.
    pub flow: &'r Flow,
    /// The message.
    pub message: &'r Message<'a>,
    /// Whether it is inside a dialog that a Route of ours proves for this source.
    pub dialog: bool,
    /// The PBX that it is for ([`policy::Pbx::id`]): a nonce is good at the one that made it.
    pub pbx: u32,
}

/// How a return path was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A completed TCP or TLS handshake.
    Handshake,
    /// An ACK echoed a To-tag that its sender could not know.
    AckTag,
    /// Credentials echoed our prefix of `opaque`.
    Opaque,
    /// Credentials echoed the nonce of the edge's own challenge.
    Nonce,
}

impl Proof {
    /// All.
    pub const ALL: [Proof; 4] = [Proof::Handshake, Proof::AckTag, Proof::Opaque, Proof::Nonce];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Proof::Handshake => "handshake",
            Proof::AckTag => "ack_tag",
            Proof::Opaque => "opaque",
            Proof::Nonce => "nonce",
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It goes on.
    Accept(Pass),
    /// It goes no further.
    Refuse(Refusal),
}

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The edge challenges it: [`crate::Gate::write_challenge`] writes the header lines.
    Challenge,
    /// It is dropped in silence.
    Drop,
    /// It is answered statelessly (RFC 3261 §8.2.7); 503 with Retry-After.
    Reject(u16),
}

/// A request that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pass {
    /// What its credentials are, and so what is to be done with them.
    pub credentials: Credentials,
    /// To be kept with the request, and given back when it is answered.
    pub ticket: Ticket,
}

/// What the credentials of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// There are none (of scheme Digest).
    Absent,
    /// Their nonce was relayed to this source: they pass. A prefix of ours in `opaque` is taken
    /// off again.
    Relayed,
    /// Their nonce was not: they are taken out, and the new challenge gets `stale=true`.
    Foreign,
    /// They answer the edge's own challenge: taken out likewise.
    Echo,
}

impl Credentials {
    /// Whether the header lines must not reach the PBX.
    #[must_use]
    pub fn are_stripped(self) -> bool {
        matches!(self, Credentials::Foreign | Credentials::Echo)
    }
}

/// What the outcome stage must know of a request, so that nothing is parsed again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticket {
    /// The PBX that it is for.
    pub pbx: u32,
    /// Key of its ledger entry: source, Call-ID, From-tag, method.
    pub entry: u64,
    /// Hash of its AOR.
    pub aor: u64,
    /// Hash of the AOR that its credentials are for: the user that they name. The same as `aor`
    /// without credentials that pass.
    pub account: u64,
    /// Its shape; 0 when that says nothing: of what is not judged, and of a home before it succeeds
    /// or when it has succeeded with that face.
    pub shape: u64,
    /// Of a home that comes with credentials: what of its looks is quickly read, and which hour it is.
    pub face: u32,
    /// What was known of its sender.
    pub who: Who,
    /// Index of the method in [`policy::METHODS`].
    pub method: u8,
    /// What its outcome's weight is multiplied with, by signatures and rules: 1, 2 or 3.
    pub factor: u8,
    /// Index of the rule that made that so, `u16::MAX` for none: a signature or a feed did.
    pub raised_by: u16,
    /// Index of the heaviest signature it matched, `u16::MAX` for none.
    pub signature: u16,
    /// Which numbering of rules and signatures these are of.
    pub numbers: u16,
    /// It came with credentials that passed.
    pub credentials: bool,
    /// Its AOR is at home at its source.
    pub at_home: bool,
    /// It asked for a honeytoken.
    pub honeytoken: bool,
    /// It calls one of our numbers and looks like no tool.
    pub candidate: bool,
    /// It is judged at all: neither trusted nor inside a dialog.
    pub judged: bool,
    /// It had a To-tag, so that an echo of its answer's To-tag proves nothing.
    pub tagged: bool,
    /// What the request itself proves: its stream, or what its credentials echo.
    pub proof: Option<Proof>,
    /// It took one of the tries that strangers have at its account when the guard was up.
    pub guarded: bool,
    /// It took one of the tries that its narrowed source, or slowed home, has.
    pub slowed: bool,
    /// Key of the pair at which its credentials are a try under way; 0 when they are none.
    pub tried: u64,
    /// Key of all its source's tries at accounts not at home there, or of all at its home.
    pub tried_over_all: u64,
    /// Key of the source at which it counts until the PBX says something to it; 0 when it does not.
    pub passing: u64,
    /// Hash of realm and algorithm of credentials that answer the edge's own challenge with a nonce
    /// of the PBX's; 0 for all others.
    pub offered: u64,
}

/// A verdict with what explains it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// What becomes of the request. In `mode: observe` always [`Verdict::Accept`].
    pub verdict: Verdict,
    /// Why; [`Reason::Clean`] when nothing spoke against it.
    pub reason: Reason,
    /// Index of the policy's rule that decided, `u16::MAX` for none.
    pub rule: u16,
    /// Index of the signature that decided, `u16::MAX` for none.
    pub signature: u16,
    /// What is known of the sender.
    pub who: Who,
    /// How the return path to the sender was proven last, as far as that counts at this moment.
    pub proof: Option<Proof>,
    /// It was judged at all: it is neither trusted nor inside a dialog.
    pub judged: bool,
    /// Its AOR is at home at its source.
    pub at_home: bool,
    /// It came with credentials that passed.
    pub credentials: bool,
    /// Its shape; 0 where that was not looked at.
    pub shape: u64,
    /// The ban that decided.
    pub ban: Option<BanId>,
    /// Evidence on its source.
    pub score: f32,
    /// What would have been decided, when the rule or all is in `mode: observe`.
    pub would: Option<Refusal>,
}

/// A final response on its way out, with the request's ticket.
#[derive(Clone, Copy, Debug)]
pub struct Final<'r, 'a> {
    /// To whom.
    pub flow: &'r Flow,
    /// The response.
    pub message: &'r Message<'a>,
    /// Of the request.
    pub ticket: &'r Ticket,
    /// The Request-URI of the request.
    pub request_uri: &'r [u8],
}

impl<'r, 'a> Final<'r, 'a> {
    /// For explanations: `user@host` of whom the request was from, or registered.
    pub(crate) fn aor(&self) -> &'a [u8] {
        let of_to = self.ticket.method == REGISTER;
        aor(if of_to { self.message.to().uri } else { self.message.from().uri })
    }

    /// For explanations, too: whom its request was for.
    pub(crate) fn dialled(&self) -> &'r [u8] {
        dialled(self.request_uri)
    }
}

/// The user of a Request-URI; of a `tel` URI and the like all behind the scheme.
pub(crate) fn dialled(uri: &[u8]) -> &[u8] {
    // a registrar's has none; that it can be read the scanner has seen
    if uri.starts_with(b"sip:") && find_byte(b'@', uri).is_none() {
        return b"";
    }
    user(uri)
}

/// An ACK to a non-2xx (or, for an unchallenged call, to a 2xx) from outside.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged<'r, 'a> {
    /// From whom.
    pub flow: &'r Flow,
    /// The ACK.
    pub message: &'r Message<'a>,
    /// Of the exchange that it ends, when Call-ID and both tags are those of one that is at hand.
    pub ticket: Option<&'r Ticket>,
}
