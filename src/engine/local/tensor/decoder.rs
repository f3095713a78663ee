//! A model of the llama family in candle tensors.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::head;
use super::paged::PagedStep;
use super::pass::{Pass, share_adapter};
use super::pool::{Pool, TensorCache};
use super::weight::{Linear, LowRank, TensorPlace, Weight, bytes_of};
use crate::domain::model::PerModel;
use crate::domain::score::TokenScore;
use crate::engine::error::EngineError;
use crate::engine::local::adapter::{Adapter, LoraWeights};
use crate::engine::local::cache::{CacheBudget, KvCache};
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig, StoredKind};
use crate::engine::local::decoder::{Decoder, Feed, Question, Sequence, State};
use crate::engine::local::projection::ProjectionMap;

pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    pub(super) mlp_norm: Tensor,
    pub(super) head_norms: Option<[Tensor; 2]>,
    pub(super) projections: ProjectionMap<Linear>,
}

/// A model's weights as tensors.
pub(crate) struct TensorModel {
    pub(super) config: ModelConfig,
    pub(super) place: TensorPlace,
    pub(super) embedding: Weight,
    layers: Vec<Layer>,
    pub(super) norm: Tensor,
    /// `None` where the head is the embedding.
    head: Option<Weight>,
    pub(super) frequencies: Vec<f32>,
    /// Keys and values of generation.
    pool: Arc<Pool>,
}

/// An adapter's matrices as tensors.
pub(crate) struct TensorAdapter {
    pub(super) layers: Vec<ProjectionMap<Option<LowRank>>>,
    head: Option<LowRank>,
}

impl Decoder for TensorModel {
    type Place = TensorPlace;
    type Adapter = TensorAdapter;
    type Hidden = Tensor;
    type Cache = TensorCache;

    fn load(checkpoint: &Checkpoint, place: &TensorPlace) -> Result<Self, EngineError> {
        let config = checkpoint.config.clone();
        let vector = |name: &str, dtype| place.tensor(&checkpoint.tensor(name)?, dtype);
        let norm = |name: &str| vector(&format!("{name}.weight"), DType::F32);
        let weight = |name: &str| place.weight(&checkpoint.tensor(name)?);
        let layer = |index: usize| {
            let prefix = format!("model.layers.{index}");
            let head_norm = |name: &str| norm(&format!("{prefix}.self_attn.{name}"));
            Ok(Layer {
                attention_norm: norm(&format!("{prefix}.input_layernorm"))?,
                mlp_norm: norm(&format!("{prefix}.post_attention_layernorm"))?,
                head_norms: if config.qk_norm { Some([head_norm("q_norm")?, head_norm("k_norm")?]) } else { None },
                projections: ProjectionMap::try_from_fn(|projection| {
                    let name = format!("{prefix}.{}", projection.module());
                    let bias = || vector(&format!("{name}.bias"), place.compute);
                    let bias = projection.has_bias(&config).then(bias).transpose()?;
                    Ok::<_, EngineError>(Linear { weight: weight(&format!("{name}.weight"))?, bias })
                })?,
            })
        };
        Ok(Self {
            embedding: weight("model.embed_tokens.weight")?,
            layers: (0..config.num_layers).map(layer).collect::<Result<_, EngineError>>()?,
            norm: norm("model.norm")?,
            head: if config.tie_word_embeddings { None } else { Some(weight("lm_head.weight")?) },
            frequencies: config.rope.inv_freq(config.head_dim),
            pool: Pool::new(
                config.num_layers,
                config.num_kv_heads * config.head_dim,
                place.compute,
                place.device.clone(),
            ),
            place: place.clone(),
            config,
        })
    }

    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn device(place: &TensorPlace) -> String {
        place.name.clone()
    }

    fn memory(&self) -> u64 {
        let matrices = self.layers.iter().flat_map(|layer| layer.projections.values());
        let whole = [&self.embedding].into_iter().chain(&self.head);
        (whole.chain(matrices.map(|linear| &linear.weight)).map(Weight::bytes).sum::<usize>()) as u64
    }

    fn adapter_memory(adapter: &TensorAdapter) -> u64 {
        let sites = adapter.layers.iter().flat_map(ProjectionMap::values).flatten().chain(&adapter.head);
        sites.map(|LowRank { a, b }| (bytes_of(a) + bytes_of(b)) as u64).sum()
    }

    fn dtype(checkpoint: &Checkpoint, place: &TensorPlace) -> String {
        match checkpoint.main_kind() {
            kind @ StoredKind::Ggml(_) if place.keep_quantised => kind.name(),
            StoredKind::F32 | StoredKind::F16 | StoredKind::BF16 | StoredKind::Ggml(_) => {
                place.compute.as_str().to_owned()
            }
        }
    }

    fn rows_per_pass(_place: &TensorPlace) -> usize {
        12_288
    }

    fn adapter(&self, adapter: &Adapter) -> Result<TensorAdapter, EngineError> {
        let part = |part: Option<&LoraWeights>| part.map(|part| LowRank::new(part, &self.place)).transpose();
        let layers = (0..self.config.num_layers)
            .map(|layer| ProjectionMap::try_from_fn(|projection| part(adapter.part(layer, projection))))
            .collect::<Result<_, EngineError>>()?;
        Ok(TensorAdapter { layers, head: part(adapter.head())? })
    }

    fn forward(
        &self,
        sequences: &[Sequence<'_, TensorAdapter>],
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Tensor>, EngineError> {
        let starts = vec![0; sequences.len()];
        let mut pass = Pass::new(self, sequences, &starts, None)?;
        for (index, layer) in self.layers.iter().enumerate() {
            if stop() {
                return Err(EngineError::Cancelled);
            }
            pass.attention(layer, index)?;
            pass.mlp(layer, index)?;
        }
        pass.finish()
    }

    fn cache(&self, budget: &Arc<CacheBudget>) -> TensorCache {
        TensorCache::new(&self.pool, budget)
    }

    fn extend(&self, feeds: &mut [Feed<'_, Self>], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        let sequences: Vec<_> = feeds
            .iter()
            .map(|feed| {
                let len = feed.tokens.len();
                Sequence { tokens: feed.tokens, adapter: feed.adapter, keep: len - feed.logits..len }
            })
            .collect();
        let starts: Vec<usize> = feeds.iter().map(|feed| feed.cache.len()).collect();
        let mut caches: Vec<_> = feeds.iter_mut().map(|feed| (&mut *feed.cache, feed.tokens.len())).collect();
        TensorCache::extend_all(&self.pool, &mut caches)?;
        let step = PagedStep::new(&self.pool, &caches, self.config.sliding_window, &self.place.device)?;
        let mut pass = Pass::new(self, &sequences, &starts, Some(step))?;
        for (index, layer) in self.layers.iter().enumerate() {
            pass.attention(layer, index)?;
            pass.mlp(layer, index)?;
        }
        let hidden = pass.finish()?;
        logits.clear();
        let wanted: Vec<_> = sequences.iter().zip(&hidden).filter(|(sequence, _)| !sequence.keep.is_empty()).collect();
        // One product and one copy for all rows of an adapter: the head is the largest matrix, and each copy waits.
        for run in wanted.chunk_by(|(a, _), (b, _)| share_adapter(a, b)) {
            let rows: Vec<&Tensor> = run.iter().map(|(_, hidden)| *hidden).collect();
            let rows = self.logits(&Tensor::cat(&rows, 0)?, run[0].0.adapter)?;
            let rows = rows.flatten_all()?.to_vec1::<f32>()?;
            match logits.is_empty() {
                // The usual case, in which hundreds of megabytes are not copied again.
                true => *logits = rows,
                false => logits.extend(rows),
            }
        }
        Ok(())
    }

    fn score(
        states: &PerModel<State<'_, Self>>,
        question: Question<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<TokenScore>, EngineError> {
        head::score_positions(states, question, stop)
    }
}

impl TensorModel {
    /// Logits in f32 of normalised hidden states, `[positions, vocab]`.
    pub(super) fn logits(&self, hidden: &Tensor, adapter: Option<&TensorAdapter>) -> Result<Tensor, EngineError> {
        let logits = self.head.as_ref().unwrap_or(&self.embedding).multiply(hidden)?.to_dtype(DType::F32)?;
        match adapter.and_then(|adapter| adapter.head.as_ref()) {
            Some(low) => Ok((logits + hidden.matmul(&low.a)?.matmul(&low.b)?.to_dtype(DType::F32)?)?),
            None => Ok(logits),
        }
    }
}
