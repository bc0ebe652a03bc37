//! Tells which connections have something to do, so that a wake-up costs by these and not by how
//! many there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use tokio::time::Instant;
use wire::ConnectionId;

/// Connections to look at, each at most once. The lock is never contended: the runtime that wakes
/// and the shard that looks are one thread.
#[derive(Default)]
pub(crate) struct WakeQueue(Mutex<Woken>);

#[derive(Default)]
struct Woken {
    /// With the time at which each was put here.
    connections: VecDeque<(ConnectionId, Instant)>,
    driver: Option<Waker>,
}

impl WakeQueue {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the task of `cx` woken with the next connection.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut woken = self.lock();
        if !woken.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            woken.driver = Some(cx.waker().clone());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// May name a connection that is gone.
    pub(crate) fn pop(&self) -> Option<ConnectionId> {
        self.lock().connections.pop_front().map(|(connection, _)| connection)
    }

    /// How long the next one has waited.
    pub(crate) fn waited(&self) -> Duration {
        let woken = self.lock();
        woken.connections.front().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

/// The waker of one connection.
pub(crate) struct ConnectionWake {
    id: ConnectionId,
    queued: AtomicBool,
    queue: Arc<WakeQueue>,
}

impl ConnectionWake {
    pub(crate) fn new(id: ConnectionId, queue: Arc<WakeQueue>) -> Arc<Self> {
        Arc::new(ConnectionWake { id, queued: AtomicBool::new(false), queue })
    }

    /// To be called when the connection was popped, before it is looked at: what happens from now
    /// on queues it again.
    pub(crate) fn taken(&self) {
        self.queued.store(false, std::sync::atomic::Ordering::Release);
    }
}

impl Wake for ConnectionWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, AcqRel) {
            return;
        }
        let mut woken = self.queue.lock();
        woken.connections.push_back((self.id, Instant::now()));
        let driver = woken.driver.clone();
        drop(woken);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}
