//! "The ledger" and "Evidence".

use super::judge::{Asked, Held, flow_text, network_key, pair_key, shape_key, source_key};
use super::{Ban, Banned, Reference, Repeats};
use crate::edge::StepOutput;
use crate::sip::{Msg, SipUri, auth_param, uri_of};
use policy::{Network, Outcome, Time, Who};
use std::net::IpAddr;
use wire::{Flow, Side};

/// "An entry is (source, Call-ID, From-tag, method)."
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryKey {
    pub source: Network,
    pub call_id: String,
    pub from_tag: String,
    pub method: String,
}

/// An open challenge.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub deadline: Time,
    /// How many challenges are open under it.
    pub challenges: u32,
    tags: Vec<String>,
    proven: bool,
    follows: bool,
    /// Credentials came; the PBX has not said yet what it makes of them.
    answered: bool,
    asked: Asked,
}

/// A request that went on and has no final answer yet.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    flow: Flow,
    key: EntryKey,
    asked: Asked,
}

fn passing_key(source: Network, msg: &Msg) -> String {
    format!("{source} {} {} {}", msg.value("Call-ID"), msg.from_tag(), msg.value("CSeq"))
}

fn key_of(source: Network, msg: &Msg) -> EntryKey {
    EntryKey {
        source,
        call_id: msg.value("Call-ID").to_string(),
        from_tag: msg.from_tag(),
        method: msg.method().to_string(),
    }
}

impl Reference {
    /// A request went on.
    pub(super) fn passed(
        &mut self,
        now: Time,
        flow: &Flow,
        msg: &Msg,
        asked: Asked,
        inside: String,
    ) {
        let source = Network::source(flow.remote.ip());
        if asked.who == Who::Trusted || asked.dialog || inside.is_empty() {
            return;
        }
        let key = key_of(source, msg);
        let stream = flow.transport.is_reliable();
        if asked.credentials == Held::Foreign {
            self.count(Outcome::Foreign);
            if asked.echo || stream {
                self.weigh(now, flow, &asked, 0.05);
            }
        }
        if let Some(entry) = self.ledger.get_mut(&key) {
            entry.proven |= asked.echo || stream || asked.credentials == Held::Echo;
            entry.answered |= asked.credentials == Held::Pass;
        }
        self.asking.insert(inside, passing_key(source, msg));
        self.passing.insert(passing_key(source, msg), Passing { flow: *flow, key, asked });
    }

    /// What leaves to the outside.
    pub(super) fn answers(&mut self, now: Time, outputs: &[StepOutput]) {
        for output in outputs {
            let (flow, bytes) = match output {
                StepOutput::Datagram { side: Side::Outside, local, remote, bytes } => {
                    (Flow::udp(*local, *remote), bytes)
                }
                StepOutput::Stream { flow, bytes } => (*flow, bytes),
                _ => continue,
            };
            if let Some(msg) = Msg::parse(bytes).filter(|msg| !msg.is_request()) {
                self.answer(now, &flow, &msg);
            }
        }
    }

    fn answer(&mut self, now: Time, to: &Flow, msg: &Msg) {
        let source = Network::source(to.remote.ip());
        let status = msg.status();
        let tag = (msg.value("Call-ID").to_string(), msg.from_tag(), msg.to_tag());
        let own = msg.header("WWW-Authenticate").is_some() && !self.public_tags.contains(&tag.2);
        let told = self.told.entry(source).or_default();
        for value in msg.values_of_lines("WWW-Authenticate") {
            told.nonces.extend(auth_param(&value, "nonce"));
            told.opaques.extend(auth_param(&value, "opaque"));
        }
        for route in msg.values("Record-Route") {
            told.routes.extend(SipUri::parse(uri_of(&route)).map(|uri| uri.user));
        }
        if status >= 300 {
            told.tags.insert(tag.clone());
        }
        if own && msg.method() == "INVITE" {
            told.own_tags.insert(tag);
            return;
        }
        let Some(passing) = self.passing.get(&passing_key(source, msg)).cloned() else { return };
        if status < 200 {
            if status > 100 && passing.asked.credentials == Held::Pass {
                self.authenticated(now, &passing, status);
            }
            return;
        }
        self.passing.remove(&passing_key(source, msg));
        self.on_final(now, msg, &passing);
    }

    fn on_final(&mut self, now: Time, msg: &Msg, passing: &Passing) {
        let stale = msg
            .values_of_lines("WWW-Authenticate")
            .iter()
            .any(|value| auth_param(value, "stale").is_some_and(|stale| stale == "true"));
        let tried = passing.asked.credentials == Held::Pass;
        match msg.status() {
            401 | 407 if tried && stale => {
                self.count(Outcome::Stale);
                self.open(now, msg, passing, false);
            }
            401 | 407 if tried => {
                self.refused(now, passing);
                self.open(now, msg, passing, true);
            }
            401 | 407 => self.open(now, msg, passing, false),
            403 if tried => self.refused(now, passing),
            200..=399 | 404 | 410 | 480 | 484 | 486..=489 | 600..=699 if tried => {
                self.authenticated(now, passing, msg.status());
            }
            // "that a request without an answer to the challenge fetches ends nothing"
            400..=407 | 409..=499
                if matches!(passing.asked.credentials, Held::None | Held::Foreign) => {}
            _ => self.superseded(&passing.key),
        }
    }

    fn open(&mut self, now: Time, msg: &Msg, passing: &Passing, follows: bool) {
        let rules = self.rules();
        let patience = match passing.key.method.as_str() {
            "INVITE" => rules.patience.invite,
            _ => rules.patience.other,
        };
        let stream = passing.flow.transport.is_reliable();
        let proven = stream || passing.asked.echo || passing.asked.credentials == Held::Echo;
        let old = self.ledger.remove(&passing.key);
        let mut tags = old.as_ref().map(|old| old.tags.clone()).unwrap_or_default();
        tags.push(msg.to_tag());
        let proven = proven || old.as_ref().is_some_and(|old| old.proven);
        let follows = follows || old.as_ref().is_some_and(|old| old.follows);
        let goes_on = passing.asked.credentials != Held::None;
        let challenges = old.map_or(0, |old| old.challenges) + u32::from(!goes_on);
        let entry = Entry {
            deadline: now + patience,
            challenges: challenges.max(1),
            tags,
            proven,
            follows,
            answered: false,
            asked: passing.asked.clone(),
        };
        self.ledger.insert(passing.key.clone(), entry);
    }

    /// "an ACK with a To-tag we or the PBX made for this source".
    pub(super) fn on_ack(&mut self, now: Time, flow: &Flow, msg: &Msg) {
        let source = Network::source(flow.remote.ip());
        let tag = (msg.value("Call-ID").to_string(), msg.from_tag(), msg.to_tag());
        let told = self.told.get(&source).is_some_and(|told| told.tags.contains(&tag));
        if !told || self.trusted(flow.remote.ip()) {
            return;
        }
        if !flow.transport.is_reliable() {
            self.prove(now, source);
        }
        let key = EntryKey { method: "INVITE".into(), ..key_of(source, msg) };
        let own = self.told.get(&source).is_some_and(|told| told.own_tags.contains(&tag));
        if let Some(entry) = self.ledger.get_mut(&key) {
            entry.proven = true;
        } else if own && !flow.transport.is_reliable() {
            // "for our own stateless ones when the ACK proves it"
            // What the ACK tells of its INVITE: AOR and number, and no shape.
            let mut invite = msg.clone();
            invite.start = format!("INVITE {} SIP/2.0", msg.uri());
            invite.set("CSeq", &format!("{} INVITE", msg.cseq()));
            let mut asked = self.ask(now, flow, &invite, &invite.to_bytes());
            asked.shape = 0;
            let entry = Entry {
                deadline: now + self.rules().patience.invite,
                challenges: 1,
                tags: vec![msg.to_tag()],
                proven: true,
                follows: false,
                answered: false,
                asked,
            };
            self.ledger.insert(key.clone(), entry);
        }
        self.touched(now, &key);
    }

    /// "Honeytokens": a proven hit is conclusive.
    fn touched(&mut self, now: Time, key: &EntryKey) {
        let proven = |entry: &&Entry| entry.proven && entry.asked.honeytoken;
        let Some(entry) = self.ledger.get(key).filter(proven).cloned() else { return };
        self.ledger.remove(key);
        self.weigh_on(now, key.source, &entry.asked, 1.0, 1.0);
    }

    fn superseded(&mut self, key: &EntryKey) {
        if self.ledger.remove(key).is_some() {
            self.count(Outcome::Superseded);
        }
    }

    fn authenticated(&mut self, now: Time, passing: &Passing, status: u16) {
        let source = passing.key.source;
        // "Success without an entry counts only when it is a 2xx to a REGISTER".
        let registered = passing.key.method == "REGISTER" && status < 300;
        if self.ledger.remove(&passing.key).is_none() && !registered {
            return;
        }
        self.count(Outcome::Authenticated);
        self.homes.insert((passing.asked.aor.clone(), source), now);
        if registered || passing.key.method != "REGISTER" {
            self.homes.insert((passing.asked.asked_for.clone(), source), now);
        }
        let it = self.sources.entry(source).or_default();
        it.known = Some(now);
        it.suspect = None;
        let shape = self.shapes.entry(passing.asked.shape).or_default();
        shape.succeeded = true;
        self.bans.remove(&shape_key(passing.asked.shape));
        // "A source that is known is never banned whole".
        if let Some(ban) = self.bans.get_mut(&source_key(source)) {
            ban.narrowed = true;
        }
    }

    fn refused(&mut self, now: Time, passing: &Passing) {
        let asked = &passing.asked;
        let source = passing.key.source;
        let window = self.rules().trust.window;
        let entry = self.ledger.remove(&passing.key);
        self.count(Outcome::Refused);
        let stream = passing.flow.transport.is_reliable();
        let proven = stream || asked.echo || entry.is_some_and(|entry| entry.proven);
        if !self.at_home(now, &asked.aor, source) {
            let half_life = self.rules().half_life.short;
            self.aors.entry(asked.aor.clone()).or_default().add(now, 1.0, half_life);
        }
        if !proven {
            self.sources.entry(source).or_default().suspect = Some(now);
            return;
        }
        let before = self.refused.insert((asked.aor.clone(), source), now);
        let again = before.is_some_and(|at| now.since(at) <= window);
        self.refused_pair(now, passing);
        self.failed_shape(now, asked.shape, source);
        // "0.05, in the short memory only"
        let (weight, lasting) = if again { (0.05, 0.0) } else { (0.5, 1.0) };
        self.weigh_on(now, source, asked, weight, lasting);
    }

    /// "1 on (AOR, flow) and (AOR, source)".
    fn refused_pair(&mut self, now: Time, passing: &Passing) {
        let (half_life, level) = (self.rules().half_life.pair, self.rules().levels.pair);
        let (aor, source) = (passing.asked.aor.clone(), passing.key.source);
        let at_home = self.at_home(now, &aor, source);
        // "(AOR, source) has a long memory, too"
        let (week, most) = (self.rules().half_life.long, self.rules().levels.ban_long);
        let long = self.slow_pairs.entry((aor.clone(), source.to_string())).or_default();
        let slowly = long.add(now, 1.0, week) >= f64::from(most);
        for (kind, at) in [("flow", flow_text(&passing.flow)), ("aor", source.to_string())] {
            let sum =
                self.pairs.entry((aor.clone(), at.clone())).or_default().add(now, 1.0, half_life);
            // "at home the source pair is never banned", else it says what the flow's would.
            let slow = slowly && kind == "aor";
            if (sum >= f64::from(level) || slow) && at_home == (kind == "flow") {
                let slow = sum < f64::from(level);
                self.ban_for(now, kind, pair_key(&aor, &at), source, false, slow);
            }
        }
    }

    fn failed_shape(&mut self, now: Time, shape: u64, source: Network) {
        if shape == 0 {
            return;
        }
        let rules = self.rules().campaign;
        let it = self.shapes.entry(shape).or_default();
        if it.succeeded {
            return;
        }
        if it.until.is_some_and(|until| now > until) {
            it.failed.clear();
        }
        it.failed.insert(source);
        it.until = Some(now + rules.lifetime);
        if it.failed.len() >= rules.sources as usize {
            let nobody = Network::host(IpAddr::from([0, 0, 0, 0]));
            let key = shape_key(shape);
            if self.ban_of(now, &key).is_none() {
                let at = now.as_secs();
                self.banned.push(Banned { kind: "campaign", of: nobody, at });
            }
            self.bans.insert(key, Ban { until: now + rules.lifetime, narrowed: false });
        }
    }

    /// Lets patience and bans run out that end before `now`.
    pub(super) fn run_out(&mut self, now: Time) {
        let mut due: Vec<(Time, EntryKey)> = self
            .ledger
            .iter()
            .filter(|(_, entry)| entry.deadline <= now && !entry.answered)
            .map(|(key, entry)| (entry.deadline, key.clone()))
            .collect();
        due.sort_by(|a, b| (a.0, &a.1.call_id).cmp(&(b.0, &b.1.call_id)));
        for (at, key) in due {
            self.lift(at);
            self.silent(at, &key);
        }
        self.lift(now);
    }

    /// "When a ban ends its evidence is halved twice."
    fn lift(&mut self, now: Time) {
        let over: Vec<String> = self
            .bans
            .iter()
            .filter(|(_, ban)| ban.until <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.bans.remove(&key);
            for (source, it) in &mut self.sources {
                if source_key(*source) == key {
                    it.short.quarter();
                    it.long.quarter();
                }
            }
            for ((aor, at), refusals) in self.pairs.iter_mut().chain(&mut self.slow_pairs) {
                if pair_key(aor, at) == key {
                    refusals.quarter();
                }
            }
        }
    }

    /// Patience is at its end.
    fn silent(&mut self, now: Time, key: &EntryKey) {
        let Some(entry) = self.ledger.remove(key) else { return };
        if entry.follows {
            return self.count(Outcome::Superseded);
        }
        if !entry.proven {
            return self.count(Outcome::Unreachable);
        }
        self.count(Outcome::Abandoned);
        if !entry.asked.candidate {
            self.failed_shape(now, entry.asked.shape, key.source);
        }
        let weight = match key.method.as_str() {
            "INVITE" => 1.0,
            "REGISTER" | "SUBSCRIBE" | "PUBLISH" | "MESSAGE" => 0.5,
            _ => 0.0,
        };
        if !entry.asked.candidate {
            self.weigh_on(now, key.source, &entry.asked, weight, 1.0);
        }
    }

    fn weigh(&mut self, now: Time, flow: &Flow, asked: &Asked, weight: f64) {
        self.weigh_on(now, Network::source(flow.remote.ip()), asked, weight, 1.0);
    }

    /// `lasting`: the part of it that the long memory takes, too.
    pub(super) fn weigh_on(
        &mut self,
        now: Time,
        source: Network,
        asked: &Asked,
        weight: f64,
        lasting: f64,
    ) {
        let rules = self.rules();
        let (half_life, levels) = (rules.half_life, rules.levels);
        let mut weight = weight * asked.factor;
        if self.at_home(now, &asked.aor, source) {
            weight *= 0.1;
        }
        if asked.honeytoken {
            weight = 100.0;
        }
        let it = self.sources.entry(source).or_default();
        let short = it.short.add(now, weight, half_life.short);
        let long = it.long.add(now, weight * lasting, half_life.long);
        let known = it.known.is_some_and(|at| now.since(at) <= self.policy.admission.trust.window);
        if weight > 0.0 && (short >= f64::from(levels.ban) || long >= f64::from(levels.ban_long)) {
            let slow = short < f64::from(levels.ban);
            self.ban_for(now, "address", source_key(source), source, known, slow);
            self.count_network(now, source);
        }
    }

    /// "A network is banned when 5 of its sources are".
    fn count_network(&mut self, now: Time, source: Network) {
        let around = Network::around(source.address());
        let banned = self
            .sources
            .keys()
            .filter(|other| around.contains(other.address()))
            .filter(|other| self.ban_of(now, &source_key(**other)).is_some())
            .count();
        if banned >= self.rules().bans.network as usize {
            let window = self.rules().trust.window;
            let known = self.sources.iter().any(|(other, it)| {
                around.contains(other.address())
                    && it.known.is_some_and(|at| now.since(at) <= window)
            });
            self.ban(now, "network", network_key(around), around, known);
        }
    }

    /// "Bans last 10 min, then 4 times as long each time, at most 24 h (pairs: 1 min to 1 h); a
    /// level is forgiven for each 24 h without evidence."
    fn ban(&mut self, now: Time, kind: &'static str, key: String, of: Network, narrowed: bool) {
        self.ban_for(now, kind, key, of, narrowed, false);
    }

    /// "What the long memory alone bans, at once as long as bans last."
    fn ban_for(
        &mut self,
        now: Time,
        kind: &'static str,
        key: String,
        of: Network,
        narrowed: bool,
        slow: bool,
    ) {
        let rules = self.rules().bans;
        let pair = matches!(kind, "flow" | "aor");
        let (first, longest) = match pair {
            true => (rules.pair_first, rules.pair_longest),
            false => (rules.first, rules.longest),
        };
        let running = self.ban_of(now, &key);
        let repeats = self.repeats.entry(key.clone()).or_insert(Repeats { times: 0, last: now });
        let forgiven = now.since(repeats.last).as_secs() / rules.forgive.as_secs().max(1);
        if running.is_none() {
            repeats.times = repeats.times.saturating_sub(forgiven as u32) + 1;
        }
        repeats.last = now;
        let grown = rules.factor.saturating_pow(repeats.times.saturating_sub(1).min(16));
        let length = if slow { longest } else { first.saturating_mul(grown).min(longest) };
        if running.is_none() {
            self.banned.push(Banned { kind, of, at: now.as_secs() });
        }
        let until = (now + length).max(running.map_or(now, |ban| ban.until));
        self.bans.insert(key, Ban { until, narrowed });
    }

    /// A response of the PBX.
    pub(super) fn on_inside(&mut self, now: Time, msg: &Msg) {
        // An answer may still wait to be paid for; its outcome does not. But a challenge "opens when
        // a 401/407 goes out".
        let asked = self.asking.get(&msg.branch()).cloned();
        let asked = asked.and_then(|key| Some((self.passing.get(&key)?.clone(), key)));
        let opens = matches!(msg.status(), 401 | 407);
        let ends = |(passing, _): &(Passing, String)| {
            msg.status() >= 200 && !(opens && passing.asked.credentials != Held::Pass)
        };
        if let Some((passing, key)) = asked.filter(ends) {
            self.passing.remove(&key);
            self.on_final(now, msg, &passing);
        }
        for value in msg.values_of_lines("WWW-Authenticate") {
            self.public_nonces.extend(auth_param(&value, "nonce"));
            self.public_tags.insert(msg.to_tag());
            self.realm = true;
        }
    }
}
