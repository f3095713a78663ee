//! The memory that keys and values may take, and what the scheduler asks of a cache, whichever device it lies on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes the caches of a device may hold together, and how many they do.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    capacity: usize,
    used: AtomicUsize,
}

impl CacheBudget {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, used: AtomicUsize::new(0) })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts `bytes` until the returned value is dropped. The scheduler has seen to it that there is room.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Metered {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Metered { budget: self.clone(), bytes }
    }
}

/// Bytes of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Metered {
    budget: Arc<CacheBudget>,
    bytes: usize,
}

impl Clone for Metered {
    fn clone(&self) -> Self {
        self.budget.take(self.bytes)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Positions in a page, on every device.
pub(crate) const PAGE: usize = 32;

/// How many pages a sequence takes beyond those it has when it grows by `tokens`. A last page that is shared and not full
/// is copied by whoever writes into it.
pub(crate) fn new_pages<P>(pages: &[Arc<P>], len: usize, tokens: usize) -> usize {
    let shared = pages.last().is_some_and(|page| Arc::strong_count(page) > 1);
    let copied = tokens > 0 && !len.is_multiple_of(PAGE) && shared;
    (len + tokens).div_ceil(PAGE) - pages.len() + usize::from(copied)
}

/// Keys and values of a sequence's first tokens. Clones share memory until one of them grows.
pub(crate) trait KvCache: Clone + Send + 'static {
    /// Number of tokens it holds.
    fn len(&self) -> usize;

    /// Forgets the tokens from `len` on.
    fn truncate(&mut self, len: usize);

    /// The most bytes that `tokens` more tokens will take.
    fn growth(&self, tokens: usize) -> usize;

    /// A copy of the first `len` tokens.
    fn fork(&self, len: usize) -> Self {
        let mut fork = self.clone();
        fork.truncate(len);
        fork
    }
}
