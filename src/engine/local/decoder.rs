//! What a pass asks of a decoder, whichever device it computes on.

use std::ops::Range;
use std::sync::Arc;

use super::adapter::Adapter;
use super::cache::{CacheBudget, KvCache};
use super::checkpoint::{Checkpoint, ModelConfig};
use crate::domain::model::PerModel;
use crate::domain::score::TokenScore;
use crate::engine::error::EngineError;

/// A model that is ready to compute.
pub(crate) trait Decoder: Sized + Send + Sync + 'static {
    /// Where it computes and in what precision.
    type Place: Clone + Send + Sync + 'static;
    /// An adapter in this decoder's layout.
    type Adapter: Send + Sync + 'static;
    /// Keys and values of a sequence.
    type Cache: KvCache;
    /// Normalised last hidden states of one sequence, `[kept positions, hidden_size]`.
    type Hidden;

    fn load(checkpoint: &Checkpoint, place: &Self::Place) -> Result<Self, EngineError>;

    fn config(&self) -> &ModelConfig;

    /// `cpu` or `cuda:0`.
    fn device(place: &Self::Place) -> String;

    /// The type that weights of `checkpoint` are kept in.
    fn dtype(checkpoint: &Checkpoint, place: &Self::Place) -> String;

    /// Bytes of the weight matrices as they are held.
    fn memory(&self) -> u64;

    /// Bytes of an adapter's matrices.
    fn adapter_memory(adapter: &Self::Adapter) -> u64;

    /// How many rows (tokens times models) a pass should hold at least before short trajectories stop sharing it.
    fn rows_per_pass(place: &Self::Place) -> usize;

    /// Lays out an adapter that has been checked against this model's configuration.
    fn adapter(&self, adapter: &Adapter) -> Result<Self::Adapter, EngineError>;

    /// Runs sequences together; `stop` is asked before each layer.
    fn forward(
        &self,
        sequences: &[Sequence<'_, Self::Adapter>],
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Self::Hidden>, EngineError>;

    /// An empty cache, whose memory will be counted in `budget`.
    fn cache(&self, budget: &Arc<CacheBudget>) -> Self::Cache;

    /// Takes tokens through the model that follow what caches hold, and adds them to the caches. `logits` gets the
    /// next-token logits after each feed's last [`Feed::logits`] tokens, `[wanted rows, vocab_size]` in the order of the
    /// feeds. After an error the caches are not to be used again.
    fn extend(&self, feeds: &mut [Feed<'_, Self>], logits: &mut Vec<f32>) -> Result<(), EngineError>;

    /// Scores the positions of one trajectory from every model's hidden states.
    fn score(
        states: &PerModel<State<'_, Self>>,
        question: Question<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<TokenScore>, EngineError>;
}

/// One sequence of a pass.
pub(crate) struct Sequence<'a, A> {
    pub(crate) tokens: &'a [u32],
    pub(crate) adapter: Option<&'a A>,
    /// The positions whose hidden states are wanted.
    pub(crate) keep: Range<usize>,
}

/// Tokens that follow a cached sequence.
pub(crate) struct Feed<'a, D: Decoder> {
    pub(crate) cache: &'a mut D::Cache,
    /// At least one.
    pub(crate) tokens: &'a [u32],
    pub(crate) adapter: Option<&'a D::Adapter>,
    /// After how many of the last tokens logits are wanted.
    pub(crate) logits: usize,
}

/// One model's hidden states for a trajectory, with what its head needs.
pub(crate) struct State<'a, D: Decoder> {
    pub(crate) model: &'a D,
    pub(crate) adapter: Option<&'a D::Adapter>,
    pub(crate) hidden: &'a D::Hidden,
}

/// What is asked at each position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The token that came, one a position.
    pub(crate) targets: &'a [u32],
    /// `beta` of equation (3).
    pub(crate) beta: f64,
    /// How many of the base's likeliest tokens to report.
    pub(crate) top: usize,
    /// Further tokens to report.
    pub(crate) watch: &'a [u32],
}
