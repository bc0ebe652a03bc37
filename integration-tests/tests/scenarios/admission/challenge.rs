//! The edge's own challenge: nothing of a source that has not proved its way back reaches the PBX,
//! and no phone's user notices.

use super::*;
use crate::software::{baresip_calls_at, linphone_calls_at, pjsua_calls_at, sipp};

const ALWAYS: &str = "policy: { edge_challenge: { mode: always, realm: asterisk } }";

edge!(phones_of_all_algorithms, learns_the_realm, begins_under_attack_and_ends);

one_shard!(
    baresip_notices_nothing,
    pjsua_notices_nothing,
    linphone_notices_nothing,
    sipp_notices_nothing,
    streams_need_no_challenge,
);

fn always(mode: Mode) -> Stage {
    let stage = Plan::new(mode).with(ALWAYS).start();
    stage.pbx().listen_in();
    stage
}

/// The challenges that a phone got, each request's once: what it repeats, because the machine was
/// slow, is challenged again.
fn challenges(phone: &Ua) -> Vec<Message> {
    let mut asked = phone.received(|m| m.code() == Some(401));
    asked.dedup_by_key(|m| m.branch());
    asked
}

/// All that reached the PBX came from somebody who had proved that he is there.
#[track_caller]
fn nothing_unproven_arrived(stage: &Stage) {
    let heard: Vec<_> =
        stage.pbx().heard().into_iter().filter(|m| source_of(m).is_some()).collect();
    assert!(!heard.is_empty(), "nothing arrived at all");
    for message in heard {
        let proof = source_param(&message, "proof");
        assert!(proof.is_some_and(|proof| proof != "none"), "from an unproven source:\n{message}");
    }
}

fn baresip_notices_nothing(mode: Mode) {
    let stage = always(mode);
    baresip_calls_at(&stage, "6001", Way::UDP);
    baresip_calls_at(&stage, "6002", Way::TCP);
    nothing_unproven_arrived(&stage);
}

fn pjsua_notices_nothing(mode: Mode) {
    let stage = always(mode);
    pjsua_calls_at(&stage, "6001", Way::UDP);
    pjsua_calls_at(&stage, "6202", Way::UDP);
    if !stage.pbx().heard().is_empty() {
        nothing_unproven_arrived(&stage);
    }
}

fn linphone_notices_nothing(mode: Mode) {
    let stage = always(mode);
    linphone_calls_at(&stage, "6001", Way::UDP);
    nothing_unproven_arrived(&stage);
}

fn sipp_notices_nothing(mode: Mode) {
    let stage = always(mode);
    sipp(&stage, "register", "u1", Family::V4);
    sipp(&stage, "call", "u1", Family::V4);
    stage.pbx().wait_idle();
    nothing_unproven_arrived(&stage);
}

/// MD5, SHA-256, both offered; a phone that knows MD5 only.
fn phones_of_all_algorithms(mode: Mode) {
    let stage = always(mode);
    for (user, md5_only) in
        [("6001", true), ("6001", false), ("6201", false), ("6202", false), ("6202", true)]
    {
        let mut phone = stage.phone(user);
        phone.md5_only = md5_only;
        phone.register();
        let asked = challenges(&phone);
        assert!(
            asked[1..].iter().all(is_stale),
            "it would ask its user:\n{}",
            asked.last().unwrap()
        );
        phone.call("100").answered().hang_up();
    }
    nothing_unproven_arrived(&stage);
    wait_counted(&stage, "ringfence_proofs_total", "kind=\"opaque\"", 1);
}

/// A handshake proves as much.
fn streams_need_no_challenge(mode: Mode) {
    let stage = always(mode);
    for way in [Way::TCP, Way::TLS] {
        let phone = stage.phone_over("6001", way);
        phone.register();
        assert_eq!(challenges(&phone).len(), 1, "one challenge, the PBX's");
        phone.call("100").answered().hang_up();
    }
    nothing_unproven_arrived(&stage);
}

/// No realm is configured, and nobody was challenged yet: the edge asks the PBX, before anything
/// unproven gets there.
fn learns_the_realm(mode: Mode) {
    let stage = Plan::new(mode).with("policy: { edge_challenge: always }").start();
    stage.pbx().listen_in();
    let phone = stage.phone("6001");
    phone.register();
    assert_eq!(challenges(&phone).len(), 1, "the edge's, in the PBX's words");
    phone.call("100").answered().hang_up();
    nothing_unproven_arrived(&stage);
}

/// More forged INVITEs than the budget: strangers must prove themselves first; phones come through
/// all the same, and when it is over all is as it was.
fn begins_under_attack_and_ends(mode: Mode) {
    let stage = Plan::new(mode)
        .with(
            "policy: { signatures: { at_most: note }, patience: { invite: 1s, other: 1s }, \
             edge_challenge: { mode: under-attack, open: 20 } }",
        )
        .start();
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let under_attack = || stage.ringfence().metric("ringfence_under_attack", &[]) > 0.0;
    assert!(!under_attack());
    let mut n = 0;
    wait_until("the edge is under attack", PATIENCE, || {
        for _ in 0..100 {
            // each is another address, nobody answers
            let forger = stage.stranger(n);
            forger.send(&sipcli("6001", "5551234", forger.local(), "pbx.test"));
            n += 1;
        }
        under_attack()
    });
    works(&stage, &alice);
    let bob = stage.phone_at("6002", stage.network.far(15_000), Way::UDP);
    bob.register();
    bob.call("100").answered().hang_up();
    let arrived = stage.pbx().heard().iter().filter(|m| m.is("INVITE")).count();
    report(
        "challenge",
        &format!(
            "{mode:?}, {n} forged INVITEs with a budget of 20: {arrived} INVITEs reached the PBX"
        ),
    );
    wait_until("the attack is over", PATIENCE, || !under_attack());
    works(&stage, &alice);
}
