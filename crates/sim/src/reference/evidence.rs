//! "Evidence": what outcomes weigh, on which key.

use super::asked::Asked;
use super::bans::Key;
use super::memory::Fading;
use super::{Aor, Reference};
use policy::{Network, Time};
use wire::Flow;

/// "`abandoned`", by method; "OPTIONS and others" nothing.
const ABANDONED: [(&[&str], f64); 2] =
    [(&["INVITE"], 1.0), (&["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"], 0.5)];
/// "the same again for the same AOR: 0.02, in the short memory only"
const ABANDONED_AGAIN: f64 = 0.02;
/// "`refused`, the AOR's first in the trust window at this source", and "again for the same AOR".
const REFUSED: f64 = 0.5;
const REFUSED_AGAIN: f64 = 0.05;
/// "`foreign`"
pub(super) const FOREIGN: f64 = 0.05;
/// "403/404 to an unchallenged INVITE of a proven stranger"
pub(super) const NOT_FOUND: f64 = 0.5;
const HONEYTOKEN: f64 = 100.0;
const AT_HOME: f64 = 0.1;

/// Refusals of a pair, in a short and a long memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub short: Fading,
    pub long: Fading,
}

impl Reference {
    /// An outcome weighs on its source: "× message matched a signature ..., × AOR is at home here".
    pub(super) fn weigh(
        &mut self,
        now: Time,
        source: Network,
        weight: f64,
        asked: &Asked,
        lasting: bool,
    ) {
        let home = if asked.at_home { AT_HOME } else { 1.0 };
        self.add(now, source, weight * asked.factor * home, lasting);
    }

    /// "honeytoken (AOR or number), proven"
    pub(super) fn touched(&mut self, now: Time, source: Network) {
        self.add(now, source, HONEYTOKEN, true);
    }

    fn add(&mut self, now: Time, source: Network, weight: f64, lasting: bool) {
        if weight == 0.0 || self.trusted(source.address()) {
            return;
        }
        let (half_life, levels) = (self.rules().half_life, self.rules().levels);
        let it = self.sources.entry(source).or_default();
        let short = it.short.add(now, weight, half_life.short) >= f64::from(levels.ban);
        let long = it.long.add(now, if lasting { weight } else { 0.0 }, half_life.long);
        let long = long >= f64::from(levels.ban_long);
        self.spoken_against(now, &Key::Source(source));
        if !short && !long {
            return;
        }
        // What is banned is not banned again.
        let known = self.is_known(now, &source);
        let keys = [Key::Source(source), Key::Network(Network::around(source.address()))];
        let mut standing = keys.iter().filter_map(|key| self.bans.get(key));
        if standing.any(|ban| !ban.narrowed || known && ban.until > now) {
            return;
        }
        // "A source that is `known` is never banned whole: at `ban` it is narrowed"
        self.ban(now, Key::Source(source), known, !short);
        if !known {
            self.count_network(now, source);
        }
    }

    /// "A network is banned when 5 of its sources are, and nothing in it is known; with known ones
    /// it is narrowed likewise."
    fn count_network(&mut self, now: Time, source: Network) {
        let around = Network::around(source.address());
        let since = self.forgotten.get(&around).copied().unwrap_or(Time::ZERO);
        let banned = self.bans.iter().filter(|(key, ban)| match key {
            Key::Source(other) => {
                around.contains(other.address()) && !ban.narrowed && ban.since > since
            }
            _ => false,
        });
        if banned.filter(|(_, ban)| ban.until > now).count() >= self.rules().bans.network as usize {
            let mut within = self.sources.keys().filter(|it| around.contains(it.address()));
            let known = within.any(|source| self.is_known(now, source));
            self.ban(now, Key::Network(around), known, false);
        }
    }

    /// A refusal: on its source, on its pairs, on the AOR and on the shape; "from an unproven source
    /// it counts as suspicion only".
    pub(super) fn weigh_refusal(&mut self, now: Time, flow: &Flow, asked: &Asked, proven: bool) {
        let half_life = self.rules().half_life.short;
        // "refusals of one AOR from sources that are not its home"
        if !asked.at_home {
            let Aor { refusals, doubts } = self.aors.entry(asked.account.clone()).or_default();
            let count = if proven { refusals } else { doubts };
            count.add(now, 1.0, half_life);
        }
        if !proven {
            self.sources.entry(asked.source).or_default().suspect = Some(now);
            return;
        }
        let window = self.rules().trust.window;
        let before = self.refused.insert((asked.account.clone(), asked.source), now);
        let again = before.is_some_and(|at| now.since(at) <= window);
        // "`refused` again for the same AOR: 0.05, in the short memory only"
        let weight = if again { REFUSED_AGAIN } else { REFUSED };
        self.weigh(now, asked.source, weight, asked, !again);
        self.weigh_pairs(now, flow, asked);
        self.failed_shape(now, asked.shape, asked.source);
    }

    /// "`abandoned`", by method; all but INVITEs "again for the same AOR in the trust window at
    /// this source, if it was never refused there".
    pub(super) fn weigh_abandoned(
        &mut self,
        now: Time,
        source: Network,
        method: &str,
        asked: &Asked,
    ) {
        let weight = ABANDONED.iter().find(|(methods, _)| methods.contains(&method));
        let Some((_, weight)) = weight.filter(|_| !self.trusted(source.address())) else { return };
        let here = (asked.account.clone(), asked.source);
        let never = !self.pairs.contains_key(&Key::Pair(here.0.clone(), here.1));
        let again = method != "INVITE" && never && {
            let window = self.rules().trust.window;
            let before = self.abandoned.insert(here, now);
            before.is_some_and(|at| now.since(at) <= window)
        };
        let weight = if again { ABANDONED_AGAIN } else { *weight };
        self.weigh(now, source, weight, asked, !again);
    }

    /// "each `refused`, the first too: 1 on (AOR, flow) and (AOR, source)"
    fn weigh_pairs(&mut self, now: Time, flow: &Flow, asked: &Asked) {
        if self.trusted(flow.remote.ip()) {
            return;
        }
        let (half_life, levels) = (self.rules().half_life, self.rules().levels);
        let by_flow = Key::Flow(asked.account.clone(), *flow);
        let at_source = Key::Pair(asked.account.clone(), asked.source);
        let mut add = |key: &Key| {
            let pair = self.pairs.entry(key.clone()).or_default();
            let short = pair.short.add(now, 1.0, half_life.pair);
            let long = pair.long.add(now, 1.0, half_life.long);
            (short >= f64::from(levels.pair), long >= f64::from(levels.ban_long))
        };
        let (by_flow, at_source) = ((add(&by_flow), by_flow), (add(&at_source), at_source));
        // "Where the AOR is at home its flow is banned, and the source pair is never"; elsewhere
        // the source pair is banned, which "has a long memory, too".
        let ((short, long), key) = match asked.at_home {
            true => ((by_flow.0.0, false), by_flow.1),
            false => at_source,
        };
        self.spoken_against(now, &key);
        if short || long {
            self.ban(now, key, false, !short);
        }
    }

    /// "A shape under which 5 different proven sources ended in abandoned or refused, with no
    /// success ever seen, is a campaign for 24 h after its last hit".
    pub(super) fn failed_shape(&mut self, now: Time, shape: u64, source: Network) {
        if shape == 0 {
            return;
        }
        let rules = self.rules().campaign;
        let it = self.shapes.entry(shape).or_default();
        if it.succeeded {
            return;
        }
        if it.last.is_some_and(|last| now.since(last) > rules.lifetime) {
            it.failed.clear();
        }
        it.failed.insert(source);
        it.last = Some(now);
        let many = it.failed.len() >= rules.sources as usize;
        if many && self.ban_of(now, &Key::Campaign(shape)).is_none() {
            self.ban(now, Key::Campaign(shape), false, false);
        }
    }

    /// "a success ends the campaign"
    pub(super) fn good_shape(&mut self, shape: u64) {
        if shape != 0 {
            self.shapes.entry(shape).or_default().succeeded = true;
            self.bans.remove(&Key::Campaign(shape));
        }
    }
}
