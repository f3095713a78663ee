//! `sample`: many responses to each problem, graded, as a data set of trajectories.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::blocking;
use super::draw::{self, Asked, Graded};
use super::lines::LineFile;
use crate::domain::dataset::SampledResponse;
use crate::domain::model::ModelRef;
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
    let model = work.borrow_model(&config.model, stage.name).await?;
    let outcome = draw_all(work, stage, config, model.reference()).await;
    work.return_model(model).await;
    outcome
}

async fn draw_all(work: &mut Work, stage: &Stage, config: &DrawConfig, model: &ModelRef) -> Result<(), StageError> {
    let engine = work.engine();
    let (from, input, settings, name) = (engine.clone(), stage.input.clone(), config.clone(), stage.name);
    let problems = blocking(move || draw::problems(&*from, &input, &settings, name)).await?;
    work.set_dropped(stage.name, problems.dropped).await?;
    let total = problems.usable.len() as u64;
    if total == 0 {
        return Err(StageError::failed("no_rows", "there is no problem that can be put to the model"));
    }
    let (mut file, done) = LineFile::resume(stage.output.clone(), config.n).await?;
    work.begin_steps(done as u64, total).await?;
    let config = Arc::new(config.clone());
    let draws = problems.usable.into_iter().skip(done).map(|asked| {
        let (engine, config, model) = (engine.clone(), config.clone(), model.clone());
        draw::answers(engine, config, model, asked)
    });
    let mut draws = stream::iter(draws).buffered(TOGETHER);
    let (mut problem, mut right) = (done as u64, 0);
    let cancel = work.cancelled();
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StageError::Cancelled),
            next = draws.next() => next,
        };
        let Some(next) = next else { break };
        let (asked, graded) = next?;
        right = graded.iter().filter(|graded| graded.verdict.status == VerdictStatus::Correct).count();
        file.append(&rows(engine.text(), &config, asked, graded)?).await?;
        problem += 1;
        work.metric(problem, None, [("correct", right as f64), ("samples", config.n as f64)]).await?;
        work.step(problem, total).await?;
    }
    tracing::debug!(right, "the last problem's right responses");
    file.finish().await
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
