//! `sample`: many responses to each problem, graded, as a data set of trajectories.

use super::draw::{self, Asked, Graded};
use crate::domain::dataset::SampledResponse;
use crate::domain::verdict::VerdictStatus;
use crate::engine::TextCodec;
use crate::engine::text::PromptInput;
use crate::jobs::config::DrawConfig;
use crate::jobs::error::StageError;
use crate::jobs::plan::Stage;
use crate::jobs::work::Work;

/// Problems that are drawn for at once: the engine's rows stay filled while the last samples of one are drawn.
const TOGETHER: usize = 2;

pub(super) async fn run(work: &mut Work, stage: &Stage, config: &DrawConfig) -> Result<(), StageError> {
    let engine = work.engine();
    let make = |asked, graded: Vec<Graded>| {
        let right = graded.iter().filter(|graded| graded.verdict.status == VerdictStatus::Correct).count();
        let metrics = vec![("correct", right as f64), ("samples", config.n as f64)];
        Ok((rows(engine.text(), config, asked, graded)?, metrics))
    };
    draw::draw_all(work, stage, config, TOGETHER, make).await?;
    Ok(())
}

fn rows(
    codec: &TextCodec,
    config: &DrawConfig,
    asked: Asked,
    graded: Vec<Graded>,
) -> Result<Vec<SampledResponse>, StageError> {
    let prompt = config.bare_prompt(&asked.question);
    let prompt_ids = codec.prompt(PromptInput::Text(prompt.clone()))?.ids;
    let row = |(sample, graded): (usize, Graded)| SampledResponse {
        prompt: prompt.clone(),
        response: graded.text,
        answer: Some(asked.answer.clone()),
        correct: Some(graded.verdict.status == VerdictStatus::Correct),
        prompt_token_ids: Some(prompt_ids.clone()),
        response_token_ids: Some(graded.token_ids),
        problem: Some(asked.index),
        sample: Some(sample as u64),
        finish_reason: Some(graded.finish.name().to_owned()),
    };
    Ok(graded.into_iter().enumerate().map(row).collect())
}
