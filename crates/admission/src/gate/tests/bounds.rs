use super::*;
use policy::{ChallengeMode, Rate, Then};
use std::time::Duration;

/// Forged requests of so many addresses: none stays longer than its patience.
fn flood(play: &mut Play, sources: u32, method: &'static str) {
    for n in 0..sources {
        let [a, b, c, d] = (0x0b00_0000 + n).to_be_bytes();
        let mut forged = Client::new(&format!("{a}.{b}.{c}.{d}:5060"), method, "100");
        play.abandon(&mut forged, false);
        if n % 50 == 0 {
            play.wait(10);
            play.effects.clear();
        }
    }
}

#[test]
fn forged_sources_leave_memory_flat() {
    let mut play = Play::new();
    flood(&mut play, 50_000, "REGISTER");
    let snapshot = play.gate.snapshot();
    assert!(snapshot.under_attack);
    assert!(snapshot.ledger.entries <= 1_001, "{:?}", snapshot.ledger);
    assert!(snapshot.sources.entries <= 1_001, "{:?}", snapshot.sources);
    assert!(play.leaked <= 1_002, "{}", play.leaked);
    // a phone registers while it goes on
    play.attempt(&mut Client::new("203.0.113.9:5060", "REGISTER", "alice"), 200).unwrap();
    play.wait(40_000);
    let snapshot = play.gate.snapshot();
    assert!(!snapshot.under_attack);
    assert_eq!((snapshot.ledger.entries, snapshot.sources.entries), (0, 1));
}

#[test]
fn tables_are_bounded_where_the_edge_may_not_challenge() {
    let mut play = Play::with(|rules| {
        rules.edge_challenge.mode = ChallengeMode::Off;
        let all = &mut rules.capacities;
        (all.ledger, all.sources, all.pairs, all.aors) = (500, 600, 100, 100);
        (all.networks, all.shapes, all.bans, all.rates, all.chains) = (100, 100, 100, 30, 50);
    });
    flood(&mut play, 20_000, "INVITE");
    for n in 0..2_000u64 {
        let remote = format!("10.{}.{}.9:5060", n / 200, n % 200);
        let mut tool = Client::tcp(&remote, "INVITE", &format!("u{n}"), n);
        tool.lines = format!("X-{n}: y\r\n");
        let _ = play.attempt(&mut tool, 401);
        play.abandon(&mut tool, true);
    }
    play.wait(10_000);
    let all = play.gate.snapshot();
    for table in [
        all.ledger,
        all.sources,
        all.pairs,
        all.aors,
        all.networks,
        all.shapes,
        all.bans,
        all.rates,
        all.chains,
    ] {
        assert!(table.entries <= table.capacity, "{table:?}");
    }
    assert!(all.ledger.evictions > 0 && all.pairs.evictions > 0 && all.rates.evictions > 0);
}

#[test]
fn whoever_opens_too_many_challenges_waits() {
    let mut play = Play::new();
    let mut tool = Client::tcp("198.51.100.7:5060", "INVITE", "100", 1);
    let got: Vec<_> = (0..5).map(|_| play.abandon(&mut tool, true)).collect();
    assert_eq!(got.iter().filter(|got| matches!(got, Got::Pass(_))).count(), 3);
    assert_eq!(got[4], Got::Reject(503));
    // unproven ones are challenged by the edge
    let mut forged = Client::new("198.51.100.8:5060", "INVITE", "100");
    let got: Vec<_> = (0..5).map(|_| play.abandon(&mut forged, false)).collect();
    assert_eq!(got.iter().filter(|got| matches!(got, Got::Challenge(_))).count(), 2);
    // the same Call-ID again and again is as many
    let mut play = Play::new();
    play.new_call(&mut tool);
    let mut passed = 0;
    for _ in 0..10 {
        if let Got::Pass(pass) = play.ask(&tool, "", "") {
            passed += 1;
            play.challenge(&tool, &pass, false);
            play.wait(10);
        }
    }
    assert_eq!(passed, 3);
    play.wait(9_000);
    assert_eq!(play.gate.snapshot().ledger.entries, 0);
    assert!(matches!(play.abandon(&mut tool, true), Got::Pass(_)));
}

#[test]
fn a_smaller_ledger_takes_back_what_it_counted() {
    let mut play = Play::with(|rules| rules.edge_challenge.mode = ChallengeMode::Off);
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..3 {
        assert!(matches!(play.abandon(&mut tool, false), Got::Pass(_)));
    }
    assert!(matches!(play.abandon(&mut tool, false), Got::Drop(Reason::Narrowed)));
    let mut policy = Play::policy();
    policy.admission.edge_challenge.mode = ChallengeMode::Off;
    policy.admission.capacities.ledger = 1;
    play.gate.configure(play.now, Arc::new(policy));
    let snapshot = play.gate.snapshot();
    assert_eq!((snapshot.ledger.entries, snapshot.sources.entries), (1, 1));
    for _ in 0..2 {
        assert!(matches!(play.abandon(&mut tool, false), Got::Pass(_)), "their places are free");
    }
    play.wait(40_000);
    let snapshot = play.gate.snapshot();
    assert_eq!((snapshot.ledger.entries, snapshot.sources.entries), (0, 0));
}

#[test]
fn a_source_of_very_many_open_challenges_still_adds_up() {
    let mut sources = crate::sources::Sources::new(&[1; 32], 10);
    let (ip, length) = ("192.0.2.1".parse().unwrap(), Duration::from_secs(1));
    let key = sources.key_of(ip);
    sources.suspect(Time::ZERO + length, key, ip);
    let source = sources.find_mut(key).unwrap();
    (source.invites, source.others) = (u16::MAX, u16::MAX);
    sources.drop_old_suspects(Time::ZERO + 100 * length, length, 10);
    assert!(sources.find(key).is_some());
}

#[test]
fn a_stranger_has_no_more_open_challenges_for_an_attack_that_none_may_answer() {
    let mut play = Play::with(|rules| {
        rules.edge_challenge.mode = ChallengeMode::Off;
        rules.edge_challenge.open = 20;
    });
    flood(&mut play, 40, "REGISTER");
    assert!(play.gate.snapshot().under_attack);
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..3 {
        assert!(matches!(play.abandon(&mut tool, false), Got::Pass(_)));
    }
    assert!(matches!(play.abandon(&mut tool, false), Got::Drop(Reason::Narrowed)));
}

#[test]
fn a_storm_is_no_way_around_the_rates() {
    let mut play = Play::with(|admission| {
        for rule in &mut admission.rules {
            if let Then::Limit { rate, .. } = &mut rule.then {
                *rate = Rate { count: 50, per: Duration::from_secs(1), burst: 200 };
            }
        }
    });
    let phone = |n: u32| Client::new(&format!("10.7.0.{n}:5060"), "REGISTER", &format!("u{n}"));
    let mut phones: Vec<_> = (1..=100).map(phone).collect();
    for _ in 0..2 {
        for phone in &mut phones {
            assert_eq!(play.attempt(phone, 200), Ok(()));
        }
    }
    assert!(play.gate.storm.is_on(play.now));
    // whoever knows a phone's name and address
    let passed = (0..2_000).filter(|_| {
        play.new_call(&mut phones[0]);
        matches!(play.ask(&phones[0], "", ""), Got::Pass(_))
    });
    let passed = passed.count();
    assert!((200..=215).contains(&passed), "{passed}");
    assert!(phones[1..].iter_mut().all(|phone| play.attempt(phone, 200) == Ok(())));
}

#[test]
fn an_attack_is_over_when_half_of_what_began_it_is() {
    let mut play = Play::with(|rules| rules.edge_challenge.open = 20);
    let began = |play: &Play| -> Vec<bool> {
        let said = play.effects.iter().filter_map(|effect| match effect {
            Effect::Alert(Alert::UnderAttack { began }) => Some(*began),
            _ => None,
        });
        said.collect()
    };
    // two thirds are over after 8 s, the rest after 32 s
    for n in 0..21 {
        let method = if n % 3 == 0 { "REGISTER" } else { "INVITE" };
        play.abandon(&mut Client::new(&format!("10.0.0.{n}:5060"), method, "100"), false);
        assert_eq!(play.gate.snapshot().under_attack, n == 20, "{n}");
    }
    // what has ended leaves fewer than began it, and yet more than half
    play.gate.on_unheard(5);
    play.drain();
    play.wait(9_000);
    assert_eq!(play.gate.snapshot().ledger.entries, 7);
    assert!(play.gate.snapshot().under_attack, "7 challenges and 5 unheard requests");
    assert_eq!(began(&play), [true]);
    play.gate.on_unheard(2);
    play.drain();
    assert!(!play.gate.snapshot().under_attack);
    assert_eq!(began(&play), [true, false]);
}
