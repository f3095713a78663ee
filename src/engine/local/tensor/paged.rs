//! Attention of a generation step over a pool of pages.
//!
//! Sequences that go on by one token and share their first pages are one group: their queries meet the shared pages as one
//! product and each meets its own pages in a batch of small ones; one softmax goes over both. Sequences that read several
//! tokens at once attend one by one.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::pool::{PAGE, Pool, TensorCache};
use crate::engine::error::EngineError;
use crate::engine::local::cache::KvCache;
use crate::engine::local::checkpoint::ModelConfig;

/// How a step's rows attend.
pub(super) struct PagedStep {
    pool: Arc<Pool>,
    /// Where each row's keys and values go, as a scatter wants it.
    write: Tensor,
    groups: Vec<Group>,
    readers: Vec<Reader>,
    /// Where each row is in what groups and readers give one after another; `None` where that is the rows' order.
    order: Option<Tensor>,
}

/// Sequences with one new token each.
struct Group {
    rows: usize,
    /// The rows of the pass; `None` for all of them in order.
    pick: Option<Tensor>,
    /// Rows of the pool that all see; `None` if there are none.
    shared: Option<Tensor>,
    /// Rows of the pool that each sees alone, `[rows * own]`, padded with any.
    own: Tensor,
    own_len: usize,
    /// 0 where a row may look, else minus infinity: `[rows, 1, 1, shared + own]`.
    mask: Tensor,
}

/// One sequence with several new tokens.
struct Reader {
    first_row: usize,
    rows: usize,
    past: usize,
    /// Rows of the pool from the first position on.
    all: Tensor,
}

impl PagedStep {
    /// Plans a step for caches that have been extended already, `tokens` each; rows lie in their order.
    pub(super) fn new(
        pool: &Arc<Pool>,
        caches: &[(&mut TensorCache, usize)],
        window: Option<usize>,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let (mut write, mut singles, mut readers) = (vec![], vec![], vec![]);
        for (cache, tokens) in caches {
            let (cache, first_row, past) = (&**cache, write.len(), cache.len() - tokens);
            write.extend((past..cache.len()).map(|position| cache.row(position)));
            if *tokens == 1 {
                singles.push((first_row, cache));
            } else {
                let all: Vec<u32> = (0..cache.len()).map(|position| cache.row(position)).collect();
                readers.push(Reader { first_row, rows: *tokens, past, all: Tensor::new(all, device)? });
            }
        }
        let total = write.len();
        let mut order = vec![0u32; total];
        let (mut groups, mut given) = (vec![], 0);
        while let Some(&(_, leader)) = singles.first() {
            // Whoever shares much less than another would have all read what only some have to themselves.
            let shared = |cache: &TensorCache| leader.shared_pages(cache);
            let deepest = singles[1..].iter().map(|(_, cache)| shared(cache)).max().unwrap_or(0);
            let enough = deepest.div_ceil(2).max(1);
            let (members, rest): (Vec<_>, Vec<_>) =
                singles.into_iter().partition(|(_, cache)| std::ptr::eq(*cache, leader) || shared(cache) >= enough);
            singles = rest;
            members.iter().for_each(|(row, _)| {
                order[*row] = given;
                given += 1;
            });
            groups.push(Group::new(&members, total, window, device)?);
        }
        for reader in &readers {
            for place in &mut order[reader.first_row..reader.first_row + reader.rows] {
                *place = given;
                given += 1;
            }
        }
        let in_order = order.iter().enumerate().all(|(row, &place)| row as u32 == place);
        Ok(Self {
            pool: pool.clone(),
            write: pool.places(&write)?,
            groups,
            readers,
            order: if in_order { None } else { Some(Tensor::new(order, device)?) },
        })
    }

    /// Writes a layer's new keys and values, `[rows, kv_heads * dim]`, and attends from the scaled queries,
    /// `[rows, heads, dim]`. Gives `[rows, heads * dim]`. `mask` makes the mask of one sequence's queries.
    pub(super) fn attend(
        &self,
        config: &ModelConfig,
        layer: usize,
        q: &Tensor,
        [k, v]: [&Tensor; 2],
        mut mask: impl FnMut(usize, usize) -> Result<Tensor, EngineError>,
    ) -> Result<Tensor, EngineError> {
        let [keys, values] = self.pool.layer(layer);
        keys.scatter_set(&self.write, &k.contiguous()?, 0)?;
        values.scatter_set(&self.write, &v.contiguous()?, 0)?;
        let mut parts = Vec::with_capacity(self.groups.len() + self.readers.len());
        for group in &self.groups {
            parts.push(group.attend(config, q, [&keys, &values])?);
        }
        for reader in &self.readers {
            let all = |pool: &Tensor| {
                let rows = pool.index_select(&reader.all, 0)?;
                rows.reshape(((), config.num_kv_heads, config.head_dim))?.transpose(0, 1)?.contiguous()
            };
            let q = q.narrow(0, reader.first_row, reader.rows)?.transpose(0, 1)?.contiguous()?;
            parts.extend(attend_one(config, reader.past, [&q, &all(&keys)?, &all(&values)?], &mut mask)?);
        }
        let attended = Tensor::cat(&parts, 0)?;
        match &self.order {
            Some(order) => Ok(attended.index_select(order, 0)?),
            None => Ok(attended),
        }
    }
}

impl Group {
    fn new(
        members: &[(usize, &TensorCache)],
        total: usize,
        window: Option<usize>,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let leader = members[0].1;
        let shared_pages = match members {
            [_] => 0,
            _ => members[1..].iter().map(|(_, cache)| leader.shared_pages(cache)).min().unwrap_or(0),
        };
        let shared_len = shared_pages * PAGE;
        let longest = members.iter().map(|(_, cache)| cache.len()).max().unwrap_or(0);
        let own_len = longest - shared_len;
        let (mut own, mut mask) = (vec![], vec![]);
        for (_, cache) in members {
            let sees = |position: usize| position < cache.len() && window.is_none_or(|w| cache.len() - position <= w);
            own.extend((shared_len..longest).map(|position| cache.row(position.min(cache.len() - 1))));
            mask.extend((0..longest).map(|position| if sees(position) { 0.0 } else { f32::NEG_INFINITY }));
        }
        let shared: Vec<u32> = (0..shared_len).map(|position| leader.row(position)).collect();
        let rows: Vec<u32> = members.iter().map(|(row, _)| *row as u32).collect();
        let all = rows.len() == total && rows.iter().enumerate().all(|(at, &row)| at as u32 == row);
        Ok(Self {
            rows: members.len(),
            pick: if all { None } else { Some(Tensor::new(rows, device)?) },
            shared: if shared.is_empty() { None } else { Some(Tensor::new(shared, device)?) },
            own: Tensor::new(own, device)?,
            own_len,
            mask: Tensor::from_vec(mask, (members.len(), 1, 1, longest), device)?,
        })
    }

    fn attend(&self, config: &ModelConfig, q: &Tensor, [keys, values]: [&Tensor; 2]) -> Result<Tensor, EngineError> {
        let (heads, kv, dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let (rows, each) = (self.rows, heads / kv);
        let q = match &self.pick {
            Some(pick) => q.index_select(pick, 0)?,
            None => q.clone(),
        };
        let q = q.contiguous()?.reshape((rows, kv, each, dim))?;
        // `[rows * kv, own, dim]`
        let own = |pool: &Tensor| {
            let picked = pool.index_select(&self.own, 0)?.reshape((rows, self.own_len, kv, dim))?;
            picked.transpose(1, 2)?.contiguous()?.reshape((rows * kv, self.own_len, dim))
        };
        let own_scores = q.reshape((rows * kv, each, dim))?.matmul(&own(keys)?.transpose(1, 2)?)?;
        let own_scores = own_scores.reshape((rows, kv, each, self.own_len))?;
        let Some(shared) = &self.shared else {
            let weights = self.softmax(&own_scores, values.dtype())?.reshape((rows * kv, each, self.own_len))?;
            return Ok(weights.matmul(&own(values)?)?.reshape((rows, heads * dim))?);
        };
        let shared_len = shared.dim(0)?;
        // `[kv, shared, dim]`, met by the queries of all rows.
        let all =
            |pool: &Tensor| pool.index_select(shared, 0)?.reshape((shared_len, kv, dim))?.transpose(0, 1)?.contiguous();
        let by_head = q.transpose(0, 1)?.contiguous()?.reshape((kv, rows * each, dim))?;
        let scores = by_head.matmul(&all(keys)?.transpose(1, 2)?)?;
        let scores = scores.reshape((kv, rows, each, shared_len))?.transpose(0, 1)?.contiguous()?;
        let weights = self.softmax(&Tensor::cat(&[&scores, &own_scores], 3)?, values.dtype())?;
        let on_shared = weights.narrow(3, 0, shared_len)?.transpose(0, 1)?.contiguous()?;
        let on_shared = on_shared.reshape((kv, rows * each, shared_len))?.matmul(&all(values)?)?;
        let on_shared = on_shared.reshape((kv, rows, each, dim))?.transpose(0, 1)?.contiguous()?;
        let on_own = weights.narrow(3, shared_len, self.own_len)?.contiguous()?;
        let on_own = on_own.reshape((rows * kv, each, self.own_len))?.matmul(&own(values)?)?;
        Ok((on_shared + on_own.reshape((rows, kv, each, dim))?)?.reshape((rows, heads * dim))?)
    }

    fn softmax(&self, scores: &Tensor, dtype: DType) -> Result<Tensor, EngineError> {
        Ok(softmax_last_dim(&scores.to_dtype(DType::F32)?.broadcast_add(&self.mask)?)?.to_dtype(dtype)?)
    }
}

/// Attention scores of a sequence that exist at a time. Few large products: a GPU takes as long to be told of one as to
/// compute a small one.
const SCORES: usize = 1 << 25;

/// One sequence's attention, in parts `[queries, heads * dim]`: queries `[heads, rows, dim]`, scaled, that follow `past`
/// positions, and keys and values of all positions, `[kv_heads, positions, dim]`.
pub(super) fn attend_one(
    config: &ModelConfig,
    past: usize,
    [q, k, v]: [&Tensor; 3],
    mask: &mut impl FnMut(usize, usize) -> Result<Tensor, EngineError>,
) -> Result<Vec<Tensor>, EngineError> {
    let (heads, kv_heads, dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
    let rows = q.dim(1)?;
    let size = (SCORES / (heads * (past + rows))).max(1);
    let mut attended = Vec::with_capacity(rows.div_ceil(size));
    for first in (0..rows).step_by(size) {
        let queries = size.min(rows - first);
        let keys = past + first + queries;
        // The query heads that share a key head are rows of one product.
        let q = q.narrow(1, first, queries)?.contiguous()?.reshape((kv_heads, heads / kv_heads * queries, dim))?;
        let scores = q.matmul(&k.narrow(1, 0, keys)?.transpose(1, 2)?)?.to_dtype(DType::F32)?;
        let scores = scores.reshape((heads, queries, keys))?.broadcast_add(&mask(past + first, queries)?)?;
        let weights = softmax_last_dim(&scores)?.to_dtype(v.dtype())?;
        let weights = weights.reshape((kv_heads, heads / kv_heads * queries, keys))?;
        let out = weights.matmul(&v.narrow(1, 0, keys)?)?.reshape((heads, queries, dim))?;
        attended.push(out.transpose(0, 1)?.reshape((queries, heads * dim))?);
    }
    Ok(attended)
}
