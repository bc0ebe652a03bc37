//! What the reader of a capture passes on to a thread that judges.

use capture::Seen;
use policy::Time;
use std::ops::Range;

/// Bytes of a batch from which on it is passed on, and what it may hold, bytes or not.
const FULL: usize = 64 << 10;
const MOST: usize = 4_096;

/// What a shard hears.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard<'b> {
    /// Something that was said.
    Seen(Seen<'b>),
    /// What the shards learned up to now they tell each other.
    Round,
    /// The capture is at its end.
    End,
}

/// Some of a capture, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    all: Vec<(Time, Heard<'static>, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn push(&mut self, at: Time, heard: Heard<'_>) {
        let start = self.bytes.len();
        let heard = match heard {
            Heard::Seen(seen) => Heard::Seen(self.keep(seen)),
            Heard::Round => Heard::Round,
            Heard::End => Heard::End,
        };
        self.all.push((at, heard, start..self.bytes.len()));
    }

    /// Without its bytes, which are kept apart.
    fn keep(&mut self, seen: Seen<'_>) -> Seen<'static> {
        match seen {
            Seen::Datagram { source, destination, bytes } => {
                self.bytes.extend_from_slice(bytes);
                Seen::Datagram { source, destination, bytes: b"" }
            }
            Seen::Stream { source, destination, bytes } => {
                self.bytes.extend_from_slice(bytes);
                Seen::Stream { source, destination, bytes: b"" }
            }
            Seen::Opened { source, destination } => Seen::Opened { source, destination },
            Seen::Closed { source, destination } => Seen::Closed { source, destination },
        }
    }

    /// Whether it is time to pass it on.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL || self.all.len() >= MOST
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Time, Heard<'_>)> {
        self.all.iter().map(|(at, heard, range)| {
            let bytes = self.bytes.get(range.clone()).unwrap_or_default();
            let heard = match *heard {
                Heard::Seen(Seen::Datagram { source, destination, .. }) => {
                    Heard::Seen(Seen::Datagram { source, destination, bytes })
                }
                Heard::Seen(Seen::Stream { source, destination, .. }) => {
                    Heard::Seen(Seen::Stream { source, destination, bytes })
                }
                other => other,
            };
            (*at, heard)
        })
    }
}
