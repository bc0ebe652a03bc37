//! What the edge is told: validated, immutable rules, and the words it answers in.
//!
//! Pure vocabulary, no state: `config` builds a [`Policy`] from YAML (a value that exists is
//! valid), the floors above read it. The closed list of [`Reason`]s is what metrics, the audit
//! stream, the explanation and the docs call things.

mod admission;
mod balanced;
mod feeds;
mod method;
mod network;
mod pbx;
mod reason;
mod rules;
mod signature;
mod time;
mod trunk;

pub use admission::{
    Admission, BAD_USER, BanRules, CampaignRules, ChallengeMode, EdgeChallenge, GateCapacities,
    GuardRules, HalfLife, Levels, LimitAnswer, LimitKey, Mode, NarrowRules, NumberSet, Outcome,
    Patience, ProofRules, Rate, Rule, Then, TrustRules, When, Who, WhoSet,
};
pub use feeds::{FEEDS_MAX, Feed, FeedAction, Feeds, Listing};
pub use method::{METHODS, MethodSet, method_index};
pub use network::{Network, NotANetwork};
pub use pbx::{Checks, Pbx, PbxGroup, Reach, Registration};
pub use reason::Reason;
pub use rules::{Budgets, Capacities, Listener, Overload, Policy, TimerBase};
pub use signature::{
    Ceiling, Condition, HITS_MAX, Hits, Order, Peculiarity, Signature, SignatureError,
    SignatureSpec, Signatures, Template, Test, TextField, Varying, plain_user,
};
pub use time::Time;
pub use trunk::{HeaderRule, Identity, Rank, Trunk, TrunkLimits};
