//! The system calls that `socket2` does not have, each behind a safe function. Nothing here
//! allocates, nothing keeps a pointer after the call.
#![allow(unsafe_code)]

use crate::address::{Control, Name};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Most datagrams of one system call.
pub(crate) const MAX_BATCH: usize = 32;

/// Places for what a system call is told of each datagram. Only those in use are filled: to clear
/// all costs more than to fill the few that most wake-ups need.
type Room<T> = [MaybeUninit<T>; MAX_BATCH];

const fn room<T>() -> Room<T> {
    [const { MaybeUninit::uninit() }; MAX_BATCH]
}

/// The head of one datagram without an address.
fn head(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: a plain C structure for which all bytes zero is a value.
    let mut head: libc::mmsghdr = unsafe { std::mem::zeroed() };
    head.msg_hdr.msg_iov = vector;
    head.msg_hdr.msg_iovlen = 1;
    head
}

/// Where the kernel puts one datagram.
pub(crate) struct ReceiveSlot<'a> {
    pub bytes: &'a mut [u8],
    pub name: &'a mut Name,
    pub control: &'a mut Control,
}

/// What the kernel put there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    pub length: usize,
    pub name_length: usize,
    pub control_length: usize,
    pub truncated: bool,
}

/// Fetches up to [`MAX_BATCH`] datagrams that are there, without waiting, into as many `slots`;
/// `filled` tells of each. Returns how many there were and how many slots were offered.
pub(crate) fn receive_many<'a>(
    socket: BorrowedFd<'_>,
    slots: impl Iterator<Item = ReceiveSlot<'a>>,
    filled: &mut [Filled; MAX_BATCH],
) -> io::Result<(usize, usize)> {
    let (mut heads, mut vectors) = (room(), room());
    let mut offered = 0;
    for ((slot, place), vector) in slots.zip(&mut heads).zip(&mut vectors) {
        let (iov_base, iov_len) = (slot.bytes.as_mut_ptr().cast(), slot.bytes.len());
        let head = place.write(head(vector.write(libc::iovec { iov_base, iov_len })));
        head.msg_hdr.msg_name = slot.name.as_mut_ptr();
        head.msg_hdr.msg_namelen = Name::SIZE as _;
        head.msg_hdr.msg_control = slot.control.as_mut_ptr();
        head.msg_hdr.msg_controllen = Control::SIZE as _;
        offered += 1;
    }
    // SAFETY: the first `offered` heads point to buffers borrowed mutably for 'a, with their true
    // lengths, and to `vectors`, which outlives the call.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            heads.as_mut_ptr().cast(),
            offered as _,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // The C libraries do not agree on the type of `msg_controllen`.
    #[allow(clippy::unnecessary_cast)]
    for (head, filled) in heads.iter().zip(filled.iter_mut()).take(count) {
        // SAFETY: the kernel fills no more heads than it was offered, and those are written above.
        let head: &libc::mmsghdr = unsafe { head.assume_init_ref() };
        *filled = Filled {
            length: head.msg_len as usize,
            name_length: head.msg_hdr.msg_namelen as usize,
            control_length: head.msg_hdr.msg_controllen as usize,
            truncated: head.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok((count, offered))
}

/// One datagram to send.
pub(crate) struct SendSlot<'a> {
    pub bytes: &'a [u8],
    pub remote: SocketAddr,
    /// The address it leaves from, where the socket's own does not say it.
    pub local: Option<IpAddr>,
}

/// Gives up to [`MAX_BATCH`] datagrams to the kernel, in order, without waiting. Returns how many
/// it took; an error is about the first.
pub(crate) fn send_many<'a>(
    socket: BorrowedFd<'_>,
    slots: impl Iterator<Item = SendSlot<'a>>,
) -> io::Result<usize> {
    let (mut names, mut controls): (Room<Name>, Room<Control>) = (room(), room());
    let (mut heads, mut vectors) = (room(), room());
    let rooms = names.iter_mut().zip(&mut controls).zip(&mut heads).zip(&mut vectors);
    let mut offered = 0;
    for (slot, (((name_room, control), place), vector)) in slots.zip(rooms) {
        // The kernel only reads from it; the field is mutable for `recvmsg`.
        let iov_base = slot.bytes.as_ptr().cast_mut().cast();
        let iov_len = slot.bytes.len();
        let head = place.write(head(vector.write(libc::iovec { iov_base, iov_len })));
        let (name, length) = Name::encode(slot.remote);
        head.msg_hdr.msg_name = name_room.write(name).as_mut_ptr();
        head.msg_hdr.msg_namelen = length as _;
        if let Some(local) = slot.local {
            let (leave, length) = Control::leave_from(local);
            head.msg_hdr.msg_control = control.write(leave).as_mut_ptr();
            head.msg_hdr.msg_controllen = length as _;
        }
        offered += 1;
    }
    // SAFETY: the first `offered` heads point to the arrays above and to bytes borrowed for 'a,
    // with their true lengths; all outlive the call.
    let count = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            heads.as_mut_ptr().cast(),
            offered as _,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Takes one entry from the socket's error queue (`IP_RECVERR`); the name is the address that the
/// failed datagram was sent to.
pub(crate) fn receive_error(
    socket: BorrowedFd<'_>,
    name: &mut Name,
    control: &mut Control,
) -> io::Result<Filled> {
    // The start of the failed datagram would come here; nobody asks for it.
    let mut byte = 0_u8;
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: a plain C structure for which all bytes zero is a value.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_iov = &raw mut vector;
    head.msg_iovlen = 1;
    head.msg_name = name.as_mut_ptr();
    head.msg_namelen = Name::SIZE as _;
    head.msg_control = control.as_mut_ptr();
    head.msg_controllen = Control::SIZE as _;
    // SAFETY: `head` points to buffers that outlive the call, with their true lengths.
    let length = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut head, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(Filled {
        length,
        name_length: head.msg_namelen as usize,
        control_length: head.msg_controllen as usize,
        truncated: false,
    })
}

/// The time by which the kernel stamps datagrams, since 1970.
#[allow(clippy::disallowed_methods, reason = "a datagram's age, by the clock that has stamped it")]
pub(crate) fn stamp() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Puts a descriptor under the runtime of the calling thread.
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and nobody takes it
    // out of the `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(registered?)
}

/// Sets a socket option that is one `int`.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lifts the soft limit of open files to the hard one and returns it. Each connection needs one.
///
/// # Errors
/// What `getrlimit` or `setrlimit` says.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to `limit` alone.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads `limit` alone.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Whether somebody keeps the system's clock right (NTP, PTP); `None` when the kernel does not say.
#[must_use]
pub fn clock_is_kept() -> Option<bool> {
    // SAFETY: all bytes zero are a `timex` that asks and sets nothing.
    let mut about: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to `about` alone.
    let state = unsafe { libc::adjtimex(&raw mut about) };
    (state >= 0).then_some(state != libc::TIME_ERROR && about.status & libc::STA_UNSYNC == 0)
}

/// Asks a process of ours to end, by SIGTERM.
///
/// # Errors
/// What `kill` says.
pub fn terminate(process: u32) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: no memory is passed.
    if unsafe { libc::kill(process, libc::SIGTERM) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
