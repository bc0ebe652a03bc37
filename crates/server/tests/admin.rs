//! The admin API of a running edge: who is banned and why, how it is undone, and who may.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests uses a part of it
mod common;

use common::{Edge, Socket, abandon, answer, request, stranger};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;

const PHONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Whether an OPTIONS of the phone reaches the PBX: it, or the one of a source that nothing bans
/// and that is sent behind it.
fn reaches_the_pbx(edge: &Edge, phone: &Socket, branch: &str) -> bool {
    let witness = Socket::bind(Ipv4Addr::new(127, 0, 0, 200), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), branch, "UDP"));
    // Another shard may be faster than this one's: what is asked of all shards comes after.
    edge.ask("GET", "/api/v1/sources", "");
    let after = format!("{branch}-witness");
    witness.send((edge.ip, 5060), &request("OPTIONS", witness.address(), &after, "UDP"));
    let mut reached = false;
    loop {
        let (text, from) = edge.pbx.receive();
        edge.pbx.send(from, &answer(&text, "200 OK"));
        match text {
            text if text.contains(&format!("Call-ID: {after}@test")) => return reached,
            text => reached |= text.contains(&format!("Call-ID: {branch}@test")),
        }
    }
}

#[test]
fn an_operators_ban_holds_is_told_and_is_lifted_with_trust() {
    let edge = Edge::start("shards: 2");
    let phone = Socket::bind(PHONE, 0);
    assert!(reaches_the_pbx(&edge, &phone, "before"));

    let wish = json!({ "key": "127.0.0.9", "for": "1h", "why": "rang at night" }).to_string();
    let (code, ban) = edge.ask("POST", "/api/v1/bans", &wish);
    assert_eq!(code, 201, "{ban}");
    assert_eq!(
        (&ban["id"], &ban["key"], &ban["kind"], &ban["reason"], &ban["origin"], &ban["kernel"]),
        (
            &json!("255-1"),
            &json!("127.0.0.9"),
            &json!("address"),
            &json!("rang at night"),
            &json!("operator"),
            &json!(false)
        )
    );
    assert!(!reaches_the_pbx(&edge, &phone, "banned"));
    // One ban is one, however many shards hold it.
    let labels = "{kind=\"address\",reason=\"operator\",narrowed=\"no\"}";
    edge.await_metric(&format!("ringfence_bans{labels} 1"));
    edge.await_metric(&format!("ringfence_bans_total{labels} 1"));
    for path in ["/api/v1/bans", "/api/v1/bans?key=127.0.0.9", "/api/v1/bans?key=255-1"] {
        assert_eq!(edge.ask("GET", path, "").1, json!([ban]), "{path}");
    }
    assert_eq!(edge.ask("GET", "/api/v1/bans?key=127.0.0.10", "").1, json!([]));
    let log = edge.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("Banned")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("rang at night") && told[0].contains("Operator"), "{log}");

    let (code, lifted) = edge.ask("DELETE", "/api/v1/bans/127.0.0.9?trust=24h", "");
    assert_eq!((code, &lifted["lifted"]), (200, &json!([ban])));
    assert!(lifted["trusted_until"].is_string());
    assert!(reaches_the_pbx(&edge, &phone, "lifted"));
    assert_eq!(edge.ask("GET", "/api/v1/status", "").1["bans"], 0);
    assert_eq!(edge.log().matches("Ban lifted").count(), 1, "{}", edge.log());

    // Trust holds against the next ban, and says so.
    let (code, refused) = edge.ask("POST", "/api/v1/bans", &wish);
    assert_eq!(code, 409, "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("trusted by the policy (operator)"));
    let (code, nobody) = edge.ask("DELETE", "/api/v1/bans/127.0.0.99", "");
    assert_eq!(code, 404, "{nobody}");
}

#[test]
fn what_an_operator_says_wrong_is_told_and_changes_nothing() {
    let edge = Edge::start("");
    let wish = |key: &str, length: &str, why: &str| {
        json!({ "key": key, "for": length, "why": why }).to_string()
    };
    for (body, told) in [
        ("", "EOF"),
        ("{}", "missing field `key`"),
        (r#"{"key":"127.0.0.9","for":"1h","why":"x","y":1}"#, "unknown field `y`"),
        (&wish("nobody", "1h", "x"), "is no network"),
        (&wish("127.0.0.9", "1", "x"), "it needs a unit"),
        (&wish("127.0.0.9", "1h", " "), "why"),
        (&wish("127.0.0.9", "1h", "a\nb"), "why"),
        (&wish("0.0.0.0/0", "1h", "x"), "too much of the world"),
        (&wish("127.0.0.9", "400d", "x"), "at most"),
    ] {
        let (code, refused) = edge.ask("POST", "/api/v1/bans", body);
        assert_eq!(code, 400, "{body}: {refused}");
        assert!(refused["error"].as_str().unwrap().contains(told), "{body}: {refused}");
    }
    // Our own address is trusted: a wish that covers it is refused.
    let [a, b, c, _] = edge.ip.octets();
    let around = format!("{a}.{b}.{c}.0/24");
    let (code, refused) = edge.ask("POST", "/api/v1/bans", &wish(&around, "1h", "x"));
    assert_eq!(code, 409, "{refused}");
    let large = "x".repeat(70_000);
    let (code, _) = edge.ask("POST", "/api/v1/reload?x=1", "");
    assert_eq!(code, 200);
    let code = edge.ask("POST", "/api/v1/bans", &wish("127.0.0.9", "1h", &large)).0;
    assert!(matches!(code, 400 | 413), "{code}");
    assert_eq!(edge.ask("GET", "/api/v1/nothing", "").0, 404);
    assert_eq!(edge.ask("GET", "/api/v1/bans", "").1, json!([]));
}

/// Three calls over TCP whose challenges are never answered: enough evidence, as a rule.
fn rings_three_times(edge: &Edge) -> (TcpStream, std::net::SocketAddr) {
    let mut stream = TcpStream::connect((edge.ip, 5060)).unwrap();
    let own = stream.local_addr().unwrap();
    for n in 0..3 {
        let invite = request("INVITE", own, &format!("ring{n}"), "TCP")
            .replace("sip:bob@pbx.example.com SIP", "sip:4711@pbx.example.com SIP");
        stream.write_all(invite.as_bytes()).unwrap();
        let (text, from) = edge.pbx.receive();
        let challenge =
            "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"asterisk\", nonce=\"1/a\"";
        edge.pbx.send(from, &answer(&text, challenge));
        let mut buffer = [0; 4096];
        while !buffer.starts_with(b"SIP/2.0 401") {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "closed too early");
        }
        // the PBX hears the ACK that the edge makes
        edge.pbx.receive_with("ACK ");
    }
    (stream, own)
}

/// The same, until the ban closes the connection.
fn rings_until_banned(edge: &Edge) -> std::net::SocketAddr {
    let (mut stream, own) = rings_three_times(edge);
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    own
}

#[test]
fn a_ban_is_explained_by_address_aor_call_and_number() {
    let edge = Edge::start("policy: { patience: { invite: 1s } }");
    let own = rings_until_banned(&edge);
    let (_, bans) = edge.ask("GET", "/api/v1/bans", "");
    let ban = &bans[0];
    let fields: Vec<&String> = ban.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["evidence", "id", "kernel", "key", "kind", "origin", "proof", "reason", "since", "until"]
    );
    assert_eq!((&ban["proof"], &ban["origin"]), (&json!("handshake"), &json!("local")));
    let evidence = ban["evidence"].as_array().unwrap();
    assert_eq!(evidence.len(), 3);
    assert_eq!(
        (&evidence[0]["outcome"], &evidence[0]["dialled"], &evidence[0]["aor"]),
        (&json!("abandoned"), &json!("4711"), &json!("alice@pbx.example.com"))
    );

    // Its messages, for whoever reads captures; not over a file that is there.
    let capture = edge.file().with_file_name("ban.pcap");
    let words = ["bans", "show", &own.ip().to_string(), "--pcap", capture.to_str().unwrap()];
    let (code, said, wrong) = edge.command(&words);
    assert_eq!((code, wrong.as_str()), (0, ""), "{said}");
    let bytes = std::fs::read(&capture).unwrap();
    assert_eq!(bytes[..4], [0x4d, 0x3c, 0xb2, 0xa1], "pcap with nanoseconds");
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("INVITE sip:4711@pbx.example.com SIP/2.0").count(), 3);
    assert!(edge.command(&words).2.contains("exists"));
    assert_eq!(edge.ask("GET", "/api/v1/bans/127.0.0.99/pcap", "").0, 404);
    assert_eq!(edge.ask("GET", "/api/v1/bans/127.0.0.99", "").0, 404);

    let explain = |subject: &str| edge.ask("GET", &format!("/api/v1/explain/{subject}"), "").1;
    for aor in ["sip:alice@pbx.example.com:5060", "alice@pbx.example.com"] {
        let by_aor = explain(aor);
        assert_eq!(by_aor["decisions"].as_array().unwrap().len(), 3, "{by_aor}");
    }
    let name = evidence[0]["rule"].as_str().unwrap();
    edge.await_metric_at_least(&format!("ringfence_rule_hits_total{{rule=\"{name}\"}}"), 3);
    let policy = edge.ask("GET", "/api/v1/policy", "").1;
    let rule = |it: &&Value| it["name"] == evidence[0]["rule"];
    let rule = policy["rules"].as_array().unwrap().iter().find(rule).unwrap();
    assert_eq!((&rule["mode"], &rule["would"]), (&json!("enforce"), &json!(0)), "{rule}");
    assert!(rule["hits"].as_u64().unwrap() >= 3, "{rule}");
    assert_eq!(edge.ask("GET", "/api/v1/trunks", "").1, json!([]));
    let by_address = explain(&own.ip().to_string());
    assert_eq!(by_address["kind"], "ip");
    assert_eq!(by_address["bans"][0]["id"], ban["id"]);
    assert_eq!(by_address["decisions"].as_array().unwrap().len(), 3);
    let decision = &by_address["decisions"][0];
    assert_eq!(
        (&decision["call_id"], &decision["verdict"], &decision["transport"]),
        (&json!("ring2@test"), &json!("forward"), &json!("tcp"))
    );
    assert_eq!(decision["line"], "INVITE sip:4711@pbx.example.com SIP/2.0");
    let text = by_address["text"].as_str().unwrap();
    for part in [
        "is banned by this edge's evidence",
        "INVITE abandoned, weight 1.00, as \"alice@pbx.example.com\", dialled \"4711\"",
        &format!("undo: ringfence bans lift {}", own.ip()),
        "last decisions",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let by_number = explain(ban["id"].as_str().unwrap());
    assert_eq!(by_number["bans"][0]["key"], json!(own.ip().to_string()));
    let by_call = explain("ring1@test");
    assert_eq!(by_call["decisions"].as_array().unwrap().len(), 1, "{by_call}");
    let by_aor = explain("sip:alice@pbx.example.com");
    assert_eq!(by_aor["decisions"].as_array().unwrap().len(), 3, "{by_aor}");
    let unknown = explain("192.0.2.1");
    assert!(unknown["text"].as_str().unwrap().starts_with("nothing is known of 192.0.2.1"));

    let (code, source) = edge.ask("GET", &format!("/api/v1/sources/{}", own.ip()), "");
    assert_eq!((code, &source["bans"][0]["id"]), (200, &ban["id"]));
    let (_, sources) = edge.ask("GET", "/api/v1/sources?limit=5", "");
    assert_eq!(sources[0]["source"], json!(own.ip().to_string()));
    assert!(sources[0]["score"].as_f64().unwrap() > 2.0, "{sources}");
    assert_eq!(edge.ask("GET", "/api/v1/sources/192.0.2.1", "").0, 404);
}

#[test]
fn a_stranger_who_calls_one_of_our_numbers_is_explained_as_what_he_may_be() {
    for (numbers, candidate) in [("4711", json!("4711")), ("4712", Value::Null)] {
        let policy = format!("policy: {{ patience: {{ invite: 1s }}, dids: [\"{numbers}\"] }}");
        let edge = Edge::start(&policy);
        let (_stream, own) = rings_three_times(&edge);
        edge.await_metric("ringfence_challenges_total{outcome=\"abandoned\"} 3");
        let explained = edge.ask("GET", &format!("/api/v1/explain/{}", own.ip()), "").1;
        assert_eq!(explained["candidate"], candidate, "{explained}");
        let text = explained["text"].as_str().unwrap();
        let said = text.contains("called 4711, a number of yours: a carrier that moved?");
        assert_eq!(said, !candidate.is_null(), "{text}");
        assert_eq!(explained["bans"].as_array().unwrap().is_empty(), said, "{text}");
    }
}

#[test]
fn a_campaign_stands_once_however_many_shards_hold_it() {
    let edge = Edge::start("policy: { patience: { invite: 1s } }\nshards: 2");
    let [a, b, c, _] = stranger(&edge).octets();
    // each in a network of its own
    let caller = |n: u8| Socket::bind(Ipv4Addr::new(a, b, c.wrapping_add(n), 7), 5060);
    for n in 0..5 {
        abandon(&edge, &caller(n), n.into());
    }
    let labels = "{kind=\"campaign\",reason=\"campaign\",narrowed=\"no\"}";
    edge.await_metric(&format!("ringfence_bans_total{labels} 1"));
    // whichever shard they meet
    for n in 5..13 {
        let caller = caller(n);
        caller.0.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let invite = request("INVITE", caller.address(), &format!("i{n}"), "UDP");
        let is_challenged = |_: &i32| {
            caller.send((edge.ip, 5060), &invite);
            let mut bytes = [0; 2_048];
            let length = caller.0.recv(&mut bytes).unwrap_or(0);
            bytes[..length].starts_with(b"SIP/2.0 401 ")
        };
        // the edge may wait for a nonce of the PBX's before the first
        assert!((0..20).find(is_challenged).is_some(), "{n}");
    }
    let bans = edge.ask("GET", "/api/v1/bans", "").1;
    let bans = bans.as_array().unwrap();
    assert_eq!(bans.iter().filter(|ban| ban["kind"] == "campaign").count(), 1, "{bans:?}");
    edge.await_metric(&format!("ringfence_bans{labels} 1"));
    assert_eq!(edge.log().matches("Campaign found").count(), 1, "{}", edge.log());
}

#[test]
fn trust_in_one_address_of_a_64_is_explained_where_it_is() {
    let edge = Edge::start(
        "policy:\n  trust:\n    networks: [{ network: \"2001:db8:1:2::7\", name: office }]",
    );
    let trusted_by = |subject: &str| {
        let (code, explained) = edge.ask("GET", &format!("/api/v1/explain/{subject}"), "");
        assert_eq!(code, 200, "{explained}");
        let said = explained["text"].as_str().unwrap().contains("is trusted (office)");
        assert_eq!(said, explained["trusted_by"] == "office", "{explained}");
        said
    };
    assert!(trusted_by("2001:db8:1:2::7"));
    assert!(!trusted_by("2001:db8:1:2::8"), "a neighbour in the /64");
    assert!(!trusted_by("2001:db8:1:3::7"));
}

/// Reads server-sent events until one of that name, and gives back its data.
fn await_event(reader: &mut impl BufRead, name: &str) -> Value {
    let mut current = String::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
        let line = line.trim_end();
        if let Some(event) = line.strip_prefix("event: ") {
            current = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ")
            && current == name
        {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[test]
fn whoever_follows_hears_of_bans_decisions_and_reloads() {
    let edge = Edge::start("shards: 2");
    let mut stream = UnixStream::connect(edge.socket()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let status = await_event(&mut reader, "status");
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);

    let phone = Socket::bind(PHONE, 0);
    assert!(reaches_the_pbx(&edge, &phone, "seen"));
    let mut decision = await_event(&mut reader, "decision");
    while decision["call_id"] != "seen@test" {
        decision = await_event(&mut reader, "decision");
    }
    assert_eq!(decision["verdict"], "forward");

    let wish = json!({ "key": "127.0.0.9", "for": "1h", "why": "x" }).to_string();
    let (_, ban) = edge.ask("POST", "/api/v1/bans", &wish);
    assert_eq!(await_event(&mut reader, "ban"), ban);
    edge.ask("DELETE", "/api/v1/bans/255-1", "");
    let lift = await_event(&mut reader, "lift");
    assert_eq!((&lift["id"], &lift["expired"]), (&ban["id"], &json!(false)));
    edge.reload();
    assert_eq!(await_event(&mut reader, "reload")["result"], "applied");
}

#[test]
fn whoever_comes_later_hears_of_what_came_before() {
    let edge = Edge::start("shards: 2");
    let phones = [Socket::bind(PHONE, 0), Socket::bind(PHONE, 0)];
    for (call, phone) in ["one", "two"].iter().zip(&phones) {
        assert!(reaches_the_pbx(&edge, phone, call));
    }
    let calls = ["one", "one-witness", "two", "two-witness"];
    let follow = || {
        let mut stream = UnixStream::connect(edge.socket()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        calls.map(|_| await_event(&mut reader, "decision")["call_id"].clone())
    };
    // all of them, in their order, whoever follows besides
    let expected = calls.map(|call| json!(format!("{call}@test")));
    assert_eq!([follow(), follow()], [expected.clone(), expected]);
}

#[test]
fn while_everything_passes_it_is_said_loudly() {
    let edge = Edge::start("shards: 2");
    let phone = Socket::bind(PHONE, 0);
    let wish = json!({ "key": "127.0.0.9", "for": "1h", "why": "x" }).to_string();
    edge.ask("POST", "/api/v1/bans", &wish);
    assert!(!reaches_the_pbx(&edge, &phone, "banned"));

    let (code, open) = edge.ask("POST", "/api/v1/panic-open", r#"{"for":"10m"}"#);
    assert_eq!(code, 200, "{open}");
    assert!(open["panic_open_until"].is_string());
    assert!(reaches_the_pbx(&edge, &phone, "open"));
    edge.await_metric("ringfence_panic_open 1");
    assert_eq!(
        edge.ask("GET", "/api/v1/status", "").1["panic_open_until"],
        open["panic_open_until"]
    );
    assert!(edge.log().contains("PANIC OPEN"), "{}", edge.log());
    // A reload does not end it.
    edge.reload();
    assert!(reaches_the_pbx(&edge, &phone, "reloaded"));

    let (_, closed) = edge.ask("POST", "/api/v1/panic-open", r#"{"for":"0s"}"#);
    assert_eq!(closed, json!({ "panic_open_until": null }));
    assert!(!reaches_the_pbx(&edge, &phone, "closed"));
    edge.await_metric("ringfence_panic_open 0");

    // It ends by itself.
    edge.ask("POST", "/api/v1/panic-open", r#"{"for":"50ms"}"#);
    edge.await_metric("ringfence_panic_open 0");
    assert!(!reaches_the_pbx(&edge, &phone, "ended"));
    assert_eq!(edge.ask("POST", "/api/v1/panic-open", r#"{"for":"2d"}"#).0, 400);
}

#[test]
fn over_tcp_writing_needs_the_token_and_names_are_no_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "a-token-of-forty-two\n").unwrap();
    let edge = Edge::start("");
    let wish = json!({ "key": "127.0.0.9", "for": "1h", "why": "x" }).to_string();
    let host = format!("Host: {}:9060\r\n", edge.ip);
    let post = |headers: &str| edge.ask_tcp("POST", "/api/v1/bans", headers, &wish).0;
    let get = |headers: &str| edge.ask_tcp("GET", "/api/v1/bans", headers, "").0;

    assert_eq!(get(&host), 200);
    assert_eq!(get("Host: localhost:9060\r\n"), 200);
    assert_eq!(get("Host: rebound.example\r\n"), 403);
    assert_eq!(post(&host), 401);
    let right = format!("{host}Authorization: Bearer a-token-of-forty-two\r\n");
    assert_eq!(post(&right), 401, "no token is configured yet");

    let admin = format!("admin: {{ listen: \"{{ip}}:9060\", token_file: {} }}", token.display());
    edge.configure(&admin);
    assert_eq!(edge.ask("POST", "/api/v1/reload", "").0, 200);
    assert_eq!(post(&format!("{host}Authorization: Bearer a-token-of-forty-twO\r\n")), 401);
    assert_eq!(post(&format!("{host}Authorization: Basic a-token-of-forty-two\r\n")), 401);
    assert_eq!(
        get(&format!("{host}Authorization: Bearer wrong\r\n")),
        401,
        "a wrong one is no none"
    );
    assert_eq!(post(&right), 201);
    assert_eq!(get("Host: ours.example\r\nAuthorization: bearer a-token-of-forty-two\r\n"), 200);
    // Health is for everybody.
    assert!(edge.page("/healthz").starts_with("HTTP/1.1 200 "));
    edge.await_metric("ringfence_admin_requests_total{result=\"unauthorized\"} 6");
}

#[test]
fn heads_and_connections_of_the_admin_api_are_bounded() {
    let edge = Edge::start("");
    let mut stream = TcpStream::connect((edge.ip, 9060)).unwrap();
    let long = "x".repeat(64 << 10);
    // It may be answered and closed before all is written.
    let _ = write!(stream, "GET /{long} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));

    let held: Vec<_> = (0..64).map(|_| TcpStream::connect((edge.ip, 9060)).unwrap()).collect();
    // The Unix socket has room of its own.
    assert_eq!(edge.ask("GET", "/api/v1/status", "").0, 200);
    drop(held);
}

#[test]
fn a_reload_tells_what_it_did_or_why_not() {
    let edge = Edge::start("domains: [one.example]");
    edge.configure("domains: [two.example]\nshards: 7");
    let (code, record) = edge.ask("POST", "/api/v1/reload", "");
    assert_eq!(
        (code, &record["result"], &record["cause"]),
        (200, &json!("applied"), &json!("api"))
    );
    let change = &record["changes"][0];
    assert_eq!(
        change,
        &json!({ "path": "domains[0]", "from": "one.example", "to": "two.example", "needs_restart": false })
    );
    let version = record["policy"].as_u64().unwrap();

    edge.configure("domains: [three.example]\nsharsd: 7");
    let (code, record) = edge.ask("POST", "/api/v1/reload", "");
    assert_eq!((code, &record["result"]), (422, &json!("refused")));
    let problem = &record["problems"][0];
    assert_eq!((&problem["line"], &problem["path"]), (&json!(10), &json!("sharsd")));
    assert!(problem["hint"].as_str().unwrap().starts_with("did you mean \"shards\"?"));
    assert_eq!(record["policy"].as_u64().unwrap(), version, "the old one stays");

    // What came is judged again by new rules.
    let phone = Socket::bind(PHONE, 0);
    assert!(reaches_the_pbx(&edge, &phone, "once"));
    let rule =
        "policy: { rules: [{ name: no-options, when: { methods: [OPTIONS] }, then: drop }] }";
    edge.configure(&format!("domains: [two.example]\nshards: 7\n{rule}"));
    let (code, record) = edge.ask("POST", "/api/v1/reload", "");
    assert_eq!(
        (code, &record["again"]["judged"], &record["again"]["differ"]),
        (200, &json!(2), &json!(2))
    );
    let group = &record["again"]["groups"][0];
    assert_eq!(
        (&group["was"], &group["is"], &group["by"]),
        (&json!("accept"), &json!("drop"), &json!("rule no-options"))
    );
    assert!(edge.log().contains("2 of the last 2 requests"), "{}", edge.log());
    let version = version + 1;

    // A policy whose own tests fail is none.
    let policy = "policy:\n  tests:\n  - name: nobody registers\n    expect: drop\n    send: |\n      \
        REGISTER sip:pbx SIP/2.0\n      Via: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bKa\n      \
        Max-Forwards: 70\n      From: <sip:1001@pbx>;tag=a\n      To: <sip:1001@pbx>\n      \
        Call-ID: a@x\n      CSeq: 1 REGISTER\n";
    edge.configure(policy);
    let (code, record) = edge.ask("POST", "/api/v1/reload", "");
    assert_eq!(code, 422, "{record}");
    assert_eq!(record["tests"]["failed"][0]["name"], "nobody registers");
    let (_, status) = edge.ask("GET", "/api/v1/status", "");
    let results: Vec<_> = status["reloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["refused", "applied", "refused", "applied"], "the youngest first");
    assert_eq!(status["policy"]["version"].as_u64().unwrap(), version);
}

#[test]
fn an_operator_drains_by_the_api() {
    let mut edge = Edge::start("drain_timeout: 5m");
    let (code, drain) = edge.ask("POST", "/api/v1/drain", "");
    assert_eq!((code, &drain["draining"]), (200, &json!(true)));
    assert_eq!(edge.wait().code(), Some(0), "{}", edge.log());
    assert!(!edge.socket().exists(), "the socket goes with the edge");
}

#[test]
fn the_command_line_sees_explains_and_lifts() {
    let edge = Edge::start("shards: 2");
    let phone = Socket::bind(PHONE, 0);
    assert!(reaches_the_pbx(&edge, &phone, "before"));
    let (code, out, _) = edge.command(&["bans", "list"]);
    assert_eq!((code, out.as_str()), (0, "nothing is banned\n"));
    let add = ["bans", "add", "127.0.0.9", "--for", "1h", "--why", "rings at night"];
    let (code, out, _) = edge.command(&add);
    assert!(
        code == 0 && out.starts_with("127.0.0.9 is banned until ") && out.ends_with("255-1\n"),
        "{out}"
    );
    let (_, out, _) = edge.command(&["bans", "list"]);
    assert!(out.starts_with("ID ") && out.contains("rings at night"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours where no terminal reads: {out:?}");
    let (code, out, _) = edge.command(&["bans", "list", "--json"]);
    let bans: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &bans[0]["id"]), (0, &json!("255-1")));
    let (_, out, _) = edge.command(&["bans", "show", "127.0.0.9"]);
    assert!(out.contains("is banned by an operator") && out.contains("undo: ringfence bans lift"));
    let (code, out, err) = edge.command(&["bans", "show", "127.0.0.99"]);
    assert_eq!((code, out.as_str(), err.trim()), (1, "", "nothing is banned as 127.0.0.99"));

    let (code, out, _) = edge.command(&["explain", "before@test"]);
    assert!(code == 0 && out.contains("OPTIONS sip:bob@pbx.example.com SIP/2.0"), "{out}");
    let (code, out, _) = edge.command(&["bans", "lift", "127.0.0.9", "--trust", "24h"]);
    assert!(code == 0 && out.starts_with("lifted 255-1: 127.0.0.9\ntrusted until "), "{out}");
    assert!(reaches_the_pbx(&edge, &phone, "after"));
    let (code, _, err) = edge.command(&add);
    assert!(code == 1 && err.contains("trusted by the policy (operator)"), "{err}");
    assert_eq!(edge.command(&["bans", "lift", "127.0.0.9", "--trust", "1h", "--forgive"]).0, 2);

    let (code, out, _) = edge.command(&["status"]);
    assert!(code == 0 && out.contains("serving") && out.contains("forward"), "{out}");
    edge.configure("sharsd: 7");
    let (code, _, err) = edge.command(&["reload"]);
    assert!(code == 1 && err.contains(":9:1: error: sharsd: unknown key"), "{err}");
    assert!(err.contains("did you mean \"shards\"?"), "{err}");
    let (code, out, _) = edge.command(&["status"]);
    assert!(code == 0 && out.contains("refused by api") && out.contains("unknown key"), "{out}");
    edge.configure("domains: [a.example]");
    let (code, out, _) = edge.command(&["reload"]);
    assert!(code == 0 && out.contains("changed domains[0]: (absent) -> a.example"), "{out}");
    let (code, out, _) = edge.command(&["panic-open", "--for", "1m"]);
    assert!(code == 0 && out.starts_with("everything passes until "), "{out}");
    let (code, _, err) = edge.command(&["top"]);
    assert!(code == 4 && err.contains("needs a terminal"), "{err}");
    // By TCP as by the socket.
    let url = format!("http://{}:9060", edge.ip);
    let (code, out, _) = edge.command(&["bans", "list", "--admin", &url]);
    assert_eq!((code, out.as_str()), (0, "nothing is banned\n"));
    let (code, _, err) = edge.command(&["drain", "--admin", &url]);
    assert!(code == 1 && err.contains("token"), "{err}");
}

#[test]
fn where_no_edge_runs_the_command_line_says_so() {
    let mut edge = Edge::start("");
    edge.signal(libc::SIGTERM);
    edge.wait();
    let (code, out, err) = edge.command(&["status"]);
    assert_eq!((code, out.as_str()), (5, ""));
    assert!(err.contains("no edge is reached at") && err.contains("admin.sock"), "{err}");
    assert!(err.contains("there is no such socket"), "{err}");
}

#[test]
fn where_the_edge_is_elsewhere_the_command_line_says_where() {
    let mut edge = Edge::start("");
    let elsewhere = edge.file().with_file_name("elsewhere.sock");
    // needs a restart, which does not come
    edge.configure(&format!(
        "admin: {{ listen: \"{{ip}}:9060\", socket: {} }}",
        elsewhere.display()
    ));
    let (code, _, err) = edge.command(&["status"]);
    let reached = format!("unix:{}", edge.socket().display());
    assert!(code == 5 && err.contains(&format!("--admin {reached}")), "{err}");
    assert_eq!(edge.command(&["status", "--admin", &reached]).0, 0);

    edge.configure("");
    edge.signal(libc::SIGKILL);
    edge.wait();
    let (code, _, err) = edge.command(&["status"]);
    assert!(code == 5 && err.contains("left its socket there, and none listens"), "{err}");
}

#[test]
fn a_file_that_changes_is_read_again_by_itself() {
    let edge = Edge::start("domains: [one.example]\nwatch: true");
    edge.configure("domains: [two.example]\nwatch: true");
    edge.await_metric("ringfence_reloads_total{result=\"applied\"} 1");
    edge.configure("sharsd: 7\nwatch: true");
    edge.await_metric("ringfence_reloads_total{result=\"refused\"} 1");
    // What was read is not read again: its mending is one reload, whoever asked for it last.
    edge.configure("domains: [three.example]\nwatch: true");
    assert_eq!(edge.ask("POST", "/api/v1/reload", "").0, 200);
    edge.configure("domains: [three.example]\nwatch: false");
    edge.await_log("Changed watch: true -> false");
    let (_, status) = edge.ask("GET", "/api/v1/status", "");
    let causes: Vec<_> = status["reloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["cause"].as_str().unwrap())
        .collect();
    assert_eq!(causes[..2], ["file", "api"], "the youngest first");
    assert_eq!(causes[causes.len() - 2..], ["file", "file"]);
}

#[test]
fn the_dashboard_is_served_and_runs_nothing_but_itself() {
    let edge = Edge::start("");
    let get = |path: &str, host: &str| {
        let mut stream = TcpStream::connect((edge.ip, 9060)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for (path, code, kind) in [
        ("/", "200", "text/html; charset=utf-8"),
        ("/ui/main.js", "200", "text/javascript; charset=utf-8"),
        ("/ui/style.css", "200", "text/css; charset=utf-8"),
        ("/ui/icon.svg", "200", "image/svg+xml"),
        ("/ui/index.html", "404", "application/json"),
        ("/ui/../status", "404", "application/json"),
        ("/ui/", "404", "application/json"),
        ("/nothing", "404", "application/json"),
        ("/api/v1/status", "200", "application/json"),
    ] {
        let page = get(path, "127.0.0.1");
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{path}: {head}");
        for line in [
            &format!("content-type: {kind}"),
            &format!("content-security-policy: {policy}"),
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(line), "{path} has no {line}\n{head}");
        }
        assert!(!body.is_empty(), "{path}");
    }
    // A name for a Host is given the files, which are the same everywhere, and nothing of this edge.
    assert!(get("/", "rebound.example").starts_with("HTTP/1.1 200 "));
    assert!(get("/api/v1/status", "rebound.example").starts_with("HTTP/1.1 403 "));
    let (code, _) = edge.ask_tcp("POST", "/", &format!("Host: {}\r\n", edge.ip), "");
    assert_eq!(code, 401, "nothing is written there");
}
