//! Tortuous messages (RFC 4475) and plain nonsense: whatever becomes of them, the phones go on.

use std::fs;

use integration_tests::*;

both!(tortuous_messages);

fn tortuous_messages(mode: Mode) {
    let stage = Stage::new(mode);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/torture");
    let mut messages: Vec<Vec<u8>> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(messages.len() > 10);
    messages.extend([vec![0; 1500], vec![b'\r'; 3000], b"INVITE sip:a SIP/2.0\r\n".repeat(1000)]);
    for way in [Way::UDP, Way::UDP6] {
        let mallory = stage.phone_over("6003", way);
        for message in &messages {
            mallory.send_bytes(message).unwrap();
        }
        let alice = stage.phone_over("6001", way);
        alice.register();
        alice.call("100").answered().hang_up();
    }
    // a connection may be closed for it, the others live
    let alice = stage.phone_over("6001", Way::TCP);
    for message in &messages {
        let mallory = stage.phone_over("6003", Way::TCP);
        let _ = mallory.send_bytes(message);
    }
    alice.register();
    alice.call("100").answered().hang_up();
}
