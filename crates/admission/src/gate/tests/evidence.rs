use super::*;
use policy::Network;
use std::time::Duration;

/// What was dialled in each piece of evidence that was said of this source.
fn said(play: &Play, source: &str) -> Vec<String> {
    let source = Network::source(source.parse().unwrap());
    let dialled = play.effects.iter().filter_map(|effect| match effect {
        Effect::Evidence(of, record) if *of == source => {
            Some(String::from_utf8_lossy(&record.dialled).into_owned())
        }
        _ => None,
    });
    dialled.collect()
}

#[test]
fn pieces_of_evidence_of_one_moment_are_each_said() {
    let mut play = Play::new();
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    for dialled in ["0049", "0044"] {
        tool.dialled = dialled.into();
        play.abandon(&mut tool, true);
    }
    // the clock was not read for a long while: both are due
    play.now = play.now + Duration::from_secs(60);
    play.gate.handle_timeout(play.now);
    play.drain();
    assert_eq!(said(&play, "198.51.100.7"), ["0049", "0044"]);
}

#[test]
fn what_is_said_is_what_the_chain_keeps() {
    let mut play = Play::new();
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    while play.bans().is_empty() {
        play.abandon(&mut tool, true);
        play.wait(4_000);
    }
    let last = play.effects.iter().rev().find_map(|effect| match effect {
        Effect::Evidence(_, record) => Some((**record).clone()),
        _ => None,
    });
    assert_eq!(play.bans()[0].evidence.last(), last.as_ref());
}
