//! The body of a request for chat completions, and the choices that answer it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dto_completions::Finish;
use super::dto_drawing::{Checked, Drawing, Order, Stop, StreamOptions, out_of_range};
use super::dto_score::{Message, chat};
use super::error::ApiError;
use super::idle;
use crate::analysis::{
    Choice, CompletionInput, CompletionToken, LikelyToken, MAX_LOGPROBS, Piece, PromptInput, TokenLimit,
};

/// A chat to go on with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatRequest {
    /// The id of a loaded model or adapter, or a role's name; the base by default.
    #[schema(example = "base")]
    model: Option<String>,
    /// Rendered by the model's chat template, with the beginning of an assistant's turn.
    messages: Vec<Message>,
    /// Most tokens to draw for each choice; by default as many as the context, and an answer of all choices, hold.
    max_completion_tokens: Option<usize>,
    /// The older name of `max_completion_tokens`.
    max_tokens: Option<usize>,
    /// Number of choices.
    #[schema(minimum = 1, maximum = 1024)]
    n: Option<usize>,
    /// 0 takes the likeliest token each time. 1 by default.
    #[schema(minimum = 0, maximum = 100)]
    temperature: Option<f64>,
    /// Draw from the likeliest tokens that together reach this probability.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Draw from this many of the likeliest tokens; 0 or -1 draws from all.
    top_k: Option<i64>,
    /// Draw from the tokens at least this many times as likely as the likeliest.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f64>,
    /// The same seed gives the same choices. One is chosen, and told in the answer, if none is given.
    seed: Option<i64>,
    /// Up to 16 texts that end a choice, which does not contain them.
    stop: Option<Stop>,
    /// Draw on past the end of the sequence.
    ignore_eos: Option<bool>,
    /// Report every token's log probability.
    logprobs: Option<bool>,
    /// With `logprobs`: how many of the likeliest tokens to report beside each.
    #[schema(maximum = 20)]
    top_logprobs: Option<usize>,
    /// Send the choices as they are drawn.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Not supported: 0.
    #[serde(default, deserialize_with = "idle::zero")]
    #[schema(value_type = Option<f64>)]
    presence_penalty: (),
    /// Not supported: 0.
    #[serde(default, deserialize_with = "idle::zero")]
    #[schema(value_type = Option<f64>)]
    frequency_penalty: (),
    /// Not supported: 1.
    #[serde(default, deserialize_with = "idle::one")]
    #[schema(value_type = Option<f64>)]
    repetition_penalty: (),
    /// Not supported: empty.
    #[serde(default, deserialize_with = "idle::empty")]
    #[schema(value_type = Option<Object>)]
    logit_bias: (),
    /// Not supported: empty.
    #[serde(default, deserialize_with = "idle::empty")]
    #[schema(value_type = Option<Vec<Object>>)]
    tools: (),
    /// Not supported: `none` or `auto`, which are the same without tools.
    #[serde(default, deserialize_with = "idle::no_tool")]
    #[schema(value_type = Option<String>)]
    tool_choice: (),
    /// Taken and not looked at: there are no tools.
    #[serde(default, deserialize_with = "idle::ignored")]
    #[schema(value_type = Option<bool>)]
    parallel_tool_calls: (),
    /// Not supported: `{"type": "text"}`.
    #[serde(default, deserialize_with = "idle::text_format")]
    #[schema(value_type = Option<Object>)]
    response_format: (),
    /// Not supported: false.
    #[serde(default, deserialize_with = "idle::off")]
    #[schema(value_type = Option<bool>)]
    store: (),
    /// Not supported: empty.
    #[serde(default, deserialize_with = "idle::empty")]
    #[schema(value_type = Option<Object>)]
    metadata: (),
    /// Taken and not looked at.
    #[serde(default, deserialize_with = "idle::ignored")]
    #[schema(value_type = Option<String>)]
    user: (),
}

impl TryFrom<ChatRequest> for Order {
    type Error = ApiError;

    fn try_from(request: ChatRequest) -> Result<Self, ApiError> {
        // Every field is named, so that none is forgotten: those of type () have been checked as they were read.
        let ChatRequest {
            model,
            messages,
            max_completion_tokens,
            max_tokens,
            n,
            temperature,
            top_p,
            top_k,
            min_p,
            seed,
            stop,
            ignore_eos,
            logprobs,
            top_logprobs,
            stream,
            stream_options,
            presence_penalty: (),
            frequency_penalty: (),
            repetition_penalty: (),
            logit_bias: (),
            tools: (),
            tool_choice: (),
            parallel_tool_calls: (),
            response_format: (),
            store: (),
            metadata: (),
            user: (),
        } = request;
        let drawing = Drawing { n, temperature, top_p, top_k, min_p, stop, stream, stream_options };
        let Checked { samples, sampling, stop, stream, include_usage } = drawing.try_into()?;
        let input = CompletionInput {
            model,
            prompts: vec![PromptInput::Messages(chat(messages)?)],
            samples,
            sampling,
            seed: seed.map(i64::cast_unsigned),
            limit: limit(max_completion_tokens, max_tokens)?,
            stop,
            ignore_eos: ignore_eos.unwrap_or(false),
            logprobs: reported(logprobs.unwrap_or(false), top_logprobs)?,
            echo: false,
            every_token: stream,
        };
        Ok(Self { input, include_usage })
    }
}

fn limit(max_completion_tokens: Option<usize>, max_tokens: Option<usize>) -> Result<TokenLimit, ApiError> {
    let (field, max_tokens) = match (max_completion_tokens, max_tokens) {
        (Some(limit), Some(other)) if limit != other => {
            let message = "max_tokens is the older name of max_completion_tokens, and they differ";
            return Err(ApiError::invalid("max_tokens", "conflicting_fields", message));
        }
        (Some(limit), _) => ("max_completion_tokens", limit),
        (None, Some(limit)) => ("max_tokens", limit),
        (None, None) => return Ok(TokenLimit::Fitting(usize::MAX)),
    };
    match max_tokens {
        0 => Err(out_of_range(field, "must be at least 1")),
        max_tokens => Ok(TokenLimit::Exactly { max_tokens, field }),
    }
}

fn reported(logprobs: bool, top: Option<usize>) -> Result<Option<usize>, ApiError> {
    match top {
        Some(1..) if !logprobs => {
            let message = "top_logprobs goes with logprobs: true only";
            Err(ApiError::invalid("top_logprobs", "conflicting_fields", message))
        }
        Some(top) if top > MAX_LOGPROBS => {
            Err(out_of_range("top_logprobs", format!("must be at most {MAX_LOGPROBS}, not {top}")))
        }
        top => Ok(logprobs.then_some(top.unwrap_or(0))),
    }
}

/// An assistant's message.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatChoice {
    index: usize,
    message: AssistantMessage,
    /// Null unless asked for.
    logprobs: Option<Logprobs>,
    finish_reason: Finish,
}

/// What the model says.
#[derive(Serialize, ToSchema)]
struct AssistantMessage {
    #[schema(example = "assistant")]
    role: &'static str,
    content: String,
}

/// A part of an assistant's message.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatChunkChoice {
    index: usize,
    delta: Delta,
    /// Null unless asked for.
    logprobs: Option<Logprobs>,
    /// Null in a part that is not the last.
    finish_reason: Option<Finish>,
}

/// What is new in a part: the role in the first, then the content piece by piece.
#[derive(Serialize, ToSchema)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// The tokens of a message. A token that ends it is there too, though the content does not show it.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatLogprobs)]
struct Logprobs {
    content: Vec<TokenLogprob>,
}

/// A token of the message.
#[derive(Serialize, ToSchema)]
struct TokenLogprob {
    token: String,
    /// Natural logarithm of its probability.
    logprob: Option<f32>,
    /// What the token stands for; a character may have its bytes in several tokens.
    bytes: Vec<u8>,
    /// Likeliest first.
    top_logprobs: Vec<TopLogprob>,
}

/// A likely token in the same place.
#[derive(Serialize, ToSchema)]
struct TopLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatChoice {
    /// `logprobs` says whether tokens were asked for.
    pub(super) fn whole(index: usize, choice: Choice, logprobs: bool) -> Self {
        let Choice { text, tokens, finish } = choice;
        Self {
            index,
            message: AssistantMessage { role: "assistant", content: text },
            logprobs: logprobs.then(|| tokens.into()),
            finish_reason: finish.into(),
        }
    }
}

impl ChatChunkChoice {
    /// The first part of a choice.
    pub(super) fn role(index: usize) -> Self {
        let delta = Delta { role: Some("assistant"), content: Some(String::new()) };
        Self { index, delta, logprobs: None, finish_reason: None }
    }

    /// `logprobs` says whether tokens were asked for.
    pub(super) fn part(piece: Piece, logprobs: bool) -> Self {
        let Piece { choice, text, tokens, drawn: _, finish } = piece;
        Self {
            index: choice,
            delta: Delta { role: None, content: Some(text).filter(|text| !text.is_empty()) },
            logprobs: (logprobs && !tokens.is_empty()).then(|| tokens.into()),
            finish_reason: finish.map(Finish::from),
        }
    }
}

impl From<Vec<CompletionToken>> for Logprobs {
    fn from(tokens: Vec<CompletionToken>) -> Self {
        let top = |LikelyToken { text, bytes, logprob }: LikelyToken| TopLogprob { token: text, logprob, bytes };
        let token = |CompletionToken { text, bytes, offset: _, logprob, top: likely }: CompletionToken| TokenLogprob {
            token: text,
            logprob,
            bytes,
            top_logprobs: likely.into_iter().map(top).collect(),
        };
        Self { content: tokens.into_iter().map(token).collect() }
    }
}
