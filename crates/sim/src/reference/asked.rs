//! "Who": what a request is, before it is judged.

use super::Reference;
use super::dialog::route_of;
use super::memory::is_fresh;
use crate::sip::{Msg, SipUri, auth_param, uri_of};
use policy::{BAD_USER, Ceiling, Mode, Network, Time, Who};
use std::net::IpAddr;
use wire::{Flow, Message};

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub who: Who,
    pub source: Network,
    pub call_id: String,
    pub from_tag: String,
    pub method: String,
    /// "To of a REGISTER, else From".
    pub aor: String,
    /// "The account that credentials name", which is the AOR where none pass.
    pub account: String,
    /// Its account (or AOR, without credentials) and source are a home.
    pub at_home: bool,
    /// The AOR is one for requests without credentials, by another account.
    pub lent: bool,
    /// It has a To-tag.
    pub tagged: bool,
    /// It has one, and a Route of ours for this source.
    pub routed: bool,
    pub held: Held,
    /// They answer a challenge of the edge's own that had a nonce of the PBX's.
    pub offered: bool,
    /// It took one of the tries that strangers have at its account.
    pub guarded: bool,
    /// It took one that a narrowed source, or slowed home, has.
    pub slowed: bool,
    /// It proves its return path by itself.
    pub proof: bool,
    /// It does so by a nonce of the edge's own.
    pub nonce: bool,
    pub shape: u64,
    pub factor: f64,
    /// Signatures that it meets, and what the heaviest that acts may do.
    pub signatures: Vec<usize>,
    pub ceiling: Option<Ceiling>,
    pub honeytoken: bool,
    pub candidate: bool,
    pub bad_user: bool,
    /// Whether it has one try too many is for either to say.
    pub close: bool,
    /// It counts as open at its source, as long as the PBX has said nothing to it.
    pub passes: bool,
}

/// What credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    None,
    /// Their nonce was relayed to this address.
    Pass,
    /// It was not.
    Foreign,
    /// It was one of the edge's own making, and is too old.
    Expired,
    /// They answer the edge's own challenge.
    Echo,
}

impl Asked {
    pub fn tries(&self) -> bool {
        self.held == Held::Pass
    }

    /// "Strangers".
    pub fn is_strange(&self) -> bool {
        matches!(self.who, Who::Unproven | Who::Proven)
    }

    /// "Inside a dialog by a Route of ours for this source: never a REGISTER or PUBLISH, nor
    /// credentials for an AOR that is not at home here."
    pub fn in_dialog(&self) -> bool {
        let alone = matches!(self.method.as_str(), "REGISTER" | "PUBLISH");
        self.routed && !alone && (self.at_home || !self.tries())
    }

    /// Whether it is judged at all.
    pub fn is_judged(&self) -> bool {
        self.who != Who::Trusted && !self.in_dialog()
    }

    /// It answers the edge's own challenge.
    pub fn is_echo(&self) -> bool {
        self.held == Held::Echo || self.offered
    }

    pub fn is_invite(&self) -> bool {
        self.method == "INVITE"
    }
}

impl Reference {
    pub(super) fn who(&self, now: Time, flow: &Flow) -> Who {
        let ip = flow.remote.ip();
        let source = self.sources.get(&Network::source(ip));
        let within = |at: Option<Time>, length| at.is_some_and(|at| now.since(at) <= length);
        let known = source.and_then(|source| source.known);
        let proven = source.and_then(|source| source.proven);
        if self.trusted(ip) {
            Who::Trusted
        } else if within(known, self.rules().trust.window) {
            Who::Known
        } else if flow.transport.is_reliable() || within(proven, self.rules().proof.lifetime) {
            Who::Proven
        } else {
            Who::Unproven
        }
    }

    pub(super) fn is_known(&self, now: Time, source: &Network) -> bool {
        let known = self.sources.get(source).and_then(|source| source.known);
        known.is_some_and(|at| now.since(at) <= self.rules().trust.window)
    }

    pub(super) fn prove(&mut self, now: Time, source: Network) {
        self.sources.entry(source).or_default().proven = Some(now);
    }

    pub(super) fn ask(&mut self, now: Time, flow: &Flow, msg: &Msg, bytes: &[u8]) -> Asked {
        let ip = flow.remote.ip();
        let source = Network::source(ip);
        let stream = flow.transport.is_reliable();
        let credentials = self.credentials(now, ip, msg);
        let (held, offered) = (credentials.held, credentials.offered);
        if (credentials.echo || credentials.nonce) && !stream {
            self.prove(now, source);
        }
        let named = if msg.method() == "REGISTER" { "To" } else { "From" };
        let mut aor = aor_of(msg.value(named));
        // "to a PBX of one domain alice@a and alice@b are the same"
        if self.policy.domains.len() < 2 {
            aor.truncate(aor.find('@').unwrap_or(aor.len()));
        }
        // "Credentials that pass are tried at the account that they name: the AOR's domain with
        // their username for its user."
        let account = match credentials.username {
            Some(username) if held == Held::Pass && !username.is_empty() => {
                username + aor.find('@').map_or("", |at| &aor[at..])
            }
            _ => aor.clone(),
        };
        let within = |at: Option<&Time>| {
            at.is_some_and(|at| now.since(*at) <= self.policy.admission.trust.window)
        };
        let own = within(self.homes.get(&(account.clone(), source)));
        let lent = !own && account == aor && within(self.lent.get(&(aor.clone(), source)));
        let at_home = own || lent && held != Held::Pass;
        let who = self.who(now, flow);
        let strange = matches!(who, Who::Unproven | Who::Proven);
        let dialled = user_of(msg.uri());
        let told = self.told.get(&ip).zip(route_of(msg));
        let routed = !msg.to_tag().is_empty() && told.is_some_and(|(told, route)| told.has(&route));
        let (signatures, ceiling, shape) = self.form(msg, bytes);
        // "At home looks decide and weigh nothing"
        let mut factor = match ceiling.filter(|_| !at_home) {
            Some(Ceiling::Score) => 2.0,
            Some(Ceiling::Fast) => 3.0,
            _ => 1.0,
        };
        let invite = msg.method() == "INVITE";
        if invite && strange && held != Held::Pass && is_abroad(&dialled) {
            factor = 3.0;
        }
        let tokens = &self.rules().honeytokens;
        let honeytoken = tokens.iter().any(|token| {
            Some(&**token) == aor.split('@').next() || **token == *aor || **token == *dialled
        });
        let dids = &self.rules().dids.patterns;
        let candidate = invite
            && strange
            && signatures.is_empty()
            && dids.iter().any(|pattern| is_number(pattern, &dialled));
        let users = [dialled, user_of(uri_of(msg.value("From"))), user_of(uri_of(msg.value("To")))];
        let bad_user = users.iter().any(|user| {
            let user = user.to_ascii_lowercase();
            !is_name(&user) && BAD_USER.iter().any(|bad| user.contains(bad))
        });
        Asked {
            who,
            source,
            call_id: msg.value("Call-ID").to_string(),
            from_tag: msg.from_tag(),
            method: msg.method().to_string(),
            aor,
            account,
            at_home,
            lent,
            tagged: !msg.to_tag().is_empty(),
            routed,
            held,
            offered,
            guarded: false,
            slowed: false,
            proof: stream || credentials.echo || credentials.nonce,
            nonce: credentials.nonce,
            // "nor has one of a home before it succeeds"
            shape: if at_home && held != Held::Pass { 0 } else { shape },
            factor,
            signatures,
            ceiling,
            honeytoken,
            candidate,
            bad_user,
            close: false,
            passes: false,
        }
    }

    fn form(&self, msg: &Msg, bytes: &[u8]) -> (Vec<usize>, Option<Ceiling>, u64) {
        let Ok(message) = Message::parse(bytes, &self.policy.limits) else {
            debug_assert!(false, "the edge judged what cannot be read: {}", msg.start);
            return (Vec::new(), None, 0);
        };
        let list = self.rules().signatures.list();
        let hits = self.rules().signatures.matches(&message);
        let hits = hits.iter().map(|hit| usize::from(*hit));
        let hits: Vec<usize> = hits.filter(|hit| list[*hit].mode != Mode::Off).collect();
        let acts = |hit: &&usize| list[**hit].mode == Mode::Enforce && !self.demoted.contains(*hit);
        let heaviest = hits.iter().filter(acts).map(|hit| list[*hit].ceiling).max();
        (hits, heaviest, admission::shape(&message))
    }

    fn credentials(&mut self, now: Time, ip: IpAddr, msg: &Msg) -> Credentials {
        let mut all = Credentials::default();
        for name in ["Authorization", "Proxy-Authorization"] {
            for value in msg.values_of_lines(name) {
                let Some(nonce) = auth_param(&value, "nonce") else { continue };
                let param = |name| auth_param(&value, name).unwrap_or_default();
                let (echo, one) = self.credential(now, ip, &nonce, &param("opaque"), &mut all);
                all.echo |= echo;
                // "Lines that name two accounts are `foreign`."
                let username = param("username");
                let other = all.username.as_ref().is_some_and(|first| *first != username);
                let one = if other { Held::Foreign } else { one };
                all.username = Some(username);
                let rank = |held| match held {
                    Held::None => 0,
                    Held::Pass => 1,
                    Held::Echo => 2,
                    Held::Expired => 3,
                    Held::Foreign => 4,
                };
                all.held = if rank(one) > rank(all.held) { one } else { all.held };
            }
        }
        all
    }

    /// Whether one line proves a return path by `opaque`, and what its nonce is.
    fn credential(
        &mut self,
        now: Time,
        ip: IpAddr,
        nonce: &str,
        opaque: &str,
        all: &mut Credentials,
    ) -> (bool, Held) {
        let memory = self.policy.nonce_memory;
        let (proof, challenge) =
            (self.rules().proof.lifetime, self.rules().edge_challenge.lifetime);
        let told = self.told.entry(ip).or_default();
        let echo = told.opaques.get(opaque).is_some_and(|made| is_fresh(now, *made, proof));
        if let Some(made) = told.own_nonces.get(nonce) {
            let fresh = is_fresh(now, *made, challenge);
            all.nonce |= fresh;
            return (echo, if fresh { Held::Echo } else { Held::Expired });
        }
        if self.own_nonces.contains(nonce) {
            return (echo, Held::Foreign);
        }
        if self.relayed.contains(now, memory, ip, nonce) {
            return (echo, Held::Pass);
        }
        match self.offers.is_good(now, nonce) {
            // From now on it is as one that was relayed.
            Some(true) if echo => {
                self.relayed.insert(now, memory, ip, nonce);
                all.offered = true;
                (echo, Held::Pass)
            }
            Some(false) => (echo, Held::Expired),
            _ => (echo, Held::Foreign),
        }
    }
}

/// What all credentials of a request are.
#[derive(Debug)]
struct Credentials {
    held: Held,
    offered: bool,
    /// `opaque` came back as only this address was told.
    echo: bool,
    /// So did a nonce of the edge's own.
    nonce: bool,
    username: Option<String>,
}

impl Default for Credentials {
    fn default() -> Self {
        let held = Held::None;
        Credentials { held, offered: false, echo: false, nonce: false, username: None }
    }
}

fn user_of(uri: &str) -> String {
    SipUri::parse(uri).unwrap_or_default().user
}

/// "One apostrophe between letters": o'brien.
fn is_name(user: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || !c.is_ascii();
    let plain = |c: char| letter(c) || c.is_ascii_digit() || matches!(c, '.' | '_');
    user.split_once('\'').is_some_and(|(before, behind)| {
        before.ends_with(letter)
            && behind.starts_with(letter)
            && before.chars().chain(behind.chars()).all(plain)
    })
}

/// `user@host` of a From or To.
fn aor_of(value: &str) -> String {
    let uri = SipUri::parse(uri_of(value)).unwrap_or_default();
    format!("{}@{}", uri.user, uri.host.to_ascii_lowercase())
}

/// Numbers of the profile that nobody unknown dials, however prefixed: less all that people put
/// before an international number, by hand.
fn is_abroad(dialled: &str) -> bool {
    let strip = |number: &str| {
        let mut number = number;
        loop {
            let next = number.strip_prefix("011").unwrap_or(number);
            let next = next.strip_prefix(['0', '+', '9']).unwrap_or(next);
            if next == number || next.len() < 2 {
                return number.to_string();
            }
            number = next;
        }
    };
    let rest = strip(dialled);
    // 972 begins with a 9 that goes with the prefixes.
    dialled.len() > 7 && ["72", "44", "46", "7536", "76"].iter().any(|code| rest.starts_with(code))
}

fn is_number(pattern: &str, number: &str) -> bool {
    pattern.len() == number.len()
        && pattern.chars().zip(number.chars()).all(|(wanted, digit)| match wanted {
            'x' => digit.is_ascii_digit(),
            wanted => wanted == digit,
        })
}
