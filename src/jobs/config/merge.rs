//! A request's settings laid over the defaults: every field that is missing is filled in, and one that nobody knows is named.
//!
//! The result is the complete configuration that a record shows. Reading it again gives the same.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::jobs::error::{ConfigError, ConfigFault};

/// Lays `given` over `defaults`, object in object. `path` names the outer object.
pub(super) fn merge(defaults: &Value, given: Value, path: &str) -> Result<Value, ConfigError> {
    let Value::Object(known) = defaults else { return Ok(given) };
    let fields = match given {
        Value::Object(fields) => fields,
        // Null has a meaning of its own where it may stand: without it, say, nothing is low-rank.
        Value::Null if path.ends_with(".lora") => return Ok(Value::Null),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let message = format!("must be an object, not {}", kind(&other));
            return Err(ConfigError::invalid(path, message));
        }
    };
    let mut merged = known.clone();
    for (field, value) in fields {
        let inner = format!("{path}.{field}");
        let Some(default) = known.get(&field) else {
            let message = format!("unknown field `{field}`, expected one of {}", listed(known));
            return Err(ConfigError { fault: ConfigFault::Unknown, param: inner, message });
        };
        merged[&field] = merge(default, value, &inner)?;
    }
    Ok(Value::Object(merged))
}

/// Reads settings from a merged object; fields that `T` does not have are another's.
pub(super) fn read<T: DeserializeOwned>(merged: &Value, path: &str) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let inner = error.path().to_string();
        let param = if inner == "." { path.to_owned() } else { format!("{path}.{inner}") };
        ConfigError::invalid(param, error.into_inner().to_string())
    })
}

/// An object with the fields of all of these.
pub(super) fn joined(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut all = Map::new();
    for part in parts {
        if let Value::Object(fields) = part {
            all.extend(fields);
        }
    }
    Value::Object(all)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn listed(fields: &Map<String, Value>) -> String {
    fields.keys().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_given_goes_over_the_defaults_field_by_field() {
        let defaults = json!({"n": 64, "lora": {"r": 8, "target_modules": ["a"]}, "stop": null});
        let given = json!({"lora": {"target_modules": ["b"]}, "stop": ["\n"]});
        let expected = json!({"n": 64, "lora": {"r": 8, "target_modules": ["b"]}, "stop": ["\n"]});
        assert_eq!(merge(&defaults, given, "config").unwrap(), expected);
        assert_eq!(merge(&defaults, json!({"lora": null}), "config").unwrap()["lora"], Value::Null);
        let unknown = merge(&defaults, json!({"lora": {"rank": 8}}), "config").unwrap_err();
        assert_eq!((unknown.fault, unknown.param.as_str()), (ConfigFault::Unknown, "config.lora.rank"));
        let list = merge(&defaults, json!([]), "config").unwrap_err();
        assert_eq!((list.fault, list.param.as_str()), (ConfigFault::Invalid, "config"));
    }
}
