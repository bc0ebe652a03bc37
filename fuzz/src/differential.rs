//! A second and a third opinion: what `sipx-sip` and `rsip` read in the same bytes. Each
//! difference has a named class, or the target panics.
//!
//! Compared are the fields that two of them both read: method, Request-URI, Call-ID, CSeq, From
//! and To tags, the top Via's branch, the body's length. That one takes a message and another
//! does not is a difference too.

mod peers;

use crate::Verdict;
use peers::{Field, Reading};
use wire::{Limits, Message, Uri};

/// Compares the readings of one datagram.
pub fn differential(bytes: &[u8]) -> Verdict {
    let ours = Message::parse(bytes, &Limits::default());
    let mut verdicts: Vec<String> = Vec::new();
    for (peer, theirs) in [("sipx", peers::sipx(bytes)), ("rsip", peers::rsip(bytes))] {
        verdicts.push(match (&ours, theirs) {
            (Ok(ours), Ok(theirs)) => compare(peer, ours, &theirs),
            (Err(_), Err(_)) => format!("{peer}: both refuse"),
            // Our reasons are a closed list, each with its row in wire's table.
            (Err(reason), Ok(_)) => format!("{peer}: only we refuse, {reason}"),
            (Ok(ours), Err(why)) => match peers::refusal_class(bytes, ours, &why) {
                Some(class) => format!("{peer}: only they refuse, {class}"),
                None => panic!("{peer} alone refuses: {why}\n{}", bytes.escape_ascii()),
            },
        });
    }
    verdicts.join(" | ")
}

/// One word for how two readings of a message differ.
fn compare(peer: &str, message: &Message<'_>, theirs: &Reading) -> String {
    let ours = peers::ours(message);
    let mut classes: Vec<&str> = Vec::new();
    for ((field, ours), (_, theirs)) in ours.fields().into_iter().zip(theirs.fields()) {
        let (Field::Read(ours), Field::Read(theirs)) = (ours, theirs) else { continue };
        if ours == theirs {
            continue;
        }
        match class(peer, field, message, ours, theirs) {
            Some(class) => classes.push(class),
            None => panic!(
                "{peer} reads another {field}: \"{}\", not \"{}\"\n{}",
                theirs.escape_ascii(),
                ours.escape_ascii(),
                message.bytes().escape_ascii()
            ),
        }
    }
    classes.sort_unstable();
    classes.dedup();
    match classes.is_empty() {
        true => format!("{peer}: same"),
        false => format!("{peer}: {}", classes.join(", ")),
    }
}

/// Why a field may differ. Each class says what the peer does and is checked on the bytes.
fn class(
    peer: &str,
    field: &str,
    message: &Message<'_>,
    ours: &[u8],
    theirs: &[u8],
) -> Option<&'static str> {
    let via = message.via_value();
    let via_name = message
        .headers()
        .get(via.header)
        .map_or(0, |header| header.name_span.end - header.name_span.start);
    let is_parameter = matches!(field, "from_tag" | "to_tag" | "branch");
    match peer {
        "rsip" if field == "uri" && is_rebuilt(ours, theirs) => {
            Some("URI rebuilt, in its own letter case and without leading zeros")
        }
        "rsip" if field == "from_tag" && !message.from().bracketed => Some(BARE),
        "rsip" if field == "to_tag" && !message.to().bracketed => Some(BARE),
        "rsip" if matches!(field, "method" | "cseq") && ours.eq_ignore_ascii_case(theirs) => {
            Some("methods without letter case")
        }
        "rsip" if field == "call_id" && theirs.trim_ascii_end() == ours => {
            Some("white space behind a value kept")
        }
        "rsip" if field == "branch" && via_name == 1 => {
            Some("compact names unknown, so another Via is the top one")
        }
        "rsip" if field == "branch" && !via.last => Some("Vias joined by commas are one to it"),
        "rsip" if is_parameter && theirs.is_empty() => {
            Some("parameters given up at the first one it can't read")
        }
        "rsip" if is_parameter && is_cut_short(ours, theirs) => {
            Some("value ends before the first byte that is no token")
        }
        _ => None,
    }
}

/// Without brackets the first `;` ends the address (RFC 3261 §20.10).
const BARE: &str = "an address without brackets reaches behind its first semicolon";

fn is_rebuilt(ours: &[u8], theirs: &[u8]) -> bool {
    let same = |(ours, theirs): (Uri<'_>, Uri<'_>)| ours.equivalent(&theirs);
    ours.eq_ignore_ascii_case(theirs) || Uri::parse(ours).zip(Uri::parse(theirs)).is_some_and(same)
}

fn is_cut_short(ours: &[u8], theirs: &[u8]) -> bool {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(b);
    ours.strip_prefix(theirs).and_then(<[u8]>::first).is_some_and(|next| !is_token(next))
}
