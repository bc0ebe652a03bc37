//! What the gate decides, carried out.

use crate::edge::{CHALLENGE, Edge, OUTSIDE, Outcome, PHONE, addr, always, param, request};
use admission::{Ban, BanId, BanKey, Origin};
use policy::{
    Ceiling, Condition, Feed, FeedAction, Feeds, Mode, Network, Reason, SignatureSpec, Signatures,
    Test, TextField, Who,
};
use proxy::{CloseReason, Input, Learned, Verdict};
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Transport};

#[test]
fn nothing_of_an_unproven_source_reaches_the_pbx_when_the_edge_always_challenges() {
    let mut edge = Edge::with(always);
    edge.is_told_nothing();
    let outcome = edge.phone_sends(&request("INVITE", "z9hG4bKa", 500, ""));
    assert!(outcome.inside.is_empty());
    let event = &outcome.events[0];
    assert_eq!((event.verdict, event.reason), (Verdict::Reject(401), Reason::Unproven));
    assert_eq!(event.grounds.map(|grounds| grounds.who), Some(Who::Unproven));
    assert_eq!(edge.engine.snapshot().exchanges.entries, 0, "it is stateless");
    // an ACK with a tag of nobody's, and no Route, stays out
    let stray = request("ACK", "z9hG4bKx", 0, "").replace("<sip:100@pbx>", "<sip:100@pbx>;tag=z");
    let outcome = edge.phone_sends(&stray);
    assert_eq!((outcome.inside.len(), outcome.events[0].reason), (0, Reason::Unproven));
}

#[test]
fn the_ack_to_the_edges_challenge_proves_and_its_echo_goes_on_without_credentials() {
    let mut edge = Edge::with(always);
    edge.is_told_nothing();
    let outcome = edge.phone_sends(&request("INVITE", "z9hG4bKa", 500, ""));
    let (tag, nonce) =
        (param(&outcome.outside[0], "100@pbx>;tag="), param(&outcome.outside[0], "nonce=\""));
    let ack = request("ACK", "z9hG4bKa", 0, "")
        .replace("<sip:100@pbx>", &format!("<sip:100@pbx>;tag={tag}"));
    let acked = edge.phone_sends(&ack);
    assert_eq!((acked.inside.len(), acked.events[0].verdict), (0, Verdict::Absorb));
    let credentials = format!(
        "Authorization: Digest username=\"6001\",realm=\"asterisk\",nonce=\"{nonce}\",response=\"0\"\n"
    );
    let echo = edge.phone_sends(&request("INVITE", "z9hG4bKb", 500, &credentials));
    assert_eq!(echo.inside.len(), 1, "{echo:?}");
    assert!(!echo.inside[0].contains("Authorization"), "{}", echo.inside[0]);
    assert!(echo.inside[0].contains(";proof="), "{}", echo.inside[0]);
    let outcome = edge.pbx_answers(&echo.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert!(outcome.outside[0].contains("stale=true"), "{}", outcome.outside[0]);
}

/// A phone's first credentials are for a nonce of the PBX's, and reach it as they are.
fn offered(edge: &mut Edge, algorithm: &str) -> Outcome {
    let held = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 500, ""));
    assert_eq!((held.outside.len(), held.inside.len()), (0, 1));
    let taught = edge.pbx_answers(&held.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert!(taught.outside.is_empty() && taught.inside.is_empty());
    let asked = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 500, ""));
    let (nonce, opaque) =
        (param(&asked.outside[0], "nonce=\""), param(&asked.outside[0], "opaque=\""));
    assert!(CHALLENGE.contains(nonce) && opaque.starts_with("rfo"), "{asked:?}");
    let text = |opaque: &str, branch| {
        let digest = format!(
            "Authorization: Digest realm=\"asterisk\",nonce=\"{nonce}\",response=\"0\",algorithm={algorithm}{opaque}\n"
        );
        request("REGISTER", branch, 500, &digest)
    };
    let without = edge.phone_sends(&text("", "z9hG4bKb"));
    assert!(without.inside.is_empty(), "a nonce alone proves nothing: {without:?}");
    assert!(
        without.outside[0].contains("nonce=\"rfn") && without.outside[0].contains("stale=true")
    );
    let outcome = edge.phone_sends(&text(&format!(",opaque=\"{opaque}\""), "z9hG4bKc"));
    assert_eq!(outcome.inside.len(), 1, "{outcome:?}");
    let sent = &outcome.inside[0];
    assert!(!sent.contains("opaque=") && sent.contains("nonce=\"n1\""), "{sent}");
    outcome
}

#[test]
fn the_first_credentials_may_be_good_already() {
    let mut edge = Edge::with(always);
    let outcome = offered(&mut edge, "MD5");
    let answer = edge.pbx_answers(&outcome.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert!(!answer.outside[0].contains("stale=true"), "a wrong password is told");
    let counts = edge.engine.gate_counts();
    assert_eq!(counts.outcomes[policy::Outcome::Refused as usize], 1);
}

#[test]
fn an_offer_that_is_not_this_users_is_nobodys_fault() {
    let mut edge = Edge::with(always);
    let outcome = offered(&mut edge, "MD5");
    let other = CHALLENGE.replace("algorithm=MD5", "algorithm=SHA-256");
    assert_ne!(other, CHALLENGE);
    let answer = edge.pbx_answers(&outcome.inside[0], "401 Unauthorized", "t", &other);
    assert!(answer.outside[0].contains("stale=true"), "{}", answer.outside[0]);
    let counts = edge.engine.gate_counts();
    assert_eq!(counts.outcomes[policy::Outcome::Refused as usize], 0);
    assert_eq!(counts.outcomes[policy::Outcome::Stale as usize], 1);
}

#[test]
fn the_pbx_gets_its_own_opaque_back() {
    for (sent, expected) in [("opaque=\"77ab\",", "opaque=\"77ab\","), ("", "")] {
        let mut edge = Edge::with(|_| {});
        let first = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 500, ""));
        let challenge =
            format!("WWW-Authenticate: Digest realm=\"r\",nonce=\"n1\",{sent}algorithm=MD5\n");
        let outcome = edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", &challenge);
        let opaque = param(&outcome.outside[0], "opaque=\"").to_string();
        assert!(opaque.len() > 20 && opaque.ends_with(if sent.is_empty() { "" } else { "77ab" }));
        for (place, written, wanted) in [
            ("middle", "nonce=\"n1\",OPAQUEresponse=\"0\"", "nonce=\"n1\",EXPECTEDresponse=\"0\""),
            ("first", "OPAQUEnonce=\"n1\",response=\"0\"", "EXPECTEDnonce=\"n1\",response=\"0\""),
        ] {
            let line = written.replace("OPAQUE", &format!("opaque=\"{opaque}\","));
            let line = format!("Authorization: Digest {line}\n");
            let outcome =
                edge.phone_sends(&request("REGISTER", &format!("z9hG4bK{place}"), 0, &line));
            let wanted = format!("Digest {}\r\n", wanted.replace("EXPECTED", expected));
            assert!(outcome.inside[0].contains(&wanted), "{place} {wanted}: {}", outcome.inside[0]);
        }
    }
}

#[test]
fn a_longer_answer_waits_for_the_request_to_be_repeated() {
    let mut edge = Edge::with(|_| {});
    let register = request("REGISTER", "z9hG4bKa", 0, "");
    let first = edge.phone_sends(&register);
    let held = edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert_eq!((held.outside.len(), held.events[0].reason), (0, Reason::Amplification));
    let repeated = edge.phone_sends(&register);
    assert_eq!(repeated.outside.len(), 1, "paid for");
    let [came, went] = edge.snapshot_bytes();
    assert!(went > 0 && went <= came, "{went} for {came}");
    // nothing is kept for 32 seconds
    edge.now = edge.now + Duration::from_secs(6);
    edge.engine.handle_timeout(edge.now);
    while edge.engine.poll_output().is_some() {}
    assert_eq!(edge.engine.snapshot().exchanges.entries, 0);
}

#[test]
fn an_answer_is_made_terse_before_it_waits() {
    let tag = "z9hG4bK000000000001bhruoiu74pm5ipn07cb3sb8g";
    for (method, kept, gone) in [("REGISTER", "tag=7cb3sb8g\r\n", tag), ("INVITE", tag, "t:  ")] {
        let mut edge = Edge::with(|_| {});
        let first = edge.phone_sends(&request(method, "z9hG4bKa", 110, ""));
        let outcome = edge.pbx_answers(&first.inside[0], "401 Unauthorized", tag, CHALLENGE);
        let [answer] = &outcome.outside[..] else { panic!("{method} waits: {:?}", outcome.events) };
        for part in
            ["SIP/2.0 401 No\r\nv: ", "\r\nf: ", "\r\nt: ", "\r\ni: c1", "nonce=\"n1\"", kept]
        {
            assert!(answer.contains(part), "{part} of {answer}");
        }
        for part in ["algorithm", "Via", gone] {
            assert!(!answer.contains(part), "{part} of {answer}");
        }
        // what proves the return path is there: an ACK's tag, or our prefix
        assert_eq!(answer.contains("opaque=\"77ab"), method == "INVITE", "{answer}");
        let [came, went] = edge.snapshot_bytes();
        assert!(went <= came, "{went} for {came}");
    }
}

#[test]
fn an_answer_is_made_lean_before_it_waits() {
    let mut edge = Edge::with(|_| {});
    let first = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 220, ""));
    let more = format!("{CHALLENGE}Server: {}\nAllow: INVITE, ACK, CANCEL\n", "x".repeat(300));
    let outcome = edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", &more);
    assert_eq!(outcome.outside.len(), 1, "{outcome:?}");
    assert!(!outcome.outside[0].contains("Server:") && !outcome.outside[0].contains("Allow:"));
    let needed = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "WWW-Authenticate:"];
    assert!(needed.iter().all(|name| outcome.outside[0].contains(name)), "{outcome:?}");
}

#[test]
fn a_challenge_that_nobody_paid_for_ends_none_before_it() {
    let mut edge = Edge::with(|_| {});
    let first = edge.phone_sends(&request("REGISTER", "z9hG4bKa", 500, ""));
    let outcome = edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert_eq!(outcome.outside.len(), 1);
    let again = request("REGISTER", "z9hG4bKb", 0, "").replace("CSeq: 1 ", "CSeq: 2 ");
    let second = edge.phone_sends(&again);
    let long = CHALLENGE.replace("77ab", &"77ab".repeat(200));
    let outcome = edge.pbx_answers(&second.inside[0], "401 Unauthorized", "t", &long);
    assert_eq!(outcome.outside.len(), 0, "it waits");
    edge.now = edge.now + Duration::from_secs(20);
    edge.engine.handle_timeout(edge.now);
    let superseded = policy::Outcome::Superseded as usize;
    assert_eq!(edge.engine.gate_counts().outcomes[superseded], 0);
    assert_eq!(edge.engine.snapshot().gate.ledger.entries, 1, "the first is open still");
}

#[test]
fn strangers_fill_their_own_share_only() {
    let mut edge = Edge::with(|policy| policy.capacities.unproven_exchanges = 16);
    for n in 0..40 {
        let text = request("OPTIONS", &format!("z9hG4bK{n}"), 300, "");
        let text = text.replace("Call-ID: c1", &format!("Call-ID: c{n}"));
        edge.sends_from(&format!("198.18.0.{n}:5060"), &text);
    }
    let snapshot = edge.engine.snapshot();
    assert_eq!(snapshot.unproven_exchanges.entries, 16);
    assert_eq!(snapshot.exchanges.entries, 16);
    assert!(snapshot.unproven_exchanges.evictions > 0);
}

#[test]
fn what_is_answered_makes_room_for_what_is_new() {
    let mut edge = Edge::with(|policy| policy.capacities.unproven_exchanges = 2);
    let options = |n: u32| {
        let text = request("OPTIONS", &format!("z9hG4bK{n}"), 300, "");
        text.replace("Call-ID: c1", &format!("Call-ID: c{n}"))
    };
    let mut answered = |n: u32| {
        let outcome = edge.phone_sends(&options(n));
        for inside in &outcome.inside {
            edge.pbx_answers(inside, "200 OK", "t", "");
        }
        (outcome.inside.len(), edge.engine.snapshot().unproven_exchanges)
    };
    let full = |evictions| proxy::Table { entries: 2, capacity: 2, evictions };
    assert_eq!([1, 2].map(&mut answered).map(|(passed, _)| passed), [1, 1]);
    assert_eq!(answered(3), (1, full(1)), "the first is forgotten");
    assert_eq!(answered(3), (0, full(1)), "the last is remembered: a repetition is answered");
    assert_eq!(answered(1), (1, full(2)), "what is forgotten passes as new");
    for n in [4, 5] {
        assert_eq!(edge.phone_sends(&options(n)).inside.len(), 1);
    }
    assert_eq!(edge.phone_sends(&options(6)).inside.len(), 0, "these two wait for their answers");
    assert_eq!(edge.engine.snapshot().unproven_exchanges, full(5));
}

#[test]
fn only_trunks_say_who_calls() {
    let identity = "P-Asserted-Identity: <sip:boss@pbx>\nx-ringfence-source: 1.2.3.4:1\n";
    let invite = request("INVITE", "z9hG4bKa", 500, identity);
    let mut edge = Edge::with(|_| {});
    let outcome = edge.phone_sends(&invite);
    assert!(!outcome.inside[0].contains("boss") && !outcome.inside[0].contains("1.2.3.4"));
    let mut edge = Edge::with(|policy| {
        let trunk = Network::host(addr(PHONE).ip());
        policy.admission.trust.networks.push((trunk, "carrier".into()));
    });
    let outcome = edge.phone_sends(&invite);
    assert!(outcome.inside[0].contains("boss") && !outcome.inside[0].contains("1.2.3.4"));
}

#[test]
fn a_challenge_for_a_connection_that_is_gone_is_held_against_him_alone_who_did_not_wait() {
    let slow = Duration::from_secs(1);
    for (gone, took) in [(false, slow), (true, slow), (true, slow - Duration::from_millis(1))] {
        let mut edge = Edge::with(|_| {});
        let (flow, connection) = stream();
        edge.input(Input::Opened { flow });
        let register = request("REGISTER", "z9hG4bKa", 0, "").replace('\n', "\r\n");
        let outcome = edge.input(Input::Stream { connection, bytes: register.as_bytes() });
        if gone {
            edge.input(Input::Closed { connection });
        }
        edge.now = edge.now + took;
        edge.pbx_answers(&outcome.inside[0], "401 Unauthorized", "t", CHALLENGE);
        let open = edge.engine.snapshot().gate.ledger.entries;
        edge.now = edge.now + Duration::from_secs(60);
        edge.engine.handle_timeout(edge.now);
        let counts = edge.engine.gate_counts();
        let count = |outcome| counts.outcomes[outcome as usize];
        let expected = if gone && took == slow { (0, 0) } else { (1, 1) };
        assert_eq!((open, count(policy::Outcome::Abandoned)), expected, "gone: {gone}, {took:?}");
    }
}

/// A TCP connection of the phone's.
fn stream() -> (Flow, ConnectionId) {
    let connection = ConnectionId::new(ShardId(0), 1);
    let (local, remote) = (addr(OUTSIDE), addr(PHONE));
    (Flow { transport: Transport::Tcp, local, remote, connection: Some(connection) }, connection)
}

#[test]
fn a_ban_closes_connections_and_drops_before_parsing() {
    let mut edge = Edge::with(|_| {});
    let (flow, _) = stream();
    let remote = flow.remote;
    edge.input(Input::Opened { flow });
    let ban = admission::Ban {
        id: BanId(1),
        key: BanKey::Source(Network::host(remote.ip())),
        why: "an operator".into(),
        reason: Reason::Banned,
        proof: None,
        since: edge.now,
        until: edge.now + Duration::from_secs(600),
        narrowed: false,
        policy_version: 1,
        score: 0.0,
        origin: Origin::Operator,
        evidence: Vec::new(),
    };
    let outcome = edge.input(Input::Learned(Learned::Gate(admission::Learned::Ban(Box::new(ban)))));
    assert_eq!(outcome.closed, [CloseReason::Banned]);
    let outcome = edge.phone_sends("no SIP at all");
    assert_eq!(
        (outcome.events[0].verdict, outcome.events[0].reason),
        (Verdict::Drop, Reason::Banned)
    );
    let outcome = edge.input(Input::Opened { flow });
    assert_eq!(outcome.closed, [CloseReason::Banned]);
    let lift = admission::Learned::Lift {
        network: Network::host(remote.ip()),
        trust: None,
        forgive: true,
    };
    edge.input(Input::Learned(Learned::Gate(lift)));
    let outcome = edge.phone_sends(&request("OPTIONS", "z9hG4bKa", 300, ""));
    assert_eq!(outcome.events[0].verdict, Verdict::Forward);
}

#[test]
fn a_method_that_strangers_may_not_send_is_named_and_others_offered() {
    let mut edge = Edge::with(|_| {});
    let outcome = edge.phone_sends(&request("NOTIFY", "z9hG4bKa", 300, ""));
    let event = &outcome.events[0];
    assert_eq!((event.verdict, event.reason), (Verdict::Reject(405), Reason::Rule));
    assert!(outcome.outside[0].contains("\r\nAllow: INVITE, "), "{}", outcome.outside[0]);
    assert!(event.grounds.is_some_and(|grounds| grounds.rule != u16::MAX));
}

#[test]
fn a_guess_counts_though_it_is_cancelled() {
    let mut edge = Edge::with(|_| {});
    for n in 0..5 {
        let of = |text: String| text.replace("Call-ID: c1", &format!("Call-ID: c{n}"));
        let first = edge.phone_sends(&of(request("INVITE", &format!("z9hG4bKa{n}"), 500, "")));
        assert_eq!(first.inside.len(), 1, "{n}: {first:?}");
        let asked = edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
        let ack = of(request("ACK", &format!("z9hG4bKa{n}"), 0, ""));
        let tagged = ack.replace("<sip:100@pbx>\nCall", "<sip:100@pbx>;tag=t\nCall");
        assert_eq!(asked.outside.len(), 1);
        edge.phone_sends(&tagged);
        let wrong = "Authorization: Digest username=\"6001\",realm=\"asterisk\",nonce=\"n1\",\
                     response=\"0\"\n";
        let try_it = of(request("INVITE", &format!("z9hG4bKb{n}"), 500, wrong));
        let tried = edge.phone_sends(&try_it);
        let cancel = of(request("CANCEL", &format!("z9hG4bKb{n}"), 0, ""));
        edge.phone_sends(&cancel);
        edge.pbx_answers(&tried.inside[0], "401 Unauthorized", "u", CHALLENGE);
        edge.now = edge.now + Duration::from_secs(9);
        edge.engine.handle_timeout(edge.now);
        while edge.engine.poll_output().is_some() {}
    }
    let bans = edge.engine.bans(10);
    assert!(matches!(bans[..], [Ban { key: BanKey::AorSource { .. }, .. }]), "{bans:?}");
}

#[test]
fn a_registration_is_in_no_dialog_and_a_refusal_opens_none() {
    let mut edge = Edge::with(|_| {});
    let first = edge.phone_sends(&request("INVITE", "z9hG4bKa", 500, ""));
    let routes: Vec<_> =
        first.inside[0].lines().filter(|line| line.starts_with("Record-Route: ")).collect();
    assert_eq!(routes.len(), 2);
    // PJSIP copies them into a challenge
    let more = format!("{}\n{}\n{CHALLENGE}", routes[0], routes[1]);
    let asked = edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", &more);
    assert!(!asked.outside[0].contains("Record-Route"), "{}", asked.outside[0]);
    let route = routes.join("\n").replace("Record-Route", "Route") + "\n";
    let inside = |method: &str, branch: &str| {
        request(method, branch, 300, &route)
            .replace("<sip:6001@pbx>", "<sip:6001'--@pbx>")
            .replace("<sip:100@pbx>", "<sip:100@pbx>;tag=any")
    };
    let register = edge.phone_sends(&inside("REGISTER", "z9hG4bKb"));
    assert_eq!(register.events[0].reason, Reason::Rule, "{register:?}");
    let update = edge.phone_sends(&inside("UPDATE", "z9hG4bKc"));
    assert_eq!(update.events[0].verdict, Verdict::Forward, "{update:?}");
}

#[test]
fn a_scanner_is_not_told_what_is_wrong_with_its_request() {
    let tool = SignatureSpec {
        id: "tool".into(),
        ceiling: Ceiling::Drop,
        mode: Mode::Enforce,
        what: "".into(),
        source: "".into(),
        false_positives: "".into(),
        when: Condition::Text(TextField::UserAgent, Test::Starts(vec!["tool".into()])),
    };
    let mut edge = Edge::with(|policy| {
        policy.admission.signatures = Signatures::compile(vec![tool]).expect("signature");
    });
    let hopeless = |text: String| text.replace("Max-Forwards: 70", "Max-Forwards: 0");
    let cases = [
        // svmap registers so
        (request("REGISTER", "z9hG4bKa", 0, "Contact: None\n"), 400),
        (hopeless(request("OPTIONS", "z9hG4bKb", 0, "")), 483),
        (request("OPTIONS", "z9hG4bKc", 0, "Proxy-Require: foo\n"), 420),
        (request("OPTIONS", "z9hG4bKd", 0, "").replace("sip:100@pbx SIP", "x:y SIP"), 416),
        (request("CANCEL", "z9hG4bKe", 0, ""), 481),
        // a method that no stranger begins with
        (request("NOTIFY", "z9hG4bKf", 0, ""), 405),
    ];
    for (text, status) in cases {
        let named = |name: &str| text.replace("User-Agent: ", &format!("User-Agent: {name}"));
        let scanned = edge.phone_sends(&named("tool 1"));
        let event = &scanned.events[0];
        assert_eq!((event.verdict, event.reason), (Verdict::Drop, Reason::Signature), "{text}");
        assert_eq!((scanned.outside.len(), scanned.inside.len()), (0, 0), "{scanned:?}");
        let told = edge.phone_sends(&named(&"phone ".repeat(50)));
        assert_eq!(told.events[0].verdict, Verdict::Reject(status), "{text}");
        assert_eq!((told.outside.len(), told.inside.len()), (1, 0), "{told:?}");
    }
    // on a stream, where its message has no end
    for (name, verdict) in [("tool 1", Verdict::Drop), ("phone", Verdict::Reject(400))] {
        let (flow, connection) = stream();
        edge.input(Input::Opened { flow });
        let text = request("OPTIONS", "z9hG4bKg", 0, "").replace("Content-Length: 0\n", "");
        let text = text.replace("User-Agent: ", &format!("User-Agent: {name}"));
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let ended = edge.input(Input::Stream { connection, bytes: &bytes });
        assert_eq!(ended.events[0].verdict, verdict, "{ended:?}");
        assert_eq!(ended.outside.is_empty(), verdict == Verdict::Drop, "{ended:?}");
        assert_eq!(ended.closed.len(), 1, "{ended:?}");
    }
}

#[test]
fn an_invalid_request_ends_no_challenge_and_a_flood_of_them_is_not_answered() {
    let mut edge = Edge::with(|_| {});
    let first = edge.phone_sends(&request("INVITE", "z9hG4bKa", 500, ""));
    edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
    let open = |edge: &Edge| edge.engine.snapshot().gate.ledger.entries;
    assert_eq!(open(&edge), 1);
    let credentials = "Authorization: Digest realm=\"asterisk\",nonce=\"n1\",response=\"0\"\n";
    let invalid = request("INVITE", "z9hG4bKb", 500, credentials);
    let invalid = invalid.replace("Max-Forwards: 70", "Max-Forwards: 0");
    let told = edge.phone_sends(&invalid);
    assert_eq!(told.events[0].verdict, Verdict::Reject(483));
    assert_eq!(open(&edge), 1, "its caller has it open still");
    let answered = (0..1_000).filter(|n| {
        let again = invalid.replace("z9hG4bKb", &format!("z9hG4bKc{n}"));
        !edge.phone_sends(&again).outside.is_empty()
    });
    assert!(answered.count() < 250);
}

#[test]
fn all_that_a_stranger_sends_pays_once_and_all_that_he_is_told_costs() {
    let mut edge = Edge::with(|_| {});
    let hopeless = |n: u32| {
        format!(
            "OPTIONS sip:a SIP/2.0\nv: SIP/2.0/UDP a;branch=z9hG4bK{n};rport\nf: <sip:a>;tag=a\n\
             t: <sip:b>\ni: {n}\nCSeq: 1 OPTIONS\nMax-Forwards: 0\n\n"
        )
    };
    // what is judged, what only a transaction answers, and what goes nowhere
    let call = [request("INVITE", "z9hG4bKa", 500, ""), request("CANCEL", "z9hG4bKa", 0, "")];
    let (mut came, mut went, mut told) = (0, 0, 0);
    for text in call.into_iter().chain((0..300).map(hopeless)) {
        came += text.replace('\n', "\r\n").len() as u64;
        let outcome = edge.phone_sends(&text);
        went += outcome.outside.iter().map(|text| text.len() as u64).sum::<u64>();
        told += outcome.outside.len();
        assert_eq!(edge.snapshot_bytes(), [came, went], "{text}");
        assert!(went <= came, "{went} for {came}");
    }
    assert!((100..290).contains(&told), "{told} answers, each longer than what asked for it");
}

#[test]
fn what_is_listed_after_its_connection_came_is_closed_with_its_next_word() {
    let mut edge = Edge::with(|_| {});
    let (flow, connection) = stream();
    edge.input(Input::Opened { flow });
    let until = edge.now + Duration::from_secs(86_400);
    let feed = Feed { name: "list".into(), action: FeedAction::Ban, mode: Mode::Enforce, until };
    let networks = [Network::host(flow.remote.ip())];
    let feeds = Arc::new(Feeds::new([(feed, &networks[..])]));
    let outcome = edge.input(Input::Learned(Learned::Gate(admission::Learned::Feeds(feeds))));
    assert_eq!(outcome.closed, []);
    let register = request("REGISTER", "z9hG4bKa", 0, "").replace('\n', "\r\n");
    let outcome = edge.input(Input::Stream { connection, bytes: register.as_bytes() });
    assert_eq!((outcome.closed, outcome.inside.len()), (vec![CloseReason::Banned], 0));
    assert_eq!(outcome.events[0].verdict, Verdict::Drop);
}

#[test]
fn while_it_drains_calls_go_on_and_none_begins() {
    let mut edge = Edge::with(|_| {});
    let call = edge.phone_sends(&request("INVITE", "z9hG4bKa", 500, ""));
    let lines = call.inside[0].lines().filter(|line| line.starts_with("Record-Route: "));
    let route = lines.collect::<Vec<_>>().join("\n").replace("Record-Route", "Route") + "\n";
    edge.input(Input::Drain);
    let new = edge.phone_sends(&request("INVITE", "z9hG4bKb", 500, "").replace("c1", "c2"));
    let event = &new.events[0];
    assert_eq!((event.verdict, event.reason), (Verdict::Reject(503), Reason::Draining));
    let again = request("INVITE", "z9hG4bKc", 500, &route)
        .replace("<sip:100@pbx>\nCall", "<sip:100@pbx>;tag=t\nCall");
    let outcome = edge.phone_sends(&again);
    assert_eq!((outcome.events[0].verdict, outcome.inside.len()), (Verdict::Forward, 1));
}

#[test]
fn an_ack_to_a_terse_answer_is_known_by_its_tag() {
    let ack = |answer: &str| {
        let to = format!("<sip:100@pbx>;tag={}\nCall", param(answer, "100@pbx>;tag="));
        request("ACK", "z9hG4bKa", 0, "").replace("<sip:100@pbx>\nCall", &to)
    };
    let told = |edge: &mut Edge, text: &str, start: &str| {
        let outcome = edge.phone_sends(text);
        let [answer] = &outcome.outside[..] else { panic!("{outcome:?}") };
        assert!(answer.starts_with(start) && !answer.contains("Allow"), "{answer}");
        answer.clone()
    };
    let mut edge = Edge::with(|_| {});
    edge.phone_sends(&request("OPTIONS", "z9hG4bKp", 2_000, ""));
    told(&mut edge, &request("NOTIFY", "z9hG4bKn", 0, ""), "SIP/2.0 405 No\r\n");
    let hopeless = request("INVITE", "z9hG4bKa", 0, "").replace("Forwards: 70", "Forwards: 0");
    let refused = told(&mut edge, &hopeless, "SIP/2.0 483 No\r\n");
    let outcome = edge.phone_sends(&ack(&refused));
    assert_eq!((outcome.inside.len(), outcome.events[0].verdict), (0, Verdict::Absorb));
    // that to the edge's own challenge is a proof as well
    let mut edge = Edge::with(always);
    edge.is_told_nothing();
    edge.phone_sends(&request("OPTIONS", "z9hG4bKp", 2_000, ""));
    let challenge = told(&mut edge, &request("INVITE", "z9hG4bKa", 0, ""), "SIP/2.0 401 No\r\n");
    let outcome = edge.phone_sends(&ack(&challenge));
    assert_eq!((outcome.inside.len(), outcome.events[0].verdict), (0, Verdict::Absorb));
    let next = edge.phone_sends(&request("OPTIONS", "z9hG4bKb", 0, ""));
    assert_eq!(next.events[0].grounds.map(|grounds| grounds.who), Some(Who::Proven));
}
