//! No false bans: what looks hostile and is not.

use super::*;
use sim::ua::AckQuirks;
use sim::{DIDS, Quirks, TRUNKS};

const DAY: u64 = 86_400;

/// A phone with a quirk, over a day: registered all the time, and its calls go through.
fn a_day_with(quirks: Quirks) {
    let mut scene = scene(Setup { qualify: secs(600), ..Setup::default() });
    let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
        config.quirks = quirks;
        config.expires = secs(600);
        config.keep_alive = secs(120);
    });
    assert!(scene.register(phone));
    for _ in 0..24 {
        scene.world.run_for(secs(DAY / 24));
        if quirks.forgets_retry == 0 {
            works(&mut scene, phone);
        } else {
            scene.call(phone, "100");
            scene.world.run_for(secs(60));
            for call in scene.phone(phone).live_calls() {
                scene.with_phone(phone, |phone, now, out| phone.hang_up(now, call, out));
            }
        }
    }
    assert_eq!(bans(&scene), Vec::<String>::new(), "{quirks:?}");
    assert!(scene.register(phone) || scene.register(phone));
    no_violations(&scene);
}

#[test]
fn a_phone_that_never_retries_once_in_a_while() {
    a_day_with(Quirks { forgets_retry: 100, ..Quirks::default() });
}

#[test]
fn stale_nonces_all_day() {
    a_day_with(Quirks { reuses_nonce: true, ..Quirks::default() });
}

#[test]
fn a_phone_without_user_agent() {
    a_day_with(Quirks { no_user_agent: true, ..Quirks::default() });
}

#[test]
fn a_phone_that_omits_opaque() {
    a_day_with(Quirks { forgets_opaque: true, ..Quirks::default() });
}

#[test]
fn a_phone_that_retries_under_the_same_branch() {
    a_day_with(Quirks { retry_reuses_branch: true, ..Quirks::default() });
}

/// The edge's challenge must not cost it the only answer it gives.
#[test]
fn a_phone_that_answers_one_challenge_only() {
    a_day_with(Quirks { answers_once: true, reuses_nonce: true, ..Quirks::default() });
    for mode in [policy::ChallengeMode::UnderAttack, policy::ChallengeMode::Always] {
        let mut scene = scene_with(Setup::default(), |policy| {
            policy.admission.edge_challenge.mode = mode;
        });
        let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
            config.quirks = Quirks { answers_once: true, ..Quirks::default() };
        });
        for n in 0..24 {
            let address = scene.fresh_address(false, false);
            scene.world.move_to(phone, address, None);
            let here = SocketAddr::new(address, 5060);
            scene.with_phone(phone, |phone, _, out| phone.roam(here, out));
            works(&mut scene, phone);
            scene.world.run_for(secs(60 * n));
        }
        assert_eq!(bans(&scene), Vec::<String>::new());
        no_violations(&scene);
    }
}

#[test]
fn acks_with_wrong_branch_host_or_cseq_or_none() {
    let book = AckQuirks::default();
    for ack in [
        AckQuirks { other_branch: true, ..book },
        AckQuirks { wrong_cseq: true, ..book },
        AckQuirks { other_from_host: true, ..book },
        AckQuirks { never: true, ..book },
    ] {
        a_day_with(Quirks { ack, ..Quirks::default() });
    }
}

#[test]
fn sixty_phones_behind_one_address_after_a_power_cut() {
    let udp = Transport::Udp;
    for (transport, forgets_opaque) in [(udp, false), (udp, true), (Transport::Tcp, false)] {
        let mut scene = scene(Setup::default());
        let phones = office(&mut scene, 6_001..6_061, transport);
        for phone in &phones {
            scene.with_phone(*phone, |phone, _, _| {
                phone.config.quirks.forgets_opaque = forgets_opaque;
            });
        }
        // All at once, on a morning when nobody is known, and again when all are.
        for _ in 0..2 {
            register_all(&mut scene, &phones);
            scene.world.run_for(secs(60));
            all_registered(&scene, &phones);
            for phone in &phones {
                scene.with_phone(*phone, |phone, _, out| {
                    phone.drop_stream(out);
                    phone.reboot();
                });
            }
            scene.world.run_for(secs(5));
        }
        assert_eq!(bans(&scene), Vec::<String>::new());
        no_violations(&scene);
    }
}

#[test]
fn an_old_password_for_a_week_behind_the_address_of_thirty_good_ones() {
    let mut scene = scene(Setup { qualify: Duration::ZERO, ..Setup::default() });
    let phones = office(&mut scene, 6_001..6_032, Transport::Udp);
    scene.with_phone(phones[30], |phone, _, _| phone.config.password = "of-last-year".into());
    for phone in &phones {
        scene.with_phone(*phone, |phone, now, out| {
            phone.config.expires = secs(3_600);
            phone.config.keep_alive = secs(140);
            phone.register(now, out);
        });
    }
    for _ in 0..7 {
        scene.world.run_for(secs(DAY));
        all_registered(&scene, &phones[..30]);
        works(&mut scene, phones[0]);
    }
    assert_eq!(whole_bans(&scene), Vec::<String>::new());
    let named: Vec<String> = scene
        .edge()
        .expect("an edge")
        .bans
        .iter()
        .filter_map(|(_, ban)| ban.evidence.last())
        .map(|record| String::from_utf8_lossy(&record.aor).into_owned())
        .collect();
    assert!(named.iter().all(|aor| aor.starts_with("6031@")), "{named:?}");
    assert!(!scene.phone(phones[30]).is_registered(scene.world.now()));
    no_violations(&scene);
}

#[test]
fn a_roaming_softphone() {
    let mut scene = scene(Setup::default());
    let phone = scene.add_phone("6001", Transport::Udp);
    assert!(scene.register(phone));
    for n in 0..40 {
        let address = scene.fresh_address(false, false);
        scene.world.move_to(phone, address, None);
        scene.with_phone(phone, |phone, _, out| phone.roam(SocketAddr::new(address, 5060), out));
        works(&mut scene, phone);
        scene.world.run_for(secs(20 + 40 * n));
    }
    assert_eq!(bans(&scene), Vec::<String>::new());
    no_violations(&scene);
}

fn crowd_of_phones(shards: u8) -> (Scene, Vec<NodeId>) {
    let count = crowd();
    let setup = Setup { shards, accounts: count, qualify: Duration::ZERO, ..Setup::default() };
    let mut scene = scene(setup);
    let phones: Vec<NodeId> = (6_001..6_001 + count)
        .map(|user| {
            let transport = if user % 4 == 0 { Transport::Tcp } else { Transport::Udp };
            scene.add_phone_with(&user.to_string(), transport, false, None, |config| {
                config.expires = secs(3_600);
                config.keep_alive = Duration::ZERO;
            })
        })
        .collect();
    for chunk in phones.chunks(100) {
        register_all(&mut scene, chunk);
        scene.world.run_for(millis(500));
    }
    scene.world.run_for(secs(60));
    all_registered(&scene, &phones);
    (scene, phones)
}

#[test]
fn all_phones_again_after_the_edge_restarts() {
    let (mut scene, phones) = crowd_of_phones(2);
    scene.restart_edge();
    scene.world.run_for(secs(1));
    register_all(&mut scene, &phones);
    scene.world.run_for(secs(90));
    all_registered(&scene, &phones);
    works(&mut scene, phones[0]);
    assert_eq!(bans(&scene), Vec::<String>::new());
    no_violations(&scene);
}

#[test]
fn all_phones_again_after_the_pbx_restarts() {
    let (mut scene, phones) = crowd_of_phones(2);
    scene.with_pbx(|pbx, now, _| pbx.restart(now + secs(20)));
    register_all(&mut scene, &phones);
    scene.world.run_for(secs(150));
    all_registered(&scene, &phones);
    works(&mut scene, phones[0]);
    assert_eq!(bans(&scene), Vec::<String>::new());
    no_violations(&scene);
}

/// A carrier's gateway, that calls a number of ours.
fn carrier(scene: &mut Scene, local: &str) -> NodeId {
    let local = address(local);
    scene.add_phone_with("carrier", Transport::Udp, false, None, |config| {
        config.local = local;
        config.keep_alive = Duration::ZERO;
        config.quirks = Quirks { forgets_retry: 1_000, no_user_agent: true, ..Quirks::default() };
    })
}

#[test]
fn a_carrier_on_a_new_address_is_said_and_not_banned() {
    let mut scene = scene(Setup::default());
    at_home(&mut scene, "6001");
    let trunk = carrier(&mut scene, &format!("{}:5060", TRUNKS[0]));
    let call = scene.call(trunk, DIDS[0]);
    assert_eq!(scene.phone(trunk).call_state(call), Some(CallState::Up));
    let moved = carrier(&mut scene, "100.90.1.1:5060");
    for _ in 0..50 {
        scene.call(moved, DIDS[1]);
        scene.world.run_for(secs(30));
    }
    assert_eq!(bans(&scene), Vec::<String>::new());
    let candidate = |alert: &admission::Alert| {
        matches!(alert, admission::Alert::CarrierCandidate { dialled, .. }
            if **dialled == *DIDS[1].as_bytes())
    };
    let alerts = &scene.edge().expect("an edge").alerts;
    assert!(alerts.iter().any(|(_, alert)| candidate(alert)), "{alerts:?}");
    no_violations(&scene);
}

#[test]
fn a_misdialled_900972_by_somebody_authenticated() {
    let mut scene = scene_with_signatures(Setup::default());
    let phone = at_home(&mut scene, "6001");
    for _ in 0..20 {
        let call = scene.call(phone, "900972597438354");
        let state = scene.phone(phone).call_state(call);
        assert_eq!(state, Some(CallState::Over(sim::Ending::Refused(404))));
        scene.world.run_for(secs(5));
    }
    works(&mut scene, phone);
    assert_eq!(bans(&scene), Vec::<String>::new());
    no_violations(&scene);
}

#[test]
fn a_monitor_that_asks_for_signs_of_life_for_a_day() {
    let mut scene = scene_with_signatures(Setup { qualify: Duration::ZERO, ..Setup::default() });
    let kind = Kind::Scan { method: "OPTIONS", first: 100 };
    let one = Sources::One(address("100.64.1.1:5060"));
    let monitor = attack(&mut scene, Tool::Monitor, kind, one, secs(30), DAY / 30);
    until_over(&mut scene, monitor);
    assert_eq!(bans(&scene), Vec::<String>::new());
    // Each answer is longer than its question: every second is paid for.
    assert!(scene.attacker(monitor).counts.answers > DAY / 30 / 4);
    no_violations(&scene);
}

#[test]
fn a_forger_with_everybodys_addresses_for_an_hour() {
    for mode in [policy::ChallengeMode::UnderAttack, policy::ChallengeMode::Always] {
        let mut scene = scene_with(Setup::default(), |policy| {
            policy.admission.edge_challenge.mode = mode;
        });
        let phones = office(&mut scene, 6_001..6_006, Transport::Udp);
        register_all(&mut scene, &phones);
        let home = at_home(&mut scene, "6010");
        let trunk = carrier(&mut scene, &format!("{}:5060", TRUNKS[0]));
        scene.world.run_for(secs(10));
        let nat = scene.world.nat(0).address;
        let victims = vec![
            ("carrier".to_string(), address(&format!("{}:5060", TRUNKS[0]))),
            ("6010".to_string(), scene.phone(home).config.local),
            ("6001".to_string(), SocketAddr::new(nat, 20_001)),
            ("admin".to_string(), SocketAddr::new(sim::day::ADMIN.into(), 5060)),
            ("4711".to_string(), address("100.77.1.1:5060")),
        ];
        let forger = Kind::Forge { methods: vec!["INVITE", "REGISTER"], victims };
        let nowhere = Sources::One(address("100.64.1.1:5060"));
        let forger = attack(&mut scene, Tool::Sipcli, forger, nowhere, millis(200), 5 * 3_600);
        for _ in 0..12 {
            scene.world.run_for(secs(300));
            for phone in phones.iter().chain([&home]) {
                works(&mut scene, *phone);
            }
            let call = scene.call(trunk, DIDS[0]);
            assert_eq!(scene.phone(trunk).call_state(call), Some(CallState::Up));
            scene.with_phone(trunk, |phone, now, out| phone.hang_up(now, call, out));
        }
        assert!(scene.attacker(forger).counts.sent > 15_000);
        assert_eq!(bans(&scene), Vec::<String>::new());
        no_violations(&scene);
    }
}
