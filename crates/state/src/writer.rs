//! The thread that writes.

use crate::file::{Changes, Contents, File, Health, Purpose};
use crate::row::{Line, Row, key};
use crate::{Fact, Piece};
use admission::Memory;
use policy::Time;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{info, warn};
use wire::ShardId;

/// From the first change to the commit that has it.
pub const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// Pieces that wait for the thread. The queue grows as it is needed: one that has its length from
/// the beginning holds seven mebibytes for nothing.
pub const QUEUE: usize = 1 << 16;
/// Changes between two commits that there is room for without asking for memory each time.
const CHANGES_USUAL: usize = 1 << 10;
/// Changes that wait for a disk that takes none; more are lost.
const WAITING_MAX: usize = 1 << 18;
/// Most times of [`COMMIT_EVERY`] between two tries to write: 32 s.
const PAUSES_MAX: u32 = 128;
/// Rows of the file.
const ROWS_MAX: u64 = 1 << 22;

/// What the thread says of itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows in the file.
    pub rows: AtomicU64,
    /// Pieces on their way to the thread.
    pub queued: AtomicU64,
    /// Changes that wait to be written.
    pub waiting: AtomicU64,
    /// Changes that were written.
    pub written: AtomicU64,
    /// Commits that failed; what they had in them is tried again.
    pub failed: AtomicU64,
    /// Changes that are lost: the queue, the room for those that wait, or the file was full.
    pub lost: AtomicU64,
    /// Whether the last commit succeeded.
    pub works: AtomicBool,
}

/// The file and its thread.
#[derive(Debug)]
pub struct State {
    writer: Writer,
    facts: Vec<Fact>,
    thread: Option<JoinHandle<()>>,
}

/// What a shard has of it.
#[derive(Clone, Debug)]
pub struct Writer {
    letters: Sender<Letter>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Letter {
    Remember(ShardId, Memory),
    Keep(Fact),
    End,
}

impl State {
    /// Opens the file, reads what an earlier life left in it, and starts the thread.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn open(
        path: PathBuf,
        now: Time,
        shards: u8,
    ) -> std::io::Result<(Self, Vec<Piece>, Health)> {
        let purpose = Purpose { now, shards, rows_max: ROWS_MAX };
        let (file, Contents { pieces, facts }, health) = File::open(&path, &purpose);
        let counters = Arc::new(Counters::default());
        counters.works.store(file.is_some(), Relaxed);
        counters.rows.store((pieces.len() + facts.len()) as u64, Relaxed);
        #[allow(clippy::disallowed_methods, reason = "its bound is QUEUE, counted in `queued`")]
        let (letters, inbox) = channel();
        let desk = Desk {
            path,
            purpose,
            file,
            changes: Changes::new(),
            pauses: 1,
            counters: counters.clone(),
        };
        let thread =
            std::thread::Builder::new().name("state".into()).spawn(move || desk.run(&inbox))?;
        let writer = Writer { letters, counters };
        Ok((State { writer, facts, thread: Some(thread) }, pieces, health))
    }

    /// What a shard remembers by.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// What an earlier life kept that is no gate's; once.
    #[must_use]
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// For metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.writer.counters.clone()
    }

    /// Writes what waits, and ends.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // the thread takes letters as long as it lives; if it is gone there is nobody to tell
        let _ = self.writer.letters.send(Letter::End);
        let _ = thread.join();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end();
    }
}

impl Writer {
    /// Hands a piece of memory over. What finds no room is lost and counted.
    pub fn remember(&self, shard: ShardId, memory: Memory) {
        self.send(Letter::Remember(shard, memory));
    }

    /// Hands a fact over, as [`Writer::remember`] does.
    pub fn keep(&self, fact: Fact) {
        self.send(Letter::Keep(fact));
    }

    fn send(&self, letter: Letter) {
        let Counters { queued, lost, .. } = &*self.counters;
        let full = queued.fetch_add(1, Relaxed) >= QUEUE as u64;
        if full || self.letters.send(letter).is_err() {
            queued.fetch_sub(1, Relaxed);
            lost.fetch_add(1, Relaxed);
        }
    }
}

/// Where changes are gathered and written.
struct Desk {
    path: PathBuf,
    purpose: Purpose,
    file: Option<File>,
    changes: Changes,
    /// How many times of [`COMMIT_EVERY`] to wait before the next write.
    pauses: u32,
    counters: Arc<Counters>,
}

impl Desk {
    fn run(mut self, inbox: &Receiver<Letter>) {
        let mut ends = false;
        while !ends {
            if self.changes.is_empty() {
                // nobody is there any more: nothing comes
                ends = inbox.recv().map_or(true, |letter| self.take(letter));
            }
            // what comes together is written together; a disk that fails gets time
            for _ in 0..self.pauses {
                if !ends {
                    std::thread::sleep(COMMIT_EVERY);
                    // it is the last letter there is
                    ends = inbox.try_iter().take(QUEUE).any(|letter| self.take(letter));
                }
            }
            self.commit();
        }
    }

    /// Whether it was the last.
    fn take(&mut self, letter: Letter) -> bool {
        if !matches!(letter, Letter::End) {
            self.counters.queued.fetch_sub(1, Relaxed);
        }
        let (key, shard, row) = match letter {
            Letter::Remember(shard, memory) if memory.is_nothing() => {
                (key(&memory.key()), shard, None)
            }
            Letter::Remember(shard, memory) => (key(&memory.key()), shard, Row::of(&memory)),
            // all shards' alike
            Letter::Keep(fact) => (fact.key(), ShardId(0), Row::of_fact(&fact)),
            Letter::End => return true,
        };
        let line = row.map(|row| Line { shard: shard.0, row });
        if self.changes.len() >= WAITING_MAX && !self.changes.contains_key(&key) {
            self.counters.lost.fetch_add(1, Relaxed);
        } else {
            self.changes.insert(key, line);
        }
        self.counters.waiting.store(self.changes.len() as u64, Relaxed);
        false
    }

    fn commit(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        match self.try_commit() {
            Ok(()) => {
                if !self.counters.works.swap(true, Relaxed) {
                    info!(file = %self.path.display(), "State is written again");
                }
                self.pauses = 1;
            }
            Err(why) => {
                self.counters.failed.fetch_add(1, Relaxed);
                if self.counters.works.swap(false, Relaxed) {
                    let file = self.path.display();
                    warn!(%file, %why, "State cannot be written: kept in memory, tried again");
                }
                // a file that failed once is opened anew
                self.file = None;
                self.pauses = (self.pauses * 2).min(PAUSES_MAX);
            }
        }
        self.counters.waiting.store(self.changes.len() as u64, Relaxed);
    }

    fn try_commit(&mut self) -> Result<(), String> {
        let file = match &mut self.file {
            Some(file) => file,
            none => match File::open(&self.path, &self.purpose) {
                (Some(file), ..) => none.insert(file),
                (None, _, Health::Missing { why } | Health::PutAside { why, .. }) => {
                    return Err(why);
                }
                (None, _, Health::Good) => return Err("it cannot be opened".into()),
            },
        };
        let written = file.write(&self.changes).map_err(|error| error.to_string())?;
        let changes = self.changes.len() as u64;
        self.counters.written.fetch_add(changes - written.refused, Relaxed);
        self.counters.lost.fetch_add(written.refused, Relaxed);
        self.counters.rows.store(written.rows, Relaxed);
        self.changes.clear();
        // what a burst took beyond the usual goes back
        self.changes.shrink_to(CHANGES_USUAL);
        Ok(())
    }
}
