//! The gate beside the reference model: verdicts request by request, all bans, all outcomes.
//!
//! `SIM_SEED=n` compares one day and tells all that differs; `SIM_SEEDS=n` says how many are
//! compared.

#![allow(clippy::print_stdout, reason = "it says how much was compared")]

use sim::{Day, DayConfig};
use std::collections::BTreeMap;

/// Days in a build that is not made for them; `make sim` compares some hundreds.
const SEEDS: u64 = 8;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn the_gate_is_of_one_mind_with_the_reference_model() {
    let seeds = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(SEEDS),
    };
    let (mut judged, mut outcomes, mut bans) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (days, mut wrong) = (seeds.end - seeds.start, Vec::new());
    for seed in seeds {
        let (day, model) = Day::new(DayConfig::any(seed)).compared();
        assert!(day.calls > 0, "seed {seed}");
        let all = model.disagreements().into_iter();
        wrong.extend(all.map(|what| format!("seed {seed}: {what}")));
        for (what, count) in model.judged {
            *judged.entry(what).or_insert(0) += count;
        }
        for (outcome, count) in model.outcomes {
            *outcomes.entry(outcome).or_insert(0) += count;
        }
        for ban in model.banned {
            *bans.entry(ban.kind).or_insert(0) += 1;
        }
    }
    println!("{days} days\njudged twice {judged:?}\noutcomes {outcomes:?}\nbans {bans:?}");
    let first = wrong[..wrong.len().min(30)].join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{first}", wrong.len());
    assert!(judged.values().sum::<u64>() > 1_000 * days);
}
