//! What must be known of a source to let it through: keyed hashes, the branch that proves a
//! return path, and which nonce was relayed to whom.
//!
//! Pure: no clock, no socket, no randomness of its own. It does not parse messages and sends
//! nothing; `proxy` asks it and carries out the answer. The ledger that judges sources stands on
//! these parts.

pub mod branch;
pub mod key;
pub mod nonces;

pub use branch::{Branch, BranchKey};
pub use key::Key;
pub use nonces::RelayedNonces;
