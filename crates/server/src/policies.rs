//! `ringfence policy`: tests, differences and the schema of policies.

use crate::check::tell;
use crate::cli::{Exit, print};
use crate::trial::{self, Outcome};
use config::Trial;
use policy::Policy;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs all tests of these files: one line each, or one JSON object.
pub(crate) fn test(files: &[PathBuf], json: bool) -> ExitCode {
    let mut exit = Exit::Ok;
    let mut text = String::new();
    let mut objects = Vec::new();
    for file in files {
        let (policy, problems) = match config::load_policy(file) {
            Ok(loaded) => (Some((loaded.policy, loaded.tests)), loaded.warnings),
            Err(invalid) => (None, invalid.problems),
        };
        let outcomes = policy.as_ref().map(|(policy, tests)| run(policy, tests));
        let good = outcomes.as_ref().is_some_and(|outcomes| outcomes.iter().all(passed));
        if !good {
            exit = Exit::Config;
        }
        if json {
            let tests = outcomes.unwrap_or_default();
            objects.push(json!({ "file": file, "ok": good, "problems": problems, "tests": tests }));
            continue;
        }
        tell(&problems);
        // of what cannot be read no tests are known
        let Some(outcomes) = outcomes else { continue };
        report(file, &outcomes, &mut text);
        let failed = outcomes.iter().filter(|outcome| !passed(outcome)).count();
        let tests = if outcomes.len() == 1 { "test" } else { "tests" };
        let _ = writeln!(text, "{}: {} {tests}, {failed} failed", file.display(), outcomes.len());
    }
    if json {
        text = format!("{}\n", json!({ "ok": exit == Exit::Ok, "files": objects }));
    }
    let printed = print(text.as_bytes());
    if exit == Exit::Ok { printed } else { exit.into() }
}

/// Runs tests by a policy.
pub(crate) fn run(policy: &Policy, tests: &[Trial]) -> Vec<Outcome> {
    tests.iter().map(|trial| trial::run(policy, trial)).collect()
}

/// Whether a test passed.
pub(crate) fn passed(outcome: &Outcome) -> bool {
    outcome.failure.is_none()
}

fn report(file: &Path, outcomes: &[Outcome], text: &mut String) {
    for Outcome { name, line, failure } in outcomes {
        let _ = match failure {
            None => writeln!(text, "ok     {name}"),
            Some(failure) => {
                writeln!(text, "FAILED {name}\n       {}:{line}: {failure}", file.display())
            }
        };
    }
}

/// Says which tests failed, to standard error.
pub(crate) fn tell_failed(file: &Path, outcomes: &[Outcome]) {
    let mut text = String::new();
    let failed: Vec<Outcome> = outcomes.iter().filter(|one| !passed(one)).cloned().collect();
    report(file, &failed, &mut text);
    // There is nobody left to tell that nobody can be told.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints every setting in which two policies differ. As `diff` does, 1 means that there are some.
pub(crate) fn diff(old: &Path, new: &Path, json: bool) -> ExitCode {
    let read = |file: &Path| match config::load_policy(file) {
        Ok(loaded) => {
            tell(&loaded.warnings);
            Some(loaded.settings())
        }
        Err(invalid) => {
            tell(&invalid.problems);
            None
        }
    };
    let (Some(old), Some(new)) = (read(old), read(new)) else { return Exit::Failed.into() };
    let was: BTreeMap<&String, &String> = old.iter().map(|(path, value)| (path, value)).collect();
    let is: BTreeMap<&String, &String> = new.iter().map(|(path, value)| (path, value)).collect();
    let mut differ: Vec<(&String, Option<&String>, Option<&String>)> = new
        .iter()
        .map(|(path, value)| (path, was.get(path).copied(), Some(value)))
        .filter(|(_, old, new)| old != new)
        .collect();
    let gone = old.iter().filter(|(path, _)| !is.contains_key(path));
    differ.extend(gone.map(|(path, value)| (path, Some(value), None)));
    let text: String = match json {
        true => {
            let line = |(path, old, new)| json!({ "path": path, "old": old, "new": new });
            let lines: Vec<Value> = differ.iter().copied().map(line).collect();
            format!("{}\n", Value::from(lines))
        }
        false => {
            let word = |value: Option<&String>| value.map_or("(absent)", String::as_str).to_owned();
            let line = |(path, old, new)| format!("{path}: {} -> {}\n", word(old), word(new));
            differ.iter().copied().map(line).collect()
        }
    };
    let printed = print(text.as_bytes());
    if differ.is_empty() { printed } else { Exit::Config.into() }
}

/// Prints the JSON Schema of policies.
pub(crate) fn schema() -> ExitCode {
    print(format!("{}\n", config::policy_schema()).as_bytes())
}
