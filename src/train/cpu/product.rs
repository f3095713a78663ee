//! Matrix products of training on the engine's tiles: against a frozen weight from the other side, of two activations,
//! and small ones within a task.
//!
//! Every number is summed by one task in the order of the depth, so results are the same bits on any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::EngineError;
use crate::engine::local::cpu::kernel::{Isa, LeftSide, MAX_DEPTH, Onto, TILE_COLS, TILE_ROWS, Tile, multiply};
use crate::engine::local::cpu::linear::{Output, Shared};
use crate::engine::local::cpu::matrix::{Block, Matrix, Packed, RowBlocks, blocks_of, read_rows};

/// Depth of the panels that a task fills at a time: 32 columns of it are a quarter of a second-level cache.
const PANEL_DEPTH: usize = 2048;
/// Row blocks that a task takes at least. Filling a panel costs about as much as multiplying it with two.
const TASK_BLOCKS: usize = 6;
/// Floats of a stored weight that are widened at a time.
const WIDENED: usize = 4 << 20;

/// Row-major values seen as a matrix, or as its transpose.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) values: &'a [f32],
    /// Between an element and the next one down.
    pub(super) down: usize,
    /// Between an element and the next one across.
    pub(super) across: usize,
}

impl<'a> View<'a> {
    /// `[rows, stride]` as it lies.
    pub(super) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, down: stride, across: 1 }
    }

    /// `[rows, stride]`, transposed.
    pub(super) fn columns(values: &'a [f32], stride: usize) -> Self {
        Self { values, down: 1, across: stride }
    }

    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.down + column * self.across]
    }
}

/// The left side of a product: rows `rows` of a view, in row blocks.
pub(super) fn left(view: View<'_>, rows: usize, depth: usize) -> (RowBlocks, Vec<Block>) {
    let blocks = blocks_of(std::iter::once(0..rows));
    let mut packed = RowBlocks::new(blocks.len(), depth);
    packed.data.par_chunks_mut((depth * TILE_ROWS).max(1)).zip(&blocks).for_each(|(out, block)| {
        pack_block(view, block.row..block.row + block.rows, 0..depth, out);
    });
    (packed, blocks)
}

/// One row block of a view, `[depth][14]`.
fn pack_block(view: View<'_>, rows: Range<usize>, depth: Range<usize>, out: &mut [f32]) {
    if view.across == 1 {
        for (r, row) in rows.enumerate() {
            let from = &view.values[row * view.down + depth.start..row * view.down + depth.end];
            for (out, &value) in out[r..].iter_mut().step_by(TILE_ROWS).zip(from) {
                *out = value;
            }
        }
    } else {
        for (out, k) in out.chunks_exact_mut(TILE_ROWS).zip(depth) {
            let at = k * view.across;
            for (out, row) in out.iter_mut().zip(rows.clone()) {
                *out = view.values[at + row * view.down];
            }
        }
    }
}

/// One panel of a view, `[depth][32]`; columns past the end are zero.
fn pack_panel(view: View<'_>, depth: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
    let width = columns.len();
    if width < TILE_COLS {
        out.fill(0.0);
    }
    if view.across == 1 {
        for (out, k) in out.chunks_exact_mut(TILE_COLS).zip(depth) {
            let at = k * view.down + columns.start;
            out[..width].copy_from_slice(&view.values[at..at + width]);
        }
    } else {
        for (c, column) in columns.enumerate() {
            for (out, k) in out[c..].iter_mut().step_by(TILE_COLS).zip(depth.clone()) {
                *out = view.at(k, column);
            }
        }
    }
}

/// The right side of a product, `[depth, columns]`, read a panel of 32 columns at a time.
pub(super) trait Right: Sync {
    fn depth(&self) -> usize;
    fn columns(&self) -> usize;
    /// Writes the rows `depth` of a panel as `[depth][32]`, zeros past the last column.
    fn fill(&self, panel: usize, depth: Range<usize>, out: &mut [f32]);
}

/// A view as a right side.
pub(super) struct Dense<'a> {
    pub(super) view: View<'a>,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

impl Right for Dense<'_> {
    fn depth(&self) -> usize {
        self.depth
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn fill(&self, panel: usize, depth: Range<usize>, out: &mut [f32]) {
        pack_panel(self.view, depth, panel_columns(panel, self.columns), out);
    }
}

/// A packed weight `[outputs, inputs]` as the right side of `dx = dy W`.
struct Untransposed<'a>(&'a Packed);

impl Right for Untransposed<'_> {
    fn depth(&self) -> usize {
        self.0.outputs
    }

    fn columns(&self) -> usize {
        self.0.inputs
    }

    fn fill(&self, panel: usize, depth: Range<usize>, out: &mut [f32]) {
        let columns = panel_columns(panel, self.0.inputs);
        if columns.len() < TILE_COLS {
            out.fill(0.0);
        }
        debug_assert!(depth.start.is_multiple_of(TILE_COLS), "a depth begins with a panel of outputs");
        for (out, first) in out.chunks_mut(TILE_COLS * TILE_COLS).zip(depth.step_by(TILE_COLS)) {
            let outputs = &self.0.panel(first / TILE_COLS)[columns.start * TILE_COLS..columns.end * TILE_COLS];
            for (input, outputs) in outputs.chunks_exact(TILE_COLS).enumerate() {
                for (out, &value) in out[input..].iter_mut().step_by(TILE_COLS).zip(outputs) {
                    *out = value;
                }
            }
        }
    }
}

fn panel_columns(panel: usize, columns: usize) -> Range<usize> {
    panel * TILE_COLS..columns.min((panel + 1) * TILE_COLS)
}

/// `out = left * right`, or `out += left * right`.
pub(super) fn product(x: &RowBlocks, blocks: &[Block], right: &dyn Right, out: Output<'_>) {
    let (columns, depth) = (right.columns(), right.depth());
    assert!(x.depth == depth, "both sides have one depth");
    let Output { values, stride, mut add } = out;
    let rows = blocks.last().map_or(0, |block| block.row + block.rows);
    assert!(rows == 0 || (rows - 1) * stride + columns <= values.len(), "the product lies within its output");
    assert!(columns <= stride || rows <= 1, "rows of the output do not overlap");
    assert!(x.data.len() >= blocks.len() * x.block_len(), "every block is packed");
    let apart = |pair: &[Block]| pair[0].row + pair[0].rows <= pair[1].row;
    let sound = |block: &Block| (1..=TILE_ROWS).contains(&block.rows);
    assert!(blocks.iter().all(sound) && blocks.windows(2).all(apart), "blocks are apart, and no higher than a tile");
    let threads = rayon::current_num_threads();
    let panels = columns.div_ceil(TILE_COLS);
    let parts = (2 * threads).div_ceil(panels.max(1)).min(blocks.len() / TASK_BLOCKS).max(1);
    let part = blocks.len().div_ceil(parts).max(1);
    let tasks: Vec<(usize, Range<usize>)> = (0..panels)
        .flat_map(|panel| {
            (0..blocks.len()).step_by(part).map(move |first| (panel, first..blocks.len().min(first + part)))
        })
        .collect();
    let shared = Shared::new(values);
    for start in (0..depth).step_by(PANEL_DEPTH) {
        let part = start..depth.min(start + PANEL_DEPTH);
        tasks.par_iter().with_max_len(1).for_each_init(Vec::new, |panel, (number, indices)| {
            panel.resize(part.len() * TILE_COLS, 0.0);
            right.fill(*number, part.clone(), panel);
            let wanted = panel_columns(*number, columns);
            for index in indices.clone() {
                let block = blocks[index];
                let left = &x.block(index)[part.start * TILE_ROWS..part.end * TILE_ROWS];
                // SAFETY: the assertion above keeps the rows inside the output, where no other task writes these
                // columns of these rows.
                unsafe {
                    let c = shared.at(block.row * stride + wanted.start);
                    tile(left, panel, block.rows, wanted.len(), c, stride, add);
                }
            }
        });
        add = true;
    }
}

/// `[rows x width]` at `c`, replaced or added to, by parts of the depth that are short enough to sum precisely.
///
/// # Safety
/// `c` must be writable for `rows` rows of `width` columns, `stride` apart, and not aliased.
unsafe fn tile(left: &[f32], panel: &[f32], rows: usize, width: usize, c: *mut f32, stride: usize, add: bool) {
    let isa = Isa::detect();
    let depth = panel.len() / TILE_COLS;
    let mut sum = [0f32; TILE_ROWS * TILE_COLS];
    let direct = width == TILE_COLS;
    let (to, to_stride) = if direct { (c, stride) } else { (sum.as_mut_ptr(), TILE_COLS) };
    let parts = depth.div_ceil(MAX_DEPTH).max(1);
    let size = depth.div_ceil(parts).max(1);
    for start in (0..depth).step_by(size) {
        let part = start..depth.min(start + size);
        let right = &panel[part.start * TILE_COLS..part.end * TILE_COLS];
        let tile = Tile {
            left: left[part.start * TILE_ROWS..part.end * TILE_ROWS].as_ptr(),
            side: LeftSide::RowBlock,
            panel: right.as_ptr(),
            next: right.as_ptr_range().end,
            depth: part.len(),
            rows,
            c: to,
            c_stride: to_stride,
            onto: if start > 0 || (direct && add) { Onto::Sum } else { Onto::Nothing },
        };
        // SAFETY: the slices hold `depth` steps of both sides; the place is the caller's or this function's own.
        unsafe { multiply(isa, &tile) };
    }
    if !direct {
        for (r, row) in sum.chunks_exact(TILE_COLS).enumerate().take(rows) {
            // SAFETY: the caller's.
            let to = unsafe { std::slice::from_raw_parts_mut(c.add(r * stride), width) };
            for (to, value) in to.iter_mut().zip(row) {
                *to = if add { *to + value } else { *value };
            }
        }
    }
}

/// `dx += dy W`: the gradient of a linear layer's input. `dy` is packed with the layer's outputs as its depth.
pub(super) fn against(dy: &RowBlocks, blocks: &[Block], weight: &Matrix, dx: &mut [f32]) -> Result<(), EngineError> {
    let inputs = weight.inputs();
    match weight {
        Matrix::Packed(packed) => {
            product(dy, blocks, &Untransposed(packed), Output { values: dx, stride: inputs, add: true });
            Ok(())
        }
        Matrix::Stored(tensor) => {
            // Widened a part of the outputs at a time: whole blocks of a quantised row cannot be read by column.
            let part = (WIDENED / inputs).max(TILE_COLS) / TILE_COLS * TILE_COLS;
            let mut rows = Vec::new();
            for first in (0..tensor.rows()).step_by(part) {
                let count = part.min(tensor.rows() - first);
                rows.resize(count * inputs, 0f32);
                rows.par_chunks_mut(inputs)
                    .enumerate()
                    .try_for_each(|(row, out)| read_rows(tensor, first + row, 1, out))?;
                let mut own = RowBlocks::new(blocks.len(), count);
                own.data.par_chunks_mut(count * TILE_ROWS).enumerate().for_each(|(index, out)| {
                    out.copy_from_slice(&dy.block(index)[first * TILE_ROWS..(first + count) * TILE_ROWS]);
                });
                let right = Dense { view: View::rows(&rows, inputs), depth: count, columns: inputs };
                product(&own, blocks, &right, Output { values: dx, stride: inputs, add: true });
            }
            Ok(())
        }
    }
}

/// `out += a^T b` for row-major `a` `[rows, m]` and `b` `[rows, n]`: the gradient of a weight.
pub(super) fn outer(a: &[f32], m: usize, b: &[f32], n: usize, out: &mut [f32]) {
    let rows = a.len() / m;
    let (packed, blocks) = left(View::columns(a, m), m, rows);
    let right = Dense { view: View::rows(b, n), depth: rows, columns: n };
    product(&packed, &blocks, &right, Output { values: out, stride: n, add: true });
}

/// `out += (a^T b)^T` for a narrow `a` `[rows, m]`: `[n, m]`. The wide side is read as it lies.
pub(super) fn outer_turned(a: &[f32], m: usize, b: &[f32], n: usize, out: &mut [f32]) {
    let mut turned = vec![0f32; m * n];
    outer(a, m, b, n, &mut turned);
    for (column, row) in turned.chunks_exact(n).enumerate() {
        for (out, value) in out[column..].iter_mut().step_by(m).zip(row) {
            *out += value;
        }
    }
}

/// Both sides of small products within one task.
#[derive(Default)]
pub(super) struct Blocks {
    data: Vec<f32>,
    rows: usize,
    depth: usize,
}

impl Blocks {
    pub(super) fn pack(&mut self, view: View<'_>, rows: usize, depth: usize) -> &Self {
        (self.rows, self.depth) = (rows, depth);
        self.data.resize(rows.div_ceil(TILE_ROWS) * depth * TILE_ROWS, 0.0);
        for (first, out) in (0..rows).step_by(TILE_ROWS).zip(self.data.chunks_mut((depth * TILE_ROWS).max(1))) {
            pack_block(view, first..rows.min(first + TILE_ROWS), 0..depth, out);
        }
        self
    }
}

/// The right side of small products, `[depth, columns]`.
#[derive(Default)]
pub(super) struct Panels {
    data: Vec<f32>,
    depth: usize,
    columns: usize,
}

impl Panels {
    pub(super) fn pack(&mut self, view: View<'_>, depth: usize, columns: usize) -> &Self {
        (self.depth, self.columns) = (depth, columns);
        self.data.resize(columns.div_ceil(TILE_COLS) * depth * TILE_COLS, 0.0);
        for (panel, out) in self.data.chunks_mut((depth * TILE_COLS).max(1)).enumerate() {
            pack_panel(view, 0..depth, panel_columns(panel, columns), out);
        }
        self
    }
}

/// Multiplies packed sides in this thread: the first `columns` columns, over the left side's whole depth, which may be a
/// part of the right side's.
pub(super) fn small(left: &Blocks, right: &Panels, columns: usize, c: &mut [f32], stride: usize, add: bool) {
    let depth = left.depth;
    assert!(depth <= right.depth && columns <= right.columns, "the right side holds what is asked of it");
    assert!(left.rows == 0 || (left.rows - 1) * stride + columns <= c.len(), "the product lies within its output");
    for (panel, data) in right.data.chunks((right.depth * TILE_COLS).max(1)).enumerate() {
        let first = panel * TILE_COLS;
        if first >= columns {
            break;
        }
        let width = TILE_COLS.min(columns - first);
        for (row, block) in (0..left.rows).step_by(TILE_ROWS).zip(left.data.chunks((depth * TILE_ROWS).max(1))) {
            let rows = TILE_ROWS.min(left.rows - row);
            // SAFETY: the assertion keeps the rows inside `c`, which this thread has alone.
            unsafe {
                let to = c.as_mut_ptr().add(row * stride + first);
                tile(block, &data[..depth * TILE_COLS], rows, width, to, stride, add);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        (0..len as u32).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed) % 2001) as f32 / 1000.0 - 1.0).collect()
    }

    /// `a [m, k] * b [k, n]` in f64.
    fn exact(a: View<'_>, b: View<'_>, [m, n, k]: [usize; 3]) -> Vec<f64> {
        let cell = |i, j| (0..k).map(|d| f64::from(a.at(i, d)) * f64::from(b.at(d, j))).sum();
        (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).collect()
    }

    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                "{i}: {found} for {expected}"
            );
        }
    }

    #[test]
    fn products_of_odd_shapes_are_right() {
        for [m, n, k] in [[1, 1, 1], [14, 32, 64], [15, 33, 65], [40, 70, 2100], [3, 98, 31]] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let (packed, blocks) = left(View::rows(&a, k), m, k);
            let mut out = vec![1f32; m * n];
            let right = Dense { view: View::rows(&b, n), depth: k, columns: n };
            product(&packed, &blocks, &right, Output { values: &mut out, stride: n, add: false });
            let expected = exact(View::rows(&a, k), View::rows(&b, n), [m, n, k]);
            close(&out, &expected);
            let mut again = vec![0f32; m * n];
            let (mut l, mut r) = (Blocks::default(), Panels::default());
            small(l.pack(View::rows(&a, k), m, k), r.pack(View::rows(&b, n), k, n), n, &mut again, n, false);
            close(&again, &expected);
            product(&packed, &blocks, &right, Output { values: &mut out, stride: n, add: true });
            close(&out, &expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_weight_multiplies_from_the_other_side() {
        for [outputs, inputs] in [[1, 1], [32, 64], [70, 33], [2100, 40]] {
            let (rows, w) = (17, numbers(outputs * inputs, 3));
            let dy = numbers(rows * outputs, 4);
            let (packed, blocks) = left(View::rows(&dy, outputs), rows, outputs);
            let mut dx = vec![0f32; rows * inputs];
            against(&packed, &blocks, &Matrix::Packed(Packed::from_rows(&w, outputs, inputs)), &mut dx).unwrap();
            close(&dx, &exact(View::rows(&dy, outputs), View::rows(&w, inputs), [rows, inputs, outputs]));
        }
    }

    #[test]
    fn an_outer_product_sums_over_rows() {
        let (a, b) = (numbers(50 * 16, 5), numbers(50 * 40, 6));
        let mut out = vec![0f32; 16 * 40];
        outer(&a, 16, &b, 40, &mut out);
        let mut turned = vec![0f32; 40 * 16];
        outer_turned(&a, 16, &b, 40, &mut turned);
        close(&turned, &exact(View::columns(&b, 40), View::rows(&a, 16), [40, 16, 50]));
        close(&out, &exact(View::columns(&a, 16), View::rows(&b, 40), [16, 40, 50]));
    }
}
