//! A job's events: those that happened, and then those that happen, until the job is over.

use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Jobs, JobsError};
use crate::analysis::{Look, Source, follow};
use crate::domain::job_event::JobEvent;

/// Events in order; ends when the job is over.
pub type JobEvents = BoxStream<'static, Result<JobEvent, JobsError>>;

/// Events that are read at once.
const PAGE: usize = 256;

impl Jobs {
    /// The events of a job from behind number `after`.
    pub async fn events(&self, id: &str, after: i64) -> Result<JobEvents, JobsError> {
        self.get(id).await?;
        let source = Source { changed: self.0.changed.clone(), stop: self.stop().clone() };
        let (jobs, id) = (self.clone(), id.to_owned());
        let look = move |after| {
            let (jobs, id) = (jobs.clone(), id.clone());
            async move {
                let over = jobs.get(&id).await?.record.state.is_over();
                let events = jobs.store().job_events(&id, after, PAGE).await?;
                Ok(Look { over, events: events.into_iter().map(|event| (event.seq, event)).collect() })
            }
        };
        Ok(follow(source, after, look).map(|event| event.map(|(_, event)| event)).boxed())
    }
}
