//! Sources judged by how their challenges end: what must hold by `docs/admission.md`, attacker by
//! attacker and phone by phone, with the default policy.

#![allow(clippy::print_stdout, reason = "shown only when a scene fails")]

mod faults;
mod forum;
mod honest;

use policy::{Outcome, Policy, Reason};
use sim::day::day_policy;
use sim::net::{Dependence, Nat};
use sim::{
    AttackConfig, CallState, DOMAIN, Form, Kind, NodeId, Phone, SERVER, SERVER_V6, Scene, Setup,
    Sources, Tool,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::Transport;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// How many phones register anew in the scenes of restarts; `make sim` takes five thousand.
fn crowd() -> u32 {
    if cfg!(debug_assertions) && std::env::var_os("SIM_SEEDS").is_none() { 1_000 } else { 5_000 }
}

/// A scene with the policy of a day and no signatures.
fn scene(setup: Setup) -> Scene {
    scene_with(setup, |_| {})
}

fn scene_with(setup: Setup, change: impl FnOnce(&mut Policy)) -> Scene {
    let record = std::env::var_os("SIM_TAPE").is_some();
    Scene::with_policy(Setup { record, ..setup }, |policy| {
        day_policy(policy);
        change(policy);
    })
}

/// The same with the signatures that come with the edge.
fn scene_with_signatures(setup: Setup) -> Scene {
    scene_with(setup, |policy| {
        policy.admission.signatures = config::shipped_signatures().expect("they load").signatures;
    })
}

/// INVITEs without credentials, a shot an `interval`.
fn calls(from: &[&str], dialled: &[&str], acks: bool) -> Kind {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect();
    Kind::Call { from: texts(from), dialled: texts(dialled), acks }
}

fn guesses(form: Form, users: &[&str]) -> Kind {
    let users = users.iter().map(|user| (*user).to_string()).collect();
    Kind::Guess { form, users, own: None }
}

/// Starts an attack in a second.
fn attack(
    scene: &mut Scene,
    tool: Tool,
    kind: Kind,
    sources: Sources,
    interval: Duration,
    shots: u64,
) -> NodeId {
    let v6 = matches!(sources, Sources::Net64(_));
    let config = AttackConfig {
        label: "attacker",
        kind,
        tool,
        agent: None,
        sources,
        server: if v6 { SERVER_V6 } else { SERVER },
        domain: DOMAIN.to_string(),
        start: scene.world.now() + secs(1),
        interval,
        shots,
    };
    scene.add_attacker(config)
}

/// Lets an attack come to its end, and some more.
fn until_over(scene: &mut Scene, attacker: NodeId) {
    let config = &scene.attacker(attacker).config;
    let length = config.interval * config.shots as u32 + secs(60);
    scene.world.run_for(length);
    assert_eq!(scene.attacker(attacker).counts.shots, scene.attacker(attacker).config.shots);
}

/// Requests of an attacker that reached the PBX.
fn leaked(scene: &Scene, attacker: NodeId) -> u64 {
    let edge = scene.edge().expect("an edge");
    edge.watch.leaked(scene.attacker(attacker).call_ids()).0
}

/// Wrong passwords that the PBX heard for an account.
fn guessed(scene: &Scene, user: &str) -> u64 {
    let guesses = &scene.pbx().guesses;
    guesses.iter().filter(|((name, _), _)| name == user).map(|(_, count)| count).sum()
}

fn outcomes(scene: &Scene, outcome: Outcome) -> u64 {
    let at = Outcome::ALL.iter().position(|it| *it == outcome).expect("an outcome");
    scene.edge().expect("an edge").gate_counts().iter().map(|counts| counts.outcomes[at]).sum()
}

fn bans(scene: &Scene) -> Vec<String> {
    let edge = scene.edge().expect("an edge");
    let of = |ban: &admission::Ban| format!("{} {:?}: {}", ban.key.kind(), ban.key, ban.why);
    edge.bans.iter().map(|(_, ban)| of(ban)).collect()
}

/// Bans of sources and networks that are no mere narrowing.
fn whole_bans(scene: &Scene) -> Vec<String> {
    let edge = scene.edge().expect("an edge");
    let whole = edge.bans.iter().filter(|(_, ban)| {
        matches!(ban.key, admission::BanKey::Source(_) | admission::BanKey::Network(_))
            && !ban.narrowed
    });
    whole.map(|(at, ban)| format!("{at}: {ban:?}")).collect()
}

fn no_violations(scene: &Scene) {
    assert_eq!(scene.violations(), Vec::<String>::new());
}

/// An office of so many phones behind one address.
fn office(scene: &mut Scene, users: std::ops::Range<u32>, transport: Transport) -> Vec<NodeId> {
    let kind = Dependence::Address;
    let nat = scene.add_nat(|address| Nat::new(address, kind, kind, secs(150)));
    users
        .map(|user| {
            scene.add_phone_with(&user.to_string(), transport, false, Some(nat), |config| {
                config.expires = secs(600);
                config.keep_alive = secs(60);
                config.retry = secs(30);
            })
        })
        .collect()
}

/// Registers a phone for good.
fn at_home(scene: &mut Scene, user: &str) -> NodeId {
    let phone = scene.add_phone(user, Transport::Udp);
    assert!(scene.register(phone));
    phone
}

/// A phone is registered and its calls get through.
fn works(scene: &mut Scene, phone: NodeId) {
    assert!(scene.register(phone), "{} registers", scene.phone(phone).config.name);
    let call = scene.call(phone, "100");
    let state = scene.phone(phone).call_state(call);
    assert_eq!(state, Some(CallState::Up), "{}", scene.phone(phone).config.name);
    scene.with_phone(phone, |phone, now, out| phone.hang_up(now, call, out));
    scene.world.run_for(secs(2));
}

fn all_registered(scene: &Scene, phones: &[NodeId]) {
    for phone in phones {
        let phone = scene.phone(*phone);
        assert!(
            phone.is_registered(scene.world.now()),
            "{}: {:?}",
            phone.config.name,
            phone.counts
        );
    }
}

fn register_all(scene: &mut Scene, phones: &[NodeId]) {
    for phone in phones {
        scene.with_phone(*phone, Phone::register);
    }
}
