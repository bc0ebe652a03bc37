//! How a source is judged, once more: slow, obvious, and written from the words of
//! `docs/admission.md` alone. It reads the tape of an edge and says what the gate had to do.
//!
//! It knows no key of the edge: a proof is that somebody gives back what only he was told.

mod asked;
mod bans;
mod dialog;
mod evidence;
mod ledger;
mod memory;
mod steps;

pub use bans::Banned;

use crate::edge::{Outcomes, Step, StepInput, StepOutput};
use crate::sip::{Msg, take_frame};
use asked::Asked;
use bans::{Ban, Key, Really, Repeats};
use evidence::Pair;
use ledger::{Entry, EntryKey, Passing};
use memory::{Budget, Fading, Offers, Relayed, Told};
use policy::{Admission, Network, Outcome, Policy, Reason, Time};
use proxy::{Event, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use steps::{Storm, Tried, Tries};
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

/// The model.
#[derive(Debug)]
pub struct Reference {
    policy: Policy,
    /// What is known of each source.
    sources: HashMap<Network, Source>,
    /// "A pair (AOR, source) that authenticated within the trust window."
    homes: HashMap<(String, Network), Time>,
    /// AORs that are one for requests without credentials.
    lent: HashMap<(String, Network), Time>,
    /// Refusals of an AOR at a source or over a flow.
    pairs: HashMap<Key, Pair>,
    /// When an AOR was refused at a source last.
    refused: HashMap<(String, Network), Time>,
    /// When it abandoned a challenge there.
    abandoned: HashMap<(String, Network), Time>,
    aors: HashMap<String, Aor>,
    shapes: HashMap<u64, Shape>,
    ledger: HashMap<EntryKey, Entry>,
    /// Requests that the PBX has not answered yet, and their keys by their branches inside.
    passing: HashMap<String, Passing>,
    asking: HashMap<String, String>,
    bans: HashMap<Key, Ban>,
    repeats: HashMap<Key, Repeats>,
    /// When a network's ban ended last.
    forgotten: HashMap<Network, Time>,
    budgets: HashMap<String, Budget>,
    tries: HashMap<Tried, Tries>,
    storm: Storm,
    under_attack: bool,
    /// Requests of unproven sources to which the PBX has said nothing.
    unheard: usize,
    /// Signatures that met somebody authenticated.
    demoted: HashSet<usize>,
    told: HashMap<IpAddr, Told>,
    relayed: Relayed,
    offers: Offers,
    /// The PBX taught its realm.
    realm: bool,
    /// Nonces that the PBX made, and To-tags of its challenges.
    public_nonces: HashSet<String>,
    /// Nonces that the edge made itself, for whomever.
    own_nonces: HashSet<String>,
    /// Values of `opaque` that it made: a challenge that must be short has none of the edge's.
    public_opaques: HashSet<String>,
    public_tags: HashSet<String>,
    buffers: HashMap<Flow, Vec<u8>>,
    /// Outcomes so far.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Bans that had to begin.
    pub banned: Vec<Banned>,
    /// Bans that did begin.
    really: Really,
    /// Where the gate and the model were not of one mind.
    pub differences: Vec<String>,
    /// When the gates had last counted as many of each outcome.
    agreed: [Time; Outcome::ALL.len()],
    /// Requests that both judged, by what became of them.
    pub judged: BTreeMap<(&'static str, &'static str), u64>,
    /// Those that were judged because their calls were too fast.
    pub judged_in_dialogs: u64,
}

#[derive(Debug, Default)]
struct Source {
    short: Fading,
    long: Fading,
    proven: Option<Time>,
    known: Option<Time>,
    suspect: Option<Time>,
}

/// Refusals of an AOR's strangers, proven and not.
#[derive(Debug, Default)]
struct Aor {
    refusals: Fading,
    doubts: Fading,
}

#[derive(Debug, Default)]
struct Shape {
    failed: HashSet<Network>,
    succeeded: bool,
    last: Option<Time>,
}

impl Reference {
    /// A model that knows nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Reference {
            policy,
            sources: HashMap::new(),
            homes: HashMap::new(),
            lent: HashMap::new(),
            pairs: HashMap::new(),
            refused: HashMap::new(),
            abandoned: HashMap::new(),
            aors: HashMap::new(),
            shapes: HashMap::new(),
            ledger: HashMap::new(),
            passing: HashMap::new(),
            asking: HashMap::new(),
            bans: HashMap::new(),
            repeats: HashMap::new(),
            forgotten: HashMap::new(),
            budgets: HashMap::new(),
            tries: HashMap::new(),
            storm: Storm::default(),
            under_attack: false,
            unheard: 0,
            demoted: HashSet::new(),
            told: HashMap::new(),
            relayed: Relayed::default(),
            offers: Offers::default(),
            realm: false,
            public_nonces: HashSet::new(),
            own_nonces: HashSet::new(),
            public_opaques: HashSet::new(),
            public_tags: HashSet::new(),
            buffers: HashMap::new(),
            outcomes: BTreeMap::new(),
            banned: Vec::new(),
            really: Really::default(),
            differences: Vec::new(),
            agreed: [Time::ZERO; Outcome::ALL.len()],
            judged: BTreeMap::new(),
            judged_in_dialogs: 0,
        }
    }

    fn rules(&self) -> &Admission {
        &self.policy.admission
    }

    /// "`trusted`: the PBX's and our own addresses, `admin.networks`, `trust.networks`, trunks'".
    fn trusted(&self, ip: IpAddr) -> bool {
        let trust = &self.rules().trust;
        trust.networks.iter().any(|(network, _)| network.contains(ip))
            || trust.own_addresses
                && (self.policy.pbx.iter().any(|pbx| pbx.address.ip() == ip)
                    || self.policy.inside.ip() == ip
                    || self.policy.listeners.iter().any(|l| l.address.ip() == ip))
    }

    /// Reads one step.
    pub fn read(&mut self, step: &Step) {
        if matches!(step.input, StepInput::Timeout) {
            self.run_out(step.now);
        }
        for output in &step.outputs {
            match output {
                StepOutput::Ban(ban) => self.really.began(step.now, ban),
                StepOutput::Lift(lift) => self.really.ended(step.now, lift.id),
                _ => {}
            }
        }
        match &step.input {
            StepInput::Datagram { side: Side::Outside, local, remote, bytes } => {
                self.on_outside(step, Flow::udp(*local, *remote), vec![bytes.clone()]);
            }
            StepInput::Datagram { bytes, .. } => {
                let msg = Msg::parse(bytes);
                if let Some(msg) = &msg {
                    self.on_inside(step.now, msg);
                }
                self.answers(step.now, &step.outputs);
                if let Some(msg) = &msg {
                    self.on_unsent(step.now, msg);
                }
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
                self.answers(step.now, &step.outputs);
            }
            StepInput::Opened(flow) => {
                // "`handshake` (stream)"
                if !self.stopped_before_parsing(flow) && !self.trusted(flow.remote.ip()) {
                    self.prove(step.now, Network::source(flow.remote.ip()));
                }
                self.answers(step.now, &step.outputs);
            }
            StepInput::Timeout | StepInput::Other => self.answers(step.now, &step.outputs),
            StepInput::Restart => self.forget(),
        }
        if std::mem::replace(&mut self.unheard, step.unheard) != step.unheard {
            self.watch_attack();
        }
        self.note_agreement(step.now, &step.outcomes);
    }

    /// Compares how many challenges ended how with what the gates counted.
    pub fn compare_outcomes(&mut self, gate: &Outcomes) {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            let (here, gate, since) = (self.counted(outcome), gate[at], self.agreed[at]);
            if gate != here {
                let what = outcome.as_str();
                self.differences.push(format!("{since}: {here} {what}, the gate counts {gate}"));
            }
        }
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// Notes since when each outcome's count is another than the gates'.
    fn note_agreement(&mut self, now: Time, gate: &Outcomes) {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            if self.counted(outcome) == gate[at] {
                self.agreed[at] = now;
            }
        }
    }

    /// All that differs.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut all = self.differences.clone();
        let (mut here, mut gate) = (self.banned.clone(), self.really.all());
        here.sort();
        gate.sort();
        while let (Some(ours), Some(its)) = (here.last(), gate.last()) {
            if ours == its {
                gate.pop();
            } else if ours < its {
                all.extend(gate.pop().map(|ban| format!("the model did not make {ban:?}")));
                continue;
            } else {
                all.push(format!("the gate did not make {ours:?}"));
            }
            here.pop();
        }
        all.extend(here.iter().map(|ban| format!("the gate did not make {ban:?}")));
        all.extend(gate.iter().map(|ban| format!("the model did not make {ban:?}")));
        all
    }

    /// "All but a To-tag that the PBX made by itself are checked with the key alone: no state, good
    /// over shards and restarts." All else is gone.
    fn forget(&mut self) {
        let fresh = Reference::new(self.policy.clone());
        let old = std::mem::replace(self, fresh);
        self.told = old.told;
        for told in self.told.values_mut() {
            let own = told.own_tags.iter();
            told.tags = own.map(|tags| (tags.clone(), Time::FOREVER)).collect();
        }
        self.public_nonces = old.public_nonces;
        self.own_nonces = old.own_nonces;
        self.public_opaques = old.public_opaques;
        self.public_tags = old.public_tags;
        self.outcomes = old.outcomes;
        (self.banned, self.really) = (old.banned, old.really);
        self.really.forget();
        (self.differences, self.judged) = (old.differences, old.judged);
        (self.agreed, self.judged_in_dialogs) = (old.agreed, old.judged_in_dialogs);
    }

    /// Somebody at this address is one of the PBX's own.
    fn know(&mut self, now: Time, source: Network) {
        self.sources.entry(source).or_default().known = Some(now);
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
        let reason = event.reason;
        if self.stopped_before_parsing(flow) != (reason == Reason::Banned) {
            self.difference(now, format!("source {source} banned? the gate says {reason:?}"));
            return;
        }
        if reason == Reason::Banned {
            return;
        }
        match msg.method() {
            "ACK" => {
                self.on_ack(now, flow, msg);
                if event.grounds.is_some() {
                    let mut asked = self.ask_stray(now, flow, msg, bytes);
                    let expected = self.judge_stray(now, flow, &mut asked);
                    self.compare(now, msg, event, expected, &asked);
                }
                return;
            }
            // "A CANCEL ends nothing"
            "CANCEL" => return,
            _ => {}
        }
        // What is no new request, or is refused before anybody is judged, is not looked at.
        let Some(grounds) = event.grounds else { return };
        let mut asked = self.ask(now, flow, msg, bytes);
        self.count_in_dialog(now, &mut asked);
        if asked.who != grounds.who && asked.is_judged() {
            let (is, who) = (grounds.who, asked.who);
            self.difference(now, format!("{source} is {who:?}, not {is:?}: {}", msg.start));
        }
        let expected = self.judge(now, flow, &mut asked);
        // Further on the gate's own word counts, so that one difference does not become many.
        match self.compare(now, msg, event, expected, &asked) {
            Class::Pass => self.went_on(now, flow, msg, asked, event, outputs),
            Class::Challenge => self.challenged_by_edge(now, &asked),
            Class::Stop => {}
        }
    }

    /// What became of a request, beside what had to.
    fn compare(
        &mut self,
        now: Time,
        msg: &Msg,
        event: &Event,
        expected: (Class, Reason),
        asked: &Asked,
    ) -> Class {
        let (source, reason) = (asked.source, event.reason);
        let judged = event.grounds.is_some_and(|grounds| grounds.judged);
        if judged != asked.is_judged() {
            let what = if judged { "is judged" } else { "is not judged" };
            self.difference(now, format!("{source} {} {what}; {asked:?}", msg.start));
        }
        let actual = match event.verdict {
            // What is not paid for yet tells nothing of itself.
            _ if reason == Reason::Amplification => expected,
            _ if !is_of_gate(reason) => (Class::Pass, Reason::Clean),
            // It waits for a nonce, which the request's repetition will meet.
            Verdict::Absorb | Verdict::Reject(401 | 407) => (Class::Challenge, reason),
            Verdict::Forward => (Class::Pass, Reason::Clean),
            Verdict::Drop | Verdict::Reject(_) => (Class::Stop, reason),
        };
        let words = match actual.0 {
            Class::Pass => "passed",
            Class::Challenge => "challenged",
            Class::Stop => "stopped",
        };
        *self.judged.entry((words, actual.1.as_str())).or_default() += 1;
        let either = [(Class::Pass, Reason::Clean), (Class::Stop, Reason::TriesUnderWay)];
        let close = asked.close && either.contains(&expected) && either.contains(&actual);
        if expected != actual && !close {
            let what = format!("{source} {}: {expected:?}, but {actual:?}; {asked:?}", msg.start);
            self.difference(now, what);
        }
        actual.0
    }

    fn went_on(
        &mut self,
        now: Time,
        flow: &Flow,
        msg: &Msg,
        mut asked: Asked,
        event: &Event,
        outputs: &[StepOutput],
    ) {
        if asked.is_judged() {
            self.accepted(now, flow, &mut asked);
        }
        let forwarded = outputs.iter().find_map(|output| match output {
            StepOutput::Datagram { side: Side::Inside, bytes, .. } => Msg::parse(bytes),
            _ => None,
        });
        match forwarded {
            Some(forwarded) => self.passed(now, flow, msg, asked, forwarded.branch()),
            // What is refused from here on is not its sender's fault: "any other final response".
            None if asked.is_judged() => {
                self.end_try(flow, &asked);
                self.end_passage(&asked);
                // "the same request by another way" says nothing of it
                if event.reason != Reason::Merged {
                    self.superseded(&asked.entry_key());
                }
            }
            None => {}
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
