//! What nobody reports by himself, looked at now and then: PBXs that do not serve, certificates
//! near their end, tables that fill. What is found goes the way of all alerts.

use crate::alerts::Bounds;
use crate::setup::certificate_end;
use crate::status::Status;
use ::alerts::{Alert, Kind};
use policy::Time;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use telemetry::{Fill, Telemetry};
use tokio::time::{MissedTickBehavior, interval};

/// How often PBXs are looked at, and after how many such looks tables and certificates.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const TABLES_EACH: u64 = 5;
const CERTIFICATES_EACH: u64 = 300;
/// How often what lasts is told again.
const REMIND_EVERY: Duration = Duration::from_secs(86_400);
/// By so many percent a table must have fallen until it is no matter any more.
const TABLE_FALLS: u64 = 10;
/// Tables that honest traffic needs: the others give way to what is newer, or are of strangers.
const TABLES: [&str; 6] =
    ["exchanges", "bindings", "connections", "moved_flows", "retained_bytes", "bans"];

/// What one look saw.
#[derive(Debug, Default)]
struct Seen {
    /// By name: whether it serves.
    pbxs: Vec<(String, bool)>,
    /// Each in the shard where it is fullest.
    tables: Vec<Fill>,
    /// When each ends, or why that is not known.
    certificates: Vec<(PathBuf, Result<Time, String>)>,
}

/// What is told of and not over.
#[derive(Debug, Default)]
struct Lookout {
    /// When it was told last; `None`: seen once, and not told yet.
    open: BTreeMap<(Kind, String), Option<Time>>,
}

impl Lookout {
    fn look(&mut self, now: Time, seen: &Seen, bounds: &Bounds) -> Vec<Alert> {
        let mut told = Vec::new();
        for (name, up) in &seen.pbxs {
            // a reload or a start may show it down for a moment
            let key = (Kind::PbxDown, name.clone());
            if !up && !self.open.contains_key(&key) {
                self.open.insert(key, None);
                continue;
            }
            told.extend(self.judge(now, key, !up, |bad| Alert::pbx(name, !bad)));
        }
        for &Fill { table, shard, percent } in &seen.tables {
            let key = (Kind::TableFilling, table.to_owned());
            let falls = if self.open.contains_key(&key) { TABLE_FALLS } else { 0 };
            let full = percent >= bounds.percent.saturating_sub(falls);
            told.extend(
                self.judge(now, key, full, |bad| Alert::table(table, shard, percent, !bad)),
            );
        }
        for (file, end) in &seen.certificates {
            let key = (Kind::Certificate, file.display().to_string());
            let near = end.as_ref().map_or(true, |end| *end <= now + bounds.before);
            told.extend(self.judge(now, key, near, |bad| {
                let end = end.as_ref().map(|end| bad.then_some(*end)).map_err(|error| &**error);
                Alert::certificate(file, now, end)
            }));
        }
        told
    }

    /// What there is to tell about something that is bad, or is not any more.
    fn judge(
        &mut self,
        now: Time,
        key: (Kind, String),
        bad: bool,
        alert: impl FnOnce(bool) -> Alert,
    ) -> Option<Alert> {
        match (bad, self.open.get(&key).copied()) {
            (false, None) => None,
            (false, Some(told)) => {
                self.open.remove(&key);
                told.map(|_| alert(false))
            }
            (true, Some(Some(told))) if now.since(told) < REMIND_EVERY => None,
            (true, _) => {
                self.open.insert(key, Some(now));
                Some(alert(true))
            }
        }
    }
}

/// Looks until the edge drains.
pub(crate) async fn follow(status: Arc<Status>) {
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lookout = Lookout::default();
    let mut bounds = Bounds::default();
    let mut looks = 0;
    loop {
        every.tick().await;
        if status.draining.load(Relaxed) {
            return;
        }
        if !status.ready.load(Relaxed) {
            continue;
        }
        let wanted = status.reports.alerts().bounds();
        let others = std::mem::replace(&mut bounds, wanted) != bounds;
        let mut seen = Seen { pbxs: pbxs(&status), ..Seen::default() };
        if looks % TABLES_EACH == 0 {
            seen.tables = tables(&status.telemetry);
        }
        if looks % CERTIFICATES_EACH == 0 || others {
            seen.certificates = certificates(bounds.certificates.clone()).await;
        }
        looks += 1;
        for alert in lookout.look(status.desk.now(), &seen, &bounds) {
            status.raise(alert);
        }
    }
}

fn pbxs(status: &Status) -> Vec<(String, bool)> {
    let policy = status.rules().policy.clone();
    let state = |pbx: &policy::Pbx| (pbx.name.to_string(), status.telemetry.pbx(pbx.id()).up);
    policy.pbx.iter().map(state).collect()
}

fn tables(telemetry: &Telemetry) -> Vec<Fill> {
    telemetry.fills().filter(|fill| TABLES.contains(&fill.table)).collect()
}

async fn certificates(files: Vec<PathBuf>) -> Vec<(PathBuf, Result<Time, String>)> {
    let read = tokio::task::spawn_blocking(move || {
        let end = |file: PathBuf| {
            let end = certificate_end(&file).map(|at| Time::ZERO + Duration::from_secs(at));
            (file, end)
        };
        files.into_iter().map(end).collect()
    });
    read.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn bounds() -> Bounds {
        let before = Duration::from_secs(21 * DAY);
        Bounds { certificates: Vec::new(), before, percent: 80 }
    }

    fn looks(lookout: &mut Lookout, second: u64, seen: Seen) -> Vec<(String, bool)> {
        let told = lookout.look(at(second), &seen, &bounds());
        told.into_iter().map(|alert| (alert.subject, alert.ended)).collect()
    }

    #[test]
    fn a_pbx_is_told_of_at_the_second_look_each_day_and_when_it_is_back() {
        let mut lookout = Lookout::default();
        let mut look = |second, up| {
            let pbxs = vec![("a".into(), up), ("b".into(), true)];
            looks(&mut lookout, second, Seen { pbxs, ..Seen::default() })
        };
        assert_eq!(look(0, true), []);
        assert_eq!(look(2, false), [], "for a moment");
        assert_eq!(look(4, true), []);
        assert_eq!(look(6, false), []);
        assert_eq!(look(8, false), [("a".into(), false)]);
        assert_eq!(look(10, false), []);
        assert_eq!(look(8 + DAY, false), [("a".into(), false)], "it lasts");
        assert_eq!(look(10 + DAY, true), [("a".into(), true)]);
        assert_eq!(look(12 + DAY, true), []);
    }

    #[test]
    fn a_table_is_told_of_until_it_has_fallen_for_good() {
        let mut lookout = Lookout::default();
        let mut look = |percent| {
            let tables = vec![Fill { table: "bindings", shard: 1, percent }];
            looks(&mut lookout, 0, Seen { tables, ..Seen::default() })
        };
        assert_eq!(look(79), []);
        assert_eq!(look(80), [("bindings".into(), false)]);
        for percent in [79, 81, 100, 70] {
            assert_eq!(look(percent), [], "{percent}");
        }
        assert_eq!(look(69), [("bindings".into(), true)]);
        assert_eq!(look(79), []);
    }

    #[test]
    fn a_certificate_is_told_of_before_its_end_and_when_it_cannot_be_read() {
        let mut lookout = Lookout::default();
        let mut look = |second, end: Result<Time, String>| {
            let certificates = vec![("/a.pem".into(), end)];
            looks(&mut lookout, second, Seen { certificates, ..Seen::default() })
        };
        let (end, renewed) = (Ok(at(30 * DAY)), Ok(at(90 * DAY)));
        assert_eq!(look(0, end.clone()), []);
        assert_eq!(look(9 * DAY, end.clone()), [("/a.pem".into(), false)]);
        assert_eq!(look(9 * DAY + 600, end.clone()), []);
        assert_eq!(look(10 * DAY, end), [("/a.pem".into(), false)], "each day");
        assert_eq!(look(10 * DAY + 600, renewed.clone()), [("/a.pem".into(), true)]);
        assert_eq!(look(11 * DAY, renewed), []);
        assert_eq!(look(12 * DAY, Err("no PEM".into())), [("/a.pem".into(), false)]);
    }

    #[test]
    fn the_tables_are_those_that_there_are() {
        let known: Vec<_> = Telemetry::new("0", 1, &[]).fills().map(|fill| fill.table).collect();
        assert!(TABLES.iter().all(|table| known.contains(table)), "{known:?}");
    }

    #[test]
    fn one_shard_whose_table_fills_is_seen_among_others_with_room() {
        let telemetry = Telemetry::new("0", 4, &[]);
        for (shard, entries) in telemetry.shards().iter().zip([0, 1, 85, 2]) {
            let bindings = proxy::Table { entries, capacity: 100, evictions: 0 };
            shard.on_snapshot(&proxy::Snapshot { bindings, ..Default::default() });
        }
        let seen = Seen { tables: tables(&telemetry), ..Seen::default() };
        let told = Lookout::default().look(at(0), &seen, &bounds());
        let [alert] = &told[..] else { panic!("{told:?}") };
        assert_eq!(alert.what, "Table bindings of shard 2 is 85 % full");
        let scrape = telemetry.render();
        assert!(
            scrape.contains("ringfence_table_fill_percent{table=\"bindings\"} 85\n"),
            "{scrape}"
        );
    }
}
