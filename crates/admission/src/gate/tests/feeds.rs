use super::*;
use policy::{Feed, FeedAction, Feeds, Network};

fn told(play: &mut Play, action: FeedAction, mode: Mode, networks: &[&str]) {
    let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
    let until = play.now + std::time::Duration::from_secs(7 * 86_400);
    let feed = Feed { name: "list".into(), action, mode, until };
    let feeds = Feeds::new([(feed, &networks[..])]);
    play.gate.learned(play.now, &Learned::Feeds(Arc::new(feeds)));
}

fn hits(play: &Play) -> [u64; 4] {
    play.gate.counts().feeds[0].hits
}

#[test]
fn a_listed_stranger_is_dropped_without_a_ban_until_the_list_is_old() {
    let mut play = Play::new();
    told(&mut play, FeedAction::Ban, Mode::Enforce, &["198.51.100.0/24", "2001:db8:7::/48"]);
    assert!(play.is_banned("198.51.100.7") && play.is_banned("2001:db8:7::1"));
    assert!(!play.is_banned("198.51.101.7"));
    assert_eq!(hits(&play), [2, 0, 0, 0]);
    assert_eq!(play.gate.snapshot().bans.entries, 0, "no entry of the table of bans");
    play.wait(7 * 86_400_000);
    assert!(!play.is_banned("198.51.100.7"));
}

#[test]
fn nobody_who_authenticated_lately_is_hit_and_nobody_trusted() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    told(&mut play, FeedAction::Ban, Mode::Enforce, &["198.51.0.0/16"]);
    assert!(!play.is_banned("198.51.100.7"));
    assert!(play.is_banned("198.51.100.8"));
    let network = "198.51.100.8/32".parse().unwrap();
    let trust = Some(play.now + std::time::Duration::from_secs(60));
    play.gate.learned(play.now, &Learned::Lift { network, trust, forgive: false });
    assert!(!play.is_banned("198.51.100.8"));
    assert_eq!(hits(&play), [1, 0, 0, 2]);
    let listed = play.gate.listed_by(play.now, "198.51.100.8".parse().unwrap());
    assert_eq!(listed[0].hit, FeedHit::Spared);
    // somebody whose trust has run out is a stranger again
    play.wait(25 * 3_600_000);
    assert!(play.is_banned("198.51.100.7"));
}

#[test]
fn in_observe_it_is_only_counted() {
    let mut play = Play::new();
    told(&mut play, FeedAction::Ban, Mode::Observe, &["198.51.100.0/24"]);
    assert!(!play.is_banned("198.51.100.7"));
    assert_eq!(hits(&play), [0, 0, 1, 0]);
    let mut play = Play::with(|rules| rules.mode = Mode::Observe);
    told(&mut play, FeedAction::Ban, Mode::Enforce, &["198.51.100.0/24"]);
    assert!(!play.is_banned("198.51.100.7"));
    assert_eq!(hits(&play), [0, 0, 1, 0]);
}

#[test]
fn weight_bans_sooner_and_only_by_what_is_proven() {
    let abandons_until_banned = |listed: bool| {
        let mut play = Play::new();
        if listed {
            told(&mut play, FeedAction::Weight, Mode::Enforce, &["198.51.100.7/32"]);
        }
        let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
        for n in 1..100 {
            play.abandon(&mut tool, true);
            play.wait(4_000);
            if play.is_banned("198.51.100.7") {
                return n;
            }
        }
        panic!("never banned");
    };
    assert!(abandons_until_banned(true) < abandons_until_banned(false));
    let mut play = Play::new();
    told(&mut play, FeedAction::Weight, Mode::Enforce, &["198.51.100.7/32"]);
    let mut forged = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..20 {
        play.abandon(&mut forged, false);
        play.wait(4_000);
    }
    assert!(!play.is_banned("198.51.100.7"), "who forges his address bans nobody");
    assert!(hits(&play)[FeedHit::Weighed as usize] > 0);
}

#[test]
fn counts_go_on_when_lists_change() {
    let mut play = Play::new();
    told(&mut play, FeedAction::Ban, Mode::Enforce, &["198.51.100.0/24"]);
    assert!(play.is_banned("198.51.100.7"));
    told(&mut play, FeedAction::Ban, Mode::Enforce, &["203.0.113.0/24"]);
    assert!(!play.is_banned("198.51.100.7") && play.is_banned("203.0.113.9"));
    assert_eq!(hits(&play), [2, 0, 0, 0]);
}
