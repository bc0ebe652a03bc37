//! Captures: whatever a file says, it is read to its end within bounds.

use crate::Verdict;
use crate::mutation::Random;
use capture::{Dissector, Reader, Seen};
use std::net::{Ipv4Addr, SocketAddr};

/// How it ended, and the bytes that streams gave.
fn heard(bytes: &[u8]) -> (Verdict, usize) {
    let mut dissector = Dissector::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(broken) => return (broken.to_string(), 0),
    };
    let (mut said, mut streamed) = (0, 0);
    let end = loop {
        match reader.next_packet() {
            Ok(Some(packet)) => dissector.take(
                &packet,
                |_, _| true,
                |seen| match seen {
                    Seen::Datagram { bytes, .. } => {
                        said += 1;
                        assert!(bytes.len() <= 65_535);
                    }
                    Seen::Stream { bytes, .. } => {
                        assert!(!bytes.is_empty());
                        streamed += bytes.len();
                    }
                    Seen::Opened { .. } | Seen::Closed { .. } => {}
                },
            ),
            Ok(None) => break "read".to_owned(),
            Err(broken) => break broken.to_string(),
        }
    };
    assert!(dissector.counts().packets <= bytes.len() as u64 / 16 + 1);
    (format!("{end}, {} said", said.min(3)), streamed)
}

/// The bytes as a file, as packets of a well-formed file, and said by two ends in a capture of which
/// a few bytes are changed.
pub fn capture(bytes: &[u8]) -> Verdict {
    let (verdict, streamed) = heard(bytes);
    assert!(streamed <= bytes.len());
    for link in [0u32, 1, 101, 113, 276] {
        heard(&as_packets(link, bytes));
    }
    let mut file = as_said(bytes);
    let mut random = Random::of(bytes);
    for _ in 0..random.below(8) {
        let at = random.below(file.len());
        file[at] = random.number() as u8;
    }
    format!("{verdict}; changed: {}", heard(&file).0)
}

fn as_packets(link: u32, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(word.to_le_bytes());
    }
    for part in bytes.chunks(200) {
        let length = part.len() as u32;
        for word in [1, 2, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(part);
    }
    file
}

fn as_said(bytes: &[u8]) -> Vec<u8> {
    let at = policy::Time::from_nanos(1_000_000_000);
    let one = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), 5062));
    let other = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 5060));
    let written = capture::Writer::new(Vec::new()).and_then(|mut file| {
        for part in bytes.chunks(1_000) {
            file.datagram(at, one, other, part)?;
        }
        file.opened(at, one, other)?;
        file.stream(at, one, other, bytes)?;
        file.stream(at, other, one, bytes)?;
        file.closed(at, one, other)?;
        file.finish()
    });
    written.expect("a Vec takes everything")
}
