//! Reads of a request what is asked, part by part, and says which of the numbered facts are true
//! of it.

use super::automaton::Automaton;
use super::condition::{Order as OrderKind, Peculiarity, TextField};
use super::template::{Cut, Varying};
use crate::method_index;
use arrayvec::ArrayVec;
use wire::{Header, HeaderName, Message, find_byte};

/// Different conditions that a catalogue may have.
pub(super) const FACTS_MAX: usize = 512;
/// Header names that a catalogue may speak of.
const NAMES_MAX: usize = 250;
/// Bytes that a tag may have without being called long.
pub(super) const LONG_TAG: usize = 192;
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

/// Of what field that is which is cut out of templates; hosts, which are read in another way, apart.
const CUTS: [(Cut, usize); 11] = [
    (Cut::RequestUser, REQUEST),
    (Cut::FromUser, FROM),
    (Cut::ToUser, TO),
    (Cut::ContactUser, CONTACT),
    (Cut::FromName, FROM_NAME),
    (Cut::FromTag, FROM_TAG),
    (Cut::Branch, BRANCH),
    (Cut::CallId, CALL_ID),
    (Cut::Origin, SDP),
    (Cut::Connection, SDP),
    (Cut::Media, SDP),
];

/// Parts of a request that are each read in one go: a set of them, a bit for each. Fields are such
/// parts (a user and its host are one), and behind them:
pub(super) type Parts = u32;

/// How the lines of some headers are.
pub(super) const WATCHED: usize = FIELDS;
/// The order of the header lines.
pub(super) const ORDER: usize = FIELDS + 1;
/// Method, Max-Forwards, transport.
pub(super) const FRAME: usize = FIELDS + 2;
/// The parameters of the top Via.
pub(super) const VIA_PARAMS: usize = FIELDS + 3;
/// What [`Peculiarity`] says: one part for each.
pub(super) const PECULIAR: usize = FIELDS + 4;
const PARTS: usize = PECULIAR + Peculiarity::ALL.len();
const _: () = assert!(PARTS <= Parts::BITS as usize);

/// The part that a field is of.
pub(super) fn part_of(field: usize) -> usize {
    match field {
        REQUEST..SDP => field & !1,
        _ => field,
    }
}

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
#[derive(Debug, Default)]
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
    /// By [`Peculiarity`].
    pub(super) peculiar: [Vec<u16>; Peculiarity::ALL.len()],
    /// By fact: the parts that tell it.
    parts: Vec<Parts>,
    /// All of them.
    all: Parts,
    /// The facts that are told.
    told: Set,
}

/// A request and what was read of it so far.
pub(super) struct Reading<'r, 'a> {
    facts: &'r Facts,
    message: &'r Message<'a>,
    /// What is true.
    set: Set,
    read: Parts,
    /// Of which facts that was known before something was read.
    known: &'r Set,
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

    /// The part tells the fact, perhaps with others.
    pub(super) fn tell(&mut self, fact: u16, part: usize) {
        let parts = 1 << part;
        let index = usize::from(fact);
        self.parts.resize(self.parts.len().max(index + 1), 0);
        self.parts[index] |= parts;
        self.all |= parts;
        self.told.add(fact);
    }

    /// All that is asked of the request.
    pub(super) fn all(&self, message: &Message<'_>) -> Set {
        let mut set = Set::default();
        self.read(self.all, message, &mut set);
        set
    }

    /// Whether something of what varies in a request makes a fact true. Facts of headers' values
    /// are not looked at.
    pub(super) fn any_of(&self, varying: &Varying<'_>) -> bool {
        let mut any = false;
        let mut scan = |field: usize, text: &[u8]| {
            if let (Some(Some(automaton)), false) = (self.fields.get(field), text.is_empty()) {
                automaton.scan(text, |_| any = true);
            }
        };
        for (cut, field) in &CUTS {
            scan(*field, varying.of(*cut));
        }
        scan(BODY, varying.body);
        for (cut, field) in [(Cut::ViaHost, VIA_HOST), (Cut::ContactHost, CONTACT + 1)] {
            let host = varying.of(cut);
            if !host.is_empty() {
                self.on_host(field, host, |_| any = true);
            }
        }
        any
    }

    /// A reading of the request, of which others know some facts.
    pub(super) fn of<'r, 'a>(
        &'r self,
        message: &'r Message<'a>,
        others: &'r Facts,
        set: Set,
    ) -> Reading<'r, 'a> {
        Reading { facts: self, message, set, read: 0, known: &others.told }
    }

    fn read(&self, mut parts: Parts, message: &Message<'_>, facts: &mut Set) {
        while parts != 0 {
            self.part(parts.trailing_zeros() as usize, message, facts);
            parts &= parts - 1;
        }
    }

    fn part(&self, part: usize, message: &Message<'_>, facts: &mut Set) {
        match part {
            USER_AGENT => {
                for (_, line) in message.lines(HeaderName::UserAgent) {
                    self.field(USER_AGENT, message.slice(line.value), facts);
                }
            }
            BRANCH => self.field(BRANCH, message.via().branch, facts),
            VIA_HOST => self.host(VIA_HOST, message.via().sent_by(), facts),
            FROM_TAG => self.field(FROM_TAG, message.from_tag(), facts),
            CALL_ID => self.field(CALL_ID, message.call_id(), facts),
            FROM_NAME => {
                let name = message.from().display_name;
                if !name.is_empty() {
                    self.field(FROM_NAME, name, facts);
                }
            }
            REQUEST => self.address(REQUEST, message.request_uri(), facts),
            FROM => self.address(FROM, message.from().uri, facts),
            TO => self.address(TO, message.to().uri, facts),
            CONTACT => {
                if let Some((_, line)) = message.lines(HeaderName::Contact).next() {
                    self.address(CONTACT, first_uri(message.slice(line.value)), facts);
                }
            }
            SDP | BODY => self.body(part, message.body(), facts),
            WATCHED => self.watch(message, facts),
            ORDER => self.order(message, facts),
            FRAME => self.frame(message, facts),
            VIA_PARAMS => self.via_params(message, facts),
            _ => {
                let peculiarity = Peculiarity::ALL.get(part - PECULIAR).copied();
                if let Some(peculiarity) = peculiarity.filter(|it| is_so(*it, message)) {
                    facts.add_all(&self.peculiar[peculiarity as usize]);
                }
            }
        }
    }

    fn field(&self, field: usize, text: &[u8], facts: &mut Set) {
        if let Some(Some(automaton)) = self.fields.get(field) {
            automaton.scan(text, |fact| facts.add(fact));
        }
    }

    fn frame(&self, message: &Message<'_>, facts: &mut Set) {
        if let Some(methods) = self.methods.get(usize::from(method_index(message.method()))) {
            facts.add_all(methods);
        }
        for (list, fact) in &self.max_forwards {
            if message.max_forwards().is_some_and(|hops| list.contains(&hops)) {
                facts.add(*fact);
            }
        }
        for (list, fact) in &self.transports {
            if list.iter().any(|name| name.eq_ignore_ascii_case(message.via().transport)) {
                facts.add(*fact);
            }
        }
    }

    fn via_params(&self, message: &Message<'_>, facts: &mut Set) {
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

    /// The number of a header line's name.
    fn symbol(&self, message: &Message<'_>, header: &Header) -> u8 {
        match header.name {
            HeaderName::Other => self.names.of(header.name, message.slice(header.name_span)),
            name => self.names.of(name, b""),
        }
    }

    fn watch(&self, message: &Message<'_>, facts: &mut Set) {
        for header in message.headers() {
            let symbol = self.symbol(message, header);
            let Some(watched) = self.watched.get(usize::from(symbol)) else { continue };
            facts.add_all(&watched.present);
            if !watched.padded.is_empty() && header.value.start > header.name_span.end + 2 {
                facts.add_all(&watched.padded);
            }
            if let Some(values) = &watched.values {
                values.scan(message.slice(header.value), |fact| facts.add(fact));
            }
        }
    }

    fn order(&self, message: &Message<'_>, facts: &mut Set) {
        let sequence = || message.headers().iter().map(|header| self.symbol(message, header));
        for order in &self.orders {
            let symbols = order.symbols.iter().copied();
            let holds = match order.order {
                OrderKind::Exactly => sequence().eq(symbols),
                OrderKind::Starts => {
                    let mut lines = sequence();
                    symbols.into_iter().all(|symbol| lines.next() == Some(symbol))
                }
                OrderKind::Before => is_before(&order.symbols, sequence),
            };
            if holds {
                facts.add(order.fact);
            }
        }
    }

    fn address(&self, field: usize, uri: &[u8], facts: &mut Set) {
        let (user, host) = user_and_host(uri);
        self.field(field, user, facts);
        self.host(field + 1, host, facts);
    }

    /// The host that the text begins with: where it ends is only looked for as far as some pattern
    /// can match it.
    fn host(&self, field: usize, text: &[u8], facts: &mut Set) {
        self.on_host(field, text, |fact| facts.add(fact));
    }

    fn on_host(&self, field: usize, text: &[u8], on_fact: impl FnMut(u16)) {
        let Some(Some(automaton)) = self.fields.get(field) else { return };
        match text {
            [b'[', ..] => automaton.scan(host_of(text), on_fact),
            _ => automaton.scan_until(text, |byte| ENDS_HOST[usize::from(byte)], on_fact),
        }
    }

    fn body(&self, part: usize, body: &[u8], facts: &mut Set) {
        if body.is_empty() {
            return;
        }
        if part == BODY {
            return self.field(BODY, body, facts);
        }
        let Some(Some(automaton)) = self.fields.get(SDP) else { return };
        let sdp = body.trim_ascii_start();
        if sdp.starts_with(b"v=") {
            for line in wire::lines(sdp) {
                automaton.scan(line.strip_suffix(b"\r").unwrap_or(line), |fact| facts.add(fact));
            }
        }
    }
}

impl Reading<'_, '_> {
    /// Whether the fact is true: what tells it is read if it was not yet.
    pub(super) fn has(&mut self, fact: u16) -> bool {
        if self.set.has(fact) || self.known.has(fact) {
            return self.set.has(fact);
        }
        let parts = self.facts.parts.get(usize::from(fact)).copied().unwrap_or_default();
        self.facts.read(parts & !self.read, self.message, &mut self.set);
        self.read |= parts;
        self.set.has(fact)
    }
}

/// Whether all are there, the first of each before the first of the next.
fn is_before<I: Iterator<Item = u8>>(symbols: &[u8], sequence: impl Fn() -> I) -> bool {
    let mut free = 0;
    symbols.iter().all(|symbol| {
        let first = sequence().position(|other| other == *symbol);
        first.is_some_and(|at| at >= std::mem::replace(&mut free, at + 1))
    })
}

/// The user of a SIP URI as written, and what begins with its host; both empty for any other.
pub(super) fn user_and_host(uri: &[u8]) -> (&[u8], &[u8]) {
    let Some(rest) = behind_scheme(uri) else { return (b"", b"") };
    match find_byte(b'@', rest) {
        Some(at) => {
            let (userinfo, host) = rest.split_at(at);
            let end = find_byte(b':', userinfo).unwrap_or(at);
            (userinfo.get(..end).unwrap_or_default(), host.get(1..).unwrap_or_default())
        }
        None => (b"", rest),
    }
}

/// What stands behind the scheme of a SIP URI.
#[inline]
pub(super) fn behind_scheme(uri: &[u8]) -> Option<&[u8]> {
    const SIP: u32 = u32::from_le_bytes(*b"sip:");
    const SIPS: u32 = u32::from_le_bytes(*b"sips");
    let (first, rest) = uri.split_first_chunk()?;
    let first = u32::from_le_bytes(*first);
    // the bit that parts a small letter from a large one is set in a colon, but not of it alone
    if first | 0x0020_2020 == SIP {
        return Some(rest);
    }
    rest.strip_prefix(b":").filter(|_| first | 0x2020_2020 == SIPS)
}

/// The URI of the first address in a header's value.
pub(super) fn first_uri(value: &[u8]) -> &[u8] {
    let start = match value.split_first() {
        // a quoted name may hold a bracket
        Some((b'"', rest)) => find_byte(b'"', rest).map_or(0, |end| end + 2),
        _ => 0,
    };
    let rest = value.get(start..).unwrap_or_default();
    let (from, to) = match find_byte(b'<', rest) {
        Some(open) => (open + 1, find_byte(b'>', rest)),
        None => (0, memchr::memchr2(b';', b',', rest)),
    };
    rest.get(from..to.unwrap_or(rest.len())).unwrap_or_default()
}

/// Whether both texts begin with the same host.
pub(super) fn is_same_host(a: &[u8], b: &[u8]) -> bool {
    // most are told apart by the first letter
    let first = |text: &[u8]| text.first().map(u8::to_ascii_lowercase);
    if first(a) != first(b) {
        return false;
    }
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
    find_byte(b';', text).and_then(|at| text.get(at + 1..))
}

fn is_so(peculiarity: Peculiarity, message: &Message<'_>) -> bool {
    let branch = message.via().branch;
    match peculiarity {
        Peculiarity::NoMagicCookie => !branch.starts_with(b"z9hG4bK"),
        Peculiarity::BranchIsCallId => branch.strip_prefix(b"z9hG4bK").is_some_and(|rest| {
            rest == message.call_id() || rest.strip_prefix(b"-") == Some(message.call_id())
        }),
        Peculiarity::FromIsTo => {
            let (user, host) = user_and_host(message.from().uri);
            let to = message.to().uri;
            // most are told apart by the user
            let may_be = user.is_empty()
                || find_byte(b':', to).is_some_and(|colon| {
                    to.get(colon + 1..).is_some_and(|rest| rest.starts_with(user))
                });
            let (same, other) = if may_be { user_and_host(to) } else { return false };
            user == same && is_same_host(host, other)
        }
        Peculiarity::UserAgentIsFromUser => {
            let (user, _) = user_and_host(message.from().uri);
            !user.is_empty() && message.value(HeaderName::UserAgent) == Some(user)
        }
        Peculiarity::TagIsCallId => {
            !message.from_tag().is_empty() && message.from_tag() == message.call_id()
        }
        Peculiarity::LongTag => message.from_tag().len() > LONG_TAG,
        Peculiarity::ViaIsTarget => {
            is_same_host(message.via().sent_by(), user_and_host(message.request_uri()).1)
        }
    }
}
