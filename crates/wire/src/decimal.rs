//! Numbers and addresses as text, as [`std::fmt`] writes them, without what it can do besides: in a
//! message that is forwarded half a dozen stand, and formatting them was a fifteenth of its cost.

use arrayvec::ArrayVec;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The decimal digits of a number.
#[must_use]
pub fn digits(mut number: u32) -> ArrayVec<u8, 10> {
    let mut digits = ArrayVec::new();
    loop {
        digits.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits.reverse();
    digits
}

/// Appends a number.
pub fn write_number(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&digits(number));
}

/// Appends an address.
pub fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        // writing to a Vec does not fail
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Appends an address with its port, an IPv6 address in brackets.
pub fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(v4) => {
            write_ip(IpAddr::V4(*v4.ip()), out);
            out.push(b':');
            write_number(v4.port().into(), out);
        }
        SocketAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_what_the_library_writes() {
        for number in (0..70_000).chain([999_999_999, 1_000_000_000, u32::MAX]) {
            assert_eq!(&digits(number)[..], number.to_string().as_bytes());
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
