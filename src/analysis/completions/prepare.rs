//! From a request to prompts that the engine takes: tokenised, checked against the context, and scored if echoed.

use std::collections::HashMap;
use std::ops::Range;

use super::{CompletionInput, CompletionToken, TokenLimit};
use crate::analysis::text::check_ids;
use crate::analysis::{Analysis, AnalysisError};
use crate::domain::model::{ModelInfo, ModelRef, Role};
use crate::domain::score::TokenScore;
use crate::engine::text::{PromptInput, PromptTokens};
use crate::engine::{EngineError, ScoreRequest, TextCodec};

/// Most tokens, likely ones included, that a request may have reported: some 200 MB of answer.
const MAX_REPORTED: usize = 1 << 21;
/// The contrast is not looked at when one model scores alone.
const ANY_BETA: f64 = 1.0;

/// A prompt that is ready for the engine.
#[derive(Debug)]
pub(super) struct Prompt {
    /// The choice that its first sample is.
    pub(super) first_choice: usize,
    /// The numbers of its samples.
    pub(super) numbers: Range<usize>,
    pub(super) tokens: PromptTokens,
    /// Most tokens that a sample of it draws; 0 draws nothing.
    pub(super) max_tokens: usize,
    /// If it is echoed with log probabilities: its tokens.
    pub(super) echoed: Vec<CompletionToken>,
}

impl Analysis {
    /// The model that a request names. Ids come before the names of roles.
    pub(super) fn model_named(&self, name: Option<&str>) -> Result<ModelInfo, AnalysisError> {
        let models = self.engine.models();
        let by_role = |name: &str| {
            let plays = |model: &&ModelInfo| model.roles.iter().any(|role: &Role| role.name() == name);
            models.iter().find(plays)
        };
        let found = match name {
            Some(name) => models.iter().find(|model| model.id == name).or_else(|| by_role(name)),
            None => models.first(),
        };
        let unknown = || EngineError::UnknownModel { id: name.unwrap_or(Role::Base.name()).to_owned() };
        Ok(found.cloned().ok_or_else(unknown)?)
    }

    /// What the model says of every echoed token but the first, and the model as it was when it said so. All prompts
    /// take one place in the queue.
    pub(super) async fn score_echoes(
        &self,
        model: &str,
        top: usize,
        prompts: &mut [Prompt],
    ) -> Result<Option<ModelRef>, AnalysisError> {
        let long = |prompt: &&mut Prompt| prompt.tokens.ids.len() > 1;
        let request = |prompt: &mut Prompt| ScoreRequest {
            model: Some(model.to_owned()),
            token_ids: prompt.tokens.ids.clone(),
            response_start: 1,
            beta: ANY_BETA,
            top,
            watch: vec![],
        };
        let requests: Vec<_> = prompts.iter_mut().filter(long).map(request).collect();
        let expected = requests.len();
        let scored = if requests.is_empty() { vec![] } else { self.engine.score_batch(requests).await? };
        if scored.len() != expected {
            let message = format!("the engine answered {} of {expected} prompts", scored.len());
            return Err(AnalysisError::Internal(message));
        }
        let mut model = None;
        let codec = self.engine.text();
        for prompt in prompts.iter_mut().filter(|prompt| prompt.tokens.ids.len() == 1) {
            prompt.echoed = echo(codec, &prompt.tokens, &[]);
        }
        for (prompt, scored) in prompts.iter_mut().filter(long).zip(scored) {
            let scored = scored?;
            if scored.tokens.len() + 1 != prompt.tokens.ids.len() {
                return Err(AnalysisError::Internal("the engine scored a part of a prompt".to_owned()));
            }
            prompt.echoed = echo(codec, &prompt.tokens, &scored.tokens);
            model = Some(scored.models.base);
        }
        Ok(model)
    }
}

/// A prompt's tokens; nothing is said of the first, for it has no prefix.
fn echo(codec: &TextCodec, prompt: &PromptTokens, scores: &[TokenScore]) -> Vec<CompletionToken> {
    let scores = std::iter::once(None).chain(scores.iter().map(Some));
    let mut characters = 0;
    let mut from = 0;
    prompt
        .ids
        .iter()
        .zip(&prompt.starts)
        .zip(scores)
        .map(|((&id, &start), score)| {
            characters += prompt.text.get(from..start).map_or(0, |text| text.chars().count());
            from = start;
            CompletionToken::of_prompt(codec, id, characters, score)
        })
        .collect()
}

/// Tokenises a request's prompts. Takes time in proportion to them.
pub(super) fn prepare(
    codec: &TextCodec,
    model: &ModelInfo,
    input: &mut CompletionInput,
) -> Result<Vec<Prompt>, AnalysisError> {
    let inputs = std::mem::take(&mut input.prompts);
    let alone = inputs.len() == 1;
    let mut seen: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut prompts = Vec::with_capacity(inputs.len());
    let mut reported = 0;
    for (index, prompt) in inputs.into_iter().enumerate() {
        let param = match (&prompt, alone) {
            (PromptInput::Messages(_), _) => "messages".to_owned(),
            (PromptInput::Text(_) | PromptInput::Ids(_), true) => "prompt".to_owned(),
            (PromptInput::Text(_) | PromptInput::Ids(_), false) => format!("prompt[{index}]"),
        };
        if let PromptInput::Ids(ids) = &prompt {
            check_ids(&param, ids, codec.vocab_size())?;
        }
        let tokens = codec.prompt(prompt)?;
        if tokens.ids.is_empty() {
            let message = "the prompt has no token, and this model's tokenizer puts none before it: the first token \
                           needs a prefix to be drawn after";
            return Err(AnalysisError::invalid(param, message));
        }
        let max_tokens = input.limit.within(model.max_context, tokens.ids.len())?;
        let drawn = if let TokenLimit::Exactly(max_tokens) = input.limit { max_tokens } else { 0 };
        let echoed = if input.echo { tokens.ids.len() } else { 0 };
        reported += input.logprobs.map_or(0, |top| input.samples * (echoed + drawn) * (top + 1));
        if reported > MAX_REPORTED {
            let message = "the answer would be too large: ask for fewer log probabilities, samples or tokens";
            return Err(AnalysisError::invalid("logprobs", message));
        }
        // A sample depends on the tokens before it and on its number alone: a prompt that is given twice goes on
        // with other numbers, or it would get the same samples twice.
        let next = seen.entry(tokens.ids.clone()).or_default();
        let numbers = *next..*next + input.samples;
        *next = numbers.end;
        prompts.push(Prompt { first_choice: index * input.samples, numbers, tokens, max_tokens, echoed: vec![] });
    }
    Ok(prompts)
}

impl TokenLimit {
    /// How many tokens a sample may draw after `tokens` in a context of `max`.
    fn within(self, max: usize, tokens: usize) -> Result<usize, EngineError> {
        let rest = max.checked_sub(tokens).ok_or(EngineError::TooLong { tokens, max })?;
        match self {
            TokenLimit::Exactly(max_tokens) if max_tokens > rest => {
                Err(EngineError::ContextExceeded { tokens, max_tokens, max })
            }
            TokenLimit::Exactly(max_tokens) => Ok(max_tokens),
            TokenLimit::Fitting(_) if rest == 0 => Err(EngineError::ContextExceeded { tokens, max_tokens: 1, max }),
            TokenLimit::Fitting(most) => Ok(most.min(rest)),
        }
    }
}
