//! One shard: an engine, its sockets, and the loop between them.
//!
//! A wake-up is: read the clock once; give the engine what came, up to the budgets of the mailbox
//! and of the transport; after each stimulus fetch all outputs; let due deadlines fire; flush the
//! sockets; publish the counters. Nothing in here waits but the one `select!` at its top.

use crate::clock::Clock;
use crate::feeds::Crowd;
use crate::kernel::Kernel;
use crate::memory::Remembrance;
use crate::mesh::{Letter, Look, Mailbox, Mesh, Order};
use crate::news::{News, Newsroom};
use crate::reports::Reporter;
use policy::{Policy, Time};
use proxy::{Engine, Input, Learned, Output};
use state::Writer;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{HandOver, ShardMetrics};
use tokio::sync::mpsc;
use transport::{Peers, Settings, Shard, Sockets};

/// Letters of other shards taken per wake-up, before the sockets have their turn.
const LETTERS_PER_WAKEUP: usize = 64;
/// How old the published sizes of tables may be while something happens.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// What a shard's thread starts from.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) house: House,
    pub(crate) sockets: Sockets,
    pub(crate) seed: [u8; 32],
    pub(crate) mesh: Mesh,
    pub(crate) mailbox: Mailbox,
    pub(crate) remembrance: Remembrance,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) reporter: Reporter,
}

/// What all shards have in common.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub(crate) settings: Settings,
    pub(crate) peers: Arc<Peers>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) shards: u8,
    pub(crate) secret: [u8; 32],
    pub(crate) clock: Clock,
    pub(crate) kernel: Kernel,
    pub(crate) crowd: Crowd,
    pub(crate) telemetry: Arc<telemetry::Telemetry>,
    pub(crate) news: Newsroom,
    /// What is known of names and PBXs.
    pub(crate) learned: Arc<Vec<Learned>>,
    /// Told once by each shard, when it is ready to serve.
    pub(crate) ready: mpsc::Sender<std::io::Result<()>>,
}

/// Runs a shard on the calling thread until it is ordered to stop.
pub(crate) fn run(seat: Seat) {
    let ready = seat.house.ready.clone();
    let served = transport::runtime().and_then(|runtime| {
        // A task, not the runtime's main future: that one is woken through an eventfd, with a system
        // call each time; a task by its place in a queue.
        runtime.block_on(async {
            let driver = Driver::new(seat)?;
            tokio::spawn(driver.serve()).await.map_err(std::io::Error::other)
        })
    });
    if let Err(error) = served {
        // Only the start can fail; the control thread waits for it.
        let _ = ready.try_send(Err(error));
    }
}

struct Driver {
    engine: Engine,
    sockets: Shard,
    clock: Clock,
    mailbox: Mailbox,
    outlets: Outlets,
    published: Time,
    stale: bool,
    draining: bool,
    stopping: bool,
}

impl Driver {
    fn new(seat: Seat) -> std::io::Result<Self> {
        let house = seat.house;
        let now = house.clock.now();
        let shard = seat.sockets.shard();
        let sockets = Shard::new(&house.settings, seat.sockets, house.peers)?;
        let counters = sockets.counters().clone();
        house.telemetry.watch_transport(Box::new(move |visit| counters.each(visit)));
        let policy = house.policy.clone();
        let engine = Engine::new(house.policy, shard, house.shards, house.secret, seat.seed);
        seat.metrics.on_policy(&policy);
        let mut driver = Driver {
            engine,
            sockets,
            clock: house.clock,
            mailbox: seat.mailbox,
            outlets: Outlets {
                mesh: seat.mesh,
                kernel: house.kernel,
                crowd: house.crowd,
                writer: seat.remembrance.writer,
                metrics: seat.metrics,
                news: house.news,
                reporter: seat.reporter,
                policy,
            },
            published: now,
            stale: false,
            draining: false,
            stopping: false,
        };
        for learned in house.learned.iter().cloned() {
            driver.engine.handle_input(now, Input::Learned(learned));
            driver.fetch(now);
        }
        for memory in seat.remembrance.recalled {
            driver.engine.handle_input(now, Input::Recall(&memory));
            driver.fetch(now);
        }
        driver.publish(now);
        let _ = house.ready.try_send(Ok(()));
        Ok(driver)
    }

    async fn serve(mut self) {
        let sleep = tokio::time::sleep_until(self.clock.instant(Time::FOREVER));
        tokio::pin!(sleep);
        let mut armed = Time::FOREVER;
        while !self.stopping {
            let due = self.due();
            if due < armed {
                // A later deadline leaves the timer as it is: an early wake-up is cheaper than
                // moving the timer with every message.
                sleep.as_mut().reset(self.clock.instant(due));
                armed = due;
            }
            let mut letter = None;
            let mut order = None;
            // In no fixed order: a busy neighbour must not keep the sockets waiting.
            tokio::select! {
                some = self.mailbox.orders.recv() => order = some.or(Some(Order::Stop)),
                () = &mut sleep, if armed < Time::FOREVER => armed = Time::FOREVER,
                some = self.mailbox.letters.recv() => letter = some,
                () = self.sockets.ready(|source| self.engine.knows(source)) => {}
            }
            self.wake(order, letter);
        }
    }

    /// When something must be done even if nothing comes.
    fn due(&self) -> Time {
        let publish = if self.stale { self.published + PUBLISH_EVERY } else { Time::FOREVER };
        self.engine.poll_timeout().unwrap_or(Time::FOREVER).min(publish)
    }

    fn wake(&mut self, order: Option<Order>, letter: Option<Letter>) {
        let now = self.clock.now();
        self.engine.handle_input(now, Input::Round { waited: self.sockets.waited() });
        let mut inputs = self.take_letters(now, letter);
        while let Some(input) = self.sockets.next_input() {
            self.engine.handle_input(now, input);
            inputs += 1;
            self.outlets.drain(now, &mut self.engine, &mut self.sockets);
        }
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
            inputs += 1;
            self.fetch(now);
        }
        if let Some(order) = order {
            self.follow(now, order);
        }
        self.sockets.flush();
        self.outlets.metrics.on_flush(|| self.clock.now().since(now));
        self.outlets.metrics.on_wakeup(inputs);
        self.stale |= inputs > 0;
        if self.stale && (self.draining || now.since(self.published) >= PUBLISH_EVERY) {
            self.publish(now);
        }
    }

    fn take_letters(&mut self, now: Time, first: Option<Letter>) -> u64 {
        let mut taken = 0;
        let mut next = first;
        while let Some(letter) = next {
            self.engine.handle_input(now, letter.open());
            self.fetch(now);
            taken += 1;
            next = match taken {
                LETTERS_PER_WAKEUP.. => None,
                _ => self.mailbox.letters.try_recv().ok(),
            };
        }
        taken as u64
    }

    fn follow(&mut self, now: Time, order: Order) {
        match order {
            Order::Configure(policy) => {
                // what was counted so far was counted under the old names
                self.publish(now);
                self.outlets.policy = policy.clone();
                self.outlets.reporter.configure(policy.clone());
                self.engine.handle_input(now, Input::Configure(policy));
                self.outlets.metrics.on_policy(&self.outlets.policy);
                self.fetch(now);
                self.publish(now);
            }
            Order::ListenInside(listener) => {
                if let Err(error) = self.sockets.listen_inside(listener) {
                    tracing::error!(%error, "PBXs cannot open connections to a shard");
                }
            }
            Order::Drain(done) => {
                self.engine.handle_input(now, Input::Drain);
                self.fetch(now);
                self.draining = true;
                self.publish(now);
                // Who asked may have gone on without us.
                let _ = done.send(());
            }
            Order::Beat(alive) => {
                let _ = alive.send(());
            }
            Order::Learn(learned) => self.learn(now, Learned::Gate(learned)),
            Order::Reach { host, targets } => self.learn(now, Learned::Targets { host, targets }),
            Order::DrainPbx { pbx, drained } => self.learn(now, Learned::Drained { pbx, drained }),
            Order::Look(Look(look)) => look(now, &self.engine),
            Order::Stop => self.stopping = true,
        }
    }

    fn learn(&mut self, now: Time, learned: Learned) {
        self.engine.handle_input(now, Input::Learned(learned));
        self.fetch(now);
        self.publish(now);
    }

    fn fetch(&mut self, now: Time) {
        self.outlets.drain(now, &mut self.engine, &mut self.sockets);
    }

    fn publish(&mut self, now: Time) {
        self.outlets.metrics.on_snapshot(&self.engine.snapshot());
        self.outlets.metrics.on_counts(self.engine.gate_counts());
        self.outlets.metrics.on_pbxs(&self.outlets.policy, self.engine.pbx_states());
        self.outlets.metrics.on_trunks(self.engine.trunk_states());
        self.published = now;
        self.stale = false;
    }
}

/// Where outputs go besides the sockets.
struct Outlets {
    mesh: Mesh,
    kernel: Kernel,
    crowd: Crowd,
    writer: Writer,
    metrics: Arc<ShardMetrics>,
    news: Newsroom,
    reporter: Reporter,
    policy: Arc<Policy>,
}

impl Outlets {
    /// Fetches all outputs of the engine. A matter of the driver's parts, because the bytes of the
    /// stimulus may still be borrowed from the sockets' owner.
    fn drain(&mut self, now: Time, engine: &mut Engine, sockets: &mut Shard) {
        let Outlets { mesh, kernel, crowd, writer, metrics, news, reporter, policy } = self;
        while let Some(output) = engine.poll_output() {
            let Some(output) = sockets.send(output) else { continue };
            match output {
                Output::Event(event) => {
                    metrics.on_event(&event);
                    reporter.on_event(now, &event, engine);
                    tracing::trace!(?event, "Decided");
                }
                Output::HandOver { shard, side, flow, bytes } => {
                    let sent =
                        mesh.send(shard, Letter::HandOver { side, flow, bytes: bytes.into() });
                    metrics.on_hand_over(told(sent));
                }
                Output::Learned(learned) => {
                    for shard in mesh.others() {
                        let sent = mesh.send(shard, Letter::Learned(learned.clone()));
                        metrics.on_learned(told(sent));
                    }
                }
                Output::Ban(ban) => {
                    kernel.on_ban(&ban);
                    crowd.on_ban(&ban);
                    metrics.on_ban(&ban);
                    telemetry::log::ban(&ban);
                    reporter.on_ban(now, &ban);
                    news.say(|| News::Ban(ban));
                }
                Output::Lift(lift) => {
                    kernel.on_lift(&lift);
                    metrics.on_lift(&lift);
                    telemetry::log::lift(&lift);
                    reporter.on_lift(now, &lift);
                    news.say(|| News::Lift(lift));
                }
                Output::Evidence(source, record) => reporter.on_evidence(now, source, record),
                Output::Alert(alert) => {
                    reporter.on_alert(now, &alert);
                    telemetry::log::alert(&alert, policy);
                    news.say(|| News::Alert(alert));
                }
                Output::Recalled(ban) => {
                    kernel.on_ban(&ban);
                    metrics.on_ban(&ban);
                }
                Output::Remember(memory) => writer.remember(mesh.own(), memory),
                Output::Datagram { .. }
                | Output::Stream { .. }
                | Output::Connect { .. }
                | Output::Registered { .. }
                | Output::Close { .. } => {
                    // The transport takes these; one that it gives back has no socket any more.
                }
            }
        }
    }
}

fn told(sent: bool) -> HandOver {
    if sent { HandOver::Sent } else { HandOver::Dropped }
}
