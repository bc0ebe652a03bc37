//! The stream as its readers find it.

use crate::caps::KEYS;
use crate::journal::{Fact, LeftOut, Letter};
use crate::writer::Lines;
use crate::{Audit, Clerk, Format, Settings, Target};
use admission::{Alert, Ban, BanId, BanKey, Lift, Origin, Proof, Record};
use policy::{Network, Outcome, Policy, Reason, Time};
use proxy::{Engine, Event, Input, Output};
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use wire::{ShardId, Side};

const SOURCE: &str = "198.51.100.7:5060";

fn policy() -> Arc<Policy> {
    let mut policy = Policy::new(Vec::new(), "127.0.0.1:5080".parse().unwrap(), Vec::new());
    policy.version = 3;
    Arc::new(policy)
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_secs(1_795_380_008) + Duration::from_millis(millis)
}

fn audit(to: Target, format: Format) -> Audit {
    let settings = Settings { to, format, accepted: false, rate: 100 };
    Audit::start(Some(settings), 64, 1, policy(), || at(0)).unwrap()
}

fn file(directory: &Path) -> Target {
    Target::File { path: directory.join("audit.log"), size: 1 << 20, keep: 1 }
}

fn ban() -> Ban {
    let record = Record {
        at: at(0),
        method: 4,
        outcome: Outcome::Abandoned,
        aor: b"100\"@pbx\n".as_slice().into(),
        dialled: b"00972\xff".as_slice().into(),
        shape: 1,
        proof: Some(Proof::AckTag),
        rule: 0,
        raised_by: 2,
        signature: u16::MAX,
        weight: 1.0,
    };
    Ban {
        id: BanId(17),
        key: BanKey::Source(Network::host("198.51.100.7".parse().unwrap())),
        why: "abandoned".into(),
        reason: Reason::Banned,
        proof: Some(Proof::AckTag),
        since: at(0),
        until: at(600_000),
        narrowed: false,
        policy_version: 3,
        score: 3.0,
        origin: Origin::Local,
        evidence: vec![record],
    }
}

fn letter(millis: u64, fact: Fact) -> Letter {
    Letter { at: at(millis), fact, policy: policy() }
}

/// What an engine decides about a datagram, and itself.
fn decided(bytes: &[u8]) -> (Engine, Event) {
    let mut engine = Engine::new(policy(), ShardId(0), 1, [1; 32], [2; 32]);
    let (local, remote) = ("203.0.113.1:5060".parse().unwrap(), SOURCE.parse().unwrap());
    engine.handle_input(at(0), Input::Datagram { side: Side::Outside, local, remote, bytes });
    let mut event = None;
    while let Some(output) = engine.poll_output() {
        if let Output::Event(it) = output {
            event = Some(it);
        }
    }
    (engine, event.unwrap())
}

fn scan(user_agent: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:100@203.0.113.1 SIP/2.0\r\nVia: SIP/2.0/UDP {SOURCE};branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@1.1.1.1>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\n\
         Call-ID: c1\r\nCSeq: 1 OPTIONS\r\nUser-Agent: {user_agent}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn read(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until `done`.
fn wait(what: &str, done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

fn say_ban(audit: &Audit) {
    audit.journal(0).on_ban(at(5), &ban(), &policy());
}

#[test]
fn a_decision_is_a_line_with_the_words_of_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let audit = audit(file(directory.path()), Format::Json);
    let (engine, event) = decided(b"\x00garbage \"}\n");
    audit.journal(0).on_event(at(1), &event, &engine, &policy());
    say_ban(&audit);
    audit.close();
    let lines = read(&directory.path().join("audit.log"));
    let [decision, banned] = &lines[..] else { panic!("{lines:?}") };
    let decision: Value = serde_json::from_str(decision).unwrap();
    for (field, value) in [
        ("event", json!("decision")),
        ("at", json!("2026-11-22T20:40:08.000Z")),
        ("verdict", json!("drop")),
        ("reason", json!("malformed")),
        ("source", json!(SOURCE)),
        ("transport", json!("udp")),
        ("side", json!("outside")),
        ("policy", json!(3)),
    ] {
        assert_eq!(decision[field], value, "{field} in {decision}");
    }
    assert_eq!(decision["line"], "\u{0}garbage \"}");
    let banned: Value = serde_json::from_str(banned).unwrap();
    assert_eq!((&banned["event"], &banned["source"]), (&json!("ban"), &json!("198.51.100.7")));
    assert_eq!(banned["evidence"][0]["aor"], "100\"@pbx\n");
    assert_eq!(banned["evidence"][0]["outcome"], "abandoned");
    assert_eq!(banned["until"], "2026-11-22T20:50:08Z");
}

#[test]
fn only_what_is_worth_it_has_a_line_and_nothing_when_off() {
    let (engine, event) = decided(&scan("phone"));
    let on = |settings: Option<Settings>, event: &Event| {
        let audit = Audit::start(settings, 64, 1, policy(), || at(0)).unwrap();
        audit.journal(0).on_event(at(0), event, &engine, &policy());
        let counters = audit.counters();
        audit.close();
        counters.written.load(Relaxed)
    };
    let directory = tempfile::tempdir().unwrap();
    let set = |accepted| {
        let to = file(directory.path());
        Some(Settings { to, format: Format::Json, accepted, rate: 9 })
    };
    let passed = Event { verdict: proxy::Verdict::Forward, grounds: None, ..event.clone() };
    let absorbed = Event { verdict: proxy::Verdict::Absorb, ..passed.clone() };
    let dropped = Event { verdict: proxy::Verdict::Drop, ..passed.clone() };
    assert_eq!([&passed, &absorbed, &dropped].map(|it| on(set(false), it)), [0, 0, 1]);
    assert_eq!([&passed, &absorbed, &dropped].map(|it| on(set(true), it)), [1, 0, 1]);
    assert_eq!([&passed, &absorbed, &dropped].map(|it| on(None, it)), [0, 0, 0]);
}

#[test]
fn the_next_line_of_a_reason_says_how_many_were_left_out() {
    let cells: LeftOut = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
    let mut lines = Lines::new(vec![cells.clone()]);
    lines.set_rate(2);
    let counters = crate::Counters::default();
    let (_, event) = decided(b"garbage");
    let take = |lines: &mut Lines, millis| {
        let letter = letter(millis, Fact::Event(event.clone()));
        let line = lines.take(&letter, Format::Json, &counters)?;
        serde_json::from_str::<Value>(&line.text).unwrap()["suppressed"].as_u64().or(Some(0))
    };
    assert_eq!([0, 1, 2, 3].map(|at| take(&mut lines, at)), [Some(0), Some(0), None, None]);
    // and what a shard has left out before
    cells[Reason::Malformed as usize].store(40, Relaxed);
    assert_eq!(take(&mut lines, 1_000), Some(42));
    assert_eq!(take(&mut lines, 1_001), Some(0));
    // nothing more comes: it is said all the same, once
    assert_eq!(take(&mut lines, 1_002), None);
    assert!(lines.overdue(at(1_500), Format::Json, &counters).is_empty());
    let overdue = lines.overdue(at(2_002), Format::Json, &counters);
    let [line] = &overdue[..] else { panic!("{overdue:?}") };
    let line: Value = serde_json::from_str(&line.text).unwrap();
    let said = json!({ "at": "2026-11-22T20:40:10.002Z", "event": "suppressed",
        "reason": "malformed", "count": 1 });
    assert_eq!(line, said);
    assert!(lines.overdue(at(9_000), Format::Json, &counters).is_empty());
    assert_eq!(counters.suppressed.load(Relaxed), 43);
}

#[test]
fn a_shard_lets_no_flood_into_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let audit = audit(file(directory.path()), Format::Json);
    let mut journal = audit.journal(0);
    let (engine, event) = decided(b"garbage");
    for _ in 0..100_000 {
        journal.on_event(at(0), &event, &engine, &policy());
    }
    let counters = audit.counters();
    audit.close();
    let count = |cell: &AtomicU64| cell.load(Relaxed);
    // a hundred a second pass; the queue holds 64 of them until the thread comes
    assert_eq!(count(&counters.written) + count(&counters.lost), 100);
    assert_eq!(count(&counters.suppressed), 99_900);
}

#[test]
fn a_full_queue_loses_lines_and_counts_them() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let audit = audit(file(&missing), Format::Json);
    let counters = audit.counters();
    wait("the queue is full", || {
        (0..100).for_each(|_| say_ban(&audit));
        counters.lost.load(Relaxed) > 0
    });
}

#[test]
fn a_target_that_fails_is_said_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let audit = Audit::start(
        Some(Settings { to: file(&missing), format: Format::Json, accepted: false, rate: 9 }),
        64,
        1,
        policy(),
        {
            // a clock that runs
            let ticks = AtomicU64::new(0);
            move || at(ticks.fetch_add(1_000, Relaxed))
        },
    )
    .unwrap();
    say_ban(&audit);
    wait("the failure is said", || audit.health().error.is_some());
    assert!(audit.health().error.unwrap().contains("No such file"));
    assert!(!audit.counters().is_up());
    std::fs::create_dir(&missing).unwrap();
    wait("it is written", || read(&missing.join("audit.log")).len() == 1);
    wait("it is said", || audit.health().error.is_none());
    assert!(audit.counters().is_up() && audit.counters().lost.load(Relaxed) == 0);
}

#[test]
fn it_goes_elsewhere_or_nowhere_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let audit = audit(file(directory.path()), Format::Json);
    say_ban(&audit);
    wait("the first", || read(&directory.path().join("audit.log")).len() == 1);
    audit.configure(None);
    say_ban(&audit);
    assert_eq!(audit.health().target, None);
    let other: PathBuf = directory.path().join("other.log");
    let to = Target::File { path: other.clone(), size: 1 << 20, keep: 0 };
    audit.configure(Some(Settings { to, format: Format::Fail2ban, accepted: false, rate: 1 }));
    say_ban(&audit);
    wait("the other", || !read(&other).is_empty());
    audit.close();
    assert_eq!(read(&directory.path().join("audit.log")).len(), 1);
    let line = "2026-11-22T20:40:08.005Z ringfence: ban source=198.51.100.7 kind=address \
        reason=banned proof=ack_tag narrowed=no seconds=600 origin=local id=0-17";
    assert_eq!(read(&other), [line]);
}

#[test]
fn what_a_peer_wrote_is_in_no_plain_line() {
    let hostile = "x ban source=192.0.2.1 kind=address\"\u{7f}";
    let (engine, event) = decided(&scan(hostile));
    let decision = engine.decision(event.kept.unwrap()).unwrap().clone();
    let honeytoken = Alert::CarrierCandidate {
        source: Network::host("198.51.100.7".parse().unwrap()),
        dialled: hostile.as_bytes().into(),
    };
    let evidence = Box::new(ban().evidence.remove(0));
    let facts = [
        Fact::Decision(decision),
        Fact::Ban(Box::new(Ban { why: hostile.into(), ..ban() })),
        Fact::Evidence(Network::host("198.51.100.7".parse().unwrap()), evidence),
        Fact::Alert(honeytoken),
        Fact::Lift(Lift { id: BanId(17), key: ban().key, expired: true, replaced: false }),
    ];
    let lines = facts.map(|fact| crate::plain::plain(&letter(0, fact), 3).unwrap());
    for line in &lines {
        assert!(!line.contains("192.0.2.1") && line.contains(" source=198.51.100.7"), "{line}");
        assert!(line.ends_with(" suppressed=3"), "{line}");
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    }
    let pair = BanKey::Campaign(7);
    let lift = Fact::Lift(Lift { id: BanId(1), key: pair, expired: true, replaced: false });
    assert_eq!(crate::plain::plain(&letter(0, lift), 0), None, "it has no address");
}

#[test]
fn daemons_hear_each_line_in_their_own_words() {
    let directory = tempfile::tempdir().unwrap();
    for (name, target) in [
        ("syslog", Target::Syslog as fn(PathBuf) -> Target),
        ("journald", Target::Journald as fn(PathBuf) -> Target),
    ] {
        let path = directory.path().join(name);
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let audit = audit(target(path), Format::Json);
        say_ban(&audit);
        let mut buffer = [0; 4_096];
        let length = daemon.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let line = if name == "syslog" {
            let (head, line) = text.split_once(" ban - ").unwrap();
            let words: Vec<&str> = head.split(' ').collect();
            let [version, at, _, app, process] = words[..] else { panic!("{head}") };
            assert_eq!((version, at, app), ("<133>1", "2026-11-22T20:40:08.005Z", "ringfence"));
            assert_eq!(process, std::process::id().to_string());
            line
        } else {
            let fields: Vec<&str> = text.lines().collect();
            assert!(fields.contains(&"RINGFENCE_EVENT=ban") && fields.contains(&"PRIORITY=5"));
            assert!(fields.contains(&"SYSLOG_IDENTIFIER=ringfence"), "{text}");
            fields[0].strip_prefix("MESSAGE=").unwrap()
        };
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["id"], "0-17");
    }
}

#[test]
fn the_control_thread_has_lines_too() {
    let directory = tempfile::tempdir().unwrap();
    let audit = audit(file(directory.path()), Format::Json);
    let clerk: Clerk = audit.clerk();
    clerk.note(at(7), "reload", json!({ "result": "refused", "cause": "file" }), &policy());
    audit.close();
    let lines = read(&directory.path().join("audit.log"));
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    let said = json!({ "at": "2026-11-22T20:40:08.007Z", "event": "reload", "result": "refused",
        "cause": "file" });
    assert_eq!(line, said);
    assert_eq!(KEYS, Reason::ALL.len() + Outcome::ALL.len());
}

#[test]
fn what_a_terminal_acts_on_is_escaped_in_json() {
    let hostile = "\0\u{1b}[2J\r\n\u{7f}\u{9b}2J\u{85}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0001} \"日本語\" 🙂";
    let json = crate::visible(serde_json::to_string(hostile).unwrap());
    assert!(json.ends_with(" \\\"日本語\\\" 🙂\""), "{json}");
    let head = json.split(' ').next().unwrap();
    assert!(head.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{head}");
    assert!(head.contains(r"\u009b2J") && head.ends_with(r"\udb40\udc01"), "{head}");
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile, "it says the same");
}
