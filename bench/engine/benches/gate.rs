//! What the gate's decisions cost when it tracks a thousand, a hundred thousand, a million sources:
//! the source stage for a banned source, and the whole request stage (credentials, rules,
//! signatures, shape, rates) for known, proven and unproven senders. Parsing is not in it.
//!
//! `active`: a thousand of the tracked sources send, as on a busy edge; what they meet is in the
//! processor's caches. `all`: each request comes from another of all the tracked sources at
//! random, so each look-up waits for memory. The rules and signatures are the shipped ones. The
//! source stage is measured as a shard does it, who announces each batch of datagrams, and with
//! none announced.
//!
//! `COUNT=who/kind` counts under valgrind instead, `MEMORY=proven|known` says what a source takes.
//!
//! Times are the thread's own processor time: what else runs on the machine counts only by what it
//! does to the caches.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement: it ends when something is wrong, and criterion's macros say no more"
)]

use admission::{
    Acknowledged, Ban, BanId, BanKey, BranchKey, Final, Gate, Learned, Origin, Request, Ticket,
    Verdict,
};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, criterion_group};
use policy::{Network, Policy, Reason, Time, Who};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wire::{Flow, Message, ShardId};

const SIZES: [(u32, &str); 3] = [(1_000, "1k"), (100_000, "100k"), (1_000_000, "1M")];
/// Sources that send, in the `active` benches.
const ACTIVE: u32 = 1_000;
/// Requests that are timed together: they were just parsed, as they are in life.
const CHUNK: u64 = 256;
/// Different texts of each kind: more templates than the gate remembers.
const VARIANTS: u32 = 4_096;
/// Datagrams that a shard receives, and announces, together.
const BATCH: usize = 32;
/// Between two requests: slow enough for the rates that strangers have.
const STEP: Duration = Duration::from_micros(30);
/// The smallest tracked source.
const FIRST: u32 = 0x0b00_0000;
const SECRET: [u8; 32] = [7; 32];

const CONFIG: &str = "version: 1\n\
    listen: [{ transport: udp, address: \"203.0.113.1:5060\" }]\n\
    inside: { pbx: [\"127.0.0.1:5070\"] }\n";
const CREDENTIALS: &str = "Authorization: Digest username=\"6001\", realm=\"asterisk\", \
    nonce=\"1700000000/0123456789abcdef0123456789abcdef\", uri=\"sip:pbx.example.com\", \
    response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, cnonce=\"1\", nc=00000001, \
    qop=auth, opaque=\"0123456789abcdef\"\r\n";
const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"asterisk\", \
    nonce=\"1700000000/0123456789abcdef0123456789abcdef\", opaque=\"0123456789abcdef\", \
    algorithm=MD5, qop=\"auth\"\r\n";
const SDP: &str = "v=0\r\no=- 3724394400 3724394400 IN IP4 192.168.1.5\r\ns=pjmedia\r\n\
    c=IN IP4 192.168.1.5\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n";

fn request(method: &str, more: &str, body: &str) -> Vec<u8> {
    variant(method, more, body, 1, 0)
}

/// The same with other identifiers, and of another version of the agent.
fn variant(method: &str, more: &str, body: &str, n: u32, version: u32) -> Vec<u8> {
    let id = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (user, to) = if method == "REGISTER" { ("", "6001") } else { ("6002@", "6002") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:{user}pbx.example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.168.1.5:5062;rport;branch=z9hG4bKPj3f1c0d5e8a7b4c2d{id:016x}\r\n\
         Max-Forwards: 70\r\nFrom: \"6001\" <sip:6001@pbx.example.com>;tag={id:016x}\r\n\
         To: <sip:{to}@pbx.example.com>\r\nCall-ID: 7e9f3f1c0d5e8a7b{id:016x}\r\n\
         CSeq: 20511 {method}\r\nUser-Agent: Grandstream GXP1625 1.0.7.{version}\r\n\
         Contact: <sip:6001@192.168.1.5:5062;ob>\r\nAllow: INVITE, ACK, OPTIONS, CANCEL, BYE, \
         SUBSCRIBE, NOTIFY, INFO, REFER, UPDATE\r\nSupported: replaces, timer, path, outbound\r\n\
         {more}{kind}Content-Length: {length}\r\n\r\n{body}",
        length = body.len()
    )
    .into_bytes()
}

fn response(status: &str, more: &str) -> Vec<u8> {
    format!(
        "SIP/2.0 {status}\r\n\
         Via: SIP/2.0/UDP 192.168.1.5:5062;branch=z9hG4bKPj3f1c0d5e;rport=5062;received=11.0.0.1\r\n\
         From: \"6001\" <sip:6001@pbx.example.com>;tag=4c2d9e6f1a0b3c5d\r\n\
         To: <sip:6001@pbx.example.com>;tag=z9hG4bKpbx\r\n\
         Call-ID: 7e9f3f1c0d5e8a7b4c2d9e6f1a0b3c5d\r\nCSeq: 20511 REGISTER\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn parse(bytes: &[u8]) -> Message<'_> {
    Message::parse(bytes, &wire::Limits::default()).unwrap()
}

/// The shipped rules, with room for a million of everything.
fn policy() -> Policy {
    let loaded = config::load_str(Path::new("bench.yaml"), CONFIG, config::Overrides::default());
    let mut policy = loaded.unwrap().config.policy;
    let room = 1 << 21;
    policy.capacities.nonces = room;
    // time runs as fast as requests come
    policy.admission.proof.lifetime = Duration::from_secs(86_400);
    let gate = &mut policy.admission.capacities;
    (gate.sources, gate.pairs, gate.bans, gate.rates) = (room, room, room, room);
    // the PBX says its word to all of a chunk behind it
    let narrow = &mut policy.admission.narrow;
    (narrow.invites, narrow.others_unproven) = (CHUNK as u32, CHUNK as u32);
    policy
}

/// The thread's processor time, in nanoseconds.
struct OwnTime;

impl Measurement for OwnTime {
    type Intermediate = u64;
    type Value = u64;

    #[allow(unsafe_code, reason = "the system call that tells a thread's processor time")]
    fn start(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: it writes to `time`, which lives.
        let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(told, 0);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    fn end(&self, start: u64) -> u64 {
        self.start() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// A gate and what is sent to it.
struct Bench {
    gate: Gate,
    branches: BranchKey,
    now: Time,
    draws: u64,
}

impl Bench {
    fn new() -> Self {
        Bench {
            gate: Gate::new(Arc::new(policy()), ShardId(0), &SECRET),
            branches: BranchKey::new(&SECRET),
            now: Time::ZERO + Duration::from_secs(1_700_000_000),
            draws: 1,
        }
    }

    fn ask(&mut self, flow: &Flow, message: &Message<'_>) -> (Verdict, Who) {
        self.now = self.now + STEP;
        let judgement =
            self.gate.on_request(self.now, &Request { flow, message, dialog: false, pbx: 0 });
        (judgement.verdict, judgement.who)
    }

    #[inline(never)]
    fn metered(&mut self, flow: &Flow, message: &Message<'_>) -> (Verdict, Who) {
        self.ask(flow, message)
    }

    /// What the judgements take; what follows from them is not in it.
    fn timed(&mut self, asked: &[(Flow, Message<'_>)], who: Who) -> u64 {
        let mut judged = Vec::with_capacity(asked.len());
        let start = OwnTime.start();
        for (flow, message) in asked {
            judged.push(self.ask(flow, message));
        }
        let taken = OwnTime.end(start);
        for (verdict, seen) in black_box(judged) {
            let Verdict::Accept(mut pass) = verdict else { panic!("{verdict:?}") };
            assert_eq!(seen, who);
            // the PBX has taken the credentials
            self.gate.on_provisional(180, &mut pass.ticket);
        }
        taken
    }

    fn ticket(&mut self, flow: &Flow, message: &Message<'_>) -> Ticket {
        match self.ask(flow, message) {
            (Verdict::Accept(pass), _) => pass.ticket,
            (verdict, who) => panic!("{flow}: {who:?} {verdict:?}"),
        }
    }

    fn answer(&mut self, flow: &Flow, message: &Message<'_>, ticket: &Ticket) {
        let request_uri = b"sip:6002@pbx.example.com";
        self.gate.on_final(self.now, &Final { flow, message, ticket, request_uri });
    }

    fn settle(&mut self) {
        while self.gate.poll_effect().is_some() {}
        if self.gate.poll_timeout().is_some_and(|due| due <= self.now) {
            self.gate.handle_timeout(self.now);
        }
    }

    /// Everybody registers, and again.
    fn track_known(&mut self, sources: u32) {
        let plain = request("REGISTER", "", "");
        let tried = request("REGISTER", CREDENTIALS, "");
        let (challenge, ok) = (response("401 Unauthorized", CHALLENGE), response("200 OK", ""));
        let (plain, tried) = (parse(&plain), parse(&tried));
        let (challenge, ok) = (parse(&challenge), parse(&ok));
        for n in 0..sources {
            let flow = flow(n);
            let ticket = self.ticket(&flow, &plain);
            self.answer(&flow, &challenge, &ticket);
            // twice: from the second time on its face is known
            for _ in 0..2 {
                let ticket = self.ticket(&flow, &tried);
                self.answer(&flow, &ok, &ticket);
            }
            self.settle();
        }
    }

    /// Everybody acknowledges a 401, and gives up properly.
    fn track_proven(&mut self, sources: u32) {
        let invite = request("INVITE", "", "");
        let challenge = response("401 Unauthorized", CHALLENGE);
        let ack = String::from_utf8(request("ACK", "", "")).unwrap();
        let ack = ack.replace("6002@pbx.example.com>", "6002@pbx.example.com>;tag=z9hG4bKpbx");
        let (invite, challenge, ack) = (parse(&invite), parse(&challenge), parse(ack.as_bytes()));
        for n in 0..sources {
            let flow = flow(n);
            let ticket = self.ticket(&flow, &invite);
            self.answer(&flow, &challenge, &ticket);
            let ack = Acknowledged { flow: &flow, message: &ack, ticket: Some(&ticket) };
            self.gate.on_ack(self.now, &self.branches, &ack);
            self.gate.on_superseded(&mut ticket.clone());
            self.settle();
        }
    }

    fn track_banned(&mut self, sources: u32) {
        for n in 0..sources {
            let ban = Ban {
                id: BanId(u64::from(n)),
                key: BanKey::Source(Network::source(flow(n).remote.ip())),
                why: "bench".into(),
                reason: Reason::Banned,
                proof: None,
                since: self.now,
                until: self.now + Duration::from_secs(86_400),
                narrowed: false,
                policy_version: 0,
                score: 0.0,
                origin: Origin::Operator,
                evidence: Vec::new(),
            };
            self.gate.learned(self.now, &Learned::Ban(Box::new(ban)));
            self.settle();
        }
    }

    /// What it takes to drop so many datagrams, which come in batches.
    fn batches(&mut self, times: u64, announced: bool, among: u32, sources: u32) -> u64 {
        let start = OwnTime.start();
        for _ in (0..times).step_by(BATCH) {
            let batch = [(); BATCH].map(|()| flow(self.draw(among, sources)).remote.ip());
            if announced {
                self.gate.expect(&batch);
            }
            for source in batch {
                let reason = self.gate.on_source(self.now, source);
                assert_eq!(black_box(reason), Some(Reason::Banned));
            }
        }
        // of the last batch only a part was asked for
        let done = times.next_multiple_of(BATCH as u64);
        OwnTime.end(start) * times / done
    }

    /// One of the first `among`, spread over all `sources`.
    fn draw(&mut self, among: u32, sources: u32) -> u32 {
        // xorshift64
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        let one = ((self.draws >> 32) * u64::from(among)) >> 32;
        (one * u64::from(sources / among)) as u32
    }
}

fn flow(n: u32) -> Flow {
    let remote = SocketAddr::from((Ipv4Addr::from(FIRST + n), 5062));
    Flow::udp(SocketAddr::from(([203, 0, 113, 1], 5060)), remote)
}

fn source_stage(c: &mut Criterion<OwnTime>) {
    let mut group = c.benchmark_group("source/banned");
    for (sources, name) in SIZES {
        let mut bench = Bench::new();
        bench.track_banned(sources);
        for (among, word) in [(ACTIVE, "active"), (sources, "all")] {
            for (announced, kind) in [(true, "batch"), (false, "alone")] {
                group.bench_function(BenchmarkId::new(format!("{kind}/{word}"), name), |b| {
                    b.iter_custom(|times| bench.batches(times, announced, among, sources));
                });
            }
        }
    }
    group.finish();
}

/// Requests of one kind, such as `INVITE`, with ever other identifiers. With `+new` behind it each
/// looks like none before it; without it all of them look alike.
fn requests(kind: &str) -> Vec<Vec<u8>> {
    let one = |n| match kind {
        "INVITE" => variant("INVITE", "", SDP, n, 13),
        "INVITE+new" => variant("INVITE", "", SDP, n, n),
        "REGISTER" => variant("REGISTER", "", "", n, 13),
        "REGISTER+new" => variant("REGISTER", "", "", n, n),
        _ => request("REGISTER", CREDENTIALS, ""),
    };
    (0..VARIANTS).map(one).collect()
}

/// The request stage for a sender of a kind among as many tracked sources of that kind.
fn request_stage(
    c: &mut Criterion<OwnTime>,
    who: Who,
    kinds: &[&str],
    track: impl Fn(&mut Bench, u32),
    offset: u32,
) {
    let mut group = c.benchmark_group(format!("request/{}", who.as_str()));
    for (sources, name) in SIZES {
        let mut bench = Bench::new();
        track(&mut bench, sources);
        for kind in kinds {
            let texts = requests(kind);
            let mut texts = texts.iter().cycle();
            for (among, word) in [(ACTIVE, "active"), (sources, "all")] {
                let id = BenchmarkId::new(format!("{kind}/{word}"), name);
                group.bench_function(id, |b| {
                    b.iter_custom(|times| {
                        let mut taken = 0;
                        for done in (0..times).step_by(CHUNK as usize) {
                            // each source once: credentials that the PBX has not seen count
                            let mut senders = BTreeSet::new();
                            while senders.len() < CHUNK.min(times - done) as usize {
                                senders.insert(bench.draw(among, sources));
                            }
                            let flows = senders.iter().map(|n| flow(n + offset));
                            let asked: Vec<_> =
                                flows.zip(texts.by_ref().map(|text| parse(text))).collect();
                            taken += bench.timed(&asked, who);
                        }
                        taken
                    });
                });
            }
        }
    }
    group.finish();
}

fn request_stages(c: &mut Criterion<OwnTime>) {
    let known = ["INVITE", "REGISTER", "REGISTER+credentials"];
    request_stage(c, Who::Known, &known, Bench::track_known, 0);
    request_stage(c, Who::Proven, &["INVITE", "REGISTER"], Bench::track_proven, 0);
    // from addresses of which nothing is known, beside as many that are
    let unproven = ["INVITE", "REGISTER", "INVITE+new", "REGISTER+new"];
    request_stage(c, Who::Unproven, &unproven, Bench::track_proven, 1 << 24);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(OwnTime)
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = source_stage, request_stages
}

/// Decisions that are counted.
const COUNTED: u32 = 2_000;

/// For valgrind, which collects in [`Bench::metered`] only: so many decisions on requests of one
/// kind, such as `known/INVITE`, with a thousand sources tracked.
fn count(which: &str) {
    let (who, kind) = which.split_once('/').unwrap();
    let mut bench = Bench::new();
    let offset = if who == "unproven" { 1 << 24 } else { 0 };
    if who == "known" {
        bench.track_known(ACTIVE)
    } else {
        bench.track_proven(ACTIVE)
    }
    let texts = requests(kind);
    for (n, text) in (0..COUNTED).zip(&texts) {
        let (verdict, seen) = bench.metered(&flow(n % ACTIVE + offset), &parse(text));
        assert!(seen.as_str() == who && matches!(verdict, Verdict::Accept(_)), "{verdict:?}");
    }
    println!("decisions: {COUNTED}");
}

/// Sources whose memory is measured.
const REMEMBERED: u32 = 1_000_000;

/// Bytes that the process takes for each source of a kind, all tables together: `proven` ones that
/// gave up, or `known` ones with a home each.
fn memory(which: &str) {
    let pages = || {
        let told = std::fs::read_to_string("/proc/self/statm").unwrap();
        told.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (mut bench, before) = (Bench::new(), pages());
    match which {
        "known" => bench.track_known(REMEMBERED),
        _ => bench.track_proven(REMEMBERED),
    }
    let taken = (pages() - before) * 4_096;
    println!(
        "{which}: {} bytes a source, {:?}",
        taken / u64::from(REMEMBERED),
        bench.gate.snapshot()
    );
}

fn main() {
    let told = |name| std::env::var(name).ok();
    match (told("COUNT"), told("MEMORY")) {
        (Some(which), _) => count(&which),
        (_, Some(which)) => memory(&which),
        _ => benches(),
    }
}
