use admission::{BanId, Judgement, Proof};
use policy::{Reason, Who};
use std::time::Duration;
use wire::{Flow, Side};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Passed on to the other side.
    Forward,
    /// Consumed here, as it should be (retransmission, ACK to our own answer, 100, keep-alive).
    Absorb,
    /// Answered here with this status.
    Reject(u16),
    /// Thrown away in silence.
    Drop,
}

/// What the gate knew when it judged a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grounds {
    /// Index of the policy's rule that decided, `u16::MAX` for none.
    pub rule: u16,
    /// Index of the signature that decided, `u16::MAX` for none.
    pub signature: u16,
    /// What was known of the sender.
    pub who: Who,
    /// It was judged at all: it is neither trusted nor inside a dialog.
    pub judged: bool,
    /// Its AOR was at home at its source.
    pub at_home: bool,
    /// It came with credentials that passed.
    pub credentials: bool,
    /// The message's shape; 0 where that was not looked at.
    pub shape: u64,
    /// The ban that decided, of a pair or a campaign.
    pub ban: Option<BanId>,
    /// How its return path was proven.
    pub proof: Option<Proof>,
    /// Evidence on its source.
    pub score: f32,
    /// What would have been done, were the rule (or all) not in `mode: observe`.
    pub would: Option<Verdict>,
}

impl Grounds {
    pub(crate) fn new(judgement: &Judgement) -> Self {
        let would = judgement.would.map(|would| match would {
            admission::Refusal::Challenge => Verdict::Reject(401),
            admission::Refusal::Drop => Verdict::Drop,
            admission::Refusal::Reject(status) => Verdict::Reject(status),
        });
        let Judgement { rule, signature, who, proof, score, .. } = *judgement;
        let Judgement { judged, at_home, credentials, shape, ban, .. } = *judgement;
        Grounds {
            rule,
            signature,
            who,
            judged,
            at_home,
            credentials,
            shape,
            ban,
            proof,
            score,
            would,
        }
    }
}

/// A decision: each input message makes exactly one. The counter, the audit line and the
/// explanation are this one fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Where the message came from.
    pub side: Side,
    /// By which flow.
    pub flow: Flow,
    /// Index of the method in [`Event::METHODS`].
    pub method: u8,
    /// Status code of a response, 0 for a request.
    pub status: u16,
    /// What was done.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// For [`Reason::Malformed`]: the scanner's word.
    pub detail: &'static str,
    /// Version of the policy by which it was decided.
    pub policy_version: u64,
    /// For a request from outside that the gate judged: what it knew.
    pub grounds: Option<Grounds>,
    /// For the PBX's first answer to a request: how long after the request.
    pub waited: Option<Duration>,
    /// Its number among the decisions that are kept ([`crate::Engine::decisions`]), if it is one.
    pub kept: Option<u64>,
}

impl Event {
    /// Label values for methods: a closed set.
    pub const METHODS: [&'static str; 16] = policy::METHODS;

    /// A decision with nothing more to say of it.
    #[must_use]
    pub fn new(
        side: Side,
        flow: Flow,
        method: u8,
        status: u16,
        verdict: Verdict,
        reason: Reason,
    ) -> Self {
        Event {
            side,
            flow,
            method,
            status,
            verdict,
            reason,
            detail: "",
            policy_version: 0,
            grounds: None,
            waited: None,
            kept: None,
        }
    }
}
