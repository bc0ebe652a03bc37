//! What is told when, in virtual time.

use super::{alert, at, pace};
use crate::{Alert, Book, Digest, Kind};
use std::time::Duration;

fn book() -> Book {
    Book::new(pace(), Kind::ALL.to_vec())
}

fn told(digest: &Digest) -> Vec<(&'static str, &str, u64)> {
    let item = |item: &crate::Item| (item.alert.kind.as_str(), item.count);
    let texts = digest.items.iter().map(|it| (item(it), it.alert.subject.as_str()));
    texts.map(|((kind, count), subject)| (kind, subject, count)).collect()
}

#[test]
fn what_comes_together_is_told_together_the_urgent_first() {
    let mut book = book();
    assert!(book.on_alert(at(0), alert(Kind::Campaign, "a")));
    assert!(book.on_alert(at(4), alert(Kind::PbxDown, "pbx")));
    assert!(book.on_alert(at(5), alert(Kind::Campaign, "a")));
    assert_eq!(book.poll_timeout(), Some(at(10)), "the first waits so long, and no longer");
    assert_eq!(book.poll_digest(at(9)), None);
    let digest = book.poll_digest(at(10)).unwrap();
    assert_eq!(told(&digest), [("pbx_down", "pbx", 1), ("campaign", "a", 2)]);
    assert_eq!((digest.items[1].first, digest.items[1].last), (at(0), at(5)));
    assert_eq!((book.poll_timeout(), book.waiting()), (None, 2), "until it is known what became");
    book.on_sent(at(11));
    assert_eq!((book.poll_timeout(), book.waiting()), (None, 0));
}

#[test]
fn what_was_told_is_not_told_again_for_a_while_and_then_with_how_often_it_came() {
    let mut book = book();
    book.on_alert(at(0), alert(Kind::Honeytoken, "a"));
    assert!(book.poll_digest(at(10)).is_some());
    book.on_sent(at(10));
    for second in [60, 3_600, 7_200] {
        assert!(!book.on_alert(at(second), alert(Kind::Honeytoken, "a")));
    }
    assert!(book.on_alert(at(61), alert(Kind::Honeytoken, "b")), "another is another");
    let digest = book.poll_digest(at(71)).unwrap();
    assert_eq!(told(&digest), [("honeytoken", "b", 1)]);
    book.on_sent(at(71));
    let later = 10 + 6 * 3_600;
    assert!(book.on_alert(at(later), alert(Kind::Honeytoken, "a")));
    let digest = book.poll_digest(at(later + 10)).unwrap();
    assert_eq!(told(&digest), [("honeytoken", "a", 4)]);
    assert_eq!((digest.items[0].first, digest.items[0].last), (at(60), at(later)));
}

#[test]
fn an_end_is_told_of_what_was_told_and_a_new_beginning_after_it() {
    let mut book = book();
    assert!(!book.on_alert(at(0), Alert::pbx("a", true)), "nobody was told that it was down");
    book.on_alert(at(1), Alert::pbx("a", false));
    let digest = book.poll_digest(at(11)).unwrap();
    assert!(!digest.items[0].alert.ended);
    book.on_sent(at(11));
    assert!(book.on_alert(at(60), Alert::pbx("a", true)));
    let digest = book.poll_digest(at(70)).unwrap();
    assert!(digest.items[0].alert.ended);
    book.on_sent(at(70));
    assert!(book.on_alert(at(80), Alert::pbx("a", false)), "down again is news at once");
    // before that is told it is up, and down, and up: one entry, as it is now
    for up in [true, false, true] {
        assert!(book.on_alert(at(81), Alert::pbx("a", up)));
    }
    let digest = book.poll_digest(at(90)).unwrap();
    assert_eq!(told(&digest), [("pbx_down", "a", 4)]);
    assert!(digest.items[0].alert.ended);
}

#[test]
fn in_an_hour_only_so_many_messages_are_sent_and_nothing_is_forgotten() {
    let mut book = book();
    let mut sent = Vec::new();
    for second in 0..7_200 {
        if second % 60 == 0 {
            book.on_alert(at(second), alert(Kind::Campaign, &format!("{second}")));
        }
        if let Some(digest) = book.poll_digest(at(second)) {
            book.on_sent(at(second));
            let more: u64 = digest.left_out.iter().map(|(_, count)| count).sum();
            sent.push((second, digest.items.len() as u64 + more));
        }
    }
    assert_eq!(sent, [(10, 1), (70, 1), (130, 1), (3_610, 58), (3_670, 1), (3_730, 1)]);
    assert_eq!(book.waiting(), 57);
    assert_eq!(book.poll_timeout(), Some(at(7_210)));
}

#[test]
fn one_kind_in_masses_hides_no_other() {
    let mut book = book();
    for source in 0..10_000 {
        book.on_alert(at(0), alert(Kind::CarrierCandidate, &format!("{source}")));
    }
    book.on_alert(at(1), alert(Kind::Certificate, "file"));
    assert_eq!(book.waiting(), 10_001);
    let digest = book.poll_digest(at(10)).unwrap();
    assert_eq!(digest.items.len(), 9);
    assert_eq!(digest.items[8].alert.kind, Kind::Certificate);
    assert_eq!(digest.left_out, [(Kind::CarrierCandidate, 9_992)]);
}

#[test]
fn a_dead_target_is_tried_ever_more_seldom_and_told_all_at_last() {
    let mut book = book();
    book.on_alert(at(0), alert(Kind::Campaign, "a"));
    let (mut now, mut pauses) = (10, Vec::new());
    for _ in 0..10 {
        assert!(book.poll_digest(at(now)).is_some());
        // while it is tried, and while nothing is
        book.on_alert(at(now), alert(Kind::Storm, ""));
        book.on_failed(at(now), None);
        let next = book.poll_timeout().unwrap();
        pauses.push(next.since(at(now)).as_secs());
        now = next.as_secs();
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    let digest = book.poll_digest(at(now)).unwrap();
    assert_eq!(told(&digest), [("campaign", "a", 1), ("storm", "", 1)]);
    book.on_sent(at(now));
    assert_eq!(book.waiting(), 0);
    book.on_alert(at(now), alert(Kind::Campaign, "b"));
    assert_eq!(book.poll_timeout(), Some(at(now + 10)), "it is as if nothing had been");
}

#[test]
fn a_server_says_when_it_wants_to_be_asked_again_within_reason() {
    for (after, wanted) in [(90, 90), (1, 5), (1_000_000, 3_600)] {
        let mut book = book();
        book.on_alert(at(0), alert(Kind::Campaign, "a"));
        book.poll_digest(at(10)).unwrap();
        book.on_failed(at(10), Some(Duration::from_secs(after)));
        assert_eq!(book.poll_timeout(), Some(at(10 + wanted)));
    }
}

#[test]
fn only_what_is_wanted_is_told_and_a_reload_may_want_less() {
    let mut book = Book::new(pace(), vec![Kind::PbxDown, Kind::Campaign]);
    assert!(!book.on_alert(at(0), alert(Kind::Storm, "")));
    for source in 0..20 {
        book.on_alert(at(0), alert(Kind::Campaign, &format!("{source}")));
    }
    book.on_alert(at(0), alert(Kind::PbxDown, "a"));
    book.configure(pace(), vec![Kind::PbxDown]);
    let digest = book.poll_digest(at(10)).unwrap();
    assert_eq!(told(&digest), [("pbx_down", "a", 1)]);
    assert_eq!(digest.left_out, []);
}

#[test]
fn what_was_told_is_remembered_within_a_bound() {
    let pace = crate::Pace { per_hour: 1_000, ..pace() };
    let mut book = Book::new(pace, Kind::ALL.to_vec());
    for round in 0..600 {
        let now = round * 20;
        book.on_alert(at(now), alert(Kind::Campaign, &format!("{round}")));
        assert!(book.poll_digest(at(now + 10)).is_some());
        book.on_sent(at(now + 10));
    }
    let now = at(600 * 20);
    assert!(!book.on_alert(now, alert(Kind::Campaign, "599")));
    assert!(book.on_alert(now, alert(Kind::Campaign, "0")), "the oldest are forgotten");
}

#[test]
fn at_the_end_nothing_gathers_and_each_is_tried_once() {
    let mut book = book();
    assert!(book.is_idle(at(0)));
    book.on_alert(at(0), alert(Kind::Campaign, "a"));
    assert!(book.poll_digest(at(1)).is_none(), "it gathers");
    book.hurry();
    assert!(!book.is_idle(at(1)));
    book.poll_digest(at(1)).unwrap();
    book.on_alert(at(1), alert(Kind::Storm, ""));
    assert!(!book.is_idle(at(1)), "it is being sent");
    book.on_sent(at(1));
    assert!(book.poll_digest(at(1)).is_some(), "what came meanwhile, too");
    book.on_failed(at(1), None);
    assert!(book.is_idle(at(1)) && book.waiting() == 1, "no second try");
    // one that has failed before has its last chance, too
    book.hurry();
    assert!(book.poll_digest(at(1)).is_some());
}
