//! The phones' stream connections: TCP and TLS.
use crate::mmsg::*;
use crate::uac::{Opts, Transport};
use libc::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

pub enum Sock {
    Plain,
    Tls(Box<rustls::ClientConnection>),
}
pub struct Conn {
    pub fd: i32,
    pub sock: Sock,
    pub rbuf: Vec<u8>,
    pub wbuf: Vec<u8>,
}

pub struct Fd(pub i32);
impl Read for Fd {
    fn read(&mut self, b: &mut [u8]) -> std::io::Result<usize> {
        let r = unsafe { read(self.0, b.as_mut_ptr() as *mut c_void, b.len()) };
        if r < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(r as usize)
        }
    }
}
impl Write for Fd {
    fn write(&mut self, b: &[u8]) -> std::io::Result<usize> {
        let r = unsafe { write(self.0, b.as_ptr() as *const c_void, b.len()) };
        if r < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(r as usize)
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Conn {
    /// Writes what is pending; gives up after about a second.
    pub fn flush(&mut self) {
        match &mut self.sock {
            Sock::Plain => {
                let mut tries = 0;
                while !self.wbuf.is_empty() && tries < 1000 {
                    let r = unsafe {
                        write(self.fd, self.wbuf.as_ptr() as *const c_void, self.wbuf.len())
                    };
                    if r > 0 {
                        self.wbuf.drain(..r as usize);
                    } else {
                        tries += 1;
                        unsafe {
                            let mut p = pollfd { fd: self.fd, events: POLLOUT, revents: 0 };
                            poll(&mut p, 1, 1);
                        }
                    }
                }
            }
            Sock::Tls(t) => {
                let mut tries = 0;
                while t.wants_write() && tries < 1000 {
                    if t.write_tls(&mut Fd(self.fd)).is_err() {
                        tries += 1;
                        unsafe {
                            let mut p = pollfd { fd: self.fd, events: POLLOUT, revents: 0 };
                            poll(&mut p, 1, 1);
                        }
                    }
                }
            }
        }
    }
}

/// Connects `o.conns` times from as many addresses and registers each with the epoll `ep`.
pub fn connect_all(o: &Opts, ep: i32) -> Vec<Conn> {
    let mut v = vec![];
    let cfg = if o.transport == Transport::Tls { Some(crate::tls::client_config()) } else { None };
    for k in 0..o.conns {
        unsafe {
            let fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            let _ = setopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
            let src = u32::from(o.src_base) + (k as u32 % o.sources.max(1));
            let s = sin(SocketAddrV4::new(Ipv4Addr::from(src), 0));
            let _ = setopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
            bind(fd, &s as *const _ as *const sockaddr, 16);
            let d = sin(o.target);
            if connect(fd, &d as *const _ as *const sockaddr, 16) < 0 {
                panic!("connect: {}", std::io::Error::last_os_error());
            }
            let sock = match &cfg {
                None => Sock::Plain,
                Some(c) => {
                    let name = rustls::pki_types::ServerName::try_from("pbx.test").unwrap();
                    let mut t = rustls::ClientConnection::new(Arc::clone(c), name).unwrap();
                    let mut f = Fd(fd);
                    while t.is_handshaking() {
                        t.complete_io(&mut f).expect("tls handshake");
                    }
                    Sock::Tls(Box::new(t))
                }
            };
            let fl = fcntl(fd, F_GETFL);
            fcntl(fd, F_SETFL, fl | O_NONBLOCK);
            let mut e = epoll_event { events: EPOLLIN as u32, u64: k as u64 };
            epoll_ctl(ep, EPOLL_CTL_ADD, fd, &mut e);
            v.push(Conn { fd, sock, rbuf: vec![], wbuf: vec![] });
        }
    }
    v
}
