//! The trust oracle: the one function that every stage asks before it judges or bans anybody.

use policy::{Network, Policy, Time};
use std::net::IpAddr;

/// Most addresses of one name.
const ADDRESSES_MAX: usize = 1_024;
/// Most trusts that operators give for a time.
const GIVEN_MAX: usize = 256;

/// Whom nothing judges and nothing bans: the PBX's and our own addresses, the policy's networks,
/// what the policy's names stand for, and for a while what an operator says.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    own: Vec<Trusted>,
    listed: Vec<Trusted>,
    hosts: Vec<Host>,
    /// What all hosts stand for, by address: there may be thousands.
    resolved: Vec<Resolved>,
    given: Vec<(Trusted, Time)>,
    /// First bytes of addresses that any of these may trust.
    first: FirstBytes,
}

/// A set of first bytes, of IPv4 and of IPv6 addresses: most sources share theirs with nobody who
/// is trusted, which is all there is to ask then.
#[derive(Clone, Copy, Debug, Default)]
struct FirstBytes([[u64; 4]; 2]);

impl FirstBytes {
    fn add(&mut self, network: Network) {
        let (family, first) = first_byte(network.address());
        // a network wider than its first byte has several
        let wide = 0xff_u8.checked_shr(network.prefix().into()).unwrap_or(0);
        for byte in first..=first | wide {
            self.0[family][usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        let (family, first) = first_byte(ip);
        self.0[family][usize::from(first / 64)] >> (first % 64) & 1 == 1
    }
}

fn first_byte(ip: IpAddr) -> (usize, u8) {
    match ip {
        IpAddr::V4(v4) => (0, v4.octets()[0]),
        IpAddr::V6(v6) => (1, v6.octets()[0]),
    }
}

/// A name of the policy's.
#[derive(Debug)]
struct Host {
    host: Box<str>,
    name: Box<str>,
    /// A trunk has this name.
    trunk: bool,
    addresses: Box<[(IpAddr, Time)]>,
}

#[derive(Clone, Copy, Debug)]
struct Resolved {
    ip: IpAddr,
    until: Time,
    /// Index among the hosts.
    host: usize,
}

#[derive(Debug)]
struct Trusted {
    network: Network,
    name: Box<str>,
    /// A trunk has this name.
    trunk: bool,
}

impl Trust {
    /// As the policy says.
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut trust = Trust::default();
        trust.configure(policy);
        trust
    }

    /// Another policy; what operators gave stays, and what is known of names that stay.
    pub(crate) fn configure(&mut self, policy: &Policy) {
        self.own.clear();
        let rules = &policy.admission.trust;
        if rules.own_addresses {
            let pbx = policy.pbx.iter().map(|pbx| (pbx.address.ip(), "pbx"));
            let inside = std::iter::once((policy.inside.ip(), "inside"));
            let listeners = policy.listeners.iter().map(|at| (at.address.ip(), "listener"));
            for (ip, name) in pbx.chain(inside).chain(listeners) {
                // a wildcard is an address of nobody
                if !ip.is_unspecified() {
                    self.own.push(Trusted::new(Network::host(ip), name));
                }
            }
        }
        let is_trunk = |name: &str| policy.trunks.iter().any(|trunk| *trunk.name == *name);
        let listed = rules.networks.iter().map(|(network, name)| Trusted {
            trunk: is_trunk(name),
            ..Trusted::new(*network, name)
        });
        self.listed = listed.collect();
        let old = std::mem::take(&mut self.hosts);
        let known = |host: &str| old.iter().find(|old| *old.host == *host);
        let hosts = rules.hosts.iter().map(|(host, name)| Host {
            host: host.clone(),
            name: name.clone(),
            trunk: is_trunk(name),
            addresses: known(host).map(|old| old.addresses.clone()).unwrap_or_default(),
        });
        self.hosts = hosts.collect();
        self.index();
    }

    /// What a name stands for from now on. One that the policy does not have is of no interest.
    pub(crate) fn resolve(&mut self, host: &str, addresses: &[(IpAddr, Time)]) {
        for known in self.hosts.iter_mut().filter(|known| *known.host == *host) {
            known.addresses = addresses.iter().take(ADDRESSES_MAX).copied().collect();
        }
        self.index();
    }

    fn index(&mut self) {
        self.resolved.clear();
        for (index, host) in self.hosts.iter().enumerate() {
            let resolved = host.addresses.iter().map(|(ip, until)| Resolved {
                ip: ip.to_canonical(),
                until: *until,
                host: index,
            });
            self.resolved.extend(resolved);
        }
        self.resolved.sort_by_key(|resolved| (resolved.ip, resolved.host));
        let given = self.given.iter().map(|(trusted, _)| trusted);
        let networks = self.own.iter().chain(&self.listed).chain(given).map(|it| it.network);
        let hosts = self.resolved.iter().map(|resolved| Network::host(resolved.ip));
        let mut first = FirstBytes::default();
        networks.chain(hosts).for_each(|network| first.add(network));
        self.first = first;
    }

    /// An operator trusts a network until then. Of more than [`GIVEN_MAX`] the one that ends first
    /// gives way.
    pub(crate) fn give(&mut self, now: Time, network: Network, until: Time) {
        self.given.retain(|(given, until)| *until > now && given.network != network);
        if until <= now {
            return;
        }
        if self.given.len() >= GIVEN_MAX {
            let first = (0..self.given.len()).min_by_key(|at| self.given[*at].1);
            first.map(|at| self.given.swap_remove(at));
        }
        self.given.push((Trusted::new(network, "operator"), until));
        self.first.add(network);
    }

    /// The name of what trusts this address.
    pub(crate) fn of(&self, now: Time, ip: IpAddr) -> Option<&str> {
        let ip = ip.to_canonical();
        if !self.first.has(ip) {
            return None;
        }
        self.in_force(now)
            .find(|trusted| trusted.network.contains(ip))
            .map(|trusted| &*trusted.name)
            .or_else(|| self.host_in(now, Network::host(ip)))
    }

    /// The name under which the policy's lists have this address: whoever it is of says more than
    /// others may. An operator's trust for a time is none of them, nor is an address of our own.
    pub(crate) fn listed(&self, now: Time, ip: IpAddr) -> Option<&str> {
        let listed = self.listed.iter().find(|trusted| trusted.network.contains(ip));
        listed.map(|trusted| &*trusted.name).or_else(|| self.host_in(now, Network::host(ip)))
    }

    /// The name of the trunk that sends from this address.
    pub(crate) fn trunk(&self, now: Time, ip: IpAddr) -> Option<&str> {
        let mut listed = self.listed.iter();
        let listed = listed.find(|trusted| trusted.trunk && trusted.network.contains(ip));
        let host = || self.hosts_in(now, Network::host(ip)).find(|host| host.trunk);
        listed.map(|trusted| &*trusted.name).or_else(|| host().map(|host| &*host.name))
    }

    /// The name of what trusts an address in this network, or a network around it: whoever bans
    /// that network would ban somebody trusted.
    pub(crate) fn covers(&self, now: Time, network: Network) -> Option<&str> {
        let network_in = self.in_force(now).find(|trusted| overlap(trusted.network, network));
        network_in.map(|it| &*it.name).or_else(|| self.host_in(now, network))
    }

    /// The name of the first of the policy's names that stands for an address in this network.
    fn host_in(&self, now: Time, network: Network) -> Option<&str> {
        self.hosts_in(now, network).next().map(|host| &*host.name)
    }

    fn hosts_in(&self, now: Time, network: Network) -> impl Iterator<Item = &Host> {
        let from = self.resolved.partition_point(|resolved| resolved.ip < network.address());
        let within = self.resolved.get(from..).unwrap_or_default().iter();
        within
            .take_while(move |resolved| network.contains(resolved.ip))
            .filter(move |resolved| resolved.until > now)
            .filter_map(|resolved| self.hosts.get(resolved.host))
    }

    /// What operators gave, and until when.
    pub(crate) fn given(&self, now: Time) -> impl Iterator<Item = (Network, Time)> {
        let given = self.given.iter().filter(move |(_, until)| *until > now);
        given.map(|(trusted, until)| (trusted.network, *until))
    }

    fn in_force(&self, now: Time) -> impl Iterator<Item = &Trusted> {
        let given = self.given.iter().filter(move |(_, until)| *until > now);
        let lasting = self.own.iter().chain(&self.listed);
        lasting.chain(given.map(|(trusted, _)| trusted))
    }
}

impl Trusted {
    fn new(network: Network, name: &str) -> Self {
        Trusted { network, name: name.into(), trunk: false }
    }
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(a: Network, b: Network) -> bool {
    let (wide, narrow) = if a.prefix() <= b.prefix() { (a, b) } else { (b, a) };
    wide.contains(narrow.address())
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Listener, Pbx};
    use std::time::Duration;
    use wire::Transport;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str, prefix: u8) -> Network {
        Network::new(ip(text), prefix)
    }

    fn policy() -> Policy {
        let listener = |address: &str| Listener {
            transport: Transport::Udp,
            address: address.parse().unwrap(),
            advertise: None,
        };
        let pbx = Pbx::new("10.9.0.2:5060".parse().unwrap());
        let listeners = vec![listener("0.0.0.0:5060"), listener("[2001:db8::1]:5060")];
        let mut policy = Policy::new(listeners, "10.9.0.1:5070".parse().unwrap(), vec![pbx]);
        policy.admission.trust.networks =
            vec![(network("203.0.113.0", 28), "carrier".into()), (network("::1", 128), "a".into())];
        policy
    }

    #[test]
    fn own_addresses_and_named_networks_are_trusted() {
        let trust = Trust::new(&policy());
        for (address, name) in [
            ("10.9.0.2", Some("pbx")),
            ("::ffff:10.9.0.2", Some("pbx")),
            ("10.9.0.1", Some("inside")),
            ("2001:db8::1", Some("listener")),
            ("203.0.113.15", Some("carrier")),
            ("203.0.113.16", None),
            ("0.0.0.0", None),
            ("2001:db8::2", None),
        ] {
            assert_eq!(trust.of(Time::ZERO, ip(address)), name, "{address}");
        }
    }

    #[test]
    fn a_network_with_somebody_trusted_in_it_is_covered() {
        let trust = Trust::new(&policy());
        for (address, prefix, name) in [
            ("203.0.113.0", 24, Some("carrier")),
            ("203.0.113.4", 32, Some("carrier")),
            ("203.0.113.128", 25, None),
            ("0.0.0.0", 0, Some("pbx")),
            ("2001:db8::", 64, Some("listener")),
            ("2001:db8:1::", 64, None),
        ] {
            assert_eq!(trust.covers(Time::ZERO, network(address, prefix)), name, "{address}");
        }
    }

    #[test]
    fn a_network_may_be_wider_than_its_first_byte() {
        let mut policy = policy();
        policy.admission.trust.networks =
            vec![(network("198.0.0.0", 7), "a".into()), (network("2000::", 3), "b".into())];
        let trust = Trust::new(&policy);
        for (address, name) in [
            ("197.255.255.255", None),
            ("198.0.0.1", Some("a")),
            ("199.255.255.255", Some("a")),
            ("200.0.0.0", None),
            ("2abc::1", Some("b")),
            ("3fff::1", Some("b")),
            ("4000::1", None),
        ] {
            assert_eq!(trust.of(Time::ZERO, ip(address)), name, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written() {
        let mut policy = policy();
        // nothing that shares its first byte with mapped addresses
        policy.admission.trust.networks.truncate(1);
        policy.trunks = vec![policy::Trunk::new("carrier", Vec::new())];
        let trust = Trust::new(&policy);
        let mapped = ip("::ffff:203.0.113.15");
        assert_eq!(trust.of(Time::ZERO, mapped), Some("carrier"));
        assert_eq!(trust.listed(Time::ZERO, mapped), Some("carrier"));
        assert_eq!(trust.trunk(Time::ZERO, mapped), Some("carrier"));
    }

    #[test]
    fn a_name_has_so_many_addresses_and_no_more() {
        let mut policy = policy();
        policy.admission.trust.hosts = vec![("many.example".into(), "many".into())];
        let mut trust = Trust::new(&policy);
        let address = |n: usize| IpAddr::from((0xc612_0000 + n as u32).to_be_bytes());
        let said: Vec<_> = (0..=ADDRESSES_MAX).map(|n| (address(n), Time::FOREVER)).collect();
        trust.resolve("many.example", &said);
        assert_eq!(trust.of(Time::ZERO, address(ADDRESSES_MAX - 1)), Some("many"));
        assert_eq!(trust.of(Time::ZERO, address(ADDRESSES_MAX)), None);
    }

    #[test]
    fn own_addresses_may_be_left_out() {
        let mut policy = policy();
        policy.admission.trust.own_addresses = false;
        let trust = Trust::new(&policy);
        assert_eq!(trust.of(Time::ZERO, ip("10.9.0.2")), None);
        assert_eq!(trust.of(Time::ZERO, ip("203.0.113.1")), Some("carrier"));
    }

    #[test]
    fn a_name_stands_for_what_was_said_last_until_it_ends() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut policy = policy();
        policy.admission.trust.hosts = vec![
            ("sip.carrier.example".into(), "carrier".into()),
            ("other.example".into(), "b".into()),
        ];
        let mut trust = Trust::new(&policy);
        assert_eq!(trust.of(at(0), ip("198.51.100.1")), None, "nothing is known yet");
        let said = [(ip("198.51.100.1"), Time::FOREVER), (ip("2001:db8:5::1"), at(60))];
        trust.resolve("sip.carrier.example", &said);
        trust.resolve("a.stranger.example", &[(ip("198.51.100.2"), Time::FOREVER)]);
        assert_eq!(trust.of(at(0), ip("198.51.100.1")), Some("carrier"));
        assert_eq!(trust.of(at(0), ip("::ffff:198.51.100.1")), Some("carrier"));
        assert_eq!(trust.listed(at(0), ip("198.51.100.1")), Some("carrier"));
        assert_eq!(trust.trunk(at(0), ip("198.51.100.1")), None, "no trunk has this name");
        policy.trunks = vec![policy::Trunk::new("carrier", Vec::new())];
        trust.configure(&policy);
        assert_eq!(trust.trunk(at(0), ip("198.51.100.1")), Some("carrier"));
        assert_eq!(trust.trunk(at(0), ip("203.0.113.15")), Some("carrier"), "by its network");
        assert_eq!(trust.trunk(at(0), ip("::1")), None, "trusted, and no trunk");
        assert_eq!(trust.trunk(at(0), ip("10.9.0.2")), None, "the PBX is none");
        assert_eq!(trust.of(at(0), ip("198.51.100.2")), None, "not a name of the policy's");
        assert_eq!(trust.of(at(59), ip("2001:db8:5::1")), Some("carrier"));
        assert_eq!(trust.of(at(60), ip("2001:db8:5::1")), None);
        assert_eq!(trust.covers(at(0), network("198.51.100.0", 24)), Some("carrier"));
        assert_eq!(trust.covers(at(0), network("198.51.101.0", 24)), None);
        assert_eq!(trust.covers(at(0), network("2001:db8:5::", 64)), Some("carrier"));
        assert_eq!(trust.covers(at(60), network("2001:db8:5::", 64)), None);
        trust.configure(&policy);
        assert_eq!(
            trust.of(at(0), ip("198.51.100.1")),
            Some("carrier"),
            "a reload forgets nothing"
        );
        trust.resolve("sip.carrier.example", &[(ip("198.51.100.3"), Time::FOREVER)]);
        assert_eq!(trust.of(at(0), ip("198.51.100.1")), None);
        assert_eq!(trust.of(at(0), ip("198.51.100.3")), Some("carrier"));
        policy.admission.trust.hosts.remove(0);
        trust.configure(&policy);
        assert_eq!(trust.of(at(0), ip("198.51.100.3")), None, "the policy has it no more");
    }

    #[test]
    fn what_an_operator_gives_ends_and_survives_a_reload() {
        let mut trust = Trust::new(&policy());
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        trust.give(at(0), network("198.51.100.0", 24), at(60));
        trust.configure(&policy());
        assert_eq!(trust.of(at(59), ip("198.51.100.7")), Some("operator"));
        let given = |now| trust.given(at(now)).collect::<Vec<_>>();
        assert_eq!(given(59), [(network("198.51.100.0", 24), at(60))]);
        assert_eq!(given(60), []);
        assert_eq!(trust.of(at(60), ip("198.51.100.7")), None);
        trust.give(at(0), network("198.51.100.0", 24), at(0));
        assert_eq!(trust.of(at(1), ip("198.51.100.7")), None, "taken back");
        for n in 0..1_000u32 {
            trust.give(
                at(0),
                Network::host(IpAddr::from(n.to_be_bytes())),
                at(1_000 + u64::from(n)),
            );
        }
        assert_eq!(trust.given.len(), GIVEN_MAX);
        assert_eq!(trust.of(at(1), IpAddr::from(999u32.to_be_bytes())), Some("operator"));
        let first = trust.given(at(1)).map(|(_, until)| until).min();
        assert_eq!(first, Some(at(2_000 - GIVEN_MAX as u64)), "what ends first gave way");
        trust.give(at(1), network("198.51.100.0", 24), at(1));
        assert_eq!(trust.given(at(1)).count(), GIVEN_MAX, "nothing gives way for what is over");
    }
}
