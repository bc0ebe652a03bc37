//! Reloads: a configuration read, checked and tried on the side, and the record of how it went.

use crate::again::{self, AgainView};
use crate::desk::Desk;
use crate::policies;
use crate::reload::Change;
use crate::sockets;
use crate::trial::Outcome;
use crate::watch::Seen;
use config::{Loaded, Overrides, Problem, Severity};
use policy::{Policy, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reloads that are remembered.
pub(crate) const HISTORY: usize = 16;
/// Changes and problems that a record keeps.
const LINES: usize = 64;

/// Who wanted a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Signal,
    File,
    Api,
}

impl Cause {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cause::Signal => "signal",
            Cause::File => "file",
            Cause::Api => "api",
        }
    }
}

/// How a reload went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReloadView {
    pub(crate) at: String,
    /// `signal`, `file` or `api`.
    pub(crate) cause: String,
    /// `applied` or `refused`.
    pub(crate) result: String,
    /// Version of the policy in use afterwards.
    pub(crate) policy: u64,
    pub(crate) changes: Vec<ChangeView>,
    pub(crate) problems: Vec<ProblemView>,
    pub(crate) tests: TestsView,
    /// What rules and signatures would have done otherwise to the requests that came last; null when
    /// neither differs.
    pub(crate) again: Option<AgainView>,
    /// All of it in words.
    pub(crate) text: String,
}

/// A setting that differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChangeView {
    pub(crate) path: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) needs_restart: bool,
}

/// What is wrong with a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProblemView {
    pub(crate) severity: String,
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// What became of the policy's own tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TestsView {
    pub(crate) run: usize,
    pub(crate) failed: Vec<FailureView>,
}

/// A test that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FailureView {
    pub(crate) name: String,
    pub(crate) line: u64,
    pub(crate) failure: String,
}

/// A configuration that was read and tried, but is not in use yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// `None`: it has errors.
    pub(crate) loaded: Option<Loaded>,
    /// The files it was read from, as they were.
    pub(crate) seen: Seen,
    problems: Vec<Problem>,
    tests: Vec<Outcome>,
    again: Option<AgainView>,
}

/// Reads a configuration and runs the tests that its policy brings; `known` are the files that it
/// consisted of before. It may take its time: nothing
/// of the running edge waits for it.
pub(crate) fn prepare(file: &Path, known: Vec<PathBuf>) -> Prepared {
    let before = Seen::of(known);
    let (loaded, files) = config::load_and_list(file, Overrides::default());
    let seen = before.read(files);
    match loaded {
        Ok(mut loaded) => {
            sockets::fit(&mut loaded.config, transport::raise_file_limit().ok());
            let tests = policies::run(&loaded.config.policy, &loaded.tests);
            let problems = loaded.warnings.clone();
            Prepared { loaded: Some(loaded), seen, problems, tests, again: None }
        }
        Err(invalid) => {
            let problems = invalid.problems;
            Prepared { loaded: None, seen, problems, tests: Vec::new(), again: None }
        }
    }
}

/// As [`prepare`]; and what is recorded is judged again, where the policy's rules differ.
pub(crate) async fn prepare_and_try(
    file: PathBuf,
    known: Vec<PathBuf>,
    old: Arc<Policy>,
    desk: Desk,
) -> Option<Prepared> {
    let prepared = tokio::task::spawn_blocking({
        let file = file.clone();
        move || prepare(&file, known)
    });
    let mut prepared = prepared.await.ok()?;
    let new = match &prepared.loaded {
        Some(loaded) if prepared.objection(&file).is_none() => {
            Arc::new(loaded.config.policy.clone())
        }
        _ => return Some(prepared),
    };
    if rules_are_same(&old, &new) {
        return Some(prepared);
    }
    // A shard that does not answer is told by /healthz.
    let recorded = desk.recorded().await.unwrap_or_default();
    let judged = tokio::task::spawn_blocking(move || again::judge(&recorded, &old, &new));
    prepared.again = judged.await.ok();
    Some(prepared)
}

fn rules_are_same(old: &Policy, new: &Policy) -> bool {
    let (old, new) = (&old.admission, &new.admission);
    old.mode == new.mode && old.rules == new.rules && old.signatures.list() == new.signatures.list()
}

impl Prepared {
    /// Why it cannot be used, if it cannot: errors, or a test that fails.
    pub(crate) fn objection(&self, file: &Path) -> Option<String> {
        let mut text = String::new();
        if self.loaded.is_none() {
            for problem in &self.problems {
                let _ = writeln!(text, "{problem}");
            }
        }
        for Outcome { name, line, failure } in &self.tests {
            if let Some(failure) = failure {
                let file = file.display();
                let _ =
                    writeln!(text, "{file}:{line}: the policy's test \"{name}\" fails: {failure}");
            }
        }
        (!text.is_empty()).then(|| text.trim_end().to_owned())
    }

    /// What would have been decided otherwise, if that was looked at.
    pub(crate) fn again(&self) -> Option<&AgainView> {
        self.again.as_ref()
    }

    /// What is worth saying about a configuration that is used.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }

    /// The record of how it went.
    pub(crate) fn record(
        &self,
        (at, cause): (Time, Cause),
        policy: u64,
        ended: &Result<Vec<Change>, String>,
    ) -> ReloadView {
        let failed = self.tests.iter().filter_map(|Outcome { name, line, failure }| {
            let failure = failure.clone()?;
            Some(FailureView { name: name.clone(), line: *line, failure })
        });
        let (result, changes, text) = match ended {
            Ok(changes) => {
                let mut text = told(policy, changes);
                if let Some(again) = &self.again {
                    let _ = write!(text, "\n{}", again.text(true));
                }
                ("applied", changes.as_slice(), text)
            }
            Err(text) => ("refused", [].as_slice(), text.clone()),
        };
        ReloadView {
            at: at.utc(),
            cause: cause.as_str().into(),
            result: result.into(),
            policy,
            changes: changes.iter().take(LINES).map(ChangeView::new).collect(),
            problems: self.problems.iter().take(LINES).map(ProblemView::new).collect(),
            again: self.again.clone(),
            tests: TestsView { run: self.tests.len(), failed: failed.take(LINES).collect() },
            text,
        }
    }
}

impl ReloadView {
    /// As the audit stream has it.
    pub(crate) fn in_short(&self) -> Value {
        let problem = self.problems.iter().find(|problem| problem.severity == "error");
        json!({
            "result": self.result,
            "cause": self.cause,
            "policy": self.policy,
            "changes": self.changes.iter().map(|change| &change.path).collect::<Vec<_>>(),
            "problem": problem.map(|it| {
                format!("{}:{}: {}: {}", it.file, it.line, it.path, it.message)
            }),
            "failed_tests": self.tests.failed.len(),
        })
    }
}

fn told(policy: u64, changes: &[Change]) -> String {
    let mut text = format!("policy version {policy} is in use");
    if changes.is_empty() {
        text += "; no setting differs";
    }
    for change in changes {
        let what = if change.needs_restart { "needs a restart: " } else { "changed " };
        let _ = write!(text, "\n{what}{change}");
    }
    text
}

impl ChangeView {
    fn new(change: &Change) -> Self {
        let Change { path, from, to, needs_restart } = change.clone();
        ChangeView { path, from, to, needs_restart }
    }
}

impl ProblemView {
    fn new(problem: &Problem) -> Self {
        ProblemView {
            severity: problem.severity.to_string(),
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            path: problem.path.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}
