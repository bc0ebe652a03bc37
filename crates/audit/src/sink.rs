//! Where lines go.

use crate::Target;
use crate::file::LogFile;
use policy::Time;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// How long a daemon may take for one line before it counts as one that takes none.
const SOCKET_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes written at once.
const PIECE: usize = 64 << 10;
/// syslog's facility `local0`.
const FACILITY: u8 = 16;

/// A line that is to be written.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) at: Time,
    pub(crate) event: &'static str,
    /// Without its end.
    pub(crate) text: String,
}

impl Line {
    /// syslog's severity: warning, notice or informational.
    fn severity(&self) -> u8 {
        match self.event {
            "alert" => 4,
            "decision" | "evidence" | "suppressed" => 6,
            _ => 5,
        }
    }
}

/// An open target.
#[derive(Debug)]
pub(crate) enum Sink {
    File(LogFile),
    Stdout,
    Socket(Socket),
}

/// A daemon's socket; a line is a datagram.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    words: Words,
    socket: Option<UnixDatagram>,
}

/// How a datagram says what it is.
#[derive(Clone, Debug)]
enum Words {
    Syslog { host: String },
    Journald,
}

impl Sink {
    pub(crate) fn new(target: &Target) -> Self {
        let socket = |path: &PathBuf, words| {
            Sink::Socket(Socket { path: path.clone(), words, socket: None })
        };
        match target {
            Target::File { path, size, keep } => {
                Sink::File(LogFile::new(path.clone(), *size, *keep))
            }
            Target::Stdout => Sink::Stdout,
            Target::Syslog(path) => socket(path, Words::Syslog { host: host() }),
            Target::Journald(path) => socket(path, Words::Journald),
        }
    }

    /// Writes from the front of `lines`, and takes out what is written.
    pub(crate) fn write(&mut self, lines: &mut VecDeque<Line>) -> io::Result<()> {
        match self {
            Sink::File(file) => file.write(lines),
            Sink::Stdout => {
                while !lines.is_empty() {
                    let (piece, count) = piece(lines, PIECE);
                    let mut out = io::stdout().lock();
                    out.write_all(&piece)?;
                    out.flush()?;
                    lines.drain(..count);
                }
                Ok(())
            }
            Sink::Socket(socket) => socket.write(lines),
        }
    }
}

/// The first lines as bytes, as many as `room` takes, but one at least; and their number.
pub(crate) fn piece(lines: &VecDeque<Line>, room: usize) -> (Vec<u8>, usize) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for line in lines {
        if count > 0 && bytes.len() + line.text.len() + 1 > room {
            break;
        }
        bytes.extend_from_slice(line.text.as_bytes());
        bytes.push(b'\n');
        count += 1;
    }
    (bytes, count)
}

impl Socket {
    fn write(&mut self, lines: &mut VecDeque<Line>) -> io::Result<()> {
        while let Some(line) = lines.front() {
            let datagram = self.words.datagram(line);
            let sent = self.open().and_then(|socket| socket.send(&datagram));
            if let Err(error) = sent {
                // the daemon may have begun anew, with another socket
                self.socket = None;
                return Err(error);
            }
            lines.pop_front();
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<&UnixDatagram> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.connect(&self.path)?;
            socket.set_write_timeout(Some(SOCKET_PATIENCE))?;
            self.socket = Some(socket);
        }
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Words {
    fn datagram(&self, line: &Line) -> Vec<u8> {
        let Line { event, text, .. } = line;
        match self {
            // RFC 5424 §6: <PRI>1 TIMESTAMP HOST APP-NAME PROCID MSGID STRUCTURED-DATA MSG
            Words::Syslog { host } => {
                let priority = FACILITY * 8 + line.severity();
                let (at, process) = (line.at.utc_millis(), std::process::id());
                format!("<{priority}>1 {at} {host} ringfence {process} {event} - {text}")
            }
            // systemd.io/JOURNAL_NATIVE_PROTOCOL: a line has no line break in it
            Words::Journald => format!(
                "MESSAGE={text}\nPRIORITY={}\nSYSLOG_IDENTIFIER=ringfence\n\
                 SYSLOG_FACILITY={FACILITY}\nRINGFENCE_EVENT={event}\n",
                line.severity()
            ),
        }
        .into_bytes()
    }
}

/// This machine's name, or the word for none.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { name.to_owned() } else { "-".to_owned() }
}
