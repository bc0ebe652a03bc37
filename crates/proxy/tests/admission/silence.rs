//! What a PBX says nothing to, and what it says unasked.

use crate::edge::{CHALLENGE, Edge, Outcome, request};
use policy::Reason;
use proxy::Verdict;
use std::time::Duration;

impl Edge {
    /// Lets time pass, while the PBX answers the edge's own OPTIONS and nothing else; what goes out
    /// meanwhile.
    fn pass(&mut self, length: Duration) -> Vec<String> {
        let until = self.now + length;
        let mut outside = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(2);
            self.engine.handle_timeout(self.now);
            let Outcome { inside, outside: sent, .. } = self.fetched();
            outside.extend(sent);
            for check in inside.iter().filter(|text| text.starts_with("OPTIONS sip:127.0.0.1")) {
                self.pbx_answers(check, "200 OK", "t", "");
            }
        }
        self.now = self.now.max(until);
        outside
    }

    /// The phone is known from now on.
    fn registers(&mut self) {
        let first = self.phone_sends(&request("REGISTER", "z9hG4bKr1", 500, ""));
        self.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
        let tried = self.phone_sends(&with_nonce("n1", "z9hG4bKr2"));
        self.pbx_answers(&tried.inside[0], "200 OK", "t", "");
    }
}

/// The phone registers with an answer to the challenge that has this nonce.
fn with_nonce(nonce: &str, branch: &str) -> String {
    let line = format!(
        "Authorization: Digest username=\"6001\",realm=\"asterisk\",nonce=\"{nonce}\",response=\"0\"\n"
    );
    request("REGISTER", branch, 500, &line)
}

fn from(number: u8, method: &str) -> (String, String) {
    let remote = format!("198.51.100.{number}:5060");
    let text = request(method, &format!("z9hG4bK{number}"), 300, "");
    (remote, text.replace("Call-ID: c1", &format!("Call-ID: c{number}")))
}

#[test]
fn junk_that_the_pbx_says_nothing_to_begins_an_attack_like_any_other() {
    let mut edge = Edge::with(|policy| policy.admission.edge_challenge.open = 10);
    let (remote, asked) = from(1, "REGISTER");
    let first = edge.sends_from(&remote, &asked);
    edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
    // the first one's challenge is open
    for number in 2..=11 {
        let (remote, junk) = from(number, "OPTIONS");
        assert_eq!(edge.sends_from(&remote, &junk).inside.len(), 1, "{number}");
        assert_eq!(edge.engine.snapshot().gate.under_attack, number == 11, "{number}");
    }
    let (remote, junk) = from(20, "OPTIONS");
    let outcome = edge.sends_from(&remote, &junk);
    let event = &outcome.events[0];
    assert_eq!((event.verdict, event.reason), (Verdict::Reject(401), Reason::Unproven));
    assert!(outcome.inside.iter().all(|text| !text.contains("z9hG4bK20")), "{outcome:?}");
    edge.pass(Duration::from_secs(40));
    assert!(!edge.engine.snapshot().gate.under_attack);
    assert!(!edge.sends_from(&remote, &junk).inside.is_empty());
}

#[test]
fn what_the_pbx_answers_is_no_junk() {
    for (method, status) in [("OPTIONS", "200 OK"), ("INVITE", "180 Ringing")] {
        let mut edge = Edge::with(|policy| policy.admission.edge_challenge.open = 10);
        for number in 1..=100 {
            let (remote, asked) = from(number, method);
            let sent = edge.sends_from(&remote, &asked);
            edge.pbx_answers(&sent.inside[0], status, "t", "");
            assert!(!edge.engine.snapshot().gate.under_attack, "{method} {number}");
        }
    }
}

#[test]
fn what_somebody_known_asks_in_vain_is_no_junk() {
    let mut edge = Edge::with(|policy| policy.admission.edge_challenge.open = 10);
    edge.registers();
    for number in 1..=30 {
        let (_, asked) = from(number, "MESSAGE");
        assert_eq!(edge.phone_sends(&asked).inside.len(), 1, "{number}");
        assert!(!edge.engine.snapshot().gate.under_attack, "{number}");
    }
}

#[test]
fn what_a_dead_pbx_says_nothing_to_is_no_junk() {
    let mut edge = Edge::with(|policy| policy.admission.edge_challenge.open = 10);
    edge.registers();
    edge.now = edge.now + Duration::from_secs(1);
    for number in 20..=30 {
        let (remote, asked) = from(number, "OPTIONS");
        edge.sends_from(&remote, &asked);
    }
    assert!(edge.engine.snapshot().gate.under_attack, "it seems to live");
    let (_, asked) = from(13, "MESSAGE");
    assert_eq!(edge.phone_sends(&asked).inside.len(), 1);
    // it does not say that it lives, either
    let until = edge.now + Duration::from_secs(29);
    while let Some(at) = edge.engine.poll_timeout().filter(|at| *at <= until) {
        edge.now = edge.now.max(at) + Duration::from_millis(2);
        edge.engine.handle_timeout(edge.now);
        edge.fetched();
    }
    let snapshot = edge.engine.snapshot();
    assert!(!snapshot.pbx_up && snapshot.unanswered >= 11, "{snapshot:?}");
    assert!(!snapshot.gate.under_attack);
}

#[test]
fn who_registers_with_a_pbx_that_lives_and_says_nothing_hears_so_in_time() {
    let mut edge = Edge::with(|_| {});
    let sent = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 500, ""));
    assert_eq!(sent.inside.len(), 1);
    // RFC 4320 §4.2: no 408; and nothing that comes after the phone's own Timer F
    assert_eq!(edge.pass(Duration::from_millis(29_900)), Vec::<String>::new());
    let heard = edge.pass(Duration::from_millis(1_100));
    assert!(matches!(&heard[..], [text] if text.starts_with("SIP/2.0 503 ")), "{heard:?}");
    assert!(heard[0].contains("Retry-After: "), "{}", heard[0]);
    assert!(edge.engine.snapshot().pbx_up, "it answers when it is asked");
    let sent = edge.phone_sends(&request("INVITE", "z9hG4bKb", 500, ""));
    assert_eq!(sent.inside.len(), 1);
    let heard = edge.pass(Duration::from_millis(31_000));
    assert!(matches!(&heard[..], [text] if text.starts_with("SIP/2.0 408 ")), "{heard:?}");
    // but a phone may ring for longer
    let sent = edge.phone_sends(&request("INVITE", "z9hG4bKc", 500, ""));
    edge.pbx_answers(&sent.inside[0], "180 Ringing", "t", "");
    assert_eq!(edge.pass(Duration::from_secs(100)), Vec::<String>::new());
}

#[test]
fn the_nonce_that_a_200_announces_is_good_where_it_was_announced() {
    for name in ["Authentication-Info", "Proxy-Authentication-Info"] {
        let mut edge = Edge::with(|_| {});
        let first = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 500, ""));
        edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
        let tried = edge.phone_sends(&with_nonce("n1", "z9hG4bKb"));
        assert!(tried.inside[0].contains("nonce=\"n1\""), "{}", tried.inside[0]);
        let next = format!("{name}: qop=auth, nextnonce=\"n2\"\n");
        edge.pbx_answers(&tried.inside[0], "200 OK", "t", &next);
        let again = edge.phone_sends(&with_nonce("n2", "z9hG4bKc"));
        assert!(again.inside[0].contains("nonce=\"n2\""), "{}", again.inside[0]);
        let thief = edge.sends_from("198.51.100.9:5060", &with_nonce("n2", "z9hG4bKd"));
        assert!(!thief.inside[0].contains("Authorization"), "{}", thief.inside[0]);
    }
}
