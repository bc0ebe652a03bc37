//! Waits until files of the configuration change. Their directories are watched, so that a file that
//! is moved into place, or appears, is noticed, too.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// How long the files must stay as they are before a change counts as whole: editors write in steps.
const QUIET: Duration = Duration::from_millis(300);

/// What tells that a file is another: when it was written, its length, and which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    length: u64,
    inode: u64,
}

/// Files as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(Vec<(PathBuf, Option<Stamp>)>);

impl Seen {
    /// As these files are now; those that are missing count as that.
    pub(crate) fn of(files: Vec<PathBuf>) -> Self {
        let stamp = |file: PathBuf| {
            let stamp = std::fs::metadata(&file).ok().map(|it| Stamp {
                seconds: it.mtime(),
                nanoseconds: it.mtime_nsec(),
                length: it.len(),
                inode: it.ino(),
            });
            (file, stamp)
        };
        Seen(files.into_iter().map(stamp).collect())
    }

    /// Those files, as they were before they were read where that is known: what changed since is
    /// still news.
    pub(crate) fn read(self, files: Vec<PathBuf>) -> Self {
        let before = |now: &(PathBuf, Option<Stamp>)| {
            let known = self.0.iter().find(|(file, _)| *file == now.0);
            known.unwrap_or(now).clone()
        };
        Seen(Seen::of(files).0.iter().map(before).collect())
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.0.iter().map(|(file, _)| file.clone()).collect()
    }

    fn is_past(&self) -> bool {
        *self != Seen::of(self.files())
    }
}

/// A watch over files.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    stirred: mpsc::Receiver<()>,
    directories: BTreeSet<PathBuf>,
    seen: Seen,
    /// Something stirred, but it is not looked at yet.
    pending: bool,
}

impl Watch {
    /// Over nothing yet.
    pub(crate) fn new() -> Self {
        let (stir, stirred) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |_| {
            // One that waits already stands for this, too.
            let _ = stir.try_send(());
        });
        let watcher = watcher.inspect_err(
            |error| warn!(%error, "Files cannot be watched: reload by hand, or by SIGHUP"),
        );
        Watch {
            watcher: watcher.ok(),
            stirred,
            directories: BTreeSet::new(),
            seen: Seen::default(),
            pending: false,
        }
    }

    /// Waits from now on until files are otherwise than `seen`.
    pub(crate) fn follow(&mut self, seen: Seen) {
        let parents = seen.0.iter().filter_map(|(file, _)| file.parent());
        let directories: BTreeSet<PathBuf> = parents.map(here).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.directories.difference(&directories) {
                // It may have been deleted.
                let _ = watcher.unwatch(gone);
            }
            for new in directories.difference(&self.directories) {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    warn!(directory = %new.display(), %error, "Cannot be watched");
                }
            }
        }
        self.directories = directories;
        self.seen = seen;
        // What changed while it was read has stirred before.
        self.pending = true;
    }

    /// Waits for a change, and until it is whole. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        loop {
            if !self.pending {
                match self.stirred.recv().await {
                    Some(()) => self.pending = true,
                    None => std::future::pending().await,
                }
            }
            // Of the files themselves: what else lies beside them, a log say, may stir without end.
            let now = Seen::of(self.seen.files());
            tokio::time::sleep(QUIET).await;
            if now.is_past() {
                continue;
            }
            self.pending = false;
            if self.seen.is_past() {
                return;
            }
        }
    }
}

/// A directory by a name that can be watched: that of `ringfence.yaml` is empty.
fn here(directory: &Path) -> PathBuf {
    if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Whether a change is noticed while nothing else stirs.
    async fn is_noticed(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.is_ok()
    }

    #[test]
    fn files_that_change_appear_or_are_moved_into_place_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::write(file("a"), "1").unwrap();
        let files = vec![file("a"), file("b")];
        runtime().block_on(async {
            let mut watch = Watch::new();
            watch.follow(Seen::of(files.clone()));
            let steps: [&dyn Fn(); 3] = [
                &|| fs::write(file("a"), "two").unwrap(),
                &|| fs::write(file("b"), "new").unwrap(),
                &|| {
                    fs::write(file("draft"), "two").unwrap();
                    fs::rename(file("draft"), file("a")).unwrap();
                },
            ];
            for step in steps {
                step();
                assert!(is_noticed(&mut watch).await);
                watch.follow(Seen::of(files.clone()));
            }
        });
    }

    #[test]
    fn a_change_is_noticed_beside_a_file_that_changes_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "1").unwrap();
        let noticed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !noticed.load(Relaxed) {
                    fs::write(directory.path().join("log"), "another line").unwrap();
                    std::thread::yield_now();
                }
            });
            let found = runtime().block_on(async {
                let mut watch = Watch::new();
                watch.follow(Seen::of(vec![file.clone()]));
                fs::write(&file, "two").unwrap();
                is_noticed(&mut watch).await
            });
            noticed.store(true, Relaxed);
            assert!(found);
        });
    }

    #[test]
    fn what_was_read_is_no_news_and_what_changed_while_it_was_read_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "1").unwrap();
        let before = Seen::of(vec![file.clone()]);
        assert!(!before.clone().read(vec![file.clone()]).is_past());
        fs::write(&file, "two").unwrap();
        assert!(before.read(vec![file.clone()]).is_past());
        assert!(!Seen::default().read(vec![file]).is_past());
    }
}
