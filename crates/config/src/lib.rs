//! What the operator writes, turned into what the edge runs: YAML in, a [`Config`] (with its
//! [`policy::Policy`]) or a list of [`Problem`]s out.
//!
//! # Contract
//!
//! - A [`Config`] that exists is valid: the conversion is total, or it says why not. Nothing is
//!   checked again later, and nothing is looked up by a string.
//! - All problems of a file are reported, not just the first, each with file, line, column, YAML
//!   path and a hint. (Only broken YAML ends the reading at once.)
//! - Unknown keys are errors that name the nearest known key; duplicate keys are refused; a file
//!   has at most [`MAX_NODES`] nodes and [`MAX_BYTES`] bytes, aliases expanded.
//! - A key that is understood but has no effect in this version is a warning, never silence.
//! - [`Config::to_yaml`] prints every setting with its value; reading that gives the same
//!   [`Config`] again.
//!
//! It does not watch files, open sockets or keep state between loads.

mod admission;
mod alerts;
mod audit;
mod check;
mod effective;
mod enforce;
mod engine;
mod feeds;
mod form;
mod hep;
mod inside;
mod keys;
mod model;
mod out;
mod policy_alone;
mod policy_file;
mod problem;
mod read;
mod resolver;
mod say;
mod secret;
mod signatures;
mod table;
mod tls;
mod tree;
mod trial;
mod trunk;
mod value;

#[cfg(test)]
mod pages;
#[cfg(test)]
mod tests;

pub use admission::{Override, SignatureChoice};
pub use alerts::{AlertTarget, AlertTls, AlertTo, Alerts};
pub use audit::{Audit, AuditFormat, AuditTarget};
pub use enforce::{Enforce, OnStop};
pub use feeds::{Crowdsec, Feed, FeedFormat};
pub use hep::{Hep, HepTransport, HepWhat};
pub use model::{
    Admin, ClientCertificates, Config, Listen, Log, LogFormat, ResolverSettings, TlsFiles,
    TransportSettings, Trunk, TrunkHeaders, TrunkTls,
};
pub use policy_alone::{LoadedPolicy, load_policy, load_policy_str};
pub use policy_file::policy_schema;
pub use problem::{Invalid, Problem, Severity};
pub use read::{Loaded, Overrides, admin_socket, load, load_and_list, load_str, load_with};
pub use say::{duration, network};
pub use secret::{Secret, SecretOrigin};
pub use signatures::{
    Catalogue, SHIPPED_SIGNATURES, load_signatures, load_signatures_str, shipped_signatures,
};
pub use tree::{MAX_BYTES, MAX_NODES};
pub use trial::{Answer, Expect, Expectation, Step, Trial};
