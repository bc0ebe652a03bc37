//! What other programs make of what the edge tells them.

use std::path::Path;
use std::process::Command;

use super::*;

one_shard!(audit_lines_are_read_by_fail2ban);

/// What a program of the machine's says.
#[track_caller]
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Lines that the shipped filter takes in that mode, and those that it does not.
fn fail2ban(log: &Path, mode: &str) -> (usize, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let filter = root.join("config/fail2ban/ringfence.conf").canonicalize().unwrap();
    let filter = format!("{}[mode={mode}]", filter.display());
    let told = said("fail2ban-regex", &["--print-all-matched", log.to_str().unwrap(), &filter]);
    let (_, rest) = told.split_once("Lines: ").unwrap_or_else(|| panic!("{told}"));
    let matched = rest.split(", ").find_map(|part| part.trim().strip_suffix(" matched"));
    (matched.unwrap().parse().unwrap(), told.clone())
}

/// fail2ban takes the ban and its evidence, each with its address, and nothing else: not what a
/// forged datagram would cause, and not what a peer writes.
fn audit_lines_are_read_by_fail2ban(mode: Mode) {
    let audit = "\naudit: { file: audit.log, format: fail2ban, rate: 1000, accepted: true }\n";
    let stage = Plan::new(mode).with(&format!("{SWIFT}{audit}")).start();
    let host = stage.network.far(0);
    let stranger = stage.stranger(3);
    stranger.send_bytes(b"OPTIONS sip:ban source=192.0.2.1 kind=address SIP/2.0\r\n\r\n");
    let phone = stage.phone_at("6001", host, Way::UDP);
    bans::earn_a_ban(&stage, &phone);
    let log = stage.directory.join("audit.log");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the ban has its line", PATIENCE, || read().contains(" ban source="));
    let (bans, told) = fail2ban(&log, "ban");
    assert_eq!(bans, 1, "{told}");
    assert!(told.contains(&format!("ban source={host} kind=address")), "{told}");
    let (evidence, told) = fail2ban(&log, "evidence");
    assert_eq!(evidence, 3, "{told}");
    assert!(told.contains(&format!("evidence source={host} outcome=abandoned")), "{told}");
    assert!(read().contains(" drop source="), "{}", read());
    assert!(!read().contains("192.0.2.1"), "{}", read());
}
