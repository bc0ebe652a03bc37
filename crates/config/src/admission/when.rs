//! `when` of a rule (`docs/policy/when.md`).

use super::numbers::Numbers;
use crate::form::{self, Maybe, Truth, Word};
use crate::keys::{Element, Form, Keys};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use crate::tree::Kind;
use crate::value;
use policy::{METHODS, MethodSet, Outcome, When, Who, WhoSet};

pub(crate) const WHO: Word<Who> = Word(
    "kind of sender",
    &[("unproven", Who::Unproven), ("proven", Who::Proven), ("known", Who::Known)],
);
const OUTCOME: Word<Option<Outcome>> = Word(
    "outcome",
    &[
        ("authenticated", Some(Outcome::Authenticated)),
        ("refused", Some(Outcome::Refused)),
        ("stale", Some(Outcome::Stale)),
        ("abandoned", Some(Outcome::Abandoned)),
        ("unreachable", Some(Outcome::Unreachable)),
        ("foreign", Some(Outcome::Foreign)),
        ("superseded", Some(Outcome::Superseded)),
        ("not_found", Some(Outcome::NotFound)),
    ],
);

impl Element for When {
    fn keys(&mut self, keys: &mut impl Keys) {
        let When {
            methods,
            who,
            at_home,
            credentials,
            dialog,
            outcome,
            repeated,
            dialled,
            bad_user,
        } = self;
        keys.key("methods", "The request's method is one of these", methods, Methods::These);
        keys.key("not_methods", "The method is none of these", methods, Methods::Others);
        keys.key("who", "What is known of the sender", who, WhoList);
        keys.key("at_home", "The account is at home at its source", at_home, Maybe(Truth));
        keys.key("credentials", "It carries credentials that pass", credentials, Maybe(Truth));
        let about = "It claims to be inside a dialog and shows no proof";
        keys.key("dialog", about, dialog, Maybe(Truth));
        keys.key("outcome", "How its challenge ended", outcome, OUTCOME);
        let about = "The account had this outcome at this source before";
        keys.key("repeated", about, repeated, Maybe(Truth));
        let about = "The dialled number is one of these, whatever stands before it";
        keys.key("dialled", about, dialled, Maybe(Numbers));
        keys.key("bad_user", "A user part has characters that no phone sends", bad_user, IfTrue);
    }

    fn check(&self, field: &Field<'_>) {
        let only = |key: &str, kind: &str| {
            let text = format!("a rule with \"{key}\" cannot look at {kind}");
            field.error(Complaint::new(text).hint("see docs/policy/when.md"));
        };
        if self.outcome.is_some() {
            let looks = [
                ("credentials", self.credentials.is_some()),
                ("dialog", self.dialog.is_some()),
                ("dialled", self.dialled.is_some()),
                ("bad_user", self.bad_user),
            ];
            for (key, _) in looks.iter().filter(|(_, there)| *there) {
                only("outcome", &format!("\"{key}\": the request has gone by then"));
            }
        } else if self.repeated.is_some() {
            field.error(Complaint::new("\"repeated\" needs an \"outcome\""));
        }
    }
}

/// A set of methods, by its members or by what is not in it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Methods {
    These,
    Others,
}

impl Methods {
    /// The shorter way to write a set; all is written by neither.
    fn shorter(set: MethodSet) -> Option<Methods> {
        let members = set.names().count();
        let all = members == METHODS.len();
        (!all).then_some(if members <= METHODS.len() / 2 {
            Methods::These
        } else {
            Methods::Others
        })
    }
}

impl Form<MethodSet> for Methods {
    fn read(&self, field: &Field<'_>, value: &mut MethodSet) {
        let words: Vec<&str> =
            elements(field).iter().filter_map(|element| element.parse(method)).collect();
        let Some(set) = MethodSet::of(&words).filter(|_| !words.is_empty()) else { return };
        *value = if *self == Methods::These { set } else { set.others() };
    }

    fn print(&self, value: &MethodSet) -> Option<Out> {
        if Methods::shorter(*value) != Some(*self) {
            return None;
        }
        let set = if *self == Methods::These { *value } else { value.others() };
        Some(Out::List(set.names().map(out::text).collect()))
    }

    fn schema(&self, _: &MethodSet) -> Out {
        some_of(Out::table([("enum", out::texts(&METHODS))]))
    }
}

fn method(text: &str) -> Result<&'static str, Complaint> {
    let words = METHODS.map(|name| (name, name));
    if let Some(known) = METHODS.iter().find(|known| known.eq_ignore_ascii_case(text)) {
        return Ok(known);
    }
    value::one_of(text, "method", &words)
}

/// A list of kinds of senders, or one.
struct WhoList;

impl Form<WhoSet> for WhoList {
    fn read(&self, field: &Field<'_>, value: &mut WhoSet) {
        let parse = |text: &str| match text {
            "trusted" => Err(Complaint::new("trusted sources are not judged")
                .hint("unproven, proven or known; without \"who\", all three")),
            _ => value::one_of(
                text,
                "kind of sender",
                &[
                    ("strangers", &[Who::Unproven, Who::Proven] as &[Who]),
                    ("unproven", &[Who::Unproven]),
                    ("proven", &[Who::Proven]),
                    ("known", &[Who::Known]),
                ],
            ),
        };
        let read = elements(field);
        let read: Vec<Who> =
            read.iter().filter_map(|element| element.parse(parse)).flatten().copied().collect();
        if !read.is_empty() {
            *value = WhoSet::of(&read);
        }
    }

    fn print(&self, value: &WhoSet) -> Option<Out> {
        (*value != WhoSet::JUDGED)
            .then(|| Out::List(value.iter().map(|who| out::text(who.as_str())).collect()))
    }

    fn schema(&self, _: &WhoSet) -> Out {
        some_of(Out::table([("enum", out::texts(&["unproven", "proven", "known", "strangers"]))]))
    }
}

/// A truth that is not worth printing when it is false.
struct IfTrue;

impl Form<bool> for IfTrue {
    fn read(&self, field: &Field<'_>, value: &mut bool) {
        Truth.read(field, value);
    }

    fn print(&self, value: &bool) -> Option<Out> {
        value.then_some(Out::Truth(true))
    }

    fn schema(&self, value: &bool) -> Out {
        Truth.schema(value)
    }
}

/// The elements of a list that must not be empty, or one element alone.
fn elements<'a>(field: &Field<'a>) -> Vec<Field<'a>> {
    match &field.node.kind {
        Kind::List(list) if list.is_empty() => {
            field.error(Complaint::new("an empty list holds for nothing"));
            Vec::new()
        }
        Kind::List(_) => field.list(),
        _ => vec![field.clone()],
    }
}

fn some_of(element: Out) -> Out {
    let list = Out::table([
        ("type", out::text("array")),
        ("minItems", Out::Number(1)),
        ("items", element.clone()),
    ]);
    form::any_of(vec![element, list])
}
