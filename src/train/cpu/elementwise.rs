//! What happens to rows between the products, and its way back.

use rayon::prelude::*;

use crate::engine::local::cpu::kernel::vectorised;
use crate::engine::local::cpu::math::{exp, rms_norm};

/// Rows that a task takes at least.
const ROWS: usize = 16;

/// Root-mean-square norms of rows of `weight`'s length.
pub(super) fn norms(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(weight.len())
        .with_min_len(ROWS)
        .zip(x.par_chunks(weight.len()))
        .for_each(|(out, x)| rms_norm(x, weight, eps, out));
    out
}

/// Adds the gradient of [`norms`]' input to `dx`, and the weight's to `dweight`.
pub(super) fn norms_back(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dweight: Option<&mut [f32]>) {
    let size = weight.len();
    dx.par_chunks_mut(size)
        .with_min_len(ROWS)
        .zip(x.par_chunks(size).zip(dy.par_chunks(size)))
        .for_each(|(dx, (x, dy))| norm_back(x, weight, eps, dy, dx));
    if let Some(dweight) = dweight {
        let mut scaled = vec![0f32; size];
        for (x, dy) in x.chunks_exact(size).zip(dy.chunks_exact(size)) {
            rms_norm(x, dy, eps, &mut scaled);
            dweight.iter_mut().zip(&scaled).for_each(|(sum, value)| *sum += value);
        }
    }
}

vectorised! {
    fn norm_back(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
        let mut lanes = [[0f32; 16]; 2];
        let n = x.len();
        let whole = n / 16 * 16;
        for ((x, w), d) in x[..whole].chunks_exact(16).zip(weight[..whole].chunks_exact(16)).zip(dy[..whole].chunks_exact(16)) {
            for i in 0..16 {
                lanes[0][i] += x[i] * x[i];
                lanes[1][i] += x[i] * w[i] * d[i];
            }
        }
        let mut sums = [lanes[0].iter().sum::<f32>(), lanes[1].iter().sum::<f32>()];
        for i in whole..n {
            sums[0] += x[i] * x[i];
            sums[1] += x[i] * weight[i] * dy[i];
        }
        let scale = 1.0 / (sums[0] / n as f32 + eps).sqrt();
        let along = sums[1] / n as f32 * scale * scale * scale;
        for (((dx, x), w), d) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
            *dx += d * w * scale - x * along;
        }
    }
}

vectorised! {
    /// `out = silu(gate) * up`.
    pub(super) fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
            *out = g / (1.0 + exp(-*g)) * u;
        }
    }
}

vectorised! {
    /// Turns the gradient of [`gated`]'s output into those of its inputs: `gate` and `up` are replaced by them.
    pub(super) fn gated_back(dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
        for ((d, g), u) in dout.iter().zip(gate).zip(up) {
            let sigmoid = 1.0 / (1.0 + exp(-*g));
            let silu = *g * sigmoid;
            let slope = sigmoid * (1.0 + *g * (1.0 - sigmoid));
            (*g, *u) = (d * *u * slope, d * silu);
        }
    }
}

/// Which inputs dropout leaves out: a function of its key and of the place alone, so that the way back and a resumed run
/// find the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::train) struct Dropout {
    pub(in crate::train) key: u32,
    /// From 0 to below 1.
    pub(in crate::train) chance: f32,
}

impl Dropout {
    /// Rows of `width` with what is left out set to zero and the rest scaled up.
    pub(in crate::train) fn apply(self, x: &[f32], width: usize) -> Vec<f32> {
        let mut out = x.to_vec();
        self.mask(&mut out, width);
        out
    }

    pub(in crate::train) fn mask(self, x: &mut [f32], width: usize) {
        let (threshold, scale) = ((f64::from(self.chance) * 4_294_967_296.0) as u32, 1.0 / (1.0 - self.chance));
        x.par_chunks_mut(width)
            .with_min_len(ROWS)
            .enumerate()
            .for_each(|(row, x)| drop_out(x, self.key, (row * width) as u32, threshold, scale));
    }
}

vectorised! {
    fn drop_out(x: &mut [f32], key: u32, first: u32, threshold: u32, scale: f32) {
        for (i, x) in x.iter_mut().enumerate() {
            // murmur3's last steps, on a counter.
            let mut h = key ^ first.wrapping_add(i as u32).wrapping_mul(0x9e37_79b9);
            h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
            h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
            h ^= h >> 16;
            *x = if h < threshold { 0.0 } else { *x * scale };
        }
    }
}

vectorised! {
    /// `to += from`.
    pub(super) fn add(to: &mut [f32], from: &[f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}

vectorised! {
    /// `to += factor * from`.
    pub(super) fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += factor * from;
        }
    }
}

vectorised! {
    /// Replaces scores by `softmax(scale * scores)`.
    pub(super) fn softmax(scores: &mut [f32], scale: f32) {
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in scores.chunks(16) {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = lane.max(*x);
            }
        }
        let max = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0f32; 16];
        for chunk in scores.chunks_mut(16) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *x = exp((*x - max) * scale);
                *sum += *x;
            }
        }
        let inverse = 1.0 / sums.iter().sum::<f32>();
        scores.iter_mut().for_each(|x| *x *= inverse);
    }
}

vectorised! {
    /// The softmax's way back: `slopes` by the probabilities become slopes by the scores before scaling.
    pub(super) fn softmax_back(probabilities: &[f32], slopes: &mut [f32], scale: f32) {
        let mut sums = [0f32; 16];
        for (p, s) in probabilities.chunks(16).zip(slopes.chunks(16)) {
            for ((sum, p), s) in sums.iter_mut().zip(p).zip(s) {
                *sum += p * s;
            }
        }
        let mean = sums.iter().sum::<f32>();
        for (s, p) in slopes.iter_mut().zip(probabilities) {
            *s = (*s - mean) * p * scale;
        }
    }
}
