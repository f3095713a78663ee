//! In which order examples come: drawn anew for each epoch from the seed, so that a step's number says which they are.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::plan::Arguments;

/// Batches whose examples are sorted by length together, as transformers' sampler does.
const MEGABATCH: usize = 50;

/// The examples of an epoch in their order.
pub(super) fn epoch(arguments: &Arguments, number: u64, lengths: &[usize]) -> Vec<usize> {
    let mut random = ChaCha12Rng::seed_from_u64(arguments.seed);
    random.set_stream(number + 1);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    for last in (1..order.len()).rev() {
        // An unbiased draw from 0..=last.
        let bound = last as u64 + 1;
        let draw = loop {
            let draw = random.next_u64();
            if draw < u64::MAX - u64::MAX % bound {
                break draw % bound;
            }
        };
        order.swap(last, draw as usize);
    }
    if arguments.group_by_length {
        for part in order.chunks_mut(arguments.effective_batch().saturating_mul(MEGABATCH)) {
            // Stable: examples of one length stay in the order that was drawn.
            part.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
        }
    }
    order
}

/// The examples of optimizer step `step` (from 0).
pub(super) fn of_step(arguments: &Arguments, step: usize, lengths: &[usize]) -> Vec<usize> {
    let per_epoch = arguments.steps_per_epoch(lengths.len());
    let order = epoch(arguments, (step / per_epoch) as u64, lengths);
    let first = step % per_epoch * arguments.effective_batch();
    order[first..lengths.len().min(first + arguments.effective_batch())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_example_once_in_an_order_of_its_own() {
        let arguments = Arguments { per_device_train_batch_size: 3, ..Arguments::published_sft() };
        let lengths: Vec<usize> = (0..20).collect();
        let steps = arguments.steps_per_epoch(20);
        assert_eq!(steps, 7);
        let epoch = |number: usize| -> Vec<usize> {
            (0..steps).flat_map(|step| of_step(&arguments, number * steps + step, &lengths)).collect()
        };
        for number in 0..3 {
            let mut seen = epoch(number);
            seen.sort_unstable();
            assert_eq!(seen, lengths);
        }
        assert_ne!(epoch(0), epoch(1));
        assert_eq!(epoch(1), epoch(1));
    }

    #[test]
    fn lengths_are_sorted_within_a_megabatch() {
        let arguments =
            Arguments { per_device_train_batch_size: 2, group_by_length: true, ..Arguments::published_sft() };
        let lengths: Vec<usize> = (0..250).map(|i| i * 7 % 101).collect();
        let order = epoch(&arguments, 0, &lengths);
        assert!(order[..100].is_sorted_by_key(|&index| std::cmp::Reverse(lengths[index])));
        assert!(order[100..200].is_sorted_by_key(|&index| std::cmp::Reverse(lengths[index])));
    }
}
