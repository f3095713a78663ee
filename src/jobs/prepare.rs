//! Rows to tokens, and which rows cannot be used: too long, not text that the model knows, not of the kind asked for.
//!
//! A row that brings its tokens is never tokenised again. One that is text alone is tokenised prompt and response together,
//! and its response ends with the token that ends a sequence, as in TRL.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::config::{PreferenceConfig, Responses, SftConfig};
use super::error::StageError;
use super::rows::Rows;
use crate::domain::dataset::{PreferenceRow, Row, SampledResponse};
use crate::domain::verdict::VerdictStatus;
use crate::domain::verifier;
use crate::engine::TextCodec;
use crate::engine::text::{PromptInput, ResponseInput};
use crate::train::{Completion, Examples, Pair, PreferenceLoss};

/// A row that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRow {
    pub stage: String,
    /// Of the stage's input, counted from 1.
    pub line: usize,
    pub reason: DropReason,
    pub detail: String,
}

/// Why a row is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    PromptTooLong,
    TooLong,
    /// The text cannot be tokenised, or a token is none of the model's.
    NotTokenizable,
    /// The weights are not as many as the tokens.
    WeightsMismatch,
    /// Of the other verdict than the one that is learned from.
    OtherVerdict,
    /// Neither graded nor gradable.
    NoVerdict,
}

impl DropReason {
    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::PromptTooLong => "prompt_too_long",
            DropReason::TooLong => "too_long",
            DropReason::NotTokenizable => "not_tokenizable",
            DropReason::WeightsMismatch => "weights_mismatch",
            DropReason::OtherVerdict => "other_verdict",
            DropReason::NoVerdict => "no_verdict",
        }
    }
}

/// Why one row is dropped.
pub(super) type Dropping = (DropReason, String);

/// Training data of a file, and what it leaves out.
pub(super) struct Prepared {
    pub(super) examples: Examples,
    pub(super) dropped: Vec<DroppedRow>,
}

/// Responses to learn from. Blocking.
pub(super) fn completions(
    codec: &TextCodec,
    input: &Path,
    config: &SftConfig,
    stage: &str,
    cancel: &CancellationToken,
) -> Result<Prepared, StageError> {
    let (mut examples, mut dropped) = (Vec::new(), Vec::new());
    for row in Rows::open(input, cancel)? {
        let (line, row) = row?;
        let Row::Response(row) = row else { return Err(wrong_kind(line, "a trajectory")) };
        match wanted(&row, config.responses).and_then(|()| completion(codec, &row, config.max_length)) {
            Ok(example) => examples.push(example),
            Err((reason, detail)) => dropped.push(DroppedRow { stage: stage.to_owned(), line, reason, detail }),
        }
    }
    Ok(Prepared { examples: Examples::Completions(examples), dropped })
}

/// Pairs to learn from. Blocking.
pub(super) fn pairs(
    codec: &TextCodec,
    input: &Path,
    config: &PreferenceConfig,
    stage: &str,
    cancel: &CancellationToken,
) -> Result<Prepared, StageError> {
    let (mut examples, mut dropped) = (Vec::new(), Vec::new());
    for row in Rows::open(input, cancel)? {
        let (line, row) = row?;
        let Row::Preference(row) = row else { return Err(wrong_kind(line, "a preference")) };
        check_weights(line, &row, config.loss)?;
        match pair(codec, row, config) {
            Ok(example) => examples.push(example),
            Err((reason, detail)) => dropped.push(DroppedRow { stage: stage.to_owned(), line, reason, detail }),
        }
    }
    Ok(Prepared { examples: Examples::Pairs(examples), dropped })
}

pub(super) fn wrong_kind(line: usize, wanted: &str) -> StageError {
    StageError::failed("invalid_row", format!("line {line}: is not {wanted}"))
}

/// A loss that weights tokens needs weights in every row: without them it would be another loss.
fn check_weights(line: usize, row: &PreferenceRow, loss: PreferenceLoss) -> Result<(), StageError> {
    let missing = match loss {
        PreferenceLoss::Cdpo if row.rejected_weights.is_none() => {
            "`rejected_weights` is missing, which `cdpo` needs: run a `contrast` job on the data set first"
        }
        PreferenceLoss::TokenWeighted if row.rejected_weights.is_none() && row.chosen_weights.is_none() => {
            "neither `chosen_weights` nor `rejected_weights` is there, and `token_weighted` needs them"
        }
        PreferenceLoss::Cdpo
        | PreferenceLoss::TokenWeighted
        | PreferenceLoss::Dpo
        | PreferenceLoss::Rpo
        | PreferenceLoss::Tdpo => return Ok(()),
    };
    Err(StageError::failed("weights_missing", format!("line {line}: {missing}")))
}

fn wanted(row: &SampledResponse, responses: Responses) -> Result<(), Dropping> {
    let wanted = match responses {
        Responses::All => return Ok(()),
        Responses::Correct => true,
        Responses::Wrong => false,
    };
    let correct = match (row.correct, &row.answer) {
        (Some(correct), _) => correct,
        (None, Some(answer)) => verifier::grade(&row.response, answer).status == VerdictStatus::Correct,
        (None, None) => {
            let detail = "has neither `correct` nor an `answer` to grade by".to_owned();
            return Err((DropReason::NoVerdict, detail));
        }
    };
    match correct == wanted {
        true => Ok(()),
        false => {
            Err((DropReason::OtherVerdict, format!("the response is {}", if correct { "right" } else { "wrong" })))
        }
    }
}

fn completion(codec: &TextCodec, row: &SampledResponse, max_length: usize) -> Result<Completion, Dropping> {
    let ids = row.prompt_token_ids.as_deref().zip(row.response_token_ids.as_deref());
    let completion = tokens(codec, &row.prompt, &row.response, ids)?;
    not_longer(&completion, max_length, "the row")?;
    Ok(completion)
}

fn pair(codec: &TextCodec, row: PreferenceRow, config: &PreferenceConfig) -> Result<Pair, Dropping> {
    let prompt = row.prompt_token_ids.as_deref();
    let chosen = tokens(codec, &row.prompt, &row.chosen, prompt.zip(row.chosen_token_ids.as_deref()))?;
    let rejected = tokens(codec, &row.prompt, &row.rejected, prompt.zip(row.rejected_token_ids.as_deref()))?;
    let prompt = chosen.response_start.max(rejected.response_start);
    if prompt > config.max_prompt_length {
        let detail = format!("the prompt has {prompt} tokens, more than {}", config.max_prompt_length);
        return Err((DropReason::PromptTooLong, detail));
    }
    not_longer(&chosen, config.max_length, "the prompt with `chosen`")?;
    not_longer(&rejected, config.max_length, "the prompt with `rejected`")?;
    let chosen_weights = weights("chosen_weights", row.chosen_weights, &chosen, codec)?;
    let rejected_weights = weights("rejected_weights", row.rejected_weights, &rejected, codec)?;
    Ok(match config.loss {
        // Only the rejected side is weighted by (5).
        PreferenceLoss::Cdpo => Pair { chosen, rejected, chosen_weights: None, rejected_weights },
        PreferenceLoss::TokenWeighted => Pair { chosen, rejected, chosen_weights, rejected_weights },
        PreferenceLoss::Dpo | PreferenceLoss::Rpo | PreferenceLoss::Tdpo => {
            Pair { chosen, rejected, chosen_weights: None, rejected_weights: None }
        }
    })
}

fn not_longer(completion: &Completion, max: usize, what: &str) -> Result<(), Dropping> {
    let tokens = completion.token_ids.len();
    match tokens > max {
        true => Err((DropReason::TooLong, format!("{what} has {tokens} tokens, more than {max}"))),
        false => Ok(()),
    }
}

/// Weights for each token. Those of a text may leave out the token that ends the sequence, which then weighs 1.
pub(super) fn weights(
    field: &str,
    weights: Option<Vec<f32>>,
    completion: &Completion,
    codec: &TextCodec,
) -> Result<Option<Vec<f32>>, Dropping> {
    let Some(mut weights) = weights else { return Ok(None) };
    let response = completion.response();
    let ended = response.last().is_some_and(|last| codec.eos_ids().contains(last));
    if ended && weights.len() + 1 == response.len() {
        weights.push(1.0);
    }
    match weights.len() == response.len() {
        true => Ok(Some(weights)),
        false => {
            let detail = format!("`{field}` holds {} weights for {} tokens", weights.len(), response.len());
            Err((DropReason::WeightsMismatch, detail))
        }
    }
}

/// A prompt and a response as tokens.
pub(super) fn tokens(
    codec: &TextCodec,
    prompt: &str,
    response: &str,
    ids: Option<(&[u32], &[u32])>,
) -> Result<Completion, Dropping> {
    if let Some((prompt, response)) = ids {
        let token_ids: Vec<u32> = prompt.iter().chain(response).copied().collect();
        if let Some(id) = token_ids.iter().find(|&&id| codec.piece_bytes(id).is_none()) {
            return Err((DropReason::NotTokenizable, format!("token id {id} is none of the model's")));
        }
        return Ok(Completion { token_ids, response_start: prompt.len() });
    }
    let input = (PromptInput::Text(prompt.to_owned()), ResponseInput::Text(response.to_owned()));
    let trajectory =
        codec.trajectory(input.0, input.1).map_err(|error| (DropReason::NotTokenizable, error.to_string()))?;
    let mut token_ids = trajectory.token_ids();
    if let Some(&end) = codec.eos_ids().first()
        && !token_ids.last().is_some_and(|last| codec.eos_ids().contains(last))
    {
        token_ids.push(end);
    }
    Ok(Completion { token_ids, response_start: trajectory.prompt_ids.len() })
}
