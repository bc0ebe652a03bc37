//! `signatures`: which file of signatures is used, and what some of them may do otherwise
//! (`docs/policy/signatures.md`).

use crate::form::{self, Word};
use crate::keys::{Element, Form, Keys};
use crate::out::{self, Out};
use crate::policy_file::PolicyFile;
use crate::problem::{Complaint, Place, Problems, Source};
use crate::read::beside;
use crate::signatures::{Catalogue, shipped_signatures, signatures};
use crate::table::{Field, nearest};
use crate::tree::Kind;
use crate::value;
use policy::{Ceiling, Mode, SignatureSpec, Signatures};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

    fn adjust(&self, spec: &mut SignatureSpec) {
        (spec.ceiling, spec.mode) = self.apply(&spec.id, spec.ceiling, spec.mode);
    }
}

/// Reads the signatures that the policy chose; `None`: there is no table of it. What is compiled
/// for nothing costs time, so a policy with errors goes without.
pub(crate) fn load(problems: &Problems, policy: Option<&Field<'_>>, file: &mut PolicyFile) {
    let choice = &file.signatures;
    let read = match &choice.file {
        None => shipped(problems, policy, choice),
        Some(path) => own(problems, policy, choice, path),
    };
    if let Some(signatures) = read {
        file.admission.signatures = signatures;
    }
}

/// Those that are built in, read and compiled once.
fn shipped(
    problems: &Problems,
    policy: Option<&Field<'_>>,
    choice: &SignatureChoice,
) -> Option<Signatures> {
    static SHIPPED: OnceLock<Option<Catalogue>> = OnceLock::new();
    let catalogue = SHIPPED.get_or_init(|| shipped_signatures().ok()).as_ref()?;
    known(problems, policy, choice, &catalogue.specs);
    if problems.failed() {
        return None;
    }
    let mut specs = catalogue.specs.clone();
    specs.iter_mut().for_each(|spec| choice.adjust(spec));
    if specs == catalogue.specs {
        return Some(catalogue.signatures.clone());
    }
    Signatures::compile(specs).ok()
}

fn own(
    problems: &Problems,
    policy: Option<&Field<'_>>,
    choice: &SignatureChoice,
    path: &Path,
) -> Option<Signatures> {
    problems.looks_at(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let complaint = Complaint::new(format!("{} cannot be read: {error}", path.display()));
            complain(problems, policy, "file", complaint.hint("shipped: those of the edge"));
            return None;
        }
    };
    if problems.failed() {
        return None;
    }
    let source = Source { file: path, text: &text, problems };
    let (specs, signatures) = signatures(source, |spec| choice.adjust(spec))?;
    known(problems, policy, choice, &specs);
    Some(signatures)
}

/// Complains about overrides of what is not there.
fn known(
    problems: &Problems,
    policy: Option<&Field<'_>>,
    choice: &SignatureChoice,
    specs: &[SignatureSpec],
) {
    for (id, _) in &choice.overrides {
        if !specs.iter().any(|spec| spec.id == *id) {
            let known: Vec<&str> = specs.iter().map(|spec| &*spec.id).collect();
            let near = nearest(id, &known).unwrap_or_default();
            let complaint = Complaint::new(format!("there is no signature \"{id}\""));
            let hint = format!("did you mean \"{near}\"? Known: {}", known.join(", "));
            complain(problems, policy, id, complaint.hint(hint));
        }
    }
}

/// At the key of `signatures` where it stands, or at the policy as a whole when a profile says it.
fn complain(problems: &Problems, policy: Option<&Field<'_>>, key: &str, complaint: Complaint) {
    let Some(policy) = policy else {
        let source = Source { file: Path::new("policy"), text: "", problems };
        return source.error(Place::default(), "signatures", complaint);
    };
    let part = policy.below("signatures");
    let place = part.as_ref().and_then(|part| {
        part.below(key).or_else(|| part.below("overrides").and_then(|all| all.below(key)))
    });
    place.or(part).as_ref().unwrap_or(policy).error(complaint);
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
            field.error(Complaint::new(text).hint("e.g. overrides: { zmap: note }"));
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
