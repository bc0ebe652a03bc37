//! The file of signatures (`config/signatures.yaml`), which says in its head how it is written.

use crate::problem::{Complaint, Invalid, Place, Problem, Problems, Source};
use crate::table::{Field, Table};
use crate::tree::{self, Kind};
use crate::value;
use policy::{
    Ceiling, Condition, METHODS, MethodSet, Mode, Order, Peculiarity, SignatureSpec, Signatures,
    Test, TextField,
};
use std::path::Path;

/// The signatures that come with the edge, as text.
pub const SHIPPED_SIGNATURES: &str = include_str!("../../../config/signatures.yaml");
/// What the shipped signatures are called in messages.
const SHIPPED_NAME: &str = "signatures.yaml (shipped)";

/// Keys that test a text.
const TEXTS: [(&str, TextField); 20] = [
    ("user_agent", TextField::UserAgent),
    ("branch", TextField::Branch),
    ("via_host", TextField::ViaHost),
    ("from_tag", TextField::FromTag),
    ("call_id", TextField::CallId),
    ("from_name", TextField::FromName),
    ("request_user", TextField::RequestUser),
    ("request_host", TextField::RequestHost),
    ("from_user", TextField::FromUser),
    ("from_host", TextField::FromHost),
    ("to_user", TextField::ToUser),
    ("to_host", TextField::ToHost),
    ("contact_user", TextField::ContactUser),
    ("contact_host", TextField::ContactHost),
    ("user", TextField::AnyUser),
    ("host", TextField::AnyHost),
    ("sdp", TextField::Sdp),
    ("sdp_session", TextField::SdpSession),
    ("sdp_origin", TextField::SdpOrigin),
    ("body", TextField::Body),
];
/// Makes a test of its words.
type Way = fn(Vec<Box<str>>) -> Test;
/// Ways to test a text.
const TESTS: [(&str, Way); 5] = [
    ("is", Test::Is),
    ("starts", Test::Starts),
    ("ends", Test::Ends),
    ("contains", Test::Contains),
    ("matches", Test::Matches),
];
/// Ways to compare header names.
const ORDERS: [(&str, Order); 3] =
    [("exactly", Order::Exactly), ("starts", Order::Starts), ("before", Order::Before)];
/// Keys that are true or false.
const PECULIARITIES: [(&str, Peculiarity); 7] = [
    ("no_magic_cookie", Peculiarity::NoMagicCookie),
    ("branch_is_call_id", Peculiarity::BranchIsCallId),
    ("from_is_to", Peculiarity::FromIsTo),
    ("user_agent_is_from_user", Peculiarity::UserAgentIsFromUser),
    ("tag_is_call_id", Peculiarity::TagIsCallId),
    ("via_is_target", Peculiarity::ViaIsTarget),
    ("long_tag", Peculiarity::LongTag),
];

/// Signatures as they are written, and as they are matched: by the same index.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// As written, with what people should know about them.
    pub specs: Vec<SignatureSpec>,
    /// Ready to match.
    pub signatures: Signatures,
    /// Problems that are no errors.
    pub warnings: Vec<Problem>,
}

/// Reads a file of signatures.
///
/// # Errors
/// [`Invalid`] with every problem found when at least one is an error.
pub fn load_signatures(file: &Path) -> Result<Catalogue, Invalid> {
    match std::fs::read_to_string(file) {
        Ok(text) => load_signatures_str(file, &text),
        Err(error) => {
            let problems = Problems::default();
            let source = Source { file, text: "", problems: &problems };
            let complaint = Complaint::new(format!("cannot be read: {error}"));
            source.error(Place::default(), "", complaint);
            Err(Invalid { problems: problems.finish().0 })
        }
    }
}

/// As [`load_signatures`] with the text at hand; `file` names it.
///
/// # Errors
/// As [`load_signatures`].
pub fn load_signatures_str(file: &Path, text: &str) -> Result<Catalogue, Invalid> {
    let problems = Problems::default();
    let source = Source { file, text, problems: &problems };
    let read = signatures(source, |_| ());
    let (problems, failed) = problems.finish();
    match read {
        Some((specs, signatures)) if !failed => {
            Ok(Catalogue { specs, signatures, warnings: problems })
        }
        _ => Err(Invalid { problems }),
    }
}

/// The signatures that come with the edge.
///
/// # Errors
/// Never with the file that is shipped: a test reads it.
pub fn shipped_signatures() -> Result<Catalogue, Invalid> {
    load_signatures_str(Path::new(SHIPPED_NAME), SHIPPED_SIGNATURES)
}

/// Reads and compiles a file of signatures. `adjust` may change verdicts and modes before they are
/// compiled. All problems go to `source`; `None` when there are errors.
pub(crate) fn signatures(
    source: Source<'_>,
    adjust: impl Fn(&mut SignatureSpec),
) -> Option<(Vec<SignatureSpec>, Signatures)> {
    let node = tree::parse(source)?;
    let root = Field::root(source, &node);
    let mut table = root.table()?;
    let field = table.need("signatures", "a list of signatures; it may be empty: []");
    let fields = field.map(|field| field.list()).unwrap_or_default();
    table.finish();

    let (mut specs, mut places) = (Vec::<SignatureSpec>::new(), Vec::new());
    let mut whole = true;
    for field in &fields {
        let Some((mut spec, leaves)) = signature(field) else {
            whole = false;
            continue;
        };
        if specs.iter().any(|earlier| earlier.id == spec.id) {
            let text = format!("the signature \"{}\" stands twice", spec.id);
            field.error(Complaint::new(text).hint("give one of them another id"));
            whole = false;
        }
        adjust(&mut spec);
        specs.push(spec);
        places.push(leaves);
    }
    if !whole {
        return None;
    }
    match Signatures::compile(specs.clone()) {
        Ok(signatures) => Some((specs, signatures)),
        Err(error) => {
            let leaves = places.get(error.signature).map_or(&[][..], Vec::as_slice);
            let leaf = error.condition.and_then(|index| leaves.get(index));
            let complaint = Complaint::new(error.problem);
            match (leaf, fields.get(error.signature)) {
                (Some((place, path)), _) => source.error(*place, path, complaint),
                (None, Some(field)) => field.error(complaint),
                (None, None) => root.error(complaint),
            }
            None
        }
    }
}

/// Where the conditions of a signature stand that are no joints.
type Leaves = Vec<(Place, String)>;

fn signature(field: &Field<'_>) -> Option<(SignatureSpec, Leaves)> {
    let mut table = field.table()?;
    let id = table.need("id", "a short name, e.g. id: sipvicious").and_then(|f| f.parse(id));
    let what = table.need("what", "the tool or the behaviour, for people");
    let what = what.and_then(|field| prose(&field));
    let verdict = table.need("verdict", "note, score, fast or drop");
    let ceiling = verdict.and_then(|field| field.parse(ceiling));
    let mode = table.value("mode", mode, Mode::Enforce);
    let source = table.take("source").and_then(|field| prose(&field)).unwrap_or_default();
    let false_positives = table.take("false_positives").and_then(|field| prose(&field));
    let when = table.need("when", "what a request must be like, e.g. when: { user_agent: sipcli }");
    let mut leaves = Leaves::new();
    let when = when.and_then(|field| condition(&field, &mut leaves));
    table.finish();
    let spec = SignatureSpec {
        id: id?,
        ceiling: ceiling?,
        mode,
        what: what?,
        source,
        false_positives: false_positives.unwrap_or_default(),
        when: when?,
    };
    Some((spec, leaves))
}

fn id(text: &str) -> Result<Box<str>, Complaint> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
        let complaint = Complaint::new(format!("\"{text}\" is no id"));
        return Err(complaint.hint("at most 64 small letters, digits, - and _"));
    }
    Ok(text.into())
}

fn ceiling(text: &str) -> Result<Ceiling, Complaint> {
    let words = [
        ("note", Ceiling::Note),
        ("score", Ceiling::Score),
        ("fast", Ceiling::Fast),
        ("drop", Ceiling::Drop),
    ];
    value::one_of(text, "verdict", &words)
}

fn mode(text: &str) -> Result<Mode, Complaint> {
    let words = [("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)];
    value::one_of(text, "mode", &words)
}

/// A text or a list of texts, joined.
fn prose(field: &Field<'_>) -> Option<Box<str>> {
    Some(words(field)?.join("; ").into())
}

/// A text or a list of texts.
fn words(field: &Field<'_>) -> Option<Vec<Box<str>>> {
    let fields = match &field.node.kind {
        Kind::List(nodes) if nodes.is_empty() => {
            field.error(Complaint::new("the list is empty"));
            return None;
        }
        Kind::List(_) => field.list(),
        _ => return Some(vec![field.text()?.into()]),
    };
    fields.iter().map(|field| field.text().map(Box::from)).collect()
}

/// A table of conditions that hold together.
fn condition(field: &Field<'_>, leaves: &mut Leaves) -> Option<Condition> {
    let mut table = field.table()?;
    let mut parts = Parts { list: Vec::new(), good: true, leaves };
    for (name, text) in TEXTS {
        for test in table.take(name).map(|field| parts.tests(&field)).unwrap_or_default() {
            parts.leaf(test.0, test.1, Condition::Text(text, test.2));
        }
    }
    parts.headers(&mut table);
    parts.frame(&mut table);
    parts.joints(&mut table);
    table.finish();
    if !parts.good {
        return None;
    }
    match parts.list.len() {
        0 => {
            // else the unknown keys in it are complained about
            if matches!(&field.node.kind, Kind::Table(entries) if entries.is_empty()) {
                field.error(Complaint::new("no conditions: it would match every message"));
            }
            None
        }
        1 => parts.list.pop(),
        _ => Some(Condition::All(parts.list)),
    }
}

/// What a table of conditions has so far. Leaves are noted in the order of the conditions.
struct Parts<'l> {
    list: Vec<Condition>,
    /// Nothing was complained about.
    good: bool,
    leaves: &'l mut Leaves,
}

impl Parts<'_> {
    fn leaf(&mut self, place: Place, path: String, condition: Condition) {
        self.leaves.push((place, path));
        self.list.push(condition);
    }

    fn leaf_of(&mut self, field: &Field<'_>, condition: Condition) {
        self.leaf(field.node.place, field.path.clone(), condition);
    }

    /// What is there, or a mark that something is wrong.
    fn or_bad<T>(&mut self, value: Option<T>) -> Option<T> {
        self.good &= value.is_some();
        value
    }

    /// The tests of one text: a text or a list to compare with, or a table of ways.
    fn tests(&mut self, field: &Field<'_>) -> Vec<(Place, String, Test)> {
        let mut tests = Vec::new();
        let mut add = |parts: &mut Self, field: &Field<'_>, test: Way| {
            let Some(test) = parts.or_bad(words(field)).map(test) else { return };
            match test.check() {
                Ok(()) => tests.push((field.node.place, field.path.clone(), test)),
                Err(problem) => {
                    parts.good = false;
                    field.error(Complaint::new(problem));
                }
            }
        };
        if !matches!(field.node.kind, Kind::Table(_)) {
            add(self, field, Test::Is);
            return tests;
        }
        let Some(mut table) = field.table() else { return tests };
        let mut some = false;
        for (name, test) in TESTS {
            if let Some(field) = table.take(name) {
                some = true;
                add(self, &field, test);
            }
        }
        if !some {
            self.good = false;
            field.error(Complaint::new("nothing to compare with").hint("e.g. { contains: scan }"));
        }
        table.finish();
        tests
    }

    fn headers(&mut self, table: &mut Table<'_>) {
        if let Some(field) = table.take("header") {
            let Kind::Table(entries) = &field.node.kind else {
                self.good = false;
                let text = format!("{} stands where names are needed", field.node.kind.name());
                field.error(Complaint::new(text).hint("e.g. header: { Subject: test }"));
                return;
            };
            for (key, node) in entries {
                let path = format!("{}.{}", field.path, key.name);
                let entry = Field { source: field.source, path, node, key_place: key.place };
                for test in self.tests(&entry) {
                    let name = key.name.as_str().into();
                    self.leaf(test.0, test.1, Condition::Header(name, test.2));
                }
            }
        }
        for (key, condition) in [
            ("present", Condition::Present as fn(Box<str>) -> Condition),
            ("padded", Condition::Padded),
            ("absent", |name| Condition::Not(Box::new(Condition::Present(name)))),
        ] {
            let Some(field) = table.take(key) else { continue };
            for name in self.or_bad(words(&field)).unwrap_or_default() {
                self.leaf_of(&field, condition(name));
            }
        }
        let Some(field) = table.take("header_order") else { return };
        let Some(mut orders) = self.or_bad(field.table()) else { return };
        for (name, order) in ORDERS {
            let Some(field) = orders.take(name) else { continue };
            if let Some(names) = self.or_bad(words(&field)) {
                self.leaf_of(&field, Condition::HeaderOrder(order, names));
            }
        }
        orders.finish();
    }

    fn frame(&mut self, table: &mut Table<'_>) {
        for (key, condition) in [
            ("via_params", Condition::ViaParams as fn(Vec<Box<str>>) -> Condition),
            ("transport", Condition::Transport),
        ] {
            let Some(field) = table.take(key) else { continue };
            if let Some(list) = self.or_bad(words(&field)) {
                self.leaf_of(&field, condition(list));
            }
        }
        if let Some(field) = table.take("max_forwards") {
            let list = self.or_bad(elements(&field, |text| {
                let hops = text.parse::<u8>();
                hops.map_err(|_| Complaint::new(format!("\"{text}\" is no number from 0 to 255")))
            }));
            if let Some(list) = list {
                self.leaf_of(&field, Condition::MaxForwards(list));
            }
        }
        if let Some(field) = table.take("method") {
            let names = self.or_bad(elements(&field, method));
            if let Some(set) = names.and_then(|names| MethodSet::of(&names)) {
                self.leaf_of(&field, Condition::Method(set));
            }
        }
        for (name, peculiarity) in PECULIARITIES {
            let Some(field) = table.take(name) else { continue };
            match self.or_bad(field.parse(value::truth)) {
                Some(true) => self.leaf_of(&field, Condition::Peculiar(peculiarity)),
                Some(false) => {
                    let inner = Box::new(Condition::Peculiar(peculiarity));
                    self.leaf_of(&field, Condition::Not(inner));
                }
                None => {}
            }
        }
    }

    fn joints(&mut self, table: &mut Table<'_>) {
        for (key, join) in
            [("all", Condition::All as fn(Vec<Condition>) -> Condition), ("any", Condition::Any)]
        {
            let list = table.take(key).map(|field| self.list_of(&field));
            self.list.extend(list.flatten().map(join));
        }
        if let Some(field) = table.take("not") {
            let inner = condition(&field, self.leaves);
            let inner = self.or_bad(inner);
            self.list.extend(inner.map(|inner| Condition::Not(Box::new(inner))));
        }
        match (table.take("at_least"), table.take("of")) {
            (Some(least), Some(of)) => {
                let count = self.or_bad(least.parse(|text| {
                    text.parse::<u8>()
                        .map_err(|_| Complaint::new(format!("\"{text}\" is no number")))
                }));
                let list = self.list_of(&of);
                let (Some(count), Some(list)) = (count, list) else { return };
                if count == 0 || usize::from(count) > list.len() {
                    self.good = false;
                    let text = format!("at least {count} of {} can't be", list.len());
                    least.error(Complaint::new(text).hint("a number from 1 to the list's length"));
                }
                self.list.push(Condition::AtLeast(count, list));
            }
            (Some(field), None) => {
                self.good = false;
                let hint = "e.g. at_least: 2 and of: [{ max_forwards: 20 }, { from_tag: x }, ...]";
                field.error(Complaint::new("of how many? The key \"of\" is missing").hint(hint));
            }
            (None, Some(field)) => {
                self.good = false;
                let complaint = Complaint::new("how many of them? The key \"at_least\" is missing");
                field.error(complaint.hint("at_least: 2, or write any or all in place of of"));
            }
            (None, None) => {}
        }
    }

    /// A list of conditions.
    fn list_of(&mut self, field: &Field<'_>) -> Option<Vec<Condition>> {
        let fields = field.list();
        if fields.is_empty() {
            self.good = false;
            if matches!(field.node.kind, Kind::List(_)) {
                field.error(Complaint::new("the list is empty"));
            }
            return None;
        }
        let mut list = Vec::new();
        for field in &fields {
            let inner = condition(field, self.leaves);
            list.extend(self.or_bad(inner));
        }
        (list.len() == fields.len()).then_some(list)
    }
}

/// A value or a list of values, each parsed; `None` when one is wrong.
fn elements<T>(field: &Field<'_>, parse: fn(&str) -> Result<T, Complaint>) -> Option<Vec<T>> {
    match &field.node.kind {
        Kind::List(nodes) if nodes.is_empty() => {
            field.error(Complaint::new("the list is empty"));
            None
        }
        Kind::List(_) => field.list().iter().map(|field| field.parse(parse)).collect(),
        _ => Some(vec![field.parse(parse)?]),
    }
}

fn method(text: &str) -> Result<&'static str, Complaint> {
    if let Some(known) = METHODS.iter().take(15).find(|known| **known == text) {
        return Ok(known);
    }
    let words = METHODS.map(|method| (method, method));
    let upper = text.to_uppercase();
    match value::one_of(&upper, "method", words.get(..14).unwrap_or_default()) {
        Ok(method) => {
            let complaint = Complaint::new(format!("\"{text}\" is no method"));
            Err(complaint.hint(format!("methods have capital letters: {method}")))
        }
        Err(complaint) => Err(complaint),
    }
}

#[cfg(test)]
mod tests;
