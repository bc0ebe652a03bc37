//! What a ban's end forgives, and what it does not.

use super::*;
use crate::{Ban, BanId, BanKey, Learned, Origin};
use policy::Network;
use std::time::Duration;

const ADDRESS: &str = "198.51.100.7";

fn caller() -> Client {
    Client::new(&format!("{ADDRESS}:5060"), "INVITE", "100")
}

/// Calls that are never answered, until he is banned for them: how many.
fn until_banned(play: &mut Play, client: &mut Client) -> usize {
    for calls in 1..=20 {
        play.abandon(client, true);
        play.wait(9_000);
        if play.is_banned(ADDRESS) {
            return calls;
        }
    }
    panic!("never banned");
}

fn score(play: &Play) -> f32 {
    play.gate.source(play.now, ADDRESS.parse().unwrap()).unwrap().score
}

fn lasts(ban: &Ban) -> u64 {
    ban.until.since(ban.since).as_secs()
}

/// One moment before a ban ends, and one after.
fn across_the_end<T>(play: &mut Play, until: Time, look: impl Fn(&Play) -> T) -> [T; 2] {
    play.wait((until.since(play.now) - Duration::from_millis(1)).as_millis() as u64);
    let before = look(play);
    play.wait(2);
    [before, look(play)]
}

#[test]
fn evidence_is_halved_twice_when_its_ban_ends_and_the_next_ban_is_longer() {
    let mut play = Play::new();
    assert_eq!(until_banned(&mut play, &mut caller()), 3);
    let first = play.bans()[0].clone();
    let [before, after] = across_the_end(&mut play, first.until, score);
    assert!(!play.is_banned(ADDRESS));
    assert!((after - before / 4.0).abs() < 0.01, "{before}, and then {after}");
    assert_eq!(until_banned(&mut play, &mut caller()), 3, "it takes offences of its own");
    let second = play.bans().pop().unwrap().clone();
    assert_eq!([lasts(&first), lasts(&second)], [600, 2_400]);
    // what explains it says how much of the old evidence still counts
    let replayed = second.replay(&Play::policy().admission);
    assert!((replayed - second.score).abs() < 0.01, "{replayed} for {}", second.score);
}

#[test]
fn a_ban_that_takes_anothers_place_forgives_nothing() {
    let mut play = Play::new();
    until_banned(&mut play, &mut caller());
    let (before, now) = (score(&play), play.now);
    let by_hand = Ban {
        id: BanId::shared(1),
        origin: Origin::Operator,
        until: now + Duration::from_secs(60),
        ..play.bans()[0].clone()
    };
    play.gate.learned(now, &Learned::Ban(Box::new(by_hand)));
    play.drain();
    assert_eq!(score(&play), before);
}

#[test]
fn refusals_of_an_account_are_halved_twice_when_its_ban_ends() {
    // elsewhere it is the source's, at home the flow's
    for at_home in [false, true] {
        let mut play = Play::new();
        let mut client = Client::new(&format!("{ADDRESS}:5060"), "REGISTER", "alice");
        if at_home {
            play.attempt(&mut client, 200).unwrap();
        }
        let guesses = |play: &mut Play, client: &mut Client| {
            let before = (play.bans().len(), play.outcomes(Outcome::Refused));
            for _ in 0..20 {
                let _ = play.attempt(client, 401);
                if play.bans().len() > before.0 {
                    return play.outcomes(Outcome::Refused) - before.1;
                }
                // at home it has one try in half a minute
                play.wait(31_000);
            }
            panic!("never banned");
        };
        assert_eq!(guesses(&mut play, &mut client), 5, "{at_home}");
        let ban = play.bans()[0].clone();
        assert_eq!(matches!(ban.key, BanKey::AorFlow { .. }), at_home);
        play.wait(61_000);
        assert_eq!(guesses(&mut play, &mut client), 4, "{at_home}");
    }
}

#[test]
fn sources_for_which_a_network_was_banned_count_no_more_after_it() {
    let mut play = Play::new();
    let ban = |play: &mut Play, n: u8| {
        let source = Network::source([198, 51, 100, n].into());
        let until = play.now + Duration::from_secs(86_400);
        play.gate.learned(play.now, &Learned::SourceBanned { source, until });
        play.drain();
        play.is_banned("198.51.100.200")
    };
    for n in 1..=5 {
        assert_eq!(ban(&mut play, n), n == 5, "{n}");
    }
    play.wait(600_000);
    for n in 11..=15 {
        assert_eq!(ban(&mut play, n), n == 15, "{n}");
    }
}

#[test]
fn a_campaign_lasts_for_a_day_after_its_last_address() {
    let mut play = Play::new();
    let comes = |play: &mut Play, n: usize| {
        let mut tool = Client::new(&format!("198.51.{n}.7:5060"), "INVITE", "100");
        play.abandon(&mut tool, true)
    };
    for n in 0..5 {
        assert!(matches!(comes(&mut play, n), Got::Pass(_)));
        play.wait(9_000);
    }
    for (n, hours) in [(10, 10), (11, 23), (12, 2), (13, 23)] {
        play.wait(hours * 3_600_000);
        assert!(matches!(comes(&mut play, n), Got::Challenge(_)), "{n}");
    }
    play.wait(24 * 3_600_000 + 1_000);
    assert!(matches!(comes(&mut play, 20), Got::Pass(_)), "nobody came for a day");
    assert_eq!(play.gate.bans(10), []);
}
