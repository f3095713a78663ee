//! Generation: many requests' samples, step by step, in one batch.
//!
//! The shared sequence of a request is read once; its forks and samples go on from the same keys and values. In each step
//! every request gets its share of the rows, samples that end make room for others at once, and memory stays within a
//! budget: first what is only kept for later requests goes, then samples give up their caches and read what they drew again
//! when their turn comes. On the CPU a row's numbers do not depend on the rows beside it, and none of this can be seen in what is
//! drawn; on a GPU the last bits may differ, and with them a draw that is a close call.

mod job;
mod order;
mod prefix_cache;
mod speller;

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;

use self::job::{Job, Strand};
pub(crate) use self::order::Order;
use self::prefix_cache::PrefixCache;
use super::cache::{CacheBudget, KvCache};
use super::decoder::{Decoder, Feed};
use super::registry::Registry;
use crate::engine::{EngineError, TextCodec};

/// Requests that are served at once; others wait in the queue.
const JOBS: usize = 64;
/// Tokens of known text that a step reads beside the rows that draw: few enough that those do not wait long.
const READ: usize = 512;

/// What the device thread asks of a generator, whichever device it is for.
pub(crate) trait Generate: Send {
    /// Takes orders off the queue's front for as long as they can be served beside those being served.
    fn admit(&mut self, waiting: &mut VecDeque<Order>);
    /// Requests being served.
    fn running(&self) -> usize;
    /// Whether there is anything to do.
    fn busy(&self) -> bool {
        self.running() > 0
    }
    /// Computes one step.
    fn step(&mut self);
    /// Answers everything that is being served with an error, and forgets it.
    fn fail(&mut self, error: &EngineError);
}

/// The generations of one device.
pub(crate) struct Generator<D: Decoder> {
    models: Arc<Registry<D>>,
    codec: TextCodec,
    budget: Arc<CacheBudget>,
    /// Samples in a step.
    rows: usize,
    jobs: VecDeque<Job<D>>,
    prefixes: PrefixCache<D::Cache>,
    /// The last step's logits, for their memory.
    logits: Vec<f32>,
}

impl<D: Decoder> Generator<D> {
    pub(crate) fn new(models: Arc<Registry<D>>, codec: TextCodec, budget: Arc<CacheBudget>, rows: usize) -> Self {
        Self { models, codec, budget, rows, jobs: VecDeque::new(), prefixes: PrefixCache::new(), logits: vec![] }
    }

    /// Chooses every request's strands for a step. Each gets an equal share of the rows, and what others leave.
    fn choose(&mut self) {
        let (mut rows, mut tokens) = (self.rows, READ);
        let share = (self.rows / self.jobs.len().max(1)).max(1);
        for job in &mut self.jobs {
            let mut own = share.min(rows);
            let before = own;
            job.choose(&mut own, &mut tokens);
            rows -= before - own;
        }
        for job in &mut self.jobs {
            job.choose(&mut rows, &mut tokens);
        }
        // Who comes first gets the most of what is left over: take turns.
        self.jobs.rotate_left(usize::from(self.jobs.len() > 1));
    }

    /// Bytes that the chosen strands will take.
    fn growth(&mut self) -> usize {
        let growth = |strand: &mut Strand<D::Cache>| strand.cache.growth(strand.feed.len());
        self.jobs.iter_mut().flat_map(Job::strands).map(growth).sum()
    }

    /// Makes room for the chosen strands, or has samples give way.
    fn make_room(&mut self) {
        while self.budget.used() + self.growth() > self.budget.capacity() {
            if self.prefixes.evict() {
                continue;
            }
            // The newest give way, down to a single sample of the oldest, for which there is always room.
            let mut newest: Vec<usize> = (0..self.jobs.len()).collect();
            newest.sort_by_key(|&index| std::cmp::Reverse(self.jobs[index].order.entered));
            let oldest = newest.last().copied();
            let gave = newest.into_iter().any(|index| self.jobs[index].give_up(usize::from(Some(index) == oldest)));
            if !gave {
                // Only shared sequences and one sample are left, and admission has kept room for those.
                return;
            }
        }
    }

    /// Runs the chosen strands, model by model.
    fn run(&mut self) {
        let mut models: Vec<Arc<D>> = Vec::new();
        for job in &self.jobs {
            if !models.iter().any(|model| Arc::ptr_eq(model, &job.player.model)) {
                models.push(job.player.model.clone());
            }
        }
        for model in models {
            let mut jobs: Vec<&mut Job<D>> =
                self.jobs.iter_mut().filter(|job| Arc::ptr_eq(&job.player.model, &model)).collect();
            if let Err(error) = step(&*model, &mut jobs, &self.codec, &mut self.logits) {
                jobs.iter().for_each(|job| job.order.reply(Err(error.clone())));
                self.jobs.retain(|job| !Arc::ptr_eq(&job.player.model, &model));
            }
        }
    }

    /// Keeps shared sequences that have been read, and ends requests that are done or not waited for.
    fn tidy(&mut self) {
        for job in &mut self.jobs {
            let player = job.player.clone();
            if let Some((tokens, cache)) = job.newly_read() {
                self.prefixes.keep(&player.info.sha256, tokens, cache);
            }
        }
        self.jobs.retain(|job| !job.ends());
    }
}

/// One pass of a model over what its requests have chosen; each takes in its own logits.
fn step<D: Decoder>(
    model: &D,
    jobs: &mut [&mut Job<D>],
    codec: &TextCodec,
    logits: &mut Vec<f32>,
) -> Result<(), EngineError> {
    // Those of one adapter together, as the pass wants them: it gives back its logits as they are then.
    jobs.sort_by_key(|job| job.player.adapter.as_ref().map(Arc::as_ptr));
    let mut feeds: Vec<Feed<'_, D>> = Vec::new();
    let mut counts = Vec::with_capacity(jobs.len());
    for job in jobs.iter_mut() {
        let mut count = 0;
        let (adapter, strands) = job.parts();
        for strand in strands.filter(|strand| !strand.feed.is_empty()) {
            count += strand.logits;
            feeds.push(Feed { cache: &mut strand.cache, tokens: &strand.feed, adapter, logits: strand.logits });
        }
        counts.push(count);
    }
    if feeds.is_empty() {
        return Ok(());
    }
    model.extend(&mut feeds, logits)?;
    drop(feeds);
    let vocab = model.config().vocab_size;
    let mut rest = logits.as_slice();
    let mut parts = Vec::with_capacity(jobs.len());
    for count in counts {
        let (part, after) = rest.split_at(count * vocab);
        parts.push(part);
        rest = after;
    }
    jobs.par_iter_mut().zip(parts).with_max_len(1).for_each(|(job, logits)| {
        if let Err(error) = job.absorb(logits.chunks_exact(vocab), codec) {
            job.fail(error);
        }
    });
    Ok(())
}

impl<D: Decoder> Generate for Generator<D> {
    fn admit(&mut self, waiting: &mut VecDeque<Order>) {
        waiting.retain(|order| !order.gone());
        let mut reserved = [0usize; 2];
        for job in &self.jobs {
            let [trunk, sample] = job.order.needs(&job.player.model.cache(&self.budget));
            reserved = [reserved[0] + trunk, reserved[1].max(sample)];
        }
        while self.jobs.len() < JOBS
            && let Some(order) = waiting.pop_front()
        {
            let Some(player) = self.models.player(&order.model) else {
                let error = EngineError::UnknownModel { id: order.model.id.clone() };
                order.reply(Err(error));
                continue;
            };
            let empty = player.model.cache(&self.budget);
            let [trunk, sample] = order.needs(&empty);
            let together = [reserved[0] + trunk, reserved[1].max(sample)];
            if !self.jobs.is_empty() && together[0] + together[1] > self.budget.capacity() {
                waiting.push_front(order);
                return;
            }
            reserved = together;
            let tokens = &order.request.token_ids[..order.trunk_len()];
            let known = self.prefixes.find(&player.info.sha256, tokens);
            self.jobs.push_back(Job::new(order, player, known, empty));
        }
    }

    fn running(&self) -> usize {
        self.jobs.len()
    }

    fn step(&mut self) {
        self.jobs.retain(|job| !job.order.gone());
        self.choose();
        self.make_room();
        self.run();
        self.tidy();
    }

    fn fail(&mut self, error: &EngineError) {
        self.jobs.drain(..).for_each(|job| job.order.reply(Err(error.clone())));
        self.prefixes.clear();
    }
}

#[cfg(test)]
mod tests;
