//! Which PBX gets what, and what happens when it fails.

use policy::{Listener, Network, Pbx, PbxGroup, Policy, Reach, Time, Trunk};
use proxy::{Engine, Input, Output};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

const OUTSIDE: &str = "203.0.113.1:5060";
const SECOND: &str = "203.0.113.2:5060";
const INSIDE: &str = "127.0.0.1:5080";
const A: &str = "127.0.0.2:5070";
const B: &str = "127.0.0.3:5070";
const PHONE: &str = "198.51.100.7:5060";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

/// Something that left: where to, over which transport, and what.
#[derive(Clone, Debug)]
struct Sent {
    to: SocketAddr,
    transport: Transport,
    text: String,
}

struct Edge {
    engine: Engine,
    now: Time,
    dialled: Vec<Flow>,
    closed: Vec<ConnectionId>,
}

fn policy() -> Policy {
    let listener =
        |address| Listener { transport: Transport::Udp, address: addr(address), advertise: None };
    // A is asked first
    let pbx = vec![
        Pbx { name: "a".into(), ..Pbx::new(addr(A)) },
        Pbx { name: "b".into(), priority: 1, ..Pbx::new(addr(B)) },
    ];
    let mut policy = Policy::new(vec![listener(OUTSIDE), listener(SECOND)], addr(INSIDE), pbx);
    policy.admission.mode = policy::Mode::Off;
    policy
}

impl Edge {
    fn new(policy: Policy) -> Self {
        let engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        Edge { engine, now, dialled: Vec::new(), closed: Vec::new() }
    }

    fn datagram(&mut self, side: Side, local: &str, remote: &str, text: &str) -> Vec<Sent> {
        let bytes = text.replace("\r\n", "\n").replace('\n', "\r\n");
        let (local, remote, bytes) = (addr(local), addr(remote), bytes.as_bytes());
        self.engine.handle_input(self.now, Input::Datagram { side, local, remote, bytes });
        self.sent()
    }

    fn phone(&mut self, text: &str) -> Vec<Sent> {
        self.datagram(Side::Outside, OUTSIDE, PHONE, text)
    }

    fn pbx(&mut self, from: &str, text: &str) -> Vec<Sent> {
        self.datagram(Side::Inside, INSIDE, from, text)
    }

    fn input(&mut self, input: Input<'_>) -> Vec<Sent> {
        self.engine.handle_input(self.now, input);
        self.sent()
    }

    /// Lets time pass; requests that are sent meanwhile, but the edge's own OPTIONS.
    fn pass(&mut self, length: Duration) -> Vec<Sent> {
        let until = self.now + length;
        let mut all = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(2);
            self.engine.handle_timeout(self.now);
            all.extend(self.sent());
        }
        self.now = self.now.max(until);
        all.retain(|sent| !sent.text.contains("tag=check"));
        all
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { remote, bytes, .. } => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    sent.push(Sent { to: remote, transport: Transport::Udp, text });
                }
                Output::Connect { flow, .. } => self.dialled.push(flow),
                Output::Close { connection, .. } => self.closed.push(connection),
                Output::Stream { connection, bytes } => {
                    let flow = self.dialled.iter().find(|it| it.connection == Some(connection));
                    let flow = flow.expect("a connection that the engine opened");
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    sent.push(Sent { to: flow.remote, transport: flow.transport, text });
                }
                _ => {}
            }
        }
        sent
    }
}

fn request(method: &str, uri: &str, call: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK{call}{method};rport\n\
         Max-Forwards: 70\nFrom: <sip:6001@pbx.example.com>;tag=f\nTo: <{uri}>\nCall-ID: {call}\n\
         CSeq: 1 {method}\nContact: <sip:6001@{PHONE}>\n{more}Content-Length: 0\n\n"
    )
}

fn invite(call: &str) -> String {
    request("INVITE", "sip:100@pbx.example.com", call, "")
}

/// A PBX's answer.
fn answer(request: &str, status: &str, more: &str) -> String {
    let line = |name: &str| {
        let lines = request.lines().filter(|line| line.starts_with(name));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let head = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"].map(line).concat();
    let to = line("To:").trim_end().to_owned();
    let tag = if to.contains("tag=") { "" } else { ";tag=t" };
    format!("SIP/2.0 {status}\n{head}{to}{tag}\n{more}Content-Length: 0\n\n")
}

/// The only request among what was sent.
fn only(sent: &[Sent]) -> &Sent {
    let requests: Vec<_> = sent
        .iter()
        .filter(|it| !it.text.starts_with("SIP/2.0") && !it.text.starts_with("ACK"))
        .collect();
    let [one] = &requests[..] else { panic!("{sent:?}") };
    one
}

fn up(edge: &Edge) -> Vec<bool> {
    edge.engine.pbx_states().map(|state| state.up).collect()
}

#[test]
fn one_that_refuses_is_left_at_the_first_repetition() {
    let mut edge = Edge::new(policy());
    let sent = edge.phone(&invite("c1").replace(
        "Content-Length",
        "Authorization: Digest username=\"6001\",realm=\"r\",nonce=\"n\",response=\"x\"\nContent-Length",
    ));
    let first = only(&sent).clone();
    assert_eq!(first.to, addr(A));
    edge.input(Input::Unreachable { side: Side::Inside, remote: addr(A) });
    let sent = edge.pass(Duration::from_millis(600));
    let second = only(&sent).clone();
    assert_eq!(second.to, addr(B));
    assert!(!second.text.contains("Authorization"), "it was for the other one: {}", second.text);
    assert_eq!(up(&edge), [false, true]);
    let challenge = "WWW-Authenticate: Digest realm=\"r\",nonce=\"m\"\n";
    let sent = edge.pbx(B, &answer(&second.text, "401 Unauthorized", challenge));
    let challenge = sent.iter().find(|it| it.to == addr(PHONE)).expect("relayed");
    assert!(challenge.text.contains("stale=true"), "{}", challenge.text);
    // what the first says now is too late
    let sent = edge.pbx(A, &answer(&first.text, "200 OK", ""));
    assert!(sent.is_empty(), "{sent:?}");
    // the next call does not try it
    assert_eq!(only(&edge.phone(&invite("c2"))).to, addr(B));
}

#[test]
fn one_that_is_silent_is_left_after_four_tries_if_it_has_not_said_100() {
    for trying in [false, true] {
        let mut edge = Edge::new(policy());
        let sent = edge.phone(&invite("c1"));
        let first = only(&sent).clone();
        if trying {
            edge.pbx(A, &answer(&first.text, "100 Trying", ""));
        }
        let sent = edge.pass(Duration::from_millis(3_600));
        let to_b = sent.iter().filter(|it| it.to == addr(B)).count();
        assert_eq!(to_b > 0, !trying, "{sent:?}");
    }
}

#[test]
fn a_503_goes_to_the_next_one_but_not_once_it_rings() {
    for rings in [false, true] {
        let mut edge = Edge::new(policy());
        let sent = edge.phone(&invite("c1"));
        let first = only(&sent).clone();
        edge.pbx(A, &answer(&first.text, "100 Trying", ""));
        if rings {
            edge.pbx(A, &answer(&first.text, "180 Ringing", ""));
        }
        let sent = edge.pbx(A, &answer(&first.text, "503 Service Unavailable", ""));
        assert!(sent.iter().any(|it| it.to == addr(A) && it.text.starts_with("ACK ")), "{sent:?}");
        let next = sent.iter().find(|it| it.to == addr(B));
        assert_eq!(next.is_some(), !rings, "{sent:?}");
        let told = sent.iter().any(|it| it.text.starts_with("SIP/2.0 503"));
        assert_eq!(told, rings, "{sent:?}");
        // where all are so the phone hears of it
        if let Some(next) = next {
            let sent = edge.pbx(B, &answer(&next.text, "503 Service Unavailable", ""));
            assert!(sent.iter().any(|it| it.text.starts_with("SIP/2.0 503")), "{sent:?}");
        }
    }
}

#[test]
fn a_dialog_stays_where_it_began() {
    let mut edge = Edge::new(policy());
    let sent = edge.phone(&invite("c1"));
    let first = only(&sent).clone();
    edge.input(Input::Unreachable { side: Side::Inside, remote: addr(A) });
    let second = only(&edge.pass(Duration::from_millis(600))).clone();
    let ok = answer(&second.text, "200 OK", &format!("Contact: <sip:{B}>\n"));
    let sent = edge.pbx(B, &ok);
    let ok = &sent.iter().find(|it| it.to == addr(PHONE)).expect("relayed").text;
    let route = route_of(ok);
    // A answers OPTIONS again, and would be asked first
    for _ in 0..20 {
        let checks = {
            let until = edge.now + Duration::from_secs(1);
            let mut all = Vec::new();
            while let Some(at) = edge.engine.poll_timeout().filter(|at| *at <= until) {
                edge.now = edge.now.max(at) + Duration::from_millis(2);
                edge.engine.handle_timeout(edge.now);
                all.extend(edge.sent());
            }
            edge.now = until;
            all
        };
        for check in checks.iter().filter(|it| it.text.contains("tag=check")) {
            let from = check.to.to_string();
            edge.pbx(&from, &answer(&check.text, "200 OK", ""));
        }
    }
    assert_eq!(up(&edge), [true, true]);
    let bye = request("BYE", &format!("sip:{B}"), "c1", &route)
        .replace(&format!("To: <sip:{B}>"), "To: <sip:100@pbx.example.com>;tag=t")
        .replace("CSeq: 1", "CSeq: 2");
    assert_eq!(only(&edge.phone(&bye)).to, addr(B));
    // one at another place with our route, but none of its own Contact's, too
    let bye = bye.replace(&format!("BYE sip:{B}"), "BYE sip:100@pbx.example.com");
    let bye = bye.replace("z9hG4bK", "z9hG4bKx");
    assert_eq!(only(&edge.phone(&bye)).to, addr(B));
    assert_eq!(first.to, addr(A));
    assert_eq!(only(&edge.phone(&invite("c9"))).to, addr(A));
}

#[test]
fn options_that_nobody_answers_take_a_pbx_down() {
    let mut edge = Edge::new(policy());
    edge.pass(Duration::from_secs(9));
    assert_eq!(up(&edge), [false, false]);
    // all are down: one a second is let through, to see
    assert_eq!(only(&edge.phone(&invite("c1"))).to, addr(A));
    let sent = edge.phone(&invite("c2"));
    assert!(sent.iter().any(|it| it.text.starts_with("SIP/2.0 503")), "{sent:?}");
}

#[test]
fn over_tcp_a_lost_connection_is_opened_once_more_and_then_the_next_one_asked() {
    let mut policy = policy();
    policy.pbx[0].transport = Transport::Tcp;
    let mut edge = Edge::new(policy);
    let register = request("REGISTER", "sip:pbx.example.com", "r", "Expires: 60\n")
        .replace("To: <sip:pbx.example.com>", "To: <sip:6001@pbx.example.com>");
    let sent = edge.phone(&register);
    let first = only(&sent).clone();
    assert_eq!((first.to, first.transport), (addr(A), Transport::Tcp));
    assert!(first.text.starts_with("REGISTER "), "{}", first.text);
    assert!(first.text.contains(&format!("Via: SIP/2.0/TCP {INSIDE};branch=")), "{}", first.text);
    assert!(first.text.contains(&format!("@{INSIDE};transport=tcp>")), "{}", first.text);
    let lost = edge.dialled[0];
    assert_eq!((lost.local, lost.remote), (addr(INSIDE), addr(A)));
    assert!(lost.connection.is_some_and(ConnectionId::is_opened));
    let sent = edge.input(Input::Closed { connection: lost.connection.expect("opened") });
    assert_eq!(only(&sent).text, first.text, "to whom had it, a repetition");
    let again = *edge.dialled.last().expect("opened once more");
    assert_ne!(again.connection, lost.connection);
    let sent = edge.input(Input::Closed { connection: again.connection.expect("opened") });
    let second = only(&sent).clone();
    assert_eq!((second.to, second.transport), (addr(B), Transport::Udp));
    assert!(second.text.contains(&format!("Via: SIP/2.0/UDP {INSIDE};branch=")), "{}", second.text);
    assert!(!second.text.contains("transport=tcp"), "{}", second.text);
    let sent = edge.pbx(B, &answer(&second.text, "403 Forbidden", ""));
    assert!(sent.iter().any(|it| it.to == addr(PHONE) && it.text.starts_with("SIP/2.0 403")));
}

#[test]
fn what_a_stream_brings_is_the_pbxs() {
    let mut policy = policy();
    policy.pbx[0].transport = Transport::Tcp;
    let mut edge = Edge::new(policy);
    let sent = edge.phone(&request("OPTIONS", "sip:100@pbx.example.com", "o", ""));
    let first = only(&sent).clone();
    let connection = edge.dialled[0].connection.expect("opened");
    let ok = answer(&first.text, "200 OK", "").replace('\n', "\r\n");
    let (head, tail) = ok.as_bytes().split_at(40);
    assert!(edge.input(Input::Stream { connection, bytes: head }).is_empty());
    let sent = edge.input(Input::Stream { connection, bytes: tail });
    assert!(sent.iter().any(|it| it.to == addr(PHONE) && it.text.starts_with("SIP/2.0 200")));
    // a stranger at the inside port is shown the door
    let stranger = Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId::new(ShardId(0), 5)),
        ..Flow::udp(addr(INSIDE), addr("127.0.0.9:4000"))
    };
    edge.engine.handle_input(edge.now, Input::Opened { flow: stranger });
    let mut closed = false;
    while let Some(output) = edge.engine.poll_output() {
        closed |= matches!(output, Output::Close { .. });
    }
    assert!(closed);
}

#[test]
fn rules_name_the_group_and_the_first_that_does_wins() {
    let mut policy = policy();
    let carrier = "192.0.2.10:5060";
    let group = |name: &str, reach| PbxGroup { name: name.into(), reach: Some(reach) };
    policy.trunks = vec![Trunk::new("carrier", Vec::new())];
    policy.admission.trust.networks = vec![(Network::host(addr(carrier).ip()), "carrier".into())];
    let dids = policy::NumberSet { patterns: vec!["4940123xx".into()] };
    policy.groups = vec![
        group("dids", Reach { dids, ..Reach::default() }),
        group("domain", Reach { domains: vec!["b.example.com".into()], ..Reach::default() }),
        group(
            "listener",
            Reach { listeners: vec![(Transport::Udp, addr(SECOND))], ..Reach::default() },
        ),
        group("trunk", Reach { trunks: vec!["carrier".into()], ..Reach::default() }),
    ];
    let at = |group: usize| SocketAddr::new([127, 0, 1, group as u8].into(), 5070);
    policy.pbx = (0..4).map(|group| Pbx { group, ..Pbx::new(at(group)) }).collect();
    let asked = [
        (OUTSIDE, PHONE, "sip:+494012345@x.example.com", Some(0)),
        (OUTSIDE, PHONE, "sip:100@B.example.com", Some(1)),
        (SECOND, PHONE, "sip:100@x.example.com", Some(2)),
        (SECOND, PHONE, "sip:494012345@b.example.com", Some(0)),
        (OUTSIDE, carrier, "sip:100@x.example.com", Some(3)),
        (OUTSIDE, PHONE, "sip:100@x.example.com", None),
    ];
    let mut edge = Edge::new(policy.clone());
    for (number, (local, remote, uri, group)) in asked.iter().enumerate() {
        let text = request("OPTIONS", uri, &format!("c{number}"), "");
        let sent = edge.datagram(Side::Outside, local, remote, &text);
        match group {
            Some(group) => assert_eq!(only(&sent).to, at(*group), "{uri}"),
            None => assert!(sent[0].text.starts_with("SIP/2.0 404 "), "{sent:?}"),
        }
    }
    // with a group for all the rest
    policy.groups.push(PbxGroup { name: "rest".into(), reach: None });
    policy.pbx.push(Pbx { group: 4, ..Pbx::new(at(4)) });
    edge.engine.handle_input(edge.now, Input::Configure(Arc::new(policy)));
    let sent = edge.phone(&request("OPTIONS", "sip:100@x.example.com", "rest", ""));
    assert_eq!(only(&sent).to, at(4));
}

/// The same policy, but its first PBX is reached so.
fn reached(transport: Transport, address: &str) -> Arc<Policy> {
    let mut policy = policy();
    (policy.pbx[0].transport, policy.pbx[0].address) = (transport, addr(address));
    Arc::new(policy)
}

#[test]
fn a_reload_changes_the_way_to_a_pbx_and_nothing_is_lost() {
    const TLS: &str = "127.0.0.2:5071";
    let mut edge = Edge::new(policy());
    let invite = only(&edge.phone(&invite("c1"))).clone();
    let ok = answer(&invite.text, "200 OK", &format!("Contact: <sip:{A}>\n"));
    let ok = edge.pbx(A, &ok).into_iter().find(|it| it.to == addr(PHONE)).expect("relayed");
    let pending = only(&edge.phone(&request("OPTIONS", "sip:1@pbx.example.com", "o", ""))).clone();

    // to TCP: what is new goes there, also inside the dialog that began over UDP
    edge.input(Input::Configure(reached(Transport::Tcp, A)));
    let bye = bye_of(&ok.text);
    let sent = only(&edge.phone(&bye)).clone();
    assert_eq!((sent.to, sent.transport), (addr(A), Transport::Tcp));
    let answered = edge.pbx(A, &answer(&pending.text, "200 OK", ""));
    assert!(answered.iter().any(|it| it.to == addr(PHONE) && it.text.starts_with("SIP/2.0 200")));

    // to TLS at another port: what it says where it was is still its own
    edge.input(Input::Configure(reached(Transport::Tls, TLS)));
    let sent = only(&edge.phone(&self::invite("c2"))).clone();
    assert_eq!((sent.to, sent.transport), (addr(TLS), Transport::Tls));
    let asked = request("OPTIONS", &format!("sip:{INSIDE}"), "p", "").replace(PHONE, A);
    let heard = |edge: &mut Edge, call: &str| {
        let sent = edge.pbx(A, &asked.replace("z9hG4bKp", &format!("z9hG4bK{call}")));
        sent.iter().any(|it| it.text.starts_with("SIP/2.0 200"))
    };
    assert!(heard(&mut edge, "p1"));
    let back = |edge: &mut Edge| {
        let flow = Flow {
            transport: Transport::Tcp,
            connection: Some(ConnectionId::new(ShardId(0), 5)),
            ..Flow::udp(addr(INSIDE), addr("127.0.0.2:40000"))
        };
        edge.input(Input::Opened { flow });
        let open = edge.closed.is_empty();
        edge.closed.clear();
        open
    };
    assert!(back(&mut edge), "phones' bindings there name TCP");

    // the connection that nobody uses any more ends, and so does the old place
    let tcp = edge.dialled[0].connection.expect("opened");
    edge.pass(Duration::from_secs(3_600));
    assert_eq!(edge.closed, []);
    edge.pass(Duration::from_secs(200));
    assert_eq!(edge.closed, [tcp]);
    assert!(!heard(&mut edge, "p2"));
}

/// The Route of a phone that had this answer (RFC 3261 §12.1.2).
fn route_of(ok: &str) -> String {
    ok.lines()
        .filter_map(|line| line.strip_prefix("Record-Route: "))
        .rev()
        .map(|value| format!("Route: {value}\n"))
        .collect()
}

/// The BYE of a phone that had this answer.
fn bye_of(ok: &str) -> String {
    let route = route_of(ok);
    let target = format!("sip:{A}");
    request("BYE", &target, "c1", &route)
        .replace(&format!("To: <{target}>"), "To: <sip:100@pbx.example.com>;tag=t")
        .replace("CSeq: 1", "CSeq: 2")
}
