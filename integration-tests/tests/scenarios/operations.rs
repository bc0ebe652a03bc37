//! Running the edge: reload, drain, health.

use std::fs;

use integration_tests::*;

edge!(
    drains,
    drains_at_once_when_told_twice,
    reloads,
    keeps_its_rules_when_the_new_ones_are_wrong,
    tells_its_metrics
);

/// SIGTERM: calls that stand may end, new ones are sent away, then the process ends.
fn drains(mode: Mode) {
    let mut stage = Stage::new(mode);
    let (alice, bob) = (stage.phone("6001"), stage.phone_over("6002", Way::TLS));
    let call = alice.call("102");
    call.wait(180);
    bob.register();
    stage.edge().drain();
    // it is not ready from the order on; that every shard has heard of it is told by the metric
    wait_until("all shards drain", PATIENCE, || {
        stage.edge().fetch("/metrics").contains("\nringfence_draining 1\n")
    });
    assert!(!stage.edge().is_ready());
    let refusal = bob.transact(&bob.request("INVITE", &bob.uri("100"))).expect_code(503);
    assert!(refusal.header("Retry-After").is_some(), "{refusal}");
    call.cancel();
    call.refused(487);
    assert_eq!(stage.edge().wait(), Some(0));
}

fn drains_at_once_when_told_twice(mode: Mode) {
    let mut stage = Stage::new(mode);
    let alice = stage.phone("6001");
    let call = alice.call("102");
    call.wait(180);
    stage.edge().drain();
    wait_until("the edge says it is not ready", PATIENCE, || !stage.edge().is_ready());
    stage.edge().drain();
    stage.edge().wait();
}

/// SIGHUP: new rules, and all that stands goes on.
fn reloads(mode: Mode) {
    let mut stage = Stage::new(mode);
    let alice = stage.phone_over("6001", Way::TLS);
    alice.register();
    let leg = alice.call("100").answered();
    let file = stage.edge().configuration.clone();
    let rules = fs::read_to_string(&file).unwrap() + "policy: { source_header: X-Edge }\n";
    fs::write(&file, rules).unwrap();
    let before = stage.edge().log().len();
    stage.edge().reload();
    wait_until("the edge says it reloaded", PATIENCE, || stage.edge().log().len() > before);
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().call("6001");
    alice.incoming().accept().hang_up();
    assert!(stage.edge().is_running());
}

fn keeps_its_rules_when_the_new_ones_are_wrong(mode: Mode) {
    let mut stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    let file = stage.edge().configuration.clone();
    let rules = fs::read_to_string(&file).unwrap() + "polycy: {}\n";
    fs::write(&file, rules).unwrap();
    stage.edge().reload();
    wait_until("the edge names the mistake", PATIENCE, || stage.edge().log().contains("polycy"));
    assert!(stage.edge().is_ready());
    alice.register();
}

fn tells_its_metrics(mode: Mode) {
    let mut stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    alice.call("100").answered().hang_up();
    let metrics = stage.edge().fetch("/metrics");
    assert!(metrics.contains("ringfence_requests_total{"), "{metrics}");
    assert!(metrics.contains("method=\"REGISTER\""), "{metrics}");
    for private in ["6001", &alice.local().ip().to_string()] {
        assert!(!metrics.contains(&format!("\"{private}")), "{private} in {metrics}");
    }
}
