//! The decoder of the llama family on the CPU, over any number of sequences at once, each with its own adapter or none.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{Heads, Projections, attend};
use super::head::{HeadInput, score_positions};
use super::linear::{Linear, LowRank};
use super::matrix::{Block, Matrix, Packed, Precision, RowBlocks, blocks_of, read_all};
use super::pages::PagedCache;
use super::pass::{Attend, Pass, Rows};
use super::step;
use crate::domain::model::PerModel;
use crate::domain::score::TokenScore;
use crate::engine::error::EngineError;
use crate::engine::local::adapter::{Adapter, LoraWeights};
use crate::engine::local::cache::CacheBudget;
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig, StoredTensor};
use crate::engine::local::decoder::{Decoder, Feed, Question, Sequence, State};
use crate::engine::local::projection::ProjectionMap;

/// A model's weights in the CPU's layout.
pub(crate) struct CpuModel {
    pub(crate) config: ModelConfig,
    /// Read a row a token; the rows that no token asks for are never touched.
    pub(crate) embedding: StoredTensor,
    pub(crate) precision: Precision,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    pub(crate) head: Matrix,
    /// Inverse frequencies of the rotation, `head_dim / 2`.
    pub(crate) frequencies: Vec<f32>,
}

pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) mlp_norm: Vec<f32>,
    /// Norms of each query and key head (Qwen3).
    pub(crate) head_norms: Option<[Vec<f32>; 2]>,
    pub(crate) projections: ProjectionMap<Weights>,
}

pub(crate) struct Weights {
    pub(crate) matrix: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

/// An adapter's matrices in the CPU's layout.
pub(crate) struct CpuAdapter {
    pub(super) layers: Vec<ProjectionMap<Option<LowRank>>>,
    pub(super) head: Option<LowRank>,
}

impl Decoder for CpuModel {
    type Place = Precision;
    type Adapter = CpuAdapter;
    type Hidden = Vec<f32>;
    type Cache = PagedCache;

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

    fn memory(&self) -> u64 {
        let matrices = self.layers.iter().flat_map(|layer| layer.projections.values());
        // A tied head that is read in place is the embedding itself.
        let embedding = match (&self.head, self.config.tie_word_embeddings) {
            (Matrix::Stored(_), true) => 0,
            (Matrix::Stored(_) | Matrix::Packed(_), _) => self.embedding.bytes().len() as u64,
        };
        embedding + self.head.bytes() + matrices.map(|weights| weights.matrix.bytes()).sum::<u64>()
    }

    fn adapter_memory(adapter: &CpuAdapter) -> u64 {
        let sites = adapter.layers.iter().flat_map(ProjectionMap::values).flatten().chain(&adapter.head);
        sites.map(|LowRank { a, b }| a.bytes() + b.bytes()).sum()
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
        let mut whole = Whole::new(sequences);
        let mut pass = Pass::new(self, whole.rows(sequences))?;
        pass.run(&mut whole, stop)?;
        let size = self.config.hidden_size;
        let hidden = |(sequence, rows): (&Sequence<'_, CpuAdapter>, &Range<usize>)| {
            let mut out = vec![0f32; sequence.keep.len() * size];
            for (position, out) in sequence.keep.clone().zip(out.chunks_exact_mut(size)) {
                pass.read(rows.start + position, out);
            }
            out
        };
        Ok(sequences.par_iter().zip(&whole.sequences).map(hidden).collect())
    }

    fn cache(&self, budget: &Arc<CacheBudget>) -> PagedCache {
        PagedCache::new(self.page_shape(), budget)
    }

    fn extend(&self, feeds: &mut [Feed<'_, Self>], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        step::extend(self, feeds, logits)
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

impl CpuModel {
    /// The shape of every layer's attention.
    pub(super) fn heads(&self) -> Heads {
        Heads {
            queries: self.config.num_heads,
            keys: self.config.num_kv_heads,
            dim: self.config.head_dim,
            window: self.config.sliding_window,
        }
    }
}

/// Attention over whole sequences, whose rows lie one sequence after another.
struct Whole {
    /// Each sequence's rows.
    sequences: Vec<Range<usize>>,
}

impl Whole {
    fn new(sequences: &[Sequence<'_, CpuAdapter>]) -> Self {
        let mut total = 0;
        let rows = |sequence: &Sequence<'_, CpuAdapter>| {
            total += sequence.tokens.len();
            total - sequence.tokens.len()..total
        };
        Self { sequences: sequences.iter().map(rows).collect() }
    }

    fn rows<'a>(&self, sequences: &[Sequence<'a, CpuAdapter>]) -> Rows<'a> {
        let kept = sequences
            .iter()
            .zip(&self.sequences)
            .map(|(sequence, rows)| rows.start + sequence.keep.start..rows.start + sequence.keep.end);
        Rows {
            tokens: sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied()).collect(),
            positions: sequences.iter().flat_map(|sequence| 0..sequence.tokens.len()).collect(),
            adapters: sequences.iter().map(|sequence| sequence.adapter).collect(),
            all: blocks_of(self.sequences.iter().cloned()),
            kept: blocks_of(kept),
        }
    }
}

impl Attend for Whole {
    fn attend(&mut self, _: usize, heads: Heads, blocks: &[Block], input: &Projections<'_>, out: &mut RowBlocks) {
        attend(heads, &self.sequences, blocks, input, out);
    }
}
