//! Carriers that are known by name: their addresses come from a real name server, and change.

use std::net::Ipv4Addr;
use std::time::Duration;

use integration_tests::{Mode, Nsd, PATIENCE, Plan, Stage, Ua, Way, ZONE, edge, wait_until};

edge!(
    a_carrier_that_moves_is_no_stranger_for_longer_than_its_ttl,
    a_dead_name_server_changes_nothing
);

/// Strangers meet the edge's challenge, so whatever reaches the PBX came from the carrier.
const SUSPICIOUS: &str = "policy: { edge_challenge: { mode: always, realm: pbx.test } }";

/// A carrier with all kinds of records: its calls come from `host`.
fn records(host: Ipv4Addr) -> String {
    format!(
        "@ IN NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp\n_sip._udp IN SRV 1 1 5060 sbc\n\
         sbc IN A {host}\n"
    )
}

/// An edge that knows its carrier by name, and who answers that name.
fn set_up(mode: Mode, host: impl Fn(&Stage) -> Ipv4Addr) -> (Stage, Nsd, Ua) {
    let mut stage = Plan::new(mode).scripted().start();
    let nsd = Nsd::start(stage.network.host(4), &stage.directory, &records(host(&stage)));
    let (zone, server) = (ZONE, nsd.address);
    stage.plan = stage.plan.clone().with(SUSPICIOUS).with(&format!(
        "trunks: [{{ name: carrier, hosts: [{zone}] }}]\n\
         resolver: {{ servers: [\"{server}\"], timeout: 500ms, attempts: 2 }}"
    ));
    let pbx = stage.scripted_pbx();
    stage.restart_edge();
    wait_until("the name is known", PATIENCE, || {
        stage.ringfence().metric("ringfence_names", &["state=\"current\""]) == 1.0
    });
    (stage, nsd, pbx)
}

/// Whether a request of `from` reaches the PBX, which answers 200.
fn passes(from: &Ua) -> bool {
    let code = from.transact(&from.request("OPTIONS", &from.uri("100"))).code();
    assert!(matches!(code, Some(200 | 401)), "{code:?}");
    code == Some(200)
}

fn a_carrier_that_moves_is_no_stranger_for_longer_than_its_ttl(mode: Mode) {
    let (stage, mut nsd, _pbx) = set_up(mode, |stage| stage.network.far(1));
    let phone = |n| stage.phone_at("carrier", stage.network.far(n), Way::UDP);
    let (old, new, stranger) = (phone(1), phone(2), phone(3));
    assert!(passes(&old) && !passes(&new) && !passes(&stranger));
    let changes = || stage.ringfence().metric("ringfence_name_changes_total", &[]);
    assert_eq!(changes(), 1.0);

    nsd.change(&records(stage.network.far(2)));
    // its TTL is a second; the rest is for a busy machine
    wait_until("the carrier's new address passes", Duration::from_secs(4), || passes(&new));
    assert_eq!(changes(), 2.0);
    for _ in 0..20 {
        assert!(passes(&new), "no call is refused any more");
    }
    assert!(passes(&old), "calls that began there end there");
    assert!(!passes(&stranger));
    let log = stage.ringfence().log();
    assert!(log.contains("addresses changed"), "{log}");
}

fn a_dead_name_server_changes_nothing(mode: Mode) {
    let (stage, mut nsd, _pbx) = set_up(mode, |stage| stage.network.far(1));
    let carrier = stage.phone_at("carrier", stage.network.far(1), Way::UDP);
    assert!(passes(&carrier));
    nsd.stop();
    let names = |state: &str| stage.ringfence().metric("ringfence_names", &[state]);
    wait_until("its questions fail", PATIENCE, || names("state=\"stale\"") == 1.0);
    assert!(passes(&carrier));
    nsd.start_again();
    wait_until("they are answered again", PATIENCE * 3, || names("state=\"current\"") == 1.0);
    assert!(passes(&carrier));
    assert_eq!(stage.ringfence().metric("ringfence_name_changes_total", &[]), 1.0);
    let log = stage.ringfence().log();
    assert!(log.contains("A name cannot be resolved") && log.contains("resolved again"), "{log}");
}
