//! Running sums over the vocabulary: what scoring needs of a row of logits, without keeping the row.
//!
//! `log Z`, the entropy and equation (3)'s normaliser all are log-sum-exp sums, which can be taken slice by slice and
//! merged. Slices are merged in the vocabulary's order, so that a score does not depend on the threads.

use super::kernel::vectorised;
use super::math::exp;

/// A log-sum-exp in the making, with the mean logit under its softmax.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSumExp {
    max: f32,
    /// `sum of e^(x - max)`
    sum: f64,
    /// `sum of (x - max) e^(x - max)`
    weighted: f64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0, weighted: 0.0 }
    }
}

impl LogSumExp {
    /// Adds a tile of logits, and returns the largest of them (NaN if one is not finite).
    pub(crate) fn add(&mut self, values: &[f32]) -> f32 {
        let (max, sum, weighted) = tile_sums(values);
        self.merge(&Self { max, sum: sum.into(), weighted: weighted.into() });
        max
    }

    /// Adds what another has summed. A maximum that is NaN stays.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.sum == 0.0 {
            *self = *other;
        } else if other.sum != 0.0 {
            let max = if other.max > self.max || other.max.is_nan() { other.max } else { self.max };
            let (a, b) = (self.relative_to(max), other.relative_to(max));
            *self = Self { max, sum: a.0 + b.0, weighted: a.1 + b.1 };
        }
    }

    /// `sum` and `weighted` for another maximum.
    fn relative_to(&self, max: f32) -> (f64, f64) {
        let shift = f64::from(self.max) - f64::from(max);
        let scale = shift.exp();
        (scale * self.sum, scale * (self.weighted + shift * self.sum))
    }

    /// Whether every logit was finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.max.is_finite() && self.sum.is_finite()
    }

    /// Natural log of `e^logit / sum of e^x`.
    pub(crate) fn log_probability(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.sum.ln()
    }

    /// Entropy of the softmax in nats.
    pub(crate) fn entropy(&self) -> f64 {
        (self.sum.ln() - self.weighted / self.sum).max(0.0)
    }
}

vectorised! {
    /// Maximum, `sum of e^(x - max)` and `sum of (x - max) e^(x - max)`; a value that is not finite makes them NaN.
    fn tile_sums(values: &[f32]) -> (f32, f32, f32) {
        // Whole vectors keep the sums in registers; the last one is filled up with what changes nothing.
        let (parts, rest) = values.as_chunks::<16>();
        let filled = |filling: f32| {
            let mut last = [filling; 16];
            last[..rest.len()].copy_from_slice(rest);
            last
        };
        let mut largest = Largest::default();
        for part in parts {
            largest.add(part);
        }
        if !rest.is_empty() {
            largest.add(&filled(rest[0]));
        }
        if largest.poison.iter().sum::<f32>() != 0.0 {
            return (f32::NAN, f32::NAN, f32::NAN);
        }
        let max = largest.lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = Sums::default();
        for part in parts {
            sums.add(part, max);
        }
        if !rest.is_empty() {
            sums.add(&filled(f32::NEG_INFINITY), max);
        }
        (max, sums.sum.iter().sum(), sums.weighted.iter().sum())
    }
}

/// The largest value by lane, and whether one is not finite: `poison` is then NaN somewhere, and else zero.
struct Largest {
    lanes: [f32; 16],
    poison: [f32; 16],
}

impl Default for Largest {
    fn default() -> Self {
        Self { lanes: [f32::NEG_INFINITY; 16], poison: [0.0; 16] }
    }
}

impl Largest {
    #[inline(always)]
    fn add(&mut self, part: &[f32; 16]) {
        for ((lane, poison), &x) in self.lanes.iter_mut().zip(&mut self.poison).zip(part) {
            *lane = if x > *lane { x } else { *lane };
            *poison += x * 0.0;
        }
    }
}

/// The sums of a tile by lane, relative to its maximum.
#[derive(Default)]
struct Sums {
    sum: [f32; 16],
    weighted: [f32; 16],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, part: &[f32; 16], max: f32) {
        for ((sum, weighted), &x) in self.sum.iter_mut().zip(&mut self.weighted).zip(part) {
            let e = exp(x - max);
            *sum += e;
            *weighted += (x - max).max(-80.0) * e;
        }
    }
}

vectorised! {
    /// How many values are larger than `bound`.
    pub(crate) fn count_above(values: &[f32], bound: f32) -> u32 {
        let mut count = 0;
        for &x in values {
            count += u32::from(x > bound);
        }
        count
    }
}

vectorised! {
    /// The largest value; minus infinity of none.
    pub(crate) fn largest(values: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let (parts, rest) = values.as_chunks::<16>();
        for part in parts {
            for (lane, &x) in lanes.iter_mut().zip(part) {
                *lane = if x > *lane { x } else { *lane };
            }
        }
        lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, |max, x| if x > max { x } else { max })
    }
}

vectorised! {
    /// `sum of e^((x - max) scale)` for values of at most `max`.
    pub(crate) fn sum_of_exp(values: &[f32], max: f32, scale: f32) -> f32 {
        let mut lanes = [0f32; 16];
        let (parts, rest) = values.as_chunks::<16>();
        for part in parts {
            for (lane, &x) in lanes.iter_mut().zip(part) {
                *lane += exp((x - max) * scale);
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|&x| exp((x - max) * scale)).sum::<f32>()
    }
}

vectorised! {
    /// The logits of equation (3)'s distribution, `(1 + beta) p - beta q`.
    pub(crate) fn contrast(positive: &[f32], negative: &[f32], beta: f32, out: &mut [f32]) {
        for ((out, p), q) in out.iter_mut().zip(positive).zip(negative) {
            *out = (1.0 + beta) * p - beta * q;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(values: &[f32]) -> (f64, f64) {
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let z: f64 = values.iter().map(|&x| f64::from(x - max).exp()).sum();
        let entropy = values
            .iter()
            .map(|&x| {
                let p = f64::from(x - max).exp() / z;
                if p > 0.0 { -p * p.ln() } else { 0.0 }
            })
            .sum();
        (f64::from(max) + z.ln(), entropy)
    }

    #[test]
    fn slices_add_up_to_the_whole() {
        let values: Vec<f32> =
            (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 100.0 - 20.0).collect();
        let (log_z, entropy) = direct(&values);
        for size in [1, 7, 128, 1000] {
            let mut total = LogSumExp::default();
            for part in values.chunks(size) {
                let mut slice = LogSumExp::default();
                slice.add(part);
                total.merge(&slice);
            }
            assert!((total.log_probability(0.0) + log_z).abs() < 1e-5, "{size}");
            assert!((total.entropy() - entropy).abs() < 1e-5, "{size}");
        }
    }

    #[test]
    fn a_logit_that_is_not_finite_is_not_lost() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for order in [[1.0, broken], [broken, 1.0]] {
                let mut total = LogSumExp::default();
                for value in order {
                    total.add(&[value]);
                }
                assert!(!total.is_finite(), "{order:?}");
            }
        }
    }
}
