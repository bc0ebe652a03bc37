//! Several 200s for one INVITE, and repeated ones (RFC 3261 §13.2.2.4, RFC 6026).

use integration_tests::*;

both!(two_answers, two_early_dialogs, repeated_200_and_ack, slow_200_is_never_acknowledged);

/// A PBX that forks: each 200 is a dialog with an ACK of its own.
fn two_answers(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    let incoming = pbx.incoming();
    let (first, second) = (incoming.forked_acceptance(), incoming.forked_acceptance());
    for answer in [&first, &second] {
        pbx.respond(answer);
        let received = alice.wait_for("a 200 of its own", |m| {
            m.code() == Some(200)
                && m.value("To") == answer.value("To")
                && m.branch() == call.invite.branch()
        });
        let dialog = Dialog::of_response(&call.invite, &received);
        let leg = Leg::new(&alice, dialog, alice.rtp(), &received, "");
        leg.acknowledge(call.invite.cseq().0);
        pbx.wait_for("the ACK for this 200", |m| {
            m.is("ACK") && m.value("To") == answer.value("To")
        });
    }
}

/// Two early dialogs, of which the second answers. (A caller who may be a forger is not told that
/// it rings.)
fn two_early_dialogs(mode: Mode) {
    let stage = Plan::new(mode).scripted().with("policy: { proof: { amplify: true } }").start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone_over("6001", Way::UDP);
    let call = alice.invite("100");
    let incoming = pbx.incoming();
    for tag in ["one", "two"] {
        let mut ringing = pbx.response(&incoming.invite, 180, "Ringing");
        ringing.set("To", format!("{};tag={tag}", incoming.invite.value("To")));
        pbx.respond(&ringing);
        alice.wait_for("this 180", |m| {
            m.code() == Some(180) && tag_of(m.value("To")).as_deref() == Some(tag)
        });
    }
    let mut acceptance = incoming.acceptance();
    acceptance.set("To", format!("{};tag=two", incoming.invite.value("To")));
    pbx.respond(&acceptance);
    let leg = call.answered();
    let pbxs = incoming.acknowledged(&acceptance);
    let bye = leg.request("BYE");
    leg.send(&bye);
    pbxs.wait_hang_up();
    alice.final_response(&bye).expect_code(200);
}

/// The ACK got lost: the 200 comes again, and so does the ACK, end to end.
fn repeated_200_and_ack(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    let invite = call.invite.clone();
    let incoming = pbx.incoming();
    let acceptance = incoming.acceptance();
    pbx.respond(&acceptance);
    let leg = call.answered();
    for _ in 0..3 {
        pbx.wait_request("ACK");
        pbx.respond(&acceptance);
        alice.response_with(&invite, 200);
        leg.acknowledge(invite.cseq().0);
    }
    pbx.wait_request("ACK");
}

/// The 200 is forwarded for as long as the PBX repeats it: 64*T1, then the PBX gives up.
fn slow_200_is_never_acknowledged(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("100");
    let accepted = alice.final_response(&call.invite).expect_code(200);
    let branch = call.invite.branch();
    let leg = call.leg(&accepted);
    let bye = alice.wait_for_within(PATIENCE * 4, "the PBX's BYE", |m| m.is("BYE"));
    alice.answer(&bye, 200, "OK");
    drop(leg);
    let repeated = alice.received(|m| m.code() == Some(200) && m.branch() == branch).len();
    assert!(repeated >= 10, "the 200 came {repeated} times");
    stage.pbx().wait_idle();
}
