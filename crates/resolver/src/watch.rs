//! Which name is asked again when, and what its answers change.

use crate::question::Failure;
use crate::settings::Settings;
use crate::walk::Resolved;
use crate::wanted::Target;
use policy::Time;
use std::net::IpAddr;
use std::time::Duration;

/// Longest time between two tries of a name whose questions fail.
const RETRY_MOST: Duration = Duration::from_secs(30);

/// The names that matter, each with what it stands for. Pure: whoever drives it asks the DNS about
/// [`Watch::poll_due`] and tells what came ([`Watch::handle_answer`]).
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    names: Vec<Watched>,
    counts: Counts,
}

#[derive(Debug)]
struct Watched {
    host: Box<str>,
    /// Next question; [`Time::FOREVER`] while one is under way.
    due: Time,
    failures: u32,
    state: State,
    /// [`Time::FOREVER`]: its name says so now.
    addresses: Vec<(IpAddr, Time)>,
    targets: Vec<Target>,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    #[default]
    Unknown,
    /// What the DNS said last.
    Current,
    /// What it said before its questions failed.
    Stale,
    /// The DNS says that it has no address.
    Empty,
    /// What it stood for in an earlier life; it has not been answered yet.
    Recalled,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] =
        [State::Unknown, State::Current, State::Stale, State::Empty, State::Recalled];

    /// Label for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Current => "current",
            State::Stale => "stale",
            State::Empty => "empty",
            State::Recalled => "recalled",
        }
    }
}

/// A name's addresses are others than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub host: Box<str>,
    /// New ones.
    pub joined: Vec<IpAddr>,
    /// Those that the name has left now; they stay good for [`Settings::grace`].
    pub left: Vec<IpAddr>,
    /// All that are good for it, and until when; [`Time::FOREVER`]: until the next change.
    pub addresses: Vec<(IpAddr, Time)>,
}

/// What a name stood for, for another life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The name.
    pub host: Box<str>,
    /// When the DNS last said so.
    pub at: Time,
    /// All that are good for it, and until when; [`Time::FOREVER`]: until the next change.
    pub addresses: Vec<(IpAddr, Time)>,
    /// In their order.
    pub targets: Vec<Target>,
}

/// Sizes and sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Addresses of all names, those in grace included.
    pub addresses: usize,
    /// Names by [`State`].
    pub names: [usize; State::ALL.len()],
    /// Addresses that were left out for [`Settings::addresses`], ever.
    pub left_out: u64,
    /// [`Change`]s, ever.
    pub changes: u64,
}

impl Watch {
    /// Nothing to watch yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Watch { settings, names: Vec::new(), counts: Counts::default() }
    }

    /// From now on these names, at most [`Settings::names`], by these settings. What is known of
    /// one that stays is kept; a new one is due at once.
    pub fn configure<'h>(
        &mut self,
        now: Time,
        settings: Settings,
        hosts: impl Iterator<Item = &'h str>,
    ) {
        let mut old = std::mem::take(&mut self.names);
        for host in hosts.take(settings.names) {
            let known = old.iter().position(|watched| *watched.host == *host);
            match known.map(|at| old.swap_remove(at)) {
                Some(known) => self.names.push(known),
                None if self.names.iter().any(|watched| *watched.host == *host) => {}
                None => self.names.push(Watched::new(now, host)),
            }
        }
        self.settings = settings;
    }

    /// What a name stood for in an earlier life is good until it is answered, and for
    /// [`Settings::recall`] at most: what changes by it. Of one that has been answered nothing does.
    pub fn recall(&mut self, now: Time, standing: &Standing) -> Option<Change> {
        let until = standing.at + self.settings.recall;
        let watched = self.names.iter_mut().find(|watched| watched.host == standing.host)?;
        if watched.state != State::Unknown || until <= now {
            return None;
        }
        let addresses = standing.addresses.iter().map(|(ip, good)| (*ip, until.min(*good)));
        let addresses = addresses.filter(|(_, until)| *until > now).take(self.settings.addresses);
        watched.addresses = addresses.collect();
        watched.targets.clone_from(&standing.targets);
        watched.state = State::Recalled;
        self.counts.changes += 1;
        let joined = watched.addresses.iter().map(|(ip, _)| *ip).collect();
        let (host, addresses) = (watched.host.clone(), watched.addresses.clone());
        Some(Change { host, joined, left: Vec::new(), addresses })
    }

    /// What a name stands for by its last whole answer, to be recalled by another life.
    #[must_use]
    pub fn standing(&self, now: Time, host: &str) -> Option<Standing> {
        let watched = self.names.iter().find(|watched| *watched.host == *host)?;
        (watched.state == State::Current).then(|| Standing {
            host: watched.host.clone(),
            at: now,
            addresses: watched.addresses.clone(),
            targets: watched.targets.clone(),
        })
    }

    /// A name that is due, with the word that it is being asked about.
    pub fn poll_due(&mut self, now: Time) -> Option<Box<str>> {
        let watched = self.names.iter_mut().find(|watched| watched.due <= now)?;
        watched.due = Time::FOREVER;
        Some(watched.host.clone())
    }

    /// When the next name is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let due = self.names.iter().map(|watched| watched.due).min();
        due.filter(|due| *due < Time::FOREVER)
    }

    /// What came of a name that was due: what changes by it. An answer about a name that is not
    /// watched any more changes nothing.
    pub fn handle_answer(
        &mut self,
        now: Time,
        host: &str,
        answer: Result<Resolved, Failure>,
    ) -> Option<Change> {
        let watched = self.names.iter_mut().find(|watched| *watched.host == *host)?;
        let Ok(resolved) = answer else {
            watched.due = now + watched.backoff(&self.settings);
            if watched.state != State::Unknown {
                watched.state = State::Stale;
            }
            return None;
        };
        let lifetime = self.settings.lifetime(resolved.ttl);
        if resolved.stale.is_some() {
            watched.due = now + watched.backoff(&self.settings).min(lifetime);
        } else {
            watched.failures = 0;
            watched.due = now + lifetime;
        }
        let (change, left_out) = watched.learn(now, &self.settings, resolved);
        self.counts.left_out += left_out;
        self.counts.changes += u64::from(change.is_some());
        change
    }

    /// What is known of a name.
    #[must_use]
    pub fn state(&self, host: &str) -> Option<State> {
        self.names.iter().find(|watched| *watched.host == *host).map(|watched| watched.state)
    }

    /// Whether the last questions about a name failed, all or some.
    #[must_use]
    pub fn is_failing(&self, host: &str) -> bool {
        let watched = self.names.iter().find(|watched| *watched.host == *host);
        watched.is_some_and(|it| it.state == State::Stale || it.failures > 0)
    }

    /// A name's targets, in their order, as they were last answered.
    #[must_use]
    pub fn targets(&self, host: &str) -> &[Target] {
        let watched = self.names.iter().find(|watched| *watched.host == *host);
        watched.map(|watched| &*watched.targets).unwrap_or_default()
    }

    /// Sizes and sums.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        for watched in &self.names {
            counts.addresses += watched.addresses.len();
            counts.names[watched.state as usize] += 1;
        }
        counts
    }
}

impl Watched {
    fn new(now: Time, host: &str) -> Self {
        Watched {
            host: host.into(),
            due: now,
            failures: 0,
            state: State::Unknown,
            addresses: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// A question failed: how long until the next try, longer each time.
    fn backoff(&mut self, settings: &Settings) -> Duration {
        let wait = settings.ttl_least.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        wait.min(RETRY_MOST.max(settings.ttl_least))
    }

    /// What changes, and how many addresses found no place.
    fn learn(
        &mut self,
        now: Time,
        settings: &Settings,
        resolved: Resolved,
    ) -> (Option<Change>, u64) {
        let mut named: Vec<IpAddr> = Vec::new();
        for target in &resolved.targets {
            let ip = target.address.ip();
            if !named.contains(&ip) {
                named.push(ip);
            }
        }
        // of too many those that are known stay, or a rotating answer would change without end
        let known = |ip: &IpAddr| self.addresses.iter().any(|(old, _)| old == ip);
        named.sort_by_key(|ip| !known(ip));
        let left_out = named.len().saturating_sub(settings.addresses) as u64;
        named.truncate(settings.addresses);

        let current = |until: &Time| *until == Time::FOREVER;
        let old = self.addresses.iter();
        let was: Vec<IpAddr> = old.filter(|(_, until)| current(until)).map(|(ip, _)| *ip).collect();
        let joined: Vec<IpAddr> = named.iter().copied().filter(|ip| !was.contains(ip)).collect();
        let left: Vec<IpAddr> = was.into_iter().filter(|ip| !named.contains(ip)).collect();
        let in_grace = self.addresses.iter().filter(|(ip, _)| !named.contains(ip));
        let in_grace = in_grace
            // what was recalled is good for longer only until its name says something
            .map(|(ip, until)| (*ip, (*until).min(now + settings.grace)))
            .filter(|(_, until)| *until > now);
        let named = named.iter().map(|ip| (*ip, Time::FOREVER));
        let addresses: Vec<_> = named.chain(in_grace).take(settings.addresses).collect();

        self.state = match (&resolved.stale, resolved.targets.is_empty()) {
            (Some(_), _) => State::Stale,
            (None, true) => State::Empty,
            (None, false) => State::Current,
        };
        self.targets = resolved.targets;
        self.addresses.clone_from(&addresses);
        let changed = !joined.is_empty() || !left.is_empty();
        let change = Change { host: self.host.clone(), joined, left, addresses };
        (changed.then_some(change), left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Rank;
    use std::net::SocketAddr;
    use wire::Transport;

    const NAME: &str = "sip.carrier.example";

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(1_000 + seconds)
    }

    fn ip(n: u8) -> IpAddr {
        [198, 51, 100, n].into()
    }

    fn says(addresses: &[u8], ttl: u64) -> Result<Resolved, Failure> {
        let target = |n: &u8| Target {
            transport: Transport::Udp,
            address: SocketAddr::new(ip(*n), 5060),
            rank: Rank::default(),
        };
        let targets = addresses.iter().map(target).collect();
        Ok(Resolved { targets, ttl: Duration::from_secs(ttl), stale: None })
    }

    fn settings() -> Settings {
        Settings { addresses: 4, names: 2, grace: Duration::from_secs(600), ..Settings::default() }
    }

    fn watch() -> Watch {
        let mut watch = Watch::new(settings());
        watch.configure(at(0), settings(), [NAME].into_iter());
        watch
    }

    /// Lets the name be due, and answers.
    fn answer(watch: &mut Watch, now: Time, says: Result<Resolved, Failure>) -> Option<Change> {
        assert_eq!(watch.poll_due(now).as_deref(), Some(NAME));
        assert_eq!(watch.poll_due(now), None, "it is being asked about");
        assert_eq!(watch.poll_timeout(), None);
        watch.handle_answer(now, NAME, says)
    }

    #[test]
    fn a_name_is_asked_again_when_its_ttl_ends() {
        let mut watch = watch();
        assert_eq!(watch.poll_timeout(), Some(at(0)));
        let change = answer(&mut watch, at(0), says(&[1, 2], 60)).unwrap();
        assert_eq!((change.joined, change.left), (vec![ip(1), ip(2)], vec![]));
        assert_eq!(watch.poll_timeout(), Some(at(60)));
        assert_eq!(watch.poll_due(at(59)), None);
        assert_eq!(answer(&mut watch, at(60), says(&[2, 1], 60)), None, "the order is no change");
        assert_eq!(answer(&mut watch, at(120), says(&[2, 1], 0)), None);
        assert_eq!(watch.poll_timeout(), Some(at(121)), "no TTL is shorter than the least");
        assert_eq!(answer(&mut watch, at(121), says(&[2, 1], 1 << 31)), None);
        assert_eq!(watch.poll_timeout(), Some(at(121 + 3_600)), "and none longer than the most");
    }

    #[test]
    fn an_address_that_is_left_stays_good_for_a_while() {
        let mut watch = watch();
        answer(&mut watch, at(0), says(&[1], 60)).unwrap();
        let change = answer(&mut watch, at(60), says(&[2], 60)).unwrap();
        assert_eq!((change.joined, change.left), (vec![ip(2)], vec![ip(1)]));
        assert_eq!(change.addresses, [(ip(2), Time::FOREVER), (ip(1), at(660))]);
        let change = answer(&mut watch, at(120), says(&[3], 60)).unwrap();
        assert_eq!(
            change.addresses,
            [(ip(3), Time::FOREVER), (ip(2), at(720)), (ip(1), at(660))],
            "grace is counted from when it was left"
        );
        let change = answer(&mut watch, at(700), says(&[1], 60)).unwrap();
        assert_eq!(
            change.addresses,
            [(ip(1), Time::FOREVER), (ip(3), at(1_300)), (ip(2), at(720))]
        );
    }

    #[test]
    fn who_fails_keeps_what_was_good() {
        let mut watch = watch();
        answer(&mut watch, at(0), says(&[1], 60)).unwrap();
        let mut now = at(60);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(answer(&mut watch, now, Err(Failure::Timeout)), None);
            let due = watch.poll_timeout().unwrap();
            waits.push(due.since(now).as_secs());
            now = due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(watch.state(NAME), Some(State::Stale));
        assert_eq!(watch.counts().addresses, 1);
        assert_eq!(answer(&mut watch, now, says(&[1], 60)), None, "nothing has changed");
        assert_eq!(watch.state(NAME), Some(State::Current));
    }

    #[test]
    fn an_answer_from_memory_is_soon_asked_for_again() {
        let mut watch = watch();
        answer(&mut watch, at(0), says(&[1], 60)).unwrap();
        let stale = || {
            let answer = says(&[1], 30).unwrap();
            Ok(Resolved { stale: Some(Failure::Timeout), ..answer })
        };
        assert_eq!(answer(&mut watch, at(60), stale()), None);
        assert_eq!(watch.state(NAME), Some(State::Stale));
        assert_eq!(watch.poll_timeout(), Some(at(61)));
        assert_eq!(answer(&mut watch, at(61), stale()), None);
        assert_eq!(watch.poll_timeout(), Some(at(63)));
        assert!(watch.is_failing(NAME));
        assert_eq!(answer(&mut watch, at(63), says(&[1], 60)), None);
        assert_eq!((watch.is_failing(NAME), watch.poll_timeout()), (false, Some(at(123))));
    }

    #[test]
    fn a_name_that_is_gone_loses_its_addresses_after_grace() {
        let mut watch = watch();
        answer(&mut watch, at(0), says(&[1], 60)).unwrap();
        let change = answer(&mut watch, at(60), says(&[], 60)).unwrap();
        assert_eq!(change.addresses, [(ip(1), at(660))]);
        assert_eq!(watch.state(NAME), Some(State::Empty));
        answer(&mut watch, at(700), says(&[], 60));
        assert_eq!(watch.counts().addresses, 0);
    }

    fn standing(at: Time, addresses: &[(u8, Time)]) -> Standing {
        let known: Vec<u8> = addresses.iter().map(|(n, _)| *n).collect();
        let addresses = addresses.iter().map(|(n, until)| (ip(*n), *until)).collect();
        let targets = says(&known, 0).unwrap().targets;
        Standing { host: NAME.into(), at, addresses, targets }
    }

    #[test]
    fn what_an_earlier_life_knew_is_good_until_the_first_answer() {
        let mut before = watch();
        answer(&mut before, at(0), says(&[1], 60)).unwrap();
        answer(&mut before, at(60), says(&[2, 3], 60)).unwrap();
        let known = before.standing(at(60), NAME).unwrap();
        assert_eq!(
            known.addresses,
            [(ip(2), Time::FOREVER), (ip(3), Time::FOREVER), (ip(1), at(660))]
        );
        assert_eq!((known.at, known.targets.len()), (at(60), 2));

        let recall = Duration::from_secs(3 * 86_400);
        let mut watch = watch();
        let change = watch.recall(at(100), &known).unwrap();
        let end = at(60) + recall;
        assert_eq!(change.addresses, [(ip(2), end), (ip(3), end), (ip(1), at(660))]);
        assert_eq!(watch.targets(NAME).len(), 2);
        assert_eq!((watch.state(NAME), watch.is_failing(NAME)), (Some(State::Recalled), false));
        assert_eq!(watch.poll_timeout(), Some(at(0)), "it is asked about at once all the same");
        assert_eq!(watch.standing(at(100), NAME), None, "what is recalled grows no younger");
        // the name server is gone
        assert_eq!(answer(&mut watch, at(100), Err(Failure::Timeout)), None);
        assert_eq!((watch.state(NAME), watch.is_failing(NAME)), (Some(State::Stale), true));
        assert_eq!(watch.recall(at(101), &known), None, "once");
        // it is back: whom the name has left has the usual grace
        let change = answer(&mut watch, at(101), says(&[3, 4], 60)).unwrap();
        assert_eq!(
            change.addresses,
            [(ip(3), Time::FOREVER), (ip(4), Time::FOREVER), (ip(2), at(701)), (ip(1), at(660))]
        );
        assert_eq!(watch.recall(at(102), &known), None, "the DNS knows better");
    }

    #[test]
    fn what_is_too_old_is_not_recalled() {
        let day = |n: u64| at(0) + Duration::from_secs(n * 86_400);
        let mut watch = watch();
        let known = standing(at(0), &[(1, Time::FOREVER)]);
        assert_eq!(watch.recall(day(3), &known), None);
        assert_eq!(watch.state(NAME), Some(State::Unknown));
        assert!(watch.recall(day(2), &known).is_some());
        let mut off = Watch::new(settings());
        let none = Settings { recall: Duration::ZERO, ..settings() };
        off.configure(at(0), none, [NAME].into_iter());
        assert_eq!(off.recall(at(0), &known), None);
    }

    #[test]
    fn names_and_addresses_are_bounded_and_a_large_set_stays_as_it_is() {
        let mut watch = Watch::new(settings());
        watch.configure(at(0), settings(), ["a.example", NAME, "c.example"].into_iter());
        assert_eq!(watch.counts().names.iter().sum::<usize>(), 2);
        watch.configure(at(0), settings(), [NAME].into_iter());
        let change = answer(&mut watch, at(0), says(&[1, 2, 3, 4, 5, 6], 60)).unwrap();
        assert_eq!(change.joined, [ip(1), ip(2), ip(3), ip(4)]);
        assert_eq!(watch.counts().left_out, 2);
        assert_eq!(answer(&mut watch, at(60), says(&[6, 5, 4, 3, 2, 1], 60)), None);
        let change = answer(&mut watch, at(120), says(&[7, 8, 9, 10, 11], 60)).unwrap();
        assert_eq!(change.addresses.len(), 4);
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_names_that_stay() {
        let mut watch = watch();
        answer(&mut watch, at(0), says(&[1], 60)).unwrap();
        watch.configure(at(10), settings(), ["new.example", NAME].into_iter());
        assert_eq!(watch.poll_due(at(10)).as_deref(), Some("new.example"));
        assert_eq!(watch.poll_timeout(), Some(at(60)));
        assert_eq!(watch.targets(NAME).len(), 1);
        watch.configure(at(20), settings(), [NAME].into_iter());
        assert_eq!(watch.handle_answer(at(21), "new.example", says(&[9], 60)), None);
        assert_eq!(watch.state("new.example"), None);
    }
}
