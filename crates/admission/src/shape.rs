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

use wire::{HeaderName, Message, NameAddr};

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
    let mut hash = Hash::new();
    hash.bytes(message.method().as_bytes());
    hash.word(match message.max_forwards() {
        Some(hops @ (70 | 69 | 20)) => u64::from(hops),
        Some(_) => 1,
        None => 0,
    });
    headers(message, &mut hash);
    let via = message.via();
    token(via.branch, &mut hash);
    params(message.via_value().bytes, &mut hash);
    token(message.from_tag(), &mut hash);
    token(message.call_id(), &mut hash);
    address(&message.from(), &mut hash);
    address(&message.to(), &mut hash);
    if let Some(value) = message.values(HeaderName::Contact).next() {
        match NameAddr::parse(value.bytes, value.span.start) {
            Some(contact) => address(&contact, &mut hash),
            None => hash.word(0xbad),
        }
    }
    sdp(message.body(), &mut hash);
    hash.finish()
}

fn headers(message: &Message<'_>, hash: &mut Hash) {
    let mut before = None;
    for header in message.headers() {
        let written = message.slice(header.name_span);
        match header.name {
            HeaderName::Authorization | HeaderName::ProxyAuthorization => continue,
            HeaderName::Other => {
                hash.bytes(written);
                before = None;
            }
            name if before == Some(name) => continue,
            name => {
                hash.word(name as u64 | spelling(written) << 8);
                before = Some(name);
            }
        }
        if header.name == HeaderName::UserAgent {
            user_agent(message.slice(header.value), message, hash);
        }
    }
}

/// Its length (a compact form has one letter) and which of its letters are capital.
fn spelling(name: &[u8]) -> u64 {
    let capitals = name.iter().take(24).enumerate();
    let capitals = capitals.fold(0, |bits, (at, b)| bits | u64::from(b.is_ascii_uppercase()) << at);
    (name.len() as u64 & 0xff) | capitals << 8
}

/// The text with every number, and every word with a number in it that is long, folded.
fn user_agent(text: &[u8], message: &Message<'_>, hash: &mut Hash) {
    let is_word = text.len() <= 12 && text.iter().all(u8::is_ascii_alphanumeric);
    if is_word || text == user(message.from().uri) {
        hash.word(1);
        return;
    }
    for word in runs(text, u8::is_ascii_alphanumeric) {
        let numbers = word.iter().filter(|byte| byte.is_ascii_digit()).count();
        match numbers {
            0 => hash.bytes(word),
            _ if word.len() >= 6 => hash.word(2),
            _ => {
                for part in runs(word, u8::is_ascii_digit) {
                    let number = part.first().is_some_and(u8::is_ascii_digit);
                    if number { hash.word(3) } else { hash.bytes(part) }
                }
            }
        }
    }
}

/// Cuts where `is` changes.
fn runs(text: &[u8], is: fn(&u8) -> bool) -> impl Iterator<Item = &[u8]> {
    text.chunk_by(move |a, b| is(a) == is(b))
}

/// The user part of a URI.
fn user(uri: &[u8]) -> &[u8] {
    let start = uri.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
    let end = uri.iter().position(|byte| *byte == b'@').unwrap_or(start);
    uri.get(start..end).unwrap_or_default()
}

fn address(address: &NameAddr<'_>, hash: &mut Hash) {
    let name = match address.display_name {
        [] => 0,
        [b'"', ..] => 1,
        _ => 2,
    };
    let has_user = u64::from(address.uri.contains(&b'@'));
    hash.word(name | u64::from(address.bracketed) << 2 | has_user << 3);
    params(address.uri, hash);
    param_names(address.params.split(|byte| *byte == b';'), hash);
}

/// Names of the parameters behind the first `;`.
fn params(text: &[u8], hash: &mut Hash) {
    param_names(text.split(|byte| *byte == b';').skip(1), hash);
}

fn param_names<'a>(params: impl Iterator<Item = &'a [u8]>, hash: &mut Hash) {
    for param in params {
        let end = param.iter().position(|byte| *byte == b'=').unwrap_or(param.len());
        hash.bytes(param.get(..end).unwrap_or_default());
    }
    hash.word(0);
}

/// The grammar of an identifier: literal beginnings, then runs of characters of one class with a
/// coarse length. What stands behind an `@` counts as an address or a name.
fn token(token: &[u8], hash: &mut Hash) {
    const COOKIE: &[u8] = b"z9hG4bK";
    let rest = match token.strip_prefix(COOKIE) {
        Some(rest) => {
            hash.word(1);
            rest
        }
        None => token,
    };
    let (local, host) = match rest.iter().position(|byte| *byte == b'@') {
        Some(at) => rest.split_at(at),
        None => (rest, &b""[..]),
    };
    let body = local.iter().position(u8::is_ascii_alphanumeric).unwrap_or(local.len());
    let (lead, local) = local.split_at(body);
    hash.bytes(lead);
    let class = Class::of(local);
    // Both letter cases: an alphabet of 64, in which `-`, `.`, `~`, `_` and `+` are letters.
    if class.upper && class.lower {
        hash.word(class.number() | length(local.len()) << 8);
    } else {
        for run in runs(local, u8::is_ascii_alphanumeric) {
            match run.first() {
                Some(first) if first.is_ascii_alphanumeric() => {
                    hash.word(Class::of(run).number() | length(run.len()) << 8);
                }
                _ => hash.bytes(run),
            }
        }
    }
    hash.word(match host {
        [] => 10,
        [_] => 11,
        [_, rest @ ..] if rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b':')) => 12,
        _ => 13,
    });
}

/// Which characters an identifier is made of.
#[derive(Default)]
struct Class {
    digit: bool,
    lower: bool,
    upper: bool,
    /// A letter that is no hexadecimal digit.
    beyond_hex: bool,
    short: bool,
}

impl Class {
    fn of(text: &[u8]) -> Self {
        let mut class = Class { short: text.len() < 6, ..Class::default() };
        for byte in text {
            class.digit |= byte.is_ascii_digit();
            class.lower |= byte.is_ascii_lowercase();
            class.upper |= byte.is_ascii_uppercase();
            class.beyond_hex |= byte.is_ascii_alphabetic() && !byte.is_ascii_hexdigit();
        }
        class
    }

    /// A few characters don't say of which alphabet they were drawn.
    fn number(&self) -> u64 {
        match (self.short, self.lower, self.upper, self.beyond_hex) {
            (true, ..) => 0x20,
            (_, false, false, _) => 0x21,
            (_, true, true, _) => 0x22,
            (_, true, false, false) => 0x23,
            (_, false, true, false) => 0x24,
            (_, true, false, true) => 0x25,
            (_, false, true, true) => 0x26,
        }
    }
}

/// Numbers written without leading zeros differ in length, so lengths are coarse.
fn length(length: usize) -> u64 {
    match length {
        0..=5 => 0,
        6..=11 => 1,
        12..=17 => 2,
        18..=25 => 3,
        26..=31 => 4,
        32 => 5,
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
    for line in body.split(|byte| *byte == b'\n') {
        let [kind, b'=', text @ ..] = line else { continue };
        if *kind == before {
            continue;
        }
        before = *kind;
        hash.word(u64::from(*kind));
        if *kind == b's' && !text.iter().any(u8::is_ascii_digit) {
            hash.bytes(text.trim_ascii());
        }
        if *kind == b'm' && !media {
            media = true;
            let words = text.trim_ascii().split(|byte| *byte == b' ');
            words.skip(2).for_each(|word| hash.bytes(word));
        }
    }
}

/// A fast hash that every run of the program computes alike.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Hash(0x9e37_79b9_7f4a_7c15)
    }

    fn word(&mut self, word: u64) {
        let mixed =
            u128::from(self.0 ^ word).wrapping_mul(0xa076_1d64_78bd_642f_e703_7ed1_a0b4_28db);
        self.0 = (mixed as u64) ^ ((mixed >> 64) as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            self.word(u64::from_le_bytes(*chunk));
        }
        let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        // the length parts neighbours from each other
        self.word(last | (bytes.len() as u64) << 56);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
