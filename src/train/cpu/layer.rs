//! One decoder block, forward with what the way back needs, and back.

use super::attention::{Heads, InputGradients, Inputs, attend, attend_back};
use super::elementwise::{add, gated, gated_back, norms, norms_back};
use super::site::{Made, Passed, Rows, Site, forward};
use crate::engine::EngineError;
use crate::engine::local::checkpoint::ModelConfig;
use crate::engine::local::cpu::decoder::Layer;
use crate::engine::local::cpu::math::rotate;
use crate::engine::local::projection::Projection;
use crate::train::Pace;
use crate::train::batch::Family;
use crate::train::layout::{LayerLayout, Trained};
use crate::train::parameters::Parameters;
use rayon::prelude::*;

/// A block in training.
pub(super) struct Block<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) weights: &'a Layer,
    /// `None` computes the base alone.
    pub(super) layout: Option<&'a LayerLayout>,
    pub(super) families: &'a [Family],
    /// Cosines and sines by row, `[rows, head_dim / 2]`.
    pub(super) rotation: &'a [Vec<f32>; 2],
    /// What dropout is drawn from in this block.
    pub(super) key: u32,
    /// Asked before every product, so that a request never waits for more than one.
    pub(super) pace: &'a dyn Pace,
}

/// What a block computed on its way.
pub(super) struct Saved {
    /// Before the head norms and the rotation, where there are head norms.
    raw: Option<[Vec<f32>; 2]>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    /// The residual stream between attention and the gated unit.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What each projection's adapter made of its input, in the order of [`Projection::ALL`].
    low: [Vec<f32>; 7],
}

impl Block<'_> {
    fn site(&self, projection: Projection) -> Site<'_> {
        let weights = self.weights.projections.get(projection);
        Site {
            weight: &weights.matrix,
            bias: weights.bias.as_deref(),
            trained: self.layout.map_or(Trained::Nothing, |layout| *layout.projections.get(projection)),
            key: super::mixed(self.key, projection as u32),
        }
    }

    fn eps(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    /// Rotates each head to its row's position, or back.
    fn turn(&self, values: &mut [f32], heads: usize, back: bool) {
        let dim = self.config.head_dim;
        let [cos, sin] = self.rotation;
        let half = dim / 2;
        values.par_chunks_mut(heads * dim).enumerate().for_each_init(
            || vec![0f32; half],
            |negative, (row, values)| {
                let angles = row * half..(row + 1) * half;
                let mut sin = &sin[angles.clone()];
                if back {
                    negative.iter_mut().zip(sin).for_each(|(out, sin)| *out = -sin);
                    sin = negative;
                }
                for head in values.chunks_exact_mut(dim) {
                    rotate(head, &cos[angles.clone()], sin);
                }
            },
        );
    }

    /// The residual stream after the block, and what the way back needs.
    pub(super) fn forward(&self, input: &[f32], parameters: &Parameters) -> Result<(Vec<f32>, Saved), EngineError> {
        let config = self.config;
        let size = config.hidden_size;
        let x = norms(input, &self.weights.attention_norm, self.eps());
        self.pace.rest();
        let sites = [Projection::Query, Projection::Key, Projection::Value].map(|p| self.site(p));
        let mut outs = forward(&sites, &Rows::new(&x, size), parameters)?.into_iter();
        let [q_made, k_made, v_made]: [Made; 3] = std::array::from_fn(|_| outs.next().unwrap_or_default());
        let ([mut q, mut k, v], low_qkv) = ([q_made.y, k_made.y, v_made.y], [q_made.low, k_made.low, v_made.low]);
        let mut raw = None;
        if let Some([q_norm, k_norm]) = &self.weights.head_norms {
            let normed = [norms(&q, q_norm, self.eps()), norms(&k, k_norm, self.eps())];
            raw = Some([q, k]);
            [q, k] = normed;
        }
        self.turn(&mut q, config.num_heads, false);
        self.turn(&mut k, config.num_kv_heads, false);
        self.pace.rest();
        let attended = attend(Heads::new(config), self.families, Inputs { q: &q, k: &k, v: &v });
        let width = config.num_heads * config.head_dim;
        self.pace.rest();
        let mut outs = forward(&[self.site(Projection::Output)], &Rows::new(&attended, width), parameters)?;
        let Made { y: mut middle, low: low_output } = outs.pop().unwrap_or_default();
        add(&mut middle, input);
        let x = norms(&middle, &self.weights.mlp_norm, self.eps());
        self.pace.rest();
        let sites = [self.site(Projection::Gate), self.site(Projection::Up)];
        let mut outs = forward(&sites, &Rows::new(&x, size), parameters)?;
        let Made { y: up, low: low_up } = outs.pop().unwrap_or_default();
        let Made { y: gate, low: low_gate } = outs.pop().unwrap_or_default();
        let wide = self.wide(&gate, &up);
        self.pace.rest();
        let rows = Rows::new(&wide, config.intermediate_size);
        let mut outs = forward(&[self.site(Projection::Down)], &rows, parameters)?;
        let Made { y: mut out, low: low_down } = outs.pop().unwrap_or_default();
        add(&mut out, &middle);
        let [low_q, low_k, low_v] = low_qkv;
        let low = [low_q, low_k, low_v, low_output, low_gate, low_up, low_down];
        Ok((out, Saved { raw, q, k, v, attended, middle, gate, up, low }))
    }

    fn wide(&self, gate: &[f32], up: &[f32]) -> Vec<f32> {
        let width = self.config.intermediate_size;
        let mut wide = vec![0f32; gate.len()];
        wide.par_chunks_mut(width)
            .zip(gate.par_chunks(width).zip(up.par_chunks(width)))
            .for_each(|(out, (gate, up))| gated(gate, up, out));
        wide
    }

    /// Whether anything of the block before its gated unit is trained.
    fn attention_learns(&self) -> bool {
        let sites = [Projection::Query, Projection::Key, Projection::Value, Projection::Output];
        sites.into_iter().any(|projection| self.site(projection).learns())
            || self.layout.is_some_and(|layout| layout.attention_norm.is_some())
    }

    /// Whether anything of the block is trained.
    pub(super) fn learns(&self) -> bool {
        let sites = [Projection::Gate, Projection::Up, Projection::Down];
        self.attention_learns() || sites.into_iter().any(|projection| self.site(projection).learns())
    }

    /// Adds the gradients of what is trained. Turns the gradient of the block's output into that of its input, or, where
    /// nothing that is trained comes `before` it, leaves that half done.
    pub(super) fn back(
        &self,
        input: &[f32],
        saved: Saved,
        dout: &mut [f32],
        before: bool,
        parameters: &mut Parameters,
    ) -> Result<(), EngineError> {
        let Saved { raw, q, k, v, attended, middle, mut gate, mut up, low } = saved;
        let config = self.config;
        // The gated unit.
        let wide = self.wide(&gate, &up);
        let mut dwide = vec![0f32; wide.len()];
        self.site(Projection::Down).back(passed(&wide, &low, Projection::Down), dout, Some(&mut dwide), parameters)?;
        drop(wide);
        let width = config.intermediate_size;
        (dwide.par_chunks(width), gate.par_chunks_mut(width), up.par_chunks_mut(width))
            .into_par_iter()
            .for_each(|(d, gate, up)| gated_back(d, gate, up));
        drop(dwide);
        let x = norms(&middle, &self.weights.mlp_norm, self.eps());
        let mut dx = vec![0f32; x.len()];
        self.pace.rest();
        let goes_on = before || self.attention_learns();
        self.site(Projection::Gate).back(
            passed(&x, &low, Projection::Gate),
            &gate,
            goes_on.then_some(&mut dx),
            parameters,
        )?;
        self.pace.rest();
        self.site(Projection::Up).back(
            passed(&x, &low, Projection::Up),
            &up,
            goes_on.then_some(&mut dx),
            parameters,
        )?;
        if !goes_on {
            return Ok(());
        }
        let norm = self.layout.and_then(|layout| layout.mlp_norm);
        let norm = norm.map(|index| parameters.0[index].gradient.as_mut_slice());
        norms_back(&middle, &self.weights.mlp_norm, self.eps(), &dx, dout, norm);
        // Attention.
        let mut dattended = vec![0f32; attended.len()];
        self.pace.rest();
        let output = passed(&attended, &low, Projection::Output);
        self.site(Projection::Output).back(output, dout, Some(&mut dattended), parameters)?;
        self.pace.rest();
        let inputs = Inputs { q: &q, k: &k, v: &v };
        let InputGradients { q: mut dq, k: mut dk, v: dv } =
            attend_back(Heads::new(config), self.families, inputs, &dattended);
        self.turn(&mut dq, config.num_heads, true);
        self.turn(&mut dk, config.num_kv_heads, true);
        if let (Some(raw), Some(weights)) = (raw, &self.weights.head_norms) {
            let trained = self.layout.and_then(|layout| layout.head_norms);
            for (index, (raw, d)) in raw.iter().zip([&mut dq, &mut dk]).enumerate() {
                let norm = trained.map(|trained| parameters.0[trained[index]].gradient.as_mut_slice());
                let mut draw = vec![0f32; d.len()];
                norms_back(raw, &weights[index], self.eps(), d, &mut draw, norm);
                *d = draw;
            }
        }
        let x = norms(input, &self.weights.attention_norm, self.eps());
        dx.fill(0.0);
        for (projection, dy) in [(Projection::Query, &dq), (Projection::Key, &dk), (Projection::Value, &dv)] {
            self.pace.rest();
            self.site(projection).back(passed(&x, &low, projection), dy, before.then_some(&mut dx), parameters)?;
        }
        if !before {
            return Ok(());
        }
        let norm = self.layout.and_then(|layout| layout.attention_norm);
        let norm = norm.map(|index| parameters.0[index].gradient.as_mut_slice());
        norms_back(input, &self.weights.attention_norm, self.eps(), &dx, dout, norm);
        Ok(())
    }
}

/// What a projection was given, with its part of what the adapters made.
fn passed<'a>(x: &'a [f32], low: &'a [Vec<f32>; 7], projection: Projection) -> Passed<'a> {
    Passed { x, low: &low[projection as usize] }
}
