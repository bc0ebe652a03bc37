//! What must hold of all that leaves the edge.

use super::Edge;
use crate::net::Node as _;
use crate::sip::{Msg, SipUri, auth_param, uri_of};
use admission::{Ban, BanKey, Origin};
use policy::{Network, Time};
use std::net::SocketAddr;
use wire::{ConnectionId, Flow, ShardId, Side};

impl Edge {
    /// A message comes in: what is said to be a response may tell of a nonce.
    pub(super) fn on_bytes_in(&mut self, side: Side, bytes: &[u8]) {
        let Some(msg) = Msg::parse(bytes) else { return };
        self.seen.on_response(side, &msg);
        if side == Side::Inside {
            self.watch.on_inside(&msg);
            self.watch.on_answered(&msg);
        }
    }

    /// A message comes from outside.
    pub(super) fn on_request_in(&mut self, now: Time, flow: Flow, bytes: &[u8]) {
        if flow.transport.is_reliable() {
            self.watch.on_opened(now, flow.remote.ip());
        } else {
            let source = flow.remote.ip();
            self.watch.on_datagram(now, source, self.is_trusted(source), bytes);
        }
        self.seen.on_request(flow, bytes);
    }

    /// Where a datagram leaves from, whether it was paid for, and what is in it.
    pub(super) fn check_datagram(
        &mut self,
        now: Time,
        shard: usize,
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
    ) {
        let shard_id = ShardId(u8::try_from(shard).unwrap_or(u8::MAX));
        if side == Side::Inside {
            if local != self.policy.inside_of(shard_id) {
                self.violation(now, format!("shard {shard} speaks inside from {local}"));
            }
            match Msg::parse(bytes) {
                Some(msg) => {
                    self.check_request(now, &msg);
                    self.check_source(now, &msg);
                    if msg.is_request() {
                        self.watch.on_forwarded(now, &msg);
                    }
                }
                None => self.violation(now, format!("unreadable to inside: {}", text(bytes))),
            }
            return;
        }
        if !self.policy.is_listener(local.ip(), local.port()) {
            self.violation(now, format!("speaks outside from {local}"));
        }
        if self.seen.is_overdrawn(remote, bytes.len()) {
            self.violation(
                now,
                format!("more bytes than came from its place to {remote}: {}", text(bytes)),
            );
        }
        self.check_flow(now, Flow::udp(local, remote), bytes);
    }

    /// What is on its way when a connection ends is lost with it; one that never was is wrong.
    pub(super) fn check_lost(
        &mut self,
        now: Time,
        shard: usize,
        connection: ConnectionId,
        bytes: &[u8],
    ) {
        let accepted = self.accepted[usize::from(connection.shard().0)];
        let ever = (connection.to_bits() & 0x00ff_ffff_ffff_ffff) <= accepted;
        if !ever || usize::from(connection.shard().0) != shard {
            let what = format!("shard {shard} sends on foreign {connection:x?}: {}", text(bytes));
            self.violation(now, what);
        }
    }

    /// Nothing waits to be asked for, and no table is over its bound.
    pub(super) fn check_tables(&mut self, now: Time, shard: usize) {
        let snapshot = self.engines[shard].snapshot();
        if snapshot.outputs != 0 {
            self.violation(now, format!("{} outputs left", snapshot.outputs));
        }
        let tables = [
            ("exchanges", snapshot.exchanges, self.policy.capacities.exchanges),
            ("bindings", snapshot.bindings, self.policy.capacities.bindings),
            ("nonces", snapshot.nonces, self.policy.capacities.nonces),
            ("connections", snapshot.connections, self.policy.capacities.connections),
            ("retained bytes", snapshot.retained_bytes, self.policy.capacities.retained_bytes),
        ];
        for (name, table, capacity) in tables {
            if table.entries > capacity {
                self.violation(now, format!("{name}: {} of {capacity}", table.entries));
            }
        }
    }

    /// Whether sources are judged, and unproven ones are answered with no more than they paid.
    fn is_judging(&self) -> bool {
        self.pays
            && self.policy.admission.mode == policy::Mode::Enforce
            && !self.policy.admission.proof.amplify
    }

    /// What can be forged may cost a drop, never a ban; and nothing bans who is trusted.
    pub(super) fn on_ban(&mut self, now: Time, ban: &Ban) {
        if ban.origin != Origin::Local {
            return;
        }
        let proven = match &ban.key {
            BanKey::AorFlow { flow, .. } => {
                self.watch.was_proven(&Network::source(flow.remote.ip()))
            }
            BanKey::AorSource { source, .. } | BanKey::Source(source) => {
                self.watch.was_proven(source)
            }
            BanKey::Network(network) => self.watch.was_any_proven(network),
            BanKey::Campaign(_) => true,
        };
        if !proven {
            self.violation(now, format!("a ban of a source that was never proven: {ban:?}"));
        }
        if let BanKey::Source(of) | BanKey::Network(of) | BanKey::AorSource { source: of, .. } =
            &ban.key
            && self.is_trusted(of.address())
        {
            self.violation(now, format!("a ban of a trusted source: {ban:?}"));
        }
    }

    /// A response leaves by a flow by which its request came, and by no other.
    pub(super) fn check_flow(&mut self, now: Time, flow: Flow, bytes: &[u8]) {
        if bytes.iter().all(|byte| b"\r\n".contains(byte)) {
            return;
        }
        let Some(msg) = Msg::parse(bytes) else {
            return self.violation(now, format!("unreadable to outside: {}", text(bytes)));
        };
        if msg.is_request() {
            return self.check_request(now, &msg);
        }
        let (to, trusted) = (flow.remote.ip(), self.is_trusted(flow.remote.ip()));
        let free = trusted || flow.transport.is_reliable();
        self.watch.on_answer(now, to, free, &msg, bytes.len());
        if self.is_judging()
            && !trusted
            && let Some(excess) = self.watch.excess(to)
        {
            let what =
                format!("{excess} bytes more to unproven {to} than from it: {}", text(bytes));
            self.violation(now, what);
        }
        for value in msg.values_of_lines("WWW-Authenticate") {
            let nonce = auth_param(&value, "nonce").unwrap_or_default();
            self.seen.on_nonce(nonce, flow.remote.ip());
        }
        // What a stranger garbles may be read in two ways; its replies are counted.
        if self.seen.unproven.contains(&flow.remote) {
            return;
        }
        let known = self.seen.flows_of(&msg);
        if !known.contains(&flow) {
            let what = format!("foreign flow {flow}, not {known:?}, for: {}", text(bytes));
            self.violation(now, what);
        }
    }

    /// A request leaves without Routes of our own, and a CANCEL not before a provisional response
    /// (RFC 3261 §16.4, §9.1).
    pub(super) fn check_request(&mut self, now: Time, msg: &Msg) {
        if !msg.is_request() {
            return;
        }
        let own = |route: &String| {
            let address = SipUri::parse(uri_of(route)).and_then(|uri| uri.address());
            address.is_some_and(|address| self.listens(address))
        };
        if msg.values("Route").iter().any(own) {
            self.violation(now, format!("an own Route is left: {:?}", msg.values("Route")));
        }
        if msg.method() == "CANCEL" && !self.seen.was_provisional(msg) {
            self.violation(now, format!("CANCEL without provisional response: {}", msg.branch()));
        }
    }

    /// What the PBX is told of a request's source is the edge's word, and credentials have a
    /// nonce that was relayed to that very address.
    pub(super) fn check_source(&mut self, now: Time, msg: &Msg) {
        let Some(name) = self.policy.source_header.clone() else { return };
        // CANCEL and the ACK to a refusal are the edge's own, hop by hop.
        if !msg.is_request() || (msg.method() == "CANCEL" || msg.method() == "ACK") {
            return;
        }
        // The edge's own, which asks for a challenge.
        if msg.method() == "OPTIONS" && msg.value("From").contains("sip:ringfence@") {
            return;
        }
        let sources = msg.values_of_lines(&name);
        let address = sources.first().and_then(|value| value.split(';').next()?.parse().ok());
        let Some(source) = address.map(|address: SocketAddr| address.ip()) else {
            return self.violation(now, format!("no source told: {}", msg.start));
        };
        self.seen.on_asked(msg, source);
        if sources.len() != 1 {
            self.violation(now, format!("{name} stands there {} times", sources.len()));
        }
        for value in msg.values_of_lines("Authorization") {
            // Another scheme than Digest is the PBX's to refuse.
            let Some(nonce) = auth_param(&value, "nonce") else { continue };
            if !self.seen.was_relayed(&nonce, source) {
                self.violation(now, format!("a nonce not relayed to {source}: {value}"));
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(1_200).collect()
}
