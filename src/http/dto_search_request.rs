//! The body of a request for a search: parsed, checked, and turned into [`SearchInput`].

use serde::Deserialize;
use utoipa::ToSchema;

use super::dto_rollout_request::{SamplingRequest, base, source, yes};
use super::dto_score::{Message, answer};
use super::error::ApiError;
use crate::analysis::SearchInput;
use crate::domain::rollout::PlanError;
use crate::domain::search::{Candidates, Fallback, SearchSettings, Strategy};

const DEFAULT_SAMPLES: usize = 64;
const DEFAULT_TAIL: f64 = 0.05;
const DEFAULT_CONFIDENCE: f64 = 0.95;
const DEFAULT_BUDGET: f64 = 0.1;

/// A search of a response for its critical token: `min { t : r_t = 0 and r_u <= tail for every u > t }`, with `r_t` the
/// share of rollouts after token t that reach the right answer. The response is a stored trace's (`trace_id`), or comes
/// with the request as for a score: one of `prompt`, `messages` and `prompt_token_ids`, and one of `response` and
/// `response_token_ids`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchRequest {
    /// A stored trace. The search is stored with it.
    #[schema(example = "trace_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    trace_id: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    prompt_token_ids: Option<Vec<u32>>,
    response: Option<String>,
    response_token_ids: Option<Vec<u32>>,
    /// The reference answer; a trace that was scored with one needs none.
    #[schema(example = "500")]
    answer: Option<String>,
    /// The model that draws: the id of a loaded model or adapter, or a role's name.
    #[serde(default = "base")]
    #[schema(default = "base")]
    model: String,
    /// Rollouts a position.
    #[schema(default = 64, minimum = 1, maximum = 1024)]
    samples: Option<usize>,
    /// The highest share of right rollouts that a position after the critical one may have.
    #[schema(default = 0.05, minimum = 0, maximum = 1)]
    tail: Option<f64>,
    #[serde(default)]
    strategy: StrategyName,
    #[serde(default)]
    candidates: CandidatesRequest,
    #[serde(default)]
    fallback: FallbackName,
    /// How sure an adaptive search must be that the exhaustive one gives the same answer.
    #[schema(default = 0.95, minimum = 0.5, maximum = 1)]
    confidence: Option<f64>,
    /// The share of the exhaustive search's tokens that an adaptive one may draw before it gives its likeliest answer.
    /// Short responses get at least what all rollouts after two positions cost.
    #[schema(default = 0.1, minimum = 0, maximum = 1)]
    budget: Option<f64>,
    /// How rollouts are drawn, and where they end.
    #[serde(default)]
    sampling: SamplingRequest,
    /// Answer with server-sent events as rollouts finish.
    #[serde(default)]
    pub(super) stream: bool,
    /// Answer at once, and go on drawing whoever looks: the answer is the run, whose events tell how it goes. Needs a
    /// `trace_id`.
    #[serde(default)]
    pub(super) background: bool,
    /// Store the search with its trace.
    #[serde(default = "yes")]
    #[schema(default = true)]
    save: bool,
}

/// `adaptive` draws where the answer may still change, until it is known at the stated confidence; `exhaustive` draws
/// every rollout at every position.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StrategyName {
    #[default]
    Adaptive,
    Exhaustive,
}

/// `all` positions, or only the m with the lowest s_t: the rule is then read over these positions alone.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CandidatesRequest {
    #[default]
    All,
    LowestScores(usize),
}

/// What to answer if no position satisfies the rule. `last_zero`: the last position after which no rollout is right.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FallbackName {
    #[default]
    None,
    LastZero,
}

impl TryFrom<SearchRequest> for SearchInput {
    type Error = ApiError;

    fn try_from(request: SearchRequest) -> Result<Self, ApiError> {
        let fit_context = request.sampling.max_tokens.is_none();
        let settings = SearchSettings {
            samples: request.samples.unwrap_or(DEFAULT_SAMPLES),
            tail: request.tail.unwrap_or(DEFAULT_TAIL),
            strategy: match request.strategy {
                StrategyName::Adaptive => Strategy::Adaptive,
                StrategyName::Exhaustive => Strategy::Exhaustive,
            },
            candidates: match request.candidates {
                CandidatesRequest::All => Candidates::All,
                CandidatesRequest::LowestScores(m) => Candidates::LowestScores(m),
            },
            fallback: match request.fallback {
                FallbackName::None => Fallback::None,
                FallbackName::LastZero => Fallback::LastZero,
            },
            confidence: request.confidence.unwrap_or(DEFAULT_CONFIDENCE),
            budget: request.budget.unwrap_or(DEFAULT_BUDGET),
            sampling: request.sampling.into(),
        };
        settings.check().map_err(|PlanError { field, message }| ApiError::invalid(field, "out_of_range", message))?;
        Ok(Self {
            source: source(
                request.trace_id,
                (request.prompt, request.messages, request.prompt_token_ids),
                (request.response, request.response_token_ids),
            )?,
            answer: request.answer.map(answer).transpose()?,
            model: request.model,
            settings,
            fit_context,
            save: request.save,
        })
    }
}
