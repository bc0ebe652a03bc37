//! The shipped signatures against what tools and honest products may send besides what was caught:
//! many of each, with other identifiers, behind a proxy, under other names.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use config::{Catalogue, shipped_signatures};
use policy::Ceiling;
use std::collections::BTreeMap;
use wire::{Limits, Message};

const HONEST: &str = include_str!("data/honest.txt");
const TOOLS: &str = include_str!("data/tools.txt");

/// Of each message of the files.
const EACH: u64 = 100;

/// Numbers that are the same in each run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }
}

const DIGITS: &[u8] = b"0123456789";
const LOW: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ALPHA: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What `hex 8`, `HEX 8`, `dec 8` (no zero in front), `low 8`, `alnum 8`, `alpha 8`, `uuid` and
/// `svhex` (SIPVicious's tag) stand for.
fn random(kind: &str, rng: &mut Rng) -> String {
    let (kind, length) = kind.split_once(' ').unwrap_or((kind, "0"));
    let length: usize = length.parse().unwrap();
    match kind {
        "hex" => rng.of(&LOW[..16], length),
        "HEX" => rng.of(&LOW[..16], length).to_uppercase(),
        "dec" => rng.of(&DIGITS[1..], 1) + &rng.of(DIGITS, length - 1),
        "low" => rng.of(LOW, length),
        "alnum" => rng.of(&[ALPHA, DIGITS].concat(), length),
        "alpha" => rng.of(ALPHA, length),
        "uuid" => [8, 4, 4, 4, 12].map(|length| rng.of(&LOW[..16], length)).join("-"),
        "svhex" => {
            let secret = rng.of(&LOW[..16], 8) + "1\u{1}" + &rng.of(DIGITS, 10);
            secret.bytes().map(|byte| format!("{byte:02x}")).collect()
        }
        _ => panic!("{{{kind}}} stands for nothing"),
    }
}

/// A message of the file with something in place of each pair of braces; `{name:hex 8}` is
/// remembered, and `{name}` behind it the same.
fn vary(template: &str, rng: &mut Rng) -> String {
    let (mut text, mut names) = (String::new(), BTreeMap::new());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (what, behind) = behind.split_once('}').unwrap();
        text += before;
        text += &match (what.split_once(':'), names.get(what)) {
            (Some((name, kind)), _) => {
                names.entry(name).or_insert_with(|| random(kind, rng)).clone()
            }
            (None, Some(known)) => known.clone(),
            (None, None) if what == "length" => "{length}".into(),
            (None, None) => random(what, rng),
        };
        rest = behind;
    }
    text += rest;
    let (head, body) = text.split_once("\n\n").unwrap();
    let body = body.trim_start_matches('\n').replace('\n', "\r\n");
    let head = head.replace("{length}", &body.len().to_string());
    format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n"))
}

/// What stands behind each `===`, and the message below it.
fn messages(file: &'static str) -> impl Iterator<Item = (&'static str, String)> {
    file.split("\n=== ").skip(1).map(|message| {
        let (title, text) = message.split_once('\n').unwrap();
        (title, format!("{}\n\n", text.trim_end_matches('\n')))
    })
}

fn heaviest(catalogue: &Catalogue, text: &str) -> (Option<Ceiling>, Vec<String>) {
    let message = Message::parse(text.as_bytes(), &Limits::default());
    let message = message.unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
    let list = catalogue.signatures.list();
    let hits = catalogue.signatures.matches(&message);
    let hits: Vec<_> = hits.iter().map(|index| &list[usize::from(*index)]).collect();
    let names = hits.iter().map(|signature| signature.id.to_string()).collect();
    (hits.first().map(|signature| signature.ceiling), names)
}

/// The same without the line that says what it is, or with another one.
fn renamed(text: &str, name: Option<&str>) -> String {
    let is_name = |line: &&str| line.to_ascii_lowercase().starts_with("user-agent:");
    let old = text.lines().find(is_name);
    let line = name.map_or(String::new(), |name| format!("User-Agent: {name}\r\n"));
    match old {
        Some(old) => text.replacen(&format!("{old}\r\n"), &line, 1),
        None => text.replacen("\r\n\r\n", &format!("\r\n{line}\r\n"), 1),
    }
}

/// The same as a proxy in front of us passes it on.
fn proxied(text: &str, rng: &mut Rng) -> String {
    let (branch, more) = (rng.of(&LOW[..16], 4), rng.of(&LOW[..16], 8));
    let via = format!("SIP/2.0/UDP 198.51.100.80;branch=z9hG4bK{branch}.{more}.0");
    text.replacen("\r\n", &format!("\r\nVia: {via}\r\n"), 1)
        .replace("\r\nMax-Forwards: 70\r\n", "\r\nMax-Forwards: 69\r\n")
}

#[test]
fn nothing_honest_is_more_than_noted() {
    let catalogue = shipped_signatures().unwrap();
    let mut rng = Rng(0x5eed);
    let mut wrong = BTreeMap::new();
    let mut kinds = 0;
    for (title, template) in messages(HONEST) {
        kinds += 1;
        for _ in 0..EACH {
            let text = vary(&template, &mut rng);
            for text in [renamed(&text, None), proxied(&text, &mut rng), text] {
                let (ceiling, names) = heaviest(&catalogue, &text);
                if ceiling > Some(Ceiling::Note) {
                    wrong.entry((title, names)).or_insert(text);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(kinds >= 34, "{kinds}");
}

#[test]
fn tools_are_recognised_whatever_varies() {
    let catalogue = shipped_signatures().unwrap();
    let mut rng = Rng(0x5eed);
    let mut missed = BTreeMap::new();
    let mut kinds = 0;
    for (title, template) in messages(TOOLS) {
        let (how, _) = title.split_once(": ").unwrap();
        let (verdict, mark) = how.split_once(' ').unwrap();
        let least = match verdict {
            "note" => Ceiling::Note,
            "score" => Ceiling::Score,
            "fast" => Ceiling::Fast,
            "drop" => Ceiling::Drop,
            other => panic!("{other} is no verdict"),
        };
        kinds += 1;
        for _ in 0..EACH {
            let text = vary(&template, &mut rng);
            let mut forms = vec![text.clone()];
            if mark == "shape" {
                forms.push(renamed(&text, None));
                forms.push(renamed(&text, Some("Yealink SIP-T46S 66.84.0.15")));
            }
            for text in forms {
                let (ceiling, names) = heaviest(&catalogue, &text);
                if ceiling < Some(least) {
                    missed.entry((title, names)).or_insert(text);
                }
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(kinds >= 25, "{kinds}");
}
