//! `ringfence init`: a configuration for the Asterisk that is there, and the lines to change in it.

use super::advice::{Advice, Wanted, advise};
use crate::cli::{DEFAULT_CONFIG, Exit, print};
use asterisk::{Note, Pjsip, Protocol, Trunk};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The port Asterisk moves to.
const PBX_PORT: u16 = 5070;
/// The edge's first inside port.
const INSIDE_PORT: u16 = 5080;

/// What the command line says.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    pub(crate) asterisk: PathBuf,
    pub(crate) public: Option<IpAddr>,
    /// `-` is standard output.
    pub(crate) output: PathBuf,
    /// All that is said is one object.
    pub(crate) json: bool,
}

/// What was found, written, and is to be done.
#[derive(Debug, Serialize)]
struct Written<'a> {
    ok: bool,
    /// `None`: nothing was written.
    file: Option<&'a Path>,
    configuration: String,
    public: Option<IpAddr>,
    found: Found,
    unread: Vec<Unread>,
    changes: Vec<Advice>,
    /// All of it for people.
    text: String,
}

/// What is in Asterisk's files.
#[derive(Debug, Serialize)]
struct Found {
    files: usize,
    transports: usize,
    endpoints: usize,
    trunks: Vec<String>,
    domains: Vec<String>,
}

/// What in them was not read.
#[derive(Debug, Serialize)]
struct Unread {
    place: String,
    what: String,
}

/// Why nothing was written.
#[derive(Debug, Serialize)]
struct Failure {
    ok: bool,
    error: String,
    hint: Option<&'static str>,
}

/// Writes a configuration and says what to change in `pjsip.conf`.
pub(crate) fn init(options: &Init) -> ExitCode {
    let result = write(options);
    if options.json {
        let (exit, object) = match &result {
            Ok(written) => (Exit::Ok, json!(written)),
            Err(failure) => (Exit::Config, json!(failure)),
        };
        let printed = print(format!("{object}\n").as_bytes());
        return if exit == Exit::Ok { printed } else { exit.into() };
    }
    match result {
        Ok(Written { file: Some(_), text, .. }) => print(text.as_bytes()),
        Ok(Written { file: None, text, configuration, .. }) => {
            // what is to be done by hand goes where it does not disturb
            let _ = io::stderr().lock().write_all(text.as_bytes());
            print(configuration.as_bytes())
        }
        Err(Failure { error, hint, .. }) => {
            let hint = hint.map_or_else(String::new, |hint| format!("\n    hint: {hint}"));
            // There is nobody left to tell that nobody can be told.
            let _ = writeln!(io::stderr().lock(), "{error}{hint}");
            Exit::Config.into()
        }
    }
}

fn write(Init { asterisk, public, output, .. }: &Init) -> Result<Written<'_>, Failure> {
    let pjsip = Pjsip::read(asterisk).map_err(|error| Failure {
        ok: false,
        error: format!("{}: {error}", asterisk.join("pjsip.conf").display()),
        hint: Some("--asterisk names the directory with Asterisk's configuration"),
    })?;
    let plan = Plan::new(&pjsip, *public);
    let changes = advise(&pjsip, &plan.wanted());
    let (configuration, text) = (plan.yaml(), plan.told(&pjsip, &changes, output));
    let file = Some(output.as_path()).filter(|file| *file != Path::new("-"));
    if let Some(file) = file {
        write_new(file, &configuration)?;
    }
    let unread = |note: &Note| Unread { place: note.place.to_string(), what: note.text.clone() };
    Ok(Written {
        ok: true,
        file,
        configuration,
        public: plan.public,
        found: Found {
            files: pjsip.files(),
            transports: pjsip.transports().len(),
            endpoints: plan.endpoints,
            trunks: plan.trunks.into_iter().map(|trunk| trunk.name).collect(),
            domains: plan.domains,
        },
        unread: pjsip.notes().iter().map(unread).collect(),
        changes,
        text,
    })
}

/// Never over a file that is there.
fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| {
        let (what, hint) = match error.kind() {
            io::ErrorKind::AlreadyExists => (
                "it is there already, and is not overwritten".to_owned(),
                Some("name another with --output, or - to see it"),
            ),
            io::ErrorKind::NotFound => (
                error.to_string(),
                Some(
                    "make its directory first, or name another place with --output, or - to see it",
                ),
            ),
            _ => (error.to_string(), None),
        };
        Failure { ok: false, error: format!("{}: {what}", file.display()), hint }
    })
}

/// Where phones speak, how, and with which certificate and key.
type Listen = (&'static str, SocketAddr, Option<(String, String)>);

/// What the edge shall do.
#[derive(Debug)]
pub(super) struct Plan {
    public: Option<IpAddr>,
    listen: Vec<Listen>,
    pbx: SocketAddr,
    domains: Vec<String>,
    trunks: Vec<Trunk>,
    endpoints: usize,
}

impl Plan {
    pub(super) fn new(pjsip: &Pjsip, public: Option<IpAddr>) -> Self {
        let transports = pjsip.transports();
        let said = transports.iter().find_map(|transport| {
            ["external_signaling_address", "external_media_address"]
                .into_iter()
                .find_map(|name| transport.section.value(name)?.parse::<IpAddr>().ok())
        });
        let listening = transports.iter().map(|one| one.bind.ip());
        let concrete = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
        let public =
            public.or(said).or_else(|| listening.clone().find(concrete)).or_else(own_address);
        let mut listen = Vec::new();
        for transport in transports.iter().filter(|transport| !transport.is_local()) {
            let section = transport.section;
            let files = section.value("cert_file").zip(section.value("priv_key_file"));
            let files = files.map(|(one, other)| (one.to_owned(), other.to_owned()));
            match (transport.protocol, &files) {
                (Protocol::Udp, _) => listen.push(("udp", transport.bind, None)),
                (Protocol::Tcp, _) => listen.push(("tcp", transport.bind, None)),
                (Protocol::Tls, Some(_)) => listen.push(("tls", transport.bind, files)),
                _ => {}
            }
        }
        if listen.is_empty() {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
            listen.extend([("udp", any, None), ("tcp", any, None)]);
        }
        listen.dedup_by(|one, other| (one.0, one.1) == (other.0, other.1));
        let inner = transports.iter().find(|one| one.is_local() && one.protocol == Protocol::Udp);
        let pbx = inner.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PBX_PORT)), |one| one.bind);
        Plan {
            public,
            listen,
            pbx,
            domains: pjsip.domains(),
            trunks: pjsip.trunks(),
            endpoints: pjsip.endpoints().len(),
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        let inside = SocketAddr::from((Ipv4Addr::LOCALHOST, INSIDE_PORT));
        Wanted { pbx: self.pbx, inside, public: self.public, path: false }
    }

    /// The configuration, with comments.
    pub(super) fn yaml(&self) -> String {
        let mut out = String::new();
        // writing to a String does not fail
        let _ = self.write_yaml(&mut out);
        out
    }

    fn write_yaml(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "# Ringfence in front of Asterisk; written by `ringfence init`. Every other setting has a default:"
        )?;
        writeln!(
            out,
            "# `ringfence check --print-effective` shows them all. After a change: check, then reload."
        )?;
        writeln!(
            out,
            "version: 1\n\n# Where phones and carriers reach us: where Asterisk listened.\nlisten:"
        )?;
        for (transport, address, files) in &self.listen {
            write!(out, "  - {{ transport: {transport}, address: \"{address}\"")?;
            if let Some((certificate, key)) = files {
                write!(out, ", certificate: {}, key: {}", quoted(certificate), quoted(key))?;
            }
            writeln!(out, " }}")?;
        }
        let inside = SocketAddr::new(self.pbx.ip(), inside_port(self.pbx.port()));
        writeln!(
            out,
            "\n# Asterisk, which must listen nowhere else. Shard n of the edge speaks to it from port {} + n.",
            inside.port()
        )?;
        writeln!(out, "inside:\n  address: \"{inside}\"\n  pbx: [\"{}\"]", self.pbx)?;
        if self.domains.is_empty() {
            writeln!(
                out,
                "\n# Names we answer for, besides our addresses.\n# domains: [pbx.example.com]"
            )?;
        } else {
            let domains = self.domains.join(", ");
            writeln!(out, "\n# Names we answer for, besides our addresses.\ndomains: [{domains}]")?;
        }
        if !self.trunks.is_empty() {
            writeln!(out, "\n# Carriers: nothing bans them.\ntrunks:")?;
        }
        for Trunk { name, hosts, .. } in &self.trunks {
            let (known, left): (Vec<_>, Vec<_>) =
                hosts.iter().map(|host| carrier(host)).partition(|host| is_somebody(host));
            for host in left {
                let (name, host) = (name.escape_debug(), host.escape_debug());
                writeln!(out, "  # {name}: {host} is this machine, or too many to trust")?;
            }
            if known.is_empty() {
                writeln!(out, "  # {}: no host of it is known", name.escape_debug())?;
                continue;
            }
            let known: Vec<String> = known.iter().map(|host| quoted(host)).collect();
            writeln!(out, "  - name: {}\n    hosts: [{}]", quoted(name), known.join(", "))?;
            writeln!(
                out,
                "    # dids: [\"4940123456xx\"]   your numbers there: who else calls them may be a carrier that moved"
            )?;
        }
        writeln!(
            out,
            "\n# /metrics, /healthz, /readyz, for this machine only.\nadmin: {{ listen: \"127.0.0.1:9060\" }}"
        )?;
        writeln!(
            out,
            "\n# How strangers are judged. Look first, then take `mode` out: it only tells what would be done."
        )?;
        writeln!(out, "policy: {{ profile: balanced, mode: observe }}")
    }

    /// What was found, and what is to be done.
    pub(super) fn told(&self, pjsip: &Pjsip, advice: &[Advice], output: &Path) -> String {
        let mut out = String::new();
        // writing to a String does not fail
        let _ = self.write_told(pjsip, advice, output, &mut out);
        out
    }

    fn write_told(
        &self,
        pjsip: &Pjsip,
        advice: &[Advice],
        output: &Path,
        out: &mut String,
    ) -> std::fmt::Result {
        writeln!(
            out,
            "Read {}: {}, {}, {}.",
            count(pjsip.files(), "file"),
            count(pjsip.transports().len(), "transport"),
            count(self.endpoints, "endpoint"),
            count(self.trunks.len(), "trunk")
        )?;
        for note in pjsip.notes() {
            writeln!(out, "  not read: {}: {}", note.place, note.text)?;
        }
        match self.public {
            Some(public) => writeln!(out, "Public address: {public} (--public says otherwise)")?,
            None => writeln!(out, "The public address is not known: say it with --public")?,
        }
        if pjsip.global("user_agent").is_some_and(|agent| agent.value.starts_with("FPBX")) {
            writeln!(
                out,
                "FreePBX writes these files anew with each Apply Config. Say what is to change in its pages (Settings, \
                 Asterisk SIP\nSettings; Advanced and pjsip Settings of each extension and trunk), or in its \
                 *_custom.conf and *_custom_post.conf."
            )?;
        }
        if output != Path::new("-") {
            writeln!(out, "Wrote {}; Asterisk's own files are as they were.", output.display())?;
        }
        let found = pjsip.transports().len() + self.endpoints + self.trunks.len();
        if found == 0 {
            writeln!(
                out,
                "\nNothing in it is a transport, an endpoint or a trunk: is this the pjsip.conf that Asterisk reads?\n\
                 --asterisk names its directory."
            )?;
        } else if advice.is_empty() {
            writeln!(out, "\npjsip.conf needs no change.")?;
        } else {
            writeln!(out, "\nTo change in Asterisk's files:")?;
        }
        for one in advice {
            writeln!(out, "\n{}:", one.place)?;
            writeln!(out, "    {}", one.edit.told(&one.section))?;
            writeln!(out, "    # {}", one.why)?;
        }
        let web = |one: &&::asterisk::Transport<'_>| one.protocol == Protocol::Ws;
        if pjsip.transports().iter().any(|one| web(&one)) {
            writeln!(
                out,
                "\nWebRTC stays as it is: it comes through Asterisk's HTTP server (http.conf), past the edge, which \
                 speaks no\nWebSocket and judges nobody there. Let the firewall, or a proxy before it, guard that port."
            )?;
        }
        let trunks: Vec<&str> = self.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
        if !trunks.is_empty() {
            writeln!(
                out,
                "\nTrunks ({}): calls and registrations go through the edge both ways, by the lines above \
                 (docs/trunks.md).",
                trunks.join(", ")
            )?;
        }
        writeln!(
            out,
            "\nThen: take fail2ban off Asterisk's log (every line names the edge), restart Asterisk, and"
        )?;
        write_next(output, out)
    }
}

/// What to do with the file. The service reads one at its own place only.
fn write_next(output: &Path, out: &mut String) -> std::fmt::Result {
    if matches!(output.to_str(), Some("-" | DEFAULT_CONFIG)) {
        return writeln!(
            out,
            "    ringfence check && systemctl start ringfence && ringfence doctor"
        );
    }
    let file = output.display();
    writeln!(out, "    ringfence check {file} && ringfence run {file}")?;
    writeln!(out, "    ringfence doctor {file}")
}

/// `1 file`, `2 files`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A `match` or a host of Asterisk's as the edge's configuration takes it: without a port, and with
/// the length of a mask that is written as an address.
pub(super) fn carrier(host: &str) -> String {
    let (address, mask) = host.split_once('/').map_or((host, None), |(a, m)| (a, Some(m)));
    let port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let address = match (address.strip_prefix('['), address.rsplit_once(':')) {
        (Some(inner), _) => inner.split(']').next().unwrap_or(inner),
        (None, Some((name, digits))) if !name.contains(':') && port(digits) => name,
        _ => address,
    };
    let Some(mask) = mask else { return address.to_owned() };
    let length = mask.parse::<Ipv4Addr>().ok().map(|mask| u32::from(mask).leading_ones());
    let whole = |ones: u32| u32::MAX.checked_shl(32 - ones).unwrap_or(0);
    match length.filter(|ones| mask.parse().ok() == Some(Ipv4Addr::from(whole(*ones)))) {
        Some(32) => address.to_owned(),
        Some(length) => format!("{address}/{length}"),
        None => format!("{address}/{mask}"),
    }
}

/// Whether a host may be trusted as a carrier's: not this machine, and not half of the internet.
pub(super) fn is_somebody(host: &str) -> bool {
    let (address, prefix) = host.split_once('/').unwrap_or((host, ""));
    match address.parse::<IpAddr>() {
        Ok(ip) => {
            let (whole, least) = if ip.is_ipv4() { (32, 8) } else { (128, 16) };
            let length: u8 = if prefix.is_empty() { whole } else { prefix.parse().unwrap_or(0) };
            !ip.is_loopback() && !ip.is_unspecified() && length >= least
        }
        Err(_) => prefix.is_empty() && !host.eq_ignore_ascii_case("localhost"),
    }
}

/// Beside the PBX's, out of its way.
fn inside_port(pbx: u16) -> u16 {
    if (INSIDE_PORT..INSIDE_PORT + 16).contains(&pbx) { INSIDE_PORT + 16 } else { INSIDE_PORT }
}

/// A word for YAML that is nothing but itself.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The address from which this machine speaks with the world; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}
