//! Two real PBXs behind the edge: one dies, is drained, has its own domain, speaks over streams.

use integration_tests::*;

edge!(
    one_of_two_is_killed_in_a_run_of_calls,
    a_drained_one_keeps_its_calls_and_gets_no_new_ones,
    a_drained_one_is_drained_after_a_restart,
    a_domain_has_a_pbx_of_its_own,
    a_number_and_a_trunk_have_a_pbx_of_their_own,
    each_of_two_has_a_realm_of_its_own,
    a_pbx_over_tcp_calls_and_is_called,
    a_pbx_over_tls_calls_and_is_called,
    a_pbx_over_tcp_comes_back,
    a_pbx_is_reached_otherwise_after_a_reload,
);

const TWO: &str = "  pbx: [{ name: one, address: \"@PBX@:5070\" }, { name: other, address: \"@OTHER@:5070\" }]\n  check: { every: 500ms }\n";

/// How many phones a test has at each of two PBXs.
const EACH: usize = 3;

/// Registered phones with their accounts: those at the first PBX, and those at the other one.
fn phones(stage: &Stage) -> [Vec<(String, Ua)>; 2] {
    let [mut at_one, mut at_other] = [Vec::new(), Vec::new()];
    for user in 6301..6341 {
        let user = user.to_string();
        let phone = stage.phone(&user);
        phone.register();
        let homes = (stage.pbx().contacts(&user).len(), stage.other().contacts(&user).len());
        let side = match homes {
            (1, 0) => &mut at_one,
            (0, 1) => &mut at_other,
            both => panic!("{user} is registered at {both:?}"),
        };
        if side.len() < EACH {
            side.push((user, phone));
        }
        if at_one.len() + at_other.len() == 2 * EACH {
            return [at_one, at_other];
        }
    }
    panic!("{} and {} of forty", at_one.len(), at_other.len());
}

fn is_up(stage: &Stage, pbx: &str) -> bool {
    stage.ringfence().metric("ringfence_pbx_up", &[&format!("pbx=\"{pbx}\"")]) == 1.0
}

fn one_of_two_is_killed_in_a_run_of_calls(mode: Mode) {
    let mut stage = Plan::new(mode).office().inside(TWO).start();
    let [at_one, at_other] = phones(&stage);
    let all = || at_one.iter().chain(&at_other);
    let running = at_other[0].1.call("100").answered();
    running.hears_echo();
    stage.pbx_mut().kill();
    // at once, while nobody knows yet, and later, when all do: all calls go through
    for round in 0..3 {
        for (_, phone) in all() {
            let leg = phone.call("100").answered();
            leg.hears_echo();
            leg.hang_up();
        }
        if round == 0 {
            wait_until("it is known to be down", PATIENCE, || !is_up(&stage, "one"));
        }
    }
    running.hears_echo();
    for (user, phone) in all() {
        phone.register();
        assert_eq!(stage.other().contacts(user).len(), 1, "{user}");
    }
    // calls to them come from the living one
    let (user, phone) = &at_one[0];
    stage.other().call(user);
    let incoming = phone.incoming();
    let leg = incoming.accept();
    leg.hears_echo();
    leg.hang_up();
    running.hang_up();
    stage.other().wait_idle();
    assert!(is_up(&stage, "other"));
    stage.pbx_mut().resume();
    wait_until("it is known to be back", PATIENCE, || is_up(&stage, "one"));
    for (_, phone) in all() {
        phone.register();
        let leg = phone.call("100").answered();
        leg.hears_echo();
        leg.hang_up();
    }
    for (user, _) in &at_one {
        assert_eq!(stage.pbx().contacts(user).len(), 1, "{user} is back where it belongs");
    }
    let banned = stage.ringfence().metric("ringfence_bans", &[]);
    assert_eq!(banned, 0.0, "nobody is at fault");
}

fn a_drained_one_keeps_its_calls_and_gets_no_new_ones(mode: Mode) {
    let stage = Plan::new(mode).office().inside(TWO).start();
    let [at_one, at_other] = phones(&stage);
    let all = || at_one.iter().chain(&at_other);
    let (user, phone) = &at_one[0];
    let mut running = phone.call("100").answered();
    running.hears_echo();
    let said = stage.ringfence().command(&["pbx", "drain", "one"]);
    assert!(said.contains("one"), "{said}");
    let listed = stage.ringfence().command(&["pbx", "list"]);
    let line = listed.lines().find(|line| line.contains("one")).unwrap();
    assert!(line.contains("draining"), "{listed}");
    assert!(stage.ringfence().command(&["status"]).contains("draining"));
    for (user, phone) in all() {
        let leg = phone.call("100").answered();
        leg.hears_echo();
        leg.hang_up();
        phone.register();
        assert_eq!(stage.other().contacts(user).len(), 1, "{user}");
    }
    // inside its dialog all goes to the first still
    let again = running.reinvite("sendrecv", "sendonly");
    assert_eq!(again.code(), Some(200), "{again}");
    assert_eq!(stage.pbx().channels().len(), 1);
    running.hang_up();
    stage.pbx().wait_idle();
    let _ = stage.ringfence().command(&["pbx", "undrain", "one"]);
    phone.register();
    assert_eq!(stage.pbx().contacts(user).len(), 1);
}

fn a_drained_one_is_drained_after_a_restart(mode: Mode) {
    let mut stage = Plan::new(mode).office().inside(TWO).start();
    let [at_one, _] = phones(&stage);
    let _ = stage.ringfence().command(&["pbx", "drain", "one"]);
    stage.restart_edge();
    let listed = stage.ringfence().command(&["pbx", "list"]);
    let line = listed.lines().find(|line| line.contains("one")).unwrap();
    assert!(line.contains("draining"), "{listed}");
    let (user, phone) = &at_one[0];
    phone.register();
    assert_eq!(stage.other().contacts(user).len(), 1);
    let _ = stage.ringfence().command(&["pbx", "undrain", "one"]);
    stage.restart_edge();
    assert!(!stage.ringfence().command(&["pbx", "list"]).contains("draining"));
}

/// A group for what a number and a trunk name; who calls from far away is the trunk.
const HOTLINE: &str = "  pbx: [{ name: one, address: \"@PBX@:5070\" }]\n  groups: [{ name: hotline, pbx: [{ name: other, address: \"@OTHER@:5070\" }], for: { dids: [\"100\"], trunks: [carrier] } }]\n";

fn a_number_and_a_trunk_have_a_pbx_of_their_own(mode: Mode) {
    let plan = Plan::new(mode).inside(HOTLINE);
    let stage = plan.with("trunks: [{ name: carrier, hosts: [\"127.128.0.0/9\"] }]").start();
    stage.other().add_trunk(
        "[global](+)\nendpoint_identifier_order = header,ip,username,auth_username\n\
         [carrier]\ntype = endpoint\ncontext = phones\ndisallow = all\nallow = ulaw,alaw\n\
         direct_media = no\nidentify_by = header\n\
         [carrier]\ntype = identify\nendpoint = carrier\nmatch_header = X-Ringfence-Trunk: carrier\n",
    );
    let calls = || (stage.pbx().channels().len(), stage.other().channels().len());
    let bob = stage.phone("6002");
    let leg = bob.call("100").answered();
    assert_eq!(calls(), (0, 1), "by its number");
    leg.hang_up();
    stage.other().wait_idle();
    let ringing = bob.call("102");
    ringing.wait(180);
    assert_eq!(calls(), (1, 0), "another number");
    ringing.cancel();
    ringing.refused(487);
    stage.pbx().wait_idle();
    let carrier = stage.phone_at("carrier", stage.network.far(1), Way::UDP);
    let ringing = carrier.invite("102");
    ringing.wait(180);
    assert_eq!(calls(), (0, 1), "by its trunk");
    ringing.cancel();
    ringing.refused(487);
    stage.other().wait_idle();
}

/// One PBX for a domain, the other for all else.
const DOMAINS: &str = "  pbx: [{ name: one, address: \"@PBX@:5070\" }]\n  groups: [{ name: tests, pbx: [{ name: other, address: \"@OTHER@:5070\" }], for: { domains: [pbx.test] } }]\n";

fn each_of_two_has_a_realm_of_its_own(mode: Mode) {
    let plan = Plan::new(mode).inside(DOMAINS);
    let mut stage = plan.with("policy: { edge_challenge: { mode: always } }").start();
    stage.other().add_trunk("[global](+)\ndefault_realm = other.test\n");
    wait_until("Asterisk has its realm", PATIENCE, || stage.other().challenges_as("other.test"));
    for _ in 0..2 {
        let alice = stage.phone("6001");
        alice.register();
        let leg = alice.call("100").answered();
        leg.hears_echo();
        leg.hang_up();
        let challenged = alice.transact(&alice.registration(300)).expect_code(401);
        assert!(challenged.value("WWW-Authenticate").contains("realm=\"other.test\""));
        let bob = stage.phone("6002");
        let options = bob.request("OPTIONS", &format!("sip:100@{}", stage.public()));
        let challenged = bob.transact(&options).expect_code(401);
        assert!(challenged.value("WWW-Authenticate").contains("realm=\"asterisk\""));
        bob.authenticated(&options);
        // the edge knows them again
        stage.restart_edge();
    }
}

fn a_domain_has_a_pbx_of_its_own(mode: Mode) {
    let stage = Plan::new(mode).inside(DOMAINS).start();
    let alice = stage.phone("6001");
    alice.register();
    assert_eq!((stage.pbx().contacts("6001").len(), stage.other().contacts("6001").len()), (0, 1));
    alice.call("100").answered().hang_up();
    stage.other().wait_idle();
    let requests = |pbx: &str| {
        stage.ringfence().metric("ringfence_pbx_requests_total", &[&format!("pbx=\"{pbx}\"")])
    };
    wait_until("its requests are counted", PATIENCE, || requests("other") > 0.0);
    assert_eq!(requests("one"), 0.0);
    let bob = stage.phone("6002");
    let options = bob.request("OPTIONS", &format!("sip:100@{}", stage.public()));
    bob.authenticated(&options);
    wait_until("what goes to no group goes to the rest", PATIENCE, || requests("one") > 0.0);
}

/// Calls both ways, with each side's hanging up, through a PBX that is reached over streams.
fn calls_both_ways(stage: &Stage) {
    let alice = stage.phone("6001");
    alice.register();
    let mut leg = alice.call("100").answered();
    leg.hears_echo();
    assert_eq!(leg.reinvite("sendrecv", "sendonly").code(), Some(200));
    leg.hang_up();
    stage.pbx().call("6001");
    let leg = alice.incoming().accept();
    leg.hears_echo();
    stage.pbx().hang_up_all();
    leg.wait_hang_up();
    stage.pbx().wait_idle();
    let bob = stage.phone_over("6002", Way::TCP);
    bob.register();
    let call = alice.call("6002");
    let bobs = bob.incoming().accept();
    let alices = call.answered();
    bobs.hang_up();
    alices.wait_hang_up();
    stage.pbx().wait_idle();
}

const TCP: &str =
    "  pbx: [{ name: one, address: \"@PBX@:5070\", transport: tcp }]\n  check: { every: 500ms }\n";

fn a_pbx_over_tcp_calls_and_is_called(mode: Mode) {
    let stage = Plan::new(mode).inside(TCP).start();
    calls_both_ways(&stage);
}

fn a_pbx_over_tls_calls_and_is_called(mode: Mode) {
    const TLS: &str = "  pbx: [{ name: one, address: \"@PBX@:5071\", transport: tls, host: pbx.test, authorities: @CERT@ }]\n  check: { every: 500ms }\n";
    let stage = Plan::new(mode).inside(TLS).start();
    calls_both_ways(&stage);
}

fn a_pbx_over_tcp_comes_back(mode: Mode) {
    let mut stage = Plan::new(mode).inside(TCP).start();
    let alice = stage.phone("6001");
    alice.register();
    stage.pbx_mut().stop();
    wait_until("it is known to be down", PATIENCE, || !is_up(&stage, "one"));
    alice.transact(&alice.registration(300)).expect_code(503);
    stage.pbx_mut().resume();
    wait_until("it is known to be back", PATIENCE, || is_up(&stage, "one"));
    alice.register();
    alice.call("100").answered().hang_up();
    stage.pbx().call("6001");
    alice.incoming().accept().hang_up();
    stage.pbx().wait_idle();
}

const UDP: &str = "  pbx: [{ name: one, address: \"@PBX@:5070\" }]\n  check: { every: 500ms }\n";

/// From UDP over TCP to TLS and back, in a call, and with a phone that is registered over UDP.
fn a_pbx_is_reached_otherwise_after_a_reload(mode: Mode) {
    let stage = Plan::new(mode).inside(UDP).start();
    let edge = stage.ringfence();
    let (alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    alice.register();
    let mut running = bob.call("100").answered();
    let pbx = stage.pbx_address();
    let certificate = stage.directory.join("cert.pem").display().to_string();
    let udp = format!("address: \"{pbx}\" ");
    let tcp = format!("address: \"{pbx}\", transport: tcp ");
    let tls = format!(
        "address: \"{}:5071\", transport: tls, host: pbx.test, authorities: {certificate} ",
        pbx.ip()
    );
    stage.pbx().listen_in();
    let ways = [("UDP", &udp), ("TCP", &tcp), ("TLS", &tls), ("UDP", &udp)];
    for pair in ways.windows(2) {
        let [(was, from), (is, to)] = [pair[0], pair[1]];
        edge.change(from, to);
        let (was, is) = (was.to_lowercase(), is.to_lowercase());
        let said = format!("Changed inside.pbx[one].transport: {was} -> {is}");
        wait_until("it is reached otherwise", PATIENCE, || edge.log().contains(&said));
        // the PBX knows her by the way that was
        stage.pbx().call("6001");
        speak_and_hang_up(alice.incoming().accept());
        alice.register();
        stage.pbx().call("6001");
        speak_and_hang_up(alice.incoming().accept());
        speak_and_hang_up(alice.call("100").answered());
        let again = running.reinvite("sendrecv", "sendrecv");
        assert_eq!(again.code(), Some(200), "{again}");
        running.hears_echo();
        let all = || stage.pbx().channels().len();
        wait_until("only the first call is left", PATIENCE, || all() == 1);
        let heard = stage.pbx().heard();
        let last = heard.iter().rev().find(|message| message.method() == "REGISTER").unwrap();
        assert!(
            last.value("Via").starts_with(&format!("SIP/2.0/{} ", is.to_uppercase())),
            "{last}"
        );
    }
    running.hang_up();
    stage.pbx().wait_idle();
    assert!(!edge.log().contains("Needs a restart"));
}

fn speak_and_hang_up(leg: Leg) {
    leg.hears_echo();
    leg.hang_up();
}
