//! Rollouts: force other tokens in a response token's place, let the model go on, and grade what it writes.
//!
//! Everything works on token ids: what is forced is the token itself, never its text tokenised again. This file checks
//! a request and finds its place; [`given`] reads the caller's tokens, and [`run`] draws and grades.

mod given;
pub(super) mod run;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::score::tokenised;
use super::traces::no_trace;
use super::{Analysis, AnalysisError, off_the_reactor};
use crate::domain::model::{ModelInfo, Role};
use crate::domain::rollout::{AlternativesPlan, PlanError, Rollout, RolloutPlan, RolloutSet};
use crate::domain::trace::Trace;
use crate::engine::EngineError;
use crate::engine::text::{PromptInput, ResponseInput, TextCodec};

/// A request for rollouts.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutInput {
    pub source: RolloutSource,
    /// The reference answer; `None` takes the trace's.
    pub answer: Option<String>,
    pub plan: RolloutPlan,
    /// Whether the rollouts are stored with their trace. Without a trace they are not stored.
    pub save: bool,
}

/// The response whose token others stand in for.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutSource {
    /// A stored trace, by its id.
    Trace(String),
    Trajectory {
        prompt: PromptInput,
        response: ResponseInput,
    },
}

/// What happens to a request for rollouts, in this order: a summary that names the alternatives, rollouts as they
/// finish with a summary now and then, and the whole at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutEvent {
    /// How things stand: the whole set but its rollouts.
    Summary(Box<RolloutSet>),
    Rollout(Box<Rollout>),
    /// The whole set. It is stored by now.
    Done(Box<RolloutSet>),
}

/// Events of one request; dropping them stops the engine's work, and nothing is stored then. An error is the last.
pub type RolloutEvents = BoxStream<'static, Result<RolloutEvent, AnalysisError>>;

/// Where tokens are forced.
#[derive(Debug, Clone)]
struct Site {
    /// The prompt and what is kept of the response: all that comes before the forced token.
    sequence: Vec<u32>,
    /// How many of them are the prompt's.
    prompt: usize,
    /// The response's own token.
    original: u32,
    /// The reference answer.
    answer: String,
    trace_id: Option<String>,
}

impl Site {
    /// What is kept of the response.
    fn kept(&self) -> &[u32] {
        &self.sequence[self.prompt..]
    }
}

impl Analysis {
    /// Begins rollouts. What can be refused is refused here, before any event.
    pub async fn rollouts(&self, input: RolloutInput) -> Result<RolloutEvents, AnalysisError> {
        let RolloutInput { source, answer, plan, save } = input;
        plan.check().map_err(|PlanError { field, message }| AnalysisError::invalid(field, message))?;
        let model = self.known_model(&plan.model)?;
        if let AlternativesPlan::Top { model: Some(model), .. } = &plan.alternatives {
            self.known_model(model)?;
        }
        let site = self.site(source, answer, plan.position).await?;
        let (tokens, max_tokens, max) = (site.sequence.len() + 1, plan.sampling.max_tokens, model.max_context);
        // The engine says the same, but only once the alternatives are drawn.
        if tokens.saturating_add(max_tokens) > max {
            return Err(EngineError::ContextExceeded { tokens, max_tokens, max }.into());
        }
        let set = run::empty_set(self.ids.next_rollouts(), &model, &site, &plan, save);
        run::begin(self.clone(), site, plan, set).await
    }

    /// Draws rollouts to their end.
    pub async fn finished_rollouts(&self, input: RolloutInput) -> Result<RolloutSet, AnalysisError> {
        let mut events = self.rollouts(input).await?;
        while let Some(event) = events.next().await {
            if let RolloutEvent::Done(set) = event? {
                return Ok(*set);
            }
        }
        Err(AnalysisError::Internal("rollouts ended without a result".to_owned()))
    }

    /// Stored rollouts.
    pub async fn stored_rollouts(&self, id: &str) -> Result<RolloutSet, AnalysisError> {
        let found = self.store.attachment(id).await?;
        found.ok_or_else(|| AnalysisError::NotFound { kind: "rollouts", id: id.to_owned() })
    }

    /// The model of an id, or the one that plays the role of that name.
    pub(super) fn known_model(&self, name: &str) -> Result<ModelInfo, AnalysisError> {
        let models = self.engine.models();
        let plays = |model: &&ModelInfo| model.roles.iter().copied().map(Role::name).any(|role| role == name);
        let found = models.iter().find(|model| model.id == name).or_else(|| models.iter().find(plays));
        Ok(found.cloned().ok_or_else(|| EngineError::UnknownModel { id: name.to_owned() })?)
    }

    /// Finds the tokens before a position, the token there, and the reference answer.
    async fn site(
        &self,
        source: RolloutSource,
        answer: Option<String>,
        position: usize,
    ) -> Result<Site, AnalysisError> {
        let engine = self.engine.clone();
        let (prompt, response, reference, trace_id) = match source {
            RolloutSource::Trace(id) => {
                let Some(trace) = self.store.trace(&id).await? else { return Err(no_trace(&id)) };
                same_tokenizer(engine.text(), &trace)?;
                let response: Vec<u32> = trace.tokens.iter().map(|token| token.id).collect();
                let reference = trace.verdict.map(|verdict| verdict.reference);
                (trace.prompt.token_ids, response, reference, Some(trace.id))
            }
            RolloutSource::Trajectory { prompt, response } => {
                let trajectory = off_the_reactor(move || tokenised(engine.text(), prompt, response)).await?;
                let response = trajectory.response.iter().map(|token| token.id).collect();
                (trajectory.prompt_ids, response, None, None)
            }
        };
        let Some(answer) = answer.or(reference) else {
            let message = match trace_id {
                Some(_) => "is needed to grade rollouts: the trace was scored without one",
                None => "is needed to grade rollouts",
            };
            return Err(AnalysisError::invalid("answer", message));
        };
        if answer.trim().is_empty() {
            return Err(AnalysisError::invalid("answer", "the reference answer is empty"));
        }
        let Some(&original) = response.get(position) else {
            let message = format!("is {position}, and the response has {} tokens, from 0 on", response.len());
            return Err(AnalysisError::invalid("position", message));
        };
        let mut sequence = prompt;
        let prompt = sequence.len();
        sequence.extend(&response[..position]);
        Ok(Site { sequence, prompt, original, answer, trace_id })
    }
}

/// Refuses a trace whose ids mean other tokens here: one that was imported, or made before the model was exchanged.
pub(super) fn same_tokenizer(text: &TextCodec, trace: &Trace) -> Result<(), AnalysisError> {
    match trace.tokens.iter().find(|token| text.piece(token.id) != token.text) {
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

#[cfg(test)]
mod tests;
