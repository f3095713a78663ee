//! The decoder of the llama family on the CPU, over any number of sequences at once, each with its own adapter or none.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::{Heads, Projections, attend};
use super::head::{HeadInput, score_positions};
use super::linear::{Linear, LowRank, Output, gated, linear};
use super::math::{rms_norm, rotate};
use super::matrix::{Block, Matrix, Packed, Precision, RowBlocks, blocks_of, read_all, read_rows};
use crate::domain::model::PerModel;
use crate::domain::score::TokenScore;
use crate::engine::error::EngineError;
use crate::engine::local::adapter::{Adapter, LoraWeights};
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig, StoredTensor};
use crate::engine::local::decoder::{Decoder, Question, Sequence, State};
use crate::engine::local::projection::{Projection, ProjectionMap};

/// The most that the gated unit's output may take, in bytes; longer passes are cut into pieces for it.
const GATED_BYTES: usize = 64 << 20;

/// A model's weights in the CPU's layout.
pub(crate) struct CpuModel {
    config: ModelConfig,
    /// Read a row a token; the rows that no token asks for are never touched.
    embedding: StoredTensor,
    precision: Precision,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Matrix,
    /// Inverse frequencies of the rotation, `head_dim / 2`.
    frequencies: Vec<f32>,
}

struct Layer {
    attention_norm: Vec<f32>,
    mlp_norm: Vec<f32>,
    /// Norms of each query and key head (Qwen3).
    head_norms: Option<[Vec<f32>; 2]>,
    projections: ProjectionMap<Weights>,
}

struct Weights {
    matrix: Matrix,
    bias: Option<Vec<f32>>,
}

/// An adapter's matrices in the CPU's layout.
pub(crate) struct CpuAdapter {
    layers: Vec<ProjectionMap<Option<LowRank>>>,
    head: Option<LowRank>,
}

impl Decoder for CpuModel {
    type Place = Precision;
    type Adapter = CpuAdapter;
    type Hidden = Vec<f32>;

    fn load(checkpoint: &Checkpoint, &precision: &Precision) -> Result<Self, EngineError> {
        let config = checkpoint.config.clone();
        let vector = |name: &str| read_all(&checkpoint.tensor(name)?, precision);
        let matrix = |name: &str| Matrix::new(checkpoint.tensor(name)?, precision);
        let layer = |index: usize| {
            let prefix = format!("model.layers.{index}");
            Ok(Layer {
                attention_norm: vector(&format!("{prefix}.input_layernorm.weight"))?,
                mlp_norm: vector(&format!("{prefix}.post_attention_layernorm.weight"))?,
                head_norms: config
                    .qk_norm
                    .then(|| {
                        Ok::<_, EngineError>([
                            vector(&format!("{prefix}.self_attn.q_norm.weight"))?,
                            vector(&format!("{prefix}.self_attn.k_norm.weight"))?,
                        ])
                    })
                    .transpose()?,
                projections: ProjectionMap::try_from_fn(|projection| {
                    let name = format!("{prefix}.{}", projection.module());
                    let bias = projection.has_bias(&config).then(|| vector(&format!("{name}.bias"))).transpose()?;
                    Ok::<_, EngineError>(Weights { matrix: matrix(&format!("{name}.weight"))?, bias })
                })?,
            })
        };
        let layers = (0..config.num_layers).map(layer).collect::<Result<_, EngineError>>()?;
        let head = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        Ok(Self {
            embedding: checkpoint.tensor("model.embed_tokens.weight")?,
            layers,
            precision,
            norm: vector("model.norm.weight")?,
            head: matrix(head)?,
            frequencies: config.rope.inv_freq(config.head_dim),
            config,
        })
    }

    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn device(_place: &Precision) -> String {
        "cpu".to_owned()
    }

    fn dtype(checkpoint: &Checkpoint, place: &Precision) -> String {
        match place {
            Precision::AsStored => checkpoint.main_kind().name(),
            Precision::F32 => "f32".to_owned(),
            Precision::Bf16 => "bf16".to_owned(),
            Precision::F16 => "f16".to_owned(),
        }
    }

    fn rows_per_pass(_place: &Precision) -> usize {
        // From some hundred rows on, reading the weights costs little beside multiplying them.
        1536
    }

    fn adapter(&self, adapter: &Adapter) -> Result<CpuAdapter, EngineError> {
        let pack = |part: &LoraWeights| LowRank {
            a: Packed::from_rows(&part.a, part.rank, part.inputs),
            b: Packed::from_rows(&part.scaled_b(), part.outputs, part.rank),
        };
        let layers = (0..self.config.num_layers)
            .map(|layer| ProjectionMap::from_fn(|projection| adapter.part(layer, projection).map(pack)))
            .collect();
        Ok(CpuAdapter { layers, head: adapter.head().map(pack) })
    }

    fn forward(
        &self,
        sequences: &[Sequence<'_, CpuAdapter>],
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut pass = Pass::new(self, sequences)?;
        let (all, kept) = (pass.all_blocks(), pass.kept_blocks());
        for (index, layer) in self.layers.iter().enumerate() {
            if stop() {
                return Err(EngineError::Cancelled);
            }
            // Nothing reads what the last layer makes of the other positions.
            let wanted = if index + 1 == self.layers.len() { &kept } else { &all };
            pass.attention(layer, index, &all, wanted)?;
            pass.mlp(layer, index, wanted)?;
        }
        Ok(pass.finish())
    }

    fn score(
        states: &PerModel<State<'_, Self>>,
        question: Question<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<TokenScore>, EngineError> {
        fn input<'a>(state: &State<'a, CpuModel>) -> HeadInput<'a> {
            let low_rank = vec![state.adapter.and_then(|adapter| adapter.head.as_ref())];
            HeadInput { hidden: state.hidden, head: Linear { weight: &state.model.head, bias: None, low_rank } }
        }
        let models = PerModel {
            base: input(&states.base),
            positive: states.positive.as_ref().map(input),
            negative: states.negative.as_ref().map(input),
        };
        score_positions(&models, question, stop)
    }
}

/// The buffers of one forward pass. Rows of all sequences lie one after another.
struct Pass<'a> {
    model: &'a CpuModel,
    sequences: &'a [Sequence<'a, CpuAdapter>],
    /// Each sequence's rows.
    rows: Vec<Range<usize>>,
    /// The residual stream, `[rows, hidden]`.
    hidden: Vec<f32>,
    /// Cosines and sines by position, `[longest, head_dim / 2]`.
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
    fn new(model: &'a CpuModel, sequences: &'a [Sequence<'a, CpuAdapter>]) -> Result<Self, EngineError> {
        let size = model.config.hidden_size;
        let mut rows = Vec::with_capacity(sequences.len());
        let mut total = 0;
        for sequence in sequences {
            rows.push(total..total + sequence.tokens.len());
            total += sequence.tokens.len();
        }
        let tokens: Vec<u32> = sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied()).collect();
        let mut hidden = vec![0f32; total * size];
        hidden.par_chunks_mut(size).zip(&tokens).try_for_each(|(row, &token)| {
            read_rows(&model.embedding, token as usize, 1, row)?;
            model.precision.round(row);
            Ok::<_, EngineError>(())
        })?;
        let longest = sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0);
        let angles = |f: fn(f32) -> f32| {
            (0..longest)
                .flat_map(|position| model.frequencies.iter().map(move |frequency| f(position as f32 * frequency)))
                .collect()
        };
        let rotation = [angles(f32::cos), angles(f32::sin)];
        Ok(Self { model, sequences, rows, hidden, rotation, buffers: Buffers::default() })
    }

    /// Every row of every sequence.
    fn all_blocks(&self) -> Vec<Block> {
        blocks_of(self.rows.iter().cloned())
    }

    /// The rows whose hidden states are wanted.
    fn kept_blocks(&self) -> Vec<Block> {
        blocks_of(
            self.sequences
                .iter()
                .zip(&self.rows)
                .map(|(sequence, rows)| rows.start + sequence.keep.start..rows.start + sequence.keep.end),
        )
    }

    fn layer<'b>(&'b self, layer: &'b Layer, index: usize, projection: Projection) -> Linear<'b> {
        let weights = layer.projections.get(projection);
        Linear {
            weight: &weights.matrix,
            bias: weights.bias.as_deref(),
            low_rank: self
                .sequences
                .iter()
                .map(|sequence| sequence.adapter.and_then(|adapter| adapter.layers[index].get(projection).as_ref()))
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
    fn attention(&mut self, layer: &Layer, index: usize, all: &[Block], wanted: &[Block]) -> Result<(), EngineError> {
        let mut buffers = std::mem::take(&mut self.buffers);
        let Buffers { normalised, queries, keys, values, attended, .. } = &mut buffers;
        let config = &self.model.config;
        let heads = Heads {
            queries: config.num_heads,
            keys: config.num_kv_heads,
            dim: config.head_dim,
            window: config.sliding_window,
        };
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
        attend(heads, &self.rows, wanted, &Projections { q: queries, k: keys, v: values }, attended);
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
                let sequence = self.rows.partition_point(|rows| rows.end <= row);
                let at = (row - self.rows[sequence].start) * dim / 2;
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

    fn finish(self) -> Vec<Vec<f32>> {
        let size = self.model.config.hidden_size;
        let eps = self.model.config.rms_norm_eps as f32;
        self.sequences
            .par_iter()
            .zip(&self.rows)
            .map(|(sequence, rows)| {
                let mut out = vec![0f32; sequence.keep.len() * size];
                for (position, out) in sequence.keep.clone().zip(out.chunks_exact_mut(size)) {
                    let row = rows.start + position;
                    rms_norm(&self.hidden[row * size..(row + 1) * size], &self.model.norm, eps, out);
                }
                out
            })
            .collect()
    }
}
