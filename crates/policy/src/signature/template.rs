//! A request taken apart: what one sender varies from request to request, and the bytes that stay.
//!
//! Senders repeat themselves. A scanner sends one text to all numbers, a phone one text all day; what
//! they change are identifiers and users. So what the rest of a text says has to be read once, and
//! then is known by a hash of that rest.
//!
//! Whatever is said of a request is a function of its template (the bytes that stay, where they
//! were cut, and how what was cut out relates to each other) and of what was cut out, each for
//! itself. Where that would not be so, nothing is cut out.

use super::condition::{Condition, TextField};
use super::facts::{LONG_TAG, behind_scheme, first_uri, is_same_host, user_and_host};
use arrayvec::ArrayVec;
use wire::{HeaderName, Message, Span, find_byte, numeric_end};

/// What branches begin with (RFC 3261 §8.1.1.7).
const COOKIE: &[u8] = b"z9hG4bK";
/// Pieces that a template may have and one more; a phone's call has sixteen.
const PIECES_MAX: usize = 32;

/// A request as what stays and what varies.
#[derive(Debug, Default)]
pub struct Template<'a> {
    bytes: &'a [u8],
    marks: u64,
    /// Where something was cut out, from the first byte to the last, and the end.
    gaps: ArrayVec<Span, PIECES_MAX>,
    cut: [&'a [u8]; Cut::COUNT],
    /// The body, when something was cut out of it.
    pub(super) body: &'a [u8],
}

/// What one sender varies, where it is said to whom it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cut {
    RequestUser,
    FromUser,
    ToUser,
    ContactUser,
    /// Where phones say that they are, with their ports; in a Contact only addresses.
    ViaHost,
    ContactHost,
    FromName,
    FromTag,
    Branch,
    CallId,
    /// The line `o=` of SDP, the first `c=` and the first `m=`.
    Origin,
    Connection,
    Media,
    /// What nobody reads: numbers of CSeq and Content-Length, instances, credentials.
    Unread,
}

impl Cut {
    const COUNT: usize = Cut::Unread as usize + 1;
}

impl<'a> Template<'a> {
    /// Takes a request apart, once. Whether it is one, and has not too many pieces.
    #[must_use]
    #[inline(never)]
    pub fn take_apart(&mut self, message: &Message<'a>) -> bool {
        if !message.is_request() {
            return false;
        }
        self.bytes = message.bytes();
        let target = plain_user_and_host(message.request_uri());
        self.cut_user(Cut::RequestUser, target.map(|(user, _)| user));
        let (from, to) = (plain_user(message.from().uri), plain_user(message.to().uri));
        let (mut via, mut contact) = (false, false);
        for header in message.headers() {
            match header.name {
                HeaderName::Via if !std::mem::replace(&mut via, true) => {
                    self.cut(Cut::ViaHost, message.via().sent_by());
                    self.cut_branch(message.via().branch);
                }
                HeaderName::From => self.cut_from(message, from),
                HeaderName::To => self.cut_user(Cut::ToUser, to),
                HeaderName::Contact if !std::mem::replace(&mut contact, true) => {
                    self.cut_contact(message.slice(header.value));
                }
                HeaderName::CallId => self.cut(Cut::CallId, message.call_id()),
                HeaderName::CSeq
                | HeaderName::ContentLength
                | HeaderName::Authorization
                | HeaderName::ProxyAuthorization => {
                    self.cut(Cut::Unread, message.slice(header.value));
                }
                _ => {}
            }
        }
        self.cut_body(message.body());
        self.marks |= relations(message, from, to, target);
        let end = self.bytes.len() as u16;
        self.gaps.try_push(Span { start: end, end }).is_ok()
    }

    /// The bytes that stay, from the first to the last; `None` where one begins behind its end: what
    /// was cut out stands not in the order in which it was.
    pub fn pieces(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let (bytes, mut start) = (self.bytes, 0);
        self.gaps.iter().map(move |gap| {
            let start = std::mem::replace(&mut start, gap.end.into());
            bytes.get(start..usize::from(gap.start))
        })
    }

    /// What was cut out between which pieces, and how that relates to each other: part of the
    /// template.
    #[must_use]
    pub fn marks(&self) -> u64 {
        self.marks
    }

    /// What was cut out, and where it is more than that, the text that it is of; empty for nothing.
    pub(super) fn of(&self, cut: Cut) -> &'a [u8] {
        self.cut[cut as usize]
    }

    #[inline]
    fn cut(&mut self, cut: Cut, text: &'a [u8]) {
        self.cut_of(cut, text, text);
    }

    /// Cuts `part` of a text out, a part of the message behind all that was cut out before.
    #[inline]
    fn cut_of(&mut self, cut: Cut, part: &'a [u8], text: &'a [u8]) {
        if part.is_empty() {
            return;
        }
        // messages are shorter than 64 KiB
        let start = (part.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize) as u16;
        let gap = Span { start, end: start.wrapping_add(part.len() as u16) };
        // one that has no room is missed at the end
        let _ = self.gaps.try_push(gap);
        self.marks |= 1 << cut as u8;
        self.cut[cut as usize] = text;
    }

    fn cut_user(&mut self, cut: Cut, plain: Option<&'a [u8]>) {
        self.cut(cut, plain.unwrap_or_default());
    }

    /// The magic cookie stays.
    fn cut_branch(&mut self, branch: &'a [u8]) {
        self.cut_of(Cut::Branch, branch.strip_prefix(COOKIE).unwrap_or(branch), branch);
    }

    fn cut_from(&mut self, message: &Message<'a>, user: Option<&'a [u8]>) {
        let name = message.from().display_name;
        let inner = match name {
            [b'"', inner @ .., b'"'] => inner,
            [b'"', ..] => b"",
            bare => bare,
        };
        self.cut_of(Cut::FromName, inner, name);
        // an agent that is called as its user is told by both
        let mut agents = message.lines(HeaderName::UserAgent);
        if !agents.any(|(_, line)| Some(message.slice(line.value)) == user) {
            self.cut_user(Cut::FromUser, user);
        }
        self.cut(Cut::FromTag, message.from_tag());
    }

    /// User and host of a Contact's first address, when its brackets are the value's first ones, and
    /// its instance, which each phone has for itself.
    fn cut_contact(&mut self, value: &'a [u8]) {
        let close = find_byte(b'>', value);
        let uri = match (find_byte(b'<', value), close) {
            (Some(open), Some(close)) => value.get(open + 1..close),
            (None, None) => Some(first_uri(value)),
            _ => None,
        };
        let is_first =
            |uri: &&[u8]| value.first() != Some(&b'"') || std::ptr::eq(*uri, first_uri(value));
        if let Some(uri) = uri.filter(is_first)
            && let Some((user, host)) = plain_user_and_host(uri)
        {
            self.cut(Cut::ContactUser, user);
            self.cut(Cut::ContactHost, plain_host(host).unwrap_or_default());
            let behind = close.and_then(|close| value.get(close..));
            self.cut(Cut::Unread, behind.and_then(plain_instance).unwrap_or_default());
        }
    }

    /// Of SDP the origin, which is the second line (RFC 4566 §5), and behind it the address and the
    /// port of the first medium.
    fn cut_body(&mut self, body: &'a [u8]) {
        let mut lines = wire::lines(body);
        let is_sdp = lines.next().is_some_and(|line| line.starts_with(b"v="));
        let Some(line) = lines.next().filter(|line| is_sdp && line.starts_with(b"o=")) else {
            return;
        };
        let line = without_cr(line);
        self.cut_of(Cut::Origin, &line[2..], line);
        self.body = body;
        let mut connected = false;
        for line in lines {
            if line.starts_with(b"m=") {
                return self.cut_media(without_cr(line));
            }
            let line = without_cr(line);
            if let Some(address) = line.strip_prefix(b"c=IN IP4 ").filter(|_| !connected) {
                connected = true;
                self.cut_of(Cut::Connection, plain_host(address).unwrap_or_default(), line);
            }
        }
    }

    /// The port, which is the second word.
    fn cut_media(&mut self, line: &'a [u8]) {
        let Some(start) = find_byte(b' ', line).map(|space| space + 1) else { return };
        let digits = line[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if line.get(start + digits) == Some(&b' ') {
            self.cut_of(Cut::Media, &line[start..start + digits], line);
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The user of a SIP URI that has one of letters, digits and few marks, which no reader takes for
/// anything else; not empty.
#[inline]
#[must_use]
pub fn plain_user(uri: &[u8]) -> Option<&[u8]> {
    plain_user_and_host(uri).map(|(user, _)| user)
}

/// The same with what begins with the host.
#[inline]
fn plain_user_and_host(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = behind_scheme(uri)?;
    let end = rest.iter().position(|byte| !PLAIN[usize::from(*byte)])?;
    let (user, host) = rest.split_at(end);
    host.strip_prefix(b"@").filter(|_| end > 0).map(|host| (user, host))
}

/// The IPv4 address that a text begins with, and its port: what is made of digits, dots and colons, as
/// far as hosts of URIs go.
fn plain_host(text: &[u8]) -> Option<&[u8]> {
    let (host, rest) = text.split_at(numeric_end(text));
    matches!(rest.first(), None | Some(b';' | b'?')).then_some(host)
}

/// The instance among a Contact's parameters (RFC 5626 §4.1), without its quotes and brackets: of
/// characters that part nothing.
fn plain_instance(mut params: &[u8]) -> Option<&[u8]> {
    while let Some(plus) = find_byte(b'+', params) {
        params = &params[plus + 1..];
        if let Some(instance) = params.strip_prefix(b"sip.instance=\"<") {
            let is_plain = |byte: &u8| PLAIN[usize::from(*byte)] || *byte == b':';
            let end = instance.iter().position(|byte| !is_plain(byte))?;
            return (instance[end] == b'>').then(|| &instance[..end]);
        }
    }
    None
}

/// How identifiers and users relate to each other, as marks behind those of the cuts.
fn relations(
    message: &Message<'_>,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
    target: Option<(&[u8], &[u8])>,
) -> u64 {
    let (_, target) = target.unwrap_or_else(|| user_and_host(message.request_uri()));
    let (call_id, tag, branch) = (message.call_id(), message.from_tag(), message.via().branch);
    let branch = branch.strip_prefix(COOKIE).unwrap_or(branch);
    let from_is_to = match (from, to) {
        (Some(from), Some(to)) => from == to,
        _ => user_and_host(message.from().uri).0 == user_and_host(message.to().uri).0,
    };
    let all = [
        branch == call_id || branch.strip_prefix(b"-") == Some(call_id),
        tag == call_id,
        tag.len() > LONG_TAG,
        from_is_to,
        is_same_host(message.via().sent_by(), target),
    ];
    all.iter().zip(16..).fold(0, |marks, (holds, bit)| marks | u64::from(*holds) << bit)
}

/// Where the truth of a condition shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// In the template.
    Stays,
    /// In what was cut out, too.
    Varies,
    /// In lines of which nothing is looked at that was cut out.
    Unseen,
}

impl Shows {
    /// Of a condition that joins no others.
    pub(super) fn of(leaf: &Condition) -> Self {
        use TextField as F;
        match leaf {
            Condition::Text(F::Branch | F::FromTag | F::CallId | F::FromName, _)
            | Condition::Text(F::RequestUser | F::FromUser | F::ToUser, _)
            | Condition::Text(F::ContactUser | F::AnyUser, _)
            | Condition::Text(F::ViaHost | F::ContactHost | F::AnyHost, _)
            | Condition::Text(F::Sdp | F::SdpOrigin | F::Body, _) => Shows::Varies,
            Condition::Header(name, _) => match HeaderName::of(name.as_bytes()) {
                HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::Contact
                | HeaderName::CallId
                | HeaderName::CSeq
                | HeaderName::ContentLength
                | HeaderName::Authorization
                | HeaderName::ProxyAuthorization => Shows::Unseen,
                _ => Shows::Stays,
            },
            _ => Shows::Stays,
        }
    }
}

/// Bytes of a plain user part.
const PLAIN: [bool; 256] = {
    let (mut table, mut at) = ([false; 256], 0);
    while at < 256 {
        let byte = at as u8;
        table[at] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'*');
        at += 1;
    }
    table
};
