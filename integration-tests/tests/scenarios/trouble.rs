//! A PBX that is silent, gone or unwell. The test plays it.

use integration_tests::*;

/// RFC 3261's half minutes, in seconds.
const HASTE: &str = "policy: { timers: { t1: 50ms, t2: 400ms, t4: 500ms } }";

edge!(silent_pbx, stopped_pbx, pbx_comes_back, overloaded_pbx, non_sip_from_the_pbx);

/// 64*T1 without an answer: 408 to the phone.
fn silent_pbx(mode: Mode) {
    let stage = Plan::new(mode).scripted().with(HASTE).start();
    let pbx = stage.scripted_pbx();
    // one that answers when the edge asks for OPTIONS is up
    pbx.set_reflex(Reflex::Dead);
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    pbx.wait_request("INVITE");
    let refusal = alice.final_response(&call.invite);
    assert!(matches!(refusal.code(), Some(408 | 503 | 504)), "{refusal}");
    call.acknowledge_refusal(&refusal);
    let bob = stage.phone_over("6002", Way::TCP);
    let register = bob.registration(300);
    bob.send(&register);
    pbx.wait_request("REGISTER");
    let refusal = bob.final_response(&register);
    assert!(matches!(refusal.code(), Some(408 | 503 | 504)), "{refusal}");
}

/// Nobody listens at the PBX's port, and that is so for longer than a restart takes: 503 with
/// Retry-After.
fn stopped_pbx(mode: Mode) {
    let stage = Plan::new(mode).scripted().with(HASTE).start();
    let alice = stage.phone("6001");
    for request in [alice.registration(300), alice.request("OPTIONS", &alice.uri("100"))] {
        let refusal = alice.transact(&request).expect_code(503);
        assert!(refusal.value("Retry-After").parse::<u32>().is_ok(), "{refusal}");
    }
    let call = alice.invite("100");
    assert!(call.refused(503).header("Retry-After").is_some());
}

fn pbx_comes_back(mode: Mode) {
    let stage = Plan::new(mode).scripted().with(HASTE).start();
    let alice = stage.phone("6001");
    for _ in 0..5 {
        alice.transact(&alice.registration(300)).expect_code(503);
    }
    let pbx = stage.scripted_pbx();
    let passed = (0..50).any(|_| {
        let register = alice.registration(300);
        alice.send(&register);
        let arrived = pbx
            .tape
            .take(PATIENCE / 20, |entry| entry.message.as_ref().is_some_and(|m| m.is("REGISTER")));
        let Some(message) = arrived.and_then(|entry| entry.message) else { return false };
        pbx.answer(&message, 200, "OK");
        true
    });
    assert!(passed, "the edge never tried the PBX again");
    alice.wait_for("the PBX's 200", |m| m.code() == Some(200));
}

/// 503 from the PBX: the phone may try elsewhere only if the edge says so (RFC 3261 §16.7 step 6).
fn overloaded_pbx(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let register = alice.registration(300);
    alice.send(&register);
    pbx.answer(&pbx.wait_request("REGISTER"), 503, "Service Unavailable");
    let refusal = alice.final_response(&register);
    assert!(matches!(refusal.code(), Some(500 | 503)), "{refusal}");
}

fn non_sip_from_the_pbx(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    pbx.send_bytes(b"hello").unwrap();
    pbx.send_bytes(b"SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n").unwrap();
    let options = alice.request("OPTIONS", &alice.uri("100"));
    alice.send(&options);
    pbx.answer(&pbx.wait_request("OPTIONS"), 200, "OK");
    alice.final_response(&options).expect_code(200);
}
