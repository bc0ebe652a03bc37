//! Numbers and addresses as text, as [`std::fmt`] writes them, without what it can do besides: in a
//! message that is forwarded half a dozen stand, and formatting them was a fifteenth of its cost.

use arrayvec::ArrayVec;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The decimal digits of a number.
#[must_use]
pub fn digits(number: u32) -> ArrayVec<u8, 10> {
    let mut text = Text::<10>::new();
    text.number(number);
    let mut digits = ArrayVec::from(text.bytes);
    digits.truncate(text.length);
    digits
}

/// Appends a number.
pub fn write_number(number: u32, out: &mut Vec<u8>) {
    let mut text = Text::<10>::new();
    text.number(number);
    out.extend_from_slice(text.as_slice());
}

/// Appends an address.
pub fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            let mut text = Text::<16>::new();
            text.ipv4(v4);
            out.extend_from_slice(text.as_slice());
        }
        // writing to a Vec does not fail
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Appends an address with its port, an IPv6 address in brackets.
pub fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(v4) => {
            let mut text = Text::<24>::new();
            text.ipv4(*v4.ip());
            text.push(b':');
            text.number(v4.port().into());
            out.extend_from_slice(text.as_slice());
        }
        SocketAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// A text of at most so many bytes, put together where it costs nothing and appended in one go.
struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Text<ROOM> {
    fn new() -> Self {
        Text { bytes: [0; ROOM], length: 0 }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    #[inline]
    fn number(&mut self, mut number: u32) {
        let start = self.length;
        self.length += number.checked_ilog10().unwrap_or(0) as usize + 1;
        let places = self.bytes.get_mut(start..self.length).unwrap_or_default();
        for place in places.iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    #[inline]
    fn ipv4(&mut self, address: Ipv4Addr) {
        for octet in address.octets() {
            let rest = self.bytes.get_mut(self.length..).unwrap_or_default();
            if let Some(places) = rest.first_chunk_mut() {
                *places = OCTETS[usize::from(octet)];
            }
            self.length += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
        }
        // behind the last one stands none
        self.length -= 1;
    }
}

/// Each octet as it stands in an address, with the dot behind it.
static OCTETS: [[u8; 4]; 256] = {
    let (mut texts, mut octet) = ([[0; 4]; 256], 0);
    while octet < texts.len() {
        let [a, b, c] = [octet / 100, octet / 10 % 10, octet % 10];
        let [a, b, c] = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        texts[octet] = match octet {
            0..10 => [c, b'.', 0, 0],
            10..100 => [b, c, b'.', 0],
            _ => [a, b, c, b'.'],
        };
        octet += 1;
    }
    texts
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_what_the_library_writes() {
        for number in (0..70_000).chain([999_999_999, 1_000_000_000, u32::MAX]) {
            assert_eq!(&digits(number)[..], number.to_string().as_bytes());
        }
        for octet in 0..=u8::MAX {
            let (address, mut text) = (Ipv4Addr::new(octet, 0, octet, 255 - octet), Vec::new());
            write_ip(address.into(), &mut text);
            assert_eq!(text, address.to_string().as_bytes());
        }
        for text in ["0.0.0.0:0", "192.0.2.10:5060", "255.255.255.255:65535", "[2001:db8::1]:5060"]
        {
            let address: SocketAddr = text.parse().unwrap();
            let (mut whole, mut ip) = (b"x".to_vec(), Vec::new());
            write_address(address, &mut whole);
            write_ip(address.ip(), &mut ip);
            assert_eq!(whole, format!("x{text}").as_bytes());
            assert_eq!(ip, address.ip().to_string().as_bytes());
        }
    }
}
