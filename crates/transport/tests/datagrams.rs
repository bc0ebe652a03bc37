//! UDP on loopback.
#![allow(clippy::unwrap_used)]

mod rig;

use rig::{NOBODY, Rig, Seen, phone, receive};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use transport::{Listener, Protocol, Settings, Shard};
use wire::{ShardId, Side};

fn udp(address: &str) -> Listener {
    Listener::new(Protocol::Udp, address.parse().unwrap())
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    let rig = Rig::start(&Settings::default(), &[udp("0.0.0.0:0")], 1);
    let port = rig.outside[0].port();
    for asked in ["127.0.0.1", "127.0.0.2", "127.77.1.9"] {
        let asked = SocketAddr::new(asked.parse().unwrap(), port);
        let phone = phone("127.0.0.1:0");
        phone.send_to(b"echo", asked).unwrap();
        assert_eq!(receive(&phone), ("0 echo".into(), asked));
        let local = rig.until(|seen| match seen {
            Seen::Datagram { local, .. } => Some(local),
            _ => None,
        });
        assert_eq!(local, asked);
    }
}

#[test]
fn ipv6_answers_on_a_wildcard_and_leaves_ipv4_alone() {
    let rig = Rig::start(&Settings::default(), &[udp("[::]:0")], 2);
    let port = rig.outside[0].port();
    let asked: SocketAddr = format!("[::1]:{port}").parse().unwrap();
    let phone = phone("[::1]:0");
    phone.send_to(b"echo", asked).unwrap();
    let (text, from) = receive(&phone);
    assert!(text.ends_with(" echo"), "{text}");
    assert_eq!(from, asked);
    // IPV6_V6ONLY: the IPv4 port of the same number is free, at an address where no other test has it.
    std::net::UdpSocket::bind(("127.66.0.1", port)).unwrap();
}

#[test]
fn the_kernel_steers_like_shard_of() {
    let shards = 4;
    let listeners = [udp("127.0.0.1:0"), udp("[::1]:0"), udp("0.0.0.0:0")];
    let rig = Rig::start(&Settings::default(), &listeners, shards);
    let mut met = [0; 4];
    for n in 0..=255_u8 {
        let source = IpAddr::from([127, n, n.wrapping_mul(7), n.wrapping_mul(31) | 1]);
        let phone = phone(&format!("{source}:0"));
        let owner = proxy::Engine::shard_of(source, shards);
        for to in [rig.outside[0], SocketAddr::new([127, 0, 0, 9].into(), rig.outside[2].port())] {
            phone.send_to(b"echo", to).unwrap();
            assert_eq!(receive(&phone).0, format!("{} echo", owner.0), "{source}");
        }
        met[usize::from(owner.0)] += 1;
    }
    assert!(met.iter().all(|count| *count > 16), "{met:?}");
    let phone = phone("[::1]:0");
    phone.send_to(b"echo", rig.outside[1]).unwrap();
    let ShardId(owner) = proxy::Engine::shard_of([0; 16].into(), shards);
    assert_eq!(receive(&phone).0, format!("{owner} echo"));
}

#[test]
fn a_dead_pbx_is_reported_at_once() {
    for inside in ["127.0.0.1:0", "[::1]:0"] {
        let inside: SocketAddr = inside.parse().unwrap();
        let rig = Rig::with_inside(&Settings::default(), &[udp("127.0.0.1:0")], &[inside]);
        let dead = SocketAddr::new(inside.ip(), NOBODY);
        let phone = phone("127.0.0.1:0");
        for _ in 0..3 {
            phone.send_to(format!("to {dead}").as_bytes(), rig.outside[0]).unwrap();
            let remote = rig.until(|seen| match seen {
                Seen::Unreachable { side: Side::Inside, remote } => Some(remote),
                _ => None,
            });
            assert_eq!(remote, dead);
        }
        // A neighbour that lives hears all it is sent, whatever the dead one left on the socket.
        let pbx = std::net::UdpSocket::bind(inside).unwrap();
        pbx.set_read_timeout(Some(rig::PATIENCE)).unwrap();
        let alive = format!("to {}", pbx.local_addr().unwrap());
        for _ in 0..50 {
            phone.send_to(format!("to {dead}").as_bytes(), rig.outside[0]).unwrap();
            phone.send_to(alive.as_bytes(), rig.outside[0]).unwrap();
            assert_eq!(receive(&pbx), (alive.clone(), rig.inside[0]));
        }
    }
}

#[test]
fn the_largest_datagram_passes_and_a_longer_one_than_allowed_does_not() {
    let settings = Settings { datagram_bytes: 20_000, ..Settings::default() };
    for (settings, passes) in [(Settings::default(), true), (settings, false)] {
        let rig = Rig::start(&settings, &[udp("127.0.0.1:0")], 1);
        let phone = phone("127.0.0.1:0");
        let mut large = vec![b'x'; 65_000];
        large[..4].copy_from_slice(b"echo");
        phone.send_to(&large, rig.outside[0]).unwrap();
        if passes {
            assert_eq!(receive(&phone).0.len(), 65_002);
        } else {
            rig.until_count(|c| c.udp_truncated.value(), |n| n == 1);
        }
        phone.send_to(b"echo", rig.outside[0]).unwrap();
        assert_eq!(receive(&phone).0, "0 echo");
    }
}

#[test]
fn batches_carry_many_datagrams_whole_and_in_order() {
    let rig = Rig::start(&Settings::default(), &[udp("127.0.0.1:0")], 1);
    let phone = phone("127.0.0.1:0");
    for round in 0..20 {
        for n in 0..100 {
            phone.send_to(format!("echo {round} {n}").as_bytes(), rig.outside[0]).unwrap();
        }
        for n in 0..100 {
            assert_eq!(receive(&phone).0, format!("0 echo {round} {n}"));
        }
    }
    let calls = rig.counters[0].udp_receive_calls.value();
    assert_eq!(rig.counters[0].udp_received.value(), 2000);
    assert!(calls <= 2000, "{calls}");
}

#[test]
fn an_address_in_use_is_refused_by_name() {
    let stream = Listener::new(Protocol::Tcp, "127.0.0.1:0".parse().unwrap());
    let rig = Rig::start(&Settings::default(), &[udp("127.0.0.1:0"), stream], 2);
    let inside = ["127.0.0.1:0".parse().unwrap()];
    for (protocol, taken) in [(Protocol::Udp, rig.outside[0]), (Protocol::Tcp, rig.outside[1])] {
        let transport = protocol.transport().as_param();
        for address in [taken, SocketAddr::new([0, 0, 0, 0].into(), taken.port())] {
            let listener = Listener::new(protocol.clone(), address);
            let error = transport::bind(&Settings::default(), &[listener], &inside).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot bind {transport} {address}: Address already in use (os error 98)")
            );
        }
    }
    // Nor may an edge take its own twice.
    let free = phone("127.0.0.1:0").local_addr().unwrap();
    let twice = [udp(&free.to_string()), udp(&free.to_string())];
    let error = transport::bind(&Settings::default(), &twice, &inside).unwrap_err();
    assert_eq!(error.address, free);
}

/// One shard for the runtime of the calling test, with one outside address.
fn shard(settings: &Settings) -> (Shard, SocketAddr, SocketAddr) {
    let here = ["127.0.0.1:0".parse().unwrap()];
    let sockets = transport::bind(settings, &[udp("127.0.0.1:0")], &here).unwrap().pop().unwrap();
    let (outside, inside) = (sockets.outside().unwrap()[0], sockets.inside().unwrap());
    (Shard::new(settings, sockets, Arc::default()).unwrap(), outside, inside)
}

fn sides(shard: &mut Shard) -> Vec<Side> {
    let mut sides = Vec::new();
    while let Some(input) = shard.next_input() {
        match input {
            proxy::Input::Datagram { side, .. } => sides.push(side),
            proxy::Input::Coming { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    sides
}

#[tokio::test]
async fn a_flood_from_outside_leaves_the_inside_its_turn() {
    let settings = Settings { datagrams_per_wake: 8, receive_batch: 4, ..Settings::default() };
    let (mut shard, outside, inside) = shard(&settings);
    let sender = phone("127.0.0.1:0");
    for _ in 0..20 {
        sender.send_to(b"flood", outside).unwrap();
    }
    for expected in [8, 8, 4] {
        sender.send_to(b"answer", inside).unwrap();
        // A driver that turns to something else while the shard gives way loses nothing.
        for _ in 0..3 {
            tokio::select! { biased; () = shard.ready(rig::is_known) => {} () = std::future::ready(()) => {} }
        }
        shard.ready(rig::is_known).await;
        let seen = sides(&mut shard);
        assert_eq!(seen.first(), Some(&Side::Inside));
        assert_eq!(seen.len(), expected + 1);
    }
}

#[tokio::test]
async fn a_batch_from_outside_is_announced_with_its_sources_in_order() {
    let settings = Settings { receive_batch: 3, ..Settings::default() };
    let (mut shard, outside, inside) = shard(&settings);
    // the first three make a batch; one alone is not worth a word, nor is what the PBX sends
    let hosts = [2, 3, 2, 4].map(|host| IpAddr::from([127, 0, 0, host]));
    for host in hosts {
        phone(&format!("{host}:0")).send_to(b"datagram", outside).unwrap();
    }
    let pbx = phone("127.0.0.1:0");
    for _ in 0..2 {
        pbx.send_to(b"answer", inside).unwrap();
    }
    shard.ready(rig::is_known).await;
    let (mut announced, mut came) = (Vec::new(), Vec::new());
    while let Some(input) = shard.next_input() {
        match input {
            proxy::Input::Coming { sources } => announced.push((came.len(), sources.to_vec())),
            proxy::Input::Datagram { side: Side::Outside, remote, .. } => came.push(remote.ip()),
            proxy::Input::Datagram { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, hosts);
    assert_eq!(announced, [(0, hosts[..3].to_vec())]);
}

#[tokio::test]
async fn what_waits_while_more_is_left_has_waited() {
    let settings = Settings { datagrams_per_wake: 4, receive_batch: 4, ..Settings::default() };
    let (mut shard, outside, _) = shard(&settings);
    let sender = phone("127.0.0.1:0");
    for _ in 0..6 {
        sender.send_to(b"flood", outside).unwrap();
    }
    let mut waited = Vec::new();
    for expected in [4, 2] {
        shard.ready(rig::is_known).await;
        waited.push(shard.waited() > Duration::ZERO);
        assert_eq!(sides(&mut shard).len(), expected);
    }
    // the last round has left nothing: its wait was a burst's
    sender.send_to(b"answer", outside).unwrap();
    shard.ready(rig::is_known).await;
    waited.push(shard.waited() > Duration::ZERO);
    assert_eq!(waited, [false, true, false]);
}

#[tokio::test]
async fn one_peers_death_costs_another_no_datagram() {
    let (mut shard, _, inside) = shard(&Settings::default());
    let dead = SocketAddr::from(([127, 0, 0, 1], NOBODY));
    let alive = phone("127.0.0.1:0");
    let mut send = |remote| {
        let (side, local) = (Side::Inside, inside);
        shard.send(proxy::Output::Datagram { side, local, remote, bytes: b"hello" });
        // No look at the errors between the two: the second call is told of the first's.
        shard.flush();
    };
    send(dead);
    send(alive.local_addr().unwrap());
    assert_eq!(receive(&alive), ("hello".into(), inside));
    shard.ready(rig::is_known).await;
    match shard.next_input() {
        Some(proxy::Input::Unreachable { side: Side::Inside, remote }) => assert_eq!(remote, dead),
        other => panic!("{other:?}"),
    }
    assert_eq!(shard.counters().udp_send_failed.value(), 0);
}

#[tokio::test]
async fn what_the_kernel_drops_is_counted() {
    let settings = Settings { udp_receive_buffer: 16 << 10, ..Settings::default() };
    let (mut shard, outside, _) = shard(&settings);
    let sender = phone("127.0.0.1:0");
    for _ in 0..200 {
        sender.send_to(&[b'x'; 1000], outside).unwrap();
    }
    shard.ready(rig::is_known).await;
    let received = sides(&mut shard).len() as u64;
    sender.send_to(b"after", outside).unwrap();
    shard.ready(rig::is_known).await;
    assert_eq!(sides(&mut shard).len(), 1);
    assert!(received < 200);
    assert_eq!(shard.counters().udp_receive_overflowed.value(), 200 - received);
}

#[test]
fn granted_buffers_are_told() {
    let inside = ["127.0.0.1:0".parse().unwrap()];
    let all = transport::bind(&Settings::default(), &[udp("127.0.0.1:0")], &inside).unwrap();
    let buffers = all[0].buffers().unwrap();
    assert_eq!(buffers.len(), 2);
    assert!(buffers.iter().all(|granted| granted.receive > 0 && granted.send > 0), "{buffers:?}");
}

#[test]
fn a_source_of_its_own_sends_and_hears() {
    let settings = Settings::default();
    let inside: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(); 2];
    let source: IpAddr = [127, 0, 0, 9].into();
    let rig = Rig::with_sources(&settings, &[udp("127.0.0.1:0")], &inside, &[source]);
    let pbx = phone("127.0.0.1:0");
    let phone = phone("127.0.0.1:0");
    let to = pbx.local_addr().unwrap();
    let owner = usize::from(proxy::Engine::shard_of([127, 0, 0, 1].into(), 2).0);
    let ours = SocketAddr::new(source, rig.inside[owner].port());
    phone.send_to(format!("from {source} {to}").as_bytes(), rig.outside[0]).unwrap();
    assert_eq!(receive(&pbx).1, ours);
    pbx.send_to(b"echo", ours).unwrap();
    assert_eq!(receive(&pbx), (format!("{owner} echo"), ours));
    let (side, local) = rig.until(|seen| match seen {
        Seen::Datagram { side, local, remote, .. } if remote == to => Some((side, local)),
        _ => None,
    });
    assert_eq!((side, local), (Side::Inside, ours));
    // one that nobody listens on is reported when it is used again
    let dead = SocketAddr::from(([127, 0, 0, 1], NOBODY));
    for _ in 0..2 {
        phone.send_to(format!("from {source} {dead}").as_bytes(), rig.outside[0]).unwrap();
        phone.send_to(b"echo", rig.outside[0]).unwrap();
        let _ = receive(&phone);
    }
    let remote = rig.until(|seen| match seen {
        Seen::Unreachable { side: Side::Inside, remote } => Some(remote),
        _ => None,
    });
    assert_eq!(remote, dead);
}
