//! Keys and values in pages of 32 positions, shared between the sequences that begin alike.
//!
//! A page holds every layer's and head's keys and values in the order in which tiles read them, so that attention reads
//! what generation wrote without packing it first. A sequence is a list of pages; a fork of it shares them, and the first
//! one that writes into a shared page takes a copy of it.

use std::sync::Arc;

use super::attention::Heads;
use super::kernel::TILE_COLS;
pub(crate) use crate::engine::local::cache::PAGE;
use crate::engine::local::cache::{CacheBudget, Floats, KvCache, new_pages};

// A page's keys are one panel of a tile.
const _: () = assert!(PAGE == TILE_COLS);

/// How pages of a model are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageShape {
    pub(crate) layers: usize,
    /// Key and value heads.
    pub(crate) heads: usize,
    pub(crate) dim: usize,
}

impl PageShape {
    /// Panels of 32 value columns.
    fn value_panels(self) -> usize {
        self.dim.div_ceil(TILE_COLS)
    }

    /// Floats of a head's keys, `[dim][32 positions]`.
    fn keys(self) -> usize {
        self.dim * PAGE
    }

    /// Floats of a head's values, panels of `[32 positions][32 columns]`.
    fn values(self) -> usize {
        self.value_panels() * PAGE * TILE_COLS
    }

    fn floats(self) -> usize {
        self.layers * self.heads * (self.keys() + self.values())
    }

    fn bytes(self) -> usize {
        self.floats() * size_of::<f32>()
    }

    /// Where a head's keys begin; its values follow them.
    fn at(self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * (self.keys() + self.values())
    }
}

/// Keys and values of 32 positions. Those of positions that no token has come to are whatever the memory held before, and
/// are never looked at.
type Page = Floats;

/// A sequence's keys and values.
#[derive(Clone)]
pub(crate) struct PagedCache {
    shape: PageShape,
    pages: Vec<Arc<Page>>,
    len: usize,
    budget: Arc<CacheBudget>,
}

impl PagedCache {
    pub(crate) fn new(shape: PageShape, budget: &Arc<CacheBudget>) -> Self {
        Self { shape, pages: vec![], len: 0, budget: budget.clone() }
    }

    /// Makes room for `tokens` more tokens and counts them in. Their keys and values are to be written layer by layer.
    pub(crate) fn extend(&mut self, tokens: usize) {
        self.len += tokens;
        while self.pages.len() < self.len.div_ceil(PAGE) {
            self.pages.push(Arc::new(self.budget.floats(self.shape.floats())));
        }
    }

    /// Writes the rotated keys and the values of one position and layer, `[heads * dim]` each.
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        let page = Arc::make_mut(&mut self.pages[position / PAGE]);
        let slot = position % PAGE;
        for head in 0..shape.heads {
            let columns = head * shape.dim..(head + 1) * shape.dim;
            let (panel, rest) = page.data[shape.at(layer, head)..].split_at_mut(shape.keys());
            for (out, &key) in panel[slot..].iter_mut().step_by(PAGE).zip(&keys[columns.clone()]) {
                *out = key;
            }
            for (panel, values) in rest.chunks_exact_mut(PAGE * TILE_COLS).zip(values[columns].chunks(TILE_COLS)) {
                panel[slot * TILE_COLS..][..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Page number `index`, whose address tells whether two sequences share it; `None` past the last token.
    pub(crate) fn page(&self, index: usize) -> Option<PageRef<'_>> {
        self.pages.get(index).map(|page| PageRef { data: &page.data, shape: self.shape })
    }
}

/// A page as attention reads it.
#[derive(Clone, Copy)]
pub(crate) struct PageRef<'a> {
    data: &'a [f32],
    shape: PageShape,
}

impl<'a> PageRef<'a> {
    pub(crate) fn is(self, other: PageRef<'_>) -> bool {
        std::ptr::eq(self.data.as_ptr(), other.data.as_ptr())
    }

    /// A head's keys, `[dim][32]`.
    pub(crate) fn keys(self, layer: usize, head: usize) -> &'a [f32] {
        &self.data[self.shape.at(layer, head)..][..self.shape.keys()]
    }

    /// A head's values of panel `panel`, `[32][32 columns]`.
    pub(crate) fn values(self, layer: usize, head: usize, panel: usize) -> &'a [f32] {
        let start = self.shape.at(layer, head) + self.shape.keys() + panel * PAGE * TILE_COLS;
        &self.data[start..start + PAGE * TILE_COLS]
    }
}

impl KvCache for PagedCache {
    fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    fn growth(&self, tokens: usize) -> usize {
        new_pages(&self.pages, self.len, tokens) * self.shape.bytes()
    }

    fn has_own_page(&self) -> bool {
        self.pages.iter().any(|page| Arc::strong_count(page) == 1)
    }
}

impl PageShape {
    /// The shape for a layer's heads.
    pub(crate) fn of(heads: Heads, layers: usize) -> Self {
        Self { layers, heads: heads.keys, dim: heads.dim }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PageShape = PageShape { layers: 2, heads: 2, dim: 40 };

    fn row(seed: usize) -> Vec<f32> {
        (0..SHAPE.heads * SHAPE.dim).map(|i| (seed * 1000 + i) as f32).collect()
    }

    fn fill(cache: &mut PagedCache, positions: std::ops::Range<usize>, seed: usize) {
        cache.extend(positions.len());
        for position in positions {
            for layer in 0..SHAPE.layers {
                cache.write(layer, position, &row(seed + position + layer), &row(seed + position + layer + 500));
            }
        }
    }

    /// The key and the value of a head, read as tiles read them.
    fn read(cache: &PagedCache, layer: usize, head: usize, position: usize) -> (Vec<f32>, Vec<f32>) {
        let page = cache.page(position / PAGE).unwrap();
        let key = page.keys(layer, head).iter().skip(position % PAGE).step_by(PAGE).copied().collect();
        let value = (0..SHAPE.dim)
            .map(|column| {
                page.values(layer, head, column / TILE_COLS)[position % PAGE * TILE_COLS + column % TILE_COLS]
            })
            .collect();
        (key, value)
    }

    #[test]
    fn a_fork_shares_pages_and_writes_into_its_own() {
        let budget = CacheBudget::new(1 << 30);
        let mut trunk = PagedCache::new(SHAPE, &budget);
        fill(&mut trunk, 0..70, 1);
        assert_eq!(budget.used(), 3 * SHAPE.bytes());
        let mut fork = trunk.fork(40);
        assert_eq!((fork.len(), budget.used()), (40, 3 * SHAPE.bytes()));
        assert_eq!(fork.growth(1), SHAPE.bytes());
        assert_eq!(fork.growth(30), 2 * SHAPE.bytes());
        fill(&mut fork, 40..45, 9000);
        assert_eq!(budget.used(), 4 * SHAPE.bytes());
        assert_eq!(fork.growth(1), 0);
        for position in 0..70 {
            let seed = 1 + position;
            let head = 1;
            let expected = (row(seed + 1)[40..].to_vec(), row(seed + 501)[40..].to_vec());
            assert_eq!(read(&trunk, 1, head, position), expected, "{position}");
            if position < 40 {
                assert_eq!(read(&fork, 1, head, position), expected, "{position}");
            }
        }
        assert_eq!(read(&fork, 0, 0, 44).0, row(9044)[..40]);
        assert!(fork.page(0).unwrap().is(trunk.page(0).unwrap()));
        assert!(!fork.page(1).unwrap().is(trunk.page(1).unwrap()));
        drop(fork);
        drop(trunk);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_fork_between_pages_copies_nothing() {
        let budget = CacheBudget::new(1 << 30);
        let mut trunk = PagedCache::new(SHAPE, &budget);
        fill(&mut trunk, 0..64, 1);
        let fork = trunk.fork(32);
        assert_eq!((fork.growth(0), fork.growth(1), fork.growth(33)), (0, SHAPE.bytes(), 2 * SHAPE.bytes()));
    }
}
