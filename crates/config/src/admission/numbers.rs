//! `dids` and `honeytokens`: our numbers, and what never exists (`docs/policy/dids.md`,
//! `docs/policy/honeytokens.md`).

use crate::form::{self, Scalar};
use crate::keys::Form;
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use policy::NumberSet;

/// A list of patterns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers;

impl Form<NumberSet> for Numbers {
    fn read(&self, field: &Field<'_>, value: &mut NumberSet) {
        let parsed = field.list().iter().filter_map(|element| element.parse(number)).collect();
        *value = NumberSet { patterns: parsed };
    }

    fn print(&self, value: &NumberSet) -> Option<Out> {
        Some(out::texts(&value.patterns))
    }

    fn schema(&self, _: &NumberSet) -> Out {
        let items = form::any_of(vec![
            form::pattern("^[+]?[0-9xX]+[*]?$"),
            Out::table([("type", out::text("integer"))]),
        ]);
        Out::table([("type", out::text("array")), ("items", items)])
    }
}

/// A number: digits, `x` for any digit, `*` at the end for any rest. A `+` in front says nothing:
/// numbers are compared without what stands before the country's code.
pub(crate) fn number(text: &str) -> Result<Box<str>, Complaint> {
    let plain = text.strip_prefix('+').unwrap_or(text);
    let digits = plain.strip_suffix('*').unwrap_or(plain);
    let digit = |b: u8| b.is_ascii_digit() || b == b'x' || b == b'X';
    if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(digit) {
        let complaint = Complaint::new(format!("\"{text}\" is no number"));
        return Err(complaint.hint(
            "digits, x for any digit, * at the end for any rest; e.g. \"4940123456xx\", \"0044*\"",
        ));
    }
    Ok(plain.to_ascii_lowercase().into())
}

/// An account (`user` or `user@host`) or a number.
pub(super) const HONEYTOKEN: Scalar<Box<str>> = Scalar(honeytoken, |token| token.to_string());

fn honeytoken(text: &str) -> Result<Box<str>, Complaint> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>\"".contains(c);
    if text.is_empty() || text.len() > 128 || text.contains(':') || !text.chars().all(plain) {
        let complaint = Complaint::new(format!("\"{text}\" is no account and no number"));
        return Err(complaint.hint("e.g. \"1000\", admin, admin@pbx.example.com; without sip:"));
    }
    Ok(text.into())
}
