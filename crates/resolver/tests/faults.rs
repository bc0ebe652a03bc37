//! Each known fault of `rsip-dns` 0.1.4: shown by asking it as its own documentation does, with a
//! client that answers what the DNS says; and cured, by asking through [`resolver::resolve`].

#![allow(clippy::unwrap_used)]

mod zone;

use async_trait::async_trait;
use resolver::{Answer, Failure, Kind, Question, Record, Resolved, Target, Wanted, resolve};
use rsip_dns::records::{AddrRecord, NaptrEntry, NaptrFlags, NaptrRecord, NaptrServices};
use rsip_dns::records::{SrvEntry, SrvRecord};
use rsip_dns::{Context, DnsClient, Lookup, ResolvableExt, SrvDomain, SupportedTransports};
use std::convert::TryFrom;
use zone::Zone;

/// What a client for `rsip-dns` is by its documentation: no order, no filter.
#[derive(Clone)]
struct Plain(Zone);

impl Plain {
    fn ask(&self, name: &str, kind: Kind) -> Vec<Record> {
        let question = Question { name: name.to_lowercase().into(), kind };
        self.0.answer(&question).map(|answer: Answer| answer.records).unwrap_or_default()
    }
}

#[async_trait]
impl DnsClient for Plain {
    async fn naptr_lookup(&self, domain: rsip::Domain) -> Option<NaptrRecord> {
        let records = self.ask(&domain.to_string(), Kind::Naptr);
        let entry = |record| match record {
            Record::Naptr(naptr) => Some(NaptrEntry {
                order: naptr.order,
                preference: naptr.preference,
                flags: NaptrFlags::from(&*naptr.flags),
                services: NaptrServices::try_from(&*naptr.services).ok()?,
                regexp: Vec::new(),
                replacement: naptr.replacement.to_string().into(),
            }),
            _ => None,
        };
        Some(NaptrRecord { entries: records.into_iter().filter_map(entry).collect(), domain })
    }

    async fn srv_lookup(&self, domain: SrvDomain) -> Option<SrvRecord> {
        let records = self.ask(&domain.to_string(), Kind::Srv);
        let entry = |record| match record {
            Record::Srv(srv) => Some(SrvEntry {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port.into(),
                target: srv.target.to_string().into(),
            }),
            _ => None,
        };
        Some(SrvRecord { entries: records.into_iter().filter_map(entry).collect(), domain })
    }

    async fn ip_lookup(&self, domain: rsip::Domain) -> Result<AddrRecord, rsip::Error> {
        let name = domain.to_string();
        let records = [self.ask(&name, Kind::A), self.ask(&name, Kind::Aaaa)].concat();
        let ip = |record| match record {
            Record::Address(ip) => Some(ip),
            _ => None,
        };
        Ok(AddrRecord { domain, ip_addrs: records.into_iter().filter_map(ip).collect() })
    }
}

/// As its documentation says: a context of the URI, a lookup of the context, all it gives.
async fn plain(zone: &Zone, uri: &str) -> Result<Vec<String>, String> {
    let uri = rsip::Uri::try_from(uri).map_err(|error| format!("{error:?}"))?;
    let context = Context::initialize_from(uri, Plain(zone.clone()), SupportedTransports::any());
    let mut lookup = Lookup::from(context.map_err(|error| format!("{error:?}"))?);
    let mut targets = Vec::new();
    while let Some(target) = lookup.resolve_next().await {
        targets.push(format!("{} {}", target.transport, target.socket_addr()));
    }
    Ok(targets)
}

async fn resolved(zone: &Zone, uri: &str) -> Result<Resolved, Failure> {
    let uri = wire::Uri::parse(uri.as_bytes()).unwrap();
    resolve(&zone.client(), &Wanted::of_uri(&uri).unwrap()).await
}

async fn ours(zone: &Zone, uri: &str) -> Vec<String> {
    let target = |it: &Target| format!("{} {}", it.transport.as_via(), it.address);
    resolved(zone, uri).await.unwrap().targets.iter().map(target).collect()
}

/// A carrier with everything: NAPTR, SRV, addresses, and an address at its name.
fn carrier() -> Zone {
    let zone = Zone::default();
    zone.naptr("c.example", &[(10, 10, "S", "SIP+D2U", "_sip._udp.c.example")])
        .srv("_sip._udp.c.example", &[(1, 0, 5070, "a.c.example")])
        .host("a.c.example", &["198.51.100.1"])
        .host("c.example", &["198.51.100.9"]);
    zone
}

#[tokio::test]
async fn a_numeric_host_loses_its_port() {
    let zone = Zone::default();
    let uri = "sip:198.51.100.7:5088";
    assert_eq!(plain(&zone, uri).await.unwrap(), ["UDP 198.51.100.7:5060"]);
    assert_eq!(ours(&zone, uri).await, ["UDP 198.51.100.7:5088"]);
    assert_eq!(zone.asked(), [""; 0]);
}

#[tokio::test]
async fn tls_is_downgraded_to_tcp() {
    let zone = Zone::default();
    zone.srv("_sip._tcp.c.example", &[(1, 0, 5060, "a.c.example")])
        .srv("_sips._tcp.c.example", &[(1, 0, 5061, "a.c.example")])
        .host("a.c.example", &["198.51.100.1"]);
    let uri = "sip:c.example;transport=tls";
    assert_eq!(plain(&zone, uri).await.unwrap(), ["TCP 198.51.100.1:5060"]);
    assert_eq!(ours(&zone, uri).await, ["TLS 198.51.100.1:5061"]);
    assert_eq!(ours(&Zone::default(), uri).await, [""; 0], "nothing less than TLS");
}

#[tokio::test]
async fn sips_takes_udp_and_refuses_tls() {
    let zone = Zone::default();
    zone.srv("_sips._tcp.c.example", &[(1, 0, 5061, "a.c.example")])
        .host("a.c.example", &["198.51.100.1"])
        .host("c.example", &["198.51.100.9"]);
    assert!(plain(&zone, "sips:c.example;transport=tls").await.is_err());
    let by_rsip = plain(&zone, "sips:c.example;transport=udp").await.unwrap();
    assert_eq!(by_rsip, ["UDP 198.51.100.9:5060"]);
    assert_eq!(ours(&zone, "sips:c.example;transport=tls").await, ["TLS 198.51.100.1:5061"]);
    assert_eq!(ours(&zone, "sips:c.example;transport=tcp").await, ["TLS 198.51.100.1:5061"]);
    let uri = wire::Uri::parse(b"sips:c.example;transport=udp").unwrap();
    assert_eq!(Wanted::of_uri(&uri), Err(resolver::Unresolvable::Insecure));
}

#[tokio::test]
async fn an_ipv6_reference_cannot_be_read() {
    let zone = Zone::default();
    let uri = "sip:[2001:db8::1]:5080;transport=tcp";
    assert!(plain(&zone, uri).await.is_err());
    assert_eq!(ours(&zone, uri).await, ["TCP [2001:db8::1]:5080"]);
}

#[tokio::test]
async fn maddr_is_ignored() {
    let zone = Zone::default();
    zone.host("c.example", &["198.51.100.9"]).host("m.example", &["198.51.100.2"]);
    let uri = "sip:c.example:5060;maddr=m.example";
    assert_eq!(plain(&zone, uri).await.unwrap(), ["UDP 198.51.100.9:5060"]);
    assert_eq!(ours(&zone, uri).await, ["UDP 198.51.100.2:5060"]);
    assert_eq!(ours(&zone, "sip:c.example;maddr=198.51.100.3").await, ["UDP 198.51.100.3:5060"]);
}

#[tokio::test]
async fn the_priority_of_srv_records_is_ignored() {
    let zone = Zone::default();
    zone.srv("_sip._tcp.c.example", &[(20, 0, 5060, "second"), (10, 0, 5060, "first")])
        .host("first", &["198.51.100.1"])
        .host("second", &["198.51.100.2"]);
    let uri = "sip:c.example;transport=tcp";
    assert_eq!(plain(&zone, uri).await.unwrap()[0], "TCP 198.51.100.2:5060");
    assert_eq!(ours(&zone, uri).await, ["TCP 198.51.100.1:5060", "TCP 198.51.100.2:5060"]);
}

#[tokio::test]
async fn its_own_order_overflows_above_priority_ten_thousand() {
    let entry = |priority| SrvEntry { priority, weight: 1, port: 5060.into(), target: "t".into() };
    let weight = std::panic::catch_unwind(|| entry(10_001).total_weight());
    // with checks it panics, without it is the best of all
    assert!(weight.is_err() || weight.is_ok_and(|weight| weight > entry(0).total_weight()));
    let zone = Zone::default();
    zone.srv("_sip._tcp.c.example", &[(65_535, 65_535, 1, "t"), (10_001, 0, 2, "t")])
        .host("t", &["198.51.100.1"]);
    assert_eq!(
        ours(&zone, "sip:c.example;transport=tcp").await,
        ["TCP 198.51.100.1:2", "TCP 198.51.100.1:1"]
    );
}

#[tokio::test]
async fn the_order_of_naptr_records_is_ignored() {
    let zone = Zone::default();
    zone.naptr(
        "c.example",
        &[
            (90, 1, "S", "SIP+D2U", "_sip._udp.c.example"),
            (50, 2, "S", "SIP+D2T", "_sip._tcp.c.example"),
            (50, 1, "S", "SIPS+D2T", "_sips._tcp.c.example"),
        ],
    );
    zone.srv("_sip._udp.c.example", &[(1, 0, 1, "t")])
        .srv("_sip._tcp.c.example", &[(1, 0, 2, "t")])
        .srv("_sips._tcp.c.example", &[(1, 0, 3, "t")])
        .host("t", &["198.51.100.1"]);
    assert_eq!(plain(&zone, "sip:c.example").await.unwrap()[0], "UDP 198.51.100.1:1");
    assert_eq!(
        ours(&zone, "sip:c.example").await,
        ["TLS 198.51.100.1:3", "TCP 198.51.100.1:2", "UDP 198.51.100.1:1"]
    );
    assert_eq!(ours(&zone, "sips:c.example").await, ["TLS 198.51.100.1:3"]);
}

#[tokio::test]
async fn targets_come_twice_and_steps_follow_that_have_no_reason_to() {
    let zone = carrier();
    let twice = ["UDP 198.51.100.1:5070", "UDP 198.51.100.1:5070", "UDP 198.51.100.9:5060"];
    assert_eq!(plain(&zone, "sip:c.example").await.unwrap(), twice);
    zone.asked();
    assert_eq!(ours(&zone, "sip:c.example").await, ["UDP 198.51.100.1:5070"]);
    let asked = zone.asked();
    assert_eq!(asked[..2], ["Naptr c.example", "Srv _sip._udp.c.example"]);
    assert_eq!(asked[2..], ["A a.c.example", "Aaaa a.c.example"]);
}

#[tokio::test]
async fn a_lower_case_flag_is_not_known() {
    let zone = Zone::default();
    zone.naptr("c.example", &[(1, 1, "s", "sip+d2t", "_SIP._TCP.c.example")])
        .srv("_SIP._TCP.c.example", &[(1, 0, 5070, "t")])
        .host("t", &["198.51.100.1"]);
    assert_eq!(plain(&zone, "sip:c.example").await.unwrap(), [""; 0]);
    assert_eq!(ours(&zone, "sip:c.example").await, ["TCP 198.51.100.1:5070"]);
}

#[tokio::test]
async fn a_dot_is_taken_for_a_host() {
    let zone = Zone::default();
    zone.srv("_sip._udp.c.example", &[(0, 0, 0, "")]).host("c.example", &["198.51.100.9"]);
    let by_rsip = plain(&zone, "sip:c.example;transport=udp").await.unwrap();
    assert_eq!(by_rsip, ["UDP 198.51.100.9:5060"], "and goes where the zone says not to");
    assert!(zone.asked().contains(&"A ".to_owned()), "it asks for the root's address");
    assert_eq!(ours(&zone, "sip:c.example;transport=udp").await, [""; 0]);
    assert_eq!(zone.asked(), ["Srv _sip._udp.c.example"]);
}

#[tokio::test]
async fn the_transport_is_read_from_the_replacement() {
    let zone = Zone::default();
    zone.naptr("c.example", &[(1, 1, "S", "SIPS+D2T", "_sip._tcp.secure.example")])
        .srv("_sip._tcp.secure.example", &[(1, 0, 5061, "t")])
        .host("t", &["198.51.100.1"]);
    let by_rsip = plain(&zone, "sips:c.example").await.unwrap();
    assert_eq!(by_rsip, ["TCP 198.51.100.1:5061"], "sips over TCP");
    assert_eq!(ours(&zone, "sips:c.example").await, ["TLS 198.51.100.1:5061"]);
}

#[tokio::test]
async fn a_replacement_of_another_name_is_asked_under_a_wrong_one() {
    let zone = Zone::default();
    zone.naptr("c.example", &[(1, 1, "S", "SIPS+D2T", "_sip._tls.c.example")])
        .srv("_sip._tls.c.example", &[(1, 0, 5061, "t")])
        .host("t", &["198.51.100.1"]);
    assert_eq!(plain(&zone, "sip:c.example").await.unwrap(), [""; 0]);
    assert!(!zone.asked().contains(&"Srv _sip._tls.c.example".to_owned()));
    assert_eq!(ours(&zone, "sip:c.example").await, ["TLS 198.51.100.1:5061"]);
}

#[tokio::test]
async fn a_failure_is_taken_for_no() {
    let zone = carrier();
    zone.fail("c.example", Kind::Naptr, Failure::Refused).fail(
        "_sip._udp.c.example",
        Kind::Srv,
        Failure::Timeout,
    );
    assert_eq!(plain(&zone, "sip:c.example").await.unwrap(), ["UDP 198.51.100.9:5060"]);
    let resolved_so = resolved(&zone, "sip:c.example").await.unwrap();
    assert_eq!(resolved_so.stale, Some(Failure::Timeout), "it is told");
    assert_eq!(resolved_so.ttl.as_secs(), 30, "and asked again soon");
    zone.fail("c.example", Kind::A, Failure::Refused);
    assert_eq!(plain(&zone, "sip:c.example").await.unwrap(), [""; 0], "as if there were none");
    assert_eq!(resolved(&zone, "sip:c.example").await, Err(Failure::Refused));
}
