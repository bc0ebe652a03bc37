//! `trust`: whom nothing bans, and what a success is worth (`docs/policy/trust.md`).

use crate::form::{self, TIME, Truth};
use crate::keys::{Element, Form, Keys};
use crate::out::{self, Out};
use crate::problem::Complaint;
use crate::table::Field;
use crate::tree::Kind;
use crate::value;
use policy::{Network, TrustRules};

/// What a network without a name is called.
const UNNAMED: &str = "trusted";

/// Adds a network under a name, once.
pub(crate) fn trust(rules: &mut TrustRules, network: Network, name: &str) {
    let named = (network, name.into());
    if !rules.networks.contains(&named) {
        rules.networks.push(named);
    }
}

impl Element for TrustRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let TrustRules { window, networks, own_addresses } = self;
        keys.key("window", "How long after a success an account is at home", window, TIME);
        keys.key("networks", "Networks that nothing bans", networks, Networks);
        let about = "Whether the PBX's and the listeners' addresses are trusted";
        keys.key("own_addresses", about, own_addresses, Truth);
    }
}

struct Networks;

impl Form<Vec<(Network, Box<str>)>> for Networks {
    fn read(&self, field: &Field<'_>, value: &mut Vec<(Network, Box<str>)>) {
        *value = field.list().iter().filter_map(element).collect();
    }

    fn print(&self, value: &Vec<(Network, Box<str>)>) -> Option<Out> {
        let element = |(network, name): &(Network, Box<str>)| {
            Out::table([("network", out::text(network)), ("name", out::text(name))])
        };
        Some(Out::List(value.iter().map(element).collect()))
    }

    fn schema(&self, _: &Vec<(Network, Box<str>)>) -> Out {
        let table = Out::table([
            ("type", out::text("object")),
            ("additionalProperties", Out::Truth(false)),
            ("required", out::texts(&["network"])),
            ("properties", Out::table([("network", form::scalar()), ("name", form::scalar())])),
        ]);
        let items = form::any_of(vec![form::scalar(), table]);
        Out::table([("type", out::text("array")), ("items", items)])
    }
}

/// A network, or one with a name. Trust is a hole in the fence; one as wide as a continent was
/// hardly meant.
fn element(field: &Field<'_>) -> Option<(Network, Box<str>)> {
    let read = network(field)?;
    let least = if read.0.address().is_ipv4() { 8 } else { 16 };
    if read.0.prefix() < least {
        let complaint = Complaint::new(format!("nothing bans anybody in {}", read.0));
        field.warn(complaint.hint("name the networks that you know"));
    }
    Some(read)
}

fn network(field: &Field<'_>) -> Option<(Network, Box<str>)> {
    if !matches!(field.node.kind, Kind::Table(_)) {
        return Some((field.parse(value::network)?, UNNAMED.into()));
    }
    let mut table = field.table()?;
    let network = table.need("network", "e.g. network: 203.0.113.0/24");
    let network = network.and_then(|field| field.parse(value::network));
    let name = table.value("name", name, UNNAMED.into());
    table.finish();
    Some((network?, name))
}

fn name(text: &str) -> Result<Box<str>, Complaint> {
    if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        let complaint = Complaint::new(format!("\"{text}\" is no name"));
        return Err(complaint.hint("at most 64 characters, e.g. office"));
    }
    Ok(text.into())
}
