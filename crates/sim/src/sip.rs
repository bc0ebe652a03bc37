//! The actors' own view of SIP: owned strings, slow and simple, and on purpose not the product's
//! parser: what the edge sends is read here by other eyes.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Msg {
    /// Request-Line or Status-Line.
    pub start: String,
    /// Header lines, names as written except that compact forms are spelt out.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Msg {
    /// A request with nothing but its start line.
    #[must_use]
    pub fn request(method: &str, uri: &str) -> Self {
        Msg { start: format!("{method} {uri} SIP/2.0"), ..Msg::default() }
    }

    /// A response to `request` (RFC 3261 §8.2.6), with a To-tag when one is given and none is
    /// there.
    #[must_use]
    pub fn response(request: &Msg, status: u16, reason: &str, to_tag: &str) -> Self {
        let mut response = Msg { start: format!("SIP/2.0 {status} {reason}"), ..Msg::default() };
        for name in ["Via", "Record-Route"] {
            if name == "Record-Route" && !(101..300).contains(&status) {
                continue;
            }
            for value in request.values(name) {
                response.add(name, &value);
            }
        }
        for name in ["From", "To", "Call-ID", "CSeq"] {
            let mut value = request.value(name).to_string();
            if name == "To" && !to_tag.is_empty() && param(&value, "tag").is_none() {
                let _ = write!(value, ";tag={to_tag}");
            }
            response.add(name, &value);
        }
        response
    }

    /// Reads a whole message; `None` when it is none. Content-Length, when there, must be right.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Msg> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_string();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let last = headers.last_mut()?;
                last.1 = format!("{} {}", last.1, line.trim()).trim().to_string();
                continue;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((long_name(name.trim()).to_string(), value.trim().to_string()));
        }
        let length_of_body = body.len();
        let body = String::from_utf8_lossy(body).into_owned();
        let message = Msg { start, headers, body };
        let length = message.header("Content-Length");
        if length.is_some_and(|length| length.parse() != Ok(length_of_body)) {
            return None;
        }
        Some(message)
    }

    /// The message as it is sent, Content-Length last.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// Of the Request-Line, or of a response's CSeq.
    #[must_use]
    pub fn method(&self) -> &str {
        if self.is_request() {
            self.start.split(' ').next().unwrap_or_default()
        } else {
            self.value("CSeq").split_whitespace().nth(1).unwrap_or_default()
        }
    }

    /// Request-URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Status code; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        if self.is_request() {
            return 0;
        }
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Number of the CSeq.
    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.value("CSeq").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// First line of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// First line of that name, empty when there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.header(name).unwrap_or_default()
    }

    /// All values of that name, joined lines parted.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| split_values(value))
            .collect()
    }

    /// All lines of that name, not parted at commas.
    #[must_use]
    pub fn values_of_lines(&self, name: &str) -> Vec<String> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.clone()).collect()
    }

    /// Appends a header line.
    pub fn add(&mut self, name: &str, value: &str) -> &mut Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// Puts a header line first.
    pub fn push_front(&mut self, name: &str, value: &str) -> &mut Self {
        self.headers.insert(0, (name.to_string(), value.to_string()));
        self
    }

    /// Takes all lines of that name away.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces the first line of that name in its place, or appends it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(line) => line.1 = value.to_string(),
            None => self.headers.push((name.to_string(), value.to_string())),
        }
        self
    }

    /// Tag of the From.
    #[must_use]
    pub fn from_tag(&self) -> String {
        param(self.value("From"), "tag").unwrap_or_default()
    }

    /// Tag of the To.
    #[must_use]
    pub fn to_tag(&self) -> String {
        param(self.value("To"), "tag").unwrap_or_default()
    }

    /// Branch of the top Via.
    #[must_use]
    pub fn branch(&self) -> String {
        self.top_via().and_then(|via| param(&via, "branch")).unwrap_or_default()
    }

    /// sent-by of the top Via.
    #[must_use]
    pub fn sent_by(&self) -> String {
        let via = self.top_via().unwrap_or_default();
        let sent = via.split_whitespace().nth(1).unwrap_or_default();
        sent.split(';').next().unwrap_or_default().to_string()
    }

    /// The top Via value.
    #[must_use]
    pub fn top_via(&self) -> Option<String> {
        self.values("Via").into_iter().next()
    }

    /// Fills `received` and `rport` of the top Via (RFC 3581 §4), as Asterisk does, asked or not.
    pub fn stamp_via(&mut self, source: SocketAddr) {
        let Some(line) = self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case("Via"))
        else {
            return;
        };
        let values = split_values(&line.1);
        let Some((first, rest)) = values.split_first() else { return };
        let kept: Vec<&str> = first
            .split(';')
            .filter(|part| !part.starts_with("rport") && !part.starts_with("received"))
            .collect();
        let mut stamped =
            format!("{};rport={};received={}", kept.join(";"), source.port(), source.ip());
        for value in rest {
            let _ = write!(stamped, ", {value}");
        }
        line.1 = stamped;
    }
}

/// A `sip:` URI taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SipUri {
    /// Scheme.
    pub scheme: String,
    /// User, empty when there is none.
    pub user: String,
    /// Host without brackets.
    pub host: String,
    /// Port if written.
    pub port: Option<u16>,
    /// Parameters in order, `name` or `name=value`.
    pub params: Vec<String>,
}

impl SipUri {
    /// Takes a URI apart; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let rest = rest.split('?').next().unwrap_or_default();
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let mut parts = rest.split(';');
        let host_port = parts.next()?;
        let params = parts.map(str::to_string).collect();
        let (host, port) = if let Some(v6) = host_port.strip_prefix('[') {
            let (host, port) = v6.split_once(']')?;
            (host, port.strip_prefix(':'))
        } else {
            match host_port.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host_port, None),
            }
        };
        let port = match port {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        let (scheme, user, host) = (scheme.to_string(), user.to_string(), host.to_string());
        Some(SipUri { scheme, user, host, port, params })
    }

    /// The address it names, when its host is a literal.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let host: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(host, self.port.unwrap_or(5060)))
    }

    /// Whether a parameter is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.params.iter().any(|p| p.split('=').next().unwrap_or_default() == name)
    }

    /// Written again by its parts with the parameters in reverse order, as Asterisk, who keeps no
    /// text, may do.
    #[must_use]
    pub fn reserialised(&self) -> String {
        let mut text = format!("{}:", self.scheme);
        if !self.user.is_empty() {
            let _ = write!(text, "{}@", self.user);
        }
        match self.host.contains(':') {
            true => text.push_str(&format!("[{}]", self.host)),
            false => text.push_str(&self.host),
        }
        if let Some(port) = self.port {
            let _ = write!(text, ":{port}");
        }
        for param in self.params.iter().rev() {
            let _ = write!(text, ";{param}");
        }
        text
    }
}

/// The URI of a name-addr or addr-spec.
#[must_use]
pub fn uri_of(value: &str) -> &str {
    match value.find('<') {
        Some(start) => {
            let rest = &value[start + 1..];
            &rest[..rest.find('>').unwrap_or(rest.len())]
        }
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// A header parameter behind a name-addr, or of a Via.
#[must_use]
pub fn param(value: &str, name: &str) -> Option<String> {
    let params = match value.rfind('>') {
        Some(end) => &value[end + 1..],
        None => value.split_once(';')?.1,
    };
    params.split(';').find_map(|part| {
        let (n, v) = part.split_once('=').unwrap_or((part, ""));
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim().to_string())
    })
}

/// A parameter of a challenge or of credentials, quotes taken off.
#[must_use]
pub fn auth_param(value: &str, name: &str) -> Option<String> {
    let params = value.trim().strip_prefix("Digest ")?;
    split_values(params).into_iter().find_map(|part| {
        let (n, v) = part.split_once('=')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim().trim_matches('"').to_string())
    })
}

/// Parts at commas that stand in neither quotes nor angle brackets.
fn split_values(line: &str) -> Vec<String> {
    let (mut values, mut current) = (Vec::new(), String::new());
    let (mut quoted, mut angle) = (false, false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                values.push(std::mem::take(&mut current).trim().to_string());
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    if !current.trim().is_empty() {
        values.push(current.trim().to_string());
    }
    values
}

fn long_name(name: &str) -> &str {
    match name {
        "v" | "V" => "Via",
        "f" | "F" => "From",
        "t" | "T" => "To",
        "i" | "I" => "Call-ID",
        "m" | "M" => "Contact",
        "l" | "L" => "Content-Length",
        "c" | "C" => "Content-Type",
        "k" | "K" => "Supported",
        other => other,
    }
}

/// Cuts whole messages out of a stream's buffer; keep-alive CRLFs between them come out as empty
/// vectors, one for each CRLF.
pub fn take_frame(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    if buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
        return Some(Vec::new());
    }
    let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:").or(line.strip_prefix("l:")))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .unwrap_or(0);
    if buffer.len() < end + length {
        return None;
    }
    Some(buffer.drain(..end + length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut invite = Msg::request("INVITE", "sip:100@example.com");
        invite
            .add("Via", "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKx, SIP/2.0/TCP b;branch=2")
            .add("From", "\"a, b\" <sip:a@example.com;x=y>;tag=1")
            .add("To", "<sip:100@example.com>")
            .add("Call-ID", "c")
            .add("CSeq", "7 INVITE");
        invite.body = "v=0\r\n".into();
        let mut read = Msg::parse(&invite.to_bytes()).expect("a message");
        assert_eq!(read.header("content-length"), Some("5"));
        read.remove("Content-Length");
        assert_eq!(read, invite);
        assert_eq!((read.method(), read.cseq(), read.status()), ("INVITE", 7, 0));
        assert_eq!((read.branch().as_str(), read.from_tag().as_str()), ("z9hG4bKx", "1"));
        assert_eq!(read.sent_by(), "192.0.2.1:5060");
        read.stamp_via("198.51.100.1:9".parse().expect("an address"));
        assert_eq!(
            read.values("Via")[0],
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport=9;received=198.51.100.1"
        );
        assert_eq!(read.values("Via").len(), 2);
        let answer = Msg::response(&read, 200, "OK", "t");
        assert_eq!(
            (answer.status(), answer.method(), answer.to_tag().as_str()),
            (200, "INVITE", "t")
        );
    }

    #[test]
    fn takes_uris_and_challenges_apart() {
        let uri = SipUri::parse("sip:tok@[2001:db8::1]:5080;lr;r2=on").expect("a URI");
        assert_eq!((uri.user.as_str(), uri.port, uri.has("lr")), ("tok", Some(5080), true));
        assert_eq!(uri.reserialised(), "sip:tok@[2001:db8::1]:5080;r2=on;lr");
        let challenge = "Digest realm=\"a,b\",nonce=\"1/2\", qop=\"auth\"";
        assert_eq!(auth_param(challenge, "nonce").as_deref(), Some("1/2"));
        assert_eq!(auth_param(challenge, "realm").as_deref(), Some("a,b"));
    }

    #[test]
    fn frames_a_stream_cut_anywhere() {
        let mut message = Msg::request("OPTIONS", "sip:a");
        message.body = "xyz".into();
        let mut bytes = message.to_bytes();
        bytes.extend_from_slice(b"\r\n");
        let (mut buffer, mut frames) = (Vec::new(), Vec::new());
        for byte in bytes {
            buffer.push(byte);
            while let Some(frame) = take_frame(&mut buffer) {
                frames.push(frame.len());
            }
        }
        assert_eq!(frames, [message.to_bytes().len(), 0]);
    }
}
