//! Linear layers over row blocks: base weights once for all rows, and each sequence's own low-rank part in the same tile.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Isa, LeftSide, MAX_DEPTH, Onto, TILE_COLS, TILE_ROWS, Tile, multiply, vectorised};
use super::matrix::{Block, Matrix, Packed, PanelScratch, RowBlocks};
use crate::engine::error::EngineError;

/// Panels that a task works on together should fit the second-level cache beside a row block.
const TASK_BYTES: usize = 768 << 10;
/// Row blocks that a task takes at least, so that reading its panels costs little beside multiplying them.
const TASK_BLOCKS: usize = 36;

/// An adapter's part of one linear layer, `B A x` with the scale already in `B`.
pub(crate) struct LowRank {
    /// `[rank, inputs]`
    pub(crate) a: Packed,
    /// `[outputs, rank]`
    pub(crate) b: Packed,
}

/// A linear layer and what each sequence of the pass adds to it.
pub(crate) struct Linear<'a> {
    pub(crate) weight: &'a Matrix,
    pub(crate) bias: Option<&'a [f32]>,
    /// One entry a sequence.
    pub(crate) low_rank: Vec<Option<&'a LowRank>>,
}

/// Where a product goes.
pub(crate) struct Output<'a> {
    /// Row-major `[rows, stride]`.
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
    /// Add to what is there (a residual stream) instead of replacing it.
    pub(crate) add: bool,
}

/// A pointer that tasks share; each writes its own columns only.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);
// SAFETY: tasks write disjoint panels (columns) of the output, which outlives the parallel section.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// `y = x W^T + bias + x A^T B^T` for several layers of one input, as one parallel section.
pub(crate) fn linear(
    x: &RowBlocks,
    blocks: &[Block],
    layers: Vec<(Linear<'_>, Output<'_>)>,
) -> Result<(), EngineError> {
    struct Job<'a> {
        layer: Linear<'a>,
        low: LowRankInput,
        out: Shared,
        len: usize,
        stride: usize,
        add: bool,
    }
    let jobs: Vec<Job<'_>> = layers
        .into_iter()
        .map(|(layer, out)| {
            let low = LowRankInput::new(x, blocks, &layer);
            Job { layer, low, len: out.values.len(), out: Shared::new(out.values), stride: out.stride, add: out.add }
        })
        .collect();
    let tasks: Vec<(usize, Task)> = jobs
        .iter()
        .enumerate()
        .flat_map(|(job, j)| tasks_of(j.layer.weight, jobs.len(), blocks.len()).map(move |task| (job, task)))
        .collect();
    let isa = Isa::detect();
    tasks.into_par_iter().with_max_len(1).try_for_each_init(TaskScratch::default, |scratch, (job, task)| {
        let Job { layer, low, out, len, stride, add } = &jobs[job];
        let Task { panels, blocks: part } = task;
        let outputs = layer.weight.outputs();
        let wanted: Vec<_> = panels.clone().map(|panel| (layer.weight, panel)).collect();
        let weights = scratch.load(&wanted)?;
        let mut sum = [0f32; TILE_ROWS * TILE_COLS];
        for (index, block) in part.clone().zip(&blocks[part]) {
            for (panel, weights) in panels.clone().zip(&weights) {
                let column = panel * TILE_COLS;
                let width = TILE_COLS.min(outputs - column);
                let first = block.row * stride + column;
                assert!(first + (block.rows - 1) * stride + width <= *len, "a tile lies within its output");
                // A product that is added to a residual stream is summed up first: its parts would each be rounded to the
                // stream's size, which is large beside them.
                let direct = width == TILE_COLS && !add;
                let (c, c_stride) = if direct { (out.at(first), *stride) } else { (sum.as_mut_ptr(), TILE_COLS) };
                let bias = layer.bias.map(|bias| &bias[column..column + width]);
                // SAFETY: the assertion keeps the rows inside the output, where no other task writes these columns.
                unsafe {
                    let begun = begin_tile(c, c_stride, block.rows, bias);
                    multiply_block(isa, x, index, block.rows, weights, c, c_stride, begun);
                    low.tile(isa, layer, index, block, panel, c, c_stride);
                    if !direct {
                        put_tile(&sum, out.at(first), *stride, block.rows, width, *add);
                    }
                }
            }
        }
        Ok(())
    })
}

/// The gated unit `silu(x G^T) * (x U^T)`, written as the row blocks that the down projection reads.
pub(crate) fn gated(
    x: &RowBlocks,
    blocks: &[Block],
    gate: &Linear<'_>,
    up: &Linear<'_>,
    out: &mut RowBlocks,
) -> Result<(), EngineError> {
    let low = [LowRankInput::new(x, blocks, gate), LowRankInput::new(x, blocks, up)];
    let layers = [gate, up];
    let outputs = gate.weight.outputs();
    let tasks: Vec<Task> = tasks_of(gate.weight, 2, blocks.len()).collect();
    let (block_len, shared) = (out.block_len(), Shared::new(&mut out.data));
    let isa = Isa::detect();
    tasks.into_par_iter().with_max_len(1).try_for_each_init(TaskScratch::default, |scratch, task| {
        let Task { panels, blocks: part } = task;
        let wanted: Vec<_> =
            layers.iter().flat_map(|layer| panels.clone().map(|panel| (layer.weight, panel))).collect();
        let weights = scratch.load(&wanted)?;
        let mut tiles = [[0f32; TILE_ROWS * TILE_COLS]; 2];
        for (index, block) in part.clone().zip(&blocks[part]) {
            for (slot, panel) in panels.clone().enumerate() {
                let column = panel * TILE_COLS;
                let width = TILE_COLS.min(outputs - column);
                for (which, tile) in tiles.iter_mut().enumerate() {
                    let slot = which * panels.len() + slot;
                    let c = tile.as_mut_ptr();
                    let bias = layers[which].bias.map(|b| &b[column..column + width]);
                    // SAFETY: the tile is this task's own, 14 rows of 32.
                    unsafe {
                        let begun = begin_tile(c, TILE_COLS, block.rows, bias);
                        multiply_block(isa, x, index, block.rows, weights[slot], c, TILE_COLS, begun);
                        low[which].tile(isa, layers[which], index, block, panel, c, TILE_COLS);
                    }
                }
                let [gates, ups] = &mut tiles;
                silu_mul(gates, ups);
                let turned = shared.at(index * block_len + column * TILE_ROWS);
                // SAFETY: columns `column..column + width` of block `index` are inside `out`, and this task's alone.
                turn_tile(gates, unsafe { std::slice::from_raw_parts_mut(turned, width * TILE_ROWS) });
            }
        }
        Ok(())
    })
}

/// Turns a tile `[14][32]` into the columns of a row block, `[columns][14]`.
pub(crate) fn turn_tile(tile: &[f32; TILE_ROWS * TILE_COLS], out: &mut [f32]) {
    for (column, out) in out.chunks_exact_mut(TILE_ROWS).enumerate() {
        for (r, out) in out.iter_mut().enumerate() {
            *out = tile[r * TILE_COLS + column];
        }
    }
}

vectorised! {
    /// `gate = silu(gate) * up`.
    fn silu_mul(gate: &mut [f32; TILE_ROWS * TILE_COLS], up: &[f32; TILE_ROWS * TILE_COLS]) {
        for (g, &u) in gate.iter_mut().zip(up) {
            *g = *g / (1.0 + super::math::exp(-*g)) * u;
        }
    }
}

/// The part of a product that one thread makes at a time.
struct Task {
    panels: Range<usize>,
    /// Indices of row blocks.
    blocks: Range<usize>,
}

/// Splits a product into tasks: panels few enough to share a row block, and tasks enough to keep every thread busy to the
/// end. Rows are split only where that does not widen a panel twice.
fn tasks_of(weight: &Matrix, layers: usize, blocks: usize) -> impl Iterator<Item = Task> + use<> {
    let panels = weight.panels();
    let fit = (TASK_BYTES / (weight.inputs() * TILE_COLS * 4 * layers.min(2)).max(1)).max(1);
    let busy = panels.div_ceil(4 * rayon::current_num_threads());
    let size = fit.min(busy).max(1);
    let parts = if weight.is_widened() { 1 } else { (blocks / TASK_BLOCKS).max(1) };
    parts_of(panels, size).flat_map(move |panels| {
        parts_of(blocks, blocks.div_ceil(parts).max(1)).map(move |blocks| Task { panels: panels.clone(), blocks })
    })
}

/// `0..len` in parts of `size`.
fn parts_of(len: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(size).map(move |first| first..len.min(first + size))
}

/// Cuts the depth of a product into equal parts of at most [`MAX_DEPTH`].
fn depths(depth: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = depth.div_ceil(MAX_DEPTH).max(1);
    parts_of(depth, depth.div_ceil(parts).max(1))
}

/// A thread's copies of the panels that are not kept in f32.
#[derive(Default)]
struct TaskScratch {
    widened: Vec<PanelScratch>,
}

impl TaskScratch {
    /// The panels of a task, in the order of `wanted`.
    fn load<'a>(&'a mut self, wanted: &[(&'a Matrix, usize)]) -> Result<Vec<&'a [f32]>, EngineError> {
        self.widened.resize_with(self.widened.len().max(wanted.len()), PanelScratch::default);
        wanted.iter().zip(&mut self.widened).map(|(&(matrix, panel), scratch)| matrix.panel(panel, scratch)).collect()
    }
}

/// Multiplies block `index` of `x` with a panel, part by part of the depth: `c = x W^T`, or `c += x W^T` if `add`.
///
/// # Safety
/// `c` must be writable for `rows` rows of 32 columns, `c_stride` apart, and not aliased.
#[expect(clippy::too_many_arguments, reason = "both sides of a product, its place, and how to write it")]
pub(crate) unsafe fn multiply_block(
    isa: Isa,
    x: &RowBlocks,
    index: usize,
    rows: usize,
    panel: &[f32],
    c: *mut f32,
    c_stride: usize,
    add: bool,
) {
    for depth in depths(x.depth) {
        let left = &x.block(index)[depth.start * TILE_ROWS..depth.end * TILE_ROWS];
        let right = &panel[depth.start * TILE_COLS..depth.end * TILE_COLS];
        let tile = Tile {
            left: left.as_ptr(),
            side: LeftSide::RowBlock,
            panel: right.as_ptr(),
            next: right.as_ptr_range().end,
            depth: depth.len(),
            rows,
            c,
            c_stride,
            onto: if add || depth.start > 0 { Onto::Sum } else { Onto::Nothing },
        };
        // SAFETY: the slices hold `depth` steps of both sides; `c` is the caller's.
        unsafe { multiply(isa, &tile) };
    }
}

/// `x A^T` for the blocks whose sequence has an adapter, packed as the left side of the product with `B`.
pub(crate) struct LowRankInput {
    blocks: Vec<Option<Vec<f32>>>,
}

impl LowRankInput {
    pub(crate) fn new(x: &RowBlocks, blocks: &[Block], layer: &Linear<'_>) -> Self {
        if layer.low_rank.iter().all(Option::is_none) {
            return Self { blocks: vec![] };
        }
        let isa = Isa::detect();
        let project = |(index, block): (usize, &Block)| {
            layer.low_rank[block.sequence].map(|part| project(isa, x, index, block, &part.a))
        };
        Self { blocks: blocks.par_iter().enumerate().map(project).collect() }
    }

    /// Adds `(x A^T) B^T` to a tile, if the block's sequence has an adapter.
    ///
    /// # Safety
    /// As for [`multiply_block`].
    #[expect(clippy::too_many_arguments, reason = "the coordinates of one tile, as for `multiply_block`")]
    pub(crate) unsafe fn tile(
        &self,
        isa: Isa,
        layer: &Linear<'_>,
        index: usize,
        block: &Block,
        panel: usize,
        c: *mut f32,
        c_stride: usize,
    ) {
        let (Some(Some(left)), Some(part)) = (self.blocks.get(index), layer.low_rank[block.sequence]) else {
            return;
        };
        let panel = part.b.panel(panel);
        let tile = Tile {
            left: left.as_ptr(),
            side: LeftSide::RowBlock,
            panel: panel.as_ptr(),
            next: panel.as_ptr_range().end,
            depth: left.len() / TILE_ROWS,
            rows: block.rows,
            c,
            c_stride,
            onto: Onto::Sum,
        };
        // SAFETY: `left` holds `rank` steps of 14 and `panel` as many of 32; `c` is the caller's.
        unsafe { multiply(isa, &tile) };
    }
}

/// One block's `x A^T` as `[rank][14]`.
fn project(isa: Isa, x: &RowBlocks, index: usize, block: &Block, a: &Packed) -> Vec<f32> {
    let rank = a.outputs;
    let mut out = vec![0f32; rank * TILE_ROWS];
    let mut c = [0f32; TILE_ROWS * TILE_COLS];
    for number in 0..rank.div_ceil(TILE_COLS) {
        // SAFETY: `c` is 14 rows of 32.
        unsafe { multiply_block(isa, x, index, block.rows, a.panel(number), c.as_mut_ptr(), TILE_COLS, false) };
        let columns = number * TILE_COLS..rank.min((number + 1) * TILE_COLS);
        turn_tile(&c, &mut out[columns.start * TILE_ROWS..columns.end * TILE_ROWS]);
    }
    out
}

/// Puts the bias into a tile, if there is one. Whether the product must add to what the tile holds.
///
/// # Safety
/// `c` must be writable for `rows` rows of the bias's width, `stride` apart.
unsafe fn begin_tile(c: *mut f32, stride: usize, rows: usize, bias: Option<&[f32]>) -> bool {
    let Some(bias) = bias else {
        return false;
    };
    for r in 0..rows {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(c.add(r * stride), bias.len()) }.copy_from_slice(bias);
    }
    true
}

/// Writes a tile's first `rows` and `width` to where they belong, or adds them to what is there.
///
/// # Safety
/// `to` must be writable for `rows` rows of `width` columns, `stride` apart.
unsafe fn put_tile(
    tile: &[f32; TILE_ROWS * TILE_COLS],
    to: *mut f32,
    stride: usize,
    rows: usize,
    width: usize,
    add: bool,
) {
    for (r, row) in tile.chunks_exact(TILE_COLS).enumerate().take(rows) {
        // SAFETY: the caller's.
        let to = unsafe { std::slice::from_raw_parts_mut(to.add(r * stride), width) };
        for (to, value) in to.iter_mut().zip(row) {
            *to = if add { *to + value } else { *value };
        }
    }
}
