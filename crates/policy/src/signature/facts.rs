//! Reads a request once and says which of the numbered facts are true of it.

use super::automaton::Automaton;
use super::condition::{Order as OrderKind, Peculiarity, TextField};
use crate::method_index;
use arrayvec::ArrayVec;
use wire::{HeaderName, Limits, Message};

/// Different conditions that a catalogue may have.
pub(super) const FACTS_MAX: usize = 512;
/// Header names that a catalogue may speak of.
const NAMES_MAX: usize = 250;
/// Bytes that a tag may have without being called long.
const LONG_TAG: usize = 192;
/// Parameters of the top Via that are looked at.
const VIA_PARAMS_MAX: usize = 12;
/// Fields that have an automaton.
pub(super) const FIELDS: usize = 16;

const USER_AGENT: usize = 0;
const BRANCH: usize = 1;
const VIA_HOST: usize = 2;
const FROM_TAG: usize = 3;
const CALL_ID: usize = 4;
const FROM_NAME: usize = 5;
const REQUEST: usize = 6;
const FROM: usize = 8;
const TO: usize = 10;
const CONTACT: usize = 12;
const SDP: usize = 14;
const BODY: usize = 15;

/// The automata that a field's patterns go into.
pub(super) fn slots(field: TextField) -> &'static [usize] {
    match field {
        TextField::UserAgent => &[USER_AGENT],
        TextField::Branch => &[BRANCH],
        TextField::ViaHost => &[VIA_HOST],
        TextField::FromTag => &[FROM_TAG],
        TextField::CallId => &[CALL_ID],
        TextField::FromName => &[FROM_NAME],
        TextField::RequestUser => &[REQUEST],
        TextField::RequestHost => &[REQUEST + 1],
        TextField::FromUser => &[FROM],
        TextField::FromHost => &[FROM + 1],
        TextField::ToUser => &[TO],
        TextField::ToHost => &[TO + 1],
        TextField::ContactUser => &[CONTACT],
        TextField::ContactHost => &[CONTACT + 1],
        TextField::AnyUser => &[REQUEST, FROM, TO, CONTACT],
        TextField::AnyHost => &[REQUEST + 1, FROM + 1, TO + 1, CONTACT + 1],
        TextField::Sdp | TextField::SdpSession | TextField::SdpOrigin => &[SDP],
        TextField::Body => &[BODY],
    }
}

/// Which facts are true.
#[derive(Debug)]
pub(super) struct Set([u64; FACTS_MAX / 64]);

impl Set {
    pub(super) fn has(&self, fact: u16) -> bool {
        self.0.get(usize::from(fact / 64)).is_some_and(|word| word >> (fact % 64) & 1 == 1)
    }

    pub(super) fn each(&self, mut on_fact: impl FnMut(usize)) {
        for (index, word) in self.0.iter().enumerate() {
            let mut bits = *word;
            while bits != 0 {
                on_fact(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    fn add(&mut self, fact: u16) {
        if let Some(word) = self.0.get_mut(usize::from(fact / 64)) {
            *word |= 1 << (fact % 64);
        }
    }

    fn add_all(&mut self, facts: &[u16]) {
        facts.iter().for_each(|fact| self.add(*fact));
    }
}

/// Words to compare with.
pub(super) type Words = Box<[Box<[u8]>]>;

/// Everything that some condition asks.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) names: Names,
    pub(super) fields: [Option<Automaton>; FIELDS],
    /// By name symbol.
    watched: Vec<Watched>,
    pub(super) orders: Vec<Order>,
    pub(super) via_params: Vec<(Words, u16)>,
    pub(super) max_forwards: Vec<(Box<[u8]>, u16)>,
    pub(super) transports: Vec<(Words, u16)>,
    pub(super) methods: [Vec<u16>; 16],
    pub(super) peculiar: Vec<(Peculiarity, u16)>,
}

/// What is asked of one header.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) present: Vec<u16>,
    pub(super) padded: Vec<u16>,
    pub(super) values: Option<Automaton>,
}

/// A sequence of header names.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) order: OrderKind,
    pub(super) symbols: Box<[u8]>,
    pub(super) fact: u16,
}

/// Header names as small numbers; 0 is a name that nobody asks for.
#[derive(Debug, Default)]
pub(super) struct Names {
    closed: [u8; HeaderName::Other as usize + 1],
    open: Vec<(Box<str>, u8)>,
    count: u8,
}

impl Names {
    /// The number of a name, a new one if need be.
    pub(super) fn symbol(&mut self, name: &str) -> Result<u8, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("\"{name}\" is no header name"));
        }
        if name.len() == 1 {
            return Err(format!("\"{name}\" is a compact form: write the long name"));
        }
        let closed = HeaderName::of(name.as_bytes());
        let known = match closed {
            HeaderName::Other => self
                .open
                .iter()
                .find(|(open, _)| open.eq_ignore_ascii_case(name))
                .map(|open| open.1),
            _ => self.closed.get(closed as usize).copied().filter(|symbol| *symbol > 0),
        };
        if let Some(symbol) = known {
            return Ok(symbol);
        }
        if usize::from(self.count) >= NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} header names"));
        }
        self.count += 1;
        match self.closed.get_mut(closed as usize) {
            Some(symbol) if closed != HeaderName::Other => *symbol = self.count,
            _ => self.open.push((name.into(), self.count)),
        }
        Ok(self.count)
    }

    fn of(&self, name: HeaderName, written: &[u8]) -> u8 {
        if name != HeaderName::Other {
            return self.closed.get(name as usize).copied().unwrap_or_default();
        }
        let is_it = |open: &&(Box<str>, u8)| open.0.as_bytes().eq_ignore_ascii_case(written);
        self.open.iter().find(is_it).map_or(0, |open| open.1)
    }
}

impl Facts {
    /// What is asked of the header with that symbol.
    pub(super) fn watched(&mut self, symbol: u8) -> &mut Watched {
        let index = usize::from(symbol);
        if self.watched.len() <= index {
            self.watched.resize_with(index + 1, Watched::default);
        }
        &mut self.watched[index]
    }

    /// Reads the request.
    pub(super) fn read(&self, message: &Message<'_>) -> Set {
        let mut set = Set([0; FACTS_MAX / 64]);
        let facts = &mut set;
        if let Some(methods) = self.methods.get(usize::from(method_index(message.method()))) {
            facts.add_all(methods);
        }
        self.headers(message, facts);
        self.via(message, facts);
        self.addresses(message, facts);
        self.field(FROM_TAG, message.from_tag(), facts);
        self.field(CALL_ID, message.call_id(), facts);
        for (list, fact) in &self.max_forwards {
            if message.max_forwards().is_some_and(|hops| list.contains(&hops)) {
                facts.add(*fact);
            }
        }
        self.body(message.body(), facts);
        set
    }

    fn field(&self, field: usize, text: &[u8], facts: &mut Set) {
        if let Some(Some(automaton)) = self.fields.get(field) {
            automaton.scan(text, |fact| facts.add(fact));
        }
    }

    fn headers(&self, message: &Message<'_>, facts: &mut Set) {
        let mut sequence = ArrayVec::<u8, { Limits::HEADER_LINES_MAX }>::new();
        for header in message.headers() {
            let symbol = match header.name {
                HeaderName::Other => self.names.of(header.name, message.slice(header.name_span)),
                name => self.names.of(name, b""),
            };
            let _ = sequence.try_push(symbol);
            let value = message.slice(header.value);
            if header.name == HeaderName::UserAgent {
                self.field(USER_AGENT, value, facts);
            }
            let Some(watched) = self.watched.get(usize::from(symbol)) else { continue };
            facts.add_all(&watched.present);
            if !watched.padded.is_empty() && header.value.start > header.name_span.end + 2 {
                facts.add_all(&watched.padded);
            }
            if let Some(values) = &watched.values {
                values.scan(value, |fact| facts.add(fact));
            }
        }
        for order in &self.orders {
            let holds = match order.order {
                OrderKind::Exactly => sequence[..] == *order.symbols,
                OrderKind::Starts => sequence.starts_with(&order.symbols),
                OrderKind::Before => is_before(&order.symbols, &sequence),
            };
            if holds {
                facts.add(order.fact);
            }
        }
    }

    fn via(&self, message: &Message<'_>, facts: &mut Set) {
        let via = message.via();
        self.field(BRANCH, via.branch, facts);
        self.host(VIA_HOST, via.sent_by(), facts);
        for (list, fact) in &self.transports {
            if list.iter().any(|name| name.eq_ignore_ascii_case(via.transport)) {
                facts.add(*fact);
            }
        }
        if !self.via_params.is_empty() {
            let names: ArrayVec<&[u8], VIA_PARAMS_MAX> =
                via_params(message.via_value().bytes).take(VIA_PARAMS_MAX).collect();
            for (list, fact) in &self.via_params {
                let mut pairs = list.iter().zip(&names);
                if list.len() == names.len()
                    && pairs.all(|(name, written)| name.eq_ignore_ascii_case(written))
                {
                    facts.add(*fact);
                }
            }
        }
    }

    fn addresses(&self, message: &Message<'_>, facts: &mut Set) {
        let from_name = message.from().display_name;
        if !from_name.is_empty() {
            self.field(FROM_NAME, from_name, facts);
        }
        let read = Addresses {
            request: user_and_host(message.request_uri()),
            from: user_and_host(message.from().uri),
            to: user_and_host(message.to().uri),
        };
        self.address(REQUEST, read.request, facts);
        self.address(FROM, read.from, facts);
        self.address(TO, read.to, facts);
        if self.asks(CONTACT)
            && let Some((_, line)) = message.lines(HeaderName::Contact).next()
        {
            self.address(CONTACT, user_and_host(first_uri(message.slice(line.value))), facts);
        }
        for (peculiarity, fact) in &self.peculiar {
            if is_so(*peculiarity, message, &read) {
                facts.add(*fact);
            }
        }
    }

    fn asks(&self, field: usize) -> bool {
        self.fields.iter().skip(field).take(2).any(Option::is_some)
    }

    fn address(&self, field: usize, address: (&[u8], &[u8]), facts: &mut Set) {
        self.field(field, address.0, facts);
        self.host(field + 1, address.1, facts);
    }

    /// The host that the text begins with: where it ends is only looked for as far as some pattern
    /// can match it.
    fn host(&self, field: usize, text: &[u8], facts: &mut Set) {
        let Some(Some(automaton)) = self.fields.get(field) else { return };
        let on_fact = |fact| facts.add(fact);
        match text {
            [b'[', ..] => automaton.scan(host_of(text), on_fact),
            _ => automaton.scan_until(text, |byte| ENDS_HOST[usize::from(byte)], on_fact),
        }
    }

    fn body(&self, body: &[u8], facts: &mut Set) {
        if body.is_empty() {
            return;
        }
        self.field(BODY, body, facts);
        let sdp = body.trim_ascii_start();
        if self.fields[SDP].is_some() && sdp.starts_with(b"v=") {
            for line in wire::lines(sdp) {
                self.field(SDP, line.strip_suffix(b"\r").unwrap_or(line), facts);
            }
        }
    }
}

/// Whether all are there, the first of each before the first of the next.
fn is_before(symbols: &[u8], sequence: &[u8]) -> bool {
    let mut free = 0;
    symbols.iter().all(|symbol| {
        let first = sequence.iter().position(|other| other == symbol);
        first.is_some_and(|at| at >= std::mem::replace(&mut free, at + 1))
    })
}

/// The user of a SIP URI as written, and what begins with its host; both empty for any other.
fn user_and_host(uri: &[u8]) -> (&[u8], &[u8]) {
    let rest = match uri {
        [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', rest @ ..] => rest,
        [b's' | b'S', b'i' | b'I', b'p' | b'P', b's' | b'S', b':', rest @ ..] => rest,
        _ => return (b"", b""),
    };
    // so short that a loop is faster than a search by vectors
    match rest.iter().position(|byte| *byte == b'@') {
        Some(at) => {
            let (userinfo, host) = rest.split_at(at);
            let end = userinfo.iter().position(|byte| *byte == b':').unwrap_or(at);
            (userinfo.get(..end).unwrap_or_default(), host.get(1..).unwrap_or_default())
        }
        None => (b"", rest),
    }
}

/// The URI of the first address in a header's value.
fn first_uri(value: &[u8]) -> &[u8] {
    let start = match value.split_first() {
        // a quoted name may hold a bracket
        Some((b'"', rest)) => memchr::memchr(b'"', rest).map_or(0, |end| end + 2),
        _ => 0,
    };
    let rest = value.get(start..).unwrap_or_default();
    let (from, to) = match memchr::memchr(b'<', rest) {
        Some(open) => (open + 1, memchr::memchr(b'>', rest)),
        None => (0, memchr::memchr2(b';', b',', rest)),
    };
    rest.get(from..to.unwrap_or(rest.len())).unwrap_or_default()
}

/// Whether both texts begin with the same host.
fn is_same_host(a: &[u8], b: &[u8]) -> bool {
    let host = host_of(a);
    !host.is_empty() && host.eq_ignore_ascii_case(host_of(b))
}

/// The host that text begins with.
fn host_of(text: &[u8]) -> &[u8] {
    let end = match text.first() {
        Some(b'[') => text.iter().position(|byte| *byte == b']').map(|at| at + 1),
        _ => text.iter().position(|byte| ENDS_HOST[usize::from(*byte)]),
    };
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// Bytes behind a host.
const ENDS_HOST: [bool; 256] = {
    let (mut table, ends, mut at) = ([false; 256], b":;? \t", 0);
    while at < ends.len() {
        table[ends[at] as usize] = true;
        at += 1;
    }
    table
};

/// Names of a Via value's parameters as written.
pub(super) fn via_params(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = behind_semicolon(value);
    std::iter::from_fn(move || {
        let param = rest?;
        let name = param.iter().position(|byte| matches!(byte, b'=' | b';'));
        let (name, value) = param.split_at(name.unwrap_or(param.len()));
        rest = behind_semicolon(value);
        Some(name.trim_ascii())
    })
}

fn behind_semicolon(text: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b';', text).and_then(|at| text.get(at + 1..))
}

/// Users of the addresses, and what begins with their hosts.
struct Addresses<'a> {
    request: (&'a [u8], &'a [u8]),
    from: (&'a [u8], &'a [u8]),
    to: (&'a [u8], &'a [u8]),
}

fn is_so(peculiarity: Peculiarity, message: &Message<'_>, read: &Addresses<'_>) -> bool {
    let branch = message.via().branch;
    match peculiarity {
        Peculiarity::NoMagicCookie => !branch.starts_with(b"z9hG4bK"),
        Peculiarity::BranchIsCallId => branch.strip_prefix(b"z9hG4bK").is_some_and(|rest| {
            rest == message.call_id() || rest.strip_prefix(b"-") == Some(message.call_id())
        }),
        Peculiarity::FromIsTo => {
            let (from, to) = (read.from, read.to);
            from.0 == to.0 && is_same_host(from.1, to.1)
        }
        Peculiarity::UserAgentIsFromUser => {
            let (user, _) = read.from;
            !user.is_empty() && message.value(HeaderName::UserAgent) == Some(user)
        }
        Peculiarity::TagIsCallId => {
            !message.from_tag().is_empty() && message.from_tag() == message.call_id()
        }
        Peculiarity::LongTag => message.from_tag().len() > LONG_TAG,
        Peculiarity::ViaIsTarget => is_same_host(message.via().sent_by(), read.request.1),
    }
}
