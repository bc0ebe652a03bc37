//! What requests look like whose template was met before.
//!
//! A template is known by a keyed hash of 128 bits of the bytes that stay (NH, of UMAC, RFC 4418
//! §5.2): two templates have the same one with a chance of at most 2⁻⁶³, whoever writes them, as
//! long as he does not know the key, which is made of the edge's secret and never leaves it. Each
//! template has one place; who floods with ever other ones takes places of others, and everybody's
//! requests are read then as if nothing was known.

use crate::Key;
use crate::shape::{frame, shape_in};
use policy::{Hits, Signatures, Template};
use wire::Message;

/// Templates that are known at once.
const PLACES: usize = 1_024;
/// Twice eight bytes that a template may have, with two of each piece and one of all: longer ones are
/// read each time.
const PAIRS_MAX: usize = 224;

/// What is known of templates, in a table of fixed size.
#[derive(Debug)]
pub(crate) struct Templates {
    key: Box<[[u64; 2]]>,
    places: Box<[Option<Met>]>,
}

/// A template that was met.
#[derive(Clone, Debug)]
struct Met {
    hash: u128,
    /// From the second time on: whoever never repeats himself costs little more than his reading.
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// The part of the shape that the template tells.
    frame: u64,
    /// What all of its requests match that do not differ; `None` when they may each match another.
    hits: Option<Hits>,
}

impl Templates {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let key = Key::derive(secret, "templates");
        let word = |at: usize| key.hash_one(&at.to_be_bytes());
        Templates {
            key: (0..PAIRS_MAX).map(|at| [word(2 * at), word(2 * at + 1)]).collect(),
            places: vec![None; PLACES].into(),
        }
    }

    /// Other signatures: what was known means nothing any more.
    pub(crate) fn configure(&mut self) {
        self.places.fill(None);
    }

    /// A request's shape, and which signatures it matches.
    #[inline(never)]
    pub(crate) fn look(&mut self, signatures: &Signatures, message: &Message<'_>) -> (u64, Hits) {
        let mut template = Template::default();
        let Some(hash) = self.take_apart(message, &mut template) else {
            return (shape_in(frame(message), message), signatures.matches(message));
        };
        let place = &mut self.places[hash as usize % PLACES];
        let Some(met) = place.as_mut().filter(|met| met.hash == hash) else {
            *place = Some(Met { hash, known: None });
            return (shape_in(frame(message), message), signatures.matches(message));
        };
        if let Some(known) = &met.known {
            let hits = known.hits.as_ref().filter(|_| !signatures.may_differ(&template));
            let hits = hits.cloned().unwrap_or_else(|| signatures.matches(message));
            return (shape_in(known.frame, message), hits);
        }
        let frame = frame(message);
        let (hits, always) = signatures.matches_all(message, &template);
        met.known = Some(Known { frame, hits: always.then(|| hits.clone()) });
        (shape_in(frame, message), hits)
    }

    /// A request's template, and its hash. `None` when it is too long.
    fn take_apart<'a>(&self, message: &Message<'a>, template: &mut Template<'a>) -> Option<u128> {
        if template.take_apart(message) { self.hash(template) } else { None }
    }

    /// The sum of products that NH is. `None` when the key is too short for it. Apart, so that the
    /// sum stays in registers.
    #[inline(never)]
    fn hash(&self, template: &Template<'_>) -> Option<u128> {
        let (mut key, mut sum) = (&self.key[..], 0u128);
        let mut count = 0;
        for piece in template.pieces() {
            let piece = piece?;
            let blocks = piece.as_chunks::<16>().0;
            let (keys, left) = key.split_at_checked(blocks.len() + 2)?;
            for (block, key) in blocks.iter().zip(keys) {
                sum = sum.wrapping_add(product(words(block), *key));
            }
            sum = sum.wrapping_add(product(ends(piece), keys[blocks.len()]));
            sum = sum.wrapping_add(product([piece.len() as u64, 0], keys[blocks.len() + 1]));
            count += 1;
            key = left;
        }
        Some(sum.wrapping_add(product([template.marks(), count], *key.first()?)))
    }
}

#[inline]
fn product(words: [u64; 2], key: [u64; 2]) -> u128 {
    let [one, other] = [0, 1].map(|at| words[at].wrapping_add(key[at]));
    u128::from(one) * u128::from(other)
}

fn words(block: &[u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(*block);
    [whole as u64, (whole >> 64) as u64]
}

/// The last bytes, as two words; of fewer than sixteen some twice.
#[inline]
fn ends(text: &[u8]) -> [u64; 2] {
    if let Some(last) = text.last_chunk() {
        words(last)
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()]
    } else {
        [text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0]
    }
}

#[cfg(test)]
mod tests;
