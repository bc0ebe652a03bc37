//! The kernel's nftables as a [`DropSet`], over netlink: a table of our own with a chain at raw
//! priority. What it looks like is in `docs/enforce.md`; `nft list table inet ringfence` shows it.

mod elements;
mod rules;
mod words;

use crate::drop_set::{Applied, Change, Destination, DropSet, DropSetError, Entry, Set};
use crate::netlink::{ACK, DUMP, Failure, Messages, Socket, attribute, number};
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::io;
use words::{msg, nfta};

/// The name of the table, of family `inet`.
pub const TABLE: &str = "ringfence";

/// Most elements of one message: an attribute ends at 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 1_000;
/// Most changes of one transaction of [`DropSet::apply`]: what fails is tried again one by one.
const CHANGES_PER_TRANSACTION: usize = 1_000;
/// Room for one transaction. An element takes up to 44 bytes, a restore is one transaction.
const ROOM: usize = 128 << 20;

/// Our table.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    destinations: Vec<Destination>,
    sizes: [u32; 4],
    made: Option<Made>,
}

/// What stood in the kernel when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    /// The number of the kernel's last change, by whomever.
    generation: u32,
    /// Handles of the table and of its rules: another that looks the same has others.
    handles: Vec<u64>,
}

impl Nftables {
    /// Speaks to the kernel; changes nothing yet. The sets have room for `sources` of each family,
    /// and for `networks`.
    ///
    /// # Errors
    /// When netlink cannot be had.
    pub fn open(
        destinations: Vec<Destination>,
        sources: usize,
        networks: usize,
    ) -> io::Result<Self> {
        let size = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
        // what has expired keeps its place until it is collected
        let sources = size(sources.saturating_add(sources / 8).saturating_add(1_024));
        // an interval has two ends
        let networks = size(networks.saturating_mul(2).saturating_add(64));
        Ok(Nftables {
            socket: Socket::open(Some(NETFILTER), ROOM)?,
            destinations,
            sizes: [sources, sources, networks, networks],
            made: None,
        })
    }

    /// Other destinations, from the next [`DropSet::restore`] on.
    pub fn set_destinations(&mut self, destinations: Vec<Destination>) {
        self.destinations = destinations;
    }

    /// Carries out all messages that `write` adds, or none.
    fn commit(&mut self, write: impl FnOnce(&mut Messages)) -> Result<(), Failure> {
        let mut messages = Messages::default();
        words::batch(&mut messages, msg::BATCH_BEGIN, 0);
        write(&mut messages);
        let last = messages.len();
        words::batch(&mut messages, msg::BATCH_END, ACK);
        self.socket.request(&messages, last)?;
        if let Some(made) = &mut self.made {
            // the kernel counts transactions; one more than ours is somebody else's
            made.generation = made.generation.wrapping_add(1);
        }
        Ok(())
    }

    /// The generation and the handles of what is there.
    fn look(&mut self) -> Result<Made, Failure> {
        let generation = self.generation()?;
        let mut handles = Vec::new();
        let mut table = Messages::default();
        words::push(&mut table, msg::GETTABLE, ACK, |out| {
            out.text(nfta::TABLE_NAME, TABLE);
        });
        self.socket.ask(&table, |body| {
            let body = body.get(words::HEAD..).unwrap_or_default();
            handles.extend(attribute(body, nfta::TABLE_HANDLE).and_then(number::<8>));
        })?;
        let mut rules = Messages::default();
        words::push(&mut rules, msg::GETRULE, DUMP, |out| {
            out.text(nfta::RULE_TABLE, TABLE);
        });
        self.socket.ask(&rules, |body| {
            let body = body.get(words::HEAD..).unwrap_or_default();
            handles.extend(attribute(body, nfta::RULE_HANDLE).and_then(number::<8>));
        })?;
        Ok(Made { generation, handles })
    }

    fn generation(&mut self) -> Result<u32, Failure> {
        let mut question = Messages::default();
        words::push(&mut question, msg::GETGEN, ACK, |_| {});
        let mut generation = None;
        self.socket.ask(&question, |body| {
            let id = attribute(body.get(words::HEAD..).unwrap_or_default(), nfta::GEN_ID);
            generation = id.and_then(number::<4>).or(generation);
        })?;
        let generation = generation.and_then(|id| u32::try_from(id).ok());
        generation.ok_or(Failure::Refused(Vec::new()))
    }

    /// One transaction; when it fails each change is one of its own.
    fn apply_some(&mut self, changes: &[Change]) -> Result<Applied, DropSetError> {
        match self.commit(|out| elements::changes(out, changes)) {
            Ok(()) => return Ok(Applied { applied: changes.len(), failed: 0 }),
            Err(failure) if changes.len() > 1 => drop(failure),
            Err(failure) => return self.apply_last(changes, failure),
        }
        let mut all = Applied::default();
        for change in changes {
            let one = self.apply_some(std::slice::from_ref(change))?;
            all.applied += one.applied;
            all.failed += one.failed;
        }
        Ok(all)
    }

    /// A single change has failed. An entry that is gone already may have run out in between.
    fn apply_last(
        &mut self,
        changes: &[Change],
        failure: Failure,
    ) -> Result<Applied, DropSetError> {
        const APPLIED: Applied = Applied { applied: 1, failed: 0 };
        const FAILED: Applied = Applied { applied: 0, failed: 1 };
        if !failure.has(Errno::NOENT) {
            return match failure {
                Failure::Refused(_) => Ok(FAILED),
                broken @ Failure::System(_) => Err(broken.into()),
            };
        }
        self.look().map_err(DropSetError::from)?;
        match changes {
            [Change::Remove(_)] => Ok(APPLIED),
            [Change::Renew(entry)] => self.apply_some(&[Change::Add(*entry)]),
            _ => Err(DropSetError::Absent),
        }
    }
}

impl DropSet for Nftables {
    fn restore(&mut self, entries: &[Entry]) -> Result<(), DropSetError> {
        let (destinations, sizes) = (std::mem::take(&mut self.destinations), self.sizes);
        let done = self.commit(|out| {
            rules::renew_table(out);
            rules::sets(out, sizes);
            rules::chains(out, &destinations);
            for set in Set::ALL {
                let of_set = entries.iter().filter(|entry| Set::of(entry.network) == set);
                let entries: Vec<Entry> = of_set.copied().collect();
                for part in entries.chunks(ELEMENTS_PER_MESSAGE) {
                    elements::add(out, set, part);
                }
            }
        });
        self.destinations = destinations;
        done?;
        self.made = Some(self.look()?);
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Applied, DropSetError> {
        let mut all = Applied::default();
        for some in changes.chunks(CHANGES_PER_TRANSACTION) {
            let some = self.apply_some(some)?;
            all.applied += some.applied;
            all.failed += some.failed;
        }
        Ok(all)
    }

    fn entries(&mut self) -> Result<Vec<Entry>, DropSetError> {
        let mut all = Vec::new();
        for set in Set::ALL {
            let mut question = Messages::default();
            words::push(&mut question, msg::GETSETELEM, DUMP, |out| {
                out.text(nfta::SET_ELEM_LIST_TABLE, TABLE)
                    .text(nfta::SET_ELEM_LIST_SET, set.as_str());
            });
            let mut reader = elements::Reader::new(set);
            self.socket.ask(&question, |body| {
                reader.read(body.get(words::HEAD..).unwrap_or_default());
            })?;
            all.extend(reader.finish());
        }
        Ok(all)
    }

    fn is_intact(&mut self) -> Result<bool, DropSetError> {
        let generation = self.generation()?;
        let Some(made) = &mut self.made else { return Ok(false) };
        if made.generation == generation {
            return Ok(true);
        }
        let handles = std::mem::take(&mut made.handles);
        match self.look() {
            Ok(found) if found.handles == handles => {
                self.made = Some(found);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(failure) if failure.has(Errno::NOENT) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    fn dropped(&mut self) -> Result<[u64; 4], DropSetError> {
        let mut question = Messages::default();
        words::push(&mut question, msg::GETOBJ, DUMP, |out| {
            out.text(nfta::OBJ_TABLE, TABLE).u32(nfta::OBJ_TYPE, words::OBJECT_COUNTER);
        });
        let mut dropped = [0; 4];
        self.socket.ask(&question, |body| {
            if let Some((set, packets)) =
                rules::counted(body.get(words::HEAD..).unwrap_or_default())
            {
                dropped[set as usize] = packets;
            }
        })?;
        Ok(dropped)
    }

    fn remove(&mut self) -> Result<(), DropSetError> {
        self.made = None;
        match self.commit(rules::remove_table) {
            Err(failure) if failure.has(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }
}

impl From<Failure> for DropSetError {
    fn from(failure: Failure) -> Self {
        match failure {
            failure if failure.has(Errno::PERM) => DropSetError::NotPermitted,
            failure if failure.has(Errno::NOENT) => DropSetError::Absent,
            Failure::System(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                DropSetError::NotPermitted
            }
            Failure::System(error) => DropSetError::System(error),
            refused @ Failure::Refused(_) => DropSetError::Refused(refused.to_string()),
        }
    }
}
