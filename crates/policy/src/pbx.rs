//! PBXs, the groups that they form, and what goes to which group.

use crate::NumberSet;
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

/// A PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pbx {
    /// What metrics, logs and operators call it; no two have one name. Its dialogs know it by this,
    /// so that it may change its address.
    pub name: Box<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is reached.
    pub transport: Transport,
    /// For TLS: the host name or address that its certificate must be for.
    pub host: Box<str>,
    /// How a registration's way back is kept.
    pub registration: Registration,
    /// Index of its group in [`crate::Policy::groups`].
    pub group: usize,
    /// As RFC 2782 has it: only the lowest among those of its group that live gets something.
    pub priority: u16,
    /// Its share among those of its priority; at least 1.
    pub weight: u16,
}

impl Pbx {
    /// Most PBXs of all groups together.
    pub const MAX: usize = 64;

    /// The only PBX of the first group, called by its address and reached over UDP.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let name: Box<str> = address.to_string().into();
        Pbx {
            name,
            address,
            transport: Transport::Udp,
            host: address.ip().to_string().into(),
            registration: Registration::default(),
            group: 0,
            priority: 0,
            weight: 1,
        }
    }

    /// By what tokens, bindings and nonces know it, whatever its place in the configuration: FNV-1a
    /// over its name. Never 0.
    #[must_use]
    pub fn id(&self) -> u32 {
        let bytes = self.name.bytes();
        bytes
            .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
            .max(1)
    }
}

/// How a registered phone is found again (RFC 3327, or a Contact of ours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// The Contact towards the PBX is `sip:<token>@inside-address`; needs no PBX setting.
    #[default]
    ContactToken,
    /// A Path header with a flow token, and `Supported: path`; the PBX needs `support_path=yes`.
    Path,
}

impl Registration {
    /// Whether Contacts become tokens.
    #[must_use]
    pub fn is_token(self) -> bool {
        self == Registration::ContactToken
    }
}

/// PBXs that can stand in for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PbxGroup {
    /// What operators call it.
    pub name: Box<str>,
    /// What goes to it; `None`: what goes to no other.
    pub reach: Option<Reach>,
}

/// What goes to a group: whatever one of these names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts of the Request-URI, lower case.
    pub domains: Vec<Box<str>>,
    /// Numbers that are dialled.
    pub dids: NumberSet,
    /// Listeners that a request came to: as [`crate::Policy::listeners`] has them.
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// Trunks that it came from, by name.
    pub trunks: Vec<Box<str>>,
}

/// How it is found out whether a PBX serves: by OPTIONS of the edge's own, and by what becomes of
/// the requests that go to it. Only where there is another to go to, or a connection to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Time from one OPTIONS to the next.
    pub every: Duration,
    /// So many in a row without an answer, or with a 503, and it is down.
    pub unanswered: u32,
    /// So many answers in a row and it is up again.
    pub answered: u32,
    /// Percent of the requests of the last 10 to 20 s that fail (no answer, 503, connection lost)
    /// by which it is down; 0 looks at none.
    pub failing: u32,
    /// Of so many requests at least.
    pub least: u32,
    /// How long one that failed requests is left alone, whatever it answers to OPTIONS.
    pub rest: Duration,
}

impl Default for Checks {
    fn default() -> Self {
        Checks {
            every: Duration::from_secs(2),
            unanswered: 2,
            answered: 2,
            failing: 50,
            least: 10,
            rest: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pbx_is_known_by_its_name() {
        let one = Pbx::new(([127, 0, 0, 1], 5070).into());
        let moved = Pbx { address: ([127, 0, 0, 2], 5070).into(), ..one.clone() };
        assert_eq!(one.id(), moved.id());
        assert_ne!(one.id(), Pbx { name: "b".into(), ..one }.id());
    }
}
