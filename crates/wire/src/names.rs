//! Methods and header names: from bytes to a closed list.

use crate::block::Block;

/// A request method (RFC 3261 §7.1), case-sensitive. An unknown one keeps its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method<'a> {
    Ack,
    Bye,
    Cancel,
    Info,
    Invite,
    Message,
    Notify,
    Options,
    Prack,
    Publish,
    Refer,
    Register,
    Subscribe,
    Update,
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method that these bytes name.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        match bytes {
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"INFO" => Method::Info,
            b"INVITE" => Method::Invite,
            b"MESSAGE" => Method::Message,
            b"NOTIFY" => Method::Notify,
            b"OPTIONS" => Method::Options,
            b"PRACK" => Method::Prack,
            b"PUBLISH" => Method::Publish,
            b"REFER" => Method::Refer,
            b"REGISTER" => Method::Register,
            b"SUBSCRIBE" => Method::Subscribe,
            b"UPDATE" => Method::Update,
            _ => Method::Other(bytes),
        }
    }

    /// The method as it stands on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Method::Ack => b"ACK",
            Method::Bye => b"BYE",
            Method::Cancel => b"CANCEL",
            Method::Info => b"INFO",
            Method::Invite => b"INVITE",
            Method::Message => b"MESSAGE",
            Method::Notify => b"NOTIFY",
            Method::Options => b"OPTIONS",
            Method::Prack => b"PRACK",
            Method::Publish => b"PUBLISH",
            Method::Refer => b"REFER",
            Method::Register => b"REGISTER",
            Method::Subscribe => b"SUBSCRIBE",
            Method::Update => b"UPDATE",
            Method::Other(bytes) => bytes,
        }
    }
}

/// A header's name, compact forms folded into the long one, letter case ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HeaderName {
    Accept,
    Allow,
    Authorization,
    CallId,
    Contact,
    ContentLength,
    ContentType,
    CSeq,
    Event,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    Path,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RecordRoute,
    ReferTo,
    Require,
    RetryAfter,
    Route,
    Server,
    SessionExpires,
    Supported,
    To,
    Unsupported,
    UserAgent,
    Via,
    WwwAuthenticate,
    Other,
}

impl HeaderName {
    /// How many there are.
    pub(crate) const COUNT: usize = HeaderName::Other as usize + 1;

    /// The header that a name as written means.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        match name.len() {
            length @ 0..=16 => HeaderName::of_block(Block::at(name, 0), length),
            _ if name.eq_ignore_ascii_case(b"Proxy-Authenticate") => HeaderName::ProxyAuthenticate,
            _ if name.eq_ignore_ascii_case(b"Proxy-Authorization") => {
                HeaderName::ProxyAuthorization
            }
            _ => HeaderName::Other,
        }
    }

    /// [`HeaderName::of`] the first `length` bytes of a block.
    #[inline]
    pub(crate) fn of_block(block: Block, length: usize) -> Self {
        let key = block.lower_case(length);
        match KNOWN.get(usize::from(SLOTS[slot(key)])) {
            Some(known) if known.key == key && known.length == length => known.name,
            _ => HeaderName::Other,
        }
    }

    /// The letter that may stand for it (RFC 3261 §7.3.3), of those that a response keeps.
    #[must_use]
    pub fn compact(self) -> Option<u8> {
        Some(match self {
            HeaderName::CallId => b'i',
            HeaderName::Contact => b'm',
            HeaderName::ContentLength => b'l',
            HeaderName::From => b'f',
            HeaderName::To => b't',
            HeaderName::Via => b'v',
            _ => return None,
        })
    }

    /// Its bit in a set of names.
    pub(crate) fn bit(self) -> u32 {
        1 << (self as u32)
    }

    /// Whether a second line of it makes the message ambiguous. RFC 3261 §7.3.1 forbids it for
    /// more headers; what only describes an agent is left alone.
    pub(crate) fn is_single(self) -> bool {
        const SINGLE: [HeaderName; 13] = [
            HeaderName::CallId,
            HeaderName::ContentLength,
            HeaderName::ContentType,
            HeaderName::CSeq,
            HeaderName::Event,
            HeaderName::Expires,
            HeaderName::From,
            HeaderName::MaxForwards,
            HeaderName::MinExpires,
            HeaderName::ReferTo,
            HeaderName::RetryAfter,
            HeaderName::SessionExpires,
            HeaderName::To,
        ];
        const BITS: u32 = {
            let (mut bits, mut index) = (0, 0);
            while index < SINGLE.len() {
                bits |= 1 << (SINGLE[index] as u32);
                index += 1;
            }
            bits
        };
        BITS & self.bit() != 0
    }

    /// Whether a repeated line with the very same value is forgiven: real stacks repeat such, and
    /// nothing about the message's frame, transaction or dialog hangs on it.
    pub(crate) fn may_repeat_itself(self) -> bool {
        matches!(
            self,
            HeaderName::ContentType
                | HeaderName::Event
                | HeaderName::Expires
                | HeaderName::MinExpires
                | HeaderName::ReferTo
                | HeaderName::RetryAfter
                | HeaderName::SessionExpires
        )
    }

    /// Whether its values are lists of addresses or of Vias, where a parenthesis is an ordinary
    /// character (of a user part, say) and no comment.
    pub(crate) fn has_comments(self) -> bool {
        !matches!(
            self,
            HeaderName::Contact
                | HeaderName::From
                | HeaderName::Path
                | HeaderName::RecordRoute
                | HeaderName::ReferTo
                | HeaderName::Route
                | HeaderName::To
                | HeaderName::Via
        )
    }
}

/// A name of at most sixteen bytes as a number: two comparisons tell whether it is the one.
#[derive(Clone, Copy)]
struct Known {
    key: u128,
    length: usize,
    name: HeaderName,
}

const fn known(written: &[u8], name: HeaderName) -> Known {
    let (mut bytes, mut at) = ([0; 16], 0);
    while at < written.len() {
        bytes[at] = written[at].to_ascii_lowercase();
        at += 1;
    }
    Known { key: u128::from_le_bytes(bytes), length: written.len(), name }
}

/// All but the two longer ones, then the compact forms (RFC 3261 §7.3.3).
static KNOWN: [Known; 40] = [
    known(b"Accept", HeaderName::Accept),
    known(b"Allow", HeaderName::Allow),
    known(b"Authorization", HeaderName::Authorization),
    known(b"Call-ID", HeaderName::CallId),
    known(b"Contact", HeaderName::Contact),
    known(b"Content-Length", HeaderName::ContentLength),
    known(b"Content-Type", HeaderName::ContentType),
    known(b"CSeq", HeaderName::CSeq),
    known(b"Event", HeaderName::Event),
    known(b"Expires", HeaderName::Expires),
    known(b"From", HeaderName::From),
    known(b"Max-Forwards", HeaderName::MaxForwards),
    known(b"Min-Expires", HeaderName::MinExpires),
    known(b"Path", HeaderName::Path),
    known(b"Proxy-Require", HeaderName::ProxyRequire),
    known(b"Record-Route", HeaderName::RecordRoute),
    known(b"Refer-To", HeaderName::ReferTo),
    known(b"Require", HeaderName::Require),
    known(b"Retry-After", HeaderName::RetryAfter),
    known(b"Route", HeaderName::Route),
    known(b"Server", HeaderName::Server),
    known(b"Session-Expires", HeaderName::SessionExpires),
    known(b"Supported", HeaderName::Supported),
    known(b"To", HeaderName::To),
    known(b"Unsupported", HeaderName::Unsupported),
    known(b"User-Agent", HeaderName::UserAgent),
    known(b"Via", HeaderName::Via),
    known(b"WWW-Authenticate", HeaderName::WwwAuthenticate),
    known(b"c", HeaderName::ContentType),
    known(b"f", HeaderName::From),
    known(b"i", HeaderName::CallId),
    known(b"k", HeaderName::Supported),
    known(b"l", HeaderName::ContentLength),
    known(b"m", HeaderName::Contact),
    known(b"o", HeaderName::Event),
    known(b"r", HeaderName::ReferTo),
    known(b"t", HeaderName::To),
    known(b"v", HeaderName::Via),
    known(b"x", HeaderName::SessionExpires),
    known(b"", HeaderName::Other),
];

/// The index in [`KNOWN`] of the only name that can stand in a slot: a perfect hash.
static SLOTS: [u8; 128] = {
    // the last one: of no name
    let (mut slots, mut index) = ([KNOWN.len() as u8 - 1; 128], 0);
    while index < KNOWN.len() - 1 {
        let slot = slot(KNOWN[index].key);
        assert!(slots[slot] as usize == KNOWN.len() - 1, "two names in one slot: another factor");
        slots[slot] = index as u8;
        index += 1;
    }
    slots
};

/// The factor was found by trying.
const fn slot(key: u128) -> usize {
    let halves = (key as u64).wrapping_add((key >> 64) as u64);
    (halves.wrapping_mul(FACTOR) >> (64 - 7)) as usize
}

const FACTOR: u64 = 0xfe8b_2b79_bada_7947;

/// The long name of a compact form that is not in [`HeaderName`] (RFC 3261 §7.3.3, IANA
/// "SIP Header Fields").
pub(crate) fn long_form(name: &[u8]) -> &[u8] {
    match name {
        [letter] => match letter | 0x20 {
            b'a' => b"accept-contact",
            b'b' => b"referred-by",
            b'd' => b"request-disposition",
            b'e' => b"content-encoding",
            b'j' => b"reject-contact",
            b'n' => b"identity-info",
            b's' => b"subject",
            b'u' => b"allow-events",
            b'y' => b"identity",
            _ => name,
        },
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::of(b"INVITE"), Method::Invite);
        assert_eq!(Method::of(b"invite"), Method::Other(b"invite"));
        for method in ["ACK", "BYE", "SUBSCRIBE", "PRACK", "X"] {
            assert_eq!(Method::of(method.as_bytes()).as_bytes(), method.as_bytes());
        }
    }

    #[test]
    fn header_names() {
        for (names, expected) in [
            (&["Via", "v", "V", "VIA"][..], HeaderName::Via),
            (&["from", "F"], HeaderName::From),
            (&["T", "tO"], HeaderName::To),
            (&["Call-ID", "call-id", "i"], HeaderName::CallId),
            (&["CONTACT", "m"], HeaderName::Contact),
            (&["CSeq"], HeaderName::CSeq),
            (&["Max-Forwards"], HeaderName::MaxForwards),
            (&["Content-Length", "l"], HeaderName::ContentLength),
            (&["Content-Type", "c"], HeaderName::ContentType),
            (&["Supported", "k"], HeaderName::Supported),
            (&["Event", "o"], HeaderName::Event),
            (&["Refer-To", "r"], HeaderName::ReferTo),
            (&["Session-Expires", "x"], HeaderName::SessionExpires),
            (&["Accept"], HeaderName::Accept),
            (&["Allow"], HeaderName::Allow),
            (&["Authorization"], HeaderName::Authorization),
            (&["Expires"], HeaderName::Expires),
            (&["Min-Expires"], HeaderName::MinExpires),
            (&["Path"], HeaderName::Path),
            (&["Proxy-Authenticate"], HeaderName::ProxyAuthenticate),
            (&["Proxy-Authorization"], HeaderName::ProxyAuthorization),
            (&["Proxy-Require"], HeaderName::ProxyRequire),
            (&["Record-Route"], HeaderName::RecordRoute),
            (&["Require"], HeaderName::Require),
            (&["Retry-After"], HeaderName::RetryAfter),
            (&["Route"], HeaderName::Route),
            (&["Server"], HeaderName::Server),
            (&["Unsupported"], HeaderName::Unsupported),
            (&["User-Agent"], HeaderName::UserAgent),
            (&["WWW-Authenticate"], HeaderName::WwwAuthenticate),
            (&["", "s", "Subject", "Vib", "Call_ID", "Contacs", "\u{14}o"], HeaderName::Other),
        ] {
            for name in names {
                assert_eq!(HeaderName::of(name.as_bytes()), expected, "{name}");
            }
        }
    }
}
