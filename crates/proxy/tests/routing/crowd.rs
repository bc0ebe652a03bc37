//! More connections than there is room for: who goes, and who stays.

use super::edge::{CARRIER, Edge, INSIDE, OUTSIDE, PBX, addr, answer, to};
use policy::{Listener, Network, Pbx, Policy};
use std::time::Duration;
use wire::{ConnectionId, ShardId, Transport};

const PHONE: &str = "192.0.2.9:4000";
const STRANGER: &str = "192.0.2.66:4000";

/// Room for three connections.
fn policy() -> Policy {
    let listener = Listener { transport: Transport::Tcp, address: addr(OUTSIDE), advertise: None };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
    policy.capacities.connections = 3;
    policy
}

fn edge() -> Edge {
    Edge::new(policy())
}

/// A connection comes; which had to go for it.
fn opens(edge: &mut Edge, number: u64, remote: &str) -> Vec<ConnectionId> {
    let gone = edge.opens(number, Transport::Tcp, remote);
    edge.now = edge.now + Duration::from_secs(1);
    gone
}

fn number(number: u64) -> ConnectionId {
    ConnectionId::new(ShardId(0), number)
}

fn request(method: &str, cseq: u32, remote: &str, more: &str) -> String {
    format!(
        "{method} sip:h SIP/2.0\nVia: SIP/2.0/TCP {remote};branch=z9hG4bK{cseq}{method}\n\
         Max-Forwards: 70\nFrom: <sip:6001@h>;tag=f\nTo: <sip:6001@h>\nCall-ID: c{remote}\n\
         CSeq: {cseq} {method}\n{more}Content-Length: 0\n\n"
    )
}

/// The phone registers over its connection.
fn registers(edge: &mut Edge, connection: ConnectionId, cseq: u32) {
    let contact = format!("Contact: <sip:6001@{PHONE};transport=tcp>;expires=600\n");
    let asked = edge.stream(connection, &request("REGISTER", cseq, PHONE, &contact));
    let nonce = "WWW-Authenticate: Digest realm=\"r\",nonce=\"n\"\n";
    edge.inside(PBX, &answer(&asked[0].text, "401 Unauthorized", nonce));
    let credentials =
        "Authorization: Digest username=\"6001\",realm=\"r\",nonce=\"n\",response=\"x\"\n";
    let more = format!("{contact}{credentials}");
    let tried = edge.stream(connection, &request("REGISTER", cseq + 1, PHONE, &more));
    let line = tried[0].text.lines().find(|line| line.starts_with("Contact:"));
    let bound = format!("{}\n", line.expect("a Contact"));
    edge.inside(PBX, &answer(&tried[0].text, "200 OK", &bound));
}

#[test]
fn a_phone_that_has_registered_loses_its_connection_to_nobody() {
    let mut edge = edge();
    assert_eq!(opens(&mut edge, 1, PHONE), []);
    assert!(!edge.engine.knows(addr(PHONE).ip()));
    for cseq in [1, 3] {
        registers(&mut edge, number(1), cseq);
    }
    assert_eq!(edge.registered, [number(1)], "it is said once");
    assert!(edge.engine.knows(addr(PHONE).ip()) && !edge.engine.knows(addr(STRANGER).ip()));
    for stranger in 2..20 {
        let gone = if stranger < 4 { vec![] } else { vec![number(stranger - 2)] };
        assert_eq!(opens(&mut edge, stranger, STRANGER), gone);
    }
}

#[test]
fn a_connection_on_which_the_pbx_calls_is_taken_from_nobody() {
    let mut edge = edge();
    assert_eq!(opens(&mut edge, 1, STRANGER), []);
    // a phone that the PBX knows without a password, and of which the edge knows nothing
    let contact = format!("Contact: <sip:6001@{STRANGER};transport=tcp>\n");
    let sent = edge.stream(number(1), &request("REGISTER", 1, STRANGER, &contact));
    let line = sent[0].text.lines().find(|line| line.starts_with("Contact:")).expect("a Contact");
    let uri = line.trim_start_matches("Contact: <").trim_end_matches('>').to_owned();
    edge.inside(PBX, &answer(&sent[0].text, "200 OK", &format!("{line};expires=600\n")));
    assert!(!edge.engine.knows(addr(STRANGER).ip()));
    let invite = request("INVITE", 1, PBX, "").replace("sip:h SIP", &format!("{uri} SIP"));
    let sent = edge.inside(PBX, &invite.replace("SIP/2.0/TCP", "SIP/2.0/UDP"));
    let ringing = sent.iter().find(|it| it.on == Some(number(1))).expect("it is called").clone();
    for (stranger, gone) in [(2, vec![]), (3, vec![]), (4, vec![number(2)]), (5, vec![number(3)])] {
        assert_eq!(opens(&mut edge, stranger, STRANGER), gone);
    }
    let sent = edge.stream(number(1), &answer(&ringing.text, "200 OK", ""));
    assert_eq!(to(&sent, PBX, "SIP/2.0 200").len(), 1, "{sent:?}");
}

#[test]
fn who_is_listed_is_known_before_he_has_said_a_word() {
    let network = Network::new(addr(CARRIER).ip(), 24);
    let mut policy = policy();
    policy.admission.trust.networks = vec![(network, "carrier".into())];
    let edge = Edge::new(policy);
    assert!(edge.engine.knows(addr(CARRIER).ip()) && !edge.engine.knows(addr(STRANGER).ip()));
}
