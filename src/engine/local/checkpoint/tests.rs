//! Whole models in temporary folders and GGUF files, good and damaged.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};

use super::*;
use crate::engine::text::fixtures::{BYTE_LEVEL_TOKENS, sentencepiece_metadata, write_tokenizer};

fn tiny_config() -> Value {
    json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": BYTE_LEVEL_TOKENS, "hidden_size": 8,
           "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
           "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
           "tie_word_embeddings": false, "torch_dtype": "float32"})
}

fn parse(config: &Value) -> Result<ModelConfig, EngineError> {
    hf_config::parse(config, "config.json", true)
}

/// Numbers that tell tensors and places apart.
fn numbers(name: &str, len: usize) -> Vec<u8> {
    let seed = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    (0..len).flat_map(|i| ((seed.wrapping_add(i as u32) % 1000) as f32 / 500.0 - 1.0).to_le_bytes()).collect()
}

fn write_shard(path: &Path, tensors: &[ExpectedTensor]) {
    let bytes: Vec<_> = tensors.iter().map(|t| numbers(&t.name, t.shape.iter().product())).collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        (tensor.name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

fn write_model(folder: &Path, config: &Value) -> Vec<ExpectedTensor> {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    write_tokenizer(folder, &json!({}));
    let tensors = parse(config).unwrap().expected_shapes();
    write_shard(&folder.join("model.safetensors"), &tensors);
    tensors
}

fn open(folder: &Path) -> Result<Checkpoint, EngineError> {
    Checkpoint::open(&resolve(folder.to_str().unwrap())?)
}

fn refusal(folder: &Path) -> String {
    open(folder).unwrap_err().to_string()
}

#[test]
fn a_folder_opens_and_gives_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = write_model(folder.path(), &tiny_config());
    let checkpoint = open(folder.path()).unwrap();
    for expected in &tensors {
        let tensor = checkpoint.tensor(&expected.name).unwrap();
        assert_eq!((tensor.kind, &tensor.shape), (StoredKind::F32, &expected.shape));
        assert_eq!(tensor.bytes(), numbers(&expected.name, expected.shape.iter().product()));
    }
    assert!(checkpoint.has("lm_head.weight") && !checkpoint.has("model.layers.2.mlp.up_proj.weight"));
    let error = checkpoint.tensor("model.layers.9.mlp.up_proj.weight").unwrap_err().to_string();
    assert!(error.contains("layers.9.mlp") && error.contains("model.safetensors"), "{error}");
    // 2 * 263 * 8 + 2 * (8*8 + 4*8 + 4*8 + 8*8 + 3*12*8 + 2*8) + 8
    assert_eq!(checkpoint.parameters(), 5208);
    assert_eq!(checkpoint.main_kind(), StoredKind::F32);
    let file = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(
        checkpoint.sha256().unwrap(),
        hex(sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), file)).as_slice())
    );
    assert_eq!(checkpoint.id, folder.path().file_name().unwrap().to_str().unwrap());
}

#[test]
fn shards_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let single = tempfile::tempdir().unwrap();
    let tensors = write_model(single.path(), &tiny_config());
    std::fs::write(folder.path().join("config.json"), tiny_config().to_string()).unwrap();
    write_tokenizer(folder.path(), &json!({}));
    let (first, second) = tensors.split_at(9);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut map = BTreeMap::new();
    for (name, part) in names.iter().zip([first, second]) {
        write_shard(&folder.path().join(name), part);
        map.extend(part.iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    let index = folder.path().join("model.safetensors.index.json");
    let write_index = |map: &BTreeMap<String, Value>| {
        std::fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    };
    write_index(&map);
    let (sharded, whole) = (open(folder.path()).unwrap(), open(single.path()).unwrap());
    for tensor in &tensors {
        assert_eq!(sharded.tensor(&tensor.name).unwrap().bytes(), whole.tensor(&tensor.name).unwrap().bytes());
    }
    let lines: String = names
        .iter()
        .map(|name| format!("{name}\0{}\n", digest::of_files(&[folder.path().join(name)]).unwrap()))
        .collect();
    let expected = <sha2::Sha256 as sha2::Digest>::digest(lines.as_bytes());
    assert_eq!(sharded.sha256().unwrap(), hex(expected.as_slice()));

    let mut wrong = map.clone();
    wrong.insert("lm_head.weight".to_owned(), json!(names[0]));
    write_index(&wrong);
    let error = refusal(folder.path());
    assert!(error.contains("lm_head.weight") && error.contains(names[0]), "{error}");
    for shard in [json!("absent.safetensors"), json!("../model.safetensors"), json!("weights.bin"), json!(7)] {
        wrong.insert("lm_head.weight".to_owned(), shard.clone());
        write_index(&wrong);
        let error = refusal(folder.path());
        assert!(error.contains("index.json") && error.contains("shard"), "{shard}: {error}");
    }
    map.remove("model.norm.weight");
    write_index(&map);
    assert!(refusal(folder.path()).contains("model.norm.weight"));
}

#[test]
fn what_does_not_fit_the_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &tiny_config());
    let with = |key: &str, value: Value| {
        let mut config = tiny_config();
        config[key] = value;
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        refusal(folder.path())
    };
    let error = with("intermediate_size", json!(16));
    assert!(
        error.contains("mlp.gate_proj.weight") && error.contains("[12, 8]") && error.contains("[16, 8]"),
        "{error}"
    );
    assert!(error.contains("model.safetensors"), "{error}");
    let error = with("num_hidden_layers", json!(3));
    assert!(error.contains("model.layers.2.self_attn.q_proj.weight") && error.contains("missing"), "{error}");
    let error = with("attention_bias", json!(true));
    assert!(error.contains("q_proj.bias"), "{error}");
    for (key, value, words) in [
        ("model_type", json!("gemma2"), "gemma2"),
        ("hidden_act", json!("gelu"), "gelu"),
        ("rope_scaling", json!({"type": "yarn", "factor": 4.0}), "yarn"),
        ("rope_scaling", json!({"rope_type": "dynamic", "factor": 4.0}), "dynamic"),
        ("rope_parameters", json!({"rope_type": "longrope"}), "longrope"),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("quantization_config", json!({"quant_method": "gptq"}), "gptq"),
        ("architectures", json!(["LlamaForSequenceClassification"]), "LlamaForSequenceClassification"),
        ("hidden_size", json!(-8), "hidden_size"),
        ("hidden_size", json!(0), "hidden size"),
        ("num_hidden_layers", json!(u64::MAX), "layers"),
        ("num_attention_heads", json!(0), "heads"),
        ("num_key_value_heads", json!(3), "key-value"),
        ("head_dim", json!(3), "odd"),
        ("vocab_size", Value::Null, "vocab_size"),
        ("rms_norm_eps", json!("small"), "rms_norm_eps"),
        ("rope_theta", json!(0.0), "rope_theta"),
    ] {
        let error = with(key, value);
        assert!(error.contains(words) && error.contains("config.json"), "{key}: {error}");
    }
    assert!(with("model_type", json!("gemma2")).contains("llama, mistral, qwen2, qwen3"));

    // A tokenizer with more ids than the model has embeddings.
    let mut small = tiny_config();
    small["vocab_size"] = json!(100);
    write_shard(&folder.path().join("model.safetensors"), &parse(&small).unwrap().expected_shapes());
    let error = with("vocab_size", json!(100));
    assert!(error.contains("tokenizer does not match") && error.contains("262") && error.contains("100"), "{error}");
}

#[test]
fn both_spellings_of_a_configuration_are_the_same() {
    let mut old = tiny_config();
    old["rope_theta"] = json!(500000.0);
    old["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                 "original_max_position_embeddings": 32});
    let mut new = tiny_config();
    let fields = new.as_object_mut().unwrap();
    fields.remove("rope_theta");
    fields.remove("torch_dtype");
    new["dtype"] = json!("float32");
    new["rope_parameters"] = old["rope_scaling"].clone();
    new["rope_parameters"]["rope_theta"] = json!(500000.0);
    let config = parse(&new).unwrap();
    assert_eq!(parse(&old).unwrap(), config);
    assert_eq!((config.rope.theta, config.dtype), (500000.0, Some(StoredKind::F32)));
    assert!(matches!(config.rope.scaling, RopeScaling::Llama3 { original_max_position_embeddings: 32, .. }));
}

#[test]
fn families_differ_as_in_transformers() {
    let family = |name: &str, changes: Value| {
        let mut config = tiny_config();
        config["model_type"] = json!(name);
        config.as_object_mut().unwrap().remove("architectures");
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        parse(&config)
    };
    let qwen2 = family("qwen2", json!({"sliding_window": 8, "use_sliding_window": false})).unwrap();
    assert!(qwen2.attention_bias && !qwen2.attention_output_bias && !qwen2.qk_norm && qwen2.sliding_window.is_none());
    let qwen3 = family("qwen3", json!({"head_dim": null})).unwrap();
    assert!(qwen3.qk_norm && !qwen3.attention_bias && qwen3.head_dim == 128);
    let llama = family("llama", json!({"attention_bias": true, "mlp_bias": true})).unwrap();
    assert!(llama.attention_bias && llama.attention_output_bias && llama.mlp_bias);
    assert_eq!(family("mistral", json!({"sliding_window": 8})).unwrap().sliding_window, Some(8));
    assert_eq!(family("mistral", json!({"sliding_window": null})).unwrap().sliding_window, None);
    // The default window of 4096 reaches further than this context.
    assert_eq!(family("mistral", json!({})).unwrap().sliding_window, None);
    let some_layers = json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1});
    assert!(family("qwen2", some_layers).unwrap_err().to_string().contains("1 of 2 layers"));
    let all_layers = json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 0});
    assert_eq!(family("qwen2", all_layers).unwrap().sliding_window, Some(8));
}

#[test]
fn tied_heads() {
    let mut config = tiny_config();
    config["tie_word_embeddings"] = json!(true);
    let folder = tempfile::tempdir().unwrap();
    let tensors = write_model(folder.path(), &config);
    assert!(!tensors.iter().any(|tensor| tensor.name == "lm_head.weight"));
    assert!(open(folder.path()).unwrap().config.tie_word_embeddings);
    // Where the configuration is silent, the weights decide; where it says no, the head must be there.
    config.as_object_mut().unwrap().remove("tie_word_embeddings");
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    assert!(open(folder.path()).unwrap().config.tie_word_embeddings);
    std::fs::write(folder.path().join("config.json"), tiny_config().to_string()).unwrap();
    assert!(refusal(folder.path()).contains("lm_head.weight"));
}

#[test]
fn pickles_adapters_and_other_folders_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("config.json"));
    std::fs::write(folder.path().join("config.json"), tiny_config().to_string()).unwrap();
    assert!(refusal(folder.path()).contains("no weights"));
    std::fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("pytorch_model.bin") && error.contains("pickle"), "{error}");
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    assert!(refusal(folder.path()).contains("PEFT adapter"));
    for missing in ["/nowhere/at/all", "./absent", "just-a-name", ""] {
        assert!(resolve(missing).unwrap_err().to_string().contains("no file or folder"), "{missing}");
    }
    std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
    let file = folder.path().join("model.safetensors");
    assert!(resolve(file.to_str().unwrap()).unwrap_err().to_string().contains("give the folder"));
}

/// xorshift64: damage that is the same in every run.
struct Damage(u64);

impl Damage {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    /// Truncates, flips bits or overwrites bytes, most of it in the first `head` bytes.
    fn apply(&mut self, bytes: &[u8], head: usize) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        if self.next(4) == 0 {
            damaged.truncate(self.next(bytes.len()));
            return damaged;
        }
        for _ in 0..=self.next(4) {
            let at = self.next(head);
            match self.next(3) {
                0 => damaged[at] ^= 1 << self.next(8),
                1 => damaged[at] = 0xff,
                _ => {
                    let end = (at + 8).min(damaged.len());
                    damaged[at..end].fill([0, 0xff, 0x7f, 0x80][self.next(4)]);
                }
            }
        }
        damaged
    }
}

#[test]
fn damaged_safetensors_give_errors_and_never_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = write_model(folder.path(), &tiny_config());
    let path = folder.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize + 8;
    let mut damage = Damage(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    let text = crate::engine::text::fixtures::byte_level(&json!({}));
    for round in 0..600 {
        let bytes = if round == 0 { good[..good.len() - 1].to_vec() } else { damage.apply(&good, header) };
        std::fs::write(&path, &bytes).unwrap();
        // The tokenizer is left out: it takes longer than all the rest.
        let opened = folder::weights(folder.path()).and_then(|weights| {
            let config = parse(&tiny_config())?;
            weights.catalog.check(&config, &weights.files)?;
            let folder::Weights { files, maps, catalog } = weights;
            Ok(Checkpoint { id: String::new(), config, text: text.clone(), files, maps, catalog })
        });
        match opened {
            Err(error) => {
                refused += 1;
                assert!(
                    error.to_string().contains("model.safetensors") || error.to_string().contains("tensor"),
                    "{error}"
                );
            }
            Ok(checkpoint) => {
                for tensor in &tensors {
                    let stored = checkpoint.tensor(&tensor.name).unwrap();
                    assert_eq!(stored.bytes().len(), stored.kind.bytes_of(&stored.shape).unwrap());
                }
            }
        }
    }
    assert!(refused > 300, "{refused}");
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(refusal(folder.path()).contains("truncated"));
}

/// Writes GGUF version 3: the metadata of a tiny llama with a SentencePiece vocabulary, tensors in F32.
fn gguf_bytes(layers: usize, extra: &[(&str, gguf_reader::Value)]) -> (Vec<u8>, ModelConfig) {
    use gguf_reader::Value as Meta;
    let vocabulary = sentencepiece_metadata();
    let tokens = vocabulary.texts("tokenizer.ggml.tokens").unwrap().len();
    let mut config = tiny_config();
    config["vocab_size"] = json!(tokens);
    config["num_hidden_layers"] = json!(layers);
    let config = parse(&config).unwrap();
    let integer = |value: usize| Meta::Integer(value as i128);
    let mut pairs: Vec<(&str, Meta)> = vec![
        ("general.architecture", Meta::Text("llama".to_owned())),
        ("llama.block_count", integer(layers)),
        ("llama.context_length", integer(64)),
        ("llama.embedding_length", integer(8)),
        ("llama.feed_forward_length", integer(12)),
        ("llama.attention.head_count", integer(2)),
        ("llama.attention.head_count_kv", integer(1)),
        ("llama.attention.layer_norm_rms_epsilon", Meta::Float(1e-5)),
    ];
    for key in ["model", "tokens", "token_type", "scores", "bos_token_id", "eos_token_id", "unknown_token_id"] {
        let key: &'static str = Box::leak(format!("tokenizer.ggml.{key}").into_boxed_str());
        pairs.push((key, vocabulary.get(key).unwrap().clone()));
    }
    pairs.retain(|(key, _)| !extra.iter().any(|(other, _)| other == key));
    pairs.extend(extra.iter().cloned());

    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let tensors = config.expected_shapes();
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in &pairs {
        text(&mut out, key);
        match value {
            Meta::Integer(value) => {
                out.extend(10u32.to_le_bytes());
                out.extend((*value as u64).to_le_bytes());
            }
            Meta::Float(value) => {
                out.extend(12u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Meta::Bool(value) => {
                out.extend(7u32.to_le_bytes());
                out.push((*value).into());
            }
            Meta::Text(value) => {
                out.extend(8u32.to_le_bytes());
                text(&mut out, value);
            }
            Meta::Texts(values) => {
                out.extend([9u32, 8].map(u32::to_le_bytes).concat());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| text(&mut out, value));
            }
            Meta::Integers(values) => {
                out.extend([9u32, 5].map(u32::to_le_bytes).concat());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| out.extend((*value as i32).to_le_bytes()));
            }
            Meta::Floats(values) => {
                out.extend([9u32, 6].map(u32::to_le_bytes).concat());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Meta::Bools(_) => unreachable!("no test writes them"),
        }
    }
    let mut offset = 0u64;
    for tensor in &tensors {
        text(&mut out, &gguf_name(&tensor.name));
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|dim| out.extend((*dim as u64).to_le_bytes()));
        out.extend(0u32.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (tensor.shape.iter().product::<usize>() * 4).next_multiple_of(32) as u64;
    }
    out.resize(out.len().next_multiple_of(32), 0);
    for tensor in &tensors {
        out.extend(interleaved(tensor, &config));
        out.resize(out.len().next_multiple_of(32), 0);
    }
    (out, config)
}

fn gguf_name(name: &str) -> String {
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ];
    names.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// A tensor's bytes as llama.cpp's converter writes them: `permute` for queries and keys.
fn interleaved(tensor: &ExpectedTensor, config: &ModelConfig) -> Vec<u8> {
    let bytes = numbers(&tensor.name, tensor.shape.iter().product());
    let heads = match () {
        () if tensor.name.contains("q_proj") => config.num_heads,
        () if tensor.name.contains("k_proj") => config.num_kv_heads,
        () => return bytes,
    };
    let (half, row) = (config.head_dim / 2, tensor.shape[1] * 4);
    let mut out = Vec::new();
    for head in 0..heads {
        for i in 0..half {
            for side in 0..2 {
                let source = head * config.head_dim + side * half + i;
                out.extend(&bytes[source * row..(source + 1) * row]);
            }
        }
    }
    out
}

fn open_gguf(bytes: &[u8]) -> Result<Checkpoint, EngineError> {
    let file = tempfile::Builder::new().prefix("tiny").suffix(".gguf").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Checkpoint::open(&resolve(file.path().to_str().unwrap())?)
}

#[test]
fn a_gguf_file_opens_in_hugging_faces_order() {
    let (bytes, config) = gguf_bytes(2, &[]);
    let checkpoint = open_gguf(&bytes).unwrap();
    assert_eq!(checkpoint.config, ModelConfig { dtype: None, ..config.clone() });
    for expected in config.expected_shapes() {
        let tensor = checkpoint.tensor(&expected.name).unwrap();
        assert_eq!(tensor.bytes(), numbers(&expected.name, expected.shape.iter().product()), "{}", expected.name);
    }
    assert!(checkpoint.id.starts_with("tiny") && !checkpoint.id.contains('.'), "{}", checkpoint.id);
}

#[test]
fn gguf_files_that_cannot_serve_are_refused_by_name() {
    use gguf_reader::Value as Meta;
    let text = |text: &str| Meta::Text(text.to_owned());
    for (key, value, words) in [
        ("general.architecture", text("gemma3"), "gemma3"),
        ("llama.rope.scaling.type", text("yarn"), "yarn"),
        ("llama.rope.dimension_count", Meta::Integer(2), "rotary"),
        ("llama.expert_count", Meta::Integer(8), "experts"),
        ("llama.feed_forward_length", Meta::Integer(16), "[12, 8]"),
        ("llama.block_count", Meta::Integer(3), "model.layers.2"),
        ("llama.attention.head_count", Meta::Integer(0), "heads"),
        ("split.count", Meta::Integer(3), "merge"),
        ("general.alignment", Meta::Integer(0), "alignment"),
        ("tokenizer.ggml.model", text("t5"), "t5"),
        ("llama.context_length", text("long"), "context_length"),
    ] {
        let error = open_gguf(&gguf_bytes(2, &[(key, value)]).0).unwrap_err().to_string();
        assert!(error.contains(words), "{key}: {error}");
    }
    // IQ4_XS, which is number 23, in the first tensor; its type follows its name, its rank and its dimensions.
    let mut bytes = gguf_bytes(1, &[]).0;
    let name = b"token_embd.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    bytes[at..at + 4].copy_from_slice(&23u32.to_le_bytes());
    let error = open_gguf(&bytes).unwrap_err().to_string();
    assert!(error.contains("token_embd.weight") && error.contains("IQ4_XS"), "{error}");
    let whole = gguf_bytes(1, &[]).0;
    let error = open_gguf(&whole[..whole.len() - 100]).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn damaged_gguf_files_give_errors_and_never_a_crash() {
    let (good, _) = gguf_bytes(1, &[]);
    let mut damage = Damage(0x2545_f491_4f6c_dd1d);
    let mut refused = 0;
    for _ in 0..3000 {
        let bytes = damage.apply(&good, good.len() - 1000);
        let Ok(head) = gguf_reader::read(&bytes) else {
            refused += 1;
            continue;
        };
        for entry in head.tensors.values() {
            assert!(entry.range.end <= bytes.len());
        }
        let opened = gguf::config(&head, &bytes, "damaged")
            .and_then(|config| gguf::catalog(&head, &config, Path::new("damaged"), 0)?.check(&config, &[]));
        refused += usize::from(opened.is_err() || TextCodec::from_gguf(&head.metadata).is_err());
    }
    assert!(refused > 1000, "{refused}");
}
