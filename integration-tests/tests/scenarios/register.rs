//! REGISTER (RFC 3261 §10).

use integration_tests::*;

everywhere!(registers_and_takes_it_back, is_qualified);

fn registers_and_takes_it_back(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    let challenge = alice.transact(&alice.registration(300)).expect_code(401);
    assert!(challenge.value("WWW-Authenticate").starts_with("Digest "), "{challenge}");
    let registered = alice.register();
    let own = alice.own_contact(&registered).unwrap();
    let expires: u32 = param(&own, "expires").unwrap().parse().unwrap();
    assert!((290..=300).contains(&expires), "{own}");
    if stage.is_edge() {
        let inside = stage.inside().ip().to_string();
        assert!(!registered.to_string().contains(&inside), "the inside shows:\n{registered}");
    }
    assert_eq!(stage.pbx().contacts("6001").len(), 1);
    alice.register();
    assert_eq!(stage.pbx().contacts("6001").len(), 1, "a refresh is no second Contact");
    alice.deregister();
    assert_eq!(stage.pbx().contacts("6001"), Vec::<String>::new());
}

/// The PBX's first OPTIONS leaves before its 200 to the REGISTER does.
fn is_qualified(mode: Mode, way: Way) {
    let stage = Plan::new(mode).qualify(60).start();
    let alice = stage.phone_over("6001", way);
    alice.register();
    let options = alice.wait_request("OPTIONS");
    assert_eq!(uri_host_port(options.uri()), uri_host_port(&alice.contact), "{options}");
    wait_until("the Contact is reachable", PATIENCE, || {
        stage.pbx().is_reachable("6001") == Some(true)
    });
}

both!(
    silent_phone_is_not_reachable,
    expiry_is_the_registrars,
    rebinding_keeps_one_contact,
    several_contacts,
    all_contacts_at_once,
    wrong_password,
    unknown_user,
    sha256,
    sha256_offered_first,
    address_as_domain,
    two_contacts_in_one_request,
    asks_for_its_bindings,
    takes_back_one_of_two,
);

/// Nobody may answer the qualify OPTIONS in the phone's place.
fn silent_phone_is_not_reachable(mode: Mode) {
    let stage = Plan::new(mode).qualify(60).start();
    let alice = stage.phone("6001");
    alice.set_reflex(Reflex::Dead);
    alice.register();
    alice.wait_request("OPTIONS");
    wait_until("the Contact is unreachable", PATIENCE, || {
        stage.pbx().is_reachable("6001") == Some(false)
    });
}

fn expiry_is_the_registrars(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let granted = |asked| {
        let registered = alice.authenticated(&alice.registration(asked)).expect_code(200);
        let own = alice.own_contact(&registered).unwrap();
        param(&own, "expires").unwrap().parse::<u32>().unwrap()
    };
    let (short, long) = (granted(10), granted(99_999));
    assert!((55..=60).contains(&short), "{short}");
    assert!((7190..=7200).contains(&long), "{long}");
}

/// A NAT gives the phone another port; the Contact stays what it was.
fn rebinding_keeps_one_contact(mode: Mode) {
    let stage = Plan::new(mode).keeping_contacts().start();
    let mut alice = stage.phone("6101");
    alice.register();
    alice.move_to_new_port();
    alice.register();
    assert_eq!(stage.pbx().contacts("6101").len(), 1);
    if stage.is_edge() {
        stage.pbx().call("6101");
        alice.incoming().accept().hang_up();
    }
    alice.deregister();
    assert_eq!(stage.pbx().contacts("6101").len(), 0);
}

fn several_contacts(mode: Mode) {
    let stage = Stage::new(mode);
    let desk = stage.phone("6101");
    let mobile = stage.phone_over("6101", Way::TCP);
    desk.register();
    let both = mobile.register();
    assert_eq!(both.all("Contact").len(), 2, "{both}");
    assert_eq!(stage.pbx().contacts("6101").len(), 2);
    desk.deregister();
    assert_eq!(stage.pbx().contacts("6101").len(), 1);
    stage.pbx().call("6101");
    mobile.incoming().accept().hang_up();
    assert_eq!(desk.received(|m| m.is("INVITE")), []);
}

/// `Contact: *` with `Expires: 0` (§10.2.2).
fn all_contacts_at_once(mode: Mode) {
    let stage = Stage::new(mode);
    let (desk, mobile) = (stage.phone("6101"), stage.phone("6101"));
    desk.register();
    mobile.register();
    let mut wipe = desk.registration(0);
    wipe.set("Contact", "*");
    desk.authenticated(&wipe).expect_code(200);
    assert_eq!(stage.pbx().contacts("6101").len(), 0);
}

fn wrong_password(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6001");
    alice.password = "wrong".into();
    let refused = alice.authenticated(&alice.registration(300)).expect_code(401);
    assert!(!is_stale(&refused), "{refused}");
    alice.password = "secret6001".into();
    alice.register();
}

fn unknown_user(mode: Mode) {
    let stage = Stage::new(mode);
    let nobody = stage.phone("6999");
    nobody.authenticated(&nobody.registration(300)).expect_code(401);
}

fn sha256(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6201");
    alice.register();
    alice.call("100").answered().hang_up();
}

/// The PBX offers SHA-256 and MD5; a phone takes the one it knows (RFC 8760).
fn sha256_offered_first(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6202");
    let offered = alice.transact(&alice.registration(300)).expect_code(401);
    assert_eq!(offered.fields("WWW-Authenticate").len(), 2, "{offered}");
    alice.register();
    alice.md5_only = true;
    alice.register();
}

/// Phones set up with the server's address instead of a name.
fn address_as_domain(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6001");
    alice.domain = stage.public().to_string();
    alice.register();
    alice.call("100").answered().hang_up();
    let mut bob = stage.phone_over("6002", Way::TLS6);
    bob.domain = bob.server().to_string();
    bob.register();
    bob.call("100").answered().hang_up();
}

/// Comma-joined, each with its own parameters.
fn two_contacts_in_one_request(mode: Mode) {
    let stage = Plan::new(mode).keeping_contacts().start();
    let alice = stage.phone("6101");
    let other = "sip:6101@192.0.2.9:5070;line=2";
    let mut register = alice.registration(300);
    register.set("Contact", format!("\"A, B\" <{}>;q=0.5, <{other}>;expires=120", alice.contact));
    let registered = alice.authenticated(&register).expect_code(200);
    let listed: Vec<_> = registered.all("Contact").into_iter().map(uri_of).collect();
    assert!(listed.contains(&alice.contact.as_str()) && listed.contains(&other), "{registered}");
    assert_eq!(stage.pbx().contacts("6101").len(), 2);
}

/// A REGISTER without Contact (RFC 3261 §10.2.3).
fn asks_for_its_bindings(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6101");
    alice.register();
    let mut query = alice.registration(300);
    query.remove("Contact");
    query.remove("Expires");
    let listed = alice.authenticated(&query).expect_code(200);
    assert!(alice.own_contact(&listed).is_some(), "{listed}");
}

fn takes_back_one_of_two(mode: Mode) {
    let stage = Plan::new(mode).keeping_contacts().start();
    let alice = stage.phone("6101");
    let other = "sip:6101@192.0.2.9:5070";
    let mut register = alice.registration(300);
    register.set("Contact", format!("<{}>, <{other}>", alice.contact));
    alice.authenticated(&register).expect_code(200);
    let mut back = alice.registration(300);
    back.set("Contact", format!("<{other}>;expires=0"));
    let left = alice.authenticated(&back).expect_code(200);
    assert_eq!(left.all("Contact").len(), 1, "{left}");
    assert!(alice.own_contact(&left).is_some(), "{left}");
    stage.pbx().call("6101");
    alice.incoming().accept().hang_up();
}
