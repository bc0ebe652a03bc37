//! Responses that the edge makes itself (RFC 3261 §8.2.6).

use crate::decimal::{write_ip, write_number};
use crate::{Header, HeaderName, Host, Message, Span};
use std::net::SocketAddr;

/// What a response needs besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: &'r str,
    /// To-tag to add when the request has none; empty adds none (100 Trying).
    pub to_tag: &'r [u8],
    /// Whole header lines with their line ends, put before Content-Length.
    pub headers: &'r [u8],
    /// Where the request came from: fills `received` and `rport` of the top Via (RFC 3581 §4).
    pub source: SocketAddr,
    /// Header names in their compact form (§7.3.3).
    pub compact: bool,
}

impl Reply<'_> {
    /// Appends the response to `request`: all Vias, From, To, Call-ID, CSeq, and (for 100)
    /// Timestamp as they came; no body.
    pub fn write(&self, request: &Message<'_>, out: &mut Vec<u8>) {
        self.number(out, "SIP/2.0 ", u32::from(self.status));
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (index, header) in request.headers().iter().enumerate() {
            match header.name {
                HeaderName::Via if index == request.via_value().header => {
                    self.write_top_via(request, header, out);
                }
                HeaderName::To if request.to_tag().is_empty() && !self.to_tag.is_empty() => {
                    self.write_to(request, header, out);
                }
                HeaderName::Via
                | HeaderName::To
                | HeaderName::From
                | HeaderName::CallId
                | HeaderName::CSeq => {
                    let start = self.write_name(header, out);
                    out.extend_from_slice(request.slice(Span { start, ..header.line }));
                }
                _ => {}
            }
        }
        if self.status == 100
            && let Some((_, timestamp)) = request.other(b"timestamp")
        {
            out.extend_from_slice(request.slice(timestamp.line));
        }
        out.extend_from_slice(self.headers);
        let end: &[u8] = if self.compact { b"l: 0\r\n\r\n" } else { b"Content-Length: 0\r\n\r\n" };
        out.extend_from_slice(end);
    }

    /// Writes the name of a line, unless what follows has it as it came. Gives where that begins.
    fn write_name(&self, header: &Header, out: &mut Vec<u8>) -> u16 {
        match header.name.compact() {
            Some(letter) if self.compact => {
                out.push(letter);
                header.name_span.end
            }
            _ => header.line.start,
        }
    }

    /// The top Via's line with `received` and `rport` as RFC 3261 §18.2.1 and RFC 3581 §4 have
    /// it. What the client itself wrote there is replaced: it is ours to say.
    fn write_top_via(&self, request: &Message<'_>, header: &Header, out: &mut Vec<u8>) {
        let via = request.via();
        let ip = self.source.ip().to_canonical();
        let needs_received = via.rport.is_some()
            || via.received.is_some()
            || via.host != Host::Address(ip)
                && !matches!(via.host, Host::Address(a) if a.to_canonical() == ip);
        let received = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"received=");
            write_ip(ip, out);
        };
        let rport = |out: &mut Vec<u8>| self.number(out, "rport=", u32::from(self.source.port()));
        // Two replacements at most, in the order in which they stand.
        let mut at = self.write_name(header, out);
        let spans = [via.rport.map(|(_, span)| span), via.received.map(|(_, span)| span)];
        for _ in 0..2 {
            let next =
                spans.iter().flatten().filter(|span| span.start >= at).min_by_key(|s| s.start);
            let Some(next) = next else { break };
            out.extend_from_slice(request.slice(Span { start: at, end: next.start }));
            if via.rport.is_some_and(|(_, span)| span == *next) {
                rport(out);
            } else {
                received(out);
            }
            at = next.end;
        }
        if needs_received && via.received.is_none() {
            out.extend_from_slice(request.slice(Span { start: at, end: via.end }));
            out.push(b';');
            received(out);
            at = via.end;
        }
        out.extend_from_slice(request.slice(Span { start: at, end: header.line.end }));
    }

    fn write_to(&self, request: &Message<'_>, header: &Header, out: &mut Vec<u8>) {
        // An empty `tag=` is as good as none, but a second one would not be.
        let (end, behind) = match request.to().param_span(b"tag") {
            Some(span) => (span.start, span.end),
            None => (header.value.end, header.value.end),
        };
        let start = self.write_name(header, out);
        out.extend_from_slice(request.slice(Span { start, end }));
        out.extend_from_slice(if end == behind { b";tag=" } else { b"tag=" });
        out.extend_from_slice(self.to_tag);
        out.extend_from_slice(request.slice(Span { start: behind, end: header.line.end }));
    }

    fn number(&self, out: &mut Vec<u8>, before: &str, number: u32) {
        out.extend_from_slice(before.as_bytes());
        write_number(number, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn reply(request: &str, reply: Reply<'_>) -> String {
        let message = Message::parse(request.as_bytes(), &Limits::default()).unwrap();
        let mut out = Vec::new();
        reply.write(&message, &mut out);
        let text = String::from_utf8(out).unwrap();
        let answer = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(answer.status(), reply.status);
        assert_eq!(answer.cseq(), message.cseq());
        assert_eq!(answer.call_id(), message.call_id());
        assert_eq!(answer.from_tag(), message.from_tag());
        text
    }

    const NOT_FOUND: Reply<'static> = Reply {
        status: 404,
        reason: "Not Found",
        to_tag: b"t9",
        headers: b"Server: x\r\n",
        source: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 6060),
        compact: false,
    };

    fn request(via: &str, to: &str) -> String {
        format!(
            "INVITE sip:h SIP/2.0\r\n{via}\r\nMax-Forwards: 3\r\nTimestamp: 54\r\nVia: SIP/2.0/TCP z\r\n\
             From: <sip:a@b>;tag=1\r\n{to}\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn whole() {
        let text =
            reply(&request("Via: SIP/2.0/UDP 192.0.2.1;rport;branch=z9", "To: sip:c@d"), NOT_FOUND);
        assert_eq!(
            text,
            "SIP/2.0 404 Not Found\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;rport=6060;branch=z9;received=192.0.2.9\r\n\
             Via: SIP/2.0/TCP z\r\nFrom: <sip:a@b>;tag=1\r\nTo: sip:c@d;tag=t9\r\n\
             Call-ID: x\r\nCSeq: 1 INVITE\r\nServer: x\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn compact_names() {
        let request = request("Via: SIP/2.0/UDP 192.0.2.1;branch=z9", "To: sip:c@d");
        assert_eq!(
            reply(&request, Reply { compact: true, ..NOT_FOUND }),
            "SIP/2.0 404 Not Found\r\n\
             v: SIP/2.0/UDP 192.0.2.1;branch=z9;received=192.0.2.9\r\n\
             v: SIP/2.0/TCP z\r\nf: <sip:a@b>;tag=1\r\nt: sip:c@d;tag=t9\r\n\
             i: x\r\nCSeq: 1 INVITE\r\nServer: x\r\nl: 0\r\n\r\n"
        );
    }

    #[test]
    fn top_via() {
        let source_v6: SocketAddr = "[2001:db8::9]:7".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.9]:6060".parse().unwrap();
        for (via, source, expected) in [
            ("SIP/2.0/UDP 192.0.2.9;branch=z", NOT_FOUND.source, "SIP/2.0/UDP 192.0.2.9;branch=z"),
            ("SIP/2.0/UDP 192.0.2.9;branch=z", mapped, "SIP/2.0/UDP 192.0.2.9;branch=z"),
            (
                "SIP/2.0/UDP h.example;branch=z;, SIP/2.0/UDP y",
                NOT_FOUND.source,
                "SIP/2.0/UDP h.example;branch=z;received=192.0.2.9;, SIP/2.0/UDP y",
            ),
            (
                "SIP/2.0/UDP 192.0.2.9;received=6.6.6.6;rport=1;branch=z",
                NOT_FOUND.source,
                "SIP/2.0/UDP 192.0.2.9;received=192.0.2.9;rport=6060;branch=z",
            ),
            (
                "SIP/2.0/UDP 192.0.2.9;rport;x;received=6.6.6.6",
                source_v6,
                "SIP/2.0/UDP 192.0.2.9;rport=7;x;received=2001:db8::9",
            ),
        ] {
            let text = reply(
                &request(&format!("v: {via}"), "t: <sip:c@d>;tag=u"),
                Reply { source, ..NOT_FOUND },
            );
            assert!(text.contains(&format!("\r\nv: {expected}\r\n")), "{text}");
            assert!(text.contains("\r\nt: <sip:c@d>;tag=u\r\n"), "{text}");
        }
    }

    #[test]
    fn trying_has_no_tag_but_the_timestamp() {
        let trying = Reply { status: 100, reason: "Trying", to_tag: b"", ..NOT_FOUND };
        let text = reply(&request("Via: SIP/2.0/UDP 192.0.2.9", "To: \"c\" <sip:c@d>"), trying);
        assert!(text.contains("\r\nTo: \"c\" <sip:c@d>\r\n"), "{text}");
        assert!(text.contains("\r\nTimestamp: 54\r\n"), "{text}");
        assert!(
            !reply(&request("Via: SIP/2.0/UDP h", "To: <sip:c@d>"), NOT_FOUND)
                .contains("Timestamp")
        );
    }

    #[test]
    fn empty_tag_is_filled() {
        let text = reply(&request("Via: SIP/2.0/UDP h", "To: <sip:c@d>;tag=;x"), NOT_FOUND);
        assert!(text.contains("\r\nTo: <sip:c@d>;tag=t9;x\r\n"), "{text}");
    }
}
