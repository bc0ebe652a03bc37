//! `ringfence doctor`: what is not as it should be, with its cure.

use super::advice::{Advice, Severity, Wanted, advise};
use super::facts::{Facts, Heard, Listening, PbxFacts, Reached};
use crate::cli::{Exit, print};
use crate::sockets::files_needed;
use asterisk::{Pjsip, Protocol};
use config::{Config, Loaded, Problem};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use wire::Transport;

const DAY: u64 = 86_400;
/// A certificate that ends sooner is a warning.
const CERTIFICATE_DAYS: u64 = 21;
/// A clock before this is wrong: 2026-01-01.
const EARLIEST: u64 = 1_767_225_600;
/// Sources from which one address alone is no chance.
const SOURCES_LEAST: usize = 3;

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Its name, which stays the same.
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    /// What was seen.
    pub(super) what: String,
    /// What to do about it; empty when there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cure: String,
    /// `file:line` in Asterisk's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
}

impl Finding {
    fn new(
        id: &'static str,
        severity: Severity,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Finding { id, severity, what: what.into(), cure: cure.into(), place: None }
    }

    fn good(id: &'static str, what: impl Into<String>) -> Self {
        Finding::new(id, Severity::Ok, what, "")
    }
}

/// Looks at everything and tells.
pub(crate) fn doctor(file: &Path, directory: &Path, json: bool) -> ExitCode {
    let findings = examine(file, directory);
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    let text = match json {
        true => {
            let good = worst < Severity::Error;
            format!("{}\n", serde_json::json!({ "ok": good, "findings": findings }))
        }
        false => told(&findings),
    };
    let printed = print(text.as_bytes());
    if worst == Severity::Error { Exit::Config.into() } else { printed }
}

fn examine(file: &Path, directory: &Path) -> Vec<Finding> {
    let (config, problems) = match config::load(file) {
        Ok(Loaded { config, warnings, .. }) => (Some(config), warnings),
        Err(invalid) => (None, invalid.problems),
    };
    let mut findings: Vec<Finding> = problems.iter().map(of_problem).collect();
    let pjsip = Pjsip::read(directory);
    let Some(config) = config else { return findings };
    findings.push(Finding::good("configuration", format!("{} can be used", file.display())));
    let users: Vec<String> = pjsip.as_ref().map(known_users).unwrap_or_default();
    let facts = Facts::gather(&config, &users);
    findings.extend(judge(&config, &facts));
    match pjsip {
        Ok(pjsip) => findings.extend(of_asterisk(&config, &pjsip, &facts)),
        Err(error) => findings.push(Finding::new(
            "asterisk-unread",
            Severity::Notice,
            format!(
                "{}: {error}: Asterisk's configuration is not looked at",
                directory.join("pjsip.conf").display()
            ),
            "say where it is with --asterisk; reading it may need root",
        )),
    }
    findings
}

fn known_users(pjsip: &Pjsip) -> Vec<String> {
    let trunks: Vec<String> = pjsip.trunks().into_iter().map(|trunk| trunk.name).collect();
    let endpoints = pjsip.endpoints();
    let phones = endpoints.iter().filter(|endpoint| endpoint.section.value("auth").is_some());
    phones
        .map(|endpoint| endpoint.section.name.clone())
        .filter(|name| !trunks.contains(name))
        .collect()
}

fn of_problem(problem: &Problem) -> Finding {
    let severity = match problem.severity {
        config::Severity::Error => Severity::Error,
        config::Severity::Warning => Severity::Warning,
    };
    let mut what = problem.file.display().to_string();
    // a file that cannot be read has neither
    if problem.line > 0 {
        let _ = write!(what, ":{}", problem.line);
    }
    if !problem.path.is_empty() {
        let _ = write!(what, ": {}", problem.path);
    }
    let _ = write!(what, ": {}", problem.message);
    Finding::new("configuration", severity, what, problem.hint.clone().unwrap_or_default())
}

/// What the machine and the PBX show, without a look into Asterisk's files.
pub(super) fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    pbx_answers(facts, &mut findings);
    pbx_exposed(config, facts, &mut findings);
    enumeration(facts, &mut findings);
    sources(facts, &mut findings);
    clock(facts, &mut findings);
    limits(config, facts, &mut findings);
    kernel(config, facts, &mut findings);
    state(config, facts, &mut findings);
    reports(config, facts, &mut findings);
    certificates(facts, &mut findings);
    addresses(config, facts, &mut findings);
    findings
}

fn pbx_answers(facts: &Facts, findings: &mut Vec<Finding>) {
    for PbxFacts { place, address, transport, reached, .. } in &facts.pbx {
        let protocol = transport.as_param();
        findings.push(match reached {
            Reached::Answered(Heard { status, .. }) => {
                Finding::good("pbx-answers", format!("the PBX at {place} answered OPTIONS with {status}"))
            }
            Reached::Connects => {
                Finding::good("pbx-answers", format!("the PBX at {place} takes connections"))
            }
            Reached::Silent => Finding::new(
                "pbx-answers",
                Severity::Error,
                match transport {
                    Transport::Tls => format!("the PBX at {place} takes no connection"),
                    _ => format!("the PBX at {place} does not answer OPTIONS"),
                },
                format!("start it, and bind its {protocol} transport to {address} (in pjsip.conf: bind = {address})"),
            ),
        });
    }
}

/// A socket on the PBX's port that others than this machine reach.
fn pbx_exposed(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let ours = |one: &Listening| {
        config.policy.listeners.iter().any(|listener| listener.address.port() == one.address.port())
    };
    let mut good = true;
    for pbx in &config.policy.pbx {
        let port = pbx.address.port();
        let exposed = facts.sockets.iter().filter(|one| {
            one.address.port() == port && !one.address.ip().is_loopback() && !ours(one)
        });
        for Listening { protocol, address } in exposed {
            good = false;
            findings.push(Finding::new(
                "pbx-exposed",
                Severity::Error,
                format!("something listens on {protocol} {address}: whoever reaches that port is not judged"),
                format!("bind the PBX to {} only, and restart it", pbx.address),
            ));
        }
        if !pbx.address.ip().is_loopback() {
            good = false;
            findings.push(Finding::new(
                "pbx-not-local",
                Severity::Warning,
                format!("the PBX at {} is not on this machine's loopback", pbx.address),
                "let a firewall allow its SIP port from the edge only; from here it cannot be seen whether one does",
            ));
        }
    }
    if good {
        findings.push(Finding::good("pbx-exposed", "the PBX's port listens on loopback only"));
    }
}

fn enumeration(facts: &Facts, findings: &mut Vec<Finding>) {
    for pbx in &facts.pbx {
        if let Some((known, unknown)) = &pbx.users {
            findings.push(enumerable(&pbx.place, known, unknown));
        }
    }
}

fn enumerable(place: &str, known: &Heard, unknown: &Heard) -> Finding {
    if known == unknown {
        let what = "a user who exists and one who does not get the same challenge";
        return Finding::good("enumeration", format!("{place}: {what}"));
    }
    let told = |heard: &Heard| {
        let of = |(realm, algorithm): &(String, String)| format!("realm \"{realm}\" {algorithm}");
        let challenges: Vec<String> = heard.challenges.iter().map(of).collect();
        format!("{} {}", heard.status, challenges.join(", "))
    };
    Finding::new(
        "enumeration",
        Severity::Warning,
        format!(
            "{place}: users can be told apart: who exists gets {}, who does not {}",
            told(known),
            told(unknown)
        ),
        "leave realm at its default, and give default_auth_algorithms_uas in [global] and all accounts the same algorithms",
    )
}

/// Whether everybody comes from the same private address.
fn sources(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(address) = facts.sources.first().copied() else { return };
    let alone = facts.sources.iter().all(|one| *one == address);
    let hidden = alone && facts.sources.len() >= SOURCES_LEAST && is_private(address);
    findings.push(match hidden && !address.is_loopback() {
        true => Finding::new(
            "sources-hidden",
            Severity::Error,
            format!("all connections come from {address}: something in front hides who they are, and the edge would ban all or nobody"),
            "let packets come with their own source address: host networking instead of a userland proxy, no masquerading of what comes in; behind a load balancer, proxy_protocol: { from: [its address] } at the listener (docs/proxy-protocol.md)",
        ),
        false => Finding::good("sources-hidden", "connections come with addresses of their own"),
    });
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local()
                // RFC 6598: shared by carriers' NATs
                || (u32::from(ip) & 0xffc0_0000) == 0x6440_0000
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn clock(facts: &Facts, findings: &mut Vec<Finding>) {
    let (now, kept) = facts.clock;
    let cure = "run chrony or systemd-timesyncd; bans, tokens and certificates live by the clock";
    findings.push(match kept {
        _ if now < EARLIEST => {
            Finding::new("clock", Severity::Error, "the clock is years behind", cure)
        }
        Some(false) => {
            Finding::new("clock", Severity::Warning, "nothing keeps the clock right", cure)
        }
        _ => Finding::good("clock", "the clock is kept right"),
    });
}

fn limits(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let connections = config.policy.capacities.connections as u64 * u64::from(config.shards);
    let needed = files_needed(config);
    findings.push(match facts.files {
        Some(files) if files < needed => Finding::new(
            "file-limit",
            Severity::Warning,
            format!("a process may open {files} files; {connections} connections are configured"),
            format!("LimitNOFILE={needed} in the service, or ulimit -n {needed}"),
        ),
        _ => Finding::good("file-limit", "enough files may be open"),
    });
    for (id, key, name, most, asked) in [
        (
            "receive-buffer",
            "rmem_max",
            "udp_receive_buffer",
            facts.rmem_max,
            config.transport.udp_receive_buffer,
        ),
        (
            "send-buffer",
            "wmem_max",
            "udp_send_buffer",
            facts.wmem_max,
            config.transport.udp_send_buffer,
        ),
    ] {
        findings.push(match most {
            Some(most) if most < asked as u64 => Finding::new(
                id,
                Severity::Warning,
                format!("the kernel gives sockets at most {most} bytes; {name} asks for {asked}: bursts are lost"),
                format!("sysctl -w net.core.{key}={asked}, and the same in /etc/sysctl.d"),
            ),
            _ => Finding::good(id, format!("net.core.{key} is large enough")),
        });
    }
}

fn kernel(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    findings.push(match &facts.steering {
        Some(error) if config.shards > 1 => Finding::new(
            "steering",
            Severity::Error,
            format!("the kernel does not share a port by source address: {error}"),
            "a kernel of 4.6 or later without a filter on SO_ATTACH_REUSEPORT_CBPF; or shards: 1",
        ),
        _ => Finding::good("steering", "the kernel shares a port by source address"),
    });
    findings.push(match facts.nftables {
        true => Finding::good("nftables", "nf_tables is there"),
        false => Finding::new(
            "nftables",
            Severity::Notice,
            "nf_tables is not loaded: bans are held by the edge, not by the kernel",
            "modprobe nf_tables, where drops in the kernel are wanted",
        ),
    });
}

fn state(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let directory = config.state_dir.display();
    findings.push(match &facts.state {
        Some(error) => Finding::new(
            "state",
            Severity::Warning,
            format!("nothing can be kept in {directory}: {error}"),
            format!("install -d -m 700 -o ringfence -g ringfence {directory}; as its user, ringfence doctor says the same as run"),
        ),
        None => Finding::good("state", format!("{directory} can be written to")),
    });
}

fn reports(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    if let Some(audit) = &config.audit {
        let target = crate::reports::audit_target(audit).text();
        findings.push(match &facts.audit {
            Some(error) => Finding::new(
                "audit",
                Severity::Warning,
                format!("audit lines cannot be written: {error}"),
                "make the directory for the edge's user, or start the daemon; as that user, ringfence doctor says the same as run",
            ),
            None => Finding::good("audit", format!("audit lines can be written: {target}")),
        });
    }
}

fn certificates(facts: &Facts, findings: &mut Vec<Finding>) {
    let (now, _) = facts.clock;
    for (file, ends) in &facts.certificates {
        let name = file.display();
        findings.push(match ends {
            Err(error) => Finding::new(
                "certificate",
                Severity::Error,
                format!("{name}: {error}"),
                "a certificate in PEM is wanted",
            ),
            Ok(end) if *end <= now => Finding::new(
                "certificate",
                Severity::Error,
                format!("{name} ended {} days ago", (now - end) / DAY),
                "renew it; a reload takes it, and no connection is lost",
            ),
            Ok(end) if end - now < CERTIFICATE_DAYS * DAY => Finding::new(
                "certificate",
                Severity::Warning,
                format!("{name} ends in {} days", (end - now) / DAY),
                "renew it; a reload takes it, and no connection is lost",
            ),
            Ok(end) => Finding::good(
                "certificate",
                format!("{name} is good for {} days", (end - now) / DAY),
            ),
        });
    }
}

fn addresses(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    for address in &facts.foreign {
        findings.push(Finding::new(
            "listen-address",
            Severity::Error,
            format!("{address}, where the edge is to listen, is no address of this machine"),
            "behind a 1:1 NAT listen on the inner address and say advertise: \"public:port\"",
        ));
    }
    for listener in &config.policy.listeners {
        let ip = listener.address.ip();
        if listener.advertise.is_none()
            && !ip.is_unspecified()
            && !ip.is_loopback()
            && is_private(ip)
        {
            findings.push(Finding::new(
                "advertise",
                Severity::Notice,
                format!("the listener on {} has a private address and no advertise", listener.address),
                "if phones reach it from the internet, say under which address: advertise: \"public:port\"",
            ));
        }
    }
    for name in &facts.unresolved {
        findings.push(Finding::new(
            "name",
            Severity::Warning,
            format!("{name} does not resolve"),
            "mend the DNS, or the name in domains or trunks",
        ));
    }
    if facts.foreign.is_empty() && facts.unresolved.is_empty() {
        findings.push(Finding::good("listen-address", "the addresses and names are there"));
    }
}

/// What Asterisk's files say.
pub(super) fn of_asterisk(config: &Config, pjsip: &Pjsip, facts: &Facts) -> Vec<Finding> {
    // whose files these are: of the one that binds there, or runs on this machine
    let transports = pjsip.transports();
    let all = &config.policy.pbx;
    let binds = |pbx: &&policy::Pbx| transports.iter().any(|one| one.bind == pbx.address);
    let own =
        all.iter().find(binds).or_else(|| all.iter().find(|it| it.address.ip().is_loopback()));
    let Some(pbx) = own.or(all.first()) else { return Vec::new() };
    let named = config.policy.listeners.iter().flat_map(|listener| {
        let advertised = listener.advertise.as_deref().and_then(|text| {
            text.parse::<SocketAddr>().map(|address| address.ip()).or(text.parse()).ok()
        });
        advertised.into_iter().chain([listener.address.ip()])
    });
    let public = named.into_iter().find(|ip| !ip.is_unspecified() && !is_private(*ip));
    let inside = config.policy.inside;
    let wanted = Wanted { pbx: pbx.address, inside, public, path: !pbx.registration.is_token() };
    let mut findings: Vec<Finding> = advise(pjsip, &wanted).into_iter().map(of_advice).collect();
    let by_udp = pbx.transport == Transport::Udp;
    if by_udp && !transports.iter().any(|one| one.protocol == Protocol::Udp) {
        findings.push(Finding::new(
            "pbx-answers",
            Severity::Error,
            "Asterisk has no UDP transport, by which the edge speaks with it",
            format!("[edge] type = transport, protocol = udp, bind = {}", pbx.address),
        ));
    }
    for transport in transports.iter().filter(|transport| !transport.is_local()) {
        let listens = facts.sockets.iter().any(|one| one.address == transport.bind);
        let taken =
            config.policy.listeners.iter().any(|one| one.address.port() == transport.bind.port());
        if listens && !taken {
            findings.push(Finding::new(
                "pbx-exposed",
                Severity::Error,
                format!(
                    "Asterisk listens on {} now: whoever reaches that is not judged",
                    transport.bind
                ),
                "restart Asterisk after the change: a reload does not move a transport",
            ));
        }
    }
    for note in pjsip.notes() {
        let mut finding = Finding::new("asterisk-unread", Severity::Notice, note.text.clone(), "");
        finding.place = Some(note.place.to_string());
        findings.push(finding);
    }
    if findings.iter().all(|finding| finding.severity < Severity::Warning) {
        let what = format!("pjsip.conf ({} files) is as an edge needs it", pjsip.files());
        findings.push(Finding::good("asterisk", what));
    }
    findings
}

fn of_advice(advice: Advice) -> Finding {
    let cure = advice.edit.told(&advice.section);
    let mut finding = Finding::new(advice.id, advice.severity, advice.why, cure);
    finding.place = Some(advice.place.to_string());
    finding
}

/// For people: the worst first.
fn told(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut text = String::new();
    for Finding { id, severity, what, cure, place } in sorted {
        // writing to a String does not fail
        let place = place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let _ = writeln!(text, "{:<8} {id:<20} {place}{what}", severity.as_str());
        if !cure.is_empty() {
            let _ = writeln!(text, "{:<8} {:<20} cure: {cure}", "", "");
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |count| if count == 1 { "" } else { "s" };
    let _ = writeln!(
        text,
        "\n{errors} error{}, {warnings} warning{}, {} looked at",
        plural(errors),
        plural(warnings),
        findings.len()
    );
    text
}
