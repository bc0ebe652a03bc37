//! Who guesses passwords, from one place or many, slowly or all at once.

use super::*;
use crate::BanKey;

fn guesses(play: &mut Play, mut client: impl FnMut(usize) -> Client, tries: usize) -> usize {
    let before = play.outcomes(Outcome::Refused);
    for n in 0..tries {
        let mut client = client(n);
        let _ = play.attempt(&mut client, 401);
        play.wait(200);
    }
    (play.outcomes(Outcome::Refused) - before) as usize
}

#[test]
fn five_guesses_are_all_that_a_source_has() {
    type Make = fn(usize) -> Client;
    let cases: [(&str, Make); 4] = [
        ("udp", |_| Client::new("198.51.100.7:5060", "REGISTER", "alice")),
        ("ports", |n| Client::new(&format!("198.51.100.7:{}", 1_000 + n), "REGISTER", "alice")),
        ("tcp", |n| Client::tcp("198.51.100.7:5060", "REGISTER", "alice", n as u64)),
        ("v6", |n| {
            let remote = format!("[2001:db8:1:2::{n:x}]:5060");
            Client::tcp(&remote, "REGISTER", "alice", n as u64)
        }),
    ];
    for (name, client) in cases {
        let mut play = Play::new();
        assert_eq!(guesses(&mut play, client, 100), 5, "{name}");
        let pair = |ban: &&crate::Ban| matches!(ban.key, BanKey::AorSource { .. });
        assert_eq!(play.bans().iter().filter(|ban| pair(ban)).count(), 1, "{name}");
    }
}

#[test]
fn a_guesser_who_echoes_nothing_must_answer_the_edge() {
    let mut play = Play::new();
    let silent = |_: usize| {
        let mut client = Client::new("198.51.100.7:5060", "REGISTER", "alice");
        client.opaque = false;
        client
    };
    // the first guess is only suspicion; the others are proven by the edge's own nonce
    assert_eq!(guesses(&mut play, silent, 100), 5);
    assert!(play.gate.counts().issued_by_edge > 0);
    // what the first one costs is a try: he is banned when he goes on after the suspicion's end
    assert!(play.bans().is_empty());
    play.wait(600_000);
    assert_eq!(guesses(&mut play, silent, 100), 1);
    assert_eq!(play.bans().len(), 1);
}

#[test]
fn a_forged_refusal_bans_nobody_and_costs_a_stranger_one_try_for_a_while() {
    let mut play = Play::new();
    let mut guest = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    let forged = |play: &mut Play| {
        let mut forger = Client { opaque: false, ..guest.clone() };
        play.attempt(&mut forger, 401).unwrap();
    };
    forged(&mut play);
    for _ in 0..4 {
        play.attempt(&mut guest, 401).unwrap();
        play.wait(5_000);
    }
    let stopped = play.attempt(&mut guest, 200);
    assert_eq!(stopped, Err(Got::Drop(Reason::TriesUnderWay)));
    assert!(play.bans().is_empty());
    play.wait(600_000);
    play.attempt(&mut guest, 200).unwrap();
    assert!(play.bans().is_empty());
    // at home it costs nothing at all
    let mut home = Client::new("198.51.100.8:5060", "REGISTER", "bob");
    play.attempt(&mut home, 200).unwrap();
    for _ in 0..4 {
        play.attempt(&mut home, 401).unwrap();
        play.wait(5_000);
    }
    let mut forger = Client { opaque: false, ..home.clone() };
    play.attempt(&mut forger, 401).unwrap();
    play.attempt(&mut home, 200).unwrap();
}

#[test]
fn what_proves_nothing_asks_the_pbx_about_few_accounts() {
    let mut play = Play::new();
    for n in 0..100 {
        let mut scanner = Client::new("198.51.100.7:5060", "REGISTER", &format!("{}", 100 + n));
        let _ = play.abandon(&mut scanner, false);
    }
    assert_eq!(play.leaked, 8);
    assert!(play.bans().is_empty(), "its address may be forged");
    // a phone at that address registers all the same, with or without opaque
    for (user, opaque) in [("alice", true), ("bob", false)] {
        let mut phone = Client::new("198.51.100.7:5061", "REGISTER", user);
        phone.opaque = opaque;
        play.attempt(&mut phone, 200).unwrap();
    }
}

#[test]
fn many_guessers_of_one_aor_never_shut_its_home_out() {
    let mut play = Play::new();
    let mut phone = Client::new("203.0.113.9:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    let mut refused = 0;
    for n in 0..5_000 {
        let remote = format!("10.{}.{}.9:5060", n / 256, n % 256);
        refused += guesses(&mut play, |_| Client::new(&remote, "REGISTER", "alice"), 1);
        if n % 500 == 0 {
            play.attempt(&mut phone, 200).unwrap();
        }
    }
    // twenty minutes: ten, and one in half a minute
    assert!(refused <= 10 + 50, "{refused} guesses");
    play.attempt(&mut phone, 200).unwrap();
    assert_eq!(play.bans().len(), 0);
}

#[test]
fn one_valid_account_hides_no_brute_force() {
    let mut play = Play::new();
    let mut own = Client::new("198.51.100.7:5060", "REGISTER", "mallory");
    play.attempt(&mut own, 200).unwrap();
    let mut refused = 0;
    for n in 0..50 {
        let user = format!("user{n}");
        refused += guesses(&mut play, |_| Client::new("198.51.100.7:5060", "REGISTER", &user), 9);
        play.attempt(&mut own, 200).unwrap();
    }
    // narrowed: his own account goes on, others have one try a minute
    let [ban, ..] = play.bans()[..] else { panic!("no ban") };
    assert!(ban.narrowed || matches!(ban.key, BanKey::AorSource { .. }));
    assert!(play.bans().iter().any(|ban| ban.narrowed));
    assert!(refused < 40, "{refused} guesses");
    assert!(!play.is_banned("198.51.100.7"));
}

#[test]
fn whoever_guesses_slowly_at_one_aor_loses_it() {
    let mut play = Play::new();
    let mut made = 0;
    for n in 0..200 {
        let mut client = Client::new(&format!("198.51.100.7:{}", 1_000 + n), "REGISTER", "alice");
        made += usize::from(play.attempt(&mut client, 401).is_ok());
        play.wait(1_800_000);
    }
    let bans = play.bans();
    assert!(bans.iter().all(|ban| matches!(ban.key, BanKey::AorSource { .. })), "{bans:?}");
    assert!(bans[0].score >= 12.0, "by the long memory: {bans:?}");
    let replayed = bans[0].replay(&Play::policy().admission);
    assert!((replayed - bans[0].score).abs() < 0.01, "{replayed}");
    assert!(made < 200, "{made} tries of 200");
}

#[test]
fn no_ban_is_forgiven_to_who_guesses_on() {
    let lengths = |in_between: bool| {
        let mut play = Play::new();
        let mut guesser = Client::new("198.51.100.7:5060", "REGISTER", "alice");
        for hour in 0..31 {
            let guesses = match hour {
                0 | 30 => 6,
                20 => u32::from(in_between),
                _ => 0,
            };
            for _ in 0..guesses {
                let _ = play.attempt(&mut guesser, 401);
            }
            play.wait(3_600_000);
        }
        let bans = play.bans().into_iter();
        bans.map(|ban| ban.until.since(ban.since).as_secs()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(false), [60, 60], "a day without evidence forgives one");
    assert_eq!(lengths(true), [60, 240]);
}

#[test]
fn the_edges_own_challenge_is_no_way_around_the_guard() {
    let mut play = Play::with(|rules| {
        rules.edge_challenge.mode = policy::ChallengeMode::Always;
        rules.edge_challenge.realm = Some("asterisk".into());
    });
    let client = |n: usize| Client::new(&format!("198.51.{n}.7:5060"), "INVITE", "alice");
    let made = guesses(&mut play, client, 200);
    assert!((10..=20).contains(&made), "{made} guesses in forty seconds");
}

#[test]
fn a_guess_is_at_the_account_that_it_names() {
    for method in ["REGISTER", "INVITE"] {
        // one source, another AOR each time
        let mut play = Play::new();
        let client = |n: usize| Client {
            username: "alice".into(),
            ..Client::new("198.51.100.7:5060", method, &format!("no{n}"))
        };
        assert_eq!(guesses(&mut play, client, 50), 5, "{method}");
        // a thousand sources
        let mut play = Play::new();
        let client = |n: usize| Client {
            username: "alice".into(),
            ..Client::new(&format!("198.{}.{}.7:5060", n >> 8, n & 255), method, &format!("no{n}"))
        };
        let made = guesses(&mut play, client, 1_000);
        assert!(made <= 30, "{method}: {made} in four minutes");
    }
}

#[test]
fn an_own_account_opens_nobody_elses() {
    let mut play = Play::new();
    let mut own = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    own.username = "mallory".into();
    play.attempt(&mut own, 404).unwrap();
    let client = |_| Client::new("198.51.100.7:5060", "REGISTER", "alice");
    assert_eq!(guesses(&mut play, client, 50), 5);
    let pair = |ban: &&crate::Ban| matches!(ban.key, BanKey::AorSource { .. });
    assert_eq!(play.bans().iter().filter(|ban| pair(ban)).count(), 1);
}

/// Guesses whose challenges are all fetched first, and whose credentials are all sent before the
/// PBX answers any: how many reach it.
fn guesses_at_once(play: &mut Play, clients: &mut [Client], credentials_each: usize) -> usize {
    let mut ready = Vec::new();
    for client in clients.iter_mut() {
        play.new_call(client);
        let Got::Pass(pass) = play.ask(client, "", "") else { continue };
        let (_, line) = play.challenge(client, &pass, false);
        ready.push((client.clone(), Play::credentials(client, &line)));
    }
    let mut with_pbx = Vec::new();
    for (client, credentials) in &ready {
        for _ in 0..credentials_each {
            if let Got::Pass(pass) = play.ask(client, "", credentials) {
                with_pbx.push((client.clone(), pass));
            }
        }
    }
    for (client, pass) in &with_pbx {
        play.challenge(client, pass, false);
    }
    with_pbx.len()
}

#[test]
fn guesses_made_at_once_are_no_more_than_guesses_one_by_one() {
    let udp = |port: usize| Client::new(&format!("198.51.100.7:{port}"), "REGISTER", "alice");
    let tcp = |n: usize| Client::tcp("198.51.100.7:5060", "REGISTER", "alice", n as u64);
    let cases: [(&str, Vec<Client>, usize); 4] = [
        ("one challenge, many credentials", vec![udp(5060)], 200),
        ("many challenges", (0..60).map(|n| udp(5_000 + n)).collect(), 1),
        ("both", (0..60).map(|n| udp(5_000 + n)).collect(), 3),
        ("connections", (0..60).map(tcp).collect(), 2),
    ];
    for (name, mut clients, each) in cases {
        let mut play = Play::new();
        assert_eq!(guesses_at_once(&mut play, &mut clients, each), 5, "{name}");
        let pair = |ban: &&crate::Ban| matches!(ban.key, BanKey::AorSource { .. });
        assert_eq!(play.bans().iter().filter(|ban| pair(ban)).count(), 1, "{name}");
        assert_eq!(play.gate.snapshot().tries.entries, 0, "{name}");
    }
}

#[test]
fn a_thousand_addresses_that_guess_at_once_have_ten() {
    let mut play = Play::new();
    let address = |n: usize| format!("198.{}.{}.7:5060", 18 + n / 250, n % 250);
    let guesser = |n| Client::new(&address(n), "REGISTER", "alice");
    let mut clients: Vec<_> = (0..1_000).map(guesser).collect();
    assert_eq!(guesses_at_once(&mut play, &mut clients, 1), 11, "ten, and one in thirty seconds");
}

#[test]
fn behind_a_home_five_guesses_at_once_are_all_that_a_flow_has() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    let mut neighbour = [Client::new("198.51.100.7:6060", "REGISTER", "alice")];
    assert_eq!(guesses_at_once(&mut play, &mut neighbour, 100), 5);
    play.wait(40_000);
    play.attempt(&mut phone, 200).unwrap();
}

#[test]
fn one_account_may_make_many_calls_at_once() {
    let mut play = Play::new();
    let mut office = Client::tcp("198.51.100.7:5060", "REGISTER", "office", 1);
    play.attempt(&mut office, 200).unwrap();
    let mut calls: Vec<_> = (0..30)
        .map(|n| Client {
            dialled: format!("{n}"),
            ..Client::tcp("198.51.100.7:5060", "INVITE", "office", 1)
        })
        .collect();
    let mut ready = Vec::new();
    for call in &mut calls {
        play.new_call(call);
        let Got::Pass(pass) = play.ask(call, "", "") else { panic!("challenged by the PBX") };
        let (_, line) = play.challenge(call, &pass, false);
        ready.push((call.clone(), Play::credentials(call, &line)));
    }
    let mut ringing = Vec::new();
    for (call, credentials) in &ready {
        let Got::Pass(mut pass) = play.ask(call, "", credentials) else { panic!("it rings") };
        play.gate.on_provisional(100, &mut pass.ticket);
        ringing.push((call, pass));
    }
    for (call, pass) in ringing {
        play.answer(call, &pass, 200, "");
    }
    assert_eq!(play.gate.snapshot().tries.entries, 0);
    assert_eq!(play.outcomes(Outcome::Authenticated), 31);
}

#[test]
fn a_forger_takes_no_try_of_a_guarded_account() {
    let mut play = Play::new();
    let guesser = |n| Client::new(&format!("198.51.{n}.7:5060"), "REGISTER", "alice");
    assert!(guesses(&mut play, guesser, 40) >= 10, "the guard is up");
    play.wait(30_000);
    for n in 0..100 {
        let forged = Client::new(&format!("203.0.113.{n}:5060"), "REGISTER", "alice");
        let mut forged = Client { call: format!("f{n}"), ..forged };
        forged.opaque = false;
        assert!(matches!(play.ask(&forged, "", ""), Got::Challenge(_)), "{n}");
    }
    let mut roaming = Client::new("192.0.2.77:5060", "REGISTER", "alice");
    play.attempt(&mut roaming, 200).unwrap();
}

/// Each names `alice` to a PBX that undoes escapes, takes the last of two parameters, or reads a
/// scheme in quotes, and another to whoever reads it in another way.
#[test]
fn a_guess_counts_however_its_credentials_are_written() {
    type Write = fn(usize, String) -> String;
    let ways: [(&str, Write); 5] = [
        ("plainly", |_, text| text),
        ("escaped", |n, text| {
            let name = ["\\alice", "a\\lice", "\\a\\lice", "al\\ice", "\\al\\ice"][n % 5];
            text.replace("\"alice\"", &format!("\"{name}\""))
        }),
        ("twice", |n, text| text.replace("username=", &format!("username=\"x{n}\",username="))),
        ("in quotes", |_, text| text.replace("Digest ", "\"Digest\" ")),
        ("another scheme", |_, text| text.replace("Digest ", "Whatever ")),
    ];
    let mut plainly = None;
    for (name, write) in ways {
        let (mut play, mut tried) = (Play::new(), 0);
        for n in 0..60 {
            let remote = format!("198.51.{n}.7:5060");
            let mut guesser = Client::new(&remote, "REGISTER", "alice");
            play.new_call(&mut guesser);
            let mut got = play.ask(&guesser, "", "");
            // he is asked again for what can be read in two ways
            for _ in 0..3 {
                let line = match got {
                    Got::Pass(pass) => play.challenge(&guesser, &pass, false).1,
                    Got::Challenge(line) => line,
                    _ => break,
                };
                got = play.ask(&guesser, "", &write(n, Play::credentials(&guesser, &line)));
                if let Got::Pass(pass) = &got
                    && !pass.credentials.are_stripped()
                {
                    tried += 1;
                    play.challenge(&guesser, pass, false);
                    break;
                }
            }
            play.wait(100);
        }
        let plainly = *plainly.get_or_insert(tried);
        assert!(plainly <= 12 && tried <= plainly, "{name}: {tried}, plainly {plainly}");
    }
}

#[test]
fn a_guess_at_a_home_from_its_own_address_is_one_in_half_a_minute() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    // each from another port, so that no flow is banned
    let guesser =
        |n: usize| Client::new(&format!("198.51.100.7:{}", 10_000 + n), "REGISTER", "alice");
    assert_eq!(guesses(&mut play, guesser, 5), 5);
    let mut made = 0;
    for n in 0..300 {
        made += guesses(&mut play, |_| guesser(100 + n), 1);
        play.wait(700);
    }
    assert!((9..=12).contains(&made), "{made} in five minutes");
    assert_eq!(play.bans(), Vec::<&crate::Ban>::new(), "the phone has its account there");
}

#[test]
fn who_took_a_slowed_homes_try_with_his_question_has_it() {
    let mut play = Play::new();
    let at = |port: u16| Client::new(&format!("198.51.100.7:{port}"), "REGISTER", "alice");
    play.attempt(&mut at(5060), 200).unwrap();
    // his challenge is from before there was anything to take
    let mut caller = at(6060);
    play.new_call(&mut caller);
    let Got::Pass(pass) = play.ask(&caller, "", "") else { panic!("nobody is slowed yet") };
    play.challenge(&caller, &pass, false);
    assert_eq!(guesses(&mut play, |n| at(10_000 + n as u16), 5), 5);
    // he asks again, and takes the only try
    let Got::Pass(pass) = play.ask(&caller, "", "") else { panic!("there is a try") };
    assert!(pass.ticket.slowed);
    let (_, line) = play.challenge(&caller, &pass, false);
    assert_eq!(play.attempt(&mut at(7_070), 401), Err(Got::Drop(Reason::PairBanned)));
    let got = play.ask(&caller, "", &Play::credentials(&caller, &line));
    assert!(matches!(got, Got::Pass(_)), "{got:?}");
}

/// An AOR of which strangers were refused often: by who proves himself, or by who does not.
fn doubted(proven: bool) -> Play {
    let mut play = Play::new();
    // a phone's shape: no campaign is in the way
    let mut phone = Client::new("203.0.113.9:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    let mut refused = 0;
    for n in 0..200 {
        let mut guesser = Client::new(&format!("198.51.{n}.7:5060"), "REGISTER", "alice");
        guesser.opaque = proven;
        refused += guesses(&mut play, |_| guesser.clone(), 1);
        // they fade a little meanwhile
        if refused == 11 {
            return play;
        }
    }
    panic!("{refused} refused");
}

#[test]
fn who_asks_for_an_aor_that_is_guessed_at_proves_himself_first() {
    for proven in [true, false] {
        let mut play = doubted(proven);
        let ask = |play: &mut Play, client: &Client| {
            let mut client = client.clone();
            play.new_call(&mut client);
            play.ask(&client, "", "")
        };
        let before = play.leaked;
        for n in 0..50 {
            let stranger = Client::new(&format!("192.0.2.{n}:5060"), "REGISTER", "alice");
            assert!(matches!(ask(&mut play, &stranger), Got::Challenge(_)), "{proven} {n}");
        }
        assert_eq!(play.leaked, before, "nothing of it is the PBX's to answer");
        // another AOR is nobody's business, and the phone at home notices nothing
        let other = Client::new("192.0.2.77:5060", "REGISTER", "bob");
        assert!(matches!(ask(&mut play, &other), Got::Pass(_)), "{proven}");
        let home = Client::new("203.0.113.9:5060", "REGISTER", "alice");
        assert!(matches!(ask(&mut play, &home), Got::Pass(_)), "{proven}");
        // who is proven already is not asked to prove himself
        play.wait(31_000);
        let stream = Client::tcp("192.0.2.99:5060", "REGISTER", "alice", 1);
        assert!(matches!(ask(&mut play, &stream), Got::Pass(_)), "{proven}");
    }
}

#[test]
fn who_goes_on_guessing_at_what_he_lost_loses_his_address() {
    let mut play = Play::new();
    let mut guesser = Client::tcp("198.51.100.7:5060", "REGISTER", "alice", 1);
    let mut tries = 0;
    while !play.is_banned("198.51.100.7") {
        let _ = play.attempt(&mut guesser, 401);
        tries += 1;
        assert!(tries < 200, "{:?}", play.bans());
    }
    // a fiftieth for each try on the banned account
    assert!(tries > 90, "{tries}");
    assert!(play.bans().iter().any(|ban| matches!(ban.key, BanKey::Source(_)) && !ban.narrowed));
}
