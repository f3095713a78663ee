//! A prompt and a response as one tokenised trajectory, each response token with its place in the response's text.
//!
//! The boundary comes from the tokenizer's offsets and never from a search in text: a response's first words may
//! well occur in its prompt.

use std::borrow::Cow;

use super::pieces::{Spelled, spell};
use super::{PromptInput, PromptTokens, ResponseInput, TextCodec};
use crate::domain::trajectory::{ResponseToken, Trajectory};
use crate::engine::EngineError;

/// A token of a text with its byte offsets there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) id: u32,
    pub(super) start: usize,
    end: usize,
}

/// An encoded text: the tokens that the tokenizer put before it, and its own. What the tokenizer adds after a text
/// (an EOS, for some) is left out: it is no part of what was said.
pub(super) struct Encoded {
    pub(super) before: Vec<u32>,
    pub(super) tokens: Vec<Placed>,
}

/// Gives text that a normaliser took away to the token before it: of an `e` and its combining accent, composed into
/// one character, only the `e` has an offset. Tokens of one character keep one span.
fn close_gaps(tokens: &mut [Placed], text_len: usize) {
    let mut next = Placed { id: 0, start: text_len, end: text_len };
    let mut next_end = text_len;
    for token in tokens.iter_mut().rev() {
        let stored = *token;
        token.end = match (stored.start, stored.end) == (next.start, next.end) {
            true => next_end,
            false => stored.end.max(next.start),
        };
        (next, next_end) = (stored, token.end);
    }
}

impl TextCodec {
    /// Tokenises a trajectory.
    ///
    /// Prompt and response given as text are tokenised together, with the special tokens that the tokenizer's own
    /// configuration adds; a token over the boundary belongs to the response. Messages are rendered by the chat
    /// template, which writes its special tokens itself, and tokenised together with the response. Ids are taken as
    /// they are. Where one side is text and the other ids, each side is encoded on its own, and the response's without
    /// special tokens.
    ///
    /// Fails when a half is empty, for a token to score needs a prefix, and on ids that are no tokens.
    pub fn trajectory(&self, prompt: PromptInput, response: ResponseInput) -> Result<Trajectory, EngineError> {
        let trajectory = match (prompt, response) {
            (PromptInput::Text(prompt), ResponseInput::Text(response)) => self.together(prompt, response, true)?,
            (PromptInput::Messages(messages), ResponseInput::Text(response)) => {
                self.together(self.render_chat(&messages, true)?, response, false)?
            }
            (prompt @ PromptInput::Ids(_), ResponseInput::Text(response)) => {
                let PromptTokens { text: prompt_text, ids: prompt_ids, starts: _ } = self.prompt(prompt)?;
                let tokens = self.place(&response, false)?.tokens;
                let response_tokens = self.response_tokens(&response, &tokens, 0);
                Trajectory {
                    prompt_text,
                    prompt_ids,
                    response_text: response,
                    response: response_tokens,
                    straddles_boundary: false,
                }
            }
            (prompt, ResponseInput::Ids(ids)) => {
                let PromptTokens { text: prompt_text, ids: prompt_ids, starts: _ } = self.prompt(prompt)?;
                let (response_text, response) = self.spelled(&ids)?;
                Trajectory { prompt_text, prompt_ids, response_text, response, straddles_boundary: false }
            }
        };
        if trajectory.response.is_empty() {
            return Err(EngineError::Text("the response is empty: it has no token to score".to_owned()));
        }
        if trajectory.prompt_ids.is_empty() {
            return Err(EngineError::Text(
                "the prompt has no token of its own: the response's first token needs a prefix, and this model's \
                 tokenizer puts none before it"
                    .to_owned(),
            ));
        }
        Ok(trajectory)
    }

    fn together(&self, prompt: String, response: String, add_special: bool) -> Result<Trajectory, EngineError> {
        let boundary = prompt.len();
        let text = prompt + &response;
        let encoded = self.place(&text, add_special)?;
        let first = encoded.tokens.iter().position(|token| token.end > boundary).unwrap_or(encoded.tokens.len());
        let (prompt_tokens, response_tokens) = encoded.tokens.split_at(first);
        let straddles_boundary = response_tokens.first().is_some_and(|token| token.start < boundary);
        let mut prompt_ids = encoded.before;
        prompt_ids.extend(prompt_tokens.iter().map(|token| token.id));
        let tokens = self.response_tokens(&response, response_tokens, boundary);
        let mut prompt_text = text;
        prompt_text.truncate(boundary);
        Ok(Trajectory { prompt_text, prompt_ids, response_text: response, response: tokens, straddles_boundary })
    }

    pub(super) fn place(&self, text: &str, add_special: bool) -> Result<Encoded, EngineError> {
        let encoding = self.encoding(text, add_special)?;
        let mut encoded = Encoded { before: Vec::new(), tokens: Vec::with_capacity(encoding.len()) };
        // The mask marks what the post-processor added, not special tokens written out in the text.
        let added = encoding.get_special_tokens_mask();
        for ((&id, &(start, end)), &added) in encoding.get_ids().iter().zip(encoding.get_offsets()).zip(added) {
            match (added != 0, encoded.tokens.is_empty()) {
                (false, _) => encoded.tokens.push(Placed { id, start, end }),
                (true, true) => encoded.before.push(id),
                (true, false) => {}
            }
        }
        close_gaps(&mut encoded.tokens, text.len());
        Ok(encoded)
    }

    /// Moves offsets into the response, onto character boundaries and into order.
    fn response_tokens(&self, response: &str, tokens: &[Placed], boundary: usize) -> Vec<ResponseToken> {
        let mut floor = (0, 0);
        tokens
            .iter()
            .map(|token| {
                let start = response.floor_char_boundary(token.start.saturating_sub(boundary)).max(floor.0);
                let end = response.ceil_char_boundary(token.end.saturating_sub(boundary)).max(floor.1).max(start);
                floor = (start, end);
                ResponseToken { id: token.id, text: self.piece(token.id), start, end }
            })
            .collect()
    }

    /// The text that ids spell, and each token's place in it. A leading space is kept, for the response goes on where
    /// the prompt ended.
    pub(super) fn spelled(&self, ids: &[u32]) -> Result<(String, Vec<ResponseToken>), EngineError> {
        let inner = &self.0;
        let bytes: Vec<Cow<'_, [u8]>> = ids
            .iter()
            .map(|&id| {
                inner
                    .pieces
                    .bytes(&inner.tokenizer, id)
                    .ok_or(EngineError::UnknownToken { id, vocab: self.vocab_size() })
            })
            .collect::<Result<_, _>>()?;
        let texts: Vec<String> = bytes.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let Spelled { text, spans } = spell(bytes);
        let tokens = ids
            .iter()
            .zip(texts)
            .zip(spans)
            .map(|((&id, text), (start, end))| ResponseToken { id, text, start, end })
            .collect();
        Ok((text, tokens))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{BOS, BYTE_LEVEL_TOKENS, EOS, HE, HELL, SPACE_HE, byte_level, sentencepiece_metadata};
    use super::super::{ChatMessage, PromptInput, ResponseInput};
    use super::*;

    fn text(codec: &TextCodec, prompt: &str, response: &str) -> Trajectory {
        codec.trajectory(PromptInput::Text(prompt.to_owned()), ResponseInput::Text(response.to_owned())).unwrap()
    }

    fn spans(trajectory: &Trajectory) -> Vec<(&str, usize, usize)> {
        trajectory.response.iter().map(|token| (token.text.as_str(), token.start, token.end)).collect()
    }

    #[test]
    fn the_boundary_is_an_offset_and_not_a_search() {
        let codec = byte_level(&json!({}));
        // The response's words occur in the prompt, too.
        let trajectory = text(&codec, "he he", " he!");
        assert_eq!(trajectory.prompt_ids, [HE, SPACE_HE]);
        assert_eq!(spans(&trajectory), [(" he", 0, 3), ("!", 3, 4)]);
        assert!(!trajectory.straddles_boundary);
        assert_eq!(trajectory.token_ids(), codec.encode("he he he!", true).unwrap());
        assert_eq!((trajectory.prompt_text.as_str(), trajectory.response_text.as_str()), ("he he", " he!"));
    }

    #[test]
    fn a_token_over_the_boundary_belongs_to_the_response() {
        let codec = byte_level(&json!({}));
        let trajectory = text(&codec, "x-he", "ll.");
        assert_eq!(trajectory.prompt_ids, [u32::from(b'x'), u32::from(b'-')]);
        assert_eq!(spans(&trajectory), [("hell", 0, 2), (".", 2, 3)]);
        assert_eq!(trajectory.response[0].id, HELL);
        assert!(trajectory.straddles_boundary);
    }

    #[test]
    fn an_accent_that_composes_over_the_boundary_straddles_it() {
        let codec = byte_level(&json!({}));
        let trajectory = text(&codec, "se", "\u{301}!");
        // NFC makes one character of both sides; its two bytes are two tokens.
        assert_eq!(trajectory.prompt_ids, [u32::from(b's')]);
        assert_eq!(spans(&trajectory), [("\u{fffd}", 0, 2), ("\u{fffd}", 0, 2), ("!", 2, 3)]);
        assert!(trajectory.straddles_boundary);
        // Within the response, the composed character's tokens take the accent's bytes along.
        let inside = text(&codec, "s", "ae\u{301}!");
        assert_eq!(spans(&inside), [("a", 0, 1), ("\u{fffd}", 1, 4), ("\u{fffd}", 1, 4), ("!", 4, 5)]);
    }

    #[test]
    fn tokens_of_one_character_share_its_span() {
        let codec = byte_level(&json!({}));
        let trajectory = text(&codec, "x", "a🎉b");
        let expected = [(0, 1), (1, 5), (1, 5), (1, 5), (1, 5), (5, 6)];
        assert_eq!(trajectory.response.iter().map(|token| (token.start, token.end)).collect::<Vec<_>>(), expected);
        let by_ids = codec
            .trajectory(
                PromptInput::Ids(trajectory.prompt_ids.clone()),
                ResponseInput::Ids(trajectory.response.iter().map(|token| token.id).collect()),
            )
            .unwrap();
        assert_eq!(by_ids, trajectory);
    }

    #[test]
    fn bos_and_eos_follow_the_tokenizers_own_configuration() {
        let config =
            json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": true, "add_eos_token": true});
        let codec = byte_level(&config);
        assert_eq!((codec.bos_id(), codec.eos_ids()), (Some(BOS), &[EOS][..]));
        assert_eq!(codec.encode("he", true).unwrap(), [BOS, HE, EOS]);
        assert_eq!(codec.encode("he", false).unwrap(), [HE]);
        // What the tokenizer adds after a text is no part of the response.
        let trajectory = text(&codec, "he", "ll</s>");
        assert_eq!(trajectory.prompt_ids, [BOS]);
        assert_eq!(spans(&trajectory), [("hell", 0, 2), ("</s>", 2, 6)]);
        // With a BOS, a prompt may be empty.
        assert_eq!(text(&codec, "", "he").prompt_ids, [BOS]);
        // Ids show their text without the BOS that would be added again.
        let ids = codec.trajectory(PromptInput::Ids(vec![BOS, HE]), ResponseInput::Text("!".to_owned())).unwrap();
        assert_eq!((ids.prompt_text.as_str(), ids.prompt_ids.as_slice()), ("he", &[BOS, HE][..]));
    }

    #[test]
    fn a_chat_writes_its_special_tokens_itself() {
        let template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
        let codec = byte_level(&json!({"bos_token": "<s>", "add_bos_token": true, "chat_template": template}));
        let chat = || PromptInput::Messages(vec![ChatMessage { role: "user".to_owned(), content: "he".to_owned() }]);
        let both = codec.trajectory(chat(), ResponseInput::Text(" he".to_owned())).unwrap();
        assert_eq!(both.prompt_text, "<s>he>");
        assert_eq!(both.token_ids(), [BOS, HE, u32::from(b'>'), SPACE_HE]);
        let mixed = codec.trajectory(chat(), ResponseInput::Ids(vec![SPACE_HE])).unwrap();
        assert_eq!(mixed, both);
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let codec = byte_level(&json!({}));
        let refuse = |prompt: PromptInput, response: ResponseInput| codec.trajectory(prompt, response).unwrap_err();
        let text = |text: &str| PromptInput::Text(text.to_owned());
        let error = refuse(text("he"), ResponseInput::Text(String::new())).to_string();
        assert!(error.contains("response is empty"), "{error}");
        let error = refuse(text(""), ResponseInput::Text("he".to_owned())).to_string();
        assert!(error.contains("needs a prefix"), "{error}");
        // The only prompt token straddles the boundary.
        let error = refuse(text("he"), ResponseInput::Text("ll".to_owned())).to_string();
        assert!(error.contains("needs a prefix"), "{error}");
        let unknown = BYTE_LEVEL_TOKENS as u32;
        let error = refuse(PromptInput::Ids(vec![unknown]), ResponseInput::Ids(vec![HE]));
        assert!(
            matches!(error, EngineError::UnknownToken { id, vocab } if id == unknown && vocab == BYTE_LEVEL_TOKENS)
        );
        let error = refuse(PromptInput::Ids(vec![HE]), ResponseInput::Ids(vec![unknown]));
        assert!(matches!(error, EngineError::UnknownToken { .. }));
        let error = refuse(PromptInput::Messages(Vec::new()), ResponseInput::Ids(vec![HE])).to_string();
        assert!(error.contains("no chat template"), "{error}");
    }

    #[test]
    fn sentencepiece_spaces_and_bytes() {
        let codec = TextCodec::from_gguf(&sentencepiece_metadata()).unwrap();
        let id = |token: &str| codec.0.tokenizer.token_to_id(token).unwrap();
        let (hello, llo, bos) = (id("▁hello"), id("llo"), id("<s>"));
        assert_eq!(codec.encode("hello", true).unwrap(), [bos, hello]);
        assert_eq!(codec.decode(&[bos, hello], true).unwrap(), "hello");
        // Characters that the vocabulary lacks come as bytes.
        assert_eq!(codec.encode("é", false).unwrap(), [id("▁"), id("<0xC3>"), id("<0xA9>")]);
        // User-defined tokens are found whole.
        assert!(codec.encode("hello<tool>", false).unwrap().contains(&id("<tool>")));

        let trajectory = text(&codec, "hello", " helloé");
        assert_eq!(trajectory.prompt_ids, [bos, hello]);
        assert_eq!(spans(&trajectory), [(" hello", 0, 6), ("\u{fffd}", 6, 8), ("\u{fffd}", 6, 8)]);
        // A response in ids goes on where the prompt ended: its leading space stays.
        let ids = codec
            .trajectory(
                PromptInput::Ids(vec![bos, hello]),
                ResponseInput::Ids(vec![hello, llo, id("<0xC3>"), id("<0xA9>")]),
            )
            .unwrap();
        assert_eq!((ids.prompt_text.as_str(), ids.response_text.as_str()), ("hello", " hellolloé"));
        assert_eq!(spans(&ids)[2..], [("\u{fffd}", 9, 11), ("\u{fffd}", 9, 11)]);
    }

    #[test]
    fn long_runs_neither_panic_nor_change_length() {
        let codec = byte_level(&json!({}));
        for response in [" ".repeat(200_000) + "x", "\n".repeat(50_000), "he".repeat(50_000)] {
            let trajectory = text(&codec, "x", &response);
            assert_eq!(trajectory.response.last().map(|token| token.end), Some(response.len()));
        }
    }
}
