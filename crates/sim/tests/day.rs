//! Generated days: who attacks is found out, and who is honest never notices.
//!
//! `SIM_SEED=n` repeats one day exactly and tells what went wrong; `SIM_SEEDS=n` says how many
//! are run, from `SIM_FROM=n` on.

#![allow(clippy::print_stdout, reason = "the days say what they came to")]

mod seeds;

use seeds::seeds;
use sim::{Day, DayConfig, Report};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Days in a build without optimisation; `make sim` runs some hundreds.
const SEEDS: u64 = 4;

/// Runs days side by side; the sum, and what was wrong on which.
fn days(seeds: &[u64], day: impl Fn(u64) -> Report + Sync) -> (Report, Vec<String>) {
    let (next, sum) = (AtomicUsize::new(0), Mutex::new((Report::default(), Vec::new())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&seed) = seeds.get(index) else { return };
                    let mut report = day(seed);
                    report.unexplained.iter_mut().for_each(|it| *it += &format!(" (seed {seed})"));
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

/// Attackers of whom each is banned, by what they do alone: with the most requests that one of them
/// gets to the PBX.
const BANNED: [(&str, u64); 9] = [
    ("sipcli acking 2/s", 9),
    ("sipcli acking 1/4s", 9),
    ("svwar INVITE", 9),
    ("prefix walker", 9),
    ("caller, all at once", 9),
    ("honeytoken toucher", 9),
    // as many as a stranger may have open, and as many as he abandons until he is banned
    ("hangs up", 64 + 6),
    ("svcrack dictionary", 20),
    ("svcrack reusing nonce", 20),
];

/// Guessers of whom each is banned, too, sooner or later.
const CAUGHT: [&str; 4] = [
    "svcrack challenge each",
    "guesser with an account",
    "guesser over a /64",
    "guesser, all at once",
];

/// Whose looks the shipped signatures know.
const KNOWN: [&str; 11] = [
    "sipcli acking 2/s",
    "sipcli acking 1/4s",
    "sipcli silent 2/s",
    "sipcli distributed",
    "svmap",
    "svwar REGISTER",
    "svwar INVITE",
    "svwar OPTIONS",
    "svwar BYE",
    "svcrack dictionary",
    "svcrack reusing nonce",
];

/// What the attackers of some days came to, where it is not what it must be.
fn undetected(report: &Report, signatures: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (label, row) in &report.rows {
        let most = BANNED.iter().find(|(banned, _)| banned == label).map(|(_, most)| *most);
        let known = signatures && KNOWN.contains(label);
        let banned = most.is_some() || CAUGHT.contains(label);
        let guesses = label.contains("guess") || label.contains("svcrack");
        if known && row.leaked > 0
            || banned && !known && row.banned + row.kept_out < row.attackers
            || most.is_some_and(|most| row.worst > most)
            || guesses && row.successes > 0
        {
            let of_it = |it: &&String| it.starts_with(&format!("{label}: "));
            let unexplained: Vec<_> = report.unexplained.iter().filter(of_it).collect();
            wrong.push(format!("{label}: {row:?} {unexplained:?}"));
        }
    }
    wrong
}

#[test]
fn honest_people_never_notice_and_attackers_are_found_out() {
    let seeds = seeds(SEEDS);
    let shipped = config::shipped_signatures().expect("they load").signatures;
    // Even seeds without signatures, odd ones with those that are shipped; some with two shards.
    let day = |seed: u64, signatures: bool| {
        let config = DayConfig { shards: [1, 1, 2][(seed % 3) as usize], ..DayConfig::any(seed) };
        Day::with_policy(config, |policy| {
            if signatures {
                policy.admission.signatures = shipped.clone();
            }
        })
    };
    for signatures in [false, true] {
        let seeds: Vec<u64> = seeds.clone().filter(|seed| (seed % 2 == 1) == signatures).collect();
        let number = seeds.len() as u64;
        let (report, wrong) = days(&seeds, |seed| day(seed, signatures).finish());
        let with = if signatures { "with" } else { "without" };
        println!("{number} days {with} signatures\n{report}\n");
        let first = wrong[..wrong.len().min(30)].join("\n");
        assert!(wrong.is_empty(), "{} wrong {with} signatures:\n{first}", wrong.len());
        assert!(report.calls >= number, "the days check too few calls to mean anything");
        assert_eq!(undetected(&report, signatures), Vec::<String>::new(), "{with} signatures");
    }
}

#[test]
fn straight_at_the_pbx_nobody_honest_notices_either() {
    // What fails here is the day's fault, not the edge's.
    let (report, wrong) = days(&[0, 1], |seed| {
        let config = DayConfig { shards: 0, attackers: 0, ..DayConfig::new(seed) };
        Day::new(config).finish()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(report.calls > 10);
}
