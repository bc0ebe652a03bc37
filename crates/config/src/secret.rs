//! The key of tokens, branches and hashes.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a secret.
const LENGTH: usize = 32;

/// 32 random bytes, the same over restarts as long as their file is kept: registered phones stay
/// reachable over a restart because their tokens still verify.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; LENGTH]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret came from.
#[derive(Debug)]
pub enum SecretOrigin {
    /// Read from its file.
    Read,
    /// Made now, and written to its file.
    Created,
    /// Made now; it could not be read or kept, and the next start will have another.
    Ephemeral(io::Error),
}

impl Secret {
    /// Reads the secret, or creates it with mode 0600 when there is none. When the file can be
    /// neither read nor created the secret is a fresh one that is forgotten at the end.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn open(file: &Path) -> io::Result<(Secret, SecretOrigin)> {
        match read(file) {
            Ok(secret) => return Ok((secret, SecretOrigin::Read)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Ok((Secret::random()?, SecretOrigin::Ephemeral(error))),
        }
        let secret = Secret::random()?;
        match create(file, &secret) {
            Ok(()) => Ok((secret, SecretOrigin::Created)),
            // Another process was faster: its secret is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read(file) {
                Ok(secret) => Ok((secret, SecretOrigin::Read)),
                Err(error) => Ok((secret, SecretOrigin::Ephemeral(error))),
            },
            Err(error) => Ok((secret, SecretOrigin::Ephemeral(error))),
        }
    }

    /// A fresh one from the operating system.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> io::Result<Secret> {
        let mut bytes = [0; LENGTH];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Secret(bytes))
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        let text = format!("its mode is {mode:03o}: others may read it; chmod 600, or remove it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mut bytes = Vec::with_capacity(LENGTH + 1);
    file.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    let bytes = <[u8; LENGTH]>::try_from(bytes.as_slice()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("it does not hold {LENGTH} bytes"))
    })?;
    Ok(Secret(bytes))
}

/// Written under another name and linked into place, so a secret is never seen half written.
fn create(path: &Path, secret: &Secret) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    let result = write(&draft, secret).and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    result.and(removed)
}

fn write(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&secret.0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_created_once_with_mode_600_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state/secret");
        let (first, origin) = Secret::open(&file).unwrap();
        assert!(matches!(origin, SecretOrigin::Created), "{origin:?}");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_ne!(first.0, [0; LENGTH]);
        let (second, origin) = Secret::open(&file).unwrap();
        assert!(matches!(origin, SecretOrigin::Read), "{origin:?}");
        assert!(first == second);
        let entries = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "the draft is gone");
    }

    #[test]
    fn one_that_others_can_read_or_that_is_cut_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let (first, _) = Secret::open(&file).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let (second, origin) = Secret::open(&file).unwrap();
        let SecretOrigin::Ephemeral(error) = origin else { panic!("{origin:?}") };
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(first != second);

        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&file, b"short").unwrap();
        let (_, origin) = Secret::open(&file).unwrap();
        let SecretOrigin::Ephemeral(error) = origin else { panic!("{origin:?}") };
        assert!(error.to_string().contains("32 bytes"), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_written_gives_an_ephemeral_one() {
        let directory = tempfile::tempdir().unwrap();
        let blocker = directory.path().join("blocker");
        std::fs::write(&blocker, b"").unwrap();
        let (_, origin) = Secret::open(&blocker.join("secret")).unwrap();
        assert!(matches!(origin, SecretOrigin::Ephemeral(_)), "{origin:?}");
    }

    #[test]
    fn is_not_printed() {
        let secret = Secret([7; LENGTH]);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
