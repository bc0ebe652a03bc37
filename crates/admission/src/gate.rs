//! The gate's surface.

use crate::{
    Acknowledged, Ban, BranchKey, Credentials, Effect, Final, Judgement, Learned, Pass, Proof,
    RelayedNonces, Request, Ticket, Verdict,
};
use policy::{Outcome, Policy, Reason, Time, Who};
use std::net::IpAddr;
use std::sync::Arc;
use wire::digest::Digest;
use wire::{Flow, HeaderName, ShardId};

/// One shard's gate.
#[derive(Debug)]
pub struct Gate {
    policy: Arc<Policy>,
    nonces: RelayedNonces,
}

/// Entries and bound of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Entries now.
    pub entries: usize,
    /// Bound.
    pub capacity: usize,
    /// Entries pushed out because the table was full, ever.
    pub evictions: u64,
}

/// What was counted, ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Challenges that went out.
    pub issued: u64,
    /// Of them the edge's own.
    pub issued_by_edge: u64,
    /// By [`Outcome`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// By [`Proof`].
    pub proofs: [u64; Proof::ALL.len()],
    /// Signature hits: (by others, by the authenticated), by index.
    pub signatures: Vec<(u64, u64)>,
    /// What each rule met, by index: what it did, or in `observe` would have done.
    pub rules: Vec<u64>,
}

/// A look at the gate for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateSnapshot {
    /// Open ledger entries.
    pub ledger: TableUse,
    /// Sources.
    pub sources: TableUse,
    /// Pairs.
    pub pairs: TableUse,
    /// AORs.
    pub aors: TableUse,
    /// Networks.
    pub networks: TableUse,
    /// Shapes.
    pub shapes: TableUse,
    /// Bans.
    pub bans: TableUse,
    /// Rate buckets.
    pub rates: TableUse,
    /// Chains.
    pub chains: TableUse,
    /// Nonces.
    pub nonces: TableUse,
    /// Whether the edge challenges strangers by itself now.
    pub under_attack: bool,
}

impl Gate {
    /// The gate of a shard. `secret` is the key of proofs, the same in all shards and over
    /// restarts.
    #[must_use]
    pub fn new(policy: Arc<Policy>, shard: ShardId, secret: &[u8; 32]) -> Self {
        let _ = shard;
        Gate {
            nonces: RelayedNonces::new(secret, policy.capacities.nonces, policy.nonce_memory),
            policy,
        }
    }

    /// New rules. What is known stays; a ban of somebody who is trusted now is lifted.
    pub fn configure(&mut self, now: Time, policy: Arc<Policy>) {
        let _ = now;
        self.nonces.configure(policy.capacities.nonces, policy.nonce_memory);
        self.policy = policy;
    }

    /// Source stage, before anything is parsed: why all bytes from this address are dropped, if
    /// they are. Also asked before a connection is taken.
    #[must_use]
    pub fn on_source(&mut self, now: Time, source: IpAddr) -> Option<Reason> {
        let _ = (now, source);
        None
    }

    /// Request stage.
    pub fn on_request(&mut self, now: Time, request: &Request<'_, '_>) -> Judgement {
        let source = request.flow.remote.ip();
        let mut credentials = Credentials::Absent;
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for (_, header) in request.message.lines(name) {
                let digest = Digest::parse(request.message, header);
                if !digest.is_digest {
                    continue;
                }
                let relayed = self.nonces.was_relayed(now, digest.nonce, source);
                credentials = match credentials {
                    Credentials::Absent | Credentials::Relayed if relayed => Credentials::Relayed,
                    _ => Credentials::Foreign,
                };
            }
        }
        let ticket = Ticket {
            entry: 0,
            aor: 0,
            shape: 0,
            who: Who::Unproven,
            method: policy::method_index(request.message.method()),
            factor: 1,
            signature: u16::MAX,
            credentials: credentials == Credentials::Relayed,
            at_home: false,
            honeytoken: false,
            candidate: false,
            judged: true,
            tagged: false,
            proof: None,
        };
        Judgement {
            verdict: Verdict::Accept(Pass { credentials, ticket }),
            reason: Reason::Clean,
            rule: u16::MAX,
            signature: u16::MAX,
            who: Who::Unproven,
            score: 0.0,
            would: None,
        }
    }

    /// Outcome stage: a final response to a request from outside goes out, once.
    pub fn on_final(&mut self, now: Time, answer: &Final<'_, '_>) {
        if !matches!(answer.message.status(), 401 | 407) {
            return;
        }
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for (_, header) in answer.message.lines(name) {
                let digest = Digest::parse(answer.message, header);
                if digest.is_digest {
                    self.nonces.relayed(now, digest.nonce, answer.flow.remote.ip());
                }
            }
        }
    }

    /// An ACK from outside. Whether its sender received what it acknowledges.
    pub fn on_ack(
        &mut self,
        now: Time,
        branches: &BranchKey,
        ack: &Acknowledged<'_, '_>,
    ) -> Option<Proof> {
        let _ = (now, branches, ack);
        None
    }

    /// A CANCEL for that request, or it ended in another way that says nothing of its sender.
    pub fn on_superseded(&mut self, now: Time, ticket: &Ticket) {
        let _ = (now, ticket);
    }

    /// A stream connection is complete, or gone.
    pub fn on_connection(&mut self, now: Time, flow: &Flow, open: bool) {
        let _ = (now, flow, open);
    }

    /// Bytes from outside that are no message, on a stream.
    pub fn on_malformed(&mut self, now: Time, flow: &Flow) {
        let _ = (now, flow);
    }

    /// The prefix that a relayed challenge's `opaque` gets for this flow; `None` when the policy
    /// wants none.
    #[must_use]
    pub fn opaque(&self, now: Time, flow: &Flow) -> Option<arrayvec::ArrayVec<u8, 32>> {
        let _ = (now, flow);
        None
    }

    /// How many bytes at the front of an `opaque` from outside are such a prefix.
    #[must_use]
    pub fn opaque_prefix(&self, opaque: &[u8]) -> usize {
        let _ = opaque;
        0
    }

    /// Appends the header lines of the edge's own challenge: one `WWW-Authenticate` for each
    /// algorithm that the PBX was seen to use, with `stale=true` when the request had credentials.
    /// `false` when the realm is not known yet: then there is no challenge.
    pub fn write_challenge(&self, now: Time, request: &Request<'_, '_>, out: &mut Vec<u8>) -> bool {
        let _ = (now, request, out);
        false
    }

    /// Whether the source's return path is proven at this moment (or it is trusted).
    #[must_use]
    pub fn is_proven(&self, now: Time, flow: &Flow) -> bool {
        let _ = now;
        flow.transport.is_reliable()
    }

    /// The latest proof of the source's return path that counts at this moment.
    #[must_use]
    pub fn proof(&self, now: Time, flow: &Flow) -> Option<Proof> {
        let _ = now;
        flow.transport.is_reliable().then_some(Proof::Handshake)
    }

    /// What another shard learned, or an operator orders.
    pub fn learned(&mut self, now: Time, learned: &Learned) {
        let _ = (now, learned);
    }

    /// Lets patience and bans run out, in portions.
    pub fn handle_timeout(&mut self, now: Time) {
        let _ = now;
    }

    /// When [`Gate::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// The next piece of news.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    /// Bans in force, at most `limit`, with their chains where they are kept.
    pub fn bans(&self, limit: usize) -> Vec<Ban> {
        let _ = limit;
        Vec::new()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        const NONE: &Counts = &Counts {
            issued: 0,
            issued_by_edge: 0,
            outcomes: [0; Outcome::ALL.len()],
            proofs: [0; Proof::ALL.len()],
            signatures: Vec::new(),
            rules: Vec::new(),
        };
        NONE
    }

    /// Sizes.
    #[must_use]
    pub fn snapshot(&self) -> GateSnapshot {
        GateSnapshot {
            nonces: TableUse {
                entries: self.nonces.len(),
                capacity: self.policy.capacities.nonces,
                evictions: self.nonces.evictions(),
            },
            ..GateSnapshot::default()
        }
    }
}
