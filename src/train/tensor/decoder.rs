//! The llama family's forward pass in operations that candle can differentiate.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::ops::{rms_norm_slow, softmax};

use super::frozen::Frozen;
use crate::engine::EngineError;
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig, StoredKind, StoredTensor};
use crate::engine::local::projection::{Projection, ProjectionMap};
use crate::train::TrainError;
use crate::train::batch::{Batch, Segment};
use crate::train::cpu::{Dropout, mixed};
use crate::train::layout::{Layout, Lora, Trained};

/// The base's weights on a device: matrices in the base's precision, norms and biases in f32.
///
/// Products with frozen matrices are computed in the matrices' precision. All else is in f32, as on the CPU: what an adapter
/// adds in its first steps is less than bf16 resolves in the number that it is added to.
pub(super) struct Weights {
    config: ModelConfig,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
    frequencies: Vec<f32>,
}

struct Layer {
    attention_norm: Tensor,
    mlp_norm: Tensor,
    head_norms: Option<[Tensor; 2]>,
    projections: ProjectionMap<(Tensor, Option<Tensor>)>,
}

impl Weights {
    pub(super) fn load(checkpoint: &Checkpoint, device: &Device, compute: DType) -> Result<Self, EngineError> {
        let config = checkpoint.config.clone();
        let tensor = |name: &str, dtype| {
            Ok::<_, EngineError>(read(&checkpoint.tensor(name)?)?.to_dtype(dtype)?.to_device(device)?)
        };
        let matrix = |name: &str| tensor(name, compute);
        let vector = |name: &str| tensor(name, DType::F32);
        let layer = |index: usize| {
            let prefix = format!("model.layers.{index}");
            let norm = |name: &str| vector(&format!("{prefix}.{name}.weight"));
            Ok(Layer {
                attention_norm: norm("input_layernorm")?,
                mlp_norm: norm("post_attention_layernorm")?,
                head_norms: match config.qk_norm {
                    true => Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]),
                    false => None,
                },
                projections: ProjectionMap::try_from_fn(|projection| {
                    let name = format!("{prefix}.{}", projection.module());
                    let bias = projection.has_bias(&config).then(|| vector(&format!("{name}.bias"))).transpose()?;
                    Ok::<_, EngineError>((matrix(&format!("{name}.weight"))?, bias))
                })?,
            })
        };
        let embedding = matrix("model.embed_tokens.weight")?;
        Ok(Self {
            layers: (0..config.num_layers).map(layer).collect::<Result<_, EngineError>>()?,
            norm: vector("model.norm.weight")?,
            head: if config.tie_word_embeddings { embedding.clone() } else { matrix("lm_head.weight")? },
            embedding,
            frequencies: config.rope.inv_freq(config.head_dim),
            config,
        })
    }
}

/// A stored tensor in f32 or as it is stored, on the host.
fn read(stored: &StoredTensor) -> Result<Tensor, EngineError> {
    let shape = stored.shape.as_slice();
    let raw = |dtype| Tensor::from_raw_buffer(stored.bytes(), dtype, shape, &Device::Cpu);
    Ok(match stored.kind {
        StoredKind::F32 => raw(DType::F32)?,
        StoredKind::F16 => raw(DType::F16)?,
        StoredKind::BF16 => raw(DType::BF16)?,
        StoredKind::Ggml(dtype) => {
            let storage = QStorage::from_data(stored.bytes().into(), &Device::Cpu, dtype)?;
            QTensor::new(storage, shape)?.dequantize(&Device::Cpu)?
        }
    })
}

/// One pass's view of the model: the base alone, or with what is trained.
pub(super) struct Decoder<'a> {
    weights: &'a Weights,
    trained: Option<(&'a Layout, &'a [Var])>,
    batch: &'a Batch,
    /// Cosines and sines, `[rows, 1, head_dim / 2]`.
    rotation: [Tensor; 2],
    key: u32,
    device: &'a Device,
    masks: RefCell<HashMap<(usize, usize), Tensor>>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        weights: &'a Weights,
        trained: Option<(&'a Layout, &'a [Var])>,
        batch: &'a Batch,
        dropout: [u64; 3],
        device: &'a Device,
    ) -> Result<Self, TrainError> {
        let half = weights.frequencies.len();
        let angles = |f: fn(f32) -> f32| {
            let turned = |position: usize| weights.frequencies.iter().map(move |w| f(position as f32 * w));
            let values: Vec<f32> = batch.positions.iter().copied().flat_map(turned).collect();
            Tensor::from_vec(values, (batch.len(), 1, half), device)
        };
        let rotation = [angles(f32::cos)?, angles(f32::sin)?];
        let key = dropout.iter().fold(0, |key, &part| mixed(mixed(key, part as u32), (part >> 32) as u32));
        Ok(Self { weights, trained, batch, rotation, key, device, masks: RefCell::default() })
    }

    pub(super) fn batch(&self) -> &Batch {
        self.batch
    }

    pub(super) fn layers(&self) -> usize {
        self.weights.layers.len()
    }

    fn variable(&self, index: Option<usize>) -> Option<&'a Tensor> {
        let (_, variables) = self.trained?;
        Some(variables[index?].as_tensor())
    }

    /// The rows' embeddings, `[rows, hidden]`.
    pub(super) fn embed(&self) -> Result<Tensor, TrainError> {
        let ids = Tensor::new(self.batch.tokens.as_slice(), self.device)?;
        let trained = self.variable(self.trained.and_then(|(layout, _)| layout.embedding));
        Ok(trained.unwrap_or(&self.weights.embedding).index_select(&ids, 0)?.to_dtype(DType::F32)?)
    }

    fn norm(&self, x: &Tensor, frozen: &Tensor, trained: Option<usize>) -> Result<Tensor, TrainError> {
        let weight = self.variable(trained).unwrap_or(frozen);
        Ok(rms_norm_slow(&x.contiguous()?, weight, self.weights.config.rms_norm_eps as f32)?)
    }

    fn linear(
        &self,
        x: &Tensor,
        (weight, bias): (&Tensor, Option<&Tensor>),
        trained: Trained,
        key: u32,
    ) -> Result<Tensor, TrainError> {
        let x = x.contiguous()?;
        if let Trained::Full { weight, bias } = trained
            && let Some(weight) = self.variable(Some(weight))
        {
            let y = x.matmul(&weight.t()?)?;
            return Ok(match self.variable(bias) {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            });
        }
        let mut y = x.to_dtype(weight.dtype())?.apply_op1(Frozen(weight.clone()))?.to_dtype(DType::F32)?;
        if let Some(bias) = bias {
            y = y.broadcast_add(bias)?;
        }
        match trained {
            Trained::Lora(lora) => Ok((y + self.low_rank(&x, lora, key)?)?),
            Trained::Nothing | Trained::Full { .. } => Ok(y),
        }
    }

    fn low_rank(&self, x: &Tensor, lora: Lora, key: u32) -> Result<Tensor, TrainError> {
        let lost = || TrainError::Internal("an adapter's matrix is not among the variables".to_owned());
        let a = self.variable(Some(lora.a)).ok_or_else(lost)?;
        let b = self.variable(Some(lora.b)).ok_or_else(lost)?;
        let x = match lora.dropout > 0.0 {
            true => (x * self.kept(x, Dropout { key, chance: lora.dropout })?)?,
            false => x.clone(),
        };
        Ok((x.matmul(&a.t()?)?.matmul(&b.t()?)? * f64::from(lora.scale))?)
    }

    /// What dropout multiplies by. The host draws what the CPU's learner draws; a GPU draws its own, from the same key.
    fn kept(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor, TrainError> {
        let (rows, width) = x.dims2()?;
        if self.device.is_cpu() {
            let mask = dropout.apply(&vec![1f32; rows * width], width);
            return Ok(Tensor::from_vec(mask, (rows, width), self.device)?);
        }
        self.device.set_seed(u64::from(dropout.key))?;
        let drawn = Tensor::rand(0f32, 1f32, (rows, width), self.device)?;
        let kept = drawn.ge(f64::from(dropout.chance))?.to_dtype(DType::F32)?;
        Ok((kept * (1.0 / (1.0 - f64::from(dropout.chance))))?)
    }

    /// A block's output, `[rows, hidden]`.
    pub(super) fn layer(&self, index: usize, input: &Tensor) -> Result<Tensor, TrainError> {
        let weights = &self.weights.layers[index];
        let layout = self.trained.map(|(layout, _)| &layout.layers[index]);
        let key = mixed(self.key, index as u32);
        let site = |x: &Tensor, projection: Projection| {
            let (weight, bias) = weights.projections.get(projection);
            let trained = layout.map_or(Trained::Nothing, |layout| *layout.projections.get(projection));
            self.linear(x, (weight, bias.as_ref()), trained, mixed(key, projection as u32))
        };
        let config = &self.weights.config;
        let x = self.norm(input, &weights.attention_norm, layout.and_then(|layout| layout.attention_norm))?;
        let head_norms = layout.and_then(|layout| layout.head_norms);
        let turned = |x: Tensor, heads, number: usize| {
            let mut x = x.reshape((self.batch.len(), heads, config.head_dim))?;
            if let Some(norms) = &weights.head_norms {
                x = self.norm(&x, &norms[number], head_norms.map(|norms| norms[number]))?;
            }
            self.rotate(&x)
        };
        let q = turned(site(&x, Projection::Query)?, config.num_heads, 0)?;
        let k = turned(site(&x, Projection::Key)?, config.num_kv_heads, 1)?;
        let v = site(&x, Projection::Value)?.reshape((self.batch.len(), config.num_kv_heads, config.head_dim))?;
        let mut attended = Vec::new();
        for segment in self.batch.families.iter().flat_map(|family| &family.segments) {
            attended.push(self.attend(segment, [&q, &k, &v])?);
        }
        let middle = (input + site(&Tensor::cat(&attended, 0)?, Projection::Output)?)?;
        let x = self.norm(&middle, &weights.mlp_norm, layout.and_then(|layout| layout.mlp_norm))?;
        let wide = (site(&x, Projection::Gate)?.silu()? * site(&x, Projection::Up)?)?;
        Ok((&middle + site(&wide, Projection::Down)?)?)
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor, TrainError> {
        let half = self.weights.frequencies.len();
        let (left, right) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let [cos, sin] = &self.rotation;
        let a = (left.broadcast_mul(cos)? - right.broadcast_mul(sin)?)?;
        let b = (right.broadcast_mul(cos)? + left.broadcast_mul(sin)?)?;
        Ok(Tensor::cat(&[a, b], 2)?)
    }

    /// A segment's own rows, attended, `[rows, heads * dim]`.
    fn attend(&self, segment: &Segment, [q, k, v]: [&Tensor; 3]) -> Result<Tensor, TrainError> {
        let config = &self.weights.config;
        let (rows, before) = (segment.own.len(), segment.prefix.len());
        let group = config.num_heads / config.num_kv_heads;
        let seen = |x: &Tensor| -> Result<Tensor, TrainError> {
            let own = x.narrow(0, segment.own.start, rows)?;
            let all = match before {
                0 => own,
                before => Tensor::cat(&[&x.narrow(0, segment.prefix.start, before)?, &own], 0)?,
            };
            // [heads, keys, dim], each key head for all the query heads that share it.
            let (keys, heads, dim) = all.dims3()?;
            let all = all.transpose(0, 1)?.contiguous()?.unsqueeze(1)?.broadcast_as((heads, group, keys, dim))?;
            Ok(all.contiguous()?.reshape((heads * group, keys, dim))?)
        };
        let q = q.narrow(0, segment.own.start, rows)?.transpose(0, 1)?.contiguous()?;
        let (k, v) = (seen(k)?, seen(v)?);
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * (1.0 / (config.head_dim as f64).sqrt()))?;
        let weights = softmax(&scores.broadcast_add(&self.mask(before, rows)?)?, 2)?;
        let out = weights.matmul(&v)?.transpose(0, 1)?.contiguous()?;
        Ok(out.reshape((rows, config.num_heads * config.head_dim))?)
    }

    /// 0 where query `before + i` may see key `j`, else minus infinity: `[rows, before + rows]`.
    fn mask(&self, before: usize, rows: usize) -> Result<Tensor, TrainError> {
        if let Some(mask) = self.masks.borrow().get(&(before, rows)) {
            return Ok(mask.clone());
        }
        let window = self.weights.config.sliding_window.unwrap_or(usize::MAX);
        let keys = before + rows;
        let value = |query: usize, key: usize| match key <= query && query - key < window {
            true => 0.0,
            false => f32::NEG_INFINITY,
        };
        let values: Vec<f32> = (before..keys).flat_map(|query| (0..keys).map(move |key| value(query, key))).collect();
        let mask = Tensor::from_vec(values, (rows, keys), self.device)?;
        self.masks.borrow_mut().insert((before, rows), mask.clone());
        Ok(mask)
    }

    /// Logits in f32 of the batch's targets, `[targets, vocabulary]`, from the last residual stream.
    pub(super) fn logits(&self, hidden: &Tensor) -> Result<Tensor, TrainError> {
        let rows: Vec<u32> = self.batch.targets.iter().map(|target| target.row as u32).collect();
        let rows = hidden.index_select(&Tensor::new(rows, self.device)?, 0)?;
        let layout = self.trained.map(|(layout, _)| layout);
        let x = self.norm(&rows, &self.weights.norm, layout.and_then(|layout| layout.norm))?;
        let trained = layout.map_or(Trained::Nothing, |layout| layout.head);
        // The CPU draws by parts of the targets, of which the first begins at 0.
        let key = mixed(mixed(self.key, u32::MAX), 0);
        self.linear(&x, (&self.weights.head, None), trained, key)
    }
}
