use policy::Time;
use std::collections::HashSet;
use std::time::Duration;

/// Evidence that halves in its half-life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fading {
    sum: f64,
    at: Time,
}

impl Fading {
    /// What is left of it.
    pub fn value(&self, now: Time, half_life: Duration) -> f64 {
        let passed = now.since(self.at).as_secs_f64();
        self.sum * 0.5f64.powf(passed / half_life.as_secs_f64())
    }

    /// More of it; the sum.
    pub fn add(&mut self, now: Time, weight: f64, half_life: Duration) -> f64 {
        self.sum = self.value(now, half_life) + weight;
        self.at = now;
        self.sum
    }

    /// "Halved twice".
    pub fn quarter(&mut self) {
        self.sum /= 4.0;
    }
}

/// What a source was told, and nobody else.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Values of `opaque`.
    pub opaques: HashSet<String>,
    /// Nonces, the PBX's and the edge's.
    pub nonces: HashSet<String>,
    /// User parts of Record-Routes.
    pub routes: HashSet<String>,
    /// To-tags of refusals, with Call-ID and From-tag.
    pub tags: HashSet<(String, String, String)>,
    /// To-tags of the edge's own challenges to INVITEs, likewise.
    pub own_tags: HashSet<(String, String, String)>,
}
