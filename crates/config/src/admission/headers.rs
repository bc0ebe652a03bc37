//! `strip_headers`: headers removed from what comes from outside
//! (`docs/policy/strip_headers.md`).

use crate::form::Scalar;
use crate::problem::Complaint;

/// A header's name, or a beginning of names and `*`.
pub(super) const STRIPPED: Scalar<Box<str>> = Scalar(stripped, |name| name.to_string());

/// Without these a message is no SIP message any more, or goes astray.
const NEEDED: [&str; 20] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Contact",
    "Route",
    "Record-Route",
    "Path",
    "Content-Length",
    "Content-Type",
    "Expires",
    "Require",
    "Proxy-Require",
    "Authorization",
    "Proxy-Authorization",
    "Event",
    "RAck",
    "RSeq",
];

fn stripped(text: &str) -> Result<Box<str>, Complaint> {
    let (start, any) = match text.strip_suffix('*') {
        Some(start) => (start, true),
        None => (text, false),
    };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%_+`'~".contains(&b);
    let least = if any { 2 } else { 1 };
    if start.len() < least || start.len() > 64 || !start.bytes().all(token) {
        let complaint = Complaint::new(format!("\"{text}\" is no header name"));
        return Err(complaint.hint("e.g. P-Asserted-Identity; X-Ringfence-* for all of them"));
    }
    let meant = |name: &&&str| match any {
        true => name.get(..start.len()).is_some_and(|part| part.eq_ignore_ascii_case(start)),
        false => name.eq_ignore_ascii_case(start),
    };
    if let Some(needed) = NEEDED.iter().find(meant) {
        let complaint = Complaint::new(format!("{needed} cannot be removed"));
        return Err(complaint.hint("no call goes through without it"));
    }
    Ok(text.into())
}
