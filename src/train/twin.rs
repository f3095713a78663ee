//! The CPU's learner against candle's automatic differentiation, on small random models of every architecture.
//!
//! What transformers, peft and TRL say of the same things is checked by the fidelity suite.

use std::sync::Arc;

use candle_core::{DType, Device};
use serde_json::{Value, json};

use super::batch::Batch;
use super::cpu::CpuLearner;
use super::example::{Completion, Pair};
use super::layout::{Layout, Origin};
use super::learner::{Learner, PassOptions, Predictions};
use super::loss::Slopes;
use super::parameters::Parameters;
use super::plan::{LoraConfig, Method};
use super::tensor::TensorLearner;
use super::{FullSpeed, Pace};
use crate::engine::local::adapter::Adapter;
use crate::engine::local::checkpoint::Checkpoint;
use crate::engine::local::cpu::decoder::CpuModel;
use crate::engine::local::cpu::matrix::Precision;
use crate::engine::local::decoder::Decoder as _;
use crate::engine::local::twin::fixture::{Random, adapter, checkpoint, config};

const MODULES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

fn tokens(random: &mut Random, len: usize) -> Vec<u32> {
    (0..len).map(|_| random.below(133) as u32).collect()
}

/// Pairs of uneven lengths: prompts that are shared whole, in part and not at all, and responses of one token.
fn pairs() -> Vec<Pair> {
    let mut random = Random(11);
    let mut pairs = Vec::new();
    for (prompt, chosen, rejected, shared) in
        [(9, 20, 31, 9), (3, 1, 1, 3), (130, 15, 33, 70), (1, 2, 40, 1), (5, 6, 7, 0)]
    {
        let first = tokens(&mut random, prompt);
        let mut second = first.clone();
        if shared < prompt {
            second[shared] = (second[shared] + 1) % 133;
        }
        let mut side = |prompt: Vec<u32>, len| {
            let response_start = prompt.len();
            Completion { token_ids: [prompt, tokens(&mut random, len)].concat(), response_start }
        };
        let (chosen, rejected) = (side(first, chosen), side(second, rejected));
        pairs.push(Pair { chosen, rejected, chosen_weights: None, rejected_weights: None });
    }
    pairs
}

struct Case {
    checkpoint: Checkpoint,
    adapter: Option<Adapter>,
    method: Method,
    _folder: tempfile::TempDir,
}

impl Case {
    fn new(config: &Value, method: Method) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = checkpoint(folder.path(), config, 3);
        let adapter = match &method {
            Method::Full => None,
            Method::Lora(lora) => {
                let path = folder.path().join("adapter");
                std::fs::create_dir(&path).unwrap();
                let modules: Vec<&str> = lora.target_modules.iter().map(String::as_str).collect();
                adapter(&path, &checkpoint, &modules, lora.r, 5);
                Some(Adapter::open(&path, &checkpoint.config).unwrap())
            }
        };
        Self { checkpoint, adapter, method, _folder: folder }
    }

    fn layout(&self) -> (Layout, Parameters) {
        let origin = Origin {
            checkpoint: &self.checkpoint,
            precision: Precision::AsStored,
            adapter: self.adapter.as_ref(),
            seed: 1,
        };
        Layout::new(&origin, &self.method).unwrap()
    }

    fn learners(&self) -> [(Box<dyn Learner>, Parameters); 2] {
        let pace: Arc<dyn Pace> = Arc::new(FullSpeed);
        let model = Arc::new(CpuModel::load(&self.checkpoint, &Precision::AsStored).unwrap());
        let (layout, parameters) = self.layout();
        let mut cpu = CpuLearner::new(model, layout, pace.clone());
        cpu.update(&parameters).unwrap();
        let layout = self.layout().0;
        let mut tensor = TensorLearner::new(&self.checkpoint, layout, Device::Cpu, DType::F32, pace).unwrap();
        tensor.update(&parameters).unwrap();
        [(Box::new(cpu), parameters.clone()), (Box::new(tensor), parameters)]
    }
}

fn lora(modules: &[&str], dropout: f64) -> Method {
    let target_modules = modules.iter().map(|name| (*name).to_owned()).collect();
    Method::Lora(LoraConfig { r: 4, lora_alpha: 4.0, lora_dropout: dropout, target_modules })
}

/// Predictions and gradients of a batch, for slopes that differ by target.
fn run(learner: &mut dyn Learner, parameters: &mut Parameters, batch: &Batch, options: PassOptions) -> Predictions {
    let mut found = Predictions::default();
    parameters.clear_gradients();
    let mut loss = |predictions: &Predictions| {
        found = predictions.clone();
        let slope = |index: usize, factor: f32| ((index % 7) as f32 - 3.2) * factor;
        let count = batch.targets.len();
        let divergence = if options.divergence { (0..count).map(|i| slope(i + 2, 0.02)).collect() } else { Vec::new() };
        Ok(Slopes { logprob: (0..count).map(|index| slope(index, 0.05)).collect(), divergence })
    };
    learner.pass(parameters, batch, options, &mut loss).unwrap();
    found
}

fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x * x)).sum::<f64>().sqrt() as f32;
    let off = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let size = norm(&mut expected.iter().copied());
    assert!(off <= tolerance * size, "{what}: off by {off} of {size}");
}

fn same(what: &str, found: &Parameters, expected: &Parameters) {
    for (found, expected) in found.0.iter().zip(&expected.0) {
        assert_eq!(found.name, expected.name);
        let size = expected.gradient.iter().map(|g| g.abs()).fold(0.0, f32::max);
        assert!(size > 0.0 && size.is_finite(), "{what}: {} has no gradient", found.name);
        close(&format!("{what} {}", found.name), &found.gradient, &expected.gradient, 5e-5);
    }
}

const PLAIN: PassOptions = PassOptions { dropout: [7, 3, 1], divergence: false, checkpointing: false };

fn agree(what: &str, case: &Case, options: PassOptions) {
    let pairs = pairs();
    let batch = Batch::of_pairs(&pairs);
    let [(mut cpu, mut cpu_parameters), (mut tensor, mut tensor_parameters)] = case.learners();
    let found = run(&mut *cpu, &mut cpu_parameters, &batch, options);
    let expected = run(&mut *tensor, &mut tensor_parameters, &batch, options);
    close(&format!("{what} logprobs"), &found.logprobs, &expected.logprobs, 1e-5);
    if options.divergence {
        close(&format!("{what} divergences"), &found.divergences, &expected.divergences, 1e-4);
        let size = expected.divergences.iter().copied().fold(0.0, f32::max);
        assert!(size > 1e-3 || matches!(case.method, Method::Full), "{what}: policy and reference are alike");
    }
    same(what, &cpu_parameters, &tensor_parameters);
    close(what, &cpu.reference(&batch).unwrap(), &tensor.reference(&batch).unwrap(), 1e-5);
}

fn architectures() -> Vec<(&'static str, Value)> {
    vec![
        ("llama tied", config("llama", json!({"tie_word_embeddings": true}))),
        ("llama biased", config("llama", json!({"attention_bias": true, "mlp_bias": true}))),
        ("qwen2", config("qwen2", json!({}))),
        ("qwen3", config("qwen3", json!({}))),
        ("mistral", config("mistral", json!({"sliding_window": 11}))),
    ]
}

#[test]
fn gradients_of_adapters_agree_on_every_architecture() {
    for (name, config) in architectures() {
        agree(name, &Case::new(&config, lora(&MODULES, 0.0)), PLAIN);
    }
}

#[test]
fn gradients_of_whole_models_agree_on_every_architecture() {
    for (name, config) in architectures() {
        agree(name, &Case::new(&config, Method::Full), PassOptions { divergence: true, ..PLAIN });
    }
}

#[test]
fn dropout_divergences_and_a_head_s_adapter_agree() {
    let config = config("llama", json!({}));
    agree("dropout", &Case::new(&config, lora(&["gate_proj", "o_proj"], 0.3)), PLAIN);
    agree("divergence", &Case::new(&config, lora(&MODULES, 0.0)), PassOptions { divergence: true, ..PLAIN });
    agree("head", &Case::new(&config, lora(&["lm_head", "q_proj"], 0.2)), PassOptions { divergence: true, ..PLAIN });
}

#[test]
fn computing_layers_again_changes_nothing() {
    let pairs = pairs();
    let batch = Batch::of_pairs(&pairs);
    for method in [lora(&MODULES, 0.2), Method::Full] {
        let case = Case::new(&config("qwen3", json!({"tie_word_embeddings": true})), method);
        let exact = case.learners().map(|(mut learner, mut parameters)| {
            let options = [false, true].map(|checkpointing| PassOptions { checkpointing, ..PLAIN });
            let gradients = options.map(|options| {
                run(&mut *learner, &mut parameters, &batch, options);
                parameters.clone()
            });
            same("checkpointing", &gradients[1], &gradients[0]);
            gradients[0] == gradients[1]
        });
        assert!(exact[0], "the CPU's bits are the same");
    }
}

#[test]
fn a_shared_prompt_gives_what_two_copies_give() {
    let case = Case::new(&config("mistral", json!({"sliding_window": 40})), lora(&MODULES, 0.0));
    let pairs = pairs();
    let shared = Batch::of_pairs(&pairs);
    let apart = Batch::of_completions(pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]));
    assert!(shared.len() < apart.len());
    assert_eq!(shared.targets.len(), apart.targets.len());
    let [(mut cpu, mut first), _] = case.learners();
    let mut second = first.clone();
    let found = run(&mut *cpu, &mut first, &shared, PLAIN);
    let expected = run(&mut *cpu, &mut second, &apart, PLAIN);
    close("logprobs", &found.logprobs, &expected.logprobs, 1e-5);
    same("shared", &first, &second);
}

#[test]
fn gradients_are_those_of_the_loss() {
    let case = Case::new(&config("qwen2", json!({})), lora(&MODULES, 0.25));
    let pairs = pairs();
    let batch = Batch::of_pairs(&pairs);
    let [(mut cpu, mut parameters), _] = case.learners();
    run(&mut *cpu, &mut parameters, &batch, PLAIN);
    let loss = |cpu: &mut dyn Learner, parameters: &mut Parameters| -> f64 {
        let found = run(cpu, parameters, &batch, PLAIN);
        found.logprobs.iter().enumerate().map(|(i, &p)| ((i % 7) as f64 - 3.2) * 0.05 * f64::from(p)).sum()
    };
    // Along the gradient the loss rises by the gradient's square.
    let square = parameters.gradient_norm().powi(2);
    let step = 1e-3 / square.sqrt();
    let moved = |sign: f32| {
        let mut moved = parameters.clone();
        for parameter in &mut moved.0 {
            let gradient = parameter.gradient.clone();
            parameter.values.iter_mut().zip(gradient).for_each(|(value, g)| *value += sign * step as f32 * g);
        }
        moved
    };
    let rise = loss(&mut *cpu, &mut moved(1.0)) - loss(&mut *cpu, &mut moved(-1.0));
    let expected = 2.0 * step * square;
    assert!((rise - expected).abs() < 0.02 * expected, "rose by {rise}, not {expected}");
}
