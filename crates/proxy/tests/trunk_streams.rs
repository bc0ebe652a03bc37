//! Trunks over TCP and TLS: connections that the edge opens, and what becomes of calls when they end.

use policy::{Listener, Network, Pbx, Policy, Time, Trunk};
use proxy::{Engine, Input, Learned, Output, Target};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, ShardId, Side, Transport};

const OUTSIDE: &str = "203.0.113.1:5061";
const INSIDE: &str = "127.0.0.1:5080";
const PBX: &str = "127.0.0.1:5070";
const FIRST: &str = "198.51.100.7:5061";
const SECOND: &str = "198.51.100.8:5061";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

/// What the engine wants.
#[derive(Debug, PartialEq)]
enum Sent {
    Connect { to: SocketAddr, name: String, connection: ConnectionId },
    On(ConnectionId, String),
    Pbx(String),
}

struct Edge {
    engine: Engine,
    now: Time,
}

impl Edge {
    fn new() -> Self {
        let listener =
            Listener { transport: Transport::Tls, address: addr(OUTSIDE), advertise: None };
        let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
        let host = "_sips._tcp.carrier.example";
        policy.trunks = vec![Trunk::new("carrier", vec![host.into(), "carrier.example".into()])];
        let network = Network::new(addr(FIRST).ip(), 24);
        policy.admission.trust.networks = vec![(network, "carrier".into())];
        let engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
        let mut edge = Edge { engine, now: Time::ZERO + Duration::from_secs(1_700_000_000) };
        let target = |remote: &str| Target {
            transport: Transport::Tls,
            local: addr(OUTSIDE),
            remote: addr(remote),
            rank: policy::Rank::default(),
        };
        let targets = [target(FIRST), target(SECOND)].into();
        let learned = Learned::Targets { host: "carrier.example".into(), targets };
        edge.engine.handle_input(edge.now, Input::Learned(learned));
        edge
    }

    fn give(&mut self, input: Input<'_>) -> Vec<Sent> {
        self.engine.handle_input(self.now, input);
        self.sent()
    }

    fn pbx_says(&mut self, text: &str) -> Vec<Sent> {
        let bytes = text.replace('\n', "\r\n");
        let (side, local, remote) = (Side::Inside, addr(INSIDE), addr(PBX));
        self.give(Input::Datagram { side, local, remote, bytes: bytes.as_bytes() })
    }

    fn carrier_says(&mut self, connection: ConnectionId, text: &str) -> Vec<Sent> {
        let bytes = text.replace('\n', "\r\n");
        self.give(Input::Stream { connection, bytes: bytes.as_bytes() })
    }

    fn pass(&mut self, length: Duration) -> Vec<Sent> {
        let until = self.now + length;
        let mut all = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(2);
            self.engine.handle_timeout(self.now);
            all.extend(self.sent());
        }
        self.now = self.now.max(until);
        all
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match output {
                Output::Connect { side: Side::Outside, flow, name } => sent.push(Sent::Connect {
                    to: flow.remote,
                    name: name.to_owned(),
                    connection: flow.connection.expect("a number"),
                }),
                Output::Stream { connection, bytes } => {
                    sent.push(Sent::On(connection, text(bytes)));
                }
                Output::Datagram { bytes, .. } => sent.push(Sent::Pbx(text(bytes))),
                _ => {}
            }
        }
        sent
    }
}

fn request(method: &str, call: u32, more: &str) -> String {
    let uri = "sip:+4940@carrier.example";
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bK{call}{method};rport\n\
         Max-Forwards: 70\nFrom: <sip:acct@carrier.example>;tag=f\nTo: <{uri}>\n\
         Call-ID: c{call}\nCSeq: 1 {method}\n{more}Content-Length: 0\n\n"
    )
}

fn answer(request: &str, status: &str) -> String {
    let line = |name: &str| {
        let lines = request.lines().filter(|line| line.starts_with(name));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let head = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:", "Contact:"].map(line);
    let to = line("To:").trim_end().to_owned();
    format!("SIP/2.0 {status}\n{}{to};tag=t\nContent-Length: 0\n\n", head.concat())
}

/// The connection that is opened, and what goes out on it.
fn opened(sent: &[Sent], to: &str) -> (ConnectionId, String) {
    let [Sent::Connect { to: at, name, connection }, Sent::On(on, text)] = sent else {
        panic!("{sent:?}")
    };
    assert_eq!((*at, &**name), (addr(to), "carrier.example"), "whom its certificate must name");
    assert_eq!(on, connection);
    (*connection, text.clone())
}

#[test]
fn a_connection_is_opened_once_and_serves_all() {
    let mut edge = Edge::new();
    let contact = "Contact: <sip:acct@127.0.0.1:5070;line=x>\n";
    let sent = edge.pbx_says(&request("REGISTER", 1, contact));
    let (connection, text) = opened(&sent, FIRST);
    assert!(text.contains(&format!("Via: SIP/2.0/TLS {OUTSIDE};branch=")), "{text}");
    assert!(text.contains(";alias\r\n"), "{text}");
    let ours = format!("Contact: <sip:acct@{OUTSIDE};transport=tls;line=x>\r\n");
    assert!(text.contains(&ours), "{text}");
    let sent = edge.carrier_says(connection, &answer(&text, "200 OK"));
    let [Sent::Pbx(text)] = &sent[..] else { panic!("{sent:?}") };
    assert!(text.contains(&contact.replace('\n', "\r\n")), "the PBX finds its own: {text}");
    // a call goes over the same, and the carrier's own, too
    let sent = edge.pbx_says(&request("INVITE", 2, ""));
    assert!(matches!(&sent[..], [Sent::On(on, _)] if *on == connection), "{sent:?}");
    let call = request("INVITE", 3, "").replace("SIP/2.0/UDP 127.0.0.1:5070", "SIP/2.0/TLS x");
    let sent = edge.carrier_says(connection, &call);
    let [Sent::Pbx(text)] = &sent[..] else { panic!("{sent:?}") };
    assert!(text.contains("X-Ringfence-Trunk: carrier\r\n"), "{text}");
}

#[test]
fn a_target_that_cannot_be_reached_is_passed_over_at_once() {
    let mut edge = Edge::new();
    let sent = edge.pbx_says(&request("INVITE", 1, ""));
    let (first, _) = opened(&sent, FIRST);
    let sent = edge.give(Input::Closed { connection: first });
    let (again, _) = opened(&sent, FIRST);
    assert_ne!(first, again, "it may only have been closed in between");
    let sent = edge.give(Input::Closed { connection: again });
    let (second, text) = opened(&sent, SECOND);
    let sent = edge.carrier_says(second, &answer(&text, "200 OK"));
    assert!(matches!(&sent[..], [Sent::Pbx(text)] if text.starts_with("SIP/2.0 200")), "{sent:?}");
    let targets: Vec<_> = edge.engine.trunk_states().map(|trunk| trunk.targets).collect();
    assert_eq!(targets, [[1, 1]]);
    // it is asked over a connection of its own, and lives
    let sent = edge.pass(Duration::from_secs(11));
    let (asked, text) = opened(&sent[..2], FIRST);
    assert!(text.starts_with("OPTIONS ") && text.contains("Via: SIP/2.0/TLS "), "{text}");
    edge.carrier_says(asked, &answer(&text, "200 OK"));
    let targets: Vec<_> = edge.engine.trunk_states().map(|trunk| trunk.targets).collect();
    assert_eq!(targets, [[2, 0]]);
}

#[test]
fn a_dialog_goes_on_over_another_connection() {
    let mut edge = Edge::new();
    let sent = edge.pbx_says(&request("INVITE", 1, "Contact: <sip:a@127.0.0.1:5070>\n"));
    let (first, text) = opened(&sent, FIRST);
    let sent = edge.carrier_says(first, &answer(&text, "200 OK"));
    let [Sent::Pbx(accepted)] = &sent[..] else { panic!("{sent:?}") };
    edge.give(Input::Closed { connection: first });
    let mut routes = accepted.lines().filter_map(|line| line.strip_prefix("Record-Route: "));
    let route = format!("Route: {}\n", routes.next_back().unwrap_or_default());
    let bye =
        request("BYE", 1, &route).replace("carrier.example>\nCall", "carrier.example>;tag=t\nCall");
    let sent = edge.pbx_says(&bye);
    let (second, text) = opened(&sent, FIRST);
    assert_ne!(first, second);
    assert!(text.starts_with("BYE "), "{text}");
}

#[test]
fn a_connection_that_rests_says_that_it_lives() {
    let mut edge = Edge::new();
    let sent = edge.pbx_says(&request("OPTIONS", 1, ""));
    let (connection, text) = opened(&sent, FIRST);
    edge.carrier_says(connection, &answer(&text, "200 OK"));
    let sent = edge.pass(Duration::from_secs(3_600 * 3));
    let ping = Sent::On(connection, "\r\n\r\n".into());
    assert!(sent.len() >= 170 && sent.iter().all(|it| *it == ping), "{} {:?}", sent.len(), sent[0]);
}
