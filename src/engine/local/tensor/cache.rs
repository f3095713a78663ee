//! Keys and values as candle tensors, one pair a layer.

use std::sync::Arc;

use candle_core::Tensor;

use crate::engine::error::EngineError;
use crate::engine::local::cache::{CacheBudget, KvCache, Metered};

/// A sequence's keys and values. Clones share tensors; growing makes new ones.
#[derive(Clone)]
pub(crate) struct TensorCache {
    /// Keys and values by layer, `[kv_heads, len, head_dim]` each.
    layers: Vec<Option<(Tensor, Tensor)>>,
    len: usize,
    /// Of a position, over all layers.
    bytes: usize,
    budget: Arc<CacheBudget>,
    /// Shared as the tensors are.
    meter: Arc<Option<Metered>>,
}

impl TensorCache {
    pub(super) fn new(layers: usize, bytes: usize, budget: &Arc<CacheBudget>) -> Self {
        Self { layers: vec![None; layers], len: 0, bytes, budget: budget.clone(), meter: Arc::new(None) }
    }

    /// Adds a layer's keys and values, and returns all of that layer.
    pub(super) fn append(&mut self, layer: usize, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor), EngineError> {
        let all = match self.layers[layer].take() {
            Some((past_k, past_v)) => (Tensor::cat(&[past_k, k], 1)?, Tensor::cat(&[past_v, v], 1)?),
            None => (k, v),
        };
        self.layers[layer] = Some(all.clone());
        Ok(all)
    }

    /// Counts the positions that every layer has been given.
    pub(super) fn grown(&mut self) {
        self.len = self.layers[0].as_ref().map_or(0, |(k, _)| k.dims()[1]);
        self.meter = Arc::new(Some(self.budget.take(self.len * self.bytes)));
    }
}

impl KvCache for TensorCache {
    fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        for pair in &mut self.layers {
            // A narrowed tensor is a view: nothing is copied until it grows.
            *pair = match pair.take() {
                Some((k, v)) if len > 0 => k.narrow(1, 0, len).ok().zip(v.narrow(1, 0, len).ok()),
                Some(_) | None => None,
            };
        }
    }

    fn growth(&self, tokens: usize) -> usize {
        // The old tensors may be shared, so the new ones count whole.
        if tokens == 0 { 0 } else { (self.len + tokens) * self.bytes }
    }
}
