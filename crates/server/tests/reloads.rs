//! Reloads under load: nothing that passes is lost by them, and nobody who is banned gets in.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests uses a part of it
mod common;

use common::{Edge, Socket, answer, request};
use serde_json::json;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

const RELOADS: usize = 1_000;

/// One signature only: compiling all of them a thousand times is another test's business.
const SIGNATURES: &str = "signatures:\n- id: x\n  what: x\n  verdict: note\n  source: [test]\n  \
    false_positives: none\n  when: { user_agent: never-seen }\n";

/// A PBX that answers everything with 200 until it is told to stop. How often somebody reached it
/// who says that he is `banned`.
fn pbx(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 65_535];
    let mut banned = 0;
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        match text.split(' ').next() {
            Some("stop") => return banned,
            Some("ACK") => {}
            _ => {
                banned += usize::from(text.contains("Call-ID: banned"));
                let contact =
                    format!("200 OK\r\nContact: <sip:pbx@{}>", socket.local_addr().unwrap());
                socket.send_to(answer(text, &contact).as_bytes(), from).unwrap();
            }
        }
    }
}

/// A phone that asks, and asks again until it is answered, until all reloads are done.
fn asks(edge: (Ipv4Addr, u16), own: Ipv4Addr, done: &AtomicBool) -> usize {
    let socket = Socket::bind(own, 0);
    socket.0.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let mut answered = 0;
    while !done.load(SeqCst) {
        let branch = format!("ask-{own}-{answered}");
        let text = request("OPTIONS", socket.address(), &branch, "UDP");
        let is_answered = (0..20).any(|_| {
            socket.send(edge, &text);
            let mut buffer = [0; 65_535];
            std::iter::from_fn(|| socket.0.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
                .any(|message| {
                    let message = String::from_utf8(message).unwrap();
                    message.starts_with("SIP/2.0 200") && message.contains(&branch)
                })
        });
        assert!(is_answered, "{branch} was never answered");
        answered += 1;
    }
    answered
}

/// The lines of a message that have that name.
fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

/// A request in the dialog that `ok` began.
fn within(method: &str, phone: &Socket, branch: &str, call: &str, ok: &str) -> String {
    let contact = lines(ok, "Contact")[0].trim_matches(['<', '>']).to_owned();
    let routes = lines(ok, "Record-Route");
    let routes: String = routes.iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
    request(method, phone.address(), branch, "UDP")
        .replace("sip:bob@pbx.example.com SIP", &format!("{contact} SIP"))
        .replace(&format!("Call-ID: {branch}"), &format!("{routes}Call-ID: {call}"))
        .replace("To: <sip:bob@pbx.example.com>", &format!("To: {}", lines(ok, "To")[0]))
        .replace("CSeq: 1 BYE", "CSeq: 2 BYE")
}

#[test]
fn a_thousand_reloads_under_load_lose_no_call_and_no_ban() {
    let directory = tempfile::tempdir().unwrap();
    let signatures = directory.path().join("signatures.yaml");
    std::fs::write(&signatures, SIGNATURES).unwrap();
    let file = signatures.display();
    let rules = |header: &str| {
        format!(
            "shards: 2\nwatch: false\n\
             policy: {{ source_header: {header}, signatures: {{ file: {file} }} }}"
        )
    };
    let edge = Edge::start(&rules("X-One"));
    let to = (edge.ip, 5060);
    let done = AtomicBool::new(false);
    let wish = json!({ "key": "127.0.3.1", "for": "1h", "why": "x" }).to_string();
    let (_, ban) = edge.ask("POST", "/api/v1/bans", &wish);
    let pbx_socket = edge.pbx.0.try_clone().unwrap();
    thread::scope(|scope| {
        let pbx = scope.spawn(|| pbx(&pbx_socket));
        let phone = Socket::bind(Ipv4Addr::new(127, 0, 2, 1), 0);
        phone.send(to, &request("INVITE", phone.address(), "call", "UDP"));
        let ok = phone.receive_with("SIP/2.0 200");
        phone.send(to, &within("ACK", &phone, "ack", "call", &ok));
        let done = &done;
        let own = |host| Ipv4Addr::new(127, 0, 1, host);
        let asking: Vec<_> =
            (1..=3).map(|host| scope.spawn(move || asks(to, own(host), done))).collect();
        let banned = Socket::bind(Ipv4Addr::new(127, 0, 3, 1), 0);
        for n in 0..RELOADS {
            edge.configure(&rules(if n % 2 == 0 { "X-Two" } else { "X-One" }));
            let (code, record) = edge.ask("POST", "/api/v1/reload", "");
            assert_eq!(code, 200, "{record}");
            // The service manager is told each time, and must listen.
            edge.await_state("READY=1");
            assert_eq!(record["changes"].as_array().unwrap().len(), 1, "{record}");
            let branch = format!("banned{n}");
            banned.send(to, &request("OPTIONS", banned.address(), &branch, "UDP"));
        }
        done.store(true, SeqCst);
        phone.send(to, &within("BYE", &phone, "bye", "call", &ok));
        let bye = phone.receive_with("CSeq: 2 BYE");
        assert!(bye.starts_with("SIP/2.0 200"), "the call that stood is ended by its phone: {bye}");
        for phone in asking {
            assert!(phone.join().unwrap() > 0, "no load");
        }
        let status = edge.ask("GET", "/api/v1/status", "").1;
        assert_eq!(status["policy"]["version"], 1 + RELOADS as u64);
        assert_eq!(edge.ask("GET", "/api/v1/bans", "").1, json!([ban]));
        phone.send(edge.pbx.address(), "stop ");
        assert_eq!(pbx.join().unwrap(), 0, "somebody banned reached the PBX");
    });
}

#[test]
fn signatures_that_change_alone_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("signatures.yaml");
    std::fs::write(&file, SIGNATURES).unwrap();
    let edge = Edge::start(&format!(
        "watch: true\npolicy: {{ signatures: {{ file: {} }} }}",
        file.display()
    ));
    let asks = |host: u8, branch: &str| {
        let phone = Socket::bind(Ipv4Addr::new(127, 0, 4, host), 0);
        phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), branch, "UDP"));
    };
    asks(1, "before");
    edge.pbx.receive_with("before@test");

    std::fs::write(&file, SIGNATURES.replace("note", "nothing")).unwrap();
    edge.await_metric("ringfence_reloads_total{result=\"refused\"} 1");
    let log = edge.log();
    assert!(log.contains(&format!("{}:4:", file.display())), "the place is named: {log}");

    let dropped =
        SIGNATURES.replace("note", "drop").replace("never-seen", "{ matches: ['Phone.*'] }");
    std::fs::write(&file, dropped).unwrap();
    edge.await_metric("ringfence_reloads_total{result=\"applied\"} 1");
    asks(2, "after");
    edge.await_metric(
        "ringfence_requests_total{transport=\"udp\",method=\"OPTIONS\",verdict=\"drop\",reason=\"signature\"} 1",
    );
}
