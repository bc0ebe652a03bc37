//! Alerts: from the configuration to who is told, and the admin API's and metrics' view of it.

use crate::clock::Clock;
use ::alerts::{
    Alert, Alerts, Clerk, Kind, Pace, Protection, Settings, Shape, Target, Tested, View, Way,
};
use config::{AlertTarget, AlertTls, AlertTo, Config};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use telemetry::AlertCounts;
use tokio::sync::oneshot;

/// Alerts, and what the lookout goes by.
#[derive(Debug)]
pub(crate) struct AlertDesk {
    alerts: Arc<Alerts>,
    clock: Clock,
    bounds: Mutex<Bounds>,
    turn: tokio::sync::Mutex<()>,
}

/// From when on something is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The certificates of the listeners.
    pub(crate) certificates: Vec<PathBuf>,
    /// How long before its end one is told of.
    pub(crate) before: Duration,
    /// From how many percent on a table is told of.
    pub(crate) percent: u64,
}

impl AlertDesk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system starts none.
    pub(crate) fn open(config: &Config, clock: Clock) -> std::io::Result<Self> {
        let queue = config.alerts.clone().unwrap_or_default().queue;
        let alerts = Alerts::start(settings(config), queue, move || clock.now())?;
        let bounds = Mutex::new(bounds(config));
        Ok(AlertDesk { alerts: Arc::new(alerts), clock, bounds, turn: Default::default() })
    }

    /// Goes by another configuration.
    pub(crate) fn configure(&self, config: &Config) {
        self.alerts.configure(settings(config));
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds(config);
    }

    /// The end of whoever has something to tell.
    pub(crate) fn clerk(&self) -> Clerk {
        self.alerts.clerk()
    }

    /// Tells. Never waits.
    pub(crate) fn tell(&self, alert: Alert) {
        self.alerts.clerk().tell(alert);
    }

    /// The edge ends: tells what waits, within a bound. How many alerts remain untold.
    pub(crate) fn close(&self) -> u64 {
        self.alerts.close()
    }

    /// From when on something is told.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How each target does.
    pub(crate) fn views(&self) -> Vec<View> {
        self.alerts.views()
    }

    /// Tells each target, or the one of that name, that this is a test, and waits for its answer; for
    /// one test at a time. On a thread of its own, for which the end of the edge does not wait.
    pub(crate) async fn test(&self, name: Option<String>) -> Vec<Tested> {
        let _turn = self.turn.lock().await;
        let (alerts, now) = (self.alerts.clone(), self.clock.now());
        let (answer, answered) = oneshot::channel();
        let asked = std::thread::Builder::new().name("alert-test".into()).spawn(move || {
            // who asked may have gone
            let _ = answer.send(alerts.test(now, name.as_deref()));
        });
        match asked {
            Ok(_) => answered.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// For metrics: a look from elsewhere.
    pub(crate) fn watch(&self) -> impl Fn() -> AlertCounts + Send + Sync + 'static {
        let alerts = self.alerts.clone();
        move || {
            let counters = alerts.counters();
            let raised = Kind::ALL.iter().zip(&counters.raised);
            let target = |view: View| telemetry::AlertTarget {
                name: view.name.into(),
                up: view.up,
                messages: [view.sent, view.failed],
                waiting: view.waiting,
            };
            AlertCounts {
                raised: raised.map(|(kind, count)| (kind.as_str(), count.load(Relaxed))).collect(),
                dropped: counters.dropped.load(Relaxed),
                targets: alerts.views().into_iter().map(target).collect(),
            }
        }
    }
}

fn bounds(config: &Config) -> Bounds {
    let alerts = config.alerts.clone().unwrap_or_default();
    let files = config.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let files = files.flat_map(|tls| tls.certificates.iter().map(|(file, _)| file.clone()));
    Bounds {
        certificates: files.collect(),
        before: alerts.certificate,
        percent: u64::from(alerts.table),
    }
}

fn settings(config: &Config) -> Option<Settings> {
    let alerts = config.alerts.as_ref()?;
    Some(Settings {
        node: alerts.node.clone(),
        pace: Pace {
            gather: alerts.gather,
            repeat: alerts.repeat,
            per_hour: alerts.per_hour as usize,
        },
        targets: alerts.targets.iter().map(target).collect(),
    })
}

fn target(it: &AlertTarget) -> Target {
    let http = |shape| Way::Http {
        shape,
        url: it.url.clone().unwrap_or_default(),
        key_file: it.key_file.clone(),
        token_file: it.token_file.clone(),
    };
    let way = match it.to {
        AlertTo::Webhook => http(Shape::Json),
        AlertTo::Slack => http(Shape::Slack),
        AlertTo::Ntfy => http(Shape::Ntfy),
        AlertTo::Mail => Way::Mail {
            host: it.server.clone().unwrap_or_default(),
            port: it.mail_port(),
            protection: match it.tls {
                AlertTls::StartTls => Protection::StartTls,
                AlertTls::Tls => Protection::Tls,
                AlertTls::Off => Protection::Off,
            },
            login: it.user.clone().zip(it.password_file.clone()),
            from: it.from.clone().unwrap_or_default(),
            recipients: it.recipients.clone(),
        },
    };
    let kinds = Kind::ALL.into_iter().filter(|kind| it.kinds.iter().any(|it| it == kind.as_str()));
    Target {
        name: it.name.clone(),
        way,
        kinds: kinds.collect(),
        timeout: it.timeout,
        authorities: it.authorities.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_chosen_is_what_is_told() {
        let all = target(&AlertTarget::default());
        assert_eq!(all.kinds, Kind::ALL);
        assert_eq!(config::Alerts::KINDS, Kind::ALL.map(Kind::as_str));
    }
}
