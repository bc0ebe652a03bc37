//! What must hold of all that leaves the edge.

use super::{Edge, response_key, text};
use crate::net::Node as _;
use crate::sip::{Msg, SipUri, auth_param, uri_of};
use admission::{Ban, BanKey, Origin};
use policy::{Network, Time};
use std::net::SocketAddr;
use wire::Flow;

impl Edge {
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
        let (to, stream) = (flow.remote.ip(), flow.transport.is_reliable());
        self.watch.on_answer(now, to, stream, &msg, bytes.len());
        if self.is_judging()
            && !self.is_trusted(to)
            && let Some(excess) = self.watch.excess(to)
        {
            let what =
                format!("{excess} bytes more to unproven {to} than from it: {}", text(bytes));
            self.violation(now, what);
        }
        for value in msg.values_of_lines("WWW-Authenticate") {
            let nonce = auth_param(&value, "nonce").unwrap_or_default();
            self.nonces.entry(nonce).or_default().insert(flow.remote.ip());
        }
        // What a stranger garbles may be read in two ways; its replies are counted.
        if self.unproven.contains(&flow.remote) {
            return;
        }
        let known = self.flows.get(&response_key(&msg));
        if !known.is_some_and(|flows| flows.contains(&flow)) {
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
        if msg.method() == "CANCEL" && !self.provisional.contains(&msg.branch()) {
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
        self.asking.insert(msg.branch(), source);
        if self.asking.len() > 50_000 {
            self.asking.pop_first();
        }
        if sources.len() != 1 {
            self.violation(now, format!("{name} stands there {} times", sources.len()));
        }
        for value in msg.values_of_lines("Authorization") {
            // Another scheme than Digest is the PBX's to refuse.
            let Some(nonce) = auth_param(&value, "nonce") else { continue };
            if !self.nonces.get(&nonce).is_some_and(|sources| sources.contains(&source)) {
                self.violation(now, format!("a nonce not relayed to {source}: {value}"));
            }
        }
    }
}
