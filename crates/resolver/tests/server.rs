//! The whole client against a name server of ours that does whatever name servers do.

#![allow(clippy::unwrap_used)]

mod liar;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use liar::{Habit, Liar, a, alias, naptr, srv};
use resolver::{
    Client, Failure, Kind, Question, Record, Resolved, Settings, Wanted, client, resolve,
};
use std::time::Duration;
use tower::ServiceExt;

const NAME: &str = "c.example";

/// Long enough for an answer on a busy machine, short enough to wait for none.
fn settings(liar: &Liar) -> Settings {
    let timeout = Duration::from_millis(500);
    Settings { servers: vec![liar.address], timeout, attempts: 2, ..Settings::default() }
}

async fn set_up() -> (Liar, Client) {
    let liar = Liar::start().await;
    let client = client(&settings(&liar)).unwrap();
    (liar, client)
}

async fn ask(client: &Client, kind: Kind) -> Result<(Vec<String>, u64), Failure> {
    let answer = client.clone().oneshot(Question { name: NAME.into(), kind }).await?;
    let records = answer.records.iter().map(|record| match record {
        Record::Address(ip) => ip.to_string(),
        other => format!("{other:?}"),
    });
    Ok((records.collect(), answer.ttl.as_secs()))
}

async fn walk(client: &Client) -> Result<Resolved, Failure> {
    resolve(client, &Wanted::of_host(NAME).unwrap()).await
}

fn texts(resolved: &Resolved) -> Vec<String> {
    let targets = resolved.targets.iter();
    targets.map(|it| format!("{} {}", it.transport.as_via(), it.address)).collect()
}

#[tokio::test]
async fn a_walk_over_the_wire() {
    let (liar, client) = set_up().await;
    let (udp, tls) = ("_sip._udp.c.example", "_sips._tcp.c.example");
    let naptrs = vec![naptr(NAME, 700, "SIPS+D2T", tls), naptr(NAME, 700, "SIP+D2U", udp)];
    liar.set(NAME, RecordType::NAPTR, Habit::Honest, naptrs);
    liar.set(udp, RecordType::SRV, Habit::Honest, vec![srv(udp, 600, 5070, "a.example")]);
    liar.set(tls, RecordType::SRV, Habit::Honest, vec![srv(tls, 600, 5071, "a.example")]);
    liar.set("a.example", RecordType::A, Habit::Honest, vec![a("a.example", 500, [127, 9, 9, 9])]);
    let resolved = walk(&client).await.unwrap();
    assert_eq!(texts(&resolved), ["TLS 127.9.9.9:5071", "UDP 127.9.9.9:5070"]);
    assert_eq!((resolved.ttl.as_secs(), resolved.stale), (500, None));
    // the next answer is a new one: no cache stands between
    liar.set("a.example", RecordType::A, Habit::Honest, vec![a("a.example", 5, [127, 9, 9, 8])]);
    let resolved = walk(&client).await.unwrap();
    assert_eq!(texts(&resolved), ["TLS 127.9.9.8:5071", "UDP 127.9.9.8:5070"]);
    assert_eq!(resolved.ttl.as_secs(), 5);
}

#[tokio::test]
async fn silence_is_tried_again_and_ends() {
    let (liar, client) = set_up().await;
    let records = || vec![a(NAME, 60, [127, 0, 0, 9])];
    liar.set(NAME, RecordType::A, Habit::SilentAtFirst(1), records());
    assert_eq!(ask(&client, Kind::A).await, Ok((vec!["127.0.0.9".into()], 60)));
    assert!(liar.asked("udp", NAME, RecordType::A) >= 2);
    liar.set(NAME, RecordType::AAAA, Habit::Silent, vec![]);
    assert_eq!(ask(&client, Kind::Aaaa).await, Err(Failure::Timeout));
}

#[tokio::test]
async fn failures_are_no_answers_and_what_was_good_stands_in() {
    let (liar, client) = set_up().await;
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
        liar.set(NAME, RecordType::A, Habit::Fails(code), vec![]);
        assert_eq!(ask(&client, Kind::A).await, Err(Failure::Refused), "{code}");
    }
    liar.set(NAME, RecordType::A, Habit::Honest, vec![a(NAME, 60, [127, 0, 0, 9])]);
    assert_eq!(texts(&walk(&client).await.unwrap()), ["UDP 127.0.0.9:5060"]);
    liar.set(NAME, RecordType::A, Habit::Fails(ResponseCode::ServFail), vec![]);
    let resolved = walk(&client).await.unwrap();
    assert_eq!(texts(&resolved), ["UDP 127.0.0.9:5060"]);
    assert_eq!((resolved.stale, resolved.ttl.as_secs()), (Some(Failure::Refused), 30));
}

#[tokio::test]
async fn no_such_name_is_an_answer_for_as_long_as_its_zone_says() {
    let (liar, client) = set_up().await;
    liar.set(NAME, RecordType::A, Habit::NoName(77), vec![]);
    assert_eq!(ask(&client, Kind::A).await, Ok((vec![], 77)));
    liar.set(NAME, RecordType::A, Habit::NoName(0), vec![]);
    assert_eq!(ask(&client, Kind::A).await, Ok((vec![], 30)), "a zone that does not say");
    // it is remembered as an answer, too
    liar.set(NAME, RecordType::A, Habit::Silent, vec![]);
    assert_eq!(ask(&client, Kind::A).await, Ok((vec![], 30)));
}

#[tokio::test]
async fn a_wrong_number_is_not_believed() {
    let (liar, client) = set_up().await;
    liar.set(NAME, RecordType::A, Habit::WrongIdFirst, vec![a(NAME, 60, [127, 0, 0, 9])]);
    assert_eq!(ask(&client, Kind::A).await, Ok((vec!["127.0.0.9".into()], 60)));
}

#[tokio::test]
async fn other_names_are_not_believed() {
    let (liar, client) = set_up().await;
    liar.set(NAME, RecordType::A, Habit::OtherQuestion, vec![]);
    let answer = ask(&client, Kind::A).await;
    assert!(
        answer.as_ref().is_err() || answer.as_ref().is_ok_and(|it| it.0.is_empty()),
        "{answer:?}"
    );
    liar.set(NAME, RecordType::A, Habit::OtherOwner, vec![a(NAME, 60, [127, 0, 0, 9])]);
    assert_eq!(ask(&client, Kind::A).await, Ok((vec!["127.0.0.9".into()], 60)));
}

#[tokio::test]
async fn bytes_that_are_no_message_are_no_answer() {
    let (liar, client) = set_up().await;
    liar.set(NAME, RecordType::A, Habit::Garbage, vec![]);
    assert!(ask(&client, Kind::A).await.is_err());
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_by_tcp() {
    let (liar, client) = set_up().await;
    let many = |count: u16| (0..count).map(|n| a(NAME, 60, [127, 1, (n >> 8) as u8, n as u8]));
    liar.set(NAME, RecordType::A, Habit::TruncatedByUdp, many(2_000).collect());
    let (addresses, _) = ask(&client, Kind::A).await.unwrap();
    assert_eq!(addresses.len(), 2_000);
    assert_eq!(liar.asked("tcp", NAME, RecordType::A), 1);
    liar.set(NAME, RecordType::AAAA, Habit::TruncatedAlways, vec![]);
    assert!(ask(&client, Kind::Aaaa).await.is_err(), "a part of an answer is none");
}

#[tokio::test]
async fn an_alias_counts_with_the_shortest_life_on_its_way() {
    let (liar, client) = set_up().await;
    let chain = vec![alias(NAME, 20, "b.example"), a("b.example", 300, [127, 0, 0, 9])];
    liar.set(NAME, RecordType::A, Habit::Honest, chain);
    assert_eq!(ask(&client, Kind::A).await, Ok((vec!["127.0.0.9".into()], 20)));
    // a chain without an end ends
    liar.set(NAME, RecordType::A, Habit::Honest, vec![alias(NAME, 20, "b.example")]);
    liar.set("b.example", RecordType::A, Habit::Honest, vec![alias("b.example", 20, NAME)]);
    let answer = ask(&client, Kind::Aaaa).await;
    assert_eq!(answer, Ok((vec![], 900)));
    let answer = ask(&client, Kind::A).await.map(|(addresses, _)| addresses);
    assert!(answer.is_ok(), "what was good before: {answer:?}");
}

#[tokio::test]
async fn without_a_name_server_nothing_is_known() {
    let (liar, _) = set_up().await;
    // nobody listens there: the kernel gives such a port to nobody by itself
    let nobody = ([127, 0, 0, 1], 9).into();
    let settings = Settings { servers: vec![nobody], ..settings(&liar) };
    let client = client(&settings).unwrap();
    let answer = ask(&client, Kind::A).await;
    assert!(matches!(answer, Err(Failure::Unreachable | Failure::Timeout)), "{answer:?}");
}
