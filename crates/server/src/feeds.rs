//! Feeds between the thread that fetches them, the shards, and the kernel. On the control thread's
//! runtime, off the packets' way.

use crate::clock::Clock;
use crate::kernel::FeedKernel;
use crate::status::Status;
use admission::{Ban, Learned, Origin};
use config::{Config, FeedFormat};
use feeds::{Bounds, Fetcher, Format, Place, Push, PushSettings, Pusher, Settings, Snapshot, View};
use policy::{Feed, FeedAction, Feeds, Mode, Network, Time};
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use telemetry::FeedNumbers;
use tokio::sync::{Notify, watch};
use tracing::warn;

/// Where lists lie in `state_dir`.
const DIRECTORY: &str = "feeds";
/// How often it is asked anew whom the edge trusts and knows.
const SIFT_EVERY: Duration = Duration::from_secs(60);
/// Entries that one look asks the oracle about.
const ASKED_AT_ONCE: usize = 256;

/// What is known of feeds, for whoever asks; and the way to their thread.
#[derive(Debug)]
pub(crate) struct FeedDesk {
    fetcher: Fetcher,
    snapshots: watch::Receiver<Snapshot>,
    sources: Mutex<Vec<config::Feed>>,
    sifted: Mutex<HashMap<Box<str>, Sifted>>,
    nudged: Notify,
}

/// What of a feed's entries is not acted on, and what the kernel has of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sifted {
    /// Entries with somebody trusted in them.
    pub(crate) trusted: usize,
    /// Entries with somebody in them who authenticated lately.
    pub(crate) known: usize,
    /// Entries that the kernel drops.
    pub(crate) kernel: usize,
}

impl FeedDesk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system starts none.
    pub(crate) fn open(
        config: &Config,
        clock: Clock,
        seed: [u8; 32],
    ) -> std::io::Result<Arc<Self>> {
        let (ear, snapshots) = watch::channel(Snapshot::new());
        let hear = move |snapshot| drop(ear.send_replace(snapshot));
        let directory = config.state_dir.join(DIRECTORY);
        let fetcher = Fetcher::start(directory, seed, move || clock.now(), hear)?;
        let desk = FeedDesk {
            fetcher,
            snapshots,
            sources: Mutex::default(),
            sifted: Mutex::default(),
            nudged: Notify::new(),
        };
        desk.configure(config);
        Ok(Arc::new(desk))
    }

    /// The feeds there are from now on.
    pub(crate) fn configure(&self, config: &Config) {
        let active = config.feeds.iter().filter(|feed| feed.mode != Mode::Off);
        self.fetcher.configure(active.map(settings).collect());
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = config.feeds.clone();
        self.nudge();
    }

    /// Whom the edge trusts has changed.
    pub(crate) fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Fetches a feed, or all. `false` when that is not possible now.
    pub(crate) fn refresh(&self, name: Option<&str>) -> bool {
        self.fetcher.refresh(name)
    }

    /// The feeds of the configuration with what is known of each.
    pub(crate) fn all(&self) -> Vec<(config::Feed, Option<View>, Sifted)> {
        let views = self.snapshots.borrow().clone();
        let sifted = self.sifted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |feed: config::Feed| {
            let view = views.iter().find(|view| *view.name == *feed.name).cloned();
            let sifted = sifted.get(&*feed.name).copied().unwrap_or_default();
            (feed, view, sifted)
        };
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .map(of)
            .collect()
    }

    /// For metrics.
    pub(crate) fn numbers(&self, now: Time) -> Vec<FeedNumbers> {
        let numbers = |(feed, view, sifted): (config::Feed, Option<View>, Sifted)| {
            let view = view?;
            let mut refused = view.refused.counts().to_vec();
            refused.push(("trusted", sifted.trusted as u64));
            refused.push(("known", sifted.known as u64));
            Some(FeedNumbers {
                name: feed.name.into(),
                entries: view.entries.len() as u64,
                age_seconds: view.fetched.map(|at| now.since(at).as_secs()),
                refused,
                fetches: view.fetches,
            })
        };
        self.all().into_iter().filter_map(numbers).collect()
    }

    /// Tells shards and kernel what changes, until the edge ends.
    pub(crate) async fn follow(self: Arc<Self>, status: Arc<Status>, mut kernel: FeedKernel) {
        let mut snapshots = self.snapshots.clone();
        let mut told = Arc::new(Feeds::default());
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        warn!("The thread of feeds has ended: lists hold until they are old");
                        return;
                    }
                }
                () = self.nudged.notified() => {}
                () = tokio::time::sleep(SIFT_EVERY), if !told.feeds().is_empty() => {}
            }
            let feeds = Arc::new(self.table().await);
            if feeds != told {
                told = feeds.clone();
                // a shard that does not answer is noticed by the beat
                let _ = status.desk.tell(&Learned::Feeds(feeds)).await;
            }
            let Ok((sifted, wanted)) = self.sift(&status).await else { continue };
            *self.sifted.lock().unwrap_or_else(PoisonError::into_inner) = sifted;
            kernel.drop_these(status.desk.now(), wanted).await;
        }
    }

    /// What shards look sources up in.
    async fn table(&self) -> Feeds {
        let lists: Vec<_> = self
            .all()
            .into_iter()
            .filter(|(feed, ..)| feed.mode != Mode::Off)
            .filter_map(|(feed, view, _)| {
                let view = view?;
                let (name, until) = (feed.name.into(), view.until);
                let feed = Feed { name, action: feed.action, mode: feed.mode, until };
                Some((feed, view.entries))
            })
            .collect();
        let made = tokio::task::spawn_blocking(move || {
            let lists = lists.iter().map(|(feed, entries)| {
                let networks = entries.iter().map(|(network, _)| *network);
                (feed.clone(), networks.collect::<Vec<_>>())
            });
            let lists: Vec<_> = lists.collect();
            Feeds::new(lists.iter().map(|(feed, networks)| (feed.clone(), &networks[..])))
        });
        made.await.unwrap_or_default()
    }

    /// Whose entries have somebody in them whom the edge trusts or knows; and those that the
    /// kernel may drop whole, with their ends.
    async fn sift(&self, status: &Status) -> Result<Found, crate::desk::Silent> {
        let known = status.desk.known().await?;
        let (mut all, mut wanted) = (HashMap::new(), HashMap::new());
        for (feed, view, _) in self.all() {
            let Some(view) = view else { continue };
            let mut sifted = Sifted::default();
            let acts = feed.action == FeedAction::Ban && feed.mode == Mode::Enforce;
            for portion in view.entries.chunks(ASKED_AT_ONCE) {
                let networks: Vec<_> = portion.iter().map(|(network, _)| *network).collect();
                let look = move |now, engine: &proxy::Engine| {
                    let gate = engine.gate();
                    let covered = |it: &Network| gate.covered_by(now, *it).is_some();
                    networks.iter().map(covered).collect::<Vec<_>>()
                };
                let trusted = status.desk.look(0, look).await?;
                for ((network, until), trusted) in portion.iter().zip(trusted) {
                    match (trusted, crate::desk::known_in(&known, *network)) {
                        (true, _) => sifted.trusted += 1,
                        (false, Some(_)) => sifted.known += 1,
                        (false, None) if acts => {
                            sifted.kernel += 1;
                            let end = wanted.entry(*network).or_insert(*until);
                            *end = (*end).max(*until);
                        }
                        (false, None) => {}
                    }
                }
            }
            all.insert(view.name.clone(), sifted);
        }
        Ok((all, wanted))
    }
}

type Found = (HashMap<Box<str>, Sifted>, HashMap<Network, Time>);

/// Who is told of our own bans, where somebody is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd(Option<Pusher>);

impl Crowd {
    /// By the configuration.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(crate) fn open(config: &Config, clock: Clock) -> std::io::Result<Self> {
        let Some(crowdsec) = config.crowdsec.clone() else { return Ok(Crowd(None)) };
        let config::Crowdsec { url, machine, password_file } = crowdsec;
        let settings = PushSettings { url, machine, password_file };
        Ok(Crowd(Some(Pusher::start(settings, move || clock.now())?)))
    }

    /// A ban began or was renewed. Those of others are theirs to tell.
    pub(crate) fn on_ban(&self, ban: &Ban) {
        let (Some(pusher), Some(network)) = (&self.0, crate::kernel::network(&ban.key)) else {
            return;
        };
        if ban.origin == Origin::Local && !ban.narrowed {
            let (why, evidence) = (ban.why.to_string(), ban.evidence.len());
            pusher.push(Push { network, why, until: ban.until, evidence });
        }
    }

    /// For metrics: told, lost, tries that failed.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let counts = self.0.as_ref().map(Pusher::counts);
        counts.map_or([0; 3], |it| [&it.pushed, &it.lost, &it.failed].map(|it| it.load(Relaxed)))
    }
}

fn settings(feed: &config::Feed) -> Settings {
    let place = match (&feed.url, &feed.file) {
        (Some(url), _) => Place::Url(url.clone()),
        (None, file) => Place::File(file.clone().unwrap_or_default()),
    };
    Settings {
        name: feed.name.as_str().into(),
        place,
        format: match feed.format {
            FeedFormat::Lines => Format::Lines,
            FeedFormat::Apiban => Format::Apiban,
            FeedFormat::Crowdsec => Format::Crowdsec,
        },
        key_file: feed.key_file.clone(),
        every: feed.every,
        ttl: feed.ttl,
        timeout: feed.timeout,
        bytes: feed.bytes,
        bounds: Bounds {
            entries: feed.entries,
            widest_ipv4: u8::try_from(feed.widest_ipv4).unwrap_or(32),
            widest_ipv6: u8::try_from(feed.widest_ipv6).unwrap_or(64),
            private: feed.private,
        },
    }
}
