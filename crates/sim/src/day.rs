//! A generated day: offices behind NATs, people at home, a trunk, a monitor, what befalls them,
//! and attackers of every kind, all from one seed and each with a label.

mod attackers;
mod honest;
mod report;

pub use report::{Report, Row};

use crate::net::Quality;
use crate::phone::{CallState, Phone};
use crate::reference::Reference;
use crate::rng::Rng;
use crate::scene::{DIDS, SERVER, Scene, Setup, TRUNKS};
use crate::world::NodeId;
use policy::{ChallengeMode, Network, Policy, Rate, Time};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The admin's network, trusted by name.
pub const ADMIN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 130);
/// An extension that nobody has.
pub const HONEYTOKEN: &str = "4711";

/// How long after something befell everybody a call must succeed again.
const SETTLES: Duration = Duration::from_secs(180);
/// How long a call to the echo may take to be up.
const CALL_MAX: Duration = Duration::from_secs(60);

/// How many keys are pressed in a call, and the rates that a dialog may have.
const KEYS: [u32; 4] = [0, 3, 30, 300];
const DIALOG_RATES: [Rate; 3] = [
    Rate { count: 50, per: Duration::from_secs(1), burst: 200 },
    Rate { count: 5, per: Duration::from_secs(1), burst: 10 },
    Rate { count: 1, per: Duration::from_secs(3_600), burst: 1 },
];

/// How a day is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayConfig {
    /// All randomness comes from here.
    pub seed: u64,
    /// How long it is.
    pub length: Duration,
    /// Shards of the edge; 0 leaves the PBX in the open.
    pub shards: u8,
    /// Kinds of attackers, at most.
    pub attackers: usize,
    /// Packets are lost now and then.
    pub lossy: bool,
    /// The edge restarts and the PBX too; else only what befalls phones.
    pub restarts: bool,
    /// What is to outlive a restart does.
    pub remembers: bool,
    /// The most phones that are in one office.
    pub office: u64,
    /// The PBX lets callers in whose From is no account's.
    pub guests: bool,
    /// It answers OPTIONS unchallenged.
    pub open_options: bool,
    /// When the edge challenges by itself, and with how many open challenges an attack begins.
    pub challenge: (ChallengeMode, u32),
    /// Keys are pressed in calls to the echo, and the policy's rate of a dialog is another each day.
    pub keys: bool,
}

impl DayConfig {
    /// Six hours with six kinds of attackers and one shard.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        DayConfig {
            seed,
            length: Duration::from_secs(6 * 3_600),
            shards: 1,
            attackers: 6,
            lossy: true,
            restarts: true,
            remembers: true,
            office: 7,
            guests: false,
            open_options: false,
            challenge: (ChallengeMode::UnderAttack, 1_000),
            keys: false,
        }
    }

    /// A day that differs from others in all of this.
    #[must_use]
    pub fn any(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 8);
        let mut one_of = |of: &[u64]| of[rng.below(of.len() as u64) as usize];
        let length = Duration::from_secs(3_600 * one_of(&[2, 3, 4, 6, 8]));
        let attackers = one_of(&[3, 6, 6, 9, 12]) as usize;
        let office = one_of(&[4, 7, 7, 12, 30]);
        let (guests, open_options) = (one_of(&[0, 0, 0, 0, 1]) == 1, one_of(&[0, 0, 1]) == 1);
        let mode = match one_of(&[0, 0, 0, 0, 1, 2]) {
            0 => ChallengeMode::UnderAttack,
            1 => ChallengeMode::Always,
            _ => ChallengeMode::Off,
        };
        let challenge = (mode, one_of(&[1_000, 1_000, 60]) as u32);
        let day = DayConfig::new(seed);
        DayConfig { length, attackers, office, guests, open_options, challenge, ..day }
    }
}

/// A day that runs.
#[derive(Debug)]
pub struct Day {
    /// Its world.
    pub scene: Scene,
    config: DayConfig,
    rng: Rng,
    /// What keys are pressed comes from here, so that nothing else of the day depends on it.
    keys: Rng,
    start: Time,
    people: Vec<Person>,
    /// Who calls our numbers from the trunk, and who does so from a new address.
    trunk: NodeId,
    moved_trunk: NodeId,
    attackers: Vec<NodeId>,
    /// Addresses at which somebody honest is or was.
    honest: Vec<IpAddr>,
    plan: Vec<(Time, Event)>,
    calm_from: Time,
    calls: Vec<Call>,
    good_calls: u64,
    faults: Vec<String>,
}

/// A phone and who holds it.
#[derive(Debug)]
struct Person {
    id: NodeId,
    user: String,
    nat: Option<usize>,
    /// Its password is not right: it is refused for ever.
    outdated: bool,
    /// Moves from network to network.
    roams: bool,
    steady_from: Time,
}

#[derive(Debug)]
struct Call {
    person: usize,
    number: u32,
    due: Time,
    sure: bool,
}

/// What happens in a day.
#[derive(Clone, Copy, Debug)]
enum Event {
    Register(usize),
    Call(usize),
    Chat(usize, usize),
    Misdial(usize),
    Trunk,
    MovedTrunk,
    Roam(usize),
    Rebind(usize),
    Reconnect,
    PowerCut(usize),
    RestartEdge,
    RestartPbx,
    Check,
}

/// The policy of a day: who is trusted, our numbers, a honeytoken.
pub fn day_policy(policy: &mut Policy) {
    let networks = &mut policy.admission.trust.networks;
    for trunk in TRUNKS {
        networks.push((Network::host(IpAddr::V4(trunk)), "trunk".into()));
    }
    networks.push((Network::host(IpAddr::V4(ADMIN)), "admin".into()));
    policy.admission.dids.patterns = vec!["4940123456xx".into()];
    policy.admission.honeytokens = vec![HONEYTOKEN.into()];
}

impl Day {
    /// A day's morning.
    #[must_use]
    pub fn new(config: DayConfig) -> Self {
        Day::with_policy(config, |_| {})
    }

    /// The same, with the policy changed from [`day_policy`].
    #[must_use]
    pub fn with_policy(config: DayConfig, change: impl FnOnce(&mut Policy)) -> Self {
        let mut rng = Rng::new(config.seed, 7);
        let mut keys = Rng::new(config.seed, 9);
        let quality = Quality {
            delay: Duration::from_millis(5 + rng.below(40)),
            jitter: Duration::from_millis([0, 5, 20][rng.below(3) as usize]),
            loss: if config.lossy { [0, 0, 10][rng.below(3) as usize] } else { 0 },
            ..Quality::PERFECT
        };
        let setup = Setup {
            seed: config.seed,
            shards: config.shards,
            quality,
            qualify: Duration::from_secs([0, 600][rng.below(2) as usize]),
            chan_sip: rng.chance(200),
            guests: config.guests,
            open_options: config.open_options,
            record: false,
            ..Setup::default()
        };
        let mut scene = Scene::with_policy(setup, |policy| {
            day_policy(policy);
            let challenge = &mut policy.admission.edge_challenge;
            (challenge.mode, challenge.open) = config.challenge;
            if config.keys {
                policy.admission.dialog_rate = DIALOG_RATES[keys.below(3) as usize];
            }
            change(policy);
        });
        let start = scene.world.now();
        let trunk = honest::trunk(&mut scene, SocketAddr::new(IpAddr::V4(TRUNKS[0]), 5060));
        let elsewhere = SocketAddr::new(scene.fresh_address(false, false), 5060);
        let moved_trunk = honest::trunk(&mut scene, elsewhere);
        let (people, plan, attackers) = (Vec::new(), Vec::new(), Vec::new());
        let mut day = Day {
            scene,
            config,
            rng,
            keys,
            start,
            people,
            trunk,
            moved_trunk,
            attackers,
            honest: TRUNKS.map(IpAddr::V4).into(),
            plan,
            calm_from: start + SETTLES,
            calls: Vec::new(),
            good_calls: 0,
            faults: Vec::new(),
        };
        day.honest.extend([IpAddr::V4(ADMIN), elsewhere.ip()]);
        day.populate();
        day.befall();
        day.attack();
        day.plan.sort_by_key(|(at, _)| *at);
        day
    }

    /// Runs it to its end.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.run();
        self.report()
    }

    /// The same; its world stays, to be looked at.
    pub fn run(&mut self) {
        for (at, event) in std::mem::take(&mut self.plan) {
            self.scene.world.run_until(at);
            self.let_happen(event);
        }
        self.evening();
    }

    /// Runs it to its end under the eyes of the reference model.
    #[must_use]
    pub fn compared(mut self) -> (Report, Reference) {
        self.scene.with_edge(|edge, _, _| edge.tape = Some(Vec::new()));
        let policy = self.scene.edge().map(|edge| edge.policy().clone());
        self.run();
        let steps = self.scene.with_edge(|edge, _, _| edge.tape.take()).flatten();
        let mut model =
            Reference::new(policy.unwrap_or_else(|| Policy::new(Vec::new(), SERVER, Vec::new())));
        for step in steps.unwrap_or_default() {
            model.read(&step);
        }
        if let Some(edge) = self.scene.edge() {
            model.compare_outcomes(&edge.outcomes());
        }
        (self.report(), model)
    }

    fn at(&mut self, from: Duration, to: Duration) -> Time {
        self.start + from + self.rng.up_to(to.saturating_sub(from))
    }

    fn let_happen(&mut self, event: Event) {
        match event {
            Event::Register(who) => {
                self.scene.with_phone(self.people[who].id, Phone::register);
            }
            Event::Call(who) => self.call(who),
            Event::Chat(who, whom) => {
                let user = self.people[whom].user.clone();
                self.dial(who, &user);
            }
            Event::Misdial(who) => {
                self.dial(who, "900972597438354");
            }
            Event::Trunk => self.trunk_calls(self.trunk),
            Event::MovedTrunk => self.trunk_calls(self.moved_trunk),
            Event::Roam(who) => self.roam(who),
            Event::Rebind(nat) => {
                self.scene.world.nat_mut(nat).reboot();
                self.disturb(|person| person.nat == Some(nat), Duration::ZERO);
            }
            Event::Reconnect => {
                for conn in self.scene.world.connections() {
                    self.scene.world.reset(conn);
                }
                self.disturb(|_| true, Duration::ZERO);
            }
            Event::PowerCut(nat) => self.power_cut(nat),
            Event::RestartEdge => {
                if !self.config.remembers {
                    self.scene.with_edge(|edge, _, _| edge.forget());
                }
                self.scene.restart_edge();
                self.disturb(|_| true, Duration::ZERO);
            }
            Event::RestartPbx => {
                let down = self.rng.up_to(Duration::from_secs(40));
                self.scene.with_pbx(|pbx, now, _| pbx.restart(now + down));
                self.disturb(|_| true, down);
            }
            Event::Check => self.check(),
        }
        self.check_calls();
    }

    fn disturb(&mut self, whom: impl Fn(&Person) -> bool, length: Duration) {
        let from = self.scene.world.now() + length + SETTLES;
        for (index, person) in self.people.iter_mut().enumerate() {
            if whom(person) {
                // The next refresh finds it again.
                person.steady_from = person.steady_from.max(from + Duration::from_secs(600));
                for call in self.calls.iter_mut().filter(|call| call.person == index) {
                    call.sure = false;
                }
            }
        }
    }

    fn call(&mut self, who: usize) {
        let now = self.scene.world.now();
        let person = &self.people[who];
        let phone = self.scene.phone(person.id);
        let retries = phone.config.quirks.forgets_retry == 0;
        let steady = now >= person.steady_from && phone.is_registered(now);
        let sure = steady && retries && !person.outdated;
        if !phone.live_calls().is_empty() {
            return;
        }
        let number = self.dial(who, "100");
        self.calls.push(Call { person: who, number, due: now + CALL_MAX, sure });
    }

    fn dial(&mut self, who: usize, extension: &str) -> u32 {
        let id = self.people[who].id;
        self.scene.with_phone(id, |phone, now, out| phone.call(now, extension, out))
    }

    fn trunk_calls(&mut self, trunk: NodeId) {
        let did = DIDS[self.rng.below(2) as usize];
        self.scene.with_phone(trunk, |phone, now, out| phone.call(now, did, out));
    }

    fn check_calls(&mut self) {
        let now = self.scene.world.now();
        for call in std::mem::take(&mut self.calls) {
            let person = &self.people[call.person];
            let phone = self.scene.phone(person.id);
            if phone.was_up(call.number) {
                self.good_calls += 1;
                let keys = if self.config.keys { KEYS[self.keys.below(4) as usize] } else { 0 };
                self.scene.with_phone(person.id, |phone, now, out| {
                    phone.press(now, call.number, keys, out);
                    phone.hang_up(now, call.number, out);
                });
            } else if matches!(phone.call_state(call.number), Some(CallState::Over(_)))
                || now >= call.due
            {
                if call.sure && now >= self.calm_from {
                    let state = phone.call_state(call.number);
                    let name = &phone.config.name;
                    self.faults.push(format!("{now}: {name}'s call came to {state:?}"));
                }
            } else {
                self.calls.push(call);
            }
        }
    }

    fn check(&mut self) {
        let now = self.scene.world.now();
        for person in &self.people {
            let phone = self.scene.phone(person.id);
            let well = phone.is_registered(now) || person.outdated || now < person.steady_from;
            if !well {
                self.faults.push(format!(
                    "{now}: {} is not registered: {:?}",
                    phone.config.name, phone.counts
                ));
            }
        }
    }

    /// Everybody who is honest registers once more and calls.
    fn evening(&mut self) {
        let end = self.start + self.config.length + SETTLES;
        self.scene.world.run_until(end);
        self.check_calls();
        self.calls.clear();
        for who in 0..self.people.len() {
            let id = self.people[who].id;
            self.scene.with_phone(id, |phone, now, out| {
                for call in phone.live_calls() {
                    phone.hang_up(now, call, out);
                }
                phone.register(now, out);
            });
        }
        self.scene.world.run_for(SETTLES);
        for person in &mut self.people {
            person.steady_from = Time::ZERO;
        }
        self.check();
        for who in 0..self.people.len() {
            if !self.people[who].outdated {
                self.call(who);
            }
        }
        self.scene.world.run_for(CALL_MAX + Duration::from_secs(1));
        self.check_calls();
    }
}

/// Where attackers without a family of their own send to.
const TARGET: SocketAddr = SERVER;
