//! What is to be reached, as a URI or a configuration names it, and what of it needs no DNS.

use policy::Rank;
use std::net::{IpAddr, SocketAddr};
use wire::{Host, Transport, Uri};

/// Where a request can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Its place among the others; whoever sends draws the lots.
    pub rank: Rank,
}

/// What is looked for (RFC 3263 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub(crate) host: Place,
    pub(crate) port: Option<u16>,
    pub(crate) transport: Option<Transport>,
    /// Nothing but TLS will do.
    pub(crate) secure: bool,
}

/// RFC 3263's TARGET.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Address(IpAddr),
    /// A domain name, lower case, without a last dot.
    Name(Box<str>),
    /// The name of SRV records: `_sip._udp.example.com`.
    Service(Box<str>),
}

/// Why nothing can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolvable {
    /// Neither `sip` nor `sips`.
    #[error("it is no SIP URI")]
    NotSip,
    /// A transport that the edge does not speak.
    #[error("its transport is none of udp, tcp and tls")]
    Transport,
    /// `sips` over UDP.
    #[error("sips needs TLS")]
    Insecure,
    /// The host is no name that the DNS knows.
    #[error("its host is no domain name")]
    Host,
}

impl Wanted {
    /// What a URI asks for: `maddr` goes before the host, `transport` is heeded, and `sips` or
    /// `transport=tls` is TLS and nothing less (RFC 3261 §26.2.2, RFC 3263 §4.1).
    ///
    /// # Errors
    /// When it is no SIP URI, or asks for what cannot be.
    pub fn of_uri(uri: &Uri<'_>) -> Result<Self, Unresolvable> {
        if !uri.is_sip() {
            return Err(Unresolvable::NotSip);
        }
        let secure = uri.is_sips();
        let transport = match uri.param(b"transport") {
            None => None,
            Some(text) => Some(transport(text).ok_or(Unresolvable::Transport)?),
        };
        let transport = match transport {
            Some(Transport::Udp) if secure => return Err(Unresolvable::Insecure),
            Some(Transport::Tcp) if secure => Some(Transport::Tls),
            other => other,
        };
        let host = match uri.param(b"maddr") {
            Some(maddr) => Host::parse(maddr).ok_or(Unresolvable::Host)?,
            None => uri.host,
        };
        let secure = secure || transport == Some(Transport::Tls);
        Ok(Wanted { host: place(host)?, port: uri.port, transport, secure })
    }

    /// What a bare host asks for: an address (an IPv6 one in brackets), a domain name, or with a
    /// first label like `_sip` the name of SRV records; with a port (`sip.example.com:5080`) no SRV
    /// records are asked for.
    ///
    /// # Errors
    /// [`Unresolvable::Host`].
    pub fn of_host(host: &str) -> Result<Self, Unresolvable> {
        let (host, port) = policy::Trunk::host_and_port(host);
        let host = place(Host::parse(host.as_bytes()).ok_or(Unresolvable::Host)?)?;
        Ok(Wanted { host, port, transport: None, secure: false })
    }

    /// With this port.
    #[must_use]
    pub fn at_port(self, port: u16) -> Self {
        Wanted { port: Some(port), ..self }
    }

    /// By this transport and no other.
    #[must_use]
    pub fn by(self, transport: Transport) -> Self {
        let secure = self.secure || transport == Transport::Tls;
        Wanted { transport: Some(transport), secure, ..self }
    }

    /// The target, when no question is needed: a numeric host keeps its port and transport.
    #[must_use]
    pub fn literal(&self) -> Option<Target> {
        let Place::Address(ip) = self.host else { return None };
        let transport = self.transport_or_default();
        let port = self.port.unwrap_or(transport.default_port());
        Some(Target { transport, address: SocketAddr::new(ip, port), rank: Rank::default() })
    }

    /// RFC 3263 §4.1: UDP for `sip`, TLS for `sips`, where nothing says otherwise.
    pub(crate) fn transport_or_default(&self) -> Transport {
        let default = if self.secure { Transport::Tls } else { Transport::Udp };
        self.transport.unwrap_or(default)
    }

    /// The transports whose SRV records are asked for without a NAPTR record, in our order.
    pub(crate) fn transports(&self) -> &'static [Transport] {
        match (self.transport, self.secure) {
            (Some(Transport::Udp), _) => &[Transport::Udp],
            (Some(Transport::Tcp), _) => &[Transport::Tcp],
            (Some(Transport::Tls), _) | (None, true) => &[Transport::Tls],
            (None, false) => &[Transport::Udp, Transport::Tcp],
        }
    }
}

fn transport(text: &[u8]) -> Option<Transport> {
    [Transport::Udp, Transport::Tcp, Transport::Tls]
        .into_iter()
        .find(|known| text.eq_ignore_ascii_case(known.as_param().as_bytes()))
}

fn place(host: Host<'_>) -> Result<Place, Unresolvable> {
    let name = match host {
        Host::Address(ip) => return Ok(Place::Address(ip.to_canonical())),
        Host::Name(name) => std::str::from_utf8(name).map_err(|_| Unresolvable::Host)?,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let label = |label: &str| (1..=63).contains(&label.len());
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(Unresolvable::Host);
    }
    let name = name.into_boxed_str();
    Ok(if name.starts_with('_') { Place::Service(name) } else { Place::Name(name) })
}
