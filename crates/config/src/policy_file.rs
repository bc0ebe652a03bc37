//! The part of the configuration that may stand in a file of its own: the policy. A profile is
//! such a file, too, which another starts from.

use crate::admission::{self, SignatureChoice};
use crate::engine::{Tables, Timers};
use crate::form::{Scalar, Truth};
use crate::keys::{Element, Form as _, Keys, Section};
use crate::model::{Admin, Trunk};
use crate::out::{self, Out};
use crate::problem::{Complaint, Problems, Source};
use crate::read::beside;
use crate::table::Field;
use crate::tree::{self, Kind};
use crate::trial::{Trial, Trials};
use crate::value;
use policy::{Admission, Budgets, Listener, Overload, Pbx, Policy};
use std::net::SocketAddr;
use wire::Limits;

/// What a policy file says.
#[derive(Clone, Debug)]
pub(crate) struct PolicyFile {
    pub(crate) admission: Admission,
    pub(crate) signatures: SignatureChoice,
    pub(crate) timers: Timers,
    pub(crate) limits: Limits,
    pub(crate) tables: Tables,
    pub(crate) budgets: Budgets,
    pub(crate) overload: Overload,
    pub(crate) answer_malformed: bool,
    pub(crate) source_header: Option<String>,
    /// Its own tests, not those of its profile.
    pub(crate) trials: Vec<Trial>,
}

/// A policy to take defaults from.
pub(crate) fn default_policy() -> Policy {
    Policy::new(Vec::new(), SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new())
}

impl Default for PolicyFile {
    fn default() -> Self {
        PolicyFile::of(&default_policy(), SignatureChoice::default())
    }
}

impl PolicyFile {
    /// What would have to be written for this policy. Taken apart without `..`: a field that is
    /// added to the policy must get its key.
    pub(crate) fn of(policy: &Policy, signatures: SignatureChoice) -> Self {
        let Policy {
            version: _,
            listeners: _,
            inside: _,
            pbx: _,
            groups: _,
            checks: _,
            domains: _,
            trunks: _,
            timers,
            limits,
            capacities,
            budgets,
            timer_c,
            trying_after,
            retry_after,
            nonce_memory,
            overload,
            answer_malformed,
            source_header,
            admission,
        } = policy.clone();
        PolicyFile {
            timers: Timers { base: timers, timer_c, trying_after, retry_after, nonce_memory },
            limits,
            tables: Tables { engine: capacities, gate: admission.capacities },
            budgets,
            overload,
            answer_malformed,
            source_header,
            signatures,
            admission,
            trials: Vec::new(),
        }
    }

    /// What other parts of the configuration say about trust and numbers.
    pub(crate) fn learn(&mut self, trunks: &[Trunk], admin: Option<&Admin>) {
        let Admission { trust, dids, .. } = &mut self.admission;
        for network in admin.iter().flat_map(|admin| &admin.networks) {
            admission::trust(trust, *network, "admin");
        }
        for trunk in trunks {
            for host in &trunk.hosts {
                match value::network_of(host) {
                    Some(network) => admission::trust(trust, network, &trunk.name),
                    None => admission::trust_host(trust, host, &trunk.name),
                }
            }
            for number in &trunk.dids {
                if !dids.patterns.iter().any(|known| **known == **number) {
                    dids.patterns.push(number.as_str().into());
                }
            }
        }
    }

    pub(crate) fn into_policy(
        self,
        listeners: Vec<Listener>,
        inside: SocketAddr,
        pbx: Vec<Pbx>,
        domains: Vec<String>,
    ) -> Policy {
        Policy {
            domains,
            timers: self.timers.base,
            limits: self.limits,
            capacities: self.tables.engine,
            budgets: self.budgets,
            overload: self.overload,
            timer_c: self.timers.timer_c,
            trying_after: self.timers.trying_after,
            retry_after: self.timers.retry_after,
            nonce_memory: self.timers.nonce_memory,
            answer_malformed: self.answer_malformed,
            source_header: self.source_header,
            admission: Admission { capacities: self.tables.gate, ..self.admission },
            ..Policy::new(listeners, inside, pbx)
        }
    }
}

impl Element for PolicyFile {
    fn keys(&mut self, keys: &mut impl Keys) {
        admission::keys(&mut self.admission, &mut self.signatures, keys);
        keys.key("timers", "Times of the engine", &mut self.timers, Section);
        keys.key("limits", "Bounds of one message", &mut self.limits, Section);
        keys.key("capacities", "Bounds of tables, per shard", &mut self.tables, Section);
        keys.key("budgets", "How long a peer on a stream may take", &mut self.budgets, Section);
        let about = "When a shard that cannot keep up sheds requests";
        keys.key("overload", about, &mut self.overload, Section);
        let about = "Whether datagrams that are no SIP message get a 400";
        keys.key("answer_malformed", about, &mut self.answer_malformed, Truth);
        let about = "Header that tells the PBX a request's source; off sends none";
        let name = Scalar(value::header_name, |name| name.as_deref().unwrap_or("off").to_owned());
        keys.key("source_header", about, &mut self.source_header, name);
        keys.key("tests", "Messages in, verdict out", &mut self.trials, Trials);
    }
}

/// The policy as a field of the configuration: inline, or the name of a file.
pub(crate) fn policy_field(field: &Field<'_>) -> PolicyFile {
    if matches!(field.node.kind, Kind::Table(_)) {
        return inline(field);
    }
    let problems = field.source.problems;
    let Some(path) = field.parse(value::path) else { return unsaid(problems) };
    let file = beside(field.source.file, path);
    problems.looks_at(&file);
    match std::fs::read_to_string(&file) {
        Ok(text) => whole(Source { file: &file, text: &text, problems }),
        Err(error) => {
            let complaint = Complaint::new(format!("{} cannot be read: {error}", file.display()));
            field.error(complaint.hint("relative paths start at the directory of this file"));
            unsaid(problems)
        }
    }
}

/// A whole file.
pub(crate) fn whole(source: Source<'_>) -> PolicyFile {
    match tree::parse(source) {
        Some(node) if !matches!(node.kind, Kind::Null) => inline(&Field::root(source, &node)),
        _ => unsaid(source.problems),
    }
}

/// What holds when nothing is said.
pub(crate) fn unsaid(problems: &Problems) -> PolicyFile {
    let mut file = admission::profile::balanced(problems);
    admission::signatures::load(problems, None, &mut file);
    file
}

/// A table of the policy's keys: the profile first, then what is said otherwise.
pub(crate) fn inline(field: &Field<'_>) -> PolicyFile {
    let mut file = admission::profile::chosen(field, 0);
    Section.read(field, &mut file);
    admission::signatures::load(field.source.problems, Some(field), &mut file);
    file
}

/// JSON Schema (draft 2020-12) of a policy: of the file, and of the key `policy` of the
/// configuration. Editors complete and check by it.
#[must_use]
pub fn policy_schema() -> String {
    let schema = Section.schema(&admission::profile::balanced(&Problems::default()));
    let whole = Out::table([
        ("$schema", out::text("https://json-schema.org/draft/2020-12/schema")),
        ("title", out::text("Ringfence policy")),
    ]);
    match (whole, schema) {
        (Out::Table(mut whole), Out::Table(schema)) => {
            whole.extend(schema);
            // A tree of texts and numbers is always JSON.
            serde_json::to_string_pretty(&Out::Table(whole)).unwrap_or_default()
        }
        _ => String::new(),
    }
}
