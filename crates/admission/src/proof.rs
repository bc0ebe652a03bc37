//! Proofs of a return path that need no memory: texts that only their receiver can echo.
//!
//! ```text
//! rf | o or n | base32( tick 2 | mac 10 )
//! ```
//!
//! `o` stands in front of the PBX's `opaque` in a relayed challenge, `n` is the nonce of the edge's
//! own challenge. The code binds the kind, the source address (not the port, which a NAT may
//! change) and the time, with a key of the day. Everything comes from the edge's secret, so shards
//! and restarts know each other's. The To-tag of that challenge is a branch of no transaction, whose
//! echo [`crate::BranchKey::is_proof`] knows.

use crate::base32;
use crate::key::{Key, MAC_BYTES, address_bytes, equal};
use arrayvec::ArrayVec;
use policy::Time;
use std::net::IpAddr;
use std::time::Duration;

/// Length of a proof's text.
pub(crate) const LENGTH: usize = MARK.len() + 1 + base32::digits(BYTES);
const MARK: &[u8; 2] = b"rf";
const BYTES: usize = 2 + MAC_BYTES;
/// Unit of the time in a text; 2¹⁶ of them are three days.
const TICK_SECONDS: u64 = 4;
const DAY_TICKS: u64 = 24 * 3_600 / TICK_SECONDS;

/// A proof's text.
pub(crate) type Text = ArrayVec<u8, 32>;

/// What an echo is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Its sender received it at this address, not longer ago than the lifetime.
    Fresh,
    /// The same, longer ago.
    Expired,
    /// It was not made here for this address, or days ago.
    NotOurs,
}

/// Makes and checks proofs.
#[derive(Clone, Debug)]
pub(crate) struct Proofs {
    key: Key,
    /// The day's key that was needed last: one serves nearly all.
    of_day: (u64, Key),
}

#[derive(Clone, Copy)]
enum Kind {
    Opaque = b'o' as isize,
    Nonce = b'n' as isize,
}

impl Proofs {
    /// From the edge's secret.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let key = Key::derive(secret, "proofs");
        Proofs { key, of_day: (0, key.of_day(0)) }
    }

    /// What stands in front of `opaque` in a challenge that is relayed to `source`.
    pub(crate) fn opaque(&mut self, now: Time, source: IpAddr) -> Text {
        self.make(Kind::Opaque, now, source)
    }

    /// Whether `opaque` begins with such a text for `source`.
    pub(crate) fn check_opaque(
        &mut self,
        now: Time,
        opaque: &[u8],
        source: IpAddr,
        lifetime: Duration,
    ) -> Echo {
        let text = opaque.get(..opaque_prefix(opaque)).unwrap_or_default();
        self.check(Kind::Opaque, now, text, source, lifetime)
    }

    /// A nonce of the edge's own for `source`.
    pub(crate) fn nonce(&mut self, now: Time, source: IpAddr) -> Text {
        self.make(Kind::Nonce, now, source)
    }

    /// Whether `nonce` is one of the edge's own for `source`.
    pub(crate) fn check_nonce(
        &mut self,
        now: Time,
        nonce: &[u8],
        source: IpAddr,
        lifetime: Duration,
    ) -> Echo {
        self.check(Kind::Nonce, now, nonce, source, lifetime)
    }

    fn make(&mut self, kind: Kind, now: Time, source: IpAddr) -> Text {
        let tick = now.as_secs() / TICK_SECONDS;
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&(tick as u16).to_be_bytes());
        bytes[2..].copy_from_slice(&self.mac(kind, tick, source));
        let mut digits = [0; base32::digits(BYTES)];
        base32::encode(&bytes, &mut digits);
        let mut text = Text::new();
        text.extend(MARK.iter().copied().chain([kind as u8]).chain(digits));
        text
    }

    fn check(
        &mut self,
        kind: Kind,
        now: Time,
        text: &[u8],
        source: IpAddr,
        lifetime: Duration,
    ) -> Echo {
        let Some([high, low, mac @ ..]) = parse(kind, text) else { return Echo::NotOurs };
        let tick = now.as_secs() / TICK_SECONDS;
        let age = u64::from((tick as u16).wrapping_sub(u16::from_be_bytes([high, low])));
        let Some(made) = tick.checked_sub(age) else { return Echo::NotOurs };
        if !equal(&self.mac(kind, made, source), &mac) {
            return Echo::NotOurs;
        }
        if age * TICK_SECONDS <= lifetime.as_secs() { Echo::Fresh } else { Echo::Expired }
    }

    fn mac(&mut self, kind: Kind, tick: u64, source: IpAddr) -> [u8; MAC_BYTES] {
        let key = self.of_day(tick / DAY_TICKS);
        key.mac(&[&[kind as u8], &tick.to_be_bytes(), &address_bytes(source)])
    }

    fn of_day(&mut self, day: u64) -> Key {
        if self.of_day.0 != day {
            self.of_day = (day, self.key.of_day(day));
        }
        self.of_day.1
    }
}

/// How many bytes at the front of an `opaque` are a text of ours by their form, whoever it was made
/// for: they are taken off before the PBX sees it.
pub(crate) fn opaque_prefix(opaque: &[u8]) -> usize {
    match opaque.get(..LENGTH) {
        Some(text) if parse(Kind::Opaque, text).is_some() => LENGTH,
        _ => 0,
    }
}

/// Whether `nonce` has the form of the edge's own, whoever it was made for and whenever.
pub(crate) fn is_own_nonce(nonce: &[u8]) -> bool {
    parse(Kind::Nonce, nonce).is_some()
}

fn parse(kind: Kind, text: &[u8]) -> Option<[u8; BYTES]> {
    let (letter, digits) = text.strip_prefix(MARK)?.split_first()?;
    let mut bytes = [0; BYTES];
    base32::decode(digits, &mut bytes)?;
    (*letter == kind as u8).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 2));
    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        // the tick in the text wraps within the tests' time
        Time::ZERO + Duration::from_secs((65_536 * 1_000 - 10) * TICK_SECONDS + seconds)
    }

    fn proofs() -> Proofs {
        Proofs::new(&[7; 32])
    }

    #[test]
    fn texts_are_short_and_plain() {
        for text in [proofs().opaque(at(0), A), proofs().nonce(at(0), A)] {
            assert_eq!(text.len(), 23);
            assert!(text.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
        }
    }

    #[test]
    fn an_echo_proves_its_own_address_for_its_lifetime() {
        let nonce = proofs().nonce(at(0), A);
        let check = |now, source| proofs().check_nonce(now, &nonce, source, MINUTE);
        assert_eq!(check(at(0), A), Echo::Fresh, "also by another instance of the same secret");
        assert_eq!(check(at(60), A), Echo::Fresh);
        assert_eq!(check(at(64), A), Echo::Expired);
        assert_eq!(check(at(2 * 24 * 3_600), A), Echo::Expired, "by a key of another day");
        assert_eq!(check(at(4 * 24 * 3_600), A), Echo::NotOurs);
        assert_eq!(check(at(0), B), Echo::NotOurs);
        assert_eq!(check(Time::ZERO, A), Echo::NotOurs, "from the future");
        let mut other = Proofs::new(&[8; 32]);
        assert_eq!(other.check_nonce(at(0), &nonce, A, MINUTE), Echo::NotOurs);
    }

    #[test]
    fn an_opaque_is_no_nonce() {
        let (opaque, nonce) = (proofs().opaque(at(0), A), proofs().nonce(at(0), A));
        assert_eq!(proofs().check_nonce(at(0), &opaque, A, MINUTE), Echo::NotOurs);
        assert_eq!(proofs().check_opaque(at(0), &nonce, A, MINUTE), Echo::NotOurs);
        let mut relabelled = opaque.clone();
        relabelled[2] = b'n';
        assert_eq!(proofs().check_nonce(at(0), &relabelled, A, MINUTE), Echo::NotOurs);
        assert!(is_own_nonce(&nonce) && !is_own_nonce(&opaque));
        assert!(!is_own_nonce(b"1700000000/0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn the_pbx_gets_its_opaque_back() {
        let mut opaque = proofs().opaque(at(0), A).to_vec();
        assert_eq!(opaque_prefix(&opaque), LENGTH, "an absent one was empty");
        opaque.extend(b"65c06f9b3b4b6fa9");
        assert_eq!(opaque_prefix(&opaque), LENGTH);
        assert_eq!(proofs().check_opaque(at(4), &opaque, A, MINUTE), Echo::Fresh);
        assert_eq!(proofs().check_opaque(at(4), &opaque, B, MINUTE), Echo::NotOurs);
        assert_eq!(opaque_prefix(&opaque), LENGTH, "a roamer's is taken off, too");
        let foreign: [&[u8]; 4] =
            [b"", b"65c06f9b3b4b6fa9", b"rfo0123", b"rfo012345678901234567zz"];
        for foreign in foreign {
            assert_eq!(opaque_prefix(foreign), 0);
            assert_eq!(proofs().check_opaque(at(4), foreign, A, MINUTE), Echo::NotOurs);
        }
    }

    #[test]
    fn any_changed_digit_fails() {
        let nonce = proofs().nonce(at(0), A);
        // the last digit holds four padding bits that are not read
        for place in 0..LENGTH - 1 {
            let mut changed = nonce.clone();
            changed[place] = if changed[place] == b'1' { b'2' } else { b'1' };
            assert_eq!(proofs().check_nonce(at(0), &changed, A, MINUTE), Echo::NotOurs, "{place}");
        }
    }
}
