//! A request taken apart: what one sender varies from request to request, and the bytes that stay.
//!
//! Senders repeat themselves. A scanner sends one text to all numbers, a phone one text all day; what
//! they change are identifiers and users. So what the rest of a text says has to be read once, and
//! then is known by that rest.
//!
//! Whatever is said of a request is a function of its template (the bytes that stay, where they
//! were cut, and how what was cut out relates to each other) and of what was cut out, each for
//! itself. Where that would not be so, nothing is cut out.

use super::condition::{Condition, TextField};
use super::facts::{LONG_TAG, behind_scheme, first_uri, is_same_host, user_and_host};
use arrayvec::ArrayVec;
use wire::{HeaderName, Message, find_byte, numeric_end};

/// What branches begin with (RFC 3261 §8.1.1.7).
const COOKIE: &[u8] = b"z9hG4bK";
/// Gaps that a template may have; a phone's call has fifteen.
const GAPS_MAX: usize = 24;
/// Bytes that may stay of a request, and that are ever allocated for a template.
const STAYS_MAX: usize = 2_048;

/// The template of requests: what stays of them, and what was cut out where.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The pieces that stay, one behind the other.
    stays: Vec<u8>,
    gaps: ArrayVec<Gap, GAPS_MAX>,
    relations: u8,
}

/// Where something was cut out.
#[derive(Debug, PartialEq, Eq)]
struct Gap {
    cut: Cut,
    /// The header line whose value it is.
    line: u8,
    /// So many bytes stay between it and the gap before.
    piece: u16,
    /// So many of the bytes before it and behind it belong to the text that it is of.
    before: u16,
    behind: u16,
}

/// What varies in one request of a template.
#[derive(Debug, Default)]
pub struct Varying<'a> {
    texts: [&'a [u8]; Cut::COUNT],
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
    /// What nobody reads: an instance, and values of CSeq, Content-Length, credentials.
    Instance,
    Value,
}

impl Cut {
    const COUNT: usize = Cut::Value as usize + 1;
}

impl Template {
    /// Becomes the template of this request. What varies in the request; `None`, and no template, of
    /// what is none, has too many gaps, or more bytes that stay than are worth being remembered.
    #[must_use]
    pub fn learn<'a>(&mut self, message: &Message<'a>) -> Option<Varying<'a>> {
        self.stays.clear();
        self.stays.reserve_exact(message.bytes().len().min(STAYS_MAX));
        self.gaps.clear();
        let mut knife = Knife { template: self, message, varying: Varying::default(), at: 0 };
        knife.cut_all()?;
        let Knife { varying, at, .. } = knife;
        self.keep(message.bytes().get(at..)?)?;
        self.relations = relations(message, &varying);
        Some(varying)
    }

    /// What varies in the request, if it is of this template: the same as [`Template::learn`] would
    /// say of it.
    #[must_use]
    #[inline(never)]
    pub fn fits<'a>(&self, message: &Message<'a>) -> Option<Varying<'a>> {
        let (mut stays, mut rest) = (&self.stays[..], message.bytes());
        let mut varying = Varying::default();
        for gap in &self.gaps {
            let (piece, other) = stays.split_at_checked(gap.piece.into())?;
            rest = rest.strip_prefix(piece)?;
            let part = gap.cut.part(message, gap.line, rest)?;
            rest = rest.get(part.len()..)?;
            stays = other;
            varying.take(gap, part, message, rest);
        }
        (rest == stays && relations(message, &varying) == self.relations).then_some(varying)
    }

    /// One more piece that stays; `None`, and nothing is kept of it, when that is too much.
    fn keep(&mut self, piece: &[u8]) -> Option<()> {
        if self.stays.len() + piece.len() > STAYS_MAX {
            return None;
        }
        self.stays.extend_from_slice(piece);
        Some(())
    }
}

impl<'a> Varying<'a> {
    /// What was cut out, and where it is more than that, the text that it is of; empty for nothing.
    pub(super) fn of(&self, cut: Cut) -> &'a [u8] {
        self.texts[cut as usize]
    }

    /// A part was cut out, behind which there is the rest.
    #[inline]
    fn take(&mut self, gap: &Gap, part: &'a [u8], message: &Message<'a>, rest: &[u8]) {
        let mut text = part;
        if gap.before | gap.behind > 0 {
            let bytes = message.bytes();
            let end = bytes.len() - rest.len();
            let start = (end - part.len()).saturating_sub(gap.before.into());
            text = bytes.get(start..end + usize::from(gap.behind)).unwrap_or_default();
        }
        self.texts[gap.cut as usize] = text;
        if gap.cut == Cut::Origin {
            self.body = message.body();
        }
    }
}

impl Cut {
    /// What is cut out of the text, which is the request's from where something of this kind may
    /// begin; not empty.
    #[inline(always)]
    fn part<'a>(self, message: &Message<'a>, line: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
        let read = match self {
            Cut::RequestUser | Cut::FromUser | Cut::ToUser | Cut::ContactUser => {
                return front(rest, |byte| PLAIN[usize::from(byte)]).filter(before(rest, b"@"));
            }
            Cut::Instance => {
                let is_plain = |byte: u8| PLAIN[usize::from(byte)] || byte == b':';
                return front(rest, is_plain).filter(before(rest, b">"));
            }
            Cut::ContactHost => return address(rest).filter(before(rest, b">;?")),
            Cut::Connection => return address(rest),
            Cut::Media => return front(rest, |byte| byte.is_ascii_digit()),
            Cut::Origin => {
                let line = rest.get(..find_byte(b'\n', rest).unwrap_or(rest.len()))?;
                return Some(without_cr(line)).filter(|line| !line.is_empty());
            }
            // the rest the parser has found
            Cut::ViaHost => message.via().sent_by(),
            Cut::Branch => {
                let branch = message.via().branch;
                branch.strip_prefix(COOKIE).unwrap_or(branch)
            }
            Cut::FromName => match message.from().display_name {
                [b'"', inner @ .., b'"'] => inner,
                [b'"', ..] => b"",
                bare => bare,
            },
            Cut::FromTag => message.from_tag(),
            Cut::CallId => message.call_id(),
            Cut::Value => message.slice(message.headers().get(usize::from(line))?.value),
        };
        (read.as_ptr() == rest.as_ptr() && !read.is_empty()).then_some(read)
    }
}

/// The bytes in front that are so, if there are some.
#[inline]
fn front(text: &[u8], is: impl Fn(u8) -> bool) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !is(*byte)).unwrap_or(text.len());
    text.get(..end).filter(|front| !front.is_empty())
}

/// The IPv4 address in front, and its port: what is made of digits, dots and colons.
#[inline]
fn address(text: &[u8]) -> Option<&[u8]> {
    text.get(..numeric_end(text)).filter(|address| !address.is_empty())
}

/// Whether one of these bytes follows what stands in front.
#[inline]
fn before(text: &[u8], one_of: &'static [u8]) -> impl Fn(&&[u8]) -> bool {
    move |front| text.get(front.len()).is_some_and(|next| one_of.contains(next))
}

/// Cuts a request, from the first byte to the last.
struct Knife<'t, 'm, 'a> {
    template: &'t mut Template,
    message: &'m Message<'a>,
    varying: Varying<'a>,
    /// Where what was cut out last ends.
    at: usize,
}

impl<'a> Knife<'_, '_, 'a> {
    fn cut_all(&mut self) -> Option<()> {
        let message = self.message;
        // which of two agents is called as the user no relation says
        if !message.is_request() || message.lines(HeaderName::UserAgent).nth(1).is_some() {
            return None;
        }
        self.cut(Cut::RequestUser, behind_scheme(message.request_uri()))?;
        let (mut via, mut contact) = (false, false);
        for (line, header) in message.headers().iter().enumerate() {
            match header.name {
                HeaderName::Via if !std::mem::replace(&mut via, true) => {
                    self.cut(Cut::ViaHost, Some(message.via().sent_by()))?;
                    let branch = message.via().branch;
                    let own = branch.strip_prefix(COOKIE).unwrap_or(branch);
                    self.cut_of(Cut::Branch, own, branch)?;
                }
                HeaderName::From => self.cut_from()?,
                HeaderName::To => self.cut(Cut::ToUser, behind_scheme(message.to().uri))?,
                HeaderName::Contact if !std::mem::replace(&mut contact, true) => {
                    self.cut_contact(message.slice(header.value))?;
                }
                HeaderName::CallId => self.cut(Cut::CallId, Some(message.call_id()))?,
                HeaderName::CSeq
                | HeaderName::ContentLength
                | HeaderName::Authorization
                | HeaderName::ProxyAuthorization => {
                    let value = message.slice(header.value);
                    self.cut_line(Cut::Value, u8::try_from(line).ok()?, value, value)?;
                }
                _ => {}
            }
        }
        self.cut_body(message.body())
    }

    /// Cuts out what stands where this text, of the request, begins.
    fn cut(&mut self, cut: Cut, from: Option<&'a [u8]>) -> Option<()> {
        from.map_or(Some(()), |from| self.cut_of(cut, from, b""))
    }

    /// The same of a text that is to be read with it.
    fn cut_of(&mut self, cut: Cut, from: &'a [u8], text: &'a [u8]) -> Option<()> {
        self.cut_line(cut, 0, from, text)
    }

    /// `None` when that stands before what was cut out last, or is a gap too many.
    fn cut_line(&mut self, cut: Cut, line: u8, from: &'a [u8], text: &'a [u8]) -> Option<()> {
        let bytes = self.message.bytes();
        let offset = |text: &[u8]| (text.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
        let start = offset(from);
        let Some(part) = bytes.get(start..).and_then(|rest| cut.part(self.message, line, rest))
        else {
            return Some(());
        };
        let piece = bytes.get(self.at..start)?;
        let end = start + part.len();
        let text = if text.is_empty() { part } else { text };
        let short = |length: usize| u16::try_from(length).ok();
        let gap = Gap {
            cut,
            line,
            piece: short(piece.len())?,
            before: short(start.checked_sub(offset(text))?)?,
            behind: short((offset(text) + text.len()).checked_sub(end)?)?,
        };
        self.varying.take(&gap, part, self.message, bytes.get(end..)?);
        self.at = end;
        self.template.gaps.try_push(gap).ok()?;
        self.template.keep(piece)
    }

    fn cut_from(&mut self) -> Option<()> {
        let from = self.message.from();
        let name = from.display_name;
        self.cut_of(Cut::FromName, name.strip_prefix(b"\"").unwrap_or(name), name)?;
        self.cut(Cut::FromUser, behind_scheme(from.uri))?;
        self.cut(Cut::FromTag, Some(self.message.from_tag()))
    }

    /// User and host of what is in a Contact's first brackets, and the instance behind them, which
    /// each phone has for itself.
    fn cut_contact(&mut self, value: &'a [u8]) -> Option<()> {
        let close = find_byte(b'>', value);
        let uri = match (find_byte(b'<', value), close) {
            (Some(open), Some(close)) => value.get(open + 1..close),
            (None, None) => Some(first_uri(value)),
            _ => None,
        };
        let Some((user, host)) = uri.and_then(plain_user_and_host) else {
            return Some(());
        };
        self.cut(Cut::ContactUser, Some(user))?;
        self.cut(Cut::ContactHost, Some(host))?;
        let behind = close.and_then(|close| value.get(close..));
        self.cut(Cut::Instance, behind.and_then(instance))
    }

    /// Of SDP the origin, which is the second line (RFC 4566 §5), and when there is one, behind it the
    /// address and the port of the first medium.
    fn cut_body(&mut self, body: &'a [u8]) -> Option<()> {
        let mut lines = wire::lines(body).map(without_cr);
        let is_sdp = lines.next().is_some_and(|line| line.starts_with(b"v="));
        let Some(line) = lines.next().filter(|line| is_sdp && line.starts_with(b"o=")) else {
            return Some(());
        };
        self.cut_of(Cut::Origin, line.get(2..)?, line)?;
        if self.varying.body.is_empty() {
            return Some(());
        }
        let mut connected = false;
        for line in lines {
            if line.starts_with(b"m=") {
                // the port, which is the second word
                let port = find_byte(b' ', line).and_then(|space| line.get(space + 1..));
                return port.map_or(Some(()), |port| self.cut_of(Cut::Media, port, line));
            }
            if let Some(address) = line.strip_prefix(b"c=IN IP4 ").filter(|_| !connected) {
                connected = true;
                self.cut_of(Cut::Connection, address, line)?;
            }
        }
        Some(())
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

/// Where the instance among a Contact's parameters begins (RFC 5626 §4.1), behind its quote and
/// bracket.
fn instance(mut params: &[u8]) -> Option<&[u8]> {
    while let Some(plus) = find_byte(b'+', params) {
        params = &params[plus + 1..];
        if let Some(instance) = params.strip_prefix(b"sip.instance=\"<") {
            return Some(instance);
        }
    }
    None
}

/// How identifiers, users and hosts relate to each other: a bit each.
fn relations(message: &Message<'_>, varying: &Varying<'_>) -> u8 {
    let target = match varying.of(Cut::RequestUser) {
        [] => user_and_host(message.request_uri()).1,
        user => {
            let target = behind_scheme(message.request_uri());
            target.and_then(|target| target.get(user.len() + 1..)).unwrap_or_default()
        }
    };
    let (call_id, tag, branch) = (message.call_id(), message.from_tag(), message.via().branch);
    let branch = branch.strip_prefix(COOKIE).unwrap_or(branch);
    let (from, to) = (varying.of(Cut::FromUser), varying.of(Cut::ToUser));
    let from_is_to = match (from, to) {
        ([], _) | (_, []) => {
            user_and_host(message.from().uri).0 == user_and_host(message.to().uri).0
        }
        _ => from == to,
    };
    let agent = message.value(HeaderName::UserAgent);
    let all = [
        branch == call_id || branch.strip_prefix(b"-") == Some(call_id),
        tag == call_id,
        tag.len() > LONG_TAG,
        from_is_to,
        is_same_host(message.via().sent_by(), target),
        !from.is_empty() && agent == Some(from),
    ];
    all.iter().rev().fold(0, |bits, holds| bits << 1 | u8::from(*holds))
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

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Limits;

    #[test]
    fn no_request_makes_a_template_allocate_more_than_its_bound() {
        let mut template = Template::default();
        for (length, learned) in [(100, true), (60_000, false), (1_500, true), (3_000, false)] {
            let text = format!(
                "OPTIONS sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:b@h>;tag=f\r\n\
                 To: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: {length}\r\n\r\n{}",
                "x".repeat(length)
            );
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(template.learn(&message).is_some(), learned, "{length}");
            assert!(template.stays.capacity() <= STAYS_MAX, "{length}");
        }
    }
}
