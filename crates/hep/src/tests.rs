//! Packets byte by byte, and what a server gets and does not get.

use crate::{Hep, Packet, Payload, Settings, Transport, encode};
use policy::{Policy, Time};
use proxy::{Engine, Event, Input, Output};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::{ShardId, Side};

const SOURCE: &str = "198.51.100.7:5060";
const LOCAL: &str = "203.0.113.1:5060";

fn policy() -> Arc<Policy> {
    let inside = "127.0.0.1:5080".parse().unwrap();
    Arc::new(Policy::new(Vec::new(), inside, Vec::new()))
}

fn at() -> Time {
    Time::ZERO + Duration::from_micros(1_795_380_008_125_999)
}

/// The chunks of a packet by their type, as the specification takes it apart.
fn chunks(packet: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
    let (mut rest, mut chunks) = (&packet[6..], BTreeMap::new());
    while !rest.is_empty() {
        let number = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        assert_eq!(number(0), 0, "a generic chunk");
        let (kind, length) = (number(2), usize::from(number(4)));
        assert!(chunks.insert(kind, rest[6..length].to_vec()).is_none());
        rest = &rest[length..];
    }
    chunks
}

/// A request that looks like a tool, and what an engine decided about it.
fn scanned() -> (Engine, Event, Vec<u8>) {
    let mut engine = Engine::new(policy(), ShardId(0), 1, [1; 32], [2; 32]);
    let bytes = format!(
        "BREAK sip:100@{LOCAL} SIP/2.0\r\nVia: SIP/2.0/UDP {SOURCE};branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@1.1.1.1>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\n\
         Call-ID: c1\r\nCSeq: 1 BREAK\r\nContent-Length: 0\r\n\r\n"
    );
    let (local, remote) = (LOCAL.parse().unwrap(), SOURCE.parse().unwrap());
    let (side, bytes) = (Side::Outside, bytes.as_bytes());
    engine.handle_input(at(), Input::Datagram { side, local, remote, bytes });
    let mut event = None;
    while let Some(output) = engine.poll_output() {
        if let Output::Event(it) = output {
            event = Some(it);
        }
    }
    (engine, event.unwrap(), bytes.to_vec())
}

fn settings(address: SocketAddr, transport: Transport) -> Settings {
    Settings { transport, address, all: false, agent: 2_001, node: "edge".into() }
}

fn wait(what: &str, done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

#[test]
fn a_packet_is_as_the_specification_has_it() {
    let packet = Packet {
        at: at(),
        source: "192.0.2.1:5060".parse().unwrap(),
        destination: "203.0.113.1:5061".parse().unwrap(),
        transport: wire::Transport::Tls,
        agent: 0x0102_0304,
        node: "",
        correlation: b"c1",
        payload: Payload::Sip,
    };
    let mut bytes = b"before".to_vec();
    encode(&packet, b"SIP", &mut bytes);
    let right: &[&[u8]] = &[
        b"beforeHEP3\0\x6e",
        b"\0\0\0\x01\0\x07\x02",
        b"\0\0\0\x02\0\x07\x06",
        b"\0\0\0\x03\0\x0a\xc0\0\x02\x01",
        b"\0\0\0\x04\0\x0a\xcb\0\x71\x01",
        b"\0\0\0\x07\0\x08\x13\xc4",
        b"\0\0\0\x08\0\x08\x13\xc5",
        b"\0\0\0\x09\0\x0a\x6b\x03\x53\x28",
        b"\0\0\0\x0a\0\x0a\0\x01\xec\x2f",
        b"\0\0\0\x0b\0\x07\x01",
        b"\0\0\0\x0c\0\x0a\x01\x02\x03\x04",
        b"\0\0\0\x11\0\x08c1",
        b"\0\0\0\x0f\0\x09SIP",
    ];
    assert_eq!(bytes, right.concat(), "{bytes:02x?}");
}

#[test]
fn ipv6_and_a_payload_that_is_too_long() {
    let packet = Packet {
        at: at(),
        source: "[2001:db8::1]:5060".parse().unwrap(),
        destination: "[2001:db8::2]:5060".parse().unwrap(),
        transport: wire::Transport::Udp,
        agent: 1,
        node: "edge",
        correlation: b"",
        payload: Payload::Log,
    };
    let mut bytes = Vec::new();
    encode(&packet, &[b'x'; 100_000], &mut bytes);
    assert_eq!(bytes.len(), crate::encode::PACKET_MAX);
    let chunks = chunks(&bytes);
    assert_eq!((&chunks[&1][..], chunks[&5].len(), chunks[&6].len()), (&[10][..], 16, 16));
    assert_eq!((&chunks[&0x0b][..], &chunks[&0x13][..]), (&[100][..], &b"edge"[..]));
    assert!(!chunks.contains_key(&0x11));
}

#[test]
fn a_message_and_its_verdict_belong_together() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let to = settings(server.local_addr().unwrap(), Transport::Udp);
    let hep = Hep::start(Some((to, 1 << 16)), 1).unwrap();
    let (engine, event, bytes) = scanned();
    hep.exporter(0).on_event(&event, &engine, &policy());
    let receive = || {
        let mut buffer = [0; 65_536];
        let length = server.recv(&mut buffer).unwrap();
        chunks(&buffer[..length])
    };
    let (sip, log) = (receive(), receive());
    assert_eq!((&sip[&0x0b][..], &sip[&0x0f]), (&[1][..], &bytes));
    assert_eq!(
        (&sip[&0x11][..], &log[&0x11][..], &log[&0x0b][..]),
        (&b"c1"[..], &b"c1"[..], &[100][..])
    );
    let log: Value = serde_json::from_slice(&log[&0x0f]).unwrap();
    assert_eq!((&log["verdict"], &log["reason"]), (&"reject".into(), &"rule".into()), "{log}");
    assert_eq!((&log["status"], &log["rule"]), (&405.into(), &"stranger-methods".into()), "{log}");
    wait("it is counted", || hep.counters().sent.load(Relaxed) == 1);
    assert!(hep.counters().is_up());
}

#[test]
fn only_what_is_refused_is_sent_unless_all_is_wanted() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (engine, event, _) = scanned();
    let passed = Event { verdict: proxy::Verdict::Forward, ..event.clone() };
    let sent = |settings: Option<Settings>, event: &Event| {
        let hep = Hep::start(settings.map(|it| (it, 1 << 16)), 1).unwrap();
        let mut exporter = hep.exporter(0);
        exporter.on_event(event, &engine, &policy());
        // one that is always sent, behind it
        exporter.on_event(&scanned().1, &engine, &policy());
        wait("it is sent", || {
            hep.counters().sent.load(Relaxed) > 0 || !hep.counters().on.load(Relaxed)
        });
        hep.counters().sent.load(Relaxed)
    };
    let to = settings(server.local_addr().unwrap(), Transport::Udp);
    assert_eq!(sent(Some(to.clone()), &passed), 1);
    assert_eq!(sent(None, &passed), 0);
    let hep = Hep::start(Some((Settings { all: true, ..to }, 1 << 16)), 1).unwrap();
    hep.exporter(0).on_event(&passed, &engine, &policy());
    wait("it is sent", || hep.counters().sent.load(Relaxed) == 1);
}

#[test]
fn a_full_ring_loses_messages_and_a_dead_server_blocks_nobody() {
    // nobody listens there: the kernel gives such a port to nobody by itself
    let dead = SocketAddr::from(([127, 0, 0, 1], 9));
    let hep = Hep::start(Some((settings(dead, Transport::Tcp), 4_096)), 1).unwrap();
    let mut exporter = hep.exporter(0);
    let (engine, event, _) = scanned();
    for _ in 0..10_000 {
        exporter.on_event(&event, &engine, &policy());
    }
    let counters = hep.counters();
    wait("all are lost", || counters.lost.load(Relaxed) == 10_000);
    assert!(counters.failed.load(Relaxed) >= 1 && counters.sent.load(Relaxed) == 0);
    assert!(!counters.is_up() && hep.health().error.is_some());
    // it goes elsewhere while it runs
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    hep.configure(Some((settings(server.local_addr().unwrap(), Transport::Tcp), 4_096)));
    exporter.configure();
    exporter.on_event(&event, &engine, &policy());
    let (mut stream, _) = server.accept().unwrap();
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head[..4], b"HEP3");
    wait("it is sent", || counters.sent.load(Relaxed) == 1);
    assert_eq!(hep.health().error, None);
    hep.configure(None);
    exporter.configure();
    exporter.on_event(&event, &engine, &policy());
    assert_eq!((hep.health().target, counters.is_up()), (None, false));
}
