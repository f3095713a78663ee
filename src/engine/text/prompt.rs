//! A prompt alone, for what is drawn after it or tokenised apart from it.

use super::trajectory::Encoded;
use super::{PromptInput, TextCodec};
use crate::engine::EngineError;

/// A tokenised prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTokens {
    pub text: String,
    pub ids: Vec<u32>,
    /// For each id the byte of `text` that it begins at, on a character boundary and in order. What the tokenizer puts
    /// before a text begins where the text does.
    pub starts: Vec<usize>,
}

impl TextCodec {
    /// Tokenises a prompt as [`TextCodec::trajectory`] does: text with the special tokens that the tokenizer puts before
    /// it and without those that it puts after, messages as the chat template renders them, ids as they are.
    ///
    /// Fails on ids that are no tokens. A prompt may turn out to have no token at all.
    pub fn prompt(&self, prompt: PromptInput) -> Result<PromptTokens, EngineError> {
        let (text, add_special) = match prompt {
            PromptInput::Text(text) => (text, true),
            PromptInput::Messages(messages) => (self.render_chat(&messages, true)?, false),
            PromptInput::Ids(ids) => return self.prompt_of_ids(ids),
        };
        let Encoded { before: mut ids, tokens } = self.place(&text, add_special)?;
        let mut starts = vec![0; ids.len()];
        let mut floor = 0;
        for token in tokens {
            floor = text.floor_char_boundary(token.start).max(floor);
            starts.push(floor);
            ids.push(token.id);
        }
        Ok(PromptTokens { text, ids, starts })
    }

    fn prompt_of_ids(&self, ids: Vec<u32>) -> Result<PromptTokens, EngineError> {
        self.check_ids(&ids)?;
        // A BOS is shown by no text that this tokenizer would add it to again.
        let shown = match (ids.split_first(), self.bos_id()) {
            (Some((first, rest)), Some(bos)) if *first == bos => rest,
            _ => &ids,
        };
        let text = self.decode(shown, false)?;
        let (spelled, tokens) = self.spelled(shown)?;
        // SentencePiece's decoder drops the space that a text's first token begins with.
        let dropped = usize::from(spelled.starts_with(' ') && !text.starts_with(' '));
        let mut starts = vec![0; ids.len() - shown.len()];
        starts.extend(tokens.iter().map(|token| text.floor_char_boundary(token.start.saturating_sub(dropped))));
        Ok(PromptTokens { text, ids, starts })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{BOS, HE, SPACE_HE, byte_level, sentencepiece_metadata};
    use super::*;

    #[test]
    fn tokens_begin_where_their_text_does() {
        let codec = byte_level(&json!({}));
        let prompt = codec.prompt(PromptInput::Text("he he".to_owned())).unwrap();
        assert_eq!((prompt.ids, prompt.starts), (vec![HE, SPACE_HE], vec![0, 2]));
        // The bytes of one character begin together.
        let prompt = codec.prompt(PromptInput::Text("aéb".to_owned())).unwrap();
        assert_eq!((prompt.ids.len(), prompt.starts), (4, vec![0, 1, 1, 3]));
    }

    #[test]
    fn ids_have_the_places_of_the_text_that_they_came_from() {
        let codec = TextCodec::from_gguf(&sentencepiece_metadata()).unwrap();
        let from_text = codec.prompt(PromptInput::Text("he he".to_owned())).unwrap();
        assert_eq!((from_text.ids[0], from_text.starts[0]), (BOS, 0));
        assert_eq!(codec.prompt(PromptInput::Ids(from_text.ids.clone())).unwrap(), from_text);
    }

    #[test]
    fn an_empty_prompt_has_the_tokens_that_the_tokenizer_adds() {
        let empty = PromptTokens { text: String::new(), ids: vec![], starts: vec![] };
        assert_eq!(byte_level(&json!({})).prompt(PromptInput::Ids(vec![])).unwrap(), empty);
        assert_eq!(byte_level(&json!({})).prompt(PromptInput::Text(String::new())).unwrap(), empty);
    }
}
