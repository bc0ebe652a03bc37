//! Alerts from what happens to a server that is told of it.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests takes what it needs of it
mod common;

use common::{Edge, Socket, request};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where nobody listens: the kernel gives such a port to nobody by itself.
const NOBODY: &str = "127.0.0.1:9";

/// A server that takes whatever is posted.
struct Hook {
    address: SocketAddr,
    bodies: Receiver<Value>,
}

impl Hook {
    fn start() -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, bodies) = sync_channel(64);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                reader.get_mut().write_all(answer).unwrap();
                let _ = tell.send(serde_json::from_slice(&body).unwrap());
            }
        });
        Hook { address, bodies }
    }

    /// The next alert of that kind and end, past others.
    fn await_alert(&self, kind: &str, ended: bool) -> Value {
        loop {
            let body = self.bodies.recv_timeout(PATIENCE).expect(kind);
            let alerts = body["alerts"].as_array().unwrap();
            let found = alerts.iter().find(|it| it["alert"] == kind && it["ended"] == ended);
            if let Some(found) = found {
                return found.clone();
            }
        }
    }
}

/// A certificate that ends in three days, and its key.
fn certificate(directory: &tempfile::TempDir) -> (String, String) {
    #[allow(clippy::disallowed_methods)] // the edge looks at the clock, too
    let now = std::time::SystemTime::now();
    let mut wanted = rcgen::CertificateParams::new(vec!["pbx.example.com".to_owned()]).unwrap();
    wanted.not_after = (now + Duration::from_secs(3 * 86_400 + 3_600)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pem = wanted.self_signed(&key).unwrap().pem();
    (write("cert.pem", pem), write("key.pem", key.serialize_pem()))
}

/// A stranger who has proven himself asks for what never existed: `bob`.
fn ask_for_bob(edge: &Edge) {
    let stranger = Ipv4Addr::new(127, 0, 0, 9);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((stranger, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from((edge.ip, 5060)).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let from = stream.local_addr().unwrap();
    stream.write_all(request("REGISTER", from, "honey", "TCP").as_bytes()).unwrap();
    edge.await_metric("ringfence_alerts_total{alert=\"honeytoken\"} 1");
}

/// Waits until an alert of that kind has its line in the audit file, which another thread writes.
fn await_audited(edge: &Edge, kind: &str) {
    let is_of = |line: &str| {
        let line: Option<Value> = serde_json::from_str(line).ok();
        line.is_some_and(|line| line["event"] == "alert" && line["alert"] == kind)
    };
    let file = edge.file().with_file_name("audit.log");
    for _ in 0..1_000 {
        if std::fs::read_to_string(&file).unwrap().lines().any(is_of) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{kind}: {}", std::fs::read_to_string(file).unwrap());
}

#[test]
fn what_happens_is_told_and_a_dead_target_is_in_nobodys_way() {
    let hook = Hook::start();
    let dead = NOBODY;
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(&directory);
    let secret = directory.path().join("hook.key");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let extra = format!(
        "audit: {{ file: audit.log }}\n\
         policy: {{ honeytokens: [bob] }}\n\
         alerts:\n  node: edge-1\n  gather: 200ms\n  per_hour: 3600\n  targets:\n    \
         - {{ name: hook, url: \"http://{}/\" }}\n    \
         - {{ name: dead, url: \"http://{dead}/{{key}}\", key_file: {} }}",
        hook.address,
        secret.display()
    );
    let listen = format!(
        "  - {{ transport: tls, address: \"{{ip}}:5061\", certificate: {certificate}, key: {key} }}"
    );
    let mut edge = Edge::start_with(&listen, &extra, &[]);
    let told = hook.await_alert("certificate", false);
    assert!(told["what"].as_str().unwrap().contains("ends in 3 days"), "{told}");

    ask_for_bob(&edge);
    let told = hook.await_alert("honeytoken", false);
    assert_eq!((&told["subject"], &told["severity"]), (&"127.0.0.9".into(), &"ticket".into()));

    // the PBX goes, which the kernel says, and comes back
    let gone = edge.pbx.address();
    let phone = Socket::bind(Ipv4Addr::new(127, 0, 0, 10), 0);
    edge.pbx = Socket::bind(edge.ip, 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "gone", "UDP"));
    let told = hook.await_alert("pbx_down", false);
    assert_eq!(told["subject"], gone.to_string());
    assert!(told["advice"].as_str().unwrap().contains("ringfence doctor"), "{told}");
    let pbx = Socket::bind(edge.ip, gone.port());
    for branch in ["back-1", "back-2", "back-3"] {
        phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), branch, "UDP"));
        let (text, from) = pbx.receive();
        pbx.send(from, &common::answer(&text, "200 OK"));
    }
    hook.await_alert("pbx_down", true);

    for kind in ["certificate", "honeytoken", "pbx_down"] {
        await_audited(&edge, kind);
    }
    edge.await_metric("ringfence_alert_up{target=\"hook\"} 1");
    edge.await_metric("ringfence_alert_up{target=\"dead\"} 0");
    edge.await_metric("ringfence_alerts_total{alert=\"honeytoken\"} 1");
    let (_, targets) = edge.ask("GET", "/api/v1/alerts", "");
    assert_eq!((&targets[1]["name"], &targets[1]["up"]), (&"dead".into(), &false.into()));
    let (_, said, _) = edge.command(&["status"]);
    assert!(
        said.contains("alerts    ") && said.contains(&format!("http://{dead}/{{key}}")),
        "{said}"
    );
    let (_, said, _) = edge.command(&["check", "--print-effective"]);
    assert!(said.contains("key_file") && !said.contains("s3cret"), "{said}");
    assert!(!edge.log().contains("s3cret") && !targets.to_string().contains("s3cret"));
}

#[test]
fn what_gathers_when_the_edge_stops_is_told_and_a_silent_target_does_not_hold_it() {
    let hook = Hook::start();
    // it takes connections and says nothing
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut edge = Edge::start(&format!(
        "policy: {{ honeytokens: [bob] }}\nalerts:\n  gather: 5m\n  targets:\n    \
         - {{ name: hook, url: \"http://{}/\" }}\n    \
         - {{ name: silent, url: \"http://{}/\", timeout: 60s }}",
        hook.address,
        silent.local_addr().unwrap()
    ));
    ask_for_bob(&edge);
    edge.signal(libc::SIGTERM);
    assert!(edge.wait().success(), "{}", edge.log());
    hook.await_alert("honeytoken", false);
    let log = edge.log();
    assert!(
        log.contains("Alerts were not taken before the end") && log.contains("untold"),
        "{log}"
    );
}

#[test]
fn a_test_says_what_each_target_answers() {
    let hook = Hook::start();
    let dead = NOBODY;
    let targets = |dead: &str| {
        format!(
            "alerts:\n  targets:\n    - {{ name: hook, url: \"http://{}/\" }}\n{dead}",
            hook.address
        )
    };
    let edge = Edge::start("");
    let (code, said, _) = edge.command(&["alerts", "list"]);
    assert_eq!((code, said.as_str()), (0, "nobody is told of alerts: docs/alerts.md\n"));
    let (code, _, said) = edge.command(&["alerts", "test"]);
    assert!(code == 1 && said.contains("nobody is told"), "{said}");

    edge.configure(&targets(&format!("    - {{ name: dead, url: \"http://{dead}/\" }}")));
    edge.reload();
    edge.await_metric("ringfence_alert_up{target=\"dead\"} 1");
    let (code, said, _) = edge.command(&["alerts", "test"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!("hook (http://{}/) took it: it answers with 200\n", hook.address)),
        "{said}"
    );
    assert!(said.contains(&format!("dead (http://{dead}/) did NOT take it: ")), "{said}");
    hook.await_alert("test", false);
    let (code, said, _) = edge.command(&["alerts", "test", "hook", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said[0]["ok"]), (0, &true.into()));
    let (code, _, said) = edge.command(&["alerts", "test", "other"]);
    assert!(code == 1 && said.contains("no target is called other"), "{said}");
    let (code, said, _) = edge.command(&["alerts", "list"]);
    assert!(
        code == 0 && said.contains("hook (") && said.contains("0 messages, 0 alerts wait"),
        "{said}"
    );
}
