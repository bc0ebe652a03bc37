use super::*;
use crate::Reliability::{Reliable, Unreliable};
use proptest::prelude::*;

const BASE: TimerBase = TimerBase {
    t1: Duration::from_millis(500),
    t2: Duration::from_secs(4),
    t4: Duration::from_secs(5),
};
const T0: Time = Time::ZERO;

fn at(millis: u64) -> Time {
    T0 + Duration::from_millis(millis)
}

#[test]
fn sizes_stay_small() {
    assert!(size_of::<InviteServer>() <= 48);
    assert!(size_of::<OtherServer>() <= 48);
}

#[test]
fn figure_7_refusal_without_ack() {
    let mut machine = InviteServer::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_request(at(1)), Action::None);
    assert!(machine.on_sent(at(2), 100, &BASE));
    assert_eq!(machine.on_request(at(3)), Action::Send);
    assert!(machine.on_sent(T0, 486, &BASE));
    assert!(!machine.on_sent(T0, 200, &BASE), "one final only");
    assert!(!machine.on_sent(T0, 180, &BASE));
    let mut fired = Vec::new();
    while let Some(due) = machine.deadline() {
        fired.push((due.as_nanos() / 1_000_000, machine.on_timeout(due, &BASE)));
    }
    let mut expected: Vec<_> =
        [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
            .map(|ms| (ms, Action::Send))
            .to_vec();
    expected.push((32_000, Action::TimedOut));
    assert_eq!(fired, expected);
    assert_eq!(machine.on_request(at(40_000)), Action::None);
    assert!(!machine.on_sent(at(40_000), 200, &BASE));
}

#[test]
fn figure_7_ack_confirms() {
    let mut machine = InviteServer::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_ack(T0, &BASE), Action::None);
    assert!(machine.on_sent(T0, 404, &BASE));
    assert_eq!(machine.on_request(at(100)), Action::Send);
    assert_eq!(machine.on_ack(at(200), &BASE), Action::None);
    assert_eq!(machine.state(), InviteServerState::Confirmed);
    assert_eq!(machine.on_request(at(300)), Action::None);
    assert_eq!(machine.on_ack(at(300), &BASE), Action::None);
    assert_eq!(machine.deadline(), Some(at(5_200)));
    assert_eq!(machine.on_timeout(at(5_200), &BASE), Action::Terminated);
}

#[test]
fn figure_7_ack_over_a_reliable_transport_ends_at_once() {
    let mut machine = InviteServer::new(T0, Reliable, &BASE);
    assert!(machine.on_sent(T0, 404, &BASE));
    assert_eq!(machine.deadline(), Some(at(32_000)), "timer H, no timer G");
    assert_eq!(machine.on_ack(at(200), &BASE), Action::Terminated);
    assert!(machine.is_terminated());
}

#[test]
fn rfc_6026_accepted_passes_acks_and_more_2xx() {
    let mut machine = InviteServer::new(T0, Unreliable, &BASE);
    assert!(machine.on_sent(T0, 200, &BASE));
    assert_eq!(machine.on_request(at(500)), Action::None);
    assert!(machine.on_sent(at(500), 200, &BASE));
    assert!(!machine.on_sent(at(500), 486, &BASE));
    assert_eq!(machine.on_ack(at(600), &BASE), Action::PassUp);
    assert_eq!(machine.on_ack(at(700), &BASE), Action::PassUp);
    assert_eq!(machine.on_timeout(at(31_999), &BASE), Action::None);
    assert_eq!(machine.on_timeout(at(32_000), &BASE), Action::Terminated);
    assert_eq!(machine.on_ack(at(32_001), &BASE), Action::None);
}

#[test]
fn figure_8_final_response_is_repeated_on_demand() {
    let mut machine = OtherServer::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_request(at(500)), Action::None);
    assert!(machine.on_sent(at(600), 401, &BASE));
    assert_eq!(machine.on_request(at(1_000)), Action::Send);
    assert!(!machine.on_sent(at(1_001), 200, &BASE));
    assert_eq!(machine.deadline(), Some(at(32_600)));
    assert_eq!(machine.on_timeout(at(32_600), &BASE), Action::Terminated);
    assert_eq!(machine.on_request(at(32_601)), Action::None);
    let mut machine = OtherServer::new(T0, Reliable, &BASE);
    assert!(machine.on_sent(T0, 200, &BASE));
    assert!(machine.is_terminated());
}

#[test]
fn rfc_4320_rules() {
    let mut machine = OtherServer::new(T0, Unreliable, &BASE);
    assert!(!machine.on_sent(at(3_499), 100, &BASE), "a 100 only after timer E is at T2");
    assert!(!machine.on_sent(at(3_500), 180, &BASE), "no other provisional");
    assert!(machine.on_sent(at(3_500), 100, &BASE));
    assert_eq!(machine.on_request(at(3_600)), Action::Send);
    assert!(!machine.on_sent(at(31_000), 408, &BASE), "408 is useless to a non-INVITE");
    assert_eq!(machine.on_timeout(at(32_000), &BASE), Action::Terminated);
    assert!(!machine.on_sent(at(32_001), 200, &BASE), "no late responses");
    let mut machine = OtherServer::new(T0, Reliable, &BASE);
    assert!(machine.on_sent(T0, 100, &BASE));
}

proptest! {
    /// Any order of requests, ACKs, responses and waits: never a message after Terminated, one
    /// kind of final response only, and an end within 64·T1 of the last step (the owner's timer
    /// C ends an INVITE that the TU left without a final response).
    #[test]
    fn any_order_terminates(
        reliable: bool,
        steps in prop::collection::vec((0u64..20_000, 0u8..4, 100u16..700), 0..30),
    ) {
        let reliability = Reliability::from_reliable(reliable);
        let mut invite = InviteServer::new(T0, reliability, &BASE);
        let mut other = OtherServer::new(T0, reliability, &BASE);
        let mut now = T0;
        let mut finals = (Vec::new(), Vec::new());
        for (wait, what, status) in steps {
            now = now + Duration::from_millis(wait);
            for _ in 0..3 {
                invite.on_timeout(now, &BASE);
                other.on_timeout(now, &BASE);
            }
            prop_assert_eq!(invite.on_timeout(now, &BASE), Action::None);
            prop_assert_eq!(other.on_timeout(now, &BASE), Action::None);
            let over = (invite.is_terminated(), other.is_terminated());
            match what {
                0 => {
                    let actions = (invite.on_request(now), other.on_request(now));
                    prop_assert!(!over.0 || actions.0 == Action::None);
                    prop_assert!(!over.1 || actions.1 == Action::None);
                }
                1 => {
                    let action = invite.on_ack(now, &BASE);
                    prop_assert!(!over.0 || action == Action::None);
                }
                2 => {
                    let sent = (invite.on_sent(now, status, &BASE), other.on_sent(now, status, &BASE));
                    prop_assert!(!(over.0 && sent.0), "INVITE");
                    prop_assert!(!(over.1 && sent.1), "other");
                    if sent.0 && status >= 200 { finals.0.push(status); }
                    if sent.1 && status >= 200 { finals.1.push(status); }
                }
                _ => {
                    invite.on_transport_error(now);
                    other.on_transport_error(now);
                }
            }
        }
        prop_assert!(finals.1.len() <= 1);
        prop_assert!(finals.0.len() <= 1 || finals.0.iter().all(|status| *status < 300));
        if invite.state() == InviteServerState::Proceeding {
            prop_assert!(invite.on_sent(now, 408, &BASE));
        }
        let limit = now + patience(&BASE);
        while let Some(due) = invite.deadline() {
            prop_assert!(due <= limit);
            invite.on_timeout(due, &BASE);
        }
        while let Some(due) = other.deadline() {
            prop_assert!(due <= limit);
            other.on_timeout(due, &BASE);
        }
        prop_assert!(invite.is_terminated() && other.is_terminated());
    }
}
