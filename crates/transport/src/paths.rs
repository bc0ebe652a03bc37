//! The way back to clients of UDP load balancers: by the balancer, from the socket of its that
//! spoke for them last.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Balancers by their client, and the socket's place. Two generations: when the young one is full
/// it becomes the old one, and what nobody used since is forgotten.
#[derive(Debug)]
pub(crate) struct Paths {
    young: HashMap<(SocketAddr, usize), SocketAddr>,
    old: HashMap<(SocketAddr, usize), SocketAddr>,
    half: usize,
}

impl Paths {
    /// Room for so many.
    pub(crate) fn new(capacity: usize) -> Self {
        Paths { young: HashMap::new(), old: HashMap::new(), half: capacity.div_ceil(2).max(1) }
    }

    /// The client spoke by this balancer.
    pub(crate) fn learn(&mut self, client: SocketAddr, socket: usize, balancer: SocketAddr) {
        let key = (client, socket);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, balancer);
    }

    /// By whom a client is reached; `None`: by itself.
    pub(crate) fn find(&self, client: SocketAddr, socket: usize) -> Option<SocketAddr> {
        let key = (client, socket);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_stays_known_and_the_silent_are_forgotten() {
        let at = |port| SocketAddr::from(([198, 51, 100, 7], port));
        let balancer = SocketAddr::from(([10, 0, 0, 1], 40_000));
        let mut paths = Paths::new(8);
        paths.learn(at(1), 0, balancer);
        assert_eq!(paths.find(at(1), 0), Some(balancer));
        assert_eq!(paths.find(at(1), 1), None, "of another listener");
        for port in 2..100 {
            paths.learn(at(port), 0, balancer);
            paths.learn(at(1), 0, at(port));
            assert_eq!(paths.find(at(1), 0), Some(at(port)), "the last counts");
            assert!(paths.len() <= 8);
        }
        assert_eq!(paths.find(at(2), 0), None);
    }
}
