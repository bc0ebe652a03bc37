//! Null UDP relay: forwards datagrams both ways, parses nothing. The floor for a SIP proxy.
//! `nullrelay LISTEN BACKEND`
//! Replies go to the last client seen (the load generator has one port), so there is no table.
#[path = "../mmsg.rs"]
#[allow(dead_code)]
mod mmsg;
use libc::*;
use mmsg::*;
use std::net::SocketAddrV4;

fn connect_to(fd: i32, a: SocketAddrV4) {
    let s = sin(a);
    unsafe { connect(fd, &s as *const _ as *const sockaddr, 16) };
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let [_, listen, backend] = &a[..] else {
        eprintln!("nullrelay LISTEN BACKEND");
        std::process::exit(2);
    };
    let (l, b): (SocketAddrV4, SocketAddrV4) =
        (listen.parse().expect("LISTEN"), backend.parse().expect("BACKEND"));
    let cfd = udp_socket(l, 16 << 20, true).expect("bind");
    let bfd = udp_socket(SocketAddrV4::new(*l.ip(), 0), 16 << 20, true).expect("bind");
    connect_to(bfd, b);
    relay(cfd, bfd);
}

fn epoll2(c: i32, b: i32) -> i32 {
    unsafe {
        let ep = epoll_create1(0);
        for fd in [c, b] {
            let mut e = epoll_event { events: EPOLLIN as u32, u64: fd as u64 };
            epoll_ctl(ep, EPOLL_CTL_ADD, fd, &mut e);
        }
        ep
    }
}

/// sendmmsg straight from the receive buffers.
struct Batch {
    n: usize,
    bufs: Vec<u8>,
    iov: Vec<iovec>,
    addr: Vec<sockaddr_in>,
    hdr: Vec<mmsghdr>,
}
impl Batch {
    fn new(n: usize) -> Box<Batch> {
        let mut b = Box::new(Batch {
            n,
            bufs: vec![0; n * BUF],
            iov: vec![],
            addr: vec![unsafe { std::mem::zeroed() }; n],
            hdr: vec![],
        });
        for i in 0..n {
            let p = b.bufs[i * BUF..].as_mut_ptr();
            b.iov.push(iovec { iov_base: p as *mut c_void, iov_len: BUF });
        }
        for i in 0..n {
            let mut h: mmsghdr = unsafe { std::mem::zeroed() };
            h.msg_hdr.msg_iov = &mut b.iov[i];
            h.msg_hdr.msg_iovlen = 1;
            h.msg_hdr.msg_name = &mut b.addr[i] as *mut _ as *mut c_void;
            b.hdr.push(h);
        }
        b
    }
    fn recv(&mut self, fd: i32, flags: i32) -> usize {
        for i in 0..self.n {
            self.iov[i].iov_len = BUF;
            self.hdr[i].msg_hdr.msg_namelen = 16;
            self.hdr[i].msg_hdr.msg_name = &mut self.addr[i] as *mut _ as *mut c_void;
        }
        let r = unsafe {
            recvmmsg(fd, self.hdr.as_mut_ptr(), self.n as u32, flags, std::ptr::null_mut())
        };
        r.max(0) as usize
    }
    fn send(&mut self, fd: i32, k: usize, to: Option<SocketAddrV4>) {
        for i in 0..k {
            self.iov[i].iov_len = self.hdr[i].msg_len as usize;
            match to {
                Some(t) => {
                    self.addr[i] = sin(t);
                    self.hdr[i].msg_hdr.msg_name = &mut self.addr[i] as *mut _ as *mut c_void;
                    self.hdr[i].msg_hdr.msg_namelen = 16;
                }
                None => {
                    self.hdr[i].msg_hdr.msg_name = std::ptr::null_mut();
                    self.hdr[i].msg_hdr.msg_namelen = 0;
                }
            }
        }
        let mut off = 0;
        while off < k {
            let r = unsafe { sendmmsg(fd, self.hdr[off..].as_mut_ptr(), (k - off) as u32, 0) };
            off += r.max(1) as usize;
        }
    }
}

fn relay(c: i32, b: i32) {
    let ep = epoll2(c, b);
    let mut evs = [epoll_event { events: 0, u64: 0 }; 4];
    let mut x = Batch::new(64);
    let mut cli: Option<SocketAddrV4> = None;
    loop {
        let n = unsafe { epoll_wait(ep, evs.as_mut_ptr(), 4, -1) };
        for e in 0..n.max(0) as usize {
            let fd = evs[e].u64 as i32;
            loop {
                let k = x.recv(fd, MSG_DONTWAIT);
                if k == 0 {
                    break;
                }
                if fd == c {
                    cli = Some(v4(&x.addr[k - 1]));
                    x.send(b, k, None);
                } else if cli.is_some() {
                    x.send(c, k, cli);
                }
                if k < x.n {
                    break;
                }
            }
        }
    }
}
