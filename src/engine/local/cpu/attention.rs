//! Causal attention over whole sequences, 14 queries of one head at a time.
//!
//! Scores of a block are kept for all its keys (14 rows, so a few hundred KiB at most), which makes the softmax exact in
//! one go and needs no rescaling; keys behind the causal edge are never multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Isa, LeftSide, SCORE_CHUNK, TILE_COLS, TILE_ROWS, Tile, multiply, vectorised};
use super::linear::Shared;
use super::math::exp;
use super::matrix::{Block, RowBlocks};

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

/// `softmax(q k^T / sqrt(dim)) v` for every block, written as row blocks of depth `queries * dim`.
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
    (0..blocks.len() * heads.queries).into_par_iter().with_max_len(4).for_each_init(Vec::new, |scores, task| {
        let (index, head) = (task / heads.queries, task % heads.queries);
        let block = blocks[index];
        let key_values = &packed[block.sequence * heads.keys + head / (heads.queries / heads.keys)];
        let position = block.row - sequences[block.sequence].start;
        let query = pack_query(heads, head, block, input.q);
        let mut tiles = Attended::new(heads.dim);
        attend_block(isa, heads, &query, key_values, position, block.rows, scores, &mut tiles);
        for column in 0..heads.dim {
            for r in 0..block.rows {
                let value = tiles.value(r, column);
                let offset = index * block_len + (head * heads.dim + column) * TILE_ROWS + r;
                // SAFETY: the block and the head's columns are inside `out`, and this task's alone.
                unsafe { *shared.at(offset) = value };
            }
        }
    });
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

/// A block's queries as `[dim][14]`, scaled.
fn pack_query(heads: Heads, head: usize, block: Block, q: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (heads.dim as f32).sqrt();
    let mut query = vec![0f32; heads.dim * TILE_ROWS];
    for r in 0..block.rows {
        let start = (block.row + r) * heads.queries * heads.dim + head * heads.dim;
        for (depth, &value) in q[start..start + heads.dim].iter().enumerate() {
            query[depth * TILE_ROWS + r] = value * scale;
        }
    }
    query
}

/// The attended values of a block, in tiles of 32 columns, before the division by the softmax's sums.
struct Attended {
    tiles: Vec<[f32; TILE_ROWS * TILE_COLS]>,
    sums: [f32; TILE_ROWS],
}

impl Attended {
    fn new(dim: usize) -> Self {
        Self { tiles: vec![[0.0; TILE_ROWS * TILE_COLS]; dim.div_ceil(TILE_COLS)], sums: [0.0; TILE_ROWS] }
    }

    fn value(&self, row: usize, column: usize) -> f32 {
        self.tiles[column / TILE_COLS][row * TILE_COLS + column % TILE_COLS] / self.sums[row]
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one attention block")]
fn attend_block(
    isa: Isa,
    heads: Heads,
    query: &[f32],
    key_values: &KeyValues,
    position: usize,
    rows: usize,
    scores: &mut Vec<f32>,
    out: &mut Attended,
) {
    const CHUNK: usize = TILE_ROWS * SCORE_CHUNK;
    let visible = position + rows;
    // Whole chunks before the window of the block's first query are never looked at.
    let first_chunk = heads.window.map_or(0, |window| (position + 1).saturating_sub(window) / SCORE_CHUNK);
    let chunks = first_chunk..visible.div_ceil(SCORE_CHUNK);
    if scores.len() < chunks.len() * CHUNK {
        scores.resize(chunks.len() * CHUNK, 0.0);
    }
    for panel in first_chunk * (SCORE_CHUNK / TILE_COLS)..visible.div_ceil(TILE_COLS) {
        let key = panel * TILE_COLS;
        let offset = (key / SCORE_CHUNK - first_chunk) * CHUNK + key % SCORE_CHUNK;
        let keys = &key_values.keys[panel * TILE_COLS * heads.dim..(panel + 1) * TILE_COLS * heads.dim];
        let c = &mut scores[offset..offset + (rows - 1) * SCORE_CHUNK + TILE_COLS];
        let tile = Tile {
            left: query.as_ptr(),
            side: LeftSide::RowBlock,
            panel: keys.as_ptr(),
            panel_stride: TILE_COLS,
            depth: heads.dim,
            rows,
            c: c.as_mut_ptr(),
            c_stride: SCORE_CHUNK,
            accumulate: false,
        };
        // SAFETY: `query` and `keys` hold `dim` steps, and `c` spans the tile's rows.
        unsafe { multiply(isa, &tile) };
    }
    let seen = Seen { first_key: first_chunk * SCORE_CHUNK, position, window: heads.window.unwrap_or(usize::MAX) };
    softmax(scores, chunks.len(), rows, seen, &mut out.sums);
    for (number, chunk) in chunks.enumerate() {
        let keys = chunk * SCORE_CHUNK..key_values.len.min(visible).min((chunk + 1) * SCORE_CHUNK);
        for (panel, tile) in out.tiles.iter_mut().enumerate() {
            let values =
                &key_values.values[(panel * key_values.len + keys.start) * TILE_COLS..][..keys.len() * TILE_COLS];
            let left = &scores[number * CHUNK..][..(rows - 1) * SCORE_CHUNK + keys.len()];
            let tile = Tile {
                left: left.as_ptr(),
                side: LeftSide::Scores,
                panel: values.as_ptr(),
                panel_stride: TILE_COLS,
                depth: keys.len(),
                rows,
                c: tile.as_mut_ptr(),
                c_stride: TILE_COLS,
                accumulate: number > 0,
            };
            // SAFETY: `left` spans `rows` rows of `depth` scores, `values` as many steps, and `c` is 14 rows of 32.
            unsafe { multiply(isa, &tile) };
        }
    }
}

/// Which keys the queries of a block may see.
#[derive(Clone, Copy)]
struct Seen {
    /// The key of the first score.
    first_key: usize,
    /// The first query's position; the next queries follow it.
    position: usize,
    window: usize,
}

vectorised! {
    /// Turns the scores of a block into unnormalised probabilities, zero where a query may not look, and sums each row.
    fn softmax(scores: &mut [f32], chunks: usize, rows: usize, seen: Seen, sums: &mut [f32; TILE_ROWS]) {
        for (r, sum) in sums.iter_mut().enumerate().take(rows) {
            let query = seen.position + r;
            let from = (query + 1).saturating_sub(seen.window) - seen.first_key.min((query + 1).saturating_sub(seen.window));
            let to = query + 1 - seen.first_key;
            let span = |chunk: usize| {
                let start = chunk * SCORE_CHUNK;
                from.clamp(start, start + SCORE_CHUNK) - start..to.clamp(start, start + SCORE_CHUNK) - start
            };
            let mut lanes = [f32::NEG_INFINITY; 16];
            for chunk in 0..chunks {
                let row = &scores[(chunk * TILE_ROWS + r) * SCORE_CHUNK..][..SCORE_CHUNK];
                for part in row[span(chunk)].chunks(16) {
                    for (lane, &x) in lanes.iter_mut().zip(part) {
                        *lane = if x > *lane { x } else { *lane };
                    }
                }
            }
            let top = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = [0f32; 16];
            for chunk in 0..chunks {
                let row = &mut scores[(chunk * TILE_ROWS + r) * SCORE_CHUNK..][..SCORE_CHUNK];
                let span = span(chunk);
                row[..span.start].fill(0.0);
                row[span.end..].fill(0.0);
                for part in row[span].chunks_mut(16) {
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
