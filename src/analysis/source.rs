//! What rollouts and searches have in common: the response that they start from, a stored trace's or one that comes with
//! the request, and what they ask of the engine.
//!
//! Everything past this file works on token ids: no text is tokenised a second time.

use super::score::{fields, tokenised};
use super::{Analysis, AnalysisError, off_the_reactor};
use crate::domain::model::ModelRef;
use crate::domain::rollout::RolloutSampling;
use crate::domain::trace::{Token, Trace};
use crate::engine::text::{PromptInput, ResponseInput, TextCodec};
use crate::engine::{Fork, GenerateRequest};

/// Where a response is.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutSource {
    /// A stored trace, by its id.
    Trace(String),
    Trajectory {
        prompt: PromptInput,
        response: ResponseInput,
    },
}

/// A response, its prompt, and the answer that it should reach.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) prompt: Vec<u32>,
    pub(super) response: Vec<u32>,
    /// The reference answer.
    pub(super) answer: String,
    /// The request's names for what holds the prompt, and the response.
    pub(super) fields: (&'static str, &'static str),
    /// The trace, without its rollouts and searches.
    pub(super) trace: Option<Trace>,
}

impl Analysis {
    /// Finds a response and the answer to grade it by; an `answer` of the request goes before the trace's.
    pub(super) async fn located(
        &self,
        source: RolloutSource,
        answer: Option<String>,
    ) -> Result<Located, AnalysisError> {
        let engine = self.engine.clone();
        let (prompt, response, fields, trace) = match source {
            RolloutSource::Trace(id) => {
                let trace = self.trace_alone(&id).await?;
                same_tokenizer(engine.text(), &trace)?;
                let response = trace.tokens.iter().map(|token| token.id).collect();
                (trace.prompt.token_ids.clone(), response, ("trace_id", "trace_id"), Some(trace))
            }
            RolloutSource::Trajectory { prompt, response } => {
                let fields = fields(&prompt, &response);
                let trajectory = off_the_reactor(move || tokenised(engine.text(), prompt, response)).await?;
                let response = trajectory.response.iter().map(|token| token.id).collect();
                (trajectory.prompt_ids, response, fields, None)
            }
        };
        let answer = reference(answer, trace.as_ref())?;
        Ok(Located { prompt, response, answer, fields, trace })
    }
}

impl Analysis {
    /// The most tokens that a model's context leaves after `tokens`, at least 1 and at most `wanted`.
    pub(super) fn fitting(&self, model: &ModelRef, tokens: usize, wanted: usize) -> usize {
        let context = self.engine.models().into_iter().find(|info| info.id == model.id).map(|info| info.max_context);
        // Without room for a single one the engine refuses the text, and says so.
        context.map_or(wanted, |context| wanted.min(context.saturating_sub(tokens)).max(1))
    }
}

/// Samples after forks of a sequence, whole ones only. Its first `prompt` tokens are the prompt.
pub(super) fn drawing(
    model: &ModelRef,
    (sequence, prompt): (&[u32], usize),
    forks: Vec<Fork>,
    sampling: &RolloutSampling,
) -> GenerateRequest {
    GenerateRequest {
        model: model.id.clone(),
        token_ids: sequence.to_vec(),
        forks,
        sampling: sampling.draws(),
        max_tokens: sampling.max_tokens,
        stop: sampling.stop.clone(),
        stop_from: prompt,
        ignore_eos: false,
        top_logprobs: 0,
        every_token: false,
    }
}

/// The answer that a right rollout reaches.
fn reference(given: Option<String>, trace: Option<&Trace>) -> Result<String, AnalysisError> {
    let of_trace = || trace.and_then(|trace| trace.verdict.as_ref()).map(|verdict| verdict.reference.clone());
    let Some(answer) = given.or_else(of_trace) else {
        let message = match trace {
            Some(_) => "is needed to grade rollouts: the trace was scored without one",
            None => "is needed to grade rollouts",
        };
        return Err(AnalysisError::invalid("answer", message));
    };
    match answer.trim().is_empty() {
        true => Err(AnalysisError::invalid("answer", "the reference answer is empty")),
        false => Ok(answer),
    }
}

/// Refuses a trace whose ids mean other tokens here: one that was imported, or made before the model was exchanged.
fn same_tokenizer(text: &TextCodec, trace: &Trace) -> Result<(), AnalysisError> {
    let other = |token: &&Token| text.piece_bytes(token.id).is_none() || text.piece(token.id) != token.text;
    match trace.tokens.iter().find(other) {
        None => Ok(()),
        Some(token) => {
            let message = format!(
                "the trace was made with another tokenizer: its token {} at position {} is {:?}, and here {:?}",
                token.id,
                token.position,
                token.text,
                text.piece(token.id)
            );
            Err(AnalysisError::invalid("trace_id", message))
        }
    }
}
