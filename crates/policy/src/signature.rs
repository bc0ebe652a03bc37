//! What tools look like: signatures, compiled into sets that are matched in one pass.
//!
//! # Contract
//!
//! - Matching is bounded by the request's size: each field that some signature looks at is read at
//!   most twice, by one automaton for all of its patterns, without backtracking; nothing is
//!   allocated.
//! - What an automaton may grow to is bounded; more is an error when compiled, never when matched.
//! - Most requests are honest, and asked little: each signature has *triggers*, rare facts of which
//!   it needs one. Only a request that has a trigger is asked what else its signature wants, field
//!   by field, as far as need be.
//! - Only requests that the parser took are looked at: what is no SIP is the parser's business.

mod automaton;
mod compile;
mod condition;
mod facts;
mod outline;
mod questions;
mod template;

#[cfg(test)]
mod tests;

use crate::Mode;
use arrayvec::ArrayVec;
use compile::Compiled;
use std::sync::Arc;
use wire::Message;

pub use condition::{Condition, Order, Peculiarity, SignatureError, Test, TextField};
pub use template::{Template, Varying, plain_user};

/// The most that a match may do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ceiling {
    /// It is counted.
    Note,
    /// The outcome of the challenge weighs twice.
    Score,
    /// The outcome of the challenge weighs three times.
    Fast,
    /// The packet is dropped.
    Drop,
}

/// One signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Its name in metrics, events and the file.
    pub id: Box<str>,
    /// What a match may do.
    pub ceiling: Ceiling,
    /// Whether it acts.
    pub mode: Mode,
}

/// A signature as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct SignatureSpec {
    /// Its name in metrics, events and the file.
    pub id: Box<str>,
    /// What a match may do.
    pub ceiling: Ceiling,
    /// Whether it acts. `Off` never matches.
    pub mode: Mode,
    /// The tool or the behaviour, for people.
    pub what: Box<str>,
    /// Where the knowledge comes from.
    pub source: Box<str>,
    /// Which honest senders look alike.
    pub false_positives: Box<str>,
    /// What a message must be like.
    pub when: Condition,
}

/// Signatures, ready to match. The default has none. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Signatures {
    list: Arc<[Signature]>,
    compiled: Option<Arc<Compiled>>,
}

/// Most signatures that one message is said to match; the heaviest ones are kept.
pub const HITS_MAX: usize = 8;

/// Which matched, by index in the file's order; the heaviest ceiling first.
pub type Hits = ArrayVec<u16, HITS_MAX>;

impl Signatures {
    /// Makes them ready to match.
    ///
    /// # Errors
    /// The signature and the condition that cannot be compiled, or that makes the whole too large.
    pub fn compile(specs: Vec<SignatureSpec>) -> Result<Self, SignatureError> {
        let compiled = Compiled::new(&specs)?;
        let list = specs
            .into_iter()
            .map(|spec| Signature { id: spec.id, ceiling: spec.ceiling, mode: spec.mode })
            .collect();
        Ok(Signatures { list, compiled: Some(Arc::new(compiled)) })
    }

    /// In the file's order.
    #[must_use]
    pub fn list(&self) -> &[Signature] {
        &self.list
    }

    /// Which of them a request matches; a response matches none.
    #[must_use]
    pub fn matches(&self, message: &Message<'_>) -> Hits {
        match &self.compiled {
            Some(compiled) if message.is_request() => compiled.matches(message).0,
            _ => Hits::new(),
        }
    }

    /// The same for a request in which that varies; and whether every other request of its template
    /// matches them and no more, as long as it does not [differ](Signatures::may_differ).
    #[must_use]
    pub fn matches_all(&self, message: &Message<'_>, varying: &Varying<'_>) -> (Hits, bool) {
        let Some(compiled) = &self.compiled else { return (Hits::new(), true) };
        let (hits, varies) = compiled.matches(message);
        (hits, !varies && !compiled.may_differ(varying))
    }

    /// Whether what varies in a request may make it match what others of its template don't.
    #[must_use]
    pub fn may_differ(&self, varying: &Varying<'_>) -> bool {
        self.compiled.as_ref().is_some_and(|compiled| compiled.may_differ(varying))
    }
}
