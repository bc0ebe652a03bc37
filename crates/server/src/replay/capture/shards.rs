//! The threads that judge, one for each shard, and the rounds in which they speak with each other.
//!
//! Who judges a source is the function of the running edge ([`Engine::shard_of`]). What the shards
//! learn they tell each other at the end of each round that has a message, all at the same
//! time of the capture: however fast which thread is, the answers are the same. With one shard there
//! are no rounds, and nothing is done otherwise than by one thread.

use super::batch::{Batch, Heard};
use super::edges::Edges;
use super::play::{News, Play};
use capture::Seen;
use policy::Time;
use proxy::Engine;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// How long a round is, in the capture's time. In shorter ones threads that are done wait for the others
/// as long as they work.
const ROUND: Duration = Duration::from_secs(1);
/// Batches that wait for a thread.
const WAITING: usize = 8;
/// Rounds whose news wait for one shard of another: none is further ahead, for it hears the other first.
const AHEAD: usize = 2;

/// What a shard says to another at the end of a round, and hears from it.
struct Neighbour {
    tell: SyncSender<News>,
    hear: Receiver<News>,
}

/// All threads that judge.
#[derive(Debug)]
pub(super) struct Shards<'scope> {
    edges: Edges,
    batches: Vec<Batch>,
    inboxes: Vec<SyncSender<Batch>>,
    threads: Vec<ScopedJoinHandle<'scope, Play>>,
    /// The end of the round.
    round: Option<Time>,
}

impl<'scope> Shards<'scope> {
    /// A thread for each of `plays`, which are the shards in their order.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        edges: Edges,
        plays: Vec<Play>,
    ) -> std::io::Result<Self> {
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        let batches = plays.iter().map(|_| Batch::default()).collect();
        let neighbours = neighbours(plays.len());
        for (index, (play, neighbours)) in plays.into_iter().zip(neighbours).enumerate() {
            let (inbox, heard) = sync_channel(WAITING);
            inboxes.push(inbox);
            let name = format!("replay-{index}");
            let thread = std::thread::Builder::new().name(name);
            threads.push(thread.spawn_scoped(scope, move || judge(play, &heard, &neighbours))?);
        }
        Ok(Shards { edges, batches, inboxes, threads, round: None })
    }

    /// Something that was said.
    pub(super) fn on_seen(&mut self, at: Time, seen: Seen<'_>) {
        if self.batches.len() > 1 {
            self.begin_round(at);
        }
        let client = self.edges.client_of(&seen);
        let shard = Engine::shard_of(client, self.batches.len() as u8);
        let Some(batch) = self.batches.get_mut(usize::from(shard.0)) else { return };
        batch.push(at, Heard::Seen(seen));
        if batch.is_full() {
            self.pass_on();
        }
    }

    /// The capture is at its end: what came of it, all shards together.
    ///
    /// # Panics
    /// When a thread did.
    pub(super) fn finish(mut self, last: Time) -> Play {
        self.batches.iter_mut().for_each(|batch| batch.push(last, Heard::End));
        self.pass_on();
        self.inboxes.clear();
        let join = |thread: ScopedJoinHandle<'_, Play>| match thread.join() {
            Ok(play) => play,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // none ends without the others
        let plays: Vec<Play> = self.threads.into_iter().map(join).collect();
        plays.into_iter().reduce(Play::join).expect("there is no edge without a shard")
    }

    fn begin_round(&mut self, at: Time) {
        let end = *self.round.get_or_insert(at + ROUND);
        if at < end {
            return;
        }
        self.batches.iter_mut().for_each(|batch| batch.push(end, Heard::Round));
        // rounds in which nobody says anything are passed over
        let since = at.since(end).as_nanos() % ROUND.as_nanos();
        self.round = Some(at + ROUND - Duration::from_nanos(since as u64));
    }

    /// All at once: none must wait for another's round that is held back here.
    fn pass_on(&mut self) {
        for (batch, inbox) in self.batches.iter_mut().zip(&self.inboxes) {
            // one that is gone has panicked, which is told at the end
            let _ = inbox.send(std::mem::take(batch));
        }
    }
}

/// What each shard has to do with the others, in their order.
fn neighbours(shards: usize) -> Vec<Vec<Neighbour>> {
    let mut ways: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
    // the way from `one` to each: the nth of `hear` is that from the nth shard but for oneself
    let mut hear: Vec<Vec<Receiver<News>>> = (0..shards).map(|_| Vec::new()).collect();
    for (one, tell) in ways.iter_mut().enumerate() {
        for (_, heard) in hear.iter_mut().enumerate().filter(|(other, _)| *other != one) {
            let (sender, receiver) = sync_channel(AHEAD);
            tell.push(sender);
            heard.push(receiver);
        }
    }
    let pair = |(tell, hear): (Vec<_>, Vec<_>)| {
        tell.into_iter().zip(hear).map(|(tell, hear)| Neighbour { tell, hear }).collect()
    };
    ways.into_iter().zip(hear).map(pair).collect()
}

/// Judges what comes until nothing more does.
fn judge(mut play: Play, inbox: &Receiver<Batch>, neighbours: &[Neighbour]) -> Play {
    for batch in inbox {
        for (at, heard) in batch.iter() {
            match heard {
                Heard::Seen(seen) => play.on_seen(at, seen),
                Heard::Round => speak(&mut play, at, neighbours),
                Heard::End => play.finish(at),
            }
        }
    }
    play
}

/// Tells all others what was learned in this round, and hears what they did. A neighbour that is
/// gone has panicked, which is told at the end.
fn speak(play: &mut Play, at: Time, neighbours: &[Neighbour]) {
    let news = play.news(at);
    for neighbour in neighbours {
        let _ = neighbour.tell.send(news.clone());
    }
    for neighbour in neighbours {
        if let Ok(news) = neighbour.hear.recv() {
            play.hear(at, &news);
        }
    }
}
