//! Streams: the same frames however they are cut, and the length that the parser finds.

use crate::Verdict;
use crate::mutation::Random;
use wire::{Frame, Framer, Limits, Malformed, Message};

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(Vec<u8>),
    Ping,
}

/// Frames the bytes whole, in pieces, and one by one.
pub fn frame(bytes: &[u8]) -> Verdict {
    let whole = frames(bytes, |rest| rest);
    let mut random = Random::of(bytes);
    let pieces = frames(bytes, |rest| 1 + random.below(rest.min(200)));
    assert_eq!(whole, pieces, "cut into pieces");
    if bytes.len() < 1_500 {
        assert_eq!(whole, frames(bytes, |_| 1), "byte by byte");
    }
    let (seen, end) = whole;
    let messages = seen.iter().filter(|seen| **seen != Seen::Ping).count();
    match end {
        Some(reason) => reason.to_string(),
        None => format!("{} messages", messages.min(3)),
    }
}

/// What stands in the stream, and the error that ended it. A lone CRLF is not counted: whether it
/// is told apart from half a ping is a matter of cuts.
fn frames(bytes: &[u8], mut piece: impl FnMut(usize) -> usize) -> (Vec<Seen>, Option<Malformed>) {
    let limits = Limits::default();
    let (mut framer, mut seen, mut at) = (Framer::new(), Vec::new(), 0);
    while at < bytes.len() {
        let end = (at + piece(bytes.len() - at)).min(bytes.len());
        framer.push(&bytes[at..end], &limits);
        at = end;
        loop {
            match framer.next_frame(&limits) {
                Ok(Some(Frame::Message(message))) => {
                    check_length(message, &limits);
                    seen.push(Seen::Message(message.to_vec()));
                }
                Ok(Some(Frame::Ping)) => seen.push(Seen::Ping),
                Ok(Some(Frame::Pong)) => {}
                Ok(None) => break,
                Err(reason) => return (seen, Some(reason)),
            }
            let _ = framer.progress();
        }
        assert!(framer.buffered() <= limits.message_bytes, "holds one unfinished message");
    }
    (seen, None)
}

/// The parser takes the framed bytes to their end, or refuses them for something else than their
/// length.
fn check_length(bytes: &[u8], limits: &Limits) {
    match Message::parse(bytes, limits) {
        Ok(message) => {
            assert_eq!(message.bytes().len(), bytes.len());
            assert_eq!(message.content_length().map(usize::from), Some(message.body().len()));
        }
        Err(reason) => assert!(
            !matches!(
                reason,
                Malformed::Empty
                    | Malformed::TooLong
                    | Malformed::HeadUnfinished
                    | Malformed::ContentLength
                    | Malformed::ContentLengthMissing
                    | Malformed::BodyUnfinished
                    | Malformed::BodyTooLong
                    | Malformed::BareCr
                    | Malformed::BareLf
                    | Malformed::Nul
            ),
            "framed, but {reason}: {}",
            bytes.escape_ascii()
        ),
    }
}
