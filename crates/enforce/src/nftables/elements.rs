//! Elements of the sets: networks as keys, and back.

use super::words::{self, msg, nfta};
use super::{ELEMENTS_PER_MESSAGE, TABLE};
use crate::drop_set::{Change, Entry, Set};
use crate::netlink::{Attributes, CREATE, Messages, attribute, attributes, number};
use policy::Network;
use std::net::IpAddr;
use std::time::Duration;

/// No element lasts longer; the kernel's clock would run over at five hundred million years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Adds elements, at most [`ELEMENTS_PER_MESSAGE`], to `set`, which is theirs.
pub(super) fn add(out: &mut Messages, set: Set, entries: &[Entry]) {
    list(out, msg::NEWSETELEM, CREATE, set, |out| {
        for entry in entries {
            element(out, set, entry.network, Some(entry.remaining));
        }
    });
}

/// Changes, in their order; neighbours of a kind and a set share a message.
pub(super) fn changes(out: &mut Messages, changes: &[Change]) {
    let of = |change: &Change| match change {
        Change::Add(entry) => (0, Set::of(entry.network)),
        Change::Renew(entry) => (1, Set::of(entry.network)),
        Change::Remove(network) => (2, Set::of(*network)),
    };
    for alike in changes.chunk_by(|one, next| of(one) == of(next)) {
        for alike in alike.chunks(ELEMENTS_PER_MESSAGE) {
            let Some((kind, set)) = alike.first().map(of) else { continue };
            // an element's time cannot be changed in all kernels: another takes its place
            if kind > 0 {
                list(out, msg::DELSETELEM, 0, set, |out| {
                    for change in alike {
                        element(out, set, change.network(), None);
                    }
                });
            }
            if kind < 2 {
                list(out, msg::NEWSETELEM, CREATE, set, |out| {
                    for change in alike {
                        if let Change::Add(entry) | Change::Renew(entry) = change {
                            element(out, set, entry.network, Some(entry.remaining));
                        }
                    }
                });
            }
        }
    }
}

fn list(
    out: &mut Messages,
    kind: u16,
    flags: u16,
    set: Set,
    elements: impl FnOnce(&mut Attributes<'_>),
) {
    words::push(out, kind, flags, |out| {
        out.text(nfta::SET_ELEM_LIST_TABLE, TABLE)
            .text(nfta::SET_ELEM_LIST_SET, set.as_str())
            .nest(nfta::SET_ELEM_LIST_ELEMENTS, elements);
    });
}

/// An element: the key, and with a time to live for how long. An interval is two, its first
/// address and, unless it reaches to the end of all addresses, the first one behind it.
fn element(out: &mut Attributes<'_>, set: Set, network: Network, live: Option<Duration>) {
    out.nest(nfta::LIST_ELEM, |out| {
        if let Some(live) = live {
            out.u64(nfta::SET_ELEM_TIMEOUT, millis(live));
        }
        key(out, network.address());
    });
    if set.is_networks()
        && let Some(behind) = behind(network)
    {
        out.nest(nfta::LIST_ELEM, |out| {
            out.u32(nfta::SET_ELEM_FLAGS, words::INTERVAL_END);
            key(out, behind);
        });
    }
}

fn key(out: &mut Attributes<'_>, address: IpAddr) {
    out.nest(nfta::SET_ELEM_KEY, |out| {
        match address {
            IpAddr::V4(ip) => out.bytes(nfta::DATA_VALUE, &ip.octets()),
            IpAddr::V6(ip) => out.bytes(nfta::DATA_VALUE, &ip.octets()),
        };
    });
}

/// Milliseconds; at least one, because none would be for ever.
fn millis(live: Duration) -> u64 {
    u64::try_from(live.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The first address behind a network.
fn behind(network: Network) -> Option<IpAddr> {
    let prefix = u32::from(network.prefix());
    match network.address() {
        IpAddr::V4(ip) => {
            let size = 1u32.checked_shl(32 - prefix)?;
            Some(IpAddr::V4(u32::from(ip).checked_add(size)?.into()))
        }
        IpAddr::V6(ip) => {
            let size = 1u128.checked_shl(128 - prefix)?;
            Some(IpAddr::V6(u128::from(ip).checked_add(size)?.into()))
        }
    }
}

/// Reads a set's elements from the parts of a dump. Intervals come as their ends, in no order that
/// is promised.
#[derive(Debug)]
pub(super) struct Reader {
    set: Set,
    begins: Vec<(IpAddr, Duration)>,
    ends: Vec<IpAddr>,
}

impl Reader {
    /// For the elements of `set`.
    pub(super) fn new(set: Set) -> Self {
        Reader { set, begins: Vec::new(), ends: Vec::new() }
    }

    /// Takes one part.
    pub(super) fn read(&mut self, part: &[u8]) {
        let elements = attribute(part, nfta::SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
        for (_, element) in attributes(elements) {
            let Some(address) = attribute(element, nfta::SET_ELEM_KEY)
                .and_then(|key| attribute(key, nfta::DATA_VALUE))
                .and_then(address)
            else {
                continue;
            };
            let flags = attribute(element, nfta::SET_ELEM_FLAGS).and_then(number::<4>);
            if flags.unwrap_or(0) & u64::from(words::INTERVAL_END) != 0 {
                self.ends.push(address);
                continue;
            }
            let left = attribute(element, nfta::SET_ELEM_EXPIRATION).and_then(number::<8>);
            // an element without a time is not ours: somebody wrote it by hand
            if let Some(left) = left.filter(|left| *left > 0) {
                self.begins.push((address, Duration::from_millis(left)));
            }
        }
    }

    /// What was there.
    pub(super) fn finish(mut self) -> Vec<Entry> {
        self.ends.sort_unstable();
        let prefix = |address: &IpAddr| match self.set {
            Set::SourcesV4 => Some(32),
            Set::SourcesV6 => Some(64),
            Set::NetworksV4 | Set::NetworksV6 => {
                let at = self.ends.partition_point(|end| end <= address);
                prefix_between(*address, self.ends.get(at).copied())
            }
        };
        let entry = |(address, remaining): &(IpAddr, Duration)| {
            let network = Network::new(*address, prefix(address)?);
            (network.address() == *address && Set::of(network) == self.set)
                .then_some(Entry { network, remaining: *remaining })
        };
        self.begins.iter().filter_map(entry).collect()
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The length of prefix of the network from `first` up to, not including, `behind`; of one that is
/// a network.
fn prefix_between(first: IpAddr, behind: Option<IpAddr>) -> Option<u8> {
    let (size, bits) = match (first, behind) {
        (IpAddr::V4(first), None) => ((1 << 32) - u128::from(u32::from(first)), 32),
        (IpAddr::V4(first), Some(IpAddr::V4(behind))) => {
            (u128::from(u32::from(behind).checked_sub(u32::from(first))?), 32)
        }
        (IpAddr::V6(first), None) => (u128::from(first).wrapping_neg(), 128),
        (IpAddr::V6(first), Some(IpAddr::V6(behind))) => {
            (u128::from(behind).checked_sub(u128::from(first))?, 128)
        }
        _ => return None,
    };
    size.is_power_of_two().then(|| bits - size.trailing_zeros() as u8)
}

impl Change {
    /// Whom it is about.
    #[must_use]
    pub fn network(&self) -> Network {
        match self {
            Change::Add(entry) | Change::Renew(entry) => entry.network,
            Change::Remove(network) => *network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::messages;
    use proptest::prelude::*;

    fn network(text: &str, prefix: u8) -> Network {
        Network::new(text.parse().unwrap(), prefix)
    }

    fn entry(text: &str, prefix: u8, millis: u64) -> Entry {
        Entry { network: network(text, prefix), remaining: Duration::from_millis(millis) }
    }

    /// Each element of a message: whether it ends an interval, its key, its time.
    fn said(body: &[u8]) -> Vec<(bool, IpAddr, Option<u64>)> {
        let elements = attribute(&body[words::HEAD..], nfta::SET_ELEM_LIST_ELEMENTS).unwrap();
        let said = |(_, element): (u16, &[u8])| {
            let key = attribute(element, nfta::SET_ELEM_KEY).unwrap();
            let key = address(attribute(key, nfta::DATA_VALUE).unwrap()).unwrap();
            let time = attribute(element, nfta::SET_ELEM_TIMEOUT).and_then(number::<8>);
            (attribute(element, nfta::SET_ELEM_FLAGS).is_some(), key, time)
        };
        attributes(elements).map(said).collect()
    }

    #[test]
    fn an_interval_is_two_elements_and_ends_behind_its_last_address() {
        let mut out = Messages::default();
        add(&mut out, Set::NetworksV4, &[entry("10.1.0.0", 16, 5), entry("255.0.0.0", 8, 6)]);
        let read: Vec<_> = messages(out.as_bytes()).collect();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            said(read[0].body),
            [
                (false, ip("10.1.0.0"), Some(5)),
                (true, ip("10.2.0.0"), None),
                (false, ip("255.0.0.0"), Some(6)),
            ]
        );
    }

    #[test]
    fn a_renewal_takes_the_old_element_away_in_the_same_transaction() {
        let mut out = Messages::default();
        let renewed = entry("192.0.2.1", 32, 60_000);
        let gone = network("2001:db8::", 64);
        changes(&mut out, &[Change::Renew(renewed), Change::Remove(gone)]);
        let kinds: Vec<_> = messages(out.as_bytes()).map(|message| message.kind).collect();
        assert_eq!(kinds, [msg::DELSETELEM, msg::NEWSETELEM, msg::DELSETELEM]);
        let read: Vec<_> = messages(out.as_bytes()).map(|message| said(message.body)).collect();
        assert_eq!(read[0][0].2, None);
        assert_eq!(read[1][0], (false, "192.0.2.1".parse().unwrap(), Some(60_000)));
        assert_eq!(read[2][0].1, gone.address());
    }

    #[test]
    fn messages_stay_below_what_an_attribute_holds() {
        let many: Vec<Change> = (0..2_500u32)
            .map(|n| {
                Change::Add(Entry {
                    network: Network::new(IpAddr::from(n.to_be_bytes()), 32),
                    remaining: Duration::ZERO,
                })
            })
            .collect();
        let mut out = Messages::default();
        changes(&mut out, &many);
        let elements: Vec<_> =
            messages(out.as_bytes()).map(|message| said(message.body).len()).collect();
        assert_eq!(elements, [1_000, 1_000, 500]);
        assert!(
            said(messages(out.as_bytes()).next().unwrap().body)[0].2 == Some(1),
            "not for ever"
        );
    }

    #[test]
    fn what_somebody_wrote_by_hand_is_not_taken_for_ours() {
        let mut reader = Reader::new(Set::NetworksV4);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        reader.begins.push((ip("10.0.0.0"), Duration::from_secs(1)));
        reader.begins.push((ip("10.0.3.0"), Duration::from_secs(1)));
        reader.ends.extend([ip("10.0.1.0"), ip("10.0.6.0")]);
        assert_eq!(reader.finish(), [entry("10.0.0.0", 24, 1_000)], "10.0.3.0-10.0.5.255 is none");
        Reader::new(Set::SourcesV4).read(&[0xff; 33]);
    }

    proptest! {
        #[test]
        fn a_network_is_found_again_between_its_ends(
            v4 in any::<u32>(), v6 in any::<u128>(), four in 1u8..32, six in 1u8..=128,
        ) {
            for network in [
                Network::new(IpAddr::V4(v4.into()), four), Network::new(IpAddr::V6(v6.into()), six),
            ] {
                let found = prefix_between(network.address(), behind(network));
                prop_assert_eq!(found, Some(network.prefix()));
            }
        }

        #[test]
        fn any_dump_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for set in Set::ALL {
                let mut reader = Reader::new(set);
                reader.read(&bytes);
                let _ = reader.finish();
            }
        }
    }
}
