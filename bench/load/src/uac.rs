//! The phones: open-loop (rate) or closed-loop (window) REGISTER / INVITE / OPTIONS cycles.
use crate::conn::*;
use crate::mmsg::*;
use crate::sip::*;
use libc::*;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    Register,
    Invite,
    Options,
    /// calls left ringing
    Hold,
    /// calls left established
    Talk,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

pub struct Opts {
    pub target: SocketAddrV4,
    pub kind: Kind,
    pub rate: f64,
    pub count: u64,
    pub window: usize,
    pub sources: u32,
    pub src_base: Ipv4Addr,
    pub port: u16,
    pub duration: f64,
    pub timeout: f64,
    pub users: u32,
    pub domain: String,
    pub transport: Transport,
    pub conns: usize,
    pub nat: bool,
    pub hold: f64,
    pub close_notify: bool,
}

#[derive(Default, Clone)]
struct Slot {
    active: bool,
    gen: u32,
    stage: u8,
    cseq: u32,
    branch: u64,
    start: u64,
    sent: u64,
    next_rt: u64,
    rto: u64,
    deadline: u64,
    src: u32,
    user: u32,
    prov: bool,
    msg: Vec<u8>,
    ack: Vec<u8>,
}

#[derive(Default)]
struct Stats {
    started: u64,
    done: u64,
    failed: u64,
    timeouts: u64,
    retrans: u64,
    overrun: u64,
    stray: u64,
    msgs_in: u64,
    codes: BTreeMap<u64, u64>,
    lat_unit: Vec<u32>,
    lat_txn: Vec<u32>,
}

const SDP_TAIL: &str = "t=0 0\r\nm=audio 11780 RTP/AVP 0 8 9 18 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

pub struct Uac {
    o: Opts,
    run: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    st: Stats,
    out: Vec<(u32, Vec<u8>)>,
    pool: Vec<Vec<u8>>,
    via_proto: &'static str,
    holding: u64,
}

impl Uac {
    pub fn new(o: Opts) -> Uac {
        let w = o.window;
        let via_proto = match o.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        };
        Uac {
            run: (now_ns() / 1000) as u32 ^ std::process::id(),
            slots: vec![Slot::default(); w],
            free: (0..w as u32).rev().collect(),
            st: Stats::default(),
            out: vec![],
            pool: vec![],
            via_proto,
            holding: 0,
            o,
        }
    }

    fn buf(&mut self) -> Vec<u8> {
        let mut b = self.pool.pop().unwrap_or_else(|| Vec::with_capacity(2048));
        b.clear();
        b
    }

    /// (address in Via/Contact, port)
    fn local(&self, s: &Slot) -> (Ipv4Addr, u16) {
        if self.o.nat {
            (Ipv4Addr::new(192, 168, (s.user >> 8) as u8, s.user as u8), 5060)
        } else {
            (Ipv4Addr::from(s.src), self.o.port)
        }
    }

    fn build(
        &mut self,
        i: u32,
        method: &str,
        ruri: &str,
        to_tag: &str,
        routes: &[Vec<u8>],
        auth: Option<(&[u8], &[u8])>,
        new_branch: bool,
        cseq: u32,
    ) -> Vec<u8> {
        let mut b = self.buf();
        if new_branch {
            self.slots[i as usize].branch += 1;
        }
        let s = &self.slots[i as usize];
        let (ip, port) = self.local(s);
        let (user, dom, run) = (s.user, &self.o.domain, self.run);
        let tp = match self.o.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        let _ = write!(
            b,
            "{method} {ruri} SIP/2.0\r\nVia: SIP/2.0/{} {ip}:{port};branch=z9hG4bK{run:08x}{i:x}.{:x}.{:x};rport\r\nMax-Forwards: 70\r\n",
            self.via_proto, s.gen, s.branch
        );
        for r in routes {
            b.extend_from_slice(b"Route: ");
            b.extend_from_slice(r);
            b.extend_from_slice(b"\r\n");
        }
        let to_user = if method == "REGISTER" { user } else { 7000 + user % 100 };
        let tg = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        let _ = write!(
            b,
            "From: \"Phone {user}\" <sip:u{user}@{dom}>;tag=f{run:x}{i:x}{:x}\r\nTo: <sip:{}@{dom}>{tg}\r\nCall-ID: {i}-{}-{run:08x}@bench\r\nCSeq: {cseq} {method}\r\nContact: <sip:u{user}@{ip}:{port}{tp}>\r\nUser-Agent: Yealink SIP-T46S 66.85.0.5\r\n",
            s.gen,
            if method == "REGISTER" { format!("u{to_user}") } else { format!("{to_user}") },
            s.gen
        );
        if let Some((realm, nonce)) = auth {
            let u = format!("u{user}");
            let resp = digest_response(&u, "s3cret-bench", realm, nonce, method, ruri, "0a4f113b");
            let _ = write!(b, "Authorization: Digest username=\"{u}\", realm=\"");
            b.extend_from_slice(realm);
            b.extend_from_slice(b"\", nonce=\"");
            b.extend_from_slice(nonce);
            let _ = write!(b, "\", uri=\"{ruri}\", response=\"{resp}\", algorithm=MD5, cnonce=\"0a4f113b\", qop=auth, nc=00000001\r\n");
        }
        match method {
            "REGISTER" => b.extend_from_slice(b"Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE\r\nExpires: 60\r\nContent-Length: 0\r\n\r\n"),
            "INVITE" => {
                let head = format!("v=0\r\no=- 20010 20010 IN IP4 {ip}\r\ns=SDP data\r\nc=IN IP4 {ip}\r\n");
                let _ = write!(
                    b,
                    "Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE\r\nSupported: replaces\r\nAllow-Events: talk,hold,conference,refer,check-sync\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{head}{SDP_TAIL}",
                    head.len() + SDP_TAIL.len()
                );
            }
            _ => b.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
        }
        b
    }

    fn ruri(&self, i: u32) -> String {
        let s = &self.slots[i as usize];
        match self.o.kind {
            Kind::Register => format!("sip:{}", self.o.domain),
            _ => format!("sip:{}@{}", 7000 + s.user % 100, self.o.domain),
        }
    }

    fn method(&self) -> &'static str {
        match self.o.kind {
            Kind::Register => "REGISTER",
            Kind::Options => "OPTIONS",
            _ => "INVITE",
        }
    }

    fn transmit(&mut self, i: u32, msg: Vec<u8>, now: u64) {
        let mut c = self.buf();
        c.extend_from_slice(&msg);
        let udp = self.o.transport == Transport::Udp;
        let s = &mut self.slots[i as usize];
        let old = std::mem::replace(&mut s.msg, msg);
        s.sent = now;
        s.rto = 500_000_000;
        s.next_rt = if udp { now + s.rto } else { u64::MAX };
        s.prov = false;
        self.pool.push(old);
        self.out.push((i, c));
    }

    fn start(&mut self, sched: u64, now: u64) -> bool {
        let Some(i) = self.free.pop() else { return false };
        let n = self.st.started;
        let src = if self.o.sources > 1 {
            u32::from(self.o.src_base) + (n % self.o.sources as u64) as u32
        } else {
            0
        };
        let user = (n % self.o.users as u64) as u32;
        let to = (self.o.timeout * 1e9) as u64;
        {
            let s = &mut self.slots[i as usize];
            s.active = true;
            s.gen = s.gen.wrapping_add(1);
            s.stage = 1;
            s.cseq = 1;
            s.start = sched;
            s.deadline = now + to;
            s.src = if src == 0 { u32::from(self.o.src_base) } else { src };
            s.user = user;
            s.ack.clear();
        }
        self.st.started += 1;
        let (m, r) = (self.method(), self.ruri(i));
        let msg = self.build(i, m, &r, "", &[], None, true, 1);
        self.transmit(i, msg, now);
        // latency of the first request counts from its scheduled time
        self.slots[i as usize].sent = sched;
        true
    }

    fn finish(&mut self, i: u32, ok: bool, now: u64) {
        let s = &mut self.slots[i as usize];
        s.active = false;
        if ok {
            self.st.done += 1;
            self.st.lat_unit.push(((now - s.start) / 1000) as u32);
        } else {
            self.st.failed += 1;
        }
        self.free.push(i);
    }

    fn on_msg(&mut self, d: &[u8], now: u64) {
        self.st.msgs_in += 1;
        if !d.starts_with(b"SIP/2.0 ") || d.len() < 32 {
            self.st.stray += 1;
            return;
        }
        let code = num(&d[8..]);
        let (mut callid, mut cseq, mut chal, mut to, mut contact): (
            &[u8],
            &[u8],
            &[u8],
            &[u8],
            &[u8],
        ) = (&[], &[], &[], &[], &[]);
        let mut routes: Vec<Vec<u8>> = vec![];
        for (n, v, _) in headers(d) {
            match n.first().map(|c| c.to_ascii_lowercase()) {
                Some(b'c') if is(n, "Call-ID", "") => callid = v,
                Some(b'i') if n.len() == 1 => callid = v,
                Some(b'c') if is(n, "CSeq", "") => cseq = v,
                Some(b'w') if is(n, "WWW-Authenticate", "") => chal = v,
                Some(b'p') if is(n, "Proxy-Authenticate", "") => chal = v,
                Some(b't') if is(n, "To", "t") => to = v,
                Some(b'c') if is(n, "Contact", "") => contact = v,
                Some(b'm') if n.len() == 1 => contact = v,
                Some(b'r') if code == 200 && is(n, "Record-Route", "") => {
                    for p in v.split(|&c| c == b',') {
                        routes.insert(0, trim(p).to_vec());
                    }
                }
                _ => {}
            }
        }
        let i = num(callid) as usize;
        let Some(dash) = callid.iter().position(|&c| c == b'-') else {
            self.st.stray += 1;
            return;
        };
        let gen = num(&callid[dash + 1..]) as u32;
        if i >= self.slots.len() || self.slots[i].gen != gen || !self.slots[i].active {
            self.st.stray += 1;
            return;
        }
        let cn = num(cseq) as u32;
        let i = i as u32;
        let (stage, cur) = (self.slots[i as usize].stage, self.slots[i as usize].cseq);
        let invite = matches!(self.o.kind, Kind::Invite | Kind::Hold | Kind::Talk);
        if cn != cur {
            // a repeated final answer to an earlier INVITE: acknowledge again
            if invite && code >= 200 && !self.slots[i as usize].ack.is_empty() {
                let mut c = self.buf();
                c.extend_from_slice(&self.slots[i as usize].ack);
                self.out.push((i, c));
            }
            self.st.stray += 1;
            return;
        }
        if code < 200 {
            self.slots[i as usize].prov = true;
            if self.o.kind == Kind::Hold && code == 180 && stage == 2 {
                self.slots[i as usize].stage = 9;
                self.holding += 1;
                self.st.done += 1;
                self.slots[i as usize].deadline = u64::MAX;
                let l = ((now - self.slots[i as usize].start) / 1000) as u32;
                self.st.lat_unit.push(l);
            }
            return;
        }
        let lat = (now.saturating_sub(self.slots[i as usize].sent) / 1000) as u32;
        match (stage, code) {
            (1, 401) | (1, 407) if self.o.kind != Kind::Options => {
                self.st.lat_txn.push(lat);
                let r = self.ruri(i);
                let m = self.method();
                if invite {
                    let tag =
                        String::from_utf8_lossy(param(to, "tag").unwrap_or(b"x")).into_owned();
                    let a = self.build(i, "ACK", &r, &tag, &[], None, false, 1);
                    self.slots[i as usize].ack.clear();
                    self.slots[i as usize].ack.extend_from_slice(&a);
                    self.out.push((i, a));
                }
                let (Some(realm), Some(nonce)) = (param(chal, "realm"), param(chal, "nonce"))
                else {
                    *self.st.codes.entry(1401).or_insert(0) += 1;
                    self.finish(i, false, now);
                    return;
                };
                self.slots[i as usize].stage = 2;
                self.slots[i as usize].cseq = 2;
                let msg = self.build(i, m, &r, "", &[], Some((realm, nonce)), true, 2);
                self.transmit(i, msg, now);
            }
            (_, 200) if self.o.kind == Kind::Options || (self.o.kind == Kind::Register) => {
                self.st.lat_txn.push(lat);
                self.finish(i, true, now);
            }
            (1, 200) | (2, 200) if matches!(self.o.kind, Kind::Invite | Kind::Talk) => {
                self.st.lat_txn.push(lat);
                let tag = String::from_utf8_lossy(param(to, "tag").unwrap_or(b"x")).into_owned();
                let a = contact.iter().position(|&c| c == b'<').map(|p| p + 1).unwrap_or(0);
                let e = contact[a..]
                    .iter()
                    .position(|&c| c == b'>')
                    .map(|p| a + p)
                    .unwrap_or(contact.len());
                let r = String::from_utf8_lossy(&contact[a..e]).into_owned();
                let ack = self.build(i, "ACK", &r, &tag, &routes, None, true, cn);
                self.slots[i as usize].ack.clear();
                self.slots[i as usize].ack.extend_from_slice(&ack);
                self.out.push((i, ack));
                if self.o.kind == Kind::Talk {
                    let s = &mut self.slots[i as usize];
                    s.stage = 9;
                    s.deadline = u64::MAX;
                    self.st.lat_unit.push(((now - s.start) / 1000) as u32);
                    self.holding += 1;
                    self.st.done += 1;
                    return;
                }
                self.slots[i as usize].stage = 3;
                self.slots[i as usize].cseq = cn + 1;
                let bye = self.build(i, "BYE", &r, &tag, &routes, None, true, cn + 1);
                self.transmit(i, bye, now);
            }
            (3, 200) => {
                self.st.lat_txn.push(lat);
                self.finish(i, true, now);
            }
            _ => {
                *self.st.codes.entry(code).or_insert(0) += 1;
                if invite && stage < 3 {
                    let tag =
                        String::from_utf8_lossy(param(to, "tag").unwrap_or(b"x")).into_owned();
                    let r = self.ruri(i);
                    let a = self.build(i, "ACK", &r, &tag, &[], None, false, cn);
                    self.out.push((i, a));
                }
                self.finish(i, false, now);
            }
        }
    }

    fn timers(&mut self, now: u64) {
        for i in 0..self.slots.len() {
            let s = &mut self.slots[i];
            if !s.active || s.stage == 9 {
                continue;
            }
            if now >= s.deadline {
                self.st.timeouts += 1;
                self.finish(i as u32, false, now);
                continue;
            }
            if now >= s.next_rt
                && !(s.prov
                    && s.stage < 3
                    && matches!(self.o.kind, Kind::Invite | Kind::Hold | Kind::Talk))
            {
                s.rto = (s.rto * 2).min(4_000_000_000);
                s.next_rt = now + s.rto;
                self.st.retrans += 1;
                let m = s.msg.clone();
                self.out.push((i as u32, m));
            }
        }
    }

    pub fn run(mut self) {
        crate::uas::hook_signals();
        let udp = self.o.transport == Transport::Udp;
        let mut rx = Rx::new(64);
        let mut tx = Tx::new();
        let mut conns: Vec<Conn> = vec![];
        let ep = unsafe { epoll_create1(0) };
        let mut ufd = -1;
        if udp {
            let b = if self.o.sources > 1 {
                SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.o.port)
            } else {
                SocketAddrV4::new(self.o.src_base, self.o.port)
            };
            ufd = udp_socket(b, 32 << 20, true).expect("uac bind");
            let mut e = epoll_event { events: EPOLLIN as u32, u64: u64::MAX };
            unsafe { epoll_ctl(ep, EPOLL_CTL_ADD, ufd, &mut e) };
        } else {
            conns = connect_all(&self.o, ep);
        }
        let mut evs: Vec<epoll_event> = vec![epoll_event { events: 0, u64: 0 }; 512];
        let mut tmp = vec![0u8; 65536];
        let t0 = now_ns();
        let cpu0 = cpu_ns();
        let end =
            if self.o.duration > 0.0 { t0 + (self.o.duration * 1e9) as u64 } else { u64::MAX };
        let mut next_scan = t0 + 20_000_000;
        let mut last_done = t0;
        let mut done_before = 0;
        let hold_ns = (self.o.hold * 1e9) as u64;
        loop {
            let now = now_ns();
            let more = self.st.started < self.o.count
                && now < end
                && !crate::uas::STOP.load(std::sync::atomic::Ordering::Relaxed);
            let mut wait_ns: u64 = 20_000_000;
            if more {
                if self.o.rate > 0.0 {
                    let per = 1e9 / self.o.rate;
                    loop {
                        let sched = t0 + ((self.st.started + self.st.overrun) as f64 * per) as u64;
                        if sched > now {
                            wait_ns = wait_ns.min(sched - now);
                            break;
                        }
                        if self.st.started >= self.o.count {
                            break;
                        }
                        if !self.start(sched, now) {
                            self.st.overrun += 1;
                        }
                    }
                } else {
                    let mut k = 0;
                    while k < 64 && self.st.started < self.o.count && self.start(now, now) {
                        k += 1;
                    }
                }
            } else if self.free.len() == self.slots.len() {
                break;
            } else if matches!(self.o.kind, Kind::Hold | Kind::Talk)
                && self.free.len() + self.holding as usize == self.slots.len()
            {
                if now > last_done + hold_ns
                    || crate::uas::STOP.load(std::sync::atomic::Ordering::Relaxed)
                {
                    break;
                }
            }
            if self.st.done != done_before {
                done_before = self.st.done;
                last_done = now;
            }
            if now >= next_scan {
                self.timers(now);
                next_scan = now + 20_000_000;
            }
            if udp {
                for (i, m) in self.out.drain(..) {
                    let s = &self.slots[i as usize];
                    tx.push(&m, self.o.target, if self.o.sources > 1 { s.src } else { 0 });
                    self.pool.push(m);
                }
                tx.flush(ufd);
            } else {
                let outs: Vec<(u32, Vec<u8>)> = self.out.drain(..).collect();
                let nc = conns.len();
                let mut touched: Vec<usize> = Vec::with_capacity(outs.len());
                for (i, m) in outs {
                    // a phone keeps to its own connection
                    let k = self.slots[i as usize].user as usize % nc;
                    let c = &mut conns[k];
                    match &mut c.sock {
                        Sock::Plain => c.wbuf.extend_from_slice(&m),
                        Sock::Tls(t) => {
                            let _ = t.writer().write_all(&m);
                        }
                    }
                    touched.push(k);
                    self.pool.push(m);
                }
                for k in touched {
                    conns[k].flush();
                }
            }
            let ts = timespec { tv_sec: 0, tv_nsec: wait_ns as i64 };
            let n = unsafe { epoll_pwait2_compat(ep, evs.as_mut_ptr(), 512, &ts) };
            if n <= 0 {
                continue;
            }
            if udp {
                loop {
                    let k = rx.recv(ufd, MSG_DONTWAIT);
                    let now = now_ns();
                    for j in 0..k {
                        let p: *const [u8] = rx.get(j).0;
                        self.on_msg(unsafe { &*p }, now);
                    }
                    if k < rx.n {
                        break;
                    }
                    for (i, m) in self.out.drain(..) {
                        let s = &self.slots[i as usize];
                        tx.push(&m, self.o.target, if self.o.sources > 1 { s.src } else { 0 });
                        self.pool.push(m);
                    }
                    tx.flush(ufd);
                }
            } else {
                for e in 0..n as usize {
                    let k = evs[e].u64 as usize;
                    let now = now_ns();
                    let mut got: Vec<u8> = vec![];
                    {
                        let c = &mut conns[k];
                        let fd = c.fd;
                        match &mut c.sock {
                            Sock::Plain => {
                                let r =
                                    unsafe { read(fd, tmp.as_mut_ptr() as *mut c_void, tmp.len()) };
                                if r > 0 {
                                    c.rbuf.extend_from_slice(&tmp[..r as usize]);
                                }
                            }
                            Sock::Tls(t) => {
                                while let Ok(r) = t.read_tls(&mut Fd(fd)) {
                                    if r == 0 || t.process_new_packets().is_err() {
                                        break;
                                    }
                                }
                                while let Ok(r) = t.reader().read(&mut tmp) {
                                    if r == 0 {
                                        break;
                                    }
                                    c.rbuf.extend_from_slice(&tmp[..r]);
                                }
                            }
                        }
                        std::mem::swap(&mut got, &mut c.rbuf);
                    }
                    let mut used = 0;
                    loop {
                        while got[used..].starts_with(b"\r\n") {
                            used += 2;
                        }
                        let Some(l) = frame(&got[used..]) else { break };
                        self.on_msg(&got[used..used + l], now);
                        used += l;
                    }
                    got.drain(..used);
                    conns[k].rbuf = got;
                }
            }
        }
        let wall = (now_ns() - t0) as f64 / 1e9;
        self.report(wall, (cpu_ns() - cpu0) as f64 / 1e3, tx.sent);
        for c in &mut conns {
            if self.o.close_notify {
                if let Sock::Tls(t) = &mut c.sock {
                    t.send_close_notify();
                    c.flush();
                }
            }
            unsafe { close(c.fd) };
        }
        if ufd >= 0 {
            unsafe { close(ufd) };
        }
    }

    fn report(&mut self, wall: f64, cpu_us: f64, sent: u64) {
        let pct = |v: &mut Vec<u32>, p: f64| -> u32 {
            if v.is_empty() {
                return 0;
            }
            v.sort_unstable();
            v[((v.len() as f64 - 1.0) * p) as usize]
        };
        let codes: Vec<String> =
            self.st.codes.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        let st = &mut self.st;
        let per = if st.done > 0 { cpu_us / st.done as f64 } else { 0.0 };
        println!(
            "{{\"role\":\"uac\",\"scenario\":\"{:?}\",\"started\":{},\"completed\":{},\"failed\":{},\"timeouts\":{},\"retransmissions\":{},\"overrun\":{},\"stray\":{},\"codes\":{{{}}},\"wall_s\":{:.3},\"rate\":{:.1},\"unit_p50_us\":{},\"unit_p99_us\":{},\"unit_p999_us\":{},\"txn_p50_us\":{},\"txn_p99_us\":{},\"txn_p999_us\":{},\"txns\":{},\"msgs_in\":{},\"msgs_out\":{},\"uac_cpu_us_per_unit\":{:.2}}}",
            self.o.kind, st.started, st.done, st.failed, st.timeouts, st.retrans, st.overrun, st.stray, codes.join(","), wall, st.done as f64 / wall,
            pct(&mut st.lat_unit, 0.5), pct(&mut st.lat_unit, 0.99), pct(&mut st.lat_unit, 0.999),
            pct(&mut st.lat_txn, 0.5), pct(&mut st.lat_txn, 0.99), pct(&mut st.lat_txn, 0.999),
            st.lat_txn.len(), st.msgs_in, sent, per
        );
    }
}

/// epoll_pwait2 (ns timeout); libc may lack it, so by number.
unsafe fn epoll_pwait2_compat(ep: i32, evs: *mut epoll_event, n: i32, ts: &timespec) -> i32 {
    syscall(
        SYS_epoll_pwait2,
        ep,
        evs,
        n,
        ts as *const timespec,
        std::ptr::null::<sigset_t>(),
        8usize,
    ) as i32
}
