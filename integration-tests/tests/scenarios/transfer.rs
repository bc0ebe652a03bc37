//! REFER (RFC 3515, RFC 3891).

use integration_tests::*;

both!(blind, attended, by_the_pbx_to_a_phone);

/// Bob sends Alice on to the echo.
fn blind(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TCP));
    bob.register();
    let call = alice.call("6002");
    let bobs = bob.incoming().accept();
    let alices = call.answered();
    alices.is_heard_by(&bobs); // so Asterisk has joined them
    let refer = bobs.request("REFER").with("Refer-To", format!("<{}>", bob.uri("100")));
    bobs.transact(&refer).expect_code(202);
    alices.hears_echo(); // sound is what tells Asterisk that the transfer went well
    until_notified(&bobs);
    leave(bobs);
    alices.hang_up();
    stage.pbx().wait_idle();
}

/// Bob talks to both, then joins them.
fn attended(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TLS));
    let carol = stage.phone("6003");
    bob.register();
    carol.register();
    let call = alice.call("6002");
    let first = bob.incoming().accept();
    let alices = call.answered();
    let call = bob.call("6003");
    let carols = carol.incoming().accept();
    let second = call.answered();
    alices.is_heard_by(&first);
    carols.is_heard_by(&second);
    let replaced = format!(
        "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
        second.dialog.call_id,
        tag_of(&second.dialog.remote).unwrap(),
        tag_of(&second.dialog.local).unwrap()
    );
    let target = format!("<{}?Replaces={replaced}>", bob.uri("6003"));
    first.transact(&first.request("REFER").with("Refer-To", target)).expect_code(202);
    until_notified(&first);
    alices.is_heard_by(&carols);
    second.wait_hang_up();
    leave(first);
    alices.hang_up();
    carols.wait_hang_up();
    stage.pbx().wait_idle();
}

/// Asterisk sends Alice on to Bob: by a 302, and by a REFER in the call. She hears what Bob's phone calls
/// itself.
fn by_the_pbx_to_a_phone(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TCP));
    bob.register();
    let moved = alice.call("110").refused(302);
    // Asterisk writes TCP for tcp
    assert_eq!(moved.value("Contact").to_lowercase(), format!("<{}>", bob.contact));
    let alices = alice.call("111").answered();
    let refer = alices.wait_request("REFER");
    assert_eq!(refer.value("Refer-To").to_lowercase().trim_matches(['<', '>']), bob.contact);
    alice.answer(&refer, 603, "Decline");
    leave(alices);
    stage.pbx().wait_idle();
}

/// Takes NOTIFYs of the REFER's subscription until one says that it succeeded.
fn until_notified(leg: &Leg<'_>) {
    loop {
        let notify = leg.wait_request("NOTIFY");
        leg.ua.answer(&notify, 200, "OK");
        assert!(notify.value("Event").starts_with("refer"), "{notify}");
        assert!(notify.text().as_str() < "SIP/2.0 3", "{notify}");
        if notify.text().starts_with("SIP/2.0 200") {
            return;
        }
    }
}

/// Ends a call whose other side may be ending it, too.
fn leave(leg: Leg<'_>) {
    let answer = leg.transact(&leg.request("BYE"));
    assert!(matches!(answer.code(), Some(200 | 481)), "{answer}");
}
