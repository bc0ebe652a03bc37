//! Methods and header names: from bytes to a closed list, by length and first byte.

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
    /// The header that a name as written means.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let [first, ..] = name else { return HeaderName::Other };
        let (candidate, long): (HeaderName, &[u8]) = match (name.len(), first | 0x20) {
            (1, letter) => return HeaderName::of_compact(letter),
            (2, b't') => (HeaderName::To, b"To"),
            (3, b'v') => (HeaderName::Via, b"Via"),
            (4, b'f') => (HeaderName::From, b"From"),
            (4, b'c') => (HeaderName::CSeq, b"CSeq"),
            (4, b'p') => (HeaderName::Path, b"Path"),
            (5, b'a') => (HeaderName::Allow, b"Allow"),
            (5, b'e') => (HeaderName::Event, b"Event"),
            (5, b'r') => (HeaderName::Route, b"Route"),
            (6, b'a') => (HeaderName::Accept, b"Accept"),
            (6, b's') => (HeaderName::Server, b"Server"),
            (7, b'c') => match name.get(1) {
                Some(b'a' | b'A') => (HeaderName::CallId, b"Call-ID"),
                _ => (HeaderName::Contact, b"Contact"),
            },
            (7, b'e') => (HeaderName::Expires, b"Expires"),
            (7, b'r') => (HeaderName::Require, b"Require"),
            (8, b'r') => (HeaderName::ReferTo, b"Refer-To"),
            (9, b's') => (HeaderName::Supported, b"Supported"),
            (10, b'u') => (HeaderName::UserAgent, b"User-Agent"),
            (11, b'm') => (HeaderName::MinExpires, b"Min-Expires"),
            (11, b'r') => (HeaderName::RetryAfter, b"Retry-After"),
            (11, b'u') => (HeaderName::Unsupported, b"Unsupported"),
            (12, b'c') => (HeaderName::ContentType, b"Content-Type"),
            (12, b'm') => (HeaderName::MaxForwards, b"Max-Forwards"),
            (12, b'r') => (HeaderName::RecordRoute, b"Record-Route"),
            (13, b'a') => (HeaderName::Authorization, b"Authorization"),
            (13, b'p') => (HeaderName::ProxyRequire, b"Proxy-Require"),
            (14, b'c') => (HeaderName::ContentLength, b"Content-Length"),
            (15, b's') => (HeaderName::SessionExpires, b"Session-Expires"),
            (16, b'w') => (HeaderName::WwwAuthenticate, b"WWW-Authenticate"),
            (18, b'p') => (HeaderName::ProxyAuthenticate, b"Proxy-Authenticate"),
            (19, b'p') => (HeaderName::ProxyAuthorization, b"Proxy-Authorization"),
            _ => return HeaderName::Other,
        };
        // Most write it so; comparing without letter case costs more.
        let is_it = name == long || name.eq_ignore_ascii_case(long);
        if is_it { candidate } else { HeaderName::Other }
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

    fn of_compact(letter: u8) -> Self {
        match letter {
            b'c' => HeaderName::ContentType,
            b'f' => HeaderName::From,
            b'i' => HeaderName::CallId,
            b'k' => HeaderName::Supported,
            b'l' => HeaderName::ContentLength,
            b'm' => HeaderName::Contact,
            b'o' => HeaderName::Event,
            b'r' => HeaderName::ReferTo,
            b't' => HeaderName::To,
            b'v' => HeaderName::Via,
            b'x' => HeaderName::SessionExpires,
            _ => HeaderName::Other,
        }
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
