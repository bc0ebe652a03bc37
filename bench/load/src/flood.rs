//! Datagram flood from UDP sockets (loopback, any 127/8 source).
use crate::mmsg::*;
use libc::*;
use std::net::{Ipv4Addr, SocketAddrV4};

pub struct Opts {
    pub target: SocketAddrV4,
    pub file: String,
    pub rate: f64,
    pub count: u64,
    pub sources: u32,
    pub src_base: Ipv4Addr,
    pub port: u16,
    pub batch: usize,
    pub random: bool,
}

/// Datagrams separated by a line holding only %%%; line ends become CRLF.
/// `{N}` in the text is replaced by a counter when loaded `copies` times.
pub fn load(file: &str, copies: usize) -> Vec<Vec<u8>> {
    let t = std::fs::read_to_string(file).expect("datagram file");
    let mut v = vec![];
    for c in 0..copies {
        for d in t.split("\n%%%") {
            let d = d.trim_start_matches('\n');
            if d.trim().is_empty() {
                continue;
            }
            let d =
                d.replace("\r\n", "\n").replace('\n', "\r\n").replace("{N}", &format!("{c:06}"));
            let mut d = d.trim_end_matches("\r\n").to_string();
            if d.contains("\r\n\r\n") {
                d.push_str("\r\n")
            } else {
                d.push_str("\r\n\r\n")
            }
            v.push(d.into_bytes());
        }
    }
    v
}

struct Pick {
    n: u64,
    i: u64,
    s: u64,
    random: bool,
}
impl Pick {
    fn next(&mut self) -> u32 {
        if self.n <= 1 {
            return 0;
        }
        if self.random {
            self.s ^= self.s << 13;
            self.s ^= self.s >> 7;
            self.s ^= self.s << 17;
            (self.s % self.n) as u32
        } else {
            self.i = (self.i + 1) % self.n;
            self.i as u32
        }
    }
}

fn pace(t0: u64, sent: u64, rate: f64) {
    if rate > 0.0 {
        let due = t0 + (sent as f64 * 1e9 / rate) as u64;
        loop {
            let now = now_ns();
            if now >= due {
                break;
            }
            let d = due - now;
            if d > 60_000 {
                let ts = timespec { tv_sec: 0, tv_nsec: (d - 50_000).min(50_000_000) as i64 };
                unsafe { nanosleep(&ts, std::ptr::null_mut()) };
            }
        }
    }
}

fn report(kind: &str, sent: u64, errors: u64, t0: u64, cpu0: u64, replies: usize) {
    let wall = (now_ns() - t0) as f64 / 1e9;
    let cpu = (cpu_ns() - cpu0) as f64;
    println!("{{\"role\":\"{kind}\",\"sent\":{sent},\"errors\":{errors},\"wall_s\":{wall:.3},\"pps\":{:.0},\"cpu_ns_per_packet\":{:.1},\"replies\":{replies}}}", sent as f64 / wall, cpu / sent.max(1) as f64);
}

pub fn run(o: Opts) {
    crate::uas::hook_signals();
    let data = load(&o.file, 64);
    let b = if o.sources > 1 {
        SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, o.port)
    } else {
        SocketAddrV4::new(o.src_base, o.port)
    };
    let fd = udp_socket(b, 8 << 20, false).expect("flood bind");
    let mut tx = Tx::new();
    let mut p = Pick { n: o.sources as u64, i: 0, s: 0x9E3779B97F4A7C15, random: o.random };
    let (t0, cpu0) = (now_ns(), cpu_ns());
    let mut n = 0u64;
    while n < o.count && !crate::uas::STOP.load(std::sync::atomic::Ordering::Relaxed) {
        pace(t0, n, o.rate);
        let k = (o.batch as u64).min(o.count - n) as usize;
        for _ in 0..k {
            let src = if o.sources > 1 { u32::from(o.src_base) + p.next() } else { 0 };
            tx.push(&data[(n % data.len() as u64) as usize], o.target, src);
            n += 1;
        }
        tx.flush(fd);
    }
    let (t1, c1) = (now_ns(), cpu_ns());
    let mut rx = Rx::new(64);
    unsafe { usleep(200_000) };
    let mut replies = 0;
    loop {
        let k = rx.recv(fd, MSG_DONTWAIT);
        replies += k;
        if k == 0 {
            break;
        }
    }
    report("flood", tx.sent, tx.errors, t0 + now_ns() - t1, cpu0 + cpu_ns() - c1, replies);
}
