//! What comes from outside may not speak in the edge's name, nor in a carrier's.

use super::*;

edge!(tells_the_pbx_what_is_known);

one_shard!(identity_of_strangers_is_removed, identity_of_a_trunk_is_kept);

const CLAIMS: [(&str, &str); 7] = [
    ("P-Asserted-Identity", "<sip:+4930123456@carrier.test>"),
    ("P-Preferred-Identity", "<sip:+4930123456@carrier.test>"),
    ("Remote-Party-ID", "<sip:+4930123456@carrier.test>;party=calling"),
    ("X-Ringfence-Source", "192.0.2.1:5060;transport=udp;proof=handshake"),
    ("x-ringfence-trusted", "yes"),
    ("X-RINGFENCE-Anything", "1"),
    ("p-asserted-identity ", "<tel:+4930123456>"),
];

fn with_claims(request: Message) -> Message {
    CLAIMS.iter().fold(request, |request, (name, value)| request.with(name, *value))
}

fn identity_of_strangers_is_removed(mode: Mode) {
    let stage = Plan::new(mode).scripted().start();
    let pbx = stage.scripted_pbx();
    for way in [Way::UDP, Way::TCP, Way::TLS] {
        let alice = stage.phone_over("6001", way);
        for method in ["INVITE", "REGISTER", "MESSAGE"] {
            let request = with_claims(alice.request(method, &alice.uri("100")));
            let request =
                if method == "REGISTER" { request.with("Expires", "300") } else { request };
            alice.send(&request);
            let arrived = pbx.wait_request(method);
            pbx.answer(&arrived, 486, "Busy Here");
            for (name, value) in CLAIMS {
                let lies = arrived.fields(name.trim()).contains(&value);
                assert!(!lies, "{name} came through:\n{arrived}");
            }
            assert_eq!(arrived.fields("X-Ringfence-Source").len(), 1, "{arrived}");
            assert_eq!(source_of(&arrived), Some(alice.local()));
        }
    }
}

fn identity_of_a_trunk_is_kept(mode: Mode) {
    let stage = Plan::new(mode)
        .scripted()
        .with("policy: { trust: { networks: [{ name: carrier, network: 127.128.0.0/9 }] } }")
        .start();
    let pbx = stage.scripted_pbx();
    let trunk = stage.phone_at("trunk", stage.network.far(0), Way::UDP);
    trunk.send(&with_claims(trunk.request("INVITE", &trunk.uri("100"))));
    let arrived = pbx.wait_request("INVITE");
    pbx.answer(&arrived, 486, "Busy Here");
    assert!(arrived.header("P-Asserted-Identity").is_some(), "{arrived}");
    assert_eq!(arrived.fields("X-Ringfence-Source").len(), 1, "{arrived}");
}

/// Proof and trust stand in the header that the edge writes.
fn tells_the_pbx_what_is_known(mode: Mode) {
    let stage = Stage::new(mode);
    stage.pbx().listen_in();
    let alice = stage.phone("6001");
    alice.register();
    alice.call("100").answered().hang_up();
    let heard = stage.pbx().heard_from(alice.local().ip());
    let known: Vec<_> = heard.iter().filter_map(|m| source_param(m, "aor-known")).collect();
    assert_eq!(known.first().map(String::as_str), Some("no"), "{}", heard[0]);
    assert_eq!(known.last().map(String::as_str), Some("yes"), "{}", heard[heard.len() - 1]);
    assert_eq!(source_param(&heard[0], "proof").as_deref(), Some("none"), "{}", heard[0]);
    let bob = stage.phone_at("6002", stage.network.far(0), Way::TLS);
    bob.register();
    let heard = stage.pbx().heard_from(bob.local().ip());
    assert_eq!(source_param(&heard[0], "proof").as_deref(), Some("handshake"), "{}", heard[0]);
}
