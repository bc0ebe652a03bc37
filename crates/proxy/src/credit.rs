//! What may go to sources whose address may be forged: no more bytes than came from them.

use admission::Key;
use policy::Time;
use std::net::IpAddr;

/// Places of the table.
const PLACES: usize = 1 << 14;
/// Seconds after which what a place holds is forgotten. Callers that come back every five minutes
/// and never repeat a request are answered the second time.
const EPOCH: u64 = 1_024;

/// How many times its length must be paid for before a provisional response goes out: the client
/// stops repeating its INVITE then, and the final response must be payable, too.
const PROVISIONAL: usize = 3;

/// Bytes that sources sent and that were not yet spent on answers, by a hash of the source: a
/// fixed table. Sources that share a place share what they paid, so all together never get more
/// than all together sent.
#[derive(Debug)]
pub(crate) struct Credits {
    seats: Seats,
    places: Box<[Place]>,
}

/// Which place a source has. Public for whoever checks from outside that no more bytes leave than
/// came: it holds for a place.
#[derive(Clone, Debug)]
pub struct Seats(Key);

impl Seats {
    /// As the engines of an edge with this secret have them.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Seats(Key::derive(secret, "credits"))
    }

    /// The number of a source's place.
    #[must_use]
    pub fn of(&self, source: IpAddr) -> usize {
        let address = u128::from_be_bytes(admission::key::address_bytes(source));
        self.0.mix((address >> 64) as u64, address as u64) as usize % PLACES
    }
}

/// Who pays: the place that a source has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payer(usize);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    epoch: u16,
    bytes: u16,
}

impl Credits {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let places = vec![Place::default(); PLACES].into_boxed_slice();
        Credits { seats: Seats::new(secret), places }
    }

    /// Who pays for what goes to a source.
    pub(crate) fn payer(&self, source: IpAddr) -> Payer {
        Payer(self.seats.of(source))
    }

    /// A request came.
    pub(crate) fn pay(&mut self, now: Time, payer: Payer, bytes: usize) {
        let place = self.place(now, payer);
        let bytes = usize::from(place.bytes).saturating_add(bytes);
        place.bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
    }

    /// Whether a response of this length may be sent.
    pub(crate) fn covers(
        &mut self,
        now: Time,
        payer: Payer,
        bytes: usize,
        provisional: bool,
    ) -> bool {
        let needed = if provisional { bytes.saturating_mul(PROVISIONAL) } else { bytes };
        needed <= usize::from(self.place(now, payer).bytes)
    }

    /// It was sent.
    pub(crate) fn spend(&mut self, now: Time, payer: Payer, bytes: usize) {
        let place = self.place(now, payer);
        place.bytes = place.bytes.saturating_sub(u16::try_from(bytes).unwrap_or(u16::MAX));
    }

    fn place(&mut self, now: Time, Payer(place): Payer) -> &mut Place {
        let epoch = (now.as_secs() / EPOCH) as u16;
        let place = &mut self.places[place];
        if place.epoch != epoch {
            *place = Place { epoch, bytes: 0 };
        }
        place
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
        let (source, other) = (credits.payer(SOURCE), credits.payer(OTHER));
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        credits.pay(now, source, 400);
        assert!(credits.covers(now, source, 400, false));
        assert!(!credits.covers(now, source, 401, false));
        assert!(!credits.covers(now, other, 1, false), "each pays for itself");
        credits.pay(now, source, 400);
        credits.spend(now, source, 500);
        assert!(
            credits.covers(now, source, 300, false) && !credits.covers(now, source, 301, false)
        );
        credits.spend(now, source, 70_000);
        assert!(!credits.covers(now, source, 1, false));
        credits.pay(now, source, 70_000);
        assert!(credits.covers(now, source, 65_535, false));
    }

    #[test]
    fn credit_is_forgotten() {
        let mut credits = Credits::new(&[1; 32]);
        let source = credits.payer(SOURCE);
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        credits.pay(now, source, 400);
        let later = now + Duration::from_secs(EPOCH);
        assert!(!credits.covers(later, source, 400, false));
    }

    #[test]
    fn a_provisional_response_leaves_room_for_the_final_one() {
        let mut credits = Credits::new(&[1; 32]);
        let source = credits.payer(SOURCE);
        let now = Time::ZERO + Duration::from_secs(1_000_000);
        credits.pay(now, source, 1_000);
        assert!(!credits.covers(now, source, 400, true));
        credits.pay(now, source, 200);
        assert!(credits.covers(now, source, 400, true));
    }
}
