//! The bounded queue before the device: who waits, in what order they are served, and who has gone away.
//!
//! A request holds one place however many trajectories it brings. Trajectories are taken from the requests in turn, so
//! that a batch does not keep a single one waiting for its end, and a request whose client has gone gives up its place
//! at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::generate::Order;
use crate::engine::error::EngineError;
use crate::engine::{ScoreRequest, ScoredResponse};

/// What a request's trajectories came to, in their order.
pub(crate) type Scores = Vec<Result<ScoredResponse, EngineError>>;

/// One request in the queue.
pub(crate) struct Job {
    items: Vec<ScoreRequest>,
    gone: AtomicBool,
    entered: Instant,
    state: Mutex<JobState>,
}

struct JobState {
    /// The next trajectory to be taken.
    next: usize,
    done: Vec<Option<Result<ScoredResponse, EngineError>>>,
    missing: usize,
    reply: Option<oneshot::Sender<Scores>>,
}

/// A trajectory taken from the queue.
pub(crate) struct Item {
    pub(crate) job: Arc<Job>,
    index: usize,
    pub(crate) queue_ms: f64,
    finished: bool,
}

impl Item {
    pub(crate) fn request(&self) -> &ScoreRequest {
        &self.job.items[self.index]
    }

    /// Whether the client has gone.
    pub(crate) fn gone(&self) -> bool {
        self.job.gone.load(Ordering::Relaxed)
    }

    /// Hands in the result; the last one of a request answers it.
    pub(crate) fn finish(mut self, result: Result<ScoredResponse, EngineError>) {
        self.hand_in(result);
    }

    fn hand_in(&mut self, result: Result<ScoredResponse, EngineError>) {
        self.finished = true;
        let mut state = lock(&self.job.state);
        if state.done[self.index].replace(result).is_none() {
            state.missing -= 1;
        }
        if state.missing == 0
            && let Some(reply) = state.reply.take()
        {
            // The receiver is gone when the client is; there is nobody to tell.
            let _ = reply.send(state.done.drain(..).flatten().collect());
        }
    }
}

impl Drop for Item {
    /// A pass that panics drops its items; their callers must not wait for ever.
    fn drop(&mut self) {
        if !self.finished {
            self.hand_in(Err(EngineError::Internal("a scoring pass panicked".to_owned())));
        }
    }
}

/// A caller's hold on a job. Dropping it cancels what has not been computed.
pub(crate) struct Ticket {
    job: Arc<Job>,
    queue: Arc<Queue>,
    reply: oneshot::Receiver<Scores>,
}

impl Ticket {
    /// Waits for the results.
    pub(crate) async fn wait(mut self) -> Result<Scores, EngineError> {
        (&mut self.reply).await.map_err(|_| EngineError::ShuttingDown)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.job.gone.store(true, Ordering::Relaxed);
        self.queue.forget(&self.job);
    }
}

/// What waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) scores: bool,
    pub(crate) orders: bool,
}

/// The queue itself.
pub(crate) struct Queue {
    capacity: usize,
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Job>>,
    /// Generations that are not being served yet.
    orders: VecDeque<Order>,
    /// How many orders are out of `orders` while it is decided which are served.
    considered: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn waiting(&self) -> usize {
        lock(&self.state).len()
    }

    /// Takes a place, or says that there is none.
    pub(crate) fn enter(self: &Arc<Self>, items: Vec<ScoreRequest>) -> Result<Ticket, EngineError> {
        let (sender, reply) = oneshot::channel();
        let done = items.iter().map(|_| None).collect();
        let state = JobState { next: 0, done, missing: items.len(), reply: Some(sender) };
        let job =
            Arc::new(Job { items, gone: AtomicBool::new(false), entered: Instant::now(), state: Mutex::new(state) });
        self.open()?.waiting.push_back(job.clone());
        self.changed.notify_one();
        Ok(Ticket { job, queue: self.clone(), reply })
    }

    /// Takes a place for a generation, or says that there is none.
    pub(crate) fn enter_order(&self, order: Order) -> Result<(), EngineError> {
        self.open()?.orders.push_back(order);
        self.changed.notify_one();
        Ok(())
    }

    /// The state, if there is a place in it.
    fn open(&self) -> Result<MutexGuard<'_, QueueState>, EngineError> {
        let mut queue = lock(&self.state);
        if queue.closed {
            return Err(EngineError::ShuttingDown);
        }
        queue.orders.retain(|order| !order.gone());
        if queue.len() >= self.capacity {
            return Err(EngineError::Overloaded { capacity: self.capacity });
        }
        Ok(queue)
    }

    /// Waits for work, unless the device is `busy` anyway. `None` once the queue is closed and all is done.
    pub(crate) fn wait(&self, busy: bool) -> Option<Waiting> {
        let mut queue = lock(&self.state);
        loop {
            let waiting = Waiting { scores: !queue.waiting.is_empty(), orders: !queue.orders.is_empty() };
            if busy || waiting.scores || waiting.orders {
                return Some(waiting);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets `take` have the generations that wait. The queue is not locked meanwhile: who enters must not wait for it.
    pub(crate) fn with_orders(&self, take: impl FnOnce(&mut VecDeque<Order>)) {
        let mut orders = {
            let mut queue = lock(&self.state);
            queue.considered = queue.orders.len();
            std::mem::take(&mut queue.orders)
        };
        if orders.is_empty() {
            return;
        }
        take(&mut orders);
        let mut queue = lock(&self.state);
        orders.append(&mut queue.orders);
        queue.orders = orders;
        queue.considered = 0;
    }

    /// Takes trajectories of at most `tokens` tokens together, or one that is longer.
    pub(crate) fn take(&self, tokens: usize) -> Vec<Item> {
        let mut queue = lock(&self.state);
        let mut items = Vec::new();
        let mut room = tokens;
        while let Some(job) = queue.waiting.pop_front() {
            let mut state = lock(&job.state);
            let size = job.items[state.next].token_ids.len();
            if !items.is_empty() && size > room {
                drop(state);
                queue.waiting.push_front(job);
                break;
            }
            room = room.saturating_sub(size);
            let index = state.next;
            state.next += 1;
            let more = state.next < job.items.len();
            drop(state);
            let queue_ms = job.entered.elapsed().as_secs_f64() * 1e3;
            if more {
                queue.waiting.push_back(job.clone());
            }
            items.push(Item { job, index, queue_ms, finished: false });
        }
        items
    }

    /// Refuses new work; what waits is still served.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Refuses new work and lets go of what waits, whose callers are told that it ends.
    pub(crate) fn abandon(&self) {
        let mut queue = lock(&self.state);
        queue.closed = true;
        let (jobs, orders) = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.orders));
        drop(queue);
        // A job is held by its caller too: without the sender the caller waits no longer.
        jobs.iter().for_each(|job| drop(lock(&job.state).reply.take()));
        orders.iter().for_each(|order| order.reply(Err(EngineError::ShuttingDown)));
    }

    fn forget(&self, job: &Arc<Job>) {
        lock(&self.state).waiting.retain(|other| !Arc::ptr_eq(other, job));
    }
}

impl QueueState {
    fn len(&self) -> usize {
        self.waiting.len() + self.orders.len() + self.considered
    }
}

/// A poisoned lock is entered all the same: every critical section here leaves the state whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Scorers;

    fn request(tokens: u32) -> ScoreRequest {
        ScoreRequest {
            scorers: Scorers::Roles,
            token_ids: (0..tokens).collect(),
            response_start: 1,
            beta: 1.0,
            top: 0,
            watch: vec![],
        }
    }

    fn sizes(items: &[Item]) -> Vec<usize> {
        items.iter().map(|item| item.request().token_ids.len()).collect()
    }

    #[test]
    fn a_single_one_is_served_between_the_parts_of_a_batch() {
        let queue = Arc::new(Queue::new(8));
        let _batch = queue.enter((10..16).map(request).collect()).unwrap();
        let _single = queue.enter(vec![request(5)]).unwrap();
        assert_eq!(sizes(&queue.take(1)), [10]);
        assert_eq!(sizes(&queue.take(1)), [5]);
        assert_eq!(sizes(&queue.take(25)), [11, 12]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_client_that_leaves_gives_up_its_place() {
        let queue = Arc::new(Queue::new(2));
        let first = queue.enter(vec![request(2)]).unwrap();
        let _second = queue.enter(vec![request(3)]).unwrap();
        assert!(matches!(queue.enter(vec![request(4)]), Err(EngineError::Overloaded { capacity: 2 })));
        drop(first);
        let _third = queue.enter(vec![request(4)]).unwrap();
        assert_eq!(sizes(&queue.take(100)), [3, 4]);
    }

    #[tokio::test]
    async fn a_request_is_answered_by_its_last_trajectory_in_order() {
        let queue = Arc::new(Queue::new(2));
        let ticket = queue.enter(vec![request(2), request(3)]).unwrap();
        let mut items = queue.take(100);
        items.reverse();
        for item in items {
            let tokens = item.request().token_ids.len();
            item.finish(Err(EngineError::TooLong { tokens, max: 0 }));
        }
        let tokens: Vec<_> = ticket
            .wait()
            .await
            .unwrap()
            .into_iter()
            .map(|result| match result {
                Err(EngineError::TooLong { tokens, .. }) => tokens,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(tokens, [2, 3]);
    }

    #[tokio::test]
    async fn a_pass_that_panics_answers_its_callers() {
        let queue = Arc::new(Queue::new(2));
        let ticket = queue.enter(vec![request(2)]).unwrap();
        drop(queue.take(1));
        assert!(matches!(ticket.wait().await.unwrap()[..], [Err(EngineError::Internal(_))]));
    }

    #[tokio::test]
    async fn an_abandoned_queue_keeps_nobody_waiting() {
        let queue = Arc::new(Queue::new(2));
        let ticket = queue.enter(vec![request(2)]).unwrap();
        queue.abandon();
        assert!(matches!(ticket.wait().await, Err(EngineError::ShuttingDown)));
        assert!(matches!(queue.enter(vec![request(2)]), Err(EngineError::ShuttingDown)));
    }

    #[test]
    fn a_closed_queue_drains() {
        let queue = Arc::new(Queue::new(2));
        let _ticket = queue.enter(vec![request(2)]).unwrap();
        queue.close();
        assert!(matches!(queue.enter(vec![request(2)]), Err(EngineError::ShuttingDown)));
        assert!(queue.wait(false).is_some());
        assert_eq!(queue.take(1).len(), 1);
        assert!(queue.wait(false).is_none());
        assert!(queue.wait(true).is_some());
    }
}
