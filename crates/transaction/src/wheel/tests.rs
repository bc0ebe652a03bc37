use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TICK: u64 = 1 << TICK_BITS;

fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

#[test]
fn comes_out_in_order_and_never_early() {
    let mut timers = Timers::new();
    timers.insert(at(5 * TICK), 'c');
    timers.insert(at(3 * TICK + 1), 'b');
    timers.insert(at(3 * TICK), 'a');
    assert_eq!(timers.next_deadline(), Some(at(3 * TICK)));
    assert_eq!(timers.pop_due(at(3 * TICK - 1)), None);
    assert_eq!(timers.pop_due(at(3 * TICK)), Some((at(3 * TICK), 'a')));
    assert_eq!(timers.pop_due(at(3 * TICK)), None);
    assert_eq!(timers.pop_due(at(9 * TICK)), Some((at(3 * TICK + 1), 'b')));
    assert_eq!(timers.pop_due(at(9 * TICK)), Some((at(5 * TICK), 'c')));
    assert!(timers.is_empty());
    assert_eq!(timers.next_deadline(), None);
}

#[test]
fn past_and_endless_deadlines() {
    let mut timers = Timers::new();
    assert_eq!(timers.pop_due(at(1_700_000_000 * 1_000_000_000)), None);
    timers.insert(at(1), 1);
    timers.insert(Time::FOREVER, 2);
    assert_eq!(timers.next_deadline(), Some(at(1)));
    assert_eq!(timers.pop_due(at(1_700_000_001 * 1_000_000_000)), Some((at(1), 1)));
    assert_eq!(timers.next_deadline(), Some(Time::FOREVER));
    assert_eq!(timers.pop_due(at(u64::MAX - TICK)), None);
    assert_eq!(timers.len(), 1);
}

#[test]
fn the_steady_state_does_not_grow() {
    let mut timers = Timers::new();
    let mut now = 0;
    for round in 0..10_000u64 {
        timers.insert(at(now + 500_000_000), round);
        timers.insert(at(now + 32_000_000_000), round);
        now += 10_000_000;
        while timers.pop_due(at(now)).is_some() {}
    }
    assert!(timers.entries.len() <= 3_300, "{}", timers.entries.len());
}

#[test]
fn what_a_burst_has_filled_is_given_back() {
    let mut timers = Timers::new();
    let seconds = |n: u64| at(n * 1_000_000_000);
    for key in 0..100_000 {
        timers.insert(seconds(1 + key / 1_000), key);
    }
    let mut due = Vec::new();
    for second in 0..=101 {
        while let Some((_, key)) = timers.pop_due(seconds(second)) {
            due.push(key);
        }
        timers.give_back();
        let room = timers.entries.capacity();
        assert!(room <= (USED_MIN * timers.len()).max(1 << 11), "{room} after {second} s");
    }
    due.sort_unstable();
    assert!(due.into_iter().eq(0..100_000), "each once");
    assert_eq!(timers.entries.capacity(), ROOM_MIN);
    assert!(timers.due.capacity() <= ROOM_MIN);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Advance(u64),
    MoveTogether,
}

/// From below a tick to years, past included (0).
fn distance() -> impl Strategy<Value = u64> {
    (0u32..58, any::<u64>()).prop_map(|(bits, random)| random & ((1u64 << bits) - 1))
}

proptest! {
    /// Against a sorted map: what comes out, in what order, and when the wheel asks to be woken.
    #[test]
    fn agrees_with_a_sorted_map(
        start in distance(),
        steps in prop::collection::vec(
            prop_oneof![
                3 => distance().prop_map(Step::Insert),
                2 => distance().prop_map(Step::Advance),
                1 => Just(Step::MoveTogether),
            ],
            1..200,
        ),
    ) {
        let mut timers = Timers::new();
        let mut model: BTreeMap<(u64, u32), ()> = BTreeMap::new();
        let mut now = start;
        for (key, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(distance) => {
                    let deadline = if key.is_multiple_of(7) { now.saturating_sub(distance) } else { now.saturating_add(distance) };
                    timers.insert(at(deadline), key as u32);
                    model.insert((deadline, key as u32), ());
                }
                Step::MoveTogether => timers.move_together(timers.len() - timers.due.len()),
                Step::Advance(distance) => {
                    now = now.saturating_add(distance);
                    let mut last = 0;
                    while let Some((due, key)) = timers.pop_due(at(now)) {
                        let due = due.as_nanos();
                        prop_assert!(due <= now, "early");
                        prop_assert!(due + TICK > last, "order");
                        last = last.max(due);
                        prop_assert!(model.remove(&(due, key)).is_some(), "invented");
                    }
                    if let Some(((first, _), ())) = model.first_key_value() {
                        prop_assert!(first + TICK > now, "more than a tick late");
                    }
                }
            }
            prop_assert_eq!(timers.len(), model.len());
            let first = model.first_key_value().map(|((first, _), ())| *first);
            let next = timers.next_deadline().map(Time::as_nanos);
            match (first, next) {
                (None, None) => {}
                (Some(first), Some(next)) => {
                    prop_assert!(next >= first && next - first < TICK, "{next} for {first}");
                    let mut woken = timers_at(&mut timers, next);
                    prop_assert!(woken.is_none() || model.remove(&woken.take().unwrap_or_default()).is_some());
                }
                mismatch => prop_assert!(false, "{mismatch:?}"),
            }
        }
    }
}

/// Every so often follows the wheel's own advice on when to wake; it must then give something.
fn timers_at(timers: &mut Timers<u32>, next: u64) -> Option<(u64, u32)> {
    if !timers.len().is_multiple_of(3) {
        return None;
    }
    let popped = timers.pop_due(at(next));
    assert!(popped.is_some(), "woken for nothing");
    popped.map(|(due, key)| (due.as_nanos(), key))
}
