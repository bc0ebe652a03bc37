//! The four transaction machines of RFC 3261 §17 with RFC 6026 (INVITE 2xx) and RFC 4320
//! (non-INVITE), and a timing wheel for their deadlines.
//!
//! # Contract
//!
//! - A machine is state and deadlines: a plain `Copy` value of at most 48 bytes. The owner keeps
//!   the messages, sends them, matches them (§17.1.3, §17.2.3), and does what the returned
//!   [`Action`] says.
//! - Timers are deadlines. After each call the owner looks at `deadline()`; when it is due, it
//!   calls `on_timeout` until that returns [`Action::None`]. A late call never causes a burst: what
//!   was missed is sent once.
//! - A machine never asks for a message to be sent after it is Terminated, and every order of
//!   events ends within 64·T1 of its last step, except an INVITE that has only provisional
//!   responses: its owner has Timer C for that.
//!
//! It does not know branches, bytes, transports' addresses, or what the TU decides.

mod client;
mod deadlines;
mod server;
mod wheel;

pub use client::{InviteClient, InviteClientState, OtherClient, OtherClientState};
pub use server::{InviteServer, InviteServerState, OtherServer, OtherServerState};
pub use wheel::Timers;

/// Whether the transport itself delivers once and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// UDP: the machines retransmit, and linger to absorb retransmissions.
    Unreliable,
    /// TCP, TLS: no retransmissions; timers D, I, J and K are zero.
    Reliable,
}

impl Reliability {
    /// From the answer to "is this transport reliable?".
    #[must_use]
    pub fn from_reliable(reliable: bool) -> Self {
        if reliable { Reliability::Reliable } else { Reliability::Unreliable }
    }

    fn is_reliable(self) -> bool {
        self == Reliability::Reliable
    }
}

/// What the owner must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing; a received message is absorbed.
    None,
    /// Send the retained message again: the request of a client, the last response of a server.
    Send,
    /// Hand the received message to the TU.
    PassUp,
    /// Client INVITE: hand the response to the TU and send an ACK for it (§17.1.1.3). On a
    /// reliable transport the machine may be Terminated already.
    PassUpAndAck,
    /// Client INVITE: send the ACK again; the response is a retransmission.
    Ack,
    /// Tell the TU that nothing comes any more (timers B, F, H; for clients also a transport
    /// error). The machine is Terminated.
    TimedOut,
    /// The machine has reached Terminated in the ordinary way; it can be forgotten.
    Terminated,
}
