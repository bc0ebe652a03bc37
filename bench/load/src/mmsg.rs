//! Thin recvmmsg/sendmmsg wrappers (IPv4).
use libc::*;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};

pub const BUF: usize = 4096;

pub fn sin(a: SocketAddrV4) -> sockaddr_in {
    let mut s: sockaddr_in = unsafe { zeroed() };
    s.sin_family = AF_INET as u16;
    s.sin_port = a.port().to_be();
    s.sin_addr.s_addr = u32::from(*a.ip()).to_be();
    s
}

pub fn v4(s: &sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from_be(s.sin_addr.s_addr)), u16::from_be(s.sin_port))
}

pub fn setopt(fd: i32, level: i32, name: i32, val: i32) -> io::Result<()> {
    let r = unsafe { setsockopt(fd, level, name, &val as *const _ as *const c_void, 4) };
    if r < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

pub fn udp_socket(bind_to: SocketAddrV4, rcvbuf: i32, nonblock: bool) -> io::Result<i32> {
    unsafe {
        let flags = SOCK_DGRAM | SOCK_CLOEXEC | if nonblock { SOCK_NONBLOCK } else { 0 };
        let fd = socket(AF_INET, flags, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = setopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if setopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, rcvbuf).is_err() {
            let _ = setopt(fd, SOL_SOCKET, SO_RCVBUF, rcvbuf);
        }
        if setopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, rcvbuf).is_err() {
            let _ = setopt(fd, SOL_SOCKET, SO_SNDBUF, rcvbuf);
        }
        let s = sin(bind_to);
        if bind(fd, &s as *const _ as *const sockaddr, size_of::<sockaddr_in>() as u32) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd)
    }
}

/// A batch of receive buffers.
pub struct Rx {
    pub n: usize,
    bufs: Vec<u8>,
    #[allow(dead_code)]
    iov: Vec<iovec>,
    addr: Vec<sockaddr_in>,
    hdr: Vec<mmsghdr>,
}

impl Rx {
    pub fn new(n: usize) -> Rx {
        let mut bufs = vec![0u8; n * BUF];
        let mut iov: Vec<iovec> = (0..n)
            .map(|i| iovec { iov_base: bufs[i * BUF..].as_mut_ptr() as *mut c_void, iov_len: BUF })
            .collect();
        let mut addr: Vec<sockaddr_in> = vec![unsafe { zeroed() }; n];
        let hdr = (0..n)
            .map(|i| unsafe {
                let mut h: mmsghdr = zeroed();
                h.msg_hdr.msg_iov = &mut iov[i];
                h.msg_hdr.msg_iovlen = 1;
                h.msg_hdr.msg_name = &mut addr[i] as *mut _ as *mut c_void;
                h.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as u32;
                h
            })
            .collect();
        Rx { n, bufs, iov, addr, hdr }
    }
    /// Number of datagrams received; 0 on EAGAIN.
    pub fn recv(&mut self, fd: i32, flags: i32) -> usize {
        let r = unsafe {
            recvmmsg(fd, self.hdr.as_mut_ptr(), self.n as u32, flags, std::ptr::null_mut())
        };
        if r < 0 {
            0
        } else {
            r as usize
        }
    }
    pub fn get(&self, i: usize) -> (&[u8], SocketAddrV4) {
        let l = self.hdr[i].msg_len as usize;
        (&self.bufs[i * BUF..i * BUF + l.min(BUF)], v4(&self.addr[i]))
    }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Cmsg {
    hdr: cmsghdr,
    pi: in_pktinfo,
    pad: u32,
}

/// Outgoing datagrams collected in one arena and sent with sendmmsg.
pub struct Tx {
    arena: Vec<u8>,
    items: Vec<(usize, usize, SocketAddrV4, u32)>, // off, len, dst, src (0: none)
    iov: Vec<iovec>,
    addr: Vec<sockaddr_in>,
    ctl: Vec<Cmsg>,
    hdr: Vec<mmsghdr>,
    pub sent: u64,
    pub bytes: u64,
    pub syscalls: u64,
    pub errors: u64,
}

impl Tx {
    pub fn new() -> Tx {
        Tx {
            arena: Vec::with_capacity(1 << 20),
            items: vec![],
            iov: vec![],
            addr: vec![],
            ctl: vec![],
            hdr: vec![],
            sent: 0,
            bytes: 0,
            syscalls: 0,
            errors: 0,
        }
    }
    pub fn push(&mut self, data: &[u8], dst: SocketAddrV4, src: u32) {
        let m = self.arena.len();
        self.arena.extend_from_slice(data);
        self.items.push((m, data.len(), dst, src));
    }
    pub fn flush(&mut self, fd: i32) {
        let n = self.items.len();
        if n == 0 {
            return;
        }
        self.iov.clear();
        self.addr.clear();
        self.ctl.clear();
        self.hdr.clear();
        for &(o, l, d, s) in &self.items {
            self.iov.push(iovec { iov_base: self.arena[o..].as_ptr() as *mut c_void, iov_len: l });
            self.addr.push(sin(d));
            let mut c: Cmsg = unsafe { zeroed() };
            if s != 0 {
                c.hdr.cmsg_len = unsafe { CMSG_LEN(size_of::<in_pktinfo>() as u32) } as usize;
                c.hdr.cmsg_level = IPPROTO_IP;
                c.hdr.cmsg_type = IP_PKTINFO;
                c.pi.ipi_spec_dst.s_addr = s.to_be();
            }
            self.ctl.push(c);
            self.bytes += l as u64;
        }
        for i in 0..n {
            let mut h: mmsghdr = unsafe { zeroed() };
            h.msg_hdr.msg_iov = &mut self.iov[i];
            h.msg_hdr.msg_iovlen = 1;
            h.msg_hdr.msg_name = &mut self.addr[i] as *mut _ as *mut c_void;
            h.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as u32;
            if self.items[i].3 != 0 {
                h.msg_hdr.msg_control = &mut self.ctl[i] as *mut _ as *mut c_void;
                h.msg_hdr.msg_controllen =
                    unsafe { CMSG_SPACE(size_of::<in_pktinfo>() as u32) } as usize;
            }
            self.hdr.push(h);
        }
        let mut off = 0;
        let mut spins = 0;
        while off < n {
            let k = (n - off).min(1024);
            let r = unsafe { sendmmsg(fd, self.hdr[off..].as_mut_ptr(), k as u32, 0) };
            self.syscalls += 1;
            if r > 0 {
                off += r as usize;
                self.sent += r as u64;
            } else {
                let e = io::Error::last_os_error();
                spins += 1;
                if e.kind() == io::ErrorKind::WouldBlock && spins < 10_000 {
                    unsafe {
                        let mut p = pollfd { fd, events: POLLOUT, revents: 0 };
                        poll(&mut p, 1, 1);
                    }
                    continue;
                }
                // ECONNREFUSED etc. belong to an earlier datagram: skip one and go on
                self.errors += 1;
                off += 1;
            }
        }
        self.items.clear();
        self.arena.clear();
    }
}

pub fn now_ns() -> u64 {
    let mut t: timespec = unsafe { zeroed() };
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// CPU time (user+sys) of this process, ns.
pub fn cpu_ns() -> u64 {
    let mut t: timespec = unsafe { zeroed() };
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
