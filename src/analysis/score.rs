//! Score a trajectory: tokenise, run the three models, flag the critical tokens, grade, store.

use super::text::check_ids;
use super::{Analysis, AnalysisError, off_the_reactor, unix_seconds};
use crate::domain::critical::CriticalRule;
use crate::domain::invariants::{Defect, check_tags};
use crate::domain::model::{PerModel, Role, Roles};
use crate::domain::score::TokenScore;
use crate::domain::trace::{Prompt, Response, Timing, Token, TopToken, Trace, TraceObject, Usage};
use crate::domain::trajectory::Trajectory;
use crate::domain::verifier;
use crate::engine::text::{PromptInput, ResponseInput};
use crate::engine::{EngineError, ScoreRequest, ScoredResponse, Scorers, TextCodec};
use crate::store::TraceRecord;

/// Largest `beta`: far beyond any use, and small enough that `beta * logprob` stays exact in f32.
pub const MAX_BETA: f64 = 10.0;
/// Most of the base's likeliest tokens that a position reports.
pub const MAX_TOP: usize = 100;
/// Most further tokens that a position reports.
pub const MAX_WATCHED: usize = 256;

/// A request to score one trajectory.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreInput {
    pub prompt: PromptInput,
    pub response: ResponseInput,
    /// The reference answer; gives the trace a verdict.
    pub answer: Option<String>,
    /// Who contrasts, whatever the roles are; `None` takes the roles.
    pub models: Option<Roles>,
    /// `beta` of equation (3), 0 to [`MAX_BETA`].
    pub beta: f64,
    pub rule: CriticalRule,
    /// At most [`MAX_TOP`].
    pub top_logprobs: usize,
    /// Tokens to report at every position; at most [`MAX_WATCHED`], all of the model's vocabulary.
    pub token_ids: Vec<u32>,
    /// Whether the trace is stored.
    pub save: bool,
    pub tags: Vec<String>,
}

/// A request that is ready for the engine, and what its trace needs besides the engine's answer.
struct Prepared {
    request: ScoreRequest,
    trajectory: Trajectory,
    answer: Option<String>,
    rule: CriticalRule,
    save: bool,
    tags: Vec<String>,
}

impl Analysis {
    /// Scores one trajectory, and stores the trace if the input says so. A trace that cannot be stored is an error: it
    /// would be gone, and its id would lead nowhere.
    pub async fn score(&self, input: ScoreInput) -> Result<Trace, AnalysisError> {
        let Prepared { request, trajectory, answer, rule, save, tags } = self.prepare(input).await?;
        let beta = request.beta;
        let scored = self.engine.score(request).await?;
        self.finish(Outcome { scored, trajectory, answer, rule, save, tags, beta }).await
    }

    /// Scores several trajectories as one place in the queue; the results are in the inputs' order. An input's own
    /// mistake is its own result; the outer error is the queue's refusal of the whole.
    pub async fn score_batch(
        &self,
        inputs: Vec<ScoreInput>,
    ) -> Result<Vec<Result<Trace, AnalysisError>>, AnalysisError> {
        let mut requests = Vec::with_capacity(inputs.len());
        let mut prepared = Vec::with_capacity(inputs.len());
        for input in inputs {
            let item = self.prepare(input).await;
            requests.extend(item.iter().map(|item| item.request.clone()));
            prepared.push(item);
        }
        let expected = requests.len();
        let scored = if requests.is_empty() { Vec::new() } else { self.engine.score_batch(requests).await? };
        if scored.len() != expected {
            let message = format!("the engine answered {} of {expected} trajectories", scored.len());
            return Err(AnalysisError::Internal(message));
        }
        let mut scored = scored.into_iter();
        let mut traces = Vec::with_capacity(prepared.len());
        for item in prepared {
            traces.push(match (item, &mut scored) {
                (Err(error), _) => Err(error),
                (Ok(item), scored) => match scored.next() {
                    Some(Ok(scored)) => {
                        let Prepared { request, trajectory, answer, rule, save, tags } = item;
                        let beta = request.beta;
                        self.finish(Outcome { scored, trajectory, answer, rule, save, tags, beta }).await
                    }
                    Some(Err(error)) => Err(error.into()),
                    None => Err(AnalysisError::Internal("the engine's answer is short".to_owned())),
                },
            });
        }
        Ok(traces)
    }

    /// Checks an input and tokenises it.
    async fn prepare(&self, input: ScoreInput) -> Result<Prepared, AnalysisError> {
        if let Some(Roles { positive, negative }) = &input.models {
            for (param, name) in [("models.positive", positive), ("models.negative", negative)] {
                let refused = |error| AnalysisError::Refused { param: param.to_owned(), error };
                name.as_deref().map(|name| self.model_named(name)).transpose().map_err(refused)?;
            }
        }
        let engine = self.engine.clone();
        off_the_reactor(move || prepare(engine.text(), input)).await
    }

    /// Builds the trace, and stores it if asked to.
    async fn finish(&self, outcome: Outcome) -> Result<Trace, AnalysisError> {
        let engine = self.engine.clone();
        let id = self.ids.next_trace();
        let save = outcome.save;
        let (trace, record) = off_the_reactor(move || {
            let trace = outcome.into_trace(id, engine.text())?;
            let record = if save { Some(TraceRecord::new(&trace)?) } else { None };
            Ok((trace, record))
        })
        .await?;
        if let Some(record) = record {
            self.store.insert_trace(record).await?;
        }
        Ok(trace)
    }
}

fn prepare(text: &TextCodec, input: ScoreInput) -> Result<Prepared, AnalysisError> {
    let ScoreInput { prompt, response, answer, models, beta, rule, top_logprobs, token_ids, save, mut tags } = input;
    check_numbers(beta, top_logprobs, &rule)?;
    check_watched(&token_ids, text.vocab_size())?;
    tags.sort_unstable();
    check_tags(&tags).map_err(|Defect { field, message }| AnalysisError::Invalid { param: field, message })?;
    if answer.as_ref().is_some_and(|answer| answer.trim().is_empty()) {
        return Err(AnalysisError::invalid("answer", "the reference answer is empty"));
    }
    let trajectory = tokenised(text, prompt, response)?;
    let request = ScoreRequest {
        scorers: match models {
            None => Scorers::Roles,
            Some(Roles { positive, negative }) => {
                Scorers::Named(PerModel { base: Role::Base.name().to_owned(), positive, negative })
            }
        },
        token_ids: trajectory.token_ids(),
        response_start: trajectory.prompt_ids.len(),
        beta,
        top: top_logprobs,
        watch: token_ids,
    };
    Ok(Prepared { request, trajectory, answer, rule, save, tags })
}

/// A prompt and a response as tokens; what they lack is told by the request's name for it.
pub(super) fn tokenised(
    text: &TextCodec,
    prompt: PromptInput,
    response: ResponseInput,
) -> Result<Trajectory, AnalysisError> {
    let (prompt_field, response_field) = fields(&prompt, &response);
    if matches!(&response, ResponseInput::Text(text) if text.is_empty())
        || matches!(&response, ResponseInput::Ids(ids) if ids.is_empty())
    {
        return Err(AnalysisError::invalid(response_field, "the response is empty: there is no token to score"));
    }
    let empty_prompt = matches!(&prompt, PromptInput::Text(text) if text.is_empty())
        || matches!(&prompt, PromptInput::Ids(ids) if ids.is_empty());
    let trajectory = match text.trajectory(prompt, response) {
        // Some tokenizers put a token in front and some do not: only they know whether an empty prompt will do.
        Err(EngineError::Text(message)) if empty_prompt => return Err(AnalysisError::invalid(prompt_field, message)),
        outcome => outcome?,
    };
    if trajectory.response.is_empty() {
        return Err(AnalysisError::invalid(response_field, "the response has no token to score"));
    }
    if trajectory.prompt_ids.is_empty() {
        let message = "the prompt has no token before the response, and this model's tokenizer puts none in front: the \
                       response's first token needs a prefix to be predicted from";
        return Err(AnalysisError::invalid(prompt_field, message));
    }
    Ok(trajectory)
}

fn check_numbers(beta: f64, top: usize, rule: &CriticalRule) -> Result<(), AnalysisError> {
    if !(0.0..=MAX_BETA).contains(&beta) {
        return Err(AnalysisError::invalid("beta", format!("must be a number from 0 to {MAX_BETA}")));
    }
    if top > MAX_TOP {
        return Err(AnalysisError::invalid("top_logprobs", format!("is {top}, and at most {MAX_TOP} are reported")));
    }
    Ok(rule.check()?)
}

fn check_watched(ids: &[u32], vocab: usize) -> Result<(), AnalysisError> {
    if ids.len() > MAX_WATCHED {
        let message = format!("holds {} tokens, and at most {MAX_WATCHED} are reported", ids.len());
        return Err(AnalysisError::invalid("token_ids", message));
    }
    check_ids("token_ids", ids, vocab)
}

/// The request's names for what it gave.
pub(super) fn fields(prompt: &PromptInput, response: &ResponseInput) -> (&'static str, &'static str) {
    let prompt = match prompt {
        PromptInput::Text(_) => "prompt",
        PromptInput::Messages(_) => "messages",
        PromptInput::Ids(_) => "prompt_token_ids",
    };
    let response = match response {
        ResponseInput::Text(_) => "response",
        ResponseInput::Ids(_) => "response_token_ids",
    };
    (prompt, response)
}

/// Everything a trace is made of.
struct Outcome {
    scored: ScoredResponse,
    trajectory: Trajectory,
    answer: Option<String>,
    rule: CriticalRule,
    save: bool,
    tags: Vec<String>,
    beta: f64,
}

impl Outcome {
    fn into_trace(self, id: String, text: &TextCodec) -> Result<Trace, AnalysisError> {
        let Outcome { scored, trajectory, answer, rule, save: _, tags, beta } = self;
        let (expected, given) = (trajectory.response.len(), scored.tokens.len());
        if expected != given {
            return Err(AnalysisError::Internal(format!("the engine scored {given} of {expected} tokens")));
        }
        let scores: Vec<Option<f64>> = scored.tokens.iter().map(|token| token.score).collect();
        let critical = rule.select(&scores);
        let usage = Usage { prompt_tokens: trajectory.prompt_ids.len(), response_tokens: expected };
        let mut tokens: Vec<Token> = Vec::with_capacity(expected);
        for (position, (token, score)) in trajectory.response.into_iter().zip(scored.tokens).enumerate() {
            let TokenScore { logprob, rank, entropy, score, top } = score;
            let top = top
                .into_iter()
                .map(|other| TopToken {
                    id: other.id,
                    text: text.piece(other.id),
                    logprob: other.logprob,
                    score: other.score,
                })
                .collect();
            let critical = critical.binary_search(&position).is_ok();
            let (id, text, start, end) = (token.id, token.text, token.start, token.end);
            tokens.push(Token { position, id, text, start, end, logprob, rank, entropy, score, critical, top });
        }
        let trace = Trace {
            id,
            object: TraceObject::Trace,
            created: unix_seconds(),
            beta,
            normalizer: scored.normalizer,
            models: scored.models,
            verdict: answer.map(|answer| verifier::grade(&trajectory.response_text, &answer)),
            prompt: Prompt { text: trajectory.prompt_text, token_ids: trajectory.prompt_ids },
            response: Response { text: trajectory.response_text, straddles_boundary: trajectory.straddles_boundary },
            tokens,
            rule,
            critical,
            tags,
            usage,
            timing: Timing { queue_ms: scored.queue_ms, compute_ms: scored.compute_ms },
            rollouts: Vec::new(),
            searches: Vec::new(),
        };
        // What is wrong here is the engine's or the tokenizer's doing, and must not reach the store.
        trace.check().map_err(|defect| AnalysisError::Internal(format!("the new trace is unsound: {defect}")))?;
        Ok(trace)
    }
}

#[cfg(test)]
mod tests;
