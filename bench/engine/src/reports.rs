//! What an edge tells of each message, as TELEMETRY has it: `off` (nothing), `on` (counters and
//! decisions, as always), `audit` (a line for each request, too) or `hep` (each request to a
//! capture server that is not there).

use audit::{Audit, Format, Journal, Settings, Target};
use hep::{Exporter, Hep};
use policy::{Policy, Time};
use proxy::{Engine, Event};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Instant;
use telemetry::{ShardMetrics, Telemetry};

/// Letters that may wait for the audit's thread, and bytes for HEP's: more than a run has.
const QUEUE: usize = 1 << 20;
const RING_BYTES: usize = 256 << 20;

/// A shard's ends, and who keeps them open.
pub(crate) struct Reports {
    telemetry: Telemetry,
    metrics: Option<Arc<ShardMetrics>>,
    audit: Option<(Audit, Journal, tempfile::TempDir)>,
    hep: Option<(Hep, Exporter, UdpSocket)>,
    policy: Arc<Policy>,
}

fn mode() -> String {
    std::env::var("TELEMETRY").unwrap_or_else(|_| "on".into())
}

impl Reports {
    /// Whether events are counted and decisions kept.
    pub(crate) fn are_counted() -> bool {
        mode() != "off"
    }

    pub(crate) fn new(policy: &Arc<Policy>) -> Self {
        let telemetry = Telemetry::new("0", 1, &policy.pbx);
        let metrics = Reports::are_counted().then(|| telemetry.shards()[0].clone());
        let audit = (mode() == "audit").then(|| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("audit.log");
            let to = Target::File { path, size: 1 << 30, keep: 0 };
            let settings = Settings { to, format: Format::Json, accepted: true, rate: u32::MAX };
            let clock = || Time::ZERO;
            let audit = Audit::start(Some(settings), QUEUE, 1, policy.clone(), clock).unwrap();
            let journal = audit.journal(0);
            (audit, journal, directory)
        });
        let hep = (mode() == "hep").then(|| {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let settings = hep::Settings {
                transport: hep::Transport::Udp,
                address: server.local_addr().unwrap(),
                all: true,
                agent: 1,
                node: "bench".into(),
            };
            let hep = Hep::start(Some((settings, RING_BYTES)), 1).unwrap();
            let exporter = hep.exporter(0);
            (hep, exporter, server)
        });
        Reports { telemetry, metrics, audit, hep, policy: policy.clone() }
    }

    pub(crate) fn on_event(&mut self, now: Time, event: &Event, engine: &Engine) {
        if let Some(metrics) = &self.metrics {
            metrics.on_event(event);
        }
        if let Some((_, journal, _)) = &mut self.audit {
            journal.on_event(now, event, engine, &self.policy);
        }
        if let Some((_, exporter, _)) = &mut self.hep {
            exporter.on_event(event, engine, &self.policy);
        }
    }

    pub(crate) fn on_wakeup(&self, woken: Instant) {
        if let Some(metrics) = &self.metrics {
            metrics.on_flush(|| woken.elapsed());
            metrics.on_wakeup(1);
        }
    }

    /// What a scrape costs: its bytes.
    #[inline(never)]
    pub(crate) fn scrape(&self, engine: &Engine) -> usize {
        self.telemetry.shards()[0].on_snapshot(&engine.snapshot());
        self.telemetry.render().len()
    }
}
