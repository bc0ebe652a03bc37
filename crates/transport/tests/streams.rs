//! TCP on loopback.
#![allow(clippy::unwrap_used)]

mod rig;

use rig::{Rig, Seen, dial};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use transport::{Listener, Protocol, Settings, Shard};
use wire::{ConnectionId, Transport};

fn tcp(address: &str) -> Listener {
    Listener::new(Protocol::Tcp, address.parse().unwrap())
}

/// A phone's connection.
fn dial_local(to: SocketAddr) -> TcpStream {
    dial([127, 0, 0, 1].into(), to)
}

fn ask(stream: &mut TcpStream, text: &str, answer: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = vec![0; answer.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), answer);
}

/// Whether the peer has ended the connection, in order or not.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 4096];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                // the latter of one that was reset before it was read
                let ends = [ErrorKind::ConnectionReset, ErrorKind::NotConnected];
                return ends.contains(&error.kind());
            }
        }
    }
}

fn opened(rig: &Rig) -> wire::Flow {
    rig.until(|seen| match seen {
        Seen::Opened { flow } => Some(flow),
        _ => None,
    })
}

fn closed(rig: &Rig) -> ConnectionId {
    rig.until(|seen| match seen {
        Seen::Closed { connection } => Some(connection),
        _ => None,
    })
}

#[test]
fn a_connection_opens_speaks_and_closes() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let rig = Rig::start(&Settings::default(), &[tcp(at)], 1);
        let to = rig.outside[0];
        let mut phone = dial(to.ip(), to);
        let flow = opened(&rig);
        assert_eq!(flow.transport, Transport::Tcp);
        assert_eq!((flow.local, flow.remote), (to, phone.local_addr().unwrap()));
        ask(&mut phone, "echo one", "0 echo one");
        ask(&mut phone, "echo two", "0 echo two");
        drop(phone);
        assert_eq!(Some(closed(&rig)), flow.connection);
        rig.until_count(|c| c.connections.value(), |n| n == 0);
        rig.until_count(|c| c.closed_by_peer.value(), |n| n == 1);
    }
}

#[test]
fn the_kernel_steers_connections_like_shard_of() {
    let shards = 4;
    let rig = Rig::start(&Settings::default(), &[tcp("127.0.0.1:0"), tcp("[::1]:0")], shards);
    let mut met = [0; 4];
    for n in 0..128_u8 {
        let source = IpAddr::from([127, n, n.wrapping_mul(7), n.wrapping_mul(31) | 1]);
        let owner = proxy::Engine::shard_of(source, shards);
        let mut phone = dial(source, rig.outside[0]);
        ask(&mut phone, "echo", &format!("{} echo", owner.0));
        let flow = opened(&rig);
        assert_eq!(flow.connection.unwrap().shard(), owner);
        met[usize::from(owner.0)] += 1;
    }
    assert!(met.iter().all(|count| *count > 8), "{met:?}");
    let owner = proxy::Engine::shard_of([0; 16].into(), shards);
    let mut phone = dial("::1".parse().unwrap(), rig.outside[1]);
    ask(&mut phone, "echo", &format!("{} echo", owner.0));
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    let rig = Rig::start(&Settings::default(), &[tcp("127.0.0.1:0")], 1);
    let mut phone = dial_local(rig.outside[0]);
    // More than the engine reads: what is unread must not turn the close into a reset.
    phone.write_all(&[b"close".as_slice(), &[b'x'; 30_000]].concat()).unwrap();
    let mut all = String::new();
    phone.read_to_string(&mut all).unwrap();
    assert_eq!(all, "0 bye");
    closed(&rig);
    drop(phone);
    rig.until_count(|c| c.connections.value(), |n| n == 0);
    assert_eq!(rig.counters[0].closed_by_engine.value(), 1);
}

#[test]
fn a_peer_that_never_reads_is_shed_and_hurts_nobody() {
    let settings = Settings {
        send_queue_bytes: 64 << 10,
        stream_kernel_buffer: 16 << 10,
        ..Settings::default()
    };
    let rig = Rig::start(&settings, &[tcp("127.0.0.1:0")], 1);
    let mut deaf = dial_local(rig.outside[0]);
    let mut other = dial_local(rig.outside[0]);
    let deaf_id = opened(&rig).connection.unwrap();
    // Each fits; the peer's and our kernel's buffers take a share, then the queue is full. Each
    // is asked for after the one before was heard, for the engine knows whole chunks only.
    loop {
        if deaf.write_all(b"flood 60000").is_err() {
            break;
        }
        ask(&mut other, "echo", "0 echo");
        if rig.counters[0].closed_send_queue.value() == 1 {
            break;
        }
    }
    assert_eq!(closed(&rig), deaf_id);
    ask(&mut other, "echo", "0 echo");
    assert!(has_ended(&mut deaf));
    rig.until_count(|c| c.connections.value(), |n| n == 1);
}

#[test]
fn a_large_answer_reaches_a_peer_that_reads() {
    let rig = Rig::start(&Settings::default(), &[tcp("127.0.0.1:0")], 1);
    let mut phone = dial_local(rig.outside[0]);
    for _ in 0..20 {
        phone.write_all(b"flood 250000").unwrap();
        let mut bytes = vec![0; 250_000];
        phone.read_exact(&mut bytes).unwrap();
    }
    assert_eq!(rig.counters[0].closed_send_queue.value(), 0);
    assert_eq!(rig.counters[0].stream_sent_bytes.value(), 5_000_000);
}

#[test]
fn one_who_sends_without_end_does_not_silence_another() {
    let rig = Rig::start(&Settings::default(), &[tcp("127.0.0.1:0")], 1);
    let mut loud = dial_local(rig.outside[0]);
    let stop = loud.try_clone().unwrap();
    let flood = std::thread::spawn(move || while loud.write_all(&[b'x'; 100_000]).is_ok() {});
    let mut phone = dial_local(rig.outside[0]);
    for n in 0..200 {
        ask(&mut phone, &format!("echo {n}"), &format!("0 echo {n}"));
    }
    stop.shutdown(std::net::Shutdown::Both).unwrap();
    flood.join().unwrap();
}

#[test]
fn connections_of_one_source_are_bounded() {
    let settings = Settings { connections_per_source: 3, ..Settings::default() };
    let rig = Rig::start(&settings, &[tcp("127.0.0.1:0")], 1);
    let mut kept: Vec<_> = (0..3).map(|_| dial_local(rig.outside[0])).collect();
    for phone in &mut kept {
        ask(phone, "echo", "0 echo");
    }
    assert!(has_ended(&mut dial_local(rig.outside[0])));
    let mut neighbour = dial([127, 0, 0, 2].into(), rig.outside[0]);
    ask(&mut neighbour, "echo", "0 echo");
    rig.until_count(|c| c.refused_source.value(), |n| n == 1);
    kept.pop();
    rig.until_count(|c| c.connections.value(), |n| n == 3);
    ask(&mut dial_local(rig.outside[0]), "echo", "0 echo");
}

#[test]
fn connections_in_all_are_bounded() {
    let settings = Settings { connections: 2, ..Settings::default() };
    let rig = Rig::start(&settings, &[tcp("127.0.0.1:0")], 1);
    let mut kept: Vec<_> = (0..2).map(|_| dial_local(rig.outside[0])).collect();
    for phone in &mut kept {
        ask(phone, "echo", "0 echo");
    }
    assert!(has_ended(&mut dial([127, 0, 0, 2].into(), rig.outside[0])));
    rig.until_count(|c| c.refused_full.value(), |n| n == 1);
    for phone in &mut kept {
        ask(phone, "echo", "0 echo");
    }
}

#[test]
fn strangers_leave_room_for_who_is_known() {
    let settings = Settings { connections: 6, reserve: 2, ..Settings::default() };
    let rig = Rig::start(&settings, &[tcp("127.0.0.1:0")], 1);
    let mut strangers: Vec<_> =
        (2..6).map(|n| dial([127, 0, 0, n].into(), rig.outside[0])).collect();
    for stranger in &mut strangers {
        ask(stranger, "echo", "0 echo");
    }
    assert!(has_ended(&mut dial([127, 0, 0, 6].into(), rig.outside[0])));
    rig.until_count(|c| c.refused_full.value(), |n| n == 1);
    let mut known: Vec<_> = (0..2).map(|_| dial_local(rig.outside[0])).collect();
    for phone in &mut known {
        ask(phone, "echo", "0 echo");
    }
    assert!(has_ended(&mut dial_local(rig.outside[0])));
}

#[test]
fn a_source_may_have_more_where_phones_have_registered() {
    let settings = Settings { connections_per_source: 2, ..Settings::default() };
    let rig = Rig::start(&settings, &[tcp("127.0.0.1:0")], 1);
    let mut phones: Vec<_> = (0..2).map(|_| dial_local(rig.outside[0])).collect();
    for phone in &mut phones {
        ask(phone, "register", "0 register");
    }
    // their router has started anew, and nobody knows yet that those are dead
    let mut again: Vec<_> = (0..2).map(|_| dial_local(rig.outside[0])).collect();
    for phone in &mut again {
        ask(phone, "echo", "0 echo");
    }
    assert!(has_ended(&mut dial_local(rig.outside[0])));
    rig.until_count(|c| c.refused_source.value(), |n| n == 1);
}

#[test]
fn whoever_is_not_let_in_leaves_nothing() {
    let rig = Rig::start(&Settings::default(), &[tcp("127.0.0.1:0")], 1);
    let mut stranger = dial_local(rig.outside[0]);
    stranger.write_all(b"refuse").unwrap();
    let ended = stranger.read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    // though the stranger has not closed its own end
    rig.until_count(|c| c.connections.value(), |n| n == 0);
    drop(stranger);
}

#[test]
fn thousands_come_and_go() {
    let settings = Settings { connections_per_wake: 3, accepts_per_wake: 2, ..Settings::default() };
    let rig = Rig::start(&settings, &[tcp("127.0.0.1:0")], 2);
    for round in 0..20 {
        let mut phones: Vec<_> =
            (1..=100).map(|n| dial([127, 1, round, n].into(), rig.outside[0])).collect();
        for phone in &mut phones {
            phone.write_all(b"echo").unwrap();
        }
        for phone in &mut phones {
            let mut bytes = [0; 6];
            phone.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes[1..], b" echo");
        }
    }
    rig.until_count(|c| c.connections.value(), |n| n == 0);
    rig.until_count(|c| c.closed_by_peer.value(), |n| n == 2000);
}

/// Binds one shard for the runtime of the calling test.
fn shard(settings: &Settings) -> (Shard, SocketAddr) {
    let inside = ["127.0.0.1:0".parse().unwrap()];
    let mut all = transport::bind(settings, &[tcp("127.0.0.1:0")], &inside).unwrap();
    let sockets = all.pop().unwrap();
    let at = sockets.outside().unwrap()[0];
    (Shard::new(settings, sockets, Arc::default()).unwrap(), at)
}

async fn next_opened(shard: &mut Shard) -> ConnectionId {
    loop {
        shard.ready(rig::is_known).await;
        while let Some(input) = shard.next_input() {
            if let proxy::Input::Opened { flow } = input {
                return flow.connection.unwrap();
            }
        }
    }
}

async fn next_closed(shard: &mut Shard) -> ConnectionId {
    loop {
        shard.ready(rig::is_known).await;
        while let Some(input) = shard.next_input() {
            if let proxy::Input::Closed { connection } = input {
                return connection;
            }
        }
        shard.flush();
    }
}

#[tokio::test]
async fn a_round_left_early_loses_nothing() {
    let settings =
        Settings { stream_read_bytes: 1000, stream_bytes_per_wake: 5000, ..Settings::default() };
    let (mut shard, at) = shard(&settings);
    let mut phone = dial_local(at);
    next_opened(&mut shard).await;
    phone.write_all(&[b'x'; 50_000]).unwrap();
    drop(phone);
    let (mut bytes_seen, mut closed) = (0, false);
    while !closed {
        shard.ready(rig::is_known).await;
        match shard.next_input() {
            Some(proxy::Input::Stream { bytes, .. }) => bytes_seen += bytes.len(),
            Some(proxy::Input::Closed { .. }) => closed = true,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    assert_eq!(bytes_seen, 50_000);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_closed_in_time() {
    let settings = Settings { stream_kernel_buffer: 16 << 10, ..Settings::default() };
    let (mut shard, at) = shard(&settings);
    let deaf = dial_local(at);
    let id = next_opened(&mut shard).await;
    // What the kernel's buffers of both ends leave over stays in the queue.
    let mut sent = 0;
    while shard.counters().closed_send_queue.value() == 0 && sent < 200 << 10 {
        shard.send(proxy::Output::Stream { connection: id, bytes: &[b'x'; 10_000] });
        sent += 10_000;
    }
    shard.flush();
    let start = tokio::time::Instant::now();
    assert_eq!(next_closed(&mut shard).await, id);
    assert!(start.elapsed() >= settings.send_stall);
    assert_eq!(shard.counters().closed_send_stalled.value(), 1);
    assert!(!shard.has_connections());
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn an_end_does_not_wait_for_a_peer_that_never_closes() {
    let (mut shard, at) = shard(&Settings::default());
    let stubborn = dial_local(at);
    let id = next_opened(&mut shard).await;
    shard.close_connections();
    assert_eq!(next_closed(&mut shard).await, id);
    assert!(shard.has_connections());
    let gone = async {
        while shard.has_connections() {
            tokio::select! {
                () = shard.ready(rig::is_known) => while shard.next_input().is_some() {},
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
            }
            shard.flush();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
    drop(stubborn);
}
