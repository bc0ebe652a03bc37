use policy::Network;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Sets in the kernel of networks; what they send to our [`Destination`]s is dropped there.
///
/// Whoever implements it keeps nothing but handles: what should be in the sets is the caller's to
/// know, so that he can [`DropSet::restore`] all of it.
pub trait DropSet {
    /// Puts rules, sets and exactly these entries into the kernel, in one transaction: at no moment
    /// is less in force than before and after.
    ///
    /// # Errors
    /// What was in the kernel stays.
    fn restore(&mut self, entries: &[Entry]) -> Result<(), DropSetError>;

    /// Applies changes, in their order, in as few transactions as can be. One that the kernel
    /// refuses does not hinder the others.
    ///
    /// # Errors
    /// [`DropSetError::Absent`] when somebody took the sets away: nothing was applied.
    fn apply(&mut self, changes: &[Change]) -> Result<Applied, DropSetError>;

    /// What is in the kernel, with the time that it has left there.
    ///
    /// # Errors
    /// [`DropSetError::Absent`] when there are no sets of ours.
    fn entries(&mut self) -> Result<Vec<Entry>, DropSetError>;

    /// Whether rules and sets are those that [`DropSet::restore`] made. Cheap when nobody else
    /// touched the kernel's filter since the last time. It says nothing about single entries: what
    /// an operator takes out by hand stays out.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn is_intact(&mut self) -> Result<bool, DropSetError>;

    /// Packets that each set has dropped since the last [`DropSet::restore`], in the order of
    /// [`Set::ALL`].
    ///
    /// # Errors
    /// [`DropSetError::Absent`] when there are no sets of ours.
    fn dropped(&mut self) -> Result<[u64; 4], DropSetError>;

    /// Takes rules and sets away.
    ///
    /// # Errors
    /// When the kernel does not answer; that nothing is there is none.
    fn remove(&mut self) -> Result<(), DropSetError>;
}

/// One banned network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub network: Network,
    /// How long still.
    pub remaining: Duration,
}

/// What shall be otherwise in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An entry that is not there.
    Add(Entry),
    /// One that is there lasts so long from now on.
    Renew(Entry),
    /// One goes.
    Remove(Network),
}

/// What became of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// So many are in force.
    pub applied: usize,
    /// So many the kernel refused.
    pub failed: usize,
}

/// Why the kernel's sets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DropSetError {
    /// They are not there: somebody flushed them, or they were never made.
    #[error("the table is not there")]
    Absent,
    /// This process may not.
    #[error("not permitted: CAP_NET_ADMIN is needed")]
    NotPermitted,
    /// The kernel refuses, and it is not clear why.
    #[error("{0}")]
    Refused(String),
    /// The way to the kernel is broken.
    #[error("netlink: {0}")]
    System(#[from] io::Error),
}

/// One set of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// IPv4 addresses.
    SourcesV4,
    /// IPv6 sources: each /64, by its first address.
    SourcesV6,
    /// IPv4 networks of other lengths.
    NetworksV4,
    /// IPv6 networks of other lengths.
    NetworksV6,
}

impl Set {
    /// All.
    pub const ALL: [Set; 4] = [Set::SourcesV4, Set::SourcesV6, Set::NetworksV4, Set::NetworksV6];

    /// Its name in the kernel, and the label of its metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Set::SourcesV4 => "sources_v4",
            Set::SourcesV6 => "sources_v6",
            Set::NetworksV4 => "networks_v4",
            Set::NetworksV6 => "networks_v6",
        }
    }

    /// The set that a network belongs to: what stands for one party goes where an insertion costs
    /// the same however many are there.
    #[must_use]
    pub fn of(network: Network) -> Self {
        match (network.address(), network.prefix()) {
            (IpAddr::V4(_), 32) => Set::SourcesV4,
            (IpAddr::V6(_), 64) => Set::SourcesV6,
            (IpAddr::V4(_), _) => Set::NetworksV4,
            (IpAddr::V6(_), _) => Set::NetworksV6,
        }
    }

    /// Whether its entries are intervals.
    #[must_use]
    pub fn is_networks(self) -> bool {
        matches!(self, Set::NetworksV4 | Set::NetworksV6)
    }

    /// Whether it holds IPv4.
    #[must_use]
    pub fn is_v4(self) -> bool {
        matches!(self, Set::SourcesV4 | Set::NetworksV4)
    }
}

/// Over what a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// Where of ours packets of banned sources are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Over which protocol.
    pub protocol: Protocol,
    /// Our address; the wildcard of a family is all of this machine's.
    pub address: IpAddr,
    /// Our ports.
    pub ports: RangeInclusive<u16>,
}

impl Destination {
    /// Whether a packet to `address` and `port` goes there.
    #[must_use]
    pub fn covers(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let same = self.address == address
            || self.address.is_unspecified() && self.address.is_ipv4() == address.is_ipv4();
        same && self.protocol == protocol && self.ports.contains(&port)
    }
}

impl fmt::Display for Destination {
    /// `udp 203.0.113.1 ports 10000-20000`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        write!(f, "{protocol} {}", self.address)?;
        match (self.ports.start(), self.ports.end()) {
            (first, last) if first == last => write!(f, " port {first}"),
            (first, last) => write!(f, " ports {first}-{last}"),
        }
    }
}
