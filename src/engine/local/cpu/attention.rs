//! Causal attention over whole sequences, 14 queries of one head at a time.
//!
//! Scores of a block are kept for all its keys (14 rows, so a few hundred KiB at most), which makes the softmax exact in
//! one go and needs no rescaling; keys behind the causal edge are never multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Isa, LeftSide, Onto, SCORE_CHUNK, TILE_COLS, TILE_ROWS, Tile, multiply, vectorised};
use super::linear::{Shared, turn_tile};
use super::math::exp;
use super::matrix::{Block, RowBlocks, at_least};

/// The shape of a layer's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) queries: usize,
    /// Key and value heads; each serves `queries / keys` query heads.
    pub(crate) keys: usize,
    pub(crate) dim: usize,
    /// A position sees itself and at most `window - 1` before it.
    pub(crate) window: Option<usize>,
}

/// Rotated queries and keys, and values, row-major over all rows of the pass.
pub(crate) struct Projections<'a> {
    /// `[rows, queries * dim]`
    pub(crate) q: &'a [f32],
    /// `[rows, keys * dim]`
    pub(crate) k: &'a [f32],
    /// `[rows, keys * dim]`
    pub(crate) v: &'a [f32],
}

/// `softmax(q k^T / sqrt(dim)) v` for every block, written as row blocks of depth `queries * dim`. The blocks are those
/// whose attention is wanted; keys and values are there for all rows of the sequences.
pub(crate) fn attend(
    heads: Heads,
    sequences: &[Range<usize>],
    blocks: &[Block],
    input: &Projections<'_>,
    out: &mut RowBlocks,
) {
    let packed: Vec<KeyValues> = sequences
        .iter()
        .enumerate()
        .flat_map(|(sequence, _)| (0..heads.keys).map(move |head| (sequence, head)))
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(sequence, head)| KeyValues::pack(heads, head, sequences[sequence].clone(), input))
        .collect();
    let isa = Isa::detect();
    let (block_len, shared) = (out.block_len(), Shared::new(&mut out.data));
    let scratch = || Scratch::new(heads.dim);
    (0..blocks.len() * heads.queries).into_par_iter().with_max_len(4).for_each_init(scratch, |scratch, task| {
        let (index, head) = (task / heads.queries, task % heads.queries);
        let block = blocks[index];
        let key_values = &packed[block.sequence * heads.keys + head / (heads.queries / heads.keys)];
        let position = block.row - sequences[block.sequence].start;
        for r in 0..block.rows {
            let start = ((block.row + r) * heads.queries + head) * heads.dim;
            pack_query(&input.q[start..start + heads.dim], r, &mut scratch.query);
        }
        attend_block(isa, heads, key_values, position, block.rows, scratch);
        for (number, tile) in scratch.tiles.iter().enumerate() {
            let columns = number * TILE_COLS..heads.dim.min((number + 1) * TILE_COLS);
            let turned = shared.at(index * block_len + (head * heads.dim + columns.start) * TILE_ROWS);
            // SAFETY: the block and the head's columns are inside `out`, and this task's alone.
            turn_tile(tile, unsafe { std::slice::from_raw_parts_mut(turned, columns.len() * TILE_ROWS) });
        }
    });
}

/// What a thread needs for one block of queries and one head.
pub(crate) struct Scratch {
    /// The scaled queries, `[dim][14]`.
    pub(crate) query: Vec<f32>,
    /// Chunks of 128 keys, each `[14][128]`: scores, then unnormalised probabilities.
    pub(crate) scores: Vec<f32>,
    /// The attended values in tiles of 32 columns.
    pub(crate) tiles: Vec<[f32; TILE_ROWS * TILE_COLS]>,
}

impl Scratch {
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            query: vec![0.0; dim * TILE_ROWS],
            scores: vec![],
            tiles: vec![[0.0; TILE_ROWS * TILE_COLS]; dim.div_ceil(TILE_COLS)],
        }
    }
}

/// One sequence's keys and values of one head, in the order in which tiles read them.
struct KeyValues {
    /// Panels of 32 keys, each `[dim][32]`; zero past the last key.
    keys: Vec<f32>,
    /// Panels of 32 value columns, each `[positions][32]`; zero past the last column.
    values: Vec<f32>,
    len: usize,
}

impl KeyValues {
    fn pack(heads: Heads, head: usize, rows: Range<usize>, input: &Projections<'_>) -> Self {
        let (dim, stride, len) = (heads.dim, heads.keys * heads.dim, rows.len());
        let mut keys = vec![0f32; len.div_ceil(TILE_COLS) * TILE_COLS * dim];
        let mut values = vec![0f32; dim.div_ceil(TILE_COLS) * TILE_COLS * len];
        for (position, row) in rows.enumerate() {
            let start = row * stride + head * dim;
            let panel = &mut keys[position / TILE_COLS * TILE_COLS * dim..];
            for (depth, &key) in input.k[start..start + dim].iter().enumerate() {
                panel[depth * TILE_COLS + position % TILE_COLS] = key;
            }
            for (panel, columns) in input.v[start..start + dim].chunks(TILE_COLS).enumerate() {
                values[(panel * len + position) * TILE_COLS..][..columns.len()].copy_from_slice(columns);
            }
        }
        Self { keys, values, len }
    }
}

/// Writes a head's query as column `column` of `[dim][14]`, scaled.
pub(crate) fn pack_query(head: &[f32], column: usize, query: &mut [f32]) {
    let scale = 1.0 / (head.len() as f32).sqrt();
    for (out, &value) in query[column..].iter_mut().step_by(TILE_ROWS).zip(head) {
        *out = value * scale;
    }
}

/// Attends from `scratch.query`, whose first row is at `position`, and leaves the result in `scratch.tiles`.
fn attend_block(isa: Isa, heads: Heads, key_values: &KeyValues, position: usize, rows: usize, scratch: &mut Scratch) {
    const CHUNK: usize = TILE_ROWS * SCORE_CHUNK;
    let Scratch { query, scores, tiles } = scratch;
    let visible = position + rows;
    // Whole chunks before the window of the block's first query are never looked at.
    let first_chunk = heads.first_chunk(position);
    let chunks = first_chunk..visible.div_ceil(SCORE_CHUNK);
    at_least(scores, chunks.len() * CHUNK);
    for panel in first_chunk * (SCORE_CHUNK / TILE_COLS)..visible.div_ceil(TILE_COLS) {
        let key = panel * TILE_COLS;
        let offset = (key / SCORE_CHUNK - first_chunk) * CHUNK + key % SCORE_CHUNK;
        let keys = &key_values.keys[panel * TILE_COLS * heads.dim..(panel + 1) * TILE_COLS * heads.dim];
        let c = &mut scores[offset..offset + (rows - 1) * SCORE_CHUNK + TILE_COLS];
        let tile = Tile {
            left: query.as_ptr(),
            side: LeftSide::RowBlock,
            panel: keys.as_ptr(),
            next: keys.as_ptr_range().end,
            depth: heads.dim,
            rows,
            c: c.as_mut_ptr(),
            c_stride: SCORE_CHUNK,
            onto: Onto::Nothing,
        };
        // SAFETY: `query` and `keys` hold `dim` steps, and `c` spans the tile's rows.
        unsafe { multiply(isa, &tile) };
    }
    let seen: [Range<usize>; TILE_ROWS] = std::array::from_fn(|r| heads.seen(position + r, first_chunk));
    let mut sums = [0f32; TILE_ROWS];
    softmax(scores, chunks.len(), &seen[..rows], &mut sums);
    for (number, chunk) in chunks.enumerate() {
        let keys = chunk * SCORE_CHUNK..key_values.len.min(visible).min((chunk + 1) * SCORE_CHUNK);
        for (panel, tile) in tiles.iter_mut().enumerate() {
            let values =
                &key_values.values[(panel * key_values.len + keys.start) * TILE_COLS..][..keys.len() * TILE_COLS];
            let left = &scores[number * CHUNK..][..(rows - 1) * SCORE_CHUNK + keys.len()];
            let tile = Tile {
                left: left.as_ptr(),
                side: LeftSide::Scores,
                panel: values.as_ptr(),
                next: values.as_ptr_range().end,
                depth: keys.len(),
                rows,
                c: tile.as_mut_ptr(),
                c_stride: TILE_COLS,
                onto: if number > 0 { Onto::Sum } else { Onto::Nothing },
            };
            // SAFETY: `left` spans `rows` rows of `depth` scores, `values` as many steps, and `c` is 14 rows of 32.
            unsafe { multiply(isa, &tile) };
        }
    }
    for (r, sum) in sums.iter().enumerate().take(rows) {
        let scale = 1.0 / sum;
        tiles.iter_mut().flat_map(|tile| &mut tile[r * TILE_COLS..][..TILE_COLS]).for_each(|value| *value *= scale);
    }
}

impl Heads {
    /// The keys that a query at `position` may see, counted from the first key of score chunk `first_chunk`.
    pub(crate) fn seen(self, position: usize, first_chunk: usize) -> Range<usize> {
        let (first_key, end) = (first_chunk * SCORE_CHUNK, position + 1);
        let start = self.window.map_or(0, |window| end.saturating_sub(window)).max(first_key);
        start - first_key..end - first_key
    }

    /// The first score chunk that a query at `position` looks at.
    pub(crate) fn first_chunk(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window) / SCORE_CHUNK)
    }
}

vectorised! {
    /// Turns the scores of a tile's rows into unnormalised probabilities, zero outside what a row has `seen`, and sums each
    /// row.
    pub(crate) fn softmax(scores: &mut [f32], chunks: usize, seen: &[Range<usize>], sums: &mut [f32; TILE_ROWS]) {
        for (r, (sum, seen)) in sums.iter_mut().zip(seen).enumerate() {
            // Lanes stay in registers over whole vectors of scores, so what may not be seen is made -inf first.
            let mut lanes = [f32::NEG_INFINITY; 16];
            for chunk in 0..chunks {
                let row = &mut scores[(chunk * TILE_ROWS + r) * SCORE_CHUNK..][..SCORE_CHUNK];
                let start = chunk * SCORE_CHUNK;
                row[..seen.start.clamp(start, start + SCORE_CHUNK) - start].fill(f32::NEG_INFINITY);
                row[seen.end.clamp(start, start + SCORE_CHUNK) - start..].fill(f32::NEG_INFINITY);
                for part in row.as_chunks::<16>().0 {
                    for (lane, &x) in lanes.iter_mut().zip(part) {
                        *lane = if x > *lane { x } else { *lane };
                    }
                }
            }
            let top = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = [0f32; 16];
            for chunk in 0..chunks {
                let row = &mut scores[(chunk * TILE_ROWS + r) * SCORE_CHUNK..][..SCORE_CHUNK];
                for part in row.as_chunks_mut::<16>().0 {
                    for (lane, x) in total.iter_mut().zip(part) {
                        *x = exp(*x - top);
                        *lane += *x;
                    }
                }
            }
            *sum = total.iter().sum();
        }
    }
}
