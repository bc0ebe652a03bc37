//! What answers mean when few of them come so: other statuses, other moments, other rules.

use super::*;
use crate::{BanId, BanKey, Learned, Origin};
use policy::Network;
use std::time::Duration;

const REMOTE: &str = "198.51.100.7:5060";

fn guesser() -> Client {
    Client::tcp(REMOTE, "REGISTER", "alice", 1)
}

/// Credentials go to the PBX; what is remembered of them.
fn tries(play: &mut Play, client: &mut Client) -> Got {
    play.new_call(client);
    let Got::Pass(pass) = play.ask(client, "", "") else { panic!("the first is no try") };
    let line = play.challenge(client, &pass, false).1;
    play.ask(client, "", &Play::credentials(client, &line))
}

fn passed(got: Got) -> Box<Pass> {
    let Got::Pass(pass) = got else { panic!("{got:?}") };
    assert_eq!(pass.credentials, Credentials::Relayed);
    pass
}

#[test]
fn a_403_to_credentials_refuses_as_a_401_does() {
    let mut play = Play::new();
    let mut client = guesser();
    for _ in 0..5 {
        assert_eq!(play.bans().len(), 0);
        assert_eq!(play.attempt(&mut client, 403), Ok(()));
    }
    assert_eq!(play.outcomes(Outcome::Refused), 5);
    assert!(matches!(play.bans()[..], [crate::Ban { key: BanKey::AorSource { .. }, .. }]));
}

#[test]
fn without_a_challenge_only_a_registration_shows_that_credentials_were_right() {
    for (method, status, known) in
        [("INVITE", 486, 0), ("INVITE", 200, 0), ("REGISTER", 404, 0), ("REGISTER", 200, 1)]
    {
        let mut play = Play::new();
        let mut client = guesser();
        play.new_call(&mut client);
        let Got::Pass(pass) = play.ask(&client, "", "") else { panic!("no challenge") };
        let line = play.challenge(&client, &pass, false).1;
        // another call with the nonce of that challenge
        let mut other = Client { method, ..client.clone() };
        play.new_call(&mut other);
        let pass = passed(play.ask(&other, "", &Play::credentials(&other, &line)));
        play.answer(&other, &pass, status, "");
        assert_eq!(play.outcomes(Outcome::Authenticated), known, "{method} {status}");
    }
}

#[test]
fn who_names_two_accounts_is_challenged_anew() {
    let mut play = Play::new();
    let mut client = guesser();
    play.new_call(&mut client);
    let Got::Pass(pass) = play.ask(&client, "", "") else { panic!("no challenge") };
    let line = play.challenge(&client, &pass, false).1;
    let own = Play::credentials(&client, &line);
    let others = own.replace("username=\"alice\"", "username=\"bob\"");
    assert_ne!(own, others);
    for both in [format!("{own}{others}"), format!("{others}{own}")] {
        let Got::Pass(pass) = play.ask(&client, "", &both) else { panic!("it is no refusal") };
        assert_eq!(pass.credentials, Credentials::Foreign);
    }
    passed(play.ask(&client, "", &format!("{own}{own}")));
}

#[test]
fn a_100_says_nothing_of_a_strangers_credentials_and_a_180_all() {
    for status in [100, 180] {
        let mut play = Play::new();
        let mut client = guesser();
        let mut under_way = 0;
        for _ in 0..10 {
            match tries(&mut play, &mut client) {
                Got::Pass(mut pass) => play.gate.on_provisional(status, &mut pass.ticket),
                other => {
                    assert_eq!(other, Got::Reject(503));
                    break;
                }
            }
            under_way += 1;
        }
        assert_eq!(under_way, if status == 100 { 5 } else { 10 });
    }
}

#[test]
fn what_another_pbx_says_to_a_request_without_its_credentials_refuses_nobody() {
    let mut play = Play::new();
    let mut client = guesser();
    for _ in 0..20 {
        // each goes to another PBX before its own has said anything
        let mut pass = passed(tries(&mut play, &mut client));
        play.gate.on_passed_over(&mut pass.ticket, 2);
        play.answer(&client, &pass, 401, "");
    }
    assert_eq!((play.outcomes(Outcome::Refused), play.bans().len()), (0, 0));
}

#[test]
fn nothing_is_held_against_who_is_trusted_before_the_answer_comes() {
    let mut play = Play::new();
    let mut client = guesser();
    assert_eq!(play.attempt(&mut client, 401), Ok(()));
    let under_way: Vec<_> = (0..4)
        .map(|_| {
            let pass = passed(tries(&mut play, &mut client));
            (client.clone(), pass)
        })
        .collect();
    let network = Network::host(client.flow.remote.ip());
    let trust = Some(play.now + Duration::from_secs(60));
    play.gate.learned(play.now, &Learned::Lift { network, trust, forgive: false });
    play.drain();
    for (client, pass) in under_way {
        play.challenge(&client, &pass, false);
    }
    assert_eq!(play.bans().len(), 0);
}

#[test]
fn a_ban_drops_nobody_while_the_gate_only_observes() {
    let mut play = Play::new();
    let network = Network::around(REMOTE.parse::<std::net::SocketAddr>().unwrap().ip());
    let ban = crate::Ban {
        id: BanId(1),
        key: BanKey::Network(network),
        why: "order".into(),
        reason: Reason::Banned,
        proof: None,
        since: play.now,
        until: play.now + Duration::from_secs(600),
        narrowed: false,
        policy_version: 0,
        score: 0.0,
        origin: Origin::Local,
        evidence: Vec::new(),
    };
    play.gate.learned(play.now, &Learned::Ban(Box::new(ban)));
    play.drain();
    assert!(play.is_banned("198.51.100.8"));
    let mut policy = Play::policy();
    policy.admission.mode = Mode::Observe;
    play.gate.configure(play.now, Arc::new(policy));
    assert!(!play.is_banned("198.51.100.8"));
}

#[test]
fn credentials_of_somebody_elses_are_judged_in_a_dialog_too() {
    let mut play = Play::new();
    let mut home = Client::tcp(REMOTE, "REGISTER", "bob", 1);
    play.attempt(&mut home, 200).unwrap();
    let mut client = Client { method: "INVITE", ..guesser() };
    for (user, judged) in [("alice", true), ("bob", false)] {
        (client.aor, client.username) = (format!("{user}@pbx.example"), user.into());
        play.new_call(&mut client);
        let Got::Pass(pass) = play.ask(&client, "", "") else { panic!("no challenge") };
        let line = play.challenge(&client, &pass, false).1;
        let text = client.text("INVITE", "t", &Play::credentials(&client, &line));
        let message = wire::Message::parse(text.as_bytes(), &wire::Limits::default()).unwrap();
        let request = Request { flow: &client.flow, message: &message, dialog: true, pbx: 0 };
        let judgement = play.gate.on_request(play.now, &request);
        assert_eq!(judgement.judged, judged, "{user}");
    }
}

#[test]
fn a_signature_that_only_observes_stops_nobody() {
    for (mode, stopped) in [(Mode::Enforce, true), (Mode::Observe, false), (Mode::Off, false)] {
        let spec = policy::SignatureSpec {
            id: "phone".into(),
            ceiling: policy::Ceiling::Drop,
            mode,
            what: "".into(),
            source: "".into(),
            false_positives: "".into(),
            when: policy::Condition::Text(
                policy::TextField::UserAgent,
                policy::Test::Starts(vec!["Phone".into()]),
            ),
        };
        let mut play =
            Play::with(|rules| rules.signatures = policy::Signatures::compile(vec![spec]).unwrap());
        let got = play.abandon(&mut guesser(), false);
        assert_eq!(got == Got::Drop(Reason::Signature), stopped, "{mode:?} {got:?}");
    }
}

/// One in an hour, and what is over is dropped.
fn hourly(name: &str, per: policy::LimitKey, credentials: Option<bool>) -> policy::Rule {
    let rate = policy::Rate::new(1, Duration::from_secs(3_600));
    let then = policy::Then::Limit { per, rate, answer: policy::LimitAnswer::Drop };
    let when = policy::When { credentials, ..policy::When::default() };
    policy::Rule { name: name.into(), when, then, mode: Mode::Enforce }
}

#[test]
fn a_rule_that_accepts_ends_those_behind_it_and_none_before() {
    let accepts = || {
        let (when, then) = (policy::When::default(), policy::Then::Accept);
        policy::Rule { name: "friends".into(), when, then, mode: Mode::Enforce }
    };
    let hourly = || hourly("hourly", policy::LimitKey::Source, None);
    for (added, limited) in [([accepts(), hourly()], false), ([hourly(), accepts()], true)] {
        let mut play = Play::with(|rules| drop(rules.rules.splice(0..0, added)));
        let mut client = guesser();
        assert!(matches!(play.abandon(&mut client, false), Got::Pass(_)));
        let second = play.abandon(&mut client, false);
        assert_eq!(second == Got::Drop(Reason::Rate), limited, "{second:?}");
    }
}

#[test]
fn a_rate_by_aor_is_the_accounts_whatever_else_it_writes() {
    let limit = hourly("hourly", policy::LimitKey::Aor, Some(true));
    let mut play = Play::with(|rules| rules.rules.insert(0, limit));
    for (aor, username, limited) in
        [("alice", "alice", false), ("bob", "alice", true), ("bob", "bob", false)]
    {
        let mut client = guesser();
        (client.aor, client.username) = (format!("{aor}@pbx.example"), username.into());
        let got = tries(&mut play, &mut client);
        assert_eq!(got == Got::Drop(Reason::Rate), limited, "{aor} {username}: {got:?}");
    }
}
