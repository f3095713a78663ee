//! Small random models and adapters, written as the files that users bring.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::engine::local::checkpoint::{Checkpoint, ModelFiles};

/// Random numbers for weights: SplitMix64, four uniform draws added up.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn normal(&mut self) -> f32 {
        (0..4).map(|_| (self.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5).sum::<f32>() * 1.7
    }

    fn tensor(&mut self, shape: &[usize], scale: f32, shift: f32) -> (Vec<usize>, Vec<u8>) {
        let count = shape.iter().product();
        let bytes = (0..count).flat_map(|_| (shift + scale * self.normal()).to_le_bytes()).collect();
        (shape.to_vec(), bytes)
    }
}

/// `config.json` of a small model; `overrides` replaces or adds keys.
pub(crate) fn config(model_type: &str, overrides: Value) -> Value {
    let mut config = json!({
        "model_type": model_type, "hidden_act": "silu", "vocab_size": 133, "hidden_size": 48,
        "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
        "head_dim": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 512,
        "tie_word_embeddings": false, "torch_dtype": "float32",
    });
    if let (Value::Object(config), Value::Object(overrides)) = (&mut config, overrides) {
        config.extend(overrides);
    }
    config
}

/// Writes a model folder with random weights and opens it.
pub(crate) fn checkpoint(folder: &Path, config: &Value, seed: u64) -> Checkpoint {
    let vocab: serde_json::Map<String, Value> = (0..133)
        .map(|id| if id == 0 { ("[UNK]".to_owned(), json!(0)) } else { (format!("w{id}"), json!(id)) })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), "{}").unwrap();
    let shapes = expected_shapes(folder, config);
    let mut random = Random(seed);
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let norm = name.contains("norm");
        let (scale, shift) = if norm { (0.2, 1.0) } else { (0.35, 0.0) };
        (name, random.tensor(&shape, scale, shift))
    });
    write_tensors(&folder.join("model.safetensors"), tensors.collect());
    Checkpoint::open(&ModelFiles::Folder(folder.to_owned())).unwrap()
}

/// The shapes that the reader will ask for.
fn expected_shapes(folder: &Path, config: &Value) -> Vec<(String, Vec<usize>)> {
    let source = folder.join("config.json").display().to_string();
    let has_head = !config["tie_word_embeddings"].as_bool().unwrap();
    let parsed = crate::engine::local::checkpoint::parse_config(config, &source, has_head).unwrap();
    parsed.expected_shapes().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
}

/// Writes a PEFT folder with random matrices for `modules` of every layer.
pub(crate) fn adapter(folder: &Path, checkpoint: &Checkpoint, modules: &[&str], rank: usize, seed: u64) {
    let config = json!({
        "peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none", "target_modules": modules,
    });
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    let mut random = Random(seed);
    let mut tensors = HashMap::new();
    for expected in checkpoint.config.expected_shapes() {
        let Some(module) = expected.name.strip_suffix(".weight") else {
            continue;
        };
        if modules.iter().any(|wanted| module.ends_with(wanted)) {
            let name = |side| format!("base_model.model.{module}.lora_{side}.weight");
            tensors.insert(name("A"), random.tensor(&[rank, expected.shape[1]], 0.2, 0.0));
            tensors.insert(name("B"), random.tensor(&[expected.shape[0], rank], 0.2, 0.0));
        }
    }
    write_tensors(&folder.join("adapter_model.safetensors"), tensors);
}

fn write_tensors(path: &Path, tensors: HashMap<String, (Vec<usize>, Vec<u8>)>) {
    let views: HashMap<_, _> = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()))
        .collect();
    safetensors::serialize_to_file(&views, None, path).unwrap();
}
