//! Names that operators wrote, kept resolved while the edge runs: off the packets' way, on the
//! control thread's runtime. What changes is told to all shards.

use crate::clock::Clock;
use crate::mesh::Order;
use crate::news::News;
use crate::status::Status;
use config::{Config, ResolverSettings};
use policy::Time;
use proxy::{Learned, Target};
use resolver::{
    Change, Client, Failure, Resolved, Settings, Standing, Unresolvable, Wanted, Watch,
};
use serde_json::json;
use state::{Fact, NameFact, Writer};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use telemetry::Telemetry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;
use wire::Transport;

/// How long what is kept of a name that does not change grows old before it is written again.
const KEEP_AGAIN: Duration = Duration::from_secs(3_600);

/// Where what names stand for is kept up to date. Ends with its [`Names::follow`]'s sender.
#[derive(Debug)]
pub(crate) struct Names {
    clock: Clock,
    orders: Vec<mpsc::Sender<Order>>,
    telemetry: Arc<Telemetry>,
    settings: Settings,
    client: Option<Client>,
    watch: Watch,
    trunks: Vec<(Box<str>, Vec<Transport>)>,
    listeners: Vec<(Transport, SocketAddr)>,
    /// What shards know of trunks' hosts.
    told: HashMap<Box<str>, Box<[Target]>>,
    /// What names stood for in an earlier life.
    recalled: Vec<Standing>,
    /// What is kept for the next one, and where.
    kept: HashMap<Box<str>, Standing>,
    writer: Writer,
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
    /// Nothing to watch yet; `facts` are what an earlier life kept.
    pub(crate) fn new(
        clock: Clock,
        orders: Vec<mpsc::Sender<Order>>,
        telemetry: Arc<Telemetry>,
        writer: Writer,
        facts: Vec<Fact>,
    ) -> Self {
        let settings = Settings::default();
        let names = facts.into_iter().filter_map(|fact| match fact {
            Fact::Name(name) => Some(standing(name)),
            Fact::Drained { .. } => None,
        });
        Names {
            clock,
            orders,
            telemetry,
            watch: Watch::new(settings.clone()),
            settings,
            client: None,
            trunks: Vec::new(),
            listeners: Vec::new(),
            told: HashMap::new(),
            recalled: names.collect(),
            kept: HashMap::new(),
            writer,
            asked: JoinSet::new(),
        }
    }

    /// What shards are to know before the first message: what names stood for when they were last
    /// answered.
    pub(crate) fn recall(&mut self, watched: &Watched) -> Vec<Learned> {
        self.watch_over(watched.clone());
        let mut all = Vec::new();
        for standing in std::mem::take(&mut self.recalled) {
            let Some(change) = self.watch.recall(self.clock.now(), &standing) else { continue };
            telemetry::log::name_recalled(&change.host, &change.joined);
            let targets = self.reached(&change.host, &standing.targets);
            if self.transports(&change.host).is_some() && !targets.is_empty() {
                self.told.insert(change.host.clone(), targets.clone());
                all.push(Learned::Targets { host: change.host.clone(), targets });
            }
            all.push(Learned::Gate(resolved(change)));
        }
        all
    }

    /// Watches what is said until nobody can say any more.
    pub(crate) async fn follow(
        mut self,
        mut watched: watch::Receiver<Watched>,
        status: Arc<Status>,
    ) {
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
                    if let Ok((host, answer)) = answered
                        && let Some(change) = self.on_answer(&host, answer).await
                    {
                        tell(&status, &change);
                    }
                }
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    async fn configure(&mut self, watched: Watched) {
        self.watch_over(watched);
        for (host, _) in self.trunks.clone() {
            match self.wanted(&host).ok().and_then(|wanted| wanted.literal()) {
                Some(target) => self.reach(&host, &[target]).await,
                None => self.reach_again(&host).await,
            }
        }
    }

    fn watch_over(&mut self, watched: Watched) {
        let Watched { hosts, trunks, listeners, settings } = watched;
        if self.settings != settings {
            // made when a name is due: without names no name server is needed
            self.client = None;
        }
        let names = hosts.iter().map(|host| &**host);
        self.watch.configure(self.clock.now(), settings.clone(), names);
        self.settings = settings;
        self.told.retain(|host, _| trunks.iter().any(|(trunk, _)| trunk == host));
        self.kept.retain(|host, _| hosts.contains(host));
        (self.trunks, self.listeners) = (trunks, listeners);
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
        let targets = self.reached(host, targets);
        if self.told.get(host) == Some(&targets) {
            return;
        }
        self.told.insert(host.into(), targets.clone());
        self.order(|| Order::Reach { host: host.into(), targets: targets.clone() }).await;
    }

    /// By which of its transports, and from where.
    fn reached(&self, host: &str, targets: &[resolver::Target]) -> Box<[Target]> {
        let allowed = self.transports(host).unwrap_or_default();
        let targets = targets.iter().filter(|target| allowed.contains(&target.transport));
        let from = |target: &resolver::Target| {
            let (transport, remote, rank) = (target.transport, target.address, target.rank);
            let local = source(transport, remote, &self.listeners)?;
            Some(Target { transport, local, remote, rank })
        };
        targets.filter_map(from).collect()
    }

    /// Keeps what a name stands for over a restart: when that is another than before, and now and
    /// then, because what is kept grows old.
    fn keep(&mut self, host: &str) {
        let Some(new) = self.watch.standing(self.clock.now(), host) else { return };
        let old = self.kept.get(host);
        let same = old.is_some_and(|old| {
            (&old.addresses, &old.targets) == (&new.addresses, &new.targets)
                && new.at.since(old.at) < KEEP_AGAIN
        });
        if !same {
            self.writer.keep(Fact::Name(fact(&new)));
            self.kept.insert(host.into(), new);
        }
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
            let wanted = self.wanted(&host);
            self.asked.spawn(async move {
                let answer = match (client, wanted) {
                    (Some(client), Ok(wanted)) => resolver::resolve(&client, &wanted).await,
                    (None, _) => Err(Failure::Unreachable),
                    (_, Err(_)) => Err(Failure::NoName),
                };
                (host, answer)
            });
        }
    }

    /// What it changes about whom the name stands for.
    async fn on_answer(&mut self, host: &str, answer: Result<Resolved, Failure>) -> Option<Change> {
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
        self.keep(host);
        if self.transports(host).is_some() && failure.is_none() {
            self.reach_again(host).await;
        }
        let change = change?;
        telemetry::log::name_changed(host, &change.joined, &change.left);
        let learned = resolved(change.clone());
        self.order(|| Order::Learn(learned.clone())).await;
        Some(change)
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

/// Tells the audit stream, and who follows the events, that a name stands for other addresses.
fn tell(status: &Status, change: &Change) {
    let Change { host, joined, left, .. } = change;
    let policy = status.rules().policy.clone();
    let named = policy.admission.trust.hosts.iter().filter(|(named, _)| named == host);
    let names: Vec<_> = named.map(|(_, name)| name).collect();
    let fields = json!({ "host": host, "names": names, "joined": joined, "left": left });
    status.note("name_change", fields.clone());
    status.news.say(|| News::Control("name_change", fields));
}

fn resolved(change: Change) -> admission::Learned {
    admission::Learned::Resolved { host: change.host, addresses: change.addresses.into() }
}

fn standing(fact: NameFact) -> Standing {
    let target = |(transport, address, rank)| resolver::Target { transport, address, rank };
    let NameFact { host, at, addresses, targets } = fact;
    Standing { host, at, addresses, targets: targets.into_iter().map(target).collect() }
}

fn fact(standing: &Standing) -> NameFact {
    let target = |it: &resolver::Target| (it.transport, it.address, it.rank);
    NameFact {
        host: standing.host.clone(),
        at: standing.at,
        addresses: standing.addresses.clone(),
        targets: standing.targets.iter().map(target).collect(),
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
        recall: from.recall,
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
