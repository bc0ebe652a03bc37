//! `tests`: messages in, verdict out (`docs/policy/tests.md`). They are only read here; who has an
//! engine runs them.

use crate::admission::WHO;
use crate::form::{self, Count, DURATION_MIN, Time, Truth};
use crate::keys::{Element, Form, Keys, Section};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::{Field, nearest};
use crate::value;
use policy::{Reason, Who};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use wire::Transport;

/// Most steps of a test, repetitions not counted.
const STEPS_MAX: usize = 1_000;
/// Longest wait of a step.
const WAIT_MAX: Duration = Duration::from_secs(30 * 86_400);

/// A test of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    /// The file it stands in.
    pub file: PathBuf,
    /// Where in that file, counted from 1.
    pub line: u64,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step of a test. Its parts come in the order of the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Line in the file, counted from 1.
    pub line: u64,
    /// How often the whole step happens.
    pub repeat: u32,
    /// Who sends.
    pub from: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The listener that it comes to; `None`: the first of its transport.
    pub to: Option<SocketAddr>,
    /// A message, its lines ended as YAML has them. `{nonce}`, `{opaque}`, `{realm}`, `{to_tag}`
    /// and `{credentials}` stand for what the last answer said, `{n}` for the number of the
    /// message in the test, `{branch}` for a branch of its own.
    pub send: Option<String>,
    /// The sender acknowledges the last answer.
    pub ack: bool,
    /// What must become of the message.
    pub expect: Expectation,
    /// What the PBX answers to the last request that reached it.
    pub pbx: Option<Answer>,
    /// Then so much time goes by.
    pub wait: Duration,
}

/// What must become of a message. A part that is `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// What is done.
    pub verdict: Option<Expect>,
    /// Why.
    pub reason: Option<Reason>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The signature that decided.
    pub signature: Option<String>,
    /// What is known of the sender.
    pub who: Option<Who>,
    /// The PBX that it goes to, by its name.
    pub at: Option<String>,
    /// What would have been done, were nothing in `mode: observe`.
    pub would: Option<Expect>,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It goes to the PBX.
    Accept,
    /// The edge challenges it by itself.
    Challenge,
    /// It is dropped in silence.
    Drop,
    /// The edge answers with this status.
    Reject(u16),
    /// It ends here, as it should: an ACK to an answer of ours, a repetition.
    Absorb,
}

/// What the PBX answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// With this status; 401 and 407 come with a challenge.
    pub status: u16,
    /// Whether the challenge says that only the nonce was too old.
    pub stale: bool,
}

impl std::fmt::Display for Expect {
    /// As it is written in the file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expect::Accept => f.write_str("accept"),
            Expect::Challenge => f.write_str("challenge"),
            Expect::Drop => f.write_str("drop"),
            Expect::Absorb => f.write_str("absorb"),
            Expect::Reject(status) => write!(f, "reject {status}"),
        }
    }
}

impl Default for Step {
    fn default() -> Self {
        Step {
            line: 0,
            repeat: 1,
            from: SocketAddr::from((Ipv4Addr::new(203, 0, 113, 66), 5060)),
            transport: Transport::Udp,
            to: None,
            send: None,
            ack: false,
            expect: Expectation::default(),
            pbx: None,
            wait: Duration::ZERO,
        }
    }
}

impl Element for Step {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Step { line: _, repeat, from, transport, to, send, ack, expect, pbx, wait } = self;
        keys.key("repeat", "How often this step happens", repeat, Count(1, 100_000));
        keys.key("from", "Who sends: address and port", from, Text(value::address));
        keys.key("transport", "udp, tcp or tls", transport, Text(value::transport));
        let about = "The listener that it comes to; by itself the first of its transport";
        keys.key("to", about, to, Text(listener));
        keys.key("send", "A message", send, Text(message));
        keys.key("ack", "The sender acknowledges the last answer", ack, Truth);
        let about = "What must become of it: accept, challenge, drop, reject 405, absorb";
        keys.key("expect", about, &mut expect.verdict, Text(verdict));
        keys.key("reason", "Why: a word of the catalogue", &mut expect.reason, Text(reason));
        keys.key("rule", "The rule that must have decided", &mut expect.rule, Text(some));
        let about = "The signature that must have decided";
        keys.key("signature", about, &mut expect.signature, Text(some));
        keys.key("who", "What must be known of the sender", &mut expect.who, Text(who));
        let about = "The PBX that it must go to, by its name";
        keys.key("at", about, &mut expect.at, Text(some));
        let about = "What would have been done without mode: observe";
        keys.key("would", about, &mut expect.would, Text(verdict));
        keys.key("pbx", "What the PBX answers: 200, 401, 401 stale", pbx, Text(answer));
        keys.key("wait", "Then so much time goes by", wait, Time(DURATION_MIN, WAIT_MAX));
    }

    fn check(&self, field: &Field<'_>) {
        if self.expect != Expectation::default() && self.send.is_none() && !self.ack {
            let complaint = Complaint::new("nothing is sent here of which this is expected");
            field.error(complaint.hint("add send: or ack: true to this step"));
        }
        if self.send.is_some() && self.ack {
            let complaint = Complaint::new("a step sends a message or acknowledges an answer");
            field.error(complaint.hint("make two steps of it"));
        }
    }
}

/// Something that is read, and never printed: tests are no settings.
struct Text<T>(fn(&str) -> Result<T, Complaint>);

impl<T> Form<T> for Text<T> {
    fn read(&self, field: &Field<'_>, value: &mut T) {
        if let Some(read) = field.parse(self.0) {
            *value = read;
        }
    }

    fn print(&self, _: &T) -> Option<Out> {
        None
    }

    fn schema(&self, _: &T) -> Out {
        form::scalar()
    }
}

/// The list of tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trials;

impl Form<Vec<Trial>> for Trials {
    fn read(&self, field: &Field<'_>, value: &mut Vec<Trial>) {
        value.extend(field.list().iter().filter_map(trial));
    }

    fn print(&self, _: &Vec<Trial>) -> Option<Out> {
        None
    }

    fn schema(&self, _: &Vec<Trial>) -> Out {
        let step = Section.schema(&Step::default());
        let steps = Out::table([("type", out::text("array")), ("items", step.clone())]);
        let mut properties = Out::table([("name", form::scalar()), ("steps", steps)]);
        if let Out::Table(entries) = step
            && let Some((_, Out::Table(keys))) =
                entries.into_iter().find(|(key, _)| key == "properties")
        {
            for (key, schema) in keys {
                properties = properties.with(key, schema);
            }
        }
        let trial = Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("required", out::texts(&["name"])),
            ("properties", properties),
        ]);
        Out::table([("type", out::text("array")), ("items", trial)])
    }
}

/// A test with its steps, or one that is a single step itself. What it says of the sender holds
/// for all its steps.
fn trial(field: &Field<'_>) -> Option<Trial> {
    let mut table = field.table()?;
    let name = table.need("name", "what it shows, e.g. name: sipcli is dropped");
    let name = name.and_then(|field| field.parse(value::text));
    let line = field.key_place.line;
    let Some(list) = table.take("steps") else {
        let mut step = Step { line, ..Step::default() };
        table.keys_of(&mut step);
        step.check(field);
        expects_something(field, std::slice::from_ref(&step));
        return Some(Trial {
            name: name?,
            file: field.source.file.to_owned(),
            line,
            steps: vec![step],
        });
    };
    let mut common = Step::default();
    if let Some(from) = table.optional("from", value::address) {
        common.from = from;
    }
    if let Some(transport) = table.optional("transport", value::transport) {
        common.transport = transport;
    }
    common.to = table.optional("to", value::address);
    table.finish();
    let elements = list.list();
    if elements.is_empty() || elements.len() > STEPS_MAX {
        list.error(Complaint::new(format!("a test has 1 to {STEPS_MAX} steps")));
    }
    let step = |field: &Field<'_>| {
        let mut step = Step { line: field.key_place.line, ..common.clone() };
        Section.read(field, &mut step);
        step
    };
    let steps: Vec<Step> = elements.iter().map(step).collect();
    expects_something(field, &steps);
    Some(Trial { name: name?, file: field.source.file.to_owned(), line, steps })
}

/// A test that expects nothing passes whatever happens.
fn expects_something(field: &Field<'_>, steps: &[Step]) {
    // an acknowledgement or an answer of the PBX's fails where there is nothing to answer
    let idle =
        |step: &Step| step.expect == Expectation::default() && !step.ack && step.pbx.is_none();
    if steps.iter().all(idle) {
        let complaint = Complaint::new("the test expects nothing: it would always pass");
        field.error(complaint.hint("add expect: accept, challenge, drop, reject 405 or absorb"));
    }
}

fn message(text: &str) -> Result<Option<String>, Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new("the message is empty"));
    }
    Ok(Some(text.to_owned()))
}

fn listener(text: &str) -> Result<Option<SocketAddr>, Complaint> {
    value::address(text).map(Some)
}

fn some(text: &str) -> Result<Option<String>, Complaint> {
    Ok(Some(text.to_owned()))
}

fn who(text: &str) -> Result<Option<Who>, Complaint> {
    match Who::ALL.into_iter().find(|who| who.as_str() == text) {
        Some(who) => Ok(Some(who)),
        None => WHO.parse(text).map(Some),
    }
}

fn reason(text: &str) -> Result<Option<Reason>, Complaint> {
    let known = Reason::ALL.map(Reason::as_str);
    let found = Reason::ALL.into_iter().find(|reason| reason.as_str() == text);
    found.map(Some).ok_or_else(|| {
        let near = nearest(text, &known).unwrap_or_default();
        let complaint = Complaint::new(format!("\"{text}\" is no reason"));
        complaint.hint(format!("did you mean \"{near}\"? Known: {}", known.join(", ")))
    })
}

fn verdict(text: &str) -> Result<Option<Expect>, Complaint> {
    if let Some(status) = text.strip_prefix("reject ")
        && let Some(status) = status.trim().parse().ok().filter(|code| (400..=699).contains(code))
    {
        return Ok(Some(Expect::Reject(status)));
    }
    let words = [
        ("accept", Expect::Accept),
        ("challenge", Expect::Challenge),
        ("drop", Expect::Drop),
        ("absorb", Expect::Absorb),
    ];
    let complaint = match value::one_of(text, "verdict", &words) {
        Ok(verdict) => return Ok(Some(verdict)),
        Err(complaint) => complaint,
    };
    let hint = complaint.hint.unwrap_or_default();
    Err(Complaint::new(complaint.message).hint(format!("{hint}, reject 405")))
}

fn answer(text: &str) -> Result<Option<Answer>, Complaint> {
    let (status, stale) = match text.split_once(' ') {
        Some((status, "stale")) => (status, true),
        _ => (text, false),
    };
    let status = status.parse().ok().filter(|status| (100..=699).contains(status));
    let status = status.ok_or_else(|| {
        let complaint = Complaint::new(format!("\"{text}\" is no answer"));
        complaint.hint("a status: 200, 401, 404; or 401 stale")
    })?;
    Ok(Some(Answer { status, stale }))
}
