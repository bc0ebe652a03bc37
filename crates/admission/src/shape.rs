//! What a request looks like when all that one product varies is taken away: the fingerprint by
//! which campaigns are known.
//!
//! The same for all requests of one method that a tool sends, whatever numbers, users, addresses
//! and random parts it puts in; different for most products, because each stack orders its headers
//! and makes its identifiers in its own way.
//!
//! It is a hash without a key: who knows a phone's messages can send the same shape, with or
//! without breaking a hash. So a shape is never evidence by itself, and the worst that an attacker
//! gains by wearing a phone's shape is that strangers of that shape are challenged by the edge
//! itself, until the first of them succeeds.

use wire::{HeaderName, Message, NameAddr, find_byte};

/// The fingerprint of a request's form.
///
/// Of it are: the method; the order and the spelling of header names, repeated lines once,
/// credentials left out (a retry has the shape of the first try); Max-Forwards when it is usual;
/// the grammar of the top Via's branch, the From tag and the Call-ID; the parameter names of the
/// top Via, From and the first Contact; how addresses are written; the User-Agent without its
/// numbers (a single word is only a word: tools draw it at random); the kinds of lines and the
/// codecs of SDP.
#[must_use]
pub fn shape(message: &Message<'_>) -> u64 {
    shape_in(frame(message), message)
}

/// What of a shape all requests of one [`policy::Template`] have in common.
pub(crate) fn frame(message: &Message<'_>) -> u64 {
    let mut hash = Hash::new();
    hash.bytes(message.method().as_bytes());
    hash.word(match message.max_forwards() {
        Some(hops @ (70 | 69 | 20)) => u64::from(hops),
        Some(_) => 1,
        None => 0,
    });
    headers(message, &mut hash);
    params(message.via_value().bytes, &mut hash);
    address(&message.from(), &mut hash);
    address(&message.to(), &mut hash);
    if let Some((_, line)) = message.lines(HeaderName::Contact).next() {
        contact(message.slice(line.value), &mut hash);
    }
    sdp(message.body(), &mut hash);
    hash.finish()
}

/// The shape of a request with that frame.
pub(crate) fn shape_in(frame: u64, message: &Message<'_>) -> u64 {
    let mut hash = Hash(frame);
    token(message.via().branch, &mut hash);
    token(tag(message.from_tag()), &mut hash);
    token(message.call_id(), &mut hash);
    hash.finish()
}

/// What of a request's looks is read at a glance: of a template, it is the same for all its requests.
pub(crate) fn glance(message: &Message<'_>) -> u64 {
    let mut hash = Hash::new();
    let uri = message.request_uri();
    let host = find_byte(b'@', uri).and_then(|at| uri.get(at..)).unwrap_or(uri);
    hash.word(message.headers().len() as u64);
    hash.bytes(message.method().as_bytes());
    hash.bytes(host);
    hash.bytes(message.value(HeaderName::UserAgent).unwrap_or_default());
    hash.finish()
}

/// What of a request's looks is quickly read: the method, which header lines it has in which order,
/// the whole User-Agent, how long its identifiers are. Two of the same face look alike, but for what
/// one product varies. Never 0; `turn` makes another face of the same.
pub(crate) fn face(message: &Message<'_>, turn: u64) -> u32 {
    let mut hash = Hash::new();
    hash.word(turn);
    hash.bytes(message.method().as_bytes());
    for header in message.headers() {
        hash.word(header.name as u64);
    }
    hash.bytes(message.value(HeaderName::UserAgent).unwrap_or_default());
    for token in [message.via().branch, message.from_tag(), message.call_id()] {
        hash.word(length(token.len(), SIGN));
    }
    (hash.finish() as u32).max(1)
}

fn headers(message: &Message<'_>, hash: &mut Hash) {
    let mut before = None;
    for header in message.headers() {
        let name = header.name;
        if matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization) {
            continue;
        }
        if name != HeaderName::Other && before.replace(name) == Some(name) {
            continue;
        }
        hash.bytes(message.slice(header.name_span));
        if name == HeaderName::UserAgent {
            user_agent(message.slice(header.value), message, hash);
        }
    }
}

/// The text with every number, and every word with a number in it that is long, folded.
fn user_agent(text: &[u8], message: &Message<'_>, hash: &mut Hash) {
    let is_word = text.len() <= 12 && text.iter().all(u8::is_ascii_alphanumeric);
    if is_word || is_user(text, message.from().uri) {
        hash.word(1);
        return;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let (word, of_word, behind) = front(rest, |class| class & SIGN == 0);
        let (signs, _, behind) = front(behind, |class| class & SIGN != 0);
        match of_word & DIGIT {
            0 => hash.bytes(word),
            _ if word.len() >= 6 => hash.word(2),
            _ if of_word == DIGIT => hash.word(3),
            _ => {
                for part in runs(word, u8::is_ascii_digit) {
                    let number = part.first().is_some_and(u8::is_ascii_digit);
                    if number { hash.word(3) } else { hash.bytes(part) }
                }
            }
        }
        match signs {
            [sign] => hash.word(u64::from(*sign)),
            signs => hash.bytes(signs),
        }
        rest = behind;
    }
}

/// The bytes in front whose classes are so, all those classes, and the rest.
fn front(text: &[u8], is: impl Fn(u8) -> bool) -> (&[u8], u8, &[u8]) {
    let mut all = 0;
    let end = text.iter().position(|byte| {
        let class = CLASSES[usize::from(*byte)];
        let so = is(class);
        all |= if so { class } else { 0 };
        !so
    });
    let (front, rest) = text.split_at(end.unwrap_or(text.len()));
    (front, all, rest)
}

/// Cuts where `is` changes.
fn runs(text: &[u8], is: fn(&u8) -> bool) -> impl Iterator<Item = &[u8]> {
    text.chunk_by(move |a, b| is(a) == is(b))
}

/// Whether the text is the user part of a URI.
fn is_user(text: &[u8], uri: &[u8]) -> bool {
    let start = uri.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
    let rest = uri.get(start..).and_then(|rest| rest.strip_prefix(text));
    rest.is_some_and(|rest| rest.first() == Some(&b'@')) && !text.contains(&b'@')
}

fn address(address: &NameAddr<'_>, hash: &mut Hash) {
    let name = match address.display_name {
        [] => 0,
        [b'"', ..] => 1,
        _ => 2,
    };
    uri(address.uri, name | u64::from(address.bracketed) << 2, hash);
    param_names(address.params, hash);
}

/// The first address of a Contact line.
fn contact(value: &[u8], hash: &mut Hash) {
    let first = value.first();
    match (find_byte(b'<', value), find_byte(b'>', value)) {
        (Some(open), Some(close)) => {
            let name = if first == Some(&b'"') { 1 } else { u64::from(open > 0) * 2 };
            uri(value.get(open + 1..close).unwrap_or_default(), name | 1 << 2, hash);
            params(value.get(close..).unwrap_or_default(), hash);
        }
        _ if first == Some(&b'*') => hash.word(9),
        _ => uri(value, 3, hash),
    }
}

/// Whether it has a user part, and its parameters.
fn uri(uri: &[u8], written: u64, hash: &mut Hash) {
    let has_user = find_byte(b'@', uri).is_some();
    hash.word(written | u64::from(has_user) << 3);
    params(uri, hash);
}

/// Names of the parameters behind the first `;`.
fn params(text: &[u8], hash: &mut Hash) {
    if let Some(first) = find_byte(b';', text) {
        param_names(text.get(first + 1..).unwrap_or_default(), hash);
    }
}

/// Names of parameters.
fn param_names(mut text: &[u8], hash: &mut Hash) {
    while !text.is_empty() {
        let name = text.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(text.len());
        let (name, rest) = text.split_at(name);
        hash.bytes(name);
        // names are so short that a loop is faster than a search by vectors; values are not
        let end = match rest.first() {
            Some(b'=') => find_byte(b';', rest).unwrap_or(rest.len()),
            _ => 0,
        };
        text = rest.get(end + 1..).unwrap_or_default();
    }
    hash.word(0);
}

/// A tag of eight hexadecimal digits, which many stacks draw, has no letter once in forty times.
fn tag(tag: &[u8]) -> &[u8] {
    if tag.len() == 8 && classes(tag) == DIGIT { b"0000000a" } else { tag }
}

/// The grammar of an identifier: literal beginnings, then runs of characters of one class with a
/// coarse length. What stands behind an `@` counts as an address or a name.
fn token(token: &[u8], hash: &mut Hash) {
    let (cookie, rest) = match token.strip_prefix(b"z9hG4bK") {
        Some(rest) => (0x100, rest),
        None => (0, token),
    };
    let mut all = classes(rest);
    let (mut local, mut host) = (rest, &b""[..]);
    if all & AT != 0 {
        let at = rest.iter().position(|byte| *byte == b'@').unwrap_or(rest.len());
        (local, host) = rest.split_at(at);
        all = classes(local);
    }
    hash.word(cookie | host_kind(host));
    if all & SIGN == 0 {
        return hash.word(alphabet(all, local.len()) | length(local.len(), all) << 8);
    }
    let body = local.iter().position(u8::is_ascii_alphanumeric).unwrap_or(local.len());
    let (lead, local) = local.split_at(body);
    hash.bytes(lead);
    // Both letter cases: an alphabet of 64, in which `-`, `.`, `~`, `_` and `+` are letters.
    if all & (LOWER | LOWER_HEX) != 0 && all & (UPPER | UPPER_HEX) != 0 {
        return hash.word(alphabet(all, local.len()) | length(local.len(), all) << 8);
    }
    for run in runs(local, u8::is_ascii_alphanumeric) {
        match classes(run) {
            SIGN => hash.bytes(run),
            of => hash.word(alphabet(of, run.len()) | length(run.len(), of) << 8),
        }
    }
}

/// What stands behind the `@`, with it.
fn host_kind(host: &[u8]) -> u64 {
    match host {
        [] => 10,
        [_] => 11,
        [_, rest @ ..] if rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b':')) => 12,
        _ => 13,
    }
}

const DIGIT: u8 = 1;
const LOWER_HEX: u8 = 2;
const LOWER: u8 = 4;
const UPPER_HEX: u8 = 8;
const UPPER: u8 = 16;
const SIGN: u8 = 32;
const AT: u8 = 64;

/// The class of each byte.
const CLASSES: [u8; 256] = {
    let (mut table, mut at) = ([SIGN; 256], 0);
    while at < 256 {
        table[at] = match at as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => LOWER_HEX,
            b'g'..=b'z' => LOWER,
            b'A'..=b'F' => UPPER_HEX,
            b'G'..=b'Z' => UPPER,
            b'@' => SIGN | AT,
            _ => SIGN,
        };
        at += 1;
    }
    table
};

/// All classes in the text.
fn classes(text: &[u8]) -> u8 {
    let (chunks, rest) = text.as_chunks::<8>();
    let class = |all, byte: &u8| all | CLASSES[usize::from(*byte)];
    let whole = chunks.iter().fold(0, |all, eight| all | eight.iter().fold(0, class));
    rest.iter().fold(whole, class)
}

/// Of which alphabet characters of these classes were probably drawn; a few don't say it.
fn alphabet(classes: u8, length: usize) -> u64 {
    let lower = classes & (LOWER | LOWER_HEX) != 0;
    let upper = classes & (UPPER | UPPER_HEX) != 0;
    let beyond_hex = classes & (LOWER | UPPER) != 0;
    match (length < 6, lower, upper, beyond_hex) {
        (true, ..) => 0x20,
        // a number is not so long: hexadecimal, by chance without a letter
        (_, false, false, _) if length > 17 => 0x23,
        (_, false, false, _) => 0x21,
        (_, true, true, _) => 0x22,
        (_, true, false, false) => 0x23,
        (_, false, true, false) => 0x24,
        (_, true, false, true) => 0x25,
        (_, false, true, true) => 0x26,
    }
}

/// Numbers written without leading zeros differ in length, so lengths are coarse; hexadecimal ones
/// that are longer than a number are texts, as long as what they say.
fn length(length: usize, classes: u8) -> u64 {
    let is_hex = classes & (LOWER | UPPER | SIGN) == 0;
    match length {
        0..=5 => 0,
        6..=11 => 1,
        12..=17 => 2,
        32 => 5,
        18..=48 if is_hex => 3,
        18..=25 => 3,
        26..=31 => 4,
        33..=36 => 6,
        37..=48 => 7,
        _ => 8,
    }
}

/// The kinds of lines, repeated ones once, the session's name when it has no number, and the
/// codecs of the first medium.
fn sdp(body: &[u8], hash: &mut Hash) {
    let body = body.trim_ascii_start();
    if !body.starts_with(b"v=") {
        return;
    }
    let (mut before, mut media) = (0, false);
    for line in wire::lines(body) {
        let [kind, b'=', text @ ..] = line else { break };
        if std::mem::replace(&mut before, *kind) == *kind {
            continue;
        }
        hash.word(u64::from(*kind));
        if *kind == b's' && classes(text) & DIGIT == 0 {
            hash.bytes(text.trim_ascii_end());
        }
        if *kind == b'm' && !std::mem::replace(&mut media, true) {
            // behind the medium and the port: the protocol and the codecs
            let behind = |text| find_byte(b' ', text).and_then(|at| text.get(at + 1..));
            let codecs = behind(text).and_then(behind).unwrap_or_default();
            hash.bytes(codecs.trim_ascii_end());
        }
    }
}

/// A fast hash that every run of the program computes alike.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Hash(0x9e37_79b9_7f4a_7c15)
    }

    /// Each word is mixed by itself, so that none waits for the one before.
    fn word(&mut self, word: u64) {
        let mixed = u128::from(word ^ 0xe703_7ed1_a0b4_28db) * 0xa076_1d64_78bd_642f;
        self.0 = self.0.rotate_left(23).wrapping_add((mixed as u64) ^ ((mixed >> 64) as u64));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // some bytes twice, which is cheaper than byte by byte
        let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes) {
                (Some(first), Some(last), _) => {
                    (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
                }
                (.., [first, .., last]) => {
                    let middle = bytes.get(bytes.len() / 2).copied().unwrap_or_default();
                    (u64::from(*first) | u64::from(middle) << 8, u64::from(*last))
                }
                (.., [byte]) => (u64::from(*byte), 0),
                (.., []) => (0, 0),
            },
        };
        let middle = bytes.get(8..bytes.len().saturating_sub(1)).unwrap_or_default();
        for eight in middle.as_chunks::<8>().0 {
            self.word(u64::from_le_bytes(*eight));
        }
        // the length parts neighbours from each other
        self.pair(first, last.rotate_left(8) ^ bytes.len() as u64);
    }

    fn pair(&mut self, one: u64, other: u64) {
        let mixed =
            u128::from(one ^ 0xe703_7ed1_a0b4_28db) * u128::from(other ^ 0xa076_1d64_78bd_642f);
        self.0 = self.0.rotate_left(23).wrapping_add((mixed as u64) ^ ((mixed >> 64) as u64));
    }

    fn finish(&self) -> u64 {
        let mixed = u128::from(self.0) * 0xa076_1d64_78bd_642f;
        (mixed as u64) ^ ((mixed >> 64) as u64)
    }
}
