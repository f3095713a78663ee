//! The CPU's fast paths against the candle decoder, the slow twin, on small random models of every architecture.
//!
//! Sequences are of uneven lengths around the edges of tiles (14), panels (32) and score chunks (128); adapters differ
//! by row; windows are shorter than the text. What transformers and peft say of the same things is checked by the
//! fidelity suite.

pub(crate) mod fixture;
mod generation;

use std::path::Path;

use candle_core::Device;
use serde_json::{Value, json};

use self::fixture::Random;
use super::DtypeChoice;
use super::adapter::Adapter;
use super::checkpoint::Checkpoint;
use super::cpu::decoder::CpuModel;
use super::cpu::matrix::Precision;
use super::decoder::{Decoder, Question, Sequence, State};
use super::tensor::{TensorModel, TensorPlace};
use crate::domain::model::PerModel;
use crate::domain::score::TokenScore;

const LENGTHS: [usize; 6] = [2, 14, 15, 33, 130, 147];

/// Trajectories of uneven lengths over the vocabulary.
fn trajectories() -> Vec<Vec<u32>> {
    let mut random = Random(7);
    LENGTHS.iter().map(|&length| (0..length).map(|_| random.below(133) as u32).collect()).collect()
}

/// Scores trajectories in one pass: base, then an adapter or none for the positive and the negative part.
fn scores<D: Decoder>(
    place: &D::Place,
    checkpoint: &Checkpoint,
    adapters: [Option<&Path>; 2],
    trajectories: &[Vec<u32>],
) -> Vec<Vec<TokenScore>> {
    let model = D::load(checkpoint, place).unwrap();
    let adapters = adapters
        .map(|folder| folder.map(|folder| model.adapter(&Adapter::open(folder, &checkpoint.config).unwrap()).unwrap()));
    let rows = [None, adapters[0].as_ref(), adapters[1].as_ref()];
    let start = |tokens: &[u32]| tokens.len().div_ceil(3);
    let sequences: Vec<_> = rows
        .iter()
        .flat_map(|adapter| {
            trajectories.iter().map(|tokens| Sequence {
                tokens: &tokens[..tokens.len() - 1],
                adapter: *adapter,
                keep: start(tokens) - 1..tokens.len() - 1,
            })
        })
        .collect();
    let hidden = model.forward(&sequences, &|| false).unwrap();
    let state = |row: usize, index: usize| State {
        model: &model,
        adapter: rows[row],
        hidden: &hidden[row * trajectories.len() + index],
    };
    let score = |(index, tokens): (usize, &Vec<u32>)| {
        let states =
            PerModel { base: state(0, index), positive: Some(state(1, index)), negative: Some(state(2, index)) };
        let question = Question { targets: &tokens[start(tokens)..], beta: 1.5, top: 3, watch: &[132, 0] };
        D::score(&states, question, &|| false).unwrap()
    };
    trajectories.iter().enumerate().map(score).collect()
}

/// Compares every number of two scorings; the tolerance is relative for numbers beyond 1.
fn assert_close(fast: &[Vec<TokenScore>], slow: &[Vec<TokenScore>], tolerance: f64) {
    let values = |per: &PerModel<f32>| [Some(per.base), per.positive, per.negative];
    let close =
        |what: &str, a: f64, b: f64| assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{what}: {a} and {b}");
    for (fast, slow) in fast.iter().flatten().zip(slow.iter().flatten()) {
        for (what, a, b) in [("logprob", fast.logprob, slow.logprob), ("entropy", fast.entropy, slow.entropy)] {
            for (a, b) in values(&a).into_iter().zip(values(&b)) {
                close(what, a.unwrap().into(), b.unwrap().into());
            }
        }
        close("score", fast.score.unwrap(), slow.score.unwrap());
        assert_eq!(fast.rank, slow.rank);
        assert_eq!(fast.top.len(), 5);
        for (a, b) in fast.top.iter().zip(&slow.top) {
            assert_eq!(a.id, b.id);
            close("alternative", a.score.unwrap(), b.score.unwrap());
            for (a, b) in values(&a.logprob).into_iter().zip(values(&b.logprob)) {
                close("alternative", a.unwrap().into(), b.unwrap().into());
            }
        }
    }
    assert_eq!(fast.iter().map(Vec::len).collect::<Vec<_>>(), slow.iter().map(Vec::len).collect::<Vec<_>>());
}

fn slow_place() -> TensorPlace {
    TensorPlace::new(Device::Cpu, "cpu".to_owned(), DtypeChoice::F32)
}

fn agree(model_type: &str, overrides: Value, modules: [&[&str]; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = fixture::checkpoint(folder.path(), &fixture::config(model_type, overrides), 1);
    let adapters = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (seed, (adapter, modules)) in adapters.iter().zip(modules).enumerate() {
        fixture::adapter(adapter.path(), &checkpoint, modules, 3 + 30 * seed, 10 + seed as u64);
    }
    let adapters = [Some(adapters[0].path()), Some(adapters[1].path())];
    let trajectories = trajectories();
    let fast = scores::<CpuModel>(&Precision::AsStored, &checkpoint, adapters, &trajectories);
    let slow = scores::<TensorModel>(&slow_place(), &checkpoint, adapters, &trajectories);
    assert_close(&fast, &slow, 2e-4);
    assert_alone_is_together(&checkpoint, adapters, &trajectories, &fast);
}

/// A trajectory's scores are the same bits whether it is scored alone or with others.
fn assert_alone_is_together(
    checkpoint: &Checkpoint,
    adapters: [Option<&Path>; 2],
    trajectories: &[Vec<u32>],
    together: &[Vec<TokenScore>],
) {
    for (tokens, together) in trajectories.iter().zip(together) {
        let alone = scores::<CpuModel>(&Precision::AsStored, checkpoint, adapters, std::slice::from_ref(tokens));
        assert_eq!(&alone[0], together);
    }
}

const GATED: &[&str] = &["gate_proj", "up_proj", "down_proj"];
const ALL: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"];
const QUERY_VALUE: &[&str] = &["q_proj", "v_proj"];

#[test]
fn llama() {
    agree("llama", json!({}), [GATED, ALL]);
}

#[test]
fn llama_3_with_scaled_rotation_and_a_tied_head() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    let overrides = json!({"tie_word_embeddings": true, "rope_scaling": scaling, "rope_theta": 500_000.0});
    agree("llama", overrides, [QUERY_VALUE, GATED]);
}

#[test]
fn llama_with_biases_and_as_many_key_heads_as_query_heads() {
    let overrides = json!({"attention_bias": true, "mlp_bias": true, "num_key_value_heads": 6});
    agree("llama", overrides, [QUERY_VALUE, GATED]);
}

#[test]
fn mistral_with_a_window_shorter_than_the_text() {
    agree("mistral", json!({"sliding_window": 20}), [ALL, QUERY_VALUE]);
}

#[test]
fn qwen2_with_biases() {
    agree("qwen2", json!({"use_sliding_window": false}), [GATED, QUERY_VALUE]);
}

#[test]
fn qwen3_with_normalised_heads_of_their_own_size() {
    agree("qwen3", json!({"head_dim": 34, "num_attention_heads": 4}), [QUERY_VALUE, ALL]);
}

#[test]
fn a_depth_beyond_one_tile_is_added_up_in_order() {
    let overrides = json!({"hidden_size": 96, "intermediate_size": 1300, "num_hidden_layers": 2});
    agree("llama", overrides, [GATED, QUERY_VALUE]);
}

#[test]
fn sixteen_bit_weights_are_the_rounded_ones() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = fixture::checkpoint(folder.path(), &fixture::config("llama", json!({})), 3);
    let trajectories = trajectories();
    let score = |precision| scores::<CpuModel>(&precision, &checkpoint, [None, None], &trajectories);
    let exact = score(Precision::F32);
    for precision in [Precision::Bf16, Precision::F16] {
        let rounded = score(precision);
        assert_ne!(rounded, exact);
        assert_close_enough(&rounded, &exact);
    }
}

/// Rounding weights moves scores a little, not a lot.
fn assert_close_enough(rounded: &[Vec<TokenScore>], exact: &[Vec<TokenScore>]) {
    for (a, b) in rounded.iter().flatten().zip(exact.iter().flatten()) {
        assert!((a.logprob.base - b.logprob.base).abs() < 0.5, "{} and {}", a.logprob.base, b.logprob.base);
    }
}

#[test]
fn a_pass_that_nobody_waits_for_ends() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = fixture::checkpoint(folder.path(), &fixture::config("llama", json!({})), 4);
    let model = CpuModel::load(&checkpoint, &Precision::AsStored).unwrap();
    let sequence = Sequence { tokens: &[1, 2, 3], adapter: None, keep: 0..3 };
    let result = model.forward(&[sequence], &|| true);
    assert!(matches!(result, Err(crate::engine::EngineError::Cancelled)));
}
