//! One metric of the catalogue while its values are gathered, as the `prometheus` crate writes it.

use crate::catalogue::{Definition, Kind};
use crate::histogram::Merged;
use crate::shard::Cell;
use prometheus::proto::{self, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A family being filled.
pub(crate) struct Family<'d> {
    definition: &'d Definition,
    metrics: Vec<Metric>,
}

impl<'d> Family<'d> {
    pub(crate) fn new(definition: &'d Definition) -> Self {
        Family { definition, metrics: Vec::new() }
    }

    /// A cell for each value of the only label.
    pub(crate) fn row(&mut self, values: &[&str], cells: &[Cell]) {
        values.iter().zip(cells).for_each(|(value, cell)| self.push(&[value], cell.value()));
    }

    pub(crate) fn push(&mut self, values: &[&str], value: u64) {
        let label = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::default();
        metric.set_label(self.definition.labels.iter().zip(values).map(label).collect());
        match self.definition.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value as f64);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value as f64);
                metric.set_gauge(gauge);
            }
            // of many numbers: see `push_lengths`
            Kind::Histogram => return,
        }
        self.metrics.push(metric);
    }

    pub(crate) fn push_lengths(&mut self, merged: &Merged) {
        let bucket = |(bound, count): &(f64, u64)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(merged.buckets.iter().map(bucket).collect());
        histogram.set_sample_count(merged.count);
        histogram.set_sample_sum(merged.sum);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// Numbers with a name each.
    pub(crate) fn atomics(&mut self, names: &[&str], values: &[AtomicU64]) {
        for (name, value) in names.iter().zip(values) {
            self.push(&[name], value.load(Relaxed));
        }
    }

    /// As [`Family::atomics`], of plain numbers.
    pub(crate) fn values(&mut self, names: &[&str], values: &[u64]) {
        names.iter().zip(values).for_each(|(name, value)| self.push(&[name], *value));
    }

    /// `None` when nothing was pushed: a family needs a metric.
    pub(crate) fn finish(self) -> Option<MetricFamily> {
        if self.metrics.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.definition.name.to_owned());
        family.set_help(self.definition.help.to_owned());
        family.set_field_type(match self.definition.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(self.metrics);
        Some(family)
    }
}
