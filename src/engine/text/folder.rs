//! The tokenizer of a Hugging Face folder.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{Specials, TextCodec, guarded};
use crate::engine::EngineError;
use crate::engine::local::checkpoint::read_json;

/// The largest real template has some 20 kB.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

pub(super) fn load(dir: &Path) -> Result<TextCodec, EngineError> {
    let path = dir.join("tokenizer.json");
    if !path.is_file() {
        return Err(EngineError::Load(format!(
            "{}: tokenizer.json is missing; where there is only a tokenizer.model, save the tokenizer once with \
             transformers (`AutoTokenizer.from_pretrained(...).save_pretrained(...)`)",
            dir.display()
        )));
    }
    let fail = |error: String| EngineError::Load(format!("{}: {error}", path.display()));
    let mut json = read_json(&path)?;
    keep_whole_offsets(json.get_mut("post_processor"));
    let bytes = serde_json::to_vec(&json).map_err(|error| fail(error.to_string()))?;
    drop(json);
    let mut tokenizer = guarded("it cannot be read as a tokenizer", || Tokenizer::from_bytes(&bytes))
        .map_err(|error| fail(error.to_string()))?;
    // Saved by training runs; a silently shortened or padded trajectory would be scored wrongly.
    tokenizer.with_truncation(None).map_err(|error| fail(error.to_string()))?;
    tokenizer.with_padding(None);

    let optional = |name: &str| -> Result<Value, EngineError> {
        let path = dir.join(name);
        if path.is_file() { read_json(&path) } else { Ok(Value::Null) }
    };
    let config = optional("tokenizer_config.json")?;
    let map = optional("special_tokens_map.json")?;
    let specials =
        specials(&tokenizer, &config, &map, &[optional("generation_config.json")?, optional("config.json")?]);
    override_post_processor(&mut tokenizer, &config, &specials).map_err(fail)?;
    let template = template_source(dir, &config)?;
    Ok(TextCodec::assemble(tokenizer, specials, template.as_deref()))
}

/// Byte-level post-processors trim a token's leading space off its offsets. Here a token's span is all of it.
fn keep_whole_offsets(post_processor: Option<&mut Value>) {
    let Some(object) = post_processor.and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(trim) = object.get_mut("trim_offsets") {
        *trim = Value::Bool(false);
    }
    for inner in object.get_mut("processors").and_then(Value::as_array_mut).into_iter().flatten() {
        keep_whole_offsets(Some(inner));
    }
}

/// A special token is written as a string, or as an object with its `content`.
fn named_token(key: &str, sources: [&Value; 2]) -> Option<String> {
    sources.into_iter().find_map(|source| {
        let value = source.get(key)?;
        value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
    })
}

fn specials(tokenizer: &Tokenizer, config: &Value, map: &Value, generation: &[Value]) -> Specials {
    let bos = named_token("bos_token", [config, map]);
    let eos = named_token("eos_token", [config, map]);
    let id = |token: &Option<String>| token.as_ref().and_then(|token| tokenizer.token_to_id(token));
    let mut eos_ids: Vec<u32> = id(&eos).into_iter().collect();
    for source in generation {
        let ids = match source.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.as_slice(),
            Some(id) => std::slice::from_ref(id),
            None => &[],
        };
        for id in ids.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()) {
            if !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
    }
    Specials { bos_id: id(&bos), bos, eos, eos_ids }
}

/// `add_bos_token` and `add_eos_token` in the configuration replace the post-processor, as they do in transformers;
/// where neither is written, `tokenizer.json` decides.
fn override_post_processor(tokenizer: &mut Tokenizer, config: &Value, specials: &Specials) -> Result<(), String> {
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    let (bos, eos) = (flag("add_bos_token"), flag("add_eos_token"));
    if bos.is_none() && eos.is_none() {
        return Ok(());
    }
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let bos = bos.unwrap_or(class.starts_with("Llama") || class.starts_with("CodeLlama"));
    let post_processor = sequence_template(tokenizer, specials, bos, eos.unwrap_or(false))?;
    tokenizer.with_post_processor(Some(post_processor));
    Ok(())
}

/// A post-processor that puts BOS before and EOS after a sequence. A token that the tokenizer lacks is not added.
pub(super) fn sequence_template(
    tokenizer: &Tokenizer,
    specials: &Specials,
    add_bos: bool,
    add_eos: bool,
) -> Result<tokenizers::processors::template::TemplateProcessing, String> {
    let known = |add: bool, token: &Option<String>| {
        let token = token.as_ref().filter(|_| add)?;
        Some((token.clone(), tokenizer.token_to_id(token)?))
    };
    let (bos, eos) = (known(add_bos, &specials.bos), known(add_eos, &specials.eos));
    let mut single = vec!["$A:0".to_owned()];
    if let Some((token, _)) = &bos {
        single.insert(0, format!("{token}:0"));
    }
    if let Some((token, _)) = &eos {
        single.push(format!("{token}:0"));
    }
    let mut tokens: Vec<(String, u32)> = bos.into_iter().chain(eos).collect();
    tokens.dedup();
    tokenizers::processors::template::TemplateProcessing::builder()
        .try_single(single)
        .map_err(|error| error.to_string())?
        .special_tokens(tokens)
        .build()
        .map_err(|error| error.to_string())
}

/// The chat template's text: of `chat_template.jinja`, `chat_template.json` or the configuration, in that order.
fn template_source(dir: &Path, config: &Value) -> Result<Option<String>, EngineError> {
    let file = dir.join("chat_template.jinja");
    if file.is_file() {
        let fail = |message: String| EngineError::Load(format!("{}: {message}", file.display()));
        let size = std::fs::metadata(&file).map_err(|error| fail(error.to_string()))?.len();
        if size > MAX_TEMPLATE_BYTES {
            return Err(fail(format!("the template has {size} bytes, and at most {MAX_TEMPLATE_BYTES} are read")));
        }
        return std::fs::read_to_string(&file).map(Some).map_err(|error| fail(error.to_string()));
    }
    let file = dir.join("chat_template.json");
    let value = if file.is_file() { read_json(&file)? } else { config.clone() };
    Ok(match value.get("chat_template") {
        Some(Value::String(template)) => Some(template.clone()),
        // Several by name; the plain chat is the one called "default".
        Some(Value::Array(templates)) => templates
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_owned),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{BOS, EOS, HE, byte_level, byte_level_json, write_tokenizer};
    use super::*;

    #[test]
    fn saved_truncation_does_not_apply() {
        // The fixture's file truncates to four tokens.
        assert_eq!(byte_level(&json!({})).encode("abcdefgh", true).unwrap().len(), 8);
    }

    #[test]
    fn a_written_flag_replaces_the_post_processor_and_its_absence_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut tokenizer = byte_level_json();
        tokenizer["post_processor"] = json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}});
        let ids = |config: Value| {
            write_tokenizer(folder.path(), &config);
            std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
            TextCodec::from_folder(folder.path()).unwrap().encode("he", true).unwrap()
        };
        assert_eq!(ids(json!({"bos_token": "<s>"})), [BOS, HE]);
        assert_eq!(ids(json!({"bos_token": "<s>", "add_bos_token": false})), [HE]);
        assert_eq!(
            ids(json!({"bos_token": "<s>", "eos_token": "</s>", "add_eos_token": true, "add_bos_token": true})),
            [BOS, HE, EOS]
        );
    }

    #[test]
    fn templates_and_ends_are_found_where_they_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let named = json!([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]);
        write_tokenizer(folder.path(), &json!({"eos_token": "</s>", "chat_template": named}));
        std::fs::write(folder.path().join("generation_config.json"), json!({"eos_token_id": [EOS, HE]}).to_string())
            .unwrap();
        let codec = TextCodec::from_folder(folder.path()).unwrap();
        assert_eq!(codec.render_chat(&[], false).unwrap(), "D");
        assert_eq!(codec.eos_ids(), [EOS, HE]);
        std::fs::write(folder.path().join("chat_template.jinja"), "J").unwrap();
        assert_eq!(TextCodec::from_folder(folder.path()).unwrap().render_chat(&[], false).unwrap(), "J");
    }

    #[test]
    fn damaged_tokenizers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = TextCodec::from_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json is missing"), "{error}");
        for text in ["", "{", "{}", "[1]", r#"{"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}"#] {
            std::fs::write(folder.path().join("tokenizer.json"), text).unwrap();
            let error = TextCodec::from_folder(folder.path()).unwrap_err().to_string();
            assert!(error.contains("tokenizer.json"), "{text}: {error}");
        }
    }
}
