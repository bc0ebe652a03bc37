//! Which header lines go on, and which are taken out: what only the edge or a trunk may say, and
//! what an answer to a source that may be forged can do without.

use crate::edits::parameter;
use policy::{HeaderRule, Identity, Policy};
use wire::{Header, HeaderName, Message, Method, Span, Splice};

/// Begin of headers that only the edge writes.
const OWN: &[u8] = b"X-Ringfence-";

/// Names of headers that are taken out of what comes from outside.
#[derive(Debug)]
pub(crate) struct Hidden {
    own: Vec<u8>,
    /// Those that have a [`HeaderName`], as bits.
    known: u32,
    others: Vec<Vec<u8>>,
    prefixes: Vec<Vec<u8>>,
    /// Lines that may be among them, by their names: the others need not be looked at.
    looked_at: u32,
}

impl Hidden {
    pub(crate) fn new(policy: &Policy) -> Self {
        let own = policy.source_header.as_deref().unwrap_or_default();
        let (others, prefixes) = (Vec::new(), Vec::new());
        let mut hidden = Hidden { own: own.into(), known: 0, others, prefixes, looked_at: 0 };
        for name in policy.admission.strip_headers.iter().map(|name| name.as_bytes()) {
            match (name.strip_suffix(b"*"), HeaderName::of(name)) {
                // taken out whatever is configured
                (Some(prefix), _) if starts_with(prefix, OWN) => {}
                (Some(prefix), _) => hidden.prefixes.push(prefix.to_vec()),
                (None, HeaderName::Other) => hidden.others.push(name.to_vec()),
                (None, known) if is_needed(known) => {}
                (None, known) => hidden.known |= bit(known),
            }
        }
        hidden.looked_at = match hidden.prefixes.is_empty() {
            true => hidden.known | bit(HeaderName::Other),
            false => u32::MAX,
        };
        hidden
    }

    /// Takes them out. A trunk may say what only trunks know, but for what its rules take out; what
    /// only the edge knows nobody may.
    pub(crate) fn strip(&self, splice: &mut Splice<'_, '_>, trusted: bool, rules: &[HeaderRule]) {
        let message = splice.message();
        let looked_at = if rules.is_empty() { self.looked_at } else { u32::MAX };
        for (index, header) in message.headers().iter().enumerate() {
            if looked_at & bit(header.name) == 0 {
                continue;
            }
            if header.name == HeaderName::Other && self.is_own(message, header)
                || rules.iter().any(|rule| rule.removes(message.long_name(header)))
                || !trusted && self.is_hidden(message, header)
            {
                splice.delete_line(index);
            }
        }
    }

    fn is_own(&self, message: &Message<'_>, header: &Header) -> bool {
        let name = message.slice(header.name_span);
        starts_with(name, OWN) || !self.own.is_empty() && same(name, &self.own)
    }

    fn is_hidden(&self, message: &Message<'_>, header: &Header) -> bool {
        let prefixed = |name: &[u8]| self.prefixes.iter().any(|prefix| starts_with(name, prefix));
        if header.name == HeaderName::Other {
            let name = message.long_name(header);
            return self.others.iter().any(|other| same(name, other)) || prefixed(name);
        }
        self.known & bit(header.name) != 0
            || !self.prefixes.is_empty()
                && !is_needed(header.name)
                && prefixed(message.slice(header.name_span))
    }
}

/// The bit of a name in a set of them.
fn bit(name: HeaderName) -> u32 {
    1 << name as u32
}

/// Whether a line tells a trunk who calls, against its policy.
pub(crate) fn tells_identity(message: &Message<'_>, header: &Header, policy: Identity) -> bool {
    let name = message.long_name(header);
    let asserted = same(name, b"P-Asserted-Identity");
    let party = same(name, b"Remote-Party-ID");
    match policy {
        Identity::Pass => false,
        Identity::Remove => asserted || party,
        Identity::Private => {
            asserted && wants_privacy(message)
                || party
                    && (wants_privacy(message) || is_party_private(message.slice(header.value)))
        }
    }
}

/// `Privacy: id` (RFC 3325 §9.3), alone or among others.
fn wants_privacy(message: &Message<'_>) -> bool {
    message.headers().iter().any(|header| {
        let words = || message.slice(header.value).split(|byte| matches!(byte, b';' | b','));
        same(message.long_name(header), b"Privacy")
            && words().any(|word| same(word.trim_ascii(), b"id"))
    })
}

/// `privacy=full`, or `privacy=uri`, of a Remote-Party-ID (draft-ietf-sip-privacy-04).
fn is_party_private(value: &[u8]) -> bool {
    let mut params = value.split(|byte| *byte == b';').skip(1);
    params.any(|param| {
        same(param.trim_ascii(), b"privacy=full") || same(param.trim_ascii(), b"privacy=uri")
    })
}

fn same(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| same(start, prefix))
}

/// Without these a message is none, or the edge edits them by itself.
fn is_needed(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::MaxForwards
            | HeaderName::Contact
            | HeaderName::Route
            | HeaderName::RecordRoute
            | HeaderName::Path
            | HeaderName::ContentLength
            | HeaderName::ContentType
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
    )
}

/// How much of a response goes to a source whose address may be forged, and so pays for each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// All.
    #[default]
    Whole,
    /// What its client needs.
    Lean,
    /// The same in fewer letters: as RFC 3261 §7.3.3 has them, which every client must know; but a
    /// simple one may not, so this comes last.
    Terse,
}

/// What is left of a To-tag that is no proof and no transaction's, where each byte counts: 32 bits
/// and more (RFC 3261 §19.3). Its end, because a branch for a tag begins as all branches do.
pub(crate) fn terse_tag(tag: &[u8]) -> &[u8] {
    tag.get(tag.len().saturating_sub(8)..).unwrap_or_default()
}

/// Says what is left of a lean response in fewer letters.
pub(crate) fn make_terse(splice: &mut Splice<'_, '_>) {
    let message = splice.message();
    splice.replace(message.reason_span(), b"No");
    // the Via that is ours is taken out
    let own = message.via_value().header;
    for (index, header) in message.headers().iter().enumerate() {
        if index == own || !is_useful(message, header, message.status()) {
            continue;
        }
        if let Some(letter) = header.name.compact() {
            splice.replace(header.name_span, &[letter]);
        }
        if matches!(header.name, HeaderName::WwwAuthenticate | HeaderName::ProxyAuthenticate) {
            let digest = message.digest(header);
            // RFC 7616 §3.3: "If this is not present, it is assumed to be "MD5""
            if let Some(span) = digest.algorithm_span
                && digest.algorithm.eq_ignore_ascii_case(b"MD5")
            {
                splice.delete(parameter(message, index, b"algorithm", span));
            }
        }
    }
    // an INVITE's To-tag comes back in the ACK
    if message.cseq().method != Method::Invite
        && let Some(span) = message.to().param_span(b"tag")
    {
        let (tag, kept) = (message.to_tag(), terse_tag(message.to_tag()));
        let at = |length: usize| span.end.saturating_sub(length as u16);
        splice.delete(Span { start: at(tag.len()), end: at(kept.len()) });
    }
}

/// Takes out of a response what its client can do without.
pub(crate) fn make_lean(splice: &mut Splice<'_, '_>) {
    let message = splice.message();
    let status = message.status();
    let mut run: Option<Span> = None;
    for header in message.headers() {
        if is_useful(message, header, status) {
            if let Some(span) = run.take() {
                splice.delete(span);
            }
        } else {
            let start = run.map_or(header.line.start, |run| run.start);
            run = Some(Span { start, end: header.line.end });
        }
    }
    if let Some(span) = run {
        splice.delete(span);
    }
}

fn is_useful(message: &Message<'_>, header: &Header, status: u16) -> bool {
    let name = message.long_name(header);
    match header.name {
        HeaderName::Server | HeaderName::UserAgent => false,
        HeaderName::Via
        | HeaderName::From
        | HeaderName::To
        | HeaderName::CallId
        | HeaderName::CSeq
        | HeaderName::WwwAuthenticate
        | HeaderName::ProxyAuthenticate
        | HeaderName::RetryAfter
        | HeaderName::ContentLength => true,
        HeaderName::Contact => keeps_contacts(status),
        HeaderName::ContentType => !message.body().is_empty(),
        HeaderName::Unsupported => status == 420,
        HeaderName::Require => status < 300 || status == 421,
        HeaderName::MinExpires => status == 423,
        HeaderName::Allow => status == 405 || (200..300).contains(&status),
        HeaderName::Accept => status == 415 || (200..300).contains(&status),
        HeaderName::Other if starts_with(name, b"Content-") => !message.body().is_empty(),
        HeaderName::Other if starts_with(name, b"Accept-") => status == 415,
        HeaderName::Other if same(name, b"Min-SE") => status == 422,
        HeaderName::Other if same(name, b"Allow-Events") => status == 489,
        HeaderName::Other if same(name, b"Date") => false,
        _ => status < 300,
    }
}

/// Whether the Contacts of a response stay when it is made lean.
pub(crate) fn keeps_contacts(status: u16) -> bool {
    status < 400 || status == 485
}
