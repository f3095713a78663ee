//! What a job would do: its stages with their inputs and outputs, and what the first of them makes of the data.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::config::{
    ArtifactRef, ContrastConfig, DrawConfig, JobConfig, ModelSource, PreferenceConfig, SelectConfig, SftConfig,
    StageConfigs,
};
use super::error::StageError;
use super::prepare::{self, DropReason, DroppedRow};
use super::rows::Rows;
use super::stages::draw;
use crate::domain::dataset::{DatasetKind, Row};
use crate::domain::job::JobKind;
use crate::engine::{Engine, EngineError};
use crate::store::JobFolder;
use crate::train::{Arguments, Examples};

/// A stage with what it reads and writes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) input: PathBuf,
    /// A file, or a folder for an adapter.
    pub(super) output: PathBuf,
    pub(super) work: StageWork,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StageWork {
    Sample(DrawConfig),
    Select(SelectConfig),
    Sft(SftConfig),
    Contrast(ContrastConfig),
    Preference(PreferenceConfig),
    Evaluate(DrawConfig),
}

/// What a stage would do with its data.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    pub name: &'static str,
    /// Rows that would be used. `None` where the stages before make them.
    pub rows: Option<u64>,
    /// Optimizer steps of training; else rows, each a step.
    pub steps: Option<u64>,
    /// Tokens of the rows that would be used, each read once.
    pub tokens: Option<u64>,
}

/// What the rows of a stage come to.
pub(super) struct Outlook {
    pub(super) planned: PlannedStage,
    pub(super) dropped: Vec<DroppedRow>,
}

/// The kind of data set that a job reads.
pub(super) fn input_kind(kind: JobKind) -> DatasetKind {
    match kind {
        JobKind::Sample | JobKind::Evaluate | JobKind::Pipeline => DatasetKind::Problems,
        JobKind::Select | JobKind::Sft => DatasetKind::Trajectories,
        JobKind::Contrast | JobKind::Preference => DatasetKind::Preferences,
    }
}

/// The stages of a job in their order.
pub(super) fn stages(id: &str, config: &JobConfig, folder: &JobFolder) -> Vec<Stage> {
    let artifact = |name: &str| folder.artifacts().join(name);
    let input = folder.input();
    let one = |name, output: &str, work| vec![Stage { name, input: input.clone(), output: artifact(output), work }];
    let pipeline = match &config.stages {
        StageConfigs::Sample(config) => return one("sample", "samples.jsonl", StageWork::Sample(config.clone())),
        StageConfigs::Select(config) => return one("select", "", StageWork::Select(config.clone())),
        StageConfigs::Sft(config) => return one("sft", "adapter", StageWork::Sft(config.clone())),
        StageConfigs::Contrast(config) => {
            return one("contrast", "contrast.jsonl", StageWork::Contrast(config.clone()));
        }
        StageConfigs::Preference(config) => return one("preference", "adapter", StageWork::Preference(config.clone())),
        StageConfigs::Evaluate(config) => {
            return one("evaluate", "evaluation.jsonl", StageWork::Evaluate(config.clone()));
        }
        StageConfigs::Pipeline(pipeline) => pipeline,
    };
    let made =
        |artifact: &str| ModelSource::Artifact(ArtifactRef { job: id.to_owned(), artifact: artifact.to_owned() });
    let contrast =
        ContrastConfig { positive: made("positive"), negative: made("negative"), ..pipeline.contrast.clone() };
    let stage = |name, input: PathBuf, output: &str, work| Stage { name, input, output: artifact(output), work };
    let mut stages = vec![
        stage("sample", folder.input(), "samples.jsonl", StageWork::Sample(pipeline.sample.clone())),
        stage("select", artifact("samples.jsonl"), "", StageWork::Select(pipeline.select.clone())),
        stage("sft-positive", artifact("positive.jsonl"), "positive", StageWork::Sft(pipeline.sft.clone())),
        stage("sft-negative", artifact("negative.jsonl"), "negative", StageWork::Sft(pipeline.sft.clone())),
        stage("contrast", artifact("preferences.jsonl"), "contrast.jsonl", StageWork::Contrast(contrast)),
        stage("preference", artifact("contrast.jsonl"), "adapter", StageWork::Preference(pipeline.preference.clone())),
    ];
    if config.eval_dataset.is_some() {
        let after = DrawConfig { model: made("adapter"), ..pipeline.evaluate.clone() };
        let (before, eval) = (pipeline.evaluate.clone(), folder.eval_input());
        stages.push(stage("evaluate-before", eval.clone(), "evaluation-before.jsonl", StageWork::Evaluate(before)));
        stages.push(stage("evaluate-after", eval, "evaluation-after.jsonl", StageWork::Evaluate(after)));
    }
    stages
}

impl Stage {
    /// Looks through the stage's data without using it. Blocking.
    pub(super) fn outlook(&self, engine: &dyn Engine, cancel: &CancellationToken) -> Result<Outlook, StageError> {
        let plan = |rows: u64, steps: u64, tokens: u64| PlannedStage {
            name: self.name,
            rows: Some(rows),
            steps: Some(steps),
            tokens: Some(tokens),
        };
        match &self.work {
            StageWork::Sample(config) | StageWork::Evaluate(config) => {
                let problems = draw::problems(engine, &self.input, config, self.name, cancel)?;
                let rows = problems.usable.len() as u64;
                Ok(Outlook { planned: plan(rows, rows, problems.tokens), dropped: problems.dropped })
            }
            StageWork::Select(_) => {
                let (mut rows, mut tokens) = (0, 0);
                for row in Rows::open(&self.input, cancel)? {
                    let (line, row) = row?;
                    let Row::Response(row) = row else { return Err(prepare::wrong_kind(line, "a trajectory")) };
                    if row.answer.is_none() && row.correct.is_none() {
                        let message =
                            format!("line {line}: has neither `answer` nor `correct` to judge the response by");
                        return Err(StageError::failed("no_verdict", message));
                    }
                    rows += 1;
                    tokens += row.response_token_ids.map_or(0, |ids| ids.len() as u64);
                }
                Ok(Outlook { planned: plan(rows, rows, tokens), dropped: Vec::new() })
            }
            StageWork::Contrast(_) => {
                let pairs = super::stages::contrast::pairs(engine, &self.input, self.name, cancel)?;
                let rows = pairs.usable.len() as u64;
                Ok(Outlook { planned: plan(rows, rows, pairs.tokens), dropped: pairs.dropped })
            }
            StageWork::Sft(config) => {
                let prepared = prepare::completions(engine.text(), &self.input, config, self.name, cancel)?;
                Ok(self.training(prepared, &config.plan.arguments))
            }
            StageWork::Preference(config) => {
                let prepared = prepare::pairs(engine.text(), &self.input, config, self.name, cancel)?;
                Ok(self.training(prepared, &config.plan.arguments))
            }
        }
    }

    fn training(&self, prepared: prepare::Prepared, arguments: &Arguments) -> Outlook {
        let rows = prepared.examples.len();
        let steps = if rows == 0 { 0 } else { arguments.steps(rows) as u64 };
        let planned = PlannedStage {
            name: self.name,
            rows: Some(rows as u64),
            steps: Some(steps),
            tokens: Some(count(&prepared.examples)),
        };
        Outlook { planned, dropped: prepared.dropped }
    }

    /// A stage whose data the stages before it make.
    pub(super) fn unknown(&self) -> PlannedStage {
        PlannedStage { name: self.name, rows: None, steps: None, tokens: None }
    }

    /// Whether the stage reads a data set, and not what a stage before it wrote.
    pub(super) fn reads_dataset(&self, folder: &JobFolder) -> bool {
        let inputs: [&Path; 2] = [&folder.input(), &folder.eval_input()];
        inputs.contains(&self.input.as_path())
    }
}

fn count(examples: &Examples) -> u64 {
    (0..examples.len()).map(|index| examples.tokens(index) as u64).sum()
}

/// Why the engine cannot serve a row, if the row is at fault.
pub(super) fn at_fault(error: EngineError) -> Result<(DropReason, String), StageError> {
    let reason = if let EngineError::TooLong { .. } | EngineError::ContextExceeded { .. } = error {
        DropReason::TooLong
    } else if let EngineError::Text(_) | EngineError::UnknownToken { .. } = error {
        DropReason::NotTokenizable
    } else {
        return Err(error.into());
    };
    Ok((reason, error.to_string()))
}
