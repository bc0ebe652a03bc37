//! `ringfence-enforcer list`: asks the helper that runs.

use crate::cli::Exit;
use crate::plan::Plan;
use enforce::frame::{Answer, PREFACE, Request, Status, parse_preface};
use enforce::{Entry, Set};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long the helper may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints a line for each ban, and one for each set.
pub(crate) fn list(file: &Path) -> ExitCode {
    let socket = match Plan::read(file) {
        Ok(plan) => plan.enforce.socket,
        Err(text) => return fail(Exit::Config, &text),
    };
    match ask(&socket) {
        Ok(text) => match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.into(),
            _ => Exit::Ok.into(),
        },
        Err(error) => {
            fail(Exit::Socket, &format!("{}: {error}{}", socket.display(), hint(error.kind())))
        }
    }
}

fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "\n    hint: no helper is there: systemctl status ringfence-enforcer"
        }
        io::ErrorKind::PermissionDenied => "\n    hint: root and the edge's user may ask it",
        _ => "",
    }
}

fn fail(exit: Exit, text: &str) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "{text}");
    exit.into()
}

fn ask(socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut out = PREFACE.to_vec();
    Request::Ask.write(&mut out);
    stream.write_all(&out)?;
    let mut buffer = Vec::new();
    let mut greeted = false;
    let mut text = String::new();
    loop {
        if !greeted && let Some(length) = parse_preface(&buffer).map_err(io::Error::other)? {
            buffer.drain(..length);
            greeted = true;
        }
        while greeted
            && let Some((answer, length)) = Answer::parse(&buffer).map_err(io::Error::other)?
        {
            buffer.drain(..length);
            match answer {
                Answer::Entries(entries) => entries.iter().for_each(|ban| line(&mut text, ban)),
                Answer::Status(status) => {
                    totals(&mut text, &status);
                    return Ok(text);
                }
                Answer::Done { .. } => {}
            }
        }
        let mut piece = [0; 16 << 10];
        match stream.read(&mut piece)? {
            0 => {
                return Err(io::Error::other(
                    "the connection was closed: who may ask is said by --user",
                ));
            }
            length => buffer.extend(&piece[..length]),
        }
    }
}

fn line(text: &mut String, ban: &Entry) {
    let _ = writeln!(text, "{} {}s", ban.network, ban.remaining.as_secs());
}

fn totals(text: &mut String, status: &Status) {
    for ((set, entries), dropped) in Set::ALL.iter().zip(status.entries).zip(status.dropped) {
        let _ = writeln!(text, "# {}: {entries} banned, {dropped} packets dropped", set.as_str());
    }
}
