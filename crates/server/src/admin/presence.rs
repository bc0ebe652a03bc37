//! How an edge's admin socket is found by who looks in the wrong place. The kernel remembers a Unix
//! socket by the name under which it was bound, and shows all that listen: an edge binds beside its
//! path, under a name made of it, and moves the socket into place.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What the kernel knows of Unix sockets.
const SOCKETS: &str = "/proc/net/unix";
/// A listening socket's flags there (`SO_ACCEPTCON`).
const LISTENS: &str = "00010000";
/// Longest name of a socket, in bytes (`sun_path` with its end).
const NAME_MAX: usize = 107;

/// Where the socket of that path is bound first.
pub(super) fn draft(path: &Path) -> PathBuf {
    let process = std::process::id();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{process}"));
    match draft.as_os_str().len() <= NAME_MAX {
        true => draft,
        // such a one is not found, but serves
        false => path.with_file_name(format!(".{process}")),
    }
}

/// The path of which this is the draft, if it is one.
fn of_draft(draft: &Path) -> Option<PathBuf> {
    let name = draft.file_name()?.to_str()?.strip_prefix('.')?;
    let (name, process) = name.rsplit_once('.')?;
    process.parse::<u32>().ok()?;
    (!name.is_empty()).then(|| draft.with_file_name(name))
}

/// The admin sockets of the edges that run on this machine, as far as they can be told.
pub(crate) fn sockets() -> Vec<PathBuf> {
    let listed = fs::read_to_string(SOCKETS).unwrap_or_default();
    let mut found: Vec<PathBuf> = listed.lines().filter_map(of_line).filter(is_socket).collect();
    found.sort();
    found.dedup();
    found
}

fn of_line(line: &str) -> Option<PathBuf> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, _, _, LISTENS, _, _, _, draft] = fields[..] else { return None };
    of_draft(Path::new(draft))
}

fn is_socket(path: &PathBuf) -> bool {
    fs::metadata(path).is_ok_and(|about| about.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_tells_its_path() {
        let path = Path::new("/run/ringfence/admin.sock");
        assert_eq!(of_draft(&draft(path)).as_deref(), Some(path));
        let long = Path::new("/run").join("x".repeat(90)).join("admin.sock");
        assert_eq!(draft(&long).file_name().unwrap(), &*format!(".{}", std::process::id()));
        for other in ["/run/.4711", "/run/admin.sock.4711", "/run/.admin.sock", "/run/x", "/"] {
            assert_eq!(of_draft(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn what_listens_is_found_in_its_place_and_else_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let kept = std::os::unix::net::UnixListener::bind(draft(&path)).unwrap();
        assert!(!sockets().contains(&path), "it is not in its place yet");
        fs::rename(draft(&path), &path).unwrap();
        assert!(sockets().contains(&path), "{:?}", sockets());
        drop(kept);
        assert!(!sockets().contains(&path), "a file alone is no edge");
    }
}
