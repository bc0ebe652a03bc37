//! `ringfence replay FILE`: captures of a bare PBX on a public port, written here, judged by the binary.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

use capture::Writer;
use policy::Time;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

const PBX: &str = "203.0.113.1:5060";
const PHONE: &str = "198.51.100.7:5062";
const SCANNER: &str = "192.0.2.66:5080";

/// Somebody with a wire to the PBX, and what is on the wire.
struct Wire {
    file: Writer<Vec<u8>>,
    now: Time,
    pbx: SocketAddr,
    messages: u32,
}

impl Wire {
    fn new() -> Self {
        let now = Time::ZERO + Duration::from_secs(1_800_000_000);
        let file = Writer::new(Vec::new()).unwrap();
        Wire { file, now, pbx: PBX.parse().unwrap(), messages: 0 }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now = self.now + Duration::from_millis(milliseconds);
    }

    fn client_says(&mut self, from: &str, message: &str) {
        self.wait(10);
        self.file.datagram(self.now, from.parse().unwrap(), self.pbx, message.as_bytes()).unwrap();
    }

    fn pbx_says(&mut self, to: &str, message: &str) {
        self.wait(10);
        self.file.datagram(self.now, self.pbx, to.parse().unwrap(), message.as_bytes()).unwrap();
    }

    /// A request; its text.
    fn request(&mut self, from: &str, method: &str, user: &str, more: &str) -> String {
        self.messages += 1;
        let text = request(method, user, from, self.messages, more);
        self.client_says(from, &text);
        text
    }

    /// Asterisk's challenge: the tag is the branch.
    fn challenged(&mut self, to: &str, request: &str) -> String {
        self.messages += 1;
        let n = self.messages;
        let challenge = format!(
            "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"1800000000/{n:032x}\",\
             opaque=\"{n:016x}\",algorithm=MD5,qop=\"auth\"\r\n"
        );
        let text = response(request, "401 Unauthorized", branch(request), &challenge);
        self.pbx_says(to, &text);
        format!(
            "Authorization: Digest username=\"USER\", realm=\"asterisk\", \
             nonce=\"1800000000/{n:032x}\", uri=\"sip:203.0.113.1\", response=\"0\", \
             opaque=\"{n:016x}\", cnonce=\"1\", nc=00000001, qop=auth\r\n"
        )
    }

    fn register(&mut self, phone: &str, user: &str) {
        let first = self.request(phone, "REGISTER", user, "");
        let credentials = self.challenged(phone, &first).replace("USER", user);
        let second = self.request(phone, "REGISTER", user, &credentials);
        let contact = format!("Contact: <sip:{user}@{phone}>;expires=3599\r\n");
        let ok = response(&second, "200 OK", "as1", &contact);
        self.pbx_says(phone, &ok);
    }

    /// A scanner's call: it acknowledges the challenge and never answers it.
    fn abandoned(&mut self, from: &str, user: &str, agent: &str) {
        let invite = self.request(from, "INVITE", user, agent);
        self.challenged(from, &invite);
        let tagged = |line: &str| match line.starts_with("To:") {
            true => format!("{line};tag={}\r\n", branch(&invite)),
            false => format!("{line}\r\n"),
        };
        let ack: String = invite.lines().map(tagged).collect();
        self.client_says(from, &ack.replace("INVITE", "ACK"));
    }

    fn judged(self, words: &[&str]) -> Value {
        let output = self.replayed(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn replayed(self, words: &[&str]) -> Output {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("today.pcap");
        std::fs::write(&file, self.file.finish().unwrap()).unwrap();
        let config = if words.contains(&"--config") { &[][..] } else { &["--config", "balanced"] };
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.arg("replay").arg(&file).args(config).args(words).output().unwrap()
    }
}

fn request(method: &str, user: &str, from: &str, n: u32, more: &str) -> String {
    let uri = if method == "REGISTER" { String::new() } else { format!("{user}@") };
    format!(
        "{method} sip:{uri}203.0.113.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK-{n};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@203.0.113.1>;tag=f{n}\r\nTo: <sip:{user}@203.0.113.1>\r\n\
         Call-ID: {user}-{from}\r\nCSeq: {n} {method}\r\nContact: <sip:{user}@{from}>\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

fn response(request: &str, status: &str, tag: &str, more: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))) {
        let to_tag = if line.starts_with("To:") && !line.contains("tag=") {
            format!(";tag={tag}")
        } else {
            String::new()
        };
        text += &format!("{line}{to_tag}\r\n");
    }
    text + more + "Content-Length: 0\r\n\r\n"
}

fn branch(message: &str) -> &str {
    message.split("branch=").nth(1).unwrap().split([';', '\r']).next().unwrap()
}

/// Messages by verdict and reason.
fn verdicts(told: &Value) -> BTreeMap<(String, String), u64> {
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let list = told["verdicts"].as_array().unwrap().iter();
    list.map(|one| ((word(one, "verdict"), word(one, "reason")), one["messages"].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_phone_of_a_bare_pbx_passes() {
    let mut wire = Wire::new();
    for _ in 0..5 {
        wire.register(PHONE, "6001");
        wire.wait(60_000);
    }
    let told = wire.judged(&[]);
    assert_eq!(told["edge"]["addresses"], json!([PBX]));
    assert_eq!(told["edge"]["found"].as_str().unwrap().split(':').next(), Some("guessed"));
    // its credentials were taken for what they are: the nonce had been relayed to it
    assert_eq!(verdicts(&told), [(("forward".into(), "clean".into()), 10)].into());
    assert_eq!((&told["bans"], &told["left_out"]), (&json!([]), &json!([])));
    let users = json!({ "authenticated": 1, "touched": 0, "list": [] });
    assert_eq!(told["users"], users);
}

#[test]
fn a_scanner_that_abandons_its_challenges_is_banned() {
    let mut wire = Wire::new();
    wire.register(PHONE, "6001");
    for n in 0..40 {
        wire.abandoned(SCANNER, &format!("{}", 1_000 + n), "User-Agent: Phone\r\n");
        wire.wait(9_000);
    }
    wire.register(PHONE, "6001");
    let told = wire.judged(&[]);
    assert_eq!(told["bans"][0]["key"], "address 192.0.2.66", "{told:#}");
    assert_eq!(told["bans"][0]["proof"], "ack_tag", "the ACK's tag stands for the edge's");
    let dropped = verdicts(&told)[&("drop".into(), "banned".into())];
    assert!(dropped > 20, "{dropped}");
    assert_eq!(told["users"]["touched"], 0);
    assert_eq!(told["stopped"][0]["address"], "192.0.2.66");
}

#[test]
fn a_tools_signature_drops_its_first_packet() {
    let mut wire = Wire::new();
    wire.register(PHONE, "6001");
    wire.request(SCANNER, "OPTIONS", "100", "User-Agent: friendly-scanner\r\n");
    let told = wire.judged(&[]);
    let drop = verdicts(&told).into_iter().find(|((verdict, _), _)| verdict == "drop").unwrap();
    assert_eq!(drop, (("drop".into(), "signature".into()), 1));
}

#[test]
fn the_pbx_calls_a_phone_whose_answers_are_known() {
    let mut wire = Wire::new();
    wire.register(PHONE, "6001");
    let uri = format!("sip:6001@{PHONE}");
    let invite = request("INVITE", "6002", PBX, 77, "").replacen("sip:6002@203.0.113.1", &uri, 1);
    wire.pbx_says(PHONE, &invite);
    wire.client_says(PHONE, &response(&invite, "180 Ringing", "p1", ""));
    let contact = format!("Contact: <{uri}>\r\n");
    wire.client_says(PHONE, &response(&invite, "200 OK", "p1", &contact));
    let ack = request("ACK", "6002", PBX, 77, "").replacen("sip:6002@203.0.113.1", &uri, 1);
    wire.pbx_says(
        PHONE,
        &ack.replace("To: <sip:6002@203.0.113.1>", "To: <sip:6002@203.0.113.1>;tag=p1"),
    );
    // the phone hangs up
    let bye = request("BYE", "6002", PHONE, 1, "")
        .replace(";tag=f1", ";tag=p1")
        .replace("To: <sip:6002@203.0.113.1>", "To: <sip:6002@203.0.113.1>;tag=f77")
        .replace(&format!("Call-ID: 6002-{PHONE}"), &format!("Call-ID: 6002-{PBX}"));
    wire.client_says(PHONE, &bye);
    wire.pbx_says(PHONE, &response(&bye, "200 OK", "f77", ""));
    let told = wire.judged(&[]);
    assert_eq!(verdicts(&told), [(("forward".into(), "clean".into()), 5)].into(), "{told:#}");
    assert_eq!(told["left_out"], json!([]));
}

#[test]
fn calls_to_phones_that_registered_before_the_capture_are_said_to_be_left_out() {
    let mut wire = Wire::new();
    let invite = request("INVITE", "6002", PBX, 77, "");
    wire.pbx_says(PHONE, &invite);
    wire.client_says(PHONE, &response(&invite, "180 Ringing", "p1", ""));
    let told = wire.judged(&["--edge", PBX]);
    assert_eq!(told["left_out"][0]["count"], 1);
    assert_eq!(told["verdicts"], json!([]), "and nobody is blamed for answering them");
}

#[test]
fn streams_and_ipv6_are_judged_too() {
    let (phone, pbx) = ("[2001:db8::7]:49152", "[2001:db8::1]:5060");
    let mut wire = Wire::new();
    let (client, server) = (phone.parse().unwrap(), pbx.parse().unwrap());
    wire.file.opened(wire.now, client, server).unwrap();
    let register = request("REGISTER", "6001", phone, 1, "");
    let (first, rest) = register.as_bytes().split_at(100);
    wire.file.stream(wire.now, client, server, first).unwrap();
    wire.wait(5);
    wire.file.stream(wire.now, client, server, rest).unwrap();
    let challenge = "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"n1\"\r\n";
    let answer = response(&register, "401 Unauthorized", "t", challenge);
    wire.file.stream(wire.now, server, client, answer.as_bytes()).unwrap();
    let credentials = "Authorization: Digest username=\"6001\",realm=\"asterisk\",nonce=\"n1\",\
                       uri=\"sip:x\",response=\"0\"\r\n";
    let again = request("REGISTER", "6001", phone, 2, credentials);
    wire.file.stream(wire.now, client, server, again.as_bytes()).unwrap();
    let ok = response(&again, "200 OK", "t", "");
    wire.file.stream(wire.now, server, client, ok.as_bytes()).unwrap();
    wire.file.closed(wire.now, client, server).unwrap();
    let told = wire.judged(&[]);
    assert_eq!(told["messages"], json!({ "udp": 0, "tcp": 4, "judged": 2 }));
    assert_eq!(verdicts(&told), [(("forward".into(), "clean".into()), 2)].into());
    assert_eq!(told["users"]["authenticated"], 1);
}

#[test]
fn against_another_policy_only_differences_are_told() {
    let mut wire = Wire::new();
    wire.register(PHONE, "6001");
    for n in 0..3 {
        wire.request(SCANNER, "OPTIONS", &n.to_string(), "User-Agent: friendly-scanner\r\n");
    }
    let directory = tempfile::tempdir().unwrap();
    let observe = directory.path().join("observe.yaml");
    std::fs::write(&observe, "profile: balanced\nmode: observe\n").unwrap();
    let deny = directory.path().join("deny.yaml");
    let rule = "profile: balanced\nrules:\n  - { name: shut, when: { methods: [REGISTER] }, then: drop }\n";
    std::fs::write(&deny, rule).unwrap();
    let file = wire.file.finish().unwrap();
    let judged = |against: &std::path::Path| {
        let wire = Wire { file: written(&file), ..Wire::new() };
        wire.judged(&["--against", against.to_str().unwrap()])
    };
    let told = judged(&observe);
    let differences = told["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{told:#}");
    assert_eq!(
        (&differences[0]["messages"], &differences[0]["config"]["verdict"]),
        (&json!(3), &json!("drop"))
    );
    assert_eq!(told["users"]["touched"], 0);
    let told = judged(&deny);
    assert_eq!(told["users"]["touched"], 1, "{told:#}");
    assert_eq!(told["users"]["list"], json!([{ "user": "6001", "address": "198.51.100.7" }]));
    assert_eq!(judged(std::path::Path::new("balanced"))["differences"], json!([]));
}

/// A writer that has written all of that.
fn written(file: &[u8]) -> Writer<Vec<u8>> {
    let mut copy = Writer::new(Vec::new()).unwrap();
    let mut reader = capture::Reader::new(file).unwrap();
    let mut dissector = capture::Dissector::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        let at = packet.at;
        dissector.take(
            &packet,
            |_, _| true,
            |seen| {
                if let capture::Seen::Datagram { source, destination, bytes } = seen {
                    copy.datagram(at, source, destination, bytes).unwrap();
                }
            },
        );
    }
    copy
}

#[test]
fn the_table_is_for_people() {
    let mut wire = Wire::new();
    wire.register(PHONE, "6001");
    let output = wire.replayed(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "edge   203.0.113.1:5060 (guessed",
        "forward      clean",
        "Banned: nobody",
        "Authenticated users: 0 of 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(output.stderr.is_empty(), "no bar where nobody looks: {:?}", output.stderr);
}

#[test]
fn what_cannot_be_read_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcap");
    let run = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        let output =
            command.arg("replay").arg(&file).args(["--config", "balanced"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
    assert!(code == Some(4) && error.contains("no pcap or pcapng"), "{error}");
    let (code, error) = run(&Writer::new(Vec::new()).unwrap().finish().unwrap());
    assert!(code == Some(4) && error.contains("no SIP"), "{error}");
    let mut wire = Wire::new();
    wire.register(PHONE, "6001");
    let bytes = wire.file.finish().unwrap();
    let (code, error) = run(&bytes[..bytes.len() - 5]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "what came before it breaks off is told");
}

/// The last packet is not the end: whoever had time left to answer is judged when it is over.
#[test]
fn a_capture_that_ends_early_has_its_bans() {
    let mut wire = Wire::new();
    for _ in 0..3 {
        wire.abandoned(SCANNER, "00972595148236", "");
    }
    let report = wire.judged(&[]);
    let bans = report["bans"].as_array().unwrap();
    assert_eq!(bans.len(), 1, "{report:#}");
    assert_eq!(bans[0]["key"], "address 192.0.2.66", "{report:#}");
}
