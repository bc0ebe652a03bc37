//! The messages of `tests/data`.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use base64::Engine as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub struct Entry {
    pub json: serde_json::Value,
    pub payload: Vec<u8>,
}

impl Entry {
    pub fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or("")
    }
}

pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

pub fn jsonl(name: &str) -> Vec<Entry> {
    let packed = std::fs::read(data().join(name)).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            let payload = base64::engine::general_purpose::STANDARD
                .decode(json["payload_b64"].as_str().unwrap())
                .unwrap();
            Entry { json, payload }
        })
        .collect()
}

pub fn legit() -> Vec<Entry> {
    jsonl("legit.jsonl.gz")
}

pub fn attacks() -> Vec<Entry> {
    jsonl("attacks-sample.jsonl.gz")
}

/// The manifest's entries with their files.
pub fn torture() -> Vec<Entry> {
    let manifest = std::fs::read(data().join("torture-manifest.json")).unwrap();
    let manifest: Vec<serde_json::Value> = serde_json::from_slice(&manifest).unwrap();
    manifest
        .into_iter()
        .map(|json| {
            let payload = std::fs::read(data().join(json["file"].as_str().unwrap())).unwrap();
            Entry { json, payload }
        })
        .collect()
}

/// All of them.
pub fn all() -> Vec<Vec<u8>> {
    [legit(), attacks(), torture()].into_iter().flatten().map(|entry| entry.payload).collect()
}
