//! The sampler against distributions worked out the plain way: everything in f64, the whole vocabulary sorted.

use super::*;

/// A vocabulary with a few likely tokens and a long tail, as models give it.
fn logits(size: usize) -> Vec<f32> {
    (0..size as u32).map(|id| (id.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 * 9.0 - 4.0).collect()
}

/// Probabilities by transformers' order of filters: temperature, top-k, top-p, min-p.
fn exact(logits: &[f32], sampling: &Sampling, banned: Option<u32>) -> Vec<f64> {
    let normalise = |p: &mut Vec<f64>| {
        let total: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= total);
    };
    let mut p: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / sampling.temperature).exp()).collect();
    if let Some(banned) = banned {
        p[banned as usize] = 0.0;
    }
    normalise(&mut p);
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]).then(a.cmp(&b)));
    if sampling.top_k > 0 {
        order.iter().skip(sampling.top_k).for_each(|&id| p[id] = 0.0);
        normalise(&mut p);
    }
    let mut before = 0.0;
    for &id in &order {
        let own = p[id];
        if before >= sampling.top_p {
            p[id] = 0.0;
        }
        before += own;
    }
    normalise(&mut p);
    let bound = sampling.min_p * p[order[0]];
    p.iter_mut().filter(|p| **p < bound).for_each(|p| *p = 0.0);
    normalise(&mut p);
    p
}

fn settings() -> Vec<Sampling> {
    let plain = Sampling::default();
    vec![
        plain,
        Sampling { temperature: 0.5, ..plain },
        Sampling { temperature: 1.7, ..plain },
        Sampling { top_p: 0.8, ..plain },
        Sampling { temperature: 0.5, top_p: 0.95, ..plain },
        Sampling { temperature: 2.5, top_p: 0.9999, ..plain },
        Sampling { top_k: 7, ..plain },
        Sampling { top_k: 40, top_p: 0.7, temperature: 1.3, ..plain },
        Sampling { min_p: 0.3, ..plain },
        Sampling { min_p: 0.2, top_p: 0.9, top_k: 30, temperature: 0.9, ..plain },
        Sampling { top_p: 1e-9, ..plain },
        Sampling { min_p: 1.0, ..plain },
    ]
}

/// Upper quantile of the chi-square distribution at 1e-6 (Wilson and Hilferty's approximation, z = 4.753).
fn critical_chi_square(degrees: usize) -> f64 {
    let k = degrees as f64;
    k * (1.0 - 2.0 / (9.0 * k) + 4.753 * (2.0 / (9.0 * k)).sqrt()).powi(3)
}

#[test]
fn frequencies_are_those_of_the_exact_distribution() {
    const DRAWS: usize = 20_000;
    let logits = logits(700);
    let distribution = Distribution::new(&logits).unwrap();
    let (favourite, _) = likeliest(&logits);
    for (number, sampling) in settings().into_iter().enumerate() {
        for banned in [None, Some(favourite)] {
            let exact = exact(&logits, &sampling, banned);
            let draws = Draws::new(number as u64, [1, 2, 3]);
            let mut counts = vec![0usize; logits.len()];
            for sample in 0..DRAWS {
                counts[distribution.chances(banned).draw(&sampling, draws.uniform(sample, 3)) as usize] += 1;
            }
            // Tokens that are expected less than five times are counted together.
            let (mut chi_square, mut cells, mut rare) = (0.0, 0usize, (0.0, 0usize));
            for (&p, &count) in exact.iter().zip(&counts) {
                assert!(p > 0.0 || count == 0, "{sampling:?} drew what has no chance");
                let expected = p * DRAWS as f64;
                if expected >= 5.0 {
                    chi_square += (count as f64 - expected).powi(2) / expected;
                    cells += 1;
                } else {
                    rare = (rare.0 + expected, rare.1 + count);
                }
            }
            if rare.0 >= 5.0 {
                chi_square += (rare.1 as f64 - rare.0).powi(2) / rare.0;
                cells += 1;
            }
            let most = critical_chi_square(cells.saturating_sub(1).max(1));
            assert!(chi_square < most, "{sampling:?} {banned:?}: {chi_square} of {most} in {cells} cells");
        }
    }
}

#[test]
fn a_point_of_the_unit_interval_falls_where_it_should() {
    // Probabilities 0.5, 0.25, 0.25 in the vocabulary's order.
    let logits = [2f32.ln(), 0.0, 0.0];
    let distribution = Distribution::new(&logits).unwrap();
    let draw = |uniform| distribution.chances(None).draw(&Sampling::default(), uniform);
    assert_eq!([0.0, 0.49, 0.51, 0.74, 0.76, 1.0 - 1e-16].map(draw), [0, 0, 1, 1, 2, 2]);
    let without = |uniform| distribution.chances(Some(0)).draw(&Sampling::default(), uniform);
    assert_eq!([0.0, 0.49, 0.51].map(without), [1, 1, 2]);
}

#[test]
fn a_near_certain_token_can_be_banned() {
    // Beside e^60 the others vanish in any sum that has it.
    let logits = [60.0, 1.0, 1.0 + 3f32.ln()];
    let distribution = Distribution::new(&logits).unwrap();
    let draws = Draws::new(0, []);
    for sampling in [Sampling::default(), Sampling { top_p: 0.999, ..Sampling::default() }] {
        let second = (0..4000)
            .filter(|&sample| distribution.chances(Some(0)).draw(&sampling, draws.uniform(sample, 0)) == 1)
            .count();
        assert!((900..1100).contains(&second), "{second}");
    }
}

#[test]
fn temperature_zero_takes_the_first_of_the_likeliest() {
    let logits = [0.0, 3.0, 3.0, 1.0];
    let distribution = Distribution::new(&logits).unwrap();
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let nearly = Sampling { temperature: 1e-40, ..Sampling::default() };
    assert_eq!(distribution.chances(None).draw(&nearly, 0.99), 1);
    assert_eq!(distribution.chances(None).draw(&greedy, 0.99), 1);
    assert_eq!(distribution.chances(Some(1)).draw(&greedy, 0.99), 2);
    assert_eq!(distribution.top(3).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 3]);
    let total: f64 = distribution.top(9).iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
    assert!((total - 1.0).abs() < 1e-6);
}

#[test]
fn draws_depend_on_seed_prefix_sample_and_step_alone() {
    let draws = Draws::new(7, [1, 2, 3]);
    let numbers: Vec<f64> =
        (0..20).flat_map(|sample| (0..20).map(move |step| (sample, step))).map(|(a, b)| draws.uniform(a, b)).collect();
    assert_eq!(draws.uniform(3, 4), Draws::new(7, [1, 2, 3]).uniform(3, 4));
    for other in [Draws::new(8, [1, 2, 3]), Draws::new(7, [1, 2]), Draws::new(7, [1, 3, 2])] {
        assert_ne!(other.uniform(3, 4), draws.uniform(3, 4));
    }
    let mut distinct = numbers.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    assert_eq!(distinct.len(), numbers.len());
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    assert!((mean - 0.5).abs() < 0.06, "{mean}");
}

#[test]
fn a_logit_that_is_not_finite_is_refused() {
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(Distribution::new(&[0.0, broken, 1.0]).is_none());
    }
}
