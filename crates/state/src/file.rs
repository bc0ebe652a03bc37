//! The file.

use crate::row::{Line, Said};
use crate::{Fact, Piece};
use policy::Time;
use redb::{Database, DatabaseError, ReadableTable, TableDefinition};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::ShardId;

/// Version of the file's format: a file of an older one is migrated, one of a newer put aside.
pub const VERSION: u64 = 2;

const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("memory");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// Pages of the file kept in memory at most, bytes: it is written behind, and read once.
const CACHE_BYTES: usize = 2 << 20;

/// What nothing spoke of for so long is dropped when the file is opened.
const TOO_OLD: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A step from one version to the next, in one transaction with the change of the number.
type Step = fn(&redb::WriteTransaction) -> Result<(), redb::Error>;
/// `STEPS[n]` leads from version `n` + 1 to `n` + 2.
const STEPS: [Step; VERSION as usize - 1] = [
    // all rows were JSON, which a row may still be: it becomes what it is now when it is written
    // anew
    |_| Ok(()),
];

/// How the file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was read, or is new.
    Good,
    /// It could not be read, and lies aside; a new one was begun.
    PutAside {
        /// Where it lies.
        to: PathBuf,
        /// Why.
        why: String,
    },
    /// There is none: nothing outlives this process until a later write succeeds.
    Missing {
        /// Why.
        why: String,
    },
}

/// What changes: the new value of each key, `None` to take it out.
pub(crate) type Changes = HashMap<String, Option<Line>>;

/// The open file.
#[derive(Debug)]
pub(crate) struct File {
    database: Database,
    rows: u64,
    rows_max: u64,
}

/// What was in a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) facts: Vec<Fact>,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    pub(crate) now: Time,
    pub(crate) shards: u8,
    pub(crate) rows_max: u64,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    /// Rows that found no place.
    pub(crate) refused: u64,
}

impl File {
    /// Opens or makes the file at `path`, and reads it.
    pub(crate) fn open(path: &Path, purpose: &Purpose) -> (Option<Self>, Contents, Health) {
        let first = Self::try_open(path, purpose);
        let why = match first {
            Ok((file, contents)) => return (Some(file), contents, Health::Good),
            Err(failure) if !failure.is_of_contents() => {
                return (None, Contents::default(), Health::Missing { why: failure.to_string() });
            }
            Err(failure) => failure.to_string(),
        };
        let to = path.with_extension("redb.aside");
        let again = std::fs::rename(path, &to)
            .map_err(|error| Failure::Disk(error.to_string()))
            .and_then(|()| Self::try_open(path, purpose));
        match again {
            Ok((file, contents)) => (Some(file), contents, Health::PutAside { to, why }),
            Err(failure) => {
                (None, Contents::default(), Health::Missing { why: format!("{why}; {failure}") })
            }
        }
    }

    fn try_open(path: &Path, purpose: &Purpose) -> Result<(Self, Contents), Failure> {
        keep_private(path)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        migrate(&database, VERSION, &STEPS)?;
        let mut file = File { database, rows: 0, rows_max: purpose.rows_max };
        let contents = file.read(purpose)?;
        Ok((file, contents))
    }

    /// All rows that are not too old; the others, and those that mean nothing, are taken out.
    fn read(&mut self, purpose: &Purpose) -> Result<Contents, redb::Error> {
        let mut contents = Contents::default();
        let write = self.database.begin_write()?;
        let shards = u64::from(purpose.shards);
        let before = write.open_table(ABOUT)?.insert("shards", shards)?.map(|it| it.value());
        {
            let mut table = write.open_table(ROWS)?;
            table.retain(|_, value| {
                match said(value, purpose.now) {
                    Some((shard, Said::Memory(memory))) => {
                        let shard = Some(shard).filter(|_| before == Some(shards));
                        contents.pieces.push(Piece { shard, memory });
                    }
                    Some((_, Said::Fact(fact))) => contents.facts.push(fact),
                    None => return false,
                }
                self.rows += 1;
                true
            })?;
        }
        write.commit()?;
        Ok(contents)
    }

    /// Writes changes down, all or none.
    pub(crate) fn write(&mut self, changes: &Changes) -> Result<Written, redb::Error> {
        let mut written = Written { rows: self.rows, refused: 0 };
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(ROWS)?;
            let mut value = Vec::new();
            for (key, line) in changes {
                let Some(line) = line else {
                    written.rows -= u64::from(table.remove(key.as_str())?.is_some());
                    continue;
                };
                let is_full = written.rows >= self.rows_max && !line.row.is_worthy();
                if is_full && table.get(key.as_str())?.is_none() {
                    written.refused += 1;
                    continue;
                }
                value.clear();
                line.write(&mut value);
                let is_new = table.insert(key.as_str(), value.as_slice())?.is_none();
                written.rows += u64::from(is_new);
            }
        }
        write.commit()?;
        self.rows = written.rows;
        Ok(written)
    }
}

/// The file says who was where: it is nobody else's to read.
fn keep_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.create(true).truncate(false).write(true).mode(0o600).open(path);
    opened.map(drop).map_err(|error| Failure::Disk(error.to_string()))
}

/// A row that can be used: which shard wrote it, and what it says.
fn said(value: &[u8], now: Time) -> Option<(ShardId, Said)> {
    let line = Line::read(value)?;
    if now.since(line.row.last()) > TOO_OLD {
        return None;
    }
    Some((ShardId(line.shard), line.row.said()?))
}

/// Leads the file from its version to `version`.
pub(crate) fn migrate(database: &Database, version: u64, steps: &[Step]) -> Result<(), Failure> {
    let write = database.begin_write().map_err(redb::Error::from)?;
    let found = {
        let about = write.open_table(ABOUT).map_err(redb::Error::from)?;
        let found = about.get("version").map_err(redb::Error::from)?.map(|found| found.value());
        found.unwrap_or(version)
    };
    if found > version || found == 0 {
        return Err(Failure::Version(found));
    }
    for step in steps.iter().skip(found as usize - 1) {
        step(&write)?;
    }
    write
        .open_table(ABOUT)
        .map_err(redb::Error::from)?
        .insert("version", version)
        .map_err(redb::Error::from)?;
    write.commit().map_err(redb::Error::from)?;
    Ok(())
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What is in it is no file of ours, or broken.
    #[error("it is broken: {0}")]
    Broken(String),
    /// Its version is another's.
    #[error("its format has version {0}, this program knows {VERSION}")]
    Version(u64),
    /// It cannot be reached.
    #[error("{0}")]
    Disk(String),
}

impl Failure {
    /// Whether another file in its place would do.
    fn is_of_contents(&self) -> bool {
        !matches!(self, Failure::Disk(_))
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => redb::Error::from(error).into(),
            DatabaseError::DatabaseAlreadyOpen => {
                Failure::Disk("another process has it open".into())
            }
            error => Failure::Broken(error.to_string()),
        }
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        match error {
            // what is no database at all is said as invalid data
            redb::Error::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => {
                Failure::Disk(error.to_string())
            }
            error => Failure::Broken(error.to_string()),
        }
    }
}

#[cfg(test)]
pub(crate) fn raw(path: &Path) -> Database {
    Database::create(path).expect("a database")
}

#[cfg(test)]
pub(crate) fn raw_rows(database: &Database) -> usize {
    let read = redb::ReadableDatabase::begin_read(database).expect("a reader");
    let table = read.open_table(ROWS).expect("rows");
    table.iter().expect("rows").count()
}
