//! Reading a mapping key by key. The known keys are those that were asked for, so that the list
//! in a message can never differ from what is read.

use crate::problem::{Complaint, Place, Source};
use crate::tree::{Key, Kind, Node};
use crate::value;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Parses one scalar.
type Parse<T> = fn(&str) -> Result<T, Complaint>;

/// A mapping being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    source: Source<'a>,
    path: String,
    place: Place,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

/// A node with the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) path: String,
    pub(crate) node: &'a Node,
    /// Where its key stands; the node itself for a list's element.
    pub(crate) key_place: Place,
}

impl<'a> Field<'a> {
    /// The root of a file, or of an inlined part.
    pub(crate) fn root(source: Source<'a>, node: &'a Node) -> Self {
        Field { source, path: String::new(), node, key_place: node.place }
    }

    pub(crate) fn error(&self, complaint: Complaint) {
        self.source.error(self.node.place, &self.path, complaint);
    }

    pub(crate) fn warn(&self, complaint: Complaint) {
        self.source.warn(self.key_place, &self.path, complaint);
    }

    /// What stands under a key, if this is a mapping that has it.
    pub(crate) fn below(&self, name: &str) -> Option<Field<'a>> {
        let Kind::Table(entries) = &self.node.kind else { return None };
        let (key, node) = entries.iter().find(|(key, _)| key.name == name)?;
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{name}", self.path);
        Some(Field { source: self.source, path, node, key_place: key.place })
    }

    /// Whether it is this word.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.kind, Kind::Text(text) if text == word)
    }

    /// The mapping, or a complaint.
    pub(crate) fn table(&self) -> Option<Table<'a>> {
        let Kind::Table(entries) = &self.node.kind else {
            let is = self.node.kind.name();
            self.error(Complaint::new(format!("{is} stands where a table of keys is needed")));
            return None;
        };
        Some(Table {
            source: self.source,
            path: self.path.clone(),
            place: self.node.place,
            entries,
            asked: Vec::new(),
        })
    }

    /// The elements of a list, or a complaint.
    pub(crate) fn list(&self) -> Vec<Field<'a>> {
        let Kind::List(nodes) = &self.node.kind else {
            let is = self.node.kind.name();
            let complaint = Complaint::new(format!("{is} stands where a list is needed"));
            self.error(complaint.hint("put the value in brackets: [value]"));
            return Vec::new();
        };
        let element = |(index, node): (usize, &'a Node)| Field {
            source: self.source,
            path: format!("{}[{index}]", self.path),
            node,
            key_place: node.place,
        };
        nodes.iter().enumerate().map(element).collect()
    }

    /// The scalar's text, or a complaint.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text),
            Kind::Bool(true) => Some("true"),
            Kind::Bool(false) => Some("false"),
            Kind::Null => {
                self.error(Complaint::new("a value is missing"));
                None
            }
            other => {
                let is = other.name();
                self.error(Complaint::new(format!("{is} stands where a single value is needed")));
                None
            }
        }
    }

    /// The scalar, parsed.
    pub(crate) fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, Complaint>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.error(complaint);
                None
            }
        }
    }
}

impl<'a> Table<'a> {
    /// The node of a key; a key without a value counts as absent.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        let (key, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        if matches!(node.kind, Kind::Null) {
            return None;
        }
        Some(Field { source: self.source, path: self.path_of(name), node, key_place: key.place })
    }

    /// The node of a key that must be there.
    pub(crate) fn need(&mut self, name: &'static str, hint: &str) -> Option<Field<'a>> {
        let field = self.take(name);
        if field.is_none() {
            let complaint = Complaint::new(format!("the key \"{name}\" is missing")).hint(hint);
            self.source.error(self.place, &self.path, complaint);
        }
        field
    }

    /// A scalar that may be absent.
    pub(crate) fn optional<T>(&mut self, name: &'static str, parse: Parse<T>) -> Option<T> {
        self.take(name)?.parse(parse)
    }

    /// A scalar with a default.
    pub(crate) fn value<T>(&mut self, name: &'static str, parse: Parse<T>, default: T) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    /// A whole number within bounds, both included.
    pub(crate) fn count(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<u64>,
        default: usize,
    ) -> usize {
        let value = self.bounded(name, value::count, bounds, |value| value.to_string());
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
    }

    /// A size in bytes within bounds, both included.
    pub(crate) fn size(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<u64>,
        default: usize,
    ) -> usize {
        let value = self.bounded(name, value::size, bounds, value::print_size);
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
    }

    /// A duration within bounds, both included.
    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.bounded(name, value::duration, bounds, value::print_duration).unwrap_or(default)
    }

    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        name: &'static str,
        parse: Parse<T>,
        bounds: RangeInclusive<T>,
        print: fn(T) -> String,
    ) -> Option<T> {
        self.take(name)?.bounded(parse, bounds, print)
    }

    /// A list of scalars; absent is empty.
    pub(crate) fn values<T>(&mut self, name: &'static str, parse: Parse<T>) -> Vec<T> {
        let Some(field) = self.take(name) else { return Vec::new() };
        field.list().iter().filter_map(|element| element.parse(parse)).collect()
    }

    /// Complains about every key that nobody asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.entries {
            if !self.asked.iter().any(|known| *known == key.name) {
                let complaint = unknown(&key.name, &self.asked);
                self.source.error(key.place, &self.path_of(&key.name), complaint);
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

fn unknown(name: &str, asked: &[&'static str]) -> Complaint {
    let known = asked.join(", ");
    // A word with little in common was not meant, and naming it would mislead.
    let near = nearest(name, asked)
        .filter(|near| strsim::damerau_levenshtein(name, near) <= name.len().max(near.len()) / 2);
    let hint = match near {
        Some(near) => format!("did you mean \"{near}\"? Known here: {known}"),
        None => format!("known here: {known}"),
    };
    Complaint::new("unknown key").hint(hint)
}

/// The known word most like `word`; the first among equals.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let distance = |known: &&str| strsim::damerau_levenshtein(&word, &known.to_lowercase());
    known.iter().copied().min_by_key(distance)
}
