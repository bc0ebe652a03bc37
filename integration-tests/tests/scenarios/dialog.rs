//! Requests within a call.

use integration_tests::*;

everywhere!(hold_and_resume);

fn hold_and_resume(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    let mut leg = alice.call("100").answered();
    let held = leg.reinvite("a=sendrecv", "a=sendonly");
    assert!(held.text().contains("a=recvonly"), "{held}");
    let resumed = leg.reinvite("a=sendonly", "a=sendrecv");
    assert!(!resumed.text().contains("a=recvonly"), "{resumed}");
    leg.hears_echo();
    leg.hang_up();
}

both!(
    callee_holds,
    reinvite_is_refused_and_the_call_lives,
    update,
    info,
    options,
    session_interval_too_small,
    session_timer_of_the_phone,
    slow_session_timer_of_the_pbx,
    unknown_dialog,
    stray_ack,
);

/// The called phone sends the re-INVITE: its route set is the other way round.
fn callee_holds(mode: Mode) {
    let stage = Stage::new(mode);
    let bob = stage.phone_over("6002", Way::TLS6);
    bob.register();
    stage.pbx().call("6002");
    let mut leg = bob.incoming().accept();
    let held = leg.reinvite("a=sendrecv", "a=sendonly");
    assert!(held.text().contains("a=recvonly"), "{held}");
    leg.reinvite("a=sendonly", "a=sendrecv");
    leg.hears_echo();
    leg.hang_up();
}

/// A codec the PBX does not want: 488, and all is as before.
fn reinvite_is_refused_and_the_call_lives(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let leg = alice.call("100").answered();
    let description =
        leg.description.replace("RTP/AVP 0", "RTP/AVP 18").replace("0 PCMU", "18 G729");
    let request = leg.request("INVITE").with_body("application/sdp", description);
    let refused = leg.transact(&request).expect_code(488);
    let mut ack = Message::request("ACK", request.uri());
    for name in ["Via", "Route", "From", "Call-ID"] {
        ack = request.fields(name).into_iter().fold(ack, |ack, value| ack.with(name, value));
    }
    leg.send(
        &ack.with("To", refused.value("To")).with("CSeq", format!("{} ACK", request.cseq().0)),
    );
    leg.hears_echo();
    leg.hang_up();
}

fn update(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let leg = alice.call("100").answered();
    leg.transact(&leg.request("UPDATE")).expect_code(200);
    let changed = leg.description.replace("sendrecv", "sendonly");
    let answer =
        leg.transact(&leg.request("UPDATE").with_body("application/sdp", changed)).expect_code(200);
    assert!(answer.text().contains("a=recvonly"), "{answer}");
    leg.hang_up();
}

fn info(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let leg = alice.call("100").answered();
    let key =
        leg.request("INFO").with_body("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n");
    leg.transact(&key).expect_code(200);
    leg.hang_up();
}

fn options(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let leg = alice.call("100").answered();
    leg.transact(&leg.request("OPTIONS")).expect_code(200);
    leg.hang_up();
}

/// RFC 4028 §5.
fn session_interval_too_small(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let timed = |seconds: &'static str| {
        move |invite: Message| invite.with("Supported", "timer").with("Session-Expires", seconds)
    };
    let refusal = alice.call_with("100", timed("30")).refused(422);
    assert_eq!(refusal.value("Min-SE"), "90");
    alice.call_with("100", timed("90")).answered().hang_up();
}

fn session_timer_of_the_phone(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let timed = |message: Message| {
        message.with("Supported", "timer").with("Session-Expires", "90;refresher=uac")
    };
    let leg = alice.call_with("100", timed).answered();
    let refreshed = leg.transact(&timed(leg.request("UPDATE"))).expect_code(200);
    assert!(refreshed.value("Session-Expires").starts_with("90"), "{refreshed}");
    leg.hang_up();
}

/// Half of 90 seconds later the PBX refreshes.
fn slow_session_timer_of_the_pbx(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let timed = |message: Message| {
        message.with("Supported", "timer").with("Session-Expires", "90;refresher=uas")
    };
    let leg = alice.call_with("100", timed).answered();
    let call_id = leg.dialog.call_id.clone();
    let refresh = alice.wait_for_within(PATIENCE * 6, "a refresh", |m| {
        (m.is("UPDATE") || m.is("INVITE")) && m.call_id() == call_id
    });
    alice.respond(&alice.response(&refresh, 200, "OK").with("Session-Expires", "90;refresher=uac"));
    leg.hang_up();
}

/// Requests with tags nobody knows.
fn unknown_dialog(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let mut bye = alice.request("BYE", &alice.uri("100"));
    bye.set("To", format!("<{}>;tag=nobody", alice.uri("100")));
    alice.transact(&bye).expect_code(481);
}

/// An ACK for nothing is answered by nobody, and harms nothing.
fn stray_ack(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let mut ack = alice.request("ACK", &alice.uri("100"));
    ack.set("To", format!("<{}>;tag=nobody", alice.uri("100")));
    let branch = ack.branch();
    alice.send(&ack);
    alice.settle();
    assert_eq!(alice.received(|m| m.branch() == branch), []);
    alice.register();
}
