//! Who calls and never answers, scans, forges, and how long that lasts.

use super::*;
use crate::BanKey;

#[test]
fn a_caller_who_never_answers_is_banned_at_the_third() {
    for every in [500, 4_000] {
        let mut play = Play::new();
        let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
        let mut tries = 0;
        while !play.is_banned("198.51.100.7") {
            tool.dialled = format!("0049{tries}");
            play.abandon(&mut tool, true);
            play.wait(every);
            tries += 1;
            assert!(tries < 200, "never banned at one per {every} ms");
        }
        assert_eq!(play.outcomes(Outcome::Abandoned), 3);
        assert!(play.leaked < 10, "{} leaked at one per {every} ms", play.leaked);
        let [ban] = play.bans()[..] else { panic!("{:?}", play.bans()) };
        assert!(matches!(ban.key, BanKey::Source(_)));
        assert_eq!((&*ban.why, ban.proof), ("abandoned-invite", Some(Proof::AckTag)));
        assert_eq!(ban.evidence.len(), 3);
        assert_eq!(&*ban.evidence[0].dialled, b"00490");
        let replayed = ban.replay(&Play::policy().admission);
        assert!((replayed - ban.score).abs() < 0.01, "{replayed} for {}", ban.score);
        let closed = |effect: &Effect| matches!(effect, Effect::Close(_));
        assert!(play.effects.iter().any(closed));
    }
}

#[test]
fn whoever_never_acknowledges_is_never_banned() {
    let mut play = Play::new();
    let mut forged = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..1_000 {
        play.abandon(&mut forged, false);
        play.wait(500);
    }
    play.wait(60_000);
    assert_eq!((play.bans().len(), play.outcomes(Outcome::Abandoned)), (0, 0));
    assert!(play.outcomes(Outcome::Unreachable) > 100);
}

#[test]
fn a_forger_with_the_address_of_a_phone_gets_nobody_banned() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    for n in 0..7_200 {
        let method = if n % 2 == 0 { "INVITE" } else { "REGISTER" };
        let mut forged = Client::new("198.51.100.7:9", method, "bob");
        play.abandon(&mut forged, false);
        // a nonce of the same second was relayed to everybody; the forger knows it
        forged.opaque = false;
        let nonce = format!("1700000000/{:032x}", play.nonces);
        let credentials = format!(
            "Authorization: Digest username=\"u\",realm=\"asterisk\",nonce=\"{nonce}\",\
             uri=\"sip:x\",response=\"00\"\r\n"
        );
        if let Got::Pass(pass) = play.ask(&forged, "", &credentials) {
            play.challenge(&forged, &pass, false);
        }
        play.wait(500);
        if n % 600 == 0 {
            play.attempt(&mut phone, 200).unwrap();
        }
    }
    assert_eq!(play.bans().len(), 0);
    assert_eq!(play.gate.proof(play.now, &phone.flow), Some(Proof::Opaque));
}

#[test]
fn two_hundred_addresses_with_one_call_each_are_a_campaign() {
    let mut play = Play::new();
    let mut accepted = 0;
    for n in 0..200 {
        let mut tool = Client::new(&format!("198.51.{n}.7:5060"), "INVITE", "100");
        tool.lines = "User-Agent: tool\r\nX: y\r\n".into();
        accepted += usize::from(matches!(play.abandon(&mut tool, true), Got::Pass(_)));
        play.wait(300_000);
    }
    assert_eq!(accepted, 5);
    let campaign = |effect: &&Effect| matches!(effect, Effect::Alert(Alert::Campaign { .. }));
    assert_eq!(play.effects.iter().filter(campaign).count(), 1);
    // whoever can answer ends it
    let mut phone = Client::new("203.0.113.9:5060", "INVITE", "alice");
    phone.lines = "User-Agent: tool\r\nX: y\r\n".into();
    play.attempt(&mut phone, 200).unwrap();
    let mut next = Client::new("203.0.113.77:5060", "INVITE", "100");
    next.lines = phone.lines.clone();
    assert!(matches!(play.abandon(&mut next, true), Got::Pass(_)));
}

#[test]
fn what_a_scanner_left_open_counts_once_it_proves_itself() {
    let mut play = Play::new();
    for n in 0..8 {
        let mut scanner = Client::tcp("198.51.100.7:5060", "REGISTER", &format!("{n}"), 1);
        let _ = play.abandon(&mut scanner, false);
    }
    play.wait(40_000);
    assert!(play.is_banned("198.51.100.7"), "eight registrations abandoned by a proven one");
}

#[test]
fn low_and_slow_is_remembered() {
    let mut play = Play::new();
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    let mut tries = 0;
    loop {
        play.abandon(&mut tool, true);
        play.wait(10_000);
        tries += 1;
        if play.is_banned("198.51.100.7") {
            break;
        }
        play.wait(2 * 3_600_000);
        assert!(tries < 100);
    }
    assert!((12..16).contains(&tries), "{tries}");
}

#[test]
fn a_network_with_five_banned_sources_is_banned() {
    let mut play = Play::new();
    for n in 1..=5 {
        let remote = format!("198.51.100.{n}");
        for _ in 0..3 {
            let mut tool = Client::tcp(&format!("{remote}:5060"), "INVITE", "100", n);
            tool.lines = format!("User-Agent: {n}\r\n");
            play.abandon(&mut tool, true);
            play.wait(9_000);
        }
        assert!(play.is_banned(&remote));
    }
    assert!(play.is_banned("198.51.100.200"));
    assert!(!play.is_banned("198.51.101.1"));
}

#[test]
fn a_network_with_somebody_known_is_only_narrowed() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.99:5060", "REGISTER", "alice");
    // for longer than trust lasts
    for _ in 0..30 {
        play.attempt(&mut phone, 200).unwrap();
        play.wait(3_600_000);
    }
    for n in 1..=5 {
        for _ in 0..3 {
            play.abandon(&mut Client::tcp(&format!("198.51.100.{n}:5060"), "INVITE", "1", n), true);
            play.wait(9_000);
        }
    }
    assert!(play.bans().iter().any(|ban| matches!(ban.key, BanKey::Network(_)) && ban.narrowed));
    assert!(!play.is_banned("198.51.100.200"));
    play.attempt(&mut phone, 200).unwrap();
}

#[test]
fn a_tag_of_his_own_making_proves_nothing() {
    let mut play = Play::new();
    let mut forged = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..50 {
        play.new_call(&mut forged);
        if let Got::Pass(pass) = play.ask(&forged, "mine", "") {
            let line = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n\"\r\n";
            play.answer_tagged(&forged, &pass, 401, line, "mine");
            assert_eq!(play.ack(&forged, "mine", Some(&pass)), None);
        }
        play.wait(3_000);
    }
    assert_eq!(play.bans().len(), 0);
}

#[test]
fn honeytokens_are_conclusive_once_proven() {
    let honey = |rules: &mut policy::Admission| rules.honeytokens = vec!["admin".into()];
    let mut play = Play::with(honey);
    let mut forged = Client::new("198.51.100.7:5060", "INVITE", "admin");
    play.abandon(&mut forged, false);
    play.wait(60_000);
    assert_eq!(play.bans().len(), 0);
    play.abandon(&mut forged, true);
    assert!(play.is_banned("198.51.100.7"));
    let mut play = Play::with(honey);
    let mut tcp = Client::tcp("198.51.100.7:5060", "REGISTER", "admin", 1);
    play.new_call(&mut tcp);
    assert_eq!(play.ask(&tcp, "", ""), Got::Reject(503));
    assert!(play.is_banned("198.51.100.7"));
}

#[test]
fn nothing_of_an_unproven_source_reaches_the_pbx_in_always() {
    let mut play = Play::with(|rules| {
        rules.edge_challenge.mode = policy::ChallengeMode::Always;
        rules.edge_challenge.realm = Some("asterisk".into());
    });
    for n in 0..100 {
        let mut forged = Client::new(&format!("198.51.100.{n}:5060"), "INVITE", "100");
        assert!(matches!(play.abandon(&mut forged, false), Got::Challenge(_)));
    }
    assert_eq!((play.leaked, play.gate.snapshot().ledger.entries), (0, 0));
    for method in ["REGISTER", "INVITE"] {
        for opaque in [true, false] {
            let mut phone = Client::new("203.0.113.9:5060", method, "alice");
            phone.opaque = opaque;
            play.attempt(&mut phone, 200).unwrap();
        }
    }
    // he acknowledges the edge's challenges, and never answers them
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    let before = play.leaked;
    for _ in 0..4 {
        play.abandon(&mut tool, true);
        play.wait(9_000);
    }
    assert!(play.is_banned("198.51.100.7"));
    assert!(play.leaked <= before + 2, "the ACK of the first has proven him");
}

#[test]
fn a_ban_ends_and_the_next_is_longer() {
    let mut play = Play::new();
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    let mut lengths = Vec::new();
    while lengths.len() < 4 {
        play.abandon(&mut tool, true);
        play.wait(9_000);
        if play.is_banned("198.51.100.7") {
            let ban = play.bans().pop().unwrap();
            lengths.push(ban.until.since(ban.since).as_secs());
            play.wait(86_400_000);
        }
    }
    assert_eq!(lengths[0], 600);
    assert!(lengths[1] <= 2_400);
    let lifted = play.effects.iter().filter(|effect| matches!(effect, Effect::Lifted(_)));
    assert_eq!(lifted.count(), 4);
}

#[test]
fn a_signature_drops_until_it_meets_somebody_authenticated() {
    let spec = policy::SignatureSpec {
        id: "tool".into(),
        ceiling: policy::Ceiling::Drop,
        mode: Mode::Enforce,
        what: "".into(),
        source: "".into(),
        false_positives: "".into(),
        when: policy::Condition::Text(
            policy::TextField::UserAgent,
            policy::Test::Starts(vec!["sipcli".into()]),
        ),
    };
    let mut play =
        Play::with(|rules| rules.signatures = policy::Signatures::compile(vec![spec]).unwrap());
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    tool.lines = "User-Agent: sipcli/v1.8\r\n".into();
    assert_eq!(play.abandon(&mut tool, true), Got::Drop(Reason::Signature));
    let mut phone = Client::new("203.0.113.9:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    // at home it passes, and what it sends with credentials demotes the signature
    phone.lines = tool.lines.clone();
    let mut forged = Client::new("203.0.113.9:1", "REGISTER", "alice");
    forged.lines = tool.lines.clone();
    play.abandon(&mut forged, false);
    assert_eq!(play.abandon(&mut tool, true), Got::Drop(Reason::Signature));
    play.attempt(&mut phone, 200).unwrap();
    assert!(matches!(play.abandon(&mut tool, true), Got::Pass(_)));
    let demoted = |effect: &&Effect| matches!(effect, Effect::Alert(Alert::Demoted { .. }));
    assert_eq!(play.effects.iter().filter(demoted).count(), 1);
    assert!(play.gate.counts().signatures[0].1 >= 1);
    play.gate.configure(play.now, play.gate.policy.clone());
    assert_eq!(play.abandon(&mut tool, true), Got::Drop(Reason::Signature));
}

#[test]
fn an_edge_nonce_used_again_and_again_opens_no_more_doors() {
    let mut play = Play::with(|rules| {
        rules.edge_challenge.mode = policy::ChallengeMode::Always;
        rules.edge_challenge.realm = Some("asterisk".into());
    });
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    let Got::Challenge(line) = play.abandon(&mut tool, false) else { panic!() };
    let credentials = Play::credentials(&tool, &line);
    for _ in 0..100 {
        play.new_call(&mut tool);
        if let Got::Pass(pass) = play.ask(&tool, "", &credentials) {
            play.challenge(&tool, &pass, false);
        }
        play.wait(100);
    }
    assert!(play.is_banned("198.51.100.7"));
    assert!(play.leaked <= 6, "{}", play.leaked);
}

#[test]
fn what_a_shard_learns_all_know() {
    let mut one = Play::new();
    let mut two = Play::new();
    for n in 1..=5 {
        for _ in 0..3 {
            one.abandon(&mut Client::tcp(&format!("198.51.100.{n}:5060"), "INVITE", "1", n), true);
            one.wait(9_000);
        }
    }
    for effect in &one.effects {
        if let Effect::Learned(learned) = effect {
            two.gate.learned(one.now, learned);
        }
    }
    two.now = one.now;
    assert!(two.is_banned("198.51.100.200"), "by five sources of another shard");
    assert!(!one.gate.bans(10).is_empty());
    let order = Learned::Lift {
        network: policy::Network::around("198.51.100.0".parse().unwrap()),
        trust: None,
        forgive: true,
    };
    one.gate.learned(one.now, &order);
    for n in [1, 5, 200] {
        assert!(!one.is_banned(&format!("198.51.100.{n}")), "{n}");
    }
}

#[test]
fn an_echo_is_no_licence_for_its_call() {
    let mut play = Play::with(|rules| {
        rules.edge_challenge.mode = policy::ChallengeMode::Always;
        rules.edge_challenge.realm = Some("asterisk".into());
    });
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    let Got::Challenge(line) = play.abandon(&mut tool, true) else { panic!() };
    let credentials = Play::credentials(&tool, &line);
    for _ in 0..60 {
        if let Got::Pass(pass) = play.ask(&tool, "", &credentials) {
            play.wait(5);
            let (tag, _) = play.challenge(&tool, &pass, false);
            play.ack(&tool, &tag, Some(&pass));
        }
        play.wait(100);
    }
    assert!(play.leaked <= 3, "{}", play.leaked);
    play.wait(8_000);
    assert_eq!(play.outcomes(Outcome::Abandoned), 1);
}

#[test]
fn an_error_that_one_asks_for_ends_no_challenge() {
    let mut play = Play::new();
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    play.abandon(&mut tool, true);
    let Got::Pass(pass) = play.ask(&tool, "", "") else { panic!() };
    play.answer(&tool, &pass, 420, "");
    play.wait(8_000);
    assert_eq!(play.outcomes(Outcome::Abandoned), 1);
    assert_eq!(play.outcomes(Outcome::Superseded), 0);
}

#[test]
fn who_is_too_fast_is_slowed_and_nothing_speaks_against_him() {
    let mut play = Play::new();
    let mut watcher = Client::tcp("198.51.100.7:5060", "OPTIONS", "100", 1);
    let mut refused = 0;
    for _ in 0..2_000 {
        play.new_call(&mut watcher);
        match play.ask(&watcher, "", "") {
            Got::Pass(pass) => drop(play.answer(&watcher, &pass, 200, "")),
            _ => refused += 1,
        }
    }
    assert!(refused > 1_000, "{refused}");
    assert_eq!((play.bans().len(), play.is_banned("198.51.100.7")), (0, false));
    assert_eq!(play.gate.evidence_on("198.51.100.7".parse().unwrap()), []);
    play.wait(60_000);
    play.new_call(&mut watcher);
    assert!(matches!(play.ask(&watcher, "", ""), Got::Pass(_)), "then he is as good as anybody");
}
