//! The last decisions on what came from outside, so that they can be explained: flat records in a
//! ring, written over and over.

use crate::{Event, Table};
use arrayvec::ArrayVec;
use policy::Time;
use wire::uri::aor;
use wire::{HeaderName, Message};

/// As much of a first line as is kept.
const LINE_BYTES_MAX: usize = 96;

/// A decision with as much of its message as explains it. The texts are as they were written, and
/// so hostile; what is longer than they are is cut off.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Time,
    /// What was decided.
    pub event: Event,
    /// The first line.
    pub line: ArrayVec<u8, LINE_BYTES_MAX>,
    /// Call-ID.
    pub call_id: ArrayVec<u8, { Decision::TEXT_BYTES_MAX }>,
    /// The URI of whom it is about: To of a REGISTER, else From.
    uri: ArrayVec<u8, 96>,
    /// What it says that it is.
    pub user_agent: ArrayVec<u8, 48>,
    /// Where its message is kept, if it is.
    message: Option<Kept>,
}

impl Decision {
    /// Longest Call-ID and AOR that are kept whole.
    pub const TEXT_BYTES_MAX: usize = 64;

    /// The AOR that it is about, as `user@host`: read when somebody looks, which few are looked at.
    #[must_use]
    pub fn aor(&self) -> &[u8] {
        let aor = without_port(aor(&self.uri));
        aor.get(..Decision::TEXT_BYTES_MAX).unwrap_or(aor)
    }

    /// Whether it is about this Call-ID or AOR, as far as they are kept.
    #[must_use]
    pub fn names(&self, text: &[u8]) -> bool {
        let text = without_port(text);
        let kept = text.get(..Decision::TEXT_BYTES_MAX).unwrap_or(text);
        !kept.is_empty() && (self.call_id.as_slice() == kept || self.aor() == kept)
    }
}

/// An AOR without the port that some write into it: `user@host`. A Call-ID ends in none.
#[must_use]
pub fn without_port(aor: &[u8]) -> &[u8] {
    let digits = aor.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let Some((b':', head)) = aor.get(..aor.len() - digits).and_then(<[u8]>::split_last) else {
        return aor;
    };
    let host = head.iter().position(|byte| *byte == b'@').and_then(|at| head.get(at + 1..));
    match host {
        // else these digits are the end of an IPv6 address
        Some(host) if digits > 0 && (!host.contains(&b':') || host.ends_with(b"]")) => head,
        _ => aor,
    }
}

/// The ring. Each decision has a number, counted from 0 without gaps.
#[derive(Debug)]
pub(crate) struct Decisions {
    ring: Vec<Decision>,
    capacity: usize,
    made: u64,
    messages: Messages,
}

/// The messages that were judged, as long as there is room: so that another policy can be tried on
/// what came.
#[derive(Debug)]
struct Messages {
    bytes: Vec<u8>,
    capacity: usize,
    /// Where the next is written, counted without end.
    end: u64,
}

/// A message's place among [`Messages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    from: u64,
    length: usize,
}

impl Messages {
    fn new(capacity: usize) -> Self {
        Messages { bytes: Vec::new(), capacity: capacity.max(1), end: 0 }
    }

    /// In one piece: what does not fit before the end of the room begins anew.
    fn keep(&mut self, message: &[u8]) -> Option<Kept> {
        let (length, room) = (message.len(), self.capacity as u64);
        if length > self.capacity {
            return None;
        }
        let mut place = (self.end % room) as usize;
        if place + length > self.capacity {
            self.end += room - place as u64;
            place = 0;
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(self.capacity);
        }
        if self.bytes.len() < place + length {
            self.bytes.resize(place + length, 0);
        }
        self.bytes.get_mut(place..place + length)?.copy_from_slice(message);
        let kept = Kept { from: self.end, length };
        self.end += length as u64;
        Some(kept)
    }

    fn at(&self, kept: Kept) -> Option<&[u8]> {
        let room = self.capacity as u64;
        if self.end - kept.from > room {
            return None;
        }
        let place = (kept.from % room) as usize;
        self.bytes.get(place..place + kept.length)
    }
}

impl Decisions {
    pub(crate) fn new(capacity: usize, bytes: usize) -> Self {
        let messages = Messages::new(bytes);
        Decisions { ring: Vec::new(), capacity, made: 0, messages }
    }

    /// Other bounds. What was there is forgotten when one differs.
    pub(crate) fn configure(&mut self, capacity: usize, bytes: usize) {
        if (capacity, bytes.max(1)) != (self.capacity, self.messages.capacity) {
            *self = Decisions { made: self.made, ..Decisions::new(capacity, bytes) };
        }
    }

    /// A decision on a request. Where none are kept nothing is looked for.
    pub(crate) fn note(&mut self, at: Time, event: &Event, message: &Message<'_>) {
        if self.capacity == 0 {
            return;
        }
        let whose = match policy::METHODS[usize::from(event.method)] {
            "REGISTER" => message.to(),
            _ => message.from(),
        };
        let user_agent = message.value(HeaderName::UserAgent).unwrap_or_default();
        self.push(
            at,
            event,
            message.bytes(),
            [line_of(message), message.call_id(), whose.uri, user_agent],
        );
    }

    /// A decision on bytes that are no message.
    pub(crate) fn note_malformed(&mut self, at: Time, event: &Event, bytes: &[u8]) {
        let head = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
        let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next();
        self.push(at, event, bytes, [line.unwrap_or_default(), b"", b"", b""]);
    }

    fn push(&mut self, at: Time, event: &Event, bytes: &[u8], texts: [&[u8]; 4]) {
        let [line, call_id, uri, user_agent] = texts;
        let Some(place) = self.made.checked_rem(self.capacity as u64) else { return };
        let place = place as usize;
        self.made += 1;
        if place >= self.ring.len() {
            if self.ring.capacity() == 0 {
                self.ring.reserve_exact(self.capacity);
            }
            self.ring.push(Decision {
                at,
                event: event.clone(),
                line: ArrayVec::new(),
                call_id: ArrayVec::new(),
                uri: ArrayVec::new(),
                user_agent: ArrayVec::new(),
                message: None,
            });
        }
        let Some(decision) = self.ring.get_mut(place) else { return };
        let judged = event.grounds.as_ref().is_some_and(|grounds| grounds.judged);
        decision.message = if judged { self.messages.keep(bytes) } else { None };
        decision.at = at;
        decision.event = event.clone();
        keep(&mut decision.line, line);
        keep(&mut decision.call_id, call_id);
        keep(&mut decision.uri, uri);
        keep(&mut decision.user_agent, user_agent);
    }

    /// How many there were, ever: the number of the next.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Those that are kept with a number below `before`, the youngest first.
    pub(crate) fn before(&self, before: u64) -> impl Iterator<Item = (u64, &Decision)> {
        let kept = self.ring.len() as u64;
        let oldest = self.made - kept.min(self.made);
        // after a change of the bound those before it are gone
        let numbers = (oldest..before.min(self.made)).rev();
        numbers.map_while(|number| {
            let place = number.checked_rem(self.capacity as u64)?;
            Some((number, self.ring.get(place as usize)?))
        })
    }

    /// The whole message that was decided about, while it is kept.
    pub(crate) fn message(&self, decision: &Decision) -> Option<&[u8]> {
        self.messages.at(decision.message?)
    }

    /// Bytes of messages that are kept.
    pub(crate) fn bytes(&self) -> Table {
        let Messages { bytes, capacity, .. } = &self.messages;
        Table { entries: bytes.len(), capacity: *capacity, evictions: 0 }
    }

    pub(crate) fn table(&self) -> Table {
        Table {
            entries: self.ring.len(),
            capacity: self.capacity,
            evictions: self.made - (self.ring.len() as u64).min(self.made),
        }
    }
}

/// The first line of a message, without its end.
fn line_of<'a>(message: &Message<'a>) -> &'a [u8] {
    let end = message.headers().first().map_or(message.headers_end(), |header| header.line.start);
    let line = message.bytes().get(..usize::from(end)).unwrap_or_default();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn keep<const N: usize>(text: &mut ArrayVec<u8, N>, from: &[u8]) {
    text.clear();
    let fits = from.get(..N).unwrap_or(from);
    // it fits
    let _ = text.try_extend_from_slice(fits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aor_is_known_with_its_port_and_without() {
        let bare = |text: &'static str| std::str::from_utf8(without_port(text.as_bytes())).unwrap();
        assert_eq!(bare("6001@pbx.example.com:5060"), "6001@pbx.example.com");
        assert_eq!(bare("6001@[2001:db8::1]:5060"), "6001@[2001:db8::1]");
        for whole in
            ["6001@pbx.example.com", "6001@[2001:db8::1]", "a84b4c:1", "6001@pbx:", "", "1"]
        {
            assert_eq!(bare(whole), whole);
        }
    }
    use crate::Verdict;
    use policy::Reason;
    use std::time::Duration;
    use wire::{Flow, Limits, Side};

    fn event(method: u8) -> Event {
        let address = "192.0.2.1:5060".parse().unwrap();
        let flow = Flow::udp(address, address);
        Event::new(Side::Outside, flow, method, 0, Verdict::Forward, Reason::Clean)
    }

    fn noted(decisions: &mut Decisions, count: u64) {
        for n in 0..count {
            let at = Time::ZERO + Duration::from_secs(n);
            decisions.note_malformed(at, &event(15), b"junk\r\n");
        }
    }

    #[test]
    fn the_ring_keeps_the_last_ones_with_their_numbers() {
        let mut decisions = Decisions::new(4, 1_000);
        assert_eq!(decisions.before(u64::MAX).count(), 0);
        noted(&mut decisions, 10);
        let kept: Vec<_> = decisions.before(u64::MAX).map(|(number, it)| (number, it.at)).collect();
        let at = |n| Time::ZERO + Duration::from_secs(n);
        assert_eq!(kept, [(9, at(9)), (8, at(8)), (7, at(7)), (6, at(6))]);
        assert_eq!(decisions.before(8).map(|(number, _)| number).collect::<Vec<_>>(), [7, 6]);
        assert_eq!(decisions.before(3).count(), 0);
        let Table { entries, capacity, evictions } = decisions.table();
        assert_eq!((entries, capacity, evictions), (4, 4, 6));
    }

    #[test]
    fn another_bound_begins_anew_without_numbers_twice() {
        let mut decisions = Decisions::new(4, 1_000);
        noted(&mut decisions, 6);
        decisions.configure(4, 1_000);
        assert_eq!(decisions.before(u64::MAX).count(), 4);
        decisions.configure(3, 1_000);
        assert_eq!((decisions.before(u64::MAX).count(), decisions.made()), (0, 6));
        noted(&mut decisions, 1);
        assert_eq!(decisions.before(u64::MAX).map(|(number, _)| number).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn messages_are_kept_whole_as_long_as_there_is_room() {
        let mut messages = Messages::new(100);
        assert_eq!(messages.keep(&[0; 101]), None);
        let kept: Vec<_> = (0..5u8).map(|n| messages.keep(&[n; 30]).unwrap()).collect();
        let at = |n: usize| messages.at(kept[n]).map(<[u8]>::to_vec);
        // three of thirty fit before the end, the fourth begins anew
        assert_eq!((at(0), at(1)), (None, None));
        for n in 2..5u8 {
            assert_eq!(at(n.into()), Some(vec![n; 30]));
        }
        let mut small = Messages::new(30);
        for n in 0..100u8 {
            let kept = small.keep(&[n; 17]).unwrap();
            assert_eq!(small.at(kept), Some([n; 17].as_slice()));
        }
        assert_eq!(small.bytes.len(), 17);
    }

    #[test]
    fn texts_are_kept_as_far_as_they_fit() {
        let long = "x".repeat(300);
        let text = format!(
            "REGISTER sip:{long} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:{long}@pbx>\r\n\
             Call-ID: {long}\r\nCSeq: 1 REGISTER\r\nUser-Agent: phone\r\n\r\n"
        );
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let mut decisions = Decisions::new(4, 1_000);
        decisions.note(Time::ZERO, &event(11), &message);
        let (_, decision) = decisions.before(u64::MAX).next().unwrap();
        assert_eq!(decision.line.as_slice(), &text.as_bytes()[..96]);
        assert_eq!(decision.call_id.as_slice(), &long.as_bytes()[..64]);
        assert_eq!(decision.aor(), &long.as_bytes()[..64]);
        assert_eq!(decision.user_agent.as_slice(), b"phone");
        assert!(decision.names(long.as_bytes()) && !decision.names(b"phone"));
        assert!(!decision.names(b""));
    }
}
