//! Setting an edge up in front of an Asterisk: [`init()`] writes what is needed, [`doctor()`] proves it.

mod advice;
mod doctor;
mod facts;
mod init;
#[cfg(test)]
mod tests;

pub(crate) use doctor::doctor;
pub(crate) use facts::ends as certificate_end;
pub(crate) use init::{Init, init};
