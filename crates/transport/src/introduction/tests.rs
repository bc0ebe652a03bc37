use super::*;
use proptest::prelude::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A header of version 2: command, family and protocol, what follows.
fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = v2::PROTOCOL_PREFIX.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

fn v2_of(client: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
    let (server4, server6) = ([203, 0, 113, 1], [0x20; 16]);
    let (family, mut rest) = match client.ip() {
        IpAddr::V4(ip) => (0x11, [ip.octets(), server4].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), server6].concat()),
    };
    rest.extend(client.port().to_be_bytes());
    rest.extend(5060_u16.to_be_bytes());
    rest.extend(tlvs);
    v2_header(1, family, &rest)
}

/// Reads from a stream as a connection does: exactly what is asked for. Also what is left of it.
fn from_stream(stream: &[u8]) -> Option<Result<(Speaker, Vec<u8>), NoHeader>> {
    let mut taken = 0;
    loop {
        match read(&stream[..taken]) {
            Ok(Begin::Needs(more)) => {
                assert!(more > 0);
                taken += more;
                if taken > stream.len() {
                    return None;
                }
            }
            Ok(Begin::Header(speaker)) => return Some(Ok((speaker, stream[taken..].to_vec()))),
            Err(error) => return Some(Err(error)),
        }
    }
}

#[test]
fn both_versions_name_the_client_and_leave_the_rest() {
    let one = Speaker::Client(at("198.51.100.7:49152"));
    let six = Speaker::Client(at("[2001:db8::7]:5060"));
    for (header, speaker) in [
        (b"PROXY TCP4 198.51.100.7 203.0.113.1 49152 5060\r\n".to_vec(), one),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 5060 5060\r\n".to_vec(), six),
        (b"PROXY UNKNOWN\r\n".to_vec(), Speaker::Itself),
        (b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n".to_vec(), Speaker::Itself),
        (v2_of(at("198.51.100.7:49152"), b""), one),
        (v2_of(at("[2001:db8::7]:5060"), b""), six),
        // an IPv4 client of an IPv6 listener is the IPv4 client
        (v2_of(at("[::ffff:198.51.100.7]:49152"), b""), one),
        // PP2_TYPE_UNIQUE_ID and PP2_TYPE_NOOP, and a CRC that nobody checks
        (v2_of(at("198.51.100.7:49152"), b"\x05\x00\x02id\x04\x00\x00\x03\x00\x04abcd"), one),
        (v2_header(0, 0x00, b""), Speaker::Itself),
        (v2_header(0, 0x11, &[0; 12]), Speaker::Itself),
        (v2_header(1, 0x00, b"ignored"), Speaker::Itself),
    ] {
        let text = String::from_utf8_lossy(&header).into_owned();
        let stream = [&header[..], b"OPTIONS sip:a SIP/2.0\r\n"].concat();
        let rest = b"OPTIONS sip:a SIP/2.0\r\n".to_vec();
        assert_eq!(from_stream(&stream), Some(Ok((speaker, rest))), "{text:?}");
    }
}

#[test]
fn what_is_no_header_is_known_at_its_first_wrong_byte() {
    for (bytes, first) in [
        (&b"OPTIONS sip:a SIP/2.0\r\n"[..], 1),
        (b"PROXIMITY sip:a SIP/2.0\r\n", 5),
        (b"\r\n\r\n\r\n\r\n", 5),
        (b"\x16\x03\x01\x02\x00", 1),
    ] {
        assert_eq!(read(&bytes[..first]), Err(NoHeader), "{bytes:?}");
        assert!(first < 2 || read(&bytes[..first - 1]).is_ok(), "{bytes:?}");
    }
}

#[test]
fn what_cannot_be_believed_is_refused() {
    for header in [
        &b"PROXY TCP4 198.51.100.7 203.0.113.1 0 5060\r\n"[..],
        b"PROXY TCP4 0.0.0.0 203.0.113.1 49152 5060\r\n",
        b"PROXY TCP4 224.0.0.1 203.0.113.1 49152 5060\r\n",
        b"PROXY TCP4 255.255.255.255 203.0.113.1 49152 5060\r\n",
        b"PROXY TCP4 198.51.100.7 203.0.113.1 49152\r\n",
        b"PROXY TCP4 198.51.100.7\r203.0.113.1 49152 5060\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 5060 5060\r\n",
        b"PROXY TCP4 198.51.100.777 203.0.113.1 49152 5060\r\n",
        b"PROXY UDP4 198.51.100.7 203.0.113.1 49152 5060\r\n",
        b"PROXY TCP4 \xff98.51.100.7 203.0.113.1 49152 5060\r\n",
    ] {
        let text = String::from_utf8_lossy(header).into_owned();
        assert_eq!(from_stream(header), Some(Err(NoHeader)), "{text:?}");
    }
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    assert_eq!(from_stream(&long), Some(Err(NoHeader)), "no end within 107 bytes");
    for header in [
        v2_of(at("0.0.0.0:5060"), b""),
        v2_of(at("[ff02::1]:5060"), b""),
        v2_of(at("198.51.100.7:0"), b""),
        v2_header(1, 0x31, &[0; 216]),
        v2_header(1, 0x11, &[1; 11]),
        v2_header(2, 0x11, &[1; 12]),
        v2_header(1, 0x13, &[1; 12]),
        v2_header(1, 0x41, &[1; 12]),
        v2_header(1, 0x11, &[1; V2_MAX]),
    ] {
        assert_eq!(from_stream(&header), Some(Err(NoHeader)), "{header:?}");
    }
    let mut of_version_3 = v2_of(at("198.51.100.7:49152"), b"");
    of_version_3[12] = 0x31;
    assert_eq!(from_stream(&of_version_3), Some(Err(NoHeader)));
}

#[test]
fn a_datagram_has_its_header_whole_and_of_version_2() {
    let header = v2_of(at("198.51.100.7:49152"), b"\x04\x00\x01x");
    let datagram = [&header[..], b"OPTIONS"].concat();
    let client = Speaker::Client(at("198.51.100.7:49152"));
    assert_eq!(split(&datagram), Ok((client, header.len())));
    for length in 0..header.len() {
        assert_eq!(split(&header[..length]), Err(NoHeader), "{length}");
    }
    assert_eq!(split(b"PROXY TCP4 198.51.100.7 203.0.113.1 49152 5060\r\n"), Err(NoHeader));
}

fn clients() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
    let v6 = any::<[u8; 16]>().prop_map(IpAddr::from);
    (prop_oneof![v4, v6], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    /// A reader that takes what is asked for never takes a byte too many, and the client is the
    /// one that was written, or nobody's.
    #[test]
    fn what_is_written_is_read(client in clients(), rest in any::<[u8; 20]>(), tlvs in 0..40_usize) {
        let (text, tlvs) = (client.ip().to_string(), vec![4; tlvs]);
        let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
        let v1 = format!("PROXY {family} {text} {text} {} 5060\r\n", client.port());
        for header in [v1.into_bytes(), v2_of(client, &tlvs)] {
            let stream = [&header[..], &rest].concat();
            match from_stream(&stream) {
                Some(Ok((Speaker::Client(read), left))) => {
                    prop_assert_eq!(read.ip(), client.ip().to_canonical());
                    prop_assert_eq!(read.port(), client.port());
                    prop_assert_eq!(left, rest);
                }
                other => {
                    let ip = client.ip().to_canonical();
                    let nobody = ip.is_unspecified() || ip.is_multicast() || client.port() == 0;
                    prop_assert!(nobody || text == "255.255.255.255", "{:?}", other);
                }
            }
        }
    }

    /// No bytes break it, and what it asks for is bounded.
    #[test]
    fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..300), begin in 0..3_usize) {
        let begin: &[u8] = [b"", V1_PREFIX, v2::PROTOCOL_PREFIX][begin];
        let stream = [begin, &bytes].concat();
        let _ = (from_stream(&stream), split(&stream));
        if let Ok(Begin::Needs(more)) = read(&stream) {
            prop_assert!(more <= V2_MAX);
        }
    }
}
