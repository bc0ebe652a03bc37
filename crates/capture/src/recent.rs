//! A table that keeps the newest.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A bounded table: whoever comes when it is full pushes out the one that was put in first.
#[derive(Debug)]
pub struct Recent<K, V> {
    capacity: usize,
    entries: HashMap<K, (u64, V)>,
    /// In the order they came; an item whose number is not its entry's any more is void.
    order: VecDeque<(K, u64)>,
    count: u64,
    evictions: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// An empty one that will hold `capacity` entries, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Recent {
            capacity: capacity.max(1),
            entries: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            evictions: 0,
        }
    }

    /// Puts an entry in, in the place of one with the same key. The one that had to leave, if any.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.count += 1;
        self.entries.insert(key, (self.count, value));
        self.order.push_back((key, self.count));
        let pushed_out = if self.entries.len() > self.capacity { self.oldest() } else { None };
        self.evictions += u64::from(pushed_out.is_some());
        if self.order.len() > 2 * self.capacity + 16 {
            let entries = &self.entries;
            let is_good = |(key, number): &(K, u64)| {
                entries.get(key).is_some_and(|(of_entry, _)| of_entry == number)
            };
            self.order.retain(is_good);
        }
        pushed_out
    }

    fn oldest(&mut self) -> Option<(K, V)> {
        while let Some((key, number)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(of_entry, _)| *of_entry == number) {
                return self.entries.remove(&key).map(|(_, value)| (key, value));
            }
        }
        None
    }

    /// The entry with that key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entry with that key, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many were pushed out, ever.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}
