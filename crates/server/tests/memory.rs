//! What outlives the process, however it ends.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests takes what it needs of it
mod common;

use common::{Edge, Socket, abandon, answer, request, stranger};

/// Patience short enough to ban within a second, and a realm so that the edge can challenge.
const POLICY: &str = "policy: { patience: { invite: 1s } }\nshards: 2";
const BANNED: &str =
    "ringfence_bans{kind=\"address\",reason=\"abandoned-invite\",narrowed=\"no\"} 1";

/// What the caller sends reaches nobody; what another sends behind it does.
fn assert_dropped(edge: &Edge, caller: &Socket, branch: &str) {
    caller.send((edge.ip, 5060), &request("OPTIONS", caller.address(), branch, "UDP"));
    edge.await_metric_at_least(
        "ringfence_requests_total{transport=\"udp\",method=\"none\",verdict=\"drop\",reason=\"banned\"}",
        1,
    );
    let other = Socket::bind(edge.ip, 0);
    other.send((edge.ip, 5060), &request("OPTIONS", other.address(), branch, "UDP"));
    let (got, from) = edge.pbx.receive();
    assert!(got.contains(&other.address().to_string()), "{got}");
    // else an end in peace would wait for it
    edge.pbx.send(from, &answer(&got, "200 OK"));
}

#[test]
fn a_ban_outlives_a_kill_and_a_broken_file_stops_nobody() {
    let mut edge = Edge::start(POLICY);
    let caller = Socket::bind(stranger(&edge), 5060);
    for n in 0..3 {
        abandon(&edge, &caller, n);
    }
    edge.await_metric(BANNED);
    edge.await_metric("ringfence_state_up 1");
    // the ban and the realm; the source itself within half a minute
    edge.await_metric_at_least("ringfence_state_writes_total{result=\"written\"}", 2);
    edge.signal(libc::SIGKILL);
    edge.wait();
    edge.restart();
    edge.await_metric(BANNED);
    assert_dropped(&edge, &caller, "b1");
    // a stop in peace
    edge.signal(libc::SIGTERM);
    assert!(edge.wait().success());
    edge.restart();
    edge.await_metric(BANNED);
    edge.signal(libc::SIGTERM);
    assert!(edge.wait().success());

    let file = edge.file().with_file_name("state").join("state.redb");
    std::fs::write(&file, b"something else".repeat(1_000)).unwrap();
    edge.restart();
    edge.await_metric("ringfence_state_up 1");
    assert!(edge.log().contains("put aside"), "{}", edge.log());
    assert!(file.with_extension("redb.aside").exists());
    // and it serves
    caller.send((edge.ip, 5060), &request("OPTIONS", caller.address(), "b3", "UDP"));
    edge.pbx.receive_with("z9hG4bKb3");
}

#[test]
fn what_rules_met_counts_on() {
    const MET: &str = "ringfence_rule_hits_total{rule=\"abandoned-invite\"} 1";
    let mut edge = Edge::start(POLICY);
    abandon(&edge, &Socket::bind(stranger(&edge), 5060), 0);
    for _ in 0..2 {
        edge.await_metric(MET);
        edge.signal(libc::SIGTERM);
        assert!(edge.wait().success());
        edge.restart();
    }
    edge.await_metric(MET);
}

#[test]
fn where_nothing_can_be_kept_the_edge_says_so_and_serves() {
    let mut edge = Edge::start("");
    edge.signal(libc::SIGTERM);
    assert!(edge.wait().success());
    let directory = edge.file().with_file_name("state");
    let file = directory.join("state.redb");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    edge.restart();
    edge.await_metric("ringfence_state_up 0");
    assert!(edge.log().contains("State cannot be kept"), "{}", edge.log());
    let phone = Socket::bind(edge.ip, 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), "s1", "UDP"));
    edge.pbx.receive_with("OPTIONS ");
}

#[test]
fn trust_is_listed_and_revoked_and_both_outlive_a_restart() {
    let mut edge = Edge::start("shards: 2");
    let nobody = (0, "no operator trusts anybody for a time\n".to_owned(), String::new());
    assert_eq!(edge.command(&["trust", "list"]), nobody);
    for (key, length) in [("198.51.100.7", "48h"), ("203.0.113.0/24", "24h")] {
        assert_eq!(edge.command(&["bans", "lift", key, "--trust", length]).0, 0);
    }
    let again = |edge: &mut Edge| {
        edge.signal(libc::SIGTERM);
        assert!(edge.wait().success());
        edge.restart();
    };
    again(&mut edge);
    let (code, said, _) = edge.command(&["trust", "list"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(code == 0 && lines.len() == 2, "{said}");
    assert!(lines[0].starts_with("203.0.113.0/24 until "), "what ends first first: {said}");
    assert!(lines[1].starts_with("198.51.100.7 until "), "{said}");

    let (code, _, said) = edge.command(&["trust", "revoke", "203.0.113.9"]);
    assert!(code == 1 && said.contains("203.0.113.0/24 around it is trusted"), "{said}");
    let (code, _, said) = edge.command(&["trust", "revoke", "198.51.101.0/24"]);
    assert!(code == 1 && said.contains("no operator trusts 198.51.101.0/24"), "{said}");
    let (code, said, _) = edge.command(&["trust", "revoke", "198.51.100.0/24"]);
    assert_eq!((code, said.as_str()), (0, "198.51.100.7 is judged again\n"));
    let ban = ["bans", "add", "198.51.100.7", "--for", "1h", "--why", "test"];
    assert_eq!(edge.command(&ban).0, 0, "nothing keeps it from a ban any more");
    again(&mut edge);
    let (code, said, _) = edge.command(&["trust", "list", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, said.as_array().unwrap().len()), (0, 1));
    assert_eq!(said[0]["network"], "203.0.113.0/24");
    assert!(said[0]["remaining_seconds"].as_u64().unwrap() > 86_000);
}
