//! `signatures`: which file of signatures is used, and what some of them may do otherwise
//! (`docs/policy/signatures.md`).

use crate::form::{self, Word};
use crate::keys::{Element, Form, Keys};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::read::beside;
use crate::table::Field;
use crate::tree::Kind;
use crate::value;
use policy::{Ceiling, Mode};
use std::path::PathBuf;

/// What the policy says about signatures as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureChoice {
    /// The file they are read from; `None`: those that are shipped.
    pub file: Option<PathBuf>,
    /// The most that any of them may do.
    pub at_most: Ceiling,
    /// What single ones may do instead; this goes beyond `at_most`, too.
    pub overrides: Vec<(Box<str>, Override)>,
}

/// What one signature may do instead of what its file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// This, and it acts.
    Ceiling(Ceiling),
    /// It is not looked at, or acts not.
    Mode(Mode),
}

impl Default for SignatureChoice {
    fn default() -> Self {
        SignatureChoice { file: None, at_most: Ceiling::Drop, overrides: Vec::new() }
    }
}

impl SignatureChoice {
    /// What the signature `id` may do, and whether it acts, by this choice.
    #[must_use]
    pub fn apply(&self, id: &str, ceiling: Ceiling, mode: Mode) -> (Ceiling, Mode) {
        match self.overrides.iter().find(|(known, _)| &**known == id) {
            None => (ceiling.min(self.at_most), mode),
            Some((_, Override::Ceiling(ceiling))) => (*ceiling, Mode::Enforce),
            Some((_, Override::Mode(mode))) => (ceiling.min(self.at_most), *mode),
        }
    }
}

const CEILING: Word<Ceiling> = Word(
    "verdict",
    &[
        ("note", Ceiling::Note),
        ("score", Ceiling::Score),
        ("fast", Ceiling::Fast),
        ("drop", Ceiling::Drop),
    ],
);
const OVERRIDE: Word<Override> = Word(
    "verdict",
    &[
        ("note", Override::Ceiling(Ceiling::Note)),
        ("score", Override::Ceiling(Ceiling::Score)),
        ("fast", Override::Ceiling(Ceiling::Fast)),
        ("drop", Override::Ceiling(Ceiling::Drop)),
        ("off", Override::Mode(Mode::Off)),
        ("observe", Override::Mode(Mode::Observe)),
    ],
);
/// The word for the signatures that come with the edge.
const SHIPPED: &str = "shipped";

impl Element for SignatureChoice {
    fn keys(&mut self, keys: &mut impl Keys) {
        let SignatureChoice { file, at_most, overrides } = self;
        keys.key("file", "The file of signatures, or shipped", file, File);
        keys.key("at_most", "The most that any of them may do", at_most, CEILING);
        keys.key("overrides", "What single ones may do instead", overrides, Overrides);
    }
}

struct File;

impl Form<Option<PathBuf>> for File {
    fn read(&self, field: &Field<'_>, value: &mut Option<PathBuf>) {
        let Some(path) = field.parse(value::path) else { return };
        *value = (path.as_os_str() != SHIPPED).then(|| beside(field.source.file, path));
    }

    fn print(&self, value: &Option<PathBuf>) -> Option<Out> {
        Some(value.as_deref().map_or_else(|| out::text(SHIPPED), out::path))
    }

    fn schema(&self, _: &Option<PathBuf>) -> Out {
        form::scalar()
    }
}

/// A table from names of signatures to verdicts; those of a profile stay.
struct Overrides;

impl Form<Vec<(Box<str>, Override)>> for Overrides {
    fn read(&self, field: &Field<'_>, value: &mut Vec<(Box<str>, Override)>) {
        let Kind::Table(entries) = &field.node.kind else {
            let text = format!("{} stands where a table is needed", field.node.kind.name());
            field.error(Complaint::new(text).hint("e.g. overrides: { sipcli: note }"));
            return;
        };
        for (key, node) in entries {
            let path = format!("{}.{}", field.path, key.name);
            let entry = Field { source: field.source, path, node, key_place: key.place };
            let Some(verdict) = entry.parse(|text| OVERRIDE.parse(text)) else { continue };
            value.retain(|(known, _)| **known != *key.name);
            value.push((key.name.as_str().into(), verdict));
        }
    }

    fn print(&self, value: &Vec<(Box<str>, Override)>) -> Option<Out> {
        let entry = |(id, verdict): &(Box<str>, Override)| {
            (id.to_string().into(), out::text(OVERRIDE.word(*verdict).unwrap_or_default()))
        };
        Some(Out::Table(value.iter().map(entry).collect()))
    }

    fn schema(&self, _: &Vec<(Box<str>, Override)>) -> Out {
        Out::table([("type", out::text("object")), ("additionalProperties", OVERRIDE.choice())])
    }
}
