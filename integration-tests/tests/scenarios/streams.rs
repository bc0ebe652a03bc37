//! TCP and TLS: framing, keep-alives (RFC 3261 §18.3, RFC 5626 §3.5.1).

use integration_tests::*;

both!(one_byte_at_a_time, several_messages_at_once, keep_alive_on_udp, line_ends_between_messages);

fn one_byte_at_a_time(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::TCP, Way::TLS6] {
        let alice = stage.phone_over("6001", way);
        let request = alice.registration(300);
        for byte in request.bytes() {
            alice.send_bytes(&[byte]).unwrap();
        }
        alice.final_response(&request).expect_code(401);
        alice.register();
    }
}

fn several_messages_at_once(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", Way::TCP);
    let requests = [(); 5].map(|()| alice.request("OPTIONS", &alice.uri("100")));
    let bytes: Vec<u8> = requests.iter().flat_map(Message::bytes).collect();
    alice.send_bytes(&bytes).unwrap();
    for request in &requests {
        alice.final_response(request).expect_code(401);
    }
}

fn keep_alive_on_udp(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone("6001");
    alice.register();
    for bytes in ["\r\n\r\n", "\r\n", "\0\0\0\0", "\0"] {
        alice.send_bytes(bytes.as_bytes()).unwrap();
    }
    alice.register();
}

fn line_ends_between_messages(mode: Mode) {
    let stage = Stage::new(mode);
    let alice = stage.phone_over("6001", Way::TCP);
    alice.register();
    alice.send_bytes(b"\r\n").unwrap();
    alice.register();
}

edge!(ping_is_answered_by_pong);

fn ping_is_answered_by_pong(mode: Mode) {
    let stage = Stage::new(mode);
    for way in [Way::TCP, Way::TLS, Way::TCP6] {
        let alice = stage.phone_over("6001", way);
        for _ in 0..3 {
            alice.send_bytes(b"\r\n\r\n").unwrap();
            alice.wait_for_bytes("a pong", |bytes| bytes == b"\r\n");
        }
        alice.register();
    }
}
