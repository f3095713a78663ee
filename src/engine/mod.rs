//! What runs models: the [`Engine`] trait that the use cases talk to, and its implementations.
//!
//! This room knows tensors and threads, and nothing of HTTP or of the database.

pub mod error;
pub mod generate;
pub mod local;
pub mod text;

use futures::future::BoxFuture;

pub use error::EngineError;
pub use generate::{DrawnToken, Fork, GenerateRequest, Generation, GenerationEvent, GenerationUsage, Sample};
pub use text::TextCodec;

use crate::domain::model::{ModelInfo, ModelRef, PerModel, Roles};
use crate::domain::score::{Normalizer, TokenScore};

/// One trajectory to score.
#[derive(Debug, Clone)]
pub struct ScoreRequest {
    pub scorers: Scorers,
    /// Prompt and response.
    pub token_ids: Vec<u32>,
    /// Index of the response's first token in `token_ids`; at least 1, for a token needs a prefix.
    pub response_start: usize,
    /// `beta` of equation (3).
    pub beta: f64,
    /// How many of the base's likeliest tokens to report at each position.
    pub top: usize,
    /// Further tokens to report at each position.
    pub watch: Vec<u32>,
}

/// Which models score a trajectory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scorers {
    /// Those that have the roles when the work begins.
    Roles,
    /// One alone, by its id or its role's name: its numbers stand as the base's.
    Alone(String),
    /// These, by their ids or their roles' names, whatever roles they have. One that is named twice is computed once.
    Named(PerModel<String>),
}

/// The engine's answer to a [`ScoreRequest`].
#[derive(Debug, Clone)]
pub struct ScoredResponse {
    /// One entry a response token.
    pub tokens: Vec<TokenScore>,
    /// The models that scored, as they were when the work began: roles may be swapped while a request waits.
    pub models: PerModel<ModelRef>,
    pub normalizer: Normalizer,
    pub queue_ms: f64,
    pub compute_ms: f64,
}

/// Where to load an adapter from.
#[derive(Debug, Clone)]
pub struct AdapterSource {
    /// The name it will be known by.
    pub id: String,
    /// A PEFT folder.
    pub path: std::path::PathBuf,
}

/// Something that runs models. Dropping a returned future cancels its work.
pub trait Engine: Send + Sync + 'static {
    /// Scores one trajectory. Fails at once with [`EngineError::Overloaded`] when the queue is full.
    fn score(&self, request: ScoreRequest) -> BoxFuture<'_, Result<ScoredResponse, EngineError>>;

    /// Scores several trajectories as one place in the queue; the results are in order and independent of each other.
    fn score_batch(
        &self,
        requests: Vec<ScoreRequest>,
    ) -> BoxFuture<'_, Result<Vec<Result<ScoredResponse, EngineError>>, EngineError>>;

    /// Draws samples. Fails at once if the request is refused or the queue is full.
    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError>;

    /// Refuses what [`Engine::generate`] would refuse however empty the queue is, and begins nothing.
    fn check(&self, request: &GenerateRequest) -> Result<(), EngineError>;

    /// The base first, then the others in the order of loading.
    fn models(&self) -> Vec<ModelInfo>;

    /// Who plays the positive and the negative part.
    fn roles(&self) -> Roles;

    /// Swaps the roles. Every id must be loaded; work that has begun keeps the roles that it began with.
    fn set_roles(&self, roles: Roles) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Loads a PEFT adapter beside the others.
    fn load_adapter(&self, source: AdapterSource) -> BoxFuture<'_, Result<ModelInfo, EngineError>>;

    /// Unloads an adapter; [`EngineError::AdapterInUse`] while it has a role.
    fn unload_adapter(&self, id: &str) -> BoxFuture<'_, Result<(), EngineError>>;

    /// The base's tokenizer and chat template.
    fn text(&self) -> &TextCodec;

    /// Work that waits and the most that may wait, for the metrics.
    fn queue(&self) -> QueueState;

    /// What is being drawn and what it holds, for the metrics.
    fn generating(&self) -> GenerationState;

    /// Whether requests wait or are being served: others who use the same processor may let them go first.
    fn busy(&self) -> bool {
        self.queue().waiting > 0 || self.generating().running > 0
    }
}

/// Generations under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GenerationState {
    /// Requests that are being served.
    pub running: usize,
    /// Bytes of keys and values that are held, for them and for later requests that begin alike.
    pub cache_bytes: usize,
    /// The most that these may be.
    pub cache_budget: usize,
}

/// How full an engine's queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueState {
    pub waiting: usize,
    pub capacity: usize,
}

impl ScoreRequest {
    /// Number of tokens whose scores are asked for.
    pub fn response_len(&self) -> usize {
        self.token_ids.len() - self.response_start
    }
}
