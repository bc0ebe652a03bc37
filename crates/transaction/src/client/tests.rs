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

/// Lets every deadline fire at its moment; returns what fired, with milliseconds.
fn run(
    mut deadline: impl FnMut() -> Option<Time>,
    mut fire: impl FnMut(Time) -> Action,
) -> Vec<(u64, Action)> {
    let mut fired = Vec::new();
    while let Some(due) = deadline() {
        let millis = due.as_nanos() / 1_000_000;
        fired.push((millis, fire(due)));
        assert!(fired.len() < 100, "never ends: {fired:?}");
    }
    fired
}

macro_rules! run {
    ($machine:expr) => {{
        let machine = std::cell::RefCell::new(&mut $machine);
        run(|| machine.borrow().deadline(), |now| machine.borrow_mut().on_timeout(now, &BASE))
    }};
}

#[test]
fn sizes_stay_small() {
    assert!(size_of::<InviteClient>() <= 48);
    assert!(size_of::<OtherClient>() <= 48);
}

#[test]
fn an_unanswered_invite_doubles_until_timer_b() {
    let mut machine = InviteClient::new(T0, Unreliable, &BASE);
    let mut expected: Vec<_> =
        [500, 1_500, 3_500, 7_500, 15_500, 31_500].map(|ms| (ms, Action::Send)).to_vec();
    expected.push((32_000, Action::TimedOut));
    assert_eq!(run!(machine), expected);
    assert!(machine.is_terminated());
    assert_eq!(machine.on_timeout(at(99_000), &BASE), Action::None);
}

#[test]
fn a_reliable_invite_is_sent_once() {
    let mut machine = InviteClient::new(T0, Reliable, &BASE);
    assert_eq!(run!(machine), [(32_000, Action::TimedOut)]);
}

#[test]
fn a_late_owner_sends_once_for_all_it_missed() {
    let mut machine = InviteClient::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_timeout(at(20_000), &BASE), Action::Send);
    assert_eq!(machine.on_timeout(at(20_000), &BASE), Action::None);
    assert!(machine.deadline() > Some(at(20_000)));
    let mut machine = OtherClient::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_timeout(at(20_000), &BASE), Action::Send);
    assert_eq!(machine.on_timeout(at(20_000), &BASE), Action::None);
}

#[test]
fn figure_5_refusal() {
    let mut machine = InviteClient::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_response(at(100), 100, &BASE), Action::PassUp);
    assert_eq!(machine.deadline(), None, "timer C is the owner's");
    assert_eq!(machine.on_response(at(200), 180, &BASE), Action::PassUp);
    assert_eq!(machine.on_response(at(300), 486, &BASE), Action::PassUpAndAck);
    assert_eq!(machine.state(), InviteClientState::Completed);
    assert_eq!(machine.on_response(at(800), 486, &BASE), Action::Ack);
    assert_eq!(machine.on_response(at(900), 180, &BASE), Action::None);
    assert_eq!(machine.on_response(at(900), 200, &BASE), Action::None);
    assert_eq!(run!(machine), [(32_300, Action::Terminated)]);
    assert_eq!(machine.on_response(at(33_000), 486, &BASE), Action::None);
}

#[test]
fn a_refusal_over_a_reliable_transport_ends_at_once() {
    let mut machine = InviteClient::new(T0, Reliable, &BASE);
    assert_eq!(machine.on_response(at(1), 404, &BASE), Action::PassUpAndAck);
    assert!(machine.is_terminated());
    assert_eq!(machine.deadline(), None);
}

#[test]
fn rfc_6026_every_2xx_is_passed_up_for_64_t1() {
    for reliability in [Reliable, Unreliable] {
        let mut machine = InviteClient::new(T0, reliability, &BASE);
        assert_eq!(machine.on_response(at(0), 200, &BASE), Action::PassUp);
        assert_eq!(machine.state(), InviteClientState::Accepted);
        assert_eq!(machine.on_response(at(500), 200, &BASE), Action::PassUp);
        assert_eq!(machine.on_response(at(600), 486, &BASE), Action::None);
        assert_eq!(machine.on_response(at(600), 180, &BASE), Action::None);
        assert_eq!(machine.on_transport_error(at(700)), Action::None);
        assert_eq!(run!(machine), [(32_000, Action::Terminated)]);
        assert_eq!(machine.on_response(at(32_001), 200, &BASE), Action::None);
    }
}

#[test]
fn figure_6_silence() {
    let mut machine = OtherClient::new(T0, Unreliable, &BASE);
    let mut expected: Vec<_> =
        [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
            .map(|ms| (ms, Action::Send))
            .to_vec();
    expected.push((32_000, Action::TimedOut));
    assert_eq!(run!(machine), expected);
}

#[test]
fn figure_6_proceeding_repeats_each_t2() {
    let mut machine = OtherClient::new(T0, Unreliable, &BASE);
    assert_eq!(machine.on_response(at(100), 100, &BASE), Action::PassUp);
    assert_eq!(machine.deadline(), Some(at(500)), "timer E runs on");
    assert_eq!(machine.on_timeout(at(500), &BASE), Action::Send);
    assert_eq!(machine.deadline(), Some(at(4_500)));
    assert_eq!(machine.on_response(at(5_000), 200, &BASE), Action::PassUp);
    assert_eq!(machine.on_response(at(5_000), 200, &BASE), Action::None);
    assert_eq!(run!(machine), [(10_000, Action::Terminated)]);
}

#[test]
fn transport_errors_tell_the_tu_once() {
    let mut machine = InviteClient::new(T0, Reliable, &BASE);
    assert_eq!(machine.on_transport_error(T0), Action::TimedOut);
    assert_eq!(machine.on_transport_error(T0), Action::None);
    let mut machine = OtherClient::new(T0, Reliable, &BASE);
    assert_eq!(machine.on_transport_error(T0), Action::TimedOut);
    assert_eq!(machine.on_response(T0, 200, &BASE), Action::None);
}

proptest! {
    /// Any order of responses, errors and waits: after the last response the machines end
    /// within 64·T1 (an INVITE that is only rung is ended by its owner's timer C), and nothing
    /// is asked of the owner afterwards.
    #[test]
    fn any_order_terminates(
        reliable: bool,
        steps in prop::collection::vec((0u64..20_000, prop::option::of(100u16..700), any::<bool>()), 0..20),
    ) {
        let reliability = Reliability::from_reliable(reliable);
        let mut invite = InviteClient::new(T0, reliability, &BASE);
        let mut other = OtherClient::new(T0, reliability, &BASE);
        let mut now = T0;
        let mut told = [0; 2];
        for (wait, status, error) in steps {
            now = now + Duration::from_millis(wait);
            for _ in 0..3 {
                told[0] += u32::from(invite.on_timeout(now, &BASE) == Action::TimedOut);
                told[1] += u32::from(other.on_timeout(now, &BASE) == Action::TimedOut);
            }
            prop_assert_eq!(invite.on_timeout(now, &BASE), Action::None);
            prop_assert_eq!(other.on_timeout(now, &BASE), Action::None);
            let over = (invite.is_terminated(), other.is_terminated());
            let actions = match status {
                Some(status) => (invite.on_response(now, status, &BASE), other.on_response(now, status, &BASE)),
                None if error => (invite.on_transport_error(now), other.on_transport_error(now)),
                None => continue,
            };
            told[0] += u32::from(actions.0 == Action::TimedOut);
            told[1] += u32::from(actions.1 == Action::TimedOut);
            prop_assert!(!over.0 || actions.0 == Action::None);
            prop_assert!(!over.1 || actions.1 == Action::None);
        }
        if invite.state() == InviteClientState::Proceeding {
            prop_assert_eq!(invite.on_response(now, 408, &BASE), Action::PassUpAndAck);
        }
        let limit = now + patience(&BASE);
        while let Some(due) = invite.deadline() {
            prop_assert!(due <= limit);
            told[0] += u32::from(invite.on_timeout(due, &BASE) == Action::TimedOut);
        }
        while let Some(due) = other.deadline() {
            prop_assert!(due <= limit);
            told[1] += u32::from(other.on_timeout(due, &BASE) == Action::TimedOut);
        }
        prop_assert!(invite.is_terminated() && other.is_terminated());
        prop_assert!(told[0] <= 1 && told[1] <= 1);
    }
}
