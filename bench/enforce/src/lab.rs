//! Two network namespaces with a cable between them, as in `integration-tests/tests/kernel`.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;

/// The edge's address.
pub const EDGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The namespaces; gone with this value.
pub struct Lab {
    pub edge: String,
    pub street: String,
}

impl Lab {
    pub fn new() -> Self {
        let name = format!("rfb{}", std::process::id());
        let lab = Lab { edge: format!("{name}e"), street: format!("{name}s") };
        let (edge, street) = (&lab.edge, &lab.street);
        for command in [
            format!("netns add {edge}"),
            format!("netns add {street}"),
            format!("-n {edge} link add cable type veth peer name cable netns {street}"),
            format!("-n {edge} link set lo up"),
            format!("-n {street} link set lo up"),
            format!("-n {edge} addr add {EDGE}/24 dev cable"),
            format!("-n {street} addr add 198.18.0.2/24 dev cable"),
            format!("-n {edge} link set cable up"),
            format!("-n {street} link set cable up"),
            format!("-n {edge} route add default via 198.18.0.2"),
            // every address of 100.64/10 is the street's
            format!("-n {street} route add local 100.64.0.0/10 dev lo"),
        ] {
            let status = Command::new("ip").args(command.split(' ')).status().unwrap();
            assert!(status.success(), "ip {command}");
        }
        lab
    }

    /// Moves the calling thread, and the threads and processes that it will start.
    pub fn enter_edge(&self) {
        enter(&self.edge);
    }

    /// The same to the street.
    pub fn enter_street(&self) {
        enter(&self.street);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.edge, &self.street] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// Moves the calling thread.
pub fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// A socket of somebody on the street; call it there.
pub fn socket(n: u32) -> UdpSocket {
    UdpSocket::bind((address(n), 0)).unwrap()
}

/// The `n`-th address of the street.
pub fn address(n: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(100, 64, 0, 0)) + n).into()
}
