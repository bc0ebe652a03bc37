//! What comes all at once, before the PBX has said anything to the first of it.

use super::*;
use std::iter::repeat_with;

const UDP: &str = "198.51.100.7:5060";

/// A gate that can challenge by itself.
fn taught() -> Play {
    let mut play = Play::new();
    play.attempt(&mut Client::new("203.0.113.9:5060", "REGISTER", "alice"), 200).unwrap();
    play
}

/// So many requests of different calls, none of which is answered.
fn burst(play: &mut Play, client: &Client, many: usize) -> Vec<(Client, Got)> {
    let mut next = || {
        let mut one = client.clone();
        play.new_call(&mut one);
        let got = play.ask(&one, "", "");
        (one, got)
    };
    repeat_with(&mut next).take(many).collect()
}

fn passed(burst: &[(Client, Got)]) -> usize {
    burst.iter().filter(|(_, got)| matches!(got, Got::Pass(_))).count()
}

/// The PBX challenges all that reached it.
fn challenge(play: &mut Play, burst: &[(Client, Got)]) {
    for (client, got) in burst {
        if let Got::Pass(pass) = got {
            play.challenge(client, pass, false);
        }
    }
}

#[test]
fn a_burst_has_no_more_than_comes_one_by_one() {
    let stream = |method| Client::tcp(UDP, method, "100", 1);
    let datagram = |method| Client::new(UDP, method, "100");
    let cases = [
        (datagram("INVITE"), 3, Got::Drop(Reason::Narrowed)),
        (stream("INVITE"), 3, Got::Reject(503)),
        (stream("REGISTER"), 64, Got::Reject(503)),
    ];
    for (client, most, other) in cases {
        let mut play = taught();
        let first = burst(&mut play, &client, 100);
        assert_eq!(passed(&first), most, "{client:?}");
        assert_eq!(first[99].1, other, "{client:?}");
        challenge(&mut play, &first);
        assert_eq!(play.gate.snapshot().passing.entries, 0);
        // and what is challenged is as many as before
        assert_eq!(passed(&burst(&mut play, &client, 100)), 0, "{client:?}");
    }
}

#[test]
fn an_office_that_comes_all_at_once_is_in() {
    let mut play = taught();
    let phones = burst(&mut play, &Client::new(UDP, "REGISTER", "100"), 60);
    assert_eq!(passed(&phones), 8, "the rest are challenged by the edge");
    assert_eq!(play.gate.snapshot().passing.entries, 1);
    let mut registered = 0;
    for (phone, got) in &phones {
        let line = match got {
            Got::Pass(pass) => play.challenge(phone, pass, false).1,
            Got::Challenge(line) => line.clone(),
            other => panic!("{other:?}"),
        };
        let Got::Pass(pass) = play.ask(phone, "", &Play::credentials(phone, &line)) else {
            continue;
        };
        play.answer(phone, &pass, 200, "");
        registered += 1;
    }
    assert_eq!(registered, 60);
    assert_eq!(play.gate.snapshot().passing.entries, 0);
}

#[test]
fn a_word_of_the_pbx_makes_room() {
    let mut play = taught();
    for mut client in [Client::new(UDP, "INVITE", "100"), Client::tcp(UDP, "INVITE", "100", 1)] {
        for status in [100, 180, 183].repeat(20) {
            play.new_call(&mut client);
            let Got::Pass(mut pass) = play.ask(&client, "", "") else { panic!("{client:?}") };
            assert_eq!(play.gate.snapshot().passing.entries, 1);
            play.gate.on_provisional(status, &mut pass.ticket);
            assert_eq!(play.gate.snapshot().passing.entries, 0);
        }
        for _ in 0..20 {
            play.new_call(&mut client);
            let Got::Pass(pass) = play.ask(&client, "", "") else { panic!("{client:?}") };
            play.answer(&client, &pass, 486, "");
        }
    }
}

#[test]
fn what_ends_otherwise_makes_room_once() {
    let mut play = taught();
    let calls = burst(&mut play, &Client::tcp(UDP, "INVITE", "100", 1), 3);
    let [(_, Got::Pass(first)), (_, Got::Pass(second)), _] = &calls[..] else {
        panic!("{calls:?}")
    };
    let (mut first, mut second) = (first.ticket, second.ticket);
    play.gate.on_superseded(&mut first);
    play.gate.on_superseded(&mut first);
    play.gate.on_ended(&mut first);
    let client = Client::tcp(UDP, "INVITE", "100", 1);
    assert_eq!(passed(&burst(&mut play, &client, 5)), 1);
    play.gate.on_ended(&mut second);
    assert_eq!(passed(&burst(&mut play, &client, 5)), 1);
    // what nobody says the end of is forgotten
    play.wait(32_000);
    assert_eq!(passed(&burst(&mut play, &client, 5)), 3);
}

#[test]
fn a_forgers_burst_takes_nothing_of_who_proves_himself() {
    let mut play = taught();
    let forged = burst(&mut play, &Client::new(UDP, "INVITE", "100"), 50);
    assert_eq!(passed(&forged), 3);
    assert_eq!(passed(&burst(&mut play, &Client::tcp(UDP, "INVITE", "200", 1), 50)), 3);
    // and once his calls are challenged, who comes by UDP is challenged by the edge
    challenge(&mut play, &forged);
    let honest = burst(&mut play, &Client::new(UDP, "INVITE", "300"), 1);
    assert!(matches!(honest[0].1, Got::Challenge(_)), "{honest:?}");
}

#[test]
fn a_known_source_has_no_such_share() {
    let mut play = taught();
    play.attempt(&mut Client::new(UDP, "REGISTER", "office"), 200).unwrap();
    assert_eq!(passed(&burst(&mut play, &Client::new(UDP, "INVITE", "office"), 100)), 100);
    assert_eq!(play.gate.snapshot().passing.entries, 0);
}
