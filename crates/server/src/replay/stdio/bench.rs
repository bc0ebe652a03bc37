//! What a bench's lines mean to an edge, and what comes of them.

use super::answer::{Answer, Bans};
use super::stimulus::{Stimulus, What};
use crate::replay::edge::{Edge, Happening, Sink};
use admission::{Ban, Lift};
use policy::{Policy, Time};
use proxy::Event;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::{Flow, Side, Transport};

/// An edge that a bench drives.
#[derive(Debug)]
pub(crate) struct Bench {
    edge: Edge,
    /// Answers tell decisions.
    decisions: bool,
    bans: Bans,
    bytes: Vec<u8>,
}

impl Bench {
    pub(crate) fn new(policy: Policy, secret: [u8; 32], seed: [u8; 32], decisions: bool) -> Self {
        let edge = Edge::new(policy, secret, seed);
        Bench { edge, decisions, bans: Bans::default(), bytes: Vec::new() }
    }

    /// Lets what a line says happen, and puts what it causes into `answer`. When the engine has
    /// something to do by itself. A line with an error changes nothing.
    pub(crate) fn on_line(
        &mut self,
        line: &[u8],
        answer: &mut Answer,
    ) -> Result<Option<Time>, String> {
        let stimulus = Stimulus::parse(line)?;
        let event = self.read(&stimulus)?;
        answer.clear(self.decisions);
        let now = stimulus.now()?;
        let mut told = Told { answer, bans: &mut self.bans };
        Ok(self.edge.happen(now, event, &self.bytes, &mut told))
    }

    /// The elements of the list of addresses that are banned now.
    pub(crate) fn bans(&mut self) -> &[u8] {
        self.bans.text()
    }

    /// What a line means here. The bytes go to `self.bytes`.
    fn read(&mut self, stimulus: &Stimulus<'_>) -> Result<Happening, String> {
        Ok(match stimulus.what() {
            What::Tick => Happening::Tick,
            What::Dgram => {
                let remote = stimulus.source()?;
                stimulus.decode(&mut self.bytes)?;
                let (side, local) = self.datagram_to(remote, stimulus.destination())?;
                Happening::Datagram { side, local, remote }
            }
            What::TcpOpen => {
                let remote = stimulus.source()?;
                let (transport, local) = self.stream_to(stimulus.destination())?;
                Happening::Opened { transport, local, remote }
            }
            What::TcpData => {
                stimulus.decode(&mut self.bytes)?;
                Happening::Data { remote: stimulus.source()? }
            }
            What::TcpClose => Happening::Closed { remote: stimulus.source()? },
        })
    }

    /// Which side's socket a datagram came to, and that socket's address.
    fn datagram_to(
        &self,
        remote: SocketAddr,
        destination: Option<SocketAddr>,
    ) -> Result<(Side, SocketAddr), String> {
        let inside = self.edge.inside();
        let from_pbx = destination.is_none() && self.edge.policy().is_pbx(remote);
        if from_pbx || destination == Some(inside) {
            return Ok((Side::Inside, inside));
        }
        let (_, local) = self.listener(destination, |transport| transport == Transport::Udp)?;
        Ok((Side::Outside, local))
    }

    fn stream_to(
        &self,
        destination: Option<SocketAddr>,
    ) -> Result<(Transport, SocketAddr), String> {
        match destination.filter(|it| *it == self.edge.inside()) {
            Some(inside) => Ok((Transport::Tcp, inside)),
            None => self.listener(destination, Transport::is_reliable),
        }
    }

    /// The listener with this destination, else the first. Behind a wildcard, loopback stands for
    /// the address that a packet would have been sent to.
    fn listener(
        &self,
        destination: Option<SocketAddr>,
        fits: impl Fn(Transport) -> bool,
    ) -> Result<(Transport, SocketAddr), String> {
        let mut listeners = self.edge.policy().listeners.iter().filter(|one| fits(one.transport));
        let Some(destination) = destination else {
            let first = listeners.next().ok_or("no listener of this transport is configured")?;
            return Ok((first.transport, concrete(first.address)));
        };
        let found = listeners.find(|one| {
            let (ip, port) = (one.address.ip(), one.address.port());
            let any = ip.is_unspecified() && (ip.is_ipv6() || destination.is_ipv4());
            port == destination.port() && (any || ip == destination.ip())
        });
        match found {
            Some(one) => Ok((one.transport, destination)),
            None => Err(format!("dst: nothing listens on {destination}")),
        }
    }
}

/// What is told to the bench.
struct Told<'t> {
    answer: &'t mut Answer,
    bans: &'t mut Bans,
}

impl Sink for Told<'_> {
    fn sent(&mut self, _: Side, flow: &Flow, bytes: &[u8]) {
        self.answer.send(flow.remote, flow.transport, bytes);
    }

    fn closed(&mut self, peer: SocketAddr) {
        self.answer.close(peer);
    }

    fn decided(&mut self, event: &Event) {
        self.answer.decided(event);
    }

    fn banned(&mut self, ban: &Ban) {
        self.bans.on_ban(ban);
    }

    fn lifted(&mut self, lift: &Lift) {
        self.bans.on_lift(lift);
    }
}

fn concrete(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
