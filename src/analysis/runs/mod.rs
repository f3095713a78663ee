//! Runs: rollouts and searches that go on in the background, whoever looks, and over a restart of the server.
//!
//! What a run draws is told and stored step by step. [`events`] says what can happen, [`drive`] draws, and whoever
//! follows reads from the store: a page that was reloaded, another tab, a client of another process.

mod drive;
mod events;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use self::drive::Drawing;
pub use self::events::RunEvent;
use super::admission::Place;
use super::follow::{Look, Source, follow};
use super::{Analysis, AnalysisError, RecordKind, RolloutInput, RolloutSource, SearchInput, unix_seconds};
use crate::domain::rollout::RolloutPlan;
use crate::domain::run::{RunKind, RunRecord, RunState};
use crate::domain::search::SearchSettings;
use crate::store::{Lease, Page, RunFilter, RunPage, StoredRun};

/// How long a process may be silent before another goes on with its runs.
const LEASE: Duration = Duration::from_secs(15);
/// Events that are read at once.
const PAGE: usize = 256;

/// Events in order, with their numbers; ends when the run is over.
pub type RunEvents = BoxStream<'static, Result<(i64, RunEvent), AnalysisError>>;

/// How rollouts and searches are conducted: by a request that waits for them, or as a run.
pub(super) struct Conduct<P> {
    /// The id that the record gets; `None` makes one.
    pub(super) id: Option<String>,
    /// Ends the work with what was drawn.
    pub(super) stop: CancellationToken,
    /// What an earlier process has drawn.
    pub(super) so_far: Option<P>,
    /// The place in the engine's queue that is asked for first.
    pub(super) place: Place,
}

impl<P> Default for Conduct<P> {
    fn default() -> Self {
        Conduct { id: None, stop: CancellationToken::new(), so_far: None, place: Place::First }
    }
}

/// What a run was asked for, as it is stored. Its trace is in the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Rollouts { answer: Option<String>, plan: Box<RolloutPlan>, fit_context: bool },
    Search { answer: Option<String>, model: String, settings: Box<SearchSettings>, fit_context: bool },
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Runs(Arc<Shared>);

struct Shared {
    analysis: Analysis,
    lease: Lease,
    /// What ends the runs that this process draws.
    drawing: Mutex<HashMap<String, CancellationToken>>,
    /// Rung when something happens to a run here.
    changed: Arc<Notify>,
    /// Cancelled when the process ends.
    stop: CancellationToken,
}

impl Runs {
    /// `stop` lets go of all runs, for the next process to go on with, and ends the streams of events.
    pub fn new(analysis: Analysis, stop: CancellationToken) -> Self {
        let lease = Lease { holder: Ulid::generate().to_string(), length: LEASE };
        let (drawing, changed) = (Mutex::default(), Arc::default());
        Runs(Arc::new(Shared { analysis, lease, drawing, changed, stop }))
    }

    /// Begins rollouts in the background. What can be refused is refused here.
    pub async fn roll_out(&self, input: RolloutInput) -> Result<RunRecord, AnalysisError> {
        let RolloutInput { source, answer, plan, fit_context, save } = input;
        let trace_id = stored_trace(source, save)?;
        let id = self.0.analysis.ids.next_rollouts();
        let record = RunRecord {
            position: Some(plan.position),
            original_samples: Some(plan.original_samples),
            ..begun(id, RunKind::Rollouts, trace_id, plan.model.clone(), plan.samples)
        };
        self.begin(record, Request::Rollouts { answer, plan: Box::new(plan), fit_context }).await
    }

    /// Begins a search in the background. What can be refused is refused here.
    pub async fn search(&self, input: SearchInput) -> Result<RunRecord, AnalysisError> {
        let SearchInput { source, answer, model, settings, fit_context, save } = input;
        let trace_id = stored_trace(source, save)?;
        let id = self.0.analysis.ids.next_search();
        let record = begun(id, RunKind::Search, trace_id, model.clone(), settings.samples);
        self.begin(record, Request::Search { answer, model, settings: Box::new(settings), fit_context }).await
    }

    async fn begin(&self, record: RunRecord, request: Request) -> Result<RunRecord, AnalysisError> {
        let stored = StoredRun {
            record: record.clone(),
            request: serde_json::to_string(&request).map_err(|error| AnalysisError::Internal(error.to_string()))?,
        };
        let drawing = Drawing::begin(self, &record, request, Place::First).await?;
        self.0.analysis.store.insert_run(&stored, &self.0.lease).await?;
        self.spawn(record.clone(), drawing);
        Ok(record)
    }

    /// What is known of a run.
    pub async fn get(&self, id: &str) -> Result<RunRecord, AnalysisError> {
        let found = self.0.analysis.store.run(id).await?;
        found.ok_or_else(|| AnalysisError::NotFound { kind: RecordKind::Run, id: id.to_owned() })
    }

    /// A page of the runs, newest first.
    pub async fn list(&self, filter: &RunFilter, page: &Page) -> Result<RunPage, AnalysisError> {
        Ok(self.0.analysis.store.runs(filter, page).await?)
    }

    /// Ends a run; what was drawn is kept. Its events tell when it is over.
    pub async fn cancel(&self, id: &str) -> Result<RunRecord, AnalysisError> {
        let record = self.get(id).await?;
        if record.state != RunState::Running {
            return Err(AnalysisError::RunOver { id: id.to_owned(), state: record.state });
        }
        self.0.analysis.store.ask_for_run_end(id).await?;
        if let Some(stop) = self.held().get(id) {
            stop.cancel();
        }
        Ok(record)
    }

    /// The events of a run from behind number `after`.
    pub async fn events(&self, id: &str, after: i64) -> Result<RunEvents, AnalysisError> {
        self.get(id).await?;
        let source = Source { changed: self.0.changed.clone(), stop: self.0.stop.clone() };
        let (runs, id) = (self.clone(), id.to_owned());
        let look = move |after| {
            let (runs, id) = (runs.clone(), id.clone());
            async move {
                let record = runs.get(&id).await?;
                let rows = runs.0.analysis.store.run_events(&id, after, PAGE).await?;
                let mut events = Vec::with_capacity(rows.len());
                for (seq, body) in rows {
                    events.push((seq, runs.told(&record, &body).await?));
                }
                Ok(Look { over: record.state != RunState::Running, events })
            }
        };
        Ok(follow(source, after, look).boxed())
    }
}

/// The record of a run that begins now.
fn begun(id: String, kind: RunKind, trace_id: String, model: String, samples: usize) -> RunRecord {
    RunRecord {
        id,
        kind,
        trace_id,
        state: RunState::Running,
        created: unix_seconds(),
        finished: None,
        model,
        position: None,
        samples,
        original_samples: None,
        error: None,
    }
}

/// A run is stored with its trace, so it needs one.
fn stored_trace(source: RolloutSource, save: bool) -> Result<String, AnalysisError> {
    match source {
        RolloutSource::Trace(id) if save => Ok(id),
        RolloutSource::Trace(_) => Err(AnalysisError::invalid("save", "what runs in the background is stored")),
        RolloutSource::Trajectory { prompt: _, response: _ } => Err(AnalysisError::invalid(
            "background",
            "needs a trace_id: what runs in the background is stored with a trace",
        )),
    }
}
