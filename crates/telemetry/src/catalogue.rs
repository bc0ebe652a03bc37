//! Every metric there is.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Lengths of time in buckets, in seconds.
    Histogram,
}

/// A metric's name and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
    /// One line for people.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) const $constant: Definition = Definition {
            name: concat!("ringfence_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All metrics, in the order of a scrape.
        pub const CATALOGUE: &[Definition] = &[$($constant),*];
    };
}

catalogue! {
    ADMIN_EVENTS_LOST: Counter "admin_events_lost_total" []
        "News that readers of the event stream were too slow for.";
    ADMIN_REQUESTS: Counter "admin_requests_total" ["result"]
        "Requests to the admin API: answered, refused, without a right token, failed.";
    ALERT_MESSAGES: Counter "alert_messages_total" ["target", "result"]
        "Messages with alerts that a target took; tries that failed and are repeated.";
    ALERT_UP: Gauge "alert_up" ["target"] "1 unless the last message with alerts was not taken.";
    ALERT_WAITING: Gauge "alert_waiting" ["target"] "Alerts that wait to be told to a target.";
    ALERTS_DROPPED: Counter "alerts_dropped_total" [] "Alerts that found the queue full.";
    ALERTS: Counter "alerts_total" ["alert"]
        "Alerts raised while there is somebody to be told, by kind.";
    AUDIT_LINES: Counter "audit_lines_total" ["result"]
        "Audit lines written, left out because their reason had its share, and lost for want of \
         room; writes that failed and are tried again.";
    AUDIT_UP: Gauge "audit_up" [] "1 while audit lines are wanted and written.";
    BANS: Gauge "bans" ["kind", "reason", "narrowed"]
        "Bans in force, by what is banned, what led to it, and whether it only slows.";
    BANS_TOTAL: Counter "bans_total" ["kind", "reason", "narrowed"]
        "Bans that began or were renewed, by what is banned, what led to it, and whether they only slow.";
    BUILD_INFO: Gauge "build_info" ["version"] "Always 1; the version in its label.";
    CHALLENGES: Counter "challenges_total" ["outcome"]
        "Challenges to outside: issued, issued by the edge itself, and how they ended.";
    CROWDSEC_BANS: Counter "crowdsec_bans_total" ["result"]
        "Bans that CrowdSec is told of, and those lost on the way; tries that failed.";
    DRAINING: Gauge "draining" [] "1 while the edge takes no new calls.";
    DRIVER_INPUTS: Counter "driver_inputs_total" []
        "Stimuli given to the engines.";
    DRIVER_WAKEUPS: Counter "driver_wakeups_total" []
        "Times a shard woke up; inputs per wake-up tell how busy it is.";
    FEED_AGE: Gauge "feed_age_seconds" ["feed"]
        "Since a feed was fetched with success last; not there when it never was.";
    FEED_ENTRIES: Gauge "feed_entries" ["feed"] "Networks that a feed lists.";
    FEED_FETCHES: Counter "feed_fetches_total" ["feed", "result"] "Fetches, by what became of them.";
    FEED_HITS: Counter "feed_hits_total" ["feed", "result"]
        "Datagrams, reads and requests of listed sources, by what became of them.";
    FEED_REFUSED: Gauge "feed_refused" ["feed", "reason"]
        "Entries of a feed's last list that are not taken, or not acted on.";
    FORWARD_SECONDS: Histogram "forward_seconds" []
        "Added latency: from the wake-up that read a message until it was handed to the socket.";
    HAND_OVERS: Counter "hand_overs_total" ["result"]
        "Messages given to the shard that owns them; dropped ones met a full queue.";
    HEP_MESSAGES: Counter "hep_messages_total" ["result"]
        "Messages sent to the capture server with their verdict, and lost; tries that failed.";
    HEP_UP: Gauge "hep_up" [] "1 while messages are wanted by a capture server and sent.";
    INSIDE_REQUESTS: Counter "inside_requests_total" ["method", "verdict", "reason"]
        "Requests from the PBX, by what became of them.";
    KERNEL_DROPPED: Counter "kernel_dropped_packets_total" ["set"]
        "Packets of banned sources that the kernel dropped, by set, since the helper began.";
    KERNEL_REPAIRS: Counter "kernel_repairs_total" []
        "Times the helper put the kernel's table back, because somebody had taken it away.";
    KERNEL_SET_ENTRIES: Gauge "kernel_set_entries" ["set"]
        "Bans in force in the kernel, by set; 0 while no helper says so.";
    KERNEL_UP: Gauge "kernel_up" [] "1 while a helper keeps the kernel's drop sets.";
    KERNEL_UPDATES: Counter "kernel_updates_total" ["result"]
        "Bans and lifts on their way into the kernel, by what became of them.";
    LEARNED: Counter "learned_total" ["result"]
        "Facts told to other shards; dropped ones met a full queue.";
    NAME_CHANGES: Counter "name_changes_total" []
        "Times that a name of trunks or trust came to stand for other addresses.";
    NAME_LOOKUPS: Counter "name_lookups_total" ["result"]
        "Names that were asked about, by what came; stale ones were answered from memory.";
    NAMES: Gauge "names" ["state"] "Names of trunks and trust, by what is known of them.";
    PANIC_OPEN: Gauge "panic_open" [] "1 while an operator lets everything pass.";
    PBX_DRAINING: Gauge "pbx_draining" ["pbx"] "1 while an operator lets the PBX get nothing new.";
    PBX_FAILED: Counter "pbx_failed_total" ["pbx"]
        "Requests that the PBX did not serve: no answer, 503, connection lost.";
    PBX_REQUESTS: Counter "pbx_requests_total" ["pbx"] "Requests sent to the PBX.";
    PBX_RESPONSE_SECONDS: Histogram "pbx_response_seconds" []
        "From a request to the PBX until the first answer to it; one that never comes is not here.";
    PBX_UP: Gauge "pbx_up" ["pbx"] "Whether the PBX serves, as far as all shards know; by its name.";
    PROOFS: Counter "proofs_total" ["kind"] "Proofs of a source's return path.";
    RELOADS: Counter "reloads_total" ["result"] "Readings of the configuration while running.";
    REQUESTS: Counter "requests_total" ["transport", "method", "verdict", "reason"]
        "Requests, keep-alives and unreadable messages from outside, by what became of them.";
    RESPONSES: Counter "responses_total" ["side", "class", "verdict", "reason"]
        "Responses by the side they came from and what became of them.";
    RULE_HITS: Counter "rule_hits_total" ["rule"]
        "What each rule of the policy met, by its name; of one in observe what it would have met.";
    SHARDS: Gauge "shards" [] "Shards that run.";
    SHED_STAGE: Gauge "shed_stage" []
        "What the shard that is most behind sheds: 0 nothing, 1 strangers, 2 unproven, 3 new calls.";
    SIGNATURE_HITS: Counter "signature_hits_total" ["signature", "authenticated"]
        "Requests that look like a tool, by signature and whether their sender was authenticated.";
    STATE_ROWS: Gauge "state_rows" [] "Rows in the file of what outlives a restart.";
    STATE_UP: Gauge "state_up" []
        "1 while that file is written; else bans and trust are lost at a restart.";
    STATE_WAITING: Gauge "state_waiting" [] "Changes that wait to be written to it.";
    STATE_WRITES: Counter "state_writes_total" ["result"]
        "Changes written to it and lost for want of room; writes that failed and are tried again.";
    TABLE_CAPACITY: Gauge "table_capacity" ["table"] "Bound of a table, all shards together.";
    TABLE_ENTRIES: Gauge "table_entries" ["table"] "Entries of a table, all shards together.";
    TABLE_EVICTIONS: Counter "table_evictions_total" ["table"]
        "Entries pushed out because the table was full.";
    TABLE_FILL: Gauge "table_fill_percent" ["table"]
        "How full a table is in the shard where it is fullest, of its bound there.";
    TIMERS: Gauge "timers" [] "Deadlines waiting.";
    TRANSACTIONS: Gauge "transactions" ["side"] "Transactions alive, by the side of their peer.";
    TRANSPORT: Counter "transport_total" ["event"] "What the sockets have seen, by kind of event.";
    TRUNK_CALLS: Gauge "trunk_calls" ["trunk"] "Calls over a trunk, both ways, those that ring included.";
    TRUNK_REFUSED: Counter "trunk_refused_total" ["trunk", "limit"]
        "Calls over a trunk that were refused, by the limit that they met.";
    TRUNK_TARGETS: Gauge "trunk_targets" ["trunk", "state"]
        "Addresses where a trunk is called, by whether they serve or are in quarantine.";
    UNANSWERED: Gauge "unanswered" [] "Requests in passage that have no final response yet.";
    UNDER_ATTACK: Gauge "under_attack" []
        "Shards that challenge strangers by themselves, because too many unproven ones are open.";
    UNPROVEN_BYTES: Counter "unproven_bytes_total" ["direction"]
        "UDP payload from, and to, sources that may be forged; never more out than in.";
}
