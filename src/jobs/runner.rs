//! The worker: checks the files of new jobs, and runs the oldest that waits, one at a time.
//!
//! Both go on until the process ends. A job that runs then is let go of as it is, for the next process to go on with.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::config::JobConfig;
use super::error::StageError;
use super::plan::stages;
use super::stages as stage_work;
use super::submit::look_through;
use super::work::Work;
use super::{Jobs, off_the_reactor, unix_seconds};
use crate::domain::job::{JobFailure, JobRecord, JobStage, JobState};
use crate::domain::job_event::JobEventBody;
use crate::store::{Claim, StoreError, StoredJob};

/// Between two looks for work that another process may have stored.
const LOOK: Duration = Duration::from_secs(1);
/// Between two renewals of a lease.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long renewals may fail before the work stops by itself: well before another may take it over.
const FAILING: Duration = Duration::from_secs(9);

/// How often a job is taken up again after the process that ran it ended, without anything new done in between. A job that
/// ends the process would do so for ever.
const INTERRUPTIONS: u32 = 8;

/// Works until the process ends.
pub async fn run(jobs: Jobs) {
    match jobs.store().sweep().await {
        Ok(0) => {}
        Ok(uploads) => tracing::info!(uploads, "uploads that were cut off were removed"),
        Err(error) => tracing::warn!(%error, "uploads that were cut off were not removed"),
    }
    tokio::join!(work_on(&jobs, Claim::Check), work_on(&jobs, Claim::Run));
}

async fn work_on(jobs: &Jobs, claim: Claim) {
    let stop = jobs.stop();
    while !stop.is_cancelled() {
        let mut changed = std::pin::pin!(jobs.0.changed.notified());
        changed.as_mut().enable();
        let claimed = match jobs.store().claim_job(claim, jobs.lease()).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::error!(%error, "no job could be claimed");
                None
            }
        };
        match claimed {
            Some(job) => work_through(jobs, claim, job).await,
            None => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = changed => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    }
}

/// Works on a job that is held, and lets go of it.
async fn work_through(jobs: &Jobs, claim: Claim, job: StoredJob) {
    let id = job.record.id.clone();
    // A child: the end of the process ends the job's work, and the end of the job nothing else.
    let cancel = jobs.stop().child_token();
    jobs.hold(&id, cancel.clone());
    let heart = tokio::spawn(beat(jobs.clone(), id.clone(), cancel.clone()));
    let task = {
        let jobs = jobs.clone();
        tokio::spawn(async move {
            match claim {
                Claim::Check => check(jobs, job, cancel).await,
                Claim::Run => execute(jobs, job, cancel).await,
            }
        })
    };
    let outcome = match task.await {
        Ok(outcome) => outcome,
        Err(panic) => fail_panicked(jobs, &id, &panic).await,
    };
    heart.abort();
    jobs.let_go(&id);
    match outcome {
        Ok(()) => {}
        Err(StoreError::LeaseLost { id }) => tracing::warn!(id, "another worker has taken over the job"),
        // The lease runs out, and the job is taken up again.
        Err(error) => {
            tracing::error!(%error, id, "a job's end could not be stored");
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
    jobs.announce();
}

/// Renews the lease, and listens for cancellations that came to another process.
async fn beat(jobs: Jobs, id: String, cancel: CancellationToken) {
    let mut renewed = Instant::now();
    loop {
        match jobs.store().renew_lease(&id, jobs.lease()).await {
            Ok(false) => renewed = Instant::now(),
            Ok(true) | Err(StoreError::LeaseLost { id: _ }) => cancel.cancel(),
            Err(error) => {
                tracing::warn!(%error, id, "a job's lease was not renewed");
                if renewed.elapsed() > FAILING {
                    cancel.cancel();
                }
            }
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// Looks through the files of a new job.
async fn check(jobs: Jobs, job: StoredJob, cancel: CancellationToken) -> Result<(), StoreError> {
    let mut record = job.record.clone();
    record.state = JobState::ValidatingFiles;
    // As for running: rows that do not fit into memory would end every process that takes the job up.
    let interrupted = too_often_interrupted(&record);
    record.interruptions += 1;
    jobs.store().save_job(&record, jobs.lease()).await?;
    let looked = match interrupted.and_then(|()| same_base(&jobs, &record)).and_then(|()| config_of(&job)) {
        Ok(config) => {
            let folder = jobs.store().job_folder(&record.id);
            let (engine, stages) = (jobs.engine().clone(), stages(&record.id, &config, &folder));
            let end = cancel.clone();
            let looked = off_the_reactor(move || look_through(&*engine, stages, (&folder, None), &end)).await;
            looked.map_err(StageError::from).and_then(|looked| looked)
        }
        Err(error) => Err(error),
    };
    let outcome = if cancel.is_cancelled() { Err(StageError::Cancelled) } else { looked };
    match outcome {
        Ok((_, dropped)) => {
            record.state = JobState::Queued;
            record.interruptions = 0;
            record.dropped.clear();
            for row in dropped {
                *record.dropped.entry(row.reason.name().to_owned()).or_default() += 1;
            }
        }
        // The next process begins the check again.
        Err(StageError::Cancelled) if jobs.stop().is_cancelled() => record.interruptions = job.record.interruptions,
        Err(StageError::Cancelled) => end(&mut record, JobState::Cancelled, None),
        Err(StageError::Failed(failure)) => end(&mut record, JobState::Failed, Some(failure)),
    }
    // Whoever has lost the job has nothing to tell of it.
    jobs.store().renew_lease(&record.id, jobs.lease()).await?;
    if record.state != JobState::ValidatingFiles {
        jobs.tell_state(&record).await?;
    }
    jobs.store().release_job(&record, jobs.lease()).await
}

/// Runs a job's stages.
async fn execute(jobs: Jobs, job: StoredJob, cancel: CancellationToken) -> Result<(), StoreError> {
    let id = job.record.id.clone();
    let mut work = Work::new(jobs.clone(), job.record.clone(), cancel);
    // Counted before the work begins: whatever ends the process has no time to.
    work.record.interruptions += u32::from(job.record.state == JobState::Running);
    work.record.state = JobState::Running;
    work.record.started = work.record.started.or(Some(unix_seconds()));
    let folder = work.folder().clone();
    let (reserving, giving) = (folder.clone(), folder);
    let reserved = off_the_reactor(move || reserving.reserve()).await;
    if let Ok(Err(error)) = &reserved {
        tracing::warn!(%error, id, "no room is kept for the job's end");
    }
    let outcome = run_stages(&mut work, &job).await;
    // Whatever the disk is full of, there is room now to say so.
    if let Ok(Err(error)) = off_the_reactor(move || giving.unreserve()).await {
        tracing::warn!(%error, id, "the room that was kept for the job's end is not given back");
    }
    match outcome {
        Ok(()) => end(&mut work.record, JobState::Succeeded, None),
        // It stays `running`, and nobody holds it: whoever comes next goes on.
        Err(StageError::Cancelled) if jobs.stop().is_cancelled() => {
            tracing::info!(id, "the job is left for the next process");
            // This was no interruption, and may have come after others that were made up for.
            work.record.interruptions = work.record.interruptions.min(job.record.interruptions);
            return jobs.store().release_job(&work.record, jobs.lease()).await;
        }
        Err(StageError::Cancelled) => end(&mut work.record, JobState::Cancelled, None),
        Err(StageError::Failed(failure)) => {
            tracing::warn!(id, code = failure.code, message = failure.message, "a job failed");
            end(&mut work.record, JobState::Failed, Some(failure));
        }
    }
    work.record.remaining_seconds = None;
    // Whoever has lost the job has nothing to tell of it.
    jobs.store().renew_lease(&id, jobs.lease()).await?;
    // Told first, so that whoever sees the job's end has seen all of its events. A disk too full to tell it can still
    // hold the record, which is no longer than before.
    if let Err(error) = jobs.tell_state(&work.record).await {
        tracing::warn!(%error, id, "a job's end was not told");
    }
    jobs.store().release_job(&work.record, jobs.lease()).await
}

async fn run_stages(work: &mut Work, job: &StoredJob) -> Result<(), StageError> {
    same_base(work.jobs(), &job.record)?;
    too_often_interrupted(&work.record)?;
    work.save().await?;
    let state = work.record.state;
    work.tell(JobEventBody::State { state, error: None }).await?;
    let config = config_of(job)?;
    let stages = stages(&job.record.id, &config, work.folder());
    let total = stages.len();
    for (index, stage) in stages.iter().enumerate() {
        let done = work.folder().done(stage.name);
        if done.exists() {
            continue;
        }
        if work.cancelled().is_cancelled() {
            return Err(StageError::Cancelled);
        }
        work.enter(JobStage { name: stage.name.to_owned(), index, total }).await?;
        let outcome = stage_work::run(work, stage).await;
        // The curves of a run that ended early are worth as much.
        let written = work.write_metrics().await;
        outcome?;
        written?;
        let mark = off_the_reactor(move || stage_work::write_bytes(&done, b"")).await;
        mark.map_err(StageError::from)??;
        work.clear_checkpoint(stage.name).await;
        work.record.interruptions = 0;
        work.save().await?;
    }
    Ok(())
}

/// Refuses to go on with a job over another base than it was submitted for: its rows and its numbers would mix two models.
fn same_base(jobs: &Jobs, record: &JobRecord) -> Result<(), StageError> {
    let served = jobs.engine().models().into_iter().next();
    match served {
        Some(base) if base.sha256 == record.base_model.sha256 => Ok(()),
        Some(_) | None => {
            let id = &record.base_model.id;
            let message =
                format!("the job is for the base {id:?}, and this process serves another: serve that, and resume");
            Err(StageError::failed("model_mismatch", message))
        }
    }
}

/// Refuses a job whose every attempt ended with its process.
fn too_often_interrupted(record: &JobRecord) -> Result<(), StageError> {
    let times = record.interruptions;
    if times <= INTERRUPTIONS {
        return Ok(());
    }
    let message = format!(
        "the process ended {times} times while it worked on the job, and nothing new was done in between: it may need \
         more memory than there is, and the server's log may say more; resume the job to try again"
    );
    Err(StageError::failed("interrupted", message))
}

fn config_of(job: &StoredJob) -> Result<JobConfig, StageError> {
    let given = serde_json::from_str(&job.config).map_err(|error| StageError::internal(&error))?;
    JobConfig::parse(job.record.kind, given).map_err(|error| {
        // A newer version may know other settings than the one that took the job.
        StageError::failed("invalid_value", format!("{}: {}", error.param, error.message))
    })
}

fn end(record: &mut JobRecord, state: JobState, error: Option<JobFailure>) {
    record.state = state;
    record.error = error;
    record.finished = Some(unix_seconds());
}

async fn fail_panicked(jobs: &Jobs, id: &str, panic: &tokio::task::JoinError) -> Result<(), StoreError> {
    let Some(StoredJob { mut record, .. }) = jobs.store().job(id).await? else { return Ok(()) };
    if let StageError::Failed(failure) = StageError::internal(panic) {
        end(&mut record, JobState::Failed, Some(failure));
    }
    jobs.tell_state(&record).await?;
    jobs.store().release_job(&record, jobs.lease()).await
}
