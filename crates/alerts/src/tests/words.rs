//! What stands in a message.

use super::{alert, at, pace};
use crate::{Alert, Book, Digest, Item, Kind, text};
use admission::Alert as Seen;
use policy::{Network, Policy};
use std::path::Path;

fn digest(alerts: Vec<Alert>) -> Digest {
    let item = |alert| Item { alert, first: at(0), last: at(0), count: 1 };
    Digest {
        at: at(1_000_000_000),
        items: alerts.into_iter().map(item).collect(),
        left_out: vec![],
    }
}

fn policy() -> Policy {
    Policy::new(Vec::new(), "127.0.0.1:5080".parse().unwrap(), Vec::new())
}

#[test]
fn each_alert_says_what_to_do() {
    let source = Network::host("198.51.100.7".parse().unwrap());
    let dialled: Box<[u8]> = b"4940123\r\n<!here>".as_slice().into();
    let seen = [
        Seen::Campaign { shape: 7, sources: 5 },
        Seen::CarrierCandidate { source, dialled },
        Seen::Storm,
        Seen::Honeytoken { source },
        Seen::Demoted { signature: 0 },
        Seen::UnderAttack { began: true },
    ];
    let policy = policy();
    let mut alerts: Vec<_> =
        seen.iter().map(|seen| (seen.as_str(), Alert::of_gate(seen, &policy).unwrap())).collect();
    alerts.push(("pbx_down", Alert::pbx("127.0.0.1:5070", false)));
    alerts.push(("table_filling", Alert::table("bindings", 2, 81, false)));
    let file = Path::new("/etc/ringfence/fullchain.pem");
    let day = 86_400;
    alerts.push(("certificate", Alert::certificate(file, at(day), Ok(Some(at(4 * day + 5))))));
    let kinds: Vec<_> = alerts.iter().map(|(_, alert)| alert.kind).collect();
    assert!(Kind::ALL.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    for (word, alert) in alerts {
        assert_eq!(alert.kind.as_str(), word, "one word for one thing");
        assert!(alert.advice.len() > 20 && !alert.ended, "{alert:?}");
        assert!(!alert.what.ends_with('.') && !alert.advice.ends_with('.'), "{alert:?}");
        assert!(!alert.what.contains(['\r', '\n']), "{alert:?}");
    }
    let ends = |now, ends| Alert::certificate(file, at(now), ends).what;
    assert!(ends(day, Ok(Some(at(4 * day + 5)))).contains("ends in 3 days"));
    assert!(ends(day, Ok(Some(at(5)))).contains("ended 1970-01-01"));
    assert!(ends(day, Err("no PEM")).contains("cannot be read: no PEM"));
    assert!(Alert::certificate(file, at(0), Ok(None)).ended);
    let over = Alert::of_gate(&Seen::UnderAttack { began: false }, &policy).unwrap();
    assert!(over.ended);
}

#[test]
fn a_title_names_the_most_urgent_and_how_many_more() {
    let mut digest = digest(vec![alert(Kind::PbxDown, "a"), alert(Kind::Storm, "")]);
    digest.left_out = vec![(Kind::Campaign, 3)];
    assert_eq!(text::title("edge-1", &digest), "edge-1: pbx_down a, and 4 more");
    let mail = text::mail(&digest);
    assert!(
        mail.contains("pbx_down a\n  look.\n") && mail.contains("3 more (3 campaign)"),
        "{mail}"
    );
}

#[test]
fn hostile_text_is_text_in_slack() {
    let mut hostile = alert(Kind::CarrierCandidate, "x");
    hostile.what = "<!channel> *bold* <https://evil.example|click> & _so_".into();
    let told = text::slack("edge", &digest(vec![hostile]));
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt;") && text.contains("&amp;"), "{text}");
    assert!(!text.contains('<') && !text.contains("*bold*") && !text.contains("_so_"), "{text}");
}

#[test]
fn a_long_text_is_cut_between_alerts() {
    let mut book = Book::new(pace(), Kind::ALL.to_vec());
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        for subject in 0..8 {
            let mut alert = alert(kind, &format!("{subject}"));
            alert.advice = format!("{index}").repeat(100);
            book.on_alert(at(0), alert);
        }
    }
    let digest = book.poll_digest(at(10)).unwrap();
    let text = text::ntfy(&digest);
    assert!(text.len() < 4_000 && text.contains(" more: `ringfence top`"), "{text}");
    assert!(text.starts_with("pbx_down 0\n"), "{text}");
}

#[test]
fn json_has_all_of_it() {
    let mut digest = digest(vec![alert(Kind::PbxDown, "a")]);
    digest.left_out = vec![(Kind::Campaign, 3)];
    let told = text::json("edge-1", &digest);
    assert_eq!(
        told.to_string(),
        r#"{"alerts":[{"advice":"look","alert":"pbx_down","count":1,"ended":false,"first":"1970-01-01T00:00:00Z","last":"1970-01-01T00:00:00Z","severity":"page","subject":"a","what":"pbx_down a"}],"at":"2001-09-09T01:46:40Z","left_out":{"campaign":3},"node":"edge-1","severity":"page","title":"edge-1: pbx_down a, and 3 more","version":1}"#
    );
}
