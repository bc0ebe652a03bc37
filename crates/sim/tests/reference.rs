//! The gate beside the reference model: verdicts request by request, all bans, all outcomes.
//!
//! `SIM_SEED=n` compares one day and tells all that differs; `SIM_SEEDS=n` says how many are
//! compared, from `SIM_FROM=n` on.

#![allow(clippy::print_stdout, reason = "it says how much was compared")]

mod seeds;

use seeds::seeds;
use sim::{Day, DayConfig};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Days in a test build: about two minutes of two cores. `make sim` compares some hundreds.
const SEEDS: u64 = 100;

/// Days in which calls send more than the rate of a dialog.
const SEEDS_WITH_KEYS: u64 = 20;

/// Seeds whose days found something wrong once: in the gate, or in the model's reading of it.
const FOUND: [u64; 9] = [455, 590, 651, 704, 713, 870, 3_462, 3_522, 3_528];

/// What was compared, by name.
type Sums = BTreeMap<String, u64>;

/// One day: what was compared, and what differs.
fn compare(seed: u64, keys: bool) -> (Sums, Vec<String>) {
    // the model's memory ends with the edge
    let config = DayConfig { remembers: false, keys, ..DayConfig::any(seed) };
    let (day, model) = Day::new(config).compared();
    assert!(day.calls > 0, "seed {seed}");
    let mut sums = Sums::new();
    let judged = model.judged.iter().map(|((what, why), n)| (format!("{what}: {why}"), *n));
    let outcomes = model.outcomes.iter().map(|(outcome, n)| (outcome.as_str().to_string(), *n));
    let bans = model.banned.iter().map(|ban| (format!("bans: {}", ban.kind), 1));
    for (name, count) in judged.chain(outcomes).chain(bans) {
        *sums.entry(name).or_default() += count;
    }
    sums.insert("judged in a dialog".into(), model.judged_in_dialogs);
    let wrong = model.disagreements().into_iter().map(|what| format!("seed {seed}: {what}"));
    (sums, wrong.collect())
}

#[test]
fn the_gate_is_of_one_mind_with_the_reference_model() {
    let chosen = seeds(SEEDS);
    let found = FOUND.into_iter().filter(|seed| !seeds::is_chosen() && !chosen.contains(seed));
    compare_all(&chosen.clone().chain(found).collect::<Vec<_>>(), false);
}

#[test]
fn so_it_is_where_calls_are_faster_than_calls_are() {
    let sums = compare_all(&seeds(SEEDS_WITH_KEYS).collect::<Vec<_>>(), true);
    assert!(seeds::is_chosen() || sums["judged in a dialog"] > 1_000, "{sums:?}");
}

/// Compares days, and gives their sums.
fn compare_all(seeds: &[u64], keys: bool) -> Sums {
    let (next, all) = (AtomicUsize::new(0), Mutex::new((Sums::new(), Vec::new())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&seed) = seeds.get(next) else { return };
                    let (sums, wrong) = compare(seed, keys);
                    let mut all = all.lock().expect("no panic");
                    sums.into_iter().for_each(|(name, n)| *all.0.entry(name).or_default() += n);
                    all.1.extend(wrong);
                }
            });
        }
    });
    let (sums, mut wrong) = all.into_inner().expect("no panic");
    let days = seeds.len() as u64;
    println!("{days} days compared");
    sums.iter().for_each(|(name, count)| println!("{count:>9} {name}"));
    wrong.sort();
    let first = wrong[..wrong.len().min(30)].join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{first}", wrong.len());
    let judged = sums.iter().filter(|(name, _)| name.contains(": ") && !name.starts_with("bans"));
    assert!(judged.map(|(_, count)| count).sum::<u64>() > 500 * days);
    sums
}
