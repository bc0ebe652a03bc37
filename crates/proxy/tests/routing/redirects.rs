//! The PBX knows phones by our tokens; whom it sends on to one of them hears the phone's own Contact.

use super::edge::{Edge, INSIDE, OUTSIDE, PBX, addr, answer, to};
use policy::{Listener, Pbx, Policy};
use wire::Transport;

const ALICE: &str = "198.51.100.7:5060";
const BOB: &str = "198.51.100.8:5060";
/// What Bob's phone calls itself.
const BOBS: &str = "sip:bob@192.168.1.5:5060;ob";

fn edge() -> Edge {
    let address = addr(OUTSIDE);
    let listener = Listener { transport: Transport::Udp, address, advertise: None };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
    policy.admission.mode = policy::Mode::Off;
    Edge::new(policy)
}

fn request(method: &str, uri: &str, via: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{method};rport\nMax-Forwards: 70\n\
         From: <sip:1@pbx>;tag=f\nTo: <sip:2@pbx>\nCall-ID: {method}{via}\nCSeq: 1 {method}\n{more}\
         Content-Length: 0\n\n"
    )
}

fn value<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim()
}

/// Registers a phone: the Contact that the PBX is told.
fn register(edge: &mut Edge, at: &str, contact: &str) -> String {
    let more = format!("Authorization: Digest nonce=\"n\"\nContact: <{contact}>\nExpires: 60\n");
    let sent = edge.outside(at, &request("REGISTER", "sip:pbx", at, &more));
    let register = to(&sent, PBX, "REGISTER")[0].to_owned();
    let token = value(&register, "Contact:").to_owned();
    let listed = answer(&register, "200 OK", &format!("Contact: {token};expires=60\n"));
    let sent = edge.inside(PBX, &listed);
    let own = format!("<{contact}>;expires=60");
    assert_eq!(value(to(&sent, at, "SIP/2.0 200")[0], "Contact:"), own);
    token
}

#[test]
fn to_a_phone_and_elsewhere() {
    let mut edge = edge();
    let bob = register(&mut edge, BOB, BOBS);
    // long enough to pay for an answer to whoever it is
    let more = format!("Contact: <sip:a@b>\nSubject: {}\n", "x".repeat(300));
    let sent = edge.outside(ALICE, &request("INVITE", "sip:2@pbx", ALICE, &more));
    let contacts = format!("Contact: {bob};q=0.7, <sip:300@elsewhere.example>;q=0.1\n");
    let moved = answer(to(&sent, PBX, "INVITE")[0], "302 Moved Temporarily", &contacts);
    let sent = edge.inside(PBX, &moved);
    let heard = to(&sent, ALICE, "SIP/2.0 302")[0];
    let expected = format!("<{BOBS}>;q=0.7, <sip:300@elsewhere.example>;q=0.1");
    assert_eq!(value(heard, "Contact:"), expected);
}

#[test]
fn by_a_transfer_as_asterisk_writes_it() {
    let mut edge = edge();
    let alice = register(&mut edge, ALICE, "sip:alice@192.168.1.4");
    let bob = register(&mut edge, BOB, BOBS);
    let bare = bob.trim_matches(['<', '>']);
    for (target, expected) in [
        (bare.to_owned(), format!("<{BOBS}>")),
        (format!("<{bare}?Replaces=c%3Bto-tag%3Dt>"), format!("<{BOBS}?Replaces=c%3Bto-tag%3Dt>")),
        ("<sip:300@elsewhere.example>".into(), "<sip:300@elsewhere.example>".into()),
    ] {
        let refer = request("REFER", alice.trim_matches(['<', '>']), PBX, "Contact: <sip:pbx>\n");
        let branch = format!("z9hG4bK{}", target.len());
        let refer = refer.replace("z9hG4bKREFER", &branch);
        let refer = refer.replace("Content-Length", &format!("Refer-To: {target}\nContent-Length"));
        let sent = edge.inside(PBX, &refer);
        assert_eq!(value(to(&sent, ALICE, "REFER sip:alice")[0], "Refer-To:"), expected);
    }
}
