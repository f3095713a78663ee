//! The forward pass of the llama family in candle tensors, all sequences' rows together.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_thd;

use super::head;
use super::paged::{PagedStep, attend_one};
use super::pool::{Pool, TensorCache};
use crate::domain::model::PerModel;
use crate::domain::score::TokenScore;
use crate::engine::error::EngineError;
use crate::engine::local::DtypeChoice;
use crate::engine::local::adapter::{Adapter, LoraWeights};
use crate::engine::local::cache::{CacheBudget, KvCache};
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig, StoredKind, StoredTensor};
use crate::engine::local::decoder::{Decoder, Feed, Question, Sequence, State};
use crate::engine::local::projection::{Projection, ProjectionMap};

/// A candle device and the precision there.
#[derive(Debug, Clone)]
pub(crate) struct TensorPlace {
    device: Device,
    name: String,
    /// What products are computed in.
    compute: DType,
    /// Whether quantised weights stay so and are widened before each product.
    keep_quantised: bool,
}

impl TensorPlace {
    pub(crate) fn new(device: Device, name: String, dtype: DtypeChoice) -> Self {
        let compute = match dtype {
            DtypeChoice::F32 => DType::F32,
            DtypeChoice::F16 => DType::F16,
            DtypeChoice::Auto | DtypeChoice::Bf16 => DType::BF16,
        };
        Self { device, name, compute, keep_quantised: dtype == DtypeChoice::Auto }
    }

    fn tensor(&self, stored: &StoredTensor, dtype: DType) -> Result<Tensor, EngineError> {
        let shape = stored.shape.as_slice();
        let tensor = match stored.kind {
            StoredKind::F32 => Tensor::from_raw_buffer(stored.bytes(), DType::F32, shape, &Device::Cpu)?,
            StoredKind::F16 => Tensor::from_raw_buffer(stored.bytes(), DType::F16, shape, &Device::Cpu)?,
            StoredKind::BF16 => Tensor::from_raw_buffer(stored.bytes(), DType::BF16, shape, &Device::Cpu)?,
            StoredKind::Ggml(_) => quantised(stored, &Device::Cpu)?.dequantize(&Device::Cpu)?,
        };
        stored.release();
        Ok(tensor.to_dtype(dtype)?.to_device(&self.device)?)
    }

    fn weight(&self, stored: &StoredTensor) -> Result<Weight, EngineError> {
        match stored.kind {
            StoredKind::Ggml(_) if self.keep_quantised => {
                let weight = quantised(stored, &self.device)?;
                stored.release();
                Ok(Weight::Quantised(weight))
            }
            StoredKind::F32 | StoredKind::F16 | StoredKind::BF16 | StoredKind::Ggml(_) => {
                Ok(Weight::Dense(self.tensor(stored, self.compute)?))
            }
        }
    }
}

fn quantised(stored: &StoredTensor, device: &Device) -> Result<QTensor, EngineError> {
    let StoredKind::Ggml(dtype) = stored.kind else {
        return Err(EngineError::Internal("a tensor of floats is no quantised one".to_owned()));
    };
    Ok(QTensor::new(QStorage::from_data(stored.bytes().into(), device, dtype)?, stored.shape.as_slice())?)
}

/// A weight matrix `[out, in]`.
enum Weight {
    Dense(Tensor),
    Quantised(QTensor),
}

impl Weight {
    fn bytes(&self) -> usize {
        match self {
            Weight::Dense(weight) => bytes_of(weight),
            Weight::Quantised(weight) => weight.storage_size_in_bytes(),
        }
    }

    /// `x W^T` in the precision of `x`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor, EngineError> {
        let widened;
        let weight = match self {
            Weight::Dense(weight) => weight,
            Weight::Quantised(weight) => {
                widened = weight.dequantize(x.device())?.to_dtype(x.dtype())?;
                &widened
            }
        };
        Ok(x.matmul(&weight.t()?)?)
    }

    /// Rows `ids` of the matrix.
    fn rows(&self, ids: &Tensor) -> Result<Tensor, EngineError> {
        match self {
            Weight::Dense(weight) => Ok(weight.index_select(ids, 0)?),
            Weight::Quantised(weight) => Ok(weight.dequantize(ids.device())?.index_select(ids, 0)?),
        }
    }
}

fn bytes_of(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

/// `scale * B A`, as `A^T` `[in, rank]` and `scale * B^T` `[rank, out]`.
struct LowRank {
    a: Tensor,
    b: Tensor,
}

impl LowRank {
    fn new(part: &LoraWeights, place: &TensorPlace) -> Result<Self, EngineError> {
        let tensor = |values: &[f32], rows, cols| {
            Tensor::from_slice(values, (rows, cols), &Device::Cpu)?.t()?.contiguous()?.to_device(&place.device)
        };
        let a = tensor(&part.a, part.rank, part.inputs)?.to_dtype(place.compute)?;
        let b = tensor(&part.scaled_b(), part.outputs, part.rank)?.to_dtype(place.compute)?;
        Ok(Self { a, b })
    }
}

struct Layer {
    attention_norm: Tensor,
    mlp_norm: Tensor,
    head_norms: Option<[Tensor; 2]>,
    projections: ProjectionMap<Linear>,
}

/// A model's weights as tensors.
pub(crate) struct TensorModel {
    config: ModelConfig,
    place: TensorPlace,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `None` where the head is the embedding.
    head: Option<Weight>,
    frequencies: Vec<f32>,
    /// Keys and values of generation.
    pool: Arc<Pool>,
}

/// An adapter's matrices as tensors.
pub(crate) struct TensorAdapter {
    layers: Vec<ProjectionMap<Option<LowRank>>>,
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

fn share_adapter(a: &Sequence<'_, TensorAdapter>, b: &Sequence<'_, TensorAdapter>) -> bool {
    a.adapter.map(std::ptr::from_ref) == b.adapter.map(std::ptr::from_ref)
}

/// The state of one forward pass. Rows of all sequences lie one after another.
struct Pass<'a> {
    model: &'a TensorModel,
    sequences: &'a [Sequence<'a, TensorAdapter>],
    rows: Vec<Range<usize>>,
    /// How rows attend to what is cached; `None` where the sequences are whole.
    step: Option<PagedStep>,
    /// The residual stream, `[rows, hidden]`, in f32: in bf16 the sum of all layers loses what each adds.
    hidden: Tensor,
    /// Cosines and sines of every row's position, `[rows, head_dim / 2]`, in f32.
    rotation: [Tensor; 2],
    /// Additive masks by first query and number of queries.
    masks: HashMap<(usize, usize), Tensor>,
}

impl<'a> Pass<'a> {
    fn new(
        model: &'a TensorModel,
        sequences: &'a [Sequence<'a, TensorAdapter>],
        starts: &[usize],
        step: Option<PagedStep>,
    ) -> Result<Self, EngineError> {
        let device = &model.place.device;
        let mut rows = Vec::with_capacity(sequences.len());
        let (mut ids, mut angles) = (Vec::new(), Vec::new());
        for (sequence, &first) in sequences.iter().zip(starts) {
            rows.push(ids.len()..ids.len() + sequence.tokens.len());
            ids.extend_from_slice(sequence.tokens);
            let positions = first..first + sequence.tokens.len();
            angles.extend(positions.flat_map(|position| model.frequencies.iter().map(move |f| position as f32 * f)));
        }
        let shape = (ids.len(), model.frequencies.len());
        let table =
            |f: fn(f32) -> f32| Tensor::from_vec(angles.iter().copied().map(f).collect::<Vec<_>>(), shape, device);
        let rotation = [table(f32::cos)?, table(f32::sin)?];
        let ids = Tensor::new(ids, device)?;
        let hidden = model.embedding.rows(&ids)?.to_dtype(DType::F32)?;
        Ok(Self { model, sequences, rows, step, hidden, rotation, masks: HashMap::new() })
    }

    /// In f32.
    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, EngineError> {
        let x = x.to_dtype(DType::F32)?.contiguous()?;
        Ok(rms_norm(&x, weight, self.model.config.rms_norm_eps as f32)?)
    }

    /// The residual stream's normalised rows, in the precision of products.
    fn normalised(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, EngineError> {
        Ok(self.norm(x, weight)?.to_dtype(self.model.place.compute)?)
    }

    fn add(&mut self, out: &Tensor) -> Result<(), EngineError> {
        self.hidden = (&self.hidden + out.to_dtype(DType::F32)?)?;
        Ok(())
    }

    fn linear(&self, layer: &Layer, index: usize, projection: Projection, x: &Tensor) -> Result<Tensor, EngineError> {
        let linear = layer.projections.get(projection);
        let mut y = linear.weight.multiply(x)?;
        if let Some(bias) = &linear.bias {
            y = y.broadcast_add(bias)?;
        }
        let low = |sequence: &Sequence<'a, TensorAdapter>| {
            sequence.adapter.and_then(|adapter| adapter.layers[index].get(projection).as_ref())
        };
        if self.sequences.iter().all(|sequence| low(sequence).is_none()) {
            return Ok(y);
        }
        // Each adapter adds its part to its own rows, at once to those of neighbours that share it.
        let placed: Vec<_> = self.sequences.iter().zip(&self.rows).collect();
        let mut parts = Vec::new();
        for run in placed.chunk_by(|(a, _), (b, _)| share_adapter(a, b)) {
            let (first, last) = (run[0].1.start, run[run.len() - 1].1.end);
            let own = y.narrow(0, first, last - first)?;
            parts.push(match low(run[0].0) {
                Some(low) => (own + x.narrow(0, first, last - first)?.matmul(&low.a)?.matmul(&low.b)?)?,
                None => own,
            });
        }
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// `[rows, heads * dim]` to rotated `[rows, heads, dim]` in f32.
    fn rotate(&self, x: &Tensor, heads: usize, norm: Option<&Tensor>) -> Result<Tensor, EngineError> {
        let dim = self.model.config.head_dim;
        let rows = x.dim(0)?;
        let mut x = x.reshape((rows, heads, dim))?;
        if let Some(norm) = norm {
            x = self.norm(&x, norm)?;
        }
        let [cos, sin] = &self.rotation;
        Ok(rope_thd(&x.unsqueeze(0)?.to_dtype(DType::F32)?.contiguous()?, cos, sin)?.squeeze(0)?)
    }

    fn attention(&mut self, layer: &Layer, index: usize) -> Result<(), EngineError> {
        let model = self.model;
        let config = &model.config;
        let (heads, kv_heads, dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let x = self.normalised(&self.hidden, &layer.attention_norm)?;
        let q = self.linear(layer, index, Projection::Query, &x)?;
        let k = self.linear(layer, index, Projection::Key, &x)?;
        let v = self.linear(layer, index, Projection::Value, &x)?;
        let norms = layer.head_norms.as_ref();
        let q = (self.rotate(&q, heads, norms.map(|norms| &norms[0]))? * (1.0 / (dim as f64).sqrt()))?;
        let q = q.to_dtype(model.place.compute)?;
        let k = self.rotate(&k, kv_heads, norms.map(|norms| &norms[1]))?.to_dtype(model.place.compute)?;
        let step = self.step.take();
        let attended = match &step {
            Some(step) => {
                let k = k.reshape((k.dim(0)?, kv_heads * dim))?;
                step.attend(config, index, &q, [&k, &v], |first, queries| self.mask(first, queries))?
            }
            None => {
                let v = v.reshape((v.dim(0)?, kv_heads, dim))?;
                let mut attended = Vec::with_capacity(self.sequences.len());
                for rows in self.rows.clone() {
                    // [heads, rows, dim]
                    let own = |x: &Tensor| x.narrow(0, rows.start, rows.len())?.transpose(0, 1)?.contiguous();
                    let mut mask = |first, queries| self.mask(first, queries);
                    attended.extend(attend_one(config, 0, [&own(&q)?, &own(&k)?, &own(&v)?], &mut mask)?);
                }
                Tensor::cat(&attended, 0)?
            }
        };
        self.step = step;
        let out = self.linear(layer, index, Projection::Output, &attended)?;
        self.add(&out)
    }

    /// 0 where query `first + i` may see key `j`, else minus infinity: `[queries, first + queries]`.
    fn mask(&mut self, first: usize, queries: usize) -> Result<Tensor, EngineError> {
        if let Some(mask) = self.masks.get(&(first, queries)) {
            return Ok(mask.clone());
        }
        let keys = (first + queries) as f32;
        let device = &self.model.place.device;
        let query = Tensor::arange(first as f32, keys, device)?.unsqueeze(1)?;
        let key = Tensor::arange(0f32, keys, device)?.unsqueeze(0)?;
        let mut hidden = key.broadcast_gt(&query)?;
        if let Some(window) = self.model.config.sliding_window {
            hidden = hidden.maximum(&key.broadcast_le(&(query - window as f64)?)?)?;
        }
        let never = Tensor::full(f32::NEG_INFINITY, hidden.dims(), device)?;
        let mask = hidden.where_cond(&never, &never.zeros_like()?)?;
        self.masks.insert((first, queries), mask.clone());
        Ok(mask)
    }

    fn mlp(&mut self, layer: &Layer, index: usize) -> Result<(), EngineError> {
        let x = self.normalised(&self.hidden, &layer.mlp_norm)?;
        let gate = silu(&self.linear(layer, index, Projection::Gate, &x)?)?;
        let wide = (gate * self.linear(layer, index, Projection::Up, &x)?)?;
        let out = self.linear(layer, index, Projection::Down, &wide)?;
        self.add(&out)
    }

    fn finish(self) -> Result<Vec<Tensor>, EngineError> {
        self.sequences
            .iter()
            .zip(&self.rows)
            .map(|(sequence, rows)| {
                let kept = self.hidden.narrow(0, rows.start + sequence.keep.start, sequence.keep.len())?;
                debug_assert_eq!(kept.dim(D::Minus1)?, self.model.config.hidden_size);
                self.normalised(&kept, &self.model.norm)
            })
            .collect()
    }
}
