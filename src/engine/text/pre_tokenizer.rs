//! How byte-level vocabularies split text before merging: what the names in GGUF's `tokenizer.ggml.pre` stand for.
//!
//! The names and expressions are llama.cpp's (`src/llama-vocab.cpp`), written as in the `tokenizer.json` of the models
//! they were made for. A wrong split gives other ids, so an unknown name is refused.

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::engine::EngineError;

/// A named way of splitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scheme {
    /// Applied one after another; each isolates its matches.
    splits: &'static [&'static str],
    /// GPT-2's expression comes last.
    gpt2: bool,
    /// Text is brought into Unicode's composed form first.
    pub(super) nfc: bool,
    /// A word that is in the vocabulary as a whole is taken without merging.
    pub(super) ignore_merges: bool,
    /// Whether llama.cpp adds a BOS where the file does not say.
    pub(super) add_bos: bool,
}

const PLAIN: Scheme = Scheme { splits: &[], gpt2: false, nfc: false, ignore_merges: false, add_bos: false };
const GPT2: Scheme = Scheme { gpt2: true, ..PLAIN };
const DIGITS_THEN_GPT2: Scheme = Scheme { splits: &[r"\p{N}"], gpt2: true, ..PLAIN };

const LLAMA3: Scheme = Scheme {
    splits: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: true,
    add_bos: true,
    ..PLAIN
};

/// The same expression for vocabularies without Llama 3's BOS and whole words.
const LLAMA3_SPLIT_ONLY: Scheme = Scheme { ignore_merges: false, add_bos: false, ..LLAMA3 };

const QWEN2: Scheme = Scheme {
    splits: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    nfc: true,
    ..PLAIN
};

const TEKKEN: Scheme = Scheme {
    splits: &[
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: true,
    add_bos: true,
    ..PLAIN
};

const DEEPSEEK_LLM: Scheme = Scheme {
    splits: &[
        r"[\r\n]",
        // The cased letters of Unicode as the model's makers listed them; the letters that Unicode composes to
        // others are written as escapes, for tools like to do so.
        "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ\u{1f5f}-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
        r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
        r"\s+$",
        r"[一-龥ࠀ-一가-퟿]+",
        r"\p{N}",
    ],
    ..PLAIN
};

const DEEPSEEK_CODER: Scheme =
    Scheme { splits: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"], ..PLAIN };

const DEEPSEEK_V3: Scheme = Scheme {
    splits: &[
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
    ],
    ..PLAIN
};

/// Every name that is understood.
const NAMES: [(&str, Scheme); 33] = [
    ("default", GPT2),
    ("gpt-2", GPT2),
    ("gpt2", GPT2),
    ("mpt", GPT2),
    ("olmo", GPT2),
    ("phi-2", GPT2),
    ("starcoder", DIGITS_THEN_GPT2),
    ("refact", DIGITS_THEN_GPT2),
    ("command-r", DIGITS_THEN_GPT2),
    ("smollm", DIGITS_THEN_GPT2),
    ("codeshell", DIGITS_THEN_GPT2),
    ("exaone", DIGITS_THEN_GPT2),
    ("minerva-7b", DIGITS_THEN_GPT2),
    ("llama3", LLAMA3),
    ("llama-v3", LLAMA3),
    ("llama-bpe", LLAMA3),
    ("falcon3", LLAMA3),
    ("pixtral", LLAMA3),
    ("midm-2.0", LLAMA3),
    ("lfm2", LLAMA3),
    ("dbrx", LLAMA3_SPLIT_ONLY),
    ("smaug-bpe", LLAMA3_SPLIT_ONLY),
    ("qwen2", QWEN2),
    ("deepseek-r1-qwen", QWEN2),
    ("kormo", QWEN2),
    ("f2llmv2", QWEN2),
    ("megrez", QWEN2),
    ("stablelm2", Scheme { nfc: false, ..QWEN2 }),
    ("tekken", TEKKEN),
    ("deepseek-llm", DEEPSEEK_LLM),
    ("deepseek-coder", DEEPSEEK_CODER),
    ("deepseek-v3", DEEPSEEK_V3),
    ("hunyuan-dense", DEEPSEEK_V3),
];

/// The scheme for a file's `tokenizer.ggml.pre`. Files older than that key are told by their architecture.
pub(super) fn scheme(pre: Option<&str>, architecture: Option<&str>) -> Result<Scheme, EngineError> {
    let name = match (pre, architecture) {
        (Some(pre), _) => pre,
        (None, Some("qwen2" | "qwen3")) => "qwen2",
        (None, _) => "default",
    };
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, scheme)| *scheme).ok_or_else(|| {
        let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
        EngineError::Load(format!(
            "the tokenizer's pre-tokenizer {name:?} (\"tokenizer.ggml.pre\") is not supported; supported are {}",
            known.join(", ")
        ))
    })
}

impl Scheme {
    /// The pre-tokenizer, which spells its pieces in GPT-2's byte alphabet.
    pub(super) fn pre_tokenizer(self) -> Result<PreTokenizerWrapper, EngineError> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::with_capacity(self.splits.len() + 1);
        for expression in self.splits {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| EngineError::Internal(format!("the expression {expression:?}: {error}")))?;
            steps.push(split.into());
        }
        steps.push(ByteLevel::new(false, false, self.gpt2).into());
        Ok(Sequence::new(steps).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    fn pieces(name: &str, text: &str) -> Vec<String> {
        let mut split = PreTokenizedString::from(text);
        scheme(Some(name), None).unwrap().pre_tokenizer().unwrap().pre_tokenize(&mut split).unwrap();
        let pieces = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
    }

    #[test]
    fn every_expression_compiles_and_loses_nothing() {
        let text = "Hello  World's 12345 déjà\tvu\r\n\n 你好，世界 ΩK “q” x+=1; 🎉   ";
        for (name, _) in NAMES {
            assert_eq!(pieces(name, text).concat(), text, "{name}");
        }
    }

    #[test]
    fn digits_and_spaces_are_split_as_each_family_does() {
        assert_eq!(pieces("gpt-2", "a 123  b"), ["a", " 123", " ", " b"]);
        assert_eq!(pieces("smollm", "a 123  b"), ["a", " ", "1", "2", "3", " ", " b"]);
        assert_eq!(pieces("llama-bpe", "a 12345"), ["a", " ", "123", "45"]);
        assert_eq!(pieces("qwen2", "it'LL\n\nGo"), ["it", "'LL", "\n\n", "Go"]);
        assert_eq!(pieces("deepseek-llm", "def f():\n 42"), ["def", " f", "():", "\n", " ", "4", "2"]);
        assert_eq!(pieces("tekken", "HelloWorld 12"), ["Hello", "World", " ", "1", "2"]);
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = scheme(Some("hal-9000"), None).unwrap_err().to_string();
        assert!(error.contains("hal-9000") && error.contains("smollm"), "{error}");
        assert_eq!(scheme(None, Some("qwen2")).unwrap(), QWEN2);
    }
}
