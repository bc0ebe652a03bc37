//! Sources whose datagrams come next.

use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Most that are announced together; of more nothing is known ahead.
const COMING_MAX: usize = 64;

/// Addresses in the order in which they come, each with the key of its source among the bans: it is
/// hashed once, when it is announced.
#[derive(Debug, Default)]
pub(super) struct Coming {
    sources: ArrayVec<(IpAddr, u64), COMING_MAX>,
    next: usize,
}

impl Coming {
    pub(super) fn clear(&mut self) {
        self.sources.clear();
        self.next = 0;
    }

    pub(super) fn push(&mut self, ip: IpAddr, key: u64) {
        let _ = self.sources.try_push((ip, key));
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.sources.iter().map(|(_, key)| *key)
    }

    /// The key of an address that has come. Those before it will not.
    #[inline]
    pub(super) fn take(&mut self, ip: IpAddr) -> Option<u64> {
        let rest = self.sources.get(self.next..)?;
        let at = rest.iter().position(|(coming, _)| *coming == ip)?;
        self.next += at + 1;
        Some(rest[at].1)
    }
}
