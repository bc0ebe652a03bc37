//! Who is honest, and what befalls them.

use super::{Day, Event, Person, SETTLES};
use crate::net::{Dependence, Nat};
use crate::phone::{Answer, Phone, Quirks};
use crate::scene::Scene;
use crate::world::NodeId;
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// A gateway of a carrier: it calls our numbers and knows of no password.
pub(super) fn trunk(scene: &mut Scene, local: SocketAddr) -> NodeId {
    let id = scene.add_phone_with("carrier", Transport::Udp, false, None, |config| {
        config.name = format!("trunk-{}", local.ip());
        config.local = local;
        config.keep_alive = Duration::ZERO;
        config.patience = Duration::from_secs(20);
        config.quirks.forgets_retry = 1_000;
        config.quirks.no_user_agent = true;
    });
    scene.phones.retain(|phone| *phone != id);
    id
}

impl Day {
    pub(super) fn populate(&mut self) {
        let offices = 1 + self.rng.below(2);
        let mut user = 6_001;
        for _ in 0..offices {
            let kind = Dependence::Address;
            let nat = self
                .scene
                .add_nat(|address| Nat::new(address, kind, kind, Duration::from_secs(150)));
            let phones = 3 + self.rng.below(self.config.office.max(3) - 2);
            let outdated = self.rng.chance(400).then(|| self.rng.below(phones));
            for n in 0..phones {
                self.add_person(user, Some(nat), false, outdated == Some(n));
                user += 1;
            }
        }
        for _ in 0..3 + self.rng.below(4) {
            let v6 = self.rng.chance(250);
            self.add_person(user, None, v6, false);
            user += 1;
        }
        for who in 0..self.people.len() {
            let at = self.at(Duration::ZERO, minutes(2));
            self.plan.push((at, Event::Register(who)));
        }
    }

    fn add_person(&mut self, user: u64, nat: Option<usize>, v6: bool, outdated: bool) {
        let transport = [Transport::Udp, Transport::Udp, Transport::Tcp, Transport::Tls]
            [self.rng.below(4) as usize];
        // one in two departs from the book
        let quirks = Quirks::nth(self.rng.below(20));
        let expires = Duration::from_secs([300, 600, 1_800, 3_600][self.rng.below(4) as usize]);
        let user = user.to_string();
        let id = self.scene.add_phone_with(&user, transport, v6, nat, |config| {
            config.expires = expires;
            config.keep_alive = Duration::from_secs(60);
            config.quirks = quirks;
            config.answer = Answer::After(Duration::from_secs(2));
            config.retry = Duration::from_secs(30);
            if outdated {
                config.password = "what-it-was-last-year".into();
            }
        });
        let seen = match nat {
            Some(nat) => self.scene.world.nat(nat).address,
            None => self.scene.phone(id).config.local.ip(),
        };
        self.honest.push(seen);
        let roams = nat.is_none() && self.rng.chance(300);
        let steady_from = self.start + minutes(2) + SETTLES;
        self.people.push(Person { id, user, nat, outdated, roams, steady_from });
    }

    pub(super) fn befall(&mut self) {
        let length = self.config.length;
        let people = self.people.len() as u64;
        let hours = (length.as_secs() / 3_600).max(1);
        for _ in 0..hours * people / 2 {
            let who = self.rng.below(people) as usize;
            let whom = self.rng.below(people) as usize;
            let at = self.at(minutes(5), length);
            let event = match self.rng.below(8) {
                0 => Event::Misdial(who),
                1 | 2 if who != whom => Event::Chat(who, whom),
                _ => Event::Call(who),
            };
            self.plan.push((at, event));
        }
        for _ in 0..hours * 2 {
            let at = self.at(minutes(1), length);
            self.plan.push((at, Event::Trunk));
        }
        for _ in 0..3 {
            let at = self.at(minutes(30), length);
            self.plan.push((at, Event::MovedTrunk));
        }
        for who in 0..self.people.len() {
            if self.people[who].roams {
                for _ in 0..2 {
                    let at = self.at(minutes(20), length);
                    self.plan.push((at, Event::Roam(who)));
                }
            }
        }
        let mut nats: Vec<usize> = self.people.iter().filter_map(|person| person.nat).collect();
        nats.dedup();
        for nat in nats {
            let at = self.at(minutes(20), length);
            let event = match self.rng.below(3) {
                0 => Event::Rebind(nat),
                1 => Event::PowerCut(nat),
                _ => Event::Reconnect,
            };
            self.plan.push((at, event));
        }
        if self.config.restarts && self.rng.chance(300) {
            let at = self.at(minutes(20), length);
            self.plan.push((at, Event::RestartEdge));
        }
        if self.config.restarts && self.rng.chance(300) {
            let at = self.at(minutes(20), length);
            self.plan.push((at, Event::RestartPbx));
        }
        let mut check = minutes(20);
        while check < length {
            self.plan.push((self.start + check, Event::Check));
            check += minutes(20);
        }
    }

    /// A phone comes from another network, and registers there.
    pub(super) fn roam(&mut self, who: usize) {
        let id = self.people[who].id;
        let v6 = self.scene.phone(id).config.local.is_ipv6();
        let address = self.scene.fresh_address(v6, false);
        self.scene.world.move_to(id, address, None);
        self.honest.push(address);
        let local = SocketAddr::new(address, 5060);
        self.scene.with_phone(id, |phone, now, out| {
            phone.roam(local, out);
            phone.register(now, out);
        });
        let moved = self.people[who].id;
        self.disturb(|person| person.id == moved, Duration::ZERO);
    }

    /// All phones of an office start again at the same moment.
    pub(super) fn power_cut(&mut self, nat: usize) {
        self.scene.world.nat_mut(nat).reboot();
        let ids: Vec<NodeId> = self
            .people
            .iter()
            .filter(|person| person.nat == Some(nat))
            .map(|person| person.id)
            .collect();
        for id in ids {
            self.scene.with_phone(id, |phone, now, out| {
                phone.drop_stream(out);
                phone.reboot();
                Phone::register(phone, now, out);
            });
        }
        self.disturb(|person| person.nat == Some(nat), Duration::ZERO);
    }
}
