use integration_tests::*;

everywhere!(calls_the_pbx);
fn calls_the_pbx(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    let leg = alice.call("100").answered();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().wait_idle();
}

everywhere!(is_called_by_the_pbx);
fn is_called_by_the_pbx(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    alice.register();
    stage.pbx().call("6001");
    let incoming = alice.incoming();
    incoming.ring();
    let leg = incoming.accept();
    leg.hears_echo();
    leg.hang_up();
    stage.pbx().wait_idle();
}
