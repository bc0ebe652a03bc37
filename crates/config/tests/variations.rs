//! The shipped signatures against what tools and honest products may send besides what was caught:
//! many of each, with other identifiers, behind a proxy, under other names.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod variation;

use config::{Catalogue, shipped_signatures};
use policy::Ceiling;
use std::collections::BTreeMap;
use variation::{HONEST, LOW, Rng, TOOLS, messages, vary};
use wire::{Limits, Message};

/// Of each message of the files.
const EACH: u64 = 100;

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
    for (title, template) in HONEST.into_iter().flat_map(messages) {
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
    assert!(kinds >= 100, "{kinds}");
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
    assert!(kinds >= 41, "{kinds}");
}
