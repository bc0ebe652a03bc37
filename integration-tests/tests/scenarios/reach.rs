//! Whether a registered phone is still reached: connections, restarts, phones that vanish.

use integration_tests::*;

both!(
    connection_is_gone,
    new_connection_replaces_the_old,
    callee_never_answers,
    pbx_restarts,
    slow_phone_vanishes
);

/// A call to a phone whose connection is closed fails fast.
fn connection_is_gone(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::TCP, Way::TLS6] {
        let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", way));
        bob.register();
        bob.disconnect();
        bob.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
        let call = alice.call("6002");
        let refusal = alice.final_response(&call.invite);
        assert!(refusal.code() >= Some(400), "{refusal}");
        call.acknowledge_refusal(&refusal);
        stage.pbx().wait_idle();
    }
}

fn new_connection_replaces_the_old(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::TLS, Way::TCP6] {
        let mut bob = stage.phone_over("6002", way);
        bob.register();
        bob.move_to_new_port();
        bob.tell_the_truth();
        bob.register();
        stage.pbx().call("6002");
        let leg = bob.incoming().accept();
        leg.hears_echo();
        leg.hang_up();
        bob.deregister();
    }
}

/// The phone rings on and on; the caller gives up.
fn callee_never_answers(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    bob.register();
    bob.set_reflex(Reflex::Dead);
    let call = alice.call("6002");
    bob.wait_request("INVITE");
    bob.wait_request("INVITE"); // repeated over UDP: nothing came back
    call.cancel();
    call.refused(487);
}

/// Registrations outlive a restart of the PBX, and nobody is blamed for what it did not answer.
fn pbx_restarts(mode: Mode) {
    let mut stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    stage.pbx_mut().stop();
    alice.send(&alice.registration(300));
    stage.pbx_mut().resume();
    alice.register();
    stage.pbx().call("6001");
    let leg = alice.incoming().accept();
    leg.hears_echo();
    leg.hang_up();
}

/// It took a call and is never heard of again: the PBX waits for as long as RFC 3261's Timer B.
fn slow_phone_vanishes(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    bob.register();
    bob.set_reflex(Reflex::Dead);
    let call = alice.call("6002");
    let invite = call.invite.clone();
    let refusal = alice.wait_for_within(PATIENCE * 5, "a refusal", |m| {
        m.branch() == invite.branch() && m.code() >= Some(300)
    });
    call.acknowledge_refusal(&refusal);
    stage.pbx().wait_idle();
}

edge!(
    connections_outlive_the_pbx,
    registrations_outlive_the_edge,
    source_is_told,
    gone_phone_is_not_reachable
);

/// The phone's connection is to the edge: the PBX may restart behind it.
fn connections_outlive_the_pbx(mode: Mode) {
    let mut stage = Stage::new(mode);
    let phones = [Way::TCP, Way::TLS, Way::TLS6].map(|way| stage.phone_over("6101", way));
    phones.iter().for_each(|phone| drop(phone.register()));
    stage.pbx_mut().stop();
    stage.pbx_mut().resume();
    assert_eq!(stage.pbx().contacts("6101").len(), 3);
    for phone in phones {
        phone.call("100").answered().hang_up();
        phone.deregister();
    }
}

/// The token in the Contact is all a new process needs to reach a phone over UDP.
fn registrations_outlive_the_edge(mode: Mode) {
    let mut stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    stage.restart_edge();
    stage.pbx().call("6001");
    let leg = alice.incoming().accept();
    leg.hears_echo();
    leg.hang_up();
    alice.register();
    assert_eq!(stage.pbx().contacts("6001").len(), 1);
}

/// The dialplan can read who called, and nobody can lie about it.
fn source_is_told(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let liar = |invite: Message| invite.with("X-Ringfence-Source", "192.0.2.1:5060;transport=udp");
    alice.call_with("100", liar).answered().hang_up();
    stage.pbx().wait_logged(&format!("SOURCE=<{}", alice.local()));
    assert!(!stage.pbx().log().contains("192.0.2.1"), "a forged header came through");
}

/// Its connection is closed: the edge says nothing in its place, or the PBX would take that for a
/// sign of life.
fn gone_phone_is_not_reachable(mode: Mode) {
    let stage = Plan::new(mode).qualify(1).start();
    let alice = stage.phone_over("6001", Way::TLS);
    alice.register();
    wait_until("it is reachable", PATIENCE, || stage.pbx().is_reachable("6001") == Some(true));
    alice.disconnect();
    wait_until("it is not", PATIENCE, || stage.pbx().is_reachable("6001") == Some(false));
}
