//! Which addresses of a capture are the edge's.

use super::words::looks_like_sip;
use capture::{Dissector, Reader, Seen};
use policy::Listener;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use wire::Transport;

/// Addresses that are looked at, and peers that are counted of each.
const ADDRESSES_MAX: usize = 65_536;
const PEERS_MAX: usize = 1_024;

/// An address as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeAddress {
    /// Every port on which SIP came in.
    Ip(IpAddr),
    /// This one.
    Port(SocketAddr),
}

impl fmt::Display for EdgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EdgeAddress::Ip(ip) => ip.fmt(f),
            EdgeAddress::Port(address) => address.fmt(f),
        }
    }
}

impl FromStr for EdgeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ip = text.trim_start_matches('[').trim_end_matches(']').parse();
        text.parse().map(EdgeAddress::Port).or(ip.map(EdgeAddress::Ip)).map_err(|_| {
            "an address is wanted, with or without a port: 203.0.113.1:5060".to_owned()
        })
    }
}

/// How the edge's addresses were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line says so.
    Said,
    /// They are the configuration's listeners.
    Configured,
    /// Nobody spoke SIP with more addresses.
    Guessed,
}

impl Origin {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Origin::Said => "as said",
            Origin::Configured => "from the configuration",
            Origin::Guessed => "guessed: it speaks SIP with the most addresses",
        }
    }
}

/// The edge's addresses in a capture.
#[derive(Clone, Debug)]
pub(super) struct Edges {
    pub(super) addresses: BTreeSet<SocketAddr>,
    pub(super) origin: Origin,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Speaker {
    peers: HashSet<IpAddr>,
    /// Requests that came to it.
    requests: u64,
}

impl Edges {
    /// By the command line, else by the listeners that the capture shows, else by a guess. `None`
    /// when no SIP was found.
    pub(super) fn find(
        start: &[u8],
        said: &[EdgeAddress],
        listeners: &[Listener],
    ) -> Option<Edges> {
        let speakers = listen(start);
        let asked = |ip: IpAddr| {
            let ports = speakers
                .iter()
                .filter(move |(address, speaker)| address.ip() == ip && speaker.requests > 0);
            ports.map(|(address, _)| *address)
        };
        if !said.is_empty() {
            let mut addresses = BTreeSet::new();
            for one in said {
                match one {
                    EdgeAddress::Port(address) => drop(addresses.insert(*address)),
                    EdgeAddress::Ip(ip) => {
                        addresses.extend(asked(*ip));
                        addresses.extend([5060, 5061].map(|port| SocketAddr::new(*ip, port)));
                    }
                }
            }
            return Some(Edges { addresses, origin: Origin::Said });
        }
        let configured: BTreeSet<_> = listeners
            .iter()
            .map(|listener| listener.address)
            .filter(|address| !address.ip().is_unspecified() && speakers.contains_key(address))
            .collect();
        if !configured.is_empty() {
            return Some(Edges { addresses: configured, origin: Origin::Configured });
        }
        let busiest = speakers.iter().max_by_key(|(address, speaker)| {
            // of two who only speak with each other the asked one, and always the same
            (speaker.requests > 0, speaker.peers.len(), speaker.requests, **address)
        })?;
        let addresses: BTreeSet<_> = asked(busiest.0.ip()).chain([*busiest.0]).collect();
        Some(Edges { addresses, origin: Origin::Guessed })
    }

    /// Whether a message is to or from the edge; of two that both are, to the first.
    pub(super) fn concern(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        self.addresses.contains(&destination) || self.addresses.contains(&source)
    }

    /// Whose it is: the end that is not the edge's, of two that both are the first.
    pub(super) fn client_of(&self, seen: &Seen<'_>) -> IpAddr {
        let (Seen::Datagram { source, destination, .. }
        | Seen::Stream { source, destination, .. }
        | Seen::Opened { source, destination }
        | Seen::Closed { source, destination }) = seen;
        if self.addresses.contains(destination) { source.ip() } else { destination.ip() }
    }

    /// The listeners of an edge with these addresses.
    pub(super) fn listeners(&self) -> Vec<Listener> {
        let of = |transport, address| Listener { transport, address, advertise: None };
        let both =
            |address: &SocketAddr| [of(Transport::Udp, *address), of(Transport::Tcp, *address)];
        self.addresses.iter().flat_map(both).collect()
    }
}

/// Who speaks SIP in the first bytes of a capture.
fn listen(start: &[u8]) -> HashMap<SocketAddr, Speaker> {
    let mut speakers: HashMap<SocketAddr, Speaker> = HashMap::new();
    let mut dissector = Dissector::new();
    let Ok(mut reader) = Reader::new(start) else { return speakers };
    while let Ok(Some(packet)) = reader.next_packet() {
        dissector.take(
            &packet,
            |_, _| true,
            |seen| {
                let (Seen::Datagram { source, destination, bytes }
                | Seen::Stream { source, destination, bytes }) = seen
                else {
                    return;
                };
                if !looks_like_sip(bytes) {
                    return;
                }
                let request = !bytes.starts_with(b"SIP/2.0 ");
                for (one, other, asked) in
                    [(source, destination, false), (destination, source, request)]
                {
                    if speakers.len() < ADDRESSES_MAX || speakers.contains_key(&one) {
                        let speaker = speakers.entry(one).or_default();
                        speaker.requests += u64::from(asked);
                        if speaker.peers.len() < PEERS_MAX {
                            speaker.peers.insert(other.ip());
                        }
                    }
                }
            },
        );
    }
    speakers
}
