use super::*;
use std::time::Duration;

fn network(text: &str) -> Network {
    let (address, prefix) = text.split_once('/').unwrap();
    Network::new(address.parse().unwrap(), prefix.parse().unwrap())
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
    book.ban(at(0), entry("192.0.2.1/32", 60)).unwrap();
    book.ban(at(0), entry("2001:db8::/64", 60)).unwrap();
    assert_eq!(told(&book.changes(at(1))), ["add 192.0.2.1/32 59s", "add 2001:db8::/64 59s"]);
    assert_eq!(told(&book.changes(at(1))), [""; 0]);
    book.ban(at(2), entry("192.0.2.1/32", 100)).unwrap();
    book.lift(network("2001:db8::/64"));
    assert_eq!(told(&book.changes(at(2))), ["remove 2001:db8::/64", "renew 192.0.2.1/32 100s"]);
    assert_eq!(book.counts(), [1, 0, 0, 0]);
}

#[test]
fn what_comes_and_goes_before_the_kernel_hears_of_it_is_not_told() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1/32", 60)).unwrap();
    book.lift(network("192.0.2.1/32"));
    book.lift(network("192.0.2.9/32"));
    assert_eq!(told(&book.changes(at(0))), [""; 0]);
    book.ban(at(0), entry("192.0.2.1/32", 60)).unwrap();
    let _ = book.changes(at(0));
    book.lift(network("192.0.2.1/32"));
    book.ban(at(0), entry("192.0.2.1/32", 30)).unwrap();
    assert_eq!(told(&book.changes(at(0))), ["renew 192.0.2.1/32 30s"]);
}

#[test]
fn what_ran_out_is_forgotten_and_comes_again_as_new() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1/32", 10)).unwrap();
    let _ = book.changes(at(0));
    assert_eq!(book.poll_timeout(), Some(at(10)));
    book.handle_timeout(at(10));
    assert_eq!(told(&book.changes(at(10))), [""; 0], "the kernel's element has run out, too");
    assert_eq!(book.iter(at(10)).count(), 0);
    book.ban(at(11), entry("192.0.2.1/32", 10)).unwrap();
    assert_eq!(told(&book.changes(at(11))), ["add 192.0.2.1/32 10s"]);
}

#[test]
fn the_exempt_and_the_too_wide_are_refused_and_bounds_hold() {
    let mut book = book();
    for (text, refusal) in [
        ("203.0.113.7/32", Refusal::Exempt),
        ("203.0.112.0/22", Refusal::Exempt),
        ("127.0.0.1/32", Refusal::Exempt),
        ("0.0.0.0/0", Refusal::TooWide),
        ("198.0.0.0/15", Refusal::TooWide),
        ("2001::/31", Refusal::TooWide),
    ] {
        assert_eq!(book.ban(at(0), entry(text, 60)), Err(refusal), "{text}");
    }
    for n in 1..=4 {
        book.ban(at(0), entry(&format!("192.0.2.{n}/32"), 60)).unwrap();
        let network = book.ban(at(0), entry(&format!("10.{n}.0.0/16"), 60));
        assert_eq!(network, if n < 4 { Ok(()) } else { Err(Refusal::Full) });
    }
    assert_eq!(book.ban(at(0), entry("192.0.2.5/32", 60)), Err(Refusal::Full));
    book.ban(at(0), entry("192.0.2.4/32", 90)).expect("one that is there may be renewed");
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
    for text in ["192.0.2.1/32", "192.0.2.2/32", "198.51.100.0/24"] {
        book.ban(at(0), entry(text, 60)).unwrap();
    }
    let _ = book.changes(at(0));
    book.begin_list();
    book.ban(at(1), entry("192.0.2.2/32", 70)).unwrap();
    book.ban(at(1), entry("192.0.2.3/32", 70)).unwrap();
    book.end_list();
    let changes = told(&book.changes(at(1)));
    assert_eq!(
        changes,
        [
            "remove 192.0.2.1/32",
            "renew 192.0.2.2/32 70s",
            "add 192.0.2.3/32 70s",
            "remove 198.51.100.0/24"
        ]
    );
    book.begin_list();
    book.forget_list();
    book.end_list();
    assert_eq!(told(&book.changes(at(1))), [""; 0], "a list that broke off says nothing");
}

#[test]
fn whoever_becomes_exempt_is_lifted() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1/32", 60)).unwrap();
    book.ban(at(0), entry("198.51.100.0/24", 60)).unwrap();
    let _ = book.changes(at(0));
    book.set_own_addresses(["198.51.100.9".parse().unwrap()]);
    assert_eq!(told(&book.changes(at(0))), ["remove 198.51.100.0/24"]);
    book.set_exempt(Exempt::new([network("192.0.2.0/24")]));
    assert_eq!(told(&book.changes(at(0))), ["remove 192.0.2.1/32"]);
}

#[test]
fn a_restore_names_everything_with_the_time_that_is_left() {
    let mut book = book();
    book.ban(at(0), entry("192.0.2.1/32", 60)).unwrap();
    book.ban(at(0), entry("192.0.2.2/32", 5)).unwrap();
    book.ban(at(0), entry("198.51.100.0/24", 60)).unwrap();
    assert_eq!(book.restore(at(10)), [entry("192.0.2.1/32", 50), entry("198.51.100.0/24", 50)]);
    assert_eq!(told(&book.changes(at(10))), [""; 0]);
}
