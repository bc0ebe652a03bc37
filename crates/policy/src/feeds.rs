//! What feeds say of addresses: many prefixes of several lists, in one immutable table that a
//! datagram's source is looked up in.
//!
//! Overlapping prefixes are cut into ranges that do not overlap, each with the set of feeds that
//! list it. An IPv4 address is found by its first sixteen bits and a search among the few ranges
//! there; an IPv6 address by its /64, the smallest that is ever banned. Both cost the same for a
//! listed address and for any other, however long the lists are.

use crate::{Mode, Network, Time};
use std::net::IpAddr;

/// Most feeds: each is a bit.
pub const FEEDS_MAX: usize = 32;

/// What becomes of a source that a feed lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FeedAction {
    /// What is proven against it weighs twice as much.
    #[default]
    Weight,
    /// It is dropped like a banned source.
    Ban,
}

impl FeedAction {
    /// All of them.
    pub const ALL: [FeedAction; 2] = [FeedAction::Weight, FeedAction::Ban];

    /// As the YAML has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FeedAction::Weight => "weight",
            FeedAction::Ban => "ban",
        }
    }
}

/// A feed, as far as who is looked up in it must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Its name.
    pub name: Box<str>,
    /// What becomes of those it lists.
    pub action: FeedAction,
    /// [`Mode::Observe`]: it is only counted.
    pub mode: Mode,
    /// When the last of its entries has lived long enough, if nobody renews them.
    pub until: Time,
}

/// All feeds and all that they list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feeds {
    feeds: Vec<Feed>,
    v4: Vec<Range<u32>>,
    /// Of IPv6 addresses the first half.
    v6: Vec<Range<u64>>,
    /// Where in `v4` the ranges begin that end at these sixteen bits or behind.
    starts: Vec<u32>,
}

/// Addresses from `first` to `last`, and who lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range<T> {
    first: T,
    last: T,
    feeds: u32,
}

/// The feeds that list an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing(u32);

impl Listing {
    /// Whether nobody does.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their indices in [`Feeds::feeds`].
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..FEEDS_MAX).filter(move |feed| self.0 >> feed & 1 == 1)
    }
}

impl Feeds {
    /// The table of feeds with their prefixes; of feeds behind [`FEEDS_MAX`] nothing is taken.
    #[must_use]
    pub fn new<'a>(lists: impl IntoIterator<Item = (Feed, &'a [Network])>) -> Self {
        let mut feeds = Vec::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, (feed, networks)) in lists.into_iter().take(FEEDS_MAX).enumerate() {
            feeds.push(feed);
            let (mut own_v4, mut own_v6) = (Vec::new(), Vec::new());
            for network in networks {
                let free = |bits: u8| u32::from(bits.saturating_sub(network.prefix()));
                match network.address() {
                    IpAddr::V4(ip) => {
                        let first = u32::from(ip);
                        own_v4.push((first, first | ones(free(32)) as u32));
                    }
                    IpAddr::V6(ip) => {
                        let first = (u128::from(ip) >> 64) as u64;
                        own_v6.push((first, first | ones(free(64))));
                    }
                }
            }
            let bit = 1 << index;
            v4.extend(joined(own_v4).into_iter().map(|range| (range, bit)));
            v6.extend(joined(own_v6).into_iter().map(|range| (range, bit)));
        }
        let v4 = cut(&v4);
        let slots = if v4.is_empty() { 0 } else { 1 << 16 };
        let mut at = 0;
        let starts = (0..slots).map(|high: u32| {
            while v4.get(at).is_some_and(|range| range.last >> 16 < high) {
                at += 1;
            }
            at as u32
        });
        let starts = starts.collect();
        Feeds { feeds, v4, v6: cut(&v6), starts }
    }

    /// The feeds, by the indices of a [`Listing`].
    #[must_use]
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Ranges that are kept, of IPv4 and of IPv6.
    #[must_use]
    pub fn ranges(&self) -> (usize, usize) {
        (self.v4.len(), self.v6.len())
    }

    /// Who lists this address.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Listing {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let ip = u32::from(ip);
                let high = (ip >> 16) as usize;
                let Some(from) = self.starts.get(high) else { return Listing(0) };
                let to = self.starts.get(high + 1).map_or(self.v4.len(), |to| *to as usize + 1);
                let slot = self.v4.get(*from as usize..to.min(self.v4.len()));
                find(slot.unwrap_or_default(), ip)
            }
            IpAddr::V6(_) if self.v6.is_empty() => Listing(0),
            IpAddr::V6(ip) => find(&self.v6, (u128::from(ip) >> 64) as u64),
        }
    }
}

fn find<T: Ord + Copy>(ranges: &[Range<T>], at: T) -> Listing {
    let next = ranges.partition_point(|range| range.last < at);
    Listing(ranges.get(next).filter(|range| range.first <= at).map_or(0, |range| range.feeds))
}

/// So many ones at the end.
fn ones(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits).unwrap_or(0)
}

/// A number of an address.
trait Number: Copy + Ord {
    fn after(self) -> Option<Self>;
    fn before(self) -> Self;
}

impl Number for u32 {
    fn after(self) -> Option<u32> {
        self.checked_add(1)
    }
    fn before(self) -> u32 {
        self.saturating_sub(1)
    }
}

impl Number for u64 {
    fn after(self) -> Option<u64> {
        self.checked_add(1)
    }
    fn before(self) -> u64 {
        self.saturating_sub(1)
    }
}

/// One feed's ranges, sorted, those that touch joined.
fn joined<T: Number>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut all: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match all.last_mut() {
            Some(before) if before.1.after().is_none_or(|next| first <= next) => {
                before.1 = before.1.max(last);
            }
            _ => all.push((first, last)),
        }
    }
    all
}

/// All feeds' ranges, cut where one begins or ends.
fn cut<T: Number>(ranges: &[((T, T), u32)]) -> Vec<Range<T>> {
    let mut turns: Vec<(T, u32)> = Vec::with_capacity(ranges.len() * 2);
    for ((first, last), bit) in ranges {
        turns.push((*first, *bit));
        turns.extend(last.after().map(|end| (end, *bit)));
    }
    turns.sort_unstable_by_key(|(at, _)| *at);
    let mut all: Vec<Range<T>> = Vec::with_capacity(ranges.len());
    let mut feeds = 0;
    let mut turns = turns.into_iter().peekable();
    while let Some((first, bit)) = turns.next() {
        // a feed's own ranges neither overlap nor touch: at each turn it begins or ends
        feeds ^= bit;
        match turns.peek() {
            Some((next, _)) if *next == first => {}
            Some((next, _)) if feeds != 0 => all.push(Range { first, last: next.before(), feeds }),
            None if feeds != 0 => all.push(Range { first, last: greatest(ranges, first), feeds }),
            _ => {}
        }
    }
    all.shrink_to_fit();
    all
}

/// The end of the ranges that nothing comes behind.
fn greatest<T: Number>(ranges: &[((T, T), u32)], least: T) -> T {
    ranges.iter().map(|((_, last), _)| *last).max().unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn feed(name: &str) -> Feed {
        let (action, mode) = (FeedAction::Ban, Mode::Enforce);
        Feed { name: name.into(), action, mode, until: Time::FOREVER }
    }

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn listed(feeds: &Feeds, ip: &str) -> Vec<usize> {
        feeds.find(ip.parse().unwrap()).iter().collect()
    }

    #[test]
    fn who_lists_an_address_is_found_at_each_edge_of_each_prefix() {
        let one =
            ["198.51.100.0/24", "203.0.113.7/32", "0.0.0.0/8", "255.255.255.255/32"].map(network);
        let two = ["198.51.100.128/25", "198.51.0.0/16", "2001:db8::/32", "2001:db8:1:2::/64"]
            .map(network);
        let feeds = Feeds::new([(feed("one"), &one[..]), (feed("two"), &two[..])]);
        for (ip, by) in [
            ("198.51.99.255", &[1][..]),
            ("198.51.100.0", &[0, 1]),
            ("198.51.100.255", &[0, 1]),
            ("::ffff:198.51.101.0", &[1]),
            ("198.52.0.0", &[]),
            ("198.50.255.255", &[]),
            ("203.0.113.6", &[]),
            ("203.0.113.7", &[0]),
            ("203.0.113.8", &[]),
            ("0.0.0.0", &[0]),
            ("0.255.255.255", &[0]),
            ("1.0.0.0", &[]),
            ("255.255.255.254", &[]),
            ("255.255.255.255", &[0]),
            ("2001:db8::", &[1]),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", &[1]),
            ("2001:db9::", &[]),
            ("::1", &[]),
        ] {
            assert_eq!(listed(&feeds, ip), by, "{ip}");
        }
        assert!(Feeds::default().find("192.0.2.1".parse().unwrap()).is_empty());
        assert!(Feeds::default().find("::".parse().unwrap()).is_empty());
    }

    #[test]
    fn what_touches_is_one_range() {
        let networks: Vec<_> =
            (0..=u8::MAX).map(|n| Network::host(Ipv4Addr::new(192, 0, 2, n).into())).collect();
        let feeds = Feeds::new([(feed("a"), &networks[..])]);
        assert_eq!(feeds.ranges(), (1, 0));
        let all = ["0.0.0.0/0", "::/0"].map(network);
        let feeds = Feeds::new([(feed("a"), &all[..]), (feed("b"), &networks[..])]);
        assert_eq!(feeds.ranges(), (3, 1));
        assert_eq!(listed(&feeds, "255.255.255.255"), [0]);
        assert_eq!(listed(&feeds, "ffff:ffff:ffff:ffff:ffff::"), [0]);
    }

    fn networks() -> impl Strategy<Value = Vec<Network>> {
        // few first bits, so that many overlap
        let v4 = (0..4u32, any::<u8>(), 8..=32u8).prop_map(|(high, low, prefix)| {
            Network::new(Ipv4Addr::from(high << 15 | u32::from(low)).into(), prefix)
        });
        let v6 = (0..4u128, any::<u8>(), 16..=64u8).prop_map(|(high, low, prefix)| {
            Network::new(Ipv6Addr::from(high << 80 | u128::from(low) << 64).into(), prefix)
        });
        proptest::collection::vec(prop_oneof![v4, v6], 0..40)
    }

    proptest! {
        #[test]
        fn it_says_what_the_lists_say(
            lists in proptest::collection::vec(networks(), 1..4),
            probes in proptest::collection::vec((0..4u32, any::<u16>(), any::<bool>()), 100),
        ) {
            let all = lists.iter().map(|list| (feed("f"), &list[..]));
            let feeds = Feeds::new(all);
            for (high, low, v6) in probes {
                let ip: IpAddr = match v6 {
                    false => Ipv4Addr::from(high << 15 | u32::from(low & 0x7fff)).into(),
                    true => Ipv6Addr::from(u128::from(high) << 80 | u128::from(low) << 64).into(),
                };
                let naive = (0..lists.len())
                    .filter(|feed| lists[*feed].iter().any(|network| network.contains(ip)));
                prop_assert_eq!(
                    feeds.find(ip).iter().collect::<Vec<_>>(),
                    naive.collect::<Vec<_>>(),
                    "{}", ip
                );
            }
        }
    }
}
