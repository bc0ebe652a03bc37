use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

fn entry(text: &str, seconds: u64) -> Entry {
    Entry { network: network(text), remaining: Duration::from_secs(seconds) }
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn book() -> Book {
    let bounds = Bounds { sources: 4, networks: 3, widest_v4: 16, widest_v6: 32 };
    Book::new(bounds, Exempt::new([network("203.0.113.0/24")]))
}

fn told(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Add(Entry { network, remaining }) => format!("add {network} {remaining:?}"),
        Change::Renew(Entry { network, remaining }) => format!("renew {network} {remaining:?}"),
        Change::Remove(network) => format!("remove {network}"),
    };
    changes.iter().map(line).collect()
}

#[test]
fn bans_and_lifts_reach_the_kernel_once() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1", 60)).unwrap();
    book.ban(at(0), entry("2001:db8::/64", 60)).unwrap();
    assert_eq!(told(&book.changes(at(1))), ["add 192.0.2.1 59s", "add 2001:db8::/64 59s"]);
    assert_eq!(told(&book.changes(at(1))), [""; 0]);
    book.ban(at(2), entry("192.0.2.1", 100)).unwrap();
    book.lift(network("2001:db8::/64"));
    assert_eq!(told(&book.changes(at(2))), ["remove 2001:db8::/64", "renew 192.0.2.1 100s"]);
    assert_eq!(book.counts(), [1, 0, 0, 0]);
}

#[test]
fn what_comes_and_goes_before_the_kernel_hears_of_it_is_not_told() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1", 60)).unwrap();
    book.lift(network("192.0.2.1"));
    book.lift(network("192.0.2.9"));
    assert_eq!(told(&book.changes(at(0))), [""; 0]);
    book.ban(at(0), entry("192.0.2.1", 60)).unwrap();
    let _ = book.changes(at(0));
    book.lift(network("192.0.2.1"));
    book.ban(at(0), entry("192.0.2.1", 30)).unwrap();
    assert_eq!(told(&book.changes(at(0))), ["renew 192.0.2.1 30s"]);
}

#[test]
fn what_ran_out_is_forgotten_and_comes_again_as_new() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1", 10)).unwrap();
    let _ = book.changes(at(0));
    assert_eq!(book.poll_timeout(), Some(at(10)));
    book.handle_timeout(at(10));
    assert_eq!(told(&book.changes(at(10))), [""; 0], "the kernel's element has run out, too");
    assert_eq!(book.iter(at(10)).count(), 0);
    book.ban(at(11), entry("192.0.2.1", 10)).unwrap();
    assert_eq!(told(&book.changes(at(11))), ["add 192.0.2.1 10s"]);
}

#[test]
fn what_was_shortened_and_ran_out_before_the_kernel_heard_is_taken_out() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1", 60)).unwrap();
    let _ = book.changes(at(0));
    book.ban(at(0), entry("192.0.2.1", 2)).unwrap();
    book.handle_timeout(at(2));
    assert_eq!(told(&book.changes(at(2))), ["remove 192.0.2.1"]);
}

#[test]
fn the_exempt_and_the_too_wide_are_refused_and_bounds_hold() {
    let mut book = book();
    for (text, refusal) in [
        ("203.0.113.7", Refusal::Exempt),
        ("203.0.112.0/22", Refusal::Exempt),
        ("127.0.0.1", Refusal::Exempt),
        ("0.0.0.0/0", Refusal::TooWide),
        ("198.0.0.0/15", Refusal::TooWide),
        ("2001::/31", Refusal::TooWide),
    ] {
        assert_eq!(book.ban(at(0), entry(text, 60)), Err(refusal), "{text}");
    }
    for n in 1..=4 {
        book.ban(at(0), entry(&format!("192.0.2.{n}"), 60)).unwrap();
        let network = book.ban(at(0), entry(&format!("10.{n}.0.0/16"), 60));
        assert_eq!(network, if n < 4 { Ok(()) } else { Err(Refusal::Full) });
    }
    assert_eq!(book.ban(at(0), entry("192.0.2.5", 60)), Err(Refusal::Full));
    book.ban(at(0), entry("192.0.2.4", 90)).expect("one that is there may be renewed");
    assert_eq!(book.counts(), [4, 0, 3, 0]);
}

#[test]
fn of_networks_in_each_other_the_kernel_has_the_widest() {
    let mut book = book();
    book.ban(at(0), entry("198.51.100.0/24", 100)).unwrap();
    assert_eq!(told(&book.changes(at(0))), ["add 198.51.100.0/24 100s"]);
    book.ban(at(0), entry("198.51.0.0/16", 10)).unwrap();
    book.ban(at(0), entry("198.51.100.128/25", 100)).unwrap();
    assert_eq!(told(&book.changes(at(0))), ["remove 198.51.100.0/24", "add 198.51.0.0/16 10s"]);
    book.handle_timeout(at(10));
    assert_eq!(told(&book.changes(at(10))), ["add 198.51.100.0/24 90s"]);
    book.lift(network("198.51.100.0/24"));
    assert_eq!(
        told(&book.changes(at(20))),
        ["remove 198.51.100.0/24", "add 198.51.100.128/25 80s"]
    );
}

#[test]
fn a_full_list_replaces_what_was_known() {
    let mut book = book();
    for text in ["192.0.2.1", "192.0.2.2", "198.51.100.0/24"] {
        book.ban(at(0), entry(text, 60)).unwrap();
    }
    let _ = book.changes(at(0));
    book.begin_list();
    book.ban(at(1), entry("192.0.2.2", 70)).unwrap();
    book.ban(at(1), entry("192.0.2.3", 70)).unwrap();
    book.end_list();
    let changes = told(&book.changes(at(1)));
    assert_eq!(
        changes,
        ["remove 192.0.2.1", "renew 192.0.2.2 70s", "add 192.0.2.3 70s", "remove 198.51.100.0/24"]
    );
    book.begin_list();
    book.forget_list();
    book.end_list();
    assert_eq!(told(&book.changes(at(1))), [""; 0], "a list that broke off says nothing");
}

#[test]
fn whoever_becomes_exempt_is_lifted() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1", 60)).unwrap();
    book.ban(at(0), entry("198.51.100.0/24", 60)).unwrap();
    let _ = book.changes(at(0));
    book.set_own_addresses(["198.51.100.9".parse().unwrap()]);
    assert_eq!(told(&book.changes(at(0))), ["remove 198.51.100.0/24"]);
    book.set_exempt(Exempt::new([network("192.0.2.0/24")]));
    assert_eq!(told(&book.changes(at(0))), ["remove 192.0.2.1"]);
}

#[test]
fn a_restore_names_everything_with_the_time_that_is_left() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1", 60)).unwrap();
    book.ban(at(0), entry("192.0.2.2", 5)).unwrap();
    book.ban(at(0), entry("198.51.100.0/24", 60)).unwrap();
    assert_eq!(book.restore(at(10)), [entry("192.0.2.1", 50), entry("198.51.100.0/24", 50)]);
    assert_eq!(told(&book.changes(at(10))), [""; 0]);
}

/// What may happen to a book, with small numbers so that things meet.
#[derive(Clone, Debug)]
enum Step {
    Ban(Network, u64),
    Lift(Network),
    Wait(u64),
    Tell,
    ListBegin,
    ListEnd,
    Flush,
}

fn any_network() -> impl Strategy<Value = Network> {
    let v4 = (0u8..4, prop_oneof![Just(32u8), Just(32), 24..=31u8]);
    let v4 = v4.prop_map(|(last, prefix)| Network::new(IpAddr::from([10, 0, 0, last]), prefix));
    let v6 = (0u16..3, prop_oneof![Just(64u8), 48..=66u8]).prop_map(|(part, prefix)| {
        Network::new(IpAddr::from([0x2001, 0xdb8, 0, part, 0, 0, 0, 1]), prefix)
    });
    prop_oneof![v4, v6]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any_network(), 2u64..40).prop_map(|(network, time)| Step::Ban(network, time)),
        2 => any_network().prop_map(Step::Lift),
        2 => (1u64..20).prop_map(Step::Wait),
        4 => Just(Step::Tell),
        1 => Just(Step::ListBegin),
        1 => Just(Step::ListEnd),
        1 => Just(Step::Flush),
    ]
}

/// A kernel: what it was told, with the end of each, and what has run out. It complains as the real
/// one does; of what has run out, the helper sorts that out.
#[derive(Default)]
struct Kernel(HashMap<Network, Time>, HashSet<Network>);

impl Kernel {
    fn apply(&mut self, now: Time, changes: &[Change]) {
        self.1.extend(self.0.extract_if(|_, until| *until <= now).map(|(network, _)| network));
        for change in changes {
            match change {
                Change::Add(entry) => {
                    assert!(!self.0.contains_key(&entry.network), "it is there: {change:?}");
                    let set = Set::of(entry.network);
                    let meets = self.0.keys().find(|there| {
                        let (a, b) = (entry.network, **there);
                        set.is_networks()
                            && Set::of(b) == set
                            && (a.contains(b.address()) || b.contains(a.address()))
                    });
                    assert_eq!(meets, None, "{change:?} overlaps");
                    self.0.insert(entry.network, now + entry.remaining);
                }
                Change::Renew(entry) => {
                    let there = self.0.contains_key(&entry.network);
                    assert!(there || self.1.contains(&entry.network), "not there: {change:?}");
                    self.0.insert(entry.network, now + entry.remaining);
                }
                Change::Remove(network) => {
                    let there = self.0.remove(network).is_some();
                    assert!(there || self.1.contains(network), "not there: {change:?}");
                }
            }
        }
    }
}

proptest! {
    /// However bans come and go, the kernel drops whom the book has banned, is never told what it
    /// would refuse, and hears nothing twice.
    #[test]
    fn the_kernel_follows_the_book(steps in proptest::collection::vec(any_step(), 1..60)) {
        let bounds = Bounds { sources: 100, networks: 100, widest_v4: 16, widest_v6: 32 };
        let mut book = Book::new(bounds, Exempt::default());
        let mut kernel = Kernel::default();
        let mut model: HashMap<Network, Time> = HashMap::new();
        let mut listed: Option<HashSet<Network>> = None;
        let mut now = at(0);
        for step in steps {
            let tell = matches!(step, Step::Tell | Step::Flush);
            match step {
                Step::Ban(network, time) => {
                    let entry = Entry { network, remaining: Duration::from_secs(time) };
                    book.ban(now, entry).unwrap();
                    model.insert(network, now + entry.remaining);
                    listed.iter_mut().for_each(|listed| {
                        listed.insert(network);
                    });
                }
                Step::Lift(network) => {
                    book.lift(network);
                    model.remove(&network);
                    listed.iter_mut().for_each(|listed| {
                        listed.remove(&network);
                    });
                }
                Step::Wait(time) => now = now + Duration::from_secs(time),
                Step::Tell => {}
                Step::ListBegin => {
                    book.begin_list();
                    listed = Some(HashSet::new());
                }
                Step::ListEnd => {
                    book.end_list();
                    if let Some(listed) = listed.take() {
                        model.retain(|network, _| listed.contains(network));
                    }
                }
                Step::Flush => {
                    let entries = book.restore(now);
                    kernel.0.clear();
                    let add: Vec<_> = entries.into_iter().map(Change::Add).collect();
                    kernel.apply(now, &add);
                }
            }
            if !tell {
                continue;
            }
            book.handle_timeout(now);
            let changes = book.changes(now);
            kernel.apply(now, &changes);
            prop_assert_eq!(book.changes(now), vec![], "nothing is told twice");
            model.retain(|_, until| *until > now);
            for network in model.keys().chain(kernel.0.keys()) {
                let ip = network.address();
                let has = |all: &HashMap<Network, Time>| all.keys().any(|it| it.contains(ip));
                prop_assert_eq!(has(&kernel.0), has(&model), "{}", network);
            }
        }
    }
}
