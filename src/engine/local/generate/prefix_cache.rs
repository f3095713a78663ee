//! Keys and values of sequences that were read before, kept for requests that begin alike.

use crate::engine::local::cache::KvCache;

/// Most sequences that are kept: they are looked through one by one.
const MOST: usize = 64;

/// Read sequences by model and tokens, the least recently used first.
pub(super) struct PrefixCache<C> {
    entries: Vec<Entry<C>>,
}

struct Entry<C> {
    /// The content hash of the weights, so that a model that was exchanged is never taken for another.
    model: String,
    tokens: Vec<u32>,
    cache: C,
}

impl<C: KvCache> PrefixCache<C> {
    pub(super) fn new() -> Self {
        Self { entries: vec![] }
    }

    /// The longest part of `tokens`, from their beginning, that has been read.
    pub(super) fn find(&mut self, model: &str, tokens: &[u32]) -> Option<C> {
        let shared = |entry: &Entry<C>| match entry.model == model {
            true => entry.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count(),
            false => 0,
        };
        let (index, length) = self.entries.iter().map(shared).enumerate().max_by_key(|&(_, length)| length)?;
        if length == 0 {
            return None;
        }
        let entry = self.entries.remove(index);
        let found = entry.cache.fork(length);
        self.entries.push(entry);
        Some(found)
    }

    /// Keeps what was read; sequences that it goes on from are kept in it.
    pub(super) fn keep(&mut self, model: &str, tokens: &[u32], cache: C) {
        debug_assert_eq!(tokens.len(), cache.len());
        if self.entries.iter().any(|entry| entry.model == model && entry.tokens.starts_with(tokens)) {
            return;
        }
        self.entries.retain(|entry| entry.model != model || !tokens.starts_with(&entry.tokens));
        if self.entries.len() == MOST {
            self.entries.remove(0);
        }
        self.entries.push(Entry { model: model.to_owned(), tokens: tokens.to_vec(), cache });
    }

    /// Drops the least recently used sequence, and rather one that gives memory back than one whose pages are in use. Whether
    /// there was one.
    pub(super) fn evict(&mut self) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        // Sequences that share their pages with each other give them back together.
        let index = self.entries.iter().position(|entry| entry.cache.has_own_page()).unwrap_or(0);
        self.entries.remove(index);
        true
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache that is only a length.
    #[derive(Clone, Debug, PartialEq)]
    struct Length(usize);

    impl KvCache for Length {
        fn len(&self) -> usize {
            self.0
        }

        fn truncate(&mut self, len: usize) {
            self.0 = self.0.min(len);
        }

        fn growth(&self, tokens: usize) -> usize {
            tokens
        }

        /// One of odd length is in use elsewhere.
        fn has_own_page(&self) -> bool {
            self.0.is_multiple_of(2)
        }
    }

    #[test]
    fn the_longest_shared_beginning_of_the_same_model_is_found() {
        let mut kept = PrefixCache::new();
        kept.keep("a", &[1, 2, 3, 4], Length(4));
        kept.keep("a", &[1, 2, 9], Length(3));
        kept.keep("b", &[1, 2, 3, 4, 5], Length(5));
        assert_eq!(kept.find("a", &[1, 2, 3, 7]), Some(Length(3)));
        assert_eq!(kept.find("a", &[1, 2]), Some(Length(2)));
        assert_eq!(kept.find("b", &[1, 2, 3, 4, 5, 6]), Some(Length(5)));
        assert_eq!(kept.find("a", &[7]), None);
        assert_eq!(kept.find("c", &[1, 2]), None);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut kept = PrefixCache::new();
        kept.keep("a", &[1], Length(1));
        kept.keep("a", &[2], Length(1));
        assert!(kept.find("a", &[1, 5]).is_some());
        assert!(kept.evict());
        assert_eq!(kept.find("a", &[2]), None);
        assert!(kept.find("a", &[1]).is_some());
        assert!(kept.evict() && !kept.evict());
    }

    #[test]
    fn what_gives_memory_back_goes_before_what_is_in_use() {
        let mut kept = PrefixCache::new();
        kept.keep("a", &[1], Length(1));
        kept.keep("a", &[2, 2], Length(2));
        assert!(kept.evict());
        assert_eq!(kept.find("a", &[2]), None);
        assert!(kept.evict() && !kept.evict());
    }

    #[test]
    fn a_longer_sequence_takes_the_place_of_its_beginning() {
        let mut kept = PrefixCache::new();
        kept.keep("a", &[1, 2], Length(2));
        kept.keep("a", &[1, 2, 3], Length(3));
        assert!(kept.evict() && !kept.evict());
        for token in 0..MOST as u32 + 3 {
            kept.keep("a", &[token], Length(1));
        }
        assert_eq!(kept.entries.len(), MOST);
        assert_eq!(kept.find("a", &[2]), None);
    }
}
