//! Nonces of the PBX that the edge's own challenge offers, so that the first credentials are good
//! there and the client meets one challenge only.

use arrayvec::ArrayVec;
use policy::Time;
use std::time::Duration;

/// Longest nonce that is taken up.
const NONCE_BYTES_MAX: usize = 128;
/// Nonces remembered. Each is the newest for at least [`RENEWED`]: the oldest is 40 s old.
const OFFERS_MAX: usize = 8;
/// How old a nonce must be before another takes its place.
const RENEWED: Duration = Duration::from_secs(5);
/// How old one may be to be offered: Asterisk's are good for 32 s, of which the client gets half.
const OFFERED: Duration = Duration::from_secs(15);
/// How old one may be to be taken back: what is older the PBX would refuse.
const TAKEN: Duration = Duration::from_secs(30);
/// From when on another is fetched while challenges are wanted.
const FETCHED: Duration = Duration::from_secs(10);
/// How long a probe's answer is waited for: less than T1, so that no request is dropped twice.
const ANSWERED: Duration = Duration::from_millis(400);
/// How long a probe that brought nothing is not repeated.
const BARREN: Duration = Duration::from_secs(60);

/// What a nonce that came back is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The PBX takes it.
    Fresh,
    /// It was one.
    Expired,
    /// It is none of these.
    Unknown,
}

/// The latest nonces, and the probe that fetches the next.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// The newest is the last.
    nonces: ArrayVec<Offer, OFFERS_MAX>,
    /// A probe that was not answered.
    probed: Option<Time>,
    /// A probe was answered and brought no nonce.
    barren: Option<Time>,
}

#[derive(Debug)]
struct Offer {
    nonce: ArrayVec<u8, NONCE_BYTES_MAX>,
    learned: Time,
}

impl Offers {
    /// The PBX challenges with `nonce`.
    pub(crate) fn learn(&mut self, now: Time, nonce: &[u8]) {
        let renewed = self.nonces.last().is_none_or(|last| now.since(last.learned) >= RENEWED);
        let plain = |byte: &u8| (b' '..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
        if !renewed || nonce.is_empty() || !nonce.iter().all(plain) {
            return;
        }
        let Ok(nonce) = ArrayVec::try_from(nonce) else { return };
        if self.nonces.is_full() {
            self.nonces.remove(0);
        }
        self.nonces.push(Offer { nonce, learned: now });
    }

    /// They are good no more.
    pub(crate) fn forget(&mut self) {
        self.nonces.clear();
    }

    /// What to offer now.
    pub(crate) fn offer(&self, now: Time) -> Option<&[u8]> {
        let last = self.nonces.last()?;
        (now.since(last.learned) < OFFERED).then_some(&last.nonce)
    }

    /// What a nonce that came back is.
    pub(crate) fn check(&self, now: Time, nonce: &[u8]) -> Offered {
        match self.nonces.iter().rev().find(|offer| *offer.nonce == *nonce) {
            Some(offer) if now.since(offer.learned) < TAKEN => Offered::Fresh,
            Some(_) => Offered::Expired,
            None => Offered::Unknown,
        }
    }

    /// Whether a probe should go out, as a challenge is wanted.
    pub(crate) fn wants_probe(&self, now: Time) -> bool {
        let aged = self.nonces.last().is_none_or(|last| now.since(last.learned) >= FETCHED);
        let asked = self.probed.is_some_and(|at| now.since(at) < BARREN);
        aged && !asked && !self.is_barren(now)
    }

    /// Whether probes bring nothing.
    pub(crate) fn is_barren(&self, now: Time) -> bool {
        self.barren.is_some_and(|since| now.since(since) < BARREN)
            || self.probed.is_some_and(|at| (ANSWERED..BARREN).contains(&now.since(at)))
    }

    /// A probe goes out.
    pub(crate) fn on_probe(&mut self, now: Time) {
        self.probed = Some(now);
    }

    /// A probe was answered; what its answer taught is known.
    pub(crate) fn on_probed(&mut self, now: Time) {
        self.probed = None;
        self.barren = self.offer(now).is_none().then_some(now);
    }

    /// Whether a nonce will be here before a client asks again.
    pub(crate) fn is_awaited(&self, now: Time) -> bool {
        self.offer(now).is_none() && self.probed.is_some_and(|at| now.since(at) < ANSWERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_nonce_is_offered_for_a_while_and_taken_back_for_longer() {
        let mut offers = Offers::default();
        assert_eq!((offers.offer(at(0)), offers.check(at(0), b"n1")), (None, Offered::Unknown));
        offers.learn(at(0), b"n1");
        offers.learn(at(4_999), b"n2");
        assert_eq!(offers.offer(at(14_999)), Some(&b"n1"[..]), "one in five seconds");
        assert_eq!(offers.offer(at(15_000)), None);
        offers.learn(at(15_000), b"n3");
        assert_eq!(offers.offer(at(15_000)), Some(&b"n3"[..]));
        assert_eq!(offers.check(at(29_999), b"n1"), Offered::Fresh);
        assert_eq!(offers.check(at(30_000), b"n1"), Offered::Expired);
        assert_eq!(offers.check(at(30_000), b"n2"), Offered::Unknown);
    }

    #[test]
    fn what_stands_in_no_quoted_string_is_left_and_the_oldest_go() {
        let mut offers = Offers::default();
        for nonce in [&b""[..], b"a\"b", b"a\\b", b"a\nb", b"\xff", &[b'n'; 129]] {
            offers.learn(at(0), nonce);
            assert_eq!(offers.offer(at(0)), None, "{nonce:?}");
        }
        for n in 0..100u64 {
            offers.learn(at(n * 5_000), n.to_string().as_bytes());
        }
        assert_eq!(offers.nonces.len(), OFFERS_MAX);
        assert_eq!(offers.check(at(500_000), b"99"), Offered::Fresh);
        assert_eq!(offers.check(at(500_000), b"92"), Offered::Expired);
        assert_eq!(offers.check(at(500_000), b"91"), Offered::Unknown);
    }

    #[test]
    fn a_probe_is_awaited_until_it_is_known_to_bring_nothing() {
        let mut offers = Offers::default();
        assert!(offers.wants_probe(at(0)) && !offers.is_awaited(at(0)));
        offers.on_probe(at(0));
        assert!(!offers.wants_probe(at(0)) && offers.is_awaited(at(399)));
        assert!(!offers.is_awaited(at(400)) && offers.is_barren(at(400)), "nobody answers");
        assert!(!offers.wants_probe(at(59_999)));
        assert!(offers.wants_probe(at(60_000)));
        offers.on_probe(at(60_000));
        offers.learn(at(60_010), b"n1");
        offers.on_probed(at(60_010));
        assert!(!offers.is_awaited(at(60_010)) && !offers.wants_probe(at(70_009)));
        assert!(offers.wants_probe(at(70_010)));
        offers.on_probe(at(70_010));
        assert!(!offers.is_awaited(at(70_010)), "the old one is good still");
        offers.on_probed(at(76_000));
        assert!(!offers.wants_probe(at(76_000)) && offers.is_barren(at(76_000)), "a 200, say");
        assert!(offers.wants_probe(at(136_000)));
    }
}
