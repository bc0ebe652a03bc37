//! Two PBXs of one group behind the edge: one is killed, drained, and comes back.

use super::*;

/// A scene with two, ten registered phones, and where each is registered.
fn scene(shards: u8, seed: u64) -> (Scene, Vec<(NodeId, NodeId)>) {
    let mut scene = Scene::new(Setup { seed, shards, two: true, ..Setup::default() });
    let users: Vec<_> = (6001..6011).map(|user| user.to_string()).collect();
    let phones: Vec<_> = users.iter().map(|user| scene.add_phone(user, Transport::Udp)).collect();
    for phone in &phones {
        assert!(scene.register(*phone));
    }
    let at = users.iter().zip(&phones).map(|(user, phone)| (*phone, home(&scene, user))).collect();
    (scene, at)
}

fn both(scene: &Scene) -> [NodeId; 2] {
    [scene.pbx, scene.other.expect("two")]
}

/// The only PBX that an account is registered at.
fn home(scene: &Scene, user: &str) -> NodeId {
    let known = |pbx: &NodeId| !scene.pbx_at(*pbx).contacts(user).is_empty();
    let homes: Vec<_> = both(scene).into_iter().filter(known).collect();
    assert_eq!(homes.len(), 1, "{user}");
    homes[0]
}

fn begin(scene: &mut Scene, phone: NodeId) -> u32 {
    scene.with_phone(phone, |phone, now, out| phone.call(now, "100", out))
}

#[test]
fn one_is_killed_in_a_run_of_calls_and_comes_back() {
    for (shards, seed) in [(1, 1), (4, 2)] {
        let (mut scene, phones) = scene(shards, seed);
        let [first, second] = both(&scene);
        assert!(phones.iter().any(|(_, at)| *at == first), "both have some");
        let (stays, _) = *phones.iter().find(|(_, at)| *at == second).expect("both have some");
        // a call on the one that will live
        let running = scene.call(stays, "100");
        assert_eq!(scene.phone(stays).call_state(running), Some(CallState::Up));
        let until = scene.world.now() + secs(400);
        scene.with_pbx_at(first, |pbx, _, _| pbx.restart(until));
        // calls that begin at once, and while it is gone: all are answered
        let calls: Vec<_> =
            phones.iter().map(|(phone, _)| (*phone, begin(&mut scene, *phone))).collect();
        scene.world.run_for(secs(12));
        for (phone, call) in calls {
            let state = scene.phone(phone).call_state(call);
            assert_eq!(state, Some(CallState::Up), "{phone:?}");
        }
        assert_eq!(scene.phone(stays).call_state(running), Some(CallState::Up));
        scene.with_phone(stays, |phone, now, out| phone.hang_up(now, running, out));
        // all register again at the one that lives
        scene.world.run_for(secs(150));
        for (at, (phone, _)) in phones.iter().enumerate() {
            assert!(scene.phone(*phone).is_registered(scene.world.now()));
            let user = (6001 + at).to_string();
            assert!(!scene.pbx_at(second).contacts(&user).is_empty(), "{user}");
        }
        // it is back, and gets what is its own
        scene.world.run_for(secs(500));
        for (at, (phone, home)) in phones.iter().enumerate() {
            assert!(scene.phone(*phone).is_registered(scene.world.now()));
            let user = (6001 + at).to_string();
            assert!(!scene.pbx_at(*home).contacts(&user).is_empty(), "{user}");
            let call = scene.call(*phone, "100");
            assert_eq!(scene.phone(*phone).call_state(call), Some(CallState::Up));
        }
        let edge = scene.edge().expect("there is one");
        let foreign = edge.outcomes()[policy::Outcome::Foreign as usize];
        assert_eq!(
            (edge.bans.len(), foreign),
            (0, 0),
            "a nonce of the other one is nobody's fault"
        );
        no_violations(&scene);
    }
}

#[test]
fn one_that_is_drained_keeps_its_calls_and_gets_no_new_ones() {
    for shards in [1, 4] {
        let (mut scene, phones) = scene(shards, 3);
        let [first, second] = both(&scene);
        let (phone, _) = *phones.iter().find(|(_, at)| *at == first).expect("both have some");
        let running = scene.call(phone, "100");
        assert_eq!(scene.pbx_at(first).legs(), 1);
        let id = policy::Pbx::new("127.0.0.1:5070".parse().expect("address")).id();
        scene.with_edge(|edge, now, out| edge.drain_pbx(now, id, true, out));
        let new = scene.call(phone, "100");
        assert_eq!(scene.phone(phone).call_state(new), Some(CallState::Up));
        assert_eq!((scene.pbx_at(first).legs(), scene.pbx_at(second).legs()), (1, 1));
        scene.with_phone(phone, |phone, now, out| phone.hang_up(now, running, out));
        scene.world.run_for(secs(1));
        assert_eq!(scene.pbx_at(first).legs(), 0, "the BYE went to its PBX");
        scene.world.run_for(secs(130));
        for at in 0..phones.len() {
            let user = (6001 + at).to_string();
            assert!(!scene.pbx_at(second).contacts(&user).is_empty(), "{user}");
        }
        scene.with_edge(|edge, now, out| edge.drain_pbx(now, id, false, out));
        scene.world.run_for(secs(130));
        assert!(phones.iter().enumerate().any(|(at, (_, home))| {
            *home == first && !scene.pbx_at(first).contacts(&(6001 + at).to_string()).is_empty()
        }));
        no_violations(&scene);
    }
}

#[test]
fn with_the_edges_own_challenge_each_ones_nonces_go_to_itself() {
    for shards in [1, 4] {
        let setup = Setup { seed: 5, shards, two: true, ..Setup::default() };
        let mut scene = Scene::with_policy(setup, |policy| {
            policy.admission.edge_challenge.mode = policy::ChallengeMode::Always;
        });
        let phones: Vec<_> =
            (6001..6007).map(|user| scene.add_phone(&user.to_string(), Transport::Udp)).collect();
        for phone in &phones {
            assert!(scene.register(*phone));
        }
        let until = scene.world.now() + secs(200);
        scene.with_pbx(|pbx, _, _| pbx.restart(until));
        scene.world.run_for(secs(400));
        for phone in &phones {
            assert!(scene.phone(*phone).is_registered(scene.world.now()));
            let call = scene.call(*phone, "100");
            assert_eq!(scene.phone(*phone).call_state(call), Some(CallState::Up));
        }
        for pbx in both(&scene) {
            assert_eq!(scene.pbx_at(pbx).counts.refused, 0, "no answer to another's nonce");
        }
        no_violations(&scene);
    }
}
