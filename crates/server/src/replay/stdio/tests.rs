use super::answer::Bans;
use super::lines::{LINE_MAX, Lines};
use super::stimulus::{Stimulus, time, write_seconds};
use admission::{Ban, BanId, BanKey, Lift, Origin};
use policy::{Network, Reason, Time};
use std::io::Read;

/// Gives out its parts one read at a time.
struct Parts(Vec<&'static [u8]>);

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Ok(0);
        }
        self.0.remove(0).read(buffer)
    }
}

#[test]
fn a_deadline_that_comes_back_as_it_was_told_is_due() {
    let mut nanos = 1_u64;
    // from nanoseconds to the year 2200, where a double tells only each microsecond
    while nanos < 7_300_000_000_000_000_000 {
        for at in [nanos - 1, nanos, nanos + 7].map(Time::from_nanos) {
            let mut told = String::new();
            write_seconds(at, &mut told);
            let double: f64 = told.parse().unwrap();
            for back in [told.clone(), format!("{double}"), format!("{double:.20}")] {
                let line = format!("{{\"ev\":\"tick\",\"now\":{back}}}");
                let back = Stimulus::parse(line.as_bytes()).unwrap().now().unwrap();
                assert!(back >= at, "{line}: {back:?} is before {at:?}");
                assert!(back.as_nanos() - at.as_nanos() < 2_000, "{line}: late for {at:?}");
            }
        }
        nanos += nanos / 7 + 1;
    }
}

#[test]
fn times_are_between_the_epoch_and_2286() {
    for (text, nanos) in [
        ("12.345", 12_345_000_000),
        ("0", 0),
        ("1900000000.123456789", 1_900_000_000_123_456_789),
        ("1.9999999996", 2_000_000_000),
        ("1.23e3", 1_230_000_000_000),
        ("10000000000", 10_000_000_000_000_000_000),
    ] {
        assert_eq!(time(text), Some(Time::from_nanos(nanos)), "{text}");
    }
    for wrong in ["-1e-1", "-1", "10000000000.1", "1e11", "1e400", "\"1\"", "null", "[]"] {
        assert_eq!(time(wrong), None, "{wrong}");
    }
}

#[test]
fn who_writes_may_wait_in_the_middle_of_a_line() {
    let mut lines = Lines::new(Parts(vec![b"one\ntwo\nth", b"ree\n\nfi", b"ve"]), 64);
    let mut waits = 0;
    let mut next = || {
        let line = lines.next(|| {
            waits += 1;
            Ok(())
        });
        let line = line.unwrap().map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap());
        (line, waits)
    };
    let line = |text: &str| Some(text.to_owned());
    assert_eq!(next(), (line("one"), 1));
    assert_eq!(next(), (line("two"), 1));
    assert_eq!(next(), (line("three"), 2));
    assert_eq!(next(), (line(""), 2));
    assert_eq!(next(), (line("five"), 4));
    assert_eq!(next().0, None);
}

#[test]
fn a_line_without_end_takes_no_memory() {
    let long = std::io::repeat(b'x').take(LINE_MAX as u64 + 1);
    let mut lines = Lines::new(long.chain(&b"\nnext"[..]), 4_096);
    assert!(lines.next(|| Ok(())).unwrap().unwrap().is_err());
    assert_eq!(lines.next(|| Ok(())).unwrap(), Some(Ok(&b"next"[..])));

    let longest = std::io::repeat(b'x').take(LINE_MAX as u64);
    let mut lines = Lines::new(longest, 4_096);
    assert_eq!(lines.next(|| Ok(())).unwrap().unwrap().unwrap().len(), LINE_MAX);
}

fn ban(key: BanKey, narrowed: bool) -> Ban {
    Ban {
        id: BanId(1),
        key,
        why: "test".into(),
        reason: Reason::Banned,
        proof: None,
        since: Time::ZERO,
        until: Time::FOREVER,
        narrowed,
        policy_version: 1,
        score: 3.0,
        origin: Origin::Local,
        evidence: Vec::new(),
    }
}

#[test]
fn bans_are_addresses_and_networks() {
    let network = |ip: &str, prefix| Network::new(ip.parse().unwrap(), prefix);
    let (v4, v6) = (network("198.51.100.7", 32), network("2001:db8::7", 64));
    let around = BanKey::Network(network("203.0.113.9", 24));
    let mut bans = Bans::default();
    assert_eq!(bans.text(), b"");
    for key in [BanKey::Source(v4), BanKey::Source(v4), BanKey::Source(v6), around] {
        bans.on_ban(&ban(key, false));
    }
    bans.on_ban(&ban(BanKey::AorSource { aor: 1, source: network("192.0.2.1", 32) }, false));
    bans.on_ban(&ban(BanKey::Source(network("192.0.2.2", 32)), true));
    assert_eq!(bans.text(), br#""198.51.100.7","203.0.113.0/24","2001:db8::/64""#);
    bans.on_lift(&Lift { id: BanId(1), key: around, expired: true, replaced: false });
    assert_eq!(bans.text(), br#""198.51.100.7","2001:db8::/64""#);
    // somebody authenticated there meanwhile: the ban is renewed as a narrowing
    bans.on_ban(&ban(BanKey::Source(v4), true));
    assert_eq!(bans.text(), br#""2001:db8::/64""#);
}
