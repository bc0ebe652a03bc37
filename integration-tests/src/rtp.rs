//! Just enough RTP to know that sound goes both ways.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// A socket for media.
pub struct Rtp {
    socket: UdpSocket,
    /// A sound nobody else makes.
    sound: [u8; 160],
}

impl Rtp {
    /// Opens one at any port of `host`.
    #[must_use]
    pub fn open(host: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut sound = [0x7f; 160];
        sound[..2].copy_from_slice(&port.to_be_bytes());
        sound[2..6].copy_from_slice(&host.octets());
        Rtp { socket, sound }
    }

    /// Where it is.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Sends to `remote` until its own sound comes back.
    ///
    /// # Panics
    /// When it never does.
    #[track_caller]
    pub fn echo(&self, remote: SocketAddr) {
        self.reach(remote, self);
    }

    /// Sends to `remote` until `other` hears its sound.
    ///
    /// # Panics
    /// When it never does.
    #[track_caller]
    pub fn reach(&self, remote: SocketAddr, other: &Rtp) {
        let since = Instant::now();
        for sequence in 0u16.. {
            let _ = self.socket.send_to(&self.packet(sequence), remote);
            // who is to hear must be known to the PBX as a sender, too (strict RTP)
            if !std::ptr::eq(self, other) {
                let _ = other.socket.send_to(&other.packet(sequence), remote);
            }
            if other.hears(&self.sound) {
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "no audio from {} by {remote} to {}",
                self.local(),
                other.local()
            );
        }
    }

    fn hears(&self, sound: &[u8]) -> bool {
        let mut packet = [0; 2048];
        match self.socket.recv(&mut packet) {
            Ok(length @ 12..) => &packet[12..length] == sound,
            _ => false,
        }
    }

    fn packet(&self, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        packet.extend_from_slice(&self.sound[2..6]);
        packet.extend_from_slice(&self.sound);
        packet
    }
}

/// Where a session description wants its audio.
#[must_use]
pub(crate) fn media_of(description: &str) -> Option<SocketAddr> {
    let host: IpAddr = description
        .lines()
        .find_map(|l| l.strip_prefix("c=IN IP"))?
        .get(2..)?
        .trim()
        .parse()
        .ok()?;
    let port = description
        .lines()
        .find_map(|l| l.strip_prefix("m=audio "))?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some(SocketAddr::new(host, port))
}
