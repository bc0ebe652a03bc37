//! Names that operators wrote, kept resolved while the edge runs: off the packets' way, on the
//! control thread's runtime. What changes is told to all shards.

use crate::clock::Clock;
use crate::mesh::Order;
use config::{Config, ResolverSettings};
use policy::Time;
use proxy::Target;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use resolver::{Client, Failure, Resolved, Settings, Unresolvable, Wanted, Watch};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use telemetry::Telemetry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;
use wire::Transport;

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
    trunks: Vec<(Box<str>, Vec<Transport>)>,
    listeners: Vec<(Transport, SocketAddr)>,
    /// What shards know of trunks' hosts.
    told: HashMap<Box<str>, Box<[Target]>>,
    /// Lookups under way; each gives back its name.
    asked: JoinSet<(Box<str>, Result<Resolved, Failure>)>,
}

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    hosts: Vec<Box<str>>,
    /// Those of them that the PBX may call, and addresses likewise; each with its transports.
    trunks: Vec<(Box<str>, Vec<Transport>)>,
    /// From where it may.
    listeners: Vec<(Transport, SocketAddr)>,
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
        let policy = &config.policy;
        let trunks = policy.trunks.iter().zip(&config.trunks).flat_map(|(trunk, said)| {
            trunk.hosts.iter().map(|host| (host.clone(), said.transports.clone()))
        });
        let trunks = trunks.collect();
        let listeners = policy.listeners.iter().map(|it| (it.transport, it.address)).collect();
        Watched { hosts, trunks, listeners, settings: settings(&config.resolver) }
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
            trunks: Vec::new(),
            listeners: Vec::new(),
            told: HashMap::new(),
            asked: JoinSet::new(),
        }
    }

    /// Watches what is said until nobody can say any more.
    pub(crate) async fn follow(mut self, mut watched: watch::Receiver<Watched>) {
        let first = watched.borrow_and_update().clone();
        self.configure(first).await;
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
                    self.configure(watched).await;
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

    async fn configure(&mut self, watched: Watched) {
        let Watched { hosts, trunks, listeners, settings } = watched;
        if self.settings != settings {
            // made when a name is due: without names no name server is needed
            self.client = None;
        }
        let hosts = hosts.iter().map(|host| &**host);
        self.watch.configure(self.clock.now(), settings.clone(), hosts);
        self.settings = settings;
        self.told.retain(|host, _| trunks.iter().any(|(trunk, _)| trunk == host));
        (self.trunks, self.listeners) = (trunks, listeners);
        for (host, _) in self.trunks.clone() {
            match self.wanted(&host).ok().and_then(|wanted| wanted.literal()) {
                Some(target) => self.reach(&host, &[target]).await,
                None => self.reach_again(&host).await,
            }
        }
    }

    /// Tells where a trunk's host is reached by what is known of its name. One that the DNS does
    /// not have any more is reached where it was.
    async fn reach_again(&mut self, host: &str) {
        let targets = self.watch.targets(host).to_vec();
        if !targets.is_empty() {
            self.reach(host, &targets).await;
        }
    }

    /// What is looked for under a name: of a trunk with one transport what is reached by that.
    fn wanted(&self, host: &str) -> Result<Wanted, Unresolvable> {
        let wanted = Wanted::of_host(host)?;
        match self.transports(host) {
            Some([only]) if *only != Transport::Udp => Ok(wanted.by(*only)),
            _ => Ok(wanted),
        }
    }

    fn transports(&self, host: &str) -> Option<&[Transport]> {
        self.trunks.iter().find(|(trunk, _)| **trunk == *host).map(|(_, all)| &**all)
    }

    /// Tells the shards where a trunk's host is reached, if that is news.
    async fn reach(&mut self, host: &str, targets: &[resolver::Target]) {
        let allowed = self.transports(host).unwrap_or_default();
        let targets = targets.iter().filter(|target| allowed.contains(&target.transport));
        let from = |target: &resolver::Target| {
            let (transport, remote) = (target.transport, target.address);
            let local = source(transport, remote, &self.listeners)?;
            Some(Target { transport, local, remote })
        };
        let targets: Box<[Target]> = targets.filter_map(from).collect();
        if self.told.get(host) == Some(&targets) {
            return;
        }
        self.told.insert(host.into(), targets.clone());
        self.order(|| Order::Reach { host: host.into(), targets: targets.clone() }).await;
    }

    async fn order(&self, order: impl Fn() -> Order) {
        for orders in &self.orders {
            // a shard that has ended needs none, and is told of elsewhere
            let _ = orders.send(order()).await;
        }
    }

    /// Asks about all names that are due.
    fn ask(&mut self) {
        while let Some(host) = self.watch.poll_due(self.clock.now()) {
            if self.client.is_none() {
                self.client = client(&self.settings);
            }
            let client = self.client.clone();
            let rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
            let wanted = self.wanted(&host);
            self.asked.spawn(async move {
                let answer = match (client, wanted) {
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
        if self.transports(host).is_some() && failure.is_none() {
            self.reach_again(host).await;
        }
        let Some(change) = change else { return };
        telemetry::log::name_changed(host, &change.joined, &change.left);
        let learned =
            admission::Learned::Resolved { host: change.host, addresses: change.addresses.into() };
        self.order(|| Order::Learn(learned.clone())).await;
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

/// The address from which this machine would send to `remote`, at a listener of ours: the one with
/// that address, or a wildcard's; else one of the same family. A stream needs none: then it is the
/// default port of that address, where nobody answers.
fn source(
    transport: Transport,
    remote: SocketAddr,
    listeners: &[(Transport, SocketAddr)],
) -> Option<SocketAddr> {
    let alike =
        |(of, it): &&(Transport, SocketAddr)| *of == transport && it.is_ipv4() == remote.is_ipv4();
    let same = || listeners.iter().filter(alike).map(|(_, listener)| listener);
    // connecting a datagram socket sends nothing: it asks the kernel for the route
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    let alone = same().next().is_none() && transport.is_reliable();
    if let Some(route) = route.as_ref().ok().filter(|_| alone) {
        return Some(SocketAddr::new(route.ip(), transport.default_port()));
    }
    let by_route = route.ok().and_then(|route| {
        let exact = same().find(|listener| listener.ip() == route.ip());
        let listener = exact.or_else(|| same().find(|listener| listener.ip().is_unspecified()))?;
        Some(SocketAddr::new(route.ip(), listener.port()))
    });
    by_route.or_else(|| same().find(|listener| !listener.ip().is_unspecified()).copied())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_from_a_listener() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let source = |remote, listeners: &[SocketAddr]| {
            let udp = listeners.iter().map(|it| (Transport::Udp, *it)).collect::<Vec<_>>();
            super::source(Transport::Udp, remote, &udp)
        };
        let remote = at("127.0.0.9:5070");
        let wildcard = [at("[::]:5060"), at("0.0.0.0:5062")];
        assert_eq!(source(remote, &wildcard), Some(at("127.0.0.1:5062")), "what the route says");
        let exact = [at("0.0.0.0:5062"), at("127.0.0.1:5064")];
        assert_eq!(source(remote, &exact), Some(at("127.0.0.1:5064")));
        let other = [at("127.0.0.5:5066")];
        assert_eq!(source(remote, &other), Some(at("127.0.0.5:5066")), "nothing else is there");
        assert_eq!(source(remote, &[at("[::1]:5060")]), None, "the other family");
        // a connection needs no listener, and one of its own transport
        let udp = [(Transport::Udp, at("127.0.0.5:5066"))];
        let tls = super::source(Transport::Tls, remote, &udp);
        assert_eq!(tls, Some(at("127.0.0.1:5061")));
        let both = [udp[0], (Transport::Tls, at("127.0.0.5:5067"))];
        assert_eq!(super::source(Transport::Tls, remote, &both), Some(at("127.0.0.5:5067")));
    }
}
