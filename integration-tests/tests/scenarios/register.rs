use integration_tests::*;

everywhere!(registers);
fn registers(mode: Mode, way: Way) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", way);
    alice.register();
    assert_eq!(stage.pbx().contacts("6001").len(), 1);
    alice.deregister();
    assert_eq!(stage.pbx().contacts("6001").len(), 0);
}
