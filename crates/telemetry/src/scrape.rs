//! From the process' numbers to the text that Prometheus reads.

use crate::bans::{Labels, Numbers};
use crate::catalogue::{self, CATALOGUE, Definition};
use crate::family::Family;
use crate::feeds::{FETCHES, PUSHES};
use crate::histogram::Histogram;
use crate::kernel::{KERNEL_SETS, UPDATES};
use crate::names;
use crate::process::{AdminAnswer, Telemetry};
use crate::reports::{LINES, MESSAGES};
use crate::shard::{
    CLASSES, Cell, LIMITS, REASONS, SIDES, ShardMetrics, TABLES, TARGETS, TRANSPORTS, VERDICTS,
};
use crate::state::WRITES;
use admission::{FeedHit, Proof};
use policy::{Outcome, Reason};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use proxy::{Event, PbxState};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

impl Telemetry {
    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let families: Vec<MetricFamily> =
            CATALOGUE.iter().filter_map(|definition| self.family(definition)).collect();
        let mut text = Vec::with_capacity(16 << 10);
        // Writing into memory fails only for a family without metrics, and those are left out.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn family(&self, definition: &Definition) -> Option<MetricFamily> {
        let mut family = Family::new(definition);
        let sum = |cell: fn(&ShardMetrics) -> &Cell| self.sum(cell);
        match *definition {
            catalogue::ADMIN_EVENTS_LOST => {
                family.push(&[], self.admin_events_lost.load(Relaxed));
            }
            catalogue::ADMIN_REQUESTS => {
                for (label, count) in AdminAnswer::LABELS.iter().zip(&self.admin_requests) {
                    family.push(&[label], count.load(Relaxed));
                }
            }
            catalogue::PANIC_OPEN => family.push(&[], self.panic_open.load(Relaxed).into()),
            catalogue::BUILD_INFO => family.push(&[self.version], 1),
            catalogue::DRAINING => family.push(&[], self.draining.load(Relaxed).into()),
            catalogue::SHARDS => family.push(&[], self.shards.len() as u64),
            catalogue::DRIVER_INPUTS => family.push(&[], sum(|shard| &shard.inputs)),
            catalogue::DRIVER_WAKEUPS => family.push(&[], sum(|shard| &shard.wakeups)),
            catalogue::TIMERS => family.push(&[], sum(|shard| &shard.timers)),
            catalogue::UNANSWERED => family.push(&[], sum(|shard| &shard.unanswered)),
            catalogue::FORWARD_SECONDS => self.lengths(&mut family, |it| &it.forward_seconds),
            catalogue::PBX_RESPONSE_SECONDS => {
                self.lengths(&mut family, |it| &it.pbx_response_seconds);
            }
            catalogue::HAND_OVERS => {
                family.push(&["sent"], sum(|shard| &shard.hand_overs[0]));
                family.push(&["dropped"], sum(|shard| &shard.hand_overs[1]));
            }
            catalogue::LEARNED => {
                family.push(&["sent"], sum(|shard| &shard.learned[0]));
                family.push(&["dropped"], sum(|shard| &shard.learned[1]));
            }
            catalogue::RELOADS => {
                family.push(&["applied"], self.reloads[0].load(Relaxed));
                family.push(&["refused"], self.reloads[1].load(Relaxed));
            }
            catalogue::KERNEL_UP => family.push(&[], self.kernel.is_up().into()),
            catalogue::KERNEL_REPAIRS => family.push(&[], self.kernel.repairs.load(Relaxed)),
            catalogue::KERNEL_SET_ENTRIES => {
                family.atomics(&KERNEL_SETS, &self.kernel.entries);
            }
            catalogue::KERNEL_DROPPED => family.atomics(&KERNEL_SETS, &self.kernel.dropped),
            catalogue::KERNEL_UPDATES => family.atomics(&UPDATES, &self.kernel.updates),
            catalogue::NAMES => family.row(&names::STATES, &self.names.states),
            catalogue::NAME_LOOKUPS => family.row(&names::LOOKUPS, &self.names.lookups),
            catalogue::NAME_CHANGES => family.push(&[], self.names.changes.value()),
            catalogue::ALERTS
            | catalogue::ALERTS_DROPPED
            | catalogue::ALERT_MESSAGES
            | catalogue::ALERT_UP
            | catalogue::ALERT_WAITING => {
                self.reports().alerts.each(definition, |labels, value| family.push(labels, value));
            }
            catalogue::AUDIT_UP => family.push(&[], self.reports().audit.up.into()),
            catalogue::AUDIT_LINES => family.values(&LINES, &self.reports().audit.lines),
            catalogue::HEP_UP => family.push(&[], self.reports().hep.up.into()),
            catalogue::HEP_MESSAGES => family.values(&MESSAGES, &self.reports().hep.messages),
            catalogue::CROWDSEC_BANS => {
                let counts = self.pushes.get().map(|watch| watch()).unwrap_or_default();
                PUSHES.iter().zip(counts).for_each(|(result, n)| family.push(&[result], n));
            }
            catalogue::FEED_AGE => {
                for feed in self.feeds() {
                    let age = feed.age_seconds;
                    age.into_iter().for_each(|age| family.push(&[&feed.name], age));
                }
            }
            catalogue::FEED_ENTRIES => {
                self.feeds().iter().for_each(|feed| family.push(&[&feed.name], feed.entries));
            }
            catalogue::FEED_FETCHES => {
                for feed in self.feeds() {
                    let fetches = FETCHES.iter().zip(feed.fetches);
                    fetches.for_each(|(result, count)| family.push(&[&feed.name, result], count));
                }
            }
            catalogue::FEED_HITS => {
                for (name, hits) in self.feed_hits() {
                    let hits = FeedHit::ALL.iter().zip(hits);
                    hits.for_each(|(hit, count)| family.push(&[&name, hit.as_str()], count));
                }
            }
            catalogue::FEED_REFUSED => {
                for feed in self.feeds() {
                    let refused = feed.refused.iter();
                    refused.for_each(|(why, count)| family.push(&[&feed.name, why], *count));
                }
            }
            catalogue::STATE_UP => family.push(&[], self.state().up.into()),
            catalogue::STATE_ROWS => family.push(&[], self.state().rows),
            catalogue::STATE_WAITING => family.push(&[], self.state().waiting),
            catalogue::STATE_WRITES => {
                let writes = self.state().writes;
                WRITES.iter().zip(writes).for_each(|(name, n)| family.push(&[name], n));
            }
            catalogue::PBX_DRAINING => self.pbxs(&mut family, |pbx| pbx.draining.into()),
            catalogue::PBX_FAILED => self.pbxs(&mut family, |pbx| pbx.failed),
            catalogue::PBX_REQUESTS => self.pbxs(&mut family, |pbx| pbx.requests),
            catalogue::PBX_UP => self.pbxs(&mut family, |pbx| pbx.up.into()),
            catalogue::TRANSACTIONS => {
                // Each exchange is a server transaction on one side and a client one on the other.
                let exchanges = sum(|shard| &shard.tables[0].entries);
                SIDES.iter().for_each(|side| family.push(&[side], exchanges));
            }
            catalogue::TABLE_ENTRIES => self.tables(&mut family, |table| &table.entries),
            catalogue::TABLE_CAPACITY => self.tables(&mut family, |table| &table.capacity),
            catalogue::TABLE_EVICTIONS => self.tables(&mut family, |table| &table.evictions),
            catalogue::TABLE_FILL => {
                self.fills().for_each(|it| family.push(&[it.table], it.percent));
                let of_names = names::TABLES.iter().zip(&self.names.tables);
                of_names.for_each(|(name, cells)| family.push(&[name], cells.percent()));
            }
            catalogue::REQUESTS => {
                let rows = pairs(&TRANSPORTS, &Event::METHODS);
                self.decisions(&mut family, &rows, |shard| &shard.requests);
            }
            catalogue::INSIDE_REQUESTS => {
                let rows: Vec<_> = Event::METHODS.iter().map(|method| vec![*method]).collect();
                self.decisions(&mut family, &rows, |shard| &shard.inside_requests);
            }
            catalogue::RESPONSES => {
                let rows = pairs(&SIDES, &CLASSES);
                self.decisions(&mut family, &rows, |shard| &shard.responses);
            }
            catalogue::TRANSPORT => self.transport(&mut family),
            catalogue::TRUNK_CALLS => {
                for (name, trunk) in self.trunks() {
                    family.push(&[&name], trunk.calls);
                }
            }
            catalogue::TRUNK_REFUSED => {
                for (name, trunk) in self.trunks() {
                    for (limit, count) in LIMITS.iter().zip(trunk.refused) {
                        family.push(&[&name, limit], count);
                    }
                }
            }
            catalogue::TRUNK_TARGETS => {
                for (name, trunk) in self.trunks() {
                    for (state, count) in TARGETS.iter().zip(trunk.targets) {
                        family.push(&[&name, state], count);
                    }
                }
            }
            catalogue::CHALLENGES => {
                let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str());
                let names = ["issued", "issued_by_edge"].into_iter().chain(outcomes);
                self.cells(&mut family, names, |shard| &shard.challenges);
            }
            catalogue::PROOFS => {
                let names = Proof::ALL.iter().map(|proof| proof.as_str());
                self.cells(&mut family, names, |shard| &shard.proofs);
            }
            catalogue::UNPROVEN_BYTES => {
                self.cells(&mut family, ["in", "out"].into_iter(), |shard| &shard.unproven_bytes);
            }
            catalogue::SHED_STAGE => family.push(&[], self.shed() as u64),
            catalogue::UNDER_ATTACK => {
                let shards = self.shards.iter();
                let attacked = shards.filter(|shard| shard.under_attack.load(Relaxed)).count();
                family.push(&[], attacked as u64);
            }
            catalogue::BANS => self.bans(&mut family, |bans| bans.standing),
            catalogue::BANS_TOTAL => self.bans(&mut family, |bans| bans.began),
            catalogue::RULE_HITS => {
                for (name, hits) in self.rule_hits() {
                    family.push(&[&name], hits);
                }
            }
            catalogue::SIGNATURE_HITS => {
                for (name, [others, authenticated]) in self.signature_hits() {
                    family.push(&[&name, "no"], others);
                    family.push(&[&name, "yes"], authenticated);
                }
            }
            _ => {}
        }
        family.finish()
    }

    fn sum(&self, cell: fn(&ShardMetrics) -> &Cell) -> u64 {
        self.shards.iter().map(|shard| cell(shard).value()).sum()
    }

    /// A histogram, all shards together.
    fn lengths(&self, family: &mut Family<'_>, of: fn(&ShardMetrics) -> &Histogram) {
        family.push_lengths(&Histogram::merge(self.shards.iter().map(|shard| of(shard))));
    }

    /// Cells with a name each.
    fn cells<'n>(
        &self,
        family: &mut Family<'_>,
        names: impl Iterator<Item = &'n str>,
        cells: fn(&ShardMetrics) -> &[Cell],
    ) {
        for (index, name) in names.enumerate() {
            let cell = |shard: &Arc<ShardMetrics>| cells(shard).get(index).map(Cell::value);
            family.push(&[name], self.shards.iter().filter_map(cell).sum());
        }
    }

    /// A number of all shards' bans, by their labels.
    fn bans(&self, family: &mut Family<'_>, value: fn(Numbers) -> u64) {
        let mut all = BTreeMap::<Labels, u64>::new();
        for shard in &self.shards {
            let bans = shard.bans.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, numbers) in bans.rows() {
                *all.entry(labels.clone()).or_default() += value(*numbers);
            }
        }
        for (Labels { kind, reason, narrowed }, value) in all {
            family.push(&[kind, &reason, if narrowed { "yes" } else { "no" }], value);
        }
    }

    fn pbxs(&self, family: &mut Family<'_>, value: fn(&PbxState) -> u64) {
        let names = self.pbxs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, id) in names {
            family.push(&[&name], value(&self.pbx(id)));
        }
    }

    fn tables(&self, family: &mut Family<'_>, cell: fn(&crate::shard::TableCells) -> &Cell) {
        for (index, name) in TABLES.iter().enumerate() {
            let value = self.shards.iter().map(|shard| cell(&shard.tables[index]).value()).sum();
            family.push(&[name], value);
        }
        for (name, cells) in names::TABLES.iter().zip(&self.names.tables) {
            family.push(&[name], cell(cells).value());
        }
    }

    /// A `[row][verdict][reason]` array; cells that are 0 are left out.
    fn decisions(
        &self,
        family: &mut Family<'_>,
        rows: &[Vec<&str>],
        cells: fn(&ShardMetrics) -> &[Cell],
    ) {
        for (row, labels) in rows.iter().enumerate() {
            for (verdict_index, verdict) in VERDICTS.iter().enumerate() {
                for (reason_index, reason) in Reason::ALL.iter().enumerate() {
                    let at = (row * VERDICTS.len() + verdict_index) * REASONS + reason_index;
                    let cell = |shard: &Arc<ShardMetrics>| cells(shard).get(at).map(Cell::value);
                    let value: u64 = self.shards.iter().filter_map(cell).sum();
                    if value > 0 {
                        let mut labels = labels.clone();
                        labels.extend([verdict, reason.as_str()]);
                        family.push(&labels, value);
                    }
                }
            }
        }
    }

    fn transport(&self, family: &mut Family<'_>) {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        let transports = self.transports.lock().unwrap_or_else(PoisonError::into_inner);
        for counters in transports.iter() {
            counters(&mut |name, value| *sums.entry(name).or_default() += value);
        }
        for (name, value) in sums {
            family.push(&[name], value);
        }
    }
}

/// All combinations of two label values.
fn pairs(first: &[&'static str], second: &[&'static str]) -> Vec<Vec<&'static str>> {
    first.iter().flat_map(|a| second.iter().map(move |b| vec![*a, *b])).collect()
}
