use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of `address` with the first `prefix` bits (at most 32 or 128); the rest is
    /// cleared. An IPv4-mapped IPv6 address counts as it is written here.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        };
        Network { address, prefix }
    }

    /// The network of one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Network::new(address, if address.is_ipv4() { 32 } else { 128 })
    }

    /// What stands for one party: an IPv4 address, or the /64 of an IPv6 address.
    #[must_use]
    pub fn source(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Network::new(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// What stands around a source: the /24, or the /48 of an IPv6 address.
    #[must_use]
    pub fn around(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Network::new(address, if address.is_ipv4() { 24 } else { 48 })
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its length in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// With its length always, for programs that want one of a single address, too.
    #[must_use]
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    /// Whether it is one address.
    fn is_host(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether `ip` lies in it; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.address.is_ipv4() && Network::new(ip, self.prefix) == *self
    }
}

impl fmt::Display for Network {
    /// As people write it, everywhere: `203.0.113.0/24`; of a single address without its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads what [`fmt::Display`] and [`Network::cidr`] write; bits behind the prefix are cleared. What
    /// lies within the IPv4-mapped addresses is a network of IPv4.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(Network::host).map_err(|_| NotANetwork);
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let prefix: u8 = prefix.parse().map_err(|_| NotANetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match (address.to_canonical(), prefix) {
            _ if prefix > longest => Err(NotANetwork),
            (mapped, 96..) if mapped != address => Ok(Network::new(mapped, prefix - 96)),
            _ => Ok(Network::new(address, prefix)),
        }
    }
}

/// A text that is neither an address nor `address/prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an address nor a network, which is written address/prefix")]
pub struct NotANetwork;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_address_is_written_without_its_length_and_read_with_or_without() {
        for (cidr, text) in [
            ("198.51.100.7/32", "198.51.100.7"),
            ("198.51.100.0/24", "198.51.100.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::7/128", "2001:db8::7"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            let network: Network = cidr.parse().unwrap();
            assert_eq!((network.cidr(), network.to_string()), (cidr.to_owned(), text.to_owned()));
            assert_eq!(text.parse(), Ok(network));
        }
        for wrong in ["", "/", "198.51.100.7/33", "198.51.100/24", "2001:db8::/129", "a/8"] {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork), "{wrong}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_maps() {
        let [plain, mapped] = ["198.51.100.7", "::ffff:198.51.100.7"].map(|it| it.parse().unwrap());
        for (of, network) in [
            (Network::host as fn(IpAddr) -> Network, "198.51.100.7/32"),
            (Network::source, "198.51.100.7/32"),
            (Network::around, "198.51.100.0/24"),
        ] {
            assert_eq!(of(mapped), network.parse().unwrap());
            assert_eq!(of(mapped), of(plain));
            assert!(of(plain).contains(mapped));
        }
        assert_eq!("::ffff:198.51.100.0/120".parse(), "198.51.100.0/24".parse::<Network>());
        let all: Network = "::/0".parse().unwrap();
        assert!(!all.contains(mapped), "of IPv6 alone");
    }
}
