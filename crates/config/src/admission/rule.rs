//! `rules`: what is done when (`docs/policy/rules.md`, `docs/policy/then.md`).

use super::MODE;
use super::rate::RATE;
use crate::form::{self, Word};
use crate::keys::{Form, Section};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::{Field, nearest};
use crate::tree::Kind;
use policy::{LimitAnswer, LimitKey, Mode, Rate, Rule, Then, When};
use std::time::Duration;

/// Rules of one policy; their index must fit into 16 bits, and each costs time.
const RULES_MAX: usize = 1_000;
/// What a rule may do that is one word.
const PLAIN: Word<Plain> = Word(
    "action",
    &[
        ("accept", Plain::Accept),
        ("note", Plain::Note),
        ("score", Plain::Score),
        ("fast", Plain::Fast),
        ("drop", Plain::Drop),
        ("challenge", Plain::Challenge),
    ],
);
const ACTIONS: &str = "one of accept, note, score, fast, drop, challenge, \"reject 405\"; or a \
    table { reject: 405 }, { weigh: 0.5 }, { limit: { per: source, rate: 5/min, answer: drop } }";
const PER: Word<LimitKey> = Word(
    "thing that has a budget of its own",
    &[
        ("all", LimitKey::All),
        ("network", LimitKey::Network),
        ("source", LimitKey::Source),
        ("flow", LimitKey::Flow),
        ("aor", LimitKey::Aor),
    ],
);
const ANSWER: Word<LimitAnswer> = Word(
    "answer",
    &[
        ("drop", LimitAnswer::Drop),
        ("retry", LimitAnswer::Retry),
        ("challenge", LimitAnswer::Challenge),
        ("pace", LimitAnswer::Pace),
    ],
);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Plain {
    Accept,
    Note,
    Score,
    Fast,
    Drop,
    Challenge,
}

/// All rules. One that has the name of a rule that is there changes it in its place; the others
/// stand before those that are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules;

impl Form<Vec<Rule>> for Rules {
    fn read(&self, field: &Field<'_>, value: &mut Vec<Rule>) {
        let mut new: Vec<Rule> = Vec::new();
        let mut seen: Vec<Box<str>> = Vec::new();
        for element in field.list() {
            let Some((named, name)) = rule_name(&element) else { continue };
            if seen.contains(&name) {
                named.error(Complaint::new(format!("a rule \"{name}\" stands here already")));
                // what else is wrong with it is told, too
                let _ = create(&element, name, None);
                continue;
            }
            seen.push(name.clone());
            let known: Vec<&str> = value.iter().map(|rule| &*rule.name).collect();
            let near = nearest(&name, &known).map(str::to_owned);
            match value.iter_mut().find(|rule| rule.name == name) {
                Some(rule) => change(&element, rule),
                None => new.extend(create(&element, name, near)),
            }
        }
        value.splice(0..0, new);
        if value.len() > RULES_MAX {
            let text = format!("{} rules are more than {RULES_MAX}", value.len());
            field.error(Complaint::new(text));
        }
    }

    fn print(&self, value: &Vec<Rule>) -> Option<Out> {
        let print = |rule: &Rule| {
            Out::table([("name", out::text(&rule.name))])
                .with("when", Section.print(&rule.when).unwrap_or_else(|| Out::table([])))
                .with("then", print_then(&rule.then))
                .with("mode", MODE.print(&rule.mode).unwrap_or_else(|| out::text("enforce")))
        };
        Some(Out::List(value.iter().map(print).collect()))
    }

    fn schema(&self, _: &Vec<Rule>) -> Out {
        let properties = Out::table([
            ("name", form::pattern("^[a-z0-9_-]{1,64}$")),
            ("when", Section.schema(&When::default())),
            ("then", then_schema()),
            ("mode", MODE.choice()),
        ]);
        let rule = Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("required", out::texts(&["name"])),
            ("properties", properties),
        ]);
        Out::table([("type", out::text("array")), ("items", rule)])
    }
}

fn rule_name<'a>(rule: &Field<'a>) -> Option<(Field<'a>, Box<str>)> {
    let mut table = rule.table()?;
    let field = table.need("name", "a short word for logs and metrics, e.g. name: no-messages");
    let Some(field) = field else {
        for key in ["when", "then", "mode"] {
            let _ = table.take(key);
        }
        table.finish();
        return None;
    };
    let parse = |text: &str| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(word) {
            let complaint = Complaint::new(format!("\"{text}\" is no name of a rule"));
            return Err(complaint.hint("lower-case letters, digits, - and _; at most 64"));
        }
        Ok(text.into())
    };
    let name = field.parse(parse)?;
    Some((field, name))
}

/// A rule that is there: what is not said stays.
fn change(field: &Field<'_>, rule: &mut Rule) {
    let Some(mut table) = field.table() else { return };
    let _ = table.take("name");
    if let Some(field) = table.take("when") {
        // A rule's conditions belong together: they are not mixed with the old ones.
        rule.when = When::default();
        Section.read(&field, &mut rule.when);
    }
    if let Some(field) = table.take("then")
        && let Some(then) = read_then(&field)
    {
        rule.then = then;
    }
    if let Some(field) = table.take("mode") {
        MODE.read(&field, &mut rule.mode);
    }
    table.finish();
    check(field, rule);
}

fn create(field: &Field<'_>, name: Box<str>, near: Option<String>) -> Option<Rule> {
    let mut table = field.table()?;
    let _ = table.take("name");
    let mut when = When::default();
    let mut hint = "when: {} holds for every request".to_owned();
    if let Some(near) = near {
        hint = format!("{hint}; was the profile's rule \"{near}\" meant?");
    }
    let said = table.need("when", &hint);
    if let Some(field) = &said {
        Section.read(field, &mut when);
    }
    let then = table.need("then", ACTIONS).and_then(|field| read_then(&field));
    let mut mode = Mode::Enforce;
    if let Some(field) = table.take("mode") {
        MODE.read(&field, &mut mode);
    }
    table.finish();
    said?;
    let rule = Rule { name, when, then: then?, mode };
    check(field, &rule);
    Some(rule)
}

/// A rule on outcomes weighs, one on requests does not.
fn check(field: &Field<'_>, rule: &Rule) {
    let weighs = matches!(rule.then, Then::Weigh(_));
    if rule.when.outcome.is_some() && !weighs {
        let complaint = Complaint::new("a rule with \"outcome\" can only weigh");
        field.error(complaint.hint("then: { weigh: 0.5 }; the request has gone by then"));
    }
    if rule.when.outcome.is_none() && weighs {
        let complaint = Complaint::new("only outcomes weigh");
        field.error(complaint.hint("add e.g. outcome: abandoned to \"when\""));
    }
}

fn read_then(field: &Field<'_>) -> Option<Then> {
    if !matches!(field.node.kind, Kind::Table(_)) {
        return field.parse(plain);
    }
    let mut table = field.table()?;
    let reject = table.optional("reject", status).map(Then::Reject);
    let mut weight = 0.0;
    let weigh = table.take("weigh").map(|field| {
        form::Weight(0.0, 1_000.0).read(&field, &mut weight);
        Then::Weigh(weight)
    });
    let limit = table.take("limit").map(|field| limit(&field));
    let count = [reject.is_some(), weigh.is_some(), limit.is_some()];
    let count = count.into_iter().filter(|there| *there).count();
    table.finish();
    if count != 1 {
        let complaint = Complaint::new(format!("{count} actions stand where one is needed"));
        field.error(complaint.hint(ACTIONS));
        return None;
    }
    reject.or(weigh).or(limit.flatten())
}

fn plain(text: &str) -> Result<Then, Complaint> {
    if let Some(code) = text.strip_prefix("reject") {
        return status(code.trim()).map(Then::Reject);
    }
    let action =
        PLAIN.parse(text).map_err(|complaint| Complaint::new(complaint.message).hint(ACTIONS));
    Ok(match action? {
        Plain::Accept => Then::Accept,
        Plain::Note => Then::Note,
        Plain::Score => Then::Score,
        Plain::Fast => Then::Fast,
        Plain::Drop => Then::Drop,
        Plain::Challenge => Then::Challenge,
    })
}

/// A status that ends a request (RFC 3261 §7.2), no challenge: those need their headers.
fn status(text: &str) -> Result<u16, Complaint> {
    let code = text.parse::<u16>().ok().filter(|code| (400..=699).contains(code));
    let code = code.filter(|code| !matches!(code, 401 | 407));
    code.ok_or_else(|| {
        let complaint = Complaint::new(format!("\"{text}\" is no status to refuse with"));
        complaint.hint("400 to 699, e.g. \"reject 405\"; for a 401 say challenge")
    })
}

fn limit(field: &Field<'_>) -> Option<Then> {
    let mut table = field.table()?;
    let per = table.need("per", "all, network, source, flow or aor");
    let per = per.and_then(|field| field.parse(|text| PER.parse(text)));
    let mut budget = Rate::new(1, Duration::from_secs(1));
    let said = table.need("rate", "e.g. rate: 30/s burst 60");
    if let Some(field) = &said {
        RATE.read(field, &mut budget);
    }
    let answer = table.need("answer", "drop, retry, challenge or pace");
    let answer = answer.and_then(|field| field.parse(|text| ANSWER.parse(text)));
    table.finish();
    said?;
    Some(Then::Limit { per: per?, rate: budget, answer: answer? })
}

fn print_then(then: &Then) -> Out {
    match then {
        Then::Accept => out::text("accept"),
        Then::Note => out::text("note"),
        Then::Score => out::text("score"),
        Then::Fast => out::text("fast"),
        Then::Drop => out::text("drop"),
        Then::Challenge => out::text("challenge"),
        Then::Reject(status) => out::text(format!("reject {status}")),
        Then::Weigh(weight) => Out::table([("weigh", Out::Decimal(*weight))]),
        Then::Limit { per, rate, answer } => {
            let limit = Out::table([])
                .with("per", out::text(PER.word(*per).unwrap_or_default()))
                .with("rate", out::text(super::rate::print_rate(rate)))
                .with("answer", out::text(ANSWER.word(*answer).unwrap_or_default()));
            Out::table([("limit", limit)])
        }
    }
}

fn then_schema() -> Out {
    let one = |name: &'static str, schema: Out| {
        Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("required", out::texts(&[name])),
            ("properties", Out::table([(name, schema)])),
        ])
    };
    let limit = Out::table([
        ("type", out::text("object")),
        ("additionalProperties", Out::Truth(false)),
        ("required", out::texts(&["per", "rate", "answer"])),
        (
            "properties",
            Out::table([
                ("per", PER.choice()),
                ("rate", RATE.schema(&Rate::new(1, Duration::from_secs(1)))),
                ("answer", ANSWER.choice()),
            ]),
        ),
    ]);
    form::any_of(vec![
        PLAIN.choice(),
        form::pattern("^reject [4-6][0-9][0-9]$"),
        one("reject", form::Count(400, 699).schema(&400u32)),
        one("weigh", form::Weight(0.0, 1_000.0).schema(&0.0)),
        one("limit", limit),
    ])
}
