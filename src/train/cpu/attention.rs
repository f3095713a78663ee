//! Causal attention over families of rows, and its way back.
//!
//! A task is one family and one key head with the query heads that share it. Only probabilities of a few rows are held at
//! a time, and the way back computes them again.

use std::ops::Range;

use rayon::prelude::*;

use super::elementwise::{add, softmax, softmax_back};
use super::product::{Blocks, Panels, View, small};
use crate::engine::local::checkpoint::ModelConfig;
use crate::engine::local::cpu::kernel::TILE_ROWS;
use crate::train::batch::{Family, Segment};

/// Queries whose probabilities are held at a time.
const QUERIES: usize = 8 * TILE_ROWS;

/// Sizes of attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    queries: usize,
    keys: usize,
    dim: usize,
    window: usize,
}

/// Rotated queries, keys and values, `[rows, heads * dim]` each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

/// Gradients of [`Inputs`].
pub(super) struct InputGradients {
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

/// A task's buffers.
#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    probabilities: Vec<f32>,
    slopes: Vec<f32>,
    left: Blocks,
    /// Keys and values as right sides, by column and by row.
    by_key: Panels,
    by_value: Panels,
    key_rows: Panels,
    value_rows: Panels,
    rows: Panels,
}

impl Heads {
    pub(super) fn new(config: &ModelConfig) -> Self {
        Self {
            queries: config.num_heads,
            keys: config.num_kv_heads,
            dim: config.head_dim,
            window: config.sliding_window.unwrap_or(usize::MAX),
        }
    }

    fn q_stride(self) -> usize {
        self.queries * self.dim
    }

    fn kv_stride(self) -> usize {
        self.keys * self.dim
    }

    /// Query heads of a key head.
    fn group(self, key: usize) -> Range<usize> {
        let size = self.queries / self.keys;
        key * size..(key + 1) * size
    }

    fn tasks(self, families: &[Family]) -> Vec<(&Family, usize)> {
        families.iter().flat_map(|family| (0..self.keys).map(move |key| (family, key))).collect()
    }

    /// Rows of one head of a segment's prefix and own rows, `[keys, dim]`.
    fn gather(self, values: &[f32], segment: &Segment, key: usize, out: &mut Vec<f32>) {
        out.clear();
        for row in segment.prefix.clone().chain(segment.own.clone()) {
            let at = row * self.kv_stride() + key * self.dim;
            out.extend_from_slice(&values[at..at + self.dim]);
        }
    }

    /// Probabilities of queries `chunk` (rows of the segment's own) over the keys up to the last of them.
    fn probabilities(
        self,
        q: &[f32],
        segment: &Segment,
        chunk: &Range<usize>,
        head: usize,
        scratch: &mut Scratch,
    ) -> usize {
        let (before, dim) = (segment.prefix.len(), self.dim);
        let keys = before + chunk.end;
        let at = (segment.own.start + chunk.start) * self.q_stride() + head * dim;
        scratch.left.pack(View::rows(&q[at..], self.q_stride()), chunk.len(), dim);
        scratch.probabilities.resize(chunk.len() * keys, 0.0);
        small(&scratch.left, &scratch.by_key, keys, &mut scratch.probabilities, keys, false);
        let scale = 1.0 / (dim as f32).sqrt();
        for (row, scores) in chunk.clone().zip(scratch.probabilities.chunks_exact_mut(keys)) {
            let seen = before + row + 1;
            let first = seen.saturating_sub(self.window);
            softmax(&mut scores[first..seen], scale);
            scores[..first].fill(0.0);
            scores[seen..].fill(0.0);
        }
        keys
    }
}

/// Chunks of a segment's own rows.
fn chunks(segment: &Segment) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = segment.own.len();
    (0..rows).step_by(QUERIES).map(move |first| first..rows.min(first + QUERIES))
}

/// `softmax(q k^T / sqrt(dim)) v`, `[rows, heads * dim]`.
pub(super) fn attend(heads: Heads, families: &[Family], input: Inputs<'_>) -> Vec<f32> {
    let dim = heads.dim;
    let parts: Vec<(&Family, usize, Vec<f32>)> = heads
        .tasks(families)
        .into_par_iter()
        .with_max_len(1)
        .map_init(Scratch::default, |scratch, (family, key)| {
            let group = heads.group(key);
            let width = group.len() * dim;
            let mut out = vec![0f32; family.rows.len() * width];
            for segment in &family.segments {
                heads.gather(input.k, segment, key, &mut scratch.keys);
                heads.gather(input.v, segment, key, &mut scratch.values);
                let keys = segment.prefix.len() + segment.own.len();
                scratch.by_key.pack(View::columns(&scratch.keys, dim), dim, keys);
                scratch.value_rows.pack(View::rows(&scratch.values, dim), keys, dim);
                for chunk in chunks(segment) {
                    for (slot, head) in group.clone().enumerate() {
                        let keys = heads.probabilities(input.q, segment, &chunk, head, scratch);
                        scratch.left.pack(View::rows(&scratch.probabilities, keys), chunk.len(), keys);
                        let row = segment.own.start + chunk.start - family.rows.start;
                        let out = &mut out[row * width + slot * dim..];
                        small(&scratch.left, &scratch.value_rows, dim, out, width, false);
                    }
                }
            }
            (family, key, out)
        })
        .collect();
    let mut out = vec![0f32; input.q.len()];
    for (family, key, part) in parts {
        let width = heads.group(key).len() * dim;
        let rows = &mut out[family.rows.start * heads.q_stride()..family.rows.end * heads.q_stride()];
        put(rows, heads.q_stride(), key * width, &part, width);
    }
    out
}

/// Writes `part` `[rows, width]` into the columns of `rows` that begin at `column`.
fn put(rows: &mut [f32], stride: usize, column: usize, part: &[f32], width: usize) {
    for (row, part) in rows.chunks_exact_mut(stride).zip(part.chunks_exact(width)) {
        row[column..column + width].copy_from_slice(part);
    }
}

/// The gradients of [`attend`]'s inputs by that of its output.
pub(super) fn attend_back(heads: Heads, families: &[Family], input: Inputs<'_>, dout: &[f32]) -> InputGradients {
    let dim = heads.dim;
    let parts: Vec<(&Family, usize, InputGradients)> = heads
        .tasks(families)
        .into_par_iter()
        .with_max_len(1)
        .map_init(Scratch::default, |scratch, (family, key)| {
            (family, key, head_back(heads, family, key, input, dout, scratch))
        })
        .collect();
    let mut gradients =
        InputGradients { q: vec![0f32; input.q.len()], k: vec![0f32; input.k.len()], v: vec![0f32; input.v.len()] };
    for (family, key, part) in parts {
        let width = heads.group(key).len() * dim;
        let (q, kv) = (heads.q_stride(), heads.kv_stride());
        let rows = family.rows.clone();
        put(&mut gradients.q[rows.start * q..rows.end * q], q, key * width, &part.q, width);
        put(&mut gradients.k[rows.start * kv..rows.end * kv], kv, key * dim, &part.k, dim);
        put(&mut gradients.v[rows.start * kv..rows.end * kv], kv, key * dim, &part.v, dim);
    }
    gradients
}

/// One task's part: `[family's rows, its heads * dim]` each.
fn head_back(
    heads: Heads,
    family: &Family,
    key: usize,
    input: Inputs<'_>,
    dout: &[f32],
    scratch: &mut Scratch,
) -> InputGradients {
    let (dim, group, stride) = (heads.dim, heads.group(key), heads.q_stride());
    let (rows, width) = (family.rows.len(), group.len() * dim);
    let mut out = InputGradients { q: vec![0f32; rows * width], k: vec![0f32; rows * dim], v: vec![0f32; rows * dim] };
    let scale = 1.0 / (dim as f32).sqrt();
    for segment in &family.segments {
        heads.gather(input.k, segment, key, &mut scratch.keys);
        heads.gather(input.v, segment, key, &mut scratch.values);
        let all = segment.prefix.len() + segment.own.len();
        scratch.by_key.pack(View::columns(&scratch.keys, dim), dim, all);
        scratch.by_value.pack(View::columns(&scratch.values, dim), dim, all);
        scratch.key_rows.pack(View::rows(&scratch.keys, dim), all, dim);
        let mut dkeys = vec![0f32; all * dim];
        let mut dvalues = vec![0f32; all * dim];
        for chunk in chunks(segment) {
            for (slot, head) in group.clone().enumerate() {
                let keys = heads.probabilities(input.q, segment, &chunk, head, scratch);
                let at = (segment.own.start + chunk.start) * stride + head * dim;
                let (dout, q) = (View::rows(&dout[at..], stride), View::rows(&input.q[at..], stride));
                // dV += P^T dO
                scratch.left.pack(View::columns(&scratch.probabilities, keys), keys, chunk.len());
                scratch.rows.pack(dout, chunk.len(), dim);
                small(&scratch.left, &scratch.rows, dim, &mut dvalues, dim, true);
                // dS = softmax's way back of dO V^T
                scratch.slopes.resize(chunk.len() * keys, 0.0);
                scratch.left.pack(dout, chunk.len(), dim);
                small(&scratch.left, &scratch.by_value, keys, &mut scratch.slopes, keys, false);
                for (p, s) in scratch.probabilities.chunks_exact(keys).zip(scratch.slopes.chunks_exact_mut(keys)) {
                    softmax_back(p, s, scale);
                }
                // dQ = dS K
                scratch.left.pack(View::rows(&scratch.slopes, keys), chunk.len(), keys);
                let row = segment.own.start + chunk.start - family.rows.start;
                small(&scratch.left, &scratch.key_rows, dim, &mut out.q[row * width + slot * dim..], width, false);
                // dK += dS^T Q
                scratch.left.pack(View::columns(&scratch.slopes, keys), keys, chunk.len());
                scratch.rows.pack(q, chunk.len(), dim);
                small(&scratch.left, &scratch.rows, dim, &mut dkeys, dim, true);
            }
        }
        let places = segment.prefix.clone().chain(segment.own.clone());
        for (index, row) in places.enumerate() {
            let (to, from) = ((row - family.rows.start) * dim, index * dim);
            add(&mut out.k[to..to + dim], &dkeys[from..from + dim]);
            add(&mut out.v[to..to + dim], &dvalues[from..from + dim]);
        }
    }
    out
}
