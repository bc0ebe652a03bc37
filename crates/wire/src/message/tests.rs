use super::*;

const LIMITS: &Limits = &Limits {
    message_bytes: 65_535,
    start_line_bytes: 2_048,
    header_bytes: 16_384,
    header_lines: 128,
    header_line_bytes: 8_192,
    via_values: 70,
    body_bytes: 65_535,
};

/// A request with `lines` in the place of lines of the same name, or added.
fn request(lines: &[&str]) -> String {
    with_start("OPTIONS sip:h SIP/2.0", lines)
}

fn with_start(start: &str, lines: &[&str]) -> String {
    let usual = [
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
        "From: <sip:a@b>;tag=1",
        "To: <sip:c@d>",
        "Call-ID: x@y",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
    ];
    let name = |line: &str| line.split(':').next().unwrap_or_default().trim().to_lowercase();
    let mut text = format!("{start}\r\n");
    for line in usual {
        if !lines.iter().any(|other| name(other) == name(line)) {
            text += &format!("{line}\r\n");
        }
    }
    for line in lines.iter().filter(|line| !line.is_empty()) {
        text += &format!("{line}\r\n");
    }
    text + "\r\n"
}

fn refusal(bytes: impl AsRef<[u8]>) -> Option<Malformed> {
    Message::parse(bytes.as_ref(), LIMITS).err()
}

#[test]
fn everything_at_hand() {
    let text = request(&["Content-Length: 3", "Expires: 60", "Zz: 1"]) + "abcjunk";
    let message = Message::parse(text.as_bytes(), LIMITS).unwrap();
    assert!(message.is_request());
    assert_eq!(message.method(), Method::Options);
    assert_eq!(message.request_uri(), b"sip:h");
    assert_eq!(message.status(), 0);
    assert_eq!(message.call_id(), b"x@y");
    assert_eq!(message.cseq(), CSeq { number: 1, method: Method::Options });
    assert_eq!((message.from_tag(), message.to_tag()), (&b"1"[..], &b""[..]));
    assert_eq!(message.from().uri, b"sip:a@b");
    assert_eq!(message.via().branch, b"z9hG4bK1");
    assert_eq!(message.via_value().bytes, b"SIP/2.0/UDP h;branch=z9hG4bK1");
    assert_eq!(message.max_forwards(), Some(70));
    assert_eq!(message.expires(), Some(60));
    assert_eq!(message.content_length(), Some(3));
    assert_eq!(message.body(), b"abc");
    assert!(message.bytes().ends_with(b"\r\n\r\nabc"));
    let (index, header) = message.other(b"zZ").unwrap();
    assert_eq!(index, message.headers().len() - 1);
    assert_eq!(message.slice(header.line), b"Zz: 1\r\n");
    assert_eq!(message.slice(header.name_span), b"Zz");
    assert_eq!(usize::from(message.headers_end()), usize::from(header.line.end));
}

#[test]
fn responses() {
    for (start, status, reason) in [
        ("SIP/2.0 200 OK", 200, "OK"),
        ("sip/2.0 699 a  b ", 699, "a  b "),
        ("SIP/2.0 100 ", 100, ""),
        ("SIP/2.0 183", 183, ""),
    ] {
        let text = with_start(start, &[]);
        let message = Message::parse(text.as_bytes(), LIMITS).unwrap();
        assert_eq!(message.status(), status);
        assert_eq!(message.method(), Method::Options, "of the CSeq");
        let StartLine::Response { reason: span, .. } = message.start_line() else {
            panic!("{start}")
        };
        assert_eq!(message.slice(span), reason.as_bytes());
    }
}

#[test]
fn start_lines_refused() {
    for (start, reason) in [
        ("OPTIONS sip:h", Malformed::StartLine),
        ("OPTIONS", Malformed::StartLine),
        (" OPTIONS sip:h SIP/2.0", Malformed::StartLine),
        ("OPT<ONS sip:h SIP/2.0", Malformed::StartLine),
        ("OPTIONS sip:h SIP/2.0 ", Malformed::StartLine),
        ("OPTIONS sip:h SIP2.0", Malformed::StartLine),
        ("GET / HTTP/1.1", Malformed::StartLine),
        ("OPTIONS  sip:h SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip:h  SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip:h;x y SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip:h\ty SIP/2.0", Malformed::RequestUri),
        ("OPTIONS <sip:h> SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip:h\u{7f} SIP/2.0", Malformed::RequestUri),
        ("OPTIONS h SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip: SIP/2.0", Malformed::RequestUri),
        ("OPTIONS  SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip:::1 SIP/2.0", Malformed::RequestUri),
        ("OPTIONS sip:h SIP/7.0", Malformed::UnsupportedVersion),
        ("OPTIONS sip:h SIP/2.00", Malformed::UnsupportedVersion),
        ("SIP/3.0 200 OK", Malformed::UnsupportedVersion),
        ("SIP/2.0 099 OK", Malformed::Status),
        ("SIP/2.0 700 OK", Malformed::Status),
        ("SIP/2.0 20 OK", Malformed::Status),
        ("SIP/2.0 4294967301 OK", Malformed::Status),
        ("SIP/2.0  200 OK", Malformed::Status),
        ("SIP/2.0 +20 OK", Malformed::Status),
        ("OPTIONS\0sip:h SIP/2.0", Malformed::Nul),
        ("OPTIONS sip:h\rSIP/2.0", Malformed::BareCr),
        ("OPTIONS sip:h\nSIP/2.0", Malformed::BareLf),
        ("\nOPTIONS sip:h SIP/2.0", Malformed::BareLf),
    ] {
        assert_eq!(refusal(with_start(start, &[])), Some(reason), "{start:?}");
    }
    for start in ["OPTIONS tel:+1 SIP/2.0", "OPTIONS sip:#x@h sip/2.0", "X.y sip:h SIP/2.0"] {
        let text = with_start(start, &[&format!("CSeq: 1 {}", start.split(' ').next().unwrap())]);
        assert_eq!(refusal(text), None, "{start}");
    }
}

#[test]
fn header_lines_refused() {
    for (line, reason) in [
        ("Zz:\r\n \r\n\ty", Malformed::EmptyFold),
        ("Zz: x\r\n \t", Malformed::EmptyFold),
        ("Content-Length: -1", Malformed::ContentLength),
        ("Content-Length: +0", Malformed::ContentLength),
        ("Content-Length: 0x0", Malformed::ContentLength),
        ("Content-Length: 0, 0", Malformed::ContentLength),
        ("Content-Length:", Malformed::ContentLength),
        ("Content-Length: 4294967296", Malformed::BodyTooLong),
        ("l: 99999999999999999999999999", Malformed::BodyTooLong),
        ("Content-Length: 1", Malformed::BodyUnfinished),
        ("Max-Forwards: 256", Malformed::MaxForwards),
        ("Max-Forwards: -1", Malformed::MaxForwards),
        ("Max-Forwards: 4294967296", Malformed::MaxForwards),
        ("CSeq: 2147483648 OPTIONS", Malformed::CSeq),
        ("CSeq: 1OPTIONS", Malformed::CSeq),
        ("CSeq: OPTIONS", Malformed::CSeq),
        ("CSeq: -1 OPTIONS", Malformed::CSeq),
        ("CSeq: 1 OPTIONS x", Malformed::CSeq),
        ("CSeq: 1 options", Malformed::CSeqMethod),
        ("Call-ID:", Malformed::CallId),
        ("Call-ID: a b", Malformed::CallId),
        ("Call-ID: a\u{1}b", Malformed::CallId),
        ("From: \"x <sip:a@b>;tag=1", Malformed::From),
        ("From: <sip:a@b>;tag=1;tag=2", Malformed::From),
        ("From: <sip:a@b", Malformed::From),
        ("To:", Malformed::To),
        ("To: <sip:c@d>;tag;tag=2", Malformed::To),
        ("To: <sip:c@d>;tag=;tag=2", Malformed::To),
        ("To: <sip:a@b> <sip:c@d>", Malformed::To),
        ("Via: SIP/2.0/UDP", Malformed::Via),
        ("Via: , SIP/2.0/UDP h", Malformed::Via),
        ("Via: SIP/2.0/UDP 192.0.2.15;;,;,,", Malformed::Via),
        ("Via: ,", Malformed::Via),
        ("Zz Y: z", Malformed::HeaderName),
        ("Zz\u{b}: z", Malformed::HeaderName),
        ("Zz\u{c}: z", Malformed::HeaderName),
        ("Zz<: z", Malformed::HeaderName),
        (": z", Malformed::HeaderName),
        ("Zz", Malformed::HeaderName),
        ("Zz\0: z", Malformed::Nul),
        ("Zz: \0", Malformed::Nul),
        ("Zz: \\\0", Malformed::Nul),
        ("Zz: \"a\" \\\0", Malformed::Nul),
        ("Zz: \"\\\\\0\"", Malformed::Nul),
        ("Zz: a\rY: b", Malformed::BareCr),
        ("Zz: a\nY: b", Malformed::BareLf),
        ("Zz: \"\\\r\"", Malformed::BareCr),
        ("Zz\r: a", Malformed::BareCr),
        ("Zz\n: a", Malformed::BareLf),
    ] {
        assert_eq!(refusal(request(&[line])), Some(reason), "{line:?}");
    }
}

#[test]
fn missing_and_repeated_headers() {
    for (name, missing) in [
        ("Via", Malformed::ViaMissing),
        ("From", Malformed::FromMissing),
        ("To", Malformed::ToMissing),
        ("Call-ID", Malformed::CallIdMissing),
        ("CSeq", Malformed::CSeqMissing),
    ] {
        let text = request(&[]);
        let start = text.find(&format!("\r\n{name}:")).unwrap() + 2;
        let end = start + text[start..].find("\r\n").unwrap() + 2;
        assert_eq!(refusal([&text[..start], &text[end..]].concat()), Some(missing));
    }
    for line in
        ["f: <sip:a@b>;tag=1", "t: <sip:c@d>", "i: x@y", "cseq: 1 OPTIONS", "MAX-FORWARDS: 70"]
    {
        let text = request(&[]).replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        assert_eq!(refusal(text), Some(Malformed::DuplicateHeader), "{line}");
    }
    assert_eq!(refusal(request(&["l: 0", "Content-Length: 0"])), Some(Malformed::DuplicateHeader));
    for (a, b, reason) in [
        ("Content-Type: a/b", "c: a/b", None),
        ("Content-Type: a/b", "c: a/c", Some(Malformed::DuplicateHeader)),
        ("Expires: 1", "Expires: 2", Some(Malformed::DuplicateHeader)),
        ("Event: a", "o: b", Some(Malformed::DuplicateHeader)),
        ("User-Agent: a", "User-Agent: b", None),
        ("Contact: <sip:a@b>", "m: <sip:c@d>", None),
    ] {
        assert_eq!(refusal(request(&[a, b])), reason, "{a} {b}");
    }
}

#[test]
fn forgiven() {
    for line in [
        "Max-Forwards: 0070",
        "CSeq: 0002147483647\t \r\n OPTIONS",
        "Zz:",
        "Zz:\r\n \ty",
        "Zz \t : z",
        "Zz: \"\\\0\"",
        "Zz: \"a\r\n \\\0\"",
        "Subject: \u{1}\u{7f}\u{fc}",
        "Via: SIP/2.0/UDP h, broken",
        "To: <sip:c@d>;tag=1;tag=2",
        "From: sip:anonymous@anonymous.invalid",
        "From: \"\" <sip:a#b@c>;tag=1",
        "Content-Length :  0 ",
    ] {
        assert_eq!(refusal(request(&[line])), None, "{line:?}");
    }
    let text = request(&[]);
    assert_eq!(refusal(format!("\r\n\r\n\r\n\r\n{text}")), None);
    assert_eq!(refusal(format!("\r\n\r\n\r\n\r\n\r\n{text}")), Some(Malformed::StartLine));
    assert_eq!(refusal(text.replace("Max-Forwards: 70\r\n", "")), None);
    let mut latin = request(&["Subject: z"]).into_bytes();
    let at = latin.iter().rposition(|b| *b == b'z').unwrap();
    latin[at] = 0xfc;
    assert_eq!(refusal(latin), None);
}

#[test]
fn every_cut_is_refused() {
    let text = request(&["Content-Length: 3"]) + "abc";
    for end in 0..text.len() {
        let reason = refusal(&text[..end]);
        let expected = if end == 0 {
            Malformed::Empty
        } else if text[..end].ends_with("\r\n") && end + 3 < text.len() {
            // the last line is whole: others are missing, or nothing that must be there
            assert_ne!(reason, Some(Malformed::HeadUnfinished), "at {end}");
            continue;
        } else if end + 3 < text.len() {
            Malformed::HeadUnfinished
        } else {
            Malformed::BodyUnfinished
        };
        assert_eq!(reason, Some(expected), "at {end}");
    }
    assert_eq!(refusal("\r\n\r\n"), Some(Malformed::Empty));
}

#[test]
fn the_empty_line_may_be_missing() {
    let text = request(&["Content-Length: 0"]);
    let open = text.strip_suffix("\r\n").unwrap();
    let message = Message::parse(open.as_bytes(), &Limits::default()).unwrap();
    assert_eq!((message.bytes(), message.body()), (open.as_bytes(), &b""[..]));
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    crate::Splice::new(&message, &mut scratch).write(&mut out).unwrap();
    assert_eq!(out, text.as_bytes(), "it goes on with one");
}

#[test]
fn bounds() {
    let text = request(&["Zz: 1\r\n 2"]);
    let head = text.len() - 2 - "OPTIONS sip:h SIP/2.0\r\n".len();
    let set = |limits: Limits| Message::parse(text.as_bytes(), &limits).err();
    let limits = *LIMITS;
    for (limits, reason) in [
        (Limits { message_bytes: text.len() - 1, ..limits }, Malformed::TooLong),
        (Limits { start_line_bytes: 20, ..limits }, Malformed::StartLineTooLong),
        (Limits { header_bytes: head - 1, ..limits }, Malformed::HeadersTooLong),
        (Limits { header_lines: 6, ..limits }, Malformed::TooManyHeaders),
        (Limits { header_line_bytes: 33, ..limits }, Malformed::HeaderLineTooLong),
    ] {
        assert_eq!(set(limits), Some(reason));
    }
    let exact = Limits {
        message_bytes: text.len(),
        start_line_bytes: 21,
        header_bytes: head,
        header_lines: 7,
        header_line_bytes: 34,
        via_values: 1,
        body_bytes: 0,
    };
    assert_eq!(set(exact), None);

    let vias = request(&["Via: SIP/2.0/UDP h,SIP/2.0/UDP i", "v: SIP/2.0/UDP j"]);
    let few = Limits { via_values: 2, ..limits };
    assert_eq!(Message::parse(vias.as_bytes(), &few).err(), Some(Malformed::TooManyVias));
    assert_eq!(refusal(vias), None);
    let body = request(&[]) + "ab";
    let small = Limits { body_bytes: 1, ..limits };
    assert_eq!(Message::parse(body.as_bytes(), &small).err(), Some(Malformed::BodyTooLong));
    assert_eq!(refusal(vec![b'a'; 65_536]), Some(Malformed::TooLong));
    assert_eq!(refusal(vec![b'a'; 65_535]), Some(Malformed::StartLineTooLong));
    let many = request(&vec!["Zz: y"; 200]);
    assert_eq!(refusal(many), Some(Malformed::TooManyHeaders));
}

#[test]
fn values_are_parted_at_commas_that_part() {
    let text = request(&[
        "Contact: \"a, b\" <sip:a,b@c>;x=\"1,2\" , , <sip:d@e>",
        "m: sip:f(g@h,\r\n sip:i)j@k",
        "Contact:",
        "Warning: 399 h (a, (b\\), c)), 1",
        "Allow: A,B",
    ]);
    let message = Message::parse(text.as_bytes(), LIMITS).unwrap();
    let contacts: Vec<_> = message.values(HeaderName::Contact).collect();
    let bytes: Vec<_> =
        contacts.iter().map(|value| value.bytes.escape_ascii().to_string()).collect();
    let expected = [r#"\"a, b\" <sip:a,b@c>;x=\"1,2\""#, "<sip:d@e>", "sip:f(g@h", "sip:i)j@k"];
    assert_eq!(bytes, expected);
    let edges: Vec<_> = contacts.iter().map(|value| (value.first, value.last)).collect();
    assert_eq!(edges, [(true, false), (false, true), (true, false), (false, true)]);
    for value in &contacts {
        assert_eq!(message.slice(value.span), value.bytes);
    }
    assert_eq!(message.value(HeaderName::Allow), Some(&b"A,B"[..]));
    let others: Vec<_> = message.values(HeaderName::Other).map(|value| value.bytes).collect();
    assert_eq!(others, [&b"399 h (a, (b\\), c))"[..], b"1"]);
    assert_eq!(message.values(HeaderName::Route).count(), 0);
}

/// A line full of openings that nothing closes is read in one go, not once for each of them.
#[test]
fn unclosed_openings() {
    let line = format!("Contact: {},a", "<".repeat(8_000));
    let text = request(&[&line, &format!("Zz: {},a", "(".repeat(8_000))]);
    let message = Message::parse(text.as_bytes(), LIMITS).unwrap();
    assert_eq!(message.values(HeaderName::Contact).count(), 2);
    assert_eq!(message.values(HeaderName::Other).count(), 2);
}

#[test]
fn answerable_though_refused() {
    for text in [
        with_start("OPTIONS  sip:h  SIP/2.0", &[]),
        with_start("OPTIONS sip:h SIP/2.0  ", &[]),
        with_start("OPTIONS sip:h SIP/7.0", &["Via: SIP/7.0/UDP h"]),
        request(&["Max-Forwards: 300"]),
        request(&["Content-Length: 5"]),
        request(&["Content-Length: -5"]),
        request(&["CSeq: 1 INVITE"]),
        request(&["Expires: 1", "Expires: 2"]),
    ] {
        assert!(refusal(&text).is_some(), "{text}");
        let message = Message::parse_answerable(text.as_bytes(), LIMITS).unwrap();
        assert_eq!(message.method(), Method::Options);
        assert_eq!(message.body(), b"");
    }
    for text in [
        request(&["To: \"<sip:c@d>"]),
        request(&["CSeq: 1"]),
        request(&["Via: x"]),
        with_start("SIP/2.0 200 OK", &["Max-Forwards: 300"]),
        with_start("HTTP/1.1 200 OK", &[]),
    ] {
        assert!(Message::parse_answerable(text.as_bytes(), LIMITS).is_err(), "{text}");
    }
}
