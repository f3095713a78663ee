//! The memory that keys and values may take, and what the scheduler asks of a cache, whichever device it lies on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes the caches of a device may hold together, and how many they do.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    capacity: usize,
    used: AtomicUsize,
    /// Memory that was given back and waits for its next use: getting pages from the system and having them cleared takes
    /// some hundredths of a step. It lies within the budget too.
    idle: Mutex<Vec<Vec<f32>>>,
}

impl CacheBudget {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, used: AtomicUsize::new(0), idle: Mutex::default() })
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

    /// Memory for `len` numbers, counted until it is dropped. Holds zeros, or what its last user left.
    pub(crate) fn floats(self: &Arc<Self>, len: usize) -> Floats {
        let meter = self.take(len * size_of::<f32>());
        let mut idle = self.idle();
        let data = match idle.iter().rposition(|data| data.len() == len) {
            Some(index) => idle.swap_remove(index),
            None => {
                // Memory of other lengths makes room.
                while !idle.is_empty() && self.used() + bytes_of(&idle) > self.capacity {
                    idle.pop();
                }
                drop(idle);
                vec![0.0; len]
            }
        };
        Floats { data, meter }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(idle: &[Vec<f32>]) -> usize {
    idle.iter().map(|data| size_of_val(data.as_slice())).sum()
}

/// Numbers within a budget, whose memory is used again when they are dropped.
#[derive(Debug)]
pub(crate) struct Floats {
    pub(crate) data: Vec<f32>,
    meter: Metered,
}

impl Clone for Floats {
    fn clone(&self) -> Self {
        let mut copy = self.meter.budget.floats(self.data.len());
        copy.data.copy_from_slice(&self.data);
        copy
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        let mut idle = self.meter.budget.idle();
        // These are still counted as used.
        if self.meter.budget.used() + bytes_of(&idle) <= self.meter.budget.capacity {
            idle.push(std::mem::take(&mut self.data));
        }
    }
}

/// Bytes of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Metered {
    budget: Arc<CacheBudget>,
    bytes: usize,
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
pub(crate) trait KvCache: Clone + Send + Sync + 'static {
    /// Number of tokens it holds.
    fn len(&self) -> usize;

    /// Forgets the tokens from `len` on.
    fn truncate(&mut self, len: usize);

    /// The most bytes that `tokens` more tokens will take.
    fn growth(&self, tokens: usize) -> usize;

    /// Whether dropping it gives memory back: whether it has a page to itself.
    fn has_own_page(&self) -> bool;

    /// A copy of the first `len` tokens.
    fn fork(&self, len: usize) -> Self {
        let mut fork = self.clone();
        fork.truncate(len);
        fork
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_within_the_budget() {
        let budget = CacheBudget::new(4000);
        let first = budget.floats(500);
        let address = first.data.as_ptr();
        assert_eq!(budget.used(), 2000);
        drop(first);
        assert_eq!((budget.used(), bytes_of(&budget.idle())), (0, 2000));
        let again = budget.floats(500);
        assert_eq!((again.data.as_ptr(), budget.used(), bytes_of(&budget.idle())), (address, 2000, 0));
        let copy = again.clone();
        assert_eq!((copy.data == again.data, copy.data.as_ptr() == address, budget.used()), (true, false, 4000));
        drop((again, copy));
        assert_eq!(bytes_of(&budget.idle()), 4000);
        // Another length takes the place of what lies idle.
        let longer = budget.floats(700);
        assert!(budget.used() + bytes_of(&budget.idle()) <= 4000);
        drop(longer);
        assert_eq!(budget.used(), 0);
        assert!(bytes_of(&budget.idle()) <= 4000);
    }
}
