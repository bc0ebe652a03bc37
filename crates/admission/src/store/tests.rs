use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
struct Thing {
    key: u64,
    says: u32,
}

impl Entry for Thing {
    fn key(&self) -> u64 {
        self.key
    }
}

/// The same, slow and obvious: one list for each rank, oldest first.
#[derive(Default)]
struct Naive {
    lists: [Vec<Thing>; 4],
    capacity: usize,
    evictions: u64,
}

impl Naive {
    fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    fn remove(&mut self, key: u64) -> Option<Thing> {
        for list in &mut self.lists {
            if let Some(at) = list.iter().position(|thing| thing.key == key) {
                return Some(list.remove(at));
            }
        }
        None
    }

    fn evict(&mut self, highest: Rank) -> Option<Thing> {
        let lowest = self.lists.iter().position(|list| !list.is_empty())?;
        if lowest > highest as usize {
            return None;
        }
        self.evictions += 1;
        Some(self.lists[lowest].remove(0))
    }

    fn insert(&mut self, rank: Rank, thing: Thing) -> Option<Thing> {
        let mut gone = self.remove(thing.key);
        if self.len() >= self.capacity {
            gone = self.evict(rank);
            if gone.is_none() {
                self.evictions += 1;
                return Some(thing);
            }
        }
        self.lists[rank as usize].push(thing);
        gone
    }

    fn touch(&mut self, key: u64, rank: Rank) -> bool {
        let found = self.remove(key);
        let was = found.is_some();
        self.lists[rank as usize].extend(found);
        was
    }

    fn enter(&mut self, rank: Rank, new: Thing) -> Option<Thing> {
        let key = new.key;
        match (0..).zip(&self.lists).find(|(_, list)| list.iter().any(|it| it.key == key)) {
            Some((own, _)) => drop(self.touch(key, rank.max(Rank::ALL[own]))),
            None => drop(self.insert(rank, new)),
        }
        self.lists.iter().flatten().find(|thing| thing.key == key).cloned()
    }

    fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
        while self.len() > capacity {
            self.evict(Rank::Banned);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Rank, u64, u32),
    Touch(u64, Rank),
    Enter(Rank, u64, u32),
    Remove(u64),
    Change(u64, u32),
    Configure(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // few keys, of which many share the half that the index looks at
    let key = (0..4u64, 0..12u64).prop_map(|(high, low)| high << 62 | low);
    let rank = (0..4usize).prop_map(|rank| Rank::ALL[rank]);
    let step = prop_oneof![
        8 => (rank.clone(), key.clone(), any::<u32>()).prop_map(|(r, k, n)| Step::Insert(r, k, n)),
        3 => (key.clone(), rank.clone()).prop_map(|(key, rank)| Step::Touch(key, rank)),
        3 => (rank.clone(), key.clone(), any::<u32>()).prop_map(|(r, k, n)| Step::Enter(r, k, n)),
        3 => key.clone().prop_map(Step::Remove),
        2 => (key, any::<u32>()).prop_map(|(key, says)| Step::Change(key, says)),
        1 => (1..24usize).prop_map(Step::Configure),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn it_is_the_obvious_table(steps in steps()) {
        let mut store = Store::new(8);
        let mut naive = Naive { capacity: 8, ..Naive::default() };
        for step in steps {
            match step {
                Step::Insert(rank, key, says) => {
                    let thing = Thing { key, says };
                    prop_assert_eq!(store.insert(rank, thing.clone()), naive.insert(rank, thing));
                }
                Step::Touch(key, rank) => {
                    prop_assert_eq!(store.touch(key, rank), naive.touch(key, rank));
                }
                Step::Enter(rank, key, says) => {
                    let of_store = store.enter(key, rank, || Thing { key, says }).cloned();
                    prop_assert_eq!(of_store, naive.enter(rank, Thing { key, says }));
                }
                Step::Remove(key) => prop_assert_eq!(store.remove(key), naive.remove(key)),
                Step::Change(key, says) => {
                    let of_store = store.find_mut(key).map(|thing| thing.says = says);
                    let of_naive = naive.lists.iter_mut().flatten().find(|thing| thing.key == key);
                    prop_assert_eq!(of_store, of_naive.map(|thing| thing.says = says));
                }
                Step::Configure(capacity) => {
                    store.configure(capacity);
                    naive.configure(capacity);
                }
            }
            let use_ = TableUse {
                entries: naive.len(),
                capacity: naive.capacity,
                evictions: naive.evictions,
            };
            prop_assert_eq!(store.table(), use_);
            prop_assert_eq!(store.iter().count(), naive.len());
            for rank in Rank::ALL {
                let list = &naive.lists[rank as usize];
                prop_assert_eq!(store.oldest(rank), list.first());
                for thing in list {
                    prop_assert_eq!(store.find(thing.key), Some(thing));
                    prop_assert_eq!(store.rank(thing.key), Some(rank));
                }
            }
        }
        // the whole order, from the old end to the young one
        for rank in Rank::ALL {
            for thing in &naive.lists[rank as usize] {
                prop_assert_eq!(store.oldest(rank), Some(thing));
                store.remove(thing.key);
            }
        }
        prop_assert_eq!(store.len(), 0);
    }
}

/// A key as the keyed hash would make it.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[test]
fn a_million_forged_addresses_push_out_nobody_known() {
    let mut store = Store::new(1_000);
    for n in 0..500 {
        assert!(store.insert(Rank::Known, Thing { key: spread(n), says: 1 }).is_none());
    }
    for n in 1_000..1_001_000 {
        store.insert(Rank::Unproven, Thing { key: spread(n), says: 0 });
        assert!(store.len() <= 1_000);
    }
    assert!((0..500).all(|n| store.find(spread(n)).is_some()));
    assert_eq!(store.table().evictions, 999_500);
}

#[test]
fn a_newcomer_does_not_push_out_his_betters() {
    let mut store = Store::new(2);
    store.insert(Rank::Banned, Thing { key: 1, says: 0 });
    store.insert(Rank::Proven, Thing { key: 2, says: 0 });
    let refused = store.insert(Rank::Unproven, Thing { key: 3, says: 0 });
    assert_eq!(refused.map(|thing| thing.key), Some(3));
    let evicted = store.insert(Rank::Proven, Thing { key: 4, says: 0 });
    assert_eq!(evicted.map(|thing| thing.key), Some(2));
    assert_eq!(store.table().evictions, 2);
}

/// What a million strangers cost, each with an entry of 56 bytes.
#[test]
fn a_stranger_costs_at_most_eighty_bytes() {
    struct Stranger([u64; 7]);
    impl Entry for Stranger {
        fn key(&self) -> u64 {
            self.0[0]
        }
    }
    assert_eq!(size_of::<Slot<Stranger>>(), 64);
    let mut store = Store::new(1 << 20);
    assert_eq!(store.index.bytes() + store.slots.capacity(), 0, "an idle one is free");
    let mut worst = 0;
    for n in 0..1 << 20 {
        store.insert(Rank::Unproven, Stranger([spread(n), 0, 0, 0, 0, 0, 0]));
        if store.len() >= 1_000 {
            // of the slots' reserve no page was ever written
            let bytes = store.slots.len() * size_of::<Slot<Stranger>>() + store.index.bytes();
            worst = worst.max(bytes / store.len());
        }
    }
    assert!(worst <= 80, "{worst} bytes");
}

#[test]
fn a_smaller_bound_gives_memory_back() {
    let mut store = Store::new(100_000);
    for n in 0..100_000 {
        store.insert(Rank::Unproven, Thing { key: spread(n), says: 0 });
    }
    store.configure(100);
    assert_eq!(store.len(), 100);
    assert!((99_900..100_000).all(|n| store.find(spread(n)).is_some()), "the youngest stay");
    assert!(store.slots.capacity() < 1_000 && store.index.bytes() < 8_000);
}
