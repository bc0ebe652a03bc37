//! What a line says.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use policy::Time;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Base64 (RFC 4648 §4), with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Latest time there is, in seconds: the year 2286. A [`Time`] holds it with room to spare.
const LATEST: u64 = 10_000_000_000;
const NANOS: u64 = 1_000_000_000;

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
#[serde(expecting = "an object with \"now\" and \"ev\"")]
pub(crate) struct Stimulus<'l> {
    /// As it is written: a double has no room for the nanoseconds of this century.
    #[serde(borrow)]
    now: &'l RawValue,
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
        let text = self.now.get();
        time(text).ok_or_else(|| format!("now: {text} is no number between 0 and {LATEST}"))
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

/// The moment that a number of seconds since the epoch names, to the nearest nanosecond.
pub(crate) fn time(text: &str) -> Option<Time> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let nanos = if digits(whole) && digits(fraction) {
        let seconds = whole.parse::<u64>().ok().filter(|seconds| *seconds <= LATEST)?;
        // ten digits: the last is for rounding
        let ten = fraction.bytes().chain(std::iter::repeat(b'0')).take(10);
        let tenths = ten.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        seconds * NANOS + (tenths + 5) / 10
    } else {
        // with an exponent
        let seconds = text.parse::<f64>().ok();
        let seconds = seconds.filter(|seconds| (0.0..=LATEST as f64).contains(seconds))?;
        (seconds * NANOS as f64).round() as u64
    };
    (nanos <= LATEST * NANOS).then(|| Time::from_nanos(nanos))
}

/// Appends the first number of seconds that is at or after `at` both as it is written and as the
/// double that most benches make of it: who comes back with it finds the deadline due.
pub(crate) fn write_seconds(at: Time, text: &mut String) {
    let start = text.len();
    let mut seconds = at.as_nanos() as f64 / NANOS as f64;
    loop {
        for exact in [true, false] {
            text.truncate(start);
            // writing to a String does not fail; Debug keeps the point, so that a reader finds a
            // float each time
            let _ = if exact { write!(text, "{seconds:.9}") } else { write!(text, "{seconds:?}") };
            if text.get(start..).and_then(time).is_some_and(|time| time < at) {
                break;
            }
            if !exact {
                return;
            }
        }
        seconds = seconds.next_up();
    }
}
