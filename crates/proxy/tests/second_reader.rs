//! Messages written and read by another implementation: `rsip` builds what a phone sends from its
//! typed headers, and reads what the engine made of it. Two readers that agree on a message are
//! what keeps things from being smuggled between them.

use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Input, Output};
use rsip::headers::UntypedHeader;
use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader};
use rsip::{Header, Method, Param, Request, SipMessage, Uri, typed};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Side, Transport};

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn uri(text: &str) -> Uri {
    Uri::try_from(text).expect("URI")
}

/// What a phone sends, from typed headers.
fn request(method: Method) -> Request {
    let via = typed::Via {
        version: rsip::Version::V2,
        transport: rsip::Transport::Udp,
        uri: Uri { host_with_port: ("192.168.1.5", 5062).into(), ..Default::default() },
        params: vec![Param::Branch("z9hG4bKa1".into())],
    };
    let from = typed::From {
        display_name: Some("Alice".into()),
        uri: uri("sip:6001@pbx.example.com"),
        params: vec![Param::Tag("ft".into())],
    };
    let to = typed::To { display_name: None, uri: uri("sip:100@pbx.example.com"), params: vec![] };
    let contact = typed::Contact {
        display_name: None,
        uri: uri("sip:6001@192.168.1.5:5062"),
        params: vec![],
    };
    let headers: Vec<Header> = vec![
        via.into(),
        rsip::headers::MaxForwards::default().into(),
        from.into(),
        to.into(),
        rsip::headers::CallId::new("call-1").into(),
        typed::CSeq { seq: 1, method }.into(),
        contact.into(),
        rsip::headers::ContentLength::default().into(),
    ];
    Request {
        method,
        uri: uri("sip:100@pbx.example.com"),
        version: rsip::Version::V2,
        headers: headers.into(),
        body: Vec::new(),
    }
}

/// What the PBX gets of it, read by `rsip`.
fn forwarded(request: Request) -> Request {
    let listener =
        Listener { transport: Transport::Udp, address: addr("203.0.113.1:5060"), advertise: None };
    let pbx = Pbx::new(addr("127.0.0.1:5070"));
    let policy = Policy::new(vec![listener], addr("127.0.0.1:5080"), vec![pbx]);
    let mut engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
    let now = Time::ZERO + Duration::from_secs(1_700_000_000);
    let bytes: Vec<u8> = SipMessage::Request(request).into();
    let (local, remote) = (addr("203.0.113.1:5060"), addr("198.51.100.7:5062"));
    let input = Input::Datagram { side: Side::Outside, local, remote, bytes: &bytes };
    engine.handle_input(now, input);
    let mut inside = None;
    while let Some(output) = engine.poll_output() {
        if let Output::Datagram { side: Side::Inside, bytes, .. } = output {
            inside = Some(bytes.to_vec());
        }
    }
    match SipMessage::try_from(inside.expect("forwarded")).expect("rsip reads it") {
        SipMessage::Request(request) => request,
        SipMessage::Response(_) => panic!("a request stays one"),
    }
}

#[test]
fn an_invite_reads_the_same_to_another_implementation() {
    let sent = request(Method::Invite);
    let got = forwarded(sent.clone());
    assert_eq!((got.method, &got.uri), (sent.method, &sent.uri));
    assert_eq!(got.from_header().expect("From").typed(), sent.from_header().expect("From").typed());
    assert_eq!(got.to_header().expect("To").typed(), sent.to_header().expect("To").typed());
    assert_eq!(got.call_id_header().expect("Call-ID").value(), "call-1");
    assert_eq!(got.cseq_header().expect("CSeq").typed(), sent.cseq_header().expect("CSeq").typed());
    let via = got.via_header().expect("Via").typed().expect("typed");
    assert_eq!(via.uri.host_with_port, ("127.0.0.1", 5080).into(), "ours is on top");
    assert!(via.branch().is_some_and(|branch| branch.value().starts_with("z9hG4bK")));
    let hops = got.headers().iter().filter(|header| matches!(header, Header::MaxForwards(_)));
    assert_eq!(hops.count(), 1);
    let record_routes: Vec<_> = got
        .headers()
        .iter()
        .filter_map(|header| match header {
            Header::RecordRoute(route) => route.typed().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(record_routes.len(), 2);
}

#[test]
fn a_register_has_one_contact_and_it_is_ours() {
    let got = forwarded(request(Method::Register));
    let contacts: Vec<_> = got
        .headers()
        .iter()
        .filter_map(|header| match header {
            Header::Contact(contact) => contact.typed().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].uri.host_with_port, ("127.0.0.1", 5080).into());
    assert!(contacts[0].uri.auth.as_ref().is_some_and(|auth| auth.user.len() > 40), "a token");
}
