//! The tokenizer that a GGUF file's metadata describes: byte-level BPE ("gpt2") and SentencePiece BPE ("llama").

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::normalizers::{Prepend, Sequence as NormalizerSequence};
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer};

use super::folder::sequence_template;
use super::pieces::{byte_of, char_of};
use super::{Specials, TextCodec, guarded, pre_tokenizer};
use crate::engine::EngineError;
use crate::engine::local::checkpoint::gguf_reader::Metadata;

/// ggml's `llama_token_type`.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

fn fail(message: impl std::fmt::Display) -> EngineError {
    EngineError::Load(format!("the tokenizer in the GGUF file: {message}"))
}

/// What both kinds of tokenizer start from.
struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Vec<i64>,
}

pub(super) fn load(metadata: &Metadata) -> Result<TextCodec, EngineError> {
    let tokens = metadata
        .texts("tokenizer.ggml.tokens")
        .filter(|tokens| !tokens.is_empty())
        .ok_or_else(|| fail("\"tokenizer.ggml.tokens\" is missing"))?;
    let kinds = match metadata.integers("tokenizer.ggml.token_type") {
        Some(kinds) if kinds.len() == tokens.len() => kinds.to_vec(),
        Some(kinds) => return Err(fail(format!("{} token types for {} tokens", kinds.len(), tokens.len()))),
        None => vec![NORMAL; tokens.len()],
    };
    let vocabulary = Vocabulary { tokens, kinds };
    let model = metadata.text("tokenizer.ggml.model").unwrap_or_default();
    let (mut tokenizer, add_bos) = match model {
        "gpt2" => byte_level(metadata, &vocabulary)?,
        "llama" => (sentencepiece(metadata, &vocabulary)?, true),
        other => {
            return Err(fail(format!(
                "the tokenizer model {other:?} (\"tokenizer.ggml.model\") is not supported; supported are gpt2 and llama"
            )));
        }
    };
    add_tokens(&mut tokenizer, metadata, &vocabulary)?;
    let specials = specials(metadata, &vocabulary);
    let add_bos = metadata.bool("tokenizer.ggml.add_bos_token").unwrap_or(add_bos);
    let add_eos = metadata.bool("tokenizer.ggml.add_eos_token").unwrap_or(false);
    let template = sequence_template(&tokenizer, &specials, add_bos, add_eos).map_err(fail)?;
    tokenizer.with_post_processor(Some(template));
    let chat = metadata.text("tokenizer.chat_template");
    Ok(TextCodec::assemble(tokenizer, specials, chat))
}

/// What closes a text or a turn in the families that we read. A file names one such token, where the model's own
/// `generation_config.json` has several: Qwen2.5 ends a chat with the one and a plain text with the other.
const CLOSING: [&str; 7] =
    ["<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>", "<｜end▁of▁sentence｜>"];

fn specials(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Specials {
    let tokens = vocabulary.tokens;
    let id =
        |name: &str| metadata.id(&format!("tokenizer.ggml.{name}_token_id")).filter(|&id| (id as usize) < tokens.len());
    let text = |id: Option<u32>| id.and_then(|id| tokens.get(id as usize)).cloned();
    let mut eos_ids = Vec::new();
    // Chat models end a turn with a token of its own, and a tool call with yet another.
    let named = [id("eos"), id("eot"), id("eom")].into_iter().flatten();
    for id in named.chain(closing(vocabulary)) {
        if !eos_ids.contains(&id) {
            eos_ids.push(id);
        }
    }
    Specials { bos: text(id("bos")), eos: text(id("eos")), bos_id: id("bos"), eos_ids }
}

/// The control tokens that close a text or a turn by their names.
fn closing(vocabulary: &Vocabulary<'_>) -> impl Iterator<Item = u32> {
    let tokens = (0u32..).zip(vocabulary.tokens).zip(&vocabulary.kinds);
    tokens.filter(|((_, token), kind)| **kind == CONTROL && CLOSING.contains(&token.as_str())).map(|((id, _), _)| id)
}

/// Byte-level BPE, and whether llama.cpp adds a BOS where the file does not say.
fn byte_level(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<(Tokenizer, bool), EngineError> {
    let scheme = pre_tokenizer::scheme(metadata.text("tokenizer.ggml.pre"), metadata.text("general.architecture"))?;
    let merges = metadata
        .texts("tokenizer.ggml.merges")
        .ok_or_else(|| fail("\"tokenizer.ggml.merges\" is missing"))?
        .iter()
        .map(|merge| {
            let (left, right) = merge.split_once(' ').ok_or_else(|| fail(format!("the merge {merge:?} is no pair")))?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect::<Result<Vec<_>, EngineError>>()?;
    let mut ids = Vocab::with_capacity(vocabulary.tokens.len());
    for ((id, token), &kind) in (0u32..).zip(vocabulary.tokens).zip(&vocabulary.kinds) {
        let spelled = kind != NORMAL || token.chars().all(|c| byte_of(c).is_some());
        let spelling = if spelled { token.clone() } else { token.bytes().map(char_of).collect() };
        ids.entry(spelling).or_insert(id);
    }
    let bpe = guarded("it cannot be read as a tokenizer", || {
        BPE::builder().vocab_and_merges(ids, merges).ignore_merges(scheme.ignore_merges).build()
    })
    .map_err(fail)?;
    let mut tokenizer = Tokenizer::new(bpe);
    if scheme.nfc {
        tokenizer.with_normalizer(Some(NFC)).map_err(fail)?;
    }
    tokenizer.with_pre_tokenizer(Some(scheme.pre_tokenizer()?));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok((tokenizer, scheme.add_bos))
}

/// SentencePiece BPE as Llama 2's `tokenizer.json` writes it: a `▁` before the text and for every space, bytes for
/// characters that the vocabulary lacks, merges in the order of the tokens' scores.
fn sentencepiece(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Tokenizer, EngineError> {
    let tokens = vocabulary.tokens;
    let scores = metadata
        .floats("tokenizer.ggml.scores")
        .filter(|scores| scores.len() == tokens.len())
        .ok_or_else(|| fail("\"tokenizer.ggml.scores\" is missing or has another length than the tokens"))?;
    let mut ids = Vocab::with_capacity(tokens.len());
    for (id, token) in (0u32..).zip(tokens) {
        ids.entry(token.clone()).or_insert(id);
    }
    let merges = merges_from_scores(tokens, scores, &ids);
    let unknown = metadata
        .id("tokenizer.ggml.unknown_token_id")
        .map(|id| id as usize)
        .or_else(|| vocabulary.kinds.iter().position(|&kind| kind == UNKNOWN))
        .and_then(|id| tokens.get(id))
        .cloned();
    let bpe = guarded("it cannot be read as a tokenizer", || {
        let mut builder = BPE::builder().vocab_and_merges(ids, merges).fuse_unk(true).byte_fallback(true);
        if let Some(unknown) = unknown {
            builder = builder.unk_token(unknown);
        }
        builder.build()
    })
    .map_err(fail)?;
    let mut tokenizer = Tokenizer::new(bpe);
    let prefix = metadata.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let spaces = Replace::new(" ", "▁").map_err(fail)?;
    let mut normalizers: Vec<NormalizerWrapper> = vec![spaces.into()];
    if prefix {
        normalizers.insert(0, Prepend::new("▁".to_owned()).into());
    }
    tokenizer.with_normalizer(Some(NormalizerSequence::new(normalizers))).map_err(fail)?;
    let mut decoders =
        vec![Replace::new("▁", " ").map_err(fail)?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(DecoderSequence::new(decoders)));
    Ok(tokenizer)
}

/// Every way to put a token together from two others, best score first; as transformers' `generate_merges`.
fn merges_from_scores(tokens: &[String], scores: &[f32], ids: &Vocab) -> Vec<(String, String)> {
    struct Merge<'a> {
        score: f32,
        left: &'a str,
        right: &'a str,
        lengths: (usize, usize),
    }
    let mut merges = Vec::new();
    for (id, (token, &score)) in (0u32..).zip(tokens.iter().zip(scores)) {
        // A token that occurs twice is known by its first id alone.
        if ids.get(token) != Some(&id) {
            continue;
        }
        let characters = token.chars().count();
        let mut local: Vec<_> = token
            .char_indices()
            .enumerate()
            .skip(1)
            .filter_map(|(position, (at, _))| {
                let (left, right) = token.split_at(at);
                let order = (*ids.get(left)?, *ids.get(right)?);
                Some((order, Merge { score, left, right, lengths: (position, characters - position) }))
            })
            .collect();
        local.sort_by_key(|(order, _)| *order);
        merges.extend(local.into_iter().map(|(_, merge)| merge));
    }
    // Python's `sorted(..., reverse=True)` is stable, as this is.
    merges.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths)));
    merges.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect()
}

/// Control tokens become special tokens, user-defined ones plain added tokens; both are found whole in a text.
fn add_tokens(tokenizer: &mut Tokenizer, metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<(), EngineError> {
    let named: Vec<u32> = ["bos", "eos", "unknown", "padding", "eot", "eom"]
        .iter()
        .filter_map(|name| metadata.id(&format!("tokenizer.ggml.{name}_token_id")))
        .collect();
    let mut special = Vec::new();
    let mut plain = Vec::new();
    for ((id, token), &kind) in (0u32..).zip(vocabulary.tokens).zip(&vocabulary.kinds) {
        if token.is_empty() {
            continue;
        }
        if kind == CONTROL || named.contains(&id) {
            special.push(AddedToken::from(token.clone(), true).normalized(false));
        } else if kind == USER_DEFINED {
            plain.push(AddedToken::from(token.clone(), false).normalized(false));
        }
    }
    tokenizer.add_special_tokens(special).map_err(fail)?;
    tokenizer.add_tokens(plain).map_err(fail)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_tokens_that_close_a_text_are_known_by_name() {
        let tokens = ["a", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "</s>"].map(str::to_owned);
        let vocabulary = Vocabulary { tokens: &tokens, kinds: vec![NORMAL, CONTROL, CONTROL, CONTROL, NORMAL] };
        assert_eq!(closing(&vocabulary).collect::<Vec<_>>(), [1, 3]);
    }
}
