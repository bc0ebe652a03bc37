use crate::rng::Rng;
use crate::sip::Msg;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What an attacker's messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// KaplanSoft's sipcli.
    Sipcli,
    /// SIPVicious.
    Vicious,
    /// A softphone nobody has a signature for; the number tells makes apart.
    Plain(u8),
    /// The simulator's own phones.
    Phone,
    /// A monitor that asks for life signs.
    Monitor,
}

/// What stays the same in an exchange.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub method: &'static str,
    pub from: String,
    pub uri: String,
    pub call_id: String,
    from_value: String,
    to_value: String,
    branch: String,
}

impl Tool {
    pub(super) fn letter(
        self,
        method: &'static str,
        from: &str,
        to: &str,
        domain: &str,
        server: SocketAddr,
        rng: &mut Rng,
    ) -> Letter {
        let host = match self {
            Tool::Phone | Tool::Plain(_) => domain.to_string(),
            _ => server.to_string(),
        };
        let uri = match method {
            "REGISTER" => format!("sip:{host}"),
            "OPTIONS" if self == Tool::Vicious => format!("sip:{host}"),
            _ => format!("sip:{to}@{host}"),
        };
        let hex = rng.hex(32);
        let decimal = 1_000_000 + rng.below(3_000_000_000);
        let (branch, call_id, tag) = match self {
            Tool::Sipcli => (format!("z9hG4bK-{hex}"), hex.clone(), rng.hex(8)),
            Tool::Vicious => {
                let secret =
                    hex_of(&format!("cb00710113c4\u{1}{}", 100_000 + rng.below(1_000_000_000)));
                let call_id = format!("{}{}", 1 + rng.below(1_000_000_000), rng.below(1 << 40));
                (format!("z9hG4bK-{decimal}"), call_id, secret)
            }
            Tool::Plain(n) => {
                (format!("z9hG4bK{n}x{}", &hex[..12]), format!("{}@{n}.plain", rng.hex(16)), {
                    rng.hex(10)
                })
            }
            Tool::Phone => (format!("z9hG4bK{}", &hex[..16]), rng.hex(20), rng.hex(8)),
            Tool::Monitor => (
                format!("z9hG4bK.{}", &hex[..8]),
                format!("{decimal}{}@monitor.example.com", rng.below(1 << 50)),
                rng.hex(8),
            ),
        };
        let name = match self {
            Tool::Sipcli => from,
            Tool::Vicious if method == "OPTIONS" => "\"sipvicious\"",
            Tool::Vicious => "\"100\"",
            _ => "",
        };
        let from_uri = match self {
            Tool::Vicious if method == "OPTIONS" => "sip:100@1.1.1.1".to_string(),
            _ => format!("sip:{from}@{host}"),
        };
        let to_uri = match self {
            Tool::Vicious if method == "OPTIONS" => from_uri.clone(),
            _ => format!("sip:{to}@{host}"),
        };
        let from_value = format!("{name}<{from_uri}>;tag={tag}");
        let from = from.to_string();
        let to_value = format!("<{to_uri}>");
        Letter { method, from, uri, call_id, from_value, to_value, branch }
    }

    pub(super) fn request(
        self,
        letter: &Letter,
        cseq: u32,
        source: SocketAddr,
        other: Option<&str>,
        credentials: Option<&str>,
    ) -> Vec<u8> {
        let Letter { method, uri, call_id, from_value, to_value, .. } = letter;
        let branch = branch_of(letter, cseq);
        let via = format!("Via: SIP/2.0/UDP {source};branch={branch};rport");
        let (from, to) = (format!("From: {from_value}"), format!("To: {to_value}"));
        let call_id = format!("Call-ID: {call_id}");
        let cseq = format!("CSeq: {cseq} {method}");
        let contact = format!("Contact: <sip:{}@{source}>", letter.from);
        let hops = "Max-Forwards: 70".to_string();
        let agent = |name: &str| format!("User-Agent: {}", other.unwrap_or(name));
        let mut lines = match self {
            Tool::Sipcli => {
                let allow = "Allow: INVITE, ACK, CANCEL, BYE".to_string();
                vec![to, from, via, call_id, cseq, contact, hops, allow, agent("sipcli/v1.8")]
            }
            Tool::Vicious => {
                let accept = "Accept: application/sdp".to_string();
                let agent = agent("friendly-scanner");
                vec![via, hops, to, from, agent, call_id, contact, cseq, accept]
            }
            Tool::Plain(n) => {
                // As long as a phone's, so that answers are not longer.
                let allow = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, SUBSCRIBE, NOTIFY, \
                             REFER, MESSAGE, INFO, UPDATE, PUBLISH"
                    .to_string();
                let more = "Supported: replaces, 100rel, timer, norefersub, gruu, outbound, path, \
                            from-change, histinfo"
                    .to_string();
                let agent = agent(&format!("Plain {n}.0"));
                vec![via, from, to, call_id, cseq, hops, contact, allow, more, agent]
            }
            Tool::Phone => vec![via, hops, from, to, call_id, cseq, contact, agent("Sim Phone")],
            Tool::Monitor => vec![via, from, to, call_id, cseq, contact, hops, agent("sipsak 0.9")],
        };
        lines.retain(|line| line != "User-Agent: ");
        if *method == "REGISTER" {
            lines.push("Expires: 60".into());
        }
        lines.extend(credentials.map(|value| format!("Authorization: {value}")));
        let mut body = String::new();
        if *method == "INVITE" {
            lines.push("Content-Type: application/sdp".into());
            body = self.description(source);
        }
        let mut text = format!("{method} {uri} SIP/2.0\r\n");
        for line in lines {
            let _ = write!(text, "{line}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        text.into_bytes()
    }

    fn description(self, source: SocketAddr) -> String {
        let host = source.ip();
        let kind = if source.is_ipv4() { "IP4" } else { "IP6" };
        let (origin, session, formats) = match self {
            Tool::Sipcli => ("sipcli-Session 1297021 4401288", "sipcli", "18 0 8 101"),
            Tool::Vicious => ("- 1234567 1234567", "svwar", "0 8"),
            _ => ("- 1 1", "-", "0"),
        };
        format!(
            "v=0\r\no={origin} IN {kind} {host}\r\ns={session}\r\nc=IN {kind} {host}\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP {formats}\r\n"
        )
    }

    /// The ACK to a final response, as RFC 3261 §17.1.1.3 has it.
    pub(super) fn ack(
        self,
        letter: &Letter,
        cseq: u32,
        source: SocketAddr,
        response: &Msg,
    ) -> Vec<u8> {
        let mut ack = Msg::request("ACK", &letter.uri);
        let branch = branch_of(letter, cseq);
        ack.add("Via", &format!("SIP/2.0/UDP {source};branch={branch};rport"))
            .add("From", &letter.from_value)
            .add("To", response.value("To"))
            .add("Call-ID", &letter.call_id)
            .add("CSeq", &format!("{cseq} ACK"))
            .add("Max-Forwards", "70");
        ack.to_bytes()
    }
}

fn branch_of(letter: &Letter, cseq: u32) -> String {
    match cseq {
        1 => letter.branch.clone(),
        more => format!("{}{more}", letter.branch),
    }
}

/// SIPVicious's tags are the hexadecimal form of what it knows, with a byte 1 in it.
fn hex_of(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
