//! Writes a capture in front of a busy PBX to standard output, for `bench/replay`: phones that
//! register and call, scanners, and the audio of the calls.
//!
//!     cargo run --release -p capture --example traffic -- MEGABYTES sip|mixed > traffic.pcap
#![allow(clippy::unwrap_used)] // a tool of ours: what fails ends it

use capture::Writer;
use policy::Time;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const RTP_PACKETS: usize = 200;

fn main() {
    let mut words = std::env::args().skip(1);
    let megabytes: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(100);
    let mixed = words.next().as_deref() != Some("sip");
    let mut traffic = Traffic {
        file: Writer::new(BufWriter::new(std::io::stdout().lock())).unwrap(),
        now: Time::ZERO + Duration::from_secs(1_800_000_000),
        pbx: SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 5060)),
        n: 0,
    };
    let mut written = 0;
    while written < megabytes * 1_000_000 {
        written += traffic.round(mixed);
    }
    traffic.file.finish().unwrap();
}

struct Traffic<W: Write> {
    file: Writer<W>,
    now: Time,
    pbx: SocketAddr,
    n: u32,
}

impl<W: Write> Traffic<W> {
    /// A phone registers and calls, a scanner calls; how many bytes that were.
    fn round(&mut self, mixed: bool) -> u64 {
        self.n += 1;
        let n = self.n;
        let phone = SocketAddr::from((Ipv4Addr::from(0x6440_0000 + n % 2_000), 5_062));
        let scanner = SocketAddr::from((Ipv4Addr::from(0x2d00_0000 + n % 50_000), 5_080));
        let mut bytes = 0;
        for method in ["REGISTER", "INVITE"] {
            bytes += self.challenged(phone, method, "Phone 1.0", true);
        }
        bytes += self.challenged(scanner, "INVITE", "Phone 2.0", false);
        if mixed {
            let (one, other) =
                (SocketAddr::new(phone.ip(), 12_000), SocketAddr::new(self.pbx.ip(), 14_000));
            for _ in 0..RTP_PACKETS {
                self.now = self.now + Duration::from_micros(50);
                self.file.datagram(self.now, one, other, &[0x80; 172]).unwrap();
                self.file.datagram(self.now, other, one, &[0x80; 172]).unwrap();
                bytes += 2 * 216;
            }
        }
        bytes
    }

    fn challenged(&mut self, from: SocketAddr, method: &str, agent: &str, answers: bool) -> u64 {
        let n = self.n;
        let user = 6_000 + n % 2_000;
        let request = |cseq: u32, more: &str| {
            format!(
                "{method} sip:{user}@203.0.113.1 SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {from};branch=z9hG4bK{method}{n}-{cseq};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:{user}@203.0.113.1>;tag=f{n}\r\nTo: <sip:{user}@203.0.113.1>\r\n\
                 Call-ID: {method}-{n}@{from}\r\nCSeq: {cseq} {method}\r\n\
                 Contact: <sip:{user}@{from}>\r\nUser-Agent: {agent}\r\n\
                 Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, REFER, NOTIFY, MESSAGE, UPDATE\r\n{more}\
                 Content-Length: 0\r\n\r\n"
            )
        };
        let response = |cseq: u32, status: &str, more: &str| {
            format!(
                "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{method}{n}-{cseq};rport\r\n\
                 From: <sip:{user}@203.0.113.1>;tag=f{n}\r\n\
                 To: <sip:{user}@203.0.113.1>;tag=z9hG4bK{method}{n}-{cseq}\r\n\
                 Call-ID: {method}-{n}@{from}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
            )
        };
        let challenge = format!(
            "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"{n}/0123456789abcdef\",algorithm=MD5\r\n"
        );
        let credentials = format!(
            "Authorization: Digest username=\"{user}\",realm=\"asterisk\",\
             nonce=\"{n}/0123456789abcdef\",uri=\"sip:x\",response=\"0\"\r\n"
        );
        let pbx = self.pbx;
        let mut messages = vec![
            (from, pbx, request(1, "")),
            (pbx, from, response(1, "401 Unauthorized", &challenge)),
        ];
        if answers {
            messages.push((from, pbx, request(2, &credentials)));
            messages.push((pbx, from, response(2, "200 OK", "")));
        }
        let mut bytes = 0;
        for (from, to, text) in messages {
            self.now = self.now + Duration::from_millis(1);
            self.file.datagram(self.now, from, to, text.as_bytes()).unwrap();
            bytes += text.len() as u64 + 44;
        }
        bytes
    }
}
