//! Extensions of SIP that pass through the edge, or end there: certificates of phones, faxes (T.38),
//! GRUU (RFC 5627), flows (RFC 5626), early UPDATEs (RFC 3311, RFC 3262), session timers (RFC 4028),
//! redirections.

use integration_tests::*;

edge!(
    phones_show_certificates,
    fax_in_place_of_sound,
    gruu,
    flows_and_their_keep_alives,
    early_update,
    session_is_refreshed_again_and_again,
    redirected_by_the_pbx,
    message_too_large,
    stream_without_length,
    pbx_that_ignores_a_registration,
    nonce_announced_by_the_pbx,
);

fn phones_show_certificates(mode: Mode) {
    let stage = Plan::new(mode).wanting_certificate().start();
    let alice = stage.phone_over("6001", Way::TLS);
    alice.register();
    alice.call("100").answered().hang_up();
    // one that has none
    let bare = stage.directory.join("bare");
    std::fs::create_dir(&bare).unwrap();
    std::fs::copy(stage.directory.join("cert.pem"), bare.join("cert.pem")).unwrap();
    let host = stage.network.host(stage.next_host());
    let way = Way::TLS;
    let bob = Ua::connect("6002", way.transport, host.into(), host, stage.server(way), &bare);
    let _ = bob.send_bytes(&bob.registration(300).bytes());
    bob.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
    assert_eq!(bob.received(|_| true), []);
}

/// A call between `alice` and a PBX that the test plays: both sides of it.
fn call<'u>(alice: &'u Ua, pbx: &'u Ua) -> (Leg<'u>, Leg<'u>) {
    let call = alice.invite("100");
    let incoming = pbx.incoming();
    let acceptance = incoming.acceptance();
    pbx.respond(&acceptance);
    let leg = call.answered();
    (leg, incoming.acknowledged(&acceptance))
}

/// The 200 to a request within the dialog, as it arrived, and what it answers.
fn across(
    from: &Leg<'_>,
    request: &Message,
    to: &Ua,
    answer: impl Fn(Message) -> Message,
) -> Message {
    // the PBX's goes to the shard that its route names
    from.ua.send_to(from.dialog.next_hop().0, request);
    let arrived = to.wait_for("the request", |m| {
        m.is(request.method()) && m.call_id() == request.call_id() && m.cseq() == request.cseq()
    });
    assert_eq!(arrived.text(), request.text());
    let response = answer(to.response(&arrived, 200, "OK"));
    to.respond(&response);
    let heard = from.ua.final_response(request).expect_code(200);
    assert_eq!(heard.text(), response.text());
    if request.is("INVITE") {
        let ack = from.dialog.numbered(from.ua, "ACK", request.cseq().0);
        from.ua.send_to(from.dialog.next_hop().0, &ack);
        to.wait_for("the ACK", |m| m.is("ACK") && m.cseq().0 == request.cseq().0);
    }
    heard
}

const FAX: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=image 4000 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n\
    a=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";

fn fax_in_place_of_sound(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    for way in [Way::UDP, Way::TLS] {
        let alice = stage.phone_over("6001", way);
        let (alices, pbxs) = call(&alice, &pbx);
        let fax = |message: Message| message.with_body("application/sdp", FAX);
        across(&pbxs, &fax(pbxs.request("INVITE")), &alice, fax);
        across(&alices, &fax(alices.request("INVITE")), &pbx, fax);
        across(&alices, &alices.request("BYE"), &pbx, |m| m);
    }
}

/// The PBX gives a phone a URI of its own; what is sent to that within a dialog still finds the phone.
fn gruu(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let mut alice = stage.phone_over("6001", Way::TCP);
    let gruu = "sip:6001@pbx.test;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    alice.contact_parameters =
        ";+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"".into();
    let register = alice.registration(300).with("Supported", "gruu");
    alice.send(&register);
    let arrived = pbx.wait_request("REGISTER");
    let contact = format!(
        "{};expires=300;pub-gruu=\"{gruu}\";temp-gruu=\"sip:tgruu.7hs@pbx.test;gr\"",
        arrived.value("Contact")
    );
    pbx.respond(&pbx.response(&arrived, 200, "OK").with("Contact", contact));
    let registered = alice.final_response(&register).expect_code(200);
    let own = alice.own_contact(&registered).expect("its Contact");
    assert!(own.contains(&format!(";pub-gruu=\"{gruu}\"")) && own.contains(";temp-gruu="), "{own}");
    alice.contact = gruu.into();
    alice.contact_parameters.clear();
    let (alices, pbxs) = call(&alice, &pbx);
    assert_eq!(pbxs.dialog.target, gruu);
    across(&pbxs, &pbxs.request("BYE"), &alice, |m| m);
    let arrived = alice.received(|m| m.is("BYE") && m.call_id() == alices.dialog.call_id);
    assert!(!arrived.is_empty() && arrived.iter().all(|bye| bye.uri() == gruu), "{arrived:?}");
}

/// A registrar that takes part in RFC 5626, pings on a stream, and STUN on a datagram's flow, which
/// the edge never offered: no answer, and no harm.
fn flows_and_their_keep_alives(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    for way in [Way::TCP, Way::TLS, Way::UDP] {
        let mut alice = stage.phone_over("6001", way);
        alice.contact_parameters =
            ";reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"".into();
        let register = alice.registration(300).with("Supported", "path, outbound");
        alice.send(&register);
        let arrived = pbx.wait_request("REGISTER");
        assert!(arrived.value("Contact").contains(";reg-id=1"), "{arrived}");
        let accepted = pbx
            .response(&arrived, 200, "OK")
            .with("Contact", format!("{};expires=300", arrived.value("Contact")))
            .with("Require", "outbound")
            .with("Flow-Timer", "25");
        pbx.respond(&accepted);
        let registered = alice.final_response(&register).expect_code(200);
        assert_eq!(registered.value("Flow-Timer"), "25");
        if way.transport == Transport::Udp {
            let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], b"transaction1"].concat();
            alice.send_bytes(&stun).unwrap();
        } else {
            alice.send_bytes(b"\r\n\r\n").unwrap();
            alice.wait_for_bytes("a pong", |bytes| bytes == b"\r\n");
        }
        let to = arrived.value("Contact").trim_start_matches('<').split('>').next().unwrap();
        let options = pbx.request("OPTIONS", to);
        pbx.send(&options);
        pbx.final_response(&options).expect_code(200);
    }
}

/// Reliable provisional responses, and UPDATEs both ways before anybody has answered.
fn early_update(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone_over("6001", Way::TCP);
    let invite = alice.request("INVITE", &alice.uri("100")).with("Supported", "100rel, timer");
    alice.send(&invite.clone().with_body("application/sdp", offer(&alice.rtp())));
    let arrived = pbx.wait_request("INVITE");
    let early = pbx
        .response(&arrived, 183, "Session Progress")
        .with("Require", "100rel")
        .with("RSeq", "813520")
        .with_body("application/sdp", offer(&pbx.rtp()));
    pbx.respond(&early);
    let progress = alice.response_with(&invite, 183);
    let leg = |ua, dialog, remote: &Message| Leg::new(ua, dialog, Ua::rtp(ua), remote, "");
    let alices = leg(&alice, Dialog::of_response(&invite, &progress), &progress);
    let pbxs = leg(&pbx, Dialog::of_request(&arrived, &early), &arrived);
    let rack = format!("813520 {} INVITE", invite.cseq().0);
    across(&alices, &alices.request("PRACK").with("RAck", rack), &pbx, |m| m);
    let described = |m: Message| m.with_body("application/sdp", FAX);
    across(&alices, &described(alices.request("UPDATE")), &pbx, described);
    across(&pbxs, &described(pbxs.request("UPDATE")), &alice, described);
    let acceptance = pbx.response(&arrived, 200, "OK");
    pbx.respond(&acceptance);
    alice.final_response(&invite).expect_code(200);
    alices.acknowledge(invite.cseq().0);
    pbx.wait_request("ACK");
    across(&pbxs, &pbxs.request("BYE"), &alice, |m| m);
}

/// Each side, by re-INVITE and by UPDATE, more than once; and an interval that is too small.
fn session_is_refreshed_again_and_again(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    for way in [Way::UDP, Way::TCP] {
        let alice = stage.phone_over("6001", way);
        let (alices, pbxs) = call(&alice, &pbx);
        let timed =
            |m: Message| m.with("Supported", "timer").with("Session-Expires", "1800;refresher=uac");
        let short = alices.request("INVITE").with("Session-Expires", "60");
        alices.send(&short);
        let arrived = pbx.wait_request("INVITE");
        pbx.respond(
            &pbx.response(&arrived, 422, "Session Interval Too Small").with("Min-SE", "90"),
        );
        let refused = alice.final_response(&short).expect_code(422);
        assert_eq!(refused.value("Min-SE"), "90");
        let mut ack = alices.dialog.numbered(&alice, "ACK", short.cseq().0);
        ack.set("Via", short.value("Via"));
        alices.send(&ack);
        for _ in 0..3 {
            for method in ["INVITE", "UPDATE"] {
                let heard = across(&alices, &timed(alices.request(method)), &pbx, timed);
                assert_eq!(heard.value("Session-Expires"), "1800;refresher=uac");
                across(&pbxs, &timed(pbxs.request(method)), &alice, timed);
            }
        }
        across(&pbxs, &pbxs.request("BYE"), &alice, |m| m);
    }
}

fn redirected_by_the_pbx(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let call = alice.invite("100");
    let arrived = pbx.wait_request("INVITE");
    let mut moved = Message::response(&arrived, 302, "Moved Temporarily")
        .with("Contact", "<sip:200@elsewhere.example>;q=0.5, <sip:300@elsewhere.example>");
    moved.set("To", format!("{};tag=moved", arrived.value("To")));
    pbx.respond(&moved);
    let heard = call.refused(302);
    assert_eq!(heard.value("Contact"), moved.value("Contact"));
    pbx.wait_request("ACK");
}

/// RFC 3261 §21.5.7: over TCP it came, over UDP it would not arrive.
fn message_too_large(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone_over("6001", Way::TCP);
    let message = |length: usize| {
        let text = "x".repeat(length);
        alice.request("MESSAGE", &alice.uri("100")).with_body("text/plain", text)
    };
    alice.transact(&message(65_000)).expect_code(513);
    let fits = message(60_000);
    alice.send(&fits);
    pbx.answer(&pbx.wait_request("MESSAGE"), 202, "Accepted");
    alice.final_response(&fits).expect_code(202);
    let too_large = |m: &Message| {
        let text = String::from_utf8(m.bytes()).unwrap();
        text.replace("Content-Length: 4", "Content-Length: 70000").into_bytes()
    };
    let none = alice.request("MESSAGE", &alice.uri("100")).with_body("text/plain", "none");
    alice.send_bytes(&too_large(&none)).unwrap();
    alice.final_response(&none).expect_code(513);
    alice.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
}

fn stream_without_length(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let alice = stage.phone_over("6001", Way::TLS);
    let options = alice.request("OPTIONS", &alice.uri("100"));
    let text = String::from_utf8(options.bytes()).unwrap().replace("Content-Length: 0\r\n", "");
    alice.send_bytes(text.as_bytes()).unwrap();
    alice.final_response(&options).expect_code(400);
    alice.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
}

/// It lives, for it answers OPTIONS: whoever registers hears of its silence while he still listens.
fn pbx_that_ignores_a_registration(mode: Mode) {
    let haste = "policy: { timers: { t1: 50ms, t2: 400ms, t4: 500ms } }";
    let stage = Plan::new(mode).scripted().with(haste).start();
    let pbx = stage.scripted_pbx();
    for way in [Way::UDP, Way::TCP] {
        let alice = stage.phone_over("6001", way);
        let register = alice.registration(300);
        alice.send(&register);
        pbx.wait_request("REGISTER");
        let refusal = alice.final_response(&register).expect_code(503);
        assert!(refusal.value("Retry-After").parse::<u32>().is_ok(), "{refusal}");
    }
}

/// RFC 7616 §3.5: no challenge is needed before the next request.
fn nonce_announced_by_the_pbx(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    let alice = stage.phone("6001");
    let challenge = |nonce: &str| format!("Digest realm=\"r\", nonce=\"{nonce}\", algorithm=MD5");
    let register = alice.registration(300);
    alice.send(&register);
    let arrived = pbx.wait_request("REGISTER");
    let asked = pbx.response(&arrived, 401, "Unauthorized");
    pbx.respond(&asked.with("WWW-Authenticate", challenge("n1")));
    let mut asked = alice.final_response(&register).expect_code(401);
    for (nonce, next) in [("n1", "n2"), ("n2", "n3"), ("n3", "n4")] {
        asked.set("WWW-Authenticate", challenge(nonce));
        let again = alice.with_credentials(&register, &asked);
        alice.send(&again);
        let arrived = pbx.wait_for("credentials for it", |m| {
            m.is("REGISTER") && m.value("Authorization").contains(&format!("\"{nonce}\""))
        });
        let accepted = pbx
            .response(&arrived, 200, "OK")
            .with("Contact", format!("{};expires=300", arrived.value("Contact")))
            .with("Authentication-Info", format!("nextnonce=\"{next}\""));
        pbx.respond(&accepted);
        alice.final_response(&again).expect_code(200);
    }
}
