//! "The ledger": how challenges open and end.

use super::Reference;
use super::asked::Asked;
use super::evidence::NOT_FOUND;
use crate::edge::StepOutput;
use crate::sip::{Msg, SipUri, auth_param, uri_of};
use policy::{Network, Outcome, Time, Who};
use std::time::Duration;
use wire::{Flow, Side};

/// "An entry is (source, Call-ID, From-tag, method)."
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EntryKey {
    pub source: Network,
    pub call_id: String,
    pub from_tag: String,
    pub method: String,
}

/// What is open.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub waits_for: Waits,
    pub since: Time,
    deadline: Time,
    /// How many challenges are open under it.
    pub challenges: u32,
    pub proven: bool,
    /// "follows a refusal"
    pub follows: bool,
    /// Credentials that pass are with the PBX.
    pub answered: bool,
    /// It took one of the tries that strangers have at its account.
    pub guarded: bool,
    /// One that a narrowed source, or slowed home, has.
    pub slowed: bool,
    pub asked: Asked,
}

/// For what an entry waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// For credentials.
    Credentials,
    /// For the ACK of a 403 or 404 to an unchallenged INVITE.
    AckOfNotFound,
    /// For that of a 2xx.
    AckOf2xx,
}

/// A request that went on and has no final answer yet.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    flow: Flow,
    asked: Asked,
    sent: Time,
    /// The PBX said something.
    heard: bool,
    /// Its try is under way.
    tried: bool,
    /// It was challenged; that is forgotten by then if nobody paid for it.
    unpaid: Option<Time>,
}

/// "patience stands still ..., at most 10 min"
const STANDS_STILL: Duration = Duration::from_secs(600);
/// "hung up within a second of asking"
const WAITS: Duration = Duration::from_secs(1);

impl Asked {
    pub fn entry_key(&self) -> EntryKey {
        let (call_id, from_tag) = (self.call_id.clone(), self.from_tag.clone());
        EntryKey { source: self.source, call_id, from_tag, method: self.method.clone() }
    }
}

fn passing_key(source: Network, msg: &Msg) -> String {
    format!("{source} {} {} {}", msg.value("Call-ID"), msg.from_tag(), msg.value("CSeq"))
}

fn tags_of(msg: &Msg) -> [String; 3] {
    [msg.value("Call-ID").to_string(), msg.from_tag(), msg.to_tag()]
}

impl Reference {
    fn patience(&self, method: &str) -> Duration {
        let patience = self.rules().patience;
        if method == "INVITE" { patience.invite } else { patience.other }
    }

    /// A request went on, under that branch.
    pub(super) fn passed(
        &mut self,
        now: Time,
        flow: &Flow,
        msg: &Msg,
        asked: Asked,
        inside: String,
    ) {
        let key = passing_key(asked.source, msg);
        self.asking.insert(inside, key.clone());
        let passing =
            Passing { flow: *flow, asked, sent: now, heard: false, tried: true, unpaid: None };
        self.passing.insert(key, passing);
    }

    /// What leaves to the outside.
    pub(super) fn answers(&mut self, now: Time, outputs: &[StepOutput]) {
        for output in outputs {
            let (flow, bytes) = match output {
                StepOutput::Datagram { side: Side::Outside, local, remote, bytes } => {
                    (Flow::udp(*local, *remote), bytes)
                }
                StepOutput::Stream { flow, bytes } => (*flow, bytes),
                StepOutput::Datagram { side: Side::Inside, bytes, .. } => {
                    if Msg::parse(bytes).is_some_and(|msg| is_probe(&msg)) {
                        self.offers.ask(now);
                    }
                    continue;
                }
                _ => continue,
            };
            let Some(msg) = Msg::parse(bytes) else { continue };
            // whoever is called is in the dialog, too
            let routes = &mut self.told.entry(flow.remote.ip()).or_default().routes;
            for route in msg.values("Record-Route") {
                let call_id = msg.value("Call-ID").to_string();
                routes.extend(SipUri::parse(uri_of(&route)).map(|uri| [call_id, uri.user]));
            }
            if !msg.is_request() {
                self.answer(now, &flow, &msg);
            }
        }
    }

    /// A response goes out: what its receiver is told, and how that ends his request.
    fn answer(&mut self, now: Time, to: &Flow, msg: &Msg) {
        let ip = to.remote.ip();
        let key = passing_key(Network::source(ip), msg);
        let own = !self.public_tags.contains(&msg.to_tag());
        let told = self.told.entry(ip).or_default();
        for value in msg.values_of_lines("WWW-Authenticate") {
            let nonce = auth_param(&value, "nonce").unwrap_or_default();
            // "our prefix in the relayed challenge's `opaque`": without it the PBX's says nothing
            let opaque = auth_param(&value, "opaque");
            if let Some(opaque) = opaque.filter(|it| !self.public_opaques.contains(it)) {
                told.opaques.insert(opaque, now);
            }
            if own && !self.public_nonces.contains(&nonce) {
                self.own_nonces.insert(nonce.clone());
                told.own_nonces.insert(nonce, now);
            }
        }
        let challenge = msg.header("WWW-Authenticate").is_some();
        if own && challenge && msg.method() == "INVITE" {
            told.tags.insert(tags_of(msg), Time::FOREVER);
            told.own_tags.insert(tags_of(msg));
            return;
        }
        let Some(passing) = self.passing.get(&key).cloned() else { return };
        if msg.status() >= 200 {
            self.passing.remove(&key);
            // "ACK with a To-tag we ... made for this source"
            self.tag(now, msg, &passing);
            self.on_final(now, msg, &passing);
        }
    }

    /// A response of the PBX.
    pub(super) fn on_inside(&mut self, now: Time, msg: &Msg) {
        let challenge = matches!(msg.status(), 401 | 407);
        for value in msg.values_of_lines("WWW-Authenticate") {
            self.public_nonces.extend(auth_param(&value, "nonce"));
            self.public_opaques.extend(auth_param(&value, "opaque"));
            self.public_tags.insert(msg.to_tag());
        }
        if is_probe(msg) {
            if challenge {
                self.learn(now, msg);
            }
            return self.offers.answered(now);
        }
        let Some(key) = self.asking.get(&msg.branch()).cloned() else { return };
        let Some(passing) = self.passing.get_mut(&key) else { return };
        passing.heard = true;
        let (tries, status) = (passing.asked.tries(), msg.status());
        if status < 200 {
            let asked = passing.asked.clone();
            passing.asked.passes = false;
            self.end_passage(&asked);
        }
        let Some(passing) = self.passing.get_mut(&key) else { return };
        // "A provisional response ends a try (a 100 only where the AOR is at home)"
        if passing.tried && status < 200 && (status > 100 || passing.asked.at_home) {
            passing.tried = false;
            let passing = passing.clone();
            return self.end_try(&passing.flow, &passing.asked);
        }
        if status < 200 {
            return;
        }
        passing.unpaid = Some(now + self.policy.timers.t4);
        let passing = passing.clone();
        // An answer may still wait to be paid for; its outcome does not. But a challenge "opens
        // when a 401/407 goes out".
        if tries || !challenge {
            self.passing.remove(&key);
            self.on_final(now, msg, &passing);
        }
        self.tag(now, msg, &passing);
    }

    /// "ACK with a To-tag ... the PBX made for this source"; not one "that the request had already".
    fn tag(&mut self, now: Time, msg: &Msg, passing: &Passing) {
        let asked = &passing.asked;
        // "All but a To-tag that the PBX made by itself are checked with the key alone": that one
        // is known as long as the transaction (RFC 3261's Timer H)
        let until = match self.asking.contains_key(&msg.to_tag()) {
            true => Time::FOREVER,
            false => now + 64 * self.policy.timers.t1,
        };
        if asked.is_invite() && !asked.tagged && asked.is_judged() {
            let told = self.told.entry(passing.flow.remote.ip()).or_default();
            told.tags.insert(tags_of(msg), until);
        }
    }

    /// How the PBX challenges, and with which nonce.
    fn learn(&mut self, now: Time, msg: &Msg) {
        if let Some(nonce) = auth_param(msg.value("WWW-Authenticate"), "nonce") {
            self.offers.learn(now, &nonce);
            self.realm = true;
        }
    }

    fn on_final(&mut self, now: Time, msg: &Msg, passing: &Passing) {
        let asked = &passing.asked;
        if matches!(msg.status(), 401 | 407) {
            let (memory, to) = (self.policy.nonce_memory, passing.flow.remote.ip());
            for value in msg.values_of_lines("WWW-Authenticate") {
                let nonce = auth_param(&value, "nonce").unwrap_or_default();
                self.relayed.insert(now, memory, to, &nonce);
            }
            self.learn(now, msg);
        }
        if !asked.is_judged() {
            return;
        }
        if passing.tried {
            self.end_try(&passing.flow, asked);
        }
        self.end_passage(asked);
        let key = asked.entry_key();
        let stale = msg
            .values_of_lines("WWW-Authenticate")
            .iter()
            .any(|value| auth_param(value, "stale").is_some_and(|stale| stale == "true"));
        let tried = asked.tries();
        let unchallenged = !tried && asked.is_invite() && !self.ledger.contains_key(&key);
        match msg.status() {
            401 | 407 if tried && asked.offered && stale => {
                self.count(Outcome::Stale);
                self.challenged(now, passing);
            }
            401 | 407 if tried && stale => {
                self.count(Outcome::Stale);
                self.go_on(now, &key);
            }
            401 | 407 if tried => self.refused(now, passing, true),
            401 | 407 => self.challenged(now, passing),
            403 if tried => self.refused(now, passing, false),
            200..=399 | 404 | 410 | 480 | 484 | 486..=489 | 600..=699 if tried => {
                self.authenticated(now, passing, msg.status());
            }
            403 | 404 if unchallenged => self.not_found(now, asked),
            200..=299 if unchallenged => self.await_ack(now, asked, Waits::AckOf2xx),
            // "that a request without an answer to the challenge fetches ends nothing"
            400..=407 | 409..=499 if !tried && !asked.nonce => {}
            _ => self.superseded(&key),
        }
    }

    fn open(&mut self, now: Time, asked: &Asked, proven: bool, follows: bool, waits_for: Waits) {
        let entry = Entry {
            waits_for,
            since: now,
            deadline: now + self.patience(&asked.method),
            challenges: 1,
            proven,
            follows,
            answered: false,
            guarded: asked.guarded,
            slowed: asked.slowed,
            asked: asked.clone(),
        };
        self.sources.entry(asked.source).or_default();
        self.ledger.insert(asked.entry_key(), entry);
        self.watch_attack();
    }

    /// "It opens when a 401/407 goes out." "An entry that is challenged again stays one, but each
    /// of its challenges counts as open."
    fn challenged(&mut self, now: Time, passing: &Passing) {
        let key = passing.asked.entry_key();
        if passing.asked.proof {
            self.prove_entry(now, &key);
        }
        match self.ledger.get_mut(&key) {
            Some(entry) => {
                entry.answered = false;
                entry.guarded |= passing.asked.guarded;
                entry.slowed |= passing.asked.slowed;
                entry.challenges += 1;
            }
            None => {
                self.open(now, &passing.asked, passing.asked.proof, false, Waits::Credentials);
            }
        }
    }

    /// "for our own stateless ones when the ACK proves it", and at once when the request that is
    /// challenged proves itself.
    pub(super) fn challenged_by_edge(&mut self, now: Time, asked: &Asked) {
        if !asked.proof {
            return;
        }
        match self.ledger.get_mut(&asked.entry_key()) {
            Some(entry) => entry.challenges += 1,
            None => self.open(now, asked, true, false, Waits::Credentials),
        }
    }

    /// "counted, the entry goes on"
    pub(super) fn go_on(&mut self, now: Time, key: &EntryKey) {
        let patience = self.patience(&key.method);
        if let Some(entry) = self.ledger.get_mut(key) {
            (entry.since, entry.deadline) = (now, now + patience);
            entry.answered = false;
        }
    }

    /// "A 403 or 404 to an unchallenged INVITE, and a 2xx, count once the ACK proves them."
    fn not_found(&mut self, now: Time, asked: &Asked) {
        if !asked.proof {
            return self.await_ack(now, asked, Waits::AckOfNotFound);
        }
        self.count(Outcome::NotFound);
        self.weigh_not_found(now, asked);
    }

    fn weigh_not_found(&mut self, now: Time, asked: &Asked) {
        // "of a proven stranger"
        if !self.is_known(now, &asked.source) {
            self.weigh(now, asked.source, NOT_FOUND, asked, true);
        }
    }

    fn await_ack(&mut self, now: Time, asked: &Asked, waits_for: Waits) {
        if asked.who != Who::Known {
            self.open(now, asked, asked.proof, false, waits_for);
        }
    }

    /// "ACK with a To-tag we or the PBX made for this source".
    pub(super) fn on_ack(&mut self, now: Time, flow: &Flow, msg: &Msg) {
        let ip = flow.remote.ip();
        let (source, tags) = (Network::source(ip), tags_of(msg));
        let stream = flow.transport.is_reliable();
        let told = self.told.get(&ip);
        let echo = told.and_then(|told| told.tags.get(&tags)).is_some_and(|until| now < *until);
        let own = told.is_some_and(|told| told.own_tags.contains(&tags));
        if !echo && !stream || self.trusted(ip) {
            return;
        }
        if !stream {
            self.prove(now, source);
        }
        let mut invite = msg.clone();
        invite.start = format!("INVITE {} SIP/2.0", msg.uri());
        invite.set("CSeq", &format!("{} INVITE", msg.cseq()));
        let (call_id, from_tag) = (msg.value("Call-ID").to_string(), msg.from_tag());
        let key = EntryKey { source, call_id, from_tag, method: "INVITE".into() };
        if own && !stream && !self.ledger.contains_key(&key) {
            // "the ACK tells AOR, number and signature; its entry has no shape"
            let mut asked = self.ask(now, flow, &invite, &msg.to_bytes());
            (asked.shape, asked.proof, asked.tagged) = (0, false, false);
            self.open(now, &asked, true, false, Waits::Credentials);
        } else {
            self.prove_entry(now, &key);
        }
        self.touched_by(now, &key);
        let Some(entry) = self.ledger.get(&key).cloned() else { return };
        match entry.waits_for {
            Waits::Credentials => {}
            Waits::AckOf2xx => {
                self.close(&key);
                self.know(now, source);
            }
            Waits::AckOfNotFound => {
                self.close(&key);
                self.count(Outcome::NotFound);
                self.weigh_not_found(now, &entry.asked);
            }
        }
    }

    pub(super) fn prove_entry(&mut self, now: Time, key: &EntryKey) {
        if let Some(entry) = self.ledger.get_mut(key).filter(|entry| !entry.proven) {
            entry.proven = true;
            self.watch_attack();
            self.touched_by(now, key);
        }
    }

    /// "honeytoken (AOR or number), proven"
    fn touched_by(&mut self, now: Time, key: &EntryKey) {
        let is_touched = |entry: &&Entry| entry.proven && entry.asked.honeytoken;
        if self.ledger.get(key).filter(is_touched).is_some() {
            self.close(key);
            self.touched(now, key.source);
        }
    }

    fn close(&mut self, key: &EntryKey) -> Option<Entry> {
        let entry = self.ledger.remove(key);
        self.watch_attack();
        entry
    }

    pub(super) fn superseded(&mut self, key: &EntryKey) {
        let challenge = |entry: &Entry| entry.waits_for == Waits::Credentials;
        if self.close(key).as_ref().is_some_and(challenge) {
            self.count(Outcome::Superseded);
        }
    }

    fn authenticated(&mut self, now: Time, passing: &Passing, status: u16) {
        let asked = &passing.asked;
        // "Success without an entry counts only when it is a 2xx to a REGISTER"; an answer to the
        // edge's challenge is one to a challenge.
        let registered = asked.method == "REGISTER" && (200..300).contains(&status);
        let challenged = self.close(&asked.entry_key()).is_some() || asked.offered;
        if !challenged && !registered {
            return;
        }
        self.count(Outcome::Authenticated);
        self.know(now, asked.source);
        // "A success makes the account a home; and the AOR, where it is another, one for requests
        // without credentials (for a REGISTER only by a 2xx)."
        self.homes.insert((asked.account.clone(), asked.source), now);
        if asked.account != asked.aor && (registered || asked.method != "REGISTER") {
            self.lent.insert((asked.aor.clone(), asked.source), now);
        }
        self.good_shape(asked.shape);
        self.demote(asked);
    }

    fn refused(&mut self, now: Time, passing: &Passing, challenged: bool) {
        let asked = &passing.asked;
        let entry = self.close(&asked.entry_key());
        let proven = asked.proof || entry.is_some_and(|entry| entry.proven);
        self.count(Outcome::Refused);
        self.weigh_refusal(now, &passing.flow, asked, proven);
        if challenged {
            // "The entry that this new 401 opens follows a refusal"
            self.open(now, asked, proven, true, Waits::Credentials);
        }
    }

    /// Lets patience and bans run out that end before `now`.
    pub(super) fn run_out(&mut self, now: Time) {
        let due = self.ledger.iter().filter(|(_, entry)| entry.deadline <= now);
        // INVITEs first, as they are impatient.
        let mut due: Vec<(bool, Time, EntryKey)> =
            due.map(|(key, entry)| (key.method != "INVITE", entry.deadline, key.clone())).collect();
        due.sort();
        for (_, _, key) in due {
            self.silent(now, &key);
        }
        self.lift(now);
        self.watch_attack();
        self.forget_unpaid(now);
        let silent = self.passing.iter().filter(|(_, passing)| {
            // RFC 3261 §17.1: Timer F; for an INVITE what its last repetition leaves of Timer B.
            let most = if passing.asked.is_invite() { 31_500 } else { 32_000 };
            !passing.heard && passing.sent + Duration::from_millis(most) <= now
        });
        let mut silent: Vec<String> = silent.map(|(key, _)| key.clone()).collect();
        silent.sort();
        for key in silent {
            // "the PBX fell silent"
            let Some(passing) = self.passing.remove(&key) else { continue };
            if passing.asked.is_judged() {
                if passing.tried {
                    self.end_try(&passing.flow, &passing.asked);
                }
                self.end_passage(&passing.asked);
                self.superseded(&passing.asked.entry_key());
            }
        }
    }

    /// "An answer that nobody paid for is forgotten after 5 s", and opened nothing.
    fn forget_unpaid(&mut self, now: Time) {
        self.forget_passing(|passing| passing.unpaid.is_some_and(|until| until <= now));
    }

    /// Nor did what was for a stream that is closed, but for him "who hung up within a second".
    pub(super) fn on_unsent(&mut self, now: Time, msg: &Msg) {
        let Some(key) = self.asking.get(&msg.branch()).cloned() else { return };
        let unsent =
            |passing: &&Passing| passing.unpaid.is_some() && passing.flow.transport.is_reliable();
        let Some(passing) = self.passing.get(&key).filter(unsent).cloned() else { return };
        self.passing.remove(&key);
        match now.since(passing.sent) < WAITS {
            true => self.on_final(now, msg, &passing),
            false => self.end_passage(&passing.asked),
        }
    }

    fn forget_passing(&mut self, is_due: impl Fn(&Passing) -> bool) {
        let due = self.passing.iter().filter(|(_, passing)| is_due(passing));
        for key in due.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let Some(passing) = self.passing.remove(&key) else { continue };
            self.end_passage(&passing.asked);
        }
    }

    /// Patience is at its end.
    fn silent(&mut self, now: Time, key: &EntryKey) {
        let patience = self.patience(&key.method);
        let Some(entry) = self.ledger.get_mut(key) else { return };
        // "While credentials that pass are with the PBX patience stands still"
        if entry.answered && now.since(entry.since) < STANDS_STILL {
            entry.deadline = now + patience;
            return;
        }
        let Some(entry) = self.ledger.remove(key) else { return };
        if entry.waits_for != Waits::Credentials {
            return;
        }
        // "if it is never answered, that is `superseded`"; "the PBX fell silent"
        if entry.follows || entry.answered {
            return self.count(Outcome::Superseded);
        }
        if !entry.proven {
            return self.count(Outcome::Unreachable);
        }
        self.count(Outcome::Abandoned);
        // "carrier candidate: `abandoned` 0"
        if entry.asked.candidate {
            return;
        }
        self.weigh_abandoned(now, key.source, &key.method, &entry.asked);
        self.failed_shape(now, entry.asked.shape, key.source);
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

/// Whether it belongs to an OPTIONS of the edge's own.
fn is_probe(msg: &Msg) -> bool {
    msg.method() == "OPTIONS" && msg.from_tag() == "probe"
}
