//! What a ban does, and how it ends.

use std::fs;

use super::*;

edge!(
    reaches_connections,
    outlives_a_reload,
    is_lifted_when_its_source_is_trusted_after_a_reload,
    is_seen_explained_and_lifted_by_its_operator,
    is_counted,
);

one_shard!(ends_by_itself, is_only_observed);

/// Calls a number and takes the challenge for an answer, ACKed.
fn abandon(phone: &Ua) {
    let call = phone.invite("5551");
    let challenge = phone.final_response(&call.invite).expect_code(401);
    call.acknowledge_refusal(&challenge);
}

/// Three such calls, and the ban that they earn.
pub(super) fn earn_a_ban(stage: &Stage, phone: &Ua) {
    let before = stage.ringfence().metric("ringfence_challenges_total", &["outcome=\"abandoned\""]);
    for _ in 0..3 {
        abandon(phone);
    }
    wait_outcomes(stage, "abandoned", before as usize + 3);
}

/// Asks for OPTIONS without end; whether it is dropped.
fn wait_banned(stage: &Stage, host: std::net::Ipv4Addr) {
    let probe = Stranger::at(host.into(), stage.server(Way::UDP));
    let before = refusals(stage, "banned");
    wait_until("its packets are dropped", PATIENCE, || {
        probe.send_bytes(b"OPTIONS sip:pbx.test SIP/2.0\r\n\r\n");
        refusals(stage, "banned") > before
    });
}

/// Who is connected already is cut off, with all connections of that address.
fn reaches_connections(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let host = stage.network.far(0);
    let (first, second) =
        (stage.phone_at("6001", host, Way::TCP), stage.phone_at("6002", host, Way::TLS));
    earn_a_ban(&stage, &first);
    for phone in [&first, &second] {
        phone.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
    }
    wait_banned(&stage, host);
    let alice = settled(&stage, "6003");
    works(&stage, &alice);
}

/// What its operator does who was called by a customer: looks, understands, lifts.
fn is_seen_explained_and_lifted_by_its_operator(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let host = stage.network.far(0);
    let phone = stage.phone_at("6001", host, Way::UDP);
    earn_a_ban(&stage, &phone);
    wait_banned(&stage, host);
    let (edge, address) = (stage.ringfence(), host.to_string());

    let list = edge.command(&["bans", "list"]);
    assert!(list.contains(&address) && list.contains("abandoned"), "{list}");
    let explained = edge.command(&["explain", &address]);
    for part in ["is banned", "INVITE abandoned", "6001@", "dialled \"5551\"", "INVITE sip:5551@"] {
        assert!(explained.contains(part), "no {part} in\n{explained}");
    }
    let by_account = edge.command(&["explain", "6001@pbx.test"]);
    assert!(by_account.contains(&address), "{by_account}");

    let lifted = edge.command(&["bans", "lift", &address, "--trust", "24h"]);
    assert!(lifted.contains("trusted until"), "{lifted}");
    assert!(edge.command(&["bans", "list"]).contains("nothing is banned"));
    phone.register();
    phone.call("100").answered().hang_up();
    earn_nothing(&stage, &phone);
}

/// What would have been evidence is none of somebody trusted.
fn earn_nothing(stage: &Stage, phone: &Ua) {
    for _ in 0..3 {
        abandon(phone);
    }
    phone.call("100").answered().hang_up();
    assert!(stage.ringfence().command(&["bans", "list"]).contains("nothing is banned"));
}

fn ends_by_itself(mode: Mode) {
    let stage = Plan::new(mode)
        .with("policy: { patience: { invite: 1s }, bans: { first: 1s, longest: 2s } }")
        .start();
    let host = stage.network.far(0);
    let phone = stage.phone_at("6001", host, Way::UDP);
    earn_a_ban(&stage, &phone);
    wait_until("the ban is over", PATIENCE, || {
        let stranger = Stranger::at(host.into(), stage.server(Way::UDP));
        stranger.exchange(&phone.registration(300), 1).is_some()
    });
    phone.register();
    phone.call("100").answered().hang_up();
}

fn outlives_a_reload(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let host = stage.network.far(0);
    earn_a_ban(&stage, &stage.phone_at("6001", host, Way::UDP));
    wait_banned(&stage, host);
    stage.ringfence().change("invite: 1s", "invite: 2s");
    wait_until("it was reloaded", PATIENCE, || {
        stage.ringfence().metric("ringfence_reloads_total", &["applied"]) >= 1.0
    });
    wait_banned(&stage, host);
    let phone = stage.phone_at("6001", host, Way::UDP);
    phone.send(&phone.registration(300));
    settled(&stage, "6002");
    assert_eq!(phone.received(|_| true), []);
}

fn is_lifted_when_its_source_is_trusted_after_a_reload(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let host = stage.network.far(0);
    earn_a_ban(&stage, &stage.phone_at("6001", host, Way::UDP));
    wait_banned(&stage, host);
    let trusted =
        format!("policy: {{ trust: {{ networks: [{{ name: office, network: {host}/32 }}] }},");
    stage.ringfence().change("policy: {", &trusted);
    wait_until("it was reloaded", PATIENCE, || {
        stage.ringfence().metric("ringfence_reloads_total", &["applied"]) >= 1.0
    });
    stage.phone_at("6001", host, Way::UDP).register();
}

/// `mode: observe`: it is said who would be banned, and nobody is.
fn is_only_observed(mode: Mode) {
    let observing = SWIFT.replace("policy: {", "policy: { mode: observe,");
    let stage = Plan::new(mode).with(&observing).start();
    let phone = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    earn_a_ban(&stage, &phone);
    phone.register();
    phone.call("100").answered().hang_up();
    let scanner = stage.stranger(1);
    let invite = sipcli("6001", "100", scanner.local(), "pbx.test");
    assert_eq!(scanner.exchange(&invite, 3).and_then(|m| m.code()), Some(401));
}

/// /metrics and the log tell it, and name nobody in a label.
fn is_counted(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let alice = settled(&stage, "6001");
    let host = stage.network.far(0);
    let phone = stage.phone_at("6002", host, Way::UDP);
    earn_a_ban(&stage, &phone);
    wait_banned(&stage, host);
    let edge = stage.ringfence();
    wait_outcomes(&stage, "authenticated", 1);
    wait_outcomes(&stage, "abandoned", 3);
    wait_counted(&stage, "ringfence_bans_total", "", 1);
    let page = edge.fetch("/metrics");
    for private in ["6002", &host.to_string(), &alice.local().ip().to_string()] {
        assert!(!page.contains(&format!("\"{private}")), "{private} in {page}");
    }
    wait_until("the log names the banned address", PATIENCE, || {
        edge.log().contains(&host.to_string())
    });
    assert!(fs::metadata(&edge.configuration).is_ok());
}
