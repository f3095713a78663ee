//! How a step is put together from passes; what passes compute is the twins' business.

use serde_json::json;

use super::*;
use crate::engine::local::twin::fixture::{checkpoint, config};
use crate::engine::local::{DeviceChoice, DtypeChoice};
use crate::train::plan::{Arguments, LoraConfig, Method, Reduction};
use crate::train::{BaseOptions, FullSpeed};

fn base(folder: &Path) -> Base {
    checkpoint(folder, &config("llama", json!({})), 3);
    let options =
        BaseOptions { dtype: DtypeChoice::F32, device: DeviceChoice::Cpu, threads: Some(2), start_adapter: None };
    Base::open(folder.to_str().unwrap(), options).unwrap()
}

/// cDPO by position, whose losses depend on the width of the whole batch.
fn plan() -> TrainingPlan {
    TrainingPlan {
        objective: Objective::Preference(Preference {
            reduction: Reduction::Position,
            ..Preference::published(PreferenceLoss::Cdpo)
        }),
        method: Method::Lora(LoraConfig::published_preference()),
        arguments: Arguments { per_device_train_batch_size: 4, ..Arguments::published_preference() },
    }
}

fn pairs() -> Examples {
    let side = |first: u32, len: u32| Completion {
        token_ids: (0..6 + len).map(|at| (first * 17 + at * 5) % 133).collect(),
        response_start: 6,
    };
    let pair = |n: u32| Pair {
        chosen: side(n, 3 + n),
        rejected: side(n + 40, 9 - n),
        chosen_weights: None,
        rejected_weights: Some((0..9 - n).map(|at| 0.5 + at as f32 / 10.0).collect()),
    };
    Examples::Pairs((0..4).map(pair).collect())
}

/// Loss and gradients of all pairs as one step, with passes of so many tokens.
fn step(base: &Base, pass_tokens: usize) -> (StepMetrics, Parameters) {
    let (plan, examples) = (plan(), pairs());
    let mut trainer = Trainer::new(base, &plan, &examples, Arc::new(FullSpeed)).unwrap();
    trainer.pass_tokens = pass_tokens;
    assert!(trainer.prepare(None, &mut || Ok(())).unwrap());
    // Of an adapter that is new, one half is zero, and so is the gradient of the other.
    for parameter in &mut trainer.parameters.0 {
        parameter.values.iter_mut().enumerate().for_each(|(at, value)| *value += (at % 7) as f32 * 0.01);
    }
    trainer.learner.update(&trainer.parameters).unwrap();
    let grad_norm = trainer.gradients(&[0, 1, 2, 3], &mut || Ok(())).unwrap();
    (trainer.report(Step { grad_norm, learning_rate: 0.0 }), trainer.parameters)
}

#[test]
fn a_batch_in_several_passes_is_the_same_batch() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let (whole, whole_parameters) = step(&base, 2048);
    for pass_tokens in [1, 60] {
        let (split, split_parameters) = step(&base, pass_tokens);
        for ((name, found), (_, expected)) in split.values.iter().zip(&whole.values) {
            assert!((found - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{name}: {found} for {expected}");
        }
        for (found, expected) in split_parameters.0.iter().zip(&whole_parameters.0) {
            let largest = expected.gradient.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(largest > 0.0, "{} has a gradient", expected.name);
            for (found, expected) in found.gradient.iter().zip(&expected.gradient) {
                assert!((found - expected).abs() <= 1e-4 * largest, "{found} for {expected}");
            }
        }
    }
}

#[test]
fn a_step_that_is_cut_off_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (base, plan, examples) = (base(folder.path()), plan(), pairs());
    let mut trainer = Trainer::new(&base, &plan, &examples, Arc::new(FullSpeed)).unwrap();
    trainer.pass_tokens = 1;
    assert!(trainer.prepare(None, &mut || Ok(())).unwrap());
    let mut passes = 0;
    let cut_off = trainer.advance(&[0, 1, 2, 3], 10, &mut || {
        passes += 1;
        if passes == 3 { Err(TrainError::Cancelled) } else { Ok(()) }
    });
    assert!(matches!(cut_off, Err(TrainError::Cancelled)));
    assert_eq!((passes, trainer.step), (3, 0));
    let again = trainer.advance(&[0, 1, 2, 3], 10, &mut || Ok(())).unwrap();
    let mut fresh = Trainer::new(&base, &plan, &examples, Arc::new(FullSpeed)).unwrap();
    fresh.pass_tokens = 1;
    assert!(fresh.prepare(None, &mut || Ok(())).unwrap());
    let expected = fresh.advance(&[0, 1, 2, 3], 10, &mut || Ok(())).unwrap();
    assert_eq!(trainer.report(again), fresh.report(expected));
}

#[test]
fn references_that_were_kept_are_not_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir().unwrap();
    let (base, plan, examples) = (base(folder.path()), plan(), pairs());
    let prepared = |stop_at: usize| {
        let mut trainer = Trainer::new(&base, &plan, &examples, Arc::new(FullSpeed)).unwrap();
        trainer.pass_tokens = 1;
        let mut passes = 0;
        let outcome = trainer.prepare(Some(kept.path()), &mut || {
            passes += 1;
            if passes == stop_at { Err(TrainError::Cancelled) } else { Ok(()) }
        });
        (outcome.is_ok_and(|done| done), passes, trainer.references)
    };
    let (done, _, first) = prepared(3);
    assert!(!done && first.len() == 2);
    let (done, passes, all) = prepared(usize::MAX);
    assert!(done && passes == 2 && all.len() == 4, "{passes} passes for the other two");
    assert_eq!((first.get(0), first.get(1)), (all.get(0), all.get(1)));
}
