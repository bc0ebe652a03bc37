//! How a source is judged, once more: slow, obvious, and written from the words of
//! `docs/admission.md` alone. It reads the tape of an edge and says what the gate had to do.
//!
//! It knows no key of the edge: a proof is that somebody gives back what only he was told.

mod judge;
mod ledger;
mod memory;

use crate::edge::{Step, StepInput, StepOutput};
use crate::sip::{Msg, take_frame};
use admission::BanKey;
use ledger::{Entry, EntryKey, Passing};
use memory::{Fading, Told};
use policy::{Admission, Network, Outcome, Policy, Reason, Time, Who};
use proxy::{Event, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use wire::{Flow, Side};

/// What becomes of a request, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It goes on.
    Pass,
    /// The edge challenges it, now or when its answer is paid for.
    Challenge,
    /// It is dropped or refused.
    Stop,
}

/// A ban that had to begin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Banned {
    /// Its kind, as [`BanKey::kind`] calls it.
    pub kind: &'static str,
    /// Source or network, or what stands around a flow.
    pub of: Network,
    /// When, in whole seconds.
    pub at: u64,
}

/// The model.
#[derive(Debug)]
pub struct Reference {
    policy: Policy,
    sources: HashMap<Network, Source>,
    homes: HashMap<(String, Network), Time>,
    /// Refusals of an AOR at a source or over a flow.
    pairs: HashMap<(String, String), Fading>,
    /// Those of an AOR at a source, in a long memory.
    slow_pairs: HashMap<(String, String), Fading>,
    refused: HashMap<(String, Network), Time>,
    aors: HashMap<String, Fading>,
    guard: HashMap<String, Time>,
    shapes: HashMap<u64, Shape>,
    ledger: HashMap<EntryKey, Entry>,
    passing: HashMap<String, Passing>,
    /// Keys of those by their branches inside.
    asking: HashMap<String, String>,
    bans: HashMap<String, Ban>,
    repeats: HashMap<String, Repeats>,
    slowed: HashMap<String, Time>,
    told: HashMap<Network, Told>,
    public_nonces: HashSet<String>,
    /// To-tags of the PBX's challenges.
    public_tags: HashSet<String>,
    realm: bool,
    buffers: HashMap<Flow, Vec<u8>>,
    /// Outcomes so far.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Bans that had to begin.
    pub banned: Vec<Banned>,
    /// Bans that did begin.
    pub really: Vec<Banned>,
    /// Where the gate and the model were not of one mind.
    pub differences: Vec<String>,
    /// Requests that both judged.
    pub judged: u64,
}

#[derive(Debug, Default)]
struct Source {
    short: Fading,
    long: Fading,
    proven: Option<Time>,
    known: Option<Time>,
    suspect: Option<Time>,
}

#[derive(Debug, Default)]
struct Shape {
    failed: HashSet<Network>,
    succeeded: bool,
    until: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Ban {
    until: Time,
    narrowed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Repeats {
    times: u32,
    last: Time,
}

impl Reference {
    /// A model that knows nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Reference {
            policy,
            sources: HashMap::new(),
            homes: HashMap::new(),
            pairs: HashMap::new(),
            slow_pairs: HashMap::new(),
            refused: HashMap::new(),
            aors: HashMap::new(),
            guard: HashMap::new(),
            shapes: HashMap::new(),
            ledger: HashMap::new(),
            passing: HashMap::new(),
            asking: HashMap::new(),
            bans: HashMap::new(),
            repeats: HashMap::new(),
            slowed: HashMap::new(),
            told: HashMap::new(),
            public_nonces: HashSet::new(),
            public_tags: HashSet::new(),
            realm: false,
            buffers: HashMap::new(),
            outcomes: BTreeMap::new(),
            banned: Vec::new(),
            really: Vec::new(),
            differences: Vec::new(),
            judged: 0,
        }
    }

    fn rules(&self) -> &Admission {
        &self.policy.admission
    }

    fn trusted(&self, ip: IpAddr) -> bool {
        let trust = &self.rules().trust;
        trust.networks.iter().any(|(network, _)| network.contains(ip))
            || trust.own_addresses
                && (self.policy.pbx.iter().any(|pbx| pbx.address.ip() == ip)
                    || self.policy.inside.ip() == ip
                    || self.policy.listeners.iter().any(|l| l.address.ip() == ip))
    }

    fn who(&self, now: Time, flow: &Flow) -> Who {
        let ip = flow.remote.ip();
        let source = self.sources.get(&Network::source(ip));
        let within = |at: Option<Time>, length| at.is_some_and(|at| now.since(at) <= length);
        let known = source.and_then(|source| source.known);
        let proven = source.and_then(|source| source.proven);
        if self.trusted(ip) {
            Who::Trusted
        } else if within(known, self.rules().trust.window) {
            Who::Known
        } else if flow.transport.is_reliable() || within(proven, self.rules().proof.lifetime) {
            Who::Proven
        } else {
            Who::Unproven
        }
    }

    fn at_home(&self, now: Time, aor: &str, source: Network) -> bool {
        let home = self.homes.get(&(aor.to_string(), source));
        home.is_some_and(|at| now.since(*at) <= self.rules().trust.window)
    }

    fn prove(&mut self, now: Time, source: Network) {
        self.sources.entry(source).or_default().proven = Some(now);
    }

    /// Reads one step.
    pub fn read(&mut self, step: &Step) {
        self.run_out(step.now);
        for output in &step.outputs {
            if let StepOutput::Ban(ban) = output {
                let of = match ban.key {
                    BanKey::Source(of) | BanKey::Network(of) => of,
                    BanKey::AorSource { source, .. } => source,
                    BanKey::AorFlow { flow, .. } => Network::source(flow.remote.ip()),
                    BanKey::Campaign(_) => Network::host(IpAddr::from([0, 0, 0, 0])),
                };
                if ban.since == step.now {
                    let at = step.now.as_secs();
                    self.really.push(Banned { kind: ban.key.kind(), of, at });
                }
            }
        }
        match &step.input {
            StepInput::Datagram { side: Side::Outside, local, remote, bytes } => {
                self.on_outside(step, Flow::udp(*local, *remote), vec![bytes.clone()]);
            }
            StepInput::Datagram { bytes, .. } => {
                if let Some(msg) = Msg::parse(bytes) {
                    self.on_inside(step.now, &msg);
                }
                self.answers(step.now, &step.outputs);
            }
            StepInput::Stream { flow, bytes } => {
                let buffer = self.buffers.entry(*flow).or_default();
                buffer.extend_from_slice(bytes);
                let mut messages = Vec::new();
                while let Some(frame) = take_frame(buffer) {
                    messages.extend((!frame.is_empty()).then_some(frame));
                }
                self.on_outside(step, *flow, messages);
            }
            StepInput::Closed(flow) => {
                self.buffers.remove(flow);
            }
            StepInput::Opened(_) | StepInput::Timeout | StepInput::Other => {
                self.answers(step.now, &step.outputs);
            }
            StepInput::Restart => self.forget(),
        }
    }

    /// Compares how many challenges ended how with what the gates counted.
    pub fn compare_outcomes(&mut self, counts: &[&admission::Counts]) {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            let gate: u64 = counts.iter().map(|counts| counts.outcomes[at]).sum();
            let here = self.outcomes.get(&outcome).copied().unwrap_or(0);
            if gate != here {
                let what = format!("{here} {}, but the gate counted {gate}", outcome.as_str());
                self.differences.push(what);
            }
        }
    }

    /// All that differs.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let (mut here, mut gate) = (self.banned.clone(), self.really.clone());
        here.sort();
        gate.sort();
        let mut all = self.differences.clone();
        let missing = here.iter().filter(|ban| !gate.contains(ban));
        all.extend(missing.map(|ban| format!("the gate did not make {ban:?}")));
        let spare = gate.iter().filter(|ban| !here.contains(ban));
        all.extend(spare.map(|ban| format!("the model did not make {ban:?}")));
        all
    }

    /// All but what needs no memory: what somebody was told he can still give back.
    fn forget(&mut self) {
        let fresh = Reference::new(self.policy.clone());
        let old = std::mem::replace(self, fresh);
        self.told = old.told;
        self.public_nonces = old.public_nonces;
        self.public_tags = old.public_tags;
        self.outcomes = old.outcomes;
        (self.banned, self.really) = (old.banned, old.really);
        (self.differences, self.judged) = (old.differences, old.judged);
    }

    /// Messages from outside, each with what was done until its decision.
    fn on_outside(&mut self, step: &Step, flow: Flow, messages: Vec<Vec<u8>>) {
        let mut rest = step.outputs.as_slice();
        for bytes in messages {
            let end = rest.iter().position(|output| matches!(output, StepOutput::Event(_)));
            let Some(end) = end else { break };
            let (own, after) = rest.split_at(end + 1);
            let Some(StepOutput::Event(event)) = own.last() else { break };
            if let Some(msg) = Msg::parse(&bytes).filter(Msg::is_request) {
                self.request(step.now, &flow, &msg, &bytes, event, own);
            }
            self.answers(step.now, own);
            rest = after;
        }
        self.answers(step.now, rest);
    }

    fn difference(&mut self, now: Time, what: String) {
        if self.differences.len() < 50 {
            self.differences.push(format!("{now}: {what}"));
        }
    }

    fn request(
        &mut self,
        now: Time,
        flow: &Flow,
        msg: &Msg,
        bytes: &[u8],
        event: &Event,
        outputs: &[StepOutput],
    ) {
        let source = Network::source(flow.remote.ip());
        if self.stopped_before_parsing(now, flow) != (event.reason == Reason::Banned) {
            let reason = event.reason;
            self.difference(now, format!("source {source} banned? the gate says {reason:?}"));
            return;
        }
        if event.reason == Reason::Banned {
            return;
        }
        match msg.method() {
            "ACK" => return self.on_ack(now, flow, msg),
            // "the final response that follows is what ends it"
            "CANCEL" => return,
            _ => {}
        }
        // What is no new request, or is refused before anybody is judged, is not looked at.
        let Some(grounds) = event.grounds else { return };
        let asked = self.ask(now, flow, msg, bytes);
        if asked.who != grounds.who && !asked.dialog {
            let (is, who) = (grounds.who, asked.who);
            self.difference(now, format!("{source} is {who:?}, not {is:?}: {}", msg.start));
        }
        let expected = self.judge(now, flow, msg, &asked);
        let actual = match event.verdict {
            _ if event.reason == Reason::Amplification => Class::Challenge,
            // It waits for a nonce, which the request's repetition will meet.
            Verdict::Absorb if is_of_gate(event.reason) => Class::Challenge,
            Verdict::Forward | Verdict::Absorb => Class::Pass,
            Verdict::Reject(401 | 407) => Class::Challenge,
            _ if !is_of_gate(event.reason) => Class::Pass,
            Verdict::Drop | Verdict::Reject(_) => Class::Stop,
        };
        self.judged += 1;
        if expected.0 != actual {
            let reason = event.reason;
            self.difference(
                now,
                format!(
                    "{source} {}: {:?} ({}), but {actual:?} ({reason:?}); {asked:?}",
                    msg.start, expected.0, expected.1
                ),
            );
        }
        // Further on the gate's own word counts, so that one difference does not become many.
        if actual == Class::Pass {
            let forwarded = outputs.iter().find_map(|output| match output {
                StepOutput::Datagram { side: Side::Inside, bytes, .. } => Msg::parse(bytes),
                _ => None,
            });
            let branch = forwarded.map(|msg| msg.branch()).unwrap_or_default();
            self.passed(now, flow, msg, asked, branch);
        }
    }
}

fn is_of_gate(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Banned
            | Reason::Narrowed
            | Reason::PairBanned
            | Reason::Guarded
            | Reason::TriesUnderWay
            | Reason::Campaign
            | Reason::Signature
            | Reason::Rule
            | Reason::Rate
            | Reason::Unproven
            | Reason::Honeytoken
    )
}
