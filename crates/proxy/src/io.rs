use crate::{Binding, Event};
use admission::{Alert, Ban, GateSnapshot, Lift, Memory, Record};
use policy::{Network, Policy, Rank, Time};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

/// A stimulus for the engine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram came in on `local`.
    Datagram {
        /// Which side's socket.
        side: Side,
        /// The address it was sent to (not a wildcard).
        local: SocketAddr,
        /// Its source.
        remote: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A stream connection that was accepted is ready: TCP accepted, TLS handshake completed.
    /// `flow` has its `connection`; its local address is that of an outside listener, or the
    /// shard's inside address. Not said of those that [`Output::Connect`] opens.
    Opened {
        /// Its flow.
        flow: Flow,
    },
    /// Bytes of a stream, cut anywhere.
    Stream {
        /// Which.
        connection: ConnectionId,
        /// What came.
        bytes: &'a [u8],
    },
    /// A connection is gone, whoever ended it; also sent after [`Output::Close`].
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// ICMP said that datagrams to `remote` do not arrive (port unreachable and its kin).
    Unreachable {
        /// Which side's socket learned it.
        side: Side,
        /// The address that is not reached.
        remote: SocketAddr,
    },
    /// Another shard's [`Output::HandOver`].
    HandedOver {
        /// The side it came in on.
        side: Side,
        /// The flow it came by.
        flow: Flow,
        /// One whole message.
        bytes: &'a [u8],
    },
    /// What another shard learned, or (by [`Learned::Gate`]) what an operator orders.
    Learned(Learned),
    /// What an earlier life of this shard, or of all, gave out as [`Output::Remember`].
    Recall(&'a Memory),
    /// New rules; state, dialogs, bindings and connections stay.
    Configure(Arc<Policy>),
    /// From now on new calls and registrations get 503 with Retry-After; running transactions end.
    Drain,
    /// Datagrams from these addresses come next from outside, in this order. It changes nothing but
    /// time: what is known of them is fetched from memory at once, not by one after the other.
    /// Whoever never says so, or is wrong, has an engine that does the same.
    Coming {
        /// Their sources, as [`Input::Datagram`] will have them.
        sources: &'a [IpAddr],
    },
    /// A round of the sockets begins. Whoever never says so has an engine that keeps up.
    Round {
        /// How long that had waited which the last round read, when it left something unread; zero
        /// when it left nothing.
        waited: Duration,
    },
}

/// What a shard that cannot keep up sheds: each stage all before it, and of what it says a part or
/// all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing.
    #[default]
    None,
    /// Requests without credentials from where nobody has authenticated.
    Strangers,
    /// Those with credentials, too.
    Unproven,
    /// New calls of those who are known or trusted, which get a 503 with Retry-After. What is in a
    /// dialog, and their registrations, are never shed.
    Calls,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Stage; 4] = [Stage::None, Stage::Strangers, Stage::Unproven, Stage::Calls];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::None => "none",
            Stage::Strangers => "strangers",
            Stage::Unproven => "unproven",
            Stage::Calls => "calls",
        }
    }
}

/// Work for the driver.
#[derive(Debug)]
pub enum Output<'a> {
    /// Send a datagram from `local` (port and address; for [`Side::Inside`] the shard's own).
    Datagram {
        /// Which side's socket.
        side: Side,
        /// The address it leaves from.
        local: SocketAddr,
        /// Where to.
        remote: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// Send on a connection.
    Stream {
        /// Which.
        connection: ConnectionId,
        /// What.
        bytes: &'a [u8],
    },
    /// Open a connection. What is sent on it meanwhile waits for it; [`Input::Closed`] tells that
    /// it cannot be opened, or is gone.
    Connect {
        /// Which side's.
        side: Side,
        /// From the IP of `local` (inside: from its port, too, when that can be had) to `remote`.
        /// `connection` is the engine's own number for it, [`ConnectionId::opened`].
        flow: Flow,
        /// For TLS: who the peer must prove to be, a host name or an address.
        name: &'a str,
    },
    /// A phone has registered over a connection: it counts no more among those that its source may
    /// have of whom nobody is known.
    Registered {
        /// Which.
        connection: ConnectionId,
    },
    /// Close a connection after what was sent, or at once, as [`CloseReason::resets`] has it; answer
    /// with [`Input::Closed`].
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// Give a message to the shard that owns its flow or transaction.
    HandOver {
        /// To whom.
        shard: ShardId,
        /// The side it came in on.
        side: Side,
        /// The flow it came by.
        flow: Flow,
        /// One whole message.
        bytes: &'a [u8],
    },
    /// Tell all other shards.
    Learned(Learned),
    /// A ban began, or one in force was renewed.
    Ban(Box<Ban>),
    /// A ban ended.
    Lift(Lift),
    /// A ban of an earlier life is in force again; without its chain.
    Recalled(Box<Ban>),
    /// To be remembered over a restart, and given back by [`Input::Recall`].
    Remember(Memory),
    /// A challenge ended badly for this source: the piece of evidence that this is.
    Evidence(Network, Box<Record>),
    /// Somebody should know.
    Alert(Alert),
    /// A decision, for counters, the audit stream and explanations.
    Event(Event),
}

/// What all shards must know.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// A phone has registered, for the first time or again.
    Bound {
        /// As what.
        binding: Binding,
        /// When the registration ends, by the 200.
        expires: Time,
    },
    /// A phone came back by another flow during a dialog.
    FlowMoved {
        /// Key of the flow that its dialogs' routes name.
        key: u64,
        /// Its flow now.
        flow: Flow,
    },
    /// A registration that ended.
    Unbound {
        /// Its key.
        key: u64,
    },
    /// Where a host of a trunk is reached from now on, in place of where it was.
    Targets {
        /// As [`policy::Trunk::hosts`] has it.
        host: Box<str>,
        /// All of them.
        targets: Box<[Target]>,
    },
    /// A call over a trunk has begun or ended at a shard, which has so many now.
    TrunkCalls {
        /// [`policy::Trunk::name`].
        trunk: Box<str>,
        /// The shard.
        shard: ShardId,
        /// All that it has.
        calls: u32,
        /// Whether one has begun.
        begun: bool,
    },
    /// A call over a trunk has ended, of which this shard knows nothing.
    CallEnded {
        /// Keyed hash of its Call-ID.
        key: u64,
    },
    /// An operator lets a PBX get nothing new, or lets it again.
    Drained {
        /// [`policy::Pbx::id`].
        pbx: u32,
        /// Which of both.
        drained: bool,
    },
    /// What the gates must share.
    Gate(admission::Learned),
}

/// Where a carrier is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Our address towards it: that of a listener, never a wildcard. A connection leaves from another
    /// port.
    pub local: SocketAddr,
    /// Its address.
    pub remote: SocketAddr,
    /// Its place among the others of its host: each call draws its own lots.
    pub rank: Rank,
}

/// A look at a PBX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PbxState {
    /// [`policy::Pbx::id`].
    pub id: u32,
    /// Whether it serves, as far as is known.
    pub up: bool,
    /// Whether an operator lets it get nothing new.
    pub draining: bool,
    /// Requests sent to it, ever.
    pub requests: u64,
    /// Those of them that it did not serve: no answer, 503, connection lost.
    pub failed: u64,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its bytes cannot be framed any more.
    Malformed,
    /// A time budget ran out.
    Slow,
    /// Silence.
    Idle,
    /// Table of connections full.
    Overload,
    /// Drain is done.
    Draining,
    /// Its source is banned.
    Banned,
    /// It came to an inside address, and its source is no PBX's.
    NotPbx,
}

impl CloseReason {
    /// Whether nothing that was sent is worth waiting for: whoever is not let in leaves nothing behind.
    #[must_use]
    pub fn resets(self) -> bool {
        matches!(self, CloseReason::Overload | CloseReason::Banned | CloseReason::NotPbx)
    }
}

/// Entries and bound of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Entries now.
    pub entries: usize,
    /// Bound.
    pub capacity: usize,
    /// Entries pushed out because the table was full, ever.
    pub evictions: u64,
}

impl From<admission::TableUse> for Table {
    fn from(table: admission::TableUse) -> Self {
        let admission::TableUse { entries, capacity, evictions } = table;
        Table { entries, capacity, evictions }
    }
}

/// A look at the engine for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests in passage.
    pub exchanges: Table,
    /// Those among them of strangers.
    pub unproven_exchanges: Table,
    /// Those among them that have no final response yet.
    pub unanswered: usize,
    /// Those among these that a drain waits for: not what strangers sent without credentials.
    pub awaited: usize,
    /// Bindings known.
    pub bindings: Table,
    /// Flows left in mid-dialog.
    pub moved_flows: Table,
    /// Nonces remembered.
    pub nonces: Table,
    /// Stream connections.
    pub connections: Table,
    /// Calls over trunks.
    pub trunk_calls: Table,
    /// The gate's tables; the nonces are among them.
    pub gate: GateSnapshot,
    /// Decisions kept to be explained.
    pub decisions: Table,
    /// Bytes of their messages that are kept, to be judged again.
    pub recorded_bytes: Table,
    /// Bytes retained for retransmissions.
    pub retained_bytes: Table,
    /// Bytes of UDP payload that came from sources that may be forged, and went to them, ever.
    pub unproven_bytes: [u64; 2],
    /// Timer entries.
    pub timers: usize,
    /// Outputs not fetched (0 after a drain).
    pub outputs: usize,
    /// Whether a PBX is up: it answered last.
    pub pbx_up: bool,
    /// What is shed because the shard is behind.
    pub shed: Stage,
}
