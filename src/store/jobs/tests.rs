use super::*;
use crate::domain::job::{DatasetRef, Progress};
use crate::domain::job_event::{JobEventBody, LogLevel};
use crate::domain::model::ModelRef;

fn job(number: u32, state: JobState) -> StoredJob {
    let record = JobRecord {
        id: format!("job_{number:026}"),
        kind: JobKind::Sft,
        name: None,
        state,
        seed: 0,
        base_model: ModelRef { id: "base".into(), sha256: "00".into() },
        dataset: DatasetRef { name: "d".into(), sha256: "00".into(), rows: 1 },
        eval_dataset: None,
        stage: None,
        step: Progress::default(),
        created: 1_700_000_000,
        started: None,
        finished: None,
        elapsed_seconds: 0.0,
        remaining_seconds: None,
        metrics: Default::default(),
        dropped: Default::default(),
        yielded_seconds: 0.0,
        error: None,
        interruptions: 0,
    };
    StoredJob { record, config: "{}".into() }
}

fn lease(holder: &str, milliseconds: u64) -> Lease {
    Lease { holder: holder.into(), length: Duration::from_millis(milliseconds) }
}

async fn store(jobs: &[StoredJob]) -> Store {
    let store = Store::in_memory().await.unwrap();
    for job in jobs {
        store.insert_job(job).await.unwrap();
    }
    store
}

async fn claimed(store: &Store, claim: Claim, lease: &Lease) -> Option<String> {
    store.claim_job(claim, lease).await.unwrap().map(|job| job.record.id)
}

fn lost<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::LeaseLost { .. }))
}

#[tokio::test]
async fn the_oldest_job_is_claimed_once_and_no_other_while_it_runs() {
    let (mut old, new) = (job(1, JobState::Queued), job(2, JobState::Queued));
    let store = store(&[new.clone(), job(3, JobState::ValidatingFiles), old.clone()]).await;
    let (ours, theirs) = (lease("ours", 60_000), lease("theirs", 60_000));
    assert_eq!(claimed(&store, Claim::Run, &ours).await.as_ref(), Some(&old.record.id));
    assert_eq!(claimed(&store, Claim::Run, &theirs).await, None, "they share the device");
    old.record.state = JobState::Succeeded;
    store.release_job(&old.record, &ours).await.unwrap();
    assert_eq!(claimed(&store, Claim::Run, &theirs).await, Some(new.record.id));
    assert!(claimed(&store, Claim::Check, &theirs).await.is_some());
    assert_eq!(claimed(&store, Claim::Check, &theirs).await, None);
}

#[tokio::test]
async fn a_lease_that_has_run_out_is_anothers() {
    let mut job = job(1, JobState::Queued);
    let store = store(std::slice::from_ref(&job)).await;
    let (ours, theirs) = (lease("ours", 20), lease("theirs", 60_000));
    assert!(claimed(&store, Claim::Run, &ours).await.is_some());
    assert!(!store.renew_lease(&job.record.id, &ours).await.unwrap());
    assert_eq!(claimed(&store, Claim::Run, &theirs).await, None);
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(claimed(&store, Claim::Run, &theirs).await.is_some());
    job.record.state = JobState::Running;
    assert!(lost(store.renew_lease(&job.record.id, &ours).await));
    assert!(lost(store.save_job(&job.record, &ours).await));
    assert!(lost(store.release_job(&job.record, &ours).await));
    store.save_job(&job.record, &theirs).await.unwrap();
    // Let go of as it is, it is claimed again at once.
    store.release_job(&job.record, &theirs).await.unwrap();
    assert!(claimed(&store, Claim::Run, &theirs).await.is_some());
}

#[tokio::test]
async fn a_job_that_is_held_is_asked_for_its_end_and_another_is_moved() {
    let mut job = job(1, JobState::Queued);
    let id = job.record.id.clone();
    let store = store(std::slice::from_ref(&job)).await;
    let ours = lease("ours", 60_000);
    assert!(!store.ask_for_end(&id).await.unwrap());
    job.record.state = JobState::Cancelled;
    assert!(!store.move_job(JobState::Running, &job.record).await.unwrap());
    assert!(store.move_job(JobState::Queued, &job.record).await.unwrap());
    job.record.state = JobState::Queued;
    assert!(store.move_job(JobState::Cancelled, &job.record).await.unwrap());
    assert!(claimed(&store, Claim::Run, &ours).await.is_some());
    assert!(!store.move_job(JobState::Running, &job.record).await.unwrap());
    assert!(store.ask_for_end(&id).await.unwrap());
    assert!(store.renew_lease(&id, &ours).await.unwrap());
}

#[tokio::test]
async fn events_are_numbered_by_job_and_read_from_any_place() {
    let store = store(&[job(1, JobState::Queued), job(2, JobState::Queued)]).await;
    let ids = [job(1, JobState::Queued).record.id, job(2, JobState::Queued).record.id];
    let line = |message: &str| JobEventBody::Log { level: LogLevel::Info, message: message.into() };
    for (id, message, seq) in [(0, "a", 1), (0, "b", 2), (1, "c", 1), (0, "d", 3)] {
        assert_eq!(store.append_job_event(&ids[id], 5, &line(message)).await.unwrap(), seq);
    }
    let events = store.job_events(&ids[0], 1, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((events[1].created, &events[1].body), (5, &line("d")));
    assert_eq!(store.job_events(&ids[0], 0, 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn pages_of_jobs_are_filtered_and_newest_first() {
    let jobs: Vec<_> = (0..5).map(|n| job(n, if n == 2 { JobState::Failed } else { JobState::Queued })).collect();
    let store = store(&jobs).await;
    let first = store.jobs(JobFilter::default(), &Page { limit: 3, cursor: None }).await.unwrap();
    assert_eq!(first.jobs.iter().map(|job| &job.record.id).collect::<Vec<_>>(), [4, 3, 2].map(|n| &jobs[n].record.id));
    let second = store.jobs(JobFilter::default(), &Page { limit: 3, cursor: first.next_cursor }).await.unwrap();
    assert_eq!((second.jobs.len(), second.has_more, second.next_cursor), (2, false, None));
    let failed = JobFilter { state: Some(JobState::Failed), kind: Some(JobKind::Sft) };
    assert_eq!(store.jobs(failed, &Page::default()).await.unwrap().jobs, [jobs[2].clone()]);
    let none = JobFilter { state: None, kind: Some(JobKind::Select) };
    assert_eq!(store.jobs(none, &Page::default()).await.unwrap().jobs, []);
}
