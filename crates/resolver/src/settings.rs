use std::net::SocketAddr;
use std::time::Duration;

/// How names are asked for, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name servers; empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// How long one try of a question may take.
    pub timeout: Duration,
    /// Tries of a question, at least 1.
    pub attempts: usize,
    /// Questions at a time; the others wait.
    pub questions: usize,
    /// A shorter TTL counts as this long.
    pub ttl_least: Duration,
    /// A longer TTL counts as this long.
    pub ttl_most: Duration,
    /// How long an address that its name has left is still good for it.
    pub grace: Duration,
    /// How long what a name stood for last is good after a restart, until the name is answered.
    pub recall: Duration,
    /// Names that are watched; more are not.
    pub names: usize,
    /// Addresses of one name, those in grace included; more are left out.
    pub addresses: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            attempts: 3,
            questions: 16,
            ttl_least: Duration::from_secs(1),
            ttl_most: Duration::from_secs(3_600),
            grace: Duration::from_secs(3_600),
            recall: Duration::from_secs(3 * 86_400),
            names: 256,
            addresses: 64,
        }
    }
}

impl Settings {
    /// How long a TTL counts.
    #[must_use]
    pub fn lifetime(&self, ttl: Duration) -> Duration {
        ttl.max(self.ttl_least).min(self.ttl_most)
    }
}
