//! Rollouts: force other tokens in a response token's place, let the model go on, and grade what it writes.
//!
//! Everything works on token ids: what is forced is the token itself, never its text tokenised again. This file checks
//! a request and finds its place; [`given`] reads the caller's tokens, and [`run`] draws and grades.

mod given;
mod run;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::runs::Conduct;
use super::source::{Located, RolloutSource, drawing};
use super::{Analysis, AnalysisError, RecordKind};
use crate::domain::rollout::{AlternativesPlan, PlanError, Rollout, RolloutPlan, RolloutSet};
use crate::engine::Fork;

/// A request for rollouts.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutInput {
    pub source: RolloutSource,
    /// The reference answer; `None` takes the trace's.
    pub answer: Option<String>,
    pub plan: RolloutPlan,
    /// Whether `max_tokens` is lowered to what the model's context leaves: a default should not be refused.
    pub fit_context: bool,
    /// Whether the rollouts are stored with their trace. Without a trace they are not stored.
    pub save: bool,
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
    /// The request's name for what holds the prompt.
    prompt_field: &'static str,
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
        self.conducted_rollouts(input, Conduct::default()).await
    }

    /// As [`Analysis::rollouts`], under somebody's conduct.
    pub(super) async fn conducted_rollouts(
        &self,
        input: RolloutInput,
        conduct: Conduct<RolloutSet>,
    ) -> Result<RolloutEvents, AnalysisError> {
        let RolloutInput { source, answer, mut plan, fit_context, save } = input;
        plan.check().map_err(|PlanError { field, message }| AnalysisError::invalid(field, message))?;
        let model = self.model_named(&plan.model)?.reference();
        let asked = match &plan.alternatives {
            AlternativesPlan::Top { model: Some(name), k: _ } => {
                let refused = |error| AnalysisError::Refused { param: "alternatives.model".to_owned(), error };
                self.model_named(name).map_err(refused)?.reference()
            }
            AlternativesPlan::Top { model: None, k: _ }
            | AlternativesPlan::Sampled { .. }
            | AlternativesPlan::Given(_) => model.clone(),
        };
        let site = self.site(source, answer, plan.position).await?;
        if fit_context {
            plan.sampling.max_tokens = self.fitting(&model, site.sequence.len() + 1, plan.sampling.max_tokens);
        }
        // The engine says the same, but only once the alternatives are drawn.
        let longest = Fork { keep: site.sequence.len(), forced: Some(site.original), banned: None, samples: 0..1 };
        self.engine.check(&drawing(&model, (&site.sequence, site.prompt), vec![longest], &plan.sampling)).map_err(
            |error| {
                let text = |max| if site.prompt + 1 < max { "position" } else { site.prompt_field };
                AnalysisError::of_length(error, "sampling.max_tokens", text)
            },
        )?;
        run::begin(self.clone(), run::Order { site, plan, model, asked, save }, conduct).await
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
        found.ok_or_else(|| AnalysisError::NotFound { kind: RecordKind::Rollouts, id: id.to_owned() })
    }

    /// Finds the tokens before a position, the token there, and the reference answer.
    async fn site(
        &self,
        source: RolloutSource,
        answer: Option<String>,
        position: usize,
    ) -> Result<Site, AnalysisError> {
        let Located { prompt, response, answer, fields: (prompt_field, _), trace } =
            self.located(source, answer).await?;
        let Some(&original) = response.get(position) else {
            let message = format!("is {position}, and the response has {} tokens, from 0 on", response.len());
            return Err(AnalysisError::invalid("position", message));
        };
        let mut sequence = prompt;
        let prompt = sequence.len();
        sequence.extend(&response[..position]);
        Ok(Site { sequence, prompt, original, answer, trace_id: trace.map(|trace| trace.id), prompt_field })
    }
}

#[cfg(test)]
mod tests;
