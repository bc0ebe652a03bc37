//! The shipped signatures against what tools and honest products really send.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use base64::Engine as _;
use config::{Catalogue, shipped_signatures};
use policy::Ceiling;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use wire::{Limits, Message};

struct Entry {
    json: serde_json::Value,
    payload: Vec<u8>,
}

impl Entry {
    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or("")
    }
}

fn jsonl(file: &str) -> Vec<Entry> {
    let packed = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    let entry = |line| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let payload = json["payload_b64"].as_str().unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
        Entry { json, payload }
    };
    text.lines().map(entry).collect()
}

fn tools() -> Vec<Entry> {
    jsonl("tests/data/tools.jsonl.gz")
}

fn clean() -> Vec<Entry> {
    jsonl("../wire/tests/data/legit.jsonl.gz")
}

/// The heaviest ceiling and the names of all that match.
fn judge(catalogue: &Catalogue, message: &Message<'_>) -> (Option<Ceiling>, Vec<String>) {
    let hits = catalogue.signatures.matches(message);
    let list = catalogue.signatures.list();
    let hits: Vec<_> = hits.iter().map(|index| &list[usize::from(*index)]).collect();
    let heaviest = hits.iter().map(|signature| signature.ceiling).max();
    assert_eq!(heaviest, hits.first().map(|signature| signature.ceiling), "heaviest first");
    (heaviest, hits.iter().map(|signature| signature.id.to_string()).collect())
}

#[test]
fn no_honest_message_is_more_than_noted() {
    let catalogue = shipped_signatures().unwrap();
    let honest =
        clean().into_iter().chain(tools().into_iter().filter(|e| e.text("label") == "legit"));
    let (mut seen, mut noted) = (0, BTreeMap::<String, usize>::new());
    for entry in honest {
        let Ok(message) = Message::parse(&entry.payload, &Limits::default()) else { continue };
        seen += 1;
        let (heaviest, hits) = judge(&catalogue, &message);
        let text = String::from_utf8_lossy(&entry.payload);
        assert!(heaviest <= Some(Ceiling::Note), "{hits:?}\n{}\n{text}", entry.json["source"]);
        hits.into_iter().for_each(|id| *noted.entry(id).or_default() += 1);
    }
    println!("{seen} honest messages; noted: {noted:?}");
    assert!(seen > 300, "{seen}");
}

/// Messages, those that were recognised (or are no SIP), the least of their heaviest ceilings.
#[derive(Default)]
struct Row {
    messages: usize,
    recognised: usize,
    least: Option<Option<Ceiling>>,
    hits: BTreeMap<String, usize>,
}

#[test]
fn tools_are_recognised() {
    let catalogue = shipped_signatures().unwrap();
    let mut rows = BTreeMap::<(String, String), Row>::new();
    for entry in tools().iter().filter(|entry| entry.text("label") != "legit") {
        let row = rows.entry((entry.text("tool").into(), entry.text("mode").into())).or_default();
        row.messages += 1;
        let (heaviest, hits) = match Message::parse(&entry.payload, &Limits::default()) {
            Ok(message) => judge(&catalogue, &message),
            Err(fault) => (Some(Ceiling::Drop), vec![format!("malformed: {}", fault.as_str())]),
        };
        row.recognised += usize::from(heaviest.is_some());
        row.least = Some(row.least.map_or(heaviest, |least| least.min(heaviest)));
        hits.into_iter().for_each(|id| *row.hits.entry(id).or_default() += 1);
    }
    for ((tool, mode), row) in &rows {
        let percent = row.recognised * 100 / row.messages;
        println!("{tool:24} {mode:24} {percent:3} % {:?} {:?}", row.least.flatten(), row.hits);
    }
    for ((tool, mode), row) in &rows {
        // Monitoring is sipsak's daily work.
        let least = if tool.starts_with("sipsak") { Ceiling::Note } else { Ceiling::Drop };
        assert_eq!(row.recognised, row.messages, "{tool} {mode}");
        assert!(row.least.flatten() >= Some(least), "{tool} {mode} {:?}", row.hits);
    }
    assert!(rows.len() > 20);
}

/// Under another User-Agent the same messages are still known by what they look like.
#[test]
fn tools_are_recognised_without_their_names() {
    let catalogue = shipped_signatures().unwrap();
    let names = ["friendly-scanner", "sipcli/v1.8", "Nmap NSE", "pplsip"];
    let (mut renamed, mut known) = (0, 0);
    for entry in tools() {
        let Ok(text) = String::from_utf8(entry.payload) else { continue };
        let Some(name) = names.into_iter().find(|name| text.contains(&format!("gent: {name}\r\n")))
        else {
            continue;
        };
        let text = text.replace(&format!("gent: {name}\r\n"), "gent: Yealink SIP-T46S 66.84\r\n");
        let Ok(message) = Message::parse(text.as_bytes(), &Limits::default()) else { continue };
        renamed += 1;
        let (heaviest, _) = judge(&catalogue, &message);
        assert_eq!(heaviest, Some(Ceiling::Drop), "{text}");
        known += 1;
    }
    println!("{known} of {renamed} known under another name");
    assert!(renamed > 200);
}

/// Line ends alone are not what stops a tool.
#[test]
fn tools_are_recognised_with_proper_line_ends() {
    let catalogue = shipped_signatures().unwrap();
    let mut mended = 0;
    for entry in tools().into_iter().filter(|entry| entry.text("label") != "legit") {
        if Message::parse(&entry.payload, &Limits::default()).is_ok() {
            continue;
        }
        let Ok(text) = String::from_utf8(entry.payload) else { continue };
        let lines: Vec<&str> = text.trim_end().lines().map(|line| line.trim_end()).collect();
        let text = format!("{}\r\n\r\n", lines.join("\r\n"));
        let Ok(message) = Message::parse(text.as_bytes(), &Limits::default()) else { continue };
        mended += 1;
        let (heaviest, _) = judge(&catalogue, &message);
        assert_eq!(heaviest, Some(Ceiling::Drop), "{text}");
    }
    assert!(mended >= 10, "{mended}");
}
