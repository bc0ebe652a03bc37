//! `ringfence check`.

use crate::cli::{Exit, print};
use crate::clock::Clock;
use crate::policies;
use crate::setup::certificate_end;
use ::alerts::Alert;
use config::{Config, Loaded, Problem, Severity};
use policy::Time;
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Reads a configuration and prints what is wrong with it, what is in effect, or both.
pub(crate) fn check(file: &Path, print_effective: bool, json: bool) -> ExitCode {
    let (config, tests, mut problems) = match config::load(file) {
        Ok(Loaded { config, warnings, tests }) => (Some(config), tests, warnings),
        Err(invalid) => (None, Vec::new(), invalid.problems),
    };
    problems.extend(config.iter().flat_map(|config| ending(file, config)));
    let tests = config.as_ref().map(|config| policies::run(&config.policy, &tests));
    let failed = tests.iter().flatten().filter(|outcome| !policies::passed(outcome)).count();
    let effective = config.as_ref().filter(|_| print_effective).map(Config::to_yaml);
    let unusable = config.as_ref().and_then(|config| crate::control::token(config).err());
    let good = config.is_some() && failed == 0 && unusable.is_none();
    let exit = if good { Exit::Ok } else { Exit::Config };
    let printed = if json {
        let result = json!({
            "file": file,
            "ok": exit == Exit::Ok,
            "tests": tests,
            "problems": problems,
            "unusable": unusable,
            "effective": effective,
        });
        print(format!("{result}\n").as_bytes())
    } else {
        tell(&problems);
        if let Some(text) = &unusable {
            // as for problems
            let _ = writeln!(io::stderr().lock(), "{}: error: {text}", file.display());
        }
        policies::tell_failed(file, tests.as_deref().unwrap_or_default());
        match (&effective, &config) {
            (Some(yaml), _) => print(yaml.as_bytes()),
            (None, Some(_)) if !good => Exit::Config.into(),
            (None, Some(_)) => print(format!("{}: ok\n", file.display()).as_bytes()),
            (None, None) => Exit::Ok.into(),
        }
    };
    if exit == Exit::Ok { printed } else { exit.into() }
}

/// Certificates of listeners that have ended or soon do, in the words of an edge that runs. Their
/// files are as they should be: only the clock is against them.
fn ending(file: &Path, config: &Config) -> Vec<Problem> {
    let now = Clock::new().now();
    let soon = now + config.alerts.clone().unwrap_or_default().certificate;
    let mut problems = Vec::new();
    for (index, listen) in config.listen.iter().enumerate() {
        for (certificate, _) in listen.tls.iter().flat_map(|tls| &tls.certificates) {
            // one that cannot be read is an error before it comes to this
            let Ok(end) = certificate_end(certificate) else { continue };
            let end = Time::ZERO + Duration::from_secs(end);
            if end > soon {
                continue;
            }
            let Alert { what, advice, .. } = Alert::certificate(certificate, now, Ok(Some(end)));
            problems.push(Problem {
                severity: Severity::Warning,
                file: file.to_owned(),
                line: 0,
                column: 0,
                path: format!("listen[{index}]"),
                message: what,
                hint: Some(advice),
                source: None,
            });
        }
    }
    problems
}

/// Problems go to standard error, so that `--print-effective` stays readable YAML.
pub(crate) fn tell(problems: &[Problem]) {
    let mut out = io::stderr().lock();
    for problem in problems {
        // There is nobody left to tell that nobody can be told.
        let _ = writeln!(out, "{problem}");
    }
}
