//! `ringfence replay --stdio` as a test bench sees it: one line back for each line in.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const EDGE: &str = "203.0.113.1:5060";
const PBX: &str = "127.0.0.1:5070";
const PHONE: &str = "198.51.100.7:5062";

/// No file it names exists: in this mode none is opened.
const CONFIG: &str = "version: 1\n\
    listen:\n  - { transport: udp, address: \"203.0.113.1:5060\" }\n  \
    - { transport: tcp, address: \"203.0.113.1:5060\" }\n  \
    - { transport: tls, address: \"203.0.113.1:5061\", certificate: no.pem, key: no.key }\n\
    inside: { address: \"127.0.0.1:5080\", pbx: [\"127.0.0.1:5070\"] }\n\
    state_dir: /nonexistent/state\n";

/// The binary with pipes.
struct Bench {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn start(config: &str, words: &[&str]) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ringfence.yaml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["replay", "--stdio", "--config"])
            .arg(&file)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Bench { child, input, output, _directory: directory }
    }

    /// Sends a line and waits for its answer.
    fn say(&mut self, line: &Value) -> Value {
        self.write(&format!("{line}\n"));
        self.read()
    }

    fn write(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Ends the input; what still came, and the exit code.
    fn end(mut self) -> (Vec<String>, Option<i32>) {
        drop(self.input.take());
        let rest = self.output.lines().map(Result::unwrap).collect();
        (rest, self.child.wait().unwrap().code())
    }
}

fn datagram(now: f64, src: &str, message: &str) -> Value {
    json!({ "now": now, "ev": "dgram", "src": src, "b64": STANDARD.encode(message) })
}

/// What is sent: (to, transport, message).
fn sent(answer: &Value) -> Vec<(String, String, String)> {
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let out = answer["out"].as_array().unwrap_or_else(|| panic!("{answer}"));
    out.iter()
        .map(|one| {
            let bytes = STANDARD.decode(word(one, "b64")).unwrap();
            (word(one, "dst"), word(one, "transport"), String::from_utf8(bytes).unwrap())
        })
        .collect()
}

/// The one message that is sent, to `to`.
#[track_caller]
fn one(answer: &Value, to: &str, transport: &str) -> String {
    let mut sent = sent(answer);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let (dst, by, message) = sent.remove(0);
    assert_eq!((dst.as_str(), by.as_str()), (to, transport), "{message}");
    message
}

/// As long as a phone's: an unproven source gets no more bytes than it sends.
fn request(method: &str, transport: &str, n: u32, more: &str) -> String {
    format!(
        "{method} sip:{uri}203.0.113.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 192.168.1.5:5062;branch=z9hG4bK{n};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:6001@203.0.113.1>;tag=f1\r\nTo: <sip:6001@203.0.113.1>\r\n\
         Call-ID: one@192.168.1.5\r\nCSeq: {n} {method}\r\n\
         Contact: <sip:6001@192.168.1.5:5062>\r\nUser-Agent: Phone 1\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, UPDATE\r\n\
         Supported: replaces, outbound, gruu, path, timer, 100rel, norefersub\r\n{more}\
         Content-Length: 0\r\n\r\n",
        uri = if method == "REGISTER" { "" } else { "6002@" }
    )
}

/// A response as the PBX makes it: what must be the same is copied.
fn response(request: &str, status: &str, more: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:", "Record-Route:"];
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))) {
        let tag = if line.starts_with("To:") && !line.contains("tag=") { ";tag=pbx" } else { "" };
        text += &format!("{line}{tag}\r\n");
    }
    text + more + "Content-Length: 0\r\n\r\n"
}

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"asterisk\", nonce=\"1700000000/abc\", \
    algorithm=MD5, qop=\"auth\"\r\n";
const CREDENTIALS: &str = "Authorization: Digest username=\"6001\", realm=\"asterisk\", \
    nonce=\"1700000000/abc\", uri=\"sip:203.0.113.1\", response=\"0\", algorithm=MD5, \
    cnonce=\"1\", nc=00000001, qop=auth\r\n";

#[test]
fn a_phone_registers() {
    let mut bench = Bench::start(CONFIG, &["--decisions"]);
    let answer = bench.say(&datagram(10.0, PHONE, &request("REGISTER", "UDP", 1, "")));
    assert_eq!((&answer["close"], &answer["bans"]), (&json!([]), &json!([])));
    let decision = json!(
        [{ "src": PHONE, "reason": "clean", "verdict": "forward", "who": "unproven", "score": 0 }]
    );
    assert_eq!(answer["decisions"], decision);
    let forwarded = one(&answer, PBX, "UDP");
    assert!(forwarded.contains("Via: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK"), "{forwarded}");
    let timer = answer["next_timer"].as_f64().unwrap();
    assert!(timer > 10.0, "{answer}");

    let challenge = response(&forwarded, "401 Unauthorized", CHALLENGE);
    let answer = bench.say(&datagram(10.01, PBX, &challenge));
    let relayed = one(&answer, PHONE, "UDP");
    assert!(relayed.starts_with("SIP/2.0 401 ") && relayed.contains("nonce="), "{relayed}");

    let answer = bench.say(&datagram(10.02, PHONE, &request("REGISTER", "UDP", 2, CREDENTIALS)));
    let forwarded = one(&answer, PBX, "UDP");
    assert!(forwarded.contains("\r\nAuthorization: Digest"), "{forwarded}");
    let answer = bench.say(&datagram(10.03, PBX, &response(&forwarded, "200 OK", "")));
    assert!(one(&answer, PHONE, "UDP").starts_with("SIP/2.0 200 "));

    let (rest, code) = bench.end();
    assert_eq!((rest, code), (vec![], Some(0)));
}

#[test]
fn timers_fire_when_the_bench_comes_back() {
    let mut bench = Bench::start(CONFIG, &[]);
    // an INVITE that nobody answers repeats on Timer A: 0.5 s, then 1 s (RFC 3261 §17.1.1.2)
    let invite = request("INVITE", "UDP", 1, "");
    let answer = bench.say(&datagram(100.0, PHONE, &invite));
    let to_pbx = |answer: &Value| {
        let copies = sent(answer).into_iter().filter(|(_, _, text)| text.starts_with("INVITE "));
        copies.inspect(|(dst, _, _)| assert_eq!(dst, PBX)).count()
    };
    assert_eq!(to_pbx(&answer), 1, "{answer}");
    let due = answer["next_timer"].as_f64().unwrap();
    assert!((100.0..100.6).contains(&due), "{answer}");

    // the clock does not go back, and before its time nothing happens
    let early = bench.say(&json!({ "now": 99.0, "ev": "tick" }));
    assert_eq!((to_pbx(&early), early["next_timer"].as_f64()), (0, Some(due)));
    let mut copies = 0;
    let mut next = due;
    while next < 101.7 {
        let answer = bench.say(&json!({ "now": next, "ev": "tick" }));
        copies += to_pbx(&answer);
        let later = answer["next_timer"].as_f64().unwrap();
        assert!(later > next, "{answer}");
        next = later;
    }
    assert_eq!(copies, 2);

    // who comes late gets what was due meanwhile, each in its time: 3.5 s, 7.5 s, 15.5 s …
    let late = bench.say(&json!({ "now": 108.0, "ev": "tick" }));
    assert_eq!(to_pbx(&late), 2, "{late}");
    let end = bench.say(&json!({ "now": 1e9, "ev": "tick" }));
    let last = sent(&end).into_iter().find(|(dst, _, _)| dst == PHONE).unwrap();
    assert!(last.2.starts_with("SIP/2.0 "), "{last:?}");
}

#[test]
fn each_line_has_its_answer_and_errors_change_nothing() {
    let register = datagram(5.0, PHONE, &request("REGISTER", "UDP", 1, ""));
    let long = "x".repeat(200 << 10);
    let bad = [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "an object"),
        ("null", "an object"),
        (r#"{"ev":"tick"}"#, "now"),
        (r#"{"now":-1,"ev":"tick"}"#, "now"),
        (r#"{"now":"5","ev":"tick"}"#, "now"),
        (r#"{"now":900,"ev":"tock"}"#, "tock"),
        (r#"{"now":900,"ev":"dgram","b64":""}"#, "src"),
        (r#"{"now":900,"ev":"dgram","src":"phone","b64":""}"#, "address"),
        (r#"{"now":900,"ev":"dgram","src":"198.51.100.7:1"}"#, "b64"),
        (r#"{"now":900,"ev":"dgram","src":"198.51.100.7:1","b64":"?"}"#, "b64"),
        (
            r#"{"now":900,"ev":"dgram","src":"198.51.100.7:1","dst":"203.0.113.1:9","b64":""}"#,
            "dst",
        ),
        (&long, "longer than"),
    ];
    let mut text = String::new();
    for (line, _) in bad {
        text += &format!("{line}\n{{\"now\":4,\"ev\":\"tick\",\"note\":\"of the bench\"}}\n");
    }
    let mut bench = Bench::start(CONFIG, &[]);
    let mut input = bench.input.take().unwrap();
    // written beside the reading: neither pipe holds all of it
    let writer = std::thread::spawn(move || {
        input.write_all(text.as_bytes()).unwrap();
        input
    });
    for (line, error) in bad {
        let answer = bench.read();
        let told = answer["error"].as_str().unwrap_or_else(|| panic!("{line}: {answer}"));
        assert!(told.contains(error), "{line}: {told}");
        assert_eq!(answer.as_object().unwrap().len(), 1);
        assert_eq!(bench.read(), json!({ "out": [], "close": [], "bans": [], "next_timer": null }));
    }
    bench.input = Some(writer.join().unwrap());
    // its time has not passed: 900 was never
    let answer = bench.say(&register);
    assert!(answer["next_timer"].as_f64().unwrap() < 10.0, "{answer}");
    // the last line needs no end
    bench.write(r#"{"now":5,"ev":"tick"}"#);
    let (rest, code) = bench.end();
    assert_eq!((rest.len(), code), (1, Some(0)));
}

#[test]
fn streams_are_opened_cut_and_closed() {
    let mut bench = Bench::start(CONFIG, &[]);
    let open = |src: &str| json!({ "now": 1, "ev": "tcp_open", "src": src });
    let data = |src: &str, text: &str| json!({ "now": 2, "ev": "tcp_data", "src": src, "b64": STANDARD.encode(text) });
    let nothing =
        |answer: &Value| assert_eq!((sent(answer), &answer["close"]), (vec![], &json!([])));
    nothing(&bench.say(&open(PHONE)));
    let register = request("REGISTER", "TCP", 1, "");
    let (front, back) = register.split_at(99);
    nothing(&bench.say(&data(PHONE, front)));
    let forwarded = one(&bench.say(&data(PHONE, back)), PBX, "UDP");
    let challenge = response(&forwarded, "401 Unauthorized", CHALLENGE);
    let answer = bench.say(&datagram(2.1, PBX, &challenge));
    assert!(one(&answer, PHONE, "TCP").starts_with("SIP/2.0 401 "));

    // what cannot be framed is closed by the edge, once
    let other = "198.51.100.8:40000";
    nothing(&bench.say(&open(other)));
    let noise = "\u{1}noise\r\n\r\n".repeat(9);
    assert_eq!(bench.say(&data(other, &noise))["close"], json!([other]));
    nothing(&bench.say(&json!({ "now": 4, "ev": "tcp_close", "src": other })));
    // and bytes of no connection are answered as a kernel would
    assert_eq!(bench.say(&data(other, "OPTIONS"))["close"], json!([other]));

    // a port that is used again is another connection: half a message of the old one is gone
    nothing(&bench.say(&data(PHONE, front)));
    nothing(&bench.say(&open(PHONE)));
    let again = register.replace("z9hG4bK1", "z9hG4bK2").replace("one@", "two@");
    one(&bench.say(&data(PHONE, &again)), PBX, "UDP");

    // over TLS, what is inside it
    let mut tls = open("198.51.100.9:40000");
    tls["dst"] = json!("203.0.113.1:5061");
    nothing(&bench.say(&tls));
    let pong = bench.say(&data("198.51.100.9:40000", "\r\n\r\n"));
    assert_eq!(one(&pong, "198.51.100.9:40000", "TLS"), "\r\n");
}

#[test]
fn the_listener_may_be_named() {
    let mut bench = Bench::start(CONFIG, &["--decisions"]);
    // a stranger who forges the PBX's address, from outside
    let mut forged = datagram(1.0, PBX, &request("OPTIONS", "UDP", 1, ""));
    forged["dst"] = json!(EDGE);
    let outside = bench.say(&forged);
    assert_ne!(outside["decisions"][0]["reason"], "not_pbx", "{outside}");
    // and one who reached the inside socket without being the PBX
    let mut stray = datagram(1.0, PHONE, &request("OPTIONS", "UDP", 2, ""));
    stray["dst"] = json!("127.0.0.1:5080");
    let inside = bench.say(&stray);
    assert_eq!(
        inside["decisions"],
        json!([{ "src": PHONE, "verdict": "drop", "reason": "not_pbx" }])
    );

    let only_udp = "version: 1\nlisten: [{ transport: udp, address: \"0.0.0.0:5060\" }]\n\
        inside: { pbx: [\"127.0.0.1:5070\"] }\n";
    let mut bench = Bench::start(only_udp, &[]);
    let answer = bench.say(&json!({ "now": 1, "ev": "tcp_open", "src": PHONE }));
    assert!(answer["error"].as_str().unwrap().contains("no listener"), "{answer}");
    // behind a wildcard any address of ours will do
    let mut register = datagram(1.0, PHONE, &request("REGISTER", "UDP", 1, ""));
    register["dst"] = json!("192.0.2.1:5060");
    one(&bench.say(&register), PBX, "UDP");
}

#[test]
fn the_same_seed_and_lines_give_the_same_answers() {
    let run = |seed: &str| {
        let mut bench = Bench::start(CONFIG, &["--seed", seed]);
        let answer = bench.say(&datagram(1.0, PHONE, &request("REGISTER", "UDP", 1, "")));
        (one(&answer, PBX, "UDP"), bench.say(&json!({ "now": 2, "ev": "tick" })))
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7").0, run("8").0);
}

#[test]
fn a_bad_configuration_is_1_and_a_missing_word_is_2() {
    let (lines, code) = Bench::start("version: 1\n", &[]).end();
    assert_eq!((lines, code), (vec![], Some(1)));
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("replay").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("<FILE>"));
}

/// What a PBX says over its connection.
fn over_stream(now: f64, src: &str, message: &str) -> Value {
    json!({ "now": now, "ev": "tcp_data", "src": src, "b64": STANDARD.encode(message) })
}

#[test]
fn requests_go_where_the_groups_send_them() {
    const OFFICE: &str = "127.0.0.2:5070";
    let groups = "inside: { address: \"127.0.0.1:5080\", pbx: [\"127.0.0.1:5070\"], groups: [{ \
                  name: office, pbx: [{ name: office, address: \"127.0.0.2:5070\", transport: tcp }], \
                  for: { domains: [office.example] } }] }\n";
    let config: String =
        CONFIG.lines().filter(|it| !it.starts_with("inside")).map(|it| format!("{it}\n")).collect();
    let mut bench = Bench::start(&(config + groups), &[]);
    // a PBX to which a connection is kept is asked whether it serves; the bench is that PBX
    let asked = bench.say(&json!({ "now": 10.0, "ev": "tick" }));
    let asked = one(&asked, OFFICE, "TCP");
    assert!(asked.starts_with("OPTIONS ") && asked.contains(";tag=check"), "{asked}");
    let answer = bench.say(&over_stream(10.0, OFFICE, &response(&asked, "200 OK", "")));
    assert_eq!(sent(&answer), []);

    let office = request("INVITE", "UDP", 1, "").replace("6002@203.0.113.1", "6002@office.example");
    let call = bench.say(&datagram(10.1, PHONE, &office));
    let call = sent(&call).into_iter().find(|(to, ..)| to == OFFICE).unwrap();
    assert_eq!(call.1, "TCP");
    let refused = response(&call.2, "404 Not Found", "");
    let refused = bench.say(&over_stream(10.2, OFFICE, &refused));
    let refused = sent(&refused);
    assert!(refused.iter().any(|(to, _, text)| to == OFFICE && text.starts_with("ACK ")));
    assert!(refused.iter().any(|(to, _, text)| to == PHONE && text.starts_with("SIP/2.0 404 ")));
    let other = bench.say(&datagram(10.3, PHONE, &request("OPTIONS", "UDP", 2, "")));
    one(&other, PBX, "UDP");

    // it ends the connection, and may open one itself
    bench.say(&json!({ "now": 10.4, "ev": "tcp_close", "src": OFFICE }));
    let back = "127.0.0.2:40000";
    bench.say(&json!({ "now": 10.5, "ev": "tcp_open", "src": back, "dst": "127.0.0.1:5080" }));
    let options =
        request("OPTIONS", "TCP", 3, "").replace("sip:6002@203.0.113.1 ", "sip:127.0.0.1:5080 ");
    let answer = bench.say(&over_stream(10.6, back, &options));
    assert!(one(&answer, back, "TCP").starts_with("SIP/2.0 200 "));
    let stranger =
        json!({ "now": 10.7, "ev": "tcp_open", "src": "127.0.0.9:4000", "dst": "127.0.0.1:5080" });
    assert_eq!(bench.say(&stranger)["close"], json!(["127.0.0.9:4000"]));
}
