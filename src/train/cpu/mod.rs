//! Training on the CPU: the forward pass and its way back, written out over the engine's tiles.
//!
//! Why not candle's automatic differentiation here: its products compute a gradient for frozen weights too, every sum of
//! gradients is a copy of a whole tensor, and its elementwise operations use one thread. Written out, a frozen weight costs
//! one product each way, what a norm or a gate computed is computed again instead of kept, and a step's bits do not depend
//! on the number of threads. The candle learner (`super::tensor`) is the slow twin that this one is tested against.

mod attention;
mod elementwise;
mod head;
mod layer;
mod product;
mod site;

use std::sync::Arc;

use rayon::prelude::*;

pub(super) use self::elementwise::Dropout;
use self::elementwise::{norms, norms_back};
use self::head::Head;
use self::layer::{Block, Saved};
use self::site::Site;
use super::batch::Batch;
use super::layout::{Layout, Trained};
use super::learner::{Learner, PassOptions, Predictions};
use super::loss::Slopes;
use super::parameters::Parameters;
use super::{Pace, TrainError};
use crate::engine::EngineError;
use crate::engine::local::checkpoint::{StoredKind, StoredTensor};
use crate::engine::local::cpu::decoder::{CpuModel, Layer, Weights};
use crate::engine::local::cpu::matrix::{Matrix, Packed, Precision, read_rows};
use crate::engine::local::projection::{Projection, ProjectionMap};

/// A model that learns on the CPU.
pub(super) struct CpuLearner {
    base: Arc<CpuModel>,
    layout: Layout,
    /// The model as trained so far, where all of it is.
    trained: Option<CpuModel>,
    pace: Arc<dyn Pace>,
}

impl CpuLearner {
    pub(super) fn new(base: Arc<CpuModel>, layout: Layout, pace: Arc<dyn Pace>) -> Self {
        Self { base, layout, trained: None, pace }
    }

    fn policy(&self) -> &CpuModel {
        self.trained.as_ref().unwrap_or(&self.base)
    }
}

/// A pass over one model's layers.
struct Run<'a> {
    model: &'a CpuModel,
    /// `None` computes the base alone.
    layout: Option<&'a Layout>,
    batch: &'a Batch,
    rotation: [Vec<f32>; 2],
    key: u32,
    pace: &'a dyn Pace,
}

impl<'a> Run<'a> {
    fn new(model: &'a CpuModel, layout: Option<&'a Layout>, batch: &'a Batch, key: u32, pace: &'a dyn Pace) -> Self {
        let angles = |f: fn(f32) -> f32| {
            let turned =
                |position: usize| model.frequencies.iter().map(move |&frequency| f(position as f32 * frequency));
            batch.positions.iter().copied().flat_map(turned).collect()
        };
        let rotation = [angles(f32::cos), angles(f32::sin)];
        Self { model, layout, batch, rotation, key, pace }
    }

    fn block(&self, index: usize) -> Block<'_> {
        Block {
            config: &self.model.config,
            weights: &self.model.layers[index],
            layout: self.layout.map(|layout| &layout.layers[index]),
            families: &self.batch.families,
            rotation: &self.rotation,
            key: mixed(self.key, index as u32),
            pace: self.pace,
        }
    }

    fn head_site(&self) -> Site<'_> {
        Site {
            weight: &self.model.head,
            bias: None,
            trained: self.layout.map_or(Trained::Nothing, |layout| layout.head),
            key: mixed(self.key, u32::MAX),
        }
    }

    /// The head over the normed rows of the targets; `reference` are those of the reference and its head.
    fn head<'b>(&'b self, hidden: &'b [f32], reference: Option<(Site<'b>, &'b [f32])>) -> Head<'b> {
        Head { site: self.head_site(), hidden, targets: &self.batch.targets, reference, pace: self.pace }
    }

    fn embed(&self) -> Result<Vec<f32>, EngineError> {
        let model = self.model;
        let size = model.config.hidden_size;
        let mut hidden = vec![0f32; self.batch.len() * size];
        hidden.par_chunks_mut(size).zip(&self.batch.tokens).try_for_each(|(row, &token)| {
            read_rows(&model.embedding, token as usize, 1, row)?;
            model.precision.round(row);
            Ok::<_, EngineError>(())
        })?;
        Ok(hidden)
    }

    /// Every layer, each input and what it computed given to `keep`; the last residual stream.
    fn layers(&self, parameters: &Parameters, mut keep: impl FnMut(Vec<f32>, Saved)) -> Result<Vec<f32>, EngineError> {
        let mut hidden = self.embed()?;
        for index in 0..self.model.layers.len() {
            self.pace.rest();
            let (next, saved) = self.block(index).forward(&hidden, parameters)?;
            keep(std::mem::replace(&mut hidden, next), saved);
        }
        Ok(hidden)
    }

    /// The rows of the batch's targets, one a target.
    fn at_targets(&self, hidden: &[f32]) -> Vec<f32> {
        let size = self.model.config.hidden_size;
        let mut rows = Vec::with_capacity(self.batch.targets.len() * size);
        for target in &self.batch.targets {
            rows.extend_from_slice(&hidden[target.row * size..(target.row + 1) * size]);
        }
        rows
    }

    fn final_norms(&self, rows: &[f32]) -> Vec<f32> {
        norms(rows, &self.model.norm, self.model.config.rms_norm_eps as f32)
    }
}

impl Learner for CpuLearner {
    fn reference(&mut self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        let run = Run::new(&self.base, None, batch, 0, &*self.pace);
        let nothing = Parameters::default();
        let hidden = run.layers(&nothing, |_, _| {})?;
        let rows = run.final_norms(&run.at_targets(&hidden));
        Ok(run.head(&rows, None).predict(&nothing)?.logprobs)
    }

    fn pass(
        &mut self,
        parameters: &mut Parameters,
        batch: &Batch,
        options: PassOptions,
        loss: &mut dyn FnMut(&Predictions) -> Result<Slopes, TrainError>,
    ) -> Result<(), TrainError> {
        let key = options.dropout.iter().fold(0, |key, &part| mixed(mixed(key, part as u32), (part >> 32) as u32));
        let run = Run::new(self.policy(), Some(&self.layout), batch, key, &*self.pace);
        let size = run.model.config.hidden_size;
        let mut kept: Vec<(Vec<f32>, Option<Saved>)> = Vec::with_capacity(run.model.layers.len());
        let hidden = run.layers(parameters, |input, saved| {
            kept.push((input, (!options.checkpointing).then_some(saved)));
        })?;
        let rows = run.at_targets(&hidden);
        drop(hidden);
        let normed = run.final_norms(&rows);
        let frozen = Run::new(&self.base, None, batch, 0, &*self.pace);
        let reference = match options.divergence {
            true => {
                let hidden = frozen.layers(&Parameters::default(), |_, _| {})?;
                Some(frozen.final_norms(&frozen.at_targets(&hidden)))
            }
            false => None,
        };
        let head = run.head(&normed, reference.as_deref().map(|rows| (frozen.head_site(), rows)));
        let (predictions, predicted) = head.predict_for_back(parameters)?;
        let slopes = loss(&predictions)?;

        let dnormed = head.back(predicted, &slopes, parameters)?;
        let mut drows = vec![0f32; rows.len()];
        let norm = self.layout.norm.map(|index| parameters.0[index].gradient.as_mut_slice());
        norms_back(&rows, &run.model.norm, run.model.config.rms_norm_eps as f32, &dnormed, &mut drows, norm);
        let mut dhidden = vec![0f32; batch.len() * size];
        for (target, drow) in batch.targets.iter().zip(drows.chunks_exact(size)) {
            elementwise::add(&mut dhidden[target.row * size..(target.row + 1) * size], drow);
        }
        // Nothing below the lowest block that learns wants a gradient, but for the embedding.
        let embedded = self.layout.embedding.is_some();
        let lowest = (0..kept.len()).find(|&index| run.block(index).learns()).unwrap_or(kept.len());
        for index in (lowest..kept.len()).rev() {
            self.pace.rest();
            let Some((input, saved)) = kept.pop() else { break };
            let block = run.block(index);
            let saved = match saved {
                Some(saved) => saved,
                None => block.forward(&input, parameters)?.1,
            };
            block.back(&input, saved, &mut dhidden, embedded || index > lowest, parameters)?;
        }
        if let Some(index) = self.layout.embedding {
            let gradient = &mut parameters.0[index].gradient;
            for (&token, row) in batch.tokens.iter().zip(dhidden.chunks_exact(size)) {
                let at = token as usize * size;
                elementwise::add(&mut gradient[at..at + size], row);
            }
        }
        Ok(())
    }

    fn update(&mut self, parameters: &Parameters) -> Result<(), TrainError> {
        if self.layout.embedding.is_some() {
            self.trained = Some(laid_out(&self.base, &self.layout, parameters)?);
        }
        Ok(())
    }
}

/// A model's parameters in the CPU's layout.
fn laid_out(base: &CpuModel, layout: &Layout, parameters: &Parameters) -> Result<CpuModel, TrainError> {
    let missing = || TrainError::Internal("a tensor is not among the trained ones".to_owned());
    let values = |index: Option<usize>| Ok::<_, TrainError>(parameters.0[index.ok_or_else(missing)?].values.clone());
    let matrix = |index: usize| {
        let parameter = &parameters.0[index];
        Matrix::Packed(Packed::from_rows(&parameter.values, parameter.shape[0], parameter.shape[1]))
    };
    let layers = layout
        .layers
        .iter()
        .map(|layer| {
            Ok(Layer {
                attention_norm: values(layer.attention_norm)?,
                mlp_norm: values(layer.mlp_norm)?,
                head_norms: match layer.head_norms {
                    Some([q, k]) => Some([values(Some(q))?, values(Some(k))?]),
                    None => None,
                },
                projections: ProjectionMap::try_from_fn(|projection: Projection| {
                    match *layer.projections.get(projection) {
                        Trained::Full { weight, bias } => Ok(Weights {
                            matrix: matrix(weight),
                            bias: bias.map(|bias| values(Some(bias))).transpose()?,
                        }),
                        Trained::Nothing | Trained::Lora(_) => Err(missing()),
                    }
                })?,
            })
        })
        .collect::<Result<_, TrainError>>()?;
    let embedding = &parameters.0[layout.embedding.ok_or_else(missing)?];
    let bytes = embedding.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let Trained::Full { weight: head, bias: _ } = layout.head else { return Err(missing()) };
    Ok(CpuModel {
        config: base.config.clone(),
        embedding: StoredTensor::owned(StoredKind::F32, embedding.shape.clone(), bytes),
        precision: Precision::F32,
        layers,
        norm: values(layout.norm)?,
        head: matrix(head),
        frequencies: base.frequencies.clone(),
    })
}

/// A key for a part of what `key` stands for.
pub(super) fn mixed(key: u32, part: u32) -> u32 {
    let mut h = key.rotate_left(13) ^ part.wrapping_mul(0x9e37_79b9);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}
