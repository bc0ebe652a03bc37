//! `hep`: what is judged, for a capture server (`docs/hep.md`).

use crate::form::{Count, Scalar, Size, Word};
use crate::keys::{Element, Keys};
use crate::problem::Complaint;
use crate::table::Field;
use crate::value;
use std::net::{Ipv4Addr, SocketAddr};

/// Where messages are sent to with what was decided about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hep {
    /// The capture server.
    pub address: SocketAddr,
    /// Over what.
    pub transport: HepTransport,
    /// Which messages.
    pub what: HepWhat,
    /// The number of this agent among those of the capture server.
    pub agent: u32,
    /// The name of this node.
    pub node: String,
    /// Bytes of messages that may wait in each shard.
    pub queue: usize,
}

/// Over what messages are sent to a capture server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HepTransport {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
}

/// Which messages are sent to a capture server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HepWhat {
    /// Those that are dropped or rejected, or would be.
    #[default]
    Refused,
    /// All that are judged.
    All,
}

impl Default for Hep {
    fn default() -> Self {
        Hep {
            address: (Ipv4Addr::LOCALHOST, 9060).into(),
            transport: HepTransport::Udp,
            what: HepWhat::Refused,
            agent: 2_001,
            node: "ringfence".into(),
            queue: 1 << 20,
        }
    }
}

const TRANSPORTS: Word<HepTransport> =
    Word("transport of HEP", &[("udp", HepTransport::Udp), ("tcp", HepTransport::Tcp)]);
const WHAT: Word<HepWhat> =
    Word("choice of messages", &[("refused", HepWhat::Refused), ("all", HepWhat::All)]);
const ADDRESS: Scalar<SocketAddr> = Scalar(value::address, |address| address.to_string());
const NODE: Scalar<String> = Scalar(node, String::clone);

fn node(text: &str) -> Result<String, Complaint> {
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
    let complaint = || Complaint::new(format!("\"{text}\" is no name of a node"));
    if plain { Ok(text.to_owned()) } else { Err(complaint().hint("one word, e.g. edge-1")) }
}

impl Element for Hep {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Hep { address, transport, what, agent, node, queue } = self;
        keys.key("address", "The capture server", address, ADDRESS);
        keys.key("transport", "Over what", transport, TRANSPORTS);
        keys.key("what", "Which messages", what, WHAT);
        keys.key("agent", "The number of this agent", agent, Count(0, u32::MAX as u64));
        keys.key("node", "The name of this node", node, NODE);
        let about = "Bytes of messages that may wait in each shard";
        keys.key("queue", about, queue, Size(64 << 10, 1 << 30));
    }

    fn check(&self, field: &Field<'_>) {
        if field.below("address").is_none() {
            let complaint = Complaint::new("the key \"address\" is missing");
            field.error(complaint.hint("the capture server, e.g. address: \"192.0.2.10:9060\""));
        }
    }
}
