//! RFC 4475 and RFC 5118 as the manifest has them for a proxy, the clean corpus, and the attacks.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use wire::{Host, Limits, Malformed, Message, Method, Splice, Uri};

/// Messages that a proxy must refuse or drop, but not for what the scanner looks at: the engine
/// decides.
const DECIDED_BY_THE_ENGINE: [(&str, &str); 1] =
    [("rfc4475-bcast", "a well-formed response that belongs to no transaction")];

fn expected(id: &str) -> Option<Malformed> {
    Some(match id {
        "rfc4475-badinv01" => Malformed::Via,
        "rfc4475-clerr" => Malformed::BodyUnfinished,
        "rfc4475-ncl" => Malformed::ContentLength,
        "rfc4475-scalar02" | "rfc4475-scalarlg" => Malformed::CSeq,
        "rfc4475-quotbal" => Malformed::To,
        "rfc4475-ltgtruri" | "rfc4475-lwsruri" | "rfc4475-lwsstart" => Malformed::RequestUri,
        "rfc4475-trws" => Malformed::StartLine,
        "rfc4475-badvers" => Malformed::UnsupportedVersion,
        "rfc4475-mismatch01" | "rfc4475-mismatch02" => Malformed::CSeqMethod,
        "rfc4475-bigcode" => Malformed::Status,
        "rfc4475-insuf" => Malformed::FromMissing,
        "rfc4475-multi01" | "rfc4475-mcl01" => Malformed::DuplicateHeader,
        "rfc5118-ipv6-bad" => Malformed::RequestUri,
        _ => return None,
    })
}

#[test]
fn torture_messages_meet_the_manifest() {
    let entries = corpus::torture();
    assert_eq!(entries.len(), 61, "49 of RFC 4475 and 12 of RFC 5118");
    for entry in &entries {
        let id = entry.text("id");
        let accept: Vec<_> =
            entry.json["accept"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let outcome = Message::parse(&entry.payload, &Limits::default()).map(|_| ()).err();
        let may_refuse = accept.iter().any(|a| matches!(*a, "400" | "drop"));
        let may_parse = accept.iter().any(|a| !matches!(*a, "400" | "drop" | "505"));
        let engine = DECIDED_BY_THE_ENGINE.iter().any(|(engine, _)| *engine == id);
        match outcome {
            None => {
                assert!(may_parse || engine, "{id} must be refused");
                assert_eq!(expected(id), None, "{id}");
            }
            Some(Malformed::UnsupportedVersion) => assert!(accept.contains(&"505"), "{id}"),
            Some(reason) => {
                assert!(may_refuse, "{id} must be read, not {reason}");
                assert_eq!(Some(reason), expected(id), "{id}");
            }
        }
    }
}

#[test]
fn preferred_outcomes() {
    for entry in corpus::torture() {
        let (id, preferred) = (entry.text("id"), entry.text("preferred"));
        let parsed = Message::parse(&entry.payload, &Limits::default());
        if matches!(preferred, "forward" | "relay" | "483" | "416" | "420") {
            let message = parsed.unwrap_or_else(|reason| panic!("{id}: {reason}"));
            match entry.text("kind") {
                "request" => {
                    assert_eq!(message.method().as_bytes(), entry.text("method").as_bytes(), "{id}")
                }
                _ => assert!(!message.is_request(), "{id}"),
            }
        }
        // What is to be answered can be answered, but where the fault is in what a response copies.
        let unanswerable = ["badinv01", "scalar02", "quotbal", "insuf", "multi01"];
        if matches!(preferred, "400" | "505") && !unanswerable.iter().any(|u| id.ends_with(u)) {
            let message = Message::parse_answerable(&entry.payload, &Limits::default());
            assert!(message.unwrap_or_else(|r| panic!("{id}: {r}")).is_request(), "{id}");
        }
    }
}

fn torture(id: &str) -> Vec<u8> {
    corpus::torture().into_iter().find(|entry| entry.text("id") == id).unwrap().payload
}

#[test]
fn short_tortuous_invite_is_understood() {
    let bytes = torture("rfc4475-wsinv");
    let message = Message::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.from_tag(), b"98asjd8");
    assert_eq!(message.to_tag(), b"1918181833n");
    assert_eq!(message.from().uri, b"sip:jdrosen@example.com");
    assert_eq!(message.from().display_name, br#""J Rosenberg \\\"""#);
    assert_eq!(message.to().uri, b"sip:vivekg@chair-dnrc.example.com");
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.cseq().number, 9);
    assert_eq!(message.via().branch, b"390skdjuw");
    assert_eq!(message.via().transport, b"UDP");
    let vias: Vec<_> = message.values(wire::HeaderName::Via).collect();
    assert_eq!(vias.len(), 3);
    let third = wire::Via::parse(vias[2].bytes, vias[2].span.start).unwrap();
    assert_eq!(third.branch, b"z9hG4bK30239");
    assert_eq!(message.body().len(), 150);
    assert_eq!(message.other(b"subject").map(|(_, h)| message.slice(h.value)), Some(&b""[..]));
}

#[test]
fn other_torture_details() {
    let bytes = torture("rfc4475-dblreq");
    let message = Message::parse(&bytes, &Limits::default()).unwrap();
    assert!(message.bytes().len() < bytes.len());
    assert_eq!(message.body(), b"");

    let bytes = torture("rfc4475-intmeth");
    let message = Message::parse(&bytes, &Limits::default()).unwrap();
    let uri = Uri::parse(message.request_uri()).unwrap();
    assert_eq!(uri.host, Host::Name(b"example.com"));
    assert_eq!(uri.user, b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*");
    assert_eq!(message.from_tag(), b"_token~1'+`*%!-.");

    let bytes = torture("rfc4475-longreq");
    let message = Message::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(message.values(wire::HeaderName::Via).count(), 34);

    let bytes = torture("rfc5118-port-ambiguous");
    let message = Message::parse(&bytes, &Limits::default()).unwrap();
    let uri = Uri::parse(message.request_uri()).unwrap();
    assert_eq!(uri.host, Host::Address("2001:db8::10:5070".parse().unwrap()));
    assert_eq!(uri.port, None);
}

#[test]
fn every_clean_message_is_read() {
    let entries = corpus::legit();
    assert_eq!(entries.len(), 352);
    let mut refused = Vec::new();
    for entry in &entries {
        match Message::parse(&entry.payload, &Limits::default()) {
            Ok(message) => {
                let mut scratch = Vec::new();
                let mut out = Vec::new();
                Splice::new(&message, &mut scratch).write(&mut out).unwrap();
                assert_eq!(out, entry.payload, "bit for bit");
            }
            Err(reason) => refused.push(format!(
                "{reason} {} {}\n{}",
                entry.text("ua"),
                entry.text("kind"),
                String::from_utf8_lossy(&entry.payload)
            )),
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n----\n"));
}

#[test]
fn attacks_are_judged_and_never_a_panic() {
    let (mut read, mut refused) = (0, 0);
    for entry in corpus::attacks() {
        match Message::parse(&entry.payload, &Limits::default()) {
            Ok(message) => {
                read += 1;
                assert!(!message.call_id().is_empty());
            }
            Err(reason) => {
                refused += 1;
                assert!(Malformed::ALL.contains(&reason));
            }
        }
        let _ = Message::parse_answerable(&entry.payload, &Limits::default());
    }
    // Most scanners speak SIP well enough to be read; fuzzers do not.
    assert!(read > 40 && refused > 10, "read {read}, refused {refused}");
}
