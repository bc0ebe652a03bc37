use std::time::Duration;

/// Every bound of this crate. All are per shard, so a process with `n` shards holds `n` times as
/// much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Receive buffer asked of the kernel for each UDP socket, bytes. The kernel grants at most
    /// `net.core.rmem_max` to an unprivileged process; [`crate::Sockets::buffers`] tells.
    pub udp_receive_buffer: usize,
    /// Send buffer asked of the kernel for each UDP socket, bytes (`net.core.wmem_max`).
    pub udp_send_buffer: usize,
    /// Largest datagram taken, bytes; longer ones are dropped and counted
    /// (`udp_truncated`). RFC 3261 §18.1.1 asks for 65,535.
    pub datagram_bytes: usize,
    /// Datagrams fetched by one system call, at most 32.
    pub receive_batch: usize,
    /// Datagrams taken from one socket per wake-up, before other sockets have their turn.
    pub datagrams_per_wake: usize,
    /// Datagrams that wait for a socket which takes no more; further ones are dropped and
    /// counted (`udp_send_dropped`).
    pub send_batch_datagrams: usize,
    /// Bytes of those datagrams.
    pub send_batch_bytes: usize,
    /// Reports of unreachable addresses kept for the driver; further ones are lost, as the
    /// datagrams were.
    pub unreachable_reports: usize,

    /// Connections a listener's kernel queue holds before they are accepted.
    pub backlog: u32,
    /// Connections accepted per wake-up and listener.
    pub accepts_per_wake: usize,
    /// Stream connections in all, those in a handshake included; further ones are reset and
    /// counted (`refused_full`).
    pub connections: usize,
    /// Stream connections of one source (an IPv4 address or an IPv6 /64) over which no phone has
    /// registered yet. Generous, for a whole office may sit behind one address; further ones are reset
    /// and counted (`refused_source`), and those beyond a quarter of all, whoever has registered.
    pub connections_per_source: usize,
    /// Places among `connections` and among `handshakes` that strangers leave to sources where somebody
    /// is known; at most half of either.
    pub reserve: usize,
    /// Handshakes, and connections whose PROXY header is awaited, in progress; further ones are reset and counted (`refused_handshakes`). Four times
    /// what one source may hold, so that no single one keeps the others out.
    pub handshakes: usize,
    /// Time from accept to the end of the TLS handshake; and before that, as much for a PROXY header.
    pub handshake: Duration,
    /// Connections and datagrams of load balancers that wait for the shard that owns their client;
    /// further ones are dropped and counted (`hand_over_dropped`).
    pub hand_over_queue: usize,
    /// Clients of UDP load balancers whose way back is known; of more those that said nothing for
    /// longest are forgotten, between half of it and all.
    pub balancer_paths: usize,
    /// Time that a connection which the edge opens may take, its TLS handshake included.
    pub connect: Duration,
    /// Bytes taken from one connection per read, and so the longest `Input::Stream`.
    pub stream_read_bytes: usize,
    /// Bytes taken from one connection per wake-up, before other connections have their turn.
    pub stream_bytes_per_wake: usize,
    /// Connections that have their turn per wake-up, before datagrams have theirs again.
    pub connections_per_wake: usize,
    /// Bytes that wait for one peer to read; a connection that would hold more is closed and
    /// counted (`closed_send_queue`).
    pub send_queue_bytes: usize,
    /// How long a peer may take none of the bytes that wait for it; then the connection is closed
    /// and counted (`closed_send_stalled`).
    pub send_stall: Duration,
    /// Kernel buffers of each connection, each way, bytes: what a peer that never reads can pin
    /// down beside `send_queue_bytes`. The kernel doubles the value.
    pub stream_kernel_buffer: usize,
    /// How long a connection we close may take for its last bytes to leave.
    pub close_linger: Duration,
    /// Silence after which the kernel probes a connection (TCP keep-alive).
    pub keepalive_idle: Duration,
    /// Distance of those probes; the connection is gone after four without an answer.
    pub keepalive_interval: Duration,
}

impl Settings {
    /// The most that [`Settings::receive_batch`] can be.
    pub const MAX_RECEIVE_BATCH: usize = 32;
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            udp_receive_buffer: 8 << 20,
            udp_send_buffer: 2 << 20,
            datagram_bytes: 65_535,
            receive_batch: Settings::MAX_RECEIVE_BATCH,
            datagrams_per_wake: 128,
            send_batch_datagrams: 1024,
            send_batch_bytes: 1 << 20,
            unreachable_reports: 64,
            backlog: 1024,
            accepts_per_wake: 16,
            connections: 16_384,
            connections_per_source: 256,
            reserve: 256,
            handshakes: 1_024,
            handshake: Duration::from_secs(5),
            hand_over_queue: 1_024,
            balancer_paths: 65_536,
            connect: Duration::from_secs(3),
            stream_read_bytes: 16 << 10,
            stream_bytes_per_wake: 32 << 10,
            connections_per_wake: 64,
            send_queue_bytes: 256 << 10,
            send_stall: Duration::from_secs(30),
            stream_kernel_buffer: 128 << 10,
            close_linger: Duration::from_secs(2),
            keepalive_idle: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(15),
        }
    }
}
