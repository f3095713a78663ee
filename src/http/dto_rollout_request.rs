//! The body of a request for rollouts: parsed, checked, and turned into [`RolloutInput`].

use serde::Deserialize;
use utoipa::ToSchema;

use super::dto_score::{Message, answer, conflict, prompt, response};
use super::error::ApiError;
use crate::analysis::{RolloutInput, RolloutSource};
use crate::domain::rollout::{AlternativesPlan, GivenTokens, PlanError, RolloutPlan, RolloutSampling};

const DEFAULT_COUNT: usize = 64;
const DEFAULT_SAMPLES: usize = 1;
const DEFAULT_ORIGINAL_SAMPLES: usize = 64;

/// Rollouts at one position of a response. The response is a stored trace's (`trace_id`), or comes with the request as
/// for a score: one of `prompt`, `messages` and `prompt_token_ids`, and one of `response` and `response_token_ids`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolloutsRequest {
    /// A stored trace. The rollouts are stored with it.
    #[schema(example = "trace_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    trace_id: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    prompt_token_ids: Option<Vec<u32>>,
    response: Option<String>,
    response_token_ids: Option<Vec<u32>>,
    /// The response token that others stand in for; 0 is the response's first.
    #[schema(example = 7)]
    position: usize,
    /// The model that draws: the id of a loaded model or adapter, or a role's name.
    #[serde(default = "base")]
    #[schema(default = "base")]
    model: String,
    /// Which tokens stand in for the response's own. Default: 64 draws.
    #[serde(default)]
    alternatives: AlternativesRequest,
    /// Rollouts of each alternative; of a drawn one, of each time it was drawn. In all, at most 4096 rollouts are drawn.
    #[serde(default = "default_samples")]
    #[schema(default = 1, minimum = 1, maximum = 4096)]
    samples: usize,
    /// Also draw rollouts after the response's own token.
    #[serde(default = "yes")]
    #[schema(default = true)]
    include_original: bool,
    /// Rollouts after the response's own token. Default 64; not to be given with `include_original: false`.
    #[schema(default = 64, minimum = 1, maximum = 4096)]
    original_samples: Option<usize>,
    /// How rollouts are drawn, and where they end.
    #[serde(default)]
    sampling: SamplingRequest,
    /// The reference answer; a trace that was scored with one needs none.
    #[schema(example = "500")]
    answer: Option<String>,
    /// Answer with server-sent events as rollouts finish.
    #[serde(default)]
    pub(super) stream: bool,
    /// Answer at once, and go on drawing whoever looks: the answer is the run, whose events tell how it goes. Needs a
    /// `trace_id`.
    #[serde(default)]
    pub(super) background: bool,
    /// Store the rollouts with their trace.
    #[serde(default = "yes")]
    #[schema(default = true)]
    save: bool,
}

pub(super) fn base() -> String {
    "base".to_owned()
}

pub(super) fn yes() -> bool {
    true
}

fn default_samples() -> usize {
    DEFAULT_SAMPLES
}

/// Which tokens stand in for the response's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AlternativesRequest {
    source: SourceName,
    /// For `sampled`: how often to draw. Default 64; a token that is drawn twice is one alternative with twice the
    /// rollouts.
    #[schema(minimum = 1, maximum = 4096, example = 64)]
    count: Option<usize>,
    /// For `sampled`: the temperature of these draws. Default 1, the model's own distribution.
    #[schema(minimum = 0, maximum = 100)]
    temperature: Option<f64>,
    /// For `top`: the model that is asked. Default: the model that draws the rollouts.
    model: Option<String>,
    /// For `top`: how many tokens.
    #[schema(minimum = 1, maximum = 100)]
    k: Option<usize>,
    /// For `given`: the tokens.
    #[schema(max_items = 256)]
    token_ids: Option<Vec<u32>>,
    /// For `given`: the tokens' texts, each of exactly one token.
    #[schema(max_items = 256)]
    texts: Option<Vec<String>>,
}

/// `sampled`: drawn from the model's distribution with the response's own token left out, distinct draws merged and
/// counted. `top`: the k tokens that a model finds likeliest, the response's own aside. `given`: the caller's.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SourceName {
    Sampled,
    Top,
    Given,
}

impl Default for AlternativesRequest {
    fn default() -> Self {
        Self {
            source: SourceName::Sampled,
            count: None,
            temperature: None,
            model: None,
            k: None,
            token_ids: None,
            texts: None,
        }
    }
}

/// How rollouts are drawn, and where they end. The same seed gives the same rollouts, and asking for fewer gives the
/// first of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SamplingRequest {
    #[schema(default = 0.5, minimum = 0, maximum = 100)]
    temperature: Option<f64>,
    #[schema(default = 0.95, maximum = 1)]
    top_p: Option<f64>,
    /// 0 keeps all.
    #[schema(default = 0)]
    top_k: Option<usize>,
    #[schema(default = 0.0, minimum = 0, maximum = 1)]
    min_p: Option<f64>,
    /// Most tokens after the forced one. Default: 1024, or what the model's context leaves where that is less. All samples
    /// of a request, or of a round of a search, may have 4,194,304 in all.
    #[schema(default = 1024, minimum = 1)]
    pub(super) max_tokens: Option<usize>,
    /// Texts that end a rollout. Default: `"\n\nQuestion:"`.
    #[schema(max_items = 16)]
    stop: Option<Vec<String>>,
    #[schema(default = 0)]
    seed: Option<u64>,
}

impl From<SamplingRequest> for RolloutSampling {
    fn from(request: SamplingRequest) -> Self {
        let SamplingRequest { temperature, top_p, top_k, min_p, max_tokens, stop, seed } = request;
        let default = Self::default();
        Self {
            temperature: temperature.unwrap_or(default.temperature),
            top_p: top_p.unwrap_or(default.top_p),
            top_k: top_k.unwrap_or(default.top_k),
            min_p: min_p.unwrap_or(default.min_p),
            max_tokens: max_tokens.unwrap_or(default.max_tokens),
            stop: stop.unwrap_or(default.stop),
            seed: seed.unwrap_or(default.seed),
        }
    }
}

impl TryFrom<AlternativesRequest> for AlternativesPlan {
    type Error = ApiError;

    fn try_from(request: AlternativesRequest) -> Result<Self, ApiError> {
        let AlternativesRequest { source, count, temperature, model, k, token_ids, texts } = request;
        let (name, own): (&str, &[&str]) = match source {
            SourceName::Sampled => ("sampled", &["count", "temperature"]),
            SourceName::Top => ("top", &["model", "k"]),
            SourceName::Given => ("given", &["token_ids", "texts"]),
        };
        let fields = [
            ("count", count.is_some()),
            ("temperature", temperature.is_some()),
            ("model", model.is_some()),
            ("k", k.is_some()),
            ("token_ids", token_ids.is_some()),
            ("texts", texts.is_some()),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(field, is_set)| *is_set && !own.contains(field)) {
            let message = format!("{field} does not go with the source {name}");
            return Err(ApiError::invalid(format!("alternatives.{field}"), "conflicting_fields", message));
        }
        let missing = |field: &str, message: &str| {
            Err(ApiError::invalid(format!("alternatives.{field}"), "missing_field", message))
        };
        match source {
            SourceName::Sampled => {
                Ok(Self::Sampled { count: count.unwrap_or(DEFAULT_COUNT), temperature: temperature.unwrap_or(1.0) })
            }
            SourceName::Top => match k {
                Some(k) => Ok(Self::Top { model, k }),
                None => missing("k", "say how many of the likeliest tokens stand in"),
            },
            SourceName::Given => match (token_ids, texts) {
                (Some(ids), None) => Ok(Self::Given(GivenTokens::Ids(ids))),
                (None, Some(texts)) => Ok(Self::Given(GivenTokens::Texts(texts))),
                (Some(_), Some(_)) => Err(conflict("alternatives.texts", "token_ids and texts")),
                (None, None) => missing("token_ids", "give the tokens as one of token_ids and texts"),
            },
        }
    }
}

impl TryFrom<RolloutsRequest> for RolloutInput {
    type Error = ApiError;

    fn try_from(request: RolloutsRequest) -> Result<Self, ApiError> {
        let original_samples = match (request.include_original, request.original_samples) {
            (false, None) => 0,
            (false, Some(_)) => {
                let message = "original_samples does not go with include_original: false";
                return Err(ApiError::invalid("original_samples", "conflicting_fields", message));
            }
            (true, Some(0)) => {
                let message = "must be at least 1; include_original: false leaves the response's own token out";
                return Err(ApiError::invalid("original_samples", "out_of_range", message));
            }
            (true, samples) => samples.unwrap_or(DEFAULT_ORIGINAL_SAMPLES),
        };
        let source = source(
            request.trace_id,
            (request.prompt, request.messages, request.prompt_token_ids),
            (request.response, request.response_token_ids),
        )?;
        let fit_context = request.sampling.max_tokens.is_none();
        let plan = RolloutPlan {
            position: request.position,
            model: request.model,
            alternatives: request.alternatives.try_into()?,
            samples: request.samples,
            original_samples,
            sampling: request.sampling.into(),
        };
        plan.check().map_err(|PlanError { field, message }| ApiError::invalid(field, "out_of_range", message))?;
        Ok(Self { source, answer: request.answer.map(answer).transpose()?, plan, fit_context, save: request.save })
    }
}

/// The response that a request is about: a stored trace's, or one that comes with the request.
pub(super) fn source(
    trace_id: Option<String>,
    (text, messages, ids): (Option<String>, Option<Vec<Message>>, Option<Vec<u32>>),
    (response_text, response_ids): (Option<String>, Option<Vec<u32>>),
) -> Result<RolloutSource, ApiError> {
    let inline = [
        ("prompt", text.is_some()),
        ("messages", messages.is_some()),
        ("prompt_token_ids", ids.is_some()),
        ("response", response_text.is_some()),
        ("response_token_ids", response_ids.is_some()),
    ];
    match trace_id {
        Some(id) => match inline.into_iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(conflict(field, "trace_id, and a prompt with a response")),
            None => Ok(RolloutSource::Trace(id)),
        },
        None if inline.into_iter().all(|(_, is_set)| !is_set) => {
            Err(ApiError::invalid("trace_id", "missing_field", "give a trace_id, or a prompt and a response"))
        }
        None => Ok(RolloutSource::Trajectory {
            prompt: prompt(text, messages, ids)?,
            response: response(response_text, response_ids)?,
        }),
    }
}
