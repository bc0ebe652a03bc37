//! Who is dropped, where, and for how long.

use crate::helper::{self, Edge, parse};
use crate::lab::{EDGE_V4, EDGE_V6, Lab, STREET, has_data, passes};
use enforce::{Change, Destination, DropSet, Entry, Nftables, Protocol};
use integration_tests::{PATIENCE, wait_until};
use std::time::Duration;

#[test]
fn a_banned_source_is_dropped_at_our_ports_and_nowhere_else() {
    let lab = Lab::new().with_firewall();
    let _helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    let [first, second, .., v6, neighbour] = STREET;
    let (sip, media) = (lab.service(EDGE_V4, 5060), lab.service(EDGE_V4, 10_004));
    let (sip_v6, other) = (lab.service(EDGE_V6, 5060), lab.service(EDGE_V4, 22));
    for service in [&sip, &media, &other] {
        assert!(service.hears(&lab, first));
    }
    edge.ban_now(&format!("{first}/32"));
    assert!(!sip.hears(&lab, first));
    assert!(!media.hears(&lab, first));
    assert!(other.hears(&lab, first), "another port of ours");
    assert!(sip.hears(&lab, second), "another source");
    assert_eq!(lab.dropped("sources_v4"), 2);

    assert!(sip_v6.hears(&lab, v6) && sip_v6.hears(&lab, neighbour));
    edge.ban_now("2001:db8:a:1::/64");
    assert!(!sip_v6.hears(&lab, v6));
    assert!(!sip_v6.hears(&lab, neighbour), "one party has a /64");
    assert_eq!(lab.dropped("sources_v6"), 2);

    edge.lift_now(&format!("{first}/32"));
    edge.lift_now("2001:db8:a:1::/64");
    assert!(sip.hears(&lab, first) && media.hears(&lab, first));
    assert!(sip_v6.hears(&lab, v6));
    let firewall = lab.inside("nft list table inet filter");
    assert!(firewall.contains("policy drop"), "it is untouched:\n{firewall}");
}

#[test]
fn a_banned_network_is_dropped_and_a_wildcard_is_all_of_this_machines_addresses() {
    let lab = Lab::new();
    let file = helper::configuration(&lab, "");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(EDGE_V4, "0.0.0.0").replace(EDGE_V6, "::");
    std::fs::write(&file, text).unwrap();
    let _helper = helper::start_with(&lab, &file);
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    let (sip, sip_v6) = (lab.service("0.0.0.0", 5060), lab.service(EDGE_V6, 5060));
    let to_v4 = lab.service(EDGE_V4, 10_000);
    edge.ban_now("203.0.113.0/26");
    edge.ban_now("2001:db8:a:1::/65");
    drop(sip);
    let sip = lab.service(EDGE_V4, 5060);
    assert!(!sip.hears(&lab, "203.0.113.9") && !to_v4.hears(&lab, "203.0.113.9"));
    assert!(sip.hears(&lab, "192.0.2.1"));
    assert!(!sip_v6.hears(&lab, "2001:db8:a:1::1"));
    assert_eq!((lab.dropped("networks_v4"), lab.dropped("networks_v6")), (2, 1));
}

#[test]
fn the_table_is_what_the_documentation_shows() {
    let lab = Lab::new();
    let _helper = helper::start(&lab, "");
    let shown = lab.inside("nft list table inet ringfence");
    let chains = &shown[shown.find("\tchain").expect("chains")..];
    let expected = "\tchain banned_v4 {
\t\tip saddr @sources_v4 counter name \"sources_v4\" drop
\t\tip saddr @networks_v4 counter name \"networks_v4\" drop
\t}

\tchain banned_v6 {
\t\tip6 saddr & ffff:ffff:ffff:ffff:: == @sources_v6 counter name \"sources_v6\" drop
\t\tip6 saddr @networks_v6 counter name \"networks_v6\" drop
\t}

\tchain prerouting {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tip daddr 198.18.0.1 udp dport 5060 goto banned_v4
\t\tip daddr 198.18.0.1 tcp dport 5060 goto banned_v4
\t\tip6 daddr 2001:db8:e::1 udp dport 5060 goto banned_v6
\t\tip6 daddr 2001:db8:e::1 tcp dport 5060 goto banned_v6
\t\tip daddr 198.18.0.1 udp dport 10000-10010 goto banned_v4
\t\tip6 daddr 2001:db8:e::1 udp dport 10000-10010 goto banned_v6
\t}
}
";
    assert_eq!(chains, expected);
}

#[test]
fn an_established_flow_stops_at_once_and_is_not_tracked_any_more() {
    let lab = Lab::new().with_firewall();
    let _helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    let source = "192.0.2.1";
    let sip = lab.service(EDGE_V4, 5060);
    let (socket, honest) = (lab.socket(source), lab.socket("192.0.2.200"));
    assert!(sip.hears_socket(&socket, &honest));
    let listener = lab.listener(EDGE_V4, 5060);
    let mut client = lab.connect(source, EDGE_V4, 5060);
    let mut server = listener.accept().unwrap().0;
    passes(&mut client, &mut server);
    let tracked = || lab.inside(&format!("conntrack -L -s {source}")).lines().count();
    assert_eq!(tracked(), 2, "UDP and TCP");

    edge.ban_now(&format!("{source}/32"));
    assert!(!sip.hears_socket(&socket, &honest));
    let before = lab.dropped("sources_v4");
    std::io::Write::write_all(&mut client, b"more").unwrap();
    lab.wait_dropped("sources_v4", before + 1);
    assert!(!has_data(&mut server));
    wait_until("the flows are not tracked any more", PATIENCE, || tracked() == 0);
    let others = lab.inside("conntrack -L -s 192.0.2.200").lines().count();
    assert_eq!(others, 1, "nobody else's flow is touched");

    let before = lab.dropped("sources_v4");
    let _knock = lab.knock(source, EDGE_V4, 5060);
    lab.wait_dropped("sources_v4", before + 1);
    edge.lift_now(&format!("{source}/32"));
    assert!(sip.hears_socket(&socket, &honest));
    let mut again = lab.connect(source, EDGE_V4, 5060);
    let mut server = loop {
        let (stream, from) = listener.accept().unwrap();
        if from == again.local_addr().unwrap() {
            break stream;
        }
    };
    passes(&mut again, &mut server);
}

#[test]
fn a_ban_runs_out_by_itself_even_without_helper_and_edge() {
    let lab = Lab::new();
    let helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    let sip = lab.service(EDGE_V4, 5060);
    // long enough to be seen on a machine that is busy with others
    let short = Duration::from_secs(5);
    edge.ban("192.0.2.1/32", short);
    edge.ban_now("192.0.2.2/32");
    edge.ban("203.0.113.9/32", short);
    edge.ban("203.0.113.8/29", short);
    edge.wait("all are banned", |edge| edge.results().applied >= 4);
    assert!(!sip.hears(&lab, "192.0.2.1") && !sip.hears(&lab, "203.0.113.9"));
    crate::lab::kill(&helper);
    drop(edge);
    wait_until("the short bans run out", PATIENCE, || {
        sip.hears(&lab, "192.0.2.1") && sip.hears(&lab, "203.0.113.9")
    });
    assert!(!sip.hears(&lab, "192.0.2.2"), "the long one does not");
}

#[test]
fn a_renewed_ban_lasts_as_long_as_the_last_word_says() {
    let lab = Lab::new();
    let _helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    edge.ban_now("203.0.113.0/29");
    let sip = lab.service(EDGE_V4, 5060);
    edge.ban("192.0.2.1/32", Duration::from_millis(1_200));
    edge.ban("203.0.113.0/29", Duration::from_millis(1_200));
    wait_until("the shortened bans run out", PATIENCE, || {
        sip.hears(&lab, "192.0.2.1") && !lab.holds("networks_v4", "203.0.113.0/29")
    });
}

#[test]
fn of_networks_in_each_other_the_rest_stays_when_the_wider_goes() {
    let lab = Lab::new();
    let _helper = helper::start(&lab, "");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.0/28");
    edge.ban_now("192.0.2.0/26");
    edge.ban_now("192.0.2.0/30");
    assert!(lab.holds("networks_v4", "192.0.2.0/26"));
    let sip = lab.service(EDGE_V4, 5060);
    edge.lift_now("192.0.2.0/26");
    assert!(lab.holds("networks_v4", "192.0.2.0/28"));
    edge.lift_now("192.0.2.0/28");
    assert!(!sip.hears(&lab, "192.0.2.1"));
    edge.lift_now("192.0.2.0/30");
    assert!(sip.hears(&lab, "192.0.2.1"));
}

#[test]
fn what_does_not_fit_is_counted_and_what_is_there_stays() {
    let lab = Lab::new();
    let _helper = helper::start(&lab, ", sources: 16");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    edge.ban_now("192.0.2.1/32");
    for last in 10..30 {
        edge.ban(&format!("198.51.100.{last}/32"), Duration::from_secs(60));
    }
    edge.wait("all are accounted for", |edge| edge.results().applied + edge.results().full == 21);
    assert_eq!(edge.results().full, 5);
    let sip = lab.service(EDGE_V4, 5060);
    assert!(!sip.hears(&lab, "192.0.2.1"));
    edge.lift_now("192.0.2.1/32");
    edge.ban_now("192.0.2.2/32");
    assert!(!sip.hears(&lab, "192.0.2.2"), "there is room again");
}

#[test]
fn a_set_that_is_full_in_the_kernel_refuses_single_bans_only() {
    let lab = Lab::new();
    lab.at_edge(|| {
        let destination = Destination {
            protocol: Protocol::Udp,
            address: EDGE_V4.parse().unwrap(),
            ports: 5060..=5060,
        };
        let mut set = Nftables::open(vec![destination], 16, 16).unwrap();
        set.restore(&[]).unwrap();
        let add = |n: u32| {
            let network = parse(&format!("{}/32", std::net::Ipv4Addr::from(0xc633_0000 + n)));
            Change::Add(Entry { network, remaining: Duration::from_secs(60) })
        };
        let changes: Vec<Change> = (0..3_000).map(add).collect();
        let applied = set.apply(&changes).unwrap();
        assert_eq!(applied.applied + applied.failed, 3_000);
        assert!(applied.failed > 0 && applied.applied >= 1_024, "{applied:?}");
        assert_eq!(set.entries().unwrap().len(), applied.applied);
        assert!(set.is_intact().unwrap());
    });
}

#[test]
fn the_helper_refuses_what_its_own_configuration_forbids() {
    let lab = Lab::new();
    let _helper = helper::start(&lab, ", widest_ipv4: 24");
    let edge = Edge::new(&lab);
    edge.wait_connected(1);
    let forbidden = [
        "198.18.0.1/32",    // its own address
        "198.18.0.0/24",    // and the network around it
        "203.0.113.200/32", // an operator
        "203.0.113.0/24",   // and his network's
        "127.0.0.1/32",     // the PBX
        "192.0.0.0/23",     // too wide
        "0.0.0.0/0",
        "2001:db8:e::/64", // its own address
        "2000::/3",
        "224.0.0.1/32", // no source
    ];
    for network in forbidden {
        edge.ban(network, Duration::from_secs(60));
    }
    edge.ban("192.0.2.1/32", Duration::from_secs(60));
    edge.wait("all are accounted for", |edge| {
        let results = edge.results();
        results.applied == 1 && results.refused as usize == forbidden.len()
    });
    for set in ["sources_v4", "networks_v4", "sources_v6", "networks_v6"] {
        let listed = lab.inside(&format!("nft list set inet ringfence {set}"));
        let elements = listed.matches("expires").count();
        assert_eq!(elements, usize::from(set == "sources_v4"), "{listed}");
    }
    // an address that this machine gets later
    lab.inside("ip addr add 192.0.2.1/32 dev lo");
    wait_until("a ban of an own address ends", PATIENCE, || !lab.holds("sources_v4", "192.0.2.1"));
}
