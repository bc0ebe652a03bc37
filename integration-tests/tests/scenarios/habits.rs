//! What phones do that no flow chart shows.

use integration_tests::*;

both!(
    compact_forms,
    dials_stars_and_hashes,
    large_bodies,
    registers_by_udp_and_calls_by_tcp,
    same_number_on_two_lines,
    moves_during_a_call,
    instance_and_parameters_in_contact,
    unknown_headers_and_bodies_arrive,
    call_id_with_an_address,
);

/// RFC 3261 §7.3.3.
fn compact_forms(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let compact = |mut request: Message| {
        for (name, _) in &mut request.headers {
            let short = match name.as_str() {
                "Via" => "v",
                "From" => "f",
                "To" => "t",
                "Call-ID" => "i",
                "Contact" => "m",
                "Content-Type" => "c",
                _ => continue,
            };
            *name = short.to_owned();
        }
        Message::parse(&request.bytes()).unwrap();
        request.bytes()
    };
    let register = alice.registration(300);
    alice.send_bytes(&compact(register.clone())).unwrap();
    let challenge = alice.final_response(&register).expect_code(401);
    let again = alice.with_credentials(&register, &challenge);
    alice.send_bytes(&compact(again.clone())).unwrap();
    let registered = alice.final_response(&again).expect_code(200);
    assert!(alice.own_contact(&registered).is_some(), "{registered}");
}

/// Feature codes.
fn dials_stars_and_hashes(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TLS] {
        let alice = stage.phone_over("6001", way);
        for number in ["*43", "%2343"] {
            alice.call(number).answered().hang_up();
        }
    }
}

/// More than a datagram on the wire holds in one piece, both ways.
fn large_bodies(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let text = "lorem ipsum ".repeat(500);
    let message = alice.request("MESSAGE", &alice.uri("100")).with_body("text/plain", text.clone());
    alice.send(&message);
    let arrived = pbx.wait_request("MESSAGE");
    assert_eq!(arrived.text(), text);
    pbx.respond(&pbx.response(&arrived, 200, "OK").with_body("text/plain", text.clone()));
    assert_eq!(alice.final_response(&message).expect_code(200).text(), text);
}

fn registers_by_udp_and_calls_by_tcp(mode: Mode) {
    let stage = Stage::new(mode);
    let (plain, stream) = (stage.phone("6001"), stage.phone_over("6001", Way::TCP));
    plain.register();
    let leg = stream.call("100").answered();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().call("6001");
    plain.incoming().accept().hang_up();
}

/// One desk phone, two accounts, one socket: both are called by their own name.
fn same_number_on_two_lines(mode: Mode) {
    let stage = Stage::new(mode);
    let mut phone = stage.phone("6001");
    let first = phone.contact.clone();
    phone.register();
    let second = first.replace("6001", "6002");
    phone.user = "6002".into();
    phone.password = "secret6002".into();
    phone.contact = second.clone();
    let mut register = phone.registration(300);
    register.set("Call-ID", unique());
    phone.authenticated(&register).expect_code(200);
    for (user, contact) in [("6001", first), ("6002", second)] {
        stage.pbx().call(user);
        phone.contact = contact.clone();
        let incoming = phone.incoming();
        assert_eq!(uri_of(incoming.invite.uri()).split(';').next(), contact.split(';').next());
        incoming.accept().hang_up();
    }
}

/// The NAT's port changes while a call stands. The phone refreshes its registration and the
/// session, as phones do; the PBX must still be able to end the call.
fn moves_during_a_call(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone("6001");
    alice.register();
    let Leg { dialog, rtp, description, .. } = alice.call("100").answered();
    alice.move_to_new_port();
    alice.authenticated(&alice.registration(300)).expect_code(200);
    let mut leg =
        Leg::new(&alice, dialog, rtp, &Message::request("NONE", "sip:none"), &description);
    leg.reinvite("a=sendrecv", "a=sendonly");
    stage.pbx().hang_up_all();
    leg.wait_hang_up();
}

/// RFC 5626 and RFC 5627 parameters, as most softphones send them.
fn instance_and_parameters_in_contact(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TCP] {
        let mut alice = stage.phone_over("6001", way);
        let plain = alice.contact.clone();
        alice.contact = format!("{plain};ob;line=x1");
        let parameters =
            ";reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
        let mut register = alice.registration(300);
        register.set("Contact", format!("\"Alice, at home\" <{}>{parameters}", alice.contact));
        let registered =
            alice.authenticated(&register.with("Supported", "path, outbound")).expect_code(200);
        assert!(alice.own_contact(&registered).is_some(), "{registered}");
        stage.pbx().call("6001");
        let incoming = alice.incoming();
        if stage.is_edge() {
            assert_eq!(incoming.invite.uri(), alice.contact, "to the last parameter");
        }
        incoming.accept().hang_up();
        alice.deregister();
    }
}

/// What the edge does not know it passes on.
fn unknown_headers_and_bodies_arrive(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let odd: Vec<u8> = (0..=255).collect();
    let request = (alice.request("INFO", &alice.uri("100")))
        .with("X-Odd", "  a;b,c \"d\" \u{e4}")
        .with("Geolocation", "<cid:x@y>")
        .with_body("application/octet-stream", odd.clone());
    alice.send(&request);
    let arrived = pbx.wait_request("INFO");
    assert_eq!(arrived.body, odd);
    assert_eq!(arrived.value("X-Odd"), "a;b,c \"d\" \u{e4}");
    assert_eq!(arrived.value("Geolocation"), "<cid:x@y>");
    pbx.respond(&pbx.response(&arrived, 200, "OK").with("X-Back", "1"));
    let answer = alice.final_response(&request).expect_code(200);
    assert_eq!(answer.value("X-Back"), "1");
}

/// Old stacks put their address into Call-ID and tags.
fn call_id_with_an_address(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let mut request = alice.registration(300);
    request.set("Call-ID", format!("{}@{}", unique(), alice.local()));
    alice.authenticated(&request).expect_code(200);
}

edge!(calls_back_from_its_list);

/// A phone calls back what stood in From: the PBX's own address, which it cannot reach.
fn calls_back_from_its_list(mode: Mode) {
    let stage = Stage::new(mode);
    let (mut alice, bob) = (stage.phone("6001"), stage.phone("6002"));
    alice.register();
    bob.register();
    let call = bob.call("6001");
    let incoming = alice.incoming();
    let from = uri_of(incoming.invite.value("From")).to_owned();
    incoming.refuse(486, "Busy Here");
    call.refused(486);
    alice.domain = uri_host_port(&from).to_owned();
    let back = alice.call("6002");
    bob.incoming().accept();
    back.answered().hang_up();
}
