//! Bans on their way to the kernel: a shard's end, and the client that keeps the helper informed.

use crate::clock::Clock;
use admission::{Ban, BanKey, Lift};
use config::{Config, Enforce};
use enforce::{Client, Report, Sender, Updates};
use policy::{Mode, Network, Policy, Time};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{KernelMetrics, KernelUpdate, Telemetry};
use tokio::sync::watch;
use tracing::{info, warn};

/// A shard's end. Without `enforce` it has no ear.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    sender: Option<Sender>,
    telemetry: Arc<Telemetry>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct KernelControl {
    enforcing: watch::Sender<bool>,
    client: Option<(Enforce, Updates)>,
    clock: Clock,
}

/// Entries of feeds on their way to the kernel.
#[derive(Debug, Default)]
pub(crate) struct FeedKernel {
    sender: Option<Sender>,
    /// Most addresses and networks: bans go first, so that feeds have half of the sets.
    most: [usize; 2],
    widest: [u8; 2],
    told: HashMap<Network, Time>,
}

/// Entries that are told at once, and the pause behind: shards' bans have their turn.
const AT_ONCE: usize = 256;
const PAUSE: Duration = Duration::from_millis(2);

impl FeedKernel {
    /// By the configuration; nothing is told where nothing is enforced.
    pub(crate) fn new(config: &Config, kernel: &Kernel) -> Self {
        let enforce = config.enforce.clone().unwrap_or_default();
        let width = |bits: u32| u8::try_from(bits).unwrap_or(u8::MAX);
        FeedKernel {
            sender: kernel.sender.clone(),
            most: [enforce.sources / 2, enforce.networks / 2],
            widest: [width(enforce.widest_ipv4), width(enforce.widest_ipv6)],
            told: HashMap::new(),
        }
    }

    /// The kernel drops these until then, and no other entries of feeds; as many as there is room
    /// for.
    pub(crate) async fn drop_these(&mut self, now: Time, wanted: HashMap<Network, Time>) {
        let Some(sender) = self.sender.clone() else { return };
        let mut rooms = self.most;
        let mut fits = |network: &Network| {
            let v6 = usize::from(network.address().is_ipv6());
            let single = *network == Network::source(network.address());
            let room = &mut rooms[usize::from(!single)];
            let taken = *room > 0 && network.prefix() >= self.widest[v6];
            *room -= usize::from(taken);
            taken
        };
        let wanted: HashMap<_, _> = wanted.into_iter().filter(|(it, _)| fits(it)).collect();
        let gone: Vec<_> =
            self.told.keys().filter(|it| !wanted.contains_key(it)).copied().collect();
        // an end that moves a little is not worth a word
        let is_news = |(network, until): &(Network, Time)| {
            let told = self.told.get(network).copied().unwrap_or_default();
            until.since(told) > told.since(now) / 8
        };
        let news: Vec<_> = wanted.into_iter().filter(is_news).collect();
        for gone in gone.chunks(AT_ONCE) {
            for network in gone {
                self.told.remove(network);
                let _ = sender.lift(*network);
            }
            tokio::time::sleep(PAUSE).await;
        }
        for news in news.chunks(AT_ONCE) {
            for (network, until) in news {
                if sender.ban(*network, *until) {
                    self.told.insert(*network, *until);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Both ends.
pub(crate) fn open(
    config: &Config,
    clock: Clock,
    telemetry: &Arc<Telemetry>,
) -> (Kernel, KernelControl) {
    let telemetry = telemetry.clone();
    let queue = config.enforce.clone().map(|enforce| {
        let (sender, updates) = enforce::client(enforce.queue);
        (sender, (enforce, updates))
    });
    let (sender, client) = queue.unzip();
    let enforcing = watch::Sender::new(is_enforcing(&config.policy));
    (Kernel { sender, telemetry }, KernelControl { enforcing, client, clock })
}

fn is_enforcing(policy: &Policy) -> bool {
    policy.admission.mode == Mode::Enforce
}

impl Kernel {
    /// A ban began or was renewed. One that only narrows is no matter of the kernel's, which drops.
    pub(crate) fn on_ban(&self, ban: &Ban) {
        let (Some(sender), Some(network)) = (&self.sender, network(&ban.key)) else { return };
        let sent = match ban.narrowed {
            true => sender.lift(network),
            false => sender.ban(network, ban.until),
        };
        self.count(sent);
    }

    /// A ban ended. One that ran out did so in the kernel by itself.
    pub(crate) fn on_lift(&self, lift: &Lift) {
        let (Some(sender), Some(network)) = (&self.sender, network(&lift.key)) else { return };
        if !lift.expired && !lift.replaced {
            self.count(sender.lift(network));
        }
    }

    fn count(&self, sent: bool) {
        if !sent {
            self.telemetry.kernel().on_updates(KernelUpdate::Dropped, 1);
        }
    }
}

/// Whose packets could be dropped without looking into them.
pub(crate) fn network(key: &BanKey) -> Option<Network> {
    match key {
        BanKey::Source(network) | BanKey::Network(network) => Some(*network),
        BanKey::AorFlow { .. } | BanKey::AorSource { .. } | BanKey::Campaign(_) => None,
    }
}

impl KernelControl {
    /// Starts the client on this thread's runtime.
    pub(crate) fn start(&mut self, telemetry: &Arc<Telemetry>) {
        let Some((enforce, updates)) = self.client.take() else { return };
        let (clock, telemetry) = (self.clock, telemetry.clone());
        let capacity = enforce.sources + enforce.networks;
        let enforcing = self.enforcing.subscribe();
        let client = Client::new(enforce.socket, updates, enforcing, capacity, move || clock.now());
        let mut told = Told::default();
        tokio::spawn(client.run(move |report| told.on_report(telemetry.kernel(), report)));
    }

    /// New rules: in `observe` the kernel drops nobody.
    pub(crate) fn configure(&self, policy: &Policy) {
        let is = is_enforcing(policy);
        self.enforcing.send_if_modified(|was| std::mem::replace(was, is) != is);
    }
}

/// What was said already.
#[derive(Debug, Default)]
struct Told {
    full: bool,
}

impl Told {
    fn on_report(&mut self, metrics: &KernelMetrics, report: Report) {
        match report {
            Report::Connected => {
                metrics.set_up(true);
                info!("Banned sources are dropped in the kernel");
            }
            Report::Absent(why) => {
                metrics.set_up(false);
                warn!(%why, "No ringfence-enforcer: banned sources are dropped in user space only");
            }
            Report::Results(results) => {
                let enforce::frame::Results { applied, refused, full, failed } = results;
                for (result, count) in [
                    (KernelUpdate::Applied, applied),
                    (KernelUpdate::Refused, refused),
                    (KernelUpdate::Full, full),
                    (KernelUpdate::Failed, failed),
                ] {
                    metrics.on_updates(result, count.into());
                }
                self.on_full(full > 0);
            }
            Report::NoRoom(count) => {
                metrics.on_updates(KernelUpdate::Full, count);
                self.on_full(true);
            }
            Report::Forgotten => {
                warn!("Lifts found no room in enforce.queue: the kernel forgets all bans");
            }
            Report::Status(status) => {
                metrics.on_status(status.entries, status.dropped, status.repairs);
            }
        }
    }

    /// Said once: under attack it would be said all day.
    fn on_full(&mut self, full: bool) {
        if full && !std::mem::replace(&mut self.full, true) {
            warn!("The kernel's sets are full: further bans hold in user space (enforce.sources)");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sets_have_one_name_each() {
        assert_eq!(enforce::Set::ALL.map(enforce::Set::as_str), telemetry::KERNEL_SETS);
    }
}
