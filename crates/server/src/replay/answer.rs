//! The line that goes back.

use super::stimulus::seconds;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{Network, Time};
use proxy::{Event, Verdict};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use wire::Transport;

/// What one line caused, as JSON in the making. Addresses, words and Base64 need no escapes.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    out: Vec<u8>,
    close: Vec<u8>,
    /// `None`: not asked for.
    decisions: Option<Vec<u8>>,
    text: String,
}

impl Answer {
    /// Begins the next answer.
    pub(crate) fn clear(&mut self, decisions: bool) {
        self.out.clear();
        self.close.clear();
        match (&mut self.decisions, decisions) {
            (Some(told), true) => told.clear(),
            (told, _) => *told = decisions.then(Vec::new),
        }
    }

    /// Bytes to send.
    pub(crate) fn send(&mut self, to: SocketAddr, transport: Transport, bytes: &[u8]) {
        self.text.clear();
        STANDARD.encode_string(bytes, &mut self.text);
        let (transport, text) = (transport.as_via(), &self.text);
        push(
            &mut self.out,
            format_args!(r#"{{"dst":"{to}","transport":"{transport}","b64":"{text}"}}"#),
        );
    }

    /// A connection to close.
    pub(crate) fn close(&mut self, peer: SocketAddr) {
        push(&mut self.close, format_args!(r#""{peer}""#));
    }

    /// A decision.
    pub(crate) fn decided(&mut self, event: &Event) {
        let Some(decisions) = &mut self.decisions else { return };
        let (word, status) = match event.verdict {
            Verdict::Forward => ("forward", None),
            Verdict::Absorb => ("absorb", None),
            Verdict::Reject(status) => ("reject", Some(status)),
            Verdict::Drop => ("drop", None),
        };
        let (source, reason) = (event.flow.remote, event.reason.as_str());
        let separator = if decisions.is_empty() { "" } else { "," };
        // writing to a Vec does not fail
        let _ = write!(
            decisions,
            r#"{separator}{{"src":"{source}","verdict":"{word}","reason":"{reason}""#
        );
        let _ = match status {
            Some(status) => write!(decisions, r#","status":{status}}}"#),
            None => write!(decisions, "}}"),
        };
    }

    /// Writes the line.
    pub(crate) fn write(
        &self,
        bans: &[u8],
        next_timer: Option<Time>,
        output: &mut impl Write,
    ) -> io::Result<()> {
        output.write_all(b"{\"out\":[")?;
        output.write_all(&self.out)?;
        output.write_all(b"],\"close\":[")?;
        output.write_all(&self.close)?;
        output.write_all(b"],\"bans\":[")?;
        output.write_all(bans)?;
        output.write_all(b"],\"next_timer\":")?;
        match next_timer {
            // Debug keeps the point: a reader without types finds a float each time
            Some(at) => write!(output, "{:?}", seconds(at))?,
            None => output.write_all(b"null")?,
        }
        if let Some(decisions) = &self.decisions {
            output.write_all(b",\"decisions\":[")?;
            output.write_all(decisions)?;
            output.write_all(b"]")?;
        }
        output.write_all(b"}\n")
    }

    /// Writes the line for one that was not understood.
    pub(crate) fn write_error(error: &str, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "{}", serde_json::json!({ "error": error }))
    }
}

fn push(list: &mut Vec<u8>, element: std::fmt::Arguments<'_>) {
    if !list.is_empty() {
        list.push(b',');
    }
    // writing to a Vec does not fail
    let _ = list.write_fmt(element);
}

/// The addresses and networks that are banned, with their text as it stands in each answer.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    banned: BTreeSet<Network>,
    text: Vec<u8>,
    stale: bool,
}

impl Bans {
    /// A ban is in force, or no more.
    #[cfg_attr(not(test), expect(dead_code, reason = "the engine tells of no bans yet"))]
    pub(crate) fn set(&mut self, network: Network, banned: bool) {
        self.stale |=
            if banned { self.banned.insert(network) } else { self.banned.remove(&network) };
    }

    /// The elements of the list, written anew only after a change.
    pub(crate) fn text(&mut self) -> &[u8] {
        if std::mem::take(&mut self.stale) {
            self.text.clear();
            for network in &self.banned {
                let address = network.address();
                let text = &mut self.text;
                match (address.is_ipv4(), network.prefix()) {
                    (true, 32) | (false, 128) => push(text, format_args!(r#""{address}""#)),
                    _ => push(text, format_args!(r#""{network}""#)),
                }
            }
        }
        &self.text
    }
}
