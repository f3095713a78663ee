//! The engine of this process: models in memory, one thread that owns the device, and a bounded queue before it.
//!
//! A request's way: [`LocalEngine::score`] checks it and takes a place in the [`queue`]; the device thread takes
//! trajectories off the queue, as many as share a pass well, and has the [`registry`] run them through the
//! [`decoder`] of the device; each result goes back through its request's channel. Whoever drops the returned future
//! gives up the place, and a pass that nobody waits for ends at its next layer. [`LocalEngine::generate`] takes a place
//! too; from there the [`generate`] room draws step by step, in turns with the passes.

pub(crate) mod adapter;
mod cache;
pub mod checkpoint;
pub(crate) mod cpu;
pub(crate) mod decoder;
pub(crate) mod device;
mod generate;
pub(crate) mod projection;
mod queue;
mod registry;
mod sampler;
mod tensor;
mod turns;
#[cfg(test)]
pub(crate) mod twin;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;

pub use device::{DeviceChoice, DtypeChoice};

use self::cache::CacheBudget;
use self::checkpoint::{Checkpoint, resolve};
use self::cpu::decoder::CpuModel;
use self::cpu::matrix::Precision;
use self::generate::{Generate, Order};
use self::queue::Queue;
use self::registry::{Limits, ModelSet, Registry};
use self::tensor::{TensorModel, TensorPlace};
use self::turns::Turns;
use super::{
    AdapterSource, Engine, EngineError, GenerateRequest, Generation, GenerationState, QueueState, ScoreRequest,
    ScoredResponse, TextCodec,
};
use crate::domain::model::{ModelInfo, Role, Roles};

/// How to start a [`LocalEngine`].
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// A Hugging Face folder, a GGUF file or a Hub id.
    pub model: String,
    /// PEFT folders, or whole models with the base's tokenizer.
    pub positive: Option<String>,
    pub negative: Option<String>,
    pub device: DeviceChoice,
    pub dtype: DtypeChoice,
    /// Requests that may wait.
    pub queue: usize,
    /// The most bytes that keys and values may take.
    pub cache_bytes: usize,
    /// Samples that are drawn together at most.
    pub batch: usize,
    /// Threads that compute; all cores if `None`.
    pub threads: Option<usize>,
}

/// Models in this process. Dropping it ends the device thread once the queue is empty.
pub struct LocalEngine {
    text: TextCodec,
    models: Arc<dyn ModelSet>,
    queue: Arc<Queue>,
    vocab_size: usize,
    budget: Arc<CacheBudget>,
    /// Generations being served.
    running: Arc<AtomicUsize>,
    /// Whether a scoring pass is under way.
    scoring: Arc<AtomicBool>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl LocalEngine {
    /// Loads the models and starts the device thread. Takes seconds; not for an async thread.
    pub fn load(options: &LocalOptions) -> Result<Self, EngineError> {
        let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compute-{index}"))
            .build()
            .map_err(|error| EngineError::Internal(format!("the compute threads cannot be started: {error}")))?;
        let checkpoint = Checkpoint::open(&resolve(&options.model)?)?;
        let roles = [(Role::Positive, options.positive.as_deref()), (Role::Negative, options.negative.as_deref())];
        let device = device::open(options.device)?;
        let models: Arc<dyn ModelSet> = match device {
            None => {
                let precision = match options.dtype {
                    DtypeChoice::Auto => Precision::AsStored,
                    DtypeChoice::F32 => Precision::F32,
                    DtypeChoice::Bf16 => Precision::Bf16,
                    DtypeChoice::F16 => Precision::F16,
                };
                pool.install(|| Registry::<CpuModel>::load(&checkpoint, roles, precision)).map(Arc::new)?
            }
            Some((device, ordinal)) => {
                let place = TensorPlace::new(device, format!("cuda:{ordinal}"), options.dtype);
                pool.install(|| Registry::<TensorModel>::load(&checkpoint, roles, place)).map(Arc::new)?
            }
        };
        let queue = Arc::new(Queue::new(options.queue));
        let budget = CacheBudget::new(options.cache_bytes);
        let running = Arc::new(AtomicUsize::new(0));
        let scoring = Arc::new(AtomicBool::new(false));
        let worker = {
            let (models, queue, budget) = (models.clone(), queue.clone(), budget.clone());
            let (running, scoring) = (running.clone(), scoring.clone());
            let (codec, rows) = (checkpoint.text.clone(), options.batch);
            std::thread::Builder::new()
                .name("device".to_owned())
                .spawn(move || {
                    let generator = models.clone().generator(codec, budget, rows);
                    Device { pool, models, queue, generator, running, scoring, turns: Turns::default() }.serve();
                })
                .map_err(|error| EngineError::Internal(format!("the device thread cannot be started: {error}")))?
        };
        Ok(Self {
            vocab_size: checkpoint.config.vocab_size,
            budget,
            running,
            scoring,
            text: checkpoint.text,
            models,
            queue,
            worker: Mutex::new(Some(worker)),
        })
    }

    fn check_score(&self, request: &ScoreRequest) -> Result<(), EngineError> {
        let tokens = request.token_ids.len();
        let max = self.models.scored_context(&request.scorers)?;
        if tokens > max {
            return Err(EngineError::TooLong { tokens, max });
        }
        if let Some(&id) = request.token_ids.iter().chain(&request.watch).find(|&&id| id as usize >= self.vocab_size) {
            return Err(EngineError::UnknownToken { id, vocab: self.vocab_size });
        }
        if request.response_start == 0 || request.response_start >= tokens {
            return Err(EngineError::Text(
                "a response of at least one token after a prompt of at least one".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_order(&self, order: &Order) -> Result<(), EngineError> {
        let request = &order.request;
        let (len, max_tokens) = (request.token_ids.len(), request.max_tokens);
        let forced = request.forks.iter().flat_map(|fork| fork.forced.iter().chain(&fork.banned));
        if let Some(&id) = request.token_ids.iter().chain(forced).find(|&&id| id as usize >= self.vocab_size) {
            return Err(EngineError::UnknownToken { id, vocab: self.vocab_size });
        }
        if max_tokens == 0 || request.forks.iter().any(|fork| fork.keep == 0 || fork.keep > len) {
            return Err(EngineError::Text(
                "a generation follows at least one token, and draws at least one".to_owned(),
            ));
        }
        let longest = request.forks.iter().map(|fork| fork.keep + usize::from(fork.forced.is_some())).max();
        let tokens = longest.unwrap_or(0);
        let Limits { max_context: max, needs: [shared, sample] } = self.models.limits(order)?;
        if tokens.saturating_add(max_tokens) > max {
            return Err(EngineError::ContextExceeded { tokens, max_tokens, max });
        }
        let needed = shared + sample;
        if needed > self.budget.capacity() {
            let (needed_mib, budget_mib) = (needed.div_ceil(1 << 20), self.budget.capacity() >> 20);
            return Err(EngineError::CacheTooSmall { tokens, max_tokens, needed_mib, budget_mib });
        }
        Ok(())
    }
}

/// What the device thread has.
struct Device {
    pool: rayon::ThreadPool,
    models: Arc<dyn ModelSet>,
    queue: Arc<Queue>,
    generator: Box<dyn Generate>,
    running: Arc<AtomicUsize>,
    scoring: Arc<AtomicBool>,
    turns: Turns,
}

impl Device {
    /// Pass after pass and step after step, until the queue is closed and all is done. Where both scoring and generation
    /// have work, each has the device for half of the time.
    fn serve(mut self) {
        // Whoever waits when this thread ends, by a panic too, is told so.
        let _abandoned = Abandoned(self.queue.clone());
        while let Some(waiting) = self.queue.wait(self.generator.busy()) {
            let (queue, generator) = (self.queue.clone(), &mut self.generator);
            queue.with_orders(|orders| generator.admit(orders));
            self.running.store(self.generator.running(), Ordering::Relaxed);
            if !self.generator.busy() {
                self.turns.generation_ended();
            }
            let started = Instant::now();
            if waiting.scores && self.turns.scoring_is_next() {
                self.score();
                self.turns.scored(started.elapsed().as_secs_f64(), self.generator.busy());
            } else if self.generator.busy() {
                self.step();
                self.turns.stepped(started.elapsed().as_secs_f64());
            }
            self.running.store(self.generator.running(), Ordering::Relaxed);
        }
    }

    fn score(&mut self) {
        // Set before the queue is emptied: whoever asks finds the requests in one place or the other.
        self.scoring.store(true, Ordering::SeqCst);
        self.pass();
        self.scoring.store(false, Ordering::SeqCst);
    }

    fn pass(&mut self) {
        let items = self.queue.take(self.models.tokens_per_pass());
        let (items, gone): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| !item.gone());
        gone.into_iter().for_each(|item| item.finish(Err(EngineError::Cancelled)));
        if items.is_empty() {
            return;
        }
        let pass = AssertUnwindSafe(|| self.pool.install(|| self.models.score(items)));
        if std::panic::catch_unwind(pass).is_err() {
            // The panic dropped the items, which tells their callers. The next pass starts afresh: a pass changes nothing
            // but its own buffers.
            tracing::error!("a scoring pass panicked");
        }
    }

    fn step(&mut self) {
        let (pool, generator) = (&self.pool, &mut self.generator);
        let step = AssertUnwindSafe(|| pool.install(|| generator.step()));
        if std::panic::catch_unwind(step).is_err() {
            // Caches may be half written: nothing of what was being drawn is used again.
            tracing::error!("a generation step panicked");
            self.generator.fail(&EngineError::Internal("a generation step panicked".to_owned()));
        }
    }
}

/// Ends a queue with the thread that serves it.
struct Abandoned(Arc<Queue>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Engine for LocalEngine {
    fn score(&self, request: ScoreRequest) -> BoxFuture<'_, Result<ScoredResponse, EngineError>> {
        async move {
            let mut scores = self.score_batch(vec![request]).await?;
            scores.pop().unwrap_or_else(|| Err(EngineError::Internal("a pass lost its trajectory".to_owned())))
        }
        .boxed()
    }

    fn score_batch(
        &self,
        requests: Vec<ScoreRequest>,
    ) -> BoxFuture<'_, Result<Vec<Result<ScoredResponse, EngineError>>, EngineError>> {
        async move {
            let refused: Vec<Option<EngineError>> =
                requests.iter().map(|request| self.check_score(request).err()).collect();
            let sound: Vec<ScoreRequest> =
                requests.into_iter().zip(&refused).filter(|(_, error)| error.is_none()).map(|(r, _)| r).collect();
            let mut scores = if sound.is_empty() { vec![] } else { self.queue.enter(sound)?.wait().await? }.into_iter();
            let lost = || Err(EngineError::Internal("a pass lost its trajectory".to_owned()));
            Ok(refused.into_iter().map(|error| error.map_or_else(|| scores.next().unwrap_or_else(lost), Err)).collect())
        }
        .boxed()
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        let model = self.models.find(&request.model)?;
        let (order, events) = Order::new(request, model.clone());
        self.check_order(&order)?;
        self.queue.enter_order(order)?;
        Ok(Generation { model, events })
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), EngineError> {
        let model = self.models.find(&request.model)?;
        self.check_order(&Order::new(request.clone(), model).0)
    }

    fn models(&self) -> Vec<ModelInfo> {
        self.models.models()
    }

    fn roles(&self) -> Roles {
        self.models.roles()
    }

    fn set_roles(&self, roles: Roles) -> BoxFuture<'_, Result<(), EngineError>> {
        std::future::ready(self.models.set_roles(roles)).boxed()
    }

    fn load_adapter(&self, source: AdapterSource) -> BoxFuture<'_, Result<ModelInfo, EngineError>> {
        let models = self.models.clone();
        async move {
            tokio::task::spawn_blocking(move || models.load_adapter(&source))
                .await
                .map_err(|error| EngineError::Internal(format!("loading an adapter panicked: {error}")))?
        }
        .boxed()
    }

    fn unload_adapter(&self, id: &str) -> BoxFuture<'_, Result<(), EngineError>> {
        std::future::ready(self.models.unload_adapter(id)).boxed()
    }

    fn text(&self) -> &TextCodec {
        &self.text
    }

    fn queue(&self) -> QueueState {
        QueueState { waiting: self.queue.waiting(), capacity: self.queue.capacity() }
    }

    fn generating(&self) -> GenerationState {
        GenerationState {
            running: self.running.load(Ordering::Relaxed),
            cache_bytes: self.budget.used(),
            cache_budget: self.budget.capacity(),
        }
    }

    fn busy(&self) -> bool {
        self.queue.waiting() > 0 || self.scoring.load(Ordering::SeqCst) || self.running.load(Ordering::Relaxed) > 0
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.queue.close();
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if worker.is_some_and(|worker| worker.join().is_err()) {
            tracing::error!("the device thread panicked");
        }
    }
}
