//! The losses, as functions of what a policy says of responses: plain arithmetic in f64, no tensors.
//!
//! Each gives its value and its slope by every log probability (and divergence), which a learner carries back to the
//! weights. Equation numbers are those of the method: (4) to (6) are cDPO.

use super::plan::{Preference, PreferenceLoss, Reduction};

/// What is known of one response of a pair, a number a token each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    /// The policy's log probabilities.
    pub(super) policy: &'a [f32],
    /// The reference's.
    pub(super) reference: &'a [f32],
    /// Weights of the tokens; all 1 if `None`.
    pub(super) weights: Option<&'a [f32]>,
    /// `KL(reference || policy)` where each token is drawn; empty for losses without it.
    pub(super) divergence: &'a [f32],
}

/// A loss's slopes by the numbers of a response.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slopes {
    pub(super) logprob: Vec<f32>,
    /// Empty for losses without divergences.
    pub(super) divergence: Vec<f32>,
}

/// One pair's part of a loss.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairLoss {
    pub(super) loss: f64,
    pub(super) chosen: Slopes,
    pub(super) rejected: Slopes,
    /// `beta` times the (weighted) log ratio of the chosen and the rejected response.
    pub(super) rewards: [f64; 2],
    /// Log probabilities of the two responses.
    pub(super) logps: [f64; 2],
}

impl Side<'_> {
    fn weight(&self, token: usize) -> f64 {
        self.weights.map_or(1.0, |weights| f64::from(weights[token]))
    }

    /// `weight * log(policy / reference)` of a token; 0 past the end.
    fn ratio(&self, token: usize) -> f64 {
        match self.policy.get(token) {
            Some(&policy) => self.weight(token) * (f64::from(policy) - f64::from(self.reference[token])),
            None => 0.0,
        }
    }

    /// Equations (4) and (5).
    fn phi(&self) -> f64 {
        (0..self.policy.len()).map(|token| self.ratio(token)).sum()
    }

    fn logp(&self) -> f64 {
        self.policy.iter().copied().map(f64::from).sum()
    }

    fn divergences(&self) -> f64 {
        self.divergence.iter().copied().map(f64::from).sum()
    }

    /// Slopes that are `slope` times each token's weight.
    fn slopes(&self, slope: f64) -> Slopes {
        let logprob = (0..self.policy.len()).map(|token| (slope * self.weight(token)) as f32).collect();
        Slopes { logprob, divergence: Vec::new() }
    }
}

/// `log(sigmoid(x))`, exact for large `x` of either sign.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}

/// The loss of one pair and its slopes, not yet divided by the number of pairs.
///
/// `padded` is the longest response of the batch, which [`Reduction::Position`] averages over.
pub(super) fn pair_loss(settings: &Preference, chosen: Side<'_>, rejected: Side<'_>, padded: usize) -> PairLoss {
    let (chosen, rejected) = weighted(settings.loss, chosen, rejected);
    let beta = settings.beta;
    let rewards = [beta * chosen.phi(), beta * rejected.phi()];
    let logps = [chosen.logp(), rejected.logp()];
    let (loss, slopes) = match settings.reduction {
        Reduction::Sequence => by_sequence(settings, chosen, rejected),
        Reduction::Position => by_position(settings, chosen, rejected, padded),
    };
    let [chosen, rejected] = slopes;
    PairLoss { loss, chosen, rejected, rewards, logps }
}

/// Which of the data's weights a loss uses.
fn weighted<'a>(loss: PreferenceLoss, mut chosen: Side<'a>, mut rejected: Side<'a>) -> (Side<'a>, Side<'a>) {
    match loss {
        // Only the rejected side is weighted, as equation (4) has it.
        PreferenceLoss::Cdpo => chosen.weights = None,
        PreferenceLoss::TokenWeighted => {}
        PreferenceLoss::Dpo | PreferenceLoss::Rpo | PreferenceLoss::Tdpo => {
            (chosen.weights, rejected.weights) = (None, None);
        }
    }
    (chosen, rejected)
}

/// Equation (6) and its relatives over whole responses.
fn by_sequence(settings: &Preference, chosen: Side<'_>, rejected: Side<'_>) -> (f64, [Slopes; 2]) {
    let Preference { loss, reduction: _, beta, rpo_alpha, tdpo_alpha, label_smoothing } = *settings;
    // arXiv 2404.11999, equation (18): the chosen response's divergence is a constant to the gradient.
    let divergence = match loss {
        PreferenceLoss::Tdpo => tdpo_alpha * (rejected.divergences() - chosen.divergences()),
        PreferenceLoss::Cdpo | PreferenceLoss::Dpo | PreferenceLoss::Rpo | PreferenceLoss::TokenWeighted => 0.0,
    };
    let margin = beta * (chosen.phi() - rejected.phi() - divergence);
    let (value, slope) = smoothed(margin, label_smoothing);
    let mut slopes = [chosen.slopes(beta * slope), rejected.slopes(-beta * slope)];
    match loss {
        PreferenceLoss::Rpo => {
            let len = chosen.policy.len() as f64;
            slopes[0].logprob.iter_mut().for_each(|s| *s -= (rpo_alpha / len) as f32);
            (value - rpo_alpha * chosen.logp() / len, slopes)
        }
        PreferenceLoss::Tdpo => {
            slopes[1].divergence = vec![(-beta * tdpo_alpha * slope) as f32; rejected.policy.len()];
            slopes[0].divergence = vec![0.0; chosen.policy.len()];
            (value, slopes)
        }
        PreferenceLoss::Cdpo | PreferenceLoss::Dpo | PreferenceLoss::TokenWeighted => (value, slopes),
    }
}

/// The published script's form: position by position, the shorter response padded with zeros.
fn by_position(settings: &Preference, chosen: Side<'_>, rejected: Side<'_>, padded: usize) -> (f64, [Slopes; 2]) {
    let (mut value, mut slopes) = (0.0, [Slopes::default(), Slopes::default()]);
    for token in 0..padded {
        let margin = settings.beta * (chosen.ratio(token) - rejected.ratio(token));
        let (loss, slope) = smoothed(margin, settings.label_smoothing);
        value += loss / padded as f64;
        for (slopes, (side, sign)) in slopes.iter_mut().zip([(&chosen, 1.0), (&rejected, -1.0)]) {
            if token < side.policy.len() {
                let slope = sign * settings.beta * slope * side.weight(token) / padded as f64;
                slopes.logprob.push(slope as f32);
            }
        }
    }
    (value, slopes)
}

/// `-log sigmoid(margin)` and its slope, the label being wrong with chance `smoothing`.
fn smoothed(margin: f64, smoothing: f64) -> (f64, f64) {
    let value = -(1.0 - smoothing) * log_sigmoid(margin) - smoothing * log_sigmoid(-margin);
    let slope = -(1.0 - smoothing) * sigmoid(-margin) + smoothing * sigmoid(margin);
    (value, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOSEN: [f32; 3] = [-0.5, -1.2, -0.1];
    const REJECTED: [f32; 4] = [-0.7, -2.5, -0.3, -1.1];

    fn side<'a>(policy: &'a [f32], reference: &'a [f32], weights: &'a [f32], divergence: &'a [f32]) -> Side<'a> {
        Side { policy, reference, weights: Some(weights), divergence }
    }

    /// The loss at log probabilities that may be moved.
    fn at(settings: &Preference, policy: [&[f32]; 2], divergence: [&[f32]; 2]) -> PairLoss {
        let chosen = side(policy[0], &[-0.6, -1.0, -0.2], &[0.5, 1.0, 2.0], divergence[0]);
        let rejected = side(policy[1], &[-0.8, -2.0, -0.25, -1.3], &[1.0, 0.1, 0.7, 0.9], divergence[1]);
        pair_loss(settings, chosen, rejected, 6)
    }

    #[test]
    fn slopes_are_those_of_the_value() {
        use PreferenceLoss::{Cdpo, Dpo, Rpo, Tdpo, TokenWeighted};
        let kl: [&[f32]; 2] = [&[0.1, 0.2, 0.05], &[0.3, 0.1, 0.2, 0.4]];
        for (loss, reduction) in [Cdpo, Dpo, Rpo, Tdpo, TokenWeighted]
            .map(|loss| (loss, Reduction::Sequence))
            .into_iter()
            .chain([Cdpo, Dpo, TokenWeighted].map(|loss| (loss, Reduction::Position)))
        {
            let settings = Preference { reduction, beta: 0.3, label_smoothing: 0.1, ..Preference::published(loss) };
            let found = at(&settings, [&CHOSEN, &REJECTED], kl);
            const STEP: f32 = 1e-3;
            let slope = |moved: &dyn Fn(f32) -> f64| (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
            for token in 0..3 {
                let moved = |by| {
                    let mut policy = CHOSEN;
                    policy[token] += by;
                    at(&settings, [&policy, &REJECTED], kl).loss
                };
                assert!((slope(&moved) - f64::from(found.chosen.logprob[token])).abs() < 1e-4, "{loss:?} {token}");
            }
            for token in 0..4 {
                let moved = |by| {
                    let mut policy = REJECTED;
                    policy[token] += by;
                    at(&settings, [&CHOSEN, &policy], kl).loss
                };
                assert!((slope(&moved) - f64::from(found.rejected.logprob[token])).abs() < 1e-4, "{loss:?} {token}");
            }
            if loss == Tdpo {
                let moved = |by| at(&settings, [&CHOSEN, &REJECTED], [kl[0], &[0.3 + by, 0.1, 0.2, 0.4]]).loss;
                assert!((slope(&moved) - f64::from(found.rejected.divergence[0])).abs() < 1e-4);
                assert_eq!(found.chosen.divergence, [0.0; 3], "the chosen divergence is a constant");
            }
        }
    }

    #[test]
    fn the_sigmoid_is_exact_far_out() {
        assert_eq!(log_sigmoid(-800.0), -800.0);
        assert_eq!(log_sigmoid(800.0), 0.0);
        assert!((log_sigmoid(0.0) + std::f64::consts::LN_2).abs() < 1e-15);
    }

    #[test]
    fn weights_that_are_all_one_make_cdpo_dpo() {
        let ones = [1.0; 4];
        let reference = [-0.8, -2.0, -0.25, -1.3];
        let loss = |kind| {
            let chosen = side(&CHOSEN, &reference[..3], &ones[..3], &[]);
            let rejected = side(&REJECTED, &reference, &ones, &[]);
            pair_loss(&Preference::published(kind), chosen, rejected, 4)
        };
        assert_eq!(loss(PreferenceLoss::Cdpo), loss(PreferenceLoss::Dpo));
    }
}
