//! What computes a pass: the policy's log probabilities of a batch's targets, and the gradients of a loss over them.

use super::batch::Batch;
use super::parameters::Parameters;
use super::{TrainError, loss};

/// What the policy says of a batch's targets, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Predictions {
    /// Natural logs of the targets' probabilities.
    pub(super) logprobs: Vec<f32>,
    /// `KL(reference || policy)` where each target is drawn; empty unless asked for.
    pub(super) divergences: Vec<f32>,
}

/// How a training pass is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PassOptions {
    /// What dropout is drawn from: the seed, the step and the pass's number in it.
    pub(super) dropout: [u64; 3],
    /// Whether the divergence from the reference is wanted.
    pub(super) divergence: bool,
    /// Keep the layers' inputs only, and compute the rest again on the way back.
    pub(super) checkpointing: bool,
}

/// A model that learns.
pub(super) trait Learner {
    /// The reference's log probabilities of the targets: the base's, with nothing trained.
    fn reference(&mut self, batch: &Batch) -> Result<Vec<f32>, TrainError>;

    /// Computes the predictions, asks `loss` for its slopes by them, and adds the gradients to `parameters`.
    fn pass(
        &mut self,
        parameters: &mut Parameters,
        batch: &Batch,
        options: PassOptions,
        loss: &mut dyn FnMut(&Predictions) -> Result<loss::Slopes, TrainError>,
    ) -> Result<(), TrainError>;

    /// Takes over parameters that have changed.
    fn update(&mut self, parameters: &Parameters) -> Result<(), TrainError>;
}
