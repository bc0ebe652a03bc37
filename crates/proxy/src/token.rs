//! Tokens: what the edge writes into the user part of a Contact, a Path or a Record-Route towards
//! the PBX, so that the PBX's requests find the phone again.
//!
//! A token says everything that is needed, and a message authentication code over it: no table
//! has to survive a restart for a UDP phone to be called, and nobody else can make one.
//!
//! ```text
//! base64url( kind and transport 1 | binding key 8 | local 6 or 18 | remote | contact or PBX | mac 10 )
//! ```
//!
//! - A **contact** token stands for a registered binding and is the same as long as the binding
//!   lives, so it holds the UDP flow of the first registration only as a fallback; where the phone
//!   is now, the table of bindings knows. On a stream the flow is left out: after a reconnect the
//!   token must not change. It names its home, the shard whose inside port stands behind it.
//! - A **flow** token (RFC 5626 §5.2) stands for a flow; with a binding key in it, a phone that
//!   moved is still found. It names the dialog's PBX, too.

use admission::Key;
use admission::key::{MAC_BYTES, equal};
use arrayvec::ArrayVec;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::{ConnectionId, Flow, ShardId, Transport};

/// Longest Contact URI that is written into a token; a longer one is found by the table only.
/// With it a token stays below the 256 bytes that PJSIP allows a URI.
const CONTACT_BYTES_MAX: usize = 110;
const RAW_BYTES_MAX: usize = 1 + 8 + 1 + 18 + 18 + CONTACT_BYTES_MAX + MAC_BYTES;
/// Longest text of a token.
pub(crate) const TEXT_BYTES_MAX: usize = RAW_BYTES_MAX.div_ceil(3) * 4;

/// The digits that hold a contact token's home.
const HOME_DIGITS: std::ops::Range<usize> = 12..16;

const CONTACT: u8 = 0x40;
const FLOW: u8 = 0x80;
const V6: u8 = 0x08;
const SECURE: u8 = 0x04;
/// The two addresses are of different families: a load balancer stands between them.
const MIXED: u8 = 0x10;

/// RFC 4648 §5 without padding: what survives in the user part of a URI.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A token's bytes, before and after base64url.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw(ArrayVec<u8, RAW_BYTES_MAX>);

/// A token's text.
pub(crate) type Text = ArrayVec<u8, TEXT_BYTES_MAX>;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'r> {
    /// A registered binding.
    Contact {
        /// Key in the table of bindings.
        key: u64,
        /// The shard whose inside port the PBX was told.
        home: ShardId,
        /// UDP: the flow of the first registration.
        flow: Option<Flow>,
        /// The phone's Contact URI; empty when it was too long.
        contact: &'r [u8],
    },
    /// A flow.
    Flow(FlowToken),
}

/// What a flow token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowToken {
    /// Key of the binding it belongs to, 0 for none.
    pub(crate) key: u64,
    /// The flow.
    pub(crate) flow: Flow,
    /// Whether the dialog speaks `sips` outside.
    pub(crate) secure: bool,
    /// The PBX of the dialog ([`policy::Pbx::id`]), 0 for none.
    pub(crate) pbx: u32,
}

/// The key that makes tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens(Key);

impl Tokens {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Tokens(Key::derive(secret, "tokens"))
    }

    /// A contact token.
    pub(crate) fn contact(&self, key: u64, home: ShardId, flow: &Flow, contact: &[u8]) -> Text {
        let mut raw = Raw::default();
        raw.head(CONTACT, key, flow);
        raw.extend(&[home.0]);
        if flow.connection.is_none() {
            raw.address(flow.local);
            raw.address(flow.remote);
        }
        if contact.len() <= CONTACT_BYTES_MAX {
            raw.extend(contact);
        }
        self.seal(raw)
    }

    /// A flow token.
    pub(crate) fn flow(&self, key: u64, flow: &Flow, secure: bool, pbx: u32) -> Text {
        let mut raw = Raw::default();
        raw.head(if secure { FLOW | SECURE } else { FLOW }, key, flow);
        raw.address(flow.local);
        raw.address(flow.remote);
        if let Some(connection) = flow.connection {
            raw.extend(&connection.to_bits().to_be_bytes());
        }
        raw.extend(&pbx.to_be_bytes());
        self.seal(raw)
    }

    /// The key that a contact token of ours would have: nothing is checked.
    pub(crate) fn claimed_key(text: &[u8]) -> Option<u64> {
        let mut bytes = [0; 9];
        BASE64.decode_slice(text.get(..HOME_DIGITS.start)?, &mut bytes).ok()?;
        let [kind, key @ ..] = bytes;
        (kind & (CONTACT | FLOW) == CONTACT).then(|| u64::from_be_bytes(key))
    }

    /// The home in a contact token that is known to be ours: nothing is checked.
    pub(crate) fn home(text: &[u8]) -> Option<ShardId> {
        // kind and key are nine bytes, twelve digits; the home begins the next four
        let mut bytes = [0; 3];
        BASE64.decode_slice(text.get(HOME_DIGITS)?, &mut bytes).ok()?;
        Some(ShardId(bytes[0]))
    }

    /// Reads a token into `raw`; `None` when we did not make it.
    pub(crate) fn open<'r>(&self, text: &[u8], raw: &'r mut Raw) -> Option<Token<'r>> {
        raw.decode(text)?;
        let (body, mac) = raw.0.split_at_checked(raw.0.len().checked_sub(MAC_BYTES)?)?;
        if !equal(&self.0.mac(&[body]), mac) {
            return None;
        }
        let mut reader = Reader(body);
        let head = reader.take::<1>()?[0];
        let key = u64::from_be_bytes(reader.take()?);
        let transport = match head & 0x03 {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Tls,
            _ => return None,
        };
        match head & (CONTACT | FLOW) {
            CONTACT if transport.is_reliable() => {
                let home = ShardId(reader.take::<1>()?[0]);
                Some(Token::Contact { key, home, flow: None, contact: reader.0 })
            }
            CONTACT => {
                let home = ShardId(reader.take::<1>()?[0]);
                let (local, remote) = reader.addresses(head)?;
                let flow = Some(Flow::udp(local, remote));
                Some(Token::Contact { key, home, flow, contact: reader.0 })
            }
            FLOW => {
                let (local, remote) = reader.addresses(head)?;
                let connection = if transport.is_reliable() {
                    Some(ConnectionId::from_bits(u64::from_be_bytes(reader.take()?)))
                } else {
                    None
                };
                let flow = Flow { transport, local, remote, connection };
                let pbx = u32::from_be_bytes(reader.take()?);
                Some(Token::Flow(FlowToken { key, flow, secure: head & SECURE != 0, pbx }))
            }
            _ => None,
        }
    }

    fn seal(&self, mut raw: Raw) -> Text {
        let mac = self.0.mac(&[&raw.0]);
        raw.extend(&mac);
        raw.encode()
    }
}

impl Raw {
    fn head(&mut self, kind: u8, key: u64, flow: &Flow) {
        let transport = match flow.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
        };
        let family = if flow.remote.is_ipv6() { V6 } else { 0 };
        let mixed = if flow.remote.is_ipv6() != flow.local.is_ipv6() { MIXED } else { 0 };
        self.extend(&[kind | family | mixed | transport]);
        self.extend(&key.to_be_bytes());
    }

    fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(v4) => self.extend(&v4.octets()),
            IpAddr::V6(v6) => self.extend(&v6.octets()),
        }
        self.extend(&address.port().to_be_bytes());
    }

    /// The capacity fits the longest token by construction.
    fn extend(&mut self, bytes: &[u8]) {
        let fits = self.0.try_extend_from_slice(bytes);
        debug_assert!(fits.is_ok(), "RAW_BYTES_MAX fits every token");
    }

    fn encode(&self) -> Text {
        let mut text = [0; TEXT_BYTES_MAX];
        // TEXT_BYTES_MAX fits every token
        let length = BASE64.encode_slice(&self.0, &mut text).unwrap_or_default();
        Text::try_from(&text[..length]).unwrap_or_default()
    }

    fn decode(&mut self, text: &[u8]) -> Option<()> {
        // the length first: what is no token costs nothing more
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; TEXT_BYTES_MAX];
        let length = BASE64.decode_slice(text, &mut bytes).ok()?;
        self.0.clear();
        self.0.try_extend_from_slice(bytes.get(..length)?).ok()
    }
}

struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Our address, then the peer's.
    fn addresses(&mut self, head: u8) -> Option<(SocketAddr, SocketAddr)> {
        let v6 = head & V6 != 0;
        Some((self.address(v6 != (head & MIXED != 0))?, self.address(v6)?))
    }

    fn address(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: ShardId = ShardId(3);

    fn tokens() -> Tokens {
        Tokens::new(&[9; 32])
    }

    fn udp(remote: &str) -> Flow {
        let local = if remote.starts_with('[') { "[2001:db8::1]:5060" } else { "203.0.113.1:5060" };
        Flow::udp(local.parse().expect("local"), remote.parse().expect("remote"))
    }

    /// An IPv6 phone that a load balancer brings to an IPv4 listener, and the reverse.
    fn balanced() -> [Flow; 2] {
        let at = |text: &str| text.parse().expect("an address");
        let (v4, v6) = (at("198.51.100.7:5062"), at("[2001:db8::7]:5062"));
        [Flow::udp(v4, v6), Flow::udp(v6, v4)]
    }

    fn tls() -> Flow {
        Flow {
            transport: Transport::Tls,
            connection: Some(ConnectionId::new(ShardId(2), 77)),
            ..udp("198.51.100.7:49152")
        }
    }

    #[test]
    fn the_key_is_read_without_a_check() {
        let contact =
            tokens().contact(0x0123_4567_89ab_cdef, HOME, &udp("192.0.2.1:5060"), b"sip:a@b");
        assert_eq!(Tokens::claimed_key(&contact), Some(0x0123_4567_89ab_cdef));
        let flow = tokens().flow(7, &udp("192.0.2.1:5060"), false, 0);
        assert_eq!(Tokens::claimed_key(&flow), None);
        assert_eq!(Tokens::claimed_key(b"6001"), None);
    }

    #[test]
    fn contact_tokens_carry_the_contact_and_the_first_udp_flow() {
        let mut raw = Raw::default();
        let same = [udp("198.51.100.7:5062"), udp("[2001:db8::7]:5062")];
        for flow in same.into_iter().chain(balanced()) {
            let text = tokens().contact(5, HOME, &flow, b"sip:6001@192.168.1.5:5062;ob");
            let token = tokens().open(&text, &mut raw);
            let contact = &b"sip:6001@192.168.1.5:5062;ob"[..];
            assert_eq!(
                token,
                Some(Token::Contact { key: 5, home: HOME, flow: Some(flow), contact })
            );
        }
    }

    #[test]
    fn the_home_is_read_without_opening() {
        for flow in [udp("198.51.100.7:5062"), udp("[2001:db8::7]:5062"), tls()] {
            let text = tokens().contact(5, HOME, &flow, b"");
            assert_eq!(Tokens::home(&text), Some(HOME));
        }
        assert_eq!(Tokens::home(b"short"), None);
    }

    #[test]
    fn on_streams_the_contact_token_outlives_the_connection() {
        let again = Flow { connection: Some(ConnectionId::new(ShardId(0), 1)), ..tls() };
        let moved = Flow { remote: "192.0.2.9:1025".parse().expect("remote"), ..again };
        let text = tokens().contact(5, HOME, &tls(), b"sip:a@b");
        assert_eq!(text, tokens().contact(5, HOME, &moved, b"sip:a@b"));
    }

    #[test]
    fn flow_tokens_round_trip() {
        let mut raw = Raw::default();
        let same = [udp("198.51.100.7:5062"), udp("[2001:db8::7]:5062"), tls()];
        for flow in same.into_iter().chain(balanced()) {
            for secure in [false, true] {
                let text = tokens().flow(3, &flow, secure, 9);
                let token = Token::Flow(FlowToken { key: 3, flow, secure, pbx: 9 });
                assert_eq!(tokens().open(&text, &mut raw), Some(token));
            }
        }
    }

    #[test]
    fn a_long_contact_is_left_to_the_table() {
        let mut raw = Raw::default();
        let text =
            tokens().contact(5, HOME, &udp("[2001:db8::7]:5062"), &[b'x'; CONTACT_BYTES_MAX + 1]);
        assert!(text.len() < 250);
        let Some(Token::Contact { contact, .. }) = tokens().open(&text, &mut raw) else {
            panic!("ours");
        };
        assert_eq!(contact, b"");
        let text =
            tokens().contact(5, HOME, &udp("[2001:db8::7]:5062"), &[b'x'; CONTACT_BYTES_MAX]);
        assert!(text.len() + "sip:@127.0.0.1:65535".len() < 256, "{}", text.len());
    }

    #[test]
    fn nobody_else_makes_one() {
        let mut raw = Raw::default();
        let text = tokens().flow(0, &udp("198.51.100.7:5062"), false, 0);
        assert_eq!(Tokens::new(&[8; 32]).open(&text, &mut raw), None);
        for at in 0..text.len() - 1 {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens().open(&changed, &mut raw), None, "digit {at}");
        }
        for garbage in [&b""[..], b"x", b"6001", &[b'A'; 400], b"%00"] {
            assert_eq!(tokens().open(garbage, &mut raw), None);
        }
    }
}
