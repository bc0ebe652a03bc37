//! Load balancers on loopback that say for whom they speak.
#![allow(clippy::unwrap_used)]

mod rig;

use rig::{PATIENCE, Rig, Seen, phone, receive};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use transport::{CertStore, CertificateFiles, ClientCertificates};
use transport::{Listener, Protocol, Settings, TlsFiles};
use wire::{ShardId, Transport};

const SHARDS: u8 = 4;
/// Where balancers are.
const BALANCER: &str = "127.9.0.1:0";

fn balanced(protocol: Protocol, address: &str) -> Listener {
    let balancers = vec!["127.9.0.0/24".parse().unwrap()];
    Listener { protocol, address: address.parse().unwrap(), balancers }
}

fn start(settings: &Settings, protocol: Protocol) -> Rig {
    Rig::start(settings, &[balanced(protocol, "0.0.0.0:0")], SHARDS)
}

fn edge(rig: &Rig) -> SocketAddr {
    SocketAddr::new([127, 0, 0, 1].into(), rig.outside[0].port())
}

/// A header of version 2, over streams or datagrams (`1`, `2`).
fn header(client: SocketAddr, over: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let (family, source, target) = match client.ip() {
        IpAddr::V4(ip) => (0x10, ip.octets().to_vec(), vec![203; 4]),
        IpAddr::V6(ip) => (0x20, ip.octets().to_vec(), vec![0x20; 16]),
    };
    header.extend([family | over, 0, 2 * source.len() as u8 + 4]);
    header.extend([source, target].concat());
    header.extend([client.port().to_be_bytes(), 5060_u16.to_be_bytes()].concat());
    header
}

fn connect(from: &str, to: SocketAddr) -> TcpStream {
    rig::dial(from.parse::<SocketAddr>().unwrap().ip(), to)
}

fn clients() -> impl Iterator<Item = SocketAddr> {
    let v4 = (1..=12_u8).map(|n| SocketAddr::from(([198, 51, 100, n], 5060 + u16::from(n))));
    v4.chain(["[2001:db8::7]:5061".parse().unwrap()])
}

fn opened(rig: &Rig) -> wire::Flow {
    rig.until(|seen| match seen {
        Seen::Opened { flow } => Some(flow),
        _ => None,
    })
}

/// What comes back when a line is said; empty when the connection ends.
fn ask(stream: &mut (impl Read + Write), text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = vec![0; text.len() + 2];
    match stream.read_exact(&mut bytes) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

#[test]
fn a_connection_is_its_clients_and_meets_its_shard() {
    let rig = start(&Settings::default(), Protocol::Tcp);
    for client in clients() {
        for version in [1, 2] {
            let mut stream = connect(BALANCER, edge(&rig));
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let ip = client.ip();
            let text = format!("PROXY {family} {ip} {ip} {} 5060\r\n", client.port());
            let header = if version == 1 { text.into_bytes() } else { header(client, 1) };
            // its last byte comes with what follows it
            let (last, first) = header.split_last().unwrap();
            stream.write_all(first).unwrap();
            stream.write_all(&[&[*last], &b"echo"[..]].concat()).unwrap();
            let flow = opened(&rig);
            let ShardId(owner) = proxy::Engine::shard_of(client.ip(), SHARDS);
            assert_eq!((flow.transport, flow.remote), (Transport::Tcp, client));
            assert_eq!(flow.connection.unwrap().shard(), ShardId(owner), "{client}");
            let mut answer = [0; 6];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), format!("{owner} echo"));
        }
    }
    rig.until_count(|counters| counters.introduced.value(), |count| count == 26);
    let handed = rig.until_count(|counters| counters.handed_over.value(), |_| true);
    assert!(handed > 0, "the balancer's shard is not everybody's");
}

#[test]
fn a_balancer_that_does_not_say_for_whom_it_speaks_is_refused() {
    let rig = start(&Settings::default(), Protocol::Tcp);
    let refused = |sum| rig.until_count(|c| c.not_introduced.value(), |count| count == sum);
    for (n, begin) in [&b"echo"[..], b"PROXY TCP4 a b c d\r\n", b"PROXY TCP4 1.2.3.4", b""]
        .into_iter()
        .enumerate()
    {
        let mut stream = connect(BALANCER, edge(&rig));
        stream.write_all(begin).unwrap();
        // it may have been refused by now
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "{begin:?}");
        refused(n as u64 + 1);
    }
    // whoever is no balancer is who he is, and a header is what he says
    let mut stranger = connect("127.8.0.1:0", edge(&rig));
    stranger.write_all(b"PROXY TCP4 198.51.100.7 203.0.113.1 49152 5060\r\n").unwrap();
    assert_eq!(opened(&rig).remote, stranger.local_addr().unwrap());
    let said = rig.until(|seen| match seen {
        Seen::Stream { bytes, .. } => Some(bytes),
        _ => None,
    });
    assert!(said.starts_with(b"PROXY TCP4 "));
    refused(4);
}

#[test]
fn behind_a_balancer_too_strangers_leave_room_for_who_is_known() {
    let known: IpAddr = [127, 0, 0, 1].into();
    assert!(rig::is_known(known) && !rig::is_known([127, 9, 0, 1].into()));
    let owner = |ip| proxy::Engine::shard_of(ip, SHARDS);
    // one whose shard is that of who is known, and one whose connections are handed to it
    for same in [true, false] {
        let settings = Settings { connections: 6, reserve: 2, ..Settings::default() };
        let rig = start(&settings, Protocol::Tcp);
        let mut balancers = (1..=50).map(|n| IpAddr::from([127, 9, 0, n]));
        let balancer = balancers.find(|it| (owner(*it) == owner(known)) == same).unwrap();
        let client = |ip: IpAddr| {
            let mut stream = connect(&SocketAddr::new(balancer, 0).to_string(), edge(&rig));
            // all at once: who is refused is gone before he could write more
            stream.write_all(&[&header((ip, 5060).into(), 1), &b"echo"[..]].concat()).unwrap();
            let heard = stream.read_exact(&mut [0; 6]).is_ok();
            (stream, heard)
        };
        let comes = |ips: &[IpAddr]| ips.iter().map(|ip| client(*ip)).collect::<Vec<_>>();
        // each shard has places of its own
        let ips = (1..=255).map(|n| IpAddr::from([198, 51, 100, n]));
        let ips: Vec<_> = ips.filter(|ip| owner(*ip) == owner(known)).collect();
        let strangers = comes(&ips[..4]);
        assert!(strangers.iter().all(|(_, heard)| *heard), "{same}");
        let more = comes(&ips[4..10]);
        assert!(more.iter().all(|(_, heard)| !heard), "{same}");
        let phones = comes(&[known, known]);
        assert!(phones.iter().all(|(_, heard)| *heard), "{same}");
        assert!(!client(known).1, "all places are taken");
    }
}

#[test]
fn a_balancer_that_checks_the_edges_health_is_itself() {
    let rig = start(&Settings::default(), Protocol::Tcp);
    for header in [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], b"PROXY UNKNOWN\r\n"] {
        let mut stream = connect(BALANCER, edge(&rig));
        stream.write_all(header).unwrap();
        assert_eq!(opened(&rig).remote, stream.local_addr().unwrap());
        assert!(ask(&mut stream, "echo").ends_with(" echo"));
    }
}

#[test]
fn a_header_has_its_time_and_its_place() {
    let settings =
        Settings { handshake: Duration::from_millis(50), handshakes: 1, ..Settings::default() };
    let rig = start(&settings, Protocol::Tcp);
    let mut slow = connect(BALANCER, edge(&rig));
    // its time may be over by now
    let _ = slow.write_all(b"PROXY ");
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0);
    rig.until_count(|counters| counters.handshake_slow.value(), |count| count == 1);

    let patient = Settings { handshake: PATIENCE, handshakes: 1, ..Settings::default() };
    let rig = start(&patient, Protocol::Tcp);
    let _first = connect(BALANCER, edge(&rig));
    let mut second = connect(BALANCER, edge(&rig));
    assert_eq!(second.read(&mut [0]).unwrap_or(0), 0, "no place is left");
    rig.until_count(|counters| counters.refused_handshakes.value(), |count| count == 1);
}

#[test]
fn places_are_counted_by_client_not_by_balancer() {
    let settings = Settings { connections_per_source: 1, ..Settings::default() };
    let rig = start(&settings, Protocol::Tcp);
    let dial = |client: &str| {
        let mut stream = connect(BALANCER, edge(&rig));
        stream.write_all(&header(client.parse().unwrap(), 1)).unwrap();
        stream
    };
    let mut all: Vec<_> = clients().map(|client| dial(&client.to_string())).collect();
    for stream in &mut all {
        assert!(ask(stream, "echo").ends_with(" echo"));
    }
    let mut again = dial("198.51.100.1:9");
    assert_eq!(again.read(&mut [0]).unwrap_or(0), 0);
    rig.until_count(|counters| counters.refused_source.value(), |count| count == 1);
}

#[test]
fn tls_begins_behind_the_header_on_the_clients_shard() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("balanced");
    std::fs::create_dir_all(&directory).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["sip.example.com".into()]).unwrap();
    let (certificate, key) = (directory.join("a.pem"), directory.join("a.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let certificates = vec![CertificateFiles { certificate, key }];
    let store = CertStore::open(TlsFiles { certificates, clients: ClientCertificates::Off });
    let rig = start(&Settings::default(), Protocol::Tls(store.unwrap()));

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for client in clients() {
        let mut stream = connect(BALANCER, edge(&rig));
        stream.write_all(&header(client, 1)).unwrap();
        let name = ServerName::try_from("sip.example.com").unwrap();
        let session = ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let ShardId(owner) = proxy::Engine::shard_of(client.ip(), SHARDS);
        assert_eq!(ask(&mut stream, "echo"), format!("{owner} echo"));
        let flow = opened(&rig);
        assert_eq!((flow.transport, flow.remote), (Transport::Tls, client));
    }
}

#[test]
fn datagrams_are_their_clients_and_answers_go_back_by_the_balancer() {
    let rig = start(&Settings::default(), Protocol::Udp);
    // a balancer has a socket for each client
    for client in clients() {
        let socket = phone(BALANCER);
        socket.send_to(&[header(client, 2), b"echo".to_vec()].concat(), edge(&rig)).unwrap();
        let ShardId(owner) = proxy::Engine::shard_of(client.ip(), SHARDS);
        assert_eq!(receive(&socket), (format!("{owner} echo"), edge(&rig)), "{client}");
        let seen = rig.until(|seen| match seen {
            Seen::Datagram { shard, local, remote, bytes, .. } => {
                Some((shard, local, remote, bytes))
            }
            _ => None,
        });
        assert_eq!(seen, (ShardId(owner), edge(&rig), client, b"echo".to_vec()));
    }
    rig.until_count(|counters| counters.balancer_paths.value(), |count| count == 13);
    // whoever is no balancer is who he is
    let direct = phone("127.8.0.1:0");
    direct.send_to(b"echo", edge(&rig)).unwrap();
    assert!(receive(&direct).0.ends_with(" echo"));
    // a balancer without a header is nobody
    let socket = phone(BALANCER);
    for begin in [&b"echo"[..], b"PROXY TCP4 198.51.100.7 203.0.113.1 49152 5060\r\necho"] {
        socket.send_to(begin, edge(&rig)).unwrap();
    }
    rig.until_count(|counters| counters.not_introduced.value(), |count| count == 2);
    // one that speaks for itself is answered
    socket.send_to(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0echo", edge(&rig)).unwrap();
    assert!(receive(&socket).0.ends_with(" echo"));
}
