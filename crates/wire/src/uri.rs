//! URIs (RFC 3261 §19.1, RFC 3986 for the rest), read, never rebuilt.

use crate::block::{find, find_or_end, has_none};
use crate::chars::{cut, digit, is_host, not_host, not_uri, port_at};
use crate::params;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address literal.
    Address(IpAddr),
    /// A name; compare without letter case.
    Name(&'a [u8]),
}

impl<'a> Host<'a> {
    /// Reads a host with nothing around it: a name, an IPv4 address, or an IPv6 address in
    /// brackets. Three colons in place of two are taken for two (RFC 5118 §4.10).
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match Host::read(bytes, 0)? {
            (host, end) if end == bytes.len() => Some(host),
            _ => None,
        }
    }

    /// Reads the host that begins at `at`, and where it ends.
    pub(crate) fn read(bytes: &'a [u8], at: usize) -> Option<(Self, usize)> {
        match bytes.get(at)? {
            b'[' => {
                let end = find(bytes, at, |block| block.is(b']'))?;
                Some((Host::Address(ipv6(cut(bytes, at + 1, end))?.into()), end + 1))
            }
            b'0'..=b'9'
                if let Some((address, end)) = ipv4(bytes, at)
                    && !bytes.get(end).is_some_and(|byte| is_host(*byte)) =>
            {
                Some((Host::Address(address.into()), end))
            }
            _ => {
                let end = find_or_end(bytes, at, not_host);
                (end > at).then(|| (Host::Name(cut(bytes, at, end)), end))
            }
        }
    }

    /// Same host: addresses by value, names without letter case.
    #[must_use]
    pub fn matches(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Address(a), Host::Address(b)) => a == b,
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// Reads the IPv4 address that begins at `at`, and where it ends: four numbers as
/// [`std::net::Ipv4Addr`] reads them, without leading zeros, which some take for octal.
fn ipv4(bytes: &[u8], at: usize) -> Option<(Ipv4Addr, usize)> {
    let (first, at) = octet(bytes, at)?;
    let (second, at) = octet(bytes, dot(bytes, at)?)?;
    let (third, at) = octet(bytes, dot(bytes, at)?)?;
    let (fourth, at) = octet(bytes, dot(bytes, at)?)?;
    Some((Ipv4Addr::new(first, second, third, fourth), at))
}

fn dot(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'.')).then_some(at + 1)
}

#[inline]
fn octet(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut octet = digit(*bytes.get(at)?)?;
    let mut at = at + 1;
    if octet != 0 {
        while let Some(next) = bytes.get(at).and_then(|byte| digit(*byte)) {
            octet = octet * 10 + next;
            at += 1;
            if octet > 255 {
                return None;
            }
        }
    }
    Some((octet as u8, at))
}

/// An IPv6 address without brackets; `:::` counts as `::`.
fn ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    if let Ok(address) = std::str::from_utf8(bytes).ok()?.parse() {
        return Some(address);
    }
    let at = bytes.windows(3).position(|w| w == b":::")?;
    let mut text = [0u8; 48];
    let (head, tail) = (cut(bytes, 0, at), cut(bytes, at + 1, bytes.len()));
    let text = text.get_mut(..head.len() + tail.len())?;
    text[..at].copy_from_slice(head);
    text[at..].copy_from_slice(tail);
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An address as `received` has it: IPv4, IPv6, or IPv6 in brackets (RFC 5118 §4.5).
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes {
        [b'[', inner @ .., b']'] => ipv6(inner).map(IpAddr::from),
        _ => match ipv4(bytes, 0) {
            Some((address, end)) if end == bytes.len() => Some(address.into()),
            _ => ipv6(bytes).map(IpAddr::from),
        },
    }
}

/// A `sip:` or `sips:` URI; any other scheme has only [`Uri::scheme`] and the rest in `host`.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// As written, without its colon.
    pub scheme: &'a [u8],
    /// Still escaped; empty when there is none.
    pub user: &'a [u8],
    /// What stands between the first colon of the userinfo and the `@`; empty when there is none.
    pub password: &'a [u8],
    /// Host; for another scheme than sip and sips all that follows the scheme, as a name.
    pub host: Host<'a>,
    /// Port if written.
    pub port: Option<u16>,
    /// From the first `;` (without it) to the `?`, empty when there are none.
    pub params: &'a [u8],
    /// Behind the `?`, empty when there are none.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI with nothing around it. `None` when it has no scheme, or is a SIP URI without
    /// a readable host and port (an IPv6 address must stand in brackets).
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        // most write it so
        let (scheme, rest) = match bytes {
            [b's', b'i', b'p', b':', rest @ ..] => (cut(bytes, 0, 3), rest),
            _ => other_scheme(bytes)?,
        };
        let mut uri = Uri {
            scheme,
            user: b"",
            password: b"",
            host: Host::Name(rest),
            port: None,
            params: b"",
            headers: b"",
        };
        if uri.is_sip() { uri.read_sip(rest).then_some(uri) } else { Some(uri) }
    }

    /// `sip` or `sips`, letter case ignored.
    #[must_use]
    pub fn is_sip(&self) -> bool {
        // most write it so
        self.scheme == b"sip" || self.scheme.eq_ignore_ascii_case(b"sip") || self.is_sips()
    }

    /// `sips`, letter case ignored.
    #[must_use]
    pub fn is_sips(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sips")
    }

    /// A parameter's value: `Some(b"")` for a flag like `lr`; names without letter case.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        params::find::<b';'>(self.params, name).map(|param| param.raw())
    }

    /// RFC 3261 §19.1.4 equivalence. URIs of other schemes are compared byte by byte.
    #[must_use]
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if !self.scheme.eq_ignore_ascii_case(other.scheme) {
            return false;
        }
        if !self.is_sip() {
            return self.host == other.host;
        }
        same_escaped(self.user, other.user)
            && same_escaped(self.password, other.password)
            && self.host.matches(&other.host)
            && self.port == other.port
            && params_agree(self, other)
            && params_agree(other, self)
            && headers_within(self.headers, other.headers)
            && headers_within(other.headers, self.headers)
    }

    /// Everything behind `sip:`. The user may hold `;`, `?` and `/`, so the `@` is looked for
    /// first; a second one can't stand in a host, so it is refused there.
    fn read_sip(&mut self, rest: &'a [u8]) -> bool {
        let mut at = 0;
        if let Some(sign) = find(rest, 0, |block| block.is(b'@')) {
            let userinfo = cut(rest, 0, sign);
            let colon = find(userinfo, 0, |block| block.is(b':'));
            self.user = cut(userinfo, 0, colon.unwrap_or(sign));
            self.password = colon.map_or(b"", |colon| cut(userinfo, colon + 1, sign));
            at = sign + 1;
        }
        let Some((host, host_end)) = Host::read(rest, at) else { return false };
        self.host = host;
        at = host_end;
        if rest.get(at) == Some(&b':') {
            let Some((port, end)) = port_at(rest, at + 1) else { return false };
            self.port = Some(port);
            at = end;
        }
        if at == rest.len() {
            return true;
        }
        let end = find_or_end(rest, at, |block| block.is(b'?'));
        match rest.get(at) {
            Some(b';') => self.params = cut(rest, at + 1, end),
            Some(b'?') | None => {}
            Some(_) => return false,
        }
        self.headers = cut(rest, end + 1, rest.len());
        true
    }
}

/// The scheme and what stands behind its colon.
fn other_scheme(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = find(bytes, 0, |block| block.is(b':'))?;
    let scheme = cut(bytes, 0, colon);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    is_scheme.then(|| (scheme, cut(bytes, colon + 1, bytes.len())))
}

/// Whether a URI can stand in a start line: nothing in it is white space, a control character, a quote
/// or an angle bracket.
#[must_use]
pub fn is_printable(uri: &[u8]) -> bool {
    has_none(uri, not_uri)
}

/// `user@host` of a URI with the port, without escapes undone: how bindings, events and explanations
/// name an AOR. All of what is no URI.
#[must_use]
pub fn aor(uri: &[u8]) -> &[u8] {
    let Some(colon) = find(uri, 0, |block| block.is(b':')) else { return uri };
    let host = find(uri, colon, |block| block.is(b'@')).unwrap_or(colon) + 1;
    let end = find_or_end(uri, host, |block| block.is(b';') | block.is(b'?'));
    cut(uri, colon + 1, end)
}

/// Each parameter of `a` is either the same in `b`, or absent there and one that may be absent
/// (RFC 3261 §19.1.4: user, ttl, method, maddr and transport may not).
fn params_agree(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    const NEVER_IGNORED: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
    params::Params::<b';'>::new(a.params).filter(|param| !param.is_empty()).all(|param| {
        let mut same_name =
            params::Params::<b';'>::new(b.params).filter(|other| other.is(param.name())).peekable();
        let value = param.raw();
        match same_name.peek() {
            None => !NEVER_IGNORED.iter().any(|name| param.is(name)),
            Some(_) => same_name.any(|other| same_escaped_ignoring_case(value, other.raw())),
        }
    })
}

/// Each header of `a` is in `b` with the same value.
fn headers_within(a: &[u8], b: &[u8]) -> bool {
    params::Params::<b'&'>::new(a).filter(|header| !header.is_empty()).all(|header| {
        params::Params::<b'&'>::new(b)
            .any(|other| other.is(header.name()) && same_escaped(header.raw(), other.raw()))
    })
}

/// Bytes with `%41` read as `A`.
fn unescaped(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        let digit = |index: usize| bytes.get(index).and_then(|b| char::from(*b).to_digit(16));
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2))
        {
            at += 3;
            return Some((high << 4 | low) as u8);
        }
        at += 1;
        Some(byte)
    })
}

fn same_escaped(a: &[u8], b: &[u8]) -> bool {
    unescaped(a).eq(unescaped(b))
}

fn same_escaped_ignoring_case(a: &[u8], b: &[u8]) -> bool {
    unescaped(a).map(|b| b.to_ascii_lowercase()).eq(unescaped(b).map(|b| b.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn parts_of_a_sip_uri() {
        let uri = uri("sips:al;x=1#?y:p:q@Example.COM:5071;transport=TCP;lr?Subject=a&b=c");
        assert_eq!(uri.scheme, b"sips");
        assert!(uri.is_sips());
        assert_eq!(uri.user, b"al;x=1#?y");
        assert_eq!(uri.password, b"p:q");
        assert_eq!(uri.host, Host::Name(b"Example.COM"));
        assert_eq!(uri.port, Some(5071));
        assert_eq!(uri.param(b"Transport"), Some(&b"TCP"[..]));
        assert_eq!(uri.param(b"lr"), Some(&b""[..]));
        assert_eq!(uri.param(b"maddr"), None);
        assert_eq!(uri.headers, b"Subject=a&b=c");
    }

    #[test]
    fn hosts() {
        assert_eq!(uri("sip:192.0.2.1").host, Host::Address([192, 0, 2, 1].into()));
        assert_eq!(uri("sip:[2001:db8::1]:5060").port, Some(5060));
        let two = uri("sip:u@[2001:db8::192.0.2.1]");
        assert_eq!(uri("sip:u@[2001:db8:::192.0.2.1]").host, two.host);
        assert_eq!(uri("sip:[2001:db8::10:5070]").port, None);
        assert_eq!(uri("sip:host_1.example?x").headers, b"x");
        assert_eq!(uri("tel:+1555;phone-context=x").host, Host::Name(b"+1555;phone-context=x"));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "sip",
            "sip:",
            ":x",
            "sip:u@",
            "sip:a@b@c",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:[::g]",
            "sip:h:",
            "sip:h:65536",
            "sip:h:5060x",
            "sip:ho st",
            "1sip:x",
            "sip:h/x",
        ] {
            assert!(Uri::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn an_aor_is_all_but_scheme_and_parameters() {
        for (uri, expected) in [
            ("sip:6001@pbx.example", "6001@pbx.example"),
            ("sips:6001@[2001:db8::1]:5061;transport=tls?a=b", "6001@[2001:db8::1]:5061"),
            ("SIP:al;x=1?y:p;q@h?Subject=a@b", "al;x=1?y:p;q@h"),
            ("sip:pbx.example;lr", "pbx.example"),
            ("tel:+1555;phone-context=x", "+1555"),
            ("sip:", ""),
            ("6001", "6001"),
            ("", ""),
        ] {
            assert_eq!(aor(uri.as_bytes()), expected.as_bytes(), "{uri}");
        }
    }

    /// The examples of RFC 3261 §19.1.4.
    #[test]
    fn equivalence() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;a=1;a=2", "sip:carol@chicago.com;a=1;a=2"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(uri(a).equivalent(&uri(b)), "{a} {b}");
            assert!(uri(b).equivalent(&uri(a)), "{b} {a}");
        }
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:a@b", "sips:a@b"),
        ] {
            assert!(!uri(a).equivalent(&uri(b)), "{a} {b}");
            assert!(!uri(b).equivalent(&uri(a)), "{b} {a}");
        }
    }
}
