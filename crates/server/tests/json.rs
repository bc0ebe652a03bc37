//! `--json`, everywhere: each verb that has a manual page prints one JSON value, also when it refuses.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests takes what it needs of it
mod common;

use capture::Writer;
use common::{Edge, request};
use policy::Time;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Verbs without: what they print is for another program in its own form already, or is to be watched.
const WITHOUT: [&str; 6] = ["run", "top", "demo", "policy schema", "completions", "man"];

/// A verb, its words, its exit code, and what its answer has. CONFIG, DIR and PBX are filled in; what is
/// done by one is seen by the next.
const VERBS: &[(&str, &str, i32, &str)] = &[
    ("check", "CONFIG", 0, "/problems"),
    ("check", "DIR/none.yaml", 1, "/problems/0/message"),
    ("init", "--asterisk DIR --output DIR/new.yaml --public 203.0.113.1", 0, "/changes/0/new"),
    ("init", "--asterisk DIR --output DIR/new.yaml", 1, "/hint"),
    ("init", "--asterisk DIR --output -", 0, "/configuration"),
    ("init", "--asterisk DIR/none", 1, "/error"),
    ("doctor", "CONFIG --asterisk DIR", 1, "/findings/0/id"),
    ("replay", "DIR/one.pcap --config balanced", 0, "/verdicts/0/reason"),
    ("policy test", "balanced", 0, "/files"),
    ("policy diff", "balanced strict", 1, "/0/path"),
    ("status", "-c CONFIG", 0, "/uptime_seconds"),
    ("bans add", "192.0.2.1 --for 1h --why rings -c CONFIG", 0, "/id"),
    ("bans add", "192.0.2.1 --for never --why rings -c CONFIG", 1, "/error"),
    ("bans list", "-c CONFIG", 0, "/0/key"),
    ("bans show", "192.0.2.1 -c CONFIG", 0, "/bans/0/undo"),
    ("bans show", "192.0.2.2 -c CONFIG", 1, "/bans"),
    ("bans export", "-c CONFIG", 0, "/bans/0/key"),
    ("bans import", "DIR/list --for 1h --why listed -c CONFIG", 0, "/taken"),
    ("explain", "192.0.2.1 -c CONFIG", 0, "/text"),
    ("bans lift", "192.0.2.1 --trust 1h -c CONFIG", 0, "/trusted_until"),
    ("bans lift", "192.0.2.9 -c CONFIG", 1, "/error"),
    ("trust list", "-c CONFIG", 0, "/0/network"),
    ("trust revoke", "192.0.2.1 -c CONFIG", 0, ""),
    ("trust revoke", "192.0.2.1 -c CONFIG", 1, "/error"),
    ("pbx list", "-c CONFIG", 0, "/0/name"),
    ("pbx drain", "PBX -c CONFIG", 0, "/draining"),
    ("pbx undrain", "PBX -c CONFIG", 0, "/draining"),
    ("pbx undrain", "east -c CONFIG", 1, "/error"),
    ("feeds list", "-c CONFIG", 0, "/0/name"),
    ("feeds refresh", "list -c CONFIG", 0, ""),
    ("feeds refresh", "other -c CONFIG", 1, "/error"),
    ("alerts list", "-c CONFIG", 0, "/0/name"),
    ("alerts test", "-c CONFIG", 1, "/0/ok"),
    ("alerts test", "other -c CONFIG", 1, "/error"),
    ("reload", "-c CONFIG", 0, "/result"),
    ("panic-open", "--for 1s -c CONFIG", 0, "/panic_open_until"),
    ("panic-open", "--for ever -c CONFIG", 1, "/error"),
    ("drain", "-c CONFIG", 0, "/draining"),
];

/// A feed and a target; nobody listens there.
const MORE: &str = "feeds: [{ name: list, url: \"http://127.0.0.1:9/\", private: true }]\n\
    alerts: { targets: [{ name: hook, url: \"http://127.0.0.1:9/\" }] }";

fn said(verb: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(verb.split(' ')).args(words).arg("--json").output().unwrap()
}

/// All verbs, as their manual pages name them: `bans lift`.
fn verbs(directory: &Path) -> Vec<String> {
    let pages = directory.join("man");
    std::fs::create_dir(&pages).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    assert!(command.args(["man", "--directory"]).arg(&pages).status().unwrap().success());
    let name = |page: std::io::Result<std::fs::DirEntry>| {
        let name = page.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".1").unwrap().strip_prefix("ringfence-").map(str::to_owned)
    };
    let names: Vec<String> = std::fs::read_dir(&pages).unwrap().filter_map(name).collect();
    let groups = |name: &str| names.iter().any(|other| other.starts_with(&format!("{name}-")));
    // help has a page, too; a verb's own hyphen is no space
    let leaves =
        names.iter().filter(|name| !groups(name) && !name.split('-').any(|it| it == "help"));
    leaves.map(|name| name.replace('-', " ").replace("panic open", "panic-open")).collect()
}

fn capture(file: &Path) {
    let (phone, pbx) = ("198.51.100.7:5062".parse().unwrap(), "203.0.113.1:5060".parse().unwrap());
    let mut writer = Writer::new(Vec::new()).unwrap();
    let now = Time::ZERO + Duration::from_secs(1_800_000_000);
    writer.datagram(now, phone, pbx, request("OPTIONS", phone, "1", "UDP").as_bytes()).unwrap();
    std::fs::write(file, writer.finish().unwrap()).unwrap();
}

#[test]
fn every_verb_says_json() {
    let edge = Edge::start(MORE);
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("pjsip.conf", "[udp]\ntype=transport\nprotocol=udp\nbind=0.0.0.0:5060\n");
    write("list", "192.0.2.77\n");
    capture(&directory.path().join("one.pcap"));
    for (verb, words, code, pointer) in VERBS {
        let words = words.replace("CONFIG", edge.file().to_str().unwrap());
        let words = words.replace("DIR", directory.path().to_str().unwrap());
        let words = words.replace("PBX", &format!("{}:5070", edge.ip));
        let output = said(verb, &words.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(*code), "{verb} {words}: {output:?}");
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{verb} {words}: {error}: {output:?}"));
        assert!(value.pointer(pointer).is_some(), "{verb} {words}: no {pointer} in {value}");
    }
    for verb in WITHOUT {
        assert_eq!(said(verb, &[]).status.code(), Some(2), "{verb}");
    }
    for verb in verbs(directory.path()) {
        let with = VERBS.iter().any(|(name, ..)| *name == verb);
        assert!(with != WITHOUT.contains(&verb.as_str()), "{verb} is in one of the tables");
    }
}
