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

one_shard!(a_crowd_that_connects_keeps_nobody_out, an_office_comes_back_at_once);

/// Strangers take all places, and come again and again. Who is known keeps his connection and gets
/// another; who is new has the time that he needs.
fn a_crowd_that_connects_keeps_nobody_out(mode: Mode) {
    let few = "policy: { capacities: { connections: 16 } }";
    let stage = Plan::new(mode).with(few).start();
    let mut alice = stage.phone_over("6001", Way::TCP);
    alice.register();
    let strangers = |from: u16| -> Vec<Ua> {
        let stranger = |n| stage.phone_at("nobody", stage.network.far(n), Way::TCP);
        (from..from + 24).map(stranger).collect()
    };
    let mut crowd = strangers(0);
    alice.call("100").answered().hang_up();
    for round in 1..4 {
        crowd.extend(strangers(24 * round));
        alice.move_to_new_port();
        alice.tell_the_truth();
        alice.register();
    }
    let bob = stage.phone_over("6002", Way::TLS);
    bob.register();
    wait_until("the crowd made room for itself", PATIENCE, || {
        stage.ringfence().metric("ringfence_table_evictions_total", &["connections"]) >= 1.0
    });
}

/// Its router has started anew: each phone connects once more, and nobody knows yet that what stood
/// before is dead.
fn an_office_comes_back_at_once(mode: Mode) {
    let stage = Plan::new(mode).office().with("transport: { connections_per_source: 3 }").start();
    let host = stage.network.host(stage.next_host());
    let phones = || -> Vec<Ua> {
        let phone = |user: u16| {
            let phone = stage.phone_at(&user.to_string(), host, Way::TLS);
            phone.register();
            phone
        };
        (6301..6310).map(phone).collect()
    };
    let dead = phones();
    let alive = phones();
    stage.pbx().call("6301");
    alive[0].incoming().accept().hang_up();
    drop(dead);
    // but not for whoever only connects
    let idle: Vec<_> = (0..3).map(|_| stage.phone_at("nobody", host, Way::TCP)).collect();
    let refused = stage.phone_at("nobody", host, Way::TCP);
    refused.wait_for_bytes("the end of its connection", <[u8]>::is_empty);
    drop((idle, alive));
}
