//! Challenges and credentials (RFC 3261 §22, RFC 7616, RFC 8760): parameters of
//! `WWW-Authenticate`, `Proxy-Authenticate`, `Authorization`, `Proxy-Authorization`.

use crate::chars::{cut, is_lws, offset_at, skip_lws, unquoted};
use crate::params::QuotedParams;
use crate::{Header, Message, Span};

/// The parameters of one header line (these headers are never comma-joined lists of values; a
/// comma parts parameters, RFC 3261 §7.3.1). Quotes are taken off, escapes stay; of a parameter
/// that stands twice the first counts, see [`Digest::is_ambiguous`]; an absent one is empty.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Digest<'a> {
    /// Whether the scheme is `Digest`, in quotes or not, or there is a nonce: PBXs read a scheme
    /// in quotes (PJSIP), or do not look at it. Other schemes have no parameters here.
    pub is_digest: bool,
    /// Whether `nonce` or `username` stands there again with another value, which must not be
    /// (RFC 7235 §2.1): PJSIP takes the last one.
    pub is_ambiguous: bool,
    pub algorithm: &'a [u8],
    /// The value's span, quotes excluded.
    pub algorithm_span: Option<Span>,
    pub nonce: &'a [u8],
    pub opaque: &'a [u8],
    /// The quoted value's span, quotes excluded.
    pub opaque_span: Option<Span>,
    pub realm: &'a [u8],
    pub response: &'a [u8],
    /// `stale`, with the span of its value.
    pub stale: Option<(bool, Span)>,
    pub uri: &'a [u8],
    pub username: &'a [u8],
    /// Where a parameter can be appended (with a comma): one past the value's last byte.
    pub end: u16,
}

impl<'a> Digest<'a> {
    /// Reads a line of `message`. What can't be read is left empty; nothing is refused.
    /// [`Message::digest`] says the same, and does not read it again.
    #[must_use]
    pub fn parse(message: &Message<'a>, header: &Header) -> Self {
        let bytes = message.slice(header.value);
        let scheme_end = bytes.iter().position(|b| is_lws(*b)).unwrap_or(bytes.len());
        let scheme = unquoted(cut(bytes, 0, scheme_end));
        let mut digest = Digest { end: header.value.end, ..Digest::default() };
        let start = skip_lws(bytes, scheme_end);
        let offset = offset_at(header.value.start, start);
        let (mut seen, mut stale) = (0u16, &b""[..]);
        for param in QuotedParams::new(cut(bytes, start, bytes.len())) {
            // length and first letter leave one name to compare with
            let first = param.name.first().map_or(0, |letter| letter | 0x20);
            let (bit, field): (u16, _) = match (param.name.len(), first) {
                (9, b'a') if param.is(b"algorithm") => (ALGORITHM, &mut digest.algorithm),
                (5, b'n') if param.is(b"nonce") => (NONCE, &mut digest.nonce),
                (6, b'o') if param.is(b"opaque") => (OPAQUE, &mut digest.opaque),
                (5, b'r') if param.is(b"realm") => (8, &mut digest.realm),
                (8, b'r') if param.is(b"response") => (16, &mut digest.response),
                (3, b'u') if param.is(b"uri") => (32, &mut digest.uri),
                (8, b'u') if param.is(b"username") => (USERNAME, &mut digest.username),
                (5, b's') if param.is(b"stale") => (STALE, &mut stale),
                _ => continue,
            };
            if seen & bit != 0 {
                digest.is_ambiguous |= bit & (NONCE | USERNAME) != 0 && *field != param.value;
                continue;
            }
            seen |= bit;
            *field = param.value;
            let span = || {
                let start = offset_at(offset, param.value_start);
                Span { start, end: offset_at(start, param.value.len()) }
            };
            match bit {
                ALGORITHM => digest.algorithm_span = Some(span()),
                OPAQUE => digest.opaque_span = Some(span()),
                STALE => digest.stale = Some((stale.eq_ignore_ascii_case(b"true"), span())),
                _ => {}
            }
        }
        digest.is_digest = scheme.eq_ignore_ascii_case(b"digest") || !digest.nonce.is_empty();
        if !digest.is_digest {
            digest = Digest { end: header.value.end, ..Digest::default() };
        }
        digest
    }
}

/// `nextnonce` in the value of `Authentication-Info` or `Proxy-Authentication-Info` (RFC 7616 §3.5): the
/// nonce that credentials are to have from now on. `None` when it has none.
#[must_use]
pub fn next_nonce(value: &[u8]) -> Option<&[u8]> {
    let mut params = QuotedParams::new(value).filter(|param| param.is(b"nextnonce"));
    params.next().map(|param| param.value).filter(|nonce| !nonce.is_empty())
}

/// Bits of the parameters that are more than a value.
const ALGORITHM: u16 = 1;
const NONCE: u16 = 2;
const OPAQUE: u16 = 4;
const USERNAME: u16 = 64;
const STALE: u16 = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeaderName, Limits};

    fn message(line: &str) -> String {
        format!(
            "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n{line}\r\n\r\n"
        )
    }

    #[test]
    fn credentials() {
        let text = message(
            "Authorization: digest username=\"a, \\\"b\\\"\",\r\n realm = \"r\", nonce=\"n/1\", \
             uri=\"sip:h;x=1,2\", response=\"00\", algorithm=MD5, opaque=\"op\",qop=auth, nonce=\"m\"",
        );
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let (_, header) = message.lines(HeaderName::Authorization).next().unwrap();
        let digest = Digest::parse(&message, header);
        assert!(digest.is_digest);
        assert_eq!(digest.username, br#"a, \"b\""#);
        assert_eq!(digest.realm, b"r");
        assert_eq!(digest.nonce, b"n/1");
        assert_eq!(digest.uri, b"sip:h;x=1,2");
        assert_eq!(digest.response, b"00");
        assert_eq!(digest.algorithm, b"MD5");
        assert_eq!(digest.opaque, b"op");
        assert_eq!(message.slice(digest.opaque_span.unwrap()), b"op");
        assert_eq!(digest.stale, None);
    }

    /// What PBXs read in one way and we in another would be credentials that nobody counts.
    #[test]
    fn credentials_that_can_be_read_in_two_ways() {
        for (line, is_digest, is_ambiguous) in [
            ("Digest username=\"a\",nonce=\"n\"", true, false),
            ("\"Digest\" username=\"a\",nonce=\"n\"", true, false),
            ("Anything username=\"a\",nonce=\"n\"", true, false),
            ("Digest username=\"a\",nonce=\"n\",username=\"b\"", true, true),
            ("Digest username=\"a\",nonce=\"n\",NONCE=\"m\"", true, true),
            ("Digest username=\"a\",nonce=\"n\",username=a", true, false),
            ("Basic dXNlcjpwdw==", false, false),
            ("Bearer abc", false, false),
        ] {
            let text = message(&format!("Authorization: {line}"));
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            let (_, header) = message.lines(HeaderName::Authorization).next().unwrap();
            let digest = Digest::parse(&message, header);
            assert_eq!(
                (digest.is_digest, digest.is_ambiguous),
                (is_digest, is_ambiguous),
                "{line}"
            );
            assert_eq!(digest.username, if is_digest { &b"a"[..] } else { b"" }, "{line}");
        }
    }

    #[test]
    fn next_nonces() {
        for (value, nonce) in [
            (&b"nextnonce=\"n2\""[..], Some(&b"n2"[..])),
            (
                b"qop=auth, rspauth=\"00\", cnonce=\"c,nextnonce=x\", nc=00000001, NextNonce = n3",
                Some(b"n3"),
            ),
            (b"qop=auth, nextnonce=\"\"", None),
            (b"nonce=\"n1\"", None),
            (b"", None),
        ] {
            assert_eq!(next_nonce(value), nonce, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn challenges() {
        for (written, stale) in [("stale=true", true), ("stale=\"FALSE\"", false)] {
            let text =
                message(&format!("WWW-Authenticate: Digest realm=\"r\",{written}, opaque=\"\""));
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            let (_, header) = message.lines(HeaderName::WwwAuthenticate).next().unwrap();
            let digest = Digest::parse(&message, header);
            let (value, span) = digest.stale.unwrap();
            assert_eq!(value, stale);
            assert!(message.slice(span).eq_ignore_ascii_case(stale.to_string().as_bytes()));
            assert_eq!(message.slice(digest.opaque_span.unwrap()), b"");
        }
        let text = message("WWW-Authenticate: Basic realm=\"r\"");
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let (_, header) = message.lines(HeaderName::WwwAuthenticate).next().unwrap();
        let digest = Digest::parse(&message, header);
        assert!(!digest.is_digest && digest.realm.is_empty());
    }
}
