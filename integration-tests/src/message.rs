//! A SIP message as lines of text: easy to build, to break on purpose and to look into.

use std::fmt;

/// One message. Header fields keep their order and their spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: Vec<u8>,
}

impl Message {
    /// A request with no header fields yet.
    #[must_use]
    pub fn request(method: &str, uri: &str) -> Self {
        let start = format!("{method} {uri} SIP/2.0");
        Message { start, headers: Vec::new(), body: Vec::new() }
    }

    /// The response RFC 3261 §8.2.6.2 makes of a request, without a To tag of its own.
    #[must_use]
    pub fn response(to: &Message, code: u16, phrase: &str) -> Self {
        let start = format!("SIP/2.0 {code} {phrase}");
        let copied = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
        let headers = (to.headers.iter())
            .filter(|(name, _)| copied.iter().any(|c| c.eq_ignore_ascii_case(name)))
            .filter(|(name, _)| code > 100 || !name.eq_ignore_ascii_case("Record-Route"))
            .cloned()
            .collect();
        Message { start, headers, body: Vec::new() }
    }

    /// Reads a whole message.
    ///
    /// # Errors
    /// Says what is not SIP about it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let end = find(bytes, b"\r\n\r\n").ok_or("no empty line")?;
        let head =
            String::from_utf8_lossy(&bytes[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return Err(format!("not a start line: {start:?}"));
        }
        let headers = lines
            .map(|line| line.split_once(':').ok_or(format!("not a header field: {line:?}")))
            .map(|split| {
                split.map(|(name, value)| (full_name(name.trim()), value.trim().to_owned()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Message { start, headers, body: bytes[end + 4..].to_vec() })
    }

    /// The whole message, with the Content-Length its body has unless one is set already.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.header("Content-Length").is_none() {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// With one more header field, at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With a body and its type.
    #[must_use]
    pub fn with_body(self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut message = self.with("Content-Type", kind);
        message.body = body.into();
        message
    }

    /// Puts `value` in the place of the first header field of this name, or at the end.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(header) => header.1 = value.into(),
            None => self.headers.push((name.to_owned(), value.into())),
        }
    }

    /// Takes all header fields of this name away.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// The first header field of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first header field of this name, which must be there.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in\n{self}"))
    }

    /// All values of a name; comma-joined ones apart (not for names whose values hold commas).
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.flat_map(|(_, value)| split_list(value)).collect()
    }

    /// Fields of a name as they stand.
    #[must_use]
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// Status code of a response.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.code().is_none()
    }

    /// Whether it is a request of this method.
    #[must_use]
    pub fn is(&self, method: &str) -> bool {
        self.is_request() && self.method() == method
    }

    /// The method of a request, or the one a response answers.
    #[must_use]
    pub fn method(&self) -> &str {
        if self.is_request() {
            self.start.split(' ').next().unwrap_or_default()
        } else {
            self.cseq().1
        }
    }

    /// The Request-URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Number and method of CSeq.
    #[must_use]
    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) =
            self.header("CSeq").and_then(|v| v.split_once(' ')).unwrap_or(("0", ""));
        (number.parse().unwrap_or(0), method.trim())
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    /// The branch of the topmost Via.
    #[must_use]
    pub fn branch(&self) -> String {
        self.all("Via").first().and_then(|via| param(via, "branch")).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status code.
    ///
    /// # Panics
    /// With the whole message when it is another.
    #[track_caller]
    pub fn expect_code(self, code: u16) -> Self {
        assert_eq!(self.code(), Some(code), "unexpected answer:\n{self}");
        self
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()).replace("\r\n", "\n"))
    }
}

/// A parameter of a header value or URI (without the part in angle brackets), unquoted.
#[must_use]
pub fn param(value: &str, name: &str) -> Option<String> {
    let rest = value.rfind('>').map_or(value, |end| &value[end + 1..]);
    uri_param(rest, name)
}

/// A parameter of a URI or of anything else that separates with semicolons.
#[must_use]
pub fn uri_param(uri: &str, name: &str) -> Option<String> {
    uri.split(';').skip(1).find_map(|param| {
        let (n, value) = param.split_once('=').unwrap_or((param, ""));
        n.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The tag of a From or To value.
#[must_use]
pub fn tag_of(value: &str) -> Option<String> {
    param(value, "tag")
}

/// The URI in a name-addr or addr-spec.
#[must_use]
pub fn uri_of(value: &str) -> &str {
    match (value.find('<'), value.rfind('>')) {
        (Some(start), Some(end)) if start < end => &value[start + 1..end],
        _ => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// Host and port of a SIP URI as it is written.
#[must_use]
pub fn uri_host_port(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split([';', '?']).next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

/// Splits a comma-joined header value, minding quotes and angle brackets.
fn split_list(value: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut angle) = (Vec::new(), 0, false, false);
    for (at, c) in value.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                parts.push(value[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[from..].trim());
    parts
}

/// The long form of a compact name (RFC 3261 §7.3.3).
fn full_name(name: &str) -> String {
    let long = match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "l" => "Content-Length",
        "c" => "Content-Type",
        "k" => "Supported",
        "o" => "Event",
        "r" => "Refer-To",
        other => other,
    };
    long.to_owned()
}

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let message = Message::request("INVITE", "sip:100@pbx.test")
            .with(
                "Via",
                "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKa;rport, SIP/2.0/TCP [::1]:5;branch=b",
            )
            .with("CSeq", "7 INVITE")
            .with_body("text/plain", "hello");
        let read = Message::parse(&message.bytes()).unwrap();
        assert_eq!(read.all("via").len(), 2);
        assert_eq!(read.branch(), "z9hG4bKa");
        assert_eq!(read.cseq(), (7, "INVITE"));
        assert_eq!(read.text(), "hello");
    }

    #[test]
    fn looks_into_addresses() {
        let value = "\"A, <b>\" <sip:a@[::1]:5060;transport=tcp;lr>;tag=x;expires=\"30\"";
        assert_eq!(tag_of(value).as_deref(), Some("x"));
        assert_eq!(param(value, "expires").as_deref(), Some("30"));
        let uri = uri_of("<sip:a@[::1]:5060;transport=tcp;lr>;tag=x");
        assert_eq!(uri_param(uri, "lr").as_deref(), Some(""));
        assert_eq!(uri_host_port(uri), "[::1]:5060");
        assert_eq!(uri_of("sip:a@b;tag=1"), "sip:a@b");
    }
}
