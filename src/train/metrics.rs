//! A run's metrics between two reports: means over the steps, by TRL's names.

use serde::{Deserialize, Serialize};

use super::StepMetrics;
use super::loss::PairLoss;

/// Sums since the last report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    steps: usize,
    loss: f64,
    pairs: usize,
    rewards: [f64; 2],
    accuracies: f64,
    logps: [f64; 2],
    tokens: usize,
    /// That the steps took, rests aside.
    seconds: f64,
}

/// The numbers of a step that are not means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    /// Steps done.
    pub(super) step: usize,
    pub(super) epoch: f64,
    pub(super) grad_norm: f64,
    pub(super) learning_rate: f64,
}

impl Window {
    pub(super) fn step(&mut self, loss: f64, tokens: usize) {
        self.steps += 1;
        self.loss += loss;
        self.tokens += tokens;
    }

    pub(super) fn took(&mut self, seconds: f64) {
        self.seconds += seconds;
    }

    pub(super) fn pair(&mut self, pair: &PairLoss) {
        self.pairs += 1;
        for side in 0..2 {
            self.rewards[side] += pair.rewards[side];
            self.logps[side] += pair.logps[side];
        }
        self.accuracies += f64::from(u8::from(pair.rewards[0] > pair.rewards[1]));
    }

    /// The means so far; the next window begins.
    pub(super) fn report(&mut self, last: Last) -> StepMetrics {
        let Self { steps, loss, pairs, rewards, accuracies, logps, tokens, seconds } = std::mem::take(self);
        let mut values = vec![
            ("loss", loss / steps.max(1) as f64),
            ("grad_norm", last.grad_norm),
            ("learning_rate", last.learning_rate),
        ];
        if pairs > 0 {
            let mean = |sum: f64| sum / pairs as f64;
            values.extend([
                ("rewards/chosen", mean(rewards[0])),
                ("rewards/rejected", mean(rewards[1])),
                ("rewards/margins", mean(rewards[0] - rewards[1])),
                ("rewards/accuracies", mean(accuracies)),
                ("logps/chosen", mean(logps[0])),
                ("logps/rejected", mean(logps[1])),
            ]);
        }
        if seconds > 0.0 {
            values.push(("tokens_per_second", tokens as f64 / seconds));
        }
        StepMetrics { step: last.step, epoch: last.epoch, values }
    }
}
