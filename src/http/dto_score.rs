//! The body of a score request: parsed, checked, and turned into [`ScoreInput`], after which nobody checks again.

use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::parse_json;
use super::models::RolesDto;
use crate::analysis::{ChatMessage, MAX_BETA, MAX_TOP, MAX_WATCHED, PromptInput, ResponseInput, ScoreInput};
use crate::domain::critical::CriticalRule;
use crate::domain::invariants::{Defect, check_tags};
use crate::domain::model::Roles;

const DEFAULT_THRESHOLD: f64 = 0.05;
const MAX_TRAJECTORIES: usize = 256;
const MAX_MESSAGES: usize = 1024;
const MAX_ANSWER_BYTES: usize = 4096;

/// One trajectory to score, or a batch of them.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub(super) enum ScoreBody {
    One(Box<ScoreRequest>),
    Many(ScoreBatch),
}

/// Several trajectories, scored in one place of the queue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoreBatch {
    /// Answered in order; one that cannot be scored answers with an error of its own.
    #[schema(min_items = 1, max_items = 256)]
    pub(super) trajectories: Vec<ScoreRequest>,
}

/// One trajectory to score. Exactly one of `prompt`, `messages` and `prompt_token_ids` gives the prompt, and exactly one
/// of `response` and `response_token_ids` the response.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoreRequest {
    /// The prompt as text.
    #[schema(example = "Question: A pen costs 3 coins. What do 4 pens cost?\nAnswer:")]
    prompt: Option<String>,
    /// The prompt as a chat, rendered by the model's chat template with a generation prompt.
    messages: Option<Vec<Message>>,
    /// The prompt as token ids.
    prompt_token_ids: Option<Vec<u32>>,
    /// The response as text. Prompt and response are tokenised together; a token over the boundary is the response's.
    #[schema(example = " 4 pens cost 3 + 4 = 7 coins. The answer is 7.")]
    response: Option<String>,
    /// The response as token ids.
    response_token_ids: Option<Vec<u32>>,
    /// The reference answer; adds a verdict to the trace.
    #[schema(example = "12")]
    answer: Option<String>,
    /// Which models contrast in this score, by their ids; without it, those that have the roles.
    models: Option<RolesDto>,
    /// The contrast's strength: s_t is the softmax of (1 + beta) log p - beta log q.
    #[serde(default = "default_beta")]
    #[schema(default = 1.0, minimum = 0, maximum = 10)]
    beta: f64,
    /// Which tokens count as critical.
    #[serde(default)]
    critical: CriticalRequest,
    /// How many of the base's likeliest tokens to report at each position.
    #[serde(default)]
    #[schema(default = 0, maximum = 100)]
    top_logprobs: u32,
    /// Further tokens to report at each position.
    #[serde(default)]
    #[schema(max_items = 256)]
    token_ids: Vec<u32>,
    /// Keep the trace.
    #[serde(default = "default_save")]
    #[schema(default = true)]
    save: bool,
    /// Labels to find the trace by.
    #[serde(default)]
    #[schema(max_items = 32)]
    tags: Vec<String>,
}

fn default_beta() -> f64 {
    1.0
}

fn default_save() -> bool {
    true
}

/// One message of a chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    #[schema(example = "user")]
    role: String,
    content: Content,
}

/// A message's content: a text, or a list of text parts that are joined.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "content must be a string or a list of {\"type\": \"text\", \"text\": ...} parts")]
enum Content {
    Text(String),
    Parts(Vec<TextPart>),
}

/// A part of a message's content.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TextPart {
    #[serde(rename = "type")]
    _kind: TextPartKind,
    text: String,
}

/// The only kind of part that a text model reads.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TextPartKind {
    Text,
}

/// How critical tokens are chosen from s_t.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CriticalRequest {
    rule: RuleName,
    /// For `threshold` (default 0.05) the highest s_t that counts as critical; for `quantile` the share of tokens.
    #[schema(minimum = 0, maximum = 1, example = 0.05)]
    value: Option<f64>,
    /// For `lowest`: how many tokens.
    #[schema(minimum = 1)]
    k: Option<usize>,
}

/// `threshold`: every token with s_t <= value. `lowest`: the k tokens with the lowest s_t. `quantile`: the tokens in the
/// lowest `value` share of the response.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RuleName {
    Threshold,
    Lowest,
    Quantile,
}

impl Default for CriticalRequest {
    fn default() -> Self {
        Self { rule: RuleName::Threshold, value: None, k: None }
    }
}

impl ScoreBody {
    /// Reads a body. An enum tried variant by variant would lose the name of the field at fault, so the presence of
    /// `trajectories` decides first.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Peek {
            trajectories: Option<IgnoredAny>,
        }
        let is_batch = serde_json::from_slice::<Peek>(bytes).is_ok_and(|peek| peek.trajectories.is_some());
        if !is_batch {
            return parse_json(bytes).map(|request| Self::One(Box::new(request)));
        }
        let batch: ScoreBatch = parse_json(bytes)?;
        let count = batch.trajectories.len();
        if count == 0 || count > MAX_TRAJECTORIES {
            let message = format!("a batch holds 1 to {MAX_TRAJECTORIES} trajectories, not {count}");
            return Err(ApiError::invalid("trajectories", "invalid_batch_size", message));
        }
        Ok(Self::Many(batch))
    }
}

/// Reads one trajectory in the form of a score request's body.
///
/// # Errors
/// The error that the HTTP route answers with.
pub fn parse_trajectory(json: &[u8]) -> Result<ScoreInput, ApiError> {
    parse_json::<ScoreRequest>(json)?.try_into()
}

impl TryFrom<ScoreRequest> for ScoreInput {
    type Error = ApiError;

    fn try_from(request: ScoreRequest) -> Result<Self, ApiError> {
        if !(0.0..=MAX_BETA).contains(&request.beta) {
            let message = format!("beta must be between 0 and {MAX_BETA}, not {}", request.beta);
            return Err(ApiError::invalid("beta", "out_of_range", message));
        }
        if request.top_logprobs as usize > MAX_TOP {
            let message = format!("top_logprobs must be at most {MAX_TOP}, not {}", request.top_logprobs);
            return Err(ApiError::invalid("top_logprobs", "out_of_range", message));
        }
        if request.token_ids.len() > MAX_WATCHED {
            let message = format!("token_ids holds at most {MAX_WATCHED} ids, not {}", request.token_ids.len());
            return Err(ApiError::invalid("token_ids", "too_many", message));
        }
        check_tags(&request.tags)
            .map_err(|Defect { field, message }| ApiError::invalid(field, "invalid_value", message))?;
        Ok(Self {
            rule: request.critical.try_into()?,
            prompt: prompt(request.prompt, request.messages, request.prompt_token_ids)?,
            response: response(request.response, request.response_token_ids)?,
            answer: request.answer.map(answer).transpose()?,
            models: request.models.map(Roles::from),
            beta: request.beta,
            top_logprobs: request.top_logprobs as usize,
            token_ids: request.token_ids,
            save: request.save,
            tags: request.tags,
        })
    }
}

impl TryFrom<CriticalRequest> for CriticalRule {
    type Error = ApiError;

    fn try_from(request: CriticalRequest) -> Result<Self, ApiError> {
        let unused = |param: &str, rule: &str| {
            ApiError::invalid(param, "conflicting_fields", format!("{param} does not go with the rule {rule}"))
        };
        match request {
            CriticalRequest { rule: RuleName::Threshold, k: Some(_), .. } => Err(unused("critical.k", "threshold")),
            CriticalRequest { rule: RuleName::Quantile, k: Some(_), .. } => Err(unused("critical.k", "quantile")),
            CriticalRequest { rule: RuleName::Lowest, value: Some(_), .. } => Err(unused("critical.value", "lowest")),
            CriticalRequest { rule: RuleName::Threshold, value, k: None } => {
                Ok(Self::Threshold { value: share(value.unwrap_or(DEFAULT_THRESHOLD))? })
            }
            CriticalRequest { rule: RuleName::Quantile, value: Some(value), k: None } => {
                Ok(Self::Quantile { value: share(value)? })
            }
            CriticalRequest { rule: RuleName::Lowest, value: None, k: Some(k @ 1..) } => Ok(Self::Lowest { k }),
            CriticalRequest { rule: RuleName::Lowest, value: None, k: Some(0) } => {
                Err(ApiError::invalid("critical.k", "out_of_range", "critical.k must be at least 1"))
            }
            CriticalRequest { rule: RuleName::Quantile, value: None, k: None } => {
                Err(ApiError::invalid("critical.value", "missing_field", "the rule quantile needs critical.value"))
            }
            CriticalRequest { rule: RuleName::Lowest, value: None, k: None } => {
                Err(ApiError::invalid("critical.k", "missing_field", "the rule lowest needs critical.k"))
            }
        }
    }
}

fn share(value: f64) -> Result<f64, ApiError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    let message = format!("critical.value must be between 0 and 1, not {value}");
    Err(ApiError::invalid("critical.value", "out_of_range", message))
}

/// The prompt of a request that may give it in three ways.
pub(super) fn prompt(
    text: Option<String>,
    messages: Option<Vec<Message>>,
    ids: Option<Vec<u32>>,
) -> Result<PromptInput, ApiError> {
    match (text, messages, ids) {
        (Some(text), None, None) => Ok(PromptInput::Text(text)),
        (None, Some(messages), None) => chat(messages).map(PromptInput::Messages),
        (None, None, Some(ids)) => Ok(PromptInput::Ids(ids)),
        (None, None, None) => {
            let message = "give the prompt as one of prompt, messages and prompt_token_ids";
            Err(ApiError::invalid("prompt", "missing_field", message))
        }
        (_, Some(_), _) => Err(conflict("messages", "prompt, messages and prompt_token_ids")),
        (Some(_), _, Some(_)) => Err(conflict("prompt_token_ids", "prompt, messages and prompt_token_ids")),
    }
}

/// The response of a request that may give it in two ways.
pub(super) fn response(text: Option<String>, ids: Option<Vec<u32>>) -> Result<ResponseInput, ApiError> {
    let empty = |param: &str| ApiError::invalid(param, "empty_response", "the response is empty: nothing to score");
    match (text, ids) {
        (Some(text), None) if text.is_empty() => Err(empty("response")),
        (None, Some(ids)) if ids.is_empty() => Err(empty("response_token_ids")),
        (Some(text), None) => Ok(ResponseInput::Text(text)),
        (None, Some(ids)) => Ok(ResponseInput::Ids(ids)),
        (None, None) => {
            let message = "give the response as one of response and response_token_ids";
            Err(ApiError::invalid("response", "missing_field", message))
        }
        (Some(_), Some(_)) => Err(conflict("response_token_ids", "response and response_token_ids")),
    }
}

/// The refusal of a field beside others that say the same.
pub(super) fn conflict(param: &str, fields: &str) -> ApiError {
    ApiError::invalid(param, "conflicting_fields", format!("give only one of {fields}"))
}

/// Checks a chat's length and roles, and joins its text parts.
pub(super) fn chat(messages: Vec<Message>) -> Result<Vec<ChatMessage>, ApiError> {
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        let message = format!("messages holds 1 to {MAX_MESSAGES} messages, not {}", messages.len());
        return Err(ApiError::invalid("messages", "out_of_range", message));
    }
    let checked = |(index, Message { role, content }): (usize, Message)| {
        if role.is_empty() {
            let param = format!("messages[{index}].role");
            return Err(ApiError::invalid(param, "out_of_range", "a message's role must not be empty"));
        }
        let content = match content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        };
        Ok(ChatMessage { role, content })
    };
    messages.into_iter().enumerate().map(checked).collect()
}

/// Checks a reference answer's length.
pub(super) fn answer(answer: String) -> Result<String, ApiError> {
    if (1..=MAX_ANSWER_BYTES).contains(&answer.len()) {
        return Ok(answer);
    }
    let message = format!("answer must have 1 to {MAX_ANSWER_BYTES} bytes, not {}", answer.len());
    Err(ApiError::invalid("answer", "out_of_range", message))
}
