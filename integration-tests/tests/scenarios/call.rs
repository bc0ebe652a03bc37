//! Calls that are answered.

use integration_tests::*;

everywhere!(phone_calls_pbx, pbx_calls_phone, phone_calls_phone);

fn phone_calls_pbx(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    let leg = alice.call("100").answered();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().wait_idle();
}

fn pbx_calls_phone(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    alice.register();
    stage.pbx().call("6001");
    let incoming = alice.incoming();
    assert_eq!(
        uri_host_port(incoming.invite.uri()),
        uri_host_port(&alice.contact),
        "phones look for their own Contact in the Request-URI"
    );
    incoming.ring();
    let leg = incoming.accept();
    leg.hears_echo();
    stage.pbx().hang_up_all();
    leg.wait_hang_up();
    stage.pbx().wait_idle();
}

/// `way` is the caller's; the phone it calls is on the plainest one.
fn phone_calls_phone(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    let bob = stage.phone("6002");
    bob.register();
    let call = alice.call("6002");
    let incoming = bob.incoming();
    incoming.ring();
    call.wait(180);
    let bobs = incoming.accept();
    let alices = call.answered();
    alices.is_heard_by(&bobs);
    bobs.is_heard_by(&alices);
    bobs.hang_up();
    alices.wait_hang_up();
    stage.pbx().wait_idle();
}

both!(
    early_media,
    rings_then_answers,
    pbx_hangs_up,
    offer_in_the_200,
    one_phone_two_calls,
    retransmitted_invite_is_one_call,
    authenticated_retry_with_the_same_branch,
);

fn early_media(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("104");
    let progress = call.wait(183);
    call.hears_early_echo(&progress);
    call.cancel();
    call.refused(487);
    stage.pbx().wait_idle();
}

fn rings_then_answers(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("109");
    call.wait(180);
    call.answered().hang_up();
}

fn pbx_hangs_up(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TLS6] {
        let alice = stage.phone_over("6001", way);
        alice.call("107").answered().wait_hang_up();
    }
    stage.pbx().wait_idle();
}

/// An INVITE without SDP: the offer is in the 200, the answer in the ACK.
fn offer_in_the_200(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let rtp = alice.rtp();
    let answer = offer(&rtp);
    let request = alice.request("INVITE", &alice.uri("100"));
    let first = alice.transact(&request).expect_code(401);
    let call = Call::send(&alice, request, alice.rtp());
    call.acknowledge_refusal(&first);
    let call = Call::send(&alice, alice.with_credentials(&call.invite, &first), rtp);
    let accepted = alice.final_response(&call.invite).expect_code(200);
    let cseq = call.invite.cseq().0;
    let leg = call.leg(&accepted);
    let ack = leg.dialog.numbered(&alice, "ACK", cseq).with_body("application/sdp", answer);
    leg.send(&ack);
    leg.hears_echo();
    leg.hang_up();
}

fn one_phone_two_calls(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let first = alice.call("100").answered();
    let second = alice.call("100").answered();
    first.hears_echo();
    second.hears_echo();
    first.hang_up();
    second.hears_echo();
    second.hang_up();
}

/// UDP repeats itself; nobody may take that for a second call.
fn retransmitted_invite_is_one_call(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("102");
    alice.send(&call.invite);
    call.wait(180);
    alice.send(&call.invite);
    assert_eq!(stage.pbx().channels().len(), 1);
    call.cancel();
    call.refused(487);
    stage.pbx().wait_idle();
}

/// Some phones send their credentials under the branch of the challenged request. Asterisk has
/// forgotten that transaction; an edge that remembers it must not take the retry for a repetition.
fn authenticated_retry_with_the_same_branch(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let register = alice.registration(300);
    let challenge = alice.transact(&register).expect_code(401);
    let mut again = alice.with_credentials(&register, &challenge);
    again.set("Via", register.value("Via"));
    alice.transact(&again).expect_code(200);
}
