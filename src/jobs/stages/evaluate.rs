//! `evaluate`: one greedy response to each problem, and the share of right ones.

use serde::{Deserialize, Serialize};

use super::blocking;
use super::draw::{self, Asked, Graded};
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
    let make = |asked, graded: Vec<Graded>| {
        Ok((graded.into_iter().map(|graded| row(&asked, graded)).collect::<Vec<_>>(), Vec::new()))
    };
    // A problem that cannot be put is one that is not solved.
    let asked_for = draw::draw_all(work, stage, config, TOGETHER, make).await?;
    let output = stage.output.clone();
    let correct = blocking(move || count_correct(&output)).await?;
    let accuracy = correct as f64 / asked_for as f64;
    work.log(format!("{correct} of {asked_for} right: {accuracy:.4}")).await?;
    work.metric(work.record.step.total, None, [("accuracy", accuracy), ("correct", correct as f64)]).await
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
