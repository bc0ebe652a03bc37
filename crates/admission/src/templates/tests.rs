#![allow(clippy::unwrap_used, clippy::print_stdout)]
use super::*;
use crate::shape::shape;
use base64::Engine as _;
use policy::{
    Ceiling, Condition, MethodSet, Mode, Order, Peculiarity, SignatureSpec, Test, TextField,
};
use std::io::Read as _;
use std::path::Path;
use wire::{HeaderName, Limits};

const INVITE: &str = "INVITE sip:900972@pbx.example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.9:5071;branch=z9hG4bK-897b2a55;rport\r\n\
From: \"100\" <sip:100@pbx.example.com>;tag=2fd7b751\r\n\
To: <sip:900972@pbx.example.com>\r\n\
Call-ID: 897b2a55\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:100@192.0.2.9:5071>\r\n\
Max-Forwards: 70\r\n\
User-Agent: Desk Phone 7\r\n\
Content-Type: application/sdp\r\n\
\r\n\
v=0\r\n\
o=- 1 1 IN IP4 192.0.2.9\r\n\
s=-\r\n\
c=IN IP4 192.0.2.9\r\n\
t=0 0\r\n\
m=audio 4000 RTP/AVP 8 0\r\n";

/// What tools and honest products sent.
fn recorded() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for file in ["../config/tests/data/tools.jsonl.gz", "../wire/tests/data/legit.jsonl.gz"] {
        let packed = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        all.extend(text.lines().map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            let payload = json["payload_b64"].as_str().unwrap();
            base64::engine::general_purpose::STANDARD.decode(payload).unwrap()
        }));
    }
    all
}

fn words(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|word| (*word).into()).collect()
}

/// Catalogues of a few signatures each, which together look at everything that there is to look at.
fn catalogues() -> Vec<Signatures> {
    use TextField as F;
    let fields = [
        F::UserAgent,
        F::Branch,
        F::ViaHost,
        F::FromTag,
        F::CallId,
        F::FromName,
        F::RequestUser,
        F::RequestHost,
        F::FromUser,
        F::FromHost,
        F::ToUser,
        F::ToHost,
        F::ContactUser,
        F::ContactHost,
        F::AnyUser,
        F::AnyHost,
        F::Sdp,
        F::SdpSession,
        F::SdpOrigin,
    ];
    // each matches some of what is recorded and some of what is put in, and not all of it
    let tests = [
        Test::Matches(words(&[".*[05].?"])),
        Test::Contains(words(&["a;", "%", "97"])),
        Test::Is(words(&["100", "z9hG4bK", "alice", "-"])),
        Test::Starts(words(&["z9hG4bK-", "1", "\"a"])),
    ];
    let texts = fields
        .iter()
        .flat_map(|field| tests.iter().map(|test| Condition::Text(*field, test.clone())));
    let peculiar = Peculiarity::ALL.into_iter().map(Condition::Peculiar);
    let others = [
        Condition::Method(MethodSet::of(&["INVITE"]).unwrap()),
        Condition::MaxForwards(vec![70]),
        Condition::Transport(words(&["tcp"])),
        Condition::Padded("To".into()),
        Condition::Present("Supported".into()),
        Condition::Header("Allow".into(), tests[1].clone()),
        Condition::HeaderOrder(Order::Before, words(&["From", "To", "Call-ID"])),
        Condition::ViaParams(words(&["branch", "rport"])),
    ];
    let leaves: Vec<Condition> = texts.chain(peculiar).chain(others).collect();
    // by themselves, in pairs of which each is rare, and denied
    let pairs = leaves.iter().zip(leaves.iter().skip(7));
    let pairs = pairs.map(|(a, b)| Condition::All(vec![a.clone(), b.clone()]));
    let denied = leaves.iter().zip(leaves.iter().skip(13)).step_by(5);
    let denied =
        denied.map(|(a, b)| Condition::All(vec![a.clone(), Condition::Not(Box::new(b.clone()))]));
    let few = leaves.iter().step_by(9).cloned();
    // of a body, and, in another catalogue, of a line of which something is cut out: there no template
    // says all
    let rare = || Test::Contains(words(&["97"]));
    let body = [Condition::Text(TextField::Body, rare())];
    let line = [Condition::Header("Call-ID".into(), rare())];
    let all: Vec<_> = body.into_iter().chain(few).chain(pairs).chain(denied).chain(line).collect();
    let catalogue = |some: &[Condition]| {
        let specs = some.iter().map(|when| SignatureSpec {
            id: "it".into(),
            ceiling: Ceiling::Note,
            mode: Mode::Enforce,
            what: "".into(),
            source: "".into(),
            false_positives: "".into(),
            when: when.clone(),
        });
        Signatures::compile(specs.collect()).unwrap()
    };
    all.chunks(4).map(catalogue).collect()
}

/// What is put into the place of something that varies.
const FILLINGS: [&str; 18] = [
    "100",
    "alice",
    "z9hG4bK",
    "z9hG4bK-100",
    "-897b2a55",
    "897b2a55",
    "a;b=c",
    "a@b",
    "1%27;x",
    "Desk Phone 7",
    "a<b",
    "0123456789abcdef0123456789abcdef",
    "b:5@[::1]",
    "\"q",
    "192.0.2.97",
    "100:5060",
    "198.51.100.7:5;x",
    "4970",
];

/// The message with other users, identifiers and bytes.
fn varied(message: &Message<'_>, draw: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let all = message.bytes();
    let mut parts = vec![message.via().branch, message.from_tag(), message.call_id()];
    parts.push(message.from().display_name);
    parts.extend(message.via().sent_by().split(|byte| *byte == b':'));
    parts.push(message.via().sent_by());
    let contact = message.value(HeaderName::Contact).unwrap_or_default();
    for uri in [message.request_uri(), message.from().uri, message.to().uri, contact] {
        parts.extend(uri.split(|byte| b":@<>;\"".contains(byte)).filter(|part| !part.is_empty()));
    }
    for line in wire::lines(message.body()).skip(1).take(4) {
        parts.push(line);
        parts.extend(line.split(|byte| b" \r".contains(byte)).filter(|part| part.len() > 2));
    }
    let mut text = all.to_vec();
    for _ in 0..=draw(3) {
        let part = parts[draw(parts.len())];
        let part = part.to_vec();
        let Some(at) = text.windows(part.len().max(1)).position(|window| window == part) else {
            continue;
        };
        let filling = FILLINGS[draw(FILLINGS.len())].bytes();
        text.splice(at..at + part.len(), filling);
    }
    if draw(4) == 0 {
        let at = draw(text.len());
        text[at] = b"\"<>;@:= 0a"[draw(10)];
    }
    text
}

/// The message with other identifiers, all as long as they were.
fn with_other_ids(message: &Message<'_>, n: usize) -> Vec<u8> {
    let mut text = message.bytes().to_vec();
    for id in [message.via().branch, message.from_tag(), message.call_id()] {
        if let Some(at) = text.windows(id.len().max(1)).position(|window| window == id) {
            text[at + id.len() - 1] = b"abc1"[n];
        }
    }
    text
}

/// Looks at them all with one memory, and at each by itself. How many were looked at, and of how
/// many the template was known and said all.
fn compare(signatures: &Signatures, texts: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
    let mut templates = Templates::new();
    let (mut seen, mut known) = (0, 0);
    for text in texts {
        let Ok(message) = Message::parse(&text, &Limits::default()) else { continue };
        if !message.is_request() {
            continue;
        }
        seen += 1;
        known += usize::from(templates.is_known(signatures, &message));
        let (shape_seen, hits) = templates.look(signatures, &message);
        let text = text.escape_ascii();
        assert_eq!(shape_seen, shape(&message), "{text}");
        assert_eq!(hits, signatures.matches(&message), "{text}");
    }
    (seen, known)
}

impl Templates {
    fn is_known(&self, signatures: &Signatures, message: &Message<'_>) -> bool {
        let places = &self.places[glance(message) as usize % (PLACES / WAYS)];
        places.iter().any(|place| {
            place.known.as_ref().is_some_and(|known| known.hits.is_some())
                && place.template.fits(message).is_some_and(|it| !signatures.may_differ(&it))
        })
    }
}

/// xorshift64, below a bound.
fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below.max(1)
    }
}

#[test]
fn what_is_remembered_is_what_would_be_read() {
    let mut recorded = recorded();
    recorded.extend(std::iter::repeat_n(INVITE.into(), 20));
    let mut draw = draws(0x9e37_79b9_7f4a_7c15);
    let mut texts = Vec::new();
    for text in &recorded {
        let Ok(message) = Message::parse(text, &Limits::default()) else { continue };
        // the third time what the first ones had in common is known
        let some: Vec<_> = (0..8).map(|_| varied(&message, &mut draw)).collect();
        texts.extend(some.iter().cycle().take(3 * some.len()).cloned());
    }
    // of this one the body stays, all of it
    let bare = INVITE.replace("o=- 1 1 IN IP4 192.0.2.9", "o=");
    texts.extend([&bare, &bare, &bare.replace("4000", "4970")].map(|it| it.clone().into_bytes()));
    let (mut seen, mut known) = (0, 0);
    for signatures in catalogues() {
        let (s, k) = compare(&signatures, texts.iter().cloned());
        (seen, known) = (seen + s, known + k);
    }
    println!("{known} of {seen} known");
    assert!(seen > 50_000 && known > seen / 20, "{known} of {seen}");
}

#[test]
fn senders_who_repeat_themselves_are_known() {
    let signatures = signatures_of_tools();
    let texts = (1..=100u32).map(|n| {
        INVITE
            .replace("897b2a55", &format!("{:08x}", n.wrapping_mul(0x9e37_79b9)))
            .replace("2fd7b751", &format!("{:08x}", n.wrapping_mul(0x85eb_ca6b)))
            .replace("900972", &format!("900972{n}"))
            .replace("100", &format!("2{n}"))
            .replace("CSeq: 1", &format!("CSeq: {n}"))
            .replace("o=- 1 1", &format!("o=- {n} {n}"))
            .replace("192.0.2.9", &format!("192.0.2.{n}"))
            .replace(":5071", &format!(":{}", 5071 + n))
            .replace("audio 4000", &format!("audio {}", 4000 + 2 * n))
            .into_bytes()
    });
    // the lengths of what is cut out are no part of a template, but for what they say of the body
    assert_eq!(compare(&signatures, texts), (100, 98));
}

#[test]
fn phones_of_one_kind_are_known_whatever_their_instances() {
    let signatures = signatures_of_tools();
    let contact = "Contact: <sip:100@192.0.2.9:5071>";
    let texts = (1..=100u32).map(|n| {
        let instance = format!("{contact};reg-id=1;+sip.instance=\"<urn:uuid:{n:08x}-1dd2-11b2>\"");
        INVITE.replace(contact, &instance).into_bytes()
    });
    assert_eq!(compare(&signatures, texts), (100, 98));
    // one that may part something stays in the template
    let odd = (1..=100u32).map(|n| {
        let instance = format!("{contact};+sip.instance=\"<urn;{n}=1>\"");
        INVITE.replace(contact, &instance).into_bytes()
    });
    assert_eq!(compare(&signatures, odd), (100, 0));
}

#[test]
fn hosts_in_via_are_looked_at_each_time_whatever_they_are() {
    let signatures = signatures_of_tools();
    let texts = (1..=100u32).map(|n| {
        let host = [format!("phone{n}.example.net:{n}"), format!("[2001:db8::{n}]")];
        INVITE.replace("192.0.2.9:5071;branch", &format!("{};branch", host[n as usize % 2]))
    });
    // of neither kind the first two
    assert_eq!(compare(&signatures, texts.map(String::into_bytes)), (100, 98));
}

#[test]
fn what_is_too_much_is_no_template() {
    let is_learned = |from: &str, to: String| {
        let text = INVITE.replace(from, &to);
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        Template::default().learn(&message).is_some()
    };
    let lines = |count: usize| "Authorization: Digest a\r\n".repeat(count) + "CSeq";
    assert!(is_learned("CSeq", lines(8)) && !is_learned("CSeq", lines(16)));
    let agent = |length: usize| "x".repeat(length);
    assert!(is_learned("Desk Phone 7", agent(1_000)) && !is_learned("Desk Phone 7", agent(2_000)));
    assert!(!is_learned("Content-Type", "User-Agent: 2\r\nContent-Type".into()));
}

#[test]
fn a_template_fits_those_requests_from_which_it_would_be_learned() {
    let mut recorded = recorded();
    recorded.extend(std::iter::repeat_n(INVITE.into(), 50));
    let mut draw = draws(0x2545_f491_4f6c_dd1d);
    let (mut fitting, mut other) = (0, 0);
    for text in &recorded {
        let Ok(message) = Message::parse(text, &Limits::default()) else { continue };
        let mut texts: Vec<_> = (0..4).map(|_| varied(&message, &mut draw)).collect();
        texts.extend((0..4).map(|n| with_other_ids(&message, n)));
        let parsed = texts.iter().filter_map(|it| Message::parse(it, &Limits::default()).ok());
        let requests: Vec<_> = parsed.filter(Message::is_request).collect();
        let pairs = (0..requests.len()).flat_map(|at| (0..at).map(move |other| (at, other)));
        for (one, next) in pairs.map(|(one, next)| (&requests[one], &requests[next])) {
            let (mut first, mut second) = (Template::default(), Template::default());
            let (Some(_), Some(learned)) = (first.learn(one), second.learn(next)) else { continue };
            let fits = first.fits(next);
            let text = next.bytes().escape_ascii();
            assert_eq!(fits.is_some(), first == second, "{text}");
            let Some(fits) = fits else {
                other += 1;
                continue;
            };
            assert_eq!(format!("{fits:?}"), format!("{learned:?}"), "{text}");
            fitting += 1;
        }
    }
    println!("{fitting} fit, {other} do not");
    assert!(fitting > 1_000 && other > 1_000, "{fitting}, {other}");
}

fn spec(when: Condition) -> SignatureSpec {
    SignatureSpec {
        id: "tool".into(),
        ceiling: Ceiling::Drop,
        mode: Mode::Enforce,
        what: "".into(),
        source: "".into(),
        false_positives: "".into(),
        when,
    }
}

fn signatures_of_tools() -> Signatures {
    let is = |field, word: &str| Condition::Text(field, Test::Is(words(&[word])));
    Signatures::compile(vec![
        spec(is(TextField::UserAgent, "friendly-scanner")),
        spec(is(TextField::FromUser, "scanner")),
        spec(Condition::All(vec![
            Condition::Method(MethodSet::of(&["INVITE"]).unwrap()),
            Condition::Peculiar(Peculiarity::FromIsTo),
        ])),
        spec(Condition::Peculiar(Peculiarity::ViaIsTarget)),
        spec(is(TextField::AnyHost, "198.51.100.1")),
        spec(is(TextField::Sdp, "c=IN IP4 198.51.100.2")),
        spec(is(TextField::Sdp, "m=audio 4970 RTP/AVP 8 0")),
        spec(Condition::All(vec![
            is(TextField::UserAgent, "Odd Phone"),
            Condition::Not(Box::new(is(TextField::ViaHost, "198.51.100.3"))),
        ])),
        spec(is(TextField::ViaHost, "198.51.100.4")),
    ])
    .unwrap()
}

#[test]
fn what_varies_is_looked_at_each_time() {
    let signatures = signatures_of_tools();
    let mut templates = Templates::new();
    let mut hits = |text: &str| {
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        templates.look(&signatures, &message).1.into_iter().collect::<Vec<u16>>()
    };
    let other = |to: &str| INVITE.replace("sip:100@pbx", to);
    for _ in 0..3 {
        assert!(hits(INVITE).is_empty());
        assert_eq!(hits(&other("sip:scanner@pbx")), [1]);
        assert_eq!(hits(&other("sip:900972@pbx")), [2], "from is to");
        assert!(hits(&other("sip:900973@pbx")).is_empty());
        assert_eq!(hits(&INVITE.replace("Desk Phone 7", "friendly-scanner")), [0]);
        let at_address = INVITE.replace("900972@pbx.example.com", "900972@192.0.2.1:5060");
        let via = |host: &str| at_address.replace("UDP 192.0.2.9:5071", &format!("UDP {host}"));
        assert_eq!(hits(&via("192.0.2.1")), [3], "as if the target had sent it");
        assert!(hits(&via("192.0.2.2")).is_empty());
        assert_eq!(hits(&INVITE.replace("100@192.0.2.9", "100@198.51.100.1")), [4]);
        assert!(hits(&INVITE.replace("100@192.0.2.9", "100@198.51.100.2")).is_empty());
    }
}

#[test]
fn what_varies_under_a_known_template_is_looked_at() {
    let signatures = signatures_of_tools();
    let odd = INVITE.replace("Desk Phone 7", "Odd Phone");
    for (usual, from, to, expected) in [
        (INVITE, "100@192.0.2.9", "100@198.51.100.1", vec![4]),
        (INVITE, "UDP 192.0.2.9", "UDP 198.51.100.4", vec![8]),
        (INVITE, "c=IN IP4 192.0.2.9", "c=IN IP4 198.51.100.2", vec![5]),
        (INVITE, "audio 4000", "audio 4970", vec![6]),
        (&odd, "UDP 192.0.2.9", "UDP 198.51.100.3", vec![]),
    ] {
        let mut templates = Templates::new();
        let mut hits = |text: &str| {
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            templates.look(&signatures, &message).1.into_iter().collect::<Vec<u16>>()
        };
        let other = usual.replace(from, to);
        assert_ne!(other, usual, "{from}");
        for _ in 0..3 {
            let known = if usual == INVITE { vec![] } else { vec![7] };
            assert_eq!(hits(usual), known, "{from}");
        }
        assert_eq!(hits(&other), expected, "{to}");
    }
}

#[test]
fn what_varies_in_odd_places_is_looked_at() {
    use Peculiarity as P;
    let is = |field, word: &str| Condition::Text(field, Test::Is(words(&[word])));
    let user = |name: &str| INVITE.replace("<sip:100@pbx", &format!("<sip:{name}@pbx"));
    let agent = |name: &str| user(name).replace("Desk Phone 7", "phone-100");
    let contact = |host: &str| INVITE.replace("sip:100@192.0.2.9:5071", &format!("sip:100@{host}"));
    let to = |name: &str| user(name).replace("<sip:900972@pbx", "<sip:alice:x@pbx");
    let tag = |tag: &str| INVITE.replace("tag=2fd7b751", &format!("tag={tag}"));
    let line = |host: &str| format!("c=IN IP4 {host}\r\n");
    let twice = |host: &str| {
        INVITE.replace("t=0 0\r\n", &(line("192.0.2.9") + "t=0 0\r\n")).replacen(
            &line("192.0.2.9"),
            &line(host),
            1,
        )
    };
    for (condition, usual, other) in [
        (Condition::Peculiar(P::UserAgentIsFromUser), agent("100"), agent("phone-100")),
        (Condition::Peculiar(P::FromIsTo), to("bob"), to("alice")),
        (Condition::Peculiar(P::TagIsCallId), tag("2fd7b751"), tag("897b2a55")),
        (Condition::Peculiar(P::LongTag), tag("1"), tag(&"1".repeat(193))),
        (is(TextField::ContactHost, "192.0.2.9,x"), contact("192.0.2.8,x"), contact("192.0.2.9,x")),
        (is(TextField::Sdp, "c=IN IP4 192.0.2.7"), twice("192.0.2.8"), twice("192.0.2.7")),
        (
            is(TextField::Sdp, "m=audio 4002/2 RTP/AVP 8 0"),
            INVITE.replace("4000", "4000/2"),
            INVITE.replace("4000", "4002/2"),
        ),
    ] {
        let signatures = Signatures::compile(vec![spec(condition.clone())]).unwrap();
        let mut templates = Templates::new();
        for text in [&usual, &usual, &usual, &other, &usual, &other, &other] {
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            let hits = templates.look(&signatures, &message).1;
            assert_eq!(hits.len(), usize::from(*text == other), "{condition:?} {text}");
        }
    }
}

#[test]
fn of_those_that_look_alike_at_a_glance_goes_what_was_not_met_for_longest() {
    let signatures = signatures_of_tools();
    let mut templates = Templates::new();
    let mut is_known = |name: &str| {
        let text = INVITE.replace("\"100\" <", name);
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let known = templates.is_known(&signatures, &message);
        templates.look(&signatures, &message);
        known
    };
    let names = ["\"1\" <", "<", "1 <", "\"1\"<", "1  <", "\"1\"  <"];
    for name in &names[..WAYS] {
        assert_eq!([is_known(name), is_known(name), is_known(name)], [false, false, true]);
    }
    assert!(is_known(names[0]) && !is_known(names[4]) && is_known(names[0]));
    assert!(!is_known(names[1]), "its place was taken");
    templates.configure();
    let message = Message::parse(INVITE.as_bytes(), &Limits::default()).unwrap();
    assert!(!templates.is_known(&signatures, &message) && templates.table().entries == 0);
}

#[test]
fn domains_do_not_take_each_others_places() {
    let signatures = signatures_of_tools();
    let texts = (0..20 * 10).map(|n| INVITE.replace("pbx.ex", &format!("pbx{}.ex", n % 20)));
    assert_eq!(compare(&signatures, texts.map(String::into_bytes)), (200, 160));
}

#[test]
fn a_flood_of_ever_other_templates_takes_no_more_room() {
    let signatures = signatures_of_tools();
    let mut templates = Templates::new();
    let mut look_at = |numbers: &mut dyn Iterator<Item = usize>| {
        for n in numbers {
            let text = INVITE.replace("Desk Phone 7", &format!("Desk Phone {n}"));
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            templates.look(&signatures, &message);
        }
        let known = templates.places.iter().flatten().filter(|it| it.known.is_some()).count();
        let table = templates.table();
        assert_eq!(table.entries, known);
        (known, table.evictions)
    };
    // some that are met again, and then many times what there is room for, each once
    assert_eq!(look_at(&mut (0..200).map(|n| n / 2)), (100, 0));
    let (known, gone) = look_at(&mut (0..8 * PLACES).map(|n| 1_000 + n));
    assert!(known < 10 && known as u64 + gone == 100, "{known}, {gone}");
    let (known, gone) = look_at(&mut (0..8 * PLACES).map(|n| 100_000 + n / 2));
    assert!(known > PLACES / 2 && gone > 2 * PLACES as u64, "{known}, {gone}");
}

#[test]
fn of_two_templates_that_look_alike_at_a_glance_both_are_known() {
    let signatures = signatures_of_tools();
    let texts = (0..100).map(|n| {
        let name = ["\"100\" <sip:100", "<sip:100", "100 <sip:100", "\"100\" <sip:scanner"][n % 4];
        INVITE.replace("\"100\" <sip:100", name).into_bytes()
    });
    // what a signature may match is read, and of each other one the first two
    assert_eq!(compare(&signatures, texts), (100, 100 - 25 - 3 * 2));
}

#[test]
fn each_byte_stays_or_varies() {
    let mut template = Template::default();
    let message = Message::parse(INVITE.as_bytes(), &Limits::default()).unwrap();
    assert!(template.learn(&message).is_some());
    let mut fitting = 0;
    for at in 0..INVITE.len() {
        let mut other = INVITE.to_owned();
        other.replace_range(at..=at, "j");
        let Ok(message) = Message::parse(other.as_bytes(), &Limits::default()) else { continue };
        fitting += usize::from(template.fits(&message).is_some());
    }
    assert!(fitting > 40 && fitting < INVITE.len() / 2, "{fitting} of {}", INVITE.len());
}
