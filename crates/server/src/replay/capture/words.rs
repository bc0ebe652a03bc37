//! A captured message as it would have been, had the edge stood in the way.
//!
//! What the two ends repeat of each other (Via, Record-Route, tags, nonces, Contacts) they repeat of
//! what the edge gave them. Nothing else of a message is touched.

use wire::digest::Digest;
use wire::{HeaderName, Message, NameAddr, Span, Splice, Via};

/// What the edge wrote into a request that it passed on, and finds again in the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// The lines of Via; empty when the request did not go on.
    pub(super) vias: Vec<u8>,
    /// The branch in the first of them.
    pub(super) branch: Vec<u8>,
    /// The values of Record-Route.
    pub(super) record_routes: Vec<Vec<u8>>,
    /// Of a REGISTER: the Contacts, without their parameters behind the bracket.
    pub(super) contacts: Vec<Vec<u8>>,
}

impl Marks {
    /// Those of a request as it left the edge.
    pub(super) fn of(request: &Message<'_>) -> Self {
        let mut vias = Vec::new();
        for (_, header) in request.lines(HeaderName::Via) {
            vias.extend_from_slice(request.slice(header.line));
        }
        let contacts = request.values(HeaderName::Contact).filter_map(|value| {
            NameAddr::parse(value.bytes, value.span.start).map(|address| address.uri.to_vec())
        });
        Marks {
            vias,
            branch: request.via().branch.to_vec(),
            record_routes: record_routes(request),
            contacts: contacts.collect(),
        }
    }
}

/// The values of Record-Route, in their order.
pub(super) fn record_routes(message: &Message<'_>) -> Vec<Vec<u8>> {
    message.values(HeaderName::RecordRoute).map(|value| value.bytes.to_vec()).collect()
}

/// The answer to a request with these marks. The PBX makes the To-tag of a challenge from the branch
/// that it sees, which is the edge's; a REGISTER's 200 lists the Contact that came.
pub(super) fn answer(response: &Message<'_>, marks: &Marks) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut splice = Splice::new(response, &mut text);
    replace_vias(&mut splice, &marks.vias);
    for (index, _) in response.lines(HeaderName::RecordRoute) {
        splice.delete_line(index);
    }
    let end = response.headers_end();
    for route in &marks.record_routes {
        splice.insert(end, |out| line(out, b"Record-Route: ", &[route]));
    }
    let status = response.status();
    if matches!(status, 401 | 407)
        && let Some(tag) = span_of(response, response.to_tag())
    {
        splice.replace(tag, &marks.branch);
    }
    if (200..300).contains(&status) && !marks.contacts.is_empty() {
        replace_contacts(&mut splice, marks);
    }
    let mut out = Vec::with_capacity(response.bytes().len() + 512);
    splice.write(&mut out).ok()?;
    Some(out)
}

fn replace_contacts(splice: &mut Splice<'_, '_>, marks: &Marks) {
    let response = splice.message();
    let expires = response.values(HeaderName::Contact).find_map(|value| {
        NameAddr::parse(value.bytes, value.span.start)?.param(b"expires").map(<[u8]>::to_vec)
    });
    if response.lines(HeaderName::Contact).next().is_none() {
        // it ended
        return;
    }
    for (index, _) in response.lines(HeaderName::Contact) {
        splice.delete_line(index);
    }
    for contact in &marks.contacts {
        splice.insert(response.headers_end(), |out| match &expires {
            Some(seconds) => line(out, b"Contact: <", &[contact, b">;expires=", seconds]),
            None => line(out, b"Contact: <", &[contact, b">"]),
        });
    }
}

/// What a client knows of the edge when it sends a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'k> {
    /// The tag of the answer that it acknowledges.
    pub(super) to_tag: Option<&'k [u8]>,
    /// The Routes of its dialog.
    pub(super) routes: Option<&'k [Vec<u8>]>,
    /// The challenge that its credentials answer: nonce, opaque, and whether the captured one had an
    /// opaque.
    pub(super) challenge: Option<(&'k [u8], &'k [u8], bool)>,
    /// The address that it calls.
    pub(super) uri: Option<&'k [u8]>,
}

/// The request of somebody who knows that; `None` when it stays as it is.
pub(super) fn request(message: &Message<'_>, known: &Known<'_>) -> Option<Vec<u8>> {
    let Known { to_tag, routes, challenge, uri } = *known;
    if to_tag.is_none() && routes.is_none() && challenge.is_none() && uri.is_none() {
        return None;
    }
    let mut text = Vec::new();
    let mut splice = Splice::new(message, &mut text);
    if let Some(tag) = to_tag
        && let Some(span) = span_of(message, message.to_tag())
    {
        splice.replace(span, tag);
    }
    if let Some(routes) = routes {
        for (index, _) in message.lines(HeaderName::Route) {
            splice.delete_line(index);
        }
        for route in routes {
            splice.insert(message.headers_end(), |out| line(out, b"Route: ", &[route]));
        }
    }
    if let Some(uri) = uri {
        splice.replace(message.request_uri_span(), uri);
    }
    if let Some((nonce, opaque, had_opaque)) = challenge {
        for digest in credentials(message) {
            if let Some(span) = span_of(message, digest.nonce) {
                splice.replace(span, nonce);
            }
            match digest.opaque_span {
                Some(span) => splice.replace(span, opaque),
                // a client that leaves out what it got would leave it out again
                None if had_opaque || opaque.is_empty() => {}
                None => splice.insert(digest.end, |out| {
                    out.extend_from_slice(b", opaque=\"");
                    out.extend_from_slice(opaque);
                    out.push(b'"');
                }),
            }
        }
    }
    let mut out = Vec::with_capacity(message.bytes().len() + 256);
    splice.write(&mut out).ok()?;
    Some(out)
}

/// The response of a phone to a request that the edge passed on to it.
pub(super) fn phones_answer(response: &Message<'_>, marks: &Marks) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut splice = Splice::new(response, &mut text);
    replace_vias(&mut splice, &marks.vias);
    for route in &marks.record_routes {
        splice.insert(response.headers_end(), |out| line(out, b"Record-Route: ", &[route]));
    }
    let mut out = Vec::with_capacity(response.bytes().len() + 512);
    splice.write(&mut out).ok()?;
    Some(out)
}

/// The Digest credentials of a request.
pub(super) fn credentials<'a>(message: &Message<'a>) -> impl Iterator<Item = Digest<'a>> {
    [HeaderName::Authorization, HeaderName::ProxyAuthorization]
        .into_iter()
        .flat_map(move |name| message.lines(name))
        .map(move |(_, header)| message.digest(header))
        .filter(|digest| digest.is_digest)
}

/// The first Digest challenge of a response.
pub(super) fn challenge<'a>(message: &Message<'a>) -> Option<Digest<'a>> {
    [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate]
        .into_iter()
        .flat_map(move |name| message.lines(name))
        .map(move |(_, header)| message.digest(header))
        .find(|digest| digest.is_digest)
}

/// Whether bytes look like SIP: what finds the edge in a capture, not what judges.
pub(super) fn looks_like_sip(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"SIP/2.0 ") {
        return true;
    }
    let line = bytes.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    let is_method = |word: &[u8]| word.len() > 2 && word.iter().all(u8::is_ascii_uppercase);
    line.len() < 2_048
        && line.ends_with(b" SIP/2.0")
        && line.split(|byte| *byte == b' ').next().is_some_and(is_method)
}

fn replace_vias(splice: &mut Splice<'_, '_>, vias: &[u8]) {
    let message = splice.message();
    for (index, _) in message.lines(HeaderName::Via) {
        splice.delete_line(index);
    }
    if let Some(first) = message.headers().first() {
        splice.insert(first.line.start, |out| out.extend_from_slice(vias));
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], parts: &[&[u8]]) {
    out.extend_from_slice(name);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

/// Where a part of a message stands in it.
fn span_of(message: &Message<'_>, part: &[u8]) -> Option<Span> {
    let start = (part.as_ptr() as usize).checked_sub(message.bytes().as_ptr() as usize)?;
    let end = start + part.len();
    if part.is_empty() || end > message.bytes().len() {
        return None;
    }
    Some(Span { start: u16::try_from(start).ok()?, end: u16::try_from(end).ok()? })
}

/// The branch of a message's first Via; empty when there is none.
pub(super) fn branch<'a>(message: &Message<'a>) -> &'a [u8] {
    let Via { branch, .. } = *message.via();
    branch
}
