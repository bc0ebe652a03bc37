use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count with one writer, the shard's thread, and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// A plain load and store: with one writer nothing is lost, and a locked instruction is
    /// spared.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one shard's sockets have seen; shared with whoever publishes it.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        impl Counters {
            /// Every counter with its name.
            pub fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
                $(visit(stringify!($name), self.$name.value());)*
            }
        }
    };
}

counters! {
    /// Datagrams received.
    udp_received,
    /// Bytes of them.
    udp_received_bytes,
    /// Receiving system calls that brought something.
    udp_receive_calls,
    /// Datagrams longer than `datagram_bytes`, dropped.
    udp_truncated,
    /// Datagrams the kernel dropped because the receive buffer was full.
    udp_receive_overflowed,
    /// Receiving system calls that failed, beside reports of unreachable peers.
    udp_receive_failed,
    /// Connections and datagrams of load balancers with a PROXY header.
    introduced,
    /// Those without one that can be believed: closed, dropped.
    not_introduced,
    /// Connections and datagrams of load balancers given to the shard that owns their client.
    handed_over,
    /// Those that were lost because that shard's queue was full.
    hand_over_dropped,
    /// Clients of UDP load balancers whose way back is known, now.
    balancer_paths,
    /// Datagrams given to the kernel.
    udp_sent,
    /// Bytes of them.
    udp_sent_bytes,
    /// Sending system calls that took something.
    udp_send_calls,
    /// Datagrams dropped because the socket took no more and `send_batch_*` was full.
    udp_send_dropped,
    /// Datagrams the kernel refused (too long, no route, forbidden).
    udp_send_failed,
    /// Datagrams from a local address that no socket has.
    udp_send_unbound,
    /// Reports that an address is not reached.
    udp_unreachable,
    /// Stream connections now, those that are ending included.
    connections,
    /// Connections accepted by the kernel and on their way through limits and handshakes, now.
    opening,
    /// Stream connections opened.
    accepted,
    /// Times accepting had to rest: no descriptor or memory for one more.
    accept_failed,
    /// Connections reset because there were `connections` of them.
    refused_full,
    /// Connections reset because their source had `connections_per_source`.
    refused_source,
    /// Connections reset because `handshakes` were in progress.
    refused_handshakes,
    /// TLS handshakes, and PROXY headers, that took longer than `handshake`.
    handshake_slow,
    /// TLS handshakes that failed or were left.
    handshake_failed,
    /// Connections that the edge opened.
    connected,
    /// Connections that could not be opened: refused, not trusted, or later than `connect`.
    connect_failed,
    /// Connections closed by the peer, with or without close_notify.
    closed_by_peer,
    /// Connections that broke: reset, timed out, or not TLS any more.
    closed_failed,
    /// Connections closed because the engine asked for it.
    closed_by_engine,
    /// Connections closed because `send_queue_bytes` waited for a peer that reads too slowly.
    closed_send_queue,
    /// Connections closed because the peer took nothing for `send_stall`.
    closed_send_stalled,
    /// Bytes received on streams.
    stream_received_bytes,
    /// Bytes taken for streams.
    stream_sent_bytes,
    /// Messages for a connection that is gone.
    stream_send_unknown,
}
