//! Caches that fork and grow against the naive full forward, on both decoders.

use std::sync::Arc;

use super::*;
use crate::engine::local::cache::{CacheBudget, KvCache};
use crate::engine::local::decoder::Feed;

fn tokens(length: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..length).map(|_| random.below(133) as u32).collect()
}

/// Log probabilities of the vocabulary.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let z: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.iter().map(|&x| f64::from(x - max) - z.ln()).collect()
}

/// What the naive forward says of every token after `tokens[..at]`: a full pass, and the scores of a watched vocabulary.
fn naive<D: Decoder>(model: &D, adapter: Option<&D::Adapter>, tokens: &[u32], at: usize) -> Vec<f64> {
    let sequence = Sequence { tokens: &tokens[..at], adapter, keep: at - 1..at };
    let hidden = model.forward(&[sequence], &|| false).unwrap();
    let watch: Vec<u32> = (0..133).collect();
    let state = State { model, adapter, hidden: &hidden[0] };
    let states = PerModel { base: state, positive: None, negative: None };
    let question = Question { targets: &[0], beta: 1.0, top: 0, watch: &watch };
    let scores = D::score(&states, question, &|| false).unwrap();
    scores[0].top.iter().map(|token| token.logprob.base.into()).collect()
}

struct Branch<'a, D: Decoder> {
    tokens: Vec<u32>,
    cache: D::Cache,
    adapter: Option<&'a D::Adapter>,
}

/// Grows branches together, `steps` tokens each, and gives each branch's logits after every step.
fn grow<'a, D: Decoder>(model: &D, branches: &mut [Branch<'a, D>], steps: &[usize]) -> Vec<Vec<Vec<f32>>> {
    let vocab = model.config().vocab_size;
    let mut all: Vec<Vec<Vec<f32>>> = branches.iter().map(|_| vec![]).collect();
    for &step in steps {
        let mut logits = Vec::new();
        let mut feeds: Vec<Feed<'_, D>> = branches
            .iter_mut()
            .map(|branch| {
                let from = branch.cache.len();
                let tokens = &branch.tokens[from..from + step];
                Feed { cache: &mut branch.cache, tokens, adapter: branch.adapter, logits: 1 }
            })
            .collect();
        model.extend(&mut feeds, &mut logits).unwrap();
        for (rows, logits) in all.iter_mut().zip(logits.chunks_exact(vocab)) {
            rows.push(logits.to_vec());
        }
    }
    all
}

/// Forks of one trunk at several lengths, with and without adapters, against full forwards of the whole text.
fn forks_agree<D: Decoder>(place: &D::Place, config: &Value, tolerance: f64) {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = fixture::checkpoint(folder.path(), config, 1);
    let tuned = tempfile::tempdir().unwrap();
    fixture::adapter(tuned.path(), &checkpoint, ALL, 5, 11);
    let model = D::load(&checkpoint, place).unwrap();
    let adapter = model.adapter(&Adapter::open(tuned.path(), &checkpoint.config).unwrap()).unwrap();
    let budget = CacheBudget::new(1 << 30);
    let trunk = tokens(150, 3);
    let mut branches: Vec<Branch<'_, D>> = Vec::new();
    for adapter in [None, Some(&adapter)] {
        let mut read = Branch { tokens: trunk.clone(), cache: model.cache(&budget), adapter };
        grow(&model, std::slice::from_mut(&mut read), &[5, 100, 45]);
        for (seed, keep) in [1usize, 31, 32, 33, 127, 128, 129, 150, 150].into_iter().enumerate() {
            let mut text = trunk[..keep].to_vec();
            text.extend(tokens(40, 50 + seed as u64));
            branches.push(Branch { tokens: text, cache: read.cache.fork(keep), adapter });
        }
    }
    let kept: Vec<usize> = branches.iter().map(|branch| branch.cache.len()).collect();
    let steps = [1, 1, 1, 30, 1, 2];
    let grown = grow(&model, &mut branches, &steps);
    for ((branch, keep), rows) in branches.iter().zip(kept).zip(&grown) {
        let mut at = keep;
        for (&step, logits) in steps.iter().zip(rows) {
            at += step;
            let naive = naive(&model, branch.adapter, &branch.tokens, at);
            for (fast, slow) in log_softmax(logits).into_iter().zip(naive) {
                assert!((fast - slow).abs() <= tolerance, "{keep} tokens kept, after {at}: {fast} and {slow}");
            }
        }
    }
    drop(branches);
    assert_eq!(budget.used(), 0);
}

fn configs() -> Vec<Value> {
    vec![
        fixture::config("llama", json!({})),
        fixture::config("llama", json!({"num_key_value_heads": 6, "tie_word_embeddings": true})),
        fixture::config("llama", json!({"num_attention_heads": 16, "num_key_value_heads": 1, "head_dim": 40})),
        fixture::config("mistral", json!({"sliding_window": 20})),
        fixture::config("qwen3", json!({"head_dim": 34, "num_attention_heads": 4})),
    ]
}

#[test]
fn forked_caches_give_the_naive_forwards_logits() {
    for config in configs() {
        forks_agree::<CpuModel>(&Precision::AsStored, &config, 2e-6);
        forks_agree::<TensorModel>(&slow_place(), &config, 5e-5);
    }
}

#[test]
fn what_shares_a_step_changes_no_bit() {
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = fixture::checkpoint(folder.path(), &config, 2);
        let model = CpuModel::load(&checkpoint, &Precision::AsStored).unwrap();
        let budget = CacheBudget::new(1 << 30);
        let text = tokens(200, 9);
        let new = || Branch { tokens: text.clone(), cache: model.cache(&budget), adapter: None };
        let mut whole = new();
        let expected = grow(&model, std::slice::from_mut(&mut whole), &[170, 1, 1, 28]).remove(0);
        // In other pieces, beside others of other lengths, from a fork of a longer text.
        let mut pieces = new();
        grow(&model, std::slice::from_mut(&mut pieces), &[1, 13, 33, 100, 22]);
        let mut fork = whole.cache.fork(169);
        fork.truncate(169);
        let mut crowd: Vec<Branch<'_, CpuModel>> =
            vec![pieces, Branch { tokens: text.clone(), cache: fork, adapter: None }];
        crowd.extend((0..40).map(|seed| {
            let mut own = Branch { tokens: tokens(200, 100 + seed), cache: model.cache(&budget), adapter: None };
            grow(&model, std::slice::from_mut(&mut own), &[1 + 4 * seed as usize]);
            own
        }));
        let together = grow(&model, &mut crowd, &[1, 1, 1]);
        for rows in &together[..2] {
            assert_eq!(rows[0], expected[0]);
            assert_eq!(rows[1], expected[1]);
            assert_eq!(rows[2], expected[2]);
        }
    }
}

#[test]
fn a_sequence_that_grows_has_the_logits_of_a_full_pass() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = fixture::checkpoint(folder.path(), &fixture::config("llama", json!({})), 2);
    let model = CpuModel::load(&checkpoint, &Precision::AsStored).unwrap();
    let budget: Arc<CacheBudget> = CacheBudget::new(1 << 30);
    let text = tokens(300, 4);
    let mut branch = Branch { tokens: text.clone(), cache: model.cache(&budget), adapter: None };
    let rows = grow(&model, std::slice::from_mut(&mut branch), &[290, 1, 1, 8]).remove(0);
    for (logits, at) in rows.iter().zip([290, 291, 292, 300]) {
        let naive = naive(&model, None, &text, at);
        for (fast, slow) in log_softmax(logits).into_iter().zip(naive) {
            assert!((fast - slow).abs() < 1e-6, "after {at}: {fast} and {slow}");
        }
    }
}
