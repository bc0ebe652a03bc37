//! `audit`: a line for each decision worth keeping (`docs/audit.md`).

use crate::form::{Count, Maybe, Scalar, Size, Truth, Word};
use crate::keys::{Element, Keys};
use crate::problem::Complaint;
use crate::table::Field;
use crate::value;
use std::path::PathBuf;

/// Where audit lines go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where they go.
    pub to: AuditTarget,
    /// The file, for [`AuditTarget::File`].
    pub file: PathBuf,
    /// Bytes from which on it is rotated.
    pub size: usize,
    /// Older files kept beside it.
    pub keep: u32,
    /// The daemon's socket, for the other two; `None`: where it usually is.
    pub socket: Option<PathBuf>,
    /// How a line looks.
    pub format: AuditFormat,
    /// Whether what passed has lines, too.
    pub accepted: bool,
    /// Lines of one reason in a second.
    pub rate: u32,
    /// Facts that may wait for the thread that writes.
    pub queue: usize,
}

/// Where lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditTarget {
    /// A file.
    #[default]
    File,
    /// Standard output.
    Stdout,
    /// A syslog daemon's socket.
    Syslog,
    /// The journal's socket.
    Journald,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditFormat {
    /// A JSON object.
    #[default]
    Json,
    /// A plain line for fail2ban.
    Fail2ban,
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            to: AuditTarget::File,
            file: "/var/log/ringfence/audit.log".into(),
            size: 100 << 20,
            keep: 5,
            socket: None,
            format: AuditFormat::Json,
            accepted: false,
            rate: 20,
            queue: 1_024,
        }
    }
}

const TARGETS: Word<AuditTarget> = Word(
    "target of audit lines",
    &[
        ("file", AuditTarget::File),
        ("stdout", AuditTarget::Stdout),
        ("syslog", AuditTarget::Syslog),
        ("journald", AuditTarget::Journald),
    ],
);
const FORMATS: Word<AuditFormat> = Word(
    "format of audit lines",
    &[("json", AuditFormat::Json), ("fail2ban", AuditFormat::Fail2ban)],
);
const PATH: Scalar<PathBuf> = Scalar(value::path, |path| path.display().to_string());

impl Element for Audit {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Audit { to, file, size, keep, socket, format, accepted, rate, queue } = self;
        keys.key("to", "Where lines go", to, TARGETS);
        keys.key("file", "The file, for to: file", file, PATH);
        keys.key("size", "From which on the file is rotated", size, Size(4 << 10, 64 << 30));
        keys.key("keep", "Older files kept beside it", keep, Count(0, 1_000));
        let about = "The daemon's socket, for to: syslog and to: journald";
        keys.key("socket", about, socket, Maybe(PATH));
        keys.key("format", "How a line looks", format, FORMATS);
        keys.key("accepted", "Whether what passed has lines, too", accepted, Truth);
        keys.key("rate", "Lines of one reason in a second", rate, Count(1, 100_000));
        keys.key("queue", "Facts that may wait to be written", queue, Count(64, 1 << 16));
    }

    fn check(&self, field: &Field<'_>) {
        let daemon = matches!(self.to, AuditTarget::Syslog | AuditTarget::Journald);
        if self.socket.is_some() && !daemon {
            let complaint = Complaint::new("no daemon's socket is written to");
            field.warn(complaint.hint("say to: syslog or to: journald, or remove socket"));
        }
    }
}
