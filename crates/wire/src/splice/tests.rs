use super::*;
use crate::{HeaderName, Limits};

const TEXT: &str = "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP a,SIP/2.0/UDP b\r\n\
                    Route: <sip:1>, <sip:2> ,<sip:3>\r\nRoute: <sip:4>,\r\nFrom: <sip:a@b>;tag=1\r\n\
                    To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\nbody";

fn spliced(edit: impl FnOnce(&mut Splice<'_, '_>)) -> String {
    let message = Message::parse(TEXT.as_bytes(), &Limits::default()).unwrap();
    let (mut text, mut out) = (b"old".to_vec(), b">".to_vec());
    let mut splice = Splice::new(&message, &mut text);
    edit(&mut splice);
    splice.write(&mut out).unwrap();
    String::from_utf8(out).unwrap().strip_prefix('>').unwrap().to_owned()
}

#[test]
fn no_edit_is_identity() {
    assert_eq!(spliced(|_| {}), TEXT);
}

#[test]
fn edits_in_any_order() {
    let out = spliced(|splice| {
        let message = splice.message();
        let (to, to_line) = message.lines(HeaderName::To).next().unwrap();
        let via = message.headers()[0].line.start;
        splice.insert(message.headers_end(), |text| text.extend_from_slice(b"Z: 1\r\n"));
        splice.insert(to_line.value.end, |text| text.extend_from_slice(b";tag=2"));
        splice.replace(message.request_uri_span(), b"sip:other");
        splice.insert(via, |text| text.extend_from_slice(b"A: 1\r\n"));
        splice.insert(via, |text| text.extend_from_slice(b"B: 1\r\n"));
        splice.replace(message.headers()[0].name_span, b"v");
        splice.delete_line(to - 1);
    });
    let expected = TEXT
        .replace("sip:h", "sip:other")
        .replace("Via:", "A: 1\r\nB: 1\r\nv:")
        .replace("From: <sip:a@b>;tag=1\r\n", "")
        .replace("<sip:c@d>", "<sip:c@d>;tag=2")
        .replace("\r\n\r\nbody", "\r\nZ: 1\r\n\r\nbody");
    assert_eq!(out, expected);
}

/// Every set of the five Routes taken away, in both orders.
#[test]
fn values_go_with_their_commas() {
    let lines = |set: u32| match set & 7 {
        0 => "Route: <sip:1>, <sip:2> ,<sip:3>\r\n",
        1 => "Route: <sip:2> ,<sip:3>\r\n",
        2 => "Route: <sip:1>, <sip:3>\r\n",
        3 => "Route: <sip:3>\r\n",
        4 => "Route: <sip:1>, <sip:2>\r\n",
        5 => "Route: <sip:2>\r\n",
        6 => "Route: <sip:1>\r\n",
        _ => "",
    };
    for set in 0..16u32 {
        for backwards in [false, true] {
            let out = spliced(|splice| {
                let message = splice.message();
                let mut values: Vec<_> = message
                    .values(HeaderName::Route)
                    .enumerate()
                    .filter(|(index, _)| set & (1 << index) != 0)
                    .collect();
                if backwards {
                    values.reverse();
                }
                for (_, value) in values {
                    splice.delete_value(&value);
                    splice.delete_value(&value);
                }
            });
            let mut expected = TEXT.replace(lines(0), lines(set));
            if set & 8 != 0 {
                expected = expected.replace("Route: <sip:4>,\r\n", "");
            }
            assert_eq!(out, expected, "{set:b}");
        }
    }
}

#[test]
fn top_via_goes() {
    let out = spliced(|splice| splice.delete_value(&splice.message().via_value()));
    assert_eq!(out, TEXT.replace("SIP/2.0/UDP a,", ""));
}

#[test]
fn insert_inside_replaced_bytes_comes_behind() {
    let out = spliced(|splice| {
        let span = splice.message().request_uri_span();
        splice.insert(span.start + 1, |text| text.push(b'!'));
        splice.replace(span, b"x");
    });
    assert_eq!(out, TEXT.replace("sip:h", "x!"));
}

#[test]
fn too_many_edits_write_nothing() {
    let message = Message::parse(TEXT.as_bytes(), &Limits::default()).unwrap();
    for edits in [EDITS_MAX, EDITS_MAX + 1] {
        let (mut text, mut out) = (Vec::new(), Vec::new());
        let mut splice = Splice::new(&message, &mut text);
        for _ in 0..edits {
            splice.insert(0, |text| text.push(b'x'));
        }
        let result = splice.write(&mut out);
        assert_eq!(result.is_err(), edits > EDITS_MAX);
        assert_eq!(out.is_empty(), result.is_err());
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "overlapping edits")]
fn overlapping_replacements_are_a_mistake() {
    spliced(|splice| {
        splice.replace(Span { start: 0, end: 4 }, b"a");
        splice.replace(Span { start: 3, end: 5 }, b"b");
    });
}

#[test]
fn what_came_behind_a_mark_is_taken_back_and_the_length_is_known_before() {
    let message = Message::parse(TEXT.as_bytes(), &Limits::default()).unwrap();
    let mut text = Vec::new();
    let mut splice = Splice::new(&message, &mut text);
    let routes: Vec<_> = message.values(HeaderName::Route).collect();
    splice.delete_value(&routes[1]);
    splice.insert(message.headers_end(), |text| text.extend_from_slice(b"Z: 1\r\n"));
    let mark = splice.mark();
    for last in [false, true] {
        splice.replace(message.request_uri_span(), b"sip:another");
        splice.delete_value(&routes[0]);
        splice.delete_line(message.headers().len() - 1);
        let expected = splice.length();
        let mut out = Vec::new();
        match last {
            false => splice.back_to(mark),
            true => {
                splice.write(&mut out).unwrap();
                assert_eq!(out.len(), expected);
                let out = String::from_utf8(out).unwrap();
                assert!(out.starts_with("OPTIONS sip:another SIP/2.0\r\n"), "{out}");
                assert!(out.contains("\r\nRoute: <sip:3>\r\n") && !out.contains("CSeq"), "{out}");
                assert!(out.ends_with("\r\nZ: 1\r\n\r\nbody"), "{out}");
            }
        }
    }
    // a datagram that ends without the empty line gets it
    let cut = TEXT.strip_suffix("\r\nbody").unwrap();
    let message = Message::parse(cut.as_bytes(), &Limits::default()).unwrap();
    let (mut text, mut out) = (Vec::new(), Vec::new());
    let mut splice = Splice::new(&message, &mut text);
    let expected = splice.length();
    splice.write(&mut out).unwrap();
    assert_eq!((out.len(), expected), (cut.len() + 2, cut.len() + 2));
}
