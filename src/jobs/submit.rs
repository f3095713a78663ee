//! Submitting a job, and the dry run that says what it would do.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::config::{ContrastConfig, DrawConfig, JobConfig, StageConfigs};
use super::datasets::no_dataset;
use super::error::StageError;
use super::plan::{PlannedStage, Stage, input_kind, stages};
use super::prepare::DroppedRow;
use super::{Jobs, JobsError, off_the_reactor, unix_seconds};
use crate::domain::dataset::{DatasetInfo, DatasetKind};
use crate::domain::job::{DatasetRef, JobKind, JobRecord, JobState, Progress};
use crate::domain::job_event::JobEventBody;
use crate::domain::model::ModelRef;
use crate::engine::{Engine, EngineError};
use crate::store::{JobFolder, StoreError, StoredJob};

/// Longest name of a job, in characters.
const MAX_NAME: usize = 200;

/// A job to do.
#[derive(Debug, Clone, PartialEq)]
pub struct JobInput {
    pub kind: JobKind,
    pub name: Option<String>,
    /// What it leaves out is the published setting.
    pub config: Value,
}

/// What a job would do.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun {
    pub kind: JobKind,
    /// Complete.
    pub config: Value,
    pub base_model: ModelRef,
    pub dataset: DatasetRef,
    pub eval_dataset: Option<DatasetRef>,
    pub stages: Vec<PlannedStage>,
    pub dropped: Vec<DroppedRow>,
}

/// A data set and where its lines are.
type Found = (DatasetInfo, PathBuf);

/// A request that was checked.
struct Checked {
    config: JobConfig,
    base_model: ModelRef,
    dataset: Found,
    eval_dataset: Option<Found>,
}

impl Jobs {
    /// Checks a request and stores the job; its rows are looked through after that.
    pub async fn submit(&self, input: JobInput) -> Result<StoredJob, JobsError> {
        let Checked { config, base_model, dataset, eval_dataset } = self.check(&input).await?;
        let id = self.0.ids.next_job();
        let folder = self.store().job_folder(&id);
        let files =
            [Some((dataset.1, folder.input())), eval_dataset.clone().map(|found| (found.1, folder.eval_input()))];
        off_the_reactor(move || files.into_iter().flatten().try_for_each(|(from, to)| link(&from, &to))).await??;
        let record = JobRecord {
            id,
            kind: input.kind,
            name: input.name,
            state: JobState::ValidatingFiles,
            seed: config.seed,
            base_model,
            dataset: reference(&dataset.0),
            eval_dataset: eval_dataset.map(|found| reference(&found.0)),
            stage: None,
            step: Progress::default(),
            created: unix_seconds(),
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
        let job = StoredJob { record, config: config.json.to_string() };
        self.store().insert_job(&job).await?;
        self.tell_state(&job.record).await?;
        Ok(job)
    }

    /// Says what a job would do, and makes none.
    pub async fn dry_run(&self, input: JobInput) -> Result<DryRun, JobsError> {
        let Checked { config, base_model, dataset, eval_dataset } = self.check(&input).await?;
        // No folder of this id is made: the stages' inputs are told apart by it, and then read where they are.
        let folder = self.store().job_folder("dry-run");
        let paths = [Some(dataset.1), eval_dataset.as_ref().map(|found| found.1.clone())];
        let stages = stages("dry-run", &config, &folder);
        let (engine, end) = (self.engine().clone(), self.stop().child_token());
        // A client that goes away waits for no answer.
        let _end = end.clone().drop_guard();
        let looked = off_the_reactor(move || look_through(&*engine, stages, (&folder, Some(paths)), &end)).await?;
        let (planned, dropped) = looked.map_err(refusal)?;
        Ok(DryRun {
            kind: input.kind,
            config: config.json,
            base_model,
            dataset: reference(&dataset.0),
            eval_dataset: eval_dataset.map(|found| reference(&found.0)),
            stages: planned,
            dropped,
        })
    }

    /// Tells the state that a record is in now.
    pub(super) async fn tell_state(&self, record: &JobRecord) -> Result<(), StoreError> {
        let event = JobEventBody::State { state: record.state, error: record.error.clone() };
        self.store().append_job_event(&record.id, unix_seconds(), &event).await?;
        self.announce();
        Ok(())
    }

    async fn check(&self, input: &JobInput) -> Result<Checked, JobsError> {
        if input.name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME || name.chars().any(char::is_control))
        {
            let message = format!("is longer than {MAX_NAME} characters, or has control characters");
            return Err(JobsError::invalid("name", message));
        }
        let config = JobConfig::parse(input.kind, input.config.clone())?;
        self.check_models(&config.stages)?;
        let dataset = self.find("config.dataset", &config.dataset, input_kind(input.kind)).await?;
        let eval_dataset = match &config.eval_dataset {
            Some(name) => Some(self.find("config.eval_dataset", name, DatasetKind::Problems).await?),
            None => None,
        };
        let base = self.engine().models().into_iter().next();
        let base = base.ok_or_else(|| EngineError::UnknownModel { id: "base".to_owned() })?;
        Ok(Checked { config, base_model: base.reference(), dataset, eval_dataset })
    }

    async fn find(&self, param: &str, name: &str, kind: DatasetKind) -> Result<Found, JobsError> {
        let Some(found) = self.store().dataset(name).await? else {
            return Err(JobsError::invalid(param, no_dataset(name).to_string()));
        };
        match found.0.kind == kind {
            true => Ok(found),
            false => {
                let message = format!("{name:?} holds {}, and {} are needed", found.0.kind.name(), kind.name());
                Err(JobsError::invalid(param, message))
            }
        }
    }

    fn check_models(&self, stages: &StageConfigs) -> Result<(), JobsError> {
        let start = |start: &Option<_>| start.iter().try_for_each(|start| self.check_artifact("config.adapter", start));
        match stages {
            StageConfigs::Sample(DrawConfig { model, .. }) | StageConfigs::Evaluate(DrawConfig { model, .. }) => {
                self.check_model("config.model", model)
            }
            StageConfigs::Contrast(ContrastConfig { positive, negative, beta: _ }) => {
                self.check_model("config.positive", positive)?;
                self.check_model("config.negative", negative)
            }
            StageConfigs::Sft(config) => start(&config.start_adapter),
            StageConfigs::Preference(config) => start(&config.start_adapter),
            StageConfigs::Select(_) | StageConfigs::Pipeline(_) => Ok(()),
        }
    }
}

/// Looks through the data sets that the stages read. `paths` stand in for the job's own files of input and evaluation.
/// Blocking.
pub(super) fn look_through(
    engine: &dyn Engine,
    stages: Vec<Stage>,
    (folder, paths): (&JobFolder, Option<[Option<PathBuf>; 2]>),
    cancel: &CancellationToken,
) -> Result<(Vec<PlannedStage>, Vec<DroppedRow>), StageError> {
    let [input, eval] = paths.unwrap_or_default();
    let (mut planned, mut dropped) = (Vec::new(), Vec::new());
    for mut stage in stages {
        if !stage.reads_dataset(folder) {
            planned.push(stage.unknown());
            continue;
        }
        let stand_in = if stage.input == folder.input() { &input } else { &eval };
        stage.input = stand_in.clone().unwrap_or(stage.input);
        let outlook = stage.outlook(engine, cancel)?;
        planned.push(outlook.planned);
        dropped.extend(outlook.dropped);
    }
    Ok((planned, dropped))
}

/// What a dry run answers where the job would fail.
fn refusal(error: StageError) -> JobsError {
    match error {
        StageError::Failed(failure) => JobsError::invalid("config.dataset", failure.message),
        StageError::Cancelled => EngineError::ShuttingDown.into(),
    }
}

fn reference(info: &DatasetInfo) -> DatasetRef {
    DatasetRef { name: info.name.clone(), sha256: info.sha256.clone(), rows: info.rows }
}

/// Gives a file a second name, or copies it where it cannot have one. Data sets' files never change.
fn link(from: &Path, to: &Path) -> Result<(), StoreError> {
    let disk = |source| StoreError::Disk { path: to.to_owned(), source };
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(disk)?;
    }
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(|_| ())).map_err(disk)
}
