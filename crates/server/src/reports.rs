//! What is told to other programs and to people: the audit stream, the capture server, alerts. A
//! shard's end, and the control thread's.

use crate::alerts::AlertDesk;
use crate::clock::Clock;
use admission::{Alert, Ban, Lift, Record};
use audit::{Audit, Clerk, Format, Health, Journal, Settings, Target};
use config::{AuditFormat, AuditTarget, Config, HepTransport, HepWhat};
use hep::{Exporter, Hep};
use policy::{Network, Policy, Time};
use proxy::{Engine, Event};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use telemetry::{AuditCounts, HepCounts, ReportCounts, Telemetry};
use tracing::warn;
use wire::ShardId;

/// Where syslog and the journal usually listen.
const SYSLOG: &str = "/dev/log";
const JOURNALD: &str = "/run/systemd/journal/socket";

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct Reports {
    audit: Audit,
    clerk: Clerk,
    hep: Hep,
    alerts: AlertDesk,
}

/// A shard's end.
#[derive(Debug)]
pub(crate) struct Reporter {
    journal: Journal,
    exporter: Exporter,
    alerts: ::alerts::Clerk,
    policy: Arc<Policy>,
}

/// How something that is told to is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportView {
    /// `audit`, `hep` or `alerts`.
    pub(crate) kind: String,
    /// Where it goes.
    pub(crate) target: String,
    pub(crate) up: bool,
    /// Why the last try failed, if it did.
    pub(crate) error: Option<String>,
}

impl Reports {
    /// Starts what the configuration wants.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(crate) fn open(
        config: &Config,
        policy: &Arc<Policy>,
        clock: Clock,
        telemetry: &Telemetry,
    ) -> std::io::Result<Self> {
        let queue = config.audit.clone().unwrap_or_default().queue;
        let settings = audit_settings(config);
        let audit =
            Audit::start(settings, queue, config.shards, policy.clone(), move || clock.now())?;
        let clerk = audit.clerk();
        clerk.note(clock.now(), "start", json!({ "version": env!("CARGO_PKG_VERSION") }), policy);
        let counters = audit.counters();
        let hep = Hep::start(hep_settings(config), config.shards)?;
        let sent = hep.counters();
        let alerts = AlertDesk::open(config, clock)?;
        let told = alerts.watch();
        telemetry.watch_reports(Box::new(move || ReportCounts {
            audit: AuditCounts {
                up: counters.is_up(),
                lines: [&counters.written, &counters.suppressed, &counters.lost, &counters.failed]
                    .map(|it| it.load(Relaxed)),
            },
            hep: HepCounts {
                up: sent.is_up(),
                messages: [&sent.sent, &sent.lost, &sent.failed].map(|it| it.load(Relaxed)),
            },
            alerts: told(),
        }));
        Ok(Reports { audit, clerk, hep, alerts })
    }

    /// A shard's end.
    pub(crate) fn reporter(&self, shard: ShardId, policy: &Arc<Policy>) -> Reporter {
        let shard = usize::from(shard.0);
        let (journal, exporter) = (self.audit.journal(shard), self.hep.exporter(shard));
        Reporter { journal, exporter, alerts: self.alerts.clerk(), policy: policy.clone() }
    }

    /// Goes by another configuration, and opens files anew. Before the shards get their rules: with
    /// them they take up what is laid ready here.
    pub(crate) fn configure(&self, config: &Config) {
        self.audit.configure(audit_settings(config));
        self.hep.configure(hep_settings(config));
        self.alerts.configure(config);
    }

    /// Notes what the control thread or an operator did, by its name.
    pub(crate) fn note(&self, now: Time, event: &'static str, fields: Value, policy: &Arc<Policy>) {
        self.clerk.note(now, event, fields, policy);
    }

    /// How all of it is doing.
    pub(crate) fn view(&self) -> Vec<ReportView> {
        let Health { target, error } = self.audit.health();
        let audit = target.map(|target| ReportView {
            kind: "audit".into(),
            target,
            up: error.is_none(),
            error,
        });
        let hep::Health { target, error } = self.hep.health();
        let hep = target.map(|target| ReportView {
            kind: "hep".into(),
            target,
            up: error.is_none(),
            error,
        });
        let alerts = self.alerts.views().into_iter().map(|view| ReportView {
            kind: "alerts".into(),
            target: format!("{} ({})", view.name, view.place),
            up: view.up,
            error: view.error,
        });
        audit.into_iter().chain(hep).chain(alerts).collect()
    }

    /// Who is told of alerts.
    pub(crate) fn alerts(&self) -> &AlertDesk {
        &self.alerts
    }

    /// Tells and writes what waits, and ends; each within its bound.
    pub(crate) fn close(&self, now: Time, policy: &Arc<Policy>) {
        let untold = self.alerts.close();
        if untold > 0 {
            warn!(untold, "Alerts were not taken before the end");
        }
        self.note(now, "stop", json!({}), policy);
        self.audit.close();
    }
}

/// Where a configuration wants its audit lines.
pub(crate) fn audit_target(it: &config::Audit) -> Target {
    let socket = |usual: &str| it.socket.clone().unwrap_or_else(|| PathBuf::from(usual));
    match it.to {
        AuditTarget::File => {
            Target::File { path: it.file.clone(), size: it.size as u64, keep: it.keep }
        }
        AuditTarget::Stdout => Target::Stdout,
        AuditTarget::Syslog => Target::Syslog(socket(SYSLOG)),
        AuditTarget::Journald => Target::Journald(socket(JOURNALD)),
    }
}

fn hep_settings(config: &Config) -> Option<(hep::Settings, usize)> {
    let it = config.hep.as_ref()?;
    let settings = hep::Settings {
        transport: match it.transport {
            HepTransport::Udp => hep::Transport::Udp,
            HepTransport::Tcp => hep::Transport::Tcp,
        },
        address: it.address,
        all: it.what == HepWhat::All,
        agent: it.agent,
        node: it.node.clone(),
    };
    Some((settings, it.queue))
}

fn audit_settings(config: &Config) -> Option<Settings> {
    let it = config.audit.as_ref()?;
    Some(Settings {
        to: audit_target(it),
        format: match it.format {
            AuditFormat::Json => Format::Json,
            AuditFormat::Fail2ban => Format::Fail2ban,
        },
        accepted: it.accepted,
        rate: it.rate,
    })
}

impl Reporter {
    /// These rules are in use from now on.
    pub(crate) fn configure(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
        self.exporter.configure();
    }

    pub(crate) fn on_event(&mut self, now: Time, event: &Event, engine: &Engine) {
        self.journal.on_event(now, event, engine, &self.policy);
        self.exporter.on_event(event, engine, &self.policy);
    }

    pub(crate) fn on_evidence(&mut self, now: Time, source: Network, record: Box<Record>) {
        self.journal.on_evidence(now, source, record, &self.policy);
    }

    pub(crate) fn on_ban(&self, now: Time, ban: &Ban) {
        self.journal.on_ban(now, ban, &self.policy);
    }

    pub(crate) fn on_lift(&self, now: Time, lift: &Lift) {
        self.journal.on_lift(now, lift, &self.policy);
    }

    pub(crate) fn on_alert(&self, now: Time, alert: &Alert) {
        self.journal.on_alert(now, alert, &self.policy);
        if self.alerts.is_on()
            && let Some(alert) = ::alerts::Alert::of_gate(alert, &self.policy)
        {
            self.alerts.tell(alert);
        }
    }
}
