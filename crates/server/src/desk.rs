//! What operators ask the shards and tell them: the one way there for whoever answers them.
//!
//! Looks are taken in portions on the shards' own threads, each so short that no call notices, and
//! few at a time; an answer of many portions is put together here.

use crate::again::{REQUESTS, Recorded};
use crate::clock::Clock;
use crate::mesh::{Look, Order};
use admission::{Ban, BanId, BanKey, Known, Learned, SourceView};
use policy::{Network, Time};
use proxy::{Decision, Engine, Grounds};
use state::{Fact, Writer};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use wire::Flow;

/// Looks into one shard at a time; a further one waits.
const LOOKS: usize = 4;
/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Entries of the table of bans, of sources, and decisions that one look passes.
const BANS_PER_LOOK: usize = 256;
const SOURCES_PER_LOOK: usize = 8_192;
const DECISIONS_PER_LOOK: usize = 2_048;
/// Decisions whose messages one look copies.
const RECORDED_PER_LOOK: usize = 128;

/// A shard does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) at: Time,
    pub(crate) flow: Flow,
    pub(crate) bytes: Box<[u8]>,
}

/// The ways to all shards.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    orders: Arc<[mpsc::Sender<Order>]>,
    looks: Arc<Semaphore>,
    clock: Clock,
    /// Bans told to all shards so far.
    shared: Arc<AtomicU64>,
    /// Where orders that outlive a restart are kept.
    writer: Writer,
}

impl Desk {
    /// `shared` bans were told to all shards in earlier lives.
    pub(crate) fn new(
        orders: Vec<mpsc::Sender<Order>>,
        clock: Clock,
        shared: u64,
        writer: Writer,
    ) -> Self {
        Desk {
            orders: orders.into(),
            looks: Arc::new(Semaphore::new(LOOKS)),
            clock,
            shared: Arc::new(AtomicU64::new(shared)),
            writer,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The ways themselves, for the control thread's own orders.
    pub(crate) fn orders(&self) -> &[mpsc::Sender<Order>] {
        &self.orders
    }

    /// A number for a ban that all shards are to take up.
    pub(crate) fn next_ban(&self) -> BanId {
        BanId::shared(self.shared.fetch_add(1, Relaxed) + 1)
    }

    /// Tells all shards' gates.
    pub(crate) async fn tell(&self, learned: &Learned) -> Result<(), Silent> {
        self.order_all(|| Order::Learn(learned.clone())).await
    }

    /// Lets a PBX ([`policy::Pbx::id`]) get nothing new, or lets it again. When this returns each
    /// shard has it or will have it before whatever is asked of it next.
    pub(crate) async fn drain_pbx(&self, pbx: u32, drained: bool) -> Result<(), Silent> {
        self.writer.keep(Fact::Drained { pbx, drained });
        self.order_all(|| Order::DrainPbx { pbx, drained }).await
    }

    async fn order_all(&self, order: impl Fn() -> Order) -> Result<(), Silent> {
        for orders in self.orders.iter() {
            let told = timeout(PATIENCE, orders.send(order())).await;
            told.map_err(|_| Silent)?.map_err(|_| Silent)?;
        }
        Ok(())
    }

    /// Looks into one shard.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        shard: usize,
        look: impl FnOnce(Time, &Engine) -> T + Send + 'static,
    ) -> Result<T, Silent> {
        let _permit = self.looks.acquire().await.map_err(|_| Silent)?;
        let orders = self.orders.get(shard).ok_or(Silent)?;
        let (answer, answered) = oneshot::channel();
        let look = Look(Box::new(move |now, engine| {
            // Who asked may have gone.
            let _ = answer.send(look(now, engine));
        }));
        let asked = async {
            orders.send(Order::Look(look)).await.map_err(|_| Silent)?;
            answered.await.map_err(|_| Silent)
        };
        timeout(PATIENCE, asked).await.map_err(|_| Silent)?
    }

    /// Looks into the shard that all messages of this address come to.
    pub(crate) async fn look_at<T: Send + 'static>(
        &self,
        source: IpAddr,
        look: impl FnOnce(Time, &Engine) -> T + Send + 'static,
    ) -> Result<T, Silent> {
        let shards = u8::try_from(self.orders.len()).unwrap_or(u8::MAX);
        self.look(usize::from(Engine::shard_of(source, shards).0), look).await
    }

    /// Looks into each shard.
    pub(crate) async fn look_all<T: Send + 'static>(
        &self,
        look: impl Fn(Time, &Engine) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Silent> {
        let mut answers = Vec::new();
        for shard in 0..self.orders.len() {
            answers.push(self.look(shard, look.clone()).await?);
        }
        Ok(answers)
    }

    /// Bans in force that `wanted` picks, with the evidence behind them, those that began last
    /// first; at most `limit`. And whether there are more. One that all shards have stands once.
    pub(crate) async fn bans(
        &self,
        limit: usize,
        wanted: impl Fn(&Ban) -> bool + Clone + Send + 'static,
    ) -> Result<(Vec<Ban>, bool), Silent> {
        let mut all: Vec<Ban> = Vec::new();
        let mut of_all = HashSet::new();
        for shard in 0..self.orders.len() {
            let (mut from, mut more) = (0, true);
            while more && all.len() <= limit {
                let wanted = wanted.clone();
                let look = move |now, engine: &Engine| {
                    let gate = engine.gate();
                    let (mut bans, more) = gate.bans_at(now, from, BANS_PER_LOOK, wanted);
                    for ban in &mut bans {
                        ban.evidence = gate.evidence_behind(&ban.key);
                    }
                    (bans, more)
                };
                let (bans, behind) = self.look(shard, look).await?;
                let shards = self.orders.len();
                let bans = bans.into_iter().filter(|ban| is_from(shard, shards, ban));
                all.extend(bans.filter(|ban| !ban.key.is_of_all() || of_all.insert(ban.key)));
                (from, more) = (from + BANS_PER_LOOK, behind);
            }
        }
        let more = all.len() > limit;
        all.sort_by_key(|ban| (std::cmp::Reverse(ban.since), ban.id));
        all.truncate(limit);
        Ok((all, more))
    }

    /// The `limit` sources with the highest scores of at least `least`.
    pub(crate) async fn sources(
        &self,
        limit: usize,
        least: f32,
    ) -> Result<Vec<SourceView>, Silent> {
        let mut top: Vec<SourceView> = Vec::new();
        for shard in 0..self.orders.len() {
            let (mut from, mut more) = (0, true);
            while more {
                let look = move |now, engine: &Engine| {
                    let gate = engine.gate();
                    let (mut views, more) = gate.sources_at(now, from, SOURCES_PER_LOOK, least);
                    highest(&mut views, limit);
                    (views, more)
                };
                let (views, behind) = self.look(shard, look).await?;
                top.extend(views);
                highest(&mut top, limit);
                (from, more) = (from + SOURCES_PER_LOOK, behind);
            }
        }
        Ok(top)
    }

    /// Sources from which somebody authenticated who counts as known, sorted.
    pub(crate) async fn known(&self) -> Result<Vec<Network>, Silent> {
        let mut known = Vec::new();
        for shard in 0..self.orders.len() {
            let (mut from, mut more) = (0, true);
            while more {
                let look =
                    move |now, engine: &Engine| engine.gate().known_at(now, from, SOURCES_PER_LOOK);
                let (networks, behind) = self.look(shard, look).await?;
                known.extend(networks);
                (from, more) = (from + SOURCES_PER_LOOK, behind);
            }
        }
        known.sort_unstable();
        Ok(known)
    }

    /// The last judged requests that are kept, at most [`REQUESTS`] in all.
    pub(crate) async fn recorded(&self) -> Result<Vec<Recorded>, Silent> {
        let most = REQUESTS / self.orders.len().max(1);
        let pick = |engine: &Engine, it: &Decision| recorded(it, engine.recorded(it)?);
        self.picked(most, RECORDED_PER_LOOK, pick).await
    }

    /// The messages that are kept of decisions that `wanted` picks, at most `limit` of each shard,
    /// the youngest.
    pub(crate) async fn messages(
        &self,
        limit: usize,
        wanted: impl Fn(&Decision) -> bool + Clone + Send + 'static,
    ) -> Result<Vec<Said>, Silent> {
        let pick = move |engine: &Engine, it: &Decision| {
            let bytes = wanted(it).then(|| engine.recorded(it))??.into();
            Some(Said { at: it.at, flow: it.event.flow, bytes })
        };
        self.picked(limit, RECORDED_PER_LOOK, pick).await
    }

    /// The `limit` last decisions that `wanted` picks, the youngest first.
    pub(crate) async fn decisions(
        &self,
        limit: usize,
        wanted: impl Fn(&Decision) -> bool + Clone + Send + 'static,
    ) -> Result<Vec<Decision>, Silent> {
        let pick = move |_: &Engine, it: &Decision| wanted(it).then(|| it.clone());
        let mut all = self.picked(limit, DECISIONS_PER_LOOK, pick).await?;
        all.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        all.truncate(limit);
        Ok(all)
    }

    /// What `pick` takes from the decisions of each shard, the youngest first: at most `limit` from
    /// each, and at most `most` in one look.
    async fn picked<T: Send + 'static>(
        &self,
        limit: usize,
        most: usize,
        pick: impl Fn(&Engine, &Decision) -> Option<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>, Silent> {
        let mut all = Vec::new();
        for shard in 0..self.orders.len() {
            let (mut before, mut room) = (u64::MAX, limit);
            while room > 0 {
                let (pick, most) = (pick.clone(), most.min(room));
                let look = move |_, engine: &Engine| {
                    let mut last = None;
                    let seen = engine.decisions(before).take(DECISIONS_PER_LOOK);
                    let seen = seen.inspect(|(number, _)| last = Some(*number));
                    let picked = seen.filter_map(|(_, decision)| pick(engine, decision));
                    (picked.take(most).collect::<Vec<T>>(), last)
                };
                let (picked, last) = self.look(shard, look).await?;
                room -= picked.len();
                all.extend(picked);
                let Some(number) = last else { break };
                before = number;
            }
        }
        Ok(all)
    }
}

/// The first of these sources, which are sorted, that lies in the network or around it.
pub(crate) fn known_in(known: &[Network], network: Network) -> Option<Network> {
    let from = known.partition_point(|source| source.address() < network.address());
    let inside = known.get(from).filter(|source| network.contains(source.address()));
    let around = from.checked_sub(1).and_then(|before| known.get(before));
    inside.or(around.filter(|source| source.contains(network.address()))).copied()
}

/// Whether a ban is taken from this shard's table: one that an operator told to all from where its
/// source is at home, and so is the evidence.
fn is_from(shard: usize, shards: usize, ban: &Ban) -> bool {
    let home = match ban.key {
        _ if ban.id.shard() != BanId::SHARED => return true,
        BanKey::Source(source) | BanKey::AorSource { source, .. } => source.address(),
        BanKey::AorFlow { flow, .. } => flow.remote.ip(),
        BanKey::Network(_) | BanKey::Campaign(_) => return true,
    };
    let shards = u8::try_from(shards).unwrap_or(u8::MAX);
    usize::from(Engine::shard_of(home, shards).0) == shard
}

/// A request with what was known of it; `None` when it was not judged.
fn recorded(decision: &Decision, bytes: &[u8]) -> Option<Recorded> {
    let grounds = decision.event.grounds.as_ref().filter(|grounds| grounds.judged)?;
    let Grounds { who, at_home, credentials, .. } = *grounds;
    Some(Recorded {
        at: decision.at,
        flow: decision.event.flow,
        known: Known { who, at_home, credentials },
        bytes: bytes.into(),
    })
}

fn highest(views: &mut Vec<SourceView>, limit: usize) {
    views.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.source.cmp(&b.source)));
    views.truncate(limit);
}
