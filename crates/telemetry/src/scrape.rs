//! From the shards' counters to the text that Prometheus reads.

use crate::catalogue::{self, CATALOGUE, Definition, Kind};
use crate::feeds::{FETCHES, FeedNumbers, FeedWatch, PUSHES, PushWatch};
use crate::histogram::{Histogram, Merged};
use crate::kernel::{KERNEL_SETS, KernelMetrics, UPDATES};
use crate::names::{self, NameMetrics};
use crate::reports::{LINES, MESSAGES, ReportCounts, ReportWatch};
use crate::shard::{
    CLASSES, Cell, Hits, KINDS, LIMITS, REASONS, SIDES, ShardMetrics, TABLES, TARGETS, TRANSPORTS,
    TrunkNumbers, VERDICTS,
};
use crate::state::{StateCounts, StateWatch, WRITES};
use admission::{FeedHit, Proof};
use policy::Pbx;
use policy::{Outcome, Reason};
use prometheus::proto::{self, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use proxy::{Event, PbxState, Stage};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Gives each counter of a shard's sockets, by name, to the function it is called with.
pub type TransportCounters = Box<dyn Fn(&mut dyn FnMut(&'static str, u64)) + Send>;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The new configuration is in use.
    Applied,
    /// It has errors; the old one stays.
    Refused,
}

/// How a request to the admin API ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAnswer {
    /// It was answered.
    Answered,
    /// The request was wrong.
    Refused,
    /// It needs a token, and has none or a wrong one.
    Unauthorized,
    /// A shard did not answer, or something else went wrong here.
    Failed,
}

impl AdminAnswer {
    /// Label values, by index.
    const LABELS: [&'static str; 4] = ["answered", "refused", "unauthorized", "failed"];
}

/// The metrics of the process.
pub struct Telemetry {
    version: &'static str,
    /// What the PBXs are called, in their order.
    pbxs: Mutex<Vec<(Box<str>, u32)>>,
    shards: Vec<Arc<ShardMetrics>>,
    transports: Mutex<Vec<TransportCounters>>,
    names: NameMetrics,
    reloads: [AtomicU64; 2],
    draining: AtomicBool,
    kernel: KernelMetrics,
    panic_open: AtomicBool,
    admin_requests: [AtomicU64; AdminAnswer::LABELS.len()],
    admin_events_lost: AtomicU64,
    state: OnceLock<StateWatch>,
    reports: OnceLock<ReportWatch>,
    feeds: OnceLock<FeedWatch>,
    pushes: OnceLock<PushWatch>,
}

fn names_of(pbxs: &[Pbx]) -> Vec<(Box<str>, u32)> {
    pbxs.iter().map(|pbx| (pbx.name.clone(), pbx.id())).collect()
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// For `shards` shards and these PBXs; `version` is the binary's.
    #[must_use]
    pub fn new(version: &'static str, shards: u8, pbxs: &[Pbx]) -> Self {
        Telemetry {
            version,
            pbxs: Mutex::new(names_of(pbxs)),
            shards: (0..shards).map(|_| Arc::default()).collect(),
            transports: Mutex::default(),
            names: NameMetrics::default(),
            reloads: Default::default(),
            draining: AtomicBool::new(false),
            kernel: KernelMetrics::default(),
            panic_open: AtomicBool::new(false),
            admin_requests: Default::default(),
            admin_events_lost: AtomicU64::new(0),
            state: OnceLock::new(),
            reports: OnceLock::new(),
            feeds: OnceLock::new(),
            pushes: OnceLock::new(),
        }
    }

    /// The numbers of the kernel's drop sets.
    #[must_use]
    pub fn kernel(&self) -> &KernelMetrics {
        &self.kernel
    }

    /// Looks at the state file when somebody scrapes; the first to say so is heard.
    pub fn watch_state(&self, watch: StateWatch) {
        let _ = self.state.set(watch);
    }

    /// Looks at the feeds when somebody scrapes; the first to say so is heard.
    pub fn watch_feeds(&self, watch: FeedWatch) {
        let _ = self.feeds.set(watch);
    }

    /// Looks at what becomes of bans that CrowdSec is told of; the first to say so is heard.
    pub fn watch_pushes(&self, watch: PushWatch) {
        let _ = self.pushes.set(watch);
    }

    fn feeds(&self) -> Vec<FeedNumbers> {
        self.feeds.get().map(|watch| watch()).unwrap_or_default()
    }

    /// How often each feed was met, by [`admission::FeedHit`].
    #[must_use]
    pub fn feed_hits(&self) -> BTreeMap<Box<str>, [u64; FeedHit::ALL.len()]> {
        let add = |sum: &mut [u64; 4], hits: &[u64; 4]| {
            sum.iter_mut().zip(hits).for_each(|(sum, hits)| *sum += hits);
        };
        self.hits(|hits| &hits.feeds, add)
    }

    /// How the state file does.
    #[must_use]
    pub fn state(&self) -> StateCounts {
        self.state.get().map(|watch| watch()).unwrap_or_default()
    }

    /// Looks at what is told to other programs when somebody scrapes; the first to say so is heard.
    pub fn watch_reports(&self, watch: ReportWatch) {
        let _ = self.reports.set(watch);
    }

    fn reports(&self) -> ReportCounts {
        self.reports.get().map(|watch| watch()).unwrap_or_default()
    }

    /// The numbers of each shard, in their order.
    #[must_use]
    pub fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }

    /// The numbers of whoever resolves names.
    #[must_use]
    pub fn names(&self) -> &NameMetrics {
        &self.names
    }

    /// Adds a shard's socket counters to what a scrape shows.
    pub fn watch_transport(&self, counters: TransportCounters) {
        self.transports.lock().unwrap_or_else(PoisonError::into_inner).push(counters);
    }

    /// Counts a reload; when it was applied these are the PBXs now.
    pub fn on_reload(&self, result: Reload, pbxs: &[Pbx]) {
        self.reloads[result as usize].fetch_add(1, Relaxed);
        if result == Reload::Applied {
            *self.pbxs.lock().unwrap_or_else(PoisonError::into_inner) = names_of(pbxs);
        }
    }

    /// All shards drain now.
    pub fn on_drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// An operator lets everything pass, or does no more.
    pub fn on_panic_open(&self, open: bool) {
        self.panic_open.store(open, Relaxed);
    }

    /// Counts a request to the admin API.
    pub fn on_admin(&self, answer: AdminAnswer) {
        self.admin_requests[answer as usize].fetch_add(1, Relaxed);
    }

    /// Counts news that a reader of the event stream was too slow for.
    pub fn on_events_lost(&self, count: u64) {
        self.admin_events_lost.fetch_add(count, Relaxed);
    }

    /// What each rule met, by its name, since the start.
    #[must_use]
    pub fn rule_hits(&self) -> BTreeMap<Box<str>, u64> {
        self.hits(|hits| &hits.rules, |sum, hits| *sum += hits)
    }

    /// What each signature met, by its name: others, and the authenticated.
    #[must_use]
    pub fn signature_hits(&self) -> BTreeMap<Box<str>, [u64; 2]> {
        let add = |sum: &mut [u64; 2], hits: &[u64; 2]| {
            sum.iter_mut().zip(hits).for_each(|(sum, hits)| *sum += hits);
        };
        self.hits(|hits| &hits.signatures, add)
    }

    /// What the shard that is most behind sheds.
    #[must_use]
    pub fn shed(&self) -> Stage {
        let worst = self.shards.iter().map(|shard| shard.shed.load(Relaxed)).max();
        worst.and_then(|worst| Stage::ALL.get(usize::from(worst)).copied()).unwrap_or_default()
    }

    /// A PBX ([`Pbx::id`]) as all shards together see it: up where each says so.
    #[must_use]
    pub fn pbx(&self, id: u32) -> PbxState {
        let mut all = PbxState { id, up: true, ..PbxState::default() };
        for shard in &self.shards {
            let states = shard.pbxs.lock().unwrap_or_else(PoisonError::into_inner);
            let state = states.iter().find(|state| state.id == id).copied().unwrap_or_default();
            all.up &= state.up;
            all.draining |= state.draining;
            all.requests += state.requests;
            all.failed += state.failed;
        }
        all
    }

    /// Whether every shard has heard from a PBX last, or has no reason to doubt it.
    #[must_use]
    pub fn is_pbx_up(&self) -> bool {
        self.shards.iter().all(|shard| shard.pbx_up.load(Relaxed))
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let families: Vec<MetricFamily> =
            CATALOGUE.iter().filter_map(|definition| self.family(definition)).collect();
        let mut text = Vec::with_capacity(16 << 10);
        // Writing into memory fails only for a family without metrics, and those are left out.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn family(&self, definition: &Definition) -> Option<MetricFamily> {
        let mut family = Family { definition, metrics: Vec::new() };
        let sum = |cell: fn(&ShardMetrics) -> &Cell| self.sum(cell);
        match *definition {
            catalogue::ADMIN_EVENTS_LOST => {
                family.push(&[], self.admin_events_lost.load(Relaxed));
            }
            catalogue::ADMIN_REQUESTS => {
                for (label, count) in AdminAnswer::LABELS.iter().zip(&self.admin_requests) {
                    family.push(&[label], count.load(Relaxed));
                }
            }
            catalogue::PANIC_OPEN => family.push(&[], self.panic_open.load(Relaxed).into()),
            catalogue::BUILD_INFO => family.push(&[self.version], 1),
            catalogue::DRAINING => family.push(&[], self.draining.load(Relaxed).into()),
            catalogue::SHARDS => family.push(&[], self.shards.len() as u64),
            catalogue::DRIVER_INPUTS => family.push(&[], sum(|shard| &shard.inputs)),
            catalogue::DRIVER_WAKEUPS => family.push(&[], sum(|shard| &shard.wakeups)),
            catalogue::TIMERS => family.push(&[], sum(|shard| &shard.timers)),
            catalogue::UNANSWERED => family.push(&[], sum(|shard| &shard.unanswered)),
            catalogue::FORWARD_SECONDS => self.lengths(&mut family, |it| &it.forward_seconds),
            catalogue::PBX_RESPONSE_SECONDS => {
                self.lengths(&mut family, |it| &it.pbx_response_seconds);
            }
            catalogue::HAND_OVERS => {
                family.push(&["sent"], sum(|shard| &shard.hand_overs[0]));
                family.push(&["dropped"], sum(|shard| &shard.hand_overs[1]));
            }
            catalogue::LEARNED => {
                family.push(&["sent"], sum(|shard| &shard.learned[0]));
                family.push(&["dropped"], sum(|shard| &shard.learned[1]));
            }
            catalogue::RELOADS => {
                family.push(&["applied"], self.reloads[0].load(Relaxed));
                family.push(&["refused"], self.reloads[1].load(Relaxed));
            }
            catalogue::KERNEL_UP => family.push(&[], self.kernel.is_up().into()),
            catalogue::KERNEL_REPAIRS => family.push(&[], self.kernel.repairs.load(Relaxed)),
            catalogue::KERNEL_SET_ENTRIES => {
                family.atomics(&KERNEL_SETS, &self.kernel.entries);
            }
            catalogue::KERNEL_DROPPED => family.atomics(&KERNEL_SETS, &self.kernel.dropped),
            catalogue::KERNEL_UPDATES => family.atomics(&UPDATES, &self.kernel.updates),
            catalogue::NAMES => family.row(&names::STATES, &self.names.states),
            catalogue::NAME_LOOKUPS => family.row(&names::LOOKUPS, &self.names.lookups),
            catalogue::NAME_CHANGES => family.push(&[], self.names.changes.value()),
            catalogue::ALERTS
            | catalogue::ALERTS_DROPPED
            | catalogue::ALERT_MESSAGES
            | catalogue::ALERT_UP
            | catalogue::ALERT_WAITING => {
                self.reports().alerts.each(definition, |labels, value| family.push(labels, value));
            }
            catalogue::AUDIT_UP => family.push(&[], self.reports().audit.up.into()),
            catalogue::AUDIT_LINES => family.values(&LINES, &self.reports().audit.lines),
            catalogue::HEP_UP => family.push(&[], self.reports().hep.up.into()),
            catalogue::HEP_MESSAGES => family.values(&MESSAGES, &self.reports().hep.messages),
            catalogue::CROWDSEC_BANS => {
                let counts = self.pushes.get().map(|watch| watch()).unwrap_or_default();
                PUSHES.iter().zip(counts).for_each(|(result, n)| family.push(&[result], n));
            }
            catalogue::FEED_AGE => {
                for feed in self.feeds() {
                    let age = feed.age_seconds;
                    age.into_iter().for_each(|age| family.push(&[&feed.name], age));
                }
            }
            catalogue::FEED_ENTRIES => {
                self.feeds().iter().for_each(|feed| family.push(&[&feed.name], feed.entries));
            }
            catalogue::FEED_FETCHES => {
                for feed in self.feeds() {
                    let fetches = FETCHES.iter().zip(feed.fetches);
                    fetches.for_each(|(result, count)| family.push(&[&feed.name, result], count));
                }
            }
            catalogue::FEED_HITS => {
                for (name, hits) in self.feed_hits() {
                    let hits = FeedHit::ALL.iter().zip(hits);
                    hits.for_each(|(hit, count)| family.push(&[&name, hit.as_str()], count));
                }
            }
            catalogue::FEED_REFUSED => {
                for feed in self.feeds() {
                    let refused = feed.refused.iter();
                    refused.for_each(|(why, count)| family.push(&[&feed.name, why], *count));
                }
            }
            catalogue::STATE_UP => family.push(&[], self.state().up.into()),
            catalogue::STATE_ROWS => family.push(&[], self.state().rows),
            catalogue::STATE_WAITING => family.push(&[], self.state().waiting),
            catalogue::STATE_WRITES => {
                let writes = self.state().writes;
                WRITES.iter().zip(writes).for_each(|(name, n)| family.push(&[name], n));
            }
            catalogue::PBX_DRAINING => self.pbxs(&mut family, |pbx| pbx.draining.into()),
            catalogue::PBX_FAILED => self.pbxs(&mut family, |pbx| pbx.failed),
            catalogue::PBX_REQUESTS => self.pbxs(&mut family, |pbx| pbx.requests),
            catalogue::PBX_UP => self.pbxs(&mut family, |pbx| pbx.up.into()),
            catalogue::TRANSACTIONS => {
                // Each exchange is a server transaction on one side and a client one on the other.
                let exchanges = sum(|shard| &shard.tables[0].entries);
                SIDES.iter().for_each(|side| family.push(&[side], exchanges));
            }
            catalogue::TABLE_ENTRIES => self.tables(&mut family, |table| &table.entries),
            catalogue::TABLE_CAPACITY => self.tables(&mut family, |table| &table.capacity),
            catalogue::TABLE_EVICTIONS => self.tables(&mut family, |table| &table.evictions),
            catalogue::TABLE_FILL => {
                self.fills().for_each(|it| family.push(&[it.table], it.percent));
                let of_names = names::TABLES.iter().zip(&self.names.tables);
                of_names.for_each(|(name, cells)| family.push(&[name], cells.percent()));
            }
            catalogue::REQUESTS => {
                let rows = pairs(&TRANSPORTS, &Event::METHODS);
                self.decisions(&mut family, &rows, |shard| &shard.requests);
            }
            catalogue::INSIDE_REQUESTS => {
                let rows: Vec<_> = Event::METHODS.iter().map(|method| vec![*method]).collect();
                self.decisions(&mut family, &rows, |shard| &shard.inside_requests);
            }
            catalogue::RESPONSES => {
                let rows = pairs(&SIDES, &CLASSES);
                self.decisions(&mut family, &rows, |shard| &shard.responses);
            }
            catalogue::TRANSPORT => self.transport(&mut family),
            catalogue::TRUNK_CALLS => {
                for (name, trunk) in self.trunks() {
                    family.push(&[&name], trunk.calls);
                }
            }
            catalogue::TRUNK_REFUSED => {
                for (name, trunk) in self.trunks() {
                    for (limit, count) in LIMITS.iter().zip(trunk.refused) {
                        family.push(&[&name, limit], count);
                    }
                }
            }
            catalogue::TRUNK_TARGETS => {
                for (name, trunk) in self.trunks() {
                    for (state, count) in TARGETS.iter().zip(trunk.targets) {
                        family.push(&[&name, state], count);
                    }
                }
            }
            catalogue::CHALLENGES => {
                let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str());
                let names = ["issued", "issued_by_edge"].into_iter().chain(outcomes);
                self.cells(&mut family, names, |shard| &shard.challenges);
            }
            catalogue::PROOFS => {
                let names = Proof::ALL.iter().map(|proof| proof.as_str());
                self.cells(&mut family, names, |shard| &shard.proofs);
            }
            catalogue::UNPROVEN_BYTES => {
                self.cells(&mut family, ["in", "out"].into_iter(), |shard| &shard.unproven_bytes);
            }
            catalogue::SHED_STAGE => family.push(&[], self.shed() as u64),
            catalogue::UNDER_ATTACK => {
                let shards = self.shards.iter();
                let attacked = shards.filter(|shard| shard.under_attack.load(Relaxed)).count();
                family.push(&[], attacked as u64);
            }
            catalogue::BANS => self.bans(&mut family, |shard| &shard.bans),
            catalogue::BANS_TOTAL => self.bans(&mut family, |shard| &shard.bans_total),
            catalogue::RULE_HITS => {
                for (name, hits) in self.rule_hits() {
                    family.push(&[&name], hits);
                }
            }
            catalogue::SIGNATURE_HITS => {
                for (name, [others, authenticated]) in self.signature_hits() {
                    family.push(&[&name, "no"], others);
                    family.push(&[&name, "yes"], authenticated);
                }
            }
            _ => {}
        }
        family.finish()
    }

    /// Trunks by name, all shards together.
    fn trunks(&self) -> BTreeMap<Box<str>, TrunkNumbers> {
        let mut all: BTreeMap<Box<str>, TrunkNumbers> = BTreeMap::new();
        for shard in &self.shards {
            let trunks = shard.trunks.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, numbers) in trunks.iter() {
                all.entry(name.clone()).or_default().add(numbers);
            }
        }
        all
    }

    fn sum(&self, cell: fn(&ShardMetrics) -> &Cell) -> u64 {
        self.shards.iter().map(|shard| cell(shard).value()).sum()
    }

    /// A histogram, all shards together.
    fn lengths(&self, family: &mut Family<'_>, of: fn(&ShardMetrics) -> &Histogram) {
        family.push_lengths(&Histogram::merge(self.shards.iter().map(|shard| of(shard))));
    }

    /// Cells with a name each.
    fn cells<'n>(
        &self,
        family: &mut Family<'_>,
        names: impl Iterator<Item = &'n str>,
        cells: fn(&ShardMetrics) -> &[Cell],
    ) {
        for (index, name) in names.enumerate() {
            let cell = |shard: &Arc<ShardMetrics>| cells(shard).get(index).map(Cell::value);
            family.push(&[name], self.shards.iter().filter_map(cell).sum());
        }
    }

    /// A `[kind][reason]` array; cells that are 0 are left out.
    fn bans(&self, family: &mut Family<'_>, cells: fn(&ShardMetrics) -> &[Cell]) {
        for (kind_index, kind) in KINDS.iter().enumerate() {
            for (reason_index, reason) in Reason::ALL.iter().enumerate() {
                let at = kind_index * REASONS + reason_index;
                let cell = |shard: &Arc<ShardMetrics>| cells(shard).get(at).map(Cell::value);
                let value: u64 = self.shards.iter().filter_map(cell).sum();
                if value > 0 {
                    family.push(&[kind, reason.as_str()], value);
                }
            }
        }
    }

    /// Hits by name, all shards together.
    fn hits<V: Clone + Default>(
        &self,
        of: fn(&Hits) -> &BTreeMap<Box<str>, V>,
        add: fn(&mut V, &V),
    ) -> BTreeMap<Box<str>, V> {
        let mut sums: BTreeMap<Box<str>, V> = BTreeMap::new();
        for shard in &self.shards {
            let hits = shard.hits.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, value) in of(&hits) {
                add(sums.entry(name.clone()).or_default(), value);
            }
        }
        sums
    }

    fn pbxs(&self, family: &mut Family<'_>, value: fn(&PbxState) -> u64) {
        let names = self.pbxs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, id) in names {
            family.push(&[&name], value(&self.pbx(id)));
        }
    }

    fn tables(&self, family: &mut Family<'_>, cell: fn(&crate::shard::TableCells) -> &Cell) {
        for (index, name) in TABLES.iter().enumerate() {
            let value = self.shards.iter().map(|shard| cell(&shard.tables[index]).value()).sum();
            family.push(&[name], value);
        }
        for (name, cells) in names::TABLES.iter().zip(&self.names.tables) {
            family.push(&[name], cell(cells).value());
        }
    }

    /// A `[row][verdict][reason]` array; cells that are 0 are left out.
    fn decisions(
        &self,
        family: &mut Family<'_>,
        rows: &[Vec<&str>],
        cells: fn(&ShardMetrics) -> &[Cell],
    ) {
        for (row, labels) in rows.iter().enumerate() {
            for (verdict_index, verdict) in VERDICTS.iter().enumerate() {
                for (reason_index, reason) in Reason::ALL.iter().enumerate() {
                    let at = (row * VERDICTS.len() + verdict_index) * REASONS + reason_index;
                    let cell = |shard: &Arc<ShardMetrics>| cells(shard).get(at).map(Cell::value);
                    let value: u64 = self.shards.iter().filter_map(cell).sum();
                    if value > 0 {
                        let mut labels = labels.clone();
                        labels.extend([verdict, reason.as_str()]);
                        family.push(&labels, value);
                    }
                }
            }
        }
    }

    fn transport(&self, family: &mut Family<'_>) {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        let transports = self.transports.lock().unwrap_or_else(PoisonError::into_inner);
        for counters in transports.iter() {
            counters(&mut |name, value| *sums.entry(name).or_default() += value);
        }
        for (name, value) in sums {
            family.push(&[name], value);
        }
    }
}

/// All combinations of two label values.
fn pairs(first: &[&'static str], second: &[&'static str]) -> Vec<Vec<&'static str>> {
    first.iter().flat_map(|a| second.iter().map(move |b| vec![*a, *b])).collect()
}

/// A family being filled.
struct Family<'d> {
    definition: &'d Definition,
    metrics: Vec<Metric>,
}

impl Family<'_> {
    /// A cell for each value of the only label.
    fn row(&mut self, values: &[&str], cells: &[Cell]) {
        values.iter().zip(cells).for_each(|(value, cell)| self.push(&[value], cell.value()));
    }

    fn push(&mut self, values: &[&str], value: u64) {
        let label = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::default();
        metric.set_label(self.definition.labels.iter().zip(values).map(label).collect());
        match self.definition.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value as f64);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value as f64);
                metric.set_gauge(gauge);
            }
            // of many numbers: see `push_lengths`
            Kind::Histogram => return,
        }
        self.metrics.push(metric);
    }

    fn push_lengths(&mut self, merged: &Merged) {
        let bucket = |(bound, count): &(f64, u64)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(merged.buckets.iter().map(bucket).collect());
        histogram.set_sample_count(merged.count);
        histogram.set_sample_sum(merged.sum);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// Numbers with a name each.
    fn atomics(&mut self, names: &[&str], values: &[AtomicU64]) {
        for (name, value) in names.iter().zip(values) {
            self.push(&[name], value.load(Relaxed));
        }
    }

    /// As [`Family::atomics`], of plain numbers.
    fn values(&mut self, names: &[&str], values: &[u64]) {
        names.iter().zip(values).for_each(|(name, value)| self.push(&[name], *value));
    }

    /// `None` when nothing was pushed: a family needs a metric.
    fn finish(self) -> Option<MetricFamily> {
        if self.metrics.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.definition.name.to_owned());
        family.set_help(self.definition.help.to_owned());
        family.set_field_type(match self.definition.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(self.metrics);
        Some(family)
    }
}
