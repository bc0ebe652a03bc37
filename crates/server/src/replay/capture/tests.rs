//! A day of the simulator, captured in front of its edge, and judged from the capture.

use super::report::Report;
use super::{Captured, judge};
use capture::Writer;
use policy::{Pbx, Policy};
use serde_json::Value;
use sim::day::{Day, DayConfig};
use sim::{Actor, Step, StepInput, StepOutput};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use wire::{Side, Transport};

fn recorded(seed: u64) -> (Policy, Vec<Step>) {
    let config =
        DayConfig { length: Duration::from_secs(3_600), restarts: false, ..DayConfig::new(seed) };
    let mut day = Day::new(config);
    let edge = day.scene.edge.unwrap();
    let tape = |day: &mut Day, tape| {
        day.scene.world.with(edge, |actor, _, _| match actor {
            Actor::Edge(edge) => std::mem::replace(&mut edge.tape, tape),
            _ => None,
        })
    };
    tape(&mut day, Some(Vec::new()));
    day.run();
    let steps = tape(&mut day, None).unwrap();
    let policy = day.scene.edge().unwrap().policy().clone();
    (policy, steps)
}

/// What `tcpdump` would have seen outside.
fn captured(steps: &[Step]) -> Vec<u8> {
    let mut file = Writer::new(Vec::new()).unwrap();
    for step in steps {
        let at = step.now;
        match &step.input {
            StepInput::Datagram { side: Side::Outside, local, remote, bytes } => {
                file.datagram(at, *remote, *local, bytes).unwrap();
            }
            StepInput::Opened(flow) => file.opened(at, flow.remote, flow.local).unwrap(),
            StepInput::Stream { flow, bytes } => {
                file.stream(at, flow.remote, flow.local, bytes).unwrap();
            }
            StepInput::Closed(flow) => file.closed(at, flow.remote, flow.local).unwrap(),
            _ => {}
        }
        for output in &step.outputs {
            match output {
                StepOutput::Datagram { side: Side::Outside, local, remote, bytes } => {
                    file.datagram(at, *local, *remote, bytes).unwrap();
                }
                StepOutput::Stream { flow, bytes } => {
                    file.stream(at, flow.local, flow.remote, bytes).unwrap();
                }
                StepOutput::Close(flow) => file.closed(at, flow.local, flow.remote).unwrap(),
                _ => {}
            }
        }
    }
    file.finish().unwrap()
}

fn report(file: &[u8], first: Policy, second: Option<Policy>) -> Report {
    report_of(1, file, first, second)
}

fn report_of(shards: u8, file: &[u8], first: Policy, second: Option<Policy>) -> Report {
    let options = Captured {
        file: PathBuf::from("day.pcap"),
        config: PathBuf::new(),
        against: None,
        edges: Vec::new(),
        seed: 0,
        shards,
        json: true,
    };
    let names = (PathBuf::from("first"), second.as_ref().map(|_| PathBuf::from("second")));
    judge(file, &options, names, first, second).unwrap()
}

/// Whether each only narrows.
fn told_bans(bans: &Value) -> BTreeMap<String, bool> {
    let bans = bans.as_array().unwrap().iter();
    bans.map(|ban| (place(ban["key"].as_str().unwrap()), ban["narrowed"] == true)).collect()
}

/// Without the AOR, which the one has as a hash.
fn place(key: &str) -> String {
    key.split_once(" at ").map_or(key, |(_, place)| place).to_owned()
}

#[test]
fn a_day_judged_from_its_capture_has_the_same_bans() {
    let seed = 8;
    let (policy, steps) = recorded(seed);
    let mut banned = BTreeMap::new();
    for output in steps.iter().flat_map(|step| &step.outputs) {
        if let StepOutput::Ban(ban) = output {
            banned.insert(place(&ban.key.to_string()), ban.narrowed);
        }
    }
    assert!(banned.len() > 2, "a day in which nobody was banned");
    let report = report(&captured(&steps), policy, None);
    println!("{}", report.text());
    let told: Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(told_bans(&told["bans"]), banned, "seed {seed}");
}

/// Users are parted between two, over UDP and TCP; the capture's own PBX answers for both.
#[test]
fn a_day_has_the_same_bans_behind_several_pbxs() {
    // one on which nobody asks what the capture has no answer to: two PBXs are waited for longer
    let (policy, steps) = recorded(7);
    let file = captured(&steps);
    let told = |policy: &Policy| -> Value {
        serde_json::from_str(&report(&file, policy.clone(), None).json()).unwrap()
    };
    let mut several = policy.clone();
    let pbx = |name: &str, transport, port| Pbx {
        name: name.into(),
        transport,
        ..Pbx::new(([127, 0, 0, 1], port).into())
    };
    several.pbx = vec![pbx("a", Transport::Udp, 5070), pbx("b", Transport::Tcp, 5071)];
    let (one, several) = (told(&policy), told(&several));
    assert!(!told_bans(&one["bans"]).is_empty());
    assert_eq!(told_bans(&one["bans"]), told_bans(&several["bans"]));
    // how the edge's own challenge gets its nonce hangs on whose it is
    let others = |told: &Value| -> Vec<Value> {
        let all = told["verdicts"].as_array().unwrap().iter();
        all.filter(|it| it["reason"] != "campaign").cloned().collect()
    };
    assert!(others(&one).len() > 5);
    assert_eq!(others(&one), others(&several));
}

/// Threads that run as they like, and the same answers each time; those that hang on one source alone
/// are those of one shard.
#[test]
fn several_shards_give_the_same_answers_each_time() {
    let (policy, steps) = recorded(8);
    let file = captured(&steps);
    let of = |shards: u8, second: Option<Policy>| -> Value {
        serde_json::from_str(&report_of(shards, &file, policy.clone(), second).json()).unwrap()
    };
    let (one, four) = (of(1, None), of(4, None));
    for _ in 0..4 {
        assert_eq!(of(4, None), four);
    }
    for same in ["packets", "began", "ended", "messages", "sources"] {
        assert_eq!(one[same], four[same], "{same}");
    }
    assert_eq!(one["users"]["authenticated"], four["users"]["authenticated"]);
    assert_eq!(told_bans(&one["bans"]), told_bans(&four["bans"]));
    assert_eq!(of(4, Some(policy.clone()))["differences"], serde_json::json!([]));
}

#[test]
fn a_capture_with_some_bytes_changed_is_judged_to_its_end() {
    let (policy, steps) = recorded(5);
    let file = captured(&steps[..steps.len().min(400)]);
    let mut rng = sim::Rng::new(5, 9);
    for _ in 0..8 {
        let mut changed = file.clone();
        for _ in 0..60 {
            let at = 24 + rng.below(changed.len() as u64 - 24) as usize;
            changed[at] = rng.below(256) as u8;
        }
        let report = report(&changed, policy.clone(), Some(policy.clone()));
        let told: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(told["differences"], serde_json::json!([]), "the same policy twice");
        assert!(!report.text().is_empty());
    }
}
