//! RFC 4475 and RFC 5118 through the whole engine: what a proxy may do with each message, by the
//! manifest beside them.

use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Input, Output, Verdict};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wire::{Limits, Message, ShardId, Side, Transport};

const OUTSIDE: &str = "203.0.113.1:5060";
const PBX: &str = "127.0.0.1:5070";

/// The one event, and what went inside.
fn passage(bytes: &[u8]) -> (proxy::Event, Option<Vec<u8>>) {
    let addr = |text: &str| text.parse().expect("address");
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let pbx = Pbx::new(addr(PBX));
    let mut policy = Policy::new(vec![listener], addr("127.0.0.1:5080"), vec![pbx]);
    // what is torture to a parser looks like a tool's to a judge
    policy.admission.mode = policy::Mode::Off;
    let mut engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
    let now = Time::ZERO + Duration::from_secs(1_700_000_000);
    let (local, remote) = (addr(OUTSIDE), addr("198.51.100.7:5060"));
    engine.handle_input(now, Input::Datagram { side: Side::Outside, local, remote, bytes });
    let (mut events, mut inside) = (Vec::new(), None);
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Datagram { side: Side::Inside, bytes, .. } => inside = Some(bytes.to_vec()),
            Output::Datagram { remote: to, .. } => {
                assert_eq!(to.ip(), remote.ip(), "answers go to the source, whatever Via says");
            }
            Output::Event(event) => events.push(event),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(events.len(), 1);
    (events.remove(0), inside)
}

#[test]
fn each_message_gets_a_verdict_that_the_manifest_accepts() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/data");
    let manifest = std::fs::read(data.join("torture-manifest.json")).expect("manifest");
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(entries.len(), 61);
    for entry in entries {
        let id = entry["id"].as_str().expect("id");
        let bytes = std::fs::read(data.join(entry["file"].as_str().expect("file"))).expect(id);
        let (event, inside) = passage(&bytes);
        let accept: Vec<_> =
            entry["accept"].as_array().expect(id).iter().filter_map(|a| a.as_str()).collect();
        let outcome = match event.verdict {
            Verdict::Forward => "forward".to_string(),
            Verdict::Reject(status) => status.to_string(),
            // a response that comes from outside without a transaction goes nowhere
            Verdict::Drop if accept.contains(&"relay") => {
                assert_eq!(event.reason.as_str(), "stray_response", "{id}: {event:?}");
                continue;
            }
            Verdict::Drop => "drop".to_string(),
            Verdict::Absorb => "absorb".to_string(),
        };
        assert!(accept.contains(&outcome.as_str()), "{id}: {outcome} not in {accept:?}: {event:?}");
        assert_eq!(inside.is_some(), outcome == "forward", "{id}");
        if let Some(inside) = inside {
            let limits = Limits::default();
            let before = Message::parse(&bytes, &limits).expect(id);
            let after = Message::parse(&inside, &limits).expect(id);
            assert_eq!(before.body(), after.body(), "{id}: the body leaves bit for bit");
            assert_eq!(before.request_uri(), after.request_uri(), "{id}");
        }
    }
}
