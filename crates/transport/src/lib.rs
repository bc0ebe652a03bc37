//! Sockets of one shard: UDP, TCP and TLS, read in batches and written in batches.
//!
//! A shard's driver waits in [`Shard::ready`], takes what came with [`Shard::next_input`], gives
//! the engine's work to [`Shard::send`] and ends the round with [`Shard::flush`]. All of a
//! shard lives on one thread under a current-thread runtime: no lock is taken for a datagram, no
//! task is started for one, nothing is allocated for one.
//!
//! What it promises:
//!
//! - All that one source address sends, over any port and protocol, meets one shard ([`steering`]).
//! - A load balancer that says for whom it speaks (PROXY protocol) is not to be seen: its clients
//!   have their own addresses, and meet the shards that they would meet without it.
//! - A reply leaves from the address that was asked, on wildcard binds and multi-address hosts.
//! - Whoever reads slowly, connects often, dawdles in a handshake or vanishes, hurts only itself:
//!   every queue, table and wait has a bound in [`Settings`] and a count in [`Counters`].
//!
//! What it does not do: look into a message, frame a stream, time the silence of a connection
//! (the engine closes it), resolve names, or read the clock for the engine.

mod accept;
mod address;
mod batch;
mod bind;
mod connection;
mod counters;
mod dial;
mod hand_over;
mod identity;
mod introduction;
mod paths;
mod settings;
mod shard;
mod sockets;
pub mod steering;
mod streams;
mod system;
mod tls;
mod udp;
mod wake;

pub use bind::{BindError, Buffers};
pub use counters::{Counter, Counters};
pub use dial::{Peer, Peers};
pub use settings::Settings;
pub use shard::{Shard, runtime};
pub use sockets::{InsideListener, Listener, Protocol, Sockets, bind};
pub use system::{clock_is_kept, raise_file_limit, terminate};
pub use tls::{CertStore, CertificateFiles, ClientCertificates, TlsError, TlsFiles};
