//! Connections that the edge opens.
#![allow(clippy::unwrap_used)]

mod authority;
mod rig;

use authority::{Authority, san};
use rig::{PATIENCE, Rig, Seen};
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use transport::{Listener, Peer, Peers, Protocol, Settings};
use wire::{ConnectionId, ShardId, Side};

fn rig(settings: &Settings, peers: &Arc<Peers>) -> Rig {
    let address = "127.0.0.1:0".parse().unwrap();
    let udp = Listener { protocol: Protocol::Udp, address, balancers: Vec::new() };
    let inside = "127.0.0.1:0".parse().unwrap();
    Rig::with_peers(settings, &[udp], &[inside], peers.clone())
}

/// Has the rig open a connection.
fn order(rig: &Rig, words: &str) {
    rig::phone("127.0.0.1:0").send_to(words.as_bytes(), rig.outside[0]).unwrap();
}

fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

fn accept(server: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, from) = server.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, from)
}

fn read(stream: &mut impl Read, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn closed(seen: Seen) -> Option<ConnectionId> {
    match seen {
        Seen::Closed { connection } => Some(connection),
        _ => None,
    }
}

const FIRST: u64 = 0;

fn first() -> ConnectionId {
    ConnectionId::opened(ShardId(0), FIRST)
}

#[test]
fn what_is_sent_at_once_arrives_and_so_does_the_answer() {
    let rig = rig(&Settings::default(), &Arc::default());
    let (server, address) = server();
    order(&rig, &format!("dial tcp {address} x"));
    let (mut stream, from) = accept(&server);
    assert_eq!(read(&mut stream, 5), "hello");
    assert_eq!(from, rig.inside[0], "the PBX knows us by that port");
    stream.write_all(b"echo").unwrap();
    assert_eq!(read(&mut stream, 6), "0 echo");
    drop(stream);
    assert_eq!(rig.until(closed), first());
    rig.until_count(|counters| counters.connected.value(), |count| count == 1);
    rig.until_count(|counters| counters.connections.value(), |count| count == 0);
}

#[test]
fn the_inside_port_is_shared_by_all_connections_and_those_that_come() {
    let rig = rig(&Settings::default(), &Arc::default());
    let servers = [server(), server()];
    let mut open = Vec::new();
    for (server, address) in &servers {
        order(&rig, &format!("dial tcp {address} x"));
        let (mut stream, from) = accept(server);
        assert_eq!((read(&mut stream, 5).as_str(), from), ("hello", rig.inside[0]));
        open.push(stream);
    }
    let mut back = TcpStream::connect(rig.inside[0]).unwrap();
    back.set_read_timeout(Some(PATIENCE)).unwrap();
    back.write_all(b"echo").unwrap();
    assert_eq!(read(&mut back, 6), "0 echo");
    let accepted = rig.until(|seen| match seen {
        Seen::Opened { flow } => Some(flow),
        _ => None,
    });
    assert_eq!(accepted.local, rig.inside[0]);
    assert!(accepted.connection.is_some_and(|connection| !connection.is_opened()));
}

#[test]
fn outside_any_port_will_do() {
    let rig = rig(&Settings::default(), &Arc::default());
    let (server, address) = server();
    order(&rig, &format!("call tcp {address} x"));
    let (mut stream, from) = accept(&server);
    assert_eq!(read(&mut stream, 5), "hello");
    assert_eq!(from.ip(), rig.outside[0].ip());
    assert_ne!(from, rig.outside[0]);
}

#[test]
fn one_that_is_refused_or_too_slow_is_closed() {
    let settings = Settings { connect: Duration::from_millis(200), ..Settings::default() };
    let rig = rig(&settings, &Arc::default());
    let address = SocketAddr::from(([127, 0, 0, 1], rig::NOBODY));
    order(&rig, &format!("dial tcp {address} x"));
    assert_eq!(rig.until(closed), first());
    // accepts, and says nothing of TLS
    let peer = Peer {
        side: Side::Inside,
        name: "pbx".into(),
        authorities: Some(Authority::new("slow").file),
        shows: None,
    };
    let rig = self::rig(&settings, &Peers::open(&[peer]).unwrap());
    let (_silent, address) = server();
    order(&rig, &format!("dial tls {address} pbx"));
    assert_eq!(rig.until(closed), first());
    rig.until_count(|counters| counters.connect_failed.value(), |count| count == 1);
}

fn shake(server: &TcpListener, config: Arc<ServerConfig>) -> std::io::Result<String> {
    shake_and_see(server, config).map(|(heard, _)| heard)
}

/// What was heard over TLS, and the certificate that the edge showed.
fn shake_and_see(
    server: &TcpListener,
    config: Arc<ServerConfig>,
) -> std::io::Result<(String, Option<CertificateDer<'static>>)> {
    let (stream, _) = accept(server);
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes)?;
    stream.write_all(b"echo")?;
    let heard = String::from_utf8_lossy(&bytes).into_owned() + &read(&mut stream, 6);
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first().cloned());
    Ok((heard, shown.map(CertificateDer::into_owned)))
}

#[test]
fn tls_is_for_him_who_proves_his_name_to_whom_we_believe() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let peer = |side, name: &str| Peer {
        side,
        name: name.into(),
        authorities: Some(ours.file.clone()),
        shows: None,
    };
    let peers = [peer(Side::Inside, "pbx.example.com"), peer(Side::Inside, "127.0.0.1")];
    let peers = Peers::open(&peers).unwrap();
    let cases = [
        ("dial", "pbx.example.com", &ours, "pbx.example.com", true),
        ("dial", "PBX.example.com", &ours, "pbx.example.com", true),
        ("dial", "127.0.0.1", &ours, "127.0.0.1", true),
        ("dial", "pbx.example.com", &ours, "other.example.com", false),
        ("dial", "pbx.example.com", &theirs, "pbx.example.com", false),
    ];
    for (verb, name, authority, shown, believed) in cases {
        let rig = rig(&Settings::default(), &peers);
        let (server, address) = server();
        order(&rig, &format!("{verb} tls {address} {name}"));
        let got = shake(&server, authority.serve(shown));
        assert_eq!(got.is_ok(), believed, "{name}, {shown}: {got:?}");
        if believed {
            assert_eq!(got.unwrap(), "hello0 echo");
        } else {
            assert_eq!(rig.until(closed), first());
        }
    }
    // believed on another side, or not at all
    let rig = rig(&Settings::default(), &peers);
    let (_server, address) = server();
    order(&rig, &format!("call tls {address} pbx.example.com"));
    assert_eq!(rig.until(closed), first());
}

/// Whether the edge, which believes `authority`, lets a server be `name` that shows this.
fn believes(authority: &Authority, name: &str, shown: Arc<ServerConfig>) -> bool {
    let peer = Peer {
        side: Side::Outside,
        name: name.into(),
        authorities: Some(authority.file.clone()),
        shows: None,
    };
    let rig = rig(&Settings::default(), &Peers::open(&[peer]).unwrap());
    let (server, address) = server();
    order(&rig, &format!("call tls {address} {name}"));
    let believed = shake(&server, shown).is_ok();
    if !believed {
        assert_eq!(rig.until(closed), first());
    }
    believed
}

/// RFC 5922 §7.1 and §7.2.
#[test]
fn the_sip_uris_of_a_certificate_say_whom_it_is_for() {
    let ours = Authority::new("uris");
    let (name, host, ip) = ("carrier.example", "sbc.carrier.example", "127.0.0.1");
    let believed: &[(&str, &[&str])] = &[
        (name, &["sip:carrier.example"]),
        (name, &["SIP:Carrier.Example"]),
        (name, &["sip:carrier.example:5061;transport=tls", "sbc.carrier.example"]),
        (name, &["sip:other.example", "sip:carrier.example"]),
        (name, &["carrier.example"]),
        // with a user, or of another scheme, a URI is no SIP domain
        (name, &["sip:alice@other.example", "sips:other.example", "carrier.example"]),
        // decision 29: as everywhere else in TLS
        (host, &["*.carrier.example"]),
        (ip, &["sip:127.0.0.1"]),
        (ip, &["127.0.0.1"]),
    ];
    let refused: &[(&str, &[&str])] = &[
        // where there are SIP domains they decide
        (name, &["sip:other.example", "carrier.example"]),
        (name, &["sip:*.example", "carrier.example"]),
        (name, &["sip:sbc.carrier.example"]),
        (host, &["sip:carrier.example"]),
        (host, &["sip:*.carrier.example"]),
        (name, &["sip:alice@carrier.example"]),
        (name, &["sips:carrier.example"]),
        (name, &["https://carrier.example/"]),
        (name, &["*.carrier.example"]),
        (name, &[]),
        (ip, &["sip:127.0.0.2", "127.0.0.1"]),
        (ip, &["sip:localhost"]),
    ];
    for (all, expected) in [(believed, true), (refused, false)] {
        for (name, shown) in all {
            let signed = ours.sign(shown.iter().map(|name| san(name)).collect());
            let is = believes(&ours, name, signed.serve(None, rustls::ALL_VERSIONS));
            assert_eq!(is, expected, "{name}: {shown:?}");
        }
    }
}

/// The right name is no help to whom nobody vouches for.
#[test]
fn a_sip_uri_stands_for_no_part_of_the_chain() {
    let (ours, theirs) = (Authority::new("chain"), Authority::new("others"));
    let names = || vec![san("sip:carrier.example"), san("carrier.example")];
    let shown = |signed: authority::Signed| signed.serve(None, rustls::ALL_VERSIONS);
    assert!(believes(&ours, "carrier.example", shown(ours.sign(names()))));
    assert!(!believes(&ours, "carrier.example", shown(theirs.sign(names()))));
    let expired = ours.sign_with(names(), |it| it.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert!(!believes(&ours, "carrier.example", shown(expired)));
    let early = ours.sign_with(names(), |it| it.not_before = rcgen::date_time_ymd(4000, 1, 1));
    assert!(!believes(&ours, "carrier.example", shown(early)));
    let clients = |it: &mut rcgen::CertificateParams| it.extended_key_usages = vec![CLIENT_AUTH];
    assert!(!believes(&ours, "carrier.example", shown(ours.sign_with(names(), clients))));
    // who has the certificate, but not its key
    let without_key = ours.sign(names()).serve_with_key_of(&ours.sign(names()));
    assert!(!believes(&ours, "carrier.example", without_key));
}

const CLIENT_AUTH: rcgen::ExtendedKeyUsagePurpose = rcgen::ExtendedKeyUsagePurpose::ClientAuth;

#[test]
fn what_is_asked_for_is_shown_and_nothing_else() {
    let (carriers, clients, theirs) =
        (Authority::new("carriers"), Authority::new("clients"), Authority::new("strange"));
    let ours = clients.sign(vec![san("edge.example")]);
    let peer = |shows| Peer {
        side: Side::Outside,
        name: "carrier.example".into(),
        authorities: Some(carriers.file.clone()),
        shows,
    };
    let carrier = carriers.sign(vec![san("sip:carrier.example")]);
    let call = |peers: &Arc<Peers>, config| {
        let rig = rig(&Settings::default(), peers);
        let (server, address) = server();
        order(&rig, &format!("call tls {address} carrier.example"));
        let got = shake_and_see(&server, config);
        if got.is_err() {
            assert_eq!(rig.until(closed), first(), "the engine is told");
        }
        got.ok().map(|(heard, shown)| {
            assert_eq!(heard, "hello0 echo");
            shown
        })
    };
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let demanding = || carrier.serve(Some(&clients), &[version]);
        let careless = || carrier.serve(None, &[version]);
        let peers = Peers::open(&[peer(Some(ours.write("ours")))]).unwrap();
        assert_eq!(call(&peers, demanding()), Some(Some(ours.certificate.clone())));
        assert_eq!(call(&peers, careless()), Some(None), "nobody asked");
        // it is renewed, or another one is named
        let renewed = clients.sign(vec![san("edge.example")]);
        peers.replace(&[peer(Some(renewed.write("ours")))]).unwrap();
        assert_eq!(call(&peers, demanding()), Some(Some(renewed.certificate.clone())));
        // one that the carrier does not take, or none
        let strange = theirs.sign(vec![san("edge.example")]).write("strange");
        peers.replace(&[peer(Some(strange))]).unwrap();
        assert_eq!(call(&peers, demanding()), None);
        peers.replace(&[peer(None)]).unwrap();
        assert_eq!(call(&peers, demanding()), None);
        assert_eq!(call(&peers, careless()), Some(None));
    }
}
