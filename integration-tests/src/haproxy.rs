//! A real HAProxy in TCP mode.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

use crate::child::Child;
use crate::stage::unpacked;

/// A running HAProxy. Ended when dropped.
pub struct HaProxy {
    _child: Child,
}

impl HaProxy {
    /// Carries connections to `ways.0` on to `ways.1` from `host`, each with a header as `send` has it
    /// (`send-proxy`, `send-proxy-v2`; empty: none).
    #[must_use]
    pub fn start(
        host: Ipv4Addr,
        directory: &Path,
        send: &str,
        ways: &[(SocketAddr, SocketAddr)],
    ) -> Self {
        let mut text = "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
                        timeout client 1m\n  timeout server 1m\n"
            .to_owned();
        for (n, (from, to)) in ways.iter().enumerate() {
            text += &format!(
                "listen way{n}\n  bind {from}\n  source {host}\n  server edge {to} {send}\n"
            );
        }
        let configuration = directory.join("haproxy.cfg");
        fs::write(&configuration, text).unwrap();
        let mut command = unpacked("haproxy");
        command.arg("-db").arg("-f").arg(configuration);
        let mut child = Child::start("haproxy", &command, &directory.join("haproxy.log"));
        child.wait_for("listening sockets", |_| {
            ways.iter().all(|(from, _)| TcpStream::connect(from).is_ok())
        });
        HaProxy { _child: child }
    }
}
