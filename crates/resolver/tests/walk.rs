//! RFC 3263 case by case, and the bounds of a walk.

#![allow(clippy::unwrap_used)]

mod zone;

use resolver::{Failure, Kind, QUESTIONS_MAX, Target, Unresolvable, Wanted, guard, resolve};
use resolver::{Question, Settings};
use std::time::Duration;
use tower::service_fn;
use zone::Zone;

fn wanted(uri: &str) -> Result<Wanted, Unresolvable> {
    Wanted::of_uri(&wire::Uri::parse(uri.as_bytes()).unwrap())
}

fn texts(targets: &[Target]) -> Vec<String> {
    targets.iter().map(|it| format!("{} {}", it.transport.as_via(), it.address)).collect()
}

async fn targets(zone: &Zone, wanted: &Wanted) -> Vec<String> {
    texts(&resolve(&zone.client(), wanted).await.unwrap().targets)
}

#[tokio::test]
async fn what_is_not_said_is_asked_or_has_its_default() {
    let zone = Zone::default();
    zone.host("h.example", &["198.51.100.1", "2001:db8::1"])
        .srv("_sip._udp.s.example", &[(1, 0, 5070, "h.example")])
        .srv("_sip._tcp.s.example", &[(1, 0, 5071, "h.example")])
        .srv("_sips._tcp.s.example", &[(1, 0, 5072, "h.example")]);
    let four = |what: &str| [what.to_owned(), what.replace("198.51.100.1", "[2001:db8::1]")];
    for (uri, expected) in [
        ("sip:198.51.100.1", vec!["UDP 198.51.100.1:5060".to_owned()]),
        ("sips:198.51.100.1", vec!["TLS 198.51.100.1:5061".to_owned()]),
        ("sip:198.51.100.1;transport=tls", vec!["TLS 198.51.100.1:5061".to_owned()]),
        ("sip:[::ffff:198.51.100.1]", vec!["UDP 198.51.100.1:5060".to_owned()]),
        ("sip:h.example", four("UDP 198.51.100.1:5060").to_vec()),
        ("sip:H.Example.;transport=TCP", four("TCP 198.51.100.1:5060").to_vec()),
        ("sips:h.example", four("TLS 198.51.100.1:5061").to_vec()),
        // a port means that no SRV record is asked for
        ("sip:s.example:5060", vec![]),
        ("sip:h.example:5099", four("UDP 198.51.100.1:5099").to_vec()),
        ("sips:h.example:5099", four("TLS 198.51.100.1:5099").to_vec()),
        ("sip:s.example", [four("UDP 198.51.100.1:5070"), four("TCP 198.51.100.1:5071")].concat()),
        ("sip:s.example;transport=tcp", four("TCP 198.51.100.1:5071").to_vec()),
        ("sips:s.example", four("TLS 198.51.100.1:5072").to_vec()),
    ] {
        assert_eq!(targets(&zone, &wanted(uri).unwrap()).await, expected, "{uri}");
    }
}

#[tokio::test]
async fn srv_records_can_be_named_themselves() {
    let zone = Zone::default();
    zone.host("h.example", &["198.51.100.1"]);
    for (name, transport) in [
        ("_sip._udp.s.example", "UDP"),
        ("_sip._tcp.s.example", "TCP"),
        ("_sips._tcp.s.example", "TLS"),
        ("_sip._tls.s.example", "TLS"),
    ] {
        zone.srv(name, &[(1, 0, 5070, "h.example")]);
        let wanted = Wanted::of_host(name).unwrap();
        assert_eq!(targets(&zone, &wanted).await, [format!("{transport} 198.51.100.1:5070")]);
    }
}

#[tokio::test]
async fn a_host_of_the_configuration_may_have_a_port() {
    let zone = Zone::default();
    zone.host("h.example", &["198.51.100.1"])
        .srv("_sip._udp.h.example", &[(1, 0, 5070, "h.example")])
        .naptr("h.example", &[(1, 1, "s", "SIP+D2U", "_sip._udp.h.example")]);
    for (host, expected) in [
        ("h.example", "UDP 198.51.100.1:5070"),
        ("h.example:5080", "UDP 198.51.100.1:5080"),
        ("198.51.100.7:5080", "UDP 198.51.100.7:5080"),
        ("[2001:db8::1]:5080", "UDP [2001:db8::1]:5080"),
    ] {
        assert_eq!(targets(&zone, &Wanted::of_host(host).unwrap()).await, [expected], "{host}");
    }
    let tls = Wanted::of_host("h.example:5080").unwrap().by(wire::Transport::Tls);
    assert_eq!(targets(&zone, &tls).await, ["TLS 198.51.100.1:5080"]);
}

#[test]
fn what_cannot_be_is_refused() {
    for (uri, error) in [
        ("tel:+4940123456", Unresolvable::NotSip),
        ("sip:h.example;transport=sctp", Unresolvable::Transport),
        ("sips:h.example;transport=udp", Unresolvable::Insecure),
        ("sip:h..example", Unresolvable::Host),
    ] {
        assert_eq!(wanted(uri), Err(error), "{uri}");
    }
    assert_eq!(Wanted::of_host(&format!("{}.example", "a".repeat(64))), Err(Unresolvable::Host));
    assert_eq!(Wanted::of_host(&"a.".repeat(130)), Err(Unresolvable::Host));
}

#[tokio::test]
async fn addresses_of_nobody_are_lies() {
    let zone = Zone::default();
    zone.host(
        "h.example",
        &[
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.51.100.1",
            "::",
            "ff02::1",
            "::ffff:0.0.0.0",
        ],
    );
    let wanted = Wanted::of_host("h.example").unwrap();
    assert_eq!(targets(&zone, &wanted).await, ["UDP 198.51.100.1:5060"]);
}

#[tokio::test]
async fn a_walk_has_an_end_whatever_the_zone_says() {
    let zone = Zone::default();
    let many: Vec<(u16, u16, u16, String)> =
        (0..2_000).map(|n| (n, 0, 5060, format!("t{n}.example"))).collect();
    let many: Vec<_> = many.iter().map(|(p, w, port, t)| (*p, *w, *port, &**t)).collect();
    let naptrs: Vec<String> = (0..200).map(|n| format!("_sip._udp.n{n}.example")).collect();
    let records: Vec<_> =
        (0u16..).zip(&naptrs).map(|(n, to)| (n, 0, "s", "SIP+D2U", &**to)).collect();
    zone.naptr("c.example", &records);
    naptrs.iter().for_each(|name| {
        zone.srv(name, &many);
    });
    assert_eq!(targets(&zone, &Wanted::of_host("c.example").unwrap()).await, [""; 0]);
    assert_eq!(zone.asked().len(), QUESTIONS_MAX);
}

#[tokio::test]
async fn the_least_ttl_counts() {
    let zone = Zone::default();
    zone.host("h.example", &["198.51.100.1"]);
    let wanted = Wanted::of_host("h.example").unwrap();
    // the zone says "none" for 900 s, and addresses for 300 s
    assert_eq!(resolve(&zone.client(), &wanted).await.unwrap().ttl.as_secs(), 300);
    let none = Wanted::of_host("none.example").unwrap();
    let resolved = resolve(&zone.client(), &none).await.unwrap();
    assert_eq!((resolved.targets.len(), resolved.ttl.as_secs()), (0, 900));
}

fn guarded(zone: &Zone, settings: &Settings) -> resolver::Client {
    let zone = zone.clone();
    guard(
        settings,
        service_fn(move |question: Question| {
            let answer = zone.answer(&question);
            async move { answer }
        }),
    )
}

#[tokio::test]
async fn what_fails_is_tried_again_and_then_remembered() {
    let zone = Zone::default();
    zone.naptr("c.example", &[(1, 1, "s", "SIPS+D2T", "_sips._tcp.c.example")])
        .srv("_sips._tcp.c.example", &[(1, 0, 5061, "a.example")])
        .host("a.example", &["198.51.100.1"])
        .host("c.example", &["198.51.100.9"]);
    let settings = Settings { attempts: 3, ..Settings::default() };
    let client = guarded(&zone, &settings);
    let wanted = Wanted::of_host("c.example").unwrap();
    let good = resolve(&client, &wanted).await.unwrap();
    assert_eq!((texts(&good.targets), good.stale), (vec!["TLS 198.51.100.1:5061".into()], None));
    zone.asked();
    zone.fail("c.example", Kind::Naptr, Failure::Refused);
    let stale = resolve(&client, &wanted).await.unwrap();
    assert_eq!(stale.targets, good.targets, "no other step is taken for it");
    assert_eq!((stale.stale, stale.ttl.as_secs()), (Some(Failure::Refused), 30));
    assert_eq!(zone.asked().iter().filter(|asked| *asked == "Naptr c.example").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_never_answered_ends() {
    let settings = Settings { attempts: 2, timeout: Duration::from_secs(2), ..Settings::default() };
    let client = guard(&settings, service_fn(|_: Question| std::future::pending()));
    let wanted = Wanted::of_host("c.example").unwrap();
    let start = tokio::time::Instant::now();
    let answer = resolve(&client, &wanted).await;
    assert_eq!(answer, Err(Failure::Timeout));
    // NAPTR, SRV by UDP, SRV by TCP, A beside AAAA: two tries each
    assert_eq!(start.elapsed().as_secs(), 4 * 2 * 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_questions_are_under_way_than_allowed() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let settings = Settings { questions: 3, ..Settings::default() };
    let client = guard(
        &settings,
        service_fn(|_: Question| async {
            MOST.fetch_max(UNDER_WAY.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            UNDER_WAY.fetch_sub(1, SeqCst);
            Err(Failure::Refused)
        }),
    );
    let walks = (0..20).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let wanted = Wanted::of_host(&format!("n{n}.example")).unwrap();
            resolve(&client, &wanted).await
        })
    });
    for walk in walks.collect::<Vec<_>>() {
        assert_eq!(walk.await.unwrap(), Err(Failure::Refused));
    }
    assert_eq!(MOST.load(SeqCst), 3);
}
