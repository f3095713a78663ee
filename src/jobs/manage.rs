//! Jobs that are stored: look at them, end them, take them up again.

use super::{Jobs, JobsError, Missing, unix_seconds};
use crate::domain::job::{JobRecord, JobState, Progress};
use crate::store::{JobFilter, JobPage, Page, StoredJob};

impl Jobs {
    pub async fn get(&self, id: &str) -> Result<StoredJob, JobsError> {
        let missing = || JobsError::NotFound { what: Missing::Job, id: id.to_owned() };
        self.store().job(id).await?.ok_or_else(missing)
    }

    /// A page of the jobs, newest first.
    pub async fn list(&self, filter: JobFilter, page: Page) -> Result<JobPage, JobsError> {
        Ok(self.store().jobs(filter, &page).await?)
    }

    /// Ends a job. One that waits is cancelled at once; one that runs, within its step, and the record that comes back is
    /// as it was. To cancel one that is cancelled changes nothing.
    pub async fn cancel(&self, id: &str) -> Result<StoredJob, JobsError> {
        loop {
            let job = self.get(id).await?;
            let state = job.record.state;
            match state {
                JobState::Cancelled => return Ok(job),
                JobState::Succeeded | JobState::Failed => return Err(conflict(&job.record, "cancelled")),
                JobState::ValidatingFiles | JobState::Queued | JobState::Running => {}
            }
            if self.store().ask_for_end(id).await? {
                self.interrupt(id);
                return self.get(id).await;
            }
            // Nobody holds it: it waits, or its worker is gone.
            let mut record = job.record;
            record.state = JobState::Cancelled;
            record.finished = Some(unix_seconds());
            let held_in = [state, JobState::Running];
            for from in held_in {
                if self.store().move_job(from, &record).await? {
                    self.tell_state(&record).await?;
                    return self.get(id).await;
                }
            }
        }
    }

    /// Takes up a job that failed or was cancelled, to go on from what it has done.
    pub async fn resume(&self, id: &str) -> Result<StoredJob, JobsError> {
        loop {
            let job = self.get(id).await?;
            let from = job.record.state;
            if !job.record.resumable() {
                return Err(conflict(&job.record, "resumed"));
            }
            let mut record = job.record;
            record.state = JobState::ValidatingFiles;
            record.finished = None;
            record.error = None;
            record.interruptions = 0;
            record.step = Progress::default();
            record.remaining_seconds = None;
            if self.store().move_job(from, &record).await? {
                self.tell_state(&record).await?;
                return self.get(id).await;
            }
        }
    }
}

fn conflict(record: &JobRecord, wanted: &'static str) -> JobsError {
    JobsError::Conflict { id: record.id.clone(), state: record.state, wanted }
}
