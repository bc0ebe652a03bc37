//! What should be written otherwise in `pjsip.conf`, line by line, and why.
//!
//! `docs/asterisk.md` tells the same at length; what is said here about Asterisk was measured with one.

use ::asterisk::{Endpoint, Pjsip, Place, Protocol, Section};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// Good to know.
    Notice,
    /// Something will not work as meant.
    Warning,
    /// The edge guards nothing, or nothing works.
    Error,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A line to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    /// What kind it is.
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    #[serde(serialize_with = "as_text")]
    pub(super) place: Place,
    /// The section it is in.
    pub(super) section: String,
    #[serde(flatten)]
    pub(super) edit: Edit,
    pub(super) why: String,
}

/// `file:line`.
fn as_text<S: Serializer>(place: &Place, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(place)
}

/// What to do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub(super) enum Edit {
    /// Another line in its place.
    Change { old: String, new: String },
    /// A line below the section's heading.
    Add { new: String },
    /// No such line.
    Remove { old: String },
    /// No such section.
    RemoveSection,
}

impl Edit {
    /// As a person is told.
    pub(super) fn told(&self, section: &str) -> String {
        match self {
            Edit::Change { old, new } => format!("{old}  ->  {new}"),
            Edit::Add { new } => format!("add to [{section}]: {new}"),
            Edit::Remove { old } => format!("remove: {old}"),
            Edit::RemoveSection => format!("remove the section [{section}]"),
        }
    }
}

/// What the edge needs of the PBX.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Where it should listen.
    pub(super) pbx: SocketAddr,
    /// Where the edge's first shard listens for it.
    pub(super) inside: SocketAddr,
    /// The public address, for the audio.
    pub(super) public: Option<IpAddr>,
    /// Registrations come with Path.
    pub(super) path: bool,
}

/// All advice, the worst first.
pub(super) fn advise(pjsip: &Pjsip, wanted: &Wanted) -> Vec<Advice> {
    let mut all = Vec::new();
    transports(pjsip, wanted, &mut all);
    endpoints(pjsip, wanted, &mut all);
    identifies(pjsip, &mut all);
    carriers(pjsip, wanted, &mut all);
    accounts(pjsip, &mut all);
    if wanted.path {
        path(pjsip, &mut all);
    }
    all.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.place.cmp(&b.place)));
    all
}

fn advice(
    id: &'static str,
    severity: Severity,
    (section, place): (&Section, &Place),
    edit: Edit,
    why: impl Into<String>,
) -> Advice {
    let (place, section) = (place.clone(), section.name.clone());
    Advice { id, severity, place, section, edit, why: why.into() }
}

fn transports(pjsip: &Pjsip, wanted: &Wanted, all: &mut Vec<Advice>) {
    let transports = pjsip.transports();
    let ours = |one: &&::asterisk::Transport<'_>| {
        one.protocol == Protocol::Udp && one.bind.ip() == wanted.pbx.ip()
    };
    // the one that becomes, or is, the edge's way in
    let chosen = transports
        .iter()
        .find(|one| ours(one) && one.bind == wanted.pbx)
        .or_else(|| transports.iter().find(|one| one.protocol == Protocol::Udp));
    for transport in &transports {
        let section = transport.section;
        let is_chosen = chosen.is_some_and(|chosen| std::ptr::eq(chosen.section, section));
        if is_chosen {
            chosen_transport(transport, wanted, all);
        } else if !transport.is_local() && transport.protocol != Protocol::Ws {
            let why = format!(
                "whoever reaches {} past the edge is not judged; the edge listens there, for every transport, and \
                 speaks UDP with Asterisk",
                transport.bind
            );
            let at = (section, &section.place);
            all.push(advice("pbx-exposed", Severity::Error, at, Edit::RemoveSection, why));
        }
    }
}

fn chosen_transport(transport: &::asterisk::Transport<'_>, wanted: &Wanted, all: &mut Vec<Advice>) {
    let section = transport.section;
    let line = format!("bind = {}", wanted.pbx);
    if transport.bind != wanted.pbx {
        let exposed = !transport.is_local();
        let (id, severity) = match exposed {
            true => ("pbx-exposed", Severity::Error),
            false => ("pbx-elsewhere", Severity::Warning),
        };
        let why = match exposed {
            true => "whoever reaches Asterisk past the edge is not judged".to_owned(),
            false => format!("the edge looks for Asterisk at {}", wanted.pbx),
        };
        let (at, edit) = match section.setting("bind") {
            Some(bind) => {
                let old = format!("bind = {}", bind.value);
                ((section, &bind.place), Edit::Change { old, new: line })
            }
            None => ((section, &section.place), Edit::Add { new: line }),
        };
        all.push(advice(id, severity, at, edit, why));
    }
    if let Some(public) = wanted.public {
        let line = format!("external_media_address = {public}");
        let why = "the SDP must name an address that phones reach: the message itself leaves over localhost";
        match section.setting("external_media_address") {
            Some(setting) if setting.value == public.to_string() => {}
            Some(setting) => {
                let old = format!("external_media_address = {}", setting.value);
                let edit = Edit::Change { old, new: line };
                all.push(advice(
                    "external-media",
                    Severity::Warning,
                    (section, &setting.place),
                    edit,
                    why,
                ));
            }
            None => {
                let at = (section, &section.place);
                all.push(advice(
                    "external-media",
                    Severity::Warning,
                    at,
                    Edit::Add { new: line },
                    why,
                ));
            }
        }
    }
    for (name, id, why) in [
        (
            "external_signaling_address",
            "external-signaling",
            "Asterisk's Contact would become the edge's own address",
        ),
        (
            "local_net",
            "local-net",
            "the edge is the only one Asterisk speaks with: what is local to it says nothing",
        ),
    ] {
        for setting in section.settings.iter().filter(|setting| setting.name == name) {
            let edit = Edit::Remove { old: format!("{name} = {}", setting.value) };
            all.push(advice(id, Severity::Warning, (section, &setting.place), edit, why));
        }
    }
}

/// Sections that lack a setting, by the line that says otherwise, else by where it would be written;
/// with how many endpoints that helps.
fn by_line<'p>(
    pjsip: &'p Pjsip,
    endpoints: &[&Endpoint<'p>],
    name: &str,
    good: bool,
) -> BTreeMap<Place, (&'p Section, Option<&'p str>, usize)> {
    let mut lines: BTreeMap<Place, (&Section, Option<&str>, usize)> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|it| it.section.is_on(name) != Some(good)) {
        let (place, section, old) = match endpoint.section.setting(name) {
            Some(setting) => (&setting.place, endpoint.section, Some(setting.value.as_str())),
            None => {
                let home = pjsip.home(endpoint.section);
                (&home.place, home, None)
            }
        };
        lines.entry(place.clone()).or_insert((section, old, 0)).2 += 1;
    }
    lines
}

fn endpoints(pjsip: &Pjsip, wanted: &Wanted, all: &mut Vec<Advice>) {
    let endpoints = pjsip.endpoints();
    // strangers get no audio mended: their endpoint goes
    let (guests, others): (Vec<_>, Vec<_>) =
        endpoints.iter().partition(|endpoint| endpoint.section.name == "anonymous");
    let mut missing = |name: &'static str, id: &'static str, good: bool, why: &str| {
        let word = if good { "yes" } else { "no" };
        for (place, (section, old, count)) in by_line(pjsip, &others, name, good) {
            let new = format!("{name} = {word}");
            let edit = match old {
                Some(old) => Edit::Change { old: format!("{name} = {old}"), new },
                None => Edit::Add { new },
            };
            let many = if count == 1 { "" } else { "s" };
            let why = format!("{why} ({count} endpoint{many})");
            all.push(advice(id, Severity::Warning, (section, &place), edit, why));
        }
    };
    missing(
        "direct_media",
        "direct-media",
        false,
        "the default is yes: phones are told to send audio to each other, which those behind NAT cannot",
    );
    if wanted.public.is_some() {
        missing("rtp_symmetric", "rtp-symmetric", true, "audio goes back to where it comes from");
    }
    let mut places = std::collections::BTreeSet::new();
    for endpoint in &others {
        let Some(setting) = endpoint.section.setting("transport") else { continue };
        if wanted.public.is_some() && places.insert(setting.place.clone()) {
            let edit = Edit::Remove { old: format!("transport = {}", setting.value) };
            let why = "it binds the audio to the transport's address, which is localhost here";
            let at = (endpoint.section, &setting.place);
            all.push(advice("endpoint-transport", Severity::Warning, at, edit, why));
        }
    }
    for endpoint in guests {
        let why = "with res_pjsip_endpoint_identifier_anonymous loaded, strangers may call without an account";
        let at = (endpoint.section, &endpoint.section.place);
        all.push(advice("guests", Severity::Warning, at, Edit::RemoveSection, why));
    }
}

fn identifies(pjsip: &Pjsip, all: &mut Vec<Advice>) {
    for section in pjsip.of_type("identify") {
        let trunk = section.value("endpoint").unwrap_or(&section.name);
        let mut told = section.setting("match_header").is_some();
        for (value, place) in section.values("match") {
            let old = format!("match = {value}");
            let edit = match told || is_this_host(value) {
                true => Edit::Remove { old },
                false => {
                    told = true;
                    Edit::Change { old, new: format!("match_header = X-Ringfence-Trunk: {trunk}") }
                }
            };
            if is_this_host(value) {
                let why = "every request comes from the edge: every stranger's call becomes this trunk's, and every \
                           phone's registration gets 404";
                all.push(advice(
                    "identify-localhost",
                    Severity::Error,
                    (section, place),
                    edit,
                    why,
                ));
            } else {
                let why = "every request comes from the edge, so it never matches; the edge says which trunk it is \
                           (docs/trunks.md; `header` must be in endpoint_identifier_order)";
                all.push(advice(
                    "identify-address",
                    Severity::Warning,
                    (section, place),
                    edit,
                    why,
                ));
            }
        }
    }
    if let Some(order) = pjsip.global("endpoint_identifier_order")
        && order.value.split(',').any(|word| word.trim() == "auth_username")
    {
        let words: Vec<&str> = order.value.split(',').map(str::trim).collect();
        let kept: Vec<&str> =
            words.iter().copied().filter(|word| *word != "auth_username").collect();
        let old = format!("endpoint_identifier_order = {}", order.value);
        let new = format!("endpoint_identifier_order = {}", kept.join(","));
        let why = "with auth_username Asterisk counts unidentified requests (unidentified_request_*) by their address, \
                   and behind the edge everybody has the same";
        all.push(Advice {
            id: "unidentified-requests",
            severity: Severity::Warning,
            place: order.place.clone(),
            section: "global".to_owned(),
            edit: Edit::Change { old, new },
            why: why.to_owned(),
        });
    }
}

/// Who calls a carrier, or registers at one, gets there through the edge.
fn carriers(pjsip: &Pjsip, wanted: &Wanted, all: &mut Vec<Advice>) {
    let trunks: Vec<String> = pjsip.trunks().into_iter().map(|trunk| trunk.name).collect();
    let calls = |section: &Section| {
        let has_contact = |aor: &Section| {
            section.values("aors").any(|(name, _)| name == aor.name)
                && aor.value("contact").is_some()
        };
        section.value("outbound_auth").is_some()
            || trunks.contains(&section.name) && pjsip.of_type("aor").any(has_contact)
    };
    let endpoints = pjsip.endpoints();
    let calling = endpoints.iter().map(|it| it.section).filter(|section| calls(section));
    for section in calling.chain(pjsip.of_type("registration")) {
        if section.setting("outbound_proxy").is_none() {
            let edit = Edit::Add { new: format!(r"outbound_proxy = sip:{}\;lr", wanted.inside) };
            let why = "on localhost Asterisk reaches no carrier by itself: it calls and registers through the edge";
            all.push(advice(
                "trunk-proxy",
                Severity::Warning,
                (section, &section.place),
                edit,
                why,
            ));
        }
    }
}

/// Whether a `match` means the edge: localhost, or a network around it.
fn is_this_host(value: &str) -> bool {
    let (address, prefix) = value.split_once('/').unwrap_or((value, ""));
    match address.parse::<IpAddr>() {
        // a trunk may have a loopback address of its own; the edge's is the first
        Ok(IpAddr::V4(ip)) => {
            let dotted = prefix.parse::<std::net::Ipv4Addr>().ok();
            let dotted = dotted.map(|mask| u32::from(mask).leading_ones());
            let length = dotted.or(prefix.parse().ok()).unwrap_or(32).min(32);
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (u32::from(ip) ^ 0x7f00_0001) & mask == 0
        }
        Ok(ip) => ip.is_loopback(),
        Err(_) => address.eq_ignore_ascii_case("localhost"),
    }
}

fn accounts(pjsip: &Pjsip, all: &mut Vec<Advice>) {
    let words = |text: &str| {
        let mut words: Vec<String> =
            text.split(',').map(|word| word.trim().to_ascii_uppercase()).collect();
        words.sort();
        words
    };
    let default = pjsip.global("default_auth_algorithms_uas");
    let default = default.map_or_else(|| words("MD5"), |setting| words(&setting.value));
    let of_unknown = pjsip.global("default_realm").map_or("asterisk", |realm| &realm.value);
    let mut places = std::collections::BTreeSet::new();
    for section in pjsip.of_type("auth") {
        // accounts of users only: what Asterisk authenticates with elsewhere has no such line
        if let Some(setting) = section.setting("supported_algorithms_uas")
            && words(&setting.value) != default
            && places.insert(setting.place.clone())
        {
            let edit = Edit::Change {
                old: format!("supported_algorithms_uas = {}", setting.value),
                new: format!("supported_algorithms_uas = {}", default.join(",")),
            };
            let why = "a user who does not exist is asked with default_auth_algorithms_uas: who is asked otherwise exists";
            let at = (section, &setting.place);
            all.push(advice("enumeration", Severity::Warning, at, edit, why));
        }
        if let Some(setting) = section.setting("realm")
            && setting.value != of_unknown
            && !is_outbound(pjsip, &section.name)
            && places.insert(setting.place.clone())
        {
            let edit = Edit::Remove { old: format!("realm = {}", setting.value) };
            let why = format!(
                "a user who does not exist is asked with realm \"{of_unknown}\": who is asked otherwise exists"
            );
            let at = (section, &setting.place);
            all.push(advice("enumeration", Severity::Warning, at, edit, why));
        }
    }
    for section in pjsip.of_type("aor") {
        let qualified = section.value("qualify_frequency").is_some_and(|seconds| seconds != "0");
        if qualified && section.is_on("qualify_2xx_only") != Some(true) {
            let home = pjsip.home(section);
            if places.insert(home.place.clone()) {
                let edit = Edit::Add { new: "qualify_2xx_only = yes".to_owned() };
                let why = "(20.12, 21.7, 22.2 and later) else any answer, a refusal too, makes a phone \"Avail\"";
                all.push(advice("qualify", Severity::Notice, (home, &home.place), edit, why));
            }
        }
    }
}

fn is_outbound(pjsip: &Pjsip, auth: &str) -> bool {
    ["endpoint", "registration"]
        .into_iter()
        .flat_map(|kind| pjsip.of_type(kind))
        .any(|section| section.values("outbound_auth").any(|(name, _)| name == auth))
}

fn path(pjsip: &Pjsip, all: &mut Vec<Advice>) {
    let mut places = std::collections::BTreeSet::new();
    for aor in pjsip.of_type("aor").filter(|aor| aor.value("contact").is_none()) {
        let home = pjsip.home(aor);
        if aor.is_on("support_path") != Some(true) && places.insert(home.place.clone()) {
            let edit = Edit::Add { new: "support_path = yes".to_owned() };
            let why = "registration: path is set, and without this Asterisk answers 420 to Path";
            all.push(advice("path", Severity::Error, (home, &home.place), edit, why));
        }
    }
    for endpoint in pjsip.endpoints() {
        if let Some(setting) = endpoint.section.setting("rewrite_contact")
            && endpoint.section.is_on("rewrite_contact") == Some(true)
            && places.insert(setting.place.clone())
        {
            let edit = Edit::Change {
                old: format!("rewrite_contact = {}", setting.value),
                new: "rewrite_contact = no".to_owned(),
            };
            let why = "with Path the phones would see the edge's inside address as their own";
            let at = (endpoint.section, &setting.place);
            all.push(advice("path", Severity::Warning, at, edit, why));
        }
    }
}
