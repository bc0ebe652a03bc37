//! The configuration file, key by key.

use crate::model::{
    Admin, ClientCertificates, Config, Listen, Log, LogFormat, TlsFiles, TransportSettings, Trunk,
};
use crate::problem::{Complaint, Invalid, Place, Problem, Problems, Source};
use crate::table::{Field, Table};
use crate::tree::{self, Kind};
use crate::{check, tls, value};
use policy::{Budgets, Capacities, Listener, Pbx, Policy, Registration, TimerBase};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::{Limits, Transport};

/// The configuration language that this version reads.
pub(crate) const VERSION: u64 = 1;
/// Default of `state_dir`.
const STATE_DIR: &str = "/var/lib/ringfence";
/// No duration that can be set is longer.
const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);
/// No duration that can be set is shorter.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// A configuration and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Problems, all of them warnings.
    pub warnings: Vec<Problem>,
}

/// What stands in for the machine's own answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The number of shards when the file gives none; default: [`Config::default_shards`].
    pub shards: Option<u8>,
    /// Certificates, keys and CA files are not looked at: where no socket is served they need not
    /// exist. Listeners come without them.
    pub certificates_unread: bool,
}

/// Reads a file and the files it names.
///
/// # Errors
/// [`Invalid`] with every problem found when at least one is an error.
pub fn load(file: &Path) -> Result<Loaded, Invalid> {
    load_with(file, Overrides::default())
}

/// As [`load`], with some things otherwise.
///
/// # Errors
/// As [`load`].
pub fn load_with(file: &Path, overrides: Overrides) -> Result<Loaded, Invalid> {
    match std::fs::read_to_string(file) {
        Ok(text) => load_str(file, &text, overrides),
        Err(error) => {
            let problems = Problems::default();
            let source = Source { file, text: "", problems: &problems };
            let complaint = Complaint::new(format!("cannot be read: {error}"));
            source.error(Place::default(), "", complaint);
            Err(Invalid { problems: problems.finish().0 })
        }
    }
}

/// As [`load`] with the text at hand; `file` names it, and relative paths are relative to its
/// directory.
///
/// # Errors
/// As [`load`].
pub fn load_str(file: &Path, text: &str, overrides: Overrides) -> Result<Loaded, Invalid> {
    let problems = Problems::default();
    let source = Source { file, text, problems: &problems };
    let config = tree::parse(source).and_then(|node| read(&Field::root(source, &node), overrides));
    let (problems, failed) = problems.finish();
    match config {
        Some(config) if !failed => Ok(Loaded { config, warnings: problems }),
        _ => Err(Invalid { problems }),
    }
}

fn read(root: &Field<'_>, overrides: Overrides) -> Option<Config> {
    if matches!(root.node.kind, Kind::Null) {
        let complaint = Complaint::new("the file is empty");
        root.error(complaint.hint("start from the sample ringfence.yaml"));
        return None;
    }
    let mut table = root.table()?;
    version(&mut table);
    let listen_field = table.need("listen", "say where phones reach us, e.g. listen: [{ transport: udp, address: \"203.0.113.1:5060\" }]");
    let listen =
        listen_field.as_ref().map(|field| listen_list(field, overrides)).unwrap_or_default();
    let inside = table
        .need("inside", "say where the PBX is, e.g. inside: { pbx: [\"127.0.0.1:5070\"] }")
        .and_then(|field| inside_table(&field));
    let domains = table.values("domains", value::host);
    let trunks = table.take("trunks").map(|field| trunk_list(&field)).unwrap_or_default();
    let admin = admin_table(&mut table);
    let rules = table.take("policy").map_or_else(Rules::default, |field| policy_field(&field));
    let shards = shards_value(&mut table, overrides);
    let log = log_table(&mut table);
    let state_dir = table.value("state_dir", value::path, STATE_DIR.into());
    let state_dir = beside(root.source.file, state_dir);
    let secret_file = table.optional("secret_file", value::path);
    let secret_file =
        secret_file.map_or_else(|| state_dir.join("secret"), |path| beside(root.source.file, path));
    let bounds = Duration::ZERO..=DURATION_MAX;
    let drain_timeout = table.duration("drain_timeout", bounds, Duration::from_secs(32));
    let transport = transport_table(&mut table);
    table.finish();

    let inside = inside?;
    let listeners = listen.iter().map(|listen| listen.listener.clone()).collect();
    let policy = rules.into_policy(listeners, inside.address, inside.pbx, domains);
    let config = Config {
        policy,
        listen,
        shards,
        trunks,
        admin,
        log,
        state_dir,
        secret_file,
        drain_timeout,
        transport,
    };
    check::check(root, &config);
    Some(config)
}

fn version(table: &mut Table<'_>) {
    let hint = format!("the first line of the file should be: version: {VERSION}");
    let Some(field) = table.need("version", &hint) else { return };
    if field.parse(value::count).is_some_and(|version| version != VERSION) {
        field.error(Complaint::new(format!("this version of the edge reads version {VERSION}")));
    }
}

fn listen_list(field: &Field<'_>, overrides: Overrides) -> Vec<Listen> {
    let elements = field.list();
    if elements.is_empty() && matches!(field.node.kind, Kind::List(_)) {
        field.error(Complaint::new("at least one listener is needed"));
    }
    elements.iter().filter_map(|element| listen_table(element, overrides)).collect()
}

fn listen_table(field: &Field<'_>, overrides: Overrides) -> Option<Listen> {
    let mut table = field.table()?;
    let transport = table.need("transport", "udp, tcp or tls");
    let transport = transport.and_then(|field| field.parse(value::transport));
    let address = table.need("address", "e.g. address: \"203.0.113.1:5060\"");
    let address = address.and_then(|field| field.parse(value::address));
    let advertise = table.optional("advertise", value::sent_by);
    let unread = overrides.certificates_unread;
    let tls = tls_files(field, &mut table, transport, unread);
    table.finish();
    Some(Listen { listener: Listener { transport: transport?, address: address?, advertise }, tls })
}

/// The files of a TLS listener: `certificate` and `key`, or several in `certificates`.
fn tls_files(
    listen: &Field<'_>,
    table: &mut Table<'_>,
    transport: Option<Transport>,
    unread: bool,
) -> Option<TlsFiles> {
    let certificate = table.take("certificate");
    let key = table.take("key");
    let several = table.take("certificates");
    let client = table.take("client_certificates");
    if unread && transport == Some(Transport::Tls) {
        return Some(TlsFiles { certificates: Vec::new(), client_certificates: None });
    }
    if transport != Some(Transport::Tls) {
        for field in [&certificate, &key, &several, &client].into_iter().flatten() {
            if transport.is_some() {
                let complaint = Complaint::new("only a listener with transport: tls has this");
                field.error(complaint.hint("set transport: tls, or remove the key"));
            }
        }
        return None;
    }
    let mut pairs = Vec::new();
    match (certificate, key) {
        (Some(certificate), Some(key)) => pairs.extend(tls::pair(&certificate, &key)),
        (Some(only), None) => only.error(Complaint::new("the key \"key\" is missing beside it")),
        (None, Some(only)) => {
            only.error(Complaint::new("the key \"certificate\" is missing beside it"));
        }
        (None, None) if several.is_none() => {
            let complaint = Complaint::new("a TLS listener needs a certificate");
            listen
                .error(complaint.hint(
                    "certificate: /etc/ringfence/fullchain.pem, key: /etc/ringfence/key.pem",
                ));
        }
        (None, None) => {}
    }
    for element in several.iter().flat_map(Field::list) {
        let Some(mut table) = element.table() else { continue };
        let certificate = table.need("certificate", "the PEM file of a certificate chain");
        let key = table.need("key", "the PEM file of its private key");
        table.finish();
        if let (Some(certificate), Some(key)) = (certificate, key) {
            pairs.extend(tls::pair(&certificate, &key));
        }
    }
    let client_certificates = client.and_then(|field| client_certificates(&field));
    Some(TlsFiles { certificates: pairs, client_certificates })
}

/// The file of the authorities, or a table with it and whether a certificate is required.
fn client_certificates(field: &Field<'_>) -> Option<ClientCertificates> {
    if !matches!(field.node.kind, Kind::Table(_)) {
        return Some(ClientCertificates { authorities: tls::authorities(field)?, required: true });
    }
    let mut table = field.table()?;
    let authorities = table.need("authorities", "the PEM file of the CAs that sign for clients");
    let authorities = authorities.and_then(|field| tls::authorities(&field));
    let required = table.value("required", value::truth, true);
    table.finish();
    Some(ClientCertificates { authorities: authorities?, required })
}

struct Inside {
    address: SocketAddr,
    pbx: Vec<Pbx>,
}

fn inside_table(field: &Field<'_>) -> Option<Inside> {
    let mut table = field.table()?;
    let default = SocketAddr::from(([127, 0, 0, 1], 5080));
    let address = table.value("address", value::address, default);
    let registration = table.value("registration", value::registration, Default::default());
    let pbx = table.need("pbx", "say where the PBX listens, e.g. pbx: [\"127.0.0.1:5070\"]");
    let pbx = pbx.map(|field| {
        let list = field.list();
        if list.is_empty() && matches!(field.node.kind, Kind::List(_)) {
            field.error(Complaint::new("at least one PBX is needed"));
        }
        if let Some(second) = list.get(1) {
            second.warn(Complaint::new("only the first PBX is used in this version"));
        }
        list.iter().filter_map(|field| pbx_element(field, registration)).collect()
    });
    table.finish();
    Some(Inside { address, pbx: pbx? })
}

/// An address, or a table with the address and how registrations find their way back, where that
/// differs from what holds for all.
fn pbx_element(field: &Field<'_>, registration: Registration) -> Option<Pbx> {
    if !matches!(field.node.kind, Kind::Table(_)) {
        let address = field.parse(value::address)?;
        return Some(Pbx { address, registration });
    }
    let mut table = field.table()?;
    let address = table.need("address", "e.g. address: \"127.0.0.1:5070\"");
    let address = address.and_then(|field| field.parse(value::address));
    let registration = table.value("registration", value::registration, registration);
    table.finish();
    Some(Pbx { address: address?, registration })
}

fn trunk_list(field: &Field<'_>) -> Vec<Trunk> {
    let elements = field.list();
    if !elements.is_empty() {
        let complaint = Complaint::new("has no effect in this version");
        field.warn(complaint.hint("calls from their hosts are treated like any other source's"));
    }
    elements.iter().filter_map(trunk_table).collect()
}

fn trunk_table(field: &Field<'_>) -> Option<Trunk> {
    let mut table = field.table()?;
    let name = table.need("name", "a short word for logs, e.g. name: carrier");
    let name = name.and_then(|field| field.parse(value::text));
    let hosts = table.values("hosts", value::host);
    let dids = table.values("dids", value::text);
    table.finish();
    Some(Trunk { name: name?, hosts, dids })
}

fn admin_table(table: &mut Table<'_>) -> Option<Admin> {
    let Some(field) = table.take("admin") else { return Some(Admin::default()) };
    if let Kind::Text(word) = &field.node.kind
        && word == "off"
    {
        return None;
    }
    let Some(mut table) = field.table() else { return Some(Admin::default()) };
    let listen_field = table.take("listen");
    let listen = listen_field.as_ref().and_then(|field| field.parse(value::address_any_port));
    let listen = listen.unwrap_or(Admin::default().listen);
    if let Some(field) = listen_field
        && !listen.ip().is_loopback()
    {
        let complaint = Complaint::new("metrics and health can be read by whoever reaches this");
        field.warn(complaint.hint("use 127.0.0.1 and a reverse proxy, or a firewall"));
    }
    let networks_field = table.take("networks");
    let mut networks = Vec::new();
    if let Some(field) = networks_field {
        field.warn(Complaint::new("operators' networks have no effect in this version"));
        networks = field.list().iter().filter_map(|field| field.parse(value::network)).collect();
    }
    table.finish();
    Some(Admin { listen, networks })
}

fn shards_value(table: &mut Table<'_>, overrides: Overrides) -> u8 {
    let default = overrides.shards.unwrap_or_else(Config::default_shards);
    let bounds = 1..=u64::from(Config::SHARDS_MAX);
    let shards = table.count("shards", bounds, usize::from(default));
    u8::try_from(shards).unwrap_or(default)
}

fn log_table(table: &mut Table<'_>) -> Log {
    let default = Log::default();
    let Some(mut table) = table.take("log").and_then(|field| field.table()) else {
        return default;
    };
    let format = |text: &str| {
        value::one_of(text, "log format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    };
    let log = Log {
        format: table.value("format", format, default.format),
        level: table.value("level", check::log_level, default.level),
    };
    table.finish();
    log
}

fn transport_table(table: &mut Table<'_>) -> TransportSettings {
    let default = TransportSettings::default();
    let Some(mut table) = table.take("transport").and_then(|field| field.table()) else {
        return default;
    };
    let mut count = |name, most, default| table.count(name, 1..=most, default);
    let backlog = count("backlog", 65_535, default.backlog);
    let connections_per_source =
        count("connections_per_source", 1 << 20, default.connections_per_source);
    let handshakes = count("handshakes", 1 << 16, default.handshakes);
    let datagrams_per_wakeup = count("datagrams_per_wakeup", 4_096, default.datagrams_per_wakeup);
    let hand_over_queue = count("hand_over_queue", 1 << 20, default.hand_over_queue);
    let mut size = |name, default| table.size(name, 64 << 10..=1 << 30, default);
    let send_queue = size("send_queue", default.send_queue);
    let udp_receive_buffer = size("udp_receive_buffer", default.udp_receive_buffer);
    let udp_send_buffer = size("udp_send_buffer", default.udp_send_buffer);
    let bounds = DURATION_MIN..=DURATION_MAX;
    let send_stall = table.duration("send_stall", bounds, default.send_stall);
    table.finish();
    TransportSettings {
        backlog,
        connections_per_source,
        handshakes,
        send_queue,
        send_stall,
        datagrams_per_wakeup,
        udp_receive_buffer,
        udp_send_buffer,
        hand_over_queue,
    }
}

/// The part of the policy that may stand in a file of its own.
#[derive(Debug)]
struct Rules {
    timers: Timers,
    limits: Limits,
    capacities: Capacities,
    budgets: Budgets,
    answer_malformed: bool,
    source_header: Option<String>,
}

/// RFC 3261's timer bases and the other times of the engine.
#[derive(Debug)]
struct Timers {
    base: TimerBase,
    timer_c: Duration,
    trying_after: Duration,
    retry_after: Duration,
    nonce_memory: Duration,
}

/// A policy to take defaults from.
fn default_policy() -> Policy {
    Policy::new(Vec::new(), SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new())
}

impl Default for Timers {
    fn default() -> Self {
        let policy = default_policy();
        Timers {
            base: policy.timers,
            timer_c: policy.timer_c,
            trying_after: policy.trying_after,
            retry_after: policy.retry_after,
            nonce_memory: policy.nonce_memory,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        let policy = default_policy();
        Rules {
            timers: Timers::default(),
            limits: policy.limits,
            capacities: policy.capacities,
            budgets: policy.budgets,
            answer_malformed: policy.answer_malformed,
            source_header: policy.source_header,
        }
    }
}

impl Rules {
    fn into_policy(
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
            capacities: self.capacities,
            budgets: self.budgets,
            timer_c: self.timers.timer_c,
            trying_after: self.timers.trying_after,
            retry_after: self.timers.retry_after,
            nonce_memory: self.timers.nonce_memory,
            answer_malformed: self.answer_malformed,
            source_header: self.source_header,
            ..Policy::new(listeners, inside, pbx)
        }
    }
}

/// Inline, or the name of a file.
fn policy_field(field: &Field<'_>) -> Rules {
    if matches!(field.node.kind, Kind::Table(_)) {
        return rules_table(field);
    }
    let Some(path) = field.parse(value::path) else { return Rules::default() };
    let file = beside(field.source.file, path);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => {
            let complaint = Complaint::new(format!("{} cannot be read: {error}", file.display()));
            field.error(complaint.hint("relative paths start at the directory of this file"));
            return Rules::default();
        }
    };
    let source = Source { file: &file, text: &text, problems: field.source.problems };
    match tree::parse(source) {
        Some(node) if !matches!(node.kind, Kind::Null) => rules_table(&Field::root(source, &node)),
        _ => Rules::default(),
    }
}

fn rules_table(field: &Field<'_>) -> Rules {
    let default = Rules::default();
    let Some(mut table) = field.table() else { return default };
    let rules = Rules {
        timers: timers_table(table.take("timers")),
        limits: limits_table(table.take("limits")),
        capacities: capacities_table(table.take("capacities")),
        budgets: budgets_table(table.take("budgets")),
        answer_malformed: table.value("answer_malformed", value::truth, default.answer_malformed),
        source_header: table.value("source_header", value::header_name, default.source_header),
    };
    table.finish();
    rules
}

fn timers_table(field: Option<Field<'_>>) -> Timers {
    let default = Timers::default();
    let Some(field) = field else { return default };
    let Some(mut table) = field.table() else { return default };
    let mut time = |name, default| table.duration(name, DURATION_MIN..=DURATION_MAX, default);
    let timers = Timers {
        base: TimerBase {
            t1: time("t1", default.base.t1),
            t2: time("t2", default.base.t2),
            t4: time("t4", default.base.t4),
        },
        timer_c: time("timer_c", default.timer_c),
        trying_after: time("trying_after", default.trying_after),
        retry_after: time("retry_after", default.retry_after),
        nonce_memory: time("nonce_memory", default.nonce_memory),
    };
    table.finish();
    check::timers(&field, &timers.base, timers.timer_c);
    timers
}

fn limits_table(field: Option<Field<'_>>) -> Limits {
    let default = Limits::default();
    let Some(mut table) = field.and_then(|field| field.table()) else { return default };
    let lines = Limits::HEADER_LINES_MAX as u64;
    let mut size = |name, least, default| table.size(name, least..=65_535, default);
    let limits = Limits {
        message_bytes: size("message_bytes", 1_024, default.message_bytes),
        start_line_bytes: size("start_line_bytes", 128, default.start_line_bytes),
        header_bytes: size("header_bytes", 512, default.header_bytes),
        header_line_bytes: size("header_line_bytes", 256, default.header_line_bytes),
        body_bytes: size("body_bytes", 0, default.body_bytes),
        header_lines: table.count("header_lines", 16..=lines, default.header_lines),
        via_values: table.count("via_values", 1..=lines, default.via_values),
    };
    table.finish();
    limits
}

fn capacities_table(field: Option<Field<'_>>) -> Capacities {
    let default = Capacities::default();
    let Some(mut table) = field.and_then(|field| field.table()) else { return default };
    let mut count = |name, default| table.count(name, 16..=1 << 24, default);
    let exchanges = count("exchanges", default.exchanges);
    let bindings = count("bindings", default.bindings);
    let moved_flows = count("moved_flows", default.moved_flows);
    let nonces = count("nonces", default.nonces);
    let connections = count("connections", default.connections);
    let bytes = 1 << 20..=1 << 40;
    let retained_bytes = table.size("retained_bytes", bytes, default.retained_bytes);
    table.finish();
    Capacities { exchanges, bindings, moved_flows, nonces, connections, retained_bytes }
}

fn budgets_table(field: Option<Field<'_>>) -> Budgets {
    let default = Budgets::default();
    let Some(mut table) = field.and_then(|field| field.table()) else { return default };
    let mut time = |name, default| table.duration(name, DURATION_MIN..=DURATION_MAX, default);
    let budgets = Budgets {
        handshake: time("handshake", default.handshake),
        first_byte: time("first_byte", default.first_byte),
        start_line: time("start_line", default.start_line),
        headers: time("headers", default.headers),
        body: time("body", default.body),
        idle: time("idle", default.idle),
    };
    table.finish();
    budgets
}

/// `path` as seen from the directory of `file`.
pub(crate) fn beside(file: &Path, path: PathBuf) -> PathBuf {
    if path.is_absolute() {
        return path;
    }
    file.parent().map_or_else(|| path.clone(), |directory| directory.join(&path))
}
