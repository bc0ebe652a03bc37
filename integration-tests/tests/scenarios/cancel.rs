//! CANCEL at every moment (RFC 3261 §9, §16.10).

use integration_tests::*;

everywhere!(while_it_rings, pbx_cancels_while_phone_rings);

fn while_it_rings(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    let call = alice.call("102");
    call.wait(180);
    call.cancel();
    call.refused(487);
    stage.pbx().wait_idle();
}

fn pbx_cancels_while_phone_rings(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    alice.register();
    stage.pbx().call("6001");
    let incoming = alice.incoming();
    incoming.ring();
    wait_until("Asterisk knows it rings", PATIENCE, || {
        stage.pbx().channels().iter().any(|channel| channel.contains("Ringing"))
    });
    stage.pbx().hang_up_all();
    incoming.cancelled();
    stage.pbx().wait_idle();
}

both!(
    before_anything_rings,
    phone_to_phone,
    crossing_the_200,
    after_the_200,
    pbx_before_any_answer,
    pbx_crossing_the_200,
    of_nothing,
);

/// After the 100, before any 180.
fn before_anything_rings(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("108");
    call.wait(100);
    call.cancel();
    call.refused(487);
    stage.pbx().wait_idle();
}

fn phone_to_phone(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TCP));
    bob.register();
    let call = alice.call("6002");
    let incoming = bob.incoming();
    incoming.ring();
    call.wait(180);
    call.cancel();
    incoming.cancelled();
    call.refused(487);
    stage.pbx().wait_idle();
}

/// The phone answers while the caller's CANCEL is on its way: one of both wins, nobody hangs.
fn crossing_the_200(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    bob.register();
    let call = alice.call("6002");
    let incoming = bob.incoming();
    incoming.ring();
    call.wait(180);
    alice.send(&call.cancellation());
    let acceptance = incoming.acceptance();
    bob.respond(&acceptance);
    let cancelled = alice.wait_for("an answer to its CANCEL", |m| {
        m.method() == "CANCEL" && m.branch() == call.invite.branch() && m.code() >= Some(200)
    });
    assert!(matches!(cancelled.code(), Some(200 | 481)), "{cancelled}");
    let bobs = incoming.acknowledged(&acceptance);
    let outcome = alice.final_response(&call.invite);
    if outcome.code() == Some(200) {
        let cseq = call.invite.cseq().0;
        let leg = call.leg(&outcome);
        leg.acknowledge(cseq);
        leg.hang_up();
    } else {
        assert_eq!(outcome.code(), Some(487), "{outcome}");
        call.acknowledge_refusal(&outcome);
    }
    bobs.wait_hang_up();
    stage.pbx().wait_idle();
}

/// Too late: the CANCEL changes nothing.
fn after_the_200(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("100");
    let cancellation = call.cancellation();
    let leg = call.answered();
    let answer = alice.transact(&cancellation);
    assert!(matches!(answer.code(), Some(200 | 481)), "{answer}");
    leg.hears_echo();
    leg.hang_up();
}

/// The phone has not said a word yet: the CANCEL waits until it does (§9.1).
fn pbx_before_any_answer(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    stage.pbx().call("6001");
    let incoming = alice.incoming();
    stage.pbx().hang_up_all();
    incoming.ring();
    incoming.cancelled();
    stage.pbx().wait_idle();
}

/// The PBX cancels while the phone answers: the phone's call is ended by a BYE.
fn pbx_crossing_the_200(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    stage.pbx().call("6001");
    let incoming = alice.incoming();
    incoming.ring();
    wait_until("Asterisk knows it rings", PATIENCE, || {
        stage.pbx().channels().iter().any(|channel| channel.contains("Ringing"))
    });
    stage.pbx().hang_up_all();
    let cancel = alice.wait_request("CANCEL");
    let acceptance = incoming.acceptance();
    alice.respond(&acceptance);
    alice.answer(&cancel, 200, "OK");
    incoming.acknowledged(&acceptance).wait_hang_up();
    stage.pbx().wait_idle();
}

/// A CANCEL that fits no INVITE.
fn of_nothing(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.transact(&alice.request("CANCEL", &alice.uri("100"))).expect_code(481);
}

edge!(right_after_the_invite);

/// Before any 100 came back. Asterisk by itself loses this race now and then (481).
fn right_after_the_invite(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("102");
    call.cancel();
    call.refused(487);
    stage.pbx().wait_idle();
}
