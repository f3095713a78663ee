//! Attention of a generation step: queries of many sequences over the pages that they share or own.
//!
//! A tile takes up to 14 queries of one key head, from any sequences. Neighbouring queries whose sequences share a page
//! meet it in one product; where they differ each run of them meets its own. So a prefix that many rollouts share costs
//! them one reading, and nothing has to be merged afterwards: a query's scores are all there before its softmax. Sums are
//! taken in the order of `super::attention`, and give its bits: a draw does not depend on who shares what.

use rayon::prelude::*;

use super::attention::{Heads, Scratch, pack_query, softmax};
use super::kernel::{Isa, LeftSide, Onto, SCORE_CHUNK, TILE_COLS, TILE_ROWS, Tile, multiply};
use super::linear::Shared;
use super::matrix::{Block, RowBlocks, at_least};
use super::pages::{PAGE, PageRef, PagedCache};

/// Pages in a chunk of scores.
const CHUNK_PAGES: usize = SCORE_CHUNK / PAGE;

/// One row of a step: a token's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Which of the step's caches.
    pub(crate) cache: usize,
    pub(crate) position: usize,
}

/// What a step's attention reads.
pub(crate) struct PagedInput<'a> {
    pub(crate) layer: usize,
    /// One a row.
    pub(crate) places: &'a [Place],
    pub(crate) caches: &'a [&'a PagedCache],
    /// Rotated queries, `[rows, queries * dim]`.
    pub(crate) q: &'a [f32],
}

/// One query head of one row.
#[derive(Clone, Copy)]
struct Query<'a> {
    cache: &'a PagedCache,
    position: usize,
    /// Where the row is: in the pass, and in the blocks.
    row: usize,
    block: usize,
    r: usize,
    head: usize,
}

impl<'a> Query<'a> {
    /// The page, if the query may look at it.
    fn page(&self, page: usize) -> Option<PageRef<'a>> {
        if page * PAGE <= self.position { self.cache.page(page) } else { None }
    }
}

/// `softmax(q k^T / sqrt(dim)) v` for the rows of `blocks`, written as row blocks of depth `queries * dim`. Keys and values
/// of the step itself are in the caches already.
pub(crate) fn attend_pages(heads: Heads, input: &PagedInput<'_>, blocks: &[Block], out: &mut RowBlocks) {
    let group = heads.queries / heads.keys;
    // Whole rows in a tile: the heads of a row share all its pages.
    let tile_queries = if group <= TILE_ROWS { TILE_ROWS / group * group } else { TILE_ROWS };
    let queries: Vec<Vec<Query<'_>>> =
        (0..heads.keys).map(|key_head| queries_of(input, blocks, group, key_head)).collect();
    // Every head of some rows before other rows: what lies side by side in their pages is read one after another.
    let tiles = queries.first().map_or(0, |queries| queries.len().div_ceil(tile_queries));
    let tasks: Vec<(usize, &[Query<'_>])> = (0..tiles)
        .flat_map(|tile| queries.iter().enumerate().map(move |(key_head, queries)| (key_head, queries, tile)))
        .map(|(key_head, queries, tile)| {
            let first = tile * tile_queries;
            (key_head, &queries[first..queries.len().min(first + tile_queries)])
        })
        .collect();
    let isa = Isa::detect();
    let (block_len, shared) = (out.block_len(), Shared::new(&mut out.data));
    let scratch = || (Scratch::new(heads.dim), Scratch::new(heads.dim).tiles);
    tasks.into_par_iter().with_max_len(2).for_each_init(scratch, |(scratch, parts), (key_head, tile)| {
        for (column, query) in tile.iter().enumerate() {
            let start = (query.row * heads.queries + query.head) * heads.dim;
            pack_query(&input.q[start..start + heads.dim], column, &mut scratch.query);
        }
        let sums = attend_tile(isa, heads, input.layer, key_head, tile, scratch, parts);
        for (column, (query, sum)) in tile.iter().zip(sums).enumerate() {
            let scale = 1.0 / sum;
            let first = query.block * block_len + query.head * heads.dim * TILE_ROWS + query.r;
            for d in 0..heads.dim {
                let value = scratch.tiles[d / TILE_COLS][column * TILE_COLS + d % TILE_COLS];
                // SAFETY: the place is inside `out`, and no other query has this row and head.
                unsafe { *shared.at(first + d * TILE_ROWS) = value * scale };
            }
        }
    });
}

/// The queries of all rows that look at one key head, those of a row side by side.
fn queries_of<'a>(input: &PagedInput<'a>, blocks: &[Block], group: usize, key_head: usize) -> Vec<Query<'a>> {
    let mut queries = Vec::new();
    for (block, rows) in blocks.iter().enumerate() {
        for r in 0..rows.rows {
            let row = rows.row + r;
            let Place { cache, position } = input.places[row];
            let cache = input.caches[cache];
            let heads = key_head * group..(key_head + 1) * group;
            queries.extend(heads.map(|head| Query { cache, position, row, block, r, head }));
        }
    }
    queries
}

/// Attends from `scratch.query`, leaves the unnormalised result in `scratch.tiles`, and returns what to divide it by.
fn attend_tile(
    isa: Isa,
    heads: Heads,
    layer: usize,
    key_head: usize,
    queries: &[Query<'_>],
    scratch: &mut Scratch,
    parts: &mut [[f32; TILE_ROWS * TILE_COLS]],
) -> [f32; TILE_ROWS] {
    const CHUNK: usize = TILE_ROWS * SCORE_CHUNK;
    let Scratch { query, scores, tiles } = scratch;
    let visible = queries.iter().map(|query| query.position + 1).max().unwrap_or(0);
    let first_chunk = queries.iter().map(|query| heads.first_chunk(query.position)).min().unwrap_or(0);
    let chunks = first_chunk..visible.div_ceil(SCORE_CHUNK);
    at_least(scores, chunks.len() * CHUNK);
    let runs: Vec<Run<'_>> =
        (first_chunk * CHUNK_PAGES..visible.div_ceil(PAGE)).flat_map(|page| runs(queries, page)).collect();
    // Pages that only one sequence has come from memory, and lie anywhere in it: each is fetched while the one before is
    // at work.
    let keys = |run: &Run<'_>| run.page.keys(layer, key_head).as_ptr();
    let values = |run: &Run<'_>, panel: usize| run.page.values(layer, key_head, panel).as_ptr();
    for (index, run) in runs.iter().enumerate() {
        let offset = (run.number / CHUNK_PAGES - first_chunk) * CHUNK + run.number % CHUNK_PAGES * PAGE;
        let c = &mut scores[offset + run.first * SCORE_CHUNK..][..(run.rows - 1) * SCORE_CHUNK + TILE_COLS];
        let tile = Tile {
            left: query[run.first..].as_ptr(),
            side: LeftSide::RowBlock,
            panel: keys(run),
            next: runs.get(index + 1).map_or_else(|| values(&runs[0], 0), keys),
            depth: heads.dim,
            rows: run.rows,
            c: c.as_mut_ptr(),
            c_stride: SCORE_CHUNK,
            onto: Onto::Nothing,
        };
        // SAFETY: `query` holds `dim` steps from column `first`, the page's keys as many, and `c` spans the run's rows.
        unsafe { multiply(isa, &tile) };
    }
    let seen: Vec<_> = queries.iter().map(|query| heads.seen(query.position, first_chunk)).collect();
    let mut sums = [0f32; TILE_ROWS];
    softmax(scores, chunks.len(), &seen, &mut sums);
    let mut index = 0;
    for (number, chunk) in chunks.enumerate() {
        // Pages of a chunk go on summing, and chunks are added up, as in attention over whole sequences.
        while let Some(run) = runs.get(index).filter(|run| run.number / CHUNK_PAGES == chunk) {
            index += 1;
            let depth = PAGE.min(run.positions - run.number * PAGE);
            let start = number * CHUNK + run.number % CHUNK_PAGES * PAGE + run.first * SCORE_CHUNK;
            let left = &scores[start..][..(run.rows - 1) * SCORE_CHUNK + depth];
            let last = parts.len() - 1;
            for (panel, part) in parts.iter_mut().enumerate() {
                let panel_values = &run.page.values(layer, key_head, panel)[..depth * TILE_COLS];
                let tile = Tile {
                    left: left.as_ptr(),
                    side: LeftSide::Scores,
                    panel: panel_values.as_ptr(),
                    next: match runs.get(index) {
                        Some(next) if panel == last => values(next, 0),
                        _ => values(run, (panel + 1).min(last)),
                    },
                    depth,
                    rows: run.rows,
                    c: part[run.first * TILE_COLS..].as_mut_ptr(),
                    c_stride: TILE_COLS,
                    onto: if run.number.is_multiple_of(CHUNK_PAGES) { Onto::Nothing } else { Onto::Running },
                };
                // SAFETY: `left` spans `rows` rows of `depth` scores, `panel_values` as many steps, and `part` has 14
                // rows of 32, of which the run's are within.
                unsafe { multiply(isa, &tile) };
            }
        }
        for (row, query) in queries.iter().enumerate().filter(|(_, query)| query.position >= chunk * SCORE_CHUNK) {
            for (tile, part) in tiles.iter_mut().zip(parts.iter()) {
                let columns = row * TILE_COLS..(row + 1) * TILE_COLS;
                for (total, &part) in tile[columns.clone()].iter_mut().zip(&part[columns]) {
                    *total = if chunk > first_chunk { *total + part } else { part };
                }
            }
            debug_assert!(query.cache.page(chunk * CHUNK_PAGES).is_some());
        }
    }
    sums
}

/// Neighbouring queries of a tile that look at the same page.
struct Run<'a> {
    /// The page's number in its sequences.
    number: usize,
    page: PageRef<'a>,
    first: usize,
    rows: usize,
    /// One past the last position that one of them sees.
    positions: usize,
}

/// The runs of a tile for page number `number`; queries that do not reach it are in none.
fn runs<'a>(queries: &[Query<'a>], number: usize) -> impl Iterator<Item = Run<'a>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < queries.len() {
            let first = next;
            next += 1;
            let Some(held) = queries[first].page(number) else { continue };
            while next < queries.len() && queries[next].page(number).is_some_and(|other| other.is(held)) {
                next += 1;
            }
            let positions = queries[first..next].iter().map(|query| query.position + 1).max().unwrap_or(0);
            return Some(Run { number, page: held, first, rows: next - first, positions });
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::super::attention::{Projections, attend};
    use super::super::matrix::blocks_of;
    use super::super::pages::PageShape;
    use super::*;
    use crate::engine::local::cache::CacheBudget;

    #[test]
    fn gives_the_bits_of_attention_over_whole_sequences() {
        const ROWS: usize = 300;
        let shapes = [(6, 2, 8, None), (9, 3, 64, None), (4, 4, 40, Some(50)), (16, 1, 34, None)];
        for (queries, keys, dim, window) in shapes {
            let heads = Heads { queries, keys, dim, window };
            let numbers = |heads: usize, seed: f32| -> Vec<f32> {
                (0..ROWS * heads * dim).map(|at| 2.0 * (seed * at as f32).sin()).collect()
            };
            let (q, k, v) = (numbers(queries, 0.37), numbers(keys, 0.71), numbers(keys, 1.13));
            let blocks = blocks_of(std::iter::once(0..ROWS));
            let mut whole = RowBlocks::new(blocks.len(), queries * dim);
            attend(heads, std::slice::from_ref(&(0..ROWS)), &blocks, &Projections { q: &q, k: &k, v: &v }, &mut whole);

            let mut cache = PagedCache::new(PageShape::of(heads, 1), &CacheBudget::new(1 << 30));
            cache.extend(ROWS);
            for position in 0..ROWS {
                let columns = position * keys * dim..(position + 1) * keys * dim;
                cache.write(0, position, &k[columns.clone()], &v[columns]);
            }
            let places: Vec<Place> = (0..ROWS).map(|position| Place { cache: 0, position }).collect();
            let mut paged = RowBlocks::new(blocks.len(), queries * dim);
            let input = PagedInput { layer: 0, places: &places, caches: &[&cache], q: &q };
            attend_pages(heads, &input, &blocks, &mut paged);
            for (index, block) in blocks.iter().enumerate() {
                let rows = |out: &RowBlocks| -> Vec<u32> {
                    let wanted = out.block(index).iter().enumerate().filter(|(at, _)| at % TILE_ROWS < block.rows);
                    wanted.map(|(_, value)| value.to_bits()).collect()
                };
                assert!(rows(&whole) == rows(&paged), "{heads:?}, block {index}");
            }
        }
    }
}
