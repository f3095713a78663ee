//! `/tokenize` and `/detokenize`, in the form that vLLM gives them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dto_score::{Message, chat};
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, Ready};
use crate::analysis::{Analysis, AnalysisError, TokenizeInput};

/// A text, or a chat, to tokenise. Exactly one of `prompt` and `messages`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenizeRequest {
    /// Must be loaded when given; every loaded model has the same tokenizer.
    model: Option<String>,
    #[schema(example = "The answer is 12.")]
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    /// Add what the tokenizer's own configuration adds, such as a BOS token. Default true for a prompt. A chat
    /// template writes its own, so with `messages` only false is taken.
    add_special_tokens: Option<bool>,
    /// With `messages`: end with the beginning of an assistant's turn. Default true.
    add_generation_prompt: Option<bool>,
    /// Answer with `token_strs` too.
    #[serde(default)]
    return_token_strs: bool,
}

/// Token ids of a text.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenizeAnswer {
    /// Length of `tokens`.
    count: usize,
    /// Longest trajectory in tokens.
    max_model_len: usize,
    tokens: Vec<u32>,
    /// The tokens as the vocabulary spells them; null unless asked for.
    token_strs: Option<Vec<String>>,
}

/// Token ids to turn into text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DetokenizeRequest {
    /// Must be loaded when given; every loaded model has the same tokenizer.
    model: Option<String>,
    tokens: Vec<u32>,
    /// Leave special tokens out of the text.
    #[serde(default)]
    skip_special_tokens: bool,
}

/// The text of token ids.
#[derive(Serialize, ToSchema)]
pub(super) struct DetokenizeAnswer {
    prompt: String,
}

/// Tokenise
#[utoipa::path(
    post, path = "/tokenize", tag = "text", security(("api_key" = [])), request_body = TokenizeRequest,
    responses(
        (status = 200, description = "The token ids", body = TokenizeAnswer),
        (status = 404, description = "No model has this name", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn tokenize(
    Ready(analysis): Ready,
    Json(request): Json<TokenizeRequest>,
) -> Result<axum::Json<TokenizeAnswer>, ApiError> {
    require_model(&analysis, request.model.as_deref())?;
    let with_strings = request.return_token_strs;
    let input = TokenizeInput::try_from(request)?;
    let tokenized = off_the_reactor(move || analysis.tokenize(input)).await?;
    Ok(axum::Json(TokenizeAnswer {
        count: tokenized.ids.len(),
        max_model_len: tokenized.max_context,
        tokens: tokenized.ids,
        token_strs: with_strings.then_some(tokenized.pieces),
    }))
}

/// Detokenise
#[utoipa::path(
    post, path = "/detokenize", tag = "text", security(("api_key" = [])), request_body = DetokenizeRequest,
    responses(
        (status = 200, description = "The text", body = DetokenizeAnswer),
        (status = 404, description = "No model has this name", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn detokenize(
    Ready(analysis): Ready,
    Json(request): Json<DetokenizeRequest>,
) -> Result<axum::Json<DetokenizeAnswer>, ApiError> {
    let DetokenizeRequest { model, tokens, skip_special_tokens } = request;
    require_model(&analysis, model.as_deref())?;
    let prompt = off_the_reactor(move || analysis.detokenize(&tokens, skip_special_tokens)).await?;
    Ok(axum::Json(DetokenizeAnswer { prompt }))
}

/// A body may hold megabytes of text: tokenising that on a reactor thread would hold up every other request.
async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AnalysisError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(ApiError::from),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

fn require_model(analysis: &Analysis, id: Option<&str>) -> Result<(), ApiError> {
    match id {
        Some(id) if analysis.models().iter().all(|model| model.id != id) => Err(ApiError::model_not_found(id)),
        Some(_) | None => Ok(()),
    }
}

impl TryFrom<TokenizeRequest> for TokenizeInput {
    type Error = ApiError;

    fn try_from(request: TokenizeRequest) -> Result<Self, ApiError> {
        let TokenizeRequest { prompt, messages, add_special_tokens, add_generation_prompt, .. } = request;
        let conflict = |param: &str, message: &str| ApiError::invalid(param, "conflicting_fields", message);
        match (prompt, messages) {
            (Some(_), None) if add_generation_prompt.is_some() => {
                Err(conflict("add_generation_prompt", "add_generation_prompt goes with messages only"))
            }
            (None, Some(_)) if add_special_tokens == Some(true) => {
                Err(conflict("add_special_tokens", "a chat template writes its special tokens itself"))
            }
            (Some(text), None) => Ok(Self::Text { text, add_special_tokens: add_special_tokens.unwrap_or(true) }),
            (None, Some(messages)) => {
                let messages = chat(messages)?;
                Ok(Self::Messages { messages, add_generation_prompt: add_generation_prompt.unwrap_or(true) })
            }
            (Some(_), Some(_)) => Err(conflict("messages", "give only one of prompt and messages")),
            (None, None) => Err(ApiError::invalid("prompt", "missing_field", "give one of prompt and messages")),
        }
    }
}
