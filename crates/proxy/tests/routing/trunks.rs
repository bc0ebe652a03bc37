//! Calls and registrations of the PBX's at a trunk, and the trunk's calls.

use super::edge::{CARRIER, Edge, INSIDE, OUTSIDE, PBX, Sent, addr, answer, to};
use policy::{Listener, Network, Pbx, Policy, Rank, Reason, Trunk};
use proxy::{Engine, Learned, Target};
use std::net::IpAddr;
use std::time::Duration;
use wire::{ShardId, Side, Transport};

const SECOND: &str = "198.51.100.8:5060";

fn policy(source: Option<IpAddr>) -> Policy {
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
    let host = "sip.carrier.example";
    policy.trunks = vec![Trunk { source, ..Trunk::new("carrier", vec![host.into()]) }];
    let network = Network::host(addr(CARRIER).ip());
    policy.admission.trust.networks = vec![(network, "carrier".into())];
    policy
}

/// An edge whose trunk's name leads to these.
fn reaching(remotes: &[&str]) -> Edge {
    let mut edge = Edge::new(policy(None));
    reach(&mut edge, "sip.carrier.example", remotes);
    edge
}

fn reach(edge: &mut Edge, host: &str, remotes: &[&str]) {
    edge.reach(host, Transport::Udp, OUTSIDE, remotes);
}

fn from_pbx(method: &str, uri: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bKpbx{method};rport\n\
         Route: <sip:{INSIDE};lr>\nMax-Forwards: 70\nFrom: <sip:acct@sip.carrier.example>;tag=f\n\
         To: <{uri}>\nCall-ID: c{method}\nCSeq: 1 {method}\n{more}Content-Length: 0\n\n"
    )
}

#[test]
fn a_call_goes_to_the_trunk_and_comes_back() {
    let mut edge = reaching(&[]);
    let invite =
        from_pbx("INVITE", "sip:+4940@SIP.carrier.example", "Contact: <sip:a@127.0.0.1:5070>\n");
    let refused = edge.inside(PBX, &invite);
    assert!(
        refused[0].text.starts_with("SIP/2.0 503 "),
        "its name is not resolved yet: {refused:?}"
    );
    reach(&mut edge, "sip.carrier.example", &[CARRIER]);
    let invite = invite.replace("cINVITE", "c2").replace("z9hG4bKpbx", "z9hG4bKp2");
    let sent = edge.inside(PBX, &invite);
    let [Sent { to, text, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*to, addr(CARRIER));
    assert!(text.starts_with("INVITE sip:+4940@SIP.carrier.example SIP/2.0\r\n"), "{text}");
    assert!(text.contains(&format!("Via: SIP/2.0/UDP {OUTSIDE};branch=")), "{text}");
    assert!(!text.contains("\r\nRoute:"), "{text}");
    assert_eq!(text.matches("Record-Route:").count(), 2, "{text}");
    // digest is the PBX's own business
    let challenge = answer(
        text,
        "407 Proxy Authentication Required",
        "Proxy-Authenticate: Digest realm=\"c\", nonce=\"n\"\n",
    );
    let sent = edge.outside(CARRIER, &challenge);
    let relayed = sent.iter().find(|it| it.to == addr(PBX)).expect("relayed");
    assert!(
        relayed.text.contains("Proxy-Authenticate: Digest realm=\"c\", nonce=\"n\"\r\n"),
        "{relayed:?}"
    );
    assert!(sent.iter().any(|it| it.to == addr(CARRIER) && it.text.starts_with("ACK ")));
}

#[test]
fn hosts_that_are_no_trunks_are_not_called() {
    let mut edge = reaching(&[CARRIER]);
    for uri in ["sip:+4940@other.example", "sips:+4940@sip.carrier.example", "tel:+4940"] {
        let branch = format!("z9hG4bK{}", uri.len());
        let invite = from_pbx("INVITE", uri, "").replace("z9hG4bKpbxINVITE", &branch);
        let sent = edge.inside(PBX, &invite);
        assert!(sent.iter().all(|it| it.to == addr(PBX)), "{uri}: {sent:?}");
        assert!(sent[0].text.starts_with("SIP/2.0 4"), "{sent:?}");
    }
}

#[test]
fn a_port_chooses_among_the_hosts_of_a_trunk() {
    const OTHER: &str = "198.51.100.9:5080";
    let mut policy = policy(None);
    policy.trunks[0].hosts = ["sip.carrier.example", "sip.carrier.example:5080", "x.example:5090"]
        .map(Into::into)
        .to_vec();
    let mut edge = Edge::new(policy);
    reach(&mut edge, "sip.carrier.example", &[CARRIER]);
    reach(&mut edge, "sip.carrier.example:5080", &[OTHER]);
    reach(&mut edge, "x.example:5090", &[SECOND]);
    for (number, (uri, at)) in [
        ("sip:1@sip.carrier.example", Ok(CARRIER)),
        ("sip:1@sip.carrier.example:5080", Ok(OTHER)),
        ("sip:1@sip.carrier.example:5060", Ok(CARRIER)),
        ("sip:1@x.example", Ok(SECOND)),
        ("sip:1@x.example:5090", Ok(SECOND)),
        ("sip:1@x.example:5060", Err("SIP/2.0 404 ")),
    ]
    .iter()
    .enumerate()
    {
        let text = from_pbx("INVITE", uri, "").replace("pbxINVITE", &format!("pbx{number}"));
        let sent = edge.inside(PBX, &text.replace("cINVITE", &format!("c{number}")));
        match at {
            Ok(at) => assert_eq!(to(&sent, at, "INVITE").len(), 1, "{uri}: {sent:?}"),
            Err(refused) => assert_eq!(to(&sent, PBX, refused).len(), 1, "{uri}: {sent:?}"),
        }
    }
}

#[test]
fn a_registration_names_the_outside_and_the_pbx_finds_its_contact() {
    let mut edge = reaching(&[CARRIER]);
    let contact = "<sip:acct@127.0.0.1:5070;line=xyz>;expires=600";
    let register =
        from_pbx("REGISTER", "sip:sip.carrier.example", &format!("Contact: {contact}\n"));
    let sent = edge.inside(PBX, &register);
    let [Sent { to, text, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*to, addr(CARRIER));
    let outside = format!("Contact: <sip:acct@{OUTSIDE};line=xyz>;expires=600\r\n");
    assert!(text.contains(&outside), "{text}");
    let bound = format!("{outside}Contact: <sip:acct@192.0.2.9:5060>;expires=60\n");
    let sent = edge.outside(CARRIER, &answer(text, "200 OK", &bound.replace('\r', "")));
    let Sent { to, text, .. } = &sent[0];
    assert_eq!(*to, addr(PBX));
    assert!(text.contains(&format!("Contact: {contact}\r\n")), "{text}");
    assert!(text.contains("Contact: <sip:acct@192.0.2.9:5060>;expires=60\r\n"), "{text}");
}

/// The PBX is called back as the carrier is reached, whatever the PBX itself speaks.
#[test]
fn a_registration_names_no_transport_of_the_pbxs() {
    let mut edge = reaching(&[CARRIER]);
    for (mine, outside) in [
        ("127.0.0.1:5071;transport=TLS;line=x", ";line=x"),
        ("127.0.0.1;line=x;Transport=tcp", ";line=x"),
        ("127.0.0.1:5071;transport=tcp?transport=tls", "?transport=tls"),
        ("127.0.0.1;transport=tcp", ""),
    ] {
        let contact =
            format!("Contact: \"a;transport=x\" <sip:b;transport=c@{mine}>;transport=d\n");
        let register = from_pbx("REGISTER", "sip:sip.carrier.example", &contact)
            .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{}", mine.len()));
        let sent = edge.inside(PBX, &register);
        let [Sent { text, .. }] = &sent[..] else { panic!("{sent:?}") };
        let expected = format!(
            "Contact: \"a;transport=x\" <sip:b;transport=c@{OUTSIDE}{outside}>;transport=d\r\n"
        );
        assert!(text.contains(&expected), "{expected}: {text}");
    }
}

#[test]
fn a_call_of_the_trunk_says_whose_it_is_and_nobody_else_can() {
    let mut edge = reaching(&[]);
    let call = |source: &str, branch: &str| {
        format!(
            "INVITE sip:acct@{OUTSIDE};line=xyz SIP/2.0\nVia: SIP/2.0/UDP {source};branch={branch};rport\n\
             Max-Forwards: 70\nFrom: <sip:+49@carrier>;tag={branch}\nTo: <sip:acct@x>\nCall-ID: {branch}\n\
             CSeq: 1 INVITE\nX-Ringfence-Trunk: other\nContent-Length: 0\n\n"
        )
    };
    let sent = edge.outside(CARRIER, &call(CARRIER, "z9hG4bK1"));
    let Sent { to, text, .. } = &sent[0];
    assert_eq!(*to, addr(PBX));
    assert!(text.starts_with(&format!("INVITE sip:acct@{OUTSIDE};line=xyz SIP/2.0\r\n")), "{text}");
    let said: Vec<_> = text.lines().filter(|line| line.starts_with("X-Ringfence-Trunk")).collect();
    assert_eq!(said, ["X-Ringfence-Trunk: carrier"], "{text}");
    let stranger = "192.0.2.66:5060";
    let sent = edge.outside(stranger, &call(stranger, "z9hG4bK2"));
    assert!(sent.iter().all(|it| !it.text.contains("X-Ringfence-Trunk")), "{sent:?}");
}

fn invite(call: u32) -> String {
    let text = from_pbx("INVITE", "sip:+4940@sip.carrier.example", "");
    text.replace("cINVITE", &format!("c{call}")).replace("z9hG4bKpbx", &format!("z9hG4bK{call}"))
}

#[test]
fn a_silent_target_is_passed_over_until_it_lives() {
    let mut edge = reaching(&[CARRIER, SECOND]);
    let first = edge.inside(PBX, &invite(1));
    assert_eq!(to(&first, CARRIER, "INVITE").len(), 1);
    let sent = edge.pass(Duration::from_secs(5));
    assert_eq!(to(&sent, CARRIER, "INVITE").len(), 2, "it has had its time");
    let again = to(&sent, SECOND, "INVITE");
    let route =
        |text: &str| text.lines().filter(|it| it.starts_with("Record-Route")).collect::<String>();
    let branch = |text: &str| text.lines().find(|it| it.starts_with("Via")).map(str::to_owned);
    assert_ne!(branch(again[0]), branch(&first[0].text), "another transaction");
    assert_ne!(route(again[0]), route(&first[0].text), "its dialog is another's");
    // the answer of the second one is the PBX's
    let sent = edge.outside(SECOND, &answer(again[0], "200 OK", "Contact: <sip:c@198.51.100.8>\n"));
    assert_eq!(to(&sent, PBX, "SIP/2.0 200").len(), 1);
    let bye_route: Vec<_> =
        sent[0].text.lines().filter_map(|it| it.strip_prefix("Record-Route: ")).collect();
    // towards the PBX ours stands last
    let bye = from_pbx("BYE", "sip:c@198.51.100.8", "").replace(
        &format!("Route: <sip:{INSIDE};lr>"),
        &format!("Route: {}", bye_route[bye_route.len() - 1]),
    );
    let bye = bye
        .replace("To: <sip:c@198.51.100.8>", "To: <sip:c@198.51.100.8>;tag=t")
        .replace("cBYE", "c1");
    let sent = edge.inside(PBX, &bye);
    assert_eq!(to(&sent, SECOND, "BYE").len(), 1, "{sent:?}");
    // the next call does not wait for the first one
    let sent = edge.inside(PBX, &invite(2));
    assert_eq!(to(&sent, SECOND, "INVITE").len(), 1, "{sent:?}");
    // it is asked, and lives
    let sent = edge.pass(Duration::from_secs(11));
    let asked = to(&sent, CARRIER, "OPTIONS");
    assert!(!asked.is_empty(), "{sent:?}");
    edge.outside(CARRIER, &answer(asked[0], "404 Not Found", ""));
    let sent = edge.inside(PBX, &invite(3));
    assert_eq!(to(&sent, CARRIER, "INVITE").len(), 1, "{sent:?}");
    assert!(to(&edge.pass(Duration::from_secs(3)), CARRIER, "OPTIONS").is_empty());
}

#[test]
fn a_503_goes_to_the_next_target_and_the_last_one_to_the_pbx() {
    let mut edge = reaching(&[CARRIER, SECOND]);
    let first = edge.inside(PBX, &invite(1));
    let sent = edge.outside(CARRIER, &answer(&first[0].text, "503 Service Unavailable", ""));
    assert_eq!(to(&sent, CARRIER, "ACK").len(), 1);
    assert!(to(&sent, PBX, "SIP/2.0").is_empty(), "{sent:?}");
    let second = to(&sent, SECOND, "INVITE")[0].to_owned();
    let sent = edge.outside(SECOND, &answer(&second, "503 Service Unavailable", ""));
    assert_eq!(to(&sent, SECOND, "ACK").len(), 1);
    assert_eq!(to(&sent, PBX, "SIP/2.0 503").len(), 1);
    // both failed: the first is tried all the same
    let sent = edge.inside(PBX, &invite(2));
    assert_eq!(to(&sent, CARRIER, "INVITE").len(), 1);
}

#[test]
fn what_is_cancelled_or_in_a_dialog_stays_where_it_is() {
    let mut edge = reaching(&[CARRIER, SECOND]);
    let call = invite(1);
    let first = edge.inside(PBX, &call);
    edge.outside(CARRIER, &answer(&first[0].text, "180 Ringing", ""));
    let sent = edge.pass(Duration::from_secs(30));
    assert!(to(&sent, SECOND, "INVITE").is_empty(), "it rings");
    let cancel = call.replace("INVITE ", "CANCEL ").replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
    edge.inside(PBX, &cancel);
    let sent = edge.outside(CARRIER, &answer(&first[0].text, "503 Service Unavailable", ""));
    assert!(to(&sent, SECOND, "INVITE").is_empty(), "{sent:?}");
    assert_eq!(to(&sent, PBX, "SIP/2.0 503").len(), 1, "{sent:?}");
}

#[test]
fn a_cancelled_call_that_its_target_does_not_end_ends_after_64_t1() {
    let mut edge = reaching(&[CARRIER]);
    let call = invite(1);
    let first = edge.inside(PBX, &call);
    edge.outside(CARRIER, &answer(&first[0].text, "180 Ringing", ""));
    edge.pass(Duration::from_secs(20));
    let cancel = call.replace("INVITE ", "CANCEL ").replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
    let sent = edge.inside(PBX, &cancel);
    let asked = to(&sent, CARRIER, "CANCEL")[0].to_owned();
    edge.outside(CARRIER, &answer(&asked, "200 OK", ""));
    let ended = |sent: &[Sent]| to(sent, PBX, "SIP/2.0 4").len();
    assert_eq!(ended(&edge.pass(Duration::from_secs(31))), 0);
    assert!(ended(&edge.pass(Duration::from_secs(2))) > 0);
}

/// A call of the carrier's to the PBX.
fn from_carrier(method: &str, call: &str, more: &str) -> String {
    format!(
        "{method} sip:acct@{OUTSIDE} SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bK{call};rport\n\
         Max-Forwards: 70\nFrom: <sip:+49@carrier>;tag=c\nTo: <sip:acct@x>{more}\nCall-ID: {call}\n\
         CSeq: 1 {method}\nContact: <sip:c@{CARRIER}>\nContent-Length: 0\n\n"
    )
}

#[test]
fn requests_of_a_trunk_with_a_source_come_from_there() {
    let source = addr("127.0.0.9:5080");
    let mut edge = Edge::new(policy(Some(source.ip())));
    let at = source.to_string();
    let sent = edge.outside(CARRIER, &from_carrier("INVITE", "1", ""));
    let [Sent { local, to, text: invite, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((*local, *to), (source, addr(PBX)));
    assert!(invite.contains(&format!("Via: SIP/2.0/UDP {source};branch=")), "{invite}");
    assert!(
        invite.contains(&format!("@{INSIDE};lr>")),
        "the dialog's requests come here: {invite}"
    );

    // what the PBX says to it goes back, and a CANCEL takes the same way
    let sent = edge.datagram(Side::Inside, &at, PBX, &answer(invite, "180 Ringing", ""));
    let [Sent { local, to, text: ringing, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((*local, *to), (addr(OUTSIDE), addr(CARRIER)));
    assert!(ringing.starts_with("SIP/2.0 180 "), "{ringing}");
    let sent = edge.outside(CARRIER, &from_carrier("CANCEL", "1", ""));
    let cancel = sent.iter().find(|it| it.text.starts_with("CANCEL ")).expect("a CANCEL");
    assert_eq!((cancel.local, cancel.to), (source, addr(PBX)));
    let refused = answer(invite, "487 Request Terminated", "");
    let sent = edge.datagram(Side::Inside, &at, PBX, &refused);
    let ack = sent.iter().find(|it| it.text.starts_with("ACK ")).expect("an ACK");
    assert_eq!((ack.local, ack.to), (source, addr(PBX)));

    // a request inside a dialog, and the PBX's own to that address
    let route = invite.lines().find_map(|line| line.strip_prefix("Record-Route: ")).expect("ours");
    let bye = from_carrier("BYE", "2", ";tag=t");
    let bye = bye.replace("Contact:", &format!("Route: {route}\nContact:"));
    let sent = edge.outside(CARRIER, &bye);
    assert_eq!((sent[0].local, sent[0].to), (source, addr(PBX)));
    let options = from_pbx("OPTIONS", &format!("sip:{source}"), "");
    let sent = edge.datagram(Side::Inside, &at, PBX, &options);
    let [Sent { local, text: ok, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(*local == source && ok.starts_with("SIP/2.0 200 "), "{sent:?}");

    // all others come from the inside address
    let stranger = "192.0.2.66:5060";
    let invite = from_carrier("INVITE", "3", "").replace(CARRIER, stranger);
    let sent = edge.outside(stranger, &invite);
    let inwards: Vec<_> = sent.iter().filter(|it| it.to == addr(PBX)).collect();
    assert!(inwards.iter().all(|it| it.local == addr(INSIDE)), "{sent:?}");
}

#[test]
fn each_call_draws_lots_and_keeps_them_with_its_credentials() {
    let mut edge = reaching(&[]);
    let target = |remote, weight, record| Target {
        transport: Transport::Udp,
        local: addr(OUTSIDE),
        remote: addr(remote),
        rank: Rank { step: 1, weight, record },
    };
    let targets = [target(CARRIER, 3, 1), target(SECOND, 1, 2)].into();
    let learned = Learned::Targets { host: "sip.carrier.example".into(), targets };
    edge.learn(learned);
    let mut first = 0;
    for call in 0..200 {
        let text = invite(call);
        let sent = edge.inside(PBX, &text);
        let Sent { to: at, text: asked, .. } = &sent[0];
        first += u32::from(*at == addr(CARRIER));
        let challenge = "Proxy-Authenticate: Digest realm=\"c\", nonce=\"n\"\n";
        let refused = answer(asked, "407 Proxy Authentication Required", challenge);
        edge.outside(&at.to_string(), &refused);
        let again =
            text.replace("CSeq: 1", "CSeq: 2").replace(";branch=z9hG4bK", ";branch=z9hG4bKx");
        let sent = edge.inside(PBX, &again);
        assert_eq!(sent[0].to, *at, "who gave the nonce knows it");
    }
    // by fixed keys, so always the same; three quarters of 200, give or take six deviations
    assert!((113..=187).contains(&first), "{first}");
}

/// After how many seconds each OPTIONS comes.
fn questions(edge: &mut Edge, seconds: u64) -> Vec<u64> {
    let start = edge.now;
    let mut all = Vec::new();
    for second in 1..=seconds {
        let sent = edge.pass((start + Duration::from_secs(second)).since(edge.now));
        all.extend(to(&sent, CARRIER, "OPTIONS").iter().map(|_| second));
    }
    all
}

fn fail(edge: &mut Edge, call: u32) {
    let first = edge.inside(PBX, &invite(call));
    assert_eq!(to(&first, CARRIER, "INVITE").len(), 1, "{first:?}");
    let sent = edge.outside(CARRIER, &answer(&first[0].text, "503 Service Unavailable", ""));
    let second = to(&sent, SECOND, "INVITE")[0].to_owned();
    edge.outside(SECOND, &answer(&second, "486 Busy Here", ""));
}

#[test]
fn a_target_that_fails_again_and_again_is_asked_more_and_more_rarely() {
    let mut edge = reaching(&[CARRIER, SECOND]);
    fail(&mut edge, 1);
    let asked = questions(&mut edge, 1_000);
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let about = |wait: u64, is: u64| wait <= is && is <= wait + 1;
    let expected = [20, 40, 80, 160, 320, 320];
    assert!(about(10, asked[0]), "{asked:?}");
    assert_eq!(waits.len(), expected.len(), "{asked:?}");
    assert!(expected.iter().zip(&waits).all(|(wait, is)| about(*wait, *is)), "{waits:?}");
}

#[test]
fn one_that_lives_and_fails_waits_longer_and_after_a_good_while_no_more() {
    let mut edge = reaching(&[CARRIER, SECOND]);
    let lives = |edge: &mut Edge, within: Duration| {
        let sent = edge.pass(within);
        let asked = to(&sent, CARRIER, "OPTIONS")[0].to_owned();
        edge.outside(CARRIER, &answer(&asked, "200 OK", ""));
    };
    fail(&mut edge, 1);
    lives(&mut edge, Duration::from_secs(11));
    fail(&mut edge, 2);
    let sent = edge.pass(Duration::from_secs(35));
    assert!(to(&sent, CARRIER, "OPTIONS").is_empty(), "it has failed before");
    lives(&mut edge, Duration::from_secs(6));
    edge.pass(Duration::from_secs(1_000));
    fail(&mut edge, 3);
    lives(&mut edge, Duration::from_secs(11));
}

#[test]
fn only_its_own_answer_brings_a_target_back() {
    let call = |edge: &mut Edge, number| {
        let sent = edge.inside(PBX, &invite(number));
        let whom = [CARRIER, SECOND].map(|it| to(&sent, it, "INVITE").len());
        // whoever it is lives
        let at = sent.iter().find(|it| it.text.starts_with("INVITE")).expect("a call");
        edge.outside(&at.to.to_string(), &answer(&at.text, "486 Busy Here", ""));
        whom
    };
    type Answers = fn(&str) -> (&'static str, String);
    let answers: [(&str, Answers, bool); 6] = [
        ("nothing", |_| (CARRIER, String::new()), false),
        ("it is overloaded", |it| (CARRIER, answer(it, "503 Service Unavailable", "")), false),
        ("of another call", |it| (CARRIER, answer(&another_call(it), "200 OK", "")), false),
        ("from elsewhere", |it| ("192.0.2.66:5060", answer(it, "200 OK", "")), false),
        ("it is busy", |it| (CARRIER, answer(it, "486 Busy Here", "")), true),
        ("it serves", |it| (CARRIER, answer(it, "200 OK", "")), true),
    ];
    for (what, says, lives) in answers {
        let mut edge = reaching(&[CARRIER, SECOND]);
        fail(&mut edge, 1);
        let sent = edge.pass(Duration::from_secs(11));
        let asked = to(&sent, CARRIER, "OPTIONS")[0].to_owned();
        assert!(asked.contains(&format!("Via: SIP/2.0/UDP {OUTSIDE};branch=")), "{asked}");
        let (from, text) = says(&asked);
        if !text.is_empty() {
            let sent = edge.outside(from, &text);
            assert!(sent.is_empty(), "{what}: it is the edge's own question: {sent:?}");
        }
        assert_eq!(call(&mut edge, 2), if lives { [1, 0] } else { [0, 1] }, "{what}");
    }
}

fn another_call(request: &str) -> String {
    request.replace("Call-ID: ", "Call-ID: x")
}

#[test]
fn of_a_silent_carrier_the_pbx_hears_for_calls_only() {
    for (method, status) in [("INVITE", "SIP/2.0 408 "), ("MESSAGE", ""), ("REGISTER", "")] {
        let mut edge = reaching(&[CARRIER]);
        let sent = edge.inside(PBX, &from_pbx(method, "sip:+4940@sip.carrier.example", ""));
        assert_eq!(to(&sent, CARRIER, method).len(), 1);
        let sent = edge.pass(Duration::from_secs(40));
        let heard = to(&sent, PBX, "SIP/2.0 ");
        let heard: Vec<_> = heard.iter().filter(|it| !it.contains(" 100 ")).collect();
        // RFC 4320 §4.2: no 408; whoever asked knows by his own Timer F
        assert_eq!(heard.is_empty(), status.is_empty(), "{method}: {heard:?}");
        assert!(heard.iter().all(|it| it.starts_with(status)), "{method}: {heard:?}");
    }
}

#[test]
fn what_strangers_make_up_fills_no_other_shards_queue() {
    let of = |shard| {
        let mut edge = Edge::of(policy(None), ShardId(shard), 2);
        reach(&mut edge, "sip.carrier.example", &[CARRIER]);
        edge
    };
    let [mut own, mut other] = if Engine::shard_of(addr(CARRIER).ip(), 2) == ShardId(0) {
        [of(0), of(1)]
    } else {
        [of(1), of(0)]
    };
    let sent = own.inside(PBX, &from_pbx("INVITE", "sip:+4940@sip.carrier.example", ""));
    let [Sent { to, text, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*to, addr(CARRIER));
    let answered = answer(text, "200 OK", "");
    // a carrier that answers from elsewhere is heard
    other.outside(SECOND, &answered);
    assert_eq!(other.handed, [Engine::shard_of(addr(CARRIER).ip(), 2)]);
    let forged = answered.replace("cINVITE", "another");
    assert_ne!(forged, answered);
    other.outside(SECOND, &forged);
    assert_eq!(other.handed.len(), 1);
    assert_eq!(other.events.last().map(|event| event.reason), Some(Reason::StrayResponse));
}
