//! What phones do: register, call, are called, move and vanish.

use super::*;

#[test]
fn a_phone_registers_refreshes_and_leaves() {
    everywhere(|setup| {
        for transport in TRANSPORTS {
            for v6 in [false, true] {
                let mut scene = Scene::new(setup);
                let phone = scene.add_phone_with("6001", transport, v6, None, |_| {});
                assert!(scene.register(phone), "{transport:?} {:?}", scene.phone(phone).counts);
                scene.world.run_for(secs(600));
                let counts = scene.phone(phone).counts.clone();
                assert!(counts.registered >= 5, "{counts:?}");
                assert!(counts.options >= 5, "qualify reaches the phone: {counts:?}");
                assert!(scene.pbx().is_reachable("6001"));
                assert!(scene.pbx().counts.stale == 0);
                scene.with_phone(phone, |phone, now, out| phone.unregister(now, out));
                scene.world.run_for(secs(5));
                assert!(scene.pbx().contacts("6001").is_empty());
                let bound = scene.edge().map(|edge| {
                    edge.snapshots().iter().map(|shard| shard.bindings.entries).sum::<usize>()
                });
                assert_eq!(bound.unwrap_or(0), 0, "all shards forget");
                assert!(!scene.phone(phone).is_registered(scene.world.now()));
                no_violations(&scene);
            }
        }
    });
}

#[test]
fn the_first_options_is_answered_though_it_leaves_before_the_200() {
    everywhere(|setup| {
        for transport in TRANSPORTS {
            let mut scene = Scene::new(setup);
            let phone = scene.add_phone("6001", transport);
            assert!(scene.register(phone));
            // Before the PBX repeats it.
            scene.world.run_for(Duration::from_millis(200));
            assert_eq!(scene.phone(phone).counts.options, 1);
            assert_eq!(scene.pbx().counts.qualified, 1);
            no_violations(&scene);
        }
    });
}

#[test]
fn a_stale_nonce_is_answered_without_asking_the_user() {
    everywhere(|setup| {
        let mut scene = Scene::new(setup);
        let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
            config.quirks.reuses_nonce = true;
        });
        assert!(scene.register(phone));
        scene.world.run_for(secs(600));
        assert!(scene.phone(phone).counts.registered >= 5);
        assert_eq!(scene.phone(phone).counts.refused, 0);
        assert!(scene.pbx().counts.stale >= 4);
        no_violations(&scene);
    });
}

#[test]
fn a_wrong_password_is_refused_by_the_pbx() {
    everywhere(|setup| {
        let mut scene = Scene::new(setup);
        let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
            config.password = "wrong".into();
        });
        assert!(!scene.register(phone));
        assert!(scene.phone(phone).counts.refused >= 1);
        assert!(scene.pbx().counts.refused >= 1);
        assert_eq!(scene.phone(phone).counts.register_failures.keys().next(), Some(&401));
        no_violations(&scene);
    });
}

#[test]
fn echo_is_called_held_and_hung_up() {
    everywhere(|setup| {
        for transport in TRANSPORTS {
            let mut scene = Scene::new(setup);
            let phone = scene.add_phone("6001", transport);
            assert!(scene.register(phone));
            for extension in ["100", "103"] {
                let call = scene.call(phone, extension);
                assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
                scene.with_phone(phone, |phone, now, out| phone.reinvite(now, call, out));
                scene.world.run_for(secs(40));
                assert_eq!(scene.phone(phone).reinvites(call), 1);
                scene.with_phone(phone, |phone, now, out| phone.hang_up(now, call, out));
                scene.world.run_for(secs(2));
                assert_eq!(scene.pbx().legs(), 0);
            }
            assert_eq!(scene.pbx().counts.unacknowledged, 0, "{transport:?}");
            assert_eq!(scene.pbx().counts.strays, 0);
            no_violations(&scene);
        }
    });
}

#[test]
fn refusals_reach_the_caller() {
    everywhere(|setup| {
        for transport in TRANSPORTS {
            let mut scene = Scene::new(setup);
            let phone = scene.add_phone("6001", transport);
            for (extension, status) in [("101", 486), ("999", 404), ("6050", 480)] {
                let call = scene.call(phone, extension);
                assert_eq!(
                    scene.phone(phone).call_state(call),
                    Some(CallState::Over(Ending::Refused(status))),
                    "{extension} over {transport:?}"
                );
            }
            scene.world.run_for(secs(60));
            assert_eq!(scene.phone(phone).transactions(), 0);
            no_violations(&scene);
        }
    });
}

#[test]
fn cancel_at_every_moment() {
    everywhere(|setup| {
        for transport in [Transport::Udp, Transport::Tcp] {
            for millis in (0..=120).step_by(4) {
                let mut scene = Scene::new(setup);
                let phone = scene.add_phone("6001", transport);
                let call = scene.with_phone(phone, |phone, now, out| phone.call(now, "102", out));
                scene.world.run_for(Duration::from_millis(millis));
                scene.with_phone(phone, |phone, now, out| phone.cancel(now, call, out));
                scene.world.run_for(secs(3));
                assert_eq!(
                    scene.phone(phone).call_state(call),
                    Some(CallState::Over(Ending::Refused(487))),
                    "after {millis} ms over {transport:?}"
                );
                assert_eq!(scene.pbx().legs(), 0);
                no_violations(&scene);
            }
        }
    });
}

#[test]
fn phones_call_each_other_by_the_pbx() {
    everywhere(|setup| {
        for (from, to) in [
            (Transport::Udp, Transport::Udp),
            (Transport::Tcp, Transport::Udp),
            (Transport::Udp, Transport::Tls),
            (Transport::Tls, Transport::Tcp),
        ] {
            for v6 in [false, true] {
                let mut scene = Scene::new(setup);
                let caller = scene.add_phone("6001", from);
                let callee = scene.add_phone_with("6002", to, v6, None, |_| {});
                assert!(scene.register(caller) && scene.register(callee));
                let call = scene.call(caller, "6002");
                assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
                scene.world.run_for(secs(1));
                let theirs = scene.phone(callee).incoming_calls()[0];
                assert_eq!(scene.phone(callee).call_state(theirs), Some(CallState::Up));
                scene.with_phone(callee, |phone, now, out| phone.reinvite(now, theirs, out));
                scene.world.run_for(secs(40));
                assert_eq!(scene.phone(callee).reinvites(theirs), 1);
                scene.with_phone(callee, |phone, now, out| phone.hang_up(now, theirs, out));
                scene.world.run_for(secs(2));
                assert_eq!(
                    scene.phone(caller).call_state(call),
                    Some(CallState::Over(Ending::HungUp))
                );
                assert_eq!(scene.pbx().legs(), 0);
                assert_eq!(scene.pbx().counts.unacknowledged, 0);
                no_violations(&scene);
            }
        }
    });
}

#[test]
fn a_called_phone_is_busy_declines_or_never_answers() {
    everywhere(|setup| {
        for (answer, expected) in [(Answer::Busy, 486), (Answer::Decline, 603), (Answer::Ring, 480)]
        {
            let mut scene = Scene::new(setup);
            let caller = scene.add_phone("6001", Transport::Udp);
            let callee = scene.add_phone_with("6002", Transport::Udp, false, None, |config| {
                config.answer = answer;
            });
            assert!(scene.register(caller) && scene.register(callee));
            let call = scene.call(caller, "6002");
            assert_eq!(
                scene.phone(caller).call_state(call),
                Some(CallState::Over(Ending::Refused(expected)))
            );
            scene.world.run_for(secs(2));
            assert!(scene.phone(callee).live_calls().is_empty(), "CANCEL reaches the callee");
            assert_eq!(scene.pbx().legs(), 0);
            no_violations(&scene);
        }
    });
}

#[test]
fn the_caller_gives_up_while_the_callee_rings() {
    everywhere(|setup| {
        let mut scene = Scene::new(setup);
        let caller = scene.add_phone("6001", Transport::Udp);
        let callee = scene.add_phone_with("6002", Transport::Tcp, false, None, |config| {
            config.answer = Answer::Ring;
        });
        assert!(scene.register(caller) && scene.register(callee));
        let call = scene.with_phone(caller, |phone, now, out| phone.call(now, "6002", out));
        scene.world.run_for(secs(3));
        assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Ringing));
        scene.with_phone(caller, |phone, now, out| phone.cancel(now, call, out));
        scene.world.run_for(secs(1));
        let refused = Some(CallState::Over(Ending::Refused(487)));
        assert_eq!(scene.phone(caller).call_state(call), refused);
        let theirs = scene.phone(callee).incoming_calls()[0];
        assert_eq!(scene.phone(callee).call_state(theirs), refused);
        no_violations(&scene);
    });
}

#[test]
fn the_pbx_calls_a_phone_and_hangs_up() {
    everywhere(|setup| {
        for transport in TRANSPORTS {
            let mut scene = Scene::new(setup);
            let phone = scene.add_phone("6001", transport);
            assert!(scene.register(phone));
            let rung = scene.with_pbx(|pbx, now, out| pbx.originate(now, "6001", out));
            assert_eq!(rung, 1);
            scene.world.run_for(secs(5));
            let call = scene.phone(phone).incoming_calls()[0];
            assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
            scene.world.run_for(secs(30));
            let hung_up = Some(CallState::Over(Ending::HungUp));
            assert_eq!(scene.phone(phone).call_state(call), hung_up);
            let call = scene.call(phone, "104");
            scene.world.run_for(secs(10));
            assert_eq!(scene.phone(phone).call_state(call), hung_up);
            no_violations(&scene);
        }
    });
}

#[test]
fn phones_behind_nats_are_reached() {
    everywhere(|setup| {
        for mapping in
            [Dependence::EndpointIndependent, Dependence::Address, Dependence::AddressAndPort]
        {
            let mut scene = Scene::new(setup);
            let nat = scene.add_nat(|address| {
                Nat::new(address, mapping, Dependence::AddressAndPort, secs(30))
            });
            let caller = scene.add_phone_with("6001", Transport::Udp, false, Some(nat), |_| {});
            let callee = scene.add_phone_with("6002", Transport::Udp, false, Some(nat), |_| {});
            assert!(scene.register(caller) && scene.register(callee));
            // Longer than the binding lives without keep-alives.
            scene.world.run_for(secs(100));
            let call = scene.call(caller, "6002");
            assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up), "{mapping:?}");
            scene.world.run_for(secs(60));
            scene.with_phone(caller, |phone, now, out| phone.hang_up(now, call, out));
            scene.world.run_for(secs(2));
            assert!(scene.phone(callee).live_calls().is_empty());
            no_violations(&scene);
        }
    });
}

#[test]
fn a_nat_that_forgets_is_healed_by_the_next_register() {
    everywhere(|setup| {
        let mut scene = Scene::new(setup);
        let kind = Dependence::AddressAndPort;
        let nat = scene.add_nat(|address| Nat::new(address, kind, kind, secs(60)));
        let caller = scene.add_phone("6001", Transport::Udp);
        let callee = scene.add_phone_with("6002", Transport::Udp, false, Some(nat), |_| {});
        assert!(scene.register(caller) && scene.register(callee));
        let before = scene.pbx().contacts("6002");
        scene.world.nat_mut(nat).reboot();
        assert!(scene.register(callee));
        if setup.shards > 0 {
            assert_eq!(scene.pbx().contacts("6002"), before, "the token is the binding's");
        }
        let call = scene.call(caller, "6002");
        assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
        assert_eq!(scene.pbx().contacts("6002").len(), 1);
        no_violations(&scene);
    });
}

#[test]
fn a_phone_whose_connection_was_reset_registers_again_and_is_called() {
    everywhere(|setup| {
        let mut scene = Scene::new(setup);
        let caller = scene.add_phone("6001", Transport::Udp);
        let callee = scene.add_phone("6002", Transport::Tls);
        assert!(scene.register(caller) && scene.register(callee));
        for conn in scene.world.connections() {
            scene.world.reset(conn);
        }
        scene.world.run_for(secs(10));
        assert!(scene.phone(callee).counts.registered >= 2);
        let call = scene.call(caller, "6002");
        assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
        no_violations(&scene);
    });
}

#[test]
fn honest_phones_with_quirks_register_and_call() {
    let ack = |ack| Quirks { ack, ..Quirks::default() };
    let quirks = [
        ack(AckQuirks { other_branch: true, ..AckQuirks::default() }),
        ack(AckQuirks { wrong_cseq: true, ..AckQuirks::default() }),
        ack(AckQuirks { other_from_host: true, ..AckQuirks::default() }),
        ack(AckQuirks { never: true, ..AckQuirks::default() }),
        Quirks { retry_reuses_branch: true, ..Quirks::default() },
        Quirks { stops_after_provisional: true, ..Quirks::default() },
        Quirks { forgets_opaque: true, ..Quirks::default() },
        Quirks { reuses_nonce: true, ..Quirks::default() },
        Quirks { no_rport: true, ..Quirks::default() },
    ];
    everywhere(|setup| {
        for quirks in quirks {
            for transport in [Transport::Udp, Transport::Tcp] {
                let mut scene = Scene::new(setup);
                let phone =
                    scene.add_phone_with("6001", transport, false, None, |c| c.quirks = quirks);
                assert!(scene.register(phone), "{quirks:?}");
                for (extension, expected) in [
                    ("100", CallState::Up),
                    ("101", CallState::Over(Ending::Refused(486))),
                    ("100", CallState::Up),
                ] {
                    let call = scene.call(phone, extension);
                    let state = scene.phone(phone).call_state(call);
                    assert_eq!(state, Some(expected), "{quirks:?}");
                    scene.world.run_for(secs(7));
                    scene.with_phone(phone, |phone, now, out| phone.hang_up(now, call, out));
                    scene.world.run_for(secs(1));
                }
                scene.world.run_for(secs(70));
                assert_eq!(scene.phone(phone).counts.refused, 0, "{quirks:?}");
                no_violations(&scene);
            }
        }
    });
}

#[test]
fn loss_duplication_and_reordering_break_nothing() {
    everywhere(|setup| {
        for seed in 0..20 {
            let quality = Quality {
                jitter: Duration::from_millis(30),
                loss: 100,
                duplicate: 50,
                reorder: 20,
                ..Quality::PERFECT
            };
            let mut scene = Scene::new(Setup { seed, quality, ..setup });
            let caller = scene.add_phone("6001", Transport::Udp);
            let callee = scene.add_phone("6002", Transport::Udp);
            assert!(scene.register(caller) && scene.register(callee), "seed {seed}");
            let call = scene.call(caller, "6002");
            assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up), "seed {seed}");
            scene.world.run_for(secs(40));
            assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up), "seed {seed}");
            scene.with_phone(caller, |phone, now, out| phone.hang_up(now, call, out));
            scene.world.run_for(secs(40));
            assert!(scene.phone(callee).live_calls().is_empty(), "seed {seed}");
            no_violations(&scene);
        }
    });
}

#[test]
fn path_mode_and_plain_contacts_work_too() {
    for (registration, rewrite_contact) in [
        (Registration::Path, false),
        (Registration::ContactToken, false),
        (Registration::ContactToken, true),
    ] {
        for shards in [1, 4] {
            let setup = Setup { registration, rewrite_contact, shards, ..Setup::default() };
            for transport in TRANSPORTS {
                let mut scene = Scene::new(setup);
                let caller = scene.add_phone("6001", transport);
                let callee = scene.add_phone_with("6002", transport, true, None, |_| {});
                assert!(scene.register(caller) && scene.register(callee));
                let call = scene.call(caller, "6002");
                assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
                scene.world.run_for(secs(40));
                let theirs = scene.phone(callee).incoming_calls()[0];
                scene.with_phone(callee, |phone, now, out| phone.hang_up(now, theirs, out));
                scene.world.run_for(secs(2));
                let hung_up = Some(CallState::Over(Ending::HungUp));
                assert_eq!(scene.phone(caller).call_state(call), hung_up);
                assert_eq!(scene.pbx().counts.unacknowledged, 0);
                no_violations(&scene);
            }
        }
    }
}

#[test]
fn two_devices_ring_and_one_answers() {
    everywhere(|setup| {
        let mut scene = Scene::new(Setup { max_contacts: 2, ..setup });
        let caller = scene.add_phone("6001", Transport::Udp);
        let slow = scene.add_phone_with("6002", Transport::Tcp, false, None, |config| {
            config.answer = Answer::After(secs(8));
        });
        let fast = scene.add_phone("6002", Transport::Udp);
        assert!(scene.register(caller) && scene.register(slow) && scene.register(fast));
        assert_eq!(scene.pbx().contacts("6002").len(), 2);
        let call = scene.call(caller, "6002");
        assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
        scene.world.run_for(secs(20));
        let state = |phone: NodeId| {
            let phone = scene.phone(phone);
            phone.call_state(phone.incoming_calls()[0])
        };
        assert_eq!(state(fast), Some(CallState::Up));
        assert_eq!(state(slow), Some(CallState::Over(Ending::Refused(487))));
        no_violations(&scene);
    });
}

#[test]
fn a_200_that_is_never_acknowledged_is_repeated_for_64_t1_then_hung_up() {
    everywhere(|setup| {
        let mut scene = Scene::new(Setup { record: true, ..setup });
        let phone = scene.add_phone("6001", Transport::Udp);
        assert!(scene.register(phone));
        let start = scene.world.now();
        let call = scene.with_phone(phone, |phone, now, out| phone.call(now, "103", out));
        scene.world.run_while(secs(5), |world| match world.actor(phone) {
            Actor::Phone(phone) => phone.call_state(call) != Some(CallState::Ringing),
            _ => false,
        });
        // It hears no more of this call, and says nothing: its power is gone.
        scene.with_phone(phone, |phone, _, _| phone.reboot());
        scene.world.run_for(secs(60));
        let sent = |start_line: &str, to: &str| {
            let tape = scene.world.tape.iter().flatten();
            let wanted = |p: &&Passage| p.at >= start && p.to == to;
            let text = |p: &Passage| String::from_utf8_lossy(&p.bytes).into_owned();
            tape.filter(wanted)
                .filter(|p| text(p).starts_with(start_line) && !text(p).contains("REGISTER\r\n"))
                .count()
        };
        // At 0, 0.5, 1.5, 3.5 … 31.5 s, as the PBX repeats it.
        assert_eq!(sent("SIP/2.0 200", "phone1"), 11);
        assert_eq!(sent("BYE ", "phone1"), 1, "the phone answers 481, once is enough");
        assert_eq!(scene.pbx().counts.unacknowledged, 1);
        assert_eq!(scene.pbx().legs(), 0);
        no_violations(&scene);
    });
}

#[test]
fn a_phone_that_vanishes_makes_its_caller_wait_no_longer_than_timer_b() {
    everywhere(|setup| {
        let mut scene = Scene::new(setup);
        let caller = scene.add_phone("6001", Transport::Udp);
        let callee = scene.add_phone("6002", Transport::Udp);
        assert!(scene.register(caller) && scene.register(callee));
        scene.world.set_cut(callee, true);
        let before = scene.world.now();
        let call = scene.call(caller, "6002");
        let state = scene.phone(caller).call_state(call);
        // The PBX gives up after 30 s, the edge after 32 s.
        assert!(matches!(state, Some(CallState::Over(Ending::Refused(408 | 480)))), "{state:?}");
        assert!(scene.world.now().since(before) < secs(34));
        no_violations(&scene);
    });
}

#[test]
fn a_call_over_a_connection_that_is_gone_fails_fast() {
    for shards in [1, 4] {
        let mut scene = Scene::new(Setup { shards, qualify: Duration::ZERO, ..Setup::default() });
        let caller = scene.add_phone("6001", Transport::Udp);
        let callee = scene.add_phone("6002", Transport::Tls);
        assert!(scene.register(caller) && scene.register(callee));
        scene.world.set_cut(callee, true);
        for conn in scene.world.connections() {
            scene.world.reset(conn);
        }
        scene.world.run_for(secs(1));
        let before = scene.world.now();
        let call = scene.call(caller, "6002");
        let refused = Some(CallState::Over(Ending::Refused(480)));
        assert_eq!(scene.phone(caller).call_state(call), refused);
        assert!(scene.world.now().since(before) < secs(1));
        no_violations(&scene);
    }
}

#[test]
fn a_connection_that_ends_while_it_rings_ends_the_call() {
    for shards in [1, 4] {
        let mut scene = Scene::new(Setup { shards, qualify: Duration::ZERO, ..Setup::default() });
        let caller = scene.add_phone("6001", Transport::Udp);
        let callee = scene.add_phone_with("6002", Transport::Tcp, false, None, |config| {
            config.answer = Answer::Ring;
        });
        assert!(scene.register(caller) && scene.register(callee));
        let call = scene.with_phone(caller, |phone, now, out| phone.call(now, "6002", out));
        scene.world.run_for(secs(3));
        assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Ringing));
        for conn in scene.world.connections() {
            scene.world.reset(conn);
        }
        scene.world.run_for(secs(1));
        let refused = Some(CallState::Over(Ending::Refused(480)));
        assert_eq!(scene.phone(caller).call_state(call), refused);
        no_violations(&scene);
    }
}
