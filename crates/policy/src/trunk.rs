use std::net::IpAddr;
use std::time::Duration;

/// A carrier. Its addresses, and those of its names, are in the lists of [`crate::TrustRules`]
/// under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// One word, unique; the PBX is told it in `X-Ringfence-Trunk`.
    pub name: Box<str>,
    /// Where the PBX may call: names of hosts and of SRV records, and addresses, lower case, IPv6 in
    /// brackets; names of hosts and addresses with a port, if it is not what SRV records or the
    /// transport say.
    pub hosts: Vec<Box<str>>,
    /// How many calls it may have, both ways together.
    pub limits: TrunkLimits,
    /// What changes in its requests.
    pub inwards: Vec<HeaderRule>,
    /// What changes in requests to it.
    pub outwards: Vec<HeaderRule>,
    /// What it is told of who calls.
    pub identity: Identity,
    /// The host in From of requests to it; `None`: as the PBX has it.
    pub from_domain: Option<Box<str>>,
    /// The address from which its requests go to the PBX, with the inside port of each shard;
    /// `None`: the inside address, as all others.
    pub source: Option<IpAddr>,
}

impl Trunk {
    /// One without limits or rules.
    #[must_use]
    pub fn new(name: &str, hosts: Vec<Box<str>>) -> Self {
        Trunk {
            name: name.into(),
            hosts,
            limits: TrunkLimits::default(),
            inwards: Vec::new(),
            outwards: Vec::new(),
            identity: Identity::default(),
            from_domain: None,
            source: None,
        }
    }

    /// A host of a trunk without its port, and that.
    #[must_use]
    pub fn host_and_port(host: &str) -> (&str, Option<u16>) {
        match host.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse().ok())
            }
            _ => (host, None),
        }
    }

    /// The domain that a host of a trunk is of: of a name of SRV records that of their service.
    #[must_use]
    pub fn domain(host: &str) -> &str {
        let (host, _) = Trunk::host_and_port(host);
        let rest = host.trim_start_matches('[').trim_end_matches(']');
        match rest.strip_prefix('_').and_then(|rest| rest.split_once("._")) {
            Some((_, protocol)) => protocol.split_once('.').map_or(rest, |(_, domain)| domain),
            None => rest,
        }
    }
}

/// A target's place among those of one host, as its SRV record says (RFC 2782). A host without such
/// records has them all in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rank {
    /// Lower ones are tried first: by transport, NAPTR record and priority.
    pub step: u16,
    /// Its record's share among those of one step.
    pub weight: u16,
    /// Which record it is, whatever its place in an answer: its addresses are tried one after another.
    pub record: u32,
}

/// Limits of a trunk's calls, all shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrunkLimits {
    /// At once, those that ring included; `None`: any.
    pub calls: Option<u32>,
    /// Begun in a second; `None`: any.
    pub calls_per_second: Option<u32>,
    /// A call whose end nobody saw counts for so long after its last request.
    pub longest_call: Duration,
}

impl Default for TrunkLimits {
    fn default() -> Self {
        let longest_call = Duration::from_secs(4 * 3_600);
        TrunkLimits { calls: None, calls_per_second: None, longest_call }
    }
}

/// A change of a request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderRule {
    /// All lines of that name are taken out; `X-*` are all that begin so.
    Remove(Box<str>),
    /// There is one line of that name, with that value.
    Set(Box<str>, Box<str>),
    /// There is one more line of that name, with that value.
    Add(Box<str>, Box<str>),
}

impl HeaderRule {
    /// Whether lines of that name, written long, are taken out.
    #[must_use]
    pub fn removes(&self, name: &[u8]) -> bool {
        match self {
            HeaderRule::Remove(ruled) => match ruled.strip_suffix('*') {
                Some(begin) => name
                    .get(..begin.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(begin.as_bytes())),
                None => name.eq_ignore_ascii_case(ruled.as_bytes()),
            },
            HeaderRule::Set(ruled, _) => name.eq_ignore_ascii_case(ruled.as_bytes()),
            HeaderRule::Add(..) => false,
        }
    }

    /// The line that is put in: its name and value.
    #[must_use]
    pub fn line(&self) -> Option<(&str, &str)> {
        match self {
            HeaderRule::Remove(_) => None,
            HeaderRule::Set(name, value) | HeaderRule::Add(name, value) => Some((name, value)),
        }
    }
}

/// What a carrier is told in `P-Asserted-Identity` and `Remote-Party-ID`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// What the PBX says: it belongs to the trust domain (RFC 3325 §2.3).
    #[default]
    Pass,
    /// Nothing when the caller wants privacy: `Privacy: id` (RFC 3325 §7), `privacy=full`.
    Private,
    /// Nothing.
    Remove,
}

#[cfg(test)]
mod tests {
    use super::Trunk;

    #[test]
    fn a_host_may_have_a_port_and_its_domain_has_none() {
        for (host, parts, domain) in [
            ("sip.example", ("sip.example", None), "sip.example"),
            ("sip.example:5080", ("sip.example", Some(5080)), "sip.example"),
            ("192.0.2.1:5080", ("192.0.2.1", Some(5080)), "192.0.2.1"),
            ("[2001:db8::1]", ("[2001:db8::1]", None), "2001:db8::1"),
            ("[2001:db8::1]:5080", ("[2001:db8::1]", Some(5080)), "2001:db8::1"),
            ("_sips._tcp.sip.example", ("_sips._tcp.sip.example", None), "sip.example"),
        ] {
            assert_eq!((Trunk::host_and_port(host), Trunk::domain(host)), (parts, domain));
        }
    }
}
