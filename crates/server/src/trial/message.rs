//! What senders and the PBX of a test say. Messages are put together as text: a test may send
//! what no parser would take.

use config::Answer;
use std::fmt::Write as _;
use wire::Transport;

/// What the last answer to a sender said.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered {
    to: String,
    to_tag: String,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Option<String>,
    qop: bool,
}

impl Answered {
    /// `None` for what is no final response. A new answer without a challenge keeps nothing.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        if !text.starts_with("SIP/2.0 ") || text.starts_with("SIP/2.0 1") {
            return None;
        }
        let to = header(&text, "To").unwrap_or_default().to_owned();
        let to_tag = to.rsplit_once(";tag=").map_or("", |(_, tag)| tag).to_owned();
        let challenge = header(&text, "WWW-Authenticate");
        let challenge = challenge.or_else(|| header(&text, "Proxy-Authenticate")).unwrap_or("");
        let part = |name: &str| parameter(challenge, name).map(str::to_owned);
        Some(Answered {
            to,
            to_tag,
            realm: part("realm").unwrap_or_default(),
            nonce: part("nonce").unwrap_or_default(),
            opaque: part("opaque"),
            algorithm: part("algorithm"),
            qop: part("qop").is_some(),
        })
    }
}

/// What stands for the words in braces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placeholders<'a> {
    /// Of the message in the test.
    pub(super) number: u64,
    /// The last answer.
    pub(super) answer: Option<&'a Answered>,
}

/// Whether a message wants an answer.
pub(super) fn asks(bytes: &[u8]) -> bool {
    !bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"ACK ")
}

/// A message as it is sent: lines ended as SIP has them, words in braces replaced.
pub(super) fn request(
    text: &str,
    transport: Transport,
    placeholders: Placeholders<'_>,
) -> Result<Vec<u8>, String> {
    let text = fill(text.trim_start_matches('\n'), placeholders)?;
    let (head, body) = match text.split_once("\n\n") {
        Some((head, body)) => (head, body),
        None => (text.as_str(), ""),
    };
    let mut out: String = head.trim_end().lines().fold(String::new(), |mut out, line| {
        let _ = write!(out, "{line}\r\n");
        out
    });
    let body: String = body.lines().fold(String::new(), |mut out, line| {
        let _ = write!(out, "{line}\r\n");
        out
    });
    // Over a stream, nothing else tells where the message ends.
    if transport.is_reliable() && header(&out, "Content-Length").is_none() {
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    Ok(format!("{out}\r\n{body}").into_bytes())
}

fn fill(text: &str, placeholders: Placeholders<'_>) -> Result<String, String> {
    let number = placeholders.number;
    let mut out = text.replace("{n}", &number.to_string());
    out = out.replace("{branch}", &format!("z9hG4bK{:016x}", number.wrapping_mul(0x9e37_79b9)));
    let words = ["{nonce}", "{opaque}", "{realm}", "{to_tag}", "{credentials}"];
    if !words.iter().any(|word| out.contains(word)) {
        return Ok(out);
    }
    let answer = placeholders.answer.ok_or("words in braces need an answer that came before")?;
    let credentials = credentials(&out, answer);
    for (word, value) in words.into_iter().zip([
        &answer.nonce,
        answer.opaque.as_ref().unwrap_or(&String::new()),
        &answer.realm,
        &answer.to_tag,
        &credentials,
    ]) {
        out = out.replace(word, value);
    }
    Ok(out)
}

/// Credentials for the last challenge, of the user in From. Whether they are right is what the
/// PBX of the test says.
fn credentials(request: &str, answer: &Answered) -> String {
    let uri = request.split_whitespace().nth(1).unwrap_or_default();
    let from = header(request, "From").unwrap_or_default();
    let user = from.split_once("sip:").map_or("", |(_, rest)| rest);
    let user = user.split(['@', '>', ';']).next().unwrap_or_default();
    let mut out = format!(
        "Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{:032x}\"",
        answer.realm, answer.nonce, 0
    );
    if let Some(algorithm) = &answer.algorithm {
        let _ = write!(out, ", algorithm={algorithm}");
    }
    if let Some(opaque) = &answer.opaque {
        let _ = write!(out, ", opaque=\"{opaque}\"");
    }
    if answer.qop {
        out.push_str(", qop=auth, nc=00000001, cnonce=\"0a4f113b\"");
    }
    out
}

/// The ACK to a final answer that is no 2xx (RFC 3261 §17.1.1.3).
pub(super) fn acknowledgement(request: &[u8], answer: &Answered) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let uri = text.split_whitespace().nth(1).unwrap_or("sip:pbx");
    let line = |name: &str| header(&text, name).unwrap_or_default();
    let number = line("CSeq").split_whitespace().next().unwrap_or("1");
    format!(
        "ACK {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        answer.to,
        line("Call-ID"),
    )
    .into_bytes()
}

/// What the PBX answers. Like chan_pjsip it makes the To-tag of a challenge of the request's
/// branch.
pub(super) fn response(request: &[u8], answer: Answer, number: u64) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let line = |name: &str| header(&text, name).unwrap_or_default();
    let Answer { status, stale } = answer;
    let mut out = format!("SIP/2.0 {status} Test\r\n");
    for via in text.lines().filter(|line| line.starts_with("Via:") || line.starts_with("Via :")) {
        let _ = write!(out, "{via}\r\n");
    }
    for name in ["From", "Call-ID", "CSeq"] {
        let _ = write!(out, "{name}: {}\r\n", line(name));
    }
    let to = line("To");
    let branch = line("Via").split_once("branch=").map_or("", |(_, branch)| branch);
    let branch = branch.split([';', ',']).next().unwrap_or_default();
    match to.contains(";tag=") {
        true => write!(out, "To: {to}\r\n"),
        false => write!(out, "To: {to};tag={branch}\r\n"),
    }
    .ok();
    if let 401 | 407 = status {
        let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let stale = if stale { ", stale=true" } else { "" };
        let _ = write!(
            out,
            "{name}: Digest realm=\"asterisk\", nonce=\"1700000000/{number:032x}\", \
             opaque=\"{number:016x}\", algorithm=MD5, qop=\"auth\"{stale}\r\n"
        );
    }
    if (200..300).contains(&status) {
        let contact = match header(&text, "Contact") {
            Some(contact) if text.starts_with("REGISTER") => format!("{contact};expires=3600"),
            _ => "<sip:pbx@127.0.0.1:5070>".to_owned(),
        };
        let _ = write!(out, "Contact: {contact}\r\n");
    }
    out.push_str("Content-Length: 0\r\n\r\n");
    out.into_bytes()
}

/// The value of the first header line of that name.
fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let head = text.split("\r\n\r\n").next().unwrap_or(text);
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A parameter of a challenge, its quotes taken off.
fn parameter<'t>(challenge: &'t str, name: &str) -> Option<&'t str> {
    let parts = challenge.strip_prefix("Digest ").unwrap_or(challenge);
    parts.split(',').find_map(|part| {
        let (known, value) = part.trim().split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}
