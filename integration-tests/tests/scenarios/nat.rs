//! Phones behind NAT: what they say about themselves is wrong (RFC 3581, RFC 5626).

use integration_tests::*;

both!(private_address, private_address_on_tcp, received_and_rport, no_rport, lying_via);

fn private_address(mode: Mode) {
    behind_nat(mode, Way::UDP);
}

fn private_address_on_tcp(mode: Mode) {
    behind_nat(mode, Way::TCP);
}

fn behind_nat(mode: Mode, way: Way) {
    let stage = Plan::new(mode).qualify(60).start();
    let mut alice = stage.phone_over("6001", way);
    alice.contact = alice.contact.replace(&alice.local().to_string(), "10.9.9.9:5062");
    alice.sent_by = "10.9.9.9:5062".into();
    alice.register();
    alice.wait_request("OPTIONS");
    wait_until("it is reachable", PATIENCE, || stage.pbx().is_reachable("6001") == Some(true));

    let leg = alice.call("100").answered();
    leg.hears_echo();
    stage.pbx().hang_up_all();
    leg.wait_hang_up();

    stage.pbx().call("6001");
    let leg = alice.incoming().accept();
    leg.hears_echo();
    stage.pbx().hang_up_all();
    leg.wait_hang_up();
    stage.pbx().wait_idle();
}

/// The response's topmost Via says where the request came from.
fn received_and_rport(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6001");
    alice.sent_by = "10.9.9.9:5062".into();
    let answer = alice.transact(&alice.request("OPTIONS", &alice.uri("100")));
    let via = answer.value("Via");
    assert_eq!(param(via, "received"), Some(alice.local().ip().to_string()), "{via}");
    assert_eq!(param(via, "rport"), Some(alice.local().port().to_string()), "{via}");
    assert_eq!(answer.all("Via").len(), 1, "{answer}");
}

/// Old phones ask for no rport, and answer from where they said: both ends must still meet.
fn no_rport(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let mut request = alice.request("OPTIONS", &alice.uri("100"));
    request.set("Via", request.value("Via").replace(";rport", ""));
    alice.transact(&request).expect_code(401);
}

/// What a client writes into `received` and `rport` is not believed.
fn lying_via(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let mut request = alice.request("OPTIONS", &alice.uri("100"));
    request.set("Via", request.value("Via").replace(";rport", ";received=192.0.2.77;rport=9"));
    let answer = alice.transact(&request);
    assert!(!answer.value("Via").contains("192.0.2.77"), "{answer}");
}
