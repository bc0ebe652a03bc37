//! The edge's side: takes bans and lifts from the shards, keeps the list of what is in force, and
//! keeps a helper informed, whenever there is one.

use crate::drop_set::Entry;
use crate::frame::{Answer, Malformed, PREFACE, RECORDS_MAX, Request, Results, Status, Wish};
use crate::frame::{FRAME_MAX, parse_preface};
use policy::{Network, Time};
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// Requests on the way whose results are not known yet.
const WINDOW: usize = 4;
/// How long the helper may take to say something, or to take something.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before another try to reach the helper; each next is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// Updates taken from the shards at once.
const UPDATES_AT_ONCE: usize = 1_024;
/// How often what has run out is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// A shard's word to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Update {
    Ban(Network, Time),
    Lift(Network),
}

/// A shard's end. Never waits.
#[derive(Clone, Debug)]
pub struct Sender {
    updates: mpsc::Sender<Update>,
    lost: Arc<AtomicBool>,
}

/// The client's end.
#[derive(Debug)]
pub struct Updates {
    updates: mpsc::Receiver<Update>,
    lost: Arc<AtomicBool>,
}

/// A queue from the shards to the client, with room for so many bans and lifts.
#[must_use]
pub fn client(queue: usize) -> (Sender, Updates) {
    let (sender, updates) = mpsc::channel(queue.max(1));
    let lost = Arc::new(AtomicBool::new(false));
    (Sender { updates: sender, lost: lost.clone() }, Updates { updates, lost })
}

impl Sender {
    /// A network is banned until then. `false` when the queue is full: it is dropped in user space
    /// only.
    pub fn ban(&self, network: Network, until: Time) -> bool {
        self.updates.try_send(Update::Ban(network, until)).is_ok()
    }

    /// A ban is lifted before its time. When the queue is full the client forgets all bans, and the
    /// kernel with it: nobody stays shut out by a word that got lost. `false` then.
    pub fn lift(&self, network: Network) -> bool {
        let sent = self.updates.try_send(Update::Lift(network)).is_ok();
        if !sent {
            self.lost.store(true, Relaxed);
        }
        sent
    }
}

/// What the client tells about its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A helper is there; it gets the full list.
    Connected,
    /// It is not, and why. Told once, not with every try.
    Absent(String),
    /// What became of bans and lifts.
    Results(Results),
    /// So many bans have no place in the list.
    NoRoom(u64),
    /// A lift got lost, so all bans were forgotten.
    Forgotten,
    /// How things stand in the kernel.
    Status(Status),
}

/// Keeps the helper informed.
#[derive(Debug)]
pub struct Client<N> {
    socket: PathBuf,
    updates: Updates,
    /// Whether bans are enforced at all; else the helper is told that there are none.
    enforcing: watch::Receiver<bool>,
    now: N,
    capacity: usize,
    bans: HashMap<Network, Time>,
    forgot: Time,
}

/// What is to be told in a connection.
#[derive(Debug)]
struct Agenda {
    /// The rest of a full list.
    list: Option<VecDeque<Network>>,
    /// What changed since it began.
    changed: HashSet<Network>,
    /// Numbers of requests without a result.
    open: VecDeque<u32>,
    number: u32,
}

enum End {
    /// The edge ends.
    Stopped,
    /// The helper does not answer any more.
    Lost(String),
}

impl<N: Fn() -> Time> Client<N> {
    /// For the helper behind `socket`, with room for `capacity` bans; `now` reads the clock by which
    /// they end.
    pub fn new(
        socket: PathBuf,
        updates: Updates,
        enforcing: watch::Receiver<bool>,
        capacity: usize,
        now: N,
    ) -> Self {
        let forgot = now();
        Client { socket, updates, enforcing, now, capacity, bans: HashMap::new(), forgot }
    }

    /// Works until all [`Sender`]s are gone.
    pub async fn run(mut self, mut report: impl FnMut(Report)) {
        let mut pause = PAUSE_FIRST;
        let mut absent = false;
        loop {
            let end = match timeout(PATIENCE, UnixStream::connect(&self.socket)).await {
                Ok(Ok(stream)) => self.converse(stream, &mut report, &mut absent, &mut pause).await,
                Ok(Err(error)) => End::Lost(error.to_string()),
                Err(_) => End::Lost("it does not answer".into()),
            };
            let End::Lost(why) = end else { return };
            if !std::mem::replace(&mut absent, true) {
                report(Report::Absent(why));
            }
            if !self.wait(pause, &mut report).await {
                return;
            }
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// Keeps the list while there is nobody to tell. `false` when the edge ends.
    async fn wait(&mut self, pause: Duration, report: &mut impl FnMut(Report)) -> bool {
        let pause = sleep(pause);
        tokio::pin!(pause);
        let mut taken = Vec::with_capacity(UPDATES_AT_ONCE);
        loop {
            tokio::select! {
                () = &mut pause => return true,
                count = self.updates.updates.recv_many(&mut taken, UPDATES_AT_ONCE) => {
                    if count == 0 {
                        return false;
                    }
                    self.take(&mut taken, report, |_| {});
                }
            }
        }
    }

    async fn converse(
        &mut self,
        mut stream: UnixStream,
        report: &mut impl FnMut(Report),
        absent: &mut bool,
        pause: &mut Duration,
    ) -> End {
        let mut reader = Reader::default();
        if let Err(why) = greet(&mut stream, &mut reader).await {
            return End::Lost(why);
        }
        report(Report::Connected);
        (*absent, *pause) = (false, PAUSE_FIRST);
        let mut agenda = Agenda::new(self.standing());
        let mut out = Vec::with_capacity(FRAME_MAX);
        Request::ListBegin.write(&mut out);
        let mut taken = Vec::with_capacity(UPDATES_AT_ONCE);
        loop {
            self.compose(&mut agenda, &mut out);
            if !out.is_empty() {
                match in_time(stream.write_all(&out)).await {
                    Ok(()) => out.clear(),
                    Err(why) => return End::Lost(why),
                }
            }
            tokio::select! {
                count = self.updates.updates.recv_many(&mut taken, UPDATES_AT_ONCE) => {
                    if count == 0 {
                        return End::Stopped;
                    }
                    let forgotten = self.take(&mut taken, report, |network| {
                        agenda.changed.insert(network);
                    });
                    if forgotten || agenda.changed.len() > self.capacity.saturating_mul(2) {
                        self.begin_list(&mut agenda, &mut out);
                    }
                }
                changed = self.enforcing.changed() => {
                    if changed.is_err() {
                        return End::Stopped;
                    }
                    self.begin_list(&mut agenda, &mut out);
                }
                readable = in_time(stream.readable()) => {
                    // the helper says how things stand every second
                    if let Err(why) = readable {
                        return End::Lost(why);
                    }
                    if let Err(why) = reader.read(&stream) {
                        return End::Lost(why);
                    }
                    if let Err(why) = agenda.hear(&mut reader, report) {
                        return End::Lost(why.to_string());
                    }
                }
            }
        }
    }

    fn begin_list(&self, agenda: &mut Agenda, out: &mut Vec<u8>) {
        agenda.list = Some(self.standing());
        agenda.changed.clear();
        Request::ListBegin.write(out);
    }

    /// Whom the kernel should drop.
    fn standing(&self) -> VecDeque<Network> {
        if *self.enforcing.borrow() { self.bans.keys().copied().collect() } else { VecDeque::new() }
    }

    /// Writes what is to be said, as far as the window has room.
    fn compose(&self, agenda: &mut Agenda, out: &mut Vec<u8>) {
        let now = (self.now)();
        let enforcing = *self.enforcing.borrow();
        while agenda.open.len() < WINDOW {
            let Some(request) = self.next_request(agenda, now, enforcing) else { return };
            request.write(out);
            agenda.open.push_back(agenda.number);
            agenda.number = agenda.number.wrapping_add(1);
        }
    }

    fn next_request(&self, agenda: &mut Agenda, now: Time, enforcing: bool) -> Option<Request> {
        let number = agenda.number;
        let ban = |network: Network| {
            let until = self.bans.get(&network).filter(|until| enforcing && **until > now)?;
            Some(Wish::Ban(Entry { network, remaining: until.since(now) }))
        };
        if let Some(list) = &mut agenda.list {
            if list.is_empty() {
                agenda.list = None;
                return Some(Request::ListEnd { number });
            }
            let part = list.drain(..list.len().min(RECORDS_MAX));
            let wishes = part.filter_map(ban).collect();
            return Some(Request::Changes { number, wishes });
        }
        if agenda.changed.is_empty() {
            return None;
        }
        let part: Vec<Network> = agenda.changed.iter().take(RECORDS_MAX).copied().collect();
        for network in &part {
            agenda.changed.remove(network);
        }
        let wishes = part.into_iter().map(|network| ban(network).unwrap_or(Wish::Lift(network)));
        Some(Request::Changes { number, wishes: wishes.collect() })
    }

    /// Takes updates into the list, and names those whose state the helper must hear of. Whether a
    /// lift got lost.
    fn take(
        &mut self,
        taken: &mut Vec<Update>,
        report: &mut impl FnMut(Report),
        mut changed: impl FnMut(Network),
    ) -> bool {
        let now = (self.now)();
        if now.since(self.forgot) >= FORGET_EVERY {
            self.forget(now);
        }
        let mut no_room = 0;
        for update in taken.drain(..) {
            match update {
                Update::Ban(network, until) => {
                    if self.bans.len() >= self.capacity && !self.bans.contains_key(&network) {
                        no_room += 1;
                        continue;
                    }
                    self.bans.insert(network, until);
                    changed(network);
                }
                Update::Lift(network) => {
                    // one that ran out ended in the kernel by itself
                    if self.bans.remove(&network).is_some_and(|until| until > now) {
                        changed(network);
                    }
                }
            }
        }
        if no_room > 0 {
            report(Report::NoRoom(no_room));
        }
        let lost = self.updates.lost.swap(false, Relaxed);
        if lost {
            self.bans.clear();
            report(Report::Forgotten);
        }
        lost
    }

    fn forget(&mut self, now: Time) {
        self.bans.retain(|_, until| *until > now);
        self.forgot = now;
    }
}

impl Agenda {
    fn new(list: VecDeque<Network>) -> Self {
        Agenda {
            list: Some(list),
            changed: HashSet::new(),
            open: VecDeque::with_capacity(WINDOW),
            number: 0,
        }
    }

    /// Takes the helper's answers.
    fn hear(
        &mut self,
        reader: &mut Reader,
        report: &mut impl FnMut(Report),
    ) -> Result<(), Malformed> {
        while let Some((answer, length)) = Answer::parse(reader.bytes())? {
            reader.consume(length);
            match answer {
                Answer::Done { number, results } => {
                    if self.open.pop_front() != Some(number) {
                        return Err(Malformed::Kind(16));
                    }
                    report(Report::Results(results));
                }
                Answer::Status(status) => report(Report::Status(status)),
                Answer::Entries(_) => {}
            }
        }
        Ok(())
    }
}

/// Both sides say who they are.
async fn greet(stream: &mut UnixStream, reader: &mut Reader) -> Result<(), String> {
    in_time(stream.write_all(&PREFACE)).await?;
    loop {
        in_time(stream.readable()).await?;
        reader.read(stream)?;
        if let Some(length) = parse_preface(reader.bytes()).map_err(|error| error.to_string())? {
            reader.consume(length);
            return Ok(());
        }
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer".into()),
    }
}

/// Bytes that were read and not used yet, at most two frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads what is there, without waiting.
    fn read(&mut self, stream: &UnixStream) -> Result<(), String> {
        let room = FRAME_MAX * 2 - self.buffer.len();
        let at = self.buffer.len();
        self.buffer.resize(at + room, 0);
        let read = stream.try_read(&mut self.buffer[at..]);
        self.buffer.truncate(at + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Err("it has closed the connection".into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    fn consume(&mut self, length: usize) {
        self.buffer.drain(..length.min(self.buffer.len()));
    }
}

#[cfg(test)]
mod tests;
