//! The line that goes back.

use super::stimulus::write_seconds;
use admission::{Ban, BanKey, Lift};
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
        let separator = if decisions.is_empty() { "" } else { "," };
        let (source, reason) = (event.flow.remote, event.reason.as_str());
        // writing to a Vec does not fail
        let _ = write!(decisions, r#"{separator}{{"src":"{source}","reason":"{reason}""#);
        let _ = match event.verdict {
            Verdict::Forward => write!(decisions, r#","verdict":"forward""#),
            Verdict::Absorb => write!(decisions, r#","verdict":"absorb""#),
            Verdict::Reject(status) => {
                write!(decisions, r#","verdict":"reject","status":{status}"#)
            }
            Verdict::Drop => write!(decisions, r#","verdict":"drop""#),
        };
        if let Some(grounds) = &event.grounds {
            // JSON has no word for what is not finite
            let score = if grounds.score.is_finite() { grounds.score } else { f32::MAX };
            let who = grounds.who.as_str();
            let _ = write!(decisions, r#","who":"{who}","score":{score}"#);
        }
        decisions.push(b'}');
    }

    /// Writes the line.
    pub(crate) fn write(
        &mut self,
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
            Some(at) => {
                self.text.clear();
                write_seconds(at, &mut self.text);
                output.write_all(self.text.as_bytes())?;
            }
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
    /// A ban began or was renewed. Who is only narrowed is not banned.
    pub(crate) fn on_ban(&mut self, ban: &Ban) {
        self.set(ban.key, !ban.narrowed);
    }

    /// A ban ended.
    pub(crate) fn on_lift(&mut self, lift: &Lift) {
        self.set(lift.key, false);
    }

    fn set(&mut self, key: BanKey, banned: bool) {
        let network = match key {
            BanKey::Source(network) | BanKey::Network(network) => network,
            // smaller than an address, or no address at all
            BanKey::AorFlow { .. } | BanKey::AorSource { .. } | BanKey::Campaign(_) => return,
        };
        self.stale |=
            if banned { self.banned.insert(network) } else { self.banned.remove(&network) };
    }

    /// The elements of the list, written anew only after a change.
    pub(crate) fn text(&mut self) -> &[u8] {
        if std::mem::take(&mut self.stale) {
            self.text.clear();
            for network in &self.banned {
                push(&mut self.text, format_args!(r#""{network}""#));
            }
        }
        &self.text
    }
}
