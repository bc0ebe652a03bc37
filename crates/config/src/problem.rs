//! What is wrong with a file, and where.

use serde::Serialize;
use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but something is probably not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that is wrong, or looks wrong, in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file it stands in.
    pub file: PathBuf,
    /// Line, counted from 1; 0 when the problem has no place in the file.
    pub line: u64,
    /// Column in characters, counted from 1; 0 when it has no place.
    pub column: u64,
    /// Where in the tree: `listen[0].address`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line as written.
    pub source: Option<String>,
}

impl fmt::Display for Problem {
    /// `file:line:column: severity: path: message`, the source line with a caret, and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}: ", self.severity)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.message)?;
        if let Some(source) = &self.source {
            let indent = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
            // What stands before the caret keeps its tabs, so both lines are indented alike.
            let blank: String =
                source.chars().take(indent).map(|c| if c == '\t' { c } else { ' ' }).collect();
            write!(f, "\n    | {source}\n    | {blank}^")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

/// Why a configuration cannot be used: at least one problem is an error. Warnings found on the
/// way are with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// All that was found, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// What a parser of one value has to say: the message, and a hint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Complaint { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: RefCell<Vec<Problem>>,
    files: RefCell<Vec<PathBuf>>,
}

impl Problems {
    pub(crate) fn push(&self, problem: Problem) {
        self.list.borrow_mut().push(problem);
    }

    /// A file belongs to the configuration, readable or not.
    pub(crate) fn looks_at(&self, file: &Path) {
        let mut files = self.files.borrow_mut();
        if !files.iter().any(|known| known == file) {
            files.push(file.to_owned());
        }
    }

    /// All files that were looked at.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    /// Whether one of them is an error.
    pub(crate) fn failed(&self) -> bool {
        self.list.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All problems in the order of their place, and whether one of them is an error.
    pub(crate) fn finish(self) -> (Vec<Problem>, bool) {
        let mut list = self.list.into_inner();
        list.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let failed = list.iter().any(|problem| problem.severity == Severity::Error);
        (list, failed)
    }
}

/// One file being read: its name, its text and where its problems go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
    pub(crate) problems: &'a Problems,
}

impl Source<'_> {
    pub(crate) fn error(&self, place: Place, path: &str, complaint: Complaint) {
        self.report(Severity::Error, place, path, complaint);
    }

    pub(crate) fn warn(&self, place: Place, path: &str, complaint: Complaint) {
        self.report(Severity::Warning, place, path, complaint);
    }

    fn report(&self, severity: Severity, place: Place, path: &str, complaint: Complaint) {
        let line = place.line.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let source = line.and_then(|index| self.text.lines().nth(index)).map(str::to_owned);
        self.problems.push(Problem {
            severity,
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message: complaint.message,
            hint: complaint.hint,
            source: source.filter(|line| !line.trim().is_empty()),
        });
    }
}
