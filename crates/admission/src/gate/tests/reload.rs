//! Rules and signatures that change their places while challenges are open.

use super::play::*;
use crate::{Alert, Effect};
use policy::{Ceiling, Condition, Mode, Policy, SignatureSpec, Signatures, Test, TextField};
use std::sync::Arc;

fn signature(id: &str, starts: &str, ceiling: Ceiling) -> SignatureSpec {
    SignatureSpec {
        id: id.into(),
        ceiling,
        mode: Mode::Enforce,
        what: "".into(),
        source: "".into(),
        false_positives: "".into(),
        when: Condition::Text(TextField::UserAgent, Test::Starts(vec![starts.into()])),
    }
}

fn tool() -> SignatureSpec {
    signature("tool", "tool", Ceiling::Drop)
}

fn phone() -> SignatureSpec {
    signature("phone", "phone", Ceiling::Score)
}

fn policy(signatures: Vec<SignatureSpec>) -> Policy {
    let mut policy = Play::policy();
    policy.admission.signatures = Signatures::compile(signatures).unwrap();
    policy
}

fn demoted(play: &mut Play) -> Vec<u16> {
    play.drain();
    let of = |effect: &Effect| match effect {
        Effect::Alert(Alert::Demoted { signature }) => Some(*signature),
        _ => None,
    };
    play.effects.iter().filter_map(of).collect()
}

fn caller() -> Client {
    let mut caller = Client::new("203.0.113.9:5060", "REGISTER", "alice");
    caller.lines = "User-Agent: phone 1\r\n".into();
    caller
}

#[test]
fn a_success_of_a_request_from_before_a_reload_demotes_no_other_signature() {
    let mut play = Play::with(|it| *it = policy(vec![phone(), tool()]).admission);
    let mut caller = caller();
    play.new_call(&mut caller);
    let Got::Pass(pass) = play.ask(&caller, "", "") else { panic!() };
    let (_, line) = play.challenge(&caller, &pass, false);
    let credentials = Play::credentials(&caller, &line);
    let Got::Pass(pass) = play.ask(&caller, "", &credentials) else { panic!() };
    assert_eq!(pass.ticket.signature, 0);
    // what was the phone's place is the tool's now
    play.gate.configure(play.now, Arc::new(policy(vec![tool(), phone()])));
    play.answer(&caller, &pass, 200, "");
    assert_eq!(demoted(&mut play), [0u16; 0]);
    assert_eq!(play.gate.counts().signatures, [(0, 0), (0, 0)]);
}

#[test]
fn a_challenge_from_before_a_reload_knows_its_signature_by_name() {
    let mut play = Play::with(|it| *it = policy(vec![phone(), tool()]).admission);
    let mut caller = caller();
    play.new_call(&mut caller);
    let Got::Pass(pass) = play.ask(&caller, "", "") else { panic!() };
    let (_, line) = play.challenge(&caller, &pass, false);
    play.gate.configure(play.now, Arc::new(policy(vec![tool(), phone()])));
    let credentials = Play::credentials(&caller, &line);
    let Got::Pass(pass) = play.ask(&caller, "", &credentials) else { panic!() };
    assert_eq!(pass.ticket.signature, 1, "the tool's would have dropped it");
    play.answer(&caller, &pass, 200, "");
    assert_eq!(demoted(&mut play), [1]);
}

#[test]
fn a_challenge_whose_signature_is_gone_has_none() {
    let mut play = Play::with(|it| *it = policy(vec![phone(), tool()]).admission);
    let mut caller = caller();
    play.new_call(&mut caller);
    let Got::Pass(pass) = play.ask(&caller, "", "") else { panic!() };
    let (_, line) = play.challenge(&caller, &pass, false);
    play.gate.configure(play.now, Arc::new(policy(vec![tool()])));
    let credentials = Play::credentials(&caller, &line);
    let Got::Pass(pass) = play.ask(&caller, "", &credentials) else { panic!() };
    assert_eq!(pass.ticket.signature, u16::MAX);
    play.answer(&caller, &pass, 200, "");
    assert_eq!(demoted(&mut play), [0u16; 0]);
}

#[test]
fn what_explains_a_ban_names_its_rule_by_todays_number() {
    let mut play = Play::new();
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..3 {
        play.abandon(&mut tool, true);
        play.wait(9_000);
    }
    let rules = Play::policy().admission.rules;
    let named = |play: &Play, rules: &[policy::Rule]| -> Vec<Option<String>> {
        let records = &play.gate.bans(1)[0].evidence;
        let name = |rule: u16| rules.get(usize::from(rule)).map(|rule| rule.name.to_string());
        records.iter().map(|record| name(record.rule)).collect()
    };
    let before = named(&play, &rules);
    assert!(before.iter().all(|name| name.as_deref() == Some("abandoned-invite")), "{before:?}");
    let mut turned = Play::policy();
    turned.admission.rules.rotate_left(1);
    let rules = turned.admission.rules.clone();
    play.gate.configure(play.now, Arc::new(turned));
    assert_eq!(named(&play, &rules), before);
    let mut without = Play::policy();
    without.admission.rules.retain(|rule| &*rule.name != "abandoned-invite");
    let rules = without.admission.rules.clone();
    play.gate.configure(play.now, Arc::new(without));
    assert!(named(&play, &rules).iter().all(Option::is_none));
}
