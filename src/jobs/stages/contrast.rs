//! `contrast`: the score of equation (3) for every token of each pair's rejected response, and the weights `1 - s_t` of (5).

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::blocking;
use super::lines::LineFile;
use crate::analysis::{Place, placed};
use crate::domain::dataset::{PreferenceRow, Row};
use crate::domain::model::{ModelRef, PerModel};
use crate::engine::{Engine, ScoreRequest, ScoredResponse, Scorers};
use crate::jobs::config::ContrastConfig;
use crate::jobs::error::StageError;
use crate::jobs::plan::Stage;
use crate::jobs::prepare::{self, DropReason, DroppedRow, wrong_kind};
use crate::jobs::rows::Rows;
use crate::jobs::work::{Work, same_model};
use crate::train::Completion;

/// Pairs that take one place in the engine's queue: enough to share passes, few enough that requests are served between.
const TOGETHER: usize = 8;

/// The pairs of a file that can be scored.
pub(in crate::jobs) struct Pairs {
    pub(in crate::jobs) usable: Vec<Scorable>,
    pub(in crate::jobs) dropped: Vec<DroppedRow>,
    /// Of the usable ones' prompts and rejected responses.
    pub(in crate::jobs) tokens: u64,
}

/// A pair with its tokens.
pub(in crate::jobs) struct Scorable {
    row: PreferenceRow,
    rejected: Completion,
}

/// Reads pairs and leaves out those that do not fit the model. Blocking.
pub(in crate::jobs) fn pairs(
    engine: &dyn Engine,
    input: &Path,
    stage: &str,
    cancel: &CancellationToken,
) -> Result<Pairs, StageError> {
    let mut pairs = Pairs { usable: Vec::new(), dropped: Vec::new(), tokens: 0 };
    let max = engine.models().first().map_or(0, |base| base.max_context);
    for row in Rows::open(input, cancel)? {
        let (line, row) = row?;
        let Row::Preference(row) = row else { return Err(wrong_kind(line, "a preference")) };
        match scorable(engine, row, max) {
            Ok(pair) => {
                pairs.tokens += pair.rejected.token_ids.len() as u64;
                pairs.usable.push(pair);
            }
            Err((reason, detail)) => pairs.dropped.push(DroppedRow { stage: stage.to_owned(), line, reason, detail }),
        }
    }
    Ok(pairs)
}

/// Puts a pair's tokens into its row, so that whatever reads it next has the very tokens that were scored.
fn scorable(engine: &dyn Engine, mut row: PreferenceRow, max: usize) -> Result<Scorable, prepare::Dropping> {
    let codec = engine.text();
    let prompt = row.prompt_token_ids.as_deref();
    let chosen = prepare::tokens(codec, &row.prompt, &row.chosen, prompt.zip(row.chosen_token_ids.as_deref()))?;
    let rejected = prepare::tokens(codec, &row.prompt, &row.rejected, prompt.zip(row.rejected_token_ids.as_deref()))?;
    if rejected.token_ids.len() > max {
        let tokens = rejected.token_ids.len();
        let detail = format!("the prompt with `rejected` has {tokens} tokens, and the model's context holds {max}");
        return Err((DropReason::TooLong, detail));
    }
    if chosen.prompt() != rejected.prompt() {
        let detail = "the prompt's tokens depend on the response that follows: send token ids, or end the prompt where a \
                      token ends";
        return Err((DropReason::NotTokenizable, detail.to_owned()));
    }
    row.chosen_weights = prepare::weights("chosen_weights", row.chosen_weights.take(), &chosen, codec)?;
    row.prompt_token_ids = Some(rejected.prompt().to_vec());
    row.chosen_token_ids = Some(chosen.response().to_vec());
    row.rejected_token_ids = Some(rejected.response().to_vec());
    Ok(Scorable { row, rejected })
}

pub(super) async fn run(work: &mut Work, stage: &Stage, config: &ContrastConfig) -> Result<(), StageError> {
    let positive = work.borrow_model(&config.positive, "positive").await?;
    let negative = match work.borrow_model(&config.negative, "negative").await {
        Ok(negative) => negative,
        Err(error) => {
            work.return_model(positive).await;
            return Err(error);
        }
    };
    let outcome = score_all(work, stage, config.beta, [positive.reference(), negative.reference()]).await;
    work.return_model(positive).await;
    work.return_model(negative).await;
    outcome
}

async fn score_all(work: &mut Work, stage: &Stage, beta: f64, [p, q]: [&ModelRef; 2]) -> Result<(), StageError> {
    let (engine, cancel) = (work.engine(), work.cancelled());
    let end = cancel.clone();
    let (from, input, name) = (engine.clone(), stage.input.clone(), stage.name);
    let Pairs { usable, dropped, tokens: _ } = blocking(move || pairs(&*from, &input, name, &end)).await?;
    work.set_dropped(stage.name, dropped).await?;
    let total = usable.len() as u64;
    if total == 0 {
        return Err(StageError::failed("no_rows", "there is no pair that can be scored"));
    }
    let (mut file, done) = LineFile::resume(stage.output.clone(), 1).await?;
    work.begin_steps(done as u64, total).await?;
    // The base takes no part in (3); the positive model in its place is computed once.
    let scorers =
        Scorers::Named(PerModel { base: p.id.clone(), positive: Some(p.id.clone()), negative: Some(q.id.clone()) });
    let mut step = done as u64;
    let mut rest = usable.into_iter().skip(done).peekable();
    while rest.peek().is_some() {
        let some: Vec<Scorable> = rest.by_ref().take(TOGETHER).collect();
        let requests: Vec<ScoreRequest> = some.iter().map(|pair| request(pair, &scorers, beta)).collect();
        let scored = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StageError::Cancelled),
            scored = placed(Place::Later, || engine.score_batch(requests.clone())) => scored?,
        };
        let rows = some.into_iter().zip(scored).map(|(pair, scored)| {
            let scored = scored?;
            for (found, begun_with) in [(&scored.models.positive, p), (&scored.models.negative, q)] {
                same_model(found.as_ref().unwrap_or(&scored.models.base), begun_with)?;
            }
            weighted(pair.row, scored)
        });
        let rows = rows.collect::<Result<Vec<_>, StageError>>()?;
        file.append(&rows).await?;
        work.record.interruptions = 0;
        step += rows.len() as u64;
        work.metric(step, None, [("scores/mean", mean(&rows))]).await?;
        work.step(step, total).await?;
    }
    file.finish().await
}

fn request(pair: &Scorable, scorers: &Scorers, beta: f64) -> ScoreRequest {
    let Completion { token_ids, response_start } = pair.rejected.clone();
    ScoreRequest { scorers: scorers.clone(), token_ids, response_start, beta, top: 0, watch: Vec::new() }
}

fn weighted(mut row: PreferenceRow, scored: ScoredResponse) -> Result<PreferenceRow, StageError> {
    let scores: Option<Vec<f64>> = scored.tokens.iter().map(|token| token.score).collect();
    let scores = scores.filter(|scores| Some(scores.len()) == row.rejected_token_ids.as_ref().map(Vec::len));
    let Some(scores) = scores else {
        return Err(StageError::internal(&"the engine's answer is not what was asked for"));
    };
    // A softmax's rounding may leave 0 to 1 by a hair.
    let scores: Vec<f64> = scores.into_iter().map(|score| score.clamp(0.0, 1.0)).collect();
    row.rejected_weights = Some(scores.iter().map(|score| (1.0 - score) as f32).collect());
    row.rejected_scores = Some(scores);
    Ok(row)
}

fn mean(rows: &[PreferenceRow]) -> f64 {
    let scores = || rows.iter().flat_map(|row| row.rejected_scores.iter().flatten());
    scores().sum::<f64>() / scores().count().max(1) as f64
}
