//! What counts of right answers say: an interval for a rate, and pass@k.

use std::collections::BTreeMap;

/// The 97.5% quantile of the standard normal distribution: what is between it and its negative holds 95%.
const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval at 95% for the rate behind `correct` right answers out of `samples`, both ends in [0, 1].
///
/// Unlike the normal approximation it says something of 0 right out of 64. Without samples it is [0, 1]: nothing is known.
pub fn wilson(correct: usize, samples: usize) -> [f64; 2] {
    if samples == 0 {
        return [0.0, 1.0];
    }
    let correct = correct.min(samples);
    let (n, rate) = (samples as f64, correct as f64 / samples as f64);
    let z2 = Z_95 * Z_95;
    let center = rate + z2 / (2.0 * n);
    let spread = Z_95 * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // At the ends the formula gives 0 and 1 exactly, but for rounding.
    let low = if correct == 0 { 0.0 } else { ((center - spread) / scale).max(0.0) };
    let high = if correct == samples { 1.0 } else { ((center + spread) / scale).min(1.0) };
    [low, high]
}

/// The chance that at least one of `k` samples is right, without bias from `correct` right ones out of `samples`:
/// equation (2), `1 - C(n - c, k) / C(n, k)`.
///
/// `k` above `samples` has no unbiased estimate and counts as `samples`; without samples, and for a `k` of 0, it is 0.
/// Takes `min(correct, k)` steps, and its relative error stays within some 1e-12 for 100,000 samples.
pub fn pass_at_k(samples: usize, correct: usize, k: usize) -> f64 {
    let (correct, k) = (correct.min(samples), k.min(samples));
    if correct == 0 || k == 0 {
        return 0.0;
    }
    if samples - correct < k {
        return 1.0;
    }
    // The ratio of binomials is the product of (n - b - i) / (n - i) over i < a, whichever of c and k is a and which b.
    // Summing logarithms of 1 minus a small number keeps what a product near 1 would round away.
    let (steps, part) = (correct.min(k), correct.max(k) as f64);
    let log_ratio: f64 = (0..steps).map(|i| (-part / (samples - i) as f64).ln_1p()).sum();
    -log_ratio.exp_m1()
}

/// pass@k for every `k` that is a power of 2 up to `samples`, and for `samples` itself. Empty without samples.
pub fn pass_curve(samples: usize, correct: usize) -> BTreeMap<usize, f64> {
    let powers = std::iter::successors(Some(1_usize), |k| k.checked_mul(2)).take_while(|k| *k < samples);
    powers.chain((samples > 0).then_some(samples)).map(|k| (k, pass_at_k(samples, correct, k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rational arithmetic in u128: exact for as long as nothing overflows.
    fn exact(n: u128, c: u128, k: u128) -> f64 {
        let choose = |n: u128, k: u128| if k > n { 0 } else { (0..k).fold(1, |b, i| b * (n - i) / (i + 1)) };
        let all = choose(n, k);
        (all - choose(n - c, k)) as f64 / all as f64
    }

    #[test]
    fn pass_at_k_is_the_ratio_of_binomials() {
        for n in 1..=64_usize {
            for c in 0..=n {
                for k in 1..=n {
                    let (found, exact) = (pass_at_k(n, c, k), exact(n as u128, c as u128, k as u128));
                    assert!((found - exact).abs() <= 1e-13 * exact, "n {n}, c {c}, k {k}: {found} is not {exact}");
                }
            }
        }
    }

    #[test]
    fn pass_at_k_of_many_samples() {
        // from fractions import Fraction as F; from math import comb
        // print([float(1 - F(comb(n - c, k), comb(n, k))) for n, c, k in CASES])
        let cases = [
            (100_000, 1, 1, 1e-5),
            (100_000, 1, 99_999, 0.99999),
            (100_000, 7, 1024, 0.0695172105928504),
            (100_000, 50_000, 16, 0.9999847595133377),
            (100_000, 300, 512, 0.7861025109928967),
            (4096, 3, 64, 0.04615748656570591),
        ];
        for (n, c, k, expected) in cases {
            let found = pass_at_k(n, c, k);
            assert!((found - expected).abs() <= 1e-12 * expected, "n {n}, c {c}, k {k}: {found} is not {expected}");
        }
    }

    #[test]
    fn pass_at_k_at_the_edges() {
        assert_eq!(pass_at_k(0, 0, 1), 0.0);
        assert_eq!(pass_at_k(64, 0, 64), 0.0);
        assert_eq!(pass_at_k(64, 64, 1), 1.0);
        assert_eq!(pass_at_k(64, 1, 64), 1.0);
        assert_eq!(pass_at_k(64, 1, 65), 1.0);
        assert_eq!(pass_at_k(64, 5, 0), 0.0);
    }

    #[test]
    fn a_curve_holds_the_powers_of_two_and_the_last() {
        assert_eq!(pass_curve(0, 0), BTreeMap::new());
        assert_eq!(pass_curve(1, 1), BTreeMap::from([(1, 1.0)]));
        assert_eq!(pass_curve(6, 0).into_keys().collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert_eq!(pass_curve(64, 3).into_keys().collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn wilsons_interval() {
        // from math import sqrt; from statistics import NormalDist
        // z = NormalDist().inv_cdf(0.975)
        // def wilson(c, n):
        //     p = c / n; d = 1 + z * z / n
        //     s = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        //     return (p + z * z / (2 * n) - s) / d, (p + z * z / (2 * n) + s) / d
        let cases = [
            (0, 64, 0.0, 0.05662405979280531),
            (3, 64, 0.01606901678629298, 0.12899653740093683),
            (32, 64, 0.3810209474394701, 0.6189790525605299),
            (64, 64, 0.9433759402071946, 1.0),
            (1, 1, 0.2065493143772375, 1.0),
            (2, 3, 0.20765960080204782, 0.9385080552796038),
            (1, 100000, 1.7652477303783205e-06, 5.664709659040964e-05),
        ];
        for (correct, samples, low, high) in cases {
            let found = wilson(correct, samples);
            assert!(
                (found[0] - low).abs() < 1e-12 && (found[1] - high).abs() < 1e-12,
                "{correct}/{samples}: {found:?}"
            );
        }
        assert_eq!(wilson(0, 64)[0], 0.0);
        assert_eq!(wilson(64, 64)[1], 1.0);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }
}
