//! The addresses that this machine has, by rtnetlink.

use crate::netlink::{DUMP, Messages, Socket, attribute};
use std::io;
use std::net::IpAddr;

/// `RTM_GETADDR`.
const GETADDR: u16 = 22;
/// Bytes of `ifaddrmsg`.
const HEAD: usize = 8;
/// `IFA_ADDRESS`, and `IFA_LOCAL` where the other end of a point-to-point link has the former.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Room for one question.
const ROOM: usize = 4 << 10;

/// The addresses of all interfaces, now.
///
/// # Errors
/// When the kernel does not answer.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut question = Messages::default();
    question.push(GETADDR, DUMP, &[0; HEAD], |_| {});
    let mut addresses = Vec::new();
    let mut socket = Socket::open(None, ROOM)?;
    let asked = socket.ask(&question, |body| {
        let body = body.get(HEAD..).unwrap_or_default();
        let address = attribute(body, IFA_LOCAL).or_else(|| attribute(body, IFA_ADDRESS));
        addresses.extend(address.and_then(ip));
    });
    asked.map_err(|failure| io::Error::other(failure.to_string()))?;
    Ok(addresses)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_loopback() {
        assert!(own_addresses().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
