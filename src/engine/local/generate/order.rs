//! A generation that was asked for, with the channel to whoever asked.

use std::time::Instant;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use crate::domain::model::ModelRef;
use crate::engine::EngineError;
use crate::engine::generate::{GenerateRequest, GenerationEvent};
use crate::engine::local::cache::KvCache;

/// A generation in the queue, or being served.
pub(crate) struct Order {
    pub(crate) request: GenerateRequest,
    /// The model that was found under the request's name.
    pub(crate) model: ModelRef,
    pub(crate) entered: Instant,
    events: mpsc::Sender<Result<GenerationEvent, EngineError>>,
}

impl Order {
    /// The order, and the stream of its events.
    pub(crate) fn new(
        request: GenerateRequest,
        model: ModelRef,
    ) -> (Self, BoxStream<'static, Result<GenerationEvent, EngineError>>) {
        // There is room for all the events of the request, so the device never waits for a slow reader; what they hold is
        // bounded by what was asked for.
        let samples: usize = request.forks.iter().map(|fork| fork.samples.len()).sum();
        let each = if request.every_token { request.max_tokens.saturating_add(1) } else { 1 };
        let room = samples.saturating_mul(each).saturating_add(request.forks.len() + 2);
        let (events, mut receiver) = mpsc::channel(room.min(tokio::sync::Semaphore::MAX_PERMITS));
        let stream = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        (Self { request, model, entered: Instant::now(), events }, stream.boxed())
    }

    /// Sends an event; nobody may be there to read it.
    pub(crate) fn reply(&self, event: Result<GenerationEvent, EngineError>) {
        let sent = self.events.try_send(event);
        debug_assert!(!matches!(sent, Err(mpsc::error::TrySendError::Full(_))), "the channel holds all events");
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn gone(&self) -> bool {
        self.events.is_closed()
    }

    /// How much of the shared sequence the forks keep at most.
    pub(crate) fn trunk_len(&self) -> usize {
        self.request.forks.iter().map(|fork| fork.keep).max().unwrap_or(0)
    }

    /// The most bytes that the shared sequence and one of its samples take, by a cache of the model that is `empty`.
    pub(crate) fn needs(&self, empty: &impl KvCache) -> [usize; 2] {
        let forced = self.request.forks.iter().any(|fork| fork.forced.is_some());
        // A sample's first page may be a copy of a part of the shared sequence's last.
        let sample = empty.growth(self.request.max_tokens + usize::from(forced)) + empty.growth(1);
        [empty.growth(self.trunk_len()), sample]
    }
}
