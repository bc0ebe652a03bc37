use super::*;
use policy::{ChallengeMode, Network};

fn phone(remote: &str, user: usize) -> Client {
    Client::new(remote, "REGISTER", &format!("user{user}"))
}

#[test]
fn sixty_phones_behind_one_new_address_register() {
    for tcp in [false, true] {
        let mut play = Play::new();
        let mut phones: Vec<_> = (0..60)
            .map(|n| match tcp {
                false => phone(&format!("198.51.100.7:{}", 10_000 + n), n),
                true => Client::tcp("198.51.100.7:5060", "REGISTER", &format!("u{n}"), n as u64),
            })
            .collect();
        // all at once: nobody answers before all have asked
        let mut answers = Vec::new();
        for phone in &mut phones {
            play.new_call(phone);
            answers.push(match play.ask(phone, "", "") {
                Got::Pass(pass) => play.challenge(phone, &pass, false).1,
                // beyond a few datagrams that prove nothing the edge asks them itself
                Got::Challenge(line) if !tcp => line,
                other => panic!("{other:?}"),
            });
        }
        for (phone, line) in phones.iter().zip(&answers) {
            let credentials = Play::credentials(phone, line);
            let Got::Pass(pass) = play.ask(phone, "", &credentials) else { panic!("not let in") };
            play.answer(phone, &pass, 200, "");
        }
        assert_eq!(play.outcomes(Outcome::Authenticated), 60);
        assert_eq!(play.bans().len(), 0);
    }
}

#[test]
fn five_thousand_phones_come_back_after_a_restart() {
    let mut play = Play::new();
    let mut phones: Vec<_> =
        (0..5_000).map(|n| phone(&format!("10.{}.{}.9:5060", n / 250, n % 250), n)).collect();
    let mut answers = Vec::new();
    for phone in &mut phones {
        play.new_call(phone);
        answers.push(match play.ask(phone, "", "") {
            Got::Pass(pass) => play.challenge(phone, &pass, false).1,
            Got::Challenge(line) => line,
            other => panic!("{other:?}"),
        });
    }
    assert!(play.gate.snapshot().under_attack);
    assert!(play.leaked <= 1_002, "{}", play.leaked);
    for (phone, line) in phones.iter().zip(&answers) {
        let mut credentials = Play::credentials(phone, line);
        let Got::Pass(mut pass) = play.ask(phone, "", &credentials) else { panic!() };
        if pass.credentials == Credentials::Echo {
            credentials = Play::credentials(phone, &play.challenge(phone, &pass, false).1);
            let Got::Pass(second) = play.ask(phone, "", &credentials) else { panic!() };
            pass = second;
        }
        assert_eq!(pass.credentials, Credentials::Relayed);
        play.answer(phone, &pass, 200, "");
    }
    assert_eq!(play.outcomes(Outcome::Authenticated), 5_000);
    assert!(!play.gate.snapshot().under_attack);
    play.wait(3_600_000);
    assert_eq!((play.bans().len(), play.outcomes(Outcome::Abandoned)), (0, 0));
}

#[test]
fn a_week_of_an_old_password_beside_thirty_good_phones() {
    for tcp in [false, true] {
        let mut play = Play::new();
        for minute in 0..7 * 24 * 60 {
            if minute % 60 == 0 {
                for n in 0..30 {
                    let mut good = phone(&format!("198.51.100.7:{}", 20_000 + n), n);
                    assert_eq!(play.attempt(&mut good, 200), Ok(()), "minute {minute}");
                }
            }
            let mut old = Client::new("198.51.100.7:9999", "REGISTER", "old");
            if tcp {
                old = Client::tcp("198.51.100.7:9999", "REGISTER", "old", minute);
            }
            let _ = play.attempt(&mut old, 401);
            play.wait(58_000);
        }
        assert!(!play.is_banned("198.51.100.7"));
        let pair =
            |ban: &&crate::Ban| ban.narrowed || matches!(ban.key, crate::BanKey::AorSource { .. });
        assert!(play.bans().iter().all(pair));
    }
}

#[test]
fn a_lone_phone_with_an_old_password_never_loses_its_address() {
    for every in [60, 600, 3_600] {
        let mut play = Play::new();
        let mut old = phone("198.51.100.7:5062", 7);
        for _ in 0..(30 * 86_400 / every).min(3_000) {
            let _ = play.attempt(&mut old, 401);
            play.wait(every * 1_000);
        }
        let address = |ban: &&crate::Ban| matches!(ban.key, crate::BanKey::Source(_));
        assert!(!play.bans().iter().any(address), "one try in {every} s: {:?}", play.bans());
        assert!(!play.bans().is_empty(), "its own AOR is slowed, one try in {every} s");
        // another phone behind that address registers
        play.attempt(&mut phone("198.51.100.7:5063", 8), 200).unwrap();
    }
}

#[test]
fn a_phone_that_forgets_to_retry_now_and_then() {
    let mut play = Play::new();
    let mut register = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    let mut invite = Client::new("198.51.100.7:5060", "INVITE", "alice");
    for call in 0..500 {
        if call % 10 == 0 {
            play.attempt(&mut register, 200).unwrap();
        }
        match call % 5 {
            0 => drop(play.abandon(&mut invite, true)),
            _ => play.attempt(&mut invite, 486).unwrap(),
        }
        play.wait(120_000);
    }
    assert_eq!(play.bans().len(), 0);
    assert_eq!(play.outcomes(Outcome::Abandoned), 100);
}

#[test]
fn stale_nonces_all_day_are_nothing() {
    let mut play = Play::new();
    let mut phone = phone("198.51.100.7:5060", 1);
    for _ in 0..1_000 {
        play.new_call(&mut phone);
        let Got::Pass(pass) = play.ask(&phone, "", "") else { panic!() };
        let mut line = play.challenge(&phone, &pass, false).1;
        for _ in 0..3 {
            let credentials = Play::credentials(&phone, &line);
            let Got::Pass(pass) = play.ask(&phone, "", &credentials) else { panic!() };
            line = play.challenge(&phone, &pass, true).1;
            play.wait(10_000);
        }
        let credentials = Play::credentials(&phone, &line);
        let Got::Pass(pass) = play.ask(&phone, "", &credentials) else { panic!() };
        play.answer(&phone, &pass, 200, "");
        play.wait(60_000);
    }
    assert_eq!(play.outcomes(Outcome::Stale), 3_000);
    assert_eq!(play.outcomes(Outcome::Authenticated), 1_000);
    assert_eq!((play.bans().len(), play.outcomes(Outcome::Refused)), (0, 0));
}

#[test]
fn a_roamer_and_a_reconnecting_phone() {
    let mut play = Play::new();
    for n in 0..200 {
        let remote = format!("198.51.{n}.7:5060");
        play.attempt(&mut Client::new(&remote, "REGISTER", "roamer"), 200).unwrap();
        let mut tcp = Client::tcp("203.0.113.7:5060", "REGISTER", "alice", n);
        play.gate.on_connection(play.now, &tcp.flow, true);
        play.attempt(&mut tcp, 200).unwrap();
        play.gate.on_connection(play.now, &tcp.flow, false);
        play.wait(60_000);
    }
    assert_eq!(play.bans().len(), 0);
}

#[test]
fn a_misdialled_number_of_somebody_known() {
    let mut play = Play::new();
    play.attempt(&mut phone("198.51.100.7:5060", 1), 200).unwrap();
    let mut call = Client::new("198.51.100.7:5060", "INVITE", "user1");
    call.dialled = "900972595123456".into();
    for _ in 0..10 {
        play.attempt(&mut call, 404).unwrap();
        play.wait(30_000);
    }
    assert_eq!(play.bans().len(), 0);
    let mut silent = Client::new("192.0.2.77:5060", "INVITE", "100");
    silent.dialled = call.dialled;
    play.abandon(&mut silent, true);
    play.wait(9_000);
    assert!(play.is_banned("192.0.2.77"), "a stranger's weighs three times");
}

#[test]
fn what_the_pbx_cannot_do_is_nobodys_fault() {
    let mut play = Play::new();
    for (n, status) in [400, 408, 500, 503, 504].into_iter().cycle().take(100).enumerate() {
        let mut call = Client::new("198.51.100.7:5060", "INVITE", "alice");
        play.attempt(&mut call, status).unwrap();
        if n % 2 == 0 {
            // or it is silent: the edge answers 408 by itself, and says so
            play.new_call(&mut call);
            let Got::Pass(pass) = play.ask(&call, "", "") else { panic!() };
            play.gate.on_superseded(&mut pass.ticket.clone());
        }
        play.wait(10_000);
    }
    assert_eq!(play.bans().len(), 0);
    assert_eq!(play.outcomes(Outcome::Superseded), 100);
    assert_eq!(play.gate.snapshot().ledger.entries, 0);
}

#[test]
fn a_call_may_ring_for_minutes_before_it_is_authenticated() {
    let mut play = Play::new();
    let mut call = Client::new("198.51.100.7:5060", "INVITE", "alice");
    play.new_call(&mut call);
    let Got::Pass(pass) = play.ask(&call, "", "") else { panic!() };
    let (tag, line) = play.challenge(&call, &pass, false);
    play.ack(&call, &tag, Some(&pass));
    let Got::Pass(pass) = play.ask(&call, "", &Play::credentials(&call, &line)) else { panic!() };
    play.wait(180_000);
    play.answer(&call, &pass, 486, "");
    assert_eq!(play.outcomes(Outcome::Authenticated), 1);
    assert_eq!(play.outcomes(Outcome::Abandoned), 0);
}

#[test]
fn suspicion_never_drops_where_the_edge_cannot_challenge() {
    let mut play = Play::with(|rules| rules.edge_challenge.mode = ChallengeMode::Off);
    let mut wrong = phone("198.51.100.7:5060", 1);
    wrong.opaque = false;
    for _ in 0..20 {
        play.attempt(&mut wrong, 401).unwrap();
        play.attempt(&mut phone("198.51.100.7:5061", 2), 200).unwrap();
        play.wait(20_000);
    }
    assert_eq!(play.bans().len(), 0, "nothing of it is proven");
}

#[test]
fn an_acknowledged_call_without_a_challenge_makes_known() {
    let mut play = Play::new();
    let mut carrier = Client::new("198.51.100.7:5060", "INVITE", "0170");
    play.new_call(&mut carrier);
    let Got::Pass(pass) = play.ask(&carrier, "", "") else { panic!() };
    let tag = play.answer(&carrier, &pass, 200, "");
    assert_eq!(pass.ticket.who, Who::Unproven);
    play.ack(&carrier, &tag, Some(&pass));
    play.new_call(&mut carrier);
    let Got::Pass(pass) = play.ask(&carrier, "", "") else { panic!() };
    assert_eq!(pass.ticket.who, Who::Known);
}

#[test]
fn a_carrier_on_a_new_address_is_said_and_not_banned() {
    let mut play = Play::with(|rules| rules.dids.patterns = vec!["+4930123*".into()]);
    let mut carrier = Client::new("198.51.100.7:5060", "INVITE", "0170");
    carrier.dialled = "004930123456".into();
    for _ in 0..20 {
        play.abandon(&mut carrier, true);
        play.wait(10_000);
    }
    assert_eq!(play.bans().len(), 0);
    let said = |effect: &&Effect| matches!(effect, Effect::Alert(Alert::CarrierCandidate { .. }));
    assert!(play.effects.iter().any(|effect| said(&effect)));
}

#[test]
fn whoever_is_trusted_is_never_judged_and_a_ban_of_his_is_lifted() {
    let networks =
        vec![(Network::host("198.51.100.7".parse().unwrap()), Box::<str>::from("carrier"))];
    let mut play = Play::with(|rules| rules.trust.networks = networks.clone());
    let mut carrier = Client::tcp("198.51.100.7:5060", "INVITE", "100", 1);
    for _ in 0..10 {
        assert!(matches!(play.abandon(&mut carrier, true), Got::Pass(_)));
        play.wait(10_000);
    }
    assert_eq!((play.bans().len(), play.outcomes(Outcome::Abandoned)), (0, 0));
    // banned by one policy, trusted by the next
    let mut play = Play::new();
    while !play.is_banned("198.51.100.7") {
        play.abandon(&mut carrier, true);
        play.wait(9_000);
    }
    let mut policy = Play::policy();
    policy.admission.trust.networks = networks;
    play.gate.configure(play.now, Arc::new(policy));
    play.drain();
    assert!(!play.is_banned("198.51.100.7"));
    assert!(play.effects.iter().any(|effect| matches!(effect, Effect::Lifted(_))));
}

#[test]
fn a_carrier_that_moved_is_no_stranger_once_its_name_says_so() {
    let hosts = vec![(Box::<str>::from("sip.carrier.example"), Box::<str>::from("carrier"))];
    let mut play = Play::with(|rules| rules.trust.hosts = hosts.clone());
    let mut carrier = Client::tcp("198.51.100.7:5060", "INVITE", "100", 1);
    while !play.is_banned("198.51.100.7") {
        play.abandon(&mut carrier, true);
        play.wait(9_000);
    }
    let until = play.now + std::time::Duration::from_secs(60);
    let addresses = [("198.51.100.7", policy::Time::FOREVER), ("198.51.100.8", until)];
    let addresses = addresses.map(|(ip, until)| (ip.parse().unwrap(), until));
    let host = hosts[0].0.clone();
    play.gate.learned(play.now, &crate::Learned::Resolved { host, addresses: addresses.into() });
    play.drain();
    assert!(!play.is_banned("198.51.100.7"));
    assert!(play.effects.iter().any(|effect| matches!(effect, Effect::Lifted(_))));
    // the new address, and the old one in its grace
    for source in ["198.51.100.7:5060", "198.51.100.8:5060"] {
        let mut carrier = Client::tcp(source, "INVITE", "100", 1);
        for _ in 0..3 {
            assert!(matches!(play.abandon(&mut carrier, true), Got::Pass(_)));
            play.wait(9_000);
        }
    }
    let before = play.outcomes(Outcome::Abandoned);
    play.wait(60_000);
    play.abandon(&mut Client::tcp("198.51.100.8:5060", "INVITE", "100", 1), true);
    play.wait(9_000);
    assert_eq!(play.outcomes(Outcome::Abandoned), before + 1, "its grace is over");
}

#[test]
fn an_observer_lets_pass_and_says_what_he_would_do() {
    let mut play = Play::with(|rules| rules.mode = policy::Mode::Observe);
    let mut tool = Client::tcp("198.51.100.7:5060", "INVITE", "100", 1);
    for _ in 0..20 {
        assert!(matches!(play.abandon(&mut tool, true), Got::Pass(_)));
        play.wait(9_000);
    }
    assert_eq!((play.bans().len(), play.leaked), (0, 20));
    let would = play.effects.iter().filter_map(|effect| match effect {
        Effect::Alert(Alert::WouldBan(ban)) => Some(ban.key.kind()),
        _ => None,
    });
    assert_eq!(would.collect::<Vec<_>>(), ["address"], "once in a ban's time");
    let mut bad = Client::new("192.0.2.9:5060", "INVITE", "a'or'1");
    play.new_call(&mut bad);
    let text = bad.text("INVITE", "", "");
    let message = wire::Message::parse(text.as_bytes(), &wire::Limits::default()).unwrap();
    let request = Request { flow: &bad.flow, message: &message, dialog: false, pbx: 0 };
    let judgement = play.gate.on_request(play.now, &request);
    assert_eq!((judgement.would, judgement.reason), (Some(Refusal::Drop), Reason::Rule));
    assert!(matches!(judgement.verdict, Verdict::Accept(_)));
}

#[test]
fn credentials_of_another_nonce_are_taken_out() {
    let mut play = Play::new();
    let mut phone = phone("198.51.100.7:5060", 1);
    play.new_call(&mut phone);
    let line = "Authorization: Digest username=\"a\",realm=\"b\",nonce=\"c\",response=\"d\"\r\n";
    let Got::Pass(pass) = play.ask(&phone, "", line) else { panic!() };
    assert_eq!(pass.credentials, Credentials::Foreign);
    let line = play.challenge(&phone, &pass, false).1;
    assert!(line.contains("stale=true"));
    let Got::Pass(pass) = play.ask(&phone, "", &Play::credentials(&phone, &line)) else { panic!() };
    play.answer(&phone, &pass, 200, "");
    assert_eq!(play.outcomes(Outcome::Foreign), 1);
    assert_eq!(play.outcomes(Outcome::Authenticated), 1);
}

#[test]
fn an_aor_is_one_however_it_is_written() {
    let play = Play::new();
    let aor = |uri: &str| play.gate.aor_of(uri.as_bytes());
    for uri in ["sip:alice@PBX.example:5070", "sip:alice@pbx.example;x=y", "sips:alice@10.0.0.1"] {
        assert_eq!(aor(uri), aor("sip:alice@pbx.example"), "{uri}");
    }
    assert_ne!(aor("sip:alice@pbx.example"), aor("sip:bob@pbx.example"));
}

#[test]
fn an_ack_from_another_port_proves_too_and_from_another_address_nothing() {
    let mut play = Play::new();
    let mut call = Client::new("198.51.100.7:5060", "INVITE", "alice");
    play.new_call(&mut call);
    let Got::Pass(pass) = play.ask(&call, "", "") else { panic!() };
    let (tag, _) = play.challenge(&call, &pass, false);
    let elsewhere =
        Client { flow: flow(wire::Transport::Udp, "192.0.2.9:5060", 0), ..call.clone() };
    assert_eq!(play.ack(&elsewhere, &tag, None), None);
    let port = Client { flow: flow(wire::Transport::Udp, "198.51.100.7:1", 0), ..call.clone() };
    assert_eq!(play.ack(&port, &tag, None), Some(Proof::AckTag));
    assert!(play.gate.is_proven(play.now, &call.flow));
}

#[test]
fn a_phone_whose_credentials_have_another_name_is_at_home() {
    let mut play = Play::new();
    let mut phone = phone("198.51.100.7:5062", 7);
    phone.username = "login7".into();
    play.attempt(&mut phone, 200).unwrap();
    let mut again = 0;
    for _ in 0..20 {
        play.new_call(&mut phone);
        if let Got::Pass(pass) = play.ask(&phone, "", "") {
            again += usize::from(pass.ticket.at_home);
        }
    }
    assert_eq!(again, 20);
}

#[test]
fn a_forger_cannot_fill_the_share_of_a_new_phone() {
    for method in ["INVITE", "REGISTER"] {
        let mut play = Play::new();
        play.attempt(&mut phone("203.0.113.1:5062", 1), 200).unwrap();
        for _ in 0..200 {
            let mut forged = Client::new("198.51.100.7:9", method, "bob");
            play.abandon(&mut forged, false);
            play.wait(20);
        }
        let mut new = Client::new("198.51.100.7:5062", method, "alice");
        assert_eq!(play.attempt(&mut new, 200), Ok(()), "{method}");
    }
}

#[test]
fn a_home_shows_its_looks_once_an_hour_and_whenever_they_change() {
    let spec = |id: &str, agent: &str| policy::SignatureSpec {
        id: id.into(),
        ceiling: policy::Ceiling::Drop,
        mode: policy::Mode::Enforce,
        what: "".into(),
        source: "".into(),
        false_positives: "".into(),
        when: policy::Condition::Text(
            policy::TextField::UserAgent,
            policy::Test::Is(vec![agent.into()]),
        ),
    };
    let specs = vec![spec("old", "phone 1"), spec("new", "phone 2")];
    let mut play =
        Play::with(|rules| rules.signatures = policy::Signatures::compile(specs).unwrap());
    let mut phone = phone("203.0.113.9:5060", 1);
    play.attempt(&mut phone, 200).unwrap();
    let seen =
        |play: &Play| play.gate.counts().signatures.iter().map(|it| it.1).collect::<Vec<_>>();
    phone.lines = "User-Agent: phone 1\r\n".into();
    for _ in 0..5 {
        play.attempt(&mut phone, 200).unwrap();
    }
    assert_eq!(seen(&play), [1, 0], "five registrations look alike");
    phone.lines = "User-Agent: phone 2\r\n".into();
    play.attempt(&mut phone, 200).unwrap();
    assert_eq!(seen(&play), [1, 1]);
    play.wait(3_600_000);
    play.attempt(&mut phone, 200).unwrap();
    play.attempt(&mut phone, 200).unwrap();
    assert_eq!(seen(&play), [1, 2]);
    // and new rules ask again
    play.gate.configure(play.now, play.gate.policy.clone());
    play.attempt(&mut phone, 200).unwrap();
    assert_eq!(seen(&play), [1, 3]);
}

#[test]
fn what_answers_a_challenge_looks_like_what_fetched_it() {
    let mut play = Play::new();
    let mut stranger = phone("203.0.113.9:5060", 1);
    play.new_call(&mut stranger);
    let Got::Pass(first) = play.ask(&stranger, "", "") else { panic!() };
    let (_, line) = play.challenge(&stranger, &first, false);
    stranger.lines = "User-Agent: of another make\r\n".into();
    let credentials = Play::credentials(&stranger, &line);
    let Got::Pass(pass) = play.ask(&stranger, "", &credentials) else { panic!() };
    assert_eq!(pass.ticket.shape, first.ticket.shape);
    assert_ne!(pass.ticket.shape, 0);
}

/// It was given no password, or knows none of the algorithms it was offered.
#[test]
fn a_phone_that_never_answers_its_challenge_keeps_its_address() {
    for method in ["REGISTER", "SUBSCRIBE"] {
        for every in [10, 30, 600, 3_600] {
            let mut play = Play::new();
            for n in 0..(30 * 86_400 / every).min(3_000) {
                let mut mute = Client::tcp("198.51.100.7:5060", method, "mute", n);
                assert!(matches!(play.abandon(&mut mute, false), Got::Pass(_)), "{n}");
                play.wait(every * 1_000);
            }
            assert_eq!(play.bans().len(), 0, "a {method} in {every} s");
            // another phone behind that address registers
            play.attempt(&mut phone("198.51.100.7:5063", 8), 200).unwrap();
        }
    }
}

/// After the PBX has forgotten who watches what, each phone subscribes to all its keys again.
#[test]
fn all_subscriptions_again_after_the_pbx_restarts() {
    let mut play = Play::new();
    let mut phones: Vec<_> =
        (0..40).map(|n| phone(&format!("198.51.100.7:{}", 10_000 + n), n)).collect();
    for phone in &mut phones {
        play.attempt(phone, 200).unwrap();
    }
    for phone in &phones {
        for key in 0..30 {
            let mut watch = Client { method: "SUBSCRIBE", ..phone.clone() };
            watch.dialled = format!("{key}");
            play.attempt(&mut watch, 200).unwrap();
        }
    }
    assert_eq!(play.outcomes(Outcome::Authenticated), 40 + 40 * 30);
    assert_eq!(play.bans().len(), 0);
}

/// Set up for another realm, or with another URI in its digest: the PBX refuses it for ever.
#[test]
fn credentials_of_another_realm_cost_their_account_at_this_address_and_nobody_else() {
    let (realm, uri) = ("realm=\"asterisk\"", "uri=\"sip:x\"");
    for (from, to) in [(realm, "realm=\"elsewhere\""), (uri, "uri=\"sip:192.0.2.1:5060\"")] {
        let mut play = Play::new();
        let mut wrong = Client::tcp("198.51.100.7:5060", "REGISTER", "wrong", 1);
        for n in 0..2_000 {
            play.new_call(&mut wrong);
            if let Got::Pass(pass) = play.ask(&wrong, "", "") {
                let line = play.challenge(&wrong, &pass, false).1;
                let credentials = Play::credentials(&wrong, &line);
                let other = credentials.replace(from, to);
                assert_ne!(other, credentials, "{line}");
                if let Got::Pass(pass) = play.ask(&wrong, "", &other) {
                    assert_eq!(pass.credentials, Credentials::Relayed);
                    play.challenge(&wrong, &pass, false);
                }
            }
            if n % 100 == 0 {
                play.attempt(&mut phone("198.51.100.7:5063", 8), 200).unwrap();
            }
            play.wait(30_000);
        }
        let of_pair = |ban: &&crate::Ban| matches!(ban.key, crate::BanKey::AorSource { .. });
        assert!(!play.bans().is_empty() && play.bans().iter().all(of_pair), "{:?}", play.bans());
    }
}

/// Who withholds his number has everybody's AOR; what counts is the account he names.
#[test]
fn anonymous_callers_are_known_by_their_accounts() {
    let mut play = Play::new();
    let anonymous = |remote: &str, user: &str| Client {
        aor: "anonymous@anonymous.invalid".into(),
        ..Client::new(remote, "INVITE", user)
    };
    let mut phone = phone("198.51.100.7:5060", 1);
    for n in 0..100 {
        play.attempt(&mut phone, 200).unwrap();
        play.attempt(&mut anonymous("198.51.100.7:5060", "user1"), 486).unwrap();
        // strangers withhold theirs, too, and guess, or never answer
        let mut guesser = anonymous(&format!("203.0.{n}.9:5060"), "user2");
        let _ = play.attempt(&mut guesser, 401);
        play.abandon(&mut anonymous(&format!("203.0.{n}.10:5060"), ""), true);
        play.wait(20_000);
    }
    assert_eq!(
        play.bans().iter().filter(|ban| matches!(ban.key, crate::BanKey::Source(_))).count(),
        0
    );
    assert!(!play.is_banned("198.51.100.7"));
}
