//! Elementwise functions, written so that the compiler makes wide vector code of them.

use super::kernel::vectorised;

/// `e^x` in f32, within 2 units in the last place; 0 below -87.3, capped above 88.3, NaN of NaN.
///
/// Range reduction by `ln 2` in two parts and a polynomial of degree 6, as in Cephes. Attention and the LM head take one
/// of a score or a logit, so its fused operations count: processors without them (before 2013) call a function for each.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.3, 88.3);
    // Adding 1.5 * 2^23 rounds to the nearest integer, and leaves that integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, clamped));
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 5.000_000_3e-1);
    let y = p.mul_add(r * r, r) + 1.0;
    // `y` is about 1 and `n` in -126..=127, so the product with 2^n is a sum of exponents.
    let scaled = f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23));
    match x {
        x if x < -87.3 => 0.0,
        x if x.is_nan() => x,
        _ => scaled,
    }
}

vectorised! {
    /// Root-mean-square norm of a row times `weight`, as transformers computes it in f32.
    pub(crate) fn rms_norm(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let mut lanes = [0f32; 16];
        let chunks = row.chunks_exact(16);
        let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += x * x;
            }
        }
        let mean = (lanes.iter().sum::<f32>() + rest) / row.len() as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(row).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

vectorised! {
    /// Rotates one head in place, halves paired as in Hugging Face's `rotate_half`.
    pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
        let (left, right) = head.split_at_mut(cos.len());
        for (((a, b), cos), sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
            let (x, y) = (*a, *b);
            *a = x * cos - y * sin;
            *b = y * cos + x * sin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) = {} is off by {error}", exp(x));
        }
        assert_eq!([exp(-100.0), exp(f32::NEG_INFINITY)], [0.0; 2]);
        assert!(exp(1e9).is_finite());
        // Whatever a NaN carries in its low bits, it stays one.
        for bits in [0x7fc0_0000, 0xffc0_0000, 0x7fc0_0001, 0x7fff_ffff, 0xffc0_0155, 0x7f80_0001] {
            assert!(exp(f32::from_bits(bits)).is_nan(), "{bits:#x}");
        }
    }
}
