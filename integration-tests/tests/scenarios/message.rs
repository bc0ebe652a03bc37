//! MESSAGE (RFC 3428).

use integration_tests::*;

both!(to_the_pbx, to_a_phone);

fn to_the_pbx(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let message =
        alice.request("MESSAGE", &alice.uri("100")).with_body("text/plain", "good morning");
    alice.authenticated(&message).expect_code(202);
    stage.pbx().wait_logged("GOT=<good morning>");
}

fn to_a_phone(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TLS6] {
        let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", way));
        bob.register();
        let text = "gr\u{fc}\u{df}e \u{1f514}";
        let message = alice.request("MESSAGE", &alice.uri("6002")).with_body("text/plain", text);
        alice.authenticated(&message).expect_code(202);
        let received = bob.wait_request("MESSAGE");
        assert_eq!(received.text(), text);
        bob.answer(&received, 200, "OK");
    }
}
