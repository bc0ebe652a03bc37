use policy::Network;
use std::net::IpAddr;

/// Whom the kernel never drops, whatever the edge says: the helper's own copy of what the trust
/// oracle covers, from a configuration that the edge cannot write.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    named: Vec<Network>,
    own: Vec<Network>,
}

impl Exempt {
    /// These networks: the PBX's and our own addresses, the operators', the trunks'.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        Exempt { named: networks.into_iter().collect(), own: Vec::new() }
    }

    /// The addresses that this machine has now, in place of those it had.
    pub fn set_own_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.own = addresses.into_iter().map(Network::host).collect();
    }

    /// Whether somebody exempt is in this network, or it holds no source at all: loopback, the
    /// unspecified address, multicast.
    #[must_use]
    pub fn covers(&self, network: Network) -> bool {
        let nobody = match network.address() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified() || ip.octets()[0] >= 224,
            // a /64 of ::1 begins with ::
            IpAddr::V6(ip) => {
                ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || {
                    ip.to_ipv4_mapped().is_some()
                }
            }
        };
        nobody || self.named.iter().chain(&self.own).any(|exempt| overlap(*exempt, network))
    }
}

/// Whether two networks have an address in common.
fn overlap(a: Network, b: Network) -> bool {
    let (wide, narrow) = if a.prefix() <= b.prefix() { (a, b) } else { (b, a) };
    wide.address().is_ipv4() == narrow.address().is_ipv4() && {
        Network::new(narrow.address(), wide.prefix()) == wide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str, prefix: u8) -> Network {
        Network::new(text.parse().unwrap(), prefix)
    }

    #[test]
    fn whoever_would_be_hit_besides_is_asked_for() {
        let mut exempt = Exempt::new([network("203.0.113.0", 28), network("2001:db8::1", 128)]);
        exempt.set_own_addresses(["198.51.100.1".parse().unwrap()]);
        for (text, prefix, covered) in [
            ("203.0.113.15", 32, true),
            ("203.0.113.16", 32, false),
            ("203.0.113.0", 24, true),
            ("198.51.100.1", 32, true),
            ("198.51.100.0", 24, true),
            ("198.51.101.0", 24, false),
            ("2001:db8::", 64, true),
            ("2001:db8:0:1::", 64, false),
            ("127.0.0.0", 8, true),
            ("127.9.9.9", 32, true),
            ("0.0.0.0", 0, true),
            ("224.0.0.0", 4, true),
            ("255.255.255.255", 32, true),
            ("::", 64, true),
            ("ff02::", 64, true),
            ("::ffff:192.0.2.1", 128, true),
            ("192.0.2.1", 32, false),
        ] {
            assert_eq!(exempt.covers(network(text, prefix)), covered, "{text}/{prefix}");
        }
        exempt.set_own_addresses([]);
        assert!(!exempt.covers(network("198.51.100.1", 32)));
    }
}
