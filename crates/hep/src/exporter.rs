//! A shard's end.

use crate::sender::Counters;
use policy::{Policy, Time};
use proxy::{Decision, Engine, Event, Verdict};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

/// Least bytes of a message that a ring counts with: so many letters have room in it.
const MESSAGE_LEAST: usize = 256;

/// A message on its way: its bytes lie in the other ring.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) at: Time,
    pub(crate) event: Event,
    /// Call-ID, as far as the decision keeps it.
    pub(crate) call_id: [u8; Decision::TEXT_BYTES_MAX],
    pub(crate) call_id_length: u8,
    pub(crate) length: usize,
    pub(crate) policy: Arc<Policy>,
}

/// Both rings' ends at which a shard fills them.
#[derive(Debug)]
struct Filling {
    letters: Producer<Letter>,
    bytes: Producer<u8>,
    all: bool,
}

/// Both rings' other ends.
#[derive(Debug)]
pub(crate) struct Emptying {
    pub(crate) letters: Consumer<Letter>,
    pub(crate) bytes: Consumer<u8>,
}

/// What is laid ready for a shard that looks for new settings.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<Option<Ready>>>);

/// A shard's rings, not yet taken.
#[derive(Debug)]
pub(crate) struct Ready(Filling);

/// Rings for `bytes` bytes of messages.
pub(crate) fn rings(bytes: usize, all: bool) -> (Ready, Emptying) {
    let (letters, letters_out) = RingBuffer::new((bytes / MESSAGE_LEAST).max(1));
    let (filled, emptied) = RingBuffer::new(bytes);
    let ready = Ready(Filling { letters, bytes: filled, all });
    (ready, Emptying { letters: letters_out, bytes: emptied })
}

impl Slot {
    pub(crate) fn lay(&self, ready: Option<Ready>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
    }
}

/// A shard's end.
#[derive(Debug)]
pub struct Exporter {
    filling: Option<Filling>,
    slot: Arc<Slot>,
    counters: Arc<Counters>,
}

impl Exporter {
    pub(crate) fn new(slot: Arc<Slot>, counters: Arc<Counters>) -> Self {
        let mut exporter = Exporter { filling: None, slot, counters };
        exporter.configure();
        exporter
    }

    /// Takes up what [`crate::Hep::configure`] has laid ready. Not on the way of a message: it
    /// takes a lock.
    pub fn configure(&mut self) {
        let laid = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ready) = laid {
            self.filling = ready.map(|ready| ready.0);
        }
    }

    /// A decision was made. When nothing is exported this is one branch.
    #[inline]
    pub fn on_event(&mut self, event: &Event, engine: &Engine, policy: &Arc<Policy>) {
        if let Some(filling) = &mut self.filling
            && let Some(number) = event.kept
            && (filling.all || is_refused(event))
            && let Some(decision) = engine.decision(number)
            && let Some(bytes) = engine.recorded(decision)
            && !filling.put(decision, bytes, policy)
        {
            self.counters.lost.fetch_add(1, Relaxed);
        }
    }
}

fn is_refused(event: &Event) -> bool {
    let would = event.grounds.as_ref().and_then(|grounds| grounds.would);
    let refused = |verdict| matches!(verdict, Verdict::Drop | Verdict::Reject(_));
    refused(event.verdict) || would.is_some_and(refused)
}

impl Filling {
    /// Whether there was room.
    fn put(&mut self, decision: &Decision, bytes: &[u8], policy: &Arc<Policy>) -> bool {
        if self.letters.is_full() || self.bytes.push_entire_slice(bytes).is_err() {
            return false;
        }
        let mut call_id = [0; Decision::TEXT_BYTES_MAX];
        for (to, from) in call_id.iter_mut().zip(&decision.call_id) {
            *to = *from;
        }
        let letter = Letter {
            at: decision.at,
            event: decision.event.clone(),
            call_id,
            call_id_length: decision.call_id.len() as u8,
            length: bytes.len(),
            policy: policy.clone(),
        };
        self.letters.push(letter).is_ok()
    }
}
