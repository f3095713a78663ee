//! The body of a request for completions, and the choices that answer it.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::dto_drawing::{Checked, Drawing, Order, Stop, StreamOptions, out_of_range};
use super::error::ApiError;
use super::idle;
use crate::analysis::{
    Choice, CompletionInput, CompletionToken, MAX_CHOICES, MAX_LOGPROBS, MAX_PROMPTS, Piece, PromptInput, TokenLimit,
};
use crate::domain::sampling::FinishReason;

/// OpenAI's default of `max_tokens`.
const DEFAULT_MAX_TOKENS: usize = 16;

/// One or several prompts to go on with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompletionRequest {
    /// The id of a loaded model or adapter, or a role's name; the base by default.
    #[schema(example = "base")]
    model: Option<String>,
    prompt: Prompt,
    /// Most tokens to draw for each choice, 16 by default; with `echo` also 0.
    #[schema(example = 32)]
    max_tokens: Option<usize>,
    /// Choices for each prompt.
    #[schema(minimum = 1, maximum = 1024)]
    n: Option<usize>,
    /// All samples are returned: only the value of `n` is taken.
    best_of: Option<usize>,
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
    /// Report every token's log probability, with this many of the likeliest tokens beside it.
    #[schema(maximum = 20)]
    logprobs: Option<usize>,
    /// Begin every choice with its prompt; with `logprobs`, report the prompt's tokens too.
    echo: Option<bool>,
    /// Send the choices as they are drawn.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Not supported: empty.
    #[serde(default, deserialize_with = "idle::empty")]
    #[schema(value_type = Option<String>)]
    suffix: (),
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
    /// Taken and not looked at.
    #[serde(default, deserialize_with = "idle::ignored")]
    #[schema(value_type = Option<String>)]
    user: (),
}

/// A text, texts, token ids, or lists of token ids.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "prompt must be a string, a list of strings, a list of token ids or a list of such lists"
)]
#[schema(as = CompletionPrompt)]
enum Prompt {
    #[schema(example = "Question: A pen costs 3 coins. What do 4 pens cost?\nAnswer:")]
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    ManyIds(Vec<Vec<u32>>),
}

impl From<Prompt> for Vec<PromptInput> {
    fn from(prompt: Prompt) -> Self {
        match prompt {
            Prompt::Text(text) => vec![PromptInput::Text(text)],
            Prompt::Texts(texts) => texts.into_iter().map(PromptInput::Text).collect(),
            Prompt::Ids(ids) => vec![PromptInput::Ids(ids)],
            Prompt::ManyIds(lists) => lists.into_iter().map(PromptInput::Ids).collect(),
        }
    }
}

impl TryFrom<CompletionRequest> for Order {
    type Error = ApiError;

    fn try_from(request: CompletionRequest) -> Result<Self, ApiError> {
        // Every field is named, so that none is forgotten: those of type () have been checked as they were read.
        let CompletionRequest {
            model,
            prompt,
            max_tokens,
            n,
            best_of,
            temperature,
            top_p,
            top_k,
            min_p,
            seed,
            stop,
            ignore_eos,
            logprobs,
            echo,
            stream,
            stream_options,
            suffix: (),
            presence_penalty: (),
            frequency_penalty: (),
            repetition_penalty: (),
            logit_bias: (),
            user: (),
        } = request;
        let drawing = Drawing { n, temperature, top_p, top_k, min_p, stop, stream, stream_options };
        let Checked { samples, sampling, stop, stream, include_usage } = drawing.try_into()?;
        let prompts = Vec::from(prompt);
        if !(1..=MAX_PROMPTS).contains(&prompts.len()) {
            let message = format!("holds 1 to {MAX_PROMPTS} prompts, not {}", prompts.len());
            return Err(out_of_range("prompt", message));
        }
        if prompts.len() * samples > MAX_CHOICES {
            let message = format!("times the number of prompts is at most {MAX_CHOICES}");
            return Err(out_of_range("n", message));
        }
        if best_of.is_some_and(|best_of| best_of != samples) {
            let message = "best_of must equal n: every sample that is drawn is returned";
            return Err(ApiError::invalid("best_of", "unsupported_value", message));
        }
        if let Some(logprobs) = logprobs.filter(|logprobs| *logprobs > MAX_LOGPROBS) {
            return Err(out_of_range("logprobs", format!("must be at most {MAX_LOGPROBS}, not {logprobs}")));
        }
        let echo = echo.unwrap_or(false);
        if max_tokens == Some(0) && !echo {
            return Err(out_of_range("max_tokens", "must be at least 1 without echo"));
        }
        let input = CompletionInput {
            model,
            prompts,
            samples,
            sampling,
            seed: seed.map(i64::cast_unsigned),
            limit: max_tokens.map_or(TokenLimit::Fitting(DEFAULT_MAX_TOKENS), |max_tokens| TokenLimit::Exactly {
                max_tokens,
                field: "max_tokens",
            }),
            stop,
            ignore_eos: ignore_eos.unwrap_or(false),
            logprobs,
            echo,
            every_token: stream,
        };
        Ok(Self { input, include_usage })
    }
}

/// A completion, or while it is streamed a part of one.
#[derive(Serialize, ToSchema)]
pub(super) struct TextChoice {
    text: String,
    /// Sample `s` of prompt `p` is number `p * n + s`.
    index: usize,
    /// Null unless asked for.
    logprobs: Option<Logprobs>,
    /// Null in a part that is not the last.
    finish_reason: Option<Finish>,
}

/// Why a choice ended: the model ended it or came to a stop text, or it reached the most tokens.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CompletionFinishReason)]
pub(super) enum Finish {
    Stop,
    Length,
}

impl From<FinishReason> for Finish {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop | FinishReason::Eos => Self::Stop,
            FinishReason::Length => Self::Length,
        }
    }
}

/// The tokens of a choice in OpenAI's older form, one entry a token in each list. A token that ends the choice is there
/// too, though the text does not show it.
#[derive(Serialize, ToSchema)]
#[schema(as = CompletionLogprobs)]
struct Logprobs {
    tokens: Vec<String>,
    /// Natural logarithms; null for an echoed prompt's first token.
    token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens, likeliest first, and the token itself if it is not one of them.
    top_logprobs: Vec<Option<TopLogprobs>>,
    /// Characters of the text before each token.
    text_offset: Vec<usize>,
}

/// Log probabilities by the tokens' text. Of tokens that read the same the likeliest counts.
#[derive(ToSchema)]
#[schema(as = CompletionTopLogprobs, value_type = std::collections::BTreeMap<String, f32>)]
struct TopLogprobs(Vec<(String, f32)>);

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (text, logprob) in &self.0 {
            map.serialize_entry(text, logprob)?;
        }
        map.end()
    }
}

impl TextChoice {
    /// `logprobs` says whether tokens were asked for.
    pub(super) fn part(piece: Piece, logprobs: bool) -> Self {
        let Piece { choice, text, tokens, drawn: _, finish } = piece;
        Self { text, index: choice, logprobs: logprobs.then(|| tokens.into()), finish_reason: finish.map(Finish::from) }
    }

    pub(super) fn whole(index: usize, choice: Choice, logprobs: bool) -> Self {
        let Choice { text, tokens, finish } = choice;
        Self { text, index, logprobs: logprobs.then(|| tokens.into()), finish_reason: Some(finish.into()) }
    }
}

impl From<Vec<CompletionToken>> for Logprobs {
    fn from(list: Vec<CompletionToken>) -> Self {
        let count = list.len();
        let mut logprobs = Self {
            tokens: Vec::with_capacity(count),
            token_logprobs: Vec::with_capacity(count),
            top_logprobs: Vec::with_capacity(count),
            text_offset: Vec::with_capacity(count),
        };
        for CompletionToken { text, bytes: _, offset, logprob, top } in list {
            let own = logprob.map(|logprob| (text.clone(), logprob));
            logprobs.top_logprobs.push(own.map(|own| {
                let mut named: Vec<(String, f32)> = Vec::with_capacity(top.len() + 1);
                for (text, logprob) in top.into_iter().map(|likely| (likely.text, likely.logprob)).chain([own]) {
                    if named.iter().all(|(other, _)| *other != text) {
                        named.push((text, logprob));
                    }
                }
                TopLogprobs(named)
            }));
            logprobs.tokens.push(text);
            logprobs.token_logprobs.push(logprob);
            logprobs.text_offset.push(offset);
        }
        logprobs
    }
}
