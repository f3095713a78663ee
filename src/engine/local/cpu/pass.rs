//! One pass over the layers: rows of any sequences go through the same weights together, and attention is what makes the
//! difference between scoring whole sequences and going on with cached ones.

use rayon::prelude::*;

use super::attention::{Heads, Projections};
use super::decoder::{CpuAdapter, CpuModel, Layer};
use super::linear::{Linear, Output, gated, linear};
use super::math::{rms_norm, rotate};
use super::matrix::{Block, RowBlocks, read_rows};
use crate::engine::error::EngineError;
use crate::engine::local::projection::Projection;

/// The most that the gated unit's output may take, in bytes; longer passes are cut into pieces for it.
const GATED_BYTES: usize = 64 << 20;

/// How the rows of a pass look at each other and at what came before them.
pub(super) trait Attend {
    /// `softmax(q k^T / sqrt(dim)) v` for the rows of `blocks`, whose keys and values and those of all other rows of the
    /// pass are in `input`.
    fn attend(&mut self, layer: usize, heads: Heads, blocks: &[Block], input: &Projections<'_>, out: &mut RowBlocks);
}

/// The rows of a pass: tokens and where they stand in their sequences. Rows that share an adapter lie together.
pub(super) struct Rows<'a> {
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<usize>,
    /// The adapters by [`Block::sequence`].
    pub(super) adapters: Vec<Option<&'a CpuAdapter>>,
    /// All rows in blocks.
    pub(super) all: Vec<Block>,
    /// The rows whose hidden states are wanted.
    pub(super) kept: Vec<Block>,
}

/// The state of one pass.
pub(super) struct Pass<'a> {
    model: &'a CpuModel,
    rows: Rows<'a>,
    /// The residual stream, `[rows, hidden]`.
    hidden: Vec<f32>,
    /// Cosines and sines, `[rows, head_dim / 2]`.
    rotation: [Vec<f32>; 2],
    buffers: Buffers,
}

/// What each layer writes anew.
#[derive(Default)]
struct Buffers {
    /// The residual stream, normalised.
    normalised: RowBlocks,
    /// `[rows, heads * head_dim]` each.
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: RowBlocks,
    /// The gated unit's output.
    wide: RowBlocks,
}

impl<'a> Pass<'a> {
    pub(super) fn new(model: &'a CpuModel, rows: Rows<'a>) -> Result<Self, EngineError> {
        let size = model.config.hidden_size;
        let mut hidden = vec![0f32; rows.tokens.len() * size];
        hidden.par_chunks_mut(size).zip(&rows.tokens).try_for_each(|(row, &token)| {
            read_rows(&model.embedding, token as usize, 1, row)?;
            model.precision.round(row);
            Ok::<_, EngineError>(())
        })?;
        let half = model.frequencies.len();
        let angles = |f: fn(f32) -> f32| {
            let mut values = vec![0f32; rows.positions.len() * half];
            values.par_chunks_mut(half).zip(&rows.positions).for_each(|(row, &position)| {
                for (out, frequency) in row.iter_mut().zip(&model.frequencies) {
                    *out = f(position as f32 * frequency);
                }
            });
            values
        };
        let rotation = [angles(f32::cos), angles(f32::sin)];
        Ok(Self { model, rows, hidden, rotation, buffers: Buffers::default() })
    }

    /// Takes the rows through every layer; `stop` is asked before each.
    pub(super) fn run(&mut self, attend: &mut dyn Attend, stop: &dyn Fn() -> bool) -> Result<(), EngineError> {
        let (all, kept) = (std::mem::take(&mut self.rows.all), std::mem::take(&mut self.rows.kept));
        for (index, layer) in self.model.layers.iter().enumerate() {
            if stop() {
                return Err(EngineError::Cancelled);
            }
            // Nothing reads what the last layer makes of the other positions.
            let wanted = if index + 1 == self.model.layers.len() { &kept } else { &all };
            self.attention(layer, index, &all, wanted, attend)?;
            self.mlp(layer, index, wanted)?;
        }
        (self.rows.all, self.rows.kept) = (all, kept);
        Ok(())
    }

    /// Writes a row's hidden state, normalised for the head.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) {
        let config = &self.model.config;
        let hidden = &self.hidden[row * config.hidden_size..(row + 1) * config.hidden_size];
        rms_norm(hidden, &self.model.norm, config.rms_norm_eps as f32, out);
    }

    fn layer<'b>(&'b self, layer: &'b Layer, index: usize, projection: Projection) -> Linear<'b> {
        let weights = layer.projections.get(projection);
        Linear {
            weight: &weights.matrix,
            bias: weights.bias.as_deref(),
            low_rank: self
                .rows
                .adapters
                .iter()
                .map(|adapter| adapter.and_then(|adapter| adapter.layers[index].get(projection).as_ref()))
                .collect(),
        }
    }

    /// Writes the residual rows of `blocks`, normalised, as the left side of a product.
    fn normalise(&self, blocks: &[Block], weight: &[f32], x: &mut RowBlocks) {
        let size = self.model.config.hidden_size;
        let eps = self.model.config.rms_norm_eps as f32;
        x.reuse(blocks.len(), size);
        x.pack_with(blocks, |row, out| rms_norm(&self.hidden[row * size..(row + 1) * size], weight, eps, out));
    }

    /// Attention from the rows of `wanted` to those of `all`, added to the residual stream.
    fn attention(
        &mut self,
        layer: &Layer,
        index: usize,
        all: &[Block],
        wanted: &[Block],
        attend: &mut dyn Attend,
    ) -> Result<(), EngineError> {
        let mut buffers = std::mem::take(&mut self.buffers);
        let Buffers { normalised, queries, keys, values, attended, .. } = &mut buffers;
        let config = &self.model.config;
        let heads = self.model.heads();
        let (q_size, kv_size) = (heads.queries * heads.dim, heads.keys * heads.dim);
        let total = self.hidden.len() / config.hidden_size;
        queries.resize(total * q_size, 0.0);
        keys.resize(total * kv_size, 0.0);
        values.resize(total * kv_size, 0.0);
        fn out(values: &mut [f32], stride: usize) -> Output<'_> {
            Output { values, stride, add: false }
        }
        self.normalise(all, &layer.attention_norm, normalised);
        let key = (self.layer(layer, index, Projection::Key), out(keys, kv_size));
        let value = (self.layer(layer, index, Projection::Value), out(values, kv_size));
        let query = (self.layer(layer, index, Projection::Query), out(queries, q_size));
        if wanted == all {
            linear(normalised, all, vec![query, key, value])?;
        } else {
            linear(normalised, all, vec![key, value])?;
            self.normalise(wanted, &layer.attention_norm, normalised);
            linear(normalised, wanted, vec![query])?;
        }
        let norms = layer.head_norms.as_ref();
        self.rotate(queries, q_size, norms.map(|[q, _]| q.as_slice()));
        self.rotate(keys, kv_size, norms.map(|[_, k]| k.as_slice()));
        attended.reuse(wanted.len(), q_size);
        attend.attend(index, heads, wanted, &Projections { q: queries, k: keys, v: values }, attended);
        let mut hidden = std::mem::take(&mut self.hidden);
        let out = Output { values: &mut hidden, stride: config.hidden_size, add: true };
        linear(attended, wanted, vec![(self.layer(layer, index, Projection::Output), out)])?;
        self.hidden = hidden;
        self.buffers = buffers;
        Ok(())
    }

    /// Normalises each head where the model does, and rotates it to its position.
    fn rotate(&self, values: &mut [f32], stride: usize, norm: Option<&[f32]>) {
        let (dim, eps) = (self.model.config.head_dim, self.model.config.rms_norm_eps as f32);
        let [cos, sin] = &self.rotation;
        values.par_chunks_mut(stride).enumerate().for_each_init(
            || vec![0f32; dim],
            |normalised, (row, heads)| {
                let at = row * dim / 2;
                for head in heads.chunks_exact_mut(dim) {
                    if let Some(weight) = norm {
                        rms_norm(head, weight, eps, normalised);
                        head.copy_from_slice(normalised);
                    }
                    rotate(head, &cos[at..at + dim / 2], &sin[at..at + dim / 2]);
                }
            },
        );
    }

    /// The gated unit over the rows of `wanted`, added to the residual stream.
    fn mlp(&mut self, layer: &Layer, index: usize, wanted: &[Block]) -> Result<(), EngineError> {
        let mut buffers = std::mem::take(&mut self.buffers);
        let Buffers { normalised, wide, .. } = &mut buffers;
        let config = &self.model.config;
        let piece = (GATED_BYTES / (config.intermediate_size * super::kernel::TILE_ROWS * 4)).max(1);
        for blocks in wanted.chunks(piece) {
            self.normalise(blocks, &layer.mlp_norm, normalised);
            wide.reuse(blocks.len(), config.intermediate_size);
            let gate = self.layer(layer, index, Projection::Gate);
            let up = self.layer(layer, index, Projection::Up);
            gated(normalised, blocks, &gate, &up, wide)?;
            let mut hidden = std::mem::take(&mut self.hidden);
            let out = Output { values: &mut hidden, stride: config.hidden_size, add: true };
            linear(wide, blocks, vec![(self.layer(layer, index, Projection::Down), out)])?;
            self.hidden = hidden;
        }
        self.buffers = buffers;
        Ok(())
    }
}
