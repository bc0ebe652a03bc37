//! A child process that cannot outlive its test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// A running program whose output goes to a file. Ended on drop: SIGTERM, after three seconds
/// SIGKILL. The kernel kills it if the thread that started it dies first.
pub struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
    input: Option<ChildStdin>,
}

impl Child {
    /// Starts `command`; both its output streams go to `log`.
    #[must_use]
    pub fn start(name: &'static str, command: &Command, log: &Path) -> Self {
        Self::run(name, command, log, false)
    }

    /// The same for one that is told what to do ([`Child::tell`]).
    #[must_use]
    pub fn start_reading(name: &'static str, command: &Command, log: &Path) -> Self {
        Self::run(name, command, log, true)
    }

    fn run(name: &'static str, command: &Command, log: &Path, reads: bool) -> Self {
        let file = File::create(log).unwrap();
        let mut tied = Command::new("setpriv");
        tied.args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        tied.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        if let Some(directory) = command.get_current_dir() {
            tied.current_dir(directory);
        }
        let process = (tied.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut child = Child { name, process, log: log.to_owned(), input: None };
        child.input = child.process.stdin.take().filter(|_| reads);
        child
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it has none ([`Child::start_reading`]), or ended.
    pub fn tell(&mut self, line: &str) {
        use std::io::Write;
        writeln!(self.input.as_mut().expect("an input"), "{line}").unwrap();
    }

    /// All it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` holds for its output.
    ///
    /// # Panics
    /// When it ends first, or never gets there.
    pub fn wait_for(&mut self, what: &str, mut ready: impl FnMut(&str) -> bool) {
        let since = Instant::now();
        loop {
            if ready(&self.output()) {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            let late = since.elapsed() > PATIENCE * 2;
            assert!(
                ended.is_none() && !late,
                "{}: no {what} ({}):\n{}",
                self.name,
                ended.map_or("it runs still".to_owned(), |status| status.to_string()),
                self.output()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.process), signal);
    }

    /// Waits for it to end by itself; its exit code, or `None` if a signal ended it.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until(&format!("{} ends", self.name), PATIENCE * 4, || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Ends it: SIGTERM, three seconds later SIGKILL.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let since = Instant::now();
        while self.is_running() && since.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            println!("--- {}'s output\n{}", self.name, tail(&self.output(), 12_000));
        }
    }
}

/// Waits for a fact that can only be asked for again and again.
///
/// # Panics
/// When it does not come true within `limit`.
pub fn wait_until(what: &str, limit: Duration, mut fact: impl FnMut() -> bool) {
    let since = Instant::now();
    while !fact() {
        assert!(since.elapsed() < limit, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
