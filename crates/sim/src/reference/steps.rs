//! "A request's way through the gate", word by word.

use super::asked::{Asked, Held};
use super::bans::Key;
use super::{Class, Reference};
use policy::{
    Ceiling, ChallengeMode, LimitAnswer, LimitKey, Network, Rate, Reason, Then, Time, Who,
};
use std::time::Duration;
use wire::Flow;

/// What decided.
pub(super) type Verdict = (Class, Reason);

pub(super) const PASS: Verdict = (Class::Pass, Reason::Clean);

/// "each try on a key that is banned or narrowed below the source (proven)".
const TRY: f64 = 0.02;

/// "and 32 s without a new one"
const TRY_FORGOTTEN: Duration = Duration::from_secs(32);

/// The gate counts in 32 bits and in steps of 66 µs: where a count is as near to its level as this,
/// its word is as good as the model's.
const HAIR: f64 = 1e-5;

/// At what tries are under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tried {
    Pair(Key),
    Account(String),
    /// "of one source's accounts that are not at home there"
    Strange(Network),
    /// "of one home over all its flows"
    Home(Key),
    /// INVITEs of a source's, or others, proven ones or all: what is no try yet.
    Passing {
        source: Network,
        invite: bool,
        proven: bool,
    },
}

/// Tries under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    count: u32,
    last: Time,
}

fn tried_pair(flow: &Flow, asked: &Asked) -> Key {
    match asked.at_home {
        true => Key::Flow(asked.account.clone(), *flow),
        false => Key::Pair(asked.account.clone(), asked.source),
    }
}

fn tried_over_all(asked: &Asked) -> Tried {
    match asked.at_home {
        true => Tried::Home(Key::Pair(asked.account.clone(), asked.source)),
        false => Tried::Strange(asked.source),
    }
}

/// "Of a request that proves itself only proven ones count": it counts among all, and among those.
fn passing(asked: &Asked) -> Vec<Tried> {
    let (source, invite) = (asked.source, asked.is_invite());
    let of = |proven| Tried::Passing { source, invite, proven };
    if asked.proof { vec![of(false), of(true)] } else { vec![of(false)] }
}

fn tried(flow: &Flow, asked: &Asked) -> Vec<Tried> {
    let mut all = vec![Tried::Pair(tried_pair(flow, asked)), tried_over_all(asked)];
    all.extend((!asked.at_home).then(|| Tried::Account(asked.account.clone())));
    all
}

/// Registrations of homes, for the storm.
#[derive(Debug, Default)]
pub(super) struct Storm {
    second: u64,
    count: u32,
    until: Time,
}

impl Reference {
    /// 1. "banned source, network: dropped before parsing".
    pub(super) fn stopped_before_parsing(&self, flow: &Flow) -> bool {
        let ip = flow.remote.ip();
        let of = [Key::Source(Network::source(ip)), Key::Network(Network::around(ip))];
        !self.trusted(ip) && of.iter().any(|key| self.bans.get(key).is_some_and(|it| !it.narrowed))
    }

    /// Steps 2 to 10.
    pub(super) fn judge(&mut self, now: Time, flow: &Flow, asked: &mut Asked) -> Verdict {
        // 2. "trusted: accepted"  3. "inside a dialog ...: accepted"
        if !asked.is_judged() {
            return PASS;
        }
        let steps = [
            Reference::rules_stop,
            Reference::signature_stops,
            Reference::honeytoken_stops,
            Reference::pair_stops,
            Reference::rates_stop,
            Reference::challenges,
            Reference::slowed,
            Reference::guarded,
            Reference::busy,
        ];
        let stop = steps.iter().find_map(|step| step(self, now, flow, asked));
        stop.unwrap_or(PASS)
    }

    /// 4. "method that this state may not send; characters no user part has: rule"; but "what a rule
    ///    would answer is asked step 5 first"
    pub(super) fn rules_stop(
        &mut self,
        now: Time,
        flow: &Flow,
        asked: &mut Asked,
    ) -> Option<Verdict> {
        let may = ["INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "PUBLISH", "MESSAGE"];
        let method = !may.contains(&asked.method.as_str()) && !asked.tagged;
        let rule = Some((Class::Stop, Reason::Rule));
        match asked.is_strange() {
            true if asked.bad_user => rule,
            true if method => self.signature_stops(now, flow, asked).or(rule),
            _ => None,
        }
    }

    /// 5. "signature `drop` (not at home: there it passes, and once it authenticates it counts as a
    ///    hit on the authenticated, which demotes the signature to `note`)"
    fn signature_stops(&mut self, _now: Time, _flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        let drops = asked.ceiling == Some(Ceiling::Drop) && !asked.at_home;
        drops.then_some((Class::Stop, Reason::Signature))
    }

    /// What met somebody authenticated.
    pub(super) fn demote(&mut self, asked: &Asked) {
        let list = self.policy.admission.signatures.list();
        let heaviest =
            asked.signatures.iter().filter(|hit| Some(list[**hit].ceiling) == asked.ceiling);
        if asked.ceiling >= Some(Ceiling::Score) {
            self.demoted.extend(heaviest.take(1));
        }
    }

    /// "a proven request for a honeytoken"
    fn honeytoken_stops(&mut self, now: Time, _flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        if !asked.honeytoken || !asked.proof {
            return None;
        }
        self.touched(now, asked.source);
        Some((Class::Stop, Reason::Honeytoken))
    }

    /// 6. "banned pair"
    fn pair_stops(&mut self, now: Time, flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        let keys = [
            Key::Flow(asked.account.clone(), *flow),
            Key::Pair(asked.account.clone(), asked.source),
        ];
        if !keys.iter().any(|key| self.ban_of(now, key).is_some()) {
            return None;
        }
        self.tried(now, asked);
        Some((Class::Stop, Reason::PairBanned))
    }

    fn tried(&mut self, now: Time, asked: &Asked) {
        if asked.proof {
            self.weigh(now, asked.source, TRY, asked, false);
        }
    }

    /// 7. "rates (in a storm not for homes' registrations, one a second of each home, 8 at once)"
    pub(super) fn rates_stop(
        &mut self,
        now: Time,
        flow: &Flow,
        asked: &mut Asked,
    ) -> Option<Verdict> {
        if asked.method == "REGISTER" && asked.at_home && self.is_storm(now) {
            let pace = Rate { count: 1, per: Duration::from_secs(1), burst: 8 };
            if self.spend(now, format!("storm {} {}", asked.account, asked.source), pace) {
                return None;
            }
        }
        let limits = self.policy.admission.rules.iter().filter_map(|rule| match rule.then {
            Then::Limit { per, rate, answer } if rule.when.who.has(asked.who) => {
                Some((rule.name.clone(), per, rate, answer))
            }
            _ => None,
        });
        for (name, per, rate, answer) in limits.collect::<Vec<_>>() {
            let of = match per {
                LimitKey::All => String::new(),
                LimitKey::Network => Network::around(flow.remote.ip()).to_string(),
                // "what proves itself has a budget of its own"
                LimitKey::Source => format!("{} {}", asked.source, asked.proof),
                LimitKey::Flow => format!("{flow:?}"),
                LimitKey::Aor => asked.account.clone(),
            };
            if !self.spend(now, format!("{name} {of}"), rate) {
                let challenge = answer == LimitAnswer::Challenge && self.knows_how();
                let class = if challenge { Class::Challenge } else { Class::Stop };
                return Some((class, Reason::Rate));
            }
        }
        None
    }

    pub(super) fn spend(&mut self, now: Time, of: String, rate: Rate) -> bool {
        self.budgets.entry(of).or_default().spend(now, rate)
    }

    /// "more than 20 registrations a second of homes or bindings known"
    fn is_storm(&mut self, now: Time) -> bool {
        let most = self.rules().storm;
        let storm = &mut self.storm;
        if storm.second != now.as_secs() {
            (storm.second, storm.count) = (now.as_secs(), 0);
        }
        storm.count += 1;
        if storm.count > most {
            storm.until = now + Duration::from_secs(10);
        }
        now < storm.until
    }

    /// 8. "campaign, suspicion, under attack, open challenges: the edge's own challenge."
    fn challenges(&mut self, now: Time, flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        if self.goes_on(asked) {
            return None;
        }
        // "Whoever answered the edge's challenge still has no more open ones than others."
        if asked.is_echo() {
            return if asked.at_home { None } else { self.open_stop(now, flow, asked) };
        }
        let can = self.can_challenge(now, flow);
        let campaign = Key::Campaign(asked.shape);
        if asked.is_strange() && self.ban_of(now, &campaign).is_some() {
            // "for 24 h after its last hit"
            self.lengthen_campaign(now, asked.shape);
            let class = if can { Class::Challenge } else { Class::Stop };
            return Some((class, Reason::Campaign));
        }
        let suspected =
            !asked.proof && (self.is_suspect(now, asked) || self.is_doubted(now, asked));
        let always = self.rules().edge_challenge.mode == ChallengeMode::Always;
        let attacked = asked.who == Who::Unproven && (always || self.under_attack);
        if can && (suspected || attacked) {
            return Some((Class::Challenge, Reason::Unproven));
        }
        if asked.at_home { None } else { self.open_stop(now, flow, asked) }
    }

    /// "A try is a whole login: its challenge, echo and credentials are one": what answers an open
    /// challenge goes on with that. "A challenge is answered once".
    fn goes_on(&self, asked: &Asked) -> bool {
        let open = self.ledger.get(&asked.entry_key());
        let open = open.is_some_and(|entry| !entry.follows && !entry.answered);
        asked.tries() && !asked.offered && open
    }

    /// "`off` never": and not before the PBX taught its realm, or is about to.
    fn can_challenge(&self, now: Time, flow: &Flow) -> bool {
        let mode = self.rules().edge_challenge.mode;
        let soon = !flow.transport.is_reliable()
            && self.rules().proof.opaque
            && (self.offers.may_ask(now) || self.offers.is_awaited(now));
        self.knows_how() || mode != ChallengeMode::Off && soon
    }

    fn knows_how(&self) -> bool {
        let challenge = &self.rules().edge_challenge;
        challenge.mode != ChallengeMode::Off && (challenge.realm.is_some() || self.realm)
    }

    /// "for `proof.lifetime` the source's requests that prove nothing by themselves"
    fn is_suspect(&self, now: Time, asked: &Asked) -> bool {
        let suspect = self.sources.get(&asked.source).and_then(|source| source.suspect);
        suspect.is_some_and(|at| now.since(at) <= self.rules().proof.lifetime)
    }

    /// "Ten refusals on one AOR, all of the unproven or all of the proven, do the same to all who ask
    /// for it and are not at home there."
    fn is_doubted(&self, now: Time, asked: &Asked) -> bool {
        let (half_life, guard) = (self.rules().half_life.short, self.rules().guard);
        let Some(aor) = self.aors.get(&asked.aor) else { return false };
        let of = [&aor.refusals, &aor.doubts].map(|count| count.value(now, half_life));
        !asked.at_home && of.iter().any(|count| *count >= f64::from(guard.refusals))
    }

    /// "open challenges that have not ended: 3 INVITEs (1 when narrowed), 64 others. More get the
    /// edge's own challenge, or, when as many are proven, are dropped, and 503 on streams. Of a
    /// request that proves itself only proven ones count." "Of others those that prove nothing get it
    /// beyond 8 already."
    fn open_stop(&self, now: Time, flow: &Flow, asked: &Asked) -> Option<Verdict> {
        let rules = self.rules();
        let invite = asked.is_invite();
        let of_source = |key: &&super::ledger::EntryKey| {
            key.source == asked.source && (key.method == "INVITE") == invite
        };
        let open = self.ledger.iter().filter(|(key, _)| of_source(key));
        // "of accounts that are not at home"
        let open = open.filter(|(_, entry)| !entry.asked.at_home);
        let count = |proven: bool| -> u32 {
            let open = open.clone().filter(|(_, entry)| entry.proven || !proven);
            open.map(|(_, entry)| entry.challenges).sum()
        };
        let all = |proven: bool| -> u32 {
            let passing = Tried::Passing { source: asked.source, invite, proven };
            count(proven) + self.under_way(now, &passing)
        };
        let short = self
            .sources
            .get(&asked.source)
            .map_or(0.0, |source| source.short.value(now, rules.half_life.short));
        let narrow = &rules.narrow;
        let known = !asked.is_strange();
        let most = match invite {
            true if known => narrow.others,
            true if short >= f64::from(rules.levels.narrow) => narrow.narrowed,
            true => narrow.invites,
            false => narrow.others,
        };
        // The challenge that is answered here is none that stays open.
        let own = self.ledger.get(&asked.entry_key());
        let answers = asked.is_echo() && own.is_some_and(|own| own.challenges == 1);
        let asks_pbx = match invite || asked.proof || known {
            true => most,
            false => most.min(narrow.others_unproven),
        };
        let (most, asks_pbx) = (most + u32::from(answers), asks_pbx + u32::from(answers));
        let (full, own_doing) = (all(false) >= asks_pbx, all(true) >= most);
        if !full || asked.proof && !own_doing {
            return None;
        }
        // "an INVITE waits until the PBX has said something to those before it"
        let waits = if asked.proof { count(true) < most } else { count(false) < asks_pbx };
        if invite && waits || asked.who != Who::Unproven && own_doing {
            return Some((Class::Stop, Reason::Narrowed));
        }
        // "too many open challenges drop an INVITE and let the rest pass"
        let reason = if all(false) >= most { Reason::Narrowed } else { Reason::Unproven };
        match self.can_challenge(now, flow) {
            true => Some((Class::Challenge, reason)),
            false => invite.then_some((Class::Stop, Reason::Narrowed)),
        }
    }

    /// 9. "slowed home, narrowed source or network"; "a try is taken when its challenge is asked for",
    ///    or "with the answer".
    fn slowed(&mut self, now: Time, flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        let entry = self.ledger.get(&asked.entry_key());
        if self.goes_on(asked) && entry.is_some_and(|entry| entry.slowed) {
            return None;
        }
        let narrow = self.rules().narrow;
        let (of, rate, reason) = if asked.at_home {
            // "the source pair is never, only slowed to one try in 30 s"
            let (half_life, level) = (self.rules().half_life.pair, self.rules().levels.pair);
            let pair = Key::Pair(asked.account.clone(), asked.source);
            let refusals = self.pairs.get(&pair).map_or(0.0, |it| it.short.value(now, half_life));
            if refusals < f64::from(level) {
                return None;
            }
            (
                format!("home {} {}", asked.account, asked.source),
                narrow.home_aor,
                Reason::PairBanned,
            )
        } else {
            // "homes pass as ever, requests for other AORs are slowed to one a minute"
            let around = Network::around(flow.remote.ip());
            let keys = [Key::Source(asked.source), Key::Network(around)];
            if !keys.iter().any(|key| self.ban_of(now, key).is_some_and(|ban| ban.narrowed)) {
                return None;
            }
            (format!("narrowed {}", asked.source), narrow.strange_aor, Reason::Narrowed)
        };
        asked.slowed = self.spend(now, of, rate);
        if asked.slowed {
            return None;
        }
        self.tried(now, asked);
        Some((Class::Stop, reason))
    }

    /// "AOR guard": "10 in short memory; beyond that strangers get one try in 30 s on that AOR, the
    /// rest is refused. Homes never notice. Refusals count ..., tries under way at once. A try is
    /// taken when the challenge is asked for, else when it is answered."
    fn guarded(&mut self, now: Time, _flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        let (half_life, guard) = (self.rules().half_life.short, self.rules().guard);
        let aor = self.aors.get(&asked.account);
        let refusals = aor.map_or(0.0, |aor| aor.refusals.value(now, half_life));
        let tries = f64::from(self.under_way(now, &Tried::Account(asked.account.clone())));
        // "its try is counted with them when the request before them named another AOR"
        let entry = self.ledger.get(&asked.entry_key());
        let taken = self.goes_on(asked)
            && entry.is_some_and(|entry| entry.guarded)
            && asked.account == asked.aor
            && !asked.lent;
        if asked.at_home || taken || refusals + tries < f64::from(guard.refusals) {
            return None;
        }
        asked.guarded = self.spend(now, format!("guard {}", asked.account), guard.rate);
        (!asked.guarded).then_some((Class::Stop, Reason::Guarded))
    }

    /// "While one is under way, another passes only as long as both together stay below the pair's
    /// level". "A refusal that nobody proved counts as one under way, but where the AOR is at home".
    fn busy(&mut self, now: Time, flow: &Flow, asked: &mut Asked) -> Option<Verdict> {
        let (half_life, level) = (self.rules().half_life.pair, self.rules().levels.pair);
        // "At most 64 are under way"
        let over_all = self.under_way(now, &tried_over_all(asked));
        if asked.tries() && over_all >= self.rules().narrow.tries {
            return Some((Class::Stop, Reason::TriesUnderWay));
        }
        let pair = tried_pair(flow, asked);
        let refusals = self.pairs.get(&pair).map_or(0.0, |it| it.short.value(now, half_life));
        let doubts = u32::from(!asked.at_home && self.is_suspect(now, asked));
        let tries = self.under_way(now, &Tried::Pair(pair)) + doubts;
        let (count, level) = (refusals + f64::from(tries), f64::from(level));
        asked.close = asked.tries() && tries > 0 && (count - level).abs() < HAIR;
        let many = tries > 0 && count >= level;
        (asked.tries() && many).then_some((Class::Stop, Reason::TriesUnderWay))
    }

    fn under_way(&self, now: Time, of: &Tried) -> u32 {
        let tries = self.tries.get(of).filter(|tries| now.since(tries.last) < TRY_FORGOTTEN);
        tries.map_or(0, |tries| tries.count)
    }

    /// "a try whose credentials are with the PBX counts as a refusal until the PBX answers: at (AOR,
    /// flow) where the AOR is at home, else at (AOR, source) and for the AOR guard"
    fn begin_try(&mut self, now: Time, flow: &Flow, asked: &Asked) {
        for of in tried(flow, asked) {
            let count = self.under_way(now, &of) + 1;
            self.tries.insert(of, Tries { count, last: now });
        }
    }

    pub(super) fn end_try(&mut self, flow: &Flow, asked: &Asked) {
        for of in tried(flow, asked).into_iter().filter(|_| asked.tries() && asked.is_judged()) {
            if let Some(tries) = self.tries.get_mut(&of) {
                tries.count = tries.count.saturating_sub(1);
            }
        }
    }

    /// "A stranger's request that is with the PBX counts as open until the PBX says something"; "what
    /// answers an open challenge counts as that".
    fn begin_passage(&mut self, now: Time, asked: &mut Asked) {
        asked.passes = !asked.at_home && !self.goes_on(asked);
        if !asked.passes {
            return;
        }
        for of in passing(asked) {
            let count = self.under_way(now, &of) + 1;
            self.tries.insert(of, Tries { count, last: now });
        }
    }

    pub(super) fn end_passage(&mut self, asked: &Asked) {
        for of in passing(asked).into_iter().filter(|_| asked.passes) {
            if let Some(tries) = self.tries.get_mut(&of) {
                tries.count = tries.count.saturating_sub(1);
            }
        }
    }

    /// "More than 1,000 open entries of unproven sources, and requests of theirs to which a PBX that lives
    /// has said nothing yet ... until they are fewer than half."
    pub(super) fn watch_attack(&mut self) {
        let open = self.ledger.values().filter(|entry| !entry.proven).count();
        let unproven = open + self.unheard;
        let most = self.rules().edge_challenge.open as usize;
        self.under_attack = match self.under_attack {
            false => unproven > most,
            true => unproven >= most.div_ceil(2),
        };
    }

    /// 10. "accepted": what its credentials do to the entry that is open.
    pub(super) fn accepted(&mut self, now: Time, flow: &Flow, asked: &mut Asked) {
        self.begin_passage(now, asked);
        let key = asked.entry_key();
        if asked.proof {
            self.prove_entry(now, &key);
        }
        match asked.held {
            Held::None => {}
            Held::Pass => {
                self.begin_try(now, flow, asked);
                if let Some(entry) = self.ledger.get_mut(&key) {
                    entry.answered = true;
                    entry.guarded |= asked.guarded;
                    entry.slowed |= asked.slowed;
                }
            }
            Held::Echo => self.go_on(now, &key),
            Held::Expired => {
                self.count(policy::Outcome::Stale);
                self.go_on(now, &key);
            }
            Held::Foreign => {
                self.count(policy::Outcome::Foreign);
                self.go_on(now, &key);
                if asked.proof || self.ledger.get(&key).is_some_and(|entry| entry.proven) {
                    self.weigh(now, asked.source, super::evidence::FOREIGN, asked, true);
                }
            }
        }
    }
}
