//! What is remembered, and for how long.

use policy::{Rate, Time};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// Evidence that halves in its half-life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fading {
    sum: f64,
    at: Time,
}

impl Fading {
    /// What is left of it.
    pub fn value(&self, now: Time, half_life: Duration) -> f64 {
        let passed = now.since(self.at).as_secs_f64();
        self.sum * 0.5f64.powf(passed / half_life.as_secs_f64())
    }

    /// More of it; the sum.
    pub fn add(&mut self, now: Time, weight: f64, half_life: Duration) -> f64 {
        self.sum = self.value(now, half_life) + weight;
        self.at = now;
        self.sum
    }

    /// "Halved twice".
    pub fn quarter(&mut self) {
        self.sum /= 4.0;
    }
}

/// What an address was told, and nobody else, with the time where it grows old.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Values of `opaque`.
    pub opaques: HashMap<String, Time>,
    /// The edge's own nonces.
    pub own_nonces: HashMap<String, Time>,
    /// Call-IDs and user parts of Record-Routes.
    pub routes: HashSet<[String; 2]>,
    /// To-tags of answers to INVITEs that had none, with Call-ID and From-tag, and until when they
    /// are known.
    pub tags: HashMap<[String; 3], Time>,
    /// Those of the edge's own challenges among them.
    pub own_tags: HashSet<[String; 3]>,
}

impl Told {
    /// Whether that is the Route of a call of its.
    pub fn has(&self, route: &[String; 2]) -> bool {
        self.routes.contains(route)
    }
}

/// Which of the PBX's nonces were relayed to which address: for `nonce_memory` after each was told
/// or used last, and at most for twice that, when a whole generation of them is forgotten.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    young: HashSet<(IpAddr, String)>,
    old: HashSet<(IpAddr, String)>,
    turned: Time,
}

impl Relayed {
    pub fn insert(&mut self, now: Time, memory: Duration, to: IpAddr, nonce: &str) {
        self.turn(now, memory);
        self.young.insert((to, nonce.to_string()));
    }

    pub fn contains(&mut self, now: Time, memory: Duration, to: IpAddr, nonce: &str) -> bool {
        self.turn(now, memory);
        let one = (to, nonce.to_string());
        let known = self.young.contains(&one) || self.old.contains(&one);
        if known {
            self.young.insert(one);
        }
        known
    }

    fn turn(&mut self, now: Time, memory: Duration) {
        let passed = now.since(self.turned);
        if passed >= memory {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        if passed >= memory * 2 {
            self.old.clear();
        }
    }
}

/// The edge's clock in proofs, whose age is counted in these.
const TICK: u64 = 4;

/// Whether a proof that was made at `made` is at most `lifetime` old.
pub(super) fn is_fresh(now: Time, made: Time, lifetime: Duration) -> bool {
    (now.as_secs() / TICK - made.as_secs() / TICK) * TICK <= lifetime.as_secs()
}

/// A budget: `rate.count` in `rate.per`, `rate.burst` at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    /// When all that was spent is earned again.
    earned: Time,
}

impl Budget {
    /// Whether there was one more, which is spent.
    pub fn spend(&mut self, now: Time, rate: Rate) -> bool {
        let each = rate.per / rate.count;
        let earned = self.earned.max(now) + each;
        let enough = earned.since(now) <= each * rate.burst;
        if enough {
            self.earned = earned;
        }
        enough
    }
}

/// "A nonce of the PBX's that is younger than 15 s": the last of them, each at least 5 s younger
/// than the one before, and how the next is fetched.
#[derive(Debug, Default)]
pub(super) struct Offers {
    nonces: Vec<(String, Time)>,
    asked: Option<Time>,
    barren: Option<Time>,
}

/// How many are remembered.
const OFFERS: usize = 8;
const YOUNG: Duration = Duration::from_secs(15);
const GOOD: Duration = Duration::from_secs(30);
const PARTED: Duration = Duration::from_secs(5);
const OLD: Duration = Duration::from_secs(10);
const AWAITED: Duration = Duration::from_millis(400);
const BARREN: Duration = Duration::from_secs(60);

impl Offers {
    /// The PBX challenges somebody with it.
    pub fn learn(&mut self, now: Time, nonce: &str) {
        if self.nonces.last().is_none_or(|(_, at)| now.since(*at) >= PARTED) {
            self.nonces.push((nonce.to_string(), now));
            self.nonces.drain(..self.nonces.len().saturating_sub(OFFERS));
        }
    }

    /// "Credentials for it pass for 30 s": whether they do, if it is one of these.
    pub fn is_good(&self, now: Time, nonce: &str) -> Option<bool> {
        let found = self.nonces.iter().rev().find(|(offered, _)| offered == nonce);
        found.map(|(_, at)| now.since(*at) < GOOD)
    }

    fn has_young(&self, now: Time) -> bool {
        self.nonces.last().is_some_and(|(_, at)| now.since(*at) < YOUNG)
    }

    /// "The edge fetches one when it wants to challenge and the last is older than 10 s"; not for a
    /// minute after that brought nothing.
    pub fn may_ask(&self, now: Time) -> bool {
        let old = self.nonces.last().is_none_or(|(_, at)| now.since(*at) >= OLD);
        let lately = |at: Option<Time>| at.is_some_and(|at| now.since(at) < BARREN);
        old && !lately(self.asked) && !lately(self.barren)
    }

    /// The edge asks the PBX.
    pub fn ask(&mut self, now: Time) {
        self.asked = Some(now);
    }

    /// The PBX answers that.
    pub fn answered(&mut self, now: Time) {
        self.asked = None;
        self.barren = (!self.has_young(now)).then_some(now);
    }

    /// "A datagram that comes before the first answer is dropped, for at most 400 ms".
    pub fn is_awaited(&self, now: Time) -> bool {
        !self.has_young(now) && self.asked.is_some_and(|at| now.since(at) < AWAITED)
    }
}
