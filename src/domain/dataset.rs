//! Rows of data sets: problems, trajectories and preferences, and what holds in each.
//!
//! Text may come with its tokens. Where it does, the tokens are what is trained on and scored, and the text is for people:
//! a row that was made from drawn tokens is never tokenised again.

use serde::{Deserialize, Serialize};

/// The most bytes of a data set. It is read as a stream, so this bounds time and disk, not memory.
pub const MAX_BYTES: usize = 4 << 30;

/// Longest line of a data set, in bytes.
pub const MAX_LINE: usize = 16 << 20;

/// What the rows of a data set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// Questions with their reference answers.
    Problems,
    /// Prompts with one response each.
    Trajectories,
    /// Prompts with a better and a worse response.
    Preferences,
}

impl DatasetKind {
    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            DatasetKind::Problems => "problems",
            DatasetKind::Trajectories => "trajectories",
            DatasetKind::Preferences => "preferences",
        }
    }
}

/// A stored data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    pub name: String,
    pub kind: DatasetKind,
    pub rows: u64,
    pub bytes: u64,
    /// Of the file as it was uploaded.
    pub sha256: String,
    /// Unix seconds.
    pub created: i64,
}

/// A question and its reference answer, which may be a whole solution (`… #### 42`, `… \boxed{42}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    pub question: String,
    pub answer: String,
}

/// A prompt and one response to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampledResponse {
    pub prompt: String,
    pub response: String,
    /// The reference answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Whether the response reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_token_ids: Option<Vec<u32>>,
    /// The number of the problem, from 0; responses to one problem have the same. Without it, those to one prompt do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<u64>,
    /// The number of the sample within its problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u64>,
    /// `stop`, `eos` or `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

/// A prompt with a better and a worse response, in TRL's form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferenceRow {
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
    /// The reference answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_token_ids: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_token_ids: Option<Vec<u32>>,
    /// A weight for each token of `chosen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_weights: Option<Vec<f32>>,
    /// A weight for each token of `rejected`: `1 - s_t` for contrastive DPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_weights: Option<Vec<f32>>,
    /// `s_t` of equation (3) for each token of `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_scores: Option<Vec<f64>>,
}

/// One line of a data set.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    Problem(Problem),
    Response(SampledResponse),
    Preference(PreferenceRow),
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct RowError {
    pub field: String,
    pub message: String,
}

fn refuse<T>(field: &str, message: impl Into<String>) -> Result<T, RowError> {
    Err(RowError { field: field.to_owned(), message: message.into() })
}

fn filled(field: &str, text: &str) -> Result<(), RowError> {
    if text.trim().is_empty() { refuse(field, "is empty") } else { Ok(()) }
}

impl Row {
    pub fn kind(&self) -> DatasetKind {
        match self {
            Row::Problem(_) => DatasetKind::Problems,
            Row::Response(_) => DatasetKind::Trajectories,
            Row::Preference(_) => DatasetKind::Preferences,
        }
    }

    /// Refuses empty texts, responses of a pair that are the same, and weights that are none.
    pub fn check(&self) -> Result<(), RowError> {
        match self {
            Row::Problem(row) => {
                filled("question", &row.question)?;
                filled("answer", &row.answer)
            }
            Row::Response(row) => row.check(),
            Row::Preference(row) => row.check(),
        }
    }
}

impl SampledResponse {
    fn check(&self) -> Result<(), RowError> {
        filled("prompt", &self.prompt)?;
        // A model may end a sequence at once: with its tokens, an empty response is one all the same.
        if self.response_token_ids.is_none() {
            filled("response", &self.response)?;
        }
        if let Some(answer) = &self.answer {
            filled("answer", answer)?;
        }
        together(&[
            ("prompt_token_ids", self.prompt_token_ids.as_deref()),
            ("response_token_ids", self.response_token_ids.as_deref()),
        ])
    }
}

impl PreferenceRow {
    fn check(&self) -> Result<(), RowError> {
        filled("prompt", &self.prompt)?;
        if self.chosen_token_ids.is_none() {
            filled("chosen", &self.chosen)?;
            filled("rejected", &self.rejected)?;
        }
        if self.chosen == self.rejected {
            return refuse("rejected", "is the same as `chosen`");
        }
        together(&[
            ("prompt_token_ids", self.prompt_token_ids.as_deref()),
            ("chosen_token_ids", self.chosen_token_ids.as_deref()),
            ("rejected_token_ids", self.rejected_token_ids.as_deref()),
        ])?;
        let sides = [
            ("chosen_weights", &self.chosen_weights, &self.chosen_token_ids),
            ("rejected_weights", &self.rejected_weights, &self.rejected_token_ids),
        ];
        for (field, weights, ids) in sides {
            if let Some(weights) = weights {
                check_weights(field, weights, ids.as_ref().map(Vec::len))?;
            }
        }
        match (&self.rejected_scores, &self.rejected_token_ids) {
            (Some(scores), Some(ids)) if scores.len() != ids.len() => {
                refuse("rejected_scores", format!("holds {} scores for {} tokens", scores.len(), ids.len()))
            }
            (Some(scores), _) if !scores.iter().all(|score| (0.0..=1.0).contains(score)) => {
                refuse("rejected_scores", "holds a number that is not between 0 and 1")
            }
            (Some(_) | None, _) => Ok(()),
        }
    }
}

/// Tokens of all parts of a row or of none: parts that are tokenised apart may not join as the text does.
fn together(parts: &[(&str, Option<&[u32]>)]) -> Result<(), RowError> {
    let Some((given, _)) = parts.iter().find(|(_, ids)| ids.is_some()) else { return Ok(()) };
    for (field, ids) in parts {
        match ids {
            None => return refuse(field, format!("is missing: `{given}` is there")),
            Some([]) => return refuse(field, "is empty"),
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_weights(field: &str, weights: &[f32], tokens: Option<usize>) -> Result<(), RowError> {
    if weights.is_empty() {
        return refuse(field, "is empty");
    }
    if let Some(index) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        return refuse(&format!("{field}[{index}]"), "must be a finite number of at least 0");
    }
    match tokens {
        Some(tokens) if tokens != weights.len() => {
            refuse(field, format!("holds {} weights for {tokens} tokens", weights.len()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a text may name a data set: 1 to 64 of the characters `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, and not a dot first.
pub fn is_dataset_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> PreferenceRow {
        PreferenceRow { prompt: "p".into(), chosen: "a".into(), rejected: "b".into(), ..PreferenceRow::default() }
    }

    fn field(row: Row) -> String {
        row.check().unwrap_err().field
    }

    #[test]
    fn a_pair_names_the_field_that_is_wrong() {
        assert_eq!(Row::Preference(pair()).check(), Ok(()));
        assert_eq!(field(Row::Preference(PreferenceRow { rejected: "a".into(), ..pair() })), "rejected");
        assert_eq!(field(Row::Preference(PreferenceRow { chosen: " ".into(), ..pair() })), "chosen");
        for weight in [-0.1, f32::NAN, f32::INFINITY] {
            let row = PreferenceRow { rejected_weights: Some(vec![1.0, weight]), ..pair() };
            assert_eq!(field(Row::Preference(row)), "rejected_weights[1]");
        }
        let ids = |chosen: &[u32], rejected: &[u32]| PreferenceRow {
            prompt_token_ids: Some(vec![1]),
            chosen_token_ids: Some(chosen.to_vec()),
            rejected_token_ids: Some(rejected.to_vec()),
            ..pair()
        };
        assert_eq!(field(Row::Preference(ids(&[], &[2]))), "chosen_token_ids");
        let some = PreferenceRow { chosen_token_ids: None, ..ids(&[1], &[2]) };
        assert_eq!(field(Row::Preference(some)), "chosen_token_ids");
        let short = PreferenceRow { chosen_weights: Some(vec![1.0]), ..ids(&[1, 2], &[2]) };
        assert_eq!(field(Row::Preference(short)), "chosen_weights");
    }

    #[test]
    fn a_response_may_be_empty_where_its_tokens_say_so() {
        let row = SampledResponse { prompt: "p".into(), ..SampledResponse::default() };
        assert_eq!(field(Row::Response(row.clone())), "response");
        let ended = SampledResponse { prompt_token_ids: Some(vec![1]), response_token_ids: Some(vec![0]), ..row };
        assert_eq!(Row::Response(ended).check(), Ok(()));
    }

    #[test]
    fn names_are_plain() {
        for name in ["gsm8k", "a.b-c_D9"] {
            assert!(is_dataset_name(name), "{name}");
        }
        for name in ["", ".hidden", "a/b", "..", "é", "a b"] {
            assert!(!is_dataset_name(name), "{name}");
        }
    }
}
