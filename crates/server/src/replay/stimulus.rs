//! What a line says.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use policy::Time;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::SocketAddr;

/// Base64 (RFC 4648 §4), with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Latest time there is, in seconds: the year 2286. A [`Time`] holds it with room to spare.
const LATEST: f64 = 1e10;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// A datagram came.
    Dgram,
    /// A connection was made.
    TcpOpen,
    /// Bytes came on it.
    TcpData,
    /// It ended.
    TcpClose,
    /// Time went by.
    Tick,
}

/// A line. Keys that are not known here are the bench's own: they are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Stimulus<'l> {
    now: f64,
    ev: What,
    #[serde(default)]
    src: Option<SocketAddr>,
    #[serde(default)]
    dst: Option<SocketAddr>,
    #[serde(borrow, default)]
    b64: Option<Cow<'l, str>>,
}

impl<'l> Stimulus<'l> {
    /// Reads a line; the error says what is wrong with it.
    pub(crate) fn parse(line: &'l [u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| error.to_string())
    }

    pub(crate) fn what(&self) -> What {
        self.ev
    }

    /// When it happened.
    pub(crate) fn now(&self) -> Result<Time, String> {
        time(self.now).ok_or_else(|| format!("now: {} is not between 0 and {LATEST}", self.now))
    }

    /// Who sent it.
    pub(crate) fn source(&self) -> Result<SocketAddr, String> {
        self.src.map(canonical).ok_or_else(|| "src is missing".into())
    }

    /// The address it came to, if the line says so.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.dst.map(canonical)
    }

    /// Puts what came into `bytes`.
    pub(crate) fn decode(&self, bytes: &mut Vec<u8>) -> Result<(), String> {
        bytes.clear();
        let text = self.b64.as_deref().ok_or("b64 is missing")?;
        BASE64.decode_vec(text, bytes).map_err(|error| format!("b64: {error}"))
    }
}

/// An IPv4-mapped IPv6 address is the IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The moment that `seconds` since the epoch name, to the nearest nanosecond.
pub(crate) fn time(seconds: f64) -> Option<Time> {
    let known = (0.0..=LATEST).contains(&seconds);
    // within the bounds the conversion is exact up to what a double can tell
    known.then(|| Time::from_nanos((seconds * 1e9).round() as u64))
}

/// The first number of seconds that [`time`] takes to be at or after `at`: a bench that comes
/// back with it finds the deadline due.
pub(crate) fn seconds(at: Time) -> f64 {
    let mut seconds = at.as_nanos() as f64 / 1e9;
    while time(seconds).is_some_and(|time| time < at) {
        seconds = seconds.next_up();
    }
    seconds
}
