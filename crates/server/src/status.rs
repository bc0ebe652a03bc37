//! What the edge knows of itself, shared by the control thread, which writes it, and by whoever
//! answers operators.

use crate::desk::Desk;
use crate::feeds::FeedDesk;
use crate::news::{News, Newsroom};
use crate::reloads::{HISTORY, ReloadView};
use crate::reports::Reports;
use ::alerts::{Alert, Kind};
use admission::{Ban, Record};
use policy::{Mode, Policy, Time};
use proxy::Grounds;
use serde_json::json;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use telemetry::Telemetry;
use tracing::{info, warn};

/// Policies whose names of rules and signatures are remembered.
const NAMED: usize = 64;

/// The facts.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) desk: Desk,
    pub(crate) news: Newsroom,
    pub(crate) feeds: Arc<FeedDesk>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) started: Time,
    pub(crate) file: PathBuf,
    /// All shards serve.
    pub(crate) ready: AtomicBool,
    /// A drain has begun.
    pub(crate) draining: AtomicBool,
    /// Every shard answered when last asked.
    pub(crate) alive: AtomicBool,
    rules: Mutex<Rules>,
}

/// The rules in use, and how they came to be.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Of the configuration: while everything passes the shards have another mode.
    pub(crate) policy: Arc<Policy>,
    pub(crate) panic_until: Option<Time>,
    /// How the last reloads went, the oldest first.
    pub(crate) reloads: VecDeque<ReloadView>,
    named: VecDeque<(u64, Arc<Names>)>,
    telemetry: Arc<Telemetry>,
}

/// What rules and signatures are called.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    rules: Vec<Box<str>>,
    signatures: Vec<Box<str>>,
}

impl Status {
    pub(crate) fn new(
        telemetry: Arc<Telemetry>,
        desk: Desk,
        news: Newsroom,
        feeds: Arc<FeedDesk>,
        reports: Arc<Reports>,
        file: PathBuf,
        policy: Arc<Policy>,
    ) -> Self {
        let mut rules = Rules::new(policy.clone(), telemetry.clone());
        rules.take(policy);
        Status {
            telemetry,
            started: desk.now(),
            desk,
            news,
            feeds,
            reports,
            file,
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            rules: Mutex::new(rules),
        }
    }

    /// Notes what the control thread or an operator did in the audit stream.
    pub(crate) fn note(&self, event: &'static str, fields: serde_json::Value) {
        let policy = self.rules().policy.clone();
        self.reports.note(self.desk.now(), event, fields, &policy);
    }

    /// Somebody should know what the lookout found: the audit stream, who follows the events, who is
    /// told of alerts.
    pub(crate) fn raise(&self, alert: Alert) {
        let Alert { kind, subject, what, ended, .. } = &alert;
        match (kind, ended) {
            // the shards say it
            (Kind::PbxDown, _) => {}
            (_, true) => info!("{what}"),
            (_, false) => warn!("{what}"),
        }
        let kind = kind.as_str();
        let news = json!({ "alert": kind, "subject": subject, "what": what, "ended": ended });
        self.note("alert", news.clone());
        self.news.say(|| News::Control("alert", news));
        self.reports.alerts().tell(alert);
    }

    /// The rules; not to be held over a wait.
    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    pub(crate) fn new(policy: Arc<Policy>, telemetry: Arc<Telemetry>) -> Self {
        Rules {
            policy,
            panic_until: None,
            reloads: VecDeque::new(),
            named: VecDeque::new(),
            telemetry,
        }
    }

    /// Whether the kernel drops what this ban is of: it does when a helper is there and it would
    /// do the same as we do.
    pub(crate) fn is_in_kernel(&self, ban: &Ban) -> bool {
        self.telemetry.kernel().is_up()
            && self.panic_until.is_none()
            && self.policy.admission.mode == Mode::Enforce
            && !ban.narrowed
            && crate::kernel::network(&ban.key).is_some()
    }

    /// A reload ended.
    pub(crate) fn record(&mut self, reload: ReloadView) {
        if self.reloads.len() >= HISTORY {
            self.reloads.pop_front();
        }
        self.reloads.push_back(reload);
    }

    /// Another policy is in use.
    pub(crate) fn take(&mut self, policy: Arc<Policy>) {
        let rules = policy.admission.rules.iter().map(|rule| rule.name.clone()).collect();
        let signatures = policy.admission.signatures.list().iter();
        let signatures = signatures.map(|signature| signature.id.clone()).collect();
        let names = Names { rules, signatures };
        let names = match self.named.back() {
            Some((_, last)) if **last == names => last.clone(),
            _ => Arc::new(names),
        };
        self.named.push_back((policy.version, names));
        if self.named.len() > NAMED {
            self.named.pop_front();
        }
        self.policy = policy;
    }

    /// The rule that decided, by its name.
    pub(crate) fn rule(&self, grounds: &Grounds, version: u64) -> Option<String> {
        self.name(version, grounds.rule, |names| &names.rules)
    }

    /// The signature that it matched, by its name.
    pub(crate) fn signature(&self, grounds: &Grounds, version: u64) -> Option<String> {
        self.name(version, grounds.signature, |names| &names.signatures)
    }

    /// Rule, the rule that raised it, and signature of a piece of evidence, under the policy of that
    /// version.
    pub(crate) fn of_record(&self, record: &Record, version: u64) -> [Option<String>; 3] {
        [
            self.name(version, record.rule, |names| &names.rules),
            self.name(version, record.raised_by, |names| &names.rules),
            self.name(version, record.signature, |names| &names.signatures),
        ]
    }

    fn name(&self, version: u64, index: u16, of: fn(&Names) -> &Vec<Box<str>>) -> Option<String> {
        if index == u16::MAX {
            return None;
        }
        let names = self.named.iter().find(|(number, _)| *number == version);
        let name = names.and_then(|(_, names)| of(names).get(usize::from(index)));
        Some(name.map_or_else(|| format!("number {index}"), ToString::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(version: u64, rules: usize) -> Arc<Policy> {
        let address = "127.0.0.1:5080".parse().unwrap();
        let mut policy = Policy::new(Vec::new(), address, Vec::new());
        policy.version = version;
        policy.admission.rules.truncate(rules);
        Arc::new(policy)
    }

    #[test]
    fn names_are_those_of_the_policy_that_decided() {
        let mut rules = Rules::new(policy(1, 3), Arc::new(Telemetry::new("0", 1, &[])));
        for version in 1..100 {
            rules.take(policy(version, if version < 90 { 3 } else { 1 }));
        }
        let first = policy(1, 3).admission.rules[2].name.to_string();
        let name = |version| rules.name(version, 2, |names| &names.rules);
        assert_eq!(name(89), Some(first));
        assert_eq!(name(95), Some("number 2".into()), "there is no such rule any more");
        assert_eq!(name(1), Some("number 2".into()), "too old");
        assert_eq!(rules.name(89, u16::MAX, |names| &names.rules), None);
        assert_eq!(rules.named.len(), NAMED);
    }
}
