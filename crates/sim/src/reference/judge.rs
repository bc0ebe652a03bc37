//! "A request's way through the gate."

use super::memory::Told;
use super::{Ban, Class, Reference};
use crate::sip::{Msg, SipUri, auth_param, uri_of};
use policy::{Ceiling, ChallengeMode, Mode, Network, Outcome, Time, Who};
use wire::{Flow, Message};

/// What a request is, before it is judged.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub who: Who,
    /// The account, which the AOR is without credentials that pass.
    pub aor: String,
    /// The AOR.
    pub asked_for: String,
    pub at_home: bool,
    pub dialog: bool,
    /// It has credentials, and what they are.
    pub credentials: Held,
    /// `opaque` came back as only this source was told.
    pub echo: bool,
    pub shape: u64,
    pub factor: f64,
    pub drops: bool,
    pub honeytoken: bool,
    pub candidate: bool,
}

/// What credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    None,
    /// Their nonce was relayed to this source.
    Pass,
    /// It was not.
    Foreign,
    /// They answer the edge's own challenge.
    Echo,
}

impl Reference {
    /// 1. "banned source, network: dropped before parsing".
    pub(super) fn stopped_before_parsing(&self, now: Time, flow: &Flow) -> bool {
        let ip = flow.remote.ip();
        let stops = |ban: Option<Ban>| ban.is_some_and(|ban| !ban.narrowed);
        !self.trusted(ip)
            && (stops(self.ban_of(now, &source_key(Network::source(ip))))
                || stops(self.ban_of(now, &network_key(Network::around(ip)))))
    }

    pub(super) fn ban_of(&self, now: Time, key: &str) -> Option<Ban> {
        self.bans.get(key).copied().filter(|ban| now < ban.until)
    }

    pub(super) fn ask(&mut self, now: Time, flow: &Flow, msg: &Msg, bytes: &[u8]) -> Asked {
        let source = Network::source(flow.remote.ip());
        let told = self.told.get(&source).cloned().unwrap_or_default();
        let (credentials, echo) = self.credentials(msg, &told);
        // "Proofs": who gives back what he was told is there.
        if (echo || credentials == Held::Echo) && !flow.transport.is_reliable() {
            self.prove(now, source);
        }
        let named = if msg.method() == "REGISTER" { "To" } else { "From" };
        let mut aor = aor_of(msg.value(named));
        // "to a PBX of one domain alice@a and alice@b are the same"
        if self.policy.domains.len() < 2 {
            aor.truncate(aor.find('@').unwrap_or(aor.len()));
        }
        // "Credentials that pass are tried at the account that they name"
        let asked_for = aor.clone();
        if let Some(username) = username(msg).filter(|_| credentials == Held::Pass) {
            let domain = aor.find('@').map_or(String::new(), |at| aor[at..].to_string());
            aor = username + &domain;
        }
        let dialled = SipUri::parse(msg.uri()).unwrap_or_default().user;
        let route = msg.values("Route").first().and_then(|r| SipUri::parse(uri_of(r)));
        let dialog = !msg.to_tag().is_empty()
            && route.is_some_and(|route| told.routes.contains(&route.user));
        let (ceiling, shape) = self.form(msg, bytes);
        let mut factor = match ceiling {
            Some(Ceiling::Score) => 2.0,
            Some(Ceiling::Fast) => 3.0,
            _ => 1.0,
        };
        let who = self.who(now, flow);
        let stranger = matches!(who, Who::Unproven | Who::Proven);
        if msg.method() == "INVITE" && stranger && credentials != Held::Pass && is_abroad(&dialled)
        {
            factor = 3.0;
        }
        let tokens = &self.rules().honeytokens;
        let honeytoken = tokens.iter().any(|token| {
            **token == *aor || Some(&**token) == aor.split('@').next() || **token == *dialled
        });
        let dids = &self.rules().dids.patterns;
        let candidate = msg.method() == "INVITE"
            && ceiling.is_none()
            && dids.iter().any(|pattern| is_number(pattern, &dialled));
        let drops = ceiling == Some(Ceiling::Drop);
        let at_home = self.at_home(now, &aor, source);
        Asked {
            who,
            aor,
            asked_for,
            at_home,
            dialog,
            credentials,
            echo,
            shape,
            factor,
            drops,
            honeytoken,
            candidate,
        }
    }

    fn form(&self, msg: &Msg, bytes: &[u8]) -> (Option<Ceiling>, u64) {
        let Ok(message) = Message::parse(bytes, &self.policy.limits) else {
            debug_assert!(false, "the edge judged what cannot be read: {}", msg.start);
            return (None, 0);
        };
        let signatures = &self.rules().signatures;
        let hits = signatures.matches(&message);
        let acts = hits.iter().filter_map(|hit| signatures.list().get(usize::from(*hit)));
        let heaviest = acts.filter(|it| it.mode == Mode::Enforce).map(|it| it.ceiling).max();
        (heaviest, admission::shape(&message))
    }

    fn credentials(&self, msg: &Msg, told: &Told) -> (Held, bool) {
        let (mut held, mut echo) = (Held::None, false);
        for name in ["Authorization", "Proxy-Authorization"] {
            for value in msg.values_of_lines(name) {
                let Some(nonce) = auth_param(&value, "nonce") else { continue };
                let own = told.nonces.contains(&nonce) && !self.public_nonces.contains(&nonce);
                held = match held {
                    _ if own => Held::Echo,
                    Held::None | Held::Pass if told.nonces.contains(&nonce) => Held::Pass,
                    _ => Held::Foreign,
                };
                echo |= auth_param(&value, "opaque").is_some_and(|o| told.opaques.contains(&o));
            }
        }
        (held, echo)
    }

    /// Steps 2 to 10, with the words that decided.
    pub(super) fn judge(
        &mut self,
        now: Time,
        flow: &Flow,
        msg: &Msg,
        asked: &Asked,
    ) -> (Class, &'static str) {
        let source = Network::source(flow.remote.ip());
        if asked.who == Who::Trusted {
            return (Class::Pass, "trusted");
        }
        if asked.dialog {
            return (Class::Pass, "in a dialog");
        }
        if asked.drops && !asked.at_home {
            return (Class::Stop, "signature");
        }
        let shown = asked.echo || asked.credentials == Held::Echo;
        if asked.honeytoken && (shown || flow.transport.is_reliable()) {
            self.weigh_on(now, source, asked, 1.0, 1.0);
            return (Class::Stop, "honeytoken");
        }
        if let Some(stop) = self.pair_stops(now, flow, asked) {
            return (Class::Stop, stop);
        }
        let proven = asked.who != Who::Unproven;
        if asked.credentials != Held::Pass && asked.who != Who::Known {
            let ban = self.ban_of(now, &shape_key(asked.shape));
            if ban.is_some() && asked.credentials != Held::Echo {
                return self.challenge("campaign");
            }
            let suspect = self.sources.get(&source).and_then(|source| source.suspect);
            if suspect.is_some() && !proven {
                return self.challenge("suspicion");
            }
            if self.is_full(now, source, msg) {
                return match proven {
                    true => (Class::Stop, "open challenges"),
                    false => self.challenge("open challenges"),
                };
            }
        }
        if self.guarded(now, asked) {
            return (Class::Stop, "guard");
        }
        (Class::Pass, "accepted")
    }

    /// "`off` never (not for suspicion or campaigns either: then they are dropped)"; and not
    /// before the PBX taught its realm.
    fn challenge(&self, why: &'static str) -> (Class, &'static str) {
        let challenge = &self.rules().edge_challenge;
        let can = challenge.mode != ChallengeMode::Off && (challenge.realm.is_some() || self.realm);
        (if can { Class::Challenge } else { Class::Stop }, why)
    }

    /// "6. banned or narrowed pair", and a narrowed source.
    fn pair_stops(&mut self, now: Time, flow: &Flow, asked: &Asked) -> Option<&'static str> {
        let source = Network::source(flow.remote.ip());
        let pairs =
            [pair_key(&asked.aor, &flow_text(flow)), pair_key(&asked.aor, &source.to_string())];
        let found: Vec<Ban> = pairs.iter().filter_map(|key| self.ban_of(now, key)).collect();
        if found.iter().any(|ban| !ban.narrowed) {
            return Some("pair banned");
        }
        let narrow = self.rules().narrow;
        if !found.is_empty() && !self.one_in(now, &pairs[1], narrow.home_aor.per) {
            return Some("one try in 30 s at home");
        }
        let around = Network::around(flow.remote.ip());
        let narrowed = [source_key(source), network_key(around)]
            .iter()
            .any(|key| self.ban_of(now, key).is_some_and(|ban| ban.narrowed));
        if narrowed && !asked.at_home {
            let key = format!("strange {source}");
            if !self.one_in(now, &key, narrow.strange_aor.per) {
                return Some("other AORs are slowed to one a minute");
            }
        }
        None
    }

    /// Whether one more is within "one in `per`".
    fn one_in(&mut self, now: Time, key: &str, per: std::time::Duration) -> bool {
        let last = self.slowed.get(key);
        let free = last.is_none_or(|last| now.since(*last) >= per);
        if free {
            self.slowed.insert(key.to_string(), now);
        }
        free
    }

    /// "open challenges that have not ended: 3 INVITEs (1 when narrowed), 64 others".
    fn is_full(&self, now: Time, source: Network, msg: &Msg) -> bool {
        let invite = msg.method() == "INVITE";
        let open = self
            .ledger
            .iter()
            .filter(|(key, _)| key.source == source && (key.method == "INVITE") == invite)
            .map(|(_, entry)| entry.challenges)
            .sum::<u32>();
        let rules = self.rules();
        let short = self
            .sources
            .get(&source)
            .map_or(0.0, |source| source.short.value(now, rules.half_life.short));
        let narrow = &rules.narrow;
        let most = match invite {
            true if short >= f64::from(rules.levels.narrow) => narrow.narrowed,
            true => narrow.invites,
            false => narrow.others,
        };
        open >= most
    }

    /// "10 in short memory; beyond that strangers get one try in 30 s on that AOR, the rest is
    /// refused. Homes never notice."
    fn guarded(&mut self, now: Time, asked: &Asked) -> bool {
        let (half_life, guard) = (self.rules().half_life.short, self.rules().guard);
        let refusals = self.aors.get(&asked.aor).map_or(0.0, |aor| aor.value(now, half_life));
        let tries = matches!(asked.credentials, Held::Pass);
        if asked.at_home || !tries || refusals < f64::from(guard.refusals) {
            return false;
        }
        let last = self.guard.get(&asked.aor);
        if last.is_some_and(|last| now.since(*last) < guard.rate.per) {
            return true;
        }
        self.guard.insert(asked.aor.clone(), now);
        false
    }

    /// Counts an outcome.
    pub(super) fn count(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

fn username(msg: &Msg) -> Option<String> {
    let names = ["Authorization", "Proxy-Authorization"];
    let lines = names.iter().flat_map(|name| msg.values_of_lines(name));
    lines.filter_map(|line| auth_param(&line, "username")).find(|name| !name.is_empty())
}

pub(super) fn source_key(source: Network) -> String {
    format!("source {source}")
}

pub(super) fn network_key(network: Network) -> String {
    format!("network {network}")
}

pub(super) fn shape_key(shape: u64) -> String {
    format!("shape {shape}")
}

pub(super) fn pair_key(aor: &str, at: &str) -> String {
    format!("pair {aor} {at}")
}

pub(super) fn flow_text(flow: &Flow) -> String {
    format!("{flow} {:?}", flow.connection)
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
