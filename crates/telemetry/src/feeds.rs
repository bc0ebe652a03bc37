//! The numbers of feeds.

/// One feed, as somebody scrapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedNumbers {
    /// Its name.
    pub name: Box<str>,
    /// What it lists.
    pub entries: u64,
    /// Seconds since it was fetched with success last, unchanged included; `None`: never.
    pub age_seconds: Option<u64>,
    /// What of it is not taken, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Fetches: fresh, unchanged, failed.
    pub fetches: [u64; 3],
}

/// Labels of [`FeedNumbers::fetches`].
pub const FETCHES: [&str; 3] = ["fresh", "unchanged", "failed"];

/// Looks at the feeds when somebody scrapes.
pub type FeedWatch = Box<dyn Fn() -> Vec<FeedNumbers> + Send + Sync>;

/// Labels of what a [`PushWatch`] counts.
pub const PUSHES: [&str; 3] = ["pushed", "lost", "failed"];

/// Looks at what became of bans that CrowdSec is told of, when somebody scrapes.
pub type PushWatch = Box<dyn Fn() -> [u64; 3] + Send + Sync>;
