//! The language between the edge and its helper, over a stream socket of this machine.
//!
//! Each side begins with [`PREFACE`], whose last byte is the version. Then come frames: a kind, a
//! zero, the length of the body (two bytes, network order), the body. Nothing is longer than
//! [`FRAME_MAX`]. A ban is a record of 24 bytes: what (1 ban, 2 lift), family (4, 6), length of
//! prefix, zero, milliseconds left (four bytes), address (16 bytes, IPv4 in the first four).
//!
//! The edge begins with a full list: `ListBegin`, `Changes` with bans, `ListEnd`; what it does not
//! name is lifted. Then come `Changes` as they happen. Each `Changes` and `ListEnd` has a number, by
//! which `Done` says what became of it, in their order. Whoever sends a list takes over from whoever
//! sent one before. `Ask` may come from anybody who may connect; `Entries` and a `Status` answer it.

use crate::drop_set::Entry;
use policy::Network;
use std::net::IpAddr;
use std::time::Duration;

/// What either side says first.
pub const PREFACE: [u8; 8] = *b"RNGFNCE\x01";
/// Most bans of one frame.
pub const RECORDS_MAX: usize = 1_000;
/// Bytes of the longest frame.
pub const FRAME_MAX: usize = HEAD + 4 + RECORDS_MAX * RECORD;

const HEAD: usize = 4;
const RECORD: usize = 24;
const BAN: u8 = 1;
const LIFT: u8 = 2;

/// What the edge wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bans and lifts, in their order.
    Changes {
        /// Its number.
        number: u32,
        /// At most [`RECORDS_MAX`].
        wishes: Vec<Wish>,
    },
    /// From here on everything is named.
    ListBegin,
    /// Everything was.
    ListEnd {
        /// Its number.
        number: u32,
    },
    /// What is there?
    Ask,
}

/// One thing that shall be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A network is banned for so long from now on.
    Ban(Entry),
    /// It is not banned any more.
    Lift(Network),
}

/// What the helper says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What became of a request.
    Done {
        /// Whose.
        number: u32,
        /// What became of its wishes.
        results: Results,
    },
    /// How things stand.
    Status(Status),
    /// A part of what is banned.
    Entries(Vec<Entry>),
}

/// What became of wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// In force in the kernel.
    pub applied: u32,
    /// Exempt or too wide.
    pub refused: u32,
    /// As many as may be were there.
    pub full: u32,
    /// The kernel would not.
    pub failed: u32,
}

/// How things stand in the kernel, by [`crate::Set::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Bans in force.
    pub entries: [u64; 4],
    /// Packets dropped since the helper began.
    pub dropped: [u64; 4],
    /// How often somebody had taken rules or sets away.
    pub repairs: u64,
}

/// Bytes that are not of this language: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The other side speaks something else, or another version.
    #[error("it speaks another language, or another version of it")]
    Preface,
    /// A frame of no known kind.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// A body that is too long or does not fit its kind.
    #[error("a frame of kind {0} has a body of a wrong length")]
    Length(u8),
    /// A record that says nothing.
    #[error("a record is not well-formed")]
    Record,
}

/// Checks what the other side says first, once it is there.
///
/// # Errors
/// [`Malformed::Preface`].
pub fn parse_preface(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let there = bytes.len().min(PREFACE.len());
    match bytes[..there] == PREFACE[..there] {
        true if there == PREFACE.len() => Ok(Some(there)),
        true => Ok(None),
        false => Err(Malformed::Preface),
    }
}

impl Request {
    /// The first request in `bytes` and how long it is, once it is whole.
    ///
    /// # Errors
    /// As soon as it cannot become one.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Malformed> {
        let Some((kind, body, length)) = frame(bytes, &[1, 2, 3, 4])? else { return Ok(None) };
        let request = match (kind, body) {
            (1, [a, b, c, d, records @ ..]) => Request::Changes {
                number: u32::from_be_bytes([*a, *b, *c, *d]),
                wishes: read_records(kind, records)?,
            },
            (2, []) => Request::ListBegin,
            (3, [a, b, c, d]) => Request::ListEnd { number: u32::from_be_bytes([*a, *b, *c, *d]) },
            (4, []) => Request::Ask,
            _ => return Err(Malformed::Length(kind)),
        };
        Ok(Some((request, length)))
    }

    /// Adds it to `out`. More wishes than [`RECORDS_MAX`] are our own mistake; they are cut.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Request::Changes { number, wishes } => write_frame(out, 1, |out| {
                out.extend(number.to_be_bytes());
                debug_assert!(wishes.len() <= RECORDS_MAX);
                wishes.iter().take(RECORDS_MAX).for_each(|wish| write_record(out, wish));
            }),
            Request::ListBegin => write_frame(out, 2, |_| {}),
            Request::ListEnd { number } => {
                write_frame(out, 3, |out| out.extend(number.to_be_bytes()));
            }
            Request::Ask => write_frame(out, 4, |_| {}),
        }
    }
}

impl Answer {
    /// The first answer in `bytes` and how long it is, once it is whole.
    ///
    /// # Errors
    /// As soon as it cannot become one.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Malformed> {
        let Some((kind, body, length)) = frame(bytes, &[16, 17, 18])? else { return Ok(None) };
        let answer = match kind {
            16 => {
                let [number, applied, refused, full, failed] =
                    numbers(body, u32::from_be_bytes).ok_or(Malformed::Length(kind))?;
                let results = Results { applied, refused, full, failed };
                Answer::Done { number, results }
            }
            17 => {
                let all: [u64; 9] =
                    numbers(body, u64::from_be_bytes).ok_or(Malformed::Length(kind))?;
                let [a, b, c, d, e, f, g, h, repairs] = all;
                Answer::Status(Status { entries: [a, b, c, d], dropped: [e, f, g, h], repairs })
            }
            _ => {
                let entry = |wish| match wish {
                    Wish::Ban(entry) => Ok(entry),
                    Wish::Lift(_) => Err(Malformed::Record),
                };
                let wishes = read_records(kind, body)?;
                Answer::Entries(wishes.into_iter().map(entry).collect::<Result<_, _>>()?)
            }
        };
        Ok(Some((answer, length)))
    }

    /// Adds it to `out`. Entries beyond [`RECORDS_MAX`] are our own mistake; they are cut.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Answer::Done { number, results } => write_frame(out, 16, |out| {
                let Results { applied, refused, full, failed } = results;
                for value in [number, applied, refused, full, failed] {
                    out.extend(value.to_be_bytes());
                }
            }),
            Answer::Status(Status { entries, dropped, repairs }) => write_frame(out, 17, |out| {
                for value in entries.iter().chain(dropped).chain([repairs]) {
                    out.extend(value.to_be_bytes());
                }
            }),
            Answer::Entries(entries) => write_frame(out, 18, |out| {
                debug_assert!(entries.len() <= RECORDS_MAX);
                let entries = entries.iter().take(RECORDS_MAX);
                entries.for_each(|entry| write_record(out, &Wish::Ban(*entry)));
            }),
        }
    }
}

type Frame<'b> = (u8, &'b [u8], usize);

/// Kind, body and length of the first frame, once it is whole.
fn frame<'b>(bytes: &'b [u8], kinds: &[u8]) -> Result<Option<Frame<'b>>, Malformed> {
    let [kind, zero, high, low, rest @ ..] = bytes else { return Ok(None) };
    if !kinds.contains(kind) || *zero != 0 {
        return Err(Malformed::Kind(*kind));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > FRAME_MAX - HEAD {
        return Err(Malformed::Length(*kind));
    }
    Ok(rest.get(..length).map(|body| (*kind, body, HEAD + length)))
}

fn write_frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([kind, 0, 0, 0]);
    body(out);
    let length = u16::try_from(out.len() - at - HEAD).unwrap_or(u16::MAX);
    out[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// As many numbers as there must be.
fn numbers<const N: usize, const B: usize, T: Copy + Default>(
    body: &[u8],
    number: fn([u8; B]) -> T,
) -> Option<[T; N]> {
    let (chunks, rest) = body.as_chunks::<B>();
    let chunks: &[[u8; B]; N] = chunks.try_into().ok()?;
    rest.is_empty().then(|| chunks.map(number))
}

fn read_records(kind: u8, body: &[u8]) -> Result<Vec<Wish>, Malformed> {
    let (records, rest) = body.as_chunks::<RECORD>();
    if !rest.is_empty() || records.len() > RECORDS_MAX {
        return Err(Malformed::Length(kind));
    }
    records.iter().map(|record| read_record(record).ok_or(Malformed::Record)).collect()
}

fn read_record(record: &[u8; RECORD]) -> Option<Wish> {
    let (what, family, prefix, zero) = (record[0], record[1], record[2], record[3]);
    let millis: [u8; 4] = record[4..8].try_into().ok()?;
    let address: [u8; 16] = record[8..].try_into().ok()?;
    let (address, most) = match (family, address) {
        (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => (IpAddr::from([a, b, c, d]), 32),
        (6, address) => (IpAddr::from(address), 128),
        _ => return None,
    };
    let network = Network::new(address, prefix.min(most));
    if zero != 0 || prefix > most || network.address() != address {
        return None;
    }
    let remaining = Duration::from_millis(u32::from_be_bytes(millis).into());
    match what {
        BAN => Some(Wish::Ban(Entry { network, remaining })),
        LIFT if remaining.is_zero() => Some(Wish::Lift(network)),
        _ => None,
    }
}

fn write_record(out: &mut Vec<u8>, wish: &Wish) {
    let (what, network, remaining) = match wish {
        Wish::Ban(entry) => (BAN, entry.network, entry.remaining),
        Wish::Lift(network) => (LIFT, *network, Duration::ZERO),
    };
    let mut address = [0; 16];
    let family = match network.address() {
        IpAddr::V4(ip) => {
            address[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            address = ip.octets();
            6
        }
    };
    // 49 days at most: longer bans are renewed by the next full list
    let millis = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
    out.extend([what, family, network.prefix(), 0]);
    out.extend(millis.to_be_bytes());
    out.extend(address);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_network() -> impl Strategy<Value = Network> {
        let v4 = (any::<[u8; 4]>(), 0u8..=32).prop_map(|(ip, prefix)| (IpAddr::from(ip), prefix));
        let v6 = (any::<[u8; 16]>(), 0u8..=128).prop_map(|(ip, prefix)| (IpAddr::from(ip), prefix));
        prop_oneof![v4, v6].prop_map(|(ip, prefix)| Network::new(ip, prefix))
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        (any_network(), any::<u32>()).prop_map(|(network, millis)| Entry {
            network,
            remaining: Duration::from_millis(millis.into()),
        })
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let wish = prop_oneof![any_entry().prop_map(Wish::Ban), any_network().prop_map(Wish::Lift)];
        let wishes = proptest::collection::vec(wish, 0..40);
        prop_oneof![
            (any::<u32>(), wishes).prop_map(|(number, wishes)| Request::Changes { number, wishes }),
            Just(Request::ListBegin),
            any::<u32>().prop_map(|number| Request::ListEnd { number }),
            Just(Request::Ask),
        ]
    }

    fn any_answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            any::<[u32; 5]>().prop_map(|[number, applied, refused, full, failed]| {
                let results = Results { applied, refused, full, failed };
                Answer::Done { number, results }
            }),
            (any::<[u64; 4]>(), any::<[u64; 4]>(), any::<u64>()).prop_map(
                |(entries, dropped, repairs)| Answer::Status(Status { entries, dropped, repairs })
            ),
            proptest::collection::vec(any_entry(), 0..40).prop_map(Answer::Entries),
        ]
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written(request in any_request(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            request.write(&mut bytes);
            prop_assert!(bytes.len() <= FRAME_MAX);
            let cut = cut.index(bytes.len());
            prop_assert_eq!(Request::parse(&bytes[..cut]), Ok(None), "not whole");
            let length = bytes.len();
            bytes.extend([0xff; 3]);
            prop_assert_eq!(Request::parse(&bytes), Ok(Some((request, length))));
        }

        #[test]
        fn an_answer_is_read_as_it_was_written(answer in any_answer()) {
            let mut bytes = Vec::new();
            answer.write(&mut bytes);
            let length = bytes.len();
            prop_assert_eq!(Answer::parse(&bytes), Ok(Some((answer, length))));
        }

        #[test]
        fn whatever_comes_is_read_within_bounds(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..20) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(Some((request, length))) = Request::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                let mut again = Vec::new();
                request.write(&mut again);
                prop_assert_eq!(&again[..], &bytes[..length], "one way to write a thing");
            }
            let _ = Answer::parse(&bytes);
            let _ = parse_preface(&bytes);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let mut good = Vec::new();
        let network = Network::new(IpAddr::from([192, 0, 2, 0]), 24);
        let entry = Entry { network, remaining: Duration::from_secs(1) };
        Request::Changes { number: 1, wishes: vec![Wish::Ban(entry)] }.write(&mut good);
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Request::parse(&bytes)
        };
        let record = HEAD + 4;
        assert_eq!(with(0, 9), Err(Malformed::Kind(9)));
        assert_eq!(with(1, 1), Err(Malformed::Kind(1)), "the zero");
        assert_eq!(with(2, 0xff), Err(Malformed::Length(1)), "longer than a frame may be");
        assert_eq!(with(3, 27), Err(Malformed::Length(1)), "half a record");
        assert_eq!(with(record, 3), Err(Malformed::Record), "neither ban nor lift");
        assert_eq!(with(record, LIFT), Err(Malformed::Record), "a lift has no time");
        assert_eq!(with(record + 1, 5), Err(Malformed::Record), "no such family");
        assert_eq!(with(record + 2, 33), Err(Malformed::Record), "too long a prefix");
        assert_eq!(with(record + 2, 16), Err(Malformed::Record), "bits behind the prefix");
        assert_eq!(with(record + 3, 1), Err(Malformed::Record), "the zero");
        assert_eq!(with(record + 12, 1), Err(Malformed::Record), "more than an IPv4 address");
        assert!(Request::parse(&good).is_ok_and(|read| read.is_some()));
    }

    #[test]
    fn another_version_is_told_at_its_first_wrong_byte() {
        assert_eq!(parse_preface(b"RNG"), Ok(None));
        assert_eq!(parse_preface(&PREFACE), Ok(Some(8)));
        assert_eq!(parse_preface(b"RNGFNCE\x02"), Err(Malformed::Preface));
        assert_eq!(parse_preface(b"GET"), Err(Malformed::Preface));
    }
}
