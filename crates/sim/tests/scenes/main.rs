//! The same scenes straight at the PBX and through the edge: what passes directly must pass
//! through one shard and through four.

#![allow(clippy::print_stdout, reason = "shown only when a scene fails")]

mod pbxs;
mod phones;
mod trouble;

use policy::Registration;
use sim::net::{Dependence, Nat, Quality};
use sim::ua::AckQuirks;
use sim::{Actor, Answer, CallState, Ending, NodeId, Passage, Quirks, Scene, Setup};
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

/// Runs a scene directly, with one shard, and with four.
fn everywhere(scene: impl Fn(Setup)) {
    for shards in [0, 1, 4] {
        println!("shards: {shards}");
        let record = std::env::var_os("SIM_TAPE").is_some();
        scene(Setup { shards, record, ..Setup::default() });
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn no_violations(scene: &Scene) {
    assert_eq!(scene.violations(), Vec::<String>::new());
    if scene.edge.is_some() {
        // A PBX that rewrites Contacts shows them to the phones; behind the edge nobody sees it.
        for phone in &scene.phones {
            let counts = &scene.phone(*phone).counts;
            assert_eq!((counts.contact_missing, counts.strange_uri), (0, 0));
        }
    }
}

const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];
