//! How the edge names itself: in Via, Record-Route, Path and Contact, and how it knows its own
//! name when it comes back.

use admission::Key;
use arrayvec::ArrayVec;
use policy::Policy;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use wire::decimal::write_address;
use wire::{Flow, Host, ShardId, Side, Transport, Uri};

/// The user part of the outside Record-Route: it tells ours from another proxy's on the same
/// address behind a wildcard listener.
pub(crate) type Mark = ArrayVec<u8, 16>;

/// Rendered once a configuration.
#[derive(Debug)]
pub(crate) struct Names {
    mark: Mark,
    inside: SocketAddr,
    inside_text: Vec<u8>,
    /// The inside addresses of all shards, as text.
    homes: Vec<Vec<u8>>,
    /// More addresses of ours towards the PBX, with the same port.
    sources: Vec<IpAddr>,
    shard: ShardId,
    shards: u8,
    /// Transport, bound address, and `host:port` to write (empty: the address that was asked).
    listeners: Vec<(Transport, SocketAddr, Vec<u8>)>,
    advertised: Vec<(Vec<u8>, u16)>,
    domains: Vec<Vec<u8>>,
}

impl Names {
    pub(crate) fn new(policy: &Policy, secret: &[u8; 32], shard: ShardId, shards: u8) -> Self {
        let mut mark = Mark::new();
        let hash = Key::derive(secret, "record-route").hash(&[]);
        // ten hexadecimal digits fit
        let _ = write!(mark, "{:010x}", hash & 0xff_ffff_ffff);
        let inside = policy.inside_of(shard);
        let listeners = policy
            .listeners
            .iter()
            .map(|listener| {
                let text = match &listener.advertise {
                    Some(advertise) => advertise.clone().into_bytes(),
                    None if listener.address.ip().is_unspecified() => Vec::new(),
                    None => listener.address.to_string().into_bytes(),
                };
                (listener.transport, listener.address, text)
            })
            .collect();
        let advertised = policy
            .listeners
            .iter()
            .filter_map(|listener| {
                let text = format!("sip:{}", listener.advertise.as_ref()?);
                let uri = Uri::parse(text.as_bytes())?;
                let host = &text[4..];
                let host = match uri.port {
                    Some(_) => host.rsplit_once(':')?.0,
                    None => host,
                };
                let port = uri.port.unwrap_or(listener.transport.default_port());
                Some((host.to_ascii_lowercase().into_bytes(), port))
            })
            .collect();
        Names {
            mark,
            inside,
            inside_text: inside.to_string().into_bytes(),
            homes: (0..shards)
                .map(|home| policy.inside_of(ShardId(home)).to_string().into_bytes())
                .collect(),
            sources: policy.trunks.iter().filter_map(|trunk| trunk.source).collect(),
            shard,
            shards,
            listeners,
            advertised,
            domains: policy.domains.iter().map(|domain| domain.clone().into_bytes()).collect(),
        }
    }

    /// This shard's inside address.
    pub(crate) fn inside(&self) -> SocketAddr {
        self.inside
    }

    /// This shard's own address at the IP of any shard's: what an answer to the PBX leaves from.
    pub(crate) fn inside_at(&self, local: SocketAddr) -> SocketAddr {
        match self.sources.contains(&local.ip()) {
            true => SocketAddr::new(local.ip(), self.inside.port()),
            false => self.inside,
        }
    }

    /// Whether some trunks' requests come to the PBX from another address than all others.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// `host:port` of the side that `flow` is on.
    pub(crate) fn write_sent_by(&self, side: Side, flow: &Flow, out: &mut Vec<u8>) {
        if side == Side::Inside {
            match self.sources.contains(&flow.local.ip()) {
                true => write_address(flow.local, out),
                false => out.extend_from_slice(&self.inside_text),
            }
            return;
        }
        match self.listener(flow) {
            Some(text) if !text.is_empty() => out.extend_from_slice(text),
            _ => write_address(flow.local, out),
        }
    }

    /// `Record-Route: <sip:mark@host:port;transport=…;lr>` of the outside. "If the Request-URI
    /// contains a SIPS URI, [...] the URI placed into the Record-Route header field MUST be a
    /// SIPS URI" (RFC 3261 §16.6 step 4).
    pub(crate) fn write_outside_record_route(&self, flow: &Flow, secure: bool, out: &mut Vec<u8>) {
        let scheme: &[u8] = if secure { b"sips:" } else { b"sip:" };
        out.extend_from_slice(b"Record-Route: <");
        out.extend_from_slice(scheme);
        out.extend_from_slice(&self.mark);
        out.push(b'@');
        self.write_sent_by(Side::Outside, flow, out);
        if !secure {
            write_transport(flow.transport, out);
        }
        out.extend_from_slice(b";lr>\r\n");
    }

    /// `NAME: <sip:token@inside;transport=…;lr>`, over which the PBX reaches this shard.
    pub(crate) fn write_inside_route(
        &self,
        name: &str,
        token: &[u8],
        transport: Transport,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": <sip:");
        out.extend_from_slice(token);
        out.push(b'@');
        out.extend_from_slice(&self.inside_text);
        write_transport(transport, out);
        out.extend_from_slice(b";lr>\r\n");
    }

    /// `sip:token@host:port;transport=…` towards the PBX, at the shard where the binding is at home.
    pub(crate) fn write_contact(
        &self,
        token: &[u8],
        home: ShardId,
        transport: Transport,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"sip:");
        out.extend_from_slice(token);
        out.push(b'@');
        out.extend_from_slice(self.homes.get(usize::from(home.0)).unwrap_or(&self.inside_text));
        write_transport(transport, out);
    }

    /// Whether a URI names an inside address of ours, any shard's.
    pub(crate) fn is_inside(&self, uri: &Uri<'_>) -> bool {
        let base = self.base_port();
        let port = uri.port.unwrap_or(5060);
        let is_own = |ip| uri.host == Host::Address(ip);
        (is_own(self.inside.ip()) || self.sources.iter().any(|ip| is_own(*ip)))
            && (base..base.saturating_add(u16::from(self.shards))).contains(&port)
    }

    /// Whether a URI in a Route or Via is one that we wrote, or names where we listen. `local` is
    /// the address this message came to.
    pub(crate) fn is_ours(&self, uri: &Uri<'_>, local: SocketAddr) -> bool {
        if self.is_inside(uri) || (!uri.user.is_empty() && uri.user == self.mark.as_slice()) {
            return true;
        }
        match uri.host {
            Host::Address(ip) => self.is_listener(ip, uri_port(uri), local),
            Host::Name(name) => {
                self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(name))
                    || self.advertised.iter().any(|(host, port)| {
                        host.eq_ignore_ascii_case(name) && *port == uri_port(uri)
                    })
            }
        }
    }

    /// Whether host and port of a Via are ours.
    pub(crate) fn is_sent_by(&self, host: &Host<'_>, port: Option<u16>, local: SocketAddr) -> bool {
        let uri = Uri {
            scheme: b"sip",
            user: b"",
            password: b"",
            host: *host,
            port,
            params: b"",
            headers: b"",
        };
        self.is_ours(&uri, local)
    }

    fn is_listener(&self, ip: IpAddr, port: u16, local: SocketAddr) -> bool {
        self.listeners.iter().any(|(_, address, _)| {
            address.port() == port
                && (address.ip() == ip || (address.ip().is_unspecified() && local.ip() == ip))
        }) || self.advertised.iter().any(|(host, advertised)| {
            *advertised == port
                && std::str::from_utf8(host)
                    .ok()
                    .and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok())
                    == Some(ip)
        })
    }

    fn listener(&self, flow: &Flow) -> Option<&Vec<u8>> {
        self.listeners
            .iter()
            .find(|(transport, address, _)| {
                *transport == flow.transport
                    && address.port() == flow.local.port()
                    && (address.ip() == flow.local.ip()
                        || (address.ip().is_unspecified()
                            && address.is_ipv4() == flow.local.is_ipv4()))
            })
            .map(|(_, _, text)| text)
    }

    fn base_port(&self) -> u16 {
        self.inside.port().wrapping_sub(self.own_offset())
    }

    fn own_offset(&self) -> u16 {
        u16::from(self.shard.0)
    }
}

/// `;transport=…`, where it is not what goes without saying.
pub(crate) fn write_transport(transport: Transport, out: &mut Vec<u8>) {
    if transport != Transport::Udp {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(transport.as_param().as_bytes());
    }
}

fn uri_port(uri: &Uri<'_>) -> u16 {
    uri.port.unwrap_or_else(|| {
        let tls = uri.scheme.eq_ignore_ascii_case(b"sips")
            || uri.param(b"transport").is_some_and(|value| value.eq_ignore_ascii_case(b"tls"));
        if tls { 5061 } else { 5060 }
    })
}
