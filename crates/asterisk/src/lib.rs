//! What an Asterisk's `pjsip.conf` says, and where it says it.
//!
//! # Contract
//!
//! - [`Files::read`] reads a configuration file as Asterisk's own reader does (`main/config.c`):
//!   sections, templates (`[x](!)`, `[y](x)`, `[y](+)`), `=`, `=>` and `+=`, comments (`;` and
//!   `;-- --;`), `#include` and `#tryinclude` with patterns. `#exec` is not executed, but told.
//! - Each option knows the file and line it comes from, through templates and includes.
//! - [`Pjsip`] is what matters of it to an edge in front: transports, endpoints, accounts, trunks.
//! - Bounds: [`Files::BYTES_MAX`], [`Files::FILES_MAX`], [`Files::DEPTH_MAX`]; what is beyond them, or
//!   wrong, becomes a [`Note`] and the rest is read.
//!
//! It writes nothing, and does not look at a running Asterisk.

mod files;
mod line;
mod pjsip;

#[cfg(test)]
mod tests;

pub use files::{Files, Note, Place, Section, Setting};
pub use pjsip::{Endpoint, Pjsip, Protocol, Transport, Trunk};
