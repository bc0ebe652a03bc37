//! One random run.

use policy::{Registration, Time};
use sim::net::{Dependence, Nat, Quality};
use sim::ua::AckQuirks;
use sim::{Actor, Answer, CallState, Ending, NodeId, Quirks, Rng, Scene, Setup};
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

const ACTIONS: u64 = 120;
/// After a disturbance of one phone, or of all, until calls have to complete again.
const PHONE_SETTLES: Duration = Duration::from_secs(140);
const ALL_SETTLE: Duration = Duration::from_secs(220);
/// No call may take longer to be up or over.
const CALL_MAX: Duration = Duration::from_secs(300);

/// What a run came to.
pub struct Done {
    pub steps: u64,
    /// Calls that had to complete, and did.
    pub checked: u64,
    /// Of everything the phones and the PBX saw.
    pub digest: String,
}

struct Subscriber {
    id: NodeId,
    user: String,
    nat: Option<usize>,
    v6: bool,
    away: bool,
    steady_from: Time,
}

struct Tracked {
    phone: usize,
    call: u32,
    extension: String,
    started: Time,
    /// Nothing disturbed it, so it must complete.
    sure: bool,
    cancelled: bool,
}

pub struct Run {
    seed: u64,
    rng: Rng,
    scene: Scene,
    phones: Vec<Subscriber>,
    stranger: NodeId,
    calls: Vec<Tracked>,
    calm_from: Time,
    action: u64,
    checked: u64,
    /// Nothing is disturbed: all calls must complete.
    calm: bool,
    /// Tables are tiny: nothing need complete.
    cramped: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "SIM_SEED={} fails at action {}, step {}",
                self.seed, self.action, self.scene.world.steps
            );
        }
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0);
        let quality = Quality {
            delay: Duration::from_millis(5 + rng.below(60)),
            jitter: Duration::from_millis([0, 5, 40][rng.below(3) as usize]),
            loss: [0, 0, 20, 50, 100][rng.below(5) as usize],
            duplicate: [0, 0, 30][rng.below(3) as usize],
            reorder: [0, 0, 20][rng.below(3) as usize],
            pieces: [0, 300][rng.below(2) as usize],
        };
        let setup = Setup {
            seed,
            shards: [1, 1, 2, 4][rng.below(4) as usize],
            quality,
            registration: match rng.chance(300) {
                true => Registration::Path,
                false => Registration::ContactToken,
            },
            rewrite_contact: rng.chance(500),
            max_contacts: 1 + rng.below(2) as usize,
            qualify: secs([0, 60][rng.below(2) as usize]),
            record: std::env::var_os("SIM_TAPE").is_some(),
            ..Setup::default()
        };
        // rewrite_contact would undo Path: field notes say it must be off there.
        let rewrite_contact = setup.rewrite_contact && setup.registration != Registration::Path;
        // Tables that are full refuse, and nothing else.
        let cramped = rng.chance(150);
        let mut scene = Scene::with_policy(Setup { rewrite_contact, ..setup }, |policy| {
            if cramped {
                policy.capacities.exchanges = 1 + rng.below(40) as usize;
                policy.capacities.bindings = 1 + rng.below(6) as usize;
                policy.capacities.nonces = 2 + rng.below(10) as usize;
                policy.capacities.connections = 1 + rng.below(4) as usize;
                policy.capacities.retained_bytes = 2_000 + rng.below(60_000) as usize;
            }
        });
        let mut phones = Vec::new();
        for index in 0..3 + rng.below(5) {
            phones.push(subscriber(&mut rng, &mut scene, index, setup.max_contacts));
        }
        let stranger = scene.add_stranger();
        let calm_from = scene.world.now();
        let calm = rng.chance(400);
        let calls = Vec::new();
        let calm_from = if cramped { Time::FOREVER } else { calm_from };
        Run {
            seed,
            rng,
            scene,
            phones,
            stranger,
            calls,
            calm_from,
            action: 0,
            checked: 0,
            calm,
            cramped,
        }
    }

    /// Runs to the end and checks what must hold.
    pub fn finish(mut self) -> Done {
        for phone in 0..self.phones.len() {
            let id = self.phones[phone].id;
            self.scene.with_phone(id, |phone, now, out| phone.register(now, out));
            self.wait(2);
        }
        self.wait(40);
        while self.action < ACTIONS {
            self.action += 1;
            self.act();
            let longest = [1, 3, 10, 60][self.rng.below(4) as usize];
            self.wait(longest);
            self.check();
        }
        self.end();
        let digest = format!("{:?}{:?}", self.scene.pbx().counts, self.counts());
        Done { steps: self.scene.world.steps, checked: self.checked, digest }
    }

    fn counts(&self) -> Vec<sim::PhoneCounts> {
        self.phones.iter().map(|phone| self.scene.phone(phone.id).counts.clone()).collect()
    }

    fn wait(&mut self, longest: u64) {
        let length = self.rng.up_to(secs(longest));
        self.scene.world.run_for(length);
    }

    fn now(&self) -> Time {
        self.scene.world.now()
    }

    fn act(&mut self) {
        let phone = self.rng.below(self.phones.len() as u64) as usize;
        // The disturbances stand last.
        let kinds = if self.calm { 76 } else { 100 };
        match self.rng.below(kinds) {
            0..32 => self.call(phone),
            32..44 => self.hang_up(phone),
            44..51 => self.cancel(phone),
            51..58 => self.reinvite(phone),
            58..63 => self.register(phone),
            63..65 => self.flood(),
            65..68 => self.replay(),
            68..73 => self.send_other(phone),
            73 => self.configure(),
            74..76 => self.originate(phone),
            76..79 => self.roam(phone),
            79..82 => self.leave(phone),
            82..90 => self.come_back(),
            90..93 => self.reset(phone),
            93..95 => self.reboot_nat(phone),
            95 if self.rng.chance(500) => self.unregister(phone),
            95 => self.change_provider(phone),
            96 => self.restart_pbx(),
            97 if self.rng.chance(500) => self.silence_pbx(),
            97 => self.restart_edge(),
            _ => self.jump(),
        }
    }

    fn call(&mut self, index: usize) {
        let now = self.now();
        let callee = self.rng.below(self.phones.len() as u64) as usize;
        let extension = match self.rng.below(10) {
            0..3 => "100".to_string(),
            3 => ["101", "102", "103", "104", "999"][self.rng.below(5) as usize].to_string(),
            _ => self.phones[callee].user.clone(),
        };
        if self.phones[index].away || self.scene.phone(self.phones[index].id).live_calls().len() > 2
        {
            return;
        }
        // One more call to a phone, or from it, makes it busy for another.
        let user = self.phones[index].user.clone();
        self.unsure(|call| call.extension == extension || call.extension == user);
        let sure = extension != user
            && now >= self.calm_from
            && now >= self.phones[index].steady_from
            && self.is_sure_to_answer(&extension);
        let id = self.phones[index].id;
        let call = self.scene.with_phone(id, |phone, now, out| phone.call(now, &extension, out));
        self.calls.push(Tracked {
            phone: index,
            call,
            extension,
            started: now,
            sure,
            cancelled: false,
        });
    }

    /// Whether a call to it has one outcome only.
    fn is_sure_to_answer(&self, extension: &str) -> bool {
        let now = self.now();
        if extension.len() == 3 {
            return true;
        }
        let mut devices = self.phones.iter().filter(|phone| phone.user == extension);
        let (Some(device), None) = (devices.next(), devices.next()) else { return false };
        let phone = self.scene.phone(device.id);
        let caller_too = self
            .calls
            .iter()
            .any(|call| self.phones[call.phone].user == extension && self.is_open(call));
        !device.away
            && now >= device.steady_from
            && phone.is_registered(now)
            && phone.live_calls().is_empty()
            && matches!(phone.config.answer, Answer::After(_))
            && !caller_too
            && !self.calls.iter().any(|call| call.extension == extension && self.is_open(call))
    }

    fn is_open(&self, call: &Tracked) -> bool {
        let state = self.scene.phone(self.phones[call.phone].id).call_state(call.call);
        matches!(state, Some(CallState::Calling | CallState::Ringing | CallState::Up))
    }

    fn unsure(&mut self, which: impl Fn(&Tracked) -> bool) {
        for call in &mut self.calls {
            if which(call) {
                call.sure = false;
            }
        }
    }

    /// A phone is disturbed: its calls need not complete.
    fn disturb(&mut self, index: usize) {
        let user = self.phones[index].user.clone();
        self.phones[index].steady_from = self.now() + PHONE_SETTLES;
        self.unsure(|call| call.phone == index || call.extension == user);
    }

    fn disturb_all(&mut self, length: Duration) {
        self.calm_from = self.calm_from.max(self.now() + length + ALL_SETTLE);
        self.unsure(|_| true);
    }

    fn live_call(&mut self, index: usize) -> Option<u32> {
        let calls = self.scene.phone(self.phones[index].id).live_calls();
        let which = self.rng.below(calls.len() as u64) as usize;
        calls.get(which).copied()
    }

    fn hang_up(&mut self, index: usize) {
        let Some(call) = self.live_call(index) else { return };
        let user = self.phones[index].user.clone();
        self.cancelled(|tracked| {
            (tracked.phone == index && tracked.call == call) || tracked.extension == user
        });
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.hang_up(now, call, out));
    }

    fn cancelled(&mut self, which: impl Fn(&Tracked) -> bool) {
        for call in &mut self.calls {
            if which(call) {
                call.cancelled = true;
            }
        }
    }

    fn cancel(&mut self, index: usize) {
        let Some(call) = self.live_call(index) else { return };
        self.cancelled(|tracked| tracked.phone == index && tracked.call == call);
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.cancel(now, call, out));
    }

    fn reinvite(&mut self, index: usize) {
        let Some(call) = self.live_call(index) else { return };
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.reinvite(now, call, out));
    }

    fn register(&mut self, index: usize) {
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.register(now, out));
    }

    fn unregister(&mut self, index: usize) {
        self.disturb(index);
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.unregister(now, out));
        self.phones[index].away = true;
    }

    /// Another port, or another address altogether.
    fn roam(&mut self, index: usize) {
        self.disturb(index);
        let (id, v6, nat) = {
            let phone = &self.phones[index];
            (phone.id, phone.v6, phone.nat)
        };
        let old = self.scene.phone(id).config.local;
        let local = if self.rng.chance(500) {
            SocketAddr::new(old.ip(), old.port() + 1)
        } else {
            let address = self.scene.fresh_address(v6, nat.is_some());
            self.scene.world.move_to(id, address, nat);
            SocketAddr::new(address, 5060)
        };
        self.scene.with_phone(id, |phone, now, out| {
            phone.roam(local, out);
            phone.register(now, out);
        });
    }

    /// Another public address under the same Contact.
    fn change_provider(&mut self, index: usize) {
        if self.phones[index].nat.is_none() {
            return;
        }
        self.disturb(index);
        let kind = Dependence::Address;
        let nat = self.scene.add_nat(|address| Nat::new(address, kind, kind, secs(60)));
        let id = self.phones[index].id;
        let home = self.scene.phone(id).config.local.ip();
        self.phones[index].nat = Some(nat);
        self.scene.world.move_to(id, home, Some(nat));
        self.scene.with_phone(id, |phone, now, out| {
            phone.drop_stream(out);
            phone.register(now, out);
        });
    }

    fn leave(&mut self, index: usize) {
        self.disturb(index);
        self.phones[index].away = true;
        let id = self.phones[index].id;
        self.scene.world.set_cut(id, true);
        if self.rng.chance(500) {
            self.scene.with_phone(id, |phone, _, _| phone.reboot());
        }
    }

    fn come_back(&mut self) {
        let Some(index) = self.phones.iter().position(|phone| phone.away) else { return };
        self.disturb(index);
        self.phones[index].away = false;
        let id = self.phones[index].id;
        self.scene.world.set_cut(id, false);
        self.register(index);
    }

    fn reset(&mut self, index: usize) {
        let conns = self.scene.world.connections();
        let which = self.rng.below(conns.len() as u64) as usize;
        let Some(conn) = conns.get(which).copied() else { return };
        // Whose it is does not matter: all that use streams are disturbed.
        for other in 0..self.phones.len() {
            let config = &self.scene.phone(self.phones[other].id).config;
            if config.transport != Transport::Udp || other == index {
                self.disturb(other);
            }
        }
        self.scene.world.reset(conn);
    }

    fn reboot_nat(&mut self, index: usize) {
        let Some(nat) = self.phones[index].nat else { return };
        for other in 0..self.phones.len() {
            if self.phones[other].nat == Some(nat) {
                self.disturb(other);
            }
        }
        self.scene.world.nat_mut(nat).reboot();
    }

    fn flood(&mut self) {
        for _ in 0..self.rng.below(60) {
            let method = ["INVITE", "REGISTER", "OPTIONS", "BYE"][self.rng.below(4) as usize];
            let extension = format!("{}", 1_000 + self.rng.below(9_000));
            if self.rng.chance(300) {
                let victim = [192, 0, 2, 1 + self.rng.below(5) as u8];
                self.scene.spoof(SocketAddr::new(victim.into(), 5060), method, &extension);
            } else {
                self.scene.knock(self.stranger, method, &extension);
            }
            if self.rng.chance(500) {
                self.wait(1);
            }
        }
    }

    /// What a stranger sends again from his own address disturbs nobody, credentials or not.
    fn replay(&mut self) {
        for _ in 0..self.rng.below(40) {
            let changes = [0, 0, 1, 2, 8][self.rng.below(5) as usize];
            let which = self.rng.below(64);
            self.scene.replay(self.stranger, which, changes);
            if self.rng.chance(300) {
                self.wait(1);
            }
        }
    }

    fn originate(&mut self, index: usize) {
        let user = self.phones[index].user.clone();
        self.unsure(|call| call.extension == user);
        // It is busy for a while.
        for phone in self.phones.iter_mut().filter(|phone| phone.user == user) {
            phone.steady_from = phone.steady_from.max(self.scene.world.now() + PHONE_SETTLES);
        }
        self.scene.with_pbx(|pbx, now, out| pbx.originate(now, &user, out));
    }

    fn send_other(&mut self, index: usize) {
        if self.phones[index].away {
            return;
        }
        let method = ["OPTIONS", "MESSAGE", "PUBLISH", "FROBNICATE"][self.rng.below(4) as usize];
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.send_other(now, method, "100", out));
    }

    fn restart_pbx(&mut self) {
        let down = self.rng.up_to(secs(60));
        self.disturb_all(down);
        self.scene.with_pbx(|pbx, now, _| pbx.restart(now + down));
    }

    fn silence_pbx(&mut self) {
        let silent = self.rng.up_to(secs(90));
        self.disturb_all(silent);
        self.scene.with_pbx(|pbx, now, _| pbx.silence(now + silent));
    }

    fn restart_edge(&mut self) {
        self.disturb_all(Duration::ZERO);
        self.scene.restart_edge();
    }

    fn configure(&mut self) {
        self.scene.with_edge(|edge, now, out| {
            let mut policy = edge.policy().clone();
            policy.version += 1;
            edge.configure(now, policy, out);
        });
    }

    fn jump(&mut self) {
        let length = secs([1, 40, 600, 7_200][self.rng.below(4) as usize]);
        self.disturb_all(Duration::ZERO);
        for phone in &mut self.phones {
            phone.steady_from = self.scene.world.now() + length + ALL_SETTLE;
        }
        self.calm_from = self.calm_from.max(self.now() + length + ALL_SETTLE);
        self.scene.world.jump(length);
    }

    fn check(&mut self) {
        assert_eq!(self.scene.violations(), Vec::<String>::new());
        for phone in &self.phones {
            let counts = &self.scene.phone(phone.id).counts;
            assert_eq!(counts.contact_missing, 0, "{} misses its Contact", phone.user);
            assert_eq!(counts.strange_uri, 0, "{} gets foreign Request-URIs", phone.user);
            // A memory of two nonces forgets what it has just sent.
            let refused = if self.cramped { 0 } else { counts.refused };
            assert_eq!(refused, 0, "{} is asked for its password", phone.user);
        }
        let now = self.now();
        for call in std::mem::take(&mut self.calls) {
            let phone = self.scene.phone(self.phones[call.phone].id);
            let (state, was_up) = (phone.call_state(call.call), phone.was_up(call.call));
            match state {
                Some(CallState::Calling | CallState::Ringing) => {
                    let waited = now.since(call.started);
                    // A clock jump stops nobody's watch but ours.
                    assert!(
                        waited < CALL_MAX || !call.sure,
                        "call to {} takes {waited:?}",
                        call.extension
                    );
                    self.calls.push(call);
                }
                Some(state) => self.check_outcome(&call, state, was_up),
                None => unreachable!("a call that never was"),
            }
        }
    }

    fn check_outcome(&mut self, call: &Tracked, state: CallState, was_up: bool) {
        if !call.sure {
            return;
        }
        let refused = match state {
            CallState::Over(Ending::Refused(status)) => status,
            _ => 0,
        };
        let right = match call.extension.as_str() {
            "101" => refused == 486 || call.cancelled,
            "102" => refused == 487,
            "999" => refused == 404 || call.cancelled,
            _ => was_up || call.cancelled,
        };
        let phone = &self.scene.phone(self.phones[call.phone].id);
        assert!(
            right,
            "call {} of {} to {} (from {}) came to {state:?}: {:?}",
            call.call, phone.config.name, call.extension, call.started, phone.config
        );
        self.checked += u64::from(!call.cancelled);
    }

    /// All leave, the PBX too; then the edge must come to rest.
    fn end(&mut self) {
        self.unsure(|_| true);
        for phone in &self.phones {
            self.scene.with_phone(phone.id, |phone, _, _| phone.reboot());
            self.scene.world.set_cut(phone.id, true);
        }
        if self.rng.chance(500) {
            self.scene.with_edge(|edge, now, out| edge.drain(now, out));
        }
        let far = self.now() + secs(1_000_000);
        self.scene.with_pbx(|pbx, _, _| pbx.restart(far));
        self.scene.world.run_for(secs(500));
        self.check();
        let exchanges = |snapshot: &proxy::Snapshot| snapshot.exchanges.entries;
        let edge = self.scene.edge().expect("an edge");
        let left: Vec<_> = edge.snapshots().iter().map(exchanges).collect();
        assert!(left.iter().all(|left| *left == 0), "exchanges left: {left:?}");
        self.scene.world.jump(secs(20_000));
        self.scene.world.run_for(secs(20_000));
        assert_eq!(self.scene.violations(), Vec::<String>::new());
        for snapshot in self.scene.edge().expect("an edge").snapshots() {
            assert_eq!(
                (snapshot.timers, snapshot.connections.entries, snapshot.retained_bytes.entries),
                (0, 0, 0),
                "{snapshot:?}"
            );
            assert_eq!(snapshot.unanswered, 0);
        }
        assert!(matches!(self.scene.world.actor(self.stranger), Actor::Stranger(_)));
    }
}

fn subscriber(rng: &mut Rng, scene: &mut Scene, index: u64, max_contacts: usize) -> Subscriber {
    // Two devices of one user only where the PBX lets them be.
    let number = if index == 1 && max_contacts > 1 { 0 } else { index };
    let user = format!("{}", 6_001 + number);
    let transport =
        [Transport::Udp, Transport::Udp, Transport::Tcp, Transport::Tls][rng.below(4) as usize];
    let v6 = rng.chance(250);
    let kinds = [Dependence::EndpointIndependent, Dependence::Address, Dependence::AddressAndPort];
    let nat = (!v6 && rng.chance(500)).then(|| {
        let (mapping, filtering) = (kinds[rng.below(3) as usize], kinds[rng.below(3) as usize]);
        let timeout = secs(30 + rng.below(90));
        scene.add_nat(|address| Nat::new(address, mapping, filtering, timeout))
    });
    let quirks = quirks(rng);
    let answer = match rng.below(10) {
        0 => Answer::Busy,
        1 => Answer::Decline,
        2 => Answer::Ring,
        _ => Answer::After(rng.up_to(secs(6))),
    };
    let id = scene.add_phone_with(&user, transport, v6, nat, |config| {
        config.quirks = quirks;
        config.answer = answer;
    });
    let steady_from = scene.world.now() + secs(40);
    Subscriber { id, user, nat, v6, away: false, steady_from }
}

fn quirks(rng: &mut Rng) -> Quirks {
    let mut quirks = Quirks::default();
    match rng.below(14) {
        0 => quirks.ack = AckQuirks { other_branch: true, ..AckQuirks::default() },
        1 => quirks.ack = AckQuirks { wrong_cseq: true, ..AckQuirks::default() },
        2 => quirks.ack = AckQuirks { other_from_host: true, ..AckQuirks::default() },
        3 => quirks.ack = AckQuirks { never: true, ..AckQuirks::default() },
        4 => quirks.retry_reuses_branch = true,
        5 => quirks.stops_after_provisional = true,
        6 => quirks.forgets_opaque = true,
        7 => quirks.reuses_nonce = true,
        8 => quirks.no_rport = true,
        _ => {}
    }
    quirks
}
