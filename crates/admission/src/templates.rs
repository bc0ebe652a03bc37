//! What requests look like whose template was met before.
//!
//! A template is remembered byte by byte: what is known of one is never said of another. It is looked
//! for among the few that may be the request's by a glance. Whoever floods with ever other ones takes
//! places of others, and everybody's requests are read then as if nothing was known.

use crate::TableUse;
use crate::shape::{frame, glance, shape_in};
use policy::{Hits, Signatures, Template, Varying};
use wire::Message;

/// Templates that are known at once.
const PLACES: usize = 1_024;
/// Places among which a template has one.
const WAYS: usize = 4;

/// What is known of templates, in a table of fixed size.
#[derive(Debug)]
pub(crate) struct Templates {
    places: Box<[[Place; WAYS]]>,
    /// Requests that were looked at.
    looks: u64,
    /// Known ones, and those that others took the place of.
    known: usize,
    evictions: u64,
}

/// A place for one template.
#[derive(Debug, Default)]
struct Place {
    /// What a glance says of its requests.
    glance: u64,
    /// When it was of use last; 0 when it is free.
    used: u64,
    /// From the second time on: whoever never repeats himself costs little more than his reading.
    known: Option<Known>,
    /// Empty until it is known; what it has allocated stays for the next one.
    template: Template,
}

#[derive(Clone, Debug)]
struct Known {
    /// The part of the shape that the template tells.
    frame: u64,
    /// What all of its requests match that do not differ; `None` while those that came might each
    /// have matched another.
    hits: Option<Hits>,
}

impl Templates {
    pub(crate) fn new() -> Self {
        let sets = std::iter::repeat_with(Default::default);
        let places = sets.take(PLACES / WAYS).collect();
        Templates { places, looks: 0, known: 0, evictions: 0 }
    }

    /// Other signatures: what was known means nothing any more.
    pub(crate) fn configure(&mut self) {
        self.places.fill_with(Default::default);
        self.known = 0;
    }

    pub(crate) fn table(&self) -> TableUse {
        TableUse { entries: self.known, capacity: PLACES, evictions: self.evictions }
    }

    /// A request's shape, and which signatures it matches.
    #[inline(never)]
    pub(crate) fn look(&mut self, signatures: &Signatures, message: &Message<'_>) -> (u64, Hits) {
        self.looks += 1;
        let glance = glance(message);
        let places = &mut self.places[glance as usize % (PLACES / WAYS)];
        let mut met = None;
        for (way, place) in places.iter_mut().enumerate().filter(|(_, it)| it.glance == glance) {
            let Some(known) = &mut place.known else {
                met = Some(way);
                continue;
            };
            if let Some(varying) = place.template.fits(message) {
                place.used = self.looks;
                let shape = shape_in(known.frame, message);
                return (shape, known.hits(signatures, message, &varying));
            }
        }
        let frame = frame(message);
        let shape = shape_in(frame, message);
        if let Some(place) = met.map(|way| &mut places[way]) {
            place.used = self.looks;
            if let Some(varying) = place.template.learn(message) {
                self.known += 1;
                let known = place.known.insert(Known { frame, hits: None });
                return (shape, known.hits(signatures, message, &varying));
            }
        } else if let Some(place) = places.iter_mut().min_by_key(|place| place.used) {
            (place.glance, place.used) = (glance, self.looks);
            if place.known.take().is_some() {
                self.known -= 1;
                self.evictions += 1;
            }
        }
        (shape, signatures.matches(message))
    }
}

impl Known {
    /// What a request of the template matches in which that varies.
    fn hits(
        &mut self,
        signatures: &Signatures,
        message: &Message<'_>,
        varying: &Varying<'_>,
    ) -> Hits {
        match &self.hits {
            Some(hits) if !signatures.may_differ(varying) => hits.clone(),
            Some(_) => signatures.matches(message),
            None => {
                let (hits, always) = signatures.matches_all(message, varying);
                self.hits = always.then(|| hits.clone());
                hits
            }
        }
    }
}

#[cfg(test)]
mod tests;
