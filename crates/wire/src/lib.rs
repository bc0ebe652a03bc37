//! SIP as bytes: a bounded, zero-copy scanner, views on what it found, splice edits, and framing
//! of streams. Pure: no clock, no socket, no allocation per message while parsing.
//!
//! What it does *not* do: it keeps no state between messages, it never rebuilds a message from
//! parts (a forwarded message is the original bytes with edits spliced in), and it does not
//! interpret bodies.

mod block;
mod chars;
pub mod decimal;
pub mod digest;
pub mod flow;
pub mod limits;
pub mod lines;
mod malformed;
pub mod message;
pub mod name_addr;
mod names;
mod params;
pub mod reply;
pub mod splice;
pub mod stream;
pub mod uri;
pub mod via;

pub use block::{find_byte, numeric_end};
pub use digest::{Digest, next_nonce};
pub use flow::{ConnectionId, Flow, ShardId, Side, Transport};
pub use limits::Limits;
pub use lines::lines;
pub use message::{CSeq, Header, HeaderName, Malformed, Message, Method, Span, StartLine, Value};
pub use name_addr::NameAddr;
pub use reply::Reply;
pub use splice::{Splice, TooManyEdits};
pub use stream::{Frame, Framer, Progress};
pub use uri::{Host, Uri};
pub use via::Via;
