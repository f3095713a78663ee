//! One request while it is being served: the sequence that its forks share, and the samples that hang on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::order::Order;
use super::speller::Speller;
use crate::domain::sampling::FinishReason;
use crate::engine::generate::{DrawnToken, Fork, GenerateRequest, GenerationEvent, GenerationUsage, Sample};
use crate::engine::local::cache::KvCache;
use crate::engine::local::decoder::Decoder;
use crate::engine::local::registry::Player;
use crate::engine::local::sampler::{Chances, Distribution, Draws};
use crate::engine::{EngineError, TextCodec};

/// A request being served.
pub(super) struct Job<D: Decoder> {
    pub(super) player: Arc<Player<D>>,
    pub(super) order: Order,
    begun: Instant,
    usage: GenerationUsage,
    /// The shared sequence.
    pub(super) trunk: Strand<D::Cache>,
    /// How much of it the forks keep at most.
    trunk_len: usize,
    /// Whether a part of it had to be read, and was not yet kept for others.
    reading: bool,
    failed: bool,
    /// Forks whose first logits are being computed.
    pub(super) opening: Vec<Opening<D::Cache>>,
    next_fork: usize,
    /// Samples that wait for a place, with at least their first token.
    pub(super) waiting: VecDeque<Growing<D::Cache>>,
    pub(super) running: Vec<Growing<D::Cache>>,
}

/// Cached tokens, and those that follow them in the next step.
pub(super) struct Strand<C> {
    pub(super) cache: C,
    pub(super) feed: Vec<u32>,
    /// After how many of `feed` logits are wanted.
    pub(super) logits: usize,
}

impl<C> Strand<C> {
    fn new(cache: C) -> Self {
        Self { cache, feed: vec![], logits: 0 }
    }

    /// Whether this step ends in a draw.
    fn draws(&self) -> bool {
        !self.feed.is_empty() && self.logits > 0
    }
}

/// A fork on its way to its first logits.
pub(super) struct Opening<C> {
    fork: usize,
    pub(super) strand: Strand<C>,
}

/// A sample that is not finished.
pub(super) struct Growing<C> {
    fork: usize,
    number: usize,
    tokens: Vec<DrawnToken>,
    speller: Speller,
    draws: Draws,
    /// Whether its cache holds anything beside the shared sequence's.
    has_own_page: bool,
    pub(super) strand: Strand<C>,
}

impl<D: Decoder> Job<D> {
    /// Begins with what of the sequence is known.
    pub(super) fn new(order: Order, player: Arc<Player<D>>, known: Option<D::Cache>, empty: D::Cache) -> Self {
        let trunk_len = order.trunk_len();
        let mut cache = known.unwrap_or(empty);
        cache.truncate(trunk_len);
        let usage = GenerationUsage {
            prefill_tokens: trunk_len - cache.len(),
            reused_tokens: cache.len(),
            queue_ms: order.entered.elapsed().as_secs_f64() * 1e3,
            ..GenerationUsage::default()
        };
        Self {
            player,
            order,
            begun: Instant::now(),
            usage,
            reading: cache.len() < trunk_len,
            failed: false,
            trunk: Strand::new(cache),
            trunk_len,
            opening: vec![],
            next_fork: 0,
            waiting: VecDeque::new(),
            running: vec![],
        }
    }

    pub(super) fn request(&self) -> &GenerateRequest {
        &self.order.request
    }

    /// The shared sequence and its cache, once it has been read for this request. What could not be drawn from is not worth
    /// keeping: numbers that are not finite may have spoilt it.
    pub(super) fn newly_read(&mut self) -> Option<(&[u32], D::Cache)> {
        if self.failed || self.trunk.cache.len() < self.trunk_len || !std::mem::take(&mut self.reading) {
            return None;
        }
        Some((&self.order.request.token_ids[..self.trunk_len], self.trunk.cache.clone()))
    }

    /// Answers with an error; the request is over.
    pub(super) fn fail(&mut self, error: EngineError) {
        self.order.reply(Err(error));
        self.failed = true;
    }

    /// Every strand, in the order in which they are fed.
    pub(super) fn strands(&mut self) -> impl Iterator<Item = &mut Strand<D::Cache>> {
        self.parts().1
    }

    /// The adapter and the strands.
    pub(super) fn parts(&mut self) -> (Option<&D::Adapter>, impl Iterator<Item = &mut Strand<D::Cache>>) {
        let strands = std::iter::once(&mut self.trunk)
            .chain(self.opening.iter_mut().map(|opening| &mut opening.strand))
            .chain(self.running.iter_mut().map(|sample| &mut sample.strand));
        (self.player.adapter.as_deref(), strands)
    }

    /// Chooses what to feed next: `rows` strands at most, of `tokens` tokens together beyond one each. Takes what it chose
    /// off both. May be called again with more.
    pub(super) fn choose(&mut self, rows: &mut usize, tokens: &mut usize) {
        let request = &self.order.request;
        if self.trunk.cache.len() < self.trunk_len {
            if self.trunk.feed.is_empty() {
                let from = self.trunk.cache.len();
                let count = (self.trunk_len - from).min(*tokens);
                self.trunk.feed.extend_from_slice(&request.token_ids[from..from + count]);
                // A fork at the very end takes its logits from here.
                let ends = from + count == self.trunk_len && request.forks.iter().any(|fork| self.starts_at_end(fork));
                self.trunk.logits = usize::from(ends);
                *tokens -= count;
            }
            return;
        }
        for sample in self.running.iter_mut().filter(|sample| sample.strand.feed.is_empty()) {
            if *rows == 0 {
                return;
            }
            sample.choose(&request.forks[sample.fork], tokens);
            *rows -= 1;
        }
        while *rows > 0
            && let Some(mut sample) = self.waiting.pop_front()
        {
            sample.choose(&request.forks[sample.fork], tokens);
            self.running.push(sample);
            *rows -= 1;
        }
        while *rows > 0 && self.next_fork < request.forks.len() {
            let fork = &request.forks[self.next_fork];
            let mut strand = Strand::new(self.trunk.cache.fork(fork.keep - 1));
            strand.feed.push(request.token_ids[fork.keep - 1]);
            strand.feed.extend(fork.forced);
            strand.logits = strand.feed.len();
            *rows = rows.saturating_sub(strand.logits);
            self.opening.push(Opening { fork: self.next_fork, strand });
            self.next_fork += 1;
        }
    }

    /// Whether a fork's first draw follows the shared sequence's last token.
    fn starts_at_end(&self, fork: &Fork) -> bool {
        fork.keep == self.trunk_len && fork.forced.is_none()
    }

    /// Takes in a step's logits, one slice a wanted row in the order of the strands. Reports what was drawn.
    pub(super) fn absorb<'l>(
        &mut self,
        mut logits: impl Iterator<Item = &'l [f32]>,
        codec: &TextCodec,
    ) -> Result<(), EngineError> {
        let wanted = std::mem::take(&mut self.trunk.logits);
        let fed_trunk = !std::mem::take(&mut self.trunk.feed).is_empty();
        if fed_trunk && wanted > 0 {
            let rows: Vec<&[f32]> = logits.by_ref().take(1).collect();
            // All forks at the end start from the same logits.
            while self.next_fork < self.request().forks.len()
                && self.starts_at_end(&self.request().forks[self.next_fork])
            {
                self.open(self.next_fork, self.trunk.cache.clone(), &rows, codec)?;
                self.next_fork += 1;
            }
        }
        for opening in std::mem::take(&mut self.opening) {
            let rows: Vec<&[f32]> = logits.by_ref().take(opening.strand.logits).collect();
            self.open(opening.fork, opening.strand.cache, &rows, codec)?;
        }
        let mut running = std::mem::take(&mut self.running);
        let mut drawing = Vec::with_capacity(running.len());
        for sample in running.iter_mut().filter(|sample| sample.strand.draws()) {
            let row = logits.next().ok_or_else(|| EngineError::Internal("a step lost logits".to_owned()))?;
            drawing.push((sample, row));
        }
        let outcomes = draw_all(drawing, &self.order.request, &self.player.info.id, codec)?;
        self.usage.generated_tokens += outcomes.len();
        let mut outcomes = outcomes.into_iter();
        for mut sample in running {
            let outcome = if sample.strand.draws() { outcomes.next() } else { None };
            sample.strand.feed.clear();
            if outcome.is_some() {
                self.report_token(&sample);
            }
            match outcome.flatten() {
                Some(finish) => self.finish(sample, finish),
                None => self.running.push(sample),
            }
        }
        Ok(())
    }

    /// Draws the first token of each of a fork's samples. `rows` are the logits before and after a forced token, or those
    /// after the last token kept.
    fn open(&mut self, fork: usize, cache: D::Cache, rows: &[&[f32]], codec: &TextCodec) -> Result<(), EngineError> {
        let at = self.request().forks[fork].clone();
        let Some(last) = rows.last() else {
            return Err(EngineError::Internal("a fork came back without logits".to_owned()));
        };
        let non_finite = || self.non_finite(at.keep);
        if let Some(forced) = at.forced {
            let logprob = Distribution::new(rows[0]).ok_or_else(non_finite)?.logprob(forced);
            self.report(GenerationEvent::Forced { fork, logprob });
        }
        let distribution = Distribution::new(last).ok_or_else(non_finite)?;
        let chances = distribution.chances(at.banned);
        let request = self.request();
        let prefix = request.token_ids[..at.keep].iter().copied().chain(at.forced);
        let prefix: Vec<u32> = prefix.collect();
        let draws = Draws::new(request.sampling.seed, prefix.iter().copied());
        let speller = speller_after(&prefix, request, codec);
        let first = |number| {
            let mut sample = Growing {
                fork,
                number,
                tokens: vec![],
                speller: speller.clone(),
                draws: draws.clone(),
                has_own_page: true,
                strand: Strand::new(cache.clone()),
            };
            let finish = sample.draw(&distribution, &chances, request, codec);
            (sample, finish)
        };
        let samples: Vec<_> = at.samples.into_par_iter().map(first).collect();
        self.usage.generated_tokens += samples.len();
        for (sample, finish) in samples {
            self.report_token(&sample);
            match finish {
                Some(finish) => self.finish(sample, finish),
                None => self.waiting.push_back(sample),
            }
        }
        Ok(())
    }

    fn non_finite(&self, tokens: usize) -> EngineError {
        EngineError::NonFiniteDraw { model: self.player.info.id.clone(), tokens }
    }

    fn report_token(&self, sample: &Growing<D::Cache>) {
        if self.request().every_token
            && let Some(token) = sample.tokens.last()
        {
            let token = token.clone();
            self.report(GenerationEvent::Token { fork: sample.fork, sample: sample.number, token });
        }
    }

    fn finish(&mut self, sample: Growing<D::Cache>, finish: FinishReason) {
        let Growing { fork, number, tokens, .. } = sample;
        self.report(GenerationEvent::Sample(Sample { fork, number, tokens, finish }));
    }

    fn report(&self, event: GenerationEvent) {
        self.order.reply(Ok(event));
    }

    /// Whether there is nothing more to do; the request is told so.
    pub(super) fn ends(&self) -> bool {
        if self.failed || self.order.gone() {
            return true;
        }
        let ends = self.next_fork == self.request().forks.len()
            && self.opening.is_empty()
            && self.waiting.is_empty()
            && self.running.is_empty();
        if ends {
            let compute_ms = self.begun.elapsed().as_secs_f64() * 1e3;
            self.report(GenerationEvent::Done(GenerationUsage { compute_ms, ..self.usage }));
        }
        ends
    }

    /// Gives up memory: a fork that is being opened, or else the last sample that runs (but `spare` of them), or else what
    /// waiting samples hold, starts again from the shared sequence when its turn comes. What was drawn is kept. Whether
    /// there was anything to give.
    pub(super) fn give_up(&mut self, spare: usize) -> bool {
        if let Some(opening) = self.opening.pop() {
            self.next_fork = opening.fork;
            return true;
        }
        if self.running.len() > spare
            && let Some(mut sample) = self.running.pop()
        {
            sample.restart(&self.trunk.cache, &self.order.request.forks[sample.fork]);
            self.waiting.push_front(sample);
            return true;
        }
        // Samples of a fork share the page after it, so that only all of them together give it up.
        let mut gave = false;
        for sample in self.waiting.iter_mut().filter(|sample| sample.has_own_page) {
            sample.restart(&self.trunk.cache, &self.order.request.forks[sample.fork]);
            gave = true;
        }
        gave
    }
}

impl<C: KvCache> Growing<C> {
    /// Goes back to the shared sequence; what follows it is read again.
    fn restart(&mut self, trunk: &C, fork: &Fork) {
        self.strand = Strand::new(trunk.fork(fork.keep));
        self.has_own_page = false;
    }

    /// Chooses the tokens that the cache does not hold, `tokens` at most beyond the last one.
    fn choose(&mut self, fork: &Fork, tokens: &mut usize) {
        let known = self.strand.cache.len() - fork.keep;
        let missing = usize::from(fork.forced.is_some()) + self.tokens.len() - known;
        let count = missing.min(*tokens + 1);
        let all = fork.forced.into_iter().chain(self.tokens.iter().map(|token| token.id));
        self.strand.feed.clear();
        self.strand.feed.extend(all.skip(known).take(count));
        self.strand.logits = usize::from(count == missing);
        self.has_own_page = true;
        *tokens -= count - 1;
    }

    /// Draws the next token by its `chances`, and notes what the model says of it `next`. Whether that finishes the sample.
    fn draw(
        &mut self,
        next: &Distribution<'_>,
        chances: &Chances<'_>,
        request: &GenerateRequest,
        codec: &TextCodec,
    ) -> Option<FinishReason> {
        let step = self.tokens.len();
        let id = chances.draw(&request.sampling, self.draws.uniform(self.number, step));
        let (mut text, stopped) = self.speller.push(&codec.text_bytes(id), &request.stop);
        let ended = !request.ignore_eos && codec.eos_ids().contains(&id);
        let finish = match (stopped, ended, step + 1 == request.max_tokens) {
            (true, _, _) => Some(FinishReason::Stop),
            (false, true, _) => Some(FinishReason::Eos),
            (false, false, true) => Some(FinishReason::Length),
            (false, false, false) => None,
        };
        if finish.is_some() && !stopped {
            text.push_str(&self.speller.finish());
        }
        self.tokens.push(DrawnToken { id, logprob: next.logprob(id), top: next.top(request.top_logprobs), text });
        finish
    }
}

/// What spells samples that follow `prefix`.
fn speller_after(prefix: &[u32], request: &GenerateRequest, codec: &TextCodec) -> Speller {
    let open = codec.open_bytes(prefix);
    let longest = request.stop.iter().map(String::len).max().unwrap_or(0);
    let mut before = codec.last_bytes(&prefix[request.stop_from.min(prefix.len())..], longest.saturating_sub(1));
    if before.len() < open {
        before = codec.last_bytes(prefix, open);
        before.drain(..before.len() - open);
    }
    Speller::after(before, open)
}

/// Draws for many samples at once.
fn draw_all<C: KvCache>(
    samples: Vec<(&mut Growing<C>, &[f32])>,
    request: &GenerateRequest,
    model: &str,
    codec: &TextCodec,
) -> Result<Vec<Option<FinishReason>>, EngineError> {
    samples
        .into_par_iter()
        .with_max_len(1)
        .map(|(sample, logits)| {
            let tokens = request.forks[sample.fork].keep + sample.tokens.len();
            let next = Distribution::new(logits)
                .ok_or_else(|| EngineError::NonFiniteDraw { model: model.to_owned(), tokens })?;
            Ok(sample.draw(&next, &next.chances(None), request, codec))
        })
        .collect()
}
