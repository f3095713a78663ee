//! The run itself: some prompts at a time go to the engine, and what it draws is told choice by choice.

use std::future::ready;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use ulid::Ulid;

use super::prepare::{Prompt, prepare};
use super::tokens::Offsets;
use super::{CompletionEvent, CompletionInput, CompletionRun, CompletionToken, CompletionUsage, Piece, TokenLimit};
use crate::analysis::admission::{Place, admitted};
use crate::analysis::{Analysis, AnalysisError, off_the_reactor, unix_seconds};
use crate::domain::model::ModelRef;
use crate::domain::sampling::{FinishReason, Sampling};
use crate::engine::{DrawnToken, Engine, EngineError, Fork, GenerateRequest, Generation, GenerationEvent};

/// Prompts of one request that the engine has at once: enough to fill its batches, and far below its queue, which is
/// there for other clients too.
const LANES: usize = 16;
/// A seed chosen at random has this many bits, so that every JSON reader keeps it exact.
const SEED_BITS: u32 = 53;

/// What all prompts of a run have in common.
struct Plan {
    engine: Arc<dyn Engine>,
    /// The model that the request's name means.
    model: ModelRef,
    sampling: Sampling,
    stop: Vec<String>,
    ignore_eos: bool,
    logprobs: Option<usize>,
    echo: bool,
    every_token: bool,
}

/// What one prompt's stream tells.
enum Part {
    Piece(Piece),
    Cached(usize),
}

type Parts = BoxStream<'static, Result<Part, AnalysisError>>;

impl Analysis {
    /// Begins to draw. Every refusal of the request comes from here, before the first event.
    pub async fn complete(&self, input: CompletionInput) -> Result<CompletionRun, AnalysisError> {
        let info = input.model.as_deref().map_or_else(|| self.base(), |name| self.model_named(name))?;
        let model = info.reference();
        let engine = self.engine.clone();
        let (input, mut prompts) = off_the_reactor(move || {
            let mut input = input;
            let prompts = prepare(engine.text(), &info, &mut input)?;
            Ok((input, prompts))
        })
        .await?;
        let seed = input.seed.unwrap_or_else(random_seed);
        let plan = Arc::new(Plan {
            engine: self.engine.clone(),
            model: model.clone(),
            sampling: Sampling { seed, ..input.sampling },
            stop: input.stop,
            ignore_eos: input.ignore_eos,
            logprobs: input.logprobs,
            echo: input.echo,
            every_token: input.every_token,
        });
        for prompt in &mut prompts {
            plan.fit(prompt, input.limit)?;
        }
        let mut place = Place::First;
        if let (true, Some(top)) = (input.echo, input.logprobs)
            && self.score_echoes(&model, top, &mut prompts).await?
        {
            place = Place::Later;
        }
        let usage = CompletionUsage {
            prompt: prompts.iter().map(|prompt| prompt.tokens.ids.len()).sum(),
            ..CompletionUsage::default()
        };
        let choices = prompts.len() * input.samples;
        let mut prompts = prompts.into_iter();
        // The first has its place before there is an answer, or there is none. The others wait for theirs.
        let first = match prompts.next() {
            Some(prompt) => Some(plan.clone().begin(prompt, place).await?),
            None => None,
        };
        let later = prompts.map(move |prompt| {
            let begun = plan.clone().begin(prompt, Place::Later);
            stream::once(begun).try_flatten().boxed()
        });
        let parts = stream::iter(first.into_iter().chain(later)).flatten_unordered(LANES);
        Ok(CompletionRun { model, seed, created: unix_seconds(), choices, events: events(parts, usage) })
    }
}

impl Plan {
    /// What a prompt asks of the engine.
    fn request(&self, prompt: &Prompt) -> GenerateRequest {
        GenerateRequest {
            model: self.model.id.clone(),
            token_ids: prompt.tokens.ids.clone(),
            forks: vec![Fork {
                keep: prompt.tokens.ids.len(),
                forced: None,
                banned: None,
                samples: prompt.numbers.clone(),
            }],
            sampling: self.sampling,
            max_tokens: prompt.max_tokens,
            stop: self.stop.clone(),
            stop_from: prompt.tokens.ids.len(),
            ignore_eos: self.ignore_eos,
            top_logprobs: self.logprobs.unwrap_or(0),
            every_token: self.every_token,
        }
    }

    /// Has the engine refuse what it could never draw, before anything is drawn. A limit that nobody asked for gives way.
    fn fit(&self, prompt: &mut Prompt, limit: TokenLimit) -> Result<(), AnalysisError> {
        if prompt.max_tokens == 0 {
            return Ok(());
        }
        let mut outcome = self.engine.check(&self.request(prompt));
        if let (Err(EngineError::CacheTooSmall { tokens, max_tokens, needed_mib, budget_mib }), TokenLimit::Fitting(_)) =
            (&outcome, limit)
            && let Some(affordable) = affordable(*tokens, *max_tokens, *needed_mib, *budget_mib)
        {
            prompt.max_tokens = affordable;
            outcome = self.engine.check(&self.request(prompt));
        }
        outcome.map_err(|error| limit.refusal(error, &prompt.param))
    }

    /// Hands a prompt to the engine, unless nothing is to be drawn after it, and gives its events.
    async fn begin(self: Arc<Self>, prompt: Prompt, place: Place) -> Result<Parts, AnalysisError> {
        let generation = match prompt.max_tokens {
            0 => None,
            _ => Some(admitted(&*self.engine, self.request(&prompt), &self.model, place).await?),
        };
        Ok(self.parts(prompt, generation))
    }

    /// A prompt's events: its echo, then what is drawn after it.
    fn parts(self: Arc<Self>, prompt: Prompt, generation: Option<Generation>) -> Parts {
        let first_choice = prompt.first_choice;
        let count = prompt.numbers.len();
        let finish = generation.is_none().then_some(FinishReason::Length);
        let before = if self.echo { prompt.tokens.text.chars().count() } else { 0 };
        let (text, tokens) = if self.echo { (prompt.tokens.text, prompt.echoed) } else { (String::new(), vec![]) };
        let echoes = if self.echo || finish.is_some() { count } else { 0 };
        let echo = stream::iter(first_choice..first_choice + echoes).map(move |choice| {
            Ok(Part::Piece(Piece { choice, text: text.clone(), tokens: tokens.clone(), drawn: 0, finish }))
        });
        let Some(generation) = generation else {
            return echo.boxed();
        };
        let mut drawing = Drawing {
            plan: self,
            first_choice,
            first_number: prompt.numbers.start,
            offsets: vec![Offsets::after(before); count],
        };
        let drawn = generation.events.map(move |event| drawing.part(event?)).try_filter_map(|part| ready(Ok(part)));
        echo.chain(drawn).boxed()
    }
}

/// The samples of one prompt while they are drawn.
struct Drawing {
    plan: Arc<Plan>,
    first_choice: usize,
    first_number: usize,
    /// Where each sample's text has come to.
    offsets: Vec<Offsets>,
}

impl Drawing {
    fn part(&mut self, event: GenerationEvent) -> Result<Option<Part>, AnalysisError> {
        Ok(match event {
            GenerationEvent::Forced { .. } => None,
            GenerationEvent::Token { fork: _, sample, token } => {
                let text = token.text.clone();
                Some(Part::Piece(self.piece(sample, text, std::slice::from_ref(&token), None)?))
            }
            // Its tokens have been told one by one.
            GenerationEvent::Sample(sample) if self.plan.every_token => {
                Some(Part::Piece(self.piece(sample.number, String::new(), &[], Some(sample.finish))?))
            }
            GenerationEvent::Sample(sample) => {
                Some(Part::Piece(self.piece(sample.number, sample.text(), &sample.tokens, Some(sample.finish))?))
            }
            GenerationEvent::Done(usage) => Some(Part::Cached(usage.reused_tokens)),
        })
    }

    fn piece(
        &mut self,
        number: usize,
        text: String,
        drawn: &[DrawnToken],
        finish: Option<FinishReason>,
    ) -> Result<Piece, AnalysisError> {
        let unknown = || AnalysisError::Internal(format!("the engine drew a sample {number} that nobody asked for"));
        let sample = number.checked_sub(self.first_number).ok_or_else(unknown)?;
        let offsets = self.offsets.get_mut(sample).ok_or_else(unknown)?;
        let codec = self.plan.engine.text();
        let tokens = match self.plan.logprobs {
            Some(_) => {
                drawn.iter().map(|token| CompletionToken::drawn(codec, offsets.place(codec, token.id), token)).collect()
            }
            None => vec![],
        };
        Ok(Piece { choice: self.first_choice + sample, text, tokens, drawn: drawn.len(), finish })
    }
}

/// The parts of all prompts, and what they cost at the end.
fn events(
    parts: impl futures::Stream<Item = Result<Part, AnalysisError>> + Send + 'static,
    usage: CompletionUsage,
) -> BoxStream<'static, Result<CompletionEvent, AnalysisError>> {
    let end = stream::once(ready(None));
    parts
        .map(Some)
        .chain(end)
        .scan((usage, false), |(usage, failed), part| {
            let event = match part {
                _ if *failed => return ready(None),
                None => Some(Ok(CompletionEvent::Done(*usage))),
                Some(Ok(Part::Piece(piece))) => {
                    usage.drawn += piece.drawn;
                    Some(Ok(CompletionEvent::Piece(piece)))
                }
                Some(Ok(Part::Cached(tokens))) => {
                    usage.cached += tokens;
                    None
                }
                Some(Err(error)) => {
                    *failed = true;
                    Some(Err(error))
                }
            };
            ready(Some(event))
        })
        .filter_map(ready)
        .boxed()
}

/// How many tokens the cache's budget has room for after `tokens`, going by what `tokens + max_tokens` would need; none
/// if there is not even room for one.
fn affordable(tokens: usize, max_tokens: usize, needed_mib: usize, budget_mib: usize) -> Option<usize> {
    // The figures are whole MiB, and the cache comes in pages: a part is kept back for what is lost to both.
    let budget_mib = budget_mib.checked_sub((budget_mib / 16).max(1))?;
    let total = (tokens + max_tokens).checked_mul(budget_mib)?.checked_div(needed_mib)?;
    total.checked_sub(tokens).filter(|&rest| rest > 0 && rest < max_tokens)
}

/// A seed that no other call has.
fn random_seed() -> u64 {
    let random = Ulid::generate().random() & ((1 << SEED_BITS) - 1);
    u64::try_from(random).unwrap_or_default()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_limit_that_was_not_asked_for_gives_way_to_the_budget() {
        // 1000 tokens need 100 MiB, so 64 MiB hold 640; a 16th is kept back.
        assert_eq!(affordable(100, 900, 100, 64), Some(500));
        assert_eq!(affordable(600, 400, 100, 64), None);
        assert_eq!(affordable(1, 1, 0, 0), None);
    }

    #[test]
    fn seeds_chosen_differ_and_are_exact_in_every_json_reader() {
        let seeds: std::collections::HashSet<u64> = (0..100).map(|_| random_seed()).collect();
        assert_eq!(seeds.len(), 100);
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
    }
}
