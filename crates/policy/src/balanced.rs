//! The rules of the profile `balanced`. `config/profiles/balanced.yaml` says the same to people;
//! a test in `config` holds the two together.

use crate::{
    LimitAnswer, LimitKey, MethodSet, Mode, NumberSet, Outcome, Rate, Rule, Then, When, Who, WhoSet,
};
use std::time::Duration;

fn rule(name: &str, when: When, then: Then) -> Rule {
    Rule { name: name.into(), when, then, mode: Mode::Enforce }
}

fn methods(names: &[&str]) -> MethodSet {
    MethodSet::of(names).unwrap_or(MethodSet::ALL)
}

pub(crate) fn rules() -> Vec<Rule> {
    let any = When::default();
    let strangers = When { who: WhoSet::STRANGERS, ..any.clone() };
    let second = Duration::from_secs(1);
    let limit = |per, count, answer| Then::Limit {
        per,
        rate: Rate { count, per: second, burst: count * 4 },
        answer,
    };
    let weigh = |outcome, names: &[&str]| When {
        outcome: Some(outcome),
        methods: methods(names),
        ..any.clone()
    };
    let abandoned = weigh(Outcome::Abandoned, &["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"]);
    let refused = weigh(Outcome::Refused, &[]);
    let refused = When { methods: MethodSet::ALL, ..refused };
    vec![
        rule("bad-user", When { bad_user: true, ..strangers.clone() }, Then::Drop),
        rule(
            "stranger-methods",
            When {
                methods: methods(&[
                    "INVITE",
                    "REGISTER",
                    "OPTIONS",
                    "SUBSCRIBE",
                    "PUBLISH",
                    "MESSAGE",
                ])
                .others(),
                dialog: Some(false),
                ..strangers.clone()
            },
            Then::Reject(405),
        ),
        rule(
            "dialled-abroad",
            When {
                methods: methods(&["INVITE"]),
                credentials: Some(false),
                dialled: Some(NumberSet {
                    patterns: ["00972*", "0044*", "0046*", "007536*", "0076*"]
                        .map(Into::into)
                        .to_vec(),
                }),
                ..strangers.clone()
            },
            Then::Fast,
        ),
        rule(
            "unproven-pool",
            When { who: WhoSet::of(&[Who::Unproven]), ..any.clone() },
            limit(LimitKey::All, 50_000, LimitAnswer::Challenge),
        ),
        // each its own budget: whoever borrows a phone's address spends the unproven one, and the
        // phone answers the challenge
        rule(
            "unproven-rate",
            When { who: WhoSet::of(&[Who::Unproven]), ..any.clone() },
            limit(LimitKey::Source, 50, LimitAnswer::Challenge),
        ),
        rule(
            "proven-rate",
            When { who: WhoSet::of(&[Who::Proven]), ..any.clone() },
            limit(LimitKey::Source, 200, LimitAnswer::Pace),
        ),
        rule(
            "source-rate",
            When { who: WhoSet::of(&[Who::Known]), ..any.clone() },
            limit(LimitKey::Source, 2_000, LimitAnswer::Pace),
        ),
        rule("abandoned-invite", weigh(Outcome::Abandoned, &["INVITE"]), Then::Weigh(1.0)),
        rule("abandoned", When { repeated: Some(false), ..abandoned.clone() }, Then::Weigh(0.5)),
        rule(
            "abandoned-again",
            When { repeated: Some(true), ..abandoned.clone() },
            Then::Weigh(0.02),
        ),
        rule("refused", When { repeated: Some(false), ..refused.clone() }, Then::Weigh(0.5)),
        rule("refused-again", When { repeated: Some(true), ..refused.clone() }, Then::Weigh(0.05)),
        rule("foreign", When { outcome: Some(Outcome::Foreign), ..any.clone() }, Then::Weigh(0.05)),
        rule(
            "not-found",
            When { who: WhoSet::of(&[Who::Proven]), ..weigh(Outcome::NotFound, &["INVITE"]) },
            Then::Weigh(0.5),
        ),
    ]
}
