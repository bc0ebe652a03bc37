use super::*;
use std::collections::HashMap;

const A: &str = "198.51.100.7";
const DAY: u64 = 24 * 3_600;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn source(text: &str) -> BanKey {
    BanKey::Source(Network::source(ip(text)))
}

fn network(text: &str, prefix: u8) -> BanKey {
    BanKey::Network(Network::new(ip(text), prefix))
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(1_000_000 + seconds)
}

fn flow(remote: &str) -> Flow {
    Flow::udp("192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap())
}

const CAUSE: Cause<'_> = Cause {
    why: "abandoned-invite",
    reason: Reason::Banned,
    proof: Some(Proof::AckTag),
    score: 3.0,
    narrowed: false,
    policy_version: 7,
    slow: false,
};

fn bans() -> Bans {
    Bans::new(&[5; 32], ShardId(3), &Admission::default())
}

fn bounded(capacity: usize) -> (Bans, Admission) {
    let mut rules = Admission::default();
    rules.capacities.bans = capacity;
    (Bans::new(&[5; 32], ShardId(3), &rules), rules)
}

fn begin(bans: &mut Bans, now: Time, what: BanKey) -> Ban {
    bans.ban(now, &Trust::default(), what, &CAUSE).expect("nobody is trusted")
}

fn lifts(bans: &mut Bans) -> Vec<(BanKey, bool)> {
    std::iter::from_fn(|| bans.poll_lift()).map(|lift| (lift.key, lift.expired)).collect()
}

fn changes(bans: &mut Bans) -> Vec<BanKey> {
    std::iter::from_fn(|| bans.poll_changed()).collect()
}

/// Lets everything run that is due until then, each at its time.
fn run(bans: &mut Bans, until: Time) {
    while let Some(due) = bans.poll_timeout().filter(|due| *due <= until) {
        bans.handle_timeout(due, 1);
    }
}

#[test]
fn a_source_is_banned_for_its_time() {
    let mut bans = bans();
    assert_eq!(bans.of_source(at(0), ip(A)), None);
    let ban = begin(&mut bans, at(0), source(A));
    assert_eq!((ban.since, ban.until, ban.id), (at(0), at(600), BanId(3 << 56)));
    assert_eq!((&*ban.why, ban.policy_version, ban.origin), ("abandoned-invite", 7, Origin::Local));
    let found = bans.of_source(at(599), ip(A));
    assert_eq!(found, Some(Standing { reason: Reason::Banned, narrowed: false }));
    assert_eq!(bans.iter(at(599)).next(), Some(ban));
    assert!(bans.of_source(at(1), ip("::ffff:198.51.100.7")).is_some(), "the same source");
    assert_eq!(bans.of_source(at(1), ip("198.51.100.8")), None);
    assert_eq!(bans.poll_timeout(), Some(at(600)));
    bans.handle_timeout(at(600), 100);
    assert_eq!(bans.of_source(at(600), ip(A)), None);
    assert_eq!(lifts(&mut bans), [(source(A), true)]);
}

#[test]
fn an_ipv6_source_is_its_64() {
    let mut bans = bans();
    begin(&mut bans, at(0), source("2001:db8:1:2::1"));
    assert!(bans.of_source(at(1), ip("2001:db8:1:2:ffff::9")).is_some());
    assert_eq!(bans.of_source(at(1), ip("2001:db8:1:3::1")), None);
}

#[test]
fn networks_of_any_length_are_found_while_they_last() {
    let mut bans = bans();
    for (what, meets, misses) in [
        (network("198.51.100.0", 24), "198.51.100.200", "198.51.101.1"),
        (network("10.0.0.0", 8), "10.200.1.1", "11.0.0.1"),
        (network("2001:db8::", 48), "2001:db8:0:77::1", "2001:db8:1::1"),
        (network("2001:db8:7::5", 128), "2001:db8:7::5", "2001:db8:7::6"),
    ] {
        begin(&mut bans, at(0), what);
        assert!(bans.of_source(at(1), ip(meets)).is_some(), "{what:?}");
        assert_eq!(bans.of_source(at(1), ip(misses)), None, "{what:?}");
        bans.lift_key(at(2), &what, false);
        assert_eq!(bans.of_source(at(3), ip(meets)), None, "{what:?}");
    }
    assert!(bans.kinds.lengths_v4.is_empty() && bans.kinds.lengths_v6.is_empty());
}

#[test]
fn each_next_ban_is_four_times_as_long_up_to_a_day() {
    let mut bans = bans();
    let mut now = at(0);
    for minutes in [10, 40, 160, 640, 24 * 60] {
        let ban = begin(&mut bans, now, source(A));
        assert_eq!(ban.until.since(now), Duration::from_secs(minutes * 60));
        now = ban.until;
        run(&mut bans, now);
    }
    assert_eq!(lifts(&mut bans).len(), 5);
}

#[test]
fn pairs_are_banned_for_less() {
    let mut bans = bans();
    let what = BanKey::AorSource { aor: 1, source: Network::source(ip(A)) };
    let mut now = at(0);
    for minutes in [1, 4, 16, 60, 60] {
        let ban = begin(&mut bans, now, what);
        assert_eq!(ban.until.since(now), Duration::from_secs(minutes * 60));
        now = ban.until;
        run(&mut bans, now);
    }
}

#[test]
fn a_day_without_evidence_forgives_a_level() {
    let mut bans = bans();
    begin(&mut bans, at(0), source(A));
    run(&mut bans, at(600));
    let second = begin(&mut bans, at(700), source(A));
    assert_eq!(second.until, at(700 + 40 * 60));
    // two levels, one of them forgiven a day after the last evidence
    run(&mut bans, at(10_000));
    bans.evidence(at(10_000), &source(A));
    run(&mut bans, at(10_000 + DAY));
    let third = begin(&mut bans, at(10_000 + DAY), source(A));
    assert_eq!(third.until.since(third.since), Duration::from_secs(40 * 60));
    // and all after enough of them: nothing is left of it
    changes(&mut bans);
    run(&mut bans, at(10_000 + 4 * DAY));
    assert_eq!(bans.table().entries, 0);
    assert_eq!(changes(&mut bans), [source(A), source(A)], "its end, and that it is forgotten");
    assert_eq!(bans.poll_timeout(), None);
}

#[test]
fn what_was_forgiven_before_evidence_came_stays_forgiven() {
    let mut bans = bans();
    begin(&mut bans, at(0), source(A));
    run(&mut bans, at(600));
    begin(&mut bans, at(600), source(A));
    run(&mut bans, at(DAY));
    bans.evidence(at(600 + DAY), &source(A));
    let third = begin(&mut bans, at(601 + DAY), source(A));
    assert_eq!(third.until.since(third.since), Duration::from_secs(40 * 60));
}

#[test]
fn evidence_puts_off_when_a_ban_is_forgotten() {
    let mut bans = bans();
    begin(&mut bans, at(0), source(A));
    run(&mut bans, at(600));
    bans.evidence(at(700), &source(A));
    run(&mut bans, at(699 + DAY));
    assert_eq!(bans.table().entries, 1);
    run(&mut bans, at(700 + DAY));
    assert_eq!((bans.table().entries, bans.poll_timeout()), (0, None));
}

#[test]
fn evidence_that_comes_again_and_again_is_told_once() {
    let mut bans = bans();
    begin(&mut bans, at(0), source(A));
    changes(&mut bans);
    for second in 1..10 {
        bans.evidence(at(second), &source(A));
    }
    bans.tell_late(1);
    assert_eq!((changes(&mut bans), bans.is_late()), (vec![source(A)], false));
}

#[test]
fn a_ban_is_forgiven_over_a_restart_as_without_one() {
    let mut before = bans();
    for _ in 0..3 {
        let ban = begin(&mut before, at(0), source(A));
        before.lift_key(at(0), &ban.key, false);
    }
    let memory = before.memory(&source(A)).unwrap();
    assert_eq!((memory.times, memory.ban.until), (3, at(0)), "it ended when it was lifted");
    // one of three levels is forgiven, before the restart or after it
    let mut after = bans();
    assert!(after.recall(at(DAY), &Trust::default(), &memory));
    assert_eq!(after.of_source(at(DAY), ip(A)), None);
    for bans in [&mut before, &mut after] {
        run(bans, at(3 * DAY - 1));
        assert_eq!(bans.table().entries, 1);
        let ban = begin(bans, at(3 * DAY - 1), source(A));
        assert_eq!(ban.until.since(ban.since), Duration::from_secs(40 * 60));
    }
}

#[test]
fn evidence_from_a_clock_that_was_ahead_counts_as_of_now() {
    let mut before = bans();
    begin(&mut before, at(9 * DAY), source(A));
    before.lift_key(at(9 * DAY), &source(A), false);
    let mut memory = before.memory(&source(A)).unwrap();
    memory.ban.until = at(0);
    let mut after = bans();
    assert!(after.recall(at(0), &Trust::default(), &memory));
    assert_eq!(after.poll_timeout(), Some(at(DAY)));
}

#[test]
fn a_renewed_ban_keeps_its_number_and_level() {
    let mut bans = bans();
    let first = begin(&mut bans, at(0), source(A));
    let again = begin(&mut bans, at(300), source(A));
    assert_eq!((again.id, again.since, again.until), (first.id, at(0), at(900)));
    run(&mut bans, at(600));
    assert!(bans.of_source(at(899), ip(A)).is_some());
    run(&mut bans, at(900));
    assert_eq!(lifts(&mut bans), [(source(A), true)]);
}

#[test]
fn pairs_are_found_by_flow_and_by_source() {
    let mut bans = bans();
    let (one, other) = (flow("198.51.100.7:5060"), flow("198.51.100.7:5061"));
    begin(&mut bans, at(0), BanKey::AorFlow { aor: 1, flow: one });
    assert!(bans.of_pair(at(1), 1, &one).is_some());
    assert_eq!(bans.of_pair(at(1), 1, &other), None);
    assert_eq!(bans.of_pair(at(1), 2, &one), None);
    let slowed = Cause { narrowed: true, ..CAUSE };
    let what = BanKey::AorSource { aor: 1, source: Network::source(ip(A)) };
    bans.ban(at(0), &Trust::default(), what, &slowed);
    assert!(bans.of_pair(at(1), 1, &other).is_some_and(|ban| ban.narrowed));
    assert!(bans.of_pair(at(1), 1, &one).is_some_and(|ban| !ban.narrowed), "what drops goes first");
    assert_eq!(bans.of_source(at(1), ip(A)), None, "the source is not banned");
    // by whichever of the two
    begin(&mut bans, at(2), what);
    bans.ban(at(2), &Trust::default(), BanKey::AorFlow { aor: 1, flow: one }, &slowed);
    assert!(bans.of_pair(at(3), 1, &one).is_some_and(|ban| !ban.narrowed));
}

#[test]
fn what_drops_goes_before_what_narrows() {
    let mut bans = bans();
    bans.ban(at(0), &Trust::default(), source(A), &Cause { narrowed: true, ..CAUSE });
    assert!(bans.of_source(at(1), ip(A)).is_some_and(|ban| ban.narrowed));
    assert_eq!(bans.of_source(at(600), ip(A)), None, "over, timer or not");
    assert_eq!(bans.of_source(at(1), ip("198.51.100.8")), None);
    begin(&mut bans, at(0), network("198.51.100.0", 24));
    assert!(bans.of_source(at(1), ip(A)).is_some_and(|ban| !ban.narrowed));
    // and a ban that drops may become one that narrows
    let slowed = Cause { narrowed: true, reason: Reason::Narrowed, ..CAUSE };
    bans.ban(at(2), &Trust::default(), network("198.51.100.0", 24), &slowed);
    assert!(bans.of_source(at(2), ip(A)).is_some_and(|ban| ban.narrowed));
    // and back, whatever the reasons are
    begin(&mut bans, at(3), source(A));
    assert!(bans.of_source(at(3), ip(A)).is_some_and(|ban| !ban.narrowed));
    bans.lift(at(4), Network::host(ip(A)), false);
    assert_eq!(bans.of_source(at(5), ip(A)), None);
}

#[test]
fn the_wall_knows_every_reason() {
    for reason in Reason::ALL {
        let mut bans = bans();
        bans.ban(at(0), &Trust::default(), source(A), &Cause { reason, ..CAUSE });
        assert_eq!(bans.of_source(at(1), ip(A)).map(|ban| ban.reason), Some(reason));
        bans.lift_key(at(1), &source(A), false);
        assert_eq!(bans.of_source(at(1), ip(A)), None);
    }
}

#[test]
fn nobody_trusted_is_banned_by_anything() {
    let mut bans = bans();
    let mut trust = Trust::default();
    trust.give(at(0), Network::host(ip(A)), at(10_000));
    let everything = [
        source(A),
        network("198.51.100.0", 24),
        network("0.0.0.0", 0),
        BanKey::AorSource { aor: 1, source: Network::source(ip(A)) },
        BanKey::AorFlow { aor: 1, flow: flow("198.51.100.7:5060") },
    ];
    for what in everything {
        assert_eq!(bans.ban(at(0), &trust, what, &CAUSE), None, "{what:?}");
        let imposed = Ban {
            key: what,
            ..begin(&mut Bans::new(&[1; 32], ShardId(0), &Admission::default()), at(0), what)
        };
        assert!(!bans.impose(at(0), &trust, &imposed), "{what:?}");
    }
    // and who is trusted later is let go
    for what in everything {
        begin(&mut bans, at(0), what);
    }
    begin(&mut bans, at(0), source("203.0.113.1"));
    bans.configure(at(1), &Admission::default(), &trust);
    assert_eq!(lifts(&mut bans).len(), everything.len());
    assert_eq!(bans.iter(at(2)).map(|ban| ban.key).collect::<Vec<_>>(), [source("203.0.113.1")]);
    assert_eq!(bans.table().entries, 1, "and forgiven");
}

#[test]
fn an_operator_lifts_what_meets_the_addresses() {
    let mut bans = bans();
    let pair = BanKey::AorFlow { aor: 1, flow: flow("198.51.100.7:5060") };
    for what in [source(A), network("198.51.100.0", 24), pair, source("198.51.100.9")] {
        begin(&mut bans, at(0), what);
    }
    bans.lift(at(1), Network::host(ip(A)), false);
    assert_eq!(bans.of_source(at(2), ip(A)), None);
    assert_eq!(bans.of_pair(at(2), 1, &flow("198.51.100.7:5060")), None);
    assert!(bans.of_source(at(2), ip("198.51.100.9")).is_some(), "not asked for");
    assert!(lifts(&mut bans).iter().all(|(_, expired)| !expired));
    let second = begin(&mut bans, at(3), source(A));
    assert_eq!(second.until, at(3 + 2_400), "remembered");
    bans.lift(at(4), Network::host(ip(A)), true);
    let third = begin(&mut bans, at(5), source(A));
    assert_eq!(third.until, at(5 + 600), "forgiven");
    bans.lift_key(at(6), &source(A), true);
    let fourth = begin(&mut bans, at(7), source(A));
    assert_eq!(fourth.until, at(7 + 600), "forgiven by its key");
}

#[test]
fn an_operators_ban_keeps_its_number_and_end() {
    let mut bans = bans();
    let made = begin(&mut bans, at(0), source(A));
    let order = Ban { id: BanId(9), origin: Origin::Operator, until: at(60), ..made.clone() };
    assert!(bans.impose(at(1), &Trust::default(), &order));
    assert_eq!(bans.iter(at(2)).next(), Some(order));
    let feed = Ban { id: BanId(10), origin: Origin::Feed, until: at(30), ..made };
    assert!(bans.impose(at(3), &Trust::default(), &feed));
    assert_eq!(bans.iter(at(4)).next().map(|ban| ban.until), Some(at(60)), "not shortened");
    assert!(!bans.impose(at(99), &Trust::default(), &feed), "over");
}

#[test]
fn an_operators_ban_forgives_nothing() {
    let mut bans = bans();
    begin(&mut bans, at(0), source(A));
    run(&mut bans, at(600));
    let second = begin(&mut bans, at(600), source(A));
    let order = Ban { id: BanId(9), origin: Origin::Operator, until: at(660), ..second };
    assert!(bans.impose(at(601), &Trust::default(), &order));
    run(&mut bans, at(660));
    let third = begin(&mut bans, at(660), source(A));
    assert_eq!(third.until.since(third.since), Duration::from_secs(160 * 60));
}

#[test]
fn bans_and_timers_are_bounded() {
    let (mut bans, _) = bounded(100);
    for n in 0..10_000u32 {
        let what = BanKey::Source(Network::source(IpAddr::from(n.to_be_bytes())));
        begin(&mut bans, at(0), what);
        bans.lift_key(at(0), &what, false);
        begin(&mut bans, at(0), what);
        assert!(bans.table().entries <= 100);
        assert!(bans.deadlines.len() <= 2 * 100 + 64);
        lifts(&mut bans);
    }
    assert_eq!(bans.kinds.v4[32], 100);
    changes(&mut bans);
    begin(&mut bans, at(0), network("192.0.2.0", 24));
    let pushed_out = lifts(&mut bans);
    assert_eq!(pushed_out.len(), 1, "who is pushed out is told");
    assert_eq!(changes(&mut bans), [network("192.0.2.0", 24), pushed_out[0].0]);
}

#[test]
fn a_ban_that_ended_makes_room_before_one_in_force() {
    let (mut bans, _) = bounded(2);
    let [old, ended, new] = [A, "198.51.100.8", "198.51.100.9"].map(source);
    begin(&mut bans, at(0), old);
    begin(&mut bans, at(1), ended);
    bans.lift_key(at(2), &ended, false);
    begin(&mut bans, at(3), new);
    assert!([old, new].iter().all(|what| bans.memory(what).is_some()));
    assert!(bans.memory(&ended).is_none());
}

#[test]
fn a_smaller_bound_lifts_the_oldest() {
    let (mut bans, mut rules) = bounded(100);
    for n in 0..100u32 {
        begin(&mut bans, at(0), BanKey::Source(Network::source(IpAddr::from(n.to_be_bytes()))));
    }
    rules.capacities.bans = 10;
    bans.configure(at(1), &rules, &Trust::default());
    assert_eq!(lifts(&mut bans).len(), 90);
    assert!(bans.of_source(at(2), IpAddr::from(99u32.to_be_bytes())).is_some());
}

/// Many sources over many days, against a list that says the same.
#[test]
fn what_is_in_force_is_what_the_list_says() {
    let mut bans = bans();
    let mut list: HashMap<u32, Time> = HashMap::new();
    let mut dice = 1u64;
    let mut now = at(0);
    for _ in 0..20_000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = (dice >> 40) as u32 % 50;
        let address = IpAddr::from(n.to_be_bytes());
        now = now + Duration::from_secs((dice >> 33) % 900);
        if dice >> 63 == 0 {
            let ban = begin(&mut bans, now, BanKey::Source(Network::source(address)));
            list.insert(n, ban.until);
        }
        run(&mut bans, now);
        for n in 0..50u32 {
            let expected = list.get(&n).is_some_and(|until| *until > now);
            let address = IpAddr::from(n.to_be_bytes());
            assert_eq!(bans.of_source(now, address).is_some(), expected);
        }
        lifts(&mut bans);
    }
}

#[test]
fn who_comes_slowly_is_banned_for_as_long_as_bans_last() {
    let mut bans = bans();
    let slow = Cause { slow: true, ..CAUSE };
    let ban = bans.ban(at(0), &Trust::default(), source(A), &slow).expect("a ban");
    assert_eq!(ban.until, at(DAY));
    assert_eq!(begin(&mut bans, at(1), source(A)).until, at(DAY), "no evidence shortens it");
}

#[test]
fn an_operators_ban_takes_the_place_of_the_edges_own() {
    let mut bans = bans();
    let own = begin(&mut bans, at(0), source(A));
    let order = Ban { id: BanId::shared(1), origin: Origin::Operator, ..own.clone() };
    assert!(bans.impose(at(1), &Trust::default(), &order));
    let lift = bans.poll_lift().unwrap();
    assert_eq!((lift.id, lift.replaced, lift.expired), (own.id, true, false));
    assert_eq!(bans.poll_lift(), None);
    let (held, more) = bans.portion(at(2), 0, 10);
    assert_eq!((held.map(|ban| ban.id).collect::<Vec<_>>(), more), (vec![order.id], false));
    assert!(bans.portion(at(2), 0, 0).1, "there is one behind none");
    bans.lift_key(at(3), &source(A), false);
    let lift = bans.poll_lift().unwrap();
    assert_eq!((lift.id, lift.replaced), (order.id, false));
}

#[test]
fn numbers_are_written_and_read() {
    for (id, text) in [(BanId(3 << 56 | 17), "3-17"), (BanId::shared(2), "255-2")] {
        assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)));
    }
    for wrong in ["", "-", "3-", "-17", "256-1", "+3-1", "3-+1", "3-1-1", "3-99999999999999999999"]
    {
        assert_eq!(wrong.parse::<BanId>(), Err(()), "{wrong}");
    }
}

#[test]
fn what_is_expected_or_not_is_dropped_for_the_same_reason() {
    let mut bans = bans();
    let trust = Trust::default();
    let banned = [A, "2001:db8:1::7"].map(source).into_iter();
    for key in banned.chain([network("203.0.113.0", 24), network("2001:db8:2::", 48)]) {
        bans.ban(at(0), &trust, key, &CAUSE).unwrap();
    }
    let free = ["198.51.100.8", "192.0.2.77", "2001:db8:3::1"];
    let met = [A, "::ffff:198.51.100.7", "203.0.113.9", "2001:db8:1::8", "2001:db8:2:3::1"];
    let all: Vec<IpAddr> = free.iter().chain(&met).chain(&free).map(|text| ip(text)).collect();
    let alone: Vec<_> = all.iter().map(|ip| bans.drops(*ip)).collect();
    assert_eq!(alone.iter().flatten().count(), met.len());
    // as announced, in another order, of a part, of far more, and long after
    let reversed: Vec<IpAddr> = all.iter().rev().copied().collect();
    let many = all.repeat(40);
    for announced in [&all, &reversed, &all[2..5].to_vec(), &many, &Vec::new()] {
        bans.expect(announced);
        for _ in 0..2 {
            let told: Vec<_> = all.iter().map(|ip| bans.drops(*ip)).collect();
            assert_eq!(told, alone, "{announced:?}");
        }
    }
    // one that was announced and never came
    let (banned, free) = (ip(A), ip("198.51.100.8"));
    for [lost, came] in [[banned, free], [free, banned]] {
        bans.expect(&[lost, came]);
        assert_eq!(bans.drops(came).is_some(), came == banned);
    }
    // a full batch of which nobody came leaves the next its room
    bans.expect(&many);
    bans.expect(&[banned]);
    assert_eq!(bans.coming.keys().count(), 1);
    // and what changes in between counts
    bans.expect(&all);
    bans.lift(at(1), Network::host(ip(A)), true);
    assert_eq!(bans.drops(ip(A)), None);
}
