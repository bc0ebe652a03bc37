//! Which socket of a `SO_REUSEPORT` group a packet goes to: a classic BPF program that computes,
//! in the kernel, what `proxy::Engine::shard_of` computes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Loads relative to the network header, so that one program serves UDP and TCP
/// (`linux/filter.h`, `SKF_NET_OFF`).
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
/// Offset of the source address in an IPv4 header (RFC 791 §3.1).
const SOURCE_V4: u32 = NETWORK.wrapping_add(12);
/// Offset of the source address in an IPv6 header (RFC 8200 §3).
const SOURCE_V6: u32 = NETWORK.wrapping_add(8);
/// The multiplier of `shard_of`: 2³² divided by the golden ratio.
const MULTIPLIER: u32 = 0x9e37_79b1;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const TO_X: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const ADD_X: u16 = (libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X) as u16;
const MULTIPLY: u16 = (libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K) as u16;
const SHIFT_RIGHT: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_A) as u16;

/// Steers the group of `socket`: the packet's source address chooses the index, by the order in
/// which sockets joined. Needs no privilege. To be attached to the first socket before it is bound.
///
/// # Errors
/// What `setsockopt(SO_ATTACH_REUSEPORT_CBPF)` says.
pub fn attach(socket: BorrowedFd<'_>, is_v6: bool, shards: u8) -> io::Result<()> {
    let mut v4 = program_v4(shards);
    let mut v6 = program_v6(shards);
    let program: &mut [libc::sock_filter] = if is_v6 { &mut v6 } else { &mut v4 };
    let value = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value` and `value.len` instructions behind
    // `value.filter`, which outlive the call; it keeps a copy, no pointer.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tries it on a socket that is bound nowhere.
///
/// # Errors
/// What the kernel has against it.
pub fn is_possible() -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_reuse_port(true)?;
    attach(socket.as_fd(), false, 2)
}

/// IPv4: the whole address.
fn program_v4(shards: u8) -> [libc::sock_filter; 6] {
    let [multiply, shift, and, modulo, ret] = tail(shards);
    [op(LOAD, SOURCE_V4), multiply, shift, and, modulo, ret]
}

/// IPv6: the two words of the /64, for that is what one subscriber has.
fn program_v6(shards: u8) -> [libc::sock_filter; 9] {
    let [multiply, shift, and, modulo, ret] = tail(shards);
    [
        op(LOAD, SOURCE_V6),
        op(TO_X, 0),
        op(LOAD, SOURCE_V6.wrapping_add(4)),
        op(ADD_X, 0),
        multiply,
        shift,
        and,
        modulo,
        ret,
    ]
}

fn tail(shards: u8) -> [libc::sock_filter; 5] {
    [
        op(MULTIPLY, MULTIPLIER),
        op(SHIFT_RIGHT, 16),
        op(AND, 0xff),
        op(MODULO, u32::from(shards.max(1))),
        op(RETURN, 0),
    ]
}

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}
