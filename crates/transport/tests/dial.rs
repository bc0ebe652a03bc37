//! Connections that the edge opens.
#![allow(clippy::unwrap_used)]

mod rig;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rig::{PATIENCE, Rig, Seen};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
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
    let (gone, address) = server();
    drop(gone);
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

/// Signs certificates; its own is in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dial");
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), file }
    }

    fn serve(&self, host: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

fn shake(server: &TcpListener, config: Arc<ServerConfig>) -> std::io::Result<String> {
    let (stream, _) = accept(server);
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes)?;
    stream.write_all(b"echo")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned() + &read(&mut stream, 6))
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
