//! What shards and the control thread tell whoever follows the event stream.

use admission::{Alert, Ban, Lift};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast;

/// News that may wait for the slowest reader; the oldest are lost to it beyond that.
const NEWS: usize = 1_024;

/// A piece of news.
#[derive(Debug)]
pub(crate) enum News {
    Ban(Box<Ban>),
    Lift(Lift),
    Alert(Alert),
    /// Something of the control thread's, by its name.
    Control(&'static str, Value),
}

/// Where news are told. Telling never waits.
#[derive(Clone, Debug)]
pub(crate) struct Newsroom(broadcast::Sender<Arc<News>>);

impl Newsroom {
    pub(crate) fn new() -> Self {
        Newsroom(broadcast::Sender::new(NEWS))
    }

    /// Tells what `news` makes, if anybody listens.
    pub(crate) fn say(&self, news: impl FnOnce() -> News) {
        if self.readers() > 0 {
            // The last reader may just have gone.
            let _ = self.0.send(Arc::new(news()));
        }
    }

    pub(crate) fn readers(&self) -> usize {
        self.0.receiver_count()
    }

    pub(crate) fn read(&self) -> broadcast::Receiver<Arc<News>> {
        self.0.subscribe()
    }
}
