//! Registration mode `path` (RFC 3327): the PBX keeps the phone's Contact and our Path beside it.

use integration_tests::*;

edge!(registers_and_is_called, calls_within_a_registration, several_contacts_of_one_source);

fn registers_and_is_called(mode: Mode) {
    let stage = Plan::new(mode).path().qualify(60).start();
    for way in [Way::UDP, Way::TLS6] {
        let alice = stage.phone_over("6001", way);
        let registered = alice.register();
        assert_eq!(registered.header("Path"), None, "the inside shows:\n{registered}");
        let contacts = stage.pbx().contacts("6001");
        assert!(
            contacts.len() == 1 && contacts[0].contains(&alice.local().to_string()),
            "{contacts:?}"
        );
        wait_until("it is reachable", PATIENCE, || stage.pbx().is_reachable("6001") == Some(true));
        stage.pbx().call("6001");
        let leg = alice.incoming().accept();
        leg.hears_echo();
        stage.pbx().hang_up_all();
        leg.wait_hang_up();
        alice.deregister();
    }
}

/// The PBX appends the Path's Route behind the Record-Route set: all of ours must go.
fn calls_within_a_registration(mode: Mode) {
    let stage = Plan::new(mode).path().start();
    let (alice, bob) = (stage.phone_over("6001", Way::TCP), stage.phone("6002"));
    alice.register();
    bob.register();
    let call = alice.call("6002");
    let bobs = bob.incoming().accept();
    let alices = call.answered();
    alices.is_heard_by(&bobs);
    alices.hang_up();
    let bye = bobs.wait_request("BYE");
    assert_eq!(bye.header("Route"), None, "{bye}");
    bob.answer(&bye, 200, "OK");
    stage.pbx().wait_idle();
}

fn several_contacts_of_one_source(mode: Mode) {
    let stage = Plan::new(mode).path().start();
    let mut alice = stage.phone("6101");
    alice.register();
    alice.move_to_new_port();
    alice.register();
    assert_eq!(stage.pbx().contacts("6101").len(), 1, "the Contact stayed what it was");
    stage.pbx().call("6101");
    alice.incoming().accept().hang_up();
}
