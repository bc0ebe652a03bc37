//! The whole way, to servers of the tests' own.

use super::sinks::{Sink, Speaks, http, smtp};
use super::{alert, pace};
use crate::{Alert, Alerts, Kind, Pace, Protection, Settings, Shape, Target, View, Way};
use policy::Time;
use serde_json::Value;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Where nobody listens: the kernel gives such a port to nobody by itself.
const NOBODY: &str = "127.0.0.1:9";

/// Time, as far as the test lets it go.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn now(&self) -> Time {
        Time::ZERO + Duration::from_secs(1_000_000_000 + self.0.load(Relaxed))
    }

    fn go_on(&self, seconds: u64) {
        self.0.fetch_add(seconds, Relaxed);
    }
}

fn start(targets: Vec<Target>, queue: usize) -> (Alerts, Hand) {
    let hand = Hand::default();
    let clock = hand.clone();
    let settings = settings(targets);
    (Alerts::start(Some(settings), queue, move || clock.now()).unwrap(), hand)
}

fn settings(targets: Vec<Target>) -> Settings {
    Settings { node: "edge-1.example.com".into(), pace: pace(), targets }
}

fn webhook(name: &str, shape: Shape, url: String) -> Target {
    target(name, Way::Http { shape, url, key_file: None, token_file: None })
}

fn target(name: &str, way: Way) -> Target {
    let timeout = Duration::from_secs(10);
    Target { name: name.into(), way, kinds: Kind::ALL.to_vec(), timeout, authorities: None }
}

fn mailbox<T>(sink: &Sink<T>, protection: Protection, login: Option<(String, PathBuf)>) -> Target {
    let way = Way::Mail {
        host: sink.address.ip().to_string(),
        port: sink.address.port(),
        protection,
        login,
        from: "Ringfence <edge@example.com>".into(),
        recipients: vec!["ops@example.com".into(), "night@example.com".into()],
    };
    target("mail", way)
}

fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Waits until a target is as it should be.
fn wait(alerts: &Alerts, name: &str, wanted: impl Fn(&View) -> bool) -> View {
    for _ in 0..2_000 {
        let view = alerts.views().into_iter().find(|view| view.name == name);
        if let Some(view) = view.filter(&wanted) {
            return view;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?}", alerts.views());
}

#[test]
fn each_shape_of_webhook_is_told_as_it_wants() {
    let directory = tempfile::tempdir().unwrap();
    let (json, slack, ntfy) =
        (http(&["200 OK"], false), http(&["200 OK"], true), http(&["200 OK"], false));
    let key_file = Some(file(&directory, "key", "T0/B0/secret\n"));
    let token_file = Some(file(&directory, "token", "tk_0815\n"));
    let authorities = Some(file(&directory, "ca.pem", &slack.authority));
    let url = format!("https://{}/services/{{key}}", slack.address);
    let hook = Way::Http { shape: Shape::Slack, url: url.clone(), key_file, token_file: None };
    let url = format!("http://{}/edge", ntfy.address);
    let topic = Way::Http { shape: Shape::Ntfy, url, key_file: None, token_file };
    let targets = vec![
        webhook("json", Shape::Json, format!("http://{}/hook", json.address)),
        Target { authorities, ..target("slack", hook) },
        target("ntfy", topic),
    ];
    let (alerts, hand) = start(targets, 64);
    wait(&alerts, "ntfy", |_| true);
    alerts.clerk().tell(Alert::pbx("127.0.0.1:5070", false));
    alerts.clerk().tell(alert(Kind::Campaign, "a"));
    wait(&alerts, "ntfy", |view| view.waiting == 2);
    hand.go_on(10);

    let posted = json.next();
    assert_eq!(posted.line, "POST /hook HTTP/1.1");
    assert_eq!(posted.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_str(&posted.body).unwrap();
    assert_eq!((&body["node"], &body["severity"]), (&"edge-1.example.com".into(), &"page".into()));
    assert_eq!(body["alerts"][0]["subject"], "127.0.0.1:5070");
    assert_eq!(body["alerts"][1]["alert"], "campaign");

    let posted = slack.next();
    assert_eq!(posted.line, "POST /services/T0/B0/secret HTTP/1.1");
    let body: Value = serde_json::from_str(&posted.body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("edge-1.example.com\n*PBX 127.0.0.1:5070 does not serve*"), "{text}");

    let posted = ntfy.next();
    assert_eq!(posted.header("authorization"), Some("Bearer tk_0815"));
    assert_eq!(posted.header("priority"), Some("high"));
    let title = "edge-1.example.com: PBX 127.0.0.1:5070 does not serve, and 1 more";
    assert_eq!(posted.header("title"), Some(title));
    assert!(posted.body.contains("ringfence doctor"), "{}", posted.body);
    for name in ["json", "slack", "ntfy"] {
        let view = wait(&alerts, name, |view| view.sent == 1);
        assert!(view.up && view.waiting == 0 && !view.place.contains("secret"), "{view:?}");
    }
    assert!(json.is_empty() && slack.is_empty() && ntfy.is_empty());
    let raised: u64 = alerts.counters().raised.iter().map(|it| it.load(Relaxed)).sum();
    assert_eq!((raised, alerts.counters().dropped.load(Relaxed)), (2, 0));
}

#[test]
fn mail_goes_out_as_the_server_is_set_up() {
    let directory = tempfile::tempdir().unwrap();
    let password = file(&directory, "password", "s3cret\n");
    for (speaks, protection) in [
        (Speaks::Plain, Protection::Off),
        (Speaks::StartTls, Protection::StartTls),
        (Speaks::Tls, Protection::Tls),
    ] {
        let sink = smtp(speaks);
        let login = (speaks != Speaks::Plain).then(|| ("edge".to_owned(), password.clone()));
        let authorities = Some(file(&directory, "ca.pem", &sink.authority));
        let target = Target { authorities, ..mailbox(&sink, protection, login) };
        let (alerts, hand) = start(vec![target], 64);
        wait(&alerts, "mail", |_| true);
        alerts.clerk().tell(Alert::table("bindings", 2, 81, false));
        wait(&alerts, "mail", |view| view.waiting == 1);
        hand.go_on(10);
        let mail = sink.next();
        for wanted in [
            "EHLO edge-1.example.com",
            "MAIL FROM:<edge@example.com>",
            "RCPT TO:<ops@example.com>",
            "RCPT TO:<night@example.com>",
            "Subject: [ringfence] edge-1.example.com: Table bindings of shard 2 is 81 %",
            "Date: Sun, 09 Sep 2001 01:46:50 +0000",
            "policy.capacities",
        ] {
            assert!(mail.has(wanted), "{wanted}: {:?}", mail.0);
        }
        // edge, s3cret in base64 of RFC 4616
        assert_eq!(mail.has("AUTH PLAIN AGVkZ2UAczNjcmV0"), speaks != Speaks::Plain);
        wait(&alerts, "mail", |view| view.sent == 1);
    }
}

#[test]
fn nothing_is_sent_to_a_mail_server_that_is_not_who_it_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let password = file(&directory, "password", "s3cret\n");
    let other = file(&directory, "ca.pem", &smtp(Speaks::Tls).authority);
    for (speaks, protection, why) in [
        (Speaks::Plain, Protection::StartTls, "STARTTLS"),
        (Speaks::StartTls, Protection::StartTls, "certificate"),
        (Speaks::Tls, Protection::Tls, "certificate"),
    ] {
        let sink = smtp(speaks);
        let login = Some(("edge".to_owned(), password.clone()));
        let target =
            Target { authorities: Some(other.clone()), ..mailbox(&sink, protection, login) };
        let (alerts, hand) = start(vec![target], 64);
        wait(&alerts, "mail", |_| true);
        let tested = alerts.test(hand.now(), None);
        assert!(!tested[0].ok && tested[0].said.contains(why), "{tested:?}");
        let mail = sink.next();
        assert!(!mail.has("AUTH") && !mail.has("MAIL"), "{:?}", mail.0);
    }
}

#[test]
fn a_target_that_refuses_is_told_later_and_its_secret_stays_one() {
    let directory = tempfile::tempdir().unwrap();
    let sink = http(
        &["503 Busy\r\nRetry-After: 90", "302 Found\r\nLocation: http://127.0.0.1:1/", "200 OK"],
        false,
    );
    let key_file = Some(file(&directory, "key", "s3cret"));
    let url = format!("http://{}/{{key}}", sink.address);
    let way = Way::Http { shape: Shape::Json, url, key_file, token_file: None };
    let (alerts, hand) = start(vec![target("hook", way)], 64);
    wait(&alerts, "hook", |_| true);
    alerts.clerk().tell(alert(Kind::Honeytoken, "a"));
    wait(&alerts, "hook", |view| view.waiting == 1);
    hand.go_on(10);
    sink.next();
    let view = wait(&alerts, "hook", |view| view.failed == 1);
    assert_eq!(view.error.as_deref(), Some("it answers with 503: hello"));
    assert!(!view.up && view.waiting == 1, "{view:?}");
    alerts.clerk().tell(alert(Kind::Storm, ""));
    hand.go_on(89);
    wait(&alerts, "hook", |view| view.waiting == 2);
    assert!(sink.is_empty(), "not before it wants to be asked");
    hand.go_on(1);
    sink.next();
    let view = wait(&alerts, "hook", |view| view.failed == 2);
    assert!(view.error.unwrap().contains("302"), "what it is told is for nobody else");
    hand.go_on(10);
    let body: Value = serde_json::from_str(&sink.next().body).unwrap();
    assert_eq!(body["alerts"].as_array().unwrap().len(), 2);
    let view = wait(&alerts, "hook", |view| view.sent == 1);
    assert!(view.up && view.error.is_none() && view.waiting == 0, "{view:?}");
    // the error would name the address
    let dead = NOBODY;
    let key_file = Some(file(&directory, "key", "s3cret"));
    let way = Way::Http {
        shape: Shape::Json,
        url: format!("http://{dead}/{{key}}"),
        key_file,
        token_file: None,
    };
    alerts.configure(Some(settings(vec![target("hook", way)])));
    wait(&alerts, "hook", |view| view.place.contains(dead));
    let tested = alerts.test(hand.now(), Some("hook"));
    assert!(!tested[0].ok && !format!("{tested:?}").contains("s3cret"), "{tested:?}");
    assert_eq!(alerts.test(hand.now(), Some("other")), []);
}

#[test]
fn a_target_that_never_answers_keeps_no_other_waiting_and_grows_nothing() {
    // it takes connections and says nothing
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let slow = Target { timeout: Duration::from_secs(60), ..webhook("slow", Shape::Json, url) };
    let sink = http(&["200 OK"], false);
    let quick = webhook("quick", Shape::Json, format!("http://{}/", sink.address));
    let (alerts, hand) = start(vec![slow, quick], 64);
    wait(&alerts, "quick", |_| true);
    alerts.clerk().tell(alert(Kind::Campaign, "first"));
    wait(&alerts, "slow", |view| view.waiting == 1);
    hand.go_on(10);
    sink.next();
    let (_connection, _) = silent.accept().unwrap();
    // whoever tells does not wait, whatever becomes of it
    for source in 0..100_000 {
        alerts.clerk().tell(alert(Kind::CarrierCandidate, &format!("{source}")));
    }
    wait(&alerts, "quick", |view| view.waiting > 0);
    hand.go_on(10);
    let body: Value = serde_json::from_str(&sink.next().body).unwrap();
    assert!(body["alerts"].as_array().unwrap().len() <= 8, "{body}");
    let view = wait(&alerts, "slow", |view| view.waiting > 1);
    let dropped = alerts.counters().dropped.load(Relaxed);
    assert!(dropped + view.waiting <= 100_001 && view.failed == 0, "{dropped}, {view:?}");
    // its thread sits there: what is asked of it meanwhile is bounded, too
    alerts.configure(None);
    wait_for_nobody(&alerts);
    assert!(!alerts.clerk().is_on());
}

fn wait_for_nobody(alerts: &Alerts) {
    for _ in 0..2_000 {
        if alerts.views().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?}", alerts.views());
}

#[test]
fn a_reload_keeps_what_was_told_and_what_waits() {
    let (before, after) = (http(&["200 OK"], false), http(&["200 OK"], false));
    let hook = |sink: &Sink<_>| webhook("hook", Shape::Json, format!("http://{}/", sink.address));
    let (alerts, hand) = start(vec![hook(&before)], 64);
    wait(&alerts, "hook", |_| true);
    alerts.clerk().tell(alert(Kind::Honeytoken, "told"));
    wait(&alerts, "hook", |view| view.waiting == 1);
    hand.go_on(10);
    before.next();
    wait(&alerts, "hook", |view| view.sent == 1);
    alerts.clerk().tell(alert(Kind::Honeytoken, "waits"));
    wait(&alerts, "hook", |view| view.waiting == 1);
    let pace = Pace { gather: Duration::from_secs(5), ..pace() };
    alerts.configure(Some(Settings { pace, ..settings(vec![hook(&after)]) }));
    wait(&alerts, "hook", |view| view.place.contains(&after.address.to_string()));
    alerts.clerk().tell(alert(Kind::Honeytoken, "told"));
    hand.go_on(20);
    let body: Value = serde_json::from_str(&after.next().body).unwrap();
    let subjects: Vec<_> =
        body["alerts"].as_array().unwrap().iter().map(|it| it["subject"].clone()).collect();
    assert_eq!(subjects, ["waits"]);
    assert!(before.is_empty());
}

#[test]
fn the_end_tells_what_waits_and_waits_for_nobody_who_is_silent() {
    let sink = http(&["200 OK"], false);
    let quick = webhook("quick", Shape::Json, format!("http://{}/", sink.address));
    let dead = NOBODY;
    let dead = webhook("dead", Shape::Json, format!("http://{dead}/"));
    let (alerts, _) = start(vec![quick.clone(), dead], 64);
    wait(&alerts, "dead", |_| true);
    alerts.clerk().tell(alert(Kind::Honeytoken, "a"));
    // it gathers, and time stands still
    assert_eq!(alerts.close(), 1, "nobody listens at one of them");
    assert!(sink.next().body.contains("honeytoken"));
    assert_eq!(wait(&alerts, "quick", |_| true).sent, 1);
    assert_eq!(wait(&alerts, "dead", |_| true).failed, 1);

    // it takes connections and says nothing, for a minute
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let slow = Target { timeout: Duration::from_secs(60), ..webhook("slow", Shape::Json, url) };
    let (alerts, _) = start(vec![slow, quick], 64);
    wait(&alerts, "slow", |_| true);
    alerts.clerk().tell(alert(Kind::Honeytoken, "b"));
    assert_eq!(alerts.close(), 1);
    assert!(sink.next().body.contains("honeytoken"), "the other is told meanwhile");
    // it is still waited for there, and was not here
    let view = wait(&alerts, "slow", |_| true);
    assert_eq!((view.failed, view.waiting), (0, 1));
}
