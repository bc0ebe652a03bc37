//! The configuration file, key by key.

use crate::audit::Audit;
use crate::enforce::Enforce;
use crate::form::{DURATION_MAX, DURATION_MIN};
use crate::hep::Hep;
use crate::keys::{Form as _, Section};
use crate::model::{
    Admin, ClientCertificates, Config, Listen, Log, LogFormat, ResolverSettings, TlsFiles,
    TransportSettings, Trunk,
};
use crate::policy_file;
use crate::problem::{Complaint, Invalid, Place, Problem, Problems, Source};
use crate::table::{Field, Table};
use crate::tree::{self, Kind};
use crate::trial::Trial;
use crate::{alerts, check, feeds, inside, tls, trunk, value};
use policy::{Listener, Network};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::Transport;

/// The configuration language that this version reads.
pub(crate) const VERSION: u64 = 1;
/// Longest path of a Unix socket, in bytes (`sockaddr_un`).
const SOCKET_PATH_MAX: usize = 107;
/// Default of `state_dir`.
const STATE_DIR: &str = "/var/lib/ringfence";

/// A configuration and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Problems, all of them warnings.
    pub warnings: Vec<Problem>,
    /// The tests of the policy; they are no setting.
    pub tests: Vec<Trial>,
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
    load_and_list(file, overrides).0
}

/// As [`load_with`]; and all files that the configuration consists of, readable or not: whoever
/// waits for a change watches them.
pub fn load_and_list(file: &Path, overrides: Overrides) -> (Result<Loaded, Invalid>, Vec<PathBuf>) {
    let problems = Problems::default();
    problems.looks_at(file);
    let (text, error) = match std::fs::read_to_string(file) {
        Ok(text) => (text, None),
        Err(error) => (String::new(), Some(error)),
    };
    let source = Source { file, text: &text, problems: &problems };
    if let Some(error) = error {
        let complaint = Complaint::new(format!("cannot be read: {error}"));
        let complaint = match error.kind() {
            std::io::ErrorKind::NotFound => complaint.hint(
                "`ringfence init` writes one for the Asterisk that is here; --config names another",
            ),
            std::io::ErrorKind::PermissionDenied => {
                complaint.hint("the user that runs ringfence must be able to read it")
            }
            std::io::ErrorKind::InvalidData => complaint.hint("it must be text in UTF-8"),
            _ => complaint,
        };
        source.error(Place::default(), "", complaint);
        return (Err(Invalid { problems: problems.finish().0 }), vec![file.to_owned()]);
    }
    let read = read_source(source, overrides);
    let files = problems.files();
    (ended(read, problems), files)
}

/// As [`load`] with the text at hand; `file` names it, and relative paths are relative to its
/// directory.
///
/// # Errors
/// As [`load`].
pub fn load_str(file: &Path, text: &str, overrides: Overrides) -> Result<Loaded, Invalid> {
    let problems = Problems::default();
    let read = read_source(Source { file, text, problems: &problems }, overrides);
    ended(read, problems)
}

fn read_source(source: Source<'_>, overrides: Overrides) -> Option<(Config, Vec<Trial>)> {
    tree::parse(source).and_then(|node| read(&Field::root(source, &node), overrides))
}

fn ended(read: Option<(Config, Vec<Trial>)>, problems: Problems) -> Result<Loaded, Invalid> {
    let (problems, failed) = problems.finish();
    match read {
        Some((config, tests)) if !failed => Ok(Loaded { config, warnings: problems, tests }),
        _ => Err(Invalid { problems }),
    }
}

/// Where a running edge of that configuration is reached, even when the file has errors
/// elsewhere: `admin.socket`, as far as it can be read.
#[must_use]
pub fn admin_socket(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let problems = Problems::default();
    let source = Source { file, text: &text, problems: &problems };
    let node = tree::parse(source);
    let root = node.as_ref().map(|node| Field::root(source, node));
    let Some(mut table) = root.and_then(|root| root.table()) else {
        return Admin::default_in(Path::new(STATE_DIR)).socket;
    };
    let state_dir = table.value("state_dir", value::path, STATE_DIR.into());
    admin_table(&mut table, &beside(file, state_dir)).and_then(|admin| admin.socket)
}

pub(crate) fn read(root: &Field<'_>, overrides: Overrides) -> Option<(Config, Vec<Trial>)> {
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
    let inside =
        table.need("inside", "say where the PBX is, e.g. inside: { pbx: [\"127.0.0.1:5070\"] }");
    let domains = table.values("domains", value::host);
    let trunks = table
        .take("trunks")
        .map(|field| trunk::list(&field, overrides.certificates_unread))
        .unwrap_or_default();
    let unread = overrides.certificates_unread;
    let known = inside::Known { listen: &listen, trunks: &trunks, unread };
    let inside = inside.and_then(|field| inside::read(&field, known));
    let state_dir = table.value("state_dir", value::path, STATE_DIR.into());
    let state_dir = beside(root.source.file, state_dir);
    let admin = admin_table(&mut table, &state_dir);
    let audit = audit_table(&mut table);
    let alerts = table.take("alerts").and_then(|field| alerts::read(&field));
    let hep = hep_table(&mut table);
    let enforce = enforce_table(&mut table);
    let crowdsec = table.take("crowdsec").and_then(|field| feeds::read_crowdsec(&field));
    let feeds = table.take("feeds").map(|field| feeds::read(&field)).unwrap_or_default();
    let mut rules = match table.take("policy") {
        Some(field) => policy_file::policy_field(&field),
        None => policy_file::unsaid(root.source.problems),
    };
    rules.learn(&trunks, admin.as_ref());
    let shards = shards_value(&mut table, overrides);
    let log = log_table(&mut table);
    let secret_file = table.optional("secret_file", value::path);
    let secret_file =
        secret_file.map_or_else(|| state_dir.join("secret"), |path| beside(root.source.file, path));
    let watch = table.value("watch", value::truth, true);
    let bounds = Duration::ZERO..=DURATION_MAX;
    let drain_timeout = table.duration("drain_timeout", bounds, Duration::from_secs(32));
    let transport = transport_table(&mut table);
    let mut resolver = ResolverSettings::default();
    if let Some(field) = table.take("resolver") {
        Section.read(&field, &mut resolver);
    }
    table.finish();

    let inside = inside?;
    let places = inside.places;
    let listeners = listen.iter().map(|listen| listen.listener.clone()).collect();
    let signatures = rules.signatures.clone();
    let tests = std::mem::take(&mut rules.trials);
    let mut policy = rules.into_policy(listeners, inside.address, inside.pbx, domains);
    policy.trunks = trunks.iter().map(Trunk::as_policy).collect();
    (policy.groups, policy.checks) = (inside.groups, inside.checks);
    let config = Config {
        policy,
        signatures,
        listen,
        shards,
        trunks,
        pbx_authorities: inside.authorities,
        admin,
        audit,
        alerts,
        hep,
        enforce,
        feeds,
        crowdsec,
        log,
        state_dir,
        secret_file,
        watch,
        drain_timeout,
        transport,
        resolver,
    };
    check::check(root, &config, &places);
    Some((config, tests))
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
    let balancers = table.take("proxy_protocol").map(|field| balancers(&field)).unwrap_or_default();
    table.finish();
    let listener = Listener { transport: transport?, address: address?, advertise };
    Some(Listen { listener, tls, balancers })
}

/// Who may say for whom he speaks. Not everybody: whoever may is believed whatever address he names.
fn balancers(field: &Field<'_>) -> Vec<Network> {
    let Some(mut table) = field.table() else { return Vec::new() };
    let from = table.need("from", "the load balancers, e.g. from: [\"10.0.0.5\"]");
    table.finish();
    let elements = from.as_ref().map(Field::list).unwrap_or_default();
    if let Some(from) = from.filter(|_| elements.is_empty()) {
        from.error(Complaint::new("at least one load balancer is needed"));
    }
    let read = |element: &Field<'_>| {
        let network = element.parse(value::network)?;
        let least = if network.address().is_ipv4() { 8 } else { 16 };
        if network.prefix() < least {
            let text = format!("everybody in {network} could pass for anybody else");
            element.error(Complaint::new(text).hint("name the addresses of the load balancers"));
            return None;
        }
        Some(network)
    };
    elements.iter().filter_map(read).collect()
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

fn admin_table(table: &mut Table<'_>, state_dir: &Path) -> Option<Admin> {
    let default = Admin::default_in(state_dir);
    let Some(field) = table.take("admin") else { return Some(default) };
    if field.is_word("off") {
        return None;
    }
    let Some(mut table) = field.table() else { return Some(default) };
    let file = field.source.file;
    let socket = match table.take("socket") {
        None => default.socket,
        Some(field) if field.is_word("off") => None,
        Some(field) => socket_path(&field).map(|path| beside(file, path)),
    };
    let listen_field = table.take("listen");
    let listen = match &listen_field {
        None => default.listen,
        Some(field) if field.is_word("off") => None,
        Some(field) => field.parse(value::address_any_port),
    };
    let token_file = table.optional("token_file", value::path).map(|path| beside(file, path));
    token_file.iter().for_each(|file| field.source.problems.looks_at(file));
    if let (Some(field), Some(listen), None) = (listen_field, listen, &token_file)
        && !listen.ip().is_loopback()
    {
        let complaint = Complaint::new("without a token this shows health, and nothing else");
        field.warn(complaint.hint("set token_file beside it, or use 127.0.0.1"));
    }
    let networks = table.values("networks", value::network);
    table.finish();
    Some(Admin { socket, listen, token_file, networks })
}

/// A path that the kernel takes for a socket: it has room for 107 bytes.
fn socket_path(field: &Field<'_>) -> Option<PathBuf> {
    let path = field.parse(value::path)?;
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        let complaint = Complaint::new("this path is too long for a socket");
        field.error(complaint.hint(format!("at most {SOCKET_PATH_MAX} bytes")));
        return None;
    }
    Some(path)
}

/// `off`, or a table; off when nothing is said.
fn audit_table(table: &mut Table<'_>) -> Option<Audit> {
    let field = table.take("audit").filter(|field| !field.is_word("off"))?;
    let mut audit = Audit::default();
    Section.read(&field, &mut audit);
    audit.file = beside(field.source.file, audit.file);
    audit.socket = audit.socket.map(|path| beside(field.source.file, path));
    Some(audit)
}

/// `off`, or a table; off when nothing is said.
fn hep_table(table: &mut Table<'_>) -> Option<Hep> {
    let field = table.take("hep").filter(|field| !field.is_word("off"))?;
    let mut hep = Hep::default();
    Section.read(&field, &mut hep);
    Some(hep)
}

/// `off`, or a table; off when nothing is said.
fn enforce_table(table: &mut Table<'_>) -> Option<Enforce> {
    let field = table.take("enforce")?;
    if field.is_word("off") {
        return None;
    }
    let mut enforce = Enforce::default();
    Section.read(&field, &mut enforce);
    enforce.socket = beside(field.source.file, enforce.socket);
    Some(enforce)
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

/// `path` as seen from the directory of `file`.
pub(crate) fn beside(file: &Path, path: PathBuf) -> PathBuf {
    if path.is_absolute() {
        return path;
    }
    file.parent().map_or_else(|| path.clone(), |directory| directory.join(&path))
}
