//! The running edge: messages pass, signals are obeyed, the log keeps its law.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests uses a part of it
mod common;

use common::{Edge, Socket, answer, request};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// The PBX answers the next request.
fn pbx_answers(edge: &Edge, method: &str, status: &str) {
    let (text, from) = edge.pbx.receive();
    assert!(text.starts_with(&format!("{method} ")), "{text}");
    edge.pbx.send(from, &answer(&text, status));
}

#[test]
fn requests_pass_to_the_pbx_and_answers_back_over_udp_and_tcp() {
    let edge = Edge::start("shards: 2");
    let (mut ports, mut phones) = (Vec::new(), 0);
    // Sources are spread over shards, and each shard has its own inside port.
    while ports.len() < 2 {
        phones += 1;
        assert!(phones < 64, "all sources went to one shard: {ports:?}");
        let phone = Socket::bind(Ipv4Addr::new(127, 0, phones, 9), 0);
        let text = request("REGISTER", phone.address(), &format!("u{phones}"), "UDP");
        phone.send((edge.ip, 5060), &text);
        let (got, from) = edge.pbx.receive();
        edge.pbx.send(from, &answer(&got, "401 Unauthorized"));
        let (text, from) = phone.receive();
        assert!(text.starts_with("SIP/2.0 401 "), "{text}");
        assert_eq!(from, (edge.ip, 5060).into());
        let port = got.lines().find_map(|line| line.strip_prefix("Via: SIP/2.0/UDP "));
        let port = port.unwrap().split(';').next().unwrap().to_owned();
        if !ports.contains(&port) {
            ports.push(port);
        }
    }

    let mut stream = TcpStream::connect((edge.ip, 5060)).unwrap();
    let text = request("OPTIONS", stream.local_addr().unwrap(), "t1", "TCP");
    stream.write_all(text.as_bytes()).unwrap();
    pbx_answers(&edge, "OPTIONS", "200 OK");
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 "));

    edge.await_metric(&format!(
        "ringfence_requests_total{{transport=\"udp\",method=\"REGISTER\",verdict=\"forward\",reason=\"clean\"}} {phones}"
    ));
    edge.await_metric(
        "ringfence_requests_total{transport=\"tcp\",method=\"OPTIONS\",verdict=\"forward\",reason=\"clean\"} 1",
    );
    edge.await_metric("ringfence_table_entries{table=\"connections\"} 1");
}

#[test]
fn admin_pages_tell_health_and_readiness() {
    let edge = Edge::start("");
    assert!(edge.page("/healthz").starts_with("HTTP/1.1 200 "));
    let ready = edge.page("/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(ready.contains("\"draining\":false") && ready.contains("\"reason\":null"), "{ready}");
    assert!(edge.page("/metrics").contains("ringfence_build_info{version="));
    assert!(edge.page("/nothing").starts_with("HTTP/1.1 404 "));
    // Connections that say nothing give their place back when they go.
    for _ in 0..3 {
        let silent: Vec<_> =
            (0..64).map(|_| TcpStream::connect((edge.ip, 9060)).unwrap()).collect();
        drop(silent);
        assert!(edge.page("/healthz").starts_with("HTTP/1.1 200 "));
    }
}

/// Whoever is trusted is no stranger, and a drain waits for him.
const TRUSTED: &str = "policy: { trust: { networks: [127.0.0.9] } }";

#[test]
fn a_drain_waits_for_what_is_in_passage_and_refuses_what_is_new() {
    let mut edge = Edge::start(&format!("drain_timeout: 5m\n{TRUSTED}"));
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "old", "UDP"));
    let (pending, from) = edge.pbx.receive();

    edge.signal(libc::SIGTERM);
    edge.await_state("STOPPING=1");
    edge.await_metric("ringfence_draining 1");
    assert!(edge.page("/readyz").starts_with("HTTP/1.1 503 "));
    let other = Socket::bind(Ipv4Addr::new(127, 0, 0, 10), 0);
    other.send((edge.ip, 5060), &request("INVITE", other.address(), "new", "UDP"));
    let (refused, _) = other.receive();
    assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");
    assert!(refused.contains("Retry-After: "), "{refused}");
    assert!(edge.is_running());

    edge.pbx.send(from, &answer(&pending, "200 OK"));
    let (text, _) = phone.receive();
    assert!(text.starts_with("SIP/2.0 200 "), "{text}");
    assert_eq!(edge.wait().code(), Some(0), "{}", edge.log());
    assert!(edge.log().contains("Nothing is in passage any more"), "{}", edge.log());
}

#[test]
fn a_drain_ends_at_its_timeout() {
    let mut edge = Edge::start(&format!("drain_timeout: 50ms\n{TRUSTED}"));
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "old", "UDP"));
    edge.pbx.receive();
    edge.signal(libc::SIGINT);
    assert_eq!(edge.wait().code(), Some(0));
    assert!(edge.log().contains("The drain timeout ends"), "{}", edge.log());
}

#[test]
fn a_stranger_holds_up_no_drain() {
    let mut edge = Edge::start("drain_timeout: 5m");
    let stranger = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    stranger.send((edge.ip, 5060), &request("INVITE", stranger.address(), "rings", "UDP"));
    edge.pbx.receive_with("rings@test");
    edge.await_metric("ringfence_unanswered 1");
    edge.signal(libc::SIGTERM);
    assert_eq!(edge.wait().code(), Some(0), "{}", edge.log());
    assert!(edge.log().contains("Nothing is in passage any more"), "{}", edge.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut edge = Edge::start(&format!("drain_timeout: 5m\n{TRUSTED}"));
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "old", "UDP"));
    edge.pbx.receive();
    edge.signal(libc::SIGTERM);
    edge.await_metric("ringfence_draining 1");
    edge.signal(libc::SIGTERM);
    assert_eq!(edge.wait().code(), Some(0));
    assert!(edge.log().contains("A second signal"), "{}", edge.log());
}

#[test]
fn a_reload_applies_what_it_can_and_a_bad_file_changes_nothing() {
    let edge = Edge::start("domains: [one.example]");
    edge.configure("domains: [two.example]\nshards: 7\npolicy: { source_header: X-Real-Source }");
    edge.reload();
    edge.await_metric("ringfence_reloads_total{result=\"applied\"} 1");
    let log = edge.log();
    assert!(log.contains("Changed domains[0]: one.example -> two.example"), "{log}");
    assert!(log.contains("Needs a restart: shards: "), "{log}");

    // The rules are in use: the PBX sees the header by its new name.
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "a", "UDP"));
    let (text, _) = edge.pbx.receive();
    assert!(text.contains("\r\nX-Real-Source: 127.0.0.9:"), "{text}");

    edge.configure("domains: [three.example]\nsharsd: 7\npolicy: { source_header: off }");
    edge.reload();
    edge.await_metric("ringfence_reloads_total{result=\"refused\"} 1");
    let log = edge.log();
    let place = format!("{}:10:1: error: sharsd: unknown key", edge.file().display());
    assert!(log.contains(&place), "{log}");
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 10), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "b", "UDP"));
    let (text, _) = edge.pbx.receive();
    assert!(text.contains("\r\nX-Real-Source: 127.0.0.10:"), "{text}");
}

/// A TLS connection of a phone that trusts `certificate` alone; `None` when the edge shows another.
fn connect_tls(edge: &Edge, certificate: &rcgen::Certificate) -> Option<Tls> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "pbx.example.com".try_into().unwrap();
    let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let stream = TcpStream::connect((edge.ip, 5061)).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, stream);
    match tls.conn.complete_io(&mut tls.sock) {
        Ok(_) => Some(tls),
        Err(error) => {
            assert!(error.to_string().contains("certificate"), "{error}");
            None
        }
    }
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A request over TLS to the PBX and back.
fn passes(edge: &Edge, tls: &mut Tls, branch: &str) {
    let text = request("OPTIONS", tls.sock.local_addr().unwrap(), branch, "TLS");
    tls.write_all(text.as_bytes()).unwrap();
    pbx_answers(edge, "OPTIONS", "200 OK");
    let mut buffer = [0; 4096];
    let length = tls.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 "));
}

#[test]
fn certificates_are_replaced_while_connections_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["pbx.example.com".into()]).unwrap();
        std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert
    };
    let first = write();
    let listen = format!(
        "  - {{ transport: tls, address: \"{{ip}}:5061\", certificate: {}, key: {} }}",
        file("cert.pem").display(),
        file("key.pem").display()
    );
    let edge = Edge::start_listening(&listen);
    let mut old = connect_tls(&edge, &first).expect("the first certificate is shown");
    passes(&edge, &mut old, "one");

    // A key that is not the certificate's refuses the reload.
    let kept = std::fs::read(file("cert.pem")).unwrap();
    let second = write();
    std::fs::write(file("cert.pem"), kept).unwrap();
    edge.reload();
    edge.await_metric("ringfence_reloads_total{result=\"refused\"} 1");
    assert!(connect_tls(&edge, &first).is_some(), "the first is still shown");

    std::fs::write(file("cert.pem"), second.pem()).unwrap();
    edge.reload();
    edge.await_metric("ringfence_reloads_total{result=\"applied\"} 1");
    assert!(connect_tls(&edge, &first).is_none(), "the first is not shown any more");
    let mut new = connect_tls(&edge, &second).expect("the second is shown");
    passes(&edge, &mut new, "two");
    passes(&edge, &mut old, "three");
}

#[test]
fn json_logs_are_one_object_a_line() {
    let mut edge = Edge::start("log: { format: json }");
    edge.reload();
    edge.signal(libc::SIGTERM);
    edge.wait();
    let log = edge.log();
    assert!(log.lines().count() >= 5, "{log}");
    for line in log.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(value["message"].is_string() && value["level"].is_string(), "{line}");
    }
    assert!(log.contains("\"message\":\"Listening\""), "{log}");
}

#[test]
fn the_watchdog_is_fed() {
    let edge = Edge::start_in(&[("WATCHDOG_USEC", "3000000")]);
    edge.await_state("WATCHDOG=1");
    edge.await_state("WATCHDOG=1");
}

/// The value of a header in a message.
fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// The PBX calls the Contact that it was given at registration.
fn call(edge: &Edge, contact: &str, branch: &str) {
    let from = edge.pbx.address();
    let invite = request("INVITE", from, branch, "UDP");
    let invite = invite.replace("sip:bob@pbx.example.com SIP", &format!("{contact} SIP"));
    let place = contact.split_once('@').unwrap().1;
    edge.pbx.send(place.split(';').next().unwrap(), &invite);
}

#[test]
fn a_registered_phone_is_reached_after_a_restart_by_any_shard() {
    let mut edge = Edge::start("shards: 2");
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    phone.send((edge.ip, 5060), &request("REGISTER", phone.address(), "r", "UDP"));
    let (text, from) = edge.pbx.receive();
    let contact = header(&text, "Contact").trim_start_matches('<').split('>').next().unwrap();
    let contact = contact.to_owned();
    let ok = answer(&text, &format!("200 OK\r\nContact: <{contact}>;expires=600"));
    edge.pbx.send(from, &ok);
    let (text, _) = phone.receive();
    let own = format!("Contact: <sip:alice@{}>", phone.address());
    assert!(text.contains(&own), "{text}");

    call(&edge, &contact, "before");
    let invite = phone.receive_with("before@test");
    assert!(invite.starts_with(&format!("INVITE sip:alice@{} ", phone.address())), "{invite}");

    edge.signal(libc::SIGTERM);
    edge.await_metric("ringfence_draining 1");
    edge.signal(libc::SIGTERM);
    edge.wait();
    edge.restart();
    let secret = edge.file().with_file_name("state").join("secret");
    assert_eq!(std::fs::metadata(&secret).unwrap().len(), 32);
    call(&edge, &contact, "after");
    phone.receive_with("after@test");

    // The other shard's inside port hands the call to the shard that owns the phone's flow.
    let (host, port) =
        from.to_string().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    let other = if port == "5080" { "5081" } else { "5080" };
    call(&edge, &contact.replace(&from.to_string(), &format!("{host}:{other}")), "other");
    phone.receive_with("other@test");
}

#[test]
fn an_answer_at_the_wrong_shard_is_handed_over() {
    let edge = Edge::start("shards: 2");
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 9), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "o", "UDP"));
    let (text, from) = edge.pbx.receive();
    let wrong = if from.port() == 5080 { 5081 } else { 5080 };
    edge.pbx.send((edge.ip, wrong), &answer(&text, "200 OK"));
    assert!(phone.receive().0.starts_with("SIP/2.0 200 "));
    edge.await_metric("ringfence_hand_overs_total{result=\"sent\"} 1");
}

/// The log law: whatever peers send, no line at INFO or above names one of them.
#[test]
fn no_line_at_info_or_above_names_a_peer() {
    let mut edge = Edge::start("log: { level: trace }");
    let phone = Socket::bind(Ipv4Addr::new(127, 33, 44, 55), 0);
    let to = (edge.ip, 5060);
    phone.send(to, &request("REGISTER", phone.address(), "r", "UDP"));
    pbx_answers(&edge, "REGISTER", "200 OK");
    phone.receive();
    phone.send(to, &request("INVITE", phone.address(), "i", "UDP").replace("70", "0"));
    phone.receive();
    for junk in ["", "\r\n\r\n", "junk", "INVITE sip:x SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n"] {
        phone.send(to, junk);
    }
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(b"no SIP at all\r\n\r\n\r\n").unwrap();
    // The edge closes the stream, so all that was sent before has been seen.
    let _ = stream.read_to_end(&mut Vec::new());
    edge.reload();
    edge.signal(libc::SIGTERM);
    edge.wait();
    let log = edge.log();
    let mut traced = false;
    for line in log.lines() {
        let names_peer = line.contains("127.33.44.55") || line.contains("alice");
        let quiet = line.contains(" TRACE ") || line.contains(" DEBUG ");
        assert!(!names_peer || quiet, "{line}");
        traced |= names_peer;
    }
    assert!(traced, "at TRACE the peer is named, so this test can fail:\n{log}");
}

/// What a terminal, a reader of lines or a reader of text from left to right would act on.
const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]0;gone\u{7}\u{9b}2J\u{7f}\u{85}\u{2028}\u{202e}\u{2066}<script>\"'%n";

fn is_inert(text: &str) -> bool {
    let acts = |one: char| matches!(one, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().all(|one| one == '\n' || !one.is_control() && !acts(one))
}

#[test]
fn hostile_text_acts_nowhere() {
    let mut edge = Edge::start("shards: 1\naudit: { file: audit.log, accepted: true, rate: 1000 }");
    let stranger = Socket::bind(Ipv4Addr::new(127, 0, 0, 66), 0);
    let long = format!("{HOSTILE}{}", "x".repeat(8_192));
    let agent = "User-Agent: Phone";
    for (branch, old, new) in [
        ("agent", agent, format!("User-Agent: {HOSTILE} Phone")),
        ("long", agent, format!("User-Agent: {long}")),
        ("zero", agent, "User-Agent: \0Phone".into()),
        ("folded", agent, "User-Agent: a\r\n {\"event\":\"ban\"}".into()),
        ("name", "From: <", format!("From: \"{}\" <", HOSTILE.replace('"', ""))),
        ("user", "From: <sip:alice", format!("From: <sip:al{HOSTILE}ice")),
        ("line", "sip:bob@", format!("sip:bob{HOSTILE}@")),
        ("call", "Call-ID: ", format!("Call-ID: {HOSTILE}")),
    ] {
        let text = request("OPTIONS", stranger.address(), branch, "UDP").replacen(old, &new, 1);
        assert!(text.contains(&new), "{branch}");
        stranger.send((edge.ip, 5060), &text);
    }
    // what waits in one socket is judged in its order
    let last = Socket::bind(Ipv4Addr::new(127, 0, 0, 67), 0);
    last.send((edge.ip, 5060), &request("OPTIONS", last.address(), "last", "UDP"));
    while !edge.pbx.receive().0.contains("last@test") {}

    // an operator's own words have no control characters, or are refused
    let why = "rang \u{202e}\u{2066}\u{2028}<script>\"'%n";
    let (code, _, err) = edge.command(&["bans", "add", "127.0.0.66", "--for", "1h", "--why", why]);
    assert_eq!(code, 0, "{err}");
    for words in [
        &["bans", "list"][..],
        &["bans", "list", "--json"],
        &["bans", "show", "127.0.0.66"],
        &["bans", "export"],
        &["bans", "export", "--json"],
        &["explain", "127.0.0.66"],
        &["explain", "127.0.0.66", "--json"],
        &["explain", HOSTILE],
        &["bans", "lift", HOSTILE],
        &["status"],
        &["status", "--json"],
    ] {
        let (_, out, err) = edge.command(words);
        assert!(is_inert(&out) && is_inert(&err), "{words:?}: {out:?} {err:?}");
        assert!(!out.is_empty() || !err.is_empty(), "{words:?}");
    }
    assert!(is_inert(&edge.log()), "{:?}", edge.log());
    let metrics = edge.page("/metrics");
    assert!(is_inert(&metrics.replace('\r', "")) && !metrics.contains("<script"), "{metrics}");

    edge.signal(libc::SIGTERM);
    edge.wait();
    let lines = std::fs::read_to_string(edge.file().with_file_name("audit.log")).unwrap();
    assert!(is_inert(&lines), "{lines:?}");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let bans = lines.iter().filter(|line| line["event"] == "ban").count();
    assert_eq!(bans, 1, "no header began a line of its own: {lines:?}");
    let said = |line: &serde_json::Value| line["user_agent"].as_str().map(str::to_owned);
    assert!(lines.iter().filter_map(said).any(|agent| agent.contains("\u{1b}[2J")), "{lines:?}");
}
