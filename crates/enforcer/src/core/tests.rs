use super::*;
use enforce::{Applied, Bounds, Exempt};
use std::collections::BTreeMap;
use std::time::Duration;

/// A kernel that a test can look into and break.
#[derive(Debug, Default)]
struct Fake {
    there: Option<BTreeMap<Network, Duration>>,
    restored: usize,
    room: usize,
    deaf: bool,
    dropped: u64,
}

impl DropSet for Fake {
    fn restore(&mut self, entries: &[Entry]) -> Result<(), DropSetError> {
        self.there = Some(entries.iter().map(|entry| (entry.network, entry.remaining)).collect());
        self.restored += 1;
        self.dropped = 0;
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Applied, DropSetError> {
        if self.deaf {
            return Err(DropSetError::Refused("out of memory".into()));
        }
        let Some(there) = &mut self.there else { return Err(DropSetError::Absent) };
        let mut all = Applied::default();
        for change in changes {
            match change {
                Change::Add(_) if there.len() >= self.room => {
                    all.failed += 1;
                    continue;
                }
                Change::Add(entry) | Change::Renew(entry) => {
                    there.insert(entry.network, entry.remaining);
                }
                Change::Remove(network) => {
                    there.remove(network);
                }
            }
            all.applied += 1;
        }
        Ok(all)
    }

    fn entries(&mut self) -> Result<Vec<Entry>, DropSetError> {
        let there = self.there.as_ref().ok_or(DropSetError::Absent)?;
        let entry = |(network, remaining): (&Network, &Duration)| Entry {
            network: *network,
            remaining: *remaining,
        };
        Ok(there.iter().map(entry).collect())
    }

    fn is_intact(&mut self) -> Result<bool, DropSetError> {
        Ok(self.there.is_some())
    }

    fn dropped(&mut self) -> Result<[u64; 4], DropSetError> {
        self.there.as_ref().map(|_| [self.dropped, 0, 0, 0]).ok_or(DropSetError::Absent)
    }

    fn remove(&mut self) -> Result<(), DropSetError> {
        self.there = None;
        Ok(())
    }
}

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

fn entry(text: &str, seconds: u64) -> Entry {
    Entry { network: network(text), remaining: Duration::from_secs(seconds) }
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn start(fake: Fake) -> Core<Fake> {
    let bounds = Bounds { sources: 3, networks: 3, widest_v4: 16, widest_v6: 32 };
    let book = Book::new(bounds, Exempt::new([network("203.0.113.0/24")]));
    Core::start(at(0), book, fake, None).unwrap()
}

fn kernel() -> Fake {
    Fake { room: 100, ..Fake::default() }
}

fn there(core: &Core<Fake>) -> Vec<String> {
    core.set.there.iter().flatten().map(|(network, _)| network.to_string()).collect()
}

fn bans(number: u32, texts: &[&str]) -> Request {
    let wishes = texts.iter().map(|text| Wish::Ban(entry(text, 60))).collect();
    Request::Changes { number, wishes }
}

/// Begins and ends a full list with these in it.
fn list(core: &mut Core<Fake>, caller: Caller, texts: &[&str]) {
    core.on_request(at(0), caller, Request::ListBegin).unwrap();
    core.on_request(at(0), caller, bans(0, texts)).unwrap();
    core.on_request(at(0), caller, Request::ListEnd { number: 1 }).unwrap();
}

fn results(answers: Result<Vec<Answer>, Offence>) -> Results {
    match answers.unwrap()[..] {
        [Answer::Done { results, .. }] => results,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_former_run_left_is_taken_up_as_far_as_it_may_stand() {
    let left = ["192.0.2.1", "203.0.113.9", "198.0.0.0/8"];
    let left = left.map(|text| (network(text), Duration::from_secs(30)));
    let core = start(Fake { there: Some(left.into()), ..kernel() });
    assert_eq!(there(&core), ["192.0.2.1"]);
    assert_eq!(core.set.restored, 1);
}

#[test]
fn the_edges_list_replaces_what_was_there() {
    let left = [(network("192.0.2.1"), Duration::from_secs(30))];
    let mut core = start(Fake { there: Some(left.into()), ..kernel() });
    core.on_request(at(0), 1, Request::ListBegin).unwrap();
    let done = core.on_request(at(0), 1, bans(5, &["192.0.2.2"]));
    assert_eq!(results(done), Results { applied: 1, ..Results::default() });
    assert_eq!(there(&core), ["192.0.2.1", "192.0.2.2"], "the list is not complete");
    core.on_request(at(0), 1, Request::ListEnd { number: 6 }).unwrap();
    assert_eq!(there(&core), ["192.0.2.2"]);
    core.on_gone(1);
    assert_eq!(there(&core), ["192.0.2.2"], "bans outlive the connection");
}

#[test]
fn only_the_last_who_sent_a_list_may_change_anything() {
    let mut core = start(kernel());
    let early = core.on_request(at(0), 1, bans(0, &["192.0.2.1"]));
    assert_eq!(early, Err(Offence::NotTheWriter));
    list(&mut core, 1, &["192.0.2.1"]);
    list(&mut core, 2, &["192.0.2.2"]);
    let late = core.on_request(at(0), 1, bans(2, &["192.0.2.3"]));
    assert_eq!(late, Err(Offence::NotTheWriter));
    core.on_gone(1);
    let done = core.on_request(at(0), 2, bans(2, &["192.0.2.3"]));
    assert_eq!(results(done).applied, 1, "the first one's going changes nothing");
    assert_eq!(there(&core), ["192.0.2.2", "192.0.2.3"]);
}

#[test]
fn each_wish_is_accounted_for() {
    let mut core = start(kernel());
    core.on_request(at(0), 1, Request::ListBegin).unwrap();
    let wishes = [
        "192.0.2.1",
        "203.0.113.1",
        "10.0.0.0/8",
        "192.0.2.2",
        "2001:db8::/64",
        "192.0.2.3",
        "198.51.100.0/24",
    ];
    let done = results(core.on_request(at(0), 1, bans(0, &wishes)));
    assert_eq!(done, Results { applied: 4, refused: 2, full: 1, failed: 0 });
    core.set.room = 0;
    let done = results(core.on_request(at(0), 1, bans(1, &["198.51.101.0/24"])));
    assert_eq!(done, Results { failed: 1, ..Results::default() }, "the kernel's set is full");
}

#[test]
fn a_table_that_somebody_flushed_comes_back_whole() {
    let mut core = start(kernel());
    list(&mut core, 1, &["192.0.2.1"]);
    core.set.dropped = 7;
    assert_eq!(core.status().dropped[0], 7);
    core.set.there = None;
    core.handle_timeout(at(10));
    assert_eq!(core.set.there, Some([(network("192.0.2.1"), Duration::from_secs(50))].into()));
    core.set.there = None;
    core.set.dropped = 0;
    let done = core.on_request(at(10), 1, bans(2, &["192.0.2.2"]));
    assert_eq!(results(done).applied, 1);
    assert_eq!(there(&core), ["192.0.2.1", "192.0.2.2"]);
    let status = core.status();
    assert_eq!((status.repairs, status.dropped[0]), (2, 7), "what was dropped stays counted");
}

#[test]
fn what_the_kernel_did_not_take_it_is_told_again() {
    let mut core = start(kernel());
    list(&mut core, 1, &["192.0.2.1"]);
    core.set.deaf = true;
    let wishes = vec![Wish::Lift(network("192.0.2.1")), Wish::Ban(entry("192.0.2.2", 60))];
    let done = core.on_request(at(0), 1, Request::Changes { number: 2, wishes });
    assert_eq!(results(done), Results { failed: 2, ..Results::default() });
    core.set.deaf = false;
    core.handle_timeout(at(1));
    assert_eq!(there(&core), ["192.0.2.1"], "not at once: it may have its reasons");
    core.handle_timeout(at(5));
    assert_eq!(there(&core), ["192.0.2.2"]);
}

#[test]
fn whoever_may_ask_gets_everything_in_parts() {
    let mut core = start(kernel());
    list(&mut core, 1, &["192.0.2.1", "198.51.0.0/16", "198.51.100.0/24"]);
    let answers = core.on_request(at(0), 9, Request::Ask).unwrap();
    let [Answer::Entries(entries), Answer::Status(status)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(entries.len(), 3, "networks in others, too");
    assert_eq!(status.entries, [1, 0, 2, 0]);
    assert!(core.is_writer(1), "asking takes nobody's place");
}

#[test]
fn the_end_takes_everything_out_of_the_kernel() {
    let mut core = start(kernel());
    list(&mut core, 1, &["192.0.2.1"]);
    core.remove().unwrap();
    assert!(core.set.there.is_none());
}
