//! One linear layer in training: frozen, with an adapter, or trained itself.

use super::elementwise::Dropout;
use super::product::{Dense, View, against, left, outer, outer_turned, product};
use crate::engine::EngineError;
use crate::engine::local::cpu::linear::{Linear, Output, linear};
use crate::engine::local::cpu::matrix::{Block, Matrix, RowBlocks};
use crate::train::layout::{Lora, Trained};
use crate::train::parameters::Parameters;

/// A linear layer and what is trained of it.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) weight: &'a Matrix,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) trained: Trained,
    /// What the site's dropout is drawn from.
    pub(super) key: u32,
}

/// Rows that go into products: as they are, and packed.
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    packed: RowBlocks,
    blocks: Vec<Block>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(values: &'a [f32], width: usize) -> Self {
        let (packed, blocks) = left(View::rows(values, width), values.len() / width, width);
        Self { values, packed, blocks }
    }

    fn len(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.row + block.rows)
    }
}

/// What a layer was given, and kept of it.
#[derive(Clone, Copy)]
pub(super) struct Passed<'a> {
    pub(super) x: &'a [f32],
    /// [`Made::low`]
    pub(super) low: &'a [f32],
}

impl Site<'_> {
    /// Whether anything of the layer is trained.
    pub(super) fn learns(&self) -> bool {
        self.trained != Trained::Nothing
    }

    fn dropout(&self, lora: Lora) -> Option<Dropout> {
        (lora.dropout > 0.0).then_some(Dropout { key: self.key, chance: lora.dropout })
    }

    /// `scale * drop(x) A^T`, `[rows, rank]`.
    fn low(&self, lora: Lora, x: &Rows<'_>, parameters: &Parameters) -> Vec<f32> {
        let (inputs, rank) = (self.weight.inputs(), lora.rank);
        let a = &parameters.0[lora.a].values;
        let mut low = vec![0f32; x.len() * rank];
        let right = Dense { view: View::columns(a, inputs), depth: inputs, columns: rank };
        let out = Output { values: &mut low, stride: rank, add: false };
        match self.dropout(lora) {
            None => product(&x.packed, &x.blocks, &right, out),
            Some(dropout) => {
                let dropped = dropout.apply(x.values, inputs);
                let rows = Rows::new(&dropped, inputs);
                product(&rows.packed, &rows.blocks, &right, out);
            }
        }
        low.iter_mut().for_each(|value| *value *= lora.scale);
        low
    }

    /// Adds the gradient of a frozen layer's input to `dx`.
    pub(super) fn input_gradient(&self, dy: &[f32], dx: &mut [f32]) -> Result<(), EngineError> {
        let dy = Rows::new(dy, self.weight.outputs());
        against(&dy.packed, &dy.blocks, self.weight, dx)
    }

    /// Adds the gradients of what is trained, and that of the input to `dx` if it is wanted.
    pub(super) fn back(
        &self,
        Passed { x, low }: Passed<'_>,
        dy: &[f32],
        mut dx: Option<&mut [f32]>,
        parameters: &mut Parameters,
    ) -> Result<(), EngineError> {
        let (inputs, outputs) = (self.weight.inputs(), self.weight.outputs());
        let packed_dy = Rows::new(dy, outputs);
        if let Some(dx) = dx.as_deref_mut() {
            against(&packed_dy.packed, &packed_dy.blocks, self.weight, dx)?;
        }
        match self.trained {
            Trained::Nothing => {}
            Trained::Full { weight, bias } => {
                outer(dy, outputs, x, inputs, &mut parameters.0[weight].gradient);
                if let Some(bias) = bias {
                    let sums = &mut parameters.0[bias].gradient;
                    for row in dy.chunks_exact(outputs) {
                        super::elementwise::add(sums, row);
                    }
                }
            }
            Trained::Lora(lora) => self.lora_back(lora, Passed { x, low }, (dy, &packed_dy), dx, parameters),
        }
        Ok(())
    }

    fn lora_back(
        &self,
        lora: Lora,
        Passed { x, low }: Passed<'_>,
        (dy, packed_dy): (&[f32], &Rows<'_>),
        dx: Option<&mut [f32]>,
        parameters: &mut Parameters,
    ) {
        let (inputs, outputs, rank) = (self.weight.inputs(), self.weight.outputs(), lora.rank);
        let dropout = self.dropout(lora);
        outer_turned(low, rank, dy, outputs, &mut parameters.0[lora.b].gradient);
        let mut dlow = vec![0f32; packed_dy.len() * rank];
        let b = &parameters.0[lora.b].values;
        let right = Dense { view: View::rows(b, rank), depth: outputs, columns: rank };
        let out = Output { values: &mut dlow, stride: rank, add: false };
        product(&packed_dy.packed, &packed_dy.blocks, &right, out);
        dlow.iter_mut().for_each(|value| *value *= lora.scale);
        let dropped = dropout.map(|dropout| dropout.apply(x, inputs));
        outer(&dlow, rank, dropped.as_deref().unwrap_or(x), inputs, &mut parameters.0[lora.a].gradient);
        let Some(dx) = dx else { return };
        let rows = Rows::new(&dlow, rank);
        let right = Dense { view: View::rows(&parameters.0[lora.a].values, inputs), depth: rank, columns: inputs };
        match dropout {
            None => product(&rows.packed, &rows.blocks, &right, Output { values: dx, stride: inputs, add: true }),
            Some(dropout) => {
                let mut part = vec![0f32; dx.len()];
                product(&rows.packed, &rows.blocks, &right, Output { values: &mut part, stride: inputs, add: false });
                dropout.mask(&mut part, inputs);
                super::elementwise::add(dx, &part);
            }
        }
    }
}

/// What a layer made of its input.
#[derive(Default)]
pub(super) struct Made {
    /// `[rows, outputs]`
    pub(super) y: Vec<f32>,
    /// `scale * drop(x) A^T`, which the way back needs; empty without an adapter.
    pub(super) low: Vec<f32>,
}

/// `x W^T + b`, with the adapters' parts, for several layers of one input.
pub(super) fn forward(sites: &[Site<'_>], x: &Rows<'_>, parameters: &Parameters) -> Result<Vec<Made>, EngineError> {
    let mut outs: Vec<Vec<f32>> = sites.iter().map(|site| vec![0f32; x.len() * site.weight.outputs()]).collect();
    let layers = sites
        .iter()
        .zip(&mut outs)
        .map(|(site, out)| {
            let layer = Linear { weight: site.weight, bias: site.bias, low_rank: vec![None] };
            (layer, Output { values: out, stride: site.weight.outputs(), add: false })
        })
        .collect();
    linear(&x.packed, &x.blocks, layers)?;
    let with_adapter = |(site, mut y): (&Site<'_>, Vec<f32>)| {
        let Trained::Lora(lora) = site.trained else { return Made { y, low: Vec::new() } };
        let low = site.low(lora, x, parameters);
        let (rank, outputs) = (lora.rank, site.weight.outputs());
        let rows = Rows::new(&low, rank);
        let b = &parameters.0[lora.b].values;
        let right = Dense { view: View::columns(b, rank), depth: rank, columns: outputs };
        product(&rows.packed, &rows.blocks, &right, Output { values: &mut y, stride: outputs, add: true });
        Made { y, low }
    };
    Ok(sites.iter().zip(outs).map(with_adapter).collect())
}
