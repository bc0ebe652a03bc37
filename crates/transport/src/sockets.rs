//! What shards listen and send with: bound before there are threads, for whoever binds may need a
//! privilege that threads are to do without.

use crate::bind::{self, Buffers};
use crate::hand_over::Neighbours;
use crate::introduction::Balancers;
use crate::{BindError, CertStore, Settings};
use policy::Network;
use socket2::Socket;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::{ShardId, Transport};

/// What an outside address speaks.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// Streams under TLS, with these certificates.
    Tls(Arc<CertStore>),
}

impl Protocol {
    /// The flow's word for it.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self {
            Protocol::Udp => Transport::Udp,
            Protocol::Tcp => Transport::Tcp,
            Protocol::Tls(_) => Transport::Tls,
        }
    }
}

/// An outside address to serve.
#[derive(Clone, Debug)]
pub struct Listener {
    /// How.
    pub protocol: Protocol,
    /// Where. Port 0 stands for a free port, the same for all shards.
    pub address: SocketAddr,
    /// Load balancers: what they send begins with a PROXY header, of version 1 or 2 on a stream, of
    /// version 2 on each datagram. What does not is refused.
    pub balancers: Vec<Network>,
}

impl Listener {
    /// One whose peers all speak for themselves.
    #[must_use]
    pub fn new(protocol: Protocol, address: SocketAddr) -> Self {
        Listener { protocol, address, balancers: Vec::new() }
    }
}

/// Where PBXs that speak TCP call a shard back, on its way to that shard's thread.
#[derive(Debug)]
pub struct InsideListener(pub(crate) Socket);

impl InsideListener {
    /// Listens for TCP connections at a shard's inside address.
    ///
    /// # Errors
    /// When that cannot be had.
    pub fn bind(settings: &Settings, inside: SocketAddr) -> Result<Self, BindError> {
        bind::bind_inside_listener(settings, inside).map(InsideListener)
    }
}

/// The bound sockets of one shard, on their way to its thread.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) shard: ShardId,
    /// Of the inside address, then of more sources.
    pub(crate) inside: Vec<Socket>,
    pub(crate) inside_listener: Option<InsideListener>,
    /// In the order of the listeners.
    pub(crate) outside: Vec<Outside>,
    pub(crate) neighbours: Neighbours,
}

#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) protocol: Protocol,
    pub(crate) socket: Socket,
    pub(crate) balancers: Balancers,
}

/// Binds everything for all shards: each listener once a shard, and `inside[n]` for shard `n`,
/// whose length is the number of shards (at most 255).
///
/// # Errors
/// The first address that cannot be had, with what failed and why.
pub fn bind(
    settings: &Settings,
    listeners: &[Listener],
    inside: &[SocketAddr],
) -> Result<Vec<Sockets>, BindError> {
    let shards = u8::try_from(inside.len()).unwrap_or(u8::MAX);
    let mut all = Vec::with_capacity(inside.len());
    let neighbours = Neighbours::weave(shards, settings.hand_over_queue);
    for ((shard, address), neighbours) in (0..shards).zip(inside).zip(neighbours) {
        let inside = bind::bind_inside(settings, *address)?;
        all.push(Sockets {
            shard: ShardId(shard),
            inside: vec![inside],
            inside_listener: None,
            outside: Vec::new(),
            neighbours,
        });
    }
    for listener in listeners {
        let address = listener.address;
        let group = match listener.protocol.transport() {
            Transport::Udp => bind::bind_datagram_group(settings, address, shards)?,
            stream => bind::bind_listener_group(settings, stream, address, shards)?,
        };
        let balancers = Balancers::new(&listener.balancers);
        for (sockets, socket) in all.iter_mut().zip(group) {
            let (protocol, balancers) = (listener.protocol.clone(), balancers.clone());
            sockets.outside.push(Outside { protocol, socket, balancers });
        }
    }
    Ok(all)
}

impl Sockets {
    /// Whose they are.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Takes the PBX's connections there, too.
    pub fn listen_inside(&mut self, listener: InsideListener) {
        self.inside_listener = Some(listener);
    }

    /// Sends to the PBX from another address, too, with the port of the inside address.
    ///
    /// # Errors
    /// When that cannot be had.
    pub fn add_source(&mut self, settings: &Settings, source: IpAddr) -> Result<(), BindError> {
        if let Ok(inside) = self.inside() {
            let address = SocketAddr::new(source, inside.port());
            self.inside.push(bind::bind_inside(settings, address)?);
        }
        Ok(())
    }

    /// The inside address, its port settled.
    ///
    /// # Errors
    /// What `getsockname` says.
    pub fn inside(&self) -> io::Result<SocketAddr> {
        self.inside.first().ok_or_else(|| io::ErrorKind::NotFound.into()).and_then(local)
    }

    /// The outside addresses in the order of the listeners, ports settled.
    ///
    /// # Errors
    /// What `getsockname` says.
    pub fn outside(&self) -> io::Result<Vec<SocketAddr>> {
        self.outside.iter().map(|outside| local(&outside.socket)).collect()
    }

    /// Kernel buffers as granted to the inside sockets and the outside UDP sockets; less than
    /// asked for when the system's limit is lower.
    ///
    /// # Errors
    /// What `getsockopt` says.
    pub fn buffers(&self) -> io::Result<Vec<Buffers>> {
        let udp = |outside: &&Outside| matches!(outside.protocol, Protocol::Udp);
        let outside = self.outside.iter().filter(udp).map(|outside| &outside.socket);
        self.inside.iter().chain(outside).map(bind::buffers).collect()
    }
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}
