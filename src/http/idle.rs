//! Fields of OpenAI's API that this server has no use for, accepted where they ask for nothing: clients and evaluation
//! harnesses send them by default. With any other value they are refused, for an answer that ignored them would be wrong.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

fn only<'de, D: Deserializer<'de>>(
    deserializer: D,
    idle: impl FnOnce(&Value) -> bool,
    supported: &str,
) -> Result<(), D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() || idle(&value) {
        return Ok(());
    }
    Err(D::Error::custom(format_args!("this server does not have it: leave it out or send {supported}")))
}

/// A penalty of 0.
pub(super) fn zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    only(deserializer, |value| value.as_f64() == Some(0.0), "0")
}

/// A factor of 1.
pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    only(deserializer, |value| value.as_f64() == Some(1.0), "1")
}

/// A switch that is off.
pub(super) fn off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    only(deserializer, |value| *value == Value::Bool(false), "false")
}

/// A text, list or object with nothing in it.
pub(super) fn empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    only(deserializer, is_empty, "null")
}

/// A choice of tools where there are none to choose from.
pub(super) fn no_tool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    only(deserializer, |value| value == "none" || value == "auto", "\"none\"")
}

/// Plain text as the form of the answer.
pub(super) fn text_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    only(deserializer, |value| *value == serde_json::json!({"type": "text"}), "{\"type\": \"text\"}")
}

/// What means something to the client alone, such as who its user is.
pub(super) fn ignored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| ())
}
