//! Which seeds are run: `SIM_SEED=n` that one, `SIM_SEEDS=n` so many, from `SIM_FROM=n` on (0).

use std::ops::Range;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Those of the environment, else the first `usual` ones.
pub fn seeds(usual: u64) -> Range<u64> {
    if let Some(seed) = number("SIM_SEED") {
        return seed..seed + 1;
    }
    let from = number("SIM_FROM").unwrap_or(0);
    from..from + number("SIM_SEEDS").unwrap_or(usual)
}

/// Whether the environment says which.
#[allow(dead_code, reason = "not every test has seeds of its own to add")]
pub fn is_chosen() -> bool {
    ["SIM_SEED", "SIM_SEEDS", "SIM_FROM"].iter().any(|name| std::env::var_os(name).is_some())
}
