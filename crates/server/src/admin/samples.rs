//! The JSON that docs/api.md shows is the JSON that is answered. `BLESS=1` rewrites the page.

use super::policy::{HostView, RulesView, TargetView, TrunkView};
use super::status::{PbxView, PolicyView, ShardView, StatusView, TableView};
use super::views::{BanView, DecisionView, ExplainedBan, Explanation, SourceJson};
use crate::reloads::{Cause, prepare};
use crate::reports::ReportView;
use crate::status::Rules;
use admission::{Ban, BanId, BanKey, Origin, Proof, Record, SourceView};
use policy::{Network, Outcome, Policy, Reason, Time, Who};
use proxy::{Engine, Input};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Side};

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(1_795_380_000 + seconds)
}

fn source() -> Network {
    Network::source("198.51.100.7".parse().unwrap())
}

fn ban() -> Ban {
    let evidence = Record {
        at: at(0),
        method: 4,
        outcome: Outcome::Abandoned,
        aor: b"100@pbx.example.com"[..].into(),
        dialled: b"900972592"[..].into(),
        shape: 0x9f3b_0c1d_2e4f_5a6b,
        proof: Some(Proof::AckTag),
        rule: 0,
        raised_by: 2,
        signature: u16::MAX,
        weight: 3.0,
    };
    Ban {
        id: BanId(17),
        key: BanKey::Source(source()),
        why: "abandoned-invite".into(),
        reason: Reason::Banned,
        proof: Some(Proof::AckTag),
        since: at(8),
        until: at(608),
        narrowed: false,
        policy_version: 1,
        score: 3.0,
        origin: Origin::Local,
        evidence: vec![evidence],
    }
}

fn view() -> SourceView {
    SourceView {
        source: source(),
        who: Who::Proven,
        proof: Some(Proof::AckTag),
        score: 3.0,
        long_score: 3.0,
        open_invites: 1,
        open_others: 0,
        suspect: false,
    }
}

/// A decision as a real engine makes it.
fn decision(rules: &Rules) -> DecisionView {
    let mut engine = Engine::new(rules.policy.clone(), ShardId(0), 1, [7; 32], [1; 32]);
    let text = "INVITE sip:900972592@pbx.example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:100@pbx.example.com>;tag=1\r\nTo: <sip:900972592@pbx.example.com>\r\n\
        Call-ID: a84b4c76e66710\r\nCSeq: 1 INVITE\r\nContact: <sip:100@198.51.100.7>\r\n\
        User-Agent: friendly\r\nContent-Length: 0\r\n\r\n";
    let (local, remote) =
        ("203.0.113.1:5060".parse().unwrap(), "198.51.100.7:5060".parse().unwrap());
    let input = Input::Datagram { side: Side::Outside, local, remote, bytes: text.as_bytes() };
    engine.handle_input(at(0), input);
    let (_, decision) = engine.decisions(u64::MAX).next().unwrap();
    DecisionView::new(decision, rules)
}

fn rules() -> Rules {
    let listener = policy::Listener {
        transport: wire::Transport::Udp,
        address: "203.0.113.1:5060".parse().unwrap(),
        advertise: None,
    };
    let pbx = policy::Pbx::new("127.0.0.1:5070".parse().unwrap());
    let inside = "127.0.0.1:5080".parse().unwrap();
    let policy = Arc::new(Policy { version: 1, ..Policy::new(vec![listener], inside, vec![pbx]) });
    let mut rules =
        Rules::new(policy.clone(), Arc::new(telemetry::Telemetry::new("0", 1, &policy.pbx)));
    rules.take(policy);
    rules
}

fn reload() -> crate::reloads::ReloadView {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ringfence.yaml");
    let text = "version: 1\nlisten: [{ transport: udp, address: \"203.0.113.1:5060\" }]\n\
        inside: { pbx: [\"127.0.0.1:507O\"] }\n";
    std::fs::write(&file, text).unwrap();
    let prepared = prepare(&file, Vec::new());
    let ended = Err(prepared.objection(&file).unwrap());
    let mut record = prepared.record((at(0), Cause::Api), 1, &ended);
    let name = |text: &str| text.replace(&*file.to_string_lossy(), "/etc/ringfence/ringfence.yaml");
    record.problems[0].file = name(&record.problems[0].file);
    record.text = name(&record.text);
    record
}

fn status() -> StatusView {
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    StatusView {
        version: "0.1.0".into(),
        started: at(0).utc(),
        uptime_seconds: 3_600.5,
        ready: true,
        alive: true,
        draining: false,
        panic_open_until: None,
        policy: PolicyView {
            version: 1,
            profile: "balanced".into(),
            mode: "enforce".into(),
            file: "/etc/ringfence/ringfence.yaml".into(),
        },
        kernel_up: false,
        state_up: true,
        reports: vec![ReportView {
            kind: "audit".into(),
            target: "/var/log/ringfence/audit.log".into(),
            up: true,
            error: None,
        }],
        pbx: vec![PbxView {
            name: "127.0.0.1:5070".into(),
            group: "default".into(),
            address: "127.0.0.1:5070".into(),
            transport: "udp".into(),
            up: true,
            ..PbxView::default()
        }],
        verdicts: counts(&[("forward", 1_234), ("absorb", 56), ("reject", 7), ("drop", 890)]),
        refused: counts(&[("banned", 880), ("rule", 17)]),
        challenges: counts(&[("issued", 300), ("issued_by_edge", 2), ("authenticated", 250)]),
        bans: 1,
        feeds: Vec::new(),
        unanswered: 2,
        shards_under_attack: 0,
        shed: "none".into(),
        shards: vec![ShardView { shard: 0, wakeups: 4_000, inputs: 9_000, requests: 2_187 }],
        tables: vec![TableView {
            table: "bans".into(),
            entries: 1,
            capacity: 262_144,
            evictions: 0,
        }],
        reloads: Vec::new(),
    }
}

/// Its first rules and signature: the page shows what they look like.
fn policy_page(rules: &Rules) -> RulesView {
    let telemetry = telemetry::Telemetry::new("0", 1, &rules.policy.pbx);
    let mut policy = (*rules.policy).clone();
    policy.admission.rules[1].mode = policy::Mode::Observe;
    let mut view = super::policy::rules(&policy, &telemetry);
    view.rules.truncate(2);
    view.signatures.truncate(1);
    view
}

fn trunks() -> Vec<TrunkView> {
    let target = |address: &str, up| TargetView { address: address.into(), up };
    let targets = vec![target("203.0.113.9:5060", true), target("203.0.113.10:5060", false)];
    let hosts = vec![HostView { host: "sip.carrier.example".into(), targets }];
    vec![TrunkView { name: "carrier".into(), hosts }]
}

fn samples() -> Vec<(&'static str, Value)> {
    let rules = rules();
    let explanation = Explanation {
        subject: "198.51.100.7".into(),
        kind: "ip".into(),
        source: Some(SourceJson::new(&view())),
        bans: vec![ExplainedBan::new(&ban(), &rules)],
        decisions: vec![decision(&rules)],
        text: "…".into(),
        ..Explanation::default()
    };
    vec![
        ("ban", json(&BanView::new(&ban(), &rules))),
        ("source", json(&SourceJson::new(&view()))),
        ("explanation", json(&explanation)),
        ("status", json(&status())),
        ("policy", json(&policy_page(&rules))),
        ("trunks", json(&trunks())),
        ("reload", json(&reload())),
    ]
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// The page with these samples in the places that are named for them.
fn with_samples(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, sample) in samples() {
        let begin = format!("```json {name}\n");
        let start =
            page.find(&begin).unwrap_or_else(|| panic!("no place for {name}")) + begin.len();
        let end = start + page[start..].find("```").unwrap();
        page.replace_range(start..end, &format!("{sample:#}\n"));
    }
    page
}

#[test]
fn the_page_shows_what_is_answered() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let right = with_samples(&page);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &right).unwrap();
    } else {
        assert_eq!(page, right, "BLESS=1 rewrites the samples of docs/api.md");
    }
}

/// The outer contract: these fields, no other.
#[test]
fn a_ban_has_the_fields_of_the_contract() {
    let (_, ban) = samples().swap_remove(0);
    let mut fields: Vec<_> = ban.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    let mut contract =
        ["id", "key", "kind", "reason", "proof", "since", "until", "evidence", "origin", "kernel"];
    contract.sort_unstable();
    assert_eq!(fields, contract);
}
