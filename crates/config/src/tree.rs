//! YAML as a tree that remembers where each node stands. The YAML library does the syntax and the
//! bounds; meaning is given by [`crate::table`], which can go on after a mistake.

use crate::problem::{Complaint, Place, Source};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// Nodes that a configuration file may have, aliases expanded.
pub const MAX_NODES: usize = 50_000;
/// Bytes that a configuration file may have.
pub const MAX_BYTES: usize = 1 << 20;
/// Levels of nesting.
const MAX_DEPTH: usize = 32;

/// A node and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// A number, as text: what it means is up to who reads it.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

/// A key of a mapping and its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Kind {
    /// What to call it in a message.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a truth value",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table of keys",
        }
    }
}

/// Reads one YAML document. Broken syntax, a duplicate key or too many nodes is reported to
/// `source`, and gives `None`.
pub(crate) fn parse(source: Source<'_>) -> Option<Node> {
    if source.text.len() > MAX_BYTES {
        let complaint = Complaint::new(format!("the file is larger than {MAX_BYTES} bytes"));
        source.error(Place::default(), "", complaint);
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        emit_comments: false,
        strict_booleans: true,
        // A telephone number is no number.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    match serde_saphyr::from_str_with_options::<Node>(source.text, options) {
        Ok(node) => Some(node),
        Err(error) => {
            let place = error.location().map_or_else(Place::default, Place::from);
            source.error(place, "", syntax_complaint(&error));
            None
        }
    }
}

fn syntax_complaint(error: &serde_saphyr::Error) -> Complaint {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            return Complaint::new(format!("the key \"{key}\" stands twice")).hint("remove one");
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            return Complaint::new("a second YAML document begins in the file".to_owned())
                .hint("all stands in one: remove the line --- and what is there twice");
        }
        _ => {}
    }
    let text = error.without_snippet().to_string();
    // The place is told by the problem itself.
    let text = text.lines().next().unwrap_or_default();
    let text = match text.rfind(" at line ") {
        Some(at) => &text[..at],
        None => text,
    };
    let complaint = Complaint::new(format!("not readable as YAML: {text}"));
    let hint = match text {
        text if text.contains("tabs disallowed") => {
            "YAML is indented by spaces: write two for each tab"
        }
        text if text.contains("unexpected character") || text.contains("unknown anchor") => {
            "a text that begins with one of * & @ % ` ! | > needs quotes"
        }
        text if text.contains("mapping values are not allowed") => {
            "a colon is missing in the line above, or a text with a colon and a space lacks its quotes"
        }
        text if text.contains("did not find expected key") => {
            "the keys of one table begin in the same column"
        }
        _ => return complaint,
    };
    complaint.hint(hint)
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        Place { line: location.line(), column: location.column() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Node { place: spanned.referenced.into(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Key { place: spanned.referenced.into(), name: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut table: Vec<(Key, Node)> = Vec::new();
        while let Some(key) = access.next_key::<Key>()? {
            if table.iter().any(|(known, _)| known.name == key.name) {
                return Err(A::Error::custom(format!("the key \"{}\" stands twice", key.name)));
            }
            let value = access.next_value()?;
            table.push((key, value));
        }
        Ok(Kind::Table(table))
    }
}
