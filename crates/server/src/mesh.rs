//! What shards say to each other, and what the control thread says to them.

use policy::{Policy, Time};
use proxy::{Engine, Input, Learned};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use transport::InsideListener;
use wire::{Flow, ShardId, Side};

/// Orders that may wait for a shard: more than those who look into it at a time
/// ([`crate::desk::Desk`]) and the control thread together give.
const ORDERS: usize = 16;

/// From one shard to another. Dropped and counted when the other's queue is full: a shard never
/// waits for another.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A message that the other shard owns.
    HandOver { side: Side, flow: Flow, bytes: Box<[u8]> },
    /// What the writer learned.
    Learned(Learned),
}

impl Letter {
    /// Gives the letter to an engine.
    pub(crate) fn open(&self) -> Input<'_> {
        match self {
            Letter::HandOver { side, flow, bytes } => {
                Input::HandedOver { side: *side, flow: *flow, bytes }
            }
            Letter::Learned(learned) => Input::Learned(learned.clone()),
        }
    }
}

/// From the control thread to a shard. Never dropped.
#[derive(Debug)]
pub(crate) enum Order {
    /// New rules.
    Configure(Arc<Policy>),
    /// Take connections of PBXs there.
    ListenInside(InsideListener),
    /// Take nothing new; answered when the engine was told and its numbers are published.
    Drain(oneshot::Sender<()>),
    /// Say that you live.
    Beat(oneshot::Sender<()>),
    /// What the gate must know.
    Learn(admission::Learned),
    /// Where a trunk's host is reached.
    Reach {
        /// As the policy has it.
        host: Box<str>,
        /// In their order.
        targets: Box<[proxy::Target]>,
    },
    /// Let a PBX get nothing new, or let it again.
    DrainPbx {
        /// [`policy::Pbx::id`].
        pbx: u32,
        /// Which of both.
        drained: bool,
    },
    /// Let somebody look.
    Look(Look),
    /// End.
    Stop,
}

/// A look into a shard's engine, taken on its thread between two stimuli: it must be short.
pub(crate) struct Look(pub(crate) Box<Glance>);

/// What is done with the engine that is looked into, at that time.
pub(crate) type Glance = dyn FnOnce(Time, &Engine) + Send;

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look(..)")
    }
}

/// A shard's ways to the others.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    own: ShardId,
    letters: Arc<[mpsc::Sender<Letter>]>,
}

/// A shard's end of the mesh.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) letters: mpsc::Receiver<Letter>,
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// Queues between `shards` shards, each with room for `queue` letters: a mesh and a mailbox for
/// each shard, and the senders of orders.
pub(crate) fn weave(shards: u8, queue: usize) -> (Vec<(Mesh, Mailbox)>, Vec<mpsc::Sender<Order>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(queue)).unzip();
    let letters: Arc<[mpsc::Sender<Letter>]> = senders.into();
    let mut ends = Vec::new();
    let mut orders = Vec::new();
    for (shard, receiver) in (0..shards).zip(receivers) {
        let (order, order_receiver) = mpsc::channel(ORDERS);
        let mesh = Mesh { own: ShardId(shard), letters: letters.clone() };
        ends.push((mesh, Mailbox { letters: receiver, orders: order_receiver }));
        orders.push(order);
    }
    (ends, orders)
}

impl Mesh {
    /// Whether the letter found room.
    pub(crate) fn send(&self, shard: ShardId, letter: Letter) -> bool {
        let sender = self.letters.get(usize::from(shard.0));
        sender.is_some_and(|sender| sender.try_send(letter).is_ok())
    }

    /// Whose mesh this is.
    pub(crate) fn own(&self) -> ShardId {
        self.own
    }

    /// All shards but this one.
    pub(crate) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.own;
        let count = u8::try_from(self.letters.len()).unwrap_or(u8::MAX);
        (0..count).map(ShardId).filter(move |shard| *shard != own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter::Learned(Learned::Unbound { key: 7 })
    }

    #[test]
    fn letters_reach_the_shard_and_a_full_queue_takes_none() {
        let (mut ends, _orders) = weave(3, 2);
        let (mesh, _) = &ends[0];
        let mesh = mesh.clone();
        assert_eq!(mesh.others().collect::<Vec<_>>(), [ShardId(1), ShardId(2)]);
        assert!(mesh.send(ShardId(1), letter()));
        assert!(mesh.send(ShardId(1), letter()));
        assert!(!mesh.send(ShardId(1), letter()), "the queue holds two");
        assert!(!mesh.send(ShardId(9), letter()), "nobody is there");
        let mailbox = &mut ends[1].1;
        let received = mailbox.letters.try_recv().unwrap();
        assert!(matches!(received.open(), Input::Learned(Learned::Unbound { key: 7 })));
        assert!(mesh.send(ShardId(1), letter()), "there is room again");
    }
}
