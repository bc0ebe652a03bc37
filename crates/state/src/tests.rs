use super::*;
use admission::{
    Ban, BanId, BanKey, BanMemory, Counted, HitsMemory, MemoryKey, Origin, PairMemory, Proof,
    Record, SourceMemory,
};
use policy::{Network, Outcome, Reason, Time};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::Flow;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(1_700_000_000 + seconds)
}

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

fn source(address: &str, long: f32) -> Memory {
    let (at, known) = (at(1), at(0));
    Memory::Source(SourceMemory { network: network(address), long, at, known })
}

fn ban(key: BanKey) -> Memory {
    let record = Record {
        at: at(3),
        method: 4,
        outcome: Outcome::Abandoned,
        aor: b"\"a\"@b".as_slice().into(),
        dialled: b"00972".as_slice().into(),
        shape: u64::MAX,
        proof: Some(Proof::AckTag),
        rule: 7,
        raised_by: 2,
        signature: u16::MAX,
        weight: 1.5,
    };
    let ban = Ban {
        id: BanId(3 << 56 | 17),
        key,
        why: "abandoned-invite".into(),
        reason: Reason::Banned,
        proof: Some(Proof::AckTag),
        since: at(4),
        until: at(604),
        narrowed: false,
        policy_version: u64::MAX,
        score: 3.25,
        origin: Origin::Local,
        evidence: vec![record.clone(), Record { proof: None, ..record }],
    };
    Memory::Ban(Box::new(BanMemory { ban, times: 2, evidence: at(5), names: 6 }))
}

fn hits(of: Counted, others: u64, authenticated: u64) -> Memory {
    let (shard, name) = (ShardId(1), "a name".into());
    Memory::Hits(HitsMemory { shard, of, name, others, authenticated, at: at(8) })
}

fn all_kinds() -> Vec<Memory> {
    let one = network("198.51.100.7/32");
    let flow = Flow::udp("203.0.113.1:5060".parse().unwrap(), "198.51.100.7:5062".parse().unwrap());
    vec![
        source("198.51.100.7/32", 1.5),
        source("2001:db8:1:2::/64", 0.25),
        Memory::Pair(PairMemory { key: 9, refusals: 1.0, long: 2.0, at: at(2), home: Time::ZERO }),
        ban(BanKey::Source(one)),
        ban(BanKey::Network(network("198.51.100.0/24"))),
        ban(BanKey::AorSource { aor: 5, source: one }),
        ban(BanKey::AorFlow { aor: 5, flow }),
        ban(BanKey::Campaign(77)),
        Memory::Trust { network: network("192.0.2.0/28"), until: at(9) },
        Memory::Realm { pbx: 1, realm: b"asterisk".as_slice().into(), algorithms: 3 },
        Memory::Realm { pbx: 2, realm: b"other".as_slice().into(), algorithms: 1 },
        hits(Counted::Rule, 7, 0),
        hits(Counted::Signature, u64::MAX, 2),
    ]
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("state.redb")
    }

    fn open(&self, now: Time) -> (State, Vec<Piece>, Health) {
        State::open(self.file(), now, 2).unwrap()
    }

    /// One life that remembers this.
    fn write(&self, memories: &[Memory]) {
        let (state, _, health) = self.open(at(10));
        assert_eq!(health, Health::Good);
        for memory in memories {
            state.writer().remember(ShardId(1), memory.clone());
        }
        state.close();
    }

    /// What the next life is told.
    fn read(&self, now: Time) -> BTreeMap<String, Memory> {
        let (_, pieces, health) = self.open(now);
        assert_eq!(health, Health::Good);
        let memories = pieces.into_iter().map(|piece| piece.memory);
        memories.map(|memory| (format!("{:?}", memory.key()), memory)).collect()
    }
}

fn wait_for(what: &str, fact: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if fact() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

#[test]
fn what_one_life_remembers_the_next_is_told() {
    let folder = Folder::new();
    folder.write(&all_kinds());
    let (state, pieces, _) = folder.open(at(20));
    assert!(pieces.iter().all(|piece| piece.shard == Some(ShardId(1))));
    assert_eq!(state.counters().rows.load(Relaxed), all_kinds().len() as u64);
    drop(state);
    let told = folder.read(at(20));
    assert_eq!(told.len(), all_kinds().len());
    for memory in all_kinds() {
        assert_eq!(told.get(&format!("{:?}", memory.key())), Some(&memory));
    }
}

#[test]
fn the_last_of_a_key_counts_and_nothing_takes_it_out() {
    let folder = Folder::new();
    let one = network("198.51.100.7/32");
    folder.write(&[
        source("198.51.100.7/32", 1.0),
        source("198.51.100.7/32", 2.0),
        source("198.51.100.8/32", 3.0),
        ban(BanKey::Source(one)),
    ]);
    let nothing = SourceMemory {
        network: network("198.51.100.8/32"),
        long: 0.0,
        at: at(9),
        known: Time::ZERO,
    };
    folder.write(&[Memory::Source(nothing), Memory::Forgotten(BanKey::Source(one))]);
    let told = folder.read(at(20));
    let values: Vec<_> = told.into_values().collect();
    assert_eq!(values, [source("198.51.100.7/32", 2.0)]);
}

#[test]
fn of_another_number_of_shards_none_is_told() {
    let folder = Folder::new();
    folder.write(&all_kinds());
    for (shards, known) in [(2, true), (3, false), (3, true)] {
        let (_, pieces, _) = State::open(folder.file(), at(20), shards).unwrap();
        assert_eq!(pieces.len(), all_kinds().len());
        assert!(pieces.iter().all(|piece| piece.shard.is_some() == known), "{shards}");
    }
}

#[test]
fn it_is_on_the_disk_without_a_farewell() {
    let folder = Folder::new();
    let (state, ..) = folder.open(at(10));
    state.writer().remember(ShardId(0), source("198.51.100.7/32", 1.0));
    let counters = state.counters();
    wait_for("it is written", || counters.written.load(Relaxed) == 1);
    // what a process that is killed leaves is the file as it is now
    let copy = Folder::new();
    std::fs::copy(folder.file(), copy.file()).unwrap();
    assert_eq!(copy.read(at(20)).len(), 1);
    drop(state);
}

#[test]
fn what_nobody_spoke_of_for_a_month_is_dropped() {
    let folder = Folder::new();
    folder.write(&all_kinds());
    let month = 30 * 24 * 3_600;
    assert_eq!(folder.read(at(month)).len(), all_kinds().len(), "not before");
    let told = folder.read(at(month + 20));
    let kinds: Vec<_> = told.values().map(Memory::key).collect();
    let bans = kinds.iter().filter(|key| matches!(key, MemoryKey::Ban(_))).count();
    assert_eq!((kinds.len(), bans), (7, 5), "bans end later, and realms stay: {kinds:?}");
}

fn spoil(folder: &Folder, spoil: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(folder.file()).unwrap();
    spoil(&mut bytes);
    std::fs::write(folder.file(), bytes).unwrap();
}

#[test]
fn a_broken_file_is_put_aside_and_a_new_one_begun() {
    type Spoil = fn(&mut Vec<u8>);
    let ways: [(&str, Spoil); 3] = [
        ("another file", |bytes| *bytes = b"this is no database".repeat(1_000)),
        ("zeros", |bytes| bytes.fill(0)),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for (name, way) in ways {
        let folder = Folder::new();
        folder.write(&all_kinds());
        spoil(&folder, way);
        let spoilt = std::fs::read(folder.file()).unwrap();
        let (state, pieces, health) = folder.open(at(20));
        assert!(pieces.is_empty(), "{name}");
        let Health::PutAside { to, .. } = health else { panic!("{name}: {health:?}") };
        assert_eq!(std::fs::read(to).unwrap(), spoilt, "{name}: nothing is lost");
        state.writer().remember(ShardId(0), source("198.51.100.7/32", 1.0));
        state.close();
        assert_eq!(folder.read(at(20)).len(), 1, "{name}");
    }
}

#[test]
fn a_row_that_means_nothing_is_dropped_and_the_others_are_read() {
    let folder = Folder::new();
    folder.write(&all_kinds());
    let database = file::raw(&folder.file());
    let table = redb::TableDefinition::<&str, &[u8]>::new("memory");
    let write = database.begin_write().unwrap();
    {
        let mut rows = write.open_table(table).unwrap();
        for (n, value) in [
            "no json",
            "{}",
            r#"{"shard":0,"source":{"network":"198.51.100.300/32","long":1.0,"at":1,"known":1}}"#,
            r#"{"shard":0,"source":{"network":"198.51.100.3/33","long":1.0,"at":1,"known":1}}"#,
            r#"{"shard":0,"pair":{"key":1,"refusals":-1.0,"long":1e99,"at":1,"home":1}}"#,
            r#"{"shard":0,"later":{"what":1}}"#,
        ]
        .iter()
        .enumerate()
        {
            rows.insert(n.to_string().as_str(), value.as_bytes()).unwrap();
        }
        rows.insert("", b"{}".as_slice()).unwrap();
    }
    write.commit().unwrap();
    assert_eq!(file::raw_rows(&database), all_kinds().len() + 7);
    drop(database);
    assert_eq!(folder.read(at(20)).len(), all_kinds().len());
}

#[test]
fn a_newer_version_is_put_aside() {
    let folder = Folder::new();
    folder.write(&all_kinds());
    let database = file::raw(&folder.file());
    let write = database.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, u64>::new("about");
    write.open_table(about).unwrap().insert("version", VERSION + 1).unwrap();
    write.commit().unwrap();
    drop(database);
    let (_, pieces, health) = folder.open(at(20));
    let Health::PutAside { why, .. } = health else { panic!("{health:?}") };
    assert!(pieces.is_empty() && why.contains(&format!("version {}", VERSION + 1)), "{why}");
}

#[test]
fn an_older_version_is_led_to_ours_step_by_step() {
    let folder = Folder::new();
    folder.write(&[source("198.51.100.7/32", 1.0)]);
    let database = file::raw(&folder.file());
    fn add(write: &redb::WriteTransaction, key: &str) -> Result<(), redb::Error> {
        let table = redb::TableDefinition::<&str, &[u8]>::new("memory");
        write.open_table(table)?.insert(key, b"{}".as_slice())?;
        Ok(())
    }
    // the first was made when the file was opened
    let steps: [fn(&redb::WriteTransaction) -> _; VERSION as usize + 1] =
        [|write| add(write, "again"), |write| add(write, "3"), |write| add(write, "4")];
    file::migrate(&database, VERSION + 2, &steps).unwrap();
    assert_eq!(file::raw_rows(&database), 3);
    file::migrate(&database, VERSION + 2, &steps).unwrap();
    assert_eq!(file::raw_rows(&database), 3, "each step once");
    assert!(file::migrate(&database, VERSION, &[]).is_err(), "and no way back");
}

#[test]
fn where_nothing_can_be_written_it_is_said_and_tried_again() {
    let folder = Folder::new();
    let missing = folder.0.path().join("not/yet");
    let path = missing.join("state.redb");
    let (state, pieces, health) = State::open(path.clone(), at(10), 2).unwrap();
    assert!(pieces.is_empty() && matches!(health, Health::Missing { .. }), "{health:?}");
    let counters = state.counters();
    state.writer().remember(ShardId(0), source("198.51.100.7/32", 1.0));
    wait_for("a try fails", || counters.failed.load(Relaxed) > 0);
    assert!(!counters.works.load(Relaxed));
    std::fs::create_dir_all(&missing).unwrap();
    wait_for("it is written", || counters.works.load(Relaxed));
    state.close();
    let (_, pieces, _) = State::open(path, at(20), 2).unwrap();
    assert_eq!(pieces.len(), 1, "what waited was not lost");
}

#[test]
fn a_file_that_another_process_has_is_left_alone() {
    let folder = Folder::new();
    folder.write(&all_kinds());
    let (first, ..) = folder.open(at(20));
    let (second, pieces, health) = folder.open(at(20));
    assert!(pieces.is_empty() && matches!(health, Health::Missing { .. }), "{health:?}");
    drop(second);
    drop(first);
    assert_eq!(folder.read(at(20)).len(), all_kinds().len());
}

#[test]
fn a_full_file_takes_bans_and_no_more_sources() {
    let folder = Folder::new();
    let purpose = file::Purpose { now: at(10), shards: 1, rows_max: 3 };
    let (file, ..) = file::File::open(&folder.file(), &purpose);
    let mut file = file.unwrap();
    let changes = |memories: &[Memory]| {
        let line = |row| row::Line { shard: 0, row };
        let change = |memory: &Memory| (row::key(&memory.key()), row::Row::of(memory).map(line));
        memories.iter().map(change).collect()
    };
    let sources: Vec<_> = (0..5).map(|n| source(&format!("198.51.100.{n}/32"), 1.0)).collect();
    let written = file.write(&changes(&sources)).unwrap();
    assert_eq!((written.rows, written.refused), (3, 2));
    let written = file.write(&changes(&[ban(BanKey::Campaign(1))])).unwrap();
    assert_eq!((written.rows, written.refused), (4, 0));
}

#[test]
fn a_ban_of_a_connection_is_nothing_for_a_later_life() {
    let folder = Folder::new();
    let mut flow =
        Flow::udp("203.0.113.1:5060".parse().unwrap(), "198.51.100.7:1".parse().unwrap());
    flow.connection = Some(wire::ConnectionId::new(ShardId(0), 1));
    folder.write(&[ban(BanKey::AorFlow { aor: 5, flow })]);
    assert_eq!(folder.read(at(20)).len(), 0);
    assert!(Path::new(&folder.file()).exists());
}

fn name(host: &str, at: Time) -> Fact {
    let rank = policy::Rank { step: 1, weight: u16::MAX, record: u32::MAX };
    Fact::Name(NameFact {
        host: host.into(),
        at,
        addresses: vec![
            ([198, 51, 100, 7].into(), Time::FOREVER),
            ("2001:db8::1".parse().unwrap(), at),
        ],
        targets: vec![
            (wire::Transport::Udp, "198.51.100.7:5060".parse().unwrap(), rank),
            (wire::Transport::Tls, "[2001:db8::1]:5061".parse().unwrap(), policy::Rank::default()),
        ],
    })
}

#[test]
fn facts_are_kept_and_taken_back() {
    let folder = Folder::new();
    let drained = |pbx, drained| Fact::Drained { pbx, drained };
    let (state, ..) = folder.open(at(10));
    for fact in [
        name("a.example", at(1)),
        name("a.example", at(2)),
        name("b.example", at(3)),
        drained(7, true),
        drained(8, true),
        drained(8, false),
    ] {
        state.writer().keep(fact);
    }
    state.writer().remember(ShardId(0), source("198.51.100.7/32", 1.0));
    state.close();
    let (mut state, pieces, _) = folder.open(at(20));
    assert_eq!(pieces.len(), 1, "a gate hears of its own only");
    let facts = state.take_facts();
    assert_eq!(facts, [drained(7, true), name("a.example", at(2)), name("b.example", at(3))]);
    assert_eq!(state.counters().rows.load(Relaxed), 4);
    assert_eq!(state.take_facts(), []);
    state.writer().keep(drained(7, false));
    state.close();
    // a month later nobody knows the names any more
    let (mut state, ..) = folder.open(at(30 * 24 * 3_600 + 3));
    assert_eq!(state.take_facts(), [name("b.example", at(3))]);
    drop(state);
    let (mut state, ..) = folder.open(at(30 * 24 * 3_600 + 4));
    assert_eq!(state.take_facts(), []);
}

#[test]
fn a_realm_of_a_file_from_before_there_were_several_is_nobodys_in_particular() {
    let folder = Folder::new();
    folder.write(&[]);
    let database = file::raw(&folder.file());
    let table = redb::TableDefinition::<&str, &[u8]>::new("memory");
    let write = database.begin_write().unwrap();
    let row = br#"{"shard":0,"realm":{"realm":"asterisk","algorithms":1}}"#.as_slice();
    write.open_table(table).unwrap().insert("realm", row).unwrap();
    write.commit().unwrap();
    drop(database);
    let realm = Memory::Realm { pbx: 0, realm: b"asterisk".as_slice().into(), algorithms: 1 };
    assert_eq!(folder.read(at(20)).into_values().collect::<Vec<_>>(), [realm]);
}

#[test]
fn keys_are_what_they_were() {
    for network in ["198.51.100.7/32", "203.0.113.0/24", "2001:db8:1:2::/64", "2001:db8::7/128"] {
        let network: Network = network.parse().unwrap();
        assert_eq!(row::key(&MemoryKey::Source(network)), format!("source {network}"));
    }
    for pair in [0, 9, 0x0123_4567_89ab_cdef, u64::MAX] {
        assert_eq!(row::key(&MemoryKey::Pair(pair)), format!("pair {pair:016x}"));
    }
}

/// As builds of before the fixed layouts wrote them.
#[test]
fn rows_of_version_1_are_json_and_still_read() {
    let folder = Folder::new();
    folder.write(&[]);
    let database = file::raw(&folder.file());
    let write = database.begin_write().unwrap();
    {
        let about = redb::TableDefinition::<&str, u64>::new("about");
        write.open_table(about).unwrap().insert("version", 1).unwrap();
        let table = redb::TableDefinition::<&str, &[u8]>::new("memory");
        let mut rows = write.open_table(table).unwrap();
        for (key, value) in [
            (
                "source 198.51.100.7",
                r#"{"shard":0,"source":{"network":"198.51.100.7","long":1.5,"at":1700000001000000000,"known":1700000000000000000}}"#,
            ),
            (
                "pair 0000000000000009",
                r#"{"shard":0,"pair":{"key":9,"refusals":1.0,"long":2.0,"at":1700000002000000000,"home":0}}"#,
            ),
        ] {
            rows.insert(key, value.as_bytes()).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    let pair = PairMemory { key: 9, refusals: 1.0, long: 2.0, at: at(2), home: Time::ZERO };
    let expected = [Memory::Pair(pair), source("198.51.100.7/32", 1.5)];
    assert_eq!(folder.read(at(20)).into_values().collect::<Vec<_>>(), expected);
    // what is told anew takes the old row's place
    folder.write(&expected);
    let (state, ..) = folder.open(at(20));
    assert_eq!(state.counters().rows.load(Relaxed), 2);
}

#[test]
fn each_part_of_a_fixed_row_is_read_as_it_was_written_and_a_cut_one_is_none() {
    let lines = |shard| {
        all_kinds().into_iter().filter_map(move |memory| {
            row::Row::of(&memory).map(|row| (row::Line { shard, row }, memory))
        })
    };
    for (line, memory) in lines(7) {
        let mut value = Vec::new();
        line.write(&mut value);
        let read = row::Line::read(&value).unwrap();
        assert_eq!(read.shard, 7);
        let row::Said::Memory(said) = read.row.said().unwrap() else { panic!("{memory:?}") };
        assert_eq!(said, memory);
        for end in 0..value.len() {
            assert!(row::Line::read(&value[..end]).is_none(), "{end} of {value:?}");
        }
        value.push(b'0');
        assert!(row::Line::read(&value).is_none());
    }
    // 198.51.100.7/33, and /24
    for prefix in [33, 24] {
        let value = [&[1, 0][..], &[0; 20], &[prefix, 198, 51, 100, 7]].concat();
        assert!(row::Line::read(&value).is_none(), "{prefix}");
    }
}
