#![allow(clippy::unwrap_used)]
use super::*;
use crate::MethodSet;
use wire::Limits;

const INVITE: &str = "INVITE sip:900972@pbx.example.com SIP/2.0\r\n\
To: <sip:900972@pbx.example.com>\r\n\
From: 1<sip:1@192.0.2.9>;tag=2fd7b751\r\n\
Via: SIP/2.0/UDP 192.0.2.9:5071;branch=z9hG4bK-897b2a55;rport\r\n\
Call-ID: 897b2a55\r\n\
CSeq: 1 INVITE\r\n\
Contact:  <sip:1@10.0.10.1:5071>\r\n\
Max-Forwards: 70\r\n\
User-Agent: SipCli/v1.8\r\n\
X-Odd: yes, no\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 42\r\n\
\r\n\
v=0\r\n\
o=sipcli-Session 1 1 IN IP4 x\r\n\
s=cli\r\n";

fn words(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|word| (*word).into()).collect()
}

fn is(word: &str) -> Test {
    Test::Is(words(&[word]))
}

fn spec(id: &str, ceiling: Ceiling, when: Condition) -> SignatureSpec {
    let empty: Box<str> = "".into();
    SignatureSpec {
        id: id.into(),
        ceiling,
        mode: Mode::Enforce,
        what: empty.clone(),
        source: empty.clone(),
        false_positives: empty,
        when,
    }
}

fn compile(when: Condition) -> Result<Signatures, SignatureError> {
    Signatures::compile(vec![spec("it", Ceiling::Note, when)])
}

fn holds(when: Condition) -> bool {
    let message = Message::parse(INVITE.as_bytes(), &Limits::default()).unwrap();
    !compile(when).unwrap().matches(&message).is_empty()
}

#[test]
fn texts_are_tested_in_five_ways() {
    use Condition::Text;
    use TextField as F;
    assert!(holds(Text(F::UserAgent, is("sipcli/V1.8"))));
    assert!(!holds(Text(F::UserAgent, is("sipcli/v1"))));
    assert!(holds(Text(F::UserAgent, Test::Starts(words(&["x", "sipcli"])))));
    assert!(!holds(Text(F::UserAgent, Test::Starts(words(&["ipcli"])))));
    assert!(holds(Text(F::UserAgent, Test::Ends(words(&["v1.8"])))));
    assert!(!holds(Text(F::UserAgent, Test::Ends(words(&["v1"])))));
    assert!(holds(Text(F::UserAgent, Test::Contains(words(&["CLI/"])))));
    assert!(!holds(Text(F::UserAgent, Test::Contains(words(&["cli."])))));
    assert!(holds(Text(F::Branch, Test::Matches(words(&["z9hG4bK-[0-9a-f]{8}"])))));
    assert!(!holds(Text(F::Branch, Test::Matches(words(&["z9hG4bK-[0-9a-f]{7}"])))));
    assert!(!holds(Text(F::FromTag, is("2FD7B751"))), "tags have letter case");
}

#[test]
fn each_field_is_read_where_it_stands() {
    use TextField as F;
    let fields = [
        (F::UserAgent, "SipCli/v1.8"),
        (F::Branch, "z9hG4bK-897b2a55"),
        (F::ViaHost, "192.0.2.9"),
        (F::FromTag, "2fd7b751"),
        (F::CallId, "897b2a55"),
        (F::FromName, "1"),
        (F::RequestUser, "900972"),
        (F::RequestHost, "PBX.example.com"),
        (F::FromUser, "1"),
        (F::FromHost, "192.0.2.9"),
        (F::ToUser, "900972"),
        (F::ToHost, "pbx.example.com"),
        (F::ContactUser, "1"),
        (F::ContactHost, "10.0.10.1"),
        (F::AnyUser, "1"),
        (F::AnyHost, "10.0.10.1"),
        (F::Sdp, "s=cli"),
        (F::SdpSession, "cli"),
        (F::SdpOrigin, "sipcli-Session 1 1 IN IP4 x"),
    ];
    for (field, text) in fields {
        assert!(holds(Condition::Text(field, is(text))), "{field:?}");
        assert!(!holds(Condition::Text(field, is("else"))), "{field:?}");
    }
    assert!(holds(Condition::Text(F::Body, Test::Starts(words(&["v=0\r\n"])))));
}

#[test]
fn headers_and_the_frame() {
    use Condition as C;
    assert!(holds(C::Header("x-odd".into(), Test::Contains(words(&["NO"])))));
    assert!(!holds(C::Header("X-Even".into(), Test::Contains(words(&["no"])))));
    assert!(holds(C::Present("content-type".into())));
    assert!(!holds(C::Present("Subject".into())));
    assert!(holds(C::Padded("Contact".into())));
    assert!(!holds(C::Padded("To".into())));
    assert!(holds(C::ViaParams(words(&["branch", "RPORT"]))));
    assert!(!holds(C::ViaParams(words(&["branch"]))));
    assert!(!holds(C::ViaParams(words(&["branch", "rport", "alias"]))));
    assert!(holds(C::MaxForwards(vec![20, 70])));
    assert!(!holds(C::MaxForwards(vec![20])));
    assert!(holds(C::Method(MethodSet::of(&["INVITE"]).unwrap())));
    assert!(!holds(C::Method(MethodSet::of(&["OPTIONS"]).unwrap())));
    assert!(holds(C::Transport(words(&["udp"]))));
    assert!(!holds(C::Transport(words(&["tcp"]))));
    let all = ["To", "From", "Via", "Call-ID", "CSeq", "Contact", "Max-Forwards", "User-Agent"];
    let order = |order, names: &[&str]| holds(C::HeaderOrder(order, words(names)));
    assert!(order(Order::Starts, &all));
    assert!(!order(Order::Exactly, &all));
    let mut all = all.to_vec();
    all.extend(["X-Odd", "Content-Type", "Content-Length"]);
    assert!(order(Order::Exactly, &all));
    assert!(order(Order::Before, &["To", "via", "Content-Type"]));
    assert!(!order(Order::Before, &["Via", "To"]));
    assert!(!order(Order::Before, &["Via", "Subject"]));
}

#[test]
fn relations_between_fields() {
    let so = |text: &str, what| {
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        !compile(Condition::Peculiar(what)).unwrap().matches(&message).is_empty()
    };
    use Peculiarity as P;
    let cases = [
        (P::NoMagicCookie, "branch=z9hG4bK-", "branch=y9hG4bK-"),
        (P::FromIsTo, "From: 1<sip:1@192.0.2.9>", "From: <sip:900972@pbx.EXAMPLE.com>"),
        (P::UserAgentIsFromUser, "SipCli/v1.8", "1"),
        (P::TagIsCallId, "tag=2fd7b751", "tag=897b2a55"),
        (P::ViaIsTarget, "UDP 192.0.2.9:5071", "UDP pbx.example.com:5071"),
    ];
    let long = format!("tag={}", "7".repeat(200));
    let cases = cases.into_iter().chain([(P::LongTag, "tag=2fd7b751", long.as_str())]);
    for (what, from, to) in cases {
        assert!(!so(INVITE, what), "{what:?}");
        assert!(so(&INVITE.replace(from, to), what), "{what:?}");
    }
    assert!(so(INVITE, P::BranchIsCallId));
    assert!(!so(&INVITE.replace("Call-ID: 8", "Call-ID: 9"), P::BranchIsCallId));
}

#[test]
fn conditions_combine() {
    use Condition as C;
    let yes = || C::Text(TextField::CallId, is("897b2a55"));
    let no = || C::Text(TextField::CallId, is("x"));
    assert!(holds(C::All(vec![yes(), yes()])));
    assert!(!holds(C::All(vec![yes(), no()])));
    assert!(holds(C::Any(vec![no(), yes()])));
    assert!(!holds(C::Any(vec![no(), no()])));
    assert!(holds(C::Not(Box::new(no()))));
    assert!(!holds(C::Not(Box::new(yes()))));
    let three = |least| C::AtLeast(least, vec![yes(), no(), C::MaxForwards(vec![70])]);
    assert!(holds(three(2)));
    assert!(!holds(three(3)));
    // all of it without anything that is there
    assert!(holds(C::All(vec![
        C::Not(Box::new(no())),
        C::Any(vec![no(), C::Not(Box::new(no()))])
    ])));
}

#[test]
fn the_heaviest_come_first_and_off_never_comes() {
    let always = || Condition::MaxForwards(vec![70]);
    let mut specs = vec![
        spec("note", Ceiling::Note, always()),
        spec("drop", Ceiling::Drop, always()),
        spec("off", Ceiling::Drop, always()),
        spec("score", Ceiling::Score, always()),
    ];
    specs[2].mode = Mode::Off;
    let message = Message::parse(INVITE.as_bytes(), &Limits::default()).unwrap();
    let signatures = Signatures::compile(specs.clone()).unwrap();
    assert_eq!(signatures.matches(&message).as_slice(), [1, 3, 0]);
    assert_eq!(&*signatures.list()[3].id, "score");
    for _ in 0..20 {
        specs.insert(0, spec("more", Ceiling::Note, always()));
    }
    let hits = Signatures::compile(specs).unwrap().matches(&message);
    assert_eq!(hits.len(), HITS_MAX);
    assert_eq!(hits[0], 21);
    assert!(Signatures::default().matches(&message).is_empty());
}

#[test]
fn responses_match_nothing() {
    let signatures = compile(Condition::Text(TextField::CallId, is("897b2a55"))).unwrap();
    let text = INVITE.replace("INVITE sip:900972@pbx.example.com SIP/2.0", "SIP/2.0 200 OK");
    let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
    assert!(signatures.matches(&message).is_empty());
}

#[test]
fn what_cannot_be_compiled_is_told_with_its_place() {
    use Condition as C;
    let fine = || C::MaxForwards(vec![70]);
    let bad = |condition| {
        let when = C::All(vec![fine(), C::Any(vec![fine(), condition])]);
        let specs = vec![spec("a", Ceiling::Note, fine()), spec("b", Ceiling::Note, when)];
        let error = Signatures::compile(specs).unwrap_err();
        assert_eq!((error.signature, &*error.id, error.condition), (1, "b", Some(2)), "{error}");
        error.problem
    };
    let text = |test| C::Text(TextField::UserAgent, test);
    let matches = |word: &str| text(Test::Matches(words(&[word])));
    assert!(bad(matches("(")).contains("unclosed group"));
    bad(matches(&"a{1000}{1000}".repeat(3)));
    bad(matches(".*a.{40}"));
    assert!(bad(text(Test::Is(vec![]))).contains("empty"));
    assert!(bad(text(Test::Contains(words(&[""])))).contains("empty text"));
    assert!(bad(C::Present("a b".into())).contains("no header name"));
    assert!(bad(C::Present("v".into())).contains("long name"));
    bad(C::HeaderOrder(Order::Exactly, vec![]));
    assert!(compile(C::All(vec![])).is_err());
    assert!(compile(C::AtLeast(2, vec![fine()])).is_err());
    let deep = (0..20).fold(fine(), |inner, _| C::Not(Box::new(inner)));
    assert!(compile(deep).unwrap_err().problem.contains("deep"));
}

#[test]
fn patterns_that_are_too_much_together_name_the_first_of_them() {
    let test = |index: usize| {
        Test::Matches(words(&[&format!(".*{}.{{9}}", (b'a' + index as u8) as char)]))
    };
    let specs = (0..12).map(|index| {
        spec(&index.to_string(), Ceiling::Note, Condition::Text(TextField::CallId, test(index)))
    });
    let error = Signatures::compile(specs.collect()).unwrap_err();
    assert!(error.signature > 0 && error.signature < 12, "{error}");
    assert_eq!((&*error.id, error.condition), (&*error.signature.to_string(), Some(0)));
    assert!(error.problem.contains("together"), "{error}");
}

#[test]
fn schemes_are_told_by_all_their_letters() {
    use super::facts::behind_scheme;
    for scheme in ["sip:", "sips:", "SIP:", "SiPs:"] {
        assert_eq!(behind_scheme(format!("{scheme}a").as_bytes()), Some(&b"a"[..]), "{scheme}");
    }
    for other in
        ["", "sip", "tel:1", "sip;a", "sipa:", "sips", "sips;", "sip\x1aa", "\x53IP\x1a", "3ip:a"]
    {
        assert_eq!(behind_scheme(other.as_bytes()), None, "{other}");
    }
}
