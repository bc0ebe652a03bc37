//! What a new configuration changes while the edge runs, and what needs a restart.

use config::{Admin, Config};
use std::collections::BTreeMap;
use std::fmt;

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its YAML path.
    pub(crate) path: String,
    /// What it was; `None`: it was not there.
    pub(crate) from: Option<String>,
    /// What the file says now; `None`: it is not there any more.
    pub(crate) to: Option<String>,
    /// The running edge keeps the old value.
    pub(crate) needs_restart: bool,
}

impl fmt::Display for Change {
    /// `policy.timers.t1: 500ms -> 250ms`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = "(absent)";
        let from = self.from.as_deref().unwrap_or(absent);
        write!(f, "{}: {from} -> {}", self.path, self.to.as_deref().unwrap_or(absent))
    }
}

/// The configuration to run by from now on: the new one, but with the old value of whatever
/// cannot change while the sockets and threads stay; and all that differs.
pub(crate) fn merge(old: &Config, new: Config) -> (Config, Vec<Change>) {
    let same_sockets = sockets(old).eq(sockets(&new));
    let changes = changes(old, &new, same_sockets);
    let mut merged = Config {
        shards: old.shards,
        admin: admin(old, &new),
        enforce: old.enforce.clone(),
        crowdsec: old.crowdsec.clone(),
        state_dir: old.state_dir.clone(),
        secret_file: old.secret_file.clone(),
        transport: old.transport,
        ..new
    };
    let queue = old.audit.clone().unwrap_or_default().queue;
    if let Some(audit) = &mut merged.audit {
        audit.queue = queue;
    }
    merged.log.format = old.log.format;
    if !same_sockets {
        merged.listen = old.listen.clone();
        merged.policy.listeners = old.policy.listeners.clone();
    }
    for (listen, old) in merged.listen.iter_mut().zip(&old.listen) {
        listen.balancers.clone_from(&old.balancers);
    }
    merged.policy.inside = old.policy.inside;
    let bound = |name: &str| old.trunks.iter().find(|old| old.name == name)?.source;
    for (trunk, rules) in merged.trunks.iter_mut().zip(&mut merged.policy.trunks) {
        trunk.source = bound(&trunk.name);
        rules.source = trunk.source;
    }
    merged.policy.budgets.handshake = old.policy.budgets.handshake;
    merged.policy.capacities.connections = old.policy.capacities.connections;
    merged.policy.version = old.policy.version.wrapping_add(1);
    (merged, changes)
}

/// The old sockets; whom the operators' networks trust changes with the policy, and the token.
fn admin(old: &Config, new: &Config) -> Option<Admin> {
    let mut admin = old.admin.clone();
    if let (Some(admin), Some(new)) = (&mut admin, &new.admin) {
        admin.networks.clone_from(&new.networks);
        admin.token_file.clone_from(&new.token_file);
    }
    admin
}

fn sockets(config: &Config) -> impl Iterator<Item = (wire::Transport, std::net::SocketAddr)> {
    config.listen.iter().map(|listen| (listen.listener.transport, listen.listener.address))
}

fn changes(old: &Config, new: &Config, same_sockets: bool) -> Vec<Change> {
    let (old, new) = (old.settings(), new.settings());
    let was: BTreeMap<&str, &str> = pairs(&old).collect();
    let is: BTreeMap<&str, &str> = pairs(&new).collect();
    let gone = pairs(&old).filter(|(path, _)| !is.contains_key(path));
    let gone = gone.map(|(path, value)| (path, Some(value), None));
    let differs = pairs(&new).filter(|(path, value)| was.get(path) != Some(value));
    let differs = differs.map(|(path, value)| (path, was.get(path).copied(), Some(value)));
    differs
        .chain(gone)
        .map(|(path, from, to)| Change {
            path: path.to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            needs_restart: needs_restart(path, same_sockets),
        })
        .collect()
}

fn pairs(settings: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    settings.iter().map(|(path, value)| (path.as_str(), value.as_str()))
}

/// Whether the setting is fixed while the process runs.
fn needs_restart(path: &str, same_sockets: bool) -> bool {
    const FIXED: [&str; 12] = [
        "inside.address",
        "shards",
        "admin",
        "audit.queue",
        "enforce",
        "crowdsec",
        "log.format",
        "state_dir",
        "secret_file",
        "transport",
        "policy.budgets.handshake",
        "policy.capacities.connections",
    ];
    let under = |part: &str| {
        path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if under("admin.networks") || under("admin.token_file") {
        return false;
    }
    let source = path.starts_with("trunks[") && path.ends_with("].source");
    // A listener's name and certificates can change; a socket more or less cannot, and who speaks
    // for others there is the socket's.
    let fixed = !same_sockets || path.contains("].proxy_protocol.");
    source || FIXED.iter().any(|part| under(part)) || (under("listen") && fixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Overrides, load_str};
    use std::path::Path;

    fn read(text: &str) -> Config {
        let text = format!("version: 1\n{text}");
        load_str(Path::new("r.yaml"), &text, Overrides { shards: Some(2), ..Overrides::default() })
            .unwrap()
            .config
    }

    const BASE: &str = "listen: [{ transport: udp, address: \"127.0.0.1:5060\" }]\n\
        inside: { pbx: [\"127.0.0.1:5070\"] }\n";

    fn told(changes: &[Change], needs_restart: bool) -> Vec<String> {
        let some = changes.iter().filter(|change| change.needs_restart == needs_restart);
        some.map(ToString::to_string).collect()
    }

    #[test]
    fn an_unchanged_file_changes_nothing() {
        let text = "listen: [{ transport: udp, address: \"203.0.113.1:5060\" }]\n\
            inside: { pbx: [\"127.0.0.1:5070\"] }\n\
            policy: { trust: { networks: [198.51.100.0/24, 192.0.2.0/24] } }\n";
        let (_, changes) = merge(&read(text), read(text));
        assert_eq!(changes, []);
    }

    #[test]
    fn nothing_changed_is_nothing_told() {
        let old = read(BASE);
        let (merged, changes) = merge(&old, read(BASE));
        assert_eq!(changes, []);
        assert_eq!(merged.policy.version, old.policy.version + 1);
    }

    #[test]
    fn rules_change_while_running() {
        let text = format!(
            "{BASE}domains: [pbx.example.com]\nlog: {{ level: debug }}\ndrain_timeout: 5s\n\
             policy: {{ timers: {{ t1: 250ms }}, source_header: off }}\n"
        )
        .replace("5070", "5071");
        let (merged, changes) = merge(&read(BASE), read(&text));
        assert_eq!(told(&changes, true), [""; 0]);
        assert_eq!(
            told(&changes, false),
            [
                "inside.pbx[0].address: 127.0.0.1:5070 -> 127.0.0.1:5071",
                "domains[0]: (absent) -> pbx.example.com",
                "log.level: info -> debug",
                "drain_timeout: 32s -> 5s",
                "policy.timers.t1: 500ms -> 250ms",
                "policy.source_header: X-Ringfence-Source -> off",
            ]
        );
        assert_eq!(merged.policy.timers.t1.as_millis(), 250);
        assert_eq!(merged.policy.pbx[0].address.port(), 5071);
        assert_eq!(merged.log.level, "debug");
    }

    #[test]
    fn sockets_and_threads_stay_until_a_restart() {
        let text = "listen: [{ transport: udp, address: \"127.0.0.1:5061\", advertise: a.example }]\n\
            inside: { address: \"127.0.0.1:6000\", pbx: [\"127.0.0.1:5070\"] }\nshards: 4\n\
            log: { format: json }\nadmin: off\ntransport: { handshakes: 1 }\nstate_dir: /x\n\
            policy: { budgets: { handshake: 1s }, capacities: { connections: 16 } }\n";
        let old = read(BASE);
        let (merged, changes) = merge(&old, read(text));
        assert_eq!(told(&changes, false), [""; 0]);
        assert_eq!(told(&changes, true).len(), changes.len());
        let mut kept = old.clone();
        kept.policy.version += 1;
        assert_eq!(format!("{merged:?}"), format!("{kept:?}"));
    }

    #[test]
    fn a_trunks_source_is_a_socket() {
        let with =
            |more: &str| format!("{BASE}trunks: [{{ name: t, hosts: [192.0.2.1]{more} }}]\n");
        let old = read(&with(", source: 127.0.0.9"));
        let (merged, changes) = merge(&old, read(&with(", source: 127.0.0.8, dids: [\"49\"]")));
        assert_eq!(told(&changes, true), ["trunks[t].source: 127.0.0.9 -> 127.0.0.8"]);
        assert!(!told(&changes, false).is_empty());
        assert_eq!(merged.policy.trunks[0].source, old.trunks[0].source);
        assert_eq!(merged.trunks[0].source, old.trunks[0].source);
        let (merged, _) = merge(&read(&with("")), read(&with(", source: 127.0.0.9")));
        assert_eq!(merged.policy.trunks[0].source, None, "nothing is bound there");
    }

    #[test]
    fn operators_networks_change_while_running() {
        let text = format!("{BASE}admin: {{ networks: [203.0.113.0/24] }}\n");
        let (merged, changes) = merge(&read(BASE), read(&text));
        assert_eq!(
            told(&changes, false),
            [
                "admin.networks[0]: (absent) -> 203.0.113.0/24",
                "policy.trust.networks[admin].network: (absent) -> 203.0.113.0/24",
                "policy.trust.networks[admin].name: (absent) -> admin",
            ]
        );
        assert_eq!(told(&changes, true), [""; 0]);
        assert_eq!(format!("{merged:?}"), {
            let mut new = read(&text);
            new.policy.version += 1;
            format!("{new:?}")
        });
    }

    #[test]
    fn a_listener_changes_its_name_but_not_its_socket() {
        let text = BASE.replace("5060\"", "5060\", advertise: pbx.example.com");
        let (merged, changes) = merge(&read(BASE), read(&text));
        assert_eq!(told(&changes, false), ["listen[0].advertise: (absent) -> pbx.example.com"]);
        assert_eq!(merged.policy.listeners[0].advertise.as_deref(), Some("pbx.example.com"));
        let (_, changes) = merge(&read(&text), read(BASE));
        assert_eq!(told(&changes, false), ["listen[0].advertise: pbx.example.com -> (absent)"]);
    }
}
