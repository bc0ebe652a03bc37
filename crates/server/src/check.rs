//! `ringfence check`.

use crate::cli::{Exit, print};
use config::{Loaded, Problem};
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Reads a configuration and prints what is wrong with it, what is in effect, or both.
pub(crate) fn check(file: &Path, print_effective: bool, json: bool) -> ExitCode {
    let (config, problems) = match config::load(file) {
        Ok(Loaded { config, warnings, .. }) => (Some(config), warnings),
        Err(invalid) => (None, invalid.problems),
    };
    let effective = config.as_ref().filter(|_| print_effective).map(config::Config::to_yaml);
    let exit = if config.is_some() { Exit::Ok } else { Exit::Config };
    let printed = if json {
        let result = json!({
            "file": file,
            "ok": config.is_some(),
            "problems": problems,
            "effective": effective,
        });
        print(format!("{result}\n").as_bytes())
    } else {
        tell(&problems);
        match (&effective, &config) {
            (Some(yaml), _) => print(yaml.as_bytes()),
            (None, Some(_)) => print(format!("{}: ok\n", file.display()).as_bytes()),
            (None, None) => Exit::Ok.into(),
        }
    };
    if exit == Exit::Ok { printed } else { exit.into() }
}

/// Problems go to standard error, so that `--print-effective` stays readable YAML.
pub(crate) fn tell(problems: &[Problem]) {
    let mut out = io::stderr().lock();
    for problem in problems {
        // There is nobody left to tell that nobody can be told.
        let _ = writeln!(out, "{problem}");
    }
}
