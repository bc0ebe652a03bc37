//! What RFC 3261 §16 asks of a proxy, and only the edge is one.

use integration_tests::*;

edge!(
    hops_run_out,
    required_extension_is_unknown,
    scheme_is_unknown,
    moves_to_other_networks,
    moves_to_other_networks_during_a_call,
    one_challenge_one_ack,
    same_invite_by_two_ways,
);

fn hops_run_out(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let mut request = alice.request("OPTIONS", &alice.uri("100"));
    request.set("Max-Forwards", "0");
    alice.transact(&request).expect_code(483);
}

fn required_extension_is_unknown(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let request = alice.request("OPTIONS", &alice.uri("100")).with("Proxy-Require", "teleport");
    let refusal = alice.transact(&request).expect_code(420);
    assert_eq!(refusal.value("Unsupported"), "teleport");
}

fn scheme_is_unknown(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.transact(&alice.request("OPTIONS", "mailto:alice@pbx.test")).expect_code(416);
}

/// A phone that roams, its Contact staying what it was: whichever shard it meets, it is called.
fn moves_to_other_networks(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6101");
    alice.register();
    for _ in 0..5 {
        alice.move_to(stage.network.host(stage.next_host()).into());
        alice.register();
        assert_eq!(stage.pbx().contacts("6101").len(), 1);
        stage.pbx().call("6101");
        let leg = alice.incoming().accept();
        stage.pbx().hang_up_all();
        leg.wait_hang_up();
    }
    alice.deregister();
    assert_eq!(stage.pbx().contacts("6101").len(), 0);
}

fn moves_to_other_networks_during_a_call(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6101");
    alice.register();
    let Leg { mut dialog, mut rtp, mut description, .. } = alice.call("100").answered();
    for _ in 0..3 {
        alice.move_to(stage.network.host(stage.next_host()).into());
        alice.register();
        let nothing = Message::request("NONE", "sip:none");
        let mut leg = Leg::new(&alice, dialog, rtp, &nothing, &description);
        leg.reinvite("t=0 0", "t=0 0");
        leg.transact(&leg.request("OPTIONS")).expect_code(200);
        Leg { dialog, rtp, description, .. } = leg;
    }
    stage.pbx().hang_up_all();
    let nothing = Message::request("NONE", "sip:none");
    Leg::new(&alice, dialog, rtp, &nothing, &description).wait_hang_up();
}

/// The ACK for a challenge is the edge's own towards the PBX: the phone's goes no further.
fn one_challenge_one_ack(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    let invite = pbx.wait_request("INVITE");
    let challenge = pbx
        .response(&invite, 401, "Unauthorized")
        .with("WWW-Authenticate", "Digest realm=\"asterisk\",nonce=\"1\",qop=\"auth\"");
    pbx.respond(&challenge);
    call.refused(401);
    pbx.wait_request("ACK");
    let options = alice.request("OPTIONS", &alice.uri("100"));
    alice.send(&options);
    pbx.answer(&pbx.wait_request("OPTIONS"), 200, "OK");
    alice.final_response(&options);
    // where the PBX was slow, its repeated challenge has the same ACK again
    let others = pbx.received(|m| m.is("ACK") && m.branch() != invite.branch());
    assert_eq!(others, []);
}

/// A fork on the way here sends the same INVITE twice, each with a branch of its own
/// (RFC 3261 8.2.2.2). Asterisk by itself takes the second for another call.
fn same_invite_by_two_ways(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("102");
    call.wait(180);
    let mut twin = call.invite.clone();
    twin.set("Via", alice.via());
    Call::send(&alice, twin, alice.rtp()).refused(482);
    call.cancel();
    call.refused(487);
}
