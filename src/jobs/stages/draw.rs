//! Responses to problems: which problems can be put to the model, and what it answers to one.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::lines::LineFile;
use crate::analysis::{Place, placed};
use crate::domain::dataset::Row;
use crate::domain::model::ModelRef;
use crate::domain::sampling::FinishReason;
use crate::domain::verdict::Verdict;
use crate::domain::verifier;
use crate::engine::text::PromptInput;
use crate::engine::{Engine, EngineError, Fork, GenerateRequest, GenerationEvent, Sample, TextCodec};
use crate::jobs::config::{DrawConfig, ModelSource};
use crate::jobs::error::StageError;
use crate::jobs::plan::{Stage, at_fault};
use crate::jobs::prepare::{DroppedRow, wrong_kind};
use crate::jobs::rows::Rows;
use crate::jobs::work::{Work, same_model};

/// A problem that the model can be asked.
#[derive(Debug, Clone)]
pub(in crate::jobs) struct Asked {
    /// The number of its row, from 0; seeds its draws.
    pub(in crate::jobs) index: u64,
    pub(in crate::jobs) question: String,
    pub(in crate::jobs) answer: String,
}

/// The problems of a file.
pub(in crate::jobs) struct Problems {
    pub(in crate::jobs) usable: Vec<Asked>,
    pub(in crate::jobs) dropped: Vec<DroppedRow>,
    /// Of the usable ones' prompts.
    pub(in crate::jobs) tokens: u64,
}

/// A response with its verdict.
pub(super) struct Graded {
    pub(super) text: String,
    pub(super) token_ids: Vec<u32>,
    pub(super) finish: FinishReason,
    pub(super) verdict: Verdict,
}

/// A problem's lines in a stage's file, and its metrics.
pub(super) type Made<R> = (Vec<R>, Vec<(&'static str, f64)>);

/// Reads problems and leaves out those that do not fit the model. Blocking.
pub(in crate::jobs) fn problems(
    engine: &dyn Engine,
    input: &Path,
    config: &DrawConfig,
    stage: &str,
    cancel: &CancellationToken,
) -> Result<Problems, StageError> {
    let mut problems = Problems { usable: Vec::new(), dropped: Vec::new(), tokens: 0 };
    // An adapter that is not loaded yet has the base's limits.
    let model = match &config.model {
        ModelSource::Loaded(name) => name.as_str(),
        ModelSource::Artifact(_) => "base",
    };
    for (index, row) in Rows::open(input, cancel)?.enumerate() {
        let (line, row) = row?;
        let Row::Problem(problem) = row else { return Err(wrong_kind(line, "a problem")) };
        let asked = Asked { index: index as u64, question: problem.question, answer: problem.answer };
        let checked = request(engine.text(), config, model, &asked).and_then(|request| {
            engine.check(&request)?;
            Ok(request.token_ids.len())
        });
        match checked {
            Ok(tokens) => {
                problems.tokens += tokens as u64;
                problems.usable.push(asked);
            }
            Err(error) => {
                let (reason, detail) = at_fault(error)?;
                problems.dropped.push(DroppedRow { stage: stage.to_owned(), line, reason, detail });
            }
        }
    }
    Ok(problems)
}

fn request(codec: &TextCodec, config: &DrawConfig, model: &str, asked: &Asked) -> Result<GenerateRequest, EngineError> {
    let token_ids = codec.prompt(PromptInput::Text(config.whole_prompt(&asked.question)))?.ids;
    if token_ids.is_empty() {
        return Err(EngineError::Text("the prompt has no token".to_owned()));
    }
    let keep = token_ids.len();
    Ok(GenerateRequest {
        model: model.to_owned(),
        token_ids,
        forks: vec![Fork { keep, forced: None, banned: None, samples: 0..config.n }],
        sampling: config.sampling(asked.index),
        max_tokens: config.max_tokens,
        stop: config.stop.clone(),
        stop_from: keep,
        ignore_eos: false,
        top_logprobs: 0,
        every_token: false,
    })
}

/// Draws for every problem that the stage's file does not hold yet, in their order, `together` problems at once; what `make`
/// makes of a problem's responses are its lines in the file, and its metrics. The number of problems, dropped ones too.
pub(super) async fn draw_all<R: Serialize>(
    work: &mut Work,
    stage: &Stage,
    config: &DrawConfig,
    together: usize,
    make: impl Fn(Asked, Vec<Graded>) -> Result<Made<R>, StageError>,
) -> Result<u64, StageError> {
    let model = work.borrow_model(&config.model, stage.name).await?;
    let outcome = draw_with(work, stage, (config, model.reference()), together, make).await;
    work.return_model(model).await;
    outcome
}

async fn draw_with<R: Serialize>(
    work: &mut Work,
    stage: &Stage,
    (config, model): (&DrawConfig, &ModelRef),
    together: usize,
    make: impl Fn(Asked, Vec<Graded>) -> Result<Made<R>, StageError>,
) -> Result<u64, StageError> {
    let (engine, cancel) = (work.engine(), work.cancelled());
    let problems = {
        let (engine, input, config, name) = (engine.clone(), stage.input.clone(), config.clone(), stage.name);
        let cancel = cancel.clone();
        super::blocking(move || problems(&*engine, &input, &config, name, &cancel)).await?
    };
    let asked_for = (problems.usable.len() + problems.dropped.len()) as u64;
    work.set_dropped(stage.name, problems.dropped).await?;
    let total = problems.usable.len() as u64;
    if total == 0 {
        return Err(StageError::failed("no_rows", "there is no problem that can be put to the model"));
    }
    let (mut file, done) = LineFile::resume(stage.output.clone(), config.n).await?;
    work.begin_steps(done as u64, total).await?;
    let config = Arc::new(config.clone());
    let draws = problems
        .usable
        .into_iter()
        .skip(done)
        .map(|asked| answers(engine.clone(), config.clone(), model.clone(), asked));
    let mut draws = stream::iter(draws).buffered(together);
    let mut step = done as u64;
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StageError::Cancelled),
            next = draws.next() => next,
        };
        let Some(next) = next else { break };
        let (asked, graded) = next?;
        let (rows, metrics) = make(asked, graded)?;
        file.append(&rows).await?;
        work.record.interruptions = 0;
        step += 1;
        if !metrics.is_empty() {
            work.metric(step, None, metrics).await?;
        }
        work.step(step, total).await?;
    }
    file.finish().await?;
    Ok(asked_for)
}

/// Draws and grades the responses to a problem, in the order of their numbers. Waits for its place in the engine's queue:
/// whoever sits before a page goes first.
async fn answers(
    engine: Arc<dyn Engine>,
    config: Arc<DrawConfig>,
    model: ModelRef,
    asked: Asked,
) -> Result<(Asked, Vec<Graded>), StageError> {
    let request = request(engine.text(), &config, &model.id, &asked)?;
    let generation = placed(Place::Later, || ready(engine.generate(request.clone()))).await?;
    same_model(&generation.model, &model)?;
    let mut samples: Vec<Sample> = Vec::with_capacity(config.n);
    let mut events = generation.events;
    while let Some(event) = events.try_next().await? {
        match event {
            GenerationEvent::Sample(sample) => samples.push(sample),
            GenerationEvent::Forced { .. } | GenerationEvent::Token { .. } | GenerationEvent::Done(_) => {}
        }
    }
    if samples.len() != config.n {
        return Err(StageError::internal(&format!("the engine drew {} of {} samples", samples.len(), config.n)));
    }
    samples.sort_by_key(|sample| sample.number);
    super::blocking(move || {
        let graded = samples.into_iter().map(|sample| grade(engine.text(), sample, &asked.answer));
        let graded = graded.collect::<Result<Vec<_>, StageError>>()?;
        Ok((asked, graded))
    })
    .await
}

fn grade(codec: &TextCodec, sample: Sample, answer: &str) -> Result<Graded, StageError> {
    let text = sample.text();
    let token_ids = kept_tokens(codec, &sample, &text)?;
    let verdict = verifier::grade(&text, answer);
    Ok(Graded { text, token_ids, finish: sample.finish, verdict })
}

/// The tokens of a sample without those that spell its stop string, and with the one that ends a sequence where the sample
/// is finished: what a model is to learn to write. Of a token that the stop string cuts, what comes before the cut is
/// spelled anew.
fn kept_tokens(codec: &TextCodec, sample: &Sample, text: &str) -> Result<Vec<u32>, EngineError> {
    let mut ids = sample.token_ids();
    match sample.finish {
        FinishReason::Eos | FinishReason::Length => return Ok(ids),
        FinishReason::Stop => {}
    }
    let mut bytes = 0;
    let whole = ids.iter().take_while(|&&id| {
        bytes += codec.text_bytes(id).len();
        bytes <= text.len()
    });
    let whole = whole.count();
    let kept: usize = ids[..whole].iter().map(|&id| codec.text_bytes(id).len()).sum();
    let rest = text.get(kept..).unwrap_or_default();
    let spelled = if rest.is_empty() { Vec::new() } else { codec.encode(rest, false)? };
    let drawn = std::mem::take(&mut ids);
    ids.extend(&drawn[..whole]);
    ids.extend(spelled);
    ids.extend(codec.eos_ids().first());
    // Without a token that ends a sequence, a response that stopped at once would have none at all.
    Ok(if ids.is_empty() { drawn } else { ids })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::DrawnToken;
    use crate::engine::text::fixtures::{EOS, HE, SPACE_HE, byte_level};

    /// Draws of these tokens that end with this text.
    fn kept(ids: &[u32], finish: FinishReason, text: &str) -> Vec<u32> {
        let codec = byte_level(&json!({"eos_token": "</s>"}));
        let token = |&id: &u32| DrawnToken { id, logprob: 0.0, top: vec![], text: String::new() };
        let sample = Sample { fork: 0, number: 0, tokens: ids.iter().map(token).collect(), finish };
        kept_tokens(&codec, &sample, text).unwrap()
    }

    #[test]
    fn a_response_is_learned_without_its_stop_string_and_with_its_end() {
        let (h, space) = (u32::from(b'h'), u32::from(b' '));
        assert_eq!(kept(&[HE, SPACE_HE, SPACE_HE], FinishReason::Stop, "he he"), [HE, SPACE_HE, EOS]);
        // The stop string `e` cuts the second token.
        assert_eq!(kept(&[HE, SPACE_HE], FinishReason::Stop, "he h"), [HE, space, h, EOS]);
        assert_eq!(kept(&[SPACE_HE], FinishReason::Stop, ""), [EOS]);
        assert_eq!(kept(&[HE, EOS], FinishReason::Eos, "he"), [HE, EOS]);
        assert_eq!(kept(&[HE, HE], FinishReason::Length, "hehe"), [HE, HE]);
    }
}
