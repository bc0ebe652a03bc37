//! SUBSCRIBE, NOTIFY, PUBLISH, OPTIONS (RFC 6665, RFC 3903).

use integration_tests::*;

everywhere!(watches_a_phone);

/// A busy lamp: the subscription, its NOTIFYs, its refresh and its end.
fn watches_a_phone(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone_over("6001", way), stage.phone("6002"));
    bob.register();
    let subscribe = (alice.request("SUBSCRIBE", &alice.uri("6002")))
        .with("Event", "dialog")
        .with("Accept", "application/dialog-info+xml")
        .with("Expires", "600");
    let accepted = alice.authenticated(&subscribe).expect_code(200);
    let dialog = Dialog::of_response(&subscribe, &accepted);
    let leg = Leg::new(&alice, dialog, alice.rtp(), &accepted, "");
    notified(&leg, "terminated");

    stage.pbx().call("6002");
    let incoming = bob.incoming();
    incoming.ring();
    notified(&leg, "early");
    incoming.refuse(486, "Busy Here");
    notified(&leg, "terminated");

    let with_event = |expires: &str| {
        leg.request("SUBSCRIBE")
            .with("Event", "dialog")
            .with("Accept", "application/dialog-info+xml")
            .with("Expires", expires)
    };
    leg.transact(&with_event("600")).expect_code(200);
    notified(&leg, "terminated");
    leg.transact(&with_event("0")).expect_code(200);
    while !notified(&leg, "").value("Subscription-State").starts_with("terminated") {}
}

/// Answers NOTIFYs until one says that bob's phone is in this state; there may be more of them
/// than states.
fn notified(leg: &Leg<'_>, state: &str) -> Message {
    loop {
        let notify = leg.wait_request("NOTIFY");
        leg.ua.answer(&notify, 200, "OK");
        if notify.text().contains(state) {
            return notify;
        }
    }
}

edge!(subscription_follows_the_phone);

/// The NAT's port changes; the NOTIFY goes where the registration is now.
fn subscription_follows_the_phone(mode: Mode) {
    let stage = Stage::new(mode);
    let (mut alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    alice.register();
    bob.register();
    let subscribe = (alice.request("SUBSCRIBE", &alice.uri("6002")))
        .with("Event", "dialog")
        .with("Accept", "application/dialog-info+xml")
        .with("Expires", "600");
    let accepted = alice.authenticated(&subscribe).expect_code(200);
    let dialog = Dialog::of_response(&subscribe, &accepted);
    let Leg { dialog, rtp, .. } = {
        let leg = Leg::new(&alice, dialog, alice.rtp(), &accepted, "");
        notified(&leg, "terminated");
        leg
    };
    alice.move_to_new_port();
    alice.register();
    stage.pbx().call("6002");
    let incoming = bob.incoming();
    incoming.ring();
    notified(&Leg::new(&alice, dialog, rtp, &accepted, ""), "early");
    incoming.refuse(486, "Busy Here");
}

both!(unsolicited_notify, publish, options_is_answered_by_the_pbx, unknown_method);

/// `check-sync` and its kin: a NOTIFY outside any dialog.
fn unsolicited_notify(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TLS] {
        let alice = stage.phone_over("6001", way);
        alice.register();
        let _ = stage.pbx().cli("pjsip send notify check-sync endpoint 6001");
        let notify = alice.wait_request("NOTIFY");
        assert_eq!(notify.value("Event"), "check-sync");
        alice.answer(&notify, 200, "OK");
        alice.deregister();
    }
}

/// Asterisk knows no event package to publish for.
fn publish(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let publish =
        (alice.request("PUBLISH", &alice.aor())).with("Event", "presence").with("Expires", "600");
    alice.authenticated(&publish.with_body("application/pidf+xml", "<presence/>")).expect_code(489);
}

fn options_is_answered_by_the_pbx(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.authenticated(&alice.request("OPTIONS", &alice.uri("100"))).expect_code(200);
    alice.authenticated(&alice.request("OPTIONS", &alice.uri("999"))).expect_code(404);
}

fn unknown_method(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register(); // the edge takes it from those it knows only
    alice.authenticated(&alice.request("DANCE", &alice.uri("100"))).expect_code(501);
}
