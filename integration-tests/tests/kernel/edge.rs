//! The whole way: an edge that bans, a helper, a kernel that drops.

use crate::helper;
use crate::lab::{EDGE_V4, Lab};
use integration_tests::{PATIENCE, wait_until};
use std::io::Write;

const ADMIN: &str = "127.0.0.1:9060";

/// An edge's configuration beside the helper's.
fn configuration(lab: &Lab) -> String {
    let file = helper::configuration(lab, "");
    let text = std::fs::read_to_string(&file).unwrap();
    let state = lab.path("state");
    let text = format!(
        "{text}state_dir: {}\nshards: 2\npolicy: {{ honeytokens: [\"4999\"] }}\n",
        state.display()
    )
    .replace("admin: { ", &format!("admin: {{ listen: \"{ADMIN}\", "));
    std::fs::write(&file, text).unwrap();
    file
}

/// A metric's value.
fn metric(lab: &Lab, line: &str) -> f64 {
    use std::io::Read;
    let mut stream = lab.at_edge(|| std::net::TcpStream::connect(ADMIN)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let value = page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {line} in\n{page}"))
}

/// Asks for an account that does not exist, over a connection, which proves where it comes from.
fn ask_for_a_honeytoken(lab: &Lab, from: &str) -> std::net::TcpStream {
    let mut stream = lab.connect(from, EDGE_V4, 5060);
    let request = format!(
        "REGISTER sip:{EDGE_V4} SIP/2.0\r\nVia: SIP/2.0/TCP {from}:5060;branch=z9hG4bK{from}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:4999@{EDGE_V4}>;tag=1\r\nTo: <sip:4999@{EDGE_V4}>\r\n\
         Call-ID: {from}\r\nCSeq: 1 REGISTER\r\nContact: <sip:4999@{from}>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn who_asks_for_a_honeytoken_is_dropped_in_the_kernel_until_he_is_trusted() {
    let lab = Lab::new().with_firewall();
    let file = configuration(&lab);
    let _helper = helper::start_with(&lab, &file);
    let mut edge = lab.start("ringfence", &["run", "--config", &file]);
    edge.wait_for("the kernel drops", |log| log.contains("dropped in the kernel"));
    edge.wait_for("the edge is ready", |log| log.contains("Ready"));
    assert!((metric(&lab, "ringfence_kernel_up") - 1.0).abs() < 0.1);
    let _attacker = ask_for_a_honeytoken(&lab, "192.0.2.1");
    wait_until("he is banned in the kernel", PATIENCE, || lab.holds("sources_v4", "192.0.2.1"));
    let before = lab.dropped("sources_v4");
    let _knock = lab.knock("192.0.2.1", EDGE_V4, 5060);
    lab.wait_dropped("sources_v4", before + 1);
    let _honest = lab.connect("192.0.2.200", EDGE_V4, 5060);
    wait_until("the metrics say so", PATIENCE, || {
        metric(&lab, "ringfence_kernel_set_entries{set=\"sources_v4\"}") > 0.5
            && metric(&lab, "ringfence_kernel_dropped_packets_total{set=\"sources_v4\"}") > 0.5
    });
    assert!(metric(&lab, "ringfence_kernel_updates_total{result=\"applied\"}") > 0.5);

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("203.0.113.128/25", "192.0.2.1")).unwrap();
    edge.signal(rustix::process::Signal::HUP);
    wait_until("he is lifted", PATIENCE, || !lab.holds("sources_v4", "192.0.2.1"));
    let _again = lab.connect("192.0.2.1", EDGE_V4, 5060);
}

#[test]
fn without_a_helper_the_edge_serves_says_so_and_finds_it_when_it_comes() {
    let lab = Lab::new();
    let file = configuration(&lab);
    let mut edge = lab.start("ringfence", &["run", "--config", &file]);
    edge.wait_for("the edge is ready", |log| log.contains("Ready"));
    edge.wait_for("it says so", |log| log.contains("No ringfence-enforcer"));
    assert!(metric(&lab, "ringfence_kernel_up") < 0.1);
    let mut attacker = ask_for_a_honeytoken(&lab, "192.0.2.1");
    // banned in user space: his connection is closed
    attacker.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = std::io::Read::read_to_end(&mut attacker, &mut Vec::new());
    edge.wait_for("he is banned", |log| log.contains("Banned"));
    let _helper = helper::start_with(&lab, &file);
    wait_until("the kernel learns of it", PATIENCE, || lab.holds("sources_v4", "192.0.2.1"));
    assert_eq!(edge.output().matches("No ringfence-enforcer").count(), 1, "told once");
}

#[test]
fn what_a_feed_lists_is_dropped_in_the_kernel_until_the_feed_is_taken_away() {
    let lab = Lab::new();
    let file = configuration(&lab);
    let list = lab.path("list.txt");
    // the second is in a network of the operators
    std::fs::write(&list, "192.0.2.1\n203.0.113.129\n198.51.100.0/24\n").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let feed = format!(
        "feeds: [{{ name: ours, file: \"{}\", action: ban, private: true }}]\n",
        list.display()
    );
    std::fs::write(&file, format!("{text}{feed}")).unwrap();
    let _helper = helper::start_with(&lab, &file);
    let mut edge = lab.start("ringfence", &["run", "--config", &file]);
    edge.wait_for("the kernel drops", |log| log.contains("dropped in the kernel"));
    wait_until("he is in the kernel", PATIENCE, || lab.holds("sources_v4", "192.0.2.1"));
    let before = lab.dropped("sources_v4");
    let _knock = lab.knock("192.0.2.1", EDGE_V4, 5060);
    lab.wait_dropped("sources_v4", before + 1);
    let _honest = lab.connect("192.0.2.200", EDGE_V4, 5060);
    assert!(!lab.holds("sources_v4", "203.0.113.129"), "whoever is trusted is not");
    std::fs::write(&file, text).unwrap();
    edge.signal(rustix::process::Signal::HUP);
    wait_until("he is lifted", PATIENCE, || !lab.holds("sources_v4", "192.0.2.1"));
    let _again = lab.connect("192.0.2.1", EDGE_V4, 5060);
}
