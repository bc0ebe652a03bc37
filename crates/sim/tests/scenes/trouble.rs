//! What befalls the edge: a PBX that is gone, strangers, restarts, moves between shards.

use super::*;

#[test]
fn a_pbx_that_is_silent_is_nobodys_fault_and_found_again() {
    for shards in [1, 4] {
        let mut scene = Scene::new(Setup { shards, ..Setup::default() });
        let phones: Vec<_> =
            (6001..6005).map(|user| scene.add_phone(&user.to_string(), Transport::Udp)).collect();
        for phone in &phones {
            assert!(scene.register(*phone));
        }
        scene.with_pbx(|pbx, now, _| pbx.silence(now + secs(100)));
        let call = scene.call(phones[0], "100");
        let state = scene.phone(phones[0]).call_state(call);
        assert!(matches!(state, Some(CallState::Over(Ending::Refused(408 | 503)))), "{state:?}");
        // By now it is known to be down: the next caller is told at once, or is the probe.
        scene.world.run_for(secs(10));
        let before = scene.world.now();
        let mut told = 0;
        for phone in &phones {
            let call = scene.with_phone(*phone, |phone, now, out| phone.call(now, "100", out));
            scene.world.run_for(Duration::from_millis(100));
            let refused = Some(CallState::Over(Ending::Refused(503)));
            told += u32::from(scene.phone(*phone).call_state(call) == refused);
        }
        assert!(
            told >= 4 - u32::from(shards),
            "{told} told after {:?}",
            scene.world.now().since(before)
        );
        scene.world.run_for(secs(160));
        for phone in &phones {
            assert!(scene.phone(*phone).is_registered(scene.world.now()));
            let call = scene.call(*phone, "100");
            assert_eq!(scene.phone(*phone).call_state(call), Some(CallState::Up));
        }
        no_violations(&scene);
    }
}

#[test]
fn a_pbx_that_restarts_is_bridged_by_retransmissions() {
    everywhere(|setup| {
        for down in [1, 3] {
            let mut scene = Scene::new(setup);
            let phone = scene.add_phone("6001", Transport::Udp);
            assert!(scene.register(phone));
            scene.with_pbx(|pbx, now, _| pbx.restart(now + secs(down)));
            let call = scene.call(phone, "100");
            assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up), "{down} s");
            no_violations(&scene);
        }
    });
}

#[test]
fn a_draining_edge_takes_no_new_call_and_ends_the_old_ones_well() {
    for shards in [1, 4] {
        let mut scene = Scene::new(Setup { shards, ..Setup::default() });
        let phone = scene.add_phone("6001", Transport::Udp);
        assert!(scene.register(phone));
        let old = scene.call(phone, "100");
        scene.with_edge(|edge, now, out| edge.drain(now, out));
        let new = scene.call(phone, "100");
        let refused = Some(CallState::Over(Ending::Refused(503)));
        assert_eq!(scene.phone(phone).call_state(new), refused);
        scene.with_phone(phone, |phone, now, out| phone.reinvite(now, old, out));
        scene.world.run_for(secs(2));
        assert_eq!(scene.phone(phone).reinvites(old), 1);
        scene.with_phone(phone, |phone, now, out| phone.hang_up(now, old, out));
        scene.world.run_for(secs(2));
        assert_eq!(scene.pbx().legs(), 0);
        no_violations(&scene);
    }
}

#[test]
fn a_strangers_credentials_from_elsewhere_are_challenged_anew() {
    // Two phones of one account share what one of them was challenged with: the same nonce is
    // good for both at the PBX, who sees one address only, and is not at the edge.
    for shards in [1, 4] {
        let mut scene = Scene::new(Setup { shards, ..Setup::default() });
        let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
            config.quirks.reuses_nonce = true;
        });
        assert!(scene.register(phone));
        let elsewhere = scene.fresh_address(false, false);
        scene.world.move_to(phone, elsewhere, None);
        scene.with_phone(phone, |phone, _, out| {
            phone.roam(SocketAddr::new(elsewhere, 5060), out);
        });
        let call = scene.call(phone, "100");
        assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
        assert_eq!(scene.phone(phone).counts.refused, 0);
        // The PBX saw no credentials with the first INVITE, so it had nothing to call stale.
        assert_eq!(scene.pbx().counts.stale, 0);
        let edge = scene.edge().expect("an edge");
        assert_eq!(edge.count(policy::Reason::ForeignNonce), 1);
        no_violations(&scene);
    }
}

#[test]
fn a_flood_of_strangers_gets_no_more_than_it_sent_and_leaves_phones_alone() {
    for shards in [1, 4] {
        let mut scene = Scene::with_policy(Setup { shards, ..Setup::default() }, |policy| {
            policy.capacities.exchanges = 600;
            policy.capacities.nonces = 200;
        });
        let phone = scene.add_phone("6001", Transport::Udp);
        assert!(scene.register(phone));
        let strangers: Vec<_> = (0..20).map(|_| scene.add_stranger()).collect();
        for round in 0..20 {
            for stranger in &strangers {
                scene.knock(*stranger, "INVITE", &format!("{round}00"));
            }
            scene.world.run_for(Duration::from_millis(500));
        }
        scene.world.run_for(secs(40));
        // a 401 is longer than what calls for it: each stranger's first waits for ever
        let held = scene.edge().expect("an edge").count(policy::Reason::Amplification);
        assert!(held >= 20, "{held} of 400 answers held");
        let call = scene.call(phone, "100");
        assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
        no_violations(&scene);
    }
}

#[test]
fn a_phone_that_moves_between_shards_is_called_where_it_is() {
    for registration in [Registration::ContactToken, Registration::Path] {
        let rewrite_contact = false;
        let setup = Setup { shards: 4, registration, rewrite_contact, ..Setup::default() };
        let mut scene = Scene::new(setup);
        let kind = Dependence::EndpointIndependent;
        let caller = scene.add_phone("6001", Transport::Udp);
        let nats: Vec<_> = (0..6)
            .map(|_| scene.add_nat(|address| Nat::new(address, kind, kind, secs(60))))
            .collect();
        let callee = scene.add_phone_with("6002", Transport::Udp, false, Some(nats[0]), |_| {});
        assert!(scene.register(caller) && scene.register(callee));
        let contacts = scene.pbx().contacts("6002");
        // Another provider each time: the public address changes, the Contact does not.
        for nat in &nats[1..] {
            let home = scene.phone(callee).config.local.ip();
            scene.world.move_to(callee, home, Some(*nat));
            assert!(scene.register(callee));
            assert_eq!(scene.pbx().contacts("6002"), contacts, "one binding, one token");
            let call = scene.call(caller, "6002");
            assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
            scene.with_phone(caller, |phone, now, out| phone.hang_up(now, call, out));
            scene.world.run_for(secs(2));
            assert!(scene.phone(callee).live_calls().is_empty());
        }
        // A Path names the shard that took the REGISTER; a token its home, whatever comes.
        let crosses = registration == Registration::ContactToken;
        assert_eq!(scene.edge().expect("an edge").handed_over > 0, crosses);
        no_violations(&scene);
    }
}

#[test]
fn a_claim_without_a_password_gets_nobodys_calls() {
    for transport in TRANSPORTS {
        for challenged in [false, true] {
            let mut scene = Scene::new(Setup { qualify: Duration::ZERO, ..Setup::default() });
            let phone = scene.add_phone("6001", transport);
            assert!(scene.register(phone));
            // From here on the token alone knows the way.
            scene.world.set_cut(phone, transport != Transport::Udp);
            scene.restart_edge();
            let stranger = scene.add_stranger();
            if challenged {
                scene.knock(stranger, "REGISTER", "6001");
                scene.world.run_for(secs(1));
            }
            scene.claim(stranger, phone);
            scene.world.run_for(secs(1));
            let before = scene.received(stranger).len();
            scene.with_pbx(|pbx, now, out| pbx.originate(now, "6001", out));
            scene.world.run_for(secs(5));
            assert_eq!(scene.received(stranger).len(), before, "{:?}", scene.received(stranger));
            let calls = scene.phone(phone).incoming_calls().len();
            assert_eq!(calls, usize::from(transport == Transport::Udp), "{transport:?}");
            no_violations(&scene);
        }
    }
}

#[test]
fn calls_and_registrations_outlive_a_restart_of_the_edge() {
    for registration in [Registration::ContactToken, Registration::Path] {
        for shards in [1, 4] {
            let rewrite_contact = false;
            let setup = Setup { shards, registration, rewrite_contact, ..Setup::default() };
            let mut scene = Scene::new(setup);
            let caller = scene.add_phone("6001", Transport::Udp);
            let callee = scene.add_phone("6002", Transport::Udp);
            assert!(scene.register(caller) && scene.register(callee));
            let old = scene.call(caller, "6002");
            scene.world.run_for(secs(1));
            scene.restart_edge();
            let theirs = scene.phone(callee).live_calls()[0];
            scene.with_phone(callee, |phone, now, out| phone.reinvite(now, theirs, out));
            scene.world.run_for(secs(1));
            assert_eq!(scene.phone(callee).reinvites(theirs), 1);
            scene.with_phone(callee, |phone, now, out| phone.hang_up(now, theirs, out));
            scene.world.run_for(secs(1));
            let hung_up = Some(CallState::Over(Ending::HungUp));
            assert_eq!(scene.phone(caller).call_state(old), hung_up);
            let new = scene.call(caller, "6002");
            assert_eq!(scene.phone(caller).call_state(new), Some(CallState::Up));
            no_violations(&scene);
        }
    }
}

#[test]
fn made_up_credentials_are_answered_once() {
    for authorization in ["Basic Zm9vOmJhcg==", "Digest username=\"6001\",nonce=\"1/2\"", "x"] {
        for silent in [false, true] {
            let mut scene = Scene::new(Setup::default());
            let stranger = scene.add_stranger();
            if silent {
                scene.with_pbx(|pbx, now, _| pbx.silence(now + secs(3)));
            }
            scene.knock_with(stranger, "INVITE", "100", &format!("Authorization: {authorization}"));
            scene.world.run_for(secs(60));
            assert!(scene.received(stranger).len() <= 1, "{:?}", scene.received(stranger));
            no_violations(&scene);
        }
    }
}

#[test]
fn two_offices_with_the_same_private_address_both_ring() {
    for (registers, shards) in [(false, 1), (true, 1), (false, 4), (true, 4)] {
        let rewrite_contact = false;
        let setup = Setup { shards, rewrite_contact, max_contacts: 2, ..Setup::default() };
        let mut scene = Scene::new(setup);
        let kind = Dependence::EndpointIndependent;
        let caller = scene.add_phone("6001", Transport::Udp);
        let offices: Vec<_> = (0..2)
            .map(|_| {
                let nat = scene.add_nat(|address| Nat::new(address, kind, kind, secs(60)));
                scene.add_phone_with("6002", Transport::Udp, false, Some(nat), |config| {
                    config.local = SocketAddr::new([192, 168, 1, 5].into(), 5060);
                    config.answer = Answer::Ring;
                })
            })
            .collect();
        assert!(scene.register(caller) && scene.register(offices[0]) && scene.register(offices[1]));
        if registers {
            // And stays so with each refresh.
            scene.world.run_for(secs(400));
        }
        assert_eq!(scene.pbx().contacts("6002").len(), 2);
        scene.with_phone(caller, |phone, now, out| phone.call(now, "6002", out));
        scene.world.run_for(secs(3));
        for office in offices {
            assert_eq!(scene.phone(office).live_calls().len(), 1, "{shards} shards");
        }
        no_violations(&scene);
    }
}

#[test]
fn a_qualify_over_a_connection_that_ends_stays_unanswered() {
    for shards in [1, 4] {
        let mut scene = Scene::new(Setup { shards, ..Setup::default() });
        let phone = scene.add_phone("6001", Transport::Tcp);
        assert!(scene.register(phone));
        scene.world.run_for(secs(30));
        assert!(scene.pbx().is_reachable("6001"));
        let answered = scene.pbx().counts.qualified;
        // The next OPTIONS goes down a connection that leads nowhere, and then ends.
        scene.world.set_cut(phone, true);
        scene.world.run_for(secs(31));
        for conn in scene.world.connections() {
            scene.world.reset(conn);
        }
        scene.world.run_for(secs(100));
        assert_eq!(scene.pbx().counts.qualified, answered, "any answer is a sign of life");
        assert!(!scene.pbx().is_reachable("6001"));
        no_violations(&scene);
    }
}
