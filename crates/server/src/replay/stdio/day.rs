//! A day of the simulator, played to the engine behind JSON lines: what comes out is what came out
//! in the simulator, byte by byte, decision by decision, ban by ban.

use super::bench::Bench;
use super::converse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::Time;
use proxy::Verdict;
use serde_json::Value;
use sim::day::{Day, DayConfig};
use sim::{Actor, Rng, Step, StepInput, StepOutput};
use std::collections::BTreeSet;
use std::time::Duration;

/// What came of all lines of one moment.
#[derive(Debug, Default, PartialEq)]
struct Moment {
    out: Vec<(String, String, Vec<u8>)>,
    close: Vec<String>,
    decisions: Vec<(String, String, String)>,
    bans: BTreeSet<String>,
}

fn recorded(seed: u64) -> (Day, Vec<Step>) {
    let config = DayConfig {
        length: Duration::from_secs(3_600),
        // a driver that starts anew is none of this
        restarts: false,
        ..DayConfig::new(seed)
    };
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
    let mut steps = tape(&mut day, None).unwrap();
    // an ICMP about a phone, bytes behind a connection's end: nothing comes of them
    steps.retain(|step| !(matches!(step.input, StepInput::Other) && step.outputs.is_empty()));
    (day, steps)
}

fn line(step: &Step) -> String {
    let nanos = step.now.as_nanos();
    let now = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    let begin = |ev: &str| format!("{{\"now\":{now},\"ev\":\"{ev}\"");
    let b64 = |bytes: &[u8]| STANDARD.encode(bytes);
    match &step.input {
        StepInput::Datagram { local, remote, bytes, .. } => {
            let (begin, b64) = (begin("dgram"), b64(bytes));
            format!("{begin},\"src\":\"{remote}\",\"dst\":\"{local}\",\"b64\":\"{b64}\"}}\n")
        }
        StepInput::Opened(flow) => {
            let begin = begin("tcp_open");
            format!("{begin},\"src\":\"{}\",\"dst\":\"{}\"}}\n", flow.remote, flow.local)
        }
        StepInput::Stream { flow, bytes } => {
            let (begin, b64) = (begin("tcp_data"), b64(bytes));
            format!("{begin},\"src\":\"{}\",\"b64\":\"{b64}\"}}\n", flow.remote)
        }
        StepInput::Closed(flow) => {
            format!("{},\"src\":\"{}\"}}\n", begin("tcp_close"), flow.remote)
        }
        StepInput::Timeout => format!("{}}}\n", begin("tick")),
        other => panic!("{other:?} has no line"),
    }
}

impl Moment {
    fn take_step(&mut self, step: Step) {
        for output in step.outputs {
            match output {
                StepOutput::Datagram { remote, bytes, .. } => {
                    self.out.push((remote.to_string(), "UDP".into(), bytes));
                }
                StepOutput::Stream { flow, bytes } => {
                    let by = flow.transport.as_via().to_string();
                    self.out.push((flow.remote.to_string(), by, bytes));
                }
                StepOutput::Close(flow) => self.close.push(flow.remote.to_string()),
                StepOutput::Event(event) => {
                    let verdict = match event.verdict {
                        Verdict::Forward => "forward".into(),
                        Verdict::Absorb => "absorb".into(),
                        Verdict::Reject(status) => format!("reject {status}"),
                        Verdict::Drop => "drop".into(),
                    };
                    let reason = event.reason.as_str().to_string();
                    self.decisions.push((event.flow.remote.to_string(), verdict, reason));
                }
                StepOutput::Ban(ban) => self.ban(&ban.key, !ban.narrowed),
                StepOutput::Lift(lift) => self.ban(&lift.key, false),
                StepOutput::Alert(_) => {}
            }
        }
    }

    fn ban(&mut self, key: &admission::BanKey, banned: bool) {
        let (admission::BanKey::Source(network) | admission::BanKey::Network(network)) = key else {
            return;
        };
        let text = network.to_string();
        if banned {
            self.bans.insert(text);
        } else {
            self.bans.remove(&text);
        }
    }

    fn take_answer(&mut self, answer: &Value) {
        let word = |value: &Value| value.as_str().unwrap().to_string();
        let list = |key: &str| answer[key].as_array().unwrap_or_else(|| panic!("{answer}"));
        self.out.extend(list("out").iter().map(|one| {
            let bytes = STANDARD.decode(word(&one["b64"])).unwrap();
            (word(&one["dst"]), word(&one["transport"]), bytes)
        }));
        self.close.extend(list("close").iter().map(word));
        self.decisions.extend(list("decisions").iter().map(|one| {
            let verdict = word(&one["verdict"]);
            let verdict = match one["status"].as_u64() {
                Some(status) => format!("{verdict} {status}"),
                None => verdict,
            };
            (word(&one["src"]), verdict, word(&one["reason"]))
        }));
        self.bans = list("bans").iter().map(word).collect();
    }

    fn next(self) -> Moment {
        Moment { bans: self.bans, ..Moment::default() }
    }
}

/// What an engine of that day, seeded as the scene seeds it, answers to lines.
fn answers(day: &Day, seed: u64, input: &[u8]) -> Vec<Value> {
    let mut rng = Rng::new(seed, 3);
    let (secret, own) = (rng.seed(), rng.seed());
    let policy = day.scene.edge().unwrap().policy().clone();
    let mut bench = Bench::new(policy, secret, own, true);
    let mut output = Vec::new();
    converse(&mut bench, input, &mut output).unwrap();
    let lines = output.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn a_simulated_day_has_the_same_verdicts_and_bans() {
    for seed in [3, 8] {
        let (day, steps) = recorded(seed);
        let input: String = steps.iter().map(line).collect();
        let answers = answers(&day, seed, input.as_bytes());
        assert_eq!(answers.len(), steps.len());
        let (mut inside, mut outside) = (Moment::default(), Moment::default());
        let mut last = Time::ZERO;
        let (mut sent, mut banned) = (0, 0);
        for (step, answer) in steps.into_iter().zip(&answers) {
            if step.now > last {
                // a deadline at the moment of a message is told with the message's line
                assert_eq!(inside, outside, "seed {seed}, {last}");
                (inside, outside) = (inside.next(), outside.next());
            }
            last = step.now;
            inside.take_step(step);
            outside.take_answer(answer);
            sent += outside.out.len();
            banned = banned.max(outside.bans.len());
        }
        assert_eq!(inside, outside, "seed {seed}, {last}");
        println!("seed {seed}: {} lines, {sent} messages sent, {banned} banned", answers.len());
        assert!(sent > 1_000, "a day in which nothing happened");
    }
}

/// Cuts a line off, or puts bytes into it, takes some out, writes it twice.
fn garble(line: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(line.len() as u64) as usize;
    let to = line.len().min(at + 1 + rng.below(9) as usize);
    match rng.below(5) {
        0 => line.truncate(at),
        1 => drop(line.drain(at..to)),
        2 => line.extend_from_within(..),
        3 => line[at..to].fill(b"0Az{}[]\",:\\ \0\xff"[rng.below(14) as usize]),
        _ => line[at] = (rng.below(256) as u8).max(b'\n' + 1),
    }
}

#[test]
fn garbled_lines_are_answered_each_with_what_came_of_it_or_what_is_wrong() {
    let (day, steps) = recorded(5);
    let mut rng = Rng::new(5, 9);
    let mut input = Vec::new();
    for step in &steps {
        let mut line = line(step).into_bytes();
        line.pop();
        if rng.chance(500) {
            garble(&mut line, &mut rng);
        }
        input.extend(line);
        input.push(b'\n');
    }
    let answers = answers(&day, 5, &input);
    assert_eq!(answers.len(), steps.len());
    let mut wrong = 0;
    for answer in &answers {
        match answer.get("error") {
            Some(error) => assert!(error.as_str().is_some_and(|error| !error.is_empty())),
            None => assert!(answer["out"].is_array() && answer["bans"].is_array(), "{answer}"),
        }
        wrong += usize::from(answer.get("error").is_some());
    }
    println!("{wrong} of {} lines were wrong", answers.len());
    assert!(wrong > 1_000 && wrong < answers.len() / 2, "{wrong} of {}", answers.len());
}
