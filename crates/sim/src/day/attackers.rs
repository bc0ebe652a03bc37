//! Who attacks.

use super::{ADMIN, Day, HONEYTOKEN, TARGET};
use crate::attacker::{AttackConfig, Form, Kind, Sources, Tool};
use crate::rng::Rng;
use crate::scene::{DOMAIN, SERVER_V6, TRUNKS};
use policy::Time;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Kinds of attackers; each day has some.
pub(super) const KINDS: usize = 28;

/// What a day offers to its attackers.
pub(super) struct Prey {
    /// Accounts with a phone.
    pub users: Vec<String>,
    /// Addresses that phones are seen at, with the account.
    pub victims: Vec<(String, SocketAddr)>,
}

fn address(rng: &mut Rng) -> IpAddr {
    let [a, b] = [rng.below(250) as u8, 1 + rng.below(250) as u8];
    Ipv4Addr::new(100, 64 + rng.below(60) as u8, a, b).into()
}

fn many(rng: &mut Rng, count: u32) -> Vec<SocketAddr> {
    // Spread over networks, as bots are.
    let base = rng.below(1 << 14) as u32;
    (0..count)
        .map(|n| {
            let bits = (100 << 24) | (1 << 23) | ((base + n) % (1 << 14)) << 8 | (n % 200 + 1);
            SocketAddr::new(Ipv4Addr::from(bits).into(), 5060)
        })
        .collect()
}

/// The attack of a kind.
#[allow(clippy::too_many_lines, reason = "a table")]
pub(super) fn attack(kind: usize, start: Time, prey: &Prey, rng: &mut Rng) -> AttackConfig {
    let ip = address(rng);
    let one = Sources::One(SocketAddr::new(ip, 5060));
    let seconds = Duration::from_secs;
    let users = || prey.users.clone();
    let known = |rng: &mut Rng| prey.users[rng.below(prey.users.len() as u64) as usize].clone();
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
    let abroad = || texts(&["900972597438354", "00972597438354", "011972597438354"]);
    let calls = |from, dialled, acks| Kind::Call { from, dialled, acks };
    let scan = |method| Kind::Scan { method, first: 1_000 };
    let guess = |form, users, own| Kind::Guess { form, users, own };
    let own = || (prey.users[0].clone(), format!("secret-{}", prey.users[0]), 10);
    let forged = |victims| Kind::Forge { methods: vec!["INVITE", "REGISTER"], victims };
    let mut target = TARGET;
    let (label, kind, tool, sources, interval, shots) = match kind {
        0 => {
            let kind = calls(texts(&["100"]), abroad(), true);
            ("sipcli acking 2/s", kind, Tool::Sipcli, one, Duration::from_millis(500), 400)
        }
        1 => {
            let kind = calls(users(), texts(&["00442037690000"]), true);
            ("sipcli acking 1/4s", kind, Tool::Sipcli, Sources::Ports(ip), seconds(4), 200)
        }
        2 => {
            let kind = calls(texts(&["*"]), abroad(), false);
            ("sipcli silent 2/s", kind, Tool::Sipcli, one, Duration::from_millis(500), 400)
        }
        3 => {
            let sources = Sources::Many(many(rng, 60));
            let kind = calls(texts(&["*"]), texts(&["0046850680*"]), true);
            ("sipcli distributed", kind, Tool::Sipcli, sources, seconds(120), 120)
        }
        4 => ("svmap", scan("OPTIONS"), Tool::Vicious, one, seconds(1), 60),
        5 => ("svwar REGISTER", scan("REGISTER"), Tool::Vicious, one, seconds(1), 300),
        6 => ("svwar INVITE", scan("INVITE"), Tool::Vicious, one, seconds(1), 300),
        7 => ("svwar OPTIONS", scan("OPTIONS"), Tool::Vicious, one, seconds(1), 300),
        8 => {
            let kind = guess(Form::Dictionary, vec![known(rng)], None);
            ("svcrack dictionary", kind, Tool::Vicious, one, seconds(1), 300)
        }
        9 => {
            let kind = guess(Form::ReuseNonce, vec![known(rng)], None);
            ("svcrack reusing nonce", kind, Tool::Vicious, one, seconds(1), 300)
        }
        10 => {
            let kind = guess(Form::ChallengeEach, vec![known(rng)], None);
            ("svcrack challenge each", kind, Tool::Plain(1), one, seconds(2), 300)
        }
        11 => {
            let sources = Sources::Many(many(rng, 300));
            let kind = guess(Form::ChallengeEach, vec![known(rng)], None);
            ("guesser, 300 addresses", kind, Tool::Phone, sources, seconds(10), 300)
        }
        12 => {
            let kind = guess(Form::ChallengeEach, users(), None);
            ("low and slow guesser", kind, Tool::Plain(2), one, seconds(700), 25)
        }
        13 => {
            let kind = guess(Form::ChallengeEach, prey.users[1..].to_vec(), Some(own()));
            ("guesser with an account", kind, Tool::Plain(3), one, seconds(5), 300)
        }
        14 => {
            target = SERVER_V6;
            let net = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, rng.below(999) as u16, 0, 0, 0, 0);
            let kind = guess(Form::ChallengeEach, users(), None);
            ("guesser over a /64", kind, Tool::Plain(4), Sources::Net64(net), seconds(3), 300)
        }
        15 => {
            let mut victims = prey.victims.clone();
            victims.push(("carrier".into(), SocketAddr::new(TRUNKS[0].into(), 5060)));
            victims.push(("admin".into(), SocketAddr::new(ADMIN.into(), 5060)));
            ("forger", forged(victims), Tool::Phone, one, seconds(2), 1_800)
        }
        16 => {
            let victims = many(rng, 200).into_iter().map(|a| ("100".to_string(), a)).collect();
            let kind = Kind::Forge { methods: vec!["INVITE"], victims };
            ("reflector", kind, Tool::Sipcli, one, Duration::from_millis(20), 2_000)
        }
        17 => {
            let walk = ["0", "00", "000", "9", "90", "900", "9900", "9999"];
            let dialled = walk.iter().map(|prefix| format!("{prefix}972597438354")).collect();
            let kind = calls(texts(&["1001"]), dialled, true);
            ("prefix walker", kind, Tool::Plain(5), one, seconds(5), 100)
        }
        18 => {
            let kind = guess(Form::ChallengeEach, texts(&[HONEYTOKEN]), None);
            ("honeytoken toucher", kind, Tool::Plain(6), one, seconds(30), 40)
        }
        19 => {
            let sources = Sources::Many(many(rng, 40));
            let kind = Kind::ReplayNonce { user: known(rng) };
            ("nonce replayer", kind, Tool::Plain(7), sources, seconds(5), 200)
        }
        20 => {
            let kind = Kind::ForgeGuess { victims: prey.victims.clone() };
            ("forging guesser", kind, Tool::Phone, one, seconds(7), 200)
        }
        21 => {
            let victims = many(rng, 1_500).into_iter().map(|a| ("100".to_string(), a)).collect();
            (
                "flood of forged",
                forged(victims),
                Tool::Plain(8),
                one,
                Duration::from_millis(4),
                3_000,
            )
        }
        22 => {
            let kind = calls(texts(&["a'or'1'='1"]), texts(&["100"]), true);
            ("injector", kind, Tool::Plain(9), one, seconds(3), 100)
        }
        23 => ("svwar BYE", scan("BYE"), Tool::Vicious, one, seconds(1), 100),
        24 => {
            let kind = guess(Form::ChallengeEach, vec![known(rng)], None);
            let each = Duration::from_millis(4);
            ("guesser, all at once", kind, Tool::Plain(10), one, each, 300)
        }
        25 => {
            // before the PBX answers the first
            let kind = calls(texts(&["*"]), texts(&["00442037690000"]), true);
            ("caller, all at once", kind, Tool::Plain(12), one, Duration::from_nanos(500), 300)
        }
        26 => {
            let kind = Kind::HangUp { users: texts(&["*"]) };
            ("hangs up", kind, Tool::Plain(13), one, Duration::from_millis(50), 1_200)
        }
        _ => {
            let kind = calls(texts(&["*"]), texts(&["494012345601"]), true);
            ("caller of our numbers", kind, Tool::Plain(11), one, seconds(2), 300)
        }
    };
    let domain = DOMAIN.to_string();
    let agent = None;
    AttackConfig {
        label,
        kind,
        tool,
        agent,
        sources,
        server: target,
        domain,
        start,
        interval,
        shots,
    }
}

/// Asks for signs of life, and is no attacker.
pub(super) fn monitor(start: Time, length: Duration, rng: &mut Rng) -> AttackConfig {
    AttackConfig {
        label: "monitor",
        kind: Kind::Scan { method: "OPTIONS", first: 100 },
        tool: Tool::Monitor,
        agent: None,
        sources: Sources::One(SocketAddr::new(address(rng), 5060)),
        server: TARGET,
        domain: DOMAIN.to_string(),
        start,
        interval: Duration::from_secs(60),
        shots: length.as_secs() / 60,
    }
}

impl Day {
    pub(super) fn attack(&mut self) {
        let users: Vec<String> =
            self.people.iter().filter(|person| !person.outdated).map(|p| p.user.clone()).collect();
        let victims = self.people.iter().map(|person| {
            let local = self.scene.phone(person.id).config.local;
            let nat = person.nat.map(|nat| self.scene.world.nat(nat).address);
            (person.user.clone(), nat.map_or(local, |nat| SocketAddr::new(nat, 20_001)))
        });
        let prey = Prey { users, victims: victims.filter(|(_, a)| a.is_ipv4()).collect() };
        let mut kinds: Vec<usize> = (0..KINDS).collect();
        let monitor = monitor(self.start, self.config.length, &mut self.rng);
        let mut configs = vec![monitor];
        for _ in 0..self.config.attackers.min(KINDS) {
            let kind = kinds.remove(self.rng.below(kinds.len() as u64) as usize);
            let most = self.config.length / 2;
            let start = self.at(Duration::from_secs(300), most);
            configs.push(attack(kind, start, &prey, &mut self.rng));
        }
        for config in configs {
            let id = self.scene.add_attacker(config);
            self.attackers.push(id);
        }
    }
}
