//! Captures are written here, packet by packet, and read back.

use crate::{Broken, Counts, Dissector, Link, Packet, Reader, Seen};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, PacketBuilder};
use policy::Time;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

const PHONE: &str = "198.51.100.7:5062";
const EDGE: &str = "203.0.113.1:5060";
const PHONE_V6: &str = "[2001:db8::7]:5062";
const EDGE_V6: &str = "[2001:db8::1]:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// IP and what is on it.
fn udp(from: &str, to: &str, bytes: &[u8]) -> Vec<u8> {
    let (from, to) = (address(from), address(to));
    let mut packet = Vec::new();
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => PacketBuilder::ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => PacketBuilder::ipv6(a.octets(), b.octets(), 64),
        _ => panic!("{from} {to}"),
    };
    builder.udp(from.port(), to.port()).write(&mut packet, bytes).unwrap();
    packet
}

fn tcp(from: &str, to: &str, sequence: u32, flags: &str, bytes: &[u8]) -> Vec<u8> {
    let (from, to) = (address(from), address(to));
    let (IpAddr::V4(a), IpAddr::V4(b)) = (from.ip(), to.ip()) else { panic!("{from}") };
    let mut builder = PacketBuilder::ipv4(a.octets(), b.octets(), 64).tcp(
        from.port(),
        to.port(),
        sequence,
        1_000,
    );
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(1),
            'F' => builder.fin(),
            'R' => builder.rst(),
            other => panic!("{other}"),
        };
    }
    let mut packet = Vec::new();
    builder.write(&mut packet, bytes).unwrap();
    packet
}

/// A pcap file, little-endian, microseconds.
fn pcap(link: u32, packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(word.to_le_bytes());
    }
    for (second, packet) in packets {
        let length = packet.len() as u32;
        for word in [*second, 500_000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// A pcapng file: a section, an interface with nanoseconds, enhanced packets.
fn pcapng(link: u16, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = body.len() as u32 + 12;
        file.extend(kind.to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(body);
        file.extend(length.to_le_bytes());
    };
    let mut section = Vec::new();
    section.extend(0x1a2b_3c4du32.to_le_bytes());
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    block(0x0a0d_0d0a, &section);
    let mut interface = Vec::new();
    interface.extend(link.to_le_bytes());
    interface.extend([0, 0]);
    interface.extend(262_144u32.to_le_bytes());
    interface.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    block(1, &interface);
    for (nanos, packet) in packets {
        let mut body = vec![0; 4];
        body.extend(((nanos >> 32) as u32).to_le_bytes());
        body.extend((*nanos as u32).to_le_bytes());
        for _ in 0..2 {
            body.extend((packet.len() as u32).to_le_bytes());
        }
        body.extend(packet);
        block(6, &body);
    }
    file
}

/// What was said, as text.
fn heard(file: &[u8]) -> (Vec<String>, Counts, Option<Broken>) {
    let mut said = Vec::new();
    let mut dissector = Dissector::new();
    let mut reader = match Reader::new(file) {
        Ok(reader) => reader,
        Err(broken) => return (said, dissector.counts(), Some(broken)),
    };
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return (said, dissector.counts(), None),
            Err(broken) => return (said, dissector.counts(), Some(broken)),
        };
        let at = packet.at;
        dissector.take(
            &packet,
            |_, _| true,
            |seen| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                said.push(match seen {
                    Seen::Datagram { source, destination, bytes } => {
                        format!("{at} {source} > {destination} {}", text(bytes))
                    }
                    Seen::Opened { source, destination } => format!("{source} opens {destination}"),
                    Seen::Stream { source, bytes, .. } => format!("{source}: {}", text(bytes)),
                    Seen::Closed { source, .. } => format!("{source} is closed"),
                });
            },
        );
    }
}

fn said(file: &[u8]) -> Vec<String> {
    let (said, _, broken) = heard(file);
    assert_eq!(broken, None);
    said
}

fn ethernet(vlans: &[u16], kind: u16, ip: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for vlan in vlans {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(ip);
    // what short frames are filled up with is none of it
    frame.extend([0; 6]);
    frame
}

#[test]
fn every_link_type_has_the_same_datagram() {
    let ip = udp(PHONE, EDGE, b"hello");
    let sll = [&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0], &ip[..]].concat();
    let sll2 = [&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0], &ip[..]].concat();
    let expected = [format!("7.500000 {PHONE} > {EDGE} hello")];
    for (link, frame) in [
        (1, ethernet(&[], 0x0800, &ip)),
        (1, ethernet(&[7], 0x0800, &ip)),
        (1, ethernet(&[7, 8], 0x0800, &ip)),
        (113, sll),
        (276, sll2),
        (101, ip.clone()),
        (12, ip.clone()),
        (228, ip.clone()),
        (0, [&[2, 0, 0, 0], &ip[..]].concat()),
        (108, [&[0, 0, 0, 2], &ip[..]].concat()),
    ] {
        assert_eq!(said(&pcap(link, &[(7, frame)])), expected, "link type {link}");
    }
    let v6 = udp(PHONE_V6, EDGE_V6, b"hello");
    let expected = [format!("7.500000 {PHONE_V6} > {EDGE_V6} hello")];
    assert_eq!(said(&pcap(1, &[(7, ethernet(&[], 0x86dd, &v6))])), expected);
    assert_eq!(said(&pcapng(101, &[(7_500_000_000, v6)])), expected);
}

#[test]
fn times_are_read_in_each_resolution() {
    let ip = udp(PHONE, EDGE, b"x");
    let mut file = pcap(101, &[(7, ip.clone())]);
    assert!(said(&file)[0].starts_with("7.500000 "));
    file[..4].copy_from_slice(&0xa1b2_3c4du32.to_le_bytes());
    assert!(said(&file)[0].starts_with("7.000500 "), "nanoseconds");
    assert!(said(&pcapng(101, &[(7_000_500_000, ip)]))[0].starts_with("7.000500 "));
}

#[test]
fn an_unknown_link_type_is_counted() {
    let (said, counts, broken) = heard(&pcap(147, &[(1, vec![0; 40])]));
    assert_eq!((said.len(), counts.packets, counts.unknown_link, broken), (0, 1, 1, None));
}

#[test]
fn what_the_capture_cut_off_is_counted_and_not_given_out() {
    let mut file = pcap(101, &[(1, udp(PHONE, EDGE, &[b'x'; 100]))]);
    let length = file.len();
    file[24 + 8..24 + 12].copy_from_slice(&98u32.to_le_bytes());
    file.truncate(length - 30);
    let (said, counts, broken) = heard(&file);
    assert_eq!((said.len(), counts.cut, broken), (0, 1, None));
}

fn fragments_v4(bytes: &[u8], pieces: &[std::ops::Range<usize>]) -> Vec<(u32, Vec<u8>)> {
    let whole = udp(PHONE, EDGE, bytes);
    let payload = &whole[20..];
    let piece = |range: &std::ops::Range<usize>| {
        let end = range.end.min(payload.len());
        let part = &payload[range.start..end];
        let mut header = Ipv4Header::new(
            part.len() as u16,
            64,
            IpNumber::UDP,
            [198, 51, 100, 7],
            [203, 0, 113, 1],
        )
        .unwrap();
        header.identification = 77;
        header.dont_fragment = false;
        header.fragment_offset = IpFragOffset::try_new(range.start as u16 / 8).unwrap();
        header.more_fragments = end < payload.len();
        let mut packet = Vec::new();
        header.write(&mut packet).unwrap();
        packet.extend(part);
        (1, packet)
    };
    pieces.iter().map(piece).collect()
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let text: String = (0..500).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let pieces = fragments_v4(text.as_bytes(), &[400..600, 0..80, 80..400]);
    let expected = [format!("1.500000 {PHONE} > {EDGE} {text}")];
    assert_eq!(said(&pcap(101, &pieces)), expected);
    let (nothing, counts, _) = heard(&pcap(101, &pieces[..2]));
    assert_eq!((nothing.len(), counts.fragments_lost), (0, 1));
}

#[test]
fn fragments_of_ipv6() {
    let whole = udp(PHONE_V6, EDGE_V6, &[b'y'; 300]);
    let payload = &whole[40..];
    let mut packets = Vec::new();
    for (start, end) in [(0, 160), (160, payload.len())] {
        let fragment = Ipv6FragmentHeader {
            next_header: IpNumber::UDP,
            fragment_offset: IpFragOffset::try_new(start as u16 / 8).unwrap(),
            more_fragments: end < payload.len(),
            identification: 9,
        };
        let mut packet = whole[..40].to_vec();
        packet[4..6].copy_from_slice(&((end - start + 8) as u16).to_be_bytes());
        packet[6] = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
        packet.extend(fragment.to_bytes());
        packet.extend(&payload[start..end]);
        packets.push((1, packet));
    }
    let expected = [format!("1.500000 {PHONE_V6} > {EDGE_V6} {}", "y".repeat(300))];
    assert_eq!(said(&pcap(101, &packets)), expected);
}

#[test]
fn a_stream_is_put_in_order() {
    let to =
        |sequence, flags, bytes: &str| (1, tcp(PHONE, EDGE, sequence, flags, bytes.as_bytes()));
    let back =
        |sequence, flags, bytes: &str| (1, tcp(EDGE, PHONE, sequence, flags, bytes.as_bytes()));
    let near_wrap = u32::MAX - 2;
    let packets = [
        to(near_wrap, "S", ""),
        back(100, "SA", ""),
        to(near_wrap.wrapping_add(1), "A", "abc"),
        to(near_wrap.wrapping_add(1), "A", "abc"),
        to(near_wrap.wrapping_add(7), "A", "ghi"),
        back(101, "A", "one"),
        to(near_wrap.wrapping_add(3), "A", "cdef"),
        to(near_wrap.wrapping_add(10), "FA", ""),
        back(104, "FA", "two"),
    ];
    let phone = |text: &str| format!("{PHONE}: {text}");
    let edge = |text: &str| format!("{EDGE}: {text}");
    let expected = [
        format!("{PHONE} opens {EDGE}"),
        phone("abc"),
        edge("one"),
        phone("def"),
        phone("ghi"),
        edge("two"),
        format!("{PHONE} is closed"),
    ];
    assert_eq!(said(&pcap(101, &packets)), expected);
}

#[test]
fn a_port_used_again_and_a_reset_end_a_connection() {
    let to =
        |sequence, flags, bytes: &str| (1, tcp(PHONE, EDGE, sequence, flags, bytes.as_bytes()));
    let opens = format!("{PHONE} opens {EDGE}");
    let closed = format!("{PHONE} is closed");
    let packets =
        [to(1, "S", ""), to(2, "A", "a"), to(1, "S", ""), to(900, "S", ""), to(901, "RA", "")];
    let expected =
        [opens.clone(), format!("{PHONE}: a"), closed.clone(), opens.clone(), closed.clone()];
    assert_eq!(said(&pcap(101, &packets)), expected, "the SYN that is repeated is nothing");
    // in mid-connection
    let expected = [opens, format!("{PHONE}: b")];
    assert_eq!(said(&pcap(101, &[to(5, "A", ""), to(5, "A", "b")])), expected);
}

#[test]
fn a_gap_that_is_never_filled_ends_a_connection() {
    let mut packets = vec![(1, tcp(PHONE, EDGE, 1, "S", b""))];
    for n in 0..200 {
        packets.push((1, tcp(PHONE, EDGE, 1_000 + n * 10, "A", &[b'x'; 10])));
    }
    let (said, counts, _) = heard(&pcap(101, &packets));
    // once as it was, and once as a connection in its middle
    assert_eq!(counts.streams_lost, 1);
    assert_eq!(said[..2], [format!("{PHONE} opens {EDGE}"), format!("{PHONE} is closed")]);
}

#[test]
fn broken_files_say_how() {
    assert_eq!(heard(b"").2, Some(Broken::Truncated));
    assert_eq!(heard(b"GET / HTTP/1.1\r\nHost: somewhere else\r\n\r\n").2, Some(Broken::Unknown));
    let file = pcap(101, &[(1, udp(PHONE, EDGE, b"one")), (2, udp(PHONE, EDGE, b"two"))]);
    let (said, _, broken) = heard(&file[..file.len() - 3]);
    assert_eq!((said.len(), broken), (1, Some(Broken::Truncated)));
    let mut long = file.clone();
    long[24 + 8..24 + 12].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    let (said, _, broken) = heard(&long);
    assert_eq!(said.len(), 0);
    assert!(matches!(broken, Some(Broken::TooLong | Broken::Truncated)), "{broken:?}");
}

#[test]
fn uninteresting_ends_are_passed_over() {
    let packet = udp(PHONE, EDGE, b"x");
    let mut dissector = Dissector::new();
    let packet = Packet { at: Time::ZERO, link: Link::Raw, bytes: &packet, cut: false };
    dissector.take(&packet, |_, to| to.port() != 5060, |seen| panic!("{seen:?}"));
    assert_eq!(dissector.counts().packets, 1);
}

proptest! {
    // each reader has a megabyte of room
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        heard(&bytes);
        // behind a good header
        for link in [0, 1, 101, 113, 276] {
            heard(&[&pcap(link, &[])[..], &bytes].concat());
            heard(&pcap(link, &[(1, bytes.clone())]));
        }
        heard(&[&pcapng(1, &[])[..], &bytes].concat());
    }

    #[test]
    fn a_capture_with_some_bytes_changed_is_read_to_an_end(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        end in any::<prop::sample::Index>(),
    ) {
        let mut packets = fragments_v4(&[b'x'; 500], &[0..80, 80..400, 400..600]);
        packets.push((2, udp(PHONE, EDGE, b"hello")));
        packets.push((2, tcp(PHONE, EDGE, 1, "S", b"")));
        packets.push((2, tcp(PHONE, EDGE, 2, "A", b"hello")));
        packets.push((2, tcp(PHONE, EDGE, 1, "FA", b"hello again")));
        let as_ng = packets.iter().map(|(at, packet)| (u64::from(*at), packet.clone()));
        for mut file in [pcap(101, &packets), pcapng(101, &as_ng.collect::<Vec<_>>())] {
            for (at, byte) in &changes {
                let at = at.index(file.len());
                file[at] = *byte;
            }
            heard(&file);
            let end = end.index(file.len());
            heard(&file[..end]);
        }
    }
}
