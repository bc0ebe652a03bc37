//! Who must not be banned.

use super::*;
use crate::nonce::while_it_is_fresh;

edge!(
    sixty_phones_behind_one_address,
    old_password_beside_good_phones,
    phones_on_streams,
    registered_phones_outlive_the_edge,
);

one_shard!(
    acknowledgements_that_are_wrong,
    retries_that_sometimes_never_come,
    stale_nonces_all_day,
    carrier_on_a_new_address,
    misdials,
    no_user_agent,
);

#[track_caller]
fn nobody_is_banned(stage: &Stage) {
    for reason in ["banned", "pair_banned", "narrowed", "guarded", "signature", "rule", "rate"] {
        assert_eq!(refusals(stage, reason), 0.0, "{reason}");
    }
}

/// Behind one address, all at once, twice: a power cut. Then calls.
fn sixty_phones_behind_one_address(mode: Mode) {
    let stage = Plan::new(mode).office().start();
    let office = stage.network.far(0);
    let phones: Vec<_> =
        (6301..6361).map(|user| stage.phone_at(&user.to_string(), office, Way::UDP)).collect();
    for _ in 0..2 {
        at_once(&phones, |phone| drop(phone.register()));
    }
    at_once(&phones[..12], |phone| phone.call("100").answered().hang_up());
    stage.pbx().call("6342");
    phones[41].incoming().accept().hang_up();
    nobody_is_banned(&stage);
}

fn at_once(phones: &[Ua], what: impl Fn(&Ua) + Sync) {
    std::thread::scope(|scope| {
        let what = &what;
        for phone in phones {
            scope.spawn(move || what(phone));
        }
    });
}

/// One phone behind the office's address has the old password and goes on trying: it alone is
/// refused.
fn old_password_beside_good_phones(mode: Mode) {
    let stage = Plan::new(mode).office().start();
    let office = stage.network.far(0);
    let good: Vec<_> =
        (6301..6311).map(|user| stage.phone_at(&user.to_string(), office, Way::UDP)).collect();
    at_once(&good, |phone| drop(phone.register()));
    let mut old = stage.phone_at("6001", office, Way::UDP);
    old.password = "last year's".into();
    for _ in 0..5 {
        old.authenticated(&old.registration(300)).expect_code(401);
    }
    let banned = refusals(&stage, "pair_banned");
    old.send(&old.registration(300));
    wait_until("the old password is not tried any more", PATIENCE, || {
        refusals(&stage, "pair_banned") > banned
    });
    assert_eq!(refusals(&stage, "banned"), 0.0);
    at_once(&good, |phone| drop(phone.register()));
    at_once(&good[..6], |phone| phone.call("100").answered().hang_up());
    let new = stage.phone_at("6311", office, Way::TLS);
    works(&stage, &new);
}

/// Branch, CSeq and host of ACKs to a 401 are often wrong (docs/admission.md): the challenges are
/// answered, and that counts.
fn acknowledgements_that_are_wrong(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let alice = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    for n in 0..9 {
        let call = alice.invite("100");
        let challenge = alice.final_response(&call.invite).expect_code(401);
        // Asterisk makes the To-tag of the branch that it sees: the edge's, not the phone's
        let branch = call.invite.branch();
        assert!(!challenge.value("To").contains(&branch), "{challenge}");
        let mut ack = Stranger::acknowledgement(&call.invite, &challenge);
        match n % 3 {
            0 => ack.set("Via", alice.via()),
            1 => ack.set("From", ack.value("From").replace("pbx.test", "10.0.0.1")),
            _ => ack.set("CSeq", "7 ACK"),
        }
        alice.send(&ack);
        let again = alice.with_credentials(&call.invite, &challenge);
        Call::send(&alice, again, alice.rtp()).answered().hang_up();
    }
    works(&stage, &alice);
    nobody_is_banned(&stage);
    // each of them showed where its sender is
    wait_counted(&stage, "ringfence_proofs_total", "kind=\"ack_tag\"", 9);
}

/// One call in a few ends with the challenge.
fn retries_that_sometimes_never_come(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    let alice = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    works(&stage, &alice);
    for n in 1..=6 {
        let call = alice.invite("100");
        let challenge = alice.final_response(&call.invite).expect_code(401);
        call.acknowledge_refusal(&challenge);
        wait_outcomes(&stage, "abandoned", n);
        alice.call("100").answered().hang_up();
    }
    works(&stage, &alice);
    nobody_is_banned(&stage);
}

/// Each refresh with the nonce of the last one.
fn stale_nonces_all_day(mode: Mode) {
    let stage = Plan::new(mode).nonce_life(1).start();
    let alice = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    let mut challenge = alice.transact(&alice.registration(300)).expect_code(401);
    let mut stale = 0;
    wait_until("three nonces grew old", PATIENCE * 2, || {
        let answer = alice.transact(&alice.with_credentials(&alice.registration(300), &challenge));
        if answer.code() == Some(401) {
            assert!(is_stale(&answer), "{answer}");
            challenge = answer;
            stale += 1;
        }
        stale == 3
    });
    while_it_is_fresh(&alice, &alice.registration(300), challenge);
    works(&stage, &alice);
    nobody_is_banned(&stage);
}

fn phones_on_streams(mode: Mode) {
    let stage = Plan::new(mode).office().start();
    let office = stage.network.far(0);
    let way = |user| if user % 2 == 0 { Way::TCP } else { Way::TLS };
    let phones: Vec<_> =
        (6301..6321).map(|user| stage.phone_at(&user.to_string(), office, way(user))).collect();
    at_once(&phones, |phone| drop(phone.register()));
    at_once(&phones[..10], |phone| phone.call("100").answered().hang_up());
    nobody_is_banned(&stage);
}

/// The edge forgets who they are, and takes them up again.
fn registered_phones_outlive_the_edge(mode: Mode) {
    let mut stage = Plan::new(mode).office().start();
    let phones: Vec<_> = (6301..6341)
        .map(|user| stage.phone_at(&user.to_string(), stage.network.far(user % 4), Way::UDP))
        .collect();
    at_once(&phones, |phone| drop(phone.register()));
    stage.restart_edge();
    at_once(&phones, |phone| drop(phone.register()));
    at_once(&phones[..8], |phone| phone.call("100").answered().hang_up());
    nobody_is_banned(&stage);
}

/// A carrier calls one of our numbers from an address nobody told us of. It never answers a
/// challenge, and must be heard of, not banned.
fn carrier_on_a_new_address(mode: Mode) {
    let dids = SWIFT.replace("policy: {", "policy: { dids: [\"4930555*\"],");
    let stage = Plan::new(mode).with(&dids).start();
    let carrier = stage.phone_at("anonymous", stage.network.far(0), Way::UDP);
    for n in 1..=6 {
        let call = carrier.invite("+49305551234");
        let challenge = carrier.final_response(&call.invite).expect_code(401);
        call.acknowledge_refusal(&challenge);
        wait_outcomes(&stage, "abandoned", n);
    }
    nobody_is_banned(&stage);
    let host = carrier.local().ip().to_string();
    wait_until("the log names the carrier", PATIENCE, || {
        stage.ringfence().log().lines().any(|line| line.contains(&host) && line.contains("carrier"))
    });
}

/// Who is known may dial what he likes.
fn misdials(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    alice.register();
    for number in ["900972597438354", "011442037690000", "0046000"] {
        alice.call(number).refused(404);
    }
    works(&stage, &alice);
    nobody_is_banned(&stage);
}

fn no_user_agent(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone_at("6001", stage.network.far(0), Way::UDP);
    let nameless = |mut request: Message| {
        request.remove("User-Agent");
        request
    };
    alice.authenticated(&nameless(alice.registration(300))).expect_code(200);
    alice.call_with("100", nameless).answered().hang_up();
    nobody_is_banned(&stage);
}
