//! Bodies of the fuzz targets, free of libFuzzer: `cargo fuzz run TARGET seeds` calls them on
//! nightly, the `mutate` binary and the tests call them on stable.
//!
//! A target takes any bytes, panics when something that must hold does not, and otherwise says in
//! a word what it saw, so that a run can be counted.

mod capturing;
mod differential;
mod framing;
pub mod mutation;
mod passage;
mod reading;
pub mod seeds;
mod splicing;

pub use capturing::capture;
pub use differential::differential;
pub use framing::frame;
pub use passage::{engine, voyage};
pub use reading::parse;
pub use splicing::splice;

/// What a target saw: a word to count.
pub type Verdict = String;

/// A target by its name.
pub type Target = fn(&[u8]) -> Verdict;

/// Every target.
pub const TARGETS: [(&str, Target); 7] = [
    ("parse", parse),
    ("frame", frame),
    ("splice", splice),
    ("differential", differential),
    ("engine", engine),
    ("voyage", voyage),
    ("capture", capture),
];
