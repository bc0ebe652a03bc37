//! What may go to a source whose address may be forged: no more bytes than came from it.

use admission::Key;
use policy::Time;
use std::net::IpAddr;

/// Places of the table of stateless credits.
const PLACES: usize = 1 << 14;
/// Seconds after which what a place holds is forgotten.
const EPOCH: u64 = 64;

/// How many times its length must be paid for before a provisional response goes out: the client
/// stops repeating its INVITE then, and the final response must be payable, too.
const PROVISIONAL: usize = 3;

/// Bytes that may still go to the sender of one request; without a bound when its source is
/// proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credit(Option<usize>);

impl Credit {
    pub(crate) const FREE: Credit = Credit(None);

    pub(crate) fn of(bytes: usize) -> Self {
        Credit(Some(bytes))
    }

    pub(crate) fn is_bounded(self) -> bool {
        self.0.is_some()
    }

    /// A repeated request pays for more.
    pub(crate) fn pay(&mut self, bytes: usize) {
        if let Some(left) = &mut self.0 {
            *left = left.saturating_add(bytes);
        }
    }

    /// Whether a response of this length may be sent.
    pub(crate) fn covers(self, bytes: usize, provisional: bool) -> bool {
        let needed = if provisional { bytes.saturating_mul(PROVISIONAL) } else { bytes };
        self.0.is_none_or(|left| needed <= left)
    }

    /// It was sent.
    pub(crate) fn spend(&mut self, bytes: usize) {
        if let Some(left) = &mut self.0 {
            *left = left.saturating_sub(bytes);
        }
    }
}

/// Credits of stateless answers, by a hash of the source. Sources that share a place share what
/// they paid: never more goes out than came in.
#[derive(Debug)]
pub(crate) struct Credits {
    key: Key,
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    epoch: u16,
    bytes: u16,
}

impl Credits {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let places = vec![Place::default(); PLACES].into_boxed_slice();
        Credits { key: Key::derive(secret, "credits"), places }
    }

    /// Whether an answer of `answer` bytes may go to a source that sent `request` bytes; what is
    /// left is kept for its next request.
    pub(crate) fn try_spend(
        &mut self,
        now: Time,
        source: IpAddr,
        request: usize,
        answer: usize,
    ) -> bool {
        let hash = self.key.hash(&[&admission::key::address_bytes(source)]);
        let epoch = (now.as_secs() / EPOCH) as u16;
        let Some(place) = self.places.get_mut(hash as usize % PLACES) else { return false };
        if place.epoch != epoch {
            *place = Place { epoch, bytes: 0 };
        }
        let paid = usize::from(place.bytes) + request;
        let (left, may) = match paid.checked_sub(answer) {
            Some(left) => (left, true),
            None => (paid, false),
        };
        place.bytes = u16::try_from(left).unwrap_or(u16::MAX);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 2));

    #[test]
    fn an_answer_waits_until_it_is_paid_for() {
        let mut credits = Credits::new(&[1; 32]);
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        assert!(credits.try_spend(now, SOURCE, 400, 400));
        assert!(!credits.try_spend(now, SOURCE, 400, 500));
        assert!(!credits.try_spend(now, OTHER, 400, 500), "each pays for itself");
        assert!(credits.try_spend(now, SOURCE, 400, 500));
        assert!(credits.try_spend(now, SOURCE, 400, 700), "300 were left");
        assert!(!credits.try_spend(now, SOURCE, 400, 401));
    }

    #[test]
    fn credit_is_forgotten() {
        let mut credits = Credits::new(&[1; 32]);
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        assert!(!credits.try_spend(now, SOURCE, 400, 500));
        let later = now + Duration::from_secs(EPOCH);
        assert!(!credits.try_spend(later, SOURCE, 400, 500));
    }

    #[test]
    fn a_provisional_response_leaves_room_for_the_final_one() {
        let mut credit = Credit::of(1_000);
        assert!(credit.covers(1_000, false) && !credit.covers(400, true));
        credit.pay(500);
        assert!(credit.covers(400, true));
        credit.spend(400);
        assert_eq!(credit, Credit::of(1_100));
        assert!(Credit::FREE.covers(usize::MAX, true));
    }
}
