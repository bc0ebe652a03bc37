//! What the helper does about what it hears: pure of sockets, but for the kernel's set.

use enforce::frame::{Answer, RECORDS_MAX, Request, Results, Status, Wish};
use enforce::{Book, Change, DropSet, DropSetError, Entry, Flows, Refusal};
use policy::{Network, Time};
use std::net::IpAddr;
use std::time::Duration;
use tracing::{error, info, warn};

/// One connection of many.
pub(crate) type Caller = u64;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// Changes from somebody who never sent a full list, or whose place another took.
    NotTheWriter,
}

/// The book, and the kernel that follows it.
#[derive(Debug)]
pub(crate) struct Core<D> {
    book: Book,
    set: D,
    flows: Option<Flows>,
    /// Whose word holds: the last one who began a full list.
    writer: Option<Caller>,
    repairs: u64,
    /// What was dropped before the table was last made.
    dropped: [u64; 4],
    /// What the table says now.
    counted: [u64; 4],
    /// The kernel did not follow: it is told everything anew until it does. Logged once.
    broken: bool,
    /// When it is told everything anew, if it did not follow.
    again: Time,
}

/// Between two tries to tell a kernel everything that does not follow.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

impl<D: DropSet> Core<D> {
    /// Takes up what a former run left in the kernel, and puts it there anew, in one transaction.
    pub(crate) fn start(
        now: Time,
        mut book: Book,
        mut set: D,
        flows: Option<Flows>,
    ) -> Result<Self, DropSetError> {
        let found = match set.entries() {
            Ok(found) => found,
            Err(DropSetError::Absent) => Vec::new(),
            Err(error) => return Err(error),
        };
        let (found, adopted) = (found.len(), book.adopt(now, found));
        if found > 0 {
            info!(found, adopted, "Took up what a former run left in the kernel");
        }
        set.restore(&book.restore(now))?;
        let (dropped, counted) = ([0; 4], [0; 4]);
        Ok(Core {
            book,
            set,
            flows,
            writer: None,
            repairs: 0,
            dropped,
            counted,
            broken: false,
            again: now,
        })
    }

    /// Other rules: what may be dropped, and whom nothing bans.
    pub(crate) fn configure(&mut self, now: Time, change: impl FnOnce(&mut Book, &mut D)) {
        change(&mut self.book, &mut self.set);
        self.renew(now);
    }

    /// Another thread for the flows; the old one ends.
    pub(crate) fn set_flows(&mut self, flows: Flows) {
        self.flows = Some(flows);
    }

    /// Does what a caller wants.
    pub(crate) fn on_request(
        &mut self,
        now: Time,
        caller: Caller,
        request: Request,
    ) -> Result<Vec<Answer>, Offence> {
        match request {
            Request::ListBegin => {
                self.writer = Some(caller);
                self.book.begin_list();
                Ok(Vec::new())
            }
            Request::Changes { number, wishes } => {
                self.allow(caller)?;
                Ok(vec![Answer::Done { number, results: self.on_wishes(now, &wishes) }])
            }
            Request::ListEnd { number } => {
                self.allow(caller)?;
                self.book.end_list();
                let results = self.follow(now, Results::default());
                let entries: u64 = self.book.counts().iter().sum();
                info!(entries, "The edge has sent its full list");
                Ok(vec![Answer::Done { number, results }])
            }
            Request::Ask => {
                let entries: Vec<Entry> = self.book.iter(now).collect();
                let mut answers: Vec<Answer> =
                    entries.chunks(RECORDS_MAX).map(|part| Answer::Entries(part.into())).collect();
                answers.push(Answer::Status(self.status()));
                Ok(answers)
            }
        }
    }

    /// Whether it is this caller whose word holds.
    pub(crate) fn is_writer(&self, caller: Caller) -> bool {
        self.writer == Some(caller)
    }

    /// A caller has gone. Bans stay: the edge comes back, or they run out.
    pub(crate) fn on_gone(&mut self, caller: Caller) {
        if self.is_writer(caller) {
            self.writer = None;
            self.book.forget_list();
        }
    }

    /// What is due without anybody asking: bans that ran out, a kernel that somebody cleared.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.book.handle_timeout(now);
        match self.set.is_intact() {
            Ok(_) if self.broken && now < self.again => {}
            Ok(true) if self.broken => {
                self.renew(now);
            }
            Ok(true) => drop(self.follow(now, Results::default())),
            Ok(false) => {
                self.repairs += 1;
                warn!("Somebody has taken our table out of the kernel: it is put there again");
                self.renew(now);
            }
            Err(error) => self.fail(now, &error),
        }
    }

    /// The addresses that this machine has now.
    pub(crate) fn set_own_addresses(&mut self, now: Time, addresses: Vec<IpAddr>) {
        self.book.set_own_addresses(addresses);
        self.follow(now, Results::default());
    }

    /// How things stand.
    pub(crate) fn status(&mut self) -> Status {
        if let Ok(counted) = self.set.dropped() {
            self.counted = counted;
        }
        let dropped = std::array::from_fn(|at| self.dropped[at] + self.counted[at]);
        Status { entries: self.book.counts(), dropped, repairs: self.repairs }
    }

    /// Takes everything out of the kernel.
    pub(crate) fn remove(&mut self) -> Result<(), DropSetError> {
        self.set.remove()
    }

    fn allow(&self, caller: Caller) -> Result<(), Offence> {
        if self.is_writer(caller) { Ok(()) } else { Err(Offence::NotTheWriter) }
    }

    fn on_wishes(&mut self, now: Time, wishes: &[Wish]) -> Results {
        let mut results = Results::default();
        for wish in wishes {
            match *wish {
                Wish::Lift(network) => self.book.lift(network),
                Wish::Ban(entry) => match self.book.ban(now, entry) {
                    Ok(()) => {}
                    Err(Refusal::Full) => results.full += 1,
                    Err(why @ (Refusal::Exempt | Refusal::TooWide)) => {
                        results.refused += 1;
                        // once a request: whoever commands us may be anybody by now
                        if results.refused == 1 {
                            warn!(network = %entry.network, %why, "A ban is refused");
                        }
                    }
                },
            }
        }
        let taken = wishes.len() - (results.full + results.refused) as usize;
        results.applied = u32::try_from(taken).unwrap_or(u32::MAX);
        self.follow(now, results)
    }

    /// Tells the kernel what it does not know yet. What it refuses was not applied.
    fn follow(&mut self, now: Time, mut results: Results) -> Results {
        let changes = self.book.changes(now);
        if changes.is_empty() {
            return results;
        }
        match self.set.apply(&changes) {
            Ok(applied) => {
                self.broken = false;
                let failed = u32::try_from(applied.failed).unwrap_or(u32::MAX);
                results.failed = failed;
                results.applied = results.applied.saturating_sub(failed);
                self.end_flows(&changes);
            }
            Err(DropSetError::Absent) => {
                self.repairs += 1;
                warn!("Somebody has taken our table out of the kernel: it is put there again");
                if self.renew(now) {
                    self.end_flows(&changes);
                } else {
                    results = Results { failed: results.applied, applied: 0, ..results };
                }
            }
            Err(error) => {
                self.fail(now, &error);
                results = Results { failed: results.applied, applied: 0, ..results };
            }
        }
        results
    }

    /// Makes the table anew. What was counted so far is kept.
    fn renew(&mut self, now: Time) -> bool {
        // a table that is gone counts nothing any more: then the last look holds
        if let Ok(counted) = self.set.dropped() {
            self.counted = std::array::from_fn(|at| counted[at].max(self.counted[at]));
        }
        match self.set.restore(&self.book.restore(now)) {
            Ok(()) => {
                for (dropped, counted) in self.dropped.iter_mut().zip(&mut self.counted) {
                    *dropped += std::mem::take(counted);
                }
                self.broken = false;
                true
            }
            Err(error) => {
                self.fail(now, &error);
                false
            }
        }
    }

    fn end_flows(&self, changes: &[Change]) {
        let Some(flows) = &self.flows else { return };
        let banned: Vec<Network> = changes
            .iter()
            .filter(|change| !matches!(change, Change::Remove(_)))
            .map(Change::network)
            .collect();
        if !banned.is_empty() {
            flows.end(banned);
        }
    }

    fn fail(&mut self, now: Time, why: &DropSetError) {
        self.again = now + AGAIN_AFTER;
        if !std::mem::replace(&mut self.broken, true) {
            error!(%why, "The kernel's sets cannot be kept; bans hold in user space");
        }
    }
}

#[cfg(test)]
mod tests;
