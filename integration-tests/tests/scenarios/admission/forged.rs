//! Requests with somebody else's address: they may cost him nothing.

use std::net::SocketAddr;

use super::*;

edge!(with_a_phones_address, from_a_phones_very_flow);

one_shard!(with_the_address_of_a_phone_to_come, with_a_trunks_address);

/// What a forger sends in a victim's name: calls, registrations with and without credentials.
fn forge(n: usize, victim: SocketAddr) -> Message {
    let call_id = unique();
    let request = |method: &str, uri: &str| {
        Message::request(method, uri)
            .with("Via", format!("SIP/2.0/UDP {victim};branch=z9hG4bK{};rport", unique()))
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:6001@pbx.test>;tag={}", unique()))
            .with("To", "<sip:6001@pbx.test>")
            .with("Call-ID", &call_id)
            .with("CSeq", format!("1 {method}"))
            .with("Contact", format!("<sip:6001@{victim}>"))
    };
    let junk = "Digest username=\"6001\",realm=\"asterisk\",nonce=\"1700000000/0123456789abcdef0123456789abcdef\",\
                uri=\"sip:pbx.test\",algorithm=MD5,response=\"00000000000000000000000000000000\"";
    match n % 4 {
        0 => sipcli("6001", "5551234", victim, "pbx.test"),
        1 => request("REGISTER", "sip:pbx.test").with("Expires", "300"),
        2 => request("REGISTER", "sip:pbx.test").with("Authorization", junk),
        _ => request("OPTIONS", "sip:100@pbx.test"),
    }
}

fn forge_many(stage: &Stage, victim: SocketAddr, count: usize) -> Stranger {
    let forger = Stranger::at(victim.ip(), stage.server(Way::UDP));
    for n in 0..count {
        forger.send(&forge(n, victim));
        if n % 20 == 0 {
            let _ = forger.receive(std::time::Duration::from_millis(20));
        }
    }
    forger
}

#[track_caller]
fn nobody_is_banned(stage: &Stage) {
    for reason in ["banned", "pair_banned"] {
        assert_eq!(refusals(stage, reason), 0.0, "{reason}");
    }
}

fn with_a_phones_address(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let victim = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    works(&stage, &victim);
    let forger = forge_many(&stage, victim.local(), 400);
    works(&stage, &victim);
    wait_outcomes(&stage, "unreachable", 1);
    works(&stage, &victim);
    nobody_is_banned(&stage);
    drop(forger);
}

/// Nothing is known of that address yet. Never more bytes go there than came from there.
fn with_the_address_of_a_phone_to_come(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let host = stage.network.far(0);
    let forger = forge_many(&stage, (host, 5060).into(), 400);
    wait_outcomes(&stage, "unreachable", 3);
    let _ = forger.take_all();
    let (sent, received) = forger.bytes();
    report(
        "forged",
        &format!("{mode:?}: {sent} bytes in the victim's name, {received} to the victim"),
    );
    assert!(received <= sent, "{sent} bytes in its name, {received} to it");
    let victim = stage.phone_at("6001", host, Way::UDP);
    works(&stage, &victim);
    nobody_is_banned(&stage);
}

/// A trunk's calls go through, whatever came in its name before.
fn with_a_trunks_address(mode: Mode) {
    let plan = Plan::new(mode).scripted();
    let stage = plan
        .with(
            "policy: { patience: { invite: 1s }, trust: { networks: \
             [{ name: carrier, network: 127.128.0.0/9 }] } }",
        )
        .start();
    let pbx = stage.scripted_pbx();
    // a PBX that answers nothing is sent all of them again and again at the same times, and more
    // would find no room at its socket
    let forger = forge_many(&stage, (stage.network.far(0), 5060).into(), 80);
    let trunk = stage.phone_at("trunk", stage.network.far(0), Way::UDP);
    let invite = trunk.request("INVITE", &trunk.uri("4930123"));
    trunk.send(&invite);
    let arrived =
        pbx.wait_for("the trunk's call", |m| m.is("INVITE") && m.call_id() == invite.call_id());
    pbx.answer(&arrived, 200, "OK");
    trunk.final_response(&invite).expect_code(200);
    nobody_is_banned(&stage);
    drop(forger);
}

/// Address and port are the phone's, and the nonce is right, too: Asterisk gives all whom it
/// challenges in one second the same one, and the forger asks from where he is.
fn from_a_phones_very_flow(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let victim = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    works(&stage, &victim);
    let Some(raw) = Forger::open(victim.local(), stage.server(Way::UDP)) else { return };
    let accomplice = stage.stranger(1);
    for _ in 0..30 {
        let register = forge(1, victim.local());
        raw.send(&register); // the victim's address is given a nonce ...
        let own = forge(1, accomplice.local());
        let Some(challenge) = accomplice.exchange(&own, 2) else { break };
        let Some(nonce) = challenge.header("WWW-Authenticate") else { break };
        // ... that is this one
        let mut again = register.with(
            "Authorization",
            credentials(nonce, "REGISTER", "sip:pbx.test", "6001", "wrong", 1),
        );
        again.set("CSeq", "2 REGISTER");
        again
            .set("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", victim.local(), unique()));
        raw.send(&again);
        for n in 0..4 {
            raw.send(&forge(n, victim.local()));
        }
    }
    works(&stage, &victim);
}

/// Datagrams with any source address and port.
struct Forger {
    socket: socket2::Socket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Forger {
    /// `None` where this process may not do that.
    fn open(from: SocketAddr, to: SocketAddr) -> Option<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let raw = Protocol::from(255); // IPPROTO_RAW: the header is ours
        let socket = Socket::new(Domain::IPV4, Type::from(3), Some(raw)).ok()?;
        Some(Forger { socket, from, to })
    }

    fn send(&self, message: &Message) {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (self.from, self.to) else { return };
        let bytes = message.bytes();
        let udp = (bytes.len() + 8) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((udp + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]); // the kernel fills in the checksum
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend(udp.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(bytes);
        self.socket.send_to(&packet, &self.to.into()).unwrap();
    }
}
