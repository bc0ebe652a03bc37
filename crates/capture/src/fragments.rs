//! IP fragments put together (RFC 791 §3.2, RFC 8200 §4.5), within bounds.

use crate::Recent;
use etherparse::defrag::IpDefragBuf;
use etherparse::{IpFragOffset, IpNumber, Ipv6ExtensionSlice, LaxNetSlice};
use policy::Time;
use std::net::IpAddr;
use std::time::Duration;

/// Datagrams in the making at a time.
const DATAGRAMS_MAX: usize = 1_024;
/// Pieces with gaps between them of one datagram.
const PIECES_MAX: usize = 64;
/// How long a datagram may take (RFC 8200 §4.5: "60 seconds").
const PATIENCE: Duration = Duration::from_secs(60);

/// What makes fragments belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    source: IpAddr,
    destination: IpAddr,
    number: u32,
    payload: IpNumber,
}

/// Datagrams in the making.
#[derive(Debug)]
pub(crate) struct Fragments {
    pending: Recent<Id, (Time, IpDefragBuf)>,
    /// Datagrams that never became whole, and fragments that cannot be.
    lost: u64,
}

/// A fragment's place.
struct Place {
    id: Id,
    offset: IpFragOffset,
    more: bool,
}

impl Fragments {
    pub(crate) fn new() -> Self {
        Fragments { pending: Recent::new(DATAGRAMS_MAX), lost: 0 }
    }

    /// Takes a fragment; the whole payload when it was the last.
    pub(crate) fn take(&mut self, at: Time, net: &LaxNetSlice<'_>) -> Option<Vec<u8>> {
        let place = place(net)?;
        let payload = net.ip_payload_ref()?;
        if payload.incomplete {
            self.lost += 1;
            return None;
        }
        let stale = |(began, _): &(Time, IpDefragBuf)| at.since(*began) > PATIENCE;
        if self.pending.get(&place.id).is_none_or(stale) {
            let buffer = IpDefragBuf::new(place.id.payload, Vec::new(), Vec::new());
            self.lost += u64::from(self.pending.insert(place.id, (at, buffer)).is_some());
        }
        let (_, buffer) = self.pending.get_mut(&place.id)?;
        let good = buffer.add(place.offset, place.more, payload.payload).is_ok();
        if !good || buffer.sections().len() > PIECES_MAX {
            self.pending.remove(&place.id);
            self.lost += 1;
            return None;
        }
        if !buffer.is_complete() {
            return None;
        }
        self.pending.remove(&place.id).map(|(_, buffer)| buffer.take_bufs().0)
    }

    /// Datagrams that are not whole, now or ever.
    pub(crate) fn lost(&self) -> u64 {
        self.lost + self.pending.len() as u64
    }
}

fn place(net: &LaxNetSlice<'_>) -> Option<Place> {
    match net {
        LaxNetSlice::Ipv4(packet) => {
            let header = packet.header();
            let id = Id {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                number: header.identification().into(),
                payload: packet.payload_ip_number(),
            };
            Some(Place { id, offset: header.fragments_offset(), more: header.more_fragments() })
        }
        LaxNetSlice::Ipv6(packet) => {
            let header = packet.header();
            let fragment = packet.extensions().clone().into_iter().find_map(|one| match one {
                Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.to_header()),
                _ => None,
            })?;
            let id = Id {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                number: fragment.identification,
                payload: fragment.next_header,
            };
            Some(Place { id, offset: fragment.fragment_offset, more: fragment.more_fragments })
        }
        LaxNetSlice::Arp(_) => None,
    }
}
