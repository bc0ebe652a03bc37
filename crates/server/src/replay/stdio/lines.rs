//! Lines of bounded length from a stream.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// Longest line, its end not counted: room for the largest datagram or 96 KiB of a stream in
/// Base64 with everything around it.
pub(crate) const LINE_MAX: usize = 128 << 10;

/// A line was longer than [`LINE_MAX`] and is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the line is longer than {LINE_MAX} bytes")
    }
}

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines<R: Read> {
    input: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(input: R, buffer: usize) -> Self {
        Lines { input: BufReader::with_capacity(buffer, input), line: Vec::new() }
    }

    /// The next line without its end; `None` at the end of the stream. `before_waiting` is called
    /// each time before more is read: whoever writes may wait for what was answered so far.
    pub(crate) fn next(
        &mut self,
        mut before_waiting: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<Result<&[u8], TooLong>>> {
        self.line.clear();
        let mut length = 0;
        loop {
            if self.input.buffer().is_empty() {
                before_waiting()?;
            }
            let chunk = match self.input.fill_buf() {
                Ok([]) if length == 0 => return Ok(None),
                Ok([]) => break,
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            length += part.len();
            if length <= LINE_MAX {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        Ok(Some(if length <= LINE_MAX { Ok(&self.line) } else { Err(TooLong) }))
    }
}
