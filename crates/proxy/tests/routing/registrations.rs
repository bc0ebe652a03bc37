//! Registrations of several Contacts at once, and how each ends.

use super::edge::{Edge, INSIDE, OUTSIDE, PBX, addr, answer, to};
use policy::{Listener, Pbx, Policy};
use proxy::Learned;
use wire::{ShardId, Transport};

const PHONE: &str = "198.51.100.7:5060";
const MOVED: &str = "198.51.100.7:61234";
/// What the phone calls itself: at its desk, and on the road.
const CONTACTS: [&str; 2] = ["sip:alice@192.168.1.4", "sip:alice@10.0.0.4"];

/// One of two shards.
fn edge() -> Edge {
    let address = addr(OUTSIDE);
    let listener = Listener { transport: Transport::Udp, address, advertise: None };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
    policy.admission.mode = policy::Mode::Off;
    Edge::of(policy, ShardId(0), 2)
}

/// A REGISTER of so many Contacts, and a 200 that lists each with what `listed` says of it, or not:
/// the Contacts that the PBX was told.
fn register(
    edge: &mut Edge,
    at: &str,
    cseq: u32,
    contacts: &[&str],
    listed: &[Option<&str>],
) -> Vec<String> {
    let lines: String = contacts.iter().map(|uri| format!("Contact: <{uri}>\n")).collect();
    let text = format!(
        "REGISTER sip:pbx SIP/2.0\nVia: SIP/2.0/UDP {at};branch=z9hG4bKr{cseq};rport\n\
         Max-Forwards: 70\nFrom: <sip:alice@pbx>;tag=f\nTo: <sip:alice@pbx>\nCall-ID: r\n\
         CSeq: {cseq} REGISTER\nAuthorization: Digest nonce=\"n\"\nExpires: 600\n{lines}\
         Content-Length: 0\n\n"
    );
    let sent = edge.outside(at, &text);
    let asked = to(&sent, PBX, "REGISTER")[0].to_owned();
    let told: Vec<_> = asked.lines().filter_map(|line| line.strip_prefix("Contact: ")).collect();
    assert_eq!(told.len(), contacts.len(), "{asked}");
    let bound = told.iter().zip(listed).filter_map(|(contact, params)| {
        params.map(|params| format!("Contact: {contact}{params}\n"))
    });
    let sent = edge.inside(PBX, &answer(&asked, "200 OK", &bound.collect::<String>()));
    let heard = to(&sent, at, "SIP/2.0 200")[0];
    let own = contacts.iter().zip(listed).filter(|(_, params)| params.is_some());
    for (uri, params) in own {
        let line = format!("Contact: <{uri}>{}", params.unwrap_or_default());
        assert!(heard.lines().any(|it| it == line), "{line}: {heard}");
    }
    told.into_iter().map(str::to_owned).collect()
}

/// The PBX calls a Contact: where the phone is asked, and as what.
fn called(edge: &mut Edge, call: u32, contact: &str) -> (String, String) {
    let uri = contact.trim_matches(['<', '>']);
    let invite = format!(
        "INVITE {uri} SIP/2.0\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bKc{call};rport\n\
         Max-Forwards: 70\nFrom: <sip:bob@pbx>;tag=f\nTo: <{uri}>\nCall-ID: c{call}\n\
         CSeq: 1 INVITE\nContact: <sip:bob@{PBX}>\nContent-Length: 0\n\n"
    );
    let sent = edge.inside(PBX, &invite);
    let asked = sent.iter().find(|it| it.text.starts_with("INVITE ")).expect("a call");
    (asked.to.to_string(), asked.text.split(' ').nth(1).expect("a Request-URI").to_owned())
}

fn bound(edge: &Edge) -> usize {
    edge.engine.snapshot().bindings.entries
}

#[test]
fn each_contact_is_bound_for_as_long_as_the_200_says_or_else_as_the_phone_asked() {
    let mut edge = edge();
    let told = register(&mut edge, PHONE, 1, &CONTACTS, &[Some(";expires=60"), Some("")]);
    let ends = edge.learned.iter().filter_map(|learned| match learned {
        Learned::Bound { expires, .. } => Some(expires.since(edge.now).as_secs()),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [60, 600], "the other shards know of both");
    for (call, (contact, own)) in (1..).zip(told.iter().zip(CONTACTS)) {
        assert_eq!(called(&mut edge, call, contact), (PHONE.to_owned(), own.to_owned()));
    }
}

/// Its router has given it another port.
#[test]
fn all_contacts_are_called_where_the_phone_came_from_last() {
    let mut edge = edge();
    let listed = [Some(";expires=60"); 2];
    let told = register(&mut edge, PHONE, 1, &CONTACTS, &listed);
    let again = register(&mut edge, MOVED, 2, &CONTACTS, &listed);
    assert_eq!(again, told, "to the PBX they are the same");
    for (call, (contact, own)) in (1..).zip(told.iter().zip(CONTACTS)) {
        assert_eq!(called(&mut edge, call, contact), (MOVED.to_owned(), own.to_owned()));
    }
}

#[test]
fn a_contact_that_a_200_does_not_list_is_bound_no_more() {
    for contacts in [&CONTACTS[..], &CONTACTS[..1]] {
        let mut edge = edge();
        let (all, gone) = ([Some(";expires=60"); 2], [None, Some(";expires=60")]);
        register(&mut edge, PHONE, 1, contacts, &all[..contacts.len()]);
        assert_eq!(bound(&edge), contacts.len());
        edge.learned.clear();
        register(&mut edge, PHONE, 2, contacts, &gone[..contacts.len()]);
        assert_eq!(bound(&edge), contacts.len() - 1);
        let unbound = |it: &&Learned| matches!(it, Learned::Unbound { .. });
        assert_eq!(edge.learned.iter().filter(unbound).count(), 1, "the other shards know");
    }
}
