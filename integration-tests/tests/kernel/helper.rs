//! A helper that runs, and an edge's client that speaks to it.

use crate::lab::{EDGE_V4, EDGE_V6, Lab};
use enforce::frame::Results;
use enforce::{Client, Report, Sender};
use integration_tests::{Child, PATIENCE, wait_until};
use policy::{Network, Time};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A configuration for the helper: SIP on the edge's addresses, media on some ports.
pub fn configuration(lab: &Lab, enforce: &str) -> String {
    let text = format!(
        "version: 1
listen:
  - {{ transport: udp, address: \"{EDGE_V4}:5060\" }}
  - {{ transport: tcp, address: \"{EDGE_V4}:5060\" }}
  - {{ transport: udp, address: \"[{EDGE_V6}]:5060\" }}
  - {{ transport: tcp, address: \"[{EDGE_V6}]:5060\" }}
inside: {{ pbx: [\"127.0.0.1:5070\"] }}
admin: {{ networks: [203.0.113.128/25] }}
enforce: {{ socket: {}, media: [\"10000-10010\"]{enforce} }}
",
        lab.path("socket").display()
    );
    let file = lab.path("ringfence.yaml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Starts a helper; it serves when this returns.
pub fn start(lab: &Lab, enforce: &str) -> Child {
    let configuration = configuration(lab, enforce);
    start_with(lab, &configuration)
}

/// The same with a configuration that is there.
pub fn start_with(lab: &Lab, configuration: &str) -> Child {
    let arguments = ["run", "--user", "0", "--config", configuration];
    let mut helper = lab.start("ringfence-enforcer", &arguments);
    helper.wait_for("the helper is ready", |log| log.contains("Ready"));
    helper
}

/// An edge without the rest of it.
pub struct Edge {
    pub sender: Sender,
    pub enforcing: watch::Sender<bool>,
    reports: Arc<Mutex<Vec<Report>>>,
    began: Instant,
}

impl Edge {
    /// Speaks to the helper, or will.
    pub fn new(lab: &Lab) -> Self {
        let (sender, updates) = enforce::client(1 << 16);
        let enforcing = watch::Sender::new(true);
        let began = Instant::now();
        let now = move || Time::ZERO + began.elapsed();
        let client = Client::new(lab.path("socket"), updates, enforcing.subscribe(), 1 << 18, now);
        let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
        let heard = reports.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(client.run(|report| heard.lock().unwrap().push(report)));
        });
        Edge { sender, enforcing, reports, began }
    }

    /// Bans a network for a time.
    pub fn ban(&self, network: &str, time: Duration) {
        let until = Time::ZERO + self.began.elapsed() + time;
        assert!(self.sender.ban(parse(network), until));
    }

    /// Lifts a ban.
    pub fn lift(&self, network: &str) {
        assert!(self.sender.lift(parse(network)));
    }

    /// Bans, and waits until the kernel knows.
    pub fn ban_now(&self, network: &str) {
        let before = self.results().applied;
        self.ban(network, Duration::from_secs(600));
        self.wait(&format!("{network} is banned"), |edge| edge.results().applied > before);
    }

    /// Lifts, and waits until the kernel knows.
    pub fn lift_now(&self, network: &str) {
        let before = self.results().applied;
        self.lift(network);
        self.wait(&format!("{network} is lifted"), |edge| edge.results().applied > before);
    }

    /// Waits until a connection stands and its list is told.
    pub fn wait_connected(&self, times: usize) {
        self.wait("the client is connected", |edge| {
            edge.count(|report| matches!(report, Report::Connected)) >= times
        });
    }

    /// Waits for a fact.
    pub fn wait(&self, what: &str, fact: impl Fn(&Edge) -> bool) {
        wait_until(what, PATIENCE, || fact(self));
    }

    /// How many reports are like this.
    pub fn count(&self, like: impl Fn(&Report) -> bool) -> usize {
        self.reports.lock().unwrap().iter().filter(|report| like(report)).count()
    }

    /// What became of all that was sent so far.
    pub fn results(&self) -> Results {
        let mut sum = Results::default();
        for report in self.reports.lock().unwrap().iter() {
            if let Report::Results(results) = report {
                sum.applied += results.applied;
                sum.refused += results.refused;
                sum.full += results.full;
                sum.failed += results.failed;
            }
        }
        sum
    }
}

pub fn parse(network: &str) -> Network {
    let (address, prefix) = network.split_once('/').unwrap();
    Network::new(address.parse().unwrap(), prefix.parse().unwrap())
}
