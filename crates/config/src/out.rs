//! What is printed: a tree whose keys keep their order.

use crate::value::{print_duration, print_size};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::borrow::Cow;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

/// A node of what is printed, as YAML or JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Out {
    Text(String),
    Number(u64),
    Decimal(f32),
    Truth(bool),
    List(Vec<Out>),
    Table(Vec<(Cow<'static, str>, Out)>),
}

impl Out {
    /// A table of these entries.
    pub(crate) fn table<const N: usize>(entries: [(&'static str, Out); N]) -> Out {
        Out::Table(entries.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
    }

    /// Adds an entry; what is no table stays as it is.
    pub(crate) fn with(mut self, key: impl Into<Cow<'static, str>>, value: Out) -> Out {
        if let Out::Table(entries) = &mut self {
            entries.push((key.into(), value));
        }
        self
    }

    /// As YAML.
    pub(crate) fn to_yaml(&self) -> String {
        // Writing into a string cannot fail, and the tree holds nothing that YAML cannot.
        serde_saphyr::to_string(self).unwrap_or_default()
    }

    /// Every single value by its path, in order. Elements of a list that have a `name` are called
    /// by it, so that one more among them does not shift the others.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut flat = Vec::new();
        self.flatten(String::new(), &mut flat);
        flat
    }

    fn flatten(&self, path: String, flat: &mut Vec<(String, String)>) {
        match self {
            Out::Text(text) => flat.push((path, text.clone())),
            Out::Number(number) => flat.push((path, number.to_string())),
            Out::Decimal(number) => flat.push((path, number.to_string())),
            Out::Truth(truth) => flat.push((path, truth.to_string())),
            Out::List(list) => {
                for (index, element) in list.iter().enumerate() {
                    let before = list.iter().take(index);
                    // a name that stands here twice is no name: its number tells them apart
                    let place = match element.name() {
                        None => index.to_string(),
                        Some(name) => match before.filter(|it| it.name() == Some(name)).count() {
                            0 => name.to_owned(),
                            more => format!("{name} {}", more + 1),
                        },
                    };
                    element.flatten(format!("{path}[{place}]"), flat);
                }
            }
            Out::Table(entries) => {
                for (key, value) in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    value.flatten(format!("{path}{dot}{key}"), flat);
                }
            }
        }
    }

    fn name(&self) -> Option<&str> {
        let Out::Table(entries) = self else { return None };
        entries.iter().find_map(|(key, value)| match value {
            Out::Text(text) if key == "name" => Some(text.as_str()),
            _ => None,
        })
    }
}

impl Serialize for Out {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Out::Text(text) => serializer.serialize_str(text),
            Out::Number(number) => serializer.serialize_u64(*number),
            // By way of its shortest text: 0.05 is 0.05, not the nearest binary fraction of it.
            Out::Decimal(number) => {
                serializer.serialize_f64(number.to_string().parse().unwrap_or_default())
            }
            Out::Truth(truth) => serializer.serialize_bool(*truth),
            Out::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for element in list {
                    sequence.serialize_element(element)?;
                }
                sequence.end()
            }
            Out::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

pub(crate) fn text(value: impl Display) -> Out {
    Out::Text(value.to_string())
}

pub(crate) fn path(value: &Path) -> Out {
    text(value.display())
}

pub(crate) fn count(value: usize) -> Out {
    Out::Number(value as u64)
}

pub(crate) fn size(value: usize) -> Out {
    Out::Text(print_size(value as u64))
}

pub(crate) fn time(value: Duration) -> Out {
    Out::Text(print_duration(value))
}

pub(crate) fn texts<T: Display>(values: &[T]) -> Out {
    Out::List(values.iter().map(text).collect())
}
