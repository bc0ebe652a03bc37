//! One line at a time.

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// `[name](template,!,+)`.
    Section { name: String, template: bool, append: bool, parents: Vec<String> },
    /// `name = value`; `more` for `+=`.
    Setting { name: String, value: String, more: bool },
    /// `#include`; `must` unless it is `#tryinclude`.
    Include { pattern: String, must: bool },
    /// `#exec`.
    Exec,
    /// Nothing, or a comment.
    Empty,
    /// Something else.
    Unknown,
}

/// Takes comments out, over lines: `;-- … --;` may be long, and nests.
#[derive(Debug, Default)]
pub(crate) struct Comments {
    depth: usize,
}

impl Comments {
    /// What is left of a line; `\;` is a semicolon.
    pub(crate) fn strip(&mut self, line: &str) -> String {
        let mut left = String::new();
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            if self.depth > 0 {
                if let Some(behind) = rest.strip_prefix("--;") {
                    self.depth -= 1;
                    rest = behind;
                    continue;
                }
                if is_opening(rest) {
                    self.depth += 1;
                    rest = &rest[3..];
                    continue;
                }
            } else if let Some(behind) = rest.strip_prefix("\\;") {
                left.push(';');
                rest = behind;
                continue;
            } else if is_opening(rest) {
                self.depth += 1;
                rest = &rest[3..];
                continue;
            } else if character == ';' {
                break;
            } else {
                left.push(character);
            }
            rest = &rest[character.len_utf8()..];
        }
        left.trim().to_owned()
    }
}

/// `;--`, but not `;---`, which is a line for the eye.
fn is_opening(text: &str) -> bool {
    text.strip_prefix(";--").is_some_and(|behind| !behind.starts_with('-'))
}

/// Reads a line without comments.
pub(crate) fn read(line: &str) -> Line {
    if line.is_empty() {
        return Line::Empty;
    }
    if let Some(rest) = line.strip_prefix('[') {
        return section(rest).unwrap_or(Line::Unknown);
    }
    if let Some(rest) = line.strip_prefix('#') {
        return directive(rest);
    }
    let Some(at) = line.find('=') else { return Line::Unknown };
    let (name, value) = (&line[..at], &line[at + 1..]);
    let (name, more) = match name.strip_suffix('+') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let value = value.strip_prefix('>').unwrap_or(value);
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() {
        return Line::Unknown;
    }
    Line::Setting { name, value: value.trim().to_owned(), more }
}

fn section(rest: &str) -> Option<Line> {
    let (name, behind) = rest.split_once(']')?;
    let (mut template, mut append, mut parents) = (false, false, Vec::new());
    if let Some(words) = behind.trim().strip_prefix('(') {
        for word in words.split(')').next()?.split(',').map(str::trim) {
            match word {
                "" => {}
                "!" => template = true,
                "+" => append = true,
                parent => parents.push(parent.to_owned()),
            }
        }
    }
    Some(Line::Section { name: name.trim().to_owned(), template, append, parents })
}

fn directive(rest: &str) -> Line {
    let (word, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let unquoted = argument.trim().trim_matches(['"', '<', '>', '\'']).to_owned();
    match word {
        "include" => Line::Include { pattern: unquoted, must: true },
        "tryinclude" => Line::Include { pattern: unquoted, must: false },
        "exec" => Line::Exec,
        _ => Line::Unknown,
    }
}
