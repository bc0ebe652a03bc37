//! What people, the network and strangers do in a run.

use super::tracking::{ALL_SETTLE, PHONE_SETTLES};
use super::{Run, secs};
use sim::net::{Dependence, Nat};
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

impl Run {
    fn live_call(&mut self, index: usize) -> Option<u32> {
        let calls = self.scene.phone(self.phones[index].id).live_calls();
        let which = self.rng.below(calls.len() as u64) as usize;
        calls.get(which).copied()
    }

    pub(super) fn hang_up(&mut self, index: usize) {
        let Some(call) = self.live_call(index) else { return };
        let user = self.phones[index].user.clone();
        self.cancelled(|tracked| {
            (tracked.phone == index && tracked.call == call) || tracked.extension == user
        });
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.hang_up(now, call, out));
    }

    pub(super) fn cancel(&mut self, index: usize) {
        let Some(call) = self.live_call(index) else { return };
        self.cancelled(|tracked| tracked.phone == index && tracked.call == call);
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.cancel(now, call, out));
    }

    pub(super) fn reinvite(&mut self, index: usize) {
        let Some(call) = self.live_call(index) else { return };
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.reinvite(now, call, out));
    }

    pub(super) fn register(&mut self, index: usize) {
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.register(now, out));
    }

    pub(super) fn unregister(&mut self, index: usize) {
        self.disturb(index);
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.unregister(now, out));
        self.phones[index].away = true;
    }

    /// Another port, or another address altogether.
    pub(super) fn roam(&mut self, index: usize) {
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
    pub(super) fn change_provider(&mut self, index: usize) {
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

    pub(super) fn leave(&mut self, index: usize) {
        self.disturb(index);
        self.phones[index].away = true;
        let id = self.phones[index].id;
        self.scene.world.set_cut(id, true);
        if self.rng.chance(500) {
            self.scene.with_phone(id, |phone, _, _| phone.reboot());
        }
    }

    pub(super) fn come_back(&mut self) {
        let Some(index) = self.phones.iter().position(|phone| phone.away) else { return };
        self.disturb(index);
        self.phones[index].away = false;
        let id = self.phones[index].id;
        self.scene.world.set_cut(id, false);
        self.register(index);
    }

    pub(super) fn reset(&mut self, index: usize) {
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

    pub(super) fn reboot_nat(&mut self, index: usize) {
        let Some(nat) = self.phones[index].nat else { return };
        for other in 0..self.phones.len() {
            if self.phones[other].nat == Some(nat) {
                self.disturb(other);
            }
        }
        self.scene.world.nat_mut(nat).reboot();
    }

    pub(super) fn flood(&mut self) {
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
    pub(super) fn replay(&mut self) {
        for _ in 0..self.rng.below(40) {
            let changes = [0, 0, 1, 2, 8][self.rng.below(5) as usize];
            let which = self.rng.below(64);
            self.scene.replay(self.stranger, which, changes);
            if self.rng.chance(300) {
                self.wait(1);
            }
        }
    }

    pub(super) fn originate(&mut self, index: usize) {
        let user = self.phones[index].user.clone();
        self.unsure(|call| call.extension == user);
        // It is busy for a while.
        for phone in self.phones.iter_mut().filter(|phone| phone.user == user) {
            phone.steady_from = phone.steady_from.max(self.scene.world.now() + PHONE_SETTLES);
        }
        self.scene.with_pbx(|pbx, now, out| pbx.originate(now, &user, out));
    }

    pub(super) fn send_other(&mut self, index: usize) {
        if self.phones[index].away {
            return;
        }
        let method = ["OPTIONS", "MESSAGE", "PUBLISH", "FROBNICATE"][self.rng.below(4) as usize];
        let id = self.phones[index].id;
        self.scene.with_phone(id, |phone, now, out| phone.send_other(now, method, "100", out));
    }

    pub(super) fn restart_pbx(&mut self) {
        let down = self.rng.up_to(secs(60));
        self.disturb_all(down);
        self.scene.with_pbx(|pbx, now, _| pbx.restart(now + down));
    }

    pub(super) fn silence_pbx(&mut self) {
        let silent = self.rng.up_to(secs(90));
        self.disturb_all(silent);
        self.scene.with_pbx(|pbx, now, _| pbx.silence(now + silent));
    }

    pub(super) fn restart_edge(&mut self) {
        self.disturb_all(Duration::ZERO);
        self.scene.restart_edge();
    }

    pub(super) fn configure(&mut self) {
        self.scene.with_edge(|edge, now, out| {
            let mut policy = edge.policy().clone();
            policy.version += 1;
            edge.configure(now, policy, out);
        });
    }

    pub(super) fn jump(&mut self) {
        let length = secs([1, 40, 600, 7_200][self.rng.below(4) as usize]);
        self.disturb_all(Duration::ZERO);
        for phone in &mut self.phones {
            phone.steady_from = self.scene.world.now() + length + ALL_SETTLE;
        }
        self.calm_from = self.calm_from.max(self.now() + length + ALL_SETTLE);
        self.scene.world.jump(length);
    }
}
