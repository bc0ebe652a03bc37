//! What the PBX answers without a question, sent by whoever proves himself: nothing but a rate
//! holds it.

use super::*;
use wire::{Limits, Message};

const IP: &str = "198.51.100.7";

/// From another port, or over another connection, each time.
fn sent(stream: bool, n: u64, method: &'static str) -> Client {
    match stream {
        true => Client::tcp(&format!("{IP}:5060"), method, "u", n),
        false => Client::new(&format!("{IP}:{}", 10_000 + n), method, "u"),
    }
}

/// How many of so many, one a millisecond, reach a PBX that refuses each at once.
fn through(play: &mut Play, stream: bool, many: u64, method: &'static str) -> usize {
    let before = play.leaked;
    for n in 0..many {
        play.wait(1);
        let mut client = sent(stream, n, method);
        play.new_call(&mut client);
        if let Got::Pass(pass) = play.ask(&client, "tag", "") {
            play.answer(&client, &pass, 481, "");
        }
    }
    play.leaked - before
}

#[test]
fn another_flow_each_time_is_no_other_budget() {
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "SUBSCRIBE", "OPTIONS"] {
        for stream in [true, false] {
            let mut play = Play::new();
            // by the ACK of one call he is proven over UDP
            play.abandon(&mut sent(false, 1, "INVITE"), true);
            let through = through(&mut play, stream, 10_000, method);
            assert!((2_798..=2_800).contains(&through), "{method} {stream}: {through}");
        }
    }
}

#[test]
fn nor_for_acks_of_nothing() {
    for stream in [true, false] {
        let mut play = Play::new();
        play.abandon(&mut sent(false, 1, "INVITE"), true);
        let mut through = 0;
        for n in 0..10_000 {
            play.wait(1);
            let mut client = sent(stream, n, "ACK");
            play.new_call(&mut client);
            let text = client.text("ACK", "tag", "");
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            let ack = Request { flow: &client.flow, message: &message, dialog: false, pbx: 0 };
            let verdict = play.gate.on_stray_ack(play.now, &ack).verdict;
            through += usize::from(matches!(verdict, Verdict::Accept(_)));
        }
        assert!((2_798..=2_800).contains(&through), "{stream}: {through}");
    }
}

#[test]
fn a_forger_spends_nothing_of_what_proves_itself() {
    for known in [false, true] {
        let mut play = Play::new();
        match known {
            true => play.attempt(&mut sent(true, 1, "REGISTER"), 200).unwrap(),
            false => drop(play.abandon(&mut sent(false, 1, "INVITE"), true)),
        }
        let forged = if known { 12_000 } else { 2_000 };
        play.now = play.now + std::time::Duration::from_secs(10);
        for n in 0..forged {
            let mut client = sent(false, n % 40_000, "BYE");
            play.new_call(&mut client);
            play.ask(&client, "tag", "");
        }
        let mut client = sent(false, 1, "BYE");
        play.new_call(&mut client);
        assert_eq!(play.ask(&client, "tag", ""), Got::Drop(Reason::Rate), "{known}");
        assert_eq!(play.attempt(&mut sent(true, 2, "REGISTER"), 200), Ok(()), "{known}");
    }
}
