//! Who plays: a PBX, phones that call each other, and attackers.

use super::child::Ports;
use super::street::{Datagram, Street};
use policy::{Time, TimerBase};
use sim::net::{Arrival, Node, Outbox, Request};
use sim::{
    Answer, AttackConfig, Attacker, CallState, Form, Kind, Pbx, PbxConfig, Phone, PhoneConfig,
    Quirks, Rng, Sources, Tool,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use wire::Transport;

const DOMAIN: &str = "demo.example";
const PHONES: u8 = 6;
/// Between the beginnings of two calls, and how long one lasts.
const CALL_EVERY: Duration = Duration::from_secs(3);
const CALL_LASTS: Duration = Duration::from_secs(4);
/// Shots of each attacker: more than any demonstration takes.
const SHOTS: u64 = 1_000_000;

/// A call that somebody made.
#[derive(Clone, Copy, Debug)]
struct Call {
    phone: usize,
    called: usize,
    id: u32,
    began: Time,
    passed: bool,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Cast {
    pbx: Pbx,
    pbx_address: SocketAddr,
    phones: Vec<Phone>,
    attackers: Vec<Attacker>,
    rng: Rng,
    /// What was sent before there were sockets.
    first: Outbox,
    began: Time,
    next_call: Time,
    calls: Vec<Call>,
    /// Calls that were made, and those that were answered.
    made: u64,
    passed: u64,
}

impl Cast {
    pub(super) fn new(now: Time, ports: &Ports) -> Self {
        // another play each time
        let mut rng = Rng::new(now.as_nanos(), 1);
        let mut phones: Vec<Phone> = (1..=PHONES).map(|n| phone(n, ports, &mut rng)).collect();
        let mut first = Outbox::new();
        for phone in &mut phones {
            phone.register(now, &mut first);
        }
        Cast {
            first,
            pbx: pbx(ports.pbx, Rng::new(rng.below(u64::MAX), 2)),
            pbx_address: ports.pbx,
            attackers: attackers(now, ports, &mut rng),
            phones,
            rng,
            began: now,
            next_call: now + CALL_EVERY,
            calls: Vec::new(),
            made: 0,
            passed: 0,
        }
    }

    /// Where everybody listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let phones = self.phones.iter().map(|phone| phone.config.local);
        let attackers = self.attackers.iter().flat_map(|one| match &one.config.sources {
            Sources::One(address) => vec![*address],
            _ => Vec::new(),
        });
        phones.chain(attackers).chain([self.pbx_address]).collect()
    }

    /// When somebody has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let phones = self.phones.iter().filter_map(Node::deadline);
        let attackers = self.attackers.iter().filter_map(Node::deadline);
        phones.chain(attackers).chain(self.pbx.deadline()).chain([self.next_call]).min()
    }

    /// Everybody does what is due.
    pub(super) fn act(&mut self, now: Time, street: &mut Street) {
        let mut out = std::mem::take(&mut self.first);
        let is_due = |node: &dyn Node| node.deadline().is_some_and(|due| due <= now);
        if is_due(&self.pbx) {
            self.pbx.tick(now, &mut out);
        }
        for phone in self.phones.iter_mut().filter(|phone| is_due(*phone)) {
            phone.tick(now, &mut out);
        }
        for attacker in self.attackers.iter_mut().filter(|attacker| is_due(*attacker)) {
            attacker.tick(now, &mut out);
        }
        self.talk(now, &mut out);
        carry(out, street);
    }

    /// Something came for somebody.
    pub(super) fn deliver(&mut self, now: Time, datagram: Datagram, street: &mut Street) {
        let Datagram { local, remote, bytes } = datagram;
        let mut out = Outbox::new();
        let arrival = Arrival::Datagram { local, remote, bytes };
        if local == self.pbx_address {
            self.pbx.handle(now, arrival, &mut out);
        } else if let Some(phone) = self.phones.iter_mut().find(|one| one.config.local == local) {
            phone.handle(now, arrival, &mut out);
        } else if let Some(attacker) = self
            .attackers
            .iter_mut()
            .find(|one| one.config.sources.addresses(0).contains(&local.ip()))
        {
            attacker.handle(now, arrival, &mut out);
        }
        carry(out, street);
    }

    /// Phones call each other, and hang up after a while.
    fn talk(&mut self, now: Time, out: &mut Outbox) {
        for call in &mut self.calls {
            let phone = &mut self.phones[call.phone];
            let state = phone.call_state(call.id);
            if !call.passed && phone.was_up(call.id) {
                call.passed = true;
                self.passed += 1;
            }
            if state == Some(CallState::Up) && now.since(call.began) >= CALL_LASTS {
                phone.hang_up(now, call.id, out);
            }
        }
        let phones = &self.phones;
        self.calls.retain(|call| {
            !matches!(phones[call.phone].call_state(call.id), None | Some(CallState::Over(_)))
        });
        if now < self.next_call {
            return;
        }
        self.next_call = now + CALL_EVERY;
        let is_free = |phone: usize| {
            self.phones[phone].counts.registered > 0
                && self.calls.iter().all(|call| call.phone != phone && call.called != phone)
        };
        let mut free: Vec<usize> = (0..self.phones.len()).filter(|phone| is_free(*phone)).collect();
        if free.len() < 2 {
            return;
        }
        let caller = free.swap_remove(self.rng.below(free.len() as u64) as usize);
        let called = free.swap_remove(self.rng.below(free.len() as u64) as usize);
        let user = self.phones[called].config.user.clone();
        let id = self.phones[caller].call(now, &user, out);
        self.calls.push(Call { phone: caller, called, id, began: now, passed: false });
        self.made += 1;
    }

    /// How it goes, in one line.
    pub(super) fn line(&self, now: Time) -> String {
        let seconds = now.since(self.began).as_secs();
        let registered = self.phones.iter().filter(|phone| phone.counts.registered > 0).count();
        let sum = |of: fn(&Attacker) -> u64| -> u64 { self.attackers.iter().map(of).sum() };
        format!(
            "{:2}:{:02} phones: {registered} of {PHONES} registered; calls: {} made, {} answered | attackers' messages: \
             {} sent, {} answered, {} succeeded",
            seconds / 60,
            seconds % 60,
            self.made,
            self.passed,
            sum(|one| one.counts.sent),
            sum(|one| one.counts.answers),
            sum(|one| one.counts.successes),
        )
    }

    /// What came of it.
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "\nThe phones made {} calls; {} were answered.\n\n  {:<40} {:>9} {:>9} {:>9}\n",
            self.made, self.passed, "attacker", "messages", "answered", "succeeded"
        );
        for attacker in &self.attackers {
            let from = attacker.config.sources.addresses(0).first().map(ToString::to_string);
            let name = format!("{} {}", from.unwrap_or_default(), attacker.config.label);
            let counts = attacker.counts;
            // writing to a String does not fail
            let _ = writeln!(
                text,
                "  {name:<40} {:>9} {:>9} {:>9}",
                counts.sent, counts.answers, counts.successes
            );
        }
        text
    }
}

/// Puts on the wire what somebody wants sent. They speak UDP, under their own addresses.
fn carry(out: Outbox, street: &mut Street) {
    for request in out {
        if let Request::Datagram { local, remote, bytes } = request {
            street.send(local, remote, &bytes);
        }
    }
}

fn password(user: &str) -> String {
    format!("secret-{user}")
}

fn pbx(address: SocketAddr, rng: Rng) -> Pbx {
    let accounts: BTreeMap<String, String> =
        (6_001..=6_009).map(|user: u32| (user.to_string(), password(&user.to_string()))).collect();
    let config = PbxConfig {
        addresses: vec![address],
        accounts,
        max_contacts: 1,
        rewrite_contact: true,
        support_path: false,
        qualify: Duration::from_secs(30),
        timers: TimerBase::default(),
        chan_sip: false,
        identified: BTreeSet::new(),
        guests: false,
        open_options: false,
        dids: BTreeSet::new(),
    };
    Pbx::new(config, rng)
}

fn phone(n: u8, ports: &Ports, rng: &mut Rng) -> Phone {
    let user = (6_000 + u32::from(n)).to_string();
    let config = PhoneConfig {
        name: user.clone(),
        password: password(&user),
        user,
        domain: DOMAIN.to_owned(),
        server: ports.edge,
        transport: Transport::Udp,
        local: SocketAddr::from((Ipv4Addr::new(127, ports.net, 1, n), 5060)),
        expires: Duration::from_secs(60),
        answer: Answer::After(Duration::from_secs(1)),
        keep_alive: Duration::from_secs(20),
        patience: Duration::from_secs(20),
        retry: Duration::from_secs(10),
        quirks: Quirks::default(),
        timers: TimerBase::default(),
    };
    Phone::new(config, u64::from(n), Rng::new(rng.below(u64::MAX), u64::from(n)))
}

fn attackers(now: Time, ports: &Ports, rng: &mut Rng) -> Vec<Attacker> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let calls = |acks| Kind::Call {
        from: words(&["6001", "6002", "100"]),
        dialled: words(&["00442037690000", "900972597438354"]),
        acks,
    };
    let guess = |form, user| Kind::Guess { form, users: words(&[user]), own: None };
    let scan = |method| Kind::Scan { method, first: 100 };
    let plays = [
        ("svmap, looking around", scan("OPTIONS"), Tool::Vicious, 5, 1_000),
        ("sipcli, wants to call abroad", calls(true), Tool::Sipcli, 8, 700),
        ("a scanner without a name", calls(true), Tool::Plain(5), 11, 1_500),
        ("a guesser of passwords", guess(Form::ChallengeEach, "6001"), Tool::Plain(1), 14, 1_000),
        ("svcrack, a dictionary", guess(Form::Dictionary, "6002"), Tool::Vicious, 17, 300),
        ("touches a honeytoken", guess(Form::ChallengeEach, "admin"), Tool::Plain(6), 20, 2_000),
    ];
    let play =
        |(n, (label, kind, tool, start, pause)): (usize, (&'static str, Kind, Tool, u64, u64))| {
            let address = SocketAddr::from((Ipv4Addr::new(127, ports.net, 66, n as u8 + 1), 5060));
            let config = AttackConfig {
                label,
                kind,
                tool,
                agent: None,
                sources: Sources::One(address),
                server: ports.edge,
                domain: DOMAIN.to_owned(),
                start: now + Duration::from_secs(start),
                interval: Duration::from_millis(pause),
                shots: SHOTS,
            };
            Attacker::new(config, Rng::new(rng.below(u64::MAX), n as u64 + 100))
        };
    plays.into_iter().enumerate().map(play).collect()
}
