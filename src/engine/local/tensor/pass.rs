//! One forward pass: all sequences' rows together, layer by layer.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{D, DType, Tensor};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_thd;

use super::decoder::{Layer, TensorAdapter, TensorModel};
use super::paged::{PagedStep, attend_one};
use crate::engine::error::EngineError;
use crate::engine::local::decoder::Sequence;
use crate::engine::local::projection::Projection;

/// Whether both have the same adapter, or none.
pub(super) fn share_adapter(a: &Sequence<'_, TensorAdapter>, b: &Sequence<'_, TensorAdapter>) -> bool {
    a.adapter.map(std::ptr::from_ref) == b.adapter.map(std::ptr::from_ref)
}

/// The state of one forward pass. Rows of all sequences lie one after another.
pub(super) struct Pass<'a> {
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
    pub(super) fn new(
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

    pub(super) fn attention(&mut self, layer: &Layer, index: usize) -> Result<(), EngineError> {
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

    pub(super) fn mlp(&mut self, layer: &Layer, index: usize) -> Result<(), EngineError> {
        let x = self.normalised(&self.hidden, &layer.mlp_norm)?;
        let gate = silu(&self.linear(layer, index, Projection::Gate, &x)?)?;
        let wide = (gate * self.linear(layer, index, Projection::Up, &x)?)?;
        let out = self.linear(layer, index, Projection::Down, &wide)?;
        self.add(&out)
    }

    pub(super) fn finish(self) -> Result<Vec<Tensor>, EngineError> {
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
