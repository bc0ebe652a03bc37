//! Ten million mutated messages through a target, on stable, the same each time:
//! `mutate -- --messages 10000000 --seed 1 parse`. Prints what was seen, by verdict.

use ringfence_fuzz::{TARGETS, mutation, seeds};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

const PROGRESS_EVERY: u64 = 1_000_000;

fn main() -> ExitCode {
    let Some((messages, seed, name)) = arguments() else {
        eprintln!(
            "usage: mutate [--messages N] [--seed N] parse|frame|splice|differential|engine|voyage|capture"
        );
        return ExitCode::from(2);
    };
    let Some((_, target)) = TARGETS.iter().find(|(target, _)| *target == name) else {
        eprintln!("no target {name}");
        return ExitCode::from(2);
    };
    let seeds = seeds::all();
    let mut random = mutation::Random::new(seed);
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    for count in 1..=messages {
        let bytes = mutation::mutate(&seeds, &mut random);
        match catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            Ok(verdict) => *verdicts.entry(verdict).or_default() += 1,
            Err(_) => {
                println!("message {count} of seed {seed} failed: b\"{}\"", bytes.escape_ascii());
                return ExitCode::FAILURE;
            }
        }
        if count % PROGRESS_EVERY == 0 {
            println!("{name}: {count} of {messages}, {} verdicts", verdicts.len());
        }
    }
    println!("{name}: {messages} messages from seed {seed}, none failed");
    for (verdict, count) in &verdicts {
        println!("{count:>12}  {verdict}");
    }
    ExitCode::SUCCESS
}

fn arguments() -> Option<(u64, u64, String)> {
    let (mut messages, mut seed, mut name) = (1_000_000, 1, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--messages" => messages = arguments.next()?.parse().ok()?,
            "--seed" => seed = arguments.next()?.parse().ok()?,
            _ if name.is_none() => name = Some(argument),
            _ => return None,
        }
    }
    Some((messages, seed, name?))
}
