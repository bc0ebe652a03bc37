use super::*;
use crate::{Ban, BanId, BanKey, BanMemory, Counted, Memory, MemoryKey};
use policy::Network;
use std::collections::HashMap;
use std::time::Duration;

/// What a store holds: the last of each key, without what is nothing.
#[derive(Default)]
struct Kept(HashMap<MemoryKey, Memory>);

impl Kept {
    /// Writes down what the gate wants remembered. How much that was.
    fn save(&mut self, play: &mut Play) -> usize {
        play.wait(60_000);
        self.take(play)
    }

    /// The same, of what was told by now.
    fn take(&mut self, play: &mut Play) -> usize {
        let mut saved = 0;
        for effect in play.effects.drain(..) {
            let Effect::Remember(memory) = effect else { continue };
            saved += 1;
            match memory.is_nothing() {
                true => self.0.remove(&memory.key()),
                false => self.0.insert(memory.key(), memory),
            };
        }
        saved
    }

    /// Another life of the same edge, `after_ms` after the last one.
    fn restart(&mut self, play: &mut Play, after_ms: u64) -> Play {
        self.save(play);
        self.next_life(play.now + Duration::from_millis(after_ms))
    }

    fn next_life(&self, now: Time) -> Play {
        let mut next = Play::new();
        next.now = now;
        for memory in self.0.values() {
            next.gate.recall(next.now, memory);
            next.drain();
        }
        next
    }
}

fn ban_a_caller(play: &mut Play) {
    let mut tool = Client::new("198.51.100.7:5060", "INVITE", "100");
    for _ in 0..100 {
        play.abandon(&mut tool, true);
        play.wait(4_000);
        if play.is_banned("198.51.100.7") {
            return;
        }
    }
    panic!("never banned");
}

#[test]
fn a_ban_goes_on_with_its_number_its_end_and_its_chain() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let before = play.gate.bans(10);
    let mut next = Kept::default().restart(&mut play, 1_000);
    assert!(next.is_banned("198.51.100.7"));
    assert_eq!(next.gate.bans(10), before);
    let recalled =
        |effect: &&Effect| matches!(effect, Effect::Recalled(ban) if ban.id == before[0].id);
    assert_eq!(next.effects.iter().filter(recalled).count(), 1);
    next.wait(600_000);
    assert!(!next.is_banned("198.51.100.7"), "it ends when it would have");
    let ends = next.effects.iter().filter(|effect| matches!(effect, Effect::Lifted(_)));
    assert_eq!(ends.count(), 1);
}

/// An edge that began before its machine knew the time: the clock was years ahead, and is right now.
#[test]
fn a_ban_by_a_clock_that_was_ahead_lasts_no_longer_than_it_was_to() {
    let mut play = Play::new();
    let right = play.now;
    play.now = right + Duration::from_secs(4 * 365 * 86_400);
    ban_a_caller(&mut play);
    let before = play.gate.bans(1).remove(0);
    let mut kept = Kept::default();
    kept.save(&mut play);
    let mut next = kept.next_life(right);
    assert!(next.is_banned("198.51.100.7"));
    let ban = next.gate.bans(1).remove(0);
    assert_eq!((ban.id, ban.since), (before.id, right));
    assert_eq!(ban.until.since(ban.since), before.until.since(before.since));
    next.wait(1_000);
    assert!(kept.take(&mut next) > 0, "it is written down as it is now");
    let mut third = kept.next_life(ban.until - Duration::from_secs(1));
    assert!(third.is_banned("198.51.100.7"));
    third.wait(1_000);
    assert!(!third.is_banned("198.51.100.7"), "a restart does not begin it again");
}

#[test]
fn rules_of_another_policy_lend_their_numbers_to_nobody() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let mut kept = Kept::default();
    kept.save(&mut play);
    let mut next = Play::with(|rules| drop(rules.rules.remove(0)));
    next.now = play.now;
    for memory in kept.0.values() {
        next.gate.recall(next.now, memory);
    }
    let bans = next.gate.bans(1);
    let policy = Play::policy().admission;
    assert!(bans[0].evidence.iter().all(|record| usize::from(record.rule) > policy.rules.len()));
    assert_eq!(bans[0].why, play.gate.bans(1)[0].why, "what it was for is kept by name");
}

#[test]
fn the_next_ban_is_longer_and_has_another_number() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let first = play.gate.bans(1).remove(0);
    let mut next = Kept::default().restart(&mut play, 3_600_000);
    assert!(!next.is_banned("198.51.100.7"), "it ran out while the edge was away");
    ban_a_caller(&mut next);
    let second = next.gate.bans(1).remove(0);
    let (short, long) = (first.until.since(first.since), second.until.since(second.since));
    assert_eq!(long, 4 * short);
    assert_ne!(first.id, second.id);
}

#[test]
fn homes_are_homes_and_neighbours_keep_them_from_being_banned() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    let mut kept = Kept::default();
    let mut next = kept.restart(&mut play, 60_000);
    let Got::Pass(pass) = next.ask(&phone, "", "") else { panic!("it passes") };
    assert!(pass.ticket.at_home && pass.ticket.who == Who::Known);
    // somebody else in the same office: narrowed, not banned
    let mut tool = Client::new("198.51.100.7:7777", "INVITE", "100");
    for _ in 0..40 {
        next.abandon(&mut tool, true);
        next.wait(10_000);
    }
    assert!(!next.is_banned("198.51.100.7"));
    assert!(next.bans().iter().all(|ban| ban.narrowed), "{:?}", next.bans());
    let mut late = kept.restart(&mut play, 25 * 3_600_000);
    let Got::Pass(pass) = late.ask(&phone, "", "") else { panic!("it passes") };
    assert!(!pass.ticket.at_home, "trust has its end, with or without a restart");
}

#[test]
fn a_pair_ban_comes_back_with_its_evidence() {
    let mut play = Play::new();
    let mut guesser = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    let pair = |play: &Play| {
        let mut bans = play.gate.bans(10).into_iter();
        bans.find(|ban| matches!(ban.key, BanKey::AorSource { .. }))
    };
    while pair(&play).is_none() {
        let _ = play.attempt(&mut guesser, 401);
    }
    let before = pair(&play).unwrap();
    assert!(before.evidence.len() > 2, "{before:?}");
    let mut kept = Kept::default();
    kept.take(&mut play);
    let next = kept.next_life(play.now + Duration::from_secs(1));
    assert_eq!(pair(&next), Some(before));
}

#[test]
fn evidence_that_comes_after_a_ban_is_kept_too() {
    let mut play = Play::new();
    let mut phone = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    let mut tool = Client::new("198.51.100.7:7777", "INVITE", "100");
    while play.gate.bans(1).is_empty() {
        play.abandon(&mut tool, true);
        play.wait(10_000);
    }
    let mut kept = Kept::default();
    kept.save(&mut play);
    let first = play.gate.bans(1).remove(0).evidence;
    // it is narrowed: what it does goes on to speak against it
    for _ in 0..3 {
        play.wait(60_000);
        play.abandon(&mut tool, true);
    }
    kept.save(&mut play);
    let evidence = play.gate.bans(1).remove(0).evidence;
    assert!(evidence.len() > first.len(), "{evidence:?}");
    let next = kept.next_life(play.now + Duration::from_secs(1));
    assert_eq!(next.gate.bans(1)[0].evidence, evidence);
}

#[test]
fn hits_count_on_and_a_shard_that_is_gone_leaves_its_own_to_another() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let rules = |play: &Play| play.gate.counts().rules.clone();
    let before = rules(&play);
    assert!(before.iter().sum::<u64>() > 2, "{before:?}");
    let mut kept = Kept::default();
    let mut next = kept.restart(&mut play, 1_000);
    assert_eq!(rules(&next), before);
    assert_eq!(kept.save(&mut next), 0, "nothing is new");

    let mut other = Gate::new(Arc::new(Play::policy()), ShardId(1), &SECRET);
    let mut told = HashMap::new();
    for memory in kept.0.values().filter(|memory| matches!(memory, Memory::Hits(_))) {
        other.recall(next.now, memory);
    }
    assert_eq!(other.counts().rules, before);
    other.handle_timeout(next.now + Duration::from_secs(61));
    while let Some(effect) = other.poll_effect() {
        let Effect::Remember(memory @ Memory::Hits(_)) = effect else { continue };
        told.insert(memory.key(), memory);
    }
    let (gone, own): (Vec<_>, Vec<_>) = told.values().partition(|memory| memory.is_nothing());
    assert!(!own.is_empty() && gone.len() == own.len(), "{gone:?} {own:?}");
}

#[test]
fn hits_are_of_a_name_whatever_the_policy_is() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let (at, before) = (0..).zip(play.gate.counts().rules.clone()).max_by_key(|it| it.1).unwrap();
    let name = Play::policy().admission.rules[at].name.clone();
    let mut other = Play::policy();
    other.admission.rules.insert(0, other.admission.rules[at].clone());
    other.admission.rules[0].name = "another".into();
    play.gate.configure(play.now, Arc::new(other));
    assert_eq!(play.gate.counts().rules.iter().sum::<u64>(), 0);
    play.gate.configure(play.now, Arc::new(Play::policy()));
    ban_a_caller(&mut play);
    let count = play.gate.counts().rules[at];
    let mut kept = Kept::default();
    kept.save(&mut play);
    let key = MemoryKey::Hits(ShardId(0), Counted::Rule, name);
    let Some(Memory::Hits(hits)) = kept.0.get(&key) else { panic!("{key:?}") };
    assert_eq!(hits.others, before + count);
}

#[test]
fn slow_guesses_count_on() {
    let mut play = Play::new();
    let mut guesser = Client::new("198.51.100.7:5060", "REGISTER", "alice");
    let (mut kept, mut guesses) = (Kept::default(), 0);
    loop {
        // four times a day, and the edge restarts as often
        let _ = play.attempt(&mut guesser, 401);
        guesses += 1;
        assert!(guesses < 100, "never banned");
        if play.gate.bans(10).iter().any(|ban| matches!(ban.key, BanKey::AorSource { .. })) {
            break;
        }
        play = kept.restart(&mut play, 6 * 3_600_000);
    }
    assert!((12..25).contains(&guesses), "{guesses}");
}

#[test]
fn what_nobody_needs_is_not_kept_and_what_an_operator_forgives_is_forgotten() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let mut phone = Client::new("203.0.113.5:5060", "REGISTER", "alice");
    play.attempt(&mut phone, 200).unwrap();
    for n in 0..50 {
        let mut forged = Client::new(&format!("192.0.2.{n}:5060"), "REGISTER", "bob");
        forged.opaque = false;
        play.abandon(&mut forged, false);
    }
    let network = Network::source("198.51.100.7".parse().unwrap());
    let lift = Learned::Lift { network, trust: None, forgive: true };
    play.gate.learned(play.now, &lift);
    play.drain();
    let mut kept = Kept::default();
    kept.save(&mut play);
    let kinds: Vec<_> = kept.0.into_keys().collect();
    assert!(!kinds.contains(&MemoryKey::Ban(BanKey::Source(network))), "{kinds:?}");
    assert!(!kinds.contains(&MemoryKey::Source(network)), "{kinds:?}");
    let sources = kinds.iter().filter(|key| matches!(key, MemoryKey::Source(_)));
    assert_eq!(sources.count(), 1, "the phone's: {kinds:?}");
    assert!(kinds.iter().any(|key| matches!(key, MemoryKey::Realm(_))));
}

#[test]
fn a_flood_of_news_is_told_in_portions_and_nothing_is_told_twice() {
    let mut play = Play::with(|rules| rules.rules = Vec::new());
    for n in 0..3_000 {
        let address = format!("198.{}.{}.{}:5060", 18 + n / 2_500, n / 50 % 50, n % 50);
        let mut phone = Client::new(&address, "REGISTER", &format!("u{n}"));
        play.attempt(&mut phone, 200).unwrap();
    }
    let mut kept = Kept::default();
    assert_eq!(kept.save(&mut play), 6_001, "sources, pairs and the realm");
    let sources = kept.0.keys().filter(|key| matches!(key, MemoryKey::Source(_)));
    assert_eq!(sources.count(), 3_000);
    assert_eq!(kept.save(&mut play), 0, "all of it is saved");
    assert_eq!(play.gate.poll_timeout(), None, "and nothing walks on");
}

#[test]
fn an_end_in_peace_costs_nothing() {
    let mut play = Play::new();
    for n in 0..600 {
        let address = format!("198.51.{}.{}:5060", n / 250, n % 250);
        let mut phone = Client::new(&address, "REGISTER", &format!("u{n}"));
        phone.lines = format!("User-Agent: Phone/{n}\r\n");
        let _ = play.attempt(&mut phone, 200);
    }
    let (known, _) = play.gate.sources_at(play.now, 0, 10_000, -1.0);
    let told = |play: &Play| {
        let source = |effect: &&Effect| matches!(effect, Effect::Remember(Memory::Source(_)));
        play.effects.iter().filter(source).count()
    };
    let before = told(&play);
    play.gate.drain(play.now);
    play.drain();
    assert!(told(&play) > before, "some were not due yet");
    assert_eq!(told(&play), known.iter().filter(|source| source.who == Who::Known).count());
}

#[test]
fn nobody_trusted_is_banned_by_a_memory_and_none_comes_from_the_future() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let mut kept = Kept::default();
    kept.save(&mut play);
    let mut policy = Play::policy();
    let network = Network::source("198.51.100.7".parse().unwrap());
    policy.admission.trust.networks.push((network, "carrier".into()));
    let mut gate = Gate::new(Arc::new(policy), ShardId(0), &SECRET);
    let early = Time::ZERO + Duration::from_secs(1_000);
    for memory in kept.0.values() {
        gate.recall(early, memory);
    }
    assert!(gate.bans(10).is_empty());
    assert!(gate.on_source(early, network.address()).is_none());
}

#[test]
fn a_realm_is_recalled_for_the_pbx_that_has_it() {
    let mut play = Play::new();
    let mut policy = (*play.gate.policy).clone();
    let [a, b] = [2, 3].map(|n| policy::Pbx::new(([127, 0, 0, n], 5070).into()));
    let realm = |pbx| Memory::Realm { pbx, realm: b"r".as_slice().into(), algorithms: 1 };
    let (one, other) = (a.id(), b.id());
    policy.pbx = vec![a.clone(), b];
    play.gate.configure(play.now, policy.clone().into());
    for nobody in [0, 7] {
        play.gate.recall(play.now, &realm(nobody));
    }
    play.gate.recall(play.now, &realm(other));
    assert!(play.gate.challenges.of_mut(other).is_ready(None));
    assert!(!play.gate.challenges.of_mut(one).is_ready(None));
    // a file from before there could be several means the only one
    policy.pbx = vec![a];
    play.gate.configure(play.now, policy.into());
    play.gate.recall(play.now, &realm(0));
    assert!(play.gate.challenges.of_mut(one).is_ready(None));
}

/// Five callers of a network, of whom so many come before the edge restarts: what becomes of it.
fn network_over_a_restart(play: &mut Play, before: u64) -> Play {
    let call = |play: &mut Play, n: u64| {
        for _ in 0..3 {
            let remote = format!("198.51.100.{n}:5060");
            play.abandon(&mut Client::tcp(&remote, "INVITE", "1", n), true);
            play.wait(9_000);
        }
        assert!(play.is_banned(&format!("198.51.100.{n}")), "{n}");
    };
    (1..=before).for_each(|n| call(play, n));
    let mut next = Kept::default().restart(play, 1_000);
    (before + 1..=5).for_each(|n| call(&mut next, n));
    next
}

#[test]
fn a_network_is_banned_for_sources_that_were_banned_before_a_restart() {
    for before in [0, 3, 4, 5] {
        let mut play = network_over_a_restart(&mut Play::new(), before);
        assert!(play.is_banned("198.51.100.200"), "{before} before");
        assert!(!play.is_banned("198.51.101.1"), "{before} before");
    }
}

#[test]
fn a_network_with_somebody_known_is_only_narrowed_after_a_restart_too() {
    for before in [0, 3, 5] {
        let mut play = Play::new();
        let mut phone = Client::new("198.51.100.99:5060", "REGISTER", "alice");
        play.attempt(&mut phone, 200).unwrap();
        let mut next = network_over_a_restart(&mut play, before);
        assert!(!next.is_banned("198.51.100.200"), "{before} before");
        let bans = next.gate.bans(10);
        let network = bans.iter().find(|ban| matches!(ban.key, BanKey::Network(_)));
        assert!(network.is_some_and(|ban| ban.narrowed), "{before} before: {bans:?}");
        next.attempt(&mut phone, 200).unwrap();
    }
}

#[test]
fn a_campaign_and_an_operators_trust_go_on_after_a_restart() {
    let mut play = Play::new();
    let tool = |n: usize| Client::new(&format!("198.51.{n}.7:5060"), "INVITE", "100");
    for n in 0..5 {
        play.abandon(&mut tool(n), true);
        play.wait(9_000);
    }
    let network = Network::source("203.0.113.7".parse().unwrap());
    let trust = Some(play.now + Duration::from_secs(3_600));
    play.gate.learned(play.now, &Learned::Lift { network, trust, forgive: false });
    play.drain();
    let mut next = Kept::default().restart(&mut play, 1_000);
    assert_eq!(next.abandon(&mut tool(20), true), Got::Drop(Reason::Campaign), "no realm is known");
    assert!(next.gate.trusted_by(next.now, network.address()).is_some());
}

#[test]
fn what_a_bans_end_forgave_is_not_held_against_anybody_after_a_restart() {
    let mut play = Play::new();
    ban_a_caller(&mut play);
    let mut kept = Kept::default();
    let long = |kept: &mut Kept, play: &mut Play| {
        kept.save(play);
        let sources = kept.0.values().filter_map(|memory| match memory {
            Memory::Source(source) => Some(source.long),
            _ => None,
        });
        sources.sum::<f32>()
    };
    let before = long(&mut kept, &mut play);
    play.wait(600_000);
    let after = long(&mut kept, &mut play);
    assert!((after - before / 4.0).abs() < 0.05, "{before}, and then {after}");
}

/// The kernel's sets learn of bans from before: each from one shard.
#[test]
fn bans_from_before_a_restart_are_said_once() {
    let source = Network::source("198.51.100.7".parse().unwrap());
    let network = Network::around(source.address());
    for (key, said_by) in [
        (BanKey::Network(network), vec![0]),
        (BanKey::Campaign(7), vec![0]),
        // what is of one source is recalled in its shard only
        (BanKey::Source(source), vec![0, 1]),
    ] {
        let mut saying = Vec::new();
        for shard in [0, 1] {
            let mut play = Play::new();
            ban_a_caller(&mut play);
            let ban = Ban { id: BanId::shared(1), key, ..play.gate.bans(1).remove(0) };
            let mut next = Play::new();
            next.now = play.now;
            next.gate = Gate::new(Arc::new(Play::policy()), ShardId(shard), &SECRET).among(2);
            let memory = BanMemory { ban, times: 1, evidence: next.now, names: 0 };
            next.gate.recall(next.now, &Memory::Ban(Box::new(memory)));
            next.drain();
            assert_eq!(next.gate.bans(10).len(), 1);
            if next.effects.iter().any(|effect| matches!(effect, Effect::Recalled(_))) {
                saying.push(shard);
            }
        }
        assert_eq!(saying, said_by, "{key:?}");
    }
}

#[test]
fn what_is_known_of_a_banned_source_stays_until_the_ban_ends_whoever_comes_meanwhile() {
    let crowd = |play: &mut Play| {
        for n in 0..60 {
            let mut tool = Client::tcp(&format!("192.0.2.{n}:5060"), "INVITE", "100", n);
            tool.lines = format!("X-{n}: no campaign\r\n");
            play.abandon(&mut tool, true);
        }
        play.wait(9_000);
    };
    for restarted in [false, true] {
        let mut play = Play::new();
        ban_a_caller(&mut play);
        if restarted {
            play = Kept::default().restart(&mut play, 1_000);
        }
        let mut policy = Play::policy();
        (policy.admission.capacities.sources, policy.admission.capacities.chains) = (40, 20);
        play.gate.configure(play.now, Arc::new(policy));
        let (address, ban) = ("198.51.100.7".parse().unwrap(), play.gate.bans(1).remove(0));
        crowd(&mut play);
        let bans = play.gate.bans(100);
        let now = bans.iter().find(|it| it.id == ban.id).expect("it is in force");
        assert_eq!((now.evidence.len(), &now.evidence), (3, &ban.evidence), "{restarted}");
        assert!(play.gate.source(play.now, address).is_some(), "{restarted}");
        play.wait(600_000);
        crowd(&mut play);
        assert!(play.gate.source(play.now, address).is_none(), "{restarted}");
        assert_eq!(play.gate.evidence_on(address), [], "{restarted}");
    }
}
