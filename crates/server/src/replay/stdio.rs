//! `ringfence replay --stdio`: one engine in virtual time, driven over JSON lines.
//!
//! `docs/replay.md` is what a bench may rely on. [`Lines`] cuts standard input, [`stimulus`] reads what
//! a line says, [`Bench`] lets it happen, [`Answer`] is the line that goes back.

mod answer;
mod bench;
mod lines;
mod stimulus;

#[cfg(test)]
mod day;
#[cfg(test)]
mod tests;

use crate::check::tell;
use crate::cli::Exit;
use answer::Answer;
use bench::Bench;
use config::{Config, Loaded, Overrides};
use lines::Lines;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Bytes of standard input and output that are held at a time.
const BUFFER: usize = 64 << 10;

/// What the command line says besides the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Makes secret and random generator: the same seed and lines give the same answers.
    pub(crate) seed: u64,
    /// Answers tell each decision and its reason, too.
    pub(crate) decisions: bool,
}

/// Answers standard input on standard output, line by line, until it ends.
pub(crate) fn stdio(file: &Path, options: Options) -> ExitCode {
    let config = match read(file) {
        Ok(config) => config,
        Err(exit) => return exit.into(),
    };
    let seed = super::seed(options.seed);
    let mut bench = Bench::new(config.policy, seed, seed, options.decisions);
    match converse(&mut bench, io::stdin().lock(), io::stdout().lock()) {
        // a bench that has gone is no fault
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.into(),
        _ => Exit::Ok.into(),
    }
}

/// The configuration, as far as an engine without sockets needs it.
fn read(file: &Path) -> Result<Config, Exit> {
    let overrides = Overrides { shards: Some(1), certificates_unread: true };
    match config::load_with(file, overrides) {
        Ok(Loaded { config, warnings, .. }) => {
            tell(&warnings);
            Ok(config)
        }
        Err(invalid) => {
            tell(&invalid.problems);
            Err(Exit::Config)
        }
    }
}

/// One line back for each line in. Nothing waits in our buffer while we wait for input.
fn converse(bench: &mut Bench, input: impl Read, output: impl Write) -> io::Result<()> {
    let mut lines = Lines::new(input, BUFFER);
    let mut output = BufWriter::with_capacity(BUFFER, output);
    let mut answer = Answer::default();
    while let Some(line) = lines.next(|| output.flush())? {
        let told = line.map_err(|too_long| too_long.to_string());
        let next_timer = told.and_then(|line| bench.on_line(line, &mut answer));
        match next_timer {
            Ok(next_timer) => answer.write(bench.bans(), next_timer, &mut output)?,
            Err(error) => Answer::write_error(&error, &mut output)?,
        }
    }
    output.flush()
}
