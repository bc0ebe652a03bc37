use crate::deadlines::{Deadlines, Due, patience};
use crate::{Action, Reliability};
use policy::{Time, TimerBase};
use std::time::Duration;

/// States of [`InviteServer`] (RFC 3261 figure 7 as changed by RFC 6026 figure 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InviteServerState {
    /// The TU has the INVITE.
    Proceeding,
    /// The TU sent a 300-699; it is repeated until the ACK.
    Completed,
    /// The ACK came; more copies are absorbed.
    Confirmed,
    /// The TU sent a 2xx, and may send more; INVITEs are absorbed, ACKs go to the TU.
    Accepted,
    /// Over.
    Terminated,
}

/// INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1): timers G, H, I, L. The 100 after
/// 200 ms is the owner's: it knows whether the TU answers sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteServer {
    /// Timer G; H, I or L, by the state.
    deadlines: Deadlines,
    /// Status of the last response sent, 0 when there is none.
    last: u16,
    state: InviteServerState,
    reliability: Reliability,
}

impl InviteServer {
    /// A machine for an INVITE that has just come and is with the TU.
    #[must_use]
    pub fn new(_now: Time, reliability: Reliability, _base: &TimerBase) -> Self {
        InviteServer {
            deadlines: Deadlines::NONE,
            last: 0,
            state: InviteServerState::Proceeding,
            reliability,
        }
    }

    /// The INVITE came again.
    pub fn on_request(&mut self, _now: Time) -> Action {
        use InviteServerState as S;
        match self.state {
            // "If a request retransmission is received while in the "Proceeding" state, the most
            // recent provisional response that was received from the TU MUST be passed to the
            // transport layer for retransmission."
            S::Proceeding if self.last == 0 => Action::None,
            // "Furthermore, while in the "Completed" state, if a request retransmission is
            // received, the server SHOULD pass the response to the transport for
            // retransmission."
            S::Proceeding | S::Completed => Action::Send,
            // RFC 6026 §7.1: in Accepted, retransmissions of the INVITE are absorbed; the TU repeats
            // its 2xx itself.
            S::Accepted | S::Confirmed | S::Terminated => Action::None,
        }
    }

    /// An ACK that matches came.
    pub fn on_ack(&mut self, now: Time, base: &TimerBase) -> Action {
        use InviteServerState as S;
        match self.state {
            // "If an ACK is received while the server transaction is in the "Completed" state,
            // the server transaction MUST transition to the "Confirmed" state. [...] timer I is
            // set to fire in T4 seconds for unreliable transports, and zero seconds for reliable
            // transports."
            S::Completed if self.reliability.is_reliable() => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::Terminated
            }
            S::Completed => {
                self.enter(S::Confirmed, Deadlines::until(now + base.t4));
                Action::None
            }
            // RFC 6026 §7.1: an ACK in Accepted goes to the TU.
            S::Accepted => Action::PassUp,
            S::Proceeding | S::Confirmed | S::Terminated => Action::None,
        }
    }

    /// The TU has a response. Whether it may be sent; when not, the owner drops it.
    pub fn on_sent(&mut self, now: Time, status: u16, base: &TimerBase) -> bool {
        use InviteServerState as S;
        match (self.state, status) {
            // "the TU passes any number of provisional responses to the server transaction. So
            // long as the server transaction is in the "Proceeding" state, each of these MUST be
            // passed to the transport layer".
            (S::Proceeding, ..200) => {
                self.last = status;
                true
            }
            // "If, while in the "Proceeding" state, the TU passes a 2xx response to the server
            // transaction, the server transaction MUST pass this response to the transport layer
            // for transmission." RFC 6026 §7.1: it then enters Accepted, with timer L at 64*T1.
            (S::Proceeding, 200..300) => {
                self.last = status;
                self.enter(S::Accepted, Deadlines::until(now + patience(base)));
                true
            }
            // "While in the "Proceeding" state, if the TU passes a response with status code from
            // 300 to 699 to the server transaction, the response MUST be passed to the transport
            // layer for transmission, and the state machine MUST enter the "Completed" state. For
            // unreliable transports, timer G is set to fire in T1 seconds, and is not set to fire
            // for reliable transports. [...] When the "Completed" state is entered, timer H MUST
            // be set to fire in 64*T1 seconds for all transports."
            (S::Proceeding, _) => {
                self.last = status;
                self.enter(S::Completed, Deadlines::repeating(now, self.reliability, base));
                true
            }
            // RFC 6026 §7.1: any further 2xx from the TU, repeated or forked, is sent.
            (S::Accepted, 200..300) => true,
            // "Any other final responses passed by the TU to the server transaction MUST be
            // discarded while in the "Completed" state."
            (S::Completed | S::Confirmed | S::Accepted | S::Terminated, _) => false,
        }
    }

    /// The transport could not deliver a response. RFC 6026 §7.1: the TU is told (the caller
    /// knows), the machine stays: the peer may repeat its INVITE over another flow.
    pub fn on_transport_error(&mut self, _now: Time) -> Action {
        Action::None
    }

    /// Lets what is due fire; call until it returns [`Action::None`].
    pub fn on_timeout(&mut self, now: Time, base: &TimerBase) -> Action {
        use InviteServerState as S;
        match (self.deadlines.due(now), self.state) {
            (None, _) => Action::None,
            // "If timer G fires, the response is passed to the transport layer once more for
            // retransmission, and timer G is set to fire in MIN(2*T1, T2) seconds. From then on,
            // when timer G fires, [...] timer G is reset with a value that doubles, unless that
            // value exceeds T2".
            (Some(Due::Resend), _) => {
                self.deadlines.resent(now, self.deadlines.doubled().min(base.t2));
                Action::Send
            }
            // "If timer H fires while in the "Completed" state, it implies that the ACK was never
            // received."
            (Some(Due::End), S::Completed) => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::TimedOut
            }
            // I and L end quietly.
            (Some(Due::End), _) => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::Terminated
            }
        }
    }

    /// When [`InviteServer::on_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> InviteServerState {
        self.state
    }

    /// Whether it is over and can be forgotten.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.state == InviteServerState::Terminated
    }

    fn enter(&mut self, state: InviteServerState, deadlines: Deadlines) {
        self.state = state;
        self.deadlines = deadlines;
    }
}

/// States of [`OtherServer`] (RFC 3261 figure 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtherServerState {
    /// The TU has the request; nothing was sent.
    Trying,
    /// A 100 was sent.
    Proceeding,
    /// The final response was sent; copies of the request get copies of it.
    Completed,
    /// Over.
    Terminated,
}

/// Non-INVITE server transaction (RFC 3261 §17.2.2, RFC 4320): timer J. Before a final response
/// it ends by itself after 64·T1: the client has given up by then, and a later response would be
/// a stray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherServer {
    /// The client's timer F, then timer J.
    end: Time,
    began: Time,
    state: OtherServerState,
    reliability: Reliability,
}

impl OtherServer {
    /// A machine for a request that has just come and is with the TU.
    #[must_use]
    pub fn new(now: Time, reliability: Reliability, base: &TimerBase) -> Self {
        OtherServer {
            end: now + patience(base),
            began: now,
            state: OtherServerState::Trying,
            reliability,
        }
    }

    /// The request came again.
    pub fn on_request(&mut self, _now: Time) -> Action {
        use OtherServerState as S;
        match self.state {
            // "Once in the "Trying" state, any further request retransmissions are discarded."
            S::Trying | S::Terminated => Action::None,
            // "If a retransmission of the request is received while in the "Proceeding" state, the
            // most recently sent provisional response MUST be passed to the transport layer for
            // retransmission." "While in the "Completed" state, the server transaction MUST pass
            // the final response to the transport layer for retransmission whenever a
            // retransmission of the request is received."
            S::Proceeding | S::Completed => Action::Send,
        }
    }

    /// An ACK never belongs to a non-INVITE transaction.
    pub fn on_ack(&mut self, _now: Time, _base: &TimerBase) -> Action {
        Action::None
    }

    /// The TU has a response. Whether it may be sent; when not, the owner drops it.
    pub fn on_sent(&mut self, now: Time, status: u16, base: &TimerBase) -> bool {
        use OtherServerState as S;
        match (self.state, status) {
            // RFC 4320 §4.1: "An SIP element MUST NOT respond to a non-INVITE request with a
            // Status-Code of 100 over any unreliable transport, such as UDP, before the amount of
            // time it takes a client transaction's Timer E to be reset to T2." "An SIP element
            // MAY respond [...] with a Status-Code of 100 over a reliable transport at any time."
            (S::Trying | S::Proceeding, 100) => {
                if !self.reliability.is_reliable() && now < self.began + timer_e_at_t2(base) {
                    return false;
                }
                self.state = S::Proceeding;
                true
            }
            // RFC 4320 §4.1: "An SIP element MUST NOT send any provisional response with a
            // Status-Code other than 100 to a non-INVITE request."
            (S::Trying | S::Proceeding, ..200) => false,
            // RFC 4320 §4.2: "A transaction-stateful SIP element MUST NOT send a response with
            // Status-Code of 408 to a non-INVITE request. As a consequence, an element that
            // cannot respond before the transaction expires will not send a final response at
            // all."
            (S::Trying | S::Proceeding, 408) => false,
            // "When the server transaction enters the "Completed" state, it MUST set Timer J to
            // fire in 64*T1 seconds for unreliable transports, and zero seconds for reliable
            // transports."
            (S::Trying | S::Proceeding, _) => {
                if self.reliability.is_reliable() {
                    self.enter(S::Terminated, Time::FOREVER);
                } else {
                    self.enter(S::Completed, now + patience(base));
                }
                true
            }
            // "Any other final responses passed by the TU to the server transaction MUST be
            // discarded while in the "Completed" state." RFC 4320 §4.3: no late responses.
            (S::Completed | S::Terminated, _) => false,
        }
    }

    /// The transport could not deliver a response (figure 8: "Transport Err. Inform TU",
    /// Terminated).
    pub fn on_transport_error(&mut self, _now: Time) -> Action {
        use OtherServerState as S;
        match self.state {
            S::Proceeding | S::Completed => {
                self.enter(S::Terminated, Time::FOREVER);
                Action::Terminated
            }
            S::Trying | S::Terminated => Action::None,
        }
    }

    /// Lets what is due fire; call until it returns [`Action::None`].
    pub fn on_timeout(&mut self, now: Time, _base: &TimerBase) -> Action {
        if now >= self.end {
            self.enter(OtherServerState::Terminated, Time::FOREVER);
            return Action::Terminated;
        }
        Action::None
    }

    /// When [`OtherServer::on_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        (self.end != Time::FOREVER).then_some(self.end)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> OtherServerState {
        self.state
    }

    /// Whether it is over and can be forgotten.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.state == OtherServerState::Terminated
    }

    fn enter(&mut self, state: OtherServerState, end: Time) {
        self.state = state;
        self.end = end;
    }
}

/// How long after its request a client's Timer E is set to T2: 3.5 s with the default bases.
fn timer_e_at_t2(base: &TimerBase) -> Duration {
    let mut interval = base.t1.max(Duration::from_millis(1));
    let mut total = Duration::ZERO;
    while interval < base.t2 {
        total = total.saturating_add(interval);
        interval = interval.saturating_mul(2);
    }
    total
}

#[cfg(test)]
mod tests;
