//! Tokens: what the edge writes into the user part of a Contact, a Path or a Record-Route towards
//! the PBX, so that the PBX's requests find the phone again.
//!
//! A token says everything that is needed, and a message authentication code over it: no table
//! has to survive a restart for a UDP phone to be called, and nobody else can make one.
//!
//! ```text
//! base64url( kind 1 | binding key 8 | home 1 | flow's ends, over UDP | contact | mac 10 )
//! base64url( kind 1 | binding key 8 | flow's ends | PBX 4 | mac 10 )
//! ```
//!
//! - A **contact** token stands for a registered binding and is the same as long as the binding
//!   lives, so it holds the UDP flow of the first registration only as a fallback; where the phone
//!   is now, the table of bindings knows. On a stream the flow is left out: after a reconnect the
//!   token must not change. It names its home, the shard whose inside port stands behind it.
//! - A **flow** token (RFC 5626 §5.2) stands for a flow; with a binding key in it, a phone that
//!   moved is still found. It names the dialog's PBX, too. One in a Record-Route is good in its
//!   dialog only: the code is over the Call-ID as well, which stands in the message and not in the
//!   token. One in a Path is for whatever call comes.

use crate::packed::{self, FLOW_BYTES_MAX, Pack, Reader};
use admission::Key;
use admission::key::{MAC_BYTES, equal};
use arrayvec::ArrayVec;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use wire::{Flow, ShardId};

/// Longest Contact URI that is written into a token; a longer one is found by the table only.
/// With it a token stays below the 256 bytes that PJSIP allows a URI.
const CONTACT_BYTES_MAX: usize = 110;
const HEAD_BYTES: usize = 1 + 8;
/// Longest token.
pub(crate) const RAW_BYTES_MAX: usize = HEAD_BYTES + FLOW_BYTES_MAX + CONTACT_BYTES_MAX + MAC_BYTES;
/// Longest text of a token.
pub(crate) const TEXT_BYTES_MAX: usize = RAW_BYTES_MAX.div_ceil(3) * 4;

const CONTACT: u8 = 0x40;
const FLOW: u8 = 0x80;
const SECURE: u8 = 0x04;
const DIALOG: u8 = 0x20;

/// RFC 4648 §5 without padding: what survives in the user part of a URI.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A token's bytes, before and after base64url.
pub(crate) type Raw = ArrayVec<u8, RAW_BYTES_MAX>;

/// A token's text.
pub(crate) type Text = ArrayVec<u8, TEXT_BYTES_MAX>;

/// The text of a token.
pub(crate) fn text(raw: &[u8]) -> Text {
    let mut text = [0; TEXT_BYTES_MAX];
    // TEXT_BYTES_MAX fits every token
    let length = BASE64.encode_slice(raw, &mut text).unwrap_or_default();
    Text::try_from(&text[..length]).unwrap_or_default()
}

/// The bytes of what may be a token.
pub(crate) fn raw(text: &[u8]) -> Option<Raw> {
    // the length first: what is no token costs nothing more
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut bytes = [0; TEXT_BYTES_MAX];
    let length = BASE64.decode_slice(text, &mut bytes).ok()?;
    Raw::try_from(bytes.get(..length)?).ok()
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'r> {
    /// A registered binding.
    Contact(ContactToken<'r>),
    /// A flow.
    Flow(FlowToken),
}

/// What a contact token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContactToken<'r> {
    /// All of it.
    pub(crate) raw: &'r [u8],
    /// Key in the table of bindings.
    pub(crate) key: u64,
    /// The shard whose inside port the PBX was told.
    pub(crate) home: ShardId,
    /// UDP: the ends of the flow of the first registration, as they are packed.
    ends: &'r [u8],
    /// The phone's Contact URI; empty when it was too long.
    pub(crate) contact: &'r [u8],
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
    /// Whether it was made for the dialog of one Call-ID, that of the message it was found in.
    pub(crate) dialog: bool,
}

/// The key that makes tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens(Key);

impl Tokens {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Tokens(Key::derive(secret, "tokens"))
    }

    /// A contact token.
    pub(crate) fn contact(&self, key: u64, home: ShardId, flow: &Flow, contact: &[u8]) -> Raw {
        let mut raw = head(CONTACT, key, flow);
        raw.bytes(&[home.0]);
        if flow.connection.is_none() {
            raw.ends(flow);
        }
        if contact.len() <= CONTACT_BYTES_MAX {
            raw.bytes(contact);
        }
        self.seal(raw, b"")
    }

    /// The text of a flow token, written into a message of that Call-ID.
    pub(crate) fn flow(&self, token: &FlowToken, call_id: &[u8]) -> Text {
        let FlowToken { key, flow, secure, pbx, dialog } = token;
        let secure = if *secure { SECURE } else { 0 };
        let dialog = if *dialog { DIALOG } else { 0 };
        let mut raw = head(FLOW | secure | dialog, *key, flow);
        raw.ends(flow);
        raw.bytes(&pbx.to_be_bytes());
        text(&self.seal(raw, call_id))
    }

    /// Reads a token of a message with that Call-ID into `bytes`; `None` when we did not make it,
    /// or made it for another call.
    pub(crate) fn open<'r>(
        &self,
        text: &[u8],
        call_id: &[u8],
        bytes: &'r mut Raw,
    ) -> Option<Token<'r>> {
        *bytes = raw(text)?;
        let bytes: &'r Raw = bytes;
        let (body, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        if !equal(&self.mac(body, call_id), mac) {
            return None;
        }
        match body.first()? & (CONTACT | FLOW) {
            CONTACT => ContactToken::read(bytes).map(Token::Contact),
            FLOW => FlowToken::read(body).map(Token::Flow),
            _ => None,
        }
    }

    fn seal(&self, mut raw: Raw, call_id: &[u8]) -> Raw {
        let mac = self.mac(&raw, call_id);
        raw.bytes(&mac);
        raw
    }

    fn mac(&self, body: &[u8], call_id: &[u8]) -> [u8; MAC_BYTES] {
        match body.first() {
            Some(kind) if kind & (FLOW | DIALOG) == FLOW | DIALOG => self.0.mac(&[body, call_id]),
            _ => self.0.mac(&[body]),
        }
    }
}

impl<'r> ContactToken<'r> {
    /// Reads the bytes of a token that is known to be ours, or need not be; `None` when they are no
    /// contact token.
    pub(crate) fn read(raw: &'r [u8]) -> Option<Self> {
        let mut reader = Reader(raw.get(..raw.len().checked_sub(MAC_BYTES)?)?);
        let [kind] = reader.take()?;
        if kind & (CONTACT | FLOW) != CONTACT {
            return None;
        }
        let key = u64::from_be_bytes(reader.take()?);
        let [home] = reader.take()?;
        let length = match packed::transport(kind)?.is_reliable() {
            true => 0,
            false => packed::addresses_bytes(kind),
        };
        let (ends, contact) = reader.0.split_at_checked(length)?;
        Some(ContactToken { raw, key, home: ShardId(home), ends, contact })
    }

    /// UDP: the flow of the first registration.
    pub(crate) fn flow(&self) -> Option<Flow> {
        let kind = self.raw.first().filter(|_| !self.ends.is_empty())?;
        Reader(self.ends).ends(*kind)
    }
}

impl FlowToken {
    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let [kind] = reader.take()?;
        let key = u64::from_be_bytes(reader.take()?);
        let flow = reader.ends(kind)?;
        let pbx = u32::from_be_bytes(reader.take()?);
        let (secure, dialog) = (kind & SECURE != 0, kind & DIALOG != 0);
        Some(FlowToken { key, flow, secure, pbx, dialog })
    }
}

fn head(kind: u8, key: u64, flow: &Flow) -> Raw {
    let mut raw = Raw::new();
    raw.push(kind | packed::kind(flow));
    raw.bytes(&key.to_be_bytes());
    raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::tests::flows;
    use wire::{ConnectionId, Transport};

    const HOME: ShardId = ShardId(3);

    fn tokens() -> Tokens {
        Tokens::new(&[9; 32])
    }

    fn udp(remote: &str) -> Flow {
        let local = if remote.starts_with('[') { "[2001:db8::1]:5060" } else { "203.0.113.1:5060" };
        Flow::udp(local.parse().expect("local"), remote.parse().expect("remote"))
    }

    fn tls() -> Flow {
        Flow {
            transport: Transport::Tls,
            connection: Some(ConnectionId::new(ShardId(2), 77)),
            ..udp("198.51.100.7:49152")
        }
    }

    fn of(flow: Flow) -> FlowToken {
        FlowToken { key: 7, flow, secure: false, pbx: 0, dialog: false }
    }

    #[test]
    fn contact_tokens_carry_the_contact_and_the_first_udp_flow() {
        let mut bytes = Raw::default();
        for given in flows() {
            let made = tokens().contact(5, HOME, &given, b"sip:6001@192.168.1.5:5062;ob");
            let Some(Token::Contact(token)) = tokens().open(&text(&made), b"c1", &mut bytes) else {
                panic!("ours");
            };
            let flow = Some(given).filter(|flow| flow.connection.is_none());
            assert_eq!(token.flow(), flow);
            assert_eq!((token.raw, token.key, token.home), (&made[..], 5, HOME));
            assert_eq!(token.contact, b"sip:6001@192.168.1.5:5062;ob");
            assert_eq!(ContactToken::read(&made), Some(token));
        }
        let flow = raw(&tokens().flow(&of(udp("192.0.2.1:5060")), b"c1")).expect("a token");
        assert_eq!(ContactToken::read(&flow), None);
        for end in 0..20 {
            assert_eq!(ContactToken::read(&flow[..end]), None);
        }
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
        let mut bytes = Raw::default();
        for flow in flows() {
            for (secure, dialog) in [(false, false), (true, false), (false, true), (true, true)] {
                let token = FlowToken { key: 3, flow, secure, pbx: 9, dialog };
                let text = tokens().flow(&token, b"c1");
                assert_eq!(tokens().open(&text, b"c1", &mut bytes), Some(Token::Flow(token)));
            }
        }
    }

    #[test]
    fn a_dialogs_token_is_good_in_its_call_only_and_a_paths_in_each() {
        let mut bytes = Raw::default();
        let path = of(udp("198.51.100.7:5062"));
        let dialog = FlowToken { dialog: true, ..path };
        let text = tokens().flow(&dialog, b"c1");
        assert_eq!(tokens().open(&text, b"c1", &mut bytes), Some(Token::Flow(dialog)));
        for other in [&b"c2"[..], b"", b"c1x"] {
            assert_eq!(tokens().open(&text, other, &mut bytes), None);
        }
        let text = tokens().flow(&path, b"c1");
        assert_eq!(tokens().open(&text, b"c2", &mut bytes), Some(Token::Flow(path)));
    }

    #[test]
    fn what_was_made_before_tokens_were_bound_to_calls_still_opens() {
        let mut bytes = Raw::default();
        let old = of(udp("198.51.100.7:5062"));
        let mut made = head(FLOW, old.key, &old.flow);
        made.ends(&old.flow);
        made.bytes(&old.pbx.to_be_bytes());
        let mac = tokens().0.mac(&[&made]);
        made.bytes(&mac);
        assert_eq!(tokens().open(&text(&made), b"c1", &mut bytes), Some(Token::Flow(old)));
    }

    #[test]
    fn a_long_contact_is_left_to_the_table() {
        let mut bytes = Raw::default();
        let flow = udp("[2001:db8::7]:5062");
        let made = text(&tokens().contact(5, HOME, &flow, &[b'x'; CONTACT_BYTES_MAX + 1]));
        assert!(made.len() < 250);
        let Some(Token::Contact(token)) = tokens().open(&made, b"c1", &mut bytes) else {
            panic!("ours");
        };
        assert_eq!(token.contact, b"");
        let made = text(&tokens().contact(5, HOME, &flow, &[b'x'; CONTACT_BYTES_MAX]));
        assert!(made.len() + "sip:@127.0.0.1:65535".len() < 256, "{}", made.len());
    }

    #[test]
    fn nobody_else_makes_one() {
        let mut bytes = Raw::default();
        let text = tokens().flow(&of(udp("198.51.100.7:5062")), b"c1");
        assert_eq!(Tokens::new(&[8; 32]).open(&text, b"c1", &mut bytes), None);
        for at in 0..text.len() - 1 {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens().open(&changed, b"c1", &mut bytes), None, "digit {at}");
        }
        for garbage in [&b""[..], b"x", b"6001", &[b'A'; 400], b"%00"] {
            assert_eq!(tokens().open(garbage, b"c1", &mut bytes), None);
        }
    }
}
