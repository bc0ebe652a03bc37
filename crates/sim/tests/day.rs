//! Generated days: who attacks is found out, and who is honest never notices.
//!
//! `SIM_SEED=n` repeats one day exactly and tells what went wrong; `SIM_SEEDS=n` says how many
//! are run, from `SIM_FROM=n` on.

#![allow(clippy::print_stdout, reason = "the days say what they came to")]

mod seeds;

use seeds::seeds;
use sim::{Day, DayConfig, Report};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Days in a build without optimisation; `make sim` runs some hundreds.
const SEEDS: u64 = 4;

/// Runs days side by side; the sum, and what was wrong on which.
fn days(seeds: std::ops::Range<u64>, day: impl Fn(u64) -> Report + Sync) -> (Report, Vec<String>) {
    let (next, sum) = (AtomicU64::new(seeds.start), Mutex::new((Report::default(), Vec::new())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = day(seed);
                    let mut sum = sum.lock().expect("no panic");
                    let wrong = report.false_bans.iter().chain(&report.victims);
                    let wrong: Vec<_> = wrong.chain(&report.violations).cloned().collect();
                    sum.1.extend(wrong.into_iter().map(|what| format!("seed {seed}: {what}")));
                    sum.0.add(report);
                }
            });
        }
    });
    sum.into_inner().expect("no panic")
}

#[test]
fn honest_people_never_notice_and_attackers_are_found_out() {
    let seeds = seeds(SEEDS);
    let shipped = config::shipped_signatures().expect("they load").signatures;
    // Days without signatures and days with the shipped ones, half and half; some with two shards.
    let day = |seed: u64, signatures: bool| {
        let config = DayConfig { shards: [1, 1, 2][(seed % 3) as usize], ..DayConfig::any(seed) };
        Day::with_policy(config, |policy| {
            if signatures {
                policy.admission.signatures = shipped.clone();
            }
        })
    };
    let half = seeds.start + (seeds.end - seeds.start).div_ceil(2);
    for (seeds, signatures) in [(seeds.start..half, false), (half..seeds.end, true)] {
        let number = seeds.end - seeds.start;
        let (report, wrong) = days(seeds, |seed| day(seed, signatures).finish());
        let with = if signatures { "with" } else { "without" };
        println!("{number} days {with} signatures\n{report}\n");
        let first = wrong[..wrong.len().min(30)].join("\n");
        assert!(wrong.is_empty(), "{} wrong {with} signatures:\n{first}", wrong.len());
        assert!(report.calls >= number, "the days check too few calls to mean anything");
    }
}

#[test]
fn straight_at_the_pbx_nobody_honest_notices_either() {
    // What fails here is the day's fault, not the edge's.
    let (report, wrong) = days(0..2, |seed| {
        let config = DayConfig { shards: 0, attackers: 0, ..DayConfig::new(seed) };
        Day::new(config).finish()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(report.calls > 10);
}
