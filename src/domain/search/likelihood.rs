//! How likely the sampling distribution makes the trajectory's own tokens, from their log probabilities alone.

use crate::domain::sampling::Sampling;

/// The least probability that a token can have once the temperature and the filters have been at work, given its
/// probability and rank before. 0 where a filter may have cut it off: then nothing bounds how the rate changes there.
///
/// The other tokens' probabilities are not known. At a temperature up to 1 they weigh most as one token, for
/// `sum q^a <= (sum q)^a` with `a = 1/T >= 1`; above 1 they weigh most spread evenly over the vocabulary.
pub fn least_likelihood(logprob: f64, rank: u32, vocabulary: usize, sampling: &Sampling) -> f64 {
    let Sampling { temperature, top_p, top_k, min_p, seed: _ } = *sampling;
    if top_k > 0 && rank as usize >= top_k {
        return 0.0;
    }
    if sampling.greedy() {
        return if rank == 0 { 1.0 } else { 0.0 };
    }
    let p = logprob.exp().clamp(0.0, 1.0);
    let power = 1.0 / temperature;
    let spread = (vocabulary.max(2) - 1) as f64;
    let others = (1.0 - p).powf(power) * if power < 1.0 { spread.powf(1.0 - power) } else { 1.0 };
    let own = p.powf(power);
    // Both underflow at the lowest temperatures; then p = 1/2 decides.
    let least = if own + others > 0.0 { own / (own + others) } else { f64::from(u8::from(p > 0.5)) };
    // The tokens before it hold at most `1 - least`: below `top_p`, the nucleus reaches it for certain.
    let kept = (top_p >= 1.0 || 1.0 - least < top_p) && least >= min_p;
    if kept { least } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: Sampling = Sampling { temperature: 0.5, top_p: 0.95, top_k: 0, min_p: 0.0, seed: 0 };

    fn least(p: f64, rank: u32, sampling: Sampling) -> f64 {
        least_likelihood(p.ln(), rank, 100, &sampling)
    }

    #[test]
    fn a_low_temperature_sharpens() {
        assert!((least(0.9, 0, PUBLISHED) - 0.81 / 0.82).abs() < 1e-12);
        assert!((least(0.5, 0, PUBLISHED) - 0.5).abs() < 1e-12);
        assert_eq!(least(1.0, 0, PUBLISHED), 1.0);
    }

    #[test]
    fn what_a_filter_may_have_cut_off_has_no_bound() {
        assert_eq!(least(0.15, 1, PUBLISHED), 0.0);
        assert_eq!(least(0.4, 1, Sampling { top_k: 1, ..PUBLISHED }), 0.0);
        assert_eq!(least(0.4, 1, Sampling { min_p: 0.5, ..PUBLISHED }), 0.0);
        assert!(least(0.15, 1, Sampling { top_p: 1.0, ..PUBLISHED }) > 0.0);
    }

    #[test]
    fn greedy_takes_the_likeliest_only() {
        for temperature in [0.0, 1e-9] {
            let greedy = Sampling { temperature, ..PUBLISHED };
            assert_eq!((least(0.3, 0, greedy), least(0.3, 1, greedy)), (1.0, 0.0));
        }
    }

    #[test]
    fn it_is_a_bound_whatever_the_other_tokens_are() {
        for temperature in [0.01, 0.5, 1.0, 1.5, 100.0] {
            let sampling = Sampling { temperature, top_p: 1.0, ..PUBLISHED };
            for others in [vec![0.6], vec![0.3, 0.3], vec![0.006; 99], vec![0.01, 0.59]] {
                let powers = |p: &f64| p.powf(1.0 / temperature);
                let exact = powers(&0.4) / (powers(&0.4) + others.iter().map(powers).sum::<f64>());
                assert!(least(0.4, 0, sampling) <= exact + 1e-12, "{temperature} {others:?}");
            }
        }
    }
}
