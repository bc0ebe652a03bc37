use policy::Reason;
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

/// A decision: each input message makes exactly one. The counter, the audit line and the
/// explanation are this one fact.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Event {
    /// Label values for methods: a closed set.
    pub const METHODS: [&'static str; 16] = policy::METHODS;
}
