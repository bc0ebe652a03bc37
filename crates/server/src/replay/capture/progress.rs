//! How far the file is read, on a terminal only.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Instant;

/// Characters of the bar.
const WIDTH: u64 = 32;
/// Bytes between two looks at the clock.
const STEP: u64 = 4 << 20;

/// Counts what is read, and draws it.
#[derive(Debug)]
pub(super) struct Progress<R> {
    input: R,
    read: u64,
    total: Option<u64>,
    drawn: u64,
    /// `None` where nobody looks.
    began: Option<Instant>,
}

impl<R> Progress<R> {
    /// Of a file of this length, or a pipe of none. Nothing is drawn unless standard error is a
    /// terminal.
    pub(super) fn new(input: R, total: Option<u64>) -> Self {
        let began = io::stderr().is_terminal().then(now);
        Progress { input, read: 0, total, drawn: 0, began }
    }

    fn draw(&mut self) {
        let Some(began) = self.began.filter(|_| self.read >= self.drawn + STEP) else { return };
        self.drawn = self.read;
        let seconds = began.elapsed().as_secs_f64().max(0.001);
        let rate = self.read as f64 / seconds / 1e6;
        let mut err = io::stderr().lock();
        // There is nobody left to tell that nobody can be told.
        let _ = match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let done = (self.read.min(total) * WIDTH / total) as usize;
                let bar = "#".repeat(done) + &"-".repeat(WIDTH as usize - done);
                let percent = self.read.min(total) * 100 / total;
                write!(err, "\r[{bar}] {percent:3} %  {rate:.0} MB/s ")
            }
            None => write!(err, "\r{:.0} MB  {rate:.0} MB/s ", self.read as f64 / 1e6),
        };
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        if self.began.is_some() && self.drawn > 0 {
            // the line is given back
            let _ = write!(io::stderr().lock(), "\r{:70}\r", "");
        }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read += count as u64;
        self.draw();
        Ok(count)
    }
}

#[allow(clippy::disallowed_methods)] // how fast a file is read is none of the engine's times
fn now() -> Instant {
    Instant::now()
}
