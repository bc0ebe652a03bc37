//! `trust`: whom nothing bans, and what a success is worth (`docs/policy/trust.md`).

use crate::form::{self, TIME, Truth};
use crate::keys::{Element, Form, Keys};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use crate::tree::Kind;
use crate::value;
use policy::{Network, TrustRules};
use std::fmt::Display;

/// What a network without a name is called.
const UNNAMED: &str = "trusted";

/// Adds a network under a name, once.
pub(crate) fn trust(rules: &mut TrustRules, network: Network, name: &str) {
    let named = (network, name.into());
    if !rules.networks.contains(&named) {
        rules.networks.push(named);
    }
}

/// Adds a host under a name, once.
pub(crate) fn trust_host(rules: &mut TrustRules, host: &str, name: &str) {
    let named = (host.into(), name.into());
    if !rules.hosts.contains(&named) {
        rules.hosts.push(named);
    }
}

impl Element for TrustRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let TrustRules { window, networks, hosts, own_addresses } = self;
        keys.key("window", "How long after a success an account is at home", window, TIME);
        keys.key("networks", "Networks that nothing bans", networks, NETWORKS);
        let about =
            "Names whose addresses nothing bans: hosts, or SRV records like _sip._udp.a.example";
        keys.key("hosts", about, hosts, HOSTS);
        let about = "Whether the PBX's and the listeners' addresses are trusted";
        keys.key("own_addresses", about, own_addresses, Truth);
    }
}

/// A list of what is trusted: each element alone, or in a table with its name.
#[derive(Clone, Copy)]
struct Named<T> {
    key: &'static str,
    hint: &'static str,
    read: fn(&Field<'_>) -> Option<T>,
}

const NETWORKS: Named<Network> =
    Named { key: "network", hint: "e.g. network: 203.0.113.0/24", read: network };
const HOSTS: Named<Box<str>> =
    Named { key: "host", hint: "e.g. host: sip.example.com", read: host };

impl<T: Display> Form<Vec<(T, Box<str>)>> for Named<T> {
    fn read(&self, field: &Field<'_>, value: &mut Vec<(T, Box<str>)>) {
        *value = field.list().iter().filter_map(|element| self.element(element)).collect();
    }

    fn print(&self, value: &Vec<(T, Box<str>)>) -> Option<Out> {
        let element = |(what, name): &(T, Box<str>)| {
            Out::table([(self.key, out::text(what)), ("name", out::text(name))])
        };
        Some(Out::List(value.iter().map(element).collect()))
    }

    fn schema(&self, _: &Vec<(T, Box<str>)>) -> Out {
        let table = Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("required", out::texts(&[self.key])),
            ("properties", Out::table([(self.key, form::scalar()), ("name", form::scalar())])),
        ]);
        let items = form::any_of(vec![form::scalar(), table]);
        Out::table([("type", out::text("array")), ("items", items)])
    }
}

impl<T> Named<T> {
    fn element(&self, field: &Field<'_>) -> Option<(T, Box<str>)> {
        if !matches!(field.node.kind, Kind::Table(_)) {
            return Some(((self.read)(field)?, UNNAMED.into()));
        }
        let mut table = field.table()?;
        let what = table.need(self.key, self.hint).and_then(|field| (self.read)(&field));
        let name = table.value("name", name, UNNAMED.into());
        table.finish();
        Some((what?, name))
    }
}

/// Trust is a hole in the fence; one as wide as a continent was hardly meant.
fn network(field: &Field<'_>) -> Option<Network> {
    let network = field.parse(value::network)?;
    let least = if network.address().is_ipv4() { 8 } else { 16 };
    if network.prefix() < least {
        let complaint = Complaint::new(format!("nothing bans anybody in {network}"));
        field.warn(complaint.hint("name the networks that you know"));
    }
    Some(network)
}

fn host(field: &Field<'_>) -> Option<Box<str>> {
    let host = field.parse(value::host_and_port)?;
    if value::network_of(&host).is_some() {
        field.error(Complaint::new(format!("\"{host}\" is no name")).hint("it stands in networks"));
        return None;
    }
    Some(host.into())
}

fn name(text: &str) -> Result<Box<str>, Complaint> {
    if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        let complaint = Complaint::new(format!("\"{text}\" is no name"));
        return Err(complaint.hint("at most 64 characters, e.g. office"));
    }
    Ok(text.into())
}
