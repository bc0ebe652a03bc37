//! `trunks` (`docs/trunks.md`).

use crate::form::{DURATION_MAX, DURATION_MIN, Word};
use crate::model::{Trunk, TrunkHeaders, TrunkTls};
use crate::out::{Out, path, text, texts, time};
use crate::problem::Complaint;
use crate::table::{Field, Table, nearest};
use crate::{admission, tls, value};
use policy::{HeaderRule, Identity, TrunkLimits};
use wire::Transport;

const IDENTITY: Word<Identity> = Word(
    "policy of identity",
    &[("pass", Identity::Pass), ("private", Identity::Private), ("remove", Identity::Remove)],
);

/// What rules may be about, besides names that begin with `X-`: all that says something about a
/// call, and nothing by which a message finds its way or its end.
const HEADERS: [&str; 31] = [
    "Accept-Contact",
    "Accept-Language",
    "Alert-Info",
    "Call-Info",
    "Cisco-Guid",
    "Date",
    "Diversion",
    "Geolocation",
    "Geolocation-Routing",
    "History-Info",
    "Identity",
    "In-Reply-To",
    "Organization",
    "P-Access-Network-Info",
    "P-Asserted-Identity",
    "P-Called-Party-ID",
    "P-Charging-Vector",
    "P-Early-Media",
    "P-Preferred-Identity",
    "Priority",
    "Privacy",
    "Reason",
    "Reject-Contact",
    "Remote-Party-ID",
    "Reply-To",
    "Request-Disposition",
    "Server",
    "Session-ID",
    "Subject",
    "User-Agent",
    "User-to-User",
];
/// Rules of one direction.
const RULES_MAX: usize = 16;
/// Longest value of a rule.
const VALUE_BYTES_MAX: usize = 256;

/// `unread`: files are not looked at.
pub(crate) fn list(field: &Field<'_>, unread: bool) -> Vec<Trunk> {
    field.list().iter().filter_map(|element| table(element, unread)).collect()
}

fn table(field: &Field<'_>, unread: bool) -> Option<Trunk> {
    let mut table = field.table()?;
    let name = table.need("name", "a short word for logs, e.g. name: carrier");
    let name = name.and_then(|field| field.parse(value::trunk_name));
    let hosts = table.values("hosts", value::host_or_network);
    let dids = table.values("dids", |text| admission::number(text).map(String::from));
    let limits = table.take("limits").and_then(|field| field.table()).map(limits);
    let headers = table.take("headers").and_then(|field| field.table()).map(headers);
    let identity = table.take("identity").and_then(|field| field.parse(|it| IDENTITY.parse(it)));
    let from_domain = table.optional("from_domain", value::sent_by);
    let source = table.optional("source", value::ip);
    let transports = transports(&mut table);
    let tls_field = table.take("tls");
    if let Some(field) = tls_field.as_ref().filter(|_| !transports.contains(&Transport::Tls)) {
        let complaint = Complaint::new("this trunk is not reached over TLS");
        field.error(complaint.hint("write transports: [tls] beside it, or remove the key"));
    }
    let tls = tls_field.and_then(|field| tls_table(&field, unread)).unwrap_or_default();
    table.finish();
    Some(Trunk {
        name: name?,
        hosts,
        dids,
        limits: limits.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        identity: identity.unwrap_or_default(),
        from_domain,
        source,
        transports,
        tls,
    })
}

/// How it may be reached; over UDP where nothing is said.
fn transports(table: &mut Table<'_>) -> Vec<Transport> {
    let Some(field) = table.take("transports") else { return vec![Transport::Udp] };
    let mut transports = Vec::new();
    for element in field.list() {
        if let Some(transport) = element.parse(value::transport)
            && !transports.contains(&transport)
        {
            transports.push(transport);
        }
    }
    if transports.is_empty() {
        field.error(Complaint::new("at least one transport is needed").hint("e.g. [tls]"));
    }
    transports
}

fn tls_table(field: &Field<'_>, unread: bool) -> Option<TrunkTls> {
    let mut table = field.table()?;
    let [authorities, certificate, key] =
        ["authorities", "certificate", "key"].map(|name| table.take(name));
    table.finish();
    if unread {
        return None;
    }
    let authorities = authorities.and_then(|field| tls::authorities(&field));
    let shows = match (&certificate, &key) {
        (Some(certificate), Some(key)) => tls::pair(certificate, key),
        (Some(only), None) | (None, Some(only)) => {
            only.error(Complaint::new("certificate and key go together"));
            None
        }
        (None, None) => None,
    };
    Some(TrunkTls { authorities, shows })
}

fn limits(mut table: Table<'_>) -> TrunkLimits {
    let default = TrunkLimits::default();
    let mut count = |name, most| {
        let count = table.take(name)?.bounded(value::count, 1..=most, |value| value.to_string());
        count.and_then(|count| u32::try_from(count).ok())
    };
    let calls = count("calls", 65_536);
    let calls_per_second = count("calls_per_second", 10_000);
    let bounds = DURATION_MIN..=DURATION_MAX;
    let longest_call = table.duration("longest_call", bounds, default.longest_call);
    table.finish();
    TrunkLimits { calls, calls_per_second, longest_call }
}

fn headers(mut table: Table<'_>) -> TrunkHeaders {
    let mut rules = |name| table.take(name).map(|field| rules(&field)).unwrap_or_default();
    let headers = TrunkHeaders { inwards: rules("inwards"), outwards: rules("outwards") };
    table.finish();
    headers
}

fn rules(field: &Field<'_>) -> Vec<HeaderRule> {
    let elements = field.list();
    if elements.len() > RULES_MAX {
        field.error(Complaint::new(format!("at most {RULES_MAX} rules stand here")));
    }
    elements.iter().filter_map(rule).collect()
}

/// `{ remove: NAME }`, `{ set: NAME, to: VALUE }`, `{ add: NAME, to: VALUE }`.
fn rule(field: &Field<'_>) -> Option<HeaderRule> {
    let mut table = field.table()?;
    let [remove, set, add] = ["remove", "set", "add"].map(|verb| table.take(verb));
    let to = table.take("to");
    table.finish();
    match (remove, set, add) {
        (Some(remove), None, None) => {
            if let Some(to) = to {
                to.error(
                    Complaint::new("what is removed has no value").hint("set: NAME, to: VALUE"),
                );
            }
            remove.parse(|text| name(text, true)).map(HeaderRule::Remove)
        }
        (None, Some(set), None) => {
            let (name, value) = named(field, &set, to)?;
            Some(HeaderRule::Set(name, value))
        }
        (None, None, Some(add)) => {
            let (name, value) = named(field, &add, to)?;
            Some(HeaderRule::Add(name, value))
        }
        _ => {
            let complaint = Complaint::new("a rule has one of remove, set and add");
            field.error(complaint.hint("e.g. { set: User-Agent, to: PBX }"));
            None
        }
    }
}

fn named(
    rule: &Field<'_>,
    field: &Field<'_>,
    to: Option<Field<'_>>,
) -> Option<(Box<str>, Box<str>)> {
    let name = field.parse(|text| name(text, false));
    let Some(to) = to else {
        let complaint = Complaint::new("the key \"to\" is missing");
        rule.error(complaint.hint("the header's value, e.g. to: PBX"));
        return None;
    };
    Some((name?, to.parse(header_value)?))
}

fn name(text: &str, any: bool) -> Result<Box<str>, Complaint> {
    let bad = |why: &str| Complaint::new(format!("\"{text}\" {why}"));
    let (start, star) = match text.strip_suffix('*') {
        Some(start) if any => (start, true),
        _ => (text, false),
    };
    let own = "X-Ringfence-";
    let begins = |long: &str, short: &str| {
        long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short))
    };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%_+`'~".contains(&b);
    if begins(start, "X-") && start.len() <= 64 && start.bytes().all(token) {
        if begins(start, own) || star && begins(own, start) && start.len() > 2 {
            return Err(bad("is the edge's own"));
        }
        return if start.len() > 2 || star {
            Ok(text.into())
        } else {
            Err(bad("is no header name"))
        };
    }
    if !star && let Some(known) = HEADERS.iter().find(|known| known.eq_ignore_ascii_case(text)) {
        return Ok((*known).into());
    }
    let hint = match nearest(text, &HEADERS) {
        Some(near) if strsim::damerau_levenshtein(text, near) <= 3 => {
            format!("did you mean {near}?")
        }
        _ => format!("names that begin with X-, and {}", HEADERS.join(", ")),
    };
    Err(bad("is no header that rules may be about").hint(hint))
}

fn header_value(text: &str) -> Result<Box<str>, Complaint> {
    if text.is_empty() || text.len() > VALUE_BYTES_MAX || text.chars().any(char::is_control) {
        let complaint = Complaint::new("this is no header's value");
        return Err(complaint.hint(format!("one line of at most {VALUE_BYTES_MAX} bytes")));
    }
    Ok(text.into())
}

/// As [`list`] reads it.
pub(crate) fn print(trunk: &Trunk) -> Out {
    let TrunkLimits { calls, calls_per_second, longest_call } = trunk.limits;
    let mut limits = Out::table([]);
    for (name, limit) in [("calls", calls), ("calls_per_second", calls_per_second)] {
        if let Some(limit) = limit {
            limits = limits.with(name, Out::Number(limit.into()));
        }
    }
    let rules = |rules: &[HeaderRule]| Out::List(rules.iter().map(print_rule).collect());
    let headers = Out::table([
        ("inwards", rules(&trunk.headers.inwards)),
        ("outwards", rules(&trunk.headers.outwards)),
    ]);
    let mut table = Out::table([
        ("name", text(&trunk.name)),
        ("hosts", texts(&trunk.hosts)),
        ("dids", texts(&trunk.dids)),
        ("limits", limits.with("longest_call", time(longest_call))),
        ("headers", headers),
        ("identity", text(IDENTITY.word(trunk.identity).unwrap_or_default())),
    ]);
    if let Some(domain) = &trunk.from_domain {
        table = table.with("from_domain", text(domain));
    }
    if let Some(source) = trunk.source {
        table = table.with("source", text(source));
    }
    let transports = trunk.transports.iter().map(|transport| text(transport.as_param()));
    table = table.with("transports", Out::List(transports.collect()));
    let mut files = Vec::new();
    if let Some(file) = &trunk.tls.authorities {
        files.push(("authorities", path(file)));
    }
    if let Some((certificate, key)) = &trunk.tls.shows {
        files.extend([("certificate", path(certificate)), ("key", path(key))]);
    }
    if !files.is_empty() {
        let table_of = |table: Out, (key, value)| table.with(key, value);
        table = table.with("tls", files.into_iter().fold(Out::table([]), table_of));
    }
    table
}

fn print_rule(rule: &HeaderRule) -> Out {
    let written =
        |verb, name: &str, value: &str| Out::table([(verb, text(name)), ("to", text(value))]);
    match rule {
        HeaderRule::Remove(name) => Out::table([("remove", text(name))]),
        HeaderRule::Set(name, value) => written("set", name, value),
        HeaderRule::Add(name, value) => written("add", name, value),
    }
}
