//! `inside`: the PBXs, their groups, what goes to which, and how they are watched
//! (`docs/pbx.md`).

use crate::admission;
use crate::form::{Count, TIME, Time};
use crate::keys::{Element, Form as _, Keys, Section};
use crate::model::{Config, Listen, Trunk};
use crate::out::{Out, path, text, texts};
use crate::problem::{Complaint, Place};
use crate::table::{Field, Table};
use crate::tree::Kind;
use crate::{tls, value};
use policy::{Checks, NumberSet, Pbx, PbxGroup, Reach, Registration};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use wire::Transport;

/// Name of the group that `inside.pbx` is.
const DEFAULT: &str = "default";
/// More groups would each be asked for each request.
const GROUPS_MAX: usize = 64;

/// What stands under `inside`.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) address: SocketAddr,
    pub(crate) pbx: Vec<Pbx>,
    pub(crate) groups: Vec<PbxGroup>,
    pub(crate) checks: Checks,
    /// Of PBXs by name.
    pub(crate) authorities: Vec<(Box<str>, PathBuf)>,
    /// Where each PBX stands.
    pub(crate) places: Vec<(String, Place)>,
}

/// What a rule may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'c> {
    pub(crate) listen: &'c [Listen],
    pub(crate) trunks: &'c [Trunk],
    /// Authorities' files are not looked at.
    pub(crate) unread: bool,
}

pub(crate) fn read(field: &Field<'_>, known: Known<'_>) -> Option<Inside> {
    let mut table = field.table()?;
    let address = SocketAddr::from(([127, 0, 0, 1], 5080));
    let mut inside = Inside {
        address: table.value("address", value::address, address),
        pbx: Vec::new(),
        groups: Vec::new(),
        checks: Checks::default(),
        authorities: Vec::new(),
        places: Vec::new(),
    };
    let registration = table.value("registration", value::registration, Registration::default());
    let pbx = table.take("pbx");
    let groups = table.take("groups");
    if let Some(check) = table.take("check") {
        Section.read(&check, &mut inside.checks);
    }
    table.finish();
    if let Some(list) = &pbx {
        inside.groups.push(PbxGroup { name: DEFAULT.into(), reach: None });
        inside.members(list, registration, known);
    }
    for group in groups.iter().flat_map(Field::list) {
        inside.group(&group, registration, known);
    }
    if pbx.is_none() && groups.is_none() {
        let complaint = Complaint::new("the key \"pbx\" is missing");
        let hint = "say where the PBX listens, e.g. pbx: [\"127.0.0.1:5070\"]";
        field.error(complaint.hint(hint));
    }
    if inside.pbx.len() > Pbx::MAX {
        let text = format!("{} PBXs are more than {}", inside.pbx.len(), Pbx::MAX);
        field.error(Complaint::new(text));
    }
    Some(inside)
}

impl Inside {
    fn group(&mut self, field: &Field<'_>, registration: Registration, known: Known<'_>) {
        let Some(mut table) = field.table() else { return };
        let name = table.need("name", "a short word for operators, e.g. name: offices");
        let name = name.and_then(|field| field.parse(name_of).map(|name| (field, name)));
        let list = table.need("pbx", "its PBXs, e.g. pbx: [\"127.0.0.1:5070\"]");
        let reach = table.take("for").and_then(|field| reach(&field, known));
        table.finish();
        let (Some((at, name)), Some(list)) = (name, list) else { return };
        if self.groups.iter().any(|group| group.name == name) {
            let complaint = Complaint::new(format!("two groups are called \"{name}\""));
            at.error(complaint.hint("\"default\" is the name of inside.pbx"));
        }
        if reach.is_none()
            && let Some(other) = self.groups.iter().find(|group| group.reach.is_none())
        {
            let text = format!("what goes to no other group goes to \"{}\" already", other.name);
            let hint = "say what goes here, e.g. for: { domains: [a.example.com] }";
            field.error(Complaint::new(text).hint(hint));
        }
        if self.groups.len() >= GROUPS_MAX {
            field.error(Complaint::new(format!("more than {GROUPS_MAX} groups")));
        }
        self.groups.push(PbxGroup { name, reach });
        self.members(&list, registration, known);
    }

    /// The PBXs of the last group.
    fn members(&mut self, list: &Field<'_>, registration: Registration, known: Known<'_>) {
        let group = self.groups.len() - 1;
        let elements = list.list();
        if elements.is_empty() && matches!(list.node.kind, Kind::List(_)) {
            list.error(Complaint::new("at least one PBX is needed"));
        }
        let first = self.pbx.len();
        for element in &elements {
            let Some((pbx, authorities)) = member(element, registration, known.unread) else {
                continue;
            };
            let named = pbx.name != Pbx::new(pbx.address).name;
            if named && self.pbx.iter().any(|other| other.name == pbx.name) {
                let complaint = Complaint::new(format!("two PBXs are called \"{}\"", pbx.name));
                let hint = "each has a name of its own; without one it is called by its address";
                element.error(complaint.hint(hint));
            }
            if let Some(other) = self.pbx.get(first)
                && other.registration != pbx.registration
            {
                let complaint = Complaint::new("one group cannot keep registrations in two ways");
                element.error(complaint.hint("a phone's registration moves from one to the other"));
            }
            self.authorities.extend(authorities.map(|file| (pbx.name.clone(), file)));
            self.places.push((element.path.clone(), element.node.place));
            self.pbx.push(Pbx { group, ..pbx });
        }
    }
}

/// An address, or a table with it and whatever differs from what holds for all.
fn member(
    field: &Field<'_>,
    registration: Registration,
    unread: bool,
) -> Option<(Pbx, Option<PathBuf>)> {
    if !matches!(field.node.kind, Kind::Table(_)) {
        let address = field.parse(value::address)?;
        return Some((Pbx { registration, ..Pbx::new(address) }, None));
    }
    let mut table = field.table()?;
    let address = table.need("address", "e.g. address: \"127.0.0.1:5070\"");
    let address = address.and_then(|field| field.parse(value::address));
    let name = table.optional("name", name_of);
    let transport = table.value("transport", value::transport, Transport::Udp);
    let tls = [table.take("host"), table.take("authorities")];
    let registration = table.value("registration", value::registration, registration);
    let number = |table: &mut Table<'_>, key, bounds, default| {
        u16::try_from(table.count(key, bounds, default)).unwrap_or(u16::MAX)
    };
    let priority = number(&mut table, "priority", 0..=65_535, 0);
    let weight = number(&mut table, "weight", 1..=1_000, 1);
    table.finish();
    if transport != Transport::Tls {
        for field in tls.iter().flatten() {
            let complaint = Complaint::new("only a PBX with transport: tls has this");
            field.error(complaint.hint("set transport: tls, or remove the key"));
        }
    }
    let default = Pbx::new(address?);
    let [host, authorities] = tls;
    let host = host.and_then(|field| field.parse(value::host));
    let authorities = authorities.filter(|_| !unread && transport == Transport::Tls);
    let pbx = Pbx {
        name: name.unwrap_or_else(|| default.name.clone()),
        transport,
        host: host
            .map_or_else(|| default.host.clone(), |host| host.trim_matches(['[', ']']).into()),
        registration,
        priority,
        weight,
        ..default
    };
    Some((pbx, authorities.and_then(|field| tls::authorities(&field))))
}

fn reach(field: &Field<'_>, known: Known<'_>) -> Option<Reach> {
    let mut table = field.table()?;
    let domains = table.values("domains", value::host);
    let dids = table.values("dids", admission::number);
    let listeners = table.take("listeners");
    let trunks = table.take("trunks");
    table.finish();
    let mut reach = Reach {
        domains: domains.into_iter().map(String::into_boxed_str).collect(),
        dids: NumberSet { patterns: dids },
        ..Reach::default()
    };
    for element in listeners.iter().flat_map(Field::list) {
        let Some(address) = element.parse(value::address) else { continue };
        let here = known.listen.iter().filter(|listen| listen.listener.address == address);
        let before = reach.listeners.len();
        reach.listeners.extend(here.map(|it| (it.listener.transport, it.listener.address)));
        if reach.listeners.len() == before {
            let all = known.listen.iter().map(|it| it.listener.address.to_string());
            let complaint = Complaint::new(format!("no listener has the address {address}"));
            let all = all.collect::<Vec<_>>().join(", ");
            element.error(complaint.hint(format!("those of listen are {all}")));
        }
    }
    for element in trunks.iter().flat_map(Field::list) {
        let Some(name) = element.parse(value::trunk_name) else { continue };
        if !known.trunks.iter().any(|trunk| trunk.name == name) {
            let all = known.trunks.iter().map(|trunk| trunk.name.as_str()).collect::<Vec<_>>();
            let complaint = Complaint::new(format!("no trunk is called \"{name}\""));
            let hint = match all.is_empty() {
                true => "trunks: names none".to_owned(),
                false => format!("trunks: names {}", all.join(", ")),
            };
            element.error(complaint.hint(hint));
        }
        reach.trunks.push(name.into());
    }
    if reach == Reach::default() {
        let complaint = Complaint::new("this names nothing, so nothing goes to the group");
        field.error(complaint.hint("domains, dids, listeners or trunks; or leave \"for\" out"));
    }
    Some(reach)
}

fn name_of(text: &str) -> Result<Box<str>, Complaint> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let complaint = Complaint::new(format!("\"{text}\" is no name"));
        return Err(complaint.hint("one word of at most 64 letters, e.g. office-a"));
    }
    Ok(text.into())
}

impl Element for Checks {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Checks { every, unanswered, answered, failing, least, rest } = self;
        let often = Time(Duration::from_millis(100), Duration::from_secs(3_600));
        keys.key("every", "From one OPTIONS to the next", every, often);
        let about = "OPTIONS in a row without an answer by which a PBX is down";
        keys.key("unanswered", about, unanswered, Count(1, 100));
        let about = "OPTIONS in a row with an answer by which it is up again";
        keys.key("answered", about, answered, Count(1, 100));
        let about = "Percent of requests that fail by which it is down; 0: whatever they do";
        keys.key("failing", about, failing, Count(0, 100));
        keys.key("least", "Of so many requests at least", least, Count(1, 1_000_000));
        keys.key("rest", "How long one that failed requests is left alone", rest, TIME);
    }
}

/// As [`read`] takes it.
pub(crate) fn print(config: &Config) -> Out {
    let policy = &config.policy;
    let is_default = |group: &PbxGroup| group.reach.is_none() && &*group.name == DEFAULT;
    let members = |group: usize| {
        let all = policy.pbx.iter().filter(|pbx| pbx.group == group);
        Out::List(all.map(|pbx| print_pbx(config, pbx)).collect())
    };
    let mut out = Out::table([("address", text(policy.inside))]);
    let mut groups = Vec::new();
    for (index, group) in policy.groups.iter().enumerate() {
        if is_default(group) {
            out = out.with("pbx", members(index));
            continue;
        }
        let mut table = Out::table([("name", text(&group.name)), ("pbx", members(index))]);
        if let Some(reach) = &group.reach {
            table = table.with("for", print_reach(reach));
        }
        groups.push(table);
    }
    if !groups.is_empty() {
        out = out.with("groups", Out::List(groups));
    }
    out.with("check", Section.print(&policy.checks).unwrap_or_else(|| Out::table([])))
}

fn print_pbx(config: &Config, pbx: &Pbx) -> Out {
    let registration = match pbx.registration {
        Registration::ContactToken => "contact-token",
        Registration::Path => "path",
    };
    let mut table = Out::table([]);
    if pbx.name != Pbx::new(pbx.address).name {
        table = table.with("name", text(&pbx.name));
    }
    table =
        table.with("address", text(pbx.address)).with("transport", text(pbx.transport.as_param()));
    if pbx.transport == Transport::Tls {
        table = table.with("host", text(&pbx.host));
        let named = config.pbx_authorities.iter().find(|(name, _)| *name == pbx.name);
        if let Some((_, file)) = named {
            table = table.with("authorities", path(file));
        }
    }
    table
        .with("registration", text(registration))
        .with("priority", Out::Number(pbx.priority.into()))
        .with("weight", Out::Number(pbx.weight.into()))
}

fn print_reach(reach: &Reach) -> Out {
    let mut listeners: Vec<_> = reach.listeners.iter().map(|(_, address)| address).collect();
    listeners.dedup();
    Out::table([
        ("domains", texts(&reach.domains)),
        ("dids", texts(&reach.dids.patterns)),
        ("listeners", texts(&listeners)),
        ("trunks", texts(&reach.trunks)),
    ])
}
