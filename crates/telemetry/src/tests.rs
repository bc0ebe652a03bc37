//! The catalogue against its record, and counting against what a scrape says.

use crate::shard::REASONS;
use crate::{CATALOGUE, FeedNumbers, HandOver, Reload, Telemetry};
use admission::{Ban, BanId, BanKey, Origin};
use policy::{
    Ceiling, Condition, Mode, Network, Policy, Reason, SignatureSpec, Signatures, Test, TextField,
    Time,
};
use proxy::{Event, Snapshot, Table, TrunkState, Verdict};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::{Flow, Side, Transport};

fn event(side: Side, transport: Transport, method: u8, status: u16, verdict: Verdict) -> Event {
    let address = "192.0.2.1:5060".parse().unwrap();
    let flow = Flow { transport, local: address, remote: address, connection: None };
    Event::new(side, flow, method, status, verdict, Reason::Clean)
}

fn policy() -> Policy {
    let address = "127.0.0.1:5080".parse().unwrap();
    let pbx = policy::Pbx::new("127.0.0.1:5070".parse().unwrap());
    let mut policy = Policy::new(Vec::new(), address, vec![pbx]);
    let sipcli = SignatureSpec {
        id: "sipcli".into(),
        ceiling: Ceiling::Note,
        mode: Mode::Enforce,
        what: "".into(),
        source: "".into(),
        false_positives: "".into(),
        when: Condition::Text(TextField::UserAgent, Test::Starts(vec!["sipcli".into()])),
    };
    policy.admission.signatures = Signatures::compile(vec![sipcli]).unwrap();
    policy
}

pub(crate) fn ban(id: u64) -> Ban {
    let source = Network::host("192.0.2.1".parse().unwrap());
    Ban {
        id: BanId(id),
        key: BanKey::Source(source),
        why: "abandoned".into(),
        reason: Reason::Rule,
        proof: None,
        since: Time::ZERO,
        until: Time::FOREVER,
        narrowed: false,
        policy_version: 1,
        score: 3.0,
        origin: Origin::Local,
        evidence: Vec::new(),
    }
}

/// A process in which everything has happened.
fn busy() -> Telemetry {
    let telemetry = Telemetry::new("1.2.3", 2, &policy().pbx);
    telemetry.watch_feeds(Box::new(|| {
        vec![FeedNumbers {
            name: "list".into(),
            entries: 7,
            age_seconds: Some(60),
            refused: vec![("wide", 2)],
            fetches: [1, 2, 3],
        }]
    }));
    telemetry.watch_reports(Box::new(|| crate::ReportCounts {
        alerts: crate::AlertCounts {
            raised: vec![("pbx_down", 2)],
            dropped: 1,
            targets: vec![crate::AlertTarget {
                name: "ops".into(),
                up: true,
                messages: [3, 4],
                waiting: 5,
            }],
        },
        ..Default::default()
    }));
    telemetry.watch_pushes(Box::new(|| [4, 5, 6]));
    let policy = policy();
    for (index, shard) in telemetry.shards().iter().enumerate() {
        let invite = 4;
        shard.on_event(&event(Side::Outside, Transport::Tls, invite, 0, Verdict::Forward));
        shard.on_event(&event(Side::Outside, Transport::Udp, 15, 0, Verdict::Drop));
        shard.on_event(&event(Side::Inside, Transport::Udp, 7, 0, Verdict::Reject(430)));
        shard.on_event(&event(Side::Inside, Transport::Udp, invite, 486, Verdict::Forward));
        let table = Table { entries: 3, capacity: 10, evictions: 1 };
        shard.on_snapshot(&Snapshot {
            exchanges: table,
            unanswered: 2,
            unproven_bytes: [900, 400],
            pbx_up: true,
            timers: index + 1,
            ..Snapshot::default()
        });
        let trunk = TrunkState { name: "carrier", calls: 2, refused: [1, 0], targets: [1, index] };
        shard.on_trunks([trunk].into_iter());
        shard.on_policy(&policy);
        let id = policy.pbx[0].id();
        let pbx = proxy::PbxState { id, up: true, requests: 3, failed: 1, ..Default::default() };
        shard.on_pbxs(&policy, std::iter::once(pbx));
        shard.on_counts(&admission::Counts {
            issued: 5,
            rules: vec![2; policy.admission.rules.len()],
            signatures: vec![(3, 1)],
            feeds: vec![admission::FeedCount { name: "list".into(), hits: [1, 2, 3, 4] }],
            ..admission::Counts::default()
        });
        shard.on_ban(&ban(1));
        shard.on_ban(&ban(1));
        shard.on_ban(&ban(2));
        let (id, key) = (admission::BanId(2), ban(2).key);
        shard.on_lift(&admission::Lift { id, key, expired: true, replaced: false });
        shard.on_wakeup(5);
        shard.on_flush(|| Duration::from_micros(40));
        shard.on_flush(|| unreachable!("all that was forwarded is timed"));
        let mut answer = event(Side::Inside, Transport::Udp, 13, 200, Verdict::Absorb);
        answer.waited = Some(Duration::from_millis(3));
        shard.on_event(&answer);
        shard.on_hand_over(HandOver::Sent);
        shard.on_learned(HandOver::Dropped);
    }
    telemetry.watch_transport(Box::new(|visit| visit("udp_received", 7)));
    telemetry.watch_transport(Box::new(|visit| visit("udp_received", 1)));
    telemetry.on_reload(Reload::Applied, &policy.pbx);
    telemetry.names().on_lookup("answered");
    telemetry.names().on_lookup("sip.carrier.example");
    let table = Table { entries: 3, capacity: 256, evictions: 0 };
    telemetry.names().on_names([0, 2, 1, 0, 0], 5, table, Table { entries: 9, ..table });
    telemetry.on_drain();
    telemetry.on_admin(crate::AdminAnswer::Unauthorized);
    telemetry
}

#[test]
fn a_summary_tells_what_a_scrape_does() {
    let summary = busy().summary();
    assert_eq!(summary.verdicts, [("forward", 2), ("absorb", 0), ("reject", 0), ("drop", 2)]);
    assert_eq!(summary.refused, [("clean", 2)]);
    assert_eq!(summary.challenges[0], ("issued", 10));
    assert_eq!(summary.tables[0], ("exchanges", 6, 20, 2));
    assert_eq!((summary.bans, summary.unanswered, summary.under_attack), (2, 4, 0));
    let shard = crate::ShardSummary { wakeups: 1, inputs: 5, requests: 2 };
    assert_eq!(summary.shards, [shard; 2]);
}

#[test]
fn shards_are_added_up() {
    let text = busy().render();
    for line in [
        "ringfence_bans{kind=\"address\",reason=\"abandoned\",narrowed=\"no\"} 2",
        "ringfence_bans_total{kind=\"address\",reason=\"abandoned\",narrowed=\"no\"} 6",
        "ringfence_challenges_total{outcome=\"issued\"} 10",
        "ringfence_challenges_total{outcome=\"abandoned\"} 0",
        "ringfence_proofs_total{kind=\"ack_tag\"} 0",
        "ringfence_rule_hits_total{rule=\"bad-user\"} 4",
        "ringfence_signature_hits_total{signature=\"sipcli\",authenticated=\"no\"} 6",
        "ringfence_signature_hits_total{signature=\"sipcli\",authenticated=\"yes\"} 2",
        "ringfence_unproven_bytes_total{direction=\"out\"} 800",
        "ringfence_under_attack 0",
        "ringfence_build_info{version=\"1.2.3\"} 1",
        "ringfence_draining 1",
        "ringfence_driver_inputs_total 10",
        "ringfence_driver_wakeups_total 2",
        "ringfence_forward_seconds_bucket{le=\"0.000032\"} 0",
        "ringfence_forward_seconds_bucket{le=\"0.000048\"} 4",
        "ringfence_forward_seconds_bucket{le=\"+Inf\"} 4",
        "ringfence_forward_seconds_sum 0.00016",
        "ringfence_forward_seconds_count 4",
        "ringfence_pbx_response_seconds_count 2",
        "ringfence_hand_overs_total{result=\"sent\"} 2",
        "ringfence_hand_overs_total{result=\"dropped\"} 0",
        "ringfence_inside_requests_total{method=\"OPTIONS\",verdict=\"reject\",reason=\"clean\"} 2",
        "ringfence_learned_total{result=\"dropped\"} 2",
        "ringfence_crowdsec_bans_total{result=\"lost\"} 5",
        "ringfence_feed_age_seconds{feed=\"list\"} 60",
        "ringfence_feed_entries{feed=\"list\"} 7",
        "ringfence_feed_fetches_total{feed=\"list\",result=\"failed\"} 3",
        "ringfence_feed_refused{feed=\"list\",reason=\"wide\"} 2",
        "ringfence_feed_hits_total{feed=\"list\",result=\"spared\"} 8",
        "ringfence_name_changes_total 5",
        "ringfence_name_lookups_total{result=\"answered\"} 1",
        "ringfence_name_lookups_total{result=\"timeout\"} 0",
        "ringfence_names{state=\"stale\"} 1",
        "ringfence_table_entries{table=\"name_addresses\"} 9",
        "ringfence_pbx_up{pbx=\"127.0.0.1:5070\"} 1",
        "ringfence_pbx_requests_total{pbx=\"127.0.0.1:5070\"} 6",
        "ringfence_pbx_failed_total{pbx=\"127.0.0.1:5070\"} 2",
        "ringfence_reloads_total{result=\"applied\"} 1",
        "ringfence_requests_total{transport=\"tls\",method=\"INVITE\",verdict=\"forward\",reason=\"clean\"} 2",
        "ringfence_requests_total{transport=\"udp\",method=\"none\",verdict=\"drop\",reason=\"clean\"} 2",
        "ringfence_responses_total{side=\"inside\",class=\"4xx\",verdict=\"forward\",reason=\"clean\"} 2",
        "ringfence_shards 2",
        "ringfence_table_capacity{table=\"exchanges\"} 20",
        "ringfence_table_entries{table=\"exchanges\"} 6",
        "ringfence_table_evictions_total{table=\"exchanges\"} 2",
        "ringfence_timers 3",
        "ringfence_transactions{side=\"inside\"} 6",
        "ringfence_transport_total{event=\"udp_received\"} 8",
        "ringfence_trunk_calls{trunk=\"carrier\"} 4",
        "ringfence_trunk_refused_total{trunk=\"carrier\",limit=\"calls\"} 2",
        "ringfence_trunk_targets{trunk=\"carrier\",state=\"quarantined\"} 1",
        "ringfence_unanswered 4",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
}

#[test]
fn one_shard_without_its_pbx_is_told() {
    let telemetry = busy();
    let (shard, policy) = (&telemetry.shards()[1], policy());
    shard.on_snapshot(&Snapshot::default());
    let down = proxy::PbxState { id: policy.pbx[0].id(), ..Default::default() };
    shard.on_pbxs(&policy, std::iter::once(down));
    assert!(!telemetry.is_pbx_up());
    let text = telemetry.render();
    assert!(text.contains("ringfence_pbx_up{pbx=\"127.0.0.1:5070\"} 0\n"), "{text}");
}

#[test]
fn a_pbx_alone_that_falls_and_is_back_is_named_in_the_log() {
    let (telemetry, policy) = (busy(), policy());
    let shard = &telemetry.shards()[0];
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Kept(kept.clone())).finish();
    tracing::subscriber::with_default(subscriber, || {
        for up in [true, false, false, true] {
            let id = policy.pbx[0].id();
            shard.on_pbxs(
                &policy,
                std::iter::once(proxy::PbxState { id, up, ..Default::default() }),
            );
        }
    });
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    let [fell, rose] = &lines[..] else { panic!("{log}") };
    assert!(fell.contains("WARN") && fell.contains("A PBX does not serve"), "{fell}");
    assert!(rose.contains("INFO") && rose.contains("A PBX serves again"), "{rose}");
    assert!(lines.iter().all(|line| line.ends_with("address=127.0.0.1:5070")), "{log}");
}

/// What is logged, kept.
struct Kept(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Names, types and labels are what dashboards and alerts are made of. `BLESS=1` rewrites.
#[test]
fn the_catalogue_is_as_recorded_and_a_scrape_shows_all_of_it() {
    let mut said = String::new();
    for metric in CATALOGUE {
        let labels = metric.labels.join(",");
        let _ = writeln!(said, "{} {:?} {{{labels}}} {}", metric.name, metric.kind, metric.help);
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/catalogue.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &said).unwrap();
    }
    let recorded = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(said, recorded, "BLESS=1 rewrites what is recorded");

    let text = busy().render();
    for metric in CATALOGUE {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        assert!(text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
    }
    assert_eq!(text.matches("# TYPE ").count(), CATALOGUE.len());
}

#[test]
fn names_are_sorted_and_end_as_their_kind_wants() {
    for metric in CATALOGUE {
        assert_eq!(metric.name.ends_with("_total"), metric.kind == crate::Kind::Counter);
        assert!(metric.name.starts_with("ringfence_"));
    }
    assert!(CATALOGUE.windows(2).all(|pair| pair[0].name < pair[1].name));
}

/// The arrays are indexed by discriminants: they must be the places in the lists of words.
#[test]
fn enums_and_lists_of_words_agree() {
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index, "{reason:?}");
    }
    assert_eq!(Reason::ALL.len(), REASONS);
    assert_eq!(Event::METHODS.last(), Some(&"none"));
}

#[test]
fn every_decision_has_a_cell() {
    let telemetry = Telemetry::new("0", 1, &policy().pbx);
    let shard = &telemetry.shards()[0];
    let mut events = 0;
    for side in [Side::Outside, Side::Inside] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            for method in 0..=u8::MAX {
                for status in [0, 100, 200, 302, 404, 503, 603, 699, 999] {
                    let mut event = event(side, transport, method, status, Verdict::Drop);
                    event.reason = Reason::KeepAlive;
                    shard.on_event(&event);
                    events += 1;
                }
            }
        }
    }
    let counted: u64 = [&shard.requests, &shard.inside_requests, &shard.responses]
        .iter()
        .flat_map(|cells| cells.iter())
        .map(crate::shard::Cell::value)
        .sum();
    assert_eq!(counted, events);
    for method in Event::METHODS {
        assert!(telemetry.render().contains(&format!("method=\"{method}\"")), "{method}");
    }
}
