//! Names that operators wrote, kept resolved while the edge runs: off the packets' way, on the
//! control thread's runtime. What changes is told to all shards.

use crate::clock::Clock;
use crate::mesh::Order;
use config::{Config, ResolverSettings};
use policy::Time;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use resolver::{Client, Failure, Resolved, Settings, Wanted, Watch};
use std::sync::Arc;
use telemetry::Telemetry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;

/// Where what names stand for is kept up to date. Ends with its [`Names::follow`]'s sender.
#[derive(Debug)]
pub(crate) struct Names {
    clock: Clock,
    orders: Vec<mpsc::Sender<Order>>,
    telemetry: Arc<Telemetry>,
    rng: ChaCha8Rng,
    settings: Settings,
    client: Option<Client>,
    watch: Watch,
    /// Lookups under way; each gives back its name.
    asked: JoinSet<(Box<str>, Result<Resolved, Failure>)>,
}

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    hosts: Vec<Box<str>>,
    settings: Settings,
}

impl Watched {
    /// By this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let mut hosts: Vec<Box<str>> = Vec::new();
        for (host, _) in &config.policy.admission.trust.hosts {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        Watched { hosts, settings: settings(&config.resolver) }
    }
}

impl Names {
    /// With `seed` for the lots among SRV records.
    pub(crate) fn new(
        clock: Clock,
        orders: Vec<mpsc::Sender<Order>>,
        telemetry: Arc<Telemetry>,
        seed: [u8; 32],
    ) -> Self {
        let settings = Settings::default();
        Names {
            clock,
            orders,
            telemetry,
            rng: ChaCha8Rng::from_seed(seed),
            watch: Watch::new(settings.clone()),
            settings,
            client: None,
            asked: JoinSet::new(),
        }
    }

    /// Watches what is said until nobody can say any more.
    pub(crate) async fn follow(mut self, mut watched: watch::Receiver<Watched>) {
        let first = watched.borrow_and_update().clone();
        self.configure(first);
        loop {
            self.ask();
            self.publish();
            let due = self.clock.instant(self.watch.poll_timeout().unwrap_or(Time::FOREVER));
            tokio::select! {
                changed = watched.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let watched = watched.borrow_and_update().clone();
                    self.configure(watched);
                }
                Some(answered) = self.asked.join_next() => {
                    if let Ok((host, answer)) = answered {
                        self.on_answer(&host, answer).await;
                    }
                }
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    fn configure(&mut self, watched: Watched) {
        let Watched { hosts, settings } = watched;
        if self.settings != settings {
            // made when a name is due: without names no name server is needed
            self.client = None;
        }
        let hosts = hosts.iter().map(|host| &**host);
        self.watch.configure(self.clock.now(), settings.clone(), hosts);
        self.settings = settings;
    }

    /// Asks about all names that are due.
    fn ask(&mut self) {
        while let Some(host) = self.watch.poll_due(self.clock.now()) {
            if self.client.is_none() {
                self.client = client(&self.settings);
            }
            let client = self.client.clone();
            let rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
            self.asked.spawn(async move {
                let answer = match (client, Wanted::of_host(&host)) {
                    (Some(client), Ok(wanted)) => resolver::resolve(&client, &wanted, &rng).await,
                    (None, _) => Err(Failure::Unreachable),
                    (_, Err(_)) => Err(Failure::NoName),
                };
                (host, answer)
            });
        }
    }

    async fn on_answer(&mut self, host: &str, answer: Result<Resolved, Failure>) {
        let (result, failure) = match &answer {
            Ok(Resolved { stale: Some(failure), .. }) => ("stale", Some(*failure)),
            Ok(resolved) if resolved.targets.is_empty() => ("empty", None),
            Ok(_) => ("answered", None),
            Err(failure) => (failure.as_str(), Some(*failure)),
        };
        self.telemetry.names().on_lookup(result);
        let failed = self.watch.is_failing(host);
        let change = self.watch.handle_answer(self.clock.now(), host, answer);
        if failed != self.watch.is_failing(host) {
            telemetry::log::name_state(host, failure.map(Failure::as_str));
        }
        let Some(change) = change else { return };
        telemetry::log::name_changed(host, &change.joined, &change.left);
        let learned =
            admission::Learned::Resolved { host: change.host, addresses: change.addresses.into() };
        for orders in &self.orders {
            // a shard that has ended needs none, and is told of elsewhere
            let _ = orders.send(Order::Learn(learned.clone())).await;
        }
    }

    fn publish(&self) {
        let counts = self.watch.counts();
        let names = proxy::Table {
            entries: counts.names.iter().sum(),
            capacity: self.settings.names,
            evictions: 0,
        };
        let addresses = proxy::Table {
            entries: counts.addresses,
            capacity: names.entries * self.settings.addresses,
            evictions: counts.left_out,
        };
        self.telemetry.names().on_names(counts.names, counts.changes, names, addresses);
    }
}

fn client(settings: &Settings) -> Option<Client> {
    let client = resolver::client(settings);
    client.inspect_err(|failure| debug!(%failure, "No name server")).ok()
}

fn settings(from: &ResolverSettings) -> Settings {
    Settings {
        servers: from.servers.clone(),
        timeout: from.timeout,
        attempts: from.attempts,
        questions: from.questions,
        ttl_least: from.ttl_least,
        ttl_most: from.ttl_most,
        grace: from.grace,
        names: from.names,
        addresses: from.addresses,
    }
}
