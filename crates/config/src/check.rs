//! What no single key can tell: how the parts fit together.

use crate::model::Config;
use crate::problem::{Complaint, Place};
use crate::table::Field;
use crate::tree::{Kind, Node};
use crate::value::print_duration;
use policy::TimerBase;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::Transport;

/// Compares listeners, inside ports and PBXs with each other.
pub(crate) fn check(root: &Field<'_>, config: &Config, pbxs: &[(String, Place)]) {
    let complete = element_places(root, &["listen"]).len() == config.listen.len();
    if !complete {
        // An element that could not be read would shift the numbers of the others.
        return;
    }
    inside_address(root, config);
    listeners(root, config);
    pbx(root, config, pbxs);
    sources(root, config);
    admin(root, config);
    names(root, config);
}

/// Each name costs questions as long as the edge runs.
fn names(root: &Field<'_>, config: &Config) {
    let hosts = config.policy.admission.trust.hosts.iter().map(|(host, _)| host);
    let (names, most) = (hosts.collect::<BTreeSet<_>>().len(), config.resolver.names);
    if names > most {
        let complaint = Complaint::new(format!("{names} names are to be resolved, not {most}"));
        let place = find(root, &["resolver"]).or_else(|| find(root, &["trunks"]));
        let hint = "raise resolver.names, or name fewer hosts in trunks and policy.trust";
        error(root, place, "resolver.names", complaint.hint(hint));
    }
}

/// RFC 3261 §16.6 step 11: Timer C is more than 3 minutes, here measured in T1 so that a day can
/// be run in minutes.
pub(crate) fn timers(field: &Field<'_>, base: &TimerBase, timer_c: Duration) {
    if base.t2 < base.t1 {
        let (t1, t2) = (print_duration(base.t1), print_duration(base.t2));
        field.error(Complaint::new(format!("t2 ({t2}) is shorter than t1 ({t1})")));
    }
    let least = base.t1.saturating_mul(360);
    if timer_c <= least {
        let (is, least) = (print_duration(timer_c), print_duration(least));
        let complaint =
            Complaint::new(format!("timer_c ({is}) is not more than 360 times t1 ({least})"));
        field.warn(
            complaint.hint("RFC 3261 wants more than 3 minutes; long ringing will be cut off"),
        );
    }
}

/// A log level, or a filter of `target=level` parts.
pub(crate) fn log_level(text: &str) -> Result<String, Complaint> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim().to_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            let known = LEVELS.join(", ");
            let complaint = Complaint::new(format!("\"{part}\" is no log level"));
            return Err(
                complaint.hint(format!("one of {known}; or a filter like info,transport=debug"))
            );
        }
    }
    Ok(text.to_owned())
}

fn inside_address(root: &Field<'_>, config: &Config) {
    let inside = config.policy.inside;
    let place = || find(root, &["inside", "address"]).or_else(|| find(root, &["inside"]));
    let ip = inside.ip();
    if ip.is_unspecified() || ip.is_multicast() {
        let complaint = Complaint::new(format!("{ip} is no address that the PBX can answer to"));
        error(root, place(), "inside.address", complaint.hint("e.g. \"127.0.0.1:5080\""));
    } else if !ip.is_loopback() && !is_private(ip) {
        let complaint = Complaint::new(format!("{ip} is neither loopback nor private"));
        let hint = "whoever can send to the inside port and forge the PBX's address is the PBX";
        let place = place().unwrap_or_default();
        root.source.warn(place, "inside.address", complaint.hint(hint));
    }
    if u32::from(inside.port()) + u32::from(config.shards) - 1 > 65_535 {
        let (port, shards) = (inside.port(), config.shards);
        let complaint = Complaint::new(format!("port {port} leaves no room for {shards} shards"));
        let hint = "each shard takes the next higher inside port; choose a lower one";
        error(root, place(), "inside.address", complaint.hint(hint));
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn listeners(root: &Field<'_>, config: &Config) {
    let places = element_places(root, &["listen"]);
    for (index, listen) in config.listen.iter().enumerate() {
        let one = &listen.listener;
        let at = places.get(index).copied().unwrap_or_default();
        let path = format!("listen[{index}]");
        for (other_index, other) in config.listen[..index].iter().enumerate() {
            let other = &other.listener;
            if is_datagram(one.transport) != is_datagram(other.transport)
                || !overlap(one.address, other.address)
            {
                continue;
            }
            let complaint = Complaint::new(format!(
                "{} {} is already taken by listen[{other_index}]",
                one.transport.as_param(),
                one.address
            ));
            if one.address == other.address {
                root.source.error(at, &path, complaint.hint("remove one, or change its port"));
            } else {
                let hint = "one is a wildcard; it gets only what the other does not";
                root.source.warn(at, &path, complaint.hint(hint));
            }
        }
        if is_datagram(one.transport)
            && let Some(shard) = taken_inside(config, one.address)
        {
            let complaint = format!("{} is the inside address of shard {shard}", one.address);
            let hint = "inside ports must be out of reach from outside; choose other ports";
            root.source.error(at, &path, Complaint::new(complaint).hint(hint));
        }
    }
}

fn pbx(root: &Field<'_>, config: &Config, places: &[(String, Place)]) {
    for (index, (pbx, (path, at))) in config.policy.pbx.iter().zip(places).enumerate() {
        let complain = |text: String, hint: &str| {
            root.source.error(*at, path, Complaint::new(text).hint(hint));
        };
        let address = pbx.address;
        if address.ip().is_unspecified() || address.ip().is_multicast() {
            complain(format!("{address} is no address to send to"), "e.g. \"127.0.0.1:5070\"");
            continue;
        }
        if address.is_ipv4() != config.policy.inside.is_ipv4() {
            let inside = config.policy.inside;
            let text = format!("{address} and inside.address {inside} are not of one family");
            complain(text, "both IPv4 or both IPv6");
        }
        if let Some(shard) = taken_inside(config, address) {
            let text = format!("{address} is our own inside address of shard {shard}");
            complain(text, "the edge would send to itself; choose other ports");
        }
        for (listen_index, listen) in config.listen.iter().enumerate() {
            if overlap(listen.listener.address, address) {
                let text = format!("{address} is ours by listen[{listen_index}]");
                complain(text, "bind the PBX to another port, e.g. 127.0.0.1:5070");
            }
        }
        let same =
            |other: &policy::Pbx| (other.address, other.transport) == (address, pbx.transport);
        if config.policy.pbx[..index].iter().any(same) {
            complain(format!("{address} stands twice"), "remove one");
        }
    }
}

/// Where trunks' requests to the PBX leave from: it tells them from all others by that.
fn sources(root: &Field<'_>, config: &Config) {
    let places = element_places(root, &["trunks"]);
    if places.len() != config.trunks.len() {
        return;
    }
    let inside = config.policy.inside;
    for (index, trunk) in config.trunks.iter().enumerate() {
        let Some(source) = trunk.source else { continue };
        let complain = |text: String, hint: String| {
            let place = element(root, "trunks", index, "source").or(places.get(index).copied());
            let path = format!("trunks[{index}].source");
            error(root, place, &path, Complaint::new(text).hint(hint));
        };
        let example = || "any other loopback address will do, e.g. 127.0.0.9".to_owned();
        let elsewhere =
            || format!("inside.address is {}: the PBX is reached from such", inside.ip());
        if source.is_unspecified() || source.is_multicast() {
            complain(format!("{source} is no address to send from"), example());
            continue;
        }
        if source.is_ipv4() != inside.is_ipv4() {
            complain(format!("{source} and inside.address are not of one family"), elsewhere());
        } else if source == inside.ip() {
            let text = format!("{source} is inside.address, from where all others come");
            complain(text, example());
        } else if source.is_loopback() != inside.ip().is_loopback() {
            let is = if source.is_loopback() { "a" } else { "no" };
            complain(format!("{source} is {is} loopback address"), elsewhere());
        }
        let same = |other: &crate::Trunk| other.source == Some(source);
        if let Some(other) = config.trunks[..index].iter().position(same) {
            let text = format!("{source} is the source of trunks[{other}] already");
            complain(text, "each trunk has one of its own, or none".to_owned());
        }
        let ports = (0..config.shards).map(|shard| config.policy.inside_of(wire::ShardId(shard)));
        let taken = |port| {
            let ours = SocketAddr::new(source, port);
            let mut listen = config.listen.iter();
            listen.position(|it| overlap(it.listener.address, ours)).map(|at| (ours, at))
        };
        if let Some((ours, at)) = ports.map(|inside| inside.port()).find_map(taken) {
            let text = format!("{ours} is already taken by listen[{at}]");
            complain(text, "inside ports must be out of reach from outside".to_owned());
        }
    }
}

fn admin(root: &Field<'_>, config: &Config) {
    let Some(address) = config.admin.as_ref().and_then(|admin| admin.listen) else { return };
    for (index, listen) in config.listen.iter().enumerate() {
        let listener = &listen.listener;
        if !is_datagram(listener.transport) && overlap(listener.address, address) {
            let text = format!("{address} is already taken by listen[{index}]");
            let place = find(root, &["admin", "listen"]);
            let complaint = Complaint::new(text).hint("choose another port");
            error(root, place, "admin.listen", complaint);
        }
    }
}

fn is_datagram(transport: Transport) -> bool {
    transport == Transport::Udp
}

/// Whether two sockets of one protocol would meet: the same port, and the same address or a
/// wildcard of the family.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_family && same
}

/// The shard whose inside address `address` is.
fn taken_inside(config: &Config, address: SocketAddr) -> Option<u8> {
    (0..config.shards)
        .find(|shard| overlap(config.policy.inside_of(wire::ShardId(*shard)), address))
}

fn error(root: &Field<'_>, place: Option<Place>, path: &str, complaint: Complaint) {
    root.source.error(place.unwrap_or_default(), path, complaint);
}

/// The place of the value under a path of keys.
fn find(root: &Field<'_>, path: &[&str]) -> Option<Place> {
    descend(root.node, path).map(|node| node.place)
}

/// The places of the elements of the list under a path of keys.
fn element_places(root: &Field<'_>, path: &[&str]) -> Vec<Place> {
    match descend(root.node, path).map(|node| &node.kind) {
        Some(Kind::List(nodes)) => nodes.iter().map(|node| node.place).collect(),
        _ => Vec::new(),
    }
}

/// The place of a key's value in an element of a list.
fn element(root: &Field<'_>, list: &str, index: usize, key: &str) -> Option<Place> {
    match &descend(root.node, &[list])?.kind {
        Kind::List(nodes) => descend(nodes.get(index)?, &[key]).map(|node| node.place),
        _ => None,
    }
}

fn descend<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter().try_fold(node, |node, name| match &node.kind {
        Kind::Table(entries) => {
            entries.iter().find(|(key, _)| key.name == *name).map(|(_, node)| node)
        }
        _ => None,
    })
}
