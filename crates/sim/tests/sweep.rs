//! Random runs: many seeds, weighted random actions, and what must hold after each.
//!
//! `SIM_SEED=n` repeats one run exactly; `SIM_SEEDS=n` says how many are run (default 300), from
//! `SIM_FROM=n` on.

#![allow(clippy::print_stdout, reason = "the sweep says what it did")]

mod run;
mod seeds;

use run::Run;
use seeds::seeds;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 300;

#[test]
fn sweep() {
    let seeds = seeds(SEEDS);
    let (next, steps, calls) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let done = Run::new(seed).finish();
                    steps.fetch_add(done.steps, Ordering::Relaxed);
                    calls.fetch_add(done.checked, Ordering::Relaxed);
                }
            });
        }
    });
    let (count, steps, calls) = (seeds.end - seeds.start, steps.into_inner(), calls.into_inner());
    println!("{count} seeds, {steps} steps, {calls} calls that had to complete and did");
    assert!(count < 20 || calls > count, "the sweep checks too few calls to mean anything");
}

#[test]
fn a_seed_repeats_its_run_exactly() {
    for seed in [3, 4] {
        let (one, other) = (Run::new(seed).finish(), Run::new(seed).finish());
        assert_eq!(
            (one.steps, one.checked, one.digest),
            (other.steps, other.checked, other.digest)
        );
    }
}
