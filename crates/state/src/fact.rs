//! What is no gate's to remember: what names stood for, and which PBXs an operator drained.

use policy::{Rank, Time};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use wire::Transport;

/// A fact of an earlier life. A later one about the same takes its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// What a name stood for.
    Name(NameFact),
    /// Whether an operator lets a PBX get nothing new; one that may get all is forgotten.
    Drained {
        /// [`policy::Pbx::id`].
        pbx: u32,
        /// Which of both.
        drained: bool,
    },
}

/// What a name stood for by its last answer.
#[derive(Clone, Debug, PartialEq)]
pub struct NameFact {
    /// The name.
    pub host: Box<str>,
    /// When the DNS said so.
    pub at: Time,
    /// Its addresses, each with the end of its grace; [`Time::FOREVER`]: the name had it.
    pub addresses: Vec<(IpAddr, Time)>,
    /// Where it was reached.
    pub targets: Vec<(Transport, SocketAddr, Rank)>,
}

impl Fact {
    /// The key of its row.
    pub(crate) fn key(&self) -> String {
        match self {
            Fact::Name(name) => format!("name {}", name.host),
            Fact::Drained { pbx, .. } => format!("drained {pbx:08x}"),
        }
    }

    /// Whether there is nothing in it to be kept.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Fact::Drained { drained: false, .. })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NameRow {
    host: String,
    pub(crate) at: u64,
    addresses: Vec<(IpAddr, u64)>,
    targets: Vec<TargetRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TargetRow {
    transport: String,
    address: SocketAddr,
    step: u16,
    weight: u16,
    record: u32,
}

impl NameRow {
    pub(crate) fn of(fact: &NameFact) -> Self {
        let target = |(transport, address, rank): &(Transport, SocketAddr, Rank)| TargetRow {
            transport: transport.as_param().to_owned(),
            address: *address,
            step: rank.step,
            weight: rank.weight,
            record: rank.record,
        };
        NameRow {
            host: fact.host.to_string(),
            at: fact.at.as_nanos(),
            addresses: fact.addresses.iter().map(|(ip, until)| (*ip, until.as_nanos())).collect(),
            targets: fact.targets.iter().map(target).collect(),
        }
    }

    /// `None` when a value in it means nothing.
    pub(crate) fn fact(self) -> Option<NameFact> {
        let target = |row: TargetRow| {
            let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
            let transport = all.into_iter().find(|it| it.as_param() == row.transport)?;
            let TargetRow { step, weight, record, .. } = row;
            Some((transport, row.address, Rank { step, weight, record }))
        };
        let until = |(ip, until)| (ip, Time::from_nanos(until));
        Some(NameFact {
            host: self.host.into(),
            at: Time::from_nanos(self.at),
            addresses: self.addresses.into_iter().map(until).collect(),
            targets: self.targets.into_iter().map(target).collect::<Option<_>>()?,
        })
    }
}
