//! The committed seeds, and a short deterministic run, through every target.

use ringfence_fuzz::{TARGETS, mutation, seeds};

#[test]
fn seeds_replay() {
    for (name, target) in TARGETS {
        let mut verdicts = std::collections::BTreeSet::new();
        for seed in seeds::all() {
            verdicts.insert(target(&seed));
        }
        assert!(verdicts.len() > 1, "{name} sees more than one thing in the seeds: {verdicts:?}");
    }
}

#[test]
fn mutated_seeds() {
    let seeds = seeds::all();
    for (_, target) in TARGETS {
        let mut random = mutation::Random::new(7);
        for _ in 0..5_000 {
            target(&mutation::mutate(&seeds, &mut random));
        }
    }
}

#[test]
fn runs_repeat_themselves() {
    let seeds = seeds::all();
    let (mut one, mut other) = (mutation::Random::new(1), mutation::Random::new(1));
    for _ in 0..100 {
        assert_eq!(mutation::mutate(&seeds, &mut one), mutation::mutate(&seeds, &mut other));
    }
}
