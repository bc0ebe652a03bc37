//! `profile`: the policy file that another starts from.

use crate::form;
use crate::keys::{Form, Section};
use crate::out::{self, Out};
use crate::policy_file::PolicyFile;
use crate::problem::{Complaint, Problems, Source};
use crate::read::beside;
use crate::table::{Field, nearest};
use crate::tree;
use crate::value;
use std::path::Path;

/// The profiles that are shipped.
pub(crate) const SHIPPED: [(&str, &str); 3] = [
    ("lenient", include_str!("../../../../config/profiles/lenient.yaml")),
    ("balanced", include_str!("../../../../config/profiles/balanced.yaml")),
    ("strict", include_str!("../../../../config/profiles/strict.yaml")),
];
/// The one that all start from.
const BALANCED: &str = "balanced";
/// Profiles may start from profiles so many times.
const DEPTH_MAX: u8 = 4;

/// The name of the profile. It is read before all else, by [`chosen`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Name;

impl Form<Box<str>> for Name {
    fn read(&self, _: &Field<'_>, _: &mut Box<str>) {}

    fn print(&self, value: &Box<str>) -> Option<Out> {
        Some(out::text(value))
    }

    fn schema(&self, _: &Box<str>) -> Out {
        let names = SHIPPED.iter().map(|(name, _)| out::text(name)).collect();
        form::any_of(vec![Out::table([("enum", Out::List(names))]), form::pattern("[.]ya?ml$")])
    }
}

/// What the table of a policy starts from: the profile that its key `profile` names, else
/// `balanced`.
pub(crate) fn chosen(table: &Field<'_>, depth: u8) -> PolicyFile {
    let named = table.below("profile").and_then(|field| read(&field, depth));
    named.unwrap_or_else(|| balanced(table.source.problems))
}

/// The profile `balanced`. It starts from the types' defaults, without their rules: it says
/// everything itself.
pub(crate) fn balanced(problems: &Problems) -> PolicyFile {
    let mut bare = PolicyFile::default();
    bare.admission.rules.clear();
    let source = Source { file: Path::new(BALANCED), text: text_of(BALANCED), problems };
    if let Some(node) = tree::parse(source) {
        Section.read(&Field::root(source, &node), &mut bare);
    }
    bare.trials.clear();
    bare
}

fn text_of(profile: &str) -> &'static str {
    SHIPPED.iter().find(|(name, _)| *name == profile).map_or("", |(_, text)| text)
}

fn read(field: &Field<'_>, depth: u8) -> Option<PolicyFile> {
    let word = field.parse(value::text)?;
    if depth >= DEPTH_MAX {
        let text = format!("profiles start from profiles more than {DEPTH_MAX} times");
        field.error(Complaint::new(text).hint("does one start from itself?"));
        return None;
    }
    let problems = field.source.problems;
    if word == BALANCED {
        return Some(balanced(problems));
    }
    if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == word) {
        return Some(layer(name, Source { file: Path::new(name), text, problems }, depth + 1));
    }
    if !word.contains(['/', '.']) {
        let known = SHIPPED.map(|(name, _)| name);
        let near = nearest(&word, &known).unwrap_or_default();
        let complaint = Complaint::new(format!("\"{word}\" is no profile"));
        field.error(complaint.hint(format!(
            "did you mean \"{near}\"? Known: {}; or the path of a file of your own",
            known.join(", ")
        )));
        return None;
    }
    let file = beside(field.source.file, word.into());
    problems.looks_at(&file);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let source = Source { file: &file, text: &text, problems };
            Some(layer(&file.display().to_string(), source, depth + 1))
        }
        Err(error) => {
            let complaint = Complaint::new(format!("{} cannot be read: {error}", file.display()));
            field.error(complaint.hint("relative paths start at the directory of this file"));
            None
        }
    }
}

/// A profile's own words on top of what it starts from.
fn layer(name: &str, source: Source<'_>, depth: u8) -> PolicyFile {
    let Some(node) = tree::parse(source) else { return balanced(source.problems) };
    let field = Field::root(source, &node);
    let mut file = chosen(&field, depth);
    Section.read(&field, &mut file);
    file.admission.profile = name.into();
    file.trials.clear();
    file
}
