//! A real HAProxy in front of the edge: its clients are judged, not it.

use std::net::{Ipv4Addr, SocketAddr};

use integration_tests::*;

edge!(
    phones_work_behind_it,
    a_scanner_behind_it_is_banned_by_its_own_address,
    one_that_does_not_say_for_whom_it_speaks_is_refused,
);

/// An edge, and HAProxy in front of its TCP and TLS listeners.
fn set_up(mode: Mode, send: &str) -> (Stage, HaProxy) {
    let swift = "policy: { signatures: { at_most: note }, patience: { invite: 1s, other: 4s } }";
    let stage = Plan::new(mode).balanced().with(swift).start();
    let way = |way| (front(&stage, way), stage.server(way));
    let ways = [way(Way::TCP), way(Way::TLS)];
    let haproxy = HaProxy::start(stage.balancer(), &stage.directory, send, &ways);
    (stage, haproxy)
}

/// Where HAProxy stands for the edge.
fn front(stage: &Stage, way: Way) -> SocketAddr {
    SocketAddr::new(stage.balancer().into(), stage.server(way).port())
}

/// A phone that knows the load balancer only.
fn phone(stage: &Stage, user: &str, host: Ipv4Addr, way: Way) -> Ua {
    let server = front(stage, way);
    Ua::connect(user, way.transport, host.into(), host, server, &stage.directory)
}

fn phones_work_behind_it(mode: Mode) {
    for send in ["send-proxy", "send-proxy-v2"] {
        let (stage, _haproxy) = set_up(mode, send);
        stage.pbx().listen_in();
        for (n, way) in [(1, Way::TCP), (2, Way::TLS)] {
            let user = format!("600{n}");
            let phone = phone(&stage, &user, stage.network.far(n), way);
            phone.register();
            phone.call("100").answered().hang_up();
            stage.pbx().call(&user);
            phone.incoming().accept().hang_up();
            let own = stage.network.far(n).into();
            assert!(!stage.pbx().heard_from(own).is_empty(), "the PBX hears whose it is");
        }
        assert_eq!(stage.pbx().heard_from(stage.balancer().into()), [], "and not who brings it");
    }
}

fn a_scanner_behind_it_is_banned_by_its_own_address(mode: Mode) {
    for send in ["send-proxy", "send-proxy-v2"] {
        let (stage, _haproxy) = set_up(mode, send);
        let alice = phone(&stage, "6001", stage.network.far(1), Way::TLS);
        alice.register();
        let host = stage.network.far(2);
        let scanner = phone(&stage, "6002", host, Way::TCP);
        for _ in 0..3 {
            let call = scanner.invite("5551");
            let challenge = scanner.final_response(&call.invite).expect_code(401);
            call.acknowledge_refusal(&challenge);
        }
        scanner.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
        let bans = stage.ringfence().command(&["bans", "list"]);
        assert!(bans.contains(&host.to_string()), "{bans}");
        assert!(!bans.contains(&stage.balancer().to_string()), "{bans}");

        let again = phone(&stage, "6002", host, Way::TLS);
        again.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
        alice.call("100").answered().hang_up();
        let bob = phone(&stage, "6003", stage.network.far(3), Way::TCP);
        bob.register();
        stage.pbx().call("6003");
        bob.incoming().accept().hang_up();
    }
}

fn one_that_does_not_say_for_whom_it_speaks_is_refused(mode: Mode) {
    let (stage, _haproxy) = set_up(mode, "");
    let phone = phone(&stage, "6001", stage.network.far(1), Way::TCP);
    phone.send(&phone.registration(300));
    phone.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
    let refused = || stage.ringfence().metric("ringfence_transport_total", &["not_introduced"]);
    wait_until("it is counted", PATIENCE, || refused() >= 1.0);
    // who comes by himself is welcome
    stage.phone_over("6001", Way::TCP).register();
}
