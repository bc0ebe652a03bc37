//! Via (RFC 3261 §20.42, RFC 3581).

use crate::chars::{cut, end_of, is_token, offset_at, port, port_at, skip_lws};
use crate::params::Params;
use crate::{Host, Span, uri};
use std::net::IpAddr;

/// One Via value. Spans are offsets into the message it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport token as written (`UDP`, `TCP`, `TLS`, or anything else).
    pub transport: &'a [u8],
    /// sent-by host.
    pub host: Host<'a>,
    /// sent-by port if written.
    pub port: Option<u16>,
    /// `branch`, empty when there is none.
    pub branch: &'a [u8],
    /// `rport`: absent, present and empty, or with a value. The span is the whole `rport[=value]`.
    pub rport: Option<(Option<u16>, Span)>,
    /// `received`, as an address; the span is the whole `received=value`.
    pub received: Option<(&'a [u8], Span)>,
    /// Where parameters can be appended: one past the value's last byte (before a `;` that stands
    /// there alone).
    pub end: u16,
    sent_by: &'a [u8],
}

impl<'a> Via<'a> {
    /// Parses a value whose first byte stands at `offset` in the message.
    ///
    /// White space and folds around the slashes, the colon and the parameters are taken. `None`
    /// for another protocol than `SIP/2.0`, a host or port that can't be read, empty parameters
    /// (one `;` at the very end is forgiven), quotes that are not closed or not around a whole
    /// value, a branch that different readers cut differently, or a second branch, rport or received.
    #[must_use]
    pub fn parse(bytes: &'a [u8], offset: u16) -> Option<Self> {
        Self::read(bytes, offset, false)
    }

    /// [`Via::parse`]; with `any_version` of any SIP version, for a response to such a request.
    pub(crate) fn read(bytes: &'a [u8], offset: u16, any_version: bool) -> Option<Self> {
        let (transport, at) = protocol(bytes, any_version)?;
        let start = skip_lws(bytes, at);
        if start == at {
            return None;
        }
        let (host, host_end) = Host::read(bytes, start)?;
        let mut via = Via {
            transport,
            host,
            port: None,
            branch: b"",
            rport: None,
            received: None,
            end: offset_at(offset, host_end),
            sent_by: cut(bytes, start, host_end),
        };
        let mut at = skip_lws(bytes, host_end);
        if bytes.get(at) == Some(&b':') {
            let (port, end) = port_at(bytes, skip_lws(bytes, at + 1))?;
            via.port = Some(port);
            via.sent_by = cut(bytes, start, end);
            via.end = offset_at(offset, end);
            at = skip_lws(bytes, end);
        }
        match bytes.get(at) {
            None => Some(via),
            Some(b';') => via.read_params(bytes, offset, at + 1).then_some(via),
            Some(_) => None,
        }
    }

    /// sent-by exactly as written, host and port.
    #[must_use]
    pub fn sent_by(&self) -> &'a [u8] {
        self.sent_by
    }

    /// `received` read as an address.
    #[must_use]
    pub fn received_address(&self) -> Option<IpAddr> {
        self.received.and_then(|(bytes, _)| uri::address(bytes))
    }

    fn read_params(&mut self, bytes: &'a [u8], offset: u16, start: usize) -> bool {
        let list = cut(bytes, start, bytes.len());
        if list.is_empty() {
            return true;
        }
        let mut seen_branch = false;
        let mut params = Params::<b';'>::new(list);
        while let Some(param) = params.next() {
            if param.name().is_empty() {
                return param.is_empty() && params.is_at_end() && param.start > 0;
            }
            if !param.is_well_quoted() {
                return false;
            }
            let end = offset_at(offset, start + param.end);
            let span = Span { start: offset_at(offset, start + param.start), end };
            self.end = end;
            let twice = match param.name().len() {
                6 if param.is(b"branch") => {
                    if !param.is_identifier() {
                        return false;
                    }
                    self.branch = param.value();
                    std::mem::replace(&mut seen_branch, true)
                }
                5 if param.is(b"rport") => {
                    self.rport.replace((port(param.value()), span)).is_some()
                }
                8 if param.is(b"received") => {
                    self.received.replace((param.value(), span)).is_some()
                }
                _ => false,
            };
            if twice {
                return false;
            }
        }
        true
    }
}

/// `SIP / 2.0 / transport`: the transport and the offset behind it.
fn protocol(bytes: &[u8], any_version: bool) -> Option<(&[u8], usize)> {
    const USUAL: usize = b"SIP/2.0/".len();
    let start = if bytes.starts_with(b"SIP/2.0/") && bytes.get(USUAL).copied().is_some_and(is_token)
    {
        USUAL
    } else {
        let at = word(bytes, 0, b"SIP")?;
        let version = slash(bytes, at)?;
        let at = match any_version {
            true => end_of(bytes, version, is_token),
            false => word(bytes, version, b"2.0")?,
        };
        slash(bytes, at)?
    };
    let end = end_of(bytes, start, is_token);
    (end > start).then(|| (cut(bytes, start, end), end))
}

fn word(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    cut(bytes, at, end).eq_ignore_ascii_case(word).then_some(end)
}

fn slash(bytes: &[u8], at: usize) -> Option<usize> {
    let at = skip_lws(bytes, at);
    (bytes.get(at) == Some(&b'/')).then(|| skip_lws(bytes, at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes(), 10).unwrap_or_else(|| panic!("{text}"))
    }

    fn at(text: &str, span: Span) -> &str {
        &text[usize::from(span.start - 10)..usize::from(span.end - 10)]
    }

    #[test]
    fn usual() {
        let text = "SIP/2.0/UDP 192.0.2.1:5061;rport;branch=z9hG4bKx;received=192.0.2.9";
        let via = parse(text);
        assert_eq!(via.transport, b"UDP");
        assert_eq!(via.host, Host::Address([192, 0, 2, 1].into()));
        assert_eq!(via.port, Some(5061));
        assert_eq!(via.sent_by(), b"192.0.2.1:5061");
        assert_eq!(via.branch, b"z9hG4bKx");
        let (value, span) = via.rport.unwrap();
        assert_eq!((value, at(text, span)), (None, "rport"));
        let (value, span) = via.received.unwrap();
        assert_eq!((value, at(text, span)), (&b"192.0.2.9"[..], "received=192.0.2.9"));
        assert_eq!(usize::from(via.end) - 10, text.len());
    }

    #[test]
    fn odd_but_fine() {
        let via = parse("SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw");
        assert_eq!((via.transport, via.branch), (&b"UDP"[..], &b"390skdjuw"[..]));
        let via = parse("SIP / 2.0 / TCP  spindle.example.com : 5 ;\r\n  branch  =   z9  ");
        assert_eq!((via.branch, via.port), (&b"z9"[..], Some(5)));
        assert_eq!(
            via.end as usize - 10,
            "SIP / 2.0 / TCP  spindle.example.com : 5 ;\r\n  branch  =   z9".len()
        );
        let via = parse("sip/2.0/UNKNOWN [2001:db8::9:1]:6050;received=[2001:db8::9:255]");
        assert_eq!(via.received_address(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!(via.sent_by(), b"[2001:db8::9:1]:6050");
        let via = parse("SIP/2.0/UDP h;received=2001:db8::9;rport=99");
        assert_eq!(via.received_address(), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(via.rport.unwrap().0, Some(99));
        let via = parse("SIP/2.0/UDP h;branch=z9;");
        assert_eq!(via.end as usize - 10, "SIP/2.0/UDP h;branch=z9".len());
        assert_eq!(parse("SIP/2.0/UDP h;").end as usize - 10, "SIP/2.0/UDP h".len());
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/ h",
            "SIP/3.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDPh",
            "SIP/2.0/UDP h h",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP [2001:db8::1",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP h;;branch=x",
            "SIP/2.0/UDP h;=x",
            "SIP/2.0/UDP h;branch=a;branch=b",
            "SIP/2.0/UDP h;rport;rport=1",
            "SIP/2.0/UDP h;branch=a b",
            "SIP/2.0/UDP h;branch=a<b",
            "SIP/2.0/UDP h;branch=\"a\"",
            "SIP/2.0/UDP h;branch\"x",
            "SIP/2.0/UDP h;branch=\"x",
            "SIP/2.0/UDP h;branch=a\"b\"",
            "SIP/2.0/UDP h (comment)",
        ] {
            assert!(Via::parse(text.as_bytes(), 0).is_none(), "{text}");
        }
    }
}
