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
/// Twice eight bytes that a template may have: longer ones are read each time.
const PAIRS_MAX: usize = 192;

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
    pub(crate) fn look(&mut self, signatures: &Signatures, message: &Message<'_>) -> (u64, Hits) {
        let Some((template, hash)) = self.template(message) else {
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

    /// A request's template with its hash. `None` when it is too long.
    fn template<'a>(&self, message: &Message<'a>) -> Option<(Template<'a>, u128)> {
        let mut sum = Sum { key: &self.key, sum: 0, lengths: [0; 8], texts: 0, is_whole: true };
        let template = Template::of(message, |piece| sum.text(piece))?;
        sum.lengths();
        sum.pair([template.marks(), sum.texts]);
        sum.is_whole.then_some((template, sum.sum))
    }
}

/// The sum of products that NH is.
struct Sum<'k> {
    /// What is left of it.
    key: &'k [[u64; 2]],
    sum: u128,
    /// Those of the last texts, and how many texts there were.
    lengths: [u16; 8],
    texts: u64,
    /// Whether the key was long enough so far.
    is_whole: bool,
}

impl Sum<'_> {
    /// A text; its last bytes overlap what stands before where there is enough.
    #[inline]
    fn text(&mut self, text: &[u8]) {
        let (blocks, rest) = text.as_chunks::<16>();
        let Some((key, left)) = self.key.split_at_checked(blocks.len()) else {
            self.is_whole = false;
            return;
        };
        self.key = left;
        // not in its place, which the compiler would write at each step
        let mut sum = self.sum;
        for (block, key) in blocks.iter().zip(key) {
            sum = sum.wrapping_add(product(words(block), *key));
        }
        self.sum = sum;
        match text.last_chunk::<16>() {
            _ if rest.is_empty() => {}
            Some(last) => self.pair(words(last)),
            None => self.pair(ends(rest)),
        }
        // messages are shorter than 64 KiB
        self.lengths[self.texts as usize % 8] = text.len() as u16;
        self.texts += 1;
        if self.texts.is_multiple_of(8) {
            self.lengths();
        }
    }

    fn lengths(&mut self) {
        let [a, b, c, d, e, f, g, h] = std::mem::take(&mut self.lengths).map(u64::from);
        let word = |a, b, c, d| a | b << 16 | c << 32 | d << 48;
        self.pair([word(a, b, c, d), word(e, f, g, h)]);
    }

    #[inline]
    fn pair(&mut self, words: [u64; 2]) {
        match self.key.split_first() {
            Some((key, left)) => {
                self.key = left;
                self.sum = self.sum.wrapping_add(product(words, *key));
            }
            None => self.is_whole = false,
        }
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

/// Fewer than sixteen bytes as two words, some bytes twice.
fn ends(text: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()]
    } else {
        [text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0]
    }
}

#[cfg(test)]
mod tests;
