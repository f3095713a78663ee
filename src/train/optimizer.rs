//! AdamW with decoupled weight decay, and clipping by norm, in PyTorch's order of operations.

use rayon::prelude::*;

use super::parameters::Parameters;
use super::plan::Arguments;

/// Elements that a task updates.
const CHUNK: usize = 1 << 14;

/// The optimizer's state: two moments a parameter, in the parameters' order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdamW {
    pub(super) first: Vec<Vec<f32>>,
    pub(super) second: Vec<Vec<f32>>,
    /// Steps taken.
    pub(super) steps: u64,
}

impl AdamW {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let zeros: Vec<Vec<f32>> = parameters.0.iter().map(|p| vec![0.0; p.values.len()]).collect();
        Self { first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// One step against the gradients. Whether all parameters are finite numbers after it.
    #[must_use]
    pub(super) fn step(&mut self, parameters: &mut Parameters, arguments: &Arguments, learning_rate: f64) -> bool {
        self.steps += 1;
        let (beta1, beta2) = (arguments.adam_beta1, arguments.adam_beta2);
        let t = self.steps as f64;
        let first_correction = 1.0 - beta1.powf(t);
        let second_correction = (1.0 - beta2.powf(t)).sqrt() as f32;
        let step_size = (learning_rate / first_correction) as f32;
        let epsilon = arguments.adam_epsilon as f32;
        let (b1, b2) = (beta1 as f32, beta2 as f32);
        let (c1, c2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
        let mut finite = true;
        for ((parameter, first), second) in parameters.0.iter_mut().zip(&mut self.first).zip(&mut self.second) {
            // As transformers has it, biases and norms do not decay.
            let decay = if parameter.shape.len() > 1 { arguments.weight_decay } else { 0.0 };
            let keep = (1.0 - learning_rate * decay) as f32;
            let chunks = parameter.values.par_chunks_mut(CHUNK).zip(parameter.gradient.par_chunks(CHUNK));
            let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
            let update = chunks.zip(moments).map(|((values, gradients), (first, second))| {
                let mut finite = true;
                for (((value, &g), m), v) in values.iter_mut().zip(gradients).zip(first).zip(second) {
                    *value *= keep;
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    *value -= step_size * *m / (v.sqrt() / second_correction + epsilon);
                    finite &= value.is_finite();
                }
                finite
            });
            finite &= update.reduce(|| true, |a, b| a && b);
        }
        finite
    }
}

/// Scales gradients down to a norm of at most `max`, as torch's `clip_grad_norm_` does.
pub(super) fn clip(parameters: &mut Parameters, norm: f64, max: f64) {
    let factor = (max / (norm + 1e-6)) as f32;
    if max > 0.0 && factor < 1.0 {
        for parameter in &mut parameters.0 {
            parameter.gradient.par_iter_mut().for_each(|gradient| *gradient *= factor);
        }
    }
}
