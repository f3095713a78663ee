//! The caller's own alternatives: token ids, or texts that are one token each.

use super::AnalysisError;
use crate::domain::rollout::GivenTokens;
use crate::engine::TextCodec;

/// The ids of the caller's tokens, in the caller's order. Takes time in proportion to the vocabulary for a text that
/// the tokenizer does not give back as one token.
///
/// Fails with the place of an id that is no token, of a token that is the original, stands twice, or ends the sequence,
/// and of a text that is not one token.
pub(super) fn resolve(text: &TextCodec, given: GivenTokens, original: u32) -> Result<Vec<u32>, AnalysisError> {
    let (name, ids) = match given {
        GivenTokens::Ids(ids) => ("alternatives.token_ids", ids),
        GivenTokens::Texts(texts) => {
            let id = |(index, wanted): (usize, &String)| {
                token_of(text, wanted)
                    .map_err(|why| AnalysisError::invalid(format!("alternatives.texts[{index}]"), why))
            };
            ("alternatives.texts", texts.iter().enumerate().map(id).collect::<Result<_, _>>()?)
        }
    };
    for (index, &id) in ids.iter().enumerate() {
        let refuse = |message: String| Err(AnalysisError::invalid(format!("{name}[{index}]"), message));
        if usize::try_from(id).map_or(true, |id| id >= text.vocab_size()) {
            return refuse(format!("token id {id} is outside the model's vocabulary of {}", text.vocab_size()));
        }
        if text.piece_bytes(id).is_none() {
            return refuse(format!("id {id} is no token: the model's vocabulary has a gap there"));
        }
        if id == original {
            return refuse(format!("token {id} {:?} is the response's own", text.piece(id)));
        }
        if ids[..index].contains(&id) {
            return refuse(format!("token {id} {:?} is given twice", text.piece(id)));
        }
        if text.eos_ids().contains(&id) {
            return refuse(format!("token {id} {:?} ends the sequence: nothing comes after it", text.piece(id)));
        }
    }
    Ok(ids)
}

/// The one token that spells a text exactly, or why there is none.
fn token_of(text: &TextCodec, wanted: &str) -> Result<u32, String> {
    if wanted.is_empty() {
        return Err("is empty: a token has a text".to_owned());
    }
    let ids = text.encode(wanted, false).map_err(|error| error.to_string())?;
    match ids[..] {
        [id] if text.piece(id) == wanted => return Ok(id),
        _ => {}
    }
    // A tokenizer may put a space before a text that begins one, so that alone it is other tokens than in its place.
    let vocabulary = u32::try_from(text.vocab_size()).unwrap_or(u32::MAX);
    if let Some(id) = (0..vocabulary).find(|&id| text.piece(id) == wanted) {
        return Ok(id);
    }
    let named: Vec<String> = ids.iter().take(16).map(|&id| format!("{id} {:?}", text.piece(id))).collect();
    let more = if ids.len() > named.len() { ", …" } else { "" };
    Err(format!("must be one token, and is {}: {}{more}", ids.len(), named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;
    use crate::engine::Engine;

    #[tokio::test]
    async fn a_text_is_one_token_or_its_tokens_are_named() {
        let fixture = Fixture::new().await;
        let text = fixture.engine.text();
        let texts = |texts: &[&str]| GivenTokens::Texts(texts.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(resolve(text, texts(&[" ", "\n", "A"]), 66).unwrap(), [32, 10, 65]);
        assert_eq!(resolve(text, GivenTokens::Ids(vec![255, 1]), 66).unwrap(), [255, 1]);
        for (given, param, message) in [
            (texts(&["A", " -"]), "alternatives.texts[1]", "is 2: 32 \" \", 45 \"-\""),
            (texts(&[""]), "alternatives.texts[0]", "empty"),
            (texts(&["A", "B"]), "alternatives.texts[1]", "token 66 \"B\" is the response's own"),
            (GivenTokens::Ids(vec![1, 2, 1]), "alternatives.token_ids[2]", "given twice"),
            (GivenTokens::Ids(vec![259]), "alternatives.token_ids[0]", "vocabulary of 259"),
            (GivenTokens::Ids(vec![258, 257]), "alternatives.token_ids[1]", "id 257 is no token"),
        ] {
            match resolve(text, given, 66) {
                Err(AnalysisError::Invalid { param: found, message: text }) => {
                    assert!(found == param && text.contains(message), "{found}: {text}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
