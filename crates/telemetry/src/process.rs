//! The numbers of the process: its shards', and what happens once.

use crate::feeds::{FeedNumbers, FeedWatch, PushWatch};
use crate::kernel::KernelMetrics;
use crate::names::NameMetrics;
use crate::reports::{ReportCounts, ReportWatch};
use crate::shard::{Hits, ShardMetrics, TrunkNumbers};
use crate::state::{StateCounts, StateWatch};
use admission::FeedHit;
use policy::Pbx;
use proxy::{PbxState, Stage};
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
    pub(crate) const LABELS: [&'static str; 4] = ["answered", "refused", "unauthorized", "failed"];
}

/// The metrics of the process.
pub struct Telemetry {
    pub(crate) version: &'static str,
    /// What the PBXs are called, in their order.
    pub(crate) pbxs: Mutex<Vec<(Box<str>, u32)>>,
    pub(crate) shards: Vec<Arc<ShardMetrics>>,
    pub(crate) transports: Mutex<Vec<TransportCounters>>,
    pub(crate) names: NameMetrics,
    pub(crate) reloads: [AtomicU64; 2],
    pub(crate) draining: AtomicBool,
    pub(crate) kernel: KernelMetrics,
    pub(crate) panic_open: AtomicBool,
    pub(crate) admin_requests: [AtomicU64; AdminAnswer::LABELS.len()],
    pub(crate) admin_events_lost: AtomicU64,
    pub(crate) state: OnceLock<StateWatch>,
    pub(crate) reports: OnceLock<ReportWatch>,
    pub(crate) feeds: OnceLock<FeedWatch>,
    pub(crate) pushes: OnceLock<PushWatch>,
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

    pub(crate) fn feeds(&self) -> Vec<FeedNumbers> {
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

    pub(crate) fn reports(&self) -> ReportCounts {
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

    /// Trunks by name, all shards together.
    pub(crate) fn trunks(&self) -> BTreeMap<Box<str>, TrunkNumbers> {
        let mut all: BTreeMap<Box<str>, TrunkNumbers> = BTreeMap::new();
        for shard in &self.shards {
            let trunks = shard.trunks.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, numbers) in trunks.iter() {
                all.entry(name.clone()).or_default().add(numbers);
            }
        }
        all
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
}
