//! What went by, as far as the checks ask for it.

use crate::sip::{Msg, auth_param};
use proxy::Seats;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use wire::{Flow, Side};

/// Open requests that are remembered: what is long over is forgotten.
const REQUESTS_MAX: usize = 50_000;

/// Of each check what it remembers.
#[derive(Debug)]
pub(super) struct Seen {
    /// Sources of which each byte of a reply is counted against those of their requests.
    pub(super) unproven: BTreeSet<SocketAddr>,
    /// Sources that share a place share what they paid.
    seats: Seats,
    balance: BTreeMap<usize, i64>,
    /// Flows by which each outside request came, by what its responses are known by.
    flows: BTreeMap<String, Vec<Flow>>,
    /// Their keys, the oldest first.
    flows_order: VecDeque<String>,
    /// Addresses that each nonce was relayed to.
    nonces: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Sources of requests that went inside, by their branches there.
    asking: BTreeMap<String, IpAddr>,
    /// Branches of requests that had a provisional response.
    provisional: BTreeSet<String>,
}

impl Seen {
    /// Of an edge with this secret.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Seen {
            unproven: BTreeSet::new(),
            seats: Seats::new(secret),
            balance: BTreeMap::new(),
            flows: BTreeMap::new(),
            flows_order: VecDeque::new(),
            nonces: BTreeMap::new(),
            asking: BTreeMap::new(),
            provisional: BTreeSet::new(),
        }
    }

    /// A message came in from outside: whom its responses go to, and what it pays for.
    pub(super) fn on_request(&mut self, flow: Flow, bytes: &[u8]) {
        if let Some(msg) = Msg::parse(bytes).filter(Msg::is_request) {
            let key = response_key(&msg);
            let flows = self.flows.entry(key.clone()).or_default();
            if flows.is_empty() {
                self.flows_order.push_back(key);
            }
            // one request may come by several flows
            if !flows.contains(&flow) {
                flows.push(flow);
            }
            if self.flows_order.len() > REQUESTS_MAX
                && let Some(oldest) = self.flows_order.pop_front()
            {
                self.flows.remove(&oldest);
            }
        }
        let seat = self.seats.of(flow.remote.ip());
        *self.balance.entry(seat).or_default() += bytes.len() as i64;
    }

    /// A message came in that may be a response.
    pub(super) fn on_response(&mut self, side: Side, msg: &Msg) {
        if (100..200).contains(&msg.status()) {
            self.provisional.insert(msg.branch());
        }
        // a challenge that still waits to be paid for was meant for its source, too
        if side == Side::Inside
            && let (Some(source), 401 | 407) = (self.asking.get(&msg.branch()), msg.status())
        {
            let source = *source;
            for value in msg.values_of_lines("WWW-Authenticate") {
                self.on_nonce(auth_param(&value, "nonce").unwrap_or_default(), source);
            }
        }
    }

    /// A request of this source went inside.
    pub(super) fn on_asked(&mut self, msg: &Msg, source: IpAddr) {
        self.asking.insert(msg.branch(), source);
        if self.asking.len() > REQUESTS_MAX {
            self.asking.pop_first();
        }
    }

    /// A challenge with this nonce is for this address.
    pub(super) fn on_nonce(&mut self, nonce: String, to: IpAddr) {
        self.nonces.entry(nonce).or_default().insert(to);
    }

    pub(super) fn was_relayed(&self, nonce: &str, to: IpAddr) -> bool {
        self.nonces.get(nonce).is_some_and(|sources| sources.contains(&to))
    }

    pub(super) fn was_provisional(&self, msg: &Msg) -> bool {
        self.provisional.contains(&msg.branch())
    }

    /// By which flows the request came that this is a response to.
    pub(super) fn flows_of(&self, response: &Msg) -> &[Flow] {
        self.flows.get(&response_key(response)).map_or(&[], Vec::as_slice)
    }

    /// Takes what is sent to a source in doubt; whether it is now more than came from its place.
    pub(super) fn is_overdrawn(&mut self, source: SocketAddr, bytes: usize) -> bool {
        if !self.unproven.contains(&source) {
            return false;
        }
        let balance = self.balance.entry(self.seats.of(source.ip())).or_default();
        *balance -= bytes as i64;
        *balance < 0
    }
}

fn response_key(msg: &Msg) -> String {
    format!("{}|{}|{}|{}", msg.value("Call-ID"), msg.branch(), msg.sent_by(), msg.value("CSeq"))
}
