//! Training in candle's tensors, by its automatic differentiation: what runs on a GPU, and the slow twin of the CPU's.
//!
//! Every operation is one that candle has a backward for; its fused norms, rotations and softmaxes have none. Frozen weights
//! go through `Frozen`, whose way back computes the gradient of the input alone.

mod decoder;
mod frozen;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::ops::log_softmax;

use self::decoder::{Decoder, Weights};
use super::batch::Batch;
use super::layout::Layout;
use super::learner::{Learner, PassOptions, Predictions};
use super::loss::Slopes;
use super::parameters::Parameters;
use super::{Pace, TrainError};
use crate::engine::local::checkpoint::Checkpoint;

/// A model that learns on a candle device.
pub(super) struct TensorLearner {
    weights: Weights,
    layout: Layout,
    /// The parameters on the device, in f32.
    variables: Vec<Var>,
    device: Device,
    pace: Arc<dyn Pace>,
}

impl TensorLearner {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        layout: Layout,
        device: Device,
        compute: DType,
        pace: Arc<dyn Pace>,
    ) -> Result<Self, TrainError> {
        let weights = Weights::load(checkpoint, &device, compute)?;
        Ok(Self { weights, layout, variables: Vec::new(), device, pace })
    }

    fn decoder<'a>(&'a self, batch: &'a Batch, trained: bool, key: [u64; 3]) -> Result<Decoder<'a>, TrainError> {
        let layout = trained.then_some((&self.layout, self.variables.as_slice()));
        Decoder::new(&self.weights, layout, batch, key, &self.device)
    }

    /// Every layer's input, and the last residual stream, without a graph.
    fn inputs(&self, decoder: &Decoder<'_>) -> Result<Vec<Tensor>, TrainError> {
        let mut hidden = vec![decoder.embed()?.detach()];
        for index in 0..decoder.layers() {
            self.pace.rest();
            let next = decoder.layer(index, &hidden[index])?.detach();
            hidden.push(next);
        }
        Ok(hidden)
    }

    /// Adds what a backward found to the parameters' gradients.
    fn collect(&self, grads: &candle_core::backprop::GradStore, parameters: &mut Parameters) -> Result<(), TrainError> {
        for (variable, parameter) in self.variables.iter().zip(&mut parameters.0) {
            if let Some(gradient) = grads.get(variable) {
                let values = gradient.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                parameter.gradient.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(())
    }
}

/// The log probabilities of the targets and, with the reference's logits, the divergences.
struct Outputs {
    logprobs: Tensor,
    divergences: Option<Tensor>,
}

impl Outputs {
    fn new(decoder: &Decoder<'_>, hidden: &Tensor, reference: Option<&Tensor>) -> Result<Self, TrainError> {
        let logs = log_softmax(&decoder.logits(hidden)?, 1)?;
        let targets: Vec<u32> = decoder.batch().targets.iter().map(|target| target.token).collect();
        let count = targets.len();
        let targets = Tensor::from_vec(targets, (count, 1), hidden.device())?;
        let logprobs = logs.gather(&targets, 1)?.squeeze(1)?;
        let divergences = match reference {
            Some(reference) => Some((reference.exp()? * (reference - &logs)?)?.sum(1)?),
            None => None,
        };
        Ok(Self { logprobs, divergences })
    }

    fn predictions(&self) -> Result<Predictions, TrainError> {
        Ok(Predictions {
            logprobs: self.logprobs.to_vec1()?,
            divergences: self.divergences.as_ref().map_or(Ok(Vec::new()), |d| d.to_vec1())?,
        })
    }

    /// A number whose gradients are those of the loss with these slopes.
    fn surrogate(&self, slopes: &Slopes) -> Result<Tensor, TrainError> {
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), self.logprobs.device());
        let mut sum = (&self.logprobs * tensor(&slopes.logprob)?)?.sum_all()?;
        if let Some(divergences) = &self.divergences {
            sum = (sum + (divergences * tensor(&slopes.divergence)?)?.sum_all()?)?;
        }
        Ok(sum)
    }
}

impl Learner for TensorLearner {
    fn reference(&mut self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        let decoder = self.decoder(batch, false, [0; 3])?;
        let hidden = self.inputs(&decoder)?;
        let outputs = Outputs::new(&decoder, &hidden[decoder.layers()], None)?;
        Ok(outputs.predictions()?.logprobs)
    }

    fn pass(
        &mut self,
        parameters: &mut Parameters,
        batch: &Batch,
        options: PassOptions,
        loss: &mut dyn FnMut(&Predictions) -> Result<Slopes, TrainError>,
    ) -> Result<(), TrainError> {
        let reference = match options.divergence {
            true => {
                let frozen = self.decoder(batch, false, [0; 3])?;
                let hidden = self.inputs(&frozen)?;
                Some(log_softmax(&frozen.logits(&hidden[frozen.layers()])?, 1)?.detach())
            }
            false => None,
        };
        let decoder = self.decoder(batch, true, options.dropout)?;
        if !options.checkpointing {
            let mut hidden = decoder.embed()?;
            for index in 0..decoder.layers() {
                self.pace.rest();
                hidden = decoder.layer(index, &hidden)?;
            }
            let outputs = Outputs::new(&decoder, &hidden, reference.as_ref())?;
            let slopes = loss(&outputs.predictions()?)?;
            return self.collect(&outputs.surrogate(&slopes)?.backward()?, parameters);
        }
        // Layer by layer: each is computed again from its input, with a graph of its own.
        let inputs = self.inputs(&decoder)?;
        let last = Var::from_tensor(&inputs[decoder.layers()])?;
        let outputs = Outputs::new(&decoder, &last, reference.as_ref())?;
        let slopes = loss(&outputs.predictions()?)?;
        let grads = outputs.surrogate(&slopes)?.backward()?;
        self.collect(&grads, parameters)?;
        let lost = || TrainError::Internal("a layer's input has no gradient".to_owned());
        let mut slope = grads.get(&last).ok_or_else(lost)?.clone();
        for index in (0..decoder.layers()).rev() {
            self.pace.rest();
            let input = Var::from_tensor(&inputs[index])?;
            let output = decoder.layer(index, &input)?;
            let grads = (output * &slope)?.sum_all()?.backward()?;
            self.collect(&grads, parameters)?;
            slope = grads.get(&input).ok_or_else(lost)?.clone();
        }
        if self.layout.embedding.is_some() {
            let grads = (decoder.embed()? * &slope)?.sum_all()?.backward()?;
            self.collect(&grads, parameters)?;
        }
        Ok(())
    }

    fn update(&mut self, parameters: &Parameters) -> Result<(), TrainError> {
        let tensor = |index: usize| {
            let parameter = &parameters.0[index];
            Tensor::from_slice(&parameter.values, parameter.shape.as_slice(), &self.device)
        };
        if self.variables.is_empty() {
            self.variables =
                (0..parameters.0.len()).map(|index| Var::from_tensor(&tensor(index)?)).collect::<Result<_, _>>()?;
        } else {
            for (index, variable) in self.variables.iter().enumerate() {
                variable.set(&tensor(index)?)?;
            }
        }
        Ok(())
    }
}
