//! Small tokenizers, built in memory, for the tests of this room and of those that need a codec.

use std::path::Path;

use serde_json::{Value, json};

use super::TextCodec;
use super::pieces::char_of;
use crate::engine::local::checkpoint::gguf_reader::{Metadata, Value as Meta};

/// Ids of [`byte_level_json`]: a byte has its own number as id.
pub(crate) const BOS: u32 = 256;
pub(crate) const EOS: u32 = 257;
pub(crate) const HE: u32 = 258;
pub(crate) const HELL: u32 = 260;
pub(crate) const SPACE_HE: u32 = 261;
pub(crate) const BYTE_LEVEL_TOKENS: usize = 263;

/// A byte-level BPE with a handful of merges, the special tokens `<s>` and `</s>`, and composed text.
pub(crate) fn byte_level_json() -> Value {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255u8 {
        vocab.insert(char_of(byte).to_string(), byte.into());
    }
    for (token, id) in
        [("<s>", BOS), ("</s>", EOS), ("he", HE), ("ll", 259), ("hell", HELL), ("Ġhe", SPACE_HE), ("ĠĠ", 262)]
    {
        vocab.insert(token.to_owned(), id.into());
    }
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [added(BOS, "<s>"), added(EOS, "</s>")],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab,
                  "merges": [["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "he"], ["Ġ", "Ġ"]]},
    })
}

/// Writes the tokenizer into a folder; `config` is its `tokenizer_config.json`.
pub(crate) fn write_tokenizer(folder: &Path, config: &Value) {
    std::fs::write(folder.join("tokenizer.json"), byte_level_json().to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// The byte-level tokenizer with a `tokenizer_config.json`.
pub(crate) fn byte_level(config: &Value) -> TextCodec {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer(folder.path(), config);
    TextCodec::from_folder(folder.path()).unwrap()
}

/// A SentencePiece vocabulary as GGUF metadata: unknown, BOS, EOS, 256 bytes, then words with scores.
pub(crate) fn sentencepiece_metadata() -> Metadata {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    let mut kinds = vec![2, 3, 3];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    kinds.extend([6; 256]);
    let words = ["▁", "h", "e", "l", "o", "he", "ll", "▁he", "llo", "▁hello", "<tool>"];
    tokens.extend(words.map(str::to_owned));
    kinds.extend([1; 10]);
    kinds.push(4);
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    [
        ("general.architecture", Meta::Text("llama".to_owned())),
        ("tokenizer.ggml.model", Meta::Text("llama".to_owned())),
        ("tokenizer.ggml.tokens", Meta::Texts(tokens)),
        ("tokenizer.ggml.token_type", Meta::Integers(kinds)),
        ("tokenizer.ggml.scores", Meta::Floats(scores)),
        ("tokenizer.ggml.bos_token_id", Meta::Integer(1)),
        ("tokenizer.ggml.eos_token_id", Meta::Integer(2)),
        ("tokenizer.ggml.unknown_token_id", Meta::Integer(0)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}
