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
    contact_with_a_host_name,
    reconnects_during_a_call,
    forwards_a_call,
    ring_group,
    invite_retry_with_the_same_branch,
    challenge_is_never_acknowledged,
    ack_with_a_branch_of_its_own,
    reconnects_with_a_new_contact,
    secure_uris,
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
    let request = (alice.request("MESSAGE", &alice.uri("100")))
        .with("X-Odd", "  a;b,c \"d\" \u{e4}")
        .with("Geolocation", "<cid:x@y>")
        .with_body("application/octet-stream", odd.clone());
    alice.send(&request);
    let arrived = pbx.wait_request("MESSAGE");
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

/// A name only the phone's own network knows.
fn contact_with_a_host_name(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TCP6] {
        let mut alice = stage.phone_over("6001", way);
        let transport = if way == Way::UDP { "" } else { ";transport=tcp" };
        alice.contact = format!("sip:6001@desk.invalid{transport}");
        alice.authenticated(&alice.registration(300)).expect_code(200);
        let leg = alice.call("100").answered();
        leg.hears_echo();
        stage.pbx().hang_up_all();
        leg.wait_hang_up();
        stage.pbx().call("6001");
        alice.incoming().accept().hang_up();
        alice.deregister();
    }
}

/// The connection breaks while a call stands; the phone makes a new one. Its Contact names the port
/// it listens at, as that of most desk phones does, and so stays what it was.
fn reconnects_during_a_call(mode: Mode) {
    reconnects(mode, |_| {});
}

/// The same with a Contact that names the connection, as that of most softphones does.
fn reconnects_with_a_new_contact(mode: Mode) {
    reconnects(mode, Ua::tell_the_truth);
}

fn reconnects(mode: Mode, say_where: fn(&mut Ua)) {
    let stage = Stage::new(mode);
    for way in [Way::TCP, Way::TLS] {
        let mut alice = stage.phone_over("6001", way);
        alice.contact_parameters = ";+sip.instance=\"<urn:uuid:1>\"".into();
        alice.authenticated(&alice.registration(300)).expect_code(200);
        let leg = alice.call("100").answered();
        leg.transact(&leg.request("OPTIONS")).expect_code(200);
        let Leg { dialog, rtp, description, .. } = leg;
        alice.move_to_new_port();
        say_where(&mut alice);
        alice.authenticated(&alice.registration(300)).expect_code(200);
        let nothing = Message::request("NONE", "sip:none");
        let mut leg = Leg::new(&alice, dialog, rtp, &nothing, &description);
        leg.reinvite("a=sendrecv", "a=sendonly");
        stage.pbx().hang_up_all();
        leg.wait_hang_up();
        alice.deregister();
    }
}

/// The phone sends its calls elsewhere: 302.
fn forwards_a_call(mode: Mode) {
    let stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TLS));
    bob.register();
    let call = alice.call("6002");
    let incoming = bob.incoming();
    let mut moved = bob.response(&incoming.invite, 302, "Moved Temporarily");
    moved.set("Contact", format!("<{}>", bob.uri("100")));
    bob.respond(&moved);
    incoming.wait_refusal_acknowledged();
    let leg = call.answered();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().wait_idle();
}

/// Two phones ring, one answers; the other is told that it did not miss the call (RFC 3326).
fn ring_group(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let (bob, carol) = (stage.phone("6002"), stage.phone_over("6003", Way::TLS6));
    bob.register();
    carol.register();
    let call = alice.call("8000");
    let (bobs, carols) = (bob.incoming(), carol.incoming());
    bobs.ring();
    carols.ring();
    wait_until("Asterisk knows that both ring", PATIENCE, || {
        let channels = stage.pbx().channels();
        channels.iter().filter(|channel| channel.contains("!Ringing!")).count() == 2
    });
    let bobs = bobs.accept();
    let cancel = carols.cancelled();
    assert!(cancel.value("Reason").contains("completed elsewhere"), "{cancel}");
    call.answered().hang_up();
    bobs.wait_hang_up();
    stage.pbx().wait_idle();
}

/// The INVITE with credentials under the branch of the one that was challenged.
fn invite_retry_with_the_same_branch(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::UDP, Way::TCP] {
        let alice = stage.phone_over("6001", way);
        let call = alice.invite("100");
        let challenge = call.refused(401);
        let mut again = alice.with_credentials(&call.invite, &challenge);
        again.set("Via", call.invite.value("Via"));
        Call::send(&alice, again, alice.rtp()).answered().hang_up();
    }
}

/// Some phones take a 401 for the end of it and send no ACK.
fn challenge_is_never_acknowledged(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    let challenge = alice.final_response(&call.invite).expect_code(401);
    let again = alice.with_credentials(&call.invite, &challenge);
    Call::send(&alice, again, alice.rtp()).answered().hang_up();
}

/// Some phones put a new branch into the ACK for a refusal.
fn ack_with_a_branch_of_its_own(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    let challenge = alice.final_response(&call.invite).expect_code(401);
    let mut ack = Message::request("ACK", call.invite.uri()).with("Via", alice.via());
    for name in ["From", "Call-ID", "Max-Forwards"] {
        ack = ack.with(name, call.invite.value(name));
    }
    let ack = ack.with("To", challenge.value("To")).with("CSeq", "1 ACK");
    alice.send(&ack);
    let again = alice.with_credentials(&call.invite, &challenge);
    Call::send(&alice, again, alice.rtp()).answered().hang_up();
}

/// `sips:` in all URIs, as phones with "secure" ticked write them.
fn secure_uris(mode: Mode) {
    let stage = Stage::new(mode);
    let mut alice = stage.phone_over("6001", Way::TLS);
    alice.contact = format!("sips:6001@{}", alice.local());
    let secure = |mut request: Message| {
        request.start = request.start.replace(" sip:", " sips:");
        for name in ["From", "To"] {
            request.set(name, request.value(name).replace("<sip:", "<sips:"));
        }
        request
    };
    alice.authenticated(&secure(alice.registration(300))).expect_code(200);
    let invite = secure(alice.request("INVITE", &alice.uri("100")));
    let rtp = alice.rtp();
    let call = Call::send(&alice, invite.with_body("application/sdp", offer(&rtp)), alice.rtp());
    let challenge = call.refused(401);
    let again = alice.with_credentials(&call.invite, &challenge);
    let leg = Call::send(&alice, again, rtp).answered();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().call("6001");
    alice.incoming().accept().hang_up();
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
