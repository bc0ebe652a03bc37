//! What the policy says of the engine: timers, limits of messages, capacities, budgets of streams.

use crate::check;
use crate::form::{Count, Size, TIME};
use crate::keys::{Element, Keys, Section};
use crate::policy_file::default_policy;
use crate::table::Field;
use policy::{Budgets, Capacities, GateCapacities, Overload, TimerBase};
use std::time::Duration;
use wire::Limits;

/// RFC 3261's timer bases and the other times of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Timers {
    pub(crate) base: TimerBase,
    pub(crate) timer_c: Duration,
    pub(crate) trying_after: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) nonce_memory: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        let policy = default_policy();
        Timers {
            base: policy.timers,
            timer_c: policy.timer_c,
            trying_after: policy.trying_after,
            retry_after: policy.retry_after,
            nonce_memory: policy.nonce_memory,
        }
    }
}

impl Element for Timers {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Timers {
            base: TimerBase { t1, t2, t4 },
            timer_c,
            trying_after,
            retry_after,
            nonce_memory,
        } = self;
        keys.key("t1", "Round-trip estimate (RFC 3261 17.1.1.1)", t1, TIME);
        keys.key("t2", "Longest retransmission interval", t2, TIME);
        keys.key("t4", "Longest time a message stays in the network", t4, TIME);
        keys.key("timer_c", "How long a call may ring (RFC 3261 16.6 step 11)", timer_c, TIME);
        keys.key("trying_after", "When the edge says 100 to an INVITE", trying_after, TIME);
        keys.key("retry_after", "Least Retry-After of a 503", retry_after, TIME);
        keys.key("nonce_memory", "How long a relayed nonce serves its source", nonce_memory, TIME);
    }

    fn check(&self, field: &Field<'_>) {
        check::timers(field, &self.base, self.timer_c);
    }
}

impl Element for Limits {
    fn keys(&mut self, keys: &mut impl Keys) {
        const LINES: u64 = Limits::HEADER_LINES_MAX as u64;
        let size = |least| Size(least, 65_535);
        let Limits {
            message_bytes,
            start_line_bytes,
            header_bytes,
            header_lines,
            header_line_bytes,
            via_values,
            body_bytes,
        } = self;
        keys.key("message_bytes", "A message whole", message_bytes, size(1_024));
        keys.key("start_line_bytes", "Its first line", start_line_bytes, size(128));
        keys.key("header_bytes", "All its header lines", header_bytes, size(512));
        keys.key("header_lines", "Their number", header_lines, Count(16, LINES));
        keys.key("header_line_bytes", "One header line", header_line_bytes, size(256));
        keys.key("via_values", "Via values", via_values, Count(1, LINES));
        keys.key("body_bytes", "The body", body_bytes, size(0));
    }
}

/// Bounds of all tables of a shard: the engine's and the gate's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) engine: Capacities,
    pub(crate) gate: GateCapacities,
}

impl Element for Tables {
    fn keys(&mut self, keys: &mut impl Keys) {
        const ENTRIES: Count = Count(16, 1 << 24);
        let Capacities {
            exchanges,
            unproven_exchanges,
            bindings,
            moved_flows,
            nonces,
            connections,
            decisions,
            recorded_bytes,
            retained_bytes,
        } = &mut self.engine;
        keys.key("exchanges", "Requests in passage", exchanges, ENTRIES);
        keys.key("unproven_exchanges", "Of them those of strangers", unproven_exchanges, ENTRIES);
        keys.key("bindings", "Registered bindings", bindings, ENTRIES);
        keys.key("moved_flows", "Phones that changed their flow in a call", moved_flows, ENTRIES);
        keys.key("nonces", "Nonces with the source they were given to", nonces, ENTRIES);
        keys.key("connections", "Stream connections", connections, ENTRIES);
        let about = "Decisions kept to be explained, or 0";
        keys.key("decisions", about, decisions, Count(0, 1 << 24));
        let bytes = Size(64 << 10, 1 << 30);
        keys.key(
            "recorded_bytes",
            "Judged requests kept to be judged again",
            recorded_bytes,
            bytes,
        );
        let bytes = Size(1 << 20, 1 << 40);
        keys.key("retained_bytes", "Kept for retransmissions", retained_bytes, bytes);
        keys.key("gate", "Tables of the gate", &mut self.gate, Section);
    }
}

impl Element for Budgets {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Budgets { handshake, first_byte, start_line, headers, body, idle } = self;
        keys.key("handshake", "TLS handshake", handshake, TIME);
        keys.key("first_byte", "Until the first byte", first_byte, TIME);
        keys.key("start_line", "For the start line of a message", start_line, TIME);
        keys.key("headers", "For its header lines", headers, TIME);
        keys.key("body", "For its body", body, TIME);
        keys.key("idle", "Silence of a connection without a registration", idle, TIME);
    }
}

impl Element for Overload {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Overload { delay, patience, calm } = self;
        keys.key("delay", "A shard is behind when what comes waits longer to be read", delay, TIME);
        keys.key("patience", "How long a shard may be behind before it sheds more", patience, TIME);
        keys.key("calm", "How long it must keep up before it sheds less", calm, TIME);
    }
}
