//! The forum's case: sipcli against an open PBX.

use super::*;

/// From an existing and from unknown users, from one port or a new one each time, at both paces.
fn variants() -> Vec<(&'static str, Sources, Duration)> {
    let ip: IpAddr = [100, 64, 1, 1].into();
    let mut variants = Vec::new();
    for from in ["6001", "*"] {
        for sources in [Sources::One(SocketAddr::new(ip, 5060)), Sources::Ports(ip)] {
            for pace in [millis(500), secs(4)] {
                variants.push((from, sources.clone(), pace));
            }
        }
    }
    variants
}

#[test]
fn by_its_shape_sipcli_is_dropped_at_its_first_packet() {
    for (from, sources, interval) in variants() {
        for acks in [true, false] {
            let mut scene = scene_with_signatures(Setup::default());
            at_home(&mut scene, "6001");
            let kind = calls(&[from], &["900972597438354"], acks);
            let sipcli = attack(&mut scene, Tool::Sipcli, kind, sources.clone(), interval, 30);
            until_over(&mut scene, sipcli);
            assert_eq!(leaked(&scene, sipcli), 0);
            assert_eq!(scene.attacker(sipcli).counts.answers, 0);
            assert_eq!(scene.edge().expect("an edge").count(Reason::Signature), 30);
            no_violations(&scene);
        }
    }
}

#[test]
fn without_signatures_it_is_banned_by_its_third_abandoned_challenge() {
    for chan_sip in [false, true] {
        for (from, sources, interval) in variants() {
            let mut scene = scene(Setup { chan_sip, ..Setup::default() });
            at_home(&mut scene, "6001");
            let kind = calls(&[from], &["5551234"], true);
            let sipcli = attack(&mut scene, Tool::Sipcli, kind, sources, interval, 100);
            until_over(&mut scene, sipcli);
            assert_eq!(whole_bans(&scene).len(), 1, "{:?}", bans(&scene));
            let (_, ban) = &scene.edge().expect("an edge").bans[0];
            assert_eq!(ban.evidence.len(), 3, "{ban:?}");
            assert!(ban.evidence.iter().all(|record| record.outcome == Outcome::Abandoned));
            assert!(leaked(&scene, sipcli) < 10, "{}", leaked(&scene, sipcli));
            no_violations(&scene);
        }
    }
}

#[test]
fn a_number_abroad_weighs_three_times() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let kind = calls(&["6001"], &["900972597438354"], true);
    let (_, one, _) = variants().remove(0);
    let sipcli = attack(&mut scene, Tool::Sipcli, kind, one, secs(10), 30);
    until_over(&mut scene, sipcli);
    assert_eq!(leaked(&scene, sipcli), 1);
    assert_eq!(whole_bans(&scene).len(), 1);
    let (_, ban) = &scene.edge().expect("an edge").bans[0];
    let rules = policy::Admission::default().rules;
    for record in &ban.evidence {
        let raised_by = rules.get(usize::from(record.raised_by)).map(|rule| &*rule.name);
        assert_eq!(raised_by, Some("dialled-abroad"));
    }
}

#[test]
fn one_that_never_acknowledges_is_never_banned_and_has_little_in_passage() {
    for chan_sip in [false, true] {
        for (from, sources, interval) in variants() {
            let mut scene = scene(Setup { chan_sip, ..Setup::default() });
            let phone = at_home(&mut scene, "6001");
            let kind = calls(&[from], &["5551234"], false);
            let sipcli = attack(&mut scene, Tool::Sipcli, kind, sources, interval, 100);
            until_over(&mut scene, sipcli);
            assert_eq!(bans(&scene), Vec::<String>::new());
            assert_eq!(outcomes(&scene, Outcome::Abandoned), 0);
            // Three at a time, for eight seconds each: who sends no more than that is let through,
            // because nothing says that he is there.
            let most = 3 * ((interval * 100).as_secs() / 8 + 2);
            let leaked = leaked(&scene, sipcli);
            assert!(leaked <= most, "{leaked} of {most}");
            works(&mut scene, phone);
            no_violations(&scene);
        }
    }
}

#[test]
fn from_two_hundred_addresses_it_is_a_campaign_after_a_few() {
    for (shards, chan_sip) in [(1, false), (4, false), (1, true)] {
        let mut scene = scene(Setup { shards, chan_sip, ..Setup::default() });
        at_home(&mut scene, "6001");
        let many: Vec<SocketAddr> =
            (0..200).map(|n| SocketAddr::new([100, 64 + n % 7, n, 9].into(), 5060)).collect();
        let kind = calls(&["*"], &["5551234"], true);
        // One INVITE each in five minutes.
        let sipcli =
            attack(&mut scene, Tool::Sipcli, kind, Sources::Many(many), millis(1_500), 600);
        scene.world.run_for(secs(25));
        let before = leaked(&scene, sipcli);
        // The fifth is known to have abandoned when its patience ends.
        assert!(before <= 12, "{before}");
        let campaign = |(_, alert): &(policy::Time, admission::Alert)| {
            matches!(alert, admission::Alert::Campaign { .. })
        };
        let alerts = |scene: &Scene| {
            scene.edge().expect("an edge").alerts.iter().filter(|it| campaign(it)).count()
        };
        // It is said once, whichever shards have met it.
        assert_eq!(alerts(&scene), 1);
        until_over(&mut scene, sipcli);
        assert_eq!(leaked(&scene, sipcli), before, "nothing of later addresses gets through");
        no_violations(&scene);
    }
}

#[test]
fn a_success_ends_a_campaign() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let many: Vec<SocketAddr> =
        (0..10).map(|n| SocketAddr::new([100, 64, n, 9].into(), 5060)).collect();
    let users: Vec<String> = (6_050..6_060).map(|user| user.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    // They wear a make that somebody honest has, too.
    let kind = guesses(Form::ChallengeEach, &users);
    let guesser = attack(&mut scene, Tool::Plain(9), kind, Sources::Many(many), secs(40), 10);
    until_over(&mut scene, guesser);
    let own = Kind::Guess {
        form: Form::ChallengeEach,
        users: vec!["6060".into()],
        own: Some(("6060".into(), "secret-6060".into(), 1)),
    };
    let one = Sources::One(address("100.99.1.1:5060"));
    // It repeats nothing: its first request is left to a repetition, while the edge fetches a nonce.
    let honest = attack(&mut scene, Tool::Plain(9), own, one, secs(10), 3);
    until_over(&mut scene, honest);
    assert_eq!(scene.attacker(honest).counts.own, 2, "an honest phone of that make registers");
    no_violations(&scene);
}

#[test]
fn scanners_by_their_shape_reach_nothing() {
    for method in ["OPTIONS", "REGISTER", "INVITE"] {
        let mut scene = scene_with_signatures(Setup::default());
        at_home(&mut scene, "6001");
        let kind = Kind::Scan { method, first: 100 };
        let one = Sources::One(address("100.64.1.1:5060"));
        let scanner = attack(&mut scene, Tool::Vicious, kind, one, millis(100), 200);
        until_over(&mut scene, scanner);
        assert_eq!(leaked(&scene, scanner), 0, "{method}");
        no_violations(&scene);
    }
}

#[test]
fn without_signatures_svwar_asks_the_pbx_about_few_accounts() {
    // Open at a time, and for how long.
    for (method, open, patience) in [("REGISTER", 8, 32), ("INVITE", 3, 8), ("OPTIONS", 8, 32)] {
        let mut scene = scene(Setup::default());
        let phone = at_home(&mut scene, "6001");
        let kind = Kind::Scan { method, first: 100 };
        let one = Sources::One(address("100.64.1.1:5060"));
        let svwar = attack(&mut scene, Tool::Vicious, kind, one, millis(50), 900);
        scene.world.run_for(secs(45 + 60));
        assert_eq!(scene.attacker(svwar).counts.shots, 900);
        let most = open * (45 / patience + 2);
        assert!(leaked(&scene, svwar) <= most, "{method}: {}", leaked(&scene, svwar));
        // Its ACKs prove it; what it registers without a word more may be forged.
        assert_eq!(whole_bans(&scene).len(), usize::from(method == "INVITE"), "{method}");
        works(&mut scene, phone);
        no_violations(&scene);
    }
}

#[test]
fn hanging_up_before_the_answer_hides_nobody() {
    // As many as a proven stranger may have open, and one for each that he abandons before the ban;
    // one account's weigh less, as a phone's without a password do, and so there are three shares.
    for (user, most) in [("*", 64 + 6), ("200", 3 * 64)] {
        let mut scene = scene(Setup::default());
        let phone = at_home(&mut scene, "6001");
        let kind = Kind::HangUp { users: vec![user.to_string()] };
        let one = Sources::One(address("100.64.1.1:5060"));
        let caller = attack(&mut scene, Tool::Plain(1), kind, one, millis(50), 3_000);
        until_over(&mut scene, caller);
        assert!(leaked(&scene, caller) <= most, "{user}: {}", leaked(&scene, caller));
        assert_eq!(whole_bans(&scene).len(), 1, "{user}");
        works(&mut scene, phone);
        no_violations(&scene);
    }
}

#[test]
fn svcrack_has_five_guesses_a_source() {
    for form in [Form::Dictionary, Form::ReuseNonce, Form::ChallengeEach] {
        let mut scene = scene(Setup::default());
        let phone = at_home(&mut scene, "6001");
        let one = Sources::One(address("100.64.1.1:5060"));
        let kind = guesses(form, &["6001"]);
        let cracker = attack(&mut scene, Tool::Vicious, kind, one, millis(200), 250);
        until_over(&mut scene, cracker);
        assert!(guessed(&scene, "6001") <= 5, "{form:?}: {}", guessed(&scene, "6001"));
        assert_eq!(scene.attacker(cracker).counts.successes, 0);
        works(&mut scene, phone);
        no_violations(&scene);
    }
}

#[test]
fn a_honeytoken_is_conclusive() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let one = Sources::One(address("100.64.1.1:5060"));
    let kind = calls(&["6001"], &[sim::day::HONEYTOKEN], true);
    let toucher = attack(&mut scene, Tool::Plain(1), kind, one, secs(10), 20);
    until_over(&mut scene, toucher);
    assert_eq!(leaked(&scene, toucher), 1);
    assert_eq!(whole_bans(&scene).len(), 1);
    no_violations(&scene);
}

#[test]
fn whoever_replays_a_nonce_elsewhere_reaches_no_account() {
    let mut scene = scene(Setup::default());
    let phone = at_home(&mut scene, "6001");
    let many = (0..20).map(|n| SocketAddr::new([100, 64, n, 9].into(), 5060)).collect();
    let kind = Kind::ReplayNonce { user: "6001".into() };
    let replayer = attack(&mut scene, Tool::Plain(1), kind, Sources::Many(many), secs(2), 100);
    until_over(&mut scene, replayer);
    assert_eq!(guessed(&scene, "6001"), 0);
    works(&mut scene, phone);
    no_violations(&scene);
}
