//! Call flows through the edge against their transcripts in `crates/proxy/tests/ladders`, named
//! after the sections of RFC 3665 that they follow, and ours. `BLESS=1` rewrites the transcripts;
//! read the difference before you land it.

use policy::Registration;
use sim::net::{Dependence, Nat};
use sim::ua::AckQuirks;
use sim::{
    Answer, AttackConfig, CallState, DOMAIN, Kind, NodeId, SERVER, Scene, Setup, Sources, Tool,
    ladder,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use wire::Transport;

/// A flow: file name, what it shows, and the scene.
struct Flow {
    name: &'static str,
    shows: &'static str,
    run: fn() -> Scene,
}

const FLOWS: [Flow; 26] = [
    Flow {
        name: "rfc3665-2.1-registration",
        shows: "A phone registers. The Contact towards the PBX is a token; the phone sees its own. \
                The first qualify OPTIONS leaves before the 200.",
        run: registration,
    },
    Flow {
        name: "rfc3665-2.4-cancellation-of-registration",
        shows: "A phone takes its registration back.",
        run: cancellation_of_registration,
    },
    Flow {
        name: "rfc3665-2.5-unsuccessful-registration",
        shows: "A wrong password: the PBX's 401 goes back as it is.",
        run: unsuccessful_registration,
    },
    Flow {
        name: "rfc3665-3.2-call-between-phones",
        shows: "Phone to phone by the PBX, hung up by the callee.",
        run: call_between_phones,
    },
    Flow {
        name: "rfc3665-3.3-call-with-authentication",
        shows: "A call to the PBX: 401, ACK at both hops, credentials, answer, ACK end to end, BYE.",
        run: call_with_authentication,
    },
    Flow { name: "rfc3665-3.7-re-invite", shows: "A re-INVITE by each side.", run: reinvite },
    Flow {
        name: "rfc3665-3.8-no-answer",
        shows: "The caller gives up while the callee rings: CANCEL at each hop, 487 back.",
        run: no_answer,
    },
    Flow { name: "rfc3665-3.9-busy", shows: "The callee is busy.", run: busy },
    Flow {
        name: "rfc3665-3.10-no-response",
        shows: "The callee has vanished: the edge repeats the INVITE on Timer A, and sends no \
                CANCEL before a provisional response.",
        run: no_response,
    },
    Flow {
        name: "rfc3665-3.11-temporarily-unavailable",
        shows: "The callee is not registered.",
        run: temporarily_unavailable,
    },
    Flow {
        name: "call-tls-to-udp-over-ipv6",
        shows: "Transports and address families differ: two Record-Routes, each side's own.",
        run: tls_to_udp,
    },
    Flow {
        name: "registration-with-path",
        shows: "RFC 3327: Path instead of a token, Supported: path added, no Path shown to the \
                phone; the PBX sends our Route twice with the BYE, and both are taken.",
        run: with_path,
    },
    Flow {
        name: "registration-behind-nat-from-a-new-port",
        shows: "The NAT forgets its binding: the next REGISTER moves the flow, the token stays.",
        run: new_port,
    },
    Flow {
        name: "call-handed-over-between-shards",
        shows: "Four shards: the PBX calls the token's home, the phone has moved to another \
                shard's address; the answers leave from that shard's port.",
        run: handed_over,
    },
    Flow {
        name: "stranger-that-never-retries",
        shows: "An answer that is longer than what its source has sent waits, and nothing is \
                repeated; the PBX's 401 is acknowledged by the edge.",
        run: stranger,
    },
    Flow {
        name: "nonce-from-elsewhere",
        shows: "Credentials whose nonce was relayed to another address are taken out, and the \
                challenge goes back with stale=true.",
        run: foreign_nonce,
    },
    Flow {
        name: "ack-with-another-branch",
        shows: "An honest phone's ACK to the 401 has a branch of its own: the To-tag, which is the \
                edge's branch, tells whose it is.",
        run: other_branch,
    },
    Flow {
        name: "unacknowledged-200",
        shows: "The caller lost power: the 200 goes on for 64*T1 (RFC 6026), then the PBX hangs up.",
        run: unacknowledged,
    },
    Flow {
        name: "connection-gone",
        shows: "A call to a phone whose TLS connection has ended fails at once with 480.",
        run: connection_gone,
    },
    Flow {
        name: "pbx-silent",
        shows: "A PBX that does not answer: no 100 to a caller who may be challenged yet, 503 with \
                Retry-After when Timer B fires, and at once for the next but one a second.",
        run: pbx_silent,
    },
    Flow {
        name: "edge-challenges-always-registration",
        shows: "The edge challenges whoever is unproven, by itself. The PBX was quiet: the edge asks \
                it for a challenge, and the phone's retransmission is answered with the PBX's nonce \
                and a proof of the edge's in opaque. No REGISTER without credentials reaches the \
                PBX, and the phone meets one 401.",
        run: always_registration,
    },
    Flow {
        name: "edge-challenges-always-call",
        shows: "The same with an INVITE: the ACK to the edge's challenge ends at the edge, and \
                proves the caller's address.",
        run: always_call,
    },
    Flow {
        name: "edge-challenges-always-own-nonce",
        shows: "A PBX that does not challenge the edge's own OPTIONS: the edge's challenge has its \
                own nonce, the credentials for it are taken out, and the PBX's challenge goes back \
                with stale=true.",
        run: always_own_nonce,
    },
    Flow {
        name: "edge-challenges-always-stranger",
        shows: "Nothing of a scanner reaches the PBX, not even its ACK.",
        run: always_stranger,
    },
    Flow {
        name: "ban-of-a-caller-that-abandons",
        shows: "A caller acknowledges each 401 and never answers one: after its third it is banned, \
                and nothing of it is read any more. (Signatures are off.)",
        run: banned,
    },
    Flow {
        name: "draining",
        shows: "While it drains the edge refuses a new call with 503 and Retry-After, and the old \
                one is ended well.",
        run: draining,
    },
];

#[test]
fn ladders_stand_as_written() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../proxy/tests/ladders");
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for flow in &FLOWS {
        let scene = (flow.run)();
        assert_eq!(scene.violations(), Vec::<String>::new(), "{}", flow.name);
        let tape = scene.world.tape.clone().unwrap_or_default();
        let start = tape.first().map_or(scene.world.now(), |first| first.at);
        let text = format!("# {}\n\n{}", flow.shows, ladder::transcript(&tape, start));
        let path = directory.join(format!("{}.ladder", flow.name));
        if bless {
            std::fs::create_dir_all(&directory).expect("a directory");
            std::fs::write(&path, &text).expect("a transcript");
            continue;
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some(difference) = first_difference(&written, &text) {
            wrong.push(format!("{}: {difference}", flow.name));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 rewrites them.", wrong.join("\n"));
}

#[test]
fn ladders_have_no_strays() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../proxy/tests/ladders");
    let known: BTreeSet<String> =
        FLOWS.iter().map(|flow| format!("{}.ladder", flow.name)).collect();
    assert_eq!(known.len(), FLOWS.len(), "two flows have one name");
    for file in std::fs::read_dir(directory).expect("the transcripts") {
        let name = file.expect("a file").file_name().into_string().expect("UTF-8");
        assert!(known.contains(&name), "no flow writes {name}");
    }
}

/// Where two texts part, with what stands before.
fn first_difference(written: &str, text: &str) -> Option<String> {
    if written == text {
        return None;
    }
    let (old, new): (Vec<_>, Vec<_>) = (written.lines().collect(), text.lines().collect());
    let at = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let context = new[at.saturating_sub(6)..at].join("\n");
    let line = |lines: &[&str]| lines.get(at).map_or("(end)".to_string(), |line| line.to_string());
    Some(format!("line {}\n{context}\n- {}\n+ {}\n", at + 1, line(&old), line(&new)))
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Nothing but the flow itself: no keep-alives, no qualify unless wanted.
fn scene(setup: Setup) -> Scene {
    Scene::new(Setup { record: true, qualify: Duration::ZERO, ..setup })
}

fn phone(scene: &mut Scene, user: &str, transport: Transport) -> NodeId {
    phone_with(scene, user, transport, false, None, Answer::After(secs(2)))
}

fn phone_with(
    scene: &mut Scene,
    user: &str,
    transport: Transport,
    v6: bool,
    nat: Option<usize>,
    answer: Answer,
) -> NodeId {
    scene.add_phone_with(user, transport, v6, nat, |config| {
        config.keep_alive = Duration::ZERO;
        config.answer = answer;
    })
}

/// Two registered phones; the transcript starts here.
fn two_phones(setup: Setup, answer: Answer) -> (Scene, NodeId, NodeId) {
    let mut scene = scene(setup);
    let caller = phone(&mut scene, "6001", Transport::Udp);
    let callee = phone_with(&mut scene, "6002", Transport::Udp, false, None, answer);
    assert!(scene.register(caller) && scene.register(callee));
    rewind(&mut scene);
    (scene, caller, callee)
}

/// Forgets what was recorded so far.
fn rewind(scene: &mut Scene) {
    scene.world.run_for(secs(1));
    scene.world.tape = Some(Vec::new());
}

fn hang_up(scene: &mut Scene, phone: NodeId) {
    let calls = scene.phone(phone).live_calls();
    for call in calls {
        scene.with_phone(phone, |phone, now, out| phone.hang_up(now, call, out));
    }
    scene.world.run_for(secs(1));
}

fn registration() -> Scene {
    let mut scene = Scene::new(Setup { record: true, ..Setup::default() });
    let phone = phone(&mut scene, "6001", Transport::Udp);
    assert!(scene.register(phone));
    scene.world.run_for(secs(1));
    scene
}

fn cancellation_of_registration() -> Scene {
    let mut scene = scene(Setup::default());
    let phone = phone(&mut scene, "6001", Transport::Udp);
    assert!(scene.register(phone));
    rewind(&mut scene);
    scene.with_phone(phone, |phone, now, out| phone.unregister(now, out));
    scene.world.run_for(secs(1));
    assert!(scene.pbx().contacts("6001").is_empty());
    scene
}

fn unsuccessful_registration() -> Scene {
    let mut scene = scene(Setup::default());
    let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
        config.keep_alive = Duration::ZERO;
        config.password = "wrong".into();
    });
    scene.with_phone(phone, |phone, now, out| phone.register(now, out));
    scene.world.run_for(secs(1));
    assert_eq!(scene.phone(phone).counts.refused, 1);
    scene
}

fn call_between_phones() -> Scene {
    let (mut scene, caller, callee) = two_phones(Setup::default(), Answer::After(secs(2)));
    scene.call(caller, "6002");
    scene.world.run_for(secs(3));
    hang_up(&mut scene, callee);
    scene
}

fn call_with_authentication() -> Scene {
    let (mut scene, caller, _) = two_phones(Setup::default(), Answer::Busy);
    scene.call(caller, "100");
    scene.world.run_for(secs(3));
    hang_up(&mut scene, caller);
    scene
}

fn reinvite() -> Scene {
    let (mut scene, caller, callee) = two_phones(Setup::default(), Answer::After(secs(2)));
    let call = scene.call(caller, "6002");
    scene.world.run_for(secs(1));
    let theirs = scene.phone(callee).incoming_calls()[0];
    rewind(&mut scene);
    scene.with_phone(caller, |phone, now, out| phone.reinvite(now, call, out));
    scene.world.run_for(secs(1));
    scene.with_phone(callee, |phone, now, out| phone.reinvite(now, theirs, out));
    scene.world.run_for(secs(1));
    assert_eq!(
        (scene.phone(caller).reinvites(call), scene.phone(callee).reinvites(theirs)),
        (1, 1)
    );
    scene
}

fn no_answer() -> Scene {
    let (mut scene, caller, _) = two_phones(Setup::default(), Answer::Ring);
    let call = scene.with_phone(caller, |phone, now, out| phone.call(now, "6002", out));
    scene.world.run_for(secs(3));
    scene.with_phone(caller, |phone, now, out| phone.cancel(now, call, out));
    scene.world.run_for(secs(1));
    scene
}

fn busy() -> Scene {
    let (mut scene, caller, _) = two_phones(Setup::default(), Answer::Busy);
    scene.call(caller, "6002");
    scene.world.run_for(secs(1));
    scene
}

fn no_response() -> Scene {
    let (mut scene, caller, callee) = two_phones(Setup::default(), Answer::Ring);
    scene.world.set_cut(callee, true);
    scene.call(caller, "6002");
    scene.world.run_for(secs(10));
    scene
}

fn temporarily_unavailable() -> Scene {
    let (mut scene, caller, _) = two_phones(Setup::default(), Answer::Ring);
    scene.call(caller, "6003");
    scene.world.run_for(secs(1));
    scene
}

fn tls_to_udp() -> Scene {
    let mut scene = scene(Setup::default());
    let caller = phone(&mut scene, "6001", Transport::Tls);
    let answer = Answer::After(secs(1));
    let callee = phone_with(&mut scene, "6002", Transport::Udp, true, None, answer);
    assert!(scene.register(caller) && scene.register(callee));
    rewind(&mut scene);
    let call = scene.call(caller, "6002");
    assert_eq!(scene.phone(caller).call_state(call), Some(CallState::Up));
    scene.world.run_for(secs(1));
    hang_up(&mut scene, callee);
    scene
}

fn with_path() -> Scene {
    let rewrite_contact = false;
    let mut scene =
        scene(Setup { registration: Registration::Path, rewrite_contact, ..Setup::default() });
    let phone = phone(&mut scene, "6001", Transport::Udp);
    assert!(scene.register(phone));
    scene.world.run_for(secs(1));
    scene.with_pbx(|pbx, now, out| pbx.originate(now, "6001", out));
    scene.world.run_for(secs(40));
    assert!(scene.phone(phone).live_calls().is_empty());
    scene
}

fn new_port() -> Scene {
    let mut scene = scene(Setup::default());
    let kind = Dependence::AddressAndPort;
    let nat = scene.add_nat(|address| Nat::new(address, kind, kind, secs(60)));
    let answer = Answer::After(secs(1));
    let phone = phone_with(&mut scene, "6001", Transport::Udp, false, Some(nat), answer);
    assert!(scene.register(phone));
    rewind(&mut scene);
    scene.world.nat_mut(nat).reboot();
    assert!(scene.register(phone));
    scene.with_pbx(|pbx, now, out| pbx.originate(now, "6001", out));
    scene.world.run_for(secs(3));
    assert_eq!(scene.phone(phone).live_calls().len(), 1);
    scene
}

fn handed_over() -> Scene {
    // A PBX that rewrites Contacts would follow the phone by itself.
    let mut scene = scene(Setup { shards: 4, rewrite_contact: false, ..Setup::default() });
    let kind = Dependence::EndpointIndependent;
    let shard_behind = |scene: &mut Scene| {
        let nat = scene.add_nat(|address| Nat::new(address, kind, kind, secs(60)));
        (nat, proxy::Engine::shard_of(scene.world.nat_mut(nat).address, 4))
    };
    let (first, shard) = shard_behind(&mut scene);
    let (mut other, mut elsewhere) = shard_behind(&mut scene);
    while elsewhere == shard {
        (other, elsewhere) = shard_behind(&mut scene);
    }
    let answer = Answer::After(secs(1));
    let phone = phone_with(&mut scene, "6001", Transport::Udp, false, Some(first), answer);
    assert!(scene.register(phone));
    let home = scene.phone(phone).config.local.ip();
    scene.world.move_to(phone, home, Some(other));
    assert!(scene.register(phone));
    rewind(&mut scene);
    scene.with_pbx(|pbx, now, out| pbx.originate(now, "6001", out));
    scene.world.run_for(secs(40));
    assert!(scene.edge().expect("an edge").handed_over > 0);
    assert!(scene.phone(phone).live_calls().is_empty());
    scene
}

fn stranger() -> Scene {
    let mut scene = scene(Setup::default());
    let stranger = scene.add_stranger();
    for method in ["INVITE", "REGISTER", "OPTIONS", "BYE"] {
        scene.knock(stranger, method, "9011441234");
        scene.world.run_for(secs(40));
    }
    assert_eq!(scene.received(stranger).len(), 4);
    scene
}

fn foreign_nonce() -> Scene {
    let mut scene = scene(Setup::default());
    let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
        config.keep_alive = Duration::ZERO;
        config.quirks.reuses_nonce = true;
    });
    assert!(scene.register(phone));
    rewind(&mut scene);
    let elsewhere = scene.fresh_address(false, false);
    scene.world.move_to(phone, elsewhere, None);
    scene.with_phone(phone, |phone, _, out| phone.roam(SocketAddr::new(elsewhere, 5060), out));
    let call = scene.call(phone, "100");
    assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
    scene.world.run_for(secs(1));
    scene
}

fn other_branch() -> Scene {
    let mut scene = scene(Setup::default());
    let phone = scene.add_phone_with("6001", Transport::Udp, false, None, |config| {
        config.keep_alive = Duration::ZERO;
        config.quirks.ack = AckQuirks { other_branch: true, ..AckQuirks::default() };
    });
    scene.call(phone, "100");
    scene.world.run_for(secs(1));
    scene
}

fn unacknowledged() -> Scene {
    let (mut scene, caller, _) = two_phones(Setup::default(), Answer::Ring);
    scene.with_phone(caller, |phone, now, out| phone.call(now, "103", out));
    scene.world.run_for(secs(1));
    scene.with_phone(caller, |phone, _, _| phone.reboot());
    scene.world.run_for(secs(60));
    assert_eq!(scene.pbx().counts.unacknowledged, 1);
    scene
}

fn connection_gone() -> Scene {
    let mut scene = scene(Setup::default());
    let caller = phone(&mut scene, "6001", Transport::Udp);
    let callee = phone(&mut scene, "6002", Transport::Tls);
    assert!(scene.register(caller) && scene.register(callee));
    scene.world.set_cut(callee, true);
    for conn in scene.world.connections() {
        scene.world.reset(conn);
    }
    rewind(&mut scene);
    scene.call(caller, "6002");
    scene.world.run_for(secs(1));
    scene
}

fn pbx_silent() -> Scene {
    let (mut scene, caller, other) = two_phones(Setup::default(), Answer::Ring);
    scene.with_pbx(|pbx, now, _| pbx.silence(now + secs(1_000)));
    scene.call(caller, "100");
    scene.world.run_for(secs(1));
    // One request a second looks whether it is back; the next is told at once.
    scene.with_phone(caller, |phone, now, out| phone.call(now, "100", out));
    scene.world.run_for(Duration::from_millis(100));
    scene.call(other, "100");
    scene.world.run_for(Duration::from_millis(100));
    scene
}

/// An edge that challenges by itself whoever is unproven.
fn always() -> Scene {
    always_at(Setup::default())
}

fn always_at(setup: Setup) -> Scene {
    let setup = Setup { record: true, qualify: Duration::ZERO, ..setup };
    Scene::with_policy(setup, |policy| {
        policy.admission.edge_challenge.mode = policy::ChallengeMode::Always;
        policy.admission.edge_challenge.realm = Some("asterisk".into());
    })
}

fn always_registration() -> Scene {
    let mut scene = always();
    let phone = phone(&mut scene, "6001", Transport::Udp);
    assert!(scene.register(phone));
    scene.world.run_for(secs(1));
    scene
}

fn always_own_nonce() -> Scene {
    let mut scene = always_at(Setup { open_options: true, ..Setup::default() });
    let phone = phone(&mut scene, "6001", Transport::Udp);
    assert!(scene.register(phone));
    scene.world.run_for(secs(1));
    scene
}

fn always_call() -> Scene {
    let mut scene = always();
    let phone = phone(&mut scene, "6001", Transport::Udp);
    let call = scene.call(phone, "100");
    assert_eq!(scene.phone(phone).call_state(call), Some(CallState::Up));
    scene.world.run_for(secs(1));
    hang_up(&mut scene, phone);
    scene
}

/// Someone who calls, acknowledges the refusal, and lets it be.
fn add_caller(scene: &mut Scene, shots: u64) {
    let kind = Kind::Call { from: vec!["6001".into()], dialled: vec!["200".into()], acks: true };
    let start = scene.world.now();
    scene.add_attacker(AttackConfig {
        label: "caller",
        kind,
        tool: Tool::Plain(1),
        agent: None,
        sources: Sources::One(SocketAddr::from(([192, 0, 2, 66], 5060))),
        server: SERVER,
        domain: DOMAIN.into(),
        start,
        interval: secs(10),
        shots,
    });
}

fn always_stranger() -> Scene {
    let mut scene = always();
    add_caller(&mut scene, 2);
    scene.world.run_for(secs(40));
    scene
}

fn banned() -> Scene {
    let mut scene = scene(Setup::default());
    add_caller(&mut scene, 6);
    scene.world.run_for(secs(90));
    assert!(scene.edge().expect("an edge").count(policy::Reason::Banned) > 0);
    scene
}

fn draining() -> Scene {
    let (mut scene, caller, other) = two_phones(Setup::default(), Answer::Ring);
    scene.call(caller, "100");
    rewind(&mut scene);
    scene.with_edge(|edge, now, out| edge.drain(now, out));
    scene.call(other, "100");
    hang_up(&mut scene, caller);
    scene
}
