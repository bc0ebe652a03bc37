//! Tracked flows of those who are banned: their entries go, so that nothing that was set up for an
//! established flow (a reply's address, an offloaded path) outlives the ban.

use crate::drop_set::{Destination, Protocol};
use crate::netlink::{ACK, DUMP, Messages, Socket, attribute, number};
use policy::Network;
use rustix::net::netlink::NETFILTER;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// `IPCTNL_MSG_CT_GET` and `_DELETE` of `NFNL_SUBSYS_CTNETLINK`.
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
/// Bytes of `nfgenmsg`.
const HEAD: usize = 4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `CTA_*`.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;

/// Bans that may wait for a look at the flows; more are left to their flows' timeouts.
const QUEUE: usize = 1_024;
/// Most flows deleted after one look.
const DELETED_MAX: usize = 65_536;
/// Pause after a look, as a multiple of what it took: a machine that tracks a million flows spends
/// a twentieth of its time here at worst.
const PAUSE: u32 = 20;
/// Pause at least, so that bans that come together share a look.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// A thread that deletes flows. It ends with this value.
#[derive(Debug)]
pub struct Flows {
    banned: SyncSender<Vec<Network>>,
}

impl Flows {
    /// Starts the thread; flows to these destinations are ours.
    ///
    /// # Errors
    /// When there can be no thread or no socket.
    pub fn start(destinations: Vec<Destination>) -> std::io::Result<Self> {
        let socket = Socket::open(Some(NETFILTER), 1 << 20)?;
        let (banned, receiver) = sync_channel(QUEUE);
        let work = move || work(socket, &destinations, &receiver);
        std::thread::Builder::new().name("flows".into()).spawn(work)?;
        Ok(Flows { banned })
    }

    /// Flows of these end soon. The kernel drops what they send in any case.
    pub fn end(&self, banned: Vec<Network>) {
        // a full queue means that a look is due that takes long: their entries time out
        let _ = self.banned.try_send(banned);
    }
}

fn work(mut socket: Socket, destinations: &[Destination], receiver: &Receiver<Vec<Network>>) {
    while let Ok(mut banned) = receiver.recv() {
        banned.extend(receiver.try_iter().take(QUEUE).flatten());
        let banned = Banned::new(banned);
        let took = look(&mut socket, destinations, &banned);
        std::thread::sleep((took * PAUSE).max(PAUSE_MIN));
    }
}

/// Looks through all flows once. How long that took.
#[allow(clippy::disallowed_methods)] // how long to pause is no decision about anybody
fn look(socket: &mut Socket, destinations: &[Destination], banned: &Banned) -> Duration {
    let began = Instant::now();
    let mut met: Vec<(u8, Vec<u8>)> = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut question = Messages::default();
        question.push(GET, DUMP, &[family, 0, 0, 0], |_| {});
        // a kernel that tracks nothing has nothing to delete
        let _ = socket.ask(&question, |body| {
            let body = body.get(HEAD..).unwrap_or_default();
            if met.len() < DELETED_MAX && is_met(body, destinations, banned) {
                met.push((family, body.to_vec()));
            }
        });
    }
    for (family, flow) in &met {
        let mut order = Messages::default();
        order.push(DELETE, ACK, &[*family, 0, 0, 0], |out| {
            for kind in [TUPLE_ORIG, ID, ZONE] {
                let Some(value) = attribute(&flow[..], kind) else { continue };
                match kind {
                    TUPLE_ORIG => out.nest(kind, |out| out.raw(value)),
                    _ => out.bytes(kind, value),
                };
            }
        });
        // one that ended in between is gone as well
        let _ = socket.request(&order, 0);
    }
    if !met.is_empty() {
        tracing::debug!(flows = met.len(), "Tracked flows of banned sources deleted");
    }
    began.elapsed()
}

/// Whether the flow is between a banned source and us, whoever began it.
fn is_met(flow: &[u8], destinations: &[Destination], banned: &Banned) -> bool {
    [TUPLE_ORIG, TUPLE_REPLY].into_iter().any(|kind| {
        attribute(flow, kind).and_then(tuple).is_some_and(|(source, protocol, to, port)| {
            banned.has(source) && destinations.iter().any(|at| at.covers(protocol, to, port))
        })
    })
}

/// Source, protocol, destination and its port.
fn tuple(bytes: &[u8]) -> Option<(IpAddr, Protocol, IpAddr, u16)> {
    let ip = attribute(bytes, TUPLE_IP)?;
    let address = |v4, v6| {
        let v4 = attribute(ip, v4).and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from);
        let v6 = || attribute(ip, v6).and_then(|ip| <[u8; 16]>::try_from(ip).ok());
        v4.or_else(|| v6().map(IpAddr::from))
    };
    let proto = attribute(bytes, TUPLE_PROTO)?;
    let protocol = match attribute(proto, PROTO_NUM)? {
        [17] => Protocol::Udp,
        [6] => Protocol::Tcp,
        _ => return None,
    };
    let port = number::<2>(attribute(proto, PROTO_DST_PORT)?)?;
    let (source, to) = (address(IP_V4_SRC, IP_V6_SRC)?, address(IP_V4_DST, IP_V6_DST)?);
    Some((source, protocol, to, u16::try_from(port).ok()?))
}

/// Networks by their length of prefix.
struct Banned {
    networks: HashSet<Network>,
    lengths: Vec<(bool, u8)>,
}

impl Banned {
    fn new(networks: Vec<Network>) -> Self {
        let length = |network: &Network| (network.address().is_ipv4(), network.prefix());
        let mut lengths: Vec<_> = networks.iter().map(length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Banned { networks: networks.into_iter().collect(), lengths }
    }

    fn has(&self, ip: IpAddr) -> bool {
        let of_family = self.lengths.iter().filter(|(v4, _)| *v4 == ip.is_ipv4());
        of_family.map(|(_, prefix)| Network::new(ip, *prefix)).any(|it| self.networks.contains(&it))
    }
}
