//! What a feed lists, and what of it is taken.

use crate::Bounds;
use policy::{Network, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Entries of a list that were not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// No address, and no network.
    pub syntax: u64,
    /// Wider than is allowed.
    pub wide: u64,
    /// Private, loopback, link-local, multicast.
    pub private: u64,
    /// More than there is room for.
    pub full: u64,
}

impl Refused {
    /// With their labels.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let Refused { syntax, wide, private, full } = *self;
        [("syntax", syntax), ("wide", wide), ("private", private), ("full", full)]
    }
}

/// Networks, and until when each is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    entries: BTreeMap<Network, Time>,
    refused: Refused,
}

impl List {
    /// Takes what a text names, if it may be taken, until then.
    pub fn add(&mut self, text: &str, until: Time, bounds: &Bounds) {
        match network(text) {
            Some(network) => self.add_network(network, until, bounds),
            None => self.refused.syntax += 1,
        }
    }

    fn add_network(&mut self, network: Network, until: Time, bounds: &Bounds) {
        let widest = match network.address() {
            IpAddr::V4(_) => bounds.widest_ipv4,
            IpAddr::V6(_) => bounds.widest_ipv6,
        };
        if network.prefix() < widest {
            self.refused.wide += 1;
        } else if !bounds.private && is_private(network) {
            self.refused.private += 1;
        } else if self.entries.len() >= bounds.entries && !self.entries.contains_key(&network) {
            self.refused.full += 1;
        } else {
            let known = self.entries.entry(network).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Takes out what a text names.
    pub fn remove(&mut self, text: &str) {
        if let Some(network) = network(text) {
            self.entries.remove(&network);
        }
    }

    /// Takes what another list has, too.
    pub fn extend(&mut self, other: &List, bounds: &Bounds) {
        for (network, until) in &other.entries {
            self.add_network(*network, *until, bounds);
        }
        for (sum, more) in [
            (&mut self.refused.syntax, other.refused.syntax),
            (&mut self.refused.wide, other.refused.wide),
            (&mut self.refused.private, other.refused.private),
            (&mut self.refused.full, other.refused.full),
        ] {
            *sum += more;
        }
    }

    /// All entries live until then: the list was named again as it is.
    pub fn renew(&mut self, until: Time) {
        self.entries.values_mut().for_each(|known| *known = until);
    }

    /// Takes out what has lived long enough. Whether there was something.
    pub fn forget(&mut self, now: Time) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, until| *until > now);
        before != self.entries.len()
    }

    /// What is taken anew of what is there, by other bounds.
    pub fn bound(&mut self, bounds: &Bounds) {
        let old = std::mem::take(self);
        self.extend(&old, bounds);
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Network, Time> {
        &self.entries
    }

    /// What was refused.
    #[must_use]
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Whether this is more likely a list than something else that came in its place.
    #[must_use]
    pub fn is_likely(&self) -> bool {
        let Refused { syntax, wide, private, full } = self.refused;
        syntax == 0 || syntax <= self.entries.len() as u64 + wide + private + full
    }
}

/// `198.51.100.7`, `203.0.113.0/24`, `2001:db8::1`. Bits behind a prefix are cleared; an IPv6
/// address stands for its /64, and an IPv4-mapped one for the IPv4 address.
fn network(text: &str) -> Option<Network> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let source = Network::source(ip);
    match (ip, prefix) {
        (_, None) => Some(source),
        (IpAddr::V4(_), Some(prefix)) => (prefix <= 32).then(|| Network::new(ip, prefix)),
        (IpAddr::V6(v6), Some(prefix)) if v6.to_ipv4_mapped().is_some() => {
            (prefix == 128).then_some(source)
        }
        (IpAddr::V6(_), Some(prefix)) if prefix > 128 => None,
        (IpAddr::V6(_), Some(prefix)) => Some(Network::new(ip, prefix.min(64))),
    }
}

/// Lists of addresses that no packet on the Internet has are kept, too (bogons); an edge that talks
/// with phones in its own network must not take them for attackers.
fn is_private(network: Network) -> bool {
    const PRIVATE: [(&str, u8); 14] = [
        ("0.0.0.0", 8),
        ("10.0.0.0", 8),
        ("100.64.0.0", 10),
        ("127.0.0.0", 8),
        ("169.254.0.0", 16),
        ("172.16.0.0", 12),
        ("192.168.0.0", 16),
        ("224.0.0.0", 3),
        ("::", 8),
        ("64:ff9b::", 96),
        ("64:ff9b:1::", 48),
        ("fc00::", 7),
        ("fe80::", 10),
        ("ff00::", 8),
    ];
    PRIVATE.iter().any(|(ip, prefix)| {
        let private = ip.parse().map(|ip| Network::new(ip, *prefix));
        private.is_ok_and(|it| it.contains(network.address()) || network.contains(it.address()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BOUNDS: Bounds = Bounds { entries: 10, widest_ipv4: 16, widest_ipv6: 32, private: false };

    fn at(second: u64) -> Time {
        Time::ZERO + Duration::from_secs(second)
    }

    #[test]
    fn what_may_be_taken_is_taken_and_the_rest_counted() {
        let mut list = List::default();
        for text in [
            "198.51.100.7",
            "198.51.100.7/32",
            "203.0.113.9/24",
            "2001:db8::1",
            "2001:db8::1/128",
            "::ffff:192.0.2.1",
            "5.0.0.0/8",
            "2001::/16",
            "0.0.0.0/0",
            "10.1.2.3",
            "192.168.0.0/16",
            "fe80::1",
            "fc00::/32",
            "239.1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3",
            "<html>",
            "",
        ] {
            list.add(text, at(1), &BOUNDS);
        }
        let entries: Vec<_> = list.entries().keys().map(Network::to_string).collect();
        let expected = ["192.0.2.1", "198.51.100.7", "203.0.113.0/24", "2001:db8::/64"];
        assert_eq!(entries, expected);
        let refused = Refused { syntax: 5, wide: 3, private: 5, full: 0 };
        assert_eq!(list.refused(), refused);
    }

    #[test]
    fn there_is_room_for_so_many_and_what_is_old_goes() {
        let mut list = List::default();
        for n in 0..20 {
            list.add(&format!("192.0.2.{n}"), at(n), &BOUNDS);
        }
        list.add("192.0.2.3", at(100), &BOUNDS);
        assert_eq!((list.entries().len(), list.refused().full), (10, 10));
        assert!(list.forget(at(8)));
        let left: Vec<_> = list.entries().keys().map(Network::to_string).collect();
        assert_eq!(left, ["192.0.2.3", "192.0.2.9"]);
        list.remove("192.0.2.3");
        list.renew(at(200));
        assert!(!list.forget(at(199)) && list.forget(at(200)));
    }
}
