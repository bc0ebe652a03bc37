//! The command line as scripts see it: exit codes, and what goes to which stream.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

const GOOD: &str = "version: 1\n\
    listen: [{ transport: udp, address: \"127.0.0.1:5060\" }]\n\
    inside: { pbx: [\"127.0.0.1:5070\"] }\n";

fn ringfence(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(words).output().unwrap()
}

fn write(directory: &Path, text: &str) -> String {
    let file = directory.join("ringfence.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn a_good_file_is_0_and_a_bad_one_is_1_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), GOOD);
    let output = ringfence(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stderr(&output), "");
    assert!(stdout(&output).ends_with("ok\n"));

    let file = write(directory.path(), &format!("{GOOD}shard: 2\n"));
    for words in [&["check", &file][..], &["check", "--config", &file], &["run", "--config", &file]]
    {
        let output = ringfence(words);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(stdout(&output), "");
        let said = stderr(&output);
        assert!(said.starts_with(&format!("{file}:4:1: error: shard: unknown key")), "{said}");
        assert!(said.contains("did you mean \"shards\"?"), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_1() {
    let output = ringfence(&["run", "--config", "/nonexistent/ringfence.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("/nonexistent/ringfence.yaml: error: cannot be read"));
}

#[test]
fn what_is_not_understood_is_2() {
    for words in [&["rnu"][..], &[], &["check", "--josn"], &["completions", "tcsh"]] {
        let output = ringfence(words);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            stderr(&output).contains("--help") || stderr(&output).contains("Usage:"),
            "{output:?}"
        );
    }
}

#[test]
fn an_address_that_is_taken_is_3() {
    // An address of its own, so that this test meets no other.
    let taken = std::net::UdpSocket::bind("127.91.7.3:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text =
        GOOD.replace("127.0.0.1:5060", &address.to_string()).replace("127.0.0.1", "127.91.7.3");
    let state = directory.path().display();
    let text = format!("{text}state_dir: {state}\nadmin: off\n").replace("5070", "5971");
    let output = ringfence(&["run", "--config", &write(directory.path(), &text)]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains(&address.to_string()), "{output:?}");
}

#[test]
fn the_effective_configuration_is_yaml_that_passes() {
    let directory = tempfile::tempdir().unwrap();
    let file =
        write(directory.path(), &format!("{GOOD}policy: {{ timers: {{ timer_c: 60s }} }}\n"));
    let output = ringfence(&["check", "--config", &file, "--print-effective"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr(&output).contains("warning: policy.timers: timer_c (1m) is"), "{output:?}");
    let yaml = stdout(&output).to_owned();
    assert!(yaml.contains("t1: 500ms"), "{yaml}");
    let file = write(directory.path(), &yaml);
    let again = ringfence(&["check", "--config", &file, "--print-effective"]);
    assert_eq!(stdout(&again), yaml);
}

#[test]
fn json_is_one_object_with_all_problems() {
    let directory = tempfile::tempdir().unwrap();
    let text = GOOD.replace("udp", "upd").replace("127.0.0.1:5070", "pbx");
    let file = write(directory.path(), &text);
    let output = ringfence(&["check", "--json", "--config", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["ok"], false);
    assert_eq!(result["problems"].as_array().unwrap().len(), 2);
    assert_eq!(result["problems"][0]["path"], "listen[0].transport");
    assert_eq!(result["problems"][1]["line"], 3);

    let file = write(directory.path(), GOOD);
    let output = ringfence(&["check", "--json", "--print-effective", "--config", &file]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["ok"], true);
    assert!(result["effective"].as_str().unwrap().contains("version: 1"));
}

#[test]
fn a_certificate_that_has_ended_or_soon_does_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let listen = format!(
        "listen: [{{ transport: tls, address: \"127.0.0.1:5061\", certificate: {}, key: {} }}]",
        path("cert.pem"),
        path("key.pem")
    );
    let good = GOOD.replace("listen: [{ transport: udp, address: \"127.0.0.1:5060\" }]", &listen);
    let said = |end: SystemTime, more: &str| {
        let mut wanted = rcgen::CertificateParams::new(vec!["pbx.example.com".to_owned()]).unwrap();
        wanted.not_after = end.into();
        std::fs::write(path("cert.pem"), wanted.self_signed(&key).unwrap().pem()).unwrap();
        let file = write(directory.path(), &format!("{good}{more}\n"));
        let output = ringfence(&["check", &file]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).ends_with("ok\n"), "{output:?}");
        stderr(&output).to_owned()
    };
    let day = Duration::from_secs(86_400);
    #[allow(clippy::disallowed_methods)] // what is tested reads it, too
    let now = SystemTime::now();
    let ended = said(now - day, "");
    assert!(ended.contains("ringfence.yaml: warning: listen[0]: The certificate "), "{ended}");
    assert!(ended.contains("cert.pem ended ") && ended.contains("hint: Renew it"), "{ended}");
    let ends = said(now + 20 * day + day / 2, "");
    assert!(ends.contains("cert.pem ends in 20 days"), "{ends}");
    assert_eq!(said(now + 25 * day, ""), "");
    let alerts = "alerts: { certificate: 30d, targets: [{ name: a, to: ntfy, url: \"https://ntfy.example.com/a\" }] }";
    let ends = said(now + 25 * day + day / 2, alerts);
    assert!(ends.contains("cert.pem ends in 25 days"), "as early as the edge tells it: {ends}");
}

#[test]
fn help_teaches_and_completions_and_the_manual_are_there() {
    let output = ringfence(&["--help"]);
    for word in ["First steps", "Exit codes", "pjsip.conf", "could not be bound"] {
        let word = word.replace("could not be bound", "socket could not be bound");
        assert!(stdout(&output).contains(&word), "{word}: {output:?}");
    }
    assert!(stdout(&ringfence(&["run", "--help"])).contains("Examples:"));
    assert!(stdout(&ringfence(&["status", "--help"])).contains("--json"));
    assert!(!stdout(&ringfence(&["top", "--help"])).contains("--json"), "it is for people");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ringfence(&["completions", shell]);
        assert!(stdout(&script).contains("print-effective"), "{shell}");
    }
    assert!(stdout(&ringfence(&["man"])).contains(".TH"));
}

#[test]
fn the_configuration_in_the_help_passes() {
    let output = ringfence(&["--help"]);
    let text = stdout(&output);
    let start = text.find("version: 1").unwrap();
    let end = text.find("3. ringfence check").unwrap();
    let yaml: String = text[start..end]
        .trim()
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("       ").unwrap_or(line)))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let output = ringfence(&["check", "--config", &write(directory.path(), &yaml)]);
    assert_eq!(output.status.code(), Some(0), "{yaml}\n{output:?}");
}

#[test]
fn every_sample_passes() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut seen = 0;
    for entry in std::fs::read_dir(samples).unwrap() {
        let file: PathBuf = entry.unwrap().path();
        let whole = |file: &Path| std::fs::read_to_string(file).unwrap().contains("\nlisten:");
        if file.extension().is_some_and(|extension| extension == "yaml") && whole(&file) {
            let output = ringfence(&["check", "--config", file.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(stderr(&output), "");
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

const TESTS: &str = "tests:\n- name: a phone's ping passes\n  expect: VERDICT\n  send: |\n    \
    OPTIONS sip:pbx SIP/2.0\n    Via: SIP/2.0/UDP 203.0.113.66;branch={branch}\n    \
    Max-Forwards: 70\n    From: <sip:1@pbx>;tag=a\n    To: <sip:pbx>\n    Call-ID: a\n    \
    CSeq: 1 OPTIONS\n";

#[test]
fn a_policy_is_tested_alone_and_with_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    let policy = policy.to_str().unwrap();
    let config = write(directory.path(), &format!("{GOOD}policy: policy.yaml\n"));

    std::fs::write(policy, TESTS.replace("VERDICT", "accept")).unwrap();
    let output = ringfence(&["policy", "test", policy]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        stdout(&output),
        format!("ok     a phone's ping passes\n{policy}: 1 test, 0 failed\n")
    );
    assert_eq!(ringfence(&["check", "--config", &config]).status.code(), Some(0));

    std::fs::write(policy, TESTS.replace("VERDICT", "drop")).unwrap();
    let output = ringfence(&["policy", "test", policy, "balanced"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stdout(&output).contains("policy.yaml:2: expected drop, is accept"), "{output:?}");
    let output = ringfence(&["policy", "test", "--json", policy]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["files"][0]["tests"][0]["line"], 2);
    assert_eq!(result["ok"], false);
    let output = ringfence(&["check", "--config", &config]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("FAILED a phone's ping passes"), "{output:?}");
}

#[test]
fn policies_are_compared_setting_by_setting() {
    let output = ringfence(&["policy", "diff", "balanced", "strict"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for line in [
        "edge_challenge.mode: under-attack -> always\n",
        "rules[dialled-abroad].then: fast -> drop\n",
        "bans.first: 10m -> 1h\n",
    ] {
        assert!(stdout(&output).contains(line), "{line}: {output:?}");
    }
    let output = ringfence(&["policy", "diff", "balanced", "strict", "--json"]);
    let differ: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = serde_json::json!({ "path": "bans.first", "old": "10m", "new": "1h" });
    assert!(differ.as_array().unwrap().contains(&first), "{differ}");
    let output = ringfence(&["policy", "diff", "strict", "strict"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), ""), "{output:?}");
    let output = ringfence(&["policy", "diff", "strict", "strikt"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(stderr(&output).contains("lenient, balanced, strict"), "{output:?}");
}

#[test]
fn the_schema_knows_the_keys() {
    let output = ringfence(&["policy", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let levels = &schema["properties"]["levels"];
    assert_eq!(levels["additionalProperties"], false);
    assert_eq!(levels["properties"]["ban"]["default"], 2.5);
    assert!(schema["properties"]["rules"]["items"]["properties"]["when"].is_object());
}
