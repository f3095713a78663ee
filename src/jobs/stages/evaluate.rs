//! `evaluate`: one greedy response to each problem, and the share of right ones.

use std::sync::Arc;

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::blocking;
use super::draw::{self, Asked, Graded};
use super::lines::LineFile;
use crate::domain::model::ModelRef;
use crate::domain::verdict::VerdictStatus;
use crate::jobs::config::DrawConfig;
use crate::jobs::error::StageError;
use crate::jobs::plan::Stage;
use crate::jobs::work::Work;

/// Problems that are drawn for at once: a batch of the engine's.
const TOGETHER: usize = 32;

/// A problem with its response, as the artifact has it.
#[derive(Debug, Serialize, Deserialize)]
struct Evaluated {
    problem: u64,
    question: String,
    answer: String,
    response: String,
    status: VerdictStatus,
    extracted: Option<String>,
    finish_reason: String,
}

pub(super) async fn run(work: &mut Work, stage: &Stage, config: &DrawConfig) -> Result<(), StageError> {
    let model = work.borrow_model(&config.model, stage.name).await?;
    let outcome = ask_all(work, stage, config, model.reference()).await;
    work.return_model(model).await;
    outcome
}

async fn ask_all(work: &mut Work, stage: &Stage, config: &DrawConfig, model: &ModelRef) -> Result<(), StageError> {
    let engine = work.engine();
    let (from, input, settings, name) = (engine.clone(), stage.input.clone(), config.clone(), stage.name);
    let problems = blocking(move || draw::problems(&*from, &input, &settings, name)).await?;
    // A problem that cannot be put is one that is not solved.
    let asked_for = (problems.usable.len() + problems.dropped.len()) as u64;
    work.set_dropped(stage.name, problems.dropped).await?;
    let total = problems.usable.len() as u64;
    if total == 0 {
        return Err(StageError::failed("no_rows", "there is no problem that can be put to the model"));
    }
    let (mut file, done) = LineFile::resume(stage.output.clone(), 1).await?;
    work.begin_steps(done as u64, total).await?;
    let config = Arc::new(config.clone());
    let draws = problems.usable.into_iter().skip(done).map(|asked| {
        let (engine, config, model) = (engine.clone(), config.clone(), model.clone());
        draw::answers(engine, config, model, asked)
    });
    let mut draws = stream::iter(draws).buffered(TOGETHER);
    let mut step = done as u64;
    let cancel = work.cancelled();
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StageError::Cancelled),
            next = draws.next() => next,
        };
        let Some(next) = next else { break };
        let (asked, graded) = next?;
        file.append(&graded.into_iter().map(|graded| row(&asked, graded)).collect::<Vec<_>>()).await?;
        step += 1;
        work.step(step, total).await?;
    }
    file.finish().await?;
    let output = stage.output.clone();
    let correct = blocking(move || count_correct(&output)).await?;
    let accuracy = correct as f64 / asked_for as f64;
    work.log(format!("{correct} of {asked_for} right: {accuracy:.4}")).await?;
    work.metric(total, None, [("accuracy", accuracy), ("correct", correct as f64)]).await
}

fn row(asked: &Asked, graded: Graded) -> Evaluated {
    Evaluated {
        problem: asked.index,
        question: asked.question.clone(),
        answer: asked.answer.clone(),
        response: graded.text,
        status: graded.verdict.status,
        extracted: graded.verdict.extracted,
        finish_reason: graded.finish.name().to_owned(),
    }
}

/// Counts in the file: a part of it may have been written before a restart.
fn count_correct(path: &std::path::Path) -> Result<u64, StageError> {
    let text = std::fs::read_to_string(path).map_err(StageError::io(path))?;
    let mut correct = 0;
    for line in text.lines() {
        let row: Evaluated = serde_json::from_str(line).map_err(|error| StageError::internal(&error))?;
        correct += u64::from(row.status == VerdictStatus::Correct);
    }
    Ok(correct)
}
