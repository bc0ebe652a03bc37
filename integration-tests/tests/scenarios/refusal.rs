//! Calls that come to nothing.

use integration_tests::*;

both!(
    busy,
    forbidden,
    congested,
    no_such_extension,
    not_registered,
    callee_is_busy,
    callee_declines,
    callee_does_not_answer_in_time,
    wrong_password,
);

fn refused(mode: Mode, number: &str, code: u16) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TCP] {
        let alice = stage.phone_over("6001", way);
        alice.call(number).refused(code);
    }
    stage.pbx().wait_idle();
}

fn busy(mode: Mode) {
    refused(mode, "105", 486);
}

fn forbidden(mode: Mode) {
    refused(mode, "103", 403);
}

fn congested(mode: Mode) {
    refused(mode, "106", 503);
}

fn no_such_extension(mode: Mode) {
    refused(mode, "999", 404);
}

fn not_registered(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("6002");
    let refusal = alice.final_response(&call.invite);
    assert!(refusal.code() >= Some(400), "{refusal}");
    call.acknowledge_refusal(&refusal);
}

/// What the phone answered, by way of Asterisk's cause codes.
fn callee_refuses(mode: Mode, code: u16, phrase: &str) -> u16 {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TLS));
    bob.register();
    let call = alice.call("6002");
    let incoming = bob.incoming();
    incoming.ring();
    call.wait(180);
    incoming.refuse(code, phrase);
    let refusal = alice.final_response(&call.invite);
    call.acknowledge_refusal(&refusal);
    stage.pbx().wait_idle();
    refusal.code().unwrap()
}

fn callee_is_busy(mode: Mode) {
    assert_eq!(callee_refuses(mode, 486, "Busy Here"), 486);
}

fn callee_declines(mode: Mode) {
    assert_eq!(callee_refuses(mode, 603, "Decline"), 403);
}

/// Dial gives up after a second: CANCEL to the callee, 480 to the caller.
fn callee_does_not_answer_in_time(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    bob.register();
    let call = alice.call("7002");
    let incoming = bob.incoming();
    incoming.ring();
    incoming.cancelled();
    call.refused(480);
    stage.pbx().wait_idle();
}

fn wrong_password(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6001");
    alice.password = "wrong".into();
    alice.call("100").refused(401);
}
