//! The PBX role: challenges REGISTER and INVITE, answers everything else with 200.
use crate::mmsg::*;
use crate::sip::*;
use libc::*;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};

pub static STOP: AtomicBool = AtomicBool::new(false);
extern "C" fn on_sig(_: i32) {
    STOP.store(true, Ordering::SeqCst);
}
pub fn hook_signals() {
    unsafe {
        signal(SIGTERM, on_sig as *const () as usize);
        signal(SIGINT, on_sig as *const () as usize);
        signal(SIGPIPE, SIG_IGN);
    }
}

pub struct Opts {
    pub listen: SocketAddrV4,
    pub challenge: bool,
    pub no_final: bool,
}

#[derive(Default)]
struct Stats {
    m: HashMap<String, u64>,
    bad: u64,
}

const SDP: &[u8] = b"v=0\r\no=- 4242 4242 IN IP4 127.0.0.30\r\ns=Asterisk\r\nc=IN IP4 127.0.0.30\r\nt=0 0\r\nm=audio 12000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:140\r\na=sendrecv\r\n";

fn reply(out: &mut Vec<u8>, req: &[u8], status: &str, extra: &[u8], body: &[u8], tag: bool) {
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (n, v, line) in headers(req) {
        let keep = match n.first().map(|c| c.to_ascii_lowercase()) {
            Some(b'v') => is(n, "Via", "v"),
            Some(b'r') => is(n, "Record-Route", ""),
            Some(b'f') => is(n, "From", "f"),
            Some(b'c') => is(n, "Call-ID", "") || is(n, "CSeq", ""),
            Some(b'i') => n.len() == 1,
            Some(b't') => is(n, "To", "t"),
            _ => false,
        };
        if !keep {
            continue;
        }
        out.extend_from_slice(line);
        if tag && is(n, "To", "t") && find(v, b"tag=").is_none() {
            out.extend_from_slice(b";tag=as5f1c9e3b");
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(extra);
    out.extend_from_slice(
        format!("Server: Asterisk PBX 20.5.0\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
    );
    out.extend_from_slice(body);
}

/// Appends 0..3 replies to `out`; `cut` is called after each.
fn answer(
    req: &[u8],
    o: &Opts,
    st: &mut Stats,
    extra_contact: &[u8],
    out: &mut Vec<u8>,
    cuts: &mut Vec<usize>,
) {
    let sp = req.iter().position(|&c| c == b' ').unwrap_or(0);
    if sp == 0 || sp > 12 || req.starts_with(b"SIP/2.0") {
        st.bad += 1;
        return;
    }
    let method = std::str::from_utf8(&req[..sp]).unwrap_or("?");
    let mut authed = false;
    for (n, _, _) in headers(req) {
        if is(n, "Authorization", "") || is(n, "Proxy-Authorization", "") {
            authed = true;
        }
    }
    let key = if authed { format!("{method}+auth") } else { method.to_string() };
    *st.m.entry(key).or_insert(0) += 1;
    let chal: &[u8] = b"WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"1700000000/8c0e1a7d2f5b4c3d9e6a1b2c3d4e5f60\",opaque=\"5ccc069c403ebaf9\",algorithm=MD5,qop=\"auth\"\r\n";
    match method {
        "ACK" => {}
        "REGISTER" | "INVITE" if o.challenge && !authed => {
            reply(out, req, "401 Unauthorized", chal, b"", true);
            cuts.push(out.len());
        }
        "INVITE" => {
            reply(out, req, "100 Trying", b"", b"", false);
            cuts.push(out.len());
            reply(out, req, "180 Ringing", extra_contact, b"", true);
            cuts.push(out.len());
            if !o.no_final {
                let mut x = extra_contact.to_vec();
                x.extend_from_slice(b"Allow: OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, REFER\r\nSupported: 100rel, timer, replaces, norefersub\r\nContent-Type: application/sdp\r\n");
                reply(out, req, "200 OK", &x, SDP, true);
                cuts.push(out.len());
            }
        }
        "REGISTER" => {
            let mut x = Vec::new();
            for (n, _, l) in headers(req) {
                if is(n, "Contact", "m") {
                    x.extend_from_slice(l);
                    x.extend_from_slice(b";expires=60\r\n");
                }
            }
            reply(out, req, "200 OK", &x, b"", true);
            cuts.push(out.len());
        }
        _ => {
            reply(out, req, "200 OK", extra_contact, b"", true);
            cuts.push(out.len());
        }
    }
}

struct Conn {
    rbuf: Vec<u8>,
    wbuf: Vec<u8>,
}

pub fn run(o: Opts) {
    hook_signals();
    let ufd = udp_socket(o.listen, 32 << 20, true).expect("uas udp bind");
    let lfd = unsafe { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
    let _ = setopt(lfd, SOL_SOCKET, SO_REUSEADDR, 1);
    let s = sin(o.listen);
    unsafe {
        if bind(lfd, &s as *const _ as *const sockaddr, 16) < 0 || listen(lfd, 1024) < 0 {
            panic!("uas tcp bind: {}", std::io::Error::last_os_error());
        }
    }
    let ep = unsafe { epoll_create1(0) };
    let add = |fd: i32| unsafe {
        let mut e = epoll_event { events: EPOLLIN as u32, u64: fd as u64 };
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &mut e)
    };
    add(ufd);
    add(lfd);
    let mut rx = Rx::new(64);
    let mut tx = Tx::new();
    let mut st = Stats::default();
    let mut conns: HashMap<i32, Conn> = HashMap::new();
    let mut cuts = Vec::new();
    let contact = format!("Contact: <sip:pbx@{}>\r\n", o.listen).into_bytes();
    let mut evs: Vec<epoll_event> = vec![epoll_event { events: 0, u64: 0 }; 256];
    let mut tmp = vec![0u8; 65536];
    let mut obuf = Vec::new();
    eprintln!("uas ready {}", o.listen);
    while !STOP.load(Ordering::Relaxed) {
        let n = unsafe { epoll_wait(ep, evs.as_mut_ptr(), 256, 200) };
        for e in 0..n.max(0) as usize {
            let fd = evs[e].u64 as i32;
            if fd == ufd {
                loop {
                    let k = rx.recv(ufd, MSG_DONTWAIT);
                    for i in 0..k {
                        let (d, from) = rx.get(i);
                        if d.len() < 16 {
                            continue;
                        }
                        cuts.clear();
                        obuf.clear();
                        answer(d, &o, &mut st, &contact, &mut obuf, &mut cuts);
                        let mut a = 0;
                        for &c in &cuts {
                            tx.push(&obuf[a..c], from, 0);
                            a = c;
                        }
                    }
                    tx.flush(ufd);
                    if k < rx.n {
                        break;
                    }
                }
            } else if fd == lfd {
                loop {
                    let c = unsafe {
                        accept4(
                            lfd,
                            std::ptr::null_mut(),
                            std::ptr::null_mut(),
                            SOCK_NONBLOCK | SOCK_CLOEXEC,
                        )
                    };
                    if c < 0 {
                        break;
                    }
                    let _ = setopt(c, IPPROTO_TCP, TCP_NODELAY, 1);
                    add(c);
                    conns.insert(c, Conn { rbuf: vec![], wbuf: vec![] });
                }
            } else {
                let mut dead = false;
                if let Some(c) = conns.get_mut(&fd) {
                    loop {
                        let r = unsafe { read(fd, tmp.as_mut_ptr() as *mut c_void, tmp.len()) };
                        if r > 0 {
                            c.rbuf.extend_from_slice(&tmp[..r as usize]);
                            if (r as usize) < tmp.len() {
                                break;
                            }
                        } else {
                            dead = r == 0;
                            break;
                        }
                    }
                    let mut used = 0;
                    loop {
                        while c.rbuf[used..].starts_with(b"\r\n") {
                            used += 2;
                        }
                        let Some(l) = frame(&c.rbuf[used..]) else { break };
                        cuts.clear();
                        let (m, w) = (&c.rbuf[used..used + l], &mut c.wbuf);
                        answer(m, &o, &mut st, &contact, w, &mut cuts);
                        used += l;
                    }
                    c.rbuf.drain(..used);
                    while !c.wbuf.is_empty() {
                        let r =
                            unsafe { write(fd, c.wbuf.as_ptr() as *const c_void, c.wbuf.len()) };
                        if r > 0 {
                            c.wbuf.drain(..r as usize);
                        } else if std::io::Error::last_os_error().kind()
                            == std::io::ErrorKind::WouldBlock
                        {
                            unsafe {
                                let mut p = pollfd { fd, events: POLLOUT, revents: 0 };
                                poll(&mut p, 1, 100);
                            }
                        } else {
                            dead = true;
                            break;
                        }
                    }
                }
                if dead {
                    conns.remove(&fd);
                    unsafe { close(fd) };
                }
            }
        }
    }
    let mut ks: Vec<_> = st.m.iter().collect();
    ks.sort();
    let ms: Vec<String> = ks.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
    println!(
        "{{\"role\":\"uas\",\"requests\":{{{}}},\"bad\":{},\"udp_sent\":{},\"cpu_ms\":{:.1}}}",
        ms.join(","),
        st.bad,
        tx.sent,
        cpu_ns() as f64 / 1e6
    );
}
