//! Bans as lists: what one edge gives out another takes in, and a list bans nobody who is trusted.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests takes what it needs of it
mod common;

use common::Edge;
use serde_json::{Value, json};

fn bans(edge: &Edge) -> Vec<(String, String)> {
    let (code, list) = edge.ask("GET", "/api/v1/bans", "");
    assert_eq!(code, 200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut bans: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| (text(&ban["key"]), text(&ban["reason"])))
        .collect();
    bans.sort();
    bans
}

#[test]
fn what_is_exported_is_imported_elsewhere_with_the_time_that_is_left() {
    let edge = Edge::start("shards: 2");
    for (key, length) in [("198.51.100.7", "1h"), ("203.0.113.0/24", "30d"), ("2001:db8::1", "2h")]
    {
        let wish = json!({ "key": key, "for": length, "why": format!("because of {key}") });
        assert_eq!(edge.ask("POST", "/api/v1/bans", &wish.to_string()).0, 201);
    }
    let before = bans(&edge);
    let (code, list, _) = edge.command(&["bans", "export"]);
    assert_eq!((code, list.lines().count()), (0, 5), "{list}");
    let (code, plain, _) = edge.command(&["bans", "export", "--format", "plain"]);
    let mut lines: Vec<_> = plain.lines().collect();
    lines.sort_unstable();
    assert_eq!((code, lines), (0, vec!["198.51.100.7", "2001:db8::/64", "203.0.113.0/24"]));

    let other = Edge::start("shards: 1");
    let file = other.file().with_file_name("bans.json");
    std::fs::write(&file, &list).unwrap();
    let file = file.to_str().unwrap();
    let (code, said, _) = other.command(&["bans", "import", file, "--dry-run"]);
    assert_eq!((code, said.as_str()), (0, "3 would be banned, 0 refused\n"));
    assert!(bans(&other).is_empty(), "it was only said");
    let (code, said, complaints) = other.command(&["bans", "import", file]);
    assert_eq!((code, said.as_str()), (0, "3 banned, 0 refused\n"), "{complaints}");
    assert_eq!(bans(&other), before);
    let left = |edge: &Edge| {
        let (_, list) = edge.ask("GET", "/api/v1/bans/export", "");
        let bans = list["bans"].as_array().unwrap().clone();
        let network = bans.iter().find(|ban| ban["kind"] == "network").unwrap();
        network["remaining_seconds"].as_u64().unwrap()
    };
    // no more than the list had, and not a minute less
    let exported: Value = serde_json::from_str(&list).unwrap();
    let network = exported["bans"].as_array().unwrap();
    let network = network.iter().find(|ban| ban["kind"] == "network").unwrap();
    let had = network["remaining_seconds"].as_u64().unwrap();
    assert!((had - 60..=had).contains(&left(&other)), "{had} {}", left(&other));
}

#[test]
fn a_list_bans_nobody_who_is_trusted_and_each_refused_line_is_named() {
    let edge = Edge::start("trunks: [{ name: carrier, hosts: [198.51.100.0/29] }]");
    let file = edge.file().with_file_name("list.txt");
    let own = edge.ip;
    let text =
        format!("# a list\n198.51.100.7\n{own}\nnonsense\n0.0.0.0/0\n192.0.2.1\n198.51.0.0/16");
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    let (code, said, complaints) = edge.command(&["bans", "import", name, "--for", "1h"]);
    assert_eq!((code, said.as_str()), (1, "1 banned, 5 refused\n"));
    let lines: Vec<_> = complaints.lines().map(|line| line.replace(name, "FILE")).collect();
    assert_eq!(lines.len(), 5, "{complaints}");
    assert_eq!(lines[0], "FILE:2: 198.51.100.7: trusted (carrier)");
    assert!(lines[1].starts_with(&format!("FILE:3: {own}: trusted (")), "{complaints}");
    assert!(
        lines[2].starts_with("FILE:4: nonsense: \\\"nonsense\\\" is no network"),
        "{complaints}"
    );
    assert!(lines[3].contains("too much of the world"), "{complaints}");
    assert_eq!(lines[4], "FILE:7: 198.51.0.0/16: trusted (carrier)");
    assert_eq!(bans(&edge), [("192.0.2.1".to_owned(), "imported".to_owned())]);
    let (code, _, complaints) = edge.command(&["bans", "import", name, "--for", "400d"]);
    assert_eq!(code, 1);
    assert!(complaints.contains("at most a year"), "{complaints}");
}
