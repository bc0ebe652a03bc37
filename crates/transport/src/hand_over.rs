//! From shard to shard, below the engines. What comes by a load balancer meets the shard that the
//! kernel chose by the balancer's address; its client may be another shard's, and what one address
//! does must meet one engine ([`crate::steering`]).

use proxy::Engine;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use wire::ShardId;

/// What another shard's client sent.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A connection whose header has been read.
    Connection {
        /// The listener's place.
        door: usize,
        /// Under no runtime.
        stream: std::net::TcpStream,
        /// The client.
        remote: SocketAddr,
    },
    /// A datagram without its header.
    Datagram(HandedDatagram),
}

#[derive(Debug)]
pub(crate) struct HandedDatagram {
    /// The socket's place.
    pub socket: usize,
    /// The address that it was sent to.
    pub local: SocketAddr,
    /// The load balancer.
    pub balancer: SocketAddr,
    /// The client.
    pub remote: SocketAddr,
    pub bytes: Box<[u8]>,
}

/// A shard's ways to the others, and theirs to it.
#[derive(Debug)]
pub(crate) struct Neighbours {
    own: ShardId,
    to: Arc<[mpsc::Sender<Handed>]>,
    from: mpsc::Receiver<Handed>,
}

impl Neighbours {
    /// For `shards` shards, each with room for `queue` things of others.
    pub(crate) fn weave(shards: u8, queue: usize) -> Vec<Neighbours> {
        let (to, from): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(queue.max(1))).unzip();
        let to: Arc<[_]> = to.into();
        let ends = (0..shards).map(ShardId).zip(from);
        ends.map(|(own, from)| Neighbours { own, to: to.clone(), from }).collect()
    }

    /// The shard that owns a client, unless it is this one.
    pub(crate) fn owner(&self, client: IpAddr) -> Option<ShardId> {
        let shards = u8::try_from(self.to.len()).unwrap_or(u8::MAX);
        Some(Engine::shard_of(client, shards)).filter(|owner| *owner != self.own)
    }

    /// Whether it found room.
    pub(crate) fn send(&self, shard: ShardId, handed: Handed) -> bool {
        let sender = self.to.get(usize::from(shard.0));
        sender.is_some_and(|sender| sender.try_send(handed).is_ok())
    }

    /// What another shard has given.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Handed> {
        match self.from.poll_recv(cx) {
            Poll::Ready(Some(handed)) => Poll::Ready(handed),
            // this shard has a sender itself: the queue never ends
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
