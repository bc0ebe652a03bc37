//! The network between the actors and the edge: UDP sockets on loopback.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Datagrams that wait to be taken; more wait in the kernel.
const QUEUE: usize = 256;
/// Sockets at a time; one more closes the oldest that was opened on the way.
const SOCKETS: usize = 256;

/// What came.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// All sockets.
#[derive(Debug)]
pub(super) struct Street {
    sockets: HashMap<SocketAddr, (Arc<UdpSocket>, JoinHandle<()>)>,
    order: VecDeque<SocketAddr>,
    sender: mpsc::Sender<Datagram>,
    arrivals: mpsc::Receiver<Datagram>,
}

impl Street {
    pub(super) fn new() -> Self {
        let (sender, arrivals) = mpsc::channel(QUEUE);
        Street { sockets: HashMap::new(), order: VecDeque::new(), sender, arrivals }
    }

    /// Opens a socket there, if there is none.
    pub(super) fn open(&mut self, local: SocketAddr) -> io::Result<()> {
        if self.sockets.contains_key(&local) {
            return Ok(());
        }
        // nothing of the play leaves this machine
        if !local.ip().is_loopback() {
            return Err(io::Error::other(format!("{local} is not on loopback")));
        }
        let socket = std::net::UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let task = tokio::spawn(listen(local, socket.clone(), self.sender.clone()));
        self.sockets.insert(local, (socket, task));
        self.order.push_back(local);
        if self.order.len() > SOCKETS
            && let Some((_, task)) =
                self.order.pop_front().and_then(|old| self.sockets.remove(&old))
        {
            task.abort();
        }
        Ok(())
    }

    /// Sends. As on a network, it may be lost.
    pub(super) fn send(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        if remote.ip().is_loopback()
            && self.open(local).is_ok()
            && let Some((socket, _)) = self.sockets.get(&local)
        {
            let _ = socket.try_send_to(bytes, remote);
        }
    }

    pub(super) async fn receive(&mut self) -> Option<Datagram> {
        self.arrivals.recv().await
    }
}

async fn listen(local: SocketAddr, socket: Arc<UdpSocket>, sender: mpsc::Sender<Datagram>) {
    let mut buffer = vec![0; 65_535];
    loop {
        // an ICMP of somebody who has gone is told as an error, and is none of ours
        let Ok((length, remote)) = socket.recv_from(&mut buffer).await else { continue };
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        if sender.send(Datagram { local, remote, bytes }).await.is_err() {
            return;
        }
    }
}
