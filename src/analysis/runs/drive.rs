//! Drawing a run: its events are stored as they come, its lease is renewed, and its end is noted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::events::{SoFar, Stored, written};
use super::{Conduct, Request, RunEvent, Runs};
use crate::analysis::admission::Place;
use crate::analysis::{
    AnalysisError, RolloutEvent, RolloutInput, RolloutSource, SearchEvent, SearchInput, unix_seconds,
};
use crate::domain::run::{RunFailure, RunKind, RunRecord, RunState};
use crate::domain::search::Reason;
use crate::engine::EngineError;
use crate::store::{StoreError, StoredRun};

/// Between two renewals of a lease.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Between two looks for runs whose process is gone.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks at whether all runs are let go of.
const LETTING_GO: Duration = Duration::from_millis(20);
/// Most events that are stored together.
const TOGETHER: usize = 64;

/// Events of what is being drawn.
pub(super) struct Drawing {
    events: BoxStream<'static, Result<RunEvent, AnalysisError>>,
    /// Ends it with what was drawn.
    stop: CancellationToken,
}

/// How a run's drawing ended.
enum End {
    /// The record is stored, whole or stopped.
    Stored { stopped: bool },
    /// Somebody ended it before anything was drawn.
    Nothing,
    /// The process ends: another goes on.
    LetGo,
    /// Another process has it, or it went with its trace.
    Lost,
}

/// An end, or the failure that it came to.
type Ended = Result<End, AnalysisError>;

impl Drawing {
    /// Begins, or goes on from what an earlier process has drawn.
    pub(super) async fn begin(
        runs: &Runs,
        run: &RunRecord,
        request: Request,
        place: Place,
    ) -> Result<Self, AnalysisError> {
        let (analysis, stop) = (&runs.0.analysis, CancellationToken::new());
        let source = RolloutSource::Trace(run.trace_id.clone());
        let SoFar { rollouts, search } = match place {
            Place::First => SoFar::default(),
            Place::Later => runs.so_far(&run.id).await?,
        };
        let events = match request {
            Request::Rollouts { answer, plan, fit_context } => {
                let input = RolloutInput { source, answer, plan: *plan, fit_context, save: true };
                let conduct = Conduct { id: Some(run.id.clone()), stop: stop.clone(), so_far: rollouts, place };
                let events = analysis.conducted_rollouts(input, conduct).await?;
                events.map(|event| event.map(RunEvent::Rollouts)).boxed()
            }
            Request::Search { answer, model, settings, fit_context } => {
                let input = SearchInput { source, answer, model, settings: *settings, fit_context, save: true };
                let conduct = Conduct { id: Some(run.id.clone()), stop: stop.clone(), so_far: search, place };
                let events = analysis.conducted_search(input, conduct).await?;
                events.map(|event| event.map(RunEvent::Search)).boxed()
            }
        };
        Ok(Drawing { events, stop })
    }
}

impl Runs {
    /// Goes on with the runs whose process is gone, until this one ends and has let go of its own.
    pub async fn take_up(self) {
        let stop = self.0.stop.clone();
        while !stop.is_cancelled() {
            match self.0.analysis.store.claim_run(&self.0.lease).await {
                Ok(Some(run)) => {
                    // A process that was asleep for longer than a lease finds its own: claiming has renewed it.
                    if self.hold(&run.record.id) {
                        let runs = self.clone();
                        tokio::spawn(async move { runs.go_on(run).await });
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "no run could be taken up"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while !self.held().is_empty() {
            tokio::time::sleep(LETTING_GO).await;
        }
    }

    /// What is in this process's hands: what ends each run.
    pub(super) fn held(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.drawing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a claimed run into this process's hands; false if it is there already.
    fn hold(&self, id: &str) -> bool {
        match self.held().entry(id.to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(CancellationToken::new());
                true
            }
        }
    }

    async fn go_on(&self, StoredRun { record, request }: StoredRun) {
        tracing::info!(id = record.id, "a run goes on");
        let id = record.id.clone();
        match self.taken_up(&record, &request).await {
            // It stays in hand.
            Ok(Some(drawing)) => return self.spawn(record, drawing),
            Ok(None) => {}
            Err(error) => self.failed(record, error).await,
        }
        self.held().remove(&id);
    }

    /// A claimed run's drawing; `None` if all that was missing was the note of its end.
    async fn taken_up(&self, run: &RunRecord, request: &str) -> Result<Option<Drawing>, AnalysisError> {
        let store = &self.0.analysis.store;
        let stored = match run.kind {
            RunKind::Rollouts => self.0.analysis.stored_rollouts(&run.id).await.map(|set| set.stopped),
            RunKind::Search => {
                let search = self.0.analysis.stored_search(&run.id).await;
                search.map(|search| search.reason == Reason::Stopped)
            }
        };
        match stored {
            Ok(stopped) => {
                self.ended(run.clone(), End::Stored { stopped }).await?;
                return Ok(None);
            }
            Err(AnalysisError::NotFound { kind: _, id: _ }) => {}
            Err(error) => return Err(error),
        }
        let request = serde_json::from_str(request)
            .map_err(|error| StoreError::Damaged { id: run.id.clone(), reason: error.to_string() })?;
        let drawing = Drawing::begin(self, run, request, Place::Later).await?;
        if store.renew_run(&run.id, &self.0.lease).await? {
            drawing.stop.cancel();
        }
        Ok(Some(drawing))
    }

    /// Draws a run that is held, on a task of its own.
    pub(super) fn spawn(&self, run: RunRecord, drawing: Drawing) {
        let runs = self.clone();
        self.held().insert(run.id.clone(), drawing.stop.clone());
        tokio::spawn(async move {
            let outcome = match runs.drive(&run, drawing).await {
                Ok(end) => runs.ended(run.clone(), end).await,
                Err(error) => Err(error),
            };
            runs.held().remove(&run.id);
            if let Err(error) = outcome {
                runs.failed(run, error).await;
            }
        });
    }

    /// Stores what is told until the end.
    async fn drive(&self, run: &RunRecord, drawing: Drawing) -> Result<End, AnalysisError> {
        let Drawing { mut events, stop } = drawing;
        let Runs(shared) = self;
        let (tell, mut told) = mpsc::channel(TOGETHER);
        // A task of its own: it stores the record in the end, and must not stand still there, with the database's lock,
        // while this one waits for the database.
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(event) = events.next().await {
                if tell.send(event).await.is_err() {
                    break;
                }
            }
        });
        let mut heart = tokio::time::interval(HEARTBEAT);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                _ = told.recv_many(&mut batch, TOGETHER) => {}
                () = shared.stop.cancelled() => return Ok(End::LetGo),
                _ = heart.tick() => {
                    match shared.analysis.store.renew_run(&run.id, &shared.lease).await {
                        Ok(false) => {}
                        Ok(true) => stop.cancel(),
                        Err(StoreError::LeaseLost { id: _ }) => return Ok(End::Lost),
                        Err(error) => tracing::warn!(%error, id = run.id, "a run's lease was not renewed"),
                    }
                    continue;
                }
            }
            if batch.is_empty() {
                return match stop.is_cancelled() {
                    true => Ok(End::Nothing),
                    false => Err(AnalysisError::Internal("a run ended without a result".to_owned())),
                };
            }
            let (bodies, end) = sorted(batch)?;
            match shared.analysis.store.append_run_events(&run.id, &bodies, &shared.lease).await {
                Err(StoreError::LeaseLost { id: _ }) => return Ok(End::Lost),
                outcome => outcome?,
            }
            shared.changed.notify_waiters();
            match end {
                Some(end) => return end,
                None => continue,
            }
        }
    }

    /// Notes how a run ended.
    async fn ended(&self, mut run: RunRecord, end: End) -> Result<(), AnalysisError> {
        let Runs(shared) = self;
        let (state, done) = match end {
            End::Stored { stopped: false } => (RunState::Succeeded, true),
            End::Stored { stopped: true } => (RunState::Cancelled, true),
            End::Nothing => (RunState::Cancelled, false),
            End::LetGo => return Ok(shared.analysis.store.release_run(&run.id, &shared.lease).await?),
            End::Lost => return Ok(()),
        };
        run.state = state;
        run.finished = Some(unix_seconds());
        let mut bodies = Vec::new();
        if done {
            bodies.push(serde_json::to_string(&Stored::Done).map_err(unwritable)?);
        }
        bodies.push(written(&RunEvent::State { state, error: None })?);
        shared.analysis.store.end_run(&run, &bodies, true, &shared.lease).await?;
        shared.changed.notify_waiters();
        Ok(())
    }

    /// Notes that a run failed. What it told stays to be read.
    async fn failed(&self, mut run: RunRecord, error: AnalysisError) {
        if matches!(error, AnalysisError::Engine(EngineError::ShuttingDown)) {
            if let Err(error) = self.0.analysis.store.release_run(&run.id, &self.0.lease).await {
                tracing::warn!(%error, id = run.id, "a run was not let go of");
            }
            return;
        }
        let failure = match error.is_ours() {
            true => {
                tracing::error!(%error, id = run.id, "a run failed");
                RunFailure {
                    code: "internal_error".to_owned(),
                    message: "an internal error occurred; the server's log has its cause under the run's id".to_owned(),
                }
            }
            false => RunFailure { code: "run_failed".to_owned(), message: error.to_string() },
        };
        run.state = RunState::Failed;
        run.finished = Some(unix_seconds());
        run.error = Some(failure.clone());
        let told = match written(&RunEvent::State { state: run.state, error: Some(failure) }) {
            Ok(body) => self.0.analysis.store.end_run(&run, &[body], false, &self.0.lease).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(%error, id = run.id, "a run's failure could not be stored");
        }
        self.0.changed.notify_waiters();
    }
}

/// What is to be stored of events that came together, and the end if it was among them.
fn sorted(batch: Vec<Result<RunEvent, AnalysisError>>) -> Result<(Vec<String>, Option<Ended>), AnalysisError> {
    let mut bodies = Vec::with_capacity(batch.len());
    for event in batch {
        match event {
            Ok(RunEvent::Rollouts(RolloutEvent::Done(set))) => {
                return Ok((bodies, Some(Ok(End::Stored { stopped: set.stopped }))));
            }
            Ok(RunEvent::Search(SearchEvent::Done(search))) => {
                return Ok((bodies, Some(Ok(End::Stored { stopped: search.reason == Reason::Stopped }))));
            }
            Ok(event) => bodies.push(written(&event)?),
            Err(AnalysisError::Engine(EngineError::ShuttingDown)) => return Ok((bodies, Some(Ok(End::LetGo)))),
            Err(error) => return Ok((bodies, Some(Err(error)))),
        }
    }
    Ok((bodies, None))
}

fn unwritable(error: serde_json::Error) -> AnalysisError {
    AnalysisError::Internal(error.to_string())
}
