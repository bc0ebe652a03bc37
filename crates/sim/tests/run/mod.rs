//! One random run.

mod actions;
mod people;
mod tracking;

use people::{Subscriber, subscriber};
use policy::{Registration, Time};
use sim::net::Quality;
use sim::{Actor, NodeId, Rng, Scene, Setup};
use std::time::Duration;
use tracking::Tracked;

const ACTIONS: u64 = 120;
/// What a run came to.
pub struct Done {
    pub steps: u64,
    /// Calls that had to complete, and did.
    pub checked: u64,
    /// Of everything the phones and the PBX saw.
    pub digest: String,
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
