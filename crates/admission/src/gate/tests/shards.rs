//! Several shards: a source meets one of them, so what is of a name, a network or a shape is told to
//! all, and what operators order holds in all.

use super::*;
use crate::{Ban, BanId, BanKey, Learned, Memory, Origin};
use policy::{Admission, ChallengeMode, Network};
use std::time::Duration;

/// Two shards of one edge.
fn shards(change: impl Fn(&mut Admission)) -> [Play; 2] {
    [0, 1].map(|shard| {
        let mut play = Play::with(&change);
        play.gate = Gate::new(play.gate.policy.clone(), ShardId(shard), &SECRET).among(2);
        play
    })
}

/// What one has learned the other hears; it is as late there then.
fn tell(from: &mut Play, to: &mut Play) {
    let behind = from.now.since(to.now).as_millis() as u64;
    to.wait(behind);
    let told: Vec<_> = std::mem::take(&mut from.effects);
    for effect in told {
        match effect {
            Effect::Learned(learned) => to.gate.learned(to.now, &learned),
            other => from.effects.push(other),
        }
    }
    to.drain();
}

fn order(play: &mut Play, learned: &Learned) {
    play.gate.learned(play.now, learned);
    play.drain();
}

fn count(play: &Play, is_it: impl Fn(&Effect) -> bool) -> usize {
    play.effects.iter().filter(|effect| is_it(effect)).count()
}

/// A caller at this address who only looks, with a shape of its own.
fn caller(number: usize, shape: &str) -> Client {
    let mut caller = Client::new(&format!("198.51.{number}.7:5060"), "INVITE", "100");
    caller.lines = format!("User-Agent: Phone/1.0\r\n{shape}: x\r\n");
    caller
}

fn abandons(play: &mut Play, mut caller: Client) -> Got {
    let got = play.abandon(&mut caller, true);
    play.wait(9_000);
    got
}

fn ban(id: BanId, key: BanKey, now: Time) -> Ban {
    Ban {
        id,
        key,
        why: "by hand".into(),
        reason: Reason::Banned,
        proof: None,
        since: now,
        until: now + Duration::from_secs(3_600),
        narrowed: false,
        policy_version: 0,
        score: 0.0,
        origin: Origin::Operator,
        evidence: Vec::new(),
    }
}

#[test]
fn many_guessers_of_one_aor_have_no_more_tries_for_there_being_two_shards() {
    let [mut one, mut two] = shards(|_| {});
    // under a phone's shape, so that no campaign stops them first
    let mut phone = Client::new("203.0.113.9:5060", "REGISTER", "alice");
    one.attempt(&mut phone, 200).unwrap();
    tell(&mut one, &mut two);
    let mut tries = |many: usize| {
        let before = one.outcomes(Outcome::Refused) + two.outcomes(Outcome::Refused);
        for n in 0..many {
            let mut guesser = Client::new(&format!("198.51.{n}.7:5060"), "REGISTER", "alice");
            let (here, there) =
                if n % 2 == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
            let _ = here.attempt(&mut guesser, 401);
            here.wait(2_000);
            tell(here, there);
        }
        one.outcomes(Outcome::Refused) + two.outcomes(Outcome::Refused) - before
    };
    let first = tries(30);
    assert!(first <= 15, "ten, each shard's first, and one in half a minute: {first}");
    // seven minutes: one in half a minute, all shards together
    let more = tries(200);
    assert!((12..=16).contains(&more), "{more}");
    two.attempt(&mut Client::new("203.0.113.10:5060", "REGISTER", "bob"), 200).unwrap();
    one.attempt(&mut phone, 200).unwrap();
}

#[test]
fn a_campaign_is_one_whichever_shards_its_addresses_meet() {
    let [mut one, mut two] = shards(|_| {});
    for n in 0..5 {
        let (here, there) = if n % 2 == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        assert!(matches!(abandons(here, caller(n, "X-Tool")), Got::Pass(_)), "{n}");
        tell(here, there);
    }
    for (n, play) in [&mut one, &mut two].into_iter().enumerate() {
        assert!(matches!(abandons(play, caller(10 + n, "X-Tool")), Got::Challenge(_)), "{n}");
        assert!(matches!(abandons(play, caller(20 + n, "X-Other")), Got::Pass(_)), "{n}");
    }
    tell(&mut two, &mut one);
    // whoever succeeds under that shape ends it, in all shards and for good
    let mut phone = Client { method: "REGISTER", ..caller(99, "X-Tool") };
    phone.aor = "alice@pbx.example".into();
    let mut call = Client { method: "INVITE", ..phone.clone() };
    one.attempt(&mut call, 200).unwrap();
    tell(&mut one, &mut two);
    for n in 30..40 {
        assert!(matches!(abandons(&mut two, caller(n, "X-Tool")), Got::Pass(_)), "{n}");
    }
}

#[test]
fn a_campaign_that_goes_on_in_one_shard_goes_on_in_all_and_is_said_once() {
    let mut all = shards(|_| {});
    for n in 0..5 {
        let [one, two] = &mut all;
        abandons(one, caller(n, "X-Tool"));
        tell(one, two);
    }
    for n in 10..16 {
        let [one, two] = &mut all;
        two.wait(10 * 3_600_000);
        assert!(matches!(abandons(two, caller(n, "X-Tool")), Got::Challenge(_)), "{n}");
        tell(two, one);
    }
    let [one, two] = &mut all;
    assert!(matches!(abandons(one, caller(20, "X-Tool")), Got::Challenge(_)), "60 hours later");
    // and it ends as one
    two.wait(25 * 3_600_000);
    tell(two, one);
    for (n, play) in all.iter_mut().enumerate() {
        assert!(matches!(abandons(play, caller(30 + n, "X-Tool")), Got::Pass(_)), "{n}");
    }
    let said = |is_it: fn(&Effect) -> bool| all.each_ref().map(|play| count(play, is_it));
    assert_eq!(said(|it| matches!(it, Effect::Banned(_))), [1, 0]);
    assert_eq!(said(|it| matches!(it, Effect::Alert(Alert::Campaign { .. }))), [1, 0]);
    assert_eq!(said(|it| matches!(it, Effect::Lifted(_))), [1, 0]);
}

#[test]
fn somebody_known_in_a_network_is_known_there_to_all_shards() {
    let [mut one, mut two] = shards(|_| {});
    one.attempt(&mut Client::new("198.51.100.99:5060", "REGISTER", "alice"), 200).unwrap();
    tell(&mut one, &mut two);
    for n in 1..=5 {
        for _ in 0..3 {
            let remote = format!("198.51.100.{n}:5060");
            two.abandon(&mut Client::tcp(&remote, "INVITE", "1", n), true);
            two.wait(9_000);
        }
    }
    let bans = two.gate.bans(10);
    let network = bans.iter().find(|ban| matches!(ban.key, BanKey::Network(_)));
    assert!(network.is_some_and(|ban| ban.narrowed), "{bans:?}");
    assert!(!two.is_banned("198.51.100.200"), "the phone's neighbours may call");
}

#[test]
fn a_shard_that_has_not_met_the_pbx_challenges_as_the_others_do() {
    let [mut one, mut two] = shards(|rules| rules.edge_challenge.mode = ChallengeMode::Always);
    let stranger = |n| Client::new(&format!("198.51.{n}.7:5060"), "REGISTER", "alice");
    let mut first = stranger(1);
    two.new_call(&mut first);
    assert!(matches!(two.ask(&first, "", ""), Got::Pass(_)), "no realm yet");
    one.abandon(&mut stranger(2), false);
    tell(&mut one, &mut two);
    let Got::Challenge(line) = two.abandon(&mut stranger(3), false) else { panic!("no realm") };
    assert!(line.contains("realm=\"asterisk\""), "{line}");
}

#[test]
fn what_an_operator_bans_is_banned_in_all_shards_and_said_once() {
    let network: Network = Network::around("198.51.100.0".parse().unwrap());
    let source = Network::source("203.0.113.7".parse().unwrap());
    let mut all = shards(|_| {});
    let said =
        |all: &[Play; 2], is_it: fn(&Effect) -> bool| all.each_ref().map(|it| count(it, is_it));
    for play in &mut all {
        let now = play.now;
        let slowed = Ban { narrowed: true, ..ban(BanId::shared(2), BanKey::Source(source), now) };
        let banned = ban(BanId::shared(1), BanKey::Network(network), now);
        order(play, &Learned::Ban(Box::new(banned)));
        order(play, &Learned::Ban(Box::new(slowed)));
        assert!(play.is_banned("198.51.100.7") && !play.is_banned("203.0.113.7"));
        let closed = |effect: &Effect| matches!(effect, Effect::Close(_));
        assert_eq!(count(play, closed), 1, "who is only slowed keeps his connections");
    }
    assert_eq!(said(&all, |effect| matches!(effect, Effect::Banned(_))), [2, 0]);
    for play in &mut all {
        order(play, &Learned::Lift { network, trust: None, forgive: false });
        assert!(!play.is_banned("198.51.100.7"));
    }
    assert_eq!(said(&all, |effect| matches!(effect, Effect::Lifted(_))), [1, 0]);
}

#[test]
fn an_operator_lifts_a_campaign_and_a_pair_in_all_shards() {
    let keys = [
        BanKey::Campaign(7),
        BanKey::AorSource { aor: 7, source: Network::source("198.51.100.7".parse().unwrap()) },
    ];
    for mut play in shards(|_| {}) {
        for key in keys {
            let now = play.now;
            order(&mut play, &Learned::Ban(Box::new(ban(BanId::shared(1), key, now))));
            assert_eq!(play.gate.bans(10).len(), 1);
            order(&mut play, &Learned::Unban { key, forgive: false });
            assert_eq!(play.gate.bans(10), []);
        }
    }
}

#[test]
fn an_operators_trust_and_its_end_are_for_all_and_are_remembered() {
    let network = Network::source("198.51.100.7".parse().unwrap());
    for mut play in shards(|_| {}) {
        for _ in 0..3 {
            play.abandon(&mut Client::tcp("198.51.100.7:5060", "INVITE", "1", 1), true);
            play.wait(9_000);
        }
        let ip = network.address();
        assert!(play.is_banned("198.51.100.7") && play.gate.evidence_on(ip).len() == 3);
        let until = play.now + Duration::from_secs(3_600);
        order(&mut play, &Learned::Lift { network, trust: Some(until), forgive: false });
        assert!(!play.is_banned("198.51.100.7") && play.gate.trusted_by(play.now, ip).is_some());
        assert_eq!(play.gate.evidence_on(ip).iter().map(|it| it.weight).sum::<f32>(), 0.0);
        order(&mut play, &Learned::Distrust { network });
        assert!(play.gate.trusted_by(play.now, ip).is_none());
        let remembered = play.effects.iter().filter_map(|effect| match effect {
            Effect::Remember(Memory::Trust { until, .. }) => Some(*until),
            _ => None,
        });
        assert_eq!(remembered.collect::<Vec<_>>(), [until, play.now]);
    }
}
