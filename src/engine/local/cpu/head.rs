//! The LM head and what is asked of its logits, in slices of the vocabulary: no row of logits is ever whole in memory.
//!
//! All models' logits of a position are made side by side, tile by tile, because equation (3) needs them together.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Isa, TILE_COLS, TILE_ROWS};
use super::linear::{Linear, LowRankInput, multiply_block};
use super::matrix::{Block, PanelScratch, RowBlocks, blocks_of};
use super::stats::{LogSumExp, contrast, count_above};
use crate::domain::model::{PerModel, Role};
use crate::domain::score::{Alternative, TokenScore};
use crate::engine::error::EngineError;
use crate::engine::local::decoder::Question;

/// Tokens whose sums are kept apart, so that they are merged in one order on any number of threads.
const SLICE: usize = 4096;
/// Tokens whose logits exist at a time.
const TILE_TOKENS: usize = 4 * TILE_COLS;
/// Positions that share one reading of the head's weights.
const POSITIONS: usize = 72 * TILE_ROWS;

/// One model's normalised hidden states, `[positions, hidden]`, and its head.
pub(crate) struct HeadInput<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) head: Linear<'a>,
}

/// Scores every position. Models come as base, positive, negative; without both of the latter there is no contrast.
pub(crate) fn score_positions(
    models: &PerModel<HeadInput<'_>>,
    question: Question<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<TokenScore>, EngineError> {
    let total = question.targets.len();
    let mut scores = Vec::with_capacity(total);
    // Chunks of one size: a last one of a few rows would read the head for little.
    let size = total.div_ceil(total.div_ceil(POSITIONS).max(1)).next_multiple_of(TILE_ROWS);
    for first in (0..total).step_by(size) {
        if stop() {
            return Err(EngineError::Cancelled);
        }
        let positions = first..total.min(first + size);
        scores.extend(Chunk::new(models, question, positions).score()?);
    }
    Ok(scores)
}

/// A model's part of a chunk of positions.
struct ModelChunk<'a> {
    role: Role,
    x: RowBlocks,
    low: LowRankInput,
    head: &'a Linear<'a>,
}

struct Chunk<'a> {
    models: Vec<ModelChunk<'a>>,
    blocks: Vec<Block>,
    first: usize,
    targets: &'a [u32],
    question: Question<'a>,
    /// Indices into `models` of the positive and the negative one.
    contrasted: Option<[usize; 2]>,
}

/// What is known of a position from a part of the vocabulary.
struct Partial {
    /// One entry a model.
    sums: Vec<LogSumExp>,
    above: Vec<u32>,
    contrast: LogSumExp,
    /// The base's likeliest tokens, best first.
    top: Vec<Candidate>,
    /// Tokens of `watch` that lie in this part, by their index there.
    watched: Vec<(usize, Candidate)>,
}

/// A token with its logits, one a model.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logits: [f32; 3],
}

impl Candidate {
    /// Token number `offset` of a tile whose first token is `first`.
    fn at(rows: &[&[f32]; 3], first: usize, offset: usize) -> Self {
        Self { id: (first + offset) as u32, logits: rows.map(|row| row.get(offset).copied().unwrap_or(0.0)) }
    }

    /// Likelier first; equally likely ones in the vocabulary's order.
    fn before(&self, other: &Self) -> bool {
        self.logits[0] > other.logits[0] || (self.logits[0] == other.logits[0] && self.id < other.id)
    }
}

impl<'a> Chunk<'a> {
    fn new(models: &'a PerModel<HeadInput<'a>>, question: Question<'a>, positions: Range<usize>) -> Self {
        let blocks = blocks_of(std::iter::once(0..positions.len()));
        let chunk = |role, input: &'a HeadInput<'a>| {
            let size = input.head.weight.inputs();
            let mut x = RowBlocks::new(blocks.len(), size);
            x.pack_with(&blocks, |row, out| {
                let row = positions.start + row;
                out.copy_from_slice(&input.hidden[row * size..(row + 1) * size]);
            });
            let low = LowRankInput::new(&x, &blocks, &input.head);
            ModelChunk { role, x, low, head: &input.head }
        };
        let mut parts = vec![chunk(Role::Base, &models.base)];
        parts.extend(models.positive.as_ref().map(|input| chunk(Role::Positive, input)));
        parts.extend(models.negative.as_ref().map(|input| chunk(Role::Negative, input)));
        let contrasted = (parts.len() == 3).then_some([1, 2]);
        let targets = &question.targets[positions.clone()];
        Self { models: parts, blocks, first: positions.start, targets, question, contrasted }
    }

    fn score(&self) -> Result<Vec<TokenScore>, EngineError> {
        let vocab = self.models[0].head.weight.outputs();
        let targets = self.target_logits()?;
        let slices: Vec<Range<usize>> =
            (0..vocab).step_by(SLICE).map(|first| first..vocab.min(first + SLICE)).collect();
        let partials = slices
            .into_par_iter()
            .with_max_len(1)
            .map(|slice| self.slice(slice, &targets))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let mut totals: Vec<Partial> = self.targets.iter().map(|_| self.empty()).collect();
        for partial in partials {
            for (total, part) in totals.iter_mut().zip(partial) {
                total.merge(part, self.question.top);
            }
        }
        totals
            .into_iter()
            .zip(&targets)
            .enumerate()
            .map(|(position, (total, target))| self.token(position, &total, target))
            .collect()
    }

    fn empty(&self) -> Partial {
        Partial {
            sums: vec![LogSumExp::default(); self.models.len()],
            above: vec![0; self.models.len()],
            contrast: LogSumExp::default(),
            top: Vec::new(),
            watched: Vec::new(),
        }
    }

    /// The logits of the tokens that came. They are computed by the same tiles as the rest, so that comparing them for
    /// the rank is exact.
    fn target_logits(&self) -> Result<Vec<[f32; 3]>, EngineError> {
        let logits = |(position, &target): (usize, &u32)| {
            let mut logits = [0f32; 3];
            let panel = target as usize / TILE_COLS;
            let block = position / TILE_ROWS;
            let mut scratch = PanelScratch::default();
            let mut tile = [0f32; TILE_ROWS * TILE_COLS];
            for (model, logit) in self.models.iter().zip(&mut logits) {
                let weights = model.head.weight.panel(panel, &mut scratch)?;
                model.tile(block, &self.blocks[block], panel, weights, &mut tile, TILE_COLS);
                *logit = tile[position % TILE_ROWS * TILE_COLS + target as usize % TILE_COLS];
            }
            Ok(logits)
        };
        self.targets.par_iter().enumerate().map(logits).collect()
    }

    /// Goes through a slice of the vocabulary for all positions.
    fn slice(&self, slice: Range<usize>, targets: &[[f32; 3]]) -> Result<Vec<Partial>, EngineError> {
        let mut partials: Vec<Partial> = self.targets.iter().map(|_| self.empty()).collect();
        let mut scratch: Vec<PanelScratch> = Vec::new();
        scratch.resize_with(self.models.len() * TILE_TOKENS / TILE_COLS, PanelScratch::default);
        let mut logits = vec![[0f32; TILE_ROWS * TILE_TOKENS]; self.models.len()];
        let mut contrasted = [0f32; TILE_TOKENS];
        for first in slice.clone().step_by(TILE_TOKENS) {
            let tokens = first..slice.end.min(first + TILE_TOKENS);
            let panels = first / TILE_COLS..tokens.end.div_ceil(TILE_COLS);
            let weights = self.weights(panels.clone(), &mut scratch)?;
            for (index, block) in self.blocks.iter().enumerate() {
                for (number, model) in self.models.iter().enumerate() {
                    for (slot, panel) in panels.clone().enumerate() {
                        let c = &mut logits[number][slot * TILE_COLS..];
                        model.tile(index, block, panel, weights[number * panels.len() + slot], c, TILE_TOKENS);
                    }
                }
                for r in 0..block.rows {
                    let position = block.row + r;
                    let mut rows = [&[][..]; 3];
                    for (row, logits) in rows.iter_mut().zip(&logits) {
                        *row = &logits[r * TILE_TOKENS..][..tokens.len()];
                    }
                    let partial = &mut partials[position];
                    let largest = partial.add(&rows[..self.models.len()], &targets[position]);
                    if let Some([p, q]) = self.contrasted {
                        let out = &mut contrasted[..tokens.len()];
                        contrast(rows[p], rows[q], self.question.beta as f32, out);
                        partial.contrast.add(out);
                    }
                    partial.watch(&rows, first, self.question.watch);
                    partial.rank(&rows, first, largest, self.question.top);
                }
            }
        }
        Ok(partials)
    }

    /// The panels of every model's head; models that share a head share the panels.
    fn weights<'s>(
        &'s self,
        panels: Range<usize>,
        scratch: &'s mut [PanelScratch],
    ) -> Result<Vec<&'s [f32]>, EngineError> {
        let mut weights: Vec<&'s [f32]> = Vec::with_capacity(self.models.len() * panels.len());
        let mut free = scratch.iter_mut();
        for (number, model) in self.models.iter().enumerate() {
            let same =
                self.models[..number].iter().position(|other| std::ptr::eq(other.head.weight, model.head.weight));
            for (slot, panel) in panels.clone().enumerate() {
                match (same, free.next()) {
                    (Some(other), _) => weights.push(weights[other * panels.len() + slot]),
                    (None, Some(scratch)) => weights.push(model.head.weight.panel(panel, scratch)?),
                    (None, None) => return Err(EngineError::Internal("too few panel buffers for the head".to_owned())),
                }
            }
        }
        Ok(weights)
    }

    /// Puts a position's sums together.
    fn token(&self, position: usize, total: &Partial, target: &[f32; 3]) -> Result<TokenScore, EngineError> {
        for (model, sums) in self.models.iter().zip(&total.sums) {
            if !sums.is_finite() {
                return Err(EngineError::NonFinite { role: model.role, position: self.first + position });
            }
        }
        let beta = self.question.beta as f32;
        let score = |logits: &[f32; 3]| {
            self.contrasted.map(|[p, q]| {
                let mut out = [0f32];
                contrast(&logits[p..=p], &logits[q..=q], beta, &mut out);
                total.contrast.log_probability(out[0]).exp()
            })
        };
        let logprobs =
            |logits: &[f32; 3]| self.per_model(|model| total.sums[model].log_probability(logits[model]) as f32);
        let mut watched: Vec<_> = total.watched.iter().collect();
        watched.sort_by_key(|(index, _)| *index);
        let reported = total.top.iter().chain(watched.into_iter().map(|(_, candidate)| candidate));
        Ok(TokenScore {
            logprob: logprobs(target),
            rank: self.per_model(|model| total.above[model]),
            entropy: self.per_model(|model| total.sums[model].entropy() as f32),
            score: score(target),
            top: reported
                .map(|candidate| Alternative {
                    id: candidate.id,
                    logprob: logprobs(&candidate.logits),
                    score: score(&candidate.logits),
                })
                .collect(),
        })
    }

    fn per_model<T>(&self, value: impl Fn(usize) -> T) -> PerModel<T> {
        let of = |role| self.models.iter().position(|model| model.role == role).map(&value);
        PerModel { base: value(0), positive: of(Role::Positive), negative: of(Role::Negative) }
    }
}

impl ModelChunk<'_> {
    /// The logits of a block for one panel of tokens, into the block's rows of `out`.
    fn tile(&self, index: usize, block: &Block, panel: usize, weights: &[f32], out: &mut [f32], stride: usize) {
        let isa = Isa::detect();
        let out = &mut out[..(block.rows - 1) * stride + TILE_COLS];
        let c = out.as_mut_ptr();
        // SAFETY: `out` spans the tile's rows.
        unsafe {
            multiply_block(isa, &self.x, index, block.rows, weights, c, stride, false);
            self.low.tile(isa, self.head, index, block, panel, c, stride);
        }
    }
}

impl Partial {
    /// Adds a tile's logits, one row a model. Returns the base's largest.
    fn add(&mut self, rows: &[&[f32]], target: &[f32; 3]) -> f32 {
        let mut largest = f32::NEG_INFINITY;
        for (model, row) in rows.iter().enumerate() {
            let max = self.sums[model].add(row);
            if model == 0 {
                largest = max;
            }
            self.above[model] += count_above(row, target[model]);
        }
        largest
    }

    /// Keeps the tokens of `watch` that are in a tile whose first token is `first`.
    fn watch(&mut self, rows: &[&[f32]; 3], first: usize, watch: &[u32]) {
        for (index, &id) in watch.iter().enumerate() {
            if let Some(offset) = (id as usize).checked_sub(first).filter(|&offset| offset < rows[0].len()) {
                self.watched.push((index, Candidate::at(rows, first, offset)));
            }
        }
    }

    /// Keeps the base's `top` likeliest tokens. A tile whose largest logit would not be kept is not looked through.
    fn rank(&mut self, rows: &[&[f32]; 3], first: usize, largest: f32, top: usize) {
        let kept = |partial: &Self, logit: f32| {
            partial.top.len() < top || partial.top.last().is_some_and(|last| logit > last.logits[0])
        };
        if !kept(self, largest) {
            return;
        }
        for (offset, &logit) in rows[0].iter().enumerate() {
            if kept(self, logit) {
                self.keep(Candidate::at(rows, first, offset), top);
            }
        }
    }

    fn keep(&mut self, candidate: Candidate, top: usize) {
        let at = self.top.partition_point(|kept| kept.before(&candidate));
        self.top.insert(at, candidate);
        self.top.truncate(top);
    }

    fn merge(&mut self, part: Self, top: usize) {
        for (sums, other) in self.sums.iter_mut().zip(&part.sums) {
            sums.merge(other);
        }
        for (above, other) in self.above.iter_mut().zip(&part.above) {
            *above += other;
        }
        self.contrast.merge(&part.contrast);
        for candidate in part.top {
            if self.top.len() < top || self.top.last().is_some_and(|last| candidate.before(last)) {
                self.keep(candidate, top);
            }
        }
        self.watched.extend(part.watched);
    }
}
