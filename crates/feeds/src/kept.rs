//! The last good list in a file, for the next life.

use crate::{Bounds, List, Settings};
use policy::{Network, Time};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Largest file that is read again, in bytes.
const BYTES_MAX: u64 = 256 << 20;
/// Version of the format.
const VERSION: u64 = 1;

/// What is known of a list besides its entries: by what its server says that it is as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    /// Number of APIBAN's next batch.
    pub(crate) next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u64,
    /// Where the list was: another place is another list.
    place: String,
    fetched: u64,
    mark: Mark,
    entries: Vec<(String, u64)>,
}

/// A list as it was when it was fetched last.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Last {
    pub(crate) list: List,
    pub(crate) fetched: Option<Time>,
    pub(crate) mark: Mark,
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

/// Writes a list whole, or not at all.
pub(crate) fn write(directory: &Path, settings: &Settings, last: &Last) -> std::io::Result<()> {
    let entries = last.list.entries().iter();
    let kept = Kept {
        version: VERSION,
        place: place(settings),
        fetched: last.fetched.map_or(0, Time::as_nanos),
        mark: last.mark.clone(),
        entries: entries.map(|(network, until)| (network.to_string(), until.as_nanos())).collect(),
    };
    std::fs::create_dir_all(directory)?;
    let path = file(directory, &settings.name);
    let draft = path.with_extension("draft");
    let mut written = std::fs::File::create(&draft)?;
    written.write_all(&serde_json::to_vec(&kept)?)?;
    written.sync_all()?;
    std::fs::rename(&draft, &path)
}

/// Reads it again; nothing when there is none, or it is of another place.
pub(crate) fn read(directory: &Path, settings: &Settings, now: Time) -> Option<Last> {
    let file = std::fs::File::open(file(directory, &settings.name)).ok()?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    if kept.version != VERSION || kept.place != place(settings) {
        return None;
    }
    let mut list = List::default();
    let any = Bounds { entries: usize::MAX, widest_ipv4: 0, widest_ipv6: 0, private: true };
    let latest = now + settings.ttl;
    for (text, until) in kept.entries {
        // whatever the clock was when it was written
        let until = Time::from_nanos(until).min(latest);
        if text.parse::<Network>().is_ok() {
            list.add(&text, until, &any);
        }
    }
    list.forget(now);
    list.bound(&settings.bounds);
    Some(Last { list, fetched: Some(Time::from_nanos(kept.fetched).min(now)), mark: kept.mark })
}

fn place(settings: &Settings) -> String {
    format!("{:?} {:?}", settings.format, settings.place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Place};
    use std::time::Duration;

    fn settings(url: &str) -> Settings {
        Settings {
            name: "list".into(),
            place: Place::Url(url.into()),
            format: Format::Lines,
            key_file: None,
            every: Duration::from_secs(60),
            ttl: Duration::from_secs(3_600),
            timeout: Duration::from_secs(1),
            bytes: 1_000,
            bounds: Bounds { entries: 2, widest_ipv4: 16, widest_ipv6: 32, private: false },
        }
    }

    #[test]
    fn a_list_comes_back_as_far_as_it_may_be_taken_today() {
        let directory = tempfile::tempdir().unwrap();
        let at = |second| Time::ZERO + Duration::from_secs(second);
        let any = Bounds { entries: 9, widest_ipv4: 0, widest_ipv6: 0, private: true };
        let mut list = List::default();
        for (text, until) in [
            ("1.2.3.4", 200),
            ("5.0.0.0/8", 300),
            ("6.6.6.6", 50),
            ("10.1.1.1", 300),
            ("7.7.7.7", 99_999),
        ] {
            list.add(text, at(until), &any);
        }
        let mark = Mark { etag: Some("\"x\"".into()), ..Mark::default() };
        let last = Last { list, fetched: Some(at(10)), mark };
        let settings = settings("http://a/");
        write(directory.path(), &settings, &last).unwrap();
        let again = read(directory.path(), &settings, at(100)).unwrap();
        let entries: Vec<_> =
            again.list.entries().iter().map(|(it, until)| (it.to_string(), *until)).collect();
        assert_eq!(
            entries,
            [("1.2.3.4".to_owned(), at(200)), ("7.7.7.7".to_owned(), at(3_700))],
            "the room is for two, and nothing lives longer than its time"
        );
        assert_eq!((again.fetched, again.mark), (Some(at(10)), last.mark));
        let other = Settings { place: Place::Url("http://b/".into()), ..settings.clone() };
        assert_eq!(read(directory.path(), &other, at(100)), None);
        std::fs::write(file(directory.path(), "list"), "{ not").unwrap();
        assert_eq!(read(directory.path(), &settings, at(100)), None);
    }
}
