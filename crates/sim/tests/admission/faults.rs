//! The sixteen faults of the nearest peer, each by its name: none of them is here.

use super::*;
use admission::{BanKey, Learned};
use policy::Network;

#[test]
fn fault_1_blind_when_asterisk_authenticates() {
    let mut scene = scene(Setup::default());
    let phone = at_home(&mut scene, "6001");
    let one = Sources::One(address("100.64.1.1:5060"));
    let kind = guesses(Form::ChallengeEach, &["6001"]);
    let guesser = attack(&mut scene, Tool::Plain(1), kind, one, millis(400), 60);
    until_over(&mut scene, guesser);
    assert!(guessed(&scene, "6001") <= 5, "{}", guessed(&scene, "6001"));
    assert!(!bans(&scene).is_empty());
    works(&mut scene, phone);
    no_violations(&scene);
}

#[test]
fn fault_2_spoofable_bans() {
    let mut scene = scene(Setup::default());
    let phone = at_home(&mut scene, "6001");
    let pbx = address("127.0.0.1:5070");
    let victims = vec![
        ("6001".to_string(), scene.phone(phone).config.local),
        ("pbx".to_string(), pbx),
        ("edge".to_string(), SERVER),
    ];
    for methods in [vec!["INVITE"], vec!["OPTIONS"], vec!["REGISTER"]] {
        let kind = Kind::Forge { methods, victims: victims.clone() };
        let nowhere = Sources::One(address("100.64.1.1:5060"));
        let forger = attack(&mut scene, Tool::Plain(1), kind, nowhere, millis(20), 1_000);
        scene.world.run_for(secs(120));
        assert_eq!(scene.attacker(forger).counts.shots, 1_000);
        works(&mut scene, phone);
    }
    // A junk nonce under the phone's address.
    for _ in 0..50 {
        scene.spoof(address("198.51.100.77:5060"), "REGISTER", "6001");
        scene.world.run_for(millis(100));
    }
    assert_eq!(bans(&scene), Vec::<String>::new());
    works(&mut scene, phone);
    no_violations(&scene);
}

#[test]
fn fault_3_bans_correct_clients_whose_ack_is_fast() {
    let mut scene = scene(Setup {
        quality: sim::net::Quality { delay: Duration::ZERO, ..sim::net::Quality::PERFECT },
        ..Setup::default()
    });
    let phone = at_home(&mut scene, "6001");
    for _ in 0..200 {
        let call = scene.call(phone, "100");
        assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
        scene.with_phone(phone, |phone, now, out| phone.hang_up(now, call, out));
        scene.world.run_for(millis(10));
    }
    scene.world.run_for(secs(60));
    assert_eq!(outcomes(&scene, Outcome::Abandoned), 0);
    assert_eq!(outcomes(&scene, Outcome::Unreachable), 0);
    assert!(outcomes(&scene, Outcome::Authenticated) >= 200);
    assert_eq!(bans(&scene), Vec::<String>::new());
    no_violations(&scene);
}

#[test]
fn fault_4_one_phone_gets_the_whole_office_banned() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut scene = scene(Setup::default());
        let phones = office(&mut scene, 6_001..6_011, transport);
        of_last_year(&mut scene, &phones[9..]);
        register_all(&mut scene, &phones);
        scene.world.run_for(secs(3_600));
        all_registered(&scene, &phones[..9]);
        // Its account is what that phone loses here, and nobody else anything.
        let of_pair = |ban: &String| ban.starts_with("aor AorSource");
        let bans = bans(&scene);
        assert!(!bans.is_empty() && bans.iter().all(of_pair), "{bans:?}");
        assert!(guessed(&scene, "6010") <= 20, "{}", guessed(&scene, "6010"));
        for phone in &phones[..9] {
            works(&mut scene, *phone);
        }
        // Seven calls within ten seconds from one address are nothing.
        let callers: Vec<_> = phones[..7]
            .iter()
            .map(|id| (*id, scene.with_phone(*id, |phone, now, out| phone.call(now, "100", out))))
            .collect();
        scene.world.run_for(secs(5));
        for (id, call) in callers {
            assert_eq!(scene.phone(id).call_state(call), Some(CallState::Up));
        }
        no_violations(&scene);
    }
}

#[test]
fn fault_4_nor_do_many_of_its_phones() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut scene = scene(Setup::default());
        scene.with_edge(|edge, _, _| edge.tape = Some(Vec::new()));
        let phones = office(&mut scene, 6_001..6_011, transport);
        register_all(&mut scene, &phones[..4]);
        scene.world.run_for(secs(60));
        of_last_year(&mut scene, &phones[4..]);
        register_all(&mut scene, &phones[4..]);
        scene.world.run_for(secs(3_600));
        // Whoever is at home there has no part in it: not a connection is lost.
        let edge = scene.edge().expect("an edge");
        let narrowed = edge.bans.iter().filter(|(_, ban)| ban.narrowed).count();
        assert!(narrowed > 0, "{:?}", bans(&scene));
        assert_eq!(whole_bans(&scene), Vec::<String>::new());
        let outputs = edge.tape.iter().flatten().flat_map(|step| &step.outputs);
        assert_eq!(outputs.filter(|it| matches!(it, sim::StepOutput::Close(_))).count(), 0);
        all_registered(&scene, &phones[..4]);
        for phone in &phones[..4] {
            works(&mut scene, *phone);
        }
        no_violations(&scene);
    }
}

/// Nobody told these phones what their passwords are now.
fn of_last_year(scene: &mut Scene, phones: &[NodeId]) {
    for phone in phones {
        scene.with_phone(*phone, |phone, _, _| {
            phone.config.password = "of-last-year".into();
            phone.config.retry = secs(2);
        });
    }
}

#[test]
fn fault_5_one_valid_account_hides_a_brute_force() {
    let mut scene = scene(Setup::default());
    let phone = at_home(&mut scene, "6001");
    let own = Some(("6002".to_string(), "secret-6002".to_string(), 10));
    let kind = Kind::Guess { form: Form::ChallengeEach, users: vec!["6001".into()], own };
    let one = Sources::One(address("100.64.1.1:5060"));
    let guesser = attack(&mut scene, Tool::Plain(1), kind, one, secs(1), 120);
    until_over(&mut scene, guesser);
    // Five, and four when the first ban of the pair, a minute, is over.
    assert!(guessed(&scene, "6001") <= 9, "{}", guessed(&scene, "6001"));
    works(&mut scene, phone);
    no_violations(&scene);
}

#[test]
fn fault_6_an_ipv6_source_is_one_address() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let net = Sources::Net64("2001:db8:bad:1::".parse().expect("an address"));
    let kind = guesses(Form::ChallengeEach, &["6001"]);
    let guesser = attack(&mut scene, Tool::Plain(1), kind, net, secs(1), 300);
    until_over(&mut scene, guesser);
    // Five, four after a ban of a minute; the next is longer than this.
    assert!(guessed(&scene, "6001") <= 9, "{}", guessed(&scene, "6001"));
    let of64 = |(_, ban): &(policy::Time, admission::Ban)| match &ban.key {
        BanKey::AorSource { source, .. } | BanKey::Source(source) => source.prefix() == 64,
        _ => false,
    };
    assert!(scene.edge().expect("an edge").bans.iter().any(of64), "{:?}", bans(&scene));
    no_violations(&scene);
}

#[test]
fn fault_7_no_view_of_the_account() {
    for shards in [1, 4] {
        let mut scene = scene(Setup { shards, ..Setup::default() });
        let phone = at_home(&mut scene, "6001");
        let count: u32 = 5_000;
        let many = (0..count)
            .map(|n| SocketAddr::new([100, 64, (n >> 8) as u8, n as u8].into(), 5060))
            .collect();
        let kind = guesses(Form::ChallengeEach, &["6001"]);
        let sources = Sources::Many(many);
        let guesser = attack(&mut scene, Tool::Phone, kind, sources, millis(250), u64::from(count));
        let length = secs(u64::from(count) / 4);
        for _ in 0..4 {
            scene.world.run_for(length / 4);
            works(&mut scene, phone);
        }
        scene.world.run_for(secs(60));
        assert_eq!(scene.attacker(guesser).counts.shots, u64::from(count));
        // Ten, and then one in thirty seconds.
        let most = 12 + length.as_secs() / 30 + 4;
        assert!(guessed(&scene, "6001") <= most, "{} of {most}", guessed(&scene, "6001"));
        assert_eq!(scene.attacker(guesser).counts.successes, 0);
        no_violations(&scene);
    }
}

#[test]
fn fault_7_nor_when_all_come_at_once() {
    for shards in [1, 4] {
        let mut scene = scene(Setup { shards, ..Setup::default() });
        let phone = at_home(&mut scene, "6001");
        let many = (0..5_000_u32)
            .map(|n| SocketAddr::new([100, 64, (n >> 8) as u8, n as u8].into(), 5060))
            .collect();
        let kind = guesses(Form::ChallengeEach, &["6001"]);
        let each = Duration::from_micros(400);
        let guesser = attack(&mut scene, Tool::Phone, kind, Sources::Many(many), each, 5_000);
        scene.world.run_for(secs(90));
        assert_eq!(scene.attacker(guesser).counts.shots, 5_000);
        // Ten, and the first that each shard lets through by itself.
        let most = 12 + u64::from(shards);
        assert!(guessed(&scene, "6001") <= most, "{} of {most}", guessed(&scene, "6001"));
        works(&mut scene, phone);
        no_violations(&scene);
    }
}

#[test]
fn fault_8_low_and_slow() {
    // One account, a guess in a quarter of an hour.
    let mut one = scene(Setup { qualify: Duration::ZERO, ..Setup::default() });
    at_home(&mut one, "6001");
    let source = || Sources::One(address("100.64.1.1:5060"));
    let kind = guesses(Form::ChallengeEach, &["6001"]);
    let guesser = attack(&mut one, Tool::Plain(1), kind, source(), secs(900), 40);
    until_over(&mut one, guesser);
    assert!(bans(&one).iter().any(|ban| ban.starts_with("aor")), "{:?}", bans(&one));
    no_violations(&one);

    // All accounts, one after the other.
    let mut all = scene(Setup { qualify: Duration::ZERO, ..Setup::default() });
    let users: Vec<String> = (6_001..6_100).map(|user| user.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let kind = guesses(Form::ChallengeEach, &users);
    let guesser = attack(&mut all, Tool::Plain(1), kind, source(), secs(1_800), 90);
    until_over(&mut all, guesser);
    let bans: Vec<_> = all.edge().expect("an edge").bans.iter().map(|(_, ban)| ban).collect();
    // Whoever comes each half an hour would sleep through ten minutes.
    let day = secs(24 * 3_600);
    assert!(!bans.is_empty());
    assert!(bans.iter().all(|ban| ban.until.since(ban.since) >= day), "{bans:?}");
    assert!(leaked(&all, guesser) <= 2 * 45, "of 90 guesses: {}", leaked(&all, guesser));
    no_violations(&all);
}

#[test]
fn fault_9_bans_nobody_sees_and_what_a_restart_forgets() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let one = Sources::One(address("100.64.1.1:5060"));
    let kind = calls(&["*"], &["5551234"], true);
    let sipcli = attack(&mut scene, Tool::Sipcli, kind, one, secs(4), 200);
    scene.world.run_for(secs(60));
    let seen = |scene: &Scene| {
        let edge = scene.edge().expect("an edge");
        let key = BanKey::Source(Network::host([100, 64, 1, 1].into()));
        edge.bans_in_force().iter().any(|ban| ban.key == key)
    };
    assert!(seen(&scene), "what is dropped is listed");
    scene.restart_edge();
    assert!(seen(&scene), "a ban outlives a restart");
    // What was told before a restart proves afterwards, even when all memory is lost.
    scene.with_edge(|edge, _, _| edge.forget());
    scene.restart_edge();
    assert!(!seen(&scene));
    scene.world.run_for(secs(60));
    assert!(seen(&scene), "and it is banned again: {:?}", bans(&scene));
    assert!(leaked(&scene, sipcli) < 20);
    // Whoever may, lifts it.
    scene.with_edge(|edge, now, out| {
        let network = Network::host([100, 64, 1, 1].into());
        let trust = Some(now + secs(3_600));
        edge.learn(now, Learned::Lift { network, trust, forgive: true }, out);
    });
    assert!(!seen(&scene));
    let before = leaked(&scene, sipcli);
    scene.world.run_for(secs(60));
    assert!(!seen(&scene));
    assert!(leaked(&scene, sipcli) >= before + 14);
    no_violations(&scene);
}

#[test]
fn fault_10_rates_ban_for_an_hour() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let one = || Sources::One(address("100.64.1.1:5060"));
    let kind = || Kind::Scan { method: "OPTIONS", first: 100 };
    let flood = attack(&mut scene, Tool::Plain(1), kind(), one(), millis(2), 2_000);
    scene.world.run_for(secs(10));
    assert_eq!(scene.attacker(flood).counts.shots, 2_000);
    assert!(scene.edge().expect("an edge").count(Reason::Rate) > 500);
    assert_eq!(bans(&scene), Vec::<String>::new());
    scene.world.run_for(secs(60));
    // Then it is as good as anybody.
    let polite = attack(&mut scene, Tool::Plain(1), kind(), one(), secs(5), 20);
    scene.world.run_for(secs(110));
    assert!(leaked(&scene, polite) >= 15, "{}", leaked(&scene, polite));
    no_violations(&scene);
}

#[test]
fn fault_10_nor_do_they_ban_who_is_known() {
    let mut scene = scene(Setup { open_options: true, ..Setup::default() });
    let phone = at_home(&mut scene, "6001");
    // Whoever borrows its address sends more than a known one may.
    let beside = SocketAddr::new(scene.phone(phone).config.local.ip(), 5_099);
    let kind = Kind::Forge { methods: vec!["OPTIONS"], victims: vec![("100".into(), beside)] };
    let nowhere = Sources::One(address("100.64.1.1:5060"));
    let each = Duration::from_micros(200);
    let flood = attack(&mut scene, Tool::Plain(1), kind, nowhere, each, 25_000);
    scene.world.run_for(secs(7));
    assert_eq!(scene.attacker(flood).counts.shots, 25_000);
    assert!(scene.edge().expect("an edge").count(Reason::Rate) > 5_000);
    assert_eq!(bans(&scene), Vec::<String>::new());
    works(&mut scene, phone);
    no_violations(&scene);
}

#[test]
fn fault_11_bans_without_a_reason() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let one = Sources::One(address("100.64.1.1:5060"));
    let kind = calls(&["*"], &["5551234"], true);
    let sipcli = attack(&mut scene, Tool::Sipcli, kind, one, secs(4), 20);
    until_over(&mut scene, sipcli);
    let edge = scene.edge().expect("an edge");
    let (at, ban) = edge.bans.first().expect("a ban");
    assert_eq!(ban.since, *at);
    assert!(ban.until > ban.since && !ban.why.is_empty());
    assert_eq!(ban.proof, Some(admission::Proof::AckTag));
    assert_eq!(ban.evidence.len(), 3);
    let sum: f32 = ban.evidence.iter().map(|record| record.weight).sum();
    assert!((sum - ban.score).abs() < 0.1, "{sum} of {}", ban.score);
    assert!(ban.evidence.iter().all(|record| &*record.dialled == b"5551234"));
}

#[test]
fn fault_12_a_scanner_by_another_name() {
    for (tool, agent) in [
        (Tool::Vicious, "friendly_scanner"),
        (Tool::Vicious, "Asterisk PBX 18"),
        (Tool::Vicious, ""),
        (Tool::Sipcli, "pplsip"),
        (Tool::Sipcli, "Zoiper rv2.10"),
        (Tool::Sipcli, ""),
    ] {
        let mut scene = scene_with_signatures(Setup::default());
        at_home(&mut scene, "6001");
        let config = AttackConfig {
            label: "attacker",
            kind: calls(&["100"], &["5551234"], true),
            tool,
            agent: Some(agent),
            sources: Sources::One(address("100.64.1.1:5060")),
            server: SERVER,
            domain: DOMAIN.to_string(),
            start: scene.world.now(),
            interval: secs(1),
            shots: 20,
        };
        let scanner = scene.add_attacker(config);
        until_over(&mut scene, scanner);
        assert_eq!(leaked(&scene, scanner), 0, "{tool:?} as {agent:?}");
        no_violations(&scene);
    }
}

/// Forged sources in the scene of memory; `make sim-nightly` takes a million.
fn forged() -> u32 {
    let number = std::env::var("SIM_FORGED").ok();
    number.map_or(50_000, |number| number.parse().expect("a number"))
}

#[test]
fn fault_13_memory_grows_with_forged_sources() {
    let mut scene = scene(Setup { qualify: Duration::ZERO, ..Setup::default() });
    let phone = at_home(&mut scene, "6001");
    scene.with_edge(|edge, _, _| edge.watch.only_count());
    let count = forged();
    let victims = (0..count).map(|n| {
        let [a, b, c, _] = n.to_le_bytes();
        ("100".to_string(), SocketAddr::new([100, a, b, c].into(), 5060))
    });
    let kind = Kind::Forge { methods: vec!["INVITE"], victims: victims.collect() };
    let nowhere = Sources::One(address("100.64.1.1:5060"));
    let forger =
        attack(&mut scene, Tool::Plain(1), kind, nowhere, Duration::from_micros(200), count.into());
    let mut sizes = Vec::new();
    for _ in 0..10 {
        scene.world.run_for(Duration::from_micros(u64::from(count) * 20));
        let gate = scene.edge().expect("an edge").snapshots()[0].gate;
        sizes.push(gate.sources.entries + gate.pairs.entries + gate.aors.entries);
        assert!(gate.ledger.entries <= gate.ledger.capacity);
        let exchanges = scene.edge().expect("an edge").snapshots()[0].exchanges.entries;
        assert!(exchanges < 10_000, "{exchanges}");
    }
    works(&mut scene, phone);
    scene.world.run_for(secs(60));
    assert_eq!(scene.attacker(forger).counts.shots, u64::from(count));
    let snapshot = scene.edge().expect("an edge").snapshots()[0];
    println!("{sizes:?} {snapshot:?}");
    // What the gate keeps of sources is of those that are open, and after them nothing; of rates
    // some that are full.
    let gate = snapshot.gate;
    let kept = [gate.sources, gate.pairs, gate.aors, gate.networks, gate.shapes, gate.chains];
    assert!(kept.iter().all(|table| table.entries <= 10), "{gate:?}");
    assert_eq!((gate.ledger.entries, gate.tries.entries), (0, 0));
    assert!(gate.rates.entries <= 5_000, "{:?}", gate.rates);
    assert_eq!(bans(&scene), Vec::<String>::new());
    no_violations(&scene);
}

#[test]
fn fault_14_reflector() {
    let mut scene = scene(Setup::default());
    let phone = at_home(&mut scene, "6001");
    for shots_each in [1, 20] {
        let victims = (0..200)
            .map(|n| ("100".to_string(), SocketAddr::new([100, 65, shots_each, n].into(), 5060)))
            .collect();
        let kind = Kind::Forge { methods: vec!["INVITE"], victims };
        let nowhere = Sources::One(address("100.64.1.1:5060"));
        let shots = 200 * u64::from(shots_each);
        let forger = attack(&mut scene, Tool::Sipcli, kind, nowhere, millis(5), shots);
        scene.world.run_for(secs(120));
        assert_eq!(scene.attacker(forger).counts.shots, shots);
        // That no byte more leaves than came is watched in every scene.
        no_violations(&scene);
    }
    works(&mut scene, phone);
}

#[test]
fn fault_15_timers_that_are_scanned() {
    let mut scene = scene(Setup { qualify: Duration::ZERO, accounts: 500, ..Setup::default() });
    let phones: Vec<NodeId> = (6_001..6_501)
        .map(|user| {
            scene.add_phone_with(&user.to_string(), Transport::Udp, false, None, |config| {
                config.expires = secs(7_200);
                config.keep_alive = Duration::ZERO;
            })
        })
        .collect();
    register_all(&mut scene, &phones);
    scene.world.run_for(secs(120));
    all_registered(&scene, &phones);
    let before = scene.edge().expect("an edge").timeouts;
    scene.world.run_for(secs(600));
    // A silent edge sleeps, whoever is registered.
    let woken = scene.edge().expect("an edge").timeouts - before;
    assert!(woken <= 20, "{woken}");
}

#[test]
fn fault_16_answers_without_received_and_rport() {
    // The PBX's, which the edge relays, and its own.
    for mode in [policy::ChallengeMode::Off, policy::ChallengeMode::Always] {
        let mut scene = Scene::with_policy(Setup { record: true, ..Setup::default() }, |policy| {
            policy.admission.edge_challenge.mode = mode;
        });
        let kind = Dependence::Address;
        let nat = scene.add_nat(|address| Nat::new(address, kind, kind, secs(150)));
        let phone = scene.add_phone_with("6001", Transport::Udp, false, Some(nat), |_| {});
        assert!(scene.register(phone));
        let outer = scene.world.nat(nat).address;
        let tape = scene.world.tape.clone().unwrap_or_default();
        let answers: Vec<sim::sip::Msg> = tape
            .iter()
            .filter(|passage| passage.from == "edge" && passage.to == "phone1")
            .filter_map(|passage| sim::sip::Msg::parse(&passage.bytes))
            .filter(|msg| !msg.is_request())
            .collect();
        assert!(answers.len() >= 2);
        for answer in answers {
            let via = answer.top_via().unwrap_or_default();
            assert_eq!(sim::sip::param(&via, "received"), Some(outer.to_string()), "{via}");
            let port = sim::sip::param(&via, "rport").unwrap_or_default();
            assert!(port.parse::<u16>().is_ok_and(|port| port >= 20_000), "{via}");
        }
    }
}
