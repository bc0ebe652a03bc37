//! Single messages through the engine, and what comes out: the clauses of RFC 3261 §16 that a
//! ladder would hide.

use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Event, Input, Output, Verdict};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Side, Transport};

const PHONE: &str = "198.51.100.7:5062";
const OUTSIDE: &str = "203.0.113.1:5060";
const INSIDE: &str = "127.0.0.1:5080";
const PBX: &str = "127.0.0.1:5070";

struct Edge {
    engine: Engine,
    now: Time,
}

/// What left the engine.
#[derive(Debug)]
struct Sent {
    side: Side,
    remote: SocketAddr,
    text: String,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

impl Edge {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let listener =
            Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
        let pbx = Pbx::new(addr(PBX));
        let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![pbx]);
        // what answers to unproven sources cost has its own tests
        policy.admission.proof.amplify = true;
        change(&mut policy);
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        let engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
        Edge { engine, now }
    }

    fn drain(&mut self) -> (Vec<Sent>, Vec<Event>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { side, remote, bytes, .. } => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    sent.push(Sent { side, remote, text });
                }
                Output::Event(event) => events.push(event),
                // how the PBX challenges, and how challenges end
                Output::Remember(_) | Output::Evidence(..) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        (sent, events)
    }

    fn phone_sends(&mut self, text: &str) -> (Vec<Sent>, Event) {
        self.source_sends(PHONE, text)
    }

    fn source_sends(&mut self, source: &str, text: &str) -> (Vec<Sent>, Event) {
        self.input(Side::Outside, OUTSIDE, source, text)
    }

    fn pbx_sends(&mut self, text: &str) -> (Vec<Sent>, Event) {
        self.input(Side::Inside, INSIDE, PBX, text)
    }

    fn input(&mut self, side: Side, local: &str, remote: &str, text: &str) -> (Vec<Sent>, Event) {
        let bytes = text.replace('\n', "\r\n");
        let input = Input::Datagram {
            side,
            local: addr(local),
            remote: addr(remote),
            bytes: bytes.as_bytes(),
        };
        self.engine.handle_input(self.now, input);
        let (sent, mut events) = self.drain();
        assert_eq!(events.len(), 1, "each message makes one event: {events:?}");
        (sent, events.remove(0))
    }

    /// Lets time pass; what is sent meanwhile.
    fn pass(&mut self, length: Duration) -> Vec<Sent> {
        let until = self.now + length;
        let mut all = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(2);
            self.engine.handle_timeout(self.now);
            all.extend(self.drain().0);
        }
        self.now = self.now.max(until);
        all
    }
}

fn request(method: &str, uri: &str, branch: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP 192.168.1.5:5062;branch={branch};rport\n\
         Max-Forwards: 70\nFrom: <sip:6001@pbx>;tag=ft\nTo: <sip:100@pbx>\nCall-ID: c1\n\
         CSeq: 1 {method}\n{more}Content-Length: 0\n\n"
    )
}

/// A response to what the edge sent: its Vias, From, To with `tag`, Call-ID, CSeq.
fn respond(to: &str, status: &str, tag: &str, more: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for line in to.lines().skip(1) {
        if ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"]
            .iter()
            .any(|n| line.starts_with(n))
        {
            text += &format!("{line}\n");
        }
        if line.starts_with("To:") {
            let has_tag = line.contains(";tag=") || tag.is_empty();
            text += &if has_tag { format!("{line}\n") } else { format!("{line};tag={tag}\n") };
        }
    }
    format!("{text}{more}Content-Length: 0\n\n")
}

fn branch_of(text: &str) -> String {
    let from = text.find(";branch=").expect("a branch") + 8;
    text[from..].split([';', '\r', '\n']).next().expect("text").to_string()
}

#[test]
fn a_request_is_spliced_towards_the_pbx() {
    let mut edge = Edge::new();
    let (sent, event) = edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKa", "X-y: é\n"));
    assert_eq!((event.verdict, sent.len()), (Verdict::Forward, 1));
    assert_eq!((sent[0].side, sent[0].remote), (Side::Inside, addr(PBX)));
    let text = &sent[0].text;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "INVITE sip:100@pbx SIP/2.0");
    assert!(
        lines[1].starts_with("Record-Route: <sip:") && lines[1].ends_with("@127.0.0.1:5080;lr>")
    );
    assert!(
        lines[2].starts_with("Record-Route: <sip:") && lines[2].ends_with("@203.0.113.1:5060;lr>")
    );
    assert!(lines[3].starts_with("Via: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK"));
    assert_eq!(
        lines[4],
        "Via: SIP/2.0/UDP 192.168.1.5:5062;branch=z9hG4bKa;rport=5062;received=198.51.100.7"
    );
    assert!(lines.contains(&"Max-Forwards: 69") && lines.contains(&"X-y: é"));
    assert!(
        lines.contains(
            &"X-Ringfence-Source: 198.51.100.7:5062;transport=udp;proof=none;aor-known=no"
        )
    );
}

#[test]
fn the_pbxs_first_answer_tells_how_long_it_took() {
    let mut edge = Edge::new();
    let (sent, event) = edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKa", ""));
    assert_eq!(event.waited, None);
    edge.pass(Duration::from_millis(30));
    let (_, event) = edge.pbx_sends(&respond(&sent[0].text, "100 Trying", "", ""));
    assert_eq!(event.waited, Some(Duration::from_millis(30)));
    edge.pass(Duration::from_secs(5));
    let (_, event) = edge.pbx_sends(&respond(&sent[0].text, "486 Busy Here", "t", ""));
    assert_eq!(event.waited, None, "that somebody picks up late says nothing of the PBX");
}

#[test]
fn a_challenge_goes_back_once_and_its_ack_ends_here() {
    let mut edge = Edge::new();
    let invite = request("INVITE", "sip:100@pbx", "z9hG4bKa", "");
    let (sent, _) = edge.phone_sends(&invite);
    let branch = branch_of(&sent[0].text);
    let challenge = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n1\"\n";
    let (sent, event) =
        edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", &branch, challenge));
    assert_eq!(event.verdict, Verdict::Forward);
    assert_eq!(sent.len(), 2, "the 401 outside and the ACK inside");
    let unauthorized = sent.iter().find(|s| s.side == Side::Outside).expect("401");
    assert_eq!(unauthorized.remote, addr(PHONE));
    assert!(!unauthorized.text.contains("127.0.0.1:5080;branch"), "our Via is off");
    let ack = sent.iter().find(|s| s.side == Side::Inside).expect("ACK");
    assert!(ack.text.starts_with("ACK sip:100@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;"));
    assert!(ack.text.contains(&format!("To: <sip:100@pbx>;tag={branch}")));
    assert!(edge.pass(Duration::from_secs(3)).is_empty(), "a challenge is not repeated by itself");
    let (sent, event) = edge.phone_sends(&invite);
    assert_eq!((event.verdict, sent.len()), (Verdict::Absorb, 1), "a repeated INVITE fetches it");
    // an honest client's ACK with a wrong branch and CSeq
    let ack = request("ACK", "sip:100@pbx", "z9hG4bKother", "")
        .replace("To: <sip:100@pbx>", &format!("To: <sip:100@pbx>;tag={branch}"))
        .replace("CSeq: 1", "CSeq: 7");
    let (sent, event) = edge.phone_sends(&ack);
    assert_eq!((event.verdict, sent.len()), (Verdict::Absorb, 0));
    edge.pass(Duration::from_secs(60));
    assert_eq!(edge.engine.snapshot().exchanges.entries, 0);
}

#[test]
fn a_retry_under_the_same_branch_is_no_retransmission() {
    let mut edge = Edge::new();
    let (sent, _) = edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKa", ""));
    let challenge = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n1\"\n";
    edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", "t", challenge));
    let credentials = "Authorization: Digest username=\"6001\",nonce=\"n1\"\n";
    let (sent, event) = edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKa", credentials));
    assert_eq!((event.verdict, sent.len()), (Verdict::Forward, 1));
    assert!(sent[0].text.contains("nonce=\"n1\""), "its own nonce passes");
}

#[test]
fn a_foreign_nonce_is_taken_out_and_challenged_as_stale() {
    let mut edge = Edge::new();
    let (sent, _) = edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKa", ""));
    let challenge = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n1\"\n";
    edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", "t", challenge));
    let credentials = "Authorization: Digest username=\"6001\",nonce=\"n1\"\n";
    let theft = request("REGISTER", "sip:pbx", "z9hG4bKb", credentials);
    let (sent, event) = edge.source_sends("192.0.2.66:5060", &theft);
    assert_eq!(event.reason.as_str(), "foreign_nonce");
    assert!(!sent[0].text.contains("Authorization"));
    let challenge = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n2\"\n";
    let (sent, _) = edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", "t", challenge));
    assert!(sent[0].text.contains("nonce=\"n2\", opaque=\""), "ours: {}", sent[0].text);
    assert!(sent[0].text.contains("\", stale=true\r\n"), "{}", sent[0].text);
}

#[test]
fn refusals_of_section_16_3() {
    let cases = [
        (request("OPTIONS", "nobody:x", "z9hG4bK1", ""), 416, ""),
        (request("OPTIONS", "sip:pbx", "z9hG4bK2", "").replace("ards: 70", "ards: 0"), 483, ""),
        (
            request("OPTIONS", "sip:pbx", "z9hG4bK3", "Proxy-Require: foo, bar\n"),
            420,
            "Unsupported: foo\r\nUnsupported: bar\r\n",
        ),
    ];
    for (text, status, expected) in cases {
        let mut edge = Edge::new();
        let (sent, event) = edge.phone_sends(&text);
        assert_eq!(event.verdict, Verdict::Reject(status));
        assert_eq!((sent.len(), sent[0].remote), (1, addr(PHONE)));
        assert!(
            sent[0].text.starts_with(&format!("SIP/2.0 {status} "))
                && sent[0].text.contains(expected)
        );
        assert_eq!(edge.engine.snapshot().exchanges.entries, 0, "nothing is kept");
    }
}

#[test]
fn a_loop_is_refused_and_a_spiral_is_not() {
    let mut edge = Edge::new();
    let (sent, _) = edge.phone_sends(&request("OPTIONS", "sip:100@pbx", "z9hG4bKa", ""));
    let around = sent[0].text.replace("\r\n", "\n");
    let (_, event) = edge.phone_sends(&around);
    assert_eq!(event.verdict, Verdict::Reject(482));
    let spiral = around.replace("OPTIONS sip:100@pbx", "OPTIONS sip:200@pbx");
    let (_, event) = edge.phone_sends(&spiral);
    assert_eq!(event.verdict, Verdict::Forward);
}

#[test]
fn only_the_pbx_speaks_inside() {
    let mut edge = Edge::new();
    let text = request("INVITE", "sip:x@127.0.0.1:5080", "z9hG4bKa", "");
    let (sent, event) = edge.input(Side::Inside, INSIDE, "127.0.0.1:9999", &text);
    assert_eq!((sent.len(), event.reason.as_str()), (0, "not_pbx"));
    let (sent, event) = edge.pbx_sends(
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKx\n\
        From: <sip:a@b>;tag=1\nTo: <sip:a@b>;tag=2\nCall-ID: c\nCSeq: 1 INVITE\n\n",
    );
    assert_eq!((sent.len(), event.reason.as_str()), (0, "stray_response"));
}

#[test]
fn a_registered_phone_is_called_and_sees_its_own_contact() {
    let mut edge = Edge::new();
    let register = |branch: &str, more: &str| {
        request(
            "REGISTER",
            "sip:pbx",
            branch,
            &format!("Contact: <sip:6001@192.168.1.5:5062;ob>\n{more}"),
        )
    };
    let (sent, _) = edge.phone_sends(&register("z9hG4bKa", ""));
    let challenge = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n1\"\n";
    edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", "t", challenge));
    let credentials = "Authorization: Digest username=\"6001\",nonce=\"n1\"\n";
    let (sent, _) = edge.phone_sends(&register("z9hG4bKb", credentials));
    let contact =
        sent[0].text.lines().find(|l| l.starts_with("Contact:")).expect("contact").to_string();
    assert!(contact.ends_with("@127.0.0.1:5080>"), "{contact}");
    let token = contact.trim_start_matches("Contact: <").trim_end_matches('>').to_string();
    let forwarded = sent[0].text.clone();
    // qualify before the 200
    let options = |branch: &str| {
        request("OPTIONS", &token, branch, "").replace("192.168.1.5:5062", "127.0.0.1:5070")
    };
    let (sent, _) = edge.pbx_sends(&options("z9hG4bKq"));
    assert_eq!((sent[0].side, sent[0].remote), (Side::Outside, addr(PHONE)));
    assert!(sent[0].text.starts_with("OPTIONS sip:6001@192.168.1.5:5062;ob SIP/2.0"));
    let ok = respond(&forwarded, "200 OK", "t", &format!("{contact};expires=59\n"));
    let (sent, _) = edge.pbx_sends(&ok);
    assert!(sent[0].text.contains("Contact: <sip:6001@192.168.1.5:5062;ob>;expires=59"));
    assert_eq!(edge.engine.snapshot().bindings.entries, 1);
    // the phone's NAT gives it another port
    let (sent, _) = edge.source_sends("198.51.100.7:9999", &register("z9hG4bKc", credentials));
    assert!(sent[0].text.contains(&contact), "the same token");
    edge.pbx_sends(&respond(&sent[0].text, "200 OK", "t", &format!("{contact};expires=59\n")));
    let (sent, _) = edge.pbx_sends(&options("z9hG4bKr"));
    assert_eq!(sent[0].remote, addr("198.51.100.7:9999"));
    // a restarted edge still knows the first way
    let mut restarted = Edge::new();
    let (sent, _) = restarted.pbx_sends(&options("z9hG4bKs"));
    assert_eq!(sent[0].remote, addr(PHONE));
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut edge = Edge::new();
    let credentials = "Authorization: Digest username=\"6001\",nonce=\"n0\"\n";
    edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKz", ""));
    let (invite, _) = edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKa", credentials));
    let cancel = request("CANCEL", "sip:100@pbx", "z9hG4bKa", "Reason: SIP;cause=200\n");
    let (sent, _) = edge.phone_sends(&cancel);
    assert!(sent.len() == 1 && sent[0].text.starts_with("SIP/2.0 200 OK"));
    let (sent, _) = edge.pbx_sends(&respond(&invite[0].text, "100 Trying", "", ""));
    let passed: Vec<_> = sent.iter().map(|s| s.text.lines().next().unwrap_or_default()).collect();
    assert_eq!(passed, ["SIP/2.0 100 Trying", "CANCEL sip:100@pbx SIP/2.0"]);
    assert!(
        sent[1].text.contains("Reason: SIP;cause=200") && sent[1].text.contains("CSeq: 1 CANCEL")
    );
    assert_eq!(branch_of(&sent[1].text), branch_of(&invite[0].text));
    edge.pbx_sends(&respond(&sent[1].text, "200 OK", "t", ""));
    let (sent, _) = edge.pbx_sends(&respond(&invite[0].text, "487 Request Terminated", "t", ""));
    assert_eq!(sent.len(), 2);
    edge.pass(Duration::from_secs(200));
    let snapshot = edge.engine.snapshot();
    assert_eq!(
        (snapshot.exchanges.entries, snapshot.timers, snapshot.retained_bytes.entries),
        (0, 0, 0)
    );
}

#[test]
fn a_silent_pbx_is_told_to_the_caller_and_nobody_is_blamed() {
    let mut edge = Edge::new();
    edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKa", ""));
    let sent = edge.pass(Duration::from_secs(33));
    let outside: Vec<_> = sent.iter().filter(|s| s.side == Side::Outside).collect();
    assert_eq!(outside.len(), 1);
    assert!(outside[0].text.starts_with("SIP/2.0 503") && outside[0].text.contains("Retry-After:"));
    assert!(!edge.engine.snapshot().pbx_up);
    edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKb", ""));
    let (sent, event) = edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKc", ""));
    assert_eq!((event.verdict, sent[0].side), (Verdict::Reject(503), Side::Outside));
}

#[test]
fn what_the_pbx_says_nothing_to_does_not_make_it_silent() {
    let mut edge = Edge::new();
    // PJSIP drops what it cannot parse without a word
    let ignored = |n: u32| {
        let text = request("OPTIONS", "sip:100@pbx", &format!("z9hG4bKi{n}"), "Expires: x\n");
        text.replace("Call-ID: ", &format!("Call-ID: i{n}"))
    };
    let mut asked = 0;
    for n in 1..80 {
        edge.phone_sends(&ignored(n));
        for sent in edge.pass(Duration::from_secs(1)) {
            if sent.side == Side::Inside && sent.text.contains(";tag=check") {
                asked += 1;
                edge.pbx_sends(&respond(&sent.text, "401 Unauthorized", "t", ""));
            }
        }
        assert!(edge.engine.snapshot().pbx_up, "{n}");
    }
    assert!((1..=20).contains(&asked), "{asked}");
    let (sent, event) = edge.phone_sends(&request("REGISTER", "sip:pbx", "z9hG4bKb", ""));
    assert_eq!((event.verdict, sent[0].side), (Verdict::Forward, Side::Inside));
}

#[test]
fn an_edge_says_100_by_itself_only_to_who_cannot_be_challenged() {
    let mut edge = Edge::new();
    let invite = |call: &str, branch: &str, more: &str| {
        request("INVITE", "sip:100@pbx", branch, more).replace("Call-ID: c1", call)
    };
    edge.phone_sends(&invite("Call-ID: c1", "z9hG4bKa", ""));
    let sent = edge.pass(Duration::from_millis(400));
    assert!(sent.iter().all(|s| s.side == Side::Inside), "{sent:?}");
    // neither an invented nonce nor another scheme keeps the challenge away
    let credentials = "Authorization: Digest username=\"6001\",nonce=\"n0\"\n";
    edge.phone_sends(&invite("Call-ID: c2", "z9hG4bKb", credentials));
    edge.phone_sends(&invite("Call-ID: c3", "z9hG4bKc", "Authorization: Basic x\n"));
    let sent = edge.pass(Duration::from_millis(300));
    assert!(sent.iter().all(|s| s.side == Side::Inside), "{sent:?}");
    let other = "203.0.113.77:5060";
    let (sent, _) = edge.source_sends(other, &invite("Call-ID: c4", "z9hG4bKd", ""));
    let challenge = "WWW-Authenticate: Digest realm=\"a\",nonce=\"n0\"\n";
    edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", "t", challenge));
    edge.source_sends(other, &invite("Call-ID: c4", "z9hG4bKe", credentials));
    let sent = edge.pass(Duration::from_millis(300));
    let trying: Vec<_> = sent.iter().filter(|s| s.side == Side::Outside).collect();
    assert_eq!(trying.len(), 1);
    assert!(trying[0].text.starts_with("SIP/2.0 100 Trying\r\nVia: SIP/2.0/UDP 192.168.1.5"));
}

#[test]
fn an_ack_to_a_refusal_is_known_by_its_tags() {
    let mut edge = Edge::new();
    let (sent, _) = edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKa", ""));
    edge.pbx_sends(&respond(&sent[0].text, "180 Ringing", "busy-tag", ""));
    let (sent, _) = edge.pbx_sends(&respond(&sent[0].text, "486 Busy Here", "busy-tag", ""));
    assert_eq!(sent.len(), 2, "the 486 outside and the ACK inside");
    assert!(!edge.pass(Duration::from_millis(600)).is_empty(), "it is repeated until the ACK");
    let ack = request("ACK", "sip:100@pbx", "z9hG4bKother", "")
        .replace("To: <sip:100@pbx>", "To: <sip:100@pbx>;tag=busy-tag")
        .replace("CSeq: 1", "CSeq: 7");
    let (sent, event) = edge.phone_sends(&ack);
    assert_eq!((event.verdict, sent.len()), (Verdict::Absorb, 0));
    assert!(edge.pass(Duration::from_secs(10)).is_empty());
}

#[test]
fn an_invite_in_passage_is_not_taken_twice() {
    let mut edge = Edge::new();
    let (sent, _) = edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKa", ""));
    let twin = request("INVITE", "sip:100@pbx", "z9hG4bKb", "");
    let (refused, event) = edge.source_sends("198.51.100.9:5060", &twin);
    assert_eq!((event.verdict, event.reason.as_str()), (Verdict::Reject(482), "merged"));
    assert_eq!(refused.len(), 1);
    // once it is answered, the same numbers are a retry
    edge.pbx_sends(&respond(&sent[0].text, "401 Unauthorized", "t", ""));
    let (_, event) = edge.phone_sends(&request("INVITE", "sip:100@pbx", "z9hG4bKc", ""));
    assert_eq!(event.verdict, Verdict::Forward);
}

/// RFC 3261 §9.1: once there is a final response a CANCEL has no effect, and nobody need answer it.
#[test]
fn a_cancel_that_crosses_the_acceptance_is_said_no_more() {
    let mut edge = Edge::new();
    let invite = request("INVITE", "sip:100@pbx", "z9hG4bKc", "");
    let sent = edge.phone_sends(&invite).0;
    let asked = sent.iter().find(|it| it.side == Side::Inside).expect("forwarded").text.clone();
    edge.pbx_sends(&respond(&asked, "180 Ringing", "t", ""));
    let sent = edge.phone_sends(&request("CANCEL", "sip:100@pbx", "z9hG4bKc", "")).0;
    assert!(sent.iter().any(|it| it.text.starts_with("CANCEL ")), "{sent:?}");
    edge.pbx_sends(&respond(&asked, "200 OK", "t", "Contact: <sip:100@127.0.0.1:5070>\n"));
    let sent = edge.pass(Duration::from_secs(40));
    let inside: Vec<_> = sent.iter().filter(|it| it.side == Side::Inside).collect();
    assert!(inside.is_empty(), "{inside:?}");
}
