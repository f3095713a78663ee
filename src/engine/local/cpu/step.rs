//! One step of generation: tokens that follow cached sequences, and the logits after them.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::{Heads, Projections};
use super::decoder::{CpuAdapter, CpuModel};
use super::linear::{Linear, Output, linear};
use super::matrix::{Block, RowBlocks, blocks_of};
use super::paged_attention::{PagedInput, Place, attend_pages};
use super::pages::{PageShape, PagedCache};
use super::pass::{Attend, Pass, Rows};
use crate::engine::error::EngineError;
use crate::engine::local::cache::KvCache;
use crate::engine::local::decoder::Feed;

/// Runs a step; see [`crate::engine::local::decoder::Decoder::extend`].
pub(super) fn extend(
    model: &CpuModel,
    feeds: &mut [Feed<'_, CpuModel>],
    logits: &mut Vec<f32>,
) -> Result<(), EngineError> {
    let order = Order::of(feeds);
    let rows = order.rows(feeds);
    let mut paged = Paged {
        places: order.places(feeds),
        feeds: feeds.iter_mut().zip(&order.rows).map(|(feed, rows)| (&mut *feed.cache, rows.clone())).collect(),
    };
    paged.feeds.iter_mut().for_each(|(cache, rows)| cache.extend(rows.len()));
    let mut pass = Pass::new(model, rows)?;
    pass.run(&mut paged, &|| false)?;
    head(model, &pass, &order, feeds, logits)
}

/// Where a step's tokens lie in the pass: those of one adapter together.
struct Order<'a> {
    /// Each feed's rows.
    rows: Vec<Range<usize>>,
    /// Each adapter, with its rows.
    groups: Vec<(Option<&'a CpuAdapter>, Range<usize>)>,
    /// Feeds in the order of their rows.
    feeds: Vec<usize>,
}

impl<'a> Order<'a> {
    fn of(feeds: &[Feed<'a, CpuModel>]) -> Self {
        let address = |index: usize| feeds[index].adapter.map_or(std::ptr::null(), std::ptr::from_ref);
        let mut order: Vec<usize> = (0..feeds.len()).collect();
        order.sort_by_key(|&index| address(index));
        let mut rows = vec![0..0; feeds.len()];
        let mut groups: Vec<(Option<&CpuAdapter>, Range<usize>)> = Vec::new();
        let mut total = 0;
        for (place, &index) in order.iter().enumerate() {
            rows[index] = total..total + feeds[index].tokens.len();
            total = rows[index].end;
            match groups.last_mut() {
                Some((_, group)) if address(order[place - 1]) == address(index) => group.end = total,
                Some(_) | None => groups.push((feeds[index].adapter, rows[index].clone())),
            }
        }
        Self { rows, groups, feeds: order }
    }

    fn rows(&self, feeds: &[Feed<'a, CpuModel>]) -> Rows<'a> {
        let in_order = || self.feeds.iter().map(|&index| &feeds[index]);
        // Wanted rows that follow each other make full blocks, whichever sequences they are of.
        let mut kept: Vec<Block> = Vec::new();
        for (group, (_, rows)) in self.groups.iter().enumerate() {
            let wanted = self.feeds.iter().map(|&index| {
                let rows = &self.rows[index];
                rows.end - feeds[index].logits..rows.end
            });
            let mut runs: Vec<Range<usize>> = Vec::new();
            for wanted in wanted.filter(|wanted| !wanted.is_empty() && rows.contains(&wanted.start)) {
                match runs.last_mut() {
                    Some(run) if run.end == wanted.start => run.end = wanted.end,
                    Some(_) | None => runs.push(wanted),
                }
            }
            kept.extend(runs.into_iter().flat_map(|run| blocks_in(run, group)));
        }
        Rows {
            tokens: in_order().flat_map(|feed| feed.tokens.iter().copied()).collect(),
            positions: in_order().flat_map(|feed| feed.cache.len()..feed.cache.len() + feed.tokens.len()).collect(),
            adapters: self.groups.iter().map(|(adapter, _)| *adapter).collect(),
            all: blocks_of(self.groups.iter().map(|(_, rows)| rows.clone())),
            kept,
        }
    }

    fn places(&self, feeds: &[Feed<'a, CpuModel>]) -> Vec<Place> {
        self.feeds
            .iter()
            .flat_map(|&index| {
                let first = feeds[index].cache.len();
                (first..first + feeds[index].tokens.len()).map(move |position| Place { cache: index, position })
            })
            .collect()
    }
}

/// Blocks of one group's rows.
fn blocks_in(rows: Range<usize>, group: usize) -> impl Iterator<Item = Block> {
    blocks_of(std::iter::once(rows)).into_iter().map(move |block| Block { sequence: group, ..block })
}

/// Attention over cached sequences.
struct Paged<'a> {
    /// One a row of the pass.
    places: Vec<Place>,
    /// Each feed's cache and rows.
    feeds: Vec<(&'a mut PagedCache, Range<usize>)>,
}

impl Attend for Paged<'_> {
    fn attend(&mut self, layer: usize, heads: Heads, blocks: &[Block], input: &Projections<'_>, out: &mut RowBlocks) {
        let (places, stride) = (&self.places, heads.keys * heads.dim);
        self.feeds.par_iter_mut().for_each(|(cache, rows)| {
            for row in rows.clone() {
                let columns = row * stride..(row + 1) * stride;
                cache.write(layer, places[row].position, &input.k[columns.clone()], &input.v[columns]);
            }
        });
        let caches: Vec<&PagedCache> = self.feeds.iter().map(|(cache, _)| &**cache).collect();
        attend_pages(heads, &PagedInput { layer, places, caches: &caches, q: input.q }, blocks, out);
    }
}

/// The logits of the wanted rows, in the order of the feeds.
fn head(
    model: &CpuModel,
    pass: &Pass<'_>,
    order: &Order<'_>,
    feeds: &[Feed<'_, CpuModel>],
    logits: &mut Vec<f32>,
) -> Result<(), EngineError> {
    let vocab = model.head.outputs();
    let wanted = |index: usize| order.rows[index].end - feeds[index].logits..order.rows[index].end;
    // Rows of the pass for each row of logits, an adapter's together again.
    let rows: Vec<usize> = order.feeds.iter().flat_map(|&index| wanted(index)).collect();
    let mut blocks = Vec::new();
    let mut first = 0;
    for (group, (_, group_rows)) in order.groups.iter().enumerate() {
        let count = rows[first..].iter().take_while(|row| group_rows.contains(row)).count();
        blocks.extend(blocks_in(first..first + count, group));
        first += count;
    }
    let mut x = RowBlocks::new(blocks.len(), model.config.hidden_size);
    x.pack_with(&blocks, |row, out| pass.read(rows[row], out));
    // The buffer of the step before, mostly: asking the system for so much memory at every step takes time.
    let mut values = std::mem::take(logits);
    values.resize(rows.len() * vocab, 0.0);
    let low_rank = order.groups.iter().map(|(adapter, _)| adapter.and_then(|adapter| adapter.head.as_ref())).collect();
    let layer = Linear { weight: &model.head, bias: None, low_rank };
    linear(&x, &blocks, vec![(layer, Output { values: &mut values, stride: vocab, add: false })])?;
    if order.feeds.is_sorted() {
        *logits = values;
        return Ok(());
    }
    for index in 0..feeds.len() {
        for row in wanted(index) {
            let place = rows.iter().position(|other| *other == row).unwrap_or_default();
            logits.extend_from_slice(&values[place * vocab..(place + 1) * vocab]);
        }
    }
    Ok(())
}

impl CpuModel {
    pub(super) fn page_shape(&self) -> PageShape {
        PageShape::of(self.heads(), self.config.num_layers)
    }
}
