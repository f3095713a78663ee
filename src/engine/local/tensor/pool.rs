//! Keys and values of generation as tensors: pages of 32 positions in one pool a layer.
//!
//! A page is 32 rows of the pool's tensors, and a sequence is a list of pages, so that one gather brings together what any
//! number of sequences have cached and one scatter writes what they add. Sequences that begin alike share pages; the first
//! one that writes into a shared page takes a copy of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::engine::error::EngineError;
pub(super) use crate::engine::local::cache::PAGE;
use crate::engine::local::cache::{CacheBudget, KvCache, Metered, new_pages};

/// The pages of one model.
pub(super) struct Pool {
    layers: usize,
    /// Floats of a position in one layer's keys: `kv_heads * head_dim`.
    row: usize,
    dtype: DType,
    device: Device,
    state: Mutex<State>,
}

struct State {
    /// Keys and values by layer, `[pages * 32, row]` each.
    tensors: Vec<[Tensor; 2]>,
    pages: usize,
    free: Vec<usize>,
}

/// A page, given back when the last sequence lets go of it.
struct Page {
    pool: Arc<Pool>,
    index: usize,
    _meter: Metered,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.state().free.push(self.index);
    }
}

impl Pool {
    pub(super) fn new(layers: usize, row: usize, dtype: DType, device: Device) -> Arc<Self> {
        let state = Mutex::new(State { tensors: vec![], pages: 0, free: vec![] });
        Arc::new(Self { layers, row, dtype, device, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page_bytes(&self) -> usize {
        2 * self.layers * PAGE * self.row * self.dtype.size_in_bytes()
    }

    fn take(self: &Arc<Self>, budget: &Arc<CacheBudget>) -> Result<Arc<Page>, EngineError> {
        let mut state = self.state();
        if state.free.is_empty() {
            self.grow(&mut state, budget.capacity())?;
        }
        let index = state.free.pop().ok_or_else(|| EngineError::Internal("a pool without pages".to_owned()))?;
        Ok(Arc::new(Page { pool: self.clone(), index, _meter: budget.take(self.page_bytes()) }))
    }

    /// Doubles the pool, or grows it to the `capacity` in bytes. What it holds is copied, so this should be rare; layer by
    /// layer, so that one layer only is there twice meanwhile.
    fn grow(&self, state: &mut State, capacity: usize) -> Result<(), EngineError> {
        let room = (capacity / self.page_bytes()).saturating_sub(state.pages);
        let added = state.pages.max(64).min(room.max(1));
        let zeros = || Tensor::zeros((added * PAGE, self.row), self.dtype, &self.device);
        for layer in 0..self.layers {
            match state.tensors.get_mut(layer) {
                Some([k, v]) => {
                    *k = Tensor::cat(&[&*k, &zeros()?], 0)?;
                    *v = Tensor::cat(&[&*v, &zeros()?], 0)?;
                }
                None => state.tensors.push([zeros()?, zeros()?]),
            }
        }
        state.free.extend(state.pages..state.pages + added);
        state.pages += added;
        Ok(())
    }

    /// A layer's keys and values; the tensors are written in place.
    pub(super) fn layer(&self, layer: usize) -> [Tensor; 2] {
        self.state().tensors[layer].clone()
    }

    /// Copies rows of every layer.
    fn copy(&self, from: &[u32], to: &[u32]) -> Result<(), EngineError> {
        let from = Tensor::new(from, &self.device)?;
        let to = self.places(to)?;
        for tensor in self.state().tensors.iter().flatten() {
            tensor.scatter_set(&to, &tensor.index_select(&from, 0)?, 0)?;
        }
        Ok(())
    }

    /// Row numbers as a scatter along the first dimension wants them: one for each element.
    pub(super) fn places(&self, rows: &[u32]) -> Result<Tensor, EngineError> {
        Ok(Tensor::new(rows, &self.device)?.unsqueeze(1)?.broadcast_as((rows.len(), self.row))?.contiguous()?)
    }
}

/// A sequence's keys and values.
#[derive(Clone)]
pub(crate) struct TensorCache {
    pool: Arc<Pool>,
    pages: Vec<Arc<Page>>,
    len: usize,
    budget: Arc<CacheBudget>,
}

impl TensorCache {
    pub(super) fn new(pool: &Arc<Pool>, budget: &Arc<CacheBudget>) -> Self {
        Self { pool: pool.clone(), pages: vec![], len: 0, budget: budget.clone() }
    }

    /// Makes room for what each cache is given more of, and counts it in. Shared pages that will be written are copied, all
    /// at once.
    pub(super) fn extend_all(pool: &Pool, caches: &mut [(&mut TensorCache, usize)]) -> Result<(), EngineError> {
        let (mut from, mut to) = (vec![], vec![]);
        // Pages that are copied stay until they have been.
        let mut copied = vec![];
        for (cache, tokens) in caches {
            if !cache.len.is_multiple_of(PAGE)
                && let Some(last) = cache.pages.pop_if(|last| Arc::strong_count(last) > 1)
            {
                let own = cache.pool.take(&cache.budget)?;
                let rows = |page: &Page| (page.index * PAGE..(page.index + 1) * PAGE).map(|row| row as u32);
                from.extend(rows(&last));
                to.extend(rows(&own));
                cache.pages.push(own);
                copied.push(last);
            }
            cache.len += *tokens;
            while cache.pages.len() < cache.len.div_ceil(PAGE) {
                let page = cache.pool.take(&cache.budget)?;
                cache.pages.push(page);
            }
        }
        if from.is_empty() { Ok(()) } else { pool.copy(&from, &to) }
    }

    /// The pool's row of a position.
    pub(super) fn row(&self, position: usize) -> u32 {
        (self.pages[position / PAGE].index * PAGE + position % PAGE) as u32
    }

    /// How many of the first pages both have in common.
    pub(super) fn shared_pages(&self, other: &Self) -> usize {
        self.pages.iter().zip(&other.pages).take_while(|(a, b)| Arc::ptr_eq(a, b)).count()
    }
}

impl KvCache for TensorCache {
    fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    fn growth(&self, tokens: usize) -> usize {
        new_pages(&self.pages, self.len, tokens) * self.pool.page_bytes()
    }

    fn has_own_page(&self) -> bool {
        self.pages.iter().any(|page| Arc::strong_count(page) == 1)
    }
}
