//! Text to tokens and back, as the scored model sees them.

use super::{Analysis, AnalysisError};
use crate::engine::text::ChatMessage;

/// What to tokenise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizeInput {
    Text {
        text: String,
        add_special_tokens: bool,
    },
    /// Rendered by the model's chat template first.
    Messages {
        messages: Vec<ChatMessage>,
        add_generation_prompt: bool,
    },
}

/// A text's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokenized {
    pub ids: Vec<u32>,
    /// Each token's own text; a token that is a part of a character reads U+FFFD.
    pub pieces: Vec<String>,
    /// Longest trajectory that the model takes, in tokens.
    pub max_context: usize,
}

impl Analysis {
    /// Tokenises a text or a chat. Takes time in proportion to the text: call it where that holds up nobody.
    pub fn tokenize(&self, input: TokenizeInput) -> Result<Tokenized, AnalysisError> {
        let codec = self.engine.text();
        let ids = match input {
            TokenizeInput::Text { text, add_special_tokens } => codec.encode(&text, add_special_tokens)?,
            // A chat template writes its own special tokens; the tokenizer must not add them once more.
            TokenizeInput::Messages { messages, add_generation_prompt } => {
                codec.encode(&codec.render_chat(&messages, add_generation_prompt)?, false)?
            }
        };
        let pieces = ids.iter().map(|id| codec.piece(*id)).collect();
        let max_context = self.engine.models().first().map_or(0, |base| base.max_context);
        Ok(Tokenized { ids, pieces, max_context })
    }

    /// The text of token ids. Takes time in proportion to their number.
    pub fn detokenize(&self, ids: &[u32], skip_special: bool) -> Result<String, AnalysisError> {
        let codec = self.engine.text();
        check_ids("tokens", ids, codec.vocab_size())?;
        Ok(codec.decode(ids, skip_special)?)
    }
}

/// Refuses ids outside the vocabulary; `param` is the field that they came in.
pub(super) fn check_ids(param: &str, ids: &[u32], vocab: usize) -> Result<(), AnalysisError> {
    match ids.iter().enumerate().find(|(_, id)| usize::try_from(**id).map_or(true, |id| id >= vocab)) {
        Some((index, id)) => {
            let message = format!("token id {id} is outside the model's vocabulary of {vocab}");
            Err(AnalysisError::invalid(format!("{param}[{index}]"), message))
        }
        None => Ok(()),
    }
}
