//! The edge without sockets: a simulated network, a virtual clock, and actors (phones, a PBX like
//! Asterisk, strangers), all from one seed.
//!
//! # Contract
//!
//! - A run is a function of its seed: the same seed gives the same run, event by event.
//! - The actors read and write SIP with code of their own, so a mistake of the product's parser
//!   is not made twice.
//! - The same scene runs with the PBX reached directly, or through one shard, or several: what
//!   fails directly is the scene's fault, not the edge's.
//! - After every input to the edge its outputs are fetched, and what must hold is checked;
//!   breaches are collected in [`Edge::violations`].

mod attacker;
pub mod day;
mod digest;
mod edge;
pub mod ladder;
pub mod net;
mod pbx;
mod phone;
pub mod reference;
mod rng;
mod scene;
pub mod sip;
mod stranger;
pub mod ua;
mod world;

pub use attacker::{AttackConfig, AttackCounts, Attacker, Form, Kind, Sources, Tool};
pub use day::{Day, DayConfig, Report, Row};
pub use edge::{Edge, Side2, Step, StepInput, StepOutput, Watch};
pub use pbx::{Pbx, PbxConfig, PbxCounts};
pub use phone::{Answer, CallState, Ending, Phone, PhoneConfig, PhoneCounts, Quirks};
pub use rng::Rng;
pub use scene::{DIDS, DOMAIN, SERVER, SERVER_V6, Scene, Setup, TRUNKS};
pub use stranger::Stranger;
pub use world::{Actor, NodeId, Passage, World};
