//! Messages to start from: the committed seeds and the torture messages of `wire`'s tests.

use std::path::{Path, PathBuf};

/// Where the committed seeds are.
#[must_use]
pub fn directories() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = here.join("../crates/wire/tests/data");
    vec![here.join("seeds"), data.join("rfc4475"), data.join("rfc5118")]
}

/// All seeds, ordered by name, so that a seed number means the same everywhere.
///
/// # Panics
///
/// When they can't be read.
#[must_use]
pub fn all() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for directory in directories() {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
            })
            .collect();
        paths.sort();
        for path in paths {
            let seed = std::fs::read(&path);
            seeds.push(seed.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    assert!(seeds.len() > 100, "{} seeds", seeds.len());
    seeds
}
