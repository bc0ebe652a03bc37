//! The forum's case: a dialler that tries number after number, takes each 401 for an answer and
//! never has credentials.

use std::time::Duration;

use super::*;

edge!(known_by_its_shape, banned_at_its_third_challenge, many_addresses_are_one_campaign);

one_shard!(
    banned_when_it_is_slow,
    banned_whoever_it_claims_to_be,
    banned_sooner_for_what_it_dials,
    never_acknowledges,
    calls_all_at_once,
    pbx_that_repeats_its_challenge,
);

/// Twice a second, in an eighth of its time.
const FAST: Duration = Duration::from_millis(62);
/// Once in four seconds, likewise.
const SLOW: Duration = Duration::from_millis(500);

/// Default policy: its first packet is dropped, nobody sees it.
fn known_by_its_shape(mode: Mode) {
    let stage = Stage::new(mode);
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let caller = stage.stranger(0);
    for from in ["6001", "1000"] {
        caller.send(&sipcli(from, "5551234", caller.local(), "pbx.test"));
    }
    works(&stage, &alice);
    assert_eq!(caller.take_all(), [], "it was answered");
    assert_eq!(stage.pbx().heard_from(caller.local().ip()), []);
    wait_counted(&stage, "ringfence_requests_total", "reason=\"signature\"", 2);
}

/// A dialler's day in one go: `tries` INVITEs, one per `pace`, the refusals acknowledged if `acks`.
fn dial(
    stage: &Stage,
    caller: &Stranger,
    from: &str,
    numbers: &str,
    tries: usize,
    pace: Duration,
    acks: bool,
) {
    for n in 0..tries {
        let invite =
            sipcli(from, &format!("{numbers}{n}"), caller.local(), &stage.public().to_string());
        caller.send(&invite);
        let until = std::time::Instant::now() + pace;
        while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
            let Some(answer) = caller.receive(left) else { continue };
            if acks && answer.code() == Some(401) && answer.call_id() == invite.call_id() {
                caller.send(&Stranger::acknowledgement(&invite, &answer));
            }
        }
    }
}

/// It is banned, fewer than ten of its calls came through, and its next one leads to nothing.
/// What it was banned for.
fn is_banned(stage: &Stage, caller: &Stranger, case: &str) -> usize {
    let host = caller.local().ip();
    wait_until("its ban is in the log", PATIENCE, || ban_line(stage, host).is_some());
    let evidence = ban_evidence(stage, host);
    let banned = refusals(stage, "banned");
    let arrived = stage.pbx().heard_from(host).len();
    report(
        "forum",
        &format!("{case:48} {arrived} INVITEs reached the PBX, {evidence} abandoned at the ban"),
    );
    assert!(arrived < 10, "{arrived} INVITEs reached the PBX");
    let _ = caller.take_all();
    caller.send(&sipcli("6001", "1", caller.local(), "pbx.test"));
    wait_until("its next packet is dropped", PATIENCE, || refusals(stage, "banned") > banned);
    assert_eq!(stage.pbx().heard_from(host).len(), arrived);
    assert_eq!(caller.take_all(), []);
    evidence
}

/// The line of the log about an address's ban.
fn ban_line(stage: &Stage, host: std::net::IpAddr) -> Option<String> {
    let key = format!("key=\"{host}\"");
    stage.ringfence().log().lines().find(|line| line.contains(&key)).map(str::to_owned)
}

/// How many pieces of evidence the log names for an address's ban.
fn ban_evidence(stage: &Stage, host: std::net::IpAddr) -> usize {
    let line = ban_line(stage, host).unwrap_or_else(|| panic!("no ban of {host} in the log"));
    let (_, rest) = line.split_once(" evidence=").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn dialler(mode: Mode, from: &str, numbers: &str, tries: usize, pace: Duration) -> usize {
    let stage = Plan::new(mode).with(SWIFT).start();
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let caller = stage.stranger(0);
    std::thread::scope(|scope| {
        // who speaks beside it notices nothing
        let beside = scope.spawn(|| alice.call("100").answered().hears_echo());
        dial(&stage, &caller, from, numbers, tries, pace, true);
        beside.join().unwrap();
    });
    let case = format!("{mode:?}, {from} dials {numbers}… each {pace:?}");
    let evidence = is_banned(&stage, &caller, &case);
    works(&stage, &alice);
    evidence
}

fn banned_at_its_third_challenge(mode: Mode) {
    assert_eq!(dialler(mode, "1000", "5551", 40, FAST), 3);
}

fn banned_when_it_is_slow(mode: Mode) {
    assert_eq!(dialler(mode, "1000", "5551", 8, SLOW), 3);
}

/// Whom it claims to be exists.
fn banned_whoever_it_claims_to_be(mode: Mode) {
    assert_eq!(dialler(mode, "6001", "5551", 40, FAST), 3);
    assert_eq!(dialler(mode, "6001", "5551", 8, SLOW), 3);
}

/// Numbers that only diallers dial without being asked who they are.
fn banned_sooner_for_what_it_dials(mode: Mode) {
    assert_eq!(dialler(mode, "1000", "9009725971", 30, FAST), 1);
}

/// Without an ACK nothing proves that it is where it seems to be: no ban, whatever comes, and no
/// more bytes to that address than came from there.
fn never_acknowledges(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let caller = stage.stranger(0);
    dial(&stage, &caller, "6001", "5551", 60, FAST, false);
    wait_outcomes(&stage, "unreachable", 3);
    let arrived = stage.pbx().heard_from(caller.local().ip()).len();
    report("forum", &format!("{mode:?}, no ACK, 60 INVITEs: {arrived} reached the PBX"));
    assert!(arrived < 30, "{arrived} reached the PBX");
    assert_eq!(refusals(&stage, "banned"), 0.0, "banned without proof");
    let _ = caller.take_all();
    let (sent, received) = caller.bytes();
    assert!(received <= sent, "{sent} bytes sent, {received} came back");
    // whose address it is may come and register
    let victim = stage.phone_at("6002", stage.network.far(0), Way::UDP);
    victim.register();
    victim.call("100").answered().hang_up();
    works(&stage, &alice);
}

/// All its calls before the PBX has challenged the first: no more reach it than one by one.
fn calls_all_at_once(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let caller = stage.stranger(0);
    let server = stage.public().to_string();
    let call = |n| sipcli("1000", &format!("555{n}"), caller.local(), &server);
    // as many as a socket holds by itself when nobody reads it for a while
    let calls: Vec<_> = (0..100).map(call).collect();
    calls.iter().for_each(|call| caller.send(call));
    wait_until("all but some are stopped", PATIENCE, || refusals(&stage, "narrowed") >= 90.0);
    let arrived = stage.pbx().heard_from(caller.local().ip()).len();
    report("forum", &format!("{mode:?}, 100 INVITEs at once: {arrived} reached the PBX"));
    assert!((1..10).contains(&arrived), "{arrived} reached the PBX");
    works(&stage, &alice);
}

/// A PBX that repeats its 401 until it sees an ACK (chan_sip): outside it is seen once, and who
/// abandons its challenges is banned at the third all the same.
fn pbx_that_repeats_its_challenge(mode: Mode) {
    let stage = Plan::new(mode).scripted().with(SWIFT).start();
    let pbx = stage.scripted_pbx();
    let caller = stage.stranger(0);
    let ended = std::sync::atomic::AtomicBool::new(false);
    let arrived = std::thread::scope(|scope| {
        let challenging = scope.spawn(|| challenge_all(&pbx, &ended));
        dial(&stage, &caller, "1000", "5551", 60, FAST, true);
        wait_until("the caller is banned", PATIENCE, || {
            caller.send(&sipcli("1000", "5551", caller.local(), "pbx.test"));
            refusals(&stage, "banned") > 0.0
        });
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        challenging.join().unwrap()
    });
    let evidence = ban_evidence(&stage, caller.local().ip());
    report(
        "forum",
        &format!(
            "{mode:?}, chan_sip: {arrived} INVITEs reached it, {evidence} abandoned at the ban"
        ),
    );
    assert_eq!(evidence, 3);
    assert!(arrived < 10, "{arrived} INVITEs reached the PBX");
}

/// Plays chan_sip to all INVITEs: 401 with a tag of its own, and again until the ACK. How many.
fn challenge_all(pbx: &Ua, ended: &std::sync::atomic::AtomicBool) -> usize {
    let (mut open, mut count) = (Vec::<Message>::new(), 0);
    while !ended.load(std::sync::atomic::Ordering::Relaxed) {
        let came = pbx.tape.take(Duration::from_millis(50), |entry| entry.message.is_some());
        match came.and_then(|entry| entry.message) {
            Some(invite) if invite.is("INVITE") => {
                let challenge = pbx.response(&invite, 401, "Unauthorized");
                let value = format!(
                    "Digest algorithm=MD5, realm=\"asterisk\", nonce=\"{}\"",
                    &unique()[..8]
                );
                let challenge = challenge.with("WWW-Authenticate", value);
                pbx.respond(&challenge);
                open.push(challenge);
                count += 1;
            }
            Some(ack) if ack.is("ACK") => {
                open.retain(|challenge| challenge.branch() != ack.branch())
            }
            Some(_) => {}
            None => open.iter().for_each(|challenge| pbx.respond(challenge)),
        }
    }
    assert_eq!(open.len(), 0, "the edge did not acknowledge all");
    count
}

/// Two hundred addresses, one INVITE each: after the first few none reaches the PBX.
fn many_addresses_are_one_campaign(mode: Mode) {
    let stage = Plan::new(mode).with(SWIFT).start();
    stage.pbx().listen_in();
    let alice = settled(&stage, "6001");
    let callers: Vec<_> = (0..200).map(|n| stage.stranger(n)).collect();
    let (first, later) = callers.split_at(20);
    for (n, caller) in first.iter().enumerate() {
        dial(&stage, caller, "1000", &format!("9009725971{n}"), 1, FAST, true);
    }
    wait_until("the campaign is known", PATIENCE, || {
        stage.ringfence().metric("ringfence_bans", &["kind=\"campaign\""]) >= 1.0
    });
    let before = stage.pbx().heard().iter().filter(|m| m.is("INVITE")).count();
    for (n, caller) in later.iter().enumerate() {
        dial(&stage, caller, "1000", &format!("9009725972{n}"), 1, Duration::from_millis(2), true);
    }
    works(&stage, &alice);
    let heard = stage.pbx().heard();
    let far = |m: &&Message| source_of(m).is_some_and(|s| callers.iter().any(|c| c.local() == s));
    let arrived = heard.iter().filter(far).count();
    report(
        "forum",
        &format!("{mode:?}, campaign of 200 addresses: {arrived} INVITEs reached the PBX"),
    );
    let late = |m: &&Message| source_of(m).is_some_and(|s| later.iter().any(|c| c.local() == s));
    let late: Vec<_> = heard.iter().filter(late).map(|m| m.start.as_str()).collect();
    assert_eq!(late, Vec::<&str>::new(), "after {before} INVITEs the campaign was known");
    wait_counted(&stage, "ringfence_requests_total", "reason=\"campaign\"", 1);
}
