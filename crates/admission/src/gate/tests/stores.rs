//! Challenges that are fetched first and answered all at once, when nothing slows who has them.

use super::*;

const IP: &str = "198.51.100.7";

/// An address that one weak account, or a phone behind the same NAT, made known.
fn known() -> Play {
    let mut play = Play::new();
    play.attempt(&mut Client::new(&format!("{IP}:5060"), "REGISTER", "bob"), 200).unwrap();
    play
}

/// Fetches a challenge for each, then answers them: how many are challenged, and how many guesses
/// reach the PBX, which refuses each as it comes or none before all have come.
fn guess(play: &mut Play, clients: Vec<Client>, at_once: bool) -> (usize, usize) {
    let mut store = Vec::new();
    for mut client in clients {
        play.new_call(&mut client);
        play.wait(1);
        let got = play.ask(&client, "", "");
        if let Got::Pass(pass) = got {
            let line = play.challenge(&client, &pass, false).1;
            store.push((client, line));
        }
    }
    // while the rates are full again
    play.wait(5_000);
    let mut guesses = Vec::new();
    for (client, line) in &store {
        let got = play.ask(client, "", &Play::credentials(client, line));
        if let Got::Pass(pass) = got
            && pass.ticket.credentials
        {
            guesses.push((client, pass));
        }
        if !at_once && let Some((client, pass)) = guesses.last() {
            play.challenge(client, pass, false);
        }
    }
    for (client, pass) in guesses.iter().filter(|_| at_once) {
        play.challenge(client, pass, false);
    }
    (store.len(), guesses.len())
}

fn accounts(many: usize) -> Vec<Client> {
    let of = |n| Client::new(&format!("{IP}:5060"), "REGISTER", &format!("u{n}"));
    (0..many).map(of).collect()
}

fn ports(many: usize) -> Vec<Client> {
    let of = |n| Client::new(&format!("{IP}:{}", 10_000 + n), "REGISTER", "bob");
    (0..many).map(of).collect()
}

#[test]
fn a_known_address_lays_in_no_store_of_guesses_at_others() {
    // the fifth refusal narrows it, and one more has the try of that minute
    assert_eq!(guess(&mut known(), accounts(1_000), false), (64, 6));
    assert_eq!(guess(&mut known(), accounts(1_000), true), (64, 64));
}

#[test]
fn nor_whoever_sits_beside_a_phone_of_guesses_at_its_account() {
    assert_eq!(guess(&mut known(), ports(1_000), false), (1_000, 6));
    let mut play = known();
    assert_eq!(guess(&mut play, ports(1_000), true), (1_000, 64));
    // the phone is there as ever, if slower
    play.wait(30_000);
    let mut phone = Client::new(&format!("{IP}:5060"), "REGISTER", "bob");
    assert_eq!(play.attempt(&mut phone, 200), Ok(()));
}

#[test]
fn a_stranger_has_no_more_in_a_burst() {
    let over_tcp = |at_once| {
        let of = |n| Client::tcp(&format!("{IP}:5060"), "REGISTER", &format!("u{n}"), 1);
        guess(&mut Play::new(), (0..64).map(of).collect(), at_once)
    };
    assert_eq!(over_tcp(false), (64, 5), "banned");
    assert_eq!(over_tcp(true), (64, 64));
}

#[test]
fn tries_that_ended_make_room_for_others() {
    for clients in [accounts(500), ports(500)] {
        let mut play = known();
        for chunk in clients.chunks(64) {
            let mut passes = Vec::new();
            for client in chunk {
                let mut client = client.clone();
                play.new_call(&mut client);
                let Got::Pass(pass) = play.ask(&client, "", "") else { panic!("{client:?}") };
                let line = play.challenge(&client, &pass, false).1;
                let got = play.ask(&client, "", &Play::credentials(&client, &line));
                let Got::Pass(pass) = got else { panic!("{got:?}") };
                passes.push((client, pass));
            }
            for (client, pass) in &passes {
                play.answer(client, pass, 200, "");
            }
        }
    }
}

#[test]
fn whose_challenge_took_the_try_goes_on_with_it() {
    let mut play = known();
    guess(&mut play, accounts(6), false);
    // narrowed: one try a minute, which is a whole login, whatever name it is under
    for n in 0..3 {
        play.wait(60_000);
        let mut client = Client::new(&format!("{IP}:5060"), "REGISTER", &format!("new{n}"));
        client.username = format!("login{n}");
        assert_eq!(play.attempt(&mut client, 200), Ok(()));
        let mut next = Client::new(&format!("{IP}:5060"), "REGISTER", &format!("next{n}"));
        assert_eq!(play.attempt(&mut next, 200), Err(Got::Drop(Reason::Narrowed)));
    }
}

/// Asks for other accounts, a thousand a second for so long, and answers nothing.
fn scan(play: &mut Play, method: &'static str, acks: bool, ms: u64) -> usize {
    let before = play.leaked;
    for n in 0..ms {
        play.wait(1);
        let mut client = Client::new(&format!("{IP}:5060"), method, &format!("u{n}"));
        play.abandon(&mut client, acks);
    }
    play.leaked - before
}

#[test]
fn nor_does_it_scan_them() {
    let mut play = known();
    // eight seconds' patience; it is narrowed when that has ended for the third
    assert_eq!(scan(&mut play, "INVITE", true, 20_000), 67);
    let mut play = known();
    assert_eq!(scan(&mut play, "REGISTER", false, 20_000), 64);
    // who is at home has no such limit
    let home: Vec<_> = ports(500);
    for mut phone in home {
        assert!(matches!(play.abandon(&mut phone, false), Got::Pass(_)));
    }
}

#[test]
fn each_challenge_counts_however_soon_the_pbx_asks() {
    for (method, most) in [("INVITE", 3), ("REGISTER", 64)] {
        let mut play = known();
        let mut client = Client::tcp("192.0.2.66:5060", method, "u", 1);
        play.new_call(&mut client);
        // all that came at once is challenged at once
        for _ in 0..10 {
            let all = (0..100).map(|_| play.ask(&client, "", "")).collect::<Vec<_>>();
            for got in &all {
                if let Got::Pass(pass) = got {
                    play.challenge(&client, pass, false);
                }
            }
        }
        assert_eq!(play.leaked - 2, most, "{method}");
    }
}
