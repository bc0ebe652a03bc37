//! `sipload`: the phones (`uac`), the PBX (`uas`) and a flood of datagrams, for `bench/run`.
mod conn;
mod flood;
mod mmsg;
mod sip;
mod tls;
mod uac;
mod uas;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

const USAGE: &str = "sipload uas   --listen IP:PORT [--no-challenge 1] [--no-final 1]
sipload uac   --target IP:PORT --scenario register|invite|options|hold|talk [--rate R (0: closed loop)] [--count N]
              [--window W] [--sources K] [--src-base IP] [--port P] [--duration S] [--timeout S] [--users U]
              [--domain D] [--transport udp|tcp|tls] [--conns C] [--nat 1] [--hold S] [--close-notify 0]
sipload flood --target IP:PORT --file F [--rate PPS (0: as fast as it goes)] [--count N] [--sources K] [--src-base IP]
              [--port P] [--batch B] [--random 1]";

fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a.len() < 2 {
        eprintln!("{USAGE}");
        std::process::exit(2);
    }
    let mut kv: HashMap<String, String> = HashMap::new();
    let mut i = 2;
    while i + 1 < a.len() {
        kv.insert(a[i].trim_start_matches("--").to_string(), a[i + 1].clone());
        i += 2;
    }
    let s = |k: &str, d: &str| kv.get(k).cloned().unwrap_or_else(|| d.to_string());
    let f = |k: &str, d: f64| kv.get(k).map(|v| v.parse().expect(k)).unwrap_or(d);
    let addr = |k: &str, d: &str| -> SocketAddrV4 { s(k, d).parse().expect(k) };
    match a[1].as_str() {
        "uas" => uas::run(uas::Opts {
            listen: addr("listen", "127.0.0.30:5080"),
            challenge: f("no-challenge", 0.0) == 0.0,
            no_final: f("no-final", 0.0) != 0.0,
        }),
        "uac" => {
            let kind = match s("scenario", "options").as_str() {
                "register" => uac::Kind::Register,
                "invite" => uac::Kind::Invite,
                "hold" => uac::Kind::Hold,
                "talk" => uac::Kind::Talk,
                _ => uac::Kind::Options,
            };
            let transport = match s("transport", "udp").as_str() {
                "tcp" => uac::Transport::Tcp,
                "tls" => uac::Transport::Tls,
                _ => uac::Transport::Udp,
            };
            uac::Uac::new(uac::Opts {
                target: addr("target", "127.0.0.10:5060"),
                kind,
                transport,
                rate: f("rate", 0.0),
                count: f("count", 10000.0) as u64,
                window: f("window", 256.0) as usize,
                sources: f("sources", 1.0) as u32,
                src_base: s("src-base", "127.0.0.20").parse::<Ipv4Addr>().expect("src-base"),
                port: f("port", 5070.0) as u16,
                duration: f("duration", 0.0),
                timeout: f("timeout", 5.0),
                users: (f("users", 1000.0) as u32).max(1),
                domain: s("domain", "pbx.test"),
                conns: f("conns", 100.0) as usize,
                nat: f("nat", 0.0) != 0.0,
                hold: f("hold", 1.0),
                close_notify: f("close-notify", 1.0) != 0.0,
            })
            .run()
        }
        "flood" => flood::run(flood::Opts {
            target: addr("target", "127.0.0.10:5060"),
            file: s("file", "templates/scanner.txt"),
            rate: f("rate", 0.0),
            count: f("count", 100000.0) as u64,
            sources: (f("sources", 1.0) as u32).max(1),
            src_base: s("src-base", "127.0.0.40").parse().expect("src-base"),
            port: f("port", 5099.0) as u16,
            batch: f("batch", 32.0) as usize,
            random: f("random", 1.0) != 0.0,
        }),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}
