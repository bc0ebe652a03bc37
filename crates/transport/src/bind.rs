//! Makes the sockets, all before the first shard runs: the order in which sockets join a
//! `SO_REUSEPORT` group is the number by which [`crate::steering`] finds them.

use crate::{Settings, steering, system};
use socket2::{Domain, Protocol, SockFilter, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use wire::Transport;

/// A socket that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {} {address}: {source}", .transport.as_param())]
pub struct BindError {
    /// What was asked for.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// What failed: `bind`, `steer`, …
    pub step: &'static str,
    /// Why.
    pub source: io::Error,
}

/// Kernel buffers as granted, bytes, in the kernel's own counting (twice what it lets in).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Of receiving.
    pub receive: usize,
    /// Of sending.
    pub send: usize,
}

/// A socket filter that drops all: return zero bytes.
const NOTHING: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);

/// An address to bind, and what to say when it fails.
#[derive(Clone, Copy)]
struct Place {
    transport: Transport,
    address: SocketAddr,
}

impl Place {
    fn failed(self, step: &'static str) -> impl FnOnce(io::Error) -> BindError {
        move |source| BindError { transport: self.transport, address: self.address, step, source }
    }
}

/// Binds one UDP socket for each shard to an outside address, in shard order. Port 0 stands for
/// one free port for all.
pub(crate) fn bind_datagram_group(
    settings: &Settings,
    address: SocketAddr,
    shards: u8,
) -> Result<Vec<Socket>, BindError> {
    let place = Place { transport: Transport::Udp, address };
    let group = bind_group(place, shards, |place| {
        let socket = bare(place)?;
        prepare_datagram(&socket, settings, place.address)
            .and_then(|()| socket.attach_filter(&[NOTHING]))
            .map_err(place.failed("prepare"))?;
        Ok(socket)
    })?;
    // Only a whole group lets traffic in: before, the program may name a socket that is not there,
    // and the kernel would choose another.
    for socket in &group {
        socket.detach_filter().map_err(place.failed("open"))?;
    }
    Ok(group)
}

/// Binds one listener for each shard, in shard order, and starts to listen.
pub(crate) fn bind_listener_group(
    settings: &Settings,
    transport: Transport,
    address: SocketAddr,
    shards: u8,
) -> Result<Vec<Socket>, BindError> {
    let backlog = i32::try_from(settings.backlog).unwrap_or(i32::MAX);
    let group = bind_group(Place { transport, address }, shards, |place| {
        let socket = bare(place)?;
        prepare_listener(&socket, settings).map_err(place.failed("prepare"))?;
        Ok(socket)
    })?;
    for socket in &group {
        // A listener joins its group here, not when it is bound. A connection that comes before
        // the last has joined may meet another shard than its source's, which serves it as well;
        // a filter as for datagrams would need a privilege on newer kernels.
        socket.listen(backlog).map_err(Place { transport, address }.failed("listen on"))?;
    }
    Ok(group)
}

/// Binds a shard's own socket towards the PBX.
pub(crate) fn bind_inside(settings: &Settings, address: SocketAddr) -> Result<Socket, BindError> {
    let place = Place { transport: Transport::Udp, address };
    let socket = bare(place)?;
    prepare_datagram(&socket, settings, address)
        .and_then(|()| report_errors(&socket, address))
        .map_err(place.failed("prepare"))?;
    socket.bind(&address.into()).map_err(place.failed("bind"))?;
    Ok(socket)
}

/// Binds a shard's listener towards the PBX, and starts to listen. Connections that the edge opens
/// from the same address share it.
pub(crate) fn bind_inside_listener(
    settings: &Settings,
    address: SocketAddr,
) -> Result<Socket, BindError> {
    let place = Place { transport: Transport::Tcp, address };
    let backlog = i32::try_from(settings.backlog).unwrap_or(i32::MAX);
    let socket = bare(place)?;
    prepare_listener(&socket, settings)
        .and_then(|()| socket.set_reuse_port(true))
        .map_err(place.failed("prepare"))?;
    socket.bind(&address.into()).map_err(place.failed("bind"))?;
    socket.listen(backlog).map_err(place.failed("listen on"))?;
    Ok(socket)
}

/// Binds a socket from which a connection is to be opened. An address of ours may be shared with
/// its listener and with connections to others.
pub(crate) fn bind_stream(settings: &Settings, local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(local),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    prepare_stream(&socket, settings)?;
    if local.port() != 0 {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
    }
    socket.bind(&local.into())?;
    Ok(socket)
}

/// Binds sockets in shard order.
///
/// `SO_REUSEPORT` alone would let a second edge of the same user share the port, and the two
/// would divide the traffic at random. The program attached before the bind makes the first
/// socket a group of its own, which no address of another socket, wildcards included, goes with
/// (`sk_reuseport_cb`): the bind fails.
fn bind_group(
    mut place: Place,
    shards: u8,
    make: impl Fn(Place) -> Result<Socket, BindError>,
) -> Result<Vec<Socket>, BindError> {
    let mut group = Vec::with_capacity(shards.into());
    for shard in 0..shards.max(1) {
        let socket = make(place)?;
        socket.set_reuse_port(true).map_err(place.failed("share"))?;
        if shard == 0 {
            steering::attach(socket.as_fd(), place.address.is_ipv6(), shards)
                .map_err(place.failed("steer"))?;
        }
        socket.bind(&place.address.into()).map_err(place.failed("bind"))?;
        if let Ok(Some(bound)) = socket.local_addr().map(|address| address.as_socket()) {
            place.address.set_port(bound.port());
        }
        group.push(socket);
    }
    Ok(group)
}

fn bare(place: Place) -> Result<Socket, BindError> {
    let (kind, protocol) = match place.transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp | Transport::Tls => (Type::STREAM, Protocol::TCP),
    };
    let domain = Domain::for_address(place.address);
    let make = || {
        let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
        if place.address.is_ipv6() {
            // Without it `[::]` takes IPv4 too, under addresses that no rule is written for.
            socket.set_only_v6(true)?;
        }
        if kind == Type::STREAM {
            // Connections of the last run that linger in TIME_WAIT do not stop a restart.
            socket.set_reuse_address(true)?;
        }
        Ok(socket)
    };
    make().map_err(place.failed("make"))
}

fn prepare_datagram(socket: &Socket, settings: &Settings, address: SocketAddr) -> io::Result<()> {
    let on = |level, name| system::set_option(socket.as_fd(), level, name, 1);
    if address.ip().is_unspecified() {
        // A socket with one address knows where its datagrams were sent to.
        match address {
            SocketAddr::V4(_) => on(libc::IPPROTO_IP, libc::IP_PKTINFO)?,
            SocketAddr::V6(_) => on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?,
        }
    }
    on(libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    // When a datagram came, not when it is read: the difference says whether a shard keeps up.
    on(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    // A large message is fragmented by the interface's MTU; what a forged "fragmentation needed"
    // says is not believed, and no path drops it for a don't-fragment bit.
    let (level, name, omit) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT),
        SocketAddr::V6(_) => {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
        }
    };
    system::set_option(socket.as_fd(), level, name, omit)?;
    let receive = libc::c_int::try_from(settings.udp_receive_buffer).unwrap_or(libc::c_int::MAX);
    let send = libc::c_int::try_from(settings.udp_send_buffer).unwrap_or(libc::c_int::MAX);
    // The forced kind is not held to `net.core.*mem_max`, but is for the privileged.
    let force = |name, size| system::set_option(socket.as_fd(), libc::SOL_SOCKET, name, size);
    if force(libc::SO_RCVBUFFORCE, receive).is_err() {
        socket.set_recv_buffer_size(settings.udp_receive_buffer)?;
    }
    if force(libc::SO_SNDBUFFORCE, send).is_err() {
        socket.set_send_buffer_size(settings.udp_send_buffer)?;
    }
    Ok(())
}

/// Has ICMP errors kept in the error queue with the address they are about (`ip(7)`, IP_RECVERR).
/// For the inside only: outside, anybody may forge one.
fn report_errors(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let (level, name) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    system::set_option(socket.as_fd(), level, name, 1)
}

/// Accepted connections inherit all of this from their listener.
fn prepare_listener(socket: &Socket, settings: &Settings) -> io::Result<()> {
    prepare_stream(socket, settings)?;
    // A connection that is refused is dropped and leaves nothing behind, no TIME_WAIT either; one
    // that is admitted has this taken off.
    socket.set_linger(Some(Duration::ZERO))
}

fn prepare_stream(socket: &Socket, settings: &Settings) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(settings.keepalive_idle)
        .with_interval(settings.keepalive_interval)
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_recv_buffer_size(settings.stream_kernel_buffer)?;
    socket.set_send_buffer_size(settings.stream_kernel_buffer)
}

pub(crate) fn buffers(socket: &Socket) -> io::Result<Buffers> {
    Ok(Buffers { receive: socket.recv_buffer_size()?, send: socket.send_buffer_size()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn accepted_connections_inherit_what_the_listener_has() {
        let settings = Settings::default();
        let here = "127.0.0.1:0".parse().unwrap();
        let mut group = bind_listener_group(&settings, Transport::Tcp, here, 1).unwrap();
        let listener = TcpListener::from(group.pop().unwrap());
        listener.set_nonblocking(false).unwrap();
        let _phone = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), settings.keepalive_idle);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), settings.keepalive_interval);
        assert_eq!(accepted.linger().unwrap(), Some(Duration::ZERO));
        assert_eq!(accepted.send_buffer_size().unwrap(), 2 * settings.stream_kernel_buffer);
    }
}
