//! Netlink messages (RFC 3549): an encoder, a reader that trusts no length, and a socket.
//!
//! Only what the other modules say and hear: attributes are numbered there.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto,
    socket_with,
};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// `NLM_F_REQUEST`: every message of ours is one.
pub(crate) const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: say also that it went well.
pub(crate) const ACK: u16 = 0x04;
/// `NLM_F_DUMP`: all there are.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;
const HEADER: usize = 16;
const ALIGN: usize = 4;

/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for one reading: a refusal quotes the whole message, dumps come in 32 KiB.
const READING: usize = 128 << 10;
/// Most readings for one answer: one an element at worst, of the largest set.
const ANSWERS_MAX: usize = 1 << 21;

/// Messages to the kernel, one after another.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    count: u32,
}

impl Messages {
    /// Adds a message: its kind and flags, the subsystem's own header, and attributes. Its number
    /// in the answers is its place in the row.
    pub(crate) fn push(
        &mut self,
        kind: u16,
        flags: u16,
        head: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let at = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(head);
        pad(&mut self.bytes);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - at).unwrap_or(u32::MAX);
        self.bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
        self.count += 1;
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// As they go to the kernel.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Attributes being written.
#[derive(Debug)]
pub(crate) struct Attributes<'m>(&'m mut Vec<u8>);

impl Attributes<'_> {
    /// Bytes as they are, at most 65,531.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.wrap(kind, |out| out.extend(value))
    }

    /// A number in network order, as all of netfilter's are.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in network order.
    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A name.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.wrap(kind, |out| {
            out.extend(value.as_bytes());
            out.push(0);
        })
    }

    /// Attributes as they were read.
    pub(crate) fn raw(&mut self, attributes: &[u8]) {
        self.0.extend(attributes);
    }

    /// Attributes within one. Together at most 65,531 bytes.
    pub(crate) fn nest(
        &mut self,
        kind: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        self.wrap(kind | NESTED, |out| attributes(&mut Attributes(out)))
    }

    fn wrap(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let at = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        value(self.0);
        let length = u16::try_from(self.0.len() - at);
        debug_assert!(length.is_ok(), "an attribute holds 65,531 bytes");
        self.0[at..at + 2].copy_from_slice(&length.unwrap_or(u16::MAX).to_ne_bytes());
        pad(self.0);
        self
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

/// A message as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'b> {
    pub(crate) kind: u16,
    pub(crate) number: u32,
    pub(crate) body: &'b [u8],
}

/// The messages of one reading, as far as they are whole.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.first_chunk().copied()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            number: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            body: &message[HEADER..],
        })
    })
}

/// Kinds and values of the attributes in `bytes`, as far as they are whole.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.first_chunk().copied()?));
        let attribute = rest.get(..length).filter(|attribute| attribute.len() >= ALIGN)?;
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((u16::from_ne_bytes([attribute[2], attribute[3]]) & KIND, &attribute[ALIGN..]))
    })
}

/// The value of the first attribute of that kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number in network order.
pub(crate) fn number<const N: usize>(value: &[u8]) -> Option<u64> {
    let bytes: [u8; N] = value.try_into().ok()?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Why a request did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The socket did not carry it.
    System(io::Error),
    /// The kernel refused messages: their numbers, and why.
    Refused(Vec<(u32, Errno)>),
}

impl Failure {
    /// Whether it refused for this reason, among others.
    pub(crate) fn has(&self, why: Errno) -> bool {
        matches!(self, Failure::Refused(all) if all.iter().any(|(_, error)| *error == why))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::System(error) => write!(f, "netlink: {error}"),
            Failure::Refused(all) => match all.first() {
                Some((_, error)) => write!(f, "the kernel refuses: {error}"),
                None => f.write_str("the kernel does not answer"),
            },
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Failure::System(error.into())
    }
}

/// A netlink socket. The kernel works while the request is handed over, so an answer is there at
/// once; only dumps are fetched piece by piece.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one to a subsystem; `None` is routing. `room` bytes can be sent at once: more than
    /// the system's own bound needs `CAP_NET_ADMIN`.
    pub(crate) fn open(protocol: Option<Protocol>, room: usize) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        sockopt::set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
        if sockopt::set_socket_send_buffer_size_force(&fd, room).is_err() {
            sockopt::set_socket_send_buffer_size(&fd, room)?;
        }
        Ok(Socket { fd, buffer: vec![0; READING] })
    }

    /// Sends messages of which number `last` asks for an [`ACK`], and waits for that. Either all
    /// succeed, or the refusals are told.
    pub(crate) fn request(&mut self, messages: &Messages, last: u32) -> Result<(), Failure> {
        self.send(messages)?;
        let mut refused = Vec::new();
        let mut wait = RecvFlags::empty();
        for _ in 0..ANSWERS_MAX {
            let length = match recv(&self.fd, &mut self.buffer[..], wait) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN) if wait == RecvFlags::DONTWAIT => break,
                Err(error) => return Err(error.into()),
            };
            for message in self::messages(&self.buffer[..length]) {
                match outcome(&message) {
                    Some(Err(error)) => refused.push((message.number, error)),
                    Some(Ok(())) if message.number == last && refused.is_empty() => return Ok(()),
                    _ => {}
                }
            }
            // the refusals of a batch are there together
            if !refused.is_empty() {
                wait = RecvFlags::DONTWAIT;
            }
        }
        Err(Failure::Refused(refused))
    }

    /// Sends one message and gives each part of its answer to `visit`, up to the end.
    pub(crate) fn ask(
        &mut self,
        question: &Messages,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        self.send(question)?;
        for _ in 0..ANSWERS_MAX {
            let (_, length) = recv(&self.fd, &mut self.buffer[..], RecvFlags::empty())?;
            for message in messages(&self.buffer[..length]) {
                match outcome(&message) {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(error)) => {
                        return Err(Failure::Refused(vec![(message.number, error)]));
                    }
                    None => visit(message.body),
                }
            }
        }
        Err(Failure::Refused(Vec::new()))
    }

    fn send(&mut self, messages: &Messages) -> Result<(), Failure> {
        // what a request that failed half-way left behind
        while recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT).is_ok() {}
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.fd, messages.as_bytes(), SendFlags::empty(), &kernel)?;
        Ok(())
    }
}

/// How a request ended, if this message says so; the end of a dump is one, too.
fn outcome(message: &Message<'_>) -> Option<Result<(), Errno>> {
    match message.kind {
        DONE => Some(Ok(())),
        ERROR => match i32::from_ne_bytes(message.body.first_chunk().copied()?) {
            0 => Some(Ok(())),
            error => Some(Err(Errno::from_raw_os_error(error.saturating_neg()))),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let mut messages = Messages::default();
        messages.push(0x0a00, CREATE, &[1, 0, 0, 0], |attributes| {
            attributes.text(1, "ab").nest(3, |inner| {
                inner.u32(2, 7).bytes(5, &[0xff]);
            });
        });
        let expected = [
            &48u32.to_ne_bytes()[..],
            &0x0a00u16.to_ne_bytes(),
            &(CREATE | REQUEST).to_ne_bytes(),
            &[0; 8],
            &[1, 0, 0, 0],
            &7u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            b"ab\0\0",
            &20u16.to_ne_bytes(),
            &(3 | NESTED).to_ne_bytes(),
            &8u16.to_ne_bytes(),
            &2u16.to_ne_bytes(),
            &[0, 0, 0, 7],
            &5u16.to_ne_bytes(),
            &5u16.to_ne_bytes(),
            &[0xff, 0, 0, 0],
        ]
        .concat();
        assert_eq!(messages.as_bytes(), expected);
        assert_eq!(messages.len(), 1);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut written = Messages::default();
        written.push(20, 0, &[9; 4], |attributes| {
            attributes.u64(4, 1 << 40).nest(6, |inner| {
                inner.text(1, "x");
            });
        });
        written.push(21, 0, &[8; 4], |_| {});
        let read: Vec<_> = messages(written.as_bytes()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].number, read[1].number), (20, 0, 1));
        let body = &read[0].body[4..];
        assert_eq!(attribute(body, 4).and_then(number::<8>), Some(1 << 40));
        assert_eq!(attribute(attribute(body, 6).unwrap(), 1), Some(&b"x\0"[..]));
        assert_eq!(attribute(body, 7), None);
    }

    #[test]
    fn answers_are_told_apart() {
        let body = |error: i32| error.to_ne_bytes();
        let of = |kind, body: &[u8]| outcome(&Message { kind, number: 0, body });
        assert_eq!(of(ERROR, &body(0)), Some(Ok(())));
        assert_eq!(of(ERROR, &body(-2)), Some(Err(Errno::NOENT)));
        assert_eq!(of(ERROR, &[]), None);
        assert_eq!(of(DONE, &[]), Some(Ok(())));
        assert_eq!(of(0x0a01, &[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for message in messages(&bytes) {
                prop_assert!(attributes(message.body).count() <= bytes.len() / 4);
                let _ = outcome(&message);
            }
        }
    }
}
