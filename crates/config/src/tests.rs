//! The samples, files with mistakes, and what is said about them.

use crate::{Config, Invalid, Loaded, Overrides, load, load_str};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const ONE_SHARD: Overrides = Overrides { shards: Some(1), certificates_unread: false };

fn read(text: &str) -> Result<Loaded, Invalid> {
    load_str(Path::new("ringfence.yaml"), text, ONE_SHARD)
}

fn samples() -> Vec<(PathBuf, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let text = |file: PathBuf| (file.clone(), std::fs::read_to_string(file).unwrap());
    // The others are parts: signatures, tests of policies.
    let whole = |(_, text): &(PathBuf, String)| text.contains("\nversion: ");
    files.into_iter().map(text).filter(whole).collect()
}

/// A self-signed certificate and its key in a directory of their own.
fn certificate(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["pbx.example.com".into()]).unwrap();
    let certificate = directory.join(format!("{name}.pem"));
    let key = directory.join(format!("{name}-key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

#[test]
fn every_sample_loads_without_a_warning() {
    let samples = samples();
    assert!(samples.len() >= 3, "{samples:?}");
    for (file, _) in samples {
        let loaded = load(&file).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert_eq!(loaded.warnings, [], "{}", file.display());
    }
}

#[test]
fn the_reference_sample_says_the_defaults() {
    let (file, text) =
        samples().into_iter().find(|(file, _)| file.ends_with("all-keys.yaml")).unwrap();
    let all = load_str(&file, &text, ONE_SHARD).unwrap().config;
    let least = "version: 1\n\
        listen: [{ transport: udp, address: \"0.0.0.0:5060\", advertise: \"pbx.example.com:5060\" },\
         { transport: tcp, address: \"0.0.0.0:5060\" }]\n\
        inside: { pbx: [\"127.0.0.1:5070\"] }\n\
        audit: {}\nalerts: { targets: [{ name: hook, url: \"https://example.com/hook\" }, { name: mail, to: mail,\
         server: mail.example.com, from: \"Ringfence <edge@example.com>\", recipients: [ops@example.com] }] }\nhep: { address: \"127.0.0.1:9060\" }\nenforce: {}\n\
        feeds: [{ name: voipbl, url: \"https://www.voipbl.org/update\" }]\n\
        crowdsec: { url: \"http://127.0.0.1:8080\", machine: ringfence,\
         password_file: /etc/ringfence/crowdsec.password }\n\
        domains: [pbx.example.com]\n";
    assert_eq!(all.to_yaml(), read(least).unwrap().config.to_yaml());
}

#[test]
fn what_is_printed_as_effective_loads_and_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(directory.path(), "one");
    let other = "version: 1\n\
        listen: [{ transport: tls, address: \"[::]:5061\", certificate: CERT, key: KEY, client_certificates: { authorities: CERT, required: false }, proxy_protocol: { from: [10.0.0.5, \"2001:db8::/64\"] } }]\n\
        inside: { address: \"127.0.0.1:6000\", pbx: [{ address: \"127.0.0.1:5070\", registration: path }] }\n\
        trunks: [{ name: carrier, hosts: [sip.carrier.example], dids: [0049123456xx, 4940123456], \
          limits: { calls: 30, calls_per_second: 5, longest_call: 1h }, identity: private, from_domain: carrier.example, source: 127.0.0.9, \
          headers: { inwards: [{ remove: Diversion }, { remove: \"X-*\" }], outwards: [{ set: User-Agent, to: PBX }, { add: X-Account, to: \"4711\" }] } }]\n\
        admin: off\n\
        audit: { to: syslog, socket: log, format: fail2ban, accepted: true, keep: 0, size: 8KiB }\n\
        hep: { address: \"[::1]:9061\", transport: tcp, what: all, agent: 7, node: e, queue: 64KiB }\n\
        alerts: { node: e-1, gather: 1s, repeat: 1h, per_hour: 5, certificate: 7d, table: 50, queue: 16, targets: [\
          { name: s, to: slack, url: \"https://hooks.example/{key}\", key_file: k, authorities: ca.pem, kinds: [storm, pbx_down], timeout: 2s },\
          { name: n, to: ntfy, url: \"https://ntfy.example/edge\", token_file: t },\
          { name: m, to: mail, server: \"::1\", port: 2525, tls: off, user: u, password_file: p, from: a@b.example, recipients: [c@d.example] }] }\n\
        enforce: { socket: s, media: [\"10000-20000\", \"4000\"], on_stop: keep, networks: 16 }\n\
        shards: 3\n\
        log: { format: json, level: \"warn,transport=debug\" }\n\
        state_dir: state\n\
        drain_timeout: 1500ms\n\
        transport: { send_stall: 7s, send_queue: 100kB, handshakes: 7 }\n\
        policy: { answer_malformed: true, source_header: off, timers: { t1: 5ms, t2: 40ms, t4: 50ms, timer_c: 2s }, limits: { body_bytes: 0 }, \
          capacities: { retained_bytes: 1.5GiB }, budgets: { idle: 1h30m } }\n"
        .replace("CERT", certificate.to_str().unwrap())
        .replace("KEY", key.to_str().unwrap());
    let mut texts: Vec<String> = samples().into_iter().map(|(_, text)| text).collect();
    texts.push(other);
    for text in texts {
        let first = read(&text).unwrap_or_else(|invalid| panic!("{invalid}")).config;
        let yaml = first.to_yaml();
        let second = read(&yaml).unwrap_or_else(|invalid| panic!("{invalid}\n{yaml}")).config;
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "{yaml}");
    }
}

#[test]
fn the_common_case_of_the_contract_loads() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(directory.path(), "one");
    std::fs::write(directory.path().join("policy.yaml"), "timers: { t1: 250ms }\n").unwrap();
    let text = r#"
version: 1
listen:
  - { transport: udp, address: "203.0.113.1:5060" }
  - { transport: tcp, address: "203.0.113.1:5060" }
  - { transport: tls, address: "203.0.113.1:5061", certificate: CERT, key: KEY }
inside:
  address: "127.0.0.1:5080"          # shard n uses port 5080+n
  pbx: ["127.0.0.1:5070"]
domains: [pbx.example.com]           # what we answer for; default: our addresses and what the PBX's realm teaches
trunks:
  - { name: carrier, hosts: ["sip.carrier.example"], dids: ["4940123456xx"] }
admin: { listen: "127.0.0.1:9060", networks: ["203.0.113.128/25"] }   # HTTP: /metrics, /healthz, /readyz, /api/v1, dashboard
policy: policy.yaml                  # or inline; hot-reloaded
"#;
    let text =
        text.replace("CERT", certificate.to_str().unwrap()).replace("KEY", key.to_str().unwrap());
    let file = directory.path().join("ringfence.yaml");
    let Loaded { config, warnings, .. } = load_str(&file, &text, ONE_SHARD).unwrap();
    assert_eq!(config.policy.listeners.len(), 3);
    assert_eq!(config.policy.timers.t1, std::time::Duration::from_millis(250));
    assert_eq!(config.policy.domains, ["pbx.example.com"]);
    assert_eq!(config.listen[2].tls.as_ref().unwrap().certificates, [(certificate, key)]);
    assert_eq!(config.trunks[0].dids, ["4940123456xx"]);
    let admission = &config.policy.admission;
    assert_eq!(&*admission.trust.networks[0].1, "admin");
    assert!(admission.trust.networks[0].0.contains("203.0.113.200".parse().unwrap()));
    assert_eq!(admission.dids.patterns, ["4940123456xx".into()]);
    assert_eq!(admission.trust.hosts, [("sip.carrier.example".into(), "carrier".into())]);
    assert_eq!(warnings, []);
}

/// In every mapping of every sample each key is misspelt once: the right line and the key that
/// was meant must be named.
#[test]
fn certificates_need_not_exist_where_nothing_is_served() {
    let text = "version: 1\n\
        listen: [{ transport: tls, address: \"127.0.0.1:5061\", certificate: no.pem, key: no.key }]\n\
        inside: { pbx: [\"127.0.0.1:5070\"] }\n";
    let read = |certificates_unread| {
        load_str(Path::new("r.yaml"), text, Overrides { certificates_unread, ..ONE_SHARD })
    };
    assert_eq!(read(true).unwrap().config.policy.listeners[0].transport, wire::Transport::Tls);
    assert!(read(false).is_err());
}

#[test]
fn a_misspelt_key_anywhere_is_refused_with_its_line_and_the_nearest_key() {
    let mut seen = 0;
    for (file, text) in samples() {
        for (index, line) in text.lines().enumerate() {
            let code = line.split('#').next().unwrap();
            for (at, _) in code.match_indices(": ").chain(code.match_indices(":\n")) {
                let start = code[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let key = &code[start.map_or(0, |start| start + 1)..at];
                let wrong = format!("{key}z");
                let column = at - key.len();
                let bad = replace_line(&text, index, column, key, &wrong);
                let invalid = load_str(&file, &bad, ONE_SHARD).unwrap_err();
                let found = invalid.problems.iter().find(|problem| {
                    problem.message == "unknown key" && problem.line == index as u64 + 1
                });
                let found =
                    found.unwrap_or_else(|| panic!("{}: {wrong}: {invalid}", file.display()));
                assert_eq!(found.column, column as u64 + 1, "{found}");
                let hint = found.hint.as_deref().unwrap();
                assert!(hint.contains(&format!("did you mean \"{key}\"?")), "{found}");
                seen += 1;
            }
            let key =
                code.trim_end().strip_suffix(':').map(|key| key.trim_start_matches([' ', '-']));
            if let Some(key) = key {
                let column = code.find(key).unwrap();
                let bad = replace_line(&text, index, column, key, &format!("{key}z"));
                let invalid = load_str(&file, &bad, ONE_SHARD).unwrap_err();
                let line = index as u64 + 1;
                assert!(
                    invalid.problems.iter().any(|p| p.line == line && p.message == "unknown key")
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 80, "only {seen} keys found: is the search of the test right?");
}

fn replace_line(text: &str, index: usize, column: usize, key: &str, wrong: &str) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        if number == index {
            let _ = writeln!(out, "{}{wrong}{}", &line[..column], &line[column + key.len()..]);
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// What is said about files with mistakes, word for word. `BLESS=1` rewrites the answers.
#[test]
fn bad_files_are_answered_as_recorded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = Path::new(file.file_name().unwrap());
        // Read under a bare name, from its directory: no machine's path in the answers.
        let said = match load_str(&file, &text, ONE_SHARD) {
            Ok(loaded) => loaded.warnings.iter().fold(String::new(), |mut out, problem| {
                let _ = writeln!(out, "{problem}");
                out
            }),
            Err(invalid) => format!("{invalid}\n"),
        };
        let here = format!("{}/", directory.display());
        let said = said.replace(&here, "");
        let golden = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let recorded = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(said, recorded, "{}: BLESS=1 rewrites what is recorded", name.display());
        assert!(!said.is_empty(), "{}: nothing is said about it", name.display());
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "version: 2\nlisten: [{ transport: upd, address: \"1.2.3.4\" }]\n\
        inside: { pbx: [] }\nlog: { level: loud }\nshards: 99\ndrain_timeout: 5\n";
    let invalid = read(text).unwrap_err();
    let paths: Vec<&str> = invalid.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "version",
            "listen[0].transport",
            "listen[0].address",
            "inside.pbx",
            "log.level",
            "shards",
            "drain_timeout",
        ]
    );
}

#[test]
fn a_key_and_a_certificate_of_different_pairs_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (one, _) = certificate(directory.path(), "one");
    let (_, two) = certificate(directory.path(), "two");
    let text = format!(
        "version: 1\nlisten: [{{ transport: tls, address: \"127.0.0.1:5061\", certificate: {}, key: {} }}]\n\
         inside: {{ pbx: [\"127.0.0.1:5070\"] }}\n",
        one.display(),
        two.display()
    );
    let invalid = read(&text).unwrap_err();
    assert_eq!(invalid.problems.len(), 1, "{invalid}");
    assert!(invalid.problems[0].message.contains("does not belong"), "{invalid}");
    assert_eq!(invalid.problems[0].path, "listen[0].key");
}

#[test]
fn a_file_that_swells_is_refused_without_reading_it_whole() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let last = format!("*a{}", level - 1);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", [last.as_str(); 10].join(", "));
    }
    assert!(read(&text).unwrap_err().problems[0].message.contains("not readable as YAML"));
    let deep = format!("version: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(read(&deep).is_err());
    let large = "# x\n".repeat(crate::MAX_BYTES);
    assert!(read(&large).unwrap_err().problems[0].message.contains("larger than"));
    let wide = format!("listen: [{}]", "1,".repeat(crate::MAX_NODES + 1));
    assert!(read(&wide).is_err());
}

#[test]
fn aliases_serve_as_in_any_yaml() {
    let text = "version: 1\nlisten: [{ transport: udp, address: &a \"127.0.0.1:5060\" }, \
        { transport: tcp, address: *a }]\ninside: { pbx: [\"127.0.0.1:5070\"] }\n";
    let config: Config = read(text).unwrap().config;
    assert_eq!(config.policy.listeners[0].address, config.policy.listeners[1].address);
}

#[test]
fn settings_tell_every_path_with_its_value() {
    let text = "version: 1\nlisten: [{ transport: udp, address: \"127.0.0.1:5060\" }]\n\
        inside: { pbx: [\"127.0.0.1:5070\"] }\npolicy: { timers: { t1: 1s } }\n";
    let settings = read(text).unwrap().config.settings();
    for (path, value) in [
        ("listen[0].address", "127.0.0.1:5060"),
        ("inside.pbx[0].registration", "contact-token"),
        ("policy.timers.t1", "1s"),
        ("policy.capacities.retained_bytes", "1GiB"),
        ("shards", "1"),
    ] {
        assert!(settings.iter().any(|(p, v)| p == path && v == value), "{path}: {settings:?}");
    }
}

#[test]
fn problems_are_machine_readable() {
    let invalid = read("version: 1\nlisten: []\ninside: { pbx: [\"x\"] }\n").unwrap_err();
    let json = serde_json::to_value(&invalid.problems[0]).unwrap();
    assert_eq!(json["severity"], "error");
    assert_eq!(json["line"], 2);
    assert_eq!(json["path"], "listen");
}

#[test]
fn all_files_that_a_configuration_consists_of_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let text = "version: 1\nlisten: [{ transport: udp, address: \"127.0.0.1:5060\" }]\n\
        inside: { pbx: [\"127.0.0.1:5070\"] }\nadmin: { token_file: token }\npolicy: policy.yaml\n";
    std::fs::write(file("r.yaml"), text).unwrap();
    let list = || crate::load_and_list(&file("r.yaml"), Overrides::default());
    let (loaded, files) = list();
    assert!(loaded.is_err(), "the policy is missing");
    assert_eq!(files, [file("r.yaml"), file("token"), file("policy.yaml")]);
    let policy = "profile: own.yaml\nsignatures: { file: signatures.yaml }\n";
    std::fs::write(file("policy.yaml"), policy).unwrap();
    let names = ["r.yaml", "token", "policy.yaml", "own.yaml", "signatures.yaml"];
    assert_eq!(list().1, names.map(file), "they need not exist yet");
    assert_eq!(crate::load_and_list(&file("no.yaml"), Overrides::default()).1, [file("no.yaml")]);
}

#[test]
fn pbxs_form_groups_and_one_is_for_all_the_rest() {
    let text = "version: 1\n\
        listen: [{ transport: udp, address: \"203.0.113.1:5060\" }, { transport: tcp, address: \"203.0.113.1:5060\" }]\n\
        inside:\n  address: \"10.0.0.1:5080\"\n  registration: path\n  pbx: [\"10.0.0.2:5060\"]\n\
        \x20 groups:\n\
        \x20   - name: offices\n\
        \x20     pbx: [{ name: a, address: \"10.0.0.3:5060\", transport: tcp, priority: 1, weight: 3 }, \"10.0.0.4:5060\"]\n\
        \x20     for: { domains: [Office.example.com], dids: [\"49301234xx\"], listeners: [\"203.0.113.1:5060\"], trunks: [carrier] }\n\
        trunks: [{ name: carrier, hosts: [198.51.100.7] }]\n";
    let config = read(text).unwrap_or_else(|invalid| panic!("{invalid}")).config;
    let policy = &config.policy;
    let seen: Vec<_> = policy.pbx.iter().map(|pbx| (&*pbx.name, pbx.group)).collect();
    assert_eq!(seen, [("10.0.0.2:5060", 0), ("a", 1), ("10.0.0.4:5060", 1)]);
    let a = &policy.pbx[1];
    assert_eq!((a.transport, a.priority, a.weight), (wire::Transport::Tcp, 1, 3));
    assert!(policy.pbx.iter().all(|pbx| !pbx.registration.is_token()));
    assert!(policy.groups[0].reach.is_none());
    let reach = policy.groups[1].reach.as_ref().unwrap();
    assert_eq!(reach.domains, ["office.example.com".into()]);
    assert_eq!((reach.listeners.len(), reach.trunks.len()), (2, 1));
    let again = read(&config.to_yaml()).unwrap_or_else(|invalid| panic!("{invalid}")).config;
    assert_eq!(again.policy.pbx, policy.pbx);
    assert_eq!(again.policy.groups, policy.groups);
    assert_eq!(again.policy.checks, policy.checks);
}
