//! From a request to prompts that the engine takes: tokenised, checked against the context, and scored if echoed.

use std::collections::HashMap;
use std::ops::Range;

use super::{CompletionInput, CompletionToken, TokenLimit};
use crate::analysis::admission::same_model;
use crate::analysis::text::check_ids;
use crate::analysis::{Analysis, AnalysisError};
use crate::domain::model::{ModelInfo, ModelRef};
use crate::domain::sampling::MAX_DRAWN;
use crate::domain::score::TokenScore;
use crate::engine::text::{PromptInput, PromptTokens};
use crate::engine::{EngineError, ScoreRequest, Scorers, TextCodec};

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
    /// The request's name for it.
    pub(super) param: String,
}

/// What the prompts before have left of the bounds on an answer, in tokens.
struct Room {
    drawn: usize,
    reported: usize,
}

impl Room {
    /// Takes what a prompt of `prompt` tokens and up to `max_tokens` more add to the answer, and gives how many more they
    /// may be: a limit that nobody asked for gives way.
    fn take(&mut self, input: &CompletionInput, prompt: usize, max_tokens: usize) -> Result<usize, AnalysisError> {
        let too_large = |param: &str, what: &str| {
            AnalysisError::invalid(param, format!("the answer would be too large: ask for fewer {what}"))
        };
        let unreportable = || too_large("logprobs", "log probabilities, samples or tokens");
        let samples = input.samples.max(1);
        let reported = input.logprobs.map_or(0, |top| samples * (top + 1));
        let unechoed = || too_large("echo", "samples, or for no echo");
        if input.echo {
            self.reported = self.reported.checked_sub(reported * prompt).ok_or_else(unreportable)?;
            self.drawn = self.drawn.checked_sub(samples * prompt).ok_or_else(unechoed)?;
        }
        let (drawable, reportable) = (self.drawn / samples, self.reported.checked_div(reported).unwrap_or(usize::MAX));
        let max_tokens = match input.limit {
            TokenLimit::Exactly { max_tokens: _, field } if max_tokens > drawable => {
                return Err(too_large(field, &format!("tokens or samples: {MAX_DRAWN} tokens may be drawn in all")));
            }
            TokenLimit::Exactly { .. } if max_tokens > reportable => return Err(unreportable()),
            TokenLimit::Exactly { .. } => max_tokens,
            TokenLimit::Fitting(_) if reportable == 0 => return Err(unreportable()),
            // Without an echo there is room for every choice's default.
            TokenLimit::Fitting(_) if drawable == 0 => return Err(unechoed()),
            TokenLimit::Fitting(_) => max_tokens.min(drawable).min(reportable),
        };
        self.drawn -= samples * max_tokens;
        self.reported -= reported * max_tokens;
        Ok(max_tokens)
    }
}

impl Analysis {
    /// Notes what the model says of every echoed token but the first. All prompts take one place in the queue; says whether
    /// they needed one.
    pub(super) async fn score_echoes(
        &self,
        model: &ModelRef,
        top: usize,
        prompts: &mut [Prompt],
    ) -> Result<bool, AnalysisError> {
        let long = |prompt: &&mut Prompt| prompt.tokens.ids.len() > 1;
        let request = |prompt: &mut Prompt| ScoreRequest {
            scorers: Scorers::Alone(model.id.clone()),
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
        let codec = self.engine.text();
        for prompt in prompts.iter_mut().filter(|prompt| prompt.tokens.ids.len() == 1) {
            prompt.echoed = echo(codec, &prompt.tokens, &[]);
        }
        for (prompt, scored) in prompts.iter_mut().filter(long).zip(scored) {
            let scored = scored?;
            if scored.tokens.len() + 1 != prompt.tokens.ids.len() {
                return Err(AnalysisError::Internal("the engine scored a part of a prompt".to_owned()));
            }
            same_model(&scored.models.base, model)?;
            prompt.echoed = echo(codec, &prompt.tokens, &scored.tokens);
        }
        Ok(expected > 0)
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
    let mut room = Room { drawn: MAX_DRAWN, reported: MAX_REPORTED };
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
        let within = input.limit.within(model.max_context, tokens.ids.len());
        let within = within.map_err(|error| input.limit.refusal(error, &param))?;
        let max_tokens = room.take(input, tokens.ids.len(), within)?;
        // A sample depends on the tokens before it and on its number alone: a prompt that is given twice goes on
        // with other numbers, or it would get the same samples twice.
        let next = seen.entry(tokens.ids.clone()).or_default();
        let numbers = *next..*next + input.samples;
        *next = numbers.end;
        let first_choice = index * input.samples;
        prompts.push(Prompt { first_choice, numbers, tokens, max_tokens, echoed: vec![], param });
    }
    Ok(prompts)
}

impl TokenLimit {
    /// How many tokens a sample may draw after `tokens` in a context of `max`.
    fn within(self, max: usize, tokens: usize) -> Result<usize, EngineError> {
        let rest = max.checked_sub(tokens).ok_or(EngineError::TooLong { tokens, max })?;
        match self {
            TokenLimit::Exactly { max_tokens, field: _ } if max_tokens > rest => {
                Err(EngineError::ContextExceeded { tokens, max_tokens, max })
            }
            TokenLimit::Exactly { max_tokens, field: _ } => Ok(max_tokens),
            TokenLimit::Fitting(_) if rest == 0 => Err(EngineError::ContextExceeded { tokens, max_tokens: 1, max }),
            TokenLimit::Fitting(most) => Ok(most.min(rest)),
        }
    }

    /// The engine's refusal of a length, by the field that asks for too much: this limit, or else the `prompt`.
    pub(super) fn refusal(self, error: EngineError, prompt: &str) -> AnalysisError {
        match self {
            TokenLimit::Exactly { max_tokens: _, field } => AnalysisError::of_length(error, field, |_| prompt),
            TokenLimit::Fitting(_) => AnalysisError::of_length(error, prompt, |_| prompt),
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::domain::sampling::Sampling;

    fn input(samples: usize, limit: TokenLimit, logprobs: Option<usize>, echo: bool) -> CompletionInput {
        CompletionInput {
            model: None,
            prompts: vec![],
            samples,
            sampling: Sampling::default(),
            seed: None,
            limit,
            stop: vec![],
            ignore_eos: false,
            logprobs,
            echo,
            every_token: false,
        }
    }

    fn taken(input: &CompletionInput, prompt: usize, max_tokens: usize) -> Result<usize, String> {
        let mut room = Room { drawn: MAX_DRAWN, reported: MAX_REPORTED };
        room.take(input, prompt, max_tokens).map_err(|error| {
            let AnalysisError::Invalid { param, .. } = error else { panic!("{error:?}") };
            param
        })
    }

    #[test]
    fn an_answer_is_bounded_and_a_limit_that_nobody_asked_for_gives_way() {
        let fitting = TokenLimit::Fitting(usize::MAX);
        let exactly = |max_tokens| TokenLimit::Exactly { max_tokens, field: "max_tokens" };
        assert_eq!(taken(&input(1, fitting, None, false), 100, 131_072), Ok(131_072));
        assert_eq!(taken(&input(1024, fitting, None, false), 100, 131_072), Ok(4096));
        assert_eq!(taken(&input(1024, fitting, Some(20), false), 100, 131_072), Ok(97));
        assert_eq!(taken(&input(1024, exactly(4096), None, false), 100, 4096), Ok(4096));
        assert_eq!(taken(&input(1024, exactly(4097), None, false), 100, 4097), Err("max_tokens".to_owned()));
        assert_eq!(taken(&input(1024, exactly(98), Some(20), false), 100, 98), Err("logprobs".to_owned()));
        assert_eq!(taken(&input(1024, exactly(0), None, true), 5000, 0), Err("echo".to_owned()));
        assert_eq!(taken(&input(1024, fitting, Some(20), true), 97, 100), Err("logprobs".to_owned()));
        assert_eq!(taken(&input(1024, fitting, None, true), 4096, 100), Err("echo".to_owned()));
    }

    #[test]
    fn prompts_share_the_bound() {
        let mut room = Room { drawn: MAX_DRAWN, reported: MAX_REPORTED };
        let input = input(4, TokenLimit::Exactly { max_tokens: 1 << 19, field: "max_tokens" }, None, false);
        assert!(room.take(&input, 1, 1 << 19).is_ok() && room.take(&input, 1, 1 << 19).is_ok());
        assert!(room.take(&input, 1, 1 << 19).is_err());
    }
}
