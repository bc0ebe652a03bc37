//! What the DNS is asked, and what it says.

use std::net::IpAddr;
use std::time::Duration;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// A whole domain name, lower case, without the last dot. No search list is applied.
    pub name: Box<str>,
    /// Which records.
    pub kind: Kind,
}

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// What was said to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the kind that was asked for; empty when there are none (no such name, or no such record).
    pub records: Vec<Record>,
    /// How long it holds: the least TTL of all records that led here, aliases included.
    pub ttl: Duration,
    /// It is an earlier answer, because the question failed now.
    pub stale: Option<Failure>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// NAPTR.
    Naptr(Naptr),
    /// SRV.
    Srv(Srv),
    /// A or AAAA.
    Address(IpAddr),
}

/// A NAPTR record, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lowest first.
    pub order: u16,
    /// Within an order, lowest first.
    pub preference: u16,
    /// Letters.
    pub flags: Box<[u8]>,
    /// E.g. `SIP+D2U`.
    pub services: Box<[u8]>,
    /// The next name; empty is the root.
    pub replacement: Box<str>,
}

/// An SRV record, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lowest first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Host; empty is the root: the service is decidedly not there.
    pub target: Box<str>,
}

impl Srv {
    /// Which one it is, whatever its place in an answer: FNV-1a over its host and port.
    pub(crate) fn id(&self) -> u32 {
        let bytes = self.target.bytes().chain(self.port.to_be_bytes());
        let mix = |hash: u32, byte: u8| {
            (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(16_777_619)
        };
        bytes.fold(0x811c_9dc5, mix)
    }
}

/// Why a question has no answer. A name or record that does not exist is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// No answer in time.
    #[error("no name server answers in time")]
    Timeout,
    /// SERVFAIL, REFUSED and their kin.
    #[error("the name servers refuse or fail")]
    Refused,
    /// No name server can be sent to.
    #[error("no name server is reached")]
    Unreachable,
    /// The answer cannot be read, or stays truncated.
    #[error("the answer cannot be read")]
    Unreadable,
    /// The name is none that can be asked for.
    #[error("it is no domain name")]
    NoName,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 5] = [
        Failure::Timeout,
        Failure::Refused,
        Failure::Unreachable,
        Failure::Unreadable,
        Failure::NoName,
    ];

    /// Label for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Refused => "refused",
            Failure::Unreachable => "unreachable",
            Failure::Unreadable => "unreadable",
            Failure::NoName => "no_name",
        }
    }
}
