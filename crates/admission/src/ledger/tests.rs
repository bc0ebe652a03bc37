use super::*;
use crate::Ticket;
use policy::Who;

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn ledger(capacity: usize) -> Ledger {
    Ledger::new(capacity, policy::Admission::default().patience)
}

fn open(now: Time, key: u64, method: u8) -> Open {
    let ticket = Ticket {
        pbx: 0,
        entry: key,
        aor: 1,
        account: 1,
        face: 0,
        shape: 2,
        who: Who::Unproven,
        method,
        factor: 1,
        raised_by: u16::MAX,
        signature: u16::MAX,
        numbers: 0,
        credentials: false,
        at_home: false,
        honeytoken: false,
        candidate: false,
        judged: true,
        tagged: false,
        proof: None,
        guarded: false,
        slowed: false,
        tried: 0,
        tried_over_all: 0,
        passing: 0,
        offered: 0,
    };
    Open::new(now, &ticket, 7)
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<Open>() <= 64, "{}", size_of::<Open>());
}

#[test]
fn patience_ends_by_class() {
    let mut ledger = ledger(10);
    ledger.open(open(at(0), 1 << 40, 11), b"", b"");
    ledger.open(open(at(1_000), 2 << 40, INVITE), b"", b"");
    assert_eq!(ledger.next_due(), Some(at(9_000)));
    assert!(ledger.pop_due(at(8_999)).is_none());
    assert_eq!(ledger.pop_due(at(9_000)).map(|open| open.key), Some(2 << 40));
    assert_eq!(ledger.pop_due(at(32_000)).map(|open| open.key), Some(1 << 40));
    assert_eq!((ledger.next_due(), ledger.unproven()), (None, 0));
}

#[test]
fn an_answered_entry_waits_for_the_pbx() {
    let mut ledger = ledger(10);
    ledger.open(open(at(0), 1 << 40, INVITE), b"", b"");
    ledger.find_mut(1 << 40).unwrap().flags.set(Flags::ANSWERED, true);
    for second in (8..600).step_by(8) {
        assert!(ledger.pop_due(at(second * 1_000)).is_none());
    }
    assert!(ledger.pop_due(at(608_000)).is_some());
}

#[test]
fn a_restart_is_patient_anew_and_the_queue_stays_bounded() {
    let mut ledger = ledger(10);
    ledger.open(open(at(0), 1 << 40, INVITE), b"", b"");
    for n in 1..10_000 {
        ledger.restart(at(n), 1 << 40);
    }
    assert!(ledger.queues[0].len() <= 70);
    assert!(ledger.pop_due(at(17_998)).is_none());
    assert!(ledger.pop_due(at(17_999)).is_some());
}

#[test]
fn a_restart_is_patient_no_longer_than_anew() {
    let mut ledger = ledger(10);
    ledger.open(open(at(0), 1 << 40, INVITE), b"", b"");
    ledger.find_mut(1 << 40).unwrap().flags.set(Flags::ANSWERED, true);
    ledger.restart(at(1_000), 1 << 40);
    assert!(ledger.pop_due(at(8_999)).is_none());
    assert!(ledger.pop_due(at(9_000)).is_some(), "it waits for no PBX any more");
}

#[test]
fn an_answered_entry_stays_in_a_queue_that_is_cleared() {
    let mut ledger = ledger(10);
    ledger.open(open(at(0), 1 << 40, INVITE), b"", b"");
    ledger.find_mut(1 << 40).unwrap().flags.set(Flags::ANSWERED, true);
    assert!(ledger.pop_due(at(8_000)).is_none());
    ledger.open(open(at(8_000), 2 << 40, INVITE), b"", b"");
    for n in 0..1_000 {
        ledger.restart(at(8_000 + n), 2 << 40);
    }
    let mut gone: Vec<u64> =
        std::iter::from_fn(|| ledger.pop_due(at(600_000))).map(|open| open.key >> 40).collect();
    gone.sort_unstable();
    assert_eq!(gone, [1, 2]);
}

#[test]
fn patience_ends_in_its_order_after_a_reload() {
    let mut ledger = ledger(10);
    ledger.open(open(at(0), 1 << 40, INVITE), b"", b"");
    ledger.open(open(at(1_000), 2 << 40, INVITE), b"", b"");
    ledger.restart(at(2_000), 1 << 40);
    ledger.configure(10, policy::Admission::default().patience);
    assert_eq!(ledger.pop_due(at(9_000)).map(|open| open.key), Some(2 << 40));
    assert_eq!(ledger.next_due(), Some(at(10_000)));
}

#[test]
fn what_is_too_many_counts_no_more() {
    let mut ledger = ledger(3);
    for key in 1..=3u64 {
        ledger.open(open(at(key), key << 40, INVITE), b"", b"");
    }
    ledger.prove(3 << 40, Proof::AckTag);
    let gone: Vec<_> = std::iter::from_fn(|| ledger.pop_over(1)).map(|open| open.key).collect();
    assert_eq!((gone, ledger.unproven()), (vec![1 << 40, 2 << 40], 0));
}

#[test]
fn the_oldest_unproven_goes_first() {
    let mut ledger = ledger(3);
    for key in 1..=3u64 {
        assert!(ledger.open(open(at(key), key << 40, INVITE), b"", b"").is_none());
    }
    assert!(ledger.prove(1 << 40, Proof::AckTag) && !ledger.prove(1 << 40, Proof::AckTag));
    let gone = ledger.open(open(at(4), 4 << 40, INVITE), b"", b"");
    assert_eq!(gone.map(|open| open.key), Some(2 << 40));
    assert_eq!(ledger.unproven(), 2);
}

#[test]
fn texts_are_kept_while_there_is_room() {
    let mut ledger = ledger(8);
    let key = 1 << 40;
    ledger.open(open(at(0), key, INVITE), b"alice@a", b"0049123");
    let texts = |ledger: &Ledger| ledger.texts(ledger.find(key).unwrap());
    assert_eq!(texts(&ledger), (Box::from(&b"alice@a"[..]), Box::from(&b"0049123"[..])));
    for n in 2..9u64 {
        ledger.open(open(at(0), n << 40, INVITE), &[b'x'; 200], &[b'y'; 200]);
    }
    assert_eq!(texts(&ledger), (Box::default(), Box::default()));
    let last = ledger.texts(ledger.find(8 << 40).unwrap());
    assert_eq!((last.0.len(), last.1.len()), (TEXT_MAX, TEXT_MAX));
}

#[test]
fn texts_have_the_room_of_the_bound() {
    let mut ledger = ledger(8);
    let patience = policy::Admission::default().patience;
    ledger.open(open(at(0), 1 << 40, INVITE), b"alice@a", b"0049123");
    let texts = |ledger: &Ledger, key| ledger.texts(ledger.find(key).unwrap());
    ledger.configure(8, patience);
    assert_eq!(&*texts(&ledger, 1 << 40).0, b"alice@a");
    ledger.configure(100, patience);
    assert_eq!(texts(&ledger, 1 << 40), (Box::default(), Box::default()), "its room is gone");
    for n in 2..12u64 {
        ledger.open(open(at(0), n << 40, INVITE), &[b'x'; 200], &[b'y'; 200]);
    }
    assert_eq!(texts(&ledger, 1 << 40), (Box::default(), Box::default()), "nor another's");
    assert_eq!(texts(&ledger, 2 << 40).0.len(), TEXT_MAX);
}
