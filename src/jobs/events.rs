//! A job's events: those that happened, and then those that happen, until the job is over.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{Jobs, JobsError};
use crate::domain::job_event::JobEvent;
use crate::engine::EngineError;

/// Events in order; ends when the job is over.
pub type JobEvents = BoxStream<'static, Result<JobEvent, JobsError>>;

/// Events that are read at once.
const PAGE: usize = 256;
/// Between two looks at a job that another process may be working on.
const LOOK: Duration = Duration::from_millis(500);

struct Follow {
    jobs: Jobs,
    id: String,
    after: i64,
    ready: VecDeque<JobEvent>,
    /// The job was over at the last look.
    over: bool,
}

impl Jobs {
    /// The events of a job from behind number `after`.
    pub async fn events(&self, id: &str, after: i64) -> Result<JobEvents, JobsError> {
        self.get(id).await?;
        let (jobs, id) = (self.clone(), id.to_owned());
        let follow = Follow { jobs, id, after, ready: VecDeque::new(), over: false };
        Ok(stream::try_unfold(follow, Follow::next).boxed())
    }
}

impl Follow {
    async fn next(mut self) -> Result<Option<(JobEvent, Self)>, JobsError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.seq;
                return Ok(Some((event, self)));
            }
            // Enabled before the look, so that nothing that happens in between is slept through.
            let jobs = self.jobs.clone();
            let mut changed = std::pin::pin!(jobs.0.changed.notified());
            changed.as_mut().enable();
            // The state first: what was told before the job was over is there at the look that follows.
            let was_over = self.over;
            self.over = self.jobs.get(&self.id).await?.record.state.is_over();
            self.ready = self.jobs.store().job_events(&self.id, self.after, PAGE).await?.into();
            if !self.ready.is_empty() {
                continue;
            }
            // A cancellation is told right after the state is set: one more look finds it.
            if self.over && was_over {
                return Ok(None);
            }
            let patience = if self.over { LOOK / 10 } else { LOOK };
            tokio::select! {
                // A job may go on for hours: whoever follows it comes back to the next process.
                () = jobs.stop().cancelled() => return Err(EngineError::ShuttingDown.into()),
                () = changed => {}
                () = tokio::time::sleep(patience) => {}
            }
        }
    }
}
