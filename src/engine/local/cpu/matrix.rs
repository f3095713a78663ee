//! Weight matrices as the CPU multiplies them, and the packed forms of both sides of a product.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::k_quants::{self, GgmlType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::kernel::{TILE_COLS, TILE_ROWS};
use crate::engine::error::EngineError;
use crate::engine::local::checkpoint::{StoredKind, StoredTensor};

/// How weights are kept. The arithmetic is f32 whatever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// As the file has them.
    AsStored,
    F32,
    Bf16,
    F16,
}

impl Precision {
    /// Rounds values that were read in f32 to what this precision would have kept.
    pub(crate) fn round(self, values: &mut [f32]) {
        match self {
            Precision::AsStored | Precision::F32 => {}
            Precision::Bf16 => values.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32()),
            Precision::F16 => values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32()),
        }
    }
}

/// A weight matrix `[out, in]`.
///
/// f32 weights are packed into panels once, at load. Quantised and 16-bit weights stay as the file has them, mapped and
/// not copied, and are widened panel by panel during a pass: every row of the pass shares that work, and the product
/// itself is always f32, so a score is exact for the weights as stored.
pub(crate) enum Matrix {
    Packed(Packed),
    Stored(StoredTensor),
}

impl Matrix {
    /// Lays out a stored matrix as `precision` says; f32 is packed, all else is widened during a pass.
    pub(crate) fn new(tensor: StoredTensor, precision: Precision) -> Result<Self, EngineError> {
        let kind = match precision {
            Precision::AsStored => tensor.kind,
            Precision::F32 => StoredKind::F32,
            Precision::Bf16 => StoredKind::BF16,
            Precision::F16 => StoredKind::F16,
        };
        if kind == StoredKind::F32 {
            Packed::from_stored(&tensor).map(Matrix::Packed)
        } else if kind == tensor.kind {
            Ok(Matrix::Stored(tensor))
        } else {
            narrow(&tensor, kind).map(Matrix::Stored)
        }
    }

    /// What it holds, or reads in place from the file.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Matrix::Packed(packed) => packed.bytes(),
            Matrix::Stored(tensor) => tensor.bytes().len() as u64,
        }
    }

    pub(crate) fn outputs(&self) -> usize {
        match self {
            Matrix::Packed(packed) => packed.outputs,
            Matrix::Stored(tensor) => tensor.rows(),
        }
    }

    pub(crate) fn inputs(&self) -> usize {
        match self {
            Matrix::Packed(packed) => packed.inputs,
            Matrix::Stored(tensor) => tensor.cols(),
        }
    }

    /// Whether each reading of a panel widens it.
    pub(crate) fn is_widened(&self) -> bool {
        matches!(self, Matrix::Stored(_))
    }

    /// Number of 32-column panels; the last one is padded with zeros.
    pub(crate) fn panels(&self) -> usize {
        self.outputs().div_ceil(TILE_COLS)
    }

    /// Panel number `panel` as `[inputs][32]`, widened into `scratch` if it is not kept so.
    pub(crate) fn panel<'a>(&'a self, panel: usize, scratch: &'a mut PanelScratch) -> Result<&'a [f32], EngineError> {
        match self {
            Matrix::Packed(packed) => Ok(packed.panel(panel)),
            Matrix::Stored(tensor) => {
                scratch.panel.resize(TILE_COLS * tensor.cols(), 0.0);
                fill_panel(tensor, panel, &mut scratch.rows, &mut scratch.panel)?;
                Ok(&scratch.panel)
            }
        }
    }
}

/// A matrix `[outputs, inputs]` as panels of 32 outputs, each `[inputs][32]`.
pub(crate) struct Packed {
    panels: Vec<f32>,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

impl Packed {
    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(self.panels.as_slice()) as u64
    }

    fn from_stored(tensor: &StoredTensor) -> Result<Self, EngineError> {
        let (outputs, inputs) = (tensor.rows(), tensor.cols());
        let mut panels = vec![0f32; outputs.div_ceil(TILE_COLS) * TILE_COLS * inputs];
        panels
            .par_chunks_mut((TILE_COLS * inputs).max(1))
            .enumerate()
            .try_for_each_init(Vec::new, |rows, (panel, out)| fill_panel(tensor, panel, rows, out))?;
        tensor.release();
        Ok(Self { panels, outputs, inputs })
    }

    /// Packs row-major values.
    pub(crate) fn from_rows(values: &[f32], outputs: usize, inputs: usize) -> Self {
        let size = TILE_COLS * inputs;
        let mut panels = vec![0f32; outputs.div_ceil(TILE_COLS) * size];
        for (rows, out) in values.chunks(size.max(1)).zip(panels.chunks_mut(size.max(1))) {
            transpose_panel(rows, inputs, out);
        }
        Self { panels, outputs, inputs }
    }

    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        let size = TILE_COLS * self.inputs;
        &self.panels[panel * size..(panel + 1) * size]
    }
}

/// A thread's buffers for widening a panel.
#[derive(Default)]
pub(crate) struct PanelScratch {
    rows: Vec<f32>,
    panel: Vec<f32>,
}

/// Widens 32 rows of `tensor` and lays them out as a panel; rows past the end are zero.
fn fill_panel(tensor: &StoredTensor, panel: usize, rows: &mut Vec<f32>, out: &mut [f32]) -> Result<(), EngineError> {
    let inputs = tensor.cols();
    let first = panel * TILE_COLS;
    let count = TILE_COLS.min(tensor.rows() - first);
    rows.resize(count * inputs, 0.0);
    read_rows(tensor, first, count, rows)?;
    transpose_panel(rows, inputs, out);
    Ok(())
}

/// `[up to 32][inputs]` to `[inputs][32]`, in blocks that stay in the first-level cache.
fn transpose_panel(rows: &[f32], inputs: usize, out: &mut [f32]) {
    const DEPTH: usize = 64;
    if rows.len() < TILE_COLS * inputs {
        out.fill(0.0);
    }
    for start in (0..inputs).step_by(DEPTH) {
        let end = inputs.min(start + DEPTH);
        for (column, row) in rows.chunks_exact(inputs).enumerate() {
            for (out, &value) in
                out[start * TILE_COLS..end * TILE_COLS].iter_mut().skip(column).step_by(TILE_COLS).zip(&row[start..end])
            {
                *out = value;
            }
        }
    }
}

/// Widens `count` rows of a stored matrix, from row `first`, to row-major f32.
pub(crate) fn read_rows(tensor: &StoredTensor, first: usize, count: usize, out: &mut [f32]) -> Result<(), EngineError> {
    let elements = first * tensor.cols()..(first + count) * tensor.cols();
    let bytes = tensor.bytes();
    match tensor.kind {
        StoredKind::F32 => {
            for (out, raw) in out.iter_mut().zip(bytes[elements.start * 4..elements.end * 4].chunks_exact(4)) {
                *out = f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
            }
        }
        StoredKind::F16 => {
            widen_16(&bytes[elements.start * 2..elements.end * 2], out, |bits| f16::from_bits(bits).to_f32())
        }
        StoredKind::BF16 => {
            widen_16(&bytes[elements.start * 2..elements.end * 2], out, |bits| bf16::from_bits(bits).to_f32());
        }
        StoredKind::Ggml(dtype) => dequantise(dtype, bytes, elements, out)?,
    }
    Ok(())
}

/// Rounds a tensor to 16 bits, to nearest even as PyTorch does.
fn narrow(tensor: &StoredTensor, kind: StoredKind) -> Result<StoredTensor, EngineError> {
    let cols = tensor.cols();
    let mut bytes = vec![0u8; tensor.rows() * cols * 2];
    bytes.par_chunks_mut((cols * 2).max(1)).enumerate().try_for_each_init(
        || vec![0f32; cols],
        |values, (row, out)| {
            read_rows(tensor, row, 1, values)?;
            for (out, &value) in out.chunks_exact_mut(2).zip(values.iter()) {
                let bits = if kind == StoredKind::F16 {
                    f16::from_f32(value).to_bits()
                } else {
                    bf16::from_f32(value).to_bits()
                };
                out.copy_from_slice(&bits.to_le_bytes());
            }
            Ok::<_, EngineError>(())
        },
    )?;
    tensor.release();
    Ok(StoredTensor::owned(kind, tensor.shape.clone(), bytes))
}

/// A whole tensor as row-major f32, rounded first if `precision` has fewer bits than the tensor.
pub(crate) fn read_all(tensor: &StoredTensor, precision: Precision) -> Result<Vec<f32>, EngineError> {
    let mut values = vec![0f32; tensor.rows() * tensor.cols()];
    read_rows(tensor, 0, tensor.rows(), &mut values)?;
    precision.round(&mut values);
    Ok(values)
}

fn widen_16(bytes: &[u8], out: &mut [f32], widen: impl Fn(u16) -> f32) {
    for (out, raw) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *out = widen(u16::from_le_bytes([raw[0], raw[1]]));
    }
}

fn dequantise(
    dtype: GgmlDType,
    bytes: &[u8],
    elements: std::ops::Range<usize>,
    out: &mut [f32],
) -> Result<(), EngineError> {
    let block = dtype.block_size();
    let range = elements.start / block * dtype.type_size()..elements.end / block * dtype.type_size();
    let raw = &bytes[range];
    match dtype {
        GgmlDType::Q4_0 => blocks::<k_quants::BlockQ4_0>(raw, out),
        GgmlDType::Q4_1 => blocks::<k_quants::BlockQ4_1>(raw, out),
        GgmlDType::Q5_0 => blocks::<k_quants::BlockQ5_0>(raw, out),
        GgmlDType::Q5_1 => blocks::<k_quants::BlockQ5_1>(raw, out),
        GgmlDType::Q8_0 => blocks::<k_quants::BlockQ8_0>(raw, out),
        GgmlDType::Q2K => blocks::<k_quants::BlockQ2K>(raw, out),
        GgmlDType::Q3K => blocks::<k_quants::BlockQ3K>(raw, out),
        GgmlDType::Q4K => blocks::<k_quants::BlockQ4K>(raw, out),
        GgmlDType::Q5K => blocks::<k_quants::BlockQ5K>(raw, out),
        GgmlDType::Q6K => blocks::<k_quants::BlockQ6K>(raw, out),
        other @ (GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::Q8_1 | GgmlDType::Q8K) => {
            return Err(EngineError::Internal(format!("{other:?} is no quantisation of weights")));
        }
    }
    Ok(())
}

/// Dequantises whole blocks as candle does.
fn blocks<B: GgmlType>(raw: &[u8], out: &mut [f32]) {
    let size = size_of::<B>();
    // SAFETY: candle's block types are `repr(C)` structs of bytes and 16-bit halves that take any bit pattern, as its
    // own GGUF reader relies on; the slice's length is a multiple of the block's, and `align_to` keeps to alignment.
    let (before, aligned, after) = unsafe { raw.align_to::<B>() };
    if before.is_empty() && after.is_empty() {
        B::to_float(aligned, out);
        return;
    }
    // Data at an odd address: no file that follows the format has it, but a crafted one may.
    let count = raw.len() / size;
    let mut copy: Vec<B> = Vec::with_capacity(count);
    // SAFETY: `copy` has room for `count` blocks, which `raw` holds byte for byte.
    unsafe {
        std::ptr::copy_nonoverlapping(raw.as_ptr(), copy.as_mut_ptr().cast::<u8>(), count * size);
        copy.set_len(count);
    }
    B::to_float(&copy, out);
}

/// The left side of products: rows in blocks of 14 that never straddle two sequences, depth-major.
#[derive(Default)]
pub(crate) struct RowBlocks {
    pub(crate) data: Vec<f32>,
    pub(crate) depth: usize,
}

/// One block: which rows, of which sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) row: usize,
    pub(crate) rows: usize,
    pub(crate) sequence: usize,
}

impl RowBlocks {
    pub(crate) fn new(blocks: usize, depth: usize) -> Self {
        Self { data: vec![0.0; blocks * depth * TILE_ROWS], depth }
    }

    /// Makes room for other blocks, whose rows are all to be written before they are read. Memory is kept: asking the
    /// system for it at every layer, and zeroing it, is what is saved.
    pub(crate) fn reuse(&mut self, blocks: usize, depth: usize) {
        self.depth = depth;
        at_least(&mut self.data, blocks * depth * TILE_ROWS);
    }

    /// Floats in a block.
    pub(crate) fn block_len(&self) -> usize {
        self.depth * TILE_ROWS
    }

    pub(crate) fn block(&self, index: usize) -> &[f32] {
        &self.data[index * self.block_len()..(index + 1) * self.block_len()]
    }

    /// Packs row-major rows, each passed through `write(row, out)` first.
    pub(crate) fn pack_with(&mut self, blocks: &[Block], write: impl Fn(usize, &mut [f32]) + Sync) {
        let depth = self.depth;
        self.data.par_chunks_mut(depth * TILE_ROWS).zip(blocks).for_each_init(
            || vec![0f32; depth],
            |row, (out, block)| {
                for r in 0..block.rows {
                    write(block.row + r, row);
                    for (out, &value) in out[r..].iter_mut().step_by(TILE_ROWS).zip(row.iter()) {
                        *out = value;
                    }
                }
            },
        );
    }
}

/// Grows a buffer that is written before it is read.
pub(crate) fn at_least(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

/// Cuts sequences of rows into blocks.
pub(crate) fn blocks_of(sequences: impl Iterator<Item = std::ops::Range<usize>>) -> Vec<Block> {
    sequences
        .enumerate()
        .flat_map(|(sequence, rows)| {
            rows.clone().step_by(TILE_ROWS).map(move |row| Block { row, rows: TILE_ROWS.min(rows.end - row), sequence })
        })
        .collect()
}
