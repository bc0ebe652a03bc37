use super::*;
use crate::admin::status::{PbxView, PolicyView, ShardView};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::collections::BTreeMap;

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn status(uptime: f64, factor: u64) -> StatusView {
    let shard = |shard| ShardView {
        shard,
        wakeups: 1,
        inputs: 400 * factor,
        requests: 1_000 * factor + shard as u64,
    };
    StatusView {
        version: "1.2.3".into(),
        started: "2026-11-22T20:40:08Z".into(),
        uptime_seconds: uptime,
        ready: true,
        alive: true,
        policy: PolicyView {
            version: 4,
            profile: "balanced".into(),
            mode: "enforce".into(),
            file: "x.yaml".into(),
        },
        pbx: vec![PbxView {
            name: "127.0.0.1:5070".into(),
            group: "default".into(),
            address: "127.0.0.1:5070".into(),
            transport: "udp".into(),
            up: true,
            ..PbxView::default()
        }],
        verdicts: counts(&[("forward", 700 * factor), ("absorb", 3), ("drop", 1_200)]),
        refused: counts(&[("banned", 1_100), ("rule", 100)]),
        challenges: counts(&[("issued", 90 * factor), ("authenticated", 80), ("abandoned", 9)]),
        bans: 2,
        shards: (0..2).map(shard).collect(),
        ..StatusView::default()
    }
}

fn source(address: &str, score: f32) -> SourceJson {
    SourceJson {
        source: address.into(),
        who: "proven".into(),
        proof: Some("ack_tag".into()),
        score,
        long_score: 0.5,
        open_invites: 2,
        open_others: 0,
        suspect: false,
    }
}

fn ban(id: &str, key: &str, reason: &str) -> BanView {
    BanView {
        id: id.into(),
        key: key.into(),
        kind: "address".into(),
        reason: reason.into(),
        proof: None,
        since: "2026-11-22T20:40:08Z".into(),
        until: "2026-11-22T20:50:08Z".into(),
        evidence: Vec::new(),
        origin: "local".into(),
        kernel: false,
    }
}

fn screen() -> Screen {
    let mut screen = Screen::default();
    screen.take(status(3_600.0, 1), Vec::new(), Vec::new());
    let sources = vec![source("198.51.100.7", 2.25), source("2001:db8:1:2::/64", 0.5)];
    let bans = vec![
        ban("0-17", "203.0.113.9", "abandoned-invite"),
        ban("255-1", "192.0.2.0/24", "a\u{1b}[2J"),
    ];
    screen.take(status(3_602.0, 2), sources, bans);
    screen
}

/// What a terminal of that size shows, its lines' ends trimmed.
fn shown(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        format!("{}\n", cells.trim_end())
    };
    (0..height).map(line).collect()
}

#[test]
fn all_of_it_is_seen_in_80_columns_and_24_lines() {
    let text = shown(&screen(), 80, 24);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/80x24.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap_or_default(), "BLESS=1 rewrites it");
    for part in
        ["up 1 h", "PBX 127.0.0.1:5070 up", "policy 4 (balanced, enforce)", "198.51.100.7", "0-17"]
    {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // 700 more in two seconds
    assert!(text.contains("forward        1400  350"), "{text}");
    assert!(!text.contains('\u{1b}'), "hostile text moves no cursor");
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    for (width, height) in [(1, 1), (10, 3), (40, 10), (79, 23), (200, 60)] {
        shown(&screen(), width, height);
    }
}

#[test]
fn in_a_small_terminal_the_chosen_list_has_the_room() {
    let mut screen = screen();
    let text = shown(&screen, 80, 16);
    assert!(text.contains("forward ") && text.contains("198.51.100.7"), "{text}");
    screen.on_bans = true;
    let text = shown(&screen, 80, 10);
    assert!(text.contains("192.0.2.0/24") && !text.contains("198.51.100.7"), "{text}");
}

#[test]
fn what_is_wrong_is_said_in_the_first_line() {
    let mut screen = screen();
    screen.status.pbx[0].up = false;
    screen.status.panic_open_until = Some("2026-11-22T21:00:00Z".into());
    let text = shown(&screen, 120, 24);
    let first = text.lines().next().unwrap();
    assert!(first.contains("DOWN") && first.contains("PANIC OPEN until 2026-11-22T21:00:00Z"));
    screen.trouble = Some("no edge is reached".into());
    assert!(shown(&screen, 80, 24).lines().last().unwrap().contains("no edge is reached"));
}

#[test]
fn keys_choose_explain_and_end() {
    let mut screen = screen();
    let press = |screen: &mut Screen, key| screen.on_key(key, false);
    assert_eq!(press(&mut screen, KeyCode::Enter), Wish::Explain("198.51.100.7".into()));
    press(&mut screen, KeyCode::Down);
    press(&mut screen, KeyCode::Down);
    assert_eq!(press(&mut screen, KeyCode::Enter), Wish::Explain("2001:db8:1:2::/64".into()));
    press(&mut screen, KeyCode::Tab);
    assert_eq!(press(&mut screen, KeyCode::Enter), Wish::Explain("0-17".into()));
    press(&mut screen, KeyCode::Char(' '));
    assert!(screen.stopped && shown(&screen, 80, 24).contains("STOPPED"));
    screen.explained = Some(("why\nand how".into(), 0));
    assert!(shown(&screen, 80, 24).contains("and how"));
    press(&mut screen, KeyCode::PageDown);
    assert!(!shown(&screen, 80, 24).contains("why"), "scrolled");
    assert_eq!(press(&mut screen, KeyCode::Esc), Wish::Nothing);
    assert_eq!(press(&mut screen, KeyCode::Esc), Wish::End);
    assert_eq!(screen.on_key(KeyCode::Char('c'), true), Wish::End);
}

#[test]
fn rates_do_not_reach_over_a_restart() {
    let mut screen = screen();
    let mut restarted = status(1.0, 1);
    restarted.started = "2026-11-22T22:00:00Z".into();
    screen.take(restarted, Vec::new(), Vec::new());
    assert!(screen.before.is_none());
    assert_eq!(screen.chosen, 0);
}

#[test]
fn lengths_are_said_in_their_two_largest_units() {
    for (seconds, said) in
        [(0.4, "0 s"), (61.0, "1 min 1 s"), (3_600.0, "1 h"), (273_600.0, "3 d 4 h")]
    {
        assert_eq!(length(seconds), said);
    }
}
