//! What happens when somebody clears the rules, when either side is killed, and at the end.

use crate::helper::{self, Edge};
use crate::lab::{EDGE_V4, Lab, binary, kill};
use enforce::Report;
use integration_tests::{PATIENCE, wait_until};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn rules_that_somebody_flushed_come_back_with_all_bans() {
    let lab = Lab::new().with_firewall();
    let _helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    edge.ban_now("203.0.113.0/26");
    let sip = lab.service(EDGE_V4, 5060);
    for clear in [
        "nft flush ruleset",
        "nft delete table inet ringfence",
        "nft flush chain inet ringfence prerouting",
    ] {
        lab.inside(clear);
        wait_until(clear, PATIENCE, || {
            lab.holds("sources_v4", "192.0.2.1") && {
                lab.inside("nft list chain inet ringfence prerouting").contains("dport 5060")
            }
        });
        assert!(!sip.hears(&lab, "192.0.2.1") && !sip.hears(&lab, "203.0.113.9"));
        assert!(sip.hears(&lab, "192.0.2.2"));
    }
    // a ban while the table is away puts it back, too
    lab.inside("nft delete table inet ringfence");
    edge.ban_now("192.0.2.2/32");
    assert!(!sip.hears(&lab, "192.0.2.2") && !sip.hears(&lab, "192.0.2.1"));
}

#[test]
fn what_an_operator_takes_out_by_hand_stays_out() {
    let lab = Lab::new();
    let helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    lab.inside("nft delete element inet ringfence sources_v4 { 192.0.2.1 }");
    edge.ban_now("192.0.2.2/32");
    let sip = lab.service(EDGE_V4, 5060);
    assert!(sip.hears(&lab, "192.0.2.1"));
    edge.lift_now("192.0.2.1/32");
    edge.ban_now("192.0.2.1/32");
    assert!(!sip.hears(&lab, "192.0.2.1"), "a new ban is a new ban");
    assert!(!helper.output().contains("Somebody has taken"));
}

#[test]
fn a_killed_helper_leaves_the_bans_and_its_successor_takes_them_up() {
    let lab = Lab::new();
    let file = helper::configuration(&lab, "");
    let helper = helper::start_with(&lab, &file);
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    edge.ban_now("203.0.113.9/32");
    edge.ban_now("203.0.113.0/26");
    let sip = lab.service(EDGE_V4, 5060);
    kill(&helper);
    edge.wait("the client notices", |edge| {
        edge.count(|report| matches!(report, Report::Absent(_))) == 1
    });
    assert!(!sip.hears(&lab, "192.0.2.1"), "the kernel goes on");
    // while nobody listens
    edge.lift("192.0.2.1/32");
    edge.ban("192.0.2.2/32", std::time::Duration::from_secs(60));
    let helper = helper::start_with(&lab, &file);
    assert!(helper.output().contains("Took up what a former run left"), "{}", helper.output());
    edge.wait_connected(2);
    wait_until("the list is told", PATIENCE, || helper.output().contains("its full list"));
    assert!(sip.hears(&lab, "192.0.2.1"));
    assert!(!sip.hears(&lab, "192.0.2.2") && !sip.hears(&lab, "203.0.113.9"));
}

#[test]
fn an_edge_that_comes_back_replaces_what_its_forerunner_had_banned() {
    let lab = Lab::new();
    let helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    edge.ban_now("192.0.2.2/32");
    let sip = lab.service(EDGE_V4, 5060);
    drop(edge);
    assert!(!sip.hears(&lab, "192.0.2.1"), "bans outlive the connection");
    let edge = Edge::new(&lab);
    edge.ban_now("192.0.2.2/32");
    wait_until("both lists are told", PATIENCE, || {
        helper.output().matches("its full list").count() == 2
    });
    assert!(sip.hears(&lab, "192.0.2.1"));
    assert!(!sip.hears(&lab, "192.0.2.2"));
}

#[test]
fn while_the_policy_only_observes_the_kernel_drops_nobody() {
    let lab = Lab::new();
    let _helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    let sip = lab.service(EDGE_V4, 5060);
    edge.enforcing.send(false).unwrap();
    wait_until("nobody is dropped", PATIENCE, || sip.hears(&lab, "192.0.2.1"));
    edge.enforcing.send(true).unwrap();
    wait_until("he is dropped again", PATIENCE, || !sip.hears(&lab, "192.0.2.1"));
}

#[test]
fn at_its_end_the_helper_removes_everything_or_keeps_it_as_told() {
    for (on_stop, kept) in [("remove", false), ("keep", true)] {
        let lab = Lab::new().with_firewall();
        let helper = helper::start(&lab, &format!(", on_stop: {on_stop}"));
        let edge = Edge::new(&lab);
        edge.wait_connected(1);
        edge.ban_now("192.0.2.1/32");
        helper.signal(rustix::process::Signal::TERM);
        wait_until("it has ended", PATIENCE, || helper.output().contains("Ended"));
        let sip = lab.service(EDGE_V4, 5060);
        assert_eq!(sip.hears(&lab, "192.0.2.1"), !kept, "{on_stop}");
        assert_eq!(lab.inside("nft list tables").contains("ringfence"), kept, "{on_stop}");
        assert!(lab.inside("nft list tables").contains("inet filter"), "others stay");
        assert!(!lab.path("socket").exists());
    }
}

#[test]
fn who_is_not_named_may_not_speak_and_nonsense_ends_the_connection() {
    let lab = Lab::new();
    let file = helper::configuration(&lab, "");
    let mut helper = helper::start_with(&lab, &file);
    // a stranger may not even look into the directory where it was built, where that is root's home
    let program = lab.path("ringfence-enforcer");
    std::fs::copy(binary("ringfence-enforcer"), &program).unwrap();
    let list = |user: u32| {
        let mut command = Command::new(&program);
        command.args(["list", "--config", &file]).uid(user).gid(user).output().unwrap()
    };
    let stranger = list(65_534);
    assert_eq!(stranger.status.code(), Some(3), "{stranger:?}");
    helper.wait_for("the stranger is turned away", |log| log.contains("user=65534"));
    assert!(list(0).status.success());

    let socket = lab.path("socket");
    let preface = b"RNGFNCE\x01";
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"RNGFNCE\x02",
        &[preface, &b"\xff\0\0\0"[..]].concat(),
        &[preface, &b"\x01\0\xff\xff"[..]].concat(),
        // a ban before a list
        &[preface, &b"\x01\0\0\x1c\0\0\0\0\x01\x04\x20\0\0\0\xff\xff\xc0\0\x02\x01"[..], &[0; 12]]
            .concat(),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(nonsense).unwrap();
        let mut heard = Vec::new();
        // a reset is an end, too
        if let Err(error) = stream.read_to_end(&mut heard) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{nonsense:?}");
        }
    }
    assert!(list(0).status.success(), "it still serves");
    assert!(!lab.holds("sources_v4", "192.0.2.1"));
}

#[test]
fn a_reload_changes_where_is_dropped_and_whom_nothing_bans() {
    let lab = Lab::new();
    let file = helper::configuration(&lab, "");
    let helper = helper::start_with(&lab, &file);
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    edge.ban_now("192.0.2.2/32");
    let (sip, other) = (lab.service(EDGE_V4, 5060), lab.service(EDGE_V4, 6_000));
    assert!(!sip.hears(&lab, "192.0.2.1") && other.hears(&lab, "192.0.2.1"));
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("10000-10010", "6000").replace("203.0.113.128/25", "192.0.2.2");
    std::fs::write(&file, text).unwrap();
    helper.signal(rustix::process::Signal::HUP);
    wait_until("the new ports are watched", PATIENCE, || !other.hears(&lab, "192.0.2.1"));
    assert!(!sip.hears(&lab, "192.0.2.1"));
    assert!(sip.hears(&lab, "192.0.2.2") && other.hears(&lab, "192.0.2.2"));
    std::fs::write(&file, "version: 1\n").unwrap();
    helper.signal(rustix::process::Signal::HUP);
    wait_until("it is refused", PATIENCE, || helper.output().contains("Reload refused"));
    assert!(!sip.hears(&lab, "192.0.2.1"));
}
