use crate::deadlines::{Deadlines, Due, patience};
use crate::{Action, Reliability};
use policy::{Time, TimerBase};
use std::time::Duration;

/// Timer D (RFC 3261 §17.1.1.2: "at least 32 seconds for unreliable transports").
const TIMER_D: Duration = Duration::from_secs(32);

/// States of [`InviteClient`] (RFC 3261 figure 5 as changed by RFC 6026 figure 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InviteClientState {
    /// Sent; nothing came yet.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A 300-699 came and was acknowledged.
    Completed,
    /// A 2xx came; more may follow, from other branches of the path too.
    Accepted,
    /// Over.
    Terminated,
}

/// INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2): timers A, B, D, M.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteClient {
    /// Timer A; B, D or M, by the state.
    deadlines: Deadlines,
    state: InviteClientState,
    reliability: Reliability,
}

impl InviteClient {
    /// A machine whose INVITE the owner sends now.
    #[must_use]
    pub fn new(now: Time, reliability: Reliability, base: &TimerBase) -> Self {
        InviteClient {
            // "If an unreliable transport is being used, the client transaction MUST start timer
            // A with a value of T1. If a reliable transport is being used, the client
            // transaction SHOULD NOT start timer A". "For any transport, the client transaction
            // MUST start timer B with a value of 64*T1 seconds".
            deadlines: Deadlines::repeating(now, reliability, base),
            state: InviteClientState::Calling,
            reliability,
        }
    }

    /// A response that matches came.
    pub fn on_response(&mut self, now: Time, status: u16, base: &TimerBase) -> Action {
        use InviteClientState as S;
        match (self.state, status) {
            // "If the client transaction receives a provisional response while in the "Calling"
            // state, it transitions to the "Proceeding" state. In the "Proceeding" state, the
            // client transaction SHOULD NOT retransmit the request any longer. Furthermore, the
            // provisional response MUST be passed to the TU."
            (S::Calling | S::Proceeding, ..200) => {
                self.enter(S::Proceeding, Deadlines::NONE);
                Action::PassUp
            }
            // RFC 6026 §7.2: a 2xx moves the machine to Accepted and goes to the TU; timer M, 64*T1,
            // bounds how long retransmissions and forks' 2xx are let through.
            (S::Calling | S::Proceeding, 200..300) => {
                self.enter(S::Accepted, Deadlines::until(now + patience(base)));
                Action::PassUp
            }
            // "When in either the "Calling" or "Proceeding" states, reception of a response with
            // status code from 300-699 MUST cause the client transaction to transition to
            // "Completed". The client transaction MUST pass the received response up to the TU,
            // and the client transaction MUST generate an ACK request".
            (S::Calling | S::Proceeding, _) => {
                // "a value of zero seconds for reliable transports"
                if self.reliability.is_reliable() {
                    self.enter(S::Terminated, Deadlines::NONE);
                } else {
                    self.enter(S::Completed, Deadlines::until(now + TIMER_D.max(patience(base))));
                }
                Action::PassUpAndAck
            }
            // "Any retransmissions of the final response that are received while in the
            // "Completed" state MUST cause the ACK to be re-passed to the transport layer for
            // retransmission, but the newly received response MUST NOT be passed up to the TU."
            (S::Completed, 300..) => Action::Ack,
            // RFC 6026 §7.2: each 2xx in Accepted goes to the TU, who acknowledges it.
            (S::Accepted, 200..300) => Action::PassUp,
            (S::Completed | S::Accepted | S::Terminated, _) => Action::None,
        }
    }

    /// The transport gave up on the request or on an ACK.
    ///
    /// "The client transaction SHOULD inform the TU that a transport failure has occurred, and the
    /// client transaction SHOULD transition directly to the "Terminated" state" (§17.1.4).
    /// A 2xx's ACK belongs to the TU: Accepted stays (RFC 6026 §7.2).
    pub fn on_transport_error(&mut self, _now: Time) -> Action {
        use InviteClientState as S;
        match self.state {
            S::Calling | S::Proceeding => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::TimedOut
            }
            S::Completed => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::Terminated
            }
            S::Accepted | S::Terminated => Action::None,
        }
    }

    /// Lets what is due fire; call until it returns [`Action::None`].
    pub fn on_timeout(&mut self, now: Time, _base: &TimerBase) -> Action {
        use InviteClientState as S;
        match (self.deadlines.due(now), self.state) {
            (None, _) => Action::None,
            // "When timer A fires, the client transaction MUST retransmit the request by passing
            // it to the transport layer, and MUST reset the timer with a value of 2*T1. [...] This
            // process MUST continue so that the request is retransmitted with intervals that
            // double after each transmission."
            (Some(Due::Resend), _) => {
                self.deadlines.resent(now, self.deadlines.doubled());
                Action::Send
            }
            // "If the client transaction is still in the "Calling" state when timer B fires, the
            // client transaction SHOULD inform the TU that a timeout has occurred."
            (Some(Due::End), S::Calling) => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::TimedOut
            }
            (Some(Due::End), _) => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::Terminated
            }
        }
    }

    /// When [`InviteClient::on_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> InviteClientState {
        self.state
    }

    /// Whether it is over and can be forgotten.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.state == InviteClientState::Terminated
    }

    fn enter(&mut self, state: InviteClientState, deadlines: Deadlines) {
        self.state = state;
        self.deadlines = deadlines;
    }
}

/// States of [`OtherClient`] (RFC 3261 figure 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtherClientState {
    /// Sent; nothing came yet.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// A final response came; more copies are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// Non-INVITE client transaction (RFC 3261 §17.1.2): timers E, F, K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherClient {
    /// Timer E; F or K, by the state.
    deadlines: Deadlines,
    state: OtherClientState,
    reliability: Reliability,
}

impl OtherClient {
    /// A machine whose request the owner sends now.
    #[must_use]
    pub fn new(now: Time, reliability: Reliability, base: &TimerBase) -> Self {
        OtherClient {
            // "If an unreliable transport is in use, the client transaction MUST set timer E to
            // fire in T1 seconds." "When entering this state, the client transaction SHOULD set
            // timer F to fire in 64*T1 seconds."
            deadlines: Deadlines::repeating(now, reliability, base),
            state: OtherClientState::Trying,
            reliability,
        }
    }

    /// A response that matches came.
    pub fn on_response(&mut self, now: Time, status: u16, base: &TimerBase) -> Action {
        use OtherClientState as S;
        match (self.state, status) {
            // "If a provisional response is received while in the "Trying" state, the response
            // MUST be passed to the TU, and then the client transaction SHOULD move to the
            // "Proceeding" state."
            (S::Trying | S::Proceeding, ..200) => {
                self.state = S::Proceeding;
                Action::PassUp
            }
            // "If a final response (status codes 200-699) is received [...], the response MUST be
            // passed to the TU, and the client transaction MUST transition to the "Completed"
            // state. [...] Timer K to fire in T4 seconds for unreliable transports, and zero
            // seconds for reliable transports."
            (S::Trying | S::Proceeding, _) => {
                if self.reliability.is_reliable() {
                    self.enter(S::Terminated, Deadlines::NONE);
                } else {
                    self.enter(S::Completed, Deadlines::until(now + base.t4));
                }
                Action::PassUp
            }
            // "The "Completed" state exists to buffer any additional response retransmissions
            // that may be received (which is why the client transaction remains there only for
            // unreliable transports)."
            (S::Completed | S::Terminated, _) => Action::None,
        }
    }

    /// The transport gave up on the request.
    ///
    /// "The client transaction SHOULD inform the TU that a transport failure has occurred, and the
    /// client transaction SHOULD transition directly to the "Terminated" state" (§17.1.4).
    pub fn on_transport_error(&mut self, _now: Time) -> Action {
        use OtherClientState as S;
        match self.state {
            S::Trying | S::Proceeding => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::TimedOut
            }
            S::Completed | S::Terminated => Action::None,
        }
    }

    /// Lets what is due fire; call until it returns [`Action::None`].
    pub fn on_timeout(&mut self, now: Time, base: &TimerBase) -> Action {
        use OtherClientState as S;
        match (self.deadlines.due(now), self.state) {
            (None, _) => Action::None,
            // "If Timer E fires while in the "Proceeding" state, the request MUST be passed to the
            // transport layer for retransmission, and Timer E MUST be reset with a value of T2
            // seconds."
            (Some(Due::Resend), S::Proceeding) => {
                self.deadlines.resent(now, base.t2);
                Action::Send
            }
            // "If timer E fires while in the "Trying" state, the timer is reset, but this time
            // with a value of MIN(2*T1, T2)."
            (Some(Due::Resend), _) => {
                self.deadlines.resent(now, self.deadlines.doubled().min(base.t2));
                Action::Send
            }
            // Timer K.
            (Some(Due::End), S::Completed) => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::Terminated
            }
            // "If Timer F fires while the client transaction is still in the "Trying" state, the
            // client transaction SHOULD inform the TU about the timeout, and then it SHOULD enter
            // the "Terminated" state." The same holds in "Proceeding".
            (Some(Due::End), _) => {
                self.enter(S::Terminated, Deadlines::NONE);
                Action::TimedOut
            }
        }
    }

    /// When [`OtherClient::on_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> OtherClientState {
        self.state
    }

    /// Whether it is over and can be forgotten.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.state == OtherClientState::Terminated
    }

    fn enter(&mut self, state: OtherClientState, deadlines: Deadlines) {
        self.state = state;
        self.deadlines = deadlines;
    }
}

#[cfg(test)]
mod tests;
