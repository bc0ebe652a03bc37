//! A file that is rotated by its size, and opened anew when somebody else moved it.

use crate::sink::{Line, piece};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes written at once.
const PIECE: u64 = 64 << 10;

/// The file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    size: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// Bytes in it, all of them whole lines.
    length: u64,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf, size: u64, keep: u32) -> Self {
        LogFile { path, size, keep, open: None }
    }

    pub(crate) fn write(&mut self, lines: &mut VecDeque<Line>) -> io::Result<()> {
        if self.is_moved() {
            self.open = None;
        }
        while !lines.is_empty() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.opened()?,
            };
            if open.length >= self.size {
                self.rotate()?;
                continue;
            }
            let room = usize::try_from((self.size - open.length).min(PIECE)).unwrap_or(usize::MAX);
            let (bytes, count) = piece(lines, room);
            if open.length > 0 && bytes.len() > room && (bytes.len() as u64) < self.size {
                self.rotate()?;
                continue;
            }
            if let Err(error) = open.file.write_all(&bytes) {
                // half a line must not be a line; a device has no length, and nothing to take back
                let _ = open.file.set_len(open.length);
                return Err(error);
            }
            open.length += bytes.len() as u64;
            lines.drain(..count);
            self.open = Some(open);
        }
        Ok(())
    }

    /// Whether the path leads elsewhere by now: logrotate renames, or somebody has deleted it.
    fn is_moved(&self) -> bool {
        let Some(open) = &self.open else { return false };
        let now = fs::metadata(&self.path);
        !now.is_ok_and(|now| (now.dev(), now.ino()) == (open.device, open.inode))
    }

    fn opened(&self) -> io::Result<Open> {
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&self.path)?;
        let known = file.metadata()?;
        let (device, inode, length) = (known.dev(), known.ino(), known.len());
        Ok(Open { file, device, inode, length })
    }

    /// The file becomes `.1`, that `.2`; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            let older = numbered(&self.path, number + 1);
            match fs::rename(numbered(&self.path, number), older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

/// `audit.log.3`
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Time;

    fn lines(range: std::ops::Range<u32>) -> VecDeque<Line> {
        let line = |n| Line { at: Time::ZERO, event: "ban", text: format!("line {n:03}") };
        range.map(line).collect()
    }

    fn all(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join(name)).unwrap()
    }

    #[test]
    fn a_full_file_makes_room_and_no_line_is_torn_or_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        // four lines of nine bytes
        let mut file = LogFile::new(path.clone(), 40, 2);
        file.write(&mut lines(0..11)).unwrap();
        let text = |name| all(directory.path(), name);
        assert_eq!(text("audit.log.2"), "line 000\nline 001\nline 002\nline 003\n");
        assert_eq!(text("audit.log.1"), "line 004\nline 005\nline 006\nline 007\n");
        assert_eq!(text("audit.log"), "line 008\nline 009\nline 010\n");
        // the next start goes on where it was
        LogFile::new(path, 40, 2).write(&mut lines(11..13)).unwrap();
        assert_eq!(text("audit.log.1").lines().count(), 4);
        assert_eq!(text("audit.log"), "line 012\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "the oldest is gone");
    }

    #[test]
    fn without_older_ones_it_begins_anew_and_a_line_may_be_longer_than_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut file = LogFile::new(path, 8, 0);
        file.write(&mut lines(0..3)).unwrap();
        assert_eq!(all(directory.path(), "audit.log"), "line 002\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_moved_or_deleted_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut file = LogFile::new(path.clone(), 1 << 20, 5);
        file.write(&mut lines(0..1)).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        file.write(&mut lines(1..2)).unwrap();
        assert_eq!(all(directory.path(), "moved"), "line 000\n");
        assert_eq!(all(directory.path(), "audit.log"), "line 001\n");
        fs::remove_file(&path).unwrap();
        file.write(&mut lines(2..3)).unwrap();
        assert_eq!(all(directory.path(), "audit.log"), "line 002\n");
    }

    #[test]
    fn a_full_disk_keeps_the_lines() {
        let mut file = LogFile::new("/dev/full".into(), 1 << 20, 5);
        let mut waiting = lines(0..3);
        assert_eq!(file.write(&mut waiting).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(waiting.len(), 3);
    }
}
