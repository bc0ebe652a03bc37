//! The phones and the PBX, as far as the engine can tell them from real ones.

use std::net::{Ipv4Addr, SocketAddr};

pub(crate) const OUTSIDE: &str = "127.0.0.10:5060";
pub(crate) const INSIDE: &str = "127.0.0.20:5080";
pub(crate) const PBX: &str = "127.0.0.30:5080";
const NONCE: &str = "1700000000/8c0e1a7d2f5b4c3d9e6a1b2c3d4e5f60";
const SDP: &str = "v=0\r\no=- 20010 20010 IN IP4 192.168.1.5\r\ns=SDP data\r\nc=IN IP4 192.168.1.5\r\nt=0 0\r\n\
    m=audio 11780 RTP/AVP 0 8 9 18 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
const ALLOW: &str = "Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE\r\n";

pub(crate) fn parse_addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Values of a header, in their order.
fn values<'a>(message: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n").skip(1).filter_map(move |line| {
        let (written, value) = line.split_once(':')?;
        written.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A phone behind a NAT and the one unit of work it has.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) address: SocketAddr,
    method: &'static str,
    n: u64,
    branch: u32,
    done: bool,
}

impl Phone {
    pub(crate) fn new(method: &'static str, n: u64) -> Self {
        let ip = Ipv4Addr::from(0x7f10_0000 + (n % 20_000) as u32);
        Phone { address: SocketAddr::from((ip, 5070)), method, n, branch: 0, done: false }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    pub(crate) fn start(&mut self) -> Vec<u8> {
        let uri = self.uri();
        self.request(self.method, &uri, 1, "", "", false)
    }

    /// What a response makes it send.
    pub(crate) fn on_response(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let text = String::from_utf8_lossy(bytes);
        let code: u16 = text.get(8..11).and_then(|code| code.parse().ok()).unwrap_or(0);
        let cseq = values(&text, "CSeq").next().unwrap_or_default();
        let tag = values(&text, "To")
            .next()
            .and_then(|to| to.split_once(";tag="))
            .map_or("", |(_, tag)| tag);
        let uri = self.uri();
        match (code, cseq) {
            (401, _) => {
                let credentials = format!(
                    "Authorization: Digest username=\"u{}\", realm=\"asterisk\", nonce=\"{NONCE}\", uri=\"{uri}\", \
                     response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, cnonce=\"0a4f113b\", qop=auth, nc=00000001\r\n",
                    self.n % 5000
                );
                let mut next = Vec::new();
                if self.method == "INVITE" {
                    next.push(self.request("ACK", &uri, 1, tag, "", false));
                }
                next.push(self.request(self.method, &uri, 2, "", &credentials, true));
                next
            }
            (200, "2 INVITE") => {
                let routes: Vec<&str> = values(&text, "Record-Route").collect();
                let routes: String =
                    routes.iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
                let contact = values(&text, "Contact").next().unwrap_or_default();
                let target = contact
                    .trim_start_matches('<')
                    .split('>')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                vec![
                    self.request("ACK", &target, 2, tag, &routes, true),
                    self.request("BYE", &target, 3, tag, &routes, true),
                ]
            }
            (200, "3 BYE") => {
                self.done = true;
                Vec::new()
            }
            (200, _) => {
                self.done = true;
                Vec::new()
            }
            (100..200, _) => Vec::new(),
            _ => panic!("unexpected response:\n{text}"),
        }
    }

    fn uri(&self) -> String {
        match self.method {
            "REGISTER" => "sip:pbx.test".into(),
            _ => format!("sip:{}@pbx.test", 7000 + self.n % 100),
        }
    }

    fn request(
        &mut self,
        method: &str,
        uri: &str,
        cseq: u32,
        tag: &str,
        extra: &str,
        fresh: bool,
    ) -> Vec<u8> {
        self.branch += u32::from(fresh);
        let n = self.n;
        let user = n % 5000;
        let host = Ipv4Addr::from(0xc0a8_0000 + user as u32);
        let to = if self.method == "REGISTER" {
            format!("u{user}")
        } else {
            format!("{}", 7000 + n % 100)
        };
        let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let body = if method == "INVITE" { SDP } else { "" };
        let kind = match method {
            "REGISTER" => format!("{ALLOW}Expires: 60\r\n"),
            "INVITE" => format!("{ALLOW}Supported: replaces\r\nContent-Type: application/sdp\r\n"),
            _ => String::new(),
        };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:5060;branch=z9hG4bK{n:08x}.{};rport\r\nMax-Forwards: 70\r\n\
             From: \"Phone {user}\" <sip:u{user}@pbx.test>;tag=f{n:x}\r\nTo: <sip:{to}@pbx.test>{tag}\r\nCall-ID: {n}@bench\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:u{user}@{host}:5060>\r\nUser-Agent: Yealink SIP-T46S 66.85.0.5\r\n\
             {extra}{kind}Content-Length: {}\r\n\r\n{body}",
            self.branch,
            body.len()
        )
        .into_bytes()
    }
}

/// What the PBX answers to a request: a challenge first, then yes.
pub(crate) fn answers(request: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(request);
    let method = text.split(' ').next().unwrap_or_default();
    let known = values(&text, "Authorization").next().is_some();
    match method {
        "ACK" => Vec::new(),
        "REGISTER" | "INVITE" if !known => {
            let challenge = format!(
                "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"{NONCE}\",opaque=\"5ccc069c403ebaf9\",algorithm=MD5,qop=\"auth\"\r\n"
            );
            vec![reply(&text, "401 Unauthorized", &challenge, "")]
        }
        "INVITE" => {
            let contact = format!("Contact: <sip:{PBX}>\r\n");
            let ok = format!(
                "{contact}{ALLOW}Supported: 100rel, timer, replaces, norefersub\r\nContent-Type: application/sdp\r\n"
            );
            vec![
                reply(&text, "100 Trying", "", ""),
                reply(&text, "180 Ringing", &contact, ""),
                reply(&text, "200 OK", &ok, SDP),
            ]
        }
        "REGISTER" => {
            let contact = values(&text, "Contact").next().unwrap_or_default();
            vec![reply(&text, "200 OK", &format!("Contact: {contact};expires=59\r\n"), "")]
        }
        _ => vec![reply(&text, "200 OK", "", "")],
    }
}

fn reply(request: &str, status: &str, extra: &str, body: &str) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in values(request, name) {
            let tag = if name == "To" && !value.contains(";tag=") && !status.starts_with("100") {
                ";tag=as5f1c9e3b"
            } else {
                ""
            };
            out += &format!("{name}: {value}{tag}\r\n");
        }
    }
    out += &format!(
        "{extra}Server: Asterisk PBX 22.10.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    out.into_bytes()
}
