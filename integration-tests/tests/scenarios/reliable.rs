//! Reliable provisional responses (RFC 3262).

use integration_tests::*;

both!(phone_acknowledges, pbx_acknowledges);

fn phone_acknowledges(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call_with("104", |invite| invite.with("Require", "100rel"));
    let progress = call.wait(183);
    let number = progress.value("RSeq").to_owned();
    let (invite, cancellation) = (call.invite.clone(), call.cancellation());
    let leg = call.leg(&progress);
    let prack = leg.request("PRACK").with("RAck", format!("{number} {} INVITE", invite.cseq().0));
    leg.transact(&prack).expect_code(200);
    leg.hears_echo();
    alice.transact(&cancellation).expect_code(200);
    alice.final_response(&invite).expect_code(487);
    stage.pbx().wait_idle();
}

fn pbx_acknowledges(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", Way::TCP6);
    alice.register();
    stage.pbx().call("6001");
    let incoming = alice.incoming();
    let ringing = alice.response(&incoming.invite, 180, "Ringing");
    alice.respond(&ringing.with("Require", "100rel").with("RSeq", "77"));
    let prack = alice.wait_request("PRACK");
    assert!(prack.value("RAck").starts_with("77 "), "{prack}");
    alice.answer(&prack, 200, "OK");
    let leg = incoming.accept();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().wait_idle();
}
