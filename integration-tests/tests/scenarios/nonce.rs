//! Digest challenges: a nonce is good for the source it was given to, and for its time.

use integration_tests::*;

both!(
    invented_nonce_is_stale,
    outlived_nonce_is_stale,
    nonce_of_another_source_is_stale,
    nonce_serves_calls_too
);

/// Right password, foreign nonce: the phone is told to try again, not to ask its user.
fn invented_nonce_is_stale(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let request = alice.registration(300);
    let mut challenge = alice.transact(&request).expect_code(401);
    let value = challenge.value("WWW-Authenticate").to_owned();
    let nonce = value.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    challenge.set(
        "WWW-Authenticate",
        value.replace(nonce, "1700000000/0123456789abcdef0123456789abcdef"),
    );
    let refused = alice.transact(&alice.with_credentials(&request, &challenge)).expect_code(401);
    assert!(is_stale(&refused), "{refused}");
    alice.transact(&alice.with_credentials(&request, &refused)).expect_code(200);
}

/// What a refresh with a cached nonce meets.
fn outlived_nonce_is_stale(mode: Mode) {
    let stage = Plan::new(mode).nonce_life(1).start();
    let alice = stage.phone("6001");
    let request = alice.registration(300);
    let challenge = alice.transact(&request).expect_code(401);
    let mut refused = None;
    wait_until("the nonce is outlived", PATIENCE, || {
        let answer = alice.transact(&alice.with_credentials(&request, &challenge));
        refused = Some(answer.clone()).filter(|answer| answer.code() == Some(401));
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert!(is_stale(&refused), "{refused}");
    while_it_is_fresh(&alice, &request, refused);
}

/// Takes a challenge up, and the next one when a busy machine let its second pass.
pub(crate) fn while_it_is_fresh(phone: &Ua, request: &Message, mut challenge: Message) {
    wait_until("a nonce is used in time", PATIENCE, || {
        let answer = phone.transact(&phone.with_credentials(request, &challenge));
        let accepted = answer.code() == Some(200);
        assert!(accepted || is_stale(&answer), "{answer}");
        challenge = answer;
        accepted
    });
}

/// Behind the edge the PBX sees one source only, and would take it.
fn nonce_of_another_source_is_stale(mode: Mode) {
    let stage = Stage::new(mode);
    let (scout, thief) = (stage.phone("6001"), stage.phone("6001"));
    let challenge = scout.transact(&scout.registration(300)).expect_code(401);
    let request = thief.registration(300);
    let refused = thief.transact(&thief.with_credentials(&request, &challenge)).expect_code(401);
    assert!(is_stale(&refused), "{refused}");
    assert_eq!(stage.pbx().contacts("6001").len(), 0);
    thief.transact(&thief.with_credentials(&request, &refused)).expect_code(200);
    // the same outside a registration, by one who was never challenged: Asterisk gives all whom
    // it challenges in the same second the same nonce
    let (challenge, thief) = (refused, stage.phone("6001"));
    let options = thief.request("OPTIONS", &thief.uri("100"));
    let refused = thief.transact(&thief.with_credentials(&options, &challenge)).expect_code(401);
    assert!(is_stale(&refused), "{refused}");
}

/// One nonce, several requests of one phone.
fn nonce_serves_calls_too(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let request = alice.registration(300);
    let challenge = alice.transact(&request).expect_code(401);
    alice.transact(&alice.with_credentials(&request, &challenge)).expect_code(200);
    let options = alice.request("OPTIONS", &alice.uri("100"));
    alice.transact(&alice.with_credentials(&options, &challenge)).expect_code(200);
}
