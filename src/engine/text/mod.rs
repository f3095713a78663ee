//! Text to token ids and back: the model's tokenizer and its chat template.
//!
//! Everything past this room works on ids; text is never tokenised a second time. The room knows files of tokenizers
//! and templates, and nothing of weights or devices.

mod chat;
mod folder;
mod gguf;
mod pieces;
mod pre_tokenizer;
mod prompt;
mod python;
mod trajectory;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokenizers::{Encoding, Tokenizer};

pub use self::prompt::PromptTokens;

use self::chat::ChatTemplate;
use self::pieces::Pieces;
pub(crate) use self::pieces::whole_characters;
use super::EngineError;
use super::local::checkpoint::ModelConfig;
use super::local::checkpoint::gguf_reader::Metadata;

/// The prompt's half of a trajectory.
#[derive(Debug, Clone, PartialEq)]
pub enum PromptInput {
    Text(String),
    /// Rendered by the model's chat template with a generation prompt.
    Messages(Vec<ChatMessage>),
    Ids(Vec<u32>),
}

/// The response's half of a trajectory.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseInput {
    Text(String),
    Ids(Vec<u32>),
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    pub role: String,
    pub content: String,
}

/// A model's tokenizer and chat template. Cloning shares them.
#[derive(Clone)]
pub struct TextCodec(Arc<Inner>);

struct Inner {
    tokenizer: Tokenizer,
    pieces: Pieces,
    specials: Specials,
    /// The highest id and one.
    vocab_size: usize,
    /// Or why there is none: a model without a usable template still scores text.
    template: Result<ChatTemplate, String>,
}

/// The tokens that begin and end a sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Specials {
    bos: Option<String>,
    eos: Option<String>,
    bos_id: Option<u32>,
    /// Every token that ends a generation, the tokenizer's own first.
    eos_ids: Vec<u32>,
}

impl std::fmt::Debug for TextCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextCodec({} tokens)", self.0.vocab_size)
    }
}

impl TextCodec {
    /// Reads `tokenizer.json` and `tokenizer_config.json` of a Hugging Face folder, and the chat template from
    /// `chat_template.jinja` or from the configuration.
    pub fn from_folder(dir: &Path) -> Result<Self, EngineError> {
        folder::load(dir)
    }

    /// Builds the tokenizer that a GGUF file's metadata describes.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, EngineError> {
        gguf::load(metadata)
    }

    fn assemble(tokenizer: Tokenizer, specials: Specials, template: Option<&str>) -> Self {
        let vocab_size = tokenizer.get_vocab(true).into_values().max().map_or(0, |highest| highest as usize + 1);
        let pieces = Pieces::of(&tokenizer);
        let template = match template.map(ChatTemplate::new) {
            Some(Err(reason)) => {
                tracing::warn!(%reason, "chats cannot be rendered");
                Err(reason)
            }
            Some(template) => template,
            None => Err("the model has no chat template; send the prompt as text or as token ids".to_owned()),
        };
        TextCodec(Arc::new(Inner { tokenizer, pieces, specials, vocab_size, template }))
    }

    /// The ids of a text, with the tokens that the tokenizer adds around a sequence if asked. Special tokens written
    /// out in the text become those tokens, as in transformers.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, EngineError> {
        Ok(self.encoding(text, add_special)?.get_ids().to_vec())
    }

    /// The text of ids as the tokenizer's own decoder writes it.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, EngineError> {
        self.check_ids(ids)?;
        guarded("the ids cannot be decoded", || self.0.tokenizer.decode(ids, skip_special))
    }

    /// The text that the bytes of ids make together, a leading space kept; bytes that are no UTF-8 read U+FFFD.
    pub fn spell(&self, ids: &[u32]) -> Result<String, EngineError> {
        Ok(self.spelled(ids)?.0)
    }

    /// The text that ids spell, but for a character at its end that is not complete: what is drawn after them begins with
    /// it.
    pub fn spell_whole(&self, ids: &[u32]) -> Result<String, EngineError> {
        let mut text = self.spell(ids)?;
        if self.open_bytes(ids) > 0 && text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.pop();
        }
        Ok(text)
    }

    /// How many bytes at the end of what ids spell begin a character that is not complete.
    pub fn open_bytes(&self, ids: &[u32]) -> usize {
        // A character has at most four bytes.
        let last = self.last_bytes(ids, 4);
        last.len() - whole_characters(&last)
    }

    /// The last bytes of the text that ids spell, at least `count` of them if there are so many.
    pub(crate) fn last_bytes(&self, ids: &[u32], count: usize) -> Vec<u8> {
        let mut bytes = 0;
        let enough = |id: &&u32| {
            let before = bytes;
            bytes += self.piece_bytes(**id).map_or(0, |piece| piece.len());
            before < count
        };
        let last = ids.iter().rev().take_while(enough).count();
        ids[ids.len() - last..].iter().flat_map(|&id| self.piece_bytes(id).unwrap_or_default().into_owned()).collect()
    }

    /// A token's own text. U+FFFD stands for a part of a character, and for an id that is no token.
    pub fn piece(&self, id: u32) -> String {
        match self.0.pieces.bytes(&self.0.tokenizer, id) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => char::REPLACEMENT_CHARACTER.to_string(),
        }
    }

    /// The bytes that a token stands for; `None` for an id that is no token.
    pub fn piece_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        self.0.pieces.bytes(&self.0.tokenizer, id)
    }

    /// The bytes that a token adds to a text; none for a special token, and for an id that is no token.
    pub fn text_bytes(&self, id: u32) -> Cow<'_, [u8]> {
        if self.0.pieces.is_special(id) {
            return Cow::Borrowed(&[]);
        }
        self.0.pieces.bytes(&self.0.tokenizer, id).unwrap_or_default()
    }

    /// Renders a chat with the model's template.
    pub fn render_chat(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String, EngineError> {
        match &self.0.template {
            Ok(template) => template.render(messages, add_generation_prompt, &self.0.specials),
            Err(reason) => Err(EngineError::Text(reason.clone())),
        }
    }

    /// The highest token id and one.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.0.specials.bos_id
    }

    /// Every token that ends a generation.
    pub fn eos_ids(&self) -> &[u32] {
        &self.0.specials.eos_ids
    }

    pub fn has_chat_template(&self) -> bool {
        self.0.template.is_ok()
    }

    /// Refuses a tokenizer that can give ids for which the model has no embedding. Fewer ids than embeddings are
    /// fine: models pad their vocabulary.
    pub fn check_against(&self, config: &ModelConfig) -> Result<(), EngineError> {
        if self.vocab_size() <= config.vocab_size {
            return Ok(());
        }
        let highest = self.vocab_size() - 1;
        Err(EngineError::Load(format!(
            "the tokenizer does not match the model: it gives ids up to {highest} (the token {:?}), and the model's \
             vocabulary has {} entries; they probably come from different models",
            self.piece(highest as u32),
            config.vocab_size
        )))
    }

    /// Whether both give every id the same token. Models are compared id by id, so this is what they must share.
    pub fn same_vocabulary(&self, other: &Self) -> bool {
        self.0.tokenizer.get_vocab(true) == other.0.tokenizer.get_vocab(true)
    }

    /// Encodes with byte offsets.
    fn encoding(&self, text: &str, add_special: bool) -> Result<Encoding, EngineError> {
        guarded("the text cannot be tokenised", || self.0.tokenizer.encode(text, add_special))
    }

    fn check_ids(&self, ids: &[u32]) -> Result<(), EngineError> {
        let known = |&id: &u32| self.0.pieces.bytes(&self.0.tokenizer, id).is_some();
        match ids.iter().copied().find(|id| !known(id)) {
            None => Ok(()),
            Some(id) => Err(EngineError::UnknownToken { id, vocab: self.vocab_size() }),
        }
    }
}

/// Runs a tokenizer's work; `failure` begins the message if it fails. The regular-expression engine below panics when a text exhausts its match limits; the
/// tokenizer keeps no state that such a panic could leave half-written.
fn guarded<T>(failure: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(EngineError::Text(format!("{failure}: {error}"))),
        Err(_) => Err(EngineError::Text(format!("{failure}: the tokenizer's limits are exhausted"))),
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
