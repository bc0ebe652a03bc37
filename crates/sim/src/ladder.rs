//! Call flows as text: what passes between the hosts of a scene, one message a paragraph, with
//! random values named in the order of their appearance.

use crate::sip::{Msg, SipUri, auth_param, param, uri_of};
use crate::world::Passage;
use policy::Time;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Headers that a transcript shows, in the message's own order.
const SHOWN: [&str; 19] = [
    "Via",
    "Route",
    "Record-Route",
    "Path",
    "Max-Forwards",
    "From",
    "To",
    "CSeq",
    "Contact",
    "Expires",
    "Retry-After",
    "WWW-Authenticate",
    "Authorization",
    "Supported",
    "Unsupported",
    "Reason",
    "X-Ringfence-Source",
    "Proxy-Require",
    "Require",
];

/// Gives random values their names.
#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    fn name(&mut self, kind: &'static str, value: &str) -> String {
        if let Some(name) = self.known.get(value) {
            return name.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let name = format!("{kind}{count}");
        self.known.insert(value.to_string(), name.clone());
        name
    }
}

/// Writes a transcript of what was recorded from `start` on.
#[must_use]
pub fn transcript(tape: &[Passage], start: Time) -> String {
    let (mut text, mut names) = (String::new(), Names::default());
    for passage in tape.iter().filter(|passage| passage.at >= start) {
        let offset = passage.at.since(start);
        let Some(msg) = Msg::parse(&passage.bytes) else {
            let _ = writeln!(
                text,
                "{:>9.3}  {} > {}  {}  ({} bytes)\n",
                offset.as_secs_f64(),
                passage.from,
                passage.to,
                passage.transport.as_via(),
                passage.bytes.len()
            );
            continue;
        };
        let start_line = mask_start(&msg, &mut names);
        let _ = writeln!(
            text,
            "{:>9.3}  {} > {}  {}  {start_line}",
            offset.as_secs_f64(),
            passage.from,
            passage.to,
            passage.transport.as_via(),
        );
        for (name, value) in &msg.headers {
            if let Some(shown) = SHOWN.iter().find(|shown| shown.eq_ignore_ascii_case(name)) {
                let value = mask(shown, value, &mut names);
                let _ = writeln!(text, "           {shown}: {value}");
            }
        }
        text.push('\n');
    }
    text
}

fn mask_start(msg: &Msg, names: &mut Names) -> String {
    if msg.is_request() {
        msg.start.replacen(msg.uri(), &mask_uri(msg.uri(), names), 1)
    } else {
        msg.start.clone()
    }
}

fn mask(header: &str, value: &str, names: &mut Names) -> String {
    let mut masked = value.to_string();
    match header {
        "Via" => {
            if let Some(branch) = param(value, "branch") {
                masked = masked.replace(&branch, &names.name("branch", &branch));
            }
        }
        "From" | "To" | "Contact" | "Route" | "Record-Route" | "Path" => {
            let uri = uri_of(value);
            masked = masked.replacen(uri, &mask_uri(uri, names), 1);
            if let Some(tag) = param(value, "tag") {
                // A PBX may make a tag of a branch: the name shows it.
                masked = masked.replace(&tag, &names.name("tag", &tag));
            }
        }
        "WWW-Authenticate" | "Authorization" => {
            for (kind, name) in [
                ("nonce", "nonce"),
                ("opaque", "opaque"),
                ("response", "response"),
                ("cnonce", "cnonce"),
            ] {
                if let Some(secret) = auth_param(value, name) {
                    masked = masked.replace(&secret, &names.name(kind, &secret));
                }
            }
        }
        // Spread at random.
        "Retry-After" => masked = "(seconds)".into(),
        _ => {}
    }
    masked
}

/// Long users are tokens; the mark of our outside Record-Route is ten hexadecimal digits.
fn mask_uri(uri: &str, names: &mut Names) -> String {
    let Some(parsed) = SipUri::parse(uri) else { return uri.to_string() };
    let kind = match parsed.user.len() {
        10 if parsed.user.bytes().all(|byte| byte.is_ascii_hexdigit())
            && parsed.user.bytes().any(|byte| byte.is_ascii_alphabetic()) =>
        {
            "mark"
        }
        13.. => "token",
        _ => return uri.to_string(),
    };
    uri.replacen(&parsed.user, &names.name(kind, &parsed.user), 1)
}
