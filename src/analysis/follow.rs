//! Following what is told step by step and stored: what happened, and then what happens, until it is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::EngineError;

/// Between two looks at what another process may be working on.
const LOOK: Duration = Duration::from_millis(500);

/// What a look finds.
pub(crate) struct Look<E> {
    /// Whether nothing more will be told. To be read before the events are.
    pub(crate) over: bool,
    /// Events from behind the last one that was seen, with their numbers.
    pub(crate) events: Vec<(i64, E)>,
}

/// Who is followed.
pub(crate) struct Source {
    /// Rung when something is told in this process.
    pub(crate) changed: Arc<Notify>,
    /// Cancelled when the process ends: whoever follows comes back to the next one.
    pub(crate) stop: CancellationToken,
}

struct Follow<E, L> {
    source: Source,
    look: L,
    after: i64,
    ready: VecDeque<(i64, E)>,
    /// It was over at the last look.
    over: bool,
}

/// The events from behind number `after`; ends when all is told.
pub(crate) fn follow<E, X, L, F>(source: Source, after: i64, look: L) -> BoxStream<'static, Result<(i64, E), X>>
where
    E: Send + 'static,
    X: From<EngineError> + Send + 'static,
    L: Fn(i64) -> F + Send + 'static,
    F: Future<Output = Result<Look<E>, X>> + Send + 'static,
{
    let follow = Follow { source, look, after, ready: VecDeque::new(), over: false };
    stream::try_unfold(follow, next).boxed()
}

/// The next event, and the state after it.
async fn next<E, X, L, F>(mut follow: Follow<E, L>) -> Result<Option<((i64, E), Follow<E, L>)>, X>
where
    X: From<EngineError>,
    L: Fn(i64) -> F,
    F: Future<Output = Result<Look<E>, X>>,
{
    loop {
        if let Some(event) = follow.ready.pop_front() {
            follow.after = event.0;
            return Ok(Some((event, follow)));
        }
        // Enabled before the look, so that nothing that happens in between is slept through.
        let bell = follow.source.changed.clone();
        let mut changed = std::pin::pin!(bell.notified());
        changed.as_mut().enable();
        let was_over = follow.over;
        let found = (follow.look)(follow.after).await?;
        follow.over = found.over;
        follow.ready = found.events.into();
        if !follow.ready.is_empty() {
            continue;
        }
        // The last word may be told right after the end is: one more look finds it.
        if follow.over && was_over {
            return Ok(None);
        }
        let patience = if follow.over { LOOK / 10 } else { LOOK };
        tokio::select! {
            () = follow.source.stop.cancelled() => return Err(EngineError::ShuttingDown.into()),
            () = changed => {}
            () = tokio::time::sleep(patience) => {}
        }
    }
}
