//! `edge_challenge`: when the edge challenges by itself (`docs/policy/edge_challenge.md`).

use crate::form::{self, Count, Time, Word};
use crate::keys::{Element, Form, Keys, Section};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use crate::tree::Kind;
use policy::{ChallengeMode, EdgeChallenge};
use std::time::Duration;

const MODE: Word<ChallengeMode> = Word(
    "edge challenge",
    &[
        ("off", ChallengeMode::Off),
        ("under-attack", ChallengeMode::UnderAttack),
        ("always", ChallengeMode::Always),
    ],
);
/// The word for a realm that is taken from the PBX.
const LEARNED: &str = "learned";

impl Element for EdgeChallenge {
    fn keys(&mut self, keys: &mut impl Keys) {
        let EdgeChallenge { mode, realm, lifetime, open } = self;
        keys.key("mode", "off, under-attack or always", mode, MODE);
        keys.key("realm", "Its realm; learned: as the PBX's", realm, Realm);
        let time = Time(Duration::from_secs(5), Duration::from_secs(3_600));
        keys.key("lifetime", "How long its nonce is good", lifetime, time);
        let about = "Open challenges of unproven sources that begin an attack";
        keys.key("open", about, open, Count(1, 1 << 24));
    }
}

/// The mode alone, or a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortOrTable;

impl Form<EdgeChallenge> for ShortOrTable {
    fn read(&self, field: &Field<'_>, value: &mut EdgeChallenge) {
        match field.node.kind {
            Kind::Table(_) => Section.read(field, value),
            _ => MODE.read(field, &mut value.mode),
        }
    }

    fn print(&self, value: &EdgeChallenge) -> Option<Out> {
        Section.print(value)
    }

    fn schema(&self, value: &EdgeChallenge) -> Out {
        form::any_of(vec![MODE.choice(), Section.schema(value)])
    }
}

struct Realm;

impl Form<Option<Box<str>>> for Realm {
    fn read(&self, field: &Field<'_>, value: &mut Option<Box<str>>) {
        let parse = |text: &str| {
            let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
            if text.is_empty() || text.len() > 128 || !text.chars().all(plain) {
                let complaint = Complaint::new(format!("\"{text}\" is no realm"));
                return Err(complaint.hint("at most 128 characters, no quotes; e.g. asterisk"));
            }
            Ok((text != LEARNED).then(|| text.into()))
        };
        if let Some(read) = field.parse(parse) {
            *value = read;
        }
    }

    fn print(&self, value: &Option<Box<str>>) -> Option<Out> {
        Some(out::text(value.as_deref().unwrap_or(LEARNED)))
    }

    fn schema(&self, _: &Option<Box<str>>) -> Out {
        form::scalar()
    }
}
