use super::*;
use crate::Message;

const ONE: &str = "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nFrom: <sip:a@b>;tag=1\r\n\
                   To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nl: 4\r\n\r\n\r\n\r\n";
const TWO: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h\r\nFrom: <sip:a@b>;tag=1\r\n\
                   To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length:\r\n 0\r\n\r\n";

fn frames(chunks: &[&[u8]], limits: &Limits) -> Result<Vec<String>, Malformed> {
    let mut framer = Framer::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(chunk, limits);
        while let Some(frame) = framer.next_frame(limits)? {
            frames.push(match frame {
                Frame::Message(bytes) => {
                    let message = Message::parse(bytes, limits);
                    assert!(message.is_ok_and(|message| message.bytes() == bytes));
                    String::from_utf8_lossy(bytes).into_owned()
                }
                Frame::Ping => "ping".into(),
                Frame::Pong => "pong".into(),
            });
        }
    }
    Ok(frames)
}

#[test]
fn messages_and_keep_alives() {
    let limits = Limits::default();
    let stream = format!("{ONE}\r\n\r\n{TWO}\r\n{ONE}{ONE}\r\n\r\n\r\n{TWO}");
    let expected = [ONE, "ping", TWO, "pong", ONE, ONE, "ping", "pong", TWO];
    assert_eq!(frames(&[stream.as_bytes()], &limits).unwrap(), expected);
}

#[test]
fn byte_by_byte() {
    let limits = Limits::default();
    let stream = format!("{ONE}\r\n\r\n{TWO}");
    let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    // Apart, the halves of a ping are a pong and a ping.
    assert_eq!(frames(&bytes, &limits).unwrap(), [ONE, "pong", "ping", TWO]);
}

#[test]
fn progress_follows() {
    let limits = Limits::default();
    let mut framer = Framer::new();
    let mut seen = vec![framer.progress()];
    for byte in format!("\r\n{ONE}").as_bytes() {
        framer.push(&[*byte], &limits);
        let _ = framer.next_frame(&limits).unwrap();
        if seen.last() != Some(&framer.progress()) {
            seen.push(framer.progress());
        }
    }
    use Progress::{Body, Headers, Idle, StartLine};
    assert_eq!(seen, [Idle, StartLine, Headers, Body, Idle]);
    assert_eq!(framer.buffered(), 0);
}

#[test]
fn refused() {
    let limits = Limits::default();
    for (stream, reason) in [
        (ONE.replace("l: 4\r\n", ""), Malformed::ContentLengthMissing),
        (ONE.replace("l: 4", "l: 4\r\nl: 4"), Malformed::DuplicateHeader),
        (ONE.replace("l: 4", "l: 4\r\nContent-Length: 5"), Malformed::DuplicateHeader),
        (ONE.replace("l: 4", "l: -4"), Malformed::ContentLength),
        (ONE.replace("l: 4", "l: 65536"), Malformed::BodyTooLong),
        (ONE.replace("l: 4", "l: 65535"), Malformed::TooLong),
        (ONE.replace("\r\n", "\n"), Malformed::BareLf),
        (ONE.replace("To:", "To:\r"), Malformed::BareCr),
        (ONE.replace("To:", "To:\0"), Malformed::Nul),
        ("\n".into(), Malformed::BareLf),
        ("\rx".into(), Malformed::BareCr),
        ("\u{16}\u{3}\u{1}\0\r\n".into(), Malformed::StartLine),
        ("GET / HTTP/1.1\r\n".into(), Malformed::StartLine),
        (" OPTIONS sip:h SIP/2.0\r\n".into(), Malformed::StartLine),
        ("A".repeat(2_050), Malformed::StartLineTooLong),
        (format!("OPTIONS sip:h SIP/2.0\r\n{}", "A".repeat(20_000)), Malformed::HeadersTooLong),
    ] {
        assert_eq!(frames(&[stream.as_bytes()], &limits), Err(reason), "{stream:?}");
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(frames(&bytes, &limits), Err(reason), "byte by byte: {stream:?}");
    }
}

/// What can be answered does not end the stream.
#[test]
fn faults_that_leave_the_length_alone_are_the_parsers() {
    let limits = Limits::default();
    let stream = ONE.replace("OPTIONS sip:h SIP/2.0", "OPTIONS sip:h SIP/7.0");
    let mut framer = Framer::new();
    framer.push(format!("{stream}{TWO}").as_bytes(), &limits);
    assert_eq!(framer.next_frame(&limits), Ok(Some(Frame::Message(stream.as_bytes()))));
    assert_eq!(framer.next_frame(&limits), Ok(Some(Frame::Message(TWO.as_bytes()))));
}

#[test]
fn an_idle_connection_gives_its_room_back() {
    let limits = Limits::default();
    let mut framer = Framer::new();
    let big = ONE.replace("l: 4", "l: 60000") + &"x".repeat(59_996);
    framer.push(big.as_bytes(), &limits);
    assert_eq!(framer.next_frame(&limits), Ok(Some(Frame::Message(big.as_bytes()))));
    assert_eq!(framer.next_frame(&limits), Ok(None));
    assert!(framer.buffer.capacity() <= IDLE_CAPACITY_MAX, "{}", framer.buffer.capacity());
}
