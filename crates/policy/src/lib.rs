//! What the edge is told: validated, immutable rules, and the words it answers in.
//!
//! Pure vocabulary, no state: `config` builds a [`Policy`] from YAML (a value that exists is
//! valid), the floors above read it. The closed list of [`Reason`]s is what metrics, the audit
//! stream, the explanation and the docs call things.

mod reason;
mod rules;
mod time;

pub use reason::Reason;
pub use rules::{Budgets, Capacities, Listener, Pbx, Policy, Registration, TimerBase};
pub use time::Time;
